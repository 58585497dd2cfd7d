//! Mirrors: what they have comes from them, what they lack or break off from the next, and nothing wrong from any.

use kit::image::random::Random;
use kit::{Codec, Fault, Image, Layer, Output, Registry, Sandbox, check, pipeline};

use crate::fixtures::{assert_one_line, small};

/// The registry that names mean; nobody is there.
const ORIGIN: &str = "registry.invalid";

fn conf(origin: &str, mirrors: &[&str]) -> String {
    let mirrors =
        mirrors.iter().map(|mirror| format!("[[registry.mirror]]\nlocation = \"{mirror}\"\n"));
    format!("[[registry]]\nlocation = \"{origin}\"\n{}", mirrors.collect::<String>())
}

/// Pulls under a `registries.conf`.
fn pull(sandbox: &Sandbox, conf: &str, words: &str) -> Output {
    let home = sandbox.root().join("home/.config/containers");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("registries.conf"), conf).unwrap();
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

#[test]
fn what_a_mirror_makes_up_is_refused() {
    let (mirror, origin, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    for registry in [&mirror, &origin] {
        registry.add("app:1", small("a"));
    }
    let digest = small("a").layer_blobs()[0].digest.clone();
    mirror.fault(Fault::on(&digest).flip(20));
    let output = pull(&sandbox, &conf(&origin.host(), &[&mirror.host()]), &origin.name("app:1"));
    assert_one_line(output.fails_with(4), "pull");
    // A manifest of another digest than was asked for is as good as none.
    mirror.heal();
    mirror.fault(Fault::on("/manifests/").flip(20));
    let name = format!("{}@{}", origin.name("app"), small("a").digest());
    pull(&sandbox, &conf(&origin.host(), &[&mirror.host()]), &name).success();
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
