//! What `images` asks of Linux alone; `elsewhere` does without.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Removes an extracted layer, which may hold anything.
pub(crate) fn remove_tree(path: &Path) -> anyhow::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = File::open(parent).context("opening the layer cache")?;
    rootfs::remove_tree(&parent, name.as_bytes()).context("removing an extracted layer")
}
