//! `unpack --env-file`: the image's settings for a shell.

use kit::{Image, Layer, Output, Sandbox, pipeline};

use crate::fixtures::{lacks, names, stream_of};

/// What would run, or end the shell, if it weren't quoted or left out.
const HOSTILE: &[&str] = &[
    "PLAIN=a b",
    "QUOTES='\"\\",
    "DATE=$(touch ran)`touch ran`",
    "LINES=one\ntouch ran\n'two'",
    "NAME'; touch ran; '=x",
    "COMMENT\ntouch ran=x",
    "$(touch ran)=x",
    "a.b=c",
    "=x",
    "LONELY",
    "PROMPT_COMMAND=touch ran",
    "PS4=$(touch ran)",
    "BASH_ENV=ran",
    "UID=0",
    "IMAGE_USER=other",
    "EMPTY=",
    "DOLLAR=$HOME ${PATH}",
    "LAST=é",
];

fn image() -> Image {
    Image::new()
        .layer(Layer::new().file("f", "x"))
        .env(HOSTILE)
        .user("me'; touch ran; '")
        .entrypoint(&["/bin/echo", "it's", "$(touch ran)", ""])
        .cmd(&["two words", "*"])
        .set_config("/config/WorkingDir", "/srv/a b")
}

fn unpacked(image: &Image) -> (Sandbox, Output) {
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(image));
    let output = pipeline::sh(&sandbox, "unpack --env-file env --no-sync root < image");
    output.success();
    (sandbox, output)
}

#[test]
fn a_shell_reads_the_settings_and_runs_nothing_of_them() {
    // apptainer#3328: `$(…)` ran; apptainer/singularity#5108: blanks; #3978: a name with a point; hpc/charliecloud#1124: lines.
    let (sandbox, output) = unpacked(&image());
    let expected = "not in the file of settings, as a shell can't have it or would obey it: \
                    NAME'; touch ran; ', COMMENT\\ntouch ran, $(touch ran), a.b, , LONELY, PROMPT_COMMAND, PS4, \
                    BASH_ENV, UID, IMAGE_USER";
    assert!(output.stderr.contains(expected), "{}", output.stderr);
    let shells: &[&str] = if lacks(&["busybox"]) {
        &["sh -eu", "bash -eu", "bash -eux"]
    } else {
        &["sh -eu", "bash -eu", "bash -eux", "busybox sh -eu"]
    };
    let show = r#". ./env
        printf '%s|' "$PLAIN" "$QUOTES" "$DATE" "$LINES" "$EMPTY" "$DOLLAR" "$LAST" "$IMAGE_USER" "$IMAGE_WORKDIR"
        eval "set -- $IMAGE_ENTRYPOINT $IMAGE_CMD"
        printf '[%s]' "$@"
        env | grep -c '^PLAIN=a b$'"#;
    sandbox.write("show", show);
    for shell in shells {
        let output = pipeline::sh(&sandbox, &format!("{shell} show"));
        assert_eq!(
            output.success().out(),
            "a b|'\"\\|$(touch ran)`touch ran`|one\ntouch ran\n'two'||$HOME ${PATH}|é|me'; touch ran; '|/srv/a b|\
             [/bin/echo][it's][$(touch ran)][][two words][*]1\n",
            "{shell}"
        );
    }
    // At the prompt of an interactive shell, PROMPT_COMMAND would run.
    pipeline::sh(&sandbox, "printf '. ./env\\ntrue\\n' | bash --norc -i").success();
    assert_eq!(names(sandbox.path(".")), ["env", "image", "root", "show"]);
}

#[test]
fn an_image_without_settings_has_empty_ones() {
    let (sandbox, output) =
        unpacked(&Image::new().layer(Layer::new().file("f", "x")).drop_config("/config"));
    let text = String::from_utf8(sandbox.read("env")).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    assert!(
        first.starts_with("# demo:1 (") && first.ends_with("): settings for a shell: . FILE"),
        "{first}"
    );
    assert_eq!(rest, "IMAGE_USER=''\nIMAGE_WORKDIR='/'\nIMAGE_ENTRYPOINT=''\nIMAGE_CMD=''\n");
    // A plain user is told of owners, and of nothing else.
    let is_warning =
        |line: &&str| line.contains("warning") && !line.contains("for lack of privilege");
    assert_eq!(output.stderr.lines().find(is_warning), None, "{}", output.stderr);
    let output = pipeline::sh(&sandbox, "unpack -q --env-file - --no-sync other < image");
    assert_eq!(output.success().out(), text);
}

#[test]
fn a_failed_run_leaves_no_file() {
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&image()));
    for script in [
        "unpack --env-file env root < /dev/null",
        "head -c 2000 image | unpack --env-file env root",
        "unpack --env-file missing/env root < image",
    ] {
        let output = pipeline::sh(&sandbox, script);
        assert_ne!(output.code(), 0, "{script}");
        assert!(!sandbox.path("env").exists() && !sandbox.path("root").exists(), "{script}");
    }
}
