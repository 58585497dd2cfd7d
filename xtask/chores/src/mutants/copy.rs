//! A copy of the workspace that holds every mutant at once, each behind a switch.
//!
//! Building a program for each mutant takes minutes; reading an environment variable takes none. So `a == b` becomes
//! `(if crate::mutant::on(17) { a != b } else { a == b })`, and a test run with `STRATA_MUTANT=17` meets that mutant alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::sites::{self, Site};
use xtask::run;

/// The variable that names the active mutant.
pub(super) const ACTIVE: &str = "STRATA_MUTANT";
/// The variable that names the file where reached mutants leave a mark, a byte each.
pub(super) const RECORD: &str = "STRATA_MUTANT_RECORD";

/// One mutant.
#[derive(Clone, Debug)]
pub(super) struct Mutant {
    /// Its file, from the root: `crates/store/src/gc.rs`.
    pub(super) file: String,
    /// Its line, from 1.
    pub(super) line: usize,
    /// The function around it.
    pub(super) function: String,
    /// What it changes, in words.
    pub(super) what: String,
}

impl Mutant {
    /// The crate that it stands in.
    pub(super) fn package(&self) -> &str {
        self.file.split('/').nth(1).unwrap_or_default()
    }

    /// What stays when lines move: file, function and change.
    pub(super) fn key(&self) -> String {
        format!("{}: {}: {}", self.file, self.function, self.what)
    }
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {} in {}", self.file, self.line, self.what, self.function)
    }
}

/// The copy, with the mutants that compile.
#[derive(Debug)]
pub(super) struct Copy {
    /// Where it lies.
    pub(super) root: PathBuf,
    /// Every mutant that was found, by number; those that don't compile too.
    pub(super) mutants: Vec<Mutant>,
    /// The numbers of those that compile.
    pub(super) viable: BTreeSet<usize>,
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    text: String,
    sites: Vec<Site>,
    /// The number of each site's first alternative.
    numbers: Vec<usize>,
    /// Where each alternative stands in the text that was written.
    written: Vec<(usize, Range<usize>)>,
    /// Where each whole site stands there.
    whole: Vec<(usize, Range<usize>)>,
}

impl Copy {
    /// Copies the workspace, finds all mutants in `packages` (all if none), and drops those that don't compile.
    pub(super) fn make(packages: &[String]) -> anyhow::Result<Self> {
        let root = run::root().join("target/mutants/tree");
        let mut copy =
            Self { root, mutants: vec![], viable: BTreeSet::new(), files: BTreeMap::new() };
        for path in paths()? {
            copy.take(&path, packages).with_context(|| path.clone())?;
        }
        ensure!(!copy.mutants.is_empty(), "no such crate");
        copy.viable = (0..copy.mutants.len()).collect();
        let paths: Vec<_> = copy.files.keys().cloned().collect();
        for path in &paths {
            copy.write(path)?;
        }
        copy.drop_broken()?;
        Ok(copy)
    }

    /// A cargo command on the copy.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = cargo(&self.root, &run::root().join("target/mutants/build"));
        // A mutant may do what a lint forbids, such as a sum that can only overflow; a test shall find it.
        cargo.env("RUSTFLAGS", "--cap-lints=allow");
        cargo
    }

    fn take(&mut self, path: &str, packages: &[String]) -> anyhow::Result<()> {
        let bytes = fs::read(run::root().join(path)).context("reading")?;
        let package = path.strip_prefix("crates/").and_then(|rest| rest.split_once('/'));
        let is_code = package.is_some_and(|(name, rest)| {
            let chosen = packages.is_empty() || packages.iter().any(|package| package == name);
            // What isn't compiled here, no test can reach.
            let is_elsewhere = ["/elsewhere.rs", "/no_zstd.rs"].iter().any(|it| rest.ends_with(it));
            let excluded = rest == "src/main.rs" || rest.ends_with("/tests.rs") || is_elsewhere;
            chosen
                && rest.starts_with("src/")
                && Path::new(rest).extension() == Some("rs".as_ref())
                && !excluded
        });
        if !is_code {
            let is_root = package.is_some_and(|(_, rest)| rest == "src/lib.rs");
            let bytes = if is_root { [&bytes, SWITCH.as_bytes()].concat() } else { bytes };
            return write_if_new(&self.root.join(path), &bytes);
        }
        let text = String::from_utf8(bytes).context("not text")?;
        let sites = sites::of(&text)?;
        let mut numbers = vec![];
        for site in &sites {
            numbers.push(self.mutants.len());
            self.mutants.extend(site.alternatives.iter().map(|each| Mutant {
                file: path.to_owned(),
                line: site.line,
                function: site.function.clone(),
                what: each.what.clone(),
            }));
        }
        let file = File { text, sites, numbers, written: vec![], whole: vec![] };
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    fn write(&mut self, path: &str) -> anyhow::Result<()> {
        let file = self.files.get_mut(path).context("no such file")?;
        let mut text = file.render(&self.viable);
        if path.ends_with("/src/lib.rs") {
            text.push_str(SWITCH);
        }
        write_if_new(&self.root.join(path), text.as_bytes())
    }

    /// Checks the copy until it compiles, and drops what stands where the compiler complains.
    fn drop_broken(&mut self) -> anyhow::Result<()> {
        for round in 1.. {
            let errors = self.errors()?;
            if errors.is_empty() {
                return Ok(());
            }
            let mut broken = BTreeSet::new();
            for (path, at) in &errors {
                let file =
                    self.files.get(path).with_context(|| format!("{path} doesn't compile"))?;
                broken.extend(file.at(at, &self.viable));
            }
            let (n_errors, n_broken) = (errors.len(), broken.len());
            run::say(&format!(
                "round {round}: {n_errors} errors, {n_broken} mutants don't compile"
            ));
            if broken.is_empty() {
                bail!("the copy doesn't compile: {errors:?}");
            }
            self.viable.retain(|number| !broken.contains(number));
            let paths: BTreeSet<_> =
                broken.iter().map(|&number| self.mutants[number].file.clone()).collect();
            for path in &paths {
                self.write(path)?;
            }
        }
        Ok(())
    }

    /// Where the compiler complains: files and bytes.
    fn errors(&self) -> anyhow::Result<BTreeSet<(String, At)>> {
        let line = ["check", "--workspace", "--lib", "--keep-going", "--message-format=json"];
        let output = self.cargo().args(line).output().context("starting cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let errors = messages
            .filter(|message| message["message"]["level"] == "error")
            .flat_map(|message| spans(&message["message"]))
            .collect::<BTreeSet<_>>();
        ensure!(
            output.status.success() || !errors.is_empty(),
            "cargo check: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(errors)
    }
}

/// The files of the workspace that are there, from the root: what git tracks or would track.
pub(super) fn paths() -> anyhow::Result<Vec<String>> {
    let line = ["git", "ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = run::output(&line)?;
    let is_file = |path: &&str| run::root().join(path).is_file();
    Ok(listed.lines().filter(is_file).map(str::to_owned).collect())
}

/// A cargo command on a copy of the workspace that is built in `target`.
pub(super) fn cargo(root: &Path, target: &Path) -> Command {
    let mut cargo = run::command(&["cargo"]);
    cargo.current_dir(root).env("CARGO_TARGET_DIR", target).env("CARGO_INCREMENTAL", "1");
    cargo
}

/// The first and the last byte that the compiler points at.
type At = (usize, usize);

fn spans(message: &Value) -> Vec<(String, At)> {
    let spans = message["spans"].as_array().into_iter().flatten();
    spans
        .filter(|span| span["is_primary"] == true)
        .filter_map(|span| {
            let byte = |name: &str| usize::try_from(span[name].as_u64()?).ok();
            let at = (byte("byte_start")?, byte("byte_end")?);
            Some((span["file_name"].as_str()?.to_owned(), at))
        })
        .collect()
}

impl File {
    /// The text with every viable alternative in it.
    fn render(&mut self, viable: &BTreeSet<usize>) -> String {
        let mut order: Vec<usize> = (0..self.sites.len()).collect();
        order
            .sort_by_key(|&at| (self.sites[at].range.start, usize::MAX - self.sites[at].range.end));
        let mut out = String::new();
        let (mut written, mut whole) = (vec![], vec![]);
        let mut rest = order.as_slice();
        let mut places = Places { written: &mut written, whole: &mut whole, viable };
        self.span(0..self.text.len(), &mut rest, &mut out, &mut places);
        (self.written, self.whole) = (written, whole);
        out
    }

    fn span(
        &self,
        range: Range<usize>,
        rest: &mut &[usize],
        out: &mut String,
        places: &mut Places<'_>,
    ) {
        let mut done = range.start;
        while let [first, others @ ..] = *rest {
            let site = &self.sites[*first];
            let is_within = site.range.start >= done && site.range.end <= range.end;
            if !is_within {
                break;
            }
            *rest = others;
            out.push_str(&self.text[done..site.range.start]);
            self.site(*first, rest, out, places);
            done = site.range.end;
        }
        out.push_str(&self.text[done..range.end]);
    }

    fn site(&self, at: usize, rest: &mut &[usize], out: &mut String, places: &mut Places<'_>) {
        let site = &self.sites[at];
        let begin = out.len();
        let alternatives = site.alternatives.iter().zip(self.numbers[at]..);
        let alternatives: Vec<_> =
            alternatives.filter(|(_, number)| places.viable.contains(number)).collect();
        let is_body = site.range.is_empty();
        if !is_body && !alternatives.is_empty() {
            out.push('(');
        }
        for (alternative, number) in &alternatives {
            out.push_str("if crate::mutant::on(");
            out.push_str(&number.to_string());
            out.push_str(") { ");
            let start = out.len();
            if is_body {
                out.push_str("return ");
            }
            out.push_str(&alternative.text);
            places.written.push((*number, start..out.len()));
            out.push_str(if is_body { "; } " } else { " } else " });
        }
        if !is_body {
            let braced = !alternatives.is_empty();
            if braced {
                out.push_str("{ ");
            }
            self.span(site.range.clone(), rest, out, places);
            if braced {
                out.push_str(" })");
            }
        }
        places.whole.push((at, begin..out.len()));
    }

    /// The mutants that a complaint is about: those whose text it touches, else all of the innermost place around it.
    fn at(&self, (start, end): &At, viable: &BTreeSet<usize>) -> Vec<usize> {
        let touches =
            |range: &Range<usize>| range.start < (*end).max(start + 1) && *start < range.end;
        let inside = |range: &Range<usize>| range.start <= *start && *end <= range.end;
        let exact: Vec<_> = self
            .written
            .iter()
            .filter(|(_, range)| inside(range))
            .map(|(number, _)| *number)
            .collect();
        if !exact.is_empty() {
            return exact;
        }
        let mut around: Vec<_> =
            self.whole.iter().filter(|(_, range)| inside(range) || touches(range)).collect();
        around.sort_by_key(|(_, range)| range.len());
        let numbers = |at: usize| {
            let first = self.numbers[at];
            (first..first + self.sites[at].alternatives.len())
                .filter(|number| viable.contains(number))
        };
        around
            .iter()
            .map(|(at, _)| numbers(*at).collect::<Vec<_>>())
            .find(|all| !all.is_empty())
            .unwrap_or_default()
    }
}

/// Where things stand in what is written.
struct Places<'a> {
    written: &'a mut Vec<(usize, Range<usize>)>,
    whole: &'a mut Vec<(usize, Range<usize>)>,
    viable: &'a BTreeSet<usize>,
}

/// Writes a file, unless it holds just that already: cargo builds again what is newer.
pub(super) fn write_if_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let parent = path.parent().context("no parent")?;
    fs::create_dir_all(parent).context("making a directory")?;
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// The switch, at the end of each crate's front page. The record is mapped, not written to: a program under test may have a limit
/// on files, or count its descriptors.
pub(super) const SWITCH: &str = r#"
#[expect(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, unfulfilled_lint_expectations, dead_code, reason = "made by cargo xtask mutants")]
mod mutant {
    use std::os::fd::AsRawFd as _;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Switch { active: usize, record: &'static [AtomicU8] }

    static SWITCH: OnceLock<Switch> = OnceLock::new();

    unsafe extern "C" {
        fn mmap(at: *mut u8, length: usize, protection: i32, flags: i32, file: i32, offset: isize) -> *mut u8;
    }

    fn switch() -> Switch {
        let number = |name: &str| std::env::var(name).ok();
        let active = number("STRATA_MUTANT").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
        let record = number("STRATA_MUTANT_RECORD").and_then(|path| map(&path).ok()).unwrap_or_default();
        Switch { active, record }
    }

    fn map(path: &str) -> std::io::Result<&'static [AtomicU8]> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len() as usize;
        // Readable and writable, shared.
        let at = unsafe { mmap(std::ptr::null_mut(), length, 3, 1, file.as_raw_fd(), 0) };
        if at as isize == -1 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(unsafe { std::slice::from_raw_parts(at.cast(), length) })
    }

    pub(crate) fn on(number: usize) -> bool {
        let switch = SWITCH.get_or_init(switch);
        if let Some(seen) = switch.record.get(number) {
            seen.store(1, Ordering::Relaxed);
        }
        switch.active == number
    }
}
"#;
