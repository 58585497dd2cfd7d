//! Every option of every program has a test: `tests/options.txt` beside clap's definitions and the tests that there are.

use super::Findings;
use super::tree::Tree;
use crate::commands::{COMMANDS, Entry};
use crate::mutants::options::{TABLE, all, read};

/// How a line comes to be.
const HINT: &str = "write the test, then `cargo xtask mutants --options`";

/// Compares the table with what clap and the tree say.
pub(super) fn check(tree: &Tree) -> Findings {
    compare(tree, COMMANDS)
}

fn compare(tree: &Tree, commands: &[Entry]) -> Findings {
    let options: Vec<_> = all(commands).iter().map(ToString::to_string).collect();
    let table = read(tree.text(TABLE).unwrap_or_default());
    let without = options.iter().filter(|option| !table.contains_key(*option));
    let without = without
        .map(|option| format!("{TABLE}: {option}: no test sees whether it is ignored: {HINT}"));
    let strange = table.keys().filter(|option| !options.contains(option));
    let strange = strange.map(|option| format!("{TABLE}: {option}: there is no such option"));
    let gone = table.iter().filter(|(_, test)| !is_there(tree, test));
    let gone = gone.map(|(option, test)| {
        format!("{TABLE}: {option}: there is no test `{test}`: name another, or {HINT}")
    });
    without.chain(strange).chain(gone).collect()
}

/// Whether a package has a test of that name, both as [`read`] gives them: `pull the_help_ends`, `tests pipes::it_flows`.
fn is_there(tree: &Tree, test: &str) -> bool {
    let Some((package, name)) = test.split_once(' ') else { return false };
    let dir = if package == "tests" { "tests/".to_owned() } else { format!("crates/{package}/") };
    let line = format!("fn {}()", name.rsplit("::").next().unwrap_or_default());
    tree.rust().any(|(path, text)| path.starts_with(&dir) && text.contains(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> clap::Command {
        let flag = |name: &'static str| clap::Arg::new(name).long(name);
        clap::Command::new("pull").args([flag("jobs"), flag("quiet")])
    }

    #[track_caller]
    fn check_table(table: &str, expected: &[&str]) {
        let files = [
            (TABLE, table),
            ("tests/it/pipes.rs", "#[test]\nfn it_flows() {}\n"),
            ("crates/pull/tests/cli.rs", "#[test]\nfn it_is_quiet() {}\n"),
        ];
        assert_eq!(compare(&Tree::of(&files), &[("pull", example)]), expected);
    }

    #[test]
    fn an_option_needs_a_line_and_a_line_an_option_and_a_test() {
        check_table(
            "# a\npull --jobs: tests pipes::it_flows\npull --quiet: pull it_is_quiet\n",
            &[],
        );
        check_table(
            "pull --jobs: tests pipes::it_is_quiet\npull --loud: pull it_is_quiet\n",
            &[
                "tests/options.txt: pull --quiet: no test sees whether it is ignored: write the test, then `cargo xtask mutants --options`",
                "tests/options.txt: pull --loud: there is no such option",
                "tests/options.txt: pull --jobs: there is no test `tests pipes::it_is_quiet`: name another, or write the test, then `cargo xtask mutants --options`",
            ],
        );
    }
}
