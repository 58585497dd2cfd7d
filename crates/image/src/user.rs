//! The user and groups that an image's `User` means, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! A number is an id, even if there is a user of that name, and needs no entry. As in docker and umoci, a process has the user's
//! own group and those that list the user, whether `User` is a name or a number, unless it names a group as well.
//! conversion.md wants a number alone to have none of these groups, config.md wants it to have them.

use std::path::Path;

use rootfs::Root;

use crate::Result;
use crate::source::system;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
/// The largest `/etc/passwd` or `/etc/group` that is read, in bytes.
const LIMIT: u64 = 8 << 20;
/// The largest id that runtimes accept.
const MAX_ID: u32 = i32::MAX as u32;

/// The user and groups that a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The id of the user's group.
    pub gid: u32,
    /// The supplementary groups, in the file's order.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: String,
}

impl User {
    /// Root, without a look into the files.
    pub fn root() -> Self {
        Self { uid: 0, gid: 0, groups: vec![], home: "/root".to_owned() }
    }

    /// Looks up `user`, `uid`, `user:group` and the other forms of the image-spec; an empty text means root. `None` if the files
    /// lack the user or the group.
    ///
    /// # Errors
    /// [`Error::Io`](store::Error::Io) if a file is there and can't be read.
    pub fn find(text: &str, rootfs: &Root) -> Result<Option<Self>> {
        let read = |path: &str| {
            let content = rootfs.read_beneath(path, LIMIT);
            content.map_err(system("reading", &Path::new("/").join(path)))
        };
        let passwd = read(PASSWD)?.unwrap_or_default();
        let group = read(GROUP)?.unwrap_or_default();
        Ok(find(text, &passwd, &group))
    }
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

fn find(text: &str, passwd: &[u8], group: &[u8]) -> Option<User> {
    let (user, wanted_group) = text.split_once(':').unwrap_or((text, ""));
    let user = if user.is_empty() { "0" } else { user };
    let number_of = |text: &str| number(text.as_bytes());
    let uid = number_of(user);
    let is_meant = |account: &Account<'_>| match uid {
        Some(uid) => account.uid == uid,
        None => account.name == user.as_bytes(),
    };
    let account = accounts(passwd).find(is_meant);
    let uid = uid.or_else(|| Some(account.as_ref()?.uid))?;
    let home = account.as_ref().map_or_else(
        || if uid == 0 { "/root".to_owned() } else { "/".to_owned() },
        |account| String::from_utf8_lossy(account.home).into_owned(),
    );
    if !wanted_group.is_empty() {
        let by_name = || groups(group).find(|(name, ..)| *name == wanted_group.as_bytes());
        let gid = number_of(wanted_group).or_else(|| Some(by_name()?.1))?;
        return Some(User { uid, gid, groups: vec![], home });
    }
    let Some(account) = account else { return Some(User { uid, gid: 0, groups: vec![], home }) };
    let lists_him =
        |members: &[u8]| members.split(|&byte| byte == b',').any(|it| it == account.name);
    let groups =
        groups(group).filter(|(.., members)| lists_him(members)).map(|(_, gid, _)| gid).collect();
    Some(User { uid, gid: account.gid, groups, home })
}

fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account<'_>> {
    lines(passwd).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or(b"/");
        Some(Account { name, uid, gid, home })
    })
}

/// A line of `/etc/group`: name, id and members.
fn groups(group: &[u8]) -> impl Iterator<Item = (&[u8], u32, &[u8])> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?;
        let gid = number(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii)
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|&id| id <= MAX_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\nme:x:1000:100:Me:/home/me:/bin/sh\n1001:x:7:8::/seven:\nbig:x:4294967295:0::/:\n";
    const GROUP: &[u8] =
        b"root:x:0:\nusers:x:100:\naudio:x:29:you,me\nvideo:x:44:me\n12:x:13:\nnone:x:x:me\n";

    #[track_caller]
    fn check(text: &str, expected: Option<(u32, u32, &[u32], &str)>) {
        let expected = expected.map(|(uid, gid, groups, home)| User {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        });
        assert_eq!(find(text, PASSWD, GROUP), expected, "{text}");
    }

    #[test]
    fn nothing_is_root() {
        check("", Some((0, 0, &[], "/root")));
        check("root", Some((0, 0, &[], "/root")));
        assert_eq!(find("", b"", b""), Some(User::root()));
    }

    #[test]
    fn a_user_has_his_groups_unless_one_is_named() {
        check("me", Some((1000, 100, &[29, 44], "/home/me")));
        check("1000", Some((1000, 100, &[29, 44], "/home/me")));
        check("me:audio", Some((1000, 29, &[], "/home/me")));
        check("me:5", Some((1000, 5, &[], "/home/me")));
        check(":audio", Some((0, 29, &[], "/root")));
    }

    #[test]
    fn a_number_is_no_name() {
        check("1001", Some((1001, 0, &[], "/")));
        check("7", Some((7, 8, &[], "/seven")));
        check("me:12", Some((1000, 12, &[], "/home/me")));
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        check("2000", Some((2000, 0, &[], "/")));
        check("2000:3000", Some((2000, 3000, &[], "/")));
        check("2147483647:2147483647", Some((MAX_ID, MAX_ID, &[], "/")));
        for text in ["you", "me:nobody", "big", "4294967295", "-1", "2147483648", "broken"] {
            check(text, None);
        }
    }
}
