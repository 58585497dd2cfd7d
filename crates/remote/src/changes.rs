//! `remote changes`: what two images of registries have differently, by their documents alone.

use std::io::Write as _;

use cli::Io;
use image::edit::{self, Setting};
use layer_format::{Config, Platform, Reference};
use registry::Client;

use crate::page::{self, Line};
use crate::resolve;

/// Prints the differences in the words of `changes --config`. Returns whether there are any.
pub(crate) fn compare(
    names: [&Reference; 2],
    platform: Option<&Platform>,
    is_json: bool,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<bool> {
    let [before, after] = names;
    let before = config(before, platform, client, io)?;
    let after = config(after, platform, client, io)?;
    let mut settings = edit::compare(&before, &after)?;
    settings.extend(edit::compare_layers(before.diff_ids(), after.diff_ids()));
    let differ = !settings.is_empty();
    if is_json {
        let line = |setting: &Setting| Line { cells: vec![], json: setting.object() };
        page::write(&settings.iter().map(line).collect::<Vec<_>>(), true, &mut io.output)?;
    } else {
        for setting in &settings {
            writeln!(io.output, "{}", cli::text::clean(&setting.to_string()))?;
        }
        io.output.flush()?;
    }
    Ok(differ)
}

fn config(
    name: &Reference,
    platform: Option<&Platform>,
    client: &Client,
    io: &Io<'_>,
) -> anyhow::Result<Config> {
    let repository = client.repository(name)?;
    let task = io.progress.task(name.to_string(), None);
    task.state("Asking");
    let manifest = resolve::manifest(name, &repository, platform)?;
    let parse = || {
        manifest.check_image()?;
        let config = Config::parse(repository.document(&manifest.config)?)?;
        manifest.diff_ids(&config)?;
        Ok(config)
    };
    parse().map_err(|error| resolve::named(error, name))
}
