//! What two images' configs say differently about how the images run. How they were made is no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use layer_format::{Config, DiffId, Error};
use serde_json::{Value, json};

/// The fields beside `config` that are compared.
const OUTSIDE: [&str; 5] = ["architecture", "os", "os.version", "variant", "author"];

/// A setting that the configs have differently. The value of a config that doesn't have it is `None`.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// For example `Cmd`, `Env.PATH` or `Labels.maintainer`.
    pub name: String,
    /// The value in the first config.
    pub before: Option<Value>,
    /// The value in the second one.
    pub after: Option<Value>,
}

impl Setting {
    /// The letter that stands for the difference: added, changed or deleted.
    pub fn letter(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "A",
            (Some(_), Some(_)) => "C",
            (Some(_), None) => "D",
        }
    }

    /// The difference as `changes --json` has it.
    pub fn object(&self) -> Value {
        let Self { name, before, after } = self;
        json!({ "change": self.letter(), "config": name, "before": before, "after": after })
    }
}

/// Compares the layers of two images by their diff ids, base first: one that is another, or is in one image only, is a setting
/// `Layers.N`, counted from 1.
pub fn compare_layers(before: &[DiffId], after: &[DiffId]) -> Vec<Setting> {
    let value = |layers: &[DiffId], at: usize| layers.get(at).map(|layer| json!(layer));
    let setting = |at| Setting {
        name: format!("Layers.{}", at + 1),
        before: value(before, at),
        after: value(after, at),
    };
    let all = (0..before.len().max(after.len())).map(setting);
    all.filter(|setting| setting.before != setting.after).collect()
}

/// The difference as `changes` prints it, with whatever characters the values have.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> =
            self.before.iter().chain(&self.after).map(Value::to_string).collect();
        write!(f, "config {} {}  {}", self.letter(), self.name, values.join(" -> "))
    }
}

/// Compares two configs. The result is in the order of names.
///
/// # Errors
/// [`Error::MalformedJson`], if a config is malformed.
pub fn compare(before: &Config, after: &Config) -> Result<Vec<Setting>, Error> {
    let mut before = settings(before)?;
    let mut after = settings(after)?;
    let names: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
    let settings = names.into_iter().map(|name| {
        let before = before.remove(&name);
        let after = after.remove(&name);
        Setting { name, before, after }
    });
    Ok(settings.filter(|setting| setting.before != setting.after).collect())
}

/// All settings of a config by name. A setting that is null or empty is the same as none.
fn settings(config: &Config) -> Result<BTreeMap<String, Value>, Error> {
    let mut fields: Value = serde_json::from_slice(config.raw())
        .map_err(|source| Error::MalformedJson { what: "config".to_owned(), source })?;
    let mut settings = BTreeMap::new();
    for name in OUTSIDE {
        settings.insert(name.to_owned(), fields[name].take());
    }
    if let Value::Object(inside) = fields["config"].take() {
        for (name, value) in inside {
            put(&mut settings, name, value);
        }
    }
    settings.retain(|name, value| name.contains('.') || !is_empty(value));
    Ok(settings)
}

/// Adds a field of `config`. A map becomes one setting a key, and `Env` one a variable.
fn put(settings: &mut BTreeMap<String, Value>, name: String, value: Value) {
    match value {
        Value::Object(fields) => {
            settings
                .extend(fields.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
        }
        Value::Array(variables) if name == "Env" => {
            for variable in variables {
                let text = variable.as_str().unwrap_or_default();
                let (key, value) = text.split_once('=').unwrap_or((text, ""));
                settings.insert(format!("Env.{key}"), value.into());
            }
        }
        value => drop(settings.insert(name, value)),
    }
}

/// Whether a value says no more than that there is none.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(inside: &Value) -> Config {
        let rootfs = json!({ "type": "layers", "diff_ids": [] });
        let fields = json!({ "architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": inside, "created": inside.to_string() });
        Config::parse(fields.to_string().into_bytes()).unwrap()
    }

    #[track_caller]
    fn check(before: &Value, after: &Value, expected: &[(&str, Option<Value>, Option<Value>)]) {
        let found = compare(&config(before), &config(after)).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_str(), it.before.clone(), it.after.clone()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn variables_and_labels_are_compared_one_by_one() {
        check(
            &json!({ "Env": ["A=1", "B=2=3", "C=x"], "Labels": { "l": "m" } }),
            &json!({ "Env": ["C=x", "A=2", "D"], "Labels": { "l": "m", "n": "" } }),
            &[
                ("Env.A", Some("1".into()), Some("2".into())),
                ("Env.B", Some("2=3".into()), None),
                ("Env.D", None, Some("".into())),
                ("Labels.n", None, Some("".into())),
            ],
        );
    }

    #[test]
    fn lists_are_one_setting_and_nothing_is_nothing() {
        check(
            &json!({ "Cmd": ["sh"], "Entrypoint": null, "User": "", "Volumes": {}, "Tty": false }),
            &json!({ "Cmd": ["sh", "-c"], "Volumes": null, "ExposedPorts": { "80/tcp": {} } }),
            &[
                ("Cmd", Some(json!(["sh"])), Some(json!(["sh", "-c"]))),
                ("ExposedPorts.80/tcp", None, Some(json!({}))),
            ],
        );
    }
}
