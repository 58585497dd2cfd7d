//! The merged tree beside a plain model of it: a map of whole paths, into which each layer goes as the image-spec words it,
//! all its whiteouts before the rest.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};
use layer_format::listing::{Inode, Tree};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// What is told of a name: its layer, its inode without the content's place, the change that described it, and all names
/// of the same inode.
type Told = BTreeMap<EntryPath, (Option<usize>, Described, BTreeSet<EntryPath>)>;

/// Kind, mode, seconds, attributes, and the layer and change they come from.
type Described = (EntryKind, u32, i64, Vec<(Vec<u8>, Vec<u8>)>, Option<(usize, u64)>);

/// The model. Inodes are never removed.
#[derive(Default)]
struct Model {
    inodes: Vec<Described>,
    /// Of each path, the root's too, the inode and the layer.
    names: BTreeMap<EntryPath, (usize, Option<usize>)>,
    n_layers: usize,
    /// What the layer has written.
    written: BTreeSet<EntryPath>,
    /// Whether any path went through a link.
    follows: bool,
}

/// The layer can't be unpacked.
struct Refused;

impl Model {
    fn new() -> Self {
        let mut model = Self::default();
        model.put(EntryPath::root(), implied(), None);
        model
    }

    fn add_layer(&mut self, changes: &[Change]) -> Result<(), Refused> {
        self.written.clear();
        for change in changes {
            match change {
                Change::Remove(path) if path.is_root() => return Err(Refused),
                Change::Remove(path) => self.remove(path),
                Change::Opaque(path) if self.is_directory(path) => {
                    self.names.retain(|name, _| !name.is_below(path));
                }
                _ => {}
            }
        }
        self.n_layers += 1;
        for (number, change) in (0..).zip(changes) {
            if let Change::Add(entry) = change {
                self.add(entry, number)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: &Entry, number: u64) -> Result<(), Refused> {
        let layer = self.n_layers - 1;
        let is_directory = entry.kind == EntryKind::Directory;
        let Some(parent) = entry.path.parent() else {
            if !is_directory {
                return Err(Refused);
            }
            self.put_here(EntryPath::root(), described(entry, (layer, number)));
            return Ok(());
        };
        let here = self.go(&parent, true).ok_or(Refused)?;
        let path = here.join(entry.path.file_name().unwrap());
        if let EntryKind::Hardlink { target } = &entry.kind {
            return self.add_link(path, target);
        }
        self.written.insert(path.clone());
        if !(is_directory && self.is_directory(&path)) {
            self.remove(&path);
        }
        self.put_here(path, described(entry, (layer, number)));
        Ok(())
    }

    fn add_link(&mut self, path: EntryPath, target: &EntryPath) -> Result<(), Refused> {
        let there = self.go(&target.parent().ok_or(Refused)?, false).ok_or(Refused)?;
        let target = there.join(target.file_name().unwrap());
        let makes_way = there == path || there.is_below(&path);
        let (inode, _) = *self.names.get(&target).ok_or(Refused)?;
        if self.is_directory(&target) || makes_way {
            return Err(Refused);
        }
        self.remove(&path);
        self.names.insert(path.clone(), (inode, Some(self.n_layers - 1)));
        self.written.insert(path);
        Ok(())
    }

    /// Where a path's directory is, links of this layer followed; made where it is to be written to.
    fn go(&mut self, path: &EntryPath, writes: bool) -> Option<EntryPath> {
        let mut here = EntryPath::root();
        for name in path.components() {
            let child = here.join(name);
            let directory = if self.is_directory(&child) {
                Some(child.clone())
            } else if self.written.contains(&child) {
                self.follows = true;
                self.resolve(&here, name).filter(|it| self.is_directory(it))
            } else {
                None
            };
            here = match directory {
                Some(directory) => directory,
                None if !writes => return None,
                None if self.written.contains(&child) && self.make(&here, name).is_some() => {
                    self.resolve(&here, name)?
                }
                None => {
                    self.remove(&child);
                    self.put_here(child.clone(), implied());
                    child
                }
            };
        }
        Some(here)
    }

    /// Makes the directories that a dangling link of this layer leads to, unless its text leads back out of what isn't there.
    fn make(&mut self, from: &EntryPath, name: &[u8]) -> Option<EntryPath> {
        let (mut here, mut ahead, mut n_links) = (from.clone(), vec![name.to_vec()], 0);
        while let Some(name) = ahead.pop() {
            if name.is_empty() || name == b"." {
                continue;
            }
            let child =
                if name == b".." { here.parent().unwrap_or_default() } else { here.join(&name) };
            let target = match self.names.get(&child).map(|held| &self.inodes[held.0].0) {
                _ if child.is_root() => None,
                None if ahead.iter().any(|name| name == b"..") => return None,
                None => {
                    self.put_here(child.clone(), implied());
                    None
                }
                Some(EntryKind::Directory) => None,
                Some(EntryKind::Symlink { target }) => Some(target.clone()),
                Some(_) => return None,
            };
            let Some(target) = target else {
                here = child;
                continue;
            };
            n_links += 1;
            if n_links > 40 {
                return None;
            }
            if target.starts_with(b"/") {
                here = EntryPath::root();
            }
            ahead.extend(target.split(|&byte| byte == b'/').map(<[u8]>::to_vec).rev());
        }
        Some(here)
    }

    fn resolve(&self, from: &EntryPath, path: &[u8]) -> Option<EntryPath> {
        let names = |path: &[u8]| path.split(|&it| it == b'/').map(<[u8]>::to_vec).rev().collect();
        let (mut here, mut ahead): (_, Vec<_>) = (from.clone(), names(path));
        let mut n_links = 0;
        while let Some(name) = ahead.pop() {
            if !self.is_directory(&here) {
                return None;
            }
            let child = match &name[..] {
                b"" | b"." => here.clone(),
                b".." => here.parent().unwrap_or_default(),
                name => here.join(name),
            };
            let EntryKind::Symlink { target } = &self.inodes[self.names.get(&child)?.0].0 else {
                here = child;
                continue;
            };
            n_links += 1;
            if n_links > 40 {
                return None;
            }
            if target.starts_with(b"/") {
                here = EntryPath::root();
            }
            ahead.extend::<Vec<_>>(names(target));
        }
        Some(here)
    }

    fn is_directory(&self, path: &EntryPath) -> bool {
        self.names.get(path).is_some_and(|(inode, _)| self.inodes[*inode].0 == EntryKind::Directory)
    }

    fn remove(&mut self, path: &EntryPath) {
        self.names.retain(|name, _| name != path && !name.is_below(path));
    }

    fn put_here(&mut self, path: EntryPath, inode: Described) {
        self.put(path, inode, Some(self.n_layers - 1));
    }

    fn put(&mut self, path: EntryPath, inode: Described, layer: Option<usize>) {
        self.inodes.push(inode);
        self.names.insert(path, (self.inodes.len() - 1, layer));
    }

    fn told(&self) -> Told {
        let same = |wanted: usize| {
            let names = self.names.iter().filter(move |(_, (inode, _))| *inode == wanted);
            names.map(|(path, _)| path.clone()).collect()
        };
        let tell = |(path, &(inode, layer)): (&EntryPath, &(usize, Option<usize>))| {
            (path.clone(), (layer, self.inodes[inode].clone(), same(inode)))
        };
        self.names.iter().map(tell).collect()
    }
}

/// A directory that no layer describes.
fn implied() -> Described {
    (EntryKind::Directory, 0o755, 0, vec![], None)
}

fn described(entry: &Entry, change: (usize, u64)) -> Described {
    let Entry { kind, mode, mtime, xattrs, .. } = entry.clone();
    (kind, mode, mtime.seconds, xattrs, Some(change))
}

/// What the model makes of layers, or nothing where it refuses them, and whether any path went through a link.
fn modelled(layers: &[Vec<Change>]) -> (Option<Told>, bool) {
    let mut model = Model::new();
    let added = layers.iter().try_for_each(|layer| model.add_layer(layer));
    (added.is_ok().then(|| model.told()), model.follows)
}

/// A tree with these layers; nothing if it refuses one.
fn with_layers(mut tree: Tree, layers: &[Vec<Change>]) -> Option<Tree> {
    for layer in layers {
        tree.begin_layer();
        layer.iter().try_for_each(|change| tree.apply(change)).ok()?;
        tree.end_layer();
    }
    Some(tree)
}

/// What a tree finds: the path without links, and the inode.
fn found(tree: &Tree, path: &EntryPath) -> Option<(EntryPath, Inode)> {
    let place = tree.find(path.as_bytes())?;
    Some((place.path(), place.inode()))
}

fn merged(layers: &[Vec<Change>]) -> Option<Told> {
    let tree = with_layers(Tree::new(), layers)?;
    let items: Vec<_> = tree.items().collect();
    assert_eq!(items.len(), tree.n_names());
    let told = items.iter().map(|item| {
        let place =
            item.path.components().try_fold(tree.root(), |it, name| it.child(name)).unwrap();
        assert_eq!((place, place.path()), (item.place, item.path.clone()));
        let inode = place.inode();
        let names = items.iter().filter(|other| other.place.id() == place.id());
        let names: BTreeSet<_> = names.map(|other| other.path.clone()).collect();
        assert_eq!(place.is_linked(), names.len() > 1);
        let origin = inode.origin.map(|origin| (origin.layer(), origin.change()));
        let (kind, mode, seconds) = (inode.kind, inode.mode, inode.mtime.seconds);
        let described = (kind, mode, seconds, inode.xattrs.into_vec(), origin);
        (item.path.clone(), (place.layer(), described, names))
    });
    Some(told.collect())
}

/// Few names, so that they meet often; one of them is long.
fn path() -> impl Strategy<Value = EntryPath> {
    let name = prop::sample::select(vec!["a", "b", "c", "b", "a name that takes some bytes"]);
    prop::collection::vec(name, 1..5)
        .prop_map(|names| EntryPath::parse(names.join("/").as_bytes()).unwrap())
}

fn kind() -> impl Strategy<Value = EntryKind> {
    let target = prop::sample::select(vec!["a", "../b", "/c/a", "b/../c", ".", "..", "a/b", "/"]);
    prop_oneof![
        4 => (0..9_u64).prop_map(|size| EntryKind::File { size, data: None }),
        4 => Just(EntryKind::Directory),
        2 => target.prop_map(|target| EntryKind::Symlink { target: target.into() }),
        2 => path().prop_map(|target| EntryKind::Hardlink { target }),
        1 => (0..300_u32).prop_map(|minor| EntryKind::CharDevice { major: 1, minor }),
        1 => (0..300_u32).prop_map(|major| EntryKind::BlockDevice { major, minor: 2 }),
        1 => Just(EntryKind::Fifo),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let xattrs = prop::collection::vec((b'a'..b'c', 0..200_usize), 0..3);
    let entry = (path(), kind(), 0..0o7777_u32, -9..9_i64, xattrs);
    prop_oneof![
        12 => entry.prop_map(|(path, kind, mode, seconds, xattrs)| {
            let mtime = Timestamp { seconds, nanos: 5 };
            let xattr = |(name, length)| ([b"user.", &[name][..]].concat(), vec![name; length]);
            let xattrs = xattrs.into_iter().map(xattr).collect();
            Change::Add(Entry { path, kind, mode, uid: 1, gid: 2, mtime, xattrs })
        }),
        1 => (0..0o7777_u32).prop_map(|mode| {
            let (path, kind, mtime) = (EntryPath::root(), EntryKind::Directory, Timestamp::default());
            Change::Add(Entry { path, kind, mode, uid: 0, gid: 0, mtime, xattrs: vec![] })
        }),
        3 => path().prop_map(Change::Remove),
        2 => path().prop_map(Change::Opaque),
        1 => Just(Change::Opaque(EntryPath::root())),
    ]
}

/// Where seeds that failed are kept, and tried first from then on.
const SEEDS: FileFailurePersistence = FileFailurePersistence::Direct("tests/listing_model.seeds");

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: Some(Box::new(SEEDS)), ..ProptestConfig::default() })]

    #[test]
    fn a_merged_tree_is_what_whiteouts_before_entries_make(
        mut layers in prop::collection::vec(prop::collection::vec(change(), 0..14), 1..5)
    ) {
        let (expected, follows) = modelled(&layers);
        if !follows {
            prop_assert_eq!(merged(&layers), expected);
        }
        // Where a link leads is seen when it is followed: what a whiteout further down removes is still there.
        for layer in &mut layers {
            layer.sort_by_key(|change| matches!(change, Change::Add(_)));
        }
        prop_assert_eq!(merged(&layers), modelled(&layers).0);
    }

    #[test]
    fn what_a_tree_finds_that_seeks_it_a_whole_tree_finds(
        layers in prop::collection::vec(prop::collection::vec(change(), 0..14), 1..5),
        path in path(),
    ) {
        let whole = with_layers(Tree::new(), &layers);
        let seeking = with_layers(Tree::seeking(path.as_bytes()), &layers);
        if let (Some(whole), Some(seeking)) = (whole, seeking) {
            prop_assert!(seeking.n_names() <= whole.n_names());
            if let Some(found_soon) = found(&seeking, &path) {
                prop_assert_eq!(Some(found_soon), found(&whole, &path));
            }
        }
    }
}
