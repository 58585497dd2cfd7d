//! An OpenSSH server on loopback, into which the user of the tests can log in with a key.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::daemon::{Daemon, Start, bare, free_port};
use super::{peer, root_peer, skip};
use crate::or_panic::OrPanic as _;

/// A running server. Another machine is one with a PATH and a store of its own.
#[derive(Debug)]
pub struct Sshd {
    daemon: Daemon,
    dir: TempDir,
    port: u16,
}

impl Sshd {
    /// Starts one whose sessions have this PATH and this `STRATA_STORE`; nothing, with a line that says so, when it is not
    /// installed.
    pub fn start(path: &str, store: &Path) -> Option<Self> {
        let (sshd, _) = (root_peer("sshd")?, peer("ssh-keygen")?);
        // The server wants this directory, which its package's service makes.
        std::fs::create_dir_all("/run/sshd").or_panic("make sshd's directory");
        let dir = tempfile::tempdir().or_panic("make a directory for sshd");
        for key in ["host", "user", "stranger"] {
            make_key(&dir.path().join(key));
        }
        let public = std::fs::read(dir.path().join("user.pub")).or_panic("read a key");
        std::fs::write(dir.path().join("authorized_keys"), public).or_panic("allow a key");
        let mut last_words = String::new();
        // Another process may take the port before it is used.
        for _ in 0..3 {
            let port = free_port();
            let config = dir.path().join("sshd_config");
            let text = configuration(dir.path(), port, path, store);
            std::fs::write(&config, text).or_panic("write sshd_config");
            let mut command = bare(sshd.path(), dir.path());
            command.arg("-D").arg("-e").arg("-f").arg(&config);
            let ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            match Daemon::start(&mut command, &dir.path().join("log"), ready) {
                Start::Up(daemon) => {
                    let server = Self { daemon, dir, port };
                    server.trust("host");
                    return Some(server);
                }
                Start::Down(words) => last_words = words,
            }
        }
        skip("sshd does not start", &last_words);
        None
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Has clients take the server for the one with this key: `host`, or one that it has not.
    pub fn trust(&self, key: &str) {
        let public = std::fs::read_to_string(self.dir.path().join(format!("{key}.pub")));
        let line = format!("[127.0.0.1]:{} {}", self.port, public.or_panic("read a key"));
        std::fs::write(self.dir.path().join("known_hosts"), line).or_panic("write known_hosts");
    }

    /// The client's command, with its options; `key` is `user`, or one that the server does not know.
    pub fn client(&self, key: &str) -> String {
        let dir = self.dir.path().display();
        format!(
            "ssh -F none -i {dir}/{key} -o UserKnownHostsFile={dir}/known_hosts -o StrictHostKeyChecking=yes \
             -o GlobalKnownHostsFile=none -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=VERBOSE"
        )
    }

    /// Ends the connections that there are at once, as a line does that breaks.
    pub fn break_connections(&self) {
        for child in children(self.daemon.id()) {
            if let Some(pid) = Pid::from_raw(child) {
                // One that has ended is what was wanted.
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
    }

    /// What the server has said.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

fn make_key(path: &PathBuf) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path);
    let made = command.status().or_panic("run ssh-keygen");
    assert!(made.success(), "kit: ssh-keygen fails");
}

fn configuration(dir: &Path, port: u16, path: &str, store: &Path) -> String {
    let (dir, store) = (dir.display(), store.display());
    format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized_keys\n\
         PidFile {dir}/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n\
         SetEnv PATH={path} STRATA_STORE={store}\n"
    )
}

/// The children of a process.
fn children(parent: u32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}
