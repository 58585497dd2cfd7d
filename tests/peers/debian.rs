//! The image that all tests share: Debian's minimal system, made by mmdebstrap, under the layers of [`crate::layers`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use kit::peers::{root_peer, skip};
use kit::{Codec, Content, Image, Named, Sandbox, archive, digest};
use rustix::fs::{FlockOperation, StatVfs, StatVfsMountFlags, XattrFlags};

use crate::layers;

/// The image's full name.
pub(crate) const NAME: &str = "docker.io/library/debian:12";

/// The image; nothing, with a line that says why, where it cannot be made.
pub(crate) fn image() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    // Asked every time, so that every test that is skipped says so.
    root_peer("mmdebstrap")?;
    IMAGE.get_or_init(make).as_ref()
}

fn make() -> Option<Image> {
    prefer_memory();
    Some(layers::all().into_iter().fold(minimal()?, Image::layer))
}

/// Debian alone, in one layer; nothing, with a line that says why, where it cannot be made.
pub(crate) fn minimal() -> Option<Image> {
    root_peer("mmdebstrap")?;
    let (diff_id, blob) = base()?;
    let image = Image::new().cmd(&["/bin/sh"]).env(&["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    Some(image.layer_blob(&diff_id, blob))
}

/// A file system in memory, on most machines. Where it will do, trees are made there: ext4 takes its time to fill anew what
/// was emptied a minute ago.
const MEMORY: &str = "/dev/shm";

/// From now on trees are made in memory, where that will do.
pub(crate) fn prefer_memory() {
    if is_roomy(Path::new(MEMORY)) {
        // Refused only where something has asked for a temporary directory already; then that stays where it is.
        tempfile::env::override_temp_dir(Path::new(MEMORY)).ok();
    }
}

/// Whether a directory has room for several tests at once and takes whatever a tree has in it.
fn is_roomy(dir: &Path) -> bool {
    let strict = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOEXEC;
    let has_room =
        |it: &StatVfs| it.f_bavail * it.f_frsize >= 4 << 30 && !it.f_flag.intersects(strict);
    // Extended attributes of users came late.
    let takes_attributes = |file: &tempfile::NamedTempFile| {
        rustix::fs::fsetxattr(file, "user.kit", b"1", XattrFlags::empty()).is_ok()
    };
    rustix::fs::statvfs(dir).is_ok_and(|it| has_room(&it))
        && tempfile::NamedTempFile::new_in(dir).is_ok_and(|file| takes_attributes(&file))
}

/// The image under its full name, for archives.
pub(crate) fn named(image: &Image) -> Named {
    Named::new(NAME, image)
}

/// Writes an image as an OCI layout `in`, named `debian`, where programs of the sandbox start.
pub(crate) fn layout(sandbox: &Sandbox, content: impl Into<Content>) {
    archive::layout(sandbox.path("in"), &[Named::new("debian", content)]);
}

/// The base layer's diff id and its blob.
fn base() -> Option<(String, Vec<u8>)> {
    let base = kept("bookworm-minbase-3", |dir| {
        let tar = bootstrap()?;
        std::fs::write(dir.join("diff-id"), digest(&tar)).expect("the fixture can be made");
        let blob = Codec::GZIP.encode(&tar);
        std::fs::write(dir.join("tar.gz"), blob).expect("the fixture can be made");
        Some(())
    })?;
    let id = std::fs::read_to_string(base.join("diff-id")).expect("the fixture can be made");
    Some((id, std::fs::read(base.join("tar.gz")).expect("the fixture can be made")))
}

/// A directory that is filled once, by whichever test asks first, and kept beside the build.
pub(crate) fn kept(name: &str, fill: impl FnOnce(&Path) -> Option<()>) -> Option<PathBuf> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(parent).expect("the fixture can be made");
    let lock = File::create(parent.join(format!("{name}.lock"))).expect("the fixture can be made");
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).expect("the fixture can be made");
    let dir = parent.join(name);
    if !dir.is_dir() {
        let part = tempfile::tempdir_in(parent).expect("the fixture can be made");
        fill(part.path())?;
        std::fs::rename(part.path(), &dir).expect("the fixture can be made");
    }
    Some(dir)
}

/// What Debian runs without: most of its files, which would only make every test slower.
const WITHOUT: &str = "cd \"$1\" && rm -rf usr/lib/*/gconv usr/lib/*/perl* usr/share/perl* \
                       usr/share/doc/* usr/share/locale/* usr/share/man/* usr/share/zoneinfo/*";

/// Extracts a package of some Debian, and all that it needs, into a directory; nothing is configured.
pub(crate) fn extract(suite: &str, package: &str, dir: &Path) -> Option<()> {
    let include = format!("--include={package}");
    mmdebstrap(&Sandbox::new(), &["--variant=extract", &include, suite], dir)
}

/// Makes a root of some Debian with a package that is ready to run.
pub(crate) fn install(suite: &str, package: &str, dir: &Path) -> Option<()> {
    let include = format!("--include={package},ca-certificates");
    mmdebstrap(&Sandbox::new(), &["--variant=apt", &include, suite], dir)
}

/// Debian's files as a tar by mmdebstrap, from wherever this machine's apt gets its packages.
fn bootstrap() -> Option<Vec<u8>> {
    let sandbox = Sandbox::new();
    let hook = format!("--customize-hook={WITHOUT}");
    mmdebstrap(&sandbox, &["--variant=minbase", &hook, "bookworm"], Path::new("base.tar"))?;
    Some(sandbox.read("base.tar"))
}

fn mmdebstrap(sandbox: &Sandbox, args: &[&str], target: &Path) -> Option<()> {
    let program = root_peer("mmdebstrap")?.program(sandbox);
    // What a mirror of the past has is as good as new.
    let any_age = "--aptopt=Acquire::Check-Valid-Until \"false\"";
    // The files keep their times.
    let program = program.env_remove("SOURCE_DATE_EPOCH").arg(any_age).args(args).arg(target);
    let output = program.patience(Duration::from_secs(300)).run();
    if output.code() != 0 {
        skip("mmdebstrap makes no Debian", output.stderr.trim_end());
        return None;
    }
    Some(())
}
