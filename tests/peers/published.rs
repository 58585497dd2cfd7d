//! Images in the real registry, pushed there by skopeo.

use kit::peers::docker_registry::{Access, DockerRegistry, PASSWORD, Setup, USER};
use kit::peers::{peer, prepare};
use kit::{Content, Image, Sandbox};

use crate::debian;

/// A registry with [`debian::image`] in it, and the name that the image has there. What the registry stores is made once
/// and kept beside the build.
pub(crate) fn debian(image: &Image) -> Option<(DockerRegistry, String)> {
    let name = |registry: &DockerRegistry| format!("{}/debian:12", registry.host());
    let storage = debian::kept(&format!("registry-{}", image.manifest_blob().hex()), |dir| {
        let setup = Setup { storage: Some(dir.to_owned()), ..Setup::PLAIN };
        let registry = DockerRegistry::start(&setup)?;
        push(image, &registry, &name(&registry), &[])
    })?;
    let setup = Setup { access: Access::ReadOnly, storage: Some(storage), ..Setup::PLAIN };
    let registry = DockerRegistry::start(&setup)?;
    let name = name(&registry);
    Some((registry, name))
}

/// A registry of some kind with an image in it as `app:1`, and the name that the image has there.
pub(crate) fn app(setup: &Setup, image: &Image) -> Option<(DockerRegistry, String)> {
    let registry = DockerRegistry::start(setup)?;
    let name = format!("{}/app:1", registry.host());
    push(image, &registry, &name, &[])?;
    Some((registry, name))
}

/// Lets skopeo push an image or an index.
pub(crate) fn push(
    content: impl Into<Content>,
    registry: &DockerRegistry,
    name: &str,
    flags: &[&str],
) -> Option<()> {
    let skopeo = peer("skopeo")?;
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[&registry.host()]);
    debian::layout(&sandbox, content);
    let login = format!("--dest-creds={USER}:{PASSWORD}");
    let copy = skopeo.program(&sandbox).args(["copy", "--quiet", "--all", &login]).args(flags);
    copy.args(["oci:in:debian", &format!("docker://{name}")]).run().success();
    Some(())
}
