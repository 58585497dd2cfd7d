//! Removing extracted layers that no union needs.

use std::collections::{HashMap, HashSet};
use std::fs::{File, FileType};
use std::path::{Path, PathBuf};

use super::extracted::{DRAFT, GONE, Layers, lock_directory, name, read_about, rename};
use super::unions::{Here, Note, Verdict};
use crate::Result;
use crate::error::Error;
use crate::gc::Sweep;
use crate::locked_file::{self, unused_name};
use crate::store::{Folder, Store};

/// A directory that is no longer needed. The caller removes it with its content, because this crate doesn't know how to walk a
/// root file system.
#[derive(Debug)]
pub struct Garbage {
    path: PathBuf,
    _lock: File,
}

impl Garbage {
    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// How sure gc must be that an extracted layer isn't mounted before it removes the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It must be proven that no union has it mounted.
    Needed,
    /// It is enough that no visible process has it mounted; the user answers for the rest.
    Waived,
}

/// Extracted layers that stay because they may be in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The number of layers.
    pub n_layers: u64,
    /// The size of their content, in bytes.
    pub bytes: u64,
    /// Why it isn't known whether they are in use.
    pub why: &'static str,
}

/// The result of [`Store::collect_layers`].
#[derive(Debug, Default)]
pub struct Collected {
    /// The number of layers that no union needs.
    pub n_layers: u64,
    /// The size of their content, in bytes.
    pub bytes: u64,
    /// The directories to remove, half-made layers of killed programs among them; empty if they were only counted.
    pub garbage: Vec<Garbage>,
    /// The layers that may be in use.
    pub kept: Kept,
}

impl Store {
    /// Renames every extracted layer that no running program is about to use and that no union has or may have mounted, so that
    /// the caller can remove it. Layers of other users stay.
    ///
    /// # Errors
    /// A lease or the note of a union can't be understood, or a directory can't be read or renamed.
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
            over.iter().try_for_each(|note| locked_file::remove(note))?;
        }
        Ok(collected)
    }
}

impl Layers {
    /// Half-made and half-removed layers of killed programs, for the caller to remove.
    pub fn leftovers(&self) -> Result<Vec<Garbage>> {
        leftovers(&self.folder)
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
            self.garbage.extend(leftovers(folder)?);
        }
        Ok(())
    }
}

/// Whether a layer has to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It is in use.
    Known,
    /// It may be in use, for this reason.
    Possible(&'static str),
    /// It isn't in use.
    None,
}

/// The layers that have to stay, by name.
struct InUse {
    /// The layers in the leases of running programs.
    leased: HashSet<String>,
    /// The layers of unions that may still be mounted, and why that isn't known.
    possible: HashMap<String, &'static str>,
    here: Here,
}

impl InUse {
    fn new(leased: HashSet<String>, here: Here) -> Self {
        Self { leased, possible: HashMap::new(), here }
    }

    /// Reads the notes of all unions, and returns the paths of the notes of those that are gone.
    fn add_notes(&mut self, store: &Store, proof: Proof) -> Result<Vec<PathBuf>> {
        let mut over = vec![];
        for path in locked_file::list(&store.folder(Folder::Unions))? {
            let note = Note::read(&path, &self.here)?;
            match note.map(|note| (note.judge(&self.here), note)) {
                None | Some((Verdict::Over, _)) => over.push(path),
                // The names of its layers are in the list of mounts.
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

/// The name of a layer and the size of its content in bytes; `None` for a directory that is no layer. The size is 0 if the
/// layer's description is damaged.
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

/// Drafts and renamed layers that no running program has locked.
fn leftovers(folder: &Path) -> Result<Vec<Garbage>> {
    let mut garbage = vec![];
    for path in directories(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(DRAFT) || name.starts_with(GONE) {
            let lock = lock_directory(&path)?;
            garbage.extend(lock.map(|lock| Garbage { path, _lock: lock }));
        }
    }
    Ok(garbage)
}

fn directories(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = locked_file::entries(dir, FileType::is_dir)?;
    paths.sort();
    Ok(paths)
}
