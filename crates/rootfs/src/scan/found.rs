//! One entry of a scan.

use layer_format::layer::{EntryKind, EntryPath, Timestamp};
use layer_format::listing;
use rustix::fs::FileType;

use super::Scan;
use super::directory::Directory;
use super::node::{NONE, Node};
use super::seen::Seen;

/// An entry that a scan has found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    pub(super) scan: &'a Scan,
    pub(super) node: &'a Node,
    /// What it is in, and its place there; nothing for the root.
    pub(super) directory: Option<(&'a Directory, usize)>,
}

/// Which inode it is: hard links of each other have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    device: u16,
    number: u64,
}

impl<'a> Found<'a> {
    /// Its last name; the root has none.
    pub fn name(&self) -> &'a [u8] {
        self.directory.map_or(b"", |(directory, place)| directory.name(place))
    }

    /// What it is, hard links aside. A socket, which no layer can hold, is `None`.
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

    /// Whether something is mounted there that wasn't looked at: nothing is known of what the mount hides, but that it is
    /// a directory or that it is none.
    pub fn is_passed(&self) -> bool {
        self.node.is_passed()
    }

    /// Whether a mount that wasn't looked at hides a file, of which no layer says anything then.
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

    /// When the content last changed.
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

    /// What the look at it has shown.
    pub(crate) fn seen(&self) -> Seen<'a> {
        Seen { node: self.node, target: self.target(), xattrs: self.xattrs() }
    }

    /// What an image would say of it; nothing of a socket.
    pub fn record(&self) -> Option<listing::Inode> {
        let (uid, gid) = self.owner();
        let (mode, mtime, xattrs) = (self.mode(), self.mtime(), self.xattrs().into());
        Some(listing::Inode { kind: self.kind()?, mode, uid, gid, mtime, xattrs, origin: None })
    }

    /// The inode, where it has several names.
    pub fn linked_inode(&self) -> Option<Inode> {
        self.node.is_linked().then(|| self.inode())
    }

    /// What is in it, by name.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'a> {
        let this = *self;
        (0..).map_while(move |place| this.nth(place))
    }

    /// What is in it under this name.
    pub fn child(&self, name: &[u8]) -> Option<Self> {
        self.nth(self.contents()?.find(name)?)
    }

    /// What is at a path below it.
    pub fn descend(&self, path: &EntryPath) -> Option<Self> {
        path.components().try_fold(*self, |found, name| found.child(name))
    }

    /// What is in it at this place, in the order of the names.
    pub(crate) fn nth(&self, place: usize) -> Option<Self> {
        let directory = self.contents()?;
        let node = directory.nodes.get(place)?;
        Some(Self { scan: self.scan, node, directory: Some((directory, place)) })
    }

    pub(crate) fn inode(&self) -> Inode {
        Inode { device: self.node.device, number: self.node.inode }
    }

    pub(crate) fn inode_number(&self) -> u64 {
        self.node.inode
    }

    /// A link's target; nothing for what is no link.
    pub(crate) fn target(&self) -> &'a [u8] {
        match self.directory {
            Some((directory, place)) if self.node.kind() == FileType::Symlink => {
                directory.target(place)
            }
            _ => &[],
        }
    }

    /// Of a file its size, of a device its number.
    pub(crate) fn size(&self) -> u64 {
        self.node.value
    }

    pub(crate) fn scan(&self) -> &'a Scan {
        self.scan
    }

    fn contents(&self) -> Option<&'a Directory> {
        if !self.is_directory() {
            return None;
        }
        self.scan.directories.get(usize::try_from(self.node.value).ok()?)
    }
}
