//! The defaults for running an image, from its config (image-spec, config.md, "config").

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use crate::descriptor::null_is_default;
use crate::error::Error;
use crate::image::{Config, blob_from_json};

/// The defaults for running a container of the image. The user can override them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[serde(expecting = "an object")]
pub struct Run {
    /// The user: `user`, `uid`, `user:group`, `uid:gid` or a mix; empty for root.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// The environment, in the form `NAME=VALUE`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The first words of the command line.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The words after the entrypoint.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// The directory in which the command starts; empty for `/`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Labels, by key.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the container to stop.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// The ports that the container listens on, in the form `PORT/PROTOCOL`.
    #[serde(default, deserialize_with = "names")]
    pub exposed_ports: BTreeSet<String>,
    /// The directories for data that isn't part of the image.
    #[serde(default, deserialize_with = "names")]
    pub volumes: BTreeSet<String>,
    /// The author of the image. The config has it outside of these defaults.
    #[serde(skip)]
    pub author: Option<String>,
    /// The features that the system must have, for Windows. The config has them outside of these defaults.
    #[serde(skip)]
    pub os_features: Vec<String>,
}

/// Reads the keys of an object. Its values have no meaning.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let object = Option::<serde_json::Map<String, serde_json::Value>>::deserialize(deserializer)?;
    Ok(object.unwrap_or_default().into_iter().map(|(name, _)| name).collect())
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Whole {
    #[serde(default)]
    author: Option<String>,
    #[serde(rename = "os.features", default, deserialize_with = "null_is_default")]
    os_features: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    config: Run,
}

impl Config {
    /// The defaults for running the image.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] if a field has the wrong type.
    pub fn run(&self) -> Result<Run, Error> {
        let Whole { author, os_features, config } = blob_from_json("config", self.raw())?;
        Ok(Run { author, os_features, ..config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_null_is_empty() {
        let run = |text: &str| Config::parse(text.as_bytes().to_vec()).unwrap().run().unwrap();
        for text in ["{}", r#"{"config":null}"#, r#"{"config":{"Env":null,"Volumes":null}}"#] {
            assert_eq!(run(text), Run::default(), "{text}");
        }
        let full = run(
            r#"{"author":"me","config":{"User":"a","Env":["A=b"],"Cmd":["c"],"Volumes":{"/v":{"x":1}},"Labels":{"l":"m"}}}"#,
        );
        assert_eq!((full.author.as_deref(), full.user.as_str()), (Some("me"), "a"));
        assert_eq!((full.env, full.cmd), (vec!["A=b".to_owned()], vec!["c".to_owned()]));
        assert!(full.volumes.contains("/v") && full.labels["l"] == "m");
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        let config = Config::parse(br#"{"config":{"Env":"A=b"}}"#.to_vec()).unwrap();
        assert!(config.run().is_err());
    }
}
