//! The lines on the terminal that are redrawn; the only place that knows indicatif.
//!
//! All tasks are one "bar" of several lines, which indicatif draws, clears, and takes away while something else is written.
//! So a frame is drawn whole or not at all, and there may be more tasks than the terminal has lines.
//!
//! A bar for each task in a `MultiProgress` was compared: it takes twice as much code here (77 lines for 42) and 20 lines less
//! in `view.rs`, which must choose the tasks that a small terminal has room for and align their states all the same; and it
//! draws at each setting of each bar. Escape sequences of our own are 30 lines, without what indicatif knows of lines that
//! a narrowed terminal breaks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::view::Screen;
use crate::stderr::note_frame;

/// The most often a frame is drawn in a second.
const FRAMES: u8 = 30;

/// The frame on the terminal, if there is one.
#[derive(Debug, Default)]
pub(super) struct Frame {
    bar: Option<ProgressBar>,
}

impl Frame {
    /// Draws these lines in the place of those before.
    pub(super) fn draw(&mut self, lines: String) {
        self.bar.get_or_insert_with(new_bar).set_message(lines);
        note_frame(true);
    }

    /// Takes the frame away.
    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            note_frame(false);
        }
    }

    /// Leaves the frame as it stands.
    pub(super) fn abandon(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    /// Does something that writes to the terminal while the frame is away.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(FRAMES));
    bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well-formed"));
    bar
}

/// The size of the terminal on standard error.
pub(super) fn screen() -> Screen {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
    let lines = size.map(|size| usize::from(size.ws_row)).filter(|&lines| lines > 0);
    Screen { columns: columns.unwrap_or(80), lines: lines.unwrap_or(24) }
}
