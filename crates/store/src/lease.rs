//! Leases: the digests that a program is about to name. The crate's front page says why they are needed.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use layer_format::{Descriptor, Digest, Document};
use report::reason;

use crate::Result;
use crate::blobs::parts;
use crate::edit::Editor;
use crate::error::Error;
use crate::index::Index;
use crate::index_entry::IndexEntry;
use crate::layout;
use crate::locked_file::{self, IfMissing, LockedFile, Taken};
use crate::store::{self, Folder, Store};

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
    /// The lease's file, with one digest a line; locked while the lease lives.
    file: LockedFile,
    entered: HashSet<Digest>,
}

/// The outcome of [`Store::hold`].
#[derive(Debug)]
pub enum Hold {
    /// gc keeps the blobs until this is dropped.
    Held(Lease),
    /// The store can't be written to, for this reason: gc keeps only the blobs that `index.json` leads to.
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

    /// A warning for the user, if the blobs are not held. There is none for a store that is read-only or another user's.
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
    /// Takes a lease, and removes leases and temporary files of killed programs.
    ///
    /// # Errors
    /// [`Error::Io`] if the store can't be written to or locked.
    pub fn lease(&self) -> Result<Lease> {
        if self.beside().is_empty() {
            store::create_folders(self)?;
        } else {
            // Of a list, the first may not be there yet.
            layout::create_missing(self)?;
        }
        let leases = self.folder(Folder::Leases);
        let guard = self.lock()?;
        locked_file::sweep(&leases)?;
        locked_file::sweep(&self.folder(Folder::Temp))?;
        let file = LockedFile::create(&leases)?;
        drop(guard);
        let digests = Mutex::new(Digests { file, entered: HashSet::new() });
        Ok(Lease { inner: Arc::new(Inner { store: self.clone(), digests }) })
    }

    /// Takes a lease for a reader, which keeps these blobs and all that they lead to. Blobs that gc has removed before stay
    /// removed, so look for them afterwards. If the store can't be written to, the reader goes on without a lease: if the image
    /// is removed and a gc runs meanwhile, it finds a blob missing and fails.
    ///
    /// # Errors
    /// As [`lease`](Self::lease), but not that the store can't be written to or locked.
    pub fn hold(&self, digests: &[Digest]) -> Result<Hold> {
        let lease = self.lease().and_then(|lease| lease.protect(digests).map(|()| lease));
        match lease {
            Err(error) if error.is_about_writing() => Ok(Hold::Without(error)),
            lease => lease.map(Hold::Held),
        }
    }

    /// The same for a program that only reads. A layout that Strata has never written to stays as it is, and nothing is held there.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub fn hold_to_look(&self, digests: &[Digest]) -> Result<Option<Hold>> {
        let is_used = self.folder(Folder::Leases).is_dir();
        is_used.then(|| self.hold(digests)).transpose()
    }

    /// The digests in the leases of running programs. The caller must hold the lock.
    pub(crate) fn leased(&self) -> Result<Vec<Digest>> {
        let mut digests = vec![];
        for path in locked_file::list(&self.folder(Folder::Leases))? {
            if let Taken::Busy(file) = LockedFile::take(path.clone(), IfMissing::Leave)? {
                digests.extend(read_lease(file, &path)?);
            }
        }
        Ok(digests)
    }
}

impl Lease {
    /// The store that this is a lease of.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Keeps gc from removing these blobs and all that they lead to, whether they are there already or come later. It waits for
    /// a gc that is running. All other methods do this first; one call for many blobs is cheaper.
    ///
    /// # Errors
    /// [`Error::Io`] if the lease's file can't be written or the store can't be locked.
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

    /// Whether a blob is there, with this size in bytes. If so, it stays while the lease lives.
    pub fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.protect(&[*digest])?;
        self.inner.store.has(digest, size)
    }

    /// Stores a manifest, an index or a config, and returns its digest.
    pub fn put(&self, content: &[u8]) -> Result<Digest> {
        let store = self.store();
        let digest = Digest::of(content);
        self.protect(&[digest])?;
        // Documents are small: they are kept here even if a store beside this one has them.
        if store.has_itself(&digest, content.len() as u64)? {
            return Ok(digest);
        }
        let temp = LockedFile::create(&store.folder(Folder::Temp))?;
        temp.file().write_all(content).map_err(Error::io("writing", temp.path()))?;
        store.place(temp, &digest)?;
        Ok(digest)
    }

    /// Adds images to `index.json`, all at once. A name that another entry has moves to the new one.
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

    /// Protects every blob of the image and checks that it is there.
    fn check(&self, image: &Descriptor) -> Result<()> {
        let store = self.store();
        self.protect(&[image.digest])?;
        if store.has(&image.digest, image.size)? {
            let document = Document::parse(store.document(&image.digest)?)?;
            if let Document::Manifest(manifest) = &document {
                self.protect(&parts(manifest).map(|part| part.digest).collect::<Vec<_>>())?;
            }
            if !store.beside().is_empty() {
                self.adopt(&document)?;
            }
        }
        let missing: Vec<_> = store.missing(image)?.iter().map(|part| part.digest).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::Incomplete { digest: image.digest, missing })
    }
}

impl Lease {
    /// Copies the documents of an image that only a store beside this one has: what is named here can be listed and shown when
    /// that store is away.
    fn adopt(&self, root: &Document) -> Result<()> {
        let mut queue = vec![root.clone()];
        let mut seen = HashSet::new();
        while let Some(document) = queue.pop() {
            let children = match &document {
                Document::Index(index) => {
                    self.put(index.raw())?;
                    index.manifests.clone()
                }
                Document::Manifest(manifest) => {
                    self.put(manifest.raw())?;
                    // An artifact's config may be anything.
                    if let Ok(Some(config)) = self.store().document_if_here(&manifest.config.digest)
                    {
                        self.put(&config)?;
                    }
                    vec![]
                }
            };
            for child in children.into_iter().filter(|child| seen.insert(child.digest)) {
                let raw = self.store().document_if_here(&child.digest)?;
                queue.extend(raw.and_then(|raw| Document::parse(raw).ok()));
            }
        }
        Ok(())
    }
}

fn read_lease(file: File, path: &Path) -> Result<Vec<Digest>> {
    let reason = "a lease that isn't a list of digests";
    let malformed = |_| Error::Malformed { path: path.to_owned(), reason };
    let lines = std::io::read_to_string(file).map_err(Error::io("reading", path))?;
    lines.lines().map(|line| line.parse().map_err(malformed)).collect()
}
