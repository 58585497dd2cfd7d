//! Limits for the size of an image that isn't trusted.

use cli::{Failure, Limits};
use layer_format::layer::{Change, EntryKind};

/// The limits, and how much of them the layers have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    limits: Limits,
    /// In bytes.
    size: u64,
    n_entries: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Counts a change before it is applied. What a later layer replaces or removes counts as well, because it is on the disk for
    /// a while.
    ///
    /// # Errors
    /// [`cli::Code::Untrusted`], if that is more than is allowed.
    pub(crate) fn spend(&mut self, change: &Change) -> Result<(), Failure> {
        let Change::Add(entry) = change else { return Ok(()) };
        // The root directory exists without an entry.
        if entry.path.is_root() {
            return Ok(());
        }
        let size = if let EntryKind::File { size, .. } = &entry.kind { *size } else { 0 };
        self.size = self.size.saturating_add(size);
        self.n_entries += 1;
        self.limits.check_so_far(self.n_entries, self.size)
    }
}
