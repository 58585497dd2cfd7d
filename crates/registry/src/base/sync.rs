//! Waiting and locking, the same way everywhere.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a wait checks whether it was cancelled.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Locks a mutex. One that a thread left behind by a panic is locked all the same: no value here is ever left half
/// changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
