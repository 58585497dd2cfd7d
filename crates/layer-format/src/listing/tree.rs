//! The merged tree of an image's layers.

use std::io::BufRead;
use std::iter;

use super::inode::{Inode, Origin};
use super::items::{Items, NameId, Place};
use super::marks::Marks;
use super::nodes::{Node, Nodes, ROOT};
use super::siblings::NONE;
use crate::error::Error;
use crate::layer::{
    Change, Entry, EntryKind, EntryPath, MAX_COMPONENTS, MAX_LINK_STEPS, MAX_LINKS, Reader,
    TOO_DEEP, components, escape, impossible, split_last,
};

/// The most bytes that a tree may take, approximately: ten times the need of the largest images.
pub const WEIGHT_LIMIT: u64 = 2 << 30;

/// The most bytes that a tree or a listing of `n_changes` changes may take, approximately. The limit exists because a
/// few kilobytes of a compressed layer can expand to gigabytes of attributes.
pub fn allowance(n_changes: u64) -> u64 {
    const AT_LEAST: u64 = 64 << 20;
    const EACH: u64 = 1 << 10;
    EACH.saturating_mul(n_changes).saturating_add(AT_LEAST).min(WEIGHT_LIMIT)
}

/// The purpose of a walk along a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Writing: missing directories are made, and obstacles are replaced.
    Write,
    /// Finding the target of a hard link.
    LinkTarget,
    /// Removing what the lower layers have.
    Whiteout,
}

/// An image's file system without contents, made of the layers that were applied so far.
#[derive(Debug)]
pub struct Tree {
    pub(super) nodes: Nodes,
    pub(super) marks: Marks,
    /// The number of layers that were begun.
    pub(super) n_layers: u32,
    /// The number of changes of the last layer that were applied.
    n_changes: u64,
    /// The number of changes of all layers that were applied.
    n_all_changes: u64,
    /// The path of the directory that the last change was [written](Purpose::Write) to, and its node, kept to avoid a new walk;
    /// `None` if a link was on the way.
    last: Option<(Vec<u8>, u32)>,
    /// The names of files that aren't left out; `None` if none is.
    sought: Option<Vec<Vec<u8>>>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// Creates the tree of an image without layers.
    pub fn new() -> Self {
        Self {
            nodes: Nodes::new(),
            marks: Marks::default(),
            n_layers: 0,
            n_changes: 0,
            n_all_changes: 0,
            last: None,
            sought: None,
        }
    }

    /// Creates the tree of an image without layers, of which no more than the file at `path` is to be [found](Self::find). Files that
    /// aren't called as one of its names are left out, which is several times as fast. What is found is what a whole tree has. If
    /// nothing is, or a change is refused, only a whole tree tells more: a link may lead to another name.
    pub fn seeking(path: &[u8]) -> Self {
        Self { sought: Some(components(path).map(<[u8]>::to_vec).collect()), ..Self::new() }
    }

    /// Applies a whole layer, and reads it to its end.
    ///
    /// # Errors
    /// The errors of [`Reader::read_change`] and of [`apply`](Self::apply).
    pub fn add_layer(&mut self, layer: &mut Reader<impl BufRead>) -> Result<(), Error> {
        self.begin_layer();
        while let Some(change) = layer.read_change()? {
            self.apply(&change)?;
        }
        self.end_layer();
        Ok(())
    }

    /// Begins a layer. The names that the tree has now belong to the lower layers.
    pub fn begin_layer(&mut self) {
        self.marks = Marks::default();
        self.n_layers += 1;
        self.n_changes = 0;
    }

    /// Ends the layer, and frees the marks that its whiteouts needed.
    pub fn end_layer(&mut self) {
        self.marks = Marks::default();
    }

    /// Applies one change of the layer that was begun last.
    ///
    /// # Errors
    /// The change can't be unpacked either, or the tree exceeds its [`allowance`] ([`Error::TooLarge`]).
    pub fn apply(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Add(entry) => self.add(entry)?,
            Change::Remove(path) => {
                self.last = None;
                self.remove_lower(path)?;
            }
            Change::Opaque(path) => {
                self.last = None;
                self.clear_below(path)?;
            }
        }
        self.n_changes += 1;
        self.n_all_changes += 1;
        let limit = allowance(self.n_all_changes);
        if self.weight() > limit {
            return Err(too_large(limit));
        }
        Ok(())
    }

    /// Makes the tree remember from now on what it loses, for [`take_losses`](Self::take_losses).
    pub fn remember_losses(&mut self) {
        self.nodes.losses.get_or_insert_default();
    }

    /// The changes whose inodes have lost their last name since this was asked for the last time.
    pub fn take_losses(&mut self) -> Vec<Origin> {
        self.nodes.losses.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The number of names, the root included.
    pub fn n_names(&self) -> usize {
        self.nodes.n_names()
    }

    /// All names, the root first. A directory comes before its children, which are sorted by their bytes.
    pub fn items(&self) -> Items<'_> {
        Items::of(self)
    }

    /// The root, from which every name can be reached.
    pub fn root(&self) -> Place<'_> {
        Place::new(self, ROOT)
    }

    /// The place of the name with this identity.
    pub fn place(&self, id: NameId) -> Place<'_> {
        Place::new(self, id.0)
    }

    /// A number that is above the [numbers](NameId::number) of all names.
    pub fn most_names(&self) -> usize {
        self.nodes.n_rows()
    }

    /// The place at `path`. Symbolic links are followed beneath the root, also at the end of the path.
    pub fn find(&self, path: &[u8]) -> Option<Place<'_>> {
        self.resolve(ROOT, path).map(|node| Place::new(self, node))
    }

    pub(super) fn path_of(&self, node: u32) -> EntryPath {
        let mut way = vec![];
        let mut here = node;
        while here != ROOT {
            way.push(self.nodes.name(here));
            here = self.nodes[here].parent;
        }
        way.reverse();
        EntryPath::parse(&way.join(&b'/')).expect("it was made of paths")
    }

    /// The approximate size of the tree in bytes.
    pub(super) fn weight(&self) -> u64 {
        (self.nodes.weight() + self.marks.weight()) as u64
    }

    fn add(&mut self, entry: &Entry) -> Result<(), Error> {
        if let Some(reason) = impossible(entry) {
            return Err(refuse(&entry.path, reason));
        }
        let Some((parent, name)) = split_last(entry.path.as_bytes()) else {
            if entry.kind != EntryKind::Directory {
                return Err(refuse(&entry.path, "the root can only be a directory"));
            }
            self.mark_above(ROOT);
            self.describe(ROOT, &Inode::of(entry, self.origin()?));
            return Ok(());
        };
        let Some(here) = self.enter(parent)? else { return Ok(()) };
        if self.leaves_out(here, name, &entry.kind) {
            self.mark_above(here);
            return Ok(());
        }
        if let EntryKind::Hardlink { target } = &entry.kind {
            return self.add_link(here, name, &entry.path, target);
        }
        self.mark_above(here);
        let inode = Inode::of(entry, self.origin()?);
        match self.nodes.child(here, name) {
            Some(child) if entry.kind == EntryKind::Directory && self.nodes.is_directory(child) => {
                self.describe(child, &inode);
            }
            child => {
                let inode = self.nodes.add_inode(&inode);
                self.put_at(here, (name, child), inode);
            }
        }
        Ok(())
    }

    /// Whether a name is left out, since neither it nor what it is put in place of can be on the way to the path that is sought.
    fn leaves_out(&self, here: u32, name: &[u8], kind: &EntryKind) -> bool {
        let Some(sought) = &self.sought else { return false };
        let is_sought = |name: &[u8]| sought.iter().any(|it| it == name);
        let leads_on = match kind {
            EntryKind::Directory | EntryKind::Symlink { .. } => true,
            // Both names are left out, or none.
            EntryKind::Hardlink { target } => target.file_name().is_none_or(is_sought),
            _ => false,
        };
        !leads_on && !is_sought(name) && self.nodes.child(here, name).is_none()
    }

    fn add_link(
        &mut self,
        here: u32,
        name: &[u8],
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<(), Error> {
        let Some((target_parent, target_name)) = split_last(target.as_bytes()) else {
            return Err(refuse(path, "a hard link to the root"));
        };
        let there = self.walk(target_parent, Purpose::LinkTarget)?;
        let found = there.and_then(|there| Some((there, self.nodes.child(there, target_name)?)));
        let Some((there, held)) = found else {
            return Err(refuse(path, "a hard link to what isn't there"));
        };
        if self.nodes.is_directory(held) {
            return Err(refuse(path, "a hard link to a directory"));
        }
        if self.nodes.child(here, name).is_some_and(|child| self.is_at_or_below(there, child)) {
            return Err(refuse(path, "a hard link that replaces the file that it links to"));
        }
        if !self.is_written(held) {
            self.marks.take(self.path_of(held));
        }
        self.mark_above(here);
        let inode = self.nodes[held].inode;
        // The inode is held before the old name is removed, because that may be another name of the same inode.
        self.nodes.hold(inode);
        self.put(here, name, inode);
        Ok(())
    }

    /// The node of the directory that an entry is written to. Entries come directory by directory.
    ///
    /// Nothing but a change of another directory, or a whiteout, can make the way to the last one another way; a link's
    /// way can lead through what is written to the directory itself.
    fn enter(&mut self, path: &[u8]) -> Result<Option<u32>, Error> {
        if let Some((_, here)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(Some(*here));
        }
        self.last = None;
        let here = self.walk(path, Purpose::Write)?;
        self.last = here.filter(|&here| self.is_at(here, path)).map(|here| (path.to_vec(), here));
        Ok(here)
    }

    /// Whether the directory `node` is at `path`, no link being on the way.
    fn is_at(&self, node: u32, path: &[u8]) -> bool {
        let mut here = node;
        for name in components(path).rev() {
            if here == ROOT || self.nodes.name(here) != name {
                return false;
            }
            here = self.nodes[here].parent;
        }
        here == ROOT
    }

    /// The node of the directory at `path`. With [`Purpose::Write`] it is made if it is missing.
    ///
    /// # Errors
    /// The path would lie too deep; links can lead deeper than a path is long.
    pub(super) fn walk(&mut self, path: &[u8], purpose: Purpose) -> Result<Option<u32>, Error> {
        let (mut here, mut depth) = (ROOT, 0);
        for name in components(path) {
            let child = self.nodes.child(here, name);
            depth += 1;
            here = match child {
                Some(child) if self.nodes.is_directory(child) => child,
                _ => match child.and_then(|child| self.follow_own(here, (name, child), purpose)) {
                    Some(directory) => {
                        depth = self.depth(directory);
                        directory
                    }
                    None if purpose != Purpose::Write => return Ok(None),
                    None => {
                        let made = match child.filter(|&child| self.is_written(child)) {
                            Some(_) => self.follow_making(here, name)?,
                            None => None,
                        };
                        match made {
                            Some(directory) => {
                                depth = self.depth(directory);
                                directory
                            }
                            None => self.make_implied(here, name),
                        }
                    }
                },
            };
            if depth >= MAX_COMPONENTS && purpose == Purpose::Write {
                return Err(Error::MalformedEntry { path: escape(path), reason: TOO_DEEP });
            }
        }
        Ok(Some(here))
    }

    /// The number of directories above a node.
    fn depth(&self, node: u32) -> usize {
        let up = |&node: &u32| Some(self.nodes[node].parent);
        iter::successors(Some(node), up).take_while(|&node| node != ROOT).count()
    }

    /// Makes a directory that an entry needs and that no layer describes.
    fn make_implied(&mut self, directory: u32, name: &[u8]) -> u32 {
        let inode = self.nodes.add_inode(&Inode::implied());
        self.put(directory, name, inode)
    }

    /// The directory that a link of the current layer leads to.
    fn follow_own(&self, here: u32, (name, link): (&[u8], u32), purpose: Purpose) -> Option<u32> {
        let follows = purpose != Purpose::Whiteout && self.is_written(link);
        follows.then(|| self.follow(here, name)).flatten()
    }

    /// The directory that the link `name` leads to beneath the root.
    fn follow(&self, here: u32, name: &[u8]) -> Option<u32> {
        self.resolve(here, name).filter(|&node| self.nodes.is_directory(node))
    }

    fn resolve(&self, from: u32, path: &[u8]) -> Option<u32> {
        let mut here = from;
        let mut ahead: Vec<&[u8]> = names(path).collect();
        let mut n_links = 0;
        for _ in 0..MAX_LINK_STEPS {
            let Some(name) = ahead.pop() else { return Some(here) };
            if !self.nodes.is_directory(here) {
                return None;
            }
            if name == b".." {
                here = self.nodes[here].parent;
                continue;
            }
            let child = self.nodes.child(here, name)?;
            let Some(target) = self.nodes.target(child) else {
                here = child;
                continue;
            };
            n_links += 1;
            if n_links > MAX_LINKS {
                return None;
            }
            if target.starts_with(b"/") {
                here = ROOT;
            }
            ahead.extend(names(target));
        }
        None
    }

    /// Follows the current layer's link `name` to a missing path, and makes the directories there, which is what
    /// `rootfs` does, too. The result is `None` if something else is in the way.
    ///
    /// # Errors
    /// A directory would lie too deep.
    fn follow_making(&mut self, from: u32, name: &[u8]) -> Result<Option<u32>, Error> {
        if self.sought.is_some() {
            // A file that was left out may be in the way.
            return Err(refuse(&self.path_of(from).join(name), "it may lead to what was left out"));
        }
        let (mut here, mut n_links) = (from, 0);
        let mut ahead: Vec<Vec<u8>> = vec![name.to_vec()];
        for _ in 0..MAX_LINK_STEPS {
            let Some(name) = ahead.pop() else { return Ok(Some(here)) };
            if name == b".." {
                here = self.nodes[here].parent;
                continue;
            }
            let Some(child) = self.nodes.child(here, &name) else {
                if ahead.iter().any(|name| name == b"..") {
                    return Ok(None);
                }
                here = self.make_implied(here, &name);
                if self.depth(here) >= MAX_COMPONENTS {
                    let path = self.path_of(here);
                    return Err(Error::MalformedEntry { path: path.to_string(), reason: TOO_DEEP });
                }
                continue;
            };
            if self.nodes.is_directory(child) {
                here = child;
                continue;
            }
            let Some(target) = self.nodes.target(child) else { return Ok(None) };
            n_links += 1;
            if n_links > MAX_LINKS {
                return Ok(None);
            }
            if target.starts_with(b"/") {
                here = ROOT;
            }
            ahead.extend(names(target).map(<[u8]>::to_vec));
        }
        Ok(None)
    }

    /// Whether `node` is `top`, or lies below it.
    fn is_at_or_below(&self, node: u32, top: u32) -> bool {
        let mut here = node;
        while here != top && here != ROOT {
            here = self.nodes[here].parent;
        }
        here == top
    }

    /// Gives a directory other attributes.
    pub(super) fn describe(&mut self, node: u32, inode: &Inode) {
        let inode = self.nodes.add_inode(inode);
        self.nodes.set_inode(node, inode);
        self.nodes[node].n_layers = self.n_layers;
    }

    /// Puts an inode that is held under a name. What was there is removed, with everything below it.
    fn put(&mut self, directory: u32, name: &[u8], inode: u32) -> u32 {
        let there = self.nodes.child(directory, name);
        self.put_at(directory, (name, there), inode)
    }

    /// The same where it is known what was there.
    fn put_at(&mut self, directory: u32, (name, there): (&[u8], Option<u32>), inode: u32) -> u32 {
        let node = match there {
            None => self.nodes.insert(directory, name, inode),
            Some(node) => {
                let below = std::mem::replace(&mut self.nodes[node].children, NONE);
                self.discard(below);
                self.nodes.set_inode(node, inode);
                node
            }
        };
        self.nodes[node].n_layers = self.n_layers;
        node
    }

    /// Removes a name and everything below it.
    pub(super) fn remove(&mut self, node: u32) {
        self.nodes.unlink(node);
        self.discard(node);
    }

    /// Frees a node, the siblings below it in the treap, and everything in any of them.
    fn discard(&mut self, top: u32) {
        let mut todo = vec![top];
        while let Some(node) = todo.pop() {
            if node != NONE {
                let Node { before, after, children, .. } = self.nodes[node];
                todo.extend([before, after, children]);
                self.marks.forget(node);
                self.nodes.free(node);
            }
        }
    }

    fn origin(&self) -> Result<Origin, Error> {
        let layer = self.n_layers.saturating_sub(1) as usize;
        Origin::new(layer, self.n_changes).ok_or_else(|| too_large(WEIGHT_LIMIT))
    }
}

fn too_large(limit: u64) -> Error {
    Error::TooLarge { what: "the list of an image's files".to_owned(), limit }
}

pub(super) fn refuse(path: &EntryPath, reason: &'static str) -> Error {
    Error::MalformedEntry { path: path.to_string(), reason }
}

/// The names in a path from a link or a user, in reverse order.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    components(path).rev().filter(|&name| name != b".")
}
