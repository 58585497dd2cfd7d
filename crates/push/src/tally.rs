//! What was done with blobs, or would be, and how many bytes that is.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cli::{Output, Table};
use layer_format::{Descriptor, Digest, Reference};

/// What becomes of a blob at a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// It is sent.
    Send,
    /// The registry takes it from this other repository.
    Mount(String),
    /// The registry has it.
    Skip,
}

/// What became of all blobs; threads share it.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Vec<Entry>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    repository: String,
    /// Nothing of what is no blob, but a list of what refers to the image.
    way: Option<Way>,
    digest: Digest,
    bytes: u64,
}

impl Tally {
    /// Notes what becomes of a blob at a repository.
    pub(crate) fn add(&self, repository: &str, way: Way, blob: &Descriptor) {
        let (repository, way) = (repository.to_owned(), Some(way));
        self.lock().push(Entry { repository, way, digest: blob.digest, bytes: blob.size });
    }

    /// Notes a list of what refers to the image, or what cosign made of it, and its name there.
    pub(crate) fn attach(&self, name: &Reference, list: &Descriptor) {
        let repository = name.full();
        self.lock().push(Entry { repository, way: None, digest: list.digest, bytes: list.size });
    }

    /// Writes a line for each blob and list, in an order that doesn't depend on who was first.
    pub(crate) fn write(&self, output: &mut Output) -> anyhow::Result<()> {
        let mut entries = self.lock().clone();
        entries.sort();
        let mut table = Table::new(&["ACTION", "BYTES", "DIGEST", "REPOSITORY"]);
        for Entry { repository, way, digest, bytes } in entries {
            let (action, from) = match way {
                Some(Way::Send) => ("send", String::new()),
                Some(Way::Mount(from)) => ("mount", format!(" from {from}")),
                Some(Way::Skip) => ("skip", String::new()),
                None => ("attach", String::new()),
            };
            let (bytes, digest) = (bytes.to_string(), digest.to_string());
            table.row([action.to_owned(), bytes, digest, repository + &from]);
        }
        Ok(table.write(output)?)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `blobs sent: 2 (12.3MB), mounted: 1 (4B), there already: 0 (0B)`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.lock();
        let count = |is_meant: &dyn Fn(&Way) -> bool| {
            let meant = entries.iter().filter(|entry| entry.way.as_ref().is_some_and(is_meant));
            let (n, bytes) = meant.fold((0, 0), |(n, sum), entry| (n + 1, sum + entry.bytes));
            format!("{n} ({})", cli::human_size(bytes))
        };
        let sent = count(&|way| *way == Way::Send);
        let mounted = count(&|way| matches!(way, Way::Mount(_)));
        let skipped = count(&|way| *way == Way::Skip);
        write!(f, "blobs sent: {sent}, mounted: {mounted}, there already: {skipped}")
    }
}

#[cfg(test)]
mod tests {
    use cli::Io;

    use super::*;

    #[test]
    fn it_tells_every_blob_and_the_sums() {
        let tally = Tally::default();
        let blob = |content: &[u8]| Descriptor::of("", content);
        tally.add("r.test/b", Way::Skip, &blob(b"a"));
        tally.add("r.test/a", Way::Mount("c".to_owned()), &blob(b"a"));
        tally.add("r.test/a", Way::Send, &blob(b"aaa"));
        tally.attach(&"r.test/a:sha256-x".parse().unwrap(), &blob(b"list"));
        assert_eq!(tally.to_string(), "blobs sent: 1 (3B), mounted: 1 (1B), there already: 1 (1B)");
        let mut io = Io::memory("");
        tally.write(&mut io.output).unwrap();
        let text = String::from_utf8(io.written()).unwrap();
        let lines: Vec<_> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[1][..2], ["send", "3"]);
        assert_eq!(lines[2][3..], ["r.test/a", "from", "c"]);
        assert_eq!((&lines[3][..2], lines[3][3]), (&["attach", "4"][..], "r.test/a:sha256-x"));
        assert_eq!(lines[4][..2], ["skip", "1"]);
    }
}
