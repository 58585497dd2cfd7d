//! `ssh://[USER@]HOST[:PORT][/PATH][?store=DIR]`: another machine, and a place on it.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The beginning of every address.
pub const SCHEME: &str = "ssh://";
/// What follows the scheme.
const FORM: &str = "an address is ssh://[USER@]HOST[:PORT][/…]";

/// The address of another machine, with a path on it. Nothing in it can be taken for an option of ssh or end a word for the
/// shell there: hosts and users are checked, and everything else is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `[USER@]HOST[:PORT]`, as it is shown.
    pub machine: Machine,
    /// What follows the slash after the machine, decoded; empty if there is nothing.
    pub path: String,
    /// The store on that machine, if the address says.
    pub store: Option<String>,
}

/// A machine that ssh reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    user: Option<String>,
    /// A name or an address; of IPv6 without brackets.
    host: String,
    port: Option<u16>,
}

impl Machine {
    /// The arguments by which ssh reaches it.
    pub(super) fn arguments(&self) -> Vec<String> {
        let port = self.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]);
        let destination = match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        };
        port.chain([destination]).collect()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.iter().try_for_each(|port| write!(f, ":{port}"))
    }
}

/// The error of an address that is none, or not a safe one.
#[derive(Debug)]
pub struct Malformed {
    text: String,
    reason: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.reason)
    }
}

impl Error for Malformed {}

impl FromStr for Address {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        parse(text).map_err(|reason| Malformed { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Address, &'static str> {
    let rest = text.strip_prefix(SCHEME).ok_or(FORM)?;
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, it)| (rest, Some(it)));
    let store = match query.map(|query| query.strip_prefix("store=")) {
        None => None,
        Some(None | Some("")) => return Err("after ? there can only be store=DIR"),
        Some(Some(store)) => Some(decode(store)?),
    };
    let (machine, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok(Address { machine: parse_machine(machine)?, path: decode(path)?, store })
}

fn parse_machine(text: &str) -> Result<Machine, &'static str> {
    let (user, place) =
        text.rsplit_once('@').map_or((None, text), |(user, place)| (Some(user), place));
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(FORM)?;
        let is_of_address = |c: char| c.is_ascii_alphanumeric() || ":.%".contains(c);
        if !host.contains(':') || !host.chars().all(is_of_address) {
            return Err("in brackets there can only be an IPv6 address");
        }
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(FORM)?) })
    } else {
        let (host, port) =
            place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if host.is_empty() || host.starts_with('-') || !host.chars().all(is_of_name) {
            return Err("a host is letters, digits, dots, and hyphens that are not first");
        }
        (host, port)
    };
    let port = port.map(|port| match port.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("not a port"),
    });
    let user = user.map(decode).transpose()?;
    if let Some(user) = &user {
        // What OpenSSH itself refuses on a command line, since a ProxyCommand may hand it to a shell (CVE-2023-51385).
        let is_unsafe =
            |c: char| c.is_control() || c.is_whitespace() || "'\"`$\\;&<>|(){}".contains(c);
        if user.is_empty() || user.starts_with('-') || user.chars().any(is_unsafe) {
            return Err("not the name of a user");
        }
        if user.contains(':') {
            return Err("a password can't be in the address: ssh asks for it, or has a key");
        }
    }
    Ok(Machine { user, host: host.to_owned(), port: port.transpose()? })
}

/// Undoes the `%XX` of an address.
fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("% stands before two hexadecimal digits")?);
        rest = &after[2..];
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    if text.chars().any(char::is_control) { Err("a control character") } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, arguments: &[&str], path: &str, store: Option<&str>) {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.machine.arguments(), arguments, "{text}");
        assert_eq!((&*address.path, address.store.as_deref()), (path, store), "{text}");
    }

    #[test]
    fn an_address_is_a_machine_and_a_place_on_it() {
        check("ssh://host", &["host"], "", None);
        check("ssh://me@host:2222/", &["-p", "2222", "me@host"], "", None);
        check("ssh://h/ghcr.io/a/b:c", &["h"], "ghcr.io/a/b:c", None);
        check("ssh://h//srv/my%20store", &["h"], "/srv/my store", None);
        check("ssh://h/app?store=/srv/it's", &["h"], "app", Some("/srv/it's"));
        check("ssh://me%40example.org@[::1]:22/a", &["-p", "22", "me@example.org@::1"], "a", None);
        check("ssh://[fe80::1%eth0]/a", &["fe80::1%eth0"], "a", None);
    }

    // CVE-2017-1000117 and its like: a host that is an option, or a command for a ProxyCommand's shell.
    #[test]
    fn what_is_no_host_never_reaches_ssh() {
        for text in [
            "ssh://-oProxyCommand=touch%20x/app",
            "ssh://-oProxyCommand=x",
            "ssh://me@-oProxyCommand=x/app",
            "ssh://-l@host/app",
            "ssh://%2doProxyCommand=x/app",
            "ssh://%2dv@host/app",
            "ssh://$(touch x)/app",
            "ssh://`x`@host/app",
            "ssh://a%20-v@host/app",
            "ssh://a;b/app",
            "ssh://[-oProxyCommand=x]/app",
            "ssh://[::1]x/app",
            "ssh://me:secret@host/app",
            "ssh:///app",
            "ssh://@host/app",
            "ssh://host:0/app",
            "ssh://host:-1/app",
            "ssh://host:65536/app",
            "ssh://host/a%0ab",
            "ssh://host/a%",
            "ssh://host/a%ff",
            "ssh://host/a?b=c",
            "ssh://host/a?store=",
            "ssh:host",
            "host",
        ] {
            text.parse::<Address>().unwrap_err();
        }
    }

    #[test]
    fn a_machine_is_shown_as_it_is_written() {
        for text in ["host", "me@host:22", "[::1]", "me@[::1]:22"] {
            let address: Address = format!("ssh://{text}/x").parse().unwrap();
            assert_eq!(address.machine.to_string(), text);
        }
    }
}
