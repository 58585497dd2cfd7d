//! `WWW-Authenticate` (RFC 9110, 11.6.1): challenges in a list, their parameters in lists too.

use http::header::{HeaderMap, WWW_AUTHENTICATE};

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user and a password with every request.
    Basic,
    /// A token from a token server.
    Bearer(BearerChallenge),
}

/// The token server that a registry names, and what to ask it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BearerChallenge {
    /// The address of the token server.
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scope: Option<String>,
}

/// The best of an answer's challenges: Bearer before Basic.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let parsed: Vec<Parsed> = texts.flat_map(|text| parse(&text)).collect();
    parsed.iter().find_map(bearer).or_else(|| {
        let has_basic = parsed.iter().any(|it| it.scheme == "basic");
        has_basic.then_some(Challenge::Basic)
    })
}

fn bearer(parsed: &Parsed) -> Option<Challenge> {
    let parameter = |name: &str| {
        let found = parsed.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    let realm = parameter("realm").filter(|_| parsed.scheme == "bearer")?;
    Some(Challenge::Bearer(BearerChallenge {
        realm,
        service: parameter("service"),
        scope: parameter("scope"),
    }))
}

/// A challenge as it stands in a header, with scheme and keys in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    scheme: String,
    parameters: Vec<(String, String)>,
}

fn parse(text: &str) -> Vec<Parsed> {
    let mut challenges: Vec<Parsed> = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if rest.is_empty() {
            return challenges;
        }
        let value = after.trim_start().strip_prefix('=');
        match (value, challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, after) = parameter_value(value.trim_start());
                challenge.parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            // A parameter without a challenge before it is left out.
            (Some(value), None) => rest = parameter_value(value.trim_start()).1,
            (None, _) => {
                challenges.push(Parsed { scheme: word.to_ascii_lowercase(), parameters: vec![] });
                rest = after;
            }
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: Option<&Challenge>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        assert_eq!(challenge(&headers).as_ref(), expected, "{values:?}");
    }

    fn bearer_challenge(realm: &str, service: &str, scope: &str) -> Challenge {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Challenge::Bearer(BearerChallenge {
            realm: realm.to_owned(),
            service: some(service),
            scope: some(scope),
        })
    }

    #[test]
    fn commas_in_quotes_separate_nothing() {
        check(
            &[
                r#"Bearer realm="https://t.test/token",service="reg.test",scope="repository:a/b:pull,push""#,
            ],
            Some(&bearer_challenge("https://t.test/token", "reg.test", "repository:a/b:pull,push")),
        );
        check(
            &[r#"bEaReR  REALM = "https://t.test/a\"b" , Scope=x, error="insufficient_scope""#],
            Some(&bearer_challenge("https://t.test/a\"b", "", "x")),
        );
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer = bearer_challenge("https://t.test", "", "");
        check(&[r#"Basic realm="x", Bearer realm="https://t.test""#], Some(&bearer));
        check(&[r#"Basic realm="x, y""#, r#"Bearer realm="https://t.test""#], Some(&bearer));
        check(&[r#"Negotiate abc==, Bearer realm="https://t.test", Basic"#], Some(&bearer));
        check(&["BASIC"], Some(&Challenge::Basic));
        check(&[r#"Basic realm="x", charset="UTF-8""#], Some(&Challenge::Basic));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for value in [
            "",
            ",,,",
            "=",
            "realm=x",
            r#"Bearer service="x""#,
            r#"Digest realm="x""#,
            "Bearer realm=",
            "\"",
        ] {
            check(&[value], None);
        }
        check(
            &[r#"Bearer realm="https://t.test"#],
            Some(&bearer_challenge("https://t.test", "", "")),
        );
        check(
            &[r#"Bearer realm="https://t.test\"#],
            Some(&bearer_challenge("https://t.test", "", "")),
        );
    }
}
