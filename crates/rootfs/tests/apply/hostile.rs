//! Layers that try to get out, after the public breakouts of containerd, moby, umoci, podman, buildah, runc, GNU tar,
//! tar-rs and node-tar. Whatever comes of them, nothing outside the root changes.

use report::{ErrorKind, HasKind};

use crate::tree::{FOLLOW, OPTIONS, Place, lines, show, try_apply};

struct Case {
    name: &'static str,
    /// `OUT` stands for the directory outside, `ROOT` for the root's own absolute path.
    layers: &'static [&'static str],
    /// The tree, or nothing if the layer is refused.
    holds: Option<&'static str>,
}

const fn case(name: &'static str, layers: &'static [&'static str], holds: &'static str) -> Case {
    Case { name, layers, holds: Some(holds) }
}

const fn refused(name: &'static str, layers: &'static [&'static str]) -> Case {
    Case { name, layers, holds: None }
}

/// A tree whose names are those of a temporary directory.
const ANYTHING_INSIDE: &str = "*";

const CASES: &[Case] = &[
    // A link and a file below it, in one layer: followed beneath the root, where the directories that lack are made as
    // containerd does, or replaced if it can't lead to any.
    case("absolute link", &["etc/\nl -> /etc\nl/f = in"], "etc/\netc/f = in\nl -> /etc"),
    case(
        "link up and out",
        &["etc/\nx/\nl -> /x/../etc\nl/f = in"],
        "etc/\netc/f = in\nl -> /x/../etc\nx/",
    ),
    case(
        "link far up",
        &["etc/\nl -> ../../../../../../etc\nl/f = in"],
        "etc/\netc/f = in\nl -> ../../../../../../etc",
    ),
    case(
        "link through a link",
        &["etc/\nx/\nx/e -> /etc\nl -> ./x/e\nl/f = in"],
        "etc/\netc/f = in\nl -> ./x/e\nx/\nx/e -> /etc",
    ),
    case("link out, file below", &["l -> OUT\nl/secret = broken"], ANYTHING_INSIDE),
    case("link out, directory below", &["l -> OUT\nl/dir/"], ANYTHING_INSIDE),
    case(
        "link to what isn't there",
        &["l -> a/b\nl/f = in"],
        "[@0] a/\n[@0] a/b/\na/b/f = in\nl -> a/b",
    ),
    case(
        "link through a link to what isn't there",
        &["d/\nl -> d/m\nd/m -> ./n/\nl/f = in"],
        "d/\nd/m -> ./n/\n[@0] d/n/\nd/n/f = in\nl -> d/m",
    ),
    case("link to below a file", &["x = 1\nl -> x/y\nl/f = in"], "[@0] l/\nl/f = in\nx = 1"),
    case("link to a name and out of it", &["l -> a/../b\nl/f = in"], "[@0] l/\nl/f = in"),
    case(
        "link out, device path",
        &["l -> /dev\nl/shm/x = broken"],
        "[@0] dev/\n[@0] dev/shm/\ndev/shm/x = broken\nl -> /dev",
    ),
    case(
        "link to the root's parent",
        &["l -> ..\nl/out/secret = broken"],
        "l -> ..\n[@0] out/\nout/secret = broken",
    ),
    case(
        "link to the root's own path",
        &["l -> ROOT/..\nl/out/secret = broken"],
        "[@0] l/\n[@0] l/out/\nl/out/secret = broken",
    ),
    case("dot link", &["l -> .\nl/l/l/f = in"], "f = in\nl -> ."),
    case("link to itself", &["l -> l\nl/f = in"], "[@0] l/\nl/f = in"),
    case("links in a circle", &["a -> b/x\nb -> a/x\na/f = in"], "[@0] a/\na/f = in\nb -> a/x"),
    // The same with the link in a lower layer: a directory takes its place.
    case("lower link out", &["l -> OUT", "l/secret = broken"], "[@0] l/\nl/secret = broken"),
    case("lower link out, directory entry", &["l -> OUT", "[777 @5] l/"], "[777 @5] l/"),
    case(
        "lower link in",
        &["etc/\netc/f = x\nl -> etc", "l/f = y"],
        "etc/\netc/f = x\n[@0] l/\nl/f = y",
    ),
    case(
        "lower link in a parent",
        &["a/\na/l -> OUT", "a/l/dir/f = broken"],
        "a/\n[@0] a/l/\n[@0] a/l/dir/\na/l/dir/f = broken",
    ),
    // Files in place of links, and links in place of what was opened before.
    case("file over a link out", &["l -> OUT/secret", "l = in"], "l = in"),
    case("file over a link out, one layer", &["l -> OUT/secret\nl = in"], "l = in"),
    case("file over a dangling link", &["l -> OUT/new\nl = in"], "l = in"),
    case("empty file over a link out", &["l -> OUT/secret\nl = "], "l = "),
    case("mode through a link", &["l -> OUT/secret\n[777] l/"], "[777] l/"),
    case("time of a link", &["[@77] l -> OUT/secret"], "[@77] l -> OUT/secret"),
    case("directory, link, file", &["d/\nd/a = 1\nd -> OUT/dir\nd/f = broken"], ANYTHING_INSIDE),
    case(
        "directory, link, file, deeper",
        &["a/b/\na/b/x = 1\na -> OUT\na/dir/f = broken"],
        ANYTHING_INSIDE,
    ),
    case(
        "directory, link, file, later layer",
        &["a/b/\na/b/x = 1", "a -> OUT", "a/dir/f = broken"],
        "[@0] a/\n[@0] a/dir/\na/dir/f = broken",
    ),
    case(
        "directory, whiteout, link, file",
        &["d/\nd/a = 1", "- d\nd -> OUT/dir\nd/f = broken"],
        ANYTHING_INSIDE,
    ),
    case(
        "directory, file, whiteout, link",
        &["d/\nd/a = 1", "d/b = 2\nd -> OUT/dir\n- d\n- d/f"],
        "d -> OUT/dir",
    ),
    case("directory times go to no link", &["[@5] d/\nd/f = x\nd -> OUT/dir"], "d -> OUT/dir"),
    // Hard links.
    refused("hard link out, absolute", &["h => OUT/secret"]),
    refused("hard link through a link out", &["l -> OUT\nh => l/secret"]),
    refused("hard link through a lower link out", &["l -> OUT", "h => l/secret"]),
    refused("hard link through a lower link in", &["d/\nd/f = x\nl -> d", "h => l/f"]),
    refused("hard link through the parent", &["l -> ..\nh => l/out/secret"]),
    refused("hard link through proc", &["l -> /proc/self/root\nh => l/OUT/secret"]),
    refused("hard link to a directory", &["d/\nh => d"]),
    refused("hard link to the root", &["h => /"]),
    case(
        "hard link through a link in",
        &["etc/\netc/p = in\nl -> ../../etc\nh => l/p"],
        "etc/\netc/p = in\nh => etc/p\nl -> ../../etc",
    ),
    case(
        "hard link through a longer way",
        &["etc/\netc/p = in\nd/\nl -> d/../../../etc\nh => /l/p"],
        "d/\netc/\netc/p = in\nh => etc/p\nl -> d/../../../etc",
    ),
    case("hard link to a link out", &["l -> OUT/secret\nh => l"], "h -> OUT/secret\nl => h"),
    case(
        "hard link to a link out, then a file",
        &["l -> OUT/secret\nh => l\nh = in"],
        "h = in\nl -> OUT/secret",
    ),
    case(
        "hard link to a link out, then attributes",
        &["l -> OUT/secret\n[777 @5] h => l"],
        "h -> OUT/secret\nl => h",
    ),
    case(
        "hard link below a link that replaced a directory",
        &["etc/\netc/p = in\nl/", "l -> /etc\nl/h => etc/p"],
        "etc/\netc/h = in\netc/p => etc/h\nl -> /etc",
    ),
    case(
        "directory over a link, then a hard link",
        &["etc/\netc/p = in\nl -> /etc", "l/\nl/h => etc/p"],
        "etc/\netc/p = in\nl/\nl/h => etc/p",
    ),
    case("file over a hard link", &["a = 1\nb => a", "b = 2"], "a = 1\nb = 2"),
    // Whiteouts.
    case("whiteout of a link", &["d/\nd/f = x\nl -> d", "- l"], "d/\nd/f = x"),
    case("whiteout of a link out", &["l -> OUT/dir", "- l"], ""),
    case("whiteout through a link out", &["l -> OUT", "- l/secret\n- l/dir"], "l -> OUT"),
    case("whiteout through a link out, one layer", &["l -> OUT\n- l/secret\n! l"], "l -> OUT"),
    case("opaque link out", &["l -> OUT", "! l"], "l -> OUT"),
    case("opaque below a link out", &["l -> OUT", "! l/dir"], "l -> OUT"),
    case("opaque tree with links out", &["d/\nd/l -> OUT\nd/m -> /", "! d"], "d/"),
    case("whiteout through a dead link", &["etc/\nl -> /none", "- l/etc"], "etc/\nl -> /none"),
    case(
        "whiteout of the name of a marker's parent",
        &["d/\nd/f = x", "d/... = y\n- d/..."],
        "d/\nd/... = y\nd/f = x",
    ),
    // The root.
    refused("root as a link", &[". -> OUT\nsecret = broken"]),
    refused("root as a file", &["./ -> x\nf = y"]),
    refused("root as a hard link", &["f = x\n. => f"]),
    // /proc and its magic links lead nowhere, because nothing follows but text.
    case(
        "magic root",
        &["l -> /proc/self/root\nl/f = in"],
        "l -> /proc/self/root\n[@0] proc/\n[@0] proc/self/\n[@0] proc/self/root/\nproc/self/root/f = in",
    ),
    case("magic directory", &["l -> /proc/self/cwd/../..\nl/f = in"], "[@0] l/\nl/f = in"),
    case(
        "magic descriptor",
        &["l -> /proc/self/fd/3\nl/f = in", "m -> /proc/self/fd/3", "m/f = in"],
        "l -> /proc/self/fd/3\n[@0] m/\nm/f = in\n[@0] proc/\n[@0] proc/self/\n[@0] proc/self/fd/\n[@0] proc/self/fd/3/\nproc/self/fd/3/f = in",
    ),
    case(
        "proc of one's own",
        &["proc/self/\nproc/self/root -> /\nl -> proc/self/root\nl/f = in"],
        "f = in\nl -> proc/self/root\n[@0] proc/\nproc/self/\nproc/self/root -> /",
    ),
    // Fifos and names.
    case("fifo, then a file", &["p |\np = in"], "p = in"),
    case("fifo as a parent", &["p |\np/f = in"], "[@0] p/\np/f = in"),
    case("link to a fifo", &["p |\nl -> p\nl = in"], "l = in\np |"),
    case(
        "odd names",
        &["...  = 1\n..a = 2\n~ = 3\n-rf = 4\n\u{202e} = 5"],
        "-rf = 4\n...  = 1\n..a = 2\n~ = 3\n\\u{202e} = 5",
    ),
];

fn run(case: &Case, options: rootfs::Options) -> Option<String> {
    let place = Place::new();
    let fill = |text: &str| {
        text.replace("OUT", place.out().to_str().unwrap())
            .replace("ROOT", place.root().to_str().unwrap())
    };
    let layers: Vec<_> = case.layers.iter().map(|layer| fill(layer)).collect();
    let result =
        try_apply(&place.root(), options, &layers.iter().map(String::as_str).collect::<Vec<_>>());
    place.assert_outside_is_unchanged(case.name);
    match result {
        Ok(_) => Some(
            show(&place.root())
                .replace(place.out().to_str().unwrap(), "OUT")
                .replace(place.root().to_str().unwrap(), "ROOT"),
        ),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{}: {error}", case.name);
            None
        }
    }
}

#[test]
fn nothing_gets_out() {
    let mut n_wrong = 0;
    for case in CASES {
        let found = run(case, OPTIONS);
        let expected =
            case.holds.map(|text| lines(text).flat_map(|line| [line, "\n"]).collect::<String>());
        let is_named_for_the_place = case.holds == Some(ANYTHING_INSIDE) && found.is_some();
        if found != expected && !is_named_for_the_place {
            println!("{}:\n{found:#?}\nexpected\n{expected:#?}", case.name);
            n_wrong += 1;
        }
    }
    assert_eq!(n_wrong, 0);
}

#[test]
fn nothing_gets_out_when_lower_links_are_followed() {
    for case in CASES {
        run(case, FOLLOW);
    }
}
