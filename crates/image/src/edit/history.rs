//! The history in a config, fitted to the number of layers.
//!
//! Readers pair entries with layers from the bottom, apart from those that say that they made none. Docker refuses an image that
//! has more entries for layers than layers, and some registries one that has fewer.

use layer_format::Error;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::edit::RawObject;

const FIELD: &str = "history";
const EMPTY_LAYER: &str = "empty_layer";

/// The steps by which an image was made, first one first. Their bytes are kept.
#[derive(Clone, Debug, Default)]
pub struct History(Vec<Step>);

/// A step, and whether it made a layer.
#[derive(Clone, Debug)]
struct Step {
    entry: Box<RawValue>,
    made_layer: bool,
}

impl History {
    /// Reads the history of a config.
    ///
    /// # Errors
    /// [`Error::MalformedJson`].
    pub fn of(config: &RawObject) -> Result<Self, Error> {
        let entries: Vec<Box<RawValue>> = config.read(FIELD)?;
        let steps = entries.into_iter().map(|entry| {
            let fields: RawObject = serde_json::from_str(entry.get()).map_err(malformed)?;
            let made_layer = !fields.read::<bool>(EMPTY_LAYER)?;
            Ok(Step { entry, made_layer })
        });
        Ok(Self(steps.collect::<Result<_, Error>>()?))
    }

    /// Makes as many entries say that they made a layer as there are layers. If there are too few, entries without a word are
    /// added; if there are too many, the last ones say that they made none.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if an entry can't be written.
    pub fn fit(&mut self, n_layers: usize) -> Result<(), Error> {
        let n_made = self.n_layers();
        for _ in n_made..n_layers {
            self.push(&json!({}))?;
        }
        let too_many = self.0.iter_mut().rev().filter(|step| step.made_layer);
        for step in too_many.take(n_made.saturating_sub(n_layers)) {
            let mut fields: RawObject =
                serde_json::from_str(step.entry.get()).map_err(malformed)?;
            fields.set(EMPTY_LAYER, &true)?;
            *step = Step { entry: to_raw_value(&fields).map_err(malformed)?, made_layer: false };
        }
        Ok(())
    }

    /// Adds a step at the end.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if the entry can't be written.
    pub fn push(&mut self, entry: &Value) -> Result<(), Error> {
        let made_layer = entry[EMPTY_LAYER] != true;
        self.0.push(Step { entry: to_raw_value(entry).map_err(malformed)?, made_layer });
        Ok(())
    }

    /// Adds the steps of another history at the end.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The steps that made the upper `n_own` layers of an image. `below` is the history of the image that it was made of, which
    /// has `n_below` layers. If this history doesn't begin with that one, steps are counted.
    #[must_use]
    pub fn above(self, below: &Self, n_below: usize, n_own: usize) -> Self {
        let mut steps = self.0;
        let is_beginning = steps.len() >= below.0.len()
            && steps.iter().zip(&below.0).all(|(step, other)| step.says_same(other));
        let rest = steps.iter().skip(below.0.len()).filter(|step| step.made_layer).count();
        if is_beginning && rest == n_own {
            return Self(steps.split_off(below.0.len()));
        }
        let is_layer = |position: &usize| steps[*position].made_layer;
        let mut start = match n_below.checked_sub(1) {
            Some(nth) => {
                (0..steps.len()).filter(is_layer).nth(nth).map_or(steps.len(), |last| last + 1)
            }
            None => 0,
        };
        // What is left of the image below made no layer.
        let n_trailing = below.0.iter().rev().take_while(|step| !step.made_layer).count();
        let is_empty = |step: &&Step| !step.made_layer;
        start += steps[start..].iter().take(n_trailing).take_while(is_empty).count();
        Self(steps.split_off(start))
    }

    /// Sets the history of a config.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if it can't be written.
    pub fn write(&self, config: &mut RawObject) -> Result<(), Error> {
        config.set(FIELD, &self.0.iter().map(|step| &step.entry).collect::<Vec<_>>())
    }

    fn n_layers(&self) -> usize {
        self.0.iter().filter(|step| step.made_layer).count()
    }
}

impl Step {
    fn says_same(&self, other: &Self) -> bool {
        let value = |step: &Self| serde_json::from_str::<Value>(step.entry.get()).ok();
        self.entry.get() == other.entry.get() || value(self) == value(other)
    }
}

fn malformed(source: serde_json::Error) -> Error {
    Error::MalformedJson { what: "history of an image".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history in which `a` to `z` made a layer and `A` to `Z` made none.
    fn history(steps: &str) -> History {
        let mut history = History::default();
        for step in steps.chars() {
            let entry = match step {
                'A'..='Z' => json!({"created_by": step.to_string(), "empty_layer": true}),
                '-' => json!({}),
                _ => json!({"created_by": step.to_string()}),
            };
            history.push(&entry).unwrap();
        }
        let mut config = RawObject::default();
        history.write(&mut config).unwrap();
        History::of(&config).unwrap()
    }

    /// The steps as they are given to `history`.
    fn shown(history: &History) -> String {
        let step = |step: &Step| {
            let value: Value = serde_json::from_str(step.entry.get()).unwrap();
            let name = value["created_by"].as_str().unwrap_or("-").to_owned();
            if value["empty_layer"] == true { name.to_uppercase() } else { name }
        };
        history.0.iter().map(step).collect()
    }

    #[track_caller]
    fn check_fit(steps: &str, n_layers: usize, expected: &str) {
        let mut history = history(steps);
        history.fit(n_layers).unwrap();
        assert_eq!(shown(&history), expected, "{steps} for {n_layers}");
    }

    #[track_caller]
    fn check_above(steps: &str, below: &str, n_below: usize, n_own: usize, expected: &str) {
        let above = history(steps).above(&history(below), n_below, n_own);
        assert_eq!(shown(&above), expected, "{steps} above {below}");
    }

    // jib#534, nix2container#57: too few; buildah#371: too many.
    #[test]
    fn there_is_an_entry_for_each_layer_and_no_more() {
        check_fit("aBc", 2, "aBc");
        check_fit("", 2, "--");
        check_fit("aB", 3, "aB--");
        check_fit("abCd", 1, "aBCD");
        check_fit("Ab", 0, "AB");
    }

    #[test]
    fn the_steps_of_an_image_are_those_after_its_base_s() {
        check_above("aBcDe", "aB", 1, 2, "cDe");
        check_above("aBCd", "aB", 1, 1, "Cd");
        check_above("a", "", 0, 1, "a");
        check_above("ABc", "AB", 0, 1, "c");
    }

    #[test]
    fn steps_are_counted_where_the_base_tells_others() {
        // The base was built anew: its steps have other times.
        check_above("aBcD", "xY", 1, 1, "cD");
        check_above("aBCd", "xY", 1, 1, "Cd");
        check_above("aBc", "Xy", 1, 1, "Bc");
        // The base says nothing, the image speaks for it.
        check_above("abc", "", 2, 1, "c");
        // The image doesn't say enough.
        check_above("a", "ab", 2, 1, "");
        check_above("", "ab", 2, 1, "");
    }
}
