//! Signatures, SBOMs and attestations: they come with their image, stay with it, and are restored where it goes.

use std::collections::BTreeSet;

use kit::{Codec, Fault, Image, Index, Output, Registry, Sandbox, pipeline};
use layer_format::{Algorithm, Hasher};
use serde_json::{Value, json};

use crate::fixtures::demo;

/// An artifact that refers to a manifest.
pub(crate) fn about(subject: &Image, text: &str) -> Image {
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

/// The SHA-512 digest of a manifest, and the tag that a list of what refers to it has.
fn long(image: &Image) -> (String, String) {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&image.manifest_blob().bytes);
    let digest = hasher.finish().to_string();
    let tag = digest[..7 + 64].replace(':', "-");
    (digest, tag)
}

#[test]
fn what_refers_to_a_longer_digest_is_found_by_a_tag_that_is_cut() {
    let (from, to, sandbox, image) = (start(false), start(false), Sandbox::new(), demo());
    from.add("app:1", &image);
    from.fault(Fault::on("/manifests/sha512:").redirect("/v2/app/manifests/1"));
    let (digest, tag) = long(&image);
    let statement = about(&image, "sbom").set_manifest("/subject/digest", digest.as_str());
    from.add(&format!("app:{tag}"), Index::new().image(&statement));
    let name = format!("{}@{digest}", from.name("app"));
    let there = to.name("copy:1");
    success(&sandbox, &format!("pull --no-store --referrers {name} | push - {there}"));
    let expected = BTreeSet::from([statement.digest()]);
    assert_eq!(listed(&to, &format!("copy:{tag}")), expected);
}

/// A registry that has the tags, and answers so to whoever asks for the API.
fn without_api(signed: &Signed, fault: Fault) -> Registry {
    let registry = start(false);
    signed.add(&registry, false);
    registry.fault(fault);
    registry
}

#[test]
fn a_registry_that_refuses_the_api_is_asked_by_the_tag() {
    let signed = Signed::new();
    let api = || Fault::on("/referrers/");
    // Artifactory 406, Quay 400, others 401, 403, 405, 410, 500 and 501; GHCR sends to a page (oras-go#1396 and others).
    let mut faults: Vec<_> =
        [400, 401, 403, 405, 406, 410, 500, 501].map(|status| api().status(status)).into();
    faults.extend([
        api().status(404).html(),
        api().html(),
        api().body("application/json", "{\"errors\":[]}"),
        api().body("application/json", "no json"),
        api().redirect_loop(),
    ]);
    for fault in faults {
        let shown = format!("{fault:?}");
        let (registry, to, sandbox) = (without_api(&signed, fault), start(false), Sandbox::new());
        let script = format!(
            "pull --no-store --referrers {} | push - {}",
            registry.name("app:1"),
            to.name("copy:1")
        );
        let output = pipeline::sh(&sandbox, &script);
        assert_eq!(output.code(), 0, "{shown}: {}", output.stderr);
        assert!(!output.stderr.contains("can't tell"), "{shown}: {}", output.stderr);
        signed.is_in(&to, "copy", false);
    }
}

#[test]
fn an_image_is_pulled_whatever_is_said_of_its_referrers_and_a_warning_tells() {
    for (has_api, fault, words) in [
        (false, Fault::on("/referrers/").status(406), "answered 406"),
        (true, Fault::on("/referrers/").html(), "not a registry? got text/html"),
    ] {
        let (registry, sandbox) = (start(has_api), Sandbox::new());
        registry.add("app:1", demo());
        registry.fault(fault);
        let name = registry.name("app:1");
        let output = success(&sandbox, &format!("pull --no-stream --referrers {name}"));
        assert_eq!(output.out(), format!("{}\n", demo().digest()));
        let told = format!("{name}: can't tell what refers to it: ");
        assert_eq!(output.stderr.matches(&told).count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains(words), "{}", output.stderr);
    }
}

#[test]
fn a_registry_that_takes_the_tag_for_the_digest_has_no_list() {
    // GitLab: oras-go#1396.
    let (registry, sandbox) = (start(false), Sandbox::new());
    let signed = Signed::new();
    registry.add("app:1", &signed.image);
    registry.add(&format!("app:{}", tag(&signed.image)), &signed.image);
    let name = registry.name("app:1");
    let output = success(&sandbox, &format!("pull --no-stream --referrers {name}"));
    assert!(!output.stderr.contains("referrers"), "{}", output.stderr);
    // A list can be put there all the same.
    let from = start(true);
    signed.add(&from, true);
    let there = registry.name("app:1");
    success(
        &sandbox,
        &format!("pull --no-store --referrers {} | push - {there}", from.name("app:1")),
    );
    signed.is_in(&registry, "app", false);
    // Something else under that name is told, and the image is pulled.
    registry.add(&format!("app:{}", tag(&signed.image)), signature());
    let output = success(&sandbox, &format!("pull --store other --no-stream --referrers {name}"));
    let told = "this is no list of referrers";
    assert_eq!(output.stderr.matches(told).count(), 1, "{}", output.stderr);
}

#[test]
fn the_next_page_is_asked_where_the_first_was_had() {
    // Behind a proxy a registry knows neither the scheme nor the name by which it is spoken to.
    let (registry, to, sandbox) = (start(true), start(false), Sandbox::new());
    let signed = Signed::new();
    signed.add(&registry, true);
    let next = format!("</v2/app/referrers/{}?start=2>; rel=\"next\"", signed.image.digest());
    for origin in ["https://registry.internal:8443", "http://localhost:1", "https://127.0.0.1"] {
        let link = next.replace("</", &format!("<{origin}/"));
        let first = Fault::on(&format!("/referrers/{}", signed.image.digest()));
        registry.heal();
        registry.fault(first.times(1).header("Link", &link));
        let (from, there) = (registry.name("app:1"), to.name("copy:1"));
        success(&sandbox, &format!("pull --no-store --referrers {from} | push - {there}"));
        signed.is_in(&to, "copy", false);
    }
}

#[test]
fn a_list_that_somebody_else_overwrites_is_put_again() {
    let (from, sandbox) = (start(true), Sandbox::new());
    let signed = Signed::new();
    signed.add(&from, true);
    let list = tag(&signed.image);
    // 201 although nothing was put there is what another writer's later list looks like; 412 is said by a registry that
    // compares versions.
    for status in [201, 412] {
        let to = start(false);
        let older = about(&signed.image, "older");
        to.add(&format!("copy:{list}"), Index::new().image(&older));
        to.fault(Fault::on(&format!("/manifests/{list}")).method("PUT").times(2).status(status));
        let script = format!(
            "pull --no-store --referrers {} | push - {}",
            from.name("app:1"),
            to.name("copy:1")
        );
        success(&sandbox, &script);
        let mut expected: BTreeSet<_> = signed.direct.iter().map(Image::digest).collect();
        expected.insert(older.digest());
        assert_eq!(listed(&to, &format!("copy:{list}")), expected, "{status}");
        let puts =
            to.requests().into_iter().filter(|it| it.method == "PUT" && it.path.ends_with(&list));
        let puts: Vec<_> = puts.collect();
        assert_eq!(puts.len(), 3, "{status}");
        assert!(puts.iter().all(|it| it.header("If-Match").is_some()), "the registry gave an ETag");
    }
    // It ends all the same.
    let to = start(false);
    to.fault(Fault::on(&format!("/manifests/{list}")).method("PUT").status(201));
    let script = format!(
        "pull --no-store --referrers {} | push - {}",
        from.name("app:1"),
        to.name("copy:1")
    );
    let output = pipeline::sh(&sandbox, &script);
    output.fails_with(1);
    assert!(
        output.stderr.contains("others changed this list of referrers 16 times"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_list_says_what_each_entry_is() {
    // Lists of some registries don't: distribution-spec, "Pushing Manifests with Subject".
    let (from, to, sandbox) = (start(false), start(false), Sandbox::new());
    let image = demo();
    let typed = about(&image, "typed").set_manifest("/annotations", json!({ "a": "b" }));
    let untyped = about(&image, "by its config").set_manifest("/artifactType", Value::Null);
    from.add("app:1", &image);
    from.add(&format!("app:{}", tag(&image)), Index::new().image(&typed).image(&untyped));
    let script = format!(
        "pull --no-store --referrers {} | push - {}",
        from.name("app:1"),
        to.name("copy:1")
    );
    success(&sandbox, &script);
    let raw = to.manifest(&format!("copy:{}", tag(&image))).unwrap();
    let list: Value = serde_json::from_slice(&raw).unwrap();
    let entry = |image: &Image| {
        let entries = list["manifests"].as_array().unwrap();
        entries.iter().find(|it| it["digest"] == json!(image.digest())).unwrap().clone()
    };
    assert_eq!(entry(&typed)["artifactType"], "application/vnd.test.statement");
    assert_eq!(entry(&typed)["annotations"], json!({ "a": "b" }));
    assert_eq!(entry(&untyped)["artifactType"], "application/vnd.oci.empty.v1+json");
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
