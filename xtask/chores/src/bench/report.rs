//! The figures as Markdown, and their place in docs/performance.md.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::contest::{Entry, Outcome};
use super::image::{Kind, Prepared};
use super::measure::{Cost, median};
use super::stages::Stages;
use xtask::run::{output, root, say};

const PAGE: &str = "docs/performance.md";

/// Words of /proc/cpuinfo that decide how fast hashing and decompressing is.
const FLAGS: &[&str] = &["sha_ni", "sha2", "avx2", "avx512f", "pclmulqdq", "bmi2"];

/// What peers are asked for their version.
const TOOLS: &[(&str, &[&str])] = &[
    ("skopeo", &["--version"]),
    ("umoci", &["--version"]),
    ("podman", &["--version"]),
    ("buildah", &["--version"]),
    ("dockerd", &["--version"]),
    ("docker-registry", &["--version"]),
    ("tar", &["--version"]),
    ("gzip", &["--version"]),
    ("pigz", &["--version"]),
    ("zstd", &["-qV"]),
];

/// All figures of an image.
pub(super) fn markdown(
    (kind, peers): (Kind, Option<&Path>),
    prepared: &Prepared,
    stages: &Stages,
    outcomes: &[Outcome],
) -> anyhow::Result<String> {
    let beside = if peers.is_some() { ", beside other releases of the tools" } else { "" };
    let mut text = format!("## {}{beside}\n\n{}\n\n", kind.name(), machine(peers)?);
    let n_layers = prepared.layers.len();
    let size = match prepared.n_bytes {
        n if n < 10_000_000 => format!("{} kB", n / 1000),
        n => format!("{} MB", n / 1_000_000),
    };
    let s = if n_layers == 1 { "" } else { "s" };
    writeln!(
        text,
        "The image: {n_layers} {} layer{s}, {size}. Stages by themselves, seconds of CPU: blobs over HTTP {:.2}, \
         hashing them {:.2}, decompressing {:.2}, hashing what comes out {:.2}, making the files {:.2}.\n",
        prepared.codec,
        stages.arrive,
        stages.hash_blobs,
        stages.decompress,
        stages.hash_plain,
        stages.create
    )?;
    text.push_str(
        "| | verifies | wall s | CPU s | peak MB | temporary MB | wall | CPU |\n|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        table(&mut text, stages, outcome)?;
    }
    text.push_str(
        "\nMedians; the last two columns are medians of each round's ratio to ours, so 4 means that ours is four times as \
         fast. For floors they are ours in terms of the floor, 1 being the limit. Temporary is what was on the disk and was gone \
         at the end.\n",
    );
    Ok(text)
}

fn table(text: &mut String, stages: &Stages, outcome: &Outcome) -> anyhow::Result<()> {
    for (position, entry) in outcome.entries.iter().enumerate() {
        row(text, outcome, entry)?;
        if position == 0 {
            floor(text, stages, outcome, entry)?;
        }
    }
    Ok(())
}

fn row(text: &mut String, outcome: &Outcome, entry: &Entry) -> anyhow::Result<()> {
    let is_ours = std::ptr::eq(entry, &raw const outcome.entries[0]);
    let title = if is_ours {
        format!("**`{}`**", entry.runner.title.replace(" | ", " \\| "))
    } else {
        entry.runner.title.clone()
    };
    let costs = match &entry.costs {
        Ok(costs) => costs,
        Err(why) => {
            let why = reason(why);
            return Ok(writeln!(text, "| {title} | can't: {why} | | | | | | |")?);
        }
    };
    let n_rounds = outcome.entries[0].costs.as_ref().map_or(0, Vec::len);
    let title = shown(&title, costs.len(), n_rounds);
    let wall = median(costs.iter().map(|cost| cost.wall));
    let cpu = number(cpu(costs));
    let peaks = peaks(costs);
    let [walls, cpus] = if is_ours {
        [String::new(), String::new()]
    } else {
        let ratio = |part: fn(&Cost) -> Option<f64>| number(outcome.ratio(entry, part));
        [ratio(|cost| Some(cost.wall)), ratio(|cost| cost.cpu)]
    };
    let verifies = entry.runner.verifies;
    let disk = temporary(costs);
    Ok(writeln!(
        text,
        "| {title} | {verifies} | {wall:.2} | {cpu} | {peaks} | {disk} | {walls} | {cpus} |"
    )?)
}

/// The last two links of an error's chain: what can't be done, and why not.
pub(super) fn reason(why: &str) -> &str {
    why.rmatch_indices(": ").nth(1).map_or(why, |(at, link)| &why[at + link.len()..])
}

/// A title, and in how many rounds it ran if it sat out some.
pub(super) fn shown(title: &str, n: usize, n_rounds: usize) -> String {
    if n < n_rounds { format!("{title}, {n} of {n_rounds} rounds") } else { title.to_owned() }
}

fn floor(
    text: &mut String,
    stages: &Stages,
    outcome: &Outcome,
    ours: &Entry,
) -> anyhow::Result<()> {
    let (Ok(costs), Some(floor)) = (&ours.costs, stages.floor(outcome.job)) else { return Ok(()) };
    let wall = median(costs.iter().map(|cost| cost.wall)) / floor.wall;
    let cpu = number(cpu(costs).map(|cpu| cpu / floor.cpu));
    let (floor_wall, floor_cpu) = (floor.wall, floor.cpu);
    Ok(writeln!(
        text,
        "| *floor* | | {floor_wall:.2} | {floor_cpu:.2} | | | *{wall:.2}* | *{cpu}* |"
    )?)
}

fn cpu(costs: &[Cost]) -> Option<f64> {
    costs.iter().map(|cost| cost.cpu).collect::<Option<Vec<_>>>().map(median)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| format!("{value:.2}"))
}

/// The largest of all rounds, of each program.
fn peaks(costs: &[Cost]) -> String {
    let mut largest: Vec<(&str, u64)> = Vec::new();
    for (name, kilobytes) in costs.iter().flat_map(|cost| &cost.peaks) {
        match largest.iter_mut().find(|(known, _)| known == name) {
            Some((_, most)) => *most = (*most).max(*kilobytes),
            None => largest.push((name, *kilobytes)),
        }
    }
    largest.sort_unstable();
    let shown =
        largest.iter().map(|(name, kilobytes)| format!("{name} {}", kilobytes.div_ceil(1024)));
    shown.collect::<Vec<_>>().join(", ")
}

/// What was on the disk and went again, in MB; nothing where that wasn't watched.
fn temporary(costs: &[Cost]) -> String {
    let sizes: Option<Vec<f64>> = costs
        .iter()
        .map(|cost| Some(f64::from(u32::try_from(cost.temporary?).unwrap_or(u32::MAX))))
        .collect();
    sizes.map_or_else(String::new, |sizes| format!("{:.0}", median(sizes) / 1024.0))
}

/// What it all ran on, and which versions. Other tools are taken from `peers` first.
pub(super) fn machine(peers: Option<&Path>) -> anyhow::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        line.split_once(": ").map(|(_, value)| value.trim())
    };
    let model = field("model name").unwrap_or(std::env::consts::ARCH);
    let has: Vec<&str> =
        field("flags").or(field("Features")).unwrap_or_default().split(' ').collect();
    let flags: Vec<&str> = FLAGS.iter().copied().filter(|flag| has.contains(flag)).collect();
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = output(&["uname", "-r"])?;
    let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let memory = memory.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok());
    let gigabytes = memory.unwrap_or(0_u64).div_ceil(1 << 20);
    let tools: Vec<String> =
        TOOLS.iter().filter_map(|(name, args)| version(peers, name, args)).collect();
    Ok(format!(
        "{model}, {n_cores} cores ({}), {gigabytes} GiB, Linux {}, trees on tmpfs. {}.",
        flags.join(" "),
        kernel.trim(),
        tools.join(", ")
    ))
}

/// A tool's name and version: the first word of its first line that has a digit.
fn version(peers: Option<&Path>, name: &str, args: &[&str]) -> Option<String> {
    let theirs = peers.map(|dir| dir.join(name)).filter(|path| path.exists());
    let program = theirs.as_deref().and_then(Path::to_str).unwrap_or(name);
    let text = output(&[&[program], args].concat()).ok()?;
    let word = text.lines().next()?.split_whitespace().find(|word| {
        word.trim_start_matches(['v', '(']).starts_with(|c: char| c.is_ascii_digit())
    })?;
    Some(format!("{name} {}", word.trim_matches([',', 'v', '(', ')'])))
}

/// Puts the figures between their marks, or at the page's end.
pub(super) fn write(name: &str, report: &str) -> anyhow::Result<()> {
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).context(PAGE)?;
    fs::write(&path, inserted(&page, name, report)).context(PAGE)?;
    say(&format!("wrote {PAGE}"));
    Ok(())
}

fn inserted(page: &str, name: &str, report: &str) -> String {
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- end {name} -->\n"));
    let block = format!("{begin}{report}{end}");
    let found = page.find(&begin).and_then(|start| Some((start, page.find(&end)?)));
    match found {
        Some((start, stop)) => format!("{}{block}{}", &page[..start], &page[stop + end.len()..]),
        None => format!("{}\n\n{block}", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_last_one() {
        let page = inserted("# Page\n\nText.\n", "small", "one\n");
        let expected = "# Page\n\nText.\n\n<!-- bench small -->\none\n<!-- end small -->\n";
        assert_eq!(page, expected);
        let page = inserted(&format!("{page}\nMore.\n"), "small", "two\n");
        assert_eq!(page, format!("{}\nMore.\n", expected.replace("one", "two")));
    }

    #[test]
    fn a_reason_is_what_comes_last() {
        let why = "`umoci unpack`: exit status: 1: layer: blob is not correct mediatype: tar+zstd";
        assert_eq!(reason(why), "blob is not correct mediatype: tar+zstd");
        assert_eq!(reason("no dockerd"), "no dockerd");
    }

    #[test]
    fn peaks_are_the_largest_of_each_program() {
        let cost = |pull, unpack| Cost {
            peaks: vec![("unpack".to_owned(), unpack), ("pull".to_owned(), pull)],
            ..Cost::default()
        };
        assert_eq!(peaks(&[cost(5000, 9000), cost(6000, 8000)]), "pull 6, unpack 9");
    }
}
