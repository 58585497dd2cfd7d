//! What the caller of a comparison decides.

use super::attributes::Attributes;
use super::identity::Identity;
use crate::scan::LeaveOut;

/// How a record and a scan are compared.
#[derive(Clone)]
pub struct DiffOptions<'a> {
    /// The attributes that may be different without being a change.
    pub ignore: Attributes,
    /// Which attributes of the scanned tree can be relied on.
    pub identity: Identity,
    /// The owner of new files; without it, the one that the scan has found, or root if that is not known.
    pub default_owner: Option<(u32, u32)>,
    /// Tells which paths were left out of the scan.
    pub leave_out: Option<LeaveOut<'a>>,
}

impl std::fmt::Debug for DiffOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ignore, identity, default_owner, .. } = self;
        f.debug_struct("DiffOptions")
            .field("ignore", ignore)
            .field("identity", identity)
            .field("default_owner", default_owner)
            .finish_non_exhaustive()
    }
}
