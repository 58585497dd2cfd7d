//! Contents, compared by their digests where all that the trees say is the same.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader};

use anyhow::Context as _;
use cli::Progress;
use cli::interrupt::Stopping;
use layer_format::layer::{Change, EntryKind, EntryPath, Filled, Reader};
use layer_format::listing::Inode;
use layer_format::{Algorithm, Digest, Error, Hasher};
use rootfs::{Content, Scan};
use store::{Opened, Store};

use crate::compare::{Candidate, Comparison};
use crate::side::{self, BUFFER, Side, Sides};

/// A change of a layer, and the numbers of the candidates whose content it has.
type Wanted = HashMap<(usize, u64), Vec<usize>>;

/// The digests of candidates, by number.
type Digests = HashMap<usize, Digest>;

/// A file whose digest is asked for, by the candidate's number.
struct Asked<'a> {
    number: usize,
    path: &'a EntryPath,
    inode: &'a Inode,
}

/// The numbers of the candidates that have other bytes.
pub(crate) fn others(
    comparison: &Comparison<'_>,
    sides: &mut Sides,
    store: Option<&Store>,
    progress: &Progress,
) -> anyhow::Result<HashSet<usize>> {
    let is_known = same_content(sides);
    let candidates: Vec<_> = comparison.candidates().enumerate().collect();
    let (mut before, mut after) = (vec![], vec![]);
    for (number, candidate) in candidates.iter().filter(|(_, candidate)| !is_known(candidate)) {
        let (number, path) = (*number, &candidate.path);
        before.push(Asked { number, path, inode: candidate.before });
        after.push(Asked { number, path, inode: candidate.after });
    }
    let old = digests(&mut sides.before, &before, store, progress)?;
    let new = digests(&mut sides.after, &after, store, progress)?;
    let numbers = before.iter().map(|asked| asked.number);
    Ok(numbers.filter(|number| old.get(number) != new.get(number)).collect())
}

/// Tells files apart that need not be read: two images may have them from the same change of the same layer.
fn same_content(sides: &Sides) -> impl Fn(&Candidate<'_>) -> bool + use<> {
    let diff_ids = |side: &Side| match side {
        Side::Image(opened) => opened.image().layers.iter().map(|layer| layer.diff_id).collect(),
        Side::Directory(_) | Side::Layer(..) => vec![],
    };
    let (before, after) = (diff_ids(&sides.before), diff_ids(&sides.after));
    move |candidate| {
        let (Some(old), Some(new)) = (candidate.before.origin, candidate.after.origin) else {
            return false;
        };
        let layer = before.get(old.layer());
        layer.is_some() && layer == after.get(new.layer()) && old.change() == new.change()
    }
}

fn digests(
    side: &mut Side,
    asked: &[Asked<'_>],
    store: Option<&Store>,
    progress: &Progress,
) -> anyhow::Result<Digests> {
    let mut wanted = Wanted::new();
    for Asked { number, inode, .. } in asked {
        if let Some(origin) = inode.origin {
            wanted.entry((origin.layer(), origin.change())).or_default().push(*number);
        }
    }
    let mut digests = Digests::new();
    match side {
        Side::Directory(scan) => {
            for Asked { number, path, .. } in asked {
                digests.insert(*number, of_file(scan, path)?);
            }
        }
        Side::Image(opened) => of_image(opened, &wanted, &mut digests, (store, progress))?,
        Side::Layer(file, start) => {
            of_layer(&mut side::read_layer(file, *start)?, 0, &wanted, &mut digests)?;
        }
    }
    Ok(digests)
}

fn of_file(scan: &Scan, path: &EntryPath) -> anyhow::Result<Digest> {
    cli::interrupt::check()?;
    let found = scan.top().descend(path).context("a file has vanished")?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    Content::open(path, found)?.copy_to(&mut hasher)?;
    Ok(hasher.finish())
}

fn of_image(
    opened: &mut Opened,
    wanted: &Wanted,
    digests: &mut Digests,
    (store, progress): (Option<&Store>, &Progress),
) -> anyhow::Result<()> {
    let image = opened.image().clone();
    let positions: HashSet<usize> = wanted.keys().map(|(layer, _)| *layer).collect();
    for (position, layer) in image.layers.iter().enumerate().filter(|(n, _)| positions.contains(n))
    {
        let name = || image.layer_name(position);
        let task = progress.task(layer.digest().short(), layer.size());
        task.state("Comparing");
        let stored = Stopping(task.read(opened.stored(position).with_context(name)?));
        let content = store::uncompressed(layer, stored, store).with_context(name)?;
        let mut reader = Reader::new(BufReader::with_capacity(BUFFER, content));
        of_layer(&mut reader, position, wanted, digests).with_context(name)?;
        drop(reader);
        task.done("Compared");
    }
    Ok(())
}

fn of_layer(
    layer: &mut Reader<impl BufRead>,
    position: usize,
    wanted: &Wanted,
    digests: &mut Digests,
) -> Result<(), Error> {
    let mut number = 0;
    while let Some(change) = layer.read_change()? {
        let numbers = wanted.get(&(position, number));
        number += 1;
        let (Some(numbers), Change::Add(entry)) = (numbers, change) else { continue };
        if !matches!(entry.kind, EntryKind::File { .. }) {
            continue;
        }
        let mut hasher = Hasher::new(Algorithm::Sha256);
        io::copy(&mut Filled::new(&mut *layer, entry.kind), &mut hasher)
            .map_err(|source| Error::io("reading a layer", source))?;
        let digest = hasher.finish();
        digests.extend(numbers.iter().map(|&n| (n, digest)));
    }
    Ok(())
}
