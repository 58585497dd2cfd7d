//! What a command is, on a terminal: streams, progress, errors, signals, exit codes.
//!
//! Every program of the workspace is a function `run(&Args, &mut Io) -> anyhow::Result<()>`, and its `main.rs` is one call
//! of [`main()`]:
//!
//! ```
//! use std::io::{Read as _, Write as _};
//! use std::process::ExitCode;
//!
//! use anyhow::Context as _;
//! use cli::{Command, Common, Io};
//! use report::Look;
//!
//! /// Turn standard input into capital letters
//! #[derive(clap::Parser)]
//! #[command(name = "shout")]
//! struct Args {
//!     #[command(flatten)]
//!     common: Common,
//! }
//!
//! impl Command for Args {
//!     const ERRORS: &'static [Look] = &[];
//!
//!     fn common(&self) -> &Common {
//!         &self.common
//!     }
//! }
//!
//! fn run(_: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
//!     let mut text = String::new();
//!     io.input.read_to_string(&mut text).context("no text")?;
//!     io.output.write_all(text.to_uppercase().as_bytes())?;
//!     io.say("done");
//!     Ok(())
//! }
//!
//! # #[expect(dead_code, reason = "it would take the arguments of the test")]
//! fn main() -> ExitCode {
//!     cli::main(run)
//! }
//! # let args = <Args as clap::Parser>::parse_from(["shout"]);
//! # let mut io = Io::memory("a");
//! # run(&args, &mut io).unwrap();
//! # assert_eq!((io.written(), io.talk()), (b"A".to_vec(), "done\n".to_owned()));
//! ```
//!
//! What `run` may take for granted:
//!
//! - [`Io`] holds the two streams and the progress. Data goes to `io.output`, talk to standard error.
//! - An error is returned, never printed. [`Failure`] and [`Explain`] give it an exit code and hints; [`error`] tells how
//!   it is reported.
//! - INT, TERM and HUP end reads of the input with an error, so that `run` unwinds and its `Drop` guards clean up;
//!   [`interrupt`] tells more.
//!
//! This crate doesn't know what an image is. Its modules stand on those below them, and on no others:
//!
//! ```text
//! run                                     the frame: main()
//! testing  network
//! paths                                   which paths of an image are wanted
//! io                                      the streams of a run, together
//! secret  lines                           questions on the terminal; lists in files
//! output  whole_file  input  plan         streams; what a run would do
//! progress/  send
//! interrupt/  limits  glob                signals; values of options
//! error/  list                            how an error becomes a line and a status; lists
//! stderr  json
//! text  size  order  options  captured  descriptors
//! ```

mod captured;
mod descriptors;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
pub mod error;
mod glob;
mod input;
pub mod interrupt;
mod io;
mod json;
mod limits;
mod lines;
#[cfg(target_os = "linux")]
mod linux;
mod list;
mod options;
pub mod order;
mod output;
mod paths;
mod plan;
mod progress;
mod run;
mod secret;
mod send;
mod size;
mod stderr;
mod testing;
pub mod text;
mod whole_file;

pub use crate::error::{Code, Explain, Failure, Link, silent, usage};
pub use crate::glob::{Globs, has_open_class, match_text};
pub use crate::input::Input;
pub use crate::interrupt::Interrupted;
pub use crate::io::{Io, NamedOutput};
pub use crate::limits::{Limits, check_size};
pub use crate::lines::{Listed, read_lists};
pub use crate::list::{Array, Columns, Form, Table, put_bytes};
pub use crate::options::{Common, When, examples, parse_annotation};
pub use crate::output::Output;
pub use crate::paths::{Paths, Selection};
pub use crate::plan::{Action, Plan, Step};
pub use crate::progress::{Counted, ImageEvent, Meter, Progress, Task};
pub use crate::run::{Command, main};
pub use crate::secret::{Echo, ask};
pub use crate::size::{human_size, parse_size};
pub use crate::text::counted;
pub use crate::whole_file::WholeFile;

#[cfg(not(target_os = "linux"))]
use crate::elsewhere as system;
#[cfg(target_os = "linux")]
use crate::linux as system;
