//! What the errors of `layer-format` mean to the user of our programs.

use layer_format::Error;

use crate::foreign::Foreign;
use crate::kind::{ErrorKind, HasKind};

/// What to do about a stream that leaves out layers which are needed.
pub const STREAM_WHOLE: &str =
    "stream the image whole: pull without --no-layers, save without --base and --have";

impl HasKind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::MalformedReference { .. }
            | Self::MalformedPlatform { .. }
            | Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::NotFound { .. }
            | Self::NoPlatform { .. }
            | Self::MissingLayer { .. }
            | Self::LeftOut { .. } => ErrorKind::NotFound,
            Self::Io { .. } | Self::Unsupported { .. } => ErrorKind::Failed,
            _ => ErrorKind::Untrusted,
        }
    }

    fn advice(&self, program: &str) -> Option<String> {
        match self {
            Self::ForeignCodec { what, undo, .. } if *what == Self::ARCHIVE => {
                let rest = if program == "load" { "" } else { " …" };
                Some(format!("{undo} FILE | {program}{rest}"))
            }
            Self::MalformedReference { text, .. } => {
                Foreign::parse(text).map(|foreign| foreign.as_name())
            }
            Self::LeftOut { documents_only: true, .. } => Some(STREAM_WHOLE.to_owned()),
            Self::LeftOut { documents_only: false, .. } => {
                Some("load it into a store that has its base, and take it from there".to_owned())
            }
            Self::RootFileSystem => {
                Some("commit --base scratch -t NAME < FILE makes an image of it".to_owned())
            }
            Self::NoPlatform { present, .. } => match &present[..] {
                [] => None,
                [only] => Some(format!("--platform {only} takes that one")),
                [first, ..] => Some(format!("choose one with --platform, as --platform {first}")),
            },
            Self::MissingMember { image: Some(image), .. } => {
                Some(format!("where it was saved: docker pull {image}, then save it again"))
            }
            Self::MissingMember { image: None, .. } => {
                Some("where it was saved: pull the image again, then save it again".to_owned())
            }
            Self::MissingLayer { .. } if program == "load" => {
                Some("load or pull the image that it was built on first".to_owned())
            }
            Self::MissingLayer { .. } => Some(
                "load it into a store that has the image that it was built on, and take it from there"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
