//! Completions for bash, zsh and fish: clap's, with the names of the images in the store where an image can stand.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap_complete::Shell;

/// Programs that take images of the store.
const TAKE_IMAGES: &[&str] = &[
    "changes", "commit", "flatten", "images", "inspect", "push", "rebase", "save", "snapshot",
    "strata", "union", "unpack",
];
/// What prints the names, each ended by NUL.
const NAMES: &str = "images --null 2>/dev/null";

/// Writes the completions of a command for each shell into a directory.
pub(crate) fn write(name: &str, command: &clap::Command, dir: &Path) -> anyhow::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let path = clap_complete::generate_to(shell, &mut command.clone(), name, dir)
            .with_context(|| format!("completions of {name} for {shell}"))?;
        if TAKE_IMAGES.contains(&name) {
            let generated =
                fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            fs::write(&path, with_names(shell, name, &generated))
                .with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn with_names(shell: Shell, name: &str, generated: &str) -> String {
    match shell {
        Shell::Bash => format!("{generated}{}", bash(name)),
        Shell::Zsh => zsh(generated),
        _ => format!("{generated}complete -c {name} -a '({NAMES} | string split0)'\n"),
    }
}

/// Bash takes a colon for the end of a word; what stands before the last one must not be in the answers.
fn bash(name: &str) -> String {
    format!(
        r#"
__{name}_with_names() {{
    _{name} "$@"
    local line="${{COMP_LINE:0:COMP_POINT}}" each
    local word="${{line##*[[:space:]]}}"
    [[ $word == -* ]] && return
    local before="${{word%"${{word##*:}}"}}" names=()
    while IFS= read -r -d '' each; do
        [[ $each == "$word"* ]] && names+=("${{each#"$before"}}")
    done < <({NAMES})
    ((${{#names[@]}})) && COMPREPLY=("${{names[@]}}")
    return 0
}}
complete -F __{name}_with_names -o nosort -o bashdefault -o default {name}
"#
    )
}

/// Zsh asks a function of its own for each argument.
fn zsh(generated: &str) -> String {
    let function = format!(
        "(( $+functions[_strata_images] )) || _strata_images() {{
    local -a names
    names=(${{(0)\"$({NAMES})\"}})
    compadd -a names
    _files
}}
"
    );
    let (first, rest) = generated.split_once('\n').unwrap_or((generated, ""));
    let rest: Vec<_> = rest
        .lines()
        .map(|line| {
            if takes_image(line) {
                line.replace(":_default'", ":_strata_images'")
            } else {
                line.to_owned()
            }
        })
        .collect();
    format!("{first}\n\n{function}{}\n", rest.join("\n"))
}

/// Whether a line of zsh's arguments is of one that stands alone, or of an option with an image.
fn takes_image(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("':") || line.starts_with("'*:") || line.contains(":IMAGE:")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    /// What bash offers at the end of a line, with two images in the store.
    fn offered(line: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let command = clap::Command::new("save")
            .arg(clap::Arg::new("image").num_args(1..))
            .arg(clap::Arg::new("output").long("output"));
        write("save", &command, dir.path()).unwrap();
        let images = dir.path().join("images");
        fs::write(&images, "#!/bin/sh\nprintf 'app:1\\0localhost:5000/debian:12\\0'\n").unwrap();
        fs::set_permissions(&images, fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!(
            r#"source save.bash; COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}}; COMP_POINT={}
            read -ra COMP_WORDS <<< "$COMP_LINE"; COMP_CWORD=1
            __save_with_names save "${{COMP_WORDS[1]}}" save; echo "${{COMPREPLY[*]}}""#,
            line.len()
        );
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["-c", &script])
            .env("PATH", path)
            .current_dir(dir.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    #[test]
    fn bash_offers_the_images_of_the_store() {
        assert_eq!(offered("save a"), "app:1");
        assert_eq!(offered("save app:"), "1");
        assert_eq!(offered("save localhost:5"), "5000/debian:12");
        assert_eq!(offered("save --o"), "--output");
    }

    #[test]
    fn zsh_and_fish_ask_for_the_images() {
        let generated = "#compdef save\n'--base=[A]:IMAGE:_default' \\\n'-o+[B]:FILE:_default' \\\n\
                         '*::image:_default' \\\n";
        let text = with_names(Shell::Zsh, "save", generated);
        assert!(text.starts_with("#compdef save\n"), "{text}");
        let expected = "'--base=[A]:IMAGE:_strata_images' \\\n'-o+[B]:FILE:_default' \\\n\
                        '*::image:_strata_images' \\\n";
        assert!(text.ends_with(expected), "{text}");
        let text = with_names(Shell::Fish, "save", "");
        assert_eq!(text, "complete -c save -a '(images --null 2>/dev/null | string split0)'\n");
    }
}
