//! docs/coming-from.md, both columns: what is typed elsewhere and what is typed here give the same digests, the same bytes, the
//! same lists.
//!
//! Each row runs theirs and ours, at one registry and over one image, and compares what they print. `HOST` is the registry.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kit::peers::docker::Docker;
use kit::peers::docker_registry::{DockerRegistry, Setup};
use kit::peers::podman::Podman;
use kit::peers::{peer, prepare};
use kit::pipeline::Script;
use kit::{Image, Index, Layer, Sandbox};

use crate::layers::small;
use crate::published;

/// A row of the page: what it is for, in the page's words, and what is typed on either side. Both must print the same lines, in
/// any order.
struct Row(&'static str, &'static str, &'static str);

/// What needs nothing but skopeo and umoci.
const FILES: &[Row] = &[
    Row(
        "the manifest",
        "skopeo inspect --raw docker://HOST/debian:12 | sha256sum",
        "remote manifest HOST/debian:12 | sha256sum",
    ),
    Row(
        "the config",
        "skopeo inspect --config --raw docker://HOST/debian:12 | sha256sum",
        "remote config HOST/debian:12 | sha256sum",
    ),
    Row(
        "the digest of a name",
        "skopeo inspect --format '{{.Digest}}' docker://HOST/debian:12",
        "remote digest HOST/debian:12",
    ),
    Row(
        "all about an image, without its layers",
        "skopeo inspect --format '{{.Os}}/{{.Architecture}} {{.Env}}' docker://HOST/debian:12",
        "pull -q --no-layers HOST/debian:12 | inspect - | tr -d '\\n ' |
            sed -E 's|.*\"Env\":\\[([^]]*)\\].*\"Architecture\":\"([^\"]*)\".*|linux/\\2 [\\1]|; s|\"||g; s|,| |g'",
    ),
    Row(
        "its layers and their sizes",
        "skopeo inspect --format '{{range .Layers}}{{println .}}{{end}}' docker://HOST/debian:12 | grep .",
        "pull -q --no-layers HOST/debian:12 | inspect --layers --json - | grep -o '\"digest\": *\"[^\"]*' |
            grep -o 'sha256:.*'",
    ),
    Row(
        "the tags",
        "skopeo list-tags docker://HOST/debian | grep -o '^ *\"[^\"]*\",\\?$' | tr -d '\", '",
        "remote tags HOST/debian",
    ),
    Row(
        "the tags and their digests",
        "for tag in 12 13 all; do
            echo $tag $(skopeo inspect --raw docker://HOST/debian:$tag | sha256sum | cut -d' ' -f1)
        done",
        "remote tags --digests HOST/debian | sed 's/sha256://' | tr -s ' \\t' ' '",
    ),
    Row(
        "a copy in another repository",
        "skopeo copy -q docker://HOST/debian:12 docker://HOST/copies/theirs:1 &&
            skopeo inspect --raw docker://HOST/copies/theirs:1 | sha256sum",
        "remote copy -q HOST/debian:12 HOST/copies/ours:1 > /dev/null &&
            skopeo inspect --raw docker://HOST/copies/ours:1 | sha256sum",
    ),
    Row(
        "the same through a pipe",
        "skopeo copy -q --all docker://HOST/debian:all docker://HOST/copies/theirs:all &&
            skopeo inspect --raw docker://HOST/copies/theirs:all | sha256sum",
        "pull -q --no-store --all-platforms HOST/debian:all | push -q - HOST/copies/ours:all > /dev/null &&
            skopeo inspect --raw docker://HOST/copies/ours:all | sha256sum",
    ),
    Row(
        "remove a tag",
        "skopeo copy -q docker://HOST/debian:13 docker://HOST/gone/theirs:1 &&
            skopeo delete docker://HOST/gone/theirs:1 && ! skopeo inspect docker://HOST/gone/theirs:1 2> /dev/null
            echo $?",
        "remote copy -q HOST/debian:13 HOST/gone/ours:1 > /dev/null &&
            remote rm --force -q HOST/gone/ours:1 > /dev/null && ! skopeo inspect docker://HOST/gone/ours:1 2> /dev/null
            echo $?",
    ),
    Row(
        "to an archive",
        "skopeo copy -q docker://HOST/debian:12 docker-archive:theirs.tar:debian:12 &&
            skopeo inspect --config --raw docker-archive:theirs.tar | sha256sum",
        "pull -q --no-store HOST/debian:12 > ours.tar &&
            skopeo inspect --config --raw docker-archive:ours.tar | sha256sum",
    ),
    Row(
        "to a layout",
        "skopeo copy -q docker://HOST/debian:12 oci:theirs:debian && skopeo inspect --raw oci:theirs:debian | sha256sum",
        "pull -q --no-store HOST/debian:12 | load -q --store layout > /dev/null &&
            skopeo inspect --raw oci:layout | sha256sum",
    ),
    Row("what a layout holds", "umoci list --layout layout", "images --store layout -0 | tr '\\0' '\\n'"),
    Row(
        "its files",
        "umoci unpack --image theirs:debian bundle > /dev/null 2>&1 &&
            cd bundle/rootfs && find . -printf '%p %m %U %G %s %T@ %l\\n' | grep -v '^\\. '",
        "pull -q HOST/debian:12 | unpack -q rootfs &&
            cd rootfs && find . -printf '%p %m %U %G %s %T@ %l\\n' | grep -v '^\\. '",
    ),
    Row(
        "one tar of all files",
        "umoci unpack --image theirs:debian bundle2 > /dev/null 2>&1 && tar -C bundle2/rootfs -c . | tar -t | sed 's|^./||'",
        "flatten -q HOST/debian:12 | tar -t | sed 's|^./||'",
    ),
    Row(
        "the manifest, byte for byte",
        "skopeo inspect --raw oci:theirs:debian | sha256sum",
        "inspect --raw HOST/debian:12 | sha256sum",
    ),
    Row(
        "the config, byte for byte",
        "skopeo inspect --config --raw oci:theirs:debian | sha256sum",
        "inspect --config HOST/debian:12 | sha256sum",
    ),
    Row(
        "what is in an archive",
        "skopeo inspect --config --raw docker-archive:theirs.tar | sha256sum",
        "inspect --config ./theirs.tar | sha256sum",
    ),
    Row(
        "from an archive",
        "skopeo copy -q docker-archive:theirs.tar oci:loaded:x && skopeo inspect --config oci:loaded:x |
            grep -o 'sha256:[0-9a-f]*'",
        "load -q --store loaded2 theirs.tar > /dev/null && inspect --store loaded2 --config debian:12 |
            grep -o 'sha256:[0-9a-f]*'",
    ),
    Row(
        "a directory of skopeo's",
        "skopeo copy -q docker://HOST/debian:12 dir:theirs.dir && skopeo inspect --raw dir:theirs.dir | sha256sum",
        "load -q --store from-dir --tag x:1 dir:theirs.dir > /dev/null && inspect --store from-dir --raw x:1 | sha256sum",
    ),
    Row(
        "from a directory",
        "umoci init --layout made && umoci new --image made:x && umoci insert --image made:x etc /etc 2> /dev/null &&
            umoci unpack --image made:x made.bundle > /dev/null 2>&1 && find made.bundle/rootfs/etc -printf '%P %m %s\\n'",
        "tar -c etc | commit -q -t made:1 --base scratch > /dev/null && unpack -q --from made:1 made.root &&
            find made.root/etc -printf '%P %m %s\\n'",
    ),
    Row(
        "other settings, the same layers",
        "umoci config --image theirs:debian --tag set --config.env A=2 --config.label b=c &&
            skopeo inspect --format '{{.Layers}} {{.Labels}} {{.Env}}' oci:theirs:set",
        "commit -q --no-layer --base HOST/debian:12 -t set:1 -c 'ENV A=2' -c 'LABEL b=c' > /dev/null &&
            save -q set:1 | load -q --store set > /dev/null &&
            skopeo inspect --format '{{.Layers}} {{.Labels}} {{.Env}}' oci:set",
    ),
    Row(
        "take a setting out",
        "umoci config --image theirs:debian --tag unset --clear=config.env &&
            skopeo inspect --format '{{.Env}}' oci:theirs:unset",
        "commit -q --no-layer --base HOST/debian:12 -t unset:1 --unset Env > /dev/null &&
            save -q unset:1 | load -q --store unset > /dev/null && skopeo inspect --format '{{.Env}}' oci:unset",
    ),
    Row(
        "an image of that",
        "umoci unpack --image theirs:debian repacked > /dev/null 2>&1 && cd repacked/rootfs && rm srv/all/far && echo x > new &&
            cd ../.. && umoci repack --image theirs:repacked repacked > /dev/null 2>&1 &&
            skopeo copy -q oci:theirs:repacked dir:repacked.dir &&
            layer=$(skopeo inspect --format '{{range .Layers}}{{println .}}{{end}}' oci:theirs:repacked | grep . | tail -1) &&
            tar -tf repacked.dir/${layer#sha256:} | grep -v '/$' | grep -vx '[.]'",
        "unpack -q --from HOST/debian:12 changed && cd changed && rm srv/all/far && echo x > new && cd .. &&
            snapshot -q changed | tar -t | grep -v '/$'",
    ),
    Row(
        "push",
        "skopeo copy -q oci:layout docker://HOST/pushed/theirs:1 && skopeo inspect --raw docker://HOST/pushed/theirs:1 | sha256sum",
        "push -q HOST/debian:12 HOST/pushed/ours:1 > /dev/null &&
            skopeo inspect --raw docker://HOST/pushed/ours:1 | sha256sum",
    ),
    Row(
        "an archive to a registry",
        "skopeo copy -q docker-archive:ours.tar docker://HOST/archived/theirs:1 &&
            skopeo inspect --config --raw docker://HOST/archived/theirs:1 | sha256sum",
        "push -q - HOST/archived/ours:1 < ours.tar > /dev/null &&
            skopeo inspect --config --raw docker://HOST/archived/ours:1 | sha256sum",
    ),
    Row(
        "to an OCI archive",
        "skopeo copy -q oci:layout oci-archive:theirs.oci && skopeo inspect --raw oci-archive:theirs.oci | sha256sum",
        "save -q --format oci HOST/debian:12 > ours.oci && skopeo inspect --raw oci-archive:ours.oci | sha256sum",
    ),
    Row(
        "log in",
        "printf 'secret\\n' | skopeo login -u me --password-stdin HOST > /dev/null && skopeo login --get-login HOST;
            skopeo logout HOST > /dev/null",
        "printf 'secret\\n' | remote login -q -u me --password-stdin HOST && skopeo login --get-login HOST;
            remote logout -q HOST",
    ),
];

/// What docker and podman say; both need root.
const ENGINES: &[Row] = &[
    Row(
        "into the store",
        "podman pull -q HOST/debian:12",
        "pull -q --no-stream HOST/debian:12 > /dev/null; inspect --config HOST/debian:12 | sha256sum | cut -d' ' -f1",
    ),
    Row(
        "for another platform",
        "podman pull -q --platform linux/arm64 HOST/debian:all",
        "pull -q --no-stream --platform linux/arm64 HOST/debian:all > /dev/null
            inspect --config HOST/debian:all | sha256sum | cut -d' ' -f1",
    ),
    Row(
        "their digests alone",
        "podman pull -q HOST/debian:12 > /dev/null && podman images --format '{{.Digest}}' HOST/debian:12",
        "images -q HOST/debian:12",
    ),
    Row(
        "whether one is there",
        "podman image exists HOST/debian:12; echo $?; podman image exists HOST/other:1 || echo none",
        "images -q HOST/debian:12 > /dev/null; echo $?; images -q HOST/other:1 2> /dev/null || echo none",
    ),
    Row(
        "all about one",
        "docker pull -q HOST/debian:12 > /dev/null && docker inspect -f '{{.Os}}/{{.Architecture}} {{json .RootFS.Layers}}' HOST/debian:12 |
            tr -d '[]' | tr ',' ' '",
        "inspect HOST/debian:12 | tr -d '\\n ' |
            sed -E 's|.*\"Architecture\":\"([^\"]*)\".*\"Layers\":\\[([^]]*)\\].*|linux/\\1 \\2|; s|,| |g'",
    ),
    Row(
        "one file",
        "id=$(docker create HOST/debian:12 /bin/none) && docker cp $id:/srv/all/far - | tar -xO; docker rm $id > /dev/null",
        "inspect --cat /srv/all/far HOST/debian:12",
    ),
    Row(
        "from a tar",
        "docker import root.tar theirs:1 > /dev/null && docker inspect -f '{{json .RootFS.Layers}}' theirs:1",
        "commit -q -t ours:1 --base scratch root.tar > /dev/null &&
            inspect --config ours:1 | grep -o '\"diff_ids\":\\[[^]]*\\]' | cut -d: -f2-",
    ),
    Row(
        "with other settings",
        "id=$(docker create HOST/debian:12 /bin/none) && docker commit -c 'CMD [\"sh\"]' -c 'ENV A=1' $id theirs:2 > /dev/null &&
            docker inspect -f '{{json .Config.Cmd}} {{json .Config.Env}}' theirs:2; docker rm $id > /dev/null",
        "commit -q --no-layer --base HOST/debian:12 -t ours:2 -c 'CMD [\"sh\"]' -c 'ENV A=1' > /dev/null &&
            save -q ours:2 | docker load -q > /dev/null && docker inspect -f '{{json .Config.Cmd}} {{json .Config.Env}}' ours:2",
    ),
    Row(
        "one name for several platforms",
        "podman manifest create -q theirs:m > /dev/null 2>&1 || podman manifest create theirs:m > /dev/null &&
            for tag in 12 arm; do podman manifest add theirs:m docker://HOST/debian:$tag > /dev/null; done &&
            podman manifest inspect theirs:m | grep -oE '\"(digest|architecture)\": \"[^\"]*\"'",
        "pull -q --no-stream --platform linux/arm64 HOST/debian:arm > /dev/null
            images index -t ours:m HOST/debian:12 HOST/debian:arm > /dev/null &&
            inspect --raw ours:m --platform linux/arm64 > /dev/null; save -q ours:m | tar -xO blobs/sha256/$(images -q ours:m | cut -d: -f2) |
            sed 's/\":\"/\": \"/g' | grep -oE '\"(digest|architecture)\": \"[^\"]*\"'",
    ),
    Row(
        "to an archive that docker and podman load",
        "docker pull -q HOST/debian:12 > /dev/null; docker save HOST/debian:12 | podman load -q",
        "save -q HOST/debian:12 | podman load -q",
    ),
    Row(
        "over ssh",
        "docker save HOST/debian:12 > d.tar; podman load -q -i d.tar > /dev/null; podman images -q --no-trunc HOST/debian:12",
        "save -q HOST/debian:12 | load -q --store there > /dev/null
            echo sha256:$(inspect --store there --config HOST/debian:12 | sha256sum | cut -d' ' -f1)",
    ),
    Row(
        "a second name",
        "podman tag HOST/debian:12 other:1 && podman images --format '{{.Digest}}' localhost/other:1 | sort -u",
        "images tag HOST/debian:12 other:1 && images -q other:1",
    ),
    Row(
        "remove a name",
        "podman rmi other:1 > /dev/null 2>&1; podman image exists other:1 || echo gone; podman image exists HOST/debian:12 && echo stays",
        "images rm other:1 > /dev/null; images -q other:1 2> /dev/null || echo gone; images -q HOST/debian:12 > /dev/null && echo stays",
    ),
];

fn image(platform: &str) -> Image {
    small(Image::new()).platform(platform).env(&["PATH=/bin", "A=1"])
}

/// A registry with the image, another one, the image of another platform, and an index; and a sandbox that trusts it.
fn place() -> Option<(DockerRegistry, Sandbox)> {
    let registry = DockerRegistry::start(&Setup::PLAIN)?;
    let host = registry.host();
    let (own, arm) = (image("linux/amd64"), image("linux/arm64"));
    let other = Image::new().layer(Layer::new().file("x", "y"));
    let name = |tag: &str| format!("{host}/debian:{tag}");
    published::push(&own, &registry, &name("12"), &[])?;
    published::push(&other, &registry, &name("13"), &[])?;
    published::push(Index::new().image(&own).image(&arm), &registry, &name("all"), &[])?;
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[&host]);
    sandbox.write("etc/a", "a\n");
    sandbox.write("root.tar", Layer::new().dir("etc", 0o755).file("etc/motd", "hello\n").tar());
    sandbox.write("run/.keep", "");
    Some((registry, sandbox))
}

/// The first column of the page.
fn purposes() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coming-from.md");
    let page = fs::read_to_string(page).expect("the page is in the repository");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| Some(row.split_once(" |")?.0.to_owned())).collect()
}

/// Runs both sides of each row; returns those whose words differ.
fn compare(rows: &[Row], host: &str, run: &dyn Fn(&str) -> kit::Output) -> Vec<String> {
    let purposes = purposes();
    let mut different = vec![];
    for Row(purpose, theirs, ours) in rows {
        assert!(purposes.contains(*purpose), "{purpose}: no row of the page");
        let lines = |script: &str| {
            let output = run(&format!("({})", script.replace("HOST", host)));
            assert_eq!(output.code(), 0, "{purpose}: {script}: {}", output.text());
            let said = output.out();
            let mut lines: Vec<_> = said.lines().map(|line| line.trim().to_owned()).collect();
            lines.sort();
            lines
        };
        let (theirs, ours) = (lines(theirs), lines(ours));
        assert!(!theirs.is_empty(), "{purpose}: nothing was said");
        if theirs != ours {
            different.push(format!("{purpose}:\n  theirs {theirs:?}\n  ours   {ours:?}"));
        }
    }
    different
}

#[test]
fn as_root_theirs_and_ours_say_the_same_of_files_and_registries() {
    let (Some(_), Some(_)) = (peer("skopeo"), peer("umoci")) else { return };
    if !rustix::process::geteuid().is_root() {
        return kit::peers::skip("umoci", "it needs root to set owners");
    }
    let Some((registry, sandbox)) = place() else { return };
    let run_dir = sandbox.path("run");
    let run = |script: &str| {
        let script = Script::new(&sandbox, script);
        script.with(|program| program.env("XDG_RUNTIME_DIR", &run_dir)).run()
    };
    run(&format!("pull -q --no-stream {}/debian:12", registry.host())).success();
    let different = compare(FILES, &registry.host(), &run);
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn as_root_docker_and_podman_say_the_same_as_ours() {
    let Some((registry, sandbox)) = place() else { return };
    let arm = image("linux/arm64");
    let name = format!("{}/debian:arm", registry.host());
    let Some(()) = published::push(&arm, &registry, &name, &[]) else { return };
    let (Some(docker), Some(podman)) = (Docker::start(), Podman::new(&[&registry.host()])) else {
        return;
    };
    let run = |script: &str| {
        Script::new(&sandbox, script)
            .with(|program| podman.configure(docker.configure(program)))
            .run()
    };
    let different = compare(ENGINES, &registry.host(), &run);
    assert!(different.is_empty(), "{}", different.join("\n"));
}
