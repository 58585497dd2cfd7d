//! Reads one directory: its names in order, and what each of them is, or a stretch of them.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::listing::NameId;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::devices::Devices;
use super::directory::ScannedDirectory;
use super::known::{EarlierNames, EarlierRecord};
use super::look::{self, Look};
use super::mounts::MountTable;
use super::node::{NONE, Node, Seen};
use super::options::{Mounts, ScanOptions};
use crate::beneath;
use crate::error::{Doing, SystemError};
use crate::ids::MappedIds;
use crate::powers::Powers;
use crate::root::{self, magic_link};
use crate::xattrs::{self, Xattr};

const OPENING: &str = "opening the directory";
const READING: &str = "reading the directory";
const LOOKING: &str = "looking at it";

/// A directory that is being read. Its memory is used again for the next one.
#[derive(Debug, Default)]
pub(super) struct DirectoryBuilder {
    names: Names,
    nodes: Vec<Node>,
    texts: Vec<u8>,
    xattrs: Vec<Box<[Xattr]>>,
}

/// A directory that was read, or a stretch of one.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) directory: ScannedDirectory,
    /// The directories in it that are to be read too.
    pub(super) below: Vec<Subdirectory>,
    pub(super) owners: OneOwner,
}

/// Whether everything that was read has one owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneOwner {
    /// Whether the user of everything is that of the root.
    pub(super) is_one_user: bool,
    /// Whether the group of everything is that of the root.
    pub(super) is_one_group: bool,
}

/// A directory of this user that was not readable, and is while the scan lives.
#[derive(Debug)]
pub(super) struct Unlocked {
    pub(super) path: Vec<u8>,
    /// Its own permission bits.
    pub(super) mode: u32,
}

/// A directory that is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subdirectory {
    /// Its place in the directory that it is in.
    pub(super) place: usize,
    /// The directory that the earlier record has there, if it has one.
    pub(super) earlier: Option<NameId>,
}

/// An error, and the name in the directory that it is details.
#[derive(Debug)]
pub(super) struct ErrorAt {
    pub(super) name: Vec<u8>,
    pub(super) failure: SystemError,
}

fn at(name: &[u8]) -> impl FnOnce(SystemError) -> ErrorAt + '_ {
    move |failure| ErrorAt { name: name.to_vec(), failure }
}

impl DirectoryBuilder {
    fn clear(&mut self) {
        self.nodes.clear();
        self.texts.clear();
        self.xattrs.clear();
    }

    fn push(&mut self, mut node: Node, name: &[u8], details: Details) -> Result<(), Errno> {
        self.texts.extend_from_slice(name);
        node.name_end = u32::try_from(self.texts.len()).map_err(|_| Errno::FBIG)?;
        if node.kind() == FileType::Symlink {
            node.value = details.target.len() as u64;
            self.texts.extend_from_slice(&details.target);
        }
        if !details.xattrs.is_empty() {
            node.xattrs = u32::try_from(self.xattrs.len()).map_err(|_| Errno::FBIG)?;
            self.xattrs.push(details.xattrs.into());
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Adds a stretch that follows.
    fn append(&mut self, stretch: ScannedDirectory) -> Result<(), Errno> {
        let of = |n: usize| u32::try_from(n).map_err(|_| Errno::FBIG);
        let (n_texts, n_xattrs) = (of(self.texts.len())?, of(self.xattrs.len())?);
        of(self.texts.len() + stretch.texts.len())?;
        self.nodes.extend(stretch.nodes.into_iter().map(|mut node| {
            node.name_end += n_texts;
            node.xattrs = if node.xattrs == NONE { NONE } else { node.xattrs + n_xattrs };
            node
        }));
        self.texts.extend(stretch.texts);
        self.xattrs.extend(stretch.xattrs);
        Ok(())
    }

    /// All of it.
    fn into_directory(self) -> ScannedDirectory {
        ScannedDirectory {
            nodes: self.nodes.into(),
            texts: self.texts.into(),
            xattrs: self.xattrs.into(),
            above: [NONE; 2],
        }
    }

    /// What is kept, in as much memory as it takes.
    fn take(&mut self) -> ScannedDirectory {
        ScannedDirectory {
            nodes: self.nodes.as_slice().into(),
            texts: self.texts.as_slice().into(),
            xattrs: self.xattrs.drain(..).collect(),
            above: [NONE; 2],
        }
    }
}

/// What statx doesn't tell of a name.
#[derive(Debug, Default)]
struct Details {
    target: Vec<u8>,
    xattrs: Vec<Xattr>,
}

/// Opens the directory at `path`. If its mode doesn't let its owner, this user, read it, it is unlocked.
pub(super) fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
) -> Result<(OwnedFd, Option<Unlocked>), SystemError> {
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
    let (fd, mode) = root::open_unlocked(held.as_fd(), open).doing(OPENING)?;
    Ok((fd, Some(Unlocked { path: path.to_vec(), mode })))
}

/// Looks at an open directory.
pub(super) fn look_at(fd: BorrowedFd<'_>) -> Result<Look, SystemError> {
    look::look(fd, c"", AtFlags::EMPTY_PATH).doing(LOOKING)
}

/// What all directories of a scan have in common.
#[derive(Clone, Copy)]
pub(super) struct ScanContext<'a> {
    pub(super) options: &'a ScanOptions<'a>,
    pub(super) devices: &'a Devices,
    pub(super) ids: &'a MappedIds,
    pub(super) mounts: &'a MountTable<'a>,
    /// The earlier record, if there is one.
    pub(super) earlier: Option<EarlierRecord<'a>>,
    /// The owner of the root.
    pub(super) owner: (u32, u32),
}

/// An open directory whose names were read. What they are is found out stretch by stretch, so that several threads can share a
/// directory of many names.
#[derive(Debug)]
pub(super) struct OpenDirectory {
    fd: OwnedFd,
    /// What it was before its names were read.
    before: Look,
    names: Names,
}

impl OpenDirectory {
    /// Reads its names.
    pub(super) fn new(fd: OwnedFd, builder: &mut DirectoryBuilder) -> Result<Self, SystemError> {
        let before = look_at(fd.as_fd())?;
        let mut names = std::mem::take(&mut builder.names);
        names.read(fd.as_fd())?;
        Ok(Self { fd, before, names })
    }

    /// The number of its names.
    pub(super) fn n_names(&self) -> usize {
        self.names.starts.len()
    }

    /// Looks at a stretch of its names. It is at `path` beneath the root, and is `earlier` in the earlier record.
    pub(super) fn read(
        &self,
        stretch: Range<usize>,
        working_directory: WorkingDirectory,
        (path, earlier): (&[u8], Option<NameId>),
        context: &ScanContext<'_>,
        builder: &mut DirectoryBuilder,
    ) -> Result<Read, ErrorAt> {
        let leave_out = context.options.leave_out;
        let fd = self.fd.as_fd();
        builder.clear();
        let mut reached = ReachedDirectory::new(fd, working_directory).map_err(at(b""))?;
        let names = self.names.stretch(stretch);
        let first = names.clone().next().unwrap_or_default();
        let mut earlier = EarlierNames::new(context.earlier, earlier, first.to_bytes());
        let mut below = vec![];
        let mut owners = OneOwner { is_one_user: true, is_one_group: true };
        for name in names {
            let name_alone = name.to_bytes();
            let look = reached.look(name).map_err(at(name_alone))?;
            let mut node = Node::of(&look, context.devices.number(look.device));
            let is_directory = node.kind() == FileType::Directory;
            let path = || join(path, name_alone);
            if leave_out.is_some_and(|is_out| is_out(&path(), is_directory)) {
                continue;
            }
            let is_passed = context.is_passed(fd, name_alone, &path, &look, &node);
            if is_passed.map_err(at(name_alone))? {
                node.pass(&self.before);
                context.mounts.pass(path());
            }
            // What a mount hides may belong to anybody, and no layer holds a socket.
            if (is_directory || !node.is_passed()) && node.kind() != FileType::Socket {
                node.map_owner(context.ids).map_err(at(name_alone))?;
            }
            owners.is_one_user &= node.uid == context.owner.0;
            owners.is_one_group &= node.gid == context.owner.1;
            let mut details =
                reached.details(&node, name).map_err(or_vanished).map_err(at(name_alone))?;
            details.xattrs = context.ids.xattrs_in_image(details.xattrs).map_err(at(name_alone))?;
            let earlier = earlier.next(name_alone);
            let seen = Seen { node: &node, target: &details.target, xattrs: &details.xattrs };
            if earlier.is_some_and(|earlier| earlier.is_same(seen)) {
                continue;
            }
            // The walk numbers the directories.
            if is_directory && !node.is_passed() {
                below.push(Subdirectory {
                    place: builder.nodes.len(),
                    earlier: earlier.and_then(|it| it.directory()),
                });
            }
            builder.push(node, name_alone, details).doing(READING).map_err(at(name_alone))?;
        }
        Ok(Read { directory: builder.take(), below, owners })
    }

    /// Whether it has the time of modification that it had before its names were read.
    pub(super) fn check_unchanged(&self) -> Result<(), SystemError> {
        let (before, after) = (&self.before, look_at(self.fd.as_fd())?);
        let is_same = (before.seconds, before.nanos) == (after.seconds, after.nanos);
        if is_same { Ok(()) } else { Err(SystemError::changed()) }
    }

    /// Gives the memory of its names back, for another directory.
    pub(super) fn end(self, builder: &mut DirectoryBuilder) {
        builder.names = self.names;
    }
}

impl Read {
    /// Joins what was read of stretches of a directory, which follow each other.
    pub(super) fn join(stretches: Vec<Self>) -> Result<Self, SystemError> {
        let owners = OneOwner {
            is_one_user: stretches.iter().all(|it| it.owners.is_one_user),
            is_one_group: stretches.iter().all(|it| it.owners.is_one_group),
        };
        let sum = |size: fn(&ScannedDirectory) -> usize| {
            stretches.iter().map(|it| size(&it.directory)).sum()
        };
        let mut builder = DirectoryBuilder {
            nodes: Vec::with_capacity(sum(|it| it.nodes.len())),
            texts: Vec::with_capacity(sum(|it| it.texts.len())),
            ..DirectoryBuilder::default()
        };
        let mut below = vec![];
        // Each is freed when it has been added.
        for stretch in stretches {
            let n_before = builder.nodes.len();
            below.extend(
                stretch
                    .below
                    .into_iter()
                    .map(|it| Subdirectory { place: n_before + it.place, ..it }),
            );
            builder.append(stretch.directory).doing(READING)?;
        }
        Ok(Self { directory: builder.into_directory(), below, owners })
    }
}

impl ScanContext<'_> {
    /// Whether something is mounted on `name` in `directory` that isn't to be looked at.
    fn is_passed(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &dyn Fn() -> Vec<u8>,
        look: &Look,
        node: &Node,
    ) -> Result<bool, SystemError> {
        let passes_all = self.options.mounts == Mounts::Pass;
        let is_elsewhere = node.kind() == FileType::Directory && node.device != Devices::TOP;
        if passes_all && is_elsewhere {
            return Ok(true);
        }
        let is_mount = match look.is_mount.or_else(|| self.mounts.has(&path())) {
            Some(is_mount) => is_mount,
            // The scan fails, since it could let out a secret that is mounted here.
            None if passes_all => return Err(Errno::NOSYS).doing("finding out what is mounted"),
            None => is_elsewhere,
        };
        let is_pseudo = || self.mounts.is_pseudo(directory, name, look.device);
        Ok(is_mount && (passes_all || is_pseudo()))
    }
}

/// The error for a name that was there when the names were read.
fn or_vanished(failure: SystemError) -> SystemError {
    if failure.errno() == Errno::NOENT { SystemError::vanished() } else { failure }
}

/// The names in a directory, sorted.
#[derive(Debug, Default)]
struct Names {
    /// The names, each with a NUL at its end.
    bytes: Vec<u8>,
    /// The offset at which each begins.
    starts: Vec<usize>,
}

impl Names {
    fn read(&mut self, fd: BorrowedFd<'_>) -> Result<(), SystemError> {
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

    /// Those at these places in the order.
    fn stretch(&self, places: Range<usize>) -> impl Iterator<Item = &CStr> + Clone {
        self.starts[places].iter().map(|&start| name_at(&self.bytes, start))
    }
}

fn name_at(bytes: &[u8], start: usize) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start..]).unwrap_or_default()
}

/// The path of a name in a directory.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, name].join(&b'/') }
}

/// Whether a thread has a working directory of its own. The kernel takes only paths for the attributes of what is in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkingDirectory {
    /// It has, and changes to the directory. That is three times as fast.
    Own,
    /// It hasn't. The paths lead through the magic link of the directory's descriptor.
    Shared,
}

/// An open directory, and how what is in it is reached.
struct ReachedDirectory<'a> {
    fd: BorrowedFd<'a>,
    /// The path by which this thread reaches it, with a slash at its end.
    path: Vec<u8>,
}

impl<'a> ReachedDirectory<'a> {
    fn new(fd: BorrowedFd<'a>, working_directory: WorkingDirectory) -> Result<Self, SystemError> {
        if working_directory == WorkingDirectory::Own {
            rustix::process::fchdir(fd).doing(OPENING)?;
            return Ok(Self { fd, path: b"./".to_vec() });
        }
        Ok(Self { fd, path: format!("{}/", magic_link(fd)).into_bytes() })
    }

    fn look(&self, name: &CStr) -> Result<Look, SystemError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        look::look(self.fd, name, flags).doing(LOOKING).map_err(or_vanished)
    }

    /// Reads what a look doesn't tell.
    fn details(&mut self, node: &Node, name: &CStr) -> Result<Details, SystemError> {
        let mut details = Details::default();
        if node.kind() == FileType::Symlink {
            let target = rustix::fs::readlinkat(self.fd, name, Vec::new());
            details.target = target.doing("reading the link")?.into_bytes();
        }
        if node.kind() != FileType::Socket && !node.is_passed() {
            details.xattrs = self.xattrs(name)?;
        }
        Ok(details)
    }

    /// Reads the attributes of `name` by a path whose last name isn't followed, so that it may be a link or a special file.
    fn xattrs(&mut self, name: &CStr) -> Result<Vec<Xattr>, SystemError> {
        let start = self.path.len();
        self.path.extend_from_slice(name.to_bytes_with_nul());
        let path = CStr::from_bytes_with_nul(&self.path).unwrap_or_default();
        let read = xattrs::read_path(path);
        self.path.truncate(start);
        match read {
            // user.* attributes can be read by those whom the mode lets read the file.
            Err(failure) if failure.errno() == Errno::ACCESS => {
                let held = root::hold(self.fd, name.to_bytes());
                let held = held.doing(xattrs::READING)?;
                root::unlocked(held.as_fd(), || xattrs::read_held(held.as_fd()))
            }
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::CWD;

    use super::*;

    /// Whether a file or directory on the device with this minor number is passed, where neither the kernel nor the list
    /// of mounts tells what is mounted.
    fn is_passed_untold(mounts: Mounts, mode: u32, device: u32) -> Result<bool, Errno> {
        let root = rustix::fs::openat(CWD, c"/", OFlags::DIRECTORY, rustix::fs::Mode::empty());
        let root = root.unwrap();
        let options = ScanOptions { leave_out: None, mounts, known: None, stop: &|| false };
        let devices = Devices::new((0, 1));
        let look = Look {
            inode: 1,
            size: 0,
            seconds: 0,
            nanos: 0,
            uid: 0,
            gid: 0,
            mode,
            is_linked: false,
            device: (0, device),
            number: (0, 0),
            is_mount: None,
        };
        let node = Node::of(&look, devices.number(look.device));
        let context = ScanContext {
            options: &options,
            devices: &devices,
            ids: &MappedIds::default(),
            mounts: &MountTable::unreadable(root.as_fd()),
            earlier: None,
            owner: (0, 0),
        };
        let path = || b"a".to_vec();
        let passed = context.is_passed(root.as_fd(), b"no such name", &path, &look, &node);
        passed.map_err(|error| error.errno())
    }

    #[test]
    fn where_nothing_tells_what_is_mounted_no_mount_is_taken_for_a_part_of_the_tree() {
        const FILE: u32 = 0o100_644;
        const DIRECTORY: u32 = 0o040_755;
        // It could be a mount of the same file system.
        assert_eq!(is_passed_untold(Mounts::Pass, FILE, 1), Err(Errno::NOSYS));
        assert_eq!(is_passed_untold(Mounts::Pass, DIRECTORY, 1), Err(Errno::NOSYS));
        assert_eq!(is_passed_untold(Mounts::Pass, DIRECTORY, 2), Ok(true));
        // Those that are entered are a part of the tree anyway.
        assert_eq!(is_passed_untold(Mounts::Enter, FILE, 1), Ok(false));
        assert_eq!(is_passed_untold(Mounts::Enter, DIRECTORY, 2), Ok(false));
    }
}
