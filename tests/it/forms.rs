//! Every byte of what each program prints when all goes well: in its usual form, in the others, and when it is to be quiet.

use insta::assert_snapshot;
use kit::{Codec, Image, Layer, Named, Producer, Registry, Sandbox, pipeline};

use crate::fixtures::lacks_root;

const NAME: &str = "docker.io/library/app:1";

fn base() -> Layer {
    Layer::new().dir("etc", 0o755).file("etc/os", "base\n")
}

/// An image of two layers, always the same.
fn app() -> Image {
    Image::new().codec(Codec::None).layer(base()).layer(Layer::new().file("app", "one"))
}

/// A sandbox with the image in the store, and in `app.tar`.
fn with_app() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, app())]);
    sandbox.write("app.tar", Producer::Strata.write(&[Named::new(NAME, app())]));
    sandbox
}

/// What a script ends with and prints. The image's digest is named.
fn said(sandbox: &Sandbox, script: &str) -> String {
    pipeline::sh(sandbox, script).text().replace(&app().digest(), "DIGEST")
}

#[test]
fn load_names_what_it_has_loaded() {
    let sandbox = with_app();
    assert_snapshot!(said(&sandbox, "load --store new --progress none app.tar"), @"
    status: 0
    --- stdout
    Loaded image: app:1
    ");
    assert_snapshot!(said(&sandbox, "load --store new -q < app.tar"), @"
    status: 0
    --- stdout
    Loaded image: app:1
    ");
    assert_snapshot!(said(&sandbox, "load --store newer -q --json app.tar"), @r#"
    status: 0
    --- stdout
    {"name":"docker.io/library/app:1","digest":"DIGEST","platforms":["linux/amd64"],"lackingPlatforms":[],"newBytes":5563,"reusedBytes":0}
    "#);
    assert_snapshot!(said(&sandbox, "load --store newer -q --json app.tar"), @r#"
    status: 0
    --- stdout
    {"name":"docker.io/library/app:1","digest":"DIGEST","platforms":["linux/amd64"],"lackingPlatforms":[],"newBytes":0,"reusedBytes":5563}
    "#);
}

#[test]
fn pull_prints_a_digest_where_nothing_is_streamed() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.add("app:1", app());
    let said = |line: &str| {
        let line = line.replace("NAME", &registry.name("app:1"));
        said(&sandbox, &line).replace(&registry.host(), "HOST")
    };
    assert_snapshot!(said("pull --progress none --no-stream NAME"), @"
    status: 0
    --- stdout
    DIGEST
    ");
    assert_snapshot!(said("pull -q --no-stream NAME NAME"), @"
    status: 0
    --- stdout
    DIGEST
    ");
    assert_snapshot!(said("pull -q NAME | cmp - <(pull -q --no-store NAME)"), @"status: 0 [0, 0]");
}

#[test]
fn push_prints_names_with_digests_and_a_dry_run_what_would_be_sent() {
    let (registry, sandbox) = (Registry::start(), with_app());
    let said = |line: &str| {
        let line = line.replace("NAME", &registry.name("app"));
        said(&sandbox, &line).replace(&registry.host(), "HOST")
    };
    assert_snapshot!(said("push --dry-run app:1 NAME:1"), @"
    status: 0
    --- stdout
    ACTION   BYTES   DIGEST                                                                    REPOSITORY
    send     408     sha256:49fc333952a13f9b8385478d223bd14bd04e9eef7885bb4ed5847c9e922240c8   HOST/app
    send     2560    sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5   HOST/app
    send     2048    sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f   HOST/app
    --- stderr
    blobs to send: 3 (5.02kB), to mount: 0 (0B), there already: 0 (0B)
    ");
    assert_snapshot!(said("push --progress none app:1 NAME:1 NAME:2"), @"
    status: 0
    --- stdout
    HOST/app@DIGEST
    HOST/app@DIGEST
    --- stderr
    blobs sent: 3 (5.02kB), mounted: 0 (0B), there already: 0 (0B)
    ");
    assert_snapshot!(said("push -q --dry-run app:1 NAME:3"), @"
    status: 0
    --- stdout
    ACTION   BYTES   DIGEST                                                                    REPOSITORY
    skip     408     sha256:49fc333952a13f9b8385478d223bd14bd04e9eef7885bb4ed5847c9e922240c8   HOST/app
    skip     2560    sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5   HOST/app
    skip     2048    sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f   HOST/app
    ");
    assert_snapshot!(said("push -q - NAME:4 < app.tar"), @"
    status: 0
    --- stdout
    HOST/app@DIGEST
    ");
}

#[test]
fn images_lists_in_lines_nulls_and_json() {
    let sandbox = with_app();
    assert_snapshot!(said(&sandbox, "images"), @"
    status: 0
    --- stdout
    NAME    DIGEST         PLATFORM      CREATED      SIZE     SHARED
    app:1   d1dd4a1408da   linux/amd64   2020-09-13   5.56kB   0B
    ");
    assert_snapshot!(said(&sandbox, "images --null | tr '\\0' '|'"), @"
    status: 0 [0, 0]
    --- stdout
    app:1|[no newline]
    ");
    assert_snapshot!(said(&sandbox, "images --json"), @r#"
    status: 0
    --- stdout
    [
    {"created":"2020-09-13T12:26:40Z","damaged":false,"digest":"DIGEST","index":null,"mediaType":"application/vnd.oci.image.manifest.v1+json","name":"docker.io/library/app:1","platforms":["linux/amd64"],"shared":0,"size":5563}
    ]
    "#);
    assert_snapshot!(said(&sandbox, "images digests"), @"
    status: 0
    --- stdout
    sha256:49fc333952a13f9b8385478d223bd14bd04e9eef7885bb4ed5847c9e922240c8
    sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5
    sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f
    DIGEST
    ");
    assert_snapshot!(said(&sandbox, "images digests --null | tr '\\0' '|'"), @"
    status: 0 [0, 0]
    --- stdout
    sha256:49fc333952a13f9b8385478d223bd14bd04e9eef7885bb4ed5847c9e922240c8|sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5|sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f|DIGEST|[no newline]
    ");
    assert_snapshot!(said(&sandbox, "images digests --json"), @r#"
    status: 0
    --- stdout
    [
    {"digest":"sha256:49fc333952a13f9b8385478d223bd14bd04e9eef7885bb4ed5847c9e922240c8","size":408},
    {"digest":"sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5","size":2560},
    {"digest":"sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f","size":2048},
    {"digest":"DIGEST","size":547}
    ]
    "#);
    assert_snapshot!(said(&sandbox, "images verify --progress none"), @"
    status: 0
    --- stderr
    verified 1 image name, 4 blobs, 5.56kB
    ");
    assert_snapshot!(said(&sandbox, "images verify -q"), @"status: 0");
    assert_snapshot!(said(&sandbox, "images verify --json -q"), @r#"
    status: 0
    --- stdout
    {"blobs":4,"bytes":5563,"images":1,"orphans":[],"problems":[]}
    "#);
    assert_snapshot!(said(&sandbox, "images tag app:1 b && images tag -q app:1 c"), @"status: 0");
    assert_snapshot!(said(&sandbox, "images rm b && images rm -0 c app:1 | tr '\\0' '|'"), @"
    status: 0 [0, 0]
    --- stdout
    b:latest
    app:1|c:latest|[no newline]
    ");
    assert_snapshot!(said(&sandbox, "images gc --dry-run"), @"
    status: 0
    --- stdout
    remove   408    sha256:49fc333952a13f9b8385478d223bd14bd04e9eef7885bb4ed5847c9e922240c8
    remove   2560   sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5
    remove   2048   sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f
    remove   547    DIGEST
    would free 5563 bytes (5.56kB): 4 blobs
    ");
    assert_snapshot!(said(&sandbox, "images gc --json"), @r#"
    status: 0
    --- stdout
    {"blobs":4,"bytes":5563,"dryRun":false,"keptBytes":0,"keptLayers":0,"layers":0,"partials":0}
    "#);
    assert_snapshot!(said(&sandbox, "images gc -q"), @"
    status: 0
    --- stdout
    freed 0 bytes (0B): 0 blobs
    ");
}

#[test]
fn inspect_lists_in_lines_nulls_and_json() {
    let sandbox = with_app();
    assert_snapshot!(said(&sandbox, "inspect -q --layers app:1"), @"
    status: 0
    --- stdout
    LAYER   DIGEST         DIFF ID        SIZE     UNCOMPRESSED   SHARED WITH
    1       55c848927bf7   55c848927bf7   2.56kB   2.56kB         -
    2       c7a1e3f2aed8   c7a1e3f2aed8   2.05kB   2.05kB         -
    ");
    assert_snapshot!(said(&sandbox, "inspect -q --layers --json app:1"), @r#"
    status: 0
    --- stdout
    [
    {"diffId":"sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5","digest":"sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5","layer":1,"mediaType":"application/vnd.oci.image.layer.v1.tar","sharedWith":[],"size":2560,"uncompressedSize":2560},
    {"diffId":"sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f","digest":"sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f","layer":2,"mediaType":"application/vnd.oci.image.layer.v1.tar","sharedWith":[],"size":2048,"uncompressedSize":2048}
    ]
    "#);
    assert_snapshot!(said(&sandbox, "inspect -q --history app:1"), @"
    status: 0
    --- stdout
    LAYER   ID             CREATED                SIZE     COMMENT   CREATED BY
    2       c7a1e3f2aed8   2020-09-13T12:26:40Z   2.05kB   -         kit: layer 2
    1       55c848927bf7   2020-09-13T12:26:40Z   2.56kB   -         kit: layer 1
    ");
    assert_snapshot!(said(&sandbox, "inspect -q --history --json app:1"), @r#"
    status: 0
    --- stdout
    [
    {"author":null,"comment":null,"created":"2020-09-13T12:26:40Z","createdBy":"kit: layer 2","layer":2,"size":2048},
    {"author":null,"comment":null,"created":"2020-09-13T12:26:40Z","createdBy":"kit: layer 1","layer":1,"size":2560}
    ]
    "#);
    assert_snapshot!(said(&sandbox, "inspect -q --files app:1"), @"
    status: 0
    --- stdout
    -rw-r--r--       0:0          3 2020-09-13T12:26:40Z   2 app
    drwxr-xr-x       0:0          0 2020-09-13T12:26:40Z   1 etc
    -rw-r--r--       0:0          5 2020-09-13T12:26:40Z   1 etc/os
    ");
    assert_snapshot!(said(&sandbox, "inspect -q --files --json app:1"), @r#"
    status: 0
    --- stdout
    [
    {"diffId":"sha256:c7a1e3f2aed884b4048255985e6de96fc8db7f064fdbab58fa145dd1d3cf541f","gid":0,"kind":"file","layer":2,"mode":"0644","mtime":"2020-09-13T12:26:40Z","path":"app","size":3,"uid":0},
    {"diffId":"sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5","gid":0,"kind":"directory","layer":1,"mode":"0755","mtime":"2020-09-13T12:26:40Z","path":"etc","uid":0},
    {"diffId":"sha256:55c848927bf76f1c51fb7e9dc57f2a70a93ef317b891713ecf17d035750e25d5","gid":0,"kind":"file","layer":1,"mode":"0644","mtime":"2020-09-13T12:26:40Z","path":"etc/os","size":5,"uid":0}
    ]
    "#);
    assert_snapshot!(said(&sandbox, "inspect -q --files --null app:1 | tr '\\0' '|'"), @"
    status: 0 [0, 0]
    --- stdout
    app|etc|etc/os|[no newline]
    ");
    assert_snapshot!(said(&sandbox, "inspect -q --cat etc/os app:1"), @"
    status: 0
    --- stdout
    base
    ");
}

#[test]
fn commit_prints_a_digest_on_the_stream_that_carries_no_image() {
    let sandbox = with_app();
    sandbox.write("layer.tar", Layer::new().file("new", "x").tar());
    let said = |words: &str| {
        let commit = format!("commit -t new --timestamp 0 --compress none {words}");
        said(&sandbox, &commit)
    };
    assert_snapshot!(said("--base app:1 --progress none layer.tar"), @"
    status: 0
    --- stdout
    sha256:2e8e966f99237bb611adde48230bdc1c2c4f191cb8300a160e7a563e2abecfa3
    --- stderr
    committed new:latest: 1 entry, 2.05kB
    ");
    assert_snapshot!(said("--base app:1 -q layer.tar"), @"
    status: 0
    --- stdout
    sha256:2e8e966f99237bb611adde48230bdc1c2c4f191cb8300a160e7a563e2abecfa3
    ");
    assert_snapshot!(said("--base app:1 -q --stream layer.tar | load -q"), @"
    status: 0 [0, 0]
    --- stdout
    Loaded image: new:latest
    ");
    assert_snapshot!(said("--base app:1 --progress none --stream layer.tar > /dev/null"), @"
    status: 0
    --- stderr
    sha256:2e8e966f99237bb611adde48230bdc1c2c4f191cb8300a160e7a563e2abecfa3
    committed new:latest: 1 entry, 2.05kB
    ");
    assert_snapshot!(said("--base scratch -q --stream --no-store < layer.tar | load -q"), @"
    status: 0 [0, 0]
    --- stdout
    Loaded image: new:latest
    ");
}

#[test]
fn what_only_moves_data_sums_up_or_is_silent() {
    let sandbox = with_app();
    let said = |line: &str| said(&sandbox, line);
    assert_snapshot!(said("unpack --owner ignore --progress none --from app:1 root"), @"
    status: 0
    --- stderr
    unpacked app:1 (d1dd4a1408da): 2 layers, 3 entries, 8B
    ");
    assert_snapshot!(said("unpack -q < app.tar quiet"), @"status: 0");
    assert_snapshot!(said("flatten --progress none app:1 > flat.tar"), @"
    status: 0
    --- stderr
    flattened 4 entries, 4.1kB
    ");
    assert_snapshot!(said("flatten -q app:1 | cmp - flat.tar"), @"status: 0 [0, 0]");
    assert_snapshot!(said("save --progress none app:1 > saved.tar"), @"
    status: 0
    --- stderr
    saved 1 image, 3 blobs, 5.02kB
    ");
    assert_snapshot!(said("save -q app:1 | cmp - saved.tar"), @"status: 0 [0, 0]");
    assert_snapshot!(said("echo new > root/new; snapshot --ignore mtime root > layer.tar"), @"
    status: 0
    --- stderr
    1 added, 0 changed, 0 removed, 4B
    ");
    assert_snapshot!(said("snapshot -q --ignore mtime root | cmp - layer.tar"), @"status: 0 [0, 0]");
}

#[test]
fn as_root_union_lists_what_is_mounted() {
    if lacks_root() {
        return;
    }
    let sandbox = with_app();
    let script = "union --progress none app:1 m && union -q app:1 n && union --list | grep -F \"$PWD/\" | tr -s ' '; \
                  union --umount m && union -q --umount n";
    assert_snapshot!(said(&sandbox, script), @"
    status: 0
    --- stdout
    [SANDBOX]/work/m app:1 -
    [SANDBOX]/work/n app:1 -
    --- stderr
    mounted app:1 on m
    ");
}
