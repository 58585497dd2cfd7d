//! Tests of signals. Those that need a process of their own run this test program once more.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::kill_process;

use super::*;

const CHILD: &str = "CLI_TEST_CHILD";

/// Starts one of the tests below as a child that has installed the handler.
fn start(test: &str, wrapper: &[&str]) -> (Child, Pid) {
    let exe = env::current_exe().unwrap();
    let mut words = wrapper.to_vec();
    words.push(exe.to_str().unwrap());
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", &format!("interrupt::tests::{test}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let pid = lines.find_map(|line| line.unwrap().split_once("ready ")?.1.parse().ok()).unwrap();
    (child, Pid::from_raw(pid).unwrap())
}

/// In the child: installs the handler and tells the parent.
fn ready() -> bool {
    let is_child = env::var_os(CHILD).is_some();
    if is_child {
        install().unwrap();
        println!("ready {}", std::process::id());
    }
    is_child
}

#[test]
fn a_signal_is_seen_and_kills_in_the_end() {
    if ready() {
        while !requested() {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(check().unwrap_err().to_string(), "interrupted by SIGINT");
        die(received().unwrap());
    }
    let (mut child, pid) = start("a_signal_is_seen_and_kills_in_the_end", &["env"]);
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(SIGINT));
}

#[test]
fn a_run_that_does_not_come_back_is_killed() {
    if ready() {
        thread::sleep(Duration::from_secs(60));
    }
    let (mut child, pid) = start("a_run_that_does_not_come_back_is_killed", &["env"]);
    let begun = Instant::now();
    kill_process(pid, Signal::HUP).unwrap();
    // An echo of the signal changes nothing.
    kill_process(pid, Signal::HUP).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(SIGHUP));
    assert!(begun.elapsed() >= GRACE_PERIOD);
}

#[test]
fn a_second_signal_kills_at_once_whatever_holds() {
    if ready() {
        let _hold = hold();
        thread::sleep(Duration::from_secs(60));
    }
    let (mut child, pid) = start("a_second_signal_kills_at_once_whatever_holds", &["env"]);
    kill_process(pid, Signal::TERM).unwrap();
    thread::sleep(REPEAT_WINDOW + Duration::from_millis(100));
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(SIGTERM));
}

#[test]
fn an_ignored_signal_stays_ignored() {
    if ready() {
        thread::sleep(Duration::from_millis(300));
        assert!(!requested());
        return;
    }
    let (mut child, pid) = start("an_ignored_signal_stays_ignored", &["nohup"]);
    kill_process(pid, Signal::HUP).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_mask_of_ignored_signals_is_read() {
    assert_eq!(ignored_signals("SigBlk:\t0\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
    assert_eq!(ignored_signals(""), 0);
}

#[test]
fn a_hold_stays_the_watchdog() {
    let switch: &'static Switch = Box::leak(Box::new(Switch::new()));
    let mut watch = Watch::default();
    assert_eq!(watch.timeout(), None);
    watch.signal(SIGTERM, switch);
    assert_eq!(switch.received(), Some(SIGTERM));
    assert!(!watch.is_over(switch) && watch.timeout() > Some(GRACE_PERIOD / 2));
    watch.first = Instant::now().checked_sub(GRACE_PERIOD);
    assert!(watch.is_over(switch));
    switch.holds.store(1, Ordering::SeqCst);
    assert!(!watch.is_over(switch));
    watch.signal(SIGINT, switch);
    assert!(watch.is_over(switch), "a second signal");
}
