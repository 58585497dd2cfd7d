//! Whiteouts: what the lower layers have goes, what this layer has written stays.

use super::marks::{Key, Mark};
use super::node::Inode;
use super::tree::{Purpose, Tree, refuse, split};
use crate::error::Error;
use crate::layer::EntryPath;

/// Whether a directory's own attributes go with the lower layers' or stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attributes {
    Keep,
    Renew,
}

impl Attributes {
    /// Those of the layer's own entry stay.
    fn of(mark: Mark) -> Self {
        if mark.has(Mark::WRITTEN) { Self::Keep } else { Self::Renew }
    }
}

impl Tree {
    /// Removes what the lower layers have at `path`.
    pub(super) fn remove_lower(&mut self, path: &EntryPath) -> Result<(), Error> {
        let Some((parent, name)) = split(path.as_bytes()) else {
            return Err(refuse(path, "a whiteout of the root"));
        };
        self.refuse_linked(path, Mark::LINKED.and(Mark::ABOVE_LINKED))?;
        let Some(here) = self.walk(parent, Purpose::Whiteout)? else { return Ok(()) };
        let mark = self.marks.of(self.marks.key(self.node(here).key, name));
        if !mark.spares() {
            self.remove(here, name);
            return Ok(());
        }
        match self.child(here, name).filter(|&child| self.is_directory(child)) {
            Some(directory) => self.clear(directory, Attributes::of(mark)),
            None => Ok(()),
        }
    }

    /// Removes what the lower layers have below the directory `path`.
    pub(super) fn clear_below(&mut self, path: &EntryPath) -> Result<(), Error> {
        self.refuse_linked(path, Mark::ABOVE_LINKED)?;
        match self.walk(path.as_bytes(), Purpose::Whiteout)? {
            Some(directory) => self.clear(directory, Attributes::Keep),
            None => Ok(()),
        }
    }

    /// Every directory is cleared once a layer at most: nothing of the lower layers can come back to it.
    fn clear(&mut self, directory: u32, attributes: Attributes) -> Result<(), Error> {
        let mut todo = vec![(directory, attributes)];
        while let Some((directory, attributes)) = todo.pop() {
            if attributes == Attributes::Renew {
                self.describe(directory, Inode::implied())?;
            }
            let key = self.node(directory).key;
            if self.marks.add(key, Mark::CLEARED).has(Mark::CLEARED) {
                continue;
            }
            for name in self.sort_out(directory, &mut todo) {
                self.remove(directory, &name);
            }
        }
        Ok(())
    }

    /// The names in a directory that go, and into `todo` the directories in it that this layer has written to.
    fn sort_out(&self, directory: u32, todo: &mut Vec<(u32, Attributes)>) -> Vec<Box<[u8]>> {
        let mut gone = vec![];
        for (name, &child) in self.node(directory).children() {
            let mark = self.marks.of(self.node(child).key);
            match mark.spares() {
                false => gone.push(name.clone()),
                true if self.is_directory(child) => todo.push((child, Attributes::of(mark))),
                true => {}
            }
        }
        gone
    }

    /// As if the whiteout had come first, a hard link to what it removes is a link to nothing: whatever the layer has put
    /// in the place of that since.
    fn refuse_linked(&self, path: &EntryPath, taken: Mark) -> Result<(), Error> {
        let key = path.components().fold(Key::default(), |key, name| self.marks.key(key, name));
        if self.marks.of(key).has(taken) {
            return Err(refuse(path, "a whiteout of what a hard link of the same layer names"));
        }
        Ok(())
    }
}
