//! Exit statuses of a union for a command: the command's own, and for what goes wrong before it those of env(1).

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use cli::text::clean_path;

/// The exit status of errors before the command has begun.
pub(crate) const OURS: u8 = 125;
/// The exit status if the command can't be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The exit status if there is no such command.
const NOT_FOUND: u8 = 127;

/// Reports why a command can't be executed, and returns the exit status for it.
pub(crate) fn report(program: &OsStr, error: io::Error) -> u8 {
    let status = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let program = clean_path(Path::new(program));
    cli::error::report("union", &anyhow::Error::new(error).context(program));
    status
}
