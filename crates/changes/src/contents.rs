//! Contents, compared by their digests where all that the records say is the same.

use std::collections::HashSet;
use std::io::{self, BufRead};

use cli::Progress;
use image::Opened;
use layer_format::layer::{Change, EntryKind, EntryPath, Filled, Reader};
use layer_format::listing::Origin;
use layer_format::{Algorithm, Digest, Error, Hasher};
use rootfs::{Content, ScanEntry};

use crate::compare::{Candidate, Comparison};
use crate::record::Node;
use crate::side::{Side, Sides};

/// A file whose digest is asked for.
struct Asked<'a> {
    /// The number of the candidate.
    number: usize,
    path: EntryPath,
    /// What the side has there.
    node: Node<'a>,
}

/// A change of a layer whose digest is asked for. They are in the order of the layers and their changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    origin: Origin,
    /// The number of the candidate that has it. Several may have the same.
    number: usize,
}

/// Called with the number of a candidate and its digest.
type Tell<'a> = &'a mut dyn FnMut(usize, Digest);

/// The numbers of the candidates that have other bytes.
///
/// # Errors
/// Wrong usage if the files to compare have more than `max_size` bytes.
pub(crate) fn others(
    comparison: &Comparison<'_>,
    sides: &mut Sides,
    max_size: Option<u64>,
    progress: &Progress,
) -> anyhow::Result<HashSet<usize>> {
    let is_known = same_content(sides);
    let candidates = comparison.candidates().filter(|it| !is_known(it));
    let size = candidates.map(|it| it.size()).fold(0, u64::saturating_add);
    cli::check_size(max_size, "the contents to compare are", size)?;
    let candidates = comparison.candidates().enumerate().filter(|(_, it)| !is_known(it));
    let asked = candidates.map(|(number, it)| Asked { number, path: it.path, node: it.before });
    let mut earlier: Vec<Option<Digest>> = vec![];
    digests(&mut sides.before, asked, progress, &mut |number, digest| {
        earlier.resize(earlier.len().max(number + 1), None);
        earlier[number] = Some(digest);
    })?;
    let candidates = comparison.candidates().enumerate().filter(|(_, it)| !is_known(it));
    let asked = candidates.map(|(number, it)| Asked { number, path: it.path, node: it.after });
    let mut others = HashSet::new();
    digests(&mut sides.after, asked, progress, &mut |number, digest| {
        if earlier.get_mut(number).and_then(Option::take) != Some(digest) {
            others.insert(number);
        }
    })?;
    // The digests that are left are those of candidates of which the second side gave none.
    let left = earlier.iter().enumerate().filter_map(|(number, it)| it.is_some().then_some(number));
    others.extend(left);
    Ok(others)
}

/// Tells which files need not be read: two images may have them from the same change of the same layer.
fn same_content(sides: &Sides) -> impl Fn(&Candidate<'_>) -> bool + use<> {
    let before = sides.before.diff_ids();
    let after = sides.after.diff_ids();
    move |candidate| {
        let (Some(old), Some(new)) = (candidate.before.origin(), candidate.after.origin()) else {
            return false;
        };
        let layer = before.get(old.layer());
        layer.is_some() && layer == after.get(new.layer()) && old.change() == new.change()
    }
}

/// Takes the digests of one side's files.
fn digests<'a>(
    side: &mut Side,
    mut asked: impl Iterator<Item = Asked<'a>>,
    progress: &Progress,
    tell: Tell<'_>,
) -> anyhow::Result<()> {
    match side {
        Side::Directory(_) => asked.try_for_each(|asked| {
            if let Node::Scan(found) = asked.node {
                tell(asked.number, of_file(&asked.path, found)?);
            }
            Ok(())
        }),
        Side::Image(opened) => of_image(opened, &wanted(asked), progress, tell),
        Side::Layer(layer) => Ok(of_layer(&mut layer.read()?, &wanted(asked), tell)?),
    }
}

/// What is asked for, in the order of the layers.
fn wanted<'a>(asked: impl Iterator<Item = Asked<'a>>) -> Vec<Wanted> {
    let wanted = asked
        .filter_map(|asked| Some(Wanted { origin: asked.node.origin()?, number: asked.number }));
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort_unstable();
    wanted
}

fn of_file(path: &EntryPath, found: ScanEntry<'_>) -> anyhow::Result<Digest> {
    cli::interrupt::check()?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    Content::open(path, found)?.copy_to(&mut hasher)?;
    Ok(hasher.finish())
}

fn of_image(
    opened: &mut Opened,
    wanted: &[Wanted],
    progress: &Progress,
    tell: Tell<'_>,
) -> anyhow::Result<()> {
    for wanted in wanted.chunk_by(|one, other| one.origin.layer() == other.origin.layer()) {
        let position = wanted[0].origin.layer();
        opened.read_layer(position, progress, |layer| of_layer(layer, wanted, tell))?;
    }
    Ok(())
}

/// Takes the digests of a layer's files.
fn of_layer(
    layer: &mut Reader<impl BufRead>,
    wanted: &[Wanted],
    tell: Tell<'_>,
) -> Result<(), Error> {
    let mut wanted = wanted.chunk_by(|one, other| one.origin == other.origin).peekable();
    let mut n_changes = 0;
    while let Some(change) = layer.read_change()? {
        let same = wanted.next_if(|same| same[0].origin.change() == n_changes);
        n_changes += 1;
        let (Some(same), Change::Add(entry)) = (same, change) else { continue };
        if !matches!(entry.kind, EntryKind::File { .. }) {
            continue;
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        io::copy(&mut Filled::new(&mut *layer, entry.kind), &mut hasher)
            .map_err(|source| Error::io("reading a layer", source))?;
        let digest = hasher.finish();
        for wanted in same {
            tell(wanted.number, digest);
        }
    }
    Ok(())
}
