//! The first worlds, with every rare thing in them; `make sim` runs many more.

use broker_sim::replicas::Defect;
use broker_sim::{Kind, Marks, replay_command, run, run_all, run_replicas};

/// Enough for everything rare to happen, and short enough for a build without optimisation.
const SEEDS: u64 = 150;

/// The same for replicas.
const SEEDS_OF_REPLICAS: u64 = 400;

/// Within so many worlds every planted defect must show.
const SEEDS_OF_DEFECTS: u64 = 400;

fn hold_together(kind: Kind, seeds: u64) -> Marks {
    let (marks, failed) = run_all(kind, 0..seeds, 3, 2);
    let command = |seed| replay_command(kind, seed);
    let commands: Vec<String> = failed.into_iter().map(command).collect();
    assert_eq!(commands, [] as [String; 0], "run these");
    assert_eq!(marks.missing(), [] as [&str; 0], "never happened: {marks}");
    marks
}

#[test]
fn the_first_worlds_hold_together() {
    println!("{}", hold_together(Kind::Stores, SEEDS));
}

#[test]
fn the_first_worlds_of_replicas_hold_together() {
    println!("{}", hold_together(Kind::Replicas, SEEDS_OF_REPLICAS));
}

#[test]
fn every_planted_defect_is_found() {
    for defect in Defect::ALL {
        let fails = |seed| {
            let result = std::panic::catch_unwind(|| run_replicas(seed, Some(defect), false));
            result.is_err()
        };
        let found = (0..SEEDS_OF_DEFECTS).find(|seed| fails(*seed));
        println!("{defect:?} is found by seed {found:?}");
        assert!(found.is_some(), "{defect:?} is not found");
    }
}

#[test]
fn a_world_follows_from_its_seed() {
    for kind in [Kind::Stores, Kind::Replicas] {
        for seed in [3, 77] {
            let marks = || run(kind, seed, false).to_string();
            assert_eq!(marks(), marks());
        }
    }
}

#[test]
fn nothing_forbidden_is_delivered_in_the_first_schedules_of_policies() {
    let failed = broker_sim::gateway::run_all(0..2_000, 3);
    let commands: Vec<_> = failed
        .into_iter()
        .map(broker_sim::gateway::replay_command)
        .collect();
    assert_eq!(commands, [] as [String; 0], "run these");
}
