//! What is mounted.

use cli::text::clean_path;
use cli::{Output, Table};

use crate::mounting;

/// Lists it: where, which image, and the writable layer.
pub(crate) fn list(output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::new(&["DIRECTORY", "IMAGE", "UPPER"]);
    for union in mounting::unions()? {
        let upper = union.upper.as_deref().map_or_else(|| "-".to_owned(), clean_path);
        table.row([clean_path(&union.point), union.source, upper]);
    }
    Ok(table.write(output)?)
}
