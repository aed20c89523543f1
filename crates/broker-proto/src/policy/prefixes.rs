//! A set of byte prefixes, as filters are, without their bounds.

/// Sorted byte prefixes, none of which is a prefix of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes(
    /// Bound: what the policy file has.
    Vec<Box<[u8]>>,
);

impl Prefixes {
    /// Adds a prefix, unless one of it is there.
    pub fn add(&mut self, prefix: &[u8]) {
        if self.find(prefix).is_some() {
            return;
        }
        self.0.retain(|known| !known.starts_with(prefix));
        let index = self.0.partition_point(|known| **known < *prefix);
        self.0.insert(index, prefix.into());
    }

    /// The entry that is a prefix of these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<&[u8]> {
        let index = self.0.partition_point(|known| **known <= *bytes);
        let last = self.0.get(index.checked_sub(1)?)?;
        bytes.starts_with(last).then_some(&**last)
    }

    /// The entries that begin with these bytes, in ascending order.
    pub fn below<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let index = self.0.partition_point(|known| **known < *bytes);
        let rest = self.0.get(index..).unwrap_or_default();
        rest.iter()
            .map(|known| &**known)
            .take_while(move |known| known.starts_with(bytes))
    }

    /// The entries in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|known| &**known)
    }

    /// Whether nothing has one of these prefixes.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a [u8]> for Prefixes {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(prefixes: I) -> Self {
        let mut set = Self::default();
        for prefix in prefixes {
            set.add(prefix);
        }
        set
    }
}
