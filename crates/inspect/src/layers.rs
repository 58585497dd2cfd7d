//! The layers of an image: their sizes, and the other images that have them.

use std::collections::{BTreeMap, BTreeSet};

use cli::{Form, Io, Table};
use image::Opened;
use layer_format::{Config, DiffId};
use serde_json::json;
use store::Store;

use crate::{Length, write_array};

/// The names of the images that have a layer.
type Users = BTreeMap<DiffId, BTreeSet<String>>;

/// The sizes of a layer, in bytes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    stored: u64,
    /// `None` if a thin stream leaves the layer out.
    uncompressed: Option<u64>,
}

/// The sizes of a layer, for which it is read. Of one that a thin stream leaves out, the manifest tells one.
fn sizes_of(opened: &mut Opened, position: usize, io: &Io<'_>) -> anyhow::Result<Sizes> {
    match opened.measure(position, &io.progress) {
        Ok(sizes) => Ok(Sizes { stored: sizes.stored, uncompressed: Some(sizes.uncompressed) }),
        Err(error) => match &opened.image().layers[position].blob {
            Some(blob) if is_missing(&error) => Ok(Sizes { stored: blob.size, uncompressed: None }),
            _ => Err(error.into()),
        },
    }
}

/// Whether an error says that an archive lacks a layer.
fn is_missing(error: &store::Error) -> bool {
    use layer_format::Error::{LeftOut, MissingLayer, NotFound};
    matches!(error.of_format(), Some(MissingLayer { .. } | LeftOut { .. } | NotFound { .. }))
}

/// Lists the layers, base first.
pub(crate) fn list(
    mut opened: Opened,
    (form, length): (Form, Length),
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let mut sizes = vec![];
    for position in 0..opened.image().layers.len() {
        sizes.push(sizes_of(&mut opened, position, io)?);
    }
    let mut users = Users::new();
    let other = opened.layout().filter(|it| Some(it.path()) != opened.store().map(Store::path));
    for store in opened.store().into_iter().chain(other) {
        add_users(&mut users, store, &opened)?;
    }
    let image = opened.image().clone();
    opened.finish()?;
    let nobody = BTreeSet::new();
    let rows = image.layers.iter().zip(&sizes).enumerate().map(|(position, (layer, sizes))| {
        (position + 1, layer, sizes, users.get(&layer.diff_id).unwrap_or(&nobody))
    });
    if form == Form::Json {
        let elements = rows.map(|(number, layer, sizes, users)| {
            json!({
                "layer": number,
                "digest": layer.blob.as_ref().map(|blob| blob.digest),
                "mediaType": layer.blob.as_ref().map(|blob| &blob.media_type),
                "diffId": layer.diff_id,
                "size": sizes.stored,
                "uncompressedSize": sizes.uncompressed,
                "sharedWith": users,
            })
        });
        return write_array(elements, io);
    }
    let mut table =
        Table::new(&["LAYER", "DIGEST", "DIFF ID", "SIZE", "UNCOMPRESSED", "SHARED WITH"]);
    for (number, layer, sizes, users) in rows {
        let users: Vec<_> = users.iter().map(String::as_str).collect();
        table.row([
            number.to_string(),
            layer.blob.as_ref().map_or_else(|| "-".to_owned(), |blob| length.of(&blob.digest)),
            length.of(&layer.diff_id.0),
            cli::human_size(sizes.stored),
            sizes.uncompressed.map_or_else(|| "-".to_owned(), cli::human_size),
            if users.is_empty() { "-".to_owned() } else { users.join(", ") },
        ]);
    }
    if let Some(columns) = io.output.columns().filter(|_| length == Length::Short) {
        table.cut_columns(&[SHARED_WITH], columns);
    }
    Ok(table.write(&mut io.output)?)
}

/// The column that may be long.
const SHARED_WITH: usize = 5;

/// Adds the other images of the store to the users of their layers.
fn add_users(users: &mut Users, store: &Store, opened: &Opened) -> anyhow::Result<()> {
    let own = opened.image().manifest.as_ref().map(|manifest| manifest.descriptor().digest);
    for entry in store.images()? {
        let name = match (entry.reference(), entry.name()) {
            (Some(reference), _) => reference.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => entry.digest().to_string(),
        };
        for manifest in store.manifests(&entry.descriptor)? {
            if Some(manifest.descriptor().digest) == own {
                continue;
            }
            // An artifact has no layers of files, and `images verify` reports what is damaged.
            let Ok(raw) = store.document(&manifest.config.digest) else { continue };
            let Ok(config) = Config::parse(raw) else { continue };
            for diff_id in config.diff_ids() {
                users.entry(*diff_id).or_default().insert(name.clone());
            }
        }
    }
    Ok(())
}
