//! Contents, compared where size and time tell no difference.
//!
//! Of an image's files the digests are taken first, a layer after the other, and only of those that are needed.

use std::io::{self, BufRead};

use cli::{Io, Progress, usage};
use image::Opened;
use layer_format::layer::{Change, EntryKind, Filled, Reader};
use layer_format::listing::Origin;
use layer_format::{Algorithm, Digest, Error, Hasher};
use rootfs::{Candidate, Content, Diff, Mounts, Root, Scan, ScanOptions};

use crate::base::Base;

/// The digests of files in an image, in the order of the changes that they come from.
type Digests = Vec<(Origin, Digest)>;

/// Notes which files have other bytes.
pub(crate) fn compare(
    diff: &mut Diff<'_>,
    base: &Base,
    opened: Option<Opened>,
    io: &Io<'_>,
) -> anyhow::Result<()> {
    match (base, opened) {
        (Base::Scratch, _) => Ok(()),
        (Base::Directory { root, .. }, _) => with_directory(diff, root),
        (Base::Image { .. }, Some(mut opened)) => {
            let digests = digests(diff, &mut opened, &io.progress)?;
            opened.finish()?;
            with_digests(diff, &digests)
        }
        (Base::Image { .. }, None) => {
            Err(usage("--checksum needs a base that can be read twice").into())
        }
    }
}

fn with_directory(diff: &mut Diff<'_>, root: &Root) -> anyhow::Result<()> {
    let (mounts, stop) = (Mounts::Enter, &cli::interrupt::requested);
    let options = ScanOptions { leave_out: None, mounts, known: None, stop };
    let scan = Scan::read(root, &options)?;
    let is_other = |candidate: &Candidate<'_>| -> anyhow::Result<bool> {
        let before = scan.top().descend(&candidate.path);
        let Some(before) = before.filter(|it| it.kind() == candidate.found.kind()) else {
            return Ok(true);
        };
        let before = digest(&Content::open(&candidate.path, before)?)?;
        Ok(before != digest(&Content::open(&candidate.path, candidate.found)?)?)
    };
    note(diff, is_other)
}

fn with_digests(diff: &mut Diff<'_>, digests: &Digests) -> anyhow::Result<()> {
    let is_other = |candidate: &Candidate<'_>| -> anyhow::Result<bool> {
        let before = candidate.base.origin().and_then(|origin| find(digests, origin));
        let now = digest(&Content::open(&candidate.path, candidate.found)?)?;
        Ok(before != Some(&now))
    };
    note(diff, is_other)
}

fn find(digests: &Digests, origin: Origin) -> Option<&Digest> {
    let at = digests.binary_search_by_key(&origin, |&(origin, _)| origin).ok()?;
    Some(&digests[at].1)
}

fn note(
    diff: &mut Diff<'_>,
    is_other: impl Fn(&Candidate<'_>) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let mut others = vec![];
    for candidate in diff.candidates() {
        cli::interrupt::check()?;
        if is_other(&candidate)? {
            others.push(candidate);
        }
    }
    for candidate in &others {
        diff.note_content(candidate);
    }
    Ok(())
}

fn digest(content: &Content) -> anyhow::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    content.copy_to(&mut hasher)?;
    Ok(hasher.finish())
}

/// Reads the layers that have files to compare.
fn digests(diff: &Diff<'_>, opened: &mut Opened, progress: &Progress) -> anyhow::Result<Digests> {
    let mut wanted: Vec<_> =
        diff.candidates().filter_map(|candidate| candidate.base.origin()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut digests = Digests::new();
    for wanted in wanted.chunk_by(|one, other| one.layer() == other.layer()) {
        let position = wanted[0].layer();
        opened.read_layer(position, progress, |layer| hash_files(layer, wanted, &mut digests))?;
    }
    Ok(digests)
}

/// Takes the digests of some of a layer's files, by their places among its changes.
fn hash_files(
    layer: &mut Reader<impl BufRead>,
    wanted: &[Origin],
    digests: &mut Digests,
) -> Result<(), Error> {
    let reading = |source| Error::io("reading a layer", source);
    let mut wanted = wanted.iter().peekable();
    let mut n_changes = 0;
    while let Some(change) = layer.read_change()? {
        if let Some(origin) = wanted.next_if(|origin| origin.change() == n_changes)
            && let Change::Add(entry) = change
            && let EntryKind::File { .. } = entry.kind
        {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            io::copy(&mut Filled::new(&mut *layer, entry.kind), &mut hasher).map_err(reading)?;
            digests.push((*origin, hasher.finish()));
        }
        n_changes += 1;
    }
    Ok(())
}
