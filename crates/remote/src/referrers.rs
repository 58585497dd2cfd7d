//! `remote referrers`: what refers to an image. By the API of the distribution-spec, by the tag that replaces it, and under
//! the tags that cosign makes.

use cli::Io;
use layer_format::{Algorithm, COSIGN_KINDS, Descriptor, Digest};
use registry::{Client, Referrers, ReferrersTag, Repository};
use serde_json::json;

use crate::page::{self, Line};
use crate::{Query, resolve, tags};

/// Lists what refers to an image.
pub(crate) fn list(
    query: &Query,
    is_json: bool,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let repository = client.repository(&query.name)?.without_mirrors();
    let task = io.progress.task(query.name.to_string(), None);
    task.state("Asking");
    let subject = resolve::digest(&query.name, &repository, query.platform.as_ref())?;
    let Found { entries, refusal } = listed(&repository, &subject)?;
    let mut lines: Vec<_> = entries.iter().map(line).collect();
    lines.extend(of_cosign(&repository, &subject)?);
    drop(task);
    if let Some(error) = refusal {
        io.warn(&format!("{}: can't tell all that refers to it: {error}", query.name));
    }
    page::write(&lines, is_json, &mut io.output)
}

/// The entries of a list of referrers.
struct Found {
    entries: Vec<Descriptor>,
    /// Why the registry's own list could not be had, if nothing stands in for it.
    refusal: Option<Box<registry::Error>>,
}

/// The list of referrers, by the API, else by its tag.
fn listed(repository: &Repository, subject: &Digest) -> anyhow::Result<Found> {
    let refusal = match repository.referrers(subject)? {
        Referrers::Listed(entries) => return Ok(Found { entries, refusal: None }),
        Referrers::Unsupported => None,
        Referrers::Refused(error) => Some(error),
    };
    match repository.referrers_by_tag(subject)? {
        ReferrersTag::Listed(entries) => Ok(Found { entries, refusal: None }),
        ReferrersTag::Absent | ReferrersTag::NoList => Ok(Found { entries: vec![], refusal }),
    }
}

/// What cosign made for an image, under tags of its own.
fn of_cosign(repository: &Repository, subject: &Digest) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![];
    // Cosign's tags have the whole of a hash, and no tag has room for a longer one.
    for kind in COSIGN_KINDS.iter().filter(|_| subject.algorithm() == Algorithm::Sha256) {
        let tag = format!("{}.{kind}", subject.referrers_tag());
        if let Some(digest) = tags::digest(repository, &tag)? {
            let json = json!({ "digest": digest, "tag": tag });
            lines.push(Line { cells: vec![digest.to_string(), format!("cosign {kind}")], json });
        }
    }
    Ok(lines)
}

fn line(entry: &Descriptor) -> Line {
    let artifact_type = entry.other.get("artifactType").and_then(|value| value.as_str());
    let kind = artifact_type.filter(|kind| !kind.is_empty()).unwrap_or(&entry.media_type);
    Line { cells: vec![entry.digest.to_string(), kind.to_owned()], json: json!(entry) }
}
