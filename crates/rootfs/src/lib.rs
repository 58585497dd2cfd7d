//! Images on a file system (Linux): layers applied beneath a root, and trees scanned and compared.
//!
//! A layer is a list of changes by a stranger, and the user who applies it is often root. So all work happens beneath an open
//! directory, the [`Root`], and the crate promises:
//!
//! - **Nothing outside is touched**: no byte, mode, owner or time. Paths are opened one name at a time from the root's
//!   descriptor, and never through a link. If a link has to be followed, it is followed by its text, beneath the root. `..`,
//!   absolute targets and the magic links of `/proc` can't lead out.
//! - **No foreign file is opened**: files are made new (`O_EXCL`), after what was there is removed. No fifo blocks, and no
//!   device is written to.
//! - **The result is the layer's**, to the bit, whatever the umask, default ACLs and setgid bits around it are. What the system
//!   refuses (owners, devices, some attributes) is counted in [`Skipped`], and nothing else is left out.
//! - **Order doesn't matter if the spec says so**: whiteouts act on the lower layers only, as if they came first.
//! - **Time and memory are bounded** by what the layers hold: no quadratic whiteouts, about 35 bytes a path during its layer, at
//!   most 64 open directories, however deep the tree is.
//!
//! The crate defends against layers, not against other processes that rearrange the tree meanwhile, although they can't lead it
//! out. It doesn't check digests. It needs `/proc` in few cases: for modes of special files that the umask holds back, for
//! attributes of links and special files, and, for a plain user, for locked directories and (before Linux 6.10) hard links.
//!
//! [`overlay`] has the other form of layers on a disk: a directory for each, mounted as one.
//!
//! # Order of operations
//!
//! For each layer, base first: [`Applier::begin_layer`], [`Applier::apply`] for each change, [`Applier::end_layer`]; then
//! [`Applier::finish`]. An inode is made and filled. Then it gets owner, extended attributes, mode and times, in this order. A
//! directory gets them when it is described, and its times and mode again when the work in it is over.
//!
//! To get a layer from a tree, a [`Scan`] reads the tree, and a [`Diff`] compares it with an earlier record.
//!
//! ```
//! use layer_format::layer::{Change, Reader, Writer};
//! use rootfs::*;
//!
//! # let new = tempfile::tempdir()?;
//! # std::fs::write(new.path().join("file"), "text")?;
//! // A layer with all that is in the directory `new`.
//! let root = Root::open(new.path())?;
//! let options =
//!     ScanOptions { leave_out: None, mounts: Mounts::Enter, known: None, stop: &|| false };
//! let scan = Scan::read(&root, &options)?;
//! let options = DiffOptions {
//!     ignore: Attributes::default(),
//!     identity: Identity::of_scan(&scan),
//!     default_owner: None,
//!     leave_out: None,
//! };
//! let mut layer = Writer::new(Vec::new());
//! for Difference { change, content, .. } in Diff::new(None, &scan, options)?.finish().differences() {
//!     layer.write_change(&change)?;
//!     if let (Change::Add(entry), Some(found)) = (&change, content) {
//!         Content::open(&entry.path, found)?.copy_to(&mut layer)?;
//!     }
//! }
//! let layer = layer.finish()?;
//!
//! # let empty = tempfile::tempdir()?;
//! // The layer, applied to the directory `empty`.
//! let options = Options {
//!     owner: Owner::Ignore,
//!     special_bits: SpecialBits::WithOwner,
//!     symlinked_dirs: SymlinkedDirs::Replace,
//!     reserved: None,
//! };
//! let mut applier = Applier::new(Root::open(empty.path())?, options)?;
//! applier.begin_layer();
//! let mut reader = Reader::new(&layer[..]);
//! while let Some(change) = reader.read_change()? {
//!     applier.apply(&change, &mut reader)?;
//! }
//! applier.end_layer()?;
//! assert_eq!(applier.finish()?.bytes, 4);
//! assert_eq!(std::fs::read(empty.path().join("file"))?, b"text");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!(
    "root file systems need Linux: unpack, snapshot, changes and union (and strata, which has them all) are not for other systems"
);

mod apply;
mod beneath;
mod content;
mod diff;
mod error;
mod ids;
mod inode;
mod metadata;
pub mod overlay;
mod powers;
mod remove;
mod root;
mod scan;
mod xattrs;

pub use apply::{Applier, Options, Report, Staged, Stager, Staging, SymlinkedDirs};
pub use content::Content;
pub use diff::{
    Attribute, Attributes, Candidate, ChangeKind, Comparer, Diff, DiffOptions, Difference,
    Differences, Finished, Identity, UpperChanges, UpperForm, compare_records,
};
pub use error::{Error, UnmappedId};
pub use ids::{IdMap, IdMaps, IdRange};
pub use metadata::{Owner, Reason, Skipped, SpecialBits};
pub use remove::{clear, remove_tree};
pub use root::{Root, magic_link};
pub use scan::{FileId, Known, LeaveOut, Mounts, Scan, ScanEntry, ScanOptions};
