//! Whiteouts: what the lower layers have goes, what this layer has written stays.

use super::marks::Mark;
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
        let Some(here) = self.walk(parent, Purpose::Whiteout)? else { return Ok(()) };
        let mark = self.marks.of(self.marks.key(self.node(here).key, name));
        if !mark.spares() {
            self.remove(here, name);
            return Ok(());
        }
        refuse_linked(path, mark)?;
        match self.child(here, name).filter(|&child| self.is_directory(child)) {
            Some(directory) => self.clear(directory, path, Attributes::of(mark)),
            None => Ok(()),
        }
    }

    /// Removes what the lower layers have below the directory `path`.
    pub(super) fn clear_below(&mut self, path: &EntryPath) -> Result<(), Error> {
        match self.walk(path.as_bytes(), Purpose::Whiteout)? {
            Some(directory) => self.clear(directory, path, Attributes::Keep),
            None => Ok(()),
        }
    }

    /// Every directory is cleared once a layer at most: nothing of the lower layers can come back to it.
    fn clear(
        &mut self,
        directory: u32,
        path: &EntryPath,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let mut todo = vec![(directory, attributes)];
        while let Some((directory, attributes)) = todo.pop() {
            if attributes == Attributes::Renew {
                self.describe(directory, Inode::implied())?;
            }
            let key = self.node(directory).key;
            if self.marks.add(key, Mark::CLEARED).has(Mark::CLEARED) {
                continue;
            }
            for name in self.sort_out(directory, path, &mut todo)? {
                self.remove(directory, &name);
            }
        }
        Ok(())
    }

    /// The names in a directory that go, and into `todo` the directories in it that this layer has written to.
    fn sort_out(
        &self,
        directory: u32,
        path: &EntryPath,
        todo: &mut Vec<(u32, Attributes)>,
    ) -> Result<Vec<Box<[u8]>>, Error> {
        let mut gone = vec![];
        for (name, &child) in &self.node(directory).children {
            let mark = self.marks.of(self.node(child).key);
            refuse_linked(path, mark)?;
            match mark.spares() {
                false => gone.push(name.clone()),
                true if self.is_directory(child) => todo.push((child, Attributes::of(mark))),
                true => {}
            }
        }
        Ok(gone)
    }
}

/// As if the whiteout had come first, a hard link to what it removes is a link to nothing.
fn refuse_linked(path: &EntryPath, mark: Mark) -> Result<(), Error> {
    if mark.has(Mark::LINKED) {
        return Err(refuse(path, "a whiteout of what a hard link of the same layer names"));
    }
    Ok(())
}
