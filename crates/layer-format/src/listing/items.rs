//! The names of a tree, in order.

use std::collections::btree_map;
use std::sync::Arc;

use super::node::Inode;
use super::tree::{ROOT, Tree};
use crate::layer::EntryPath;

/// One name of a tree.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Where.
    pub path: EntryPath,
    /// The layer that put the name there, or described it last; none for a root that no layer describes.
    pub layer: Option<usize>,
    /// What lies there. Hard links of each other have the same one.
    pub inode: &'a Arc<Inode>,
}

/// A name of a tree, from which others are reached.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    tree: &'a Tree,
    node: u32,
}

impl<'a> Place<'a> {
    pub(super) fn root(tree: &'a Tree) -> Self {
        Self { tree, node: ROOT }
    }

    /// What lies there. Hard links of each other have the same one.
    pub fn inode(&self) -> &'a Arc<Inode> {
        &self.tree.node(self.node).inode
    }

    /// The layer that put the name there, or described it last; none for a root that no layer describes.
    pub fn layer(&self) -> Option<usize> {
        self.tree.node(self.node).layer()
    }

    /// What is in this directory under that name.
    pub fn child(&self, name: &[u8]) -> Option<Self> {
        let node = self.tree.child(self.node, name)?;
        Some(Self { tree: self.tree, node })
    }

    /// All that is in this directory, by name.
    pub fn children(&self) -> impl Iterator<Item = (&'a [u8], Self)> + use<'a> {
        let tree = self.tree;
        let children = tree.node(self.node).children().iter();
        children.map(move |(name, &node)| (&**name, Self { tree, node }))
    }
}

type Children<'a> = btree_map::Iter<'a, Box<[u8]>, u32>;

/// The names of a [`Tree`], in order.
#[derive(Debug)]
pub struct Items<'a> {
    tree: &'a Tree,
    begun: bool,
    stack: Vec<(EntryPath, Children<'a>)>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if !self.begun {
            self.begun = true;
            return Some(self.enter(ROOT, EntryPath::root()));
        }
        loop {
            let (directory, children) = self.stack.last_mut()?;
            if let Some((name, &child)) = children.next() {
                let path = directory.join(name);
                return Some(self.enter(child, path));
            }
            self.stack.pop();
        }
    }
}

impl<'a> Items<'a> {
    pub(super) fn of(tree: &'a Tree) -> Self {
        Self { tree, begun: false, stack: vec![] }
    }

    fn enter(&mut self, node: u32, path: EntryPath) -> Item<'a> {
        let node = self.tree.node(node);
        if !node.children().is_empty() {
            self.stack.push((path.clone(), node.children().iter()));
        }
        Item { path, layer: node.layer(), inode: &node.inode }
    }
}
