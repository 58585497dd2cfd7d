//! What `images` does on a system that isn't Linux: the same functions as in `linux`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Removes an extracted layer of a store that was Linux's.
pub(crate) fn remove_tree(path: &Path) -> anyhow::Result<()> {
    fs::remove_dir_all(path).context("removing an extracted layer")
}
