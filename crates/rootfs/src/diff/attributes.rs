//! The attributes that two records of one path may have differently.

/// An attribute of an entry that may be different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Attribute {
    /// The type: a file, a directory, a link…
    Type = 1,
    /// Permission bits.
    Mode = 1 << 1,
    /// The numeric owner or group.
    Owner = 1 << 2,
    /// A file's size.
    Size = 1 << 3,
    /// A file's bytes, if they were compared.
    Content = 1 << 4,
    /// The time of modification.
    Mtime = 1 << 5,
    /// A symbolic link's target.
    Target = 1 << 6,
    /// A device's number.
    Device = 1 << 7,
    /// Extended attributes.
    Xattrs = 1 << 8,
    /// The hard links.
    Links = 1 << 9,
}

impl Attribute {
    /// All attributes.
    pub const ALL: [Self; 10] = [
        Self::Type,
        Self::Mode,
        Self::Owner,
        Self::Size,
        Self::Content,
        Self::Mtime,
        Self::Target,
        Self::Device,
        Self::Xattrs,
        Self::Links,
    ];

    /// The name, one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Size => "size",
            Self::Content => "content",
            Self::Mtime => "mtime",
            Self::Target => "target",
            Self::Device => "device",
            Self::Xattrs => "xattrs",
            Self::Links => "links",
        }
    }
}

/// A set of attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(u16);

impl Attributes {
    /// The set with one attribute.
    #[must_use]
    pub const fn of(attribute: Attribute) -> Self {
        Self(attribute as u16)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether an attribute is in the set.
    pub fn has(self, attribute: Attribute) -> bool {
        self.0 & attribute as u16 != 0
    }

    /// Whether any of these attributes is in the set.
    pub fn has_any(self, attributes: &[Attribute]) -> bool {
        attributes.iter().any(|&attribute| self.has(attribute))
    }

    /// Adds an attribute.
    pub fn insert(&mut self, attribute: Attribute) {
        self.0 |= attribute as u16;
    }

    /// The set without `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The attributes in the set.
    pub fn iter(self) -> impl Iterator<Item = Attribute> {
        Attribute::ALL.into_iter().filter(move |&attribute| self.has(attribute))
    }
}

impl FromIterator<Attribute> for Attributes {
    fn from_iter<I: IntoIterator<Item = Attribute>>(attributes: I) -> Self {
        Self(attributes.into_iter().fold(0, |all, attribute| all | attribute as u16))
    }
}
