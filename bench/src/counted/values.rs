//! Values to bytes and back, and the search for the subscribers of a topic.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::ensure;
use broker_data::{Encoder, decode, to_bytes};
use broker_proto::{EndpointId, LocalId, LocalKind, Origin, RoutingTable, Topic};

use crate::Load;
use crate::payload::{Event, Size, TOPIC};

/// Peers and subscribers that a topic is looked up among.
const TARGETS: u64 = 64;

pub(crate) fn encode_small(load: Load) -> anyhow::Result<Duration> {
    encode(load, Size::Small)
}

pub(crate) fn encode_medium(load: Load) -> anyhow::Result<Duration> {
    encode(load, Size::Medium)
}

pub(crate) fn decode_small(load: Load) -> anyhow::Result<Duration> {
    decode_event(load, Size::Small)
}

pub(crate) fn decode_medium(load: Load) -> anyhow::Result<Duration> {
    decode_event(load, Size::Medium)
}

fn event(size: Size) -> Event<'static> {
    Event {
        sequence: 7,
        size,
        filler: &[],
    }
}

fn encode(load: Load, size: Size) -> anyhow::Result<Duration> {
    let event = event(size);
    let mut out = Vec::with_capacity(1024);
    let start = Instant::now();
    for _ in 0..load.iterations {
        out.clear();
        Encoder::new(&mut out).encode(black_box(&event))?;
        black_box(&out);
    }
    let took = start.elapsed();
    ensure!(out == to_bytes(&event)?, "encoded differently");
    Ok(took)
}

fn decode_event(load: Load, size: Size) -> anyhow::Result<Duration> {
    let bytes = to_bytes(&event(size))?;
    let start = Instant::now();
    for _ in 0..load.iterations {
        black_box(decode(black_box(&bytes))?);
    }
    let took = start.elapsed();
    ensure!(to_bytes(&decode(&bytes)?)? == bytes, "decoded differently");
    Ok(took)
}

/// Looks for the targets of a topic among peers and subscribers with `size` subscriptions each, two
/// of whom want it.
pub(crate) fn match_topic(load: Load) -> anyhow::Result<Duration> {
    let subscriptions = |number: u64| -> Vec<Topic> {
        (0..load.size)
            .map(|topic| Topic::from(format!("/topic/{topic:06}/{number}").as_str()))
            .collect()
    };
    let mut table = RoutingTable::new(EndpointId::from_bytes([1; 16]));
    for number in 0..TARGETS {
        let mut wanted = subscriptions(number);
        if number == TARGETS / 2 {
            wanted.push(Topic::from(TOPIC));
        }
        let mut id = [2; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let filter = wanted.iter().cloned().collect();
        table.add_peer(EndpointId::from_bytes(id), filter, number);
        table.add_local(LocalId(number), LocalKind::Hub, wanted, number);
    }
    let topic = TOPIC.as_bytes();
    let find = |topic| table.targets(Origin::Endpoint, EndpointId::NIL, topic, true);
    let start = Instant::now();
    for _ in 0..load.iterations {
        black_box(find(black_box(topic)));
    }
    let took = start.elapsed();
    ensure!(
        find(topic) == [TARGETS / 2; 2],
        "the wrong targets were found"
    );
    Ok(took)
}
