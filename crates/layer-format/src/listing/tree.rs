//! The merged tree: entries over entries.

use std::io::BufRead;
use std::sync::Arc;

use super::items::{Items, Place};
use super::marks::{Key, Mark, Marks};
use super::node::{Inode, Node, Origin};
use crate::error::Error;
use crate::layer::{Change, Entry, EntryKind, EntryPath, Reader, impossible};

/// About how many bytes a tree may take: ten times what the largest images need.
pub const WEIGHT_LIMIT: u64 = 2 << 30;

/// The limits of `rootfs` on links that are followed.
const MAX_LINKS: usize = 40;
const MAX_LINK_STEPS: usize = 4096;

/// The root's place among the nodes.
pub(super) const ROOT: u32 = 0;

/// What a path is walked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To write there: what is missing is made, what is in the way gives way.
    Write,
    /// To find what a hard link names.
    LinkTarget,
    /// To remove what the lower layers have.
    Whiteout,
}

/// An image's file system without contents, as far as its layers have been taken in.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Nodes that nothing leads to any more.
    free: Vec<u32>,
    pub(super) marks: Marks,
    n_layers: u32,
    n_changes: u64,
    weight: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// The tree of no layers.
    pub fn new() -> Self {
        let root = Node {
            parent: ROOT,
            key: Key::default(),
            n_layers: 0,
            inode: Arc::new(Inode::implied()),
            children: None,
        };
        let (free, marks) = (vec![], Marks::default());
        Self { nodes: vec![root], free, marks, n_layers: 0, n_changes: 0, weight: 0 }
    }

    /// Takes in a whole layer, to its end.
    pub fn add_layer(&mut self, layer: &mut Reader<impl BufRead>) -> Result<(), Error> {
        self.begin_layer();
        while let Some(change) = layer.read_change()? {
            self.apply(&change)?;
        }
        self.end_layer();
        Ok(())
    }

    /// Begins a layer: what is there now is the lower layers'.
    pub fn begin_layer(&mut self) {
        self.marks.forget();
        self.n_layers += 1;
        self.n_changes = 0;
    }

    /// Ends the layer: what had to be known to judge its whiteouts is let go.
    pub fn end_layer(&mut self) {
        self.marks.forget();
    }

    /// Takes in one change of the layer begun last.
    ///
    /// # Errors
    /// For what can't be unpacked either, and beyond [`WEIGHT_LIMIT`].
    pub fn apply(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Add(entry) => self.add(entry)?,
            Change::Remove(path) => self.remove_lower(path)?,
            Change::Opaque(path) => self.clear_below(path)?,
        }
        self.n_changes += 1;
        Ok(())
    }

    /// How many names there are, the root among them.
    pub fn n_names(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Everything in it, directories before what is in them and names in the order of their bytes; the root first.
    pub fn items(&self) -> Items<'_> {
        Items::of(self)
    }

    /// The root, from which every name is reached.
    pub fn root(&self) -> Place<'_> {
        Place::root(self)
    }

    /// What is at `path`, every symbolic link on the way followed beneath the root, the last one too.
    pub fn find(&self, path: &[u8]) -> Option<&Arc<Inode>> {
        self.resolve(ROOT, path).map(|node| &self.node(node).inode)
    }

    fn add(&mut self, entry: &Entry) -> Result<(), Error> {
        if let Some(reason) = impossible(entry) {
            return Err(refuse(&entry.path, reason));
        }
        let Some((parent, name)) = split(entry.path.as_bytes()) else {
            if entry.kind != EntryKind::Directory {
                return Err(refuse(&entry.path, "the root can only be a directory"));
            }
            self.marks.add(Key::default(), Mark::ABOVE);
            return self.describe(ROOT, Inode::of(entry, self.origin()?));
        };
        let Some(here) = self.walk(parent, Purpose::Write)? else { return Ok(()) };
        if let EntryKind::Hardlink { target } = &entry.kind {
            return self.add_link(here, name, &entry.path, target);
        }
        self.mark(here, name);
        let inode = Inode::of(entry, self.origin()?);
        match self.child(here, name) {
            Some(child) if inode.is_directory() && self.is_directory(child) => {
                self.describe(child, inode)
            }
            _ => {
                self.remove(here, name);
                self.insert(here, name, Arc::new(inode)).map(|_| ())
            }
        }
    }

    fn add_link(
        &mut self,
        here: u32,
        name: &[u8],
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<(), Error> {
        let Some((target_parent, target_name)) = split(target.as_bytes()) else {
            return Err(refuse(path, "a hard link to the root"));
        };
        let there = self.walk(target_parent, Purpose::LinkTarget)?;
        let found = there.and_then(|there| Some((there, self.child(there, target_name)?)));
        let Some((there, held)) = found else {
            return Err(refuse(path, "a hard link to what isn't there"));
        };
        if self.is_directory(held) {
            return Err(refuse(path, "a hard link to a directory"));
        }
        if self.child(here, name).is_some_and(|child| self.is_at_or_below(there, child)) {
            return Err(refuse(path, "a hard link to what makes way for it"));
        }
        let key = self.node(held).key;
        if !self.marks.of(key).has(Mark::WRITTEN) {
            self.mark_way(there, Mark::ABOVE.and(Mark::ABOVE_LINKED));
            self.marks.add(key, Mark::LINKED);
        }
        let inode = self.node(held).inode.clone();
        self.mark(here, name);
        self.remove(here, name);
        self.insert(here, name, inode).map(|_| ())
    }

    /// Goes to the directory at `path`. With [`Purpose::Write`] it gets there.
    pub(super) fn walk(&mut self, path: &[u8], purpose: Purpose) -> Result<Option<u32>, Error> {
        let mut here = ROOT;
        for name in components(path) {
            let child = self.child(here, name);
            let directory = child.filter(|&child| self.is_directory(child)).or_else(|| {
                let key = self.node(child?).key;
                let follows = purpose != Purpose::Whiteout && self.marks.of(key).has(Mark::WRITTEN);
                follows.then(|| self.follow(here, name)).flatten()
            });
            here = match directory {
                Some(directory) => directory,
                None if purpose != Purpose::Write => return Ok(None),
                None => {
                    self.remove(here, name);
                    self.insert(here, name, Arc::new(Inode::implied()))?
                }
            };
        }
        Ok(Some(here))
    }

    /// The directory that the link `name` leads to beneath the root.
    fn follow(&self, here: u32, name: &[u8]) -> Option<u32> {
        self.resolve(here, name).filter(|&node| self.is_directory(node))
    }

    fn resolve(&self, from: u32, path: &[u8]) -> Option<u32> {
        let mut here = from;
        let mut ahead: Vec<&[u8]> = names(path).collect();
        let mut n_links = 0;
        for _ in 0..MAX_LINK_STEPS {
            let Some(name) = ahead.pop() else { return Some(here) };
            if !self.is_directory(here) {
                return None;
            }
            if name == b".." {
                here = self.node(here).parent;
                continue;
            }
            let child = self.child(here, name)?;
            let EntryKind::Symlink { target } = &self.node(child).inode.kind else {
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

    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    pub(super) fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        self.node(directory).children().get(name).copied()
    }

    pub(super) fn is_directory(&self, node: u32) -> bool {
        self.node(node).inode.is_directory()
    }

    /// Whether `node` is `top`, or below it.
    fn is_at_or_below(&self, node: u32, top: u32) -> bool {
        let mut here = node;
        while here != top && here != ROOT {
            here = self.node(here).parent;
        }
        here == top
    }

    /// Gives a directory other attributes.
    pub(super) fn describe(&mut self, node: u32, inode: Inode) -> Result<(), Error> {
        let n_layers = self.n_layers;
        let slot = &mut self.nodes[node as usize];
        let before = slot.weight();
        slot.inode = Arc::new(inode);
        slot.n_layers = n_layers;
        let after = slot.weight();
        self.weigh(before, after)
    }

    /// Takes out a name with all below it.
    pub(super) fn remove(&mut self, directory: u32, name: &[u8]) {
        let children = self.nodes[directory as usize].children.as_mut();
        let Some(first) = children.and_then(|children| children.remove(name)) else { return };
        self.weight = self.weight.saturating_sub(name.len() as u64);
        let mut gone = vec![first];
        while let Some(node) = gone.pop() {
            let slot = &mut self.nodes[node as usize];
            self.weight = self.weight.saturating_sub(slot.weight());
            // It may be the last hold on the inode.
            slot.inode = Arc::new(Inode::implied());
            for (name, child) in slot.children.take().into_iter().flat_map(|it| *it) {
                self.weight = self.weight.saturating_sub(name.len() as u64);
                gone.push(child);
            }
            self.free.push(node);
        }
    }

    fn insert(&mut self, directory: u32, name: &[u8], inode: Arc<Inode>) -> Result<u32, Error> {
        let key = self.marks.key(self.node(directory).key, name);
        let n_layers = self.n_layers;
        let node = Node { parent: directory, key, n_layers, inode, children: None };
        self.weigh(0, node.weight() + name.len() as u64)?;
        let place = if let Some(place) = self.free.pop() {
            self.nodes[place as usize] = node;
            place
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).expect("the limit allows fewer nodes")
        };
        let children = &mut self.nodes[directory as usize].children;
        children.get_or_insert_default().insert(name.into(), place);
        Ok(place)
    }

    fn weigh(&mut self, before: u64, after: u64) -> Result<(), Error> {
        self.weight = self.weight.saturating_sub(before) + after;
        if self.weight > WEIGHT_LIMIT {
            return Err(too_large());
        }
        Ok(())
    }

    /// Notes that the layer has written `name` in a directory.
    fn mark(&mut self, directory: u32, name: &[u8]) {
        self.mark_above(directory);
        let key = self.marks.key(self.node(directory).key, name);
        self.marks.add(key, Mark::WRITTEN);
    }

    /// Marks a directory and everything above it as being above an entry.
    fn mark_above(&mut self, directory: u32) {
        self.mark_way(directory, Mark::ABOVE);
    }

    fn mark_way(&mut self, directory: u32, marks: Mark) {
        let mut here = directory;
        loop {
            let before = self.marks.add(self.node(here).key, marks);
            if before.has_all(marks) || here == ROOT {
                return;
            }
            here = self.node(here).parent;
        }
    }

    fn origin(&self) -> Result<Origin, Error> {
        let layer = self.n_layers.saturating_sub(1) as usize;
        Origin::new(layer, self.n_changes).ok_or_else(too_large)
    }
}

fn too_large() -> Error {
    let what = "the list of an image's files".to_owned();
    Error::TooLarge { what, limit: WEIGHT_LIMIT }
}

pub(super) fn refuse(path: &EntryPath, reason: &'static str) -> Error {
    Error::MalformedEntry { path: path.to_string(), reason }
}

/// A path's directory and last name; `None` for the root.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

/// The names that a link or a person gives, last one first.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    components(path).rev().filter(|&name| name != b".")
}
