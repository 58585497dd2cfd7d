//! The images: real ones or as large as real ones, made once and kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use kit::archive::layout;
use kit::image::random::{Random, random};
use kit::{Codec, Image, Layer, Named};
use serde_json::Value;

use xtask::run::{run, say};

/// The name under which an image is in its layout and in the registry.
pub(super) const NAME: &str = "bench/image:1";

/// What `debian` has beside the essential packages: about 55,000 entries and 950 MB.
const PACKAGES: &str = "build-essential,curl,git,libboost-dev,libicu-dev,linux-headers-amd64,manpages-dev,perl-doc,python3-dev,vim";

/// Which image.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Kind {
    /// A Debian root file system with compilers and headers, one gzip layer
    Debian,
    /// 100,000 small files in nine gzip layers that change and remove files of each other
    Many,
    /// 1.5 GB in 24 files, one gzip layer
    Big,
    /// The Debian root file system in five gzip layers, and a sixth that replaces and removes files of theirs
    App,
    /// The Debian root file system, compressed with zstd
    Zstd,
    /// Forty gzip layers of a few kilobytes
    Small,
    /// Forty gzip layers of 20 kB, which `latency` takes whatever is said here
    Forty,
}

/// An image on the disk.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Its OCI layout.
    pub(super) layout: PathBuf,
    /// Its layers' blobs, base first.
    pub(super) layers: Vec<PathBuf>,
    /// The program that decompresses them.
    pub(super) codec: &'static str,
    /// How many bytes the blobs have.
    pub(super) n_bytes: u64,
}

impl Kind {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::App => "app",
            Self::Many => "many",
            Self::Big => "big",
            Self::Zstd => "zstd",
            Self::Small => "small",
            Self::Forty => "forty",
        }
    }

    fn codec(self) -> &'static str {
        if self == Self::Zstd { "zstd" } else { "gzip" }
    }

    fn make(self, cache: &Path) -> anyhow::Result<Image> {
        Ok(match self {
            Self::Debian => Image::new().layer(debian(cache)?),
            Self::App => app(cache)?.into_iter().fold(Image::new(), Image::layer),
            Self::Zstd => Image::new().codec(Codec::ZSTD).layer(debian(cache)?),
            Self::Many => random(1, 9, 11_200),
            Self::Big => Image::new().layer(big()),
            Self::Small => random(2, 40, 4),
            Self::Forty => forty(),
        })
    }
}

/// Makes the image, unless an earlier bench has.
pub(super) fn prepare(kind: Kind, cache: &Path) -> anyhow::Result<Prepared> {
    prepare_as(kind.name(), kind.codec(), cache, || kind.make(cache))
}

/// The same for any image. `codec` is the program that decompresses its layers.
pub(super) fn prepare_as(
    name: &str,
    codec: &'static str,
    cache: &Path,
    make: impl FnOnce() -> anyhow::Result<Image>,
) -> anyhow::Result<Prepared> {
    let dir = cache.join(name);
    if !dir.exists() {
        say(&format!("making the image {name}"));
        let fresh = cache.join(format!("{name}.new"));
        if fresh.exists() {
            fs::remove_dir_all(&fresh).context("removing what an earlier bench left")?;
        }
        fs::create_dir_all(cache).context("making the cache")?;
        layout(&fresh, &[Named::new(NAME, make()?)]);
        fs::rename(&fresh, &dir).context("naming the image")?;
    }
    read(codec, dir)
}

fn read(codec: &'static str, layout: PathBuf) -> anyhow::Result<Prepared> {
    let index = json(&layout.join("index.json"))?;
    let manifest = json(&blob(&layout, &index["manifests"][0])?)?;
    let layers = manifest["layers"].as_array().context("the manifest's layers")?;
    let layers: Vec<PathBuf> =
        layers.iter().map(|layer| blob(&layout, layer)).collect::<Result<_, _>>()?;
    let sizes = layers.iter().map(|path| Ok(fs::metadata(path).context("a layer")?.len()));
    let n_bytes = sizes.sum::<anyhow::Result<u64>>()?;
    Ok(Prepared { layout, layers, codec, n_bytes })
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

fn blob(layout: &Path, descriptor: &Value) -> anyhow::Result<PathBuf> {
    let digest = descriptor["digest"].as_str().context("a descriptor's digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

/// A root file system by mmdebstrap, kept too: two images are made of it. One suite by its name, so that figures of two years compare.
fn debian(cache: &Path) -> anyhow::Result<Vec<u8>> {
    let tar = cache.join("debian.tar");
    if !tar.exists() {
        let fresh = cache.join("debian.new.tar");
        let include = format!("--include={PACKAGES}");
        let path = fresh.to_str().context("the target directory's name")?;
        run(&["mmdebstrap", "--quiet", "--variant=minbase", &include, "bookworm", path])?;
        fs::rename(&fresh, &tar).context("naming the root file system")?;
    }
    let bytes = fs::read(&tar).context("reading the root file system")?;
    ensure!(!bytes.is_empty(), "the root file system is empty");
    Ok(bytes)
}

/// The layers of `app`, as steps of a build make them: each has directories that those before have not.
const STEPS: [&str; 5] = [
    "--exclude=./usr .",
    "./usr/bin ./usr/sbin ./usr/include",
    "./usr/lib/gcc ./usr/lib/x86_64-linux-gnu",
    "--exclude=./usr/lib/gcc --exclude=./usr/lib/x86_64-linux-gnu ./usr/lib ./usr/src",
    "./usr/share",
];

/// The sixth layer of `app`: every fifth file of /usr/share anew, and every seventh removed.
const LAST: &str = "cd tree && find usr/share -type f | LC_ALL=C sort > ../files && \
    awk 'NR % 5 == 0' ../files > ../again && awk 'NR % 7 == 0 && NR % 5' ../files > ../gone && \
    mkdir -p ../top && tar -c -T ../again | tar -x -C ../top && cd ../top && find . -type f -exec touch -d @1700000000 {} + && \
    while read -r f; do mkdir -p \"${f%/*}\" && : > \"${f%/*}/.wh.${f##*/}\"; done < ../gone";

fn app(cache: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    debian(cache)?;
    let work = tempfile::Builder::new().prefix("app-").tempdir_in(cache).context("a directory")?;
    let shell = |script: &str| {
        let line = format!("cd '{}' && {script}", work.path().display());
        run(&["bash", "-ec", &line])
    };
    let tar = std::path::absolute(cache.join("debian.tar")).context("the cache's name")?;
    shell(&format!("mkdir tree && tar -x --numeric-owner -f '{}' -C tree", tar.display()))?;
    shell(LAST)?;
    let mut layers = vec![];
    for (position, (dir, step)) in
        STEPS.iter().map(|step| ("tree", *step)).chain([("top", ".")]).enumerate()
    {
        let options =
            "--sort=name --numeric-owner --format=posix --pax-option=delete=atime,delete=ctime";
        shell(&format!("tar -c {options} -f {position}.tar -C {dir} {step}"))?;
        let layer = fs::read(work.path().join(format!("{position}.tar")));
        layers.push(layer.context("reading a layer")?);
    }
    Ok(layers)
}

/// A file in each layer that doesn't compress.
fn forty() -> Image {
    let mut random = Random::new(4);
    let layer = |n| Layer::new().file(format!("file{n}"), random.bytes(20_000));
    (0..40).map(layer).fold(Image::new(), Image::layer)
}

/// Files of 64 MiB that compress to about a third, as programs and libraries do.
fn big() -> Layer {
    let mut random = Random::new(3);
    let words: Vec<Vec<u8>> = (0..512).map(|_| random.bytes(24)).collect();
    let file = |n: u64| {
        let mut random = Random::new(n);
        let mut bytes = Vec::with_capacity(64 << 20);
        while bytes.len() < 64 << 20 {
            let word = usize::try_from(random.below(512)).unwrap_or_default();
            bytes.extend_from_slice(&words[word]);
            bytes.extend(random.number().to_le_bytes());
        }
        bytes
    };
    (0..24).fold(Layer::new(), |layer, n| layer.file(format!("big{n}"), file(n)))
}
