//! One directory, read: its names in order, and what stands behind each.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::listing::NameId;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::known::{Comparison, Earlier};
use super::look::{self, Look};
use super::mounts::MountTable;
use super::node::{NONE, Node};
use super::seen::Seen;
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

/// What is kept of one directory. There are many, and most are small, so nothing in it has room to grow.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) nodes: Box<[Node]>,
    /// The name of each, and after it where it leads if it is a link.
    texts: Box<[u8]>,
    pub(super) xattrs: Box<[Box<[Xattr]>]>,
    /// The number of the directory that it is in, and its place there; of the root [`NONE`].
    pub(super) above: [u32; 2],
}

/// A directory that is being read; its room is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Draft {
    names: Names,
    nodes: Vec<Node>,
    texts: Vec<u8>,
    xattrs: Vec<Box<[Xattr]>>,
}

/// A directory that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) directory: Directory,
    /// The directories in it that are to be read too.
    pub(super) below: Vec<Below>,
    /// Whether the owner, and the group, of everything in it are those of the root.
    pub(super) is_of_top: (bool, bool),
}

/// A directory that is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Below {
    /// Its place in the directory that it is in.
    pub(super) place: usize,
    /// The directory that the earlier record has there.
    pub(super) earlier: Option<NameId>,
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
    /// The root's, not read yet.
    pub(super) fn root() -> Self {
        Self { above: [NONE; 2], ..Self::default() }
    }

    /// Another that isn't read yet.
    pub(super) fn below(number: usize, place: usize) -> Self {
        let above = [number, place].map(|it| u32::try_from(it).unwrap_or(NONE));
        Self { above, ..Self::default() }
    }

    /// The number of the directory that it is in, and its place there.
    pub(super) fn above(&self) -> Option<(usize, usize)> {
        let [number, place] = self.above;
        (number != NONE).then_some((number as usize, place as usize))
    }

    pub(super) fn name(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.nodes[before].texts_end());
        &self.texts[start..self.nodes[place].name_end as usize]
    }

    /// Where a link leads.
    pub(super) fn target(&self, place: usize) -> &[u8] {
        let node = &self.nodes[place];
        &self.texts[node.name_end as usize..node.texts_end()]
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
}

impl Draft {
    fn clear(&mut self) {
        self.nodes.clear();
        self.texts.clear();
        self.xattrs.clear();
    }

    fn push(&mut self, mut node: Node, name: &[u8], about: About) -> Result<(), Errno> {
        self.texts.extend_from_slice(name);
        node.name_end = u32::try_from(self.texts.len()).map_err(|_| Errno::FBIG)?;
        if node.kind() == FileType::Symlink {
            node.value = about.target.len() as u64;
            self.texts.extend_from_slice(&about.target);
        }
        if !about.xattrs.is_empty() {
            node.xattrs = u32::try_from(self.xattrs.len()).map_err(|_| Errno::FBIG)?;
            self.xattrs.push(about.xattrs.into());
        }
        self.nodes.push(node);
        Ok(())
    }

    /// What is kept, in no more room than it takes.
    fn take(&mut self) -> Directory {
        let (nodes, texts) = (self.nodes.as_slice().into(), self.texts.as_slice().into());
        Directory { nodes, texts, xattrs: self.xattrs.drain(..).collect(), above: [NONE; 2] }
    }
}

/// What only further looks tell of a name.
#[derive(Debug, Default)]
struct About {
    target: Vec<u8>,
    xattrs: Vec<Xattr>,
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
    /// The earlier record, if there is one.
    pub(super) comparison: Option<Comparison<'a>>,
    /// Of the root.
    pub(super) owner: (u32, u32),
}

/// Reads an open directory, `path` beneath the root, which in the earlier record is at `earlier`.
pub(super) fn read(
    (fd, standing): (BorrowedFd<'_>, Standing),
    path: &[u8],
    earlier: Option<NameId>,
    surroundings: &Surroundings<'_>,
    draft: &mut Draft,
) -> Result<Read, At> {
    let leave_out = surroundings.options.leave_out;
    let before = look_at(fd).map_err(at(b""))?;
    draft.clear();
    draft.names.read(fd).map_err(at(b""))?;
    let names = std::mem::take(&mut draft.names);
    let mut place = Place::new(fd, standing).map_err(at(b""))?;
    let mut earlier = Earlier::new(surroundings.comparison, earlier);
    let (mut below, mut is_of_top) = (vec![], (true, true));
    for name in names.iter() {
        let name_alone = name.to_bytes();
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
        is_of_top.0 &= node.uid == surroundings.owner.0;
        is_of_top.1 &= node.gid == surroundings.owner.1;
        let about = place.about(&node, name).map_err(or_vanished).map_err(at(name_alone))?;
        let base = earlier.next(name_alone);
        let seen = Seen { node: &node, target: &about.target, xattrs: &about.xattrs };
        if base.is_some_and(|base| base.is_same(seen)) {
            continue;
        }
        // The walk gives it its number.
        if is_directory && !node.is_passed() {
            below.push(Below {
                place: draft.nodes.len(),
                earlier: base.and_then(|it| it.directory()),
            });
        }
        draft.push(node, name_alone, about).doing(READING).map_err(at(name_alone))?;
    }
    draft.names = names;
    let after = look_at(fd).map_err(at(b""))?;
    if (before.seconds, before.nanos) != (after.seconds, after.nanos) {
        return Err(at(b"")(Failure::changed()));
    }
    Ok(Read { directory: draft.take(), below, is_of_top })
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

/// The names in a directory, sorted.
#[derive(Debug, Default)]
struct Names {
    /// Each ended by NUL.
    bytes: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
}

impl Names {
    fn read(&mut self, fd: BorrowedFd<'_>) -> Result<(), Failure> {
        let Self { bytes, starts } = self;
        bytes.clear();
        starts.clear();
        let mut buffer = Vec::with_capacity(64 << 10);
        let buffer: &mut [MaybeUninit<u8>] = buffer.spare_capacity_mut();
        let mut entries = RawDir::new(fd, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.doing(READING)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                starts.push(bytes.len());
                bytes.extend_from_slice(name.to_bytes_with_nul());
            }
        }
        starts.sort_unstable_by_key(|&start| name_at(bytes, start));
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.starts.iter().map(|&start| name_at(&self.bytes, start))
    }
}

fn name_at(bytes: &[u8], start: usize) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start..]).unwrap_or_default()
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

    fn look(&self, name: &CStr) -> Result<Look, Failure> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        look::look(self.fd, name, flags).doing(LOOKING).map_err(or_vanished)
    }

    fn about(&mut self, node: &Node, name: &CStr) -> Result<About, Failure> {
        let mut about = About::default();
        if node.kind() == FileType::Symlink {
            let target = rustix::fs::readlinkat(self.fd, name, Vec::new());
            about.target = target.doing("reading the link")?.into_bytes();
        }
        if node.kind() != FileType::Socket && !node.is_passed() {
            about.xattrs = self.xattrs(name)?;
        }
        Ok(about)
    }

    /// Reads the attributes of `name` by a path whose last name isn't followed: the way to links and special files, too.
    fn xattrs(&mut self, name: &CStr) -> Result<Vec<Xattr>, Failure> {
        let start = self.xattrs.len();
        self.xattrs.extend_from_slice(name.to_bytes_with_nul());
        let path = CStr::from_bytes_with_nul(&self.xattrs).unwrap_or_default();
        let read = xattrs::read_path(path);
        self.xattrs.truncate(start);
        match read {
            // Attributes of users may be read by whom the mode lets read.
            Err(failure) if failure.errno() == Errno::ACCESS => {
                let held = root::hold(self.fd, name.to_bytes());
                let held = held.doing(xattrs::READING)?;
                root::unlocked(held.as_fd(), || xattrs::read_held(held.as_fd()))
            }
            read => read,
        }
    }
}
