//! What a scan keeps of one directory: its names in order, with their nodes.

use super::node::{NONE, Node};
use crate::xattrs::Xattr;

/// What is kept of one directory. There are many of them, and most are small, so that no part of it has room to grow.
#[derive(Debug, Default)]
pub(super) struct ScannedDirectory {
    /// In the order of the names.
    pub(super) nodes: Box<[Node]>,
    /// The name of each, with its target after it if it is a link.
    pub(super) texts: Box<[u8]>,
    pub(super) xattrs: Box<[Box<[Xattr]>]>,
    /// The number of the directory that it is in, and its place there; [`NONE`] for the root.
    pub(super) above: [u32; 2],
}

impl ScannedDirectory {
    /// The root's, before it is read.
    pub(super) fn root() -> Self {
        Self { above: [NONE; 2], ..Self::default() }
    }

    /// One that is at a place in another directory, before it is read.
    pub(super) fn below(number: usize, place: usize) -> Self {
        let above = [number, place].map(|it| u32::try_from(it).unwrap_or(NONE));
        Self { above, ..Self::default() }
    }

    /// The number of the directory that it is in, and its place there. `None` for the root.
    pub(super) fn above(&self) -> Option<(usize, usize)> {
        let [number, place] = self.above;
        (number != NONE).then_some((number as usize, place as usize))
    }

    /// The name at a place.
    pub(super) fn name(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.nodes[before].texts_end());
        &self.texts[start..self.nodes[place].name_end as usize]
    }

    /// The target of the link at a place.
    pub(super) fn target(&self, place: usize) -> &[u8] {
        let node = &self.nodes[place];
        &self.texts[node.name_end as usize..node.texts_end()]
    }

    /// The place of a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let mut low = 0;
        let mut high = self.nodes.len();
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}
