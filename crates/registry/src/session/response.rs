//! The meaning of answers that are no success, and of failed exchanges.

use std::io;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::Value;

use crate::auth::LoginStatus;
use crate::base::{Cause, Denial, Error, Failure, RetryPolicy, one_line};
use crate::http::{Exchange, NOT_FOR_STRANGERS, TransportError, headers};

/// What nginx says in the page of a 400 about a client certificate that is missing or wrong.
const NO_CERTIFICATE: [&str; 2] =
    ["No required SSL certificate was sent", "The SSL certificate error"];
/// How many bytes of an error's body are read at most.
const LIMIT: u64 = 64 << 10;

/// An answer that is no success: the status and the registry's own words.
#[derive(Debug)]
pub(crate) struct ErrorResponse {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    /// The registry's own words for the user: one line, escaped.
    pub(crate) said: String,
    /// The server's words about our certificate, if there are any.
    about_certificate: Option<&'static str>,
    retry_after: Option<Duration>,
}

/// The request that an answer belongs to, for the error's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext<'a> {
    pub(crate) what: &'a str,
    pub(crate) registry: &'a str,
    pub(crate) host: &'a str,
    /// Whether the registry has sent us to another host, which knows no logins.
    pub(crate) is_elsewhere: bool,
    pub(crate) login: LoginStatus<'a>,
}

impl ErrorResponse {
    /// Reads an answer that is no success, its body included.
    pub(crate) fn read(mut exchange: Exchange) -> Self {
        let body = exchange.body.read_all(LIMIT).unwrap_or_default();
        let (code, mut said) = complaint(&body).unwrap_or_default();
        if let Some(detail) = detail(&body).filter(|_| is_worth_its_detail(exchange.status)) {
            said = format!("{said}: {detail}");
        }
        if exchange.status == StatusCode::TOO_MANY_REQUESTS
            && let Some(left) = headers::rate_limit_left(&exchange.headers)
        {
            said = if said.is_empty() { left } else { format!("{said}, {left}") };
        }
        if said.is_empty()
            && headers::is_html(&exchange.headers)
            && exchange.status.is_client_error()
            // What stands before a registry refuses in its own words, and the status says enough.
            && !matches!(exchange.status.as_u16(), 401 | 403 | 429)
        {
            let media_type = headers::media_type(&exchange.headers);
            said = format!("not a registry? got {media_type}");
        }
        let page = String::from_utf8_lossy(&body);
        let about_certificate = NO_CERTIFICATE.into_iter().find(|text| page.contains(text));
        let retry_after = headers::retry_after(&exchange.headers, SystemTime::now());
        Self { status: exchange.status, code, said, about_certificate, retry_after }
    }

    /// The failure that it is.
    pub(crate) fn failure(mut self, context: RequestContext<'_>) -> Failure {
        let mut retry = self.retry_policy();
        let status = self.status.as_u16();
        let is_refused_elsewhere = context.is_elsewhere && matches!(status, 401 | 403);
        if is_refused_elsewhere && retry == RetryPolicy::Never {
            // The address that the registry gave may have expired; it gives another one.
            retry = RetryPolicy::Later;
        }
        let what = context.what.to_owned();
        let host = context.host.to_owned();
        let about_certificate =
            self.about_certificate.take().filter(|_| status == 400 && self.code.is_empty());
        if let Some(text) = about_certificate {
            let error = Error::ClientCertificate { what, host, source: Cause::said(text) };
            return Failure { error: Box::new(error), retry };
        }
        let error = match (status, self.code.as_str()) {
            (429, _) | (_, "TOOMANYREQUESTS") => {
                let registry = context.registry.to_owned();
                let has_login = !matches!(context.login, LoginStatus::Unknown);
                Error::RateLimited { what, host, status, registry, has_login, said: self.said }
            }
            _ if is_refused_elsewhere => Error::Refused { what, host, status, said: self.said },
            (401 | 403, _) | (_, "UNAUTHORIZED" | "DENIED") => Error::Unauthorised {
                what,
                registry: context.registry.to_owned(),
                denial: self.denial(context.login),
                said: self.said,
            },
            (404 | 410, _) | (_, "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN") => {
                Error::NotFound { what, said: self.said }
            }
            _ => Error::Refused { what, host, status, said: self.said },
        };
        Failure { error: Box::new(error), retry }
    }

    /// The fate of a login where this refuses it.
    fn denial(&self, login: LoginStatus<'_>) -> Denial {
        let is_denied = self.status == StatusCode::FORBIDDEN || self.code == "DENIED";
        match login {
            LoginStatus::Unknown => Denial::NoLogin,
            LoginStatus::Presented(place) if !is_denied => Denial::LoginRefused(place.to_owned()),
            LoginStatus::Presented(place) | LoginStatus::Accepted(place) => {
                Denial::NotAllowed(place.to_owned())
            }
        }
    }

    /// The failure that it is if it comes from a token server: a 404 from there doesn't mean that the image is missing.
    pub(crate) fn of_token_server(self, context: RequestContext<'_>) -> Failure {
        let status = self.status.as_u16();
        let host = format!("the token server {}", context.host);
        let Failure { error, retry } = self.failure(context);
        let error = match *error {
            Error::NotFound { what, said } | Error::Refused { what, said, .. } => {
                Error::Refused { what, host, status, said }
            }
            Error::RateLimited { what, status, registry, has_login, said, .. } => {
                Error::RateLimited { what, host, status, registry, has_login, said }
            }
            error => error,
        };
        Failure { error: Box::new(error), retry }
    }

    fn retry_policy(&self) -> RetryPolicy {
        match (self.status.as_u16(), self.code.as_str()) {
            // 499 and 520 to 530 are statuses of proxies (nginx, Cloudflare) for failures that pass:
            // go-containerregistry#1707. A registry that has just got a blob may take a while to know it.
            (408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=530, _)
            | (_, "TOOMANYREQUESTS" | "MANIFEST_BLOB_UNKNOWN") => {
                self.retry_after.map_or(RetryPolicy::Later, RetryPolicy::After)
            }
            _ => RetryPolicy::Never,
        }
    }
}

/// The code and the text of an error in the form of the distribution spec, or of a token server's.
fn complaint(body: &[u8]) -> Option<(String, String)> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let first = json.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&json);
    let text = |key: &str| first.get(key).and_then(Value::as_str).map(one_line);
    let code = text("code").unwrap_or_default();
    let message = ["message", "error_description", "details", "detail", "error"]
        .into_iter()
        .find_map(text)
        .filter(|message| !message.is_empty());
    let said = match (message, code.as_str()) {
        (Some(message), "") => message,
        (Some(message), code) => format!("{message} ({code})"),
        (None, code) => code.to_owned(),
    };
    Some((code, said))
}

/// Whether the status leaves open what is wrong.
fn is_worth_its_detail(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 401 | 403 | 404 | 429)
}

/// The `detail` of a registry's first error. Distribution tells there that its disk is full, or read-only.
fn detail(body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let mut parts = vec![];
    collect("", json.get("errors")?.get(0)?.get("detail")?, &mut parts);
    let text = one_line(&parts.join(", "));
    (!text.is_empty()).then_some(text)
}

/// The values of a JSON document with their keys, however deep they lie.
fn collect(key: &str, value: &Value, parts: &mut Vec<String>) {
    let text = match value {
        Value::Object(fields) => {
            return fields.iter().for_each(|(key, value)| collect(key, value, parts));
        }
        Value::Array(values) => return values.iter().for_each(|value| collect(key, value, parts)),
        Value::Null => return,
        Value::String(text) if text.is_empty() => return,
        Value::String(text) => text.clone(),
        // Go writes a system call's error as its number.
        Value::Number(n) if key == "Err" => match n.as_i64().and_then(|n| i32::try_from(n).ok()) {
            Some(n) => io::Error::from_raw_os_error(n).to_string(),
            None => n.to_string(),
        },
        value => value.to_string(),
    };
    parts.push(if key.is_empty() { text } else { format!("{key}: {text}") });
}

/// A failed exchange as a failed attempt.
pub(crate) fn transport_failure(error: TransportError, what: &str, host: &str) -> Failure {
    let what = what.to_owned();
    let host = host.to_owned();
    match error {
        TransportError::Connect(source) => {
            Failure::transient(Error::Connection { what, step: "connecting to", host, source })
        }
        TransportError::Broken(source) => {
            Failure::transient(Error::Connection { what, step: "reading from", host, source })
        }
        TransportError::Stalled(time) => {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            Failure::transient(Error::Stalled { what, host, seconds })
        }
        TransportError::Certificate(source) => Error::Certificate { what, host, source }.into(),
        TransportError::ClientCertificate(source) => {
            Error::ClientCertificate { what, host, source }.into()
        }
        TransportError::Handshake(source) => Error::Handshake { what, host, source }.into(),
        TransportError::NotTls => Error::NotTls { what, host }.into(),
        TransportError::Cancelled => Error::Interrupted { what }.into(),
        TransportError::SetUp(source) => Error::SetUp { source }.into(),
        TransportError::Content(source) => Error::Unreadable { what, source }.into(),
        TransportError::Barred => Error::Protocol { what, reason: NOT_FOR_STRANGERS }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::{ErrorKind, HasKind as _};

    #[track_caller]
    fn check(status: u16, body: &str, text: &str, trouble: ErrorKind, retry: RetryPolicy) {
        let (code, said) = complaint(body.as_bytes()).unwrap_or_default();
        let status = StatusCode::from_u16(status).unwrap();
        let about_certificate = NO_CERTIFICATE.into_iter().find(|text| body.contains(text));
        let response = ErrorResponse { status, code, said, about_certificate, retry_after: None };
        let context = RequestContext {
            is_elsewhere: false,
            what: "app:1",
            registry: "r.test",
            host: "h.test",
            login: LoginStatus::Unknown,
        };
        let failure = response.failure(context);
        assert_eq!(failure.error.to_string(), text);
        assert_eq!((failure.error.kind(), failure.retry), (trouble, retry));
    }

    fn spec(code: &str, message: &str) -> String {
        format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":null}}]}}"#)
    }

    #[test]
    fn a_registry_tells_in_its_detail_why_it_can_not() {
        let check = |said: &str, expected: Option<&str>| {
            let body = format!(r#"{{"errors":[{{"code":"UNKNOWN","detail":{said}}}]}}"#);
            assert_eq!(detail(body.as_bytes()).as_deref(), expected, "{said}");
        };
        let full =
            r#"{"DriverName":"filesystem","Enclosed":{"Err":28,"Op":"mkdir","Path":"/r/\u001bx"}}"#;
        let text = r"DriverName: filesystem, Err: No space left on device (os error 28), Op: mkdir, Path: /r/\x1bx";
        check(full, Some(text));
        check(r#""a\nb""#, Some(r"a\nb"));
        check(r#"[{"a":[1,true]},{"a":"b"}]"#, Some("a: 1, a: true, a: b"));
        check(r#"{"a":"","b":null,"c":"d"}"#, Some("c: d"));
        check(r#"{"Err":28.5,"a":28}"#, Some("Err: 28.5, a: 28"));
        for nothing in ["null", "{}", "[]", r#""""#, r#"{"a":""}"#] {
            check(nothing, None);
        }
        assert_eq!(detail(b"<html>"), None);
    }

    #[test]
    fn statuses_and_codes_tell_what_is_wrong() {
        let never = RetryPolicy::Never;
        let later = RetryPolicy::Later;
        let unknown = spec("MANIFEST_UNKNOWN", "manifest unknown");
        let text = "app:1: not found: manifest unknown (MANIFEST_UNKNOWN)";
        check(404, &unknown, text, ErrorKind::NotFound, never);
        check(404, "", "app:1: not found", ErrorKind::NotFound, never);
        let denied = spec("DENIED", "no\\nway\\u001b[1m");
        let text = r"app:1: not authorised: no login known for r.test: no\nway\x1b[1m (DENIED)";
        check(403, &denied, text, ErrorKind::Unauthorised, never);
        let text = "app:1: not authorised: no login known for r.test";
        check(401, "<html>", text, ErrorKind::Unauthorised, never);
        let slow = spec("TOOMANYREQUESTS", "slow down");
        let text = "app:1: h.test answered 429: slow down (TOOMANYREQUESTS)";
        check(429, &slow, text, ErrorKind::Network, later);
        check(503, "[]", "app:1: h.test answered 503", ErrorKind::Network, later);
        check(400, "{}", "app:1: h.test answered 400", ErrorKind::Network, never);
        let page = "<html><center>No required SSL certificate was sent</center></html>";
        let text = "app:1: h.test wants a client certificate";
        check(400, page, text, ErrorKind::Unauthorised, never);
        let text = "app:1: not authorised: no login known for r.test: bad refresh token";
        check(
            401,
            r#"{"error":"x","error_description":"bad refresh token"}"#,
            text,
            ErrorKind::Unauthorised,
            never,
        );
    }
}
