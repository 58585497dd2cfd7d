//! Which names of a record are hard links of each other.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use layer_format::Error;
use layer_format::layer::EntryPath;
use layer_format::listing::InodeId;
use rootfs::FileId;

use crate::pairs::{Pair, Pairs};
use crate::record::{Node, Record};

/// The groups of hard links of a record.
pub(crate) struct LinkGroups {
    seed: RandomState,
    of_tree: HashMap<InodeId, Group>,
    of_scan: HashMap<FileId, Group>,
}

/// The names of one file, as keyed hashes, so that no image can be made to have two groups with the same signature.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// The hash of the first name.
    first: u64,
    /// Tells which names they are: the sums of their hashes with two salts.
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

impl LinkGroups {
    /// Goes through a record and finds the groups. `seed` is that of the hashes, the same for both records.
    ///
    /// # Errors
    /// Those of [`Node::check`], which is called for each name.
    pub(crate) fn of(record: &Record, seed: RandomState) -> Result<Self, Error> {
        let mut groups = Self { seed, of_tree: HashMap::new(), of_scan: HashMap::new() };
        for Pair { path, before, .. } in Pairs::new(Some(record.root()), None) {
            let Some(node) = before else { continue };
            node.check(&path)?;
            let group = match node {
                Node::Tree(place) if place.is_linked() => {
                    groups.of_tree.entry(place.id()).or_default()
                }
                Node::Tree(_) => continue,
                Node::Scan(found) => match found.linked_file() {
                    Some(inode) => groups.of_scan.entry(inode).or_default(),
                    None => continue,
                },
            };
            group.add([0_u8, 1].map(|salt| groups.seed.hash_one((salt, path.as_bytes()))));
        }
        // A scanned file may have its other names outside of the directory.
        groups.of_scan.retain(|_, group| group.has_more());
        Ok(groups)
    }

    fn group(&self, node: Node<'_>) -> Option<&Group> {
        match node {
            Node::Tree(place) => self.of_tree.get(&place.id()),
            Node::Scan(found) => self.of_scan.get(&found.linked_file()?),
        }
    }

    /// What tells the group of a file from others; `None` for a file with one name.
    pub(crate) fn signature(&self, node: Node<'_>) -> Option<[u64; 2]> {
        self.group(node).map(|group| group.signature)
    }

    /// The number of bytes that a name counts for. A file counts under the first of its names.
    pub(crate) fn size(&self, path: &EntryPath, node: Option<Node<'_>>) -> i128 {
        let Some(node) = node else { return 0 };
        let is_first = |group: &Group| group.first == self.seed.hash_one((0_u8, path.as_bytes()));
        let counts = self.group(node).is_none_or(is_first);
        node.size().filter(|_| counts).unwrap_or_default().into()
    }
}
