//! The walk from the root to the current directory, which is the one that is worked in.
//!
//! The directories above it stay open, so that each is opened once if the layer is in the order of a tree. Nothing else is
//! cached. A directory that is replaced or removed isn't open at that time, since its parent is the current directory. Names
//! are opened one by one and never through a link. If a link is to be followed, that is done here, by its text, beneath the
//! root. So no path is ever too long, and no link leads out.

use std::os::fd::{AsFd, BorrowedFd};

use layer_format::layer::{
    EntryPath, MAX_COMPONENTS, MAX_LINK_STEPS, MAX_LINKS, TOO_DEEP, components,
};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::layer_paths::{LayerPaths, PathMarks};
use super::open_directory::OpenDirectory;
use super::options::{Options, SymlinkedDirs};
use crate::error::{AtPath, Doing, Error, SystemError};
use crate::ids::MappedIds;
use crate::inode::InodeHandle;
use crate::metadata::{AttributeSetter, Leftovers, PresentAttributes, WantedAttributes};
use crate::remove::{self, Removed};
use crate::root::{self, Root};

/// The number of directories that stay open.
const MAX_OPEN: usize = 32;

const OPENING: &str = "opening the directory";

/// What a path is walked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To write there. Directories that are missing are made, and others than directories are replaced.
    Write,
    /// To find the target of a hard link.
    LinkTarget,
    /// To remove what the lower layers have there.
    Whiteout,
}

/// What a name in the current directory is.
pub(super) enum Child {
    Directory(OpenDirectory),
    Missing,
    Other,
}

#[derive(Debug)]
pub(super) struct Walk {
    /// The root, then each directory down to the current one. If there are very many, the first ones below the root are closed.
    open: Vec<OpenDirectory>,
    /// The path of the current directory, without links.
    path: Vec<u8>,
    symlinked_dirs: SymlinkedDirs,
    reserved: Option<&'static str>,
    /// The user of this process.
    uid: u32,
    pub(super) setter: AttributeSetter,
    /// The ids on the disk.
    pub(super) ids: MappedIds,
    /// The owner of a directory that no layer describes.
    implied_owner: (u32, u32),
}

impl Walk {
    pub(super) fn new(root: Root, options: Options) -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let ids = root.ids().clone();
        let implied_owner = ids.root_on_disk()?;
        let directory = OpenDirectory::new(root.into_fd(), 0, None).and_then(|mut directory| {
            directory.unlock(uid)?;
            Ok(directory)
        });
        let root = directory.at_path(&EntryPath::root())?;
        let Options { owner, special_bits, symlinked_dirs, reserved } = options;
        Ok(Self {
            open: vec![root],
            path: Vec::new(),
            symlinked_dirs,
            reserved,
            uid,
            setter: AttributeSetter::new(owner, special_bits),
            ids,
            implied_owner,
        })
    }

    /// Gives the root to the image's root, where ids are mapped. Since no layer names that owner, it doesn't count as skipped.
    pub(super) fn give_root(&mut self) -> Result<(), Error> {
        if !self.ids.is_mapped() {
            return Ok(());
        }
        let skipped = self.setter.skipped;
        let Self { open, setter, implied_owner, .. } = self;
        let root = open.first().expect("the root is always open").as_fd();
        let stat = rustix::fs::fstat(root).doing("looking at it").at_path(&EntryPath::root())?;
        let has = PresentAttributes::of(&stat, Leftovers::None);
        let wanted = WantedAttributes { mode: None, ..WantedAttributes::implied(*implied_owner) };
        setter.set(InodeHandle::Open(root), has, &wanted).at_path(&EntryPath::root())?;
        setter.skipped = skipped;
        Ok(())
    }

    /// The current directory.
    pub(super) fn here(&mut self) -> &mut OpenDirectory {
        self.open.last_mut().expect("the root is always open")
    }

    /// The same, and what sets attributes.
    pub(super) fn here_and_setter(&mut self) -> (&mut OpenDirectory, &mut AttributeSetter) {
        (self.open.last_mut().expect("the root is always open"), &mut self.setter)
    }

    /// The descriptor of the current directory.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.open.last().expect("the root is always open").as_fd()
    }

    /// The path of the current directory.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of `name` in the current directory, for messages.
    pub(super) fn path_of(&self, name: &[u8]) -> EntryPath {
        EntryPath::parse(&[&self.path, name].join(&b'/')).unwrap_or_default()
    }

    /// Goes to the directory at `path`. The result is whether it is there. With [`Purpose::Write`] it always is.
    pub(super) fn go(
        &mut self,
        path: &[u8],
        purpose: Purpose,
        layer_paths: &LayerPaths,
    ) -> Result<bool, Error> {
        self.retreat(path)?;
        for name in components(&path[self.path.len()..]) {
            if !self.enter(name, purpose, layer_paths)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes to a directory that is known to exist, by a path without links.
    pub(super) fn go_back(&mut self, path: &[u8]) -> Result<(), Error> {
        self.retreat(path)?;
        for name in components(&path[self.path.len()..]) {
            if !self.enter_directory(name)? {
                let failure = Err::<(), _>(Errno::NOTDIR).doing(OPENING);
                return failure.map_err(|failure| failure.at(self.path_of(name)));
            }
        }
        Ok(())
    }

    /// Leaves the directories that are not above `path`.
    pub(super) fn retreat(&mut self, path: &[u8]) -> Result<(), Error> {
        let shared = shared_length(&self.path, path);
        while self.open.last().is_some_and(|directory| directory.end > shared) {
            self.leave(self.open.len() - 1)?;
        }
        let end = self.here().end;
        self.path.truncate(end);
        Ok(())
    }

    /// Leaves all directories, the root last.
    pub(super) fn finish(mut self) -> Result<AttributeSetter, Error> {
        self.retreat(b"")?;
        self.leave(0)?;
        Ok(self.setter)
    }

    fn leave(&mut self, at: usize) -> Result<(), Error> {
        let directory = self.open.remove(at);
        directory.leave().map_err(|failure| {
            failure.at(EntryPath::parse(&self.path[..directory.end]).unwrap_or_default())
        })
    }

    /// Whether `name`, in the current directory, is [reserved](Options::reserved).
    pub(super) fn is_reserved(&self, name: &[u8]) -> bool {
        self.path.is_empty() && self.reserved.is_some_and(|reserved| reserved.as_bytes() == name)
    }

    /// Refuses to write to a [reserved](Options::reserved) name.
    pub(super) fn check_reserved(&self, name: &[u8]) -> Result<(), Error> {
        if self.is_reserved(name) {
            let reason = "a name that is kept for marking the directory while it is filled";
            return Err(Error::impossible(&self.path_of(name), reason));
        }
        Ok(())
    }

    /// Goes to the directory `name` in the current one. The result is whether it is there.
    fn enter(
        &mut self,
        name: &[u8],
        purpose: Purpose,
        layer_paths: &LayerPaths,
    ) -> Result<bool, Error> {
        if purpose == Purpose::Write {
            self.check_reserved(name)?;
        }
        match self.open(name).map_err(|failure| failure.at(self.path_of(name)))? {
            Child::Directory(directory) => self.push(name, directory)?,
            Child::Other if self.may_follow(name, purpose, layer_paths) && self.follow(name)? => {}
            Child::Other if purpose == Purpose::Write && self.is_own(name, layer_paths) => {
                // Directories that the link leads through and that don't exist are made. containerd does the same.
                if !self.follow_text(name, Missing::IsMade)? {
                    self.make_implied(name, &Child::Other)?;
                }
            }
            _ if purpose != Purpose::Write => return Ok(false),
            child => self.make_implied(name, &child)?,
        }
        Ok(true)
    }

    /// Enters `name` if it is a directory. The result is whether it is one.
    pub(super) fn enter_directory(&mut self, name: &[u8]) -> Result<bool, Error> {
        match self.open(name).map_err(|failure| failure.at(self.path_of(name)))? {
            Child::Directory(directory) => self.push(name, directory).map(|()| true),
            Child::Missing | Child::Other => Ok(false),
        }
    }

    /// Opens `name` in the current directory, if it is a directory.
    pub(super) fn open(&self, name: &[u8]) -> Result<Child, SystemError> {
        let (fd, mode) = match root::open_directory(self.fd(), name) {
            Ok(fd) => (fd, None),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(Child::Missing),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Child::Other),
            Err(Errno::ACCESS) => {
                let (fd, mode) = root::open_locked_directory(self.fd(), name).doing(OPENING)?;
                (fd, Some(mode))
            }
            Err(errno) => return Err(errno).doing(OPENING),
        };
        let end = self.path.len() + usize::from(!self.path.is_empty()) + name.len();
        let mut directory = OpenDirectory::new(fd, end, mode)?;
        directory.unlock(self.uid)?;
        Ok(Child::Directory(directory))
    }

    /// Makes a directory in the current one the current directory.
    pub(super) fn push(&mut self, name: &[u8], directory: OpenDirectory) -> Result<(), Error> {
        // Links can lead deeper than a path may be long. The names are only counted if the path is long enough for so many.
        if self.path.len() > MAX_COMPONENTS && components(&self.path).count() >= MAX_COMPONENTS {
            return Err(Error::impossible(&self.path_of(name), TOO_DEEP));
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.open.push(directory);
        if self.open.len() > MAX_OPEN {
            self.leave(1)?;
        }
        Ok(())
    }

    /// Removes `name`, whatever it is, from the current directory. A reserved name stays.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), SystemError> {
        if !self.is_reserved(name) && remove::remove(self.fd(), name)? == Removed::Something {
            self.here().change();
        }
        Ok(())
    }

    /// Makes a parent directory that no layer describes, in place of what is `present`, and enters it.
    fn make_implied(&mut self, name: &[u8], present: &Child) -> Result<(), Error> {
        if matches!(present, Child::Other) {
            self.remove(name).map_err(|failure| failure.at(self.path_of(name)))?;
        }
        let made = self.make_directory(name, 0o755);
        let directory = made.map_err(|failure| failure.at(self.path_of(name)))?;
        let leftovers = self.here().inheritance();
        self.push(name, directory)?;
        self.describe_implied(leftovers)
    }

    /// Makes a directory in the current one and opens it. Nothing of its name may exist.
    pub(super) fn make_directory(
        &mut self,
        name: &[u8],
        mode: u32,
    ) -> Result<OpenDirectory, SystemError> {
        self.here().change();
        rustix::fs::mkdirat(self.fd(), name, Mode::from_raw_mode(mode))
            .doing("making the directory")?;
        match self.open(name)? {
            Child::Directory(directory) => Ok(directory),
            Child::Missing | Child::Other => Err(Errno::NOTDIR).doing(OPENING),
        }
    }

    /// Gives the current directory the attributes of an entry.
    pub(super) fn describe(
        &mut self,
        wanted: &WantedAttributes<'_>,
        leftovers: Leftovers,
    ) -> Result<(), Error> {
        let (here, setter) = self.here_and_setter();
        here.describe(setter, wanted, leftovers).map_err(|failure| failure.at(self.path_of(b"")))
    }

    /// Gives `name`, which has just been made in the current directory with `mode`, the attributes of an entry.
    pub(super) fn describe_named(
        &mut self,
        name: &[u8],
        mode: u32,
        wanted: &WantedAttributes<'_>,
    ) -> Result<(), SystemError> {
        let (here, setter) = self.here_and_setter();
        let look = |fd: BorrowedFd<'_>| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let mut present = here.birth(mode, look)?;
        if wanted.mode.is_none() {
            // A link inherits no ACL.
            present.xattrs = Leftovers::None;
        }
        let inode = InodeHandle::Named(here.as_fd(), name);
        setter.set(inode, present, wanted)?;
        inode.set_times(wanted.mtime)
    }

    /// Gives the current directory the attributes of one that no layer describes. Since no layer names an owner, none counts as
    /// skipped.
    pub(super) fn describe_implied(&mut self, leftovers: Leftovers) -> Result<(), Error> {
        let skipped = self.setter.skipped;
        let result = self.describe(&WantedAttributes::implied(self.implied_owner), leftovers);
        self.setter.skipped = skipped;
        result
    }

    /// Whether `name`, which isn't a directory, is followed if it is a link.
    ///
    /// A link of the same layer is followed, as all tools do, but not by whiteouts, which are about the lower layers only. A link
    /// of a lower layer is followed if the options say so.
    pub(super) fn may_follow(
        &self,
        name: &[u8],
        purpose: Purpose,
        layer_paths: &LayerPaths,
    ) -> bool {
        match self.symlinked_dirs {
            _ if self.is_own(name, layer_paths) => purpose != Purpose::Whiteout,
            SymlinkedDirs::Follow => true,
            SymlinkedDirs::Replace => false,
        }
    }

    /// Whether the layer has written `name` itself.
    fn is_own(&self, name: &[u8], layer_paths: &LayerPaths) -> bool {
        layer_paths.marks(layer_paths.hash(&self.path, name)).has(PathMarks::WRITTEN)
    }

    /// Goes where the link `name` leads. If that is no directory beneath the root, the current directory stays the same. The
    /// result is whether it was followed.
    pub(super) fn follow(&mut self, name: &[u8]) -> Result<bool, Error> {
        self.follow_text(name, Missing::Stays)
    }

    fn follow_text(&mut self, name: &[u8], missing: Missing) -> Result<bool, Error> {
        let origin = self.path.clone();
        let mut ahead = vec![name.to_vec()];
        let mut n_links = 0;
        let mut steps = 0..MAX_LINK_STEPS;
        while steps.next().is_some() {
            let Some(name) = ahead.pop() else { return Ok(true) };
            if name == b".." {
                // Several are taken at once, since on a long path only the last directories are open.
                let more = ahead.iter().rev().take_while(|&name| name == b"..").count();
                let more = steps.by_ref().take(more).count();
                ahead.truncate(ahead.len() - more);
                let above = above(&self.path, 1 + more).to_vec();
                self.go_back(&above)?;
                continue;
            }
            match self.open(&name).map_err(|failure| failure.at(self.path_of(&name)))? {
                Child::Directory(directory) => {
                    self.push(&name, directory)?;
                    continue;
                }
                // No system follows a text that leads back out of a directory that doesn't exist.
                Child::Missing if ahead.iter().any(|name| name == b"..") => {}
                Child::Missing if missing == Missing::IsMade => {
                    self.check_reserved(&name)?;
                    self.make_implied(&name, &Child::Missing)?;
                    continue;
                }
                Child::Missing | Child::Other => {}
            }
            let Ok(target) = rustix::fs::readlinkat(self.fd(), &name[..], Vec::new()) else {
                break;
            };
            n_links += 1;
            if n_links > MAX_LINKS {
                break;
            }
            if target.to_bytes().starts_with(b"/") {
                self.retreat(b"")?;
            }
            let names: Vec<_> = components(target.to_bytes())
                .filter(|&name| name != b".")
                .map(<[u8]>::to_vec)
                .collect();
            ahead.extend(names.into_iter().rev());
        }
        self.go_back(&origin)?;
        Ok(false)
    }
}

/// What happens if a name in a link's text doesn't exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// The link leads nowhere.
    Stays,
    /// A directory is made.
    IsMade,
}

/// The path of the directory `n_levels` above another. The root is above itself.
fn above(path: &[u8], n_levels: usize) -> &[u8] {
    let names = components(path).count().saturating_sub(n_levels);
    let length: usize = components(path).take(names).map(|name| name.len() + 1).sum();
    &path[..length.saturating_sub(1)]
}

/// The length of the longest path that is above, or is, each of two paths.
fn shared_length(a: &[u8], b: &[u8]) -> usize {
    let equal = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let ends = |path: &[u8]| path.len() == equal || path[equal] == b'/';
    if ends(a) && ends(b) {
        equal
    } else {
        a[..equal].iter().rposition(|&byte| byte == b'/').unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: usize) {
        assert_eq!(shared_length(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        assert_eq!(shared_length(b.as_bytes(), a.as_bytes()), expected, "{b} {a}");
    }

    #[test]
    fn nothing_is_above_the_root() {
        let check = |path: &str, n_levels, expected: &str| {
            assert_eq!(above(path.as_bytes(), n_levels), expected.as_bytes(), "{path} {n_levels}");
        };
        check("a/bc/d", 0, "a/bc/d");
        check("a/bc/d", 1, "a/bc");
        check("a/bc/d", 2, "a");
        check("a/bc/d", 3, "");
        check("a/bc/d", 4, "");
        check("", 1, "");
    }

    #[test]
    fn paths_share_whole_names_only() {
        check("", "", 0);
        check("", "a", 0);
        check("a", "a", 1);
        check("a", "a/b", 1);
        check("a", "ab", 0);
        check("a/b", "a/bc", 1);
        check("a/b/c", "a/b/d", 3);
        check("a/b/c", "x", 0);
    }
}
