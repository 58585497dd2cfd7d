//! A file's bytes, all of them had before any is passed on: in memory, or where there are many, in an unlinked file.

use std::io::{self, Seek as _, Write};

use anyhow::Context as _;
use layer_format::layer::{EntryPath, Timestamp};
use rootfs::{Content, Error, Found};
use tempfile::SpooledTempFile;

/// What is held in memory.
const IN_MEMORY: usize = 1 << 20;

/// The bytes of a file, as they were at one moment.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    /// Whether it isn't what the scan has found.
    pub(crate) is_other: bool,
    bytes: SpooledTempFile,
}

impl Held {
    /// Reads a file, and as often again as it changes meanwhile, up to so many times.
    pub(crate) fn read(path: &EntryPath, found: Found<'_>, n_retries: u32) -> Result<Self, Error> {
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

    fn of(content: &Content, is_other: bool) -> Result<Self, Error> {
        let mut bytes = SpooledTempFile::new(IN_MEMORY);
        content.copy_to(&mut bytes)?;
        Ok(Self { size: content.size(), mtime: content.mtime(), is_other, bytes })
    }

    /// Passes them on.
    pub(crate) fn write(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        self.bytes.rewind().context("reading what was held of a file")?;
        io::copy(&mut self.bytes, out)?;
        Ok(())
    }
}
