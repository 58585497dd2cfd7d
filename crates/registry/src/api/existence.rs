//! Whether a repository has a blob.

use http::{Method, StatusCode};
use layer_format::Descriptor;

use super::repository::Repository;
use crate::auth::Scope;
use crate::base::{Error, Failure};
use crate::session::{Call, Target};

impl Repository {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or refuses to say.
    pub fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let what = self.name_of(&blob.digest);
        self.remote.attempts().run(&what, || self.ask_for(blob, &what))
    }

    /// Whether the repository has a blob, as far as it lets itself be asked. Registries whose storage refuses such
    /// questions, or fails over a blob that it has lost (500), take blobs all the same.
    ///
    /// # Errors
    ///
    /// If the registry can't be reached, or fails in another way.
    pub fn is_known_to_have(&self, blob: &Descriptor) -> Result<bool, Error> {
        match self.has(blob) {
            Err(error) if is_no_answer(&error) => Ok(false),
            // skopeo#1639: otherwise what is lost could never be replaced.
            Err(Error::Refused { status: 500, .. }) => Ok(false),
            asked => asked,
        }
    }

    /// Asks once whether the repository has a blob.
    pub(super) fn ask_for(&self, blob: &Descriptor, what: &str) -> Result<bool, Failure> {
        let digest = blob.digest.to_string();
        let mut call = Call::get(what, Target::Repository("blobs", &digest));
        call.method = Method::HEAD;
        call.accepted = &[StatusCode::NOT_FOUND];
        Ok(self.remote.attempt(Scope::Push, &call)?.exchange.status.is_success())
    }
}

/// Whether a registry only refused to say whether it has a blob. It may take one all the same.
pub(super) fn is_no_answer(error: &Error) -> bool {
    matches!(
        error,
        Error::Unauthorised { .. }
            | Error::NotFound { .. }
            | Error::Redirect { .. }
            | Error::Refused { status: 400..=428 | 430..=499, .. }
    )
}
