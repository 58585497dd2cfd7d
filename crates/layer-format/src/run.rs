//! What an image's config says about running it (image-spec, config.md, "config").

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use crate::descriptor::null_is_default;
use crate::error::Error;
use crate::image::{Config, blob_from_json};

/// How a container of the image is run, unless its user says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[serde(expecting = "an object")]
pub struct Run {
    /// `user`, `uid`, `user:group`, `uid:gid` or a mix; empty for root.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// `NAME=VALUE`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The first words of the command line.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The words after them.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Where it starts; empty for `/`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Whatever people want to say.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// `PORT/PROTOCOL`.
    #[serde(default, deserialize_with = "names")]
    pub exposed_ports: BTreeSet<String>,
    /// Directories for what isn't the image's.
    #[serde(default, deserialize_with = "names")]
    pub volumes: BTreeSet<String>,
    /// Who made the image; it stands beside the rest.
    #[serde(skip)]
    pub author: Option<String>,
    /// What the system must be able to do, for Windows; it stands beside the rest.
    #[serde(skip)]
    pub os_features: Vec<String>,
}

/// The names of an object; its values say nothing.
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
    /// How the image wants to be run.
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
