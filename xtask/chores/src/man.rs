//! The man pages: what clap's definitions say, and what they can't say.
//!
//! ```text
//! NAME SYNOPSIS DESCRIPTION OPTIONS SUBCOMMANDS     from the definitions
//! EXAMPLES                                          from the end of the help
//! EXIT STATUS ENVIRONMENT FILES SEE ALSO            from the tables here
//! ```

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap_mangen::Man;

/// A name and what it means.
type Meaning = (&'static str, &'static str);

/// The date of the version.
const DATE: &str = "2026-11-29";
/// Programs that use the network.
const NETWORK: &[&str] = &["pull", "push", "remote"];
/// Programs that write times or names that a clock could decide.
const DATED: &[&str] = &["commit", "flatten", "snapshot"];

const STATUSES: &[Meaning] = &[
    ("0", "Done."),
    ("1", "Failed."),
    ("2", "Wrong usage."),
    ("3", "Not found."),
    ("4", "Not to be trusted: malformed, cut short, hostile, or another digest."),
    ("141", "The reader of standard output has gone."),
];
const NETWORK_STATUSES: &[Meaning] =
    &[("5", "The network or a registry; another attempt may succeed."), ("6", "Not authorised.")];
/// As `diff`.
const STATUSES_OF_CHANGES: &[Meaning] =
    &[("0", "There is no difference."), ("1", "There are differences."), ("2", "Trouble.")];
/// As `env`.
const STATUSES_OF_UNION: &[Meaning] = &[
    ("125", "With a command: union failed."),
    ("126", "The command can't be executed."),
    ("127", "The command isn't there."),
    ("any other", "With a command: the command's."),
];

const ENVIRONMENT: &[Meaning] = &[
    ("STRATA_STORE", "The store, where --store doesn't say it."),
    (
        "XDG_DATA_HOME",
        "Has the usual store of a user in its directory strata; else ~/.local/share has.",
    ),
    (
        "TMPDIR",
        "Where unlinked files wait for their turn, if there is no store: /tmp if it isn't set.",
    ),
    ("TERM", "With dumb, nothing is redrawn."),
    ("NO_COLOR", "If it is set, the help has no colours."),
];
const NETWORK_ENVIRONMENT: &[Meaning] = &[
    ("REGISTRY_AUTH_FILE", "A file of logins, as podman has it."),
    ("DOCKER_CONFIG", "The directory of docker's config.json."),
    ("DOCKER_AUTH_CONFIG", "Logins themselves, in the form of docker's config.json."),
    ("XDG_RUNTIME_DIR", "Has podman's containers/auth.json."),
    (
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY",
        "Proxies, and the hosts that are asked without one; in lower case too.",
    ),
    ("CONTAINERS_REGISTRIES_CONF", "podman's registries.conf, for mirrors."),
];
const DATED_ENVIRONMENT: &[Meaning] = &[(
    "SOURCE_DATE_EPOCH",
    "Seconds since 1970: the time of what is made, and the latest of times that are new.",
)];

const FILES: &[Meaning] = &[
    ("/var/lib/strata", "The usual store of root."),
    ("~/.local/share/strata", "The usual store of anybody else."),
];
const NETWORK_FILES: &[Meaning] = &[
    (
        "~/.config/containers/auth.json, ~/.docker/config.json",
        "Logins, as podman and docker keep them.",
    ),
    (
        "/etc/containers/registries.conf, /etc/containerd/certs.d",
        "Mirrors, as podman and containerd have them.",
    ),
    (
        "/etc/containers/certs.d, /etc/docker/certs.d",
        "Authorities and client certificates of single registries.",
    ),
];

/// Writes the pages of a command and of its subcommands into a directory.
pub(crate) fn write(command: clap::Command, dir: &Path) -> anyhow::Result<()> {
    let program = command.get_name().to_owned();
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write_tree(&program, &command, dir)
}

fn write_tree(program: &str, command: &clap::Command, dir: &Path) -> anyhow::Result<()> {
    for subcommand in command.get_subcommands() {
        write_tree(program, subcommand, dir)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let path = dir.join(format!("{name}.1"));
    let page = page(program, command).with_context(|| format!("the man page of {name}"))?;
    std::fs::write(&path, page).with_context(|| path.display().to_string())
}

/// One page.
fn page(program: &str, command: &clap::Command) -> anyhow::Result<Vec<u8>> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // clap_mangen would call the examples EXTRA.
    let man = Man::new(command.clone().after_help("").after_long_help(""))
        .date(DATE)
        .source(format!("strata {}", env!("CARGO_PKG_VERSION")))
        .manual("Strata");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    // A blank line breaks a line by itself.
    let page = String::from_utf8(page)?.replace("\n.br\n\n.br\n", "\n.sp\n");
    let mut page = page.into_bytes();
    page.write_all(examples(&after).as_bytes())?;
    let is_network = NETWORK.contains(&program);
    let more = |condition: bool, more: &'static [Meaning]| if condition { more } else { &[] };
    let statuses = match program {
        "changes" => STATUSES_OF_CHANGES.to_vec(),
        "union" => [STATUSES, STATUSES_OF_UNION].concat(),
        _ => [&STATUSES[..5], more(is_network, NETWORK_STATUSES), &STATUSES[5..]].concat(),
    };
    let environment = [
        ENVIRONMENT,
        more(DATED.contains(&program), DATED_ENVIRONMENT),
        more(is_network, NETWORK_ENVIRONMENT),
    ];
    let files = [FILES, more(is_network, NETWORK_FILES)];
    page.write_all(section("EXIT STATUS", &statuses).as_bytes())?;
    page.write_all(section("ENVIRONMENT", &environment.concat()).as_bytes())?;
    page.write_all(section("FILES", &files.concat()).as_bytes())?;
    page.write_all(see_also(program).as_bytes())?;
    Ok(page)
}

/// The examples at the end of a help: a line that is typed, and a deeper one that says what it does.
fn examples(after_help: &str) -> String {
    let Some((_, lines)) = after_help.split_once("Examples:\n") else { return String::new() };
    let mut text = ".SH EXAMPLES\n".to_owned();
    for line in lines.lines() {
        let escaped = escape(line.trim_start());
        let request = if line.starts_with("      ") { "" } else { ".TP\n.B " };
        writeln!(text, "{request}{escaped}").expect("writing to a String can't fail");
    }
    text
}

/// A section of names and meanings.
fn section(title: &str, meanings: &[Meaning]) -> String {
    let mut text = format!(".SH {title}\n");
    for (name, meaning) in meanings {
        write!(text, ".TP\n.B {}\n{}\n", escape(name), escape(meaning))
            .expect("writing to a String can't fail");
    }
    text
}

/// The other programs, and the page about all of them.
fn see_also(program: &str) -> String {
    let others = crate::commands::COMMANDS.iter().map(|(name, _)| *name);
    let mut pages: Vec<_> = others
        .filter(|name| *name != program && *name != "strata")
        .map(|name| format!(".BR {name} (1)"))
        .collect();
    pages.sort_unstable();
    pages.push(".BR strata (7)".to_owned());
    format!(".SH SEE ALSO\n{}\n", pages.join(",\n"))
}

/// Text as roff takes it.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_the_definitions_cannot_say() {
        let command = clap::Command::new("pull")
            .about("Pull")
            .after_help("Examples:\n  pull a | unpack d\n      In one pass")
            .subcommand(clap::Command::new("one").about("One"));
        let page = String::from_utf8(page("pull", &command).unwrap()).unwrap();
        let sections: Vec<_> = page.lines().filter(|line| line.starts_with(".SH ")).collect();
        assert_eq!(
            sections,
            [
                ".SH NAME",
                ".SH SYNOPSIS",
                ".SH DESCRIPTION",
                ".SH OPTIONS",
                ".SH SUBCOMMANDS",
                ".SH EXAMPLES",
                ".SH EXIT STATUS",
                ".SH ENVIRONMENT",
                ".SH FILES",
                ".SH SEE ALSO"
            ]
        );
        assert!(page.contains(".TP\n.B pull a | unpack d\nIn one pass\n"), "{page}");
        assert!(page.contains(".B 6\nNot authorised.\n"), "{page}");
        assert!(page.contains(".BR unpack (1),\n.BR strata (7)\n"), "{page}");
    }

    #[test]
    fn text_is_no_request() {
        assert_eq!(escape(".B a-b\\"), "\\&.B a\\-b\\e");
    }
}
