//! Standard error, where people read, and what is left there when a program dies.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::captured::Captured;

/// Whether redrawn lines stand on the terminal, with the cursor at the end of the last one. A static, for the thread that
/// kills the process.
static HAS_FRAME: AtomicBool = AtomicBool::new(false);

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
        if lines.is_empty() {
            return;
        }
        drop(match self {
            Self::Process => Unbuffered.write_all(lines.as_bytes()),
            Self::Captured(captured) => (&mut &*captured).write_all(lines.as_bytes()),
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

/// Notes whether redrawn lines stand on the terminal.
pub(crate) fn note_frame(has_frame: bool) {
    HAS_FRAME.store(has_frame, Ordering::SeqCst);
}

/// Goes to a fresh line if redrawn lines were left on the terminal.
pub(crate) fn leave_frame() {
    if HAS_FRAME.swap(false, Ordering::SeqCst) {
        Stderr::Process.write("\n");
    }
}
