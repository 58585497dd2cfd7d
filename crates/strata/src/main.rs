//! The `strata` command; everything is in the library beside it.

fn main() -> std::process::ExitCode {
    strata::main()
}
