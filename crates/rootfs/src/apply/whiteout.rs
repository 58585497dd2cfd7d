//! Whiteouts: what the lower layers have goes, what this layer has written stays.
//!
//! A whiteout that comes before the layer's entries removes plainly. One that comes late walks what the layer has written
//! there and removes what is between. Every directory is walked once a layer at most: it is marked as cleared then, and
//! nothing of the lower layers can come back to it.

use layer_format::layer::{EntryPath, split_last};
use rustix::fs::Dir;

use super::Applier;
use super::own::{Key, Marks};
use super::walk::Purpose;
use crate::error::{Doing, Error};
use crate::metadata::Leftovers;
use crate::remove;

/// Whether a directory's own attributes go with the lower layers' or stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attributes {
    Keep,
    Renew,
}

impl Attributes {
    /// Those of the layer's own entry stay.
    fn of(marks: Marks) -> Self {
        if marks.has(Marks::WRITTEN) { Self::Keep } else { Self::Renew }
    }
}

impl Applier {
    /// Removes what the lower layers have at `path`.
    pub(super) fn remove(&mut self, path: &EntryPath) -> Result<(), Error> {
        let Some((parent, name)) = split_last(path.as_bytes()) else {
            return Err(Error::impossible(path, "a whiteout of the root"));
        };
        let taken = Marks::LINKED.and(Marks::ABOVE_LINKED);
        self.refuse_linked(path, self.own.key(parent, name), taken)?;
        if !self.walk.go(parent, Purpose::Whiteout, &self.own)? {
            return Ok(());
        }
        let key = self.own.key(self.walk.path(), name);
        let marks = self.own.marks(key);
        if !marks.spare() {
            return self.walk.remove(name).map_err(|failure| failure.at(path.clone()));
        }
        self.refuse_linked(path, key, taken)?;
        if !self.walk.enter_directory(name)? {
            return Ok(());
        }
        self.clear_here(Attributes::of(marks))
    }

    /// Removes what the lower layers have below the directory `path`.
    pub(super) fn clear_below(&mut self, path: &EntryPath) -> Result<(), Error> {
        self.refuse_linked(path, self.own.key(path.as_bytes(), b""), Marks::ABOVE_LINKED)?;
        if !self.walk.go(path.as_bytes(), Purpose::Whiteout, &self.own)? {
            return Ok(());
        }
        self.refuse_linked(path, self.own.key(self.walk.path(), b""), Marks::ABOVE_LINKED)?;
        self.clear_here(Attributes::Keep)
    }

    fn clear_here(&mut self, attributes: Attributes) -> Result<(), Error> {
        let mut todo = vec![(self.walk.path().to_vec(), attributes)];
        while let Some((directory, attributes)) = todo.pop() {
            self.walk.go_back(&directory)?;
            if attributes == Attributes::Renew {
                self.walk.describe_implied(Leftovers::Possible)?;
            }
            let key = self.own.key(&directory, b"");
            if !self.own.mark(key, Marks::CLEARED).has(Marks::CLEARED) {
                self.clear_one(&mut todo)?;
            }
        }
        Ok(())
    }

    /// Clears the directory worked in and adds to `todo` the directories in it that this layer has written to.
    fn clear_one(&mut self, todo: &mut Vec<(Vec<u8>, Attributes)>) -> Result<(), Error> {
        const OPERATION: &str = "reading the directory";
        let path = EntryPath::parse(self.walk.path()).unwrap_or_default();
        let mut entries = Dir::read_from(self.walk.fd())
            .doing(OPERATION)
            .map_err(|failure| failure.at(path.clone()))?;
        while let Some(entry) = entries.read() {
            let entry = entry.doing(OPERATION).map_err(|failure| failure.at(path.clone()))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let marks = self.own.marks(self.own.key(path.as_bytes(), name));
            if !marks.spare() {
                self.walk.remove(name).map_err(|failure| failure.at(self.walk.path_of(name)))?;
            } else if remove::is_directory(self.walk.fd(), name, entry.file_type()) {
                todo.push((path.join(name).as_bytes().to_vec(), Attributes::of(marks)));
            }
        }
        Ok(())
    }

    /// As if the whiteout had come first, a hard link to what it removes is a link to nothing: whatever the layer has put
    /// in the place of that since.
    fn refuse_linked(&self, path: &EntryPath, key: Key, taken: Marks) -> Result<(), Error> {
        if self.own.marks(key).has(taken) {
            let reason = "a whiteout of what a hard link of the same layer names";
            return Err(Error::impossible(path, reason));
        }
        Ok(())
    }
}
