//! The sizes of directories and large files, drawn as a tree, and how much of each comes from which layer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use cli::{Io, Table, put_bytes};
use image::Opened;
use layer_format::layer::{EntryKind, EntryPath, escape};
use layer_format::listing::{Item, Tree};
use serde_json::{Map, Value, json};

use crate::write_array;

/// What has a smaller share of the whole than one in so many is drawn in one line with its like.
const SMALLEST: u64 = 100;
/// How many layers are named in a line, but for the first.
const MOST_LAYERS: usize = 3;

/// A directory or a file.
#[derive(Debug)]
struct Entry {
    path: EntryPath,
    /// The bytes of the files below it, each counted once.
    size: u64,
    /// As many of them as come from each layer, by its number from 1.
    layers: BTreeMap<usize, u64>,
    /// The entries in it, by their positions.
    children: Vec<usize>,
}

/// The entries down to a depth, the root first, each after its directory.
#[derive(Debug, Default)]
struct Entries {
    all: Vec<Entry>,
    /// The entry of the current name, and those above it.
    open: Vec<usize>,
}

impl Entries {
    fn of(tree: &Tree, depth: usize) -> Self {
        let mut entries = Self::default();
        let mut seen = HashSet::new();
        for item in tree.items() {
            entries.enter(&item, depth);
            // A file with several names counts where it comes first, as du counts it.
            if !item.place.is_linked() || seen.insert(item.place.id()) {
                entries.count(&item);
            }
        }
        entries
    }

    fn enter(&mut self, item: &Item<'_>, depth: usize) {
        let path = item.path.as_bytes();
        let level = if path.is_empty() { 0 } else { path.split(|&byte| byte == b'/').count() };
        self.open.truncate(level);
        if level > depth {
            return;
        }
        let position = self.all.len();
        if let Some(&parent) = self.open.last() {
            self.all[parent].children.push(position);
        }
        self.open.push(position);
        let path = item.path.clone();
        self.all.push(Entry { path, size: 0, layers: BTreeMap::new(), children: vec![] });
    }

    fn count(&mut self, item: &Item<'_>) {
        let EntryKind::File { size, .. } = item.place.inode().kind else { return };
        let layer = item.place.origin().map_or(0, |origin| origin.layer() + 1);
        for &position in &self.open {
            let entry = &mut self.all[position];
            entry.size = entry.size.saturating_add(size);
            let of_layer = entry.layers.entry(layer).or_default();
            *of_layer = of_layer.saturating_add(size);
        }
    }

    /// Draws an entry and those below it. `lead` stands before each line of its children.
    fn draw(&self, position: usize, lead: &str, table: &mut Table) {
        let least = self.all[0].size.div_ceil(SMALLEST);
        let mut children = self.all[position].children.clone();
        children.sort_by_key(|&child| Reverse(self.all[child].size));
        let n_large =
            children.iter().filter(|&&child| self.all[child].size >= least.max(1)).count();
        let small = children.split_off(n_large);
        let n_lines = children.len() + usize::from(!small.is_empty());
        for (n, &child) in children.iter().enumerate() {
            let (branch, below) =
                if n + 1 == n_lines { ("└── ", "    ") } else { ("├── ", "│   ") };
            let entry = &self.all[child];
            table.row(entry.cells(&format!("{lead}{branch}{}", entry.name()), MOST_LAYERS));
            self.draw(child, &format!("{lead}{below}"), table);
        }
        if !small.is_empty() {
            let size = small.iter().fold(0, |sum: u64, &at| sum.saturating_add(self.all[at].size));
            let more = format!("{lead}└── ({} more)", small.len());
            table.row([cli::human_size(size), more, String::new()]);
        }
    }
}

impl Entry {
    /// The last component of the path.
    fn name(&self) -> String {
        escape(self.path.as_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default())
    }

    /// The cells of a line, with so many layers at most: those that it has most of.
    fn cells(&self, drawn: &str, most: usize) -> [String; 3] {
        let mut layers: Vec<_> = self.layers.iter().filter(|(_, size)| **size > 0).collect();
        let n_layers = layers.len();
        layers.sort_by_key(|&(_, &size)| Reverse(size));
        layers.truncate(most);
        layers.sort();
        let shown =
            layers.iter().map(|(layer, size)| format!("{layer}: {}", cli::human_size(**size)));
        let mut shown: Vec<_> = shown.collect();
        if layers.len() < n_layers {
            shown.push("…".to_owned());
        }
        [cli::human_size(self.size), drawn.to_owned(), shown.join(", ")]
    }

    fn object(&self) -> Value {
        let mut fields = Map::new();
        let path = if self.path.is_root() { b"." } else { self.path.as_bytes() };
        put_bytes(&mut fields, "path", path);
        fields.insert("size".to_owned(), self.size.into());
        let layer = |(layer, size): (&usize, &u64)| json!({"layer": layer, "size": size});
        fields.insert("layers".to_owned(), self.layers.iter().map(layer).collect());
        fields.into()
    }
}

/// Draws the tree down to a depth.
pub(crate) fn draw(
    mut opened: Opened,
    depth: u8,
    is_json: bool,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let tree = opened.tree(&io.progress)?;
    opened.finish()?;
    let entries = Entries::of(&tree, depth.into());
    if is_json {
        return write_array(entries.all.iter().map(Entry::object), io);
    }
    let mut table = Table::new(&["SIZE", "PATH", "LAYERS"]);
    if let Some(root) = entries.all.first() {
        table.row(root.cells(".", usize::MAX));
        entries.draw(0, "", &mut table);
    }
    if let Some(columns) = io.output.columns() {
        table.cut_columns(&[LAYERS, PATH], columns);
    }
    Ok(table.write(&mut io.output)?)
}

const PATH: usize = 1;
const LAYERS: usize = 2;
