//! gc removes nothing that it isn't sure of: what it can't read may be anything, and what it can't see may be in use.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kit::pipeline::Script;
use kit::{Image, Layer, Named, Output, Program, Sandbox};

use crate::fixtures::{assert_one_line, is_root, lacks_root, names};
use crate::union::{Mounted, mount, union, with_images};

/// Somebody without privileges.
const NOBODY: u32 = 65534;

fn image(content: &str) -> Image {
    Image::new().layer(Layer::new().file("f", content).tar())
}

/// A plain user's gc.
fn gc(sandbox: &Sandbox, words: &[&str]) -> Output {
    let program = sandbox.command("images").arg("gc").args(words);
    let program = if is_root() { program.user(NOBODY) } else { program };
    program.run()
}

/// The files of a store that images are made of, as root or their owner sees them.
fn blobs(sandbox: &Sandbox) -> Vec<String> {
    names(sandbox.store().join("blobs/sha256"))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A plain user's store, in which one image has a name and another has lost it.
fn place() -> Sandbox {
    let sandbox = Sandbox::new();
    let images = [("kept:1", image("kept")), ("gone:1", image("gone"))];
    let named = images.map(|(name, it)| Named::new(&format!("docker.io/library/{name}"), it));
    sandbox.load(&named);
    let program = sandbox.command("images").args(["rm", "gone:1"]);
    let program = if is_root() { program.user(NOBODY) } else { program };
    program.run().success();
    sandbox
}

/// The blob of the named image's manifest.
fn manifest(sandbox: &Sandbox) -> PathBuf {
    let index = fs::read_to_string(sandbox.store().join("index.json")).unwrap();
    let hex = index.split("sha256:").nth(1).unwrap()[..64].to_owned();
    sandbox.store().join("blobs/sha256").join(hex)
}

fn config(sandbox: &Sandbox) -> PathBuf {
    let text = fs::read_to_string(manifest(sandbox)).unwrap();
    let hex = text.split("sha256:").nth(1).unwrap()[..64].to_owned();
    sandbox.store().join("blobs/sha256").join(hex)
}

#[test]
fn what_can_not_be_read_may_lead_anywhere_so_gc_removes_nothing() {
    type Place = fn(&Sandbox) -> PathBuf;
    let unreadable: [(&str, Place, u32); 7] = [
        ("index.json", |it| it.store().join("index.json"), 0),
        ("the manifest", manifest, 0),
        ("the config", config, 0),
        ("the list of blobs", |it| it.store().join("blobs/sha256"), 0o300),
        ("every blob's size", |it| it.store().join("blobs/sha256"), 0o600),
        ("the list of leases", |it| it.store().join("strata/leases"), 0o300),
        ("every lease", |it| it.store().join("strata/leases"), 0o600),
    ];
    for (what, path, mode) in unreadable {
        let sandbox = place();
        let before = blobs(&sandbox);
        // A running program's, as far as anybody knows.
        fs::write(sandbox.store().join("strata/leases/1-a"), "").unwrap();
        let path = path(&sandbox);
        let usual = fs::metadata(&path).unwrap().permissions();
        set_mode(&path, mode);
        let output = gc(&sandbox, &[]);
        fs::set_permissions(&path, usual).unwrap();
        assert_one_line(output.fails_with(1), "images");
        assert!(output.stderr.contains("ermission denied"), "{what}: {}", output.text());
        assert_eq!(blobs(&sandbox), before, "{what}");
        assert!(gc(&sandbox, &[]).success().out().contains(": 3 blobs"), "{what}");
    }
}

#[test]
fn a_lease_that_can_not_be_read_may_be_of_any_blob() {
    let sandbox = place();
    let before = blobs(&sandbox);
    let lease = sandbox.store().join("strata/leases/1-a");
    fs::write(&lease, "").unwrap();
    set_mode(&lease, 0);
    assert_one_line(gc(&sandbox, &[]).fails_with(1), "images");
    assert_eq!(blobs(&sandbox), before);
}

#[test]
fn what_could_not_be_removed_is_not_counted_as_freed() {
    // A blob, an old download, what a killed program left.
    for folder in ["blobs/sha256", "strata/partial", "strata/temp"] {
        let sandbox = place();
        if folder != "blobs/sha256" {
            fs::write(sandbox.store().join(folder).join("1-a"), "").unwrap();
        }
        let path = sandbox.store().join(folder);
        set_mode(&path, 0o500);
        let output = gc(&sandbox, &[]);
        assert_one_line(output.fails_with(1), "images");
        assert!(output.stdout.is_empty(), "{folder}: {}", output.text());
        set_mode(&path, 0o700);
        gc(&sandbox, &[]).success();
    }
}

/// A union's command that looks at its file again and again, and says when that is missing. It runs as long as `up` is there.
fn watcher(sandbox: &Sandbox, image: &str) -> Program {
    let script =
        "touch running; while test -e up; do test \"$(cat m/f)\" = content || exit 9; done";
    sandbox.write("up", "");
    union(sandbox, &[image, "m", "--", "sh", "-c", script])
}

/// An image that no other test has: a layer of the same key is in use in whichever store it is.
fn image_like_no_other(name: &str) -> Image {
    let own = std::process::id().to_string();
    Image::new().layer(Layer::new().dir("./", 0o755).file("f", "content").file(name, own))
}

/// The names of extracted layers.
fn layers(sandbox: &Sandbox) -> Vec<String> {
    let kinds = fs::read_dir(sandbox.store().join("strata/layers"));
    let kinds = kinds.into_iter().flatten().map(|kind| kind.unwrap().path());
    let mut names: Vec<_> = kinds.flat_map(names).collect();
    names.retain(|name| !name.starts_with('.'));
    names
}

/// gc, where it sees less than it would like to.
fn gc_within(sandbox: &Sandbox, before: &[&str], words: &[&str]) -> Output {
    sandbox.program(before[0]).args(&before[1..]).args(["images", "gc"]).args(words).run()
}

/// Waits until it is so, for as long as that may take.
pub(crate) fn wait_for(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(Instant::now() < end, "it never was");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// gc frees all layers; for a moment, another test's mount that nobody sees may have the number of ours.
#[track_caller]
fn collected(sandbox: &Sandbox) {
    wait_for(|| {
        sandbox.command("images").arg("gc").run().success();
        layers(sandbox).is_empty()
    });
}

/// Another PID namespace, and a mount namespace in which the union isn't.
const ELSEWHERE: &[&str] = &[
    "unshare",
    "--pid",
    "--mount",
    "--fork",
    "--mount-proc",
    "sh",
    "-c",
    "umount -q m; exec \"$0\" \"$@\"",
];
/// An empty directory in the place of /proc.
const BLIND: &[&str] =
    &["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\""];

#[test]
fn as_root_gc_out_of_sight_of_a_union_leaves_its_layers() {
    if lacks_root() {
        return;
    }
    for (name, before) in [("elsewhere", ELSEWHERE), ("blind", BLIND)] {
        let sandbox = with_images(&[("app:1", &image_like_no_other(name))]);
        let mounted = mount(&sandbox, "app:1", "m");
        let there = layers(&sandbox);
        let output = gc_within(&sandbox, before, &[]);
        assert!(output.success().stderr.contains("kept 2 extracted layers"), "{}", output.text());
        assert!(output.stderr.contains("--force"), "{}", output.text());
        assert_eq!(layers(&sandbox), there);
        assert_eq!(fs::read(mounted.0.join("f")).unwrap(), b"content");
        let json = gc_within(&sandbox, before, &["--json"]).success().out();
        assert!(json.contains(r#""keptLayers":2"#), "{json}");
        // Who sees it says nothing, and keeps it.
        let output = sandbox.command("images").arg("gc").run();
        assert!(!output.success().stderr.contains("kept"), "{}", output.text());
        assert_eq!(layers(&sandbox), there);
        union(&sandbox, &["--umount", "m"]).run().success();
        collected(&sandbox);
    }
}

#[test]
fn as_root_gc_out_of_sight_leaves_the_layers_of_a_command() {
    if lacks_root() {
        return;
    }
    for (name, before) in [("command-elsewhere", ELSEWHERE), ("command-blind", BLIND)] {
        let sandbox = with_images(&[("app:1", &image_like_no_other(name))]);
        let running = watcher(&sandbox, "app:1").start();
        // Until then its lease is alive.
        wait_for(|| sandbox.path("running").exists());
        let output = gc_within(&sandbox, before, &[]);
        assert!(output.success().stderr.contains("kept 2 extracted"), "{}", output.text());
        fs::remove_file(sandbox.path("up")).unwrap();
        running.wait().success();
        // Nothing but the note is left of it, and that is void.
        collected(&sandbox);
        assert!(names(sandbox.store().join("strata/unions")).is_empty());
    }
}

#[test]
fn as_root_a_union_that_can_not_tell_whose_files_it_would_share_is_not_mounted() {
    if lacks_root() {
        return;
    }
    let sandbox = with_images(&[("app:1", &image_like_no_other("kinds"))]);
    let union = sandbox.program(BLIND[0]).args(&BLIND[1..]).args(["union", "app:1", "m"]).run();
    assert_one_line(union.fails_with(1), "union");
    assert!(union.stderr.contains("/proc/self/uid_map"), "{}", union.text());
    assert!(layers(&sandbox).is_empty());
}

#[test]
fn a_plain_users_gc_knows_when_his_union_is_over_and_keeps_one_that_he_can_not_see() {
    let sandbox = with_images(&[("app:1", &image_like_no_other("plain"))]);
    let script = |text: &str| Script::new(&sandbox, text).as_plain_user();
    script("union -q app:1 m -- true").run().success();
    if cfg!(target_arch = "x86_64") {
        // As a rule some process of another user is out of his sight; the kernel tells all the same.
        wait_for(|| {
            script("images gc").run().success();
            layers(&sandbox).is_empty()
        });
    }
    // A command that looks at its file until it is told to end.
    let look = "while test ! -e end; do test \"$(cat m/f)\" = content || exit 9; done";
    let running = script(&format!("union -q app:1 m -- sh -c '{look}'")).start();
    wait_for(|| layers(&sandbox).len() == 2);
    for _ in 0..5 {
        script("images gc").run().success();
    }
    script("touch end").run().success();
    running.wait().success();
}

#[test]
fn as_root_a_mount_that_was_detached_keeps_its_layers_while_a_program_is_in_it() {
    if lacks_root() || cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let sandbox = with_images(&[("app:1", &image_like_no_other("detached"))]);
    let mounted = mount(&sandbox, "app:1", "m");
    let inside = fs::File::open(mounted.0.join("f")).unwrap();
    rustix::mount::unmount(&mounted.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    let output = sandbox.command("images").arg("gc").run();
    assert!(output.success().stderr.contains("kept 2 extracted"), "{}", output.text());
    drop(inside);
    collected(&sandbox);
}

#[test]
fn as_root_force_takes_what_a_union_out_of_sight_may_use_but_not_what_is_in_sight() {
    if lacks_root() {
        return;
    }
    let sandbox = with_images(&[("app:1", &image_like_no_other("force"))]);
    let mounted = mount(&sandbox, "app:1", "m");
    sandbox.command("images").args(["gc", "--force"]).run().success();
    assert_eq!(layers(&sandbox).len(), 2);
    gc_within(&sandbox, BLIND, &["--force"]).success();
    assert!(layers(&sandbox).is_empty());
    drop(mounted);
}

#[test]
fn as_root_a_union_of_an_earlier_boot_is_over_and_one_of_another_machine_is_not() {
    if lacks_root() {
        return;
    }
    let sandbox = with_images(&[("app:1", &image_like_no_other("boot"))]);
    drop(mount(&sandbox, "app:1", "m"));
    let notes = sandbox.store().join("strata/unions");
    let name = names(&notes).pop().unwrap();
    let text = fs::read_to_string(notes.join(&name)).unwrap();
    let this = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = "00000000-0000-4000-8000-000000000000";
    fs::remove_file(notes.join(&name)).unwrap();
    let path = notes.join(name.replace(this.trim(), other));
    fs::write(&path, text.replace(this.trim(), other)).unwrap();
    // It is newer than this machine's start, so another machine has the store too. As long as the mount namespace of another
    // test's union has a copy of our mount, the layers are known to be in use, and nothing is said.
    wait_for(|| {
        let output = sandbox.command("images").arg("gc").run();
        output.success().stderr.contains("another machine")
    });
    assert_eq!(layers(&sandbox).len(), 2);
    // After a power cut there may be nothing in it.
    fs::write(&path, "").unwrap();
    assert_one_line(sandbox.command("images").arg("gc").run().fails_with(4), "images");
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(24 * 3600)).unwrap();
    sandbox.command("images").arg("gc").run().success();
    assert!(layers(&sandbox).is_empty() && names(&notes).is_empty());
}

#[test]
fn as_root_a_union_that_gc_could_not_know_of_is_not_mounted() {
    if lacks_root() {
        return;
    }
    let sandbox = with_images(&[("app:1", &image_like_no_other("unknown"))]);
    drop(mount(&sandbox, "app:1", "m"));
    // Where no note can be written, whatever the reason.
    let notes = sandbox.store().join("strata/unions");
    fs::remove_dir_all(&notes).unwrap();
    fs::write(&notes, "").unwrap();
    assert_one_line(union(&sandbox, &["app:1", "m"]).run().fails_with(1), "union");
    assert!(names(sandbox.path("m")).is_empty());
}

/// How long the turmoil lasts: a few seconds, or as long as it takes to be sure.
fn time() -> Duration {
    let is_long = std::env::var_os("STRATA_LONG").is_some_and(|value| value == "1");
    Duration::from_secs(if is_long { 60 } else { 4 })
}

#[test]
fn as_root_gc_beside_unions_that_begin_and_end_takes_no_file_of_theirs() {
    if lacks_root() {
        return;
    }
    let images: Vec<_> = (0..4).map(|n| image_like_no_other(&format!("turmoil{n}"))).collect();
    let names: Vec<_> = (0..4).map(|n| format!("app:{n}")).collect();
    let named: Vec<_> = names.iter().map(String::as_str).zip(&images).collect();
    let sandbox = with_images(&named);
    let end = Instant::now() + time();
    // Each of them looks at its files for a while, as a command or where all can see it.
    let look = "for i in 1 2 3 4 5 6 7 8 9; do test \"$(cat $0/f)\" = content || exit 9; done";
    let unions = |n: usize| {
        while Instant::now() < end {
            let image = &names[n % names.len()];
            let dir = format!("m{n}");
            if n.is_multiple_of(2) {
                union(&sandbox, &[image, &dir, "--", "sh", "-c", look, &dir]).run().success();
            } else {
                let mounted = Mounted(sandbox.path(&dir));
                union(&sandbox, &[image, &dir]).run().success();
                for _ in 0..20 {
                    assert_eq!(fs::read(mounted.0.join("f")).unwrap(), b"content");
                }
            }
        }
    };
    let collect = |before: &[&str]| {
        let mut n = 0;
        while Instant::now() < end {
            if before.is_empty() {
                sandbox.command("images").arg("gc").run().success();
            } else {
                gc_within(&sandbox, before, &[]).success();
            }
            n += 1;
        }
        n
    };
    std::thread::scope(|scope| {
        for n in 0..20 {
            scope.spawn(move || unions(n));
        }
        let gcs = [&[][..], ELSEWHERE, BLIND].map(|before| scope.spawn(move || collect(before)));
        assert!(gcs.into_iter().all(|it| it.join().unwrap() > 0));
    });
}

// gc's help promises that it is safe beside running programs: flatten, unpack, inspect and union lost their blobs to it.
#[test]
fn what_is_read_stays_until_it_is_read_though_its_name_and_all_else_of_it_goes() {
    // Nothing that a pipe holds, nor a block of zeros.
    let content: Vec<u8> =
        (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let layer = |name: &str| Layer::new().file(name, content.clone());
    let sandbox = Sandbox::new();
    let image = Image::new().layer(layer("a")).layer(layer("b")).layer(layer("c"));
    sandbox.load(&[Named::new("docker.io/library/app:1", image)]);
    // What isn't read yet waits for the pipe.
    let script = "flatten -q app:1 | { head -c 1000 > /dev/null; images rm -q app:1 > /dev/null; images gc -q > /dev/null; cat > /dev/null; }
        echo ${PIPESTATUS[0]}; images gc -q > /dev/null; ls -A $STRATA_STORE/blobs/sha256 | wc -l";
    let output = Script::new(&sandbox, script).run();
    assert_eq!(output.out(), "0\n0\n", "{}", output.text());
}
