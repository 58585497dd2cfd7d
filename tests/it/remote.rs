//! What is asked of a registry, and changed there, without an image coming here.

use kit::image::random::Random;
use kit::registry::auth::{self, Bearer};
use kit::registry::profile::{Catalog, Deletes, Mounts, Profile};
use kit::registry::profiles;
use kit::{Auth, Codec, Fault, Image, Index, Layer, Output, Registry, Sandbox, pipeline};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fixtures::{assert_one_line, docker_demo, lacks, noise, small};
use crate::gc::wait_for;
use crate::network::deaf;
use crate::referrers::about;

/// Runs a line of `remote`, where `HOST` is the registry.
fn remote(registry: &Registry, line: &str) -> Output {
    remote_in(&Sandbox::new(), registry, line)
}

fn remote_in(sandbox: &Sandbox, registry: &Registry, line: &str) -> Output {
    let line = line.replace("HOST", &registry.host());
    sandbox.command("remote").args(line.split_whitespace()).run()
}

/// The same; it must succeed and say nothing beside its data.
#[track_caller]
fn asked(registry: &Registry, line: &str) -> Vec<u8> {
    let output = remote(registry, line);
    assert_eq!((output.code(), &output.stderr[..]), (0, ""), "{line}: {}", registry.log());
    output.stdout
}

#[track_caller]
fn asked_text(registry: &Registry, line: &str) -> String {
    String::from_utf8(asked(registry, line)).unwrap()
}

/// A line fails with this status, one line that has a text, and perhaps a hint that has another.
#[track_caller]
fn refused(registry: &Registry, line: &str, code: i32, text: &str, hint: &str) {
    let output = remote(registry, line);
    assert_eq!(output.code(), code, "{line}: {}\n{}", output.text(), registry.log());
    assert_one_line(&output, "remote");
    assert!(output.stderr.contains(text), "{line}: {}", output.stderr);
    let has_hint = output.stderr.lines().any(|it| it.starts_with("hint: ") && it.contains(hint));
    assert!(has_hint || hint.is_empty(), "{line}: {}", output.stderr);
}

fn with_tags(tags: &[&str]) -> Registry {
    let registry = Registry::start();
    for tag in tags {
        registry.add(&format!("ns/app:{tag}"), small(tag));
    }
    registry
}

#[test]
fn tags_are_listed_as_people_count_them() {
    let registry = with_tags(&["1.10", "1.9", "latest", "1.9-alpine", "v2"]);
    let expected = "1.9\n1.9-alpine\n1.10\nlatest\nv2\n";
    assert_eq!(asked_text(&registry, "tags HOST/ns/app"), expected);
    let json: Value = serde_json::from_slice(&asked(&registry, "tags --json HOST/ns/app")).unwrap();
    assert_eq!(json[2], json!({ "tag": "1.10" }));
}

#[test]
fn the_digests_of_all_tags_cost_a_question_each_and_no_manifest() {
    let registry = with_tags(&["1", "2", "10"]);
    let digest = |tag: &str| small(tag).digest();
    let expected = format!("1    {}\n2    {}\n10   {}\n", digest("1"), digest("2"), digest("10"));
    assert_eq!(asked_text(&registry, "tags --digests HOST/ns/app"), expected);
    let json = asked(&registry, "tags --digests --json HOST/ns/app");
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json[2], json!({ "tag": "10", "digest": digest("10") }));
    assert_eq!(registry.n_requests("GET", "/manifests/"), 0, "{}", registry.log());
}

// skopeo#907, regclient#274
#[test]
fn tags_come_in_as_many_pages_as_the_registry_makes() {
    let tags: Vec<String> = (0..25).map(|n| n.to_string()).collect();
    let registry = with_tags(&tags.iter().map(String::as_str).collect::<Vec<_>>());
    // It never gives more than seven, whatever is asked for, and gives an address of its own making (docker_registry2#56).
    for page in 0..3 {
        let names: Vec<_> = (page * 10..25.min(page * 10 + 10)).map(|n| n.to_string()).collect();
        let body = json!({ "name": "ns/app", "tags": names }).to_string();
        let this =
            if page == 0 { "tags/list?n=1000".to_owned() } else { format!("page={page}%3D") };
        let fault = Fault::on(&this).body("application/json", body);
        let next = format!("</v2/ns/app/tags/list?page={}%3D>; rel=\"next\"", page + 1);
        registry.fault(if page < 2 { fault.header("Link", &next) } else { fault });
    }
    let expected = tags.join("\n") + "\n";
    assert_eq!(asked_text(&registry, "tags HOST/ns/app"), expected);
    assert_eq!(registry.n_requests("GET", "/tags/list"), 3, "{}", registry.log());
}

#[test]
fn a_next_page_on_another_host_never_sees_the_login() {
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    registry.add("app:1", small("x"));
    let stranger = Registry::start();
    let link = format!("<http://{}/v2/app/tags/list?last=1>; rel=\"next\"", stranger.host());
    registry.fault(Fault::on("n=1000").header("Link", &link));
    let sandbox = Sandbox::new();
    let login = auth::base64(b"me:hunter2");
    let login = json!({ "auths": { registry.host(): { "auth": login } } }).to_string();
    let output = sandbox
        .command("remote")
        .args(["tags", &registry.name("app")])
        .env("DOCKER_AUTH_CONFIG", login)
        .run();
    assert_eq!(output.success().out(), "1\n");
    let asked = stranger.requests();
    assert!(asked.iter().all(|request| request.authorization.is_none()), "{}", stranger.log());
}

#[test]
fn what_a_registry_lists_is_shown_without_what_a_terminal_obeys() {
    let registry = with_tags(&["1"]);
    let body = json!({ "tags": ["1\u{1b}[2J", "\u{202e}2"], "repositories": ["a\u{1b}[2J\n"] });
    for list in ["tags/list", "_catalog"] {
        registry.fault(Fault::on(list).body("application/json", body.to_string()));
    }
    for line in ["tags HOST/ns/app", "tags --digests HOST/ns/app", "repositories HOST"] {
        for line in [line.to_owned(), format!("{line} --json")] {
            let output = remote(&registry, &line).text();
            assert!(!output.contains(['\u{1b}', '\u{202e}']), "{line}: {output:?}");
        }
    }
}

#[test]
fn a_list_that_leads_to_itself_has_an_end() {
    let registry = with_tags(&["1"]);
    registry.fault(Fault::on("tags/list").header("Link", "</v2/ns/app/tags/list?x>; rel=\"next\""));
    refused(&registry, "tags HOST/ns/app", 4, "a list without an end", "");
    assert!(registry.n_requests("GET", "tags/list") < 4, "{}", registry.log());
}

#[test]
fn a_registry_that_does_not_know_pages_is_asked_for_all() {
    let registry = with_tags(&["1"]);
    registry.fault(Fault::on("tags/list?n=").status(400));
    assert_eq!(asked_text(&registry, "tags HOST/ns/app"), "1\n");
}

#[test]
fn what_is_no_repository_is_told() {
    let registry = with_tags(&["1"]);
    refused(&registry, "tags HOST/ns/none", 3, "not found", "");
    refused(&registry, "tags HOST/ns/app:1", 2, "a repository has no tag", "remote --help");
    refused(&registry, "tags docker://HOST/ns/app", 2, "has no scheme", "without the scheme: ");
    refused(&registry, "digest docker://HOST/ns/app:1", 2, "has no scheme", "without the scheme: ");
    assert_eq!(asked_text(&with_tags(&[]), "repositories HOST"), "");
    registry.fault(Fault::on("tags/list").html());
    refused(&registry, "tags HOST/ns/app", 4, "not a registry?", "");
}

#[test]
fn documents_are_printed_byte_for_byte() {
    let registry = Registry::start();
    let image = docker_demo();
    registry.add("app:1", &image);
    assert_eq!(asked(&registry, "manifest HOST/app:1"), image.manifest_blob().bytes);
    assert_eq!(asked(&registry, "config HOST/app:1"), image.config_blob().bytes);
    assert_eq!(asked_text(&registry, "digest HOST/app:1"), format!("{}\n", image.digest()));
    let pinned = format!("manifest HOST/app@{}", image.digest());
    assert_eq!(asked(&registry, &pinned), image.manifest_blob().bytes);
    refused(&registry, "config HOST/app:2", 3, "app:2: not found", "");
    refused(&registry, "digest HOST/app:2", 3, "manifest unknown", "");
}

#[test]
fn of_an_index_the_platform_is_asked_for_that_is_named() {
    let platforms = ["linux/amd64", "linux/arm64"];
    let images = platforms.map(|platform| small(platform).platform(platform));
    let index = images.iter().fold(Index::new(), Index::image);
    let registry = Registry::start();
    registry.add("app:1", &index);
    registry.add("app:2", &images[1]);
    assert_eq!(asked(&registry, "manifest HOST/app:1"), index.index_blob().bytes);
    assert_eq!(asked_text(&registry, "digest HOST/app:1"), format!("{}\n", index.digest()));
    for (image, platform) in images.iter().zip(platforms) {
        let ask =
            |verb: &str| asked(&registry, &format!("{verb} --platform {platform} HOST/app:1"));
        assert_eq!(ask("manifest"), image.manifest_blob().bytes);
        assert_eq!(ask("config"), image.config_blob().bytes);
        assert_eq!(ask("digest"), format!("{}\n", image.digest()).into_bytes());
    }
    refused(&registry, "digest --platform linux/s390x HOST/app:1", 3, "app:1", "");
    // An image without an index is for what its config says.
    assert_eq!(
        asked_text(&registry, "digest --platform linux/arm64 HOST/app:2"),
        format!("{}\n", images[1].digest())
    );
    for verb in ["digest", "manifest", "config"] {
        let line = format!("{verb} --platform linux/s390x HOST/app:2");
        refused(&registry, &line, 3, "app:2", "");
    }
}

#[test]
fn of_a_large_image_only_documents_come() {
    let size = if std::env::var_os("STRATA_LONG").is_some() { 500 << 20 } else { 20 << 20 };
    let layer = Layer::new().file("large", Random::new(1).bytes(size));
    let registry = Registry::start();
    registry.add("app:1", Image::new().codec(Codec::None).layer(layer));
    for verb in ["config", "manifest", "digest"] {
        registry.forget();
        asked(&registry, &format!("{verb} HOST/app:1"));
        let sent = registry.bytes_sent("");
        assert!(sent < 64 << 10, "{verb}: {sent}");
    }
    // Docker Hub doesn't count HEAD.
    let log = registry.log();
    assert!(log.lines().count() == 1 && log.starts_with("HEAD "), "{log}");
}

// ggcr#971, watchtower#667
#[test]
fn a_digest_is_computed_where_the_registry_does_not_tell_it() {
    for fault in [
        Fault::on("/manifests/").method("HEAD").header("Docker-Content-Digest", ""),
        Fault::on("/manifests/").method("HEAD").status(404),
        Fault::on("/manifests/").method("HEAD").status(405),
    ] {
        let registry = with_tags(&["1"]);
        registry.fault(fault);
        let expected = format!("{}\n", small("1").digest());
        assert_eq!(asked_text(&registry, "digest HOST/ns/app:1"), expected);
    }
}

#[test]
fn what_refers_to_an_image_is_listed_by_api_and_by_tag() {
    let image = small("x");
    let (sbom, signature) = (about(&image, "an SBOM"), small("signature"));
    let tag = image.digest().replace(':', "-");
    let lines = |registry: &Registry| asked_text(registry, "referrers HOST/app:1");
    let expected = format!(
        "{}   application/vnd.test.statement\n{}   cosign sig\n",
        sbom.digest(),
        signature.digest()
    );
    for has_api in [true, false] {
        let registry = if has_api { Registry::with_referrers() } else { Registry::start() };
        registry.add("app:1", &image);
        registry.add(&format!("app:{tag}.sig"), &signature);
        if has_api {
            registry.add("app:any", &sbom);
        } else {
            let descriptor = json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.test.statement",
                "digest": sbom.digest(), "size": sbom.manifest_blob().bytes.len(),
            });
            registry.add(&format!("app:{tag}"), Index::new().entry(descriptor, sbom.blobs()));
        }
        assert_eq!(lines(&registry), expected, "{has_api}");
        let json = asked(&registry, "referrers --json HOST/app:1");
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json[0]["digest"], sbom.digest(), "{json}");
        assert_eq!(json[1]["digest"], signature.digest(), "{json}");
        refused(&registry, "referrers HOST/app:2", 3, "not found", "");
    }
    assert_eq!(asked_text(&with_tags(&["1"]), "referrers HOST/ns/app:1"), "");
}

#[test]
fn what_refers_to_one_platform_is_asked_for_by_it() {
    let image = small("x").platform("linux/arm64");
    let sbom = about(&image, "an SBOM");
    let registry = Registry::with_referrers();
    registry.add("app:1", Index::new().image(&image));
    registry.add("app:any", &sbom);
    assert_eq!(asked_text(&registry, "referrers HOST/app:1"), "");
    let line = "referrers --platform linux/arm64 HOST/app:1";
    assert!(asked_text(&registry, line).starts_with(&sbom.digest()));
}

#[test]
fn repositories_are_listed_by_names_that_other_programs_take() {
    let registry = Registry::start();
    for name in ["b/app10:1", "b/app9:1", "a:1"] {
        registry.add(name, small("x"));
    }
    let expected = "HOST/a\nHOST/b/app9\nHOST/b/app10\n".replace("HOST", &registry.host());
    assert_eq!(asked_text(&registry, "repositories HOST"), expected);
    let json = asked(&registry, "repositories --json HOST");
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json[0], json!({ "repository": registry.name("a") }));
    // distribution 3 refuses more than it gives.
    registry.fault(Fault::on("_catalog?n=").status(400));
    assert_eq!(asked_text(&registry, "repositories HOST"), expected);
}

#[test]
fn a_registry_without_a_catalog_is_told() {
    let without = |catalog: Catalog| Profile { catalog, ..profiles::SPEC };
    let registry = |status: u16| Registry::with_profile(&without(Catalog::Status(status)));
    for status in [404, 405] {
        let text = "this registry doesn't list its repositories";
        refused(&registry(status), "repositories HOST", 3, text, "web pages");
    }
    // genuinetools/reg#86, harbor#7898
    for status in [401, 403] {
        refused(&registry(status), "repositories HOST", 6, "not authorised", "web pages");
    }
    let registry = Registry::start();
    refused(&registry, "repositories HOST/a", 2, "without a path", "");
    refused(&registry, "repositories https://HOST", 2, "without a scheme", "");
    refused(&registry, "repositories nginx", 2, "a registry's host", "");
}

#[test]
fn a_catalog_has_a_scope_of_its_own() {
    let bearer = Bearer::login("me", "hunter2");
    let registry = Registry::with_auth(Auth::Bearer(bearer));
    registry.add("a:1", small("x"));
    let sandbox = Sandbox::new();
    let output = sandbox
        .command("remote")
        .args(["repositories", &registry.host(), "--creds-stdin"])
        .input("me:hunter2\n")
        .run();
    assert_eq!(output.success().out(), format!("{}/a\n", registry.host()), "{}", registry.log());
    assert!(registry.log().contains("scope=registry%3Acatalog%3A*"), "{}", registry.log());
}

#[test]
fn a_new_tag_moves_no_blob() {
    let registry = with_tags(&["1"]);
    let digest = small("1").digest();
    let expected = format!("HOST/ns/app@{digest}\nHOST/ns/app@{digest}\n");
    let line = "tag HOST/ns/app:1 HOST/ns/app:2 HOST/ns/app:latest";
    assert_eq!(asked_text(&registry, line), expected.replace("HOST", &registry.host()));
    assert_eq!(registry.tags("ns/app"), ["1", "2", "latest"]);
    assert_eq!(registry.n_requests("", "/blobs/"), 0, "{}", registry.log());
    let by_digest = format!("tag HOST/ns/app@{digest} HOST/ns/app:3");
    asked(&registry, &by_digest);
    assert_eq!(registry.manifest("ns/app:3"), Some(small("1").manifest_blob().bytes));
    let hint = "remote copy HOST/ns/app:1 HOST/b:1".replace("HOST", &registry.host());
    refused(&registry, "tag HOST/ns/app:1 HOST/b:1", 2, "in the image's own repository", &hint);
    // As crane has it: a tag alone.
    let hint = "remote tag HOST/ns/app:1 HOST/ns/app:v2".replace("HOST", &registry.host());
    refused(&registry, "tag HOST/ns/app:1 v2", 2, "in the image's own repository", &hint);
    let by_digest = format!("tag HOST/ns/app:1 HOST/ns/app@{digest}");
    refused(&registry, &by_digest, 2, "a new name is a tag", "");
    refused(&registry, "tag HOST/ns/app:9 HOST/ns/app:8", 3, "not found", "");
}

/// How many bytes of blobs have passed in either direction.
fn blob_bytes(registry: &Registry) -> u64 {
    let requests = registry.requests();
    let is_blobs = |path: &str| path.contains("/blobs/") || path.contains("/storage/");
    let blobs = requests.iter().filter(|it| it.status < 400 && is_blobs(&it.path));
    blobs.map(|it| it.sent + it.received).sum()
}

fn both_platforms() -> Index {
    let images = ["linux/amd64", "linux/arm64"].map(|platform| noise(10_000).platform(platform));
    images.iter().fold(Index::new().attestation(&images[0]), Index::image)
}

/// Checks that a repository has this name and all that belongs to it.
#[track_caller]
fn has_all(registry: &Registry, name: &str, content: impl Into<kit::Content>) {
    let content = content.into();
    let (repository, _) = name.rsplit_once(':').unwrap();
    let found = registry.manifest(name).unwrap_or_default();
    assert_eq!(kit::digest(&found), content.digest(), "{}", registry.log());
    for blob in &content.blobs {
        let here = registry.blob(repository, &blob.digest);
        let document = registry.manifest(&format!("{repository}@{}", blob.digest));
        assert!(here.or(document).as_ref() == Some(&blob.bytes), "{name} lacks {}", blob.digest);
    }
}

#[test]
fn within_a_registry_no_byte_of_a_blob_comes_here() {
    for (name, content) in
        [("oci:1", kit::Content::from(both_platforms())), ("docker:1", docker_demo().into())]
    {
        let registry = Registry::start();
        registry.add(name, content.clone());
        let output = remote(&registry, &format!("copy HOST/{name} HOST/new/{name}"));
        let repository = name.split(':').next().unwrap();
        let expected = format!("{}/new/{repository}@{}\n", registry.host(), content.digest());
        assert_eq!(output.success().out(), expected);
        has_all(&registry, &format!("new/{name}"), content);
        assert_eq!(blob_bytes(&registry), 0, "{}", registry.log());
        // In the same repository not even a mount is needed.
        registry.forget();
        remote(&registry, &format!("copy HOST/{name} HOST/{repository}:2")).success();
        assert_eq!(registry.n_requests("", "/blobs/"), 0, "{}", registry.log());
        assert_eq!(registry.tags(repository), ["1", "2"]);
    }
}

#[test]
fn between_registries_an_index_comes_whole_and_a_repetition_asks_two_questions() {
    let (source, target) = (Registry::start(), Registry::start());
    for (name, content) in
        [("app:1", kit::Content::from(both_platforms())), ("docker:1", docker_demo().into())]
    {
        source.add(name, content.clone());
        let line = format!("copy {} HOST/b/{name}", source.name(name));
        let output = remote(&target, &line);
        let repository = name.split(':').next().unwrap();
        let expected = format!("{}/b/{repository}@{}\n", target.host(), content.digest());
        assert_eq!(output.success().out(), expected);
        has_all(&target, &format!("b/{name}"), content);
        source.forget();
        target.forget();
        remote(&target, &line).success();
        let asked = format!("{}{}", source.log(), target.log());
        assert_eq!(asked.lines().count(), 2, "{asked}");
        assert!(asked.lines().all(|line| line.starts_with("HEAD ")), "{asked}");
        // A name that stood for something else moves, and only what is missing is sent.
        target.add(&format!("b/{name}"), small("other"));
        target.forget();
        remote(&target, &line).success();
        assert_eq!(blob_bytes(&target), 0, "{}", target.log());
        assert_eq!(target.n_requests("PUT", ""), 1, "{}", target.log());
    }
    assert_eq!(source.sent_twice(""), []);
}

#[test]
fn a_copy_sends_what_the_target_lacks_and_nothing_twice() {
    let (source, target) = (Registry::start(), Registry::start());
    let image = noise(100_000);
    source.add("app:1", &image);
    let layers = image.layer_blobs();
    target.add_blob("b", layers[0].bytes.clone());
    remote(&target, &format!("copy {} HOST/b:1", source.name("app:1"))).success();
    has_all(&target, "b:1", &image);
    let sent: usize = layers[1..].iter().map(|blob| blob.bytes.len()).sum();
    let config = image.config_blob().bytes.len();
    assert_eq!(source.bytes_sent("/blobs/"), (sent + config) as u64, "{}", source.log());
    assert_eq!(blob_bytes(&target), (sent + config) as u64, "{}", target.log());
    assert_eq!(source.n_requests("GET", &layers[0].digest), 0, "{}", source.log());
    assert_eq!(target.n_uploads(), 0);
}

#[test]
fn a_large_blob_is_copied_in_chunks_by_one_reading_and_in_little_memory() {
    if lacks(&["time"]) {
        return;
    }
    // A chunk has 64 MiB.
    let block = Random::new(7).bytes(1 << 20);
    let layer = Layer::new().file("large", block.repeat(70));
    let image = Image::new().codec(Codec::None).layer(layer);
    let (source, target) = (Registry::start(), Registry::start());
    source.add("app:1", &image);
    let sandbox = Sandbox::new();
    let (from, to) = (source.name("app:1"), target.name("b:1"));
    let script = format!("/usr/bin/time -o peak -f %M remote copy {from} {to}");
    pipeline::sh(&sandbox, &script).success();
    // In KiB.
    let peak: u64 = String::from_utf8(sandbox.read("peak")).unwrap().trim().parse().unwrap();
    assert!(peak < 40 << 10, "{peak}");
    has_all(&target, "b:1", &image);
    let digest = &image.layer_blobs()[0].digest;
    assert_eq!(source.n_requests("GET", digest), 1, "{}", source.log());
    assert!(target.n_requests("PATCH", "/uploads/") > 1, "{}", target.log());
}

#[test]
fn a_copy_goes_on_where_either_side_broke_off() {
    let image = noise(300_000);
    let digest = &image.layer_blobs()[1].digest;
    let (source, target) = (Registry::start(), Registry::start());
    source.add("app:1", &image);
    source.fault(Fault::on(digest).method("GET").times(1).close_after(100_000));
    target.fault(Fault::on("/uploads/").method("PUT").times(1).close_reading(50_000));
    remote(&target, &format!("copy {} HOST/b:1", source.name("app:1"))).success();
    has_all(&target, "b:1", &image);
}

#[test]
fn a_blob_that_is_wrong_at_the_source_never_counts_at_the_target() {
    let image = noise(100_000);
    let digest = &image.layer_blobs()[1].digest;
    let (source, target) = (Registry::start(), Registry::start());
    source.add("app:1", &image);
    source.fault(Fault::on(digest).method("GET").flip(50_000));
    let line = format!("copy {} HOST/b:1", source.name("app:1"));
    refused(&target, &line, 4, "digest mismatch: expected sha256:", "");
    assert!(target.manifest("b:1").is_none() && target.blob("b", digest).is_none());
    assert_eq!(target.n_uploads(), 0, "{}", target.log());
}

#[test]
fn a_copy_that_is_interrupted_leaves_nothing_at_the_target() {
    let image = noise(300_000);
    let digest = &image.layer_blobs()[1].digest;
    let (source, target) = (Registry::start(), Registry::start());
    source.add("app:1", &image);
    source.fault(Fault::on(digest).method("GET").stall_after(100_000, None));
    let sandbox = Sandbox::new();
    let copy = sandbox.command("remote").args(["copy", &source.name("app:1"), &target.name("b:1")]);
    let running = copy.start();
    wait_for(|| source.bytes_sent(digest) >= 100_000 && target.n_uploads() == 1);
    running.signal(Signal::INT);
    let output = running.wait();
    // It dies by the signal, as a shell expects it.
    assert_eq!(output.code(), 128 + 2, "{}", output.text());
    assert_eq!(target.n_uploads(), 0, "{}", target.log());
    assert!(target.manifest("b:1").is_none() && target.tags("b").is_empty());
}

#[test]
fn of_an_index_one_platform_can_be_copied() {
    let (source, target) = (Registry::start(), Registry::start());
    let arm = small("arm").platform("linux/arm64");
    source.add("app:1", Index::new().image(&small("amd")).image(&arm));
    let line =
        |platform: &str| format!("copy --platform {platform} {} HOST/b:1", source.name("app:1"));
    refused(&target, &line("linux/s390x"), 3, "app:1", "");
    remote(&target, &line("linux/arm64")).success();
    has_all(&target, "b:1", &arm);
    assert_eq!(source.n_requests("GET", &small("amd").digest()), 0, "{}", source.log());
}

#[test]
fn a_target_that_does_not_say_what_it_has_takes_a_copy_all_the_same() {
    for status in [403, 405] {
        let (source, target) = (Registry::start(), Registry::start());
        source.add("app:1", both_platforms());
        target.fault(Fault::on("/manifests/").method("HEAD").status(status));
        remote(&target, &format!("copy {} HOST/b:1", source.name("app:1"))).success();
        has_all(&target, "b:1", both_platforms());
    }
}

#[test]
fn an_index_that_is_not_whole_is_told_and_one_platform_of_it_is_copied() {
    let (source, target) = (Registry::start(), Registry::start());
    let arm = small("arm").platform("linux/arm64");
    source.add("app:1", Index::new().absent(&small("amd")).image(&arm));
    let line = format!("copy {} HOST/b:1", source.name("app:1"));
    refused(&target, &line, 3, "not found", "--platform OS/ARCH");
    assert!(target.tags("b").is_empty());
    remote(&target, &format!("{line} --platform linux/arm64")).success();
    has_all(&target, "b:1", &arm);
}

#[test]
fn a_copy_may_be_pinned_and_foreign_layers_stay_behind() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let image = docker_demo()
        .set_manifest("/layers/0/mediaType", foreign)
        .set_manifest("/layers/0/urls", json!(["http://127.0.0.1:1/layer"]));
    let (source, target) = (Registry::start(), Registry::start());
    source.add("app:1", &image);
    let name = source.name("app:1");
    let wrong = format!("copy {name} HOST/b:1@sha256:{:064}", 0);
    refused(&target, &wrong, 2, "the image's digest is", "");
    target.add_blob("b", image.layer_blobs()[0].bytes.clone());
    remote(&target, &format!("copy {name} HOST/b@{}", image.digest())).success();
    assert_eq!(source.n_requests("", &image.layer_blobs()[0].digest), 0, "{}", source.log());
    assert!(target.tags("b").is_empty());
    assert!(target.manifest(&format!("b@{}", image.digest())).is_some());
}

#[test]
fn the_store_that_is_named_tells_where_blobs_can_be_mounted_from() {
    let (source, target) = (Registry::start(), Registry::start());
    let image = noise(100_000);
    source.add("app:1", &image);
    let sandbox = Sandbox::new();
    sandbox.load(&[kit::Named::new("docker.io/library/other:1", small("other"))]);
    let copy = |name: &str, options: &str| {
        let line = format!("copy {options} {} HOST/{name}", source.name("app:1"));
        remote_in(&sandbox, &target, &line).success();
        let sent = blob_bytes(&target);
        target.forget();
        sent
    };
    assert!(copy("a:1", "") > 0);
    assert_eq!(copy("b:1", ""), 0);
    assert!(copy("c:1", "--store other") > 0);
    assert!(!sandbox.path("other").exists());
}

#[test]
fn every_registry_takes_a_copy() {
    for profile in profiles::ALL {
        let source = Registry::start();
        let (image, target) = (noise(20_000), Registry::with_profile(&profile));
        source.add("app:1", &image);
        let sandbox = Sandbox::new();
        let (user, password) = kit::registry::profile::LOGIN;
        let login = auth::base64(format!("{user}:{password}").as_bytes());
        let logins = json!({ "auths": { target.host(): { "auth": login } } }).to_string();
        let start = |line: &str| {
            let line = line.replace("HOST", &target.host());
            let program = sandbox.command("remote").args(line.split_whitespace());
            program.env("DOCKER_AUTH_CONFIG", &logins).run()
        };
        let run = |line: &str| {
            let output = start(line);
            assert_eq!(output.code(), 0, "{}: {}\n{}", profile.name, output.text(), target.log());
            output.out()
        };
        run(&format!("copy {} HOST/b:1", source.name("app:1")));
        has_all(&target, "b:1", &image);
        target.forget();
        run("copy HOST/b:1 HOST/c:1");
        if profile.mounts == Mounts::Always {
            assert_eq!(blob_bytes(&target), 0, "{}: {}", profile.name, target.log());
        }
        assert_eq!(run("tags HOST/c"), "1\n");
        assert_eq!(run("digest HOST/c:1"), format!("{}\n", image.digest()));
        if profile.deletes == Deletes::Nothing {
            let output = start("rm HOST/c:1");
            assert!(output.fails_with(1).stderr.contains("hint: "), "{}", profile.name);
            continue;
        }
        run("rm HOST/c:1");
        assert!(target.tags("c").is_empty(), "{}: {}", profile.name, target.log());
        let is_there = target.manifest(&format!("c@{}", image.digest())).is_some();
        assert_eq!(is_there, profile.deletes == Deletes::Tags, "{}", profile.name);
    }
}

// skopeo#795, skopeo#1432, skopeo#1981
#[test]
fn a_tag_is_removed_alone() {
    let registry = with_tags(&["1"]);
    registry.add("ns/app:2", small("1"));
    assert_eq!(
        asked_text(&registry, "rm HOST/ns/app:1"),
        format!("{}\n", registry.name("ns/app:1"))
    );
    assert_eq!(registry.tags("ns/app"), ["2"]);
    assert!(registry.manifest("ns/app:2").is_some());
    // regclient#335: nothing else is put in its place.
    assert_eq!(registry.n_requests("PUT", ""), 0, "{}", registry.log());
    refused(&registry, "rm HOST/ns/app:1", 3, "not found", "");
    refused(&registry, "rm HOST/ns/app:2 HOST/ns/app:9", 3, "app:9: not found", "");
    assert_eq!(registry.tags("ns/app"), ["2"]);
}

#[test]
fn where_only_images_are_removed_a_tag_with_others_stays() {
    for status in [400, 405, 404, 501] {
        let profile = Profile { deletes: Deletes::Manifests(status), ..profiles::SPEC };
        let registry = Registry::with_profile(&profile);
        for tag in ["1", "1.10", "1.9"] {
            registry.add(&format!("app:{tag}"), small("same"));
        }
        registry.add("app:2", small("other"));
        let hint = format!("remote rm --force {}", registry.name("app:1"));
        refused(&registry, "rm HOST/app:1", 1, "and this one has others: 1.9, 1.10\n", &hint);
        assert_eq!(registry.tags("app"), ["1", "1.10", "1.9", "2"]);
        // The only tag of an image goes with it.
        asked(&registry, "rm HOST/app:2");
        assert_eq!(registry.tags("app"), ["1", "1.10", "1.9"]);
        let removed = asked_text(&registry, "rm --force HOST/app:1");
        let (name, digest) = (registry.name("app"), small("same").digest());
        assert_eq!(removed, format!("{name}@{digest}\n{name}:1\n{name}:1.9\n{name}:1.10\n"));
        assert!(registry.tags("app").is_empty());
    }
}

#[test]
fn where_only_images_are_removed_all_tags_go_if_all_are_named() {
    let registry = Registry::with_profile(&profiles::DISTRIBUTION_2);
    for tag in ["1", "2", "3"] {
        registry.add(&format!("app:{tag}"), small("same"));
    }
    refused(&registry, "rm HOST/app:1 HOST/app:2", 1, "and this one has others: 3\n", "rm --force");
    // A dry run can't know what the registry is able to do, and says so.
    let output = remote(&registry, "rm --dry-run HOST/app:1 HOST/app:2");
    let text = "if the registry only removes images with all their tags, it is refused, for others need it: 3\n";
    assert!(output.success().stderr.contains(text), "{}", output.text());
    let output = remote(&registry, "rm --dry-run --force HOST/app:1");
    assert!(
        output.success().stderr.contains("it goes with them, for others need it: 2, 3\n"),
        "{}",
        output.text()
    );
    assert_eq!(registry.tags("app"), ["1", "2", "3"]);
    let removed = asked_text(&registry, "rm HOST/app:1 HOST/app:2 HOST/app:3");
    let (name, digest) = (registry.name("app"), small("same").digest());
    assert_eq!(removed, format!("{name}@{digest}\n{name}:1\n{name}:2\n{name}:3\n"));
    assert!(registry.tags("app").is_empty());
}

#[test]
fn images_that_are_alike_in_name_or_content_are_each_removed() {
    let registry = Registry::with_profile(&profiles::DISTRIBUTION_2);
    for (name, content) in [("app:1", "a"), ("app:2", "b"), ("other:1", "a")] {
        registry.add(name, small(content));
    }
    let removed = asked_text(&registry, "rm HOST/app:1 HOST/app:2 HOST/other:1");
    let lines =
        [("app", "1", "a"), ("app", "2", "b"), ("other", "1", "a")].map(|(name, tag, content)| {
            let name = registry.name(name);
            format!("{name}@{}\n{name}:{tag}\n", small(content).digest())
        });
    assert_eq!(removed, lines.concat());
    assert!(registry.tags("app").is_empty() && registry.tags("other").is_empty());
}

#[test]
fn where_only_images_are_removed_a_part_of_an_index_stays() {
    let registry = Registry::with_profile(&profiles::DISTRIBUTION_2);
    let arm = small("arm").platform("linux/arm64");
    registry.add("app:1", Index::new().image(&small("amd")).image(&arm));
    registry.add("app:1-arm", &arm);
    let hint = format!("remote rm --force {}", registry.name("app:1-arm"));
    refused(&registry, "rm HOST/app:1-arm", 1, "and this one is a part of: 1\n", &hint);
    registry.add("app:arm", &arm);
    let text = "and this one has others: arm; and it is a part of: 1\n";
    refused(&registry, "rm HOST/app:1-arm", 1, text, &hint);
    assert_eq!(registry.tags("app"), ["1", "1-arm", "arm"]);
    // The index itself goes, and its parts stay.
    asked(&registry, "rm HOST/app:1");
    assert_eq!(registry.tags("app"), ["1-arm", "arm"]);
    asked(&registry, "rm --force HOST/app:1-arm");
    assert!(registry.tags("app").is_empty());
}

// mkuchin/docker-registry-web#35, regclient#819
#[test]
fn a_registry_that_removes_nothing_is_told() {
    let profile = Profile { deletes: Deletes::Nothing, ..profiles::SPEC };
    let registry = Registry::with_profile(&profile);
    registry.add("app:1", small("x"));
    let hint = "REGISTRY_STORAGE_DELETE_ENABLED=true";
    refused(&registry, "rm HOST/app:1", 1, "answered 405", hint);
    let line = format!("rm HOST/app@{}", small("x").digest());
    refused(&registry, &line, 1, "answered 405", hint);
    assert_eq!(registry.tags("app"), ["1"]);
}

#[test]
fn an_image_is_removed_by_its_digest_and_a_dry_run_removes_nothing() {
    let registry = Registry::start();
    for tag in ["1", "2"] {
        registry.add(&format!("app:{tag}"), small("same"));
    }
    registry.add("app:3", small("other"));
    let name = registry.name("app");
    let pinned = format!("{name}@{}", small("same").digest());
    let told = asked_text(&registry, &format!("rm --dry-run {pinned}"));
    assert_eq!(told, format!("{pinned}\n{name}:1\n{name}:2\n"));
    assert_eq!(asked_text(&registry, "rm --dry-run HOST/app:3"), format!("{name}:3\n"));
    assert_eq!(registry.n_requests("DELETE", ""), 0, "{}", registry.log());
    // A tag beside a digest is removed if it stands for that still.
    let moved = format!("rm {name}:3@{}", small("same").digest());
    refused(&registry, &moved, 1, "stands for sha256:", "");
    assert_eq!(asked_text(&registry, &format!("rm {pinned}")), format!("{pinned}\n"));
    assert_eq!(registry.tags("app"), ["3"]);
    refused(&registry, &format!("rm {pinned}"), 3, "not found", "");
}

#[test]
fn to_remove_is_a_right_that_a_token_gives() {
    let registry = Registry::with_auth(Auth::Bearer(Bearer::login("me", "hunter2")));
    registry.add("app:1", small("x"));
    let sandbox = Sandbox::new();
    let run = |input: &str| {
        let program =
            sandbox.command("remote").args(["rm", "--creds-stdin", &registry.name("app:1")]);
        program.input(input).run()
    };
    run("me:wrong\n").fails_with(6);
    run("me:hunter2\n").success();
    assert!(registry.tags("app").is_empty(), "{}", registry.log());
}

#[test]
fn the_flags_for_registries_are_heeded() {
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    registry.add("app:1", small("x"));
    let sandbox = Sandbox::new();
    let login = auth::base64(b"me:hunter2");
    let login = json!({ "auths": { registry.host(): { "auth": login } } });
    sandbox.write("auth.json", login.to_string());
    remote_in(&sandbox, &registry, "tags HOST/app").fails_with(6);
    remote_in(&sandbox, &registry, "tags HOST/app --authfile auth.json").success();
    remote_in(&sandbox, &registry, "--authfile auth.json tags HOST/app").success();
    let registry = with_tags(&["1"]);
    let port = registry.host().rsplit_once(':').unwrap().1.to_owned();
    let line = format!("tags 0.0.0.0:{port}/ns/app");
    assert_ne!(remote(&registry, &line).code(), 0);
    asked(&registry, &format!("{line} --insecure 0.0.0.0:{port}"));
    let source = Registry::start();
    source.add("app:1", noise(100_000));
    let begin = std::time::Instant::now();
    let line = format!("copy {} HOST/b:1 --limit-rate 200k", source.name("app:1"));
    remote(&registry, &line).success();
    assert!(begin.elapsed() > std::time::Duration::from_millis(900));
}

#[test]
fn a_registry_that_is_silent_or_deaf_is_given_up_when_the_user_says() {
    let (listener, _waiting) = deaf();
    let sandbox = Sandbox::new();
    let run = |address: std::net::SocketAddr, options: &[&str]| {
        let program = sandbox.command("remote").args(["tags", &format!("{address}/app")]);
        program.args(options).patience(std::time::Duration::from_secs(12)).run()
    };
    run(listener.local_addr().unwrap(), &["--connect-timeout", "0.1"]).fails_with(5);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output =
        run(silent.local_addr().unwrap(), &["--connect-timeout", "0.1", "--stall-timeout", "0.2"]);
    assert!(output.fails_with(5).stderr.contains("sent nothing for 1 s"), "{}", output.text());
}

#[test]
fn a_look_up_is_silent_and_a_copy_tells_what_it_did_unless_it_is_to_be_quiet() {
    let registry = with_tags(&["1"]);
    let copy = |options: &str, tag: &str| {
        remote(&registry, &format!("copy {options} HOST/ns/app:1 HOST/b:{tag}"))
            .success()
            .stderr
            .clone()
    };
    assert!(copy("", "1").contains("blobs sent: 0 (0B), mounted: 2"));
    assert_eq!(copy("-q", "2"), "");
    for object in copy("--progress json", "3").lines() {
        assert!(serde_json::from_str::<Value>(object).is_ok_and(|it| it.is_object()), "{object}");
    }
}

// skopeo#1619: the newest of many tags; what comes before a release is older than the release.
#[test]
fn tags_are_sorted_by_version_or_by_name() {
    let registry = with_tags(&["1.10", "v1.9", "1.10-rc1", "latest", "1.9-alpine"]);
    let by_version = "v1.9\n1.9-alpine\n1.10-rc1\n1.10\nlatest\n";
    assert_eq!(asked_text(&registry, "tags --sort version HOST/ns/app"), by_version);
    let by_name = "1.10\n1.10-rc1\n1.9-alpine\nlatest\nv1.9\n";
    assert_eq!(asked_text(&registry, "tags --sort name HOST/ns/app"), by_name);
}

/// Two registries, of which the first has these tags of `ns/app`.
fn two_registries(tags: &[&str]) -> (Registry, Registry) {
    (with_tags(tags), Registry::start())
}

#[track_caller]
fn copied(from: &Registry, to: &Registry, words: &str) -> Output {
    let line = format!("copy HOST/ns/app {}/mirror/app {words}", to.host());
    let output = remote(from, &line);
    output.success();
    output
}

// skopeo#2735, skopeo#2503, oras#730, imgpkg#217: many tags, and of what is there already nothing but two questions.
#[test]
fn many_tags_are_copied_and_a_repeat_asks_two_questions_a_tag() {
    let (from, to) = two_registries(&["1.0", "1.1", "1.2-rc1", "1.2", "2.0", "latest"]);
    let output = copied(&from, &to, "--tags 1.*");
    let line = |tag: &str| format!("{}/mirror/app:{tag}@{}\n", to.host(), small(tag).digest());
    assert_eq!(output.out(), ["1.0", "1.1", "1.2", "1.2-rc1"].map(line).concat());
    assert_eq!(to.tags("mirror/app"), ["1.0", "1.1", "1.2", "1.2-rc1"]);
    assert!(output.stderr.contains("4 tags copied, 0 there already"), "{}", output.stderr);
    // The layer that they share was sent once.
    let shared = &small("1.0").layer_blobs()[0].digest;
    assert_eq!(from.n_requests("GET", shared), 1, "{}", from.log());
    let repeat = |words: &str| {
        from.forget();
        to.forget();
        let output = copied(&from, &to, words);
        (output, from.n_requests("", "") + to.n_requests("", ""))
    };
    let (output, n_requests) = repeat("--tags 1.*");
    assert!(output.stderr.contains("0 tags copied, 4 there already"), "{}", output.stderr);
    assert!(n_requests <= 2 * 4 + 2, "{n_requests}: {}{}", from.log(), to.log());
    // One that has moved is the only one that costs more.
    from.add("ns/app:1.1", small("anew"));
    let (output, _) = repeat("--tags 1.*");
    assert!(output.stderr.contains("1 tag copied, 3 there already"), "{}", output.stderr);
    assert_eq!(kit::digest(&to.manifest("mirror/app:1.1").unwrap()), small("anew").digest());
    // The highest versions, of all that are some.
    let (output, _) = repeat("--latest 2");
    assert_eq!(output.out(), ["1.2", "2.0"].map(line).concat());
    assert_eq!(to.tags("mirror/app"), ["1.0", "1.1", "1.2", "1.2-rc1", "2.0"]);
    let (output, _) = repeat("--tags latest --tags 1.0 --dry-run");
    assert!(output.out().contains("send"), "{}", output.text());
    assert!(!to.tags("mirror/app").contains(&"latest".to_owned()));
    // Within a registry not a byte comes here.
    from.forget();
    remote(&from, "copy HOST/ns/app HOST/other/app --tags *").success();
    assert_eq!((from.tags("other/app").len(), from.n_requests("GET", "/blobs/")), (6, 0));
}

#[test]
fn many_tags_go_on_after_one_that_cannot_be_copied() {
    let (from, to) = two_registries(&["1", "2", "3"]);
    to.fault(Fault::on("/manifests/2").method("PUT").status(400));
    let line = format!("copy HOST/ns/app {}/m --tags *", to.host());
    let output = remote(&from, &line);
    assert_eq!(output.out().lines().count(), 2, "{}", output.text());
    assert!(output.code() != 0 && output.stderr.contains("/m"), "{}", output.text());
    assert_eq!(to.tags("m"), ["1", "3"]);
    refused(&from, "copy HOST/ns/app HOST/b --tags none*", 3, "no such tags", "remote tags");
    refused(
        &from,
        "copy HOST/ns/app:1 HOST/b --latest 2",
        2,
        "repositories are named",
        "remote copy",
    );
}

// A registry that says how many are too many: all tags come, and each refusal slows down all questions.
#[test]
fn a_registry_that_is_asked_too_much_is_asked_less() {
    let tags: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let (from, to) = two_registries(&tags);
    from.fault(
        Fault::on("/manifests/")
            .method("HEAD")
            .after(8)
            .times(3)
            .status(429)
            .header("Retry-After", "1"),
    );
    let output = copied(&from, &to, "--tags *");
    assert_eq!(output.out().lines().count(), 40, "{}", output.text());
    let n_refused = from.requests().iter().filter(|it| it.status == 429).count();
    assert_eq!(n_refused, 3, "{}", from.log());
}
