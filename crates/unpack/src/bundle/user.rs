//! Whom an image's `User` means, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! As with docker: a user's own group and those that list the user are his, unless a group is named as well; a number
//! needs no entry.

use anyhow::Context as _;
use cli::{Code, Failure};
use rootfs::Root;

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
/// No sane file of users is larger.
const LIMIT: u64 = 8 << 20;
/// Runtimes take no larger number.
const MAX_ID: u32 = i32::MAX as u32;

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Further groups, in the file's order.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

impl User {
    /// Root, whatever the files say.
    pub(super) fn root() -> Self {
        Self { uid: 0, gid: 0, groups: vec![], home: "/root".to_owned() }
    }

    /// Looks up `user`, `uid`, `user:group` and the like; nothing means root.
    pub(super) fn find(text: &str, rootfs: &Root) -> anyhow::Result<Self> {
        let read = |path| rootfs.read_beneath(path, LIMIT).with_context(|| format!("/{path}"));
        let (passwd, group) = (read(PASSWD)?, read(GROUP)?);
        find(text, &passwd.unwrap_or_default(), &group.unwrap_or_default()).ok_or_else(|| {
            let text = cli::report::clean(text);
            let message =
                format!("the image's user {text} is not in its /etc/passwd and /etc/group");
            Failure::new(Code::Untrusted, message).into()
        })
    }
}

/// A line of the file of users.
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

fn find(text: &str, passwd: &[u8], group: &[u8]) -> Option<User> {
    let (user, wanted_group) = text.split_once(':').unwrap_or((text, ""));
    let user = if user.is_empty() { "0" } else { user };
    let by_name = accounts(passwd).find(|account| account.name == user.as_bytes());
    let number = || user.parse().ok().filter(|&uid| uid <= MAX_ID);
    let account = by_name.or_else(|| {
        let uid = number()?;
        accounts(passwd).find(|account| account.uid == uid)
    });
    let uid = account.as_ref().map(|account| account.uid).or_else(number)?;
    let home = account.as_ref().map_or_else(
        || if uid == 0 { "/root".to_owned() } else { "/".to_owned() },
        |account| String::from_utf8_lossy(account.home).into_owned(),
    );
    if !wanted_group.is_empty() {
        let by_name = groups(group).find(|(name, ..)| *name == wanted_group.as_bytes());
        let number = || wanted_group.parse().ok().filter(|&gid| gid <= MAX_ID);
        let gid = by_name.map(|(_, gid, _)| gid).or_else(number)?;
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

/// Name, number and members.
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
    fn names_come_before_numbers() {
        check("1001", Some((7, 8, &[], "/seven")));
        check("me:12", Some((1000, 13, &[], "/home/me")));
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        check("2000", Some((2000, 0, &[], "/")));
        check("2000:3000", Some((2000, 3000, &[], "/")));
        for text in ["you", "me:nobody", "big", "4294967295", "-1", "2147483648", "broken"] {
            check(text, None);
        }
    }
}
