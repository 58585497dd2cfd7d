//! `remote tag`: another name for an image in its repository; only the manifest is put once more.

use std::io::Write as _;

use cli::Io;
use layer_format::Reference;
use registry::Client;

use crate::names::without_tag;

/// Gives an image more names; prints each with the digest that it stands for.
pub(crate) fn tag(
    image: &Reference,
    names: &[Reference],
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    names.iter().try_for_each(|name| check(image, name))?;
    let repository = client.repository(image)?.without_mirrors();
    let (document, digest) = repository.manifest(&image.wanted())?;
    let media_type = document.descriptor().media_type;
    for name in names {
        cli::interrupt::check()?;
        repository.put_manifest(name.tag().unwrap_or_default(), &media_type, document.raw())?;
        writeln!(io.output, "{}", name.at(digest))?;
    }
    Ok(io.output.flush()?)
}

/// Checks that a new name is a tag in the image's repository.
fn check(image: &Reference, name: &Reference) -> anyhow::Result<()> {
    if name.name() != image.name() {
        let text = format!("{name}: a tag is given in the image's own repository");
        let hint = match bare(name) {
            Some(tag) if image.registry() != name.registry() => {
                format!("remote tag {image} {}:{tag}", without_tag(image))
            }
            _ => format!("remote copy {image} {name}"),
        };
        return Err(cli::usage(text).hint(hint).into());
    }
    if name.digest().is_some() {
        return Err(cli::usage(format!("{name}: a new name is a tag, not a digest")).into());
    }
    Ok(())
}

/// The word that a name is if it has neither a registry nor a tag: perhaps a tag was meant.
fn bare(name: &Reference) -> Option<String> {
    let word = name.to_string();
    let word = word.strip_suffix(":latest")?;
    (name.registry() == "docker.io" && !word.contains('/')).then(|| word.to_owned())
}
