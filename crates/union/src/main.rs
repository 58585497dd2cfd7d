//! The `union` command; everything is in the library beside it.

fn main() -> std::process::ExitCode {
    // A user namespace can be entered by a process with one thread only, so before all else.
    union::enter().map_or_else(|| cli::main(union::run), std::process::ExitCode::from)
}
