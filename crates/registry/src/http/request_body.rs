//! The body of a request: a part of some content, watched while the network takes it.
//!
//! Content may be slow to read and connections share a thread, so another thread reads ahead, a few pieces at a time.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::thread::Builder;

use http_body::{Frame, SizeHint};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::request::Payload;
use super::throttle::Throttle;
use crate::base::{Cause, lock};

/// Bytes as the HTTP client has them.
pub(super) type Bytes = <reqwest::Body as http_body::Body>::Data;

/// How many bytes are read at a time: pieces of 8 KiB cost four times the CPU, larger ones than this save nothing.
const PIECE: u64 = 128 << 10;
/// How many pieces may wait for the network.
const DEPTH: usize = 2;

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(super) struct UploadProgress {
    /// How many bytes the network has taken.
    taken: AtomicU64,
    /// Whether the content itself is being waited for, which is not the network's fault.
    is_waiting: AtomicBool,
    /// Why the content could not be read.
    failed: Mutex<Option<Cause>>,
}

/// A body as the HTTP client takes it. Once it is dropped, nothing more is read.
#[derive(Debug)]
pub(super) struct RequestBody {
    pieces: Receiver<Bytes>,
    left: u64,
    progress: Arc<UploadProgress>,
}

impl Payload {
    /// Starts a thread that reads the content, and gives the body that takes what was read.
    ///
    /// # Errors
    ///
    /// If the content can't be opened, or no thread can be started.
    pub(super) fn open(
        &self,
        progress: &Arc<UploadProgress>,
        throttle: Option<Arc<Throttle>>,
    ) -> Result<RequestBody, Cause> {
        let content = self.content.open(self.offset).map_err(|error| Cause::of(&error))?;
        let content = content.take(self.length);
        let (sender, pieces) = mpsc::channel(DEPTH);
        let reading = Arc::clone(progress);
        let thread = Builder::new().name("upload".to_owned()).spawn(move || {
            let waiting = &reading.is_waiting;
            if let Err(error) = read(content, &sender, throttle.as_deref(), waiting) {
                *lock(&reading.failed) = Some(Cause::of(&error));
            }
        });
        thread.map_err(|error| Cause::of(&error))?;
        Ok(RequestBody { pieces, left: self.length, progress: Arc::clone(progress) })
    }
}

/// Reads the whole content, as long as its pieces are taken.
fn read(
    mut content: io::Take<Box<dyn Read + Send>>,
    sender: &Sender<Bytes>,
    throttle: Option<&Throttle>,
    is_waiting: &AtomicBool,
) -> io::Result<()> {
    let longest = throttle.map_or(PIECE, |throttle| throttle.piece().min(PIECE));
    while content.limit() > 0 {
        let length = content.limit().min(longest);
        let mut piece = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        is_waiting.store(true, Ordering::Relaxed);
        let n = content.by_ref().take(length).read_to_end(&mut piece);
        is_waiting.store(false, Ordering::Relaxed);
        if n? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(throttle) = throttle {
            throttle.pass(piece.len() as u64);
        }
        if sender.blocking_send(piece.into()).is_err() {
            break;
        }
    }
    Ok(())
}

impl UploadProgress {
    /// Whether the content itself is being waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }

    /// How many bytes the network has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Why the content itself could not be read.
    pub(super) fn failure(&self) -> Option<Cause> {
        lock(&self.failed).clone()
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match ready!(self.pieces.poll_recv(context)) {
            Some(piece) => {
                let n = piece.len() as u64;
                self.left = self.left.saturating_sub(n);
                self.progress.taken.fetch_add(n, Ordering::Relaxed);
                Some(Ok(Frame::data(piece)))
            }
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::ops::Range;

    use http_body::Body as _;

    use super::super::engine::Engine;
    use super::*;
    use crate::base::{Content, Window};

    /// Endless zeros, counted as they are read.
    #[derive(Debug, Default)]
    struct Endless(Arc<AtomicU64>);

    impl Content for Endless {
        fn range(&self) -> Range<u64> {
            0..u64::MAX
        }

        fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(Self(Arc::clone(&self.0))))
        }
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(0);
            self.0.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            Ok(buffer.len())
        }
    }

    #[test]
    fn so_much_is_read_as_is_taken() {
        let n_read = Arc::new(AtomicU64::new(0));
        let content = Arc::new(Endless(Arc::clone(&n_read)));
        let engine = Engine::default();
        let progress = Arc::default();
        let handle = engine.handle().unwrap();
        let payload = Payload { content, offset: 0, length: 1 << 40 };
        let mut body = payload.open(&progress, None).unwrap();
        assert_eq!(body.size_hint().exact(), Some(1 << 40));
        let taken = handle.block_on(poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
        assert_eq!(taken.unwrap().unwrap().into_data().unwrap().len() as u64, PIECE);
        assert_eq!((progress.taken(), body.size_hint().exact()), (PIECE, Some((1 << 40) - PIECE)));
        // The reader is at work as long as it holds its end of the channel.
        body.pieces.close();
        while handle.block_on(body.pieces.recv()).is_some() {}
        drop(body);
        assert!(n_read.load(Ordering::Relaxed) <= (DEPTH as u64 + 2) * PIECE);
        assert_eq!(progress.failure(), None);
    }

    #[test]
    fn what_ends_early_is_a_failure() {
        let content = Arc::new(Window::new(0, *b"abc"));
        let engine = Engine::default();
        let progress = Arc::default();
        let handle = engine.handle().unwrap();
        let payload = Payload { content, offset: 1, length: 3 };
        let mut body = payload.open(&progress, None).unwrap();
        let mut next =
            || handle.block_on(poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
        assert_eq!(&next().unwrap().unwrap().into_data().unwrap()[..], b"bc");
        assert!(next().unwrap().is_err());
        assert_eq!(progress.failure().unwrap().to_string(), "unexpected end of file");
    }
}
