//! What was done with each blob, or would be, and how many bytes that is.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cli::{Output, Table};
use layer_format::{Descriptor, Digest, Reference};

/// What is done with a blob at a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// It is sent.
    Send,
    /// The registry takes it from this other repository of its own, named by its path.
    Mount(String),
    /// The repository has it.
    Skip,
}

/// What was done with all blobs; threads share it.
#[derive(Debug, Default)]
pub(crate) struct Summary(Mutex<Vec<Entry>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    repository: String,
    /// `None` for a list of what refers to the image, which is no blob.
    action: Option<Action>,
    digest: Digest,
    bytes: u64,
}

impl Summary {
    /// Adds what is done with a blob at a repository (`host/path`).
    pub(crate) fn add(&self, repository: &str, action: Action, blob: &Descriptor) {
        self.lock().push(Entry {
            repository: repository.to_owned(),
            action: Some(action),
            digest: blob.digest,
            bytes: blob.size,
        });
    }

    /// Adds a list of what refers to the image, or what cosign made for it, under the name that it gets.
    pub(crate) fn attach(&self, name: &Reference, list: &Descriptor) {
        let repository = name.full();
        self.lock().push(Entry { repository, action: None, digest: list.digest, bytes: list.size });
    }

    /// Writes a table with a row for each blob and list, in an order that doesn't depend on which thread was first.
    pub(crate) fn write(&self, output: &mut Output) -> anyhow::Result<()> {
        let mut entries = self.lock().clone();
        entries.sort();
        let mut table = Table::new(&["ACTION", "BYTES", "DIGEST", "REPOSITORY"]);
        for Entry { repository, action, digest, bytes } in entries {
            let (shown, from) = match action {
                Some(Action::Send) => ("send", String::new()),
                Some(Action::Mount(from)) => ("mount", format!(" from {from}")),
                Some(Action::Skip) => ("skip", String::new()),
                None => ("attach", String::new()),
            };
            let (bytes, digest) = (bytes.to_string(), digest.to_string());
            table.row([shown.to_owned(), bytes, digest, repository + &from]);
        }
        Ok(table.write(output)?)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `blobs sent: 2 (12.3MB), mounted: 1 (4B), there already: 0 (0B)`.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.lock();
        let count = |is_meant: &dyn Fn(&Action) -> bool| {
            let meant = entries.iter().filter(|entry| entry.action.as_ref().is_some_and(is_meant));
            let (n, bytes) = meant.fold((0, 0), |(n, sum), entry| (n + 1, sum + entry.bytes));
            format!("{n} ({})", cli::human_size(bytes))
        };
        let sent = count(&|action| *action == Action::Send);
        let mounted = count(&|action| matches!(action, Action::Mount(_)));
        let skipped = count(&|action| *action == Action::Skip);
        write!(f, "blobs sent: {sent}, mounted: {mounted}, there already: {skipped}")
    }
}

#[cfg(test)]
mod tests {
    use cli::Io;

    use super::*;

    #[test]
    fn it_tells_every_blob_and_the_sums() {
        let summary = Summary::default();
        let blob = |content: &[u8]| Descriptor::of("", content);
        summary.add("r.test/b", Action::Skip, &blob(b"a"));
        summary.add("r.test/a", Action::Mount("c".to_owned()), &blob(b"a"));
        summary.add("r.test/a", Action::Send, &blob(b"aaa"));
        summary.attach(&"r.test/a:sha256-x".parse().unwrap(), &blob(b"list"));
        assert_eq!(
            summary.to_string(),
            "blobs sent: 1 (3B), mounted: 1 (1B), there already: 1 (1B)"
        );
        let mut io = Io::memory("");
        summary.write(&mut io.output).unwrap();
        let text = String::from_utf8(io.written()).unwrap();
        let lines: Vec<_> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[1][..2], ["send", "3"]);
        assert_eq!(lines[2][3..], ["r.test/a", "from", "c"]);
        assert_eq!((&lines[3][..2], lines[3][3]), (&["attach", "4"][..], "r.test/a:sha256-x"));
        assert_eq!(lines[4][..2], ["skip", "1"]);
    }
}
