//! A registry on loopback: the distribution spec, logins, and faults to order.
//!
//! A plain HTTP/1.1 server with a thread a connection, all in memory, on a port of its own. It is
//! strict where clients may be wrong (ranges, upload states, scopes of tokens) and keeps a log of
//! every request, with the bytes of each body that were really sent.
//!
//! Blobs are also served at `/storage/<digest>`, without a login, as the target of redirects.
//! [`profiles`] has the ways of the registries that people use.

pub mod auth;
pub mod fault;
pub mod log;
pub mod profile;
pub mod profiles;

pub(crate) mod http;
mod reply;
mod repository;
mod route;
mod send;
mod upload;

use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::image::{Blob, Content};
use crate::or_panic::OrPanic as _;
use auth::{Auth, Tokens};
use fault::Fault;
use log::{Log, Request};
use profile::{Profile, Referrers};
use repository::Repositories;

/// A running registry; dropping it ends all its connections.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    acceptors: Vec<JoinHandle<()>>,
}

/// What all threads of a registry share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    /// Another host, which has the blobs alone and refuses logins.
    pub(crate) storage: Option<SocketAddr>,
    pub(crate) profile: Profile,
    pub(crate) auth: Auth,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) repositories: Mutex<Repositories>,
    pub(crate) faults: Mutex<Vec<Fault>>,
    pub(crate) log: Log,
    /// Whether it has the referrers API.
    pub(crate) knows_referrers: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
    /// True once stalled replies may go on; see [`Registry::release`].
    pub(crate) released: (Mutex<bool>, Condvar),
}

impl Shared {
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// A lock that a panicking thread elsewhere does not spoil.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// A registry without login.
    pub fn start() -> Self {
        Self::with_auth(Auth::Anonymous)
    }

    /// A registry that wants a login.
    pub fn with_auth(auth: Auth) -> Self {
        Self::new(&profiles::SPEC, auth)
    }

    /// A registry with the ways of one that people use, its login included.
    pub fn with_profile(profile: &Profile) -> Self {
        Self::new(profile, profile.auth())
    }

    fn new(profile: &Profile, auth: Auth) -> Self {
        let listener = listen();
        let storage = profile.has_storage.then(listen);
        let shared = Arc::new(Shared {
            address: address_of(&listener),
            storage: storage.as_ref().map(address_of),
            profile: *profile,
            auth,
            tokens: Mutex::default(),
            repositories: Mutex::default(),
            faults: Mutex::default(),
            log: Log::default(),
            knows_referrers: AtomicBool::new(profile.referrers == Referrers::Api),
            connections: Mutex::default(),
            stopping: AtomicBool::new(false),
            released: (Mutex::new(false), Condvar::new()),
        });
        let acceptors = [Some((listener, Host::Registry)), storage.map(|it| (it, Host::Storage))];
        let acceptors = acceptors.into_iter().flatten().map(|(listener, host)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared, host))
        });
        let acceptors = acceptors.collect();
        Self { shared, acceptors }
    }

    /// A registry without login that has the referrers API, two to a page.
    pub fn with_referrers() -> Self {
        let registry = Self::start();
        registry.shared.knows_referrers.store(true, Ordering::SeqCst);
        registry
    }

    /// `127.0.0.1:PORT`, as it stands in image names.
    pub fn host(&self) -> String {
        self.shared.host()
    }

    /// `host/name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Puts an image or an index under `repository:tag`; gives its digest.
    pub fn add(&self, name: &str, content: impl Into<Content>) -> String {
        let content = content.into();
        let (repository, tag) = name.rsplit_once(':').or_panic(format!("a tag in {name}"));
        let mut repositories = lock(&self.shared.repositories);
        let repository = repositories.open(repository);
        for blob in &content.blobs {
            repository.add(blob);
        }
        repository.tag(tag, content.digest());
        content.digest().to_owned()
    }

    /// Puts one blob into a repository; gives its digest.
    pub fn add_blob(&self, repository: &str, bytes: impl Into<Vec<u8>>) -> String {
        let blob = Blob::new("application/octet-stream", bytes.into());
        lock(&self.shared.repositories).open(repository).add(&blob);
        blob.digest
    }

    /// Removes a blob or manifest from a repository, leaving whatever refers to it.
    pub fn remove(&self, repository: &str, digest: &str) {
        lock(&self.shared.repositories).open(repository).remove(digest);
    }

    /// The bytes of a manifest by `repository:tag` or `repository@digest`.
    pub fn manifest(&self, name: &str) -> Option<Vec<u8>> {
        let (repository, reference) = name.split_once('@').or_else(|| name.rsplit_once(':'))?;
        let repositories = lock(&self.shared.repositories);
        let (_, _, bytes) = repositories.get(repository)?.manifest(reference)?;
        Some(bytes.to_vec())
    }

    /// The bytes of a blob of a repository.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        let repositories = lock(&self.shared.repositories);
        Some(repositories.get(repository)?.blob(digest)?.to_vec())
    }

    /// The tags of a repository, sorted.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let repositories = lock(&self.shared.repositories);
        repositories.get(repository).map(repository::Repository::tags).unwrap_or_default()
    }

    /// Orders a fault, after those ordered before.
    pub fn fault(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Takes back all faults.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Lets every stalled reply go on, now and from here on.
    pub fn release(&self) {
        *lock(&self.shared.released.0) = true;
        self.shared.released.1.notify_all();
    }

    /// Makes every token handed out so far invalid.
    pub fn revoke_tokens(&self) {
        lock(&self.shared.tokens).revoke();
    }

    /// Every request so far, in the order of their arrival; those still being answered too.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.requests()
    }

    /// The requests as text, `GET /v2/app/blobs/sha256:… 206` a line, digests cut to 12 digits.
    pub fn log(&self) -> String {
        self.shared.log.text()
    }

    /// Forgets all requests so far.
    pub fn forget(&self) {
        self.shared.log.clear();
    }

    /// The bytes of bodies sent for paths that contain some text.
    pub fn bytes_sent(&self, path: &str) -> u64 {
        self.requests().iter().filter(|it| it.path.contains(path)).map(|it| it.sent).sum()
    }

    /// The bytes of bodies received by a method: `PATCH`, `PUT`.
    pub fn bytes_received(&self, method: &str) -> u64 {
        self.requests().iter().filter(|it| it.method == method).map(|it| it.received).sum()
    }

    /// How many requests had this method (an empty one is any), and a path that contains some text.
    pub fn n_requests(&self, method: &str, path: &str) -> usize {
        let requests = self.requests();
        let has_method = |found: &str| method.is_empty() || found == method;
        requests.iter().filter(|it| has_method(&it.method) && it.path.contains(path)).count()
    }

    /// How many uploads are under way, or were left behind.
    pub fn n_uploads(&self) -> usize {
        lock(&self.shared.repositories).uploads.len()
    }

    /// Forgets all uploads under way.
    pub fn forget_uploads(&self) {
        lock(&self.shared.repositories).uploads.clear();
    }

    /// (path, offset within the content, bytes sent) of every answered GET with a body whose path
    /// contains some text.
    pub fn ranges(&self, path: &str) -> Vec<(String, u64, u64)> {
        log::ranges(&self.requests(), path)
    }

    /// The ranges of blobs that were sent more than once: (path, offset, length). Empty when no
    /// byte was fetched twice.
    pub fn sent_twice(&self, path: &str) -> Vec<(String, u64, u64)> {
        log::overlaps(&self.ranges(path))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.release();
        for address in self.shared.storage.iter().chain([&self.shared.address]) {
            drop(TcpStream::connect(address));
        }
        for connection in lock(&self.shared.connections).drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
        for acceptor in self.acceptors.drain(..) {
            drop(acceptor.join());
        }
    }
}

/// Which of a registry's two hosts is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Registry,
    Storage,
}

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").or_panic("bind a port on loopback")
}

fn address_of(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().or_panic("ask for the port")
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, host: Host) {
    let mut threads = Vec::new();
    for connection in listener.incoming() {
        if shared.stopping() {
            break;
        }
        let Ok(connection) = connection else { continue };
        let Ok(copy) = connection.try_clone() else { continue };
        lock(&shared.connections).push(copy);
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || serve(&connection, &shared, host)));
    }
    for connection in lock(&shared.connections).drain(..) {
        drop(connection.shutdown(Shutdown::Both));
    }
    for thread in threads {
        drop(thread.join());
    }
}

/// Answers one request after the other until either side wants no more.
fn serve(connection: &TcpStream, shared: &Shared, host: Host) {
    drop(connection.set_nodelay(true));
    let mut input = BufReader::new(connection);
    while let Ok(Some(request)) = http::read(&mut input) {
        let entry = shared.log.begin(&request);
        let answered = route::answer((shared, host), &request, &mut input, entry)
            .and_then(|reply| send::send(connection, &request, &reply, shared, entry));
        match answered {
            Ok(send::After::KeepAlive) if !shared.stopping() => {}
            _ => break,
        }
    }
    // Only this ends the connection: a clone of it stays in the list.
    drop(connection.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests;
