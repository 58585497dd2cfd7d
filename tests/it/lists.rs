//! Lists of images: `images --lock`, and `pull`, `save` and `push --from-file`.

use kit::pipeline::{Script, sh};
use kit::{Image, Index, Layer, Named, Output, Producer, Registry, Sandbox};

use crate::fixtures::assert_one_line;

fn image(text: &str) -> Image {
    Image::new().layer(Layer::new().file("base", "b")).layer(Layer::new().file("own", text))
}

struct Place {
    sandbox: Sandbox,
    registry: Registry,
}

impl Place {
    /// A registry with `a:1`, and `b:2` for two platforms.
    fn new() -> Self {
        let registry = Registry::start();
        registry.add("a:1", image("a"));
        registry.add("b:2", Self::index());
        Self { sandbox: Sandbox::new(), registry }
    }

    fn index() -> Index {
        Index::new().image(&image("b")).image(&image("arm").platform("linux/arm64"))
    }

    fn sh(&self, script: &str) -> Output {
        sh(&self.sandbox, &script.replace("HOST", &self.registry.host()))
    }
}

// What one machine has, another one gets again, whatever the tags mean by then.
#[test]
fn a_lock_brings_the_same_images_under_their_names() {
    let place = Place::new();
    place.sh("pull -q --no-stream HOST/a:1 HOST/b:2").success();
    let lock = place.sh("images --lock").success().out();
    let host = place.registry.host();
    let expected =
        format!("{host}/a:1@{}\n{host}/b:2@{}\n", image("a").digest(), Place::index().digest());
    assert_eq!(lock, expected);
    place.registry.add("a:1", image("another"));
    place.sandbox.write("lock", format!("# of today\n{lock}"));
    let digests = place.sh("pull -q --no-stream --store new --from-file lock").success().out();
    assert_eq!(digests, format!("{}\n{}\n", image("a").digest(), image("b").digest()));
    assert_eq!(place.sh("images --store new --lock").out(), lock);
    // The names that were locked are there, and lead to what was locked.
    place.sh("unpack -q --store new --from HOST/a:1 t && cat t/own").success();
    // A stream has them too, and a list may come by a pipe, beside names.
    let script = "images --store new --lock | pull -q --no-store --from-file - HOST/b:2 | \
        load -q --store third; images -q --store third | sort | tr '\\n' ' '";
    let mut digests = [image("a").digest(), image("b").digest()];
    digests.sort();
    assert!(place.sh(script).success().out().ends_with(&format!("{} {} ", digests[0], digests[1])));
}

#[test]
fn lists_are_saved_and_pushed() {
    let place = Place::new();
    place.sh("pull -q --no-stream HOST/a:1 HOST/b:2; images --lock > lock").success();
    place
        .sandbox
        .write("names", "HOST/a:1 # one\n\nHOST/b:2\n".replace("HOST", &place.registry.host()));
    let saved =
        |list: &str| place.sh(&format!("save --from-file {list} | sha256sum")).success().out();
    let expected = place.sh("save HOST/a:1 HOST/b:2 | sha256sum").out();
    for list in ["names", "lock", "- < names"] {
        assert_eq!(saved(list), expected, "{list}");
    }
    let pushed = place.sh("push -q --from-file lock --to HOST/mirror").success().out();
    assert_eq!(pushed.lines().count(), 2, "{pushed}");
    assert!(place.registry.manifest("mirror/a:1").is_some());
    assert!(place.registry.manifest("mirror/b:2").is_some());
    // Each to its own name, without --to.
    place.sh("images tag HOST/a:1 HOST/c:3; images tag HOST/a:1 HOST/d:4; printf 'HOST/c:3\\nHOST/d:4\\n' | push -q --from-file -").success();
    assert!(place.registry.manifest("c:3").is_some() && place.registry.manifest("d:4").is_some());
    // What the lock says counts, and not what the name means by now.
    place.sandbox.load(&[Named::new(
        "HOST/a:1".replace("HOST", &place.registry.host()).as_str(),
        image("moved"),
    )]);
    let locked = place
        .sh("save --from-file lock | load -q --store new; images -q --store new")
        .success()
        .out();
    assert!(
        locked.contains(&image("a").digest()) && !locked.contains(&image("moved").digest()),
        "{locked}"
    );
}

#[test]
fn a_list_that_makes_no_sense_is_told_with_its_line() {
    let place = Place::new();
    place.sandbox.write("wrong", "a:1\n# fine\nNot A Name\n");
    let output = place.sh("pull --from-file wrong --no-stream");
    assert_one_line(output.fails_with(2), "pull");
    assert!(output.stderr.starts_with("pull: wrong: line 3: "), "{}", output.stderr);
    place.sandbox.write("empty", "# nothing\n");
    for program in ["pull --no-stream", "save -o x", "push --to HOST"] {
        place.sh(&format!("{program} --from-file empty")).fails_with(3);
        place.sh(&format!("{program} --from-file nowhere")).fails_with(3);
    }
    let script =
        Script::new(&place.sandbox, "pull --creds-stdin --from-file - x.test/a").input("me:pw\n");
    script.run().fails_with(2);
    place.sh("save a:1 --have - --from-file -").fails_with(2);
    place.sandbox.write("a.tar", Producer::Strata.write(&[Named::new("a:1", image("a"))]));
    place.sh("push --from-file empty a:1").fails_with(2);
}
