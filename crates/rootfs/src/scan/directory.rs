//! One directory, read: its names in order, and what stands behind each.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::look::{self, Look};
use super::mounts::MountTable;
use super::node::{NONE, Node};
use super::walk::Devices;
use super::{Mounts, ScanOptions, Unlocked};
use crate::beneath;
use crate::error::{Doing, Failure};
use crate::powers::Powers;
use crate::root::{self, magic_link};
use crate::xattrs::{self, Xattr};

const OPENING: &str = "opening the directory";
const READING: &str = "reading the directory";
const LOOKING: &str = "looking at it";

/// The contents of one directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) nodes: Vec<Node>,
    names: Vec<u8>,
    pub(super) targets: Vec<Box<[u8]>>,
    pub(super) xattrs: Vec<Vec<Xattr>>,
    /// The root's own; of any other directory they are where the directory is.
    pub(super) own_xattrs: Vec<Xattr>,
}

/// A failure, and at which name.
#[derive(Debug)]
pub(super) struct At {
    pub(super) name: Vec<u8>,
    pub(super) failure: Failure,
}

fn at(name: &[u8]) -> impl FnOnce(Failure) -> At + '_ {
    move |failure| At { name: name.to_vec(), failure }
}

impl Directory {
    /// An empty one that need not grow: most directories are small, and there are many.
    fn with_room_for(names: &[Vec<u8>]) -> Self {
        let length = names.iter().map(|name| name.len() - 1).sum();
        let (nodes, names) = (Vec::with_capacity(names.len()), Vec::with_capacity(length));
        Self { nodes, names, ..Self::default() }
    }

    pub(super) fn name(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.nodes[before].name_end);
        &self.names[start as usize..self.nodes[place].name_end as usize]
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.nodes.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The places of the directories in it that are to be read too.
    pub(super) fn directories(&self) -> impl Iterator<Item = usize> + '_ {
        let is_entered = |node: &Node| node.kind() == FileType::Directory && node.more != NONE;
        self.nodes.iter().enumerate().filter(move |(_, node)| is_entered(node)).map(|(n, _)| n)
    }

    fn push(&mut self, mut node: Node, name: &[u8]) -> Result<(), Errno> {
        self.names.extend_from_slice(name);
        node.name_end = u32::try_from(self.names.len()).map_err(|_| Errno::FBIG)?;
        self.nodes.push(node);
        Ok(())
    }
}

/// Opens the directory at `path`. If its owner, who we are, has locked it for himself, it is unlocked.
pub(super) fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
) -> Result<(OwnedFd, Option<Unlocked>), Failure> {
    let open = || beneath::open(root, path, OFlags::RDONLY | OFlags::DIRECTORY);
    let is_searchable = |fd: &OwnedFd| {
        rustix::fs::accessat(fd, ".", rustix::fs::Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    };
    match open() {
        Ok(fd) if Powers::of_process().passes_modes || is_searchable(&fd) => {
            return Ok((fd, None));
        }
        Ok(_) | Err(Errno::ACCESS) => {}
        Err(errno) => return Err(errno).doing(OPENING),
    }
    let held = beneath::hold(root, path).doing(OPENING)?;
    let mode = root::unlock(held.as_fd()).doing(OPENING)?;
    Ok((open().doing(OPENING)?, Some(Unlocked { path: path.to_vec(), mode })))
}

/// What an open directory is, and of which file system.
pub(super) fn look_at(fd: BorrowedFd<'_>) -> Result<Look, Failure> {
    look::look(fd, c"", AtFlags::EMPTY_PATH).doing(LOOKING)
}

/// What all directories of a scan have in common.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) options: &'a ScanOptions<'a>,
    pub(super) devices: &'a Devices,
    pub(super) mounts: &'a MountTable<'a>,
}

/// Reads an open directory, `path` beneath the root.
pub(super) fn read(
    fd: BorrowedFd<'_>,
    path: &[u8],
    surroundings: &Surroundings<'_>,
    standing: Standing,
) -> Result<Directory, At> {
    let leave_out = surroundings.options.leave_out;
    let before = look_at(fd).map_err(at(b""))?;
    let names = names(fd).map_err(at(b""))?;
    let mut directory = Directory::with_room_for(&names);
    let mut place = Place::new(fd, standing).map_err(at(b""))?;
    for name in &names {
        let name_alone = name.strip_suffix(b"\0").unwrap_or(name);
        let look = place.look(name).map_err(at(name_alone))?;
        let mut node = Node::of(&look, surroundings.devices.number(look.device));
        let is_directory = node.kind() == FileType::Directory;
        let path = || join(path, name_alone);
        if leave_out.is_some_and(|is_out| is_out(&path(), is_directory)) {
            continue;
        }
        let passes = surroundings.passes((fd, name_alone), &path, (&look, &node));
        if passes.map_err(at(name_alone))? {
            node.pass(&before);
            surroundings.mounts.pass(path());
        }
        let taken = place.take(&mut directory, node, name);
        taken.map_err(or_vanished).map_err(at(name_alone))?;
    }
    let after = look_at(fd).map_err(at(b""))?;
    if (before.seconds, before.nanos) != (after.seconds, after.nanos) {
        return Err(at(b"")(Failure::changed()));
    }
    Ok(directory)
}

impl Surroundings<'_> {
    /// Whether something is mounted on `name` in `directory` that isn't to be looked at.
    fn passes(
        &self,
        (directory, name): (BorrowedFd<'_>, &[u8]),
        path: &dyn Fn() -> Vec<u8>,
        (look, node): (&Look, &Node),
    ) -> Result<bool, Failure> {
        let passes_all = self.options.mounts == Mounts::Pass;
        let is_elsewhere = node.kind() == FileType::Directory && node.device != self.devices.top;
        if passes_all && is_elsewhere {
            return Ok(true);
        }
        let is_mount = match look.is_mount.or_else(|| self.mounts.has(&path())) {
            Some(is_mount) => is_mount,
            // Rather nothing than a secret that is mounted here.
            None if passes_all => return Err(Errno::NOSYS).doing("finding out what is mounted"),
            None => is_elsewhere,
        };
        let is_pseudo = || self.mounts.is_pseudo(directory, name, look.device);
        Ok(is_mount && (passes_all || is_pseudo()))
    }
}

/// What isn't there was there when the names were read.
fn or_vanished(failure: Failure) -> Failure {
    if failure.errno() == Errno::NOENT { Failure::vanished() } else { failure }
}

/// The names, each ended by NUL, sorted.
fn names(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Failure> {
    let mut buffer = Vec::with_capacity(64 << 10);
    let mut names = vec![];
    let buffer: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
    let mut entries = RawDir::new(fd, buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.doing(READING)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_bytes_with_nul().to_vec());
        }
    }
    // NUL comes before all other bytes, so it doesn't change the order.
    names.sort_unstable();
    Ok(names)
}

pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// How the attributes of what is in a directory are reached, for which the kernel wants paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// This thread has a working directory of its own and goes there: three times as fast.
    Inside,
    /// Through the magic link of the directory's descriptor.
    Outside,
}

/// An open directory, and what stands before a name in it in paths.
struct Place<'a> {
    fd: BorrowedFd<'a>,
    xattrs: Vec<u8>,
}

impl<'a> Place<'a> {
    fn new(fd: BorrowedFd<'a>, standing: Standing) -> Result<Self, Failure> {
        if standing == Standing::Inside {
            rustix::process::fchdir(fd).doing(OPENING)?;
            return Ok(Self { fd, xattrs: b"./".to_vec() });
        }
        Ok(Self { fd, xattrs: format!("{}/", magic_link(fd)).into_bytes() })
    }

    fn look(&self, name: &[u8]) -> Result<Look, Failure> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        look::look(self.fd, c_str(name), flags).doing(LOOKING).map_err(or_vanished)
    }

    fn take(
        &mut self,
        directory: &mut Directory,
        mut node: Node,
        name: &[u8],
    ) -> Result<(), Failure> {
        match node.kind() {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(self.fd, c_str(name), Vec::new());
                let target = target.doing("reading the link")?.into_bytes();
                node.more = number(directory.targets.len());
                directory.targets.push(target.into());
            }
            // The walk gives it its number.
            FileType::Directory if !node.is_passed => node.more = 0,
            _ => {}
        }
        if node.kind() != FileType::Socket && !node.is_passed {
            let found = self.xattrs(name)?;
            if !found.is_empty() {
                node.xattrs = number(directory.xattrs.len());
                directory.xattrs.push(found);
            }
        }
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        directory.push(node, name).doing(READING)
    }

    /// Reads the attributes of `name` by a path whose last name isn't followed: the way to links and special files, too.
    fn xattrs(&mut self, name: &[u8]) -> Result<Vec<Xattr>, Failure> {
        let start = self.xattrs.len();
        self.xattrs.extend_from_slice(name);
        let read = xattrs::read_path(c_str(&self.xattrs));
        self.xattrs.truncate(start);
        match read {
            // Attributes of users may be read by whom the mode lets read.
            Err(failure) if failure.errno() == Errno::ACCESS => {
                let held = root::hold(self.fd, name.strip_suffix(b"\0").unwrap_or(name));
                let held = held.doing(xattrs::READING)?;
                root::unlocked(held.as_fd(), || xattrs::read_held(held.as_fd()))
            }
            read => read,
        }
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).expect("a directory's names take less than 4 GiB")
}

fn c_str(name: &[u8]) -> &std::ffi::CStr {
    std::ffi::CStr::from_bytes_with_nul(name).unwrap_or(c"")
}
