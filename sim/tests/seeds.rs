//! The first worlds, with every rare thing in them; `make sim` runs many more.

/// Enough for everything rare to happen, and short enough for a build without optimisation.
const SEEDS: u64 = 150;

#[test]
fn the_first_worlds_hold_together() {
    let (marks, failed) = broker_sim::run_all(0..SEEDS, 3);
    println!("{marks}");
    let commands: Vec<String> = failed.into_iter().map(broker_sim::replay_command).collect();
    assert_eq!(commands, [] as [String; 0], "run these");
    assert_eq!(marks.missing(), [] as [&str; 0], "never happened");
}

#[test]
fn a_world_follows_from_its_seed() {
    for seed in [3, 77] {
        let marks = || broker_sim::run(seed, false).to_string();
        assert_eq!(marks(), marks());
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
