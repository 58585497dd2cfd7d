//! `pull NAME | unpack DIR`: from a registry to a root file system, into the store on the way.

use std::fs;

use kit::image::random::random;
use kit::{
    Codec, Content, Device, Gzip, Image, Index, Layer, Output, Registry, Sandbox, Zstd, check,
    pipeline, tree,
};
use serde_json::Value;

use crate::fixtures::{
    assert_demo, assert_one_line, demo, docker_demo, names, shown, small, unpack,
};

/// A registry with one image under `app:1`, and where to pull it to.
fn with(content: impl Into<Content>) -> (Registry, Sandbox, String) {
    let registry = Registry::start();
    registry.add("app:1", content);
    let name = registry.name("app:1");
    (registry, Sandbox::new(), name)
}

/// Pulls into the store; the digest that is printed.
#[track_caller]
fn store(sandbox: &Sandbox, words: &str) -> String {
    let output = pipeline::sh(sandbox, &format!("pull --no-stream {words}"));
    output.success().out().trim_end().to_owned()
}

/// The line of the talk that begins with a word.
fn line<'a>(output: &'a Output, word: &str) -> &'a str {
    output.stderr.lines().find(|line| line.starts_with(word)).unwrap_or_default()
}

fn store_index(sandbox: &Sandbox) -> Value {
    let bytes = fs::read(sandbox.store().join("index.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn an_image_becomes_a_directory_and_stays_in_the_store() {
    for image in [demo(), docker_demo()] {
        let (_registry, sandbox, name) = with(&image);
        let output = pipeline::sh(&sandbox, &format!("pull {name} | tee stream | unpack root"));
        assert_eq!(output.success().pipe, [0, 0, 0]);
        assert_demo(sandbox.path("root"));
        assert!(output.stdout.is_empty());
        let stream = sandbox.read("stream");
        let report = check::canonical(&stream).unwrap();
        assert_eq!(report.digests, [image.digest()]);
        assert_eq!(report.diff_ids, image.diff_ids());
        assert!(report.orphans.is_empty());
        let report = check::layout(sandbox.store()).unwrap();
        assert_eq!(report.names, std::slice::from_ref(&name));
        assert_eq!(report.manifests, [image.digest()]);
        assert!(report.orphans.is_empty());
        assert_eq!(line(&output, "Digest: "), format!("Digest: {}", image.digest()));
        let status = format!("Status: Downloaded newer image for {name}");
        assert_eq!(line(&output, "Status: "), status);
        assert_eq!(names(sandbox.path("")), ["root", "stream"]);
    }
}

#[test]
fn the_same_image_always_makes_the_same_bytes() {
    let (_registry, sandbox, name) = with(random(3, 4, 60));
    let script = format!(
        "pull {name} > a; pull {name} > b; pull --no-store {name} > c; pull --jobs 1 --store other {name} > d"
    );
    pipeline::sh(&sandbox, &script).success();
    let a = sandbox.read("a");
    check::canonical(&a).unwrap();
    for other in ["b", "c", "d"] {
        assert!(sandbox.read(other) == a, "{other} differs");
    }
}

#[test]
fn layers_of_every_codec_arrive() {
    let odd_gzip = Gzip {
        members: 7,
        name: Some(b"x"),
        extra: Some(b"ab\x02\x00xy"),
        header_crc: true,
        padding: 300,
        ..Gzip::PLAIN
    };
    let odd_zstd = Zstd { frames: 5, skippable: true, window_log: Some(20), ..Zstd::PLAIN };
    let files = |n: u32| {
        let layer = Layer::new().dir("./", 0o755);
        (0..n).fold(layer, |layer, i| layer.file(format!("f{i}"), format!("{i}\n").repeat(500)))
    };
    let mut expected = None;
    for codec in
        [Codec::None, Codec::GZIP, Codec::ZSTD, Codec::Gzip(odd_gzip), Codec::Zstd(odd_zstd)]
    {
        let (_registry, sandbox, name) = with(Image::new().codec(codec).layer(files(50)));
        pipeline::sh(&sandbox, &format!("pull {name} | unpack root")).success();
        let found = shown(sandbox.path("root"));
        tree::assert_same(expected.get_or_insert_with(|| found.clone()), &found);
    }
}

#[test]
fn a_media_type_may_lie_about_the_codec() {
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let image = Image::new().codec(Codec::ZSTD).layer(Layer::new().file("f", "x"));
    let (_registry, sandbox, name) = with(image.set_manifest("/layers/0/mediaType", gzip));
    pipeline::sh(&sandbox, &format!("pull {name} | unpack root")).success();
    assert_eq!(sandbox.read("root/f"), b"x");
}

#[test]
fn a_second_pull_fetches_nothing() {
    let (registry, sandbox, name) = with(demo());
    store(&sandbox, &name);
    registry.forget();
    let output = pipeline::sh(&sandbox, &format!("pull {name} | unpack root"));
    output.success();
    assert_demo(sandbox.path("root"));
    assert_eq!(registry.bytes_sent("/blobs/"), 0, "{}", registry.log());
    assert!(!registry.log().contains("/blobs/"), "{}", registry.log());
    assert_eq!(output.stderr.matches(": Already exists").count(), 3, "{}", output.stderr);
    let status = format!("Status: Image is up to date for {name}");
    assert_eq!(line(&output, "Status: "), status);
}

#[test]
fn a_shared_base_is_fetched_once() {
    let base = random(5, 2, 50);
    let registry = Registry::start();
    registry.add("base:1", &base);
    registry.add("child:1", base.clone().layer(Layer::new().file("child", "x")));
    let sandbox = Sandbox::new();
    store(&sandbox, &registry.name("base:1"));
    registry.forget();
    let name = registry.name("child:1");
    let output = pipeline::sh(&sandbox, &format!("pull {name} | unpack root"));
    output.success();
    for layer in base.layer_blobs() {
        assert_eq!(registry.bytes_sent(&layer.digest), 0);
    }
    assert_eq!(output.stderr.matches(": Already exists").count(), 2, "{}", output.stderr);
    assert_eq!(sandbox.read("root/child"), b"x");
}

#[test]
fn several_images_go_down_one_stream_each_blob_once() {
    let base = demo();
    let registry = Registry::start();
    registry.add("base:1", &base);
    registry.add("ns/child:v2", base.clone().layer(Layer::new().file("child", "x")));
    let sandbox = Sandbox::new();
    let [one, two] = [registry.name("base:1"), registry.name("ns/child:v2")];
    let output = pipeline::sh(&sandbox, &format!("pull {one} {two} > s"));
    output.success();
    let report = check::canonical(&sandbox.read("s")).unwrap();
    assert_eq!(report.names, [one.clone(), two.clone()]);
    assert_eq!(report.blobs.len(), 2 + 2 + 3 + 1);
    assert!(registry.sent_twice("/blobs/").is_empty());
    assert_eq!(output.stderr.matches("Digest: ").count(), 2);
    assert_eq!(check::layout(sandbox.store()).unwrap().names, [one.clone(), two.clone()]);
    let output = pipeline::sh(&sandbox, "unpack root < s");
    assert_one_line(output.fails_with(2), "unpack");
    pipeline::sh(&sandbox, &format!("unpack --image {one} root < s")).success();
    assert_demo(sandbox.path("root"));
    pipeline::sh(&sandbox, &format!("pull {one} {two} | unpack --image {two} child")).success();
    assert_eq!(sandbox.read("child/child"), b"x");
}

#[test]
fn what_is_saved_is_what_was_pulled() {
    let (index, ..) = platforms();
    let registry = Registry::start();
    registry.add("one:1", demo());
    registry.add("two:1", &index);
    let sandbox = Sandbox::new();
    let [one, two] = [registry.name("one:1"), registry.name("two:1")];
    let script = format!("pull --all-platforms {one} {two} > a && save {one} {two} > b && cmp a b");
    pipeline::sh(&sandbox, &script).success();
}

#[test]
fn of_several_names_one_that_is_missing_fails_them_all() {
    let (registry, sandbox, name) = with(demo());
    let missing = registry.name("missing:1");
    let output = pipeline::sh(&sandbox, &format!("pull {name} {missing} | unpack root"));
    assert_eq!(output.fails_with(4).pipe, [3, 4]);
    assert!(names(sandbox.path("")).is_empty());
    assert_eq!(store_index(&sandbox)["manifests"], serde_json::json!([]));
}

#[test]
fn without_a_store_nothing_is_kept() {
    let (_registry, sandbox, name) = with(demo());
    let output = pipeline::sh(&sandbox, &format!("pull --no-store {name} | tee s | unpack root"));
    output.success();
    assert_demo(sandbox.path("root"));
    check::canonical(&sandbox.read("s")).unwrap();
    assert_eq!(line(&output, "Digest: "), format!("Digest: {}", demo().digest()));
    assert!(
        !sandbox.store().join("blobs").read_dir().is_ok_and(|mut dir| dir.any(|_| true))
            || names(sandbox.store().join("blobs/sha256")).is_empty()
    );
    let sandbox = Sandbox::new();
    pipeline::sh(&sandbox, &format!("pull --no-store {name} > s")).success();
    assert!(!sandbox.store().exists());
    assert!(names(sandbox.root().join("tmp")) == [".pipestatus"]);
}

#[test]
fn no_stream_prints_the_digest_and_nothing_else() {
    let (_registry, sandbox, name) = with(demo());
    assert_eq!(store(&sandbox, &name), demo().digest());
    let output =
        pipeline::sh(&sandbox, &format!("d=$(pull -q --no-stream {name}) && echo \"[$d]\""));
    assert_eq!(output.success().out(), format!("[{}]\n", demo().digest()));
    assert_eq!(output.stderr, "");
    // A character device for standard output means the same, whatever its kind.
    let sandbox = Sandbox::new();
    pipeline::sh(&sandbox, &format!("pull {name} > /dev/null")).success();
    assert_eq!(check::layout(sandbox.store()).unwrap().manifests, [demo().digest()]);
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream --no-store {name}"));
    output.fails_with(2);
}

#[test]
fn an_image_is_pulled_by_its_digest() {
    let (registry, sandbox, _) = with(demo());
    let name = format!("{}@{}", registry.name("app"), demo().digest());
    let output = pipeline::sh(&sandbox, &format!("pull {name} | tee s | unpack root"));
    output.success();
    assert_demo(sandbox.path("root"));
    check::canonical(&sandbox.read("s")).unwrap();
    assert_eq!(check::layout(sandbox.store()).unwrap().manifests, [demo().digest()]);
    assert_eq!(line(&output, "Digest: "), format!("Digest: {}", demo().digest()));
    // Another digest is another image, which isn't there.
    let name = format!("{}@{}", registry.name("app"), small("x").digest());
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {name}"));
    assert_one_line(output.fails_with(3), "pull");
}

#[test]
fn a_registry_that_gives_another_image_for_a_digest_is_not_believed() {
    let (registry, sandbox, _) = with(demo());
    let other = small("x").manifest_blob();
    registry.fault(kit::Fault::on("manifests/").body(&other.media_type, other.bytes));
    let name = format!("{}@{}", registry.name("app"), demo().digest());
    let output = pipeline::sh(&sandbox, &format!("pull {name} | unpack root"));
    assert_eq!(output.fails_with(4).pipe, [4, 4]);
    assert!(names(sandbox.path("")).is_empty());
}

/// An index of two platforms with attestations; the demo is the one for arm64.
fn platforms() -> (Index, Image, Image) {
    let amd = small("amd64").platform("linux/amd64");
    let arm = demo().platform("linux/arm64/v8");
    let index = Index::new().image(&amd).image(&arm).attestation(&amd).attestation(&arm);
    (index, amd, arm)
}

#[test]
fn of_an_index_the_platform_is_pulled_and_nothing_else() {
    let (index, amd, arm) = platforms();
    for index in [index.clone(), index.docker()] {
        let (registry, sandbox, name) = with(&index);
        let script = format!("pull --platform linux/arm64 {name} | tee s | unpack root");
        let output = pipeline::sh(&sandbox, &script);
        output.success();
        assert_demo(sandbox.path("root"));
        assert_eq!(line(&output, "Digest: "), format!("Digest: {}", index.digest()));
        let report = check::canonical(&sandbox.read("s")).unwrap();
        assert_eq!(report.manifests, [arm.digest()]);
        for blob in amd.blobs() {
            assert_eq!(registry.bytes_sent(&blob.digest), 0, "{}", blob.media_type);
        }
        let stored = store_index(&sandbox);
        assert_eq!(stored["manifests"][0]["digest"], arm.digest().as_str());
        assert_eq!(stored["manifests"][0]["annotations"]["strata.index"], index.digest().as_str());
        assert_eq!(store(&sandbox, &format!("--platform linux/arm64 {name}")), arm.digest());
        // By the index's digest it is found as well.
        let from = format!("unpack --from {} again", index.digest());
        pipeline::sh(&sandbox, &from).success();
        assert_demo(sandbox.path("again"));
    }
}

#[test]
fn a_platform_that_an_index_lacks_is_not_found() {
    let (index, ..) = platforms();
    let (_registry, sandbox, name) = with(&index);
    for wanted in ["linux/s390x", "unknown/unknown", "windows/amd64"] {
        let output =
            pipeline::sh(&sandbox, &format!("pull --no-stream --platform {wanted} {name}"));
        assert_one_line(output.fails_with(3), "pull");
        assert!(output.stderr.contains("linux/arm64/v8"), "{}", output.stderr);
    }
    let output = pipeline::sh(&sandbox, &format!("pull --platform a/b --all-platforms {name}"));
    output.fails_with(2);
}

#[test]
fn a_platform_is_checked_where_there_is_no_index() {
    let (_registry, sandbox, name) = with(small("x"));
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream --platform linux/arm64 {name}"));
    assert_one_line(output.fails_with(3), "pull");
    store(&sandbox, &format!("--platform linux/amd64 {name}"));
}

#[test]
fn all_platforms_travel_with_their_index() {
    let (index, amd, arm) = platforms();
    let (_registry, sandbox, name) = with(&index);
    let output = pipeline::sh(&sandbox, &format!("pull --all-platforms {name} > s"));
    output.success();
    let report = check::canonical(&sandbox.read("s")).unwrap();
    assert_eq!(report.digests, [index.digest()]);
    assert_eq!(report.manifests, [amd.digest(), arm.digest()]);
    let n_blobs = Content::from(&index).blobs.len();
    assert_eq!(report.blobs.len(), n_blobs, "attestations travel too");
    let report = check::layout(sandbox.store()).unwrap();
    assert_eq!((report.digests, report.blobs.len()), (vec![index.digest()], n_blobs));
    assert_eq!(store(&sandbox, &format!("--all-platforms {name}")), index.digest());
    for (platform, is_demo) in [("linux/amd64", false), ("linux/arm64/v8", true)] {
        pipeline::sh(&sandbox, &format!("unpack --platform {platform} root < s")).success();
        if is_demo {
            assert_demo(sandbox.path("root"));
        } else {
            assert_eq!(sandbox.read("root/etc/motd"), b"amd64");
        }
        fs::remove_dir_all(sandbox.path("root")).unwrap();
        let script = format!("unpack --from {name} --platform {platform} root");
        pipeline::sh(&sandbox, &script).success();
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
}

#[test]
fn indexes_in_an_index_are_looked_into() {
    let (inner, _, arm) = platforms();
    let outer = Index::new().image(&small("s390x").platform("linux/s390x")).nested(&inner);
    let (_registry, sandbox, name) = with(&outer);
    let script = format!("pull --all-platforms {name} > s; unpack --platform linux/s390x root < s");
    pipeline::sh(&sandbox, &script).success();
    assert_eq!(sandbox.read("root/etc/motd"), b"s390x");
    let report = check::canonical(&sandbox.read("s")).unwrap();
    assert!(report.manifests.contains(&arm.digest()));
    pipeline::sh(&sandbox, "unpack --platform linux/arm64 arm < s").success();
    assert_demo(sandbox.path("arm"));
}

#[test]
fn indexes_nested_five_deep_are_fine_for_every_program_and_six_are_neither_pulled_nor_loaded() {
    for (n, status) in [(5, 0), (6, 4)] {
        let mut index = Index::new().image(&small("x"));
        for _ in 1..n {
            index = Index::new().nested(&index);
        }
        let (_registry, sandbox, name) = with(&index);
        for pull in ["pull --no-stream", "pull --no-stream --all-platforms"] {
            let output = pipeline::sh(&sandbox, &format!("{pull} {name}"));
            assert_eq!(output.code(), status, "{n}: {pull}: {}", output.text());
        }
        sandbox.write(
            "in",
            kit::Producer::Strata.write(&[kit::Named::new("docker.io/library/x:1", &index)]),
        );
        let output = pipeline::sh(&sandbox, "load --store other < in");
        assert_eq!(output.code(), status, "{n}: {}", output.text());
        if status == 0 {
            let rest = "unpack root < in && flatten - < in > /dev/null && save --store other x:1 | load --store third && images --store third verify && \
                        unpack --store third --from x:1 again";
            pipeline::sh(&sandbox, rest).success();
        }
    }
}

#[test]
fn an_index_nested_without_end_is_refused() {
    let mut index = Index::new().image(&small("x"));
    for _ in 0..12 {
        index = Index::new().nested(&index);
    }
    let (registry, sandbox, name) = with(&index);
    for words in ["", "--all-platforms"] {
        let output = pipeline::sh(&sandbox, &format!("pull --no-stream {words} {name}"));
        assert_one_line(&output, "pull");
        assert!([3, 4].contains(&output.code()), "{}", output.text());
    }
    assert!(registry.requests().len() < 30);
}

#[test]
fn what_is_in_the_store_is_unpacked_by_name_and_digest() {
    let (registry, sandbox, name) = with(demo());
    let digest = store(&sandbox, &name);
    drop(registry);
    let config = demo().config_blob().digest;
    for from in [name.as_str(), &digest, &config, &digest[7..13], &digest[7..20]] {
        pipeline::sh(&sandbox, &format!("unpack --from {from} root")).success();
        assert_demo(sandbox.path("root"));
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
    let output = pipeline::sh(&sandbox, "unpack --from 0000000 root");
    assert_one_line(output.fails_with(3), "unpack");
    let script = "unpack --from ./store/ root; unpack --from layout:store layout";
    fs::rename(sandbox.store(), sandbox.path("store")).unwrap();
    pipeline::sh(&sandbox, script).success();
    assert_demo(sandbox.path("root"));
    assert_demo(sandbox.path("layout"));
}

#[test]
fn a_name_that_moves_on_leaves_the_old_image_findable() {
    let (registry, sandbox, name) = with(small("old"));
    let old = store(&sandbox, &name);
    registry.add("app:1", small("new"));
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {name}"));
    let status = format!("Status: Downloaded newer image for {name}");
    assert_eq!(line(output.success(), "Status: "), status);
    for (from, expected) in [(&name, "new"), (&old, "old")] {
        pipeline::sh(&sandbox, &format!("unpack --from {from} root")).success();
        assert_eq!(sandbox.read("root/etc/motd"), expected.as_bytes());
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
    assert_eq!(check::layout(sandbox.store()).unwrap().manifests.len(), 2);
}

#[test]
fn a_layer_that_stands_twice_is_fetched_once_and_applied_twice() {
    let layer = Layer::new().file("f", "first");
    let image = Image::new().layer(&layer).layer(Layer::new().whiteout("f")).layer(&layer);
    let (registry, sandbox, name) = with(&image);
    pipeline::sh(&sandbox, &format!("pull {name} | tee s | unpack root")).success();
    assert_eq!(sandbox.read("root/f"), b"first");
    check::canonical(&sandbox.read("s")).unwrap();
    assert!(registry.sent_twice("/blobs/").is_empty());
}

#[test]
fn an_image_without_layers_is_an_empty_directory() {
    let (_registry, sandbox, name) = with(Image::new());
    pipeline::sh(&sandbox, &format!("pull {name} | unpack root")).success();
    assert!(names(sandbox.path("root")).is_empty());
}

#[test]
fn many_layers_arrive_in_order() {
    let layers = 40;
    let image = (0..layers).fold(Image::new(), |image, n| {
        let noise = kit::image::random::Random::new(n).bytes(20_000);
        image.layer(Layer::new().file("top", n.to_string()).file(format!("f{n}"), noise))
    });
    let (registry, sandbox, name) = with(&image);
    for jobs in [1, 3, 64] {
        let script =
            format!("pull --store s{jobs} --jobs {jobs} {name} | tee s | unpack root{jobs}");
        pipeline::sh(&sandbox, &script).success();
        assert_eq!(sandbox.read(&format!("root{jobs}/top")), b"39");
        check::canonical(&sandbox.read("s")).unwrap();
        assert!(registry.sent_twice("/blobs/").is_empty());
        registry.forget();
    }
    for jobs in ["0", "65", "x"] {
        pipeline::sh(&sandbox, &format!("pull --jobs {jobs} {name}")).fails_with(2);
    }
}

#[test]
fn a_large_random_image_is_the_same_by_every_way() {
    let image = random(11, 5, 300);
    let (_registry, sandbox, name) = with(&image);
    let script = format!(
        "pull {name} | unpack a; pull --no-store {name} | unpack b; unpack --from {name} c; \
         pull {name} | gzip | unpack d; pull {name} > s; unpack --from ./s e"
    );
    pipeline::sh(&sandbox, &script).success();
    let a = shown(sandbox.path("a"));
    for other in ["b", "c", "d", "e"] {
        // The root itself has no entry: its time is that of the run.
        let other = shown(sandbox.path(other));
        tree::assert_same(a.split_once('\n').unwrap().1, other.split_once('\n').unwrap().1);
    }
}

#[test]
fn the_store_of_a_plain_user_unpacks_as_well() {
    let device = Layer::new().device("null", Device::Char, 1, 3).file("f", "x");
    let (_registry, sandbox, name) = with(Image::new().layer(device));
    let store = sandbox.path("store");
    let script = format!("pull {name} | unpack root && unpack --from {name} again");
    let script = pipeline::Script::new(&sandbox, &script);
    let script = script.with(|program| program.env("STRATA_STORE", &store));
    let output = script.as_plain_user().run();
    output.success();
    let lines = output.stderr.lines().filter(|line| line.contains("lack of privilege"));
    assert_eq!(lines.filter(|line| line.contains("1 device")).count(), 2, "{}", output.stderr);
    assert_eq!(names(sandbox.path("root")), ["f"]);
    assert_eq!(names(sandbox.path("again")), ["f"]);
    check::layout(&store).unwrap();
}

#[test]
fn a_store_that_cannot_be_made_is_said_with_the_way_round() {
    let (_registry, sandbox, name) = with(demo());
    sandbox.write("file", "x");
    let output = pipeline::sh(&sandbox, &format!("pull --store ./file/store --no-stream {name}"));
    assert_one_line(output.fails_with(1), "pull");
    assert!(output.stderr.contains("hint: pull --no-store"), "{}", output.stderr);
    sandbox.write("other/precious", "x");
    let output = pipeline::sh(&sandbox, &format!("pull --store ./other --no-stream {name}"));
    assert_one_line(&output, "pull");
    assert_ne!(output.code(), 0);
    assert_eq!(names(sandbox.path("other")), ["precious"]);
    // To unpack a stream, no store is needed.
    let stream = pipeline::sh(&sandbox, &format!("pull --no-store {name}")).stdout;
    let output = sandbox.command("unpack").args(["--store", "./file/store", "root"]).input(stream);
    output.run().success();
    assert_demo(sandbox.path("root"));
    assert!(unpack(&sandbox, "").code() != 0);
}
