//! `unpack --bundle` makes what runc and crun run.
//!
//! crun 1.8 knows cgroups of one version or the other, not the mixture that some machines have; it is given the second
//! version, in a mount namespace of its own, and told to leave it alone.

use kit::peers::root_peer;
use kit::pipeline::Script;
use kit::{Image, Named, Output, Producer, Sandbox};

use crate::debian;

const PURE_CGROUPS: &str =
    "umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec";
const COMMAND: &str = "id -u; id -G; hostname; pwd; echo $HOME $A; cat /proc/1/comm; ls -d /data; touch /root/x; exit 7";

fn image(user: &str) -> Option<Image> {
    let image = debian::minimal()?.user(user).env(&["A=b", "PATH=/usr/bin:/bin"]);
    let image = image.entrypoint(&["/bin/sh", "-c"]).cmd(&[COMMAND]);
    let image = image.set_config("/config/WorkingDir", "/var/tmp");
    Some(image.set_config("/config/Volumes", serde_json::json!({"/data": {}})))
}

/// A sandbox with a stream of the image in a file.
fn with(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("in", Producer::Strata.write(&[Named::new(debian::NAME, image)]));
    sandbox
}

fn script(runtime: &str) -> String {
    format!("unpack -q --bundle b < in && cd b && {runtime} run strata-$$")
}

#[track_caller]
fn check(output: &Output, ids: &str, home: &str) {
    let expected = format!("{ids}\ndebian\n/var/tmp\n{home} b\nsh\n/data\n");
    assert_eq!(output.fails_with(7).out(), expected, "{}", output.text());
}

#[test]
fn as_root_runc_runs_a_bundle() {
    let (Some(_), Some(image)) = (root_peer("runc"), image("")) else { return };
    let sandbox = with(&image);
    let output = Script::new(&sandbox, &script("/usr/sbin/runc --root $PWD/../runc")).run();
    check(&output, "0\n0", "/root");
}

#[test]
fn as_root_runc_runs_as_the_images_user() {
    let (Some(_), Some(image)) = (root_peer("runc"), image("backup")) else { return };
    let sandbox = with(&image);
    let output = Script::new(&sandbox, &script("/usr/sbin/runc --root $PWD/../runc")).run();
    check(&output, "34\n34", "/var/backups");
    assert!(output.stderr.contains("Permission denied"), "{}", output.text());
}

#[test]
fn as_root_crun_runs_a_bundle() {
    let (Some(_), Some(image)) = (root_peer("crun"), image("")) else { return };
    let sandbox = with(&image);
    let crun = "crun --cgroup-manager=disabled --root $PWD/../crun";
    let text = format!("{PURE_CGROUPS} sh -c '{}'", script(crun));
    sandbox.write("script", text);
    let output = Script::new(&sandbox, "unshare -m sh ./script").run();
    check(&output, "0\n0", "/root");
}

#[test]
fn as_root_crun_runs_a_plain_users_bundle() {
    let (Some(_), Some(image)) = (root_peer("crun"), image("")) else { return };
    let sandbox = with(&image);
    let crun = "crun --cgroup-manager=disabled --root $PWD/../crun";
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let text = format!("chown 65534:65534 . .. && {PURE_CGROUPS} {user} sh -c '{}'", script(crun));
    sandbox.write("script", text);
    let output = Script::new(&sandbox, "XDG_RUNTIME_DIR=$PWD unshare -m sh ./script").run();
    check(&output, "0\n0", "/root");
}
