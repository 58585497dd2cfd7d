//! A file of logins, rewritten: whole, by rename, and for its owner alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;
use cli::WholeFile;
use registry::Error;
use rustix::fs::{FlockOperation, flock};

/// Makes the directory of a file, for its owner alone, if it isn't there.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(parent(path))
}

/// Gives a file the text that `edit` makes of its own, which is nothing if it isn't there. `edit` may leave it as it is, by
/// none. Gives back whether it was changed.
///
/// # Errors
/// Those of `edit`, and of the disk.
pub(super) fn rewrite(
    path: &Path,
    edit: impl Fn(&[u8], &str) -> Result<Option<Vec<u8>>, Error>,
) -> anyhow::Result<bool> {
    let place = path.display().to_string();
    // Another run of ours that is doing the same is waited for. Where locks don't exist, the last one wins.
    let directory = File::open(parent(path)).context("opening its directory")?;
    flock(&directory, FlockOperation::LockExclusive).ok();
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
        Err(error) => return Err(error).context("reading logins"),
    };
    let Some(text) = edit(&json, &place)? else { return Ok(false) };
    let mut file = WholeFile::create_private(path).context("writing logins")?;
    file.write_all(&text).context("writing logins")?;
    file.finish().context("writing logins")?;
    Ok(true)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
