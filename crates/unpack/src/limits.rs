//! Limits for the size of an image that isn't trusted.

use std::sync::atomic::{AtomicU64, Ordering};

use cli::{Failure, Limits};
use layer_format::layer::{Change, EntryKind};

/// The limits, and how much of them the layers have used so far. Several threads may count in it.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    limits: Limits,
    /// In bytes.
    size: AtomicU64,
    n_entries: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The same limits, of which nothing is used.
    pub(crate) fn renewed(&self) -> Self {
        Self::new(self.limits)
    }

    /// Counts a change before it is applied. What a later layer replaces or removes counts as well, because it is on the disk for
    /// a while.
    ///
    /// # Errors
    /// [`cli::Code::Untrusted`], if that is more than is allowed.
    pub(crate) fn spend(&self, change: &Change) -> Result<(), Failure> {
        let Change::Add(entry) = change else { return Ok(()) };
        // The root directory exists without an entry.
        if entry.path.is_root() {
            return Ok(());
        }
        let size = if let EntryKind::File { size, .. } = &entry.kind { *size } else { 0 };
        let add = |sum: &AtomicU64, n: u64| {
            let added = |sum: u64| Some(sum.saturating_add(n));
            let before = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
            before.unwrap_or(u64::MAX).saturating_add(n)
        };
        self.limits.check_so_far(add(&self.n_entries, 1), add(&self.size, size))
    }
}
