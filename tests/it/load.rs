//! `load` of images without a name, of several files at once, and of what skopeo's `dir:` transport wrote; and the programs that
//! read such a directory where it lies.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kit::archive::{self, skopeo_directory};
use kit::image::random::random;
use kit::pipeline::{Script, sh};
use kit::{Codec, Image, Index, Layer, Named, Output, Producer, Sandbox, check, digest, tree};
use serde_json::Value;

use crate::fixtures::{assert_one_line, lacks_root};

fn image(text: &str) -> Image {
    Image::new().layer(Layer::new().file("base", "b")).layer(Layer::new().file("own", text))
}

/// The names and digests in the store, a line each.
fn names(sandbox: &Sandbox) -> String {
    let listed = sh(sandbox, "images --json").success().out();
    let images: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let line = |image: &Value| format!("{} {}\n", image["name"], image["digest"]);
    let mut lines: Vec<_> = images.iter().map(|it| line(it).replace('"', "")).collect();
    lines.sort();
    lines.concat()
}

fn named(text: &str, digest: impl AsRef<str>) -> String {
    format!("docker.io/library/{text} {}\n", digest.as_ref())
}

/// A docker-archive whose image has no name, as `docker save ID` writes it.
fn nameless(image: &Image) -> Vec<u8> {
    let config = image.config_blob();
    let layers = image.layer_blobs();
    let paths: Vec<_> = layers.iter().map(|blob| format!("{}.tar", blob.hex())).collect();
    let listed = serde_json::json!([{
        "Config": format!("{}.json", config.hex()), "RepoTags": null, "Layers": paths,
    }]);
    let listed = listed.to_string();
    let config_path = format!("{}.json", config.hex());
    let mut members: Vec<(&str, &[u8])> = vec![(&config_path, &config.bytes)];
    members.extend(paths.iter().map(String::as_str).zip(layers.iter().map(|it| &it.bytes[..])));
    members.push(("manifest.json", listed.as_bytes()));
    archive::archive(&members)
}

#[track_caller]
fn refused(output: &Output, code: i32, said: &str) {
    let said_so = output.fails_with(code).stderr.contains(said);
    assert!(said_so, "{said}: {}", output.text());
}

// moby#40188, podman#7387, moby#16711
#[test]
fn an_image_without_a_name_gets_one() {
    let sandbox = Sandbox::new();
    sandbox.write("id.tar", nameless(&image("x")));
    let loaded = sh(&sandbox, "load -q id.tar").success().out();
    assert!(loaded.starts_with("Loaded image ID: sha256:"), "{loaded}");
    let digest = loaded.trim_end().strip_prefix("Loaded image ID: ").unwrap();
    assert_eq!(sh(&sandbox, "load -q --tag app:1 id.tar").success().out(), "Loaded image: app:1\n");
    assert_eq!(names(&sandbox), named("app:1", digest));
    let json = sh(&sandbox, "load -q --json -t app:2 < id.tar").success().out();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["name"], "docker.io/library/app:2");
    assert_eq!(names(&sandbox), named("app:1", digest) + &named("app:2", digest));
}

// podman#7387: the name that is given is the image's, whatever the archive says.
#[test]
fn the_only_image_is_renamed_and_one_of_several_if_it_is_said_which() {
    let (one, two) = (image("1"), image("2"));
    let sandbox = Sandbox::new();
    let both = [("one:1", &one), ("also:1", &one), ("two:1", &two)];
    let name =
        |(name, image): (&str, &Image)| Named::new(&format!("docker.io/library/{name}"), image);
    sandbox.write(
        "one.tar",
        Producer::Strata.write(&both[..2].iter().copied().map(name).collect::<Vec<_>>()),
    );
    sandbox.write("both.tar", Producer::Strata.write(&both.map(name)));
    assert_eq!(sh(&sandbox, "load -q -t app:1 one.tar").success().out(), "Loaded image: app:1\n");
    assert_eq!(names(&sandbox), named("app:1", one.digest()));
    let output = sh(&sandbox, "load -q -t app:2 both.tar");
    refused(&output, 2, "several images in this archive: one:1, also:1, two:1");
    assert!(output.stderr.contains("--image NAME"), "{}", output.stderr);
    assert_eq!(names(&sandbox), named("app:1", one.digest()));
    let by_digest = format!("load -q -t app:3 --image {} both.tar", two.digest());
    for script in ["load -q -t app:2 --image two:1 both.tar", &by_digest] {
        sh(&sandbox, script).success();
    }
    let expected = named("app:1", one.digest()) + &named("app:2", two.digest());
    assert_eq!(names(&sandbox), expected + &named("app:3", two.digest()));
    let output = sh(&sandbox, "load -q --image other:1 both.tar");
    refused(&output, 3, "other:1: not in this archive");
    assert!(output.stderr.contains("hint: there is one:1, also:1, two:1"), "{}", output.stderr);
    let pinned = format!("load -q -t app@{} one.tar", one.digest());
    refused(&sh(&sandbox, &pinned), 2, "a name with a digest can't be given");
}

#[test]
fn one_image_of_several_comes_without_the_layers_of_the_others() {
    let (one, two) = (image("1"), image("2"));
    let sandbox = Sandbox::new();
    sandbox.write(
        "both.tar",
        Producer::DockerContainerd.write(&[
            Named::new("docker.io/library/one:1", &one),
            Named::new("docker.io/library/two:1", &two),
        ]),
    );
    sh(&sandbox, "load -q --image two:1 both.tar").success();
    assert_eq!(names(&sandbox), named("two:1", two.digest()));
    let report = check::layout(sandbox.store()).unwrap();
    assert_eq!(report.orphans, Vec::<String>::new());
}

#[test]
fn several_files_are_loaded_with_one_report() {
    let images = ["1", "2", "3"].map(image);
    let sandbox = Sandbox::new();
    let full = |n: usize| format!("docker.io/library/app:{n}");
    sandbox.write("1.tar", Producer::Strata.write(&[Named::new(&full(1), &images[0])]));
    sandbox.write("2.tar", Producer::Docker24.write(&[Named::new(&full(2), &images[1])]));
    archive::layout(sandbox.path("layout"), &[Named::new(&full(3), &images[2])]);
    let output = sh(&sandbox, "load -q 2.tar - layout < 1.tar");
    let said = "Loaded image: app:2\nLoaded image: app:1\nLoaded image: app:3\n";
    assert_eq!(output.success().out(), said);
    check::layout(sandbox.store()).unwrap();
    refused(&sh(&sandbox, "load - - < 1.tar"), 2, "standard input can be read only once");
    // A file that isn't there is told before anything is read.
    let fresh = Sandbox::new();
    fresh.write("1.tar", Producer::Strata.write(&[Named::new(&full(1), &images[0])]));
    refused(&sh(&fresh, "load 1.tar 9.tar"), 3, "9.tar");
    assert!(!fresh.store().exists());
}

#[test]
fn of_several_files_all_are_loaded_or_none() {
    let sandbox = Sandbox::new();
    let good = Producer::Strata.write(&[Named::new("docker.io/library/good:1", image("1"))]);
    let mut bad = Producer::Strata.write(&[Named::new("docker.io/library/bad:1", image("2"))]);
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    sandbox.write("good.tar", good);
    sandbox.write("bad.tar", bad);
    for files in ["good.tar bad.tar", "bad.tar good.tar", "good.tar - < bad.tar"] {
        let output = sh(&sandbox, &format!("load -q {files}"));
        refused(&output, 4, "load: ");
        assert_eq!(names(&sandbox), "", "{files}");
    }
    assert!(sh(&sandbox, "load -q good.tar bad.tar").stderr.contains("bad.tar"));
}

#[test]
fn what_one_file_leaves_out_another_brings() {
    let (base, app) = (random(1, 2, 10), random(1, 2, 10).layer(Layer::new().file("own", "x")));
    let (there, sandbox) = (Sandbox::new(), Sandbox::new());
    let name = |name: &str, image: &Image| Named::new(&format!("docker.io/library/{name}"), image);
    there.load(&[name("base:1", &base), name("app:1", &app)]);
    for (file, words) in [("thin.tar", "app:1 --base base:1"), ("base.tar", "base:1")] {
        let saved = sh(&there, &format!("save -q {words}"));
        saved.success();
        sandbox.write(file, &saved.stdout);
    }
    refused(&sh(&sandbox, "load -q thin.tar"), 3, "a thin stream");
    for order in ["thin.tar base.tar", "base.tar thin.tar"] {
        let script = format!("load -q --store {} {order}", order.replace(' ', "-"));
        sh(&sandbox, &script).success();
    }
}

// moby#11285, moby#35625: the name moves, and nobody hears of it.
#[test]
fn a_name_that_two_files_bring_is_the_last_ones_and_that_is_told() {
    let sandbox = Sandbox::new();
    let (old, new) = (image("old"), image("new"));
    for (file, image) in [("old.tar", &old), ("new.tar", &new)] {
        sandbox
            .write(file, Producer::Strata.write(&[Named::new("docker.io/library/app:1", image)]));
    }
    let output = sh(&sandbox, "load old.tar new.tar old.tar new.tar");
    let said = output.success().out();
    let expected = format!("Loaded image ID: {}\nLoaded image: app:1\n", old.digest());
    assert_eq!(said, expected);
    assert!(output.stderr.contains("app:1: two images have this name"), "{}", output.stderr);
    let found = names(&sandbox);
    assert_eq!(found, named("app:1", new.digest()) + &format!("null {}\n", old.digest()));
}

/// The image and the index as skopeo's directories, each by every program that opens an image.
#[test]
fn what_skopeo_wrote_as_dir_is_an_image_to_every_program() {
    let own = image("own");
    let other = image("other").platform("linux/s390x");
    let index = Index::new().image(&own).image(&other);
    let sandbox = Sandbox::new();
    skopeo_directory(sandbox.path("single"), &own);
    skopeo_directory(sandbox.path("all"), &index);
    sandbox.load(&[Named::new("docker.io/library/own:1", &own)]);
    for place in ["./single", "layout:single", "dir:single", "./all", "dir:all"] {
        let out = |script: &str| {
            let output = sh(&sandbox, &script.replace("IMAGE", place));
            output.success();
            output.stdout
        };
        assert_eq!(digest(&out("inspect --raw IMAGE")), own.digest(), "{place}");
        out("unpack -q --from IMAGE root");
        assert_eq!(sandbox.read("root/own"), b"own", "{place}");
        fs::remove_dir_all(sandbox.path("root")).unwrap();
        assert_eq!(out("flatten -q IMAGE"), out("flatten -q own:1"), "{place}");
        if !place.starts_with("dir:") {
            assert_eq!(out("changes IMAGE own:1"), b"", "{place}");
            out("unpack -q --from own:1 root; snapshot root --base IMAGE --list; rm -r root");
        }
        out(
            "tar -c -T /dev/null | commit -q --no-store --stream --base IMAGE -t x:1 | inspect --raw -",
        );
    }
    let other_file = "inspect --platform linux/s390x --cat /own ./all";
    assert_eq!(sh(&sandbox, other_file).success().out(), "other");
    // Loaded, both are whole, and the index stays what it was.
    let output = sh(&sandbox, "load -q --store new single dir:all");
    let said = format!("Loaded image ID: {}\nLoaded image ID: {}\n", own.digest(), index.digest());
    assert_eq!(output.success().out(), said);
    check::layout(sandbox.path("new")).unwrap();
    let output = sh(&sandbox, "load -q --store one --platform linux/s390x -t x:1 all");
    assert_eq!(output.success().out(), "Loaded image: x:1\n");
    // Nothing was written to them.
    for (dir, content) in [("single", own.blobs().len()), ("all", index.blobs().len())] {
        assert_eq!(fs::read_dir(sandbox.path(dir)).unwrap().count(), content + 1, "{dir}");
    }
}

/// Where a root file system is allowed, `dir:` forces one; a directory of skopeo's is told to be one.
#[test]
fn dir_means_a_root_file_system_where_one_is_allowed_and_says_so() {
    let sandbox = Sandbox::new();
    skopeo_directory(sandbox.path("single"), image("own"));
    let output = sh(&sandbox, "mkdir empty; changes dir:empty dir:single");
    assert!(output.fails_with(1).out().contains("A manifest.json"), "{}", output.text());
    let warning = "single: taken for a root file system; the image that it holds is layout:single";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
    let output = sh(&sandbox, "inspect dir:empty");
    refused(&output, 2, "neither an OCI layout nor a directory that skopeo wrote");
    // It is no store either.
    refused(&sh(&sandbox, "images --store single"), 3, "no store is here");
    refused(&sh(&sandbox, "load -q --store single single"), 2, "not an image store");
}

/// What is done to a directory, and how.
type Damage<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);

#[test]
fn a_directory_of_skopeos_that_was_tampered_with_is_refused() {
    let image = image("own");
    let index = Index::new().image(&image);
    let other = self::image("other");
    let layer = &image.layer_blobs()[1];
    let damage: [Damage<'_>; 7] = [
        ("a layer", Box::new(|dir| fs::write(dir.join(layer.hex()), b"other").unwrap())),
        ("a layer that is gone", Box::new(|dir| fs::remove_file(dir.join(layer.hex())).unwrap())),
        (
            "a config",
            Box::new(|dir| {
                fs::write(dir.join(image.config_blob().hex()), b"{\"os\":\"linux\"}").unwrap();
            }),
        ),
        ("a manifest", Box::new(|dir| fs::write(dir.join("manifest.json"), b"{}").unwrap())),
        (
            "no manifest but JSON",
            Box::new(|dir| fs::write(dir.join("manifest.json"), b"[[[").unwrap()),
        ),
        (
            "a fifo",
            Box::new(|dir| {
                fs::remove_file(dir.join(layer.hex())).unwrap();
                let mkfifo =
                    std::process::Command::new("mkfifo").arg(dir.join(layer.hex())).status();
                assert!(mkfifo.unwrap().success());
            }),
        ),
        (
            "a large manifest",
            Box::new(|dir| {
                fs::write(dir.join("manifest.json"), vec![b' '; 9 << 20]).unwrap();
            }),
        ),
    ];
    for (what, change) in damage {
        let sandbox = Sandbox::new();
        let dir = sandbox.path("d");
        skopeo_directory(&dir, &image);
        change(&dir);
        for script in ["load -q dir:d", "unpack -q --from dir:d root"] {
            let output = sh(&sandbox, script);
            assert!([3, 4].contains(&output.code()), "{what}: {}", output.text());
            assert_one_line(&output, script.split(' ').next().unwrap_or_default());
        }
        assert!(!sandbox.path("root").exists(), "{what}");
        assert_eq!(names(&sandbox), "", "{what}");
    }
    // An index whose manifest is another one.
    let sandbox = Sandbox::new();
    skopeo_directory(sandbox.path("d"), &index);
    let listed = digest(&image.manifest_blob().bytes);
    let listed = format!("d/{}.manifest.json", listed.trim_start_matches("sha256:"));
    sandbox.write(&listed, other.manifest_blob().bytes);
    sh(&sandbox, "load -q dir:d").fails_with(4);
}

#[test]
fn a_plain_user_loads_what_root_saved_and_nothing_is_left_of_what_cannot_be_read() {
    let sandbox = Sandbox::new();
    skopeo_directory(sandbox.path("d"), image("own"));
    let script = |text: &str| Script::new(&sandbox, text).as_plain_user().run();
    script("load -q --store ../tmp/s dir:d").success();
    fs::set_permissions(sandbox.path("d"), fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        let output = script("load -q --store ../tmp/t dir:d");
        refused(&output, 1, "permission denied");
    }
    assert_eq!(tree::show(sandbox.path("d")).lines().count(), image("own").blobs().len() + 2);
}

#[test]
fn a_stream_of_documents_only_is_told_as_that() {
    let registry = kit::Registry::start();
    registry.add("app:1", image("own"));
    let sandbox = Sandbox::new();
    let pull = format!("pull -q --no-layers {}", registry.name("app:1"));
    for (program, code) in [("load -q", 3), ("unpack -q root", 3), ("flatten -q - > tar", 3)] {
        let output = sh(&sandbox, &format!("{pull} | {program}"));
        refused(&output, code, "the stream has documents only");
        assert!(
            output.stderr.contains("hint: stream the image whole: pull without --no-layers"),
            "{}",
            output.stderr
        );
    }
}

/// A store on a full disk, one that may only be read, and a program that is killed: several files leave all of them or none.
#[test]
fn as_root_several_files_on_a_full_or_read_only_disk_leave_no_name() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    for n in 1..=3_u8 {
        let name = format!("docker.io/library/app:{n}");
        let image =
            Image::new().codec(Codec::None).layer(Layer::new().file("large", vec![n; 3 << 20]));
        sandbox.write(&format!("{n}.tar"), Producer::Strata.write(&[Named::new(&name, image)]));
    }
    let mount = "mkdir disk && mount -t tmpfs -o size=7m tmpfs disk && trap 'umount -l disk' EXIT;";
    let loads = "load -q --store disk/s 1.tar 2.tar 3.tar; echo $?; images --store disk/s -q";
    let output = sh(&sandbox, &format!("{mount} {loads}"));
    assert_eq!(output.success().out(), "1\n", "{}", output.text());
    assert!(output.stderr.contains("no space left"), "{}", output.text());
    let loads = "load -q --store disk/s 1.tar > /dev/null && mount -o remount,ro disk &&
        ! load -q --store disk/s 2.tar 3.tar && images --store disk/s -0";
    let output = sh(&sandbox, &format!("umount -l disk 2> /dev/null; rmdir disk; {mount} {loads}"));
    assert_eq!(output.success().out(), "app:1\0", "{}", output.text());
}

#[test]
fn a_load_of_several_files_that_is_killed_has_named_none() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "1.tar",
        Producer::Strata.write(&[Named::new("docker.io/library/app:1", image("1"))]),
    );
    // The second one never ends: a fifo that nobody closes.
    let made = std::process::Command::new("mkfifo").arg(sandbox.path("2.tar")).status();
    assert!(made.unwrap().success());
    let load = sandbox.command("load").args(["-q", "1.tar", "2.tar"]).start();
    let fifo = fs::File::options().write(true).open(sandbox.path("2.tar")).unwrap();
    load.kill();
    drop(fifo);
    assert_eq!(names(&sandbox), "");
    sh(&sandbox, "images gc").success();
    assert_eq!(check::layout(sandbox.store()).unwrap().orphans, Vec::<String>::new());
    sh(&sandbox, "load -q 1.tar").success();
}

/// A signature goes where the image goes that it is about.
#[test]
fn what_refers_to_a_renamed_image_is_renamed_with_it() {
    let (app, signature, other) = (image("app"), image("signature"), image("other"));
    let sandbox = Sandbox::new();
    let tag = format!("{}.sig", app.digest().replace(':', "-"));
    let images = [
        ("r.test/old:1".to_owned(), &app),
        (format!("r.test/old:{tag}"), &signature),
        ("r.test/other:1".to_owned(), &other),
    ];
    let named: Vec<_> = images.iter().map(|(name, image)| Named::new(name, *image)).collect();
    sandbox.write("two.tar", Producer::Strata.write(&named[..2]));
    sandbox.write("three.tar", Producer::Strata.write(&named));
    for (store, words) in [("a", "two.tar"), ("b", "--image r.test/old:1 three.tar")] {
        sh(&sandbox, &format!("load -q --store {store} -t new:1 {words}")).success();
        let said = sh(&sandbox, &format!("images --store {store} -0")).success().out();
        assert_eq!(said, format!("new:1\0new:{tag}\0"), "{words}");
    }
}

// What a broken ssh has brought whole need not come again.
#[test]
fn a_cut_stream_leaves_its_whole_layers_and_no_image() {
    let image = random(3, 3, 4);
    let stream = Producer::Strata.write(&[Named::new("app:1", &image)]);
    let sandbox = Sandbox::new();
    sandbox.write("whole.tar", &stream);
    let last = image.layer_blobs()[2].clone();
    let cut = stream.windows(last.bytes.len()).position(|it| it == last.bytes).unwrap() + 10;
    sandbox.write("cut.tar", &stream[..cut]);
    sh(&sandbox, "load < cut.tar").fails_with(4);
    assert_eq!(sh(&sandbox, "images -q; images digests").out(), "");
    let kept = sh(&sandbox, "images digests --all").success().out();
    let mut expected: Vec<_> =
        image.layer_blobs()[..2].iter().map(|it| it.digest.clone()).collect();
    expected.sort();
    assert_eq!(kept.lines().collect::<Vec<_>>(), expected);
    // A sender that is told of them leaves them out.
    let script = "load -q --store from whole.tar; images digests --all > have; \
        save app:1 --store from --have have | load --json";
    let loaded: Value =
        serde_json::from_str(sh(&sandbox, script).success().out().lines().last().unwrap()).unwrap();
    let n_kept: usize = image.layer_blobs()[..2].iter().map(|it| it.bytes.len()).sum();
    assert_eq!(loaded["reusedBytes"], n_kept);
    sh(&sandbox, "images verify").success();
    // A wrong byte is another matter than a missing one: nothing stays.
    let mut wrong = stream;
    wrong[cut] ^= 1;
    sandbox.write("wrong.tar", wrong);
    sh(&sandbox, "load --store other < wrong.tar").fails_with(4);
    assert_eq!(sh(&sandbox, "images digests --all --store other").out(), "");
}
