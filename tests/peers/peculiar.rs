//! What peers disagree about, in small images: each case with the tree that it must become, and who else makes it.

use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::peers::{root_peer, skip};
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

fn cases() -> Vec<Case> {
    let mut cases = vec![
        hard_link_to_a_lower_file(),
        hard_link_with_other_attributes(),
        directory_removed_and_made_again(),
        entry_below_a_lower_symlink(),
    ];
    cases.extend(Sparse::ALL.map(sparse_file));
    cases
}

fn low() -> Layer {
    Layer::new().dir("in", 0o755).dir("in/a", 0o750).file("in/a/low", "low")
}

/// docker and containerd on overlayfs find no such file.
fn hard_link_to_a_lower_file() -> Case {
    Case {
        what: "a hard link to a file of a lower layer",
        layers: vec![low(), Layer::new().hardlink("in/a/high", "in/a/low")],
        tree: "drwxr-xr-x 0:0 in/\ndrwxr-x--- 0:0 in/a/\n-rw-r--r-- 0:0 in/a/high 3 \"low\"\n\
               -rw-r--r-- 0:0 in/a/low = in/a/high\n",
        agree: &[By::Umoci, By::Podman],
    }
}

/// The engines give what the link's header has to the file.
fn hard_link_with_other_attributes() -> Case {
    Case {
        what: "a hard link whose header has other attributes",
        layers: vec![low().hardlink("in/a/link", "in/a/low").mode(0o600).owner(1, 2)],
        tree: "drwxr-xr-x 0:0 in/\ndrwxr-x--- 0:0 in/a/\n-rw-r--r-- 0:0 in/a/link 3 \"low\"\n\
               -rw-r--r-- 0:0 in/a/low = in/a/link\n",
        agree: &[By::Umoci],
    }
}

/// docker shows the lower children again.
fn directory_removed_and_made_again() -> Case {
    Case {
        what: "a whiteout and a new directory of one name",
        layers: vec![
            low(),
            Layer::new().whiteout("in/a").dir("in/a", 0o711).file("in/a/high", "high"),
        ],
        tree: "drwxr-xr-x 0:0 in/\ndrwx--x--x 0:0 in/a/\n-rw-r--r-- 0:0 in/a/high 4 \"high\"\n",
        agree: &[By::Umoci, By::Podman],
    }
}

/// umoci, and podman on vfs, write through the link.
fn entry_below_a_lower_symlink() -> Case {
    Case {
        what: "an entry below a lower layer's symlink",
        layers: vec![low().symlink("in/l", "a"), Layer::new().file("in/l/high", "high")],
        tree: "drwxr-xr-x 0:0 in/\ndrwxr-x--- 0:0 in/a/\n-rw-r--r-- 0:0 in/a/low 3 \"low\"\n\
               drwxr-xr-x 0:0 in/l/\n-rw-r--r-- 0:0 in/l/high 4 \"high\"\n",
        agree: &[By::Docker],
    }
}

/// Nobody else knows GNU's old form; docker and podman load the others, and save none of them again.
fn sparse_file(format: Sparse) -> Case {
    let data: (u64, &[u8]) = (1 << 20, b"in the middle");
    Case {
        what: "a sparse file",
        layers: vec![Layer::new().dir("in", 0o755).sparse("in/s", format, 9 << 20, &[data])],
        tree: "drwxr-xr-x 0:0 in/\n-rw-r--r-- 0:0 in/s 9437184 sha256:af5a84172e8e\n",
        agree: if format == Sparse::Gnu { &[] } else { &[By::Umoci, By::Docker, By::Podman] },
    }
}

impl Case {
    fn image(&self) -> Image {
        self.layers.iter().fold(Image::new().cmd(&["/x"]), Image::layer)
    }

    fn archive(&self) -> Vec<u8> {
        Producer::Strata.write(&[Named::new(NAME, self.image())])
    }

    /// Lets `unpack`, with more arguments perhaps, make the directory `root`.
    fn unpack(&self, arguments: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        let script = Script::new(&sandbox, &format!("cat | unpack {arguments} root"));
        script.input(self.archive()).run().success();
        sandbox
    }

    #[track_caller]
    fn check(&self, who: &str, tree: &str) {
        let of_case =
            |line: &&str| line.split(' ').nth(2).is_some_and(|path| path.starts_with("in/"));
        let lines: Vec<&str> = tree.lines().filter(of_case).collect();
        let difference = tree::diff(self.tree, &lines.join("\n"));
        assert!(difference.is_empty(), "{}, {who}:\n{difference}", self.what);
    }
}

fn with(by: By) -> impl Iterator<Item = Case> {
    cases().into_iter().filter(move |case| case.agree.contains(&by))
}

#[test]
fn as_root_what_peers_disagree_about_is_as_decided() {
    if !rustix::process::geteuid().is_root() {
        return skip("no root", "owners are compared");
    }
    for case in cases() {
        case.check("unpack", &tree::show(case.unpack("").path("root")));
    }
}

#[test]
fn as_root_umoci_agrees_where_it_is_said_to() {
    let Some(_) = root_peer("umoci") else { return };
    for case in with(By::Umoci) {
        case.check("umoci", &reference::umoci(&case.image(), Show::PLAIN));
    }
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

#[test]
fn as_root_symlinks_to_directories_are_followed_as_umoci_does_when_asked() {
    let Some(_) = root_peer("umoci") else { return };
    let case = entry_below_a_lower_symlink();
    let ours = tree::show(case.unpack("--keep-symlinked-dirs").path("root"));
    tree::assert_same(&ours, &reference::umoci(&case.image(), Show::PLAIN));
    assert!(ours.contains(" in/a/high "), "{ours}");
}
