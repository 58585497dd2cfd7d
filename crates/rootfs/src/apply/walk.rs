//! The way from the root to the directory that is being worked in.
//!
//! The directories on it stay open, so that in an archive in tree order each is opened once. Nothing else is cached: a
//! directory that is replaced or removed is never on the way at that time, because its parent is the one worked in.
//! Names are opened one by one and never through a link; a link that is followed is followed here, by its text, beneath
//! the root. So no path is ever too long, and no link, however odd, leads out.

use std::os::fd::{AsFd, BorrowedFd};

use layer_format::layer::{
    EntryPath, MAX_COMPONENTS, MAX_LINK_STEPS, MAX_LINKS, TOO_DEEP, components,
};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::directory::Directory;
use super::own::{Marks, OwnPaths};
use super::{Options, SymlinkedDirs};
use crate::error::{Doing, Error, Failure};
use crate::metadata::{self, Attributes, Inode, Leftovers, Setter};
use crate::remove::{self, Removed};
use crate::root::{self, Root};

/// How many directories stay open.
const MAX_OPEN: usize = 32;

const OPENING: &str = "opening the directory";

/// What a path is walked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To write there: what is missing is made, what is in the way gives way.
    Write,
    /// To find what a hard link names.
    LinkTarget,
    /// To remove what the lower layers have.
    Whiteout,
}

/// What a name turned out to be.
pub(super) enum Child {
    Directory(Directory),
    Missing,
    Other,
}

#[derive(Debug)]
pub(super) struct Walk {
    /// The root, then each directory on the way; on a very long way the first ones below the root are closed again.
    way: Vec<Directory>,
    /// The path of the last one, free of links.
    path: Vec<u8>,
    symlinked_dirs: SymlinkedDirs,
    reserved: Option<&'static str>,
    /// Who we are.
    uid: u32,
    pub(super) setter: Setter,
}

impl Walk {
    pub(super) fn new(root: Root, options: Options) -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let directory = Directory::new(root.into_fd(), 0, None).and_then(|mut directory| {
            directory.unlock(uid)?;
            Ok(directory)
        });
        let root = directory.map_err(|failure| failure.at(EntryPath::root()))?;
        let Options { owner, special_bits, symlinked_dirs, reserved } = options;
        let (path, setter) = (Vec::new(), Setter::new(owner, special_bits));
        Ok(Self { way: vec![root], path, symlinked_dirs, reserved, uid, setter })
    }

    /// The directory worked in.
    pub(super) fn here(&mut self) -> &mut Directory {
        self.way.last_mut().expect("the root is always on the way")
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.way.last().expect("the root is always on the way").as_fd()
    }

    /// Its path.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of `name` in it, for messages.
    pub(super) fn path_of(&self, name: &[u8]) -> EntryPath {
        EntryPath::parse(&[&self.path, name].join(&b'/')).unwrap_or_default()
    }

    /// Goes to the directory at `path`. Says whether it got there; with [`Purpose::Write`] it does.
    pub(super) fn go(
        &mut self,
        path: &[u8],
        purpose: Purpose,
        own: &OwnPaths,
    ) -> Result<bool, Error> {
        self.retreat(path)?;
        for name in components(&path[self.path.len()..]) {
            if !self.enter(name, purpose, own)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes to a directory that is known to be there under a path without links.
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

    /// Leaves what doesn't lie on the way to `path`.
    pub(super) fn retreat(&mut self, path: &[u8]) -> Result<(), Error> {
        let shared = shared_length(&self.path, path);
        while self.way.last().is_some_and(|directory| directory.end > shared) {
            self.leave(self.way.len() - 1)?;
        }
        let end = self.here().end;
        self.path.truncate(end);
        Ok(())
    }

    /// Leaves everything, the root last.
    pub(super) fn finish(mut self) -> Result<Setter, Error> {
        self.retreat(b"")?;
        self.leave(0)?;
        Ok(self.setter)
    }

    fn leave(&mut self, at: usize) -> Result<(), Error> {
        let directory = self.way.remove(at);
        directory.leave().map_err(|failure| {
            failure.at(EntryPath::parse(&self.path[..directory.end]).unwrap_or_default())
        })
    }

    /// Whether `name`, in the directory worked in, is none of the layers' business.
    pub(super) fn is_reserved(&self, name: &[u8]) -> bool {
        self.path.is_empty() && self.reserved.is_some_and(|reserved| reserved.as_bytes() == name)
    }

    /// Refuses to write to a name that is none of the layers' business.
    pub(super) fn check_reserved(&self, name: &[u8]) -> Result<(), Error> {
        if self.is_reserved(name) {
            let reason = "a name that is kept for marking the directory while it is filled";
            return Err(Error::impossible(&self.path_of(name), reason));
        }
        Ok(())
    }

    /// Goes one name further.
    fn enter(&mut self, name: &[u8], purpose: Purpose, own: &OwnPaths) -> Result<bool, Error> {
        if purpose == Purpose::Write {
            self.check_reserved(name)?;
        }
        match self.open(name).map_err(|failure| failure.at(self.path_of(name)))? {
            Child::Directory(directory) => self.push(name, directory)?,
            Child::Other if self.may_follow(name, purpose, own) && self.follow(name)? => {}
            Child::Other if purpose == Purpose::Write && self.is_own(name, own) => {
                // Where nothing is yet, the directories are made, as containerd does.
                if !self.follow_text(name, Missing::IsMade)? {
                    self.make_implied(name, &Child::Other)?;
                }
            }
            _ if purpose != Purpose::Write => return Ok(false),
            child => self.make_implied(name, &child)?,
        }
        Ok(true)
    }

    /// Goes into `name` if it is a directory.
    pub(super) fn enter_directory(&mut self, name: &[u8]) -> Result<bool, Error> {
        match self.open(name).map_err(|failure| failure.at(self.path_of(name)))? {
            Child::Directory(directory) => self.push(name, directory).map(|()| true),
            Child::Missing | Child::Other => Ok(false),
        }
    }

    pub(super) fn open(&self, name: &[u8]) -> Result<Child, Failure> {
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
        let mut directory = Directory::new(fd, end, mode)?;
        directory.unlock(self.uid)?;
        Ok(Child::Directory(directory))
    }

    pub(super) fn push(&mut self, name: &[u8], directory: Directory) -> Result<(), Error> {
        // Links lead deeper than a path is long. Where no path could have so many names, they need not be counted.
        if self.path.len() > MAX_COMPONENTS && components(&self.path).count() >= MAX_COMPONENTS {
            return Err(Error::impossible(&self.path_of(name), TOO_DEEP));
        }
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.way.push(directory);
        if self.way.len() > MAX_OPEN {
            self.leave(1)?;
        }
        Ok(())
    }

    /// Removes `name`, whatever it is, from the directory worked in; a reserved name stays.
    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), Failure> {
        if !self.is_reserved(name) && remove::remove(self.fd(), name)? == Removed::Something {
            self.here().change();
        }
        Ok(())
    }

    /// Makes a directory that some entry needs and no layer describes, and goes into it.
    fn make_implied(&mut self, name: &[u8], present: &Child) -> Result<(), Error> {
        let mut make = || {
            if matches!(present, Child::Other) {
                self.remove(name)?;
            }
            self.make_directory(name, 0o755)
        };
        let made = make();
        let directory = made.map_err(|failure| failure.at(self.path_of(name)))?;
        let leftovers = self.here().inheritance();
        self.push(name, directory)?;
        self.describe_implied(leftovers)
    }

    /// Makes a directory where nothing is and opens it.
    pub(super) fn make_directory(&mut self, name: &[u8], mode: u32) -> Result<Directory, Failure> {
        self.here().change();
        rustix::fs::mkdirat(self.fd(), name, Mode::from_raw_mode(mode))
            .doing("making the directory")?;
        match self.open(name)? {
            Child::Directory(directory) => Ok(directory),
            Child::Missing | Child::Other => Err(Errno::NOTDIR).doing(OPENING),
        }
    }

    /// Gives the directory worked in what an entry says.
    pub(super) fn describe(
        &mut self,
        wanted: &Attributes<'_>,
        leftovers: Leftovers,
    ) -> Result<(), Error> {
        let Self { way, setter, .. } = self;
        let here = way.last_mut().expect("the root is always on the way");
        here.describe(setter, wanted, leftovers).map_err(|failure| failure.at(self.path_of(b"")))
    }

    /// Gives what has just been made there as `name`, with `mode`, what an entry says.
    pub(super) fn describe_named(
        &mut self,
        name: &[u8],
        mode: u32,
        wanted: &Attributes<'_>,
    ) -> Result<(), Failure> {
        let Self { way, setter, .. } = self;
        let here = way.last_mut().expect("the root is always on the way");
        let look = |fd: BorrowedFd<'_>| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let mut present = here.birth(mode, look)?;
        if wanted.mode.is_none() {
            // A link has no ACL to inherit.
            present.xattrs = Leftovers::None;
        }
        let inode = Inode::Named(here.as_fd(), name);
        setter.set(inode, present, wanted)?;
        metadata::set_times(inode, wanted.mtime)
    }

    /// Gives it what a directory has that no layer describes. As no layer names an owner, none counts as skipped.
    pub(super) fn describe_implied(&mut self, leftovers: Leftovers) -> Result<(), Error> {
        let skipped = self.setter.skipped;
        let result = self.describe(&Attributes::implied(), leftovers);
        self.setter.skipped = skipped;
        result
    }

    /// Whether `name`, which isn't a directory, may stand for one.
    ///
    /// A link that this very layer has made is part of how it names things: every tool follows it. One of a lower layer
    /// isn't, unless the user says so, and a whiteout sees the lower layers only.
    pub(super) fn may_follow(&self, name: &[u8], purpose: Purpose, own: &OwnPaths) -> bool {
        match self.symlinked_dirs {
            _ if self.is_own(name, own) => purpose != Purpose::Whiteout,
            SymlinkedDirs::Follow => true,
            SymlinkedDirs::Replace => false,
        }
    }

    /// Whether the layer has written `name` itself.
    fn is_own(&self, name: &[u8], own: &OwnPaths) -> bool {
        own.marks(own.key(&self.path, name)).has(Marks::WRITTEN)
    }

    /// Follows the link `name` by its text. If it doesn't lead to a directory beneath the root, stays here.
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
                // Many at once, because only the last directories on a long way are open.
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
                // Back out of what would only be made on the way: no system follows such a text.
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

/// What becomes of a name on the way of a link's text that isn't there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// The link leads nowhere.
    Stays,
    /// It becomes a directory.
    IsMade,
}

/// The path of the directory that many levels above one; the root is above itself.
fn above(path: &[u8], n_levels: usize) -> &[u8] {
    let names = components(path).count().saturating_sub(n_levels);
    let length: usize = components(path).take(names).map(|name| name.len() + 1).sum();
    &path[..length.saturating_sub(1)]
}

/// How much of two paths is the way to both.
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
