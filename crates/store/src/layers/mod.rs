//! Layers extracted for union mounts: a cache of directories, shared by images.
//!
//! ```text
//! strata/layers/KIND/NAME/tree         the layer, as the file system takes it
//! strata/layers/KIND/NAME/about.json   its key, and what else is known about it
//! strata/layers/KIND/.draft-…          a layer that is being made; locked by the program that makes it
//! strata/layers/KIND/.build-NAME       locked by the program that makes the layer NAME
//! strata/layers/KIND/.gone-…           a layer that is being removed
//! ```
//!
//! A kind is a set of directories that the same mounts can use: who owns the files, and where marks are kept, differs
//! between the system's root and the users. NAME is the key's first digits, short because kernels before 6.5 take all names
//! of a union in one page. A layer with a name is whole: it got the name by rename, when all of it was verified and on disk.
//!
//! Like a blob, a key is first entered in a [`Lease`](crate::Lease), then looked for; gc holds the lock and removes what
//! no lease has and no union has mounted. A union leaves a note in `strata/unions` before its lease ends, and the note
//! counts until the union is proven to be gone (`unions`). A layer whose name is in any `/proc/*/mountinfo` stays in any
//! case, wherever that store is: paths mean different things in different mount namespaces.

mod alive;
mod collect;
mod extracted;
#[cfg(not(target_os = "linux"))]
mod no_sight;
#[cfg(target_os = "linux")]
mod sight;
mod unions;

pub use collect::{Collected, Garbage, Kept, Proof};
pub use extracted::{About, BuildLock, Extracted, LayerDraft, Layers};
pub use unions::Reach;

#[cfg(test)]
mod tests;
