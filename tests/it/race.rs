//! Another user rearranges what is around the target of root's `unpack`, who owns the directory above it.
//!
//! `STRATA_LONG=1` makes it 2,000 tries, which take minutes: run it with `--profile long`, which has the time for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use kit::image::random::Random;
use kit::tree::{self, Show};
use kit::{Sandbox, pipeline};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::fixtures::{assert_one_line, lacks_root, names, small, stream_of, unpack};

const OTHER: u32 = 65534;
const MARK: &str = ".strata-incomplete";

/// Directories that nobody may touch.
fn victims(sandbox: &Sandbox) -> PathBuf {
    let files = r#"
        drwxr-xr-x 0:0 ./ @1
        drwxr-xr-x 0:0 empty/ @2
        drwxr-xr-x 0:0 full/ @3
        -rw-r--r-- 0:0 full/keep "precious" @4
        drwxr-xr-x 0:0 marked/ @5
        -rw------- 0:0 marked/.strata-incomplete "" @6
        -rw-r--r-- 0:0 marked/keep "precious" @7
        drwx------ 0:0 private/ @8
    "#;
    tree::build(sandbox.path("victims"), files);
    sandbox.path("victims")
}

/// A directory of the other user, who may do in it what he likes.
fn playground(sandbox: &Sandbox) -> PathBuf {
    let play = sandbox.path("play");
    fs::create_dir(&play).unwrap();
    chown(&play, Some(OTHER), Some(OTHER)).unwrap();
    play
}

/// What the other user does with the names in his directory.
struct Attacker {
    play: PathBuf,
    victims: PathBuf,
    random: Random,
    n_junk: u32,
}

impl Attacker {
    /// Turns this thread into the other user.
    fn become_other() {
        set_thread_groups(&[]).unwrap();
        let (uid, gid) = (Uid::from_raw(OTHER), Gid::from_raw(OTHER));
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
    }

    fn play(mut self, is_over: &AtomicBool) {
        Self::become_other();
        while !is_over.load(Ordering::Relaxed) {
            self.change("x");
            // The private directories, whatever they are called.
            for entry in fs::read_dir(&self.play).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if name.starts_with(".x.") && self.random.bytes(1)[0] < 40 {
                    self.change(&name);
                }
            }
        }
    }

    /// Puts something else in the place of `name`, or nothing.
    fn change(&mut self, name: &str) {
        let (name, next) = (self.play.join(name), self.play.join("next"));
        let link = |victim: &str| symlink(self.victims.join(victim), &next).unwrap();
        match self.random.bytes(1)[0] % 14 {
            0 => link("empty"),
            1 => link("full"),
            2 => link("marked"),
            3 => link("private"),
            4 => fs::create_dir(&next).unwrap(),
            5 => {
                fs::create_dir(&next).unwrap();
                fs::write(next.join(MARK), "").unwrap();
            }
            _ => return self.put_away(&name),
        }
        // Only he renames here; what is made under the name meanwhile is exchanged.
        if renameat_with(CWD, &next, CWD, &name, RenameFlags::NOREPLACE).is_err() {
            renameat_with(CWD, &next, CWD, &name, RenameFlags::EXCHANGE).ok();
            self.put_away(&next);
        }
    }

    /// Removes what is his, and moves away what isn't.
    fn put_away(&mut self, path: &Path) {
        let is_gone = fs::remove_file(path).is_ok()
            || fs::remove_file(path.join(MARK)).is_ok() && fs::remove_dir(path).is_ok()
            || fs::remove_dir(path).is_ok();
        if !is_gone {
            self.n_junk += 1;
            drop(fs::rename(path, self.play.join(format!("junk-{}", self.n_junk))));
        }
    }
}

fn remove_junk(play: &Path) {
    for name in names(play).into_iter().filter(|name| name.starts_with("junk-")) {
        let path = play.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir()) {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn as_root_nothing_outside_changes_while_another_user_swaps_names_around_the_target() {
    if lacks_root() {
        return;
    }
    let n_tries = if std::env::var_os("STRATA_LONG").is_some() { 2000 } else { 100 };
    let sandbox = Sandbox::new();
    let (victims, play) = (victims(&sandbox), playground(&sandbox));
    let before = tree::show_with(&victims, Show::ALL);
    let stream = stream_of(&small("x"));
    let is_over = AtomicBool::new(false);
    let mut n_done = 0;
    std::thread::scope(|scope| {
        let random = Random::new(1);
        let attacker = Attacker { play: play.clone(), victims: victims.clone(), random, n_junk: 0 };
        let attack = scope.spawn(|| attacker.play(&is_over));
        let tries = std::panic::catch_unwind(|| {
            let mut n_done = 0;
            for n in 0..n_tries {
                let words = ["-q", "--no-sync", "play/x"];
                let output = sandbox.command("unpack").args(words).input(stream.clone()).run();
                let shown = tree::show_with(&victims, Show::ALL);
                tree::assert_same(&before, &shown);
                assert!(matches!(output.code(), 0..=2), "try {n}: {}", output.text());
                assert_eq!(before, shown, "try {n}");
                n_done += u32::from(output.code() == 0);
                remove_junk(&play);
            }
            n_done
        });
        is_over.store(true, Ordering::Relaxed);
        attack.join().unwrap();
        n_done = tries.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    println!("{n_done} of {n_tries} were done all the same");
    assert!(n_done > 0, "none of {n_tries} was done");
}

#[test]
fn as_root_a_link_of_another_user_is_not_followed_and_ones_own_is() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let (victims, play) = (victims(&sandbox), playground(&sandbox));
    let before = tree::show_with(&victims, Show::ALL);
    for victim in ["empty", "full", "marked", "private", "absent"] {
        symlink(victims.join(victim), play.join("x")).unwrap();
        std::os::unix::fs::lchown(play.join("x"), Some(OTHER), Some(OTHER)).unwrap();
        let output = sandbox.command("unpack").arg("play/x").input(stream_of(&small("x"))).run();
        assert_one_line(output.fails_with(2), "unpack");
        let told = "unpack: play/x: a symbolic link of another user (uid 65534)\n";
        assert!(output.stderr.starts_with(told), "{}", output.stderr);
        tree::assert_same(&before, &tree::show_with(&victims, Show::ALL));
        // By way of a link of ours it is the same.
        symlink("play/x", sandbox.path("root")).unwrap();
        unpack(&sandbox, stream_of(&small("x"))).fails_with(2);
        fs::remove_file(sandbox.path("root")).unwrap();
        fs::remove_file(play.join("x")).unwrap();
    }
    tree::assert_same(&before, &tree::show_with(&victims, Show::ALL));
    // Root's own link leads where it leads, whoever owns the directory it is in; so does one through /proc.
    for (link, real) in [("../real", "real"), ("/proc/self/cwd/other", "other")] {
        fs::create_dir(sandbox.path(real)).unwrap();
        symlink(link, play.join("x")).unwrap();
        let output = sandbox.command("unpack").arg("play/x").input(stream_of(&small("x"))).run();
        output.success();
        assert_eq!(names(sandbox.path(real)), ["etc"]);
        fs::remove_file(play.join("x")).unwrap();
    }
}

#[test]
fn as_root_another_users_mark_does_not_empty_a_directory() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let root = sandbox.path("root");
    let second = |name: &Path| fs::hard_link(root.join(MARK), name).unwrap();
    for n in 0..3 {
        tree::build(&root, "drwxrwxrwt ./\n-rw-r--r-- keep \"x\"\n-rw------- .strata-incomplete 0");
        let mark = root.join(MARK);
        match n {
            0 => chown(&mark, Some(OTHER), Some(OTHER)).unwrap(),
            1 => second(&sandbox.path("second")),
            _ => {
                fs::remove_file(&mark).unwrap();
                symlink("/etc/passwd", &mark).unwrap();
            }
        }
        let output = unpack(&sandbox, stream_of(&small("x")));
        assert_one_line(output.fails_with(2), "unpack");
        assert_eq!(names(&root), [MARK, "keep"]);
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn as_root_what_other_users_put_into_a_sticky_directory_is_no_obstacle() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let tmp = sandbox.path("tmp");
    let left = r#"
        drwxrwxrwt 0:0 ./
        drwxr-xr-x 65534:65534 .x.strata-1-0/
        -rw-r--r-- 65534:65534 .x.strata-1-0/f "theirs"
        drwxr-xr-x 65534:65534 .x.strata-0123456789abcdef/
        -rw-r--r-- 65534:65534 .x.strata-0123456789abcdef/.strata-incomplete ""
        drwxr-xr-x 0:0 .x.strata-not-marked/
        -rw-r--r-- 0:0 .x.strata-not-marked/f "not half-made"
        lrwxrwxrwx 65534:65534 .x.strata-fedcba9876543210 -> ../victims
    "#;
    tree::build(&tmp, left);
    let before = tree::show(&tmp);
    sandbox.write("in", stream_of(&small("x")));
    for user in ["", "setpriv --reuid 65533 --regid 65533 --clear-groups"] {
        let output = pipeline::sh(&sandbox, &format!("{user} unpack -q tmp/x < in"));
        assert_eq!(output.success().stderr, "");
        assert_eq!(fs::read(tmp.join("x/etc/motd")).unwrap(), b"x");
        fs::remove_dir_all(tmp.join("x")).unwrap();
        tree::assert_same(&before, &tree::show(&tmp));
    }
}

#[test]
fn as_root_what_cannot_be_swept_is_told_and_stays() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write(".root.strata-dead/.strata-incomplete", "");
    fs::create_dir_all(sandbox.path(".root.strata-dead/tree/m")).unwrap();
    sandbox.write("in", stream_of(&small("x")));
    let script = "mount -t tmpfs none .root.strata-dead/tree/m && touch .root.strata-dead/tree/m/f && unpack root < in && test -e .root.strata-dead/tree/m/f";
    sandbox.write("script", script);
    let output = pipeline::sh(&sandbox, "unshare -m sh ./script");
    let told = "what a killed unpack left can't be removed: .root.strata-dead: ";
    assert!(output.success().stderr.contains(told), "{}", output.text());
    assert_eq!(sandbox.read("root/etc/motd"), b"x");
    // Now it can.
    fs::remove_dir_all(sandbox.path("root")).unwrap();
    assert_eq!(
        unpack(&sandbox, stream_of(&small("x"))).success().stderr.matches("can't").count(),
        0
    );
    assert_eq!(names(sandbox.path("")), ["in", "root", "script"]);
}

#[test]
fn a_directory_above_that_may_not_be_listed_is_enough() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("above")).unwrap();
    fs::set_permissions(sandbox.path("above"), Permissions::from_mode(0o333)).unwrap();
    sandbox.write("in", stream_of(&small("x")));
    let output = pipeline::Script::new(&sandbox, "unpack -q above/root < in").as_plain_user().run();
    output.success();
    assert_eq!(fs::read(sandbox.path("above/root/etc/motd")).unwrap(), b"x");
}

#[test]
fn a_name_of_any_length_has_room_for_its_private_directory() {
    let sandbox = Sandbox::new();
    for length in [199, 200, 201, 255] {
        let name = "n".repeat(length);
        let output = sandbox.command("unpack").arg(&name).input(stream_of(&small("x"))).run();
        output.success();
        assert_eq!(sandbox.read(&format!("{name}/etc/motd")), b"x");
    }
}
