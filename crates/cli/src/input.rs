//! Standard input: unbuffered, movable into a thread, ended by signals.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, IsTerminal as _, Read};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context as _;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::descriptors::{duplicate_stdin, file_type};
use crate::error::{Failure, during, usage};
use crate::interrupt::{Switch, switch};
use crate::system;

/// The words before the reason why a read failed.
const READING: &str = "reading standard input";

/// The source of data: standard input, or bytes in memory.
///
/// There is no buffer in it, so reads should be large. A signal ends a read, also one that waits in
/// another thread, with an error made from [`Interrupted`](crate::Interrupted).
#[derive(Default)]
pub struct Input {
    source: Source,
}

#[derive(Default)]
enum Source {
    #[default]
    Empty,
    /// Standard input that was closed, or that could not be opened a second time: every read fails with this error.
    Broken(Errno),
    Memory(Cursor<Vec<u8>>),
    File {
        file: File,
        kind: FileType,
        switch: &'static Switch,
    },
}

impl Input {
    /// The process's standard input.
    pub(crate) fn standard() -> Self {
        Self::duplicate(duplicate_stdin())
    }

    /// An input by a descriptor of its own. Where there is none, the first read fails.
    fn duplicate(input: rustix::io::Result<OwnedFd>) -> Self {
        match input {
            Ok(fd) => Self::from_file(File::from(fd), switch()),
            Err(error) => Self { source: Source::Broken(error) },
        }
    }

    /// An input that reads these bytes.
    pub fn memory(bytes: impl Into<Vec<u8>>) -> Self {
        Self { source: Source::Memory(Cursor::new(bytes.into())) }
    }

    /// An input that reads from a terminal other than standard input.
    pub(crate) fn terminal(file: File) -> Self {
        Self::from_file(file, switch())
    }

    fn from_file(file: File, switch: &'static Switch) -> Self {
        let kind = file_type(&file);
        if kind == FileType::Fifo {
            system::grow_pipe(&file);
        }
        Self { source: Source::File { file, kind, switch } }
    }

    /// Whether the input is a terminal, where somebody would have to type it.
    pub fn is_terminal(&self) -> bool {
        self.as_file().is_some_and(File::is_terminal)
    }

    /// The input as a file, if it is a regular one: it can be read in place, by seeking.
    pub fn as_regular_file(&self) -> Option<&File> {
        match &self.source {
            Source::File { file, kind: FileType::RegularFile, .. } => Some(file),
            _ => None,
        }
    }

    /// The open file behind the input, if there is one.
    const fn as_file(&self) -> Option<&File> {
        match &self.source {
            Source::File { file, .. } => Some(file),
            Source::Empty | Source::Broken(_) | Source::Memory(_) => None,
        }
    }

    /// Takes the input out, to be moved elsewhere; an empty one stays behind.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Takes the input out for a binary stream.
    ///
    /// # Errors
    /// Wrong usage, if it is a terminal.
    pub fn take_binary(&mut self) -> Result<Self, Failure> {
        if self.is_terminal() {
            return Err(usage("standard input is a terminal, not a binary stream")
                .hint("pipe the stream in, or redirect standard input with <"));
        }
        Ok(self.take())
    }

    /// Takes the input out for an image, with a copy of the open file if it is a regular one, which is read in place.
    ///
    /// # Errors
    /// Wrong usage, if it is a terminal; and there may be no more descriptors.
    pub fn take_image(&mut self) -> anyhow::Result<(Self, Option<File>)> {
        let input = self.take_binary()?;
        let file = input.as_regular_file().map(File::try_clone).transpose();
        let file = file.context("opening standard input")?;
        Ok((input, file))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Empty => Ok(0),
            Source::Broken(error) => Err(during(READING, (*error).into())),
            Source::Memory(bytes) => bytes.read(buffer),
            Source::File { file, kind, switch } => read_file(file, *kind, switch, buffer),
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Empty => f.write_str("Input(empty)"),
            Source::Broken(error) => write!(f, "Input({error:?})"),
            Source::Memory(bytes) => write!(f, "Input({} bytes)", bytes.get_ref().len()),
            Source::File { kind, .. } => write!(f, "Input({kind:?})"),
        }
    }
}

fn read_file(
    file: &mut File,
    kind: FileType,
    switch: &Switch,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let waits = !matches!(kind, FileType::RegularFile | FileType::BlockDevice);
    loop {
        if waits {
            switch.wait_readable(file.as_fd())?;
        } else {
            switch.check()?;
        }
        match file.read(buffer) {
            // Another program that shares the description may have made it non-blocking, as ssh does.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result.map_err(|error| during(READING, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::Interrupted;

    fn armed() -> &'static Switch {
        let switch: &'static Switch = Box::leak(Box::new(Switch::new()));
        switch.arm().unwrap();
        switch
    }

    #[test]
    fn a_waiting_read_ends_when_a_signal_comes() {
        let switch = armed();
        let (reader, mut writer) = io::pipe().unwrap();
        let mut input = Input::from_file(File::from(OwnedFd::from(reader)), switch);
        let (told, heard) = mpsc::channel();
        let waiting = thread::spawn(move || {
            let mut buffer = [0; 16];
            told.send(input.read(&mut buffer).unwrap()).unwrap();
            // Also through a loop of std's that tries again when interrupted.
            io::copy(&mut input, &mut io::sink()).unwrap_err()
        });
        writer.write_all(b"abc").unwrap();
        assert_eq!(heard.recv().unwrap(), 3);
        thread::sleep(Duration::from_millis(20));
        switch.throw(signal_hook::consts::SIGTERM);
        let error = waiting.join().unwrap();
        assert!(error.get_ref().unwrap().is::<Interrupted>());
        assert_eq!(error.to_string(), "interrupted by SIGTERM");
    }

    #[test]
    fn a_pipe_is_grown_and_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut input = Input::from_file(File::from(OwnedFd::from(reader)), armed());
        assert!(!input.is_terminal() && input.as_regular_file().is_none());
        let size = rustix::pipe::fcntl_getpipe_size(input.as_file().unwrap()).unwrap();
        assert!(size >= 1 << 16, "{size}");
        writer.write_all(b"abc").unwrap();
        drop(writer);
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }

    #[test]
    fn a_pipe_that_somebody_made_non_blocking_is_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let mut input = Input::from_file(File::from(OwnedFd::from(reader)), armed());
        let writing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            writer.write_all(b"late").unwrap();
        });
        let mut text = String::new();
        input.read_to_string(&mut text).unwrap();
        writing.join().unwrap();
        assert_eq!(text, "late");
    }

    #[test]
    fn a_read_that_would_block_is_tried_again() {
        let switch = armed();
        let (reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let mut file = File::from(OwnedFd::from(reader));
        let (told, heard) = mpsc::channel();
        let reading = thread::spawn(move || {
            for _ in 0..200 {
                told.send(()).unwrap();
                // This kind isn't waited for: as when another reader takes what this one has waited for.
                let n = read_file(&mut file, FileType::RegularFile, switch, &mut [0]).unwrap();
                assert_eq!(n, 1);
            }
        });
        for () in heard {
            writer.write_all(b"x").unwrap();
        }
        reading.join().unwrap();
    }

    #[test]
    fn a_regular_file_can_be_read_in_place() {
        let switch = armed();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut input = Input::from_file(file, switch);
        input.as_regular_file().unwrap().seek(io::SeekFrom::Start(7)).unwrap();
        let mut taken = input.take_binary().unwrap();
        assert_eq!(input.read(&mut [0; 4]).unwrap(), 0, "an empty input stays behind");
        let mut text = String::new();
        taken.read_to_string(&mut text).unwrap();
        assert_eq!(text, "789");
        switch.throw(2);
        assert!(taken.read(&mut [0; 4]).is_err());
        assert!(taken.as_regular_file().is_some());
    }

    #[test]
    fn an_input_that_cannot_be_opened_again_fails_at_the_first_read() {
        let mut input = Input::duplicate(Err(Errno::MFILE));
        assert!(input.as_file().is_none() && !input.is_terminal());
        let error = input.take_binary().unwrap().read(&mut [0; 4]).unwrap_err().into();
        assert_eq!(
            crate::error::line("load", &error),
            "load: reading standard input: too many open files\n"
        );
    }

    #[test]
    fn memory_is_no_file() {
        let mut input = Input::memory("abc");
        assert!(input.as_file().is_none());
        let mut bytes = Vec::new();
        assert_eq!(input.read_to_end(&mut bytes).unwrap(), 3);
    }
}
