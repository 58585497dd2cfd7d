//! Extracted layers that nobody needs.

use std::collections::{HashMap, HashSet};
use std::fs::{File, FileType};
use std::path::{Path, PathBuf};

use super::unions::{Here, Note, Verdict};
use super::{DRAFT, GONE, lock_directory, name, read_about, rename};
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

/// What must be known of an extracted layer before it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// That no union has it mounted.
    Needed,
    /// That no process in sight has; somebody answers for the rest.
    Waived,
}

/// Extracted layers that stay because nobody knows whether they are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many layers.
    pub n_layers: u64,
    /// How many bytes of content those have.
    pub bytes: u64,
    /// Why nobody knows.
    pub why: &'static str,
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
    /// What may be in use.
    pub kept: Kept,
}

impl Store {
    /// Takes away the name of every extracted layer that no running program is about to use and that no union has mounted, or
    /// may have. Other users' layers are theirs to collect.
    pub fn collect_layers(&self, sweep: Sweep, proof: Proof) -> Result<Collected> {
        let _guard = self.lock()?;
        // A union's note is written before its lease ends; so the notes are read after the leases.
        let leased = self.leased()?.iter().map(name).collect();
        let mut in_use = InUse::new(leased, Here::look());
        let over = in_use.add_notes(self, proof)?;
        let mut collected = Collected::default();
        for folder in directories(&self.folder(Folder::Layers))? {
            match collected.collect(&folder, &in_use, sweep) {
                Err(error) if error.is_about_permission() => {}
                done => done?,
            }
        }
        if sweep == Sweep::Remove {
            over.iter().try_for_each(|note| owned::remove(note))?;
        }
        Ok(collected)
    }
}

impl Collected {
    fn collect(&mut self, folder: &Path, in_use: &InUse, sweep: Sweep) -> Result<()> {
        for path in directories(folder)? {
            let Some((key, bytes)) = layer(&path)? else { continue };
            match in_use.of(&key) {
                Use::Known => {}
                Use::Possible(why) => {
                    let Kept { n_layers, bytes: sum, .. } = self.kept;
                    self.kept = Kept { n_layers: n_layers + 1, bytes: sum + bytes, why };
                }
                Use::None => {
                    self.n_layers += 1;
                    self.bytes += bytes;
                    if sweep == Sweep::Remove {
                        take_name(folder, &path)?;
                    }
                }
            }
        }
        if sweep == Sweep::Remove {
            self.doomed.extend(leftovers(folder)?);
        }
        Ok(())
    }
}

/// Whether a layer has to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is in use.
    Known,
    /// It may be, and why nobody knows.
    Possible(&'static str),
    /// It isn't.
    None,
}

/// What has to stay, by the layers' names.
struct InUse {
    /// What running programs are about to use.
    leased: HashSet<String>,
    /// What unions may have mounted that are perhaps gone, and why nobody knows.
    possible: HashMap<String, &'static str>,
    here: Here,
}

impl InUse {
    fn new(leased: HashSet<String>, here: Here) -> Self {
        Self { leased, possible: HashMap::new(), here }
    }

    /// Reads what unions left in the store; gives the notes of those that are gone.
    fn add_notes(&mut self, store: &Store, proof: Proof) -> Result<Vec<PathBuf>> {
        let mut over = vec![];
        for path in owned::list(&store.folder(Folder::Unions))? {
            let note = Note::read(&path, &self.here)?;
            match note.map(|note| (note.judge(&self.here), note)) {
                None | Some((Verdict::Over, _)) => over.push(path),
                // Its layers' names are in sight.
                Some((Verdict::Mounted, _)) => {}
                Some((Verdict::Unknown(_), _)) if proof == Proof::Waived => over.push(path),
                Some((Verdict::Unknown(why), note)) => {
                    self.possible.extend(note.layers.into_iter().map(|layer| (layer, why)));
                }
            }
        }
        Ok(over)
    }

    fn of(&self, name: &str) -> Use {
        let is_mounted = || self.here.sight.overlays.iter().any(|(_, line)| line.contains(name));
        if self.leased.contains(name) || is_mounted() {
            return Use::Known;
        }
        self.possible.get(name).map_or(Use::None, |why| Use::Possible(why))
    }
}

/// The name of a layer and how much content it has; one whose description is damaged is of no use to anybody.
fn layer(path: &Path) -> Result<Option<(String, u64)>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    if name.starts_with('.') {
        return Ok(None);
    }
    let bytes = match read_about(path) {
        Ok(None) => return Ok(None),
        Err(Error::MalformedJson { .. }) => 0,
        about => about?.map_or(0, |about| about.bytes),
    };
    Ok(Some((name.to_owned(), bytes)))
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

fn directories(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = owned::entries(dir, FileType::is_dir)?;
    paths.sort();
    Ok(paths)
}
