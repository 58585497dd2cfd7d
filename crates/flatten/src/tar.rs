//! The tar, written while the layers are read.

use std::io::{self, BufRead, Write};

use image::Opened;
use layer_format::Error;
use layer_format::layer::{Change, Entry, EntryKind, Reader, Writer};
use layer_format::listing::{NameId, Place};
use report::watch::Watch;

use crate::plan::Plan;

/// A tar that has been written to its end.
pub(crate) struct Written<W> {
    pub(crate) output: W,
    /// In bytes.
    pub(crate) size: u64,
}

/// Writes the tar. Its end is written only when everything has been verified. The lowest `n_base` layers are not read unless
/// something of them is due.
///
/// # Errors
/// Those of reading the image and of the output.
pub(crate) fn write<W: Write>(
    mut opened: Opened,
    plan: &Plan,
    n_base: usize,
    output: W,
    watch: &dyn Watch,
) -> anyhow::Result<Written<W>> {
    let counting = Counting { inner: output, size: 0 };
    let written = vec![false; plan.most_names()];
    let mut tar = Tar { plan, at: 0, written, writer: Writer::new(counting) };
    tar.whiteouts()?;
    for position in 0..opened.image().layers.len() {
        if position < n_base && plan.is_through(tar.at, position) {
            continue;
        }
        opened.read_layer(position, watch, |layer| tar.layer(position, layer))?;
    }
    opened.finish()?;
    tar.remaining_directories()?;
    let Counting { inner, size } = tar.writer.finish()?;
    Ok(Written { output: inner, size })
}

/// A tar that is being written.
struct Tar<'a, W> {
    plan: &'a Plan,
    /// The position of the next step of the plan.
    at: usize,
    /// For each name, whether it is a directory that has been written.
    written: Vec<bool>,
    writer: Writer<W>,
}

impl<W: Write> Tar<'_, W> {
    /// Writes the remaining entries of a layer.
    fn layer(&mut self, position: usize, layer: &mut Reader<impl BufRead>) -> Result<(), Error> {
        let mut number = 0;
        while let Some(change) = layer.read_change()? {
            let due = self.plan.due(self.at, position, number);
            number += 1;
            if due.is_empty() {
                continue;
            }
            self.at += due.len();
            match change {
                Change::Add(entry) => self.entry(entry, due, layer)?,
                Change::Remove(_) | Change::Opaque(_) => return Err(otherwise()),
            }
        }
        if self.plan.is_through(self.at, position) { Ok(()) } else { Err(otherwise()) }
    }

    /// Writes what takes away what the base has.
    fn whiteouts(&mut self) -> Result<(), Error> {
        let plan = self.plan;
        for path in plan.whiteouts() {
            if let Some(parent) = plan.parent_of(path) {
                self.directory(parent)?;
            }
            self.writer.write_change(&Change::Remove(path.clone()))?;
        }
        Ok(())
    }

    /// Writes an entry under all of its names.
    fn entry(
        &mut self,
        mut entry: Entry,
        names: &[NameId],
        content: &mut Reader<impl BufRead>,
    ) -> Result<(), Error> {
        let [first, others @ ..] = names else { return Err(otherwise()) };
        let place = self.plan.place(*first);
        if place.is_directory() {
            return self.directory(place);
        }
        self.directory(place.parent())?;
        entry.path = place.path();
        let size = entry.kind.content_size();
        let target = entry.path.clone();
        self.writer.write_change(&Change::Add(entry.clone()))?;
        copy(content, &mut self.writer, size)?;
        entry.kind = EntryKind::Hardlink { target };
        for name in others {
            let place = self.plan.place(*name);
            self.directory(place.parent())?;
            entry.path = place.path();
            // Some readers set what a link's header says, so it says the same as its target's.
            self.writer.write_change(&Change::Add(entry.clone()))?;
        }
        Ok(())
    }

    /// Writes a directory, and those above it that haven't been written.
    fn directory(&mut self, place: Place<'_>) -> Result<(), Error> {
        let mut chain = vec![];
        let mut here = place;
        while !std::mem::replace(&mut self.written[here.name_id().number()], true) {
            chain.push(here);
            here = here.parent();
        }
        chain.retain(|place| !self.plan.is_bare_root(place));
        for place in chain.into_iter().rev() {
            let inode = place.inode();
            let entry = Entry {
                path: place.path(),
                kind: EntryKind::Directory,
                mode: inode.mode,
                uid: inode.uid,
                gid: inode.gid,
                mtime: inode.mtime,
                xattrs: inode.xattrs.to_vec(),
            };
            self.writer.write_change(&Change::Add(entry))?;
        }
        Ok(())
    }

    /// Writes the directories that are empty and that no layer describes.
    fn remaining_directories(&mut self) -> Result<(), Error> {
        let plan = self.plan;
        plan.implied().iter().try_for_each(|&name| self.directory(plan.place(name)))
    }
}

/// Copies the content of a file; for a sparse one, the data without the holes.
fn copy(
    content: &mut Reader<impl BufRead>,
    writer: &mut Writer<impl Write>,
    size: u64,
) -> Result<(), Error> {
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

/// The error for a layer that differs from its listing.
fn otherwise() -> Error {
    let what = "a layer's listing".to_owned();
    Error::Malformed { what, reason: "the layer holds something else" }
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
