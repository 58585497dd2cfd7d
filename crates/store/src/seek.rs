//! Seek indexes of layers, by the blob's digest: where in its stored bytes decompressing can begin.
//!
//! A cache: a program that decompresses a layer to its end, and finds that its diff id is right, leaves one.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;

use layer_format::{Digest, SeekIndex};

use crate::Result;
use crate::partial::file_name;
use crate::store::{Durability, Folder, Store};

impl Store {
    /// The seek index of a blob, of this store or of one beside it; `None` if there is no sound one.
    pub fn seek_index(&self, blob: &Digest) -> Option<SeekIndex> {
        let beside = || self.beside().iter().find_map(|store| store.own_seek_index(blob));
        self.own_seek_index(blob).or_else(beside)
    }

    fn own_seek_index(&self, blob: &Digest) -> Option<SeekIndex> {
        let file = File::open(self.seek_path(blob)).ok()?;
        let mut bytes = vec![];
        file.take(stream::seek::LIMIT).read_to_end(&mut bytes).ok()?;
        stream::seek::from_bytes(&bytes, blob)
    }

    /// Whether there is a seek index of a blob here, sound or not.
    pub fn has_seek_index(&self, blob: &Digest) -> bool {
        fs::exists(self.seek_path(blob)).unwrap_or_default()
    }

    /// Keeps the seek index of a blob. The blob must have been read to its end and have this digest, and the uncompressed bytes the
    /// diff id that is claimed. The caller may ignore an error.
    pub fn keep_seek_index(&self, blob: &Digest, index: &SeekIndex) -> Result<()> {
        self.replace(
            &self.seek_path(blob),
            &stream::seek::to_bytes(index, blob),
            Durability::Cached,
        )
    }

    /// Removes the seek index of a blob that has turned out to be wrong.
    pub fn forget_seek_index(&self, blob: &Digest) {
        // The next reader does without, or fails the same way.
        fs::remove_file(self.seek_path(blob)).ok();
    }

    fn seek_path(&self, blob: &Digest) -> PathBuf {
        self.folder(Folder::Seek).join(file_name(blob))
    }
}
