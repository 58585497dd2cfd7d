//! Progress: what people see while a command works.
//!
//! A [`Progress`] hands out a [`Task`] for each thing that takes time. What becomes of them on
//! standard error is decided once, in [`style`]; who counts doesn't know. Counting is an atomic
//! addition; everything else is rare and takes a lock.

mod bars;
mod board;
pub(crate) mod style;
pub(crate) mod talk;
mod view;

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use layer_format::watch::{Watch, Watcher};

use board::{Board, RowId, Word};
use style::Style;
use talk::Talk;

use crate::interrupt;

/// A number of bytes for people: at most three digits and a decimal unit, as Docker has it (`12.3MB`).
pub fn human_size(bytes: u64) -> String {
    view::human_size(bytes)
}

/// Takes the bars, if any are drawn, for lost and goes to a fresh line.
pub(crate) fn leave_bars() {
    bars::leave();
}

/// Where tasks and lasting lines are shown. Clones are the same progress.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    board: Mutex<Board>,
    /// Dropped to end the thread that redraws; there is none until the first task.
    pulse: Mutex<Option<Sender<()>>>,
    interval: Option<Duration>,
}

impl Progress {
    pub(crate) fn new(name: &str, style: Style, talk: Talk) -> Self {
        let shared = Shared {
            name: name.to_owned(),
            board: Mutex::new(Board::new(style, talk)),
            pulse: Mutex::default(),
            interval: style.interval(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins a task. The label is what its lines begin with; the total, if known, is in bytes.
    pub fn task(&self, label: impl Into<String>, total: Option<u64>) -> Task {
        let counter = Arc::new(Counter::new(total));
        let row = self.board().add(&label.into(), Arc::clone(&counter));
        self.start_pulse();
        Task { row, counter, progress: self.clone() }
    }

    /// Shows a lasting line of talk, such as `Digest: …`; not with `--progress none`.
    pub fn line(&self, text: impl AsRef<str>) {
        self.board().word(Word::Line, text.as_ref());
    }

    /// Shows a lasting line of talk whatever the form of progress; not with `--quiet`.
    pub fn say(&self, text: impl AsRef<str>) {
        self.board().word(Word::Say, text.as_ref());
    }

    /// Warns, as `program: warning: text`; not with `--quiet`.
    pub fn warn(&self, text: impl AsRef<str>) {
        let text = format!("{}: warning: {}", self.shared.name, text.as_ref());
        self.board().word(Word::Warn, &text);
    }

    /// Warns as [`warn`](Self::warn) does, with `--quiet` too.
    pub fn alarm(&self, text: impl AsRef<str>) {
        let text = format!("{}: warning: {}", self.shared.name, text.as_ref());
        self.board().word(Word::Alarm, &text);
    }

    /// Writes a JSON object on a line, for whoever reads JSON; nobody else is told.
    pub fn object(&self, object: &str) {
        self.board().object(object);
    }

    /// Does something that writes to the terminal while no bars are there.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.board().aside(write)
    }

    /// Says that the command looks something up: nothing is shown of tasks that are done within a second.
    pub fn expect_look_up(&self) {
        self.board().expect_look_up();
    }

    /// Takes the bars away and leaves the last lines.
    pub fn finish(&self) {
        self.stop_pulse();
        self.board().finish();
    }

    /// Leaves everything as it is, for a program that dies by a signal.
    pub(crate) fn abandon(&self) {
        self.stop_pulse();
        self.board().abandon();
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_pulse(&self) {
        let Some(interval) = self.shared.interval else { return };
        let mut pulse = self.shared.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        if pulse.is_none() {
            let (sender, receiver) = mpsc::channel();
            *pulse = Some(sender);
            let shared = Arc::downgrade(&self.shared);
            let thread = thread::Builder::new().name("progress".to_owned());
            // Without the thread there are no bars, but the work goes on.
            drop(thread.spawn(move || beat(&shared, &receiver, interval)));
        }
    }

    fn stop_pulse(&self) {
        self.shared.pulse.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Watch for Progress {
    /// A task, which is done when the last byte was read.
    fn begin(&self, name: String, size: Option<u64>) -> Watcher {
        let task = self.task(name, size);
        task.state("Reading");
        let mut task = Some(task);
        Box::new(move |n| {
            interrupt::check()?;
            match &task {
                Some(task) if n > 0 => task.advance(n as u64),
                _ => task.take().into_iter().for_each(|task| task.done("Read")),
            }
            Ok(())
        })
    }

    fn check(&self) -> io::Result<()> {
        Ok(interrupt::check()?)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({})", self.shared.name)
    }
}

/// The thread that shows how far the tasks are, until the progress ends.
fn beat(shared: &Weak<Shared>, end: &Receiver<()>, interval: Duration) {
    while end.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = shared.upgrade() else { return };
        shared.board.lock().unwrap_or_else(PoisonError::into_inner).tick(Instant::now());
    }
}

/// One thing that takes time, such as a download. Dropped before it is [done](Self::done), it
/// disappears without a word.
#[derive(Debug)]
pub struct Task {
    row: RowId,
    counter: Arc<Counter>,
    progress: Progress,
}

impl Task {
    /// Says what is happening: `Waiting`, `Downloading`.
    pub fn state(&self, state: impl AsRef<str>) {
        self.progress.board().state(self.row, state.as_ref());
    }

    /// Counts `n` bytes more.
    pub fn advance(&self, n: u64) {
        self.counter.advance(n);
    }

    /// Goes to a position without having moved there, as a resumed download begins in the middle.
    pub fn position(&self, position: u64) {
        self.counter.jump(position);
    }

    /// Sets how many bytes there are in all.
    pub fn total(&self, total: u64) {
        self.counter.total.store(total, Ordering::Relaxed);
    }

    /// Ends the task with its last state: `Pull complete`, `Already exists`.
    pub fn done(self, state: impl AsRef<str>) {
        self.progress.board().done(self.row, state.as_ref());
    }

    /// A reader that counts what is read through it.
    pub fn read<R: Read>(&self, reader: R) -> Counted<R> {
        Counted { inner: reader, counter: Arc::clone(&self.counter) }
    }

    /// A writer that counts what is written through it.
    pub fn write<W: Write>(&self, writer: W) -> Counted<W> {
        Counted { inner: writer, counter: Arc::clone(&self.counter) }
    }

    /// What counts for this task elsewhere, whether the task still runs or not.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.counter))
    }
}

/// Counts for a [`Task`] that somebody else has.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Counter>);

impl Meter {
    /// A reader of what begins at `position`, which is where the task is from now on.
    pub fn read_from<R: Read>(&self, position: u64, reader: R) -> Counted<R> {
        self.0.jump(position);
        Counted { inner: reader, counter: Arc::clone(&self.0) }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.progress.board().forget(self.row);
    }
}

/// A reader or writer that counts for a [`Task`].
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    counter: Arc<Counter>,
}

impl<S> Counted<S> {
    /// What is read from or written to.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.counter.advance(n as u64);
        Ok(n)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.counter.advance(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// How far a task is; the only part of it that is touched for every chunk.
#[derive(Debug)]
struct Counter {
    /// What was counted; rates are made from it.
    moved: AtomicU64,
    /// What to add to get the position; wraps around when a task has gone back.
    start: AtomicU64,
    total: AtomicU64,
}

impl Counter {
    const UNKNOWN: u64 = u64::MAX;

    fn new(total: Option<u64>) -> Self {
        Self {
            moved: AtomicU64::new(0),
            start: AtomicU64::new(0),
            total: AtomicU64::new(total.unwrap_or(Self::UNKNOWN)),
        }
    }

    fn advance(&self, n: u64) {
        self.moved.fetch_add(n, Ordering::Relaxed);
    }

    fn jump(&self, position: u64) {
        self.start.store(position.wrapping_sub(self.moved()), Ordering::Relaxed);
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn position(&self) -> u64 {
        self.start.load(Ordering::Relaxed).wrapping_add(self.moved())
    }

    fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed)).filter(|&total| total != Self::UNKNOWN)
    }
}

#[cfg(test)]
mod tests;
