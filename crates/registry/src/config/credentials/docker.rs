//! The logins in docker's `config.json`: `auths{host:{auth,username,password,identitytoken,registrytoken}}`.
//!
//! A key is a host, or, in podman's files, a host and the beginning of a repository's path; the longest that fits wins.
//! Old keys are whole addresses. An entry without a login counts as none; docker leaves those where a helper keeps the
//! login.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use layer_format::null_is_default;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::login::Login;
use crate::base::{Error, HUB, Secret};

/// Other ways to write the registry that names without a host mean.
const HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// The user beside which docker and its helpers put an identity token as the password.
pub(super) const TOKEN_USER: &str = "<token>";

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
    serde_json::from_slice(json).map_err(|error| malformed(&error, place))
}

fn malformed(error: &serde_json::Error, place: &str) -> Error {
    let (line, column) = (error.line(), error.column());
    Error::MalformedLogins { place: place.to_owned(), line, column }
}

/// Docker's JSON with a login of a user and a password under this key (`host` or `host/path`), and all else in it as it was.
/// Keys that mean the same are replaced; the one of them that stays is as it is written there.
///
/// # Errors
///
/// [`Error::MalformedLogins`].
pub(super) fn with_login(
    json: &[u8],
    place: &str,
    key: &str,
    login: &Login,
) -> Result<Vec<u8>, Error> {
    let mut file = Fields::parse(json, place)?;
    let mut auths = file.auths(place)?;
    let written = auths.0.keys().find(|other| normalised(other) == key).cloned();
    auths.0.retain(|other, _| normalised(other) != key);
    let entry = match login {
        Login::Password { user, password } => {
            let auth = STANDARD.encode(format!("{user}:{}", password.expose()));
            serde_json::json!({ "auth": auth })
        }
        // podman reads no token where auth names nobody.
        Login::IdentityToken(token) => {
            let auth = STANDARD.encode(format!("{TOKEN_USER}:"));
            serde_json::json!({ "auth": auth, "identitytoken": token.expose() })
        }
        Login::RegistryToken(token) => serde_json::json!({ "registrytoken": token.expose() }),
    };
    let entry = Fields::raw(&entry, place)?;
    auths.0.insert(written.unwrap_or_else(|| key.to_owned()), entry);
    file.put_auths(&auths, place)?;
    file.text(place)
}

/// Docker's JSON without the logins under this key, and all else in it as it was; none if there are none.
///
/// # Errors
///
/// [`Error::MalformedLogins`].
pub(super) fn without_login(json: &[u8], place: &str, key: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut file = Fields::parse(json, place)?;
    let mut auths = file.auths(place)?;
    let n_entries = auths.0.len();
    auths.0.retain(|other, _| normalised(other) != key);
    if auths.0.len() == n_entries {
        return Ok(None);
    }
    file.put_auths(&auths, place)?;
    file.text(place).map(Some)
}

/// A JSON object whose values stay as they are written.
#[derive(Default, Deserialize, Serialize)]
struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Reads an object. An empty file is an empty one (podman#1457).
    fn parse(json: &[u8], place: &str) -> Result<Self, Error> {
        if json.trim_ascii().is_empty() { Ok(Self::default()) } else { parse(json, place) }
    }

    fn auths(&self, place: &str) -> Result<Self, Error> {
        match self.0.get("auths").map(|raw| raw.get()) {
            None | Some("null") => Ok(Self::default()),
            Some(text) => parse(text.as_bytes(), place),
        }
    }

    fn put_auths(&mut self, auths: &Self, place: &str) -> Result<(), Error> {
        self.0.insert("auths".to_owned(), Self::raw(auths, place)?);
        Ok(())
    }

    fn raw(value: &impl Serialize, place: &str) -> Result<Box<RawValue>, Error> {
        let text = serde_json::to_string_pretty(value).and_then(RawValue::from_string);
        text.map_err(|error| malformed(&error, place))
    }

    fn text(&self, place: &str) -> Result<Vec<u8>, Error> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| malformed(&error, place))?;
        text.push(b'\n');
        Ok(text)
    }
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
    fn a_login_is_added_and_all_else_stays_as_it_is_written() {
        let with = |json: &str, key: &str| {
            let password = Secret::new("pass:word");
            let login = Login::Password { user: "me".to_owned(), password };
            let text = with_login(json.as_bytes(), "x", key, &login).unwrap();
            let found = find(&text, "x", key.split('/').next().unwrap(), "ns/a").unwrap();
            assert_eq!(found, Some(login));
            String::from_utf8(text).unwrap()
        };
        // podman#1457
        for empty in ["", " \n", "{}", r#"{"auths":null}"#] {
            let text = with(empty, "r.test");
            let expected = r#"{"auths":{"r.test":{"auth":"bWU6cGFzczp3b3Jk"}}}"#;
            let compact: String = text.split_whitespace().collect();
            assert_eq!(compact, expected);
        }
        let other = r#"{"credHelpers":{ "s.test" : "x" },"n":1.50,"auths":{"s.test": {"auth":"bWU6eA==", "y":[1,  2]}}}"#;
        let text = with(other, "r.test/ns");
        for kept in [r#"{ "s.test" : "x" }"#, "1.50", r#"{"auth":"bWU6eA==", "y":[1,  2]}"#] {
            assert!(text.contains(kept), "{text}");
        }
    }

    #[test]
    fn a_token_is_kept_as_what_it_is() {
        for login in
            [Login::IdentityToken(Secret::new("t")), Login::RegistryToken(Secret::new("t"))]
        {
            let text = with_login(b"", "x", "r.test", &login).unwrap();
            assert_eq!(find(&text, "x", "r.test", "a").unwrap(), Some(login));
        }
    }

    #[test]
    fn keys_that_mean_the_same_are_one_login() {
        let json = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6b2xk"},"docker.io":{},"docker.io/a":{"auth":"bWU6eA=="}}}"#;
        let password = Secret::new("new");
        let is = Login::Password { user: "me".to_owned(), password };
        let text = with_login(json.as_bytes(), "x", "docker.io", &is).unwrap();
        assert_eq!(find(&text, "x", "docker.io", "library/x").unwrap(), Some(is));
        let text = without_login(&text, "x", "docker.io").unwrap().unwrap();
        assert!(find(&text, "x", "docker.io", "library/x").unwrap().is_none());
        // ggcr#1898
        assert!(find(&text, "x", "docker.io", "a/x").unwrap().is_some());
        assert!(without_login(&text, "x", "docker.io").unwrap().is_none());
        assert!(without_login(b"", "x", "docker.io").unwrap().is_none());
        assert!(without_login(b"{", "x", "docker.io").is_err());
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
