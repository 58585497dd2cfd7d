//! Contents, compared where size and time tell no difference.
//!
//! If the base is an image, the digests of its files are taken first, one layer after the other, and only of the files that
//! are compared.

use std::io::{self, BufRead};

use cli::{Progress, usage};
use image::Opened;
use layer_format::layer::{Change, EntryKind, Filled, Reader};
use layer_format::listing::Origin;
use layer_format::{Algorithm, Digest, Error, Hasher};
use rootfs::{Candidate, Content, Diff, Mounts, Root, Scan, ScanOptions};

use crate::base::Contents;

/// The digest of a file in an image.
struct FileDigest {
    /// The change that the file comes from.
    origin: Origin,
    digest: Digest,
}

/// Notes in `diff` which files have other bytes than in the base.
pub(crate) fn compare(
    diff: &mut Diff<'_>,
    contents: Contents,
    progress: &Progress,
) -> anyhow::Result<()> {
    match contents {
        Contents::Scratch => Ok(()),
        Contents::Directory(root) => with_directory(diff, &root),
        Contents::Image(mut opened) => {
            let digests = digests(diff, &mut opened, progress)?;
            opened.finish()?;
            with_digests(diff, &digests)
        }
        Contents::Unavailable => {
            Err(usage("--checksum needs a base that can be read twice").into())
        }
    }
}

fn with_directory(diff: &mut Diff<'_>, root: &Root) -> anyhow::Result<()> {
    let stop = &cli::interrupt::requested;
    let options = ScanOptions { leave_out: None, mounts: Mounts::Enter, known: None, stop };
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

/// Compares with the digests of an image's files, which are in the order of their origins.
fn with_digests(diff: &mut Diff<'_>, digests: &[FileDigest]) -> anyhow::Result<()> {
    let is_other = |candidate: &Candidate<'_>| -> anyhow::Result<bool> {
        let before = candidate.base.origin().and_then(|origin| find(digests, origin));
        let now = digest(&Content::open(&candidate.path, candidate.found)?)?;
        Ok(before != Some(&now))
    };
    note(diff, is_other)
}

fn find(digests: &[FileDigest], origin: Origin) -> Option<&Digest> {
    let at = digests.binary_search_by_key(&origin, |file| file.origin).ok()?;
    Some(&digests[at].digest)
}

/// Asks about each file that can't be told to be different, and notes those that are.
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

/// Reads the layers that have files to compare. The digests come in the order of their origins.
fn digests(
    diff: &Diff<'_>,
    opened: &mut Opened,
    progress: &Progress,
) -> anyhow::Result<Vec<FileDigest>> {
    let mut wanted: Vec<_> =
        diff.candidates().filter_map(|candidate| candidate.base.origin()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut digests = vec![];
    for wanted in wanted.chunk_by(|one, other| one.layer() == other.layer()) {
        let position = wanted[0].layer();
        opened.read_layer(position, progress, |layer| hash_files(layer, wanted, &mut digests))?;
    }
    Ok(digests)
}

/// Takes the digests of some of a layer's files. `wanted` names them by the numbers of their changes, in order.
fn hash_files(
    layer: &mut Reader<impl BufRead>,
    wanted: &[Origin],
    digests: &mut Vec<FileDigest>,
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
            digests.push(FileDigest { origin: *origin, digest: hasher.finish() });
        }
        n_changes += 1;
    }
    Ok(())
}
