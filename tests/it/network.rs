//! What the flags for registries do, in `pull` and in `push`.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kit::image::random::Random;
use kit::{Auth, Codec, Fault, Image, Layer, Named, Registry, Sandbox, pipeline};

use crate::fixtures::{assert_one_line, noise, small};
use crate::gc::wait_for;

const LOGIN: &str = r#"{"auths":{"HOST":{"auth":"bWU6aHVudGVyMg=="}}}"#;

/// A sandbox whose store has `app:1`.
fn with_app(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/app:1", image)]);
    sandbox
}

/// The registry by an address that isn't loopback's by name.
fn host_of(registry: &Registry) -> String {
    format!("0.0.0.0:{}", registry.host().rsplit_once(':').unwrap().1)
}

#[test]
fn a_registry_speaks_plain_http_if_it_is_named_as_insecure() {
    let (registry, sandbox) = (Registry::start(), with_app(&small("x")));
    let host = host_of(&registry);
    for (program, line) in [
        ("push", format!("push INSECURE app:1 {host}/app:1")),
        ("pull", format!("pull INSECURE --no-stream {host}/app:1")),
    ] {
        let output = pipeline::sh(&sandbox, &line.replace("INSECURE", "--insecure other.test"));
        assert_one_line(&output, program);
        assert_ne!(output.code(), 0, "{}", output.text());
        let insecure = format!("--insecure other.test --insecure {host}");
        pipeline::sh(&sandbox, &line.replace("INSECURE", &insecure)).success();
    }
}

#[test]
fn a_login_comes_from_the_file_that_is_named() {
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    let (sandbox, name) = (with_app(&small("x")), registry.name("app:1"));
    sandbox.write("auth.json", LOGIN.replace("HOST", &registry.host()));
    for line in [format!("push app:1 {name}"), format!("pull --no-stream {name}")] {
        pipeline::sh(&sandbox, &line).fails_with(6);
        pipeline::sh(&sandbox, &format!("{line} --authfile auth.json")).success();
    }
}

#[test]
fn as_many_layers_are_under_way_at_once_as_jobs_are_allowed() {
    const N: usize = 6;
    let layer = |n| Layer::new().file(format!("f{n}"), Random::new(n).bytes(2000));
    let image = (0..N as u64).fold(Image::new().codec(Codec::None), |it, n| it.layer(layer(n)));
    let (registry, sandbox) = (Registry::start(), with_app(&image));
    let jobs = format!("--jobs {N}");
    registry.fault(Fault::on("/blobs/uploads/").method("POST").delay(Duration::from_secs(3)));
    let line = format!("push {jobs} app:1 {}", registry.name("app:1"));
    let push = pipeline::Script::new(&sandbox, &line).start();
    wait_for(|| registry.n_requests("POST", "/blobs/uploads/") >= N);
    let n_sent = ["PATCH", "PUT"].map(|method| registry.n_requests(method, "/blobs/uploads/"));
    assert_eq!(n_sent, [0, 0], "{}", registry.log());
    registry.heal();
    push.wait().success();

    let registry = Registry::start();
    registry.add("app:1", &image);
    let digests: Vec<String> = image.layer_blobs().iter().map(|blob| blob.digest.clone()).collect();
    for digest in &digests {
        registry.fault(Fault::on(digest).stall_after(0, None));
    }
    let line = format!("pull {jobs} --store other --no-stream {}", registry.name("app:1"));
    let pull = pipeline::Script::new(&sandbox, &line).start();
    wait_for(|| digests.iter().filter(|it| registry.n_requests("GET", it) == 1).count() == N);
    registry.heal();
    registry.release();
    pull.wait().success();
}

#[test]
fn no_more_bytes_pass_in_a_second_than_are_allowed() {
    let image = noise(200_000);
    let (registry, sandbox) = (Registry::start(), with_app(&image));
    let name = registry.name("app:1");
    for line in
        [format!("push LIMIT app:1 {name}"), format!("pull LIMIT --store other --no-stream {name}")]
    {
        let begin = Instant::now();
        pipeline::sh(&sandbox, &line.replace("LIMIT", "--limit-rate 500k")).success();
        let time = begin.elapsed();
        assert!(time > Duration::from_millis(900), "{line}: 600 kB in {time:?}");
    }
}

/// A listener whose queue is full, so that connections to it are neither made nor refused.
pub(crate) fn deaf() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let waiting = std::iter::from_fn(connect).collect();
    (listener, waiting)
}

#[test]
fn a_connection_that_is_not_made_is_given_up_when_the_user_says() {
    let (listener, _waiting) = deaf();
    let sandbox = with_app(&small("x"));
    let name = format!("{}/app:1", listener.local_addr().unwrap());
    for (program, line) in [
        ("push", format!("push --connect-timeout 0.1 app:1 {name}")),
        ("pull", format!("pull --connect-timeout 0.1 --no-stream {name}")),
    ] {
        let script = pipeline::Script::new(&sandbox, &line);
        // A try alone would last 15 seconds.
        let output = script.with(|program| program.patience(Duration::from_secs(12))).run();
        assert_one_line(output.fails_with(5), program);
    }
}
