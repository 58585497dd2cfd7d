//! The volumes of an image: directories for data that is no part of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use layer_format::layer::EntryPath;
use layer_format::listing::Tree;

/// The paths of volumes. What is there, and below, is left out of the layer.
#[derive(Debug)]
pub(crate) struct Volumes(Vec<Volume>);

#[derive(Debug)]
struct Volume {
    path: EntryPath,
    /// Whether something was left out there.
    was_met: AtomicBool,
}

impl Volumes {
    /// No volumes.
    pub(crate) const NONE: Self = Self(vec![]);

    /// The volumes with these names, as they stand in a config. A symbolic link of `tree` on the way to one is followed beneath
    /// the root; the root itself is none.
    pub(crate) fn of(names: &BTreeSet<String>, tree: &Tree) -> Self {
        let mut paths = BTreeSet::new();
        for name in names {
            let path = cleaned(name.as_bytes());
            if path.is_root() {
                continue;
            }
            paths.extend(tree.find(path.as_bytes()).map(|place| place.path()));
            paths.insert(path);
        }
        let volume = |path: EntryPath| Volume { path, was_met: AtomicBool::new(false) };
        Self(paths.into_iter().filter(|path| !path.is_root()).map(volume).collect())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path is one of them or below one, and notes that it was asked for.
    pub(crate) fn match_path(&self, path: &[u8]) -> bool {
        let is_in = |volume: &&Volume| {
            let rest = path.strip_prefix(volume.path.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let volume = self.0.iter().find(is_in);
        if let Some(volume) = volume {
            volume.was_met.store(true, Ordering::Relaxed);
        }
        volume.is_some()
    }

    /// Those at which something was left out.
    pub(crate) fn met(&self) -> Vec<EntryPath> {
        let met = self.0.iter().filter(|volume| volume.was_met.load(Ordering::Relaxed));
        met.map(|volume| volume.path.clone()).collect()
    }
}

/// A path of a config beneath the root, without `.`, `..` and repeated slashes.
fn cleaned(name: &[u8]) -> EntryPath {
    let mut path = EntryPath::root();
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => path = path.parent().unwrap_or_else(EntryPath::root),
            part => path.push(part),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use layer_format::layer::{Change, Entry, EntryKind, Timestamp};

    use super::*;

    fn volumes(names: &[&str]) -> Volumes {
        let mut tree = Tree::new();
        tree.begin_layer();
        for (path, kind) in [
            ("run/x", EntryKind::Directory),
            ("var/run", EntryKind::Symlink { target: b"../run".to_vec() }),
        ] {
            let path = EntryPath::parse(path.as_bytes()).unwrap();
            let mtime = Timestamp::default();
            let entry = Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: vec![] };
            tree.apply(&Change::Add(entry)).unwrap();
        }
        Volumes::of(&names.iter().map(|&name| name.to_owned()).collect(), &tree)
    }

    #[test]
    fn a_volume_is_a_path_and_all_below_it() {
        let volumes = volumes(&["/data/", "rel//./x/../y", "/", "", "..", "/var/run/x"]);
        for path in ["data", "data/a/b", "rel/y", "run/x", "run/x/a"] {
            assert!(volumes.match_path(path.as_bytes()), "{path}");
        }
        for path in ["", "dat", "data2", "rel", "rel/x", "run", "run/y", "var"] {
            assert!(!volumes.match_path(path.as_bytes()), "{path}");
        }
        let met: Vec<_> = volumes.met().iter().map(ToString::to_string).collect();
        assert_eq!(met, ["data", "rel/y", "run/x"]);
        assert!(!volumes.is_empty() && Volumes::NONE.is_empty());
    }
}
