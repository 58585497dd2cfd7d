//! Digests, which name content (image-spec, descriptor.md, "Digests").
//!
//! A [`Digest`] is parsed once and can't be malformed afterwards, so a path can be built from it. [`DiffId`] names a
//! layer's uncompressed bytes. It has a type of its own, because it is easily confused with the digest of the stored
//! bytes.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::error::Error;

/// The hash functions of digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`, the usual one.
    Sha256,
    /// `sha512`, which the specification allows.
    Sha512,
}

impl Algorithm {
    /// The name before the colon, which is also that of the folder under `blobs/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn n_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The name of a blob: `sha256:` and 64 hex digits, or `sha512:` and 128.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// The hash, with zeros after a short one.
    bytes: [u8; 64],
}

impl Digest {
    /// The SHA-256 digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(content);
        hasher.finish()
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hex digits after the colon.
    pub fn hex(&self) -> String {
        use fmt::Write;
        let mut hex = String::with_capacity(128);
        for byte in self.bytes() {
            write!(hex, "{byte:02x}").expect("a String takes everything");
        }
        hex
    }

    /// The tag `sha256-…` for the referrers of this digest. A registry without the referrers API lists the referrers
    /// under it, and cosign's tags begin with it. A longer hash is cut to its first 64 digits (distribution-spec,
    /// "Referrers Tag Schema").
    pub fn referrers_tag(&self) -> String {
        let hex = self.hex();
        format!("{}-{}", self.algorithm().name(), hex.get(..64).unwrap_or(&hex))
    }

    /// The first 12 hex digits, the form that `docker images` shows.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    /// The path of the blob in an OCI layout: `blobs/sha256/…`.
    pub fn blob_path(&self) -> String {
        format!("blobs/{}/{}", self.algorithm.name(), self.hex())
    }

    /// The digest in a path `blobs/sha256/…`; `None` for any other path. The content isn't checked.
    pub fn from_blob_path(path: &str) -> Option<Self> {
        let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
        format!("{algorithm}:{hex}").parse().ok()
    }

    /// The chain ID of a stack of layers (image-spec, config.md, "Layer `ChainID`"). `below` is the chain ID of the
    /// stack without its top layer `layer`.
    pub fn chain(below: Option<&Self>, layer: &DiffId) -> Self {
        match below {
            None => layer.0,
            Some(below) => Self::of(format!("{below} {}", layer.0).as_bytes()),
        }
    }

    fn new(algorithm: Algorithm, hash: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..hash.len()].copy_from_slice(hash);
        Self { algorithm, bytes }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.n_bytes()]
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| Error::MalformedDigest { text: text.chars().take(160).collect() })
    }
}

fn parse(text: &str) -> Option<Digest> {
    let (algorithm, hex) = match text.split_once(':')? {
        ("sha256", hex) => (Algorithm::Sha256, hex),
        ("sha512", hex) => (Algorithm::Sha512, hex),
        _ => return None,
    };
    if hex.len() != algorithm.n_bytes() * 2 {
        return None;
    }
    let mut bytes = [0; 64];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(Digest { algorithm, bytes })
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The digest of a layer's uncompressed tar (image-spec, config.md, "Layer `DiffID`").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Computes a [`Digest`] piece by piece.
///
/// SHA-256 is the most expensive stage of an unpack. The `sha2` crate is as fast as any where the processor has
/// instructions for it. On other processors, ring's vector code takes 0.6 of the time (docs/performance.md).
#[derive(Clone)]
pub struct Hasher(Engine);

#[derive(Clone)]
enum Engine {
    Instructions(sha2::Sha256),
    Vector(ring::digest::Context),
    Wide(ring::digest::Context),
}

impl Hasher {
    /// Begins a digest.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 if cpu_hashes() => Engine::Instructions(sha2::Sha256::new()),
            Algorithm::Sha256 => Engine::Vector(ring::digest::Context::new(&ring::digest::SHA256)),
            Algorithm::Sha512 => Engine::Wide(ring::digest::Context::new(&ring::digest::SHA512)),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, content: &[u8]) {
        match &mut self.0 {
            Engine::Instructions(engine) => engine.update(content),
            Engine::Vector(engine) | Engine::Wide(engine) => engine.update(content),
        }
    }

    /// The digest of all bytes that were added.
    pub fn finish(self) -> Digest {
        match self.0 {
            Engine::Instructions(engine) => Digest::new(Algorithm::Sha256, &engine.finalize()),
            Engine::Vector(engine) => Digest::new(Algorithm::Sha256, engine.finish().as_ref()),
            Engine::Wide(engine) => Digest::new(Algorithm::Sha512, engine.finish().as_ref()),
        }
    }
}

impl Write for Hasher {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.update(content);
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_hashes() -> bool {
    std::arch::is_x86_feature_detected!("sha")
}

#[cfg(target_arch = "aarch64")]
fn cpu_hashes() -> bool {
    std::arch::is_aarch64_feature_detected!("sha2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_hashes() -> bool {
    false
}

/// A reader that checks its bytes against a digest, and against a size if that is known.
///
/// A mismatch is reported in place of the end of file, so a caller that reads to the end can't overlook it. The
/// `io::Error` holds an [`Error`]: [`Error::DigestMismatch`] or [`Error::SizeMismatch`]. A stream that is too long
/// fails at the first byte beyond its size.
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    what: &'static str,
    expected: Digest,
    size: Option<u64>,
    seen: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> Verified<R> {
    /// Expects the digest `expected` of `inner`, and `size` bytes if that is known. `what` names the content in errors.
    pub fn new(inner: R, what: &'static str, expected: Digest, size: Option<u64>) -> Self {
        let hasher = Some(Hasher::new(expected.algorithm()));
        Self { inner, what, expected, size, seen: 0, hasher }
    }

    /// The inner reader.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn too_long(&self) -> bool {
        self.size.is_some_and(|size| self.seen > size)
    }

    fn check(&self, found: Digest) -> Result<(), Error> {
        if let Some(expected) = self.size.filter(|&size| size != self.seen) {
            return Err(Error::SizeMismatch { digest: self.expected, expected, found: self.seen });
        }
        if found == self.expected {
            return Ok(());
        }
        Err(Error::DigestMismatch {
            what: self.what,
            expected: self.expected.into(),
            found: found.into(),
        })
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n == 0 && !buffer.is_empty() {
            return match self.hasher.take() {
                Some(hasher) => Ok(self.check(hasher.finish()).map(|()| 0)?),
                None => Ok(0),
            };
        }
        self.seen += n as u64;
        if self.too_long() {
            let expected = self.size.unwrap_or_default();
            return Err(Error::SizeMismatch {
                digest: self.expected,
                expected,
                found: expected + 1,
            }
            .into());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..n]);
        }
        Ok(n)
    }
}

/// A reader or writer that hashes and counts the bytes that pass through it.
#[derive(Debug)]
pub struct Hashing<T> {
    inner: T,
    hasher: Hasher,
    n_bytes: u64,
}

impl<T> Hashing<T> {
    /// Wraps `inner`, which is a reader or a writer.
    pub fn new(inner: T, algorithm: Algorithm) -> Self {
        Self { inner, hasher: Hasher::new(algorithm), n_bytes: 0 }
    }

    /// The number of bytes that have passed.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The digest of the bytes that have passed so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// The inner reader or writer.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Ends the hashing and gives the inner reader or writer back.
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.n_bytes += bytes.len() as u64;
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.note(&buffer[..n]);
        Ok(n)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.note(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_reads_back_as_written() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        let wide = format!("sha512:{}", "0f".repeat(64));
        assert_eq!(wide.parse::<Digest>().unwrap().to_string(), wide);
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"abc");
        assert!(hasher.finish().to_string().starts_with("sha512:ddaf35a193617abacc417349ae204131"));
    }

    #[test]
    fn what_is_hashed_on_its_way_arrives_when_it_is_flushed() {
        let mut hashing = Hashing::new(io::BufWriter::new(vec![]), Algorithm::Sha256);
        hashing.write_all(b"abc").unwrap();
        assert_eq!(hashing.inner().get_ref(), b"");
        hashing.flush().unwrap();
        assert_eq!(hashing.inner().get_ref(), b"abc");
    }

    #[test]
    fn odd_spellings_are_refused() {
        let upper = EMPTY.to_uppercase();
        let upper_hex = EMPTY.replace("e3b0", "E3B0");
        let long = format!("{EMPTY}0");
        let slash = EMPTY.replace("e3b0", "../0");
        for text in [
            "",
            "sha256:",
            "sha256",
            "md5:00",
            &upper,
            &upper_hex,
            &long,
            &slash,
            &EMPTY[..70],
            &EMPTY[7..],
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn both_engines_agree() {
        let content = vec![7; 1_000_003];
        let mut vector = Hasher(Engine::Vector(ring::digest::Context::new(&ring::digest::SHA256)));
        let mut instructions = Hasher(Engine::Instructions(sha2::Sha256::new()));
        vector.update(&content);
        instructions.update(&content);
        assert_eq!(vector.finish(), instructions.finish());
    }

    #[test]
    fn other_bytes_never_end_well() {
        let read = |content: &[u8], size| {
            io::copy(&mut Verified::new(content, "blob", Digest::of(b"abc"), size), &mut io::sink())
        };
        assert_eq!(read(b"abc", Some(3)).unwrap(), 3);
        assert_eq!(read(b"abc", None).unwrap(), 3);
        for content in [b"" as &[u8], b"ab", b"abd", b"abcd"] {
            assert!(read(content, Some(3)).is_err());
            assert!(read(content, None).is_err());
        }
    }

    #[test]
    fn the_chain_id_of_one_layer_is_its_diff_id() {
        let base = DiffId(Digest::of(b"base"));
        assert_eq!(Digest::chain(None, &base), base.0);
        let text = format!("{base} {base}");
        assert_eq!(Digest::chain(Some(&base.0), &base), Digest::of(text.as_bytes()));
    }
}
