//! Entries, written while the layers are read.

use std::io::{self, BufRead};

use layer_format::Error;
use layer_format::layer::{Change, Entry, EntryKind, Reader};
use layer_format::listing::{NameId, Place};
use report::watch::Watch;

use super::plan::Plan;
use crate::opened::Opened;

/// Where the entries go.
pub trait Sink {
    /// What can go wrong, with the layers or with the sink.
    type Error: From<store::Error> + From<Error>;

    /// Takes the next change: an entry whose parents and, if it is a hard link, target have come before, or a whiteout. A file's
    /// bytes are read from `content`, as many as [`content_size`](EntryKind::content_size) says.
    ///
    /// # Errors
    /// The sink's own, and those of reading.
    fn put(&mut self, change: &Change, content: &mut impl BufRead) -> Result<(), Self::Error>;

    /// Adds to an error which layer it came with.
    fn in_layer(error: Self::Error, layer: String) -> Self::Error;
}

/// Passes what is planned of an image to `sink`. A layer that has the content of no file that is due is not read; every other one is
/// read and verified to its end, and so is an archive.
///
/// # Errors
/// Those of reading the image and of the sink.
pub fn write<S: Sink>(
    mut opened: Opened,
    plan: &Plan,
    sink: &mut S,
    watch: &dyn Watch,
) -> Result<(), S::Error> {
    let mut walk = Walk { plan, at: 0, written: vec![false; plan.most_names()] };
    walk.whiteouts(sink)?;
    for position in 0..opened.image().layers.len() {
        let written = if walk.needs(position) {
            opened.read_changes(position, watch, |layer| walk.layer(position, layer, sink))
        } else {
            walk.without_content(position, sink)
        };
        written.map_err(|error| S::in_layer(error, opened.image().layer_name(position)))?;
    }
    opened.finish()?;
    walk.remaining_directories(sink)
}

/// How far the work is.
struct Walk<'a> {
    plan: &'a Plan,
    /// The position of the next step of the plan.
    at: usize,
    /// For each name, whether it is a directory that has been written.
    written: Vec<bool>,
}

impl Walk<'_> {
    /// Whether content of a layer is due.
    fn needs(&self, position: usize) -> bool {
        let mut due = self.plan.of_layer(self.at, position).iter();
        due.any(|&name| matches!(self.plan.place(name).inode().kind, EntryKind::File { .. }))
    }

    /// Writes the remaining entries of a layer.
    fn layer<S: Sink>(
        &mut self,
        position: usize,
        layer: &mut Reader<impl BufRead>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let mut number = 0;
        while let Some(change) = layer.read_change()? {
            let due = self.plan.due(self.at, position, number);
            number += 1;
            if due.is_empty() {
                continue;
            }
            self.at += due.len();
            match change {
                Change::Add(entry) => self.entry(entry, due, layer, sink)?,
                Change::Remove(_) | Change::Opaque(_) => return Err(otherwise().into()),
            }
        }
        if self.plan.of_layer(self.at, position).is_empty() {
            Ok(())
        } else {
            Err(otherwise().into())
        }
    }

    /// Writes the remaining entries of a layer, none of which is a file, as the tree has them.
    fn without_content<S: Sink>(&mut self, position: usize, sink: &mut S) -> Result<(), S::Error> {
        let plan = self.plan;
        let due = plan.of_layer(self.at, position);
        self.at += due.len();
        for names in due.chunk_by(|&one, &other| plan.is_one_change(one, other)) {
            self.entry(entry_of(&plan.place(names[0])), names, &mut io::empty(), sink)?;
        }
        Ok(())
    }

    /// Writes what takes away what the base has.
    fn whiteouts<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let plan = self.plan;
        for path in plan.whiteouts() {
            if let Some(parent) = plan.parent_of(path) {
                self.directory(parent, sink)?;
            }
            sink.put(&Change::Remove(path.clone()), &mut io::empty())?;
        }
        Ok(())
    }

    /// Writes an entry under all of its names.
    fn entry<S: Sink>(
        &mut self,
        mut entry: Entry,
        names: &[NameId],
        content: &mut impl BufRead,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let [first, others @ ..] = names else { return Err(otherwise().into()) };
        let place = self.plan.place(*first);
        if place.is_directory() {
            return self.directory(place, sink);
        }
        self.directory(place.parent(), sink)?;
        entry.path = place.path();
        let target = entry.path.clone();
        sink.put(&Change::Add(entry.clone()), content)?;
        entry.kind = EntryKind::Hardlink { target };
        for name in others {
            let place = self.plan.place(*name);
            self.directory(place.parent(), sink)?;
            entry.path = place.path();
            // Some readers set what a link's header says, so it says the same as its target's.
            sink.put(&Change::Add(entry.clone()), &mut io::empty())?;
        }
        Ok(())
    }

    /// Writes a directory, and those above it that haven't been written.
    fn directory<S: Sink>(&mut self, place: Place<'_>, sink: &mut S) -> Result<(), S::Error> {
        let mut chain = vec![];
        let mut here = place;
        while !std::mem::replace(&mut self.written[here.name_id().number()], true) {
            chain.push(here);
            here = here.parent();
        }
        chain.retain(|place| !self.plan.is_bare_root(place));
        for place in chain.into_iter().rev() {
            sink.put(&Change::Add(entry_of(&place)), &mut io::empty())?;
        }
        Ok(())
    }

    /// Writes the directories that are empty and that no layer describes.
    fn remaining_directories<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        let plan = self.plan;
        plan.implied().iter().try_for_each(|&name| self.directory(plan.place(name), sink))
    }
}

/// The entry of a name, as the tree has it.
fn entry_of(place: &Place<'_>) -> Entry {
    let inode = place.inode();
    Entry {
        path: place.path(),
        kind: inode.kind,
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        xattrs: inode.xattrs.into_vec(),
    }
}

/// The error for a layer that differs from its listing.
fn otherwise() -> Error {
    let what = "a layer's listing".to_owned();
    Error::Malformed { what, reason: "the layer holds something else" }
}
