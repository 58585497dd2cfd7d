//! An OCI runtime bundle (runtime-spec, bundle.md): the files in `rootfs`, and a `config.json` that says how to run them.

mod settings;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;

use anyhow::Context as _;
use cli::{Code, Failure, Io};
use image::User;
use rootfs::{IdMaps, Root};
use rustix::fs::{Mode, OFlags, fchmod, mkdirat, openat};
use rustix::process::{getegid, geteuid};
use stream::archive::Image;

pub(crate) use self::settings::ROOTFS;
use self::settings::Runner;

/// The name of a bundle's configuration.
const CONFIG: &str = "config.json";

/// Makes the directory for the root file system, with mode 0755.
pub(crate) fn rootfs(bundle: &Root) -> anyhow::Result<Root> {
    let make = || {
        mkdirat(bundle, ROOTFS, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(bundle, ROOTFS, flags, Mode::empty())?;
        // The umask may have taken bits of the mode.
        fchmod(&directory, Mode::from_raw_mode(0o755))?;
        Ok::<_, rustix::io::Errno>(directory)
    };
    Ok(Root::from_fd(make().context("making the bundle's rootfs")?))
}

/// Writes `config.json`, once the root file system is there: the user is looked up in it.
///
/// # Errors
/// [`cli::Code::Untrusted`], if the image's user isn't in it; the system's.
pub(crate) fn write(
    bundle: &Root,
    rootfs: &Root,
    image: &Image,
    ids: Option<&IdMaps>,
    io: &Io<'_>,
) -> anyhow::Result<()> {
    let run = image.config.run()?;
    let mut user = User::find(&run.user, rootfs)?.ok_or_else(|| {
        let name = cli::text::clean(&run.user);
        let message = format!("the image's user {name} is not in its /etc/passwd and /etc/group");
        Failure::new(Code::Untrusted, message)
    })?;
    let runner = match ids {
        Some(ids) => Runner::Mapped(ids.clone()),
        None => Runner::new(geteuid().as_raw(), getegid().as_raw()),
    };
    if runner.maps_one_id() && user.uid != 0 {
        io.warn(&format!("the image's user {} is root in a bundle of a plain user", run.user));
        user = User::root();
    }
    let settings = settings::of(image, &run, &user, &runner, |path| {
        // If that can't be found out, the image's content isn't hidden by a mount.
        rootfs.has(path).unwrap_or(true)
    });
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(bundle.as_fd(), CONFIG, flags, Mode::from_raw_mode(0o644));
    let mut file = File::from(file.context("making config.json")?);
    let text = serde_json::to_string_pretty(&settings).context("making config.json")?;
    writeln!(file, "{text}").context("writing config.json")
}
