//! What a run works with: its input, its output, its talk, and files named on the command line.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;

use crate::progress::style::Style;
use crate::progress::talk::{Captured, Talk};
use crate::{Common, Input, Output, Progress, WholeFile, report};

/// The streams and the talk of one run.
///
/// The fields are public so that they can be used, and moved into threads, one by one.
#[derive(Debug)]
pub struct Io<'a> {
    name: &'a str,
    /// Where data comes from.
    pub input: Input,
    /// Where data goes. Nothing but data.
    pub output: Output,
    /// What people see meanwhile.
    pub progress: Progress,
    memory: Option<Memory>,
}

#[derive(Debug)]
struct Memory {
    output: Arc<Mutex<Vec<u8>>>,
    talk: Captured,
}

impl<'a> Io<'a> {
    /// The streams of the process.
    pub(crate) fn standard(name: &'a str, common: &Common) -> Self {
        let mut output = Output::standard();
        let style = Style::choose(common, &output);
        let progress = Progress::new(name, style, Talk::standard_error());
        output.mind(&progress);
        Self { name, input: Input::standard(), output, progress, memory: None }
    }
}

impl Io<'static> {
    /// Streams in memory, for tests: `run` can be called without a process around it.
    ///
    /// Output goes to [`written`](Self::written), talk, in plain lines, to [`talk`](Self::talk).
    pub fn memory(input: impl Into<Vec<u8>>) -> Self {
        let memory = Memory { output: Arc::default(), talk: Captured::default() };
        let talk = Talk::new(memory.talk.clone());
        Self {
            name: "test",
            input: Input::memory(input),
            output: Output::memory(Arc::clone(&memory.output)),
            progress: Progress::new("test", Style::Plain, talk),
            memory: Some(memory),
        }
    }
}

impl Io<'_> {
    /// The program's name.
    pub const fn name(&self) -> &str {
        self.name
    }

    /// Says something on standard error; hostile characters are escaped.
    pub fn say(&self, text: &str) {
        self.progress.say(text);
    }

    /// Warns on standard error, as `program: warning: text`; not with `--quiet`.
    pub fn warn(&self, text: &str) {
        self.progress.warn(text);
    }

    /// Warns of what nobody expects and what is lost by it, with `--quiet` too.
    pub fn alarm(&self, text: &str) {
        self.progress.alarm(text);
    }

    /// Warns of what may be the reason why something failed, and then with `--quiet` too.
    pub fn warn_of(&self, texts: &[String], has_failed: bool) {
        for text in texts {
            if has_failed { self.alarm(text) } else { self.warn(text) }
        }
    }

    /// The file that was named on the command line for output, where `-` is standard output.
    ///
    /// A file appears when [`NamedOutput::finish`] is called, and not before.
    pub fn named_output(&mut self, path: &Path) -> anyhow::Result<NamedOutput<'_>> {
        if path.as_os_str() == "-" {
            return Ok(NamedOutput::Standard(&mut self.output));
        }
        let file = WholeFile::create(path).with_context(|| report::clean_path(path))?;
        Ok(NamedOutput::File(file))
    }

    /// What was written so far to an output in memory.
    pub fn written(&mut self) -> Vec<u8> {
        drop(self.output.flush());
        let Some(memory) = &self.memory else { return Vec::new() };
        memory.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was said so far in memory.
    pub fn talk(&self) -> String {
        self.memory.as_ref().map(|memory| memory.talk.text()).unwrap_or_default()
    }
}

/// Standard output, or a file that appears whole or not at all.
#[derive(Debug)]
pub enum NamedOutput<'a> {
    /// The program's own output.
    Standard(&'a mut Output),
    /// A file beside the named one, until it is finished.
    File(WholeFile),
}

impl NamedOutput<'_> {
    /// Sends the first `size` bytes of a file, without copying them where the kernel can; tells how far it is.
    pub fn send(&mut self, from: &File, size: u64, advance: &mut dyn FnMut(u64)) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.send(from, 0..size, advance),
            Self::File(file) => file.send(from, size, advance),
        }
    }

    /// Writes out what is left and makes a file appear under its name.
    pub fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Standard(output) => Ok(output.flush()?),
            Self::File(file) => {
                let path = report::clean_path(file.path());
                file.finish().context(path)
            }
        }
    }
}

impl Write for NamedOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(output) => output.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.flush(),
            Self::File(file) => file.flush(),
        }
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

    #[test]
    fn a_dash_is_standard_output() {
        let mut io = Io::memory("");
        let mut output = io.named_output(Path::new("-")).unwrap();
        output.write_all(b"data").unwrap();
        output.finish().unwrap();
        assert_eq!(io.written(), b"data");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let mut io = Io::memory("");
        let error = io.named_output(Path::new("/nowhere\n/x")).unwrap_err();
        assert_eq!(
            report::error("save", &error),
            "save: /nowhere\\n/x: no such file or directory\n"
        );
    }
}
