//! The new image's config and manifest: the base's, with what the commit changes and no more.

use anyhow::Context as _;
use image::edit::{
    BASE_DIGEST, BASE_NAME, CREATED, Format, History, RawObject, to_oci, within_limit,
};
use layer_format::{Descriptor, DiffId, Error, Platform};
use serde_json::{Map, Value, json};

use crate::base::Base;
use crate::instruction::Instruction;
use crate::settings::{Refusal, Settings};
use crate::unset::Unset;

/// What an image's history says about a commit.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// The time, in the form of RFC 3339.
    pub(crate) created: String,
    /// The command line.
    pub(crate) created_by: String,
    /// The author.
    pub(crate) author: Option<String>,
    /// The message.
    pub(crate) message: Option<String>,
}

impl Statement {
    /// The entry of a config's history.
    fn history(&self) -> Value {
        let mut entry = Map::new();
        entry.insert("created".to_owned(), self.created.clone().into());
        entry.insert("created_by".to_owned(), self.created_by.clone().into());
        if let Some(author) = &self.author {
            entry.insert("author".to_owned(), author.clone().into());
        }
        if let Some(message) = &self.message {
            entry.insert("comment".to_owned(), message.clone().into());
        }
        entry.into()
    }
}

/// A layer that is new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewLayer<'a> {
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) diff_id: DiffId,
}

/// What the user wants to be different from the base, apart from its layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// What is taken out first.
    pub(crate) unset: Vec<Unset>,
    pub(crate) instructions: Vec<Instruction>,
    /// Annotations of the manifest.
    pub(crate) annotations: Vec<(String, String)>,
}

/// The documents of an image while they are made.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) base: &'a Base,
    pub(crate) statement: &'a Statement,
    /// `None` if only settings change.
    pub(crate) layer: Option<NewLayer<'a>>,
    /// The settings that were to be taken out, and weren't there.
    pub(crate) missing: Vec<String>,
}

impl Document<'_> {
    /// Makes the config.
    ///
    /// # Errors
    /// Wrong usage, if an instruction can't be applied; those of a base that is malformed; and one if the config gets too large.
    pub(crate) fn config(
        &mut self,
        platform: &Platform,
        changes: &Changes,
    ) -> anyhow::Result<Vec<u8>> {
        let mut config = match self.base {
            Base::Scratch => of_platform(platform)?,
            Base::Image(image) => RawObject::parse(image.config.raw())?,
        };
        config.set("created", &self.statement.created)?;
        if let Some(author) = &self.statement.author {
            config.set("author", author)?;
        }
        // Docker's own field, about the base; the base's history has the same text.
        config.remove("comment");
        let mut section = config.read("config")?;
        for unset in changes.unset.iter().filter(|unset| !unset.is_about_annotations()) {
            if !unset.take_out(&mut section)? {
                self.missing.push(unset.to_string());
            }
        }
        let mut settings = Settings::new(section);
        for instruction in &changes.instructions {
            settings.apply(instruction).map_err(refused)?;
        }
        config.set("config", &settings.into_section())?;
        let mut entry = self.statement.history();
        let mut history = History::of(&config)?;
        history.fit(self.base.n_layers())?;
        if let Some(layer) = self.layer {
            add_layer(&mut config, layer.diff_id)?;
        } else {
            entry["empty_layer"] = true.into();
            if !config.has("rootfs") {
                config.set("rootfs", &json!({"type": "layers", "diff_ids": []}))?;
            }
        }
        history.push(&entry)?;
        history.write(&mut config)?;
        within_limit("config", config.to_vec()?).context("the new image")
    }

    /// Makes the manifest.
    ///
    /// # Errors
    /// Wrong usage, if the format has no annotations; those of a base that is malformed, and one if the manifest gets too large.
    pub(crate) fn manifest(
        &mut self,
        format: Format,
        config: &[u8],
        changes: &Changes,
    ) -> anyhow::Result<Vec<u8>> {
        let mut manifest = match self.base {
            Base::Scratch => RawObject::default(),
            Base::Image(image) => RawObject::parse(image.manifest.raw())?,
        };
        manifest.set("schemaVersion", &2)?;
        manifest.set("mediaType", &format.manifest())?;
        manifest.set("config", &Descriptor::of(format.config(), config))?;
        let mut layers: Vec<RawObject> = manifest.read("layers")?;
        if format == Format::Oci {
            layers.iter_mut().try_for_each(to_oci)?;
        }
        if let Some(NewLayer { descriptor, .. }) = self.layer {
            let mut added = RawObject::default();
            added.set("mediaType", &descriptor.media_type)?;
            added.set("digest", &descriptor.digest)?;
            added.set("size", &descriptor.size)?;
            layers.push(added);
        }
        manifest.set("layers", &layers)?;
        self.annotate(&mut manifest, format, changes)?;
        within_limit("manifest", manifest.to_vec()?).context("the new image")
    }

    /// Sets the annotations about the base, removes what the base says about its own creation, and does what the user wants.
    fn annotate(
        &mut self,
        manifest: &mut RawObject,
        format: Format,
        changes: &Changes,
    ) -> anyhow::Result<()> {
        let unset: Vec<_> =
            changes.unset.iter().filter(|unset| unset.is_about_annotations()).collect();
        if format == Format::Docker {
            if changes.annotations.is_empty() && unset.is_empty() {
                return Ok(());
            }
            let text = "the base is a Docker schema 2 image, which has no annotations";
            return Err(cli::usage(text).hint("add --oci to make an OCI image of it").into());
        }
        let mut annotations: RawObject = manifest.read("annotations")?;
        for unset in unset {
            if !unset.take_out_annotation(&mut annotations) {
                self.missing.push(unset.to_string());
            }
        }
        if annotations.has(CREATED) {
            annotations.set(CREATED, &self.statement.created)?;
        }
        // With other settings alone it is as much on its base as before.
        if let (Base::Image(image), Some(_)) = (self.base, self.layer) {
            annotations.set(BASE_DIGEST, &image.manifest.descriptor().digest)?;
            match &image.name {
                Some(name) => annotations.set(BASE_NAME, name)?,
                None => annotations.remove(BASE_NAME),
            }
        }
        for (key, value) in &changes.annotations {
            annotations.set(key, value)?;
        }
        if !annotations.is_empty() || manifest.has("annotations") {
            manifest.set("annotations", &annotations)?;
        }
        Ok(())
    }
}

fn refused(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Instruction(reason) => cli::usage(reason).into(),
        Refusal::Base(error) => error.into(),
    }
}

fn of_platform(platform: &Platform) -> Result<RawObject, Error> {
    let mut config = RawObject::default();
    config.set("architecture", &platform.architecture)?;
    if let Some(variant) = &platform.variant {
        config.set("variant", variant)?;
    }
    config.set("os", &platform.os)?;
    Ok(config)
}

/// Adds the diff id of the new layer.
fn add_layer(config: &mut RawObject, diff_id: DiffId) -> Result<(), Error> {
    let mut root: RawObject = config.read("rootfs")?;
    let mut diff_ids: Vec<DiffId> = root.read("diff_ids")?;
    diff_ids.push(diff_id);
    root.set("type", &"layers")?;
    root.set("diff_ids", &diff_ids)?;
    config.set("rootfs", &root)
}

#[cfg(test)]
mod tests {
    use image::StoredImage;
    use layer_format::{Codec, Config, Digest, Manifest, media_type};

    use super::*;

    fn statement() -> Statement {
        Statement {
            created: "2020-09-13T12:26:40Z".to_owned(),
            created_by: "commit".to_owned(),
            author: Some("me".to_owned()),
            message: Some("more".to_owned()),
        }
    }

    fn base(manifest: &str, config: &str) -> Base {
        let config = Config::parse(config.as_bytes().to_vec()).unwrap();
        let blob = Descriptor::of("c", config.raw());
        let manifest = manifest.replace("CONFIG", &serde_json::to_string(&blob).unwrap());
        let manifest = Manifest::parse(manifest.into_bytes()).unwrap();
        Base::Image(Box::new(StoredImage { manifest, config, name: Some("a/b:c".to_owned()) }))
    }

    fn made_config(config_of_base: &str) -> String {
        let base = base(r#"{"config":CONFIG,"layers":[]}"#, config_of_base);
        let descriptor = Descriptor::of("layer", b"new");
        let layer = NewLayer { descriptor: &descriptor, diff_id: DiffId(descriptor.digest) };
        let statement = statement();
        let mut document =
            Document { base: &base, statement: &statement, layer: Some(layer), missing: vec![] };
        let made = document.config(&Platform::host(), &Changes::default()).unwrap();
        String::from_utf8(made).unwrap().replace(&Digest::of(b"new").hex(), "NEW")
    }

    #[test]
    fn the_base_s_config_is_kept_but_for_what_is_new() {
        let old = Digest::of(b"old");
        let base = format!(
            r#"{{"os":"linux","x":1.50,"author":"you","comment":"old","config":{{"Y":2}},"created":"then","architecture":"amd64","history":[{{"z":1}},{{"empty_layer":true}}],"rootfs":{{"type":"layers","diff_ids":["{old}"]}}}}"#
        );
        let made = made_config(&base).replace(&old.hex(), "OLD");
        let expected = r#"{"os":"linux","x":1.50,"author":"me","config":{"Y":2},"created":"2020-09-13T12:26:40Z","architecture":"amd64","history":[{"z":1},{"empty_layer":true},{"author":"me","comment":"more","created":"2020-09-13T12:26:40Z","created_by":"commit"}],"rootfs":{"type":"layers","diff_ids":["sha256:OLD","sha256:NEW"]}}"#;
        assert_eq!(made, expected);
    }

    #[test]
    fn layers_without_history_get_entries_without_a_word() {
        let layers = [Digest::of(b"1"), Digest::of(b"2")];
        let base = format!(
            r#"{{"os":"linux","architecture":"amd64","history":null,"rootfs":{{"diff_ids":["{}","{}"]}}}}"#,
            layers[0], layers[1]
        );
        let made = Config::parse(made_config(&base).replace("NEW", &layers[0].hex()).into_bytes());
        let made = made.unwrap();
        assert_eq!((made.history.len(), made.diff_ids().len()), (3, 3));
        assert_eq!(made.history[2].comment.as_deref(), Some("more"));
    }

    #[test]
    fn a_docker_base_stays_docker_s_unless_oci_s_is_asked_for() {
        let base = base(
            r#"{
              "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": CONFIG, "new": 1,
              "layers": [
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": "d", "size": 1, "u": 2},
                {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": "f", "size": 1, "urls": ["x"]}]
            }"#
            .replace("\"d\"", &format!("\"{}\"", Digest::of(b"d")))
            .replace("\"f\"", &format!("\"{}\"", Digest::of(b"f")))
            .as_str(),
            r#"{"os":"linux","architecture":"amd64"}"#,
        );
        let types = |format: Format| {
            let layer = Descriptor::of(format.layer(Codec::Gzip).unwrap(), b"layer");
            let layer = NewLayer { descriptor: &layer, diff_id: DiffId(layer.digest) };
            let statement = statement();
            let mut document = Document {
                base: &base,
                statement: &statement,
                layer: Some(layer),
                missing: vec![],
            };
            let made = document.manifest(format, b"{}", &Changes::default()).unwrap();
            let value: Value = serde_json::from_slice(&made).unwrap();
            assert_eq!((&value["new"], &value["layers"][0]["u"]), (&json!(1), &json!(2)));
            assert_eq!(value["layers"][1]["urls"], json!(["x"]));
            let manifest = Manifest::parse(made).unwrap();
            let types = manifest.layers.iter().map(|layer| layer.media_type.clone());
            let name = manifest.annotations.get(BASE_NAME).cloned();
            (manifest.media_type.clone(), types.collect::<Vec<_>>(), name)
        };
        let gzip = media_type::DOCKER_LAYER_GZIP;
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let (manifest, layers, name) = types(Format::Docker);
        assert_eq!((manifest.as_str(), name), (media_type::DOCKER_MANIFEST, None));
        assert_eq!(layers, [gzip, foreign, gzip]);
        let gzip = media_type::OCI_LAYER_GZIP;
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        let (manifest, layers, name) = types(Format::Oci);
        assert_eq!((manifest.as_str(), name.as_deref()), (media_type::OCI_MANIFEST, Some("a/b:c")));
        assert_eq!(layers, [gzip, foreign, gzip]);
    }
}
