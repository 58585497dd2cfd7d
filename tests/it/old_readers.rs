//! Archives for readers that take a layer's file for its diff id, and archives that lack platforms (docker/cli#7278).

use kit::pipeline::sh;
use kit::{Codec, Image, Index, Layer, Named, Producer, Sandbox, digest};
use serde_json::{Value, json};

use crate::fixtures::{assert_demo, demo, small};

/// The members of a tar by name.
fn members(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = vec![];
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
    });
    entries.collect()
}

// container-inspector, and scanners of its kind, compare the hash of each layer's file with the config's diff ids.
#[test]
fn uncompressed_layers_are_what_the_config_names() {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("demo:1", demo()), Named::new("small:1", small("x"))]);
    let save = "save --format docker --uncompressed demo:1 small:1";
    let archive = sh(&sandbox, save).success().stdout.clone();
    assert!(archive == sh(&sandbox, save).success().stdout, "the same bytes each time");
    let members = members(&archive);
    let content = |path: &str| &members.iter().find(|(name, _)| name == path).unwrap().1;
    assert!(members.iter().all(|(name, _)| name != "index.json"));
    let manifest: Value = serde_json::from_slice(content("manifest.json")).unwrap();
    for (entry, image) in manifest.as_array().unwrap().iter().zip([demo(), small("x")]) {
        let layers = entry["Layers"].as_array().unwrap();
        let hashes: Vec<_> =
            layers.iter().map(|path| digest(content(path.as_str().unwrap()))).collect();
        assert_eq!(hashes, image.diff_ids());
        assert_eq!(content(entry["Config"].as_str().unwrap()), &image.config_blob().bytes);
    }
    assert_eq!(manifest[0]["RepoTags"], json!(["docker.io/library/demo:1"]));
    sandbox.write("out.tar", &archive);
    sh(&sandbox, "unpack --from ./out.tar --image demo:1 root").success();
    assert_demo(sandbox.path("root"));
    let output = sh(&sandbox, "load --store other out.tar");
    assert_eq!(output.success().out(), "Loaded image: demo:1\nLoaded image: small:1\n");
    // A dry run tells the sizes of what would be written.
    let plan = sh(&sandbox, "save --dry-run --json --format docker --uncompressed small:1");
    let plan: Value = serde_json::from_str(&plan.success().out()).unwrap();
    assert_eq!(plan["blobs"][1]["digest"], *small("x").diff_ids()[0]);
    let size = content(&format!("blobs/sha256/{}", &small("x").diff_ids()[0][7..])).len();
    assert_eq!(plan["blobs"][1]["bytes"], size);
}

#[test]
fn only_the_half_for_docker_can_be_uncompressed() {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("small:1", small("x"))]);
    for line in ["--uncompressed", "--format oci --uncompressed"] {
        sh(&sandbox, &format!("save {line} small:1 > out")).fails_with(2);
    }
    // A layer that isn't what its config says is no layer.
    let wrong = small("x").set_config("/rootfs/diff_ids/0", digest(b"other"));
    sandbox.load(&[Named::new("wrong:1", wrong)]);
    sh(&sandbox, "save --format docker --uncompressed wrong:1 > out").fails_with(4);
}

#[test]
fn platforms_that_an_archive_lacks_are_told_and_the_others_loaded() {
    let image = |platform: &str| {
        let layer = Layer::new().file("platform", platform);
        Image::new().codec(Codec::None).platform(platform).layer(layer)
    };
    let [amd, arm, riscv] = ["linux/amd64", "linux/arm64/v8", "linux/riscv64"].map(image);
    let index = Index::new().absent(&arm).image(&amd).attestation(&amd).absent(&riscv);
    let sandbox = Sandbox::new();
    let named = [Named::new("docker.io/library/app:1", &index)];
    sandbox.write("app.tar", Producer::DockerContainerd.write(&named));
    let output = sh(&sandbox, "load < app.tar");
    assert_eq!(output.success().out(), "Loaded image: app:1\n");
    let warning = "load: warning: app:1: there is linux/amd64, and not linux/arm64/v8, linux/riscv64, \
                   which it lists\n";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
    let json = sh(&sandbox, "load -q --json app.tar");
    let object: Value = serde_json::from_str(&json.success().out()).unwrap();
    assert_eq!(json.stderr, "");
    assert_eq!(object["platforms"], json!(["linux/amd64"]));
    assert_eq!(object["lackingPlatforms"], json!(["linux/arm64/v8", "linux/riscv64"]));
    // Who asks for one has all that was asked for.
    let output = sh(&sandbox, "load --platform linux/amd64 --store other app.tar");
    assert!(!output.success().stderr.contains("warning"), "{}", output.stderr);
    let whole = Index::new().image(&amd).image(&arm);
    let named = [Named::new("docker.io/library/app:2", &whole)];
    sandbox.write("whole.tar", Producer::Strata.write(&named));
    assert!(!sh(&sandbox, "load whole.tar").success().stderr.contains("warning"));
}
