//! Settings of the user's that can't be read, by a disk that fails as strace has it: never taken for settings that aren't
//! there. A pull that went on without them would ask without the login, or somebody who is blocked.

use std::fs;

use kit::peers::peer;
use kit::registry::auth::base64;
use kit::{Auth, Image, Layer, Registry, Sandbox};

/// What can be wrong with a file.
const FILES: [&str; 3] = ["openat:error=EIO", "read,pread64:error=EIO", "openat:error=ELOOP"];
/// What can be wrong with a directory.
const DIRECTORIES: [&str; 2] = ["openat:error=EIO", "getdents64:error=EIO"];

#[test]
fn settings_that_can_not_be_read_are_no_settings_that_are_not_there() {
    let Some(strace) = peer("strace") else { return };
    let registry = Registry::with_auth(Auth::basic("me", "hunter2"));
    registry.add("app:1", Image::new().layer(Layer::new().file("a", "a")));
    let host = registry.host();
    let sandbox = Sandbox::new();
    let home = sandbox.root().join("home");
    let mirror = format!("server = \"http://{host}\"\n[host.\"http://{host}\"]\n");
    let hosts = format!(".config/containerd/certs.d/{host}/hosts.toml");
    let login = base64(b"me:hunter2");
    let logins = format!(r#"{{"auths":{{"{host}":{{"auth":"{login}"}}}}}}"#);
    let files = [
        (".docker/config.json", Some(&logins[..]), &FILES[..]),
        (".config/containers/auth.json", Some("{}"), &FILES),
        (".config/containers/registries.conf", Some(""), &FILES),
        (".config/containers/registries.conf.d/10.conf", Some(""), &FILES),
        (".config/containers/registries.conf.d", None, &DIRECTORIES),
        (&hosts, Some(&mirror), &FILES),
        (".config/containerd/certs.d", None, &DIRECTORIES),
    ];
    for (name, text, _) in &files {
        let path = home.join(name);
        fs::create_dir_all(text.map_or(&*path, |_| path.parent().unwrap())).unwrap();
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
    }
    sandbox.write("logins.json", &logins);
    let name = registry.name("app:1");
    let pull = |path: &str, fault: &str, words: &[&str]| {
        let strace = sandbox.program(strace.path()).args(["-f", "-qq", "-o", "/dev/null"]);
        let fault = format!("inject={fault}");
        let strace = strace.args(["-P", path, "-e", &fault, "pull", "--no-stream"]);
        strace.args(words).arg(&name).run()
    };
    // With all of it readable it works; the path is nobody's.
    pull("/nowhere/at/all", FILES[0], &[]).success();
    let check = |path: &str, faults: &[&str], (words, code): (&[&str], i32)| {
        for fault in faults {
            registry.forget();
            let output = pull(path, fault, words);
            assert_eq!(output.code(), code, "{path} {fault}: {}", output.text());
            assert!(output.stderr.contains(path), "{path} {fault}: {}", output.text());
            // Logins are looked for when the registry wants one, and the rest before anybody is asked.
            let most = if code == 0 { usize::MAX } else { usize::from(path.contains(".json")) };
            assert!(registry.requests().len() <= most, "{path} {fault}: {}", registry.log());
        }
    };
    for (file, _, faults) in files {
        // A login may be in another of everybody's places, here in docker's; that one couldn't be read is told.
        let code = match file {
            ".config/containers/auth.json" => 0,
            ".docker/config.json" => 6,
            _ => 1,
        };
        check(home.join(file).to_str().unwrap(), faults, (&[], code));
    }
    let logins = sandbox.path("logins.json");
    let logins = logins.to_str().unwrap();
    check(logins, &FILES, (&["--authfile", logins], 1));
}
