//! Offline transfer, end to end: registries, `save` and `load`, through real pipes, between several stores.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use kit::archive::layout;
use kit::check;
use kit::image::random::random;
use kit::pipeline::sh;
use kit::{Image, Index, Layer, Named, Producer, Registry, Sandbox, Shape};

use crate::fixtures::files;

const NAME: &str = "docker.io/library/app:1";

fn base() -> Image {
    Image::new().layer(Layer::new().dir("etc", 0o755).file("etc/motd", "base\n").tar())
}

fn app() -> Image {
    base().layer(Layer::new().file("app", "version 1\n").tar()).cmd(&["/app"])
}

/// A sandbox whose usual store holds these images.
fn sandbox(images: &[Named]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(images);
    sandbox
}

#[test]
fn what_is_saved_is_loaded_and_saved_the_same() {
    let sandbox = sandbox(&[Named::new(NAME, app())]);
    sh(
        &sandbox,
        "save app:1 > a.tar; save app:1 | load --store other && save --store other app:1 -o b.tar",
    )
    .success();
    let saved = sandbox.read("a.tar");
    assert_eq!(check::canonical(&saved).unwrap().digests, [app().digest()]);
    assert!(saved == sandbox.read("b.tar"));
    assert!(sh(&sandbox, "save app:1").success().stdout == saved);
    let loaded = check::layout(sandbox.path("other")).unwrap();
    assert_eq!((loaded.names, loaded.digests), (vec![NAME.to_owned()], vec![app().digest()]));
}

#[test]
fn every_name_digest_and_platform_comes_back() {
    let redis = base().layer(Layer::new().file("redis", "r\n").tar()).cmd(&["/redis"]);
    let both = Index::new()
        .image(&app().platform("linux/amd64"))
        .image(&app().platform("linux/arm64"))
        .attestation(&app().platform("linux/amd64"));
    let sandbox = sandbox(&[
        Named::new(NAME, app()),
        Named::new("docker.io/library/app:latest", app()),
        Named::new("ghcr.io/a/redis:7", &redis),
        Named::new("docker.io/library/both:1", &both),
    ]);
    let script = "save both:1 app:1 ghcr.io/a/redis:7 app > a.tar
        load --store other a.tar && save --store other both:1 app:1 ghcr.io/a/redis:7 app > b.tar";
    let output = sh(&sandbox, script);
    let expected = "Loaded image: both:1\nLoaded image: app:1\nLoaded image: ghcr.io/a/redis:7\n\
                    Loaded image: app:latest\n";
    assert_eq!(output.success().out(), expected);
    let saved = sandbox.read("a.tar");
    assert!(saved == sandbox.read("b.tar"));
    let report = check::canonical(&saved).unwrap();
    let digests = [both.digest(), app().digest(), redis.digest(), app().digest()];
    assert_eq!(report.digests, digests);
    let blobs: BTreeSet<_> = report.blobs.iter().collect();
    assert_eq!(blobs.len(), report.blobs.len(), "each blob once");
    let loaded = check::layout(sandbox.path("other")).unwrap();
    assert_eq!(loaded.digests, digests);
    assert!(loaded.orphans.is_empty() && loaded.absent.is_empty());
}

#[test]
fn every_producer_s_archive_is_loaded_with_its_digests() {
    let images = [Named::new(NAME, app())];
    for producer in Producer::ALL {
        for shape in [Shape::PLAIN, Shape { prefix: "./", outer: kit::Codec::GZIP, ..Shape::PLAIN }]
        {
            let sandbox = Sandbox::new();
            let archive = producer.write_as(&images, &shape);
            let expected = check::stream(&archive).unwrap();
            let output = sandbox.command("load").input(archive.clone()).run();
            // A tag alone is no name.
            let is_named = producer != Producer::SkopeoOci;
            let unnamed = format!("Loaded image ID: {}\n", app().digest());
            let said = if is_named { "Loaded image: app:1\n" } else { &unnamed };
            assert_eq!(output.success().out(), said, "{producer:?}");
            let found = check::layout(sandbox.store()).unwrap();
            assert_eq!(found.diff_ids, expected.diff_ids, "{producer:?}");
            assert_eq!(found.names.contains(&NAME.to_owned()), is_named);
            assert!(found.orphans.is_empty(), "{producer:?}: {:?}", found.orphans);
            if !expected.manifests.is_empty() {
                assert_eq!(found.manifests, expected.manifests, "{producer:?}");
            }
            // The same from a file, and what was made is made the same again.
            sandbox.write("a.tar", archive);
            sh(&sandbox, "load --store again a.tar").success();
            assert_eq!(check::layout(sandbox.path("again")).unwrap(), found);
        }
    }
}

#[test]
fn a_thin_stream_needs_its_base_and_says_so() {
    let sandbox =
        sandbox(&[Named::new("docker.io/library/base:1", base()), Named::new(NAME, app())]);
    let thin = sh(&sandbox, "save app:1 --base base:1").success().stdout.clone();
    let left_out = base().layer_blobs()[0].descriptor()["digest"].as_str().unwrap().to_owned();
    let report = check::canonical(&thin).unwrap();
    assert_eq!(report.absent, std::slice::from_ref(&left_out));
    sandbox.write("thin.tar", &thin);
    let refused = sh(&sandbox, "load -q --store other < thin.tar");
    let expected = format!(
        "load: a thin stream, and the store lacks what it leaves out: {left_out}\n\
         hint: pull docker.io/library/base:1\n"
    );
    assert_eq!((refused.code(), &refused.stderr), (3, &expected));
    assert!(check::layout(sandbox.path("other")).unwrap().names.is_empty());
    sh(&sandbox, "save base:1 | load --store other && load --store other thin.tar").success();
    sh(&sandbox, "save app:1 > a.tar; save --store other app:1 | cmp - a.tar").success();
    let loaded = check::layout(sandbox.path("other")).unwrap();
    assert_eq!(loaded.digests, [base().digest(), app().digest()]);
}

#[test]
fn who_reads_a_thin_stream_without_its_base_says_so() {
    let sandbox =
        sandbox(&[Named::new("docker.io/library/base:1", base()), Named::new(NAME, app())]);
    sh(&sandbox, "save app:1 --base base:1 > thin.tar").success();
    let digest = base().layer_blobs()[0].descriptor()["digest"].as_str().unwrap().to_owned();
    let hash = digest.strip_prefix("sha256:").unwrap();
    for line in [
        "cat thin.tar | flatten -q --store other -",
        "flatten -q --store other - < thin.tar",
        "flatten -q --store other ./thin.tar",
        "cat thin.tar | flatten -q --no-store --as-image flat -",
        "cat thin.tar | changes -q --store other - dir:.",
        "changes -q --store other dir:. - < thin.tar",
        "changes -q --store other layer:thin.tar ./thin.tar",
    ] {
        let refused = sh(&sandbox, line);
        let program = if line.contains("flatten") { "flatten" } else { "changes" };
        let expected = format!(
            "{program}: layer 1 of 2 (sha256:{}): blobs/sha256/{hash} (a thin stream leaves out what its base has): \
             not in this archive\nhint: load it into a store that has its base, and take it from there\n",
            &hash[..12]
        );
        assert_eq!((refused.code(), &refused.stderr), (3, &expected), "{line}");
        assert!(!refused.stdout.ends_with(&[0; 1024]), "{line}");
    }
}

#[test]
fn every_blob_that_is_lacking_is_named() {
    let many = (0..60).fold(Image::new(), |image, n| {
        image.layer(Layer::new().file(format!("file {n}"), n.to_string()).tar())
    });
    let top = many.clone().layer(Layer::new().file("top", "").tar()).cmd(&["/top"]);
    let sandbox = sandbox(&[Named::new("docker.io/library/many:1", &many), Named::new(NAME, &top)]);
    let refused = sh(&sandbox, "save -q app:1 --base many:1 | load -q --store other");
    let digests: Vec<_> = many.layer_blobs().into_iter().map(|blob| blob.digest).collect();
    let expected = format!(
        "load: a thin stream, and the store lacks what it leaves out: {}\n\
         hint: pull docker.io/library/many:1\n",
        digests.join(", ")
    );
    assert_eq!((refused.pipe, refused.stderr), (vec![0, 3], expected));
}

#[test]
fn only_what_is_new_goes_over_the_wire() {
    let big = random(7, 10, 40);
    let new = Layer::new().file("new", random(8, 1, 40).layer_blobs()[0].bytes.as_slice());
    let updated = big.clone().layer(new.tar());
    let sandbox =
        sandbox(&[Named::new(NAME, &big), Named::new("docker.io/library/app:2", &updated)]);
    let wire =
        "images digests --store other | save app:2 --have - | tee wire.tar | load --store other";
    // The receiver has nothing, so all of it travels.
    sh(&sandbox, wire).success();
    sh(&sandbox, "save app:2 | cmp - wire.tar && rm -r other && save app:1 | load --store other")
        .success();
    sh(&sandbox, wire).success();
    let (before, sent) = (big.layer_blobs(), sandbox.read("wire.tar"));
    let is_new = |blob: &kit::Blob| before.iter().all(|old| old.digest != blob.digest);
    let new: usize =
        updated.blobs().iter().filter(|blob| is_new(blob)).map(|blob| blob.bytes.len()).sum();
    assert!(sent.len() < new + (16 << 10), "{} bytes for {new} new ones", sent.len());
    assert_eq!(check::canonical(&sent).unwrap().absent.len(), 10);
    sh(&sandbox, "save --store other app:2 > b.tar; save app:2 | cmp - b.tar").success();
    // Now it has all of it, and only what describes the image travels.
    sh(&sandbox, wire).success();
    assert!(sandbox.read("wire.tar").len() < 16 << 10);
}

#[test]
fn what_the_receiver_has_may_be_told_by_diff_ids() {
    let big = random(7, 10, 4);
    let updated = big.clone().layer(Layer::new().file("new", "n").tar());
    let sandbox =
        sandbox(&[Named::new(NAME, &big), Named::new("docker.io/library/app:2", &updated)]);
    sh(&sandbox, "save app:1 | load --store other").success();
    sandbox.write("have", big.diff_ids().join("\n"));
    let script = "save app:2 --have have | tee thin.tar | load --json --store other";
    let output = sh(&sandbox, script);
    assert!(output.success().out().contains(r#""name":"docker.io/library/app:2""#));
    assert_eq!(check::canonical(&sandbox.read("thin.tar")).unwrap().absent.len(), 10);
    // Those that know layers by diff ids know them as a stack: nothing above a gap stays behind.
    sandbox.write("have", big.diff_ids()[1..].join("\n"));
    sh(&sandbox, "save app:2 --have have > thin.tar").success();
    check::stream(&sandbox.read("thin.tar")).unwrap();
    sandbox.write("have", "sha256:nonsense\n");
    let refused = sh(&sandbox, "save -q app:2 --have have > refused.tar");
    assert_eq!(refused.code(), 4, "{}", refused.text());
}

#[test]
fn from_a_registry_through_two_stores_the_digests_stay() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let both =
        Index::new().image(&app().platform("linux/amd64")).image(&base().platform("linux/arm64"));
    registry.add("one:1", app());
    registry.add("old:1", base().docker());
    registry.add("both:1", &both);
    let names = ["one:1", "old:1", "both:1"].map(|name| registry.name(name));
    let script = format!(
        "pull --no-stream --all-platforms {names} && save {names} | tee a.tar | load --store other
         save --store other {names} | tee b.tar | load --store third
         cmp a.tar b.tar && save --store third {names} | cmp - a.tar",
        names = names.join(" ")
    );
    sh(&sandbox, &script).success();
    let report = check::canonical(&sandbox.read("b.tar")).unwrap();
    assert_eq!(report.digests, [app().digest(), base().docker().digest(), both.digest()]);
}

#[test]
fn a_stream_is_not_for_a_terminal() {
    let sandbox = sandbox(&[Named::new(NAME, app())]);
    let output = sh(&sandbox, "script -qec 'save app:1' /dev/null");
    assert_eq!(output.code(), 2, "{}", output.text());
    // Each line clears the rest of its row.
    let expected = "save: standard output is a terminal, not for a binary stream\x1b[K\r\nhint: ";
    assert!(output.out().starts_with(expected), "{:?}", output.out());
    // A file is none, wherever the talk goes.
    sh(&sandbox, "script -qec 'save app:1 -o a.tar' /dev/null; save app:1 | cmp - a.tar").success();
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let sandbox = sandbox(&[Named::new(NAME, app())]);
    let missing = sh(&sandbox, "save -q nope -o out.tar");
    assert_eq!(
        (missing.code(), missing.stderr.as_str()),
        (3, "save: nope: not in the store\nhint: pull nope\n")
    );
    sh(&sandbox, "save app:1 -o out.tar").success();
    let layer = app().layer_blobs()[1].hex().to_owned();
    fs::write(sandbox.store().join("blobs/sha256").join(layer), "short").unwrap();
    let before = sandbox.read("out.tar");
    assert_eq!(sh(&sandbox, "save -q app:1 -o out.tar").code(), 3);
    assert!(sandbox.read("out.tar") == before);
    let is_part = |path: &PathBuf| path.display().to_string().contains(".part-");
    assert_eq!(files(sandbox.root()).iter().filter(|path| is_part(path)).count(), 0);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let sandbox = sandbox(&[Named::new(NAME, random(3, 2, 400))]);
    let output = sh(&sandbox, "save -q app:1 | true");
    assert_eq!((output.pipe[0], output.stderr.as_str()), (141, ""));
}

#[test]
fn a_platform_is_chosen_from_an_index() {
    let both =
        Index::new().image(&app().platform("linux/amd64")).image(&base().platform("linux/arm64"));
    let sandbox = sandbox(&[Named::new(NAME, &both)]);
    sh(&sandbox, "save app:1 | load --platform linux/arm64 --store arm").success();
    let arm = check::layout(sandbox.path("arm")).unwrap();
    assert_eq!(arm.digests, [base().platform("linux/arm64").digest()]);
    assert!(arm.orphans.iter().all(|it| *it == both.digest()
        || app().platform("linux/amd64").blobs().iter().any(|blob| it.ends_with(blob.hex()))));
    sh(&sandbox, "save app:1 --platform linux/arm64 | tee arm.tar | load --store index").success();
    let index = check::partial(&sandbox.read("arm.tar")).unwrap();
    assert_eq!((index.digests, index.manifests.len()), (vec![both.digest()], 1));
    // One that isn't there is told, whatever else there is.
    for (script, missing) in [
        ("app:1 --platform linux/s390x", "linux/s390x"),
        ("app:1 --platform linux/arm64 --platform linux/s390x", "linux/s390x"),
        ("app:1 --store index --platform linux/arm64 --platform linux/amd64", "linux/amd64"),
    ] {
        let output = sh(&sandbox, &format!("save -q {script} > no.tar"));
        output.fails_with(3);
        let text = format!("app:1: no image for platform {missing}; there is ");
        assert!(output.stderr.contains(&text), "{}", output.text());
    }
}

#[test]
fn several_platforms_may_come_from_several_images() {
    let image = |platform: &str| app().platform(platform);
    let (amd, arm) = (image("linux/amd64"), image("linux/arm64"));
    let sandbox = sandbox(&[
        Named::new("docker.io/library/amd:1", &amd),
        Named::new("docker.io/library/arm:1", &arm),
    ]);
    let both = "--platform linux/amd64 --platform linux/arm64";
    sh(&sandbox, &format!("save -q amd:1 arm:1 {both} > both.tar")).success();
    let mut digests = check::stream(&sandbox.read("both.tar")).unwrap().digests;
    digests.sort();
    let mut expected = vec![amd.digest(), arm.digest()];
    expected.sort();
    assert_eq!(digests, expected);
    let output = sh(&sandbox, &format!("save -q amd:1 {both} > no.tar"));
    assert!(output.fails_with(3).stderr.contains("linux/arm64; there is linux/amd64"));
}

#[test]
fn halves_are_what_other_tools_write() {
    let sandbox = sandbox(&[Named::new(NAME, app())]);
    sh(&sandbox, "save app:1 --format docker > docker.tar; save app:1 --format oci > oci.tar")
        .success();
    let docker = check::stream(&sandbox.read("docker.tar")).unwrap();
    assert!(docker.members.iter().all(|it| it != "index.json" && it != "strata.json"));
    let oci = check::stream(&sandbox.read("oci.tar")).unwrap();
    assert!(oci.members.iter().all(|it| it != "manifest.json"));
    sh(
        &sandbox,
        "load --store other oci.tar && save --store other app:1 > a.tar; save app:1 | cmp - a.tar",
    )
    .success();
    sh(&sandbox, "load --store third docker.tar").success();
    assert_eq!(check::layout(sandbox.path("third")).unwrap().diff_ids, app().diff_ids());
}

#[test]
fn a_layout_is_loaded_and_a_store_is_one() {
    let sandbox = Sandbox::new();
    layout(sandbox.path("layout"), &[Named::new(NAME, app())]);
    sh(&sandbox, "load layout && load --store other $STRATA_STORE").success();
    let loaded = check::layout(sandbox.path("other")).unwrap();
    assert_eq!((loaded.names, loaded.digests), (vec![NAME.to_owned()], vec![app().digest()]));
}
