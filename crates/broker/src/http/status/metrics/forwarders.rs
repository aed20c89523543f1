//! Metrics of forwarders of ZeroMQ messages.

use std::fmt;

use super::{Families, Label, label};
use crate::core::forwarders::{ForwarderConnection, ForwarderSide, ForwarderStats};

/// Writes their families; nothing where there is no forwarder.
pub(super) fn encode(families: &mut Families<'_>, forwarders: &[ForwarderStats]) -> fmt::Result {
    if forwarders.is_empty() {
        return Ok(());
    }
    let of = |forwarder: &ForwarderStats| vec![label("xpub", &forwarder.xpub.to_string())];
    families.gauges(
        "broker_forwarder_connections",
        "Connections of a forwarder, by what they do.",
        forwarders.iter().flat_map(|forwarder| {
            [ForwarderSide::Subscriber, ForwarderSide::Publisher].map(|side| {
                let mut labels = of(forwarder);
                labels.push(label("side", side.name()));
                let count = forwarder.connections.iter().filter(|it| it.side == side);
                (labels, count.count() as u64)
            })
        }),
    )?;
    families.gauges(
        "broker_forwarder_subscriptions",
        "Topics that are wanted of a forwarder, each counted for each of its subscribers.",
        forwarders
            .iter()
            .map(|it| (of(it), it.subscriptions as u64)),
    )?;
    for (name, help, value) in [
        (
            "broker_forwarder_received_messages",
            "Messages that publishers sent to a forwarder.",
            (|it| it.messages) as fn(&ForwarderStats) -> u64,
        ),
        (
            "broker_forwarder_received_bytes",
            "Bytes of messages that publishers sent to a forwarder.",
            |it| it.bytes,
        ),
        (
            "broker_forwarder_unwanted_messages",
            "Messages to a forwarder that no subscriber wanted.",
            |it| it.unwanted,
        ),
        (
            "broker_forwarder_dropped_messages",
            "Messages that subscribers of a forwarder did not take in time, those that are gone included.",
            |it| it.dropped,
        ),
        (
            "broker_forwarder_denied_messages",
            "Messages to a forwarder of which the policy let nothing go on, or not all.",
            |it| it.denied,
        ),
        (
            "broker_forwarder_refused_connections",
            "Connections that a forwarder refused: wrong keys, other protocols, no rights, too many subscriptions.",
            |it| it.refused,
        ),
    ] {
        families.counters(name, help, forwarders.iter().map(|it| (of(it), value(it))))?;
    }
    let subscribers: Vec<(Vec<Label>, &ForwarderConnection)> = forwarders
        .iter()
        .flat_map(|forwarder| {
            let all = forwarder.connections.iter();
            let subscribers = all.filter(|it| it.side == ForwarderSide::Subscriber);
            subscribers.map(move |subscriber| {
                let key = subscriber.key.map(|key| key.to_string());
                let mut labels = of(forwarder);
                labels.push(label("address", &subscriber.address.to_string()));
                labels.push(label("key", &key.unwrap_or_default()));
                (labels, subscriber)
            })
        })
        .collect();
    let each = |value: fn(&ForwarderConnection) -> u64| {
        let subscribers = subscribers.iter();
        subscribers.map(move |(labels, subscriber)| (labels, value(subscriber)))
    };
    families.counters(
        "broker_forwarder_subscriber_sent_messages",
        "Messages that were written to a subscriber of a forwarder.",
        each(|it| it.messages),
    )?;
    families.counters(
        "broker_forwarder_subscriber_dropped_messages",
        "Messages that a subscriber of a forwarder did not take in time.",
        each(|it| it.dropped),
    )?;
    families.gauges(
        "broker_forwarder_subscriber_waiting_messages",
        "Messages that wait for a subscriber of a forwarder.",
        each(|it| it.waiting),
    )?;
    families.gauges(
        "broker_forwarder_subscriber_waiting_bytes",
        "Bytes of messages that wait for a subscriber of a forwarder.",
        each(|it| it.waiting_bytes),
    )
}
