//! A run in memory, for the tests of the commands; no program uses it.
//!
//! It is part of every build: the tests that need it are in other crates (`load`, `push`, `snapshot`), which see nothing
//! that is compiled for this crate's own tests alone.

use std::io::Write as _;

use crate::captured::{Captured, CapturedStreams};
use crate::input::Input;
use crate::io::Io;
use crate::output::Output;
use crate::progress::{Progress, Style};
use crate::stderr::Stderr;

impl Io<'static> {
    /// Streams in memory: `run` can be called without a process around it.
    ///
    /// Output goes to [`written`](Self::written), talk, in plain lines, to [`talk`](Self::talk).
    pub fn memory(input: impl Into<Vec<u8>>) -> Self {
        let streams = CapturedStreams { output: Captured::default(), talk: Captured::default() };
        let stderr = Stderr::Captured(streams.talk.clone());
        Self {
            name: "test",
            input: Input::memory(input),
            output: Output::captured(streams.output.clone()),
            progress: Progress::new("test", Style::Plain, stderr),
            captured: Some(streams),
        }
    }
}

impl Io<'_> {
    /// The bytes that were written to the output so far.
    pub fn written(&mut self) -> Vec<u8> {
        drop(self.output.flush());
        self.captured.as_ref().map(|streams| streams.output.bytes()).unwrap_or_default()
    }

    /// The lines that were written to standard error so far.
    pub fn talk(&self) -> String {
        self.captured.as_ref().map(|streams| streams.talk.text()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn memory_gives_back_what_was_written_and_said() {
        let mut io = Io::memory(b"in".as_slice());
        let mut text = String::new();
        io.input.read_to_string(&mut text).unwrap();
        io.output.write_all(text.to_uppercase().as_bytes()).unwrap();
        io.say("done\x1b");
        io.warn("but slowly");
        assert_eq!(io.written(), b"IN");
        assert_eq!(io.talk(), "done\\x1b\ntest: warning: but slowly\n");
    }
}
