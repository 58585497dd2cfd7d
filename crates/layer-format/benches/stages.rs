//! The stages of an unpack, one at a time: what `cargo xtask bench` sets beside the whole.
//!
//! ```text
//! stages hash FILE…        reads and hashes
//! stages inflate FILE…     reads and decompresses
//! ```
//!
//! It measures nothing itself: whoever starts it sees what it took.

use std::fs::File;
use std::io::{self, BufReader, Read};

use layer_format::relay::CHUNK_SIZE;
use layer_format::{Algorithm, Decoder, Hasher};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let stage = arguments.next().unwrap_or_default();
    for path in arguments {
        match stage.as_str() {
            "hash" => hash(File::open(path)?)?,
            "inflate" => inflate(File::open(path)?)?,
            // `cargo bench` has words of its own.
            _ => return Ok(()),
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

fn each_chunk(reader: &mut impl Read, mut act: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_SIZE];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(()),
            n => act(&buffer[..n]),
        }
    }
}
