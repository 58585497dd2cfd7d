//! The thread on which connections are at work. Nothing above this module knows that anything here is asynchronous.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::Cause;

/// A runtime, made when first needed, and left behind without waiting for peers that never answer.
#[derive(Default)]
pub(super) struct Engine(OnceLock<Result<Runtime, Cause>>);

impl Engine {
    /// Where tasks are started.
    pub(super) fn handle(&self) -> Result<&Handle, Cause> {
        let runtime = self.0.get_or_init(|| {
            // A second thread gains nothing: sockets are written to and read from faster than bytes are hashed.
            let mut builder = Builder::new_multi_thread();
            let builder = builder.worker_threads(1).thread_name("network").enable_all();
            builder.build().map_err(|error| Cause::of(&error))
        });
        runtime.as_ref().map(Runtime::handle).map_err(Cause::clone)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(Ok(runtime)) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// Waits for something on this thread, for so long at most.
pub(super) fn wait<T>(handle: &Handle, time: Duration, what: impl Future<Output = T>) -> Option<T> {
    handle.block_on(async { tokio::time::timeout(time, what).await.ok() })
}
