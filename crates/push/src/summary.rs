//! What was done with each blob, or would be, and how many bytes that is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cli::{Io, Plan, Step};
use layer_format::{Descriptor, Reference};

/// Whether the run changes anything at the registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It pushes.
    Send,
    /// It only finds out what would be pushed.
    DryRun,
}

/// What is done with a blob at a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is sent.
    Send,
    /// The registry takes it from this other repository of its own, named by its path.
    Mount(String),
    /// The repository has it.
    Skip,
}

const ATTACH: cli::Action = cli::Action { name: "attach", sum: "to attach" };

/// The actions and the words of their sums, before and after the run.
const fn actions(mode: Mode) -> &'static [cli::Action; 3] {
    match mode {
        Mode::Send => &[
            cli::Action { name: "send", sum: "sent" },
            cli::Action { name: "mount", sum: "mounted" },
            cli::Action { name: "skip", sum: "there already" },
        ],
        Mode::DryRun => &[
            cli::Action { name: "send", sum: "to send" },
            cli::Action { name: "mount", sum: "to mount" },
            cli::Action { name: "skip", sum: "there already" },
        ],
    }
}

/// What was done with all blobs; threads share it.
#[derive(Debug)]
pub(crate) struct Summary {
    mode: Mode,
    plan: Mutex<Plan>,
}

impl Summary {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, plan: Mutex::new(Plan::new("repository", actions(mode))) }
    }

    /// Adds what is done with a blob at a repository (`host/path`).
    pub(crate) fn add(&self, repository: &str, action: Action, blob: &Descriptor) {
        let [send, mount, skip] = *actions(self.mode);
        let (action, from) = match action {
            Action::Send => (send, None),
            Action::Mount(from) => (mount, Some(from)),
            Action::Skip => (skip, None),
        };
        let (place, digest, bytes) = (repository.to_owned(), blob.digest, blob.size);
        self.lock().add(Step { place, action, digest, bytes, from });
    }

    /// Adds a list of what refers to the image, or what cosign made for it, under the name that it gets.
    pub(crate) fn attach(&self, name: &Reference, list: &Descriptor) {
        let (place, digest, bytes) = (name.full(), list.digest, list.size);
        self.lock().add(Step { place, action: ATTACH, digest, bytes, from: None });
    }

    /// Prints a row for each blob and list, in an order that doesn't depend on which thread was first, and the sums.
    pub(crate) fn tell(&self, is_json: bool, io: &mut Io<'_>) -> anyhow::Result<()> {
        let mut plan = self.lock();
        plan.sort();
        Ok(io.tell_plan(&plan, is_json)?)
    }

    /// `blobs sent: 2 (12.3MB), mounted: 1 (4B), there already: 0 (0B)`.
    pub(crate) fn sums(&self) -> String {
        self.lock().summary()
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_every_blob_and_the_sums() {
        let summary = Summary::new(Mode::Send);
        let blob = |content: &[u8]| Descriptor::of("", content);
        summary.add("r.test/b", Action::Skip, &blob(b"a"));
        summary.add("r.test/a", Action::Mount("c".to_owned()), &blob(b"a"));
        summary.add("r.test/a", Action::Send, &blob(b"aaa"));
        summary.attach(&"r.test/a:sha256-x".parse().unwrap(), &blob(b"list"));
        assert_eq!(summary.sums(), "blobs sent: 1 (3B), mounted: 1 (1B), there already: 1 (1B)");
        let mut io = Io::memory("");
        summary.tell(false, &mut io).unwrap();
        let text = String::from_utf8(io.written()).unwrap();
        let lines: Vec<_> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[1][..2], ["send", "3"]);
        assert_eq!(lines[2][3..], ["r.test/a", "from", "c"]);
        assert_eq!((&lines[3][..2], lines[3][3]), (&["attach", "4"][..], "r.test/a:sha256-x"));
        assert_eq!(lines[4][..2], ["skip", "1"]);
    }
}
