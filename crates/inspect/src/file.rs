//! One file out of an image.
//!
//! Of an image of the store, no more is read than it takes: with a listing and a seek index of the layer, little more than the
//! file. So what is wrong with other files of the image isn't told. Of any other image, all layers are read and verified. Which
//! one has the file is known only then, so it is read a second time.

use std::io::{self, BufReader, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use cli::{Code, Failure, Io, Output};
use image::{Follower, Opened};
use layer_format::Error;
use layer_format::layer::{Change, Entry, EntryKind, Filled, Reader};
use layer_format::listing::{Origin, Tree};

use crate::files::kind_text;

/// Lines longer than this, in bytes, are written in pieces.
const LINE: usize = 64 << 10;

/// The size of the pieces that are written, in bytes.
const BUFFER: usize = 64 << 10;

/// Writes the file's content.
pub(crate) fn cat(
    mut opened: Opened,
    (path, max_size): (&Path, Option<u64>),
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let tree = if opened.is_own() {
        match opened.tree_shown(&io.progress, &mut Seeking(path)) {
            Ok(tree) if tree.find(path.as_os_str().as_bytes()).is_some() => tree,
            // Nothing was found, or the tree was refused, or the layers are at fault: a whole tree tells which.
            _ => opened.tree(&io.progress)?,
        }
    } else {
        let mut tree = Tree::new();
        for position in 0..opened.image().layers.len() {
            opened.read_layer(position, &io.progress, |layer| tree.add_layer(layer))?;
        }
        tree
    };
    let (origin, size) = find(&tree, path, max_size)?;
    drop(tree);
    // All layers of any other image were read above.
    let was_read = !opened.is_own() || opened.prove(origin.layer(), &io.progress)?;
    if let Some(content) = opened.content_of(origin)? {
        let mut content = BufReader::with_capacity(BUFFER, content.take(size));
        if write(&mut content, &mut io.output)? == size {
            return Ok(());
        }
        return Err(changed().into());
    }
    opened.rewind()?;
    if !was_read {
        // With a listing nothing of the layer may have been read yet, and its beginning alone doesn't tell that it is damaged.
        opened.check_stored(origin.layer(), &io.progress)?;
    }
    // The layer was verified, so its rest needn't be read again.
    let stored = opened.stored(origin.layer())?;
    let decoder = image::layer::decompressed(stored)?;
    let mut layer = Reader::new(BufReader::new(decoder));
    let kind = go_to(&mut layer, origin)?;
    write(&mut BufReader::with_capacity(BUFFER, Filled::new(&mut layer, kind)), &mut io.output)?;
    Ok(())
}

/// Has a tree made that seeks a path.
struct Seeking<'a>(&'a Path);

impl Follower for Seeking<'_> {
    fn begin(&mut self, tree: &mut Tree) {
        *tree = Tree::seeking(self.0.as_os_str().as_bytes());
    }
}

/// The place of the file's content, and its size in bytes.
fn find(tree: &Tree, path: &Path, max_size: Option<u64>) -> anyhow::Result<(Origin, u64)> {
    let shown = || cli::text::clean_path(path);
    let place = tree.find(path.as_os_str().as_bytes()).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("{}: not in this image", shown()))
            .hint("--files lists what is there")
    })?;
    match (&place.inode().kind, place.origin()) {
        (&EntryKind::File { size, .. }, Some(origin)) => {
            cli::check_size(max_size, &format!("{} is", shown()), size)?;
            Ok((origin, size))
        }
        (kind, _) => {
            let message = format!("{}: is a {}", shown(), kind_text(kind));
            Err(Failure::new(Code::Failed, message).into())
        }
    }
}

/// Reads a layer as far as the content of the file that a change adds.
fn go_to(layer: &mut Reader<impl io::BufRead>, origin: Origin) -> Result<EntryKind, Error> {
    let mut change = layer.read_change()?;
    for _ in 0..origin.change() {
        change = layer.read_change()?;
    }
    match change {
        Some(Change::Add(Entry { kind: kind @ EntryKind::File { .. }, .. })) => Ok(kind),
        _ => Err(changed()),
    }
}

fn changed() -> Error {
    Error::Truncated { what: "a layer that was whole before".to_owned() }
}

/// Writes all of a content, and returns the number of its bytes.
fn write(content: &mut impl io::BufRead, output: &mut Output) -> Result<u64, Error> {
    let mut output = Shown { is_terminal: output.is_terminal(), output, line: vec![] };
    let mut n_bytes = 0;
    loop {
        let bytes = content.fill_buf().map_err(|source| Error::io("reading a layer", source))?;
        if bytes.is_empty() {
            output.end().map_err(writing)?;
            return Ok(n_bytes);
        }
        output.write_all(bytes).map_err(writing)?;
        let n = bytes.len();
        n_bytes += n as u64;
        content.consume(n);
    }
}

fn writing(source: io::Error) -> Error {
    Error::io("writing", source)
}

/// Output for a terminal, in which control characters are escaped.
struct Shown<'a> {
    output: &'a mut Output,
    is_terminal: bool,
    line: Vec<u8>,
}

impl Shown<'_> {
    fn end(&mut self) -> io::Result<()> {
        let rest = cli::text::clean_text(&std::mem::take(&mut self.line));
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
        let lines: Vec<u8> = self.line.drain(..whole(&self.line)).collect();
        self.output.write_all(cli::text::clean_text(&lines).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// How many bytes are whole lines, or a line that is too long to wait for its end.
fn whole(text: &[u8]) -> usize {
    match text.iter().rposition(|&byte| byte == b'\n') {
        Some(end) => end + 1,
        None if text.len() >= LINE => text.len(),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_line_by_line_unless_one_is_very_long() {
        for (text, n_bytes) in [("", 0), ("a", 0), ("\n", 1), ("a\nö\nc", 5), ("a\n", 2)] {
            assert_eq!(whole(text.as_bytes()), n_bytes, "{text:?}");
        }
        assert_eq!(whole(&b"a".repeat(LINE - 1)), 0);
        assert_eq!(whole(&b"a".repeat(LINE)), LINE);
        assert_eq!(whole(&[&b"\n"[..], &b"a".repeat(LINE)].concat()), 1);
    }
}
