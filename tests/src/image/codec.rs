//! How a layer's tar becomes a blob: as it is, gzip or zstd, with the odd forms both allow.

use std::io::Write as _;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use zstd::zstd_safe::CParameter;

use crate::or_panic::OrPanic as _;

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip(Gzip),
    /// RFC 8878.
    Zstd(Zstd),
}

/// What a gzip blob may hold besides the data; start from [`Gzip::PLAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gzip {
    /// How many members the data are cut into.
    pub members: usize,
    /// deflate's level, 0 to 9.
    pub level: u32,
    /// FNAME.
    pub name: Option<&'static [u8]>,
    /// FEXTRA.
    pub extra: Option<&'static [u8]>,
    /// FHCRC: the header ends with its own check sum.
    pub header_crc: bool,
    /// MTIME.
    pub mtime: u32,
    /// Zero bytes after the last member.
    pub padding: usize,
}

/// What a zstd blob may hold besides the data; start from [`Zstd::PLAIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zstd {
    /// How many frames the data are cut into.
    pub frames: usize,
    /// zstd's level.
    pub level: i32,
    /// Whether a skippable frame stands before each frame and at the end.
    pub skippable: bool,
    /// The window's size as a power of two.
    pub window_log: Option<u32>,
    /// Whether each frame ends with a check sum.
    pub checksum: bool,
}

impl Gzip {
    /// One member and nothing else.
    pub const PLAIN: Self = Self {
        members: 1,
        level: 6,
        name: None,
        extra: None,
        header_crc: false,
        mtime: 0,
        padding: 0,
    };

    fn encode(self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in cut(plain, self.members) {
            self.member(&mut out, part);
        }
        out.resize(out.len() + self.padding, 0);
        out
    }

    fn member(self, out: &mut Vec<u8>, plain: &[u8]) {
        let start = out.len();
        let flags = u8::from(self.header_crc) << 1
            | u8::from(self.extra.is_some()) << 2
            | u8::from(self.name.is_some()) << 3;
        out.extend([0x1f, 0x8b, 8, flags]);
        out.extend(self.mtime.to_le_bytes());
        out.extend([0, 255]);
        if let Some(extra) = self.extra {
            out.extend(u16::try_from(extra.len()).or_panic("a short FEXTRA").to_le_bytes());
            out.extend(extra);
        }
        if let Some(name) = self.name {
            out.extend(name);
            out.push(0);
        }
        if self.header_crc {
            let sum = crc(&out[start..]).to_le_bytes();
            out.extend(&sum[..2]);
        }
        let mut encoder = DeflateEncoder::new(out, Compression::new(self.level));
        encoder.write_all(plain).or_panic("deflate");
        let out = encoder.finish().or_panic("deflate");
        out.extend(crc(plain).to_le_bytes());
        let size = u32::try_from(plain.len() & 0xffff_ffff).or_panic("a masked size");
        out.extend(size.to_le_bytes());
    }
}

impl Zstd {
    /// One frame and nothing else.
    pub const PLAIN: Self =
        Self { frames: 1, level: 3, skippable: false, window_log: None, checksum: true };

    fn encode(self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for part in cut(plain, self.frames) {
            self.skip(&mut out);
            let mut encoder = zstd::Encoder::new(&mut out, self.level).or_panic("start zstd");
            encoder.include_checksum(self.checksum).or_panic("set a zstd parameter");
            if let Some(log) = self.window_log {
                encoder.set_parameter(CParameter::WindowLog(log)).or_panic("set a zstd parameter");
            }
            encoder.write_all(part).or_panic("zstd");
            encoder.finish().or_panic("zstd");
        }
        self.skip(&mut out);
        out
    }

    fn skip(self, out: &mut Vec<u8>) {
        if self.skippable {
            out.extend(0x184d_2a53_u32.to_le_bytes());
            out.extend(5_u32.to_le_bytes());
            out.extend(b"skip!");
        }
    }
}

impl Codec {
    /// Gzip as everybody writes it.
    pub const GZIP: Self = Self::Gzip(Gzip::PLAIN);
    /// Zstd as everybody writes it.
    pub const ZSTD: Self = Self::Zstd(Zstd::PLAIN);
    /// No, gzip and zstd compression, all without oddities.
    pub const ALL: [Self; 3] = [Self::None, Self::GZIP, Self::ZSTD];

    /// The blob.
    pub fn encode(self, plain: &[u8]) -> Vec<u8> {
        match self {
            Self::None => plain.to_vec(),
            Self::Gzip(gzip) => gzip.encode(plain),
            Self::Zstd(zstd) => zstd.encode(plain),
        }
    }

    /// The blob's media type in the words of a schema.
    pub fn media_type(self, schema: super::Schema) -> &'static str {
        match (schema, self) {
            (super::Schema::Oci, Self::None) => "application/vnd.oci.image.layer.v1.tar",
            (super::Schema::Oci, Self::Gzip(_)) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (super::Schema::Oci, Self::Zstd(_)) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (super::Schema::Docker, Self::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (super::Schema::Docker, Self::Gzip(_)) => {
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
            }
            (super::Schema::Docker, Self::Zstd(_)) => {
                "application/vnd.docker.image.rootfs.diff.tar.zstd"
            }
        }
    }
}

/// The data in `n` pieces of nearly one size; at least one, which may be empty.
fn cut(plain: &[u8], n: usize) -> Vec<&[u8]> {
    let n = n.max(1);
    (0..n).map(|i| &plain[plain.len() * i / n..plain.len() * (i + 1) / n]).collect()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Undoes whatever compression the bytes begin with, to the very end.
pub(crate) fn decode(blob: &[u8]) -> Result<Vec<u8>, String> {
    let skippable = matches!(blob, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    match blob {
        [0x1f, 0x8b, ..] => gunzip(blob),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => unzstd(blob),
        _ if skippable => unzstd(blob),
        _ => Ok(blob.to_vec()),
    }
}

fn unzstd(blob: &[u8]) -> Result<Vec<u8>, String> {
    zstd::decode_all(blob).map_err(|error| format!("zstd: {error}"))
}

fn gunzip(mut blob: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    while blob.starts_with(&[0x1f, 0x8b]) {
        let mut member = flate2::bufread::GzDecoder::new(blob);
        std::io::copy(&mut member, &mut plain).map_err(|error| format!("gzip: {error}"))?;
        blob = member.into_inner();
    }
    if blob.iter().any(|byte| *byte != 0) {
        return Err(format!("gzip: {} bytes after the last member", blob.len()));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_decodes_to_the_same_bytes() {
        let plain: Vec<u8> = (0..40_000u32).flat_map(u32::to_le_bytes).collect();
        let odd = Gzip {
            members: 3,
            name: Some(b"layer.tar"),
            extra: Some(b"ab\x02\x00xy"),
            header_crc: true,
            mtime: 7,
            padding: 600,
            ..Gzip::PLAIN
        };
        let frames = Zstd { frames: 4, skippable: true, window_log: Some(20), ..Zstd::PLAIN };
        for codec in [Codec::None, Codec::GZIP, Codec::ZSTD, Codec::Gzip(odd), Codec::Zstd(frames)]
        {
            assert_eq!(decode(&codec.encode(&plain)).unwrap(), plain, "{codec:?}");
            assert_eq!(decode(&codec.encode(b"")).unwrap(), b"", "{codec:?}");
        }
    }

    #[test]
    fn a_cut_or_changed_blob_does_not_decode() {
        let plain = vec![b'x'; 10_000];
        for codec in [Codec::GZIP, Codec::ZSTD] {
            let blob = codec.encode(&plain);
            decode(&blob[..blob.len() - 1]).unwrap_err();
            let mut flipped = blob.clone();
            let last = flipped.len() - 2;
            flipped[last] ^= 1;
            decode(&flipped).unwrap_err();
        }
    }
}
