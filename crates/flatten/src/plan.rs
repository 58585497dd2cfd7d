//! What the tar will hold, and when: known before the first byte of it is written.
//!
//! The tar has the order of the layers: when a change of a layer is one that is left in the end, it is written, under all
//! names that are left, the first of them in the order of paths with the content and the others as hard links to it.
//! Directories come before what is in them, so they are written when one of the two is first due, with the attributes
//! that they have in the end, from whatever layer those are.
//!
//! Of most names no more is kept than where they stand and which change they come from: the attributes come with the
//! layer once more.

use layer_format::Error;
use layer_format::layer::EntryPath;
use layer_format::listing::{Inode, Origin, Tree};

/// The order of a tar.
#[derive(Debug)]
pub(crate) struct Plan {
    names: Vec<Name>,
    /// The last components of all names, one after the other.
    text: Vec<u8>,
    /// In the order of names; the first is the root.
    directories: Vec<Directory>,
    /// The names that come from changes, in the order of those; names of one change in their own.
    steps: Vec<NameId>,
}

/// A name, by its place in the order of paths.
pub(crate) type NameId = u32;

#[derive(Debug)]
struct Name {
    parent: NameId,
    /// Where in the text it ends; it begins where the one before ends.
    end: u32,
    /// The change that it is written with; none for a directory that no layer describes.
    origin: Option<Origin>,
}

/// A directory as it is in the end.
#[derive(Debug)]
pub(crate) struct Directory {
    name: NameId,
    pub(crate) inode: Inode,
}

impl Plan {
    /// Makes the plan of a tree.
    pub(crate) fn of(tree: &Tree) -> Self {
        let names = Vec::with_capacity(tree.n_names());
        let mut plan = Self { names, text: vec![], directories: vec![], steps: vec![] };
        // The directories from the root to the name before.
        let mut above: Vec<NameId> = vec![];
        for item in tree.items() {
            let name = number(plan.names.len());
            above.truncate(item.path.components().count());
            plan.text.extend_from_slice(item.path.file_name().unwrap_or_default());
            let parent = above.last().copied().unwrap_or_default();
            let (end, origin) = (number(plan.text.len()), item.place.origin());
            plan.names.push(Name { parent, end, origin });
            if item.place.is_directory() {
                plan.directories.push(Directory { name, inode: item.place.inode() });
                above.push(name);
            }
        }
        let origin = |name: NameId| plan.names[name as usize].origin;
        plan.steps = (0..number(plan.names.len())).filter(|&it| origin(it).is_some()).collect();
        plan.steps.sort_unstable_by_key(|&name| (origin(name), name));
        plan
    }

    /// How many entries the tar will have.
    pub(crate) fn n_entries(&self) -> usize {
        self.names.len()
    }

    /// How many directories there are.
    pub(crate) fn n_directories(&self) -> usize {
        self.directories.len()
    }

    /// The names from the step `at` on that this change is written under.
    pub(crate) fn due(&self, at: usize, layer: usize, change: u64) -> &[NameId] {
        let steps = &self.steps[at..];
        let is_due = |&&name: &&NameId| {
            self.origin(name).is_some_and(|it| (it.layer(), it.change()) == (layer, change))
        };
        &steps[..steps.iter().take_while(is_due).count()]
    }

    /// Whether all steps of the layer lie before `at`.
    pub(crate) fn is_through(&self, at: usize, layer: usize) -> bool {
        let next = self.steps.get(at).and_then(|&name| self.origin(name));
        next.is_none_or(|origin| origin.layer() != layer)
    }

    /// Which of the directories a name is.
    pub(crate) fn directory(&self, name: NameId) -> Option<usize> {
        self.directories.binary_search_by_key(&name, |directory| directory.name).ok()
    }

    /// A directory, by its number among them.
    pub(crate) fn nth_directory(&self, at: usize) -> (NameId, &Inode) {
        let Directory { name, inode } = &self.directories[at];
        (*name, inode)
    }

    /// The directory that a name is in; the root is in itself.
    pub(crate) fn parent(&self, name: NameId) -> NameId {
        self.names[name as usize].parent
    }

    /// The whole path of a name.
    pub(crate) fn path(&self, name: NameId) -> Result<EntryPath, Error> {
        let mut components = vec![];
        let mut here = name;
        while here != 0 {
            components.push(self.text_of(here));
            here = self.parent(here);
        }
        components.reverse();
        EntryPath::parse(&components.join(&b'/'))
    }

    fn origin(&self, name: NameId) -> Option<Origin> {
        self.names[name as usize].origin
    }

    fn text_of(&self, name: NameId) -> &[u8] {
        let at = name as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.names[before].end);
        &self.text[start as usize..self.names[at].end as usize]
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).expect("a tree's limit is below 4 GiB")
}

#[cfg(test)]
mod tests {
    use layer_format::layer::{Change, Entry, EntryKind, Timestamp};

    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::parse(text.as_bytes()).unwrap()
    }

    fn add(text: &str, kind: EntryKind) -> Change {
        let (mtime, xattrs) = (Timestamp::default(), vec![]);
        Change::Add(Entry { path: path(text), kind, mode: 0o700, uid: 0, gid: 0, mtime, xattrs })
    }

    fn file(text: &str) -> Change {
        add(text, EntryKind::File { size: 1, data: None })
    }

    fn link(text: &str, target: &str) -> Change {
        add(text, EntryKind::Hardlink { target: path(target) })
    }

    fn plan(layers: &[&[Change]]) -> Plan {
        let mut tree = Tree::new();
        for layer in layers {
            tree.begin_layer();
            layer.iter().for_each(|change| tree.apply(change).unwrap());
            tree.end_layer();
        }
        Plan::of(&tree)
    }

    /// The paths that each change of the layers is written under.
    fn shown(plan: &Plan, layers: &[&[Change]]) -> Vec<String> {
        let mut at = 0;
        let mut shown = vec![];
        for (layer, changes) in layers.iter().enumerate() {
            for change in 0..changes.len() {
                let due = plan.due(at, layer, change as u64);
                at += due.len();
                let paths = due.iter().map(|&name| plan.path(name).unwrap().to_string());
                shown.push(paths.collect::<Vec<_>>().join(" "));
            }
            assert!(plan.is_through(at, layer));
        }
        shown
    }

    #[test]
    fn each_change_is_due_under_all_names_that_are_left() {
        let layers: [&[Change]; 3] = [
            &[file("b/x"), file("gone"), link("a/y", "b/x"), file("z")],
            &[link("c", "b/x"), file("gone"), file("z")],
            &[Change::Remove(path("gone")), Change::Remove(path("a/y"))],
        ];
        let plan = plan(&layers);
        assert_eq!(shown(&plan, &layers), ["b/x c", "", "", "", "", "", "z", "", ""]);
        assert_eq!(plan.n_entries(), 6);
    }

    #[test]
    fn directories_are_those_of_the_end_each_in_its_parent() {
        let directory = |text: &str| add(text, EntryKind::Directory);
        let layers: [&[Change]; 2] = [&[file("a/b/c/d"), directory("e")], &[directory("a/b")]];
        let plan = plan(&layers);
        let directories: Vec<_> = (0..plan.n_directories())
            .map(|at| {
                let (name, inode) = plan.nth_directory(at);
                assert_eq!(plan.directory(name), Some(at));
                let parent = plan.path(plan.parent(name)).unwrap();
                format!("{} in {parent} {}", plan.path(name).unwrap(), inode.origin.is_some())
            })
            .collect();
        let expected =
            [". in . false", "a in . false", "a/b in a true", "a/b/c in a/b false", "e in . true"];
        assert_eq!(directories, expected);
        assert_eq!(shown(&plan, &layers), ["a/b/c/d", "e", "a/b"]);
    }
}
