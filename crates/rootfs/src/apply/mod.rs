//! Layers, applied beneath a root ([image-spec, layer.md](https://github.com/opencontainers/image-spec/blob/main/layer.md)).
//!
//! | in the layer | beneath the root |
//! |---|---|
//! | directory over directory | keeps the children, takes the attributes |
//! | anything else over anything else | what was there is removed, with all below it; the last one of duplicates stays |
//! | a parent that is missing | a new directory: 0755, 0:0, time 0 |
//! | a parent that isn't a directory | is replaced by one; see [`SymlinkedDirs`] for links |
//! | whiteout, opaque whiteout | act on the lower layers only, wherever they stand; a name that doesn't exist is ignored |
//! | whiteout of a directory that the layer also has | a new directory without lower children |
//! | hard link | another name of what its target is at that time, attributes and all |

mod add;
mod applier;
mod content;
mod file;
mod layer_paths;
mod link;
mod open_directory;
mod options;
mod staging;
mod walk;
mod whiteout;

pub use applier::{Applier, Report};
pub use options::{Options, SymlinkedDirs};
pub use staging::{Staged, Stager, Staging};
