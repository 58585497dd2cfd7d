//! A directory, or a layer, as text: one line an inode, in byte order of the paths.
//!
//! ```text
//! drwxr-xr-x 0:0 ./
//! crw-rw-rw- 0:0 dev/null 1,3
//! lrwxrwxrwx 0:0 lib -> usr/lib
//! -rwsr-xr-x 0:0 usr/bin/su 7 "content"
//! -rwsr-xr-x 0:0 usr/bin/su2 = usr/bin/su
//! -rw-r--r-- 0:0 var/big 70000 sha256:0123456789ab user.note="x"
//! ```
//!
//! A file has its length, then its content, or the beginning of its hash when that is longer than
//! 64 bytes or not text; later names of an inode point at its first (`=`). Then, when asked for,
//! `@seconds.nanoseconds`; then extended attributes. Spaces and what does not print are escaped.
//! Directories end with a slash. [`build()`] and [`crate::Layer::text`] read the same lines.

pub(crate) mod node;

mod build;
mod scan;

use std::fmt::Write as _;
use std::path::Path;

use crate::or_panic::OrPanic as _;
use node::{File, Kind, Node};

/// How exactly times are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtime {
    /// Not at all.
    Hidden,
    /// `@seconds`.
    Seconds,
    /// `@seconds.nanoseconds`.
    Nanoseconds,
}

/// What is shown; start from [`Show::PLAIN`] or [`Show::ALL`].
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// Modification times.
    pub mtime: Mtime,
    /// Owners, `uid:gid`.
    pub owner: bool,
    /// What files hold, besides their length.
    pub content: bool,
    /// Extended attributes.
    pub xattrs: bool,
}

impl Show {
    /// All but times.
    pub const PLAIN: Self = Self { mtime: Mtime::Hidden, owner: true, content: true, xattrs: true };
    /// All.
    pub const ALL: Self = Self { mtime: Mtime::Nanoseconds, ..Self::PLAIN };
}

/// A directory as text, without times.
pub fn show(dir: impl AsRef<Path>) -> String {
    show_with(dir, Show::PLAIN)
}

/// Sets an attribute; whether the file system and this user let it be set.
pub fn try_xattr(path: impl AsRef<Path>, name: &str, value: &[u8]) -> bool {
    rustix::fs::lsetxattr(path.as_ref(), name, value, rustix::fs::XattrFlags::empty()).is_ok()
}

/// A directory as text. Symbolic links are never followed; depth has no limit.
pub fn show_with(dir: impl AsRef<Path>, show: Show) -> String {
    let dir = dir.as_ref();
    text(&scan::scan(dir).or_panic(format!("show {}", dir.display())), show)
}

/// The entries of a layer's tar (not compressed) as text, in the archive's order.
pub fn show_tar(tar: &[u8], show: Show) -> String {
    let members = crate::tarball::read(tar).or_panic("show a tar");
    let nodes: Vec<Node> = members.into_iter().map(|member| tar_node(tar, member)).collect();
    text(&nodes, show)
}

fn text(nodes: &[Node], show: Show) -> String {
    nodes.iter().map(|node| node.line(show) + "\n").collect()
}

fn tar_node(tar: &[u8], member: crate::tarball::Member) -> Node {
    let (major, minor) = member.device;
    let kind = match member.flag {
        b'1' => Kind::HardLink(member.link),
        b'2' => Kind::Symlink(member.link),
        b'3' => Kind::Char(major, minor),
        b'4' => Kind::Block(major, minor),
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        _ => Kind::File(File::read(&tar[member.content]).or_panic("read memory")),
    };
    let xattrs = member.records.into_iter().filter_map(|(key, value)| {
        key.strip_prefix(b"SCHILY.xattr.".as_slice()).map(|name| (name.to_vec(), value))
    });
    Node {
        path: member.path,
        kind,
        mode: member.mode & 0o7777,
        uid: member.uid,
        gid: member.gid,
        mtime: Some(member.mtime),
        xattrs: xattrs.collect(),
    }
}

/// Makes what lines of text describe, inside a directory that is made if it is missing.
///
/// Parents that no line names are made with mode 0755. Owners are set only as root. What has no
/// time gets [`crate::EPOCH`]. A file with a length and no content holds zeros.
pub fn build(dir: impl AsRef<Path>, lines: &str) {
    build::build(dir.as_ref(), &node::parse(lines));
}

/// Where a file has data and not holes: (offset, length) of each piece.
pub fn extents(file: impl AsRef<Path>) -> Vec<(u64, u64)> {
    let path = file.as_ref();
    scan::extents(path).or_panic(format!("find the holes of {}", path.display()))
}

/// The lines that two shows do not share, `-` from the first and `+` from the second; the first
/// forty, and how many more. Empty when the shows are equal.
pub fn diff(a: &str, b: &str) -> String {
    let mut lines = Vec::new();
    let (in_a, in_b) = (set(a), set(b));
    let (mut a, mut b) = (a.lines().peekable(), b.lines().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(x), Some(y)) if x == y => {
                a.next();
                b.next();
            }
            (Some(x), y) if y.is_none() || !in_b.contains(x) => {
                lines.push(format!("-{x}"));
                a.next();
            }
            (x, Some(y)) if x.is_none() || !in_a.contains(y) => {
                lines.push(format!("+{y}"));
                b.next();
            }
            (x, y) => {
                lines.extend(x.map(|x| format!("-{x} (out of order)")));
                lines.extend(y.map(|y| format!("+{y} (out of order)")));
                a.next();
                b.next();
            }
        }
    }
    let mut text: String = lines.iter().take(40).flat_map(|line| [line, "\n"]).collect();
    if lines.len() > 40 {
        writeln!(text, "and {} more", lines.len() - 40).or_panic("write to a string");
    }
    text
}

fn set(text: &str) -> std::collections::HashSet<&str> {
    text.lines().collect()
}

/// Compares two shows.
///
/// # Panics
///
/// With their difference, when they are not equal.
#[track_caller]
pub fn assert_same(a: &str, b: &str) {
    let difference = diff(a, b);
    assert!(difference.is_empty(), "the trees differ:\n{difference}");
}

#[cfg(test)]
mod tests;
