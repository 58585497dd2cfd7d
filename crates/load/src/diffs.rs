//! The diff ids that were found so far, and those on their way.

use std::collections::{HashMap, VecDeque};

use layer_format::diff::{Diffing, Ending};
use layer_format::{Digest, Error};

/// How many blobs may be behind.
const BEHIND: usize = 4;

type Outcome = Result<Digest, Error>;

/// What blobs were found to decompress to.
#[derive(Debug, Default)]
pub(crate) struct Diffs {
    running: VecDeque<(Digest, Ending)>,
    known: HashMap<Digest, Outcome>,
}

impl Diffs {
    /// Notes a diff id that needs no finding out.
    pub(crate) fn note(&mut self, blob: Digest, diff_id: Digest) {
        self.known.insert(blob, Ok(diff_id));
    }

    /// Takes in what was begun, once the blob's digest is known.
    pub(crate) fn add(&mut self, blob: Digest, diffing: Diffing) {
        self.running.push_back((blob, diffing.end()));
        while self.running.len() > BEHIND {
            self.join_one();
        }
    }

    /// What a blob was found to decompress to; `None` if nobody looked.
    pub(crate) fn take(&mut self, blob: &Digest) -> Option<Outcome> {
        while self.running.iter().any(|(running, _)| running == blob) {
            self.join_one();
        }
        self.known.remove(blob)
    }

    /// The blob that was found to decompress to this.
    pub(crate) fn blob_of(&mut self, diff_id: &Digest) -> Option<Digest> {
        while !self.running.is_empty() {
            self.join_one();
        }
        let is_it = |outcome: &Outcome| outcome.as_ref().is_ok_and(|found| found == diff_id);
        self.known.iter().find(|(_, outcome)| is_it(outcome)).map(|(blob, _)| *blob)
    }

    fn join_one(&mut self) {
        if let Some((blob, ending)) = self.running.pop_front() {
            self.known.insert(blob, ending.digest());
        }
    }
}
