//! The names of a tree, in order.

use super::inode::{Inode, InodeId, Origin};
use super::nodes::ROOT;
use super::siblings::Children;
use super::tree::Tree;
use crate::layer::EntryPath;

/// One name of a tree.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Its path.
    pub path: EntryPath,
    /// What it leads to.
    pub place: Place<'a>,
}

/// A name of a tree, from which others are reached.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    tree: &'a Tree,
    node: u32,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("inode", &self.inode()).finish_non_exhaustive()
    }
}

/// Whether they are the same name of the same tree.
impl PartialEq for Place<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.tree, other.tree) && self.node == other.node
    }
}

impl<'a> Place<'a> {
    pub(super) fn new(tree: &'a Tree, node: u32) -> Self {
        Self { tree, node }
    }

    /// What lies there.
    pub fn inode(&self) -> Inode {
        self.tree.nodes.inode(self.node)
    }

    /// Which inode it is. Hard links of each other have the same one.
    pub fn id(&self) -> InodeId {
        InodeId(self.tree.nodes[self.node].inode)
    }

    /// Which change described what lies there; none for a directory that only stands above something.
    pub fn origin(&self) -> Option<Origin> {
        self.tree.nodes.packed(self.node).origin()
    }

    /// Whether a directory lies there.
    pub fn is_directory(&self) -> bool {
        self.tree.nodes.is_directory(self.node)
    }

    /// Whether what lies there has other names too.
    pub fn is_linked(&self) -> bool {
        self.tree.nodes.packed(self.node).n_names > 1
    }

    /// The layer that put the name there, or described it last; none for a root that no layer describes.
    pub fn layer(&self) -> Option<usize> {
        (self.tree.nodes[self.node].n_layers as usize).checked_sub(1)
    }

    /// Its path.
    pub fn path(&self) -> EntryPath {
        self.tree.path_of(self.node)
    }

    /// What is in this directory under that name.
    pub fn child(&self, name: &[u8]) -> Option<Self> {
        let node = self.tree.nodes.child(self.node, name)?;
        Some(Self { node, ..*self })
    }

    /// All that is in this directory, by name.
    pub fn children(&self) -> impl Iterator<Item = (&'a [u8], Self)> + use<'a> {
        let tree = self.tree;
        let children = tree.nodes.children(self.node);
        children.map(move |node| (tree.nodes.name(node), Self { tree, node }))
    }
}

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
            if let Some(child) = children.next() {
                let path = directory.join(self.tree.nodes.name(child));
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
        if self.tree.nodes.is_directory(node) {
            self.stack.push((path.clone(), self.tree.nodes.children(node)));
        }
        Item { path, place: Place::new(self.tree, node) }
    }
}
