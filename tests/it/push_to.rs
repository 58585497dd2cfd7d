//! `push --to`: many images, each under its own path below another registry or prefix.

use kit::image::random::random;
use kit::pipeline::sh;
use kit::{Fault, Image, Index, Layer, Named, Output, Producer, Registry, Sandbox};

use crate::fixtures::{assert_one_line, names};

fn small(text: &str) -> Image {
    random(7, 1, 3).layer(Layer::new().file("own", text))
}

/// What the store of a sandbox holds: images of three registries, one of them with several platforms.
struct Place {
    sandbox: Sandbox,
    registry: Registry,
    nginx: Image,
    deep: Index,
    pinned: Image,
}

const IMAGES: &str = "nginx:1.27 ghcr.io/a/b/c:2 ghcr.io/a/b/c:latest";

impl Place {
    fn new() -> Self {
        let (nginx, pinned) = (small("nginx"), small("pinned"));
        let arm = small("arm").platform("linux/arm64");
        let deep = Index::new().image(&small("deep")).image(&arm);
        let sandbox = Sandbox::new();
        sandbox.load(&[
            Named::new("docker.io/library/nginx:1.27", &nginx),
            Named::new("ghcr.io/a/b/c:2", &deep),
            Named::new("ghcr.io/a/b/c:latest", &deep),
            Named::new("quay.io/x/y:1", &pinned),
        ]);
        Self { sandbox, registry: Registry::start(), nginx, deep, pinned }
    }

    fn sh(&self, script: &str) -> Output {
        sh(&self.sandbox, &script.replace("HOST", &self.registry.host()))
    }

    #[track_caller]
    fn refused(&self, script: &str, code: i32, said: &str) {
        let output = self.sh(script);
        assert!(output.fails_with(code).stderr.contains(said), "{said}: {}", output.text());
        let n_sent = self.registry.n_uploads() + self.registry.n_requests("PUT", "");
        assert_eq!(n_sent, 0, "{}", self.registry.log());
    }

    #[track_caller]
    fn has(&self, name: &str, digest: &str) {
        let raw = self.registry.manifest(name);
        assert_eq!(raw.map(|raw| kit::digest(&raw)).as_deref(), Some(digest), "{name}");
    }
}

// skopeo#854, skopeo#2461, skopeo#985: the registry is replaced, the path stays.
#[test]
fn each_image_of_a_stream_goes_under_its_own_path_below_the_prefix() {
    let place = Place::new();
    let output = place.sh(&format!("save {IMAGES} | push -q - --to HOST/mirror"));
    let said = format!(
        "HOST/mirror/library/nginx@{0}\nHOST/mirror/a/b/c@{1}\nHOST/mirror/a/b/c@{1}\n",
        place.nginx.digest(),
        place.deep.digest()
    );
    assert_eq!(output.success().out(), said.replace("HOST", &place.registry.host()));
    place.has("mirror/library/nginx:1.27", &place.nginx.digest());
    for tag in ["2", "latest"] {
        place.has(&format!("mirror/a/b/c:{tag}"), &place.deep.digest());
    }
    // Each repository has its own blobs and no others, and one that both need is sent once and mounted once.
    let own = &place.nginx.layer_blobs()[1];
    assert!(place.registry.blob("mirror/a/b/c", &own.digest).is_none());
    let name = place.registry.name("mirror/a/b/c:2");
    place.sh(&format!("pull -q --no-stream --all-platforms --store new {name}")).success();
}

#[test]
fn images_of_the_store_go_there_as_well_and_without_a_prefix() {
    let place = Place::new();
    let output = place.sh(&format!("push -q --to HOST {IMAGES} quay.io/x/y:1"));
    assert_eq!(output.success().out().lines().count(), 4);
    place.has("library/nginx:1.27", &place.nginx.digest());
    place.has("a/b/c:2", &place.deep.digest());
    place.has("x/y:1", &place.pinned.digest());
    // Nothing more has to be sent for the same images.
    place.registry.forget();
    place.sh(&format!("push -q --to HOST/ {IMAGES}")).success();
    assert_eq!(place.registry.n_uploads(), 0, "{}", place.registry.log());
}

#[test]
fn what_a_run_would_do_is_told_for_each_image() {
    let place = Place::new();
    for script in [
        format!("save {IMAGES} | push --dry-run - --to HOST/m"),
        format!("push --dry-run --to HOST/m {IMAGES}"),
    ] {
        let output = place.sh(&script);
        let said = output.success().out();
        for repository in ["m/library/nginx", "m/a/b/c"] {
            assert!(said.contains(&place.registry.name(repository)), "{said}");
        }
        assert_eq!(place.registry.n_requests("PUT", ""), 0, "{}", place.registry.log());
    }
}

#[test]
fn two_images_that_would_get_one_name_are_refused_before_anything_is_sent() {
    let place = Place::new();
    place
        .sh("images tag nginx:1.27 one.test/app:1; images tag quay.io/x/y:1 two.test/app:1")
        .success();
    let said = "one.test/app:1 and two.test/app:1 would both be HOST/m/app:1";
    let said = said.replace("HOST", &place.registry.host());
    place.refused("save one.test/app:1 two.test/app:1 | push - --to HOST/m", 2, &said);
    place.refused("push --to HOST/m one.test/app:1 two.test/app:1", 2, &said);
    // The same image twice is no collision.
    place.sh("images tag one.test/app:1 two.test/app:1").success();
    place.sh("save one.test/app:1 two.test/app:1 | push -q - --to HOST/m").success();
    place.has("m/app:1", &place.nginx.digest());
}

#[test]
fn what_has_no_name_and_what_is_no_registry_is_refused() {
    let place = Place::new();
    let digest = place.nginx.digest();
    place.refused(&format!("push --to HOST {digest}"), 2, "to which NAME?");
    place.refused(&format!("save {digest} | push - --to HOST"), 2, "doesn't begin with the names");
    place.refused(
        "push --to HOST nginx:1.27 -",
        2,
        "- is a whole stream and can't be one of several images",
    );
    place.refused("push --to HOST nginx:1.27 none:1", 3, "none:1: not in the store");
    place.refused("push --to HOST ./x.tar", 2, "only images of the store");
    place.refused("push --to mirror/x nginx:1.27", 2, "a registry comes first");
    place.refused("push --to HOST/x:1 nginx:1.27", 2, "malformed image name");
    // An archive that names its images last.
    let image = [Named::new("docker.io/library/nginx:1.27", &place.nginx)];
    place.sandbox.write("late.tar", Producer::DockerContainerd.write(&image));
    place.refused("push - --to HOST < late.tar", 2, "doesn't begin with the names");
    let output = place.sh("cat late.tar | push - --to HOST");
    let hint = "hint: load it, then save IMAGE… | push - --to REGISTRY/PREFIX";
    assert!(output.fails_with(2).stderr.contains(hint), "{}", output.text());
}

#[test]
fn a_name_with_a_digest_keeps_it() {
    let place = Place::new();
    let digest = place.registry.add("source/app:1", place.pinned.clone());
    let pinned = format!("{}@{digest}", place.registry.name("source/app"));
    place.sh(&format!("pull -q --no-stream {pinned}")).success();
    let said = format!("{}@{digest}\n", place.registry.name("m/source/app"));
    let streamed = place.sh(&format!("save {pinned} | push -q - --to HOST/m"));
    assert_eq!(streamed.success().out(), said);
    assert_eq!(place.sh(&format!("push -q --to HOST/m {pinned}")).success().out(), said);
    assert!(place.registry.manifest(&format!("m/source/app@{digest}")).is_some());
}

/// An image that was chosen of an index that a name pins has a digest of its own.
#[test]
fn an_image_of_a_pinned_index_goes_under_its_own_digest() {
    let place = Place::new();
    let index = place.registry.add("source/app:1", place.deep.clone());
    let arm = small("arm").platform("linux/arm64").digest();
    let name = format!("HOST/source/app@{index}");
    place.sh(&format!("pull -q --no-stream --all-platforms {name}")).success();
    let output = place.sh(&format!("push -q --platform linux/arm64 --to HOST/m {name}"));
    let said = format!("{}@{arm}\n", place.registry.name("m/source/app"));
    assert_eq!(output.success().out(), said, "{}", output.text());
    place.has(&format!("m/source/app@{arm}"), &arm);
}

/// A repository that may not be written to costs the others nothing, and the status is its own.
#[test]
fn if_one_of_many_fails_the_others_are_pushed_and_the_status_tells() {
    for script in
        [format!("save {IMAGES} | push - --to HOST/m"), format!("push --to HOST/m {IMAGES}")]
    {
        let place = Place::new();
        place.registry.fault(Fault::on("m/library/nginx/manifests/").method("PUT").status(403));
        let output = place.sh(&script);
        let said = output.fails_with(6).out();
        let expected = format!("{}@{}\n", place.registry.name("m/a/b/c"), place.deep.digest());
        assert_eq!(said, expected.repeat(2), "{}", output.text());
        place.has("m/a/b/c:2", &place.deep.digest());
        assert!(output.stderr.contains("m/library/nginx"), "{}", output.stderr);
    }
    // If several fail, each is told.
    let place = Place::new();
    place.registry.fault(Fault::on("/manifests/1.27").method("PUT").status(403));
    place.registry.fault(Fault::on("/manifests/2").method("PUT").status(400));
    let output = place.sh(&format!("push --to HOST/m {IMAGES}"));
    assert_eq!(output.fails_with(5).out().lines().count(), 1, "{}", output.text());
    for name in ["m/library/nginx", "m/a/b/c"] {
        assert!(output.stderr.contains(name), "{}", output.stderr);
    }
}

/// To find out that nobody listens takes its time.
#[test]
fn a_registry_that_cannot_be_reached_is_not_tried_for_every_image() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = Place::new().sh(&format!("push -q --to {closed} {IMAGES}"));
    assert_one_line(output.fails_with(5), "push");
}

#[test]
fn of_a_stream_nothing_has_a_name_if_a_layer_did_not_arrive() {
    let place = Place::new();
    place.registry.fault(Fault::on("m/a/b/c/blobs/uploads").status(403));
    let output = place.sh(&format!("save {IMAGES} | push - --to HOST/m"));
    assert_eq!(output.fails_with(6).out(), "");
    assert_eq!(place.registry.n_requests("PUT", "/manifests/"), 0, "{}", place.registry.log());
}

/// Signatures of an image of a stream go where it goes.
#[test]
fn what_refers_to_an_image_goes_along() {
    let place = Place::new();
    let digest = place.nginx.digest().replace(':', "-");
    let signature = small("signature");
    place.sandbox.load(&[Named::new(&format!("docker.io/library/nginx:{digest}.sig"), &signature)]);
    for (script, path) in [
        ("save --referrers nginx:1.27 | push -q - --to HOST/a", "a"),
        ("push -q --referrers --to HOST/b nginx:1.27", "b"),
    ] {
        place.sh(script).success();
        place.has(&format!("{path}/library/nginx:{digest}.sig"), &signature.digest());
    }
}

#[test]
fn a_push_that_is_killed_names_nothing_that_is_not_whole() {
    let place = Place::new();
    place.registry.fault(Fault::on("m/a/b/c/manifests").method("PUT").stall_after(0, None));
    let script = format!("save {IMAGES} > s.tar");
    place.sh(&script).success();
    let push = place.sandbox.command("push").args(["-q", "-", "--to"]);
    let push = push.arg(place.registry.name("m")).input(place.sandbox.read("s.tar")).start();
    push.kill_when(|| place.registry.n_requests("PUT", "m/a/b/c/manifests") > 0);
    place.registry.release();
    place.registry.heal();
    let pulled = place.sh("pull -q --no-stream --store new HOST/m/library/nginx:1.27");
    pulled.success();
    // The next one is quick, and leaves nothing.
    place.sh("push -q - --to HOST/m < s.tar").success();
    place.has("m/a/b/c:2", &place.deep.digest());
    assert!(names(place.sandbox.root().join("tmp")).iter().all(|name| name == ".pipestatus"));
}
