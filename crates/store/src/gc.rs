//! Removing the blobs that nothing leads to. The crate's front page says why that is safe.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use layer_format::Digest;

use crate::index::Index;
use crate::index_entry::IndexEntry;
use crate::locked_file::{self, IfMissing, LockedFile, Taken, is_older};
use crate::partial::from_file_name;
use crate::store::{Folder, Store};
use crate::{Result, notes, reach};

/// How long an interrupted download is kept, so that a program can resume it.
const PARTIAL_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether gc removes what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Remove what nothing needs.
    Remove,
    /// Count what would be removed.
    DryRun,
}

/// What [`Store::gc`] removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// The number of blobs that nothing leads to.
    pub n_blobs: u64,
    /// The number of old downloads and of temporary files that killed programs left.
    pub n_partials: u64,
    /// The number of extracted layers that no union has mounted; [`Store::collect_layers`] counts those.
    pub n_layers: u64,
    /// The size of all of them, in bytes.
    pub bytes: u64,
}

/// Is told each blob that would be removed, with its size in bytes.
type Tell<'a> = &'a mut dyn FnMut(Digest, u64);

impl Store {
    /// Removes every blob that neither an entry of `index.json` nor the lease of a running program leads to, downloads that no
    /// program resumed for a week, and temporary files of killed programs. It waits for the store's lock and holds it while it
    /// removes blobs, so that new leases wait for it.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) or [`Error::MalformedJson`](crate::Error::MalformedJson) if `index.json` or a
    /// lease can't be understood; then no blob was removed. Else a file can't be read or removed.
    pub fn gc(&self, sweep: Sweep) -> Result<Freed> {
        self.collect(sweep, &[], &mut |_, _| ())
    }

    /// Counts what [`gc`](Self::gc) would remove if these entries of `index.json` were removed before, and tells each
    /// blob, with its size in bytes.
    ///
    /// # Errors
    /// As [`gc`](Self::gc).
    pub fn gc_without(&self, entries: &[IndexEntry], tell: Tell<'_>) -> Result<Freed> {
        self.collect(Sweep::DryRun, entries, tell)
    }

    /// Removes or counts what only these entries lead to, or nothing at all.
    fn collect(&self, sweep: Sweep, entries: &[IndexEntry], tell: Tell<'_>) -> Result<Freed> {
        let guard = self.lock()?;
        let kept = self.reachable(entries)?;
        let mut freed = Freed::default();
        for (digest, size) in self.blobs()? {
            if kept.contains(&digest) {
                continue;
            }
            if sweep == Sweep::Remove {
                locked_file::remove(&self.blob_path(&digest))?;
            }
            freed.n_blobs += 1;
            freed.bytes += size;
            tell(digest, size);
        }
        if sweep == Sweep::Remove {
            locked_file::sweep(&self.folder(Folder::Leases))?;
        }
        drop(guard);
        self.sweep_partials(sweep, &mut freed)?;
        if sweep == Sweep::Remove {
            notes::prune(self)?;
        }
        Ok(freed)
    }

    /// Every blob that no entry of `index.json` leads to, with its size in bytes. A running program may be about to name it.
    ///
    /// # Errors
    /// As [`gc`](Self::gc).
    pub fn orphans(&self) -> Result<Vec<(Digest, u64)>> {
        let blobs = self.blobs()?;
        let kept = self.named(Index::read(self)?, vec![])?;
        Ok(blobs.into_iter().filter(|(digest, _)| !kept.contains(digest)).collect())
    }

    /// Every blob that a lease leads to, or `index.json` without these entries. The caller must hold the lock.
    fn reachable(&self, entries: &[IndexEntry]) -> Result<HashSet<Digest>> {
        let index = Index::read(self)?.without(entries, &self.index_path())?;
        let leased = self.leased()?;
        self.named(index, leased)
    }

    /// Every blob that `index.json` or one of these roots leads to.
    fn named(&self, index: Index, mut roots: Vec<Digest>) -> Result<HashSet<Digest>> {
        roots.extend(index.digests(&self.index_path())?);
        let mut kept = reach::closure(self, roots)?;
        // The index that an image was chosen from is kept if it is here, without the images that were not chosen.
        kept.extend(index.into_images().iter().filter_map(IndexEntry::index));
        Ok(kept)
    }

    fn sweep_partials(&self, sweep: Sweep, freed: &mut Freed) -> Result<()> {
        for folder in [Folder::Partial, Folder::Temp] {
            for path in locked_file::list(&self.folder(folder))? {
                let swept = self.sweep_partial(folder, path, sweep)?;
                freed.n_partials += u64::from(swept.is_some());
                freed.bytes += swept.unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Removes a partial or temporary file, unless a running program works on it or one may resume it. Returns its size in bytes
    /// if it was removed, or would be.
    fn sweep_partial(&self, folder: Folder, path: PathBuf, sweep: Sweep) -> Result<Option<u64>> {
        let Taken::Mine(file) = LockedFile::take(path, IfMissing::Leave)? else { return Ok(None) };
        let size = file.size()?;
        let may_be_resumed =
            folder == Folder::Partial && size > 0 && !is_older(&file.metadata()?, PARTIAL_AGE);
        if let Some(digest) = from_file_name(file.path()).filter(|_| may_be_resumed)
            && locked_file::metadata(&self.blob_path(&digest))?.is_none()
        {
            return Ok(None);
        }
        if sweep == Sweep::Remove {
            file.remove()?;
        }
        Ok(Some(size))
    }
}
