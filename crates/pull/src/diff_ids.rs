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

#[cfg(test)]
mod tests {
    use registry::{Client, Options};

    use super::*;

    #[test]
    fn what_was_verified_once_is_not_verified_again() {
        let sandbox = kit::Sandbox::new();
        let store = Store::open(sandbox.path("store")).unwrap();
        let client = Client::new(Options::default()).unwrap();
        let repository = client.repository(&"localhost:1/app".parse().unwrap()).unwrap();
        let blob = |n: u8, diff_ids: &[&[u8]]| Blob {
            descriptor: layer_format::Descriptor::of("", &[n]),
            repository: repository.clone(),
            diff_ids: diff_ids.iter().map(|content| DiffId(Digest::of(content))).collect(),
        };
        let one = blob(1, &[b"a"]);
        let verified = unverified(&one, &store);
        assert_eq!(verified, [DiffId(Digest::of(b"a"))]);
        remember(&one, &verified, &store);
        assert!(unverified(&one, &store).is_empty());
        // Another one of the same blob is another claim.
        assert_eq!(unverified(&blob(1, &[b"b"]), &store).len(), 1);
        assert_eq!(unverified(&blob(2, &[b"a"]), &store).len(), 1);
        let claims = check(&one, &[DiffId(Digest::of(b"b"))], &store, || &b"a"[..]);
        assert!(matches!(claims, Err(Error::DigestMismatch { .. })), "{claims:?}");
    }
}
