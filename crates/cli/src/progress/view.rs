//! What a task looks like: as a line, as a bar, as JSON. Nothing here writes anything.

use serde_json::Value;

use super::total::Sum;
use crate::size::human_size;
use crate::text::{cut, padded, width};

/// The widest a bar gets; Docker's is as wide.
const WIDEST: usize = 50;
/// A bar below this width shows nothing; it is left out.
const NARROWEST: usize = 8;
/// Room for the numbers after a bar: `12.3MB/45.6MB  78.9MB/s` and a blank before it.
const NUMBERS: usize = 24;

/// A task at one moment. Its texts are clean.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) label: &'a str,
    pub(super) state: &'a str,
    pub(super) is_done: bool,
    pub(super) position: u64,
    pub(super) total: Option<u64>,
    /// Bytes a second.
    pub(super) rate: Option<u64>,
}

/// Room for `  59m 59s left` after the numbers of all tasks.
const LEFT: usize = 14;

/// The size of a terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// The line that stays of a task.
pub(super) fn last(view: &View<'_>) -> String {
    format!("{}: {}\n", view.label, view.state)
}

/// A line for a task under way.
pub(super) fn plain(view: &View<'_>) -> String {
    format!("{}: {} {}\n", view.label, view.state, numbers(view).replace("  ", " "))
}

/// The fields of a task as a JSON object.
pub(super) fn fields(view: &View<'_>) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("id", view.label.into()), ("status", view.state.into())];
    if view.position > 0 || view.total.is_some() {
        fields.push(("current", view.position.into()));
    }
    fields.extend(view.total.map(|total| ("total", total.into())));
    fields
}

/// A line for all tasks together.
pub(super) fn plain_total(sum: &Sum) -> String {
    format!("total: {}\n", sum_numbers(sum).replace("  ", " "))
}

/// The fields of all tasks together as a JSON object.
pub(super) fn total_fields(sum: &Sum) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("current", sum.position.into()), ("total", sum.total.into())];
    fields.extend(sum.rate.map(|rate| ("bytesPerSecond", rate.into())));
    fields.extend(sum.seconds_left().map(|seconds| ("secondsLeft", seconds.into())));
    fields
}

/// All tasks as they stand on the terminal, cut to its size, and below them their sum. The row above them stays free.
pub(super) fn frame(views: &[View<'_>], sum: Option<&Sum>, screen: Screen) -> Vec<String> {
    let all = screen.lines.saturating_sub(1).max(1);
    let sum = sum.filter(|_| all > 2);
    let room = all - usize::from(sum.is_some());
    let counting = views.iter().filter(|view| is_counting(view));
    let widest = counting.map(|view| width(view.state)).max().unwrap_or(0);
    let mut lines: Vec<String> = Vec::new();
    for view in select(views, room) {
        let line = row(view, widest, screen.columns);
        lines.push(cut(&line, screen.columns.saturating_sub(1)).to_owned());
    }
    if lines.len() < views.len() {
        let more = format!("({} more)", views.len() - lines.len());
        lines.push(cut(&more, screen.columns.saturating_sub(1)).to_owned());
    }
    let labels = views.iter().filter(|view| is_counting(view)).map(|view| width(view.label));
    let head = labels.max().map_or(0, |label| label + ": ".len() + widest);
    let last = sum.map(|sum| total_row(sum, head, screen.columns));
    lines.extend(last.map(|line| cut(&line, screen.columns.saturating_sub(1)).to_owned()));
    lines
}

/// The line below all tasks; what stands before the bar is `head` cells wide, as it is in the lines above.
fn total_row(sum: &Sum, head: usize, columns: usize) -> String {
    // Where there is no room for both, the numbers come first.
    let head = if head + NUMBERS > columns { 0 } else { head };
    let head = format!("{} ", padded("Total", head));
    let room = columns.saturating_sub(width(&head) + NUMBERS + LEFT + "[]".len() + 1).min(WIDEST);
    let numbers = sum_numbers(sum);
    if room < NARROWEST {
        return head + &numbers;
    }
    format!("{head}[{}] {numbers}", bar(sum.position, sum.total, room))
}

/// `12.3MB/45MB  20MB/s  2s left`.
fn sum_numbers(sum: &Sum) -> String {
    let (position, total) = (sum.position, Some(sum.total));
    let view = View { label: "", state: "", is_done: false, position, total, rate: sum.rate };
    let left = sum.seconds_left().map(|seconds| format!("  {} left", time(seconds)));
    numbers(&view) + &left.unwrap_or_default()
}

/// A time for people: `45s`, `3m 20s`, `2h 5m`, and `days` beyond four of them.
fn time(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (100.., ..) => "days".to_owned(),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

/// The tasks there is room for: those that count first, those that are done last, in their order.
fn select<'v, 'a>(views: &'v [View<'a>], room: usize) -> Vec<&'v View<'a>> {
    if views.len() <= room {
        return views.iter().collect();
    }
    let mut chosen: Vec<usize> = (0..views.len()).collect();
    chosen.sort_by_key(|&index| match &views[index] {
        view if view.is_done => 2,
        view if is_counting(view) => 0,
        _ => 1,
    });
    chosen.truncate(room - 1);
    chosen.sort_unstable();
    chosen.into_iter().map(|index| &views[index]).collect()
}

/// A line of a frame; the states of tasks that count are `widest` cells wide.
fn row(view: &View<'_>, widest: usize, columns: usize) -> String {
    if !is_counting(view) {
        // Nothing was said of it yet: it waits for its turn.
        let state = if view.state.is_empty() { "Waiting" } else { view.state };
        return format!("{}: {state}", view.label);
    }
    let head = format!("{}: {} ", view.label, padded(view.state, widest));
    let room = columns.saturating_sub(width(&head) + NUMBERS + "[]".len() + 1).min(WIDEST);
    match view.total {
        Some(total) if room >= NARROWEST => {
            format!("{head}[{}] {}", bar(view.position, total, room), numbers(view))
        }
        _ => format!("{head}{}", numbers(view)),
    }
}

fn bar(position: u64, total: u64, width: usize) -> String {
    let done = u128::from(position.min(total)) * width as u128 / u128::from(total.max(1));
    let done = usize::try_from(done).unwrap_or(width).min(width);
    let tip = if done < width { ">" } else { "" };
    format!("{}{tip}{}", "=".repeat(done), " ".repeat(width - done - tip.len()))
}

fn numbers(view: &View<'_>) -> String {
    let position = human_size(view.position);
    let total = view.total.map(|total| format!("/{}", human_size(total)));
    let rate = view.rate.map(|rate| format!("  {}/s", human_size(rate)));
    position + &total.unwrap_or_default() + &rate.unwrap_or_default()
}

const fn is_counting(view: &View<'_>) -> bool {
    !view.is_done && view.position > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(label: &'a str, state: &'a str, position: u64) -> View<'a> {
        View { label, state, is_done: false, position, total: Some(45_000_000), rate: None }
    }

    fn shown(views: &[View<'_>], columns: usize, lines: usize) -> String {
        frame(views, None, Screen { columns, lines }).join("\n")
    }

    const SUM: Sum = Sum { position: 12_345_678, total: 90_000_000, rate: Some(20_000_000) };

    // moby#4022, moby#10894, docker/cli#2688: how much of all, and how long?
    #[test]
    fn the_sum_of_all_stands_below_them() {
        let views = [
            View { rate: Some(20_000_000), ..view("a2abf6c4d29d", "Downloading", 12_345_678) },
            view("bbd5642d7aac", "Waiting", 0),
        ];
        let shown =
            |columns, lines| frame(&views, Some(&SUM), Screen { columns, lines }).join("\n");
        assert_eq!(
            shown(88, 24),
            "a2abf6c4d29d: Downloading [=========>                         ] 12.3MB/45MB  20MB/s\n\
             bbd5642d7aac: Waiting\n\
             Total                     [==>                  ] 12.3MB/90MB  20MB/s  4s left"
        );
        assert_eq!(
            shown(60, 24).lines().last(),
            Some("Total                     12.3MB/90MB  20MB/s  4s left")
        );
        assert_eq!(shown(20, 24).lines().last(), Some("Total 12.3MB/90MB  "));
        assert_eq!(shown(88, 4).lines().count(), 3);
        assert_eq!(shown(88, 3).lines().count(), 2, "the tasks come first");
        assert_eq!(plain_total(&SUM), "total: 12.3MB/90MB 20MB/s 4s left\n");
        let keys: Vec<_> = total_fields(&SUM).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["current", "total", "bytesPerSecond", "secondsLeft"]);
    }

    #[test]
    fn a_time_has_two_units_at_most() {
        let cases = [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3599, "59m 59s"), (7500, "2h 5m")];
        for (seconds, expected) in cases {
            assert_eq!(time(seconds), expected);
        }
        assert_eq!(time(u64::MAX), "days");
    }

    #[test]
    fn a_frame_shows_tasks_as_docker_does() {
        let views = [
            View { is_done: true, ..view("5f70bf18a086", "Already exists", 0) },
            View { rate: Some(20_000_000), ..view("a2abf6c4d29d", "Downloading", 12_345_678) },
            View { total: None, ..view("c7a4e4382001", "Saving", 1000) },
            view("4f4fb700ef54", "Waiting", 0),
            view("bbd5642d7aac", "", 0),
        ];
        assert_eq!(
            shown(&views, 72, 24),
            "5f70bf18a086: Already exists\n\
             a2abf6c4d29d: Downloading [=====>             ] 12.3MB/45MB  20MB/s\n\
             c7a4e4382001: Saving      1kB\n\
             4f4fb700ef54: Waiting\n\
             bbd5642d7aac: Waiting"
        );
    }

    #[test]
    fn a_small_terminal_shows_what_runs() {
        let views = [
            View { is_done: true, ..view("a", "Pull complete", 5) },
            view("b", "Waiting", 0),
            view("c", "Downloading", 1),
            view("d", "Waiting", 0),
        ];
        assert_eq!(shown(&views, 30, 4), "b: Waiting\nc: Downloading 1B/45MB\n(2 more)");
        assert_eq!(shown(&views[..3], 8, 4), "a: Pull\nb: Wait\nc: Down");
        assert_eq!(shown(&views, 9, 0), "(4 more)");
    }

    #[test]
    fn a_frame_of_wide_characters_is_no_wider_than_the_terminal() {
        let views = [
            View { total: Some(2000), ..view("大きな層", "読む", 1000) },
            View { total: Some(2000), ..view("e\u{301}", "Reading", 1000) },
        ];
        assert_eq!(
            shown(&views, 54, 24),
            "大きな層: 読む    [====>    ] 1kB/2kB\n\
             e\u{301}: Reading [========>       ] 1kB/2kB"
        );
        assert_eq!(shown(&views, 8, 24), "大きな\ne\u{301}: Read");
    }

    #[test]
    fn a_bar_fills_up() {
        assert_eq!(bar(0, 10, 10), ">         ");
        assert_eq!(bar(9, 10, 10), "=========>");
        assert_eq!(bar(10, 10, 10), "==========");
        assert_eq!(bar(20, 10, 10), "==========");
        assert_eq!(bar(0, 0, 4), ">   ");
    }

    #[test]
    fn the_fields_are_those_that_are_known() {
        let keys = |view| fields(&view).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(View { total: None, ..view("a", "x", 0) }), ["id", "status"]);
        assert_eq!(keys(View { total: None, ..view("a", "x", 1) }), ["id", "status", "current"]);
        assert_eq!(keys(view("a", "x", 0)), ["id", "status", "current", "total"]);
    }
}
