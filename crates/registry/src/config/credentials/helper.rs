//! Programs that keep logins: `docker-credential-NAME get` takes a server's name on its input and answers in JSON.
//!
//! Docker's `config.json` and podman's `auth.json` name them: `credHelpers` for single hosts, `credsStore` for all. A
//! helper's output is never shown, for it may be a secret; only the way in which it failed is.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use layer_format::null_is_default;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::docker::{canonical, fit, login_of, parse};
use super::login::{Login, LoginQuery};
use crate::base::{Error, HUB, POLL_INTERVAL, Secret};

/// The key under which helpers keep the login for Docker's own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// How long a helper is waited for. It may ask its user for a password.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How many bytes of an answer are read at most.
const LIMIT: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HelperConfig {
    #[serde(default, deserialize_with = "null_is_default")]
    creds_store: String,
    #[serde(default, deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Option<IgnoredAny>>,
}

/// A helper's answer. Docker reads its keys in any case (`Username`, `username`), and so helpers write them.
#[derive(Debug, Default)]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl HelperAnswer {
    fn parse(json: &[u8]) -> Option<Self> {
        let fields: BTreeMap<String, Value> = serde_json::from_slice(json).ok()?;
        let mut answer = Self::default();
        for (key, value) in fields {
            let place = match key.to_ascii_lowercase().as_str() {
                "username" => &mut answer.username,
                "secret" => &mut answer.secret,
                _ => continue,
            };
            value.as_str()?.clone_into(place);
        }
        Some(answer)
    }
}

/// A helper, and the name under which it may know the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HelperQuery {
    /// `docker-credential-…`.
    pub(super) program: String,
    server: String,
}

/// The helpers that docker's JSON names for a registry, the most specific first.
pub(super) fn queries(
    json: &[u8],
    place: &str,
    wanted: &LoginQuery<'_>,
) -> Result<Vec<HelperQuery>, Error> {
    let HelperConfig { creds_store, cred_helpers, auths } = parse(json, place)?;
    let whole = format!("{}/{}", canonical(wanted.registry), wanted.repository);
    let fits = |key: &&String| fit(key, &whole).is_some();
    let mut own: Vec<&String> = cred_helpers.keys().filter(fits).collect();
    own.sort_by_key(|key| std::cmp::Reverse(fit(key, &whole)));
    let query = |suffix: &str, server: &str| HelperQuery {
        program: format!("docker-credential-{suffix}"),
        server: server.to_owned(),
    };
    let mut queries: Vec<_> = own.iter().map(|key| query(&cred_helpers[*key], key)).collect();
    if !creds_store.is_empty() {
        let usual = if canonical(wanted.registry) == HUB { HUB_KEY } else { wanted.registry };
        // `docker login` leaves an empty entry under the very name that it gave to the helper.
        let mut servers: Vec<&str> = auths.keys().filter(fits).map(String::as_str).collect();
        servers.retain(|server| *server != usual);
        servers.insert(0, usual);
        queries.extend(servers.iter().map(|server| query(&creds_store, server)));
    }
    queries.dedup();
    Ok(queries)
}

/// Whether some directory of PATH that may be searched has this program, executable or not.
fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

impl HelperQuery {
    /// Refuses a path in the place of a name.
    fn check_name(&self) -> Result<(), &'static str> {
        if self.program.contains(['/', '\0']) { Err("is no name of a helper") } else { Ok(()) }
    }

    /// Asks the helper. Gives `None` if it knows no login.
    ///
    /// # Errors
    ///
    /// How it failed, to follow its name.
    pub(super) fn ask(&self, cancelled: fn() -> bool) -> Result<Option<Login>, &'static str> {
        self.check_name()?;
        self.ask_within(TIMEOUT, cancelled)
    }

    /// Has the helper keep a login.
    ///
    /// # Errors
    ///
    /// How it failed, to follow its name.
    pub(super) fn store(
        &self,
        user: &str,
        password: &Secret,
        cancelled: fn() -> bool,
    ) -> Result<(), &'static str> {
        self.check_name()?;
        let kept = json!({
            "ServerURL": self.server, "Username": user, "Secret": password.expose(),
        });
        let (_, status) = self.run("store", &kept.to_string(), TIMEOUT, cancelled)?;
        if status.success() { Ok(()) } else { Err("failed") }
    }

    /// Has the helper forget its login.
    ///
    /// # Errors
    ///
    /// How it failed, to follow its name.
    pub(super) fn erase(&self, cancelled: fn() -> bool) -> Result<(), &'static str> {
        self.check_name()?;
        let (_, status) = self.run("erase", &self.server, TIMEOUT, cancelled)?;
        if status.success() { Ok(()) } else { Err("failed") }
    }

    /// Asks with another time-out.
    fn ask_within(
        &self,
        timeout: Duration,
        cancelled: fn() -> bool,
    ) -> Result<Option<Login>, &'static str> {
        let (text, status) = self.run("get", &self.server, timeout, cancelled)?;
        if !status.success() {
            let is_unknown = String::from_utf8_lossy(&text).contains("credentials not found");
            return if is_unknown { Ok(None) } else { Err("failed") };
        }
        let HelperAnswer { username, secret } =
            HelperAnswer::parse(&text).ok_or("gave no login")?;
        Ok(login_of(username, secret))
    }

    /// Runs the helper. The time-out is for its answer, and again for the end of the process.
    fn run(
        &self,
        action: &str,
        question: &str,
        timeout: Duration,
        cancelled: fn() -> bool,
    ) -> Result<(Vec<u8>, ExitStatus), &'static str> {
        let started = Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "is not there",
            // The kernel says so if a single directory of PATH may not be searched, although the others were.
            io::ErrorKind::PermissionDenied if !is_in_path(&self.program) => "is not there",
            _ => "can't be started",
        })?;
        let answered = talk(&mut child, question, timeout, cancelled);
        let ended = match answered {
            Ok(text) => end_of(&mut child, timeout, cancelled).map(|status| (text, status)),
            Err(reason) => Err(reason),
        };
        if ended.is_err() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
        ended
    }
}

/// Writes the question and reads all that is answered.
fn talk(
    child: &mut Child,
    question: &str,
    timeout: Duration,
    cancelled: fn() -> bool,
) -> Result<Vec<u8>, &'static str> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("can't be talked to");
    };
    // A helper that doesn't read its input tells what is wrong by its status.
    writeln!(input, "{question}").ok();
    drop(input);
    let (sender, answers) = mpsc::channel();
    let reading = move || {
        let mut text = vec![];
        let read = output.take(LIMIT).read_to_end(&mut text).map(|_| text);
        sender.send(read).ok();
    };
    Builder::new().spawn(reading).map_err(|_| "can't be read from")?;
    let started = Instant::now();
    loop {
        match answers.recv_timeout(POLL_INTERVAL) {
            Ok(read) => return read.map_err(|_| "can't be read from"),
            Err(RecvTimeoutError::Disconnected) => return Err("can't be read from"),
            Err(RecvTimeoutError::Timeout) if cancelled() => return Err("was interrupted"),
            Err(RecvTimeoutError::Timeout) if started.elapsed() > timeout => {
                return Err("doesn't answer");
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Waits for the end of a helper that has closed its output.
fn end_of(
    child: &mut Child,
    timeout: Duration,
    cancelled: fn() -> bool,
) -> Result<ExitStatus, &'static str> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Err(_) => return Err("failed"),
            Ok(None) if cancelled() => return Err("was interrupted"),
            Ok(None) if started.elapsed() > timeout => return Err("doesn't end"),
            Ok(None) => thread::sleep(pause),
        }
        pause = POLL_INTERVAL.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Asks a helper that is this script.
    fn ask_script(
        name: &str,
        script: &str,
        timeout: Duration,
        cancelled: fn() -> bool,
    ) -> Result<Option<Login>, &'static str> {
        let path =
            std::env::temp_dir().join(format!("strata-helper-{name}-{}", std::process::id()));
        // Written by a process of its own: a file that somebody has open for writing can't be started, and a child of
        // another test may have this one open for a moment.
        let written = Command::new("/bin/sh")
            .args(["-c", "cat > \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .and_then(|mut child| {
                child.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}").as_bytes())?;
                child.wait()
            });
        assert!(written.unwrap().success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = path.to_str().unwrap().to_owned();
        let question = HelperQuery { program, server: "r.test".to_owned() };
        let answer = question.ask_within(timeout, cancelled);
        std::fs::remove_file(path).unwrap();
        answer
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn a_slow_helper_is_waited_for() {
        let script = r#"read it; sleep 0.5; echo "{\"Username\":\"$it\",\"Secret\":\"s\"}""#;
        let user = "r.test".to_owned();
        let login = Login::Password { user, password: Secret::new("s") };
        assert_eq!(ask_script("slow", script, LONG, || false), Ok(Some(login)));
    }

    #[test]
    fn a_helper_that_ends_some_time_after_its_answer_is_believed() {
        let script = r#"echo '{"Username":"me","Secret":"s"}'; exec >&-; sleep 0.3"#;
        let login = Login::Password { user: "me".to_owned(), password: Secret::new("s") };
        assert_eq!(ask_script("late", script, LONG, || false), Ok(Some(login)));
        let failing = script.to_owned() + "; exit 1";
        assert_eq!(ask_script("late-failure", &failing, LONG, || false), Err("failed"));
    }

    #[test]
    fn a_silent_helper_is_given_up_and_ended() {
        let started = Instant::now();
        let silent = ask_script("silent", "exec sleep 60", SHORT, || false);
        assert_eq!(silent, Err("doesn't answer"));
        // One that has answered and doesn't end is no better: how it ends says whether the answer is one.
        let script = r#"echo '{"Username":"me","Secret":"s"}'; exec >&-; exec sleep 60"#;
        assert_eq!(ask_script("endless", script, SHORT, || false), Err("doesn't end"));
        let interrupted = ask_script("interrupted", "exec sleep 60", LONG, || true);
        assert_eq!(interrupted, Err("was interrupted"));
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn an_answer_is_read_in_any_case_of_its_keys() {
        let check = |json: &str, expected: Option<(&str, &str)>| {
            let answer = HelperAnswer::parse(json.as_bytes());
            let found = answer.as_ref().map(|it| (it.username.as_str(), it.secret.as_str()));
            assert_eq!(found, expected, "{json}");
        };
        check(r#"{"ServerURL":"r","Username":"me","Secret":"s"}"#, Some(("me", "s")));
        check(r#"{"username":"me","secret":"s","more":[1]}"#, Some(("me", "s")));
        check("{}", Some(("", "")));
        for json in ["", "[]", "hunter2", r#"{"Username":7}"#] {
            check(json, None);
        }
    }

    #[track_caller]
    fn check(json: &str, registry: &str, repository: &str, expected: &[(&str, &str)]) {
        let wanted = LoginQuery { registry, repository, cancelled: || false };
        let queries = queries(json.as_bytes(), "config.json", &wanted).unwrap();
        let found: Vec<_> =
            queries.iter().map(|it| (&it.program[18..], it.server.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn helpers_of_single_hosts_come_before_the_one_for_all() {
        let json = r#"{"credsStore":"all","credHelpers":{"r.test":"own","r.test/a":"longer","s.test":"x"}}"#;
        check(
            json,
            "r.test",
            "a/b",
            &[("longer", "r.test/a"), ("own", "r.test"), ("all", "r.test")],
        );
        check(json, "t.test", "a", &[("all", "t.test")]);
        check("{}", "r.test", "a", &[]);
        check(r#"{"credsStore":null,"credHelpers":null,"auths":null}"#, "r.test", "a", &[]);
    }

    #[test]
    fn a_helper_is_asked_by_the_name_that_the_login_has() {
        let hub = [("all", "https://index.docker.io/v1/")];
        check(r#"{"credsStore":"all"}"#, "docker.io", "library/x", &hub);
        let json = r#"{"credsStore":"all","auths":{"https://r.test/v2/":{},"other":{}}}"#;
        check(json, "r.test", "a", &[("all", "r.test"), ("all", "https://r.test/v2/")]);
    }

    #[test]
    fn a_helper_that_is_not_there_is_told() {
        let question =
            |program: &str| HelperQuery { program: program.to_owned(), server: String::new() };
        let ask = |program: &str| question(program).ask(|| false);
        assert_eq!(ask("docker-credential-no-such-helper"), Err("is not there"));
        assert_eq!(ask("docker-credential-/bin/sh"), Err("is no name of a helper"));
    }
}
