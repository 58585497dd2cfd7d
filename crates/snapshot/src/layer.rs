//! What has changed, as a layer.

use cli::{Io, human_size};
use layer_format::Digest;
use layer_format::layer::{Change, Entry, EntryKind, Writer, base_comment};
use rootfs::{Content, Difference, What};

/// What the layer holds.
#[derive(Debug, Default)]
struct Count {
    added: u64,
    changed: u64,
    removed: u64,
    bytes: u64,
}

/// Writes the layer to standard output.
pub(crate) fn write<'a>(
    differences: impl Iterator<Item = Difference<'a>>,
    base: Option<Digest>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let mut writer = Writer::new(io.output.binary()?);
    if let Some(base) = base {
        writer.write_comment(base_comment(&base).as_bytes())?;
    }
    let mut count = Count::default();
    for difference in differences {
        cli::interrupt::check()?;
        count.take(&difference);
        write_one(&mut writer, &difference)?;
    }
    writer.finish()?;
    io.say(&count.text());
    Ok(())
}

fn write_one(
    writer: &mut Writer<impl std::io::Write>,
    difference: &Difference<'_>,
) -> anyhow::Result<()> {
    let Difference { change, content, .. } = difference;
    let (Change::Add(Entry { path, .. }), Some(found)) = (change, content) else {
        return Ok(writer.write_change(change)?);
    };
    // It is opened before its header is written: what has gone or changed leaves no half of an entry.
    let content = Content::open(path, *found)?;
    writer.write_change(change)?;
    Ok(content.copy_to(writer)?)
}

impl Count {
    fn take(&mut self, difference: &Difference<'_>) {
        match difference.what {
            What::Added => self.added += 1,
            What::Changed(_) => self.changed += 1,
            What::Removed => self.removed += 1,
            What::Above => {}
        }
        if let Change::Add(Entry { kind: EntryKind::File { size, .. }, .. }) = &difference.change {
            self.bytes += size;
        }
    }

    fn text(&self) -> String {
        let Self { added, changed, removed, bytes } = self;
        if (*added, *changed, *removed) == (0, 0, 0) {
            return "nothing has changed: the layer is empty".to_owned();
        }
        format!("{added} added, {changed} changed, {removed} removed, {}", human_size(*bytes))
    }
}
