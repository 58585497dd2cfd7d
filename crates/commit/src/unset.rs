//! What a commit takes out of the base's config, in the words in which `changes` tells settings: `Env.PATH`, `Labels.a.b`, `User`.

use image::edit::RawObject;
use layer_format::Error;

/// The settings that can be taken out as a whole.
const FIELDS: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];
/// Those that are objects, whose members can be taken out one by one.
const OBJECTS: [&str; 3] = ["ExposedPorts", "Labels", "Volumes"];
/// Fields of a config that are no settings, and what there is to do about them.
const ELSEWHERE: [(&str, &str); 10] = [
    ("author", "the author can't be taken out, but --author names another"),
    ("created", "the time can't be taken out, but --timestamp sets another"),
    ("architecture", PLATFORM),
    ("os", PLATFORM),
    ("os.version", PLATFORM),
    ("variant", PLATFORM),
    ("config", "all settings can't be taken out at once: name them one by one"),
    ("history", "the history is what happened, and stays"),
    ("rootfs", LAYERS),
    ("layers", LAYERS),
];
const PLATFORM: &str = "the platform is the base's, and stays";
const LAYERS: &str = "the layers are the base's, and stay: flatten makes one of them, rebase replaces those of a base";
/// The manifest's annotations.
pub(crate) const ANNOTATIONS: &str = "Annotations";

/// A setting to take out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unset {
    field: String,
    /// The part of it; `None` for all.
    member: Option<String>,
}

impl Unset {
    /// Parses a field, or a field and one of its members after a dot.
    ///
    /// # Errors
    /// A text for the user, if there is no such field, or its members have no names.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (field, member) = match text.split_once('.') {
            Some((field, member)) => (field, Some(member.to_owned())),
            None => (text, None),
        };
        let is_known = match &member {
            Some(member) => {
                let has_members =
                    field == "Env" || field == ANNOTATIONS || OBJECTS.contains(&field);
                has_members && !member.is_empty()
            }
            None => FIELDS.contains(&field) || field == ANNOTATIONS,
        };
        if is_known {
            return Ok(Self { field: field.to_owned(), member });
        }
        if let Some((_, instead)) = ELSEWHERE.iter().find(|(name, _)| *name == field) {
            return Err((*instead).to_owned());
        }
        Err(format!(
            "no setting to take out: Env.NAME, Labels.NAME, ExposedPorts.PORT, Volumes.PATH, Annotations.NAME, or one of {}",
            FIELDS.join(", ")
        ))
    }

    /// Whether it is about the manifest.
    pub(crate) fn is_about_annotations(&self) -> bool {
        self.field == ANNOTATIONS
    }

    /// Takes the setting out of the `config` section, and tells whether it was there.
    ///
    /// # Errors
    /// Those of a section that is malformed.
    pub(crate) fn take_out(&self, section: &mut RawObject) -> Result<bool, Error> {
        let Some(member) = &self.member else {
            let was_there = section.has(&self.field);
            section.remove(&self.field);
            return Ok(was_there);
        };
        if self.field == "Env" {
            let mut variables: Vec<String> = section.read("Env")?;
            let n_before = variables.len();
            variables
                .retain(|it| it.split_once('=').map_or(it.as_str(), |(name, _)| name) != member);
            if variables.len() == n_before {
                return Ok(false);
            }
            section.set("Env", &variables)?;
            return Ok(true);
        }
        let mut object: RawObject = section.read(&self.field)?;
        if !object.has(member) {
            return Ok(false);
        }
        object.remove(member);
        section.set(&self.field, &object)?;
        Ok(true)
    }

    /// Takes the setting out of the annotations, and tells whether it was there.
    pub(crate) fn take_out_annotation(&self, annotations: &mut RawObject) -> bool {
        let was_there = match &self.member {
            Some(member) => annotations.has(member),
            None => !annotations.is_empty(),
        };
        match &self.member {
            Some(member) => annotations.remove(member),
            None => *annotations = RawObject::default(),
        }
        was_there
    }
}

impl std::fmt::Display for Unset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.member {
            Some(member) => write!(f, "{}.{member}", self.field),
            None => f.write_str(&self.field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = r#"{"X":1,"Env":["A=1","B","AB=2"],"Labels":{"a.b":"c","d":"e"},"Volumes":{"/v":{}},"User":"me"}"#;

    #[track_caller]
    fn check(text: &str, was_there: bool, expected: &str) {
        let mut section = RawObject::parse(SECTION.as_bytes()).unwrap();
        let unset = Unset::parse(text).unwrap();
        assert_eq!(unset.to_string(), text);
        assert_eq!(unset.take_out(&mut section).unwrap(), was_there, "{text}");
        assert_eq!(String::from_utf8(section.to_vec().unwrap()).unwrap(), expected, "{text}");
    }

    #[test]
    fn a_setting_is_taken_out_and_nothing_else() {
        check("User", true, &SECTION.replace(r#","User":"me""#, ""));
        check("Env.A", true, &SECTION.replace(r#""A=1","#, ""));
        check("Env.B", true, &SECTION.replace(r#","B""#, ""));
        check("Labels.a.b", true, &SECTION.replace(r#""a.b":"c","#, ""));
        check("Volumes./v", true, &SECTION.replace(r#""/v":{}"#, ""));
        check("Labels", true, &SECTION.replace(r#","Labels":{"a.b":"c","d":"e"}"#, ""));
        for text in ["Cmd", "Env.C", "Labels.a", "ExposedPorts.80/tcp"] {
            check(text, false, SECTION);
        }
    }

    #[test]
    fn an_annotation_is_taken_out_and_it_is_told_whether_it_was_there() {
        let check = |text: &str, had: &str, was_there: bool, has: &str| {
            let mut annotations = RawObject::parse(had.as_bytes()).unwrap();
            let unset = Unset::parse(text).unwrap();
            assert_eq!(unset.take_out_annotation(&mut annotations), was_there, "{text} of {had}");
            assert_eq!(String::from_utf8(annotations.to_vec().unwrap()).unwrap(), has);
        };
        check("Annotations.a.b", r#"{"a.b":"c","d":"e"}"#, true, r#"{"d":"e"}"#);
        check("Annotations.a", r#"{"a.b":"c"}"#, false, r#"{"a.b":"c"}"#);
        check("Annotations", r#"{"a.b":"c"}"#, true, "{}");
        check("Annotations", "{}", false, "{}");
    }

    #[test]
    fn only_settings_are_taken_out() {
        for text in ["", "X", "env.A", "Env.", "User.x", "Cmd.0"] {
            assert!(Unset::parse(text).unwrap_err().contains("Env.NAME"), "{text}");
        }
        for (text, instead) in [
            ("author", "--author"),
            ("created", "--timestamp"),
            ("os", "stays"),
            ("config", "one by one"),
        ] {
            assert!(Unset::parse(text).unwrap_err().contains(instead), "{text}");
        }
    }
}
