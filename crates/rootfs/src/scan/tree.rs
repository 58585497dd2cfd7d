//! A scanned tree and its entries.

use std::os::fd::AsFd as _;

use layer_format::layer::{EntryKind, EntryPath, Timestamp};
use layer_format::listing::{self, Place};
use rustix::fs::{FileType, Mode};

use super::directory::ScannedDirectory;
use super::known::SameNames;
use super::node::{NONE, Node, Seen};
use super::options::ScanOptions;
use super::read::{OneOwner, Unlocked};
use super::turn::Turn;
use super::walk::{self, RootEntry, Walked};
use crate::beneath;
use crate::error::Error;
use crate::ids::MappedIds;
use crate::root::{Root, magic_link};

/// A scanned tree. As long as it lives, directories of this user that were not readable stay readable.
#[derive(Debug)]
pub struct Scan {
    root: Root,
    top: RootEntry,
    directories: Vec<ScannedDirectory>,
    unlocked: Vec<Unlocked>,
    passed: Vec<Vec<u8>>,
    owners: OneOwner,
    same: SameNames,
    /// Dropped last, after the directories have got their modes back.
    _turn: Turn,
}

impl Scan {
    /// Scans all that is beneath the root, and the root itself. What is the same as in an [earlier record](ScanOptions::known)
    /// is only [noted](Self::has_same), and is none of the entries.
    ///
    /// # Errors
    /// [`Error::Changed`] if the tree changes meanwhile, [`Error::Unfit`] if it is deeper than a layer can hold, and
    /// [`Error::Io`] if something can't be read or the options say to stop.
    pub fn read(root: &Root, options: &ScanOptions<'_>) -> Result<Self, Error> {
        let root = root.try_clone()?;
        let same = options.known.map(|known| SameNames::of(known.tree)).unwrap_or_default();
        let turn = Turn::take(&root, options.stop);
        let (top, taken) = walk::walk(&root, options, &same)?;
        let Walked { directories, unlocked, error, passed, owners } = taken;
        let scan = Self { root, top, directories, unlocked, passed, owners, same, _turn: turn };
        // After an error too, the directories get their modes back when the scan is dropped.
        error.map_or(Ok(scan), Err)
    }

    /// The root's own entry.
    pub fn top(&self) -> ScanEntry<'_> {
        ScanEntry { scan: self, node: &self.top.node, directory: None }
    }

    /// The number of entries, with sockets.
    pub fn n_entries(&self) -> usize {
        1 + self.directories.iter().map(|each| each.nodes.len()).sum::<usize>()
    }

    /// Whether the scan has found the same at a name of the earlier record, which is none of the entries then.
    pub fn has_same(&self, place: &Place<'_>) -> bool {
        self.same.has(place)
    }

    /// The user who owns everything; `None` if there are several.
    pub(crate) fn only_user(&self) -> Option<u32> {
        self.owners.is_one_user.then_some(self.top.node.uid)
    }

    /// The group of everything; `None` if there are several.
    pub(crate) fn only_group(&self) -> Option<u32> {
        self.owners.is_one_group.then_some(self.top.node.gid)
    }

    /// The paths of the sockets, which no layer can hold, sorted.
    pub fn sockets(&self) -> Vec<EntryPath> {
        let mut sockets = vec![];
        let mut path = EntryPath::root();
        // The directories down to the current one, each with the length of its path and the place of its next entry.
        let mut levels = vec![(0, self.top(), 0)];
        while let Some((length, directory, place)) = levels.last_mut() {
            path.truncate(*length);
            let Some(child) = directory.nth(*place) else {
                levels.pop();
                continue;
            };
            *place += 1;
            if child.is_socket() && !child.is_passed() {
                sockets.push(path.join(child.name()));
            } else if child.is_directory() {
                path.push(child.name());
                levels.push((path.as_bytes().len(), child, 0));
            }
        }
        sockets.sort();
        sockets
    }

    /// The paths where something is mounted that was not looked at.
    pub fn passed(&self) -> impl Iterator<Item = EntryPath> + '_ {
        self.passed.iter().filter_map(|path| EntryPath::parse(path).ok())
    }

    /// The ids that its owners were mapped by.
    pub(crate) fn ids(&self) -> &MappedIds {
        self.root.ids()
    }

    /// The root of the tree.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // The deepest come first, since their paths lead through the others.
        for Unlocked { path, mode } in self.unlocked.iter().rev() {
            if let Ok(held) = beneath::hold(self.root.as_fd(), path) {
                // The tree may have changed meanwhile, which can't be reported here.
                rustix::fs::chmod(magic_link(held.as_fd()), Mode::from_raw_mode(*mode)).ok();
            }
        }
    }
}

/// An entry of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanEntry<'a> {
    scan: &'a Scan,
    node: &'a Node,
    /// The directory that it is in, and its place there; `None` for the root.
    directory: Option<(&'a ScannedDirectory, usize)>,
}

/// The identity of a file. Hard links of each other have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    device: u16,
    number: u64,
}

impl<'a> ScanEntry<'a> {
    /// The ids that its owner was mapped by.
    pub(crate) fn ids(&self) -> &'a MappedIds {
        self.scan.ids()
    }

    /// Its name in its directory; empty for the root.
    pub fn name(&self) -> &'a [u8] {
        self.directory.map_or(b"", |(directory, place)| directory.name(place))
    }

    /// The kind of the entry, as if there were no hard links. `None` for a socket, which no layer can hold.
    pub fn kind(&self) -> Option<EntryKind> {
        self.seen().kind()
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.node.kind() == FileType::Directory
    }

    /// Whether it is a socket.
    pub fn is_socket(&self) -> bool {
        self.node.kind() == FileType::Socket
    }

    /// Whether something is mounted there that was not looked at. Of what the mount hides it is only known whether it is a
    /// directory.
    pub fn is_passed(&self) -> bool {
        self.node.is_passed()
    }

    /// Whether a mount that was not looked at hides a file. Layers leave that out.
    pub fn is_hidden(&self) -> bool {
        self.is_passed() && !self.is_directory()
    }

    /// Permission bits with setuid, setgid and sticky.
    pub fn mode(&self) -> u32 {
        self.seen().mode()
    }

    /// The numeric owner and group.
    pub fn owner(&self) -> (u32, u32) {
        self.seen().owner()
    }

    /// The time of modification.
    pub fn mtime(&self) -> Timestamp {
        self.seen().mtime()
    }

    /// The extended attributes that an image may carry, sorted by name.
    pub fn xattrs(&self) -> &'a [(Vec<u8>, Vec<u8>)] {
        match self.directory {
            Some((directory, _)) if self.node.xattrs != NONE => {
                &directory.xattrs[self.node.xattrs as usize]
            }
            None => &self.scan.top.xattrs,
            _ => &[],
        }
    }

    /// All that the scan keeps of it.
    pub(crate) fn seen(&self) -> Seen<'a> {
        Seen { node: self.node, target: self.target(), xattrs: self.xattrs() }
    }

    /// The inode that an image would have; `None` for a socket.
    pub fn record(&self) -> Option<listing::Inode> {
        let (uid, gid) = self.owner();
        Some(listing::Inode {
            kind: self.kind()?,
            mode: self.mode(),
            uid,
            gid,
            mtime: self.mtime(),
            xattrs: self.xattrs().into(),
            origin: None,
        })
    }

    /// The identity of a file that has several names; `None` for others.
    pub fn linked_file(&self) -> Option<FileId> {
        self.node.is_linked().then(|| self.file_id())
    }

    /// The entries in it, in the order of their names.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'a> {
        let this = *self;
        (0..).map_while(move |place| this.nth(place))
    }

    /// The entry in it with this name.
    pub fn child(&self, name: &[u8]) -> Option<Self> {
        self.nth(self.contents()?.find(name)?)
    }

    /// The entry at a path below it.
    pub fn descend(&self, path: &EntryPath) -> Option<Self> {
        path.components().try_fold(*self, |found, name| found.child(name))
    }

    /// The entry in it at this place, in the order of the names.
    pub(crate) fn nth(&self, place: usize) -> Option<Self> {
        let directory = self.contents()?;
        let node = directory.nodes.get(place)?;
        Some(Self { scan: self.scan, node, directory: Some((directory, place)) })
    }

    /// The identity of the file.
    pub(crate) fn file_id(&self) -> FileId {
        FileId { device: self.node.device, number: self.node.inode }
    }

    /// The number of the inode on its file system.
    pub(crate) fn inode_number(&self) -> u64 {
        self.node.inode
    }

    /// The target of a symbolic link; empty for all else.
    pub(crate) fn target(&self) -> &'a [u8] {
        match self.directory {
            Some((directory, place)) if self.node.kind() == FileType::Symlink => {
                directory.target(place)
            }
            _ => &[],
        }
    }

    /// The size of a file in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.node.value
    }

    /// The scan that it belongs to.
    pub(crate) fn scan(&self) -> &'a Scan {
        self.scan
    }

    fn contents(&self) -> Option<&'a ScannedDirectory> {
        if !self.is_directory() {
            return None;
        }
        self.scan.directories.get(usize::try_from(self.node.value).ok()?)
    }
}
