//! What the real registry says of itself, by us and by skopeo; what is changed there; and logins that both keep.

use kit::peers::docker_registry::{DockerRegistry, Login, PASSWORD, Setup, USER};
use kit::peers::{Peer, peer, prepare};
use kit::{Image, Index, Output, Sandbox, pipeline};
use serde_json::Value;

use crate::layers::small;
use crate::published;

/// A registry with an index in it as `ns/app:1`, and skopeo.
struct Place {
    registry: DockerRegistry,
    sandbox: Sandbox,
    skopeo: Peer,
}

fn index() -> Index {
    let images = ["linux/amd64", "linux/arm64"].map(|it| small(Image::new()).platform(it));
    images.iter().fold(Index::new(), Index::image)
}

impl Place {
    fn with(setup: &Setup) -> Option<Self> {
        let registry = DockerRegistry::start(setup)?;
        published::push(index(), &registry, &format!("{}/ns/app:1", registry.host()), &[])?;
        let sandbox = Sandbox::new();
        prepare(&sandbox, &[&registry.host()]);
        sandbox.write("run/.keep", "");
        Some(Self { registry, sandbox, skopeo: peer("skopeo")? })
    }

    /// Runs a script, in which `HOST` is the registry.
    fn sh(&self, script: &str) -> Output {
        let script = script.replace("HOST", &self.registry.host());
        pipeline::sh(&self.sandbox, &format!("export XDG_RUNTIME_DIR=$PWD/run; {script}"))
    }

    #[track_caller]
    fn out(&self, script: &str) -> String {
        self.sh(script).success().out()
    }

    fn skopeo(&self, line: &str) -> Output {
        let line = line.replace("HOST", &self.registry.host());
        let program = self.skopeo.program(&self.sandbox).args(line.split(' '));
        program.env("XDG_RUNTIME_DIR", self.sandbox.path("run")).run()
    }
}

#[test]
fn lists_documents_and_digests_are_those_that_skopeo_sees() {
    let Some(place) = Place::with(&Setup::PLAIN) else { return };
    let names = (2..120).map(|n| format!("HOST/ns/app:{n}")).collect::<Vec<_>>().join(" ");
    place.sh(&format!("remote tag HOST/ns/app:1 {names}")).success();
    let listed = place.skopeo("list-tags docker://HOST/ns/app").success().out();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mut tags: Vec<u64> = listed["Tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag.as_str().unwrap().parse().unwrap())
        .collect();
    tags.sort_unstable();
    let ours = place.out("remote tags HOST/ns/app");
    let ours: Vec<u64> = ours.lines().map(|tag| tag.parse().unwrap()).collect();
    assert_eq!(ours, tags);
    let raw = place.skopeo("inspect --raw docker://HOST/ns/app:7").success().stdout.clone();
    assert_eq!(place.sh("remote manifest HOST/ns/app:7").success().stdout, raw);
    assert_eq!(place.out("remote digest HOST/ns/app:7"), format!("{}\n", kit::digest(&raw)));
    let line = "--override-arch arm64 inspect --config --raw docker://HOST/ns/app:7";
    let config = place.skopeo(line).success().stdout.clone();
    let ours = place.sh("remote config --platform linux/arm64 HOST/ns/app:7");
    assert_eq!(ours.success().stdout, config);
    assert_eq!(
        place.out("remote repositories HOST"),
        format!("{}/ns/app\n", place.registry.host())
    );
    place.sh("remote tags HOST/none").fails_with(3);
}

#[test]
fn a_copy_is_what_skopeo_copies_and_within_the_registry_no_blob_comes_here() {
    let (Some(place), Some(other)) = (Place::with(&Setup::PLAIN), Place::with(&Setup::PLAIN))
    else {
        return;
    };
    let digest = format!("{}\n", index().digest());
    place.sh("remote copy HOST/ns/app:1 HOST/new/app:2").success();
    let is_of_ours = |line: &&String| line.contains("strata/") && line.contains("/blobs/");
    let requests = place.registry.requests();
    let ours: Vec<_> = requests.iter().filter(is_of_ours).collect();
    assert!(
        !ours.is_empty() && ours.iter().all(|it| it.contains("POST ") && it.contains(" 201 ")),
        "{ours:?}"
    );
    let target = other.registry.host();
    place.sh(&format!("remote copy HOST/new/app:2 {target}/there:1")).success();
    let to = format!(
        "copy --quiet --all --src-tls-verify=false --dest-tls-verify=false docker://HOST/ns/app:1 docker://{target}/theirs:1"
    );
    place.skopeo(&to).success();
    for name in ["there", "theirs"] {
        assert_eq!(other.out(&format!("remote digest HOST/{name}:1")), digest);
    }
    other.sh("pull -q --all-platforms --no-stream HOST/there:1").success();
}

// skopeo#795: distribution 2 removes images only.
#[test]
fn a_tag_of_distribution_is_not_removed_with_others() {
    let Some(place) = Place::with(&Setup::PLAIN) else { return };
    place.sh("remote tag HOST/ns/app:1 HOST/ns/app:2").success();
    let output = place.sh("remote rm HOST/ns/app:1");
    if output.code() == 0 {
        // A newer one removes the tag alone.
        assert_eq!(place.out("remote tags HOST/ns/app"), "2\n");
    } else {
        assert!(output.fails_with(1).stderr.contains("has others: 2\n"), "{}", output.stderr);
        assert_eq!(place.out("remote tags HOST/ns/app"), "1\n2\n");
        place.sh("remote rm --force HOST/ns/app:1").success();
        place.sh("remote digest HOST/ns/app:2").fails_with(3);
    }
}

#[test]
fn a_login_of_ours_is_skopeos_and_the_other_way_round() {
    let setup = Setup { login: Login::Htpasswd, ..Setup::PLAIN };
    let Some(place) = Place::with(&setup) else { return };
    let login = format!("echo {PASSWORD} | remote login HOST -u {USER} --password-stdin");
    assert_ne!(place.skopeo("list-tags docker://HOST/ns/app").code(), 0);
    place.sh(&login).success();
    place.skopeo("list-tags docker://HOST/ns/app").success();
    place.skopeo("logout HOST").success();
    place.sh("remote tags HOST/ns/app").fails_with(6);
    place.skopeo(&format!("login --tls-verify=false -u {USER} -p {PASSWORD} HOST")).success();
    place.sh("remote tags HOST/ns/app").success();
    place.sh("remote logout HOST").success();
    assert_ne!(place.skopeo("list-tags docker://HOST/ns/app").code(), 0);
    place.sh(&login.replace(PASSWORD, "wrong")).fails_with(6);
}

#[test]
fn a_token_for_removal_is_had_from_a_token_server() {
    let setup = Setup { login: Login::Token, ..Setup::PLAIN };
    let Some(place) = Place::with(&setup) else { return };
    place.sh(&format!("echo {PASSWORD} | remote login HOST -u {USER} --password-stdin")).success();
    place.sh("remote copy HOST/ns/app:1 HOST/b:1").success();
    let digest = index().digest();
    place.sh(&format!("remote rm HOST/b@{digest}")).success();
    place.sh("remote digest HOST/b:1").fails_with(3);
}
