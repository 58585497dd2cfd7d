//! The upper directory of an overlay, which holds what has changed, and nothing else.

use std::fs;
use std::path::Path;

use cli::text::clean_path;
use cli::{Explain as _, Failure, usage};
use layer_format::layer::{Change, Entry, EntryPath};
use rootfs::overlay::{Mounted, mounted_on};
use rootfs::{Attributes, ChangeKind, Difference, Root, UpperForm};
use store::{DirectoryId, Store};

use crate::base::{self, BaseName};

/// An upper directory, and what is known of the directories below it.
#[derive(Debug)]
pub(crate) struct UpperDir {
    root: Root,
    /// The root of the mount, if the overlay is mounted.
    mount: Option<Root>,
    /// The lower directories, the highest first; none if only the upper directory was named.
    lower: Vec<Root>,
}

impl UpperDir {
    /// An upper directory of which only its own place is known.
    pub(crate) fn unmounted(root: &Root) -> anyhow::Result<Self> {
        Ok(Self { root: root.try_clone()?, mount: None, lower: vec![] })
    }

    /// The upper directory of the overlay that is mounted on `path`, which is open as `dir`. `None` if no overlay is mounted
    /// there, or one that can't be written to.
    pub(crate) fn of_mount(path: &Path, dir: &Root) -> anyhow::Result<Option<Self>> {
        let Ok(point) = fs::canonicalize(path) else { return Ok(None) };
        // Without /proc nothing is known of mounts, and nothing needs to be.
        let Ok(Some(Mounted { upper, lowers, .. })) = mounted_on(&point) else { return Ok(None) };
        let Some(upper) = upper else { return Ok(None) };
        if upper.is_relative() {
            return Err(relative(path, &upper).into());
        }
        // Inside a container its upper directory can't be seen.
        let root = Root::open(&upper).hint("say what it was with --base, and all is compared")?;
        let root = root.with_ids_of(dir);
        let lower = lowers.iter().map(|path| Root::open(path)).collect::<Result<_, _>>();
        let mount = Some(dir.try_clone()?);
        Ok(Some(Self { root, mount, lower: lower.unwrap_or_default() }))
    }

    /// The upper directory itself.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Whether any directory below it is known.
    pub(crate) fn has_lowers(&self) -> bool {
        !self.lower.is_empty()
    }

    /// The image below, as the store remembers it: the image that is mounted, the one that was unpacked to the only lower
    /// directory, or the one below when these changes were made.
    pub(crate) fn noted(&self, store: Option<&Store>) -> Option<BaseName> {
        let store = store?;
        let of_mount = self.mount.as_ref().and_then(|mount| base::origin(mount, store));
        let of_lower = || match &self.lower[..] {
            [lower] => base::origin(lower, store),
            _ => None,
        };
        let of_upper = || store.changed_image(&DirectoryId::of(&self.root).ok()?);
        let origin = of_mount.or_else(of_lower).or_else(of_upper)?;
        Some(BaseName::of_origin(&origin))
    }

    /// Which marks count. An overlay that is mounted by the kernel has only the kernel's.
    pub(crate) fn form(&self) -> UpperForm {
        if self.mount.is_some() { UpperForm::Kernel } else { UpperForm::Any }
    }

    /// Tells what was there before from what is new, as far as the lower directories say. `None` for a removal of what was
    /// not there, which is no change.
    pub(crate) fn judge<'a>(&self, mut difference: Difference<'a>) -> Option<Difference<'a>> {
        match &difference.change {
            Change::Add(Entry { path, .. }) if self.was_there(path) => {
                difference.kind = ChangeKind::Changed(Attributes::default());
            }
            Change::Remove(path) | Change::Opaque(path) if !self.was_there(path) => return None,
            _ => {}
        }
        Some(difference)
    }

    /// Whether a lower directory may have something of a difference's name.
    pub(crate) fn may_hide(&self, difference: &Difference<'_>) -> bool {
        self.lower.is_empty()
            || matches!(&difference.change, Change::Add(entry) if self.was_there(&entry.path))
    }

    /// Whether a lower directory has something of that name.
    pub(crate) fn was_there(&self, path: &EntryPath) -> bool {
        let seen = self.lower.iter().find_map(|lower| lower.has_beneath(path));
        seen.unwrap_or(false)
    }
}

/// The error for an upper directory that was named by a relative path when it was mounted. The mount doesn't tell where that
/// path began.
fn relative(dir: &Path, upper: &Path) -> Failure {
    let (dir, upper) = (clean_path(dir), clean_path(upper));
    let message = format!(
        "{dir}: its upper directory was named {upper} when it was mounted, which leads nowhere now"
    );
    usage(message)
        .hint("name the upper directory itself with --upper, or what was there with --base")
}
