//! Logging in: what a registry challenges us to show.
//!
//! There is a [`Gate`] for each repository and what is done there, shared by all threads. Nothing is shown before the
//! registry has asked for it. While one thread fetches a token, the others wait for that one.

mod access;
mod challenge;
mod token;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::client::Shared;
use crate::credentials::{Found, Login, Wanted as Sought};
use crate::options::Options;
use crate::retry::Failure;
use crate::transport::Authorization;
use crate::verdict::{Standing, Subject};
pub(crate) use access::Access;
use challenge::{Challenge, Wicket, challenge};
use token::{Token, Wanted};

/// What a repository wants to be shown.
#[derive(Debug)]
pub(crate) struct Gate {
    registry: String,
    repository: String,
    access: Access,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every new pass, so that of several threads that were refused only the first asks for another.
    generation: u64,
    pass: Option<Pass>,
    /// Where the login came from.
    login: Option<String>,
    /// Whether the registry was asked for what it wants to be shown, apart from any image.
    has_knocked: bool,
}

#[derive(Debug)]
enum Pass {
    /// The same every time.
    Fixed(Authorization),
    /// A token that ends, and what is needed for the next.
    Token { token: Token, wicket: Wicket, registry: Url },
}

/// What was shown with a request.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) authorization: Option<Authorization>,
    /// Where the login came from.
    pub(crate) login: Option<String>,
    /// Whether a token was had for it.
    pub(crate) is_accepted: bool,
    generation: u64,
}

impl Shown {
    /// What is to be said of the login.
    pub(crate) fn standing(&self) -> Standing<'_> {
        match &self.login {
            Some(place) if self.is_accepted => Standing::Accepted(place),
            place => Standing::shown(place.as_deref()),
        }
    }
}

/// Whether there is something else to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// Ask again.
    Yes,
    /// We have nothing.
    No,
}

impl Gate {
    /// The gate before a repository.
    pub(crate) fn new(registry: &str, repository: &str, access: Access) -> Self {
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Self { registry, repository, access, state: Mutex::default() }
    }

    /// What to show now: nothing if nothing was ever asked for. A token near its end is renewed first.
    pub(crate) fn show(&self, shared: &Shared, subject: Subject<'_>) -> Result<Shown, Failure> {
        let mut state = self.lock();
        let authorization = match &state.pass {
            None => None,
            Some(Pass::Fixed(authorization)) => Some(authorization.clone()),
            Some(Pass::Token { token, .. }) if token.good_until > Instant::now() => {
                Some(Authorization::Bearer(token.value.clone()))
            }
            Some(Pass::Token { wicket, registry, .. }) => {
                let (wicket, registry) = (wicket.clone(), registry.clone());
                self.fetch(&mut state, shared, subject, (wicket, registry))?
            }
        };
        let is_accepted = matches!(state.pass, Some(Pass::Token { .. }));
        let State { generation, ref login, .. } = *state;
        Ok(Shown { authorization, login: login.clone(), is_accepted, generation })
    }

    /// Whether it makes sense to ask the registry itself what it wants to be shown: it hasn't said so about an image, there is
    /// a login, and it is the first time.
    pub(crate) fn may_knock(&self, shared: &Shared) -> Result<bool, Failure> {
        let mut state = self.lock();
        if state.pass.is_some() || std::mem::replace(&mut state.has_knocked, true) {
            return Ok(false);
        }
        Ok(self.find(shared)?.is_some())
    }

    /// Where a login is known from, whether or not anybody wanted it.
    pub(crate) fn known(&self, shared: &Shared) -> Option<String> {
        self.find(shared).ok().flatten().map(|found| found.place)
    }

    /// After a 401: finds out what else there is to show.
    pub(crate) fn renew(
        &self,
        shared: &Shared,
        subject: Subject<'_>,
        refused: &Shown,
        (registry, headers): (&Url, &HeaderMap),
    ) -> Result<Renewed, Failure> {
        let mut state = self.lock();
        if state.generation != refused.generation {
            return Ok(Renewed::Yes);
        }
        match challenge(headers) {
            Some(Challenge::Bearer(wicket)) => {
                let was_fixed = matches!(state.pass, Some(Pass::Fixed(_)));
                let before = match &state.pass {
                    Some(Pass::Token { wicket: before, .. }) if before.realm != wicket.realm => {
                        Some(before.clone())
                    }
                    _ => None,
                };
                let shown = self.fetch(&mut state, shared, subject, (wicket, registry.clone()));
                // Who shows an old token may be sent to another token server than a stranger, and one that gives nothing
                // (nvcr.io, oras-dotnet#415): then the one that gave the token is asked.
                let shown = match (shown, before) {
                    (Err(_), Some(before)) => {
                        self.fetch(&mut state, shared, subject, (before, registry.clone()))?
                    }
                    (shown, _) => shown?,
                };
                let is_fixed = matches!(state.pass, Some(Pass::Fixed(_)));
                Ok(if shown.is_some() && !(was_fixed && is_fixed) {
                    Renewed::Yes
                } else {
                    Renewed::No
                })
            }
            Some(Challenge::Basic) if state.pass.is_none() => self.log_in(&mut state, shared),
            _ => Ok(Renewed::No),
        }
    }

    /// Answers a Basic challenge.
    fn log_in(&self, state: &mut State, shared: &Shared) -> Result<Renewed, Failure> {
        let Some(Found { login, place }) = self.find(shared)? else { return Ok(Renewed::No) };
        state.login = Some(place);
        let Login::Password { user, password } = login else { return Ok(Renewed::No) };
        state.pass = Some(Pass::Fixed(Authorization::Basic(user, password)));
        state.generation += 1;
        Ok(Renewed::Yes)
    }

    /// Answers a Bearer challenge.
    fn fetch(
        &self,
        state: &mut State,
        shared: &Shared,
        subject: Subject<'_>,
        (wicket, registry): (Wicket, Url),
    ) -> Result<Option<Authorization>, Failure> {
        let found = self.find(shared)?;
        let login = found.as_ref().map(|found| &found.login);
        let place = found.as_ref().map(|found| found.place.clone());
        let pass = if let Some(Login::RegistryToken(token)) = login {
            Pass::Fixed(Authorization::Bearer(token.clone()))
        } else {
            let scope = self.access.scope(&self.repository, wicket.scope.as_deref());
            let wicket = Wicket { scope: Some(scope.clone()), ..wicket };
            let subject = Subject { login: Standing::shown(place.as_deref()), ..subject };
            let wanted = Wanted { subject, wicket: &wicket, scope: &scope, login };
            let token = token::fetch(shared, &wanted, &registry)?;
            Pass::Token { token, wicket, registry }
        };
        let authorization = match &pass {
            Pass::Fixed(authorization) => authorization.clone(),
            Pass::Token { token, .. } => Authorization::Bearer(token.value.clone()),
        };
        let (generation, has_knocked) = (state.generation + 1, state.has_knocked);
        *state = State { generation, pass: Some(pass), login: place, has_knocked };
        Ok(Some(authorization))
    }

    fn find(&self, shared: &Shared) -> Result<Option<Found>, Failure> {
        let Options { credentials, cancelled, .. } = &shared.options;
        let (registry, repository) = (&self.registry, &self.repository);
        let (found, troubles) =
            credentials.find(&Sought { registry, repository, cancelled: *cancelled })?;
        for trouble in troubles {
            shared.warn(trouble);
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
