//! What an image has changed in the config of the base that it is on, done to the config of another base.
//!
//! A setting that the image has as its old base has it comes from the new base; any other is the image's. A setting that is
//! null or empty is the same as none.

use image::edit::{RawObject, is_empty};
use layer_format::Error;
use serde_json::Value;

/// The fields of `config` that are objects with members of their own.
const OBJECTS: [&str; 3] = ["ExposedPorts", "Labels", "Volumes"];
/// The fields beside `config` that are made otherwise, or are the new base's as it is for another platform or version.
const NOT_REPLAYED: [&str; 9] = [
    "config",
    "rootfs",
    "history",
    "created",
    "architecture",
    "os",
    "variant",
    "os.version",
    "os.features",
];
const PATH: &str = "PATH";

/// The same object of the old base and of the image. The third of the three is the new base's, which changes.
#[derive(Clone, Copy)]
struct Three<'a> {
    old: &'a RawObject,
    image: &'a RawObject,
}

/// A replay under way.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The settings that both the image and the new base have changed, in the words of `changes`.
    pub(crate) contested: Vec<String>,
    /// The directories of the new base's PATH that the image's doesn't have.
    pub(crate) lost_directories: Vec<String>,
}

/// What counts as a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// Everything that is there: a label may be empty, and a port is an empty object.
    All,
    /// Only what is not empty.
    Full,
}

impl Replay {
    /// Changes the new base's config.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], if one of the configs is malformed.
    pub(crate) fn config(
        &mut self,
        old: &RawObject,
        image: &RawObject,
        new: &mut RawObject,
    ) -> Result<(), Error> {
        // Docker's own field, about the base alone.
        new.remove("comment");
        let three = Three { old, image };
        for key in three.keys() {
            if !NOT_REPLAYED.contains(&key) {
                self.field("", key, three, new, Counts::Full)?;
            }
        }
        let sections = (old.read("config")?, image.read("config")?);
        let mut section: RawObject = new.read("config")?;
        self.section(Three { old: &sections.0, image: &sections.1 }, &mut section)?;
        new.set("config", &section)
    }

    /// Changes the new base's `config` section.
    fn section(&mut self, three: Three<'_>, new: &mut RawObject) -> Result<(), Error> {
        // As a build does: whoever sets an entry point sets the command too, or has none.
        let has_entry_point = three.differs("Entrypoint", Counts::Full)?;
        if has_entry_point {
            new.remove("Cmd");
        }
        for key in three.keys() {
            match key {
                "Env" => self.variables(three, new)?,
                "Cmd" if has_entry_point => {
                    if let Some(command) = three.image.raw(key) {
                        new.set(key, &command)?;
                    }
                }
                key if OBJECTS.contains(&key) => self.members(key, three, new)?,
                key => self.field("", key, three, new, Counts::Full)?,
            }
        }
        Ok(())
    }

    /// Changes the members of an object.
    fn members(&mut self, key: &str, three: Three<'_>, new: &mut RawObject) -> Result<(), Error> {
        let objects = (three.old.read(key)?, three.image.read(key)?);
        let three = Three { old: &objects.0, image: &objects.1 };
        let mut members: RawObject = new.read(key)?;
        let before = members.to_vec()?;
        for member in three.keys() {
            self.field(&format!("{key}."), member, three, &mut members, Counts::All)?;
        }
        if members.to_vec()? == before { Ok(()) } else { new.set(key, &members) }
    }

    /// Changes one field, whose name in messages begins with `prefix`.
    fn field(
        &mut self,
        prefix: &str,
        key: &str,
        three: Three<'_>,
        new: &mut RawObject,
        counts: Counts,
    ) -> Result<(), Error> {
        if !three.differs(key, counts)? {
            return Ok(());
        }
        let [old, image] = [three.old, three.image].map(|it| value(it, key, counts));
        let (old, image, now) = (old?, image?, value(new, key, counts)?);
        if now != old && now != image {
            self.contested.push(format!("{prefix}{key}"));
        }
        let value = three.image.raw(key).filter(|_| image.is_some());
        new.set_or_remove(key, value.as_ref())
    }

    /// Changes the variables.
    fn variables(&mut self, three: Three<'_>, new: &mut RawObject) -> Result<(), Error> {
        let old = Variables::of(three.old)?;
        let image = Variables::of(three.image)?;
        let mut variables = Variables::of(new)?;
        let mut has_changed = false;
        for name in image.names().chain(old.names().filter(|name| !image.has(name))) {
            let (was, is, now) = (old.get(name), image.get(name), variables.get(name));
            if was == is {
                continue;
            }
            let wanted = match (was, is, now) {
                (Some(was), Some(is), Some(now)) if name == PATH => {
                    Some(joined_path(was, is, now).unwrap_or_else(|| is.to_owned()))
                }
                (_, is, _) => is.map(str::to_owned),
            };
            if name == PATH {
                let lost = |directory: &&str| {
                    !wanted.iter().flat_map(|path| path.split(':')).any(|it| it == *directory)
                };
                let now = now.into_iter().flat_map(|path| path.split(':'));
                self.lost_directories.extend(now.filter(lost).map(str::to_owned));
            } else if now != was && now != wanted.as_deref() {
                self.contested.push(format!("Env.{name}"));
            }
            variables.set(name, wanted.as_deref());
            has_changed = true;
        }
        if has_changed { new.set("Env", &variables.0) } else { Ok(()) }
    }
}

impl<'a> Three<'a> {
    /// The image's fields in their order, then those that only the old base has.
    fn keys(self) -> impl Iterator<Item = &'a str> {
        let gone = self.old.keys().filter(move |key| !self.image.has(key));
        self.image.keys().chain(gone)
    }

    /// Whether the image has changed a field.
    fn differs(self, key: &str, counts: Counts) -> Result<bool, Error> {
        Ok(value(self.old, key, counts)? != value(self.image, key, counts)?)
    }
}

/// The value of a field, if it counts.
fn value(object: &RawObject, key: &str, counts: Counts) -> Result<Option<Value>, Error> {
    if !object.has(key) {
        return Ok(None);
    }
    let value: Value = object.read(key)?;
    Ok(Some(value).filter(|value| counts == Counts::All || !is_empty(value)))
}

/// The environment, each variable as `NAME=VALUE`. Of several with one name the last one counts.
struct Variables(Vec<String>);

impl Variables {
    fn of(section: &RawObject) -> Result<Self, Error> {
        Ok(Self(section.read("Env")?))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let is_last = |(at, variable): &(usize, &String)| {
            !self.0[at + 1..].iter().any(|later| name_of(later) == name_of(variable))
        };
        self.0.iter().enumerate().filter(is_last).map(|(_, variable)| name_of(variable))
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of a variable; an empty one for a name alone.
    fn get(&self, name: &str) -> Option<&str> {
        let variable = self.0.iter().rev().find(|variable| name_of(variable) == name)?;
        Some(variable.split_once('=').map_or("", |(_, value)| value))
    }

    /// Sets a variable, in the place of the first that has its name, or removes it.
    fn set(&mut self, name: &str, value: Option<&str>) {
        let at = self.0.iter().position(|variable| name_of(variable) == name);
        self.0.retain(|variable| name_of(variable) != name);
        if let Some(value) = value {
            self.0.insert(at.unwrap_or(self.0.len()), format!("{name}={value}"));
        }
    }
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// A list of directories in which another list has taken the place of an old one; `None` if it doesn't have the old one in it.
fn joined_path(old: &str, image: &str, new: &str) -> Option<String> {
    let old: Vec<&str> = old.split(':').collect();
    let image: Vec<&str> = image.split(':').collect();
    let at = image.windows(old.len()).position(|part| part == old)?;
    let new: Vec<&str> = new.split(':').collect();
    Some([&image[..at], &new[..], &image[at + old.len()..]].concat().join(":"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> RawObject {
        RawObject::parse(value.to_string().as_bytes()).unwrap()
    }

    /// Replays sections of configs.
    fn replayed(old: &Value, image: &Value, new: &Value) -> (Value, Replay) {
        let config = |section: &Value| object(&json!({ "config": section }));
        let mut made = config(new);
        let mut replay = Replay::default();
        replay.config(&config(old), &config(image), &mut made).unwrap();
        (
            serde_json::from_slice(&made.read::<RawObject>("config").unwrap().to_vec().unwrap())
                .unwrap(),
            replay,
        )
    }

    /// Checks what comes of the section of the old base, of the image and of the new base.
    #[track_caller]
    fn check([old, image, new]: [&Value; 3], expected: &Value) -> Replay {
        let (made, replay) = replayed(old, image, new);
        assert_eq!(made, *expected, "{old} {image} {new}");
        replay
    }

    /// The environment that comes of three.
    #[track_caller]
    fn check_env(old: &[&str], image: &[&str], new: &[&str], expected: &[&str]) -> Replay {
        let env = |variables: &[&str]| json!({ "Env": variables });
        check([&env(old), &env(image), &env(new)], &env(expected))
    }

    // ggcr#730: JAVA_HOME was that of the old base, although only the new base's is there.
    #[test]
    fn a_variable_is_the_image_s_only_if_the_image_has_changed_it() {
        check_env(
            &["PATH=/java5/bin:/bin", "JAVA_HOME=/java5", "A=1", "B=1"],
            &["PATH=/app/bin:/java5/bin:/bin", "JAVA_HOME=/java5", "A=2", "C=3"],
            &["PATH=/java6/bin:/bin", "JAVA_HOME=/java6", "A=1", "B=1", "D=4"],
            &["PATH=/app/bin:/java6/bin:/bin", "JAVA_HOME=/java6", "A=2", "D=4", "C=3"],
        );
        check_env(&[], &["A="], &["A=1"], &["A="]);
        check_env(&["A", "A=2"], &["A=2"], &["A=3", "A=4"], &["A=3", "A=4"]);
        check_env(&["A=1"], &["A=1", "A=2"], &["B=1", "A=1", "A=0"], &["B=1", "A=2"]);
    }

    #[test]
    fn a_path_that_has_the_old_one_in_it_gets_the_new_one_in_its_place() {
        let replay = check_env(
            &["PATH=/a:/b"],
            &["PATH=/x:/a:/b:/y"],
            &["PATH=/a:/c"],
            &["PATH=/x:/a:/c:/y"],
        );
        assert!(replay.lost_directories.is_empty() && replay.contested.is_empty());
        let replay = check_env(&["PATH=/a:/b"], &["PATH=/x:/b"], &["PATH=/b:/c"], &["PATH=/x:/b"]);
        assert_eq!(replay.lost_directories, ["/c"]);
        // A directory whose name begins like the old path is another one.
        check_env(&["PATH=/a"], &["PATH=/ab:/c"], &["PATH=/n"], &["PATH=/ab:/c"]);
        check_env(&[], &["PATH=/x"], &["PATH=/x:/y"], &["PATH=/x"]);
        check_env(&["PATH=/a"], &[], &["PATH=/b"], &[]);
    }

    #[test]
    fn members_are_compared_one_by_one_and_other_settings_as_a_whole() {
        let old = json!({ "Labels": {"version": "1", "l": "1", "gone": "x"}, "ExposedPorts": {"80/tcp": {}}, "User": "old", "OnBuild": ["RUN a"],
            "Healthcheck": {"Test": ["CMD", "a"], "Retries": 1}, "X": 1, "WorkingDir": "/old" });
        let image = json!({ "Labels": {"version": "1", "l": "2", "own": ""}, "ExposedPorts": {"80/tcp": {}, "81/tcp": {}}, "User": "",
            "Healthcheck": {"Test": ["CMD", "b"]}, "X": 1, "Y": [2], "WorkingDir": "/old", "Volumes": {"/v": {}} });
        let new = json!({ "Labels": {"version": "2", "l": "1", "gone": "x", "n": ""}, "User": "new", "OnBuild": ["RUN a"],
            "Healthcheck": {"Test": ["CMD", "a"], "Retries": 1}, "X": 2, "WorkingDir": "/new" });
        let expected = json!({ "Labels": {"version": "2", "l": "2", "n": "", "own": ""}, "ExposedPorts": {"81/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "b"]}, "X": 2, "Y": [2], "WorkingDir": "/new", "Volumes": {"/v": {}} });
        let replay = check([&old, &image, &new], &expected);
        assert_eq!(replay.contested, ["User"]);
    }

    // docker/docs#6142: a build that sets an entry point has no command but its own.
    #[test]
    fn who_sets_an_entry_point_has_no_command_of_the_new_base() {
        let none = json!({});
        let [sh, x, y] =
            [json!({ "Cmd": ["sh"] }), json!({ "Cmd": ["x"] }), json!({ "Cmd": ["y"] })];
        let app = json!({ "Entrypoint": ["app"] });
        check(
            [&none, &json!({ "Entrypoint": ["app"], "Cmd": null }), &sh],
            &json!({ "Entrypoint": ["app"], "Cmd": null }),
        );
        check([&sh, &app, &sh], &app);
        let both = json!({ "Entrypoint": ["app"], "Cmd": ["x"] });
        check([&x, &both, &y], &both);
        // An entry point of the base is not the image's.
        let new = json!({ "Entrypoint": ["new"], "Cmd": ["y"] });
        check([&app, &both, &new], &json!({ "Entrypoint": ["new"], "Cmd": ["x"] }));
    }

    #[test]
    fn what_nobody_knows_is_replayed_and_what_is_the_base_s_own_is_not() {
        let old = object(
            &json!({ "author": "a", "x": 1, "os.version": "1", "comment": "old", "variant": "v8" }),
        );
        let image =
            object(&json!({ "author": "me", "x": 1, "y": 2, "os.version": "1", "comment": "old" }));
        let mut new = object(
            &json!({ "author": "a", "x": 3, "os.version": "2", "comment": "new", "variant": "v8" }),
        );
        Replay::default().config(&old, &image, &mut new).unwrap();
        let expected = json!({ "author": "me", "x": 3, "os.version": "2", "variant": "v8", "y": 2, "config": {} });
        let made: Value = serde_json::from_slice(&new.to_vec().unwrap()).unwrap();
        assert_eq!(made, expected);
    }

    #[test]
    fn nothing_is_changed_where_the_image_has_changed_nothing() {
        let section = json!({ "Env": ["A=1", "A=1"], "Labels": null, "Cmd": ["x"] });
        let new = json!({ "Env": ["B=1", "B=1"], "Labels": {}, "Volumes": null });
        check([&section, &section, &new], &new);
    }

    #[test]
    fn a_malformed_config_is_no_empty_one() {
        let malformed = object(&json!({ "config": { "Env": "x" } }));
        let other = object(&json!({ "config": { "Env": ["A=1"] } }));
        let mut new = RawObject::default();
        Replay::default().config(&malformed, &other, &mut new).unwrap_err();
        Replay::default().config(&other, &malformed, &mut new).unwrap_err();
    }
}
