//! What layers decompress to, compared with what configs say. A pair of blob and diff id that was verified once is true for
//! ever, and the store remembers it.

use std::io::Read;

use layer_format::{DiffId, Digest, Error, diff};
use store::{ListingDraft, Pair, Store};

use crate::fetch::Blob;

/// What a layer must decompress to, as far as that was not verified before.
pub(crate) fn unproven(blob: &Blob, store: &Store) -> Vec<DiffId> {
    let is_known = |claim: &DiffId| Pair::new(blob.descriptor.digest, *claim).is_known(Some(store));
    blob.diff_ids.iter().copied().filter(|claim| !is_known(claim)).collect()
}

/// Checks that a layer decompresses to all that is claimed, which is more than one thing only in two algorithms, and leaves
/// a listing behind.
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
            let how = (algorithm, cli::interrupt::requested as diff::Stop);
            diff::of(layer(), how, listing.map(ListingDraft::watcher))
        };
        let known = found.filter(|found| found.algorithm() == algorithm);
        let digest = known.map_or_else(read, Ok)?;
        Pair::new(blob.descriptor.digest, *claim).check(digest)?;
        found = Some(digest);
    }
    Ok(())
}

/// Remembers what was verified.
pub(crate) fn note(blob: &Blob, verified: &[DiffId], store: &Store) {
    if let [diff_id] = verified {
        Pair::new(blob.descriptor.digest, *diff_id).remember(Some(store));
    }
}
