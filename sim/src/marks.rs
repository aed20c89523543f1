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

/// The same for replicas of a store on a stream.
pub const RARE_OF_REPLICAS: &[&str] = &[
    "took over",
    "fenced",
    "lease lost",
    "left behind",
    "append lost",
    "append doubled",
    "answer to an append lost",
    "append refused",
    "append found at the tail",
    "append sent again",
    "tail seen late",
    "lease given twice",
    "lease over early",
    "snapshot written",
    "snapshot torn",
    "snapshot damaged",
    "snapshot left out",
    "log compacted",
    "began with a snapshot",
    "delivery doubled",
    "deliveries cut",
    "link cut",
    "node crashed",
    "node suspended",
    "clock jumped",
    "group of several requests",
    "request not applied",
    "result never learnt",
    "entry expired",
    "clone attached",
    "clone followed to another leader",
    "put_unique won",
    "put_unique lost",
    "confirmed read",
];

/// Counts by name.
#[derive(Debug, Clone)]
pub struct Marks {
    rare: &'static [&'static str],
    counts: BTreeMap<&'static str, u64>,
}

impl Default for Marks {
    fn default() -> Self {
        Self::of(RARE)
    }
}

impl Marks {
    /// Of what is in a list.
    pub const fn of(rare: &'static [&'static str]) -> Self {
        Self {
            rare,
            counts: BTreeMap::new(),
        }
    }

    /// It happened.
    pub fn hit(&mut self, name: &'static str) {
        debug_assert!(self.rare.contains(&name), "{name}");
        *self.counts.entry(name).or_default() += 1;
    }

    /// It happened, if it did.
    pub fn hit_if(&mut self, happened: bool, name: &'static str) {
        if happened {
            self.hit(name);
        }
    }

    /// Takes over what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = self.rare.iter();
        let missing = missing.filter(|name| !self.counts.contains_key(*name));
        missing.copied().collect()
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in self.rare {
            writeln!(
                f,
                "{:>9}  {name}",
                self.counts.get(name).copied().unwrap_or(0)
            )?;
        }
        Ok(())
    }
}
