//! The tasks there are, and how each style shows them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::counter::Counter;
use super::frame::{Frame, screen};
use super::rate::Rate;
use super::style::Style;
use super::total::{Sum, Total};
use super::view::{self, View};
use crate::json;
use crate::stderr::Stderr;
use crate::text::clean;

/// Work that takes less than this draws no bars.
const DELAY: Duration = Duration::from_millis(250);
/// A look-up that takes less than this shows nothing of its tasks.
const LOOK_UP: Duration = Duration::from_secs(1);

/// The name of a row as long as the board exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowId(u64);

/// What a program that reads JSON is told.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) kind: &'static str,
    pub(super) values: Vec<(&'static str, Value)>,
}

/// The kinds of lasting lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A result of a task, such as `Digest: …`.
    Line,
    /// A message of the program, such as a summary.
    Say,
    Warn,
    /// A warning that `--quiet` doesn't hide.
    Alarm,
}

/// The rows of all tasks, and what is on standard error of them.
#[derive(Debug)]
pub(super) struct Board {
    /// The program's name, which warnings begin with.
    program: String,
    style: Style,
    stderr: Stderr,
    rows: Vec<Row>,
    next: u64,
    /// When the first task began.
    begun: Option<Instant>,
    /// Whether nothing is shown of tasks that are done within [`LOOK_UP`].
    pub(super) is_look_up: bool,
    total: Total,
    frame: Frame,
    /// The lines for the end, in the style that writes only then.
    held: String,
    is_over: bool,
}

#[derive(Debug)]
struct Row {
    id: RowId,
    label: String,
    state: String,
    is_done: bool,
    counter: Arc<Counter>,
    rate: Rate,
    /// Whether anything was counted between the last two ticks.
    is_moving: bool,
}

impl Board {
    pub(super) fn new(program: &str, style: Style, stderr: Stderr) -> Self {
        Self {
            program: program.to_owned(),
            style,
            stderr,
            rows: Vec::new(),
            next: 0,
            begun: None,
            is_look_up: false,
            total: Total::new(),
            frame: Frame::default(),
            held: String::new(),
            is_over: false,
        }
    }

    /// Adds a row for a task that begins.
    pub(super) fn add(&mut self, label: &str, counter: Arc<Counter>) -> RowId {
        let id = RowId(self.next);
        self.next += 1;
        let now = Instant::now();
        self.begun.get_or_insert(now);
        self.total.begin();
        self.rows.push(Row {
            id,
            label: clean(label).into_owned(),
            state: String::new(),
            is_done: false,
            counter,
            rate: Rate::new(),
            is_moving: false,
        });
        id
    }

    /// Says what a task does now.
    pub(super) fn set_state(&mut self, id: RowId, state: &str) {
        let is_quick = self.is_quick_look_up();
        let Some(row) = self.rows.iter_mut().find(|row| row.id == id) else { return };
        if row.state == state {
            return;
        }
        row.state = clean(state).into_owned();
        let text = match self.style {
            _ if is_quick => return,
            Style::Plain => view::last(&row.view()),
            Style::Json => json::line(&self.program, "task", view::fields(&row.view())),
            _ => return,
        };
        self.stderr.write(&text);
    }

    /// Ends a task with its last state.
    pub(super) fn finish_task(&mut self, id: RowId, state: &str) {
        self.set_state(id, state);
        let Some(index) = self.rows.iter().position(|row| row.id == id) else { return };
        if self.style == Style::Bars && !self.is_quick_look_up() {
            self.rows[index].is_done = true;
            return;
        }
        let row = self.rows.remove(index);
        self.total.leave(&row.counter);
    }

    /// Removes a task that was not done.
    pub(super) fn forget(&mut self, id: RowId) {
        let is_it = |row: &Row| row.id == id && !row.is_done;
        if let Some(index) = self.rows.iter().position(is_it) {
            let row = self.rows.remove(index);
            self.total.leave(&row.counter);
        }
    }

    /// Adds bytes that the tasks to come will have.
    pub(super) fn expect(&mut self, n_bytes: u64) {
        self.total.expect(n_bytes);
    }

    /// Shows lasting lines, if the style has a place for their kind: `lines` for people, `fields` for programs.
    pub(super) fn show(&mut self, message: Message, lines: &[&str], fields: Fields) {
        let is_hidden = match self.style {
            Style::Quiet | Style::QuietJson => message != Message::Alarm,
            Style::None => message == Message::Line,
            Style::Silent => matches!(message, Message::Line | Message::Say),
            Style::Bars | Style::Plain | Style::Json => false,
        };
        if is_hidden {
            return;
        }
        if self.style.is_json() {
            return self.stderr.write(&json::line(&self.program, fields.kind, fields.values));
        }
        let is_warning = matches!(message, Message::Warn | Message::Alarm);
        let before =
            if is_warning { format!("{}: warning: ", self.program) } else { String::new() };
        let line = |line: &&str| format!("{}\n", clean(&format!("{before}{line}")));
        let text: String = lines.iter().map(line).collect();
        if self.style == Style::Silent && !self.is_over {
            self.held.push_str(&text);
        } else {
            self.write_lasting(&text);
        }
    }

    /// Writes an object that is only for programs, if they read it.
    pub(super) fn object<'k>(
        &self,
        kind: &str,
        fields: impl IntoIterator<Item = (&'k str, Value)>,
    ) {
        if self.style == Style::Json {
            self.stderr.write(&json::line(&self.program, kind, fields));
        }
    }

    /// Writes lines that stay above the frame. Once nothing runs, what was done becomes such lines, too.
    fn write_lasting(&mut self, text: &str) {
        if self.rows.iter().all(|row| row.is_done) {
            self.print_done(text);
        } else {
            let lines = self.stderr.ended(text);
            let all = format!("{}{lines}{}", self.frame.erasure(), self.frame.drawing());
            self.stderr.write_raw(&all);
        }
    }

    /// Does something that writes to the terminal while the frame is away.
    pub(super) fn suspend<T>(&mut self, write: impl FnOnce() -> T) -> T {
        if self.rows.iter().all(|row| row.is_done) {
            self.print_done("");
        }
        self.stderr.write_raw(self.frame.erasure());
        let result = write();
        self.stderr.write_raw(self.frame.drawing());
        result
    }

    /// Shows how far the tasks are.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.is_over || self.rows.is_empty() {
            return;
        }
        for row in &mut self.rows {
            row.is_moving = row.rate.update(row.counter.moved());
        }
        let sum = self.sum();
        let delay = if self.is_look_up { LOOK_UP } else { DELAY };
        match self.style {
            Style::Bars if self.is_younger_than(delay, now) => {}
            Style::Bars => {
                let views: Vec<View<'_>> = self.rows.iter().map(Row::view).collect();
                self.stderr.write_raw(self.frame.draw(&view::frame(
                    &views,
                    sum.as_ref(),
                    screen(),
                )));
            }
            Style::Plain => self.write_moving(view::plain, sum.as_ref().map(view::plain_total)),
            Style::Json => {
                let total = sum.as_ref().map(|sum| self.total_object(sum));
                self.write_moving(|view| self.task_object(view), total);
            }
            Style::Silent | Style::None | Style::Quiet | Style::QuietJson => {}
        }
    }

    /// The sum of all tasks.
    fn sum(&mut self) -> Option<Sum> {
        self.total.update(self.rows.iter().map(|row| (&*row.counter, row.is_done)))
    }

    fn total_object(&self, sum: &Sum) -> String {
        json::line(&self.program, "total", view::total_fields(sum))
    }

    fn task_object(&self, view: &View<'_>) -> String {
        json::line(&self.program, "task", view::fields(view))
    }

    /// Writes the tasks that have moved, and if there are any, their sum.
    fn write_moving(&self, show: impl Fn(&View<'_>) -> String, total: Option<String>) {
        let moving = self.rows.iter().filter(|row| row.is_moving);
        let total = total.filter(|_| self.total.is_moving());
        self.stderr.write(&moving.map(|row| show(&row.view())).chain(total).collect::<String>());
    }

    /// Takes the frame away and leaves the last lines.
    pub(super) fn finish(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.print_done(&held);
        self.is_over = true;
    }

    /// Leaves everything as it is.
    pub(super) fn abandon(&mut self) {
        self.is_over = true;
    }

    /// Takes the frame away, and writes the last line of each task that is done and, below them, other lines.
    fn print_done(&mut self, below: &str) {
        let done: String = self
            .rows
            .extract_if(.., |row| row.is_done)
            .map(|row| {
                self.total.leave(&row.counter);
                view::last(&row.view())
            })
            .collect();
        let lines = format!("{done}{below}");
        self.stderr.write_raw(&format!("{}{}", self.frame.erasure(), self.stderr.ended(&lines)));
        self.frame.forget();
    }

    fn is_quick_look_up(&self) -> bool {
        self.is_look_up && self.is_younger_than(LOOK_UP, Instant::now())
    }

    /// Whether the tasks have run for less than this.
    fn is_younger_than(&self, time: Duration, now: Instant) -> bool {
        self.begun.is_some_and(|begun| now.saturating_duration_since(begun) < time)
    }
}

impl Row {
    fn view(&self) -> View<'_> {
        View {
            label: &self.label,
            state: &self.state,
            is_done: self.is_done,
            position: self.counter.position(),
            total: self.counter.total(),
            rate: self.rate.bytes_per_second(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::captured::Captured;

    /// The plain lines of a task that began this long ago and is done now.
    fn talk_of(is_look_up: bool, age: Duration) -> String {
        let captured = Captured::default();
        let mut board = Board::new("pull", Style::Plain, Stderr::Captured(captured.clone()));
        board.is_look_up = is_look_up;
        let id = board.add("layer", Arc::new(Counter::new(None)));
        board.begun = Instant::now().checked_sub(age);
        board.finish_task(id, "Read");
        board.finish();
        captured.text()
    }

    #[test]
    fn a_look_up_shows_progress_only_beyond_a_second() {
        assert_eq!(talk_of(true, Duration::ZERO), "");
        assert_eq!(talk_of(true, LOOK_UP), "layer: Read\n");
        assert_eq!(talk_of(false, Duration::ZERO), "layer: Read\n");
    }
}
