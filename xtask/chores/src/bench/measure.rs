//! One run: what all its processes took together, and how large ours grew.
//!
//! bash's `time` adds up what the kernel has counted for every process of a line that was waited for, theirs included;
//! GNU time asks for the peak of a single one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::PROGRAMS;
use super::disk::Watch;

/// What a run took.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    /// Seconds on the clock.
    pub(super) wall: f64,
    /// Seconds of all processors, user and system; unknown where another process did the work.
    pub(super) cpu: Option<f64>,
    /// The largest resident size of each of our programs in the line, in kB.
    pub(super) peaks: Vec<(String, u64)>,
    /// The most that was on the disk and wasn't there any more at the end, in kB, where that was watched.
    pub(super) temporary: Option<u64>,
}

/// Whether it is of interest what a run has on the disk for a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Disk {
    Ignored,
    Watched,
}

/// Our programs, $PROGRAMS, watched.
const FUNCTIONS: &str = "set -o pipefail
watch() { /usr/bin/time -o \"$NOTES.peak\" -a -f \"$1 %M\" \"$@\"; }
for p in $PROGRAMS; do eval \"$p() { watch $p \\\"\\$@\\\"; }\"; done
TIMEFORMAT='%3R %3U %3S'";

/// Runs a line in the given shell. `notes` is a path for what is found out.
pub(super) fn measure(
    mut shell: Command,
    line: &str,
    notes: &Path,
    disk: Disk,
) -> anyhow::Result<Cost> {
    ensure!(Path::new("/usr/bin/time").exists(), "GNU time is missing: the package `time`");
    let peaks = notes.with_extension("peak");
    fs::write(&peaks, "").context("making notes")?;
    let script = format!("{FUNCTIONS}\ntime {{ {line}\n}} >/dev/null 2>\"$NOTES.log\"");
    let watch = (disk == Disk::Watched).then(Watch::start);
    let output = shell
        .args(["--noprofile", "--norc", "-c", &script])
        .env("NOTES", notes)
        .env("PROGRAMS", PROGRAMS.join(" "))
        .output()
        .context("starting bash")?;
    let temporary = watch.and_then(Watch::stop);
    if !output.status.success() {
        let log = fs::read_to_string(notes.with_extension("log")).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        anyhow::bail!("`{line}`: {}: {last}", output.status);
    }
    let times = String::from_utf8_lossy(&output.stderr);
    let peaks = fs::read_to_string(&peaks).context("reading notes")?;
    let cost = parse(&times, &peaks);
    let cost = cost.with_context(|| format!("the times of `{line}`: {times}"))?;
    Ok(Cost { temporary, ..cost })
}

fn parse(times: &str, peaks: &str) -> Option<Cost> {
    let line = times.lines().last()?;
    let times: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[wall, user, system] = &times[..] else { return None };
    let peaks = peaks.lines().filter_map(|line| line.split_once(' '));
    let peaks = peaks.filter_map(|(name, size)| Some((name.to_owned(), size.parse().ok()?)));
    Some(Cost { wall, cpu: Some(user + system), peaks: peaks.collect(), temporary: None })
}

/// The middle one, or the mean of the middle two.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (half, is_odd) = (values.len() / 2, values.len() % 2 == 1);
    match values.len() {
        0 => f64::NAN,
        _ if is_odd => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_measured_with_all_its_processes() {
        if kit::peers::peer("time").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let shell = || Command::new("bash");
        let busy = "while ((i++ < 30000)); do :; done";
        let line = format!("({busy}) | (cat; {busy})");
        let cost = measure(shell(), &line, &dir.path().join("notes"), Disk::Ignored).unwrap();
        assert!(cost.cpu.is_some_and(|cpu| cpu > 0.01) && cost.wall > 0.005, "{cost:?}");
        let error = measure(
            shell(),
            "echo why >&2; false | true",
            &dir.path().join("notes"),
            Disk::Ignored,
        );
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "`echo why >&2; false | true`: exit status: 1: why");
    }

    #[test]
    fn each_of_our_programs_is_watched() {
        if kit::peers::peer("time").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in PROGRAMS {
            std::os::unix::fs::symlink("/bin/true", dir.path().join(name)).unwrap();
        }
        let mut shell = Command::new("bash");
        shell.env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()));
        let cost = measure(shell, &PROGRAMS.join(" | "), &dir.path().join("notes"), Disk::Ignored)
            .unwrap();
        let mut watched: Vec<_> = cost.peaks.iter().map(|(name, _)| name.as_str()).collect();
        watched.sort_unstable();
        let mut all = PROGRAMS;
        all.sort_unstable();
        assert_eq!(watched, all);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).is_nan());
    }

    #[test]
    fn peaks_have_names() {
        let cost = parse("1.500 1.000 0.250\n", "pull 9000\nunpack 12000\n").unwrap();
        assert_eq!(cost.peaks, [("pull".to_owned(), 9000), ("unpack".to_owned(), 12000)]);
        assert!(cost.cpu.is_some_and(|cpu| (cpu - 1.25).abs() < 1e-9));
    }
}
