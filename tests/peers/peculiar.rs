//! What peers disagree about, in small images: each case with the tree that it must become, and who else makes it.

use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::peers::root_peer;
use kit::pipeline::Script;
use kit::tree::{self, Show};
use kit::{Image, Layer, Named, Producer, Sandbox, Sparse};

use crate::reference;

const NAME: &str = "docker.io/library/app:1";

/// One case; everything in its layers is below `in/`.
struct Case {
    what: &'static str,
    layers: Vec<Layer>,
    tree: &'static str,
    /// Who makes the same tree.
    agree: &'static [By],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Umoci,
    Docker,
    Podman,
}

fn low() -> Layer {
    Layer::new().dir("in", 0o755).dir("in/a", 0o750).file("in/a/low", "low")
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case {
            what: "a hard link to a file of a lower layer; docker and containerd on overlayfs find no such file",
            layers: vec![low(), Layer::new().hardlink("in/a/high", "in/a/low")],
            tree: "drwxr-xr-x 0:0 in/\ndrwxr-x--- 0:0 in/a/\n-rw-r--r-- 0:0 in/a/high 3 \"low\"\n\
                   -rw-r--r-- 0:0 in/a/low = in/a/high\n",
            agree: &[By::Umoci, By::Podman],
        },
        Case {
            what: "a hard link whose header has other attributes; the engines give them to the file",
            layers: vec![low().hardlink("in/a/link", "in/a/low").mode(0o600).owner(1, 2)],
            tree: "drwxr-xr-x 0:0 in/\ndrwxr-x--- 0:0 in/a/\n-rw-r--r-- 0:0 in/a/link 3 \"low\"\n\
                   -rw-r--r-- 0:0 in/a/low = in/a/link\n",
            agree: &[By::Umoci],
        },
        Case {
            what: "a whiteout and a new directory of one name; docker shows the lower children again",
            layers: vec![
                low(),
                Layer::new().whiteout("in/a").dir("in/a", 0o711).file("in/a/high", "high"),
            ],
            tree: "drwxr-xr-x 0:0 in/\ndrwx--x--x 0:0 in/a/\n-rw-r--r-- 0:0 in/a/high 4 \"high\"\n",
            agree: &[By::Umoci, By::Podman],
        },
        Case {
            what: "an entry below a lower layer's symlink; umoci and podman on vfs write through it",
            layers: vec![low().symlink("in/l", "a"), Layer::new().file("in/l/high", "high")],
            tree: "drwxr-xr-x 0:0 in/\ndrwxr-x--- 0:0 in/a/\n-rw-r--r-- 0:0 in/a/low 3 \"low\"\n\
                   drwxr-xr-x 0:0 in/l/\n-rw-r--r-- 0:0 in/l/high 4 \"high\"\n",
            agree: &[By::Docker],
        },
    ];
    cases.extend(Sparse::ALL.map(|format| Case {
        what: "a sparse file; nobody else knows GNU's old form; docker and podman can save no image that has one",
        layers: vec![sparse(format)],
        tree: "drwxr-xr-x 0:0 in/\n-rw-r--r-- 0:0 in/s 9437184 sha256:af5a84172e8e\n",
        agree: match format {
            Sparse::Gnu => &[],
            _ => &[By::Umoci, By::Docker, By::Podman],
        },
    }));
    cases
}

fn sparse(format: Sparse) -> Layer {
    let data: (u64, &[u8]) = (1 << 20, b"in the middle");
    Layer::new().dir("in", 0o755).sparse("in/s", format, 9 << 20, &[data])
}

impl Case {
    fn image(&self) -> Image {
        self.layers.iter().fold(Image::new().cmd(&["/x"]), Image::layer)
    }

    fn archive(&self) -> Vec<u8> {
        Producer::Strata.write(&[Named::new(NAME, self.image())])
    }

    fn check(&self, who: &str, tree: &str) {
        let of_case =
            |line: &&str| line.split(' ').nth(2).is_some_and(|path| path.starts_with("in/"));
        let lines: Vec<&str> = tree.lines().filter(of_case).collect();
        let difference = tree::diff(self.tree, &(lines.join("\n") + "\n"));
        assert!(difference.is_empty(), "{}, {who}:\n{difference}", self.what);
    }
}

#[test]
fn as_root_what_peers_disagree_about_is_as_decided() {
    for case in cases() {
        let sandbox = Sandbox::new();
        Script::new(&sandbox, "cat | unpack root").input(case.archive()).run().success();
        case.check("unpack", &tree::show(sandbox.path("root")));
        if case.what.contains("sparse") {
            let extents = tree::extents(sandbox.path("root/in/s"));
            // One block of whatever size this file system has.
            let is_one =
                matches!(extents[..], [(at, length)] if at <= 1 << 20 && length <= 1 << 16);
            assert!(is_one, "the holes are gone: {extents:?}");
        }
    }
}

fn with(by: By) -> impl Iterator<Item = Case> {
    cases().into_iter().filter(move |case| case.agree.contains(&by))
}

#[test]
fn as_root_umoci_agrees_where_it_is_said_to() {
    let Some(_) = root_peer("umoci") else { return };
    for case in with(By::Umoci) {
        case.check("umoci", &reference::umoci(&case.image(), Show::PLAIN));
    }
}

#[test]
fn as_root_umoci_follows_links_as_we_do_when_asked() {
    let (Some(case), Some(_)) = (cases().into_iter().nth(3), root_peer("umoci")) else { return };
    let sandbox = Sandbox::new();
    let script = Script::new(&sandbox, "cat | unpack --keep-symlinked-dirs root");
    script.input(case.archive()).run().success();
    let theirs = reference::umoci(&case.image(), Show::PLAIN);
    tree::assert_same(&tree::show(sandbox.path("root")), &theirs);
    assert!(theirs.contains("in/a/high"), "umoci makes a directory of it now:\n{theirs}");
}

#[test]
fn as_root_docker_agrees_where_it_is_said_to() {
    let Some(docker) = Docker::start() else { return };
    for case in with(By::Docker) {
        docker.load(case.archive());
        case.check("docker", &tree::show_tar(&docker.export(NAME), Show::PLAIN));
    }
}

#[test]
fn as_root_podman_agrees_where_it_is_said_to() {
    for case in with(By::Podman) {
        let Some(podman) = Podman::new(&[]) else { return };
        podman.load(case.archive());
        let dir = podman.command(&["image", "mount", NAME]).run().success().out();
        case.check("podman", &tree::show(dir.trim()));
    }
}
