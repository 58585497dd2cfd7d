//! Standard output: buffered, refuses a terminal where bytes are binary, knows its own broken pipe.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::captured::Captured;
use crate::descriptors::{duplicate_stdout, file_type};
use crate::error::{ClosedPipe, Failure, during, usage};
use crate::interrupt;
use crate::progress::Progress;
use crate::send::send;
use crate::system;

/// The size in bytes of the buffer; larger writes go straight to the file.
const BUFFER: usize = 64 * 1024;

/// The sink for data: standard output, or memory.
///
/// Small writes are gathered, large ones go straight through. What is left is written, and checked,
/// before the program claims success; an `Output` that was [taken](Self::take) is flushed by its taker.
#[derive(Default)]
pub struct Output {
    sink: Sink,
    buffer: Vec<u8>,
    /// The progress whose bars must be out of the way when something is written to their terminal.
    progress: Option<Progress>,
}

#[derive(Default)]
enum Sink {
    #[default]
    Nowhere,
    /// Standard output that was closed, or that could not be opened a second time: every write fails with this error.
    Broken(Errno),
    Captured(Captured),
    File {
        file: File,
        kind: FileType,
    },
}

impl Output {
    /// The process's standard output.
    pub(crate) fn standard() -> Self {
        Self::duplicate(duplicate_stdout())
    }

    /// An output by a descriptor of its own. Where there is none, the first write fails.
    fn duplicate(output: rustix::io::Result<OwnedFd>) -> Self {
        match output {
            Ok(fd) => Self::from_file(File::from(fd)),
            Err(error) => Self::new(Sink::Broken(error)),
        }
    }

    pub(crate) fn captured(bytes: Captured) -> Self {
        Self::new(Sink::Captured(bytes))
    }

    fn from_file(file: File) -> Self {
        let kind = file_type(&file);
        if kind == FileType::Fifo {
            system::grow_pipe(&file);
        }
        Self::new(Sink::File { file, kind })
    }

    const fn new(sink: Sink) -> Self {
        Self { sink, buffer: Vec::new(), progress: None }
    }

    /// Has the bars of `progress` taken away while something is written, if the output is a terminal.
    pub(crate) fn attach_progress(&mut self, progress: &Progress) {
        if self.is_terminal() {
            self.progress = Some(progress.clone());
        }
    }

    /// Whether the output is a terminal, where people read it as it comes.
    pub fn is_terminal(&self) -> bool {
        self.as_file().is_some_and(File::is_terminal)
    }

    /// How many cells wide the terminal is, if the output is one.
    pub fn columns(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(self.as_file()?).ok()?;
        Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
    }

    /// Whether it is a character device: a terminal, `/dev/null` or the like.
    pub const fn is_char_device(&self) -> bool {
        matches!(self.sink, Sink::File { kind: FileType::CharacterDevice, .. })
    }

    /// Whether another program reads it.
    pub(crate) const fn is_pipe(&self) -> bool {
        matches!(self.sink, Sink::File { kind: FileType::Fifo, .. })
    }

    const fn as_file(&self) -> Option<&File> {
        match &self.sink {
            Sink::File { file, .. } => Some(file),
            Sink::Nowhere | Sink::Broken(_) | Sink::Captured(_) => None,
        }
    }

    /// The output for a binary stream.
    ///
    /// # Errors
    /// Wrong usage, if it is a terminal.
    pub fn binary(&mut self) -> Result<&mut Self, Failure> {
        if self.is_terminal() {
            return Err(usage("standard output is a terminal, not for a binary stream")
                .hint("pipe it into another program, or redirect standard output with >"));
        }
        Ok(self)
    }

    /// Takes the output out, to be moved elsewhere; one that swallows everything stays behind.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Sends these bytes of a file, without copying them where the kernel can; `advance` is told how many bytes more were
    /// sent.
    ///
    /// # Errors
    /// Those of writing; `UnexpectedEof` if the file is shorter.
    pub fn send(
        &mut self,
        from: &File,
        range: Range<u64>,
        advance: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        self.flush()?;
        match &self.sink {
            Sink::File { file, kind } => {
                send(from, file, *kind, range, advance).map_err(Self::mark)
            }
            Sink::Nowhere | Sink::Broken(_) | Sink::Captured(_) => {
                let size = range.end - range.start;
                let mut content = vec![0; usize::try_from(size).map_err(io::Error::other)?];
                from.read_exact_at(&mut content, range.start)?;
                advance(size);
                self.write_all(&content)
            }
        }
    }

    /// Marks an error as one of our own output: a broken pipe then ends the program silently.
    fn mark(error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, ClosedPipe),
            _ => during("writing standard output", error),
        }
    }

    fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What is written may be long and come of nothing that is read, as the holes of a file do.
        if matches!(self.sink, Sink::File { .. }) {
            interrupt::check()?;
        }
        match &mut self.sink {
            Sink::Nowhere => Ok(()),
            Sink::Broken(error) => Err((*error).into()),
            Sink::Captured(captured) => (&*captured).write_all(bytes),
            Sink::File { file, .. } => match &self.progress {
                Some(progress) => progress.suspend(|| write_file(file, bytes)),
                None => write_file(file, bytes),
            },
        }
        .map_err(Self::mark)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            self.write_through(bytes)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Taken out first: what could not be written once is not tried again.
        let mut buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.write_through(&buffer)?;
        }
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }
}

impl Drop for Output {
    /// Writes what a taker forgot to flush, without telling whether it worked.
    fn drop(&mut self) {
        if !interrupt::requested() {
            drop(self.flush());
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sink {
            Sink::Nowhere => f.write_str("Output(nowhere)"),
            Sink::Broken(error) => write!(f, "Output({error:?})"),
            Sink::Captured(_) => f.write_str("Output(memory)"),
            Sink::File { kind, .. } => write!(f, "Output({kind:?})"),
        }
    }
}

fn write_file(file: &File, bytes: &[u8]) -> io::Result<()> {
    write_pieces(file, bytes, || interrupt::switch().wait_writable(file.as_fd()))
}

/// Writes all of `bytes`, however many `writer` takes at once. `wait` returns when a writer that would block can be written.
fn write_pieces(
    mut writer: impl Write,
    mut bytes: &[u8],
    wait: impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another program that shares the description may have made it non-blocking, as ssh does.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Read as _;
    use std::thread;

    use super::*;

    /// A writer that takes what it is told to take, call by call.
    struct Moody {
        moods: Vec<io::Result<usize>>,
        taken: Vec<u8>,
    }

    impl Write for Moody {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = self.moods.pop().unwrap_or(Ok(bytes.len()))?;
            self.taken.extend(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_writes_signals_and_full_pipes_lose_nothing() {
        let mut writer = Moody {
            moods: vec![
                Ok(1),
                Err(io::ErrorKind::WouldBlock.into()),
                Ok(2),
                Err(io::ErrorKind::Interrupted.into()),
            ],
            taken: vec![],
        };
        let n_waits = std::cell::Cell::new(0);
        let wait = || {
            n_waits.set(n_waits.get() + 1);
            Ok(())
        };
        write_pieces(&mut writer, b"abcdef", wait).unwrap();
        assert_eq!((&writer.taken[..], n_waits.get()), (&b"abcdef"[..], 1));
        let mut full = Moody { moods: vec![Ok(0)], taken: vec![] };
        let error = write_pieces(&mut full, b"a", wait).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    fn device(path: &str) -> Output {
        Output::from_file(OpenOptions::new().write(true).open(path).unwrap())
    }

    #[test]
    fn small_writes_wait_and_large_ones_keep_their_order() {
        let captured = Captured::default();
        let mut output = Output::captured(captured.clone());
        output.write_all(b"small").unwrap();
        assert_eq!(captured.bytes().len(), 0);
        output.write_all(&vec![b'x'; BUFFER]).unwrap();
        assert_eq!(captured.bytes().len(), 5 + BUFFER);
        output.write_all(b"tail").unwrap();
        output.flush().unwrap();
        assert!(captured.bytes().starts_with(b"smallxxx"));
        assert!(captured.bytes().ends_with(b"xtail"));
    }

    #[test]
    fn a_closed_pipe_is_marked_as_ours() {
        let (reader, writer) = io::pipe().unwrap();
        let mut output = Output::from_file(File::from(OwnedFd::from(writer)));
        assert!(output.is_pipe() && !output.is_char_device());
        drop(reader);
        output.write_all(b"x").unwrap();
        let error = output.flush().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(error.get_ref().unwrap().is::<ClosedPipe>());
        output.flush().unwrap();
    }

    #[test]
    fn a_full_device_is_noticed_at_the_flush() {
        let mut output = device("/dev/full");
        assert!(output.is_char_device() && !output.is_terminal());
        output.write_all(b"x").unwrap();
        let error = output.flush().unwrap_err().into();
        assert_eq!(
            crate::error::line("pull", &error),
            "pull: writing standard output: no space left on device\n"
        );
        assert_eq!(crate::error::code(&error, &[]), crate::error::Code::Failed);
    }

    #[test]
    fn an_output_that_cannot_be_opened_again_fails_at_the_first_write() {
        let mut output = Output::duplicate(Err(Errno::MFILE));
        output.flush().unwrap();
        output.write_all(b"x").unwrap();
        let error = output.flush().unwrap_err().into();
        assert_eq!(
            crate::error::line("pull", &error),
            "pull: writing standard output: too many open files\n"
        );
        assert_eq!(crate::error::code(&error, &[]), crate::error::Code::Failed);
    }

    #[test]
    fn a_null_device_takes_a_binary_stream() {
        device("/dev/null").binary().unwrap().write_all(b"x").unwrap();
    }

    #[test]
    fn a_non_blocking_pipe_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut output = Output::from_file(File::from(OwnedFd::from(writer)));
        let reading = thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        output.write_all(&vec![0; 3 << 20]).unwrap();
        drop(output);
        assert_eq!(reading.join().unwrap(), 3 << 20);
    }
}
