//! The mount call of kernels before 6.5, which takes all layers in one string of options.
//!
//! It mounts on a path, but other processes must not see a mount that isn't in its place yet. So a thread with a mount namespace
//! of its own calls it. The thread also has a working directory of its own, so that the paths in the string are short.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::Builder;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, OpenTreeFlags, mount as mount_path, mount_change, open_tree,
};
use rustix::thread::UnshareFlags;

use super::spec::{Control, Overlay, PLAIN, path_of};
use crate::error::Error;

/// The most bytes of options that the kernel takes: a page without the zero at its end.
const MAX_OPTIONS: usize = 4095;

/// The arguments of the call.
struct LegacyMount {
    /// The directory that the paths in the options are relative to.
    base: PathBuf,
    /// A directory to mount on.
    point: PathBuf,
    source: String,
    options: CString,
    flags: MountFlags,
}

/// Mounts an overlay, and gives a descriptor of the mount, which is attached to no path.
pub(super) fn mount(overlay: &Overlay<'_>) -> Result<OwnedFd, Error> {
    let failed = |errno| Error::mount(errno, None);
    let call = LegacyMount::of(overlay).map_err(failed)?;
    let call = call.ok_or(Error::TooManyLayers {
        n_layers: overlay.lowers.len(),
        most: overlay.lowers.len() - 1,
    })?;
    let thread = Builder::new().spawn(move || call.carry_out());
    let started = |error| failed(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN));
    let thread = thread.map_err(started)?;
    match thread.join() {
        Ok(mounted) => mounted.map_err(failed),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl LegacyMount {
    /// `None` if the options don't fit into a page.
    fn of(overlay: &Overlay<'_>) -> rustix::io::Result<Option<Self>> {
        let lowers: Vec<_> =
            overlay.lowers.iter().map(path_of).collect::<rustix::io::Result<Vec<_>>>()?;
        let base = common(&lowers);
        let mut options = Vec::new();
        if overlay.control == Control::User {
            options.extend_from_slice(b"userxattr,");
        }
        for (key, value) in PLAIN {
            options.extend_from_slice(format!("{key}={value},").as_bytes());
        }
        options.extend_from_slice(b"lowerdir=");
        for (position, lower) in lowers.iter().enumerate() {
            if position > 0 {
                options.push(b':');
            }
            add_path(&mut options, lower.strip_prefix(&base).unwrap_or(lower));
        }
        if let Some(upper) = overlay.upper {
            for (key, dir) in [("upperdir", upper.dir), ("workdir", upper.work)] {
                options.extend_from_slice(format!(",{key}=").as_bytes());
                add_path(&mut options, &path_of(dir)?);
            }
        }
        if options.len() > MAX_OPTIONS {
            return Ok(None);
        }
        let flags = if overlay.upper.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        let point = lowers.first().cloned().ok_or(Errno::INVAL)?;
        Ok(Some(Self { base, point, source: overlay.source.to_owned(), options, flags }))
    }

    /// Mounts it in a mount namespace of this thread.
    fn carry_out(&self) -> rustix::io::Result<OwnedFd> {
        #[expect(deprecated, reason = "only a table of files that is split in two is unsafe")]
        rustix::thread::unshare(UnshareFlags::NEWNS)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        rustix::process::chdir(&self.base)?;
        mount_path(
            self.source.as_str(),
            &self.point,
            "overlay",
            self.flags,
            self.options.as_c_str(),
        )?;
        open_tree(
            CWD,
            &self.point,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
    }
}

/// The deepest directory that all of the paths are in.
fn common(paths: &[PathBuf]) -> PathBuf {
    let first = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("/"));
    let is_above_all =
        |base: &&Path| paths.iter().all(|path| path.starts_with(base) && path != base);
    first.ancestors().find(is_above_all).unwrap_or(Path::new("/")).to_owned()
}

/// Adds a path, with a backslash before each character that would end it.
fn add_path(options: &mut Vec<u8>, path: &Path) {
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            options.push(b'\\');
        }
        options.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{AtFlags, Mode};

    use super::*;
    use crate::overlay::WritableLayer;
    use crate::root::Root;

    #[test]
    fn names_are_relative_to_what_all_have_in_common() {
        let check = |paths: &[&str], expected: &str| {
            let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
            assert_eq!(common(&paths), Path::new(expected));
        };
        check(&["/a/b/c", "/a/b/d"], "/a/b");
        check(&["/a/b/c", "/a/bc/d"], "/a");
        check(&["/a", "/b"], "/");
        check(&["/a/b", "/a/b/c"], "/a");
    }

    #[test]
    fn what_ends_a_path_is_escaped() {
        let mut options = vec![];
        add_path(&mut options, Path::new(r"a:b,c\d"));
        assert_eq!(options, br"a\:b\,c\\d");
    }

    #[test]
    fn options_may_fill_a_page_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let root = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            Root::open(&path).unwrap()
        };
        let mut lowers: Vec<_> =
            ('a'..='o').map(|name| root(&name.to_string().repeat(255))).collect();
        let fits = |lowers: &[Root]| {
            let overlay =
                Overlay { source: "test", lowers, upper: None, control: Control::Trusted };
            LegacyMount::of(&overlay).unwrap()
        };
        let n_before = fits(&lowers).unwrap().options.as_bytes().len();
        // What is left of 4,095 bytes, after a colon.
        let left = 4095 - n_before - 1;
        lowers.push(root(&"p".repeat(left)));
        assert_eq!(fits(&lowers).unwrap().options.as_bytes().len(), 4095);
        *lowers.last_mut().unwrap() = root(&"p".repeat(left + 1));
        assert!(fits(&lowers).is_none());
    }

    #[test]
    fn as_root_the_old_call_mounts_what_the_new_one_does() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = |name: &str| {
            let path = dir.path().join(name);
            rustix::fs::mkdirat(CWD, &path, Mode::RWXU).unwrap();
            Root::open(&path).unwrap()
        };
        let (top, bottom, upper, work) = (root("a:b"), root("c,d"), root("up"), root("work"));
        for (layer, name) in [(&top, "top"), (&bottom, "bottom")] {
            rustix::fs::mkdirat(layer, name, Mode::RWXU).unwrap();
        }
        let lowers = [top, bottom];
        let writable = WritableLayer { dir: &upper, work: &work };
        let mut overlay =
            Overlay { source: "test", lowers: &lowers, upper: None, control: Control::Trusted };
        let make = |overlay: &Overlay<'_>| {
            let mounted = mount(overlay).unwrap();
            let has = |name: &str| rustix::fs::statat(&mounted, name, AtFlags::empty()).is_ok();
            assert!(has("top") && has("bottom"));
            rustix::fs::mkdirat(&mounted, "new", Mode::RWXU)
        };
        assert_eq!(make(&overlay), Err(Errno::ROFS));
        overlay.upper = Some(writable);
        assert_eq!(make(&overlay), Ok(()));
        assert!(rustix::fs::statat(&upper, "new", AtFlags::empty()).is_ok());
    }
}
