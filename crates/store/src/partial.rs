//! Blobs on their way in.
//!
//! A download goes to a file named for its digest, which one program at a time has and the next can finish; what comes from an
//! archive goes to a file of its own, because a pipe can't be resumed and waiting for another's pipe could wait for ever.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use layer_format::{Algorithm, Descriptor, Digest, Hasher};

use crate::Result;
use crate::error::Error;
use crate::lease::Lease;
use crate::owned::{AtDrop, IfMissing, Owned, Taken};
use crate::store::{Folder, Store};

const POLL: Duration = Duration::from_millis(50);
const BUFFER: usize = 256 << 10;

/// What came of asking for a download.
#[derive(Debug)]
pub enum Claim {
    /// The blob is there; nothing to do.
    Present,
    /// A running program is downloading it and has so many bytes.
    Busy {
        /// How many bytes it has; grows if it is getting anywhere.
        n_bytes: u64,
    },
    /// It is ours to bring.
    Ours(Partial),
}

/// A blob that is not whole yet.
///
/// Dropped without [`commit`](Self::commit), a download's bytes stay for the next program; everything else goes. So do bytes
/// that turned out wrong, and those for which the disk had no room.
#[derive(Debug)]
pub struct Partial {
    lease: Lease,
    file: Owned,
    expected: Option<Expected>,
    if_dropped: AtDrop,
    hashed: Hashed,
    /// What was there when we came.
    before: Hashed,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    digest: Digest,
    size: u64,
}

/// The first so many bytes.
#[derive(Clone, Debug)]
struct Hashed {
    size: u64,
    hasher: Box<Hasher>,
}

impl Lease {
    /// Asks for the download of a blob, without waiting for a program that is at it.
    pub fn claim(&self, wanted: &Descriptor) -> Result<Claim> {
        let is_there = || self.has(&wanted.digest, wanted.size);
        if is_there()? {
            return Ok(Claim::Present);
        }
        let mut file =
            match Owned::take(partial_path(self.store(), &wanted.digest), IfMissing::Create)? {
                Taken::Mine(file) => file,
                Taken::Busy(file) => {
                    let n_bytes =
                        file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
                    return Ok(Claim::Busy { n_bytes });
                }
                Taken::Gone => return Ok(Claim::Busy { n_bytes: 0 }),
            };
        // Who had it until now may have finished it.
        if is_there()? {
            file.at_drop(AtDrop::Remove);
            return Ok(Claim::Present);
        }
        let expected = Expected { digest: wanted.digest, size: wanted.size };
        Ok(Claim::Ours(Partial::resume(self.clone(), file, expected)?))
    }

    /// Asks for the download of a blob, waiting for programs that are at it. `None` if it is there.
    pub fn partial(&self, wanted: &Descriptor) -> Result<Option<Partial>> {
        loop {
            match self.claim(wanted)? {
                Claim::Present => return Ok(None),
                Claim::Ours(partial) => return Ok(Some(partial)),
                Claim::Busy { .. } => std::thread::sleep(POLL),
            }
        }
    }

    /// Begins a blob that arrives whole or not at all; its digest may be unknown until its end.
    pub fn incoming(&self, expected: Option<&Descriptor>) -> Result<Partial> {
        let expected = expected.map(|it| Expected { digest: it.digest, size: it.size });
        let file = Owned::create(&self.store().folder(Folder::Temp))?;
        let before = Hashed::nothing(expected.as_ref());
        let (if_dropped, hashed) = (AtDrop::Remove, before.clone());
        Ok(Partial { lease: self.clone(), file, expected, if_dropped, hashed, before })
    }
}

impl Partial {
    /// How many bytes are there; a download goes on from here.
    pub fn offset(&self) -> u64 {
        self.hashed.size
    }

    /// How many bytes it should have in the end, where that is known.
    pub fn size(&self) -> Option<u64> {
        self.expected.map(|expected| expected.size)
    }

    /// The digest of what is there.
    pub fn digest(&self) -> Digest {
        Hasher::clone(&self.hashed.hasher).finish()
    }

    /// Appends the next bytes.
    ///
    /// # Errors
    /// One byte more than promised is refused, and the file goes when this is dropped. When the disk is full, what
    /// was appended since this was made is taken back.
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
            // Should that fail as well, the bytes too many are hashed by whoever resumes, like all others.
            self.file.cut(self.hashed.size).ok();
            self.decide();
            return Err(Error::io("writing", self.file.path())(error));
        }
        self.hashed.hasher.update(content);
        self.hashed.size = end;
        self.decide();
        Ok(())
    }

    /// Throws away what is there, to begin from nothing: for a server that can't go on in the middle.
    pub fn restart(&mut self) -> Result<()> {
        self.file.cut(0)?;
        self.hashed = Hashed::nothing(self.expected.as_ref());
        self.before = self.hashed.clone();
        self.decide();
        Ok(())
    }

    /// A second handle, at the beginning, by which another thread may read what has been written so far, and go on reading
    /// after the end that it found. It stays good after [`commit`](Self::commit).
    pub fn reader(&self) -> Result<File> {
        File::open(self.file.path()).map_err(Error::io("opening", self.file.path()))
    }

    /// Checks size and digest of what is there. Whoever waits for the bytes alone need not wait for the disk, which
    /// [`commit`](Self::commit) does.
    ///
    /// # Errors
    /// Wrong bytes are removed when this is dropped; bytes that are too few stay, if this is a download.
    pub fn check(&mut self) -> Result<Digest> {
        let found = self.digest();
        let Some(Expected { digest, size }) = self.expected else { return Ok(found) };
        if self.hashed.size < size {
            let found = self.hashed.size;
            return Err(layer_format::Error::SizeMismatch { digest, expected: size, found }.into());
        }
        if found != digest {
            self.spoil();
            let (expected, found) = (digest.into(), found.into());
            return Err(
                layer_format::Error::DigestMismatch { what: "blob", expected, found }.into()
            );
        }
        Ok(found)
    }

    /// Checks, syncs, and gives the blob its name.
    ///
    /// # Errors
    /// Those of [`check`](Self::check), and those of the disk.
    pub fn commit(mut self) -> Result<Digest> {
        let found = self.check()?;
        let Self { lease, mut file, .. } = self;
        lease.protect(&[found])?;
        // If it can't be synced or renamed, there is no telling what is on the disk.
        file.at_drop(AtDrop::Remove);
        lease.store().place(file, &found)?;
        Ok(found)
    }

    /// Throws it away.
    pub fn discard(mut self) {
        self.spoil();
    }

    fn resume(lease: Lease, file: Owned, expected: Expected) -> Result<Self> {
        if file.size()? > expected.size {
            file.cut(0)?;
        }
        let before = Hashed::read(&file, expected)?;
        let (if_dropped, hashed) = (AtDrop::Keep, before.clone());
        let mut partial =
            Self { lease, file, expected: Some(expected), if_dropped, hashed, before };
        partial.decide();
        Ok(partial)
    }

    /// An empty file is no use to anybody.
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

    fn read(owned: &Owned, expected: Expected) -> Result<Self> {
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

/// Where the download of a blob lies.
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
