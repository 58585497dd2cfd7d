//! Command lines: of programs here, of programs that a shell on another machine starts, and as they are shown.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::address::Machine;

/// The variable with the command that is run instead of `ssh`, with its options: a piece of shell, as git's `GIT_SSH_COMMAND`.
const VARIABLE: &str = "STRATA_SSH";

/// One of our programs with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }

    /// The same with an option and its value, if there is one.
    pub(super) fn option(mut self, name: &str, value: Option<&str>) -> Self {
        self.0.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_owned()]));
        self
    }

    /// The same with more words.
    pub(super) fn and(mut self, words: &[&str]) -> Self {
        self.0.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// The program's name.
    pub(super) fn program(&self) -> &str {
        self.0.first().map(String::as_str).unwrap_or_default()
    }

    /// As a line for a shell.
    pub(super) fn line(&self) -> String {
        self.0.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// The program of this installation: in the file that this program is in, or beside that, or else in `PATH`.
    pub(super) fn here(&self) -> Command {
        let program = self.program();
        let (path, is_all) = own_program(env::current_exe().ok(), program);
        let mut command = Command::new(path);
        command.args(&self.0[usize::from(!is_all)..]);
        command
    }

    /// The program of another machine. `programs` says how it is called there.
    pub(super) fn there(&self, machine: &Machine, programs: Programs) -> Command {
        let mut command = match env::var_os(VARIABLE).filter(|it| !it.is_empty()) {
            None => Command::new("ssh"),
            Some(ssh) => through_shell(&ssh),
        };
        command.args(machine.arguments()).arg(programs.line(self));
        command
    }

    /// The command line by which anybody starts it on another machine.
    pub(super) fn shown_there(&self, machine: &Machine, programs: Programs) -> String {
        let ssh = env::var(VARIABLE).ok().filter(|it| !it.is_empty());
        let ssh = ssh.unwrap_or_else(|| "ssh".to_owned());
        let line = programs.line(self);
        let is_plain = !line.contains(|c| !is_harmless(c) && c != ' ');
        let line = if is_plain { line } else { quote(&line) };
        let machine: Vec<_> = machine.arguments().iter().map(|it| quote(it)).collect();
        format!("{ssh} {} {line}", machine.join(" "))
    }
}

/// How the programs of another machine are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// By their names.
    Each,
    /// As arguments of `strata`.
    InOne,
}

impl Programs {
    fn line(self, words: &Words) -> String {
        match self {
            Self::Each => words.line(),
            Self::InOne => format!("strata {}", words.line()),
        }
    }
}

/// The file of one of our programs, and whether it is the one for all of them, which takes the program's name as its first
/// argument.
fn own_program(own: Option<PathBuf>, program: &str) -> (PathBuf, bool) {
    let Some(own) = own else { return (program.into(), false) };
    if own.file_name() == Some("strata".as_ref()) {
        return (own, true);
    }
    let beside = own.parent().unwrap_or(Path::new("/")).join(program);
    (if beside.is_file() { beside } else { program.into() }, false)
}

/// A command that a shell reads, as git has it: it may hold options and quotes.
fn through_shell(ssh: &OsString) -> Command {
    let mut script = ssh.clone();
    script.push(" \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg("ssh");
    command
}

/// A word for a shell: any shell of Unix reads it as this one word.
fn quote(word: &str) -> String {
    if !word.is_empty() && word.chars().all(is_harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn is_harmless(c: char) -> bool {
    c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::Address;

    #[test]
    fn a_word_stays_one_word_for_any_shell() {
        let hostile = "a b'c\"d$e`f\\g;h|i&j<k>l*m?n[o]p!q#r~s\u{e9}";
        for word in [hostile, "", "'", "''", "-", "a=b", "$(touch x)"] {
            let script = format!("printf %s {}", quote(word));
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(output.stdout, word.as_bytes(), "{word}");
        }
        assert_eq!(quote("/srv/app:1@x"), "/srv/app:1@x");
    }

    #[test]
    fn a_line_can_be_typed() {
        let address: Address = "ssh://me@host:22/x".parse().unwrap();
        let words = Words::new(["load"]).option("--store", Some("/srv/my store"));
        assert_eq!(
            words.shown_there(&address.machine, Programs::InOne),
            r"ssh -p 22 me@host 'strata load --store '\''/srv/my store'\'''"
        );
        let words = Words::new(["images", "digests"]).option("--store", None);
        assert_eq!(
            words.shown_there(&address.machine, Programs::Each),
            "ssh -p 22 me@host images digests"
        );
    }

    #[test]
    fn our_own_programs_are_beside_this_one_or_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("save"), "").unwrap();
        assert_eq!(own_program(Some(path("push")), "save"), (path("save"), false));
        assert_eq!(own_program(Some(path("push")), "load"), ("load".into(), false));
        assert_eq!(own_program(Some(path("strata")), "load"), (path("strata"), true));
    }
}
