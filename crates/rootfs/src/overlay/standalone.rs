//! Finds out which layers mean the same over any other layers.

use std::collections::HashMap;

use layer_format::layer::{Change, Entry, EntryKind, split_last};
use layer_format::listing::{PathKey, PathKeys};

use super::attributes::is_mark;

/// Checks, change by change, whether a layer is standalone: every parent directory is in the layer, before what is in it; no
/// path comes twice; no hard link leads out of the layer; it has no whiteouts; and nothing in it looks like a mark of the
/// kernel's overlayfs.
#[derive(Debug, Default)]
pub struct StandaloneCheck {
    keys: PathKeys,
    seen: HashMap<PathKey, Kind>,
    has_root: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Other,
}

impl StandaloneCheck {
    /// Begins a layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the layer is standalone up to and with its next change. After the first `false` it must
    /// not be asked again.
    pub fn admits(&mut self, change: &Change) -> bool {
        let Change::Add(entry) = change else { return false };
        if looks_like_a_mark(entry) {
            return false;
        }
        let path = entry.path.as_bytes();
        let Some((parent, _)) = split_last(path) else {
            return !std::mem::replace(&mut self.has_root, true);
        };
        if !parent.is_empty() && self.kind_of(parent) != Some(Kind::Directory) {
            return false;
        }
        let kind = match &entry.kind {
            EntryKind::Directory => Kind::Directory,
            EntryKind::Hardlink { target }
                if self.kind_of(target.as_bytes()) != Some(Kind::Other) =>
            {
                return false;
            }
            _ => Kind::Other,
        };
        self.seen.insert(self.keys.of(path), kind).is_none()
    }

    fn kind_of(&self, path: &[u8]) -> Option<Kind> {
        self.seen.get(&self.keys.of(path)).copied()
    }
}

fn looks_like_a_mark(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::CharDevice { major: 0, minor: 0 })
        || entry.xattrs.iter().any(|(name, _)| is_mark(name))
}

#[cfg(test)]
mod tests {
    use layer_format::layer::{EntryPath, Timestamp};

    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    fn add(text: &str, kind: EntryKind) -> Change {
        Change::Add(Entry {
            path: path(text),
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: vec![],
        })
    }

    fn dir(text: &str) -> Change {
        add(text, EntryKind::Directory)
    }

    fn file(text: &str) -> Change {
        add(text, EntryKind::File { size: 0, data: None })
    }

    fn link(text: &str, target: &str) -> Change {
        add(text, EntryKind::Hardlink { target: path(target) })
    }

    fn symlink(text: &str) -> Change {
        add(text, EntryKind::Symlink { target: b"a".to_vec() })
    }

    fn with_xattr(name: &str) -> Change {
        let Change::Add(entry) = file("a") else { unreachable!() };
        Change::Add(Entry { xattrs: vec![(name.into(), vec![])], ..entry })
    }

    /// Checks a layer that is standalone without its last change.
    #[track_caller]
    fn check(changes: &[Change], is_last_standalone: bool) {
        let mut check = StandaloneCheck::new();
        let (last, before) = changes.split_last().unwrap();
        assert!(before.iter().all(|change| check.admits(change)));
        assert_eq!(check.admits(last), is_last_standalone);
    }

    #[test]
    fn a_layer_with_its_parents_and_links_stands_alone() {
        check(&[dir(""), file("x"), dir("a"), file("a/b"), link("c", "a/b"), link("d", "c")], true);
        check(&[with_xattr("user.overlaid")], true);
        check(&[symlink("a"), link("b", "a")], true);
    }

    #[test]
    fn a_parent_must_be_in_the_layer_first_and_be_a_directory() {
        check(&[file("a/b")], false);
        check(&[dir("a"), dir("b"), file("a/b/c")], false);
        check(&[symlink("a"), file("a/b")], false);
        check(&[dir("a"), file("b"), file("b/c")], false);
    }

    #[test]
    fn nothing_comes_twice() {
        check(&[dir("a"), dir("a")], false);
        check(&[file("a"), dir("a")], false);
        check(&[dir(""), dir("")], false);
    }

    #[test]
    fn links_stay_inside() {
        check(&[link("a", "b")], false);
        check(&[dir("b"), link("a", "b")], false);
        check(&[file("a"), link("b", "a")], true);
    }

    #[test]
    fn what_removes_or_looks_like_a_mark_does_not() {
        check(&[dir("a"), Change::Remove(path("a/b"))], false);
        check(&[dir("a"), Change::Opaque(path("a"))], false);
        check(&[add("a", EntryKind::CharDevice { major: 0, minor: 0 })], false);
        check(&[add("a", EntryKind::CharDevice { major: 1, minor: 0 })], true);
        check(&[add("a", EntryKind::BlockDevice { major: 0, minor: 0 })], true);
        check(&[with_xattr("trusted.overlay.opaque")], false);
        check(&[with_xattr("user.overlay.whiteout")], false);
    }
}
