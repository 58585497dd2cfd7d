//! The classic case: a Debian without vim becomes an image with vim, by way of a directory.

use std::fs;

use kit::peers::docker::Docker;
use kit::peers::skip;
use kit::pipeline::{Script, sh};
use kit::tree::{self, Show};
use kit::{Image, Registry, Sandbox, check};
use serde_json::Value;

use crate::debian;

/// Installs vim in `c1`, with packages from wherever this machine's apt gets them, and leaves nothing else there: what
/// apt needs lies in `/mnt`, and that and the name servers are mounted where nobody else sees it.
const INSTALL: &str = r#"
mkdir -p host/lists/partial host/archives/partial
apt-config dump | grep '^Acquire::.*[Pp]roxy' > host/apt.conf
cat >> host/apt.conf << END
APT::Sandbox::User "root";
Dir::State::lists "/mnt/lists";
Dir::Cache::archives "/mnt/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
END
unshare --mount bash -e -c '
    mount --bind host c1/mnt
    mount --bind /etc/resolv.conf c1/etc/resolv.conf
    export APT_CONFIG=/mnt/apt.conf DEBIAN_FRONTEND=noninteractive
    chroot c1 apt-get -q update
    chroot c1 apt-get -qy install --no-install-recommends vim-tiny'
"#;

/// A sandbox with Debian unpacked to `c1` and vim installed in it, and the image's name.
fn installed(image: &Image) -> Option<(Sandbox, Registry, String)> {
    let registry = Registry::start();
    registry.add("debian:12", image);
    let name = format!("{}/debian:12", registry.host());
    let sandbox = Sandbox::new();
    sh(&sandbox, &format!("pull {name} | unpack c1")).success();
    let install = Script::new(&sandbox, INSTALL).with(|program| {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", kit::command::binaries().display());
        program.env("PATH", path).patience(std::time::Duration::from_secs(300))
    });
    let output = install.run();
    if output.code() != 0 {
        skip("no vim", output.stderr.lines().last().unwrap_or_default());
        return None;
    }
    Some((sandbox, registry, name))
}

fn raw(sandbox: &Sandbox, image: &str) -> Value {
    let output = sandbox.command("inspect").args(["--raw", image]).run();
    serde_json::from_slice(&output.success().stdout).expect("a manifest is JSON")
}

fn n_blobs(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.store().join("blobs/sha256")).map_or(0, Iterator::count)
}

/// Whether vim runs in a directory.
fn runs(sandbox: &Sandbox, dir: &str) -> bool {
    let script = format!("PATH=/usr/sbin:/usr/bin chroot {dir} /usr/bin/vim.tiny --version");
    let output = sh(sandbox, &script);
    output.code() == 0 && output.out().starts_with("VIM - Vi IMproved")
}

#[test]
fn as_root_vim_is_added_to_debian() {
    let Some(image) = debian::minimal() else { return };
    let Some((sandbox, _registry, name)) = installed(&image) else { return };
    let (old, n_before) = (raw(&sandbox, &name), n_blobs(&sandbox));
    let script = format!(
        "(unset SOURCE_DATE_EPOCH; snapshot c1 --base {name}) | commit -t debian-vim -m 'add vim' -a me"
    );
    let digest = sh(&sandbox, &script).success().out();

    // One layer more, and of the others the very same blobs.
    let new = raw(&sandbox, "debian-vim");
    let layers = |manifest: &Value| manifest["layers"].as_array().cloned().unwrap_or_default();
    assert_eq!(layers(&new)[..1], layers(&old));
    assert_eq!(layers(&new).len(), 2);
    assert_eq!(n_blobs(&sandbox), n_before + 3, "a layer, a config and a manifest");
    assert_eq!(new["annotations"]["org.opencontainers.image.base.name"], name);
    check::layout(sandbox.store()).expect("the store is sound");

    // It is the directory that it was taken of, and vim runs in it; the old image is what it was.
    sh(&sandbox, &format!("unpack --from debian-vim c2 && unpack --from {name} c3")).success();
    let shown = |dir: &str| tree::show_with(sandbox.path(dir), Show::ALL);
    tree::assert_same(&shown("c2"), &shown("c1"));
    assert!(runs(&sandbox, "c2") && !runs(&sandbox, "c3"));
    assert_eq!(raw(&sandbox, &name), old);

    // Without --base it is taken against what the directory was unpacked from, which the layer says.
    let again =
        sh(&sandbox, "(unset SOURCE_DATE_EPOCH; snapshot c1) | commit -t again -m 'add vim' -a me");
    assert_eq!(again.success().out(), digest);

    let Some(docker) = Docker::start() else { return };
    docker.load(sandbox.command("save").arg("debian-vim").run().success().stdout.clone());
    let Some(said) = docker.run("debian-vim", &["vim.tiny", "--version"]) else {
        let exported = tree::show_tar(&docker.export("debian-vim"), Show::PLAIN);
        return assert!(exported.contains(" usr/bin/vim.tiny "));
    };
    assert!(said.starts_with("VIM - Vi IMproved"), "{said}");
}

/// The same from inside: with the image mounted, and without a directory of its files.
const INSIDE: &str = r#"
proxy=$(apt-config dump | sed -n 's/^\(Acquire::.*[Pp]roxy.*\) "\(.*\)";$/-o \1=\2/p')
union -q debian:12 --upper up -- sh -e -c '
    export DEBIAN_FRONTEND=noninteractive
    alias apt-get="apt-get -q -o APT::Sandbox::User=root $*"
    apt-get update
    apt-get -y install --no-install-recommends vim-tiny
    apt-get clean
    rm -r /var/lib/apt/lists' sh $proxy
"#;

fn check_inside(uid: u32) {
    let Some(image) = debian::minimal() else { return };
    let sandbox = Sandbox::new();
    sandbox.load(&[debian::named(&image)]);
    let sh = |script: &str| {
        let script = Script::new(&sandbox, script).user(uid);
        script.with(|program| program.patience(std::time::Duration::from_secs(300))).run()
    };
    let output = sh(INSIDE);
    if output.code() != 0 {
        skip("no vim", output.stderr.lines().last().unwrap_or_default());
        return;
    }
    sh("snapshot -q --upper up | commit -t debian-vim -m 'add vim' -a me").success();
    let layers =
        |image: &str| raw(&sandbox, image)["layers"].as_array().cloned().unwrap_or_default();
    let (old, new) = (layers("debian:12"), layers("debian-vim"));
    assert_eq!((new.len(), &new[..1]), (2, &old[..]));
    let version = |image: &str| sh(&format!("union -q {image} -- vim.tiny --version"));
    assert!(version("debian-vim").success().out().starts_with("VIM - Vi IMproved"));
    assert_eq!(version("debian:12").code(), 127);
    // Nothing is there twice: the layer has what the command wrote, and not the image's files.
    let size = new[1]["size"].as_u64().unwrap_or_default();
    assert!(size < old[0]["size"].as_u64().unwrap_or_default() / 2, "{size} bytes");
}

#[test]
fn as_root_vim_is_added_to_a_mounted_debian() {
    check_inside(0);
}

#[test]
fn as_root_a_plain_user_adds_vim_to_a_mounted_debian() {
    check_inside(65534);
}
