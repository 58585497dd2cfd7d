//! What we push to the real registry is what everybody pulls from there, with the digests that it had here.

use std::path::Path;

use kit::image::random::Random;
use kit::peers::docker::Docker;
use kit::peers::docker_registry::{
    Access, DockerRegistry, Login, PASSWORD, Setup, Transport, USER,
};
use kit::peers::podman::Podman;
use kit::peers::{peer, prepare};
use kit::registry::auth::base64;
use kit::{
    Codec, Content, Image, Index, Layer, Named, Output, Producer, Registry, Sandbox, pipeline,
};
use serde_json::json;

use crate::layers::small;

const OPEN: Setup = Setup::PLAIN;

/// A registry, and a sandbox whose store has an image as `app:1`.
pub(crate) struct Place {
    pub(crate) registry: DockerRegistry,
    pub(crate) sandbox: Sandbox,
}

impl Place {
    pub(crate) fn with(setup: &Setup, content: impl Into<Content>) -> Option<Self> {
        let place = Self { registry: DockerRegistry::start(setup)?, sandbox: Sandbox::new() };
        let name = "docker.io/library/app:1";
        place.sandbox.write("in", Producer::Strata.write(&[Named::new(name, content)]));
        place.sh("load < in").success();
        Some(place)
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    /// Runs a script that trusts the registry's authority and knows its password.
    pub(crate) fn sh(&self, script: &str) -> Output {
        let auth = base64(format!("{USER}:{PASSWORD}").as_bytes());
        let config = json!({ "auths": { self.registry.host(): { "auth": auth } } });
        self.sandbox.write("../home/.docker/config.json", config.to_string());
        let authority = self.registry.authority();
        let script = pipeline::Script::new(&self.sandbox, script);
        script.with(|program| program.env("SSL_CERT_FILE", authority)).run()
    }

    /// What was said, whatever the port.
    pub(crate) fn text(&self, output: &Output) -> String {
        output.text_without(&[(&self.registry.host(), "[REGISTRY]")])
    }

    /// The digest that skopeo finds for the bytes behind a name.
    fn skopeo(&self, name: &str) -> Option<String> {
        let skopeo = peer("skopeo")?;
        let sandbox = Sandbox::new();
        prepare(&sandbox, &[&self.registry.host()]);
        let inspect = skopeo.program(&sandbox).args(["inspect", "--raw", "--tls-verify=false"]);
        let inspect = inspect.arg(format!("--creds={USER}:{PASSWORD}"));
        let output = inspect.arg(format!("docker://{}", self.name(name))).run();
        Some(kit::digest(&output.success().stdout))
    }
}

fn two_platforms() -> Index {
    let (own, other) = (small(Image::new()), Image::new().platform("linux/s390x"));
    let other = other.layer(Layer::new().file("other", "other"));
    Index::new().image(&own).image(&other).attestation(&own)
}

#[test]
fn every_kind_of_registry_gets_the_image() {
    let image = small(Image::new());
    for setup in [
        OPEN,
        Setup { login: Login::Htpasswd, ..OPEN },
        Setup { transport: Transport::Tls, ..OPEN },
        Setup { login: Login::Htpasswd, transport: Transport::Tls, ..OPEN },
    ] {
        let Some(place) = Place::with(&setup, &image) else { return };
        let output = place.sh(&format!("push app:1 {}", place.name("ns/mine:1")));
        let expected = format!("{}@{}\n", place.name("ns/mine"), image.digest());
        assert_eq!(output.success().out(), expected, "{setup:?}");
        let Some(digest) = place.skopeo("ns/mine:1") else { return };
        assert_eq!(digest, image.digest());
        // A second name in another repository costs no upload.
        let output = place.sh(&format!("push app:1 {}", place.name("other:2")));
        assert!(output.success().stderr.contains("Mounted from ns/mine"), "{}", output.stderr);
        assert!(!output.stderr.contains("Pushed"), "{}", output.stderr);
    }
}

#[test]
fn an_index_goes_from_registry_to_registry_with_all_that_belongs_to_it() {
    let index = two_platforms();
    let Some(place) = Place::with(&OPEN, &index) else { return };
    let Some(to) = DockerRegistry::start(&OPEN) else { return };
    let (from, there) = (place.name("app:1"), format!("{}/copy:1", to.host()));
    place.sh(&format!("push app:1 {from}")).success();
    let script = format!("pull --no-store --all-platforms {from} | push - {there}");
    let output = place.sh(&script);
    assert_eq!(output.success().out(), format!("{}/copy@{}\n", to.host(), index.digest()));
    // What was copied is whole: all of it can be copied on by somebody else.
    let Some(skopeo) = peer("skopeo") else { return };
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[&to.host()]);
    let copy = skopeo.program(&sandbox).args(["copy", "--quiet", "--all"]);
    copy.args([&format!("docker://{there}"), "oci:out:app"]).run().success();
    let layout = std::fs::read_to_string(sandbox.path("out/index.json")).unwrap();
    assert!(layout.contains(&index.digest()), "{layout}");
}

#[test]
fn as_root_docker_and_podman_pull_what_was_pushed() {
    let index = two_platforms();
    for content in [Content::from(&index), Content::from(small(Image::new().docker()))] {
        let digest = content.digest().to_owned();
        let Some(place) = Place::with(&OPEN, content) else { return };
        let name = place.name("app:1");
        place.sh(&format!("push app:1 {name}")).success();
        let (Some(docker), Some(podman)) =
            (Docker::start(), Podman::new(&[&place.registry.host()]))
        else {
            return;
        };
        let pulled = docker.command(&["pull", &name]).run();
        assert!(pulled.success().out().contains(&format!("Digest: {digest}")), "{}", pulled.text());
        podman.command(&["pull", "--quiet", &name]).run().success();
        let inspected = podman.command(&["inspect", "--format={{.RepoDigests}}", &name]).run();
        assert!(inspected.success().out().contains(&digest), "{}", inspected.text());
    }
}

#[test]
fn a_registry_that_only_gives_says_so() {
    let image = small(Image::new());
    let Some(place) = Place::with(&Setup { access: Access::ReadOnly, ..OPEN }, &image) else {
        return;
    };
    let output = place.sh(&format!("push -q app:1 {}", place.name("app:1")));
    assert_eq!(output.code(), 5, "{}", output.text());
    assert!(output.stdout.is_empty() && output.stderr.lines().count() == 1, "{}", output.text());
    assert!(output.stderr.contains("answered 405"), "{}", output.text());
}

#[test]
fn a_mirror_hands_on_what_was_pushed_to_its_origin() {
    let image = small(Image::new());
    let Some(place) = Place::with(&OPEN, &image) else { return };
    place.sh(&format!("push app:1 {}", place.name("app:1"))).success();
    let proxy = Some(place.registry.url());
    let Some(mirror) = DockerRegistry::start(&Setup { proxy, ..OPEN }) else { return };
    let script = format!("pull --no-stream --store other {}/app:1", mirror.host());
    assert_eq!(place.sh(&script).success().out().trim_end(), image.digest());
    let output = place.sh(&format!("push -q app:1 {}/other:1", mirror.host()));
    assert_eq!(output.code(), 5, "{}", output.text());
}

#[test]
fn a_wrong_password_is_told() {
    let setup = Setup { login: Login::Htpasswd, ..OPEN };
    let Some(place) = Place::with(&setup, small(Image::new())) else { return };
    let script = format!("echo me:wrong | push -q --creds-stdin app:1 {}", place.name("app:1"));
    let output = place.sh(&script);
    assert!(!output.text().contains("wrong"), "{}", output.text());
    assert_eq!(output.code(), 6, "{}", output.text());
    let said = place.text(&output);
    let [error, hint] = said.lines().skip(2).collect::<Vec<_>>()[..] else { panic!("{said}") };
    let why = ": not authorised: the login from the command line was refused";
    assert!(error.starts_with("push: [REGISTRY]/app@sha256:") && error.contains(why), "{error}");
    assert_eq!(hint, "hint: log in again: remote login [REGISTRY]");
}

#[test]
fn a_private_authority_may_stand_where_podman_looks() {
    let setup = Setup { transport: Transport::Tls, ..OPEN };
    let Some(place) = Place::with(&setup, small(Image::new())) else { return };
    let push = || place.sandbox.command("push").args(["-q", "app:1", &place.name("app:1")]).run();
    let output = push();
    assert_eq!(output.code(), 5, "{}", output.text());
    assert!(output.stderr.contains("hint: put its authority into "), "{}", output.text());
    let authority = std::fs::read(place.registry.authority()).unwrap();
    let dir = format!("../home/.config/containers/certs.d/{}", place.registry.host());
    place.sandbox.write(&format!("{dir}/ca.crt"), authority);
    push().success();
    let script = format!("pull --explain-auth {}", place.name("app:1"));
    let output = place.sandbox.program("/bin/sh").args(["-c", &script]).run();
    assert!(output.success().out().contains("/ca.crt"), "{}", output.text());
}

#[test]
fn a_registry_that_speaks_http2_is_spoken_to_in_it() {
    let setup = Setup { transport: Transport::Tls, ..OPEN };
    // More than the registry would take over HTTP/2 before it has read any of it.
    let large = Layer::new().file("large", Random::new(1).bytes(9 << 20));
    let Some(place) = Place::with(&setup, Image::new().layer(large)) else { return };
    let name = place.name("ns/app:1");
    place.sh(&format!("push -q app:1 {name} && pull --no-store {name} | unpack root")).success();
    assert_eq!(place.sandbox.read("root/large"), Random::new(1).bytes(9 << 20));
    let requests = place.registry.requests();
    let others = requests.iter().filter(|line| !line.contains(" HTTP/2.0\""));
    let [upload] = others.collect::<Vec<_>>()[..] else { panic!("{requests:#?}") };
    assert!(upload.contains("\"PUT /v2/ns/app/blobs/uploads/"), "{upload}");
}

#[test]
fn a_client_certificate_is_found_and_without_it_nobody_comes_in() {
    let setup = Setup { transport: Transport::ClientCertificates, ..OPEN };
    let Some(place) = Place::with(&setup, small(Image::new())) else { return };
    let name = place.name("app:1");
    let push = format!("push -q app:1 {name}");
    let pull = format!("pull --no-stream --store other {name}");
    let dir = format!("../home/.config/containers/certs.d/{}", place.registry.host());
    let show = |name: &str, from: &Path| {
        place.sandbox.write(&format!("{dir}/{name}"), std::fs::read(from).unwrap());
    };
    show("ca.crt", &place.registry.authority());
    for script in [&push, &pull] {
        let output = place.sandbox.program("/bin/sh").args(["-c", script]).run();
        assert_eq!(output.code(), 6, "{}", output.text());
        // Which alert it is depends on the registry's TLS: BadCertificate, or CertificateRequired.
        let text = " wants a client certificate: received fatal alert: ";
        assert!(output.stderr.contains(text), "{}", output.text());
        assert!(output.stderr.contains("\nhint: put a certificate and its key into "));
    }
    let (certificate, key) = place.registry.client();
    show("client.cert", &certificate);
    show("client.key", &key);
    for script in [&push, &pull] {
        place.sandbox.program("/bin/sh").args(["-c", script]).run().success();
    }
    let script = format!("pull --explain-auth {name}");
    let output = place.sandbox.program("/bin/sh").args(["-c", &script]).run();
    assert!(output.success().out().contains("/client.cert"), "{}", output.text());
}

#[test]
fn a_killed_push_is_finished_by_the_next() {
    let big = Layer::new().file("big", vec![7; 80 << 20]);
    let image = Image::new().codec(Codec::None).layer(big);
    let Some(place) = Place::with(&OPEN, &image) else { return };
    let name = place.name("app:1");
    let running = place.sandbox.command("push").args(["app:1", &name]).start();
    let uploads = place.registry.storage().join("docker/registry/v2/repositories/app/_uploads");
    running.kill_when(|| uploads.exists());
    place.sh(&format!("push app:1 {name}")).success();
    let Some(digest) = place.skopeo("app:1") else { return };
    assert_eq!(digest, image.digest());
}

#[test]
fn what_refers_to_an_image_goes_where_its_tag_says() {
    let image = small(Image::new());
    let subject = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.digest(),
        "size": image.manifest_blob().bytes.len(),
    });
    let about = |text: &str| {
        let about = Image::new().codec(Codec::None).layer(text);
        about
            .set_manifest("/subject", subject.clone())
            .set_manifest("/layers/0/mediaType", "text/plain")
    };
    let (sbom, scan) = (about("sbom"), about("scan"));
    let tag = image.digest().replace(':', "-");
    let Some(place) = Place::with(&OPEN, &image) else { return };
    let named =
        |tag: &str, content: Content| Named::new(&format!("docker.io/library/app:{tag}"), content);
    let list = Index::new().image(&sbom).image(&scan);
    let signature = named(&format!("{tag}.sig"), (&about("signature")).into());
    let list = Producer::Strata.write(&[named(&tag, (&list).into()), signature]);
    place.sandbox.write("list", list);
    place.sh("load < list").success();
    let (first, second) = (place.name("first:1"), place.name("second:1"));
    place.sh(&format!("push --referrers app:1 {first}")).success();
    // This registry has no referrers API: the tag holds the list.
    place.sh(&format!("pull --no-store --referrers {first} | push - {second}")).success();
    for repository in ["first", "second"] {
        let Some(digest) = place.skopeo(&format!("{repository}:{tag}.sig")) else { return };
        assert_eq!(digest, about("signature").digest());
        for it in [&image, &sbom, &scan] {
            let digest = it.digest();
            assert_eq!(place.skopeo(&format!("{repository}@{digest}")), Some(digest));
        }
    }
    let lists = ["first", "second"].map(|repository| place.skopeo(&format!("{repository}:{tag}")));
    assert!(lists[0].is_some() && lists[0] == lists[1], "{lists:?}");
}

/// Counted at the kit's registry: a new image of ten layers, the same again, and one more small layer on top.
#[test]
fn a_push_takes_fewer_requests_than_skopeos() {
    let Some(skopeo) = peer("skopeo") else { return };
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[]);
    let layer = |seed: u64| Layer::new().file(format!("files/{seed}"), format!("layer {seed}"));
    let image = |n: u64| (0..n).fold(Image::new(), |image, seed| image.layer(layer(seed)));
    for (name, image) in [("ten", image(10)), ("eleven", image(11))] {
        let name = format!("docker.io/library/{name}:1");
        sandbox.write("in", Producer::Strata.write(&[Named::new(&name, image)]));
        pipeline::sh(&sandbox, "load < in").success();
    }
    let layout = "mkdir NAME; save --format oci NAME:1 | tar -xC NAME";
    for name in ["ten", "eleven"] {
        pipeline::sh(&sandbox, &layout.replace("NAME", name)).success();
    }
    let (ours, theirs) = (Registry::start(), Registry::start());
    let mut counts = vec![];
    for name in ["ten", "ten", "eleven"] {
        pipeline::sh(&sandbox, &format!("push --jobs 1 {name}:1 {}", ours.name("app:1"))).success();
        let copy = skopeo.program(&sandbox).args(["copy", "--quiet", "--dest-tls-verify=false"]);
        let to = format!("docker://{}", theirs.name("app:1"));
        copy.arg(format!("oci:{name}")).arg(to).run().success();
        counts.push((ours.requests().len(), theirs.requests().len()));
        ours.forget();
        theirs.forget();
    }
    // A question, two requests for each of eleven blobs, the manifest; eleven questions; eleven, two for the layer and two
    // for the config, the manifest.
    let own: Vec<_> = counts.iter().map(|(own, _)| *own).collect();
    assert_eq!(own, [24, 12, 16], "{counts:?}");
    assert!(counts.iter().all(|(own, other)| own <= other), "{counts:?}");
}
