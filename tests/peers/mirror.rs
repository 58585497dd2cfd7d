//! `push --to` fills a real registry with many images, from which skopeo takes them by the names that a mirror is asked for.

use kit::peers::docker_registry::{DockerRegistry, Login, PASSWORD, Setup, USER};
use kit::peers::{peer, prepare};
use kit::registry::auth::base64;
use kit::{Image, Index, Layer, Named, Sandbox, pipeline};
use serde_json::json;

use crate::layers::small;

#[test]
fn many_images_reach_a_registry_under_the_paths_that_its_clients_ask_for() {
    let setup = Setup { login: Login::Htpasswd, ..Setup::PLAIN };
    let (Some(registry), Some(skopeo)) = (DockerRegistry::start(&setup), peer("skopeo")) else {
        return;
    };
    let (nginx, tool) = (small(Image::new()), Image::new().layer(Layer::new().file("tool", "x")));
    let index = Index::new().image(&nginx).image(&small(Image::new()).platform("linux/s390x"));
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[&registry.host()]);
    sandbox.load(&[
        Named::new("docker.io/library/nginx:1.27", &index),
        Named::new("ghcr.io/a/b/tool:2", &tool),
        Named::new("quay.io/a/other:1", &nginx),
    ]);
    let auth = base64(format!("{USER}:{PASSWORD}").as_bytes());
    let config = json!({ "auths": { registry.host(): { "auth": auth } } });
    sandbox.write("../home/.docker/config.json", config.to_string());
    let sh = |script: &str| pipeline::sh(&sandbox, &script.replace("HOST", &registry.host()));
    let images = "nginx:1.27 ghcr.io/a/b/tool:2 quay.io/a/other:1";
    let expected = [
        ("library/nginx:1.27", index.digest()),
        ("a/b/tool:2", tool.digest()),
        ("a/other:1", nginx.digest()),
    ];
    for (prefix, script) in [
        ("", format!("save -q {images} | push -q - --to HOST")),
        ("m/x/", format!("push -q --to HOST/m/x {images}")),
    ] {
        let said = sh(&script).success().out();
        for (name, digest) in &expected {
            let repository = name.split(':').next().unwrap_or_default();
            let line = format!("{}/{prefix}{repository}@{digest}\n", registry.host());
            assert!(said.contains(&line), "{line}: {said}");
            let name = format!("docker://{}/{prefix}{name}", registry.host());
            let creds = format!("--creds={USER}:{PASSWORD}");
            let raw = skopeo.program(&sandbox).args(["inspect", "--raw", &creds, &name]).run();
            assert_eq!(kit::digest(&raw.success().stdout), *digest, "{name}");
        }
    }
    // What a client asks a mirror of Docker Hub for: the path that the hub has it under.
    let mirror = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"{}\"\ninsecure = true\n",
        registry.host()
    );
    sandbox.write("../home/.config/containers/registries.conf", mirror);
    let creds = format!("--creds={USER}:{PASSWORD}");
    let raw =
        skopeo.program(&sandbox).args(["inspect", "--raw", &creds, "docker://nginx:1.27"]).run();
    assert_eq!(kit::digest(&raw.success().stdout), index.digest());
}
