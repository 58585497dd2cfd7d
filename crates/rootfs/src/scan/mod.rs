//! A tree of files, taken in without contents: names in the order of their bytes, and what stands behind them.
//!
//! Directories are opened by their path beneath the root, never through a link, and read by several threads; nothing else
//! is opened, so that no fifo blocks. About 50 bytes and the name are kept of an entry; a bit of one that an earlier record
//! of the tree has just so ([`Known`]).

mod directory;
mod found;
mod known;
mod look;
mod mounts;
mod node;
mod seen;
mod turn;
mod walk;

use std::os::fd::AsFd;

use layer_format::layer::EntryPath;
use layer_format::listing::Place;
use rustix::fs::Mode;

pub use found::{Found, Inode};
pub(crate) use known::IsSame;
pub use known::Known;
use known::SameNames;
pub(crate) use seen::Seen;

use self::directory::Directory;
use self::turn::Turn;
use self::walk::Top;
use crate::beneath;
use crate::error::Error;
use crate::root::{Root, magic_link};

/// What a user decides.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// What is left out, with all below it.
    pub leave_out: Option<LeaveOut<'a>>,
    /// What to do about other file systems that are mounted in the tree.
    pub mounts: Mounts,
    /// An earlier record of the tree, if what is the same as there isn't wanted.
    pub known: Option<&'a Known<'a>>,
    /// Asked now and then; the scan ends with an error once it says so.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Says of a path, and of whether a directory is there, if it is left out.
pub type LeaveOut<'a> = &'a (dyn Fn(&[u8], bool) -> bool + Sync);

impl std::fmt::Debug for ScanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanOptions").field("mounts", &self.mounts).finish_non_exhaustive()
    }
}

/// Other file systems in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// They belong to it, those excepted that keep no files: proc, sysfs, the machine's /dev and the like.
    Enter,
    /// What is mounted isn't looked at, be it a directory or a file, of this file system or another; what it hides counts
    /// as unchanged.
    Pass,
}

/// A scanned tree. As long as it lives, directories that this user had locked for himself are unlocked.
#[derive(Debug)]
pub struct Scan {
    root: Root,
    top: Top,
    directories: Vec<Directory>,
    unlocked: Vec<Unlocked>,
    passed: Vec<Vec<u8>>,
    is_of_top: (bool, bool),
    same: SameNames,
    /// Given up last, after the directories have their modes back.
    _turn: Turn,
}

/// A directory of this user that lacked the permission to be read, and got it for a while.
#[derive(Debug)]
pub(crate) struct Unlocked {
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u32,
}

impl Scan {
    /// Takes in all that is beneath the root, and the root itself; what is the same as in an [earlier record](Known) is only
    /// [noted](Self::has_same), and is none of the entries.
    pub fn read(root: &Root, options: &ScanOptions<'_>) -> Result<Self, Error> {
        let root = root.try_clone()?;
        let same = options.known.map(|known| SameNames::of(known.tree)).unwrap_or_default();
        let turn = Turn::take(&root, options.stop);
        let (top, taken) = walk::walk(&root, options, &same)?;
        let walk::Taken { directories, unlocked, error, passed, is_of_top } = taken;
        let scan = Self { root, top, directories, unlocked, passed, is_of_top, same, _turn: turn };
        // A failed scan too gives directories their modes back.
        error.map_or(Ok(scan), Err)
    }

    /// The root's own entry.
    pub fn top(&self) -> Found<'_> {
        Found { scan: self, node: &self.top.node, directory: None }
    }

    /// How many entries there are, sockets among them.
    pub fn n_entries(&self) -> usize {
        1 + self.directories.iter().map(|each| each.nodes.len()).sum::<usize>()
    }

    /// Whether a name of the earlier record was found as that has it, so that it is none of the entries.
    pub fn has_same(&self, place: &Place<'_>) -> bool {
        self.same.has(place)
    }

    /// The user whose everything there is; `None` where they are several.
    pub(crate) fn only_user(&self) -> Option<u32> {
        self.is_of_top.0.then_some(self.top.node.uid)
    }

    /// The group of everything there; `None` where they are several.
    pub(crate) fn only_group(&self) -> Option<u32> {
        self.is_of_top.1.then_some(self.top.node.gid)
    }

    /// The paths of the sockets, which no layer can hold.
    pub fn sockets(&self) -> Vec<EntryPath> {
        let mut sockets = vec![];
        let mut path = EntryPath::root();
        // The directories on the way, each with the length of its path and the place of what comes next in it.
        let mut way = vec![(0, self.top(), 0)];
        while let Some((length, directory, place)) = way.last_mut() {
            path.truncate(*length);
            let Some(child) = directory.nth(*place) else {
                way.pop();
                continue;
            };
            *place += 1;
            if child.is_socket() && !child.is_passed() {
                sockets.push(path.join(child.name()));
            } else if child.is_directory() {
                path.push(child.name());
                way.push((path.as_bytes().len(), child, 0));
            }
        }
        sockets.sort();
        sockets
    }

    /// The paths where something is mounted that wasn't looked at.
    pub fn passed(&self) -> impl Iterator<Item = EntryPath> + '_ {
        self.passed.iter().filter_map(|path| EntryPath::parse(path).ok())
    }

    /// The tree that was scanned.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // The deepest first: its path leads through the others.
        for Unlocked { path, mode } in self.unlocked.iter().rev() {
            if let Ok(held) = beneath::hold(self.root.as_fd(), path) {
                // The tree may have changed meanwhile; there is nobody to tell.
                rustix::fs::chmod(magic_link(held.as_fd()), Mode::from_raw_mode(*mode)).ok();
            }
        }
    }
}
