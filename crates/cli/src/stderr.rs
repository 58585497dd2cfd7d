//! Standard error, where people read, and what is left there when a program dies.

use std::borrow::Cow;
use std::env;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::captured::Captured;

/// How many redrawn lines stand below the cursor. A static, for the thread that kills the process.
static FRAME: AtomicUsize = AtomicUsize::new(0);
/// Whether each line is a JSON object. A static, for who has no arguments: a panic, wrong usage, a child of the process.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// The sink for talk. Errors of writing are ignored: there is no other place to report them.
#[derive(Debug)]
pub(crate) enum Stderr {
    /// The process's own. It takes no descriptor of its own, so it is there when there are no more of them.
    Process,
    /// Memory, for tests.
    Captured(Captured),
}

impl Stderr {
    /// Writes whole lines in one piece, so that those of other programs don't come between.
    pub(crate) fn write(&self, lines: &str) {
        self.write_raw(&self.ended(lines));
    }

    /// Whole lines as they are written: on a terminal, each clears the rest of its row, where another program's redrawn lines
    /// may be.
    pub(crate) fn ended<'t>(&self, lines: &'t str) -> Cow<'t, str> {
        match self {
            Self::Process if !lines.is_empty() && is_screen() => {
                Cow::Owned(lines.replace('\n', "\x1b[K\n"))
            }
            Self::Process | Self::Captured(_) => Cow::Borrowed(lines),
        }
    }

    /// Writes what may move the cursor, in one piece.
    pub(crate) fn write_raw(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        drop(match self {
            Self::Process => Unbuffered.write_all(text.as_bytes()),
            Self::Captured(captured) => (&mut &*captured).write_all(text.as_bytes()),
        });
    }
}

struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether standard error is a terminal that obeys escape sequences.
pub(crate) fn is_screen() -> bool {
    rustix::termios::isatty(rustix::stdio::stderr())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Notes whether each line of talk is a JSON object.
pub(crate) fn note_json(is_json: bool) {
    IS_JSON.store(is_json, Ordering::SeqCst);
}

/// Whether each line of talk is a JSON object.
pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::SeqCst)
}

/// Notes how many redrawn lines stand below the cursor.
pub(crate) fn note_frame(n_lines: usize) {
    FRAME.store(n_lines, Ordering::SeqCst);
}

/// Goes to a fresh line below redrawn lines that were left on the terminal.
pub(crate) fn leave_frame() {
    match FRAME.swap(0, Ordering::SeqCst) {
        0 => {}
        n_lines => Stderr::Process.write_raw(&format!("\x1b[{n_lines}B\r\n")),
    }
}
