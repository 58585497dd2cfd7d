//! Which proxy the environment names, for people who ask; the HTTP client finds it by itself.

use reqwest::Url;

/// The variables that count for HTTPS, the first one that is set.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Whether there may be a proxy for HTTPS.
pub(super) fn is_set() -> bool {
    VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The proxy for HTTPS without its login, and the hosts that go without.
pub(crate) fn describe(variable: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            Some((*name, value))
        })
    };
    let Some((name, value)) = first(&VARIABLES) else { return "none".to_owned() };
    let proxy = without_login(&value);
    match first(&EXCEPTIONS) {
        None => format!("{proxy} ({name})"),
        Some((exceptions, hosts)) => {
            format!("{proxy} ({name}), not for {exceptions}={}", crate::text::one_line(&hosts))
        }
    }
}

/// `host:port`; what can't be read is not shown, for it may hold a password.
fn without_login(proxy: &str) -> String {
    let with_scheme =
        if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    match with_scheme.parse::<Url>() {
        Ok(url) if url.has_host() => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
        }
        _ => "something that is no address".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: &str) {
        let mut variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(describe(&mut variable), expected);
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        check(&[], "none");
        check(&[("HTTPS_PROXY", "")], "none");
        check(
            &[("HTTPS_PROXY", "http://me:hunter2@p.test:3128/")],
            "http://p.test:3128 (HTTPS_PROXY)",
        );
        check(&[("all_proxy", "me:hunter2@p.test")], "http://p.test (all_proxy)");
        check(
            &[("https_proxy", "p.test:80"), ("NO_PROXY", "a.test,b.test")],
            "http://p.test (https_proxy), not for NO_PROXY=a.test,b.test",
        );
        check(&[("https_proxy", "hunter2 hunter2")], "something that is no address (https_proxy)");
    }
}
