//! One layer, as the plain tar that it is.

use std::io::{Read, Write};

use anyhow::Context as _;
use cli::{Code, Failure, Io};
use image::{Image, Layer, Opened};

/// How many digits of a digest are enough.
const LEAST_DIGITS: usize = 6;
const BUFFER: usize = 128 << 10;

/// Writes a layer's uncompressed bytes. A tar's end, which is zeros, is written only when they have been verified.
///
/// # Errors
/// There is no such layer; it doesn't match its digests; the output's.
pub(crate) fn write(mut opened: Opened, which: &str, io: &mut Io<'_>) -> anyhow::Result<()> {
    io.output.binary()?;
    let position = find(opened.image(), which)?;
    let name = opened.image().layer_name(position);
    let output = &mut io.output;
    let copy = |content: &mut dyn Read| without_end(content, output);
    let n_zeros = opened.read_uncompressed(position, &io.progress, copy).context(name)?;
    opened.finish()?;
    Ok(zeros(n_zeros, &mut io.output)?)
}

/// The position of the layer that a number, counted from 1, or the beginning of a digest or diff id means.
fn find(image: &Image, which: &str) -> anyhow::Result<usize> {
    let n_layers = image.layers.len();
    if let Some(number) = which.parse::<usize>().ok().filter(|it| (1..=n_layers).contains(it)) {
        return Ok(number - 1);
    }
    let digits = which.strip_prefix("sha256:").unwrap_or(which);
    let found: Vec<usize> = (0..n_layers).filter(|&at| has(&image.layers[at], digits)).collect();
    match (digits.len() >= LEAST_DIGITS, &found[..]) {
        // Layers of equal diff ids are the same layer.
        (true, [first, others @ ..])
            if others
                .iter()
                .all(|&at| image.layers[at].diff_id == image.layers[*first].diff_id) =>
        {
            Ok(*first)
        }
        (true, [_, ..]) => Err(cli::usage(format!("{which}: several layers begin so")).into()),
        _ => {
            let layers = cli::counted(n_layers as u64, "layer", "layers");
            let message =
                format!("{}: the image has {layers}, none of them this", cli::text::clean(which));
            let failure = Failure::new(Code::NotFound, message);
            Err(failure.hint("inspect --layers IMAGE lists them").into())
        }
    }
}

fn has(layer: &Layer, digits: &str) -> bool {
    let blob = layer.blob.as_ref().map(|blob| blob.digest);
    let digests = [Some(layer.diff_id.0), blob];
    digests.into_iter().flatten().any(|digest| digest.hex().starts_with(digits))
}

/// Copies bytes, but for the zeros at their end, and returns how many those are.
fn without_end(content: &mut dyn Read, output: &mut impl Write) -> anyhow::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut n_zeros = 0;
    loop {
        let n = content.read(&mut buffer).context("reading the layer")?;
        if n == 0 {
            return Ok(n_zeros);
        }
        let end = buffer[..n].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if end > 0 {
            zeros(std::mem::take(&mut n_zeros), output)?;
            output.write_all(&buffer[..end])?;
        }
        n_zeros += (n - end) as u64;
    }
}

fn zeros(n: u64, output: &mut impl Write) -> std::io::Result<()> {
    std::io::copy(&mut std::io::repeat(0).take(n), output)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_but_the_zeros_at_the_end_are_copied() {
        for (bytes, n_zeros) in [
            (vec![], 0),
            (vec![0; 3], 3),
            (vec![1, 0, 0, 2], 0),
            ([0_u8, 7, 0, 0].map(|byte| vec![byte; BUFFER]).concat(), 2 * BUFFER),
        ] {
            let mut output = vec![];
            assert_eq!(without_end(&mut &bytes[..], &mut output).unwrap(), n_zeros as u64);
            zeros(n_zeros as u64, &mut output).unwrap();
            assert!(output == bytes);
        }
    }
}
