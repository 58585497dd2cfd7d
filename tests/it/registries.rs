//! Everything that goes over the network, with each of the registries that people use.
//!
//! What a registry's ways are stands in `kit::registry::profiles`, with its sources. Bytes and requests are counted at the
//! registry. Those that take chunks in a way of their own get a layer that is more than one chunk as well; with
//! `STRATA_LONG=1` all do, and it has 150 MiB. The table in docs/registry.md says what each can't do, and is checked.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kit::image::random::Random;
use kit::registry::profile::{Asked, Chunks, Head, LOGIN, Mounts, Profile, Referrers, Said};
use kit::registry::{auth, profiles};
use kit::{Codec, Fault, Image, Index, Layer, Output, Registry, Sandbox, pipeline};

use crate::referrers::about;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A layer of so many bytes, no two blocks of which are the same; cheap to make.
fn layer(seed: u64, size: usize) -> Layer {
    let block = Random::new(seed).bytes(4096);
    let mut bytes = block.repeat(size.div_ceil(block.len()));
    bytes.truncate(size);
    for (number, block) in bytes.chunks_mut(4096).enumerate() {
        let number = (number as u64).to_le_bytes();
        let n = block.len().min(number.len());
        block[..n].copy_from_slice(&number[..n]);
    }
    Layer::new().file(format!("files/{seed}"), bytes)
}

/// An image whose layers have these sizes.
fn image(sizes: &[usize]) -> Image {
    sizes.iter().enumerate().fold(Image::new().codec(Codec::None), |image, (seed, &size)| {
        image.layer(layer(seed as u64, size))
    })
}

/// A registry, where images come from, and what is done with both.
struct Place {
    profile: Profile,
    source: Registry,
    registry: Registry,
    image: Image,
    size: u64,
    /// With a store that has the image.
    stored: Sandbox,
}

impl Place {
    fn new(profile: &Profile, sizes: &[usize]) -> Self {
        let image = image(sizes);
        let size = image.blobs().iter().map(|blob| blob.bytes.len() as u64).sum();
        let (source, registry) = (Registry::start(), Registry::with_profile(profile));
        source.add("app:1", &image);
        let artifact = about(&image, "an SBOM");
        source.add(&format!("app:{}", tag(&image)), Index::new().image(&artifact));
        let stored = Sandbox::new();
        let place = Self { profile: *profile, source, registry, image, size, stored };
        place.run(&place.stored, &format!("pull --no-stream {}", place.source.name("app:1")));
        place
    }

    /// Runs a script with a login for the registry; it must succeed.
    #[track_caller]
    fn run(&self, sandbox: &Sandbox, script: &str) -> Output {
        let logins = self.logins();
        let script = format!("export DOCKER_AUTH_CONFIG='{logins}'; {script}");
        let output = pipeline::sh(sandbox, &script);
        let name = self.profile.name;
        assert_eq!(output.code(), 0, "{name}: {}\n{}", output.text(), self.registry.log());
        output
    }

    /// What is in `DOCKER_AUTH_CONFIG`.
    fn logins(&self) -> String {
        let (user, password) = LOGIN;
        let login = auth::base64(format!("{user}:{password}").as_bytes());
        format!(r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#, self.registry.host())
    }

    /// The largest layer: its digest and its size.
    fn largest(&self) -> (String, u64) {
        let layers = self.image.layer_blobs();
        let blob = layers.iter().max_by_key(|blob| blob.bytes.len()).unwrap();
        (blob.digest.clone(), blob.bytes.len() as u64)
    }

    /// The most bytes that a push may send: all, and the largest layer twice; where each may be found too large once it is
    /// there, each of them twice.
    fn most(&self) -> u64 {
        let again =
            if self.profile.uploads.largest.is_some() { self.size } else { self.largest().1 };
        self.size + again + 10_000
    }

    /// How many bytes the registry has received since the last time.
    fn received(&self) -> u64 {
        let received = self.registry.bytes_received("PATCH") + self.registry.bytes_received("PUT");
        self.registry.forget();
        received
    }

    #[track_caller]
    fn has_all(&self, repository: &str) {
        let found = self.registry.manifest(&format!("{repository}:1")).unwrap_or_default();
        assert_eq!(kit::digest(&found), self.image.digest(), "{}", self.profile.name);
        for blob in self.image.layer_blobs() {
            let found = self.registry.blob(repository, &blob.digest);
            assert!(found.is_some(), "{}: {}", self.profile.name, blob.digest);
        }
    }

    fn pushes_from_the_store(&self) {
        let there = self.registry.name("team/app:1");
        self.run(&self.stored, &format!("push {} {there}", self.source.name("app:1")));
        self.has_all("team/app");
        let received = self.received();
        assert!(received < self.most(), "{}: {received}", self.profile.name);
        // And again: nothing is sent but the manifest, if the registry says what it has.
        if self.profile.head == Head::Answered {
            self.run(&self.stored, &format!("push {} {there}", self.source.name("app:1")));
            assert!(self.received() < 10_000, "{}", self.profile.name);
        }
        assert_eq!(self.registry.n_uploads(), 0, "{}", self.profile.name);
    }

    fn mounts(&self) {
        let there = self.registry.name("other/app:1");
        self.run(&self.stored, &format!("push {} {there}", self.source.name("app:1")));
        self.has_all("other/app");
        let received = self.received();
        match self.profile.mounts {
            Mounts::Always | Mounts::Named | Mounts::OrRefused(_) => {
                assert!(received < 10_000, "{}: {received}", self.profile.name);
            }
            Mounts::Never | Mounts::Lost => {
                assert!(received < self.most(), "{}: {received}", self.profile.name);
            }
        }
    }

    /// Out of a pipe, without a store, and with a connection that breaks off in the middle of a layer.
    fn pushes_out_of_a_pipe(&self) {
        let cut = Fault::on("uploads").with_header("Content-Type").times(1);
        let cut = if self.profile.uploads.takes_whole { cut.method("PUT") } else { cut };
        self.registry.fault(cut.close_reading(600 * KIB));
        let (from, to) = (self.source.name("app:1"), self.registry.name("piped/app:1"));
        self.run(&Sandbox::new(), &format!("pull --no-store {from} | push - {to}"));
        self.registry.heal();
        self.has_all("piped/app");
        let received = self.received();
        assert!(received < self.most(), "{}: {received}", self.profile.name);
    }

    /// With a connection that breaks off in the middle of the largest layer.
    fn pulls(&self) {
        let name = self.registry.name("team/app:1");
        let (large, _) = self.largest();
        let path = if self.profile.has_storage { "/storage/" } else { "/blobs/" };
        let cut = Fault::on(&format!("{path}{large}")).method("GET").times(1);
        self.registry.fault(cut.close_after(3 * MIB as u64));
        let sandbox = Sandbox::new();
        self.run(&sandbox, &format!("pull --no-stream {name}"));
        assert!(self.registry.sent_twice(path).is_empty(), "{}", self.registry.log());
        self.run(&sandbox, &format!("pull {name} | unpack root"));
        let unpacked = fs::read(sandbox.path("root/files/0")).unwrap();
        assert_eq!(unpacked.len(), KIB, "{}", self.profile.name);
    }

    /// One that is killed in the middle of the largest layer, and one that comes after it.
    fn goes_on_with_a_pull(&self) {
        let (large, _) = self.largest();
        let path = if self.profile.has_storage { "/storage/" } else { "/blobs/" };
        let path = format!("{path}{large}");
        let stall = Fault::on(&path).method("GET").stall_after(4 * MIB as u64, None);
        self.registry.fault(stall);
        let sandbox = Sandbox::new();
        let pull = sandbox.command("pull").env("DOCKER_AUTH_CONFIG", self.logins());
        let running = pull.args(["--no-stream", &self.registry.name("team/app:1")]).start();
        let partial = sandbox.store().join("strata/partial").join(large.replace(':', "-"));
        let had = || fs::metadata(&partial).map_or(0, |file| file.len());
        running.kill_when(|| had() > 3 * MIB as u64);
        let had = had();
        self.registry.heal();
        self.registry.release();
        self.registry.forget();
        self.run(&sandbox, &format!("pull --no-stream {}", self.registry.name("team/app:1")));
        let ranges = self.registry.ranges(&path);
        let is_rest = !ranges.is_empty() && ranges.iter().all(|(_, start, _)| *start >= had);
        assert!(is_rest, "{}: {had} {ranges:?}", self.profile.name);
    }

    /// One that is killed in the middle of a layer, and one that comes after it. Where a layer has several chunks, the
    /// first is there by then. Of each request that is held, the registry reads so little that how much was on its way is
    /// no matter of time.
    fn goes_on_with_a_push(&self, repository: &str) {
        let (_, size) = self.largest();
        let held = Fault::on("uploads").with_header("Content-Type");
        let held = held.delay(Duration::from_secs(300)).close_reading(2 * MIB);
        let has_chunks = size > 64 * MIB as u64
            && self.profile.uploads.largest.is_none()
            && matches!(self.profile.uploads.chunks, Chunks::Taken(..));
        self.registry.fault(if has_chunks { held.method("PATCH").after(1) } else { held });
        let there = self.registry.name(&format!("{repository}:1"));
        // A store of its own, because the other one has learned where the layers are.
        let sandbox = Sandbox::new();
        self.run(&sandbox, &format!("pull --no-stream {}", self.source.name("app:1")));
        self.registry.forget();
        let push = sandbox.command("push").env("DOCKER_AUTH_CONFIG", self.logins());
        let running = push.args([&self.source.name("app:1"), &there]).start();
        let n_sent = || self.registry.n_requests("PATCH", "") + self.registry.n_requests("PUT", "");
        let uploads = sandbox.store().join("strata/uploads");
        let is_noted = || fs::read_dir(&uploads).is_ok_and(|dir| dir.count() > 0);
        running.kill_when(|| if has_chunks { is_noted() } else { n_sent() > 0 });
        self.registry.heal();
        self.registry.release();
        self.run(&sandbox, &format!("push {} {there}", self.source.name("app:1")));
        self.has_all(repository);
        let received = self.received();
        let name = self.profile.name;
        // And what was read of the layers that were on their way when the first was killed.
        let most = self.most() + 4 * MIB as u64;
        assert!(received < most, "{name}: {received} of {}", self.size);
        let can_go_on = self.profile.uploads.asked == Asked::Offset
            && matches!(self.profile.uploads.chunks, Chunks::Taken(_, Said::All));
        if has_chunks && can_go_on {
            // What has come of a chunk that was cut off may be lost, and what was on its way of it.
            let again = if self.profile.uploads.keeps_cut { 10_000 } else { 66 * MIB };
            assert!(received < self.size + again as u64, "{name}: {received} of {}", self.size);
        }
    }

    fn carries_referrers(&self) {
        let (from, to) = (self.source.name("app:1"), self.registry.name("signed/app:1"));
        self.run(&Sandbox::new(), &format!("pull --no-store --referrers {from} | push - {to}"));
        let artifact = about(&self.image, "an SBOM");
        let there = format!("signed/app@{}", artifact.digest());
        assert!(self.registry.manifest(&there).is_some(), "{}", self.profile.name);
        let sandbox = Sandbox::new();
        self.run(&sandbox, &format!("pull --no-stream --referrers {to}"));
        let held = sandbox.store().join("blobs/sha256").join(&artifact.digest()[7..]);
        // GitLab takes the name of the list for the image's digest, so that nobody finds the list there.
        let is_found = self.profile.referrers != Referrers::TagIsDigest;
        assert_eq!(held.exists(), is_found, "{}", self.profile.name);
    }
}

/// `sha256-…`.
fn tag(image: &Image) -> String {
    image.digest().replace(':', "-")
}

#[track_caller]
fn works_with(profile: &Profile) {
    let place = Place::new(profile, &[KIB, 5 * MIB, 20 * MIB]);
    place.pushes_from_the_store();
    place.mounts();
    place.pushes_out_of_a_pipe();
    place.pulls();
    place.goes_on_with_a_pull();
    place.goes_on_with_a_push("later/app");
    place.carries_referrers();
    let is_long = std::env::var_os("STRATA_LONG").is_some_and(|value| value == "1");
    let is_peculiar = profile.uploads.largest.is_some()
        || !matches!(profile.uploads.chunks, Chunks::Taken(202, Said::All));
    let size = if is_long { 150 * MIB } else { 66 * MIB };
    if is_long || is_peculiar {
        let place = Place::new(profile, &[KIB, size]);
        place.pushes_from_the_store();
        place.pushes_out_of_a_pipe();
        place.goes_on_with_a_push("later/app");
    }
}

/// What a registry can't do, as docs/registry.md has it.
fn lacks(profile: &Profile) -> String {
    let uploads = &profile.uploads;
    let mut lacks = vec![];
    match profile.referrers {
        Referrers::Api => {}
        Referrers::Status(_) | Referrers::Page => lacks.push("referrers API"),
        Referrers::TagIsDigest => lacks.push("referrers"),
    }
    match profile.mounts {
        Mounts::Always | Mounts::OrRefused(_) => {}
        Mounts::Named => lacks.push("mount before a manifest names the blob"),
        Mounts::Never | Mounts::Lost => lacks.push("mount"),
    }
    if matches!(uploads.chunks, Chunks::Refused(_)) {
        lacks.push("take chunks");
    }
    if !uploads.takes_whole {
        lacks.push("take a PUT with a body");
    }
    if uploads.asked != Asked::Offset {
        lacks.push("say how far an upload has come");
    } else if !uploads.keeps_cut {
        lacks.push("take up a request that broke off");
    }
    if profile.head != Head::Answered {
        lacks.push("say which blobs it has");
    }
    lacks.join("; ")
}

#[test]
fn the_documentation_says_what_each_can_not_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/registry.md");
    let text = fs::read_to_string(path).unwrap();
    for profile in &profiles::ALL {
        let start = format!("| {} | ", profile.name);
        let row = text.lines().find(|line| line.starts_with(&start));
        let said = row.and_then(|row| row.strip_suffix(" |")?.rsplit_once('|'));
        assert_eq!(said.map(|(_, last)| last.trim()), Some(&*lacks(profile)), "{}", profile.name);
    }
}

/// A test for each, so that they run side by side.
macro_rules! works_with {
    ($($name:ident: $profile:ident,)*) => {
        $(
            #[test]
            fn $name() {
                works_with(&profiles::$profile);
            }
        )*

        #[test]
        fn every_profile_is_here() {
            let here = [$(profiles::$profile.name,)*];
            assert_eq!(here.to_vec(), profiles::ALL.map(|profile| profile.name).to_vec());
        }
    };
}

works_with! {
    all_of_it_works_with_docker_hub: HUB,
    all_of_it_works_with_ghcr: GHCR,
    all_of_it_works_with_ecr: ECR,
    all_of_it_works_with_artifact_registry: ARTIFACT_REGISTRY,
    all_of_it_works_with_acr: ACR,
    all_of_it_works_with_gitlab: GITLAB,
    all_of_it_works_with_quay: QUAY,
    all_of_it_works_with_harbor: HARBOR,
    all_of_it_works_with_artifactory: ARTIFACTORY,
    all_of_it_works_with_an_old_artifactory: OLD_ARTIFACTORY,
    all_of_it_works_with_nexus: NEXUS,
    all_of_it_works_with_distribution_2: DISTRIBUTION_2,
    all_of_it_works_with_distribution_3: DISTRIBUTION_3,
    all_of_it_works_with_zot: ZOT,
    all_of_it_works_with_ggcr: GGCR,
    all_of_it_works_behind_nginx: NGINX_1M,
    all_of_it_works_without_head: HEADLESS,
}
