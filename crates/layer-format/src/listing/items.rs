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

/// Tells the names of one tree apart, in less room than a [`Place`]. It is good as long as nothing is added to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameId(pub(super) u32);

impl NameId {
    /// A number below [`Tree::most_names`] that no other name has.
    pub fn number(self) -> usize {
        self.0 as usize
    }
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

    /// Which name it is.
    pub fn name_id(&self) -> NameId {
        NameId(self.node)
    }

    /// The directory that it is in; the root is in itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self { node: self.tree.nodes[self.node].parent, ..*self }
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
    /// Of the name before.
    path: EntryPath,
    /// The directories that it is in, each with the length of its path and what comes next in it.
    stack: Vec<(usize, Children<'a>)>,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if !self.begun {
            self.begun = true;
            return Some(self.enter(ROOT));
        }
        loop {
            let (length, children) = self.stack.last_mut()?;
            if let Some(child) = children.next() {
                self.path.truncate(*length);
                self.path.push(self.tree.nodes.name(child));
                return Some(self.enter(child));
            }
            self.stack.pop();
        }
    }
}

impl<'a> Items<'a> {
    pub(super) fn of(tree: &'a Tree) -> Self {
        Self { tree, begun: false, path: EntryPath::root(), stack: vec![] }
    }

    fn enter(&mut self, node: u32) -> Item<'a> {
        if self.tree.nodes.is_directory(node) {
            self.stack.push((self.path.as_bytes().len(), self.tree.nodes.children(node)));
        }
        Item { path: self.path.clone(), place: Place::new(self.tree, node) }
    }
}
