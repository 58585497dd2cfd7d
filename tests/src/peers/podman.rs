//! podman with a storage of its own; it needs no daemon.

use std::path::PathBuf;

use super::{prepare, root_peer};
use crate::command::Sandbox;
use crate::command::program::Program;
use crate::or_panic::OrPanic as _;

/// podman and its storage.
#[derive(Debug)]
pub struct Podman {
    sandbox: Sandbox,
    client: PathBuf,
}

impl Podman {
    /// One that speaks plain HTTP to the hosts given; nothing, with a line that says why, when
    /// that cannot be.
    pub fn new(insecure_hosts: &[&str]) -> Option<Self> {
        let client = root_peer("podman")?;
        let sandbox = Sandbox::new();
        prepare(&sandbox, insecure_hosts);
        let dir = sandbox.root();
        // vfs works on every file system, overlay does not.
        let storage = format!(
            "[storage]\ndriver = 'vfs'\ngraphroot = '{dir}/data'\nrunroot = '{dir}/run'\n",
            dir = dir.display()
        );
        std::fs::write(dir.join("storage.conf"), storage).or_panic("write storage.conf");
        let engine = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n";
        std::fs::write(dir.join("containers.conf"), engine).or_panic("write containers.conf");
        Some(Self { sandbox, client: client.path().to_owned() })
    }

    /// `podman ARGS…` with it.
    pub fn command(&self, args: &[&str]) -> Program {
        self.configure(self.sandbox.program(&self.client)).args(args)
    }

    /// Lets `podman` (and skopeo's `containers-storage:`) in a program or a script use it.
    pub fn configure(&self, program: Program) -> Program {
        let dir = self.sandbox.root();
        program
            .env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf"))
            .env("CONTAINERS_CONF", dir.join("containers.conf"))
            .env("HOME", dir.join("home"))
    }

    /// What the image's own command prints in a container. Nothing, with a line that says why, where no container can be started at
    /// all: that the command isn't there, or fails, is a panic.
    #[expect(
        clippy::print_stderr,
        reason = "a test that has less to go by must not look like one that has all"
    )]
    pub fn run(&self, image: &str) -> Option<String> {
        let args = ["run", "--rm", "--network=none", "--ulimit=host", image];
        let output = self.command(&args).run();
        let said = output.stderr.trim_end();
        if said.contains("OCI permission denied") {
            eprintln!("no podman run: containers can't be nested here: {said}");
            return None;
        }
        Some(output.success().out())
    }

    /// Loads an archive from a pipe; gives what podman says.
    pub fn load(&self, archive: Vec<u8>) -> String {
        self.command(&["load"]).input(archive).run().success().out()
    }

    /// Saves an image, `docker-archive` or `oci-archive`.
    pub fn save(&self, format: &str, name: &str) -> Vec<u8> {
        let output = self.command(&["save", "--format", format, name]).run();
        output.success();
        output.stdout
    }
}
