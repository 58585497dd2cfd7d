//! The `inspect` command: shows what an image is, by its documents, and which files it has, without unpacking it.

mod about;
mod file;
mod files;
mod history;
mod layer;
mod layers;
mod sizes;
mod waste;

use std::io::Write as _;
use std::path::PathBuf;

use cli::{Code, Explain as _, Failure, Form, Io, When};
use image::{Choice, Location, Opened};
use layer_format::{Digest, Document, Error, Platform};
use report::{Look, look};
use store::Store;

/// Show what an image is and what it holds
///
/// Reads an image stream, an archive that any tool saved, an OCI layout or the store, and prints JSON in the shape of
/// `docker inspect`, or one of the views below. Nothing is unpacked.
#[derive(clap::Parser, Debug)]
#[command(name = "inspect", version, after_help = cli::examples(&[
    ("inspect nginx", "An image of the store"),
    ("pull alpine | inspect --files -", "Every file of an image that is nowhere yet"),
    ("inspect --layer 2 nginx | tar t", "What one layer holds, whiteouts too"),
    ("inspect --waste --max-waste 5% app:2", "The bytes that no container can read; more than that is a failure"),
    ("inspect --cat /etc/os-release ./images.tar --image nginx:1.27", "One file out of an image"),
]))]
#[command(group = clap::ArgGroup::new("view").multiple(false))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of the command line; clap has no other form for them"
)]
pub struct Args {
    /// The image: - is standard input, a path an archive, an OCI layout or a directory that skopeo wrote, anything else a name in the
    /// store. archive:, layout: or dir: before a path forces the kind
    image: String,
    /// Print the manifest, byte for byte
    #[arg(long, group = "view")]
    raw: bool,
    /// Print the config, byte for byte
    #[arg(long, group = "view")]
    config: bool,
    /// List how the image was made, the last step first
    #[arg(long, group = "view")]
    history: bool,
    /// List the layers, base first: size stored and uncompressed, and which images of the store have them too
    #[arg(long, group = "view")]
    layers: bool,
    /// Write one layer as a plain tar: its number as --layers counts, or the first digits of its digest or diff id
    #[arg(long, group = "view", value_name = "N", conflicts_with = "json")]
    layer: Option<String>,
    /// List every file: mode, owner, size, time, the layer it comes from, path
    #[arg(long, group = "view")]
    files: bool,
    /// List the bytes that nobody can read, because a higher layer replaces, removes or repeats a file: by path, and their sum
    #[arg(long, group = "view")]
    waste: bool,
    /// End with status 1 if more than this is wasted: a share of all bytes of files, as 5%, or a size, as 20M
    #[arg(long, requires = "waste", value_name = "SHARE", value_parser = waste::Most::parse)]
    max_waste: Option<waste::Most>,
    /// Draw the sizes of directories and of large files as a tree, with how much of each comes from which layer
    #[arg(long, group = "view")]
    tree: bool,
    /// How deep the tree of --tree is
    #[arg(long, requires = "tree", value_name = "N", default_value_t = 3)]
    depth: u8,
    /// Write one file's content; symbolic links are followed inside the image
    #[arg(long, group = "view", value_name = "PATH")]
    cat: Option<PathBuf>,
    /// How large the file of --cat may be, holes included: 500M, 20G; 16T without this
    #[arg(long, requires = "cat", value_name = "SIZE", value_parser = cli::parse_size)]
    max_size: Option<u64>,
    /// With --history or --layers, print digests in full, and cells that the terminal has no room for
    #[arg(long, requires = "view")]
    #[arg(conflicts_with_all = ["raw", "config", "files", "waste", "tree", "cat", "layer", "json"])]
    no_trunc: bool,
    /// Print lists as JSON
    #[arg(long)]
    json: bool,
    /// With --files, print only the paths, as they are, each ended by NUL
    #[arg(short = '0', long, requires = "files", conflicts_with = "json")]
    null: bool,
    /// Which image of an archive that holds several: a name or a digest
    #[arg(long = "image", id = "which", value_name = "NAME")]
    which: Option<String>,
    /// Platform of a multi-platform image, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    #[command(flatten)]
    common: cli::Common,
}

/// How long texts are in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// The first digits of digests; commands as long as the terminal has room.
    Short,
    /// All of it.
    Full,
}

impl Length {
    fn of(self, digest: &Digest) -> String {
        match self {
            Self::Short => digest.short(),
            Self::Full => digest.to_string(),
        }
    }
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] = &[look::<Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    // Who asks for a form of progress gets it.
    if args.common.progress == When::Auto {
        io.progress.expect_look_up();
    }
    let choice = Choice { name: args.which.clone(), platform: args.platform.clone() };
    let location = Location::from(args.image.as_str());
    let store =
        image::our_store(args.common.store.as_deref(), &location).hinted(store::Error::hint)?;
    let input = location.input(|| io.input.take_image())?;
    let opened = Opened::open(&location, input, choice, store.as_ref());
    if args.raw
        && let Some(store) = store.as_ref().filter(|_| location.is_stored())
        && opened.as_ref().is_err_and(is_no_image)
        && let Some(raw) = artifact(args, store)?
    {
        return write_document(&raw, io);
    }
    let mut opened = opened.hinted(store::Error::hint)?;
    opened.image().doubt.iter().for_each(|doubt| io.warn(doubt));
    if !opened.is_own() {
        // Who looks at a stranger's image need not have to do with it again.
        opened.leave_no_notes();
    }
    if args.cat.is_none() {
        opened.read_once();
    }
    let form = Form::of(args.json, args.null);
    let length = if args.no_trunc { Length::Full } else { Length::Short };
    if args.files {
        files::list(opened, form, io)
    } else if args.tree {
        sizes::draw(opened, args.depth, args.json, io)
    } else if args.waste {
        waste::list(opened, args.json, args.max_waste, io)
    } else if let Some(path) = &args.cat {
        file::cat(opened, (path, args.max_size), io)
    } else if let Some(which) = &args.layer {
        layer::write(opened, which, io)
    } else if args.layers {
        layers::list(opened, (form, length), io)
    } else if args.history {
        history::list(opened, (form, length), io)
    } else if args.raw || args.config {
        let document =
            if args.raw { manifest(&opened)? } else { opened.image().config.raw().to_vec() };
        opened.finish()?;
        write_document(&document, io)
    } else {
        let about = about::describe(&mut opened, &io.progress)?;
        opened.finish()?;
        Ok(writeln!(io.output, "{}", cli::text::clean_json(&about))?)
    }
}

/// Whether an error says that what was found is no image: its media type is another one, or its config isn't an image's.
fn is_no_image(error: &store::Error) -> bool {
    matches!(
        error.of_format(),
        Some(
            Error::Unsupported { .. }
                | Error::Malformed { .. }
                | Error::MalformedJson { .. }
                | Error::BeyondLimit { .. }
                | Error::NoImage { .. }
                | Error::Contradiction { .. }
        )
    )
}

/// The manifest of an artifact of the store, if it is one.
fn artifact(args: &Args, store: &Store) -> anyhow::Result<Option<Vec<u8>>> {
    let found = store.find(args.which.as_ref().unwrap_or(&args.image))?;
    let raw = store.document(&found.descriptor.digest)?;
    Ok(matches!(Document::parse(raw.clone())?, Document::Manifest(_)).then_some(raw))
}

fn manifest(opened: &Opened) -> anyhow::Result<Vec<u8>> {
    let manifest = opened.image().manifest.as_ref().map(|manifest| manifest.raw().to_vec());
    manifest.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            "the archive has no manifest; Docker's older archives have none",
        )
        .hint("--config prints what there is")
        .into()
    })
}

/// Writes a document byte for byte; for a terminal, control characters are escaped.
fn write_document(document: &[u8], io: &mut Io<'_>) -> anyhow::Result<()> {
    if io.output.is_terminal() {
        writeln!(io.output, "{}", cli::text::clean_text(document))?;
    } else {
        io.output.write_all(document)?;
    }
    Ok(())
}

/// Writes a JSON array with one element per line.
fn write_array(
    elements: impl Iterator<Item = serde_json::Value>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let mut array = cli::Array::default();
    for element in elements {
        array.element(&element.to_string(), &mut io.output)?;
    }
    Ok(array.end(&mut io.output)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_taken_for_something_that_is_no_image() {
        let format = |error: Error| store::Error::from(error);
        let what = || "app:1".to_owned();
        assert!(is_no_image(&format(Error::NoImage { what: what(), reason: "it is empty" })));
        assert!(is_no_image(&format(Error::Malformed {
            what: what(),
            reason: "it has no config"
        })));
        assert!(!is_no_image(&format(Error::Truncated { what: what() })));
        assert!(!is_no_image(&store::Error::NotFound { text: what() }));
    }
}
