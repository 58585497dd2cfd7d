//! The blobs that a document leads to.
//!
//! gc must keep everything that any tool's document needs, even a document of a kind that doesn't exist yet. So this doesn't ask
//! what a document is: every value of a field `digest`, at any depth, counts, and the blob that it names is looked into if it
//! is JSON. That keeps too much now and then, never too little.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use layer_format::Digest;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::Result;
use crate::error::Error;
use crate::store::Store;

/// Everything that can be reached from `roots`, themselves included, whether it is in the store or not.
pub(crate) fn closure(store: &Store, roots: Vec<Digest>) -> Result<HashSet<Digest>> {
    let mut seen: HashSet<Digest> = roots.iter().copied().collect();
    let mut queue = roots;
    let mut children = vec![];
    while let Some(digest) = queue.pop() {
        if let Some(blob) = store.blob(&digest)? {
            look_into(blob, &mut children)
                .map_err(Error::io("reading", &store.blob_path(&digest)))?;
        }
        queue.extend(children.drain(..).filter(|child| seen.insert(*child)));
    }
    Ok(seen)
}

/// Collects every digest that a JSON text names.
pub(crate) fn collect(text: impl Read, found: &mut Vec<Digest>) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_reader(text);
    Digests { found, field: Field::Other }.deserialize(&mut json)
}

/// Collects the digests that a blob names, if it is a document; its first byte tells. Of a damaged document, the readable part
/// counts.
fn look_into(blob: File, found: &mut Vec<Digest>) -> std::io::Result<()> {
    let mut blob = BufReader::new(blob);
    let begin = blob.fill_buf()?;
    if begin.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Ok(());
    }
    match collect(blob, found) {
        Err(error) if error.is_io() => Err(error.into()),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Digest,
    Other,
}

struct Digests<'a> {
    found: &'a mut Vec<Digest>,
    field: Field,
}

impl<'de> DeserializeSeed<'de> for Digests<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Digests<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.field == Field::Digest {
            self.found.extend(text.parse::<Digest>());
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let field = if key == "digest" { Field::Digest } else { Field::Other };
            map.next_value_seed(Digests { found: &mut *self.found, field })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut next =
            || list.next_element_seed(Digests { found: &mut *self.found, field: Field::Other });
        while next()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_fields_of_any_kind() {
        let [a, b, c] = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
        let text = format!(
            r#"{{"digest":"{a}","blobs":[{{"digest":"{b}","size":1.5}},null,true,-1],"other":"{c}",
                "deep":{{"digest":{{"sha256":"{c}"}},"x":[[{{"digest":"md5:0"}}]]}}}}"#
        );
        let mut found = vec![];
        collect(text.as_bytes(), &mut found).unwrap();
        assert_eq!(found, [a, b]);
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        assert!(collect("[".repeat(1_000_000).as_bytes(), &mut vec![]).is_err());
    }
}
