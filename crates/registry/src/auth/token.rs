//! Tokens: asked for where the registry says (distribution's specifications of tokens, the one with `OAuth2` too).

use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use url::Url;

use super::backend::{Backend, LoginStatus, TokenRequest};
use super::challenge::BearerChallenge;
use crate::base::{Error, Failure, InsecureHosts, Secret, is_loopback};
use crate::config::Login;
use crate::http::{Authorization, Request};

/// The lifetime of a token that names none.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a token is kept at most, whatever lifetime it names.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long before its end a token is renewed; a fifth of its lifetime where that is shorter.
const MARGIN: Duration = Duration::from_secs(10);
const CLIENT_ID: &str = "strata";

/// A token, and until when it is of use.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) good_until: Instant,
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub(super) struct TokenSource {
    pub(super) challenge: BearerChallenge,
    /// The address that the challenge came from.
    pub(super) registry: Url,
}

/// What a token is wanted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenQuery<'a> {
    /// The image or blob, for errors.
    pub(super) what: &'a str,
    /// The registry, as it stands in names.
    pub(super) registry: &'a str,
    /// The token server, and the scope to ask it for.
    pub(super) source: &'a TokenSource,
    pub(super) login: Option<&'a Login>,
    pub(super) status: LoginStatus<'a>,
}

/// Fetches a token.
pub(super) fn fetch(backend: &dyn Backend, query: &TokenQuery<'_>) -> Result<Token, Failure> {
    let TokenQuery { what, registry, source, login, status } = *query;
    let realm = realm(&source.challenge.realm, &source.registry, backend.insecure())
        .map_err(|reason| Error::Protocol { what: what.to_owned(), reason })?;
    let request = TokenRequest {
        what,
        registry,
        registry_url: &source.registry,
        login: status,
        request: request(realm, source, login),
    };
    let asked = Instant::now();
    let answer = backend.fetch_token(request)?;
    parse(&answer.body, asked).ok_or_else(|| {
        let what = format!("{what}: token from {}", answer.host);
        match answer.html {
            Some(media_type) => Error::NotARegistry { what, media_type }.into(),
            None => Error::Protocol { what, reason: "not a token" }.into(),
        }
    })
}

/// The token server's address, if it is safe to show it a login: over TLS, or within what is plain anyway.
fn realm(realm: &str, registry: &Url, insecure: &InsecureHosts) -> Result<Url, &'static str> {
    let url: Url = realm.parse().map_err(|_| "the address of the token server is malformed")?;
    let may_be_plain = is_loopback(url.host_str().unwrap_or_default()) || insecure.contains(&url);
    match (url.scheme(), registry.scheme()) {
        ("https", _) => Ok(url),
        ("http", "http") if may_be_plain => Ok(url),
        ("http", _) => Err("a token server without TLS refused"),
        _ => Err("the address of the token server is malformed"),
    }
}

/// The request for a token: a form where an identity token is exchanged, a query otherwise.
fn request(realm: Url, source: &TokenSource, login: Option<&Login>) -> Request {
    let mut fields = vec![];
    fields.extend(source.challenge.service.as_deref().map(|service| ("service", service)));
    let scope = source.challenge.scope.as_deref().unwrap_or_default();
    if let Some(Login::IdentityToken(token)) = login {
        fields.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]);
        fields.extend([("scope", scope), ("refresh_token", token.expose())]);
        let form = Some(Secret::new(encode(&fields)));
        return Request { method: Method::POST, form, ..Request::get(realm) };
    }
    let mut request = Request::get(realm);
    if let Some(Login::Password { user, password }) = login {
        fields.push(("account", user));
        request.authorization = Some(Authorization::Basic(user.clone(), password.clone()));
    }
    fields.extend(scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope)));
    request.url.query_pairs_mut().extend_pairs(fields);
    request
}

/// The fields of a form as `application/x-www-form-urlencoded`.
fn encode(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Reads a token server's answer to a request that was sent at `asked`.
fn parse(body: &[u8], asked: Instant) -> Option<Token> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let is_fine =
        |token: &&str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let text = |key: &str| json.get(key).and_then(Value::as_str).filter(is_fine);
    let value = Secret::new(text("token").or_else(|| text("access_token"))?.to_owned());
    let lifetime = match json.get("expires_in").and_then(Value::as_u64) {
        None | Some(0) => LIFETIME,
        Some(seconds) => Duration::from_secs(seconds).min(LONGEST),
    };
    Some(Token { value, good_until: asked + lifetime.saturating_sub(MARGIN.min(lifetime / 5)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_shown_to_a_safe_token_server_only() {
        let insecure = InsecureHosts::new(&["plain.test".to_owned()]).unwrap();
        let check = |text: &str, registry: &str, expected: bool| {
            let found = realm(text, &registry.parse().unwrap(), &insecure);
            assert_eq!(found.is_ok(), expected, "{text} for {registry}");
        };
        check("https://t.test/token", "https://a.test/", true);
        check("https://t.test/token", "http://127.0.0.1/", true);
        check("http://t.test/token", "https://a.test/", false);
        check("http://127.0.0.1/token", "https://127.0.0.1/", false);
        check("http://127.0.0.1/token", "http://127.0.0.1/", true);
        check("http://t.test/token", "http://127.0.0.1/", false);
        check("http://plain.test/token", "http://plain.test/", true);
        check("/token", "https://a.test/", false);
        check("file:///token", "https://a.test/", false);
    }

    #[test]
    fn tokens_have_two_names_and_a_lifetime() {
        let asked = Instant::now();
        let check = |body: &str, expected: Option<(&str, u64)>| {
            let token = parse(body.as_bytes(), asked);
            let found =
                token.as_ref().map(|it| (it.value.expose(), (it.good_until - asked).as_secs()));
            assert_eq!(found, expected, "{body}");
        };
        check(r#"{"token":"a"}"#, Some(("a", 50)));
        check(r#"{"access_token":"b","expires_in":300}"#, Some(("b", 290)));
        check(r#"{"token":"","access_token":"b","expires_in":10}"#, Some(("b", 8)));
        check(r#"{"token":"a","expires_in":null}"#, Some(("a", 50)));
        check(r#"{"token":"a","expires_in":18446744073709551615}"#, Some(("a", 24 * 3600 - 10)));
        for body in ["", "{}", "<html>", r#"{"token":7}"#, r#"{"token":"a\nb"}"#] {
            check(body, None);
        }
    }
}
