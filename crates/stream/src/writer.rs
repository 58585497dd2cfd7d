//! Writes an image stream, one member at a time, in the order of the grammar.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read, Write};

use layer_format::{Descriptor, Digest, Error};

use super::{END, Graph, OCI_LAYOUT, Preamble, Thin, USER_NAME};

const BLOCK: usize = 512;
const COPY_SIZE: usize = 256 << 10;

/// Writer of a stream. Only [`finish`](Self::finish) writes the end. A reader takes a stream without an end for a cut
/// one.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    written: HashSet<Digest>,
    /// The directories whose members were written.
    directories: BTreeSet<String>,
    user_name: &'static str,
}

/// One of the two formats that a stream has at once, for readers that can't handle the other. It has no mark of ours,
/// so it is read like an archive of any other tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// A docker-archive: `manifest.json` without `index.json`.
    Docker,
    /// An OCI layout: `index.json` without `manifest.json`.
    Oci,
}

impl<W: Write> Writer<W> {
    /// Begins a stream with its preamble.
    ///
    /// # Errors
    /// [`Error::Io`] if `output` can't be written to.
    pub fn new(output: W, preamble: &Preamble) -> Result<Self, Error> {
        Self::begin(output, preamble, None, None)
    }

    /// Begins a stream that leaves out the blobs in `thin`, or that has only one `half` of the formats.
    ///
    /// # Errors
    /// [`Error::Io`] if `output` can't be written to.
    pub fn begin(
        output: W,
        preamble: &Preamble,
        thin: Option<&Thin>,
        half: Option<Half>,
    ) -> Result<Self, Error> {
        let user_name = if half.is_some() { "" } else { USER_NAME };
        let (written, directories) = (HashSet::new(), BTreeSet::new());
        let mut writer = Self { output, written, directories, user_name };
        if half != Some(Half::Docker) {
            writer.member("oci-layout", OCI_LAYOUT)?;
            writer.member("index.json", &preamble.index)?;
        }
        if half != Some(Half::Oci) {
            writer.member("manifest.json", &preamble.manifest)?;
        }
        if let Some(thin) = thin {
            writer.member("strata.json", &thin.to_json()?)?;
        }
        Ok(writer)
    }

    /// Whether the blob was written already.
    pub fn has(&self, digest: &Digest) -> bool {
        self.written.contains(digest)
    }

    /// Writes a document, unless it was written already.
    ///
    /// # Errors
    /// [`Error::Io`] if the output can't be written to.
    pub fn document(&mut self, content: &[u8], digest: Digest) -> Result<(), Error> {
        if !self.written.insert(digest) {
            return Ok(());
        }
        self.blob_header(&digest, content.len() as u64)?;
        self.write(content)?;
        self.pad(content.len() as u64)
    }

    /// Writes the indexes and then the manifests of an image, except for those that were written already.
    ///
    /// # Errors
    /// [`Error::Io`] if the output can't be written to.
    pub fn documents(&mut self, image: &Graph) -> Result<(), Error> {
        for index in &image.indexes {
            self.document(index.raw(), index.descriptor().digest)?;
        }
        for manifest in &image.manifests {
            self.document(manifest.raw(), manifest.descriptor().digest)?;
        }
        Ok(())
    }

    /// Writes a blob from `reader`. Nothing is read if the blob was written already.
    ///
    /// `reader` must give as many bytes as the descriptor says, and must verify them itself. Bytes that were written
    /// can't be taken back, so the stream must be left without an end after an error.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] if `reader` gives another number of bytes; [`Error::Io`], or the error inside it, if
    /// `reader` can't be read or the output can't be written to.
    pub fn blob(&mut self, blob: &Descriptor, mut reader: impl Read) -> Result<(), Error> {
        if !self.written.insert(blob.digest) {
            return Ok(());
        }
        self.blob_header(&blob.digest, blob.size)?;
        let mut buffer = vec![0; COPY_SIZE];
        let mut left = blob.size;
        loop {
            let n = read_some(&mut reader, &mut buffer)?;
            if n == 0 {
                break;
            }
            left = left.checked_sub(n as u64).ok_or_else(|| mismatch(blob, blob.size + 1))?;
            self.write(&buffer[..n])?;
        }
        if left > 0 {
            return Err(mismatch(blob, blob.size - left));
        }
        self.pad(blob.size)
    }

    /// Writes a blob with `send`, unless it was written already. `send` must write as many bytes to the output as the
    /// descriptor says; for example, the kernel may copy them. After an error, the stream must be left without an end,
    /// for the same reason as for [`blob`](Self::blob).
    ///
    /// # Errors
    /// [`Error::Io`], or the error inside it, if `send` fails or the output can't be written to.
    pub fn blob_by(
        &mut self,
        blob: &Descriptor,
        send: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), Error> {
        if !self.written.insert(blob.digest) {
            return Ok(());
        }
        self.blob_header(&blob.digest, blob.size)?;
        send(&mut self.output).map_err(|source| Error::io("writing the stream", source))?;
        self.pad(blob.size)
    }

    /// Ends the stream, flushes the output and gives it back.
    ///
    /// # Errors
    /// [`Error::Io`] if the output can't be written to.
    pub fn finish(mut self) -> Result<W, Error> {
        self.write(&END)?;
        self.output.flush().map_err(|source| Error::io("writing the stream", source))?;
        Ok(self.output)
    }

    /// Flushes the output, so that a reader can use what was written while the rest is still being fetched.
    ///
    /// # Errors
    /// [`Error::Io`] if the output can't be flushed.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.output.flush().map_err(|source| Error::io("writing the stream", source))
    }

    fn member(&mut self, path: &str, content: &[u8]) -> Result<(), Error> {
        self.header(path, content.len() as u64)?;
        self.write(content)?;
        self.pad(content.len() as u64)
    }

    /// Writes the header of a blob. Before the first blob of its algorithm, it also writes the members of the
    /// directories that contain the blob, because some extractors make no parents (sylabs/singularity#2935).
    fn blob_header(&mut self, digest: &Digest, size: u64) -> Result<(), Error> {
        for path in directories_of(digest) {
            if self.directories.insert(path.clone()) {
                let header = make_header(&path, Kind::Directory, self.user_name)?;
                self.write(&header)?;
            }
        }
        self.header(&digest.blob_path(), size)
    }

    fn header(&mut self, path: &str, size: u64) -> Result<(), Error> {
        let header = make_header(path, Kind::File { size }, self.user_name)?;
        self.write(&header)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let rest = usize::try_from(size % BLOCK as u64).expect("less than a block");
        if rest == 0 { Ok(()) } else { self.write(&[0; BLOCK][rest..]) }
    }

    fn write(&mut self, content: &[u8]) -> Result<(), Error> {
        self.output.write_all(content).map_err(|source| Error::io("writing the stream", source))
    }
}

/// The kind of a member.
#[derive(Clone, Copy, Debug)]
enum Kind {
    File {
        /// The length in bytes.
        size: u64,
    },
    Directory,
}

/// The header of a file. Path and size alone determine it, so a reader can compare it.
pub(crate) fn header(path: &str, size: u64) -> Result<[u8; BLOCK], Error> {
    make_header(path, Kind::File { size }, USER_NAME)
}

/// The header of a directory. Its path ends with a slash.
pub(crate) fn directory_header(path: &str) -> Result<[u8; BLOCK], Error> {
    make_header(path, Kind::Directory, USER_NAME)
}

/// The directories that contain a blob, the outer one first.
pub(crate) fn directories_of(digest: &Digest) -> [String; 2] {
    ["blobs/".to_owned(), format!("blobs/{}/", digest.algorithm().name())]
}

fn make_header(path: &str, kind: Kind, user_name: &str) -> Result<[u8; BLOCK], Error> {
    let naming = |source| Error::io("naming a member", source);
    let (entry_type, mode, size) = match kind {
        Kind::File { size } => (tar::EntryType::Regular, 0o644, size),
        Kind::Directory => (tar::EntryType::Directory, 0o755, 0),
    };
    let mut header = tar::Header::new_ustar();
    header.set_path(path).map_err(naming)?;
    header.set_username(user_name).map_err(naming)?;
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    // Strict readers need numbers here, too, although they have no meaning for files and directories.
    header.set_device_major(0).map_err(naming)?;
    header.set_device_minor(0).map_err(naming)?;
    header.set_cksum();
    Ok(*header.as_bytes())
}

fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(|source| Error::io("reading a blob", source)),
        }
    }
}

fn mismatch(blob: &Descriptor, found: u64) -> Error {
    Error::SizeMismatch { digest: blob.digest, expected: blob.size, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_of_another_length_is_told_with_what_came() {
        let blob = Descriptor::of("", b"four");
        let write = |content: &[u8]| {
            let preamble = Preamble { index: vec![], manifest: vec![] };
            Writer::new(io::sink(), &preamble).and_then(|mut writer| writer.blob(&blob, content))
        };
        for (content, told) in [("fou", 3), ("", 0), ("fours", 5), ("four and more", 5)] {
            match write(content.as_bytes()) {
                Err(Error::SizeMismatch { expected: 4, found, .. }) => assert_eq!(found, told),
                other => panic!("{content}: {other:?}"),
            }
        }
        write(b"four").unwrap();
    }
}
