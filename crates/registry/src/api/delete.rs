//! Tags and manifests, removed.

use http::Method;

use super::repository::Repository;
use crate::auth::Scope;
use crate::base::Error;
use crate::session::{Call, Target};

impl Repository {
    /// Removes a tag, or a manifest by its digest and with it all of its tags. Mirrors are left alone.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] or [`Error::Unauthorised`] as the registry answers. [`Error::Refused`] with status 405 (others
    /// answer 400, 404 or 501) if it removes nothing by tag, or nothing at all.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let pinned = self.pinned(name)?;
        let what = self.manifest_name(name, pinned.as_ref());
        let call = Call {
            method: Method::DELETE,
            ..Call::get(&what, Target::Repository("manifests", name))
        };
        self.remote.attempts().run(&what, || self.remote.attempt(Scope::Delete, &call))?;
        Ok(())
    }
}
