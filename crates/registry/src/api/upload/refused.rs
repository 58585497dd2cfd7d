//! The ways to go on after a registry has refused a part of a blob.
//!
//! Each way is tried once, so that there is an end, and no way is taken that would send the blob a third time.

use std::sync::Arc;

use http::StatusCode;

use super::{RemoteState, Step, Upload};
use crate::auth::LoginStatus;
use crate::base::{Content, Error, Failure};
use crate::session::{ErrorResponse, RequestContext, UploadMode};

/// Sizes of requests, in bytes, that are tried after a larger one was refused: a usual limit of proxies, nginx's own
/// default, and half of that.
const SMALLER: [u64; 3] = [8 << 20, 1 << 20, 512 << 10];

impl Upload {
    /// After a chunk, or the end of what was sent before, was refused.
    pub(super) fn refused(
        &mut self,
        response: ErrorResponse,
        host: &str,
        content: &Arc<dyn Content>,
    ) -> Result<Step, Failure> {
        let is_unknown =
            matches!(&response.code[..], "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID");
        let was_last = self.state == RemoteState::MayBeDone;
        match response.status {
            _ if response.code == "DIGEST_INVALID" && self.mode != UploadMode::Chunks => {
                Err(self.other_digest(response, host))
            }
            _ if response.code == "DIGEST_INVALID" => self.another_way(response, host, content),
            StatusCode::PAYLOAD_TOO_LARGE if self.shrinks() => Ok(Step::Again),
            StatusCode::PAYLOAD_TOO_LARGE => Err(response.failure(self.context(host))),
            StatusCode::RANGE_NOT_SATISFIABLE
                if !self.has_all(content) && self.shrinks_to(limit_in(&response.said)) =>
            {
                Ok(Step::Again)
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.offset > 0 && !self.offset_refused => {
                self.offset_refused = true;
                Err(self.later(response, host))
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.offset == 0 && self.is_further_on()? => {
                Ok(Step::Again)
            }
            // It may be there: only the answer to an earlier request was lost.
            StatusCode::NOT_FOUND | StatusCode::GONE if was_last && !self.offset_refused => {
                self.location = None;
                self.offset_refused = true;
                Err(self.later(response, host))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                self.location = None;
                self.another_way(response, host, content)
            }
            StatusCode::BAD_REQUEST if is_unknown => {
                self.location = None;
                self.another_way(response, host, content)
            }
            _ => {
                // At its very beginning a chunk is refused for what it is, not for where it comes.
                self.is_habit = self.offset == 0 && !was_last;
                self.another_way(response, host, content)
            }
        }
    }

    /// After a PUT with the whole blob was refused.
    pub(super) fn whole_refused(
        &mut self,
        response: ErrorResponse,
        host: &str,
    ) -> Result<Step, Failure> {
        let is_unknown =
            matches!(&response.code[..], "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID");
        match response.status {
            _ if response.code == "DIGEST_INVALID" => Err(self.other_digest(response, host)),
            StatusCode::PAYLOAD_TOO_LARGE if self.shrinks() => Ok(Step::Again),
            StatusCode::RANGE_NOT_SATISFIABLE if self.shrinks_to(limit_in(&response.said)) => {
                Ok(Step::Again)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::RANGE_NOT_SATISFIABLE
                if !self.offset_refused =>
            {
                self.location = None;
                self.offset_refused = true;
                Err(self.later(response, host))
            }
            StatusCode::BAD_REQUEST if is_unknown && !self.offset_refused => {
                self.location = None;
                self.offset_refused = true;
                Err(self.later(response, host))
            }
            StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::BAD_REQUEST
            | StatusCode::LENGTH_REQUIRED
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
                if self.may_send_again() =>
            {
                self.cancel();
                self.mode = UploadMode::Streamed;
                self.is_habit = true;
                Ok(Step::Again)
            }
            _ => Err(response.failure(self.context(host))),
        }
    }

    /// Tries the whole in one request, where that was not tried before and `content` has all of it.
    fn another_way(
        &mut self,
        response: ErrorResponse,
        host: &str,
        content: &Arc<dyn Content>,
    ) -> Result<Step, Failure> {
        if self.mode != UploadMode::Chunks || self.descriptor.size == 0 {
            return Err(response.failure(self.context(host)));
        }
        if !self.has_all(content) {
            let is_lost = self.location.is_none() || self.offset > 0;
            let rewound = Error::Rewound { what: self.what.clone() };
            return Err(if is_lost {
                rewound.into()
            } else {
                response.failure(self.context(host))
            });
        }
        if !self.may_send_again() {
            return Err(response.failure(self.context(host)));
        }
        self.sends_whole();
        Ok(Step::Again)
    }

    /// The same after a failure that could have passed and didn't. Gives back whether there is another way.
    pub(super) fn goes_another_way(&mut self, error: &Error, content: &Arc<dyn Content>) -> bool {
        let goes = matches!(error, Error::Refused { status: 500.., .. })
            && self.mode == UploadMode::Chunks
            && self.location.is_some()
            && self.descriptor.size > self.chunk
            && self.has_all(content)
            && self.may_send_again();
        if goes {
            self.sends_whole();
        }
        goes
    }

    fn sends_whole(&mut self) {
        self.cancel();
        self.offset = 0;
        self.state = RemoteState::Known;
        self.offset_refused = false;
        self.mode = UploadMode::Whole;
        self.attempts.progress();
    }

    /// Chooses smaller requests than those that were too large, if there are any.
    fn shrinks(&mut self) -> bool {
        let tried = self.chunk.min(self.descriptor.size);
        // The refused request may have been a large part of all that may be sent: then the next one must not be.
        let is_affordable = self.spent + SMALLER[0] <= self.descriptor.size;
        let most = if is_affordable { SMALLER[0] } else { SMALLER[1] };
        let Some(smaller) = SMALLER.into_iter().find(|&size| size < tried && size <= most) else {
            return false;
        };
        self.shrinks_to(Some(smaller))
    }

    /// The same where the largest possible request is known.
    fn shrinks_to(&mut self, most: Option<u64>) -> bool {
        let tried = if self.mode == UploadMode::Chunks { self.chunk } else { u64::MAX };
        let Some(smaller) = most.filter(|&most| most < tried.min(self.descriptor.size)) else {
            return false;
        };
        self.chunk = smaller;
        self.mode = UploadMode::Chunks;
        self.repository.remote.endpoint().learn(|habits| {
            habits.chunk = Some(smaller);
            habits.mode = UploadMode::Chunks;
        });
        self.state = RemoteState::Unknown;
        true
    }

    fn has_all(&self, content: &Arc<dyn Content>) -> bool {
        let range = content.range();
        range.start == 0 && range.end >= self.descriptor.size
    }

    /// Whether the blob would not be sent a third time; a chunk that came twice doesn't count.
    fn may_send_again(&self) -> bool {
        self.spent <= self.descriptor.size + self.chunk
    }

    fn other_digest(&self, response: ErrorResponse, host: &str) -> Failure {
        Error::DigestRefused { what: self.what.clone(), host: host.to_owned(), said: response.said }
            .into()
    }

    /// A response that may pass when the upload goes on in another way.
    fn later(&self, response: ErrorResponse, host: &str) -> Failure {
        let error = response.failure(self.context(host)).error;
        Failure::transient(*error)
    }

    fn context<'a>(&'a self, host: &'a str) -> RequestContext<'a> {
        RequestContext {
            is_elsewhere: false,
            what: &self.what,
            registry: self.repository.remote.registry(),
            host,
            login: LoginStatus::Unknown,
        }
    }
}

/// The most bytes of a request that a refusal names: `… the maximum permissible limit of 4.00MiB`.
fn limit_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("limit of ")?;
    let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
    let (number, unit) = rest.split_at(end);
    let shift = match unit.trim_start().get(..1)?.to_ascii_uppercase().as_str() {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    let whole: u64 = number.split('.').next()?.parse().ok()?;
    // Rounded down: what comes after the point is no matter.
    whole.checked_mul(1 << shift).filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_from_the_text_of_a_refusal() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(limit_in(text), expected, "{text}");
        // ocx#237
        let text =
            "the request body is too large and exceeds the maximum permissible limit of 4.00MiB";
        check(text, Some(4 << 20));
        check("limit of 512 KiB.", Some(512 << 10));
        check("limit of 1GB", Some(1 << 30));
        for text in
            ["", "too large", "limit of ", "limit of MiB", "limit of 0.5MiB", "limit of 4 é"]
        {
            check(text, None);
        }
    }
}
