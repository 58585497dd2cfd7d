//! Who draws, and how.

use std::time::Duration;

use crate::options::{Common, When};
use crate::stderr::is_screen;

/// The form progress takes in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Redrawn lines on a terminal.
    Bars,
    /// Nothing but warnings, in one write at the end: the program after this one on the pipe draws, and says what came of both.
    Silent,
    /// A line for each change.
    Plain,
    /// A JSON object for each change.
    Json,
    /// No progress, but other talk.
    None,
    /// Not a word.
    Quiet,
    /// Not a word, and if there is one it is a JSON object.
    QuietJson,
}

/// The properties of the standard streams that the style depends on.
#[derive(Clone, Copy, Debug)]
struct Streams {
    stderr_is_terminal: bool,
    stdout_is_pipe: bool,
}

impl Style {
    /// The style for the flags that were given and the streams there are.
    pub(crate) fn choose(common: &Common, stdout_is_pipe: bool) -> Self {
        let streams = Streams { stderr_is_terminal: is_screen(), stdout_is_pipe };
        match (common.quiet, common.progress) {
            (true, When::Json) => Self::QuietJson,
            (true, _) => Self::Quiet,
            (false, progress) => Self::decide(progress, streams),
        }
    }

    fn decide(when: When, streams: Streams) -> Self {
        match when {
            When::None => Self::None,
            When::Json => Self::Json,
            When::Plain => Self::Plain,
            When::Auto | When::Bars if !streams.stderr_is_terminal => Self::Plain,
            When::Auto if streams.stdout_is_pipe => Self::Silent,
            When::Auto | When::Bars => Self::Bars,
        }
    }

    /// The time between two updates of the tasks that run; none if they aren't shown.
    pub(crate) const fn interval(self) -> Option<Duration> {
        match self {
            Self::Bars => Some(Duration::from_millis(80)),
            Self::Json => Some(Duration::from_millis(500)),
            Self::Plain => Some(Duration::from_secs(10)),
            Self::Silent | Self::None | Self::Quiet | Self::QuietJson => None,
        }
    }

    /// Whether each line is a JSON object.
    pub(crate) const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::QuietJson)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(when: When, expected: [Style; 4]) {
        let streams = [(true, false), (true, true), (false, false), (false, true)];
        let styles = streams.map(|(stderr_is_terminal, stdout_is_pipe)| {
            Style::decide(when, Streams { stderr_is_terminal, stdout_is_pipe })
        });
        assert_eq!(styles, expected);
    }

    #[test]
    fn only_the_last_program_of_a_pipe_draws() {
        check(When::Auto, [Style::Bars, Style::Silent, Style::Plain, Style::Plain]);
    }

    #[test]
    fn the_flag_overrules() {
        check(When::Bars, [Style::Bars, Style::Bars, Style::Plain, Style::Plain]);
        check(When::Plain, [Style::Plain; 4]);
        check(When::Json, [Style::Json; 4]);
        check(When::None, [Style::None; 4]);
    }

    #[test]
    fn quiet_wins() {
        let choose =
            |progress| Style::choose(&Common { quiet: true, progress, ..Common::default() }, false);
        assert_eq!(choose(When::Plain), Style::Quiet);
        assert_eq!(choose(When::Json), Style::QuietJson);
    }
}
