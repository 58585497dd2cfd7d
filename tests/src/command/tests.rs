//! Is a program really alone, and does it really end?

use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::*;

#[test]
fn a_program_sees_only_the_sandbox() {
    let sandbox = Sandbox::new();
    let output = sandbox.program("/usr/bin/env").env("EXTRA", "1").run();
    let text = output.text();
    let bins = binaries();
    let text = text.replace(&*bins.to_string_lossy(), "[BIN]");
    assert_eq!(
        text,
        "status: 0\n--- stdout\nCOLUMNS=100\nEXTRA=1\nHOME=[SANDBOX]/home\nLC_ALL=C.UTF-8\n\
         PATH=[BIN]:/usr/bin:/bin\nSOURCE_DATE_EPOCH=1600000000\n\
         STRATA_STORE=[SANDBOX]/store\nTMPDIR=[SANDBOX]/tmp\n"
    );
}

#[test]
fn input_goes_in_and_binary_comes_out_as_a_hash() {
    let sandbox = Sandbox::new();
    let output = sandbox.program("/bin/cat").input(vec![0; 1 << 20]).run();
    assert_eq!(output.stdout.len(), 1 << 20);
    assert!(output.text().contains("[1048576 bytes, sha256:"));
}

#[test]
fn a_hung_program_is_killed_with_its_children() {
    let sandbox = Sandbox::new();
    let program = sandbox.program("/bin/sh").args(["-c", "sleep 600 | sleep 600"]);
    let began = Instant::now();
    let running = program.patience(Duration::from_millis(100)).start();
    let pid = running.pid();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.wait()));
    assert!(result.is_err() && began.elapsed() < Duration::from_secs(20));
    let group = Pid::from_raw(pid.cast_signed()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let left = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.unwrap().path().join("stat")).ok()?;
        let fields: Vec<String> = stat.rsplit(')').next()?.split(' ').map(str::to_owned).collect();
        (fields[3] == group.as_raw_nonzero().to_string() && fields[1] != "Z").then_some(stat)
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_signal_is_shown_as_a_shell_shows_it() {
    let sandbox = Sandbox::new();
    let running = sandbox.program("/bin/sleep").arg("600").start();
    assert_eq!(running.kill().code(), 137);
}

#[test]
fn as_root_a_program_runs_as_another_user() {
    if !rustix::process::geteuid().is_root() {
        return crate::peers::skip("another user", "it needs root");
    }
    let sandbox = Sandbox::new();
    let output = sandbox.program("/bin/sh").args(["-c", "id -u; id -G; touch here; cd; touch x"]);
    assert_eq!(output.user(65534).run().success().out(), "65534\n65534\n");
}
