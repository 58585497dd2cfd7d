//! A token server beside the real registry: JSON web tokens, signed with a key whose certificate the registry knows.

use std::fmt::Write as _;
use std::io::{BufReader, Result, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::certificates::{self, openssl};
use super::docker_registry::{PASSWORD, USER};
use crate::or_panic::OrPanic as _;
use crate::registry::auth::{base64, basic};
use crate::registry::http::{self, Head};
use crate::registry::lock;

/// Who signs, and for whom.
const ISSUER: &str = "kit tokens";
const SERVICE: &str = "kit registry";
/// How long the registry goes on taking a token that has ended, in seconds.
const LEEWAY: u64 = 60;

/// How long tokens are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// After how many seconds the registry refuses them.
    pub seconds: u64,
    /// Whether the answer says so (`expires_in`).
    pub said: bool,
}

/// A running token server. It gives a token for any scope to [`USER`] with [`PASSWORD`], and none to others.
#[derive(Debug)]
pub struct TokenServer {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    dir: PathBuf,
    lifetime: Mutex<Lifetime>,
    /// The scopes of each token that was given.
    given: Mutex<Vec<Vec<String>>>,
    stopping: AtomicBool,
}

impl TokenServer {
    /// Starts one that keeps its key in a directory; nothing, with a line that says so, when there is no openssl.
    pub(super) fn start(dir: &Path) -> Option<Self> {
        certificates::signer(dir)?;
        let listener = TcpListener::bind("127.0.0.1:0").or_panic("bind a port on loopback");
        let shared = Arc::new(Shared {
            address: listener.local_addr().or_panic("ask for the port"),
            dir: dir.to_owned(),
            lifetime: Mutex::new(Lifetime { seconds: 3600, said: true }),
            given: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || for_thread.accept(&listener));
        Some(Self { shared, acceptor: Some(acceptor) })
    }

    /// What the registry must know: the value of `auth.token`.
    pub(super) fn configuration(&self) -> Value {
        json!({
            "realm": format!("http://{}/token", self.shared.address),
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": self.shared.dir.join("tokens.crt"),
        })
    }

    /// Changes how long the tokens from here on are good for.
    pub fn set_lifetime(&self, lifetime: Lifetime) {
        *lock(&self.shared.lifetime) = lifetime;
    }

    /// The scopes of each token that was given so far.
    pub fn given(&self) -> Vec<Vec<String>> {
        lock(&self.shared.given).clone()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.shared.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl Shared {
    /// Answers one request a connection, one after the other, since there are few.
    fn accept(&self, listener: &TcpListener) {
        for connection in listener.incoming() {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            // A client that goes away has done so for a reason that is its own.
            connection.and_then(|connection| self.serve(connection)).ok();
        }
    }

    fn serve(&self, mut connection: TcpStream) -> Result<()> {
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        let Some(head) = http::read(&mut BufReader::new(&connection))? else { return Ok(()) };
        let (status, answer) = self.answer(&head);
        let answer = answer.to_string();
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
        write!(text, "Connection: close\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())
            .or_panic("write to a string");
        connection.write_all(text.as_bytes())
    }

    fn answer(&self, head: &Head) -> (&'static str, Value) {
        let shown = head.header("Authorization");
        if head.method != "GET" || shown != Some(basic(USER, PASSWORD).as_str()) {
            let error = json!({ "code": "UNAUTHORIZED", "message": "no such user" });
            return ("401 Unauthorized", json!({ "errors": [error] }));
        }
        let scopes = head.queries("scope");
        let scopes: Vec<String> =
            scopes.iter().flat_map(|it| it.split(' ')).map(str::to_owned).collect();
        let lifetime = *lock(&self.lifetime);
        let mut answer = json!({ "token": self.token(&scopes, lifetime) });
        if lifetime.said {
            answer["expires_in"] = json!(lifetime.seconds);
        }
        lock(&self.given).push(scopes);
        ("200 OK", answer)
    }

    /// A token that the registry takes for some scopes.
    fn token(&self, scopes: &[String], lifetime: Lifetime) -> String {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).or_panic("ask for the time").as_secs();
        let certificate = self.openssl(&["x509", "-in", "tokens.crt", "-outform", "DER"]);
        let head = json!({ "typ": "JWT", "alg": "RS256", "x5c": [base64(&certificate)] });
        let claims = json!({
            "iss": ISSUER,
            "sub": USER,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - LEEWAY,
            "exp": now + lifetime.seconds - LEEWAY,
            "jti": format!("{now}-{}", lock(&self.given).len()),
            "access": scopes.iter().filter_map(|scope| access(scope)).collect::<Vec<Value>>(),
        });
        let [head, claims] = [head, claims].map(|part| url64(part.to_string().as_bytes()));
        let signed = format!("{head}.{claims}");
        std::fs::write(self.dir.join("token"), &signed).or_panic("write what is to be signed");
        let signature = self.openssl(&["dgst", "-sha256", "-sign", "tokens.key", "token"]);
        format!("{signed}.{}", url64(&signature))
    }

    fn openssl(&self, args: &[&str]) -> Vec<u8> {
        openssl(&self.dir, args).or_panic("openssl, which was there before")
    }
}

/// `repository:app:pull,push` as the claim `access` has it.
fn access(scope: &str) -> Option<Value> {
    let (resource, actions) = scope.rsplit_once(':')?;
    let (kind, name) = resource.split_once(':')?;
    let actions: Vec<&str> = actions.split(',').collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

/// Base 64 as URLs have it, without padding.
fn url64(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}
