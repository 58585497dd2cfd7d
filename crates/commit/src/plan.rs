//! The plan of a commit, made of the arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use cli::Io;
use image::edit::Format;
use layer_format::layer::Timestamp;
use layer_format::{Codec, Compression, Platform, Reference};

use crate::Args;
use crate::base::Base;
use crate::document::{Changes, Document, NewLayer, Statement};
use crate::instruction;
use crate::layer::Storage;
use crate::unset::Unset;

/// The times, in seconds since 1970, that RFC 3339 can express: the years 0000 to 9999.
pub(crate) const TIMES: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// The value of `--compress` for a layer that is stored as it comes.
pub(crate) const KEEP: &str = "keep";

/// Everything about the new image except its layers.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) storage: Storage,
    changes: Changes,
    statement: Statement,
    platform: Platform,
    /// Whether the image is to have the OCI's format, whatever the base has.
    oci: bool,
}

/// The documents of the new image, as bytes of JSON.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    /// The settings that were to be taken out, and weren't there.
    missing: Vec<String>,
}

impl Documents {
    /// Warns of settings that could not be taken out.
    pub(crate) fn warn(&self, io: &Io<'_>) {
        for setting in &self.missing {
            io.warn(&format!("{}: the base has no such setting", cli::text::clean(setting)));
        }
    }
}

impl Plan {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Wrong usage.
    pub(crate) fn of(args: &Args) -> anyhow::Result<Self> {
        args.tag.iter().try_for_each(Reference::check_new)?;
        let created_by =
            args.created_by.clone().unwrap_or_else(|| created_by(&args.unset, &args.change));
        let statement = Statement {
            created: Timestamp { seconds: args.timestamp.unwrap_or_else(now), nanos: 0 }
                .to_second(),
            created_by,
            author: args.author.clone(),
            message: args.message.clone(),
        };
        Ok(Self {
            storage: storage(args)?,
            changes: Changes {
                unset: args.unset.clone(),
                instructions: instruction::parse(&args.change)?,
                annotations: args.annotations.clone(),
            },
            statement,
            platform: args.platform.clone().unwrap_or_else(Platform::host),
            oci: args.oci,
        })
    }

    /// The media type of the new layer on this base; `incoming` is how it comes.
    ///
    /// # Errors
    /// Wrong usage, if the image's format has none for the compression.
    pub(crate) fn layer_type(&self, base: &Base, incoming: Codec) -> anyhow::Result<&'static str> {
        let codec = match self.storage {
            Storage::Compressed(compression) => compression.codec(),
            Storage::AsItIs => incoming,
        };
        let media_type = self.format(base).layer(codec);
        Ok(media_type.ok_or_else(|| {
            cli::usage("the base is a Docker schema 2 image, which has no zstd layers")
                .hint("add --oci to make an OCI image of it")
        })?)
    }

    /// Makes the config and the manifest, of the base and a new layer or of the base alone.
    ///
    /// # Errors
    /// Wrong usage, if an instruction makes no sense on the base; those of a base that is malformed.
    pub(crate) fn documents(
        &self,
        base: &Base,
        layer: Option<NewLayer<'_>>,
    ) -> anyhow::Result<Documents> {
        let format = self.format(base);
        let mut document = Document { base, statement: &self.statement, layer, missing: vec![] };
        let config = document.config(&self.platform, &self.changes)?;
        let manifest = document.manifest(format, &config, &self.changes)?;
        Ok(Documents { config, manifest, missing: document.missing })
    }

    fn format(&self, base: &Base) -> Format {
        if self.oci { Format::Oci } else { base.format() }
    }
}

fn storage(args: &Args) -> anyhow::Result<Storage> {
    if args.compress == KEEP && args.level.is_none() {
        return Ok(Storage::AsItIs);
    }
    let compression = Compression::named(&args.compress, args.level).ok_or_else(|| {
        let level = args.level.unwrap_or_default();
        cli::usage(format!("--compress {} has no level {level}", args.compress))
    });
    Ok(Storage::Compressed(compression?))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The command line that the history shows: `commit` with what it changes in the config, quoted for a shell, in the order in which
/// that is done.
fn created_by(unset: &[Unset], changes: &[String]) -> String {
    let quoted = |option: &str, text: &str| format!(" {option} '{}'", text.replace('\'', r"'\''"));
    let unset = unset.iter().map(|setting| quoted("--unset", &setting.to_string()));
    let changes = changes.iter().map(|change| quoted("-c", change));
    std::iter::once("commit".to_owned()).chain(unset).chain(changes).collect()
}
