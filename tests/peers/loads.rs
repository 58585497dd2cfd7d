//! Every other tool loads what `pull` streams, and keeps what digest it can keep.

use kit::peers::containerd::Containerd;
use kit::peers::docker::Docker;
use kit::peers::docker_registry::{DockerRegistry, Setup};
use kit::peers::podman::Podman;
use kit::peers::{prepare, root_peer};
use kit::pipeline::Script;
use kit::{Codec, Content, Image, Index, Layer, Program, Registry, Sandbox, check, pipeline};
use serde_json::json;

use crate::{debian, layers, published};

/// Small images of several forms in a registry.
struct Forms {
    registry: DockerRegistry,
    gzip: Image,
    zstd: Image,
    /// The one of the index that is for this machine.
    hosts: Image,
    index: Index,
}

impl Forms {
    fn published() -> Option<Self> {
        let registry = DockerRegistry::start(&Setup::PLAIN)?;
        let gzip = layers::small(Image::new());
        // These share no layer with it: podman would take the ones it has, compressed in another way, and change the digest.
        let of = |image: Image, file| image.layer(Layer::new().file(file, file));
        let zstd = of(Image::new().codec(Codec::ZSTD), "zstd");
        let hosts = of(Image::new(), "hosts");
        let index = Index::new().image(&Image::new().platform("linux/s390x")).image(&hosts);
        let forms = Self { registry, gzip, zstd, hosts, index };
        forms.push("gzip", &forms.gzip)?;
        forms.push("again", &forms.gzip)?;
        forms.push("zstd", &forms.zstd)?;
        forms.push("index", &forms.index)?;
        Some(forms)
    }

    fn push(&self, form: &str, content: impl Into<Content>) -> Option<()> {
        published::push(content, &self.registry, &self.name(form), &[])
    }

    fn name(&self, form: &str) -> String {
        format!("{}/{form}:1", self.registry.host())
    }
}

/// A script that loads, the name of what it loads, and the digest by which the tool must know it then.
type Load = (String, String, String);

/// Runs scripts that load, each in its turn.
#[track_caller]
fn assert_kept(
    loads: &[Load],
    configure: impl Fn(Program) -> Program,
    known: impl Fn(&str) -> String,
) {
    let sandbox = Sandbox::new();
    for (script, name, digest) in loads {
        Script::new(&sandbox, script).with(&configure).run().success();
        let known = known(name);
        let hex = digest.trim_start_matches("sha256:");
        assert!(known.contains(hex), "{script}: not {digest}:\n{known}");
    }
}

#[test]
fn as_root_a_stream_has_the_same_bytes_every_time() {
    let Some(image) = debian::image() else { return };
    let Some((_registry, name)) = published::debian(image) else { return };
    let sandbox = Sandbox::new();
    // From the registry, from the store, without a store, and into another store.
    pipeline::sh(&sandbox, &format!("pull {name} > a.tar")).success();
    for again in ["pull", "pull --no-store", "pull --store other"] {
        pipeline::sh(&sandbox, &format!("{again} {name} | cmp - a.tar")).success();
    }
    let report = check::canonical(&sandbox.read("a.tar")).unwrap();
    assert_eq!((report.names, report.digests), (vec![name], vec![image.digest()]));
}

#[test]
fn as_root_docker_loads_a_stream_under_the_configs_digest() {
    let (Some(image), Some(docker)) = (debian::image(), Docker::start()) else { return };
    let (Some(forms), Some((_registry, debian))) = (Forms::published(), published::debian(image))
    else {
        return;
    };
    let [gzip, again, index] = ["gzip", "again", "index"].map(|form| forms.name(form));
    let small = forms.gzip.config_blob().digest;
    let loads = [
        (format!("pull {debian} | docker load"), debian, image.config_blob().digest),
        (format!("pull {gzip} > a.tar && docker load < a.tar"), gzip.clone(), small.clone()),
        (format!("pull {gzip} {again} | docker load"), again, small),
        (
            format!("pull --all-platforms {index} | docker load"),
            index,
            forms.hosts.config_blob().digest,
        ),
    ];
    let known = |name: &str| {
        let inspect = ["image", "inspect", "--format", "{{.Id}}", name];
        docker.command(&inspect).run().success().out()
    };
    assert_kept(&loads, |program| docker.configure(program), known);
}

#[test]
fn as_root_podman_loads_a_stream_and_keeps_its_digest() {
    let (Some(image), Some(podman)) = (debian::image(), Podman::new(&[])) else { return };
    let (Some(forms), Some((_registry, debian))) = (Forms::published(), published::debian(image))
    else {
        return;
    };
    let [gzip, again, zstd, index] =
        ["gzip", "again", "zstd", "index"].map(|form| forms.name(form));
    let loads = [
        (format!("pull {debian} | podman load"), debian, image.digest()),
        (format!("pull {gzip} > a.tar && podman load < a.tar"), gzip.clone(), forms.gzip.digest()),
        (format!("pull {zstd} | podman load"), zstd, forms.zstd.digest()),
        // Of more than one it keeps no digest but the config's.
        (format!("pull {gzip} {again} | podman load"), again, forms.gzip.config_blob().digest),
        (format!("pull --all-platforms {index} | podman load"), index, forms.index.digest()),
    ];
    let known = |name: &str| {
        let inspect =
            ["image", "inspect", "--format", "{{.Digest}} {{.Id}} {{.RepoDigests}}", name];
        podman.command(&inspect).run().success().out()
    };
    assert_kept(&loads, |program| podman.configure(program), known);
}

/// An image in the kit's registry, and something that refers to it.
fn signed(registry: &Registry) -> Image {
    let image = layers::small(Image::new());
    let subject = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.digest(),
        "size": image.manifest_blob().bytes.len(),
    });
    let signature = Image::new()
        .codec(Codec::None)
        .layer("signed")
        .set_manifest("/subject", subject)
        .set_manifest("/artifactType", "application/vnd.test.signature")
        .set_manifest("/layers/0/mediaType", "text/plain")
        .set_manifest("/config/mediaType", "application/vnd.oci.empty.v1+json");
    registry.add("signed:1", &image);
    registry.add("signed:signature", &signature);
    image
}

// Where index.json has more than one entry, podman takes the archive for docker's and makes a digest of its own. README says
// so. What it runs is the same, and so is what docker makes of it.
#[test]
fn as_root_podman_and_docker_load_an_image_that_comes_with_referrers() {
    let (Some(podman), Some(docker)) = (Podman::new(&[]), Docker::start()) else { return };
    let registry = Registry::with_referrers();
    let image = signed(&registry);
    let name = registry.name("signed:1");
    let sandbox = Sandbox::new();
    let run = |script: &str| {
        let script = Script::new(&sandbox, script);
        script.with(|program| docker.configure(podman.configure(program))).run()
    };
    let podmans = format!("podman image inspect --format '{{{{.Digest}}}} {{{{.Id}}}}' {name}");
    let output =
        run(&format!("pull -q {name} | podman load -q && {podmans} && podman rmi -f {name}"));
    let plain = output.success().out();
    assert!(plain.contains(&image.digest()), "{plain}");
    let output = run(&format!("pull -q --referrers {name} | podman load -q && {podmans}"));
    let config = image.config_blob();
    let with = output.success().out();
    assert!(!with.contains(&image.digest()) && with.contains(config.hex()), "{with}");
    let output = run(&format!(
        "pull -q --referrers {name} | docker load -q && docker image inspect --format '{{{{.Id}}}}' {name}"
    ));
    assert!(output.success().out().contains(&config.digest), "{}", output.text());
    // Without the docker half there is nothing that podman 4 could take.
    let output = run(&format!("pull -q --format oci --referrers {name} | podman load -q"));
    assert_ne!(output.code(), 0, "README says that podman doesn't load this: {}", output.text());
}

#[test]
fn as_root_containerd_imports_a_stream_and_keeps_its_digest() {
    let (Some(image), Some(containerd)) = (debian::image(), Containerd::start()) else { return };
    let (Some(forms), Some((_registry, debian))) = (Forms::published(), published::debian(image))
    else {
        return;
    };
    let [gzip, again, zstd, index] =
        ["gzip", "again", "zstd", "index"].map(|form| forms.name(form));
    let import = "ctr images import";
    let loads = [
        (format!("pull {debian} | {import} -"), debian, image.digest()),
        (format!("pull {gzip} > a.tar && {import} a.tar"), gzip.clone(), forms.gzip.digest()),
        (format!("pull {zstd} | {import} -"), zstd, forms.zstd.digest()),
        (format!("pull {gzip} {again} | {import} -"), again, forms.gzip.digest()),
        (format!("pull --all-platforms {index} | {import} -"), index, forms.index.digest()),
    ];
    let known = |name: &str| {
        let list = containerd.command(&["images", "ls", &format!("name=={name}")]);
        list.run().success().out()
    };
    assert_kept(&loads, |program| containerd.configure(program), known);
}

#[test]
fn as_root_skopeo_reads_a_stream_as_both_kinds_of_archive() {
    // It unpacks an oci-archive for itself, owners included.
    let (Some(skopeo), Some(forms)) = (root_peer("skopeo"), Forms::published()) else { return };
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[]);
    pipeline::sh(&sandbox, &format!("pull {} > a.tar", forms.name("gzip"))).success();
    for kind in ["docker-archive", "oci-archive"] {
        let from = format!("{kind}:a.tar");
        let inspect = skopeo.program(&sandbox).args(["inspect", "--config", "--raw", &from]).run();
        assert_eq!(inspect.success().stdout, forms.gzip.config_blob().bytes, "{kind}");
        let to = format!("oci:{kind}:x");
        skopeo.program(&sandbox).args(["copy", &from, &to]).run().success();
        let report = check::layout(sandbox.path(kind)).unwrap();
        assert_eq!(report.diff_ids, forms.gzip.diff_ids(), "{kind}");
        // A docker-archive has no manifest to keep.
        let is_kept = report.manifests == [forms.gzip.digest()];
        assert!(is_kept || kind == "docker-archive", "{:?}", report.manifests);
    }
}
