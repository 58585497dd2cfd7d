//! A slow line: a relay on loopback that hands everything on half a round trip late, and counts what passes.
//!
//! Every byte is late by the same time and as many may be under way as there are, so that waiting is all that it adds. On
//! loopback a connection is there at once, so what a client sends first waits for the round trip that connecting takes.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::messages::{Event, Messages};

/// How much later everything arrives.
const DELAY: Duration = Duration::from_millis(25);
/// How much is taken at once, and how many such pieces are under way on a connection.
const PIECE: usize = 64 << 10;
const N_PIECES: usize = 256;

/// What has passed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) connections: usize,
    pub(super) requests: usize,
    /// The most requests at once that waited for the end of their answers.
    pub(super) at_once: usize,
    open: usize,
}

/// A running relay; dropping it ends it with all its connections.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
    acceptor: Option<JoinHandle<()>>,
}

/// What all connections share.
#[derive(Debug)]
struct Line {
    /// The registry.
    far: String,
    counts: Mutex<Counts>,
    is_over: AtomicBool,
}

/// One connection: the methods of the requests that aren't answered.
type Open = Arc<Mutex<VecDeque<String>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// One before a registry, `HOST:PORT`.
    pub(super) fn start(far: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the relay")?;
        let address = listener.local_addr().context("the relay's port")?;
        let line =
            Line { far: far.to_owned(), counts: Mutex::default(), is_over: AtomicBool::new(false) };
        let line = Arc::new(line);
        let for_thread = Arc::clone(&line);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_thread));
        Ok(Self { address, line, acceptor: Some(acceptor) })
    }

    /// Where clients find it: `HOST:PORT`.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn counts(&self) -> Counts {
        *lock(&self.line.counts)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        drop(self.acceptor.take().map(JoinHandle::join));
    }
}

fn accept(listener: &TcpListener, line: &Arc<Line>) {
    for near in listener.incoming() {
        if line.is_over.load(Ordering::SeqCst) {
            break;
        }
        // A connection that can't be made ends at once, and the client says so.
        near.and_then(|near| line.join(near)).ok();
    }
}

/// Notes when each piece is due; none leaves before the moment given.
fn take(
    mut from: TcpStream,
    earliest: Instant,
    to: &SyncSender<(Instant, Vec<u8>)>,
    mut see: impl FnMut(&[u8]),
) {
    let mut buffer = vec![0; PIECE];
    while let Ok(n_bytes @ 1..) = from.read(&mut buffer) {
        see(&buffer[..n_bytes]);
        if to.send((Instant::now().max(earliest) + DELAY, buffer[..n_bytes].to_vec())).is_err() {
            break;
        }
    }
}

/// Passes each piece on when it is due, and the end after the last one.
fn hand_on(mut to: TcpStream, from: &Receiver<(Instant, Vec<u8>)>, mut see: impl FnMut(&[u8])) {
    for (due, piece) in from {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // First, since who has an answer may ask again before this goes on.
        see(&piece);
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

impl Line {
    /// Hands on what comes, both ways. The threads end when both sides have closed the connection.
    fn join(self: &Arc<Self>, near: TcpStream) -> io::Result<()> {
        let far = TcpStream::connect(&self.far)?;
        lock(&self.counts).connections += 1;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_in, far_out) = (near.try_clone()?, far.try_clone()?);
        let open = Open::default();

        let (line, asked, mut requests) =
            (Arc::clone(self), Arc::clone(&open), Messages::requests());
        let see = move |bytes: &[u8]| line.asked(&mut requests, bytes, &asked);
        let (send, receive) = sync_channel(N_PIECES);
        let connected = Instant::now() + 2 * DELAY;
        std::thread::spawn(move || take(near_in, connected, &send, see));
        std::thread::spawn(move || hand_on(far_out, &receive, |_| {}));

        let (line, mut responses) = (Arc::clone(self), Messages::responses());
        let (send, receive) = sync_channel(N_PIECES);
        std::thread::spawn(move || take(far, Instant::now(), &send, |_| {}));
        std::thread::spawn(move || {
            hand_on(near, &receive, |bytes| line.answered(&mut responses, bytes, &open));
            // Whoever goes away waits for nothing.
            lock(&line.counts).open -= lock(&open).drain(..).count();
        });
        Ok(())
    }

    fn asked(&self, requests: &mut Messages, bytes: &[u8], open: &Open) {
        for event in requests.feed(bytes, |_| false) {
            let Event::Head(line) = event else { continue };
            lock(open).push_back(line);
            let mut counts = lock(&self.counts);
            counts.requests += 1;
            counts.open += 1;
            counts.at_once = counts.at_once.max(counts.open);
        }
    }

    fn answered(&self, responses: &mut Messages, bytes: &[u8], open: &Open) {
        let is_bare = |line: &str| {
            let status = line.split(' ').nth(1).unwrap_or_default();
            let asked = lock(open);
            ["204", "304"].contains(&status)
                || asked.front().is_some_and(|asked| asked.starts_with("HEAD "))
        };
        for event in responses.feed(bytes, is_bare) {
            if event == Event::End && lock(open).pop_front().is_some() {
                lock(&self.counts).open -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kit::{Image, Registry};

    use super::*;

    /// Asks for the same thing so many times on one connection, and reads the answers.
    fn ask(host: &str, line: &str, n_times: usize) {
        let mut stream = TcpStream::connect(host).unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
        let last = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all((request.repeat(n_times - 1) + &last).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200").count(), n_times, "{answers}");
    }

    #[test]
    fn what_passes_is_counted_and_late() {
        let registry = Registry::start();
        registry.add("app:1", Image::new());
        let relay = Relay::start(&registry.host()).unwrap();
        let start = Instant::now();
        ask(&relay.host(), "HEAD /v2/app/manifests/1", 3);
        ask(&relay.host(), "GET /v2/app/manifests/1", 2);
        // Twice, a round trip to connect and one to be answered.
        assert!(start.elapsed() >= 8 * DELAY);
        let counts = relay.counts();
        assert_eq!((counts.connections, counts.requests, counts.at_once), (2, 5, 3));
    }
}
