//! `config.json`: what the image's config says, by the rules of image-spec's conversion.md, with the mounts, namespaces and
//! limits that containers usually have.
//!
//! | the image's config | `config.json` |
//! |---|---|
//! | `Entrypoint`, then `Cmd` | `process.args` |
//! | `Env`, `WorkingDir` | `process.env`, `process.cwd` |
//! | `User` | `process.user`, names looked up in the image's own files |
//! | `Volumes` | `mounts`, an empty tmpfs each, where the image has nothing at that path; else nothing, and the image's content is there |
//! | `os`, `architecture`, `variant`, `os.version`, `os.features`, `author`, `created`, `StopSignal`, `ExposedPorts` | `annotations`, `org.opencontainers.image.…` |
//! | `Labels` | `annotations`; they win |
//!
//! It depends on the image and on who unpacks it, and on nothing else of this machine.
//!
//! docker and podman copy what the image has at a volume's path into the volume, owner included, before they mount it. A
//! bundle belongs to one container, whose root is writable: the content can stay where it is.

use std::collections::BTreeMap;

use image::User;
use layer_format::Run;
use rootfs::{IdMap, IdMaps, IdRange};
use serde_json::{Value, json};
use stream::archive::Image;

/// The directory of a bundle that has the root file system.
pub(crate) const ROOTFS: &str = "rootfs";

/// The version of the runtime-spec: the first one, as nothing newer is used and systemd-nspawn takes no other.
const VERSION: &str = "1.0.0";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The command, if the image names none.
const SHELL: &str = "/bin/sh";

/// The capabilities of root in a container: docker's default.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Files of the kernel that are hidden, because they reveal or allow too much.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user who will run the bundle: the one who unpacks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// Root: ids aren't mapped.
    Root,
    /// Another user, in a user namespace that maps root to this user and no other id.
    Plain { uid: u32, gid: u32 },
    /// Who may map these ids in a user namespace.
    Mapped(IdMaps),
}

impl Runner {
    pub(super) fn new(uid: u32, gid: u32) -> Self {
        if uid == 0 { Self::Root } else { Self::Plain { uid, gid } }
    }

    pub(super) fn maps_one_id(&self) -> bool {
        matches!(self, Self::Plain { .. })
    }
}

/// All of `config.json`. `is_there` says whether the image has something at a path.
pub(super) fn of(
    image: &Image,
    run: &Run,
    user: &User,
    runner: &Runner,
    is_there: impl Fn(&str) -> bool,
) -> Value {
    json!({
        "ociVersion": VERSION,
        "process": process(run, user),
        "root": { "path": ROOTFS, "readonly": false },
        "hostname": hostname(image),
        "mounts": mounts(run, runner, is_there),
        "annotations": annotations(image, run),
        "linux": linux(runner),
    })
}

fn process(run: &Run, user: &User) -> Value {
    let mut args: Vec<&str> = run.entrypoint.iter().chain(&run.cmd).map(String::as_str).collect();
    if args.is_empty() {
        args.push(SHELL);
    }
    let mut env: Vec<&str> =
        run.env.iter().map(String::as_str).filter(|it| is_variable(it)).collect();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(PATH);
    }
    let home = format!("HOME={}", user.home);
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(&home);
    }
    json!({
        // Pipes work without one; `runc run` refuses to have one where there is none.
        "terminal": false,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": args,
        "env": env,
        "cwd": absolute(&run.working_dir),
        "capabilities": {
            "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
        },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
        "noNewPrivileges": true,
    })
}

/// Whether an entry has a name and a value. For a name alone, some runtimes pass on their own variable.
fn is_variable(text: &str) -> bool {
    !text.contains('\0') && text.split_once('=').is_some_and(|(name, _)| !name.is_empty())
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The image's short name, reduced to what a host name may have.
fn hostname(image: &Image) -> String {
    let name = image.names.first().map_or("", String::as_str);
    let short = name.split('@').next().and_then(|name| name.rsplit('/').next()).unwrap_or("");
    let short = short.split(':').next().unwrap_or("");
    let host: String =
        short.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    if host.trim_matches('-').is_empty() { "container".to_owned() } else { host }
}

fn mounts(run: &Run, runner: &Runner, is_there: impl Fn(&str) -> bool) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let quiet = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&quiet, more].concat();
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let (terminals, sys) = match runner {
        Runner::Root | Runner::Mapped(_) => {
            (&terminals[..], mount("/sys", "sysfs", "sysfs", &with(&["ro"])))
        }
        // A group that isn't mapped, and a file system that belongs to the network namespace, can't be had.
        Runner::Plain { .. } => {
            (&terminals[..5], mount("/sys", "none", "/sys", &with(&["rbind", "ro"])))
        }
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &quiet),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", terminals),
        mount("/dev/shm", "tmpfs", "shm", &with(&["mode=1777", "size=65536k"])),
        mount("/dev/mqueue", "mqueue", "mqueue", &quiet),
        sys,
    ];
    if *runner == Runner::Root {
        mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["relatime", "ro"])));
    }
    let volumes = run.volumes.iter().map(|path| absolute(path)).filter(|path| !is_there(path));
    mounts.extend(volumes.map(|path| mount(&path, "tmpfs", "tmpfs", &["nosuid", "nodev"])));
    mounts
}

fn annotations(image: &Image, run: &Run) -> BTreeMap<String, String> {
    let platform = &image.config.platform;
    let ports = run.exposed_ports.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    let features = run.os_features.join(",");
    let implied = [
        ("os", Some(platform.os.as_str())),
        ("architecture", Some(platform.architecture.as_str())),
        ("variant", platform.variant.as_deref()),
        ("os.version", platform.os_version.as_deref()),
        ("os.features", Some(features.as_str())),
        ("author", run.author.as_deref()),
        ("created", image.config.created.as_deref()),
        ("stopSignal", Some(run.stop_signal.as_str())),
        ("exposedPorts", Some(ports.as_str())),
    ];
    let implied = implied.into_iter().filter_map(|(name, value)| {
        let value = value.filter(|value| !value.is_empty())?;
        Some((format!("org.opencontainers.image.{name}"), value.to_owned()))
    });
    let mut annotations: BTreeMap<_, _> = implied.collect();
    let labels = run.labels.iter().filter(|(name, _)| !name.is_empty());
    annotations.extend(labels.map(|(name, value)| (name.clone(), value.clone())));
    annotations
}

fn linux(runner: &Runner) -> Value {
    let namespaces =
        |kinds: &[&str]| kinds.iter().map(|kind| json!({ "type": kind })).collect::<Vec<_>>();
    match runner {
        Runner::Root => json!({
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces(&["pid", "network", "ipc", "uts", "mount"]),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        }),
        Runner::Mapped(ids) => json!({
            "uidMappings": mappings(&ids.users),
            "gidMappings": mappings(&ids.groups),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces(&["pid", "network", "ipc", "uts", "mount", "user"]),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        }),
        Runner::Plain { uid, gid } => json!({
            "uidMappings": [{ "containerID": 0, "hostID": uid, "size": 1 }],
            "gidMappings": [{ "containerID": 0, "hostID": gid, "size": 1 }],
            "namespaces": namespaces(&["pid", "ipc", "uts", "mount", "user"]),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        }),
    }
}

fn mappings(map: &IdMap) -> Vec<Value> {
    let of = |range: &IdRange| json!({ "containerID": range.container, "hostID": range.host, "size": range.size });
    map.ranges().iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use layer_format::Config;

    use super::*;

    fn image(name: &str, config: &str) -> Image {
        let config = Config::parse(config.as_bytes().to_vec()).unwrap();
        let (names, layers) = (vec![name.to_owned()], vec![]);
        Image { names, manifest: None, config, layers, doubt: None, is_single: true }
    }

    fn settings(config: &str, runner: &Runner) -> Value {
        let image = image("docker.io/library/app:1", config);
        let is_there = |path: &str| path.trim_end_matches('/').is_empty() || path == "/full";
        of(&image, &image.config.run().unwrap(), &User::root(), runner, is_there)
    }

    #[test]
    fn an_image_that_says_nothing_runs_a_shell() {
        let settings = settings("{}", &Runner::Root);
        assert_eq!(settings["process"]["args"], json!(["/bin/sh"]));
        assert_eq!(settings["process"]["env"], json!([PATH, "HOME=/root"]));
        assert_eq!(settings["process"]["cwd"], "/");
        assert_eq!(settings["annotations"], json!({}));
    }

    #[test]
    fn what_the_image_says_is_converted() {
        let settings = settings(
            r#"{"os":"linux","architecture":"arm64","variant":"v8","os.version":"1.2","os.features":["f","g"],"author":"me","created":"2020-01-01T00:00:00Z",
            "config":{"Entrypoint":["/a"],"Cmd":["b","c"],"Env":["PATH=/x","HOME=/h"],"WorkingDir":"w","StopSignal":"SIGINT",
            "ExposedPorts":{"80/tcp":{},"53/udp":{}},"Volumes":{"/data":{},"":{},"/":{},"/full":{},"full":{}},
            "Labels":{"k":"v","org.opencontainers.image.author":"you"}}}"#,
            &Runner::Root,
        );
        let process = &settings["process"];
        assert_eq!(process["args"], json!(["/a", "b", "c"]));
        assert_eq!(
            (&process["env"], &process["cwd"]),
            (&json!(["PATH=/x", "HOME=/h"]), &json!("/w"))
        );
        let name = |name: &str| format!("org.opencontainers.image.{name}");
        let expected = json!({
            name("os"): "linux", name("architecture"): "arm64", name("variant"): "v8",
            name("os.version"): "1.2", name("os.features"): "f,g",
            name("author"): "you", name("created"): "2020-01-01T00:00:00Z", name("stopSignal"): "SIGINT",
            name("exposedPorts"): "53/udp,80/tcp", "k": "v",
        });
        assert_eq!(settings["annotations"], expected);
        let mounts = settings["mounts"].as_array().unwrap();
        let volumes: Vec<_> =
            mounts.iter().skip(7).map(|it| (&it["destination"], &it["type"])).collect();
        assert_eq!(volumes, [(&json!("/data"), &json!("tmpfs"))]);
    }

    #[test]
    fn only_names_with_values_are_variables() {
        // podman's CVE-2026-57231: of `NAME`, and of `*`, the runner's own environment would be taken.
        let config = r#"{"config":{"Env":["PATH=/x","HOME=/h","SECRET","*","=x","","E=","F==","N=\u0000"]}}"#;
        let env = &settings(config, &Runner::Root)["process"]["env"];
        assert_eq!(*env, json!(["PATH=/x", "HOME=/h", "E=", "F=="]));
    }

    #[test]
    fn nothing_newer_than_the_first_version_is_used() {
        // systemd#22148
        assert_eq!(settings("{}", &Runner::Root)["ociVersion"], "1.0.0");
    }

    #[test]
    fn a_plain_user_maps_one_id() {
        let settings = settings("{}", &Runner::Plain { uid: 1000, gid: 100 });
        assert_eq!(settings["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(settings["linux"]["gidMappings"][0]["hostID"], 100);
        let text = settings.to_string();
        assert!(
            !text.contains("gid=5") && !text.contains("\"network\"") && !text.contains("cgroup")
        );
    }

    #[test]
    fn hosts_are_called_as_hosts_can_be() {
        for (name, expected) in [
            ("docker.io/library/nginx:latest", "nginx"),
            ("ghcr.io/a/b_c.d@sha256:00", "bcd"),
            ("localhost:5000/x", "x"),
            ("-:1", "container"),
            ("", "container"),
        ] {
            assert_eq!(hostname(&image(name, "{}")), expected, "{name}");
        }
    }
}
