//! Zstandard (RFC 8878), by the zstd library.

use std::io::{self, BufRead, Write};

use zstd::stream::raw::CParameter;
use zstd::stream::{read, write};

/// The largest window that a decoder allocates, as a power of two: 128 MiB, which is the most that `zstd --long` uses
/// unless it is told otherwise.
const WINDOW_LOG_MAX: u32 = 27;
/// The input of one job of a thread, in bytes. Another size would change digests.
const JOB: u32 = 4 << 20;
/// The first level at which the tables are limited. By default zstd's tables would take some 100 MB a thread there.
/// Tables of 24 MiB and a window of 4 MiB make the result one hundredth larger (docs/decisions/0007-compressing.md).
/// Other values would change digests.
const LIMITED: i32 = 12;
const LIMITS: [CParameter; 3] =
    [CParameter::WindowLog(22), CParameter::ChainLog(22), CParameter::HashLog(21)];

/// A reader that decompresses zstd data.
pub(super) type Decoder<R> = read::Decoder<'static, R>;
/// A writer that compresses into zstd data.
pub(super) type Encoder<W> = write::Encoder<'static, W>;

/// Creates a decoder for `inner`.
pub(super) fn decoder<R: BufRead>(inner: R) -> io::Result<Decoder<R>> {
    let mut decoder = Decoder::with_buffer(inner)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Creates an encoder into `inner`. It always uses zstd's own threads, at least one, because zstd without threads would
/// write other bytes.
pub(super) fn encoder<W: Write>(inner: W, level: i32, n_threads: usize) -> io::Result<Encoder<W>> {
    let mut encoder = Encoder::new(inner, level)?;
    encoder.set_parameter(CParameter::NbWorkers(u32::try_from(n_threads).unwrap_or(1)))?;
    encoder.set_parameter(CParameter::JobSize(JOB))?;
    if level >= LIMITED {
        LIMITS.into_iter().try_for_each(|limit| encoder.set_parameter(limit))?;
    }
    Ok(encoder)
}

/// Flushes the inner writer. Bytes that aren't compressed yet stay in the encoder.
pub(super) fn flush_below<W: Write>(encoder: &mut Encoder<W>) -> io::Result<()> {
    encoder.get_mut().flush()
}

/// Compresses a little quickly.
pub(super) fn pack_fast(content: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(content, 1)
}
