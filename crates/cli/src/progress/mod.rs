//! Progress: what people see while a command works.
//!
//! A [`Progress`] hands out a [`Task`] for each thing that takes time. What becomes of them on standard error is decided
//! once, in `style.rs`; who counts doesn't know.
//!
//! ```text
//! style.rs            who draws, and how
//! total.rs            all tasks together
//! counter.rs rate.rs  counting, which is an atomic addition; everything else is rare and takes the lock
//! view.rs             a task as a line, as a bar, as fields of an object
//! frame.rs            the lines that are redrawn
//! board.rs            all tasks, and what each change of theirs writes in each style
//! ```

mod board;
mod counter;
mod frame;
mod rate;
mod style;
mod total;
mod view;

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use report::watch::{Watch, Watcher};
use serde_json::{Map, Value};

use board::{Board, Fields, Message, RowId};
use counter::Counter;

use crate::interrupt;
use crate::stderr::Stderr;

pub use counter::{Counted, Meter};
pub(crate) use style::Style;

/// Sink for progress: shows tasks and lasting lines on standard error. Clones are the same progress.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    /// The program's name, which warnings begin with.
    program: String,
    board: Mutex<Board>,
    /// Dropped to end the thread that redraws; there is none until the first task.
    ticker: Mutex<Option<Sender<()>>>,
    interval: Option<Duration>,
}

impl Progress {
    pub(crate) fn new(program: &str, style: Style, stderr: Stderr) -> Self {
        let shared = Shared {
            program: program.to_owned(),
            board: Mutex::new(Board::new(program, style, stderr)),
            ticker: Mutex::default(),
            interval: style.interval(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins a task. The label is what its lines begin with; the total, if known, is in bytes.
    pub fn task(&self, label: impl Into<String>, total: Option<u64>) -> Task {
        let counter = Arc::new(Counter::new(total));
        let row = self.board().add(&label.into(), Arc::clone(&counter));
        self.start_ticker();
        Task { row, counter, progress: self.clone() }
    }

    /// Says that the tasks, those to come included, will have so many bytes more. Who says so shows their sum, with the time
    /// that it still takes. Bytes of a task that ends without them are taken off.
    pub fn expect(&self, n_bytes: u64) {
        self.board().expect(n_bytes);
    }

    /// Shows a lasting line, such as `Digest: …`; not with `--progress none`.
    pub fn line(&self, text: impl AsRef<str>) {
        self.show("message", Message::Line, text.as_ref());
    }

    /// Shows a lasting line whatever the form of progress; not with `--quiet`.
    pub fn say(&self, text: impl AsRef<str>) {
        self.show("message", Message::Say, text.as_ref());
    }

    /// Warns, as `program: warning: text`; not with `--quiet`.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.show("warning", Message::Warn, text.as_ref());
    }

    /// Warns as [`warn`](Self::warn) does, with `--quiet` too.
    pub fn alarm(&self, text: impl AsRef<str>) {
        self.show("warning", Message::Alarm, text.as_ref());
    }

    /// Tells what became of an image: in `lines` to people, as [`line`](Self::line) or, if they are `important`, as
    /// [`say`](Self::say) does; as an object to programs.
    pub fn image(&self, event: ImageEvent, lines: &[&str]) {
        let ImageEvent { name, digest, status, is_important } = event;
        let name = name.map(|name| ("name", name.into()));
        let others = [("digest", digest.into()), ("status", status.into())];
        let values = name.into_iter().chain(others).collect();
        let message = if is_important { Message::Say } else { Message::Line };
        self.board().show(message, lines, Fields { kind: "image", values });
    }

    /// Tells an object of a type, with these fields, with `--progress json`, and nothing otherwise.
    pub fn object(&self, kind: &str, fields: &Map<String, Value>) {
        let fields = fields.iter().map(|(key, value)| (key.as_str(), value.clone()));
        self.board().object(kind, fields);
    }

    fn show(&self, kind: &'static str, message: Message, text: &str) {
        let values = vec![("message", text.into())];
        self.board().show(message, &[text], Fields { kind, values });
    }

    /// Does something that writes to the terminal while no bars are there.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.board().suspend(write)
    }

    /// Says that the command looks something up: nothing is shown of tasks that are done within a second.
    pub fn expect_look_up(&self) {
        self.board().is_look_up = true;
    }

    /// Takes the bars away and leaves the last lines.
    pub fn finish(&self) {
        self.stop_ticker();
        self.board().finish();
    }

    /// Leaves everything as it is, for a program that dies by a signal.
    pub(crate) fn abandon(&self) {
        self.stop_ticker();
        self.board().abandon();
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticker(&self) -> MutexGuard<'_, Option<Sender<()>>> {
        self.shared.ticker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_ticker(&self) {
        let Some(interval) = self.shared.interval else { return };
        let mut ticker = self.ticker();
        if ticker.is_none() {
            let (sender, receiver) = mpsc::channel();
            *ticker = Some(sender);
            let shared = Arc::downgrade(&self.shared);
            let thread = thread::Builder::new().name("progress".to_owned());
            // Without the thread there are no bars, but the work goes on.
            drop(thread.spawn(move || tick(&shared, &receiver, interval)));
        }
    }

    fn stop_ticker(&self) {
        self.ticker().take();
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
            if n == 0 {
                if let Some(task) = task.take() {
                    task.done("Read");
                }
            } else if let Some(task) = &task {
                task.advance(n as u64);
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
        write!(f, "Progress({})", self.shared.program)
    }
}

/// The thread that shows how far the tasks are, until the progress ends.
fn tick(shared: &Weak<Shared>, end: &Receiver<()>, interval: Duration) {
    while end.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = shared.upgrade() else { return };
        shared.board.lock().unwrap_or_else(PoisonError::into_inner).tick(Instant::now());
    }
}

/// What became of an image, for programs that read it.
#[derive(Clone, Debug)]
pub struct ImageEvent {
    /// Its full name, if it has one.
    pub name: Option<String>,
    /// The digest that leads to it.
    pub digest: String,
    /// What was done with it, in words that don't change: `Unpacked`.
    pub status: &'static str,
    /// Whether people are told with `--progress none` too.
    pub is_important: bool,
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
    /// Sets the state: `Waiting`, `Downloading`.
    pub fn state(&self, state: impl AsRef<str>) {
        self.progress.board().set_state(self.row, state.as_ref());
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
        self.counter.set_total(total);
    }

    /// Ends the task with its last state: `Pull complete`, `Already exists`.
    pub fn done(self, state: impl AsRef<str>) {
        self.progress.board().finish_task(self.row, state.as_ref());
    }

    /// A reader that counts what is read through it.
    pub fn read<R: Read>(&self, reader: R) -> Counted<R> {
        Counted::new(reader, &self.counter)
    }

    /// A writer that counts what is written through it.
    pub fn write<W: Write>(&self, writer: W) -> Counted<W> {
        Counted::new(writer, &self.counter)
    }

    /// A handle that counts for this task elsewhere, whether the task still runs or not.
    pub fn meter(&self) -> Meter {
        Meter::new(&self.counter)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.progress.board().forget(self.row);
    }
}

#[cfg(test)]
mod tests;
