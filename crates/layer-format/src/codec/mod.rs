//! How layers and archives are compressed: not at all, with gzip or with zstd.
//!
//! The codec is known by the content, because a media type may lie. Gzip may have several members, and zeros after the
//! last one. Zstd may have several frames, some of them skippable. Anything else after the data is refused, and so is a
//! missing or wrong check sum.

#[cfg(not(feature = "parallel"))]
mod caller;
mod encode;
mod gunzip;
mod gzip;
#[cfg(not(feature = "zstd"))]
mod no_zstd;
#[cfg(feature = "parallel")]
mod threads;
#[cfg(feature = "zstd")]
mod zstandard;

use std::io::{self, BufRead, Chain, Cursor, Read};
use std::sync::Arc;

use crate::descriptor::media_type;
use crate::error::Error;

pub use encode::{Compression, Encoder};
pub use gunzip::{Checkpoint, SeekIndex};

#[cfg(not(feature = "parallel"))]
use caller::{Pending, Workers};
use gunzip::{Indexed, Members, Padding};
#[cfg(feature = "parallel")]
use threads::{Pending, Workers};

#[cfg(not(feature = "zstd"))]
use no_zstd as zstandard;

/// The number of bytes that are enough to tell all codecs apart.
pub const MAGIC_SIZE: usize = 6;

/// A compression format of a layer or an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not compressed.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// The codec of data that begins with `start`. Four bytes are needed, or all bytes if there are fewer.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The media type of a layer that is compressed in this way.
    pub fn layer_type(self) -> &'static str {
        match self {
            Self::None => media_type::OCI_LAYER,
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }
}

/// A codec that some other tools accept and Strata doesn't. The error names it, which helps more than "malformed tar".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignCodec {
    /// Its usual name.
    pub name: &'static str,
    /// The command that decompresses it, without the file's name.
    pub undo: &'static str,
}

impl ForeignCodec {
    /// The foreign codec of data that begins with `start`, which should have [`MAGIC_SIZE`] bytes.
    pub fn sniff(start: &[u8]) -> Option<Self> {
        let (name, undo) = match start {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => ("xz", "xz -dc"),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', ..] => ("bzip2", "bzip2 -dc"),
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => ("lz4", "lz4 -dc"),
            [b'L', b'Z', b'I', b'P', 0 | 1, ..] => ("lzip", "lzip -dc"),
            [0x89, b'L', b'Z', b'O', 0, ..] => ("lzop", "lzop -dc"),
            // A tar begins with a name, and zeros follow the name.
            [0x5d, 0, 0, 1..=255, ..] => ("lzma", "xz --format=lzma -dc"),
            [0x1f, 0x9d, ..] => ("compress", "zcat"),
            [b'P', b'K', 3, 4, ..] => ("zip", "unzip -p"),
            _ => return None,
        };
        Some(Self { name, undo })
    }

    /// The error that says that `what` is compressed with this codec.
    pub fn refuse(self, what: &'static str) -> Error {
        Error::ForeignCodec { what, codec: self.name, undo: self.undo }
    }
}

type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// A reader that decompresses its input, in any of the codecs. At its end, it has read the input to the end, too.
pub struct Decoder<R: BufRead>(Inner<R>);

enum Inner<R: BufRead> {
    None(Peeked<R>),
    Gzip(Box<Members<Peeked<R>>>),
    Indexed(Box<Indexed<R>>),
    Zstd(Box<zstandard::Decoder<Peeked<R>>>),
}

impl<R: BufRead> Decoder<R> {
    /// Reads the first bytes of `inner` to find out its codec.
    ///
    /// # Errors
    /// `inner` can't be read. If the codec is foreign or isn't compiled in, the `io::Error` holds an [`Error`].
    pub fn new(inner: R) -> io::Result<Self> {
        Self::with(inner, |peeked| Members::new(peeked, Padding::Allowed))
    }

    /// The same for compressed data that is passed on as it is: zeros after the last member of a gzip file are refused, because
    /// not every reader takes them.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn strict(inner: R) -> io::Result<Self> {
        Self::with(inner, |peeked| Members::new(peeked, Padding::Refused))
    }

    /// The same as [`new`](Self::new), and looks for places at which decompressing can begin. At the end,
    /// [`take_index`](Self::take_index) has them.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn recording(inner: R) -> io::Result<Self> {
        Self::with(inner, Members::recording)
    }

    /// Decompresses the gzip data that an index is about, from the checkpoint at a position on, several parts at once. `inner`
    /// must begin at [`SeekIndex::begin`] of it.
    ///
    /// The trailers of members aren't checked, nor what comes after the last one: it is the same data as that of which the index
    /// was made, by its digest.
    pub fn indexed(inner: R, index: Arc<SeekIndex>, position: usize) -> Self {
        Self(Inner::Indexed(Box::new(Indexed::new(inner, index, position))))
    }

    /// The index that [`recording`](Self::recording) has made. `None` before the end, and for data that isn't gzip or too short to
    /// have any use for it.
    pub fn take_index(&mut self) -> Option<SeekIndex> {
        match &mut self.0 {
            Inner::Gzip(members) => members.take_index(),
            Inner::None(_) | Inner::Indexed(_) | Inner::Zstd(_) => None,
        }
    }

    fn with(mut inner: R, gzip: impl FnOnce(Peeked<R>) -> Members<Peeked<R>>) -> io::Result<Self> {
        let mut start = Vec::with_capacity(MAGIC_SIZE);
        inner.by_ref().take(MAGIC_SIZE as u64).read_to_end(&mut start)?;
        let codec = Codec::sniff(&start);
        if let Some(foreign) = ForeignCodec::sniff(&start) {
            return Err(foreign.refuse("the input").into());
        }
        let peeked = Cursor::new(start).chain(inner);
        Ok(Self(match codec {
            Codec::None => Inner::None(peeked),
            Codec::Gzip => Inner::Gzip(Box::new(gzip(peeked))),
            Codec::Zstd => Inner::Zstd(Box::new(zstandard::decoder(peeked)?)),
        }))
    }

    /// The codec of the input.
    pub fn codec(&self) -> Codec {
        match self.0 {
            Inner::None(_) => Codec::None,
            Inner::Gzip(_) | Inner::Indexed(_) => Codec::Gzip,
            Inner::Zstd(_) => Codec::Zstd,
        }
    }
}

impl<R: BufRead> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Decoder").field(&self.codec()).finish()
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::None(inner) => inner.read(buffer),
            Inner::Gzip(inner) => inner.read(buffer).map_err(|source| explain("gzip", source)),
            Inner::Indexed(inner) => inner.read(buffer).map_err(|source| explain("gzip", source)),
            Inner::Zstd(inner) => inner.read(buffer).map_err(|source| explain("zstd", source)),
        }
    }
}

/// Wraps errors of the decoder. Errors of the input below it pass unchanged.
fn explain(codec: &'static str, source: io::Error) -> io::Error {
    let is_ours = source.get_ref().is_some_and(|inner| inner.downcast_ref::<Error>().is_some());
    match source.kind() {
        _ if is_ours || source.raw_os_error().is_some() => source,
        io::ErrorKind::UnexpectedEof => Error::Truncated { what: format!("{codec} data") }.into(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            Error::MalformedCompression { codec, source }.into()
        }
        _ => source,
    }
}

/// Compresses a little quickly, into a form that [`Decoder`] reads.
fn pack_fast(content: &[u8]) -> io::Result<Vec<u8>> {
    zstandard::pack_fast(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[cfg(feature = "zstd")]
    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::encode_all(content, 3).unwrap()
    }

    fn decode(input: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        // Seven bytes at a time, so that nothing depends on where a buffer ends.
        let mut decoder = Decoder::new(io::BufReader::with_capacity(7, input))?;
        decoder.read_to_end(&mut output)?;
        Ok(output)
    }

    #[cfg(feature = "zstd")]
    const SKIPPABLE: &[u8] = b"\x53\x2a\x4d\x18\x03\0\0\0abc";

    #[test]
    fn content_tells_the_codec() {
        assert_eq!(decode(b"plain").unwrap(), b"plain");
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(&gzip(b"x")).unwrap(), b"x");
        #[cfg(feature = "zstd")]
        assert_eq!(decode(&zstd(b"x")).unwrap(), b"x");
        assert!(decode(b"\xfd7zXZ\0...").unwrap_err().to_string().contains("xz"));
    }

    #[test]
    fn several_members_are_one_content() {
        let members = [gzip(b"one "), gzip(b""), gzip(b"two"), vec![0; 1000]].concat();
        assert_eq!(decode(&members).unwrap(), b"one two");
        let strict = |input: &[u8]| {
            let mut output = Vec::new();
            Decoder::strict(input)?.read_to_end(&mut output).map(|_| output)
        };
        assert_eq!(strict(&members[..members.len() - 1000]).unwrap(), b"one two");
        strict(&members).unwrap_err();
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn several_frames_are_one_content() {
        let frames = [SKIPPABLE, &zstd(b"one "), SKIPPABLE, &zstd(b"two"), SKIPPABLE].concat();
        assert_eq!(decode(&frames).unwrap(), b"one two");
    }

    #[test]
    fn optional_gzip_header_fields_are_read() {
        let encoder = flate2::GzBuilder::new().filename("n").comment("c").extra(vec![1; 20]);
        let mut encoder = encoder.write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"content").unwrap();
        assert_eq!(decode(&encoder.finish().unwrap()).unwrap(), b"content");
    }

    #[test]
    fn cut_and_damaged_input_is_refused() {
        let content: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
        let stored = [
            gzip(&content),
            #[cfg(feature = "zstd")]
            zstd(&content),
        ];
        for whole in stored {
            for length in (1..whole.len()).filter(|length| *length >= 6) {
                assert!(decode(&whole[..length]).is_err(), "{length}");
            }
            assert!(decode(&[&whole, b"garbage" as &[u8]].concat()).is_err());
        }
        let mut damaged = gzip(&content);
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        let error = Error::io("reading", decode(&damaged).unwrap_err());
        assert!(matches!(error, Error::MalformedCompression { codec: "gzip", .. }), "{error:?}");
    }

    #[test]
    fn errors_from_below_pass_as_they_are() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(Error::NotFound { what: "x".to_owned() }.into())
            }
        }
        let start = gzip(b"x");
        let input = io::BufReader::new(start[..12].chain(Broken));
        let error = Decoder::new(input).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(matches!(Error::io("reading", error), Error::NotFound { .. }));
    }
}
