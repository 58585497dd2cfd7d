//! A raw client against the registry: does it really do what was ordered?

use std::io::{Read as _, Write as _};
use std::time::Duration;

use super::*;
use crate::image::random::random;

/// Sends one request on a connection of its own; gives the head and the body of the answer, up to
/// its end or to two seconds of silence.
fn ask(
    registry: &Registry,
    method: &str,
    target: &str,
    more: &str,
    body: &[u8],
) -> (String, Vec<u8>) {
    let mut connection = TcpStream::connect(registry.host()).unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut answer = Vec::new();
    drop(connection.read_to_end(&mut answer));
    let end =
        answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
}

fn get(registry: &Registry, target: &str, more: &str) -> (String, Vec<u8>) {
    ask(registry, "GET", target, more, b"")
}

#[track_caller]
fn has(head: &str, line: &str) {
    assert!(head.lines().any(|it| it == line), "no `{line}` in:\n{head}");
}

/// A registry with one blob of ten thousand bytes, and the blob's path.
fn with_blob() -> (Registry, String, Vec<u8>) {
    let registry = Registry::start();
    let bytes = crate::image::random::Random::new(1).bytes(10_000);
    let digest = registry.add_blob("app", bytes.clone());
    (registry, format!("/v2/app/blobs/{digest}"), bytes)
}

#[test]
fn manifests_have_their_type_and_digest() {
    let registry = Registry::start();
    let image = random(1, 1, 2);
    registry.add("ns/app:1", &image);
    let (head, body) = get(&registry, "/v2/ns/app/manifests/1", "");
    has(&head, "HTTP/1.1 200 OK");
    has(&head, "Content-Type: application/vnd.oci.image.manifest.v1+json");
    has(&head, &format!("Docker-Content-Digest: {}", image.digest()));
    assert_eq!(crate::digest(&body), image.digest());
    let (head, body) =
        ask(&registry, "HEAD", &format!("/v2/ns/app/manifests/{}", image.digest()), "", b"");
    has(&head, "HTTP/1.1 200 OK");
    assert!(body.is_empty());
    has(
        &get(&registry, "/v2/ns/app/manifests/2", "").0,
        "HTTP/1.1 404 Other".replace("Other", "Not Found").as_str(),
    );
    assert_eq!(get(&registry, "/v2/ns/app/tags/list", "").1, br#"{"name":"ns/app","tags":["1"]}"#);
}

#[test]
fn one_connection_answers_many_requests() {
    let (registry, path, bytes) = with_blob();
    let mut connection = TcpStream::connect(registry.host()).unwrap();
    for _ in 0..3 {
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !answer.ends_with(&bytes) {
            let n = connection.read(&mut buffer).unwrap();
            assert_ne!(n, 0);
            answer.extend(&buffer[..n]);
        }
    }
    assert_eq!(registry.requests().len(), 3);
}

#[test]
fn ranges_are_cut_and_logged() {
    let (registry, path, bytes) = with_blob();
    let (head, body) = get(&registry, &path, "Range: bytes=9000-\r\n");
    has(&head, "HTTP/1.1 206 Partial Content");
    has(&head, "Content-Range: bytes 9000-9999/10000");
    assert_eq!(body, bytes[9000..]);
    has(&get(&registry, &path, "Range: bytes=10000-\r\n").0, "HTTP/1.1 416 Range Not Satisfiable");
    assert_eq!(registry.ranges("blobs"), [(path.clone(), 9000, 1000)]);
    assert!(registry.sent_twice("").is_empty());
    get(&registry, &path, "Range: bytes=9500-9599\r\n");
    assert_eq!(registry.sent_twice(""), [(path, 9500, 100)]);
    assert_eq!(registry.bytes_sent("blobs/sha256"), 1100 + registry.requests()[1].sent);
    assert!(registry.log().contains(" [bytes=9000-] 206\n"), "{}", registry.log());
}

#[test]
fn a_connection_closes_where_it_was_ordered_as_often_as_it_was() {
    let (registry, path, bytes) = with_blob();
    registry.fault(Fault::on("blobs/").after(1).times(1).close_after(1234));
    assert_eq!(get(&registry, &path, "").1.len(), 10_000);
    let (head, body) = get(&registry, &path, "");
    has(&head, "Content-Length: 10000");
    assert_eq!(body, bytes[..1234]);
    assert_eq!(registry.requests()[1].sent, 1234);
    assert_eq!(get(&registry, &path, "").1.len(), 10_000);
}

#[test]
fn a_stall_lasts_until_it_is_released() {
    let (registry, path, bytes) = with_blob();
    registry.fault(Fault::on("blobs/").stall_after(100, None));
    let mut connection = TcpStream::connect(registry.host()).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap_err();
    assert!(answer.ends_with(&bytes[..100]));
    registry.release();
    connection.shutdown(Shutdown::Write).unwrap();
    drop(connection.read_to_end(&mut answer));
    assert!(answer.ends_with(&bytes));
}

#[test]
fn a_dropped_registry_ends_stalled_replies() {
    let (registry, path, _) = with_blob();
    registry.fault(Fault::on("blobs/").stall_after(10, None));
    let mut connection = TcpStream::connect(registry.host()).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    while registry.bytes_sent("blobs/") < 10 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(registry);
    let mut answer = Vec::new();
    drop(connection.read_to_end(&mut answer));
    assert!(answer.len() < 500);
}

#[test]
fn bodies_are_wrong_as_ordered() {
    let (registry, path, bytes) = with_blob();
    let mut flipped = bytes.clone();
    flipped[5000] ^= 1;
    for (fault, length, expected) in [
        (Fault::on("").shorten(10), "10", bytes[..10].to_vec()),
        (Fault::on("").flip(5000), "10000", flipped),
        (Fault::on("").lengthen(3), "10003", [&bytes[..], b"   "].concat()),
        (Fault::on("").claim_length(11_000), "11000", bytes.clone()),
        (Fault::on("").body("text/plain", "no"), "2", b"no".to_vec()),
    ] {
        registry.heal();
        registry.fault(fault);
        let (head, body) = get(&registry, &path, "");
        has(&head, &format!("Content-Length: {length}"));
        assert!(body == expected);
    }
    registry.heal();
    registry.fault(Fault::on("").flip(5000));
    assert_eq!(get(&registry, &path, "Range: bytes=5000-5000\r\n").1, [bytes[5000] ^ 1]);
}

#[test]
fn statuses_headers_and_redirects_are_as_ordered() {
    let (registry, path, bytes) = with_blob();
    registry
        .fault(Fault::on("blobs/").method("GET").times(1).status(429).header("Retry-After", "7"));
    has(&ask(&registry, "HEAD", &path, "", b"").0, "HTTP/1.1 200 OK");
    let (head, body) = get(&registry, &path, "");
    has(&head, "HTTP/1.1 429 Too Many Requests");
    has(&head, "Retry-After: 7");
    assert!(String::from_utf8(body).unwrap().contains("TOOMANYREQUESTS"));
    registry.fault(Fault::on("/v2/").times(1).redirect("/storage/{digest}"));
    let (head, _) = get(&registry, &path, "");
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    assert_eq!(get(&registry, location, "").1, bytes);
    registry.fault(Fault::on("/v2/").times(1).redirect_loop());
    has(&get(&registry, &path, "").0, &format!("Location: {path}"));
    registry.fault(Fault::on("/v2/").times(1).hang_up());
    assert_eq!(get(&registry, &path, ""), (String::new(), Vec::new()));
}

#[test]
fn range_answers_can_lie() {
    let (registry, path, bytes) = with_blob();
    registry.fault(Fault::on("").times(1).ignore_range());
    let (head, body) = get(&registry, &path, "Range: bytes=9000-\r\n");
    has(&head, "HTTP/1.1 200 OK");
    assert_eq!(body, bytes);
    registry.fault(Fault::on("").times(1).claim_start(8000));
    let (head, body) = get(&registry, &path, "Range: bytes=9000-\r\n");
    has(&head, "Content-Range: bytes 8000-8999/10000");
    assert_eq!(body, bytes[9000..]);
    registry.fault(Fault::on("").times(1).chunked());
    let (head, body) = get(&registry, &path, "");
    has(&head, "Transfer-Encoding: chunked");
    assert!(
        !head.contains("Content-Length")
            && body.starts_with(b"2710\r\n")
            && body.ends_with(b"0\r\n\r\n")
    );
}

#[test]
fn speed_is_limited() {
    let (registry, path, _) = with_blob();
    registry.fault(Fault::on("").delay(Duration::from_millis(50)).bytes_per_second(40_000));
    let began = std::time::Instant::now();
    assert_eq!(get(&registry, &path, "").1.len(), 10_000);
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
}

#[test]
fn basic_and_bearer_let_in_who_knows() {
    let registry = Registry::with_auth(Auth::basic("u", "p"));
    has(&get(&registry, "/v2/", "").0, r#"WWW-Authenticate: Basic realm="kit""#);
    let login = format!("Authorization: {}\r\n", auth::basic("u", "p"));
    has(&get(&registry, "/v2/", &login).0, "HTTP/1.1 200 OK");

    let bearer = auth::Bearer { keys: &["access_token"], ..auth::Bearer::login("u", "p") };
    let registry = Registry::with_auth(Auth::Bearer(bearer));
    registry.add("a/b:1", random(1, 1, 1));
    let (head, _) = get(&registry, "/v2/a/b/manifests/1", "");
    let host = registry.host();
    has(
        &head,
        &format!(
            r#"WWW-Authenticate: Bearer realm="http://{host}/token",service="{host}",scope="repository:a/b:pull""#
        ),
    );
    has(&get(&registry, "/token?scope=repository:a/b:pull", "").0, "HTTP/1.1 401 Unauthorized");
    let (_, body) = get(&registry, "/token?scope=repository%3Aa/b%3Apull&service=x", &login);
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let token = format!("Authorization: Bearer {}\r\n", answer["access_token"].as_str().unwrap());
    has(&get(&registry, "/v2/a/b/manifests/1", &token).0, "HTTP/1.1 200 OK");
    has(&get(&registry, "/v2/a/c/manifests/1", &token).0, "HTTP/1.1 401 Unauthorized");
    registry.revoke_tokens();
    has(&get(&registry, "/v2/a/b/manifests/1", &token).0, "HTTP/1.1 401 Unauthorized");
    assert_eq!(registry.requests()[0].authorization, None);
    assert_eq!(
        registry.requests()[3].authorization.as_deref(),
        Some(token.trim_start_matches("Authorization: ").trim())
    );
}

#[test]
fn uploads_go_on_where_they_broke_off() {
    let registry = Registry::start();
    let bytes = b"0123456789".as_slice();
    let digest = crate::digest(bytes);
    let location = |head: &str| {
        head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().to_owned()
    };
    let (head, _) = ask(&registry, "POST", "/v2/a/blobs/uploads/", "", b"");
    has(&head, "HTTP/1.1 202 Accepted");
    let first = location(&head);
    registry.fault(Fault::on("").method("PATCH").times(1).close_reading(4));
    assert_eq!(ask(&registry, "PATCH", &first, "", bytes).0, "");
    let (head, _) = get(&registry, &first, "");
    has(&head, "Range: 0-3");
    has(&ask(&registry, "PATCH", &first, "", bytes).0, "HTTP/1.1 416 Range Not Satisfiable");
    let (head, _) =
        ask(&registry, "PATCH", &location(&head), "Content-Range: 4-7\r\n", &bytes[4..8]);
    has(&head, "Range: 0-7");
    let (head, _) =
        ask(&registry, "PUT", &format!("{}&digest={digest}", location(&head)), "", &bytes[8..]);
    has(&head, "HTTP/1.1 201 Created");
    assert_eq!(registry.blob("a", &digest).unwrap(), bytes);
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    has(&ask(&registry, "POST", &mount, "", b"").0, "HTTP/1.1 201 Created");
    let manifest = format!(r#"{{"config":{{"digest":"{digest}"}},"layers":[]}}"#);
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    has(
        &ask(&registry, "PUT", "/v2/b/manifests/t", kind, manifest.as_bytes()).0,
        "HTTP/1.1 201 Created",
    );
    has(
        &ask(&registry, "PUT", "/v2/c/manifests/t", kind, manifest.as_bytes()).0,
        "HTTP/1.1 400 Bad Request",
    );
    assert_eq!(registry.manifest("b:t").unwrap(), manifest.as_bytes());
    assert_eq!(registry.tags("b"), ["t"]);
}

/// Begins an upload at a registry; gives where it goes on.
fn begin(registry: &Registry, query: &str) -> String {
    let (head, _) = ask(registry, "POST", &format!("/v2/a/blobs/uploads/{query}"), LOGIN, b"");
    has(&head, "HTTP/1.1 202 Accepted");
    location_of(&head)
}

fn location_of(head: &str) -> String {
    head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().to_owned()
}

/// `me:secret`.
const LOGIN: &str = "Authorization: Basic bWU6c2VjcmV0\r\n";

#[test]
fn profiles_differ_in_what_they_say_of_chunks() {
    let chunk = |registry: &Registry, place: &str, range: &str, bytes: &[u8]| {
        let headers = format!("{LOGIN}Content-Range: {range}\r\n");
        ask(registry, "PATCH", place, &headers, bytes).0
    };
    let registry = Registry::with_profile(&profiles::ECR);
    let first = chunk(&registry, &begin(&registry, ""), "0-3", b"0123");
    has(&first, "HTTP/1.1 201 Created");
    let second = chunk(&registry, &location_of(&first), "4-5", b"45");
    has(&second, "Range: 0-3");
    has(&get(&registry, &location_of(&second), LOGIN).0, "HTTP/1.1 404 Not Found");
    let registry = Registry::with_profile(&profiles::ZOT);
    let first = chunk(&registry, &begin(&registry, ""), "0-3", b"0123");
    has(&chunk(&registry, &location_of(&first), "4-5", b"45"), "Range: 0-1");
    let registry =
        Registry::with_profile(&Profile { login: profile::Login::None, ..profiles::GHCR });
    let large = vec![0; (4 << 20) + 1];
    let place = begin(&registry, "");
    has(&chunk(&registry, &place, "0-4194304", &large), "HTTP/1.1 416 Range Not Satisfiable");
    let put = format!("{place}&digest={}", crate::digest(&large));
    has(&ask(&registry, "PUT", &put, "", &large).0, "HTTP/1.1 201 Created");
    let registry = Registry::with_profile(&profiles::NGINX_1M);
    let (head, body) = ask(&registry, "PUT", &begin(&registry, ""), "", &large);
    has(&head, "HTTP/1.1 413 Content Too Large");
    assert!(body.starts_with(b"<html>"));
}

#[test]
fn profiles_differ_in_mounts_and_storage() {
    let registry = Registry::with_profile(&profiles::ECR);
    let image = random(1, 1, 1);
    let layer = image.layer_blobs()[0].digest.clone();
    registry.add_blob("b", image.layer_blobs()[0].bytes.clone());
    let mount = format!("/v2/a/blobs/uploads/?mount={layer}&from=b");
    has(&ask(&registry, "POST", &mount, LOGIN, b"").0, "HTTP/1.1 202 Accepted");
    registry.add("b:1", image);
    has(&ask(&registry, "POST", &mount, LOGIN, b"").0, "HTTP/1.1 201 Created");
    let (head, _) = get(&registry, &format!("/v2/b/blobs/{layer}"), LOGIN);
    has(&head, "HTTP/1.1 307 Temporary Redirect");
    let location = location_of(&head);
    let (host, path) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let from_storage = |headers: &str| {
        let mut connection = TcpStream::connect(host).unwrap();
        write!(connection, "GET /{path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..12]).into_owned()
    };
    assert_eq!(
        (from_storage(""), from_storage(LOGIN)),
        ("HTTP/1.1 200".into(), "HTTP/1.1 400".into())
    );
}
