//! containerd's `hosts.toml`: who is asked, by which address, and on which terms.

use std::io::BufRead as _;
use std::net::TcpListener;
use std::time::Duration;

use kit::{Fault, Registry, Sandbox};
use registry::{Client, Mirrors, Options, Repository};

use crate::script::{Script, answer};
use crate::support::{chain, descriptor, options};
use crate::tls::{AS_GO, Authority, pem, serve};

/// The registry that names mean; nobody is there.
const ORIGIN: &str = "registry.invalid";

/// A directory as `/etc/containerd/certs.d`.
struct Certs(Sandbox);

impl Certs {
    fn new(dir: &str, text: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write(&format!("certs/{dir}/hosts.toml"), text);
        Self(sandbox)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.0.write(&format!("certs/{ORIGIN}/{name}"), bytes);
    }

    fn options(&self) -> Options {
        let mut mirrors = Mirrors::none();
        mirrors.read_hosts(&self.0.path("certs")).unwrap();
        Options { mirrors, ..options() }
    }

    fn client(&self) -> Client {
        Client::new(self.options()).unwrap()
    }

    /// `app` of the registry.
    fn open(&self) -> Repository {
        self.client().repository(&format!("{ORIGIN}/app").parse().unwrap()).unwrap()
    }
}

/// The first line of each request.
fn lines(script: &Script) -> Vec<String> {
    let first = |request: &String| request.lines().next().unwrap_or_default().to_owned();
    script.requests().iter().map(first).collect()
}

#[test]
fn hosts_are_asked_where_their_api_begins_and_told_for_whom() {
    let script = Script::plain(vec![answer(200, "", b"hi"); 2]);
    let [first, second] = ["/x", "/v2/cache"].map(|path| format!("http://{}{path}", script.host));
    let text = format!("server = \"{second}\"\noverride_path = true\n[host.\"{first}\"]\n");
    let certs = Certs::new(ORIGIN, &text);
    let digest = descriptor(b"hi").digest;
    assert_eq!(certs.open().document(&descriptor(b"hi")).unwrap(), b"hi");
    let of_mirror = format!("GET /x/v2/app/blobs/{digest}?ns={ORIGIN} HTTP/1.1");
    assert_eq!(lines(&script), [of_mirror]);
    assert!(certs.open().has(&descriptor(b"hi")).unwrap());
    let of_server = format!("HEAD /v2/cache/app/blobs/{digest}?ns={ORIGIN} HTTP/1.1");
    assert_eq!(lines(&script)[1..], [of_server]);
}

#[test]
fn what_stands_for_all_registries_is_for_those_without_a_file() {
    let script = Script::plain(vec![answer(200, "", b"hi"); 2]);
    let certs = Certs::new("_default", &format!("server = \"http://{}\"", script.host));
    assert_eq!(certs.open().document(&descriptor(b"hi")).unwrap(), b"hi");
    assert!(lines(&script)[0].contains(&format!("?ns={ORIGIN} ")), "{:?}", lines(&script));
    certs.put("hosts.toml", "");
    let plan = certs.client().explain(&format!("{ORIGIN}/app").parse().unwrap()).unwrap();
    assert_eq!(plan[0], format!("registry: {ORIGIN} (HTTPS)"));
}

#[test]
fn a_mirror_may_have_authorities_and_want_certificates() {
    let [servers, clients, others] = ["servers", "clients", "others"].map(Authority::new);
    let script = serve(servers.server(&clients), AS_GO, vec![answer(200, "", b"hi"); 2]);
    let host = |rest: &str| format!("[host.\"https://{}\"]\nca = \"ca.pem\"\n{rest}", script.host);
    let certs = Certs::new(ORIGIN, &host("client = [[\"a.cert\", \"a.key\"], \"both.pem\"]"));
    certs.put("ca.pem", pem("CERTIFICATE", &servers.certificate));
    let (certificate, key) = others.sign();
    certs.put("a.cert", pem("CERTIFICATE", &certificate));
    certs.put("a.key", pem("PRIVATE KEY", &key));
    let (certificate, key) = clients.sign();
    let both = pem("CERTIFICATE", &certificate) + &pem("PRIVATE KEY", &key);
    certs.put("both.pem", both);
    assert_eq!(certs.open().document(&descriptor(b"hi")).unwrap(), b"hi");
    // A registry with certificates and no file of its own has them in its directory, as docker does.
    let certs = Certs::new("other", "");
    let dir = format!("certs/{}", script.host.replace(':', "_") + "_");
    let put = |name: &str, text: &str| drop(certs.0.write(&format!("{dir}/{name}"), text));
    put("ca.crt", &pem("CERTIFICATE", &servers.certificate));
    put("me.cert", &pem("CERTIFICATE", &certificate));
    put("me.key", &pem("PRIVATE KEY", &key));
    let name = format!("{}/app", script.host).parse().unwrap();
    let repository = certs.client().repository(&name).unwrap();
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
}

#[test]
fn headers_go_to_their_host_and_nowhere_else() {
    let (storage, mirror) = (Registry::start(), Registry::start());
    for registry in [&storage, &mirror] {
        registry.add_blob("app", "hi");
    }
    mirror.fault(Fault::on("/blobs/").redirect(&format!("http://{}{{path}}", storage.host())));
    let text = "X-Key = \"hunter2\"\nAuthorization = \"Bearer hunter2\"\n";
    let url = format!("http://{}", mirror.host());
    let certs = Certs::new(ORIGIN, &format!("[host.\"{url}\"]\n[host.\"{url}\".header]\n{text}"));
    assert_eq!(certs.open().document(&descriptor(b"hi")).unwrap(), b"hi");
    let asked = mirror.requests();
    let headers = |name: &str| asked[0].header(name).map(str::to_owned);
    assert_eq!(headers("X-Key").as_deref(), Some("hunter2"));
    assert_eq!(headers("Authorization").as_deref(), Some("Bearer hunter2"));
    assert!(!format!("{:?}", storage.requests()).contains("hunter2"));
    let client = certs.client();
    let plan = client.explain(&format!("{ORIGIN}/app").parse().unwrap()).unwrap();
    let of_mirror = format!("mirror: {} (plain HTTP), ", mirror.host());
    assert_eq!(plan[0], of_mirror + "header x-key, header authorization");
    assert!(!format!("{client:?}{:?}", certs.options()).contains("hunter2"));
}

#[test]
fn a_mirror_that_is_silent_is_left_when_its_file_says() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = Script::plain(vec![answer(200, "", b"hi")]);
    let text = format!(
        "[host.\"https://{}\"]\ndial_timeout = \"100ms\"\n[host.\"http://{}\"]\n",
        silent.local_addr().unwrap(),
        script.host
    );
    let certs = Certs::new(ORIGIN, &text);
    let (connect, stall) = (Duration::from_secs(3600), Duration::from_secs(3600));
    let client = Client::new(Options { connect, stall, ..certs.options() }).unwrap();
    let repository = client.repository(&format!("{ORIGIN}/app").parse().unwrap()).unwrap();
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
}

#[test]
fn a_malformed_file_matters_to_its_registry_alone() {
    let script = Script::plain(vec![answer(200, "", b"hi")]);
    let certs = Certs::new("other.test", "[host.\"https://a.test\"]\nca = 7\n");
    certs.put("hosts.toml", format!("server = \"http://{}\"", script.host));
    assert_eq!(certs.open().document(&descriptor(b"hi")).unwrap(), b"hi");
    let error = certs.client().repository(&"other.test/app".parse().unwrap()).unwrap_err();
    let text = chain(&error);
    let end = "/other.test/hosts.toml: malformed: ca is neither a path nor a list of paths";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_mirror_that_failed_is_asked_again_for_later_blobs() {
    // One that is down is not waited for again and again; one that is back is of use again.
    for (mirror_pause, n_asked) in [(Duration::ZERO, 2), (Duration::from_secs(3600), 1)] {
        let (mirror, origin) = (Registry::start(), Registry::start());
        for registry in [&mirror, &origin] {
            registry.add_blob("app", "hi");
            registry.add_blob("app", "ho");
        }
        mirror.fault(Fault::on("/blobs/").times(1).hang_up());
        let text =
            format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", origin.host(), mirror.host());
        let certs = Certs::new(ORIGIN, &text);
        let client = Client::new(Options { mirror_pause, ..certs.options() }).unwrap();
        let repository = client.repository(&format!("{ORIGIN}/app").parse().unwrap()).unwrap();
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
        assert_eq!(repository.document(&descriptor(b"ho")).unwrap(), b"ho");
        assert_eq!(mirror.requests().len(), n_asked, "{}", mirror.log());
        assert_eq!(origin.requests().len(), 3 - n_asked, "{}", origin.log());
    }
}

#[test]
fn a_login_comes_before_the_header_of_a_file_and_the_header_before_nothing() {
    let registry = Registry::with_auth(kit::Auth::basic("me", "hunter2"));
    registry.add_blob("app", "hi");
    let host = registry.host();
    let text = format!("server = \"http://{host}\"\n[header]\nAuthorization = \"Bearer other\"\n");
    let certs = Certs::new(ORIGIN, &text);
    let login = registry::Login::Password {
        user: "me".to_owned(),
        password: registry::Secret::new("hunter2"),
    };
    let credentials = registry::Credentials::none().with(&host, login);
    let client = Client::new(Options { credentials, ..certs.options() }).unwrap();
    let repository = client.repository(&format!("{ORIGIN}/app").parse().unwrap()).unwrap();
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    let shown: Vec<_> = registry.requests().into_iter().filter_map(|it| it.authorization).collect();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(
        shown[0] == "Bearer other" && shown[1].starts_with("Basic "),
        "one at a time: {shown:?}"
    );
}

#[test]
fn a_mirror_is_distrusted_for_bytes_that_were_taken_and_not_for_those_that_were_only_looked_at() {
    let mirror = Registry::start();
    mirror.add_blob("app", "hi");
    let url = format!("http://{}", mirror.host());
    let certs = Certs::new(ORIGIN, &format!("[host.\"{url}\"]\n"));
    // From its beginning, a blob that is so small would be read as a whole first.
    let mut blob = certs.open().blob(&descriptor(b"hi"), 1).unwrap();
    assert_eq!(blob.fill_buf().unwrap(), b"i");
    blob.consume(0);
    assert!(!blob.distrust());
    blob.consume(1);
    assert!(blob.distrust());
}
