//! The image that all tests share: Debian's minimal system, made by mmdebstrap, under the layers of [`crate::layers`].

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use flate2::read::GzDecoder;
use kit::peers::{root_peer, skip};
use kit::{Codec, Image, Named, Sandbox, archive, digest};
use rustix::fs::FlockOperation;

use crate::layers;

/// The image; nothing, with a line that says why, where it cannot be made.
pub(crate) fn image() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    // Asked every time, so that every test that is skipped says so.
    root_peer("mmdebstrap")?;
    IMAGE.get_or_init(make).as_ref()
}

fn make() -> Option<Image> {
    let (diff_id, blob) = base()?;
    let image = Image::new()
        .cmd(&["/bin/sh"])
        .env(&["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
        .layer_blob(&diff_id, blob);
    Some(layers::all().into_iter().fold(image, Image::layer))
}

/// Writes the image as an OCI layout `in`, named `debian`, where programs of the sandbox start.
pub(crate) fn layout(sandbox: &Sandbox, image: &Image) {
    archive::layout(sandbox.path("in"), &[Named::new("debian", image)]);
}

/// The base layer's diff id and its blob.
fn base() -> Option<(String, Vec<u8>)> {
    let blob = kept("bookworm-minbase-1.tar.gz", bootstrap)?;
    let id = kept("bookworm-minbase-1.diff-id", |path| {
        let mut tar = Vec::new();
        GzDecoder::new(blob.as_slice()).read_to_end(&mut tar).expect("the fixture can be made");
        std::fs::write(path, digest(&tar)).expect("the fixture can be made");
        Some(())
    })?;
    Some((String::from_utf8(id).expect("the fixture can be made"), blob))
}

/// The content of a file that is made once, whoever asks first, and kept beside the build.
pub(crate) fn kept(name: &str, make: impl FnOnce(&Path) -> Option<()>) -> Option<Vec<u8>> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(dir).expect("the fixture can be made");
    let lock = File::create(dir.join(name.to_owned() + ".lock")).expect("the fixture can be made");
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).expect("the fixture can be made");
    let path = dir.join(name);
    if !path.is_file() {
        let part = dir.join(name.to_owned() + ".part");
        make(&part)?;
        std::fs::rename(&part, &path).expect("the fixture can be made");
    }
    Some(std::fs::read(&path).expect("the fixture can be made"))
}

/// Lets mmdebstrap make the base, from wherever this machine's apt gets its packages.
fn bootstrap(path: &Path) -> Option<()> {
    let sandbox = Sandbox::new();
    // Documentation is a third of the bytes and none of the meaning.
    let without =
        ["doc", "locale", "man"].map(|dir| format!("--dpkgopt=path-exclude=/usr/share/{dir}/*"));
    let output = root_peer("mmdebstrap")?
        .program(&sandbox)
        // The files keep their times.
        .env_remove("SOURCE_DATE_EPOCH")
        .arg("--variant=minbase")
        .args(&without)
        .args(["bookworm", "base.tar"])
        .patience(Duration::from_mins(5))
        .run();
    if output.code() != 0 {
        skip("mmdebstrap makes no Debian", output.stderr.trim_end());
        return None;
    }
    std::fs::write(path, Codec::GZIP.encode(&sandbox.read("base.tar")))
        .expect("the fixture can be made");
    Some(())
}
