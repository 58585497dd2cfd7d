//! Whiteouts: what the lower layers have goes, what this layer has written stays.

use super::inode::Inode;
use super::marks::Mark;
use super::tree::{Purpose, Tree, refuse};
use crate::error::Error;
use crate::layer::{EntryPath, split_last};

/// Whether a directory's own attributes go with the lower layers' or stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attributes {
    Keep,
    Renew,
}

impl Tree {
    /// Removes what the lower layers have at `path`.
    pub(super) fn remove_lower(&mut self, path: &EntryPath) -> Result<(), Error> {
        let Some((parent, name)) = split_last(path.as_bytes()) else {
            return Err(refuse(path, "a whiteout of the root"));
        };
        if self.marks.is_taken(path) || self.marks.is_above_taken(path) {
            return Err(refuse_taken(path));
        }
        let here = self.walk(parent, Purpose::Whiteout)?;
        match here.and_then(|here| self.nodes.child(here, name)) {
            Some(child) if !self.is_spared(child) => self.remove(child),
            Some(child) if self.nodes.is_directory(child) => {
                self.clear(child, self.attributes(child));
            }
            _ => {}
        }
        Ok(())
    }

    /// Removes what the lower layers have below the directory `path`.
    pub(super) fn clear_below(&mut self, path: &EntryPath) -> Result<(), Error> {
        if self.marks.is_above_taken(path) {
            return Err(refuse_taken(path));
        }
        if let Some(directory) = self.walk(path.as_bytes(), Purpose::Whiteout)? {
            self.clear(directory, Attributes::Keep);
        }
        Ok(())
    }

    /// Those of the layer's own entry stay.
    fn attributes(&self, directory: u32) -> Attributes {
        if self.is_written(directory) { Attributes::Keep } else { Attributes::Renew }
    }

    /// Every directory is cleared once a layer at most: nothing of the lower layers can come back to it.
    fn clear(&mut self, directory: u32, attributes: Attributes) {
        let mut todo = vec![(directory, attributes)];
        while let Some((directory, attributes)) = todo.pop() {
            if attributes == Attributes::Renew {
                self.describe(directory, &Inode::implied());
            }
            if self.marks.add(directory, Mark::CLEARED).has(Mark::CLEARED) {
                continue;
            }
            let children = self.nodes.children(directory);
            let (spared, gone): (Vec<_>, Vec<_>) = children.partition(|&it| self.is_spared(it));
            for child in gone {
                self.remove(child);
            }
            let directories = spared.into_iter().filter(|&child| self.nodes.is_directory(child));
            todo.extend(directories.map(|child| (child, self.attributes(child))));
        }
    }
}

/// As if the whiteout had come first, a hard link to what it removes is a link to nothing: whatever the layer has put in
/// the place of that since.
fn refuse_taken(path: &EntryPath) -> Error {
    refuse(path, "a whiteout of what a hard link of the same layer names")
}
