//! A JSON object whose fields keep their bytes and their order unless they are set.

use std::fmt;

use layer_format::Error;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// The name of the document in errors.
const WHAT: &str = "document of an image";

/// A JSON object whose values are parsed only when they are asked for.
#[derive(Clone, Debug, Default)]
pub struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// Reads an object.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if it is none.
    pub fn parse(raw: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(raw).map_err(malformed)
    }

    /// The value of a field; the default of `T` if there is no such field, or it is null.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if it is of another type.
    pub fn read<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, Error> {
        let Some(value) = self.raw(key) else { return Ok(T::default()) };
        let value: Option<T> = serde_json::from_str(value.get()).map_err(malformed)?;
        Ok(value.unwrap_or_default())
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is such a field.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// The value of a field as it was read; `None` if there is no such field.
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        let (_, value) = self.0.iter().rev().find(|(name, _)| name == key)?;
        Some(value)
    }

    /// The names of the fields, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Sets a field, in its place if it is there, else at the end.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if the value can't be written.
    pub fn set(&mut self, key: &str, value: &impl Serialize) -> Result<(), Error> {
        let value = to_raw_value(value).map_err(malformed)?;
        let at = self.0.iter().position(|(name, _)| name == key);
        self.remove(key);
        let at = at.unwrap_or(self.0.len());
        self.0.insert(at, (key.to_owned(), value));
        Ok(())
    }

    /// Sets a field, or removes it if there is no value.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if the value can't be written.
    pub fn set_or_remove(
        &mut self,
        key: &str,
        value: Option<&impl Serialize>,
    ) -> Result<(), Error> {
        if let Some(value) = value {
            return self.set(key, value);
        }
        self.remove(key);
        Ok(())
    }

    /// Removes a field.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The bytes of the object.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if a value can't be written.
    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(malformed)
    }
}

fn malformed(source: serde_json::Error) -> Error {
    Error::MalformedJson { what: WHAT.to_owned(), source }
}

impl Serialize for RawObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = RawObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
        let mut fields = vec![];
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(RawObject(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays_as_it_was() {
        let text = r#"{"z":1e400,"b":{"y" : [ ]},"a":123456789012345678901234567890,"c":null}"#;
        let mut object = RawObject::parse(text.as_bytes()).unwrap();
        assert_eq!(object.to_vec().unwrap(), text.as_bytes());
        object.set("b", &1).unwrap();
        object.set("n", &"new").unwrap();
        object.remove("z");
        assert_eq!(
            String::from_utf8(object.to_vec().unwrap()).unwrap(),
            r#"{"b":1,"a":123456789012345678901234567890,"c":null,"n":"new"}"#
        );
    }

    #[test]
    fn fields_are_read_where_they_make_sense() {
        let object = RawObject::parse(br#"{"a":["x"],"n":null,"a":["y"]}"#).unwrap();
        assert_eq!(object.read::<Vec<String>>("a").unwrap(), ["y"]);
        assert_eq!(object.read::<Vec<String>>("n").unwrap(), [""; 0]);
        assert_eq!(object.read::<String>("x").unwrap(), "");
        assert!(object.read::<String>("a").is_err());
        assert!(RawObject::parse(b"[]").is_err());
    }
}
