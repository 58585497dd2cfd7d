//! Servers that recite: each connection gets the next answer, whatever it asks.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A server on loopback.
pub(crate) struct Script {
    pub(crate) host: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// Recites `answers`, then hangs up on everybody.
    pub(crate) fn plain(answers: Vec<Vec<u8>>) -> Self {
        Self::start(answers, |socket, talk| talk(&mut &*socket))
    }

    /// The same behind a TLS handshake of the test's making; `wrap` hands the opened stream on.
    pub(crate) fn start(
        answers: Vec<Vec<u8>>,
        wrap: impl Fn(&TcpStream, &mut dyn FnMut(&mut dyn ReadWrite)) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&requests);
        let mut answers = answers.into_iter();
        let mut recite = move |stream: &mut dyn ReadWrite| {
            let Some(request) = request(stream) else { return };
            log.lock().unwrap().push(request);
            drop(stream.write_all(&answers.next().unwrap_or_default()));
            drop(stream.flush());
        };
        thread::spawn(move || {
            for socket in listener.incoming() {
                wrap(&socket.unwrap(), &mut recite);
            }
        });
        Self { host, requests }
    }

    /// The requests so far, head and all.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

pub(crate) trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// The head of a request; nothing if it is none.
fn request(stream: &mut dyn ReadWrite) -> Option<String> {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") {
        let n = lines.read_line(&mut head).ok()?;
        if n == 0 {
            return None;
        }
    }
    Some(head)
}

/// An answer with these headers, each ended by `\r\n`.
pub(crate) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}
