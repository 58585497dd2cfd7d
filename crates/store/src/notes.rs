//! Notes: facts that the store remembers besides images, so that programs need not find them out again. Any may be lost.
//!
//! Each note is a small file. It is named for its subject and also names it inside. A note that is damaged or about something
//! else counts as none.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer_format::{DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::Error;
use crate::locked_file::{self, is_older};
use crate::partial::{file_name, from_file_name};
use crate::store::{Durability, Folder, Store};
use crate::system;

/// The most bytes that a note may have.
const LIMIT: u64 = 16 << 10;
/// How long a note is kept whose subject can't be found.
const AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The identity of a directory, which stays when the directory is moved. A later directory may get the same inode number, but
/// not the same time of birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryId {
    device: u64,
    inode: u64,
    /// When it was made, as seconds and nanoseconds since 1970; `None` if the file system doesn't know.
    born: Option<(i64, u32)>,
}

/// The image that a directory was unpacked from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The digest of the image's manifest.
    pub manifest: Digest,
    /// The name by which the user asked for the image, if it was a name.
    pub name: Option<String>,
    /// The path of the directory at that time.
    pub path: PathBuf,
    /// Whether devices of the image are missing because they could not be made.
    #[serde(default)]
    pub lacks_devices: bool,
    /// Whether attributes of the image are not there, since the file system has none, or said so.
    #[serde(default)]
    pub lacks_xattrs: bool,
    /// The options by which ids on the disk are others than in the image: `--uid-map 0:100000:65536`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_maps: Option<String>,
}

/// A note about a directory, as the file has it.
#[derive(Serialize, Deserialize)]
struct DirectoryNote {
    #[serde(rename = "target")]
    directory: DirectoryId,
    origin: Origin,
    #[serde(default)]
    holds: Holds,
}

/// What part of an image a directory holds. The two must not be mixed up: a snapshot that took a union's upper directory for a
/// whole tree would count all other files as deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Holds {
    /// All files of the image.
    #[default]
    Tree,
    /// Changes to the image's files.
    Changes,
}

impl DirectoryId {
    /// The identity of an open directory.
    pub fn of(dir: impl AsFd) -> Result<Self> {
        let found = system::identity(dir).map_err(Error::io("looking at", Path::new(".")))?;
        let (device, inode, born) = found;
        Ok(Self { device, inode, born })
    }
}

impl Store {
    /// The diff id that a blob was once found to have. Its bytes and what they decompress to were both hashed then.
    pub fn diff_id_of(&self, blob: &Digest) -> Option<DiffId> {
        let beside = || self.beside().iter().find_map(|store| store.diff_id_of(blob));
        self.own_diff_id_of(blob).or_else(beside)
    }

    fn own_diff_id_of(&self, blob: &Digest) -> Option<DiffId> {
        let text = read(&self.folder(Folder::Pairs).join(file_name(blob)))?;
        let (about, diff_id) = text.strip_suffix('\n')?.split_once(' ')?;
        let diff_id = diff_id.parse().ok()?;
        (about.parse().ok() == Some(*blob)).then_some(DiffId(diff_id))
    }

    /// Remembers that a blob and its decompressed bytes were hashed, with these results. The caller may ignore an error.
    pub(crate) fn note_diff_id(&self, blob: &Digest, diff_id: &DiffId) -> Result<()> {
        let path = self.folder(Folder::Pairs).join(file_name(blob));
        self.replace(&path, format!("{blob} {diff_id}\n").as_bytes(), Durability::Cached)
    }

    /// The image that a directory was unpacked from, if that was noted.
    pub fn origin(&self, directory: &DirectoryId) -> Option<Origin> {
        self.noted(directory, Holds::Tree)
    }

    /// Notes which image a directory was unpacked from. The caller may ignore an error.
    pub fn note_origin(&self, directory: &DirectoryId, origin: &Origin) -> Result<()> {
        self.note(directory, origin, Holds::Tree)
    }

    /// The image below a union with this upper directory, if that was noted.
    pub fn changed_image(&self, upper: &DirectoryId) -> Option<Origin> {
        self.noted(upper, Holds::Changes)
    }

    /// Notes which image is below a union with this upper directory. The caller may ignore an error.
    pub fn note_changed_image(&self, upper: &DirectoryId, image: &Origin) -> Result<()> {
        self.note(upper, image, Holds::Changes)
    }

    fn noted(&self, directory: &DirectoryId, holds: Holds) -> Option<Origin> {
        let note: DirectoryNote =
            serde_json::from_str(&read(&self.directory_note_path(directory))?).ok()?;
        (note.directory == *directory && note.holds == holds).then_some(note.origin)
    }

    fn note(&self, directory: &DirectoryId, origin: &Origin, holds: Holds) -> Result<()> {
        let path = self.directory_note_path(directory);
        let note = DirectoryNote { directory: *directory, origin: origin.clone(), holds };
        let content = serde_json::to_vec(&note)
            .map_err(|source| Error::MalformedJson { path: path.clone(), source })?;
        self.replace(&path, &content, Durability::Cached)
    }

    fn directory_note_path(&self, directory: &DirectoryId) -> PathBuf {
        let name = format!("{:x}-{:x}.json", directory.device, directory.inode);
        self.folder(Folder::Targets).join(name)
    }
}

/// Removes old listings and uploads, old notes about blobs that are gone, and old notes about directories that are no longer
/// where they were.
pub(crate) fn prune(store: &Store) -> Result<()> {
    let has_blob = |path: &Path| {
        from_file_name(path).is_some_and(|blob| fs::exists(store.blob_path(&blob)).unwrap_or(true))
    };
    let has_directory = |path: &Path| {
        let note = read(path).and_then(|text| serde_json::from_str::<DirectoryNote>(&text).ok());
        // A directory that can't be looked at may exist: it may be another user's.
        note.is_some_and(|note| match fs::metadata(&note.origin.path) {
            Ok(it) => it.ino() == note.directory.inode,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        })
    };
    prune_folder(&store.folder(Folder::Listing), |_| false)?;
    for folder in [Folder::Pairs, Folder::Repositories, Folder::Seek] {
        prune_folder(&store.folder(folder), has_blob)?;
    }
    prune_folder(&store.folder(Folder::Uploads), |_| false)?;
    prune_folder(&store.folder(Folder::Targets), has_directory)
}

fn prune_folder(folder: &Path, is_of_use: impl Fn(&Path) -> bool) -> Result<()> {
    for path in locked_file::list(folder)? {
        let is_old = fs::metadata(&path).is_ok_and(|metadata| is_older(&metadata, AGE));
        if is_old && !is_of_use(&path) {
            locked_file::remove(&path)?;
        }
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_remembered_and_damage_forgotten() {
        let (_dir, store) = Store::temporary();
        let (blob, other) = (Digest::of(b"blob"), Digest::of(b"other"));
        let diff_id = DiffId(Digest::of(b"diff"));
        assert_eq!(store.diff_id_of(&blob), None);
        store.note_diff_id(&blob, &diff_id).unwrap();
        assert_eq!(store.diff_id_of(&blob), Some(diff_id));
        let path = store.folder(Folder::Pairs).join(file_name(&blob));
        fs::rename(&path, store.folder(Folder::Pairs).join(file_name(&other))).unwrap();
        assert_eq!(store.diff_id_of(&other), None);
        for damage in [String::new(), format!("{blob} {diff_id}"), format!("{blob} \0\n")] {
            fs::write(&path, damage).unwrap();
            assert_eq!(store.diff_id_of(&blob), None);
        }
    }

    #[test]
    fn changes_to_an_image_are_not_its_files() {
        let (dir, store) = Store::temporary();
        let target = DirectoryId::of(File::open(dir.path()).unwrap()).unwrap();
        let (manifest, path) = (Digest::of(b"manifest"), dir.path().to_owned());
        let origin = Origin {
            manifest,
            name: None,
            path,
            lacks_devices: false,
            lacks_xattrs: false,
            id_maps: None,
        };
        store.note_changed_image(&target, &origin).unwrap();
        assert_eq!(
            (store.changed_image(&target), store.origin(&target)),
            (Some(origin.clone()), None)
        );
        store.note_origin(&target, &origin).unwrap();
        assert_eq!((store.changed_image(&target), store.origin(&target)), (None, Some(origin)));
    }

    #[test]
    fn a_directory_is_known_by_inode_and_birth() {
        let (dir, store) = Store::temporary();
        let path = dir.path().join("root");
        fs::create_dir(&path).unwrap();
        let target = DirectoryId::of(File::open(&path).unwrap()).unwrap();
        let manifest = Digest::of(b"");
        let origin = Origin {
            manifest,
            name: Some("nginx".to_owned()),
            path: path.clone(),
            lacks_devices: true,
            lacks_xattrs: true,
            id_maps: Some("--uid-map 0:7:9".to_owned()),
        };
        assert_eq!(store.origin(&target), None);
        store.note_origin(&target, &origin).unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let moved = DirectoryId::of(File::open(dir.path().join("moved")).unwrap()).unwrap();
        assert_eq!(store.origin(&moved), Some(origin));
        assert_eq!(store.origin(&DirectoryId { born: Some((1, 2)), ..target }), None);
    }
}
