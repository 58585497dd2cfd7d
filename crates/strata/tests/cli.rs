//! All programs in one file: by its name, and by its first argument.

use std::os::unix::fs::symlink;
use std::process::Command;

use kit::{Sandbox, usage};

const STRATA: &str = env!("CARGO_BIN_EXE_strata");

#[test]
fn help_ends_with_examples_and_names_every_program() {
    assert!(usage::examples("strata").contains("strata pull"));
    let help = usage::run("strata", &["--help"]).success().out();
    for program in ["pull", "unpack", "union", "rebase", "remote"] {
        assert!(help.contains(&format!("\n  {program} ")), "{help}");
    }
}

#[test]
fn what_is_no_program_is_wrong_usage() {
    usage::refuses("strata", &[&[], &["nope"], &["--nope"], &["--install-links"]]);
}

#[test]
fn what_other_tools_call_a_program_is_told_in_ours() {
    for (words, hint) in [
        (&["run", "nginx"][..], "strata union IMAGE -- COMMAND"),
        (&["rmi", "-f", "x"], "strata images rm NAME"),
        (&["login", "r.test"], "strata remote login HOST"),
    ] {
        let output = usage::run("strata", words);
        let expected = format!(": not one of the programs\nhint: {hint}\nhint: strata --help");
        assert!(output.fails_with(2).stderr.contains(&expected), "{}", output.stderr);
    }
}

#[test]
fn the_first_argument_or_the_file_s_name_is_the_program() {
    let sandbox = Sandbox::new();
    let link = sandbox.path("images");
    symlink(STRATA, &link).unwrap();
    let by_argument = Command::new(STRATA).args(["images", "--version"]).output().unwrap();
    let by_name = Command::new(link).arg("--version").output().unwrap();
    assert!(by_argument.stdout.starts_with(b"images (strata) "));
    assert_eq!(by_argument.stdout, by_name.stdout);
    let wrong = Command::new(STRATA).args(["images", "--nope"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.starts_with(b"images: "));
}

#[test]
fn links_are_made_once_and_nothing_is_replaced() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path("bin");
    std::fs::create_dir(&dir).unwrap();
    let install = || Command::new(STRATA).arg("--install-links").arg(&dir).output().unwrap();
    for _ in 0..2 {
        let made = install();
        assert!(made.status.success(), "{made:?}");
        assert_eq!(String::from_utf8(made.stdout).unwrap().lines().count(), 14);
    }
    let version = Command::new(dir.join("union")).arg("--version").output().unwrap();
    assert!(version.stdout.starts_with(b"union (strata) "));
    std::fs::remove_file(dir.join("load")).unwrap();
    std::fs::write(dir.join("load"), "another's").unwrap();
    assert_eq!(install().status.code(), Some(1));
    assert_eq!(std::fs::read(dir.join("load")).unwrap(), b"another's");
}
