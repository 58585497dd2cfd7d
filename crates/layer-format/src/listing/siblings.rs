//! The names of one directory, in order. They form a treap, which needs two numbers in each node and nothing else.
//!
//! The nodes are a search tree by name and a heap by rank. Ranks depend on a random key, so the tree is as shallow as one
//! into which names were put in random order, whatever their real order is. Names are found, added and removed in
//! logarithmic time.

use super::nodes::Nodes;

/// The index that stands for no node.
pub(super) const NONE: u32 = u32::MAX;

impl Nodes {
    /// The node with that name in a directory.
    pub(super) fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let mut here = self[directory].children;
        while here != NONE {
            here = match name.cmp(self.name(here)) {
                std::cmp::Ordering::Equal => return Some(here),
                std::cmp::Ordering::Less => self[here].before,
                std::cmp::Ordering::Greater => self[here].after,
            };
        }
        None
    }

    /// The nodes in a directory, sorted by name.
    pub(super) fn children(&self, directory: u32) -> Children<'_> {
        self.children_from(directory, b"")
    }

    /// Those whose names don't come before this one, which need not be there.
    pub(super) fn children_from(&self, directory: u32, name: &[u8]) -> Children<'_> {
        let mut children = Children { nodes: self, way: vec![] };
        let mut here = self[directory].children;
        while here != NONE {
            if self.name(here) < name {
                here = self[here].after;
            } else {
                children.way.push(here);
                here = self[here].before;
            }
        }
        children
    }

    /// Adds a node to those in its directory. The directory must not have another one with its name.
    pub(super) fn link(&mut self, node: u32) {
        let directory = self[node].parent;
        let top = self[directory].children;
        self[directory].children = self.with(top, node);
    }

    /// Removes a node from those in its directory.
    pub(super) fn unlink(&mut self, node: u32) {
        let directory = self[node].parent;
        let top = self[directory].children;
        self[directory].children = self.without(top, node);
        (self[node].before, self[node].after) = (NONE, NONE);
    }

    fn with(&mut self, top: u32, node: u32) -> u32 {
        if top == NONE || self.rank(node) > self.rank(top) {
            let (before, after) = self.split(top, node);
            (self[node].before, self[node].after) = (before, after);
            return node;
        }
        if self.name(node) < self.name(top) {
            self[top].before = self.with(self[top].before, node);
        } else {
            self[top].after = self.with(self[top].after, node);
        }
        top
    }

    fn without(&mut self, top: u32, node: u32) -> u32 {
        if top == node {
            return self.join(self[top].before, self[top].after);
        }
        if self.name(node) < self.name(top) {
            self[top].before = self.without(self[top].before, node);
        } else {
            self[top].after = self.without(self[top].after, node);
        }
        top
    }

    /// Splits a tree into the nodes whose names come before that of `node`, and those whose names come after it.
    fn split(&mut self, top: u32, node: u32) -> (u32, u32) {
        if top == NONE {
            return (NONE, NONE);
        }
        if self.name(top) < self.name(node) {
            let (before, after) = self.split(self[top].after, node);
            self[top].after = before;
            (top, after)
        } else {
            let (before, after) = self.split(self[top].before, node);
            self[top].before = after;
            (before, top)
        }
    }

    /// Joins two trees. All names of `before` must come before those of `after`.
    fn join(&mut self, before: u32, after: u32) -> u32 {
        if before == NONE || after == NONE {
            return before.min(after);
        }
        if self.rank(before) > self.rank(after) {
            self[before].after = self.join(self[before].after, after);
            before
        } else {
            self[after].before = self.join(before, self[after].before);
            after
        }
    }

    /// A number that nobody can foresee, by one round of splitmix64.
    fn rank(&self, node: u32) -> u64 {
        let mut mixed = self.key.wrapping_add(u64::from(node).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Iterator over the nodes in a directory, sorted by name.
#[derive(Debug)]
pub(super) struct Children<'a> {
    nodes: &'a Nodes,
    /// The next node, and above it the nodes that come after all nodes in its tree.
    way: Vec<u32>,
}

impl Children<'_> {
    fn descend(&mut self, top: u32) {
        let mut here = top;
        while here != NONE {
            self.way.push(here);
            here = self.nodes[here].before;
        }
    }
}

impl Iterator for Children<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let next = self.way.pop()?;
        self.descend(self.nodes[next].after);
        Some(next)
    }
}
