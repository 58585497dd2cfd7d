//! One file out of an image.
//!
//! Which layer has it is known only when all have been read, so that layer is read again: from where it lies, or, when it
//! came down a pipe, from an unlinked file in which the stored layers were kept.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Context as _;
use cli::{Code, Failure, Io, Output};
use layer_format::layer::{Change, EntryKind, Reader};
use layer_format::listing::{Origin, Tree};
use layer_format::{Decoder, Error};
use store::Location;

use crate::files::kind_text;
use crate::opened::Opened;

/// Longer lines are written in pieces.
const LINE: usize = 64 << 10;

/// Writes the file's content.
pub(crate) fn cat(mut opened: Opened, path: &Path, io: &mut Io<'_>) -> anyhow::Result<()> {
    let mut tree = Tree::new();
    let mut sections = vec![];
    if opened.location == Location::Input {
        let spool = store::spool(opened.store.as_ref());
        opened.kept = Some(spool().context("making a temporary file")?);
    }
    for position in 0..opened.image.layers.len() {
        opened.read_layer(position, &io.progress, |layer| tree.add_layer(layer))?;
        if let Some(kept) = &mut opened.kept {
            sections.push(kept.stream_position().context("keeping a layer")?);
        }
    }
    let origin = find(&tree, path)?;
    drop(tree);
    if let Some(kept) = opened.kept.take() {
        opened.finish()?;
        let begin = origin.layer().checked_sub(1).map_or(0, |below| sections[below]);
        let section = section(kept, begin, sections[origin.layer()]).context("reading a layer")?;
        let decoder = Decoder::new(BufReader::new(section)).context("reading a layer")?;
        return Ok(write(&mut Reader::new(BufReader::new(decoder)), origin, &mut io.output)?);
    }
    let mut again = opened.reopened()?;
    opened.finish()?;
    // What is written has been verified once; the rest of the layer needn't be read again.
    let mut stored = again.stored_layer(origin.layer())?;
    let decoder = Decoder::new(BufReader::new(&mut stored)).context("reading a layer")?;
    Ok(write(&mut Reader::new(BufReader::new(decoder)), origin, &mut io.output)?)
}

/// Where the file's content is.
fn find(tree: &Tree, path: &Path) -> anyhow::Result<Origin> {
    let shown = || cli::report::clean_bytes(path.as_os_str().as_bytes()).into_owned();
    let inode = tree.find(path.as_os_str().as_bytes()).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("{}: not in this image", shown()))
            .hint("--files lists what is there")
    })?;
    match (&inode.kind, inode.origin) {
        (EntryKind::File { .. }, Some(origin)) => Ok(origin),
        (kind, _) => {
            let message = format!("{}: is a {}", shown(), kind_text(kind));
            Err(Failure::new(Code::Failed, message).into())
        }
    }
}

fn section(mut kept: File, begin: u64, end: u64) -> io::Result<impl Read> {
    kept.seek(SeekFrom::Start(begin))?;
    Ok(kept.take(end - begin))
}

fn write(
    layer: &mut Reader<impl io::BufRead>,
    origin: Origin,
    output: &mut Output,
) -> Result<(), Error> {
    let changed = || Error::Truncated { what: "a layer that was whole before".to_owned() };
    let mut change = layer.read_change()?;
    for _ in 0..origin.change() {
        change = layer.read_change()?;
    }
    let Some(Change::Add(entry)) = change else { return Err(changed()) };
    let EntryKind::File { size, data } = entry.kind else { return Err(changed()) };
    let pieces = data.unwrap_or_else(|| vec![(0, size)]);
    let mut output = Shown { is_terminal: output.is_terminal(), output, line: vec![] };
    let mut at = 0;
    for (offset, length) in pieces {
        zeros(&mut output, offset.saturating_sub(at))?;
        copy(layer, &mut output, length)?;
        at = offset + length;
    }
    zeros(&mut output, size.saturating_sub(at))?;
    output.end().map_err(writing)
}

fn copy(
    layer: &mut Reader<impl io::BufRead>,
    output: &mut impl Write,
    length: u64,
) -> Result<(), Error> {
    let mut left = length;
    while left > 0 {
        let piece = layer.fill_buf().map_err(|source| Error::io("reading a layer", source))?;
        if piece.is_empty() {
            return Err(Error::Truncated { what: "the file".to_owned() });
        }
        let n = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        output.write_all(&piece[..n]).map_err(writing)?;
        layer.consume(n);
        left -= n as u64;
    }
    Ok(())
}

/// Holes are read as zeros.
fn zeros(output: &mut impl Write, length: u64) -> Result<(), Error> {
    let copied = io::copy(&mut io::repeat(0).take(length), output);
    copied.map(drop).map_err(writing)
}

fn writing(source: io::Error) -> Error {
    Error::io("writing", source)
}

/// Output that shows a terminal nothing that it would obey.
struct Shown<'a> {
    output: &'a mut Output,
    is_terminal: bool,
    line: Vec<u8>,
}

impl Shown<'_> {
    fn end(&mut self) -> io::Result<()> {
        let rest = cli::report::clean_text(&std::mem::take(&mut self.line));
        self.output.write_all(rest.as_bytes())?;
        self.output.flush()
    }
}

impl Write for Shown<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_terminal {
            return self.output.write(bytes);
        }
        self.line.extend_from_slice(bytes);
        let whole = match self.line.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end + 1,
            None if self.line.len() >= LINE => self.line.len(),
            None => 0,
        };
        let lines: Vec<u8> = self.line.drain(..whole).collect();
        self.output.write_all(cli::report::clean_text(&lines).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
