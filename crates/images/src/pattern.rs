//! Which images a list is about: names, patterns of names, and digests.

use layer_format::Reference;
use store::{IndexEntry, MIN_DIGITS};

/// A name or a digest, or a pattern of names.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    /// Whether `*`, `?` or `[` is in it: then it may match nothing.
    pub(crate) is_glob: bool,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), is_glob: text.contains(['*', '?', '[']) }
    }

    /// Reads a word of the command line.
    ///
    /// # Errors
    /// Wrong usage, if it is a pattern that ends in the middle.
    pub(crate) fn parse(text: &str) -> Result<Self, cli::Failure> {
        if cli::has_open_class(text) {
            let text = cli::text::clean(text);
            return Err(cli::usage(format!("{text}: a pattern's [ has no ]")));
        }
        Ok(Self::new(text))
    }

    /// Whether an image is meant. Without a tag, each tag of the name is.
    pub(crate) fn matches(&self, image: &IndexEntry) -> bool {
        if self.is_glob {
            return names(image).iter().any(|name| cli::match_text(&self.text, name));
        }
        self.matches_digest(image) || self.matches_name(image)
    }

    fn matches_name(&self, image: &IndexEntry) -> bool {
        let Some(reference) = image.reference() else {
            return image.name() == Some(&self.text);
        };
        let Ok(meant) = self.text.parse::<Reference>() else { return false };
        let last = self.text.rsplit('/').next().unwrap_or_default();
        let is_whole = last.contains([':', '@']);
        reference.name() == meant.name() && (!is_whole || reference.wanted() == meant.wanted())
    }

    fn matches_digest(&self, image: &IndexEntry) -> bool {
        let digest = image.digest();
        let is_beginning = self.text.len() >= MIN_DIGITS && digest.hex().starts_with(&self.text);
        is_beginning || self.text == digest.to_string()
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What an image is called: its name in short and in full, with and without the tag or the digest.
fn names(image: &IndexEntry) -> Vec<String> {
    let Some(reference) = image.reference() else {
        return image.name().map(str::to_owned).into_iter().collect();
    };
    let (full, name, shown) = (reference.full(), reference.name(), reference.to_string());
    let suffix = full.strip_prefix(&name).unwrap_or_default();
    let short = shown.strip_suffix(suffix).unwrap_or(&shown).to_owned();
    vec![shown, short, name, full]
}

#[cfg(test)]
mod tests {
    use layer_format::{Descriptor, Digest};

    use super::*;

    fn image(name: &str) -> IndexEntry {
        let name: Option<Reference> = (!name.is_empty()).then(|| name.parse().unwrap());
        IndexEntry::new(name.as_ref(), Descriptor::of("m", b"x"))
    }

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern).matches(&image(name)), expected, "{pattern} {name}");
    }

    #[test]
    fn a_name_without_a_tag_means_all_its_tags() {
        for pattern in ["nginx", "nginx:1", "docker.io/library/nginx", "docker.io/library/nginx:1"]
        {
            check(pattern, "nginx:1", true);
            check(pattern, "nginxes:1", false);
        }
        check("nginx:1", "nginx:2", false);
        check("nginx:latest", "nginx", true);
        check("library/nginx", "nginx", true);
        check("localhost:5000/app", "localhost:5000/app:2", true);
        check("me/app", "me/app:2", true);
        check("app", "me/app:2", false);
        check("h.example/app", "h.example/app:2", true);
    }

    #[test]
    fn a_star_stands_for_anything() {
        check("*", "nginx", true);
        check("*app*", "h.example/me/app:2", true);
        check("h.example/*", "h.example/me/app:2", true);
        check("nginx:1.*", "nginx:1.27", true);
        check("nginx:1.?", "nginx:1.27", false);
        check("*", "", false);
    }

    #[test]
    fn a_digest_is_found_by_six_of_its_digits() {
        let hex = Digest::of(b"x").hex();
        for name in ["", "nginx"] {
            check(&format!("sha256:{hex}"), name, true);
            check(&hex[..6], name, true);
            check(&hex[..5], name, false);
        }
    }
}
