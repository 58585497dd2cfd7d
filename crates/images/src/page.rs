//! The forms of the output: for people, for programs, and for `xargs -0`.

use std::io::Write as _;

use cli::{Columns, Form, Output};
use layer_format::{Digest, Reference};
use serde_json::{Value, json};
use store::{Freed, Sweep};

use crate::Swept;

/// Standard output, in one of the forms.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) output: &'a mut Output,
    pub(crate) form: Form,
}

/// One line of a list.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The text of the line in the forms that aren't JSON.
    pub(crate) name: String,
    /// The element of the JSON array.
    pub(crate) json: Value,
}

impl Page<'_> {
    /// Writes a list: one name a line, or an array with one element a line.
    pub(crate) fn list(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        match self.form {
            Form::Text => {
                for line in lines {
                    writeln!(self.output, "{}", cli::text::clean(&line.name))?;
                }
            }
            Form::Null => {
                for line in lines {
                    write!(self.output, "{}\0", line.name)?;
                }
            }
            Form::Json => {
                let mut array = cli::Array::default();
                for line in lines {
                    array.element(&line.json.to_string(), self.output)?;
                }
                array.end(self.output)?;
            }
        }
        Ok(())
    }

    /// Writes a JSON object, if that is the form.
    pub(crate) fn object(&mut self, value: &Value) -> anyhow::Result<()> {
        if self.form == Form::Json {
            writeln!(self.output, "{}", cli::text::clean_json(&value.to_string()))?;
        }
        Ok(())
    }

    /// Writes which image has got a name.
    pub(crate) fn named(&mut self, name: &Reference, digest: &Digest) -> anyhow::Result<()> {
        match self.form {
            Form::Json => self.object(&json!({"name": name.full(), "digest": digest})),
            _ => self.list(&[Line { name: digest.to_string(), json: json!(null) }]),
        }
    }

    /// Writes which images were removed or would be, and what that frees.
    pub(crate) fn pruned(
        &mut self,
        images: &[Line],
        swept: &Swept,
        sweep: Sweep,
    ) -> anyhow::Result<()> {
        match self.form {
            Form::Json => {
                let mut object = freed_object(swept, sweep);
                object["images"] = images.iter().map(|image| image.json.clone()).collect();
                self.object(&object)
            }
            Form::Null => self.list(images),
            Form::Text => {
                self.list(images)?;
                self.freed(swept, sweep)
            }
        }
    }

    /// Writes what gc has freed, and what it kept; in a dry run each blob that it would remove, and what that would free.
    pub(crate) fn freed(&mut self, swept: &Swept, sweep: Sweep) -> anyhow::Result<()> {
        if self.form == Form::Json {
            return self.object(&freed_object(swept, sweep));
        }
        if self.form == Form::Text {
            let mut rows = Columns::default();
            for (digest, size) in &swept.blobs {
                rows.row(["remove".to_owned(), size.to_string(), digest.to_string()]);
            }
            rows.write(self.output)?;
        }
        let Freed { n_blobs, n_partials, n_layers, bytes } = &swept.freed;
        let would = if sweep == Sweep::DryRun { "would free" } else { "freed" };
        let blobs = cli::counted(*n_blobs, "blob", "blobs");
        let also = |n: u64, what: &str| match n {
            0 => String::new(),
            1 => format!(", 1 {what}"),
            n => format!(", {n} {what}s"),
        };
        let partials = also(*n_partials, "old download");
        let layers = also(*n_layers, "extracted layer");
        let size = cli::human_size(*bytes);
        let end = if self.form == Form::Null { '\0' } else { '\n' };
        Ok(write!(self.output, "{would} {bytes} bytes ({size}): {blobs}{partials}{layers}{end}")?)
    }
}

fn freed_object(Swept { freed, kept, blobs }: &Swept, sweep: Sweep) -> Value {
    let Freed { n_blobs, n_partials, n_layers, bytes } = freed;
    let is_dry = sweep == Sweep::DryRun;
    let mut object = json!({
        "bytes": bytes, "blobs": n_blobs, "partials": n_partials, "layers": n_layers,
        "keptBytes": kept.bytes, "keptLayers": kept.n_layers, "dryRun": is_dry
    });
    if is_dry {
        let blob = |(digest, bytes): &(Digest, u64)| json!({"digest": digest, "bytes": bytes});
        object["garbage"] = blobs.iter().map(blob).collect();
    }
    object
}
