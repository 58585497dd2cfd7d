//! Where runs happen: a registry that has the image, a home for the tools, a directory for each run.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, anyhow};
use kit::Sandbox;
use kit::peers::docker_registry::{DockerRegistry, Setup, Transport};
use kit::peers::nginx::Nginx;
use kit::peers::prepare;

use super::far::FarLine;
use super::image::{NAME, Prepared};
use super::measure::{self, Cost, Disk};

/// A file system in memory, where there is one.
const TMPFS: &str = "/dev/shm";
/// How much a second comes on each connection of $SLOW, in nginx's words.
const RATE: &str = "30m";

/// The registry, with everything else that runs need.
#[derive(Debug)]
pub(super) struct Ground {
    registry: DockerRegistry,
    /// The same with [`RATE`], where nginx is installed.
    throttled: Option<Nginx>,
    sandbox: Sandbox,
    programs: PathBuf,
    /// Other tools that come before those of the machine.
    peers: Option<PathBuf>,
    layout: PathBuf,
    layers: String,
    /// Laid for the first line that has $FAR; or why it can't be.
    far: OnceLock<Result<FarLine, String>>,
}

impl Ground {
    /// Starts the registry and brings the image there, into an archive, and into a store that knows it.
    pub(super) fn open(
        target: &Path,
        prepared: &Prepared,
        peers: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        if Path::new(TMPFS).is_dir() {
            // Refused only if something has asked for a temporary file already.
            tempfile::env::override_temp_dir(Path::new(TMPFS)).ok();
        }
        let storage = Some(target.join("bench/registry"));
        let registry = Self::start(&Setup { storage, ..Setup::PLAIN })?;
        let sandbox = Sandbox::new();
        let throttled = Nginx::throttled(&registry, RATE);
        let hosts: Vec<_> =
            throttled.as_ref().map(Nginx::host).into_iter().chain([registry.host()]).collect();
        prepare(&sandbox, &hosts.iter().map(String::as_str).collect::<Vec<_>>());
        let layers: Vec<_> = prepared.layers.iter().map(|path| path.to_string_lossy()).collect();
        let ground = Self {
            layers: layers.join(" "),
            layout: prepared.layout.clone(),
            programs: target.join("release"),
            peers,
            registry,
            throttled,
            sandbox,
            far: OnceLock::new(),
        };
        ground.line("skopeo copy -q oci:$L:$N docker://$R")?;
        ground.line("pull -q --no-store $R > $A")?;
        ground.line("STRATA_STORE=$KNOWN; pull -q $R | unpack -q d")?;
        Ok(ground)
    }

    /// Where other tools are taken from first.
    pub(super) fn peers(&self) -> Option<&Path> {
        self.peers.as_deref()
    }

    /// The image's name in the registry.
    fn reference(&self) -> String {
        format!("{}/{NAME}", self.registry.host())
    }

    /// Runs a line in a directory of its own, which goes afterwards.
    pub(super) fn line(&self, line: &str) -> anyhow::Result<Cost> {
        self.run(line, &[], Disk::Ignored)
    }

    /// A registry that has nothing.
    pub(super) fn empty_registry() -> anyhow::Result<DockerRegistry> {
        Self::start(&Setup::PLAIN)
    }

    /// Another registry, of the same images.
    pub(super) fn twin(&self, transport: Transport) -> anyhow::Result<DockerRegistry> {
        let storage = Some(self.registry.storage().to_owned());
        Self::start(&Setup { storage, transport, ..Setup::PLAIN })
    }

    pub(super) fn start(setup: &Setup) -> anyhow::Result<DockerRegistry> {
        DockerRegistry::start(setup).context("docker-registry can't be started")
    }

    /// The same, with more variables, and an eye on the disk where that is wanted.
    pub(super) fn run(
        &self,
        line: &str,
        variables: &[(&str, String)],
        disk: Disk,
    ) -> anyhow::Result<Cost> {
        let dir = self.sandbox.path("run");
        fs::create_dir(&dir).context("making a run's directory")?;
        let mut shell = self.shell(&dir, self.far_for(line)?);
        shell.envs(variables.iter().map(|(name, value)| (name, value)));
        let cost = measure::measure(shell, line, &self.sandbox.path("notes"), disk);
        // Overlays that a tool has left mounted would keep it.
        fs::remove_dir_all(&dir).context("removing a run's directory")?;
        cost
    }

    /// Removes what a contest has kept. Of overlays, podman leaves its own directory mounted.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        self.line("umount -q $KEPT/*/overlay; rm -rf $KEPT").map(drop)
    }

    /// A place that stays until the end.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }

    /// The image as an archive.
    fn archive(&self) -> PathBuf {
        self.sandbox.path("image.tar")
    }

    /// The far line, if a line of the shell has a name at its end.
    fn far_for(&self, line: &str) -> anyhow::Result<Option<&FarLine>> {
        if !line.contains("$FAR") {
            return Ok(None);
        }
        let lay = || FarLine::lay(self.registry.storage()).map_err(|error| format!("{error:#}"));
        self.far.get_or_init(lay).as_ref().map(Some).map_err(|why| anyhow!(why.clone()))
    }

    fn shell(&self, dir: &Path, far: Option<&FarLine>) -> Command {
        let mut path = OsString::from(&self.programs);
        if let Some(peers) = &self.peers {
            path.push(":");
            path.push(peers);
        }
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut words: Vec<&str> = far.map(FarLine::prefix).into_iter().flatten().collect();
        words.push("bash");
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear().current_dir(dir);
        command.env("PATH", path).env("LC_ALL", "C").env("NO_PROXY", "127.0.0.1");
        command.env("HOME", self.sandbox.root().join("home")).env("TMPDIR", dir);
        command.env("STRATA_STORE", dir.join("store"));
        command.env("R", self.reference()).env("N", NAME).env("L", &self.layout);
        let slow = self.throttled.as_ref().map(|nginx| format!("{}/{NAME}", nginx.host()));
        command.env("SLOW", slow.unwrap_or_default());
        let far = far.map(FarLine::hosts).unwrap_or_default();
        for (variable, host) in ["FAR", "FAR2"].into_iter().zip(far) {
            command.env(variable, format!("{host}/{NAME}"));
        }
        command.env("A", self.archive()).env("LAYERS", &self.layers);
        command.env("KNOWN", self.place("known")).env("KEPT", self.place("kept"));
        command
    }
}
