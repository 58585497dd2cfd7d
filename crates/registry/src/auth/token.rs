//! Tokens: asked for where the registry says (distribution's specifications of tokens, the one with `OAuth2` too).

use std::time::{Duration, Instant};

use reqwest::{Method, Url};
use serde_json::Value;

use crate::attempt::authority;
use crate::auth::challenge::Wicket;
use crate::client::Shared;
use crate::credentials::{Login, Secret};
use crate::endpoint::{Insecure, is_loopback};
use crate::error::Error;
use crate::retry::Failure;
use crate::transport::{Authorization, Request};
use crate::verdict::{self, Refusal, Subject};

/// The lifetime of a token that doesn't say.
const LIFETIME: Duration = Duration::from_mins(1);
/// The longest that a token is kept, whatever it says.
const LONGEST: Duration = Duration::from_hours(24);
/// A token is renewed so much before its end, or a fifth of a short lifetime.
const MARGIN: Duration = Duration::from_secs(10);
const LIMIT: u64 = 1 << 20;
const CLIENT_ID: &str = "strata";

/// A token, and until when it is of use.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) value: Secret,
    pub(super) good_until: Instant,
}

/// What a token is wanted for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) wicket: &'a Wicket,
    /// The scope where the challenge names none.
    pub(super) scope: &'a str,
    pub(super) login: Option<&'a Login>,
}

/// Fetches a token for a registry that is spoken to as `registry` says.
pub(super) fn fetch(
    shared: &Shared,
    wanted: &Wanted<'_>,
    registry: &Url,
) -> Result<Token, Failure> {
    let what = wanted.subject.what;
    let realm = realm(&wanted.wicket.realm, registry, &shared.insecure)
        .map_err(|reason| Error::Protocol { what: what.to_owned(), reason })?;
    let protocol = |reason| Error::Protocol { what: what.to_owned(), reason };
    let is_guarded = shared.lead(registry, &realm).map_err(protocol)?;
    let mut request = Request { is_guarded, ..request(realm, wanted) };
    if request.url.origin() == registry.origin() {
        request.private = shared.private_headers(registry);
    }
    let asked = Instant::now();
    let host = authority(&request.url);
    let exchange =
        shared.transport.send(&request).map_err(|fault| verdict::fault(fault, what, &host))?;
    let (url, mut exchange) = shared.follow(what, &request, exchange)?;
    if !exchange.status.is_success() {
        let host = authority(&url);
        let refusal = Refusal::read(exchange);
        return Err(refusal.of_token_server(Subject { host: &host, ..wanted.subject }));
    }
    let is_html = verdict::is_html(&exchange.headers);
    let media_type = is_html.then(|| verdict::media_type(&exchange.headers));
    let host = &authority(&url);
    let body = exchange.body.read_all(LIMIT).map_err(|fault| verdict::fault(fault, what, host))?;
    let what = || format!("{what}: token from {host}");
    parse(&body, asked).ok_or_else(|| match media_type {
        Some(media_type) => Error::NotARegistry { what: what(), media_type }.into(),
        None => Error::Protocol { what: what(), reason: "not a token" }.into(),
    })
}

/// The token server's address, if it is safe to show it a login: over TLS, or within what is plain anyway.
fn realm(realm: &str, registry: &Url, insecure: &Insecure) -> Result<Url, &'static str> {
    let url: Url = realm.parse().map_err(|_| "the address of the token server is malformed")?;
    let may_be_plain = is_loopback(url.host_str().unwrap_or_default()) || insecure.lists(&url);
    match (url.scheme(), registry.scheme()) {
        ("https", _) => Ok(url),
        ("http", "http") if may_be_plain => Ok(url),
        ("http", _) => Err("a token server without TLS refused"),
        _ => Err("the address of the token server is malformed"),
    }
}

fn request(realm: Url, wanted: &Wanted<'_>) -> Request {
    let mut fields = vec![];
    fields.extend(wanted.wicket.service.as_deref().map(|service| ("service", service)));
    let scope = wanted.wicket.scope.as_deref().unwrap_or(wanted.scope);
    if let Some(Login::IdentityToken(token)) = wanted.login {
        fields.extend([("grant_type", "refresh_token"), ("client_id", CLIENT_ID)]);
        fields.extend([("scope", scope), ("refresh_token", token.expose())]);
        let form = Some(Secret::new(encode(&fields)));
        return Request { method: Method::POST, form, ..Request::get(realm) };
    }
    let mut request = Request::get(realm);
    if let Some(Login::Password { user, password }) = wanted.login {
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
        let insecure = Insecure::new(&["plain.test".to_owned()]).unwrap();
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
