//! Whiteouts remove what the lower layers have, and keep what the current layer has written.

use super::inode::Inode;
use super::marks::Mark;
use super::tree::{Purpose, Tree, refuse};
use crate::error::Error;
use crate::layer::{EntryPath, split_last};

/// Whether a directory keeps its attributes when the lower layers' children are removed from it.
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

    /// A directory keeps its attributes if the current layer has an entry for it.
    fn attributes(&self, directory: u32) -> Attributes {
        if self.is_written(directory) { Attributes::Keep } else { Attributes::Renew }
    }

    /// Clears a directory of the lower layers' children. Each directory is cleared at most once for each layer, because
    /// nothing of the lower layers can come back to it.
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

/// The error for a whiteout of something that a hard link of the same layer names. Whiteouts act as if they came first,
/// so the link would have no target, even if the layer has put something else in its place since.
fn refuse_taken(path: &EntryPath) -> Error {
    refuse(path, "a whiteout of what a hard link of the same layer names")
}
