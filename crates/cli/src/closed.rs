//! Which standard streams were closed when the program began.
//!
//! Rust's runtime opens /dev/null in the place of a standard stream that is closed, before `main`. From then on nobody can
//! tell whether data that is written there was wanted, or whether an input was empty. So it is looked up before the runtime
//! begins.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_INPUT_CLOSED: AtomicBool = AtomicBool::new(false);
static IS_OUTPUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Run by the loader. It must do without anything of the runtime's: it makes two system calls, and sets two flags.
#[used]
#[expect(unsafe_code, reason = "only a function that the loader calls comes before the runtime")]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdin()).is_err();
    IS_INPUT_CLOSED.store(is_closed, Ordering::Relaxed);
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    IS_OUTPUT_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Whether there was no standard input.
pub(crate) fn is_input_closed() -> bool {
    IS_INPUT_CLOSED.load(Ordering::Relaxed)
}

/// Whether there was no standard output.
pub(crate) fn is_output_closed() -> bool {
    IS_OUTPUT_CLOSED.load(Ordering::Relaxed)
}
