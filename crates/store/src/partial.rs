//! Blobs that are being written.
//!
//! A download goes to a file named for its digest, which one program at a time has locked and the next can finish. A blob of an
//! archive goes to a file of its own, because a pipe can't be resumed and waiting for another program's pipe could take for ever.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use layer_format::{Algorithm, Descriptor, Digest, Hasher};

use crate::Result;
use crate::error::Error;
use crate::lease::Lease;
use crate::locked_file::{self, AtDrop, IfMissing, LockedFile, Taken};
use crate::store::{Folder, Store};

/// How often [`Lease::partial`] asks whether another program's download is over.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The size of the buffer for reading a partial download, in bytes.
const BUFFER: usize = 256 << 10;

/// The outcome of [`Lease::claim`].
#[derive(Debug)]
pub enum Claim {
    /// The store has the blob.
    Present,
    /// Another running program is downloading it.
    Busy {
        /// How many bytes that program has written so far.
        n_bytes: u64,
    },
    /// The caller is to download it, from [`Partial::offset`] on.
    Ours(Partial),
}

/// A blob that is not whole yet.
///
/// If it is dropped without [`commit`](Self::commit), the bytes of a download stay for the next program. The bytes of any other
/// blob are removed, and so are bytes with a wrong digest or size, and those that came before the disk was full.
#[derive(Debug)]
pub struct Partial {
    lease: Lease,
    file: LockedFile,
    expected: Option<Expected>,
    if_dropped: AtDrop,
    hashed: Hashed,
    /// The bytes that the file had at the beginning.
    before: Hashed,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    digest: Digest,
    size: u64,
}

/// The number of bytes that were hashed, from the first on, and the hash of them.
#[derive(Clone, Debug)]
struct Hashed {
    size: u64,
    hasher: Box<Hasher>,
}

impl Lease {
    /// Begins or resumes the download of a blob, unless another program is downloading it.
    pub fn claim(&self, wanted: &Descriptor) -> Result<Claim> {
        let is_there = || self.has(&wanted.digest, wanted.size);
        if is_there()? {
            return Ok(Claim::Present);
        }
        let mut file = match LockedFile::take(
            partial_path(self.store(), &wanted.digest),
            IfMissing::Create,
        )? {
            Taken::Mine(file) => file,
            Taken::Busy(file) => {
                let n_bytes = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
                return Ok(Claim::Busy { n_bytes });
            }
            Taken::Gone => return Ok(Claim::Busy { n_bytes: 0 }),
        };
        // The program that had it until now may have finished it.
        if is_there()? {
            file.at_drop(AtDrop::Remove);
            return Ok(Claim::Present);
        }
        let expected = Expected { digest: wanted.digest, size: wanted.size };
        Ok(Claim::Ours(Partial::resume(self.clone(), file, expected)?))
    }

    /// Begins or resumes the download of a blob, and waits while other programs download it. `None` if the store has it.
    pub fn partial(&self, wanted: &Descriptor) -> Result<Option<Partial>> {
        loop {
            match self.claim(wanted)? {
                Claim::Present => return Ok(None),
                Claim::Ours(partial) => return Ok(Some(partial)),
                Claim::Busy { .. } => std::thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// Begins a blob that arrives whole or not at all. Without `expected`, its digest and size are unknown until its end.
    pub fn incoming(&self, expected: Option<&Descriptor>) -> Result<Partial> {
        let expected = expected.map(|it| Expected { digest: it.digest, size: it.size });
        let file = LockedFile::create(&self.store().folder(Folder::Temp))?;
        let before = Hashed::nothing(expected.as_ref());
        let hashed = before.clone();
        let if_dropped = AtDrop::Remove;
        Ok(Partial { lease: self.clone(), file, expected, if_dropped, hashed, before })
    }
}

impl Partial {
    /// The number of bytes that are there; a download continues at this offset.
    pub fn offset(&self) -> u64 {
        self.hashed.size
    }

    /// The size of the whole blob in bytes, if it is known.
    pub fn size(&self) -> Option<u64> {
        self.expected.map(|expected| expected.size)
    }

    /// The digest of the bytes that are there.
    pub fn digest(&self) -> Digest {
        Hasher::clone(&self.hashed.hasher).finish()
    }

    /// Appends the next bytes.
    ///
    /// # Errors
    /// [`layer_format::Error::SizeMismatch`] if there are more bytes than expected; then the file is removed when this is dropped.
    /// [`Error::Io`] if they can't be written. If the disk is full, all bytes that were appended since this was made are removed.
    pub fn write_all(&mut self, content: &[u8]) -> Result<()> {
        let end = self.hashed.size + content.len() as u64;
        if let Some(Expected { digest, size }) = self.expected.filter(|it| end > it.size) {
            self.spoil();
            return Err(layer_format::Error::SizeMismatch {
                digest,
                expected: size,
                found: size + 1,
            }
            .into());
        }
        if let Err(error) = self.file.file().write_all_at(content, self.hashed.size) {
            if is_full(&error) {
                self.hashed = self.before.clone();
            }
            // If that fails as well, the program that resumes hashes the extra bytes like all others.
            self.file.cut(self.hashed.size).ok();
            self.decide();
            return Err(Error::io("writing", self.file.path())(error));
        }
        self.hashed.hasher.update(content);
        self.hashed.size = end;
        self.decide();
        Ok(())
    }

    /// Removes all bytes and begins again, for a server that can't continue in the middle.
    pub fn restart(&mut self) -> Result<()> {
        self.file.cut(0)?;
        self.hashed = Hashed::nothing(self.expected.as_ref());
        self.before = self.hashed.clone();
        self.decide();
        Ok(())
    }

    /// A second handle at the beginning of the file, with which another thread may read the bytes written so far, and later those
    /// that follow. It stays valid after [`commit`](Self::commit).
    pub fn reader(&self) -> Result<File> {
        File::open(self.file.path()).map_err(Error::io("opening", self.file.path()))
    }

    /// Checks size and digest of the bytes that are there, and returns the digest. Unlike [`commit`](Self::commit), it doesn't wait
    /// for the disk.
    ///
    /// # Errors
    /// [`layer_format::Error::SizeMismatch`] if there are too few bytes; those of a download stay for the next program.
    /// [`layer_format::Error::DigestMismatch`] if they are wrong; then they are removed when this is dropped.
    pub fn check(&mut self) -> Result<Digest> {
        let found = self.digest();
        let Some(Expected { digest, size }) = self.expected else { return Ok(found) };
        if self.hashed.size < size {
            let found = self.hashed.size;
            return Err(layer_format::Error::SizeMismatch { digest, expected: size, found }.into());
        }
        if found != digest {
            self.spoil();
            return Err(layer_format::Error::DigestMismatch {
                what: "blob",
                expected: digest.into(),
                found: found.into(),
            }
            .into());
        }
        Ok(found)
    }

    /// Checks and syncs the blob, and gives it its name.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), and [`Error::Io`] if it can't be synced or renamed.
    pub fn commit(mut self) -> Result<Digest> {
        let found = self.check()?;
        let Self { lease, mut file, .. } = self;
        lease.protect(&[found])?;
        // If it can't be synced or renamed, there is no telling what is on the disk.
        file.at_drop(AtDrop::Remove);
        lease.store().place(file, &found)?;
        Ok(found)
    }

    /// Removes the bytes that are there.
    pub fn discard(mut self) {
        self.spoil();
    }

    fn resume(lease: Lease, file: LockedFile, expected: Expected) -> Result<Self> {
        if file.size()? > expected.size {
            file.cut(0)?;
        }
        let before = Hashed::read(&file, expected)?;
        let hashed = before.clone();
        let if_dropped = AtDrop::Keep;
        let mut partial =
            Self { lease, file, expected: Some(expected), if_dropped, hashed, before };
        partial.decide();
        Ok(partial)
    }

    /// Decides whether the file stays when this is dropped. An empty one never does.
    fn decide(&mut self) {
        let is_empty = self.hashed.size == 0;
        self.file.at_drop(if is_empty { AtDrop::Remove } else { self.if_dropped });
    }

    fn spoil(&mut self) {
        self.if_dropped = AtDrop::Remove;
        self.decide();
    }
}

impl Hashed {
    fn nothing(expected: Option<&Expected>) -> Self {
        let algorithm = expected.map_or(Algorithm::Sha256, |it| it.digest.algorithm());
        Self { size: 0, hasher: Box::new(Hasher::new(algorithm)) }
    }

    fn read(owned: &LockedFile, expected: Expected) -> Result<Self> {
        let mut hashed = Self::nothing(Some(&expected));
        let mut buffer = vec![0; BUFFER];
        let mut file = owned.file().take(expected.size);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hashed),
                Ok(n) => {
                    hashed.hasher.update(&buffer[..n]);
                    hashed.size += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("reading", owned.path())(error)),
            }
        }
    }
}

impl Store {
    /// How many bytes of a blob an interrupted download has left, or a running one has brought; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Io`] if the store can't be read.
    pub fn partial_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let found = locked_file::metadata(&partial_path(self, digest))?;
        Ok(found.map(|metadata| metadata.len()))
    }
}

/// The path of a blob's partial download.
pub(crate) fn partial_path(store: &Store, digest: &Digest) -> std::path::PathBuf {
    store.folder(Folder::Partial).join(file_name(digest))
}

/// A digest as one component of a path.
pub(crate) fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

/// The digest that a file is named for.
pub(crate) fn from_file_name(path: &std::path::Path) -> Option<Digest> {
    path.file_name()?.to_str()?.replacen('-', ":", 1).parse().ok()
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull)
}
