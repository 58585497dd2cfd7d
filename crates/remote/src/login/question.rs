//! The user and the password: from options, from standard input, or from the terminal.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use cli::{Echo, Explain as _, Io, usage};
use registry::{Login, Secret};

/// The most bytes that a password may have.
const LIMIT: u64 = 32 << 10;

/// What is known of a login before anybody is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) user: Option<&'a str>,
    /// Whether the password is on standard input.
    pub(crate) is_on_stdin: bool,
    /// Whether standard input has both, as `USER:PASSWORD`.
    pub(crate) has_both_on_stdin: bool,
    /// The file that has a token for the token server; `-` is standard input.
    pub(crate) identity_token: Option<&'a Path>,
    /// The file that has a token for the registry itself; `-` is standard input.
    pub(crate) token: Option<&'a Path>,
}

/// How to log in where nobody can be asked.
const WITHOUT_TERMINAL: &str = "-u NAME --password-stdin reads the password from standard input";

/// A login.
pub(super) struct Answer {
    /// What it is in messages: `me`, `an identity token`.
    pub(super) who: String,
    pub(super) login: Login,
}

impl Question<'_> {
    /// Asks for what is missing.
    ///
    /// # Errors
    /// Wrong usage if there is nobody to ask, or nothing is answered.
    pub(super) fn ask(self, io: &mut Io<'_>) -> anyhow::Result<Answer> {
        if let Some(path) = self.identity_token {
            let token = token(path, "--identity-token", io)?;
            let who = "an identity token".to_owned();
            return Ok(Answer { who, login: Login::IdentityToken(token) });
        }
        if let Some(path) = self.token {
            let token = token(path, "--token", io)?;
            let who = "a token".to_owned();
            return Ok(Answer { who, login: Login::RegistryToken(token) });
        }
        if self.has_both_on_stdin {
            let line = from_stdin(io, "--creds-stdin")?;
            let (user, password) = line
                .split_once(':')
                .ok_or_else(|| usage("the first line of standard input is not USER:PASSWORD"))?;
            return checked(user.to_owned(), password.to_owned());
        }
        let user = match self.user {
            Some(user) => user.to_owned(),
            None => cli::ask("Username", Echo::On).hint(WITHOUT_TERMINAL)?.trim().to_owned(),
        };
        let password = if self.is_on_stdin {
            from_stdin(io, "--password-stdin")?
        } else {
            cli::ask("Password", Echo::Off).hint(WITHOUT_TERMINAL)?
        };
        checked(user, password)
    }
}

fn checked(user: String, password: String) -> anyhow::Result<Answer> {
    if user.is_empty() || password.is_empty() {
        return Err(usage("a login needs a user and a password").into());
    }
    // Basic's syntax has no way to write it.
    if user.contains(':') {
        return Err(usage("a user's name has no colon").into());
    }
    let login = Login::Password { user: user.clone(), password: Secret::new(password) };
    Ok(Answer { who: user, login })
}

/// The token in a file, or on standard input.
fn token(path: &Path, option: &str, io: &mut Io<'_>) -> anyhow::Result<Secret> {
    let line = if path.as_os_str() == "-" {
        from_stdin(io, option)?
    } else {
        let file = File::open(path).map_err(|error| cli::Failure::opening(path, error))?;
        line(file, &cli::text::clean_path(path))?
    };
    let is_token = |byte: u8| byte.is_ascii_graphic();
    if line.is_empty() || !line.bytes().all(is_token) {
        return Err(usage(format!("{option}: this is no token")).into());
    }
    Ok(Secret::new(line))
}

/// All of standard input without the end of its line.
fn from_stdin(io: &mut Io<'_>, option: &str) -> anyhow::Result<String> {
    if io.input.is_terminal() {
        let text = format!(
            "{option} reads from a pipe or a file: on a terminal the password would be seen"
        );
        return Err(usage(text).hint("without it the password is asked for, and not shown").into());
    }
    line(cli::Input::take(&mut io.input), "standard input")
}

/// All of an input without the end of its line.
fn line(input: impl Read, place: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let reading = || format!("reading a password from {place}");
    input.take(LIMIT + 1).read_to_string(&mut text).with_context(reading)?;
    if text.len() as u64 > LIMIT {
        return Err(usage(format!("{place} has more than a password")).into());
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        return Err(usage(format!("{place} has more than one line")).into());
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> (String, Login) {
        let login = Login::Password { user: user.to_owned(), password: Secret::new(password) };
        (user.to_owned(), login)
    }

    fn ask(question: Question<'_>, input: &str) -> Result<(String, Login), String> {
        let answer = question.ask(&mut Io::memory(input));
        answer.map(|it| (it.who, it.login)).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_password_is_all_but_the_end_of_the_line() {
        let question = Question {
            user: Some("me"),
            is_on_stdin: true,
            has_both_on_stdin: false,
            identity_token: None,
            token: None,
        };
        let check = |input: &str, expected: Option<&str>| {
            let found = ask(question, input);
            if let Err(text) = &found {
                assert!(!text.contains("hunter2"), "{text}");
            }
            let expected = expected.map(|password| login("me", password));
            assert_eq!(found.ok(), expected, "{input:?}");
        };
        check("hunter2\n", Some("hunter2"));
        check("hunter2\r\n", Some("hunter2"));
        check("hunter2", Some("hunter2"));
        check(" a:b größe ", Some(" a:b größe "));
        check("", None);
        check("\n", None);
        check("hunter2\nmore\n", None);
        check(&"hunter2".repeat(10_000), None);
    }

    #[test]
    fn both_may_be_on_standard_input() {
        let question = Question {
            user: None,
            is_on_stdin: false,
            has_both_on_stdin: true,
            identity_token: None,
            token: None,
        };
        assert_eq!(ask(question, "me:a:b\n"), Ok(login("me", "a:b")));
        for input in ["me", ":hunter2", "me:"] {
            let error = ask(question, input).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let question = Question {
            user: Some("a:b"),
            is_on_stdin: true,
            has_both_on_stdin: false,
            identity_token: None,
            token: None,
        };
        assert!(ask(question, "x").is_err());
    }
}
