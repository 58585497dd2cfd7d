//! INT, TERM and HUP: one handler, which lets the run unwind and then dies by the same signal.
//!
//! What happens on the first signal:
//!
//! 1. [`requested`] turns true, and every read of an [`Input`](crate::Input), also one that waits in
//!    another thread, ends with an [`Interrupted`] error.
//! 2. The run returns that error, and its `Drop` guards remove what was half-made.
//! 3. [`main`](crate::main()) restores the signal's default action and raises it, so that a shell sees
//!    a program that was interrupted.
//!
//! A run that isn't back after two seconds dies where it is, unless it [`hold`]s; a second signal
//! kills at once. A signal that was ignored when the program started, as by `nohup`, stays ignored.
//!
//! XFSZ, which a write beyond the limit of `ulimit -f` sends, only makes that write fail: the run ends as it does on a full
//! disk, and cleans up.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level};

use crate::stderr::leave_frame;

/// The time that a run has after a signal to clean up and return.
const GRACE_PERIOD: Duration = Duration::from_secs(2);
/// How often a run that is late, but holds, is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The time in which a repeated signal counts as the same one: timeout(1) signals the child, and then its group.
const REPEAT_WINDOW: Duration = Duration::from_millis(300);

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// The signals, in the order of [`SIGNALS`], that the handlers have seen and the watcher has not.
static PENDING: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
/// The process that signals are passed on to; 0 for none.
static HEIR: AtomicU32 = AtomicU32::new(0);
static SWITCH: Switch = Switch::new();
/// Set by the handler of XFSZ and never read: a signal with a handler doesn't kill, and programs that are started later
/// don't inherit the handler.
static TOO_LARGE: AtomicBool = AtomicBool::new(false);

/// Whether a signal has asked the run to end.
pub fn requested() -> bool {
    SWITCH.requested()
}

/// Looks for a signal, in a long computation that reads no input.
///
/// # Errors
/// [`Interrupted`], if a signal has asked the run to end.
pub fn check() -> Result<(), Interrupted> {
    SWITCH.check()
}

/// A reader or writer, of a file for example, each call of which fails with [`Interrupted`] after a signal.
///
/// Around a decoder it also ends the gigabytes that a few stored bytes can become.
#[derive(Debug)]
pub struct Interruptible<R>(pub R);

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        check()?;
        self.0.read(buffer)
    }
}

impl<R: BufRead> BufRead for Interruptible<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        check()?;
        self.0.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.0.consume(n);
    }
}

impl<W: Write> Write for Interruptible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check()?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Keeps the watchdog from cutting a clean-up short as long as the guard lives.
#[must_use = "the guard's life is what protects"]
pub fn hold() -> Hold {
    SWITCH.holds.fetch_add(1, Ordering::SeqCst);
    Hold(())
}

/// A guard made by [`hold`].
#[derive(Debug)]
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        SWITCH.holds.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The error that ends what a signal has interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    signal: i32,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = low_level::signal_name(self.signal).unwrap_or("signal");
        write!(f, "interrupted by {name}")
    }
}

impl Error for Interrupted {}

impl From<Interrupted> for io::Error {
    /// Not of the kind `Interrupted`: std's loops would take that for "try again".
    fn from(interrupted: Interrupted) -> Self {
        Self::other(interrupted)
    }
}

/// The signal that has asked the run to end.
pub(crate) fn received() -> Option<i32> {
    SWITCH.received()
}

/// The switch that signals throw.
pub(crate) const fn switch() -> &'static Switch {
    &SWITCH
}

/// Dies by a signal. Returns the status to exit with should the signal not do it.
pub(crate) fn die(signal: i32) -> u8 {
    leave_frame();
    drop(low_level::emulate_default_handler(signal));
    128 + u8::try_from(signal).unwrap_or(0)
}

/// From now on, TERM and HUP are for the process of this id, which does this one's work, and reach it instead; so does one that has
/// come before. INT does nothing: a terminal sends it to both.
pub fn pass_on(process: u32) {
    HEIR.store(process, Ordering::SeqCst);
    if let Some(signal) = SWITCH.received() {
        send(process, signal);
    }
}

/// Sends a signal to the process that signals are passed on to, unless it is one that a terminal sends to both.
fn send(process: u32, signal: i32) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let signal = Signal::from_named_raw(signal).filter(|&signal| signal != Signal::INT);
    if let (Some(process), Some(signal)) = (process, signal) {
        // It may have ended.
        rustix::process::kill_process(process, signal).ok();
    }
}

/// Installs the handler, except for signals that were ignored from the start.
///
/// # Errors
/// The system's.
pub fn install() -> anyhow::Result<()> {
    set_up().context("handling signals")
}

fn set_up() -> io::Result<()> {
    SWITCH.arm()?;
    let (reader, writer) = io::pipe()?;
    let ignored = fs::read_to_string("/proc/self/status").map_or(0, |text| ignored_signals(&text));
    for (&signal, pending) in SIGNALS.iter().zip(&PENDING) {
        if ignored & (1 << (signal - 1)) == 0 {
            flag::register(signal, pending)?;
            low_level::pipe::register(signal, writer.try_clone()?)?;
        }
    }
    if ignored & (1 << (SIGXFSZ - 1)) == 0 {
        flag::register(SIGXFSZ, &TOO_LARGE)?;
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || watch(reader))?;
    Ok(())
}

/// The mask of ignored signals in the text of `/proc/self/status`.
fn ignored_signals(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The thread that turns signals into a thrown switch, and into death when that doesn't help.
fn watch(mut pipe: PipeReader) {
    let mut watch = Watch::default();
    loop {
        if wait(PollFd::new(&pipe, PollFlags::IN), None, watch.timeout())
            .is_ok_and(|woken| woken == Woken::Ready)
        {
            // The letters only wake; which signals came is in the flags.
            drop(pipe.read(&mut [0; 64]));
        }
        for (&signal, pending) in SIGNALS.iter().zip(&PENDING) {
            if pending.swap(false, Ordering::SeqCst) {
                match HEIR.load(Ordering::SeqCst) {
                    0 => watch.signal(signal, &SWITCH),
                    process => send(process, signal),
                }
            }
        }
        if HEIR.load(Ordering::SeqCst) == 0 && watch.is_over(&SWITCH) {
            die(SWITCH.received().unwrap_or(SIGTERM));
        }
    }
}

/// The state of the watcher between signals.
#[derive(Debug, Default)]
struct Watch {
    first: Option<Instant>,
    again: bool,
}

impl Watch {
    fn signal(&mut self, signal: i32, switch: &Switch) {
        match self.first {
            None => {
                self.first = Some(Instant::now());
                switch.throw(signal);
            }
            Some(first) => self.again |= first.elapsed() > REPEAT_WINDOW,
        }
    }

    fn timeout(&self) -> Option<Duration> {
        Some(GRACE_PERIOD.saturating_sub(self.first?.elapsed()).max(POLL_INTERVAL))
    }

    fn is_over(&self, switch: &Switch) -> bool {
        let late = self.first.is_some_and(|first| first.elapsed() >= GRACE_PERIOD);
        self.again || (late && switch.holds.load(Ordering::SeqCst) == 0)
    }
}

/// The switch that a signal throws: a flag, and a pipe that stays readable from then on.
#[derive(Debug)]
pub(crate) struct Switch {
    received: AtomicI32,
    pipe: OnceLock<(PipeReader, PipeWriter)>,
    holds: AtomicUsize,
}

impl Switch {
    pub(crate) const fn new() -> Self {
        Self { received: AtomicI32::new(0), pipe: OnceLock::new(), holds: AtomicUsize::new(0) }
    }

    /// Makes the pipe that wakes those who wait.
    pub(crate) fn arm(&self) -> io::Result<()> {
        let pipe = io::pipe()?;
        self.pipe.get_or_init(|| pipe);
        Ok(())
    }

    pub(crate) fn throw(&self, signal: i32) {
        self.received.store(signal, Ordering::SeqCst);
        if let Some((_, writer)) = self.pipe.get() {
            // It is never read, so it wakes all waiting threads from now on. One byte always fits.
            drop((&mut &*writer).write(b"X"));
        }
    }

    pub(crate) fn requested(&self) -> bool {
        self.received.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match self.received() {
            None => Ok(()),
            Some(signal) => Err(Interrupted { signal }),
        }
    }

    /// Waits until `fd` is ready to be read, or a signal throws the switch.
    pub(crate) fn wait_readable(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.wait_for(PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// Waits until `fd` is ready to be written, or a signal throws the switch.
    pub(crate) fn wait_writable(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.wait_for(PollFd::from_borrowed_fd(fd, PollFlags::OUT))
    }

    fn wait_for(&self, what: PollFd<'_>) -> io::Result<()> {
        self.check()?;
        let waker = self.pipe.get().map(|(reader, _)| reader.as_fd());
        wait(what, waker, None)?;
        Ok(self.check()?)
    }

    fn received(&self) -> Option<i32> {
        Some(self.received.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Ready,
    TimeOut,
}

fn wait(
    what: PollFd<'_>,
    waker: Option<BorrowedFd<'_>>,
    timeout: Option<Duration>,
) -> io::Result<Woken> {
    // Without a waker the second place repeats the first: an array costs no allocation.
    let waker = waker.map_or(what.clone(), |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let mut fds = [what, waker];
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    loop {
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Woken::TimeOut),
            Ok(_) => return Ok(Woken::Ready),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
