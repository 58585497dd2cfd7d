//! Notes about blobs at registries: the repositories that have a blob, and the address at which an interrupted upload continues.
//! Any may be lost, and none is a secret.

use std::path::PathBuf;

use layer_format::Digest;

use crate::Result;
use crate::locked_file;
use crate::notes;
use crate::partial::file_name;
use crate::store::{Durability, Folder, Store};

/// The most repositories that are remembered for a blob.
const MAX_REPOSITORIES: usize = 16;

impl Store {
    /// The repositories (`host/path`) that were seen to have a blob, the latest first.
    pub fn repositories(&self, blob: &Digest) -> Vec<String> {
        let beside = self.beside().iter().flat_map(|store| store.own_repositories(blob));
        self.own_repositories(blob).into_iter().chain(beside).collect()
    }

    fn own_repositories(&self, blob: &Digest) -> Vec<String> {
        let read = || {
            let text = notes::read(&self.repositories_path(blob))?;
            let (about, names) = text.strip_suffix('\n')?.split_once('\n')?;
            let is_about = about.parse().ok() == Some(*blob);
            is_about.then(|| names.lines().map(str::to_owned).collect())
        };
        read().unwrap_or_default()
    }

    /// Remembers that a repository (`host/path`) has a blob. The caller may ignore an error.
    pub fn note_repository(&self, blob: &Digest, repository: &str) -> Result<()> {
        let mut names = self.own_repositories(blob);
        if names.first().is_some_and(|first| first == repository) {
            return Ok(());
        }
        names.retain(|name| name != repository);
        names.insert(0, repository.to_owned());
        names.truncate(MAX_REPOSITORIES);
        let content = format!("{blob}\n{}\n", names.join("\n"));
        self.replace(&self.repositories_path(blob), content.as_bytes(), Durability::Cached)
    }

    /// The address at which the interrupted upload of a blob to a repository continues, if there is one.
    pub fn upload(&self, repository: &str, blob: &Digest) -> Option<String> {
        let text = notes::read(&self.upload_path(repository, blob))?;
        let address = text.strip_suffix('\n')?.strip_prefix(&format!("{repository} {blob} "))?;
        (!address.is_empty()).then(|| address.to_owned())
    }

    /// Remembers the address at which the upload of a blob continues. The caller may ignore an error.
    pub fn note_upload(&self, repository: &str, blob: &Digest, address: &str) -> Result<()> {
        let content = format!("{repository} {blob} {address}\n");
        self.replace(&self.upload_path(repository, blob), content.as_bytes(), Durability::Cached)
    }

    /// Forgets the upload of a blob, which is over.
    pub fn forget_upload(&self, repository: &str, blob: &Digest) -> Result<()> {
        locked_file::remove(&self.upload_path(repository, blob))
    }

    fn repositories_path(&self, blob: &Digest) -> PathBuf {
        self.folder(Folder::Repositories).join(file_name(blob))
    }

    fn upload_path(&self, repository: &str, blob: &Digest) -> PathBuf {
        let name = Digest::of(format!("{repository} {blob}").as_bytes());
        self.folder(Folder::Uploads).join(name.hex())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_latest_repositories_come_first() {
        let (_dir, store) = Store::temporary();
        let blob = Digest::of(b"blob");
        assert!(store.repositories(&blob).is_empty());
        for name in ["r.test/a", "r.test/b", "r.test/a"] {
            store.note_repository(&blob, name).unwrap();
        }
        assert_eq!(store.repositories(&blob), ["r.test/a", "r.test/b"]);
        for n in 0..MAX_REPOSITORIES {
            store.note_repository(&blob, &format!("r.test/{n}")).unwrap();
        }
        assert_eq!(store.repositories(&blob).len(), MAX_REPOSITORIES);
        let path = store.repositories_path(&blob);
        for damage in
            [String::new(), format!("{blob}\nr.test/a"), format!("{}\na\n", Digest::of(b""))]
        {
            fs::write(&path, damage).unwrap();
            assert!(store.repositories(&blob).is_empty());
        }
    }

    #[test]
    fn an_upload_is_known_by_repository_and_blob() {
        let (_dir, store) = Store::temporary();
        let (blob, other) = (Digest::of(b"blob"), Digest::of(b"other"));
        store
            .note_upload("r.test/a", &blob, "https://r.test/v2/a/blobs/uploads/1?_state=x")
            .unwrap();
        assert_eq!(
            store.upload("r.test/a", &blob).as_deref(),
            Some("https://r.test/v2/a/blobs/uploads/1?_state=x")
        );
        assert_eq!(store.upload("r.test/b", &blob), None);
        assert_eq!(store.upload("r.test/a", &other), None);
        store.forget_upload("r.test/a", &blob).unwrap();
        store.forget_upload("r.test/a", &blob).unwrap();
        assert_eq!(store.upload("r.test/a", &blob), None);
    }
}
