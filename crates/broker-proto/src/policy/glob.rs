//! Names with an optional `*` at the end, for events and stores.

/// A name, or the beginning of names. Bytes are compared as they are: no case, no normal forms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob {
    start: Box<str>,
    is_open: bool,
}

impl Glob {
    /// Reads `NetControl::*`, `Notice::begin_suppression`, `*`. `None` for nothing at all, and for a `*`
    /// anywhere but at the end.
    pub fn parse(text: &str) -> Option<Self> {
        let (start, is_open) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        if start.contains('*') || text.is_empty() {
            return None;
        }
        Some(Self {
            start: start.into(),
            is_open,
        })
    }

    /// Whether a name is one of those.
    pub fn matches(&self, name: &[u8]) -> bool {
        let start = self.start.as_bytes();
        if self.is_open {
            name.starts_with(start)
        } else {
            name == start
        }
    }
}

impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.start)?;
        f.write_str(if self.is_open { "*" } else { "" })
    }
}

/// Some of them, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs(
    /// Bound: what the policy file has.
    std::collections::BTreeSet<Glob>,
);

impl Globs {
    /// Adds one.
    pub fn add(&mut self, glob: Glob) {
        self.0.insert(glob);
    }

    /// The first that a name matches.
    pub fn find(&self, name: &[u8]) -> Option<&Glob> {
        self.0.iter().find(|glob| glob.matches(name))
    }

    /// All of them in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &Glob> {
        self.0.iter()
    }

    /// Whether no name matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Glob> for Globs {
    fn from_iter<I: IntoIterator<Item = Glob>>(globs: I) -> Self {
        Self(globs.into_iter().collect())
    }
}
