//! The files that tidy looks at.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;

use xtask::run::output;

/// Paths from the root, in byte order, and what the files hold.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// Reads what git tracks or would track; where there is no git, all but hidden directories and `target`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        let line = [
            "git",
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        match output(&line) {
            Ok(paths) => paths.split_terminator('\0').try_for_each(|path| tree.add(root, path))?,
            Err(_) => tree.walk(root, "")?,
        }
        Ok(tree)
    }

    fn walk(&mut self, root: &Path, dir: &str) -> anyhow::Result<()> {
        for entry in fs::read_dir(root.join(dir)).with_context(|| format!("reading {dir}"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            if !entry.file_type()?.is_dir() {
                self.add(root, &path)?;
            } else if name != "target" && name != ".git" {
                self.walk(root, &path)?;
            }
        }
        Ok(())
    }

    /// Adds a regular file; what is tracked but already deleted is passed over.
    fn add(&mut self, root: &Path, path: &str) -> anyhow::Result<()> {
        let file = root.join(path);
        match fs::symlink_metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Ok(metadata) if !metadata.is_file() => return Ok(()),
            _ => {}
        }
        let bytes = fs::read(&file).with_context(|| format!("reading {path}"))?;
        self.files.insert(path.to_owned(), bytes);
        Ok(())
    }

    /// Every file.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Every file of UTF-8 text.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter_map(|(path, bytes)| Some((path, std::str::from_utf8(bytes).ok()?)))
    }

    /// Every Rust file.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| extension(path) == Some("rs"))
    }

    /// One file's text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.files.get(path)?).ok()
    }

    /// A tree for a test.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|&(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        Self { files: files.collect() }
    }
}

/// What follows the last dot of a file's name.
pub(super) fn extension(path: &str) -> Option<&str> {
    Path::new(path).extension()?.to_str()
}
