//! Lists what a layer changes: a tar, compressed or not, whose path is the argument.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Write as _};

use layer_format::layer::{Change, Reader};
use layer_format::{Decoder, Digest, Hashing};

#[expect(clippy::disallowed_methods, reason = "an example is no command, which would have an Io")]
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("which layer?")?;
    let stored = BufReader::new(File::open(path)?);
    let plain = Hashing::new(Decoder::new(stored)?, layer_format::Algorithm::Sha256);
    let mut layer = Reader::new(BufReader::new(plain));
    let mut out = std::io::stdout().lock();
    while let Some(change) = layer.read_change()? {
        match change {
            Change::Add(entry) => writeln!(out, "A {}", entry.path)?,
            Change::Remove(path) => writeln!(out, "D {path}")?,
            Change::Opaque(path) => writeln!(out, "D {path}/*")?,
        }
    }
    let diff_id: Digest = layer.into_inner().into_inner().digest();
    writeln!(out, "diff id {diff_id}")?;
    Ok(())
}
