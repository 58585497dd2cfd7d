//! From a directory to nodes, one directory descriptor at a time.
//!
//! Paths are never joined: the walk goes down by `openat` and back up by `..`, so neither
//! `PATH_MAX` nor the number of open files limits its depth.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File as StdFile;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::{Errno, Result};

use super::node::{File, Kind, Node};

/// A directory on the way down: the names still to visit and the length of its path.
struct Level {
    dirs: std::vec::IntoIter<CString>,
    path_length: usize,
}

struct Scan {
    nodes: Vec<Node>,
    dir: OwnedFd,
    path: Vec<u8>,
    /// The inodes of several names, and the nodes that show those.
    inodes: HashMap<(u64, u64), Vec<usize>>,
}

/// Everything beneath a directory, itself first, in byte order of the paths.
pub(super) fn scan(dir: &Path) -> Result<Vec<Node>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let mut scan = Scan { nodes: Vec::new(), dir, path: Vec::new(), inodes: HashMap::new() };
    scan.add(c".")?;
    let mut levels = vec![scan.level()?];
    while let Some(level) = levels.last_mut() {
        scan.path.truncate(level.path_length);
        if let Some(name) = level.dirs.next() {
            scan.dir =
                rustix::fs::openat(&scan.dir, &name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            scan.push(&name);
            levels.push(scan.level()?);
        } else {
            levels.pop();
            if !levels.is_empty() {
                scan.dir = rustix::fs::openat(&scan.dir, c"..", flags, Mode::empty())?;
            }
        }
    }
    Ok(scan.finish())
}

impl Scan {
    fn push(&mut self, name: &CString) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend(name.as_bytes());
    }

    /// Adds the entries of the open directory.
    fn level(&mut self) -> Result<Level> {
        let path_length = self.path.len();
        let mut dirs = Vec::new();
        for name in names(&self.dir)? {
            self.push(&name);
            let is_dir = self.add(&name)?;
            self.path.truncate(path_length);
            if is_dir {
                dirs.push(name);
            }
        }
        Ok(Level { dirs: dirs.into_iter(), path_length })
    }

    /// Adds one entry; says whether it is a directory.
    fn add(&mut self, name: &std::ffi::CStr) -> Result<bool> {
        let stat = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = self.kind(name, &stat)?;
        let is_dir = kind == Kind::Dir;
        if !is_dir && stat.st_nlink > 1 {
            self.inodes.entry((stat.st_dev, stat.st_ino)).or_default().push(self.nodes.len());
        }
        let mut link = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
        link.extend(name.to_bytes());
        self.nodes.push(Node {
            path: self.path.clone(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid.into(),
            gid: stat.st_gid.into(),
            mtime: Some((stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(u32::MAX))),
            xattrs: xattrs(&link)?,
        });
        Ok(is_dir)
    }

    fn kind(&self, name: &std::ffi::CStr, stat: &Stat) -> Result<Kind> {
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Dir,
            FileType::Symlink => {
                Kind::Symlink(rustix::fs::readlinkat(&self.dir, name, Vec::new())?.into_bytes())
            }
            FileType::CharacterDevice => Kind::Char(major, minor),
            FileType::BlockDevice => Kind::Block(major, minor),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&self.dir, name, flags, Mode::empty())?;
                let read = File::read(StdFile::from(file));
                Kind::File(read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?)
            }
        })
    }

    /// Sorts, and turns later names of an inode into hard links to the first.
    fn finish(self) -> Vec<Node> {
        let mut nodes = self.nodes;
        for group in self.inodes.values() {
            let first = group.iter().map(|at| &nodes[*at].path).min().cloned().unwrap_or_default();
            let later = group.iter().filter(|at| nodes[**at].path != first);
            for at in later.copied().collect::<Vec<_>>() {
                nodes[at].kind = Kind::HardLink(first.clone());
            }
        }
        nodes.sort_by(|a, b| a.path.cmp(&b.path));
        nodes
    }
}

/// What a directory holds, in byte order.
fn names(dir: &OwnedFd) -> Result<Vec<CString>> {
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut names = Vec::new();
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The extended attributes by name, read without following a symbolic link.
fn xattrs(path: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(path, list.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::LOOP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<&[u8]> =
        list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let mut value = vec![0; 1 << 16];
    let mut found = Vec::new();
    for name in names {
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
        found.push((name.to_vec(), value[..length].to_vec()));
    }
    Ok(found)
}

/// The pieces of a file that are not holes.
pub(super) fn extents(path: &Path) -> Result<Vec<(u64, u64)>> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut pieces = Vec::new();
    let mut at = 0;
    loop {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(pieces),
            Err(error) => return Err(error),
        };
        at = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
        pieces.push((start, at - start));
    }
}
