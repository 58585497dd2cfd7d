//! `cargo xtask mutants`: how well the tests see. Small faults are put into the code, one at a time, and each of them
//! should make a test fail.

mod copy;
pub(crate) mod options;
mod sites;
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use anyhow::Context as _;

use self::copy::Copy;
use self::suite::Fate;
use xtask::run;

/// Mutants that no test can catch, each with its reason: `file: function: change: reason`, a line each.
const EQUIVALENT: &str = "xtask/equivalent-mutants.txt";

/// What `mutants` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Crates to change; all of them without
    crates: Vec<String>,
    /// How many mutants to try, chosen by the seed; all of them without
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Which sample
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Only mutants whose file, function or change holds this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Ignore every option of every program in turn instead, and write tests/options.txt: which test sees that
    #[arg(long, conflicts_with_all = ["crates", "sample", "seed"])]
    options: bool,
}

/// Tries mutants and tells the survivors.
pub(crate) fn mutants(args: &Args) -> anyhow::Result<()> {
    if args.options {
        return options::options(args.only.as_deref());
    }
    let copy = Copy::make(&args.crates)?;
    run::say(&format!("{} mutants, {} of them compile", copy.mutants.len(), copy.viable.len()));
    let chosen = choose(&copy, args)?;
    let tests = suite::build(&copy)?;
    run::say(&format!("{} tests; recording which mutants each of them reaches", tests.len()));
    let tests = suite::record(&tests, copy.mutants.len());
    run::say(&format!("trying {} mutants", chosen.len()));
    let fates = Mutex::new(vec![]);
    suite::judge(&tests, &copy, &chosen, |number, fate| {
        match &fate {
            Fate::Caught(_) => {}
            Fate::Survived => run::say(&format!("survived   {}", copy.mutants[number])),
            Fate::Unreached => run::say(&format!("unreached  {}", copy.mutants[number])),
        }
        let mut fates = fates.lock().expect("no worker panics");
        fates.push((number, fate));
        if fates.len().is_multiple_of(50) {
            let n_caught = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Caught(_))).count();
            run::say(&format!("tried {}, caught {n_caught}", fates.len()));
        }
    });
    let fates = fates.into_inner().expect("no worker panics");
    for line in summary(&copy, &fates) {
        run::say(&line);
    }
    Ok(())
}

/// The mutants to try: a sample that depends on the seed alone.
fn choose(copy: &Copy, args: &Args) -> anyhow::Result<Vec<usize>> {
    let equivalent = equivalent()?;
    let mut chosen: Vec<usize> = copy
        .viable
        .iter()
        .copied()
        .filter(|&number| !equivalent.contains(&copy.mutants[number].key()))
        .filter(|&number| {
            let shown = copy.mutants[number].to_string();
            args.only.as_ref().is_none_or(|text| shown.contains(text.as_str()))
        })
        .collect();
    chosen.sort_by_key(|&number| scattered(number as u64 ^ args.seed.rotate_left(32)));
    chosen.truncate(args.sample.unwrap_or(usize::MAX));
    Ok(chosen)
}

/// One round of splitmix64: neighbours come far apart.
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn equivalent() -> anyhow::Result<BTreeSet<String>> {
    let path = run::root().join(EQUIVALENT);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {EQUIVALENT}"))?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.filter_map(key).collect())
}

/// The first three parts of a line; the fourth is the reason.
fn key(line: &str) -> Option<String> {
    let (key, _reason) = line.rsplit_once(" # ")?;
    Some(key.to_owned())
}

/// A table: caught by the crate's own tests, only from outside, survived, unreached.
fn summary(copy: &Copy, fates: &[(usize, Fate)]) -> Vec<String> {
    let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (number, fate) in fates {
        let package = copy.mutants[*number].package();
        let column = match fate {
            Fate::Caught(by) if by.package == package => 0,
            Fate::Caught(_) => 1,
            Fate::Survived => 2,
            Fate::Unreached => 3,
        };
        for name in [package, "sum"] {
            counts.entry(name).or_default()[column] += 1;
        }
    }
    let mut lines = vec![format!(
        "{:<14} {:>6} {:>6} {:>8} {:>9} {:>10} {:>7}",
        "crate", "tried", "own", "outside", "survived", "unreached", "caught"
    )];
    lines.extend(counts.iter().map(|(name, [own, outside, survived, unreached])| {
        let tried = own + outside + survived + unreached;
        let share = (own + outside) * 100 / tried.max(1);
        format!(
            "{name:<14} {tried:>6} {own:>6} {outside:>8} {survived:>9} {unreached:>10} {share:>6}%"
        )
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_ends_with_its_reason() {
        let line = "crates/a/src/b.rs: f: replace < by <=: # equal lengths never come here";
        assert_eq!(key(line).as_deref(), Some("crates/a/src/b.rs: f: replace < by <=:"));
        assert_eq!(key("crates/a/src/b.rs: f: replace < by <="), None);
    }

    #[test]
    fn a_seed_gives_the_same_sample_each_time_and_another_one_another() {
        let sample = |seed: u64| {
            let mut all: Vec<u64> = (0..100).collect();
            all.sort_by_key(|&number| scattered(number ^ seed.rotate_left(32)));
            all.truncate(5);
            all
        };
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
    }
}
