//! Instructions in a Dockerfile's syntax, those that change a config.
//!
//! | instruction | form | variables |
//! |---|---|---|
//! | `CMD`, `ENTRYPOINT` | `["program", "argument"]`, or a line for the shell | no |
//! | `ENV`, `LABEL` | `NAME=VALUE …`, or `NAME value up to the end` | yes |
//! | `EXPOSE` | `PORT[-PORT][/tcp\|/udp\|/sctp] …` | yes |
//! | `VOLUME` | `["path", …]`, or `path …` | yes |
//! | `USER`, `WORKDIR`, `STOPSIGNAL` | one word, blanks included | yes |
//! | `HEALTHCHECK` | `[--OPTION=VALUE …] CMD …`, or `NONE` | no |
//! | `ONBUILD` | another instruction, for the image's children | no |

use cli::Failure;

use crate::command::{Command, list};
use crate::health::Health;
use crate::shell_word::{Reason, ShellWord, split};

/// One instruction; its variables are replaced when it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    Cmd(Command),
    Entrypoint(Command),
    Env(Vec<(ShellWord, ShellWord)>),
    Expose(Vec<ShellWord>),
    Healthcheck(Health),
    Label(Vec<(ShellWord, ShellWord)>),
    Onbuild(String),
    Stopsignal(ShellWord),
    User(ShellWord),
    Volume(Vec<ShellWord>),
    Workdir(ShellWord),
}

/// Reads the values of all `--change` options, each of which may hold several lines.
pub(crate) fn parse(changes: &[String]) -> Result<Vec<Instruction>, Failure> {
    let lines = lines(&changes.join("\n"));
    let instruction = |line: &String| {
        Instruction::parse(line).map_err(|reason| cli::usage(format!("{line}: {reason}")))
    };
    lines.iter().map(instruction).collect()
}

/// The instructions, a line each: backslashes at the ends of lines are gone, comments and empty lines too.
fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![];
    let mut line = String::new();
    for part in text.lines() {
        let content = part.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let bare = part.trim_end_matches([' ', '\t']);
        match bare.strip_suffix('\\') {
            Some(begun) if !begun.ends_with('\\') => line.push_str(begun),
            _ => {
                line.push_str(part);
                lines.push(std::mem::take(&mut line));
            }
        }
    }
    lines.push(line);
    lines.iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

impl Instruction {
    fn parse(line: &str) -> Result<Self, Reason> {
        let (keyword, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let keyword = keyword.to_ascii_uppercase();
        let is_ours = matches!(
            keyword.as_str(),
            "CMD"
                | "ENTRYPOINT"
                | "ENV"
                | "EXPOSE"
                | "HEALTHCHECK"
                | "LABEL"
                | "ONBUILD"
                | "STOPSIGNAL"
                | "USER"
                | "VOLUME"
                | "WORKDIR"
        );
        if !is_ours {
            return Err(format!("{keyword} doesn't change a config"));
        }
        if rest.is_empty() {
            return Err(format!("{keyword} needs an argument"));
        }
        Ok(match keyword.as_str() {
            "CMD" => Self::Cmd(Command::parse(rest)?),
            "ENTRYPOINT" => Self::Entrypoint(Command::parse(rest)?),
            "ENV" => Self::Env(pairs(rest)?),
            "EXPOSE" => Self::Expose(words(rest.split_whitespace())?),
            "HEALTHCHECK" => Self::Healthcheck(Health::parse(rest)?),
            "LABEL" => Self::Label(pairs(rest)?),
            "ONBUILD" => Self::Onbuild(trigger(rest)?),
            "STOPSIGNAL" => Self::Stopsignal(ShellWord::parse(rest)?),
            "USER" => Self::User(ShellWord::parse(rest)?),
            "VOLUME" => Self::Volume(volumes(rest)?),
            _ => Self::Workdir(ShellWord::parse(rest)?),
        })
    }
}

fn words<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<ShellWord>, Reason> {
    texts.map(ShellWord::parse).collect()
}

/// Reads `NAME=VALUE …`; or `NAME value`, where there is no `=` in the first word.
fn pairs(text: &str) -> Result<Vec<(ShellWord, ShellWord)>, Reason> {
    let texts = split(text);
    if texts.first().is_some_and(|first| !first.contains('=')) {
        let (name, value) =
            text.split_once(char::is_whitespace).ok_or("needs a name and a value")?;
        return Ok(vec![(ShellWord::plain(name), ShellWord::parse(value.trim_start())?)]);
    }
    let pair = |text: &String| {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("{text}: not NAME=VALUE"))?;
        if name.is_empty() {
            return Err("a name can't be empty".to_owned());
        }
        Ok((ShellWord::parse(name)?, ShellWord::parse(value)?))
    };
    texts.iter().map(pair).collect()
}

fn volumes(text: &str) -> Result<Vec<ShellWord>, Reason> {
    let paths = match list(text)? {
        Some(paths) => words(paths.iter().map(String::as_str))?,
        None => words(text.split_whitespace())?,
    };
    if paths.is_empty() { Err("VOLUME needs an argument".to_owned()) } else { Ok(paths) }
}

fn trigger(text: &str) -> Result<String, Reason> {
    let keyword = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match keyword.as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => Err(format!("{keyword} can't stand after ONBUILD")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let found = match Instruction::parse(line) {
            Ok(instruction) => format!("{instruction:?}"),
            Err(reason) => format!("error: {reason}"),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn commands_are_lists_or_lines() {
        check(r#"CMD ["a", "b c"]"#, r#"Cmd(Exec(["a", "b c"]))"#);
        check("cmd echo  $A # x", r#"Cmd(Shell("echo  $A # x"))"#);
        check("ENTRYPOINT [ -f x ] && y", r#"Entrypoint(Shell("[ -f x ] && y"))"#);
        check("CMD ['a']", r#"Cmd(Shell("['a']"))"#);
        check("ENTRYPOINT []", "Entrypoint(Exec([]))");
        check(r#"CMD ["a", 1]"#, "error: a list of anything but strings");
    }

    #[test]
    fn pairs_come_in_two_forms() {
        let shown = |line: &str| match Instruction::parse(line) {
            Ok(Instruction::Env(pairs) | Instruction::Label(pairs)) => {
                let text = |word: &ShellWord| word.expand(&|_| None).unwrap();
                pairs
                    .iter()
                    .map(|(name, value)| format!("{}|{}", text(name), text(value)))
                    .collect()
            }
            other => vec![format!("{other:?}")],
        };
        assert_eq!(shown(r#"ENV A=1 B="x  y" C=a\ b D="#), ["A|1", "B|x  y", "C|a b", "D|"]);
        assert_eq!(shown(r#"ENV A  "x  y" z=1"#), ["A|x  y z=1"]);
        assert_eq!(shown(r#"LABEL "a b"=c=d"#), ["a b|c=d"]);
        check("ENV A", "error: needs a name and a value");
        check("ENV A=1 B", "error: B: not NAME=VALUE");
        check("LABEL =1", "error: a name can't be empty");
        check(r#"ENV A=""#, "error: a double quote is not closed");
    }

    #[test]
    fn the_rest_takes_words() {
        check("USER a b", r#"User(ShellWord([Text("a b")]))"#);
        check("VOLUME /a  /b", r#"Volume([ShellWord([Text("/a")]), ShellWord([Text("/b")])])"#);
        check(r#"VOLUME ["/a b"]"#, r#"Volume([ShellWord([Text("/a b")])])"#);
        check("VOLUME []", "error: VOLUME needs an argument");
        check("onbuild   copy . /x", r#"Onbuild("copy . /x")"#);
        check("ONBUILD onbuild RUN x", "error: ONBUILD can't stand after ONBUILD");
        check("ONBUILD FROM x", "error: FROM can't stand after ONBUILD");
        check("WORKDIR", "error: WORKDIR needs an argument");
        check("RUN x", "error: RUN doesn't change a config");
        check("nope", "error: NOPE doesn't change a config");
    }

    #[test]
    fn lines_are_those_of_a_dockerfile() {
        let text =
            "# comment\nENV A=1 \\\n\n  # another\n  B=2 \\ \t\n  C=3\n  USER x\\\\\n\nCMD a \\";
        assert_eq!(lines(text), ["ENV A=1   B=2   C=3", "USER x\\\\", "CMD a"]);
    }
}
