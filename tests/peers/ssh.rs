//! `push … ssh://HOST` and `pull ssh://HOST/IMAGE` with a real OpenSSH on both sides.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kit::command::{binaries, binary};
use kit::image::random::Random;
use kit::peers::sshd::Sshd;
use kit::pipeline::{Script, on_terminal};
use kit::terminal::Size;
use kit::{Image, Index, Layer, Named, Output, Sandbox};

use crate::layers::small;

/// A machine here and one over there, with images here: `base:1`, and `app:1` and `app:2` on top of it.
struct Machines {
    here: Sandbox,
    server: Sshd,
    base: Image,
    app: Image,
}

const MB: usize = 1 << 20;

impl Machines {
    fn new() -> Option<Self> {
        Self::with_path(&format!("{}:/usr/bin:/bin", binaries().display()))
    }

    fn with_path(path: &str) -> Option<Self> {
        let here = Sandbox::new();
        let server = Sshd::start(path, &here.root().join("far"))?;
        let bytes = |seed, n| Random::new(seed).bytes(n);
        let base = small(Image::new()).layer(Layer::new().file("base", bytes(1, MB)));
        let app = base.clone().layer(Layer::new().file("app", bytes(2, MB / 2)));
        here.load(&[Named::new("base:1", &base), Named::new("app:1", &app)]);
        Some(Self { here, server, base, app })
    }

    fn far(&self) -> PathBuf {
        self.here.root().join("far")
    }

    /// A script, where HOST is the other machine. `ssh` is the command for it.
    fn run_by(&self, ssh: &str, script: &str) -> Output {
        let script = script.replace("HOST", &self.server.host());
        let script = Script::new(&self.here, &script);
        script.with(|program| program.env("STRATA_SSH", ssh)).run()
    }

    fn sh(&self, script: &str) -> Output {
        self.run_by(&self.server.client("user"), script)
    }

    /// A script of the other machine's user.
    fn there(&self, script: &str) -> Output {
        let script = Script::new(&self.here, script);
        script.with(|program| program.env("STRATA_STORE", self.far())).run()
    }

    #[track_caller]
    fn has(&self, name: &str, digest: &str) {
        let script = format!("images -q {name}; images verify {name} >&2");
        assert_eq!(self.there(&script).success().out().trim(), digest);
    }
}

/// How many bytes ssh says that it has sent, in all of its connections.
fn n_sent(output: &Output) -> u64 {
    let sent = output.stderr.lines().filter_map(|line| {
        let rest = line.strip_prefix("Transferred: sent ")?;
        rest.split(',').next()?.parse::<u64>().ok()
    });
    sent.sum()
}

fn without_ssh(stderr: &str) -> Vec<&str> {
    stderr
        .lines()
        .filter(|line| {
            !["Transferred", "Bytes", "Authenticated"].iter().any(|it| line.starts_with(it))
        })
        .collect()
}

fn wait_for(what: &str, is_it: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_it() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// podman#4480 (2019), docker/cli#3776, docker-push-ssh#21: without a registry between, and only what the host lacks.
#[test]
fn as_root_a_host_gets_what_it_lacks_and_nothing_else() {
    let Some(machines) = Machines::new() else { return };
    let (base, app) = (machines.base.digest(), machines.app.digest());
    // Nothing is there, not even a store.
    let output = machines.sh("push base:1 ssh://HOST");
    assert_eq!(output.success().out(), format!("base@{base}\n"));
    let sent = n_sent(&output);
    assert!(sent > MB as u64, "{sent}: {}", output.text());
    machines.has("base:1", &base);
    // The base is there.
    let output = machines.sh("push app:1 ssh://HOST");
    assert_eq!(output.success().out(), format!("app@{app}\n"));
    let sent = n_sent(&output);
    assert!((MB as u64 / 2..MB as u64 * 3 / 4).contains(&sent), "{sent}: {}", output.text());
    machines.has("app:1", &app);
    // All of it is there.
    let output = machines.sh("push app:1 ssh://HOST");
    assert!(n_sent(output.success()) < 40_000, "{}", output.text());
    assert!(output.stderr.contains("there already"), "{}", output.text());
}

#[test]
fn as_root_an_image_comes_from_a_host_without_what_is_here() {
    let Some(machines) = Machines::new() else { return };
    let app = machines.app.digest();
    machines.sh("push app:1 ssh://HOST; images rm app:1 base:1; images gc").success();
    let output = machines.sh("pull --no-stream ssh://HOST/app:1");
    assert_eq!(output.success().out(), format!("{app}\n"));
    assert!(
        output.stderr.contains("Status: Downloaded newer image for app:1"),
        "{}",
        output.text()
    );
    machines.sh("images verify app:1").success();
    // With everything here, the documents alone come.
    let output = machines.sh("pull --no-stream ssh://HOST/app:1");
    assert!(output.success().stderr.contains("Status: Image is up to date"), "{}", output.text());
    let received = output.stderr.lines().filter_map(|line| {
        line.strip_prefix("Transferred: ")?
            .split("received ")
            .nth(1)?
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
    });
    assert!(received.sum::<u64>() < 40_000, "{}", output.text());
    // Down the pipe, with a store and without one.
    for words in ["", "--no-store --store /dev/null/none"] {
        let tree = machines.sh(&format!(
            "rm -rf t; pull {words} ssh://HOST/app:1 | unpack -q t && cat t/app | wc -c"
        ));
        assert_eq!(tree.success().out(), format!("{}\n", MB / 2));
    }
    // Two images, and a platform of one that has several.
    let index =
        Index::new().image(&machines.base).image(&small(Image::new()).platform("linux/s390x"));
    machines.here.load(&[Named::new("multi:1", &index)]);
    machines.sh("push multi:1 ssh://HOST && images rm multi:1").success();
    let output = machines.sh("pull -q --no-stream --store new ssh://HOST/app:1 ssh://HOST/multi:1");
    assert_eq!(output.success().out(), format!("{app}\n{}\n", index.digest()));
    let output = machines.sh("pull -q --no-stream --store one --platform linux/s390x ssh://HOST/multi:1; images --store one --json");
    assert!(
        output.success().out().contains("linux/s390x") && !output.out().contains("amd64"),
        "{}",
        output.text()
    );
}

#[test]
fn as_root_what_was_sent_before_the_line_broke_is_not_sent_again() {
    let Some(machines) = Machines::new() else { return };
    let bytes = |seed, n| Random::new(seed).bytes(n);
    let large = Image::new()
        .layer(Layer::new().file("first", bytes(3, 2 * MB)))
        .layer(Layer::new().file("second", bytes(4, 4 * MB)));
    machines.here.load(&[Named::new("large:1", &large)]);
    // A line that stalls in the middle of the second layer.
    let client = machines.server.client("user");
    let stalling = format!(
        "case \"$*\" in *load*) exec {client} \"$@\" < <(head -c {}; exec sleep 30 <&-);; *) exec {client} \"$@\";; esac\n",
        3 * MB
    );
    let script = machines.here.write("stalling", stalling);
    let ssh = format!("bash {}", script.display());
    let line = "push large:1 ssh://HOST".replace("HOST", &machines.server.host());
    let running =
        Script::new(&machines.here, &line).with(|program| program.env("STRATA_SSH", ssh)).start();
    let temp = machines.far().join("strata/temp");
    let has_part = || {
        let sizes = files(&temp);
        sizes.iter().any(|size| *size > 2 * MB as u64)
            && sizes.iter().any(|size| (MB as u64 / 2..2 * MB as u64).contains(size))
    };
    wait_for("half of the second layer", has_part);
    machines.server.break_connections();
    let output = running.wait();
    assert!(output.fails_with(5).stderr.contains("push: 127.0.0.1:"), "{}", output.text());
    // No image has its name; the layer that came whole is told of.
    assert_eq!(machines.there("images -q").out(), "");
    wait_for("the whole layer", || {
        machines.there("images digests --all | wc -l").out().trim() == "1"
    });
    assert_eq!(machines.there("images digests").out(), "");
    let output = machines.sh("push large:1 ssh://HOST");
    let sent = n_sent(output.success());
    assert!((4 * MB as u64..5 * MB as u64).contains(&sent), "{sent}: {}", output.text());
    machines.has("large:1", &large.digest());
}

/// The sizes of the files in a directory.
fn files(dir: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).collect()
}

#[test]
fn as_root_the_pipe_that_is_shown_can_be_typed() {
    let Some(machines) = Machines::new() else { return };
    let client = machines.server.client("user");
    let store = machines.here.root().join("it's far");
    let shown = store.display().to_string().replace(' ', "%20").replace('\'', "%27");
    for line in [
        format!("push -v app:1 ssh://HOST{shown}"),
        format!("pull -v --no-stream --store new 'ssh://HOST/app:1?store={shown}'"),
    ] {
        let output = machines.sh(&line);
        let typed =
            output.success().stderr.lines().find(|line| line.contains(" | ")).unwrap_or_default();
        assert!(
            typed.contains(&client) && typed.contains("images digests --all"),
            "{}",
            output.text()
        );
        std::fs::remove_dir_all(if line.starts_with("push") {
            store.clone()
        } else {
            machines.here.path("new")
        })
        .unwrap();
        machines.sh(typed).success();
    }
    machines.sh("test $(images -q --store new app:1) = $(images -q app:1)").success();
    // Only what was asked for is shown.
    assert!(!machines.sh("push app:1 ssh://HOST").success().stderr.contains(" | "));
}

#[test]
fn as_root_streams_and_several_images_go_there_too() {
    let Some(machines) = Machines::new() else { return };
    machines.sh("save base:1 app:1 | push -q - ssh://HOST").success();
    machines.has("base:1", &machines.base.digest());
    let store = machines.here.root().join("both");
    let output = machines.sh(&format!("push -q --to ssh://HOST{} base:1 app:1", store.display()));
    assert_eq!(output.success().out().lines().count(), 2, "{}", output.text());
    assert_eq!(
        machines.sh(&format!("images -q --store {}", store.display())).out().lines().count(),
        2
    );
}

// What ssh says is told in one line, with the status that says whether a script may try again.
#[test]
fn as_root_each_failure_has_its_status() {
    let Some(machines) = Machines::new() else { return };
    let user = machines.server.client("user");
    let fails = |ssh: &str, line: &str, code: i32, said: &str| {
        let output = machines.run_by(ssh, line);
        let lines = without_ssh(&output.fails_with(code).stderr);
        let about = lines.iter().find(|line| line.contains(said));
        assert!(
            about.is_some_and(|line| line.starts_with("push: ") || line.starts_with("pull: ")),
            "{}",
            output.text()
        );
    };
    fails(&user, "push app:1 ssh://127.0.0.1:1", 5, "Connection refused");
    fails(&user, "push app:1 ssh://no-such-host.invalid", 5, "Could not resolve");
    fails(&machines.server.client("stranger"), "push app:1 ssh://HOST", 6, "Permission denied");
    fails("/nonexistent/ssh", "push app:1 ssh://HOST", 3, "/nonexistent/ssh");
    fails(&user, "push nope ssh://HOST", 3, "nope: not in the store");
    fails(&user, "pull --no-stream ssh://HOST/nope", 3, "no store is here");
    fails(&user, "pull --no-stream ssh://HOST", 2, "which image");
    fails(&user, "push app:1 ssh://-oProxyCommand=touch%20hacked", 2, "a host is");
    fails(&user, "pull ssh://-oProxyCommand=touch%20hacked/x", 2, "a host is");
    fails(&user, "push --limit-rate 5k app:1 ssh://HOST", 2, "--limit-rate means nothing to ssh");
    fails(&user, "push app:1 ssh://HOST/dev/null/store", 1, "/dev/null/store");
    machines.server.trust("stranger");
    fails(&user, "push app:1 ssh://HOST", 4, "Host key verification failed");
    assert!(!machines.here.path("hacked").exists());
    assert_eq!(machines.there("images -q").out(), "");
    let output =
        machines.here.command("push").args(["app:1", "ssh://h"]).env("PATH", "/none").run();
    let stderr = output.fails_with(1).stderr.clone();
    assert!(
        stderr.starts_with("push: ssh: ") && stderr.contains("hint: install OpenSSH"),
        "{stderr}"
    );
}

#[test]
fn as_root_a_host_without_our_programs_is_told_of_and_strata_alone_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let Some(machines) = Machines::with_path(&path) else { return };
    let output = machines.sh("push app:1 ssh://HOST");
    let stderr = &output.fails_with(3).stderr;
    assert!(stderr.contains("has neither images nor strata in its PATH"), "{stderr}");
    assert!(stderr.contains("hint: ssh ") && stderr.contains("strata --install-links"), "{stderr}");
    let output = machines.sh("pull --no-stream ssh://HOST/app:1");
    assert!(
        output.fails_with(3).stderr.contains("has neither save nor strata"),
        "{}",
        output.text()
    );
    std::os::unix::fs::symlink(binary("strata"), dir.path().join("strata")).unwrap();
    let output = machines.sh("push -v app:1 ssh://HOST");
    assert!(output.success().stderr.contains("strata load"), "{}", output.text());
    machines.has("app:1", &machines.app.digest());
    machines.sh("pull -q --no-stream --store new ssh://HOST/app:1").success();
}

#[test]
fn as_root_a_dry_run_tells_what_would_travel_and_nothing_does() {
    let Some(machines) = Machines::new() else { return };
    machines.sh("push -q base:1 ssh://HOST").success();
    let layers = machines.app.layer_blobs();
    let (below, own) = (&layers[0].digest, &layers[layers.len() - 1].digest);
    let output = machines.sh("push --dry-run app:1 ssh://HOST");
    let row = |digest: &str| {
        let out = output.out();
        out.lines().find(|line| line.contains(digest)).unwrap_or_default().to_owned()
    };
    assert!(output.success().out().contains(own), "{}", output.text());
    assert_ne!(row(own).split_whitespace().next(), row(below).split_whitespace().next());
    assert_eq!(machines.there("images -0 | tr '\\0' ' '").out(), "base:1 ");
    machines.sh("push -q app:1 ssh://HOST; images rm app:1; images gc").success();
    let output = machines.sh("pull --dry-run ssh://HOST/app:1");
    assert!(output.success().out().contains(own), "{}", output.text());
    machines.sh("inspect app:1").fails_with(3);
}

#[test]
fn as_root_a_terminal_shows_one_progress() {
    let Some(machines) = Machines::new() else { return };
    let script = format!(
        "STRATA_SSH='{} -o LogLevel=ERROR'; export STRATA_SSH; push app:1 ssh://{}",
        machines.server.client("user"),
        machines.server.host()
    );
    let shown = on_terminal(&machines.here, Size { columns: 100, rows: 30 }, &script).wait();
    let screen = shown.ended_with(0);
    assert_eq!(screen.matches(": Pushed").count(), 7, "{screen}");
    assert!(!screen.contains("Sav") && !screen.contains("Load"), "{screen}");
    assert!(screen.contains("Pushed app:1 to 127.0.0.1:"), "{screen}");
}
