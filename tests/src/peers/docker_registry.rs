//! The real `docker-registry` (distribution 2.8), on a port of its own.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::daemon::{Daemon, Start, bare, free_port};
use super::tokens::TokenServer;
use super::{certificates, peer, skip};
use crate::or_panic::OrPanic as _;

/// The user of a registry with a login.
pub const USER: &str = "kit";
/// The user's password.
pub const PASSWORD: &str = "secret";
/// Both, as htpasswd's bcrypt.
const HTPASSWD: &str = "kit:$2y$05$9MbdM8PrcumoTh4P7kCJB.8ay7X46rg73dkumogCFCvFap86md3hu\n";

/// Who may use a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Anybody.
    Nobody,
    /// [`USER`] with [`PASSWORD`], by Basic.
    Htpasswd,
    /// Who has a token of [`DockerRegistry::tokens`], which gives them to [`USER`] with [`PASSWORD`].
    Token,
}

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP.
    Plain,
    /// TLS for 127.0.0.1 and localhost, with a certificate of an authority of its own.
    Tls,
    /// TLS, only for those who show a certificate of the same authority.
    ClientCertificates,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Only pulls.
    ReadOnly,
}

/// What kind of registry is wanted; start from [`Setup::PLAIN`].
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who may use it.
    pub login: Login,
    /// How it is spoken to.
    pub transport: Transport,
    /// What may be done.
    pub access: Access,
    /// The URL of a registry it is the pull-through cache of.
    pub proxy: Option<String>,
    /// Where it keeps its data, when not in a directory of its own: another registry's storage.
    pub storage: Option<PathBuf>,
    /// Where it listens.
    pub address: Ipv4Addr,
}

impl Setup {
    /// Plain HTTP on loopback without a login.
    pub const PLAIN: Self = Self {
        login: Login::Nobody,
        transport: Transport::Plain,
        access: Access::ReadWrite,
        proxy: None,
        storage: None,
        address: Ipv4Addr::LOCALHOST,
    };
}

/// A running registry.
#[derive(Debug)]
pub struct DockerRegistry {
    daemon: Daemon,
    dir: TempDir,
    address: SocketAddrV4,
    transport: Transport,
    storage: PathBuf,
    tokens: Option<TokenServer>,
}

impl DockerRegistry {
    /// Starts one; nothing, with a line that says so, when it is not installed.
    pub fn start(setup: &Setup) -> Option<Self> {
        let program = peer("docker-registry")?;
        let dir = tempfile::tempdir().or_panic("make a directory for a registry");
        if setup.transport != Transport::Plain {
            certificates::make(dir.path())?;
        }
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).or_panic("write htpasswd");
        let tokens = match setup.login {
            Login::Token => Some(TokenServer::start(dir.path())?),
            Login::Nobody | Login::Htpasswd => None,
        };
        let storage = setup.storage.clone().unwrap_or_else(|| dir.path().join("data"));
        let mut last_words = String::new();
        // Another process may take the port before it is used.
        for _ in 0..3 {
            let address = SocketAddrV4::new(setup.address, free_port());
            let config = dir.path().join("config.yml");
            let mut text = configuration(setup, dir.path(), &storage, address);
            if let Some(tokens) = &tokens {
                text["auth"] = json!({ "token": tokens.configuration() });
            }
            std::fs::write(&config, text.to_string()).or_panic("write config.yml");
            let mut command = bare(program.path(), dir.path());
            command.arg("serve").arg(&config);
            let ready = || TcpStream::connect(address).is_ok();
            match Daemon::start(&mut command, &dir.path().join("log"), ready) {
                Start::Up(daemon) => {
                    let transport = setup.transport;
                    return Some(Self { daemon, dir, address, transport, storage, tokens });
                }
                Start::Down(words) => last_words = words,
            }
        }
        skip("docker-registry does not start", &last_words);
        None
    }

    /// `127.0.0.1:PORT`, or where else it listens.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`, or `https:`.
    pub fn url(&self) -> String {
        let scheme = if self.transport == Transport::Plain { "http" } else { "https" };
        format!("{scheme}://{}", self.host())
    }

    /// The private authority (PEM) that clients must trust, of a registry with TLS.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The certificate and the key (PEM) of a client that a registry with [`Transport::ClientCertificates`] takes.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("client.crt"), self.dir.path().join("client.key"))
    }

    /// The token server of a registry with [`Login::Token`].
    pub fn tokens(&self) -> Option<&TokenServer> {
        self.tokens.as_ref()
    }

    /// Where its data are.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// The requests that it has answered, a line each in Apache's form.
    pub fn requests(&self) -> Vec<String> {
        let log = self.daemon.log();
        log.lines().filter(|line| line.contains(" HTTP/")).map(str::to_owned).collect()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        self.daemon.last_words()
    }
}

/// The configuration: JSON, which is YAML too.
fn configuration(setup: &Setup, dir: &Path, storage: &Path, address: SocketAddrV4) -> Value {
    let read_only = setup.access == Access::ReadOnly;
    let mut config = json!({
        "version": "0.1",
        "log": { "level": "info", "accesslog": { "disabled": false } },
        "storage": {
            "filesystem": { "rootdirectory": storage },
            "delete": { "enabled": true },
            "maintenance": {
                "uploadpurging": { "enabled": false },
                "readonly": { "enabled": read_only },
            },
        },
        "http": { "addr": address.to_string(), "secret": "kit" },
    });
    if setup.transport != Transport::Plain {
        config["http"]["tls"] =
            json!({ "certificate": dir.join("tls.crt"), "key": dir.join("tls.key") });
    }
    if setup.transport == Transport::ClientCertificates {
        config["http"]["tls"]["clientcas"] = json!([dir.join("ca.crt")]);
    }
    if setup.login == Login::Htpasswd {
        config["auth"] = json!({ "htpasswd": { "realm": "kit", "path": dir.join("htpasswd") } });
    }
    if let Some(url) = &setup.proxy {
        config["proxy"] = json!({ "remoteurl": url });
    }
    config
}
