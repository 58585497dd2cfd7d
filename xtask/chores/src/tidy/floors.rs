//! The floors of a crate: which of its modules may name which, and which external packages.
//!
//! A floor is a directory directly below `src`, and every file but `lib.rs` lies on one. What is checked is every path in
//! code that begins with `crate::`, and every name of a package that only one floor may use; comments may name anything.

use super::Findings;
use super::tree::Tree;

/// A crate with floors.
struct House {
    /// Where its files are.
    src: &'static str,
    floors: &'static [Floor],
}

/// A floor.
struct Floor {
    name: &'static str,
    /// The floors below it, which it may name.
    below: &'static [&'static str],
    /// Packages that it alone may name, as they are written in code.
    packages: &'static [&'static str],
}

const HOUSES: &[House] = &[House {
    src: "crates/registry/src/",
    floors: &[
        // What is public: repositories, blobs, uploads.
        Floor { name: "api", below: &["session", "auth", "http", "config", "base"], packages: &[] },
        // One request: login, redirects, schemes, judgement, retries.
        Floor { name: "session", below: &["auth", "http", "config", "base"], packages: &[] },
        // Challenges and tokens. Its requests are sent by the floor above, through a trait.
        Floor { name: "auth", below: &["http", "config", "base"], packages: &[] },
        // One exchange. It knows no mirror, no login, no redirect.
        Floor {
            name: "http",
            below: &["base"],
            packages: &["reqwest", "rustls", "rustls_native_certs", "tokio", "http_body"],
        },
        // What files say. It knows no request.
        Floor { name: "config", below: &["base"], packages: &["toml", "base64"] },
        Floor { name: "base", below: &[], packages: &[] },
    ],
}];

/// Checks every file of the crates that have floors.
pub(super) fn check(tree: &Tree) -> Findings {
    let mut findings = Findings::new();
    for house in HOUSES {
        for (path, text) in tree.rust() {
            let Some(inside) = path.strip_prefix(house.src) else { continue };
            let floor = inside.split_once('/').map(|(dir, _)| dir);
            match floor.and_then(|dir| house.floor(dir)) {
                Some(floor) => findings.extend(house.check(floor, path, text)),
                None if inside == "lib.rs" => {}
                None => findings.push(format!(
                    "{path}: lies on no floor: a line in floors.rs says which there are"
                )),
            }
        }
    }
    findings
}

impl House {
    fn floor(&self, name: &str) -> Option<&Floor> {
        self.floors.iter().find(|floor| floor.name == name)
    }

    fn check(&self, floor: &Floor, path: &str, text: &str) -> Findings {
        let mut findings = Findings::new();
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.trim();
            if code.starts_with("//") {
                continue;
            }
            let named = self.named(code).filter_map(|name| self.why_not(floor, name));
            let packages = self.floors.iter().filter(|other| other.name != floor.name);
            let packages = packages.flat_map(|other| {
                let used = other.packages.iter().filter(|package| uses(code, package));
                used.map(|package| format!("{package} is only for {}", other.name))
            });
            findings.extend(named.chain(packages).map(|why| format!("{path}:{number}: {why}")));
        }
        findings
    }

    /// What follows each `crate::` of a line, and each `super::` that leads to a floor.
    fn named<'a>(&self, code: &'a str) -> impl Iterator<Item = &'a str> {
        let after = |prefix: &'static str| code.split(prefix).skip(1).map(first_word);
        let climbed: Vec<_> = after("super::").filter(|name| self.floor(name).is_some()).collect();
        after("crate::").chain(climbed)
    }

    /// Why a floor may not name what is called so in the crate's root.
    fn why_not(&self, floor: &Floor, name: &str) -> Option<String> {
        if name == floor.name || floor.below.contains(&name) {
            return None;
        }
        Some(match self.floor(name) {
            Some(_) => format!("{} may not name {name}", floor.name),
            None => format!("crate::{name}: begin the path with a floor"),
        })
    }
}

/// The identifier that a text begins with.
fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Whether a path in a line begins with a package's name.
fn uses(code: &str, package: &str) -> bool {
    code.match_indices(package).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let is_whole = !before.is_some_and(|c| c.is_ascii_alphanumeric() || "_:\"".contains(c));
        is_whole && code[at + package.len()..].starts_with("::")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_file(path: &str, text: &str, expected: &[&str]) {
        let path = format!("crates/registry/src/{path}");
        let expected: Vec<_> =
            expected.iter().map(|why| format!("crates/registry/src/{why}")).collect();
        assert_eq!(check(&Tree::of(&[(&path, text)])), expected);
    }

    #[test]
    fn a_floor_names_those_below_it() {
        check_file("api/blob.rs", "use crate::session::Call;\nuse crate::base::Error;\n", &[]);
        check_file("session/mod.rs", "use crate::auth::Scope;\nuse crate::session::retry;\n", &[]);
        check_file("base/mod.rs", "use super::Error;\nuse http::Method;\n", &[]);
        check_file("lib.rs", "pub use api::Client;\npub use crate::base::Error;\n", &[]);
    }

    #[test]
    fn no_floor_names_one_above_it_or_beside_it() {
        check_file(
            "http/exchange.rs",
            "use crate::base::Cause;\nuse crate::config::Mirrors;\n",
            &["http/exchange.rs:2: http may not name config"],
        );
        check_file(
            "config/mirrors/mod.rs",
            "fn a(it: &crate::http::Request, b: crate::session::Call) {}\n",
            &[
                "config/mirrors/mod.rs:1: config may not name http",
                "config/mirrors/mod.rs:1: config may not name session",
            ],
        );
        check_file(
            "base/error.rs",
            "use super::super::api::Blob;\n",
            &["base/error.rs:1: base may not name api"],
        );
    }

    #[test]
    fn a_path_begins_with_a_floor() {
        check_file(
            "auth/token.rs",
            "use crate::Client;\nuse crate::{base, session};\n",
            &[
                "auth/token.rs:1: crate::Client: begin the path with a floor",
                "auth/token.rs:2: crate::: begin the path with a floor",
            ],
        );
        check_file(
            "text.rs",
            "",
            &["text.rs: lies on no floor: a line in floors.rs says which there are"],
        );
    }

    #[test]
    fn the_http_client_is_for_one_floor() {
        check_file("http/tls.rs", "use rustls::Error;\nuse reqwest::Client;\n", &[]);
        check_file(
            "session/mod.rs",
            "use reqwest::Url;\nuse a::tokio::b;\nuse rustls_native_certs::c;\n",
            &[
                "session/mod.rs:1: reqwest is only for http",
                "session/mod.rs:3: rustls_native_certs is only for http",
            ],
        );
    }

    #[test]
    fn comments_may_name_anything() {
        check_file(
            "http/mod.rs",
            "//! See [`Call`].\n    /// [`a`](crate::api::a), reqwest::b\n",
            &[],
        );
    }
}
