//! `commit` takes the instructions that `docker commit -c` takes, and other tools take the images that it makes.

use kit::peers::docker::Docker;
use kit::peers::{peer, prepare, root_peer};
use kit::tree::{self, Mtime, Show};
use kit::{Image, Layer, Named, Output, Producer, Sandbox, pipeline};
use serde_json::{Map, Value};

const BASE: &str = "docker.io/library/base:1";

/// Instructions by which docker and we make the same of the base's configuration, or refuse to.
const SAME: [&[&str]; 88] = [
    &["CMD echo  hi # x"],
    &["CMD [\"a\", \"b c\"]"],
    &["CMD [a, b]"],
    &["cmd  ['a']"],
    &["CMD [\"a\", 1]"],
    &["CMD $A"],
    &["ENTRYPOINT [\"e\"]"],
    &["ENTRYPOINT e f"],
    &["CMD x", "ENTRYPOINT [\"e\"]"],
    &["ENTRYPOINT [\"e\"]", "CMD [\"c\"]"],
    &["ENV B=2"],
    &["ENV A=5"],
    &["ENV A=5 A=6"],
    &["ENV B=$A"],
    &["ENV B=2 C=$B"],
    &["ENV B=2", "ENV C=${B}x D=${E:-y} F=${B:+z}"],
    &["ENV B \"x  y\" z"],
    &["ENV B=\"x  y\" C=a\\ b D='$A' E=\"\\$A\\\"q\""],
    &["ENV B=a\\\\b C=\"a\\b\""],
    &["ENV B"],
    &["ENV B=1 C"],
    &["ENV B="],
    &["ENV =1"],
    &["ENV B=\""],
    &["ENV B=a\\\nC=2"],
    &["ENV B=1\nENV C=2"],
    &["# comment\nENV B=1"],
    &["ENV B=1 \\\n  C=2"],
    &["ENV B=${X:?no}"],
    &["ENV B=$ C=$1 D=$@"],
    &["ENV B=${"],
    &["ENV PATH=$PATH:/x"],
    &["EXPOSE 80 443/tcp 53/UDP"],
    &["EXPOSE 8000-8002"],
    &["EXPOSE 8080:80"],
    &["EXPOSE 80/ 0 81/sctp"],
    &["EXPOSE 80/foo"],
    &["EXPOSE x"],
    &["EXPOSE 99999"],
    &["EXPOSE 5-3"],
    &["EXPOSE"],
    &["EXPOSE $A"],
    &["LABEL a=b c=\"d e\""],
    &["LABEL a b c"],
    &["LABEL l=2"],
    &["LABEL \"a b\"=c"],
    &["LABEL a"],
    &["LABEL =a"],
    &["LABEL a=b=c"],
    &["LABEL a=\"x\\\ny\""],
    &["LABEL $A=$A"],
    &["USER app:grp"],
    &["USER a b"],
    &["USER \"q\""],
    &["USER"],
    &["USER ${X:-$A}"],
    &["USER \\$A"],
    &["USER a\\"],
    &["USER 'a"],
    &["   USER   x # no \t"],
    &["VOLUME /a /b"],
    &["VOLUME [\"/a\",\"/b c\"]"],
    &["VOLUME $A"],
    &["VOLUME \"\""],
    &["VOLUME [\"\"]"],
    &["VOLUME []"],
    &["WORKDIR sub"],
    &["WORKDIR sub", "WORKDIR sub2/../z"],
    &["WORKDIR /x/../y/"],
    &["WORKDIR \"/a b\""],
    &["WORKDIR $A/b"],
    &["ONBUILD RUN make"],
    &["onbuild   copy . /x", "ONBUILD nope"],
    &["ONBUILD ONBUILD RUN x"],
    &["ONBUILD FROM x"],
    &["ONBUILD"],
    &["HEALTHCHECK NONE"],
    &["HEALTHCHECK --interval=1m NONE"],
    &["HEALTHCHECK NONE x"],
    &["healthcheck cmd curl -f x"],
    &[
        "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=2h --retries=3 CMD [\"a\",\"b\"]",
    ],
    &["HEALTHCHECK --interval=1us CMD x"],
    &["HEALTHCHECK --interval=5 CMD x"],
    &["HEALTHCHECK --bad=1 CMD x"],
    &["HEALTHCHECK CMD"],
    &["HEALTHCHECK foo"],
    &["RUN x"],
    &["SHELL [\"a\"]"],
];

/// The same, but that a docker from before 2022 refuses them.
const SAME_TODAY: [&[&str]; 6] = [
    &["STOPSIGNAL SIGTERM"],
    &["STOPSIGNAL 9"],
    &["STOPSIGNAL RTMIN+3"],
    &["ENV B=${A-q}${X-q}${A+r}"],
    &["HEALTHCHECK --start-period=0s CMD x"],
    &["HEALTHCHECK --start-interval=2s CMD x"],
];

fn base() -> Image {
    Image::new()
        .layer(Layer::new().dir("./", 0o755).dir("etc", 0o755).file("etc/motd", "old\n"))
        .env(&["PATH=/usr/bin:/bin", "A=1"])
        .cmd(&["/base"])
        .user("me")
        .set_config("/config/WorkingDir", "/app")
        .set_config("/config/Labels", serde_json::json!({"l": "1"}))
        .set_config("/config/ExposedPorts", serde_json::json!({"1/tcp": {}}))
        .set_config("/config/Volumes", serde_json::json!({"/v": {}}))
}

/// The fields of a configuration that say anything, without those that are about a container.
fn said(config: &Value) -> Map<String, Value> {
    const OF_CONTAINERS: [&str; 4] = ["Hostname", "Image", "AttachStdout", "AttachStderr"];
    let is_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    let fields = config.as_object().cloned().unwrap_or_default().into_iter();
    fields.filter(|(key, value)| !is_nothing(value) && !OF_CONTAINERS.contains(&&**key)).collect()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.success().stdout).expect("what is inspected is JSON")
}

/// What both make of instructions; nothing where they are refused.
struct Both {
    docker: Docker,
    sandbox: Sandbox,
    container: String,
}

impl Both {
    fn start() -> Option<Self> {
        let docker = Docker::start()?;
        let sandbox = Sandbox::new();
        let stream = Producer::Strata.write(&[Named::new(BASE, base())]);
        sandbox.command("load").input(&*stream).run().success();
        docker.load(stream);
        let container = docker.command(&["create", "--network=none", "base:1"]).run();
        let container = container.success().out().trim().to_owned();
        Some(Self { docker, sandbox, container })
    }

    fn theirs(&self, changes: &[&str]) -> Option<Map<String, Value>> {
        let changes = changes.iter().flat_map(|change| ["-c", change]);
        let args: Vec<_> =
            ["commit"].into_iter().chain(changes).chain([&*self.container]).collect();
        let output = self.docker.command(&args).run();
        if output.code() != 0 {
            return None;
        }
        let output = self.docker.command(&["inspect", output.out().trim()]).run();
        let inspected = json(&output);
        Some(said(&inspected[0]["Config"]))
    }

    fn ours(&self, changes: &[&str]) -> Option<Map<String, Value>> {
        let changes = changes.iter().flat_map(|change| ["-c", change]);
        let command = self.sandbox.command("commit").args(["-t", "new", "--base", "base:1"]);
        let output = command.args(changes).input(vec![0; 1024]).run();
        if output.code() != 0 {
            output.fails_with(2);
            return None;
        }
        let output = self.sandbox.command("inspect").args(["--config", "new"]).run();
        let config = json(&output);
        Some(said(&config["config"]))
    }
}

#[test]
fn as_root_instructions_mean_what_they_mean_to_docker() {
    let Some(both) = Both::start() else { return };
    for changes in SAME {
        assert_eq!(both.ours(changes), both.theirs(changes), "{changes:?}");
    }
    for changes in SAME_TODAY {
        let ours = both.ours(changes).unwrap();
        assert!(both.theirs(changes).is_none_or(|theirs| theirs == ours), "{changes:?}");
    }
    // Where an empty list takes something away, as in a Dockerfile, docker puts the container's back.
    for change in ["CMD []", "ENTRYPOINT []"] {
        assert_eq!(both.ours(&[change]).unwrap().get("Cmd"), None);
    }
}

/// A sandbox with an image `new` in its store, of two layers.
fn committed(args: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(BASE, base())]);
    let layer = Layer::new()
        .dir("etc", 0o750)
        .file("etc/motd", "new\n")
        .owner(3, 4)
        .file("etc/more", "x".repeat(3_000_000))
        .symlink("link", "etc/more");
    sandbox.write("layer", layer.tar());
    let script = format!("commit -t new --base base:1 -m why -c 'CMD [\"/x\"]' {args} layer");
    pipeline::sh(&sandbox, &script).success();
    pipeline::sh(&sandbox, "unpack --from new root").success();
    sandbox
}

#[test]
fn as_root_umoci_skopeo_and_the_oci_s_own_tool_accept_the_image() {
    let (Some(umoci), Some(skopeo)) = (root_peer("umoci"), peer("skopeo")) else { return };
    let Some(tool) = peer("oci-image-tool") else { return };
    let sandbox = committed("");
    prepare(&sandbox, &[]);
    let there = format!("{}:docker.io/library/new:latest", sandbox.store().display());
    umoci.program(&sandbox).args(["raw", "unpack", "--image", &there, "theirs"]).run().success();
    tree::assert_same(
        &tree::show_with(sandbox.path("theirs"), Show::ALL),
        &tree::show_with(sandbox.path("root"), Show::ALL),
    );
    let stat = umoci.program(&sandbox).args(["stat", "--json", "--image", &there]).run();
    let stat = json(&stat);
    let history = stat["history"].as_array().unwrap();
    assert_eq!((history.len(), &history[1]["comment"]), (2, &Value::from("why")));
    assert!(history.iter().all(|entry| entry["layer"]["digest"].is_string()), "{stat}");
    let inspect = skopeo.program(&sandbox).args(["inspect", &format!("oci:{there}")]).run();
    let inspected = json(&inspect);
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2);
    // It takes a name to be a tag.
    pipeline::sh(&sandbox, "mkdir layout && save new | tar -x -C layout").success();
    let validate = ["validate", "--type", "image", "--ref", "name=latest", "layout"];
    tool.program(&sandbox).args(validate).run().success();
}

#[test]
fn as_root_docker_loads_the_image() {
    let Some(docker) = Docker::start() else { return };
    for args in ["", "--compress none --oci"] {
        let sandbox = committed(args);
        docker.load(sandbox.command("save").arg("new").run().success().stdout.clone());
        let exported = docker.export("new");
        let show = Show { mtime: Mtime::Hidden, ..Show::PLAIN };
        let theirs = tree::show_tar(&exported, show);
        for line in tree::show_with(sandbox.path("root"), show).lines() {
            let is_there = theirs.lines().any(|theirs| theirs == line);
            assert!(is_there || line.ends_with(" ./"), "{line} is not in\n{theirs}");
        }
        let inspect = docker.command(&["inspect", "--format", "{{json .Config.Cmd}}", "new"]).run();
        assert_eq!(inspect.success().out(), "[\"/x\"]\n");
        let history = docker.command(&["history", "--format", "{{.Comment}}", "new"]).run();
        assert!(history.success().out().starts_with("why\n"));
        docker.command(&["rmi", "new"]).run().success();
    }
}
