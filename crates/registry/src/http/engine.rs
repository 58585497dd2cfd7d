//! The thread on which connections are at work. Nothing above this module knows that anything here is asynchronous.
//!
//! Threads are started here and not by the runtime, which panics if the system allows no more of them. Here the run
//! ends with an error.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::base::Cause;

/// A runtime that is made when first needed, and dropped without waiting for peers that never answer.
#[derive(Default)]
pub(super) struct Engine(OnceLock<Result<Running, Cause>>);

/// A runtime at work on a thread of its own, until this is dropped.
struct Running {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Running {
    fn start() -> io::Result<Self> {
        // A second thread gains nothing: sockets are written to and read from faster than bytes are hashed.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("network".to_owned()).spawn(move || {
            // The error says that the sender is gone, which is the end.
            runtime.block_on(ended).ok();
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _end: end })
    }
}

impl Engine {
    /// The runtime on which tasks are started.
    ///
    /// # Errors
    ///
    /// If the runtime or its thread could not be started.
    pub(super) fn handle(&self) -> Result<&Handle, Cause> {
        let running = self.0.get_or_init(|| Running::start().map_err(|error| Cause::of(&error)));
        running.as_ref().map(|running| &running.handle).map_err(Cause::clone)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Waits for something on this thread, for `time` at most.
pub(super) fn wait<T>(handle: &Handle, time: Duration, what: impl Future<Output = T>) -> Option<T> {
    handle.block_on(async { tokio::time::timeout(time, what).await.ok() })
}

/// Looks up the addresses of a host as the system does, each on a thread of its own.
#[derive(Debug)]
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let (sender, found) = oneshot::channel();
            // The port is set later.
            let look_up = move || sender.send((name.as_str(), 0).to_socket_addrs()).ok();
            thread::Builder::new().name("resolver".to_owned()).spawn(look_up)?;
            Ok(Box::new(found.await??) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_the_addresses_that_the_system_knows() {
        let engine = Engine::default();
        let looked_up = Resolver.resolve("localhost".parse().unwrap());
        let found = engine.handle().unwrap().block_on(looked_up).unwrap();
        assert!(found.into_iter().all(|address| address.ip().is_loopback()));
    }
}
