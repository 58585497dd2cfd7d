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

/// The clients of the test below.
const N_CLIENTS: usize = 20;

#[test]
fn twenty_machines_behind_a_chain_of_two_mirrors_cost_the_registry_one_pull() {
    let behind = |url: String| DockerRegistry::start(&Setup { proxy: Some(url), ..Setup::PLAIN });
    let Some(registry) = DockerRegistry::start(&Setup::PLAIN) else { return };
    let Some(far) = behind(registry.url()) else { return };
    let Some(near) = behind(far.url()) else { return };
    let image = small(Image::new());
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("app:1", &image)]);
    let name = format!("{}/app:1", registry.host());
    pipeline::sh(&sandbox, &format!("push -q app:1 {name}")).success();
    let hosts = format!("../home/.config/containerd/certs.d/{}/hosts.toml", registry.host());
    sandbox.write(&hosts, format!("server = \"{}\"\n[host.\"{}\"]\n", registry.url(), near.url()));
    let of_blobs = |registry: &DockerRegistry| {
        let requests = registry.requests();
        requests.iter().filter(|line| line.contains("GET") && line.contains("/blobs/")).count()
    };
    // Distribution keeps what it passes on a little later. A machine that comes then costs the mirror alone.
    let mut n_warming = 0;
    loop {
        let before = of_blobs(&far);
        let script = format!("pull -q --store w{n_warming} --no-stream {name}");
        pipeline::sh(&sandbox, &script).success();
        if of_blobs(&far) == before {
            break;
        }
        n_warming += 1;
        assert!(n_warming < 100, "the mirror keeps nothing: {:?}", far.requests());
    }
    let asked = (of_blobs(&registry), of_blobs(&far));
    assert!(n_warming > 0 && asked.0 > 0, "{asked:?}: nothing came through the chain");
    let script = format!(
        "for i in $(seq {N_CLIENTS}); do pull -q --store s$i --no-stream {name} & done; \
         for job in $(jobs -p); do wait $job || exit 1; done"
    );
    let said = pipeline::sh(&sandbox, &script).success().out();
    assert_eq!(said, format!("{}\n", image.digest()).repeat(N_CLIENTS));
    assert_eq!((of_blobs(&registry), of_blobs(&far)), asked, "{:?}", registry.requests());
}
