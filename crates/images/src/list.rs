//! The list of images, and the list of their blobs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use cli::{Form, Table};
use layer_format::Digest;
use serde_json::json;
use store::{IndexEntry, Store};

use crate::graph::Graph;
use crate::names::{explain, shown, shown_short};
use crate::page::{Line, Page};
use crate::pattern::Pattern;

/// One line of the list: an image with its name.
struct Row {
    image: IndexEntry,
    graph: Rc<Graph>,
    /// The size of its blobs, in bytes.
    size: u64,
    /// The size of those that other images have too.
    shared: u64,
    /// The store that has the name, if there are several.
    store: Option<PathBuf>,
}

/// What a list shows of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Everything.
    Images,
    /// Everything, with digests in full.
    ImagesInFull,
    /// The digest of each, once.
    Digests,
    /// Each name with the digest that pins it.
    Lock,
}

/// The columns of the table. The last one is only there if several stores are read.
const COLUMNS: [&str; 7] = ["NAME", "DIGEST", "PLATFORM", "CREATED", "SIZE", "SHARED", "STORE"];

/// Columns that a narrow terminal shows only if there is room: SHARED, PLATFORM, CREATED. Names and digests are typed again.
const LESS_WANTED: [usize; 3] = [5, 2, 3];

/// Lists every name that one of the patterns matches; without a pattern, every name.
///
/// # Errors
/// [`store::Error::NotFound`] if a name is none of an image. A pattern may match nothing.
pub(crate) fn list(
    store: &Store,
    patterns: &[Pattern],
    content: Content,
    page: &mut Page<'_>,
) -> anyhow::Result<()> {
    let all = store.images()?;
    let is_missing = |it: &&Pattern| !it.is_glob && !all.iter().any(|image| it.matches(image));
    if let Some(missing) = patterns.iter().find(is_missing) {
        return Err(explain(store::Error::NotFound { text: missing.to_string() }));
    }
    let is_meant =
        |image: &&IndexEntry| patterns.is_empty() || patterns.iter().any(|it| it.matches(image));
    let mut chosen: Vec<_> = all.iter().filter(is_meant).cloned().collect();
    chosen.sort_by(in_order);
    if content == Content::Digests && page.form != Form::Json {
        let mut seen = HashSet::new();
        chosen.retain(|image| seen.insert(*image.digest()));
        return page.list(&chosen.iter().map(digest_line).collect::<Vec<_>>());
    }
    if content == Content::Lock {
        return page.list(&chosen.iter().filter_map(lock_line).collect::<Vec<_>>());
    }
    let rows = rows(store, &all, chosen)?;
    if page.form != Form::Text {
        return page.list(&rows.iter().map(Row::line).collect::<Vec<_>>());
    }
    let columns = if store.each().len() > 1 { &COLUMNS[..] } else { &COLUMNS[..6] };
    let mut table = Table::new(columns);
    for row in &rows {
        table.row(row.cells(content).into_iter().take(columns.len()));
    }
    if let Some(columns) = page.output.columns().filter(|_| content == Content::Images) {
        table.leave_out(&LESS_WANTED, columns);
        table.cut_columns(&[0], columns);
    }
    Ok(table.write(page.output)?)
}

/// Lists the digest of every blob that belongs to an image and is there; or of all blobs.
pub(crate) fn digests(store: &Store, is_all: bool, page: &mut Page<'_>) -> anyhow::Result<()> {
    let orphans = if is_all { store.orphans()? } else { vec![] };
    let mut digests: BTreeMap<_, _> = orphans.into_iter().collect();
    for image in store.images()? {
        let graph = Graph::read(store, &image.descriptor)?;
        for (digest, size) in graph.sizes() {
            if store.has(&digest, size)? {
                digests.insert(digest, size);
            }
        }
        // An index may be kept for the one image that was chosen from it.
        let Some(index) = image.index() else { continue };
        match store.document(&index) {
            Ok(raw) => drop(digests.insert(index, raw.len() as u64)),
            // It isn't there, or damaged: the receiver can't count on it.
            Err(store::Error::MissingBlob { .. } | store::Error::Layer(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let line = |(digest, size): (&Digest, &u64)| Line {
        name: digest.to_string(),
        json: json!({"digest": digest, "size": size}),
    };
    page.list(&digests.iter().map(line).collect::<Vec<_>>())
}

/// The order of the list: names first; images without one after them.
fn in_order(one: &IndexEntry, other: &IndexEntry) -> Ordering {
    match (one.name(), other.name()) {
        (Some(name), Some(other_name)) => cli::order::natural(name, other_name),
        (name, other_name) => other_name.is_some().cmp(&name.is_some()),
    }
    .then_with(|| one.digest().cmp(other.digest()))
}

fn digest_line(image: &IndexEntry) -> Line {
    Line { name: image.digest().to_string(), json: json!(image.digest()) }
}

/// A name with the digest that a registry has for it: that of the index, if the image was chosen from one. `None` for an image
/// without a name that a registry could have.
fn lock_line(image: &IndexEntry) -> Option<Line> {
    let name = image.reference()?;
    let digest = image.index().unwrap_or(*image.digest());
    let name = match name.digest() {
        Some(_) => name.to_string(),
        None => format!("{name}@{digest}"),
    };
    Some(Line { name, json: json!(null) })
}

/// The lines for the chosen ones of all images.
fn rows(store: &Store, all: &[IndexEntry], chosen: Vec<IndexEntry>) -> anyhow::Result<Vec<Row>> {
    let mut graphs: HashMap<Digest, Rc<Graph>> = HashMap::new();
    let mut users: HashMap<Digest, u64> = HashMap::new();
    for image in all {
        if graphs.contains_key(image.digest()) {
            continue;
        }
        let graph = Graph::read(store, &image.descriptor)?;
        graph.blobs.keys().for_each(|blob| *users.entry(*blob).or_default() += 1);
        graphs.insert(*image.digest(), Rc::new(graph));
    }
    let homes = homes(store)?;
    let row = |image: IndexEntry| {
        let store = homes.get(&key(&image)).cloned();
        let graph = Rc::clone(&graphs[image.digest()]);
        let size = graph.sizes().map(|(_, size)| size).sum();
        let is_shared = |(digest, _): &(Digest, u64)| users[digest] > 1;
        let shared = graph.sizes().filter(is_shared).map(|(_, size)| size).sum();
        Row { image, graph, size, shared, store }
    };
    Ok(chosen.into_iter().map(row).collect())
}

/// What an entry is known by.
fn key(image: &IndexEntry) -> (Option<String>, Digest) {
    (image.name().map(str::to_owned), *image.digest())
}

/// The store of each entry: the first that has it.
fn homes(store: &Store) -> store::Result<HashMap<(Option<String>, Digest), PathBuf>> {
    let mut homes = HashMap::new();
    let stores = store.each();
    for each in stores.iter().filter(|_| stores.len() > 1) {
        let path = each.path().to_owned();
        // As in `Store::images`: the store that is written may not be there yet.
        let entries = if path == store.path() { store.own_images()? } else { each.own_images()? };
        for image in entries {
            homes.entry(key(&image)).or_insert_with(|| path.clone());
        }
    }
    Ok(homes)
}

impl Row {
    fn cells(&self, content: Content) -> [String; 7] {
        let digest = self.image.digest();
        let name =
            if self.image.name().is_some() { shown_short(&self.image) } else { "-".to_owned() };
        let platforms = match &self.graph.platforms[..] {
            [] => "-".to_owned(),
            platforms => platforms.join(","),
        };
        let created = self.graph.created.as_deref().and_then(date).unwrap_or("-");
        [
            name,
            if content == Content::ImagesInFull { digest.to_string() } else { digest.short() },
            platforms,
            created.to_owned(),
            cli::human_size(self.size),
            cli::human_size(self.shared),
            self.store.as_deref().map(cli::text::clean_path).unwrap_or_default(),
        ]
    }

    fn line(&self) -> Line {
        let Self { image, graph, size, shared, store } = self;
        let missing: BTreeSet<_> = graph.problems.iter().map(|(digest, _)| digest).collect();
        let mut json = json!({
            "name": image.name(),
            "digest": image.digest(),
            "index": image.index(),
            "mediaType": image.descriptor.media_type,
            "platforms": graph.platforms,
            "created": graph.created,
            "size": size,
            "shared": shared,
            "damaged": !missing.is_empty(),
        });
        if let Some(store) = store {
            json["store"] = store.to_string_lossy().into();
        }
        Line { name: shown(image), json }
    }
}

/// The date in a time of RFC 3339; `None` if the text doesn't begin with one.
fn date(time: &str) -> Option<&str> {
    let day = time.get(..10)?;
    let is_day = day.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    is_day.then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_day_is_a_day() {
        assert_eq!(date("2024-05-01T10:00:00Z"), Some("2024-05-01"));
        for text in ["", "2024-05", "yesterday, or", "2024-05-0\u{1b}", "2024-05-0ü"] {
            assert_eq!(date(text), None, "{text}");
        }
    }
}
