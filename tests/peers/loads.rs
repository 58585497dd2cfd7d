//! Every other tool loads what we stream, with the digest that it can keep.

use kit::peers::containerd::Containerd;
use kit::peers::docker::Docker;
use kit::peers::docker_registry::DockerRegistry;
use kit::peers::podman::Podman;
use kit::peers::{peer, prepare};
use kit::pipeline::Script;
use kit::{Sandbox, check, pipeline};

use crate::{debian, reference};

/// Prints what Debian says about itself.
const SPEAK: [&str; 3] =
    ["/bin/sh", "-c", ". /etc/os-release; echo $ID $VERSION_ID; dpkg -l | grep -c ^ii"];

fn assert_debian_speaks(said: &str) {
    let (system, packages) = said.trim_end().split_once('\n').unwrap_or_default();
    let many = packages.parse::<u32>().is_ok_and(|count| count > 50);
    assert!(system == "debian 12" && many, "{said}");
}

/// Debian in a registry, pulled into `a.tar`, and the image's name.
fn pulled(sandbox: &Sandbox) -> Option<(DockerRegistry, String)> {
    let (registry, name) = reference::published(debian::image()?)?;
    pipeline::sh(sandbox, &format!("pull {name} > a.tar")).success();
    Some((registry, name))
}

#[test]
fn as_root_a_stream_is_ours_to_the_byte_every_time() {
    let sandbox = Sandbox::new();
    let Some((_registry, name)) = pulled(&sandbox) else { return };
    let image = debian::image().unwrap();
    let report = check::canonical(&sandbox.read("a.tar")).unwrap();
    assert_eq!((report.names, report.digests), (vec![name.clone()], vec![image.digest()]));
    // From the store, from the registry without a store, and into another store.
    for again in ["pull", "pull --no-store", "pull --store other"] {
        let script = format!("{again} {name} | cmp - a.tar");
        pipeline::sh(&sandbox, &script).success();
    }
}

#[test]
fn as_root_docker_loads_it_under_its_config_digest_and_runs_it() {
    let sandbox = Sandbox::new();
    let (Some(docker), Some((_registry, name))) = (Docker::start(), pulled(&sandbox)) else {
        return;
    };
    let config = debian::image().unwrap().config_blob().digest;
    for load in
        ["cat a.tar | docker load", "docker load < a.tar", &format!("pull {name} | docker load")]
    {
        let script = Script::new(&sandbox, load).with(|program| docker.configure(program)).run();
        assert_eq!(script.success().out(), format!("Loaded image: {name}\n"), "{load}");
        let id = docker.command(&["image", "inspect", "--format", "{{.Id}}", &name]).run();
        assert_eq!(id.success().out().trim_end(), config, "{load}");
        if load.starts_with("pull") {
            let run = docker.command(&["run", "--rm", "--network=none", &name]).args(SPEAK).run();
            assert_debian_speaks(&run.success().out());
        }
        docker.command(&["rmi", "--force", &name]).run().success();
    }
}

#[test]
fn as_root_podman_loads_it_and_keeps_its_digest_and_runs_it() {
    let sandbox = Sandbox::new();
    let Some((_registry, name)) = pulled(&sandbox) else { return };
    let digest = debian::image().unwrap().digest();
    for load in ["cat a.tar | podman load", &format!("pull {name} | podman load")] {
        let Some(podman) = Podman::new(&[]) else { return };
        let script = Script::new(&sandbox, load).with(|program| podman.configure(program)).run();
        assert_eq!(script.success().out(), format!("Loaded image: {name}\n"), "{load}");
        let kept = podman.command(&["image", "inspect", "--format", "{{.Digest}}", &name]).run();
        assert_eq!(kept.success().out().trim_end(), digest, "{load}");
        if load.starts_with("pull") {
            let run =
                ["run", "--rm", "--network=none", "--cgroups=disabled", "--ulimit=host", &name];
            let run = podman.command(&run).args(SPEAK).run();
            assert_debian_speaks(&run.success().out());
        }
    }
}

#[test]
fn as_root_containerd_imports_it_and_keeps_its_digest_and_runs_it() {
    let sandbox = Sandbox::new();
    let (Some(containerd), Some((_registry, name))) = (Containerd::start(), pulled(&sandbox))
    else {
        return;
    };
    let digest = debian::image().unwrap().digest();
    for import in ["cat a.tar | ctr images import -", &format!("pull {name} | ctr images import -")]
    {
        let script = Script::new(&sandbox, import).with(|program| containerd.configure(program));
        script.run().success();
        let list = containerd.command(&["images", "ls"]).run().success().out();
        let line = list.lines().find(|line| line.starts_with(&name)).unwrap_or_default();
        assert_eq!(line.split_whitespace().nth(2), Some(digest.as_str()), "{list}");
        if import.starts_with("pull") {
            let run = containerd.command(&["run", "--rm", &name, "test"]).args(SPEAK).run();
            assert_debian_speaks(&run.success().out());
        }
        containerd.command(&["images", "rm", &name]).run().success();
    }
}

#[test]
fn as_root_skopeo_reads_it_as_both_kinds_of_archive() {
    let sandbox = Sandbox::new();
    let (Some(skopeo), Some((_registry, _name))) = (peer("skopeo"), pulled(&sandbox)) else {
        return;
    };
    prepare(&sandbox, &[]);
    let image = debian::image().unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let from = format!("{kind}:a.tar");
        let inspect = skopeo.program(&sandbox).args(["inspect", "--config", "--raw", &from]).run();
        assert_eq!(inspect.success().stdout, image.config_blob().bytes, "{kind}");
        let to = format!("oci:{kind}:x");
        skopeo.program(&sandbox).args(["copy", &from, &to]).run().success();
        let report = check::layout(sandbox.path(kind)).unwrap();
        assert_eq!(report.diff_ids, image.diff_ids(), "{kind}");
        // A docker-archive has no manifest to keep.
        if kind == "oci-archive" {
            assert_eq!(report.manifests, [image.digest()]);
        }
    }
}
