//! The lines on the terminal that are redrawn.
//!
//! Between two drawings the cursor stands at the left of an empty row, the frame's home, and the lines are below it. So
//! whatever else is written to the terminal meanwhile (another program's error, what somebody types) gets rows of its own and
//! pushes the home down; and a terminal that breaks or cuts lines because it was made narrower does that below the cursor,
//! where the next drawing clears all. A frame is written in one piece.
//!
//! indicatif, which estimates the rates, could draw too; but it leaves the cursor at the end of the last line and counts rows upwards from there: after each
//! of these events a dead bar stays (console-rs/indicatif#182, #520).

use std::fmt::Write as _;

use super::view::Screen;
use crate::stderr::note_frame;

/// The frame on the terminal, if there is one.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// What shows the lines, from home and back there; empty if there are none.
    drawing: String,
}

impl Frame {
    /// Takes these lines instead of those before. Returns what shows them.
    pub(super) fn draw(&mut self, lines: &[String]) -> &str {
        self.drawing.clear();
        if lines.is_empty() {
            return &self.drawing;
        }
        // Somebody who wrote a line end has moved home to where a line was.
        self.drawing.push_str("\r\x1b[K");
        for line in lines {
            // To the next row, and what was right of the line goes.
            write!(self.drawing, "\r\n{line}\x1b[K").expect("a string takes everything");
        }
        // What was below the last line goes, and the cursor goes home.
        write!(self.drawing, "\x1b[J\x1b[{}A\r", lines.len()).expect("a string takes everything");
        note_frame(lines.len());
        &self.drawing
    }

    /// What takes the lines from the terminal; empty if there are none.
    pub(super) fn erasure(&self) -> &'static str {
        if self.drawing.is_empty() { "" } else { "\r\x1b[J" }
    }

    /// What shows the lines again after they were erased; empty if there are none.
    pub(super) fn drawing(&self) -> &str {
        &self.drawing
    }

    /// Forgets the lines, which are erased.
    pub(super) fn forget(&mut self) {
        self.drawing.clear();
        note_frame(0);
    }
}

/// The size of the terminal on standard error.
pub(super) fn screen() -> Screen {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
    Screen {
        columns: known(size.map(|size| size.ws_col), 80),
        lines: known(size.map(|size| size.ws_row), 24),
    }
}

/// A terminal that doesn't know its size says 0.
fn known(size: Option<u16>, usual: usize) -> usize {
    size.filter(|&size| size > 0).map_or(usual, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_size_has_the_usual_one() {
        for (size, expected) in [(None, 80), (Some(0), 80), (Some(1), 1), (Some(132), 132)] {
            assert_eq!(known(size, 80), expected, "{size:?}");
        }
    }

    #[test]
    fn the_cursor_is_home_again_after_each_drawing() {
        let mut frame = Frame::default();
        assert_eq!(frame.draw(&[]), "");
        assert_eq!(frame.erasure(), "");
        let lines = ["a: Waiting".to_owned(), "b".to_owned()];
        let drawing = "\r\x1b[K\r\na: Waiting\x1b[K\r\nb\x1b[K\x1b[J\x1b[2A\r";
        assert_eq!(frame.draw(&lines), drawing);
        assert_eq!(frame.drawing(), drawing);
        assert_eq!(frame.erasure(), "\r\x1b[J");
        frame.forget();
        assert_eq!((frame.drawing(), frame.erasure()), ("", ""));
    }
}
