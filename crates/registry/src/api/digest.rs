//! The digest that a name stands for, without what it names.

use http::Method;
use layer_format::Digest;

use super::document::{DocumentQuery, Kind, sent_digest};
use super::repository::Repository;
use crate::auth::Scope;
use crate::base::Error;
use crate::session::Call;

impl Repository {
    /// The digest of the manifest or index that this tag or digest stands for, from mirrors or the registry.
    ///
    /// It is asked for by HEAD, which Docker Hub doesn't count. Where that tells nothing, the manifest itself is read.
    ///
    /// # Errors
    ///
    /// Those of [`manifest`](Self::manifest).
    pub fn digest(&self, wanted: &str) -> Result<Digest, Error> {
        let pinned = self.pinned(wanted)?;
        let what = &self.manifest_name(wanted, pinned.as_ref());
        let query =
            DocumentQuery { kind: Kind::Manifest, name: wanted, pinned: pinned.as_ref(), what };
        let call = Call { method: Method::HEAD, ..query.call() };
        let told = self.ask_all(query, |repository| {
            let answer = repository.remote.attempt(Scope::Pull, &call)?;
            Ok(pinned.or_else(|| sent_digest(&answer.exchange.headers)))
        });
        match told {
            Ok(Some(digest)) => Ok(digest),
            // ggcr#971: HEAD may be answered without a digest, or not at all. A refusal has its words only in answer to GET.
            Ok(None)
            | Err(
                Error::NotFound { .. }
                | Error::Unauthorised { .. }
                | Error::Refused { status: 400..=428 | 430..=499 | 501, .. }
                | Error::Redirect { .. },
            ) => self.manifest(wanted).map(|(_, digest)| digest),
            Err(error) => Err(error),
        }
    }
}
