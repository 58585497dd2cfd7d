//! Registries that want a login, which comes from docker's `config.json`.

use std::time::Duration;

use kit::registry::auth::{Bearer, base64, basic};
use kit::{Auth, Fault, Output, Registry, Sandbox, pipeline};
use serde_json::{Value, json};

use crate::fixtures::{assert_demo, assert_one_line, demo, lacks_root};

const SECRET: &str = "hunter2";

/// A registry that wants this login, and a sandbox whose docker config has the given entry for it.
fn with(auth: Auth, entry: &Value) -> (Registry, Sandbox) {
    let registry = Registry::with_auth(auth);
    registry.add("ns/app:1", demo());
    let sandbox = Sandbox::new();
    let config = json!({ "auths": { registry.host(): entry } });
    sandbox.write("docker/config.json", config.to_string());
    (registry, sandbox)
}

fn login(user: &str, password: &str) -> Value {
    json!({ "auth": base64(format!("{user}:{password}").as_bytes()) })
}

fn pull(registry: &Registry, sandbox: &Sandbox) -> Output {
    let script = format!("pull --jobs 1 {} | unpack root", registry.name("ns/app:1"));
    let config = sandbox.path("docker");
    let script = pipeline::Script::new(sandbox, &script);
    script.with(|program| program.env("DOCKER_CONFIG", config)).run()
}

#[track_caller]
fn succeeds(auth: Auth, entry: &Value) -> Registry {
    let (registry, sandbox) = with(auth, entry);
    assert_eq!(pull(&registry, &sandbox).success().pipe, [0, 0]);
    assert_demo(sandbox.path("root"));
    registry
}

#[track_caller]
fn is_refused(auth: Auth, entry: &Value) {
    let (registry, sandbox) = with(auth, entry);
    let script = format!("pull --no-stream {}", registry.name("ns/app:1"));
    let config = sandbox.path("docker");
    let script = pipeline::Script::new(&sandbox, &script);
    let output = script.with(|program| program.env("DOCKER_CONFIG", config)).run();
    assert_one_line(output.fails_with(6), "pull");
    let host = registry.host();
    // Which of the two it is, `crates/registry` tells apart.
    let hints = [
        format!("hint: log in: remote login {host}\n"),
        format!("hint: log in again: remote login {host}\n"),
    ];
    assert!(hints.iter().any(|hint| output.stderr.contains(hint)), "{}", output.stderr);
    assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
    assert!(registry.requests().len() < 12, "{}", registry.log());
}

#[test]
fn basic_logins_are_used() {
    succeeds(Auth::basic("user", SECRET), &login("user", SECRET));
    is_refused(Auth::basic("user", SECRET), &login("user", "wrong"));
    is_refused(Auth::basic("user", SECRET), &json!({}));
}

#[test]
fn passwords_may_hold_anything() {
    for password in ["a:b:c", "größe", "%41+ &=", ""] {
        succeeds(Auth::basic("user", password), &login("user", password));
    }
}

#[test]
fn tokens_are_had_without_and_with_a_login() {
    let registry = succeeds(Auth::bearer(), &json!({}));
    assert_eq!(registry.log().matches("GET /token").count(), 1, "{}", registry.log());
    let bearer = Auth::Bearer(Bearer::login("user", SECRET));
    succeeds(bearer.clone(), &login("user", SECRET));
    is_refused(bearer.clone(), &login("user", "wrong"));
    is_refused(bearer, &json!({}));
    let renamed = Bearer { keys: &["access_token"], ..Bearer::login("user", SECRET) };
    succeeds(Auth::Bearer(renamed), &login("user", SECRET));
}

#[test]
fn an_identity_token_is_traded_for_one() {
    let bearer = Bearer { identity_token: Some(SECRET.to_owned()), ..Bearer::login("x", "y") };
    let entry = json!({ "auth": base64(b"user:"), "identitytoken": SECRET });
    succeeds(Auth::Bearer(bearer), &entry);
}

#[test]
fn a_token_that_expires_in_a_long_pull_is_renewed() {
    let bearer = Bearer { expires_in: Some(1), ..Bearer::login("user", SECRET) };
    let (registry, sandbox) = with(Auth::Bearer(bearer), &login("user", SECRET));
    registry.fault(Fault::on("/blobs/").delay(Duration::from_millis(600)));
    pull(&registry, &sandbox).success();
    assert_demo(sandbox.path("root"));
    assert!(registry.log().matches("GET /token").count() > 1, "{}", registry.log());
}

#[test]
fn a_token_that_is_revoked_is_renewed() {
    let (registry, sandbox) = with(Auth::bearer(), &json!({}));
    registry.fault(Fault::on("/blobs/").delay(Duration::from_millis(200)));
    let script = format!("pull --jobs 1 {} | unpack root", registry.name("ns/app:1"));
    let running = pipeline::Script::new(&sandbox, &script).start();
    // The first blob is on its way, and held up; the others are asked for later.
    while !registry.log().contains("/blobs/") {
        std::thread::sleep(Duration::from_millis(1));
    }
    registry.revoke_tokens();
    running.wait().success();
    assert_demo(sandbox.path("root"));
    assert!(registry.log().matches("GET /token").count() > 1, "{}", registry.log());
}

#[test]
fn a_login_does_not_follow_a_redirect_to_another_host() {
    let storage = Registry::start();
    storage.add("any/thing:1", demo());
    let location = format!("http://{}/storage/{{digest}}", storage.host());
    for auth in [Auth::basic("user", SECRET), Auth::Bearer(Bearer::login("user", SECRET))] {
        let (registry, sandbox) = with(auth, &login("user", SECRET));
        registry.fault(Fault::on("/v2/ns/app/blobs/").redirect(&location));
        storage.forget();
        pull(&registry, &sandbox).success();
        assert_demo(sandbox.path("root"));
        assert!(!storage.requests().is_empty());
        for request in storage.requests() {
            assert_eq!(request.authorization, None, "{}", request.path);
        }
        assert!(registry.requests().iter().any(|request| request.authorization.is_some()));
    }
}

#[test]
fn a_password_goes_to_nobody_but_the_host_it_is_for() {
    let other = Registry::with_auth(Auth::basic("user", SECRET));
    other.add("ns/app:1", demo());
    let (_registry, sandbox) = with(Auth::basic("user", SECRET), &login("user", SECRET));
    let output = pull(&other, &sandbox);
    assert_eq!(output.pipe, [6, 4]);
    let secret = basic("user", SECRET);
    for request in other.requests() {
        assert_ne!(request.authorization.as_deref(), Some(secret.as_str()));
    }
}

#[test]
fn the_usual_places_are_looked_into() {
    let (registry, sandbox) = with(Auth::basic("user", SECRET), &login("user", SECRET));
    let name = registry.name("ns/app:1");
    let config = sandbox.read("docker/config.json");
    let run = |change: &dyn Fn(kit::Program) -> kit::Program| {
        let store = sandbox.path("store");
        let program =
            sandbox.command("pull").args(["--no-stream", &name]).arg("--store").arg(&store);
        let output = change(program).run();
        std::fs::remove_dir_all(store).ok();
        output
    };
    run(&|program| program).fails_with(6);
    let text = String::from_utf8(config.clone()).unwrap();
    run(&|program| program.env("DOCKER_AUTH_CONFIG", &text)).success();
    let dir = sandbox.path("docker");
    run(&|program| program.env("DOCKER_CONFIG", &dir)).success();
    let home = sandbox.root().join("home/.docker");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("config.json"), &config).unwrap();
    run(&|program| program).success();
}

#[test]
fn a_config_that_is_no_json_is_named_and_not_shown() {
    let (registry, sandbox) = with(Auth::basic("user", SECRET), &login("user", SECRET));
    sandbox.write("docker/config.json", format!("{{\"auths\": {SECRET}}}"));
    let output = pull(&registry, &sandbox);
    assert!(output.stderr.contains("config.json"), "{}", output.stderr);
    assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
    assert_ne!(output.pipe[0], 0);
}

/// Pulls with `words`, in an environment with a helper `docker-credential-kit` that knows `me`.
fn pull_with(registry: &Registry, sandbox: &Sandbox, words: &str) -> Output {
    let helper = format!(
        "#!/bin/sh\nread server\necho \"$1 $server\" >> {0}/asked\n\
         case $server in {1}) echo '{{\"ServerURL\":\"{1}\",\"Username\":\"me\",\"Secret\":\"{SECRET}\"}}';;\n\
         *) echo credentials not found in native keychain; exit 1;; esac\n",
        sandbox.path("").display(),
        registry.host()
    );
    let path = sandbox.write("bin/docker-credential-kit", helper);
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = format!("PATH={}:$PATH; pull {words}", sandbox.path("bin").display());
    pipeline::sh(sandbox, &script)
}

/// A registry that wants `me`, and the name of its image.
fn wants_me() -> (Registry, Sandbox, String) {
    let registry = Registry::with_auth(Auth::basic("me", SECRET));
    registry.add("ns/app:1", demo());
    let name = registry.name("ns/app:1");
    (registry, Sandbox::new(), name)
}

#[test]
fn podmans_files_are_read_beside_dockers() {
    let entry = login("me", SECRET);
    for (path, key) in [
        ("home/.config/containers/auth.json", ""),
        ("home/.config/containers/auth.json", "/ns"),
        ("home/.docker/config.json", ""),
    ] {
        let (registry, sandbox, name) = wants_me();
        // Docker's file is there and knows nothing: it hides nobody.
        for (file, auths) in [
            ("home/.docker/config.json", json!({})),
            (path, json!({ format!("{}{key}", registry.host()): entry })),
        ] {
            let file = sandbox.root().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, json!({ "auths": auths }).to_string()).unwrap();
        }
        pipeline::sh(&sandbox, &format!("pull --no-stream {name}")).success();
    }
}

#[test]
fn a_file_of_logins_can_be_named() {
    let (registry, sandbox, name) = wants_me();
    let config = json!({ "auths": { registry.host(): login("me", SECRET) } });
    sandbox.write("auth.json", config.to_string());
    pipeline::sh(&sandbox, &format!("pull --no-stream {name} --authfile auth.json")).success();
    let script = format!("REGISTRY_AUTH_FILE=auth.json pull --no-stream --store other {name}");
    pipeline::sh(&sandbox, &script).success();
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {name} --authfile none.json"));
    assert_one_line(output.fails_with(3), "pull");
}

#[test]
fn a_login_on_standard_input_is_for_one_registry() {
    let (registry, sandbox, name) = wants_me();
    let give = |words: &str| {
        pipeline::sh(&sandbox, &format!("echo me:{SECRET} | pull --creds-stdin {words}"))
    };
    give(&format!("--no-stream {name}")).success();
    let output = give(&format!("--no-stream {name} localhost:1/other"));
    assert_one_line(output.fails_with(2), "pull");
    assert!(!output.stderr.contains(SECRET));
    let output =
        pipeline::sh(&sandbox, &format!("echo {SECRET} | pull --creds-stdin {name} | cat"));
    assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
    let there = registry.name("ns/copy:1");
    pipeline::sh(&sandbox, &format!("echo me:{SECRET} | push --creds-stdin {name} {there}"))
        .success();
    pipeline::sh(&sandbox, &format!("echo me:{SECRET} | push --creds-stdin {name}")).success();
    let output = pipeline::sh(&sandbox, &format!("push --creds-stdin - {there} < /dev/null"));
    assert_one_line(output.fails_with(2), "push");
}

#[test]
fn helpers_are_asked() {
    for config in [
        |_: &str| json!({ "credsStore": "kit" }),
        |host: &str| json!({ "credHelpers": { host: "kit" }, "auths": { host: {} } }),
    ] {
        let (registry, sandbox, name) = wants_me();
        let path = sandbox.root().join("home/.docker");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("config.json"), config(&registry.host()).to_string()).unwrap();
        pull_with(&registry, &sandbox, &format!("--no-stream {name}")).success();
        let asked = format!("get {}\n", registry.host());
        assert_eq!(String::from_utf8(sandbox.read("asked")).unwrap(), asked);
    }
}

#[test]
fn a_helper_that_fails_is_told_and_the_next_source_asked() {
    let (registry, sandbox, name) = wants_me();
    let auths = json!({ registry.host(): login("me", SECRET) });
    let config = json!({ "credsStore": "missing", "auths": auths });
    let path = sandbox.root().join("home/.docker");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    let output = pipeline::sh(&sandbox, &format!("pull --no-stream {name}"));
    output.success();
    assert!(output.stderr.contains("docker-credential-missing is not there"), "{}", output.stderr);
}

#[test]
fn a_helper_is_missing_also_where_a_directory_of_path_is_closed() {
    // The kernel says "permission denied" then, as in a PATH that a plain user has from root.
    let (registry, sandbox, name) = wants_me();
    let config =
        json!({ "credsStore": "missing", "auths": { registry.host(): login("me", SECRET) } });
    sandbox.write("docker/config.json", config.to_string());
    let script = format!(
        "mkdir -m 0 closed; export DOCKER_CONFIG=docker PATH=$PWD/closed:$PATH; \
         pull --store other --no-stream {name}"
    );
    let output = pipeline::Script::new(&sandbox, &script).as_plain_user().run();
    output.success();
    assert!(output.stderr.contains("docker-credential-missing is not there"), "{}", output.stderr);
}

#[test]
fn a_helper_that_may_not_be_run_is_told_from_one_that_is_not_there() {
    let (_registry, sandbox, name) = wants_me();
    sandbox.write("docker/config.json", r#"{"credsStore":"kit"}"#);
    sandbox.write("bin/docker-credential-kit", "#!/bin/sh\n");
    let script = format!(
        "chmod a-x bin/*; export DOCKER_CONFIG=docker PATH=$PWD/bin:$PATH; pull --no-stream {name}"
    );
    let output = pipeline::sh(&sandbox, &script);
    assert!(output.stderr.contains("docker-credential-kit can't be started"), "{}", output.stderr);
}

#[test]
fn where_a_login_comes_from_is_explained_without_it() {
    let (registry, sandbox, name) = wants_me();
    let path = sandbox.root().join("home/.docker");
    std::fs::create_dir_all(&path).unwrap();
    let config = json!({ "credsStore": "kit" });
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    let output = pull_with(&registry, &sandbox, &format!("--explain-auth {name}"));
    let text = output.success().out();
    let (_, rest) = text.split_once("login: ").unwrap();
    assert!(rest.contains("docker-credential-kit of "), "{text}");
    assert!(text.ends_with("config.json: user me\n") && text.contains("proxy: none"), "{text}");
    assert!(!output.text().contains(SECRET), "{}", output.text());
    assert!(registry.requests().is_empty());
}

#[test]
fn why_no_login_was_found_is_told_with_quiet_too_if_one_was_wanted() {
    let (registry, sandbox) = with(Auth::basic("me", SECRET), &login("me", SECRET));
    // For everybody, root too.
    std::fs::remove_file(sandbox.path("docker/config.json")).unwrap();
    std::os::unix::fs::symlink("config.json", sandbox.path("docker/config.json")).unwrap();
    let name = registry.name("ns/app:1");
    let config = sandbox.path("docker");
    for script in
        [format!("pull -q --no-stream {name}"), format!("save -q app:1 | push -q - {name}")]
    {
        let image = kit::Named::new("docker.io/library/app:1", demo());
        sandbox.load(&[image]);
        let script = pipeline::Script::new(&sandbox, &script);
        let output = script.with(|program| program.env("DOCKER_CONFIG", &config)).run();
        assert_eq!(output.code(), 6, "{}", output.text());
        assert!(output.stderr.contains("docker/config.json"), "{}", output.text());
    }
}

// Root's podman makes /run/containers for itself alone; what is closed to other users holds no logins of theirs.
#[test]
fn as_root_what_root_keeps_to_itself_is_no_trouble_of_a_user() {
    if lacks_root() {
        return;
    }
    // Without the question for a login, no file is looked for.
    let registry = Registry::with_auth(Auth::bearer());
    registry.add("ns/app:1", demo());
    let sandbox = Sandbox::new();
    let user = "setpriv --reuid 46006 --regid 46006 --clear-groups";
    let script = format!(
        "unshare -m sh -c 'mount -t tmpfs none /run && mkdir -m 700 /run/containers && exec {user} remote digest {}'",
        registry.name("ns/app:1")
    );
    let output = pipeline::sh(&sandbox, &script);
    assert_eq!(output.success().stderr, "", "{}", output.text());
}
