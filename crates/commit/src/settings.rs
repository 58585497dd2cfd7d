//! The `config` section of a config, changed by instructions.

use image::edit::RawObject;
use layer_format::Error;
use serde_json::json;

use crate::command::Command;
use crate::instruction::Instruction;
use crate::port::{is_signal, ports};
use crate::shell_word::{Reason, ShellWord};

/// The `config` section of an image's config: how the image runs.
#[derive(Debug)]
pub(crate) struct Settings {
    section: RawObject,
    /// Whether an instruction has set the command. ENTRYPOINT removes a command that comes from the base.
    has_command: bool,
}

/// Why an instruction can't be applied.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The instruction is wrong.
    Instruction(Reason),
    /// The base's config is malformed.
    Base(Error),
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Instruction(reason)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Base(error)
    }
}

impl Settings {
    /// Starts from the base's section.
    pub(crate) fn new(section: RawObject) -> Self {
        Self { section, has_command: false }
    }

    /// The section as it is now.
    pub(crate) fn into_section(self) -> RawObject {
        self.section
    }

    /// Applies an instruction the way a build `FROM` the base does.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn apply(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        match instruction {
            Instruction::Cmd(command) => {
                self.has_command = true;
                self.run("Cmd", command)
            }
            Instruction::Entrypoint(command) => {
                if !self.has_command {
                    self.section.remove("Cmd");
                }
                self.run("Entrypoint", command)
            }
            Instruction::Env(pairs) => self.set_variables(pairs),
            Instruction::Expose(words) => self.expose(words),
            Instruction::Healthcheck(health) => Ok(self.section.set("Healthcheck", health)?),
            Instruction::Label(pairs) => self.label(pairs),
            Instruction::Onbuild(trigger) => {
                let mut triggers: Vec<String> = self.section.read("OnBuild")?;
                triggers.push(trigger.clone());
                Ok(self.section.set("OnBuild", &triggers)?)
            }
            Instruction::Stopsignal(word) => self.stop_by(word),
            Instruction::User(word) => {
                let user = self.expand(word)?;
                Ok(self.section.set("User", &user)?)
            }
            Instruction::Volume(words) => self.add_volumes(words),
            Instruction::Workdir(word) => self.work_in(word),
        }
    }

    fn run(&mut self, key: &str, command: &Command) -> Result<(), Refusal> {
        let words = match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => {
                let mut words: Vec<String> = self.section.read("Shell")?;
                if words.is_empty() {
                    words = vec!["/bin/sh".to_owned(), "-c".to_owned()];
                }
                words.push(line.clone());
                words
            }
        };
        Ok(self.section.set(key, &words)?)
    }

    /// Sets variables, each in the place of the one that had its name. Their values see those from before the instruction.
    fn set_variables(&mut self, pairs: &[(ShellWord, ShellWord)]) -> Result<(), Refusal> {
        let mut variables: Vec<String> = self.section.read("Env")?;
        for (name, value) in self.expand_pairs(pairs)? {
            let same = |variable: &String| name_of(variable) == name;
            let variable = format!("{name}={value}");
            match variables.iter().position(same) {
                Some(at) => variables[at] = variable,
                None => variables.push(variable),
            }
        }
        Ok(self.section.set("Env", &variables)?)
    }

    fn label(&mut self, pairs: &[(ShellWord, ShellWord)]) -> Result<(), Refusal> {
        let mut labels: RawObject = self.section.read("Labels")?;
        for (name, value) in self.expand_pairs(pairs)? {
            labels.set(&name, &value)?;
        }
        Ok(self.section.set("Labels", &labels)?)
    }

    fn expose(&mut self, words: &[ShellWord]) -> Result<(), Refusal> {
        let mut exposed: RawObject = self.section.read("ExposedPorts")?;
        for word in words {
            for text in self.expand(word)?.split_whitespace() {
                ports(text)?.iter().try_for_each(|port| exposed.set(port, &json!({})))?;
            }
        }
        Ok(self.section.set("ExposedPorts", &exposed)?)
    }

    fn add_volumes(&mut self, words: &[ShellWord]) -> Result<(), Refusal> {
        let mut volumes: RawObject = self.section.read("Volumes")?;
        for word in words {
            let path = self.expand(word)?;
            if path.trim().is_empty() {
                return Err("a volume without a path".to_owned().into());
            }
            volumes.set(path.trim(), &json!({}))?;
        }
        Ok(self.section.set("Volumes", &volumes)?)
    }

    fn stop_by(&mut self, word: &ShellWord) -> Result<(), Refusal> {
        let signal = self.expand(word)?;
        if !is_signal(&signal) {
            return Err(format!("{signal}: no such signal").into());
        }
        Ok(self.section.set("StopSignal", &signal)?)
    }

    /// Sets the working directory; a relative path is joined to the present one.
    fn work_in(&mut self, word: &ShellWord) -> Result<(), Refusal> {
        let path = self.expand(word)?;
        if path.is_empty() {
            return Err("a directory without a path".to_owned().into());
        }
        let path = if path.starts_with('/') {
            path
        } else {
            joined(&self.section.read::<String>("WorkingDir")?, &path)
        };
        Ok(self.section.set("WorkingDir", &path)?)
    }

    fn expand_pairs(
        &self,
        pairs: &[(ShellWord, ShellWord)],
    ) -> Result<Vec<(String, String)>, Refusal> {
        let expand = |(name, value): &(ShellWord, ShellWord)| {
            let name = self.expand(name)?;
            if name.is_empty() {
                return Err("a name can't be empty".to_owned().into());
            }
            Ok((name, self.expand(value)?))
        };
        pairs.iter().map(expand).collect()
    }

    fn expand(&self, word: &ShellWord) -> Result<String, Refusal> {
        let variables: Vec<String> = self.section.read("Env")?;
        let value = |name: &str| {
            let variable = variables.iter().find(|variable| name_of(variable) == name)?;
            Some(variable.split_once('=').map_or("", |(_, value)| value).to_owned())
        };
        Ok(word.expand(&value)?)
    }
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// An absolute path without `.`, `..` and repeated slashes.
fn joined(directory: &str, path: &str) -> String {
    let mut names: Vec<&str> = vec![];
    for name in directory.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instruction::parse;

    const BASE: &str = r#"{"X":1,"Env":["PATH=/bin","A=1"],"Cmd":["base"],"WorkingDir":"/app","Labels":{"l":"1"},"User":"me"}"#;

    fn apply(base: &str, changes: &[&str]) -> Result<String, Reason> {
        let mut settings = Settings::new(RawObject::parse(base.as_bytes()).unwrap());
        let changes: Vec<_> = changes.iter().map(|&change| change.to_owned()).collect();
        for instruction in parse(&changes).unwrap() {
            match settings.apply(&instruction) {
                Err(Refusal::Instruction(reason)) => return Err(reason),
                applied => applied.unwrap(),
            }
        }
        Ok(String::from_utf8(settings.into_section().to_vec().unwrap()).unwrap())
    }

    /// What the changes add to nothing.
    #[track_caller]
    fn check(changes: &[&str], expected: &str) {
        assert_eq!(apply("{}", changes).unwrap_or_else(|reason| reason), expected, "{changes:?}");
    }

    #[test]
    fn unknown_fields_stay_and_known_ones_keep_their_place() {
        let changed = apply(BASE, &["ENV A=2 B=$A", "USER you", "LABEL m=$A", "WORKDIR ../x"]);
        let expected = r#"{"X":1,"Env":["PATH=/bin","A=2","B=1"],"Cmd":["base"],"WorkingDir":"/x","Labels":{"l":"1","m":"2"},"User":"you"}"#;
        assert_eq!(changed.unwrap(), expected);
        assert_eq!(apply(BASE, &[]).unwrap(), BASE);
    }

    #[test]
    fn an_entry_point_takes_the_bases_command_away_and_not_ours() {
        let cmd = |changes: &[&str]| {
            let section = apply(BASE, changes).unwrap();
            RawObject::parse(section.as_bytes()).unwrap().read::<Vec<String>>("Cmd").unwrap()
        };
        assert_eq!(cmd(&[r#"ENTRYPOINT ["e"]"#]), [""; 0]);
        assert_eq!(cmd(&[r#"CMD ["c"]"#, r#"ENTRYPOINT ["e"]"#]), ["c"]);
        assert_eq!(cmd(&["ENTRYPOINT e", "CMD c"]), ["/bin/sh", "-c", "c"]);
    }

    #[test]
    fn a_shell_line_is_for_the_bases_shell() {
        let base = r#"{"Shell":["/bin/bash","-ec"]}"#;
        let expected = r#"{"Shell":["/bin/bash","-ec"],"Cmd":["/bin/bash","-ec","a $B"]}"#;
        assert_eq!(apply(base, &["CMD a $B"]).unwrap(), expected);
    }

    #[test]
    fn sets_grow() {
        check(&["EXPOSE 80 53/udp", "EXPOSE 80"], r#"{"ExposedPorts":{"80/tcp":{},"53/udp":{}}}"#);
        check(&["VOLUME /a", r#"VOLUME ["/a", "/b c"]"#], r#"{"Volumes":{"/a":{},"/b c":{}}}"#);
        check(&["ONBUILD RUN a", "ONBUILD RUN b"], r#"{"OnBuild":["RUN a","RUN b"]}"#);
        check(
            &["ENV P='1 2'", "EXPOSE $P"],
            r#"{"Env":["P=1 2"],"ExposedPorts":{"1/tcp":{},"2/tcp":{}}}"#,
        );
    }

    #[test]
    fn what_an_engine_would_refuse_is_refused() {
        check(&["EXPOSE x"], "x: neither a port nor a range of ports");
        check(&["STOPSIGNAL NOPE"], "NOPE: no such signal");
        check(&["VOLUME \"\""], "a volume without a path");
        check(&["WORKDIR $X"], "a directory without a path");
        check(&["ENV $X=1"], "a name can't be empty");
        check(&["USER ${X:?who}"], "X: who");
    }

    #[test]
    fn working_directories_go_on_from_one_another() {
        check(&["WORKDIR a/b", "WORKDIR ../c/./d//"], r#"{"WorkingDir":"/a/c/d"}"#);
        check(&["WORKDIR ../.."], r#"{"WorkingDir":"/"}"#);
        check(&["WORKDIR /x/../y/"], r#"{"WorkingDir":"/x/../y/"}"#);
    }
}
