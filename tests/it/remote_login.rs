//! `remote login` and `logout`: what is asked, what is tried, and where it is kept.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use kit::registry::auth::{self, Bearer};
use kit::{Auth, Output, Registry, Sandbox, pipeline};
use serde_json::{Value, json};

use crate::fixtures::{assert_one_line, small};

const SECRET: &str = "hunter2";

/// A registry that wants a login, and a user of it with a runtime directory.
struct User {
    registry: Registry,
    sandbox: Sandbox,
}

impl User {
    fn of(auth: Auth) -> Self {
        let registry = Registry::with_auth(auth);
        for name in ["app:1", "ns/app:1", "other/app:1"] {
            registry.add(name, small("x"));
        }
        let sandbox = Sandbox::new();
        sandbox.write("run/.keep", "");
        Self { registry, sandbox }
    }

    fn new() -> Self {
        Self::of(Auth::basic("me", SECRET))
    }

    /// Runs a script, in which `HOST` is the registry and `SECRET` the password.
    fn sh(&self, script: &str) -> Output {
        let script = script.replace("HOST", &self.registry.host()).replace("SECRET", SECRET);
        let helpers = self.sandbox.path("helpers");
        let script =
            format!("export XDG_RUNTIME_DIR=$PWD/run PATH={}:$PATH; {script}", helpers.display());
        let output = pipeline::sh(&self.sandbox, &script);
        assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
        output
    }

    fn log_in(&self, name: &str) -> Output {
        self.sh(&format!("echo SECRET | remote login {name} -u me --password-stdin"))
    }

    fn auths(&self, path: &str) -> Value {
        let json: Value = serde_json::from_slice(&self.sandbox.read(path)).unwrap();
        json["auths"].clone()
    }

    /// A helper that keeps logins in a file, and whose name is `docker-credential-kit`.
    fn add_helper(&self) {
        let script = r#"#!/bin/sh
kept=$HOME/kept
case $1 in
store) cat > "$kept" ;;
get) read -r server; grep -q "\"$server\"" "$kept" 2> /dev/null && cat "$kept" || { echo credentials not found in native keychain; exit 1; } ;;
erase) rm "$kept" ;;
esac
"#;
        self.add_program("helpers/docker-credential-kit", script);
    }

    fn add_program(&self, name: &str, script: &str) {
        // Written by a process of its own: what another test's child has open for writing can't be started.
        let path = self.sandbox.path(name);
        let make = format!(
            "mkdir -p {0} && cat > {1} && chmod 755 {1}",
            path.parent().unwrap().display(),
            path.display()
        );
        pipeline::Script::new(&self.sandbox, &make).input(script).run().success();
    }
}

// CI systems have tokens, and no passwords.
#[test]
fn an_identity_token_logs_in_and_is_kept_as_such() {
    let bearer = Bearer { identity_token: Some(SECRET.to_owned()), ..Bearer::login("x", "y") };
    let user = User::of(Auth::Bearer(bearer));
    let log_in = "echo SECRET | remote login HOST --identity-token -";
    let place = user.sandbox.path("run/containers/auth.json");
    let host = user.registry.host();
    let expected =
        format!("logged in to {host} with an identity token; kept in {}\n", place.display());
    assert_eq!(user.sh(log_in).success().stderr, expected);
    assert_eq!(mode(&place), 0o600);
    let entry = &user.auths("run/containers/auth.json")[&host];
    assert_eq!(entry["identitytoken"], SECRET);
    assert_eq!(entry["auth"], auth::base64(b"<token>:"));
    user.sh("remote tags HOST/app && pull -q --no-stream HOST/app:1").success();
    user.sh("remote logout HOST").success();
    user.sh("remote tags HOST/app").fails_with(6);
    // A helper has it under docker's word for it, and a file will do in the place of standard input.
    user.add_helper();
    user.sandbox.write("run/containers/auth.json", r#"{"credsStore":"kit"}"#);
    user.sh("printf %s SECRET > token; remote login HOST --identity-token token").success();
    assert!(String::from_utf8(user.sandbox.read("../home/kept")).unwrap().contains("<token>"));
    user.sh("remote tags HOST/app").success();
    let output = user.sh("echo wrong | remote login HOST --identity-token -");
    let said = format!("remote: {host}: the login of an identity token was refused");
    assert!(output.fails_with(6).stderr.starts_with(&said), "{}", output.stderr);
}

#[test]
fn a_token_of_the_registry_is_kept_in_a_file() {
    let user = User::of(Auth::bearer());
    let got = "curl -s 'http://HOST/token?service=kit&scope=repository:app:pull' | jq -r .token";
    let token = user.sh(got).success().out().trim().to_owned();
    let script = format!("echo {token} | remote login HOST --token - --authfile $PWD/auth.json");
    user.sh(&script).success();
    let host = user.registry.host();
    let auths = user.auths("auth.json");
    assert_eq!(auths[&host]["registrytoken"], *token);
    user.add_helper();
    user.sandbox.write("run/containers/auth.json", r#"{"credsStore":"kit"}"#);
    let output = user.sh(&format!("echo {token} | remote login HOST --token -"));
    assert!(output.fails_with(1).stderr.contains("keeps no tokens of registries"));
    assert!(output.stderr.contains("hint: --authfile FILE"), "{}", output.stderr);
    for line in ["--token - -u me", "--token - --identity-token -", "--identity-token - -u me"] {
        user.sh(&format!("echo x | remote login HOST {line}")).fails_with(2);
    }
    user.sh("printf 'two words' | remote login HOST --token -").fails_with(2);
    user.sh("remote login HOST --token none").fails_with(3);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_login_is_kept_for_its_owner_alone_beside_what_is_there() {
    let user = User::new();
    user.sh("remote tags HOST/app").fails_with(6);
    let other = r#"{"auths":{"s.test":{"auth":"eDp5"}},"credHelpers":{"t.test":"x"},"odd":1.50}"#;
    user.sandbox.write("run/containers/auth.json", other);
    let output = user.log_in("HOST");
    let place = user.sandbox.path("run/containers/auth.json");
    let expected =
        format!("logged in to {} as me; kept in {}\n", user.registry.host(), place.display());
    assert_eq!((&output.success().stderr, &output.out()[..]), (&expected, ""));
    assert_eq!(mode(&place), 0o600);
    let auth = auth::base64(format!("me:{SECRET}").as_bytes());
    let auths = user.auths("run/containers/auth.json");
    assert_eq!(
        auths,
        json!({ "s.test": { "auth": "eDp5" }, user.registry.host(): { "auth": auth } })
    );
    let text = String::from_utf8(user.sandbox.read("run/containers/auth.json")).unwrap();
    assert!(text.contains(r#"{"t.test":"x"}"#) && text.contains("1.50"), "{text}");
    user.sh("remote tags HOST/app && pull -q --no-stream HOST/app:1").success();
    // ggcr#1898: only this one is forgotten.
    user.sh("remote logout HOST").success();
    assert_eq!(user.auths("run/containers/auth.json"), json!({ "s.test": { "auth": "eDp5" } }));
    user.sh("remote tags HOST/app").fails_with(6);
    let output = user.sh("remote logout HOST");
    assert_one_line(output.fails_with(3), "remote");
    assert_eq!(user.sandbox.path("run/containers").read_dir().unwrap().count(), 1);
}

#[test]
fn a_login_that_is_refused_is_not_kept() {
    let token = Auth::Bearer(Bearer::login("me", SECRET));
    for auth in [Auth::basic("me", SECRET), token] {
        let user = User::of(auth);
        let output = user.sh("echo wrong-one | remote login HOST -u me --password-stdin");
        assert_one_line(output.fails_with(6), "remote");
        assert!(output.stderr.contains("the login of me was refused"), "{}", output.stderr);
        assert!(!output.stderr.contains("wrong-one"), "{}", output.stderr);
        assert!(!user.sandbox.path("run/containers").exists());
        user.log_in("HOST").success();
        user.sh("remote tags HOST/app").success();
    }
}

#[test]
fn a_registry_that_wants_no_login_is_told_of() {
    let user = User::of(Auth::Anonymous);
    let output = user.log_in("HOST");
    assert!(output.success().stderr.contains("asks for no login"), "{}", output.stderr);
    user.sh("remote logout HOST").success();
}

#[test]
fn what_is_no_login_is_wrong_usage() {
    let user = User::new();
    for line in [
        "remote login HOST -u me --password-stdin < /dev/null",
        "printf 'a\nb\n' | remote login HOST -u me --password-stdin",
        "echo SECRET | remote login HOST --password-stdin",
        "echo SECRET | remote login HOST -u me:you --password-stdin",
        "echo SECRET | remote login HOST --creds-stdin",
        "echo SECRET | remote login http://HOST -u me --password-stdin",
        "echo SECRET | remote login docker://HOST -u me --password-stdin",
        // Nobody is there to be asked.
        "setsid remote login HOST -u me < /dev/null",
    ] {
        assert_one_line(user.sh(line).fails_with(2), "remote");
    }
    assert_eq!(user.registry.log(), "");
    user.sh("echo me:SECRET | remote login HOST --creds-stdin").success();
    user.sh("remote tags HOST/app").success();
}

#[test]
fn the_file_that_is_named_is_the_one() {
    let user = User::new();
    let login = "echo SECRET | remote login HOST -u me --password-stdin";
    user.sh(&format!("{login} --authfile new/auth.json")).success();
    assert_eq!(mode(&user.sandbox.path("new/auth.json")), 0o600);
    assert_eq!(mode(&user.sandbox.path("new")), 0o700);
    user.sh(&format!("export REGISTRY_AUTH_FILE=$PWD/other.json; {login}")).success();
    assert!(!user.sandbox.path("run/containers").exists());
    user.sh("remote tags HOST/app").fails_with(6);
    user.sh("remote tags --authfile new/auth.json HOST/app").success();
    user.sh("REGISTRY_AUTH_FILE=other.json remote tags HOST/app").success();
    user.sh("remote logout --authfile new/auth.json HOST").success();
    assert_eq!(user.auths("new/auth.json"), json!({}));
    // A link stays one, and so does what is wrong already: nothing is lost.
    symlink("other.json", user.sandbox.path("link.json")).unwrap();
    user.sh(&format!("{login} --authfile link.json")).success();
    assert!(user.sandbox.path("link.json").is_symlink());
    user.sandbox.write("odd.json", r#"{"auths":"#);
    assert_one_line(user.sh(&format!("{login} --authfile odd.json")).fails_with(1), "remote");
    assert_eq!(user.sandbox.read("odd.json"), br#"{"auths":"#);
    // podman#1457
    user.sandbox.write("empty.json", "");
    user.sh(&format!("{login} --authfile empty.json")).success();
}

#[test]
fn without_a_runtime_directory_a_plain_users_login_is_kept_with_the_configuration() {
    let user = User::new();
    let line = "echo SECRET | remote login HOST -u me --password-stdin && remote tags HOST/app";
    let line = line.replace("HOST", &user.registry.host()).replace("SECRET", SECRET);
    let script = pipeline::Script::new(&user.sandbox, &line).as_plain_user();
    let output = script.run();
    let place = user.sandbox.root().join("home/.config/containers/auth.json");
    assert!(output.success().stderr.contains(&place.display().to_string()), "{}", output.stderr);
    assert_eq!(mode(&place), 0o600);
}

#[test]
fn a_login_may_be_for_a_part_of_a_registry() {
    let user = User::new();
    user.log_in("HOST/ns").success();
    user.sh("remote tags HOST/ns/app").success();
    user.sh("remote tags HOST/other/app").fails_with(6);
    assert_one_line(user.sh("remote logout HOST").fails_with(3), "remote");
    user.sh("remote logout HOST/ns").success();
    user.sh("remote tags HOST/ns/app").fails_with(6);
}

#[test]
fn a_helper_that_is_configured_keeps_the_login() {
    for config in [r#"{"credsStore":"kit"}"#, r#"{"credHelpers":{"HOST":"kit"}}"#] {
        let user = User::new();
        user.add_helper();
        let config = config.replace("HOST", &user.registry.host());
        user.sandbox.write("../home/.docker/config.json", &config);
        let output = user.log_in("HOST");
        assert!(output.success().stderr.contains("docker-credential-kit of "), "{}", output.stderr);
        assert!(!user.sandbox.path("run/containers").exists());
        let kept: Value = serde_json::from_slice(&user.sandbox.read("../home/kept")).unwrap();
        let expected =
            json!({ "ServerURL": user.registry.host(), "Username": "me", "Secret": SECRET });
        assert_eq!(kept, expected);
        user.sh("remote tags HOST/app").success();
        let output = user.sh("remote logout HOST");
        assert!(output.success().stderr.contains("docker-credential-kit of "), "{}", output.stderr);
        assert!(!user.sandbox.path("../home/kept").exists());
        assert_one_line(user.sh("remote logout HOST").fails_with(3), "remote");
        assert_eq!(user.sandbox.read("../home/.docker/config.json"), config.as_bytes());
    }
}

#[test]
fn a_helper_that_fails_is_told_and_nothing_is_kept_elsewhere() {
    let user = User::new();
    user.sandbox.write("../home/.docker/config.json", r#"{"credsStore":"kit"}"#);
    let output = user.log_in("HOST");
    assert!(output.fails_with(1).stderr.contains("docker-credential-kit of "), "{}", output.stderr);
    assert!(output.stderr.contains(" is not there\nhint: --authfile FILE"), "{}", output.stderr);
    user.add_program("helpers/docker-credential-kit", "#!/bin/sh\ncat; exit 1\n");
    let output = user.log_in("HOST");
    assert!(
        output.fails_with(1).stderr.contains(" failed\nhint: --authfile FILE"),
        "{}",
        output.stderr
    );
    assert!(!user.sandbox.path("run/containers").exists());
}

#[test]
fn a_login_that_another_one_hides_is_told_of() {
    let user = User::new();
    let old = auth::base64(b"me:old");
    let old = json!({ "auths": { user.registry.host(): { "auth": old } } }).to_string();
    let output = user.sh(&format!(
        "export DOCKER_AUTH_CONFIG='{old}'; echo SECRET | remote login HOST -u me --password-stdin"
    ));
    let text = "DOCKER_AUTH_CONFIG has another login for";
    assert!(output.success().stderr.contains(text), "{}", output.stderr);
    let output = user.sh(&format!("export DOCKER_AUTH_CONFIG='{old}'; remote logout HOST"));
    assert!(output.fails_with(1).stderr.contains("has a login still"), "{}", output.stderr);
}

#[test]
fn logins_that_are_made_at_once_are_all_kept() {
    let user = User::new();
    let logins: String = (0..8).fold(String::new(), |script, n| {
        script + &format!("echo SECRET | remote login HOST/n{n} -u me --password-stdin & ")
    });
    user.sh(&format!("{logins} wait")).success();
    assert_eq!(user.auths("run/containers/auth.json").as_object().unwrap().len(), 8);
}

/// Runs a line on a terminal of its own, types some keys once it asks for a password, and gives all that the terminal showed.
fn on_terminal(user: &User, line: &str, keys: &str) -> String {
    let line = line.replace("HOST", &user.registry.host());
    user.sandbox.write("line", format!("{line}\necho the end\n"));
    // What runs in a shell's background has Ctrl-C ignored, so that the keys are typed there. The shell that script(1) starts
    // is replaced by the line's own, which outlives Ctrl-C.
    let script = format!(
        r#"until_shown() {{ for n in {{1..3000}}; do grep -q "$1" shown && break; sleep 0.01; done; }}
        mkfifo keys; : > shown
        {{ exec 3> keys; until_shown Password:; printf '{keys}' >&3; until_shown 'the end'; }} &
        SHELL=/bin/bash script -qefc 'exec bash ./line' shown < keys > /dev/null"#
    );
    let output = user.sh(&script);
    assert_eq!(output.code(), 0, "{}", output.text());
    String::from_utf8(user.sandbox.read("shown")).unwrap()
}

#[test]
fn a_password_that_is_typed_is_not_shown() {
    let user = User::new();
    let shown =
        on_terminal(&user, "remote login HOST -u me; echo $?; stty -a", &format!("{SECRET}\\n"));
    assert!(!shown.contains(SECRET), "{shown}");
    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
    let at = lines.iter().position(|line| *line == "Password:").unwrap();
    assert!(lines[at + 1].starts_with("logged in to "), "{shown}");
    assert_eq!(lines[at + 2], "0", "{shown}");
    assert!(shown.contains(" echo ") && !shown.contains("-echo "), "{shown}");
    user.sh("remote tags HOST/app").success();
}

#[test]
fn a_question_that_is_interrupted_leaves_the_terminal_as_it_was() {
    let user = User::new();
    let line = "trap : INT; remote login HOST -u me; echo status $?; stty -a";
    let shown = on_terminal(&user, line, "hun\\003");
    assert!(shown.contains("status 130"), "{shown}");
    assert!(
        shown.contains(" echo ") && !shown.contains("-echo ") && !shown.contains("hun"),
        "{shown}"
    );
    assert_eq!(user.registry.log(), "");
    // Nothing at all, as Ctrl-D gives it.
    let user = User::new();
    let shown = on_terminal(&user, "remote login HOST -u me; echo status $?; stty -a", "\\004");
    assert!(shown.contains("the answer was empty") && shown.contains("status 2"), "{shown}");
    assert!(shown.contains(" echo "), "{shown}");
}
