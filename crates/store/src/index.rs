//! `index.json`: read whole, written whole (image-spec, image-index.md).
//!
//! Entries and fields of other tools are kept byte for byte, understood or not.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use layer_format::{Descriptor, Digest};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::index_entry::IndexEntry;
use crate::store::{Durability, Store, open_file};
use crate::{Result, reach};

/// The most bytes that `index.json` may have: about 200,000 images.
const LIMIT: u64 = 64 << 20;

/// The store's `index.json`.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    /// All fields but `manifests`.
    fields: BTreeMap<String, Box<RawValue>>,
    pub(crate) entries: Vec<Entry>,
    /// The bytes that it was read from.
    raw: Vec<u8>,
}

/// One element of `manifests`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    raw: Box<RawValue>,
    /// `None` if the element is no descriptor.
    pub(crate) image: Option<IndexEntry>,
}

impl Index {
    /// The content of a new store's `index.json`.
    pub(crate) const EMPTY: &[u8] = br#"{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#;

    /// Reads the file. That needs no lock, because the file is only ever replaced whole.
    pub(crate) fn read(store: &Store) -> Result<Self> {
        let path = store.index_path();
        let mut raw = vec![];
        let opened = open_file(&path);
        // Where others' stores are read, this one may not be there yet.
        if let Err(error) = &opened
            && error.kind() == std::io::ErrorKind::NotFound
            && !store.beside().is_empty()
        {
            return Self::parse(Self::EMPTY.to_vec(), &path);
        }
        let n = opened
            .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut raw))
            .map_err(Error::io("reading", &path))?;
        if n as u64 > LIMIT {
            return Err(too_large(&path));
        }
        Self::parse(raw, &path)
    }

    /// Replaces the file, unless nothing has changed. The caller must have held the lock since it read the index.
    pub(crate) fn write(&self, store: &Store) -> Result<()> {
        let path = store.index_path();
        let rendered =
            self.render().map_err(|source| Error::MalformedJson { path: path.clone(), source })?;
        if rendered == self.raw {
            return Ok(());
        }
        if rendered.len() as u64 > LIMIT {
            return Err(too_large(&path));
        }
        store.replace(&path, &rendered, Durability::Synced)
    }

    pub(crate) fn into_images(self) -> Vec<IndexEntry> {
        self.entries.into_iter().filter_map(|entry| entry.image).collect()
    }

    /// Every value of a field `digest`, at any depth, whatever the fields around it mean.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an entry can't be understood: gc must not guess what it needs.
    pub(crate) fn digests(&self, path: &Path) -> Result<Vec<Digest>> {
        if self.entries.iter().any(|entry| entry.image.is_none()) {
            let reason = "has an entry that can't be understood, so nobody knows what it needs";
            return Err(Error::Malformed { path: path.to_owned(), reason });
        }
        let mut digests = vec![];
        reach::collect(self.raw.as_slice(), &mut digests)
            .map_err(|source| Error::MalformedJson { path: path.to_owned(), source })?;
        Ok(digests)
    }

    pub(crate) fn parse(raw: Vec<u8>, path: &Path) -> Result<Self> {
        let malformed = |source| Error::MalformedJson { path: path.to_owned(), source };
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(&raw).map_err(malformed)?;
        let version = fields.get("schemaVersion").map_or("2", |version| version.get());
        if version != "2" {
            let reason = "an index of another version than 2";
            return Err(Error::Malformed { path: path.to_owned(), reason });
        }
        // Go writes an empty list as null.
        let entries: Option<Vec<Box<RawValue>>> = match fields.remove("manifests") {
            Some(list) => serde_json::from_str(list.get()).map_err(malformed)?,
            None => None,
        };
        let entries = entries.unwrap_or_default().into_iter().map(Entry::read).collect();
        Ok(Self { fields, entries, raw })
    }

    pub(crate) fn render(&self) -> serde_json::Result<Vec<u8>> {
        let entries: Vec<&RawValue> = self.entries.iter().map(|entry| &*entry.raw).collect();
        let manifests = serde_json::value::to_raw_value(&entries)?;
        let mut fields: BTreeMap<&str, &RawValue> =
            self.fields.iter().map(|(key, value)| (key.as_str(), &**value)).collect();
        fields.insert("manifests", &manifests);
        serde_json::to_vec(&fields)
    }
}

impl Entry {
    fn read(raw: Box<RawValue>) -> Self {
        let descriptor: Option<Descriptor> = serde_json::from_str(raw.get()).ok();
        Self { image: descriptor.map(|descriptor| IndexEntry { descriptor }), raw }
    }

    pub(crate) fn new(image: IndexEntry) -> Self {
        let raw = serde_json::value::to_raw_value(&image.descriptor).expect("a descriptor is JSON");
        Self { raw, image: Some(image) }
    }
}

fn too_large(path: &Path) -> Error {
    layer_format::Error::TooLarge { what: path.display().to_string(), limit: LIMIT }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn parse(text: &str) -> Result<Index> {
        Index::parse(text.as_bytes().to_vec(), Path::new("index.json"))
    }

    #[test]
    fn the_empty_index_reads_back_as_written() {
        let index = parse(std::str::from_utf8(Index::EMPTY).unwrap()).unwrap();
        assert!(index.entries.is_empty());
        assert_eq!(index.render().unwrap(), Index::EMPTY);
    }

    #[test]
    fn what_is_not_an_index_is_refused() {
        let deep = format!(r#"{{"manifests":{}"#, "[".repeat(1_000_000));
        for text in
            ["", "null", "[]", r#"{"manifests":{}}"#, r#"{"schemaVersion":3}"#, "{}{}", &deep]
        {
            assert!(parse(text).is_err(), "{text:.60}");
        }
    }

    #[test]
    fn strangers_entries_stay_byte_for_byte() {
        let text = concat!(
            r#"{"annotations":{"z":"1","a":"2"},"manifests":[{"zeta": 1e999, "digest":"blake3:00"},7,"#,
            r#"{"size":123456789012345678901234567890}],"own":[1.10,{}],"schemaVersion":2}"#
        );
        let index = parse(text).unwrap();
        assert_eq!(index.entries.len(), 3);
        assert!(index.digests(Path::new("index.json")).is_err());
        assert_eq!(index.render().unwrap(), text.as_bytes());
        assert!(parse(r#"{"manifests":null}"#).unwrap().entries.is_empty());
    }
}
