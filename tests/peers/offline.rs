//! Over an air gap and back: other tools load what `save` writes, thin streams too, and `load` takes what they save.

use kit::peers::containerd::Containerd;
use kit::peers::docker::Docker;
use kit::peers::podman::Podman;
use kit::peers::{peer, prepare};
use kit::pipeline::{Script, sh};
use kit::{Image, Index, Layer, Named, Program, Sandbox, check};

const BASE: &str = "docker.io/library/base:1";
const APP: &str = "docker.io/library/app:1";
const BOTH: &str = "docker.io/library/both:1";

fn base() -> Image {
    let below = Layer::new().dir("etc", 0o755).file("etc/motd", "base\n");
    Image::new().layer(below).layer(Layer::new().file("etc/os", "os\n")).cmd(&["/base"])
}

fn app() -> Image {
    base().layer(Layer::new().file("app", "app\n").whiteout("etc/motd")).cmd(&["/app"])
}

fn both() -> Index {
    Index::new().image(&app()).image(&base().platform("linux/s390x"))
}

/// A store with all of them.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let images = [Named::new(BASE, base()), Named::new(APP, app()), Named::new(BOTH, both())];
    sandbox.load(&images);
    prepare(&sandbox, &[]);
    sandbox
}

/// How another tool loads from a pipe, and how it tells what it has.
struct Tool<'a> {
    load: &'a str,
    configure: &'a dyn Fn(Program) -> Program,
    known: &'a dyn Fn(&str) -> String,
}

impl Tool<'_> {
    /// Runs a script in which `LOAD` stands for the tool; afterwards it knows this image by this digest.
    #[track_caller]
    fn loads(&self, sandbox: &Sandbox, script: &str, name: &str, digest: &str) {
        let script = script.replace("LOAD", self.load);
        Script::new(sandbox, &script).with(self.configure).run().success();
        let known = (self.known)(name);
        assert!(known.contains(&digest[7..]), "{script}: not {digest}:\n{known}");
    }

    /// First the base, then what is new, by both ways of telling what is there.
    #[track_caller]
    fn loads_thin(&self, digest: impl Fn(&Image) -> String) {
        let sandbox = sandbox();
        self.loads(&sandbox, "save base:1 | LOAD", BASE, &digest(&base()));
        self.loads(
            &sandbox,
            "save app:1 --base base:1 | tee thin.tar | LOAD",
            APP,
            &digest(&app()),
        );
        let thin = sandbox.read("thin.tar");
        assert_eq!(
            check::canonical(&thin).expect("a sound stream").absent.len(),
            2,
            "both layers of the base"
        );
        let other = app().layer(Layer::new().file("other", "")).cmd(&["/other"]);
        sandbox.load(&[Named::new("docker.io/library/other:1", &other)]);
        sandbox.write("have", app().diff_ids().join("\n"));
        let script = "save other:1 --have have | LOAD";
        self.loads(&sandbox, script, "docker.io/library/other:1", &digest(&other));
    }
}

/// Loads an archive into two new stores; gives what is in both.
#[track_caller]
fn loaded(archive: &[u8]) -> check::Report {
    let sandbox = Sandbox::new();
    sandbox.write("a.tar", archive);
    let script = "load a.tar && images verify && images --json > a.json
        cat a.tar | load --store other && images --store other --json | cmp - a.json";
    sh(&sandbox, script).success();
    check::layout(sandbox.store()).expect("a sound store")
}

#[test]
fn as_root_docker_loads_what_is_saved_and_back() {
    let Some(docker) = Docker::start() else { return };
    let configure = |program| docker.configure(program);
    let known = |name: &str| {
        docker.command(&["image", "inspect", "--format", "{{.Id}}", name]).run().success().out()
    };
    let tool = Tool { load: "docker load", configure: &configure, known: &known };
    let id = |image: &Image| image.config_blob().digest;
    tool.loads_thin(id);
    let sandbox = sandbox();
    tool.loads(&sandbox, "save both:1 | LOAD", BOTH, &id(&app()));
    tool.loads(&sandbox, "save app:1 --format docker | LOAD", APP, &id(&app()));
    let archive = docker.save(&[BASE, APP]);
    let report = loaded(&archive);
    // docker saves several images in an order that changes from run to run; it is kept.
    let short = |name: &String| name.trim_start_matches("docker.io/library/").to_owned();
    let saved = check::stream(&archive).expect("a sound archive").names;
    assert_eq!(
        report.names.iter().map(short).collect::<Vec<_>>(),
        saved.iter().map(short).collect::<Vec<_>>()
    );
    let is_base_first = report.names == [BASE, APP];
    assert!(is_base_first || report.names == [APP, BASE], "{:?}", report.names);
    let mut diff_ids = [base().diff_ids(), app().diff_ids()];
    if !is_base_first {
        diff_ids.reverse();
    }
    assert_eq!(report.diff_ids, diff_ids.concat());
    let configs = [base(), app()].map(|image| image.config_blob().digest);
    assert!(configs.iter().all(|config| report.blobs.contains(config)), "{:?}", report.blobs);
}

#[test]
fn as_root_podman_loads_what_is_saved_and_back() {
    let Some(podman) = Podman::new(&[]) else { return };
    let configure = |program| podman.configure(program);
    let known = |name: &str| {
        let format = "{{.Digest}} {{.Id}} {{.RepoDigests}}";
        podman.command(&["image", "inspect", "--format", format, name]).run().success().out()
    };
    let tool = Tool { load: "podman load", configure: &configure, known: &known };
    tool.loads_thin(Image::digest);
    let sandbox = sandbox();
    tool.loads(&sandbox, "save app:1 --format oci | LOAD", APP, &app().digest());
    for format in ["docker-archive", "oci-archive"] {
        let report = loaded(&podman.save(format, APP));
        assert_eq!((report.names.len(), &report.diff_ids), (1, &app().diff_ids()), "{format}");
        assert!(report.blobs.contains(&app().config_blob().digest), "{format}");
    }
}

#[test]
fn as_root_containerd_imports_what_is_saved_and_back() {
    let Some(containerd) = Containerd::start() else { return };
    let configure = |program| containerd.configure(program);
    let known = |name: &str| {
        containerd.command(&["images", "ls", &format!("name=={name}")]).run().success().out()
    };
    let tool = Tool { load: "ctr images import -", configure: &configure, known: &known };
    tool.loads_thin(Image::digest);
    let sandbox = sandbox();
    tool.loads(&sandbox, "save both:1 app:1 base:1 | LOAD", BOTH, &both().digest());
    let report = loaded(&containerd.export(&[BASE, APP]));
    assert_eq!((report.names.len(), report.digests), (2, vec![base().digest(), app().digest()]));
}

#[test]
fn skopeo_copies_from_the_store_and_what_is_saved_and_back() {
    let Some(skopeo) = peer("skopeo") else { return };
    let sandbox = sandbox();
    sh(&sandbox, "images tag app:1 mine && save app:1 > app.tar && save both:1 > both.tar")
        .success();
    let copy = |line: &str| {
        skopeo.program(&sandbox).args(["copy", "-q"]).args(line.split(' ')).run().success();
    };
    let store = sandbox.store();
    copy("oci-archive:app.tar oci:app:1");
    copy(&format!("--all oci-archive:both.tar oci:both:{BOTH}"));
    copy(&format!(
        "oci:{}:docker.io/library/mine:latest oci-archive:back.tar:{APP}",
        store.display()
    ));
    copy(&format!("oci:{}:{APP} docker-archive:docker.tar:{APP}", store.display()));
    assert_eq!(check::layout(sandbox.path("app")).unwrap().digests, [app().digest()]);
    assert_eq!(check::layout(sandbox.path("both")).unwrap().digests, [both().digest()]);
    let report = loaded(&sandbox.read("back.tar"));
    assert_eq!((report.names, report.digests), (vec![APP.to_owned()], vec![app().digest()]));
    let report = loaded(&sandbox.read("docker.tar"));
    assert_eq!((report.names, report.diff_ids), (vec![APP.to_owned()], app().diff_ids()));
    // The layouts that it made are loaded too.
    sh(&sandbox, "load --store other ./both && images verify --store other").success();
    assert_eq!(check::layout(sandbox.path("other")).unwrap().digests, [both().digest()]);
}
