//! What is no root file system: Helm charts, ORAS' files, wasm, signatures, attestations, encrypted layers, EROFS. All of it
//! passes as it is, and whoever needs files says what it is.

use kit::image::Content;
use kit::{Blob, Codec, Image, Index, Layer, Registry, Sandbox, pipeline};
use serde_json::{Value, json};

use crate::fixtures::{assert_one_line, demo, lacks_root, small};

const IMAGE: &str = "application/vnd.oci.image.config.v1+json";

/// An artifact: its config's type and content, and the type of its one layer.
fn artifact(config_type: &str, config: &str, layer_type: &str) -> Content {
    let config = Blob::new(config_type, config.as_bytes().to_vec());
    let image = Image::new()
        .codec(Codec::None)
        .layer(format!("content of {layer_type}").as_str())
        .set_manifest("/config", config.descriptor())
        .set_manifest("/layers/0/mediaType", layer_type);
    let mut content = Content::from(&image);
    content.blobs.push(config);
    content
}

/// What people keep in registries besides images, each with what is said of it where files are wanted.
fn artifacts() -> Vec<(&'static str, Content, String)> {
    let empty = "application/vnd.oci.empty.v1+json";
    let helm = "application/vnd.cncf.helm.config.v1+json";
    let wasm = "application/vnd.wasm.config.v0+json";
    let chart = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    let oras = "application/vnd.unknown.config.v1+json";
    let cosign = "application/vnd.dev.cosign.simplesigning.v1+json";
    let no_image =
        |kind: &str| format!("a \"{kind}\": this is no container image and has no files");
    let no_tar = |kind: &str| format!("a layer of type \"{kind}\": it is no tar of files");
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    let erofs = "application/vnd.erofs.layer.v1";
    let as_image = |kind: &str| {
        let image = Image::new().layer(Layer::new().file("a", "a"));
        Content::from(&image.set_manifest("/layers/0/mediaType", kind))
    };
    vec![
        ("helm", artifact(helm, r#"{"name":"chart","version":"1"}"#, chart), no_image(helm)),
        ("oras", artifact(oras, "{}", "text/plain"), no_image(oras)),
        ("empty", artifact(empty, "{}", "application/spdx+json"), no_image(empty)),
        ("wasm", artifact(wasm, r#"{"os":"wasip1"}"#, "application/wasm"), no_image(wasm)),
        // Older tools call any config an image's.
        (
            "old-wasm",
            artifact(IMAGE, "{}", "application/vnd.wasm.content.layer.v1+wasm"),
            no_tar("application/vnd.wasm.content.layer.v1+wasm"),
        ),
        ("cosign", artifact(IMAGE, r#"{"rootfs":{"type":"layers"}}"#, cosign), no_tar(cosign)),
        (
            "no-rootfs",
            artifact(
                IMAGE,
                r#"{"os":"linux","architecture":"amd64"}"#,
                "application/vnd.oci.image.layer.v1.tar",
            ),
            ": the numbers of layers and of diff_ids differ".to_owned(),
        ),
        (
            "encrypted",
            as_image(encrypted),
            format!("a layer of type \"{encrypted}\": it is encrypted, and there is no key for it"),
        ),
        ("erofs", as_image(erofs), no_tar(erofs)),
    ]
}

fn digest_of(content: &Content) -> String {
    let registry = Registry::start();
    registry.add("x:1", content);
    kit::digest(&registry.manifest("x:1").unwrap())
}

/// Checks that a repository has the very same.
#[track_caller]
fn is_in(to: &Registry, repository: &str, kind: &str, content: &Content) {
    let manifest = to.manifest(&format!("{repository}:1")).unwrap_or_default();
    assert_eq!(kit::digest(&manifest), digest_of(content), "{kind}");
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    for part in layers.iter().chain([&manifest["config"]]) {
        assert!(to.blob(repository, part["digest"].as_str().unwrap()).is_some(), "{kind}");
    }
}

#[test]
fn what_has_no_platform_is_saved_for_any() {
    let (from, sandbox) = (Registry::start(), Sandbox::new());
    // Some are images to those who look at types alone.
    for (kind, content, _) in artifacts().into_iter().filter(|(kind, ..)| *kind == "helm") {
        let name = from.name(&format!("{kind}:1"));
        from.add(&format!("{kind}:1"), &content);
        let script = format!(
            "pull -q --no-stream {name} && save {name} > s.tar && save --platform linux/s390x {name} | cmp - s.tar"
        );
        let output = pipeline::sh(&sandbox, &script);
        assert_eq!(output.code(), 0, "{kind}: {}", output.text());
    }
}

#[test]
fn artifacts_pass_through_every_program_byte_for_byte() {
    let (from, to, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    for (kind, content, _) in artifacts() {
        let name = from.name(&format!("{kind}:1"));
        from.add(&format!("{kind}:1"), &content);
        let there = |repository: &str| to.name(&format!("{kind}-{repository}:1"));
        let script = format!(
            "pull --no-stream {name} && push -q {name} {} && save {name} > s.tar && \
             load -q --store other s.tar && push -q --store other {name} {} && \
             push -q - {} < s.tar && pull --no-store {name} | push -q - {} && \
             pull --no-store --all-platforms {name} | cmp - s.tar",
            there("stored"),
            there("loaded"),
            there("archive"),
            there("piped")
        );
        let output = pipeline::sh(&sandbox, &script);
        assert_eq!(output.code(), 0, "{kind}: {}", output.text());
        for repository in ["stored", "loaded", "archive", "piped"] {
            is_in(&to, &format!("{kind}-{repository}"), kind, &content);
        }
    }
    pipeline::sh(&sandbox, "images verify && images verify --store other").success();
}

/// Checks that the scripts of a program end with one line that says what each artifact is. `NAME` is in the store, and
/// `s.tar` holds the same.
#[track_caller]
fn check_told(program: &str, scripts: &[&str]) {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    for (kind, content, told) in artifacts() {
        let name = registry.name(&format!("{kind}:1"));
        registry.add(&format!("{kind}:1"), &content);
        pipeline::sh(&sandbox, &format!("pull -q {name} > s.tar")).success();
        for script in scripts {
            let output = pipeline::sh(&sandbox, &script.replace("NAME", &name));
            assert!(matches!(output.code(), 1 | 4), "{kind} {script}: {}", output.text());
            assert_one_line(&output, program);
            assert!(output.stderr.contains(&told), "{kind} {script}: {}", output.stderr);
        }
    }
}

#[test]
fn whoever_needs_files_says_what_it_is() {
    check_told("unpack", &["unpack -q --from NAME dir", "unpack -q dir < s.tar"]);
    check_told("flatten", &["flatten -q NAME | cat", "flatten -q ./s.tar | cat"]);
    check_told("inspect", &["inspect NAME", "inspect --files - < s.tar"]);
}

#[test]
fn as_root_a_union_says_what_it_is() {
    if lacks_root() {
        return;
    }
    check_told("union", &["mkdir -p at; union -q NAME at"]);
}

#[test]
fn of_an_index_the_image_that_has_files_is_taken() {
    // EROFS first, as containerd 2.4, apko and nerdctl write it; all of it is passed on.
    let (registry, to, sandbox) = (Registry::start(), Registry::start(), Sandbox::new());
    let erofs =
        small("erofs").set_manifest("/layers/0/mediaType", "application/vnd.erofs.layer.v1");
    let index = Index::new().image(&erofs).image(&demo());
    let index = index.set("/manifests/0/platform/os.features", json!(["erofs"]));
    registry.add("app:1", &index);
    let name = registry.name("app:1");
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {name}"));
    assert_eq!(output.success().out(), format!("{}\n", demo().digest()));
    let there = to.name("copy:1");
    let script = format!(
        "pull --no-stream --all-platforms {name} && save {name} | load -q --store other && \
         push -q --store other {name} {there} && unpack -q --from {name} dir && \
         pull --no-store -q {name} | unpack -q again"
    );
    pipeline::sh(&sandbox, &script).success();
    assert_eq!(to.manifest("copy:1").map(|raw| kit::digest(&raw)), Some(index.digest()));
}

#[test]
fn of_equal_images_the_one_that_is_marked_as_zstd_is_taken() {
    // As podman takes it; older dockers take the first.
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let layer = || Layer::new().file("a", "a");
    let [gzip, zstd] = [Codec::GZIP, Codec::ZSTD].map(|it| Image::new().codec(it).layer(layer()));
    let marked = json!({ "io.github.containers.compression.zstd": "true" });
    let index = Index::new().image(&gzip).image(&zstd).set("/manifests/1/annotations", marked);
    registry.add("app:1", &index);
    let name = registry.name("app:1");
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {name}"));
    assert_eq!(output.success().out(), format!("{}\n", zstd.digest()));
    // A digest pins.
    let pinned = format!("{}@{}", registry.name("app"), gzip.digest());
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {pinned}"));
    assert_eq!(output.success().out(), format!("{}\n", gzip.digest()));
}

#[test]
fn blobs_named_by_another_hash_are_refused_before_anything_is_stored() {
    let long = format!("sha512:{}", "ab".repeat(64));
    for part in ["/layers/0/digest", "/config/digest"] {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        registry.add("app:1", small("a").set_manifest(part, long.as_str()));
        let name = registry.name("app:1");
        for words in ["--no-stream", "--no-store", "--no-stream --all-platforms"] {
            let output = pipeline::sh(&sandbox, &format!("pull {words} {name} > out"));
            assert_one_line(output.fails_with(1), "pull");
            let told = "sha512:abababababab…: only SHA-256 is supported";
            assert!(output.stderr.contains(told), "{}", output.stderr);
            assert_eq!(sandbox.read("out"), b"");
        }
        let asked: Vec<_> = registry.requests().into_iter().map(|it| it.path).collect();
        assert!(asked.iter().all(|path| path.ends_with("/manifests/1")), "{asked:?}");
        assert_eq!(pipeline::sh(&sandbox, "images digests | wc -l").out().trim(), "0");
    }
}

#[test]
fn the_manifest_of_an_artifact_is_printed_as_it_is() {
    for (name, content, _) in artifacts() {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        registry.add("x:1", content.clone());
        let image = registry.name("x:1");
        let script = format!("pull --no-stream {image} > pulled; inspect --raw {image}");
        let output = pipeline::sh(&sandbox, &script);
        assert_eq!(kit::digest(&output.success().stdout), content.digest(), "{name}");
    }
}
