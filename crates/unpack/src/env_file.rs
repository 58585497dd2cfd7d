//! The image's settings as a file that a shell reads: `. FILE`. Whatever the image says, reading it sets variables and does
//! nothing else.
//!
//! ```text
//! export NAME='VALUE'      each of Env
//! IMAGE_USER='…'           User; empty for root
//! IMAGE_WORKDIR='…'        WorkingDir
//! IMAGE_ENTRYPOINT='…'     Entrypoint and Cmd, each word quoted: eval "set -- $IMAGE_ENTRYPOINT $IMAGE_CMD"
//! IMAGE_CMD='…'
//! ```

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use cli::text::{clean, clean_path};
use cli::{Io, WholeFile};
use image::Image;

/// What variables of this file's own begin with.
const OWN: &str = "IMAGE_";

/// Variables that a shell obeys by itself: it runs what some of them say, writes to files that others name, and ends where it has
/// one that nobody may set. Beside these, whatever begins with `BASH` or `HIST`.
const OBEYED: &[&str] = &[
    "_",
    "argv",
    "CDPATH",
    "DIRSTACK",
    "EGID",
    "ENV",
    "EUID",
    "FCEDIT",
    "FPATH",
    "FUNCNAME",
    "fpath",
    "GID",
    "GROUPS",
    "IFS",
    "LINENO",
    "MAIL",
    "MAILPATH",
    "MODULE_PATH",
    "module_path",
    "NULLCMD",
    "OPTARG",
    "OPTIND",
    "PPID",
    "PROMPT",
    "PROMPT2",
    "PROMPT3",
    "PROMPT4",
    "PROMPT_COMMAND",
    "PS0",
    "PS1",
    "PS2",
    "PS3",
    "PS4",
    "RANDOM",
    "READNULLCMD",
    "RPROMPT",
    "RPS1",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "status",
    "TMOUT",
    "UID",
    "USERNAME",
];

/// A file of settings under way.
#[derive(Debug)]
pub(crate) struct EnvFile {
    settings: Settings,
    /// `None` for standard output.
    file: Option<WholeFile>,
}

impl EnvFile {
    /// Begins the file. It has its name when it is [finished](Self::finish).
    ///
    /// # Errors
    /// The config is malformed; the file can't be made.
    pub(crate) fn begin(path: &Path, image: &Image, title: &str) -> anyhow::Result<Self> {
        let settings = Settings::of(image, title)?;
        let create = || WholeFile::create(path).with_context(|| clean_path(path));
        let file = if path.as_os_str() == "-" { None } else { Some(create()?) };
        Ok(Self { settings, file })
    }

    /// Writes the file, and says what is left out.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn finish(self, io: &mut Io<'_>) -> anyhow::Result<()> {
        let Settings { text, left_out } = self.settings;
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            io.warn(&format!(
                "not in the file of settings, as a shell can't have it or would obey it: {names}"
            ));
        }
        match self.file {
            None => Ok(io.output.write_all(text.as_bytes())?),
            Some(mut file) => {
                let path = clean_path(file.path());
                file.write_all(text.as_bytes()).and_then(|()| file.finish()).context(path)
            }
        }
    }
}

/// The text of the file.
#[derive(Debug, Default)]
struct Settings {
    text: String,
    /// The names of variables that aren't in it, as they may be shown.
    left_out: Vec<String>,
}

impl Settings {
    fn of(image: &Image, title: &str) -> anyhow::Result<Self> {
        let run = image.config.run()?;
        let mut settings = Self::default();
        settings.line(&format!("# {}settings for a shell: . FILE", clean(title)));
        for variable in &run.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, "\0"));
            if is_allowed(name) && !value.contains('\0') {
                settings.line(&format!("export {name}={}", quoted(value)));
            } else {
                settings.line(&format!("# left out: {}", clean(variable)));
                settings.left_out.push(clean(name).into_owned());
            }
        }
        let working_dir = if run.working_dir.is_empty() { "/" } else { &run.working_dir };
        for (name, value) in [
            ("USER", run.user.clone()),
            ("WORKDIR", working_dir.to_owned()),
            ("ENTRYPOINT", words(&run.entrypoint)),
            ("CMD", words(&run.cmd)),
        ] {
            anyhow::ensure!(!value.contains('\0'), "the image's {name} has a NUL in it");
            settings.line(&format!("{OWN}{name}={}", quoted(&value)));
        }
        Ok(settings)
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Whether a shell has variables of this name and doesn't obey them.
fn is_allowed(name: &str) -> bool {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    let is_obeyed =
        OBEYED.contains(&name) || ["BASH", "HIST", OWN].iter().any(|it| name.starts_with(it));
    is_name && !is_obeyed
}

fn words(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A text as one word of a shell. Two single quotes stand together in an empty one only: zsh can take them for one quote.
fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let quote = |piece: &str| if piece.is_empty() { String::new() } else { format!("'{piece}'") };
    text.split('\'').map(quote).collect::<Vec<_>>().join("\\'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_without_two_quotes_in_a_row() {
        for (text, expected) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("'", "\\'"),
            ("''", "\\'\\'"),
            ("it's", "'it'\\''s'"),
            ("$(x)`y`\\\n", "'$(x)`y`\\\n'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn what_a_shell_obeys_or_cannot_have_is_left_out() {
        for name in [
            "",
            "a.b",
            "1",
            "a b",
            "A-B",
            "PS1",
            "PROMPT_COMMAND",
            "BASH_ENV",
            "HISTFILE",
            "IMAGE_USER",
            "é",
        ] {
            assert!(!is_allowed(name), "{name}");
        }
        for name in ["PATH", "a", "_x", "LD_LIBRARY_PATH", "PS", "A1"] {
            assert!(is_allowed(name), "{name}");
        }
    }
}
