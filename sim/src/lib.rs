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
//! Beside them there are worlds of replicas of one store on a model of a stream ([`replicas`]).
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
//! | [`replicas`] | worlds of replicas that survive their machines |
//! | [`stream`] | the servers that those are on |
//! | [`history`] | what clients of real servers recorded, as text, checked in the same way |
//! | [`linear`] | whether what callers saw can have come from one store |

#![forbid(unsafe_code)]

pub mod disk;
pub mod gateway;
pub mod history;
pub mod ledger;
pub mod linear;
pub mod marks;
pub mod model;
pub mod network;
pub mod plan;
pub mod random;
pub mod replicas;
pub mod stream;
pub mod user;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use marks::Marks;
pub use world::World;

/// Which worlds are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A master and its clones.
    Stores,
    /// Replicas of a store on a stream.
    Replicas,
}

/// The command that runs one seed again and prints what happens.
pub fn replay_command(kind: Kind, seed: u64) -> String {
    let kind = match kind {
        Kind::Stores => "",
        Kind::Replicas => " --replicas",
    };
    format!("cargo run --profile sim -p broker-sim --{kind} --seed {seed} --trace")
}

/// Runs one seed.
///
/// # Panics
///
/// When something does not hold that must.
pub fn run(kind: Kind, seed: u64, traced: bool) -> Marks {
    match kind {
        Kind::Stores => {
            let mut world = World::new(seed, traced);
            world.unrest();
            world.rest();
            world.marks().clone()
        }
        Kind::Replicas => run_replicas(seed, None, traced),
    }
}

/// Runs one seed of replicas whose runtime does something wrong.
///
/// # Panics
///
/// When something does not hold that must.
pub fn run_replicas(seed: u64, defect: Option<replicas::Defect>, traced: bool) -> Marks {
    let mut world = replicas::World::new(seed, defect, traced);
    world.unrest();
    world.rest();
    world.marks().clone()
}

/// Runs a range of seeds in as many threads; returns what happened and the seeds that failed.
///
/// # Panics
///
/// When a thread does, which is not when a seed fails.
pub fn run_all(
    kind: Kind,
    seeds: std::ops::Range<u64>,
    failures_max: usize,
    threads: u64,
) -> (Marks, Vec<u64>) {
    let threads = threads.max(1);
    let share = |thread: u64| {
        let mut marks = None::<Marks>;
        let mut failed = Vec::new();
        let mine = seeds.clone().skip(usize::try_from(thread).unwrap_or(0));
        for seed in mine.step_by(usize::try_from(threads).unwrap_or(1)) {
            match catch_unwind(AssertUnwindSafe(|| run(kind, seed, false))) {
                Ok(more) => match &mut marks {
                    None => marks = Some(more),
                    Some(marks) => marks.add(&more),
                },
                Err(_) => failed.push(seed),
            }
            if failed.len() >= failures_max {
                break;
            }
        }
        (marks, failed)
    };
    let mut marks = match kind {
        Kind::Stores => Marks::default(),
        Kind::Replicas => Marks::of(marks::RARE_OF_REPLICAS),
    };
    let mut failed = Vec::new();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let share = &share;
                    move || share(thread)
                })
            })
            .collect();
        for run in runs {
            let (more, seeds) = run.join().expect("failures of seeds are caught");
            more.iter().for_each(|more| marks.add(more));
            failed.extend(seeds);
        }
    });
    failed.sort_unstable();
    failed.truncate(failures_max);
    (marks, failed)
}
