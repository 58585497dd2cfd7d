//! Applies whiteouts. They remove what the lower layers have, and spare what this layer has written.
//!
//! A whiteout before the layer's entries simply removes. A late whiteout walks through what the layer has written there, and
//! removes what is between. It marks each directory as cleared. So every directory is walked at most once a layer, since nothing
//! of the lower layers can come back to it.

use layer_format::layer::{EntryPath, split_last};
use rustix::fs::Dir;

use super::applier::Applier;
use super::layer_paths::{PathHash, PathMarks};
use super::walk::Purpose;
use crate::error::{AtPath, Doing, Error};
use crate::metadata::Leftovers;
use crate::remove;

/// What happens to the attributes of a directory that is cleared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnAttributes {
    /// They stay.
    Keep,
    /// They become those of a directory that no layer describes.
    Renew,
}

impl OwnAttributes {
    /// They stay if the layer has an entry for the directory.
    fn of(marks: PathMarks) -> Self {
        if marks.has(PathMarks::WRITTEN) { Self::Keep } else { Self::Renew }
    }
}

impl Applier {
    /// Removes what the lower layers have at `path`.
    pub(super) fn remove(&mut self, path: &EntryPath) -> Result<(), Error> {
        let Some((parent, name)) = split_last(path.as_bytes()) else {
            return Err(Error::impossible(path, "a whiteout of the root"));
        };
        let taken = PathMarks::LINKED.and(PathMarks::ABOVE_LINKED);
        self.refuse_linked(path, self.layer_paths.hash(parent, name), taken)?;
        if !self.walk.go(parent, Purpose::Whiteout, &self.layer_paths)? {
            return Ok(());
        }
        let hash = self.layer_paths.hash(self.walk.path(), name);
        let marks = self.layer_paths.marks(hash);
        if !marks.spare() {
            return self.walk.remove(name).at_path(path);
        }
        self.refuse_linked(path, hash, taken)?;
        if !self.walk.enter_directory(name)? {
            return Ok(());
        }
        self.clear_here(OwnAttributes::of(marks))
    }

    /// Removes what the lower layers have below the directory `path`.
    pub(super) fn clear_below(&mut self, path: &EntryPath) -> Result<(), Error> {
        self.refuse_linked(
            path,
            self.layer_paths.hash(path.as_bytes(), b""),
            PathMarks::ABOVE_LINKED,
        )?;
        if !self.walk.go(path.as_bytes(), Purpose::Whiteout, &self.layer_paths)? {
            return Ok(());
        }
        self.refuse_linked(
            path,
            self.layer_paths.hash(self.walk.path(), b""),
            PathMarks::ABOVE_LINKED,
        )?;
        self.clear_here(OwnAttributes::Keep)
    }

    /// Removes what the lower layers have below the current directory.
    fn clear_here(&mut self, attributes: OwnAttributes) -> Result<(), Error> {
        let mut todo = vec![(self.walk.path().to_vec(), attributes)];
        while let Some((directory, attributes)) = todo.pop() {
            self.walk.go_back(&directory)?;
            if attributes == OwnAttributes::Renew {
                self.walk.describe_implied(Leftovers::Possible)?;
            }
            let hash = self.layer_paths.hash(&directory, b"");
            if !self.layer_paths.mark(hash, PathMarks::CLEARED).has(PathMarks::CLEARED) {
                self.clear_one(&mut todo)?;
            }
        }
        Ok(())
    }

    /// Clears the current directory, and adds to `todo` the directories in it that this layer has written to.
    fn clear_one(&mut self, todo: &mut Vec<(Vec<u8>, OwnAttributes)>) -> Result<(), Error> {
        const OPERATION: &str = "reading the directory";
        let path = EntryPath::parse(self.walk.path()).unwrap_or_default();
        let mut entries = Dir::read_from(self.walk.fd()).doing(OPERATION).at_path(&path)?;
        while let Some(entry) = entries.read() {
            let entry = entry.doing(OPERATION).at_path(&path)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let marks = self.layer_paths.marks(self.layer_paths.hash(path.as_bytes(), name));
            if !marks.spare() {
                self.walk.remove(name).map_err(|failure| failure.at(self.walk.path_of(name)))?;
            } else if remove::is_directory(self.walk.fd(), name, entry.file_type()) {
                todo.push((path.join(name).as_bytes().to_vec(), OwnAttributes::of(marks)));
            }
        }
        Ok(())
    }

    /// Refuses a whiteout of something that a hard link of the same layer has as its target, even if the layer has replaced it
    /// since. If the whiteout came first, as it counts, the link would have no target.
    fn refuse_linked(
        &self,
        path: &EntryPath,
        hash: PathHash,
        taken: PathMarks,
    ) -> Result<(), Error> {
        if self.layer_paths.marks(hash).has(taken) {
            let reason = "a whiteout of what a hard link of the same layer names";
            return Err(Error::impossible(path, reason));
        }
        Ok(())
    }
}
