//! A private `dockerd`, whatever version is installed, without any network.

use std::path::PathBuf;

use super::daemon::{Daemon, Start, bare};
use super::{peer, root_peer, skip};
use crate::command::Sandbox;
use crate::command::program::Program;

/// A running dockerd and its client.
#[derive(Debug)]
pub struct Docker {
    _daemon: Daemon,
    sandbox: Sandbox,
    client: PathBuf,
    socket: PathBuf,
}

impl Docker {
    /// Starts one; nothing, with a line that says why, when that cannot be.
    pub fn start() -> Option<Self> {
        let client = peer("docker")?;
        let server = root_peer("dockerd")?;
        let sandbox = Sandbox::new();
        let dir = sandbox.root();
        let socket = dir.join("docker.sock");
        let mut command = bare(server.path(), &dir.join("tmp"));
        command.arg("--data-root").arg(dir.join("data"));
        command.arg("--exec-root").arg(dir.join("exec"));
        command.arg("--pidfile").arg(dir.join("docker.pid"));
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        // No bridge and no firewall: it neither needs nor touches the machine's network.
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.args(["--ip-forward=false", "--ip-masq=false", "--log-level=warn"]);
        let ready = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let daemon = match Daemon::start(&mut command, &dir.join("dockerd.log"), ready) {
            Start::Up(daemon) => daemon,
            Start::Down(words) => {
                skip("dockerd does not start", &words);
                return None;
            }
        };
        let docker = Self { _daemon: daemon, client: client.path().to_owned(), socket, sandbox };
        docker.command(&["version"]).run().success();
        Some(docker)
    }

    /// `docker ARGS…` against it.
    pub fn command(&self, args: &[&str]) -> Program {
        self.configure(self.sandbox.program(&self.client)).args(args)
    }

    /// Lets `docker` in a program or a script speak to it.
    pub fn configure(&self, program: Program) -> Program {
        program.env("DOCKER_HOST", self.host())
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Loads an archive from a pipe; gives what docker says.
    pub fn load(&self, archive: Vec<u8>) -> String {
        self.command(&["load"]).input(archive).run().success().out()
    }

    /// Saves images.
    pub fn save(&self, names: &[&str]) -> Vec<u8> {
        let output = self.command(&["save"]).args(names).run();
        output.success();
        output.stdout
    }

    /// What a command in a container of an image prints. Nothing, with a line that says why, where no container can be started
    /// at all: that the command isn't there, or fails, is a panic.
    #[expect(
        clippy::print_stderr,
        reason = "a test that has less to go by must not look like one that has all"
    )]
    pub fn run(&self, image: &str, words: &[&str]) -> Option<String> {
        let output = self.command(&["run", "--rm", "--network=none", image]).args(words).run();
        let said = output.stderr.trim_end();
        if said.contains("OCI runtime create failed") && said.contains("operation not permitted") {
            eprintln!("no docker run: containers can't be nested here: {said}");
            return None;
        }
        Some(output.success().out())
    }

    /// The root file system of an image, as `docker export` of a container that never ran.
    pub fn export(&self, image: &str) -> Vec<u8> {
        let id = self.command(&["create", "--network=none", image, "/bin/none"]).run();
        let id = id.success().out();
        let output = self.command(&["export", id.trim()]).run();
        output.success();
        self.command(&["rm", id.trim()]).run().success();
        output.stdout
    }

    /// The directories that would be the root of a container of an image, as overlayfs takes them; nothing, with a line that
    /// says so, where docker stores images otherwise.
    pub fn layers(&self, image: &str) -> Option<String> {
        let id = self.command(&["create", "--network=none", image, "/bin/none"]).run();
        let id = id.success().out();
        let format = "{{.GraphDriver.Name}} {{.GraphDriver.Data.LowerDir}}";
        let output = self.command(&["inspect", "--format", format, id.trim()]).run();
        let said = output.success().out();
        let layers = said.trim().strip_prefix("overlay2 ");
        if layers.is_none() {
            skip("docker has no overlay2", said.trim());
        }
        layers.map(ToOwned::to_owned)
    }
}
