//! Keyed hashes of paths. They take a few bytes each, and an attacker can't choose two paths whose hashes collide.

use std::hash::{BuildHasher, RandomState};

use crate::layer::components;

/// The keyed hash of a path. The default is the root's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathKey(u64, u64);

/// Computes the keys of paths. Keys from different instances can't be compared.
#[derive(Debug, Default)]
pub struct PathKeys([RandomState; 2]);

impl PathKeys {
    /// The key of a path.
    pub fn of(&self, path: &[u8]) -> PathKey {
        components(path).fold(PathKey::default(), |key, name| self.child(key, name))
    }

    /// The key of a name in a directory.
    pub fn child(&self, directory: PathKey, name: &[u8]) -> PathKey {
        let [first, second] = self.0.each_ref().map(|seed| seed.hash_one((directory, name)));
        PathKey(first, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_key_that_no_other_path_has() {
        let keys = PathKeys::default();
        assert_eq!(keys.of(b""), PathKey::default());
        assert_eq!(keys.of(b"a/b"), keys.child(keys.of(b"a"), b"b"));
        let paths: [&[u8]; 6] = [b"", b"a", b"b", b"a/b", b"ab", b"b/a"];
        for (n, path) in paths.iter().enumerate() {
            let same = paths.iter().filter(|other| keys.of(other) == keys.of(path)).count();
            assert_eq!(same, 1, "{n}");
            assert_eq!(PathKeys::default().of(path) == keys.of(path), path.is_empty());
        }
    }
}
