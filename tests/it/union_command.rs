//! What a command finds in a union that is its root: the image's environment and user, devices and processes of its own.

use std::time::Duration;

use kit::pipeline::Script;
use kit::{Image, Layer, Sandbox};
use rustix::process::{Pid, Signal};

use crate::fixtures::{is_root, lacks_root};
use crate::union::with_images;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:100:App:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\nusers:x:100:\naudio:x:29:app\n";

/// An image with a shell, or `None` without busybox.
fn image() -> Option<Image> {
    let Ok(busybox) = std::fs::read("/bin/busybox") else {
        kit::peers::skip("a union's command", "no busybox");
        return None;
    };
    let tools =
        ["sh", "id", "ls", "cat", "env", "ps", "stat", "sleep", "tty", "kill", "pwd", "dd", "head"];
    let layer =
        Layer::new().dir("./", 0o755).dir("bin", 0o755).file("bin/busybox", busybox).mode(0o755);
    let layer =
        tools.iter().fold(layer, |layer, tool| layer.symlink(format!("bin/{tool}"), "busybox"));
    let layer = layer.dir("etc", 0o755).file("etc/passwd", PASSWD).file("etc/group", GROUP);
    Some(Image::new().layer(layer.tar()).env(&["GREETING=hello", "PATH=/bin"]))
}

fn sandbox() -> Option<Sandbox> {
    Some(with_images(&[("box:1", &image()?)]))
}

/// What a shell in the union prints, for root and for a plain user.
#[track_caller]
fn check(sandbox: &Sandbox, words: &str, inside: &str, expected: &str) {
    let script = format!("export STRANGER=1 TERM=dumb; union -q {words} -- sh -c '{inside}'");
    for script in scripts(sandbox, &script) {
        let output = script.run();
        assert_eq!(output.success().out(), expected, "{words} {inside}: {}", output.text());
    }
}

/// A script as root, if the test is root, and as a plain user.
fn scripts(sandbox: &Sandbox, script: &str) -> Vec<Script> {
    let plain = Script::new(sandbox, script).as_plain_user();
    let root = is_root().then(|| Script::new(sandbox, script));
    root.into_iter().chain([plain]).collect()
}

// docker run, podman run: nothing of the caller's environment but TERM; buildah#1214.
#[test]
fn the_environment_is_the_images() {
    let Some(sandbox) = sandbox() else { return };
    for script in scripts(&sandbox, "export STRANGER=1 TERM=dumb; union -q box:1 -- env") {
        let output = script.run();
        let mut lines: Vec<_> = output.success().out().lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["GREETING=hello", "HOME=/root", "PATH=/bin", "TERM=dumb"]);
    }
}

#[test]
fn variables_are_added_or_kept_if_the_user_says_so() {
    let Some(sandbox) = sandbox() else { return };
    let show = "echo ${GREETING-} ${STRANGER-} ${NEW-} ${STRATA_STORE-}";
    check(&sandbox, "box:1", show, "hello\n");
    check(&sandbox, "-e NEW=2 -e STRANGER -e NONE box:1", show, "hello 1 2\n");
    check(&sandbox, "-e GREETING= box:1", "echo [$GREETING]", "[]\n");
    check(&sandbox, "--keep-env box:1", show, "hello 1\n");
}

#[test]
fn processes_are_the_commands_own() {
    let Some(sandbox) = sandbox() else { return };
    let inside = "n=0; for p in /proc/[0-9]*; do n=$((n + 1)); done; echo $n; [ -e /proc/1 ] && cat /proc/$$/comm; :";
    check(&sandbox, "box:1", inside, "2\nsh\n");
}

#[test]
fn devices_are_those_that_programs_expect_and_no_disks() {
    let Some(sandbox) = sandbox() else { return };
    let names = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ";
    check(&sandbox, "box:1", "for name in $(ls /dev); do echo -n \"$name \"; done", names);
    let inside = "echo x > /dev/null && head -c 3 /dev/zero > /dev/null && \
        echo y > /dev/shm/y && cat /dev/shm/y && stat -c %a /dev/shm && ls /dev/pts && [ -L /dev/stdout ] && echo z";
    check(&sandbox, "box:1", inside, "y\n1777\nptmx\nz\n");
    // A disk can't be read, because there is none.
    check(
        &sandbox,
        "box:1",
        "for d in /dev/sda /dev/vda /dev/loop0; do [ -e $d ] && echo $d; done; true",
        "",
    );
}

#[test]
fn a_terminal_is_the_commands_console() {
    let Some(sandbox) = sandbox() else { return };
    let inside = "[ -c /dev/console ] && echo x > /dev/console && tty < /dev/console";
    let script = format!("union -q box:1 -- sh -c '{inside}' && echo done");
    let shown = kit::pipeline::on_terminal(&sandbox, kit::terminal::Size::USUAL, &script).wait();
    let text = shown.ended_with(0);
    assert!(text.contains("x\n/dev/console\ndone"), "{text}");
}

// podman#2472: USER of the image counts.
#[test]
fn as_root_the_command_runs_as_the_images_user() {
    if lacks_root() {
        return;
    }
    let Some(image) = image() else { return };
    let user = image.clone().user("app");
    let sandbox = with_images(&[("box:1", &image), ("app:1", &user)]);
    let run = |words: &str, inside: &str| {
        let output = Script::new(&sandbox, &format!("union -q {words} -- sh -c '{inside}'")).run();
        output.success().out()
    };
    let id = "echo $(id -u) $(id -g) $(id -G) $HOME";
    assert_eq!(run("box:1", id), "0 0 0 /root\n");
    assert_eq!(run("app:1", id), "1000 100 100 29 /home/app\n");
    assert_eq!(run("-u 5:6 app:1", id), "5 6 6 /\n");
    assert_eq!(run("-u root app:1", id), "0 0 0 /root\n");
    // Root's files are closed to it, and so is the way back.
    assert_eq!(run("app:1", "echo x > /etc/new || echo refused"), "refused\n");
    let output = Script::new(&sandbox, "union -q -u none app:1 -- id").run();
    let text = "union: the user none is not in the image's /etc/passwd and /etc/group\n";
    assert!(output.fails_with(125).text().ends_with(text), "{}", output.text());
}

#[test]
fn a_plain_users_command_is_root_and_he_is_told() {
    let Some(image) = image() else { return };
    let sandbox = with_images(&[("app:1", &image.user("app"))]);
    let output = Script::new(&sandbox, "union app:1 -- id -u").as_plain_user().run();
    assert_eq!(output.success().out(), "0\n");
    let text = "the command runs as root, not as app: a plain user's union has one user\n";
    assert!(output.stderr.contains(text), "{}", output.text());
}

#[test]
fn the_status_is_the_commands_and_so_are_signals() {
    let Some(sandbox) = sandbox() else { return };
    for (inside, status) in
        [("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("sleep 0 & wait; exit 3", 3)]
    {
        for script in scripts(&sandbox, &format!("union -q box:1 -- sh -c '{inside}'")) {
            let output = script.run();
            assert_eq!(output.code(), status, "{inside}: {}", output.text());
        }
    }
}

// moby#2838: what is asked to end, ends, and takes its children along.
#[test]
fn a_command_that_is_told_to_end_ends_with_all_that_it_started() {
    let Some(sandbox) = sandbox() else { return };
    // The signal is for the whole group, so the command has it from here and from the union.
    let inside =
        "trap \"trap : TERM; echo ended; exit 9\" TERM; sleep 1000 & echo begun > /ready; wait";
    for user in ["root", "nobody"] {
        if user == "root" && !is_root() {
            continue;
        }
        let script = format!("exec union -q box:1 --upper {user} -- sh -c '{inside}'");
        let script = Script::new(&sandbox, &script);
        let running = if user == "root" { script } else { script.as_plain_user() }.start();
        crate::gc::wait_for(|| sandbox.path(user).join("ready").exists());
        running.signal(Signal::TERM);
        let output = running.wait();
        assert_eq!((output.code(), &*output.out()), (9, "ended\n"), "{}", output.text());
    }
}

#[test]
fn nothing_outlives_the_program_that_was_killed() {
    let Some(sandbox) = sandbox() else { return };
    let script = "exec union -q box:1 --upper up -- sh -c 'echo begun > /ready; exec sleep 987654'";
    let running = Script::new(&sandbox, script).as_plain_user().start();
    crate::gc::wait_for(|| sandbox.path("up/ready").exists());
    // Only itself, not the group.
    let pid = Pid::from_raw(running.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    running.wait();
    let is_there = || {
        let processes = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
        processes.into_iter().any(|line| line == b"sleep\x00987654\0")
    };
    let begin = std::time::Instant::now();
    while is_there() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it outlived the union");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// The machine's own file is shown, and isn't the command's to change.
#[test]
fn the_machines_resolv_conf_can_be_read_and_not_written() {
    let Some(sandbox) = sandbox() else { return };
    if std::fs::read("/etc/resolv.conf").is_err() {
        return kit::peers::skip("resolv.conf in a union", "this machine has none");
    }
    // Nothing is written even if it could be.
    let inside = "cat /etc/resolv.conf > /dev/null && echo read; (: >> /etc/resolv.conf) 2>/dev/null || echo refused";
    check(&sandbox, "box:1", inside, "read\nrefused\n");
}

#[test]
fn what_can_not_be_as_the_image_wants_it_is_told() {
    let Some(image) = image() else { return };
    let layer = Layer::new().symlink("dev", "bin").symlink("proc", "bin");
    let image = image.layer(layer).set_config("/config/WorkingDir", "/none");
    let sandbox = with_images(&[("app:1", &image)]);
    let output = Script::new(&sandbox, "union app:1 -- pwd").as_plain_user().run();
    assert_eq!(output.success().out(), "/\n");
    for text in [
        "nothing is mounted at /dev and /proc: the image has something else there\n",
        "the image's working directory /none isn't there: the command starts in /\n",
    ] {
        assert!(output.stderr.contains(text), "{}", output.text());
    }
}

#[test]
fn root_of_a_user_namespace_runs_a_command_too() {
    let Some(sandbox) = sandbox() else { return };
    let output = Script::new(&sandbox, "unshare -r union -q box:1 -- id -u").as_plain_user().run();
    assert_eq!(output.success().out(), "0\n", "{}", output.text());
}
