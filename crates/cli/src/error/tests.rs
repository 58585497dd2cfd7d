//! Tests of exit codes first, then of lines.

use anyhow::{Context as _, anyhow};
use report::look;

use super::*;

#[derive(Debug)]
struct Denied;

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("denied")
    }
}

impl Error for Denied {}

#[derive(Debug)]
struct Reading(io::Error);

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reading")
    }
}

impl Error for Reading {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl HasKind for Denied {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unauthorised
    }

    fn advice(&self, program: &str) -> Option<String> {
        Some(format!("{program} --login"))
    }
}

impl HasKind for Reading {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Failed
    }
}

const LIBRARIES: &[Look] = &[look::<Denied>, look::<Reading>];

#[track_caller]
fn check(error: impl Into<anyhow::Error>, expected: Code) {
    assert_eq!(code(&error.into(), LIBRARIES), expected);
}

#[test]
fn an_unknown_error_has_failed() {
    check(anyhow!("something"), Code::Failed);
}

#[test]
fn a_failure_brings_its_code_from_any_depth() {
    check(usage("no"), Code::Usage);
    check(
        Err::<(), _>(Failure::new(Code::NotFound, "x")).context("y").context("z").unwrap_err(),
        Code::NotFound,
    );
    check(Err::<(), _>(anyhow!("x")).context(usage("as context")).unwrap_err(), Code::Usage);
}

#[test]
fn a_library_error_is_found_inside_an_io_error() {
    let inner = io::Error::other(Denied);
    check(inner, Code::Unauthorised);
    let nested = io::Error::other(io::Error::other(Denied));
    check(anyhow::Error::new(nested).context("reading"), Code::Unauthorised);
}

#[test]
fn what_only_failed_leaves_the_answer_to_its_causes() {
    check(Reading(io::Error::other(Denied)), Code::Unauthorised);
    check(Reading(io::Error::other("no space")), Code::Failed);
    check(Failure::new(Code::Failed, "no").because(Denied), Code::Failed);
}

#[test]
fn the_outermost_answer_wins() {
    check(Failure::new(Code::Network, "net").because(Denied), Code::Network);
    check(Err::<(), _>(Denied).code(Code::Untrusted).unwrap_err(), Code::Untrusted);
}

#[test]
fn a_hint_leaves_the_code_to_the_cause() {
    check(Err::<(), _>(Denied).hint("log in").unwrap_err(), Code::Unauthorised);
    assert_eq!(Err::<(), _>(Denied).hinted(|_| None).unwrap_err().to_string(), "denied");
    let known = Err::<(), _>(Denied).hinted(|error| Some(error.to_string())).unwrap_err();
    assert_eq!(known.downcast_ref::<Failure>().unwrap().hints, ["denied"]);
    let twice = Err::<(), _>(usage("x")).context("y").hint("a").with_hint(|| "b").unwrap_err();
    assert_eq!(twice.to_string(), "y");
    check(twice, Code::Usage);
}

#[test]
fn a_file_that_cannot_be_opened_may_not_be_there() {
    let failure = |kind: io::ErrorKind| Failure::opening(Path::new("a\n"), kind.into());
    assert_eq!(failure(io::ErrorKind::NotFound).to_string(), "a\\n");
    check(failure(io::ErrorKind::NotFound), Code::NotFound);
    check(failure(io::ErrorKind::PermissionDenied), Code::Failed);
}

#[test]
fn a_strange_broken_pipe_is_a_failure() {
    let strange = io::Error::new(io::ErrorKind::BrokenPipe, "the registry hung up");
    check(strange, Code::Failed);
    check(io::Error::from(io::ErrorKind::BrokenPipe), Code::Failed);
}

#[test]
fn our_own_broken_pipe_is_known_by_its_mark() {
    let own = io::Error::new(io::ErrorKind::BrokenPipe, ClosedPipe);
    check(anyhow::Error::new(own).context(usage("whatever stands above")), Code::ClosedPipe);
}

#[test]
fn a_silent_end_has_its_status() {
    assert_eq!(silent_status(&silent(125).context("x")), Some(125));
    assert_eq!(silent_status(&anyhow!("x")), None);
}

#[test]
fn the_codes_are_those_of_the_manual() {
    let codes = [
        Code::Done,
        Code::Failed,
        Code::Usage,
        Code::NotFound,
        Code::Untrusted,
        Code::Network,
        Code::Unauthorised,
        Code::ClosedPipe,
    ];
    assert_eq!(codes.map(Code::status), [0, 1, 2, 3, 4, 5, 6, 141]);
}

#[test]
fn what_a_library_advises_is_a_hint() {
    let failure = anyhow::Error::new(io::Error::other(Denied)).context("pulling");
    assert_eq!(
        Report::of(&failure, "pull", LIBRARIES).lines("pull"),
        "pull: pulling: denied\nhint: pull --login\n"
    );
}

#[track_caller]
fn check_line(failure: impl Into<anyhow::Error>, expected: &str) {
    assert_eq!(line("pull", &failure.into()), expected);
}

#[test]
fn a_chain_is_one_line() {
    let denied = io::Error::from(rustix::io::Errno::ROFS);
    let failure = Err::<(), _>(denied).context("usr/bin/su").context("layer 2").unwrap_err();
    check_line(failure, "pull: layer 2: usr/bin/su: read-only file system\n");
}

#[test]
fn a_chain_within_a_line_has_no_numbers_of_the_system() {
    let many = io::Error::from(rustix::io::Errno::MFILE);
    let failure = anyhow::Error::new(io::Error::other(many)).context("opening a");
    assert_eq!(chain(failure.as_ref()), "opening a: too many open files");
}

#[test]
fn a_repeated_cause_is_said_once() {
    check_line(anyhow!("root").context("root").context("top"), "pull: top: root\n");
    check_line(io::Error::other(io::Error::other("inner")), "pull: inner\n");
    check_line(anyhow!("refused").context("connect: refused"), "pull: connect: refused\n");
    check_line(anyhow!("d").context("red"), "pull: red: d\n");
}

#[test]
fn hints_follow_from_every_depth() {
    let failure = Err::<(), _>(Failure::new(Code::NotFound, "nginx: no such image"))
        .hint("pull nginx")
        .context("saving")
        .hint("images lists\nwhat is there")
        .hint("pull nginx")
        .unwrap_err();
    check_line(
        failure,
        "pull: saving: nginx: no such image\nhint: pull nginx\n\
         hint: images lists\\nwhat is there\n",
    );
}

#[test]
fn a_message_stands_before_its_cause() {
    let failure = Failure::new(Code::Network, "registry").because(anyhow!("timed out"));
    check_line(failure, "pull: registry: timed out\n");
}

#[test]
fn hostile_names_are_escaped() {
    check_line(anyhow!("evil\n\x1b]0;x"), "pull: evil\\n\\x1b]0;x\n");
}

#[test]
fn a_name_of_a_megabyte_is_no_line_of_a_megabyte() {
    let text = line("unpack", &anyhow!("entry {}: not there", "ü".repeat(1 << 19)));
    assert!(text.len() < 17_000 && text.starts_with("unpack: entry üü"), "{}", text.len());
    assert!(text.contains("ü…ü") && text.ends_with("ü: not there\n"));
}

#[test]
fn wrong_usage_is_one_line_too() {
    let command =
        || clap::Command::new("pull").arg(clap::arg!(<NAME>)).arg(clap::arg!(--platform <P>));
    let failure = command().try_get_matches_from(["pull"]).unwrap_err();
    assert_eq!(
        wrong_usage("pull", &failure, &[]).lines("pull"),
        "pull: the following required arguments were not provided: <NAME>\nhint: pull --help\n"
    );
    let failure = command().try_get_matches_from(["pull", "--platfrom", "x"]).unwrap_err();
    assert_eq!(
        wrong_usage("pull", &failure, &[]).lines("pull"),
        "pull: unexpected argument '--platfrom' found\n\
         hint: a similar argument exists: '--platform'\nhint: pull --help\n"
    );
    let verb = clap::Command::new("tags").arg(clap::arg!(<REPO>));
    let failure =
        clap::Command::new("remote").subcommand(verb).try_get_matches_from(["remote", "tags"]);
    assert_eq!(
        wrong_usage("remote", &failure.unwrap_err(), LIBRARIES).lines("remote"),
        "remote: the following required arguments were not provided: <REPO>\nhint: remote tags --help\n"
    );
    // An unknown option is a mistake, and no name that begins with a dash.
    let failure = command().try_get_matches_from(["pull", "-a", "x"]).unwrap_err();
    let expected = "pull: unexpected argument '-a' found\nhint: pull --help\n";
    assert_eq!(wrong_usage("pull", &failure, &[]).lines("pull"), expected);
    let jobs = clap::arg!(--jobs <N>).value_parser(clap::value_parser!(u8));
    let failure = command().arg(jobs).try_get_matches_from(["pull", "--jobs", "x"]);
    assert_eq!(
        wrong_usage("pull", &failure.unwrap_err(), &[]).lines("pull"),
        "pull: invalid value 'x' for '--jobs <N>': invalid digit found in string\n\
         hint: pull --help\n"
    );
}

#[test]
fn an_error_is_an_object_for_programs() {
    let error = anyhow::Error::new(Failure::new(Code::NotFound, "no\x1b").hint("pull a").hint("b"));
    let report = Report::of(&error, "unpack", &[]);
    assert_eq!(
        report.object("unpack", Some(3)),
        r#"{"program":"unpack","type":"error","message":"no\\x1b","hints":["pull a","b"],"exit":3}"#
            .to_owned() + "\n"
    );
    let help = Report { help: Some("Usage".to_owned()), ..Report::default() };
    assert_eq!(
        help.object("pull", None),
        r#"{"program":"pull","type":"error","message":"arguments are missing","hints":[]}"#
            .to_owned()
            + "\n"
    );
}
