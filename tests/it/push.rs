//! `push`: what a registry has afterwards is what the store or the stream had, byte for byte, and nothing was sent twice.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use kit::image::random::{Random, random};
use kit::registry::log::Request;
use kit::registry::profile::{Login, Mounts, Profile};
use kit::registry::profiles;
use kit::{
    Auth, Codec, Content, Fault, Gzip, Image, Index, Layer, Named, Output, Producer, Registry,
    Sandbox, pipeline,
};

use rustix::process::Signal;

use crate::fixtures::{assert_one_line, demo, docker_demo, names, small};

/// Checks that one line says why, and the status what kind of trouble it is.
#[track_caller]
fn fails(output: &Output, code: i32) {
    assert_eq!(output.code(), code, "{}", output.text());
    assert_one_line(output, "push");
}

/// Two platforms, which share a layer.
fn two_platforms() -> Index {
    let image = |platform: &str| {
        let image = Image::new().platform(platform).layer(Layer::new().file("both", "both"));
        image.layer(Layer::new().file("own", platform))
    };
    Index::new().image(&image("linux/amd64")).image(&image("linux/arm64"))
}

/// An image with a layer of `size` bytes that can't be compressed.
fn large(seed: u64, size: usize) -> Image {
    let noise = Layer::new().file("noise", Random::new(seed).bytes(size));
    Image::new().codec(Codec::None).layer(noise)
}

/// A registry with an image under `app:1`, which the store has too.
fn stored(content: impl Into<Content>) -> (Registry, Sandbox, String) {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.add("app:1", content);
    let name = registry.name("app:1");
    let script = format!("pull --no-stream --all-platforms {name}");
    pipeline::sh(&sandbox, &script).success();
    registry.forget();
    (registry, sandbox, name)
}

/// Whether a registry has all of this under a name.
#[track_caller]
fn has_all(registry: &Registry, name: &str, content: impl Into<Content>) {
    let content = content.into();
    let found = registry.manifest(name).unwrap_or_default();
    assert_eq!(kit::digest(&found), content.digest(), "{name}");
    let (repository, _) = name.rsplit_once(':').unwrap();
    for blob in &content.blobs {
        let bytes = registry
            .blob(repository, &blob.digest)
            .or_else(|| registry.manifest(&format!("{repository}@{}", blob.digest)));
        assert!(bytes.as_deref() == Some(&blob.bytes[..]), "{} in {name}", blob.digest);
    }
}

fn uploaded(registry: &Registry) -> u64 {
    let blobs = registry.requests().into_iter().filter(|it| it.path.contains("/blobs/uploads/"));
    blobs.map(|it| it.received).sum()
}

fn sh(sandbox: &Sandbox, script: &str) -> Output {
    pipeline::sh(sandbox, script)
}

/// Runs a script that must succeed.
#[track_caller]
fn success(sandbox: &Sandbox, script: &str) -> Output {
    let output = sh(sandbox, script);
    output.success();
    output
}

#[test]
fn an_image_of_the_store_arrives_byte_for_byte() {
    for image in [demo(), docker_demo()] {
        let (_source, sandbox, name) = stored(&image);
        let registry = Registry::start();
        let there = registry.name("ns/mine:2");
        let output = sh(&sandbox, &format!("push {name} {there}"));
        let expected = format!("{}@{}\n", registry.name("ns/mine"), image.digest());
        assert_eq!(output.success().out(), expected);
        has_all(&registry, "ns/mine:2", &image);
        assert_eq!(registry.tags("ns/mine"), ["2"]);
        // And once more: nothing is sent but the manifest.
        registry.forget();
        let output = sh(&sandbox, &format!("push {name} {there}"));
        assert_eq!(output.success().out(), expected);
        assert_eq!(uploaded(&registry), 0);
        assert!(output.stderr.contains("Layer already exists"), "{}", output.stderr);
    }
}

#[test]
fn an_index_keeps_its_digest_and_comes_last() {
    let index = two_platforms();
    let (_source, sandbox, name) = stored(&index);
    let registry = Registry::start();
    sh(&sandbox, &format!("push {name} {}", registry.name("x:1"))).success();
    has_all(&registry, "x:1", &index);
    let log = registry.requests();
    let puts = log.iter().filter(|it| it.path.contains("/manifests/") && it.method == "PUT");
    let by_tag: Vec<_> = puts.map(|it| it.path.ends_with("/manifests/1")).collect();
    assert_eq!(by_tag, [false, false, true]);
    let first = log.iter().position(|it| it.method == "PUT" && it.path.contains("/manifests/"));
    let last = log.iter().rposition(|it| it.path.contains("/uploads/"));
    assert!(first > last, "{}", registry.log());
    // Of the index only one platform.
    let output =
        sh(&sandbox, &format!("push --platform linux/arm64 {name} {}", registry.name("y:1")));
    let digest = kit::digest(&registry.manifest("y:1").unwrap());
    assert!(output.success().out().ends_with(&format!("@{digest}\n")));
    assert!(String::from_utf8(registry.manifest("x:1").unwrap()).unwrap().contains(&digest));
}

#[test]
fn a_stream_goes_from_registry_to_registry_without_a_disk() {
    for content in
        [Content::from(two_platforms()), Content::from(demo()), Content::from(random(5, 6, 40))]
    {
        let (source, registry, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
        source.add("app:1", content.clone());
        let (from, to) = (source.name("app:1"), registry.name("copy:9"));
        let script = format!("pull --no-store --all-platforms {from} | push - {to}");
        let output = success(&sandbox, &script);
        assert_eq!(output.out(), format!("{}@{}\n", registry.name("copy"), content.digest()));
        has_all(&registry, "copy:9", content);
        assert!(!sandbox.store().exists() && names(sandbox.path("")).is_empty());
        assert!(names(sandbox.root().join("tmp")).iter().all(|name| name == ".pipestatus"));
    }
}

#[test]
fn a_stream_goes_under_its_own_names() {
    let (source, registry) = (Registry::start(), Registry::start());
    let (a, b) = (small("a"), large(1, 5 << 20));
    let sandbox = Sandbox::new();
    source.add("app/a:1", &a);
    source.add("app/b:1", &b);
    let script = format!(
        "pull --no-stream {0} {1}; images tag {0} {2}; images tag {1} {3}; save {2} {3} | push -",
        source.name("app/a:1"),
        source.name("app/b:1"),
        registry.name("new/a:2"),
        registry.name("new/b:2"),
    );
    let output = success(&sandbox, &script);
    assert_eq!(output.out().lines().filter(|line| line.contains("@sha256:")).count(), 2);
    has_all(&registry, "new/a:2", &a);
    has_all(&registry, "new/b:2", &b);
    for blob in a.layer_blobs() {
        assert!(registry.blob("new/b", &blob.digest).is_none(), "each repository gets its own");
    }
    // Several images can't have one name.
    let script = format!("save {} {} | push - x:1", source.name("app/a:1"), source.name("app/b:1"));
    let output = sh(&sandbox, &script);
    assert_eq!(output.code(), 2, "{}", output.text());
}

#[test]
fn large_layers_pass_to_several_registries_and_once_more_where_they_broke_off() {
    let image = large(3, 21 << 20);
    let (source, one, two) = (Registry::start(), Registry::start(), Registry::start());
    let sandbox = Sandbox::new();
    source.add("app:1", &image);
    let cut = Fault::on("uploads").method("PUT").times(1);
    one.fault(cut.close_reading(100_000));
    let busy = Fault::on("uploads").method("PUT").after(1).times(1).status(503);
    two.fault(busy.header("Retry-After", "0"));
    let script = format!(
        "pull --no-store {} | push - {} {}",
        source.name("app:1"),
        one.name("x:1"),
        two.name("y:1")
    );
    success(&sandbox, &script);
    has_all(&one, "x:1", &image);
    has_all(&two, "y:1", &image);
    let size: u64 = image.blobs().iter().map(|blob| blob.bytes.len() as u64).sum();
    assert!(uploaded(&one) <= size && uploaded(&two) <= 2 * size, "{}", two.log());
    // Where a layer waited nothing is left.
    assert!(names(sandbox.root().join("tmp")).iter().all(|name| name == ".pipestatus"));
}

/// Sent to the first, mounted by the second.
#[test]
fn two_repositories_of_one_registry_get_a_layer_of_a_stream_once() {
    let image = large(4, 9 << 20);
    let (source, registry, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    source.add("app:1", &image);
    let (from, one, two) = (source.name("app:1"), registry.name("a:1"), registry.name("b:1"));
    success(&sandbox, &format!("pull --no-store {from} | push - {one} {two}"));
    has_all(&registry, "a:1", &image);
    has_all(&registry, "b:1", &image);
    let size: u64 = image.blobs().iter().map(|blob| blob.bytes.len() as u64).sum();
    assert!(uploaded(&registry) < size + 10_000, "{}", registry.log());
}

/// aws/containers-roadmap#2860: ECR mounts what a manifest names already, so that comes before the next repository.
#[test]
fn the_manifest_of_one_repository_comes_before_the_mounts_of_the_next() {
    let (_source, sandbox, name) = stored(demo());
    let ecr = Profile { login: Login::None, ..profiles::ECR };
    let registry = Registry::with_profile(&ecr);
    let (one, two) = (registry.name("a:1"), registry.name("b:1"));
    success(&sandbox, &format!("push {name} {one} {two}"));
    has_all(&registry, "b:1", demo());
    let size: usize = demo().blobs().iter().skip(1).map(|blob| blob.bytes.len()).sum();
    assert_eq!(uploaded(&registry), size as u64, "{}", registry.log());
}

/// Two images with a small and a large layer in common, and one of their own each.
fn related() -> [Image; 2] {
    let base = large(8, 5 << 20).layer(Layer::new().file("medium", Random::new(9).bytes(300_000)));
    ["a", "b"].map(|name| base.clone().layer(Layer::new().file(name, name)))
}

/// A stream of both brings each to a repository of its own.
#[track_caller]
fn goes_in_one_stream(registry: &Registry) {
    let (source, sandbox, images) = (Registry::start(), Sandbox::new(), related());
    for (image, name) in images.iter().zip(["one:1", "two:1"]) {
        source.add(name, image);
    }
    let script = format!(
        "pull --no-stream {0} {1}; images tag {0} {2}; images tag {1} {3}; \
         save {2} {3} | push --store none -",
        source.name("one:1"),
        source.name("two:1"),
        registry.name("one:1"),
        registry.name("two:1"),
    );
    success(&sandbox, &script);
    has_all(registry, "one:1", &images[0]);
    has_all(registry, "two:1", &images[1]);
    assert_eq!(registry.n_uploads(), 0, "{}", registry.log());
}

/// What a stream of several images sends to several repositories of one registry.
#[track_caller]
fn sent_once(registry: &Registry) {
    goes_in_one_stream(registry);
    let images = related();
    let own = images.each_ref().map(|image| image.layer_blobs().pop().unwrap());
    let blobs = images[0].layer_blobs().into_iter().chain(own).chain([images[0].config_blob()]);
    let size: usize = blobs.map(|blob| blob.bytes.len()).sum();
    let most = size as u64 + 10_000;
    assert!(uploaded(registry) < most, "{} of {size}\n{}", uploaded(registry), registry.log());
}

#[test]
fn images_of_a_stream_share_their_layers_at_the_registry() {
    sent_once(&Registry::start());
}

/// The stream names both repositories as where it comes from, so that a mount is asked for before the layer is anywhere.
#[test]
fn what_can_be_mounted_at_once_does_not_wait_for_a_manifest() {
    let registry = Registry::start();
    goes_in_one_stream(&registry);
    let requests = registry.requests();
    let is_manifest = |it: &Request| it.method == "PUT" && it.path.contains("/manifests/");
    let is_mounted = |it: &Request| it.status == 201 && it.path.contains("mount=");
    let manifest = requests.iter().position(is_manifest).unwrap();
    let n_before = requests[..manifest].iter().filter(|it| is_mounted(it)).count();
    assert_eq!(n_before, 2, "{}", registry.log());
    assert_eq!(requests.iter().filter(|it| is_mounted(it)).count(), 2, "{}", registry.log());
}

/// ECR mounts a blob of a stream only when the manifest is there, after the stream's end: until then the blob waits.
#[test]
fn images_of_a_stream_share_their_layers_where_only_a_manifest_lets_them_be_mounted() {
    let registry = Registry::with_profile(&Profile { login: Login::None, ..profiles::ECR });
    sent_once(&registry);
}

/// Of an index the stream's beginning doesn't tell the layers; that the second has them too is known when they have passed.
#[test]
fn indexes_of_a_stream_share_their_layers_where_they_can_be_mounted_or_the_store_has_them() {
    let base = large(11, 5 << 20);
    let index = |name: &str| {
        let other = base.clone().platform("linux/arm64").layer(Layer::new().file(name, name));
        Index::new().image(&small(name)).image(&other)
    };
    let (source, sandbox, registry) = (Registry::start(), Sandbox::new(), Registry::start());
    source.add("one:1", index("one"));
    source.add("two:1", index("two"));
    let names = |registry: &Registry| [registry.name("one:1"), registry.name("two:1")];
    let [one, two] = names(&source);
    let tagged = |registry: &Registry| {
        let [there, also] = names(registry);
        format!("images tag {one} {there}; images tag {two} {also}; save {there} {also}")
    };
    success(&sandbox, &format!("pull --no-stream --all-platforms {one} {two}"));
    success(&sandbox, &format!("{} > saved; push --store none - < saved", tagged(&registry)));
    has_all(&registry, "one:1", index("one"));
    has_all(&registry, "two:1", index("two"));
    assert!(uploaded(&registry) < 6 << 20, "{}", registry.log());
    // Where nothing is mounted, out of the store, or not at all.
    let never = Registry::with_profile(&Profile { mounts: Mounts::Never, ..profiles::SPEC });
    success(&sandbox, &format!("{} > saved", tagged(&never)));
    let output = sh(&sandbox, "push --store none - < saved");
    fails(&output, 1);
    assert!(output.stderr.contains("hint: push each image by itself"), "{}", output.stderr);
    assert_eq!(never.n_uploads(), 0, "{}", never.log());
    success(&sandbox, "push - < saved");
    has_all(&never, "two:1", index("two"));
}

/// harbor#14902, zot#622, zot#1385, harbor#10811: in the registry's words, at once, and the name isn't there.
#[test]
fn what_a_registry_has_against_a_manifest_is_told() {
    let (_source, sandbox, name) = stored(demo());
    for (status, code) in [(404, 3), (400, 5), (415, 5), (413, 5)] {
        let registry = Registry::start();
        registry.fault(Fault::on("/manifests/").method("PUT").status(status));
        let output = sh(&sandbox, &format!("push {name} {}", registry.name("x:1")));
        fails(&output, code);
        assert!(output.stderr.contains(&registry.name("x:1")), "{}", output.stderr);
        assert_eq!(registry.n_requests("PUT", "/manifests/"), 1, "{status}: {}", registry.log());
        assert_eq!(registry.n_uploads(), 0, "{status}: {}", registry.log());
        assert!(registry.manifest("x:1").is_none());
    }
}

/// containers/image#816: a config that doesn't get there is no detail.
#[test]
fn without_its_config_no_manifest_is_put() {
    let (_source, sandbox, name) = stored(demo());
    let config = demo().config_blob().digest.replace(':', "%3A");
    success(&sandbox, &format!("save {name} > saved"));
    for script in ["push NAME THERE", "push - THERE < saved"] {
        let registry = Registry::start();
        registry.fault(Fault::on(&format!("digest={config}")).method("PUT").status(403));
        let there = registry.name("x:1");
        let output = sh(&sandbox, &script.replace("NAME", &name).replace("THERE", &there));
        fails(&output, 6);
        assert_eq!(registry.n_requests("PUT", "/manifests/"), 0, "{}", registry.log());
        assert_eq!(registry.n_uploads(), 0, "{}", registry.log());
    }
}

/// What waits is sent after all.
#[test]
fn images_of_a_stream_arrive_where_nothing_is_mounted() {
    for mounts in [Mounts::Never, Mounts::Lost, Mounts::OrRefused(401)] {
        let registry = Registry::with_profile(&Profile { mounts, ..profiles::SPEC });
        let (source, sandbox) = (Registry::start(), Sandbox::new());
        source.add("app:1", &related()[0]);
        let (from, one, two) = (source.name("app:1"), registry.name("a:1"), registry.name("b:1"));
        success(&sandbox, &format!("pull --no-store {from} | push - {one} {two}"));
        has_all(&registry, "a:1", &related()[0]);
        has_all(&registry, "b:1", &related()[0]);
        assert_eq!(registry.n_uploads(), 0, "{}", registry.log());
        // A mount is asked for when the source has the blob, and once more when a manifest there names it.
        let asked = |it: &Request| it.method == "POST" && it.path.contains("mount=");
        let mut n_asked: HashMap<String, usize> = HashMap::new();
        for request in registry.requests().into_iter().filter(asked) {
            *n_asked.entry(request.path).or_default() += 1;
        }
        assert!(n_asked.values().all(|n| *n <= 2), "{}", registry.log());
    }
    goes_in_one_stream(&Registry::with_profile(&Profile {
        mounts: Mounts::Never,
        ..profiles::SPEC
    }));
}

/// The kit counts: one question, the beginning and one PUT for each blob, and a mount alone where that is answered.
#[test]
fn no_request_is_made_whose_answer_is_known() {
    let (registry, sandbox, name) = stored(demo());
    let there = registry.name("other:1");
    success(&sandbox, &format!("push {name} {there}"));
    let n_blobs = demo().blobs().len() - 1;
    assert_eq!(registry.n_requests("HEAD", "blobs"), 0, "{}", registry.log());
    assert_eq!(registry.n_requests("POST", "mount="), n_blobs, "{}", registry.log());
    assert_eq!(registry.requests().len(), n_blobs + 1, "{}", registry.log());
    let elsewhere = Registry::start();
    let output = success(
        &sandbox,
        &format!("push --jobs 1 --progress json {name} {}", elsewhere.name("x:1")),
    );
    assert_eq!(elsewhere.n_requests("HEAD", "blobs"), 1, "{}", elsewhere.log());
    assert_eq!(elsewhere.requests().len(), 1 + 2 * n_blobs + 1, "{}", elsewhere.log());
    let told = format!(r#""requests":{}"#, elsewhere.requests().len());
    assert!(output.stderr.contains(&told), "{}", output.stderr);
    // Once more: a question for each, and the manifest.
    elsewhere.forget();
    success(&sandbox, &format!("push {name} {}", elsewhere.name("x:1")));
    assert_eq!(elsewhere.requests().len(), n_blobs + 1, "{}", elsewhere.log());
}

/// A layer of this many bytes that can't be compressed.
fn noise(seed: u64, size: usize) -> Layer {
    Layer::new().file("noise", Random::new(seed).bytes(size))
}

#[test]
fn what_is_large_is_asked_for_in_any_case() {
    let shared = || noise(1, 2 << 20);
    let image = Image::new().codec(Codec::None).layer(noise(2, 1000)).layer(shared());
    let (_source, sandbox, name) = stored(image.layer(noise(3, 1000)));
    for script in ["push --jobs 1 NAME THERE", "save NAME | push --jobs 1 - THERE"] {
        let registry = Registry::start();
        registry.add("team/app:old", Image::new().codec(Codec::None).layer(shared()));
        let there = registry.name("team/app:1");
        success(&sandbox, &script.replace("NAME", &name).replace("THERE", &there));
        assert!(uploaded(&registry) < 20_000, "{script}\n{}", registry.log());
        assert_eq!(registry.n_requests("HEAD", "blobs"), 2, "{script}\n{}", registry.log());
    }
}

#[test]
fn after_a_mount_that_was_refused_nothing_small_is_asked_for() {
    let (_source, sandbox, name) = stored(demo());
    let registry = Registry::with_profile(&Profile { mounts: Mounts::Never, ..profiles::SPEC });
    // The store learns that the registry has all of it in one repository.
    success(&sandbox, &format!("push {name} {}", registry.name("one:1")));
    registry.forget();
    success(&sandbox, &format!("push {name} {}", registry.name("two:1")));
    has_all(&registry, "two:1", demo());
    assert_eq!(registry.n_requests("HEAD", "blobs"), 0, "{}", registry.log());
    let n_blobs = demo().blobs().len() - 1;
    assert_eq!(registry.requests().len(), 2 * n_blobs + 1, "{}", registry.log());
}

/// moby#50065
#[test]
fn a_registry_that_answers_no_questions_gets_everything() {
    let (_source, sandbox, name) = stored(demo());
    let registry = Registry::with_profile(&profiles::HEADLESS);
    for _ in 0..2 {
        success(&sandbox, &format!("push {name} {}", registry.name("x:1")));
        has_all(&registry, "x:1", demo());
    }
}

/// skopeo's FIXME of 2016 (skopeo#92): what is given up is cancelled.
#[test]
fn an_upload_that_fails_is_not_left_at_the_registry() {
    let image = large(5, 9 << 20);
    let (source, registry, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    source.add("app:1", &image);
    registry.fault(Fault::on("uploads").method("PUT").status(422));
    let script =
        format!("pull --no-store {} | push - {}", source.name("app:1"), registry.name("x:1"));
    let output = sh(&sandbox, &script);
    assert_eq!(output.code(), 5, "{}", output.text());
    assert_eq!(registry.n_uploads(), 0, "{}", registry.log());
}

#[test]
fn other_tools_archives_are_pushed_if_their_blobs_have_names() {
    let sandbox = Sandbox::new();
    for producer in Producer::ALL {
        let registry = Registry::start();
        let is_named =
            !matches!(producer, Producer::Docker24 | Producer::SkopeoDocker | Producer::Crane);
        sandbox.write("in", producer.write(&[Named::new("docker.io/library/demo:1", demo())]));
        for way in ["push - NAME < in", "cat in | push - NAME"] {
            let output = sh(&sandbox, &way.replace("NAME", &registry.name("x:1")));
            assert_eq!(
                output.code(),
                if is_named { 0 } else { 2 },
                "{producer:?}: {}",
                output.text()
            );
            assert_eq!(registry.manifest("x:1").is_some(), is_named);
        }
        if producer != Producer::Docker25 && is_named {
            has_all(&registry, "x:1", demo());
        }
    }
}

#[test]
fn what_the_registry_has_elsewhere_is_mounted() {
    let image = random(7, 4, 30);
    let (registry, sandbox, name) = stored(&image);
    let output = success(&sandbox, &format!("push {name} {}", registry.name("other:1")));
    has_all(&registry, "other:1", &image);
    assert_eq!(uploaded(&registry), 0, "{}", registry.log());
    assert!(output.stderr.contains("Mounted from app"), "{}", output.stderr);
    // A stream says itself where it comes from.
    let script = format!("pull --no-store {name} | push - {}", registry.name("third:1"));
    sh(&Sandbox::new(), &script).success();
    has_all(&registry, "third:1", &image);
    assert_eq!(uploaded(&registry), 0, "{}", registry.log());
}

#[test]
fn a_dry_run_tells_everything_and_does_nothing() {
    let (registry, sandbox, name) = stored(demo());
    let elsewhere = Registry::start();
    let digests = demo().layer_blobs().into_iter().map(|blob| (blob.digest, blob.bytes.len()));
    let check = |command: String, action: &str| {
        let output = success(&sandbox, &command);
        for (digest, size) in digests.clone() {
            let line = output.out().lines().find(|line| line.contains(&digest)).unwrap().to_owned();
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(words[..2], [action, &size.to_string()], "{line}");
        }
    };
    let there = elsewhere.name("x:1");
    check(format!("push --dry-run {name} {there}"), "send");
    check(format!("save {name} | push --dry-run - {there}"), "send");
    check(format!("push --dry-run {name} {}", registry.name("other:1")), "mount");
    check(format!("push --dry-run {name} {name}"), "skip");
    assert!(elsewhere.requests().iter().chain(&registry.requests()).all(|it| it.method == "HEAD"));
    assert!(elsewhere.manifest("x:1").is_none());
}

#[test]
fn several_names_of_one_image_cost_one_upload() {
    let image = demo();
    let (_source, sandbox, name) = stored(&image);
    let registry = Registry::start();
    let script = format!(
        "push {name} {} {} {}",
        registry.name("a:1"),
        registry.name("a:2"),
        registry.name("b:1")
    );
    let output = success(&sandbox, &script);
    assert_eq!(output.out().lines().count(), 3);
    assert_eq!(registry.tags("a"), ["1", "2"]);
    has_all(&registry, "b:1", &image);
    let size: usize = image.layer_blobs().iter().map(|blob| blob.bytes.len()).sum();
    let config = image.config_blob().bytes.len();
    assert_eq!(uploaded(&registry), (size + config) as u64);
}

#[test]
fn a_killed_push_goes_on_where_it_was() {
    let image = Image::new().codec(Codec::None).layer(Layer::new().file("big", vec![7; 70 << 20]));
    let (_source, sandbox, name) = stored(&image);
    let registry = Registry::start();
    // The upload stands when the first part is there, and the next one never ends.
    registry.fault(Fault::on("uploads").method("PATCH").after(1).delay(Duration::from_secs(300)));
    let there = registry.name("x:1");
    let running = sandbox.command("push").args([&name, &there]).start();
    let uploads = sandbox.store().join("strata/uploads");
    let is_noted = || fs::read_dir(&uploads).is_ok_and(|dir| dir.count() > 0);
    running.kill_when(is_noted);
    registry.heal();
    registry.forget();
    sh(&sandbox, &format!("push {name} {there}")).success();
    has_all(&registry, "x:1", &image);
    assert!(names(&uploads).is_empty());
}

#[test]
fn a_signal_ends_a_push_in_the_middle() {
    let (_source, sandbox, name) = stored(large(5, 1 << 20));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let registry = Registry::start();
        registry.fault(Fault::on("uploads").method("PUT").delay(Duration::from_secs(300)));
        let there = registry.name("x:1");
        let running = sandbox.command("push").args([&name, &there]).start();
        while !registry.requests().iter().any(|it| it.method == "PUT") {
            std::thread::sleep(Duration::from_millis(1));
        }
        running.signal(signal);
        let output = running.wait();
        assert_eq!(output.code(), 128 + signal.as_raw(), "{}", output.text());
        assert_eq!(output.status.code(), None, "it dies by the signal");
        assert!(registry.manifest("x:1").is_none());
    }
}

/// skopeo#92: one that is told to stop leaves nothing at the registry.
#[test]
fn a_signal_cancels_uploads_that_stall() {
    let (_source, sandbox, name) = stored(large(6, 5 << 20));
    let whole = success(&sandbox, &format!("save {name}")).stdout;
    // Out of a stream the config waits for the layer.
    for (image, n_uploads) in [(&name[..], 2), ("-", 1)] {
        for signal in [Signal::INT, Signal::TERM] {
            let registry = Registry::start();
            let stalled = Fault::on("uploads").method("PUT").status(503);
            registry.fault(stalled.delay(Duration::from_secs(300)));
            let push = sandbox.command("push").args([image, &registry.name("x:1")]);
            let running = if image == "-" { push.input(whole.clone()) } else { push }.start();
            while registry.n_requests("PUT", "uploads") < n_uploads {
                std::thread::sleep(Duration::from_millis(1));
            }
            running.signal(signal);
            let output = running.wait();
            assert_eq!(output.code(), 128 + signal.as_raw(), "{}", output.text());
            assert_eq!(registry.n_requests("DELETE", "uploads"), n_uploads, "{}", registry.log());
            assert_eq!(registry.n_uploads(), 0, "{}", registry.log());
        }
    }
}

#[test]
fn logins_are_used_and_refusals_told() {
    let (_source, sandbox, name) = stored(small("a"));
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    let there = registry.name("x:1");
    let output = sh(&sandbox, &format!("push {name} {there}"));
    fails(&output, 6);
    assert!(output.stderr.contains(&format!("hint: log in: remote login {}", registry.host())));
    let login = kit::registry::auth::base64(b"me:hunter2");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#, registry.host());
    fs::create_dir_all(sandbox.root().join("home/.docker")).unwrap();
    fs::write(sandbox.root().join("home/.docker/config.json"), config).unwrap();
    sh(&sandbox, &format!("push {name} {there}")).success();
    has_all(&registry, "x:1", small("a"));
}

#[test]
fn failures_exit_as_documented() {
    let (_source, sandbox, name) = stored(small("a"));
    let check = |fault: Fault, code: i32| {
        let registry = Registry::start();
        registry.fault(fault);
        let output = sh(&sandbox, &format!("push {name} {}", registry.name("x:1")));
        fails(&output, code);
        assert!(output.stdout.is_empty());
    };
    check(Fault::on("uploads").method("POST").status(403), 6);
    check(Fault::on("uploads").method("POST").status(404), 3);
    check(Fault::on("uploads").method("POST").status(405), 5);
    check(Fault::on("uploads").method("POST").header("Location", "file:///x"), 4);
    check(Fault::on("manifests").method("PUT").status(400), 5);
    check(
        Fault::on("manifests").method("PUT").header("Docker-Content-Digest", &kit::digest(b"x")),
        4,
    );
    // Nobody there, and a damaged store.
    fails(&sh(&sandbox, &format!("push {name} 127.0.0.1:1/x")), 5);
    let registry = Registry::start();
    let blob = small("a").layer_blobs().remove(0);
    let path = sandbox.store().join("blobs/sha256").join(blob.hex());
    fs::write(path, vec![0; blob.bytes.len()]).unwrap();
    fails(&sh(&sandbox, &format!("push {name} {}", registry.name("x:1"))), 4);
    assert!(registry.manifest("x:1").is_none());
}

#[test]
fn a_stream_that_is_cut_or_wrong_names_nothing() {
    let (source, registry) = (Registry::start(), Registry::start());
    source.add("app:1", large(2, 5 << 20));
    let (sandbox, there) = (Sandbox::new(), registry.name("x:1"));
    sh(&sandbox, &format!("pull --no-store {} > whole", source.name("app:1"))).success();
    let whole = sandbox.read("whole");
    for length in [0, 512, whole.len() / 2, whole.len() - 1024, whole.len() - 1] {
        sandbox.write("cut", &whole[..length]);
        let output = sh(&sandbox, &format!("push - {there} < cut"));
        fails(&output, 4);
        let output = sh(&sandbox, &format!("cat cut | push - {there}"));
        fails(&output, 4);
        // Without a name too, it is the stream that is wrong.
        fails(&sh(&sandbox, "cat cut | push -"), 4);
        assert!(registry.manifest("x:1").is_none(), "{length}");
    }
    for position in [whole.len() / 2, whole.len() - 2000] {
        let mut wrong = whole.clone();
        wrong[position] ^= 1;
        sandbox.write("wrong", wrong);
        let output = sh(&sandbox, &format!("push - {there} < wrong"));
        fails(&output, 4);
        assert!(registry.manifest("x:1").is_none(), "{position}");
    }
}

#[test]
fn thin_streams_need_a_registry_that_has_the_rest() {
    let base = Image::new().layer(Layer::new().file("a", "a"));
    let image = base.clone().layer(Layer::new().file("b", "b"));
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.add("app:1", &base);
    registry.add("app:2", &image);
    let (one, two) = (registry.name("app:1"), registry.name("app:2"));
    sh(&sandbox, &format!("pull --no-stream {one} {two}; save {two} --base {one} > thin"))
        .success();
    sh(&sandbox, &format!("push - {} < thin", registry.name("app:3"))).success();
    has_all(&registry, "app:3", &image);
    let other = Registry::start();
    fails(&sh(&sandbox, &format!("push - {} < thin", other.name("x:1"))), 3);
    assert!(other.manifest("x:1").is_none());
}

#[test]
fn layers_that_are_not_to_be_distributed_stay_behind() {
    let gzip = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let image = Image::new()
        .codec(Codec::Gzip(Gzip::PLAIN))
        .layer(Layer::new().file("windows", "base"))
        .layer(Layer::new().file("own", "own"))
        .set_manifest("/layers/0/mediaType", gzip)
        .set_manifest("/layers/0/urls", vec!["https://127.0.0.1:1/x"]);
    let (_source, sandbox, name) = stored(&image);
    let foreign = image.layer_blobs().remove(0).digest;
    for (words, is_sent) in [("", false), ("--non-distributable", true)] {
        for source in [format!("push {words} {name}"), format!("save {name} | push {words} -")] {
            let registry = Registry::start();
            // The kit wants every blob that a manifest names, as few real registries do.
            let output = sh(&sandbox, &format!("{source} {}", registry.name("x:1")));
            assert_eq!(registry.blob("x", &foreign).is_some(), is_sent, "{}", output.text());
            assert_eq!(output.code() == 0, is_sent);
        }
    }
}

#[test]
fn names_that_are_pinned_must_mean_this_image() {
    let image = small("a");
    let (_source, sandbox, name) = stored(&image);
    let registry = Registry::start();
    let wrong = format!("push {name} {}@{}", registry.name("x"), kit::digest(b"x"));
    fails(&sh(&sandbox, &wrong), 2);
    let right = format!("push {name} {}@{}", registry.name("x"), image.digest());
    sh(&sandbox, &right).success();
    assert!(registry.tags("x").is_empty());
    assert!(registry.manifest(&format!("x@{}", image.digest())).is_some());
}

// What the user's settings say of a registry counts where nothing is pulled, too.
#[test]
fn settings_and_options_of_registries_hold_for_pushes() {
    let image = small("a");
    let (_source, sandbox, name) = stored(&image);
    let (registry, mirror) = (Registry::start(), Registry::start());
    let configure = |text: String| {
        let dir = sandbox.root().join("home/.config/containers");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("registries.conf"), text).unwrap();
    };
    let pushes = |to: &str| {
        [format!("push {name} {to}"), format!("save {name} | push - {to}")]
            .map(|script| sh(&sandbox, &script))
    };
    // Blocked: nobody is asked.
    configure(format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", registry.host()));
    for output in pushes(&registry.name("x:1")) {
        assert_ne!(output.code(), 0);
        assert!(output.stderr.contains("blocked"), "{}", output.text());
    }
    assert!(registry.requests().is_empty(), "{}", registry.log());
    // Another place for what the name means; its mirrors get nothing.
    configure(format!(
        "[[registry]]\nprefix = \"registry.invalid/team\"\nlocation = \"{}/elsewhere\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        registry.host(),
        mirror.host()
    ));
    for output in pushes("registry.invalid/team/x:1") {
        output.success();
        has_all(&registry, "elsewhere/x:1", &image);
        assert!(mirror.requests().is_empty(), "{}", mirror.log());
        registry.forget();
    }
    // A setting that can't be understood is an error, and no setting less.
    configure("[[registry]\n".to_owned());
    for output in pushes(&registry.name("y:1")) {
        assert!(!matches!(output.code(), 0 | 5), "{}", output.text());
        assert!(output.stderr.contains("registries.conf"), "{}", output.text());
    }
    assert!(registry.requests().is_empty(), "{}", registry.log());
}

#[test]
fn an_image_that_is_not_whole_is_refused_before_a_byte_is_sent() {
    let large = large(7, 300_000);
    let image = |platform: &str| large.clone().platform(platform);
    let there = [image("linux/amd64"), image("linux/arm64")];
    let index = Index::new().image(&there[0]).image(&there[1]).absent(&image("linux/s390x"));
    let sandbox = Sandbox::new();
    let named = Named::new("docker.io/library/app:1", &index);
    kit::archive::layout(sandbox.store(), std::slice::from_ref(&named));
    let unsent = |script: &str| {
        let registry = Registry::start();
        let output = sh(&sandbox, &format!("{script} {}", registry.name("x:1")));
        fails(&output, 3);
        assert_eq!((uploaded(&registry), registry.n_requests("POST", "")), (0, 0), "{script}");
        assert_eq!(registry.n_requests("PUT", ""), 0, "{script}: {}", registry.log());
        output
    };
    let output = unsent("push app:1");
    assert!(output.stderr.contains("not whole") && output.stderr.contains("which the index lists"));
    // A layer that has gone, of an image of one platform and of an index with all.
    let only = Named::new("docker.io/library/only:1", &there[0]);
    let both = Index::new().image(&there[0]).image(&there[1].clone().layer(Layer::new().tar()));
    let both = Named::new("docker.io/library/both:1", &both);
    for named in [only, both] {
        let sandbox = Sandbox::new();
        kit::archive::layout(sandbox.store(), std::slice::from_ref(&named));
        let gone = &large.layer_blobs()[0];
        fs::remove_file(sandbox.store().join("blobs/sha256").join(gone.hex())).unwrap();
        let registry = Registry::start();
        let name = named.name.rsplit('/').next().unwrap();
        for words in ["", "--all-platforms ", "--platform linux/amd64 "] {
            let output = sh(&sandbox, &format!("push {words}{name} {}", registry.name("x:1")));
            fails(&output, 3);
            assert!(output.stderr.contains(&gone.digest), "{words}{name}: {}", output.text());
            assert_eq!(uploaded(&registry), 0, "{words}{name}");
            assert_eq!(registry.n_requests("PUT", ""), 0, "{words}{name}: {}", registry.log());
        }
    }
}

#[test]
fn a_registry_without_tls_is_pushed_to_and_pulled_from_where_it_is_listed() {
    let image = small("a");
    let (_source, sandbox, name) = stored(&image);
    let registry = Registry::start();
    // An address of this machine that isn't the one of loopback.
    let host = format!("0.0.0.0:{}", registry.host().rsplit_once(':').unwrap().1);
    let push = format!("push {name} {host}/x:1");
    let stream = format!("save {name} | push - {host}/y:1");
    let pull = format!("pull --no-stream {host}/x:1");
    for script in [&push, &stream, &pull] {
        let output = sh(&sandbox, script);
        assert!(!matches!(output.code(), 0 | 3), "{script}: {}", output.text());
        assert!(output.stderr.contains("tls handshake"), "{}", output.text());
    }
    assert!(registry.tags("x").is_empty() && registry.tags("y").is_empty());
    for script in [&push, &stream, &pull] {
        let other = script.replace("push ", "push --insecure other.invalid ");
        let other = other.replace("pull ", "pull --insecure other.invalid ");
        assert_ne!(sh(&sandbox, &other).code(), 0, "{other}");
        let listed = script.replace("push ", &format!("push --insecure {host} "));
        let listed = listed.replace("pull ", &format!("pull --insecure {host} "));
        success(&sandbox, &listed);
    }
    for name in ["x:1", "y:1"] {
        has_all(&registry, name, &image);
    }
}
