//! Ranges of user and group ids: what an image calls 0 is 100000 on the disk, as it is for a user namespace that is made so.
//!
//! Ids stand in three places: the owner, the entries of access control lists, and the root id of file capabilities (version 3 of
//! linux/capability.h, `vfs_ns_cap_data`), which says in which user namespaces a capability counts. On the disk a capability
//! gets the root of the map as its root id, so that nobody outside has it (umoci#261); in an image it has none if that is its
//! root, so that every machine takes it (moby#41723, container-libs#1126).

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

use layer_format::layer::{Entry, is_acl};

use crate::error::{Error, SystemError, UnmappedId};

const CAPABILITY: &[u8] = b"security.capability";
/// The version of a file capability without a root id, in the most significant byte.
const VERSION_2: u8 = 2;
/// The one with a root id.
const VERSION_3: u8 = 3;
/// The length of a capability of version 2 in bytes. The root id comes after these.
const VERSION_2_SIZE: usize = 20;
/// The tags of an access control list's entries that name a user or a group.
const ACL_USER: u8 = 0x02;
const ACL_GROUP: u8 = 0x08;

/// Extended attributes: names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// A range of ids: `CONTAINER:HOST:SIZE`, as umoci and newuidmap have it. Without a size it is one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside.
    pub container: u32,
    /// The first id on the disk.
    pub host: u32,
    /// The number of ids, at least one.
    pub size: u32,
}

/// Ranges that don't overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap(Vec<IdRange>);

/// The ranges of users and of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMaps {
    /// The users'.
    pub users: IdMap,
    /// The groups'.
    pub groups: IdMap,
}

/// From where to where ids are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToDisk,
    ToImage,
}

impl FromStr for IdRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "three numbers are needed, as in 0:100000:65536";
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        let (container, host, size) = match numbers.as_deref() {
            Ok([container, host]) => (*container, *host, 1),
            Ok([container, host, size]) => (*container, *host, *size),
            _ => return Err(FORM),
        };
        // The last id of 32 bits means none.
        let fits = |first: u32| first.checked_add(size).is_some();
        if size == 0 {
            return Err("a range has one id at least");
        }
        if !fits(container) || !fits(host) {
            return Err("it goes beyond the largest id, 4294967294");
        }
        Ok(Self { container, host, size })
    }
}

impl std::fmt::Display for IdRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.size)
    }
}

/// The options that make these maps.
impl std::fmt::Display for IdMaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users = self.users.0.iter().map(|range| format!("--uid-map {range}"));
        // Without one of groups, both are mapped alike.
        let groups = if self.groups == self.users { &[] } else { &self.groups.0[..] };
        let groups = groups.iter().map(|range| format!("--gid-map {range}"));
        f.write_str(&users.chain(groups).collect::<Vec<_>>().join(" "))
    }
}

impl IdMap {
    /// Makes a map of ranges; two that overlap, on either side, are given back.
    ///
    /// # Errors
    /// The first two ranges that overlap.
    pub fn new(ranges: Vec<IdRange>) -> Result<Self, [IdRange; 2]> {
        let overlap =
            |a: u32, b: u32, one: &IdRange, other: &IdRange| a < b + other.size && b < a + one.size;
        for (position, one) in ranges.iter().enumerate() {
            for other in &ranges[..position] {
                if overlap(one.container, other.container, one, other)
                    || overlap(one.host, other.host, one, other)
                {
                    return Err([*other, *one]);
                }
            }
        }
        Ok(Self(ranges))
    }

    /// The ranges.
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    fn map(&self, id: u32, direction: Direction) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let (from, to) = match direction {
                Direction::ToDisk => (range.container, range.host),
                Direction::ToImage => (range.host, range.container),
            };
            let offset = id.checked_sub(from).filter(|&offset| offset < range.size)?;
            Some(to + offset)
        })
    }
}

impl IdMaps {
    /// Makes the maps of ranges. If there are none of groups, or none of users, both are mapped alike; `None` without any.
    ///
    /// # Errors
    /// Two ranges overlap; the text says which.
    pub fn of(users: &[IdRange], groups: &[IdRange]) -> Result<Option<Self>, String> {
        let (users, groups) = match (users, groups) {
            ([], []) => return Ok(None),
            ([], both) | (both, []) => (both, both),
            each => each,
        };
        let map = |ranges: &[IdRange]| {
            let overlap =
                |[one, other]: [IdRange; 2]| format!("the ranges {one} and {other} overlap");
            IdMap::new(ranges.to_vec()).map_err(overlap)
        };
        Ok(Some(Self { users: map(users)?, groups: map(groups)? }))
    }

    /// The group on the disk that is the image's root group.
    pub fn root_group(&self) -> Option<u32> {
        self.groups.map(0, Direction::ToDisk)
    }

    /// The entry as it is on the disk.
    pub(crate) fn entry_on_disk(&self, entry: &Entry) -> Result<Entry, Error> {
        let unmapped = |id| Error::Unmapped { path: entry.path.clone(), id };
        let direction = Direction::ToDisk;
        let (uid, gid) = self.owner(entry.uid, entry.gid, direction).map_err(unmapped)?;
        let mut xattrs = entry.xattrs.clone();
        for (name, value) in &mut xattrs {
            self.xattr(name, value, direction).map_err(unmapped)?;
        }
        Ok(Entry { uid, gid, xattrs, path: entry.path.clone(), kind: entry.kind.clone(), ..*entry })
    }

    /// The owner on the disk of what belongs to the image's root.
    pub(crate) fn root_on_disk(&self) -> Result<(u32, u32), Error> {
        let owner = self.owner(0, 0, Direction::ToDisk);
        owner.map_err(|id| Error::Unmapped { path: layer_format::layer::EntryPath::root(), id })
    }

    /// The owner in the image of what the disk has.
    pub(crate) fn owner_in_image(&self, owner: (u32, u32)) -> Result<(u32, u32), SystemError> {
        self.owner(owner.0, owner.1, Direction::ToImage).map_err(SystemError::unmapped)
    }

    /// Makes extended attributes of the disk those of the image.
    pub(crate) fn xattrs_in_image(
        &self,
        xattrs: &mut [(Vec<u8>, Vec<u8>)],
    ) -> Result<(), SystemError> {
        xattrs.iter_mut().try_for_each(|(name, value)| {
            self.xattr(name, value, Direction::ToImage).map_err(SystemError::unmapped)
        })
    }

    fn owner(&self, uid: u32, gid: u32, direction: Direction) -> Result<(u32, u32), UnmappedId> {
        let user = self.users.map(uid, direction);
        let group = self.groups.map(gid, direction);
        Ok((
            user.ok_or(UnmappedId { what: "its owner", id: uid })?,
            group.ok_or(UnmappedId { what: "its group", id: gid })?,
        ))
    }

    fn xattr(
        &self,
        name: &[u8],
        value: &mut Vec<u8>,
        direction: Direction,
    ) -> Result<(), UnmappedId> {
        if name == CAPABILITY {
            self.capability(value, direction)
        } else if is_acl(name) {
            self.access_control_list(value, direction)
        } else {
            Ok(())
        }
    }

    /// Whatever isn't a capability of these versions is left to the kernel, which refuses it.
    fn capability(&self, value: &mut Vec<u8>, direction: Direction) -> Result<(), UnmappedId> {
        let root_id = match (value.get(3), value.get(VERSION_2_SIZE..)) {
            (Some(&VERSION_2), Some([])) => None,
            (Some(&VERSION_3), Some(&[a, b, c, d])) => Some(u32::from_le_bytes([a, b, c, d])),
            _ => return Ok(()),
        };
        if direction == Direction::ToImage && root_id.is_none() {
            // Somebody outside has set it, or another tool has unpacked it. It means the image's root all the same.
            return Ok(());
        }
        let id = root_id.unwrap_or_default();
        let unmapped = UnmappedId { what: "its capability's root", id };
        let mapped = self.users.map(id, direction).ok_or(unmapped)?;
        value.truncate(VERSION_2_SIZE);
        value[3] = VERSION_2;
        if mapped != 0 {
            value[3] = VERSION_3;
            value.extend(mapped.to_le_bytes());
        }
        Ok(())
    }

    /// A version, then tag, permissions and id of each entry, in 2, 2 and 4 bytes.
    fn access_control_list(
        &self,
        value: &mut [u8],
        direction: Direction,
    ) -> Result<(), UnmappedId> {
        let entries = value.get_mut(4..).unwrap_or_default();
        for entry in entries.chunks_exact_mut(8) {
            let (map, what) = match entry[0] {
                ACL_USER => (&self.users, "a user of its access control list"),
                ACL_GROUP => (&self.groups, "a group of its access control list"),
                _ => continue,
            };
            let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            let mapped = map.map(id, direction).ok_or(UnmappedId { what, id })?;
            entry[4..].copy_from_slice(&mapped.to_le_bytes());
        }
        Ok(())
    }
}

/// Ids as a directory has them: mapped, or as they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct MappedIds(Option<Arc<IdMaps>>);

impl MappedIds {
    pub(crate) fn mapped(maps: IdMaps) -> Self {
        Self(Some(Arc::new(maps)))
    }

    pub(crate) fn entry_on_disk<'a>(&self, entry: &'a Entry) -> Result<Cow<'a, Entry>, Error> {
        match &self.0 {
            None => Ok(Cow::Borrowed(entry)),
            Some(maps) => Ok(Cow::Owned(maps.entry_on_disk(entry)?)),
        }
    }

    pub(crate) fn root_on_disk(&self) -> Result<(u32, u32), Error> {
        self.0.as_ref().map_or(Ok((0, 0)), |maps| maps.root_on_disk())
    }

    pub(crate) fn is_mapped(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn owner_in_image(&self, owner: (u32, u32)) -> Result<(u32, u32), SystemError> {
        self.0.as_ref().map_or(Ok(owner), |maps| maps.owner_in_image(owner))
    }

    pub(crate) fn xattrs_in_image(&self, mut xattrs: Xattrs) -> Result<Xattrs, SystemError> {
        if let Some(maps) = &self.0 {
            maps.xattrs_in_image(&mut xattrs)?;
        }
        Ok(xattrs)
    }
}

#[cfg(test)]
mod tests {
    use layer_format::layer::{EntryKind, EntryPath, Timestamp};

    use super::*;

    fn map(ranges: &[&str]) -> IdMap {
        IdMap::new(ranges.iter().map(|it| it.parse().unwrap()).collect()).unwrap()
    }

    fn maps() -> IdMaps {
        IdMaps { users: map(&["0:100000:1000", "1000:5:1"]), groups: map(&["0:200000:65536"]) }
    }

    #[test]
    fn a_range_is_two_or_three_numbers() {
        let parse = |text: &str| text.parse::<IdRange>();
        assert_eq!(parse("1:2:3"), Ok(IdRange { container: 1, host: 2, size: 3 }));
        assert_eq!(parse("1:2"), Ok(IdRange { container: 1, host: 2, size: 1 }));
        assert!(parse("0:1:4294967294").is_ok());
        for text in
            ["", "1", "a:b:c", "1:2:3:4", "0:0:0", "0:2:4294967295", "-1:0:1", "0:4294967295"]
        {
            parse(text).unwrap_err();
        }
    }

    #[test]
    fn ranges_that_overlap_on_either_side_are_refused() {
        for ranges in [["0:10:5", "4:100:1"], ["0:10:5", "100:14:1"], ["5:5:1", "5:6:1"]] {
            IdMap::new(ranges.map(|it| it.parse().unwrap()).to_vec()).unwrap_err();
        }
        map(&["0:10:5", "5:15:5", "100:4:1"]);
    }

    #[test]
    fn an_id_comes_back_as_it_went() {
        let map = map(&["0:100000:1000", "1000:5:1"]);
        for (inside, outside) in [(0, 100_000), (999, 100_999), (1000, 5)] {
            assert_eq!(map.map(inside, Direction::ToDisk), Some(outside));
            assert_eq!(map.map(outside, Direction::ToImage), Some(inside));
        }
        assert_eq!(map.map(1001, Direction::ToDisk), None);
        assert_eq!(map.map(0, Direction::ToImage), None);
    }

    fn capability(version: u8, root_id: Option<u32>) -> Vec<u8> {
        let mut value = vec![7; VERSION_2_SIZE];
        value[3] = version;
        value.extend(root_id.into_iter().flat_map(u32::to_le_bytes));
        value
    }

    #[test]
    fn capabilities_belong_to_the_root_of_the_map() {
        let pass = |value: &[u8], direction| {
            let mut value = value.to_vec();
            maps().capability(&mut value, direction).map(|()| value)
        };
        let (plain, on_disk) = (capability(2, None), capability(3, Some(100_000)));
        assert_eq!(pass(&plain, Direction::ToDisk).unwrap(), on_disk);
        assert_eq!(pass(&on_disk, Direction::ToImage).unwrap(), plain);
        assert_eq!(pass(&plain, Direction::ToImage).unwrap(), plain);
        let nested = capability(3, Some(7));
        assert_eq!(pass(&nested, Direction::ToDisk).unwrap(), capability(3, Some(100_007)));
        assert_eq!(pass(&capability(3, Some(100_007)), Direction::ToImage).unwrap(), nested);
        let foreign = pass(&capability(3, Some(9)), Direction::ToImage).unwrap_err();
        assert_eq!((foreign.what, foreign.id), ("its capability's root", 9));
        for odd in [vec![], vec![1; 3], capability(1, None), capability(2, Some(1))] {
            assert_eq!(pass(&odd, Direction::ToDisk).unwrap(), odd);
        }
    }

    #[test]
    fn users_and_groups_of_access_control_lists_are_mapped() {
        let acl = |user: u32, group: u32| {
            let mut value = vec![2, 0, 0, 0];
            for (tag, id) in [(1, u32::MAX), (2, user), (4, u32::MAX), (8, group), (0x20, u32::MAX)]
            {
                value.extend([tag, 0, 5, 0]);
                value.extend(id.to_le_bytes());
            }
            value
        };
        let entry = Entry {
            path: EntryPath::parse(b"a").unwrap(),
            kind: EntryKind::Fifo,
            mode: 0o600,
            uid: 1000,
            gid: 3,
            mtime: Timestamp::default(),
            xattrs: vec![
                (b"system.posix_acl_access".to_vec(), acl(1, 2)),
                (b"user.x".to_vec(), acl(1, 2)),
            ],
        };
        let on_disk = maps().entry_on_disk(&entry).unwrap();
        assert_eq!((on_disk.uid, on_disk.gid), (5, 200_003));
        assert_eq!(on_disk.xattrs[0].1, acl(100_001, 200_002));
        assert_eq!(on_disk.xattrs[1].1, acl(1, 2));
        let mut back = on_disk.xattrs;
        maps().xattrs_in_image(&mut back).unwrap();
        assert_eq!(back, entry.xattrs);
        let error = maps().entry_on_disk(&Entry { gid: 70_000, ..entry }).unwrap_err();
        assert_eq!(error.to_string(), "a: its group 70000 is in no range that is mapped");
    }
}
