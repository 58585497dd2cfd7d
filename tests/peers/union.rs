//! A mounted Debian is a system that runs; changed and committed, it is another.

use std::path::PathBuf;

use kit::pipeline::Script;
use kit::{Image, Named, Sandbox, pipeline};
use rustix::mount::UnmountFlags;

use crate::debian;

fn with(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(debian::NAME, image)]);
    sandbox
}

/// Unmounts what is there when the test ends, however it does.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

#[test]
fn as_root_a_debian_is_changed_from_inside_and_committed() {
    let Some(image) = debian::minimal() else { return };
    let sandbox = with(&image);
    let script = "
        union -q debian:12 --upper up -- sh -c '. /etc/os-release; echo $ID $VERSION_ID; id -un; pwd'
        union -q debian:12 --upper up -- dpkg --purge --force-all tzdata > log 2>&1
        snapshot --upper --base debian:12 up | commit --base debian:12 -t less:1
        union -q less:1 -- ls /usr/share/zoneinfo
        union -q less:1 -- dpkg-query -W dash | cut -f 1
        grep $PWD /proc/self/mountinfo
    ";
    let output = pipeline::sh(&sandbox, script);
    let said = output.fails_with(1).out();
    let said: Vec<_> = said.lines().filter(|line| !line.starts_with("sha256:")).collect();
    assert_eq!(said, ["debian 12", "root", "/", "dash"], "{}", output.text());
    assert!(output.stderr.contains("cannot access '/usr/share/zoneinfo'"), "{}", output.text());
}

#[test]
fn as_root_a_plain_user_runs_commands_in_a_debian() {
    let Some(image) = debian::minimal() else { return };
    let sandbox = with(&image);
    let script =
        "union -q debian:12 -- sh -c 'id -u; dpkg-query -W -f \"\\${Package}\\n\" dash; touch /x'";
    let output = Script::new(&sandbox, script).user(65534).run();
    assert_eq!(output.fails_with(1).out(), "0\ndash\n", "{}", output.text());
    assert!(output.stderr.contains("Read-only file system"), "{}", output.text());
}
