//! Some of an image's files: what `--only` and `--exclude` say. Which they are is known from the whole image, before anything is
//! written.

use std::io::BufRead;

use cli::{Io, Limits, Selection};
use image::Opened;
use image::flat::{self, Plan, Sink, Verdict};
use layer_format::layer::{Change, EntryPath};
use layer_format::listing::Place;
use rootfs::{Applier, Report};

use crate::writeback::Writeback;

/// What is written, before the directory is made.
///
/// # Errors
/// Those of reading the image; no path is selected; there is more than the limits allow.
pub(crate) fn plan(
    opened: &mut Opened,
    selection: &Selection<'_>,
    limits: Limits,
    io: &Io<'_>,
) -> anyhow::Result<Plan> {
    let select = |path: &EntryPath, place: &Place<'_>| {
        Verdict::of(selection.verdict(path.as_bytes(), place.is_directory()))
    };
    let plan = Plan::of(opened.tree(&io.progress)?, &select);
    selection.check(io)?;
    limits.check(plan.n_entries().saturating_sub(1), plan.size())?;
    if let Some(copies) = plan.copies().text() {
        io.warn(&copies);
    }
    Ok(plan)
}

/// Applies what is planned, as one layer.
///
/// # Errors
/// Those of the image and of the disk.
pub(crate) fn unpack(
    opened: Opened,
    plan: &Plan,
    applier: Applier,
    writeback: Option<Writeback>,
    io: &Io<'_>,
) -> anyhow::Result<Report> {
    let mut directory = Directory { applier, writeback };
    directory.applier.begin_layer();
    flat::write(opened, plan, &mut directory, &io.progress)?;
    let Directory { mut applier, writeback } = directory;
    applier.end_layer()?;
    let report = applier.finish()?;
    writeback.map_or(Ok(()), Writeback::finish)?;
    Ok(report)
}

/// The directory that is being filled.
struct Directory {
    applier: Applier,
    writeback: Option<Writeback>,
}

impl Sink for Directory {
    type Error = anyhow::Error;

    fn put(&mut self, change: &Change, content: &mut impl BufRead) -> anyhow::Result<()> {
        cli::interrupt::check()?;
        self.applier.apply(change, content)?;
        if let (Some(writeback), Change::Add(entry)) = (&mut self.writeback, change) {
            writeback.advance(entry.kind.content_size());
        }
        Ok(())
    }

    fn in_layer(error: anyhow::Error, layer: String) -> anyhow::Error {
        error.context(layer)
    }
}
