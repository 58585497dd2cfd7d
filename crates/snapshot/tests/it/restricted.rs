//! What can't be set here comes from the base: in containers and namespaces, without capabilities, on file systems without
//! attributes. Each test runs the same property again in such a place.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use kit::command::plain_user::{run_as_plain_user, run_with};
use kit::image::random::random;
use kit::{Image, Layer, tree};
use layer_format::Decoder;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::properties::archive;
use crate::steps::{Step, perform, step};
use crate::{apply, is_root, quick_dir, show, snapshot};

/// The property; started in each place by the tests below.
const PROPERTY: &str = "restricted::untouched_it_is_the_base_and_touched_it_is_made_again";
/// Owners, special bits, devices, capabilities and attributes of all kinds.
fn privileged() -> Layer {
    Layer::text(
        r#"
        drwxr-xr-x 0:0 ./ @5
        -rwsr-xr-x 0:0 su "su" @5
        -rwsr-sr-x 7:8 other "x" @5
        -rwxr-sr-x 0:42 group "x" @5 security.ima="\x03\x01\xaa"
        -rw-r----- 0:0 listed "l" @5 system.posix_acl_access="\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x07\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
        -rwxr-xr-x 0:0 ping "p" @5 security.capability="\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        crw-rw---- 0:5 tty 5,0 @5
        brw-rw---- 0:6 disk 8,0 @5
        drwx------ 7:7 home/ @5
        -rw------- 7:7 home/f "f" @5 user.a="1"
        -r-------- 7:7 home/r "r" @5 trusted.b="2"
        dr-xr-x--- 7:0 locked/ @5 user.c=""
        -rw-r--r-- 0:0 locked/in "i" @5
        drwxrwsrwt 3000000:70000 far/ @5
        lrwxrwxrwx 7:7 link -> su @5
        prw-r----- 7:7 pipe @5
        "#,
    )
    .hardlink("su2", "su")
    .hardlink("tty2", "tty")
}

fn plain(blob: &[u8]) -> Vec<u8> {
    let mut tar = vec![];
    Decoder::new(blob).unwrap().read_to_end(&mut tar).unwrap();
    tar
}

fn check(image: &Image, steps: &[Step]) {
    let place = quick_dir();
    let tars: Vec<Vec<u8>> = image.layer_blobs().iter().map(|blob| plain(&blob.bytes)).collect();
    let layers: Vec<&[u8]> = tars.iter().map(Vec::as_slice).collect();
    let base = archive(place.path(), kit::Codec::GZIP, &layers);
    let base = base.to_str().unwrap();
    let dir = |name: &str| {
        let dir = place.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    };
    let tree = dir("tree");
    apply(&tree, &layers);
    let list = |tree: &Path| String::from_utf8(snapshot(tree, base, &["--list"])).unwrap();
    assert_eq!(list(&tree), "", "untouched");
    for step in steps {
        perform(&tree, step);
    }
    let layer = snapshot(&tree, base, &[]);
    let again = dir("again");
    let with_layer: Vec<&[u8]> = layers.iter().copied().chain([layer.as_slice()]).collect();
    apply(&again, &with_layer);
    tree::assert_same(&show(&tree), &show(&again));
    let base = archive(place.path(), kit::Codec::GZIP, &with_layer);
    let rest = snapshot(&again, base.to_str().unwrap(), &["--list"]);
    assert_eq!(String::from_utf8(rest).unwrap(), "", "the new image, untouched");
}

/// Where seeds that failed are kept, and tried first from then on.
const SEEDS: FileFailurePersistence = FileFailurePersistence::Direct("tests/it/restricted.seeds");

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: Some(Box::new(SEEDS)), ..ProptestConfig::default() })]

    #[test]
    fn untouched_it_is_the_base_and_touched_it_is_made_again(
        steps in prop::collection::vec(step(), 0..12),
        seed in 0..40_u64,
    ) {
        check(&Image::new().layer(privileged()), &steps);
        check(&random(seed, 3, 30).layer(Layer::new().dir("./", 0o755)), &steps);
    }
}

#[test]
fn as_root_it_holds_for_a_plain_user() {
    if is_root() {
        run_as_plain_user(PROPERTY, &[]);
    } else {
        kit::peers::skip("a plain user's turn", "it needs root");
    }
}

#[test]
fn as_root_it_holds_for_root_of_a_user_namespace() {
    if is_root() {
        run_as_plain_user(PROPERTY, &["unshare", "--user", "--map-root-user"]);
    } else {
        kit::peers::skip("a namespace's turn", "it needs root");
    }
}

/// Runs the property as uid 0 without this capability.
fn check_without(capability: &str) {
    if is_root() {
        run_with(PROPERTY, &["setpriv", &format!("--bounding-set=-{capability}")]);
    } else {
        kit::peers::skip("uid 0 without capabilities", "it needs root");
    }
}

// What containers drop: podman's default lacks MKNOD, and users drop the others (buildah#3384).

#[test]
fn as_root_it_holds_without_chown() {
    check_without("chown");
}

#[test]
fn as_root_it_holds_without_mknod() {
    check_without("mknod");
}

#[test]
fn as_root_it_holds_without_setfcap() {
    check_without("setfcap");
}

#[test]
fn as_root_it_holds_without_dac_override() {
    check_without("dac_override");
}

#[test]
fn as_root_it_holds_without_fowner() {
    check_without("fowner");
}

#[test]
fn as_root_it_holds_without_fsetid() {
    check_without("fsetid");
}

#[test]
fn as_root_it_holds_without_any_capability() {
    check_without("all");
}

// podman#19132: a file system that holds no attributes.
#[test]
fn as_root_it_holds_on_a_file_system_without_attributes() {
    if !is_root() {
        return kit::peers::skip("a file system without attributes", "it needs root");
    }
    let script = "mount -t ramfs none /dev/shm && exec \"$0\" \"$@\"";
    run_with(PROPERTY, &["unshare", "--mount", "sh", "-c", script]);
}
