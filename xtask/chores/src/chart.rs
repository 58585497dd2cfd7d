//! docs/performance.svg: some rows of the first table of docs/performance.md as bars.

use anyhow::{Context as _, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The jobs that are drawn: the row of ours in the table, and how it is called in the chart.
const JOBS: &[(&str, &str)] = &[
    ("pull --no-store NAME | unpack DIR", "registry to root file system"),
    ("pull --no-stream NAME", "registry to store"),
    ("cat FILE | load", "archive to store"),
    ("save NAME -o FILE", "store to archive"),
    ("snapshot DIR | commit -t NEW", "find what changed, commit"),
];
/// The seconds that the chart is wide.
const SECONDS: f64 = 10.0;
const WIDTH: u32 = 900;
/// Where bars begin, and how wide the longest may be.
const LEFT: i32 = 300;
const LONGEST: f64 = 470.0;
const BAR: i32 = 18;
const GAP: i32 = 16;
const TITLE: i32 = 24;
const OURS: RGBColor = RGBColor(0, 114, 178);
const OTHERS: RGBColor = RGBColor(170, 170, 170);

/// One tool's time for a job.
#[derive(Clone, Debug, PartialEq)]
struct Bar {
    name: String,
    seconds: f64,
}

/// Draws the chart of a page.
///
/// # Errors
/// The page lacks one of the jobs.
pub(crate) fn draw(page: &str) -> anyhow::Result<String> {
    let jobs = JOBS.iter().map(|(row, title)| {
        let bars = bars(page, row);
        let bars =
            bars.filter(|bars| bars.len() > 1).with_context(|| format!("no figures of {row}"))?;
        Ok((*title, bars))
    });
    let jobs = jobs.collect::<anyhow::Result<Vec<_>>>()?;
    let rows: usize = jobs.iter().map(|(_, bars)| bars.len()).sum();
    let height = i32::try_from(rows)? * BAR + i32::try_from(jobs.len())? * (GAP + TITLE) + GAP;
    let mut svg = String::new();
    paint(&mut svg, u32::try_from(height)?, &jobs).map_err(|error| anyhow!("drawing: {error}"))?;
    Ok(svg)
}

type Painted<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn paint<'a>(svg: &'a mut String, height: u32, jobs: &[(&str, Vec<Bar>)]) -> Painted<'a> {
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let text = |size: i32, right: bool| {
        let to = if right { HPos::Right } else { HPos::Left };
        ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(to, VPos::Center))
    };
    let mut y = GAP;
    for (title, bars) in jobs {
        area.draw_text(title, &text(15, false), (12, y + TITLE / 2 - 2))?;
        y += TITLE;
        for (at, bar) in bars.iter().enumerate() {
            let middle = y + BAR / 2;
            let color = if at == 0 { OURS } else { OTHERS };
            #[expect(clippy::cast_possible_truncation, reason = "at most LONGEST")]
            let length = (bar.seconds.min(SECONDS) / SECONDS * LONGEST).max(1.0) as i32;
            area.draw_text(&bar.name, &text(13, true), (LEFT - 8, middle))?;
            area.draw(&Rectangle::new(
                [(LEFT, y + 2), (LEFT + length, y + BAR - 2)],
                color.filled(),
            ))?;
            let seconds = format!("{:.2} s", bar.seconds);
            area.draw_text(&seconds, &text(13, false), (LEFT + length + 6, middle))?;
            y += BAR;
        }
        y += GAP;
    }
    area.present()
}

/// Our time for a job, and that of each tool in the rows below. Floors are no tools.
fn bars(page: &str, job: &str) -> Option<Vec<Bar>> {
    let rows = page.lines().map(|line| line.replace("\\|", "\u{0}"));
    let mut rows = rows
        .skip_while(|line| !line.starts_with(&format!("| **`{}`**", job.replace('|', "\u{0}"))));
    let first = bar(&rows.next()?)?;
    let others = rows.take_while(|line| line.starts_with("| ") && !line.starts_with("| **"));
    let others = others.filter(|line| !line.starts_with("| *")).filter_map(|line| bar(&line));
    Some([first].into_iter().chain(others).collect())
}

/// A row's name, without quotes and without what stands behind a comma, and its wall time.
fn bar(row: &str) -> Option<Bar> {
    let mut cells = row.split('|').map(str::trim).skip(1);
    let name = cells.next()?.replace(['*', '`'], "").replace('\u{0}', "|");
    let name = name.split(", ").next()?.to_owned();
    let seconds = cells.nth(1)?.parse().ok()?;
    Some(Bar { name, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
| **`pull NAME \\| unpack DIR`** | all | 1.94 | 3.18 | pull 10 |  |  |  |
| *floor* | | 1.61 | 3.23 | | | *1.21* | *0.99* |
| `skopeo copy` + `umoci raw unpack`, 2 of 3 rounds | all | 7.31 | 9.88 |  |  | 3.74 | 3.02 |
| **`cat FILE \\| unpack DIR`** | all | 1.59 | 2.61 |  |  |  |  |
";

    #[test]
    fn a_job_has_our_time_and_that_of_other_tools() {
        let bar = |name: &str, seconds| Bar { name: name.to_owned(), seconds };
        assert_eq!(
            bars(PAGE, "pull NAME | unpack DIR").unwrap(),
            [bar("pull NAME | unpack DIR", 1.94), bar("skopeo copy + umoci raw unpack", 7.31)]
        );
        assert_eq!(bars(PAGE, "push NAME"), None);
    }

    #[test]
    fn a_page_without_figures_is_an_error() {
        assert!(draw(PAGE).unwrap_err().to_string().contains("no figures of pull"));
    }
}
