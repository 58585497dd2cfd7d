//! Removing what nothing leads to. Why that is safe stands on the crate's front page.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use layer_format::Digest;

use crate::index::Index;
use crate::owned::{self, IfMissing, Owned, Taken};
use crate::partial::from_file_name;
use crate::store::{Folder, Store};
use crate::{Result, notes, reach};

/// How long an abandoned download is kept for someone to resume.
const PARTIAL_AGE: Duration = Duration::from_hours(7 * 24);

/// Whether to remove, or only to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Remove it.
    Remove,
    /// Count what would be removed.
    DryRun,
}

/// What [`Store::gc`] removed, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Blobs that nothing led to.
    pub n_blobs: u64,
    /// Old downloads and what killed programs left.
    pub n_partials: u64,
    /// Extracted layers that nobody has mounted; [`Store::collect_layers`] counts those.
    pub n_layers: u64,
    /// Bytes of all.
    pub bytes: u64,
}

impl Store {
    /// Removes every blob that neither an entry of `index.json` nor the lease of a running program leads to, downloads that nobody
    /// took up for a week, and what killed programs left. Leases are waited for, and wait, while it works.
    pub fn gc(&self, sweep: Sweep) -> Result<Freed> {
        let guard = self.lock()?;
        let kept = self.reachable()?;
        let mut freed = Freed::default();
        for (digest, size) in self.blobs()? {
            if kept.contains(&digest) {
                continue;
            }
            if sweep == Sweep::Remove {
                owned::remove(&self.blob_path(&digest))?;
            }
            freed.n_blobs += 1;
            freed.bytes += size;
        }
        if sweep == Sweep::Remove {
            owned::sweep(&self.folder(Folder::Leases))?;
        }
        drop(guard);
        self.sweep_partials(sweep, &mut freed)?;
        if sweep == Sweep::Remove {
            notes::prune(self)?;
        }
        Ok(freed)
    }

    /// Every blob, with its size, that no entry of `index.json` leads to. A running program may be about to name it.
    pub fn orphans(&self) -> Result<Vec<(Digest, u64)>> {
        let blobs = self.blobs()?;
        let kept = self.named(Index::read(self)?, vec![])?;
        Ok(blobs.into_iter().filter(|(digest, _)| !kept.contains(digest)).collect())
    }

    /// All that must stay: what `index.json` and the leases lead to. The lock must be held.
    fn reachable(&self) -> Result<HashSet<Digest>> {
        let index = Index::read(self)?;
        let leased = self.leased()?;
        self.named(index, leased)
    }

    /// What `index.json` and these roots lead to.
    fn named(&self, index: Index, mut roots: Vec<Digest>) -> Result<HashSet<Digest>> {
        roots.extend(index.digests(&self.index_path())?);
        let mut kept = reach::closure(self, roots)?;
        // The index that an image was chosen from is kept if it is here, without the images that were not chosen.
        kept.extend(index.into_images().iter().filter_map(crate::IndexEntry::index));
        Ok(kept)
    }

    fn sweep_partials(&self, sweep: Sweep, freed: &mut Freed) -> Result<()> {
        for folder in [Folder::Partial, Folder::Temp] {
            for path in owned::list(&self.folder(folder))? {
                let swept = self.sweep_partial(folder, path, sweep)?;
                freed.n_partials += u64::from(swept.is_some());
                freed.bytes += swept.unwrap_or_default();
            }
        }
        Ok(())
    }

    /// The size of a file that no running program has and nobody will want.
    fn sweep_partial(&self, folder: Folder, path: PathBuf, sweep: Sweep) -> Result<Option<u64>> {
        let Taken::Mine(file) = Owned::take(path, IfMissing::Leave)? else { return Ok(None) };
        let size = file.size()?;
        let may_be_resumed =
            folder == Folder::Partial && size > 0 && !is_older(&file.metadata()?, PARTIAL_AGE);
        if let Some(digest) = from_file_name(file.path()).filter(|_| may_be_resumed)
            && owned::metadata(&self.blob_path(&digest))?.is_none()
        {
            return Ok(None);
        }
        if sweep == Sweep::Remove {
            file.remove()?;
        }
        Ok(Some(size))
    }
}

/// Whether a file was last written so long ago.
pub(crate) fn is_older(metadata: &fs::Metadata, age: Duration) -> bool {
    let since = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    since.is_some_and(|since| since > age)
}
