//! Signatures, SBOMs and attestations: they come with their image, stay with it, and are restored where it goes.

use std::collections::BTreeSet;

use kit::{Codec, Fault, Image, Index, Output, Registry, Sandbox, pipeline};
use layer_format::{Algorithm, Hasher};
use serde_json::{Value, json};

use crate::fixtures::demo;

/// An artifact that refers to a manifest.
fn about(subject: &Image, text: &str) -> Image {
    let descriptor = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": subject.digest(),
        "size": subject.manifest_blob().bytes.len(),
    });
    Image::new()
        .codec(Codec::None)
        .layer(text)
        .set_manifest("/subject", descriptor)
        .set_manifest("/artifactType", "application/vnd.test.statement")
        .set_manifest("/layers/0/mediaType", "text/plain")
        .set_manifest("/config/mediaType", "application/vnd.oci.empty.v1+json")
}

/// What cosign makes of an image: the config of one, and no files.
fn signature() -> Image {
    let signature = Image::new().codec(Codec::None).layer("{\"critical\":{}}");
    signature
        .set_manifest("/layers/0/mediaType", "application/vnd.dev.cosign.simplesigning.v1+json")
}

/// `sha256-…`.
fn tag(image: &Image) -> String {
    image.digest().replace(':', "-")
}

/// An image with three referrers, one of which has its own; and cosign's signature.
struct Signed {
    image: Image,
    direct: Vec<Image>,
    indirect: Image,
    signature: Image,
}

impl Signed {
    fn new() -> Self {
        let image = demo();
        let direct: Vec<_> =
            ["sbom", "provenance", "scan"].iter().map(|text| about(&image, text)).collect();
        let indirect = about(&direct[0], "who signed the sbom");
        Self { image, direct, indirect, signature: signature() }
    }

    /// Puts all of it into a registry; where that has no API, with the tags that stand in for it.
    fn add(&self, registry: &Registry, has_api: bool) {
        registry.add("app:1", &self.image);
        registry.add(&format!("app:{}.sig", tag(&self.image)), &self.signature);
        if has_api {
            for (position, it) in self.direct.iter().chain([&self.indirect]).enumerate() {
                registry.add(&format!("app:any{position}"), it);
            }
            return;
        }
        let list = self.direct.iter().fold(Index::new(), Index::image);
        registry.add(&format!("app:{}", tag(&self.image)), &list);
        let list = Index::new().image(&self.indirect);
        registry.add(&format!("app:{}", tag(&self.direct[0])), &list);
    }

    /// Checks that a repository has all of it.
    #[track_caller]
    fn is_in(&self, registry: &Registry, repository: &str, has_api: bool) {
        let here = |name: String| registry.manifest(&name).map(|raw| kit::digest(&raw));
        let signature = format!("{repository}:{}.sig", tag(&self.image));
        assert_eq!(here(signature).as_ref(), Some(&self.signature.digest()));
        assert_eq!(here(format!("{repository}:1")), Some(self.image.digest()));
        for it in self.direct.iter().chain([&self.indirect]) {
            assert!(registry.manifest(&format!("{repository}@{}", it.digest())).is_some());
            for layer in it.layer_blobs() {
                assert!(registry.blob(repository, &layer.digest).is_some());
            }
        }
        let direct: BTreeSet<_> = self.direct.iter().map(Image::digest).collect();
        let indirect = BTreeSet::from([self.indirect.digest()]);
        let (none, is_tagged) = (BTreeSet::new(), !has_api);
        let listed = listed(registry, &format!("{repository}:{}", tag(&self.image)));
        assert_eq!(listed, if is_tagged { &direct } else { &none }.clone());
        let listed = self::listed(registry, &format!("{repository}:{}", tag(&self.direct[0])));
        assert_eq!(listed, if is_tagged { &indirect } else { &none }.clone());
    }
}

/// The digests in an index.
fn listed(registry: &Registry, name: &str) -> BTreeSet<String> {
    let Some(raw) = registry.manifest(name) else { return BTreeSet::new() };
    let index: Value = serde_json::from_slice(&raw).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    assert!(entries.iter().all(|entry| entry["size"].is_u64()), "{index}");
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

fn start(has_api: bool) -> Registry {
    if has_api { Registry::with_referrers() } else { Registry::start() }
}

#[track_caller]
fn success(sandbox: &Sandbox, script: &str) -> Output {
    let output = pipeline::sh(sandbox, script);
    output.success();
    output
}

#[test]
fn a_stream_takes_them_from_registry_to_registry() {
    let signed = Signed::new();
    for (from_api, to_api) in [(true, true), (true, false), (false, true), (false, false)] {
        let (from, to, sandbox) = (start(from_api), start(to_api), Sandbox::new());
        signed.add(&from, from_api);
        let (name, there) = (from.name("app:1"), to.name("copy:1"));
        let script = format!("pull --no-store --referrers {name} | push - {there}");
        let output = success(&sandbox, &script);
        assert_eq!(output.out(), format!("{}@{}\n", to.name("copy"), signed.image.digest()));
        signed.is_in(&to, "copy", to_api);
    }
}

#[test]
fn the_store_keeps_them_and_push_restores_them() {
    let signed = Signed::new();
    for has_api in [true, false] {
        let (from, to) = (start(has_api), start(has_api));
        let (sandbox, other) = (Sandbox::new(), Sandbox::new());
        signed.add(&from, has_api);
        let name = from.name("app:1");
        let output = success(&sandbox, &format!("pull --no-stream --referrers {name}"));
        assert_eq!(output.out(), format!("{}\n", signed.image.digest()));
        let saved = success(&sandbox, &format!("save --referrers {name}")).stdout;
        pipeline::Script::new(&other, "load").input(saved).run().success();
        for sandbox in [&sandbox, &other] {
            let there = to.name("copy:1");
            // Nobody asked for them.
            success(sandbox, &format!("push {name} {}", to.name("bare:1")));
            assert_eq!(to.tags("bare"), ["1"]);
            let output = success(sandbox, &format!("push --referrers {name} {there}"));
            assert_eq!(output.out(), format!("{}@{}\n", to.name("copy"), signed.image.digest()));
            signed.is_in(&to, "copy", has_api);
        }
    }
}

#[test]
fn they_are_never_taken_for_the_image() {
    let signed = Signed::new();
    for has_api in [true, false] {
        let (registry, sandbox) = (start(has_api), Sandbox::new());
        signed.add(&registry, has_api);
        let name = registry.name("app:1");
        success(&sandbox, &format!("pull --referrers {name} | tee stream | unpack tree"));
        success(&sandbox, &format!("pull {name} | unpack plain"));
        let list = |tree: &str| format!("find {tree} -printf '%P %y %m\\n' | sort");
        assert!(
            success(&sandbox, &list("tree")).stdout == success(&sandbox, &list("plain")).stdout
        );
        // Docker's list names the image alone.
        let output = success(&sandbox, "tar -xOf stream manifest.json");
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
        assert_eq!(list[0]["RepoTags"][0], name);
        // The stored stream is the one that was pulled.
        success(&sandbox, &format!("save --referrers {name} | tar -tf - > a; tar -tf stream > b"));
        success(&sandbox, "sort a > c; sort b | diff c -");
    }
}

#[test]
fn the_list_that_is_there_grows() {
    let (from, to, sandbox) = (Registry::with_referrers(), Registry::start(), Sandbox::new());
    let signed = Signed::new();
    signed.add(&from, true);
    let older = about(&signed.image, "older");
    let list = format!("copy:{}", tag(&signed.image));
    to.add(&list, Index::new().image(&older).image(&signed.direct[1]));
    let script = format!(
        "pull --no-store --referrers {} | push - {}",
        from.name("app:1"),
        to.name("copy:1")
    );
    success(&sandbox, &script);
    let mut expected: BTreeSet<_> = signed.direct.iter().map(Image::digest).collect();
    expected.insert(older.digest());
    assert_eq!(listed(&to, &list), expected);
    // Once more changes nothing.
    let before = to.manifest(&list);
    success(&sandbox, &script);
    assert_eq!(to.manifest(&list), before);
}

#[test]
fn an_image_without_any_is_just_pulled() {
    for has_api in [true, false] {
        let (registry, sandbox) = (start(has_api), Sandbox::new());
        registry.add("app:1", demo());
        let name = registry.name("app:1");
        success(&sandbox, &format!("pull --no-store --referrers {name} > a"));
        success(&sandbox, &format!("pull --no-store {name} | cmp - a"));
    }
}

#[test]
fn a_referrer_that_is_missing_is_told() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let signed = Signed::new();
    signed.add(&registry, false);
    registry.remove("app", &signed.direct[1].digest());
    let name = registry.name("app:1");
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream --referrers {name}"));
    output.fails_with(3);
    assert!(output.stderr.contains("not found"), "{}", output.stderr);
    // The image by itself is as good as ever.
    success(&sandbox, &format!("pull --no-stream {name}"));
}

#[test]
fn a_digest_that_no_tag_has_room_for_is_told() {
    let (registry, sandbox, image) = (Registry::start(), Sandbox::new(), demo());
    registry.add("app:1", &image);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&image.manifest_blob().bytes);
    registry.fault(Fault::on("/manifests/sha512:").redirect("/v2/app/manifests/1"));
    let name = format!("{}@{}", registry.name("app"), hasher.finish());
    let output = success(&sandbox, &format!("pull --no-store --referrers {name} > a"));
    let told = "what refers to SHA-512 digests is not asked for: 1 left out";
    assert_eq!(output.stderr.matches(told).count(), 1, "{}", output.stderr);
}

#[test]
fn a_dry_run_names_the_lists() {
    let (from, to, sandbox) = (start(false), start(false), Sandbox::new());
    let signed = Signed::new();
    signed.add(&from, false);
    let (name, there) = (from.name("app:1"), to.name("copy:1"));
    success(&sandbox, &format!("pull --no-stream --referrers {name}"));
    for script in [
        format!("push --dry-run --referrers {name} {there}"),
        format!("save --referrers {name} | push --dry-run - {there}"),
    ] {
        let output = success(&sandbox, &script).out();
        let attached = output.lines().filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words[0] == "attach").then(|| words[3].to_owned())
        });
        let list = |image: &Image, kind: &str| to.name(&format!("copy:{}{kind}", tag(image)));
        let expected = [(&signed.image, ""), (&signed.direct[0], ""), (&signed.image, ".sig")];
        let expected: BTreeSet<_> = expected.iter().map(|(it, kind)| list(it, kind)).collect();
        assert_eq!(attached.collect::<BTreeSet<_>>(), expected, "{script}");
    }
    assert_eq!(to.tags("copy"), [""; 0]);
}
