//! The mount call of kernels before 6.5, which takes all layers in one string of options. Kernels before 5.2, and filters that
//! don't know the newer calls, have no other.
//!
//! It mounts on a path, but other processes must not see a mount that isn't in its place yet. So a thread with a mount namespace
//! of its own calls it. The thread also has a working directory of its own, so that the paths in the string are short.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::Builder;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount as mount_path,
    mount_change, open_tree, unmount,
};
use rustix::thread::UnshareFlags;

use super::spec::{Control, Overlay, PLAIN, path_of};
use crate::error::Error;
use crate::root::Root;

/// The most bytes of options that the kernel takes: a page without the zero at its end.
const MAX_OPTIONS: usize = 4095;

/// The option that Linux 4.19 was the first to know.
const NEWEST_OPTION: &str = "metacopy";

/// Whether an answer to a newer call is that of a kernel that hasn't it, or of a filter that doesn't know it.
pub(super) fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM)
}

/// The arguments of the call.
#[derive(Debug)]
pub(super) struct LegacyMount {
    /// The directory that the paths in the options are relative to.
    base: PathBuf,
    /// A directory to mount on.
    point: PathBuf,
    source: String,
    options: CString,
    /// The same for kernels that don't know all of them.
    fewer_options: CString,
    flags: MountFlags,
}

impl LegacyMount {
    /// # Errors
    /// [`Error::TooManyLayers`] if the options don't fit into a page.
    pub(super) fn of(overlay: &Overlay<'_>) -> Result<Self, Error> {
        Self::parse(overlay).map_err(|errno| Error::mount(errno, None))?.ok_or(
            Error::TooManyLayers { n_layers: overlay.lowers.len(), most: overlay.lowers.len() - 1 },
        )
    }

    /// `None` if the options don't fit into a page.
    fn parse(overlay: &Overlay<'_>) -> rustix::io::Result<Option<Self>> {
        let lowers: Vec<_> =
            overlay.lowers.iter().map(path_of).collect::<rustix::io::Result<Vec<_>>>()?;
        let base = common(&lowers);
        let mut directories = b"lowerdir=".to_vec();
        for (position, lower) in lowers.iter().enumerate() {
            if position > 0 {
                directories.push(b':');
            }
            add_path(&mut directories, lower.strip_prefix(&base).unwrap_or(lower));
        }
        if let Some(upper) = overlay.upper {
            for (key, dir) in [("upperdir", upper.dir), ("workdir", upper.work)] {
                directories.extend_from_slice(format!(",{key}=").as_bytes());
                add_path(&mut directories, &path_of(dir)?);
            }
        }
        let options = |is_known: fn(&str) -> bool| {
            let control = if overlay.control == Control::User { "userxattr," } else { "" };
            let plain = PLAIN.iter().filter(|(key, _)| is_known(key));
            let plain: String = plain.flat_map(|&(key, value)| [key, "=", value, ","]).collect();
            [control.as_bytes(), plain.as_bytes(), &directories].concat()
        };
        let (all, fewer) = (options(|_| true), options(|key| key != NEWEST_OPTION));
        if all.len() > MAX_OPTIONS {
            return Ok(None);
        }
        let flags = if overlay.upper.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
        Ok(Some(Self {
            base,
            point: lowers.first().cloned().ok_or(Errno::INVAL)?,
            source: overlay.source.to_owned(),
            options: CString::new(all).map_err(|_| Errno::INVAL)?,
            fewer_options: CString::new(fewer).map_err(|_| Errno::INVAL)?,
            flags,
        }))
    }

    /// Mounts it where nobody else sees it, and gives a descriptor of the mount, or of its root directory: then it can't be
    /// attached to a path, and lasts as long as something in it is open.
    pub(super) fn mount(&self) -> Result<OwnedFd, Error> {
        in_thread(|| {
            enter_namespace()?;
            self.call(&self.point)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let fd = match open_tree(CWD, &self.point, flags) {
                Err(errno) if is_missing(errno) => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    rustix::fs::openat(CWD, &self.point, flags, Mode::empty())
                }
                tree => tree,
            }?;
            // The namespace ends some time after the thread, and until then the upper directory would be in use.
            unmount(&self.point, UnmountFlags::DETACH)?;
            Ok(fd)
        })
    }

    /// Mounts it on a path, for all who see this process's mounts.
    pub(super) fn mount_on(&self, path: &Path) -> Result<(), Error> {
        let failed =
            |error| Error::mount(Errno::from_io_error(&error).unwrap_or(Errno::NOENT), None);
        let path = std::path::absolute(path).map_err(failed)?;
        in_thread(|| {
            unshare(UnshareFlags::FS)?;
            self.call(&path)
        })
    }

    fn call(&self, point: &Path) -> rustix::io::Result<()> {
        rustix::process::chdir(&self.base)?;
        let mount = |options: &CString| {
            mount_path(self.source.as_str(), point, "overlay", self.flags, options.as_c_str())
        };
        match mount(&self.options) {
            Err(Errno::INVAL) => mount(&self.fewer_options),
            mounted => mounted,
        }
    }
}

/// Asks for an overlay whose upper directory is its working directory, as the newer calls do in
/// [`is_upper_in_use`](super::is_upper_in_use).
pub(super) fn mount_onto_itself(dir: &Root) -> Result<(), Error> {
    let failed = |errno| Error::mount(errno, None);
    // The kernel takes no directory of another mount namespace, as an open one is.
    let path = path_of(dir).map_err(failed)?;
    let mut options = b"index=on,lowerdir=/".to_vec();
    for key in ["upperdir", "workdir"] {
        options.extend_from_slice(format!(",{key}=").as_bytes());
        add_path(&mut options, &path);
    }
    let options = CString::new(options).map_err(|_| failed(Errno::INVAL))?;
    in_thread(|| {
        enter_namespace()?;
        mount_path("none", "/", "overlay", MountFlags::empty(), options.as_c_str())
    })
}

/// Does something in a thread, which is alone in what it unshares.
fn in_thread<T: Send>(work: impl FnOnce() -> rustix::io::Result<T> + Send) -> Result<T, Error> {
    let failed = |errno| Error::mount(errno, None);
    let started = |error| failed(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN));
    std::thread::scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, work).map_err(started)?;
        match thread.join() {
            Ok(done) => done.map_err(failed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Enters a mount namespace that ends with this thread, and whose mounts nobody else sees.
fn enter_namespace() -> rustix::io::Result<()> {
    unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    #[expect(deprecated, reason = "only a table of files that is split in two is unsafe")]
    rustix::thread::unshare(flags)
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
    use rustix::fs::AtFlags;

    use super::*;
    use crate::overlay::WritableLayer;

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
            rustix::fs::mkdir(&path, Mode::RWXU).unwrap();
            Root::open(&path).unwrap()
        };
        let mut lowers: Vec<_> =
            ('a'..='o').map(|name| root(&name.to_string().repeat(255))).collect();
        let fits = |lowers: &[Root]| {
            let overlay =
                Overlay { source: "test", lowers, upper: None, control: Control::Trusted };
            LegacyMount::parse(&overlay).unwrap()
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
            let mounted = LegacyMount::of(overlay).unwrap().mount().unwrap();
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
