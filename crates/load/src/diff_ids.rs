//! The diff ids that were computed so far, and those that are being computed.

use std::collections::{HashMap, VecDeque};

use layer_format::{Digest, Error};
use stream::inspect::PendingDigest;

/// The most blobs whose diff ids are computed at once.
const MAX_RUNNING: usize = 4;

type Outcome = Result<Digest, Error>;

/// The digests of what blobs decompress to.
#[derive(Debug, Default)]
pub(crate) struct DiffIds {
    running: VecDeque<(Digest, PendingDigest)>,
    known: HashMap<Digest, Outcome>,
}

impl DiffIds {
    /// Adds a diff id that is known.
    pub(crate) fn note(&mut self, blob: Digest, diff_id: Digest) {
        self.known.insert(blob, Ok(diff_id));
    }

    /// Adds a diff id that is being computed, once the blob's digest is known.
    pub(crate) fn add(&mut self, blob: Digest, pending: PendingDigest) {
        self.running.push_back((blob, pending));
        while self.running.len() > MAX_RUNNING {
            self.join_one();
        }
    }

    /// Whether the diff id of a blob is known, or being computed.
    pub(crate) fn has(&self, blob: &Digest) -> bool {
        self.known.contains_key(blob) || self.running.iter().any(|(running, _)| running == blob)
    }

    /// Takes out the diff id of a blob, and waits for it if need be; `None` if it wasn't computed.
    pub(crate) fn take(&mut self, blob: &Digest) -> Option<Outcome> {
        while self.running.iter().any(|(running, _)| running == blob) {
            self.join_one();
        }
        self.known.remove(blob)
    }

    /// The blob with this diff id; waits for all that are being computed.
    pub(crate) fn blob_of(&mut self, diff_id: &Digest) -> Option<Digest> {
        while !self.running.is_empty() {
            self.join_one();
        }
        let is_it = |outcome: &Outcome| outcome.as_ref().is_ok_and(|found| found == diff_id);
        self.known.iter().find(|(_, outcome)| is_it(outcome)).map(|(blob, _)| *blob)
    }

    fn join_one(&mut self) {
        if let Some((blob, pending)) = self.running.pop_front() {
            self.known.insert(blob, pending.digest());
        }
    }
}
