//! What is meant: from what was typed to what is done.

use std::time::{SystemTime, UNIX_EPOCH};

use layer_format::layer::Timestamp;
use layer_format::{Compression, Descriptor, DiffId, Platform};

use crate::Args;
use crate::base::Base;
use crate::document::{self, Kind, Statement};
use crate::instruction::{self, Instruction};

/// The times that RFC 3339 has years for: from 0000 to 9999.
pub(crate) const TIMES: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// Everything about the new image but its layers.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) compression: Compression,
    instructions: Vec<Instruction>,
    statement: Statement,
    platform: Platform,
    /// Whether the image is to be OCI's, whatever the base is.
    oci: bool,
}

impl Plan {
    /// Makes sense of the arguments.
    pub(crate) fn of(args: &Args) -> anyhow::Result<Self> {
        if let Some(name) = args.tag.iter().find(|name| name.digest().is_some()) {
            return Err(cli::usage(format!("{name}: a name with a digest can't be given")).into());
        }
        let statement = Statement {
            created: Timestamp { seconds: args.timestamp.unwrap_or_else(now), nanos: 0 }
                .to_second(),
            created_by: created_by(&args.change),
            author: args.author.clone(),
            message: args.message.clone(),
        };
        Ok(Self {
            compression: compression(args)?,
            instructions: instruction::parse(&args.change)?,
            statement,
            platform: args.platform.clone().unwrap_or_else(Platform::host),
            oci: args.oci,
        })
    }

    /// The type of the new layer on this base.
    pub(crate) fn layer_type(&self, base: &Base) -> anyhow::Result<&'static str> {
        let media_type = self.kind(base).layer(self.compression.codec());
        Ok(media_type.ok_or_else(|| {
            cli::usage("the base is a Docker schema 2 image, which has no zstd layers")
                .hint("add --oci to make an OCI image of it")
        })?)
    }

    /// The config and the manifest.
    pub(crate) fn documents(
        &self,
        base: &Base,
        layer: &Descriptor,
        diff_id: DiffId,
    ) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let (instructions, statement) = (&self.instructions, &self.statement);
        let config = document::config(base, &self.platform, instructions, statement, diff_id)?;
        let kind = self.kind(base);
        let manifest = document::manifest(base, kind, &statement.created, &config, layer)?;
        Ok((config, manifest))
    }

    fn kind(&self, base: &Base) -> Kind {
        if self.oci { Kind::Oci } else { base.kind() }
    }
}

fn compression(args: &Args) -> anyhow::Result<Compression> {
    Ok(Compression::named(&args.compress, args.level).ok_or_else(|| {
        let level = args.level.unwrap_or_default();
        cli::usage(format!("--compress {} has no level {level}", args.compress))
    })?)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The part of the command line that says what is in the config, as a shell would read it.
fn created_by(changes: &[String]) -> String {
    let quoted = |change: &String| format!(" -c '{}'", change.replace('\'', r"'\''"));
    std::iter::once("commit".to_owned()).chain(changes.iter().map(quoted)).collect()
}
