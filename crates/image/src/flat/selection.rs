//! Which names of a tree are wanted.

use layer_format::layer::EntryPath;
use layer_format::listing::{Item, Place};

/// What is wanted of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept; what is below it too, unless something else is said of that.
    Keep,
    /// It is left out, with everything below it.
    LeaveOut,
    /// It is kept if the directory is that it is in.
    AsParent,
}

impl Verdict {
    /// The verdict on a name that is kept or left out, or of which nothing is said.
    pub fn of(is_kept: Option<bool>) -> Self {
        match is_kept {
            Some(true) => Self::Keep,
            Some(false) => Self::LeaveOut,
            None => Self::AsParent,
        }
    }
}

/// Says of each name what is wanted. A root of which nothing is said is left out, with what is [`Verdict::AsParent`] below it.
pub type Select<'a> = &'a dyn Fn(&EntryPath, &Place<'_>) -> Verdict;

/// The names of a tree in order, each asked for after the directories above it.
pub(super) struct Descent<'a> {
    select: Select<'a>,
    /// The directories above the last name that differ from the ones that they are in, and whether they are kept.
    above: Vec<(EntryPath, Verdict)>,
}

impl<'a> Descent<'a> {
    pub(super) fn new(select: Select<'a>) -> Self {
        Self { select, above: vec![] }
    }

    /// Whether the next name is kept for its own sake.
    pub(super) fn keeps(&mut self, item: &Item<'_>) -> bool {
        while self.above.last().is_some_and(|(directory, _)| !item.path.is_below(directory)) {
            self.above.pop();
        }
        let inherited = self.above.last().map(|(_, verdict)| *verdict);
        let verdict = match inherited {
            Some(Verdict::LeaveOut) => return false,
            _ => (self.select)(&item.path, &item.place),
        };
        if verdict == Verdict::AsParent {
            return inherited == Some(Verdict::Keep);
        }
        if item.place.is_directory() {
            self.above.push((item.path.clone(), verdict));
        }
        verdict == Verdict::Keep
    }
}
