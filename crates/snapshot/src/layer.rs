//! The differences, written as a layer.

use cli::{Io, human_size};
use layer_format::Digest;
use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp, Writer};
use rootfs::{Attribute, ChangeKind, Content, Difference};
use stream::base_comment;

use crate::held::Held;

/// The numbers of differences in the layer.
#[derive(Debug, Default)]
struct Count {
    added: u64,
    changed: u64,
    removed: u64,
    /// The size of all files, in bytes.
    bytes: u64,
}

/// How differences are written.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    /// How many more times a file is read if it changes meanwhile. If it is 0, a change is an error.
    pub(crate) n_retries: u32,
    /// Whether the base may have something of a difference's name.
    pub(crate) may_hide: &'a dyn Fn(&Difference<'_>) -> bool,
    /// Whether what counts as added was there before, so that it is counted as changed.
    pub(crate) was_there: &'a dyn Fn(&EntryPath) -> bool,
    /// The latest time that is written; later ones become this one, unless they are the base's.
    pub(crate) latest: Option<Timestamp>,
}

impl How<'_> {
    /// A time as it is written.
    fn clamped(self, mtime: Timestamp) -> Timestamp {
        let order = |it: &Timestamp| (it.seconds, it.nanos);
        self.latest.filter(|latest| order(latest) < order(&mtime)).unwrap_or(mtime)
    }

    /// Changes the time of what is new.
    fn clamp(self, difference: &mut Difference<'_>) {
        let is_new = match difference.kind {
            ChangeKind::Added => true,
            ChangeKind::Changed(attributes) => attributes.has(Attribute::Mtime),
            ChangeKind::Removed | ChangeKind::Above => false,
        };
        if let Change::Add(entry) = &mut difference.change
            && is_new
        {
            entry.mtime = self.clamped(entry.mtime);
        }
    }
}

/// Writes the layer to standard output, and says how much is in it.
///
/// `base` is the digest of the manifest that the layer names its base by.
pub(crate) fn write<'a>(
    differences: impl Iterator<Item = Difference<'a>>,
    base: Option<Digest>,
    how: How<'_>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let mut writer = Writer::new(io.output.binary()?);
    if let Some(base) = base {
        writer.write_comment(base_comment(&base).as_bytes())?;
    }
    let mut count = Count::default();
    for mut difference in differences {
        cli::interrupt::check()?;
        how.clamp(&mut difference);
        if how.n_retries == 0 {
            count.take(&difference, how);
            write_one(&mut writer, &difference)?;
        } else if let Some(difference) = write_held(&mut writer, difference, how)? {
            count.take(&difference, how);
        }
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
    // It is opened before its header is written, so that a file that has gone or changed leaves no half of an entry.
    let content = Content::open(path, *found)?;
    writer.write_change(change)?;
    Ok(content.copy_to(writer)?)
}

/// Writes a difference in a tree that others are at work in. All bytes of a file are read, as they were at one moment, before
/// its header is written. A file that has vanished is removed from the base, or was never there. The result is what was
/// written; `None` if that is nothing.
fn write_held<'a>(
    writer: &mut Writer<impl std::io::Write>,
    difference: Difference<'a>,
    how: How<'_>,
) -> anyhow::Result<Option<Difference<'a>>> {
    let (Change::Add(entry), Some(found)) = (&difference.change, difference.content) else {
        write_one(writer, &difference)?;
        return Ok(Some(difference));
    };
    let mut held = match Held::read(&entry.path, found, how.n_retries) {
        Err(error) if error.has_vanished() && found.linked_file().is_none() => {
            if !(how.may_hide)(&difference) {
                return Ok(None);
            }
            let change = Change::Remove(entry.path.clone());
            writer.write_change(&change)?;
            return Ok(Some(Difference { kind: ChangeKind::Removed, change, content: None }));
        }
        held => held?,
    };
    let kind = EntryKind::File { size: held.size, data: None };
    let mtime = if held.has_changed { how.clamped(held.mtime) } else { entry.mtime };
    let change = Change::Add(Entry { kind, mtime, ..entry.clone() });
    writer.write_change(&change)?;
    held.write(writer)?;
    Ok(Some(Difference { change, ..difference }))
}

impl Count {
    fn take(&mut self, difference: &Difference<'_>, how: How<'_>) {
        let is_there =
            |change: &Change| matches!(change, Change::Add(it) if (how.was_there)(&it.path));
        match difference.kind {
            ChangeKind::Added if is_there(&difference.change) => self.changed += 1,
            ChangeKind::Added => self.added += 1,
            ChangeKind::Changed(_) => self.changed += 1,
            ChangeKind::Removed => self.removed += 1,
            ChangeKind::Above => {}
        }
        if let Change::Add(Entry { kind: EntryKind::File { size, .. }, .. }) = &difference.change {
            self.bytes += size;
        }
    }

    fn text(&self) -> String {
        let Self { added, changed, removed, bytes } = *self;
        if added + changed + removed == 0 {
            return "nothing has changed: the layer is empty".to_owned();
        }
        format!("{added} added, {changed} changed, {removed} removed, {}", human_size(bytes))
    }
}
