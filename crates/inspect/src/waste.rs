//! The bytes of an image that nobody can read: copies of files that a higher layer replaces, removes or repeats.
//!
//! ```text
//! changes of each layer ──► every copy of a file, by its origin
//! the tree, layer by layer ──► which copies lose their last name, and what stands in their place then
//! ```
//!
//! Nothing but names and sizes is looked at, so the store's listings are enough.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write as _;

use cli::{Code, Failure, Io, Table, put_bytes};
use image::{Follower, Opened};
use layer_format::layer::{Change, EntryKind, EntryPath, Timestamp, split_last};
use layer_format::listing::{Origin, Place, Tree};
use serde_json::{Map, Value, json};

/// How much waste is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Most {
    /// So many percent of all bytes of files.
    Percent(f64),
    Bytes(u64),
}

impl Most {
    /// Parses `5%`, `0.5%` or a size such as `20M`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(number) = text.strip_suffix('%') else {
            return cli::parse_size(text)
                .map(Self::Bytes)
                .map_err(|_| "neither a share, as 5%, nor a size, as 20M".to_owned());
        };
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let percent = number.parse().ok().filter(|_| number.chars().all(is_number));
        let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(Self::Percent).ok_or_else(|| "a share is 0% to 100%".to_owned())
    }

    fn is_exceeded_by(self, found: &Found<'_>) -> bool {
        match self {
            Self::Percent(percent) => found.percent() > percent,
            Self::Bytes(bytes) => found.waste > bytes,
        }
    }
}

/// What makes a copy useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Something else has its path.
    Replaced,
    /// Nothing has its path.
    Removed,
    /// A copy of the same size and time has its path, as after a chown.
    Repeated,
}

impl Why {
    const fn text(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Removed => "removed",
            Self::Repeated => "repeated",
        }
    }
}

/// The bytes of a file in one layer.
#[derive(Clone, Debug)]
struct Copy {
    path: EntryPath,
    size: u64,
    mtime: Timestamp,
    /// The layer that has it, from 0.
    layer: usize,
    /// What made it useless, and the layer that did, from 0.
    fate: Option<(Why, usize)>,
}

/// Notes every copy of a file, and what becomes of it.
#[derive(Debug, Default)]
struct Copies {
    all: Vec<Copy>,
    /// The positions in `all`, by layer and number of the change.
    by_origin: HashMap<(usize, u64), usize>,
    layer: usize,
    n_changes: u64,
}

impl Follower for Copies {
    fn begin(&mut self, tree: &mut Tree) {
        tree.remember_losses();
    }

    fn change(&mut self, change: &Change) {
        let number = self.n_changes;
        self.n_changes += 1;
        let Change::Add(entry) = change else { return };
        let EntryKind::File { size, .. } = entry.kind else { return };
        if size == 0 {
            return;
        }
        self.by_origin.insert((self.layer, number), self.all.len());
        let (path, mtime, layer) = (entry.path.clone(), entry.mtime, self.layer);
        self.all.push(Copy { path, size, mtime, layer, fate: None });
    }

    fn layer(&mut self, tree: &mut Tree) {
        for origin in tree.take_losses() {
            let Some(copy) = self.copy(origin) else { continue };
            let why = why(&self.all[copy], tree, self.layer);
            self.all[copy].fate = Some((why, self.layer));
        }
        self.layer += 1;
        self.n_changes = 0;
    }
}

impl Copies {
    fn copy(&self, origin: Origin) -> Option<usize> {
        self.by_origin.get(&(origin.layer(), origin.change())).copied()
    }

    /// Gives the copies a fate that never had a name: an entry that stands where nothing can be.
    fn settle(&mut self, tree: &Tree) {
        let live: HashSet<usize> = tree
            .items()
            .filter_map(|item| item.place.origin())
            .filter_map(|it| self.copy(it))
            .collect();
        for (position, copy) in self.all.iter_mut().enumerate() {
            if copy.fate.is_none() && !live.contains(&position) {
                copy.fate = Some((Why::Removed, copy.layer));
            }
        }
    }
}

/// Why a copy lost its last name in a layer, told by what stands there now.
fn why(copy: &Copy, tree: &Tree, layer: usize) -> Why {
    let here = split_last(copy.path.as_bytes())
        .and_then(|(parent, name)| tree.find(parent)?.child(name))
        .filter(|place| place.layer() == Some(layer));
    let is_same = |place: &Place<'_>| {
        let inode = place.inode();
        inode.mtime == copy.mtime
            && matches!(inode.kind, EntryKind::File { size, .. } if size == copy.size)
    };
    match here {
        None => Why::Removed,
        Some(place) if is_same(&place) => Why::Repeated,
        Some(_) => Why::Replaced,
    }
}

/// The useless copies at one path.
#[derive(Debug)]
struct Row<'a> {
    path: &'a EntryPath,
    bytes: u64,
    copies: Vec<(&'a Copy, Why, usize)>,
}

/// The waste of an image.
#[derive(Debug)]
struct Found<'a> {
    /// Those with the most bytes first.
    rows: Vec<Row<'a>>,
    waste: u64,
    /// The bytes of all copies of all files.
    total: u64,
}

impl<'a> Found<'a> {
    fn of(copies: &'a Copies) -> Self {
        let mut rows: HashMap<&EntryPath, Row<'a>> = HashMap::new();
        for copy in &copies.all {
            let Some((why, by)) = copy.fate else { continue };
            let row = || Row { path: &copy.path, bytes: 0, copies: vec![] };
            let row = rows.entry(&copy.path).or_insert_with(row);
            row.bytes = row.bytes.saturating_add(copy.size);
            row.copies.push((copy, why, by));
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        rows.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(b.path)));
        let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
        let waste = sum(&mut rows.iter().map(|row| row.bytes));
        let total = sum(&mut copies.all.iter().map(|copy| copy.size));
        Self { rows, waste, total }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    fn percent(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.waste as f64 * 100.0 / self.total as f64 }
    }

    /// `45.1MB of 188MB (24%)`.
    fn summary(&self) -> String {
        let [waste, total] = [self.waste, self.total].map(cli::human_size);
        format!("{waste} of {total} ({})", percent_text(self.percent()))
    }

    fn object(&self) -> Value {
        let files: Vec<_> = self.rows.iter().map(Row::object).collect();
        let share = self.percent() / 100.0;
        json!({"waste": self.waste, "total": self.total, "share": share, "files": files})
    }
}

impl Row<'_> {
    fn object(&self) -> Value {
        let mut fields = Map::new();
        put_bytes(&mut fields, "path", self.path.as_bytes());
        fields.insert("bytes".to_owned(), self.bytes.into());
        let copy = |(copy, why, by): &(&Copy, Why, usize)| json!({"layer": copy.layer + 1, "size": copy.size, "why": why.text(), "by": by + 1});
        fields.insert("copies".to_owned(), self.copies.iter().map(copy).collect());
        fields.into()
    }

    fn cells(&self) -> [String; 4] {
        let layers: Vec<_> =
            self.copies.iter().map(|(copy, ..)| (copy.layer + 1).to_string()).collect();
        let whys: BTreeSet<_> = self.copies.iter().map(|(_, why, _)| why.text()).collect();
        let whys: Vec<_> = whys.into_iter().collect();
        let size = cli::human_size(self.bytes);
        [size, layers.join(", "), whys.join(", "), self.path.to_string()]
    }
}

/// A share for people: two digits, and 100% only if it is all.
fn percent_text(percent: f64) -> String {
    match percent {
        percent if percent == 0.0 || percent >= 9.95 => format!("{:.0}%", percent.floor()),
        percent if percent < 0.1 => "less than 0.1%".to_owned(),
        percent => format!("{percent:.1}%"),
    }
}

/// Lists the waste, that with the most bytes first, and its sum.
///
/// # Errors
/// [`Code::Failed`] if it is more than `most`.
pub(crate) fn list(
    mut opened: Opened,
    is_json: bool,
    most: Option<Most>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let mut copies = Copies::default();
    let tree = opened.tree_shown(&io.progress, &mut copies)?;
    opened.finish()?;
    copies.settle(&tree);
    drop(tree);
    let found = Found::of(&copies);
    if is_json {
        writeln!(io.output, "{}", cli::text::clean_json(&found.object().to_string()))?;
    } else {
        let mut table = Table::new(&["WASTE", "LAYERS", "WHY", "PATH"]);
        found.rows.iter().for_each(|row| table.row(row.cells()));
        if !found.rows.is_empty() {
            table.write(&mut io.output)?;
        }
        writeln!(io.output, "total: {}", found.summary())?;
    }
    io.output.flush()?;
    match most.filter(|most| most.is_exceeded_by(&found)) {
        None => Ok(()),
        Some(most) => Err(too_much(&found, most).into()),
    }
}

fn too_much(found: &Found<'_>, most: Most) -> Failure {
    let most = match most {
        Most::Percent(percent) => format!("{percent}%"),
        Most::Bytes(bytes) => cli::human_size(bytes),
    };
    let text = format!("{} are wasted, more than {most}", found.summary());
    Failure::new(Code::Failed, text).hint(
        "remove a file in the step that makes it, and set owners there; or flatten --as-image",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_share_or_a_size() {
        for (text, expected) in [
            ("5%", Some(Most::Percent(5.0))),
            ("0.5%", Some(Most::Percent(0.5))),
            ("0%", Some(Most::Percent(0.0))),
            ("20M", Some(Most::Bytes(20 << 20))),
            ("0", Some(Most::Bytes(0))),
            ("101%", None),
            ("-1%", None),
            ("%", None),
            ("1e1%", None),
            ("inf%", None),
            ("five", None),
        ] {
            assert_eq!(Most::parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_share_has_two_digits() {
        for (percent, expected) in [
            (0.0, "0%"),
            (0.04, "less than 0.1%"),
            (4.26, "4.3%"),
            (24.4, "24%"),
            (99.9, "99%"),
            (100.0, "100%"),
        ] {
            assert_eq!(percent_text(percent), expected);
        }
    }
}
