//! The registries that people use, as far as their ways are public.
//!
//! What a source doesn't tell is as in [`SPEC`]. A source is a public thread (`repository#number`) or a page of a manual.

use super::profile::{
    Asked, Catalog, Chunks, Deletes, Errors, Head, Login, Mounts, Profile, Referrers, Said, Uploads,
};

/// Uploads as the distribution spec has them.
const UPLOADS: Uploads = Uploads {
    chunks: Chunks::Taken(202, Said::All),
    takes_whole: true,
    largest: None,
    asked: Asked::Offset,
    keeps_cut: true,
};

/// The distribution spec 1.0, without a login: what a registry is that nothing else is said of.
pub const SPEC: Profile = Profile {
    name: "the spec",
    login: Login::None,
    uploads: UPLOADS,
    mounts: Mounts::Always,
    finds_blobs_elsewhere: false,
    head: Head::Answered,
    has_storage: false,
    referrers: Referrers::Status(404),
    deletes: Deletes::Tags,
    catalog: Catalog::Listed,
    errors: Errors::Spec,
    headers: &[],
};

/// Docker Hub. Tokens of auth.docker.io, blobs from a CDN by 307, no referrers API (oras-java#773), `ratelimit-*` on every
/// answer (docs.docker.com, "Docker Hub pull usage and limits"). Mounts are refused now and then (ggcr#165). Nothing is
/// removed by this API (docker/hub-feedback#1759), and its catalog is for nobody (genuinetools/reg#86).
pub const HUB: Profile = Profile {
    name: "Docker Hub",
    login: Login::Token,
    uploads: Uploads { keeps_cut: false, ..UPLOADS },
    has_storage: true,
    headers: &[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")],
    deletes: Deletes::Nothing,
    catalog: Catalog::Status(401),
    ..SPEC
};

/// GitHub's registry. A chunk of more than 4 MiB is 416, a whole PUT of any size is taken (rust-oci-client#35, ocx#237);
/// an upload that is asked for again is 404 (jib#4301); referrers are a redirect to a page (cosign#4641). Nothing is removed
/// and repositories aren't listed by this API.
pub const GHCR: Profile = Profile {
    name: "GHCR",
    login: Login::Token,
    uploads: Uploads {
        chunks: Chunks::Limited(4 << 20),
        asked: Asked::Status(404),
        keeps_cut: false,
        ..UPLOADS
    },
    has_storage: true,
    referrers: Referrers::Page,
    deletes: Deletes::Nothing,
    catalog: Catalog::Status(404),
    ..SPEC
};

/// AWS ECR. A chunk is 201, its `Range` stays at the first chunk and GET of the upload is no help, but the bytes are there
/// (aws/containers-roadmap#2831, dotnet/sdk#33019, mise#11376); a chunk that comes again is 416
/// (apple/containerization#790); a blob is mounted once a manifest names it (aws/containers-roadmap#2860).
pub const ECR: Profile = Profile {
    name: "AWS ECR",
    login: Login::Basic,
    uploads: Uploads {
        chunks: Chunks::Taken(201, Said::First),
        asked: Asked::Status(404),
        keeps_cut: false,
        ..UPLOADS
    },
    mounts: Mounts::Named,
    has_storage: true,
    referrers: Referrers::Api,
    ..SPEC
};

/// Google's Artifact Registry: no chunked uploads (cloud.google.com/artifact-registry/docs/reference/docker-api,
/// skopeo#1101, kitops#777).
pub const ARTIFACT_REGISTRY: Profile = Profile {
    name: "Artifact Registry",
    login: Login::Token,
    uploads: Uploads { chunks: Chunks::Refused(400), asked: Asked::Status(405), ..UPLOADS },
    has_storage: true,
    referrers: Referrers::Api,
    ..SPEC
};

/// Azure's registry: an upload that broke off can't be taken up (azure-sdk-for-js#25448); 416 now and then, also to a whole
/// PUT (Azure/acr#866); blobs from storage by 307.
pub const ACR: Profile = Profile {
    name: "ACR",
    login: Login::Token,
    uploads: Uploads { keeps_cut: false, ..UPLOADS },
    has_storage: true,
    referrers: Referrers::Api,
    deletes: Deletes::Manifests(400),
    ..SPEC
};

/// GitLab's registry, a fork of distribution 2: no referrers API, and the tag `sha256-HEX` is taken for the digest
/// (oras-go#1396).
pub const GITLAB: Profile = Profile {
    name: "GitLab",
    login: Login::Token,
    uploads: Uploads { keeps_cut: false, ..UPLOADS },
    has_storage: true,
    referrers: Referrers::TagIsDigest,
    ..SPEC
};

/// Quay: referrers are 400 where they aren't turned on, blobs come from a CDN by 307.
pub const QUAY: Profile = Profile {
    name: "Quay",
    login: Login::Token,
    has_storage: true,
    referrers: Referrers::Status(400),
    ..SPEC
};

/// Harbor, distribution 2 behind a core of its own: a mount from a project that isn't there is 401 (harbor#17097,
/// ggcr#1393), referrers were 401 without a challenge before 2.8 (harbor#18305).
pub const HARBOR: Profile = Profile {
    name: "Harbor",
    login: Login::Token,
    uploads: Uploads { keeps_cut: false, ..UPLOADS },
    mounts: Mounts::OrRefused(401),
    referrers: Referrers::Api,
    deletes: Deletes::Manifests(400),
    ..SPEC
};

/// Artifactory: no mounts, but a manifest's blobs are found wherever they are (bazel-contrib/`rules_img`#732); referrers are
/// 406 (ggcr#1962); GET of an upload is 405 (jfrog/charts#1854); uploads vanish now and then (jib#3399).
pub const ARTIFACTORY: Profile = Profile {
    name: "Artifactory",
    login: Login::Token,
    uploads: Uploads { asked: Asked::Status(405), ..UPLOADS },
    mounts: Mounts::Never,
    finds_blobs_elsewhere: true,
    referrers: Referrers::Status(406),
    errors: Errors::Uncoded,
    ..SPEC
};

/// An Artifactory of 2019, which takes a blob by PATCH alone (containerd#3533, buildkit#1130).
pub const OLD_ARTIFACTORY: Profile = Profile {
    name: "an old Artifactory",
    uploads: Uploads { takes_whole: false, asked: Asked::Status(405), ..UPLOADS },
    ..ARTIFACTORY
};

/// Nexus: Basic logins, refusals as pages, and who may not write gets 404 (skopeo#2595).
pub const NEXUS: Profile = Profile {
    name: "Nexus",
    login: Login::Basic,
    mounts: Mounts::Never,
    errors: Errors::Html,
    ..SPEC
};

/// CNCF distribution 2: an upload that broke off in the middle of a body is gone (distribution#3755).
pub const DISTRIBUTION_2: Profile = Profile {
    name: "distribution 2",
    uploads: Uploads { keeps_cut: false, ..UPLOADS },
    deletes: Deletes::Manifests(405),
    ..SPEC
};

/// CNCF distribution 3: what came is kept (distribution#3755); no referrers API (rust-oci-client#259).
pub const DISTRIBUTION_3: Profile = Profile { name: "distribution 3", ..SPEC };

/// zot before 2.1.6: `Range` tells of the last chunk alone (regclient#961), as Aliyun's registry does (regclient#627).
pub const ZOT: Profile = Profile {
    name: "zot",
    uploads: Uploads { chunks: Chunks::Taken(202, Said::Last), ..UPLOADS },
    referrers: Referrers::Api,
    ..SPEC
};

/// The registry of go-containerregistry's tests: a chunk is 204 (ggcr#2198). Here it also answers a mount by 202 without a
/// `Location`, which belongs to no registry that could be named.
pub const GGCR: Profile = Profile {
    name: "ggcr's registry",
    uploads: Uploads {
        chunks: Chunks::Taken(204, Said::Nothing),
        asked: Asked::Status(404),
        ..UPLOADS
    },
    mounts: Mounts::Lost,
    errors: Errors::Text,
    ..SPEC
};

/// A registry behind an nginx with `client_max_body_size 1m` (containers/image#1869).
pub const NGINX_1M: Profile = Profile {
    name: "nginx, 1m",
    uploads: Uploads { largest: Some(1 << 20), ..UPLOADS },
    errors: Errors::Html,
    ..SPEC
};

/// A registry whose HEAD of a blob ends at storage that is only for GET (moby#50065).
pub const HEADLESS: Profile =
    Profile { name: "storage without HEAD", head: Head::Redirected, has_storage: true, ..SPEC };

/// All of them.
pub const ALL: [Profile; 17] = [
    HUB,
    GHCR,
    ECR,
    ARTIFACT_REGISTRY,
    ACR,
    GITLAB,
    QUAY,
    HARBOR,
    ARTIFACTORY,
    OLD_ARTIFACTORY,
    NEXUS,
    DISTRIBUTION_2,
    DISTRIBUTION_3,
    ZOT,
    GGCR,
    NGINX_1M,
    HEADLESS,
];
