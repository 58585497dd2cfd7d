//! An nginx in front of a registry, with TLS and HTTP/2, as operators put one there.

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::daemon::{Daemon, Start, bare, free_port};
use super::docker_registry::{DockerRegistry, PASSWORD, USER};
use super::{certificates, peer, skip};
use crate::or_panic::OrPanic as _;
use crate::registry::auth::basic;

/// A running nginx, and the storage that it sends those who want a blob to: another port, which refuses logins.
#[derive(Debug)]
pub struct Nginx {
    _daemon: Daemon,
    dir: TempDir,
    port: u16,
}

impl Nginx {
    /// Starts one with a `client_max_body_size`; nothing, with a line that says so, when it is not installed.
    pub fn start(registry: &DockerRegistry, largest: &str) -> Option<Self> {
        let dir = tempfile::tempdir().or_panic("make a directory for nginx");
        certificates::make(dir.path())?;
        Self::start_with(dir, |dir, ports| configuration(dir, registry, largest, ports))
    }

    /// Starts one that speaks plain HTTP and sends at most so much in a second on each connection: `30m`.
    pub fn throttled(registry: &DockerRegistry, rate: &str) -> Option<Self> {
        let dir = tempfile::tempdir().or_panic("make a directory for nginx");
        Self::start_with(dir, |dir, (port, _)| throttled(dir, registry, rate, port))
    }

    fn start_with(dir: TempDir, text: impl Fn(&Path, (u16, u16)) -> String) -> Option<Self> {
        let program = peer("nginx")?;
        let mut last_words = String::new();
        // Another process may take the port before it is used.
        for _ in 0..3 {
            let (port, storage) = (free_port(), free_port());
            let config = dir.path().join("nginx.conf");
            let text = text(dir.path(), (port, storage));
            std::fs::write(&config, text).or_panic("write nginx.conf");
            let mut command = bare(program.path(), dir.path());
            command.arg("-c").arg(&config).arg("-p").arg(dir.path());
            let ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            match Daemon::start(&mut command, &dir.path().join("log"), ready) {
                Start::Up(daemon) => return Some(Self { _daemon: daemon, dir, port }),
                Start::Down(words) => last_words = words,
            }
        }
        skip("nginx does not start", &last_words);
        None
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The private authority (PEM) that clients must trust.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.crt")
    }

    /// The requests that it has answered, a line each: server, method, path, protocol, status.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// What each configuration begins with, up to what is in `http`.
fn head(dir: &Path) -> String {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {dir}/{kind};\n"))
        .concat();
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        r"{user}daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
worker_processes 1;
events {{}}
http {{
{temporary}"
    )
}

fn throttled(dir: &Path, registry: &DockerRegistry, rate: &str, port: u16) -> String {
    let (head, registry) = (head(dir), registry.url());
    format!(
        r"{head}  access_log off;
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    proxy_set_header Host $http_host;
    proxy_max_temp_file_size 0;
    limit_rate {rate};
    location / {{ proxy_pass {registry}; }}
  }}
}}
"
    )
}

fn configuration(
    dir: &Path,
    registry: &DockerRegistry,
    largest: &str,
    (port, storage): (u16, u16),
) -> String {
    let head = head(dir);
    let (dir, registry, login) = (dir.display(), registry.url(), basic(USER, PASSWORD));
    format!(
        r#"{head}  log_format short '$server_port $request_method $uri $server_protocol $status';
  access_log {dir}/access.log short;
  ssl_certificate {dir}/tls.crt;
  ssl_certificate_key {dir}/tls.key;
  client_max_body_size {largest};
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-Proto https;
  proxy_request_buffering off;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    location / {{ proxy_pass {registry}; }}
    location ~ ^/v2/.+/blobs/sha256:[0-9a-f]+$ {{
      if ($request_method = GET) {{ return 307 https://127.0.0.1:{storage}$request_uri; }}
      proxy_pass {registry};
    }}
  }}
  server {{
    listen 127.0.0.1:{storage} ssl http2;
    location / {{
      if ($http_authorization) {{ return 400; }}
      proxy_set_header Host $http_host;
      proxy_set_header Authorization "{login}";
      proxy_pass {registry};
    }}
  }}
}}
"#
    )
}
