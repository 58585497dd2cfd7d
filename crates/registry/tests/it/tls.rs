//! TLS on loopback, and which scheme a registry there speaks.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kit::Sandbox;
use kit::registry::auth::base64;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use registry::{Error, Options};
use report::{ErrorKind, HasKind as _};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};

use crate::script::{ReadWrite, Script, answer};
use crate::support::{chain, descriptor, impatient, open_with, options};

/// For localhost and 127.0.0.1, signed by itself.
pub(crate) fn config() -> Arc<ServerConfig> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificate = made.cert.der().clone();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap())
}

/// A server that speaks TLS, and to whoever doesn't says `to_plain`.
fn secure(to_plain: &'static [u8], answers: Vec<Vec<u8>>) -> Script {
    serve(config(), to_plain, answers)
}

pub(crate) fn serve(
    config: Arc<ServerConfig>,
    to_plain: &'static [u8],
    answers: Vec<Vec<u8>>,
) -> Script {
    Script::start(
        answers,
        move |mut socket: &TcpStream, talk: &mut dyn FnMut(&mut dyn ReadWrite)| {
            let mut first = [0];
            if socket.peek(&mut first).is_ok_and(|n| n == 1) && first[0] != 0x16 {
                drop(std::io::Write::write_all(&mut socket, to_plain));
                return;
            }
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            talk(&mut Stream::new(&mut connection, &mut socket));
            // A socket that is closed with something unread in it takes back the last that was sent, an alert for one.
            drop(socket.shutdown(Shutdown::Write));
            drop(socket.set_read_timeout(Some(Duration::from_secs(1))));
            drop(std::io::copy(&mut socket, &mut std::io::sink()));
        },
    )
}

pub(crate) const AS_GO: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
const AS_OPENSSL: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";
const AS_OTHERS: &[u8] = b"";

#[test]
fn a_registry_on_loopback_may_speak_tls() {
    for to_plain in [AS_GO, AS_OPENSSL, AS_OTHERS] {
        let script = secure(to_plain, vec![answer(200, "", b"hi"), answer(200, "", b"hi")]);
        let insecure = vec![script.host.clone()];
        let name = format!("{}/app", script.host);
        let error = open_with(options(), &name).document(&descriptor(b"hi")).unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Network);
        let repository = open_with(Options { insecure, ..options() }, &name);
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
        assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    }
}

#[test]
fn a_listed_host_may_be_plain() {
    let registry = kit::Registry::start();
    registry.add_blob("app", "hi");
    let insecure = vec!["127.0.0.1".to_owned()];
    let repository = open_with(Options { insecure, ..options() }, &registry.name("app"));
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
}

#[test]
fn a_plain_registry_that_refuses_a_request_stays_plain() {
    let script = Script::plain(vec![answer(400, "Content-Type: text/plain\r\n", b"no")]);
    let error = open_with(options(), &format!("{}/app", script.host)).document(&descriptor(b"hi"));
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error:?}");
}

/// An authority, and what it has signed for 127.0.0.1.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(parameters, key) }
    }

    pub(crate) fn sign(&self) -> (CertificateDer<'static>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap().der().clone(), key.serialize_der())
    }

    /// A server with a certificate of this authority, which wants one of `clients`.
    pub(crate) fn server(&self, clients: &Self) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(clients.certificate.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
        let (certificate, key) = self.sign();
        let key = PrivateKeyDer::try_from(key).unwrap();
        Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(der))
}

#[test]
fn certificates_are_found_in_the_registrys_directory() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let answers = vec![answer(200, "", b"hi"); 3];
    let script = serve(servers.server(&clients), AS_GO, answers);
    let (sandbox, (certificate, key)) = (Sandbox::new(), clients.sign());
    let put = |name: &str, label: &str, der: &[u8]| {
        drop(sandbox.write(&format!("certs/{}/{name}", script.host), pem(label, der)));
    };
    let ask = || {
        let certificates = vec![sandbox.path("none"), sandbox.path("certs")];
        let options = Options { certificates, ..impatient() };
        let repository = open_with(options, &format!("{}/app", script.host));
        repository.document(&descriptor(b"hi"))
    };
    assert!(matches!(ask().unwrap_err(), Error::Certificate { .. }));
    put("ca.crt", "CERTIFICATE", &servers.certificate);
    let error = ask().unwrap_err();
    assert!(matches!(error, Error::ClientCertificate { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Unauthorised);
    put("me.cert", "CERTIFICATE", &certificate);
    let error = ask().unwrap_err();
    assert!(chain(&error).contains("me.key: "), "{}", chain(&error));
    put("me.key", "PRIVATE KEY", &key);
    assert_eq!(ask().unwrap(), b"hi");
}

/// A server whose certificate signs itself and is marked as an authority, as `openssl req -x509` makes them.
fn self_made(name: &str) -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key);
    (Arc::new(config.unwrap()), certificate)
}

#[test]
fn an_authority_of_its_own_making_is_believed_only_where_it_is_listed_and_for_its_name() {
    for (name, is_listed, is_believed) in [
        ("127.0.0.1", true, true),
        ("127.0.0.1", false, false),
        ("other.test", true, false),
        ("other.test", false, false),
    ] {
        let (config, certificate) = self_made(name);
        let script = serve(config, AS_GO, vec![answer(200, "", b"hi")]);
        let sandbox = Sandbox::new();
        // Somebody is believed in any case, so that it isn't for want of roots that this one is refused.
        let (_, another) = self_made(name);
        let listed = if is_listed { &certificate } else { &another };
        sandbox.write(&format!("certs/{}/ca.crt", script.host), pem("CERTIFICATE", listed));
        let options = Options { certificates: vec![sandbox.path("certs")], ..impatient() };
        let repository = open_with(options, &format!("{}/app", script.host));
        let outcome = repository.document(&descriptor(b"hi"));
        assert_eq!(outcome.is_ok(), is_believed, "{name} {is_listed} {outcome:?}");
        let Err(error) = outcome else { continue };
        assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
        assert_eq!(script.requests(), [""; 0], "nothing was said to it");
    }
}

/// A server that answers a TLS greeting as nginx and Go do that were told to speak plain HTTP, and other requests with `answers`.
fn without_tls(answers: Vec<Vec<u8>>) -> (Script, Arc<AtomicUsize>) {
    let greetings = Arc::new(AtomicUsize::new(0));
    let n_greeted = Arc::clone(&greetings);
    let script = Script::start(answers, move |socket, talk| {
        let mut first = [0];
        if socket.peek(&mut first).is_ok_and(|n| n == 1) && first[0] == 0x16 {
            n_greeted.fetch_add(1, Ordering::Relaxed);
            drop(std::io::Write::write_all(&mut &*socket, b"HTTP/1.1 400 Bad Request\r\n\r\n"));
            drop(socket.shutdown(Shutdown::Write));
            drop(std::io::copy(&mut &*socket, &mut std::io::sink()));
        } else {
            talk(&mut &*socket);
        }
    });
    (script, greetings)
}

/// distribution#1874, regclient#268: others wait and try again, and then tell what a library has said.
#[test]
fn a_server_of_plain_http_is_told_by_its_name_and_asked_once() {
    let (script, greetings) = without_tls(vec![]);
    let hosts = Sandbox::new();
    hosts.write("r.test/hosts.toml", format!("server = \"https://{}\"", script.host));
    let mut mirrors = registry::Mirrors::none();
    mirrors.read_hosts(&hosts.path(".")).unwrap();
    let repository = open_with(Options { mirrors, ..options() }, "r.test/app");
    let error = repository.document(&descriptor(b"hi")).unwrap_err();
    assert!(matches!(error, Error::NotTls { .. }), "{error:?}");
    assert!(chain(&error).ends_with(&format!("{} doesn't speak TLS", script.host)));
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(error.hint(), None, "how a server of hosts.toml is asked stands there");
    let (what, host) = ("r.test:5000/app:1".to_owned(), "r.test:5000".to_owned());
    let hint = "if it is to be asked in plain HTTP: --insecure r.test:5000";
    assert_eq!(Error::NotTls { what, host }.hint().as_deref(), Some(hint));
    assert_eq!(greetings.load(Ordering::Relaxed), 1, "trying again would change nothing");
}

#[test]
fn a_server_of_plain_http_that_is_listed_is_asked_so() {
    let (script, greetings) = without_tls(vec![answer(200, "", b"hi")]);
    let insecure = vec![script.host.clone()];
    let repository = open_with(Options { insecure, ..options() }, &format!("{}/app", script.host));
    assert_eq!(repository.document(&descriptor(b"hi")).unwrap(), b"hi");
    assert_eq!((greetings.load(Ordering::Relaxed), script.requests().len()), (1, 1));
}

#[test]
fn a_listed_server_that_speaks_neither_tls_nor_http_gets_no_hint_to_list_it() {
    let script = Script::start(vec![], |socket, _| {
        drop(std::io::Write::write_all(&mut &*socket, b"SSH-2.0-OpenSSH_9.2\r\n"));
        drop(socket.shutdown(Shutdown::Write));
        drop(std::io::copy(&mut &*socket, &mut std::io::sink()));
    });
    let insecure = vec![script.host.clone()];
    let repository =
        open_with(Options { insecure, ..impatient() }, &format!("{}/app", script.host));
    let error = repository.document(&descriptor(b"hi")).unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
    assert_eq!(error.hint(), None);
}

#[test]
fn a_server_with_nothing_in_common_is_told_what_is_supported() {
    // What openssl answers that has a certificate of P-521 alone; and one that speaks TLS 1.0.
    for (alert, reason) in [(40, "(P-521)"), (70, "no TLS newer than 1.1")] {
        let script = Script::start(vec![], move |mut socket, _| {
            let mut greeting = [0; 5];
            drop(std::io::Read::read_exact(&mut socket, &mut greeting));
            let length = usize::from(u16::from_be_bytes([greeting[3], greeting[4]]));
            drop(std::io::Read::read_exact(&mut socket, &mut vec![0; length]));
            drop(std::io::Write::write_all(&mut socket, &[0x15, 3, 3, 0, 2, 2, alert]));
            drop(socket.shutdown(Shutdown::Write));
            drop(std::io::copy(&mut socket, &mut std::io::sink()));
        });
        let certs = Sandbox::new();
        let hosts = format!("server = \"https://{}\"", script.host);
        certs.write("r.test/hosts.toml", hosts);
        let mut mirrors = registry::Mirrors::none();
        mirrors.read_hosts(&certs.path(".")).unwrap();
        let repository = open_with(Options { mirrors, ..options() }, "r.test/app");
        let error = repository.document(&descriptor(b"hi")).unwrap_err();
        assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
        assert!(chain(&error).contains(reason), "{}", chain(&error));
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(error.hint().unwrap().contains("P-384"));
    }
}

#[test]
fn a_certificate_that_is_signed_in_an_unsupported_way_is_told() {
    // ecdsa-with-SHA512, 1.2.840.10045.4.3.4, in place of ecdsa-with-SHA256, 1.2.840.10045.4.3.2: as an authority of P-521 signs.
    let (authority, key) = (Authority::new("authority"), KeyPair::generate().unwrap());
    let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let signed = parameters.signed_by(&key, &authority.issuer).unwrap();
    let (from, to) =
        ([0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]);
    let mut der = signed.der().to_vec();
    for at in 0..der.len() - from.len() {
        if der[at..at + from.len()] == from {
            der[at..at + from.len()].copy_from_slice(&to);
        }
    }
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![der.into()], key).unwrap();
    let script = serve(Arc::new(config), AS_GO, vec![]);
    let sandbox = Sandbox::new();
    let authority = pem("CERTIFICATE", &authority.certificate);
    sandbox.write(&format!("certs/{}/ca.crt", script.host), authority);
    let options = Options { certificates: vec![sandbox.path("certs")], ..impatient() };
    let error = open_with(options, &format!("{}/app", script.host)).document(&descriptor(b"hi"));
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
    assert!(chain(&error).ends_with("signed in a way that isn't supported (P-521, for one)"));
}
