//! `remote digest`, `manifest` and `config`: one document, or its digest.

use std::io::Write as _;

use cli::Io;
use registry::Client;

use crate::{Query, page, resolve};

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Digest,
    Manifest,
    Config,
}

/// Prints what is wanted of an image.
pub(crate) fn print(
    query: &Query,
    wanted: Wanted,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let Query { name, platform } = query;
    let repository = client.repository(name)?;
    let platform = platform.as_ref();
    let task = io.progress.task(name.to_string(), None);
    task.state("Asking");
    match wanted {
        Wanted::Digest => {
            let digest = resolve::digest(name, &repository, platform)?;
            drop(task);
            writeln!(io.output, "{digest}")?;
            Ok(io.output.flush()?)
        }
        Wanted::Manifest => {
            let document = resolve::document(name, &repository, platform)?;
            drop(task);
            page::document(document.raw(), &mut io.output)
        }
        Wanted::Config => {
            let manifest = resolve::manifest(name, &repository, platform)?;
            let config = repository.document(&manifest.config)?;
            drop(task);
            page::document(&config, &mut io.output)
        }
    }
}
