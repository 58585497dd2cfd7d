//! Two trees side by side, in the order of paths.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::iter::Peekable;

use layer_format::layer::{EntryKind, EntryPath};
use layer_format::listing::{Inode, InodeId, Place, Tree};
use rootfs::{Attribute, Attributes};

use crate::side::Trees;

/// A comparison of two trees.
pub(crate) struct Comparison<'a> {
    trees: &'a Trees,
    ignore: Attributes,
    before: Groups<'a>,
    after: Groups<'a>,
    /// Which of the [candidates](Self::candidates) have other bytes, by their numbers.
    pub(crate) others: HashSet<usize>,
}

/// A path that only one of the trees has, or that they have differently.
#[derive(Debug)]
pub(crate) struct Difference<'a> {
    pub(crate) path: EntryPath,
    pub(crate) before: Option<Place<'a>>,
    pub(crate) after: Option<Place<'a>>,
    /// What both have differently.
    pub(crate) attributes: Attributes,
    /// By how many bytes of files the second tree is larger here; what has several names counts under the first.
    pub(crate) growth: i128,
}

/// A file that both trees have with nothing to tell that its bytes are others.
pub(crate) struct Candidate<'a> {
    pub(crate) path: EntryPath,
    pub(crate) before: Place<'a>,
    pub(crate) after: Place<'a>,
}

impl Candidate<'_> {
    /// How many bytes it has, the same in both trees.
    pub(crate) fn size(&self) -> u64 {
        match self.before.inode().kind {
            EntryKind::File { size, .. } => size,
            _ => 0,
        }
    }
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(trees: &'a Trees, ignore: Attributes) -> Self {
        let seed = RandomState::new();
        let before = Groups::of(&trees.before, &seed);
        let after = Groups::of(&trees.after, &seed);
        Self { trees, ignore, before, after, others: HashSet::new() }
    }

    /// All that is different.
    pub(crate) fn differences(&self) -> impl Iterator<Item = Difference<'a>> {
        let mut n_candidates = 0;
        self.pairs().filter_map(move |pair| {
            let mut attributes = self.attributes(&pair);
            let is_candidate = is_candidate(&pair);
            if is_candidate && self.others.contains(&n_candidates) {
                attributes.insert(Attribute::Content);
            }
            n_candidates += usize::from(is_candidate);
            let is_in_both = pair.before.is_some() && pair.after.is_some();
            (!is_in_both || !attributes.is_empty()).then(|| self.difference(pair, attributes))
        })
    }

    /// The files whose contents are worth a comparison, in the order of paths.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = Candidate<'a>> {
        self.pairs().filter(is_candidate).filter_map(|Pair { path, before, after }| {
            Some(Candidate { path, before: before?, after: after? })
        })
    }

    fn pairs(&self) -> Pairs<'a> {
        Pairs::new(self.trees.before.root(), self.trees.after.root())
    }

    fn difference(&self, pair: Pair<'a>, attributes: Attributes) -> Difference<'a> {
        let Pair { path, before, after } = pair;
        let growth = self.after.size(after) - self.before.size(before);
        Difference { path, before, after, attributes, growth }
    }

    fn attributes(&self, pair: &Pair<'_>) -> Attributes {
        let (Some(before), Some(after)) = (pair.before, pair.after) else {
            return Attributes::default();
        };
        // Nothing says what a root is that nothing describes.
        if before.layer().is_none() || after.layer().is_none() {
            return Attributes::default();
        }
        let mut attributes = compare(&before.inode(), &after.inode());
        if self.before.signature(before) != self.after.signature(after)
            && !attributes.has(Attribute::Type)
        {
            attributes.insert(Attribute::Links);
        }
        attributes.without(self.ignore)
    }
}

/// What two entries have differently, which other names they have aside.
fn compare(before: &Inode, after: &Inode) -> Attributes {
    let mut different = Attributes::default();
    let mut note = |attribute, is_different| {
        if is_different {
            different.insert(attribute);
        }
    };
    match (&before.kind, &after.kind) {
        (EntryKind::File { size: old, .. }, EntryKind::File { size: new, .. }) => {
            note(Attribute::Size, old != new);
        }
        (EntryKind::Symlink { target: old }, EntryKind::Symlink { target: new }) => {
            note(Attribute::Target, old != new);
        }
        (EntryKind::CharDevice { .. }, EntryKind::CharDevice { .. })
        | (EntryKind::BlockDevice { .. }, EntryKind::BlockDevice { .. }) => {
            note(Attribute::Device, before.kind != after.kind);
        }
        (old, new) if old != new => return [Attribute::Type].into_iter().collect(),
        _ => {}
    }
    let is_link = matches!(before.kind, EntryKind::Symlink { .. });
    note(Attribute::Mode, before.mode != after.mode && !is_link);
    note(Attribute::Owner, (before.uid, before.gid) != (after.uid, after.gid));
    note(Attribute::Mtime, before.mtime != after.mtime);
    note(Attribute::Xattrs, before.xattrs != after.xattrs);
    different
}

fn is_candidate(pair: &Pair<'_>) -> bool {
    let (Some(before), Some(after)) = (pair.before, pair.after) else { return false };
    let kind = before.inode().kind;
    matches!(kind, EntryKind::File { size, .. } if size > 0) && kind == after.inode().kind
}

/// The files of a tree that have several names.
struct Groups<'a>(HashMap<InodeId, Group<'a>>);

/// The names of one file.
struct Group<'a> {
    first: Place<'a>,
    /// Which names they are: a sum of keyed hashes, so that nobody can choose two groups that have the same.
    signature: u128,
}

impl<'a> Groups<'a> {
    fn of(tree: &'a Tree, seed: &RandomState) -> Self {
        let mut groups: HashMap<InodeId, Group<'a>> = HashMap::new();
        for item in tree.items().filter(|item| item.place.is_linked()) {
            let group = groups.entry(item.place.id());
            let group = group.or_insert(Group { first: item.place, signature: 0 });
            let half = |salt: u8| u128::from(seed.hash_one((salt, item.path.as_bytes())));
            group.signature = group.signature.wrapping_add(half(0) << 64 | half(1));
        }
        Self(groups)
    }

    /// Tells groups apart; none for a file with one name.
    fn signature(&self, place: Place<'_>) -> Option<u128> {
        Some(self.0.get(&place.id())?.signature)
    }

    /// The bytes that a name counts for.
    fn size(&self, place: Option<Place<'_>>) -> i128 {
        let Some(place) = place else { return 0 };
        let is_first = self.0.get(&place.id()).is_none_or(|group| group.first == place);
        match place.inode().kind {
            EntryKind::File { size, .. } if is_first => size.into(),
            _ => 0,
        }
    }
}

/// A path in one of the trees or in both.
struct Pair<'a> {
    path: EntryPath,
    before: Option<Place<'a>>,
    after: Option<Place<'a>>,
}

type Children<'a> = Peekable<Box<dyn Iterator<Item = (&'a [u8], Place<'a>)> + 'a>>;

/// A directory, in one tree or in both, whose names are being gone through.
struct Level<'a> {
    /// How long its path is, in bytes.
    length: usize,
    before: Children<'a>,
    after: Children<'a>,
}

/// Iterates over both trees, directories before what is in them.
struct Pairs<'a> {
    next: Option<Pair<'a>>,
    /// Of the pair before.
    path: EntryPath,
    /// The directories that it is in.
    way: Vec<Level<'a>>,
}

impl<'a> Pairs<'a> {
    fn new(before: Place<'a>, after: Place<'a>) -> Self {
        let (path, before, after) = (EntryPath::root(), Some(before), Some(after));
        Self { next: Some(Pair { path, before, after }), path: EntryPath::root(), way: vec![] }
    }

    fn find(&mut self) -> Option<Pair<'a>> {
        if let Some(first) = self.next.take() {
            return Some(first);
        }
        loop {
            if let Some(pair) = self.way.last_mut()?.next(&mut self.path) {
                return Some(pair);
            }
            self.way.pop();
        }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let pair = self.find()?;
        let is_directory = |place: &Option<Place<'_>>| place.is_some_and(|it| it.is_directory());
        if is_directory(&pair.before) || is_directory(&pair.after) {
            let length = pair.path.as_bytes().len();
            let (before, after) = (children(pair.before), children(pair.after));
            self.way.push(Level { length, before, after });
        }
        Some(pair)
    }
}

impl<'a> Level<'a> {
    /// The next pair, for which `path` is changed.
    fn next(&mut self, path: &mut EntryPath) -> Option<Pair<'a>> {
        let order = match (self.before.peek(), self.after.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = if order.is_le() { self.before.next() } else { None };
        let after = if order.is_ge() { self.after.next() } else { None };
        let (name, _) = before.or(after)?;
        path.truncate(self.length);
        path.push(name);
        let path = path.clone();
        let place = |child: Option<(&[u8], Place<'a>)>| child.map(|(_, place)| place);
        Some(Pair { path, before: place(before), after: place(after) })
    }
}

fn children(place: Option<Place<'_>>) -> Children<'_> {
    let children: Box<dyn Iterator<Item = _>> = match place {
        Some(place) => Box::new(place.children()),
        None => Box::new(std::iter::empty()),
    };
    children.peekable()
}
