//! Verifies that layers decompress to the diff ids in configs. A pair of blob and diff id that was verified once stays
//! true, and the store remembers it.

use std::io::Read;

use layer_format::{DiffId, Digest, Error};
use store::{ListingDraft, Pair, Store};
use stream::inspect;

use crate::blob::Blob;

/// The diff ids that a layer must have and that the store doesn't remember as verified.
pub(crate) fn unverified(blob: &Blob, store: &Store) -> Vec<DiffId> {
    let is_known = |claim: &DiffId| Pair::new(blob.descriptor.digest, *claim).is_known(Some(store));
    blob.diff_ids.iter().copied().filter(|claim| !is_known(claim)).collect()
}

/// Checks that a layer has all the diff ids of `claims`, and leaves its listing in the store. There is more than one only if
/// they are of different algorithms; the layer is read once for each algorithm.
///
/// # Errors
/// [`Error::DigestMismatch`], if it has not, and those of reading it.
pub(crate) fn check<R: Read>(
    blob: &Blob,
    claims: &[DiffId],
    store: &Store,
    layer: impl Fn() -> R,
) -> Result<(), Error> {
    let mut found: Option<Digest> = None;
    for claim in claims {
        let algorithm = claim.0.algorithm();
        let read = || {
            let listing = ListingDraft::if_missing(store, claim);
            let watcher = listing.map(ListingDraft::watcher);
            inspect::diff_id(layer(), algorithm, cli::interrupt::requested, watcher)
        };
        let known = found.filter(|found| found.algorithm() == algorithm);
        let digest = known.map_or_else(read, Ok)?;
        Pair::new(blob.descriptor.digest, *claim).check(digest)?;
        found = Some(digest);
    }
    Ok(())
}

/// Makes the store remember the diff id that was verified.
pub(crate) fn remember(blob: &Blob, verified: &[DiffId], store: &Store) {
    if let [diff_id] = verified {
        Pair::new(blob.descriptor.digest, *diff_id).remember(Some(store));
    }
}
