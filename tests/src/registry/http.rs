//! Requests as HTTP/1.1 has them.

use std::io::{BufRead, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

/// A request without its body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// With its query, as it was sent.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// The longest line and the most headers that a sane client sends.
const LONGEST: u64 = 1 << 16;

fn bad(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text.to_owned())
}

/// The next request of a connection; nothing when the client has closed it.
pub(crate) fn read(input: &mut impl BufRead) -> Result<Option<Head>> {
    let Some(first) = line(input)? else { return Ok(None) };
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0")) =
        (words.next(), words.next(), words.next())
    else {
        return Err(bad("not a request line"));
    };
    let mut head =
        Head { method: method.to_owned(), target: target.to_owned(), headers: Vec::new() };
    while let Some(text) = line(input)?.filter(|text| !text.is_empty()) {
        let (name, value) = text.split_once(':').ok_or_else(|| bad("not a header"))?;
        head.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Some(head))
}

fn line(input: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = String::new();
    if input.by_ref().take(LONGEST).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

impl Head {
    /// The first header of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// How many bytes of a body are announced.
    pub(crate) fn length(&self) -> Option<usize> {
        self.header("Content-Length")?.parse().ok()
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a key in the query, decoded.
    pub(crate) fn query(&self, key: &str) -> Option<String> {
        self.queries(key).into_iter().next()
    }

    /// All values of a key in the query, decoded.
    pub(crate) fn queries(&self, key: &str) -> Vec<String> {
        let query = self.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        form(query).into_iter().filter(|(name, _)| name == key).map(|(_, value)| value).collect()
    }

    /// The body, of which at most `limit` bytes are read.
    pub(crate) fn body(
        &self,
        input: &mut std::io::BufReader<&TcpStream>,
        limit: usize,
    ) -> Result<Vec<u8>> {
        if self.header("Expect").is_some() {
            input.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let chunked = self.header("Transfer-Encoding").is_some();
        if chunked {
            return read_chunks(input, limit);
        }
        let length: usize = match self.header("Content-Length") {
            Some(text) => text.parse().map_err(|_| bad("Content-Length"))?,
            None => 0,
        };
        read_up_to(input, length.min(limit))
    }
}

/// As many bytes as wanted, or fewer when the client goes away: an upload keeps what came.
fn read_up_to(input: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    match input.take(length as u64).read_to_end(&mut body) {
        Err(error) if body.is_empty() => Err(error),
        _ => Ok(body),
    }
}

fn read_chunks(input: &mut impl BufRead, limit: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(text) = line(input)? else { return Ok(body) };
        let size = text.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad("a chunk's size"))?;
        let wanted = size.min(limit - body.len());
        body.extend(read_up_to(input, wanted)?);
        if body.len() >= limit {
            return Ok(body);
        }
        line(input)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

/// The pairs of a form or a query.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
