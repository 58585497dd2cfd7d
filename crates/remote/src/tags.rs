//! `remote tags`: the tags of a repository, as people count them.

use cli::Io;
use layer_format::Digest;
use network::threads::map;
use registry::{Client, Error, Repository};
use serde_json::json;

use crate::names::RepositoryName;
use crate::page::{self, Line};

/// How many questions to a registry are under way at once.
pub(crate) const JOBS: usize = 8;

/// What is listed, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listing {
    pub(crate) has_digests: bool,
    /// `None` for the order in which people count.
    pub(crate) sort: Option<Sort>,
    pub(crate) is_json: bool,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// By version: 1.9, 1.10-rc1, v1.10, and then what is no version
    Version,
    /// By name, byte by byte
    Name,
}

/// Lists the tags of a repository.
pub(crate) fn list(
    name: &RepositoryName,
    listing: Listing,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let repository = client.repository(&name.any())?.without_mirrors();
    let task = io.progress.task(name.shown(), None);
    task.state("Listing tags");
    let mut tags = all(&repository)?;
    match listing.sort {
        Some(Sort::Version) => tags.sort_by(|one, other| cli::order::version(one, other)),
        Some(Sort::Name) => tags.sort(),
        None => {}
    }
    let lines = if listing.has_digests {
        let digests = map(JOBS, &tags, |tag| digest(&repository, tag))?;
        tags.iter().zip(digests).map(|(tag, digest)| line_with_digest(tag, digest)).collect()
    } else {
        tags.iter().map(|tag| line(tag)).collect::<Vec<_>>()
    };
    drop(task);
    page::write(&lines, listing.is_json, &mut io.output)
}

/// All tags in natural order, each once: pages may overlap where somebody pushes meanwhile.
pub(crate) fn all(repository: &Repository) -> anyhow::Result<Vec<String>> {
    let mut tags = repository.tags()?;
    tags.sort_by(|left, right| cli::order::natural(left, right));
    tags.dedup();
    Ok(tags)
}

/// The digest that a tag stands for; none if the tag has gone meanwhile, or leads nowhere.
pub(crate) fn digest(repository: &Repository, tag: &str) -> anyhow::Result<Option<Digest>> {
    cli::interrupt::check()?;
    match repository.digest(tag) {
        Ok(digest) => Ok(Some(digest)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn line(tag: &str) -> Line {
    Line { cells: vec![tag.to_owned()], json: json!({ "tag": tag }) }
}

fn line_with_digest(tag: &str, digest: Option<Digest>) -> Line {
    let shown = digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string());
    Line { cells: vec![tag.to_owned(), shown], json: json!({ "tag": tag, "digest": digest }) }
}
