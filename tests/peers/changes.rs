//! `changes` finds nothing between an image and what others make of it, and what rsync finds between two directories.

use kit::peers::root_peer;
use kit::{Named, Producer, Sandbox, pipeline};

use crate::debian;

/// A sandbox with the image in the file `image`.
fn sandbox() -> Option<Sandbox> {
    let image = debian::image()?;
    let sandbox = Sandbox::new();
    sandbox.write("image", Producer::Strata.write(&[Named::new("debian:12", image)]));
    Some(sandbox)
}

#[test]
fn as_root_an_image_is_what_umoci_unpacks() {
    let (Some(umoci), Some(sandbox)) = (root_peer("umoci"), sandbox()) else { return };
    debian::layout(&sandbox, debian::image().expect("it was there before"));
    umoci.program(&sandbox).args(["raw", "unpack", "--image", "in:debian", "root"]).run().success();
    let output =
        pipeline::sh(&sandbox, "changes ./image ./root && changes --checksum ./root ./image");
    assert_eq!(output.success().out(), "");
}

#[test]
fn as_root_what_dpkg_removes_is_what_rsync_finds() {
    let (Some(rsync), Some(sandbox)) = (root_peer("rsync"), sandbox()) else { return };
    let script = "unpack --from ./image root && cp -a root before && PATH=/usr/sbin:/sbin:$PATH chroot root /usr/bin/dpkg --purge --force-all mawk \
        && echo more >> root/etc/hosts && ln -f root/etc/hosts root/etc/hosts2 && chmod g+w root/etc/fstab root/etc/passwd";
    pipeline::sh(&sandbox, script).success();
    // Its words for a path end with the path, a directory's with a slash.
    let script = format!(
        "{} -aHAXn --delete --itemize-changes root/ before/ | sed -e 's,^[^ ]* *,,' -e 's, [-=]> .*,,' -e 's,/$,,' \
        | sort > theirs; changes ./before ./root | sed -e 's,^. ,,' -e 's,  .*,,' | sort > ours; \
         diff theirs ours && (($(wc -l < ours) > 20))",
        rsync.path().display()
    );
    let output = pipeline::sh(&sandbox, &script);
    assert_eq!(output.success().out(), "");
}
