//! A directory that was unpacked is changed, and becomes a new image: through real pipes.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use kit::pipeline::{Script, sh};
use kit::tree::{self, Mtime, Show};
use kit::{Image, Layer, Named, Producer, Sandbox};

use serde_json::json;

use crate::fixtures::{assert_one_line, demo, lacks_root, names, shown};

const NAME: &str = "docker.io/library/base:1";

/// A sandbox whose store holds the demo image, unpacked to `root`.
fn unpacked() -> Sandbox {
    let sandbox = loaded(&demo());
    sandbox.command("unpack").args(["--from", "base:1", "root"]).run().success();
    sandbox
}

fn loaded(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, image.clone())]);
    sandbox
}

fn change(root: &Path) {
    fs::remove_file(root.join("etc/passwd")).unwrap();
    fs::write(root.join("etc/shadow"), "new\n").unwrap();
    fs::hard_link(root.join("usr/bin/su2"), root.join("usr/bin/su3")).unwrap();
    fs::remove_dir_all(root.join("var/cache")).unwrap();
    fs::write(root.join("var/cache"), "a file now").unwrap();
    OpenOptions::new().append(true).open(root.join("var/big")).unwrap().write_all(b"!").unwrap();
}

const CHANGES: &str = "\
C etc\nD etc/passwd\nA etc/shadow\nC usr/bin\nC usr/bin/su\nC usr/bin/su2\nA usr/bin/su3\nC var\nC var/big\nC var/cache\n";

fn list(sandbox: &Sandbox, words: &[&str]) -> String {
    sandbox.command("snapshot").args(["--list", "root"]).args(words).run().success().out()
}

#[test]
fn a_changed_directory_becomes_an_image_that_unpacks_to_the_same() {
    let sandbox = unpacked();
    let root = sandbox.path("root");
    assert_eq!(list(&sandbox, &[]), "");
    change(&root);
    assert_eq!(list(&sandbox, &[]), CHANGES);
    for codec in ["gzip", "zstd", "none"] {
        let script = format!(
            "unset SOURCE_DATE_EPOCH; snapshot root | commit -q -t new:{codec} --compress {codec}"
        );
        assert_eq!(sh(&sandbox, &script).success().pipe, [0, 0]);
        let unpack = format!("save new:{codec} | unpack {codec}");
        sh(&sandbox, &unpack).success();
        tree::assert_same(&shown(&root), &shown(sandbox.path(codec)));
    }
    // The old image is what it was.
    sh(&sandbox, "save base:1 | unpack old").success();
    crate::fixtures::assert_demo(sandbox.path("old"));
}

#[test]
fn a_copy_on_another_file_system_is_the_same_image() {
    let sandbox = unpacked();
    change(&sandbox.path("root"));
    let elsewhere = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let script = format!(
        "snapshot root | commit -q -t here > here; cp -a root '{0}/root' && rm -r root && \
         snapshot '{0}/root' --base base:1 | commit -q -t there > there && cmp here there",
        elsewhere.path().display()
    );
    sh(&sandbox, &script).success();
}

#[test]
fn a_sparse_file_of_more_than_4_gib_is_the_same_again() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    let file = fs::File::create(sandbox.path("root/large")).unwrap();
    file.set_len((4 << 30) + 9).unwrap();
    file.write_all_at(b"middle", 3 << 30).unwrap();
    file.write_all_at(b"end", (4 << 30) + 3).unwrap();
    // It is never written out: what the image holds is compared as it comes.
    let script = "unset SOURCE_DATE_EPOCH; snapshot -q root --base scratch | commit -q -t large --base scratch --compress zstd --level 1 && \
                  snapshot -q --list root --base large && flatten -q large | tar -xO large | cmp - root/large";
    let script = Script::new(&sandbox, script);
    let output = script.with(|program| program.patience(Duration::from_secs(300))).run();
    assert!(output.success().out().starts_with("sha256:"), "{}", output.text());
    assert_eq!(output.out().lines().count(), 1, "{}", output.text());
}

#[test]
fn the_layer_names_the_base_that_the_store_remembers() {
    let sandbox = unpacked();
    let layer = sandbox.command("snapshot").arg("root").run();
    assert!(layer.stderr.contains("nothing has changed: the layer is empty"), "{}", layer.stderr);
    let manifest = demo().digest();
    let comment = format!("comment=strata base {manifest}\n");
    let comment = format!("{} {comment}", comment.len() + 3);
    assert_eq!(layer.success().stdout.len(), 2048);
    assert!(layer.stdout[512..].starts_with(comment.as_bytes()));
    // The directory is known wherever it is moved to.
    fs::rename(sandbox.path("root"), sandbox.path("moved")).unwrap();
    assert_eq!(sandbox.command("snapshot").arg("moved").run().success().stdout, layer.stdout);
    let named = sandbox.command("snapshot").args(["moved", "--base", "base:1"]).run();
    assert_eq!(named.success().stdout, layer.stdout);
    let input = Producer::Strata.write(&[Named::new(NAME, demo())]);
    let piped = sandbox.command("snapshot").args(["moved", "--base", "-"]).input(input).run();
    assert_eq!(piped.success().stdout, layer.stdout);
}

#[test]
fn listings_are_kept_and_made_again_when_they_are_gone_or_damaged() {
    let sandbox = unpacked();
    change(&sandbox.path("root"));
    let layer = sandbox.command("snapshot").arg("root").run().success().stdout.clone();
    let listings = sandbox.store().join("strata/listing");
    let kept = names(&listings);
    assert_eq!(kept.len(), 3);
    for name in &kept {
        fs::write(listings.join(name), "damaged").unwrap();
    }
    assert_eq!(sandbox.command("snapshot").arg("root").run().success().stdout, layer);
    assert!(
        names(&listings).iter().all(|name| fs::read(listings.join(name)).unwrap() != b"damaged")
    );
    fs::remove_dir_all(&listings).unwrap();
    assert_eq!(sandbox.command("snapshot").arg("root").run().success().stdout, layer);
    assert_eq!(names(&listings), kept);
    // With the listings no layer is read: it may even be gone.
    fs::remove_dir_all(sandbox.store().join("blobs/sha256")).unwrap();
    fs::create_dir(sandbox.store().join("blobs/sha256")).unwrap();
    let input = demo();
    for blob in input.blobs().iter().filter(|blob| blob.bytes.starts_with(b"{")) {
        fs::write(sandbox.store().join("blobs/sha256").join(blob.hex()), &blob.bytes).unwrap();
    }
    assert_eq!(sandbox.command("snapshot").arg("root").run().success().stdout, layer);
}

#[test]
fn without_a_base_it_says_what_to_do() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    // A store that was named must be there where something is to be found in it.
    for (words, code) in
        [("root", 3), ("root --base x", 3), ("root --base scratch", 0), ("root --base ./root", 0)]
    {
        let output = sh(&sandbox, &format!("snapshot --list --store typo {words}"));
        assert_eq!(output.code(), code, "{words}: {}", output.text());
        assert_eq!(
            output.stderr.contains("typo: no store is here"),
            code != 0,
            "{}",
            output.stderr
        );
    }
    sandbox.load(&[Named::new("docker.io/library/base:1", demo())]);
    let output = sandbox.command("snapshot").arg("root").run();
    assert_one_line(output.fails_with(2), "snapshot");
    assert!(output.stderr.contains("hint: say so with --base"), "{}", output.stderr);
    for (words, code) in [
        (&["root", "--base", "nothing"][..], 3),
        (&["missing", "--base", "scratch"], 3),
        (&["root", "--base", "./missing"], 3),
        (&["root", "--base", "layer:x"], 2),
        (&["root", "--base", "scratch", "--ignore", "everything"], 2),
        (&["root", "--base", "scratch", "--default-owner", "me"], 2),
        (&["root", "--base", "scratch", "--exclude", "/"], 2),
    ] {
        let output = sandbox.command("snapshot").args(words).run();
        assert_one_line(output.fails_with(code), "snapshot");
        assert_eq!(output.stdout, b"", "{words:?}");
    }
    assert!(!sandbox.path("typo").exists());
}

#[test]
fn a_layer_is_not_written_to_a_terminal() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    let output = sh(&sandbox, "script -qec 'snapshot root --base scratch' /dev/null");
    let shown = output.fails_with(2).out();
    assert!(shown.starts_with("snapshot: standard output is a terminal"), "{shown}");
    let output = sh(&sandbox, "script -qec 'snapshot --list root --base scratch' /dev/null");
    assert_eq!(output.success().out().trim_end(), "A .");
}

#[test]
fn a_closed_pipe_ends_it_quietly_and_a_full_disk_with_a_line() {
    let sandbox = Sandbox::new();
    tree::build(sandbox.path("root"), "-rw-r--r-- 0:0 f 9000000");
    let output = sh(&sandbox, "snapshot -q root --base scratch | head -c 1 > /dev/null");
    assert_eq!((output.pipe.clone(), output.stderr.as_str()), (vec![141, 0], ""));
    let output = sh(&sandbox, "snapshot root --base scratch > /dev/full");
    assert_one_line(output.fails_with(1), "snapshot");
    assert!(output.stderr.contains("no space left"), "{}", output.stderr);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named_and_the_layer_has_no_end() {
    let sandbox = Sandbox::new();
    tree::build(sandbox.path("root"), "-rw-r--r-- 0:0 dir/file 30000000");
    let script = "printf more >> root/dir/file";
    let (layer, output) = disturbed(&sandbox, "--base scratch", script);
    assert_one_line(output.fails_with(1), "snapshot");
    assert!(
        output.stderr.contains("dir/file: changed while it was being read"),
        "{}",
        output.stderr
    );
    let commit =
        sandbox.command("commit").args(["-t", "x", "--base", "scratch"]).input(layer).run();
    commit.fails_with(4);
}

/// Starts a snapshot of `root` with these words, runs a script when all has been looked at and the first file, large enough
/// to fill a pipe, is being written; gives the layer that comes out, and how it ended.
fn disturbed(sandbox: &Sandbox, words: &str, script: &str) -> (Vec<u8>, kit::Output) {
    let fifo = sandbox.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let snapshot =
        format!("unset SOURCE_DATE_EPOCH; exec snapshot root {words} > '{}'", fifo.display());
    let running = Script::new(sandbox, &snapshot).start();
    let mut pipe = fs::File::open(&fifo).unwrap();
    let mut layer = vec![0; 4096];
    pipe.read_exact(&mut layer).unwrap();
    sh(sandbox, script).success();
    pipe.read_to_end(&mut layer).unwrap();
    fs::remove_file(fifo).unwrap();
    (layer, running.wait())
}

#[test]
fn what_changes_is_read_again_where_that_is_asked_for() {
    let lines = "-rw-r--r-- 0:0 a-large 3000000\n-rw-r--r-- 0:0 grows 3 \"one\" @5\n-rw-r--r-- 0:0 is-replaced 3 \"old\"\n\
                 -rw-r--r-- 0:0 shrinks 2000000\n-rw-r--r-- 0:0 stays 4 \"same\" @6\n-rw-r--r-- 0:0 vanishes 3 \"out\"\n";
    let sandbox = Sandbox::new();
    tree::build(sandbox.path("root"), lines);
    let script = "cd root; printf ' and two' >> grows; printf new > x; mv x is-replaced; \
                  printf less > shrinks; rm vanishes";
    let (layer, output) = disturbed(&sandbox, "--base scratch --retry-changed 1", script);
    output.success();
    // What has vanished was never in the base, so that nothing is to be removed from it.
    let entries = tree::show_tar(&layer, Show { mtime: Mtime::Hidden, ..Show::PLAIN });
    assert!(!entries.contains("vanishes"), "{entries}");
    assert!(output.stderr.contains("6 added, 0 changed, 0 removed"), "{}", output.stderr);
    sandbox.write("layer.tar", layer);
    sh(&sandbox, "commit -q -t new --base scratch layer.tar && unpack -q --from new again")
        .success();
    // The root has the time it had before, for it was looked at then.
    let below = |dir: &str| shown(sandbox.path(dir)).split_once('\n').unwrap().1.to_owned();
    tree::assert_same(&below("root"), &below("again"));
    assert_eq!(sandbox.read("again/grows"), b"one and two");

    // What has vanished is gone from the base as well.
    sh(&sandbox, "printf again >> again/stays; printf again >> again/a-large; mv again root2; rm -r root; mv root2 root")
        .success();
    let (layer, output) = disturbed(&sandbox, "--retry-changed 1", "rm root/stays");
    output.success();
    let entries = tree::show_tar(&layer, Show { mtime: Mtime::Hidden, ..Show::PLAIN });
    assert!(entries.contains(" .wh.stays 0"), "{entries}");
}

#[test]
fn what_changes_in_more_than_its_bytes_is_told_all_the_same() {
    for script in
        ["echo >> b; chmod 600 b", "rm b; ln a-large b", "rm b; mkdir b", "echo >> b; ln b c; rm d"]
    {
        let sandbox = Sandbox::new();
        let lines = "-rw-r--r-- 0:0 a-large 3000000\n-rw-r--r-- 0:0 b 0\n-rw-r--r-- 0:0 d 0";
        tree::build(sandbox.path("root"), lines);
        let words = "--base scratch --retry-changed 3";
        let (layer, output) = disturbed(&sandbox, words, &format!("cd root; {script}"));
        if script.ends_with("rm d") {
            output.success();
            continue;
        }
        assert_one_line(output.fails_with(1), "snapshot");
        assert!(
            output.stderr.contains(": b: changed while it was being read"),
            "{}",
            output.stderr
        );
        let command = sandbox.command("commit").args(["-t", "x", "--base", "scratch"]);
        command.input(layer).run().fails_with(4);
    }
}

/// What only root can make, and what a plain user makes of it.
fn privileged() -> Image {
    let text = r#"
        drwxr-xr-x 0:0 ./
        crw-rw-rw- 0:0 dev/null 1,3
        -rwsr-xr-x 0:0 bin/su "su"
        -rw-r----- 0:42 etc/shadow "secret" @1500000000.123456789
        drwx------ 7:7 home/seven/
        -rw-r--r-- 7:7 home/seven/a "seven" trusted.note="x"
        -rw------- 0:0 home/seven/gone "gone"
        -rwxr-xr-x 0:0 bin/ping "ping" security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    "#;
    let layer =
        Layer::text(text).hardlink("dev/zero", "dev/null").hardlink("home/seven/b", "home/seven/a");
    Image::new().layer(layer)
}

#[test]
fn as_root_a_plain_users_tree_is_snapshot_with_the_owners_of_its_base() {
    if lacks_root() {
        return;
    }
    let sandbox = loaded(&privileged());
    sh(&sandbox, "save base:1 > base.tar").success();
    let run = |script: &str| Script::new(&sandbox, script).user(1234).run();
    run("unpack root < base.tar").success();
    let root = sandbox.path("root");
    assert_eq!(fs::metadata(root.join("etc/shadow")).unwrap().uid(), 1234);
    assert_eq!(run("snapshot --list root --base ./base.tar").success().out(), "");

    let script = "echo new > root/new && chmod 4700 root/bin/ping && rm root/home/seven/gone && \
                  ln root/home/seven/b root/home/a && echo more >> root/bin/su";
    run(script).success();
    let layer = run("snapshot root --base ./base.tar > layer.tar && \
                     snapshot --list root --base ./base.tar --ignore mtime");
    let expected = "C bin/ping\nC bin/su\nA home/a\nD home/seven/gone\nC home/seven/a\nC home/seven/b\nA new\n";
    assert_eq!(layer.success().out(), expected);
    sh(&sandbox, "commit -q -t new --base base:1 layer.tar && save new | unpack again").success();
    let shown = tree::show_with(sandbox.path("again"), Show { mtime: Mtime::Hidden, ..Show::ALL });
    let expected = r#"drwxr-xr-x 0:0 ./
drwxr-xr-x 0:0 bin/
-rws------ 0:0 bin/ping 4 "ping" security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
-rwsr-xr-x 0:0 bin/su 7 "sumore\n"
drwxr-xr-x 0:0 dev/
crw-rw-rw- 0:0 dev/null 1,3
-rw-rw-rw- 0:0 dev/zero = dev/null
drwxr-xr-x 0:0 etc/
-rw-r----- 0:42 etc/shadow 6 "secret"
drwxr-xr-x 0:0 home/
-rw-r--r-- 7:7 home/a 5 "seven" trusted.note="x"
drwx------ 7:7 home/seven/
-rw-r--r-- 7:7 home/seven/a = home/a trusted.note="x"
-rw-r--r-- 7:7 home/seven/b = home/a trusted.note="x"
-rw-r--r-- 0:0 new 4 "new\n"
"#;
    tree::assert_same(expected, &shown);
    assert_eq!(fs::metadata(sandbox.path("again/etc/shadow")).unwrap().mtime_nsec(), 123_456_789);
}

#[test]
fn as_root_of_a_namespace_owners_that_it_does_not_know_are_those_of_the_base() {
    if lacks_root() {
        return;
    }
    let sandbox = loaded(&privileged());
    let script = "save base:1 > base.tar; \
                  unshare --user --map-root-user sh -c 'unpack -q root < base.tar; \
                  snapshot -q --list root --base ./base.tar && echo x > root/new && \
                  snapshot -q --list root --base ./base.tar --ignore mtime'";
    let output = sh(&sandbox, script);
    if output.stderr.contains("unshare:") {
        return kit::peers::skip("root of a namespace", "no user namespaces");
    }
    assert_eq!(output.success().out(), "A new\n");
}

/// Whether unshare or mount failed, by their own words at the beginning of a line: ours are no reason to skip.
fn cannot_mount(output: &kit::Output) -> bool {
    output.stderr.lines().any(|line| line.starts_with("unshare:") || line.starts_with("mount:"))
}

/// Mounts an overlay over the demo's directory, changes it by a script, and runs another beside it.
fn overlay(sandbox: &Sandbox, options: &str, script: &str) -> Option<kit::Output> {
    let script = format!(
        "unshare -m sh -c 'mkdir -p work/upper work/work mnt && mount -t tmpfs none work && \
         mkdir work/upper work/work && \
         mount -t overlay overlay -o lowerdir=root,upperdir=$PWD/work/upper,workdir=$PWD/work/work{options} mnt && {{ {script}; }}'"
    );
    let output = sh(sandbox, &script);
    if cannot_mount(&output) {
        kit::peers::skip("an overlay", "it can't be mounted");
        return None;
    }
    Some(output)
}

#[test]
fn as_root_over_a_directory_that_nobody_knows_changes_are_told_by_what_is_there() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let lower = "-rw-r--r-- 0:0 dir/a \"a\"\n-rw-r--r-- 0:0 gone \"g\"\n-rw-r--r-- 0:0 kept \"k\"\n-rw-r--r-- 0:0 other/a \"a\"";
    tree::build(sandbox.path("root"), lower);
    let script = "rm mnt/gone; rm -r mnt/dir; mkdir mnt/dir; echo b > mnt/dir/b; echo k > mnt/kept; echo n > mnt/new; \
                  mknod work/upper/never c 0 0; snapshot --list mnt";
    let Some(output) = overlay(&sandbox, "", script) else { return };
    // What was in nothing below is no change, and a directory that hides what it had is one.
    let expected = "D gone\nC dir\nD dir\nA dir/b\nC kept\nA new\n";
    assert_eq!(output.success().out(), expected, "{}", output.text());
}

#[test]
fn as_root_of_an_overlay_only_the_upper_directory_is_read() {
    if lacks_root() {
        return;
    }
    let sandbox = unpacked();
    let script = "unset SOURCE_DATE_EPOCH; rm mnt/etc/passwd; echo new > mnt/etc/shadow; chmod 700 mnt/usr; \
                  rm -r mnt/var/cache; mkdir mnt/var/cache; echo in > mnt/var/cache/in; \
                  snapshot mnt > mounted.tar && snapshot --upper work/upper --base base:1 > upper.tar && \
                  snapshot --list mnt && snapshot mnt --base dir:root > whole.tar && cp -a mnt copy";
    let Some(output) = overlay(&sandbox, "", script) else { return };
    let expected = "C etc\nD etc/passwd\nA etc/shadow\nC usr\nC var\nC var/cache\nD var/cache/new\nA var/cache/in\n";
    assert_eq!(output.success().out(), expected, "{}", output.text());
    // The lower directory tells by itself which image it is.
    assert_eq!(sandbox.read("mounted.tar"), sandbox.read("upper.tar"));
    sh(&sandbox, "commit -q -t new mounted.tar && save new | unpack again").success();
    // The upper directory itself was just made: what it is says nothing of the root.
    let below = |dir: &str| shown(sandbox.path(dir)).split_once('\n').unwrap().1.to_owned();
    tree::assert_same(&below("copy"), &below("again"));
    sh(&sandbox, "commit -q -t whole --base base:1 whole.tar && save whole | unpack whole")
        .success();
    tree::assert_same(&shown(sandbox.path("copy")), &shown(sandbox.path("whole")));
}

#[test]
fn as_root_what_an_overlay_has_moved_is_refused() {
    if lacks_root() {
        return;
    }
    let sandbox = unpacked();
    let script =
        "mv mnt/usr mnt/elsewhere; snapshot mnt > layer.tar; echo $?; test -s layer.tar; echo $?";
    let Some(output) = overlay(&sandbox, ",redirect_dir=on", script) else { return };
    assert_eq!(output.success().out(), "1\n1\n", "{}", output.text());
    assert!(output.stderr.contains("elsewhere: overlayfs has moved it here"), "{}", output.stderr);
}

#[test]
fn whiteouts_that_are_attributes_count_too() {
    let sandbox = loaded(&demo());
    let lines = "-rw-r--r-- 0:0 etc/passwd 0 user.overlay.whiteout=\"y\"\n\
                 drwxr-xr-x 0:0 etc/ user.overlay.opaque=\"x\"\n\
                 drwxr-xr-x 0:0 var/ user.overlay.opaque=\"y\" user.kept=\"1\"\n\
                 -rw-r--r-- 0:0 var/a 1 \"a\" user.overlay.origin=\"x\"";
    tree::build(sandbox.path("upper"), lines);
    let output = sandbox.command("snapshot").args(["--upper", "upper", "--base", "base:1"]).run();
    let show = Show { mtime: Mtime::Hidden, owner: false, ..Show::ALL };
    let entries = tree::show_tar(&output.success().stdout, show);
    let expected = "drwxr-xr-x etc/\n---------- etc/.wh.passwd 0\ndrwxr-xr-x var/ user.kept=\"1\"\n\
                    ---------- var/.wh..wh..opq 0\n-rw-r--r-- var/a 1 \"a\"\n";
    assert_eq!(entries, expected);
}

#[test]
fn sockets_that_are_left_out_are_named() {
    let sandbox = unpacked();
    let _socket = UnixListener::bind(sandbox.path("root/var/cache/socket")).unwrap();
    let output = sh(&sandbox, "snapshot --list --ignore mtime root");
    assert_eq!(output.success().out(), "", "{}", output.text());
    let text = "left out, for no layer holds a socket: var/cache/socket\n";
    assert_eq!(output.stderr, text);
}

#[test]
fn below_an_opaque_directory_the_base_is_gone_at_every_depth() {
    let layer = Layer::new().file("d/sub/old", "").file("d/sub/deeper/old", "").file("e/old", "");
    let sandbox = loaded(&Image::new().layer(layer));
    let lines = "drwxr-xr-x 0:0 d/ user.overlay.opaque=\"y\"\ndrwxr-xr-x 0:0 d/sub/deeper/\n\
                 drwxr-xr-x 0:0 e/";
    tree::build(sandbox.path("upper"), lines);
    let output = sh(&sandbox, "snapshot --upper upper --base base:1 --list | grep ^D");
    assert_eq!(output.success().out(), "D d/sub/old\nD d/sub/deeper/old\n");
}

#[test]
fn as_root_another_file_system_in_the_tree_can_be_passed_over() {
    if lacks_root() {
        return;
    }
    let sandbox = unpacked();
    let script = "unshare -m sh -c 'mount -t tmpfs none root/etc && echo x > root/etc/x && \
                  snapshot --list -x root && echo . && snapshot --list root --ignore mtime'";
    let output = sh(&sandbox, script);
    if cannot_mount(&output) {
        return kit::peers::skip("a mount", "it can't be made");
    }
    assert_eq!(output.success().out(), ".\nC etc\nD etc/passwd\nA etc/x\n");
}

// umoci#127: what was in a volume was published with the image.
#[test]
fn volumes_of_the_image_are_left_out() {
    let volumes = json!({"/data": {}, "var//lib/x/": {}, "/": {}, "/link/v": {}, "/none": {}});
    let layer = Layer::text(
        "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 data/seed \"s\"\ndrwxr-xr-x 0:0 var/lib/x/\n-rw-r--r-- 0:0 real/v/seed \"s\"\n\
         -rw-r--r-- 0:0 database \"d\"\nlrwxrwxrwx 0:0 link -> real",
    );
    let image = Image::new().layer(layer).set_config("/config/Volumes", volumes);
    let sandbox = loaded(&image);
    let script = "unpack -q --from base:1 root && cd root && echo secret > data/seed && echo secret > data/new && chmod 700 data \
        && rmdir var/lib/x && echo secret > real/v/new && mkdir none && echo secret > none/new && echo x > new && rm database";
    sh(&sandbox, script).success();
    let output = sh(&sandbox, "snapshot --list root --ignore mtime");
    assert_eq!(output.success().out(), "D database\nA new\n");
    let text = "left out, for they are volumes of the image: data, none, real/v\n";
    assert_eq!(output.stderr, text);
    let kept = "D database\nC data\nA data/new\nC data/seed\nA new\nA none\nA none/new\nA real/v/new\nD var/lib/x\n";
    assert_eq!(
        sh(&sandbox, "snapshot --list root --ignore mtime --keep-volumes").success().out(),
        kept
    );
    sh(&sandbox, "snapshot root | commit -q -t new && unpack -q --from new again").success();
    assert_eq!(names(sandbox.path("again")), ["data", "link", "new", "real", "var"]);
    assert_eq!(sandbox.read("again/data/seed"), b"s");
    sh(&sandbox, "! grep -r secret again && [ -d again/var/lib/x ]").success();
    // The same of what lies on an image, and of a base that is named.
    tree::build(sandbox.path("upper"), "-rw-r--r-- 0:0 data/x \"x\"\n-rw-r--r-- 0:0 b \"b\"");
    let lists = "snapshot -q --upper upper --base base:1 --list; save base:1 > base.tar; snapshot -q --list root --ignore mtime --base ./base.tar";
    assert_eq!(sh(&sandbox, lists).success().out(), "A b\nD database\nA new\n");
    // Of a directory nothing is known.
    let output = sh(&sandbox, "mkdir old && snapshot -q --list upper --base ./old | grep data/x");
    output.success();
}

#[test]
fn new_times_are_at_most_the_one_that_is_asked_for() {
    let layer = Layer::text(
        "drwxr-xr-x 0:0 ./ @9\n-rw-r--r-- 0:0 kept/mode \"m\" @1700000000\n-rw-r--r-- 0:0 kept/old \"o\" @7\n\
         drwxr-xr-x 0:0 kept/ @1800000000",
    );
    let sandbox = loaded(&Image::new().layer(layer));
    let changed = |dir: &str, time: u64| {
        format!(
            "unpack -q --from base:1 {dir} && chmod 600 {dir}/kept/mode && echo new > {dir}/new && echo older > {dir}/kept/old \
             && touch -d @{time}.5 {dir}/new && touch -d @5.5 {dir}/kept/old && touch -d @1800000000 {dir}/kept && touch -d @9 {dir}"
        )
    };
    sh(&sandbox, &changed("one", 1_900_000_000)).success();
    sh(&sandbox, &changed("two", 1_910_000_000)).success();
    let expected = "drwxr-xr-x ./ @9.000000000\ndrwxr-xr-x kept/ @1800000000.000000000\n\
        -rw------- kept/mode 1 \"m\" @1700000000.000000000\n-rw-r--r-- kept/old 6 \"older\\n\" @5.500000000\n\
        -rw-r--r-- new 4 \"new\\n\" @1650000000.000000000\n";
    for (how, retries) in
        [("--clamp-mtime 1650000000", ""), ("--clamp-mtime 1650000000", "--retry-changed 2")]
    {
        let layers = ["one", "two"].map(|dir| {
            let script = format!("unset SOURCE_DATE_EPOCH; snapshot -q {dir} {how} {retries}");
            sh(&sandbox, &script).success().stdout.clone()
        });
        assert_eq!(tree::show_tar(&layers[0], Show { owner: false, ..Show::ALL }), expected);
        assert!(layers[0] == layers[1]);
        let epoch =
            sh(&sandbox, &format!("SOURCE_DATE_EPOCH=1650000000 snapshot -q one {retries}"));
        assert!(epoch.success().stdout == layers[0]);
    }
    let free = sh(&sandbox, "unset SOURCE_DATE_EPOCH; snapshot -q one").success().stdout.clone();
    assert!(tree::show_tar(&free, Show::ALL).contains("@1900000000.500000000"));
}

#[test]
fn a_store_that_may_not_be_written_is_enough() {
    let sandbox = unpacked();
    change(&sandbox.path("root"));
    let listings = sandbox.store().join("strata/listing");
    fs::remove_dir_all(&listings).unwrap();
    let lock = |mode| {
        for path in ["strata/temp", "strata"] {
            let path = sandbox.store().join(path);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    lock(0o555);
    let listed = list(&sandbox, &[]);
    lock(0o755);
    assert_eq!(listed, CHANGES);
}

#[test]
fn as_root_the_summary_of_a_mounted_union_counts_as_its_list_does() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let layer = Layer::new().dir("etc", 0o755).file("etc/motd", "old").file("etc/issue", "x");
    sandbox.load(&[Named::new("app:1", Image::new().layer(layer))]);
    let change = "echo newer > m/etc/motd; echo 1 > m/etc/version; rm m/etc/issue";
    let script = format!(
        "union -q app:1 m --upper up; {change}; snapshot --list m; snapshot m > layer; union --umount m"
    );
    let output = sh(&sandbox, &script);
    let list = output.success().out();
    assert_eq!(list, "C etc\nD etc/issue\nC etc/motd\nA etc/version\n");
    assert!(output.stderr.contains("1 added, 2 changed, 1 removed, 8B"), "{}", output.stderr);
}
