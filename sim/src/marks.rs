//! How often something rare happened: a simulation that never gets there proves nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Everything that must happen somewhere in a range of seeds.
pub const RARE: &[&str] = &[
    "attached",
    "reattached to the same master",
    "reattached to another master",
    "search failed",
    "message lost",
    "message doubled",
    "message overtaken",
    "message stalled",
    "message through a relay",
    "partition",
    "clone crashed",
    "master crashed",
    "node suspended",
    "commit failed",
    "group of several requests undone",
    "request refused",
    "request unknown",
    "put_unique won",
    "put_unique lost",
    "put_unique unknown",
    "put_unique failed with its commit",
    "put_unique of a master",
    "entry expired",
    "entry hidden",
    "entry hidden at a clone",
    "clear applied",
    "event repeated",
    "request repeated",
    "request lost for good",
    "snapshot repeated",
    "number filled",
    "clone taken back",
    "writer retired",
    "writer resumed",
    "master gave way",
    "clone stale",
    "clone dropped for its backlog",
    "request without room",
];

/// Counts by name.
#[derive(Debug, Clone, Default)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    /// It happened.
    pub fn hit(&mut self, name: &'static str) {
        debug_assert!(RARE.contains(&name), "{name}");
        *self.0.entry(name).or_default() += 1;
    }

    /// It happened, if it did.
    pub fn hit_if(&mut self, happened: bool, name: &'static str) {
        if happened {
            self.hit(name);
        }
    }

    /// Takes over what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = RARE.iter().filter(|name| !self.0.contains_key(*name));
        missing.copied().collect()
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in RARE {
            writeln!(f, "{:>9}  {name}", self.0.get(name).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}
