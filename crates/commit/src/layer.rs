//! The new layer, which is checked, hashed, compressed and kept in one pass.
//!
//! ```text
//!            ┌► hasher: diff id
//! input ─────┼► layer reader: changes
//! (plain)    └► encoder ──► kept: digest, size
//! ```
//!
//! A layer that is kept as it is goes to `kept` before it is decompressed, and through no encoder.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, Builder};

use anyhow::Context as _;
use cli::{Code, Failure, Io, Task};
use image::layer::BUFFER;
use layer_format::layer::Reader;
use layer_format::listing::Tree;
use layer_format::{
    Algorithm, Codec, Compression, Decoder, Descriptor, DiffId, Digest, Encoder, Error, Hasher,
    Hashing,
};
use store::Partial;
use stream::relay::{Chunk, Chunks, Cursor, Pool, Receiver, Sender, relay};
use stream::{read_base, strip_base};

use crate::check::{self, Changes};

/// How many chunks may wait for the hasher.
const DEPTH: usize = 8;

/// The layer before it is read, decompressed as it comes.
pub(crate) struct Incoming {
    /// The digest of the manifest of the image that the layer says it was taken against.
    pub(crate) base: Option<Digest>,
    /// How it is compressed.
    pub(crate) codec: Codec,
    content: Box<dyn Read>,
    /// The stored bytes that were read, if they are kept as they are.
    stored: Option<Copied>,
    name: String,
    task: Task,
}

/// How the layer is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Storage {
    /// Compressed anew.
    Compressed(Compression),
    /// As it comes.
    AsItIs,
}

/// The bytes that a [`Copying`] has read since they were last taken.
type Copied = Rc<RefCell<Vec<u8>>>;

/// The beginning of a layer.
struct Begun {
    base: Option<Digest>,
    codec: Codec,
    content: Box<dyn Read>,
    stored: Option<Copied>,
}

/// A reader that keeps what it has read until it is taken.
struct Copying<R> {
    inner: R,
    copied: Copied,
}

/// A layer that has been read to its end.
#[derive(Debug)]
pub(crate) struct Taken<K> {
    pub(crate) diff_id: DiffId,
    pub(crate) kept: K,
    pub(crate) changes: Changes,
    /// How many entries have access control lists in tar's text form, which images can't keep.
    n_text_acls: u64,
    pub(crate) task: Task,
    /// The name of the input, for messages.
    name: String,
}

/// Where a layer's stored bytes are until it has a name: they are written there, and hashed.
pub(crate) trait Kept: Write {
    /// The stored bytes from the beginning.
    fn reader(&self) -> anyhow::Result<File>;

    /// The descriptor of the stored bytes.
    fn descriptor(&self, media_type: &str) -> Descriptor;
}

/// A layer in the store.
pub(crate) struct InStore(pub(crate) Partial);

impl Incoming {
    /// Opens a file, or standard input for `-`, and reads its beginning.
    pub(crate) fn open(path: &Path, storage: Storage, io: &mut Io<'_>) -> anyhow::Result<Self> {
        if path.as_os_str() != "-" && path.is_dir() {
            let shown = cli::text::clean_path(path);
            let hint = format!("snapshot {shown} | commit … makes an image of what changed in it");
            return Err(cli::usage(format!("{shown}: a directory, and no layer"))
                .hint(hint)
                .into());
        }
        let (input, name): (Box<dyn Read>, _) = if path.as_os_str() == "-" {
            (Box::new(io.input.take_binary()?), "standard input".to_owned())
        } else {
            let file = File::open(path).map_err(|error| Failure::opening(path, error))?;
            (Box::new(file), cli::text::clean_path(path))
        };
        let task = io.progress.task("layer", None);
        task.state("Committing");
        let counted = task.read(input);
        let reading = |source| Error::io("reading the layer", source);
        let begin = || match storage {
            Storage::Compressed(_) => {
                let decoder = Decoder::new(BufReader::with_capacity(BUFFER, counted));
                let decoder = decoder.map_err(reading)?;
                let codec = decoder.codec();
                let (base, content) = strip_base(decoder)?;
                let content: Box<dyn Read> = Box::new(content);
                Ok(Begun { base, codec, content, stored: None })
            }
            Storage::AsItIs => {
                let copied = Copied::default();
                let copying = Copying { inner: counted, copied: Rc::clone(&copied) };
                let decoder = Decoder::strict(BufReader::with_capacity(BUFFER, copying));
                let decoder = decoder.map_err(reading)?;
                let codec = decoder.codec();
                let (base, content) = read_base(decoder)?;
                let content: Box<dyn Read> = Box::new(content);
                Ok(Begun { base, codec, content, stored: Some(copied) })
            }
        };
        let begun: Result<Begun, Error> = begin();
        let Begun { base, codec, content, stored } = begun.with_context(|| name.clone())?;
        Ok(Self { base, codec, content, stored, name, task })
    }

    /// The error to report when the base can't be found: `error`, unless there is no layer, for example because the program that
    /// should have written it has failed.
    pub(crate) fn blame(self, error: anyhow::Error) -> anyhow::Error {
        let mut first = vec![];
        match self.content.take(BLOCK).read_to_end(&mut first) {
            Ok(0) => no_layer(EMPTY, self.name),
            Ok(_) if is_no_header(&first) => no_layer(NO_TAR, self.name),
            _ => error,
        }
    }

    /// Reads the layer to its end, and keeps it.
    ///
    /// # Errors
    /// Those of reading, checking and keeping it.
    pub(crate) fn take<K: Kept>(
        self,
        kept: K,
        storage: Storage,
        mut changes: Changes,
    ) -> anyhow::Result<Taken<K>> {
        let Self { content, stored, name, task, .. } = self;
        let keeper = Keeper::new(kept, storage, stored).context("compressing")?;
        let passed =
            pass(content, keeper, &mut changes).map_err(|error| match error.downcast() {
                Ok(NoLayer { reason }) => no_layer(reason, name.clone()),
                Err(error) => error.context(name.clone()),
            })?;
        let Passed { diff_id, kept, n_text_acls } = passed;
        Ok(Taken { diff_id, kept, changes, n_text_acls, task, name })
    }
}

impl<K: Kept> Taken<K> {
    /// Warns about what the layer has and images can't keep.
    pub(crate) fn warn(&self, io: &Io<'_>) {
        if self.n_text_acls > 0 {
            let entries = cli::counted(self.n_text_acls, "entry", "entries");
            io.warn(&format!(
                "{}: the access control lists of {entries} are in words (tar --acls), and not kept: tar --xattrs \
                 --xattrs-include='*' writes them so that they are",
                self.name
            ));
        }
    }

    /// Checks that the layer can be unpacked on its base. `base` makes the tree of that; it is only called if the layer alone
    /// doesn't decide it.
    pub(crate) fn check(&self, base: impl FnOnce() -> anyhow::Result<Tree>) -> anyhow::Result<()> {
        if self.changes.are_good() {
            return Ok(());
        }
        check::on_top(base()?, self.kept.reader()?).with_context(|| self.name.clone())
    }
}

/// What is known of a layer once all of it has passed.
struct Passed<K> {
    diff_id: DiffId,
    kept: K,
    n_text_acls: u64,
}

fn pass<K: Kept>(
    content: Box<dyn Read>,
    keeper: Keeper<K>,
    changes: &mut Changes,
) -> anyhow::Result<Passed<K>> {
    thread::scope(|scope| {
        let (feed, plain) = relay(DEPTH);
        let hasher = Builder::new().spawn_scoped(scope, move || hash(plain));
        let hasher = hasher.context("starting a thread")?;
        let pool = Pool::default();
        let passing = Passing { content, pool, feed, keeper, failure: None };
        let mut reader = Reader::new(Cursor::new(passing));
        let read = read_all(&mut reader, changes);
        let n_text_acls = reader.n_text_acls();
        let Passing { feed, keeper, failure, .. } = reader.into_inner().into_inner();
        let keeping = |source| Error::io("keeping the layer", source);
        failure.map(keeping).map_or(read, |failure| Err(failure.into()))?;
        // A hasher that is gone has panicked, and `join` passes that on.
        feed.end().ok();
        let kept = keeper.finish().map_err(keeping)?;
        let hashed = hasher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let digest = hashed.map_err(|source| Error::io("hashing the layer", source))?;
        Ok(Passed { diff_id: DiffId(digest), kept, n_text_acls })
    })
}

fn hash(mut plain: Receiver) -> io::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    while let Some(chunk) = plain.take_chunk()? {
        hasher.update(&chunk);
    }
    Ok(hasher.finish())
}

/// Reads every change, so that nothing is stored that couldn't be unpacked.
fn read_all(reader: &mut Reader<impl BufRead>, changes: &mut Changes) -> anyhow::Result<()> {
    let mut n_changes = 0_u64;
    loop {
        let change = match reader.read_change() {
            Err(error) if n_changes == 0 && is_of_header(&error) => {
                return Err(NoLayer { reason: NO_TAR }.into());
            }
            change => change?,
        };
        let Some(change) = change else { break };
        n_changes += 1;
        changes.take(&change, reader.position())?;
    }
    if n_changes == 0 && !reader.is_whole() {
        return Err(NoLayer { reason: EMPTY }.into());
    }
    // The layer has no digest yet that would show that its end is missing.
    if !reader.is_whole() {
        return Err(no_end().into());
    }
    Ok(())
}

/// The bytes of a header.
const BLOCK: u64 = 512;
const EMPTY: &str = "is empty";
const NO_TAR: &str = "isn't a tar archive";

/// That the input is no layer at all.
#[derive(Debug)]
struct NoLayer {
    reason: &'static str,
}

impl fmt::Display for NoLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the layer: {}", self.reason)
    }
}

impl std::error::Error for NoLayer {}

/// The error for an input that is no layer.
fn no_layer(reason: &'static str, name: String) -> anyhow::Error {
    Failure::new(Code::Untrusted, name)
        .because(NoLayer { reason })
        .hint("a layer comes from snapshot, or is a tar of files: snapshot DIR | commit -t NAME")
        .into()
}

/// Whether an error is that of a header that is none.
fn is_of_header(error: &Error) -> bool {
    matches!(error, Error::MalformedHeader { .. })
        || matches!(error, Error::Truncated { what } if what == "a tar header")
}

/// Whether what a layer begins with is no header of a tar.
fn is_no_header(first: &[u8]) -> bool {
    Reader::new(first).read_change().is_err_and(|error| is_of_header(&error))
}

fn no_end() -> Error {
    Error::Truncated { what: "the layer: it has no end".to_owned() }
}

/// What stores the layer.
enum Keeper<K: Write> {
    /// Compresses the plain bytes.
    Compressing(Encoder<K>),
    /// Takes the stored bytes as they were read.
    Copying { kept: K, stored: Copied },
}

impl<K: Write> Keeper<K> {
    fn new(kept: K, storage: Storage, stored: Option<Copied>) -> io::Result<Self> {
        Ok(match storage {
            Storage::Compressed(compression) => {
                let n_threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
                Self::Compressing(Encoder::new(kept, compression, n_threads)?)
            }
            Storage::AsItIs => Self::Copying { kept, stored: stored.unwrap_or_default() },
        })
    }

    /// Takes the next plain bytes, and all stored ones that were read for them.
    fn take(&mut self, plain: &[u8]) -> io::Result<()> {
        match self {
            Self::Compressing(encoder) => encoder.write_all(plain),
            Self::Copying { kept, stored } => {
                let mut stored = stored.borrow_mut();
                kept.write_all(&stored)?;
                stored.clear();
                Ok(())
            }
        }
    }

    /// Ends the layer, whose input was read to its end.
    fn finish(mut self) -> io::Result<K> {
        self.take(&[])?;
        match self {
            Self::Compressing(encoder) => encoder.finish(),
            Self::Copying { kept, .. } => Ok(kept),
        }
    }
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.copied.borrow_mut().extend_from_slice(&buffer[..n]);
        Ok(n)
    }
}

/// The layer's bytes on their way to the layer reader; the hasher and the keeper get each chunk first.
struct Passing<K: Write> {
    content: Box<dyn Read>,
    pool: Pool,
    feed: Sender,
    keeper: Keeper<K>,
    /// The keeper's error, which the layer reader would report as its own.
    failure: Option<io::Error>,
}

impl<K: Write> Chunks for Passing<K> {
    fn next_chunk(&mut self) -> io::Result<Option<Arc<Chunk>>> {
        cli::interrupt::check().map_err(io::Error::other)?;
        let Some(chunk) = Chunk::read_from(&self.pool, &mut self.content)? else { return Ok(None) };
        // A hasher that is gone has panicked, and `join` passes that on.
        self.feed.send(Arc::clone(&chunk)).ok();
        if let Err(error) = self.keeper.take(&chunk) {
            self.failure = Some(error);
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(Some(chunk))
    }
}

impl Kept for InStore {
    fn reader(&self) -> anyhow::Result<File> {
        Ok(self.0.reader()?)
    }

    fn descriptor(&self, media_type: &str) -> Descriptor {
        Descriptor::new(media_type, self.0.digest(), self.0.offset())
    }
}

impl Write for InStore {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer in an unlinked file.
impl Kept for Hashing<File> {
    fn reader(&self) -> anyhow::Result<File> {
        let mut file = self.inner().try_clone().context("reading the layer again")?;
        file.rewind().context("reading the layer again")?;
        Ok(file)
    }

    fn descriptor(&self, media_type: &str) -> Descriptor {
        Descriptor::new(media_type, self.digest(), self.n_bytes())
    }
}
