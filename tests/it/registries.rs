//! Everything that goes over the network, with each of the registries that people use.
//!
//! What a registry's ways are stands in `kit::registry::profiles`, with its sources. Bytes and requests are counted at the
//! registry. Those that take chunks in a way of their own get a layer that is more than one chunk as well; with
//! `STRATA_LONG=1` all do, and it has 150 MiB.

use std::fs;

use kit::image::random::Random;
use kit::registry::profile::{Chunks, Head, LOGIN, Mounts, Profile, Referrers, Said};
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
        let (user, password) = LOGIN;
        let login = auth::base64(format!("{user}:{password}").as_bytes());
        let host = self.registry.host();
        let logins = format!(r#"{{"auths":{{"{host}":{{"auth":"{login}"}}}}}}"#);
        let script = format!("export DOCKER_AUTH_CONFIG='{logins}'; {script}");
        let output = pipeline::sh(sandbox, &script);
        let name = self.profile.name;
        assert_eq!(output.code(), 0, "{name}: {}\n{}", output.text(), self.registry.log());
        output
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
        assert!(received < 2 * self.size, "{}: {received}", self.profile.name);
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
                assert!(received < 2 * self.size, "{}: {received}", self.profile.name);
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
        assert!(received < 2 * self.size + 600 * KIB as u64, "{}: {received}", self.profile.name);
    }

    /// With a connection that breaks off in the middle of the largest layer.
    fn pulls(&self) {
        let name = self.registry.name("team/app:1");
        let layers = self.image.layer_blobs();
        let large = layers.iter().max_by_key(|blob| blob.bytes.len()).unwrap();
        let path = if self.profile.has_storage { "/storage/" } else { "/blobs/" };
        let cut = Fault::on(&format!("{path}{}", large.digest)).method("GET").times(1);
        self.registry.fault(cut.close_after(3 * MIB as u64));
        let sandbox = Sandbox::new();
        self.run(&sandbox, &format!("pull --no-stream {name}"));
        assert!(self.registry.sent_twice(path).is_empty(), "{}", self.registry.log());
        self.run(&sandbox, &format!("pull {name} | unpack root"));
        let unpacked = fs::read(sandbox.path("root/files/0")).unwrap();
        assert_eq!(unpacked.len(), KIB, "{}", self.profile.name);
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
    let place = Place::new(profile, &[KIB, MIB, 6 * MIB]);
    place.pushes_from_the_store();
    place.mounts();
    place.pushes_out_of_a_pipe();
    place.pulls();
    place.carries_referrers();
    let is_long = std::env::var_os("STRATA_LONG").is_some_and(|value| value == "1");
    let is_peculiar = profile.uploads.largest.is_some()
        || !matches!(profile.uploads.chunks, Chunks::Taken(202, Said::All));
    let size = if is_long { 150 * MIB } else { 66 * MIB };
    if is_long || is_peculiar {
        let place = Place::new(profile, &[KIB, size]);
        place.pushes_from_the_store();
        place.pushes_out_of_a_pipe();
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
