//! The flags of commands that use the network.

use std::io::{BufRead as _, BufReader, Read as _};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Code, Failure, Input, usage};

/// The most bytes that the line with a login may have.
const LIMIT: u64 = 64 << 10;

/// Flags of the commands that use the network, to be flattened into their arguments.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Registries")]
pub struct Flags {
    /// Logins in the form of docker's config.json or podman's auth.json, instead of all the usual places
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "creds_stdin")]
    pub authfile: Option<PathBuf>,

    /// Read a login, as USER:PASSWORD, from the first line of standard input
    #[arg(long, global = true)]
    pub creds_stdin: bool,

    /// A registry, as HOST or HOST:PORT, that may show any certificate or speak plain HTTP; may be given several times
    #[arg(long, global = true, value_name = "HOST")]
    pub insecure: Vec<String>,

    /// How long a connection may take to be made; 15 without this
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub connect_timeout: Option<Duration>,

    /// How long a registry may be silent until the connection is given up and the rest asked for anew; 30 without this. There
    /// is no limit for the whole
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub stall_timeout: Option<Duration>,

    /// How many bytes a second may pass at most, of all connections together, as 500k, 2M or 1G; without this there is no limit
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub limit_rate: Option<NonZeroU64>,
}

/// Parses a rate in bytes a second as curl and wget do: `k`, `M` and `G` are powers of 1024.
fn rate(text: &str) -> Result<NonZeroU64, &'static str> {
    let units = [('k', 10), ('K', 10), ('m', 20), ('M', 20), ('g', 30), ('G', 30)];
    let unit = units.into_iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
    let (number, bits) = unit.unwrap_or((text, 0));
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << bits));
    bytes.and_then(NonZeroU64::new).ok_or("not a number of bytes a second, as 500k or 2M")
}

/// Parses a time in seconds, perhaps with a fraction: more than 0, at most a day.
fn seconds(text: &str) -> Result<Duration, &'static str> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero() && *time <= Duration::from_secs(24 * 3600))
        .ok_or("not a number of seconds between 0 and 86400")
}

impl Flags {
    /// The name of a flag that was given, if there is one: for a command that uses no registry this time.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--authfile", self.authfile.is_some()),
            ("--creds-stdin", self.creds_stdin),
            ("--insecure", !self.insecure.is_empty()),
            ("--connect-timeout", self.connect_timeout.is_some()),
            ("--stall-timeout", self.stall_timeout.is_some()),
            ("--limit-rate", self.limit_rate.is_some()),
        ];
        flags.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// The file with logins, if the user named one.
    ///
    /// # Errors
    /// [`Code::NotFound`] if it isn't there or can't be looked at.
    pub(crate) fn authfile(&self) -> Result<Option<&PathBuf>, Failure> {
        let Some(path) = &self.authfile else { return Ok(None) };
        match std::fs::metadata(path) {
            Ok(_) => Ok(Some(path)),
            Err(error) => Err(Failure::new(Code::NotFound, clean_path(path)).because(error)),
        }
    }

    /// The user and the password from standard input, if `--creds-stdin` was given.
    ///
    /// # Errors
    /// [`Code::Usage`] if standard input is a terminal, or its first line is no login. The message doesn't repeat the line.
    pub(crate) fn creds(&self, input: &mut Input) -> anyhow::Result<Option<(String, String)>> {
        if !self.creds_stdin {
            return Ok(None);
        }
        if input.is_terminal() {
            let text = "--creds-stdin reads from a pipe or a file: on a terminal the password would be seen";
            return Err(usage(text).into());
        }
        let mut line = String::new();
        let reading = "reading a login from standard input";
        BufReader::new(input.take().take(LIMIT)).read_line(&mut line).context(reading)?;
        match line.trim_end_matches(['\r', '\n']).split_once(':') {
            Some((user, password)) if !user.is_empty() => {
                Ok(Some((user.to_owned(), password.to_owned())))
            }
            _ => Err(usage("the first line of standard input is not USER:PASSWORD").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds(input: &str) -> anyhow::Result<Option<(String, String)>> {
        let network = Flags { creds_stdin: true, ..Flags::default() };
        network.creds(&mut Input::memory(input))
    }

    #[test]
    fn a_login_is_the_first_line() {
        let is = |input: &str, user: &str, password: &str| {
            let expected = (user.to_owned(), password.to_owned());
            assert_eq!(creds(input).unwrap(), Some(expected), "{input:?}");
        };
        is("me:pass:word\n", "me", "pass:word");
        is("me: \r\nmore\n", "me", " ");
        is("me:", "me", "");
        for input in ["", "\n", "hunter2", ":hunter2\n"] {
            let error = creds(input).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let none = Flags::default().creds(&mut Input::memory("me:x")).unwrap();
        assert!(none.is_none());
    }

    #[test]
    fn times_are_seconds_and_neither_none_nor_endless() {
        let check = |text: &str, expected: Option<u64>| {
            let found = seconds(text).ok().map(|time| time.as_millis());
            assert_eq!(found, expected.map(u128::from), "{text}");
        };
        check("5", Some(5000));
        check("0.25", Some(250));
        check("86400", Some(86_400_000));
        for text in ["", "0", "-1", "86401", "inf", "NaN", "1e300", "5s"] {
            check(text, None);
        }
    }

    #[test]
    fn rates_are_bytes_a_second_in_powers_of_1024() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(rate(text).ok().map(NonZeroU64::get), expected, "{text}");
        };
        check("1", Some(1));
        check("500k", Some(512_000));
        check("2M", Some(2 << 20));
        check("1g", Some(1 << 30));
        for text in ["", "0", "k", "0k", "-1", "1.5M", "1T", "99999999999999999999", "99999999999g"]
        {
            check(text, None);
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let network = |path: &str| Flags { authfile: Some(path.into()), ..Flags::default() };
        assert!(network("/").authfile().is_ok());
        assert!(network("/nonexistent/auth.json").authfile().is_err());
    }
}
