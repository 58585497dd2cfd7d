//! What all our programs have in common on a command line.

use super::Sandbox;
use super::output::Output;
use crate::or_panic::OrPanic as _;

/// Runs one of our programs in a sandbox of its own.
pub fn run(program: &str, words: &[&str]) -> Output {
    Sandbox::new().command(program).args(words).run()
}

/// The examples that a program's help ends with.
///
/// # Panics
///
/// If there are none.
pub fn examples(program: &str) -> String {
    let help = run(program, &["--help"]).success().out();
    let (_, examples) = help.split_once("Examples:\n").or_panic("examples at the help's end");
    examples.to_owned()
}

/// Checks that each of these command lines is wrong usage to a program: status 2, and nothing but what it says about it.
///
/// # Panics
///
/// If one is something else.
#[track_caller]
pub fn refuses(program: &str, lines: &[&[&str]]) {
    for words in lines {
        let output = run(program, words);
        let is_told =
            output.stdout.is_empty() && output.stderr.starts_with(&format!("{program}: "));
        assert!(output.code() == 2 && is_told, "{words:?}: {}", output.text());
    }
}
