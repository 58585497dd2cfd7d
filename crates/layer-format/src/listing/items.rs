//! The names of a tree, in order.

use super::inode::{Inode, InodeId, Origin};
use super::nodes::ROOT;
use super::siblings::Children;
use super::tree::Tree;
use crate::layer::EntryPath;

/// One name of a tree.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// The path of the name.
    pub path: EntryPath,
    /// The place that the name stands for.
    pub place: Place<'a>,
}

/// Identifies a name within one tree, in less memory than a [`Place`]. It is valid until something is added to the
/// tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameId(pub(super) u32);

impl NameId {
    /// A number below [`Tree::most_names`], which is different for each name.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// A name of a tree, with access to its inode and to the names around it.
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

/// Two places are equal if they are the same name of the same tree.
impl PartialEq for Place<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.tree, other.tree) && self.node == other.node
    }
}

impl<'a> Place<'a> {
    pub(super) fn new(tree: &'a Tree, node: u32) -> Self {
        Self { tree, node }
    }

    /// The inode behind the name.
    pub fn inode(&self) -> Inode {
        self.tree.nodes.inode(self.node)
    }

    /// The identity of the inode. Hard links of each other have the same one.
    pub fn id(&self) -> InodeId {
        InodeId(self.tree.nodes[self.node].inode)
    }

    /// The identity of the name.
    pub fn name_id(&self) -> NameId {
        NameId(self.node)
    }

    /// The directory that contains the name; the root for the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self { node: self.tree.nodes[self.node].parent, ..*self }
    }

    /// The change that described the inode; `None` for a directory that only exists because something is below it.
    pub fn origin(&self) -> Option<Origin> {
        self.tree.nodes.packed(self.node).origin()
    }

    /// Whether the inode is a directory.
    pub fn is_directory(&self) -> bool {
        self.tree.nodes.is_directory(self.node)
    }

    /// Whether the inode has other names, too.
    pub fn is_linked(&self) -> bool {
        self.tree.nodes.packed(self.node).n_names > 1
    }

    /// The number of the layer that put the name there, or described it last; `None` for a root that no layer
    /// describes.
    pub fn layer(&self) -> Option<usize> {
        (self.tree.nodes[self.node].n_layers as usize).checked_sub(1)
    }

    /// The path of the name.
    pub fn path(&self) -> EntryPath {
        self.tree.path_of(self.node)
    }

    /// The place with this name in the directory; `None` if there is none.
    pub fn child(&self, name: &[u8]) -> Option<Self> {
        let node = self.tree.nodes.child(self.node, name)?;
        Some(Self { node, ..*self })
    }

    /// The names in the directory with their places, sorted by name.
    pub fn children(&self) -> impl Iterator<Item = (&'a [u8], Self)> + use<'a> {
        self.children_from(b"")
    }

    /// Those of them that don't come before `name`, which need not be one of them. Finding the first takes logarithmic time.
    pub fn children_from(&self, name: &[u8]) -> impl Iterator<Item = (&'a [u8], Self)> + use<'a> {
        let tree = self.tree;
        let children = tree.nodes.children_from(self.node, name);
        children.map(move |node| (tree.nodes.name(node), Self { tree, node }))
    }
}

/// Iterator over the names of a [`Tree`], in order.
#[derive(Debug)]
pub struct Items<'a> {
    tree: &'a Tree,
    begun: bool,
    /// The path of the previous name.
    path: EntryPath,
    /// The directories above it, each with the length of its path and the names in it that are still to come.
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
