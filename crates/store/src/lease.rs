//! Leases: what a program is about to name (see the crate's front page for why).

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use layer_format::text::reason;
use layer_format::{Descriptor, Digest, Document};

use crate::Result;
use crate::blobs::parts;
use crate::edit::Editor;
use crate::error::Error;
use crate::index::Index;
use crate::index_entry::IndexEntry;
use crate::layout;
use crate::owned::{self, IfMissing, Owned, Taken};
use crate::store::{Folder, Store};

/// The right to write into a store. Until the last clone is dropped, gc keeps every blob that was asked for through it,
/// and all that those lead to.
#[derive(Clone, Debug)]
pub struct Lease {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    digests: Mutex<Digests>,
}

#[derive(Debug)]
struct Digests {
    /// One digest a line; locked while we live.
    file: Owned,
    entered: HashSet<Digest>,
}

/// What came of [`Store::hold`].
#[derive(Debug)]
pub enum Hold {
    /// gc keeps the blobs until this is dropped.
    Held(Lease),
    /// Nothing can be written, and why: gc keeps only what `index.json` names.
    Without(Error),
}

impl Hold {
    /// The lease, if there is one.
    pub fn lease(self) -> Option<Lease> {
        match self {
            Self::Held(lease) => Some(lease),
            Self::Without(_) => None,
        }
    }

    /// What the user should know of. That a store is read-only, or another user's, is as it was meant to be.
    pub fn warning(&self) -> Option<String> {
        let Self::Without(error) = self else { return None };
        if error.is_read_only() || error.is_about_permission() {
            return None;
        }
        let cause = std::error::Error::source(error).map(|cause| {
            let cause = cause.downcast_ref().map_or_else(|| cause.to_string(), reason);
            format!(": {cause}")
        });
        let cause = cause.unwrap_or_default();
        Some(format!("nothing keeps gc from the image meanwhile: {error}{cause}"))
    }
}

impl Store {
    /// Takes a lease, and sweeps away what killed programs left behind.
    pub fn lease(&self) -> Result<Lease> {
        layout::create_folders(self)?;
        let leases = self.folder(Folder::Leases);
        let guard = self.lock()?;
        owned::sweep(&leases)?;
        owned::sweep(&self.folder(Folder::Temp))?;
        let file = Owned::create(&leases)?;
        drop(guard);
        let digests = Mutex::new(Digests { file, entered: HashSet::new() });
        Ok(Lease { inner: Arc::new(Inner { store: self.clone(), digests }) })
    }

    /// A lease for a reader: keeps these blobs and all that they lead to, as far as they are still there; look for them
    /// afterwards. A reader can do without where the store can't be written to: if the image is removed and a gc runs
    /// meanwhile, it finds a blob missing and fails.
    pub fn hold(&self, digests: &[Digest]) -> Result<Hold> {
        let lease = self.lease().and_then(|lease| lease.protect(digests).map(|()| lease));
        match lease {
            Err(error) if error.is_about_writing() => Ok(Hold::Without(error)),
            lease => lease.map(Hold::Held),
        }
    }

    /// The same for who only looks: a layout that no program of ours has written to stays as it is, and nothing is held there.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub fn hold_to_look(&self, digests: &[Digest]) -> Result<Option<Hold>> {
        let is_used = self.folder(Folder::Leases).is_dir();
        is_used.then(|| self.hold(digests)).transpose()
    }

    /// What running programs are about to name. The lock must be held.
    pub(crate) fn leased(&self) -> Result<Vec<Digest>> {
        let mut digests = vec![];
        for path in owned::list(&self.folder(Folder::Leases))? {
            if let Taken::Busy(file) = Owned::take(path.clone(), IfMissing::Leave)? {
                digests.extend(read_lease(file, &path)?);
            }
        }
        Ok(digests)
    }
}

impl Lease {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Keeps gc from these blobs, whether they are there or still to come, and from all that they lead to. Everything else
    /// here does so first; one call for many is cheaper. It waits for a gc that is at work.
    pub fn protect(&self, digests: &[Digest]) -> Result<()> {
        let mut known = self.inner.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh: HashSet<Digest> =
            digests.iter().filter(|digest| !known.entered.contains(digest)).copied().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let lines = fresh.iter().flat_map(|digest| [digest.to_string(), "\n".to_owned()]);
        let lines: String = lines.collect();
        let _guard = self.inner.store.lock()?;
        let size = known.file.size()?;
        if let Err(error) = known.file.file().write_all(lines.as_bytes()) {
            // Half a line would be taken for damage.
            known.file.cut(size)?;
            return Err(Error::io("writing", known.file.path())(error));
        }
        known.entered.extend(fresh);
        Ok(())
    }

    /// Whether a blob is there, with this size. If so it stays while the lease lives.
    pub fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.protect(&[*digest])?;
        self.inner.store.has(digest, size)
    }

    /// Stores a manifest, an index or a config.
    pub fn put(&self, content: &[u8]) -> Result<Digest> {
        let store = self.store();
        let digest = Digest::of(content);
        if self.has(&digest, content.len() as u64)? {
            return Ok(digest);
        }
        let temp = Owned::create(&store.folder(Folder::Temp))?;
        temp.file().write_all(content).map_err(Error::io("writing", temp.path()))?;
        store.place(temp, &digest)?;
        Ok(digest)
    }

    /// Enters images into `index.json`, all at once. A name moves from the entry that has it, which stays without one.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if an image lacks a blob; then nothing has changed.
    pub fn name(&self, images: &[IndexEntry]) -> Result<()> {
        images.iter().try_for_each(|image| self.check(&image.descriptor))?;
        let store = self.store();
        store.sync_names_of_blobs()?;
        let _guard = store.lock()?;
        let mut editor = Editor::new(Index::read(store)?);
        for image in images {
            editor.put(image.clone());
        }
        editor.finish().write(store)
    }

    /// Enters every blob of the image and sees that it is there.
    fn check(&self, image: &Descriptor) -> Result<()> {
        let store = self.store();
        self.protect(&[image.digest])?;
        if store.has(&image.digest, image.size)? {
            let document = Document::parse(store.document(&image.digest)?)?;
            if let Document::Manifest(manifest) = &document {
                self.protect(&parts(manifest).map(|part| part.digest).collect::<Vec<_>>())?;
            }
        }
        let missing: Vec<_> = store.missing(image)?.iter().map(|part| part.digest).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Incomplete { digest: image.digest, missing })
    }
}

fn read_lease(file: File, path: &Path) -> Result<Vec<Digest>> {
    let reason = "a lease that isn't a list of digests";
    let malformed = |_| Error::Malformed { path: path.to_owned(), reason };
    let lines = std::io::read_to_string(file).map_err(Error::io("reading", path))?;
    lines.lines().map(|line| line.parse().map_err(malformed)).collect()
}
