//! A file that is read whole before any of its bytes are passed on. Up to 1 MiB is held in memory, more in an unlinked file.

use std::io::{self, Seek as _, Write};

use anyhow::Context as _;
use layer_format::layer::{EntryPath, Timestamp};
use rootfs::{Content, Error, ScanEntry};
use tempfile::SpooledTempFile;

/// How many bytes of a file are held in memory.
const IN_MEMORY: usize = 1 << 20;

/// A file as it was at one moment.
#[derive(Debug)]
pub(crate) struct Held {
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    /// Whether it has changed since the scan.
    pub(crate) has_changed: bool,
    bytes: SpooledTempFile,
}

impl Held {
    /// Reads a file. If it changes meanwhile it is read again, up to `n_retries` times.
    ///
    /// # Errors
    /// [`Error::Changed`] if it has changed each time, or has vanished.
    pub(crate) fn read(
        path: &EntryPath,
        found: ScanEntry<'_>,
        n_retries: u32,
    ) -> Result<Self, Error> {
        let mut read = Content::open(path, found).and_then(|content| Self::of(&content, false));
        for _ in 0..n_retries {
            if !matches!(read, Err(Error::Changed { .. })) || cli::interrupt::requested() {
                break;
            }
            let content = Content::open_changed(path, found);
            read = content.and_then(|content| Self::of(&content, true));
        }
        read
    }

    fn of(content: &Content, has_changed: bool) -> Result<Self, Error> {
        let mut bytes = SpooledTempFile::new(IN_MEMORY);
        content.copy_to(&mut bytes)?;
        Ok(Self { size: content.size(), mtime: content.mtime(), has_changed, bytes })
    }

    /// Writes the bytes to `out`.
    pub(crate) fn write(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        self.bytes.rewind().context("reading what was held of a file")?;
        io::copy(&mut self.bytes, out)?;
        Ok(())
    }
}
