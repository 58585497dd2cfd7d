//! Whether standard output was closed when the program began.
//!
//! Rust's runtime opens /dev/null in the place of a standard stream that is closed, before `main`, and from then on nobody
//! can tell whether data that is written there was wanted. So it is looked up before the runtime begins.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Run by the loader. It must do without anything of the runtime's: it makes one system call, and sets a flag.
#[used]
#[expect(unsafe_code, reason = "only a function that the loader calls comes before the runtime")]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    IS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Whether there is no standard output.
pub(crate) fn is_output_closed() -> bool {
    IS_CLOSED.load(Ordering::Relaxed)
}
