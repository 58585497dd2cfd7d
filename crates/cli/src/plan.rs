//! What a run would do, told before it does it: a row for each blob, and the sums.

use std::io::{self, Write};

use layer_format::Digest;
use serde_json::{Map, Value, json};

use crate::list::Table;
use crate::size::human_size;
use crate::text::clean_json;

/// Something that can be done with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The word in the rows: `send`.
    pub name: &'static str,
    /// The words in the sums: `to send`.
    pub sum: &'static str,
}

/// A blob, and what would be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The repository or the image that it is about.
    pub place: String,
    /// What would be done.
    pub action: Action,
    /// The blob.
    pub digest: Digest,
    /// How many bytes that takes or, where nothing is to be done, saves.
    pub bytes: u64,
    /// Where the blob would be taken from, if that isn't the place.
    pub from: Option<String>,
}

/// What a run would do with each blob.
#[derive(Clone, Debug)]
pub struct Plan {
    place: &'static str,
    actions: &'static [Action],
    steps: Vec<Step>,
}

impl Plan {
    /// A plan without steps. `place` is the title of what steps are about, in small letters; the sums are told for each of
    /// `actions`, in their order.
    pub const fn new(place: &'static str, actions: &'static [Action]) -> Self {
        Self { place, actions, steps: vec![] }
    }

    /// Adds a step.
    pub fn add(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Puts the steps into an order that doesn't depend on when each was added: by place, action and digest.
    pub fn sort(&mut self) {
        let actions = self.actions;
        let rank = |step: &Step| actions.iter().position(|action| *action == step.action);
        self.steps.sort_by_cached_key(|it| (it.place.clone(), rank(it), it.digest, it.bytes));
    }

    /// Writes a table with a row for each step, or a JSON object with the steps and the sums.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&self, is_json: bool, output: &mut impl Write) -> io::Result<()> {
        if is_json {
            return writeln!(output, "{}", clean_json(&self.object().to_string()));
        }
        let place = self.place.to_uppercase();
        let mut table = Table::new(&["ACTION", "BYTES", "DIGEST", &place]);
        for Step { place, action, digest, bytes, from } in &self.steps {
            let from = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            table.row([
                action.name.to_owned(),
                bytes.to_string(),
                digest.to_string(),
                format!("{place}{from}"),
            ]);
        }
        table.write(output)
    }

    /// The sums for people: `blobs to send: 2 (12.3MB), to mount: 1 (4B), there already: 0 (0B)`.
    pub fn summary(&self) -> String {
        let sum = |action: &Action| {
            let (n, bytes) = self.sum(*action);
            format!("{}: {n} ({})", action.sum, human_size(bytes))
        };
        let sums: Vec<_> = self.actions.iter().map(sum).collect();
        format!("blobs {}", sums.join(", "))
    }

    /// How many blobs an action is planned for, and their bytes.
    fn sum(&self, action: Action) -> (u64, u64) {
        let of_action = self.steps.iter().filter(|step| step.action == action);
        of_action.fold((0, 0), |(n, bytes), step| (n + 1, bytes + step.bytes))
    }

    fn object(&self) -> Value {
        let step = |step: &Step| {
            let mut object = Map::new();
            object.insert("action".to_owned(), step.action.name.into());
            object.insert("digest".to_owned(), step.digest.to_string().into());
            object.insert("bytes".to_owned(), step.bytes.into());
            object.insert(self.place.to_owned(), step.place.as_str().into());
            if let Some(from) = &step.from {
                object.insert("from".to_owned(), from.as_str().into());
            }
            Value::Object(object)
        };
        let sum = |action: &Action| {
            let (n, bytes) = self.sum(*action);
            json!({"action": action.name, "blobs": n, "bytes": bytes})
        };
        let steps: Vec<_> = self.steps.iter().map(step).collect();
        let sums: Vec<_> = self.actions.iter().map(sum).collect();
        json!({"blobs": steps, "sums": sums})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: Action = Action { name: "send", sum: "to send" };
    const SKIP: Action = Action { name: "skip", sum: "there already" };

    fn plan() -> Plan {
        let mut plan = Plan::new("repository", &[SEND, SKIP]);
        for (place, action, bytes, from) in
            [("r/b", SKIP, 1, None), ("r/a", SEND, 3, Some("c\x1b")), ("r/a", SEND, 9000, None)]
        {
            let (place, from) = (place.to_owned(), from.map(str::to_owned));
            plan.add(Step { place, action, digest: Digest::of(b""), bytes, from });
        }
        plan.sort();
        plan
    }

    fn written(is_json: bool) -> String {
        let mut output = vec![];
        plan().write(is_json, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_row_is_written_for_each_blob_in_order() {
        let text = written(false).replace(&Digest::of(b"").to_string(), "D");
        let rows: Vec<_> =
            text.lines().map(|it| it.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(
            rows,
            [
                vec!["ACTION", "BYTES", "DIGEST", "REPOSITORY"],
                vec!["send", "3", "D", "r/a", "from", "c\\x1b"],
                vec!["send", "9000", "D", "r/a"],
                vec!["skip", "1", "D", "r/b"],
            ]
        );
    }

    #[test]
    fn the_sums_are_told_for_each_action() {
        assert_eq!(plan().summary(), "blobs to send: 2 (9kB), there already: 1 (1B)");
        let object: Value = serde_json::from_str(&written(true)).unwrap();
        assert_eq!(object["sums"][0], json!({"action": "send", "blobs": 2, "bytes": 9003}));
        assert_eq!(object["blobs"][0]["from"], "c\x1b");
        assert_eq!(object["blobs"][2]["repository"], "r/b");
    }
}
