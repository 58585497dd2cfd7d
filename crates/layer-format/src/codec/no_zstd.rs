//! Replacement for Zstandard in a build without the feature `zstd`: such data is recognised and refused.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::marker::PhantomData;

use crate::error::Error;

/// A type without values: no decoder exists.
pub(super) struct Decoder<R>(Infallible, PhantomData<R>);
/// A type without values: no encoder exists.
pub(super) struct Encoder<W>(Infallible, PhantomData<W>);

/// Refuses to decompress.
pub(super) fn decoder<R>(_inner: R) -> io::Result<Decoder<R>> {
    Err(absent())
}

/// Refuses to compress.
pub(super) fn encoder<W>(_inner: W, _level: i32, _n_threads: usize) -> io::Result<Encoder<W>> {
    Err(absent())
}

fn absent() -> io::Error {
    let reason = "this program was built without it (feature `zstd` of layer-format)";
    Error::Unsupported { what: "zstd".to_owned(), reason }.into()
}

/// Flushes the inner writer. It is never called, because no encoder exists.
pub(super) fn flush_below<W>(encoder: &mut Encoder<W>) -> io::Result<()> {
    match encoder.0 {}
}

/// Compresses a little quickly, with gzip.
pub(super) fn pack_fast(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(content)?;
    encoder.finish()
}

impl<R> Read for Decoder<R> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl<W> Encoder<W> {
    pub(super) fn finish(self) -> io::Result<W> {
        match self.0 {}
    }
}

impl<W> Write for Encoder<W> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::{Codec, Compression, Decoder, Encoder};

    #[test]
    fn what_is_not_compiled_in_is_refused_by_name() {
        let text = "zstd: this program was built without it (feature `zstd` of layer-format)";
        let error = Decoder::new(&b"\x28\xb5\x2f\xfd\0\0"[..]).unwrap_err();
        assert_eq!(error.to_string(), text);
        let compression = Compression::new(Codec::Zstd, None).unwrap();
        let error = Encoder::new(vec![], compression, NonZeroUsize::MIN).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}
