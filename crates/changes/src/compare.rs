//! What two records have differently, in the order of paths.

use std::collections::HashSet;
use std::hash::RandomState;

use layer_format::layer::EntryPath;
use layer_format::listing::Place;
use rootfs::{Attribute, Attributes, Comparer, Identity, ScanEntry, compare_records};

use crate::links::LinkGroups;
use crate::pairs::{Pair, Pairs};
use crate::record::{Node, Record, Records};

/// A comparison of two records.
pub(crate) struct Comparison<'a> {
    records: &'a Records,
    /// Attributes that may be different.
    ignore: Attributes,
    /// Compares a directory with an image or a layer; `None` for two of one kind. It takes the directory for what the image
    /// says unless something tells that it isn't, since its file system, or the user who unpacked it, may not be able to
    /// hold all of an image.
    comparer: Option<Comparer<'a>>,
    before: LinkGroups,
    after: LinkGroups,
    /// The numbers of the [candidates](Self::candidates) that have other bytes.
    others: HashSet<usize>,
}

/// A path that only one of the records has, or that they have differently.
#[derive(Debug)]
pub(crate) struct Difference<'a> {
    pub(crate) path: EntryPath,
    pub(crate) before: Option<Node<'a>>,
    pub(crate) after: Option<Node<'a>>,
    /// What both have, and differently.
    pub(crate) attributes: Attributes,
    /// By how many bytes of files the second record is larger here. A file with several names counts under the first.
    pub(crate) growth: i128,
}

/// A file that both records have with the same size, so that only its bytes can tell whether it has changed.
pub(crate) struct Candidate<'a> {
    pub(crate) path: EntryPath,
    pub(crate) before: Node<'a>,
    pub(crate) after: Node<'a>,
}

impl Candidate<'_> {
    /// Its size in bytes, the same in both records.
    pub(crate) fn size(&self) -> u64 {
        self.before.size().unwrap_or_default()
    }
}

impl<'a> Comparison<'a> {
    /// Compares all that the records say, `ignore` aside.
    ///
    /// # Errors
    /// [`Error::MalformedEntry`](layer_format::Error::MalformedEntry) if a directory holds what no image can.
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
        let before = LinkGroups::of(&records.before, seed.clone())?;
        let after = LinkGroups::of(&records.after, seed)?;
        Ok(Self { records, ignore, comparer, before, after, others: HashSet::new() })
    }

    /// Notes which candidates have other bytes, by their numbers.
    pub(crate) fn note_contents(&mut self, others: HashSet<usize>) {
        self.others = others;
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

    /// The files whose contents can be compared, in the order of paths. Their numbers are their places in it.
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

    /// Whether only one record has it, and that is no difference.
    fn is_missing_by_rights(&self, pair: &Pair<'_>) -> bool {
        let (node, other) = match (pair.before, pair.after) {
            (Some(node), None) => (node, &self.records.after),
            (None, Some(node)) => (node, &self.records.before),
            _ => return false,
        };
        let Node::Tree(place) = node else { return false };
        let may_be_missing = |comparer: &Comparer<'_>| comparer.may_be_missing(&place);
        other.has_same(node)
            || pair.has_common_parent && self.comparer.as_ref().is_some_and(may_be_missing)
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
                // Nothing tells the attributes of a root that no layer describes.
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
                self.with_scanned(place, found)
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
    fn with_scanned(&self, place: Place<'_>, found: ScanEntry<'_>) -> Attributes {
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
