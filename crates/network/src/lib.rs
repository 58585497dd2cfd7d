//! What the programs that use a registry share: [flags](Flags) that lead to a client, and what is told of its work at the end.
//!
//! `cli` knows no registry, and `registry` no terminal: this is where they meet.

mod flags;

use cli::{Explain as _, Failure, Io};
use layer_format::Reference;
use registry::{Client, Credentials, Mirrors, Options};

pub use crate::flags::Flags;

impl Flags {
    /// A client for these names, with the login that the flags give.
    ///
    /// # Errors
    /// Wrong usage, a file of logins or mirrors that can't be read, or certificates that can't.
    pub fn client(&self, names: &[Reference], io: &mut Io<'_>) -> anyhow::Result<Client> {
        let file = self.authfile()?;
        let login = self.creds(&mut io.input)?;
        let usual = Options::default();
        let options = Options {
            credentials: Credentials::given(file, login, names)?,
            insecure: self.insecure.clone(),
            mirrors: Mirrors::from_environment()?,
            cancelled: cli::interrupt::requested,
            connect: self.connect_timeout.unwrap_or(usual.connect),
            stall: self.stall_timeout.unwrap_or(usual.stall),
            limit_rate: self.limit_rate,
            ..usual
        };
        Client::new(options).hinted(registry::Error::hint)
    }
}

/// Tells, at the end, what a client would warn of and, for whoever reads JSON, what its requests were. A warning may be the
/// reason of a failure: then it is told with `--quiet` too.
pub fn tell(client: &Client, has_failed: bool, io: &Io<'_>) {
    io.warn_of(&client.warnings(), has_failed);
    client.traffic().iter().for_each(|traffic| io.progress.object(&traffic.to_json()));
}

/// Adds to an error that came of a registry what may help.
pub fn explain(error: anyhow::Error) -> anyhow::Error {
    let cause = error.chain().find_map(|link| link.downcast_ref::<registry::Error>());
    match cause.and_then(registry::Error::hint) {
        Some(hint) => Failure::from_cause(error).hint(hint).into(),
        None => error,
    }
}
