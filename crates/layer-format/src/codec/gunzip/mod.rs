//! Reads gzip (RFC 1952): members one after another, and on request the places at which decompressing can begin.
//!
//! | file | |
//! |---|---|
//! | `index` | checkpoints, the places |
//! | `recorder` | finds them while the data is decompressed anyway |
//! | `segment` | decompresses what lies between two of them |
//! | `shift` | begins in the middle of a byte |
//! | `indexed` | decompresses several segments at once |

mod index;
mod indexed;
mod recorder;
mod segment;
mod shift;

use std::io::{self, BufRead, Read};

use zlib_rs::{Inflate, InflateError, InflateFlush, Status};

pub use index::{Checkpoint, SeekIndex};
pub(in crate::codec) use indexed::Indexed;
use recorder::Recorder;

/// The distance in bytes that deflate can refer back.
const WINDOW: usize = 32 << 10;

/// Whether zeros may follow the last member of a gzip file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    Allowed,
    Refused,
}

/// The members of a gzip file, one after the other.
pub(super) struct Members<R> {
    inner: R,
    /// The member that is being read; `None` between two members.
    member: Option<Inflate>,
    padding: Padding,
    is_at_end: bool,
    /// Finds checkpoints, if they are wanted.
    recorder: Option<Box<Recorder>>,
}

impl<R: BufRead> Members<R> {
    /// Begins with the first member, whose magic number has been seen.
    pub(super) fn new(inner: R, padding: Padding) -> Self {
        Self { inner, member: Some(member()), padding, is_at_end: false, recorder: None }
    }

    /// The same, and looks for checkpoints.
    pub(super) fn recording(inner: R) -> Self {
        let recorder = Some(Box::new(Recorder::new()));
        Self { recorder, ..Self::new(inner, Padding::Allowed) }
    }

    /// The checkpoints. `None` before the end, if they weren't wanted, and if the data is too short to have any use for them.
    pub(super) fn take_index(&mut self) -> Option<SeekIndex> {
        let recorder = self.recorder.take_if(|_| self.is_at_end)?;
        recorder.finish()
    }

    /// Goes to the next member; `false` at the end of the input, before which there may be zeros.
    fn next_member(&mut self) -> io::Result<bool> {
        match self.inner.fill_buf()?.first() {
            None => return Ok(false),
            Some(0x1f) => {
                self.member = Some(member());
                self.recorder.iter_mut().for_each(|it| it.member());
                return Ok(true);
            }
            Some(_) => {}
        }
        loop {
            let padding = self.inner.fill_buf()?;
            let n = padding.len();
            if n == 0 {
                return Ok(false);
            }
            if self.padding == Padding::Refused || padding.iter().any(|&byte| byte != 0) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "garbage after the last gzip member",
                ));
            }
            self.inner.consume(n);
        }
    }

    /// Decompresses some bytes of the current member. 0 at its end, and if there is more input to read.
    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(member) = &mut self.member else { return Ok(0) };
        let input = self.inner.fill_buf()?;
        let flush = self.recorder.as_ref().map_or(InflateFlush::NoFlush, |it| it.flush());
        let step = step(member, input, buffer, flush).map_err(malformed)?;
        if step.n_read == 0 && step.n_made == 0 && !step.is_end {
            if input.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Err(malformed(InflateError::DataError));
        }
        if let Some(recorder) = &mut self.recorder {
            // Only at the end of a block does it stop while there is input and room.
            let is_block_end = step.n_read < input.len() && step.n_made < buffer.len();
            recorder.note(
                &input[..step.n_read],
                &buffer[..step.n_made],
                is_block_end && !step.is_end,
            );
        }
        self.inner.consume(step.n_read);
        if step.is_end {
            self.member = None;
        }
        Ok(step.n_made)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while !self.is_at_end {
            if self.member.is_none() && !self.next_member()? {
                self.is_at_end = true;
                break;
            }
            let n = self.advance(buffer)?;
            if n > 0 {
                return Ok(n);
            }
        }
        Ok(0)
    }
}

/// A decompressor that expects a member's header first, and checks its trailer.
fn member() -> Inflate {
    Inflate::new(true, 16 + 15)
}

/// What one call of a decompressor has done.
#[derive(Clone, Copy, Debug)]
struct Step {
    n_read: usize,
    n_made: usize,
    /// Whether the member, or the raw deflate data, has ended.
    is_end: bool,
}

/// Calls a decompressor once.
fn step(
    inflate: &mut Inflate,
    input: &[u8],
    buffer: &mut [u8],
    flush: InflateFlush,
) -> Result<Step, InflateError> {
    let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
    let status = inflate.decompress(input, buffer, flush)?;
    let count = |after: u64, before: u64| usize::try_from(after - before).unwrap_or(usize::MAX);
    Ok(Step {
        n_read: count(inflate.total_in(), before_in),
        n_made: count(inflate.total_out(), before_out),
        is_end: matches!(status, Status::StreamEnd),
    })
}

fn malformed(error: InflateError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.as_str())
}
