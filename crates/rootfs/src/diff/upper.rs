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
//!
//! fuse-overlayfs, where it can't make devices, writes as the layers of an image do ([`UpperForm::Any`]): `.wh.NAME` and
//! `.wh..wh..opq`, empty files, and with the latter a device `.wh..opq`. Its attributes begin with `user.fuseoverlayfs.`.

use std::collections::HashMap;

use layer_format::layer::{Change, Entry, EntryKind, EntryPath};
use layer_format::listing::{Place, Tree};

use super::attributes::{Attribute, Attributes};
use super::compare::Comparer;
use super::{DiffOptions, Difference, What, compare, unfit_name};
use crate::error::Error;
use crate::scan::{Found, Inode, Scan};
use crate::xattrs::Xattr;

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_FILE: &[u8] = b".wh..wh..opq";
/// The device 0/0 that fuse-overlayfs makes beside it.
const OPAQUE_DEVICE: &[u8] = b".wh..opq";
/// What the names of overlayfs' own attributes begin with.
const PREFIXES: [&[u8]; 4] =
    [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs."];

/// The time of an upper directory itself is that of its making, or when something was put into it, which is a change of its
/// own.
pub(super) const NO_CHANGE_OF_A_ROOT: Attributes = Attributes::of(Attribute::Mtime);

/// Whose marks count in an upper directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpperForm {
    /// Those of the kernel's overlayfs.
    Kernel,
    /// Those of fuse-overlayfs too.
    Any,
}

/// Iterates over the changes that an upper directory stands for, in the order of a layer.
pub struct Upper<'a> {
    options: DiffOptions<'a>,
    form: UpperForm,
    /// What a layer has to say of the root.
    root: Option<Entry>,
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
    /// The changes in a scanned upper directory. The directory itself, which stands for the root, is one if `base` describes
    /// the root with another owner, other permissions or other attributes. Of `base` nothing but its root is asked.
    pub fn new(
        scan: &'a Scan,
        form: UpperForm,
        base: Option<&Tree>,
        options: DiffOptions<'a>,
    ) -> Self {
        let path = EntryPath::root();
        let way = vec![Level::new(&path, scan.top())];
        let root = base.and_then(|base| changed_root(base.root(), scan, &options));
        Self { options, form, root, way, path, first: HashMap::new() }
    }

    fn entry(&mut self, path: EntryPath, found: Found<'a>) -> Result<Difference<'a>, Error> {
        refuse(&path, found)?;
        if found.is_directory() && !found.is_passed() {
            self.way.push(Level::new(&path, found));
        }
        let mut entry: Entry = compare::added(path, found, &self.options);
        entry.xattrs.retain(|(name, _)| !is_mark_name(name));
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
            if let Some(root) = self.root.take() {
                let what = What::Changed(Attributes::default());
                return Some(Ok(Difference { what, change: Change::Add(root), content: None }));
            }
            let level = self.way.last_mut()?;
            let Some(found) = level.step() else {
                self.way.pop();
                continue;
            };
            self.path.truncate(level.length);
            let form = self.form;
            let told = |change| Some(Ok(Difference { what: What::Removed, change, content: None }));
            match level.phase {
                Phase::Marker if is_opaque(found, form) => {
                    return told(Change::Opaque(self.path.clone()));
                }
                Phase::Whiteouts => {
                    if let Some(name) = whited_out(found, form) {
                        return told(Change::Remove(self.path.join(name)));
                    }
                }
                Phase::Entries if is_entry(found, form) => {
                    self.path.push(found.name());
                    return Some(self.entry(self.path.clone(), found));
                }
                Phase::Marker | Phase::Entries => {}
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

/// What a layer says of the root if it isn't what it was.
fn changed_root(base: Place<'_>, scan: &Scan, options: &DiffOptions<'_>) -> Option<Entry> {
    // Nothing says what a root was that no layer describes.
    base.layer()?;
    let comparer = Comparer::of_upper(scan, options.identity.clone());
    let different = comparer.compare(&base, scan.top()).without(options.ignore);
    if different.without(NO_CHANGE_OF_A_ROOT).is_empty() {
        return None;
    }
    let (path, base) = (EntryPath::root(), base.inode());
    let mut entry = compare::changed(path, &base, scan.top(), different, options);
    entry.xattrs.retain(|(name, _)| !is_mark_name(name));
    Some(entry)
}

fn refuse(path: &EntryPath, found: Found<'_>) -> Result<(), Error> {
    let has = |wanted: &[u8]| overlay(found, wanted).is_some();
    let reason = if let Some(reason) = unfit_name(path) {
        reason
    } else if has(b"redirect") {
        "overlayfs has moved it here and left its contents where they were (redirect_dir)"
    } else if has(b"metacopy") {
        "overlayfs has left its content in a lower layer (metacopy)"
    } else if found.xattrs().iter().any(|(name, _)| name.ends_with(b".override_stat")) {
        "fuse-overlayfs keeps its owner and mode in an attribute (xattr_permissions)"
    } else {
        return Ok(());
    };
    Err(Error::Unfit { path: path.clone(), reason })
}

/// Whether it is something that the layer has, and no mark.
pub(super) fn is_entry(found: Found<'_>, form: UpperForm) -> bool {
    let is_mark = || {
        whited_out(found, form).is_some()
            || is_file(found, OPAQUE_FILE, form)
            || is_opaque_device(found, form)
    };
    !found.is_socket() && !found.is_hidden() && !is_mark()
}

/// The name that a whiteout removes; nothing for what is no whiteout.
pub(super) fn whited_out(found: Found<'_>, form: UpperForm) -> Option<&[u8]> {
    let is_whiteout = match found.kind() {
        Some(EntryKind::CharDevice { major: 0, minor: 0 }) => true,
        Some(EntryKind::File { size: 0, .. }) => overlay(found, b"whiteout").is_some(),
        _ => false,
    };
    if is_opaque_device(found, form) {
        return None;
    }
    if is_whiteout {
        return Some(found.name());
    }
    let hidden = found.name().strip_prefix(WHITEOUT_PREFIX)?;
    // Nothing is called so, and AUFS' own names are no whiteouts.
    let is_name = !matches!(hidden, b"" | b"." | b"..") && !hidden.starts_with(WHITEOUT_PREFIX);
    (is_name && is_file(found, found.name(), form)).then_some(hidden)
}

/// Whether something in an upper directory whites out `name`.
pub(super) fn whites_out(directory: Found<'_>, name: &[u8], form: UpperForm) -> bool {
    let is_whiteout =
        |name: &[u8]| directory.child(name).and_then(|child| whited_out(child, form)).is_some();
    is_whiteout(name) || is_whiteout(&[WHITEOUT_PREFIX, name].concat())
}

/// Whether a directory hides what is below it. The value `x` instead of `y` says only that whiteouts inside may be attributes.
pub(super) fn is_opaque(found: Found<'_>, form: UpperForm) -> bool {
    overlay(found, b"opaque") == Some(b"y")
        || found.child(OPAQUE_FILE).is_some_and(|child| is_file(child, OPAQUE_FILE, form))
}

fn is_opaque_device(found: Found<'_>, form: UpperForm) -> bool {
    form == UpperForm::Any
        && found.name() == OPAQUE_DEVICE
        && matches!(found.kind(), Some(EntryKind::CharDevice { major: 0, minor: 0 }))
}

/// Whether it is an empty file of that name, as fuse-overlayfs makes them.
fn is_file(found: Found<'_>, name: &[u8], form: UpperForm) -> bool {
    form == UpperForm::Any
        && found.name() == name
        && matches!(found.kind(), Some(EntryKind::File { size: 0, .. }))
}

fn overlay<'a>(found: Found<'a>, wanted: &[u8]) -> Option<&'a [u8]> {
    let is_it = |(name, _): &&Xattr| overlay_name(name) == Some(wanted);
    found.xattrs().iter().find(is_it).map(|(_, value)| value.as_slice())
}

/// Whether an extended attribute is overlayfs' own.
pub(super) fn is_mark_name(name: &[u8]) -> bool {
    overlay_name(name).is_some()
}

/// The rest of an attribute's name that is overlayfs' own.
fn overlay_name(name: &[u8]) -> Option<&[u8]> {
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix))
}
