//! A forwarder and those around it: whatever subscribers and publishers do, publishers believe what is
//! wanted, and messages go to those who want them, as plain lists say.
//!
//! Three bytes are one step: what is done, by whom, and with which prefix.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use broker_proto::zmtp::{ConnectionId, Forwarder, ForwarderOutput};
use libfuzzer_sys::fuzz_target;

/// Prefixes of each other, and of the topics that are tried out.
const PREFIXES: [&[u8]; 8] = [b"", b"a", b"ab", b"aba", b"b", b"ba", b"\0", b"abc"];
const TOPICS: [&[u8]; 4] = [b"", b"abab", b"ba", b"\0abc"];
const SUBSCRIBERS: u64 = 4;
const PUBLISHERS: u64 = 3;

fuzz_target!(|input: &[u8]| {
    let mut forwarder = Forwarder::new();
    let mut wanted: BTreeMap<u64, BTreeSet<&[u8]>> = BTreeMap::new();
    let mut believed: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for step in input.chunks_exact(3) {
        let [what, who, which] = step else {
            continue;
        };
        let subscriber = u64::from(*who) % SUBSCRIBERS;
        let publisher = SUBSCRIBERS + u64::from(*who) % PUBLISHERS;
        let prefix = PREFIXES[usize::from(*which) % PREFIXES.len()];
        let before = (forwarder.version(), forwarder.targets(TOPICS[1]));
        match what % 6 {
            0 => {
                forwarder.handle_subscriber(ConnectionId(subscriber));
                wanted.entry(subscriber).or_default();
            }
            1 => {
                let id = ConnectionId(subscriber);
                forwarder.handle_subscribed(id, prefix).expect("far from the limit");
                wanted.entry(subscriber).and_modify(|own| {
                    own.insert(prefix);
                });
            }
            2 => {
                forwarder.handle_unsubscribed(ConnectionId(subscriber), prefix);
                wanted.entry(subscriber).and_modify(|own| {
                    own.remove(prefix);
                });
            }
            3 => {
                forwarder.handle_publisher(ConnectionId(publisher));
                believed.entry(publisher).or_default();
            }
            4 => {
                forwarder.handle_lost(ConnectionId(subscriber));
                wanted.remove(&subscriber);
            }
            _ => {
                forwarder.handle_lost(ConnectionId(publisher));
                believed.remove(&publisher);
            }
        }
        while let Some(output) = forwarder.poll_output() {
            let (to, notice): (Vec<u64>, _) = match output {
                ForwarderOutput::TellAll { notice } => (believed.keys().copied().collect(), notice),
                ForwarderOutput::Tell { to, notice } => (vec![to.0], notice),
            };
            let (kind, prefix) = notice.split_first().expect("a notice has a first byte");
            for id in to {
                let known = believed.get_mut(&id).expect("only those that are there are told");
                if *kind == 1 {
                    known.insert(prefix.to_vec());
                } else {
                    assert!(known.remove(prefix), "an end of what was never told");
                }
            }
        }
        let all: BTreeSet<Vec<u8>> = wanted.values().flatten().map(|it| it.to_vec()).collect();
        assert!(believed.values().all(|known| *known == all));
        let count: usize = wanted.values().map(BTreeSet::len).sum();
        assert_eq!(forwarder.subscriptions(), count);
        assert!(before.1 == forwarder.targets(TOPICS[1]) || before.0 != forwarder.version());
        for topic in TOPICS {
            let wants = |own: &BTreeSet<&[u8]>| own.iter().any(|it| topic.starts_with(it));
            let expected = wanted.iter().filter(|(_, own)| wants(own));
            let expected: Vec<_> = expected.map(|(id, _)| ConnectionId(*id)).collect();
            assert_eq!(forwarder.targets(topic), expected);
        }
    }
});
