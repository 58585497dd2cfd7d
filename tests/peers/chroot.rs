//! What was unpacked is a system that runs.

use kit::{Sandbox, pipeline};

use crate::{debian, published};

#[test]
fn as_root_a_chroot_into_it_runs() {
    let Some(image) = debian::image() else { return };
    let Some((_registry, name)) = published::debian(image) else { return };
    let sandbox = Sandbox::new();
    pipeline::sh(&sandbox, &format!("pull {name} | unpack root")).success();
    let inside = |command: &str| {
        let script = format!("PATH=/usr/sbin:/usr/bin chroot root /bin/sh -c '{command}'");
        pipeline::sh(&sandbox, &script)
    };
    let said =
        inside("id -un < /dev/null; . /etc/os-release; echo $ID $VERSION_ID").success().out();
    assert_eq!(said, "root\ndebian 12\n");
    let packages = inside("dpkg -l").success().out();
    for name in ["apt", "base-files", "dash", "dpkg", "libc6:amd64"] {
        assert!(packages.contains(&format!("\nii  {name} ")), "{name} is not among\n{packages}");
    }
    // Every file of every package is as its package made it, but for what the layers and mmdebstrap's hook remove.
    let verified = inside("dpkg --verify; true").success().out();
    let changed: Vec<&str> =
        verified.lines().filter(|line| !line.starts_with("missing ")).collect();
    assert_eq!(changed, [""; 0], "{verified}");
}
