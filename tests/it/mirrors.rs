//! Mirrors: what they have comes from them, what they lack or break off from the next, and nothing wrong from any.

use std::time::{Duration, Instant};

use kit::image::random::Random;
use kit::{Auth, Codec, Fault, Image, Layer, Output, Registry, Sandbox, check, pipeline};

use crate::fixtures::{assert_one_line, small};

/// The registry that names mean; nobody is there.
const ORIGIN: &str = "registry.invalid";

fn conf(origin: &str, mirrors: &[&str]) -> String {
    let mirrors =
        mirrors.iter().map(|mirror| format!("[[registry.mirror]]\nlocation = \"{mirror}\"\n"));
    format!("[[registry]]\nlocation = \"{origin}\"\n{}", mirrors.collect::<String>())
}

fn write_conf(sandbox: &Sandbox, conf: &str) {
    let home = sandbox.root().join("home/.config/containers");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("registries.conf"), conf).unwrap();
}

/// Pulls under a `registries.conf`.
fn pull(sandbox: &Sandbox, conf: &str, words: &str) -> Output {
    write_conf(sandbox, conf);
    pipeline::sh(sandbox, &format!("pull --no-stream {words}"))
}

fn large() -> Image {
    let noise = Layer::new().file("noise", Random::new(1).bytes(400_000));
    Image::new().codec(Codec::None).layer(noise)
}

#[test]
fn what_a_mirror_has_comes_from_it() {
    let (mirror, sandbox, image) = (Registry::start(), Sandbox::new(), large());
    mirror.add("cache/ns/app:1", &image);
    let conf = conf(ORIGIN, &[&mirror.name("cache")]);
    let output = pull(&sandbox, &conf, &format!("{ORIGIN}/ns/app:1"));
    assert_eq!(output.success().out().trim_end(), image.digest());
    let report = check::layout(sandbox.store()).unwrap();
    assert_eq!(report.names, [format!("{ORIGIN}/ns/app:1")]);
    let explained = pull(&sandbox, &conf, &format!("--explain-auth {ORIGIN}/ns/app:1"));
    let line = format!("mirror: {} ", mirror.host());
    assert!(explained.success().out().contains(&line), "{}", explained.text());
}

#[test]
fn logins_are_those_of_the_hosts_that_are_asked() {
    let (mirror, sandbox, image) =
        (Registry::with_auth(Auth::basic("you", "hunter2")), Sandbox::new(), small("a"));
    let origin = Registry::with_auth(Auth::basic("me", "hunter3"));
    mirror.add("cache/app:1", &image);
    mirror.remove("cache/app", &image.layer_blobs()[0].digest);
    origin.add("inner/app:1", &image);
    let conf = conf(&origin.name("inner"), &[&mirror.name("cache")]);
    let conf = conf.replacen('\n', &format!("\nprefix = \"{ORIGIN}\"\n"), 1);
    let auths = format!(
        r#"{{"{}": {{"username": "you", "password": "hunter2"}}, "{}": {{"username": "me", "password": "hunter3"}}}}"#,
        mirror.name("cache"),
        origin.host()
    );
    sandbox.write("logins", format!(r#"{{"auths": {auths}}}"#));
    let words = format!("{ORIGIN}/app:1 --authfile logins");
    let output = pull(&sandbox, &conf, &words);
    assert_eq!(output.success().out().trim_end(), image.digest());
    let explained = pull(&sandbox, &conf, &format!("{words} --explain-auth"));
    let text = explained.success().out();
    assert!(text.contains("\n  login: logins: user me\n"), "{text}");
    assert!(
        text.contains(&format!("\n  login for {}: logins: user you\n", mirror.host())),
        "{text}"
    );
}

#[test]
fn containerds_files_name_mirrors_too() {
    let (mirror, sandbox, image) = (Registry::start(), Sandbox::new(), small("a"));
    mirror.add("cache/app:1", &image);
    let dir = sandbox.root().join("home/.config/containerd/certs.d").join(ORIGIN);
    std::fs::create_dir_all(&dir).unwrap();
    let text = format!("[host.\"http://{}/v2/cache\"]\noverride_path = true\n", mirror.host());
    std::fs::write(dir.join("hosts.toml"), text).unwrap();
    let output = pull(&sandbox, "", &format!("{ORIGIN}/app:1"));
    assert_eq!(output.success().out().trim_end(), image.digest());
}

#[test]
fn what_mirrors_lack_or_break_off_comes_from_the_next() {
    let (lacking, breaking, origin) = (Registry::start(), Registry::start(), Registry::start());
    let (sandbox, image) = (Sandbox::new(), large());
    breaking.add("app:1", &image);
    let layer = &image.layer_blobs()[0];
    breaking.fault(Fault::on(&layer.digest).close_after(150_000));
    origin.add("app:1", &image);
    let conf = conf(&origin.host(), &["127.0.0.1:1", &lacking.host(), &breaking.host()]);
    let output = pull(&sandbox, &conf, &origin.name("app:1"));
    assert_eq!(output.success().out().trim_end(), image.digest());
    check::layout(sandbox.store()).unwrap();
    assert!(!lacking.requests().is_empty());
    let rest = layer.bytes.len() as u64 - 150_000;
    let sent = origin.bytes_sent(&layer.digest);
    assert_eq!(sent, rest, "only what was missing is asked for:\n{}", origin.log());
}

/// A mirror and the registry behind it, which both have an image as `app:1`.
struct Pair {
    mirror: Registry,
    origin: Registry,
    sandbox: Sandbox,
    image: Image,
}

impl Pair {
    fn new(image: Image) -> Self {
        let (mirror, origin) = (Registry::start(), Registry::start());
        for registry in [&mirror, &origin] {
            registry.add("app:1", &image);
        }
        Self { mirror, origin, sandbox: Sandbox::new(), image }
    }

    fn pull(&self, name: &str) -> Output {
        pull(&self.sandbox, &conf(&self.origin.host(), &[&self.mirror.host()]), name)
    }

    /// Pulls, although the mirror has what is wrong; the warning says so.
    #[track_caller]
    fn pulls_with_warning(&self, name: &str, warning: &str) {
        let output = self.pull(name);
        assert_eq!(output.success().out().trim_end(), self.image.digest());
        check::layout(self.sandbox.store()).unwrap();
        self.warns(&output, warning);
    }

    #[track_caller]
    fn warns(&self, output: &Output, warning: &str) {
        let start =
            format!("pull: warning: mirror {}: {}/app", self.mirror.host(), self.origin.host());
        let lines = output.stderr.lines().filter(|line| line.starts_with(&start));
        let lines: Vec<_> = lines.collect();
        assert!(matches!(lines[..], [line] if line.contains(warning)), "{}", output.text());
    }
}

/// An image whose layers are too large to be held back.
fn huge(n_layers: u32) -> Image {
    let noise = |n| Layer::new().file("noise", Random::new(n).bytes(1_500_000));
    (0..n_layers).fold(Image::new().codec(Codec::None), |image, n| image.layer(noise(n.into())))
}

#[test]
fn what_a_mirror_makes_up_comes_from_the_next() {
    // The last one comes in parts.
    let noise = Layer::new().file("noise", Random::new(3).bytes(12 << 20));
    let divided = Image::new().codec(Codec::None).layer(noise);
    for (image, wrong) in [(small("a"), 20), (huge(1), 20), (divided, 10 << 20)] {
        let pair = Pair::new(image);
        let layer = pair.image.layer_blobs()[0].digest.clone();
        pair.mirror.fault(Fault::on(&layer).flip(wrong));
        let name = pair.origin.name("app:1");
        pair.pulls_with_warning(&name, "wrong bytes; it is not asked any more");
        assert!(pair.origin.bytes_sent(&layer) > 0, "{}", pair.origin.log());
    }
}

#[test]
fn a_config_that_a_mirror_makes_up_comes_from_the_next() {
    let pair = Pair::new(small("a"));
    pair.mirror.fault(Fault::on("/blobs/").flip(20));
    pair.pulls_with_warning(&pair.origin.name("app:1"), "wrong bytes");
    let asked = pair.mirror.requests().iter().filter(|it| it.path.contains("/blobs/")).count();
    assert_eq!(asked, 1, "it is left alone then: {}", pair.mirror.log());
}

#[test]
fn a_manifest_that_a_mirror_makes_up_comes_from_the_next() {
    let pair = Pair::new(small("a"));
    pair.mirror.fault(Fault::on("/manifests/").flip(20));
    let name = format!("{}@{}", pair.origin.name("app"), pair.image.digest());
    pair.pulls_with_warning(&name, "digest mismatch");
    // What a tag means has no digest, but must be a manifest.
    let pair = Pair::new(small("a"));
    let nonsense = Fault::on("/manifests/1").body("application/json", "nonsense");
    pair.mirror.fault(nonsense.header("Docker-Content-Digest", ""));
    pair.pulls_with_warning(&pair.origin.name("app:1"), "app:1");
}

#[test]
fn what_a_mirror_cuts_off_or_adds_comes_from_the_next() {
    let pair = Pair::new(huge(1));
    let layer = pair.image.layer_blobs()[0].clone();
    pair.mirror.fault(Fault::on(&layer.digest).shorten(1_000_000));
    pair.pulls_with_warning(&pair.origin.name("app:1"), "size mismatch");
    let sent = pair.origin.bytes_sent(&layer.digest);
    assert_eq!(sent, layer.bytes.len() as u64 - 1_000_000, "{}", pair.origin.log());
    for image in [small("a"), huge(1)] {
        let pair = Pair::new(image);
        let layer = pair.image.layer_blobs()[0].digest.clone();
        pair.mirror.fault(Fault::on(&layer).lengthen(7));
        pair.pulls_with_warning(&pair.origin.name("app:1"), "size mismatch");
    }
}

#[test]
fn what_the_registry_itself_makes_up_is_refused() {
    for image in [small("a"), huge(1)] {
        let pair = Pair::new(image);
        let layer = pair.image.layer_blobs()[0].digest.clone();
        for registry in [&pair.mirror, &pair.origin] {
            registry.fault(Fault::on(&layer).flip(20));
        }
        let output = pair.pull(&pair.origin.name("app:1"));
        pair.warns(output.fails_with(4), "wrong bytes");
        pair.origin.heal();
        pair.mirror.remove("app", &layer);
        pair.pull(&pair.origin.name("app:1")).success();
    }
}

#[test]
fn what_an_earlier_pull_left_and_a_mirror_makes_up_comes_from_the_next() {
    let pair = Pair::new(huge(1));
    let layer = pair.image.layer_blobs()[0].digest.clone();
    pair.mirror.fault(Fault::on(&layer).close_after(700_000));
    pair.origin.fault(Fault::on(&layer).status(404));
    pair.pull(&pair.origin.name("app:1")).fails_with(3);
    pair.mirror.heal();
    pair.origin.heal();
    pair.mirror.fault(Fault::on(&layer).flip(1_000_000));
    pair.pulls_with_warning(&pair.origin.name("app:1"), "wrong bytes");
}

#[test]
fn wrong_bytes_that_are_on_their_way_end_the_stream() {
    let pair = Pair::new(huge(1));
    let layer = pair.image.layer_blobs()[0].digest.clone();
    pair.mirror.fault(Fault::on(&layer).flip(20));
    let output = pull_to(&pair, "--no-store");
    pair.warns(output.fails_with(4), "wrong bytes");
    assert!(check::stream(&pair.sandbox.read("out")).is_err(), "it has no end");
    // What is small is held back until it is known to be right.
    let pair = Pair::new(small("a"));
    let layer = pair.image.layer_blobs()[0].digest.clone();
    pair.mirror.fault(Fault::on(&layer).flip(20));
    let output = pull_to(&pair, "--no-store");
    pair.warns(output.success(), "wrong bytes");
    check::canonical(&pair.sandbox.read("out")).unwrap();
}

#[test]
fn wrong_bytes_that_wait_in_the_store_never_go_down_the_pipe() {
    let pair = Pair::new(huge(2));
    let [first, second] = [0, 1].map(|n| pair.image.layer_blobs()[n].digest.clone());
    pair.mirror.fault(Fault::on(&first).stall_after(1000, None));
    pair.mirror.fault(Fault::on(&second).flip(20));
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let end = Instant::now() + Duration::from_secs(60);
            while pair.origin.bytes_sent(&second) == 0 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            pair.mirror.release();
        });
        pull_to(&pair, "")
    });
    pair.warns(output.success(), "wrong bytes");
    check::canonical(&pair.sandbox.read("out")).unwrap();
}

/// Streams `app:1` into the file `out`.
fn pull_to(pair: &Pair, options: &str) -> Output {
    write_conf(&pair.sandbox, &conf(&pair.origin.host(), &[&pair.mirror.host()]));
    let script = format!("pull {options} {} > out", pair.origin.name("app:1"));
    pipeline::sh(&pair.sandbox, &script)
}

#[test]
fn a_mirror_for_digests_is_not_asked_for_tags() {
    let (mirror, origin, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    for registry in [&mirror, &origin] {
        registry.add("app:1", small("a"));
    }
    let by_digest = "pull-from-mirror = \"digest-only\"\n";
    let conf = conf(&origin.host(), &[&mirror.host()]) + by_digest;
    pull(&sandbox, &conf, &origin.name("app:1")).success();
    assert!(mirror.requests().iter().all(|it| it.path.contains("sha256:")), "{}", mirror.log());
    assert!(mirror.requests().iter().any(|it| it.path.contains("/blobs/")));
}

#[test]
fn a_blocked_registry_and_a_malformed_file_are_told() {
    let sandbox = Sandbox::new();
    let blocked = format!("[[registry]]\nlocation = \"{ORIGIN}\"\nblocked = true\n");
    let output = pull(&sandbox, &blocked, &format!("{ORIGIN}/app"));
    assert_one_line(output.fails_with(1), "pull");
    let output = pull(&sandbox, "[[registry]", &format!("{ORIGIN}/app"));
    assert_one_line(output.fails_with(1), "pull");
    assert!(output.stderr.contains("registries.conf: malformed"), "{}", output.stderr);
}

#[test]
fn json_tells_what_passed_between_us_and_each_host() {
    let (mirror, origin, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    let image = large();
    for registry in [&mirror, &origin] {
        registry.add("ns/app:1", &image);
    }
    // The mirror breaks off, and the registry is busy once.
    let layer = image.layer_blobs()[0].digest.clone();
    mirror.fault(Fault::on(&layer).close_after(100_000));
    origin.fault(Fault::on(&layer).times(1).status(503));
    write_conf(&sandbox, &conf(&origin.host(), &[&mirror.host()]));
    let name = origin.name("ns/app:1");
    let there = origin.name("copy:1");
    let script = format!(
        "pull --no-stream --progress json --limit-rate 100M {name} 2>pull.json && \
         push --progress json {name} {there} 2>push.json"
    );
    pipeline::sh(&sandbox, &script).success();
    let traffic = |file: &str, host: &str| -> serde_json::Value {
        let text = String::from_utf8(sandbox.read(file)).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.rfind(|line: &serde_json::Value| line["host"] == host).unwrap()
    };
    let of_mirror = traffic("pull.json", &mirror.host());
    assert_eq!((&of_mirror["retries"], &of_mirror["fallbacks"]), (&0.into(), &1.into()));
    let of_origin = traffic("pull.json", &origin.host());
    assert_eq!((&of_origin["retries"], &of_origin["fallbacks"]), (&1.into(), &0.into()));
    let received = |it: &serde_json::Value| it["received"].as_u64().unwrap();
    let blobs = image.layer_blobs()[0].bytes.len() + image.config_blob().bytes.len();
    let whole = (blobs + image.manifest_blob().bytes.len()) as u64;
    assert!(received(&of_mirror) >= 100_000, "{of_mirror}");
    // Each byte once, and the words of the 503.
    let sum = received(&of_mirror) + received(&of_origin);
    assert!((whole..whole + 1000).contains(&sum), "{sum} {whole}");
    assert!(traffic("push.json", &origin.host())["sent"].as_u64().unwrap() > 0);
}
