//! Logins: none, Basic, or tokens from the registry's own `/token`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::http::{Head, form};
use super::reply::Reply;
use super::{Shared, lock};

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    Anonymous,
    /// User and password with every request.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token of the right scope with every request.
    Bearer(Bearer),
}

/// How tokens are had; start from [`Bearer::ANYBODY`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The user and the password that `/token` wants as Basic; without them, every request gets a token.
    pub login: Option<(String, String)>,
    /// The identity token that `/token` takes by POST as a `refresh_token`.
    pub identity_token: Option<String>,
    /// The names under which the answer has the token: `token`, `access_token` or both.
    pub keys: &'static [&'static str],
    /// `expires_in`, in seconds; tokens really are invalid afterwards. Left out: one hour.
    pub expires_in: Option<u64>,
}

impl Bearer {
    /// A token for every request.
    pub const ANYBODY: Self =
        Self { login: None, identity_token: None, keys: &["token"], expires_in: None };

    /// A token for one user.
    pub fn login(user: &str, password: &str) -> Self {
        Self { login: Some((user.to_owned(), password.to_owned())), ..Self::ANYBODY }
    }
}

impl Auth {
    /// Basic with a user and a password.
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    /// A token for every request.
    pub const fn bearer() -> Self {
        Self::Bearer(Bearer::ANYBODY)
    }
}

/// The tokens handed out: their end and what they are for.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    valid: BTreeMap<String, (Instant, Vec<String>)>,
    n_made: usize,
}

impl Tokens {
    pub(crate) fn revoke(&mut self) {
        self.valid.clear();
    }

    fn make(&mut self, lifetime: Duration, scopes: Vec<String>) -> String {
        self.n_made += 1;
        let token = format!("token-{}", self.n_made);
        self.valid.insert(token.clone(), (Instant::now() + lifetime, scopes));
        token
    }

    fn allows(&self, token: &str, wanted: &[String]) -> bool {
        self.valid.get(token).is_some_and(|(end, scopes)| {
            *end > Instant::now() && wanted.iter().all(|scope| covered(scopes, scope))
        })
    }
}

/// Whether `repository:a:pull,push` and the like cover `repository:a:pull`.
fn covered(scopes: &[String], wanted: &str) -> bool {
    let Some((resource, action)) = wanted.rsplit_once(':') else { return false };
    scopes.iter().filter_map(|scope| scope.rsplit_once(':')).any(|(granted, actions)| {
        granted == resource && actions.split(',').any(|it| it == action || it == "*")
    })
}

/// The refusal of a request that shows no right to what it wants; nothing when it may go on.
pub(crate) fn refuse(shared: &Shared, head: &Head, scopes: &[String]) -> Option<Reply> {
    let shown = head.header("Authorization").unwrap_or_default();
    let challenge = match &shared.auth {
        Auth::Anonymous => return None,
        Auth::Basic { user, password } => {
            if shown == basic(user, password) {
                return None;
            }
            r#"Basic realm="kit""#.to_owned()
        }
        Auth::Bearer(_) => {
            let token = shown.strip_prefix("Bearer ").unwrap_or_default();
            if lock(&shared.tokens).allows(token, scopes) {
                return None;
            }
            let host = shared.host();
            let scopes: Vec<String> = scopes
                .iter()
                .map(|scope| format!(r#",scope="{}""#, scope.replace(":push", ":pull,push")))
                .collect();
            let scopes = scopes.concat();
            format!(r#"Bearer realm="http://{host}/token",service="{host}"{scopes}"#)
        }
    };
    let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
    Some(reply.header("WWW-Authenticate", &challenge))
}

/// The answer of `/token`.
pub(crate) fn token(shared: &Shared, head: &Head, body: &[u8]) -> Reply {
    let Auth::Bearer(bearer) = &shared.auth else {
        return Reply::error(404, "NOT_FOUND", "there are no tokens here");
    };
    let form = form(&String::from_utf8_lossy(body));
    let field =
        |key: &str| form.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let allowed = if head.method == "POST" {
        let refresh =
            field("refresh_token").filter(|_| field("grant_type") == Some("refresh_token"));
        refresh.is_some() && refresh == bearer.identity_token.as_deref()
    } else {
        let shown = head.header("Authorization").unwrap_or_default();
        bearer.login.as_ref().is_none_or(|(user, password)| shown == basic(user, password))
    };
    if !allowed {
        return Reply::error(401, "UNAUTHORIZED", "incorrect username or password");
    }
    let scopes = match field("scope") {
        Some(scope) => scope.split(' ').map(str::to_owned).collect(),
        None => {
            head.queries("scope").iter().flat_map(|it| it.split(' ')).map(str::to_owned).collect()
        }
    };
    let lifetime = Duration::from_secs(bearer.expires_in.unwrap_or(3600));
    let token = lock(&shared.tokens).make(lifetime, scopes);
    let mut answer = json!({});
    for key in bearer.keys {
        answer[key] = json!(token);
    }
    if let Some(seconds) = bearer.expires_in {
        answer["expires_in"] = json!(seconds);
    }
    Reply::new(200, "application/json", answer.to_string())
}

/// The header that stands for a user and a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

/// The bytes in base 64, with padding: for `auths` in docker's config.json as well.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let letter = char::from(LETTERS[group >> (18 - 6 * n) & 63]);
            text.push(if n <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        for (plain, expected) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), expected);
        }
    }

    #[test]
    fn a_scope_covers_its_actions_only() {
        let scopes = ["repository:a/b:pull,push".to_owned(), "repository:c:pull".to_owned()];
        assert!(covered(&scopes, "repository:a/b:push"));
        assert!(covered(&scopes, "repository:c:pull"));
        assert!(!covered(&scopes, "repository:c:push"));
        assert!(!covered(&scopes, "repository:b:pull"));
    }
}
