//! One HTTP exchange: a request, the head of its answer, and its body as chunks.
//!
//! Each is a task on the transport's own thread, which hands the body on by a channel with bounded room. So whoever reads
//! can give up at any moment, in the middle of a connection attempt too, and the clock that tells a stall from a pause
//! runs only while somebody waits. A task whose reader is gone ends at once.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Client, Request, Response, StatusCode};
use rustls::{AlertDescription, CertificateError};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::Bytes;
use super::engine;
use super::payload::Departure;
use crate::error::Cause;
use crate::reach::Barred;
use crate::retry::GLANCE;
use crate::throttle::Throttle;
use crate::traffic::Meter;

/// How many bytes of a body may wait for the reader.
const ROOM: usize = 512 << 10;
/// So much of a body that nobody wants is read to keep the connection for the next request, and for so long.
const LEFTOVER: (usize, Duration) = (64 << 10, Duration::from_secs(1));

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
    /// The other end wants a certificate from us, or another.
    Unwelcome(Cause),
    /// We and the other end know nothing in common.
    Handshake(Cause),
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
    /// A name means an address that whoever gave it may not send us to.
    Barred,
}

/// The status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// The other end of the connection, which is the proxy where there is one.
    pub(super) peer: Option<IpAddr>,
}

/// Sends a request and waits for the head of its answer.
pub(super) fn exchange(
    handle: &Handle,
    (client, request): (Client, Request),
    patience: Patience,
    departure: &Departure,
) -> Result<Exchange, Fault> {
    let outcome = begin(handle, (client, request), patience, departure);
    match departure.failure() {
        // The client only says that it could not send; why is known here.
        Some(cause) if outcome.is_err() => Err(Fault::Content(cause)),
        _ => outcome,
    }
}

fn begin(
    handle: &Handle,
    (client, request): (Client, Request),
    patience: Patience,
    departure: &Departure,
) -> Result<Exchange, Fault> {
    let (messages, incoming) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(ROOM));
    handle.spawn(Outlet { messages, room: Arc::clone(&room) }.fill(client, request));
    let mut inlet =
        Inlet { handle: handle.clone(), messages: incoming, cancelled: patience.cancelled };
    // While the content itself is waited for, no clock runs.
    let n_waits = AtomicU64::new(0);
    let progress = || {
        let waits = u64::from(departure.is_waiting());
        departure.taken() + n_waits.fetch_add(waits, Ordering::Relaxed)
    };
    match inlet.wait(patience.connect + patience.stall, &progress)? {
        Message::Head(Head { status, headers, peer }) => {
            let (chunk, is_over, stall) = (Bytes::new(), false, patience.stall);
            let body = Body { inlet, room, chunk, is_over, stall, throttle: None, meter: None };
            Ok(Exchange { status, headers, body, peer })
        }
        Message::Failed(fault) => Err(fault),
        Message::Chunk(_) | Message::End => Err(broken("body before head")),
    }
}

#[derive(Debug)]
struct Head {
    status: StatusCode,
    headers: HeaderMap,
    peer: Option<IpAddr>,
}

#[derive(Debug)]
enum Message {
    Head(Head),
    Chunk(Bytes),
    End,
    Failed(Fault),
}

/// Where the task puts what comes.
struct Outlet {
    messages: UnboundedSender<Message>,
    /// A permit for each byte that may still be sent. The reader gives them back.
    room: Arc<Semaphore>,
}

impl Outlet {
    /// The whole exchange.
    async fn fill(self, client: Client, request: Request) {
        let mut response = match self.unless_unwanted(client.execute(request)).await {
            Some(Ok(response)) => response,
            Some(Err(error)) => return self.put(Message::Failed(fault_of(&error))),
            None => return,
        };
        let headers = std::mem::take(response.headers_mut());
        let peer = response.remote_addr().map(|address| address.ip());
        self.put(Message::Head(Head { status: response.status(), headers, peer }));
        loop {
            match self.unless_unwanted(response.chunk()).await {
                Some(Ok(Some(chunk))) => self.pass(chunk).await,
                Some(Ok(None)) => return self.put(Message::End),
                Some(Err(error)) => {
                    return self.put(Message::Failed(Fault::Broken(Cause::of(&error))));
                }
                None => break,
            }
        }
        let (n_bytes, time) = LEFTOVER;
        drop(tokio::time::timeout(time, drain(response, n_bytes)).await);
    }

    /// Waits for something as long as there is a reader.
    async fn unless_unwanted<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        let (mut what, mut gone) = (pin!(what), pin!(self.messages.closed()));
        poll_fn(|context| match what.as_mut().poll(context) {
            Poll::Ready(it) => Poll::Ready(Some(it)),
            Poll::Pending => gone.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    /// Hands a chunk on, as soon as there is room for it.
    async fn pass(&self, mut chunk: Bytes) {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(ROOM));
            let n_bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let Some(Ok(permits)) = self.unless_unwanted(self.room.acquire_many(n_bytes)).await
            else {
                return;
            };
            permits.forget();
            self.put(Message::Chunk(piece));
        }
    }

    fn put(&self, message: Message) {
        // Whoever doesn't want it is gone, which the next wait finds out.
        self.messages.send(message).ok();
    }
}

/// Reads what little may be left, so that the connection can be used again.
async fn drain(mut response: Response, mut n_bytes: usize) {
    while let Ok(Some(chunk)) = response.chunk().await {
        let Some(left) = n_bytes.checked_sub(chunk.len()) else { return };
        n_bytes = left;
    }
}

/// Where the reader gets it.
#[derive(Debug)]
struct Inlet {
    handle: Handle,
    messages: UnboundedReceiver<Message>,
    cancelled: fn() -> bool,
}

impl Inlet {
    /// Waits for a message, in slices, as long as patience lasts. It begins anew whenever `progress` changes.
    fn wait(&mut self, limit: Duration, progress: &dyn Fn() -> u64) -> Result<Message, Fault> {
        if let Ok(message) = self.messages.try_recv() {
            return Ok(message);
        }
        let (mut started, mut before) = (Instant::now(), progress());
        loop {
            if (self.cancelled)() {
                return Err(Fault::Cancelled);
            }
            if before != progress() {
                (started, before) = (Instant::now(), progress());
            }
            let left = limit.saturating_sub(started.elapsed());
            match engine::wait(&self.handle, left.min(GLANCE), self.messages.recv()) {
                Some(Some(message)) => return Ok(message),
                Some(None) => return Err(broken("the connection was lost")),
                None if left.is_zero() => return Err(Fault::Stalled(limit)),
                None => {}
            }
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    inlet: Inlet,
    room: Arc<Semaphore>,
    chunk: Bytes,
    is_over: bool,
    stall: Duration,
    pub(super) throttle: Option<Arc<Throttle>>,
    pub(super) meter: Option<Arc<Meter>>,
}

impl Body {
    /// The bytes at hand, waiting for some if there are none; nothing at the end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], Fault> {
        if self.chunk.is_empty() && !self.is_over {
            match self.inlet.wait(self.stall, &|| 0)? {
                Message::Chunk(chunk) => self.chunk = chunk,
                Message::End => self.is_over = true,
                Message::Failed(fault) => return Err(fault),
                Message::Head(_) => return Err(broken("a second head")),
            }
        }
        Ok(self.at_hand())
    }

    /// The bytes at hand.
    pub(crate) fn at_hand(&self) -> &[u8] {
        &self.chunk
    }

    /// Takes `n` bytes off those at hand.
    pub(crate) fn consume(&mut self, n: usize) {
        let taken = self.chunk.split_to(n.min(self.chunk.len()));
        if let Some(meter) = &self.meter {
            meter.received(taken.len() as u64);
        }
        if let Some(throttle) = self.throttle.as_ref().filter(|_| !taken.is_empty()) {
            throttle.pass(taken.len() as u64);
        }
        self.room.add_permits(taken.len());
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

fn broken(reason: &str) -> Fault {
    Fault::Broken(Cause::of(&io::Error::other(reason)))
}

fn fault_of(error: &reqwest::Error) -> Fault {
    let cause = Cause::of(error);
    if inside::<Barred>(error).is_some() {
        return Fault::Barred;
    }
    if let Some(cause) = inside(error).and_then(in_common) {
        return Fault::Handshake(cause);
    }
    match inside(error) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => {
            Fault::Certificate(cause)
        }
        Some(error) if let Some(complaint) = complaint_of(error) => complaint,
        _ if error.is_connect() => Fault::Connect(cause),
        _ => Fault::Broken(cause),
    }
}

/// What a server has said against our certificate, if it is that.
pub(super) fn complaint_of(error: &rustls::Error) -> Option<Fault> {
    let rustls::Error::AlertReceived(alert) = error else { return None };
    is_about_us(*alert).then(|| Fault::Unwelcome(Cause::of(error)))
}

/// What to tell of a handshake that fails for want of an algorithm. ring checks no signatures of P-521, so none are offered.
fn in_common(error: &rustls::Error) -> Option<Cause> {
    use CertificateError as Certificate;
    let reason = match error {
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            "nothing in common with the server, whose certificate may be of a kind that isn't supported (P-521)"
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks no TLS newer than 1.1, which isn't supported"
        }
        rustls::Error::InvalidCertificate(
            Certificate::UnsupportedSignatureAlgorithmContext { .. }
            | Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => "its certificate is signed in a way that isn't supported (P-521, for one)",
        _ => return None,
    };
    Some(Cause::said(reason))
}

/// The error of a kind that has a part in a failure: what TLS says of it, for one.
fn inside<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut link: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = link {
        let found = error.downcast_ref::<T>();
        if found.is_some() {
            return found;
        }
        // What an io::Error was made of is not its source; that would be the source of that.
        let made_of = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        link = made_of.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Whether a server's alert is about the certificate that it was shown, or was not; trying again doesn't cure that.
fn is_about_us(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::engine::Engine;

    #[test]
    fn what_is_not_read_waits_with_the_sender() {
        let (messages, mut taken) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(ROOM));
        let outlet = Outlet { messages, room: Arc::clone(&room) };
        let engine = Engine::default();
        let handle = engine.handle().unwrap();
        let mut n_taken = || match taken.try_recv() {
            Ok(Message::Chunk(chunk)) => chunk.len(),
            _ => 0,
        };
        let mut passing = pin!(outlet.pass(vec![0; ROOM + 1].into()));
        assert_eq!(engine::wait(handle, GLANCE, passing.as_mut()), None);
        assert_eq!((n_taken(), n_taken()), (ROOM, 0));
        room.add_permits(1);
        handle.block_on(passing);
        assert_eq!(n_taken(), 1);
    }

    #[test]
    fn nothing_waits_for_room_that_nobody_will_make() {
        let (messages, taken) = mpsc::unbounded_channel();
        let outlet = Outlet { messages, room: Arc::new(Semaphore::new(0)) };
        drop(taken);
        Engine::default().handle().unwrap().block_on(outlet.pass(vec![0; 1].into()));
    }
}
