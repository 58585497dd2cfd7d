//! Compresses on all cores, and always to the same bytes.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use super::gzip::Blocks;
use super::{Codec, zstandard};

/// The most compressing threads. The thread that feeds them can't keep up with more, and each takes memory.
const MOST_THREADS: usize = 16;
/// A codec and, if the codec has levels, the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    codec: Codec,
    level: u8,
}

impl Compression {
    /// Compression with `codec` at `level`, or at the codec's usual level; `None` if the codec has no such level.
    pub fn new(codec: Codec, level: Option<u8>) -> Option<Self> {
        let (levels, usual) = match codec {
            Codec::None => return level.is_none().then_some(Self { codec, level: 0 }),
            Codec::Gzip => (1..=9, 6),
            // Higher levels need more memory for decompression than many systems give.
            Codec::Zstd => (1..=19, 3),
        };
        let level = level.unwrap_or(usual);
        levels.contains(&level).then_some(Self { codec, level })
    }

    /// Does the same for a codec's name: `none`, `gzip` or `zstd`. It is `None` for another name, too.
    pub fn named(codec: &str, level: Option<u8>) -> Option<Self> {
        let codec = match codec {
            "none" => Codec::None,
            "gzip" => Codec::Gzip,
            "zstd" => Codec::Zstd,
            _ => return None,
        };
        Self::new(codec, level)
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        self.codec
    }
}

/// A writer that compresses. Its output depends only on the bytes that are written to it: neither the number of threads
/// nor the size of each write changes it.
///
/// Only [`finish`](Self::finish) ends the compressed data; dropping the encoder doesn't.
pub struct Encoder<W: Write>(Inner<W>);

enum Inner<W: Write> {
    None(W),
    Gzip(Box<Blocks<W>>),
    Zstd(Box<zstandard::Encoder<W>>),
}

impl<W: Write> Encoder<W> {
    /// Compresses into `inner` on at most `n_threads` threads. Without the feature `parallel`, gzip runs on the
    /// caller's thread.
    ///
    /// # Errors
    /// The codec isn't compiled in, a thread can't be started, or `inner` can't be written to.
    pub fn new(inner: W, compression: Compression, n_threads: NonZeroUsize) -> io::Result<Self> {
        let n_threads = n_threads.get().min(MOST_THREADS);
        let level = compression.level;
        Ok(Self(match compression.codec {
            Codec::None => Inner::None(inner),
            Codec::Gzip => Inner::Gzip(Box::new(Blocks::new(inner, level.into(), n_threads)?)),
            Codec::Zstd => {
                Inner::Zstd(Box::new(zstandard::encoder(inner, level.into(), n_threads)?))
            }
        }))
    }

    /// Compresses the rest, ends the compressed data and gives `inner` back.
    ///
    /// # Errors
    /// `inner` can't be written to, or a compressing thread has stopped.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::None(inner) => Ok(inner),
            Inner::Gzip(blocks) => blocks.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::None(inner) => inner.write(bytes),
            Inner::Gzip(blocks) => blocks.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Flushes the inner writer. Bytes that aren't compressed yet stay until their block is full.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Inner::None(inner) => inner.flush(),
            Inner::Gzip(blocks) => blocks.flush(),
            Inner::Zstd(encoder) => zstandard::flush_below(encoder),
        }
    }
}

impl<W: Write> fmt::Debug for Encoder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = match self.0 {
            Inner::None(_) => Codec::None,
            Inner::Gzip(_) => Codec::Gzip,
            Inner::Zstd(_) => Codec::Zstd,
        };
        f.debug_tuple("Encoder").field(&codec).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::Decoder;
    use super::*;

    const CODECS: &[Codec] = &[
        Codec::None,
        Codec::Gzip,
        #[cfg(feature = "zstd")]
        Codec::Zstd,
    ];

    fn encode(codec: Codec, pieces: &mut dyn Iterator<Item = &[u8]>, n_threads: usize) -> Vec<u8> {
        encode_at(Compression::new(codec, None).unwrap(), pieces, n_threads)
    }

    fn encode_at(
        compression: Compression,
        pieces: &mut dyn Iterator<Item = &[u8]>,
        n_threads: usize,
    ) -> Vec<u8> {
        let n_threads = NonZeroUsize::new(n_threads).unwrap();
        let mut encoder = Encoder::new(Vec::new(), compression, n_threads).unwrap();
        pieces.for_each(|piece| encoder.write_all(piece).unwrap());
        encoder.finish().unwrap()
    }

    /// Bytes that compress as files do: pieces of any length that were there before, and others between.
    fn content(size: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut content: Vec<u8> = b"layer".to_vec();
        while content.len() < size {
            let most = 1 << random(9);
            let length = 3 + random(most);
            let from = content.len().saturating_sub(1 + random(70_000));
            content.extend_from_within(from..content.len().min(from + length));
            content
                .extend((0..random(12)).map(|_| random(16).to_le_bytes()[0]).collect::<Vec<_>>());
        }
        content.truncate(size);
        content
    }

    #[test]
    fn what_is_compressed_decompresses() {
        for size in [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5_000_000] {
            let content = content(size);
            for &codec in CODECS {
                let encoded = encode(codec, &mut std::iter::once(&content[..]), 2);
                let mut decoded = Vec::new();
                let mut decoder = Decoder::new(&encoded[..]).unwrap();
                decoder.read_to_end(&mut decoded).unwrap();
                assert!(decoded == content, "{codec:?}, {size} bytes");
                assert!(size == 0 || decoder.codec() == codec);
            }
        }
    }

    #[test]
    fn the_bytes_depend_on_neither_threads_nor_pieces() {
        let content = content(9_000_000);
        for &codec in CODECS {
            let one = encode(codec, &mut std::iter::once(&content[..]), 1);
            for n_threads in [2, 8] {
                assert!(encode(codec, &mut content.chunks(77_777), n_threads) == one, "{codec:?}");
            }
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn hard_levels_want_no_more_of_whoever_decompresses_and_are_the_same_bytes_too() {
        let content = content(6_000_000);
        let level = Compression::new(Codec::Zstd, Some(12)).unwrap();
        let one = encode_at(level, &mut std::iter::once(&content[..]), 1);
        assert!(encode_at(level, &mut content.chunks(77_777), 4) == one);
        assert!(one.len() < encode(Codec::Zstd, &mut std::iter::once(&content[..]), 1).len());
        // What follows the magic number and the descriptor is the window's exponent: 10 less, above three bits.
        assert_eq!((one[4] & 0x20, one[5] >> 3), (0, 22 - 10));
        let window = |level| {
            let level = Compression::new(Codec::Zstd, Some(level)).unwrap();
            let encoded = encode_at(level, &mut content.chunks(77_777).take(2), 1);
            u32::from(encoded[5] >> 3) + 10
        };
        assert_eq!([window(3), window(19)], [21, 22], "the tables of easy levels are zstd's own");
    }

    #[test]
    fn a_level_is_one_that_the_codec_has() {
        let has = |codec, level| Compression::new(codec, Some(level)).is_some();
        assert!(has(Codec::Gzip, 1) && has(Codec::Gzip, 9) && has(Codec::Zstd, 19));
        assert!(!has(Codec::Gzip, 0) && !has(Codec::Gzip, 10) && !has(Codec::Zstd, 20));
        assert!(!has(Codec::None, 1));
        let named = |name, level| Compression::named(name, level).map(Compression::codec);
        assert_eq!(named("gzip", None), Some(Codec::Gzip));
        assert_eq!(named("zstd", Some(19)), Some(Codec::Zstd));
        assert_eq!(named("none", None), Some(Codec::None));
        assert_eq!((named("none", Some(1)), named("xz", None)), (None, None));
    }

    #[test]
    fn an_error_of_what_is_below_comes_through() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for &codec in CODECS {
            let compression = Compression::new(codec, None).unwrap();
            let encode = || {
                let mut encoder = Encoder::new(Full, compression, NonZeroUsize::MIN)?;
                encoder.write_all(&content(20_000_000))?;
                encoder.finish().map(drop)
            };
            let error = encode().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{codec:?}");
        }
    }
}
