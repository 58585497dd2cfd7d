//! A registry that fails: the right exit status, one line, and where a pull can recover it does, from where it was.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use kit::image::random::Random;
use kit::{Auth, Codec, Fault, Image, Index, Layer, Output, Registry, Sandbox, check, pipeline};

use crate::fixtures::{assert_no_control, assert_noise, assert_one_line, names, noise};

/// How much noise each layer holds.
const NOISE: usize = 200_000;

/// A registry with an image of three layers, and where to pull it to.
struct Place {
    registry: Registry,
    sandbox: Sandbox,
    name: String,
    image: Image,
}

impl Place {
    fn new() -> Self {
        let image = noise(NOISE);
        let registry = Registry::start();
        registry.add("app:1", &image);
        let name = registry.name("app:1");
        Self { registry, sandbox: Sandbox::new(), name, image }
    }

    fn with(fault: Fault) -> Self {
        let place = Self::new();
        place.registry.fault(fault);
        place
    }

    /// The path of a layer's blob, base first.
    fn layer(&self, n: usize) -> String {
        self.image.layer_blobs()[n].digest.clone()
    }

    /// Runs a script in which `NAME` stands for the image.
    fn sh(&self, script: &str) -> Output {
        pipeline::sh(&self.sandbox, &script.replace("NAME", &self.name))
    }

    /// Pulls and unpacks; all must be as if nothing had happened.
    #[track_caller]
    fn recovers(&self) {
        let output = self.sh("pull NAME | tee s | unpack root");
        assert_eq!(output.success().pipe, [0, 0, 0], "{}", output.text());
        check::canonical(&self.sandbox.read("s")).unwrap();
        assert_noise(&self.sandbox, &self.image, NOISE);
        fs::remove_dir_all(self.sandbox.path("root")).unwrap();
    }

    /// Pulls in every way; each fails with this status and one line, and leaves nothing that looks whole.
    #[track_caller]
    fn fails(&self, code: i32) -> Output {
        let output = self.sh("pull --no-stream NAME");
        assert_eq!(output.code(), code, "{}", output.text());
        assert_one_line(&output, "pull");
        assert!(output.stdout.is_empty());
        let piped = self.sh("pull NAME | unpack root");
        assert_eq!(piped.pipe, [code, 4], "{}", piped.text());
        let piped = self.sh("pull --no-store NAME > s");
        assert_eq!(piped.code(), code, "{}", piped.text());
        assert_one_line(&piped, "pull");
        check::stream(&self.sandbox.read("s")).unwrap_err();
        assert_eq!(names(self.sandbox.path("")), ["s"]);
        let report = check::layout(self.sandbox.store()).unwrap();
        assert!(report.manifests.is_empty());
        output
    }
}

#[test]
fn a_connection_cut_in_a_blob_goes_on_where_it_was() {
    let place = Place::new();
    for n in 0..3 {
        place.registry.fault(Fault::on(&place.layer(n)).times(1).close_after(70_000));
    }
    place.recovers();
    let log = place.registry.log();
    assert_eq!(log.matches("[bytes=70000-] 206").count(), 3, "{log}");
    assert!(place.registry.sent_twice("/blobs/").is_empty(), "{log}");
}

#[test]
fn without_a_store_a_cut_connection_goes_on_as_well() {
    let place = Place::new();
    place.registry.fault(Fault::on(&place.layer(1)).times(1).close_after(70_000));
    let output = place.sh("pull --no-store NAME | tee s | unpack root");
    assert_eq!(output.success().pipe, [0, 0, 0]);
    check::canonical(&place.sandbox.read("s")).unwrap();
    assert!(place.registry.sent_twice("/blobs/").is_empty(), "{}", place.registry.log());
}

#[test]
fn without_a_store_the_next_layers_are_on_their_way_too() {
    let large = Layer::new().file("large", Random::new(7).bytes(2 << 20));
    let image = Image::new().codec(Codec::None).layer(Layer::new().file("small", "1"));
    let image = image.layer(large).layer(Layer::new().file("last", "2"));
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.add("app:1", &image);
    let [first, large, last] = [0, 1, 2].map(|n| image.layer_blobs()[n].digest.clone());
    registry.fault(Fault::on(&first).stall_after(100, None));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let end = Instant::now() + Duration::from_secs(60);
            let is_asked_for = || [&large, &last].iter().all(|it| registry.bytes_sent(it) > 0);
            while !is_asked_for() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            let were_asked_for = is_asked_for();
            registry.release();
            assert!(were_asked_for, "nothing comes while the first is on its way");
        });
        let script = format!("pull --no-store {} | tee s | unpack root", registry.name("app:1"));
        pipeline::sh(&sandbox, &script).success();
    });
    check::canonical(&sandbox.read("s")).unwrap();
    assert_eq!(names(sandbox.path("root")), ["large", "last", "small"]);
    assert!(registry.sent_twice("/blobs/").is_empty(), "{}", registry.log());
}

#[test]
fn a_connection_cut_again_and_again_still_gets_there() {
    let place = Place::new();
    place.registry.fault(Fault::on(&place.layer(0)).times(12).close_after(16_000));
    place.recovers();
    assert!(place.registry.sent_twice("/blobs/").is_empty(), "{}", place.registry.log());
}

#[test]
fn a_server_that_knows_no_ranges_is_asked_from_the_start() {
    let place = Place::new();
    place.registry.fault(Fault::on(&place.layer(0)).times(1).close_after(70_000));
    place.registry.fault(Fault::on("/blobs/").with_header("Range").ignore_range());
    place.recovers();
}

#[test]
fn a_range_that_is_another_one_is_not_believed() {
    let place = Place::new();
    place.registry.fault(Fault::on(&place.layer(0)).times(1).close_after(70_000));
    place.registry.fault(Fault::on("/blobs/").with_header("Range").times(1).claim_start(60_000));
    let output = place.sh("pull NAME | unpack root");
    if output.code() == 0 {
        assert!(place.sandbox.read("root/noise0") == Random::new(0).bytes(NOISE));
    } else {
        assert_eq!(output.pipe, [4, 4], "{}", output.text());
        assert!(!place.sandbox.path("root").exists());
    }
}

#[test]
fn a_connection_that_is_always_cut_is_given_up() {
    let place = Place::with(Fault::on("/blobs/").close_after(0));
    let output = place.sh("pull --no-stream NAME");
    assert_one_line(output.fails_with(5), "pull");
    assert!(place.registry.requests().len() < 40, "{}", place.registry.log());
}

#[test]
fn a_stalled_connection_is_given_up_and_goes_on_where_it_was_but_a_slow_reader_is_no_stall() {
    let place = Place::new();
    place.registry.fault(Fault::on(&place.layer(0)).times(2).stall_after(50_000, None));
    let patience = Duration::from_secs(180);
    let start = |script: &str| {
        let script = pipeline::Script::new(&place.sandbox, &script.replace("NAME", &place.name));
        script.with(|program| program.patience(patience)).start()
    };
    // The image must not fit into the pipes between a registry and a reader that sleeps.
    let (slow, divided) = (Registry::start(), Registry::start());
    let noise = Random::new(9).bytes(12 << 20);
    let image = Image::new().codec(Codec::None).layer(Layer::new().file("noise", noise));
    slow.add("app:1", &image);
    divided.add("app:1", &image);
    // Of a quick connection one is enough.
    divided.fault(Fault::on("/blobs/").bytes_per_second(4 << 20));
    let stored = start("pull --stall-timeout 3 NAME | unpack a");
    let direct = start("pull --stall-timeout 3 --no-store NAME | unpack b");
    let reader = |flags: &str, root: &str| {
        start(&format!(
            "pull -q --stall-timeout 3 --no-store {flags} | (head -c 4096; sleep 8; cat) | unpack {root}"
        ))
    };
    let one = reader(&format!("--connections 1 {}", slow.name("app:1")), "c");
    let many = reader(&divided.name("app:1"), "d");
    for running in [stored, direct, one, many] {
        running.wait().success();
    }
    for root in ["a", "b"] {
        assert!(place.sandbox.read(&format!("{root}/noise0")) == Random::new(0).bytes(NOISE));
    }
    let log = place.registry.log();
    assert_eq!(log.matches("[bytes=50000-] 206").count(), 2, "{log}");
    assert_eq!(slow.requests().iter().filter(|it| it.path.contains("/blobs/")).count(), 2);
    // No part is asked for twice.
    assert_eq!(divided.sent_twice("/blobs/"), [], "{}", divided.log());
    assert!(divided.requests().iter().filter(|it| it.path.contains("/blobs/")).count() > 3);
}

#[test]
fn the_user_says_how_long_a_registry_may_be_silent() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("{}/app:1", silent.local_addr().unwrap());
    let place = Place::new();
    place.sh("pull --no-stream NAME").success();
    let times = "--connect-timeout 0.1 --stall-timeout 0.2";
    let start = |script: &str| pipeline::Script::new(&place.sandbox, script).start();
    let pull = start(&format!("pull --no-stream {times} {name}"));
    let push = start(&format!("push {times} {} {name}", place.name));
    for output in [pull.wait(), push.wait()] {
        assert!(output.fails_with(5).stderr.contains("sent nothing for 1 s"), "{}", output.text());
    }
    place.sh("pull --stall-timeout 0 NAME").fails_with(2);
}

#[test]
fn a_registry_that_always_says_no_is_not_asked_for_ever() {
    let place = Place::with(Fault::on("/v2/").status(401));
    let output = place.fails(6);
    assert!(output.stderr.contains("hint: log in: remote login"), "{}", output.stderr);
    let challenge = r#"Basic realm="x""#;
    Place::with(Fault::on("/v2/").status(401).header("WWW-Authenticate", challenge)).fails(6);
    // Tokens are handed out, and none is ever good enough.
    let registry = Registry::with_auth(Auth::bearer());
    registry.add("app:1", Image::new());
    let host = registry.host();
    let challenge = format!(r#"Bearer realm="http://{host}/token",service="{host}""#);
    registry.fault(Fault::on("/v2/").status(401).header("WWW-Authenticate", &challenge));
    let output = pipeline::sh(&place.sandbox, &format!("pull --no-stream {host}/app:1"));
    assert_one_line(output.fails_with(6), "pull");
    assert!(registry.requests().len() < 10, "{}", registry.log());
    Place::with(Fault::on("manifests/").status(403)).fails(6);
}

#[test]
fn what_the_registry_lacks_is_not_found() {
    let place = Place::new();
    let output = place.sh("pull --no-stream NAMEx");
    assert_one_line(output.fails_with(3), "pull");
    let missing = place.registry.name("nosuch/repository:1");
    let output = place.sh(&format!("pull --no-stream {missing}"));
    assert_one_line(output.fails_with(3), "pull");
    let place = Place::new();
    place.registry.remove("app", &place.layer(1));
    place.fails(3);
    let place = Place::new();
    place.registry.remove("app", &place.image.config_blob().digest);
    place.fails(3);
}

#[test]
fn too_many_requests_are_waited_out_as_long_as_the_registry_asks() {
    let slow_down = |path: &str| Fault::on(path).status(429).header("Retry-After", "1").times(1);
    let place = Place::with(slow_down("manifests/"));
    place.registry.fault(slow_down("/blobs/"));
    let began = Instant::now();
    place.recovers();
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn whoever_has_to_wait_for_long_is_told_why_at_once() {
    let place =
        Place::with(Fault::on("manifests/").status(429).header("Retry-After", "10").times(1));
    let output =
        place.sh("pull --no-stream NAME 2>&1 | { IFS= read -r first; echo \"$first\"; cat; }");
    let warned = output.out();
    let first = warned.lines().next().unwrap_or_default();
    assert!(first.starts_with("pull: warning: "), "{warned}");
    assert!(first.ends_with("; trying again in 10 s (2 of 5)"), "{warned}");
}

#[test]
fn a_registry_that_asks_for_an_hour_is_given_up() {
    let place = Place::with(Fault::on("manifests/").status(429).header("Retry-After", "3600"));
    let began = Instant::now();
    place.fails(5);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_registry_in_trouble_is_asked_again() {
    let place = Place::with(Fault::on("manifests/").status(503).times(2));
    place.registry.fault(Fault::on("/blobs/").status(502).times(2));
    place.recovers();
    let place = Place::with(Fault::on("").hang_up().times(2));
    place.recovers();
}

#[test]
fn a_registry_that_stays_in_trouble_is_given_up() {
    let place = Place::with(Fault::on("manifests/").status(503));
    let output = place.sh("pull --no-stream NAME");
    assert_one_line(output.fails_with(5), "pull");
    let n_requests = place.registry.requests().len();
    assert!((2..10).contains(&n_requests), "{}", place.registry.log());
    let place = Place::with(Fault::on("/blobs/").status(500));
    assert_one_line(place.sh("pull --no-stream NAME").fails_with(5), "pull");
}

#[test]
fn a_registry_that_is_not_there_is_a_network_error() {
    let place = Place::new();
    let name = place.name.clone();
    let sandbox = Sandbox::new();
    drop(place.registry);
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {name}"));
    assert_one_line(output.fails_with(5), "pull");
}

#[test]
fn a_blob_of_another_length_is_refused() {
    let longer = |place: &Place| Fault::on(&place.layer(1)).lengthen(700);
    let place = Place::new();
    place.registry.fault(longer(&place));
    place.fails(4);
    let place = Place::new();
    place.registry.fault(Fault::on(&place.layer(1)).claim_length(NOISE as u64 * 2));
    let output = place.sh("pull --no-stream NAME");
    assert!([4, 5].contains(&output.code()), "{}", output.text());
    let place = Place::new();
    // One that is too short may be just the beginning.
    place.registry.fault(Fault::on(&place.layer(1)).shorten(150_000).times(1));
    place.recovers();
    assert!(place.registry.log().contains("[bytes=150000-] 206"), "{}", place.registry.log());
    let place = Place::with(Fault::on("/blobs/").shorten(0));
    let output = place.sh("pull --no-stream NAME");
    assert!([4, 5].contains(&output.code()), "{}", output.text());
    assert_one_line(&output, "pull");
}

#[test]
fn a_blob_of_no_stated_length_is_fine() {
    let place = Place::with(Fault::on("/v2/").chunked());
    place.recovers();
    let place = Place::with(Fault::on("/blobs/").until_close());
    place.recovers();
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    for n in 0..3 {
        let place = Place::new();
        place.registry.fault(Fault::on(&place.layer(n)).flip(100_000));
        place.fails(4);
        let partial = place.sandbox.store().join("strata/partial");
        let wrong = place.layer(n).replace(':', "-");
        assert!(!names(partial).contains(&wrong), "what was wrong is gone");
        place.registry.heal();
        place.recovers();
    }
    let place = Place::new();
    place.registry.fault(Fault::on(&place.image.config_blob().digest).flip(3));
    place.fails(4);
    place.registry.heal();
    place.recovers();
}

#[test]
fn a_web_page_is_no_registry() {
    Place::with(Fault::on("manifests/").html()).fails(4);
    let place = Place::new();
    place.registry.fault(Fault::on(&place.layer(1)).html());
    place.fails(4);
    Place::with(Fault::on("manifests/").body("application/json", "{\"a\": ")).fails(4);
    Place::with(Fault::on("manifests/").body("application/json", "[]")).fails(4);
}

#[test]
fn a_manifest_without_end_is_refused() {
    let place = Place::with(Fault::on("manifests/").lengthen(5 << 20));
    let output = place.fails(4);
    assert!(output.stderr.contains("larger than"), "{}", output.stderr);
    // Where no length is stated, no more is read than that.
    let place = Place::with(Fault::on("manifests/").lengthen(64 << 20).chunked());
    place.fails(4);
}

#[test]
fn what_a_layer_decompresses_to_is_checked_at_once_with_verify_and_else_by_its_first_reader() {
    let tar = Layer::new().file("noise", Random::new(1).bytes(NOISE)).tar();
    let wrong = Image::new().layer_blob(&kit::digest(b"another"), Codec::GZIP.encode(&tar));
    let both = Index::new().image(&Image::new().layer(tar.clone())).image(&wrong);
    let registry = Registry::start();
    registry.add("app:wrong", &wrong);
    registry.add("app:both", &both);
    registry.add("app:right", Image::new().layer(tar));
    let (wrong, both) = (registry.name("app:wrong"), registry.name("app:both"));
    let sandbox = Sandbox::new();
    // Anew, with the blob here already, and by its index.
    for pull in [wrong.clone(), wrong.clone(), format!("--all-platforms {both}")] {
        let output = pipeline::sh(&sandbox, &format!("pull --no-stream --verify {pull}"));
        assert_one_line(output.fails_with(4), "pull");
        assert!(
            output.stderr.contains(": uncompressed layer: digest mismatch: "),
            "{}",
            output.text()
        );
        assert!(output.stdout.is_empty());
    }
    assert!(check::layout(sandbox.store()).unwrap().names.is_empty());
    // And where a download goes on: what came before counts as well.
    let right = registry.name("app:right");
    registry.fault(Fault::on("/blobs/").times(1).close_after(70_000));
    for name in [&wrong, &right] {
        let sandbox = Sandbox::new();
        let code = if *name == wrong { 4 } else { 0 };
        assert_eq!(
            pipeline::sh(&sandbox, &format!("pull --no-stream --verify {name}")).code(),
            code
        );
    }
    // With a stream the program beside it reads the layer; the whole pipe fails, and the store has no image.
    let sandbox = Sandbox::new();
    let output = pipeline::sh(&sandbox, &format!("pull --verify {wrong} > image.tar"));
    assert_one_line(output.fails_with(4), "pull");
    assert!(check::layout(sandbox.store()).unwrap().names.is_empty());
    // The digest is right, so it is stored, and refused by who reads it.
    pipeline::sh(&sandbox, &format!("pull --no-stream {wrong}")).success();
    let output = pipeline::sh(&sandbox, &format!("unpack --from {wrong} root"));
    assert_one_line(output.fails_with(4), "unpack");
    assert!(!sandbox.path("root").exists());
    pipeline::sh(&sandbox, "images verify").fails_with(4);
}

/// An address that the registry signs is good for some minutes; then the storage refuses it, and the registry gives another.
#[test]
fn an_address_that_has_expired_is_asked_for_again_and_its_host_is_named() {
    let place = Place::new();
    let storage = Registry::start();
    let digest = place.image.layer_blobs()[0].digest.clone();
    storage.add_blob("kept", place.image.layer_blobs()[0].bytes.clone());
    let address = format!("http://{}/v2/kept/blobs/{digest}", storage.host());
    place.registry.fault(Fault::on(&place.layer(0)).redirect(&address));
    storage.fault(Fault::on("/v2/kept/").times(2).status(403));
    place.sh("pull --no-stream NAME").success();
    assert_eq!(storage.n_requests("GET", "/v2/kept/"), 3, "{}", storage.log());
    storage.fault(Fault::on("/v2/kept/").status(403));
    let output = place.sh("pull --no-stream --store other NAME");
    assert_one_line(output.fails_with(5), "pull");
    let refused = format!("{} answered 403", storage.host());
    assert!(output.stderr.contains(&refused), "{}", output.text());
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let place = Place::with(Fault::on("/v2/app/blobs/").redirect("/storage/{digest}"));
    place.recovers();
    let place = Place::with(Fault::on("/v2/app/blobs/").redirect_loop());
    let output = place.sh("pull --no-stream NAME");
    assert_one_line(output.fails_with(5), "pull");
    assert!(place.registry.requests().len() < 80, "{}", place.registry.log());
}

#[test]
fn what_a_registry_says_is_shown_without_what_a_terminal_would_obey() {
    let said = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no\u001b[2J\r\nway\u202e"}]}"#;
    let place = Place::with(Fault::on("manifests/").status(404).body("application/json", said));
    place.fails(3);
    // A warning is for the user's eyes, and a header can hold no control characters.
    let warning = "299 - \"this host \\\"moves\\\" \u{202e}soon\"";
    let place = Place::with(Fault::on("manifests/").header("Warning", warning));
    let output = place.sh("pull --no-stream NAME");
    assert_no_control(output.success());
}

#[test]
fn an_index_that_lists_another_many_times_is_asked_for_once() {
    let mut index = Index::new().image(&Image::new());
    for _ in 0..4 {
        let below = index;
        index = (0..10).fold(Index::new(), |index, _| index.nested(&below));
    }
    let registry = Registry::start();
    registry.add("app:1", &index);
    let sandbox = Sandbox::new();
    let name = registry.name("app:1");
    sandbox.command("pull").args(["--no-stream", "--all-platforms", &name]).run().success();
    let requests = registry.requests();
    let n_documents = requests.iter().filter(|it| it.path.contains("/manifests/")).count();
    assert_eq!(n_documents, 6, "{}", registry.log());
}

// Whoever is waited for, and whatever for. Without an interruption of the network the program would die two seconds
// later, where it is, and leave its lease behind.
#[test]
fn a_signal_ends_a_pull_that_waits_for_the_network() {
    let never = Duration::from_secs(300);
    let faults = [
        ("manifests/", Fault::on("manifests/").delay(never)),
        ("blobs/", Fault::on("blobs/").delay(never)),
        ("blobs/", Fault::on("blobs/").stall_after(1000, None)),
        ("token", Fault::on("token").delay(never)),
    ];
    for (place, fault) in faults {
        for line in ["pull --no-stream", "pull --no-store", "pull"] {
            let sandbox = Sandbox::new();
            let took = (0..4).map(|_| {
                let auth = if place == "token" { Auth::bearer() } else { Auth::Anonymous };
                let registry = Registry::with_auth(auth);
                registry.add("app:1", noise(NOISE));
                registry.fault(fault.clone());
                let line = format!("exec {line} {} > out", registry.name("app:1"));
                let running = pipeline::Script::new(&sandbox, &line).start();
                while !registry.log().contains(place) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let start = Instant::now();
                running.signal(rustix::process::Signal::INT);
                let output = running.wait();
                assert_eq!(output.code(), 130, "{place} {line}: {}", output.text());
                let leases = sandbox.store().join("strata/leases");
                let left = fs::read_dir(leases).map_or(0, Iterator::count);
                assert_eq!(left, 0, "{place} {line}: it was killed in the middle");
                start.elapsed()
            });
            // A busy machine may be slow once, but not always.
            let limit = Duration::from_millis(500);
            assert!(took.into_iter().any(|time| time < limit), "{place} {line}");
        }
    }
}
