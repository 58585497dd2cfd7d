//! What a peer is known to get wrong: forgiven line by line, and nothing beside it.

use kit::tree;

/// One known fault: where, what, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The path as a tree shows it; a directory's ends with a slash.
    path: &'static str,
    wrong: Wrong,
}

#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// The peer adds the path.
    Added,
    /// The peer has something of its own there.
    Replaced,
    /// The peer has another time.
    Time,
    /// The peer has no extended attributes.
    Xattrs,
    /// Where it should be the second the peer says the first.
    Says(&'static str, &'static str),
}

/// The peer adds the path.
pub(crate) const fn added(path: &'static str, _reason: &str) -> Fault {
    Fault { path, wrong: Wrong::Added }
}

/// The peer has something of its own at the path.
pub(crate) const fn replaced(path: &'static str, _reason: &str) -> Fault {
    Fault { path, wrong: Wrong::Replaced }
}

/// The peer gives the path another time.
pub(crate) const fn time(path: &'static str, _reason: &str) -> Fault {
    Fault { path, wrong: Wrong::Time }
}

/// The peer loses the path's extended attributes.
pub(crate) const fn xattrs(path: &'static str, _reason: &str) -> Fault {
    Fault { path, wrong: Wrong::Xattrs }
}

/// The peer's line has `wrong` where it should have `right`.
pub(crate) const fn says(
    path: &'static str,
    wrong: &'static str,
    right: &'static str,
    _reason: &str,
) -> Fault {
    Fault { path, wrong: Wrong::Says(wrong, right) }
}

pub(crate) const BEFORE_1970: &str = "times before 1970 become 1970";
pub(crate) const CONTAINER: &str = "docker create sets a container up even when it never runs";
pub(crate) const XATTRS: &str =
    "docker export writes security.capability and no other extended attribute";

/// What is docker's own in every container.
pub(crate) const SETUP: [Fault; 9] = [
    added(".dockerenv", CONTAINER),
    added("etc/hosts", CONTAINER),
    added("etc/mtab", CONTAINER),
    replaced("dev/console", CONTAINER),
    replaced("etc/hostname", CONTAINER),
    replaced("etc/resolv.conf", CONTAINER),
    time("./", CONTAINER),
    time("dev/", CONTAINER),
    time("etc/", CONTAINER),
];
/// What `docker export` loses of a tree.
pub(crate) const EXPORT: [Fault; 3] = [
    says("srv/all/old", "@0", "@-2", BEFORE_1970),
    xattrs("srv/all/noted", XATTRS),
    xattrs("srv/all/trusted/", XATTRS),
];
/// What docker gets wrong where layers lie over each other.
pub(crate) const ANEW: [Fault; 7] = [
    time("srv/", MADE_ANEW),
    time("srv/low/", MADE_ANEW),
    says("srv/low/", "drwxr-xr-x", "drwx--x--x", MADE_ANEW),
    time("srv/low/d-opaque/", MADE_ANEW),
    time("usr/", MADE_ANEW),
    time("usr/share/", MADE_ANEW),
    time("var/", MADE_ANEW),
];
const MADE_ANEW: &str =
    "a directory that its layer has no entry for is made anew, over the one below";

/// Compares our tree with a peer's, which may have these faults, or not have them any more.
#[track_caller]
pub(crate) fn assert_same_but(ours: &str, theirs: &str, faults: &[Fault]) {
    let difference = difference(ours, theirs, faults);
    assert!(difference.is_empty(), "the trees differ:\n{difference}");
}

fn difference(ours: &str, theirs: &str, faults: &[Fault]) -> String {
    let right = ours.lines().filter_map(|line| forgiven(line, faults, Whose::Ours));
    let wrong = theirs.lines().filter_map(|line| forgiven(line, faults, Whose::Theirs));
    tree::diff(&right.collect::<String>(), &wrong.collect::<String>())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Theirs,
}

/// A line as it is compared, with its end; nothing when it is not compared.
fn forgiven(line: &str, faults: &[Fault], whose: Whose) -> Option<String> {
    let path = line.split(' ').nth(2).unwrap_or_default();
    let mut line = line.to_owned();
    for fault in faults.iter().filter(|fault| fault.path == path) {
        match fault.wrong {
            Wrong::Replaced => return None,
            Wrong::Added if whose == Whose::Theirs => return None,
            Wrong::Says(wrong, right) if whose == Whose::Theirs => {
                line = line.replacen(wrong, right, 1);
            }
            Wrong::Added | Wrong::Says(..) => {}
            Wrong::Time => {
                let (start, end) = time_of(&line);
                line.replace_range(start..end, "");
            }
            Wrong::Xattrs => line.truncate(time_of(&line).1),
        }
    }
    Some(line + "\n")
}

/// Where the time stands in a line: ` @1600000000`, the last word but for the extended attributes.
fn time_of(line: &str) -> (usize, usize) {
    let start = line.rfind(" @").unwrap_or(line.len());
    let end = line[start..].char_indices().skip(1).find(|(_, c)| *c == ' ');
    (start, end.map_or(line.len(), |(at, _)| start + at))
}

#[test]
fn a_fault_is_forgiven_where_it_stands_and_nowhere_else() {
    let faults = [
        added("new", ""),
        replaced("own", ""),
        time("dir/", ""),
        xattrs("noted", ""),
        says("old", "@0", "@-2", ""),
    ];
    let ours = "d 0:0 dir/ @1 user.x=\"1\"\n- 0:0 noted 1 \"a\" @2 user.x=\"1\"\n\
                - 0:0 old 0 @-2\n- 0:0 own 1 \"a\" @1\n";
    let theirs = "d 0:0 dir/ @7 user.x=\"1\"\n- 0:0 new 0 @1\n- 0:0 noted 1 \"a\" @2\n\
                  - 0:0 old 0 @0\n- 0:0 own 0 @2\n";
    assert_eq!(difference(ours, theirs, &faults), "");
    assert_eq!(difference(ours, ours, &faults), "");
    for (was, is) in [
        ("dir/ @7", "dirs/ @7"),
        ("x=\"1\"", "x=\"2\""),
        ("@2", "@3"),
        ("\"a\"", "\"b\""),
        ("old 0 @0", "old 0 @1"),
        ("- 0:0 old 0 @0\n", ""),
    ] {
        let changed = theirs.replacen(was, is, 1);
        assert_ne!(difference(ours, &changed, &faults), "", "{was} may be {is}");
    }
    // What a peer adds is not forgiven to us.
    assert_ne!(difference(theirs, ours, &faults), "");
}
