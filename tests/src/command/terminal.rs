//! A terminal for programs, and what it shows.
//!
//! A pseudo-terminal of a size that can change, and an emulator that obeys what is written to it. What the programs said is
//! judged as a person sees it: by the rows of the screen and those that were scrolled away, not by escape sequences.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::output::shell_status;
use super::program::Program;
use crate::or_panic::OrPanic as _;

/// The rows that are remembered when they are scrolled away.
const SCROLLBACK: usize = 10_000;

/// The size of a terminal in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The cells of a row.
    pub columns: u16,
    /// The rows that are seen at once.
    pub rows: u16,
}

impl Size {
    /// The usual one.
    pub const USUAL: Self = Self { columns: 80, rows: 24 };

    fn cells(self) -> (NonZeroU16, NonZeroU16) {
        let number = |n| NonZeroU16::new(n).or_panic("a terminal has rows and columns");
        (number(self.rows), number(self.columns))
    }

    fn winsize(self) -> Winsize {
        Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// The emulator, and a bell for whoever waits for a change of what it shows.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

struct State {
    parser: vt100::Parser,
    raw: Vec<u8>,
    is_over: bool,
}

/// A program, or a script with several, under way on a terminal.
#[must_use]
#[derive(Debug)]
pub struct OnTerminal {
    child: Child,
    master: File,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    shown: String,
    end: Instant,
}

/// How a run on a terminal ended.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The exit status, as a shell gives it.
    pub code: i32,
    /// All rows, those that were scrolled away first. Blanks at the ends of rows and empty rows at the end are left out.
    pub screen: String,
    /// The bytes that were written to the terminal.
    pub raw: Vec<u8>,
}

impl Shown {
    /// What is seen, if the exit status is this one.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn ended_with(&self, code: i32) -> &str {
        assert!(self.code == code, "kit: {} and not {code}:\n{}", self.code, self.screen);
        &self.screen
    }
}

impl Program {
    /// Starts it on a terminal of its own: all three standard streams are that, and what is typed reaches it.
    pub fn start_on(self, size: Size) -> OnTerminal {
        let (master, slave) = open(size);
        let end = Instant::now() + self.patience;
        let shown = self.path.to_string_lossy().into_owned();
        let mut command = Command::new("/usr/bin/setsid");
        // The session is the terminal's, so that it can ask questions and ^C is a signal.
        command.arg("--ctty").arg(&self.path).args(&self.args);
        command.env_clear().env("TERM", "xterm-256color").envs(&self.env);
        command.current_dir(&self.dir);
        let copy = || slave.try_clone().or_panic("copy a descriptor");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().or_panic(format!("start {shown}"));
        drop((command, slave));
        let (rows, columns) = size.cells();
        let parser = vt100::Parser::new(rows, columns, SCROLLBACK);
        let state = Mutex::new(State { parser, raw: vec![], is_over: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let reader = {
            let shared = Arc::clone(&shared);
            let master = master.try_clone().or_panic("copy a descriptor");
            Some(std::thread::spawn(move || shared.read(master)))
        };
        OnTerminal { child, master, shared, reader, shown, end }
    }
}

/// A pseudo-terminal: the side of who looks at it, and the side of the programs.
fn open(size: Size) -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .or_panic("open a pseudo-terminal");
    grantpt(&master).or_panic("open a pseudo-terminal");
    unlockpt(&master).or_panic("open a pseudo-terminal");
    let name = ptsname(&master, vec![]).or_panic("the name of a pseudo-terminal");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, Mode::empty()).or_panic("open a pseudo-terminal");
    tcsetwinsize(&slave, size.winsize()).or_panic("set a terminal's size");
    (master.into(), slave)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is written until the last program has closed the terminal.
    fn read(&self, mut master: File) {
        let mut bytes = [0; 16 << 10];
        // The end is an error: EIO.
        while let Some(n) = master.read(&mut bytes).ok().filter(|&n| n > 0) {
            let mut state = self.lock();
            state.parser.process(&bytes[..n]);
            state.raw.extend_from_slice(&bytes[..n]);
            self.changed.notify_all();
        }
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

impl State {
    /// All rows from the first one that was scrolled away.
    fn text(&mut self) -> String {
        let screen = self.parser.screen_mut();
        let (_, columns) = screen.size();
        screen.set_scrollback(usize::MAX);
        let n_above = screen.scrollback();
        let mut rows = vec![];
        for above in (1..=n_above).rev() {
            screen.set_scrollback(above);
            rows.extend(screen.rows(0, columns.get()).next());
        }
        screen.set_scrollback(0);
        rows.extend(screen.rows(0, columns.get()));
        let rows: Vec<_> = rows.iter().map(|row| row.trim_end()).collect();
        rows.join("\n").trim_end().to_owned()
    }
}

impl OnTerminal {
    /// The process id, which is its group's too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is seen now.
    pub fn screen(&self) -> String {
        self.shared.lock().text()
    }

    /// Changes the terminal's size, as dragging a corner does. What is too long for a narrower row is cut off.
    pub fn resize(&self, size: Size) {
        let (rows, columns) = size.cells();
        let mut state = self.shared.lock();
        state.parser.screen_mut().set_size(rows, columns);
        tcsetwinsize(self.master.as_fd(), size.winsize()).or_panic("set a terminal's size");
    }

    /// Types something.
    pub fn keys(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).or_panic("type on the terminal");
    }

    /// Waits until what is seen is as wanted, and gives it.
    ///
    /// # Panics
    /// If the program ends before, or takes too long.
    #[track_caller]
    pub fn wait_for(&self, is_it: impl Fn(&str) -> bool) -> String {
        let mut state = self.shared.lock();
        loop {
            let text = state.text();
            if is_it(&text) {
                return text;
            }
            let time = self.end.saturating_duration_since(Instant::now());
            assert!(!state.is_over && !time.is_zero(), "kit: it was never seen:\n{text}");
            let woken = self.shared.changed.wait_timeout(state, time);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of all programs on the terminal.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait(mut self) -> Shown {
        let mut state = self.shared.lock();
        while !state.is_over {
            let time = self.end.saturating_duration_since(Instant::now());
            let text = state.text();
            assert!(!time.is_zero(), "kit: {} did not end in time:\n{text}", self.shown);
            let woken = self.shared.changed.wait_timeout(state, time);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let status = self.child.wait().or_panic("wait for the program's end");
        let code = shell_status(status);
        let mut state = self.shared.lock();
        Shown { code, screen: state.text(), raw: std::mem::take(&mut state.raw) }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if let Some(session) = Pid::from_raw(self.pid().cast_signed()) {
            // One that has ended is what is wanted.
            rustix::process::kill_process_group(session, Signal::KILL).ok();
        }
        self.child.wait().ok();
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
    }
}
