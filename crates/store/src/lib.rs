//! An image on a disk: an OCI image layout that any number of programs read and write at once.
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/…     what skopeo, umoci and crane read as it stands
//! strata/lock            held while index.json or a lease changes, and by gc from beginning to end
//! strata/leases/…        digests that running programs are about to name, a file for each program
//! strata/partial/…       downloads under way, by digest; resumable by a later program
//! strata/temp/…          files on their way to another name
//! strata/pairs/…         the diff id that a layer's blob was once found to have: a cache
//! strata/listing/…       what a layer holds, without contents, by diff id: a cache
//! strata/seek/…          where in a layer's blob decompressing can begin: a cache
//! strata/repositories/…  which repositories were seen to have a blob, by digest: a cache
//! strata/uploads/…       where interrupted uploads go on: a cache
//! strata/layers/…        layers extracted for union mounts: a cache
//! strata/unions/…        which of those are mounted, perhaps out of gc's sight
//! strata/targets/…       which image a directory was unpacked from, by inode: a cache
//! ```
//!
//! The crate knows no network and no terminal, and not what a root file system is.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("store");
//! use std::io::Read as _;
//! use store::Store;
//!
//! let store = Store::open(path)?;
//! // gc keeps what is written through a lease, for as long as the lease lives.
//! let lease = store.lease()?;
//! let digest = lease.put(b"{}")?;
//!
//! let mut content = String::new();
//! store.blob(&digest)?.expect("it was just written").read_to_string(&mut content)?;
//! assert_eq!(content, "{}");
//! assert!(store.images()?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # What holds after `kill -9`, on a full disk, and with many programs at work
//!
//! - A blob has its name under `blobs/` only when it was whole, verified and on disk: it is written elsewhere, synced,
//!   and renamed. A file there of another size than a descriptor says counts as missing and is replaced.
//! - `index.json` is replaced by rename, under the lock, after the directories of the blobs were synced; it never names
//!   an image that wasn't whole at that moment. One that can't be understood is an error and never overwritten; entries
//!   and fields of other tools stay as they are, byte for byte.
//! - Every file that a program works on is `flock`ed by it. The kernel drops the lock with the program, so what isn't
//!   locked belongs to no program, and the next writer removes it; a partial download is kept for a week.
//! - Readers lock nothing and write nothing, so they work on a read-only store.
//!
//! # Why gc never takes what a running program is about to name
//!
//! Everything that writes hangs on a [`Lease`], and each of its methods first enters the digest in the lease's file,
//! under the lock ([`Lease::protect`]), and only then looks for the blob, downloads it or puts it in its place. [`Store::gc`] holds
//! the same lock throughout. So take any blob, the moment P when it was entered, and any gc:
//!
//! 1. The gc ended before P. What it removed was gone before the program looked; the program fetches it.
//! 2. The gc began after P. The lease is alive (its file is locked from before P until the lease is dropped), so the
//!    gc takes the digest for a root, and with it all that it leads to.
//!
//! [`Lease::name`] changes `index.json` under the lock while the lease is still alive, so every gc sees the blob in the lease
//! or in `index.json` or in both. A program that dies has named nothing, and a gc that dies has removed only blobs that no
//! program could reach. Last, [`Lease::name`] itself enters and looks for every blob of the image before it writes, so even a
//! program that asked for a blob outside of its lease gets an error, never an image with a hole.
//!
//! The blobs of an image that is only read may go when another program removes its name: a file once opened stays
//! readable, and [`Store::hold`] keeps the rest. Tools that know no leases and write into the store are safe beside all
//! but gc, as all here is but for their gc; among themselves they are as safe as anywhere.

mod blobs;
mod edit;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod error;
mod find;
mod flat;
mod gc;
mod index;
mod index_entry;
mod layers;
mod layout;
mod lease;
#[cfg(target_os = "linux")]
mod linux;
mod listing;
mod locked_file;
mod medium;
mod notes;
mod pair;
mod partial;
mod reach;
mod referrers;
mod seek;
mod store;
mod transfers;
mod word;

pub use error::{Error, Result};
pub use find::{Found, FoundBy};
pub use gc::{Freed, Sweep};
pub use index_entry::{IndexEntry, STRATA_INDEX};
pub use layers::{
    About, BuildLock, Collected, Extracted, Garbage, Kept, LayerDraft, Layers, Proof, Reach,
};
pub use lease::{Hold, Lease};
pub use listing::ListingDraft;
pub use notes::{DirectoryId, Origin};
pub use pair::Pair;
pub use partial::{Claim, Partial};
pub use store::Store;
pub use word::MIN_DIGITS;

#[cfg(not(target_os = "linux"))]
use crate::elsewhere as system;
#[cfg(target_os = "linux")]
use crate::linux as system;
