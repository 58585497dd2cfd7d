//! From nodes to a directory: what fixtures need, with ordinary paths.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::node::{File, Kind, Node};
use crate::or_panic::OrPanic as _;

pub(super) fn build(dir: &Path, nodes: &[Node]) {
    fs::create_dir_all(dir).or_panic(format!("make {}", dir.display()));
    let mut made = Vec::new();
    for node in nodes {
        let path = within(dir, &node.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).or_panic(format!("make {}", parent.display()));
        }
        make(dir, &path, node);
        if !matches!(node.kind, Kind::HardLink(_)) {
            attributes(&path, node);
            made.push((path, node.mtime.unwrap_or((crate::EPOCH, 0))));
        }
    }
    for (path, (seconds, nanoseconds)) in made.iter().rev() {
        let time = Timespec { tv_sec: *seconds, tv_nsec: i64::from(*nanoseconds) };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .or_panic(format!("set the time of {}", path.display()));
    }
}

fn within(dir: &Path, path: &[u8]) -> PathBuf {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    dir.join(path.strip_prefix("/").unwrap_or(path))
}

fn make(dir: &Path, path: &Path, node: &Node) {
    let doing = || format!("make {}", path.display());
    match &node.kind {
        Kind::Dir => fs::create_dir_all(path).or_panic(doing()),
        Kind::File(File::Long(length, hash)) if hash.is_empty() => {
            fs::File::create(path).and_then(|file| file.set_len(*length)).or_panic(doing());
        }
        Kind::File(file) => fs::write(path, file.bytes()).or_panic(doing()),
        Kind::Symlink(target) => {
            symlink(std::ffi::OsStr::from_bytes(target), path).or_panic(doing());
        }
        Kind::HardLink(target) => fs::hard_link(within(dir, target), path).or_panic(doing()),
        Kind::Char(major, minor) => special(path, FileType::CharacterDevice, (*major, *minor)),
        Kind::Block(major, minor) => special(path, FileType::BlockDevice, (*major, *minor)),
        Kind::Fifo => special(path, FileType::Fifo, (0, 0)),
        Kind::Socket => special(path, FileType::Socket, (0, 0)),
    }
}

fn special(path: &Path, kind: FileType, (major, minor): (u32, u32)) {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, device)
        .or_panic(format!("make {}", path.display()));
}

/// Owner first: changing it clears special bits and capabilities.
fn attributes(path: &Path, node: &Node) {
    let doing = |what: &str| format!("set the {what} of {}", path.display());
    if rustix::process::geteuid().is_root() {
        let id = |id: u64| Some(u32::try_from(id).or_panic(doing("owner")));
        lchown(path, id(node.uid), id(node.gid)).or_panic(doing("owner"));
    }
    if !matches!(node.kind, Kind::Symlink(_)) {
        fs::set_permissions(path, fs::Permissions::from_mode(node.mode)).or_panic(doing("mode"));
    }
    for (name, value) in &node.xattrs {
        rustix::fs::lsetxattr(path, name.as_slice(), value, XattrFlags::empty())
            .or_panic(doing("attributes"));
    }
}
