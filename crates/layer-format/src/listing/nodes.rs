//! The stored form of a tree: a table of names, a table of inodes, and their texts in one buffer. None of them has an
//! allocation of its own. A file with one name takes [76 bytes](Nodes::weight) and the bytes of its name.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::{Index, IndexMut};

use super::inode::{Inode, Origin, Packed};
use super::siblings::NONE;
use super::texts::Texts;

/// The index of the root among the nodes.
pub(super) const ROOT: u32 = 0;

/// A name in a directory.
#[derive(Debug)]
pub(super) struct Node {
    /// The node of the directory that contains it; the root for the root.
    pub(super) parent: u32,
    /// The text with the last component of the path.
    name: u32,
    /// The inode behind the name.
    pub(super) inode: u32,
    /// The number of layers, this one included, when the name was put there or described last; 0 if no layer describes
    /// it.
    pub(super) n_layers: u32,
    /// The topmost of the nodes in this directory; [`NONE`](super::siblings::NONE) if there are none.
    pub(super) children: u32,
    /// The topmost of the siblings below it in the treap: of those whose names come before its own, and of those after.
    pub(super) before: u32,
    pub(super) after: u32,
}

/// The names of a tree, and their inodes.
#[derive(Debug)]
pub(super) struct Nodes {
    names: Vec<Node>,
    inodes: Vec<Packed>,
    texts: Texts,
    /// Rows that are free for reuse.
    unused_names: Vec<u32>,
    unused_inodes: Vec<u32>,
    /// The origins of the inodes that have lost their last name; `None` if nobody asks for them.
    pub(super) losses: Option<Vec<Origin>>,
    /// What the ranks of siblings depend on.
    pub(super) key: u64,
}

impl Index<u32> for Nodes {
    type Output = Node;

    fn index(&self, node: u32) -> &Node {
        &self.names[node as usize]
    }
}

impl IndexMut<u32> for Nodes {
    fn index_mut(&mut self, node: u32) -> &mut Node {
        &mut self.names[node as usize]
    }
}

impl Nodes {
    /// Creates the tables with only the root, which no layer describes.
    pub(super) fn new() -> Self {
        let mut nodes = Self {
            names: vec![],
            inodes: vec![],
            texts: Texts::default(),
            unused_names: vec![],
            unused_inodes: vec![],
            losses: None,
            key: RandomState::new().hash_one(0),
        };
        let inode = nodes.add_inode(&Inode::implied());
        nodes.place(ROOT, b"", inode);
        nodes
    }

    /// The number of names, the root included.
    pub(super) fn n_names(&self) -> usize {
        self.names.len() - self.unused_names.len()
    }

    /// The number of rows for names, the free ones included.
    pub(super) fn n_rows(&self) -> usize {
        self.names.len()
    }

    /// The size of all tables in bytes.
    pub(super) fn weight(&self) -> usize {
        let rows = size_of_val(&*self.names) + size_of_val(&*self.inodes);
        let free = size_of_val(&*self.unused_names) + size_of_val(&*self.unused_inodes);
        rows + free + self.texts.n_bytes()
    }

    /// The last component of a node's path; empty for the root.
    pub(super) fn name(&self, node: u32) -> &[u8] {
        self.texts.get(self[node].name)
    }

    /// The stored inode of a node.
    pub(super) fn packed(&self, node: u32) -> &Packed {
        &self.inodes[self[node].inode as usize]
    }

    /// The inode of a node in its public form.
    pub(super) fn inode(&self, node: u32) -> Inode {
        self.packed(node).unpack(&self.texts)
    }

    /// The target of a node if it is a symbolic link.
    pub(super) fn target(&self, node: u32) -> Option<&[u8]> {
        self.packed(node).target(&self.texts)
    }

    pub(super) fn is_directory(&self, node: u32) -> bool {
        self.packed(node).is_directory()
    }

    /// Adds a name to a directory that doesn't have it. `inode` must be held for it.
    pub(super) fn insert(&mut self, directory: u32, name: &[u8], inode: u32) -> u32 {
        let node = self.place(directory, name, inode);
        self.link(node);
        node
    }

    /// Frees a node that was [unlinked](Self::unlink).
    pub(super) fn free(&mut self, node: u32) {
        let Node { name, inode, .. } = self[node];
        self.texts.waste(name);
        self.let_go(inode);
        self[node].inode = NONE;
        self.unused_names.push(node);
        self.tidy_up();
    }

    /// Replaces a node's inode by another one, which must be held for it.
    pub(super) fn set_inode(&mut self, node: u32, inode: u32) {
        self.let_go(self[node].inode);
        self[node].inode = inode;
        self.tidy_up();
    }

    /// Stores an inode that is held once.
    pub(super) fn add_inode(&mut self, inode: &Inode) -> u32 {
        let packed = Packed::new(inode, &mut self.texts);
        fill(&mut self.inodes, &mut self.unused_inodes, packed)
    }

    /// Holds an inode for one more name.
    pub(super) fn hold(&mut self, inode: u32) {
        self.inodes[inode as usize].n_names += 1;
    }

    fn place(&mut self, parent: u32, name: &[u8], inode: u32) -> u32 {
        let name = self.texts.add(name);
        let (n_layers, children, before, after) = (0, NONE, NONE, NONE);
        let node = Node { parent, name, inode, n_layers, children, before, after };
        fill(&mut self.names, &mut self.unused_names, node)
    }

    fn let_go(&mut self, inode: u32) {
        let packed = &mut self.inodes[inode as usize];
        packed.n_names -= 1;
        if packed.n_names == 0 {
            packed.texts().for_each(|text| self.texts.waste(text));
            if let Some(losses) = &mut self.losses {
                losses.extend(packed.origin());
            }
            self.unused_inodes.push(inode);
        }
    }

    /// Packs the texts anew when most of them are unused. The cost of moving a text is therefore bounded by the texts
    /// that were freed.
    fn tidy_up(&mut self) {
        let n_wasted = self.texts.n_wasted();
        let n_rows = self.names.len() + self.inodes.len();
        if n_wasted <= n_rows || n_wasted <= self.texts.n_bytes() / 2 {
            return;
        }
        let old = std::mem::take(&mut self.texts);
        for node in self.names.iter_mut().filter(|node| node.inode != NONE) {
            node.name = self.texts.add(old.get(node.name));
        }
        for inode in self.inodes.iter_mut().filter(|inode| inode.n_names > 0) {
            inode.move_texts(&old, &mut self.texts);
        }
    }
}

/// Puts a row into a free place, or at the end.
fn fill<T>(rows: &mut Vec<T>, free: &mut Vec<u32>, row: T) -> u32 {
    if let Some(place) = free.pop() {
        rows[place as usize] = row;
        return place;
    }
    rows.push(row);
    u32::try_from(rows.len() - 1).expect("a tree's limit allows fewer rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_size_that_it_is_said_to_have() {
        assert_eq!((size_of::<Node>(), size_of::<Packed>()), (28, 48));
    }

    #[test]
    fn what_a_tree_weighs_is_what_its_rows_and_texts_take() {
        let mut nodes = Nodes::new();
        // The root's name is the length of a text, which is none.
        let mut expected = 28 + 48 + 1;
        assert_eq!(nodes.weight(), expected);
        for n in 0..1000 {
            let inode = nodes.add_inode(&Inode::implied());
            nodes.insert(ROOT, format!("name-{n:03}").as_bytes(), inode);
            expected += 28 + 48 + 1 + 8;
            assert_eq!(nodes.weight(), expected);
        }
        let node = nodes.children(ROOT).next().unwrap();
        // A name more for the same file.
        let inode = nodes[node].inode;
        nodes.hold(inode);
        nodes.insert(ROOT, b"more", inode);
        expected += 28 + 1 + 4;
        assert_eq!(nodes.weight(), expected);
        // What goes leaves its row, and a note that it is free.
        let node = nodes.child(ROOT, b"more").unwrap();
        nodes.unlink(node);
        nodes.free(node);
        assert_eq!(nodes.weight(), expected + 4);
        let node = nodes.children(ROOT).next().unwrap();
        nodes.unlink(node);
        nodes.free(node);
        assert_eq!(nodes.weight(), expected + 4 + 4 + 4);
    }

    /// How many nodes lie on the longest way down.
    fn depth(nodes: &Nodes, top: u32) -> usize {
        let (mut deepest, mut todo) = (0, vec![(top, 1)]);
        while let Some((here, depth)) = todo.pop() {
            if here != NONE {
                deepest = deepest.max(depth);
                todo.extend([(nodes[here].before, depth + 1), (nodes[here].after, depth + 1)]);
            }
        }
        deepest
    }

    #[test]
    fn a_directory_of_many_names_is_shallow_and_in_order_however_they_come() {
        const N: usize = 50_000;
        let orders: [fn(usize) -> usize; 3] = [|n| n, |n| N - 1 - n, |n| n * 7919 % N];
        for order in orders {
            let mut nodes = Nodes::new();
            for n in 0..N {
                let inode = nodes.add_inode(&Inode::implied());
                nodes.insert(ROOT, format!("{:05}", order(n)).as_bytes(), inode);
            }
            // One of names in random order is 40 deep; 100 comes once in more runs than there will be.
            assert!(depth(&nodes, nodes[ROOT].children) < 100);
            let names: Vec<_> = nodes.children(ROOT).map(|node| nodes.name(node)).collect();
            assert!(names.is_sorted() && names.len() == N);
            for n in (0..N).filter(|n| n % 3 > 0) {
                let node = nodes.child(ROOT, format!("{n:05}").as_bytes()).unwrap();
                nodes.unlink(node);
                nodes.free(node);
            }
            let left = nodes.children(ROOT).map(|node| nodes.name(node).to_vec());
            assert!(left.eq((0..N).step_by(3).map(|n| format!("{n:05}").into_bytes())));
        }
    }

    #[test]
    fn what_goes_makes_room_for_what_comes() {
        let mut nodes = Nodes::new();
        let mut weights = vec![];
        for _ in 0..20 {
            for n in 0..5_000 {
                let inode = nodes.add_inode(&Inode::implied());
                nodes.insert(ROOT, format!("a name of some length {n}").as_bytes(), inode);
            }
            weights.push(nodes.weight());
            while let Some(node) = nodes.children(ROOT).next() {
                nodes.unlink(node);
                nodes.free(node);
            }
        }
        assert!(weights.iter().all(|&weight| weight < weights[0] * 2), "{weights:?}");
        assert_eq!(nodes.n_names(), 1);
    }
}
