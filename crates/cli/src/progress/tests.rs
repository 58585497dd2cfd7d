//! Tests of progress as a whole, into a buffer.

use super::*;
use crate::captured::Captured;

fn progress(style: Style) -> (Progress, Captured) {
    let captured = Captured::default();
    (Progress::new("pull", style, Stderr::Captured(captured.clone())), captured)
}

/// Two tasks, one of them done, and lines between.
fn play(progress: &Progress) {
    let first = progress.task("5f70bf18a086", Some(45_000_000));
    let second = progress.task("evil\n", None);
    first.state("Waiting");
    first.state("Downloading");
    first.state("Downloading");
    io::copy(&mut first.read(&[0; 1000][..]), &mut io::sink()).unwrap();
    progress.board().tick(Instant::now() + Duration::from_secs(1));
    progress.board().tick(Instant::now() + Duration::from_secs(2));
    second.state("Waiting");
    progress.warn("slow mirror");
    first.done("Pull complete");
    drop(second);
    let event = ImageEvent {
        name: Some("docker.io/library/app:1".to_owned()),
        digest: "sha256:0".to_owned(),
        status: "Downloaded newer image",
        is_important: false,
    };
    progress.image(event, &["Digest: sha256:0", "Status: new"]);
    progress.say("pulled");
    progress.finish();
}

/// A line with `…` for the rate at its end, which depends on the machine.
fn without_rate(line: &str) -> String {
    match line.rsplit_once(' ') {
        Some((before, rate)) if rate.ends_with("B/s") => format!("{before} …\n"),
        _ => format!("{line}\n"),
    }
}

#[track_caller]
fn check(style: Style, expected: &str) {
    let (progress, captured) = progress(style);
    play(&progress);
    assert_eq!(captured.text().lines().map(without_rate).collect::<String>(), expected);
}

#[test]
fn plain_lines_tell_each_change_once() {
    check(
        Style::Plain,
        "5f70bf18a086: Waiting\n\
         5f70bf18a086: Downloading\n\
         5f70bf18a086: Downloading 1kB/45MB …\n\
         evil\\n: Waiting\n\
         pull: warning: slow mirror\n\
         5f70bf18a086: Pull complete\n\
         Digest: sha256:0\n\
         Status: new\n\
         pulled\n",
    );
}

#[test]
fn json_is_an_object_a_line() {
    check(
        Style::Json,
        r#"{"program":"pull","type":"task","id":"5f70bf18a086","status":"Waiting","current":0,"total":45000000}
{"program":"pull","type":"task","id":"5f70bf18a086","status":"Downloading","current":0,"total":45000000}
{"program":"pull","type":"task","id":"5f70bf18a086","status":"Downloading","current":1000,"total":45000000}
{"program":"pull","type":"task","id":"evil\\n","status":"Waiting"}
{"program":"pull","type":"warning","message":"slow mirror"}
{"program":"pull","type":"task","id":"5f70bf18a086","status":"Pull complete","current":1000,"total":45000000}
{"program":"pull","type":"image","name":"docker.io/library/app:1","digest":"sha256:0","status":"Downloaded newer image"}
{"program":"pull","type":"message","message":"pulled"}
"#,
    );
}

// Two of our programs on one terminal: only the second says anything, and warnings come when it is done drawing, or nearly.
#[test]
fn before_a_pipe_nothing_is_said_but_warnings_at_the_end() {
    check(Style::Silent, "pull: warning: slow mirror\n");
    let (progress, captured) = progress(Style::Silent);
    progress.task("a", None).done("Pull complete");
    progress.line("x");
    progress.say("y");
    progress.warn("z");
    assert_eq!(captured.text(), "");
    progress.finish();
    assert_eq!(captured.text(), "pull: warning: z\n");
}

#[test]
fn no_progress_leaves_other_talk() {
    check(Style::None, "pull: warning: slow mirror\npulled\n");
    check(Style::Quiet, "");
    check(Style::QuietJson, "");
    let (progress, captured) = progress(Style::QuietJson);
    progress.alarm("lost");
    assert_eq!(
        captured.text(),
        "{\"program\":\"pull\",\"type\":\"warning\",\"message\":\"lost\"}\n"
    );
}

#[test]
fn with_bars_the_done_tasks_stand_above_the_next_line() {
    let (progress, captured) = progress(Style::Bars);
    let first = progress.task("a", None);
    let second = progress.task("b", None);
    first.done("Already exists");
    progress.line("while b runs");
    second.done("Pull complete");
    assert_eq!(captured.text(), "while b runs\n");
    progress.line("Digest: x");
    assert_eq!(captured.text(), "while b runs\na: Already exists\nb: Pull complete\nDigest: x\n");
    let unfinished = progress.task("c", None);
    progress.finish();
    drop(unfinished);
    assert!(captured.text().ends_with("Digest: x\n"));
}

#[test]
fn tasks_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let (progress, _) = progress(Style::None);
    let task = progress.task("a", None);
    shared(&task);
    shared(&progress);
    let mut sink = task.write(Vec::new());
    sink.write_all(b"abc").unwrap();
    assert_eq!(sink.into_inner(), b"abc");
    assert_eq!(task.counter.position(), 3);
    thread::scope(|scope| scope.spawn(|| task.advance(4)).join().unwrap());
    assert_eq!(task.counter.position(), 7);
}

#[test]
fn the_thread_that_redraws_ends_with_the_progress() {
    let (progress, _) = progress(Style::Json);
    drop(progress.task("a", None));
    let shared = Arc::downgrade(&progress.shared);
    drop(progress);
    assert!(shared.upgrade().is_none());
}
