//! Image names as other tools spell them: with a transport before them (containers-transports(5)), or as a URL.
//!
//! Our own prefixes are among them, for where a name is meant they are as much out of place. None of them is a name here. What their owner typed them for, and what to type instead, is told in hints.

/// A word for an image with another tool's transport before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign<'a> {
    /// `docker://NAME`, `https://NAME`: the name of an image at a registry.
    Registry(&'a str),
    /// `docker-archive:PATH`, `oci-archive:PATH`, and `archive:PATH`, which is ours: an archive file.
    Archive(Place<'a>),
    /// `oci:PATH`, `ocidir://PATH`, `dir:PATH`, and `layout:PATH`, which is ours: a directory that holds images.
    Layout(Place<'a>),
    /// `docker-daemon:NAME`: an image of docker.
    Docker(&'a str),
    /// `containers-storage:NAME`: an image of podman.
    Podman(&'a str),
}

/// A path, and the name of one of the images there: `PATH:NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    path: &'a str,
    name: Option<&'a str>,
}

impl<'a> Foreign<'a> {
    /// What a word means elsewhere; `None` if it has no such transport.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return Some(match scheme {
                "ocidir" => Self::Layout(Place::of(rest)),
                _ => Self::Registry(rest.trim_end_matches('/')),
            });
        }
        let (transport, rest) = text.split_once(':')?;
        Some(match transport {
            "docker-archive" | "oci-archive" | "archive" => Self::Archive(Place::of(rest)),
            "oci" | "dir" | "layout" => Self::Layout(Place::of(rest)),
            "docker-daemon" => Self::Docker(rest),
            // A place of the storage may stand before the name, in brackets.
            "containers-storage" => Self::Podman(rest.rsplit(']').next().unwrap_or(rest)),
            _ => return None,
        })
    }

    /// What to type for an image that is read, where archives and layouts will do.
    pub fn as_image(&self) -> String {
        match self {
            Self::Archive(place) => format!("archive:{}{}", place.path, place.option()),
            Self::Layout(place) => format!("layout:{}{}", place.path, place.option()),
            _ => self.as_stored(),
        }
    }

    /// What to type for an image that must be in the store.
    pub fn as_stored(&self) -> String {
        match self {
            Self::Registry(name) => {
                format!("pull {name} brings it into the store, where it is {name}")
            }
            Self::Archive(place) | Self::Layout(place) => {
                let (path, option) = (place.path, place.option());
                format!("load {path}{option} brings it into the store")
            }
            Self::Docker(name) => format!("docker save {name} | load"),
            Self::Podman(name) => format!("podman save {name} | load"),
        }
    }

    /// What to type for a name that is at a registry, or is given to an image.
    pub fn as_name(&self) -> String {
        match self {
            Self::Registry(name) => format!("without the scheme: {name}"),
            Self::Archive(Place { path, .. }) => {
                format!("load {path} reads it, save IMAGE > {path} writes it")
            }
            Self::Layout(Place { path, .. }) => {
                format!("load {path} reads it, save IMAGE | load --store {path} writes it")
            }
            Self::Docker(name) => {
                format!("docker save {name} | load brings it here, save {name} | docker load there")
            }
            Self::Podman(name) => {
                format!("podman save {name} | load brings it here, save {name} | podman load there")
            }
        }
    }
}

impl<'a> Place<'a> {
    /// What skopeo calls `PATH[:NAME][@INDEX]`: a colon ends a path there.
    fn of(text: &'a str) -> Self {
        let (path, name) = text.split_once(':').unwrap_or((text, ""));
        Self { path, name: Some(name).filter(|name| !name.is_empty() && !name.starts_with('@')) }
    }

    /// The option that means the image of that name.
    fn option(&self) -> String {
        self.name.map(|name| format!(" --image {name}")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_tools_words_are_told_from_names() {
        let cases = [
            ("docker://nginx:1.27", Foreign::Registry("nginx:1.27")),
            ("oci://r.test/chart", Foreign::Registry("r.test/chart")),
            ("https://r.test/a/b:1/", Foreign::Registry("r.test/a/b:1")),
            (
                "docker-archive:/tmp/a.tar:app:1",
                Foreign::Archive(Place { path: "/tmp/a.tar", name: Some("app:1") }),
            ),
            ("oci-archive:a.tar", Foreign::Archive(Place { path: "a.tar", name: None })),
            ("oci:dir:1", Foreign::Layout(Place { path: "dir", name: Some("1") })),
            ("oci:dir:@0", Foreign::Layout(Place { path: "dir", name: None })),
            ("ocidir://dir:1", Foreign::Layout(Place { path: "dir", name: Some("1") })),
            ("docker-daemon:app:1", Foreign::Docker("app:1")),
            ("containers-storage:[overlay@/var/lib]app:1", Foreign::Podman("app:1")),
        ];
        for (text, expected) in cases {
            assert_eq!(Foreign::parse(text), Some(expected), "{text}");
        }
        for text in ["nginx", "nginx:1", "oci", "localhost:5000/oci:1", "dir", ""] {
            assert_eq!(Foreign::parse(text), None, "{text}");
        }
    }
}
