//! Layers, applied beneath a root ([image-spec, layer.md](https://github.com/opencontainers/image-spec/blob/main/layer.md)).
//!
//! | in the layer | beneath the root |
//! |---|---|
//! | directory over directory | keeps the children, takes the attributes |
//! | anything else over anything else | what was there goes, with all below it; of duplicates the last one wins |
//! | a parent that is missing | is made: 0755, 0:0, time 0 |
//! | a parent that isn't a directory | gives way to one; see [`SymlinkedDirs`] for links |
//! | whiteout, opaque whiteout | act on the lower layers only, wherever they stand; what isn't there is ignored |
//! | whiteout of a directory that the layer also has | a new directory without lower children |
//! | hard link | another name of what its target is at that time, attributes and all |

mod add;
mod content;
mod directory;
mod link;
mod own;
mod walk;
mod whiteout;

use std::collections::HashSet;
use std::io::BufRead;

use layer_format::layer::Change;

use self::own::{Key, OwnPaths};
use self::walk::Walk;
use crate::error::Error;
use crate::metadata::{Owner, Skipped, SpecialBits};
use crate::root::Root;

/// What a user decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose the files become.
    pub owner: Owner,
    /// What becomes of the setuid and setgid bits of files whose owner is not set.
    pub special_bits: SpecialBits,
    /// What happens to a lower layer's link to a directory when an entry takes it for one.
    pub symlinked_dirs: SymlinkedDirs,
    /// A name in the root that is not the layers': whiteouts leave it alone, and entries that would touch it are refused.
    pub reserved: Option<&'static str>,
}

/// What an entry does whose parent, in a lower layer, is a link to a directory (`lib` to `usr/lib`).
///
/// A link that the entry's own layer has made is followed either way, beneath the root, if it leads to a directory there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymlinkedDirs {
    /// A real directory takes the link's place, as docker, podman and containerd have it.
    Replace,
    /// The link stays and is followed, beneath the root; by whiteouts and directory entries of its name too.
    Follow,
}

/// What has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many entries were added, whiteouts not counted.
    pub n_entries: u64,
    /// How many bytes of content were written, holes not counted.
    pub bytes: u64,
    /// What the system refused.
    pub skipped: Skipped,
}

/// Applies the changes of one layer after the other, each once and in order.
///
/// After an error the tree is as good as any half of an image, and the applier is done with: all that is left to do is
/// to [`clear`](crate::clear) the root. Until [`finish`](Self::finish), modes and times of a few directories are not
/// what they will be.
#[derive(Debug)]
pub struct Applier {
    walk: Walk,
    own: OwnPaths,
    /// Where device nodes would be if this user could make them. A hard link to one is skipped as well.
    absent_devices: HashSet<Key>,
    n_entries: u64,
    bytes: u64,
}

impl Applier {
    /// Starts beneath `root`, whose own attributes stay as they are unless an entry describes it.
    pub fn new(root: Root, options: Options) -> Result<Self, Error> {
        let walk = Walk::new(root, options)?;
        Ok(Self {
            walk,
            own: OwnPaths::new(),
            absent_devices: HashSet::new(),
            n_entries: 0,
            bytes: 0,
        })
    }

    /// Begins a layer: what is there now is the lower layers'.
    pub fn begin_layer(&mut self) {
        self.own.forget();
    }

    /// Applies one change. A file's bytes are taken from `content`, [`content_size`] of them and no more: the pieces of a
    /// sparse file one after the other.
    ///
    /// [`content_size`]: layer_format::layer::EntryKind::content_size
    pub fn apply(&mut self, change: &Change, content: &mut impl BufRead) -> Result<(), Error> {
        match change {
            Change::Add(entry) => self.add(entry, content),
            Change::Remove(path) => self.remove(path),
            Change::Opaque(path) => self.clear_below(path),
        }
    }

    /// Ends the layer: directories that it worked in get their times back.
    pub fn end_layer(&mut self) -> Result<(), Error> {
        self.own.forget();
        self.walk.retreat(b"")
    }

    /// Ends the work; only now the root has the attributes it shall have.
    pub fn finish(self) -> Result<Report, Error> {
        let Self { walk, n_entries, bytes, .. } = self;
        let skipped = walk.finish()?.skipped;
        Ok(Report { n_entries, bytes, skipped })
    }
}
