//! One of our programs, in a place of its own.
//!
//! A [`Sandbox`] is a temporary directory with a home, a `tmp` and a store; programs that start
//! in it see no other environment. Everything a program says comes back as one [`Output`](output::Output).

mod fresh;
pub mod output;
pub mod plain_user;
pub mod program;
pub mod terminal;
pub mod usage;

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::archive::{Named, Producer};
use crate::or_panic::OrPanic as _;
use program::Program;

/// What `cargo xtask mutants` tells the code that it has changed.
const PASSED_ON: &[&str] = &["STRATA_MUTANT", "STRATA_MUTANT_RECORD"];

/// A temporary directory for one test; dropping it removes all.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// A directory with `home`, `tmp` and `work` in it, open to all users.
    ///
    /// # Panics
    /// A source is younger than one of our programs that was built of it.
    pub fn new() -> Self {
        fresh::assert_once();
        let dir = tempfile::Builder::new().prefix("strata-").tempdir().or_panic("make a sandbox");
        let sandbox = Self { dir };
        for name in ["", "home", "tmp", "work"] {
            let path = sandbox.root().join(name);
            std::fs::create_dir_all(&path).or_panic("make a sandbox");
            let mode = std::fs::Permissions::from_mode(if name.is_empty() { 0o755 } else { 0o777 });
            std::fs::set_permissions(&path, mode).or_panic("open a sandbox");
        }
        sandbox
    }

    /// The sandbox itself.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the directory where programs start.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join("work").join(name)
    }

    /// The store; it is not there until a program makes it.
    pub fn store(&self) -> PathBuf {
        self.root().join("store")
    }

    /// Writes a file into the directory where programs start.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).or_panic(format!("make {}", parent.display()));
        }
        std::fs::write(&path, bytes).or_panic(format!("write {}", path.display()));
        path
    }

    /// A file in the directory where programs start.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).or_panic(format!("read {}", path.display()))
    }

    /// Puts images into the store.
    #[track_caller]
    pub fn load(&self, images: &[Named]) {
        self.command("load").input(Producer::Strata.write(images)).run().success();
    }

    /// One of our programs.
    pub fn command(&self, name: &str) -> Program {
        self.program(binary(name).as_os_str())
    }

    /// Any program, with the same environment.
    pub fn program(&self, path: impl AsRef<OsStr>) -> Program {
        let bins = binaries();
        let mut path_variable = bins.into_os_string();
        path_variable.push(":/usr/bin:/bin");
        let env = [
            ("COLUMNS", OsString::from("100")),
            ("HOME", self.root().join("home").into()),
            ("LC_ALL", "C.UTF-8".into()),
            ("PATH", path_variable),
            ("SOURCE_DATE_EPOCH", crate::EPOCH.to_string().into()),
            ("STRATA_STORE", self.store().into()),
            ("TMPDIR", self.root().join("tmp").into()),
        ];
        let passed = PASSED_ON.iter().filter_map(|&key| Some((key, std::env::var_os(key)?)));
        let env = env.into_iter().chain(passed).map(|(key, value)| (key.into(), value)).collect();
        Program::new(path.as_ref(), env, self)
    }
}

/// The directory of our programs: beside the test executable's.
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().or_panic("find the test executable");
    let dir = own.parent().or_panic("the test executable's directory");
    let deps = dir.file_name() == Some(OsStr::new("deps"));
    if deps { dir.parent().or_panic("the target directory").to_owned() } else { dir.to_owned() }
}

/// The path of one of our programs; a panic says how to build it.
pub fn binary(name: &str) -> PathBuf {
    let path = binaries().join(name);
    let there = Some(path.clone()).filter(|path| path.is_file());
    there.or_panic(format!("{}: run `cargo build --workspace --bins`", path.display()))
}

#[cfg(test)]
mod tests;
