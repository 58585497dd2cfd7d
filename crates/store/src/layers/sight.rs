//! The overlays that processes have mounted, as far as `/proc` shows them, and how reliable that is.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::PROC_SUPER_MAGIC;
use rustix::thread::CapabilitySet;

/// The initial PID namespace's number, the same in every kernel.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// The mounts of all visible processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// A line for each overlay, with its device number and the names of its layers in it.
    pub(super) overlays: Vec<(u64, String)>,
    /// The device numbers of everything else that is mounted.
    pub(super) others: HashSet<u64>,
    /// The PID namespace whose processes `/proc` shows.
    pub(super) pids: Option<u64>,
    /// Why some processes of that namespace were not seen; `None` if all were.
    pub(super) hidden: Option<&'static str>,
}

impl Sight {
    /// Looks at every process, twice: one look could miss a process that was started by one that ended meanwhile.
    pub(super) fn look() -> Self {
        let mut sight = Self { pids: pid_namespace(), ..Self::default() };
        if let Err(why) = is_proc() {
            sight.hidden = Some(why);
        }
        for _ in 0..2 {
            if let Err(why) = sight.add_processes() {
                sight.hidden.get_or_insert(why);
            }
        }
        sight
    }

    /// Whether every process of the machine was seen.
    pub(super) fn is_of_all(&self) -> bool {
        self.hidden.is_none() && self.pids == Some(FIRST_PID_NAMESPACE)
    }

    fn add_processes(&mut self) -> Result<(), &'static str> {
        const HIDDEN: &str = "/proc can't be read";
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut result = Ok(());
        for process in fs::read_dir("/proc").map_err(|_| HIDDEN)? {
            let process = process.map_err(|_| HIDDEN)?;
            let name = process.file_name();
            if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            match fs::read(process.path().join("mountinfo")) {
                Ok(text) => {
                    if seen.insert(text.clone()) {
                        self.add(&String::from_utf8_lossy(&text));
                    }
                }
                // It has ended.
                Err(error) if is_gone(&error) => {}
                Err(_) => result = Err("not every process's mounts may be looked at"),
            }
        }
        result
    }

    /// Adds the lines of one list of mounts.
    pub(super) fn add(&mut self, mountinfo: &str) {
        for line in mountinfo.lines() {
            let Some(device) = line.split(' ').nth(2).and_then(device) else { continue };
            if !line.contains(" - overlay ") {
                self.others.insert(device);
            } else if !self.overlays.iter().any(|(_, seen)| seen == line) {
                self.overlays.push((device, line.to_owned()));
            }
        }
    }
}

/// Reads `MAJOR:MINOR`.
fn device(text: &str) -> Option<u64> {
    let (major, minor) = text.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // A zombie has no mounts any more.
    let gone = [Errno::NOENT, Errno::SRCH, Errno::INVAL];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Checks that `/proc` shows processes, and all of them to this one; the error says why not.
fn is_proc() -> Result<(), &'static str> {
    let stat = rustix::fs::statfs("/proc").map_err(|_| "/proc can't be read")?;
    // The type of this field depends on the machine.
    if i128::from(stat.f_type) != i128::from(PROC_SUPER_MAGIC) {
        return Err("/proc isn't mounted");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|_| "/proc can't be read")?;
    let proc = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let hides = proc.is_some_and(|line| {
        let options = line.rsplit(' ').next().unwrap_or_default().split(',');
        let mut hidepid = options.filter_map(|it| it.strip_prefix("hidepid="));
        hidepid.any(|value| value != "0" && value != "off")
    });
    let sees_all = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE));
    if hides && !sees_all {
        return Err("/proc hides other users' processes");
    }
    Ok(())
}

/// The number of this process's PID namespace, if `/proc` belongs to that namespace and tells.
pub(super) fn pid_namespace() -> Option<u64> {
    let this: u32 = fs::read_link("/proc/self").ok()?.to_str()?.parse().ok()?;
    if this != std::process::id() {
        return None;
    }
    namespace(Path::new("/proc/self/ns/pid"))
}

fn namespace(link: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(link).ok().map(|it| it.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_are_told_from_other_mounts() {
        let mut sight = Sight::default();
        let text = "36 35 0:45 / /mnt ro,relatime shared:1 - overlay nginx ro,lowerdir=/l/abc/tree\n\
                    37 35 254:0 / / rw - ext4 /dev/vda rw\n\
                    nonsense\n38 35 x:y / / rw - ext4 /dev/vda rw\n";
        sight.add(text);
        sight.add(text);
        assert_eq!(sight.overlays.len(), 1);
        assert_eq!(sight.overlays[0].0, rustix::fs::makedev(0, 45));
        assert_eq!(sight.others, HashSet::from([rustix::fs::makedev(254, 0)]));
    }

    #[test]
    fn a_process_that_has_ended_is_not_one_that_may_not_be_looked_at() {
        use rustix::io::Errno;

        for (errno, expected) in [
            (Errno::NOENT, true),
            (Errno::SRCH, true),
            (Errno::INVAL, true),
            (Errno::ACCESS, false),
            (Errno::PERM, false),
            (Errno::MFILE, false),
        ] {
            assert_eq!(is_gone(&errno.into()), expected, "{errno}");
        }
        assert!(!is_gone(&io::ErrorKind::NotFound.into()), "not the system's");
    }

    #[test]
    fn devices_are_two_numbers() {
        assert_eq!(device("0:45"), Some(rustix::fs::makedev(0, 45)));
        for text in ["", "45", "0:", ":1", "0:x", "1:2:3"] {
            assert_eq!(device(text), None, "{text}");
        }
    }

    #[test]
    fn only_who_sees_all_processes_sees_all() {
        let sight = Sight { pids: Some(FIRST_PID_NAMESPACE), ..Sight::default() };
        assert!(sight.is_of_all());
        assert!(!Sight { pids: Some(4_026_532_000), ..sight.clone() }.is_of_all());
        assert!(!Sight { hidden: Some("hidden"), ..sight }.is_of_all());
    }
}
