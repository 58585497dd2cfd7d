//! Zstandard (RFC 8878), by the zstd library.

use std::io::{self, BufRead, Write};

use zstd::stream::raw::CParameter;
use zstd::stream::{read, write};

/// The largest window we make room for, as a power of two: 128 MiB, the most that `zstd --long` writes by itself.
const WINDOW_LOG_MAX: u32 = 27;
/// How many bytes of input each thread takes at a time. Changing it changes digests.
const JOB: u32 = 4 << 20;
/// From this level on zstd's own tables would take some 100 MB a thread; with these of 24 MiB, and a window of 4 MiB, the
/// result is a hundredth larger (docs/decisions/0007-compressing.md). Changing any of it changes digests.
const LIMITED: i32 = 12;
const LIMITS: [CParameter; 3] =
    [CParameter::WindowLog(22), CParameter::ChainLog(22), CParameter::HashLog(21)];

/// Reads what was compressed.
pub(super) type Decoder<R> = read::Decoder<'static, R>;
/// Compresses what is written.
pub(super) type Encoder<W> = write::Encoder<'static, W>;

/// Begins to decompress.
pub(super) fn decoder<R: BufRead>(inner: R) -> io::Result<Decoder<R>> {
    let mut decoder = Decoder::with_buffer(inner)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Begins to compress. One thread already takes a job at a time, as many do; without threads of its own zstd would write
/// other bytes.
pub(super) fn encoder<W: Write>(inner: W, level: i32, n_threads: usize) -> io::Result<Encoder<W>> {
    let mut encoder = Encoder::new(inner, level)?;
    encoder.set_parameter(CParameter::NbWorkers(u32::try_from(n_threads).unwrap_or(1)))?;
    encoder.set_parameter(CParameter::JobSize(JOB))?;
    if level >= LIMITED {
        LIMITS.into_iter().try_for_each(|limit| encoder.set_parameter(limit))?;
    }
    Ok(encoder)
}

/// Flushes what lies below; what isn't compressed yet stays.
pub(super) fn flush_below<W: Write>(encoder: &mut Encoder<W>) -> io::Result<()> {
    encoder.get_mut().flush()
}
