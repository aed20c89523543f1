//! Endpoints in rings, meshes and graphs made by chance, on a network that delays: what comes how
//! often where.
//!
//! Everything follows from a seed. An endpoint of this implementation is put together here of the
//! parts that the runtime puts together: routing table, marks, duplicates. An
//! endpoint of the original passes on what comes to everybody else who wants it. A hostile one tries
//! to have messages taken for copies.
//!
//! A failure names its seed: `SIMULATION_SEED=n cargo test -p broker-proto --test loops`.
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[path = "loops/mixed.rs"]
mod mixed;
#[path = "loops/world.rs"]
mod world;

use crate::world::{Kind, MS, S, World, chance, mesh, ring, seeds};

#[test]
fn rings_and_meshes_of_ours_deliver_once() {
    for seed in seeds(24) {
        let count = 3 + (seed % 10) as usize;
        for shape in [ring, mesh] {
            let mut world = World::new(seed, &vec![Kind::Ours; count]);
            (0..count).for_each(|at| world.subscribe(at, "/t"));
            shape(&mut world);
            world.exchange_exactly(&["/t"], 3, &format!("seed {seed}, {count} endpoints"));
            assert!(world.copies_dropped > 0);
        }
    }
}

#[test]
fn graphs_by_chance_deliver_once_however_they_change() {
    let mut dropped = 0;
    for seed in seeds(150) {
        let count = 3 + (seed % 10) as usize;
        let mut world = World::new(seed, &vec![Kind::Ours; count]);
        for at in 0..count {
            // Some want one topic only, some none: subscriptions do not travel.
            for topic in ["/a", "/b"] {
                if world.random.below(4) > 0 {
                    world.subscribe(at, topic);
                }
            }
        }
        for round in 0..6 {
            chance(&mut world, count);
            world.exchange_exactly(
                &["/a", "/b", "/c"],
                3,
                &format!("seed {seed}, round {round}"),
            );
            for _ in 0..count / 2 {
                let links: Vec<_> = world.links.keys().copied().collect();
                if !links.is_empty() {
                    let (a, b) = links[world.random.below(links.len() as u64) as usize];
                    world.cut(a, b);
                }
            }
        }
        dropped += world.copies_dropped;
    }
    assert!(dropped > 0);
}

#[test]
fn changes_amid_traffic_double_little_and_end() {
    let mut doubled = 0;
    for seed in seeds(60) {
        let count = 3 + (seed % 6) as usize;
        let mut world = World::new(seed, &vec![Kind::Ours; count]);
        (0..count).for_each(|at| world.subscribe(at, "/t"));
        chance(&mut world, count);
        let mut published = Vec::new();
        for _ in 0..100 {
            let at = world.random.below(count as u64) as usize;
            published.push(world.publish(at, "/t"));
            chance(&mut world, 1);
            let links: Vec<_> = world.links.keys().copied().collect();
            if let Some((a, b)) = links.get(world.random.below(3 * links.len() as u64 + 1) as usize)
            {
                world.cut(*a, *b);
            }
            world.run(MS);
        }
        assert!(!world.run(10 * S), "seed {seed}: messages go on for ever");
        for payload in &published {
            for at in 0..count {
                let copies = world.copies(at, payload);
                doubled += copies.saturating_sub(1);
                // An endpoint that had one peer while it published does not know its own message.
                assert!(copies <= 3, "seed {seed}: {copies} copies at {at}");
            }
        }
    }
    println!("{doubled} copies too many");
}

#[test]
fn a_message_that_meets_a_second_peer_on_its_way_comes_once() {
    for seed in seeds(50) {
        let mut world = World::new(seed, &[Kind::Ours; 3]);
        (0..3).for_each(|at| world.subscribe(at, "/t"));
        world.connect(0, 1);
        world.connect(1, 2);
        let pause = world.random.below(2).cast_signed() * S;
        world.run(pause);
        // The ring is closed and used at once: the last one may have the message before it knows.
        world.connect(2, 0);
        let payload = world.publish(0, "/t");
        world.run(S);
        for (at, expected) in [(0, 0), (1, 1), (2, 1)] {
            assert_eq!(world.copies(at, &payload), expected, "seed {seed} at {at}");
        }
    }
}

#[test]
fn forged_marks_keep_nothing_back() {
    for seed in seeds(60) {
        let count = 4 + (seed % 5) as usize;
        let mut kinds = vec![Kind::Ours; count];
        kinds[count - 1] = Kind::Hostile;
        let mut world = World::new(seed, &kinds);
        (0..count).for_each(|at| world.subscribe(at, "/t"));
        if seed % 2 == 0 {
            mesh(&mut world);
        } else {
            (0..count - 1).for_each(|at| world.connect(at, (at + 1) % (count - 1)));
            (0..count - 1).for_each(|at| world.connect(at, count - 1));
        }
        world.exchange_exactly(&["/t"], 5, &format!("seed {seed}"));
    }
}
