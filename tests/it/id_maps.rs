//! `--uid-map` and `--gid-map` of `unpack` and `snapshot`: a tree for a user namespace of many ids.

use kit::pipeline::sh;
use kit::tree::{self, Show};
use kit::{Image, Layer, Sandbox};

use crate::fixtures::{assert_one_line, lacks, lacks_root, stream_of};

const MAP: &str = "--uid-map 0:100000:65536";

/// Every place where an id stands: owners, lists of users and groups, capabilities with and without a root id.
const TREE: &str = r#"
    drwxr-xr-x 0:0 etc/ @5
    -rw-r----- 0:42 etc/shadow "s" @5
    drwxr-xr-x 1000:100 home/ @5 system.posix_acl_default="\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\x07\x00\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"
    lrwxrwxrwx 1000:100 home/link -> ../etc @5
    -rw-r----- 33:34 listed "l" @5 system.posix_acl_access="\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x07\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x08\x00\x04\x00\x09\x00\x00\x00\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
    -rwxr-xr-x 0:0 ping "p" @5 security.capability="\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    -rwxr-xr-x 0:0 nested "n" @5 security.capability="\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00"
    -rwsr-sr-x 5:6 set "s" @5
    prw-r--r-- 65535:65535 fifo @5
    -rw-r--r-- 8:9 implied/file "i" @5
"#;

fn image() -> Image {
    Image::new().layer(Layer::text(TREE).hardlink("other", "listed"))
}

fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&image()));
    sandbox
}

#[test]
fn as_root_every_id_is_another_one_on_the_disk() {
    if lacks_root() {
        return;
    }
    let sandbox = prepared();
    sh(&sandbox, &format!("unpack -q --no-sync {MAP} root < image")).success();
    let shown = tree::show_with(sandbox.path("root"), Show { content: false, ..Show::ALL });
    let line = |path: &str| {
        let found = shown.lines().find(|line| line.split(' ').nth(2) == Some(path));
        found.unwrap_or_else(|| panic!("{path}: {shown}")).to_owned()
    };
    for (path, owner) in [
        (".", "100000:100000"),
        ("etc/shadow", "100000:100042"),
        ("home/link", "101000:100100"),
        ("set", "100005:100006"),
        ("fifo", "165535:165535"),
        // No layer describes it.
        ("implied/", "100000:100000"),
        ("implied/file", "100008:100009"),
    ] {
        let line = if path == "." { shown.lines().next().unwrap().to_owned() } else { line(path) };
        assert_eq!(line.split(' ').nth(1), Some(owner), "{line}");
    }
    assert!(line("set").starts_with("-rwsr-sr-x"), "{}", line("set"));
    // 100007 is 0x186a7; umoci#261: the root id of a capability is the one of the map.
    assert!(line("listed").contains(r"\x02\x00\x04\x00\xa7\x86\x01\x00"), "{}", line("listed"));
    assert!(line("listed").contains(r"\x08\x00\x04\x00\xa9\x86\x01\x00"), "{}", line("listed"));
    let capability = r#"security.capability="\x01\x00\x00\x03\x00\x20"#;
    for (path, root_id) in [("ping", r#"\xa0\x86\x01\x00""#), ("nested", r#"\x88\x8a\x01\x00""#)] {
        let line = line(path).replace("\\x20", " ").replace(' ', "\\x20");
        assert!(line.contains(&capability.replace(' ', "\\x20")), "{line}");
        assert!(line.ends_with(root_id), "{line}");
    }
}

#[test]
fn as_root_an_unchanged_tree_is_an_empty_snapshot_and_a_change_is_the_one_of_an_unmapped_tree() {
    if lacks_root() || lacks(&["setfattr"]) {
        return;
    }
    // moby#41723 and container-libs#1126: a layer never has the ids of the machine that made it.
    let sandbox = prepared();
    let script = format!(
        "unpack -q --no-sync {MAP} mapped < image && unpack -q --no-sync plain < image
         snapshot --list {MAP} mapped --base ./image
         snapshot --list {MAP} mapped --base ./image --checksum
         cp -a mapped copy && snapshot --list {MAP} mapped --base dir:copy"
    );
    assert_eq!(sh(&sandbox, &script).success().out(), "");
    let script = "change() {
            echo x > $1/new; chown $(($2+3)):$(($2+4)) $1/new; touch -d @9 $1/new $1/etc/shadow $1/listed
            chown -h $(($2+70)) $1/home/link; touch -h -d @5 $1/home/link
            rm $1/ping; touch -d @5 $1 $1/home
        }
        change mapped 100000; change plain 0
        setfattr -n security.capability -v 0x0100000300200000000000000000000000000000a0860100 mapped/new
        setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 plain/new";
    sh(&sandbox, script).success();
    let script = format!(
        "snapshot -q {MAP} mapped --base ./image > a && snapshot -q plain --base ./image > b
         snapshot -q {MAP} mapped --base scratch > c && snapshot -q plain --base scratch > d
         snapshot --list plain --base ./image; cmp a b && cmp c d"
    );
    let output = sh(&sandbox, &script);
    let expected = "D ping\nC etc/shadow\nC home/link\nC listed\nA new\nC other\n";
    assert_eq!(output.success().out(), expected, "{}", output.text());
}

#[test]
fn as_root_users_and_groups_may_be_mapped_apart_and_in_pieces() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let image = Image::new().layer(Layer::text("-rw-r--r-- 0:0 a \"a\"\n-rw-r--r-- 1:1 b \"b\"\n"));
    sandbox.write("image", stream_of(&image));
    let maps = "--uid-map 0:70000:1 --uid-map 1:5 --gid-map 0:80000:2";
    let script = format!(
        "unpack -q --no-sync {maps} root < image && stat -c %u:%g root/a root/b root
         snapshot --list {maps} root --base ./image"
    );
    assert_eq!(sh(&sandbox, &script).success().out(), "70000:80000\n5:80001\n70000:80000\n");
}

#[test]
fn as_root_who_leaves_out_the_map_is_told_which_it_was() {
    if lacks_root() {
        return;
    }
    let sandbox = prepared();
    let maps = "--uid-map 0:100000:65536 --gid-map 0:200000:65536";
    sh(
        &sandbox,
        &format!("load -q --tag app:1 image; unpack -q --no-sync {maps} --from app:1 root"),
    )
    .success();
    let warning = format!("warning: root was unpacked with {maps}: without that");
    let output = sh(&sandbox, "snapshot --list root");
    assert!(output.stderr.contains(&warning), "{}", output.text());
    assert!(output.out().contains("C etc/shadow\n"), "{}", output.text());
    let output = sh(&sandbox, &format!("snapshot --list {maps} root"));
    assert_eq!(output.success().out(), "", "{}", output.text());
    assert_eq!(output.stderr, "");
}

#[test]
fn an_id_outside_of_the_map_is_one_clear_error() {
    let sandbox = Sandbox::new();
    let check = |layer: &str, maps: &str, expected: &str| {
        sandbox.write("image", stream_of(&Image::new().layer(Layer::text(layer))));
        let output = sh(&sandbox, &format!("unpack -q {maps} root < image"));
        assert_one_line(output.fails_with(1), "unpack");
        assert!(output.stderr.contains(expected), "{}", output.stderr);
        assert!(output.stderr.contains("hint: --uid-map and --gid-map"), "{}", output.stderr);
        assert!(!sandbox.path("root").exists());
    };
    let uid = rustix::process::getuid().as_raw();
    let maps = format!("--uid-map 0:{uid}:5");
    check(
        "-rw-r--r-- 0:0 a \"a\"\n-rw-r--r-- 9:0 d/b \"b\"",
        &maps,
        "d/b: its owner 9 is in no range that is mapped",
    );
    check("-rw-r--r-- 0:7 a \"a\"", &maps, "a: its group 7 is in no range that is mapped");
    check(
        "-rw-r--r-- 1:1 a \"a\"",
        "--uid-map 1:1:5",
        ".: its owner 0 is in no range that is mapped",
    );
    check(
        r#"-rwxr-xr-x 0:0 a "a" @5 security.capability="\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00""#,
        &maps,
        "a: its capability's root 1000 is in no range that is mapped",
    );
    std::fs::create_dir(sandbox.path("tree")).unwrap();
    sandbox.write("tree/file", "x");
    let output = sh(&sandbox, "snapshot --list --uid-map 0:1999999:1 tree --base scratch");
    assert_one_line(output.fails_with(1), "snapshot");
    assert!(output.stderr.contains("is in no range that is mapped\nhint: "), "{}", output.stderr);
}

/// Runs a command as root of a user namespace with 65536 ids from 100000 on, which /etc/subuid must allow.
const IN_NAMESPACE: &str = "inside() {
        unshare --mount sh -ec '
            touch subids; echo root:100000:65536 > subids
            mount --bind subids /etc/subuid; mount --bind subids /etc/subgid
            exec unshare --mount --user --map-users=100000,0,65536 --map-groups=100000,0,65536 \\
                --setuid 0 --setgid 0 \"$@\"' - \"$@\"
    }";

#[test]
fn as_root_the_tree_starts_in_a_user_namespace() {
    if lacks_root() || lacks(&["busybox", "newuidmap", "setfattr"]) {
        return;
    }
    let busybox = std::fs::read("/bin/busybox").or_else(|_| std::fs::read("/usr/bin/busybox"));
    let layer = Layer::text(TREE)
        .dir("./", 0o755)
        .dir("bin", 0o755)
        .file("bin/busybox", busybox.unwrap())
        .mode(0o755);
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&Image::new().layer(layer)));
    let script = format!(
        "{IN_NAMESPACE}
        unpack -q --no-sync {MAP} root < image || exit
        PATH=$PATH:/usr/sbin inside chroot root /bin/busybox sh -ec '
            busybox=/bin/busybox
            $busybox id -u; $busybox stat -c %u:%g / /home /listed /set
            $busybox chown 7:7 /etc/shadow; echo new > /made; $busybox chown 12:13 /made'
        inside getfattr --absolute-names -d -m capability -e hex root/ping root/nested
        snapshot --list {MAP} root --base ./image"
    );
    let output = sh(&sandbox, &script);
    if output.stderr.contains("unshare: unshare failed") {
        kit::peers::skip("this test", "user namespaces are forbidden");
        return;
    }
    // Inside, the kernel shows the capability as the image has it.
    assert_eq!(
        output.success().out(),
        "0\n0:0\n1000:100\n33:34\n5:6\n\
         # file: root/ping\nsecurity.capability=0x0100000200200000000000000000000000000000\n\n\
         # file: root/nested\nsecurity.capability=0x0100000300200000000000000000000000000000e8030000\n\n\
         C .\nC etc/shadow\nA made\n",
        "{}",
        output.text()
    );
    // What is unpacked inside is the same on the disk.
    let script = format!(
        "{IN_NAMESPACE}
        mkdir in && chown 100000:100000 in && chmod 755 . && inside unpack -q --no-store --no-sync in/root < image
        unpack -q --no-sync {MAP} out < image; snapshot --list {MAP} in/root --base dir:out"
    );
    let output = sh(&sandbox, &script.replace(" --no-store", " --store none"));
    assert_eq!(output.success().out(), "", "{}", output.text());
}
