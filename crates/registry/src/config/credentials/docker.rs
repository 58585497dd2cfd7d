//! The logins in docker's `config.json`: `auths{host:{auth,username,password,identitytoken,registrytoken}}`.
//!
//! A key is a host, or, in podman's files, a host and the beginning of a repository's path; the longest that fits wins.
//! Old keys are whole addresses. An entry without a login counts as none; docker leaves those where a helper keeps the
//! login.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use layer_format::null_is_default;
use serde::Deserialize;

use super::login::Login;
use crate::base::{Error, HUB, Secret};

/// Other ways to write the registry that names without a host mean.
const HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// The user beside which docker and its helpers put an identity token as the password.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default, deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Option<AuthEntry>>,
}

#[derive(Default, Deserialize)]
struct AuthEntry {
    #[serde(default, deserialize_with = "null_is_default")]
    auth: String,
    #[serde(default, deserialize_with = "null_is_default")]
    username: String,
    #[serde(default, deserialize_with = "null_is_default")]
    password: String,
    #[serde(default, deserialize_with = "null_is_default")]
    identitytoken: String,
    #[serde(default, deserialize_with = "null_is_default")]
    registrytoken: String,
}

/// The login for a repository in docker's JSON. `place` names it in errors.
pub(super) fn find(
    json: &[u8],
    place: &str,
    registry: &str,
    repository: &str,
) -> Result<Option<Login>, Error> {
    if json.trim_ascii().is_empty() {
        return Ok(None);
    }
    let file: ConfigJson = parse(json, place)?;
    let wanted = format!("{}/{repository}", canonical(registry));
    let mut fitting: Vec<(usize, &AuthEntry)> = file
        .auths
        .iter()
        .filter_map(|(key, entry)| Some((fit(key, &wanted)?, entry.as_ref()?)))
        .collect();
    // The sort is stable: the first in the alphabet wins among keys that mean the same.
    fitting.sort_by_key(|&(length, _)| std::cmp::Reverse(length));
    for (_, entry) in fitting {
        let malformed = |reason| Error::MalformedLogin {
            place: place.to_owned(),
            registry: registry.to_owned(),
            reason,
        };
        if let Some(login) = login(entry).map_err(malformed)? {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

/// Reads docker's JSON.
///
/// # Errors
///
/// [`Error::MalformedLogins`] has the position alone, for the parser's own words may quote the file.
pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], place: &str) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::MalformedLogins {
        place: place.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// How many bytes of `wanted` a key matches; none if it doesn't match.
pub(super) fn fit(key: &str, wanted: &str) -> Option<usize> {
    let key = normalised(key);
    let rest = wanted.strip_prefix(key.as_str())?;
    (rest.is_empty() || rest.starts_with('/')).then_some(key.len())
}

/// A key as `host` or `host/path`: without scheme, without the path of an API.
fn normalised(key: &str) -> String {
    let without_scheme = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (host, path) = match without_scheme.unwrap_or(key).split_once('/') {
        Some((host, path)) => (host, path.trim_end_matches('/')),
        None => (without_scheme.unwrap_or(key), ""),
    };
    let is_api = matches!(path, "v1" | "v2");
    let host = canonical(host);
    if path.is_empty() || is_api || without_scheme.is_some() {
        host
    } else {
        format!("{host}/{path}")
    }
}

pub(super) fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if HUB_ALIASES.contains(&host.as_str()) { HUB.to_owned() } else { host }
}

fn login(entry: &AuthEntry) -> Result<Option<Login>, &'static str> {
    let mut user = entry.username.clone();
    let mut password = entry.password.clone();
    if !entry.auth.is_empty() {
        let decoded = base64(&entry.auth).ok_or("auth is not base64")?;
        let decoded = String::from_utf8(decoded).map_err(|_| "auth is not text")?;
        let (before, after) = decoded.split_once(':').ok_or("auth is not user:password")?;
        before.clone_into(&mut user);
        after.trim_matches('\0').clone_into(&mut password);
    }
    // An identity token may be the password of a user of its own.
    let by_token = login_of(user, password);
    if matches!(by_token, Some(Login::IdentityToken(_))) {
        return Ok(by_token);
    }
    Ok(if !entry.registrytoken.is_empty() {
        Some(Login::RegistryToken(Secret::new(&entry.registrytoken)))
    } else if !entry.identitytoken.is_empty() {
        Some(Login::IdentityToken(Secret::new(&entry.identitytoken)))
    } else {
        by_token
    })
}

/// The login that a user and a password are; none without a user.
pub(super) fn login_of(user: String, password: String) -> Option<Login> {
    match &user[..] {
        "" => None,
        TOKEN_USER if password.is_empty() => None,
        TOKEN_USER => Some(Login::IdentityToken(Secret::new(password))),
        _ => Some(Login::Password { user, password: Secret::new(password) }),
    }
}

/// Takes text with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64 of either alphabet.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(auths: &str, registry: &str, repository: &str, expected: Option<&str>) {
        let json = format!(r#"{{"auths":{auths},"credsStore":"x","HttpHeaders":{{}}}}"#);
        let login = find(json.as_bytes(), "config.json", registry, repository).unwrap();
        let text = login.map(|login| match login {
            Login::Password { user, password } => format!("{user}:{}", password.expose()),
            Login::IdentityToken(token) => format!("identity {}", token.expose()),
            Login::RegistryToken(token) => format!("registry {}", token.expose()),
        });
        assert_eq!(text.as_deref(), expected);
    }

    #[test]
    fn keys_may_be_hosts_addresses_or_longer() {
        // me:pass:word
        let entry = r#"{"auth":"bWU6cGFzczp3b3Jk"}"#;
        let is = Some("me:pass:word");
        check(&format!(r#"{{"r.test":{entry}}}"#), "r.test", "a/b", is);
        check(&format!(r#"{{"https://R.test/v2/":{entry}}}"#), "r.test", "a/b", is);
        check(&format!(r#"{{"http://r.test":{entry}}}"#), "r.test", "a/b", is);
        check(&format!(r#"{{"r.test:5000":{entry}}}"#), "r.test", "a/b", None);
        check(&format!(r#"{{"r.test:5000":{entry}}}"#), "r.test:5000", "a/b", is);
        check(
            &format!(r#"{{"https://index.docker.io/v1/":{entry}}}"#),
            "docker.io",
            "library/x",
            is,
        );
        check(&format!(r#"{{"docker.io":{entry}}}"#), "docker.io", "library/x", is);
        check(&format!(r#"{{"r.test/a":{entry}}}"#), "r.test", "a/b", is);
        check(&format!(r#"{{"r.test/a/b":{entry}}}"#), "r.test", "a/b", is);
        check(&format!(r#"{{"r.test/a":{entry}}}"#), "r.test", "ab/c", None);
        check(&format!(r#"{{"est":{entry}}}"#), "r.test", "a", None);
    }

    #[test]
    fn the_longest_key_wins_and_empty_entries_are_none() {
        let auths = r#"{
            "r.test": {"username":"host","password":"1"},
            "r.test/a": {"username":"namespace","password":"2"},
            "r.test/a/b": {},
            "r.test/c": null
        }"#;
        check(auths, "r.test", "a/b", Some("namespace:2"));
        check(auths, "r.test", "x", Some("host:1"));
        check(auths, "r.test", "c", Some("host:1"));
    }

    #[test]
    fn tokens_come_before_passwords() {
        check(
            r#"{"r.test":{"auth":"PHRva2VuPjphYmM=","email":"x"}}"#,
            "r.test",
            "a",
            Some("identity abc"),
        );
        check(
            r#"{"r.test":{"auth":"bWU6","identitytoken":"t"}}"#,
            "r.test",
            "a",
            Some("identity t"),
        );
        // <token>: without a password
        let auth = r#""auth":"PHRva2VuPjo=""#;
        let entry = format!(r#"{{"r.test":{{{auth},"identitytoken":"t"}}}}"#);
        check(&entry, "r.test", "a", Some("identity t"));
        check(&format!(r#"{{"r.test":{{{auth}}}}}"#), "r.test", "a", None);
        check(r#"{"r.test":{"registrytoken":"t","auth":null}}"#, "r.test", "a", Some("registry t"));
        check(r#"{"r.test":{"auth":"bWU6eAAA"}}"#, "r.test", "a", Some("me:x"));
        check("null", "r.test", "a", None);
    }

    #[test]
    fn a_malformed_file_is_named_and_not_quoted() {
        let find =
            |json: &str| find(json.as_bytes(), "/home/me/config.json", "r.test", "a").unwrap_err();
        for json in
            [r#"{"auths":{"r.test":"hunter2"}}"#, "hunter2", r#"{"auths":["hunter2"]}"#, "{"]
        {
            let error = find(json);
            let text = format!("{error} {error:?}");
            assert!(
                text.starts_with("/home/me/config.json: malformed at line 1, column"),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
        let error = find(r#"{"auths":{"r.test":{"auth":"hunter2!"}}}"#);
        assert_eq!(
            error.to_string(),
            "/home/me/config.json: the login for r.test is malformed: auth is not base64"
        );
    }

    #[test]
    fn base64_is_read_in_all_its_forms() {
        let check = |text: &str, expected: Option<&[u8]>| {
            assert_eq!(base64(text).as_deref(), expected, "{text}");
        };
        check("", Some(b""));
        check("Zg==", Some(b"f"));
        check("Zm8=", Some(b"fo"));
        check("Zm8", Some(b"fo"));
        check("Zm9v\n", Some(b"foo"));
        check("-_-_", Some(&[0xfb, 0xff, 0xbf]));
        check("+/+/", Some(&[0xfb, 0xff, 0xbf]));
        check("Z", None);
        check("Zm 9v", None);
    }
}
