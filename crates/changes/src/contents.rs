//! Contents, compared by their digests where all that the trees say is the same.

use std::collections::HashSet;
use std::io::{self, BufRead};

use cli::Progress;
use image::Opened;
use layer_format::layer::{Change, EntryKind, EntryPath, Filled, Reader};
use layer_format::listing::Origin;
use layer_format::{Algorithm, Digest, Error, Hasher};
use rootfs::{Content, Found};

use crate::compare::{Candidate, Comparison};
use crate::record::Node;
use crate::side::{self, Side, Sides};

/// Changes whose contents are asked for, in their order, with the numbers of the candidates that have them.
type Wanted = Vec<(Origin, usize)>;

/// What is told of a candidate's digest.
type Tell<'a> = &'a mut dyn FnMut(usize, Digest);

/// The numbers of the candidates that have other bytes.
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
    let mut earlier: Vec<Option<Digest>> = vec![];
    let mut others = HashSet::new();
    let asked = candidates.map(|(number, it)| (number, it.path, it.before));
    digests(&mut sides.before, asked, progress, &mut |number, digest| {
        earlier.resize(earlier.len().max(number + 1), None);
        earlier[number] = Some(digest);
    })?;
    let candidates = comparison.candidates().enumerate().filter(|(_, it)| !is_known(it));
    let asked = candidates.map(|(number, it)| (number, it.path, it.after));
    digests(&mut sides.after, asked, progress, &mut |number, digest| {
        if earlier.get_mut(number).and_then(Option::take) != Some(digest) {
            others.insert(number);
        }
    })?;
    // Of those that are left, nothing more was told.
    let left = earlier.iter().enumerate().filter_map(|(number, it)| it.is_some().then_some(number));
    others.extend(left);
    Ok(others)
}

/// Tells files apart that need not be read: two images may have them from the same change of the same layer.
fn same_content(sides: &Sides) -> impl Fn(&Candidate<'_>) -> bool + use<> {
    let diff_ids = |side: &Side| match side {
        Side::Image(opened) => opened.image().layers.iter().map(|layer| layer.diff_id).collect(),
        Side::Directory(_) | Side::Layer(..) => vec![],
    };
    let (before, after) = (diff_ids(&sides.before), diff_ids(&sides.after));
    move |candidate| {
        let (Some(old), Some(new)) = (candidate.before.origin(), candidate.after.origin()) else {
            return false;
        };
        let layer = before.get(old.layer());
        layer.is_some() && layer == after.get(new.layer()) && old.change() == new.change()
    }
}

/// Takes the digests of what is asked for: candidates by number, with their paths and what this side has there.
fn digests<'a>(
    side: &mut Side,
    mut asked: impl Iterator<Item = (usize, EntryPath, Node<'a>)>,
    progress: &Progress,
    tell: Tell<'_>,
) -> anyhow::Result<()> {
    match side {
        Side::Directory(_) => asked.try_for_each(|(number, path, node)| {
            if let Node::Scan(found) = node {
                tell(number, of_file(&path, found)?);
            }
            Ok(())
        }),
        Side::Image(opened) => of_image(opened, &wanted(asked), progress, tell),
        Side::Layer(file, start) => {
            Ok(of_layer(&mut side::read_layer(file, *start)?, &wanted(asked), tell)?)
        }
    }
}

/// What is asked for, in the order of the layers.
fn wanted<'a>(asked: impl Iterator<Item = (usize, EntryPath, Node<'a>)>) -> Wanted {
    let mut wanted: Wanted =
        asked.filter_map(|(number, _, node)| Some((node.origin()?, number))).collect();
    wanted.sort_unstable();
    wanted
}

fn of_file(path: &EntryPath, found: Found<'_>) -> anyhow::Result<Digest> {
    cli::interrupt::check()?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    Content::open(path, found)?.copy_to(&mut hasher)?;
    Ok(hasher.finish())
}

fn of_image(
    opened: &mut Opened,
    wanted: &[(Origin, usize)],
    progress: &Progress,
    tell: Tell<'_>,
) -> anyhow::Result<()> {
    for wanted in wanted.chunk_by(|(one, _), (other, _)| one.layer() == other.layer()) {
        let position = wanted[0].0.layer();
        opened.read_layer(position, progress, |layer| of_layer(layer, wanted, tell))?;
    }
    Ok(())
}

/// Takes the digests of those that come from one layer.
fn of_layer(
    layer: &mut Reader<impl BufRead>,
    wanted: &[(Origin, usize)],
    tell: Tell<'_>,
) -> Result<(), Error> {
    let mut wanted = wanted.chunk_by(|(one, _), (other, _)| one == other).peekable();
    let mut n_changes = 0;
    while let Some(change) = layer.read_change()? {
        let same = wanted.next_if(|same| same[0].0.change() == n_changes);
        n_changes += 1;
        let (Some(same), Change::Add(entry)) = (same, change) else { continue };
        if !matches!(entry.kind, EntryKind::File { .. }) {
            continue;
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        io::copy(&mut Filled::new(&mut *layer, entry.kind), &mut hasher)
            .map_err(|source| Error::io("reading a layer", source))?;
        let digest = hasher.finish();
        for (_, number) in same {
            tell(*number, digest);
        }
    }
    Ok(())
}
