//! What skopeo's `dir:` transport writes is an image here, whatever it was made of, and what it was.

use kit::peers::{Peer, peer, prepare};
use kit::{Codec, Content, Gzip, Image, Index, Sandbox, archive, check, pipeline};

use crate::layers::small;

/// An image, and the directory that skopeo makes of it as `d`.
fn written(content: impl Into<Content>, flags: &[&str]) -> Option<(Sandbox, Peer)> {
    let skopeo = peer("skopeo")?;
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[]);
    archive::layout(sandbox.path("in"), &[kit::Named::new("docker.io/library/app:1", content)]);
    // skopeo reads no name with colons in it.
    let index = String::from_utf8_lossy(&sandbox.read("in/index.json")).into_owned();
    sandbox.write("in/index.json", index.replace("docker.io/library/app:1", "app"));
    let copy = skopeo.program(&sandbox).args(["copy", "--quiet"]).args(flags);
    copy.args(["oci:in:app", "dir:d"]).run().success();
    Some((sandbox, skopeo))
}

#[test]
fn an_image_and_an_index_come_back_with_their_digests() {
    let gzip = small(Image::new().codec(Codec::Gzip(Gzip::PLAIN)));
    let index = Index::new().image(&gzip).image(&small(Image::new()).platform("linux/s390x"));
    for (content, flags) in [(Content::from(&gzip), &[][..]), (Content::from(&index), &["--all"])] {
        let digest = content.digest().to_owned();
        let Some((sandbox, _)) = written(content, flags) else { return };
        let sh = |script: &str| pipeline::sh(&sandbox, script).success().out();
        assert_eq!(sh("load -q --store s --tag app:1 dir:d"), "Loaded image: app:1\n");
        assert_eq!(sh("images --store s -q"), format!("{digest}\n"));
        check::layout(sandbox.path("s")).unwrap();
        sh("unpack -q --from ./d root --owner ignore");
        let raw = sh("inspect --raw layout:d");
        assert_eq!(kit::digest(raw.as_bytes()), gzip.digest());
    }
}

/// skopeo recompresses, converts, or stores an archive's layers as they are and calls them gzip.
#[test]
fn what_skopeo_has_converted_is_the_same_files() {
    let image = small(Image::new());
    let flags = [
        &["--format=v2s2"][..],
        &["--format=oci", "--dest-compress"],
        &["--dest-compress", "--dest-compress-format=zstd"],
        &["--dest-decompress"],
    ];
    for flags in flags {
        let Some((sandbox, _)) = written(&image, flags) else { return };
        let sh = |script: &str| pipeline::sh(&sandbox, script).success().out();
        sh("load -q --store s --tag app:1 d");
        assert_eq!(sh("changes --store s app:1 ./in; echo $?"), "0\n", "{flags:?}");
    }
    let Some((sandbox, skopeo)) = written(&image, &[]) else { return };
    let sh = |script: &str| pipeline::sh(&sandbox, script).success().out();
    sh("load -q --store s --tag app:1 in && save -q --store s app:1 > a.tar");
    skopeo.program(&sandbox).args(["copy", "-q", "docker-archive:a.tar", "dir:e"]).run().success();
    assert_eq!(sh("changes ./e ./in; echo $?"), "0\n");
}
