//! `rebase`: Debian with security updates under an application, as docker and podman run and export it.

use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::pipeline::sh;
use kit::{Image, Layer, Sandbox};
use serde_json::{Value, json};

use crate::debian;

/// The program of the image: it needs the base's shell and a library, and tells what it was started with.
const APP: &str = "#!/bin/sh\ncat /etc/debian_version /app/version\necho \"$OWN $UPDATED $PATH\"\nls -d /usr/share/doomed 2>/dev/null\nid -u\n";
/// What the program says on the updated Debian.
const SAID: &str = "12.99\n1\nmine 1 /app:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin\n0\n";

/// A store with `app:2`: an application that was built on Debian, and is on an updated one now.
fn rebased() -> Option<Sandbox> {
    let old: Image = debian::minimal()?;
    let sandbox = Sandbox::new();
    sandbox.load(&[debian::named(&old)]);
    // The updated Debian has not one layer of the old one.
    let update = "unpack -q --no-sync --from debian:12 root && echo 12.99 > root/etc/debian_version && mkdir root/usr/share/doomed \
        && snapshot -q root --base scratch | commit -q --level 1 --base scratch -t debian:updated \
            -c 'ENV UPDATED=1 PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'CMD [\"/bin/bash\"]'";
    sh(&sandbox, update).success();
    let app = Layer::new()
        .dir("app", 0o755)
        .file("app/run", APP)
        .mode(0o755)
        .file("app/version", "1\n")
        .whiteout("usr/share/doomed");
    sandbox.write("app.tar", app.tar());
    let script = "commit -q -t app:1 --base debian:12 -c 'ENV PATH=/app:$PATH OWN=mine' -c 'ENTRYPOINT [\"/app/run\"]' app.tar \
        && rebase -q app:1 --onto debian:updated -t app:2 && images verify -q app:2";
    sh(&sandbox, script).success();
    Some(sandbox)
}

fn json_of(sandbox: &Sandbox, script: &str) -> Value {
    serde_json::from_slice(&sh(sandbox, script).success().stdout)
        .expect("what is inspected is JSON")
}

#[test]
fn as_root_docker_and_podman_run_an_application_on_the_updated_debian() {
    let Some(sandbox) = rebased() else { return };
    let layers =
        |image: &str| json_of(&sandbox, &format!("inspect --raw {image}"))["layers"].clone();
    assert_eq!(layers("app:2"), json!([layers("debian:updated")[0], layers("app:1")[1]]));
    let stream = sandbox.command("save").arg("app:2").run().success().stdout.clone();
    if let Some(docker) = Docker::start() {
        docker.load(stream.clone());
        if let Some(said) = docker.run("app:2", &[]) {
            assert_eq!(said, SAID);
        }
        // `docker history` pairs steps with layers, and `create` and `export` read all of them.
        let history = docker.command(&["history", "--quiet", "app:2"]).run().success().out();
        assert_eq!(history.lines().count(), 2, "{history}");
        sandbox.write("docker.tar", docker.export("app:2"));
        assert_exported(&sandbox, "docker.tar");
    }
    if let Some(podman) = Podman::new(&[]) {
        podman.load(stream);
        if let Some(said) = podman.run("docker.io/library/app:2") {
            assert_eq!(said, SAID);
        }
        let id = podman.command(&["create", "docker.io/library/app:2"]).run().success().out();
        let exported = podman.command(&["export", id.trim()]).run();
        sandbox.write("podman.tar", &exported.success().stdout);
        assert_exported(&sandbox, "podman.tar");
        let inspected =
            podman.command(&["inspect", "docker.io/library/app:2"]).run().success().out();
        let inspected: Value = serde_json::from_str(&inspected).expect("what is inspected is JSON");
        let env = json!([
            "UPDATED=1",
            "PATH=/app:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "OWN=mine"
        ]);
        assert_eq!(inspected[0]["Config"]["Env"], env);
    }
}

/// Checks that an exported tree is the new base's with the application's changes.
#[track_caller]
fn assert_exported(sandbox: &Sandbox, tar: &str) {
    let script = format!(
        "rm -rf out && mkdir out && tar -C out -xf {tar} etc/debian_version app && cat out/etc/debian_version out/app/version \
         && ! tar -tf {tar} | grep doomed"
    );
    assert_eq!(sh(sandbox, &script).success().out(), "12.99\n1\n", "{tar}");
}
