//! Which names of an image are written, and in which order, before the first of them is.
//!
//! The order is that of the layers: when a change of a layer is one that is left in the end, it is written, under all
//! names that are left, the first of them in the order of paths with the content and the others as hard links to it.
//! Directories come before what is in them, so they are written when one of the two is first due, with the attributes
//! that they have in the end, from whatever layer those are.
//!
//! Of an image that is squashed onto a base, written is what is different from the base's tree: whiteouts first, then what is new or
//! other than there. A file that gets a new name is written under all of its names, also if the base has it, because not every
//! reader of a layer can link to a file of another one.
//!
//! Beside the tree, only the number of each name is kept.

use std::collections::{BTreeSet, HashSet};

use layer_format::layer::{EntryKind, EntryPath};
use layer_format::listing::{InodeId, NameId, Origin, Place, Tree};

use super::selection::{Descent, Select};

/// What is written of an image's tree, in order.
#[derive(Debug)]
pub struct Plan {
    tree: Tree,
    /// The names that come from changes, in the order of the changes, and within a change in the order of paths.
    steps: Vec<NameId>,
    /// The directories that no layer describes, in the order of paths.
    implied: Vec<NameId>,
    /// What the base has and the image doesn't, in the order of paths.
    whiteouts: Vec<EntryPath>,
    /// Whether the entries go onto a base.
    is_squashed: bool,
    copies: Copies,
    n_entries: u64,
    size: u64,
}

/// The files of which only some names are written. They are no links to the other names any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// The number of files.
    pub n_files: u64,
    /// The first name of one of them that is written.
    pub example: Option<EntryPath>,
}

impl Copies {
    /// What is said about them, if there are any.
    pub fn text(&self) -> Option<String> {
        let example = self.example.as_ref()?;
        Some(match self.n_files {
            1 => format!("{example}: a copy, since other names of that file are left out"),
            n => format!(
                "{example} and {} more: copies, since other names of those files are left out",
                n - 1
            ),
        })
    }
}

impl Plan {
    /// Makes the plan of what is selected of a tree. The directories above it belong to it.
    pub fn of(tree: Tree, select: Select<'_>) -> Self {
        let (is_kept, copies) = kept(&tree, select);
        let mut steps = Vec::with_capacity(tree.n_names());
        let mut implied = vec![];
        for item in tree.items().filter(|item| is_kept[item.place.name_id().number()]) {
            let list = if item.place.origin().is_some() { &mut steps } else { &mut implied };
            list.push(item.place.name_id());
        }
        // The sort is stable, so the names of one change stay in order.
        steps.sort_by_key(|&name| tree.place(name).origin());
        let (whiteouts, is_squashed) = (vec![], false);
        Self { tree, steps, implied, whiteouts, is_squashed, copies, n_entries: 0, size: 0 }
            .measured()
    }

    /// The same plan without what `base` has already, and with whiteouts of what only `base` has. The layers of that tree must be
    /// the lowest of this one's.
    #[must_use]
    pub fn onto(self, base: &Tree, select: Select<'_>) -> Self {
        let is_there = |name: NameId| {
            let place = self.tree.place(name);
            let below = at(base, &place.path());
            below.is_some_and(|it| {
                it.origin() == place.origin() && it.is_directory() == place.is_directory()
            })
        };
        let new: HashSet<usize> =
            self.steps.iter().filter(|&&name| !is_there(name)).map(|name| name.number()).collect();
        // The changes that get names which the base doesn't have.
        let changes: BTreeSet<Option<Origin>> = self
            .steps
            .iter()
            .filter(|name| new.contains(&name.number()))
            .map(|&name| self.origin(name))
            .collect();
        let is_due = |&name: &NameId| {
            let place = self.tree.place(name);
            new.contains(&name.number()) || place.is_linked() && changes.contains(&place.origin())
        };
        let steps = self.steps.iter().copied().filter(is_due).collect();
        let implied = self.implied.iter().copied().filter(|&name| !is_there(name)).collect();
        let whiteouts = self.missing_of(base, select);
        Self { steps, implied, whiteouts, is_squashed: true, ..self }.measured()
    }

    /// The topmost paths that `base` has and the tree doesn't.
    fn missing_of(&self, base: &Tree, select: Select<'_>) -> Vec<EntryPath> {
        let mut missing = vec![];
        // What is below this path goes with it, or has gone already.
        let mut done: Option<EntryPath> = None;
        let mut descent = Descent::new(select);
        for item in base.items() {
            if done.as_ref().is_some_and(|done| item.path.is_below(done)) {
                continue;
            }
            done = None;
            if !descent.keeps(&item) {
                continue;
            }
            match at(&self.tree, &item.path) {
                None => {
                    missing.push(item.path.clone());
                    done = Some(item.path);
                }
                Some(place) if !place.is_directory() => done = Some(item.path),
                Some(_) => {}
            }
        }
        missing
    }

    fn measured(mut self) -> Self {
        self.n_entries = (self.steps.len() + self.implied.len() + self.whiteouts.len()) as u64;
        self.size = self.measure();
        self
    }

    /// What the base has and the image doesn't.
    pub(super) fn whiteouts(&self) -> &[EntryPath] {
        &self.whiteouts
    }

    /// Whether nothing need be said about a directory: there is one in the base anyway, of which no layer says more.
    pub(super) fn is_bare_root(&self, place: &Place<'_>) -> bool {
        self.is_squashed && *place == self.tree.root() && place.origin().is_none()
    }

    /// The directory that a whiteout is in.
    pub(super) fn parent_of(&self, whiteout: &EntryPath) -> Option<Place<'_>> {
        at(&self.tree, &whiteout.parent()?)
    }

    /// The number of entries, the root and whiteouts included.
    pub fn n_entries(&self) -> u64 {
        self.n_entries
    }

    /// How many bytes the files have together, holes included. A file with several names counts once.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn measure(&self) -> u64 {
        let same = |&one: &NameId, &other: &NameId| self.is_one_change(one, other);
        let sizes =
            self.steps.chunk_by(same).map(|names| match self.place(names[0]).inode().kind {
                EntryKind::File { size, .. } => size,
                _ => 0,
            });
        sizes.fold(0, u64::saturating_add)
    }

    /// The names that a change is written under; `at` is the position of the next step.
    pub(super) fn due(&self, at: usize, layer: usize, change: u64) -> &[NameId] {
        let steps = &self.steps[at..];
        let is_due = |&&name: &&NameId| {
            self.origin(name).is_some_and(|it| (it.layer(), it.change()) == (layer, change))
        };
        &steps[..steps.iter().take_while(is_due).count()]
    }

    /// The names that changes of a layer are written under; `at` is the position of the next step.
    pub(super) fn of_layer(&self, at: usize, layer: usize) -> &[NameId] {
        let steps = &self.steps[at..];
        let is_of_layer =
            |&&name: &&NameId| self.origin(name).is_some_and(|it| it.layer() == layer);
        &steps[..steps.iter().take_while(is_of_layer).count()]
    }

    /// Whether two names come from one change.
    pub(super) fn is_one_change(&self, one: NameId, other: NameId) -> bool {
        self.origin(one) == self.origin(other)
    }

    /// The files that lose names.
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// The directories that no layer describes.
    pub(super) fn implied(&self) -> &[NameId] {
        &self.implied
    }

    /// The path of a name, and what is there.
    pub(super) fn place(&self, name: NameId) -> Place<'_> {
        self.tree.place(name)
    }

    /// A number that is above those of all names.
    pub(super) fn most_names(&self) -> usize {
        self.tree.most_names()
    }

    fn origin(&self, name: NameId) -> Option<Origin> {
        self.place(name).origin()
    }
}

/// For each name whether it is written, and the files that lose names by it.
fn kept(tree: &Tree, select: Select<'_>) -> (Vec<bool>, Copies) {
    let mut is_kept = vec![false; tree.most_names()];
    let mut cut: HashSet<InodeId> = HashSet::new();
    let mut descent = Descent::new(select);
    for item in tree.items() {
        if descent.keeps(&item) {
            keep_with_parents(item.place, &mut is_kept);
        } else if item.place.is_linked() {
            cut.insert(item.place.id());
        }
    }
    let mut copies = Copies::default();
    if !cut.is_empty() {
        for item in tree.items().filter(|item| is_kept[item.place.name_id().number()]) {
            if cut.remove(&item.place.id()) {
                copies.n_files += 1;
                copies.example.get_or_insert(item.path);
            }
        }
    }
    (is_kept, copies)
}

fn keep_with_parents(place: Place<'_>, is_kept: &mut [bool]) {
    let mut here = place;
    while !std::mem::replace(&mut is_kept[here.name_id().number()], true) {
        here = here.parent();
    }
}

/// What is at a path of a tree; no link is followed.
fn at<'a>(tree: &'a Tree, path: &EntryPath) -> Option<Place<'a>> {
    path.components().try_fold(tree.root(), |place, name| place.child(name))
}

#[cfg(test)]
mod tests {
    use layer_format::layer::{Change, Entry, Timestamp};

    use super::super::selection::Verdict;
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

    fn without_out(path: &EntryPath, _: &Place<'_>) -> Verdict {
        match path.as_bytes() {
            b"" => Verdict::Keep,
            b"out" => Verdict::LeaveOut,
            _ => Verdict::AsParent,
        }
    }

    fn tree(layers: &[&[Change]]) -> Tree {
        let mut tree = Tree::new();
        for layer in layers {
            tree.begin_layer();
            layer.iter().for_each(|change| tree.apply(change).unwrap());
            tree.end_layer();
        }
        tree
    }

    fn plan(layers: &[&[Change]]) -> Plan {
        let tree = tree(layers);
        Plan::of(tree, &without_out)
    }

    /// The paths that each change of the layers is written under.
    fn shown(plan: &Plan, layers: &[&[Change]]) -> Vec<String> {
        let mut at = 0;
        let mut shown = vec![];
        for (layer, changes) in layers.iter().enumerate() {
            for change in 0..changes.len() {
                let due = plan.due(at, layer, change as u64);
                at += due.len();
                let paths = due.iter().map(|&name| plan.place(name).path().to_string());
                shown.push(paths.collect::<Vec<_>>().join(" "));
            }
            assert!(plan.of_layer(at, layer).is_empty());
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
    fn directories_that_no_layer_describes_are_known() {
        let directory = |text: &str| add(text, EntryKind::Directory);
        let layers: [&[Change]; 2] = [&[file("a/b/c/d"), directory("e")], &[directory("a/b")]];
        let plan = plan(&layers);
        let implied = plan.implied().iter().map(|&name| plan.place(name).path().to_string());
        assert_eq!(implied.collect::<Vec<_>>(), [".", "a", "a/b/c"]);
        assert_eq!(shown(&plan, &layers), ["a/b/c/d", "e", "a/b"]);
    }

    /// The plan of what the upper of these layers have other than the lowest `n_base`.
    fn squashed(layers: &[&[Change]], n_base: usize) -> Plan {
        let base = tree(&layers[..n_base]);
        plan(layers).onto(&base, &without_out)
    }

    #[test]
    fn onto_a_base_goes_what_it_does_not_have() {
        let directory = |text: &str| add(text, EntryKind::Directory);
        let layers: [&[Change]; 3] = [
            &[
                directory("d"),
                file("d/gone"),
                file("d/kept"),
                directory("e"),
                file("e/x/y"),
                file("f"),
                file("out"),
            ],
            &[file("d/new"), file("temporary"), Change::Remove(path("d/gone"))],
            &[
                Change::Remove(path("temporary")),
                Change::Remove(path("e")),
                file("e"),
                file("f"),
                Change::Remove(path("out")),
            ],
        ];
        let plan = squashed(&layers, 1);
        let none = [""; 7].map(str::to_owned);
        let expected =
            [&none[..], &["d/new", "", "", "", "", "e", "f", ""].map(str::to_owned)].concat();
        assert_eq!(shown(&plan, &layers), expected);
        let whiteouts: Vec<_> = plan.whiteouts().iter().map(ToString::to_string).collect();
        assert_eq!((whiteouts, plan.n_entries()), (vec!["d/gone".to_owned()], 4));
    }

    #[test]
    fn a_file_that_gets_a_name_is_written_under_all_of_them() {
        let layers: [&[Change]; 2] = [
            &[file("a"), link("b", "a"), file("c"), link("d", "c")],
            &[link("z", "b"), Change::Remove(path("d"))],
        ];
        let plan = squashed(&layers, 1);
        assert_eq!(shown(&plan, &layers), ["a b z", "", "", "", "", ""]);
        assert_eq!(plan.whiteouts(), [path("d")]);
    }

    #[test]
    fn what_is_left_out_takes_with_it_what_is_below_and_no_content() {
        let layers: [&[Change]; 1] =
            [&[file("out/a/b"), link("c", "out/a/b"), file("out/d"), file("outer"), file("x")]];
        let plan = plan(&layers);
        assert_eq!(shown(&plan, &layers), ["c", "", "", "outer", "x"]);
        assert_eq!((plan.n_entries(), plan.size()), (4, 3));
        assert_eq!(*plan.copies(), Copies { n_files: 1, example: Some(path("c")) });
    }

    #[test]
    fn only_what_is_selected_is_written_with_the_directories_above_it() {
        let directory = |text: &str| add(text, EntryKind::Directory);
        let layers: [&[Change]; 2] = [
            &[directory("a"), directory("a/b"), file("a/b/c"), file("a/d"), file("e/f/g")],
            &[file("a/b/h"), link("a/i", "a/d"), file("a/b/no"), file("x")],
        ];
        let select = |it: &EntryPath, _: &Place<'_>| match it.as_bytes() {
            b"a/b" | b"e/f/g" | b"a/i" => Verdict::Keep,
            b"a/b/no" => Verdict::LeaveOut,
            _ => Verdict::AsParent,
        };
        let plan = Plan::of(tree(&layers), &select);
        assert_eq!(
            shown(&plan, &layers),
            ["a", "a/b", "a/b/c", "a/i", "e/f/g", "a/b/h", "", "", ""]
        );
        assert_eq!((plan.n_entries(), plan.copies().n_files), (9, 1));
    }
}
