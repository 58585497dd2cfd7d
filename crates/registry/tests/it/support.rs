//! What the tests have in common.

use std::io::Read as _;
use std::time::Duration;

use kit::{Fault, Registry};
use layer_format::{Descriptor, Digest, media_type};
use registry::{Blob, Client, Credentials, Error, Options, Repository, Retries};
use report::{ErrorKind, HasKind as _};

/// Options that neither wait long nor look at this machine's logins.
pub(crate) fn options() -> Options {
    Options {
        credentials: Credentials::none(),
        certificates: vec![],
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(20),
        retries: Retries { first: Duration::from_millis(1), ..Retries::default() },
        ..Options::default()
    }
}

/// Options under which a stall is soon one.
pub(crate) fn impatient() -> Options {
    Options { stall: Duration::from_millis(300), ..options() }
}

pub(crate) fn open_with(options: Options, name: &str) -> Repository {
    Client::new(options).unwrap().repository(&name.parse().unwrap()).unwrap()
}

pub(crate) fn open(registry: &Registry) -> Repository {
    open_with(options(), &registry.name("app"))
}

/// A megabyte that differs everywhere.
pub(crate) fn content() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..1_000_003).map(|_| next()).collect()
}

/// A registry that holds [`content`] in `app`.
pub(crate) fn with_blob() -> (Registry, Descriptor) {
    let registry = Registry::start();
    registry.add_blob("app", content());
    (registry, descriptor(&content()))
}

pub(crate) fn with_blob_and(fault: Fault) -> (Registry, Descriptor) {
    let (registry, descriptor) = with_blob();
    registry.fault(fault);
    (registry, descriptor)
}

pub(crate) fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::new(media_type::OCI_LAYER, Digest::of(content), content.len() as u64)
}

/// Reads to the end; what came before an error comes with it.
pub(crate) fn read(blob: &mut Blob) -> (Vec<u8>, Option<Error>) {
    let mut found = vec![];
    let error = blob.read_to_end(&mut found).err().map(|error| Error::inside(error).unwrap());
    (found, error)
}

/// Reads a blob that must be whole.
#[track_caller]
pub(crate) fn read_all(repository: &Repository, descriptor: &Descriptor, offset: u64) -> Vec<u8> {
    let (found, error) = read(&mut repository.blob(descriptor, offset).unwrap());
    assert!(error.is_none(), "{error:?}");
    found
}

/// The error and all its causes, as a user sees them.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut link = std::error::Error::source(error);
    while let Some(source) = link {
        text = format!("{text}: {source}");
        link = source.source();
    }
    text
}

#[track_caller]
pub(crate) fn check(error: &Error, trouble: ErrorKind, text: &str) {
    assert_eq!((chain(error).as_str(), error.kind()), (text, trouble));
}
