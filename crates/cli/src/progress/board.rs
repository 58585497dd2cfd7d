//! The tasks there are, and what each change of theirs means in each style.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Counter;
use super::bars::{self, Bars};
use super::style::Style;
use super::talk::Talk;
use super::view::{self, View};
use crate::report::clean;

/// Work that takes less than this draws no bars.
const DELAY: Duration = Duration::from_millis(250);
/// A look-up that takes less than this shows nothing of its tasks.
const LOOK_UP: Duration = Duration::from_secs(1);
/// How slowly a rate follows, in milliseconds.
const INERTIA: u128 = 2000;

/// The name of a row as long as the board exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowId(u64);

/// The kinds of lasting lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Line,
    Say,
    Warn,
    /// A warning that `--quiet` doesn't hide.
    Alarm,
}

/// Everything behind the lock.
#[derive(Debug)]
pub(super) struct Board {
    style: Style,
    talk: Talk,
    rows: Vec<Row>,
    next: u64,
    begun: Option<Instant>,
    is_look_up: bool,
    bars: Bars,
    /// What is written at the end, in the style that writes only then.
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
    meter: Meter,
}

impl Board {
    pub(super) fn new(style: Style, talk: Talk) -> Self {
        Self {
            style,
            talk,
            rows: Vec::new(),
            next: 0,
            begun: None,
            is_look_up: false,
            bars: Bars::default(),
            held: String::new(),
            is_over: false,
        }
    }

    /// From now on, nothing is shown of tasks that are done within [`LOOK_UP`].
    pub(super) fn expect_look_up(&mut self) {
        self.is_look_up = true;
    }

    /// Whether the tasks have run for less than this.
    fn is_younger_than(&self, time: Duration, now: Instant) -> bool {
        self.begun.is_some_and(|begun| now.saturating_duration_since(begun) < time)
    }

    fn is_quick_look_up(&self) -> bool {
        self.is_look_up && self.is_younger_than(LOOK_UP, Instant::now())
    }

    pub(super) fn add(&mut self, label: &str, counter: Arc<Counter>) -> RowId {
        let id = RowId(self.next);
        self.next += 1;
        let now = Instant::now();
        self.begun.get_or_insert(now);
        self.rows.push(Row {
            id,
            label: clean(label).into_owned(),
            state: String::new(),
            is_done: false,
            meter: Meter { at: now, moved: 0, rate: None },
            counter,
        });
        id
    }

    pub(super) fn state(&mut self, id: RowId, state: &str) {
        let is_quick = self.is_quick_look_up();
        let Some(row) = self.rows.iter_mut().find(|row| row.id == id) else { return };
        if row.state == state {
            return;
        }
        row.state = clean(state).into_owned();
        if is_quick {
            return;
        }
        let text = match self.style {
            Style::Plain => format!("{}: {}\n", row.label, row.state),
            Style::Json => view::json(&row.view()),
            Style::Bars | Style::Last | Style::None | Style::Quiet => return,
        };
        self.write(&text);
    }

    pub(super) fn done(&mut self, id: RowId, state: &str) {
        self.state(id, state);
        let Some(index) = self.rows.iter().position(|row| row.id == id) else { return };
        if self.is_quick_look_up() {
            self.rows.remove(index);
            return;
        }
        if self.style == Style::Bars {
            self.rows[index].is_done = true;
            return;
        }
        let row = self.rows.remove(index);
        if self.style == Style::Last {
            self.held.push_str(&view::last(&row.view()));
        }
    }

    /// Removes a task that was not done.
    pub(super) fn forget(&mut self, id: RowId) {
        self.rows.retain(|row| row.id != id || row.is_done);
    }

    pub(super) fn word(&mut self, word: Word, text: &str) {
        let is_said = match self.style {
            Style::Quiet => word == Word::Alarm,
            Style::None => word != Word::Line,
            Style::Bars | Style::Last | Style::Plain | Style::Json => true,
        };
        if !is_said {
            return;
        }
        let text = clean(text);
        if self.style == Style::Json {
            let is_warning = matches!(word, Word::Warn | Word::Alarm);
            let key = if is_warning { "warning" } else { "status" };
            self.write(&view::json_word(key, &text));
        } else if self.style == Style::Last && !self.is_over {
            self.held.push_str(&text);
            self.held.push('\n');
        } else {
            self.settle_if_idle();
            self.write(&format!("{text}\n"));
        }
    }

    pub(super) fn object(&mut self, object: &str) {
        if self.style == Style::Json {
            self.write(&format!("{object}\n"));
        }
    }

    pub(super) fn aside<T>(&mut self, write: impl FnOnce() -> T) -> T {
        self.settle_if_idle();
        self.bars.suspend(write)
    }

    /// Shows how far the tasks are.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.is_over || self.rows.is_empty() {
            return;
        }
        let moving: Vec<bool> = self.rows.iter_mut().map(|row| row.measure(now)).collect();
        let delay = if self.is_look_up { LOOK_UP } else { DELAY };
        match self.style {
            Style::Bars if self.is_younger_than(delay, now) => {}
            Style::Bars => {
                let views: Vec<View<'_>> = self.rows.iter().map(Row::view).collect();
                let frame = view::frame(&views, bars::screen());
                self.bars.draw(frame);
            }
            Style::Plain | Style::Json => {
                let show = if self.style == Style::Json { view::json } else { view::plain };
                let moving = self.rows.iter().zip(moving).filter(|(_, moving)| *moving);
                let text: String = moving.map(|(row, _)| show(&row.view())).collect();
                self.write(&text);
            }
            Style::Last | Style::None | Style::Quiet => {}
        }
    }

    pub(super) fn finish(&mut self) {
        self.settle();
        let held = std::mem::take(&mut self.held);
        self.talk.write(&held);
        self.is_over = true;
    }

    pub(super) fn abandon(&mut self) {
        self.bars.abandon();
        self.is_over = true;
    }

    /// Once nothing runs, what was done becomes ordinary lines, above whatever is written next.
    fn settle_if_idle(&mut self) {
        if self.rows.iter().all(|row| row.is_done) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.bars.clear();
        let done = self.rows.iter().filter(|row| row.is_done);
        let text: String = done.map(|row| view::last(&row.view())).collect();
        self.rows.retain(|row| !row.is_done);
        self.talk.write(&text);
    }

    fn write(&mut self, text: &str) {
        let talk = &mut self.talk;
        self.bars.suspend(|| talk.write(text));
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
            rate: self.meter.rate.filter(|&rate| rate > 0),
        }
    }

    /// Updates the rate; tells whether anything was counted since the last time.
    fn measure(&mut self, now: Instant) -> bool {
        let moved = self.counter.moved();
        let is_moving = moved != self.meter.moved;
        self.meter.update(now, moved);
        is_moving
    }
}

/// Bytes a second, smoothed.
#[derive(Debug)]
struct Meter {
    at: Instant,
    moved: u64,
    rate: Option<u64>,
}

impl Meter {
    fn update(&mut self, now: Instant, moved: u64) {
        let millis = now.saturating_duration_since(self.at).as_millis();
        // Before the first byte there is nothing to measure: the clock starts with it.
        let is_idle = self.rate.is_none() && moved == self.moved;
        if is_idle {
            self.at = now;
            return;
        }
        if millis == 0 {
            return;
        }
        let bytes = u128::from(moved.saturating_sub(self.moved)) * 1000;
        let rate = match self.rate {
            None => bytes / millis,
            // The mean of the old rate and the new one, weighted by time.
            Some(rate) => (u128::from(rate) * INERTIA + bytes) / (INERTIA + millis),
        };
        *self = Self { at: now, moved, rate: Some(u64::try_from(rate).unwrap_or(u64::MAX)) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::talk::Captured;
    use super::*;

    /// What a task leaves in plain lines that began this long ago and is done now.
    fn talk_of(is_look_up: bool, age: Duration) -> String {
        let captured = Captured::default();
        let mut board = Board::new(Style::Plain, Talk::new(captured.clone()));
        if is_look_up {
            board.expect_look_up();
        }
        let id = board.add("layer", Arc::new(Counter::new(None)));
        board.begun = Instant::now().checked_sub(age);
        board.done(id, "Read");
        board.finish();
        captured.text()
    }

    #[test]
    fn a_look_up_shows_progress_only_beyond_a_second() {
        assert_eq!(talk_of(true, Duration::ZERO), "");
        assert_eq!(talk_of(true, LOOK_UP), "layer: Read\n");
        assert_eq!(talk_of(false, Duration::ZERO), "layer: Read\n");
    }

    #[test]
    fn a_rate_follows_what_is_counted() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut meter = Meter { at: begun, moved: 0, rate: None };
        meter.update(at(5), 0);
        assert_eq!(meter.rate, None);
        meter.update(at(6), 1000);
        assert_eq!(meter.rate, Some(1000), "time before the first byte doesn't count");
        meter.update(at(7), 2000);
        assert_eq!(meter.rate, Some(1000));
        meter.update(at(60), 2000);
        assert!(meter.rate < Some(100), "{:?}", meter.rate);
    }
}
