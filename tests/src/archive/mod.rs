//! Images as the archives that programs write, rebuilt by description.
//!
//! Each [`Producer`] names the tool and version whose order, names and metadata it has. A
//! [`Shape`] changes what is round about: prefixes, directory entries, the end, compression.

mod combined;
mod docker;
mod parts;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::Value;

use crate::image::codec::Codec;
use crate::image::layer::Layer;
use crate::image::{Content, digest};
use crate::or_panic::OrPanic as _;

/// An image under one full name, `docker.io/library/nginx:latest`.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name, tag included.
    pub name: String,
    /// What it points at.
    pub content: Content,
}

impl Named {
    /// A name for an image or an index.
    pub fn new(name: &str, content: impl Into<Content>) -> Self {
        Self { name: name.to_owned(), content: content.into() }
    }

    /// The name without its tag, and the tag.
    pub(crate) fn split(&self) -> (&str, &str) {
        self.name.rsplit_once(':').or_panic(format!("a tag in {}", self.name))
    }

    /// The name as Docker shows it.
    pub(crate) fn short(&self) -> &str {
        let name = self.name.strip_prefix("docker.io/").unwrap_or(&self.name);
        name.strip_prefix("library/").unwrap_or(name)
    }
}

/// Who wrote an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producer {
    /// Our own image stream: OCI layout and docker-archive at once, metadata first.
    Strata,
    /// docker 25 and later, graph drivers: blobs sorted, layers uncompressed, metadata last.
    Docker25,
    /// docker 26 and later with the containerd store, and buildkit's `type=oci`: the same order,
    /// layers as stored; an index's entries for other platforms have no blobs. `ctr` as well.
    DockerContainerd,
    /// docker 20.10: a directory a layer, the second copy of a layer a link to the first.
    Docker24,
    /// skopeo 1.9 and podman 4.3, `docker-archive:`: layers by diff id, legacy directories of
    /// links, metadata last.
    SkopeoDocker,
    /// skopeo 1.9 and podman 4.3, `oci-archive:`: a layout's directory, sorted; no manifest.json.
    SkopeoOci,
    /// crane 0.20: the config under its digest, layers `<hex>.tar.gz`, manifest.json last.
    Crane,
    /// regctl 0.4: a layout with manifest.json, metadata first, directories without parents.
    Regctl,
}

impl Producer {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Strata,
        Self::Docker25,
        Self::DockerContainerd,
        Self::Docker24,
        Self::SkopeoDocker,
        Self::SkopeoOci,
        Self::Crane,
        Self::Regctl,
    ];

    /// The archive of these images, exactly as the producer shapes it.
    pub fn write(self, images: &[Named]) -> Vec<u8> {
        self.write_as(images, &Shape::PLAIN)
    }

    /// The archive of these images in another shape.
    ///
    /// What a producer cannot hold it leaves out: the legacy forms have of an index only its
    /// first image, and [`Self::DockerContainerd`] the blobs of that image alone.
    pub fn write_as(self, images: &[Named], shape: &Shape) -> Vec<u8> {
        shape.write(match self {
            Self::Strata => combined::strata(images),
            Self::Docker25 => combined::docker_25(images),
            Self::DockerContainerd => combined::docker_containerd(images),
            Self::Docker24 => docker::docker_24(images),
            Self::SkopeoDocker => docker::skopeo(images),
            Self::SkopeoOci => combined::skopeo(images),
            Self::Crane => docker::crane(images),
            Self::Regctl => combined::regctl(images),
        })
    }
}

/// Whether an archive has entries for directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directories {
    /// As the producer does it.
    AsProducer,
    /// One before the first file of each directory.
    Always,
    /// None.
    Never,
}

/// What is round about the members of an archive; start from [`Shape::PLAIN`].
#[derive(Clone, Debug)]
pub struct Shape {
    /// What stands before each name: `""` or `"./"`.
    pub prefix: &'static str,
    /// Entries for directories.
    pub directories: Directories,
    /// Bytes after the two zero blocks.
    pub trailing: Vec<u8>,
    /// Compression of the whole.
    pub outer: Codec,
}

impl Shape {
    /// Exactly as the producer writes.
    pub const PLAIN: Self = Self {
        prefix: "",
        directories: Directories::AsProducer,
        trailing: Vec::new(),
        outer: Codec::None,
    };

    fn write(&self, members: Vec<Member>) -> Vec<u8> {
        let members = match self.directories {
            Directories::AsProducer => members,
            Directories::Never => without_directories(members),
            Directories::Always => with_directories(members),
        };
        let mut tar = Layer::new();
        if self.prefix == "./" && self.directories != Directories::Never {
            tar = tar.dir("./", 0o755);
        }
        for member in members {
            let path = format!("{}{}", self.prefix, member.path);
            tar = match member.kind {
                Kind::Dir => tar.dir(&path, 0o755).named(&path),
                Kind::File(bytes) => tar.file(path, bytes),
                Kind::Symlink(target) => tar.symlink(path, target),
            };
            tar = tar.mode(member.mode).mtime(0, 0);
        }
        let end = [&[0; 1024], self.trailing.as_slice()].concat();
        self.outer.encode(&tar.end(end).tar())
    }
}

fn without_directories(members: Vec<Member>) -> Vec<Member> {
    members.into_iter().filter(|member| !matches!(member.kind, Kind::Dir)).collect()
}

fn with_directories(members: Vec<Member>) -> Vec<Member> {
    let mut all: Vec<Member> = Vec::new();
    for member in without_directories(members) {
        for (slash, _) in member.path.match_indices('/') {
            let dir = &member.path[..=slash];
            if !all.iter().any(|known| known.path == dir) {
                all.push(Member::dir(dir));
            }
        }
        all.push(member);
    }
    all
}

#[derive(Clone, Debug)]
enum Kind {
    Dir,
    File(Vec<u8>),
    Symlink(String),
}

/// One member of an archive.
#[derive(Clone, Debug)]
struct Member {
    path: String,
    kind: Kind,
    mode: u32,
}

impl Member {
    fn dir(path: &str) -> Self {
        Self { path: path.to_owned(), kind: Kind::Dir, mode: 0o755 }
    }

    fn file(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), kind: Kind::File(bytes.into()), mode: 0o644 }
    }

    fn json(path: &str, value: &Value) -> Self {
        Self::file(path, value.to_string())
    }

    fn symlink(path: String, target: String) -> Self {
        Self { path, kind: Kind::Symlink(target), mode: 0o777 }
    }

    fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
}

/// Our image stream without the blobs of some digests, and with the given `strata.json`.
pub fn thin(images: &[Named], left_out: &[&str], strata: &Value) -> Vec<u8> {
    let mut members = combined::strata(images);
    members.retain(|member| {
        let hex = member.path.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty());
        !hex.is_some_and(|hex| left_out.iter().any(|digest| digest.ends_with(hex)))
    });
    members.insert(3, Member::json("strata.json", strata));
    Shape::PLAIN.write(members)
}

/// An OCI layout in a directory, which is made. `ref.name` is the full name, as in a store.
pub fn layout(dir: impl AsRef<Path>, images: &[Named]) {
    let dir = dir.as_ref();
    let doing = || format!("write a layout to {}", dir.display());
    std::fs::create_dir_all(dir.join("blobs/sha256")).or_panic(doing());
    for member in combined::layout(images) {
        if let Kind::File(bytes) = member.kind {
            std::fs::write(dir.join(member.path), bytes).or_panic(doing());
        }
    }
}

/// A directory as skopeo's `dir:` transport writes it, which is made: `manifest.json`, manifests that it lists as
/// `HEX.manifest.json`, and all other blobs by their digits.
pub fn skopeo_directory(dir: impl AsRef<Path>, content: impl Into<Content>) {
    let dir = dir.as_ref();
    let content = content.into();
    let doing = || format!("write a directory to {}", dir.display());
    std::fs::create_dir_all(dir).or_panic(doing());
    std::fs::write(dir.join("version"), "Directory Transport Version: 1.1\n").or_panic(doing());
    for blob in &content.blobs {
        let is_manifest = blob.media_type.contains("manifest") || blob.media_type.contains("index");
        let name = match is_manifest {
            true if blob.digest == content.digest() => "manifest.json".to_owned(),
            true => format!("{}.manifest.json", blob.hex()),
            false => blob.hex().to_owned(),
        };
        std::fs::write(dir.join(name), &blob.bytes).or_panic(doing());
    }
}

/// Extracts an archive as some programs do, apptainer and syft among them: what has no parent yet is an error.
///
/// # Errors
///
/// Which member couldn't be made, and why.
pub fn extract_without_parents(archive: &[u8], dir: impl AsRef<Path>) -> Result<(), String> {
    for member in crate::tarball::read(archive)? {
        let path = dir.as_ref().join(OsStr::from_bytes(&member.path));
        let made = match member.flag {
            b'5' => std::fs::create_dir(&path),
            _ => std::fs::write(&path, &archive[member.content]),
        };
        made.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// An archive of any members, in the order given, for what no producer writes.
pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let members = members.iter().map(|(path, bytes)| Member::file(*path, *bytes)).collect();
    Shape::PLAIN.write(members)
}

#[cfg(test)]
mod tests;
