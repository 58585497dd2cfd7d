//! Tests of programs that were built before the last change tell nothing: whether any of ours is stale.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// Panics, once in a process, if one of our programs is older than a file that it was built of. Cargo has written down
/// beside each program which files these are; where they aren't (a copy of the programs alone), nothing is known.
pub(super) fn assert_once() {
    static STALE: OnceLock<Option<String>> = OnceLock::new();
    let stale = STALE.get_or_init(|| is_test().then(|| stale(&super::binaries())).flatten());
    let stale = stale.as_deref().unwrap_or_default();
    assert!(stale.is_empty(), "{stale}: run `cargo build --workspace --bins`");
}

/// Whether this is a test. A chore has programs of its own choice.
fn is_test() -> bool {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().is_some_and(|dir| dir.ends_with("deps"))
}

/// Which program is older than which file.
fn stale(dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let lists = entries.filter(|path| path.extension().is_some_and(|extension| extension == "d"));
    let mut times = BTreeMap::new();
    for list in lists {
        let program = list.with_extension("");
        let Some(built) = time_of(&program) else { continue };
        let text = std::fs::read_to_string(&list).unwrap_or_default();
        let files = text.split_once(": ").map(|(_, files)| files).unwrap_or_default();
        for file in files.split_whitespace().map(PathBuf::from) {
            let changed = *times.entry(file.clone()).or_insert_with(|| time_of(&file));
            if changed > Some(built) {
                return Some(format!("{} is older than {}", program.display(), file.display()));
            }
        }
    }
    None
}

fn time_of(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_program_that_is_older_than_one_of_its_files_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["pull", "save", "a.rs", "b.rs", "pull.d", "save.d"] {
            fs::write(path(name), "").unwrap();
        }
        let list = |program: &str, file: &str| {
            let text = format!("{}: {}\n", path(program).display(), path(file).display());
            fs::write(path(&format!("{program}.d")), text).unwrap();
        };
        list("pull", "a.rs");
        list("save", "b.rs");
        fs::write(path("gone.d"), "gone: a.rs").unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        File::open(path("pull")).unwrap().set_modified(later).unwrap();
        File::open(path("save")).unwrap().set_modified(later).unwrap();
        assert_eq!(stale(dir.path()), None);
        let change = File::open(path("b.rs")).unwrap();
        change.set_modified(later + Duration::from_secs(1)).unwrap();
        let expected =
            format!("{} is older than {}", path("save").display(), path("b.rs").display());
        assert_eq!(stale(dir.path()), Some(expected));
    }
}
