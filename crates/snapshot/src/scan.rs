//! What is there now: the directory, scanned.

use std::path::Path;

use anyhow::Context as _;
use cli::{Failure, Io};
use layer_format::layer::EntryPath;
use rootfs::{Error, Known, LeaveOut, Mounts, Root, Scan, ScanOptions};

use crate::volumes::Volumes;

/// How a directory is scanned.
#[derive(Clone, Copy)]
pub(crate) struct Scanner<'a> {
    /// The directory as the command line names it.
    pub(crate) dir: &'a Path,
    /// The directory that is scanned.
    pub(crate) root: &'a Root,
    pub(crate) leave_out: Option<LeaveOut<'a>>,
    pub(crate) mounts: Mounts,
    /// How many more times the directory is scanned if it changes meanwhile.
    pub(crate) n_retries: u32,
}

impl Scanner<'_> {
    /// Scans the directory, and leaves out of the result what is as `known` has it.
    pub(crate) fn scan(&self, known: Option<&Known<'_>>) -> anyhow::Result<Scan> {
        let options = ScanOptions {
            leave_out: self.leave_out,
            mounts: self.mounts,
            known,
            stop: &cli::interrupt::requested,
        };
        let mut scan = Scan::read(self.root, &options);
        for _ in 0..self.n_retries {
            if matches!(scan, Err(Error::Changed { .. })) {
                scan = Scan::read(self.root, &options);
            }
        }
        cli::interrupt::check()?;
        let scan = scan.with_context(|| cli::text::clean_path(self.dir));
        scan.map_err(|error| self.hint_mount(error))
    }

    /// Adds a hint to the error of a file that changes, if it is on another file system, which was mounted in the directory.
    pub(crate) fn hint_mount(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast_ref() {
            Some(Error::Unmapped { .. }) => {
                let hint = "--uid-map and --gid-map say which ids there are; --exclude leaves out";
                Failure::from_cause(error).hint(hint).into()
            }
            Some(Error::Changed { path, .. })
                if self.mounts == Mounts::Enter && self.root.is_elsewhere(path) =>
            {
                let hint = "something is mounted there; -x leaves out all that is mounted";
                Failure::from_cause(error).hint(hint).into()
            }
            _ => error,
        }
    }
}

/// Says what was left out of a scan although no option named it.
pub(crate) fn say_left_out(scan: &Scan, volumes: &Volumes, io: &Io<'_>) {
    say_paths("left out, for no layer holds a socket", &scan.sockets(), io);
    let passed: Vec<_> = scan.passed().collect();
    say_paths("left out, for something is mounted there", &passed, io);
    say_paths("left out, for they are volumes of the image", &volumes.met(), io);
}

fn say_paths(what: &str, paths: &[EntryPath], io: &Io<'_>) {
    const SHOWN: usize = 3;
    if paths.is_empty() {
        return;
    }
    let names: Vec<_> = paths.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = paths.len().checked_sub(SHOWN).filter(|&n| n > 0);
    let more = more.map_or_else(String::new, |n| format!(" and {n} more"));
    io.say(&format!("{what}: {}{more}", names.join(", ")));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Scans a directory that gets a new file during each of the first `n_times` scans.
    fn scan_busy(n_times: u32, n_retries: u32) -> anyhow::Result<usize> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("0"), "")?;
        let n = AtomicU32::new(0);
        let disturb = |name: &[u8], _| {
            let n = if name == b"0" { n.fetch_add(1, Ordering::Relaxed) } else { n_times };
            if n < n_times {
                fs::write(dir.path().join(format!("{}", n + 1)), "").unwrap();
            }
            false
        };
        let scanner = Scanner {
            dir: dir.path(),
            root: &Root::open(dir.path())?,
            leave_out: Some(&disturb),
            mounts: Mounts::Enter,
            n_retries,
        };
        Ok(scanner.scan(None)?.top().children().count())
    }

    #[test]
    fn a_directory_that_changes_is_looked_at_again() {
        assert_eq!(scan_busy(0, 0).unwrap(), 1);
        assert_eq!(scan_busy(2, 2).unwrap(), 3);
        for n_retries in [0, 1] {
            let error = format!("{:#}", scan_busy(2, n_retries).unwrap_err());
            assert!(error.contains("changed while it was being read"), "{error}");
        }
    }
}
