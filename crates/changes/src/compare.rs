//! Two records side by side, in the order of paths.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::iter::Peekable;

use layer_format::layer::{Entry, EntryKind, EntryPath, impossible};
use layer_format::listing::{InodeId, Place};
use rootfs::{Attribute, Attributes, Comparer, Found, Identity, Inode, compare_records};

use crate::record::{Children, Node, Record, Records};

/// A comparison of two records.
pub(crate) struct Comparison<'a> {
    records: &'a Records,
    ignore: Attributes,
    /// Where one of them is a directory and the other isn't: a directory is taken for what the other says wherever nothing
    /// tells that it isn't. Its file system, or the user who unpacked it, may not be able to hold all of an image.
    comparer: Option<Comparer<'a>>,
    before: Groups,
    after: Groups,
    /// Which of the [candidates](Self::candidates) have other bytes, by their numbers.
    pub(crate) others: HashSet<usize>,
}

/// A path that only one of the records has, or that they have differently.
#[derive(Debug)]
pub(crate) struct Difference<'a> {
    pub(crate) path: EntryPath,
    pub(crate) before: Option<Node<'a>>,
    pub(crate) after: Option<Node<'a>>,
    /// What both have differently.
    pub(crate) attributes: Attributes,
    /// By how many bytes of files the second record is larger here; what has several names counts under the first.
    pub(crate) growth: i128,
}

/// A file that both records have with nothing to tell that its bytes are others.
pub(crate) struct Candidate<'a> {
    pub(crate) path: EntryPath,
    pub(crate) before: Node<'a>,
    pub(crate) after: Node<'a>,
}

impl Candidate<'_> {
    /// How many bytes it has, the same in both records.
    pub(crate) fn size(&self) -> u64 {
        self.before.size().unwrap_or_default()
    }
}

impl<'a> Comparison<'a> {
    /// # Errors
    /// A directory holds what no image can.
    pub(crate) fn new(
        records: &'a Records,
        ignore: Attributes,
    ) -> Result<Self, layer_format::Error> {
        let comparer = match (&records.before, &records.after) {
            (Record::Tree(_), Record::Scan(scan)) | (Record::Scan(scan), Record::Tree(_)) => {
                Some(Comparer::new(scan, Identity::of_scan(scan)))
            }
            _ => None,
        };
        let seed = RandomState::new();
        let before = Groups::of(&records.before, &seed)?;
        let after = Groups::of(&records.after, &seed)?;
        Ok(Self { records, ignore, comparer, before, after, others: HashSet::new() })
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
        self.pairs().filter(is_candidate).filter_map(|Pair { path, before, after, .. }| {
            Some(Candidate { path, before: before?, after: after? })
        })
    }

    fn pairs(&self) -> impl Iterator<Item = Pair<'a>> {
        let Records { before, after } = self.records;
        let pairs = Pairs::new(Some(before.root()), Some(after.root()));
        pairs.filter(|pair| !self.is_missing_by_rights(pair))
    }

    /// Whether only one record has it and that is no difference.
    fn is_missing_by_rights(&self, pair: &Pair<'_>) -> bool {
        let (node, other) = match (pair.before, pair.after) {
            (Some(node), None) => (node, &self.records.after),
            (None, Some(node)) => (node, &self.records.before),
            _ => return false,
        };
        let Node::Tree(place) = node else { return false };
        let may_be_missing = |comparer: &Comparer<'_>| comparer.may_be_missing(&place);
        other.has_same(node)
            || pair.is_in_both && self.comparer.as_ref().is_some_and(may_be_missing)
    }

    fn difference(&self, pair: Pair<'a>, attributes: Attributes) -> Difference<'a> {
        let Pair { path, before, after, .. } = pair;
        let growth = self.after.size(&path, after) - self.before.size(&path, before);
        Difference { path, before, after, attributes, growth }
    }

    fn attributes(&self, pair: &Pair<'_>) -> Attributes {
        let (Some(before), Some(after)) = (pair.before, pair.after) else {
            return Attributes::default();
        };
        let mut attributes = match (before, after) {
            (Node::Tree(before), Node::Tree(after)) => {
                // Nothing says what a root is that nothing describes.
                if before.layer().is_none() || after.layer().is_none() {
                    return Attributes::default();
                }
                compare_records(&before.inode(), &after.inode())
            }
            (Node::Scan(before), Node::Scan(after)) => {
                let records = before.record().zip(after.record());
                records.map(|(before, after)| compare_records(&before, &after)).unwrap_or_default()
            }
            (Node::Tree(place), Node::Scan(found)) | (Node::Scan(found), Node::Tree(place)) => {
                self.beside(place, found)
            }
        };
        if self.before.signature(before) != self.after.signature(after)
            && !attributes.has(Attribute::Type)
        {
            attributes.insert(Attribute::Links);
        }
        attributes.without(self.ignore)
    }

    /// What a directory has differently from an image.
    fn beside(&self, place: Place<'_>, found: Found<'_>) -> Attributes {
        let Some(comparer) = &self.comparer else { return Attributes::default() };
        let mut attributes = comparer.compare(&place, found);
        if !attributes.has(Attribute::Type) && comparer.has_lost_unseen(&place, found, attributes) {
            attributes.insert(Attribute::Xattrs);
        }
        attributes
    }
}

fn is_candidate(pair: &Pair<'_>) -> bool {
    let (Some(before), Some(after)) = (pair.before, pair.after) else { return false };
    before.size().is_some_and(|size| size > 0) && before.size() == after.size()
}

/// The files of a record that have several names.
struct Groups {
    seed: RandomState,
    of_tree: HashMap<InodeId, Group>,
    of_scan: HashMap<Inode, Group>,
}

/// The names of one file, told by keyed hashes, so that nobody can choose two groups that have the same.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// The first name.
    first: u64,
    /// Which names they are: sums of the names' hashes.
    signature: [u64; 2],
}

impl Group {
    fn add(&mut self, hashes: [u64; 2]) {
        if self.signature == [0; 2] {
            self.first = hashes[0];
        }
        for (sum, hash) in self.signature.iter_mut().zip(hashes) {
            *sum = sum.wrapping_add(hash);
        }
    }

    /// Whether it has a name besides the first.
    fn has_more(&self) -> bool {
        self.signature[0] != self.first
    }
}

impl Groups {
    fn of(record: &Record, seed: &RandomState) -> Result<Self, layer_format::Error> {
        let seed = seed.clone();
        let mut groups = Self { seed, of_tree: HashMap::new(), of_scan: HashMap::new() };
        for Pair { path, before, .. } in Pairs::new(Some(record.root()), None) {
            let Some(node) = before else { continue };
            refuse(&path, node)?;
            let group = match node {
                Node::Tree(place) if place.is_linked() => {
                    groups.of_tree.entry(place.id()).or_default()
                }
                Node::Tree(_) => continue,
                Node::Scan(found) => match found.linked_inode() {
                    Some(inode) => groups.of_scan.entry(inode).or_default(),
                    None => continue,
                },
            };
            group.add([0_u8, 1].map(|salt| groups.seed.hash_one((salt, path.as_bytes()))));
        }
        // The other names of what is scanned may be elsewhere.
        groups.of_scan.retain(|_, group| group.has_more());
        Ok(groups)
    }

    fn group(&self, node: Node<'_>) -> Option<&Group> {
        match node {
            Node::Tree(place) => self.of_tree.get(&place.id()),
            Node::Scan(found) => self.of_scan.get(&found.linked_inode()?),
        }
    }

    /// Tells groups apart; none for a file with one name.
    fn signature(&self, node: Node<'_>) -> Option<[u64; 2]> {
        self.group(node).map(|group| group.signature)
    }

    /// The bytes that a name counts for.
    fn size(&self, path: &EntryPath, node: Option<Node<'_>>) -> i128 {
        let Some(node) = node else { return 0 };
        let is_first = |group: &Group| group.first == self.seed.hash_one((0_u8, path.as_bytes()));
        let counts = self.group(node).is_none_or(is_first);
        node.size().filter(|_| counts).unwrap_or_default().into()
    }
}

/// Of a directory, what no image can hold; of an image, its reader has refused it.
fn refuse(path: &EntryPath, node: Node<'_>) -> Result<(), layer_format::Error> {
    let Node::Scan(found) = node else { return Ok(()) };
    let Some(kind @ EntryKind::CharDevice { .. }) = found.kind() else { return Ok(()) };
    let (path, (uid, gid), mtime) = (path.clone(), found.owner(), found.mtime());
    let entry = Entry { path, kind, mode: found.mode(), uid, gid, mtime, xattrs: vec![] };
    impossible(&entry).map_or(Ok(()), |reason| {
        Err(layer_format::Error::MalformedEntry { path: entry.path.to_string(), reason })
    })
}

/// A path in one of the records or in both.
struct Pair<'a> {
    path: EntryPath,
    before: Option<Node<'a>>,
    after: Option<Node<'a>>,
    /// Whether both have the directory that it is in.
    is_in_both: bool,
}

/// A directory, in one record or in both, whose names are being gone through.
struct Level<'a> {
    /// How long its path is, in bytes.
    length: usize,
    before: Peekable<Children<'a>>,
    after: Peekable<Children<'a>>,
    is_in_both: bool,
}

/// Iterates over both records, directories before what is in them.
struct Pairs<'a> {
    next: Option<Pair<'a>>,
    /// Of the pair before.
    path: EntryPath,
    /// The directories that it is in.
    way: Vec<Level<'a>>,
}

impl<'a> Pairs<'a> {
    fn new(before: Option<Node<'a>>, after: Option<Node<'a>>) -> Self {
        let root = Pair { path: EntryPath::root(), before, after, is_in_both: true };
        Self { next: Some(root), path: EntryPath::root(), way: vec![] }
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
        let [before, after] = [pair.before, pair.after].map(|node| node.filter(Node::is_directory));
        if before.is_some() || after.is_some() {
            let length = pair.path.as_bytes().len();
            let is_in_both = before.is_some() && after.is_some();
            let (before, after) = (children(before), children(after));
            self.way.push(Level { length, before, after, is_in_both });
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
        let node = |child: Option<(&[u8], Node<'a>)>| child.map(|(_, node)| node);
        let (before, after, is_in_both) = (node(before), node(after), self.is_in_both);
        Some(Pair { path: path.clone(), before, after, is_in_both })
    }
}

fn children(directory: Option<Node<'_>>) -> Peekable<Children<'_>> {
    let children: Children<'_> = match directory {
        Some(directory) => directory.children(),
        None => Box::new(std::iter::empty()),
    };
    children.peekable()
}
