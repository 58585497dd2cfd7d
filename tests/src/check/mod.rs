//! One checker for all results: is this archive or this layout sound, from scratch?
//!
//! Nothing is believed: the tar is read block by block, every blob is hashed, every descriptor's
//! digest, size and the diff ids are compared with what is really there, and `manifest.json` with
//! `index.json`.

mod canonical;
mod docker;
mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::image::codec::decode;
use crate::image::digest;
use crate::tarball;

/// Why an archive or a layout is not sound. Shows the same text in `{}` and `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// What a sound archive or layout holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The names, as the archive writes them, in its order.
    pub names: Vec<String>,
    /// For each name: the digest that index.json gives it (without index.json: the config's).
    pub digests: Vec<String>,
    /// All image manifests reached, without attestations, in the order of their indexes.
    pub manifests: Vec<String>,
    /// The diff ids of all those images, base first, image after image.
    pub diff_ids: Vec<String>,
    /// The blobs by digest in the order of the archive (of a layout: sorted).
    pub blobs: Vec<String>,
    /// Referenced, but not there.
    pub absent: Vec<String>,
    /// There, but not referenced.
    pub orphans: Vec<String>,
    /// All members of the archive, in order, without a leading `./` (of a layout: none).
    pub members: Vec<String>,
}

/// May blobs be absent?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// Only those that `strata.json` names.
    AsDeclared,
    /// Any.
    Allowed,
}

/// The files of an archive or a layout, and the blobs by the digests they really have.
#[derive(Debug, Default)]
struct Files {
    by_path: BTreeMap<String, Vec<u8>>,
    links: BTreeMap<String, String>,
    digest_of: BTreeMap<String, String>,
    path_of: BTreeMap<String, String>,
    order: Vec<String>,
}

impl Files {
    fn add(&mut self, path: String, bytes: Vec<u8>) -> Result<(), Problem> {
        let digest = digest(&bytes);
        if let Some(hex) = path.strip_prefix("blobs/sha256/")
            && digest != format!("sha256:{hex}")
        {
            return Err(Problem(format!("{path} really holds {digest}")));
        }
        self.path_of.entry(digest.clone()).or_insert_with(|| path.clone());
        self.digest_of.insert(path.clone(), digest);
        if self.by_path.insert(path.clone(), bytes).is_some() {
            return Err(Problem(format!("{path} is there twice")));
        }
        self.order.push(path);
        Ok(())
    }

    /// The bytes of a blob in `blobs/`.
    fn blob(&self, digest: &str) -> Option<&[u8]> {
        let hex = digest.strip_prefix("sha256:")?;
        self.by_path.get(&format!("blobs/sha256/{hex}")).map(Vec::as_slice)
    }

    fn json(&self, path: &str) -> Result<Option<Value>, Problem> {
        self.by_path.get(path).map(|bytes| parse(path, bytes)).transpose()
    }

    fn blobs(&self) -> Vec<String> {
        let blobs = self.order.iter().filter_map(|path| path.strip_prefix("blobs/sha256/"));
        blobs.map(|hex| format!("sha256:{hex}")).collect()
    }
}

fn parse(what: &str, bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem(format!("{what} is not JSON: {error}")))
}

/// Checks an archive: an image stream, an OCI archive, a docker-archive, or two of these at once;
/// outer compression is undone. A thin stream may lack only what its `strata.json` names.
pub fn stream(bytes: &[u8]) -> Result<Report, Problem> {
    archive(bytes, Absent::AsDeclared)
}

/// Checks an archive that may lack any blob, and reports which.
pub fn partial(bytes: &[u8]) -> Result<Report, Problem> {
    archive(bytes, Absent::Allowed)
}

/// Checks an archive as [`stream`] does, and that it is written exactly as our image streams are:
/// order of members, headers, names, two zero blocks at the end and nothing after them.
pub fn canonical(bytes: &[u8]) -> Result<Report, Problem> {
    let report = stream(bytes)?;
    canonical::check(bytes, &report)?;
    Ok(report)
}

fn archive(bytes: &[u8], absent: Absent) -> Result<Report, Problem> {
    let tar = decode(bytes)?;
    let mut files = Files::default();
    let mut members = Vec::new();
    for member in tarball::read(&tar)? {
        let path = String::from_utf8(member.path).map_err(|_| "a member's name is not UTF-8")?;
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        members.push(path.clone());
        match member.flag {
            b'0' | 0 => files.add(path, tar[member.content].to_vec())?,
            b'2' => {
                let target = String::from_utf8_lossy(&member.link).into_owned();
                files.links.insert(path, target);
            }
            b'5' => {}
            flag => return Err(Problem(format!("{path} is of type {}", flag.escape_ascii()))),
        }
    }
    let mut report = Report { members, ..Report::default() };
    let index = files.json("index.json")?;
    let docker = files.json("manifest.json")?;
    if let Some(index) = &index {
        oci(&files, index, absent, &mut report)?;
    }
    match (&index, docker) {
        (None, None) => return Err("neither index.json nor manifest.json".into()),
        (_, Some(manifest)) => docker::check(&files, &manifest, index.is_some(), &mut report)?,
        (Some(_), None) => {}
    }
    Ok(report)
}

/// Checks an OCI layout in a directory: our store, or another tool's.
///
/// Every file under `blobs/` must hash to its name; what nothing refers to is reported.
pub fn layout(dir: impl AsRef<Path>) -> Result<Report, Problem> {
    let dir = dir.as_ref();
    let mut files = Files::default();
    for path in ["oci-layout", "index.json"] {
        files.add(path.to_owned(), read(&dir.join(path))?)?;
    }
    let blobs = dir.join("blobs/sha256");
    let mut names = Vec::new();
    let listing = std::fs::read_dir(&blobs).into_iter().flatten();
    for entry in listing {
        let entry = entry.map_err(|error| format!("{}: {error}", blobs.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        files.add(format!("blobs/sha256/{name}"), read(&blobs.join(&name))?)?;
    }
    let index = files.json("index.json")?.unwrap_or_default();
    let mut report = Report::default();
    oci(&files, &index, Absent::AsDeclared, &mut report)?;
    Ok(report)
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| Problem(format!("{}: {error}", path.display())))
}

fn oci(files: &Files, index: &Value, absent: Absent, report: &mut Report) -> Result<(), Problem> {
    let version = files.json("oci-layout")?.ok_or("oci-layout is missing")?;
    if version["imageLayoutVersion"] != "1.0.0" {
        return Err(Problem(format!("oci-layout says {version}")));
    }
    let found = graph::walk(files, index)?;
    let declared = declared(files.json("strata.json")?.as_ref());
    for missing in &found.absent {
        if absent == Absent::AsDeclared && !declared.contains(missing) {
            return Err(Problem(format!("{missing} is referenced but not there")));
        }
    }
    report.names = found.names;
    report.digests = found.digests;
    report.manifests = found.manifests;
    report.diff_ids = found.diff_ids;
    report.absent = found.absent;
    report.blobs = files.blobs();
    report.orphans =
        report.blobs.iter().filter(|digest| !found.reached.contains(*digest)).cloned().collect();
    Ok(())
}

/// Every value of a key `digest` in strata.json, at whatever depth.
fn declared(strata: Option<&Value>) -> BTreeSet<String> {
    let mut digests = BTreeSet::new();
    let mut waiting: Vec<&Value> = strata.into_iter().collect();
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(list) => waiting.extend(list),
            Value::Object(map) => {
                digests.extend(map.get("digest").and_then(Value::as_str).map(str::to_owned));
                waiting.extend(map.values());
            }
            _ => {}
        }
    }
    digests
}

#[cfg(test)]
mod tests;
