//! Do the tools start here, and do they take what the kit makes?

use super::containerd::Containerd;
use super::docker::Docker;
use super::docker_registry::{Access, DockerRegistry, Login, Setup, Transport};
use super::podman::Podman;
use super::*;
use crate::image::random::random;
use crate::{Codec, Image, Layer, Named, Producer, Registry, check, tree};

const NAME: &str = "docker.io/library/app:1";

fn image() -> Image {
    Image::new()
        .cmd(&["/x"])
        .layer(Layer::new().dir("etc", 0o755).file("etc/a", "a").file("etc/b", "b"))
        .layer(Layer::new().whiteout("etc/a").file("c", "c").xattr("user.x", "1"))
}

#[test]
fn docker_registry_takes_and_gives() {
    let Some(skopeo) = peer("skopeo") else { return };
    let sandbox = Sandbox::new();
    crate::archive::layout(sandbox.path("in"), &[Named::new("x:1", image())]);
    for setup in [
        Setup::PLAIN,
        Setup { login: Login::Htpasswd, ..Setup::PLAIN },
        Setup { login: Login::Htpasswd, transport: Transport::Tls, ..Setup::PLAIN },
    ] {
        let Some(registry) = DockerRegistry::start(&setup) else { return };
        prepare(&sandbox, &[&registry.host()]);
        let to = format!("docker://{}/app:1", registry.host());
        let copy =
            skopeo.program(&sandbox).args(["copy", "--dest-creds=kit:secret", "oci:in:x:1", &to]);
        copy.run().success();
        if setup.login == Login::Nobody {
            let storage = Some(registry.storage().to_owned());
            let setup = Setup { access: Access::ReadOnly, storage, ..Setup::PLAIN };
            let read_only = DockerRegistry::start(&setup).unwrap();
            let host = read_only.host();
            prepare(&sandbox, &[&host]);
            let from = format!("docker://{host}/app:1");
            skopeo.program(&sandbox).args(["copy", &from, "oci:out:x:1"]).run().success();
            let denied = skopeo.program(&sandbox).args(["copy", "oci:in:x:1", &format!("{from}2")]);
            denied.run().fails_with(1);
        }
    }
    assert_eq!(check::layout(sandbox.path("out")).unwrap().manifests, [image().digest()]);
}

#[test]
fn skopeo_pushes_to_the_kits_registry_and_pulls_from_it() {
    let Some(skopeo) = peer("skopeo") else { return };
    let registry = Registry::with_auth(crate::Auth::bearer());
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[&registry.host()]);
    crate::archive::layout(sandbox.path("in"), &[Named::new("x:1", random(4, 3, 20))]);
    let there = format!("docker://{}", registry.name("ns/app:1"));
    skopeo.program(&sandbox).args(["copy", "oci:in:x:1", &there]).run().success();
    skopeo.program(&sandbox).args(["copy", &there, "oci:out:x:1"]).run().success();
    let report = check::layout(sandbox.path("out")).unwrap();
    assert_eq!(report.manifests, [random(4, 3, 20).digest()]);
    assert_eq!(registry.tags("ns/app"), ["1"]);
}

#[test]
fn as_root_docker_loads_what_producers_write_and_saves_what_the_checker_takes() {
    let Some(docker) = Docker::start() else { return };
    for producer in [
        Producer::Strata,
        Producer::Docker24,
        Producer::Docker25,
        Producer::SkopeoDocker,
        Producer::Crane,
    ] {
        let said = docker.load(producer.write(&[Named::new(NAME, image())]));
        assert_eq!(said, "Loaded image: app:1\n", "{producer:?}");
    }
    let report = check::stream(&docker.save(&["app:1"])).unwrap();
    assert_eq!(report.diff_ids, image().diff_ids());
    let exported = tree::show_tar(&docker.export("app:1"), tree::Show::PLAIN);
    assert!(exported.contains(" etc/b 1 \"b\"") && !exported.contains("etc/a"), "{exported}");
    let registry = Registry::start();
    registry.add("app:1", image());
    docker.command(&["pull", &registry.name("app:1")]).run().success();
    docker.command(&["push", &registry.name("app:1")]).run().success();
}

#[test]
fn as_root_containerd_imports_and_exports() {
    let Some(containerd) = Containerd::start() else { return };
    let image = image().codec(Codec::ZSTD).layer(Layer::new().file("z", "z"));
    let said = containerd.import(Producer::Strata.write(&[Named::new(NAME, &image)]));
    assert!(said.contains(&image.digest()), "{said}");
    let report = check::stream(&containerd.export(&[NAME])).unwrap();
    assert_eq!(report.manifests, [image.digest()]);
}

#[test]
fn as_root_podman_loads_and_saves() {
    let registry = Registry::start();
    registry.add("app:1", image());
    let Some(podman) = Podman::new(&[&registry.host()]) else { return };
    for producer in
        [Producer::Strata, Producer::Docker25, Producer::SkopeoDocker, Producer::SkopeoOci]
    {
        podman.load(producer.write(&[Named::new(NAME, image())]));
    }
    for format in ["docker-archive", "oci-archive"] {
        let report = check::stream(&podman.save(format, NAME)).unwrap();
        assert_eq!(report.diff_ids, image().diff_ids(), "{format}");
    }
    podman.command(&["pull", &registry.name("app:1")]).run().success();
}

#[test]
fn umoci_unpacks_our_layout() {
    let Some(umoci) = root_peer("umoci") else { return };
    let sandbox = Sandbox::new();
    crate::archive::layout(sandbox.path("in"), &[Named::new("1", image())]);
    umoci.program(&sandbox).args(["raw", "unpack", "--image", "in:1", "root"]).run().success();
    assert_eq!(
        tree::show(sandbox.path("root")),
        "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 c 1 \"c\" user.x=\"1\"\ndrwxr-xr-x 0:0 etc/\n-rw-r--r-- 0:0 etc/b 1 \"b\"\n"
    );
}
