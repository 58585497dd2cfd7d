//! The requests of an upload, and what follows from their successes.

use std::sync::Arc;

use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use url::Url;

use super::{INSTRUCTIVE, RemoteState, Step, Upload, location};
use crate::api::existence::is_no_answer;
use crate::auth::Scope;
use crate::base::{Content, Error, Failure};
use crate::http::headers::text_of;
use crate::http::{AnswerTime, Payload};
use crate::session::{Answer, Call, ErrorResponse, Target, UploadMode};

/// `OCI-Chunk-Min-Length`.
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

impl Upload {
    /// Begins the upload, or mounts the blob.
    pub(super) fn start(&mut self, query: &[(&str, &str)], scope: Scope) -> Result<(), Failure> {
        let mut call = Call::get(&self.what, Target::Uploads(query));
        call.method = Method::POST;
        let Answer { exchange, url, .. } = self.repository.remote.attempt(scope, &call)?;
        self.offset = 0;
        if exchange.status == StatusCode::CREATED && !query.is_empty() {
            self.state = RemoteState::Done;
            return Ok(());
        }
        let location = match location::location(&url, &exchange.headers) {
            // It mounts nothing and names no address either. The upload begins with a request of its own.
            None if !query.is_empty() => return Ok(()),
            None => return Err(self.protocol("no Location of an upload").into()),
            Some(location) => location.map_err(|reason| self.protocol(reason))?,
        };
        self.location = Some(self.repository.remote.endpoint().in_scheme(location));
        let least =
            text_of(&exchange.headers, &CHUNK_MIN_LENGTH).and_then(|text| text.trim().parse().ok());
        self.chunk = self.chunk.max(least.unwrap_or_default());
        Ok(())
    }

    /// Asks the registry how far it has come.
    pub(super) fn find_out(&mut self) -> Result<(), Failure> {
        let in_chunks = self.mode == UploadMode::Chunks;
        let Some(location) = self.location.clone().filter(|_| in_chunks) else {
            return self.begin_anew();
        };
        match self.ask(&location)? {
            Some((received, answer)) if received <= self.descriptor.size => {
                self.offset = received;
                self.state = RemoteState::Known;
                self.go_on(&answer.url, &answer.exchange.headers)
            }
            _ => self.begin_anew(),
        }
    }

    /// Asks how many bytes of an upload the registry has; none if it doesn't say.
    fn ask(&self, location: &Url) -> Result<Option<(u64, Answer)>, Failure> {
        let call =
            Call { accepted: &INSTRUCTIVE, ..Call::get(&self.what, Target::Given(location)) };
        let answer = match self.repository.remote.attempt(Scope::Push, &call) {
            Ok(answer) => answer,
            // A login that may write need not be one that may ask.
            Err(failure) if matches!(*failure.error, Error::Unauthorised { .. }) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let received = location::received(&answer.exchange.headers);
        let received = received.filter(|_| answer.exchange.status.is_success());
        Ok(received.map(|received| (received, answer)))
    }

    /// Gives the upload up, unless it was done before its answer was lost.
    fn begin_anew(&mut self) -> Result<(), Failure> {
        let may_be_done = self.state == RemoteState::MayBeDone;
        self.location = None;
        self.offset = 0;
        let is_done = may_be_done && self.is_there()?;
        self.state = if is_done { RemoteState::Done } else { RemoteState::Known };
        Ok(())
    }

    /// Whether the registry has the blob, as far as it says so.
    fn is_there(&self) -> Result<bool, Failure> {
        match self.repository.ask_for(&self.descriptor, &self.what) {
            Err(failure) if is_no_answer(&failure.error) => Ok(false),
            asked => asked,
        }
    }

    /// Sends a chunk.
    pub(super) fn patch(
        &mut self,
        content: &Arc<dyn Content>,
        length: u64,
    ) -> Result<Step, Failure> {
        let Some(location) = self.location.clone() else { return Ok(Step::Again) };
        self.state = RemoteState::Unknown;
        let range = format!("{}-{}", self.offset, self.offset + length - 1);
        let mut call = self.call(Method::PATCH, Target::Given(&location));
        call.headers.push((CONTENT_RANGE, range));
        call.payload = Some(self.payload(content, self.offset, length)?);
        let Answer { exchange, host, url } = self.repository.remote.attempt(Scope::Push, &call)?;
        self.spent += length;
        if !exchange.status.is_success() {
            return self.refused(ErrorResponse::read(exchange), &host, content);
        }
        self.go_on(&url, &exchange.headers)?;
        let sent = self.offset + length;
        let said = location::received(&exchange.headers).filter(|_| !self.ignores_ranges);
        if said.is_some_and(|said| said != sent) {
            self.compare(sent)?;
        } else {
            self.offset = sent;
        }
        self.state = RemoteState::Known;
        Ok(Step::Sent)
    }

    /// Whether the registry had a part of the blob before anything was sent, as it says when it is asked. Then it goes
    /// on there.
    pub(super) fn is_further_on(&mut self) -> Result<bool, Failure> {
        let Some(location) = self.location.clone().filter(|_| !self.offset_refused) else {
            return Ok(false);
        };
        self.offset_refused = true;
        match self.ask(&location)? {
            Some((received, answer)) if (1..=self.descriptor.size).contains(&received) => {
                self.offset = received;
                self.state = RemoteState::Known;
                self.go_on(&answer.url, &answer.exchange.headers)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Asks the registry how far it has come, because its answer to a chunk named another offset. It may really have
    /// taken less. If not, its ranges are of no use, and the digest will tell.
    fn compare(&mut self, sent: u64) -> Result<(), Failure> {
        let Some(location) = self.location.clone() else { return Ok(()) };
        match self.ask(&location)? {
            Some((less, answer)) if (self.offset + 1..sent).contains(&less) => {
                self.offset = less;
                self.go_on(&answer.url, &answer.exchange.headers)
            }
            _ => {
                self.offset = sent;
                self.ignores_ranges = true;
                self.repository.remote.endpoint().learn(|habits| habits.has_useless_ranges = true);
                Ok(())
            }
        }
    }

    /// Sends all of it by a PATCH that has no range.
    pub(super) fn patch_whole(&mut self, content: &Arc<dyn Content>) -> Result<Step, Failure> {
        let Some(location) = self.location.clone() else { return Ok(Step::Again) };
        self.state = RemoteState::Unknown;
        let mut call = self.call(Method::PATCH, Target::Given(&location));
        call.payload = Some(self.payload(content, 0, self.descriptor.size)?);
        let Answer { exchange, host, url } = self.repository.remote.attempt(Scope::Push, &call)?;
        self.spent += self.descriptor.size;
        if !exchange.status.is_success() {
            return self.refused(ErrorResponse::read(exchange), &host, content);
        }
        self.go_on(&url, &exchange.headers)?;
        self.offset = self.descriptor.size;
        self.state = RemoteState::Known;
        Ok(Step::Sent)
    }

    /// Ends the upload, with the whole content if there is only one request.
    pub(super) fn put(
        &mut self,
        whole: Option<&Arc<dyn Content>>,
        content: &Arc<dyn Content>,
    ) -> Result<Step, Failure> {
        let Some(location) = &self.location else { return Ok(Step::Again) };
        let location = location::finished(location, &self.descriptor.digest.to_string());
        self.state = RemoteState::MayBeDone;
        let mut call = self.call(Method::PUT, Target::Given(&location));
        call.answer = AnswerTime::Late;
        call.payload = match whole {
            Some(content) => Some(self.payload(content, 0, self.descriptor.size)?),
            None => None,
        };
        let Answer { exchange, host, .. } = self.repository.remote.attempt(Scope::Push, &call)?;
        self.spent += whole.map_or(0, |_| self.descriptor.size);
        if exchange.status.is_success() {
            self.state = RemoteState::Done;
            if self.is_habit {
                let mode = self.mode;
                self.repository.remote.endpoint().learn(|habits| habits.mode = mode);
            }
            return Ok(Step::Sent);
        }
        let response = ErrorResponse::read(exchange);
        if whole.is_some() {
            self.whole_refused(response, &host)
        } else {
            self.refused(response, &host, content)
        }
    }

    /// Gives the upload up, and tells the registry so within a second: it would keep what came for days. The upload can
    /// begin anew.
    pub fn cancel(&mut self) {
        let Some(location) = self.location.take().filter(|_| !self.is_done()) else { return };
        self.offset = 0;
        self.state = RemoteState::Known;
        let mut call =
            Call { accepted: &INSTRUCTIVE, ..Call::get(&self.what, Target::Given(&location)) };
        call.method = Method::DELETE;
        call.answer = AnswerTime::Farewell;
        // The registry forgets it in any case, sooner or later.
        self.repository.remote.attempt(Scope::Push, &call).ok();
    }

    fn call<'a>(&'a self, method: Method, target: Target<'a>) -> Call<'a> {
        let headers = vec![(CONTENT_TYPE, "application/octet-stream".to_owned())];
        Call { method, headers, accepted: &INSTRUCTIVE, ..Call::get(&self.what, target) }
    }

    fn payload(
        &self,
        content: &Arc<dyn Content>,
        offset: u64,
        length: u64,
    ) -> Result<Payload, Failure> {
        if offset < content.range().start {
            return Err(Error::Rewound { what: self.what.clone() }.into());
        }
        Ok(Payload { content: Arc::clone(content), offset, length })
    }

    /// Follows an answer to where the upload goes on; it stays where it is if the answer doesn't say.
    fn go_on(&mut self, asked: &Url, headers: &HeaderMap) -> Result<(), Failure> {
        if let Some(location) = location::location(asked, headers) {
            let location = location.map_err(|reason| self.protocol(reason))?;
            self.location = Some(self.repository.remote.endpoint().in_scheme(location));
        }
        Ok(())
    }
}
