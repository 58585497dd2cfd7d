//! What `layer_format::listing` says an image holds is what `rootfs` puts on a disk: they follow one set of rules.

#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};
use layer_format::listing::{OwnLinks, Tree};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rootfs::{Applier, Options, Owner, Root, SpecialBits, SymlinkedDirs};

/// What is compared of a name: kind and target or size, mode, time, and which names are one file.
type Listed = BTreeMap<String, (String, u32, i64, Vec<String>)>;

fn entry(path: &EntryPath, kind: EntryKind, n: u32) -> Change {
    Change::Add(Entry {
        path: path.clone(),
        kind,
        mode: 0o700 | (n % 64),
        uid: 0,
        gid: 0,
        mtime: Timestamp { seconds: n.into(), nanos: 0 },
        xattrs: vec![],
    })
}

/// Few names, so that they meet often; three levels of them.
fn path() -> impl Strategy<Value = EntryPath> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(name, 1..4)
        .prop_map(|names| EntryPath::parse(names.join("/").as_bytes()).unwrap())
}

fn change() -> impl Strategy<Value = Change> {
    let target = prop::sample::select(vec!["a", "../b", "/c/a", "b/../c", ".", "..", "a/b", "/"]);
    prop_oneof![
        5 => (path(), 1..9_u32).prop_map(|(path, n)| {
            entry(&path, EntryKind::File { size: n.into(), data: None }, n)
        }),
        4 => (path(), 1..9_u32).prop_map(|(path, n)| entry(&path, EntryKind::Directory, n)),
        2 => (path(), target).prop_map(|(path, target)| {
            entry(&path, EntryKind::Symlink { target: target.into() }, 1)
        }),
        1 => (path(), path()).prop_map(|(path, target)| {
            entry(&path, EntryKind::Hardlink { target }, 1)
        }),
        1 => path().prop_map(|path| entry(&path, EntryKind::Fifo, 2)),
        3 => path().prop_map(Change::Remove),
        2 => path().prop_map(Change::Opaque),
        1 => Just(Change::Opaque(EntryPath::root())),
    ]
}

/// The tree that is unpacked, or nothing where that is refused.
fn unpacked(layers: &[Vec<Change>], dir: &Path) -> Option<Listed> {
    let root = Root::from_fd(fs::File::open(dir).unwrap().into());
    let symlinked_dirs = SymlinkedDirs::Replace;
    let options = Options {
        owner: Owner::Ignore,
        special_bits: SpecialBits::WithOwner,
        symlinked_dirs,
        reserved: None,
    };
    let mut applier = Applier::new(root, options).unwrap();
    for layer in layers {
        applier.begin_layer();
        for change in layer {
            applier.apply(change, &mut &[b'x'; 16][..]).ok()?;
        }
        applier.end_layer().ok()?;
    }
    applier.finish().ok()?;
    let mut found = Listed::new();
    let mut same: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut inodes = vec![];
    let mut todo = vec![dir.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            let kind = match metadata.file_type() {
                kind if kind.is_dir() => "directory".to_owned(),
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                kind if kind.is_file() => metadata.len().to_string(),
                _ => "fifo".to_owned(),
            };
            let mode = if metadata.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
            if metadata.is_dir() {
                todo.push(path);
            } else {
                same.entry(metadata.ino()).or_default().push(name.clone());
                inodes.push((name.clone(), metadata.ino()));
            }
            found.insert(name, (kind, mode, metadata.mtime(), vec![]));
        }
    }
    for names in same.values_mut() {
        names.sort();
    }
    for (name, inode) in inodes {
        found.get_mut(&name).unwrap().3.clone_from(&same[&inode]);
    }
    Some(found)
}

fn listed(layers: &[Vec<Change>]) -> Option<Listed> {
    let mut tree = Tree::new();
    for layer in layers {
        tree.begin_layer();
        layer.iter().try_for_each(|change| tree.apply(change)).ok()?;
    }
    let items: Vec<_> = tree.items().skip(1).collect();
    let name = |path: &EntryPath| String::from_utf8(path.as_bytes().to_vec()).unwrap();
    let mut same: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for item in &items {
        same.entry(item.place.id()).or_default().push(name(&item.path));
    }
    for names in same.values_mut() {
        names.sort();
    }
    let show = |item: &layer_format::listing::Item<'_>| {
        let inode = item.place.inode();
        let (kind, mode) = match &inode.kind {
            EntryKind::Directory => ("directory".to_owned(), inode.mode),
            EntryKind::Symlink { target } => (String::from_utf8(target.clone()).unwrap(), 0),
            EntryKind::File { size, .. } => (size.to_string(), inode.mode),
            _ => ("fifo".to_owned(), inode.mode),
        };
        let names = match &inode.kind {
            EntryKind::Directory => vec![],
            _ => same[&item.place.id()].clone(),
        };
        (name(&item.path), (kind, mode, inode.mtime.seconds, names))
    };
    Some(items.iter().map(show).collect())
}

/// Where seeds that failed are kept, and tried first from then on.
const SEEDS: FileFailurePersistence = FileFailurePersistence::Direct("tests/listing.seeds");

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: Some(Box::new(SEEDS)), ..ProptestConfig::default() })]

    #[test]
    fn a_listing_is_what_would_be_unpacked(
        layers in prop::collection::vec(prop::collection::vec(change(), 0..8), 1..4)
    ) {
        let dir = tempfile::tempdir().unwrap();
        prop_assert_eq!(listed(&layers), unpacked(&layers, dir.path()));
    }
    #[test]
    fn links_that_are_good_by_themselves_are_good_on_anything(
        layers in prop::collection::vec(prop::collection::vec(change(), 0..8), 2..4)
    ) {
        let mut links = OwnLinks::new();
        let (top, below) = layers.split_last().unwrap();
        for change in top {
            links.take(change);
        }
        prop_assert!(!links.are_good() || listed(below).is_none() || listed(&layers).is_some());
    }
}
