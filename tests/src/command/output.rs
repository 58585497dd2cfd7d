//! What a program said and how it ended.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::or_panic::OrPanic as _;

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, where it is not UTF-8 with replacement characters.
    pub stderr: String,
    /// The statuses of the last pipeline's members, of a script.
    pub pipe: Vec<i32>,
    pub(crate) root: PathBuf,
}

impl Output {
    /// The exit status as a shell gives it: 128 and the signal's number after a signal.
    pub fn code(&self) -> i32 {
        shell_status(self.status)
    }

    /// Itself, when the program succeeded; otherwise the test fails and shows all of it.
    #[track_caller]
    pub fn success(&self) -> &Self {
        self.fails_with(0)
    }

    /// Itself, when the exit status is this one; otherwise the test fails and shows all of it.
    ///
    /// # Panics
    ///
    /// When it is another.
    #[track_caller]
    pub fn fails_with(&self, code: i32) -> &Self {
        let text = self.text();
        assert!(self.code() == code, "kit: not {code}:\n{text}");
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub fn out(&self) -> String {
        String::from_utf8(self.stdout.clone()).or_panic("standard output is UTF-8")
    }

    /// All as one text for a snapshot; the sandbox's path is `[SANDBOX]`.
    pub fn text(&self) -> String {
        self.text_without(&[])
    }

    /// All as one text, with more words replaced: `(registry.host(), "[REGISTRY]")`.
    pub fn text_without(&self, words: &[(&str, &str)]) -> String {
        let mut text = format!("status: {}", self.code());
        if self.pipe.len() > 1 {
            write!(text, " {:?}", self.pipe).or_panic("write to a string");
        }
        text.push('\n');
        for (title, content) in [("stdout", shown(&self.stdout)), ("stderr", self.stderr.clone())] {
            text.push_str(&section(title, &content));
        }
        let text = text.replace(&*self.root.to_string_lossy(), "[SANDBOX]");
        words.iter().fold(text, |text, (from, to)| text.replace(from, to))
    }
}

/// An exit status as a shell gives it: 128 and the signal's number after a signal.
pub(super) fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn section(title: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    let end = if content.ends_with('\n') { "" } else { "[no newline]\n" };
    format!("--- {title}\n{content}{end}")
}

/// Output as it is when it is text of some length, otherwise its size and hash.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= 1 << 16 && !text.contains('\0') => text.to_owned(),
        _ => format!("[{} bytes, {}]\n", bytes.len(), crate::digest(bytes)),
    }
}
