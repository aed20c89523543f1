//! Circles through endpoints that behave like the original: copies are bounded, end, and come once
//! when the circle is cut; nobody is cut off.

use broker_proto::EndpointId;
use broker_proto::circle::Report;

use crate::world::Kind::{Original, Ours};
use crate::world::{Kind, MS, S, World, frame, seeds};

/// What is published meanwhile is doubled; after that everything comes once.
const SETTLED_AFTER: i64 = 3 * S;

/// Copies of one message, before circles are cut, are fewer than twice the square of the number of
/// endpoints, in every shape and with every delay.
fn copies_max(world: &World) -> usize {
    2 * world.nodes.len().pow(2)
}

/// After a change nobody is cut off for longer.
const MENDED_AFTER: i64 = 5 * S + 500 * MS;

fn world(seed: u64, kinds: &[Kind], links: &[(usize, usize)]) -> World {
    let mut world = World::new(seed, kinds);
    (0..kinds.len()).for_each(|at| world.subscribe(at, "/t"));
    links.iter().for_each(|(a, b)| world.connect(*a, *b));
    world
}

/// A message of each endpoint, one after the other; how often each came where.
fn publish_all(world: &mut World, pause: i64) -> Vec<(usize, Vec<u8>)> {
    let mut published = Vec::new();
    for at in 0..world.nodes.len() {
        published.push((at, world.publish(at, "/t")));
        world.run(pause);
    }
    published
}

/// The most copies of one message at one endpoint.
fn check(world: &World, published: &[(usize, Vec<u8>)], once: bool, what: &str) -> usize {
    let mut most = 0;
    for (publisher, payload) in published {
        let reached = world.reached(*publisher, "/t");
        for at in 0..world.nodes.len() {
            let copies = world.copies(at, payload);
            most = most.max(copies);
            if once {
                let expected = usize::from(reached.contains(&at));
                assert_eq!(copies, expected, "{what}: {publisher} to {at}");
            } else if reached.contains(&at) {
                assert!(copies > 0, "{what}: {publisher} to {at}");
            }
        }
    }
    most
}

/// Uses circles until they are cut, and then some more.
fn settle(world: &mut World, what: &str) -> usize {
    let first = publish_all(world, 5 * MS);
    world.run(SETTLED_AFTER);
    assert_eq!(world.data_under_way, 0, "{what}: messages go on");
    let most = check(world, &first, false, what);
    assert!(most <= copies_max(world), "{what}: {most} copies");
    for _ in 0..3 {
        let later = publish_all(world, 20 * MS);
        assert!(!world.run(S), "{what}: messages go on later");
        check(world, &later, true, what);
    }
    most
}

fn found(world: &World) -> Vec<(usize, EndpointId, EndpointId)> {
    let mut found = Vec::new();
    for (at, node) in world.nodes.iter().enumerate() {
        for report in &node.reports {
            match report {
                Report::Found { open, closed, .. } => found.push((at, *open, *closed)),
                Report::Gone { open, closed, .. } => {
                    found.retain(|it| it != &(at, *open, *closed));
                }
                Report::Behind { .. } | Report::Suspected { .. } | Report::Crowded { .. } => {
                    panic!("{report:?}")
                }
            }
        }
    }
    found
}

/// Publishes, settles, publishes again, and counts the circles that were found.
fn try_all(name: &str, count: u64, kinds: &[Kind], links: &[(usize, usize)], circles: usize) {
    for seed in seeds(count) {
        let mut world = world(seed, kinds, links);
        let what = format!("{name}, seed {seed}");
        settle(&mut world, &what);
        let found = found(&world);
        assert_eq!(found.len(), circles, "{what}: {found:?}");
    }
}

#[test]
fn triangles() {
    let links = [(0, 1), (1, 2), (2, 0)];
    try_all("one of ours", 20, &[Ours, Original, Original], &links, 1);
    try_all("two of ours", 20, &[Ours, Ours, Original], &links, 1);
}

#[test]
fn squares_and_longer_rings() {
    let ring = |kinds: &[Kind]| {
        let count = kinds.len();
        let links: Vec<_> = (0..count).map(|at| (at, (at + 1) % count)).collect();
        try_all(&format!("{kinds:?}"), 10, kinds, &links, 1);
    };
    ring(&[Ours, Original, Ours, Original]);
    ring(&[Ours, Ours, Original, Original]);
    ring(&[Ours, Ours, Ours, Original]);
    ring(&[Ours, Original, Original, Original]);
    let long: Vec<Kind> = (0..12)
        .map(|at| if at % 4 == 0 { Ours } else { Original })
        .collect();
    ring(&long);
}

#[test]
fn ways_that_branch() {
    // Three ways between two of ours.
    let theta = [(0, 2), (2, 1), (0, 3), (3, 1), (0, 4), (4, 1)];
    let kinds = [Ours, Ours, Original, Original, Original];
    try_all("theta", 20, &kinds, &theta, 2);
    // Two of ours with ten originals between them.
    let mut kinds = vec![Original; 12];
    kinds[0] = Ours;
    kinds[1] = Ours;
    let links: Vec<_> = (2..12).flat_map(|at| [(0, at), (at, 1)]).collect();
    try_all("two and ten", 6, &kinds, &links, 9);
    // Circles in a row: 0 = 1 = 2 = 3, with two originals between each.
    let links: Vec<_> = (0..3)
        .flat_map(|at| {
            let (one, other) = (4 + 2 * at, 5 + 2 * at);
            [(at, one), (one, at + 1), (at, other), (other, at + 1)]
        })
        .collect();
    let mut kinds = vec![Original; 10];
    kinds[..4].fill(Ours);
    try_all("in a row", 6, &kinds, &links, 3);
}

#[test]
fn full_meshes() {
    for count in [4, 6, 12] {
        let links: Vec<_> = (0..count)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .collect();
        for originals in [1, 2] {
            let mut kinds = vec![Ours; count];
            kinds[..originals].fill(Original);
            for seed in seeds(3) {
                let mut world = world(seed, &kinds, &links);
                let what = format!("{originals} originals among {count}, seed {seed}");
                let most = settle(&mut world, &what);
                println!("{what}: at most {most} copies, {} sent", world.data_sent);
            }
        }
    }
}

/// Links by chance, of originals alone none that close a circle.
fn link_by_chance(world: &mut World, links: usize) {
    for _ in 0..links {
        let count = world.nodes.len() as u64;
        let (a, b) = (world.random.below(count), world.random.below(count));
        let (a, b) = (a as usize, b as usize);
        let are_originals = [a, b].iter().all(|at| world.nodes[*at].kind == Original);
        if !are_originals || !joined_by_originals(world, a, b) {
            world.connect(a, b);
        }
    }
}

fn joined_by_originals(world: &World, a: usize, b: usize) -> bool {
    let mut joined = vec![a];
    let mut next = 0;
    while let Some(at) = joined.get(next).copied() {
        next += 1;
        for (one, other) in world.links.keys() {
            let to = match (*one == at, *other == at) {
                (true, _) => *other,
                (_, true) => *one,
                _ => continue,
            };
            if world.nodes[to].kind == Original && !joined.contains(&to) {
                joined.push(to);
            }
        }
    }
    joined.contains(&b)
}

#[test]
fn graphs_by_chance_that_change() {
    let (mut circles, mut most) = (0, 0);
    for seed in seeds(60) {
        let mut random = World::new(seed, &[]).random;
        let count = 3 + random.below(10) as usize;
        let originals = 1 + random.below(count as u64 - 2) as usize;
        let mut kinds = vec![Ours; count];
        kinds[..originals].fill(Original);
        let mut world = world(seed, &kinds, &[]);
        world.delay = [(1, 9), (1, 1), (20, 30)][(seed % 3) as usize];
        let links = count + random.below(count as u64) as usize;
        link_by_chance(&mut world, links);
        for round in 0..3 {
            let what = format!("seed {seed}, round {round}, {originals} originals of {count}");
            most = most.max(settle(&mut world, &what));
            circles += found(&world).len();
            // Links end and others begin, also such that this endpoint has nothing to do with.
            for _ in 0..=random.below(3) {
                let links: Vec<_> = world.links.keys().copied().collect();
                if let Some((a, b)) = links.get(random.below(links.len() as u64) as usize) {
                    world.cut(*a, *b);
                }
            }
            world.run(MENDED_AFTER);
            let after = publish_all(&mut world, 20 * MS);
            world.run(SETTLED_AFTER);
            check(&world, &after, false, &what);
            link_by_chance(&mut world, 2);
        }
    }
    println!("{circles} circles found, at most {most} copies");
    assert!(circles > 50);
}

#[test]
fn a_circle_that_is_gone_is_said_to_be_gone() {
    let kinds = [Ours, Original, Original];
    let mut world = world(1, &kinds, &[(0, 1), (1, 2), (2, 0)]);
    settle(&mut world, "the circle");
    assert_eq!(found(&world).len(), 1);
    // Where the endpoint cannot see it.
    world.cut(1, 2);
    world.run(MENDED_AFTER);
    assert_eq!(found(&world), []);
    let published = publish_all(&mut world, MS);
    world.run(S);
    check(&world, &published, true, "the chain");
    // And where it can: nobody waits.
    world.connect(1, 2);
    settle(&mut world, "the circle again");
    let (_, open, _) = found(&world)[0];
    let open = (0..3).find(|at| world.nodes[*at].id == open).unwrap();
    world.cut(0, open);
    assert_eq!(found(&world), []);
    let published = publish_all(&mut world, MS);
    world.run(S);
    check(&world, &published, true, "the other chain");
}

#[test]
fn honest_repetition_is_passed_on_and_asks_nobody() {
    // One who publishes the same again and again, in the middle of a chain of originals.
    let kinds = [Original, Ours, Original, Ours];
    let mut world = world(1, &kinds, &[(0, 1), (1, 2), (1, 3)]);
    for _ in 0..1000 {
        world.publish_payload(0, "/t", b"ping");
    }
    world.run(S);
    for at in 1..4 {
        assert_eq!(world.copies(at, b"ping"), 1000, "at {at}");
    }
    assert_eq!(world.probes_sent, 0);
    // Two who say the same are asked, and everything comes all the same.
    for _ in 0..1000 {
        world.publish_payload(0, "/t", b"pong");
        world.publish_payload(2, "/t", b"pong");
    }
    world.run(2 * S);
    assert_eq!(
        [0, 1, 2, 3].map(|at| world.copies(at, b"pong")),
        [1000, 2000, 1000, 2000]
    );
    assert!((1..4).contains(&world.probes_sent));
}

#[test]
fn what_cannot_be_proved_is_suspected_once() {
    // As through a WebSocket server: nothing that is sent over one link comes back over the other.
    let mut world = world(1, &[Original, Ours, Original], &[(0, 1), (1, 2)]);
    for _ in 0..20 * 40 {
        world.publish_payload(0, "/t", b"again");
        world.publish_payload(2, "/t", b"again");
        world.run(25 * MS);
    }
    let [Report::Suspected { topic, .. }] = &*world.nodes[1].reports else {
        panic!("{:?}", world.nodes[1].reports);
    };
    assert_eq!(topic.as_bytes(), b"/t");
    world.run(S);
    assert_eq!(world.copies(0, b"again"), 20 * 40);
    assert!(world.probes_sent < 10, "{} probes", world.probes_sent);
}

#[test]
fn a_circle_of_originals_alone_is_reported() {
    let kinds = [Ours, Original, Original, Original, Original];
    let links = [(0, 1), (1, 2), (2, 3), (3, 1), (0, 4)];
    let mut world = world(1, &kinds, &links);
    world.publish(4, "/t");
    world.run(60 * S);
    let peer = world.nodes[1].id;
    let [Report::Behind { peer: told, topic }] = &*world.nodes[0].reports else {
        panic!("{:?}", world.nodes[0].reports);
    };
    assert_eq!((*told, topic.as_bytes()), (peer, &b"/t"[..]));
}

#[test]
fn stores_are_not_shown_probes() {
    let kinds = [Ours, Original, Original];
    let mut world = World::new(1, &kinds);
    let topic = "s/<$>/data/master";
    (0..3).for_each(|at| world.subscribe(at, topic));
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        world.connect(a, b);
    }
    world.publish_payload(0, topic, b"x");
    assert!(world.run(S));
    assert_eq!(world.probes_sent, 0);
    // Commands have an end of their own.
    let sender = world.nodes[1].id;
    let command = frame(
        sender,
        broker_proto::Tag::Command,
        topic.as_bytes(),
        b"command",
    );
    let circles = world.nodes[0].circles.as_mut().unwrap();
    let now = broker_data::Timestamp::from_ns(world.now);
    let goes_on: Vec<bool> = (0..6)
        .map(|_| circles.handle_command(now, sender, &command))
        .collect();
    assert_eq!(goes_on, [true, true, true, false, false, false]);
    assert_eq!(circles.commands_stopped(), 3);
    let later = now.saturating_add(broker_data::Timespan::from_secs(1));
    assert!(circles.handle_command(later, sender, &command));
}
