//! A mounted union is the tree that `unpack` makes, its layers are there once, and nothing half-made counts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kit::image::random::random;
use kit::pipeline::Script;
use kit::tree::{self, Show};
use kit::{Image, Layer, Named, Program, Sandbox, pipeline};
use rustix::mount::UnmountFlags;

use crate::fixtures::{assert_one_line, demo, demo_layers, lacks_root, names};
use crate::gc::wait_for;

/// A sandbox whose store has these images.
pub(crate) fn with_images(images: &[(&str, &Image)]) -> Sandbox {
    let sandbox = Sandbox::new();
    load(&sandbox, images);
    sandbox
}

fn load(sandbox: &Sandbox, images: &[(&str, &Image)]) {
    let named: Vec<_> = images
        .iter()
        .map(|(name, image)| Named::new(&format!("docker.io/library/{name}"), (*image).clone()))
        .collect();
    sandbox.load(&named);
}

/// Unmounts what is there when the test ends, however it does.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that unmounts by itself leaves nothing here.
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

pub(crate) fn union(sandbox: &Sandbox, words: &[&str]) -> Program {
    sandbox.command("union").args(["--progress", "none"]).args(words)
}

pub(crate) fn mount(sandbox: &Sandbox, image: &str, dir: &str) -> Mounted {
    let mounted = Mounted(sandbox.path(dir));
    union(sandbox, &[image, dir]).run().success();
    mounted
}

/// A tree in all detail. Where no layer says what the root is like, its time is anybody's.
fn shown(dir: &Path) -> String {
    let text = tree::show_with(dir, Show::ALL);
    let (root, rest) = text.split_once('\n').unwrap();
    let root: Vec<_> = root.split(' ').filter(|word| !word.starts_with('@')).collect();
    format!("{}\n{rest}", root.join(" "))
}

/// The image's mount and what `unpack` makes of it are the same.
#[track_caller]
fn assert_union_is_unpack(image: &Image) {
    let sandbox = with_images(&[("app:1", image)]);
    let mounted = mount(&sandbox, "app:1", "m");
    sandbox.command("unpack").args(["--from", "app:1", "root"]).run().success();
    tree::assert_same(&shown(&mounted.0), &shown(&sandbox.path("root")));
}

/// The directories of extracted layers.
fn extracted(sandbox: &Sandbox) -> Vec<PathBuf> {
    let kinds = sandbox.store().join("strata/layers");
    let Ok(kinds) = fs::read_dir(kinds) else { return vec![] };
    let entries = kinds.flat_map(|kind| fs::read_dir(kind.unwrap().path()).unwrap());
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn is_whole(path: &Path) -> bool {
    !path.file_name().unwrap().to_string_lossy().starts_with('.')
}

#[test]
fn as_root_a_mount_is_the_tree_that_unpack_makes() {
    if lacks_root() {
        return;
    }
    assert_union_is_unpack(&demo());
    for seed in 1..=6 {
        assert_union_is_unpack(&random(seed, 5, 60));
    }
    assert_union_is_unpack(&Image::new());
}

#[test]
fn as_root_whiteouts_links_and_implied_directories_are_unpacks() {
    if lacks_root() {
        return;
    }
    let base = Layer::text(
        "
        drwx------ 7:8 d/ @5
        -rw-r--r-- 0:0 d/a \"a\" @1
        -rw-r--r-- 0:0 d/b \"b\" @1
        drwxr-xr-x 0:0 d/e/ @6
        -rw-r--r-- 0:0 d/e/x \"x\" @1
        drwxr-xr-x 0:0 usr/ @7
        drwxr-xr-x 0:0 usr/lib/ @7
        lrwxrwxrwx 0:0 lib -> usr/lib @7
        -rw-r--r-- 0:0 f \"f\" @1
        ",
    );
    let over = |layer: Layer| Image::new().layer(base.clone()).layer(layer);
    for layer in [
        Layer::new().file("d/new", "n"),
        Layer::new().whiteout("d/a").whiteout("d/nothing").whiteout("nowhere/at/all"),
        Layer::new().whiteout("d"),
        Layer::new().whiteout("d").file("d/c", "c"),
        Layer::new().dir("d", 0o755).file("d/c", "c").whiteout("d"),
        Layer::new().file("d/e/c", "c").opaque("d"),
        Layer::new().opaque("").file("g", "g"),
        Layer::new().hardlink("g", "f").hardlink("d/h", "f"),
        Layer::new().file("d", "no directory"),
        Layer::new().file("d", "x").dir("d", 0o700).file("d/y", "y"),
        Layer::new().dir("d/e", 0o711).dir("d", 0o722).dir("./", 0o750).owner(3, 4),
        Layer::new().dir("lib", 0o755).file("lib/x", "x"),
        Layer::new().file("lib/x", "x"),
        Layer::new().symlink("l", "d/e").file("l/z", "z"),
        Layer::new().whiteout("f").dir("f", 0o755).file("f/f", "f"),
        Layer::new(),
    ] {
        assert_union_is_unpack(&over(layer));
    }
}

#[test]
fn as_root_a_directory_deeper_than_descriptors_go_can_be_removed() {
    if lacks_root() {
        return;
    }
    let deep = (0..100).fold((Layer::new(), String::new()), |(layer, path), n| {
        let path = format!("{path}d{n}/");
        (layer.dir(&path, 0o755), path)
    });
    assert_union_is_unpack(&Image::new().layer(deep.0).layer(Layer::new().whiteout("d0")));
}

#[test]
fn as_root_attributes_of_an_image_are_no_marks_for_the_kernel() {
    if lacks_root() {
        return;
    }
    let base = Layer::new().dir("d", 0o755).file("d/a", "a").file("b", "b");
    for name in ["trusted.overlay.opaque", "user.overlay.opaque", "trusted.overlay.redirect"] {
        let hostile = Layer::new().dir("d", 0o755).xattr(name, "y").file("d/c", "c");
        assert_union_is_unpack(&Image::new().layer(base.clone()).layer(hostile));
    }
}

#[test]
fn as_root_a_layer_may_stand_in_an_image_several_times() {
    if lacks_root() {
        return;
    }
    assert_union_is_unpack(&Image::new().layer(Layer::new()).layer(Layer::new()));
    let again = Layer::new().dir("d", 0o755).file("d/a", "a").whiteout("b");
    let between = Layer::new().whiteout("d").file("b", "b").file("c", "c");
    let image = Image::new().layer(again.clone()).layer(between).layer(again);
    assert_union_is_unpack(&image);
    // Below one that isn't extracted by itself, too.
    assert_union_is_unpack(&image.layer(Layer::new().hardlink("l", "c").file("d/b", "b")));
}

#[test]
fn as_root_images_share_the_layers_that_they_have_in_common() {
    if lacks_root() {
        return;
    }
    let base = Layer::new().dir("usr", 0o755).file("usr/big", "b".repeat(100_000));
    let [one, two] = ["one", "two"].map(|name| {
        let top = Layer::new().dir("usr", 0o755).file(format!("usr/{name}"), name);
        Image::new().layer(base.clone()).layer(top)
    });
    // Not on the same base, and yet the same layer.
    let other = Image::new().layer(Layer::new().file("f", "f")).layer(base.clone());
    let sandbox = with_images(&[("one:1", &one), ("two:1", &two), ("other:1", &other)]);
    let mounts = ["one", "two", "other"].map(|name| mount(&sandbox, &format!("{name}:1"), name));
    let inodes = mounts.each_ref().map(|it| fs::metadata(it.0.join("usr/big")).unwrap().ino());
    assert_eq!(BTreeSet::from(inodes).len(), 1, "{inodes:?}");
    // Four layers, and the root directory's attributes, which none of them says.
    assert_eq!(extracted(&sandbox).len(), 5);
}

/// The inodes of regular files beneath a directory.
fn file_inodes(dir: &Path) -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            if stat.is_dir() {
                dirs.push(path);
            } else if stat.is_file() {
                inodes.insert(stat.ino());
            }
        }
    }
    inodes
}

#[test]
fn as_root_twenty_unions_of_an_image_at_once_extract_it_once() {
    if lacks_root() {
        return;
    }
    let image = random(9, 4, 40);
    let sandbox = with_images(&[("app:1", &image)]);
    let dirs: Vec<_> = (0..20).map(|n| format!("m{n}")).collect();
    let mounts: Vec<_> = dirs.iter().map(|dir| Mounted(sandbox.path(dir))).collect();
    let running: Vec<_> = dirs.iter().map(|dir| union(&sandbox, &["app:1", dir]).start()).collect();
    for it in running {
        it.wait().success();
    }
    sandbox.command("unpack").args(["--from", "app:1", "root"]).run().success();
    let expected = shown(&sandbox.path("root"));
    let mut inodes = BTreeSet::new();
    for mounted in &mounts {
        tree::assert_same(&shown(&mounted.0), &expected);
        inodes.extend(file_inodes(&mounted.0));
    }
    // What the kernel reads through one of them, it has for all.
    assert_eq!(inodes.len(), file_inodes(&mounts[0].0).len());
    let layers = extracted(&sandbox);
    assert!(layers.iter().all(|path| is_whole(path)), "{layers:?}");
    assert_eq!(layers.len(), 5);
}

#[test]
fn as_root_a_layer_that_a_killed_union_began_is_not_taken_for_whole() {
    if lacks_root() {
        return;
    }
    let files = |dir: &str| {
        let file = |layer: Layer, n| layer.file(format!("{dir}/{n}"), "x".repeat(n));
        (0..2000).fold(Layer::new().dir(dir, 0o755), file)
    };
    // The second is made on a mount of the first.
    let image = Image::new().layer(files("d")).layer(files("e").whiteout("d/7"));
    let sandbox = with_images(&[("app:1", &image)]);
    for dir in ["d", "e"] {
        let file = format!("tree/{dir}/100");
        let begun = || extracted(&sandbox).iter().any(|it| it.join(&file).exists());
        union(&sandbox, &["app:1", "m"]).start().kill_when(begun);
        assert!(begun(), "{:?}", extracted(&sandbox));
    }
    sandbox.command("unpack").args(["--from", "app:1", "root"]).run().success();
    let mounted = mount(&sandbox, "app:1", "m");
    tree::assert_same(&shown(&mounted.0), &shown(&sandbox.path("root")));
    let layers = extracted(&sandbox);
    assert!(layers.iter().all(|path| is_whole(path)), "{layers:?}");
}

#[test]
fn as_root_a_damaged_layer_leaves_nothing() {
    if lacks_root() {
        return;
    }
    let good = Image::new().layer(Layer::new().file("a", "a"));
    let wrong = good.clone().layer_blob(&kit::digest(b"other"), Layer::new().file("b", "b").tar());
    let sandbox = Sandbox::new();
    let layout = sandbox.store();
    kit::archive::layout(&layout, &[Named::new("docker.io/library/app:1", wrong)]);
    let output = union(&sandbox, &["app:1", "m"]).run();
    assert_one_line(output.fails_with(4), "union");
    let layers = extracted(&sandbox);
    assert_eq!(layers.len(), 1, "{layers:?}");
    assert!(!sandbox.path("m").exists());
}

#[test]
fn as_root_more_layers_than_a_page_of_options_holds() {
    if lacks_root() {
        return;
    }
    let layer = |n: usize| match n % 50 {
        49 => Layer::new().whiteout(format!("f{}", n - 1)),
        _ => Layer::new().file(format!("f{n}"), format!("{n}")),
    };
    let image = (0..230).fold(Image::new(), |image, n| image.layer(layer(n)));
    assert_union_is_unpack(&image);
    let image = (0..500).fold(Image::new(), |image, n| image.layer(layer(n)));
    let sandbox = with_images(&[("app:1", &image)]);
    let output = union(&sandbox, &["app:1", "m"]).run();
    assert!(output.fails_with(1).stderr.contains("hint: "), "{}", output.text());
}

#[test]
fn as_root_gc_leaves_what_is_mounted() {
    if lacks_root() {
        return;
    }
    // A layer of the same key counts as mounted in whichever store it is, so this one is like no other test's.
    let layer = Layer::new().dir("./", 0o755).file("a", "aaa");
    let image = Image::new().layer(layer).layer(Layer::new().whiteout("a"));
    let sandbox = with_images(&[("app:1", &image)]);
    let gc = |words: &[&str]| sandbox.command("images").arg("gc").args(words).run();
    let mounted = mount(&sandbox, "app:1", "m");
    gc(&[]).success();
    assert_eq!(extracted(&sandbox).len(), 3);
    union(&sandbox, &["--umount", "m"]).run().success();
    assert!(names(&mounted.0).is_empty());
    // For a moment, another test's mount that nobody sees may have the number of this one.
    wait_for(|| {
        let said = "would free 3 bytes (3B): 0 blobs, 3 extracted layers\n";
        gc(&["--dry-run"]).success().out() == said
    });
    assert_eq!(extracted(&sandbox).len(), 3);
    wait_for(|| gc(&[]).success().out().ends_with(", 3 extracted layers\n"));
    assert!(extracted(&sandbox).is_empty());
    // In the mount namespace of a command it is just as safe.
    let script = "union -q app:1 m2 -- sh -c 'images gc >&2; ls m2 && echo kept'";
    assert_eq!(pipeline::sh(&sandbox, script).success().out(), "kept\n");
}

#[test]
fn as_root_unions_are_listed_and_taken_away() {
    if lacks_root() {
        return;
    }
    let image = Image::new().layer(Layer::new().file("a", "a"));
    let sandbox = with_images(&[("app:1", &image)]);
    let mounted = Mounted(sandbox.path("m"));
    union(&sandbox, &["app:1", "m", "--upper", "up"]).run().success();
    let listed = || {
        let text = union(&sandbox, &["--list"]).run().success().out();
        let root = sandbox.root().to_str().unwrap();
        let lines = text.lines().filter(|line| line.contains(root));
        lines
            .map(|line| line.replace(root, "").split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(), ["/work/m app:1 /work/up"]);
    for again in [&["app:1", "m"][..], &["app:1", "m2", "--upper", "up"]] {
        assert_one_line(union(&sandbox, again).run().fails_with(1), "union");
    }
    fs::write(mounted.0.join("b"), "b").unwrap();
    union(&sandbox, &["--umount", "m"]).run().success();
    assert!(listed().is_empty());
    assert_eq!(names(sandbox.path("up")), ["b"]);
    // The kernel's working directory is gone as well.
    assert_eq!(names(sandbox.path("")), ["m", "up"]);
    assert_one_line(union(&sandbox, &["--umount", "m"]).run().fails_with(3), "union");
}

#[test]
fn as_root_a_changed_union_is_committed_as_docker_commits_a_container() {
    if lacks_root() {
        return;
    }
    let sandbox = with_images(&[("app:1", &demo())]);
    let mounted = Mounted(sandbox.path("m"));
    let script = "
        union -q app:1 m --upper up
        echo new > m/etc/new && rm m/usr/bin/su && rm -r m/var/cache && mkdir m/var/cache
        (unset SOURCE_DATE_EPOCH; snapshot m) | commit -t app:2
        unpack -q --from app:2 root
    ";
    pipeline::sh(&sandbox, script).success();
    assert!(!mounted.0.join("usr/bin/su").exists());
    tree::assert_same(&shown(&mounted.0), &shown(&sandbox.path("root")));
}

#[test]
fn as_root_what_comes_to_nothing_leaves_nothing() {
    if lacks_root() {
        return;
    }
    let sandbox = with_images(&[("app:1", &Image::new().layer(Layer::new().file("a", "a")))]);
    sandbox.write("file", "");
    for words in [
        &["none:1", "m"][..],
        &["app:1", "m", "--platform", "linux/s390x"],
        &["app:1", "m", "--upper", "file"],
        // No directory of an upper layer can be there.
        &["app:1", "m", "--upper", "/proc/up"],
        &["app:1", "--upper", "up", "--platform", "linux/s390x", "--", "true"],
    ] {
        let output = union(&sandbox, words).run();
        assert_ne!(output.code(), 0, "{words:?}");
        let left = names(sandbox.path(""));
        assert_eq!(left, ["file"], "{words:?}");
    }
}

#[test]
fn as_root_an_interrupted_union_leaves_no_layer() {
    if lacks_root() {
        return;
    }
    let layer = (0..5000).fold(Layer::new(), |layer, n| layer.file(format!("{n}"), "x".repeat(n)));
    let sandbox = with_images(&[("app:1", &Image::new().layer(layer))]);
    let running = union(&sandbox, &["app:1", "m"]).start();
    let begun = || extracted(&sandbox).iter().any(|it| it.join("tree/100").exists());
    while !begun() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait().code(), 143);
    let left = extracted(&sandbox);
    assert!(left.is_empty() && names(sandbox.path("")).is_empty(), "{left:?}");
}

#[test]
fn as_root_the_platform_that_is_asked_for_is_mounted() {
    if lacks_root() {
        return;
    }
    let image =
        |platform: &str| Image::new().platform(platform).layer(Layer::new().file("arch", platform));
    let index = kit::Index::new().image(&image("linux/amd64")).image(&image("linux/arm64/v8"));
    let sandbox = Sandbox::new();
    let named = [Named::new("docker.io/library/app:1", index)];
    sandbox.load(&named);
    let mounted = Mounted(sandbox.path("m"));
    union(&sandbox, &["--platform", "linux/arm64", "app:1", "m"]).run().success();
    assert_eq!(fs::read_to_string(mounted.0.join("arch")).unwrap(), "linux/arm64/v8");
}

/// The demo, with a file in each layer that no other test has: gc spares layers that anyone on the machine has mounted.
fn own_demo(name: &str) -> Image {
    let layers = demo_layers().map(|layer| layer.file(format!("only-{name}"), name));
    layers.into_iter().fold(Image::new(), Image::layer)
}

#[test]
fn a_plain_user_mounts_for_a_command() {
    let layer = Layer::new().whiteout("usr/bin").opaque("etc").file("etc/mine", "mine\n");
    let image = own_demo("user").layer(layer);
    let sandbox = with_images(&[("app:1", &image)]);
    let list = "find . -printf '%P %y %m %s %l %T@\\n' | sort | tail -n +2";
    let script = format!(
        "unpack -q --from app:1 root 2> said
        (cd root && {list}) > expected
        union -q app:1 m --upper up -- sh -c \"(cd m && {list}) > found; rm m/lib; echo x > m/etc/new; id -u\"
        snapshot --list --upper --base app:1 up
        grep -c $PWD/m /proc/self/mountinfo || diff expected found && ls -A m"
    );
    let output = Script::new(&sandbox, &script).as_plain_user().run();
    assert_eq!(output.success().out(), "0\nD lib\nC etc\nA etc/new\n0\n", "{}", output.text());
    if cfg!(target_arch = "x86_64") {
        wait_for(|| {
            Script::new(&sandbox, "images -q gc").as_plain_user().run().success();
            extracted(&sandbox).is_empty()
        });
    }
}

#[test]
fn a_plain_user_commits_what_a_command_has_changed() {
    let sandbox = with_images(&[("app:1", &demo())]);
    let script = "
        union -q app:1 m --upper up -- \\
            sh -c 'echo new > m/etc/new; rm m/usr/bin/su; snapshot m | commit -t app:2'
        unpack -q --from app:1 one 2> said && unpack -q --from app:2 two 2> said
        diff <(cd one && find . | sort) <(cd two && find . | sort) | grep '^[<>]'
    ";
    let output = Script::new(&sandbox, script).as_plain_user().run();
    // The two differ, says diff.
    let said = output.fails_with(1).out();
    let said: Vec<_> = said.lines().filter(|line| !line.starts_with("sha256:")).collect();
    assert_eq!(said, ["> ./etc/new", "< ./usr/bin/su"], "{}", output.text());
}

#[test]
fn a_command_has_its_own_status_and_ours_are_those_of_env() {
    let image = Image::new().layer(Layer::new().file("text", "x")).env(&["PATH=/"]);
    let sandbox = with_images(&[("app:1", &image)]);
    for (command, status) in [
        ("app:1 m -- sh -c 'exit 7'", 7),
        ("app:1 m -- sh -c 'kill -TERM $$'", 143),
        ("app:1 m -- no-such-command", 127),
        ("app:1 m -- ./m/text", 126),
        ("app:1 -- no-such-command", 127),
        ("app:1 -- text", 126),
        ("none:1 -- text", 125),
        ("app:1 m --no-such-flag -- text", 125),
    ] {
        let output = Script::new(&sandbox, &format!("union -q {command}")).as_plain_user().run();
        assert_eq!(output.code(), status, "{command}: {}", output.text());
    }
    let output = Script::new(&sandbox, "union app:1 m").as_plain_user().run();
    assert_eq!(output.code(), 1, "{}", output.text());
    assert!(output.stderr.contains("hint: union IMAGE DIR -- COMMAND"), "{}", output.text());
}
