//! The store is an OCI layout: other tools read it as it stands.

use kit::peers::docker_registry::Setup;
use kit::peers::{peer, prepare, root_peer};
use kit::tree::{self, Show};
use kit::{Image, Sandbox, pipeline};
use serde_json::Value;

use crate::{debian, layers, published, reference};

#[test]
fn skopeo_and_umoci_read_the_store_as_it_stands() {
    let image = layers::small(Image::new());
    let (Some(skopeo), Some(umoci)) = (peer("skopeo"), peer("umoci")) else { return };
    let Some((_registry, name)) = published::app(&Setup::PLAIN, &image) else { return };
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[]);
    sandbox.command("pull").args(["--no-stream", &name]).run().success();
    let store = sandbox.store();
    let there = format!("oci:{}:{name}", store.display());
    let inspect = skopeo.program(&sandbox).args(["inspect", "--raw", &there]).run();
    assert_eq!(inspect.success().stdout, image.manifest_blob().bytes);
    let inspect = skopeo.program(&sandbox).args(["inspect", "--config", "--raw", &there]).run();
    assert_eq!(inspect.success().stdout, image.config_blob().bytes);
    let there = format!("{}:{name}", store.display());
    let stat = umoci.program(&sandbox).args(["stat", "--json", "--image", &there]).run();
    let stat: Value = serde_json::from_slice(&stat.success().stdout).unwrap();
    let layers: Vec<&str> = stat["history"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["layer"]["digest"].as_str())
        .collect();
    let blobs: Vec<String> = image.layer_blobs().into_iter().map(|blob| blob.digest).collect();
    assert_eq!(layers, blobs);
}

#[test]
fn as_root_umoci_unpacks_from_the_store() {
    let (Some(image), Some(tree)) = (debian::image(), reference::tree()) else { return };
    let Some((_registry, name)) = published::debian(image) else { return };
    let Some(umoci) = root_peer("umoci") else { return };
    let sandbox = Sandbox::new();
    pipeline::sh(&sandbox, &format!("pull {name} > a.tar")).success();
    let there = format!("{}:{name}", sandbox.store().display());
    umoci.program(&sandbox).args(["unpack", "--image", &there, "bundle"]).run().success();
    tree::assert_same(&tree::show_with(sandbox.path("bundle/rootfs"), Show::ALL), tree);
}

#[test]
fn skopeo_and_umoci_read_an_image_by_the_name_that_pins_it() {
    let image = layers::small(Image::new());
    let (Some(skopeo), Some(umoci)) = (peer("skopeo"), peer("umoci")) else { return };
    let Some((_registry, name)) = published::app(&Setup::PLAIN, &image) else { return };
    let (repository, _) = name.rsplit_once(':').unwrap();
    let pinned = format!("{repository}@{}", image.digest());
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[]);
    sandbox.command("pull").args(["--no-stream", &pinned]).run().success();
    sandbox.command("images").args(["tag", &pinned, "other:1"]).run().success();
    let store = sandbox.store();
    for name in [&*pinned, "docker.io/library/other:1"] {
        let there = format!("oci:{}:{name}", store.display());
        let inspect = skopeo.program(&sandbox).args(["inspect", "--raw", &there]).run();
        assert_eq!(inspect.success().stdout, image.manifest_blob().bytes);
        let there = format!("{}:{name}", store.display());
        umoci.program(&sandbox).args(["stat", "--json", "--image", &there]).run().success();
    }
    let list = umoci.program(&sandbox).args(["list", "--layout"]).arg(&store).run();
    assert!(list.success().out().lines().any(|line| line == pinned), "{}", list.text());
}
