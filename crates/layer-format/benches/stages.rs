//! The stages of an unpack and a commit, one at a time: what `cargo xtask bench` sets beside the whole.
//!
//! ```text
//! stages hash FILE…        reads and hashes
//! stages inflate FILE…     reads and decompresses
//! stages gzip-6 FILE…      reads and compresses, at this level, to standard output; stages zstd-3 likewise
//! ```
//!
//! It measures nothing itself: whoever starts it sees what it took.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use layer_format::{Algorithm, Codec, Compression, Decoder, Encoder, Hasher};

/// The size of the pieces that are read, in bytes: that of our programs' buffers between two threads.
const CHUNK_SIZE: usize = 256 << 10;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let stage = arguments.next().unwrap_or_default();
    for path in arguments {
        match stage.as_str() {
            "hash" => hash(File::open(path)?)?,
            "inflate" => inflate(File::open(path)?)?,
            stage => match compression(stage) {
                Some(compression) => compress(File::open(path)?, compression)?,
                // `cargo bench` has words of its own.
                None => return Ok(()),
            },
        }
    }
    Ok(())
}

fn hash(mut file: File) -> io::Result<()> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    each_chunk(&mut file, |chunk| hasher.update(chunk))?;
    std::hint::black_box(hasher.finish());
    Ok(())
}

fn inflate(file: File) -> io::Result<()> {
    let mut decoder = Decoder::new(BufReader::with_capacity(CHUNK_SIZE, file))?;
    each_chunk(&mut decoder, |chunk| {
        std::hint::black_box(chunk);
    })
}

fn compression(stage: &str) -> Option<Compression> {
    let (codec, level) = stage.split_once('-')?;
    let codec = match codec {
        "gzip" => Codec::Gzip,
        "zstd" => Codec::Zstd,
        _ => return None,
    };
    Compression::new(codec, level.parse().ok())
}

#[expect(clippy::disallowed_methods, reason = "a measuring program has no Io of a command")]
fn compress(mut file: File, compression: Compression) -> io::Result<()> {
    let n_threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut encoder = Encoder::new(io::stdout(), compression, n_threads)?;
    let mut result = Ok(());
    each_chunk(&mut file, |chunk| {
        if result.is_ok() {
            result = encoder.write_all(chunk);
        }
    })?;
    result?;
    encoder.finish()?.flush()
}

fn each_chunk(reader: &mut impl Read, mut act: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_SIZE];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            n => act(&buffer[..n]),
        }
    }
}
