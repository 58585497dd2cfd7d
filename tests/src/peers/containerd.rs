//! A private `containerd`, spoken to with `ctr`.

use std::path::PathBuf;

use super::daemon::{Daemon, Start, bare};
use super::{peer, root_peer, skip};
use crate::command::Sandbox;
use crate::command::program::Program;
use crate::or_panic::OrPanic as _;

/// A running containerd and its client.
#[derive(Debug)]
pub struct Containerd {
    _daemon: Daemon,
    sandbox: Sandbox,
    client: PathBuf,
    socket: PathBuf,
}

impl Containerd {
    /// Starts one; nothing, with a line that says why, when that cannot be.
    pub fn start() -> Option<Self> {
        let client = peer("ctr")?;
        let server = root_peer("containerd")?;
        let sandbox = Sandbox::new();
        let dir = sandbox.root();
        let socket = dir.join("containerd.sock");
        // Kubernetes' plugin wants a network.
        let config = format!(
            "version = 2\nroot = '{dir}/data'\nstate = '{dir}/state'\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri']\n\
             [grpc]\naddress = '{dir}/containerd.sock'\n[debug]\nlevel = 'warn'\n",
            dir = dir.display()
        );
        let path = dir.join("config.toml");
        std::fs::write(&path, config).or_panic("write config.toml");
        let mut command = bare(server.path(), &dir.join("tmp"));
        command.arg("--config").arg(&path);
        let ready = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let daemon = match Daemon::start(&mut command, &dir.join("containerd.log"), ready) {
            Start::Up(daemon) => daemon,
            Start::Down(words) => {
                skip("containerd does not start", &words);
                return None;
            }
        };
        let containerd =
            Self { _daemon: daemon, client: client.path().to_owned(), socket, sandbox };
        containerd.command(&["version"]).run().success();
        Some(containerd)
    }

    /// `ctr ARGS…` against it.
    pub fn command(&self, args: &[&str]) -> Program {
        self.configure(self.sandbox.program(&self.client)).args(args)
    }

    /// Lets `ctr` in a program or a script speak to it.
    pub fn configure(&self, program: Program) -> Program {
        program.env("CONTAINERD_ADDRESS", &self.socket)
    }

    /// Imports an archive from a pipe; gives what ctr says.
    pub fn import(&self, archive: Vec<u8>) -> String {
        self.command(&["images", "import", "-"]).input(archive).run().success().out()
    }

    /// Exports images.
    pub fn export(&self, names: &[&str]) -> Vec<u8> {
        let output = self.command(&["images", "export", "-"]).args(names).run();
        output.success();
        output.stdout
    }
}
