//! What a run works with: its input, its output, its progress, and files named on the command line.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;

use crate::captured::CapturedStreams;
use crate::error::during;
use crate::input::Input;
use crate::options::Common;
use crate::output::Output;
use crate::plan::Plan;
use crate::progress::{Progress, Style};
use crate::stderr::Stderr;
use crate::text::clean_path;
use crate::whole_file::WholeFile;

/// The streams and the progress of one run.
///
/// The fields are public so that they can be used, and moved into threads, one by one.
#[derive(Debug)]
pub struct Io<'a> {
    pub(crate) name: &'a str,
    /// The source of data.
    pub input: Input,
    /// The sink for data, and for nothing else.
    pub output: Output,
    /// The sink for progress, messages and warnings, which people read.
    pub progress: Progress,
    /// Copies of what was written, in a test.
    pub(crate) captured: Option<CapturedStreams>,
}

impl<'a> Io<'a> {
    /// The streams of the process.
    pub(crate) fn standard(name: &'a str, common: &Common) -> Self {
        let mut output = Output::standard();
        let style = Style::choose(common, output.is_pipe());
        let progress = Progress::new(name, style, Stderr::Process);
        output.attach_progress(&progress);
        Self { name, input: Input::standard(), output, progress, captured: None }
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

    /// Warns of something that is unexpected and of what is lost by it, with `--quiet` too.
    pub fn alarm(&self, text: &str) {
        self.progress.alarm(text);
    }

    /// Warns of what may be the reason of a failure: if there was one, with `--quiet` too.
    pub fn warn_of(&self, texts: &[String], has_failed: bool) {
        for text in texts {
            if has_failed { self.alarm(text) } else { self.warn(text) }
        }
    }

    /// Prints what a run would do, and below it, on standard error, the sums.
    ///
    /// # Errors
    /// Those of the output.
    pub fn tell_plan(&mut self, plan: &Plan, is_json: bool) -> io::Result<()> {
        plan.write(is_json, &mut self.output)?;
        self.output.flush()?;
        self.progress.say(plan.summary());
        Ok(())
    }

    /// The file that was named on the command line for output, where `-` is standard output.
    ///
    /// A file appears when [`NamedOutput::finish`] is called, and not before.
    ///
    /// # Errors
    /// The file can't be made; the error names it.
    pub fn named_output(&mut self, path: &Path) -> anyhow::Result<NamedOutput<'_>> {
        if path.as_os_str() == "-" {
            return Ok(NamedOutput::Standard(&mut self.output));
        }
        let file = WholeFile::create(path).with_context(|| clean_path(path))?;
        Ok(NamedOutput::File(file))
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
    /// Sends the first `size` bytes of a file, as [`Output::send`] does.
    ///
    /// # Errors
    /// Those of [`Output::send`].
    pub fn send(&mut self, from: &File, size: u64, advance: &mut dyn FnMut(u64)) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.send(from, 0..size, advance),
            Self::File(file) => {
                file.send(from, size, advance).map_err(|error| writing(file, error))
            }
        }
    }

    /// Writes out what is left and makes a file appear under its name.
    ///
    /// # Errors
    /// It can't be written, synced or renamed; the error names it.
    pub fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Standard(output) => Ok(output.flush()?),
            Self::File(file) => {
                let path = clean_path(file.path());
                file.finish().context(path)
            }
        }
    }
}

/// The error of a file, with its name.
fn writing(file: &WholeFile, error: io::Error) -> io::Error {
    during(format!("writing {}", clean_path(file.path())), error)
}

impl Write for NamedOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(output) => output.write(bytes),
            Self::File(file) => file.write(bytes).map_err(|error| writing(file, error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(output) => output.flush(),
            Self::File(file) => file.flush().map_err(|error| writing(file, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error;

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
        assert_eq!(error::line("save", &error), "save: /nowhere\\n/x: no such file or directory\n");
    }
}
