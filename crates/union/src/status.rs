//! Exit statuses of a union for a command: the command's own, and for what goes wrong before it those of env(1).

use std::io;

/// The exit status of errors before the command has begun.
pub(crate) const OURS: u8 = 125;
/// The exit status if the command can't be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The exit status if there is no such command.
const NOT_FOUND: u8 = 127;

/// The exit status for an error of executing a command.
pub(crate) fn of_error(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}
