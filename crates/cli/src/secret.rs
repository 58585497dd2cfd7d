//! Questions on the terminal: a name, and a password that isn't shown.
//!
//! The terminal is asked itself, whatever the standard streams are. While a password is typed its echo is off; a guard
//! turns it on again, also where a signal ends the question.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::{Failure, usage};
use crate::input::Input;

/// The most bytes that an answer may have.
const LIMIT: usize = 64 << 10;

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It is.
    On,
    /// It isn't: it is a password.
    Off,
}

/// Asks for a line on the terminal that the program runs on. Returns it without its end.
///
/// # Errors
/// Wrong usage if there is no terminal; [`Interrupted`](crate::Interrupted) after a signal; that the answer was empty.
pub fn ask(question: &str, echo: Echo) -> anyhow::Result<String> {
    let mut terminal = open().map_err(|_| no_terminal(question))?;
    let silence = match echo {
        Echo::On => None,
        Echo::Off => Some(Silence::begin(&terminal).context("turning off the terminal's echo")?),
    };
    write!(terminal, "{question}: ").context("writing to the terminal")?;
    let reading = terminal.try_clone().context("opening the terminal")?;
    let answer = read_line(Input::terminal(reading));
    if silence.is_some() {
        // The end of the line that wasn't shown.
        writeln!(terminal).context("writing to the terminal")?;
    }
    drop(silence);
    answer
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

fn no_terminal(question: &str) -> Failure {
    usage(format!("there is no terminal to ask on: {}", question.to_lowercase()))
}

/// Reads up to the end of a line. A terminal gives a line at a time.
fn read_line(mut input: Input) -> anyhow::Result<String> {
    let mut line = vec![];
    let mut byte = [0];
    while line.len() < LIMIT {
        if input.read(&mut byte).context("reading from the terminal")? == 0 {
            break;
        }
        if byte == *b"\n" {
            let text = String::from_utf8(line).context("reading from the terminal")?;
            return Ok(text.trim_end_matches('\r').to_owned());
        }
        line.push(byte[0]);
    }
    Err(usage("the answer was empty").into())
}

/// A terminal without echo; dropped, it has its modes again.
struct Silence {
    terminal: File,
    modes: Termios,
}

impl Silence {
    fn begin(terminal: &File) -> io::Result<Self> {
        let modes = tcgetattr(terminal)?;
        let silence = Self { terminal: terminal.try_clone()?, modes: modes.clone() };
        let mut silent = modes;
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nobody to tell; the shell sets the modes too.
        tcsetattr(&self.terminal, OptionalActions::Now, &self.modes).ok();
    }
}
