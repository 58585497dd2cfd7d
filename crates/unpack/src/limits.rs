//! How large a stranger's image may be.

use cli::{Failure, Limits};
use layer_format::layer::{Change, EntryKind};

/// How much of what is allowed the layers have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    limits: Limits,
    size: u64,
    n_entries: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a change into account, before it is applied: what a later layer replaces or removes counts as well, because it
    /// has been there.
    ///
    /// # Errors
    /// [`cli::Code::Untrusted`] where that is more than is allowed.
    pub(crate) fn spend(&mut self, change: &Change) -> Result<(), Failure> {
        let Change::Add(entry) = change else { return Ok(()) };
        // It is there without any entry.
        if entry.path.is_root() {
            return Ok(());
        }
        let size = if let EntryKind::File { size, .. } = &entry.kind { *size } else { 0 };
        self.size = self.size.saturating_add(size);
        self.n_entries += 1;
        self.limits.check_so_far(self.n_entries, self.size)
    }
}
