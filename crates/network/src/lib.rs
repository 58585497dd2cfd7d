//! The part that the programs for registries share: [flags](Flags) from which a client is made, and the report of its work.
//!
//! `cli` knows no registry, and `registry` no terminal: this is where they meet.

mod documents;
mod flags;
pub mod ssh;
pub mod threads;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use cli::{Explain as _, Failure, Io, Progress};
use layer_format::Reference;
use registry::{Client, Credentials, Listener, Mirrors, Options, Traffic};

pub use crate::documents::RemoteDocuments;
pub use crate::flags::Flags;

impl Flags {
    /// A client for these names, with the login that the flags give.
    ///
    /// # Errors
    /// The flags make no sense, or a file of logins, mirrors or certificates can't be read.
    pub fn client(&self, names: &[Reference], io: &mut Io<'_>) -> anyhow::Result<Client> {
        let file = self.authfile()?;
        let login = self.creds(&mut io.input)?;
        self.client_with(Credentials::given(file, login, names)?, &io.progress)
    }

    /// A client that looks for logins in these places. Whoever has to wait for long is warned at once.
    ///
    /// # Errors
    /// The flags make no sense, or a file of mirrors or certificates can't be read.
    pub fn client_with(
        &self,
        credentials: Credentials,
        progress: &Progress,
    ) -> anyhow::Result<Client> {
        let usual = Options::default();
        let options = Options {
            credentials,
            insecure: self.insecure.clone(),
            mirrors: Mirrors::from_environment()?,
            cancelled: cli::interrupt::requested,
            connect: self.connect_timeout.unwrap_or(usual.connect),
            stall: self.stall_timeout.unwrap_or(usual.stall),
            limit_rate: self.limit_rate,
            listener: warns(progress),
            ..usual
        };
        Client::new(options).hinted(registry::Error::hint)
    }
}

/// Warns at once, and once of the same: several connections may wait for it.
fn warns(progress: &Progress) -> Listener {
    let (progress, told) = (progress.clone(), Mutex::new(HashSet::new()));
    Listener::new(move |text| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(text.to_owned()) {
            progress.warn(text);
        }
    })
}

/// Reports a client's warnings at the end and, if progress is JSON, its requests. If the program has failed, warnings are shown
/// with `--quiet` too, because one may be the reason.
pub fn tell(client: &Client, has_failed: bool, io: &Io<'_>) {
    io.warn_of(&client.warnings(), has_failed);
    let tell = |traffic: &Traffic| io.progress.object("registry", &traffic.to_json());
    client.traffic().iter().for_each(tell);
}

/// Adds a hint to an error that was caused by a registry, if there is one.
pub fn explain(error: anyhow::Error) -> anyhow::Error {
    match of_registry(&error).and_then(registry::Error::hint) {
        Some(hint) => Failure::from_cause(error).hint(hint).into(),
        None => error,
    }
}

/// Whether an error says that a registry can't be spoken to at all, so that the next image or tag is worth no try.
pub fn is_unreachable(error: &anyhow::Error) -> bool {
    of_registry(error).is_some_and(registry::Error::is_of_connection)
}

/// The registry's error among the causes of an error.
fn of_registry(error: &anyhow::Error) -> Option<&registry::Error> {
    error.chain().find_map(|link| link.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_cannot_be_spoken_to_is_not_tried_again() {
        let (what, host) = ("app:1".to_owned(), "r.test".to_owned());
        let stalled = registry::Error::Stalled { what: what.clone(), host, seconds: 9 };
        assert!(is_unreachable(&anyhow::Error::new(stalled).context("app:1")));
        let lost = registry::Error::Redirect { what, reason: "it leads nowhere" };
        assert!(!is_unreachable(&lost.into()));
        assert!(!is_unreachable(&anyhow::anyhow!("the disk is full")));
    }
}
