//! Whole clusters of data stores on a virtual network and clock, all of it from a seed.
//!
//! A world has up to two masters of one store, up to eight clones, and links between them that
//! lose, double, delay and reorder messages, go down and come back. Nodes crash and start again, or
//! are suspended for a while, commits fail. Users everywhere do what users do. After a while faults
//! end and everything has to come to rest. At any time and then, these must hold:
//!
//! - a master's back end is what a reference model says, after every commit;
//! - a clone's copy is what its master was at the number that the clone has reached;
//! - in the end every clone equals the one master that is writable, and everybody is idle;
//! - a request is applied at most once, in the order of its writer, and exactly once unless its
//!   user was told otherwise; those that may be repeated may be applied by two masters;
//! - every `put_unique` is answered exactly once, and `true` only if it won;
//! - nothing is read from a clone whose master was silent for longer than the stale interval;
//! - what is kept for others is bounded;
//! - store events make up exactly the content of the node they come from.
//!
//! | module | what is in it |
//! |---|---|
//! | [`gateway`] | endpoints with policies, which deliver nothing that is forbidden |
//! | [`plan`] | what goes wrong, and how often |
//! | [`world`] | nodes, the network between them, the clock; what is checked at any time |
//! | [`network`] | delays, losses and partitions |
//! | [`disk`] | a back end that fails and survives |
//! | [`user`] | operations that can be recognised wherever they turn up |
//! | [`model`] | what a store is supposed to be |
//! | [`ledger`] | who was promised what, and what became of it |
//! | [`marks`] | how often something rare happened |

#![forbid(unsafe_code)]

pub mod disk;
pub mod gateway;
pub mod ledger;
pub mod marks;
pub mod model;
pub mod network;
pub mod plan;
pub mod random;
pub mod user;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use marks::Marks;
pub use world::World;

/// The command that runs one seed again and prints what happens.
pub fn replay_command(seed: u64) -> String {
    format!("cargo run --profile sim -p broker-sim -- --seed {seed} --trace")
}

/// Runs one seed.
///
/// # Panics
///
/// When something does not hold that must.
pub fn run(seed: u64, traced: bool) -> Marks {
    let mut world = World::new(seed, traced);
    world.unrest();
    world.rest();
    world.marks().clone()
}

/// Runs a range of seeds; returns what happened and the seeds that failed.
pub fn run_all(seeds: std::ops::Range<u64>, failures_max: usize) -> (Marks, Vec<u64>) {
    let mut marks = Marks::default();
    let mut failed = Vec::new();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
            Ok(more) => marks.add(&more),
            Err(_) => failed.push(seed),
        }
        if failed.len() >= failures_max {
            break;
        }
    }
    (marks, failed)
}
