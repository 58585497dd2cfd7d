//! Extracted layers that nobody needs.

use std::collections::HashSet;
use std::fs::{self, File, FileType};
use std::path::{Path, PathBuf};

use layer_format::Digest;

use super::{DRAFT, GONE, lock_directory, read_about, rename};
use crate::Result;
use crate::error::Error;
use crate::gc::Sweep;
use crate::owned::{self, unused_name};
use crate::store::{Folder, Store};

/// A directory that nobody needs any more, for the caller to remove with all that is in it: this crate doesn't know how
/// to walk a root file system.
#[derive(Debug)]
pub struct Doomed {
    path: PathBuf,
    _lock: File,
}

impl Doomed {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What [`Store::collect_layers`] found.
#[derive(Debug, Default)]
pub struct Collected {
    /// How many layers nobody needs.
    pub n_layers: u64,
    /// How many bytes of content those have.
    pub bytes: u64,
    /// What is to be removed, half-made layers of killed programs among it; nothing if it was only to be counted.
    pub doomed: Vec<Doomed>,
}

impl Store {
    /// Takes away the name of every extracted layer that no running program is about to use and that nobody has mounted.
    pub fn collect_layers(&self, sweep: Sweep) -> Result<Collected> {
        let _guard = self.lock()?;
        let leased = self.leased()?.into_iter().collect();
        let in_use = InUse { leased, mounted: mounted() };
        let mut collected = Collected::default();
        for folder in directories(&self.folder(Folder::Layers))? {
            collected.collect(&folder, &in_use, sweep)?;
        }
        Ok(collected)
    }
}

impl Collected {
    fn collect(&mut self, folder: &Path, in_use: &InUse, sweep: Sweep) -> Result<()> {
        for path in directories(folder)? {
            let Some(bytes) = in_use.unused(&path) else { continue };
            self.n_layers += 1;
            self.bytes += bytes;
            if sweep == Sweep::Remove {
                take_name(folder, &path)?;
            }
        }
        if sweep == Sweep::Remove {
            self.doomed.extend(leftovers(folder)?);
        }
        Ok(())
    }
}

/// What has to stay.
struct InUse {
    /// Keys that running programs are about to use.
    leased: HashSet<Digest>,
    /// The overlays that any process in sight has mounted, as text with the names of their layers in it.
    mounted: String,
}

impl InUse {
    /// The size of a layer that nobody uses.
    fn unused(&self, path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        let about = read_about(path).ok()??;
        let is_used = name.starts_with('.')
            || self.leased.contains(&about.key)
            || self.mounted.contains(name);
        (!is_used).then_some(about.bytes)
    }
}

fn take_name(folder: &Path, path: &Path) -> Result<()> {
    let gone = folder.join(format!("{GONE}{}", unused_name()));
    rename(path, &gone).map_err(Error::io("renaming to", &gone))
}

/// Drafts and doomed layers that no running program is at work on.
pub(super) fn leftovers(folder: &Path) -> Result<Vec<Doomed>> {
    let mut doomed = vec![];
    for path in directories(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(DRAFT) || name.starts_with(GONE) {
            let lock = lock_directory(&path)?;
            doomed.extend(lock.map(|lock| Doomed { path, _lock: lock }));
        }
    }
    Ok(doomed)
}

fn mounted() -> String {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut lines = HashSet::new();
    for process in processes {
        // Processes come and go, and not all of them are ours to look at.
        let Ok(text) = fs::read(process.path().join("mountinfo")) else { continue };
        let text = String::from_utf8_lossy(&text);
        lines.extend(text.lines().filter(|it| it.contains(" - overlay ")).map(str::to_owned));
    }
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn directories(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = owned::entries(dir, FileType::is_dir)?;
    paths.sort();
    Ok(paths)
}
