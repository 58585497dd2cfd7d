//! The upper directory of an overlay: all that it holds is a change, and says so in overlayfs' own way
//! ([overlayfs](https://docs.kernel.org/filesystems/overlayfs.html)).
//!
//! | in the upper directory | in the layer |
//! |---|---|
//! | character device 0/0, or an empty file with the attribute `overlay.whiteout` | a whiteout |
//! | a directory with the attribute `overlay.opaque` = `y` | the directory and an opaque whiteout |
//! | `overlay.redirect`, `overlay.metacopy` | refused: the content is in another place of a lower layer |
//! | anything else | an entry |
//!
//! The attributes are `trusted.` or, of a mount by a plain user, `user.`; none of them gets into the layer.

use std::collections::HashMap;

use layer_format::layer::{Change, Entry, EntryKind, EntryPath};

use super::{DiffOptions, Difference, What, compare, unfit_name};
use crate::error::Error;
use crate::scan::{Found, Inode, Scan};
use crate::xattrs::Xattr;

/// Iterates over the changes that an upper directory stands for, in the order of a layer.
pub struct Upper<'a> {
    options: DiffOptions<'a>,
    way: Vec<Level<'a>>,
    /// Of what was looked at last.
    path: EntryPath,
    first: HashMap<Inode, EntryPath>,
}

/// A directory that is being told of: its marker, its whiteouts, then what is in it.
struct Level<'a> {
    /// How long its path is, in bytes.
    length: usize,
    found: Found<'a>,
    phase: Phase,
    next: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Marker,
    Whiteouts,
    Entries,
}

impl std::fmt::Debug for Upper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upper").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a> Upper<'a> {
    /// The changes in a scanned upper directory. The directory itself, which stands for the root, is none.
    pub fn new(scan: &'a Scan, options: DiffOptions<'a>) -> Self {
        let top = Level::new(&EntryPath::root(), scan.top());
        Self { options, way: vec![top], path: EntryPath::root(), first: HashMap::new() }
    }

    fn entry(&mut self, path: EntryPath, found: Found<'a>) -> Result<Difference<'a>, Error> {
        refuse(&path, found)?;
        if found.is_directory() && !found.is_passed() {
            self.way.push(Level::new(&path, found));
        }
        let mut entry: Entry = compare::added(path, found, &self.options);
        entry.xattrs.retain(|(name, _)| overlay_name(name).is_none());
        let target = found.linked_inode().and_then(|inode| {
            let first = self.first.entry(inode).or_insert_with(|| entry.path.clone());
            (*first != entry.path).then(|| first.clone())
        });
        let content = match target {
            Some(target) => {
                entry.kind = EntryKind::Hardlink { target };
                entry.xattrs.clear();
                None
            }
            None => matches!(entry.kind, EntryKind::File { .. }).then_some(found),
        };
        Ok(Difference { what: What::Added, change: Change::Add(entry), content })
    }
}

impl<'a> Iterator for Upper<'a> {
    type Item = Result<Difference<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.way.last_mut()?;
            let Some(found) = level.step() else {
                self.way.pop();
                continue;
            };
            self.path.truncate(level.length);
            if level.phase != Phase::Marker {
                self.path.push(found.name());
            }
            let path = self.path.clone();
            let told = |change| Some(Ok(Difference { what: What::Removed, change, content: None }));
            match level.phase {
                Phase::Marker if is_opaque(found) => return told(Change::Opaque(path)),
                Phase::Whiteouts if is_whiteout(found) => return told(Change::Remove(path)),
                Phase::Entries if !is_whiteout(found) && !found.is_socket() => {
                    return Some(self.entry(path, found));
                }
                _ => {}
            }
        }
    }
}

impl<'a> Level<'a> {
    fn new(path: &EntryPath, found: Found<'a>) -> Self {
        Self { length: path.as_bytes().len(), found, phase: Phase::Marker, next: 0 }
    }

    /// What is to be looked at next.
    fn step(&mut self) -> Option<Found<'a>> {
        loop {
            let found = match self.phase {
                Phase::Marker => Some(self.found).filter(|_| self.next == 0),
                Phase::Whiteouts | Phase::Entries => self.found.nth(self.next),
            };
            self.next += 1;
            if found.is_some() || self.phase == Phase::Entries {
                return found;
            }
            self.next = 0;
            self.phase = match self.phase {
                Phase::Marker => Phase::Whiteouts,
                Phase::Whiteouts | Phase::Entries => Phase::Entries,
            };
        }
    }
}

fn refuse(path: &EntryPath, found: Found<'_>) -> Result<(), Error> {
    let has = |wanted: &[u8]| overlay(found, wanted).is_some();
    let reason = if let Some(reason) = unfit_name(path) {
        reason
    } else if has(b"redirect") {
        "overlayfs has moved it here and left its contents where they were (redirect_dir)"
    } else if has(b"metacopy") {
        "overlayfs has left its content in a lower layer (metacopy)"
    } else {
        return Ok(());
    };
    Err(Error::Unfit { path: path.clone(), reason })
}

fn is_whiteout(found: Found<'_>) -> bool {
    match found.kind() {
        Some(EntryKind::CharDevice { major: 0, minor: 0 }) => true,
        Some(EntryKind::File { size: 0, .. }) => overlay(found, b"whiteout").is_some(),
        _ => false,
    }
}

/// `x` instead of `y` says only that whiteouts inside may be attributes.
fn is_opaque(found: Found<'_>) -> bool {
    overlay(found, b"opaque") == Some(b"y")
}

fn overlay<'a>(found: Found<'a>, wanted: &[u8]) -> Option<&'a [u8]> {
    let is_it = |(name, _): &&Xattr| overlay_name(name) == Some(wanted);
    found.xattrs().iter().find(is_it).map(|(_, value)| value.as_slice())
}

/// The rest of an attribute's name that is overlayfs' own.
fn overlay_name(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b"trusted.overlay.").or_else(|| name.strip_prefix(b"user.overlay."))
}
