//! Metrics of links, which only listed topics cross.

use std::fmt;

use super::{Families, label};
use crate::stats::LinkStats;

/// Writes their families; nothing where there is no link.
pub(super) fn encode(families: &mut Families<'_>, links: &[LinkStats]) -> fmt::Result {
    if links.is_empty() {
        return Ok(());
    }
    let each = |value: fn(&LinkStats) -> u64| {
        links
            .iter()
            .map(move |link| ([label("link", &link.address)], value(link)))
    };
    families.gauges(
        "broker_link_up",
        "Whether there is a connection to the other end of a link.",
        each(|link| u64::from(link.peer.is_some())),
    )?;
    families.counters(
        "broker_link_connects",
        "Times that a link was connected.",
        each(|link| link.connects),
    )?;
    families.counters(
        "broker_link_received_messages",
        "Messages that came over a link, over all its connections.",
        each(|link| link.received.messages),
    )?;
    families.counters(
        "broker_link_received_bytes",
        "Bytes of messages that came over a link.",
        each(|link| link.received.bytes),
    )?;
    families.counters(
        "broker_link_sent_messages",
        "Messages that were sent over a link, over all its connections.",
        each(|link| link.sent.messages),
    )?;
    families.counters(
        "broker_link_sent_bytes",
        "Bytes of messages that were sent over a link.",
        each(|link| link.sent.bytes),
    )?;
    families.counters(
        "broker_link_dropped_messages",
        "Messages for a link that were dropped because they were not taken.",
        each(|link| link.dropped),
    )
}
