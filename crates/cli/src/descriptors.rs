//! The descriptors of the standard streams: whether they were open, copies of them, and what kind of file they are open on.
//!
//! Rust's runtime opens /dev/null in the place of a standard stream that is closed, before `main`. From then on nothing
//! tells whether data that is written there was wanted, or whether an input was empty. So it is looked up before the
//! runtime begins.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;
use rustix::io::Errno;

static IS_INPUT_CLOSED: AtomicBool = AtomicBool::new(false);
static IS_OUTPUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Run by the loader. It must do without anything of the runtime's: it makes two system calls, and sets two flags.
#[used]
#[expect(unsafe_code, reason = "only a function that the loader calls comes before the runtime")]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdin()).is_err();
    IS_INPUT_CLOSED.store(is_closed, Ordering::Relaxed);
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    IS_OUTPUT_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// A copy of the descriptor of standard input.
///
/// # Errors
/// `EBADF` if it was closed when the program began, `EMFILE` if there are no more descriptors.
pub(crate) fn duplicate_stdin() -> rustix::io::Result<OwnedFd> {
    if IS_INPUT_CLOSED.load(Ordering::Relaxed) {
        return Err(Errno::BADF);
    }
    rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 0)
}

/// A copy of the descriptor of standard output; its errors are those of [`duplicate_stdin`].
pub(crate) fn duplicate_stdout() -> rustix::io::Result<OwnedFd> {
    if IS_OUTPUT_CLOSED.load(Ordering::Relaxed) {
        return Err(Errno::BADF);
    }
    rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 0)
}

/// The kind of file that a descriptor is open on; `Unknown` if it can't be told.
pub(crate) fn file_type(file: &File) -> FileType {
    rustix::fs::fstat(file).map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode))
}
