//! The history of an image, the last step first.

use cli::{Form, Io, Table};
use image::Opened;
use layer_format::History;
use serde_json::json;

use crate::{Length, write_array};

/// Where there is less room, in cells, the layers' digests are left out; --layers shows them.
const NARROW: usize = 90;
const ID: usize = 1;
/// Columns of the table that may be long.
const COMMENT: usize = 4;
const CREATED_BY: usize = 5;

/// A step of the history, and the layer that it made.
struct Step {
    history: History,
    layer: Option<usize>,
}

/// Lists the steps.
pub(crate) fn list(
    mut opened: Opened,
    (form, length): (Form, Length),
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let mut sizes = vec![];
    for position in 0..opened.image().layers.len() {
        sizes.push(opened.stored_size(position, &io.progress)?);
    }
    let ids: Vec<_> =
        opened.image().layers.iter().map(|layer| length.of(&layer.digest())).collect();
    let steps = steps(&opened.image().config.history, sizes.len());
    opened.finish()?;
    if form == Form::Json {
        let element = |step: &Step| {
            json!({
                "created": step.history.created,
                "createdBy": step.history.created_by,
                "author": step.history.author,
                "comment": step.history.comment,
                "layer": step.layer.map(|layer| layer + 1),
                "size": step.layer.map_or(0, |layer| sizes[layer]),
            })
        };
        return write_array(steps.iter().rev().map(element), io);
    }
    let mut table = Table::new(&["LAYER", "ID", "CREATED", "SIZE", "COMMENT", "CREATED BY"]);
    for Step { history, layer } in steps.iter().rev() {
        let created = history.created.as_deref().unwrap_or("-");
        table.row([
            layer.map_or("-".to_owned(), |layer| (layer + 1).to_string()),
            layer.map_or("-".to_owned(), |layer| ids[layer].clone()),
            // The fraction and the zone are left out for readability.
            created.split('.').next().unwrap_or(created).to_owned(),
            cli::human_size(layer.map_or(0, |layer| sizes[layer])),
            history.comment.clone().filter(|it| !it.is_empty()).unwrap_or_else(|| "-".to_owned()),
            history.created_by.clone().unwrap_or_default(),
        ]);
    }
    if let Some(columns) = io.output.columns().filter(|_| length == Length::Short) {
        // What was done tells more than what somebody has said about it.
        table.cut_columns(&[COMMENT], columns);
        let n_left_out = if columns < NARROW { table.leave_out(&[ID], columns) } else { 0 };
        table.cut_columns(&[CREATED_BY - n_left_out], columns);
    }
    Ok(table.write(&mut io.output)?)
}

/// Pairs steps with layers. A config may have steps for some of the layers only, or for none.
fn steps(history: &[History], n_layers: usize) -> Vec<Step> {
    let mut layers = 0..n_layers;
    let step = |history: &History| Step {
        history: history.clone(),
        layer: if history.empty_layer { None } else { layers.next() },
    };
    let mut steps: Vec<_> = history.iter().map(step).collect();
    steps.extend(layers.map(|layer| Step { history: History::default(), layer: Some(layer) }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_layers_need_not_agree() {
        let step = |empty_layer| History { empty_layer, ..History::default() };
        let layers = |history: &[History], n| {
            steps(history, n).iter().map(|step| step.layer).collect::<Vec<_>>()
        };
        assert_eq!(layers(&[step(false), step(true), step(false)], 2), [Some(0), None, Some(1)]);
        assert_eq!(layers(&[], 2), [Some(0), Some(1)]);
        assert_eq!(layers(&[step(false), step(false)], 1), [Some(0), None]);
    }
}
