//! Where programs are started on a machine, and how.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::commands::COMMANDS;
use crate::payload::{PROGRAM, emptied};

/// How a program is started.
#[derive(Clone, Debug)]
pub(super) enum Start {
    /// As any program of this machine.
    Here,
    /// In a root, with /proc and /dev.
    Root,
    /// In a root, in which nothing is mounted.
    BareRoot,
    /// By an emulator of another architecture.
    Emulated(PathBuf),
}

/// Where programs are started: a directory that holds them, and one in which they work.
#[derive(Debug)]
pub(super) struct Place {
    start: Start,
    /// The root, or the place's own directory.
    dir: PathBuf,
    /// The programs, as this machine sees them.
    programs: PathBuf,
    /// Where they work, as this machine sees it.
    pub(super) work: PathBuf,
}

/// Below a root, or below a directory of its own: where the programs stand, and where they work.
const PROGRAMS: &str = "opt/strata";
const WORK: &str = "work";

/// What a place knows of the network, below its root or its directory: name servers, and authorities.
const NAME_SERVERS: &str = "etc/resolv.conf";
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Makes mounts that nobody else sees, and starts a program.
const MOUNTING: &[&str] = &["--mount", "--propagation", "private", "/bin/sh", "-c"];
/// Starts a program with its arguments (`$@`) in the root `$0`, whose /proc and /dev are this machine's.
const IN_ROOT: &str = r#"mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
    exec unshare --root="$0" --wd=/work -- "$@""#;
/// Starts a program where the name servers are those of the file `$0`.
const WITH_NAMES: &str = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;

impl Place {
    /// Puts the programs into a directory, which is a root where they start in one, and empties the one in which they work.
    pub(super) fn new(start: Start, dir: &Path, strata: &Path) -> anyhow::Result<Self> {
        let programs = emptied(dir.join(PROGRAMS))?;
        let place = Self { start, dir: dir.to_owned(), programs, work: emptied(dir.join(WORK))? };
        place.put(strata).with_context(|| format!("filling {}", place.programs.display()))?;
        Ok(place)
    }

    fn put(&self, strata: &Path) -> std::io::Result<()> {
        fs::copy(strata, self.programs.join(PROGRAM))?;
        let names = COMMANDS.iter().map(|(name, _)| *name).filter(|name| *name != PROGRAM);
        for name in names {
            symlink(PROGRAM, self.programs.join(name))?;
        }
        Ok(())
    }

    /// Tells the place what it knows of the network.
    pub(super) fn set_network(
        &self,
        name_server: Option<&str>,
        authorities: &[u8],
    ) -> anyhow::Result<()> {
        let servers = name_server.map(|address| format!("nameserver {address}\n"));
        self.replace(NAME_SERVERS, servers.as_deref().map(str::as_bytes))?;
        self.replace(AUTHORITIES, Some(authorities))
    }

    /// Replaces a file, or takes it away. A root may have a link there, which leads out of it.
    fn replace(&self, name: &str, bytes: Option<&[u8]>) -> anyhow::Result<()> {
        let file = self.dir.join(name);
        let removed = fs::remove_file(&file);
        ensure!(removed.is_ok() || !file.exists(), "{} can't be replaced", file.display());
        let Some(bytes) = bytes else { return Ok(()) };
        let parent = file.parent().context("a file stands in a directory")?;
        let made = fs::create_dir_all(parent).and_then(|()| fs::write(&file, bytes));
        made.with_context(|| format!("writing {}", file.display()))
    }

    /// A program, to be started where it works; it sees no other environment.
    pub(super) fn program(&self, name: &str) -> Command {
        let inside = || format!("{}/{name}", self.programs_inside());
        let mut command = Command::new("/usr/bin/unshare");
        match &self.start {
            Start::BareRoot => {
                command.arg("--root").arg(&self.dir).args(["--wd", "/work", "--"]).arg(inside());
            }
            Start::Root => {
                command.args(MOUNTING).arg(IN_ROOT).arg(&self.dir).arg(inside());
            }
            Start::Here => {
                command.args(MOUNTING).arg(WITH_NAMES).arg(self.dir.join(NAME_SERVERS));
                command.arg(self.programs.join(name));
            }
            Start::Emulated(emulator) => {
                command.args(MOUNTING).arg(WITH_NAMES).arg(self.dir.join(NAME_SERVERS));
                // An emulator tells a program the name of its file, unless it is told another.
                command.arg(emulator).args(["-0", name]).arg(self.programs.join(PROGRAM));
            }
        }
        command.env_clear().current_dir(&self.work);
        if matches!(self.start, Start::Here | Start::Emulated(_)) {
            command.env("SSL_CERT_FILE", self.dir.join(AUTHORITIES));
        }
        command
    }

    /// Whether the kernel mounts unions here, and they start programs: that takes /proc, and no emulator.
    pub(super) fn can_mount(&self) -> bool {
        matches!(self.start, Start::Here | Start::Root)
    }

    /// Where the programs are, as they see it themselves.
    pub(super) fn programs_inside(&self) -> String {
        match self.start {
            Start::Here | Start::Emulated(_) => self.programs.display().to_string(),
            Start::Root | Start::BareRoot => format!("/{PROGRAMS}"),
        }
    }

    /// Removes what the programs have made.
    pub(super) fn clear(self) -> anyhow::Result<()> {
        for dir in [&self.programs, &self.work] {
            fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that starts `pull`.
    fn line(start: Start) -> String {
        let dir = tempfile::tempdir().unwrap();
        let strata = dir.path().join("built");
        fs::write(&strata, "program").unwrap();
        let place = Place::new(start, dir.path(), &strata).unwrap();
        assert_eq!(fs::read_link(place.programs.join("pull")).unwrap(), Path::new(PROGRAM));
        let command = place.program("pull");
        let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        let line = words.join(" ").replace(&dir.path().display().to_string(), "DIR");
        place.clear().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("opt")).unwrap().count(), 0);
        line
    }

    #[test]
    fn a_program_has_its_own_name_wherever_it_starts() {
        assert_eq!(line(Start::BareRoot), "--root DIR --wd /work -- /opt/strata/pull");
        for (start, end) in [
            (Start::Root, "exec unshare --root=\"$0\" --wd=/work -- \"$@\" DIR /opt/strata/pull"),
            (Start::Here, " DIR/etc/resolv.conf DIR/opt/strata/pull"),
            (Start::Emulated(PathBuf::from("qemu")), " qemu -0 pull DIR/opt/strata/strata"),
        ] {
            let line = line(start);
            assert!(line.ends_with(end), "{line}");
        }
    }

    #[test]
    fn a_place_without_name_servers_has_no_file_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let strata = dir.path().join("built");
        fs::write(&strata, "program").unwrap();
        let place = Place::new(Start::BareRoot, dir.path(), &strata).unwrap();
        let file = dir.path().join(NAME_SERVERS);
        place.set_network(Some("127.0.0.1"), b"authority").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "nameserver 127.0.0.1\n");
        place.set_network(None, b"authority").unwrap();
        assert!(!file.exists());
    }
}
