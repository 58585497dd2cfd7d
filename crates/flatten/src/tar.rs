//! The tar, written while the layers are read.

use std::io::{self, BufRead, Write};

use image::Opened;
use image::flat::{self, Plan, Sink};
use layer_format::Error;
use layer_format::layer::{Change, Writer};
use report::watch::Watch;

/// A tar that has been written to its end.
pub(crate) struct Written<W> {
    pub(crate) output: W,
    /// In bytes.
    pub(crate) size: u64,
}

/// Writes the tar. Its end is written only when everything has been verified.
///
/// # Errors
/// Those of reading the image and of the output.
pub(crate) fn write<W: Write>(
    opened: Opened,
    plan: &Plan,
    output: W,
    watch: &dyn Watch,
) -> anyhow::Result<Written<W>> {
    let mut tar = Tar { writer: Writer::new(Counting { inner: output, size: 0 }) };
    flat::write(opened, plan, &mut tar, watch)?;
    let Counting { inner, size } = tar.writer.finish()?;
    Ok(Written { output: inner, size })
}

/// A tar that is being written.
struct Tar<W: Write> {
    writer: Writer<W>,
}

impl<W: Write> Sink for Tar<W> {
    type Error = anyhow::Error;

    fn put(&mut self, change: &Change, content: &mut impl BufRead) -> anyhow::Result<()> {
        self.writer.write_change(change)?;
        if let Change::Add(entry) = change {
            copy(content, &mut self.writer, entry.kind.content_size())?;
        }
        Ok(())
    }

    fn in_layer(error: anyhow::Error, layer: String) -> anyhow::Error {
        error.context(layer)
    }
}

/// Copies the content of a file; for a sparse one, the data without the holes.
fn copy(content: &mut impl BufRead, writer: &mut impl Write, size: u64) -> Result<(), Error> {
    let mut left = size;
    while left > 0 {
        let piece = content.fill_buf().map_err(|source| Error::io("reading a layer", source))?;
        let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if n == 0 {
            return Err(Error::Truncated { what: "a file".to_owned() });
        }
        writer.write_all(&piece[..n]).map_err(|source| Error::io("writing the tar", source))?;
        content.consume(n);
        left -= n as u64;
    }
    Ok(())
}

/// Counts the bytes that are written.
#[derive(Debug)]
struct Counting<W> {
    inner: W,
    size: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
