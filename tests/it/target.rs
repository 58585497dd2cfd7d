//! The directory appears whole or not at all, and what was there before is not touched.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, Instant};

use kit::pipeline::Script;
use kit::tree::{self, Show};
use kit::{Image, Layer, Output, Running, Sandbox, Sparse, pipeline};
use rustix::process::Signal;

use crate::fixtures::{
    assert_demo, assert_one_line, demo, half_made, names, small, stream_of, unpack,
};

/// An `unpack` that waits for the rest of its stream.
struct Waiting {
    running: Running,
    /// The other end of its input; dropping it ends the stream.
    feed: File,
    bytes: Vec<u8>,
    sent: usize,
}

impl Waiting {
    /// Starts `unpack` with these arguments, reading a fifo, and sends it all but the last 2 KiB.
    fn start(sandbox: &Sandbox, arguments: &str) -> Self {
        Self::start_with(sandbox, arguments, &demo())
    }

    fn start_with(sandbox: &Sandbox, arguments: &str, image: &Image) -> Self {
        Self::start_script(sandbox, &format!("exec unpack {arguments}"), image)
    }

    fn start_script(sandbox: &Sandbox, script: &str, image: &Image) -> Self {
        let fifo = format!("fifo.{}", names(sandbox.root()).len());
        let fifo = sandbox.root().join(fifo);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        let script = format!("exec < '{}'; {script}", fifo.display());
        let running = Script::new(sandbox, &script).start();
        let mut feed = OpenOptions::new().write(true).open(&fifo).unwrap();
        fs::remove_file(&fifo).unwrap();
        let bytes = stream_of(image);
        let sent = bytes.len() - 2048;
        feed.write_all(&bytes[..sent]).unwrap();
        Self { running, feed, bytes, sent }
    }

    /// Sends the rest and waits for the end.
    fn finish(mut self) -> Output {
        // A program that has failed already reads no more.
        drop(self.feed.write_all(&self.bytes[self.sent..]));
        drop(self.feed);
        self.running.wait()
    }

    fn signal(self, signal: Signal) -> Output {
        self.running.signal(signal);
        let output = self.running.wait();
        drop(self.feed);
        output
    }

    fn kill(self) {
        assert_eq!(self.running.kill().code(), 137);
    }
}

/// Waits until something is there.
#[track_caller]
fn until(what: &str, mut is_there: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until files of the first layer are being written to a new directory.
fn until_at_work(sandbox: &Sandbox) {
    until("a half-made directory", || {
        half_made(sandbox).is_some_and(|dir| dir.join("etc/passwd").exists())
    });
    assert!(!sandbox.path("root").exists());
}

/// Waits until files of the first layer are being written to a directory that was there.
fn until_marked(sandbox: &Sandbox) {
    until("files beside the mark", || {
        let is_there = |name: &str| sandbox.path("root").join(name).exists();
        is_there(".strata-incomplete") && is_there("etc/passwd")
    });
}

#[test]
fn a_new_directory_appears_only_when_it_is_whole() {
    let sandbox = Sandbox::new();
    let waiting = Waiting::start(&sandbox, "root");
    until_at_work(&sandbox);
    waiting.finish().success();
    assert_demo(sandbox.path("root"));
    assert_eq!(names(sandbox.path("")), ["root"]);
}

#[test]
fn a_new_directory_is_private_until_it_has_its_name() {
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for wanted in [0o755, 0o555, 0o111, 0o1777] {
        let sandbox = Sandbox::new();
        let image = Image::new()
            .layer(Layer::new().dir("./", wanted).dir("etc", 0o755).file("etc/passwd", "x"))
            .layer(Layer::new().file("rest", [0; 4096]));
        let script = "umask 0; exec unpack root";
        let waiting = Waiting::start_script(&sandbox, script, &image);
        until_at_work(&sandbox);
        let tree = half_made(&sandbox).unwrap();
        assert_eq!(mode(tree.parent().unwrap()), 0o700);
        waiting.finish().success();
        assert_eq!(mode(&sandbox.path("root")), wanted);
        assert_eq!(names(sandbox.path("")), ["root"]);
    }
}

#[test]
fn a_plain_users_directory_may_have_any_mode() {
    for wanted in [0o555, 0o500, 0o111, 0] {
        for exists in [false, true] {
            let sandbox = Sandbox::new();
            let layer = Layer::new().dir("./", wanted).mtime(5, 6).file("f", "x");
            sandbox.write("in", stream_of(&Image::new().layer(layer)));
            let make = if exists { "mkdir root &&" } else { "" };
            let script = format!("{make} unpack -q root < in");
            Script::new(&sandbox, &script).as_plain_user().run().success();
            let root = fs::metadata(sandbox.path("root")).unwrap();
            let shown = (root.mode() & 0o7777, root.mtime(), root.mtime_nsec());
            assert_eq!(shown, (wanted, 5, 6), "{exists}");
            assert_eq!(names(sandbox.path("")), ["in", "root"]);
        }
    }
}

#[test]
fn a_killed_run_leaves_nothing_under_the_name_and_the_next_one_tidies_up() {
    let sandbox = Sandbox::new();
    let waiting = Waiting::start(&sandbox, "root");
    until_at_work(&sandbox);
    waiting.kill();
    let left = half_made(&sandbox).expect("a killed program leaves what it made");
    assert!(!sandbox.path("root").exists());
    unpack(&sandbox, stream_of(&small("x"))).success();
    assert!(!left.exists());
    assert_eq!(names(sandbox.path("")), ["root"]);
    assert_eq!(sandbox.read("root/etc/motd"), b"x");
}

#[test]
fn what_a_running_program_is_at_is_not_tidied_up() {
    let sandbox = Sandbox::new();
    let waiting = Waiting::start(&sandbox, "root");
    until_at_work(&sandbox);
    let other = half_made(&sandbox).unwrap();
    let output = unpack(&sandbox, b"no stream".to_vec());
    output.fails_with(4);
    assert!(other.join("etc/passwd").exists());
    waiting.finish().success();
    assert_demo(sandbox.path("root"));
}

#[test]
fn a_directory_named_much_like_ours_is_left_alone() {
    let sandbox = Sandbox::new();
    for name in [".other.strata-1", ".root.strata", "root.strata-1", ".root"] {
        sandbox.write(&format!("{name}/keep"), "x");
    }
    sandbox.write(".root.strata-file", "x");
    unpack(&sandbox, stream_of(&small("x"))).success();
    assert_eq!(
        names(sandbox.path("")),
        [".other.strata-1", ".root", ".root.strata", ".root.strata-file", "root", "root.strata-1"]
    );
}

#[test]
fn two_into_one_new_directory_one_wins() {
    let sandbox = Sandbox::new();
    let waiting = Waiting::start(&sandbox, "root");
    until_at_work(&sandbox);
    unpack(&sandbox, stream_of(&small("winner"))).success();
    let before = tree::show_with(sandbox.path("root"), Show::ALL);
    let output = waiting.finish();
    assert_one_line(output.fails_with(1), "unpack");
    let told = "unpack: root: moving the directory to its place: file exists\n";
    assert!(output.stderr.ends_with(told), "{}", output.stderr);
    assert_eq!(tree::show_with(sandbox.path("root"), Show::ALL), before);
    assert_eq!(names(sandbox.path("")), ["root"]);
}

#[test]
fn two_into_one_empty_directory_one_wins() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    let waiting = Waiting::start(&sandbox, "root");
    until_marked(&sandbox);
    let output = unpack(&sandbox, stream_of(&small("loser")));
    assert_one_line(output.fails_with(1), "unpack");
    waiting.finish().success();
    assert_demo(sandbox.path("root"));
}

#[test]
fn signals_clean_up_and_kill() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        for exists in [false, true] {
            let sandbox = Sandbox::new();
            if exists {
                fs::create_dir(sandbox.path("root")).unwrap();
            }
            let waiting = Waiting::start(&sandbox, "root");
            if exists {
                until_marked(&sandbox);
            } else {
                until_at_work(&sandbox);
            }
            let output = waiting.signal(signal);
            assert_eq!(output.code(), 128 + signal.as_raw(), "{}", output.text());
            assert_eq!(output.status.code(), None, "it dies by the signal");
            if exists {
                assert!(names(sandbox.path("root")).is_empty());
            } else {
                assert!(names(sandbox.path("")).is_empty());
            }
        }
    }
}

#[test]
fn an_empty_directory_is_filled_in_place() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("root");
    fs::create_dir(&root).unwrap();
    let inode = fs::metadata(&root).unwrap().ino();
    let waiting = Waiting::start(&sandbox, "root");
    until_marked(&sandbox);
    waiting.finish().success();
    assert_demo(&root);
    assert_eq!(fs::metadata(&root).unwrap().ino(), inode);
    assert_eq!(names(sandbox.path("")), ["root"]);
}

#[test]
fn a_fresh_mount_counts_as_empty() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("root/lost+found")).unwrap();
    fs::set_permissions(sandbox.path("root/lost+found"), fs::Permissions::from_mode(0o700))
        .unwrap();
    unpack(&sandbox, stream_of(&small("x"))).success();
    assert_eq!(names(sandbox.path("root")), ["etc", "lost+found"]);
}

#[test]
fn an_empty_directory_is_emptied_when_that_fails() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("root");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap();
    let bytes = stream_of(&demo());
    let output = unpack(&sandbox, &bytes[..bytes.len() - 1024]);
    assert_one_line(output.fails_with(4), "unpack");
    assert!(names(&root).is_empty());
    assert_eq!(names(sandbox.path("")), ["root"]);
}

#[test]
fn what_a_killed_run_left_in_a_directory_is_no_obstacle() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    let waiting = Waiting::start(&sandbox, "root");
    until_marked(&sandbox);
    waiting.kill();
    assert!(sandbox.path("root/.strata-incomplete").exists());
    unpack(&sandbox, stream_of(&small("x"))).success();
    assert_eq!(names(sandbox.path("root")), ["etc"]);
}

#[test]
fn a_directory_that_is_not_empty_is_refused_untouched() {
    let sandbox = Sandbox::new();
    tree::build(sandbox.path("root"), "drwxr-x--- ./ @5\n-rw-r--r-- keep \"x\" @6\n");
    let before = tree::show_with(sandbox.path("root"), Show::ALL);
    let output = unpack(&sandbox, stream_of(&demo()));
    assert_one_line(output.fails_with(2), "unpack");
    assert!(output.stderr.contains("hint: "), "{}", output.stderr);
    assert_eq!(tree::show_with(sandbox.path("root"), Show::ALL), before);
    assert_eq!(names(sandbox.path("")), ["root"]);
}

#[test]
fn what_is_no_directory_is_refused_untouched() {
    let sandbox = Sandbox::new();
    sandbox.write("root", "a file");
    let output = unpack(&sandbox, stream_of(&demo()));
    assert_one_line(output.fails_with(2), "unpack");
    assert_eq!(sandbox.read("root"), b"a file");
    // A dangling link is neither a directory nor a free name.
    fs::remove_file(sandbox.path("root")).unwrap();
    std::os::unix::fs::symlink("nowhere", sandbox.path("root")).unwrap();
    let output = unpack(&sandbox, stream_of(&demo()));
    assert_one_line(&output, "unpack");
    assert_ne!(output.code(), 0);
    assert_eq!(names(sandbox.path("")), ["root"]);
}

#[test]
fn a_link_to_an_empty_directory_is_filled_where_it_leads() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("real")).unwrap();
    std::os::unix::fs::symlink("real", sandbox.path("root")).unwrap();
    unpack(&sandbox, stream_of(&demo())).success();
    assert_demo(sandbox.path("real"));
    assert!(fs::symlink_metadata(sandbox.path("root")).unwrap().is_symlink());
}

#[test]
fn a_missing_parent_is_an_error_that_makes_nothing() {
    let sandbox = Sandbox::new();
    let output = sandbox.command("unpack").arg("no/root").input(stream_of(&demo())).run();
    assert_one_line(&output, "unpack");
    assert_ne!(output.code(), 0);
    assert!(names(sandbox.path("")).is_empty());
}

#[test]
fn odd_names_of_the_directory_work() {
    for name in ["./root", "root/", "../work/root", " ", "-", "ro\not", "größe"] {
        let sandbox = Sandbox::new();
        let output =
            sandbox.command("unpack").arg("--").arg(name).input(stream_of(&small("x"))).run();
        assert_eq!(output.code(), 0, "{name:?}: {}", output.text());
        assert_eq!(fs::read(sandbox.path(name).join("etc/motd")).unwrap(), b"x");
        assert_eq!(names(sandbox.path("")).len(), 1, "{name:?}");
    }
    // The directory one is in can only be filled.
    let sandbox = Sandbox::new();
    sandbox.command("unpack").arg(".").input(stream_of(&small("x"))).run().success();
    assert_eq!(sandbox.read("etc/motd"), b"x");
}

#[test]
fn a_layer_that_holds_our_own_mark_is_refused() {
    // Such a directory would look half-made: the next unpack would empty it.
    let image =
        Image::new().layer(Layer::new().file(".strata-incomplete", "theirs").file("f", "x"));
    for exists in [false, true] {
        let sandbox = Sandbox::new();
        if exists {
            fs::create_dir(sandbox.path("root")).unwrap();
        }
        let output = unpack(&sandbox, stream_of(&image));
        assert_one_line(output.fails_with(4), "unpack");
        assert_eq!(names(sandbox.path("")), if exists { &["root"][..] } else { &[] });
        assert!(!exists || names(sandbox.path("root")).is_empty());
    }
}

#[test]
fn a_layer_cannot_take_the_mark_away_before_the_directory_is_whole() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("root")).unwrap();
    let removing = Layer::new().file("etc/passwd", "x").opaque("").whiteout(".strata-incomplete");
    let image = Image::new().layer(removing).layer(Layer::new().file("rest", [0; 4096]));
    let waiting = Waiting::start_with(&sandbox, "root", &image);
    until_marked(&sandbox);
    waiting.kill();
    assert!(sandbox.path("root/.strata-incomplete").exists());
    let removing = Layer::new().opaque("").whiteout(".strata-incomplete");
    unpack(&sandbox, stream_of(&Image::new().layer(removing))).success();
    assert!(names(sandbox.path("root")).is_empty());
}

#[test]
fn a_layer_error_is_told_while_the_writer_is_silent() {
    let sandbox = Sandbox::new();
    let image = Image::new().layer(Layer::new().file("../x", "")).layer(Layer::new());
    let bytes = stream_of(&image);
    sandbox.write("in", &bytes[..bytes.len() - 1024]);
    let script =
        "mkfifo p; (cat in; sleep 600) > p & unpack root < p; code=$?; kill $!; exit $code";
    let began = Instant::now();
    let output = pipeline::sh(&sandbox, script);
    output.fails_with(4);
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(names(sandbox.path("")), ["in", "p"]);
}

#[test]
fn an_image_that_is_larger_than_allowed_ends_with_one_line() {
    let sandbox = Sandbox::new();
    let lower = Layer::new().dir("d", 0o755).file("d/a", [1; 1000]);
    let upper = Layer::new().file("d/a", [2; 24]).hardlink("b", "d/a").whiteout("none");
    let holes = Layer::new().sparse("holes", Sparse::Pax10, 1 << 40, &[]);
    let image = Image::new().layer(lower).layer(upper);
    sandbox.write("in", stream_of(&image));
    sandbox.write("holes", stream_of(&image.layer(holes)));
    for (words, is_allowed, told) in [
        ("--max-entries 4 root < in", true, ""),
        ("--max-entries 3 root < in", false, "the image has more than 3 entries"),
        ("--max-size 1024 root < in", true, ""),
        ("--max-size 1K --max-entries 4 root < in", true, ""),
        ("--max-size 1023 root < in", false, "the image's files are more than 1.02kB large"),
        ("--max-size 1024G root < holes", false, "the image's files are more than 1.1TB large"),
    ] {
        let output = pipeline::sh(&sandbox, &format!("unpack -q {words}"));
        if is_allowed {
            output.success();
            fs::remove_dir_all(sandbox.path("root")).unwrap();
        } else {
            assert_one_line(output.fails_with(4), "unpack");
            assert!(output.stderr.contains(told), "{}", output.stderr);
            assert!(output.stderr.contains("hint: --max-"), "{}", output.stderr);
        }
        assert_eq!(names(sandbox.path("")), ["holes", "in"]);
    }
    let output = pipeline::sh(&sandbox, "unpack -q --max-size much root < in");
    assert_one_line(output.fails_with(2), "unpack");
}
