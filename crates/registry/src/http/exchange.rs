//! One HTTP exchange: a request, the head of its answer, and its body as chunks.
//!
//! Each is a task on the transport's own thread, which hands the body on by a channel with bounded room. So the reader
//! can give up at any moment, in the middle of a connection attempt too, and the clock that tells a stall from a pause
//! runs only while somebody waits. A task whose reader is gone ends at once.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::error::TransportError;
use super::request_body::{Bytes, UploadProgress};
use super::throttle::Throttle;
use super::traffic::Meter;
use super::{Timeouts, engine};
use crate::base::{Cause, POLL_INTERVAL};

/// How many bytes of a body may wait for the reader.
const ROOM: usize = 512 << 10;
/// How many bytes of a body that nobody reads any more are read, to keep the connection for the next request.
const DRAIN_LIMIT: usize = 64 << 10;
/// How long such a body is read at most.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The status, headers and body of an answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// The other end of the connection, which is the proxy where there is one.
    pub(super) peer: Option<IpAddr>,
}

/// A request that is ready to go.
pub(super) struct Sending<'a> {
    pub(super) handle: &'a Handle,
    pub(super) client: Client,
    pub(super) request: reqwest::Request,
    pub(super) timeouts: Timeouts,
    /// How far the request's own body has come.
    pub(super) progress: Arc<UploadProgress>,
    /// What gives this exchange up, and no other.
    pub(super) given_up: Option<Arc<AtomicBool>>,
}

impl Sending<'_> {
    /// Sends the request and waits for the head of its answer.
    pub(super) fn exchange(self) -> Result<Exchange, TransportError> {
        let progress = Arc::clone(&self.progress);
        let outcome = self.run();
        match progress.failure() {
            // The client only says that it could not send; why is known here.
            Some(cause) if outcome.is_err() => Err(TransportError::Content(cause)),
            _ => outcome,
        }
    }

    fn run(self) -> Result<Exchange, TransportError> {
        let Self { handle, client, request, timeouts, progress, given_up } = self;
        let (messages, incoming) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(ROOM));
        let sender = BodySender { messages, room: Arc::clone(&room) };
        handle.spawn(sender.run(client, request));
        let mut receiver = BodyReceiver {
            handle: handle.clone(),
            messages: incoming,
            cancelled: timeouts.cancelled,
            given_up,
        };
        // While the content itself is waited for, no clock runs.
        let n_waits = AtomicU64::new(0);
        let sent = || {
            let waits = u64::from(progress.is_waiting());
            progress.taken() + n_waits.fetch_add(waits, Ordering::Relaxed)
        };
        match receiver.wait(timeouts.connect + timeouts.stall, &sent)? {
            Message::Head(Head { status, headers, peer }) => {
                let body = Body {
                    receiver,
                    room,
                    chunk: Bytes::new(),
                    is_over: false,
                    stall: timeouts.stall,
                    throttle: None,
                    meter: None,
                };
                Ok(Exchange { status, headers, body, peer })
            }
            Message::Failed(error) => Err(error),
            Message::Chunk(_) | Message::End => Err(TransportError::broken("body before head")),
        }
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
    Failed(TransportError),
}

/// The task's end of the channel.
struct BodySender {
    messages: UnboundedSender<Message>,
    /// A permit for each byte that may still be sent. The reader gives them back.
    room: Arc<Semaphore>,
}

impl BodySender {
    /// The whole exchange.
    async fn run(self, client: Client, request: reqwest::Request) {
        let mut response = match self.while_wanted(client.execute(request)).await {
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                return self.put(Message::Failed(TransportError::of_request(&error)));
            }
            None => return,
        };
        let headers = std::mem::take(response.headers_mut());
        let peer = response.remote_addr().map(|address| address.ip());
        self.put(Message::Head(Head { status: response.status(), headers, peer }));
        loop {
            match self.while_wanted(response.chunk()).await {
                Some(Ok(Some(chunk))) => self.pass(chunk).await,
                Some(Ok(None)) => return self.put(Message::End),
                Some(Err(error)) => {
                    let error = TransportError::Broken(Cause::of(&error));
                    return self.put(Message::Failed(error));
                }
                None => break,
            }
        }
        // Whether it was read whole doesn't matter: then the connection is used again, else it is closed.
        tokio::time::timeout(DRAIN_TIME, drain(response, DRAIN_LIMIT)).await.ok();
    }

    /// Waits for something as long as there is a reader.
    async fn while_wanted<T>(&self, what: impl Future<Output = T>) -> Option<T> {
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
            let Some(Ok(permits)) = self.while_wanted(self.room.acquire_many(n_bytes)).await else {
                return;
            };
            permits.forget();
            self.put(Message::Chunk(piece));
        }
    }

    fn put(&self, message: Message) {
        // A reader that is gone wants no message; the next wait finds that out.
        self.messages.send(message).ok();
    }
}

/// Reads a short rest of a body, so that the connection can be used again.
async fn drain(mut response: Response, mut n_bytes: usize) {
    while let Ok(Some(chunk)) = response.chunk().await {
        let Some(left) = n_bytes.checked_sub(chunk.len()) else { return };
        n_bytes = left;
    }
}

/// The reader's end of the channel.
#[derive(Debug)]
struct BodyReceiver {
    handle: Handle,
    messages: UnboundedReceiver<Message>,
    cancelled: fn() -> bool,
    /// What gives up this exchange alone.
    given_up: Option<Arc<AtomicBool>>,
}

impl BodyReceiver {
    fn is_given_up(&self) -> bool {
        self.given_up.as_ref().is_some_and(|it| it.load(Ordering::Relaxed))
    }

    /// Waits for a message, for `limit` at most. The time begins anew whenever `progress` changes.
    fn wait(
        &mut self,
        limit: Duration,
        progress: &dyn Fn() -> u64,
    ) -> Result<Message, TransportError> {
        if let Ok(message) = self.messages.try_recv() {
            return Ok(message);
        }
        let mut started = Instant::now();
        let mut before = progress();
        loop {
            if (self.cancelled)() || self.is_given_up() {
                return Err(TransportError::Cancelled);
            }
            if before != progress() {
                started = Instant::now();
                before = progress();
            }
            let left = limit.saturating_sub(started.elapsed());
            match engine::wait(&self.handle, left.min(POLL_INTERVAL), self.messages.recv()) {
                Some(Some(message)) => return Ok(message),
                Some(None) => return Err(TransportError::broken("the connection was lost")),
                None if left.is_zero() => return Err(TransportError::Stalled(limit)),
                None => {}
            }
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    receiver: BodyReceiver,
    room: Arc<Semaphore>,
    chunk: Bytes,
    is_over: bool,
    stall: Duration,
    pub(super) throttle: Option<Arc<Throttle>>,
    pub(super) meter: Option<Arc<Meter>>,
}

impl Body {
    /// The bytes at hand, waiting for some if there are none; nothing at the end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], TransportError> {
        if self.chunk.is_empty() && !self.is_over {
            match self.receiver.wait(self.stall, &|| 0)? {
                Message::Chunk(chunk) => self.chunk = chunk,
                Message::End => self.is_over = true,
                Message::Failed(error) => return Err(error),
                Message::Head(_) => return Err(TransportError::broken("a second head")),
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
    pub(crate) fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, TransportError> {
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

#[cfg(test)]
mod tests {
    use super::super::engine::Engine;
    use super::*;

    #[test]
    fn what_is_not_read_waits_with_the_sender() {
        let (messages, mut taken) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(ROOM));
        let sender = BodySender { messages, room: Arc::clone(&room) };
        let engine = Engine::default();
        let handle = engine.handle().unwrap();
        let mut n_taken = || match taken.try_recv() {
            Ok(Message::Chunk(chunk)) => chunk.len(),
            _ => 0,
        };
        let mut passing = pin!(sender.pass(vec![0; ROOM + 1].into()));
        assert_eq!(engine::wait(handle, POLL_INTERVAL, passing.as_mut()), None);
        assert_eq!((n_taken(), n_taken()), (ROOM, 0));
        room.add_permits(1);
        handle.block_on(passing);
        assert_eq!(n_taken(), 1);
    }

    #[test]
    fn what_is_given_up_is_not_waited_for() {
        let (messages, incoming) = mpsc::unbounded_channel();
        let engine = Engine::default();
        let handle = engine.handle().unwrap().clone();
        let given_up = Arc::new(AtomicBool::new(false));
        let mut receiver = BodyReceiver {
            handle,
            messages: incoming,
            cancelled: || false,
            given_up: Some(Arc::clone(&given_up)),
        };
        let mut waited = |limit| receiver.wait(limit, &|| 0);
        assert!(matches!(waited(POLL_INTERVAL), Err(TransportError::Stalled(_))));
        given_up.store(true, Ordering::Relaxed);
        assert!(matches!(waited(Duration::from_secs(3600)), Err(TransportError::Cancelled)));
        messages.send(Message::End).unwrap();
        assert!(matches!(waited(POLL_INTERVAL), Ok(Message::End)), "what is there is given out");
    }

    #[test]
    fn nothing_waits_for_room_that_nobody_will_make() {
        let (messages, taken) = mpsc::unbounded_channel();
        let sender = BodySender { messages, room: Arc::new(Semaphore::new(0)) };
        drop(taken);
        Engine::default().handle().unwrap().block_on(sender.pass(vec![0; 1].into()));
    }
}
