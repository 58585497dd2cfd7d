//! Notes about the unions that are mounted, and whether one still is.
//!
//! A mount outlives the program that makes it, and a command outlives every lock that it might inherit and close. So each union
//! leaves a note, written while its lease still lives, and a note counts until its union is proven to be gone:
//!
//! | proof | why |
//! |---|---|
//! | the note is of another boot, from before this one | mounts end with the kernel |
//! | no file system has its device number | a mount has it, wherever it is |
//! | something else in sight has its number | it was given anew |
//! | every process that could have it was seen, and none has | only if the kernel doesn't tell about numbers |
//!
//! A note is named for boot and device number, so that a union that is given the number of another takes the place of its
//! note: there are never more notes than unions at once.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::alive;
use super::extracted::{Extracted, name};
#[cfg(not(target_os = "linux"))]
use super::no_sight as sight;
#[cfg(target_os = "linux")]
use super::sight;
use crate::Result;
use crate::error::Error;
use crate::locked_file;
use crate::store::{Durability, Folder, Store};
use crate::system;
use sight::{Sight, pid_namespace};

/// Which processes may see a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Every process with a copy of the mount namespace in which it was mounted.
    Public,
    /// One command and its descendants: it was mounted in a namespace of its own.
    Private,
}

/// A note about a union that was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The kernel's boot id at that time, if `/proc` told it.
    boot: Option<String>,
    /// The device number of the overlay.
    device: u64,
    /// The PID namespace it was mounted from.
    pids: Option<u64>,
    reach: Reach,
    /// The names of the layers.
    pub(super) layers: Vec<String>,
}

/// Whether the union of a note is still mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A visible process has it mounted.
    Mounted,
    /// It is gone.
    Over,
    /// It may be mounted; the reason why that isn't known.
    Unknown(&'static str),
}

impl Store {
    /// Notes that a union of these layers is mounted, so that gc keeps them while it is. `root` is the union's root directory.
    /// The lease that protects the layers' keys must live until this returns.
    pub fn note_union(&self, root: impl AsFd, layers: &[Extracted], reach: Reach) -> Result<()> {
        let stat = rustix::fs::fstat(root)
            .map_err(|errno| Error::io("looking at the union", self.path())(errno.into()))?;
        let layers = layers.iter().map(|layer| name(&layer.about().key)).collect();
        let note = Note {
            boot: boot_id(),
            device: system::device(&stat),
            pids: pid_namespace(),
            reach,
            layers,
        };
        let path = self.folder(Folder::Unions).join(note.file_name());
        let content = serde_json::to_vec(&note)
            .map_err(|source| Error::MalformedJson { path: path.clone(), source })?;
        // A gc that is judging the note of this number must not remove this one for it.
        let _guard = self.lock()?;
        self.replace(&path, &content, Durability::Cached)
    }
}

impl Note {
    fn file_name(&self) -> String {
        format!("{}_{:x}.json", self.boot.as_deref().unwrap_or("unknown"), self.device)
    }

    /// Reads a note; `None` if it was written before this boot, or is gone.
    pub(super) fn read(path: &Path, here: &Here) -> Result<Option<Self>> {
        let Some(metadata) = locked_file::metadata(path)? else { return Ok(None) };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let boot = name.split_once('_').map(|(boot, _)| boot).filter(|boot| *boot != "unknown");
        let modified = metadata.modified().map_err(Error::io("looking at", path))?;
        if boot.is_some_and(|boot| here.is_earlier_boot(boot, modified)) {
            return Ok(None);
        }
        let content = fs::read(path).map_err(Error::io("reading", path))?;
        let note = serde_json::from_slice(&content);
        note.map(Some).map_err(|source| Error::MalformedJson { path: path.to_owned(), source })
    }

    /// Whether the union is still mounted.
    pub(super) fn judge(&self, here: &Here) -> Verdict {
        if self.boot.is_some() && here.boot.is_some() && self.boot != here.boot {
            return Verdict::Unknown("another machine has written to this store");
        }
        self.judge_by(alive::has_device(self.device), &here.sight)
    }

    fn judge_by(&self, is_alive: Option<bool>, sight: &Sight) -> Verdict {
        let of_number = || sight.overlays.iter().filter(|(device, _)| *device == self.device);
        let is_ours = |line: &str| self.layers.iter().any(|name| line.contains(name));
        if of_number().any(|(_, line)| is_ours(line)) {
            return Verdict::Mounted;
        }
        let is_anothers = of_number().next().is_some() || sight.others.contains(&self.device);
        if is_alive == Some(false) || is_anothers {
            return Verdict::Over;
        }
        let is_seen = match self.reach {
            // Processes that the command started are in its PID namespace, or in one below.
            Reach::Private => {
                sight.is_of_all()
                    || sight.hidden.is_none() && self.pids.is_some() && self.pids == sight.pids
            }
            Reach::Public => sight.is_of_all(),
        };
        match (is_alive, sight.hidden, is_seen) {
            (None, _, true) => Verdict::Over,
            (_, Some(why), _) => Verdict::Unknown(why),
            (_, None, true) => Verdict::Unknown("it may be detached and still in use"),
            (_, None, false) => Verdict::Unknown("other PID namespaces are out of sight"),
        }
    }
}

/// The state of this machine at one moment.
#[derive(Clone, Debug)]
pub(super) struct Here {
    boot: Option<String>,
    /// When this kernel was booted.
    since: SystemTime,
    pub(super) sight: Sight,
}

impl Here {
    pub(super) fn look() -> Self {
        let since =
            SystemTime::now().checked_sub(system::uptime()).unwrap_or(SystemTime::UNIX_EPOCH);
        Self { boot: boot_id(), since, sight: Sight::look() }
    }

    /// Whether a file that was written at this time, during this boot, is from before the current boot. A later file with
    /// another boot id is from another machine.
    fn is_earlier_boot(&self, boot: &str, modified: SystemTime) -> bool {
        self.boot.as_deref().is_some_and(|this| this != boot) && modified < self.since
    }
}

fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim_end();
    let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (!id.is_empty() && id.bytes().all(is_plain)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FIRST: Option<u64> = Some(0xefff_fffc);
    const OTHER: Option<u64> = Some(0xf000_0001);

    fn note(reach: Reach) -> Note {
        let layers = vec!["0123456789abcdef0123".to_owned()];
        let device = rustix::fs::makedev(0, 45);
        Note { boot: Some("b".to_owned()), device, pids: OTHER, reach, layers }
    }

    fn sight(pids: Option<u64>, lines: &str) -> Sight {
        let mut sight = Sight { pids, ..Sight::default() };
        sight.add(lines);
        sight
    }

    const OURS: &str = "1 2 0:45 / /m ro - overlay x ro,lowerdir+=/s/0123456789abcdef0123/tree";
    const ANOTHERS: &str = "1 2 0:45 / /m ro - overlay x ro,lowerdir=/var/lib/docker/l/X";
    const TMPFS: &str = "1 2 0:45 / /m ro - tmpfs x ro";
    const ELSEWHERE: &str =
        "1 2 0:46 / /m ro - overlay x ro,lowerdir+=/s/0123456789abcdef0123/tree";

    #[test]
    fn what_is_in_sight_is_mounted_whatever_the_kernel_says_of_numbers() {
        for is_alive in [None, Some(true), Some(false)] {
            let verdict = note(Reach::Public).judge_by(is_alive, &sight(OTHER, OURS));
            assert_eq!(verdict, Verdict::Mounted);
        }
    }

    #[test]
    fn a_number_that_is_free_or_given_anew_is_proof() {
        let blind = Sight { hidden: Some("hidden"), ..sight(OTHER, "") };
        assert_eq!(note(Reach::Public).judge_by(Some(false), &blind), Verdict::Over);
        for line in [ANOTHERS, TMPFS] {
            let sight = sight(OTHER, line);
            assert_eq!(note(Reach::Public).judge_by(Some(true), &sight), Verdict::Over);
            assert_eq!(note(Reach::Public).judge_by(None, &sight), Verdict::Over);
        }
    }

    #[test]
    fn where_the_kernel_does_not_tell_only_who_sees_all_knows() {
        let judge = |reach, sight: &Sight| note(reach).judge_by(None, sight) == Verdict::Over;
        assert!(judge(Reach::Public, &sight(FIRST, ELSEWHERE)));
        assert!(judge(Reach::Private, &sight(FIRST, "")));
        // In its own PID namespace a command's mount is seen, another's perhaps not.
        assert!(judge(Reach::Private, &sight(OTHER, "")));
        assert!(!judge(Reach::Public, &sight(OTHER, "")));
        for pids in [None, Some(0xf000_0002)] {
            assert!(!judge(Reach::Private, &sight(pids, "")));
        }
        for pids in [FIRST, OTHER] {
            let hidden = Sight { hidden: Some("hidden"), ..sight(pids, "") };
            assert!(!judge(Reach::Private, &hidden) && !judge(Reach::Public, &hidden));
        }
    }

    #[test]
    fn a_number_that_something_out_of_sight_has_is_no_proof() {
        let verdict = note(Reach::Private).judge_by(Some(true), &sight(FIRST, ""));
        assert!(matches!(verdict, Verdict::Unknown(_)));
    }

    #[test]
    fn a_boot_is_over_only_if_it_was_before_this_one() {
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let here = |boot: Option<&str>| Here {
            boot: boot.map(str::to_owned),
            since: now,
            sight: Sight::default(),
        };
        assert!(here(Some("this")).is_earlier_boot("that", now - hour));
        assert!(!here(Some("this")).is_earlier_boot("that", now + hour));
        assert!(!here(Some("this")).is_earlier_boot("this", now - hour));
        assert!(!here(None).is_earlier_boot("that", now - hour));
        let verdict = note(Reach::Public).judge(&here(Some("this")));
        assert!(matches!(verdict, Verdict::Unknown(_)));
    }

    #[test]
    fn half_a_note_is_an_error_unless_its_boot_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let here = Here::look();
        let path = dir.path().join(note(Reach::Public).file_name());
        assert_eq!(Note::read(&path, &here).unwrap(), None);
        fs::write(&path, "").unwrap();
        assert!(matches!(Note::read(&path, &here), Err(Error::MalformedJson { .. })));
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(here.since - Duration::from_secs(3600)).unwrap();
        assert_eq!(Note::read(&path, &here).unwrap(), None);
    }
}
