//! `unpack --bundle` makes what runc and crun run.
//!
//! What it takes from the image's config is what umoci takes.
//!
//! crun 1.8 knows cgroups of one version or the other, not the mixture that some machines have; it is given the second
//! version, in a mount namespace of its own, and told to leave it alone.

use kit::peers::root_peer;
use kit::pipeline::Script;
use kit::{Image, Layer, Named, Output, Producer, Sandbox};
use serde_json::{Value, json};

use crate::debian;

const PURE_CGROUPS: &str =
    "umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec";
const COMMAND: &str = "id -u; id -G; hostname; pwd; echo $HOME $A; cat /proc/1/comm; ls -d /data; touch /root/x; exit 7";

fn image(user: &str) -> Option<Image> {
    let image = debian::minimal()?.user(user).env(&["A=b", "PATH=/usr/bin:/bin"]);
    let image = image.entrypoint(&["/bin/sh", "-c"]).cmd(&[COMMAND]);
    let image = image.set_config("/config/WorkingDir", "/made/by it");
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
    check_in("/made/by it", output, ids, home);
}

/// The same with another working directory.
#[track_caller]
fn check_in(directory: &str, output: &Output, ids: &str, home: &str) {
    let expected = format!("{ids}\ndebian\n{directory}\n{home} b\nsh\n/data\n");
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

/// What runs a bundle whose files belong to the ids of a user namespace. `runc` enters them as its root.
fn mapped(runtime: &str) -> String {
    let unpack = "chmod 755 . .. && unpack -q --bundle --uid-map 0:100000:65536 b < in";
    format!("{unpack} && cd b && {runtime} run strata-$$")
}

#[track_caller]
fn check_mapped(sandbox: &Sandbox, output: &Output) {
    check(output, "0\n0", "/root");
    let made = std::fs::metadata(sandbox.path("b/rootfs/root/x")).expect("the command makes it");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 100_000);
}

#[test]
fn as_root_runc_runs_a_bundle_of_mapped_ids() {
    let (Some(_), Some(image)) = (root_peer("runc"), image("")) else { return };
    let sandbox = with(&image);
    let output = Script::new(&sandbox, &mapped("/usr/sbin/runc --root $PWD/../runc")).run();
    check_mapped(&sandbox, &output);
}

#[test]
fn as_root_crun_runs_a_bundle_of_mapped_ids() {
    let (Some(_), Some(image)) = (root_peer("crun"), image("")) else { return };
    let sandbox = with(&image);
    let crun = "crun --cgroup-manager=disabled --root $PWD/../crun";
    sandbox.write("script", format!("{PURE_CGROUPS} sh -c '{}'", mapped(crun)));
    let output = Script::new(&sandbox, "unshare -m sh ./script").run();
    check_mapped(&sandbox, &output);
}

#[test]
fn as_root_systemd_nspawn_runs_a_bundle() {
    // systemd#22148. It wants a system bus, and cgroups of one version.
    let (Some(_), Some(_)) = (root_peer("systemd-nspawn"), root_peer("dbus-daemon")) else {
        return;
    };
    let Some(image) = image("") else { return };
    // It makes no working directory.
    let image = image.set_config("/config/WorkingDir", "/srv");
    let sandbox = with(&image);
    let nspawn = "systemd-nspawn -q --register=no --keep-unit --console=pipe --oci-bundle=b";
    let text = format!(
        "umount -R -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
         unpack -q --bundle b < in || exit
         mount -t tmpfs none /run && mkdir /run/dbus && dbus-daemon --system --fork --print-pid > bus
         {nspawn} < /dev/null; status=$?
         kill $(cat bus); exit $status"
    );
    sandbox.write("script", text);
    let output = Script::new(&sandbox, "unshare -m sh ./script").run();
    check_in("/srv", &output, "0\n0", "/root");
}

/// An image whose user may write to one volume, which has content, and whose other volume the image lacks.
fn image_of_a_database() -> Option<Image> {
    let layer = Layer::text(
        r#"
        drwxr-xr-x 0:0 srv/
        lrwxrwxrwx 0:0 data -> srv/db
        drwxr-x--- 34:34 srv/db/
        -rw-r----- 34:34 srv/db/seed "seed\n"
        "#,
    );
    let command = "cat /data/seed && stat -c '%u %a' /srv/db && echo new > /data/new && ls -d /cache && findmnt -n -o FSTYPE /cache; findmnt -n /srv/db; exit 7";
    let image = debian::minimal()?.layer(layer).user("backup");
    let image = image.entrypoint(&["/bin/sh", "-c"]).cmd(&[command]);
    Some(image.set_config("/config/Volumes", json!({"/data": {}, "/cache": {}})))
}

#[track_caller]
fn check_database(sandbox: &Sandbox, output: &Output) {
    let expected = "seed\n34 750\n/cache\ntmpfs\n";
    assert_eq!(output.fails_with(7).out(), expected, "{}", output.text());
    assert_eq!(sandbox.read("b/rootfs/srv/db/new"), b"new\n");
}

#[test]
fn as_root_runc_has_the_images_content_in_a_volume() {
    let (Some(_), Some(image)) = (root_peer("runc"), image_of_a_database()) else { return };
    let sandbox = with(&image);
    let output = Script::new(&sandbox, &script("/usr/sbin/runc --root $PWD/../runc")).run();
    check_database(&sandbox, &output);
}

#[test]
fn as_root_crun_has_the_images_content_in_a_volume() {
    let (Some(_), Some(image)) = (root_peer("crun"), image_of_a_database()) else { return };
    let sandbox = with(&image);
    let crun = "crun --cgroup-manager=disabled --root $PWD/../crun";
    sandbox.write("script", format!("{PURE_CGROUPS} sh -c '{}'", script(crun)));
    let output = Script::new(&sandbox, "unshare -m sh ./script").run();
    check_database(&sandbox, &output);
}

/// What a bundle's settings have of the image's config, without what umoci says with nothing, or says of its own: a terminal's
/// type, and the user's `HOME` (in place of the image's, and none for a number without an entry).
fn converted(sandbox: &Sandbox, bundle: &str) -> Value {
    let settings = sandbox.read(&format!("{bundle}/config.json"));
    let settings: Value = serde_json::from_slice(&settings).expect("settings are JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let process = &settings["process"];
    let mut env = list(&process["env"]);
    env.retain(|variable| variable != "TERM=xterm" && variable != "HOME=/");
    env.sort_by_key(ToString::to_string);
    let user = &process["user"];
    let mut annotations = settings["annotations"].as_object().cloned().unwrap_or_default();
    annotations.retain(|name, value| *value != "" || !name.starts_with("org.opencontainers."));
    let mut mounts = list(&settings["mounts"]);
    // umoci hides what the image has at a volume's path (`/a`).
    mounts.retain(|mount| mount["type"] == "tmpfs" && mount["destination"] != "/a");
    mounts.sort_by_key(|mount| mount["destination"].to_string());
    json!({
        "user": [user["uid"], user["gid"], list(&user["additionalGids"])],
        "process": [process["args"], env, process["cwd"]],
        "annotations": annotations,
        "volumes": mounts.iter().map(|mount| &mount["destination"]).collect::<Vec<_>>(),
    })
}

#[test]
fn as_root_umoci_takes_the_same_from_a_config() {
    let Some(umoci) = root_peer("umoci") else { return };
    let layer = Layer::text(
        r#"
        drwxr-xr-x 0:0 a/
        drwxr-xr-x 0:0 etc/
        -rw-r--r-- 0:0 etc/passwd "root:x:0:0::/root:\n1001:x:7:8::/seven:\nme:x:1000:100::/home/me:\n"
        -rw-r--r-- 0:0 etc/group "root:x:0:\n12:x:13:\nsound:x:29:you,me\nusers:x:100:\n"
        "#,
    );
    let image = Image::new().layer(layer).cmd(&["--all", "x y"]).env(&["A=b", "E="]);
    let image = image.set_config("/config/WorkingDir", "/w").set_config("/author", "me");
    let full = image
        .clone()
        .entrypoint(&["/bin/app"])
        .created("2020-01-02T03:04:05Z")
        .set_config("/config/StopSignal", "SIGINT")
        .set_config("/config/ExposedPorts", json!({"80/tcp": {}, "53/udp": {}}))
        .set_config("/config/Volumes", json!({"/b/c": {}, "/a": {}}))
        // None named as umoci names its own: those would win there.
        .set_config("/config/Labels", json!({"k": "v", "empty": ""}));
    let users = [
        "",
        "root",
        "me",
        "1000",
        "1001",
        "7",
        "2000",
        "me:users",
        "me:12",
        "me:5",
        "1000:sound",
        "2000:3000",
        ":sound",
    ];
    let users = users.map(|user| image.clone().user(user));
    for image in users.iter().chain([&full]) {
        let sandbox = Sandbox::new();
        debian::layout(&sandbox, image);
        umoci.program(&sandbox).args(["unpack", "--image", "in:debian", "theirs"]).run().success();
        sandbox
            .command("unpack")
            .args(["-q", "--bundle", "ours", "--from", "./in"])
            .run()
            .success();
        assert_eq!(converted(&sandbox, "ours"), converted(&sandbox, "theirs"));
    }
}
