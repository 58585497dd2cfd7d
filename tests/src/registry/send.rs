//! An answer, onto the wire, as fast and as whole as it was ordered.

use std::io::{Result, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::http::Head;
use super::log::Entry;
use super::reply::{Length, Reply, Stop};
use super::{Shared, lock};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It takes another request.
    KeepAlive,
    /// It is closed.
    Close,
}

/// Sends an answer and notes how much of it went out.
pub(crate) fn send(
    mut connection: &TcpStream,
    head: &Head,
    reply: &Reply,
    shared: &Shared,
    entry: Entry,
) -> Result<After> {
    if reply.delay > Duration::ZERO {
        wait(shared, Some(reply.delay), Until::Stopping);
    }
    if reply.hang_up {
        return Ok(After::Close);
    }
    shared.log.note(entry, |request| {
        request.status = reply.status;
        request.start = reply.start;
    });
    connection.write_all(start(reply).as_bytes())?;
    let wants_close = head.header("Connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    let after = if wants_close { After::Close } else { After::KeepAlive };
    if head.method == "HEAD" {
        return Ok(after);
    }
    let mut body = Body { connection, reply, shared, entry, after, sent: 0, began: Instant::now() };
    body.send()
}

/// The status line and the headers.
fn start(reply: &Reply) -> String {
    let mut lines = vec![format!("HTTP/1.1 {} {}", reply.status, reason(reply.status))];
    lines.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let bodiless = matches!(reply.status, 204 | 304);
    match reply.length {
        _ if bodiless => {}
        Length::Exact => lines.push(format!("Content-Length: {}", reply.body.len())),
        Length::Claim(length) => lines.push(format!("Content-Length: {length}")),
        Length::Chunked => lines.push("Transfer-Encoding: chunked".to_owned()),
        Length::UntilClose => lines.push("Connection: close".to_owned()),
    }
    lines.join("\r\n") + "\r\n\r\n"
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        303 => "See Other",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}

/// What ends a wait before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Only the registry's end.
    Stopping,
    /// [`super::Registry::release`] too.
    Released,
}

fn wait(shared: &Shared, time: Option<Duration>, until: Until) {
    let end = time.map(|time| Instant::now() + time);
    let (mutex, condition) = &shared.released;
    let mut released = lock(mutex);
    loop {
        let now = Instant::now();
        let over = end.is_some_and(|end| end <= now);
        if over || shared.stopping() || (*released && until == Until::Released) {
            return;
        }
        let left = end.map_or(Duration::from_millis(100), |end| end - now);
        let left = left.min(Duration::from_millis(100));
        released = match condition.wait_timeout(released, left) {
            Ok((guard, _)) => guard,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}

/// A body on its way.
struct Body<'a> {
    connection: &'a TcpStream,
    reply: &'a Reply,
    shared: &'a Shared,
    entry: Entry,
    after: After,
    sent: u64,
    began: Instant,
}

impl Body<'_> {
    fn send(&mut self) -> Result<After> {
        let total = self.reply.body.len() as u64;
        match self.reply.stop {
            Stop::Never => self.send_to(total)?,
            Stop::Close(n_bytes) => {
                self.send_to(n_bytes.min(total))?;
                return Ok(After::Close);
            }
            Stop::Stall(n_bytes, time) => {
                self.send_to(n_bytes.min(total))?;
                wait(self.shared, time, Until::Released);
                if self.shared.stopping() {
                    return Ok(After::Close);
                }
                self.send_to(total)?;
            }
        }
        match self.reply.length {
            Length::Exact => Ok(self.after),
            Length::Claim(_) | Length::UntilClose => Ok(After::Close),
            Length::Chunked => {
                self.connection.write_all(b"0\r\n\r\n")?;
                Ok(self.after)
            }
        }
    }

    /// Sends up to an offset of the body, in pieces small enough for the rate.
    fn send_to(&mut self, end: u64) -> Result<()> {
        let piece = self.reply.rate.map_or(1 << 16, |rate| (rate / 20).clamp(1, 1 << 16));
        while self.sent < end && !self.shared.stopping() {
            let length = piece.min(end - self.sent);
            let from = usize::try_from(self.sent).unwrap_or(usize::MAX);
            let to = usize::try_from(self.sent + length).unwrap_or(usize::MAX);
            self.write(&self.reply.body[from..to])?;
            self.sent += length;
            let sent = self.sent;
            self.shared.log.note(self.entry, |request| request.sent = sent);
            if let Some(rate) = self.reply.rate {
                let slow = self.sent.saturating_sub(self.reply.burst);
                let due = Duration::from_micros(slow * 1_000_000 / rate.max(1));
                let left = due.saturating_sub(self.began.elapsed());
                wait(self.shared, Some(left), Until::Stopping);
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut connection = self.connection;
        if self.reply.length != Length::Chunked {
            return connection.write_all(bytes);
        }
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        connection.write_all(&chunk)
    }
}
