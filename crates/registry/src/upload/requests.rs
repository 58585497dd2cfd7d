//! The requests of an upload, and what their successes say.

use std::sync::Arc;

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName};
use reqwest::{Method, StatusCode, Url};

use super::{Content, Knowledge, Step, TELLING, Upload, place};
use crate::attempt::{Answer, Call, Place};
use crate::auth::Access;
use crate::deposit::is_no_answer;
use crate::error::Error;
use crate::retry::Failure;
use crate::transport::{Answering, Payload};
use crate::verdict::{Refusal, text_of};

/// `OCI-Chunk-Min-Length`.
const LEAST: HeaderName = HeaderName::from_static("oci-chunk-min-length");

impl Upload {
    /// Begins the upload, or mounts the blob.
    pub(super) fn start(&mut self, query: &[(&str, &str)], access: &Access) -> Result<(), Failure> {
        let mut call = Call::get(&self.what, Place::Uploads(query));
        call.method = Method::POST;
        let Answer { exchange, url, .. } = self.repository.attempt_for(access, &call)?;
        self.offset = 0;
        if exchange.status == StatusCode::CREATED && !query.is_empty() {
            self.knowledge = Knowledge::Done;
            return Ok(());
        }
        let place = match place::location(&url, &exchange.headers) {
            // It mounts nothing, and doesn't say where to go on either: an upload of its own will.
            None if !query.is_empty() => return Ok(()),
            None => return Err(self.protocol("no Location of an upload").into()),
            Some(place) => place.map_err(|reason| self.protocol(reason))?,
        };
        self.place = Some(self.repository.endpoint().in_scheme(place));
        let least = text_of(&exchange.headers, &LEAST).and_then(|text| text.trim().parse().ok());
        self.chunk = self.chunk.max(least.unwrap_or_default());
        Ok(())
    }

    /// Asks the registry how far it has come.
    pub(super) fn find_out(&mut self) -> Result<(), Failure> {
        let in_chunks = self.manner == super::Manner::Chunks;
        let Some(place) = self.place.clone().filter(|_| in_chunks) else {
            return self.begin_anew();
        };
        match self.ask(&place)? {
            Some((received, answer)) if received <= self.descriptor.size => {
                self.offset = received;
                self.knowledge = Knowledge::Sure;
                self.go_on(&answer.url, &answer.exchange.headers)
            }
            _ => self.begin_anew(),
        }
    }

    /// How many bytes of an upload the registry says it has, if it says so.
    fn ask(&self, place: &Url) -> Result<Option<(u64, Answer)>, Failure> {
        let call = Call { accepted: &TELLING, ..Call::get(&self.what, Place::Given(place)) };
        let answer = match self.repository.attempt_for(&Access::Push, &call) {
            Ok(answer) => answer,
            // Who may write need not be one who may ask.
            Err(failure) if matches!(*failure.error, Error::Unauthorised { .. }) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let received = place::received(&answer.exchange.headers);
        let received = received.filter(|_| answer.exchange.status.is_success());
        Ok(received.map(|received| (received, answer)))
    }

    /// Gives the upload up, unless it was done before its answer was lost.
    fn begin_anew(&mut self) -> Result<(), Failure> {
        let may_be_done = self.knowledge == Knowledge::MayBeDone;
        (self.place, self.offset) = (None, 0);
        let is_done = may_be_done && self.is_there()?;
        self.knowledge = if is_done { Knowledge::Done } else { Knowledge::Sure };
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
        let Some(place) = self.place.clone() else { return Ok(Step::Again) };
        self.knowledge = Knowledge::Unsure;
        let range = format!("{}-{}", self.offset, self.offset + length - 1);
        let mut call = self.call(Method::PATCH, Place::Given(&place));
        call.headers.push((CONTENT_RANGE, range));
        call.payload = Some(self.payload(content, self.offset, length)?);
        let Answer { exchange, host, url } = self.repository.attempt_for(&Access::Push, &call)?;
        self.spent += length;
        if !exchange.status.is_success() {
            return self.refused(Refusal::read(exchange), &host, content);
        }
        self.go_on(&url, &exchange.headers)?;
        let sent = self.offset + length;
        let said = place::received(&exchange.headers).filter(|_| !self.is_blind);
        if said.is_some_and(|said| said != sent) {
            self.compare(sent)?;
        } else {
            self.offset = sent;
        }
        self.knowledge = Knowledge::Sure;
        Ok(Step::Sent)
    }

    /// Whether the registry had a part of the blob before anything was sent, as it says when it is asked. Then it goes on
    /// there.
    pub(super) fn is_further_on(&mut self) -> Result<bool, Failure> {
        let Some(place) = self.place.clone().filter(|_| !self.is_astray) else { return Ok(false) };
        self.is_astray = true;
        match self.ask(&place)? {
            Some((received, answer)) if (1..=self.descriptor.size).contains(&received) => {
                (self.offset, self.knowledge) = (received, Knowledge::Sure);
                self.go_on(&answer.url, &answer.exchange.headers)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Asks the registry how far it has come, because its answer to a chunk said something else than what was sent. It may
    /// really have taken less. Otherwise its answers say nothing, and the digest will tell.
    fn compare(&mut self, sent: u64) -> Result<(), Failure> {
        let Some(place) = self.place.clone() else { return Ok(()) };
        match self.ask(&place)? {
            Some((less, answer)) if (self.offset + 1..sent).contains(&less) => {
                self.offset = less;
                self.go_on(&answer.url, &answer.exchange.headers)
            }
            _ => {
                self.offset = sent;
                self.is_blind = true;
                self.repository.endpoint().learn(|habits| habits.is_blind = true);
                Ok(())
            }
        }
    }

    /// Sends all of it by a PATCH that has no range.
    pub(super) fn patch_whole(&mut self, content: &Arc<dyn Content>) -> Result<Step, Failure> {
        let Some(place) = self.place.clone() else { return Ok(Step::Again) };
        self.knowledge = Knowledge::Unsure;
        let mut call = self.call(Method::PATCH, Place::Given(&place));
        call.payload = Some(self.payload(content, 0, self.descriptor.size)?);
        let Answer { exchange, host, url } = self.repository.attempt_for(&Access::Push, &call)?;
        self.spent += self.descriptor.size;
        if !exchange.status.is_success() {
            return self.refused(Refusal::read(exchange), &host, content);
        }
        self.go_on(&url, &exchange.headers)?;
        self.offset = self.descriptor.size;
        self.knowledge = Knowledge::Sure;
        Ok(Step::Sent)
    }

    /// Ends the upload, with the whole content if there is only one request.
    pub(super) fn put(
        &mut self,
        whole: Option<&Arc<dyn Content>>,
        content: &Arc<dyn Content>,
    ) -> Result<Step, Failure> {
        let Some(place) = &self.place else { return Ok(Step::Again) };
        let place = place::finished(place, &self.descriptor.digest.to_string());
        self.knowledge = Knowledge::MayBeDone;
        let mut call = self.call(Method::PUT, Place::Given(&place));
        call.answer = Answering::Late;
        call.payload = match whole {
            Some(content) => Some(self.payload(content, 0, self.descriptor.size)?),
            None => None,
        };
        let Answer { exchange, host, .. } = self.repository.attempt_for(&Access::Push, &call)?;
        self.spent += whole.map_or(0, |_| self.descriptor.size);
        if exchange.status.is_success() {
            self.knowledge = Knowledge::Done;
            if self.is_lesson {
                let manner = self.manner;
                self.repository.endpoint().learn(|habits| habits.manner = manner);
            }
            return Ok(Step::Sent);
        }
        let refusal = Refusal::read(exchange);
        if whole.is_some() {
            self.whole_refused(refusal, &host)
        } else {
            self.refused(refusal, &host, content)
        }
    }

    /// Gives the upload up and tells the registry so, as well as that can be done in a moment: it would keep what came for
    /// days. It can be begun anew.
    pub fn cancel(&mut self) {
        let Some(place) = self.place.take().filter(|_| !self.is_done()) else { return };
        (self.offset, self.knowledge) = (0, Knowledge::Sure);
        let mut call = Call { accepted: &TELLING, ..Call::get(&self.what, Place::Given(&place)) };
        (call.method, call.answer) = (Method::DELETE, Answering::Farewell);
        // The registry forgets it in any case, sooner or later.
        self.repository.attempt_for(&Access::Push, &call).ok();
    }

    fn call<'a>(&'a self, method: Method, place: Place<'a>) -> Call<'a> {
        let headers = vec![(CONTENT_TYPE, "application/octet-stream".to_owned())];
        Call { method, headers, accepted: &TELLING, ..Call::get(&self.what, place) }
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
        if let Some(location) = place::location(asked, headers) {
            let place = location.map_err(|reason| self.protocol(reason))?;
            self.place = Some(self.repository.endpoint().in_scheme(place));
        }
        Ok(())
    }
}
