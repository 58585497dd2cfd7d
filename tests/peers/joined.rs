//! An index that `images index` has made is to docker, podman and skopeo what it is here.

use kit::peers::docker::Docker;
use kit::peers::docker_registry::{DockerRegistry, Setup};
use kit::peers::podman::Podman;
use kit::peers::{peer, prepare};
use kit::{Image, Layer, Named, Sandbox, digest, pipeline};
use serde_json::Value;

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/s390x"];

fn image(platform: &str, image: Image) -> Image {
    image.platform(platform).cmd(&["/bin/none"]).layer(Layer::new().file("arch", platform))
}

/// Both of the format that all its images have.
// docker/cli#3969, podman#21294, podman#22882: what is pulled has another digest than what was pushed, another media type, or
// lacks platforms.
#[test]
fn as_root_docker_podman_and_skopeo_pull_each_platform_of_an_index_by_its_digest() {
    for (kind, media_type) in [
        (Image::new(), "application/vnd.oci.image.index.v1+json"),
        (Image::new().docker(), "application/vnd.docker.distribution.manifest.list.v2+json"),
    ] {
        let images = PLATFORMS.map(|platform| image(platform, kind.clone()));
        let (Some(registry), Some(skopeo)) = (DockerRegistry::start(&Setup::PLAIN), peer("skopeo"))
        else {
            return;
        };
        let sandbox = Sandbox::new();
        prepare(&sandbox, &[&registry.host()]);
        let name = format!("{}/app:1", registry.host());
        let named =
            |(n, image): (usize, &Image)| Named::new(&format!("docker.io/library/app:{n}"), image);
        sandbox.load(&images.iter().enumerate().map(named).collect::<Vec<_>>());
        let script = format!("images index -t {name} app:0 app:1 app:2 && push -q {name}");
        let said = pipeline::sh(&sandbox, &script).success().out();
        let made = said.lines().next().unwrap_or_default();
        assert_eq!(said, format!("{made}\n{}/app@{made}\n", registry.host()));
        // skopeo has the same bytes, and all of the index is there.
        let raw =
            skopeo.program(&sandbox).args(["inspect", "--raw", &format!("docker://{name}")]).run();
        let raw = &raw.success().stdout;
        assert_eq!(digest(raw), made);
        let index: Value = serde_json::from_slice(raw).unwrap();
        assert_eq!(index["mediaType"], media_type);
        let copy =
            skopeo.program(&sandbox).args(["copy", "-q", "--all", &format!("docker://{name}")]);
        copy.arg("dir:copy").run().success();
        assert_eq!(digest(&sandbox.read("copy/manifest.json")), made);
        // docker and podman pull every platform, and say what they found.
        let (Some(docker), Some(podman)) = (Docker::start(), Podman::new(&[&registry.host()]))
        else {
            return;
        };
        for (platform, image) in PLATFORMS.iter().zip(&images) {
            let id = image.config_blob().digest;
            let pulled = docker.command(&["pull", "--platform", platform, &name]).run();
            let said = pulled.success().out();
            assert!(said.contains(&format!("Digest: {made}")), "{platform}: {said}");
            // Of several platforms with one digest, docker 20.10 lets the digest lead to the first.
            let format = "{{.Id}} {{.Os}}/{{.Architecture}}";
            let found = docker.command(&["inspect", "-f", format, &name]).run().success().out();
            let repository = format!("{}/app", registry.host());
            assert_eq!(found.trim_end(), format!("{id} {platform}"));
            let pulled = podman.command(&["pull", "-q", "--platform", platform, &name]).run();
            assert_eq!(format!("sha256:{}", pulled.success().out().trim_end()), id, "{platform}");
            let by_digest = format!("{repository}@{made}");
            let pulled = podman.command(&["pull", "-q", "--platform", platform, &by_digest]).run();
            assert_eq!(format!("sha256:{}", pulled.success().out().trim_end()), id, "{platform}");
        }
    }
}
