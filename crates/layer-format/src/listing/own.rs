//! Finds out whether the hard links of a layer are valid without the layers below.

use std::collections::HashMap;

use super::keys::{PathKey, PathKeys};
use crate::layer::{Change, Entry, EntryKind, EntryPath, components, split_last};

/// The kind of a layer's entry at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    /// Anything that is no directory.
    File,
}

/// Takes the changes of a layer and finds out whether each hard link names a file that the layer itself has before it.
/// For other hard links, only a [`Tree`](super::Tree) of all the layers can tell whether they are valid.
///
/// It keeps a hash of each path. It can't tell any more once a file takes a directory's place in the layer, or the
/// reverse.
#[derive(Debug, Default)]
pub struct OwnLinks {
    keys: PathKeys,
    seen: HashMap<PathKey, Kind>,
    /// The directory of the last entry, kept to avoid a new lookup.
    last: Option<(Vec<u8>, PathKey)>,
    has_links: bool,
    is_unsure: bool,
}

impl OwnLinks {
    /// Begins a layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next change of the layer.
    pub fn take(&mut self, change: &Change) {
        // Whiteouts act on the layers below.
        let Change::Add(entry) = change else { return };
        self.has_links |= matches!(entry.kind, EntryKind::Hardlink { .. });
        if !self.is_unsure && !self.is_clear(entry) {
            (self.seen, self.last, self.is_unsure) = (HashMap::new(), None, true);
        }
    }

    /// Whether all hard links so far are valid on top of any layers.
    pub fn are_good(&self) -> bool {
        !self.has_links || !self.is_unsure
    }

    fn is_clear(&mut self, entry: &Entry) -> bool {
        let Some((directory, name)) = split_last(entry.path.as_bytes()) else { return true };
        let Some(directory) = self.enter(directory) else { return false };
        let kind = match &entry.kind {
            EntryKind::Directory => Kind::Directory,
            EntryKind::Hardlink { target } if !self.has_file(target) => return false,
            _ => Kind::File,
        };
        let key = self.keys.child(directory, name);
        self.see(key, kind)
    }

    /// The key of the directory that contains an entry; `None` if a file is in its place.
    fn enter(&mut self, path: &[u8]) -> Option<PathKey> {
        if let Some((_, key)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Some(*key);
        }
        let mut here = PathKey::default();
        for name in components(path) {
            here = self.keys.child(here, name);
            if !self.see(here, Kind::Directory) {
                return None;
            }
        }
        self.last = Some((path.to_vec(), here));
        Some(here)
    }

    fn has_file(&self, path: &EntryPath) -> bool {
        self.seen.get(&self.keys.of(path.as_bytes())) == Some(&Kind::File)
    }

    /// Notes the kind of a path. The result is `false` if the path had another kind before.
    fn see(&mut self, key: PathKey, kind: Kind) -> bool {
        self.seen.insert(key, kind).is_none_or(|before| before == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Timestamp;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    fn add(text: &str, kind: EntryKind) -> Change {
        let (mode, uid, gid, mtime, xattrs) = (0o755, 0, 0, Timestamp::default(), vec![]);
        Change::Add(Entry { path: path(text), kind, mode, uid, gid, mtime, xattrs })
    }

    fn dir(text: &str) -> Change {
        add(text, EntryKind::Directory)
    }

    fn file(text: &str) -> Change {
        add(text, EntryKind::Fifo)
    }

    fn symlink(text: &str) -> Change {
        add(text, EntryKind::Symlink { target: b"d".to_vec() })
    }

    fn link(text: &str, target: &str) -> Change {
        add(text, EntryKind::Hardlink { target: path(target) })
    }

    #[track_caller]
    fn check(changes: &[Change], are_good: bool) {
        let mut links = OwnLinks::new();
        for change in changes {
            links.take(change);
        }
        assert_eq!(links.are_good(), are_good);
    }

    #[test]
    fn links_to_files_that_came_before_are_good() {
        check(&[dir(""), file("a/b/c"), link("a/b/d", "a/b/c"), link("x", "a/b/d")], true);
        check(&[symlink("a"), link("b", "a")], true);
        check(&[file("a"), link("b", "a"), file("a"), file("b"), link("c", "b")], true);
        check(&[dir("d"), dir("d"), file("d/a"), dir("d"), link("d/b", "d/a")], true);
        check(
            &[Change::Remove(path("a")), file("a"), link("b", "a"), Change::Opaque(path(""))],
            true,
        );
    }

    #[test]
    fn links_to_anything_else_are_for_others_to_judge() {
        check(&[link("b", "a")], false);
        check(&[link("b", "a"), file("a")], false);
        check(&[dir("a"), link("b", "a")], false);
        check(&[file("a/b"), link("b", "a")], false);
        check(&[file("a"), link("b", "a/c")], false);
    }

    #[test]
    fn where_files_and_directories_change_places_nothing_is_said() {
        check(&[file("a/b"), file("a"), link("c", "a/b")], false);
        check(&[file("a"), dir("a"), link("c", "a")], false);
        check(&[symlink("l"), file("l/a"), link("c", "l/a")], false);
        check(&[file("d/a"), link("d", "d/a")], false);
        // Without links there is nothing to judge.
        check(&[file("a/b"), file("a"), file("a/b"), symlink("l"), file("l/a")], true);
    }
}
