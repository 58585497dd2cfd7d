//! Logging in: what a registry challenges us to present.
//!
//! There is an [`Authenticator`] for each repository and each scope, shared by all threads. Nothing is presented before
//! the registry has asked for it. While one thread fetches a token, the others wait for that one. Requests are sent by
//! the floor above, through the trait [`Backend`].

mod backend;
mod challenge;
mod scope;
mod token;

use std::sync::Mutex;
use std::time::Instant;

use http::HeaderMap;
use url::Url;

use crate::base::{Failure, lock};
use crate::config::{FoundLogin, Login};
use crate::http::Authorization;
pub(crate) use backend::{Backend, LoginStatus, TokenAnswer, TokenRequest};
use challenge::{BearerChallenge, Challenge, challenge};
pub(crate) use scope::Scope;
use token::{Token, TokenSource};

/// Knows what a registry wants to be presented for one repository and one scope.
#[derive(Debug)]
pub(crate) struct Authenticator {
    registry: String,
    repository: String,
    scope: Scope,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every new credential, so that of several threads that were refused only the first asks for another.
    generation: u64,
    credential: Option<Credential>,
    /// The place that the login came from.
    login: Option<String>,
    /// Whether the registry was asked for its challenge, apart from any image.
    was_probed: bool,
}

/// What is presented with each request.
#[derive(Debug)]
enum Credential {
    /// The same every time.
    Fixed(Authorization),
    /// A token that expires, and where the next one comes from.
    Token { token: Token, source: TokenSource },
}

/// What was presented with a request.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) authorization: Option<Authorization>,
    /// The place that the login came from.
    login: Option<String>,
    /// Whether the login was good enough for a token.
    is_accepted: bool,
    generation: u64,
}

impl Presented {
    /// Whether there was a login.
    pub(crate) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// What an error says of the login.
    pub(crate) fn status(&self) -> LoginStatus<'_> {
        match &self.login {
            Some(source) if self.is_accepted => LoginStatus::Accepted(source),
            source => LoginStatus::presented(source.as_deref()),
        }
    }
}

/// An answer with status 401.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unauthorized<'a> {
    /// The address that was asked.
    pub(crate) url: &'a Url,
    pub(crate) headers: &'a HeaderMap,
}

impl Credential {
    fn is_fixed(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    fn authorization(&self) -> Authorization {
        match self {
            Self::Fixed(authorization) => authorization.clone(),
            Self::Token { token, .. } => Authorization::Bearer(token.value.clone()),
        }
    }
}

impl State {
    fn presented(&self) -> Presented {
        Presented {
            authorization: self.credential.as_ref().map(Credential::authorization),
            login: self.login.clone(),
            is_accepted: matches!(self.credential, Some(Credential::Token { .. })),
            generation: self.generation,
        }
    }
}

impl Authenticator {
    /// The authenticator for a repository of a registry. It presents nothing before it is asked to.
    pub(crate) fn new(registry: &str, repository: &str, scope: Scope) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            scope,
            state: Mutex::default(),
        }
    }

    /// What to present now: nothing if the registry never asked for anything. A token near its end is renewed first.
    /// `what` names the image or blob in errors.
    ///
    /// # Errors
    ///
    /// Those of a request for a token.
    pub(crate) fn present(&self, backend: &dyn Backend, what: &str) -> Result<Presented, Failure> {
        let mut state = lock(&self.state);
        if let Some(Credential::Token { token, source }) = &state.credential
            && token.good_until <= Instant::now()
        {
            let source = source.clone();
            self.fetch(&mut state, backend, what, source)?;
        }
        Ok(state.presented())
    }

    /// Whether it makes sense to ask the registry for its challenge apart from an image: it hasn't sent one about an
    /// image, there is a login, and it is the first time.
    pub(crate) fn may_probe(&self, backend: &dyn Backend) -> Result<bool, Failure> {
        let mut state = lock(&self.state);
        if state.credential.is_some() || std::mem::replace(&mut state.was_probed, true) {
            return Ok(false);
        }
        Ok(self.find_login(backend)?.is_some())
    }

    /// The place that a login is known from, whether or not the registry wanted it.
    pub(crate) fn known_login(&self, backend: &dyn Backend) -> Option<String> {
        self.find_login(backend).ok().flatten().map(|found| found.source)
    }

    /// Answers the challenge of a 401 to a request that came with `refused`. Gives back whether there is something else
    /// to present now.
    ///
    /// # Errors
    ///
    /// Those of a request for a token, and of a search for a login.
    pub(crate) fn renew(
        &self,
        backend: &dyn Backend,
        what: &str,
        refused: &Presented,
        answer: Unauthorized<'_>,
    ) -> Result<bool, Failure> {
        let mut state = lock(&self.state);
        if state.generation != refused.generation {
            return Ok(true);
        }
        match challenge(answer.headers) {
            Some(Challenge::Bearer(challenge)) => {
                let source = TokenSource { challenge, registry: answer.url.clone() };
                self.renew_token(&mut state, backend, what, source)
            }
            Some(Challenge::Basic) if state.credential.is_none() => {
                self.present_password(&mut state, backend)
            }
            _ => Ok(false),
        }
    }

    /// Answers a Bearer challenge.
    fn renew_token(
        &self,
        state: &mut State,
        backend: &dyn Backend,
        what: &str,
        source: TokenSource,
    ) -> Result<bool, Failure> {
        let was_fixed = state.credential.as_ref().is_some_and(Credential::is_fixed);
        let former = match &state.credential {
            Some(Credential::Token { source: former, .. })
                if former.challenge.realm != source.challenge.realm =>
            {
                Some(former.challenge.clone())
            }
            _ => None,
        };
        let registry = source.registry.clone();
        match (self.fetch(state, backend, what, source), former) {
            // An old token may bring a challenge that names another token server than a stranger gets to see, and one
            // that gives nothing (nvcr.io, oras-dotnet#415): then the server that gave the old token is asked.
            (Err(_), Some(challenge)) => {
                self.fetch(state, backend, what, TokenSource { challenge, registry })?;
            }
            (fetched, _) => fetched?,
        }
        let is_fixed = state.credential.as_ref().is_some_and(Credential::is_fixed);
        Ok(!(was_fixed && is_fixed))
    }

    /// Answers a Basic challenge.
    fn present_password(&self, state: &mut State, backend: &dyn Backend) -> Result<bool, Failure> {
        let Some(FoundLogin { login, source }) = self.find_login(backend)? else {
            return Ok(false);
        };
        state.login = Some(source);
        let Login::Password { user, password } = login else { return Ok(false) };
        state.credential = Some(Credential::Fixed(Authorization::Basic(user, password)));
        state.generation += 1;
        Ok(true)
    }

    /// Gets a token, or takes the one that the login is.
    fn fetch(
        &self,
        state: &mut State,
        backend: &dyn Backend,
        what: &str,
        source: TokenSource,
    ) -> Result<(), Failure> {
        let found = self.find_login(backend)?;
        let login = found.as_ref().map(|found| &found.login);
        let place = found.as_ref().map(|found| found.source.clone());
        state.credential = Some(if let Some(Login::RegistryToken(token)) = login {
            Credential::Fixed(Authorization::Bearer(token.clone()))
        } else {
            let scope = self.scope.parameter(&self.repository, source.challenge.scope.as_deref());
            let challenge = BearerChallenge { scope: Some(scope), ..source.challenge };
            let source = TokenSource { challenge, ..source };
            let query = token::TokenQuery {
                what,
                registry: &self.registry,
                source: &source,
                login,
                status: LoginStatus::presented(place.as_deref()),
            };
            Credential::Token { token: token::fetch(backend, &query)?, source }
        });
        state.generation += 1;
        state.login = place;
        Ok(())
    }

    fn find_login(&self, backend: &dyn Backend) -> Result<Option<FoundLogin>, Failure> {
        backend.find_login(&self.registry, &self.repository)
    }
}
