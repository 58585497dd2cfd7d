//! One HTTP exchange: a request, the head of its answer, and its body as chunks.
//!
//! Each runs on a thread of its own, which hands the body on through a bounded channel of recycled buffers. So whoever
//! reads can give up at any moment, in the middle of a connection attempt too, and the clock that tells a stall from a
//! pause runs only while somebody waits. The thread isn't joined: it may be waiting for a peer that never answers, and
//! ends by the client's own time limit when nobody is left to read.

use std::error::Error;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::{Client, Request, Response};
use reqwest::header::HeaderMap;

use super::payload::Departure;
use crate::error::Cause;
use crate::retry::GLANCE;

/// The size of a chunk at most; between 64 and 256 KiB nothing differs.
const CHUNK: usize = 128 << 10;
/// How many chunks may wait for the reader.
const DEPTH: usize = 4;
/// So much of a body that nobody wants is read to keep the connection for the next request.
const LEFTOVER: u64 = 64 << 10;

/// How long to wait, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    pub(crate) stall: Duration,
    pub(crate) cancelled: fn() -> bool,
}

/// Why an exchange came to nothing.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// No connection.
    Connect(Cause),
    /// A certificate that nobody here trusts.
    Certificate(Cause),
    /// The connection broke.
    Broken(Cause),
    /// Nothing came for this long.
    Stalled(Duration),
    /// We were told to stop.
    Cancelled,
    /// This machine would not.
    SetUp(Cause),
    /// What was to be sent could not be read.
    Content(Cause),
}

/// The status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// Sends a request and waits for the head of its answer.
pub(super) fn exchange(
    client: Client,
    request: Request,
    patience: Patience,
    departure: &Departure,
) -> Result<Exchange, Fault> {
    let outcome = begin(client, request, patience, departure);
    if outcome.is_err() {
        departure.abandon();
    }
    match departure.failure() {
        // The client only says that it could not send; why is known here.
        Some(cause) if outcome.is_err() => Err(Fault::Content(cause)),
        _ => outcome,
    }
}

fn begin(
    client: Client,
    request: Request,
    patience: Patience,
    departure: &Departure,
) -> Result<Exchange, Fault> {
    let (sender, messages) = mpsc::sync_channel(DEPTH);
    let (spent, empty) = mpsc::channel();
    thread::Builder::new()
        .name("exchange".to_owned())
        .spawn(move || pump(&client, request, &sender, &empty))
        .map_err(|error| Fault::SetUp(Cause::of(&error)))?;
    let limit = patience.connect + patience.stall;
    match wait(&messages, limit, patience.cancelled, &|| departure.taken())? {
        Message::Head(status, headers) => {
            let body =
                Body { messages, spent, chunk: vec![], rest: 0..0, is_over: false, patience };
            Ok(Exchange { status, headers, body })
        }
        Message::Failed(fault) => Err(fault),
        Message::Chunk(..) | Message::End => Err(broken("body before head")),
    }
}

#[derive(Debug)]
enum Message {
    Head(StatusCode, HeaderMap),
    Chunk(Vec<u8>, usize),
    End,
    Failed(Fault),
}

fn pump(
    client: &Client,
    request: Request,
    messages: &SyncSender<Message>,
    empty: &Receiver<Vec<u8>>,
) {
    let mut response = match client.execute(request) {
        Ok(response) => response,
        Err(error) => return drop(messages.send(Message::Failed(fault_of(&error)))),
    };
    let head = Message::Head(response.status(), std::mem::take(response.headers_mut()));
    let mut wanted = messages.send(head).is_ok();
    while wanted {
        let mut chunk = empty.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        wanted = match response.read(&mut chunk) {
            Ok(0) => return drop(messages.send(Message::End)),
            Ok(n) => messages.send(Message::Chunk(chunk, n)).is_ok(),
            Err(error) => return drop(messages.send(Message::Failed(read_fault(&error)))),
        };
    }
    drain(response);
}

/// Reads what little may be left, so that the connection can be used again.
fn drain(response: Response) {
    drop(io::copy(&mut response.take(LEFTOVER), &mut io::sink()));
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    messages: Receiver<Message>,
    spent: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    rest: Range<usize>,
    is_over: bool,
    patience: Patience,
}

impl Body {
    /// The bytes at hand, waiting for some if there are none; nothing at the end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], Fault> {
        if self.rest.is_empty() && !self.is_over {
            self.next()?;
        }
        Ok(self.at_hand())
    }

    /// The bytes at hand.
    pub(crate) fn at_hand(&self) -> &[u8] {
        &self.chunk[self.rest.clone()]
    }

    /// Takes `n` bytes off those at hand.
    pub(crate) fn consume(&mut self, n: usize) {
        self.rest.start = self.rest.end.min(self.rest.start + n);
    }

    fn next(&mut self) -> Result<(), Fault> {
        if !self.chunk.is_empty() {
            drop(self.spent.send(std::mem::take(&mut self.chunk)));
        }
        self.rest = 0..0;
        match wait(&self.messages, self.patience.stall, self.patience.cancelled, &|| 0)? {
            Message::Chunk(chunk, n) => {
                self.chunk = chunk;
                self.rest = 0..n;
            }
            Message::End => self.is_over = true,
            Message::Failed(fault) => return Err(fault),
            Message::Head(..) => return Err(broken("a second head")),
        }
        Ok(())
    }

    /// Reads the whole body, or the first `limit + 1` bytes of a longer one.
    pub(crate) fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, Fault> {
        let mut content = Vec::new();
        loop {
            let chunk = self.fill()?;
            let n = chunk.len();
            content.extend_from_slice(chunk);
            self.consume(n);
            if content.len() as u64 > limit || n == 0 {
                content.truncate(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1));
                return Ok(content);
            }
        }
    }
}

/// Waits for a message, in slices, as long as patience lasts. It begins anew whenever `progress` changes.
fn wait(
    messages: &Receiver<Message>,
    limit: Duration,
    cancelled: fn() -> bool,
    progress: &dyn Fn() -> u64,
) -> Result<Message, Fault> {
    if let Ok(message) = messages.try_recv() {
        return Ok(message);
    }
    let (mut started, mut before) = (Instant::now(), progress());
    loop {
        if cancelled() {
            return Err(Fault::Cancelled);
        }
        if before != progress() {
            (started, before) = (Instant::now(), progress());
        }
        let left = limit.saturating_sub(started.elapsed());
        match messages.recv_timeout(left.min(GLANCE)) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Disconnected) => return Err(broken("the connection was lost")),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Fault::Stalled(limit)),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn broken(reason: &str) -> Fault {
    Fault::Broken(Cause::of(&io::Error::other(reason)))
}

fn fault_of(error: &reqwest::Error) -> Fault {
    let cause = Cause::of(error);
    if refuses_certificate(error) {
        return Fault::Certificate(cause);
    }
    if error.is_connect() { Fault::Connect(cause) } else { Fault::Broken(cause) }
}

fn read_fault(error: &io::Error) -> Fault {
    Fault::Broken(Cause::of(error))
}

/// Whether the handshake failed for the peer's certificate, which trying again doesn't cure.
fn refuses_certificate(error: &reqwest::Error) -> bool {
    let mut link: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = link {
        let tls = error.downcast_ref::<rustls::Error>();
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_))) {
            return true;
        }
        // What an io::Error was made of is not its source; that would be the source of that.
        let made_of = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        link = made_of.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    false
}
