//! The part of the terminal that is redrawn; the only place that knows indicatif.
//!
//! All tasks are one "bar" of several lines: a frame is drawn whole or not at all, and there may be
//! more tasks than the terminal has lines.

use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::view::Screen;
use crate::report;

/// The most often a frame is drawn in a second.
const FRAMES: u8 = 30;

/// Whether bars are on the terminal, for the thread that kills the process.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Goes to a fresh line if bars were left on the terminal.
pub(super) fn leave() {
    if DRAWN.swap(false, Ordering::SeqCst) {
        report::write("\n");
    }
}

/// The frame on the terminal, if there is one.
#[derive(Debug, Default)]
pub(super) struct Bars {
    bar: Option<ProgressBar>,
}

impl Bars {
    pub(super) fn draw(&mut self, frame: String) {
        let bar = self.bar.get_or_insert_with(new_bar);
        bar.set_message(frame);
        DRAWN.store(true, Ordering::SeqCst);
    }

    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            DRAWN.store(false, Ordering::SeqCst);
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

/// The size of the terminal on standard error.
pub(super) fn screen() -> Screen {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
    let (columns, lines) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let or = |n: u16, default| if n == 0 { default } else { usize::from(n) };
    Screen { columns: or(columns, 80), lines: or(lines, 24) }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(FRAMES));
    bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well-formed"));
    bar
}
