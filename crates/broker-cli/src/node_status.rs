//! How a node is, as its HTTP server or a peer of it tells: what `status` prints and `top` shows.

use serde::Deserialize;

use crate::outcome::Failure;

/// Everything that is told of a node at one moment. What a node of another version does not tell is
/// empty.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct NodeStatus {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) time: String,
    /// Seconds.
    pub(crate) uptime: f64,
    pub(crate) published: u64,
    pub(crate) refused_connections: u64,
    pub(crate) refused_commands: u64,
    pub(crate) duplicates_dropped: u64,
    pub(crate) peers: Vec<Peer>,
    pub(crate) subscribers: Vec<Consumer>,
    pub(crate) stores: Vec<Store>,
    pub(crate) clients: Vec<Client>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) links: Vec<Link>,
    pub(crate) forwarders: Vec<Forwarder>,
    /// What its policy decided; `None` without one.
    pub(crate) policy: Option<Policy>,
    pub(crate) ready: Option<Health>,
}

/// Whether a node works, and what of it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Health {
    pub(crate) status: String,
    pub(crate) reasons: Vec<String>,
}

impl Health {
    pub(crate) fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Peer {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) transport: String,
    /// Which side connected.
    pub(crate) direction: String,
    pub(crate) reconnects: u64,
    pub(crate) topics: u64,
    pub(crate) received: Traffic,
    pub(crate) sent: Queue,
    /// Seconds.
    pub(crate) round_trip: Option<f64>,
}

impl Peer {
    /// Where it is: a URL has its port inside.
    pub(crate) fn place(&self) -> String {
        if self.address.contains("://") || self.port == 0 {
            self.address.clone()
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Queue {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) waiting_messages: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) waiting_messages_max: u64,
    pub(crate) waiting_bytes_max: u64,
    pub(crate) dropped: u64,
    pub(crate) stalled: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Consumer {
    pub(crate) number: u64,
    pub(crate) name: Option<String>,
    pub(crate) kind: String,
    pub(crate) topics: Vec<String>,
    pub(crate) queue: Queue,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Store {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) entries: Option<u64>,
    pub(crate) outputs: u64,
    pub(crate) unacknowledged: u64,
    pub(crate) updates: u64,
    pub(crate) working: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Client {
    pub(crate) application: String,
    pub(crate) clients: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    pub(crate) overflowed: u64,
    pub(crate) dropped: u64,
}

/// What the policy of a node decided in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Policy {
    pub(crate) permissive: bool,
    pub(crate) denied: u64,
    pub(crate) limited: u64,
    /// Connections that proved nothing right.
    pub(crate) failures: u64,
}

/// A peering that only listed topics cross.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Link {
    pub(crate) address: String,
    /// While there is a connection.
    pub(crate) peer: Option<String>,
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
    pub(crate) dropped: u64,
}

/// A forwarder of ZeroMQ messages that a node runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Forwarder {
    pub(crate) xpub: String,
    pub(crate) xsub: String,
    pub(crate) subscriptions: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) unwanted: u64,
    pub(crate) dropped: u64,
    /// Messages of which its policy let nothing go on, or not all.
    pub(crate) denied: u64,
    pub(crate) refused_connections: u64,
    pub(crate) connections: Vec<ForwarderConnection>,
}

/// A connection of a forwarder.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct ForwarderConnection {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) side: String,
    pub(crate) key: Option<String>,
    /// The client's name in the policy; `None` without one.
    pub(crate) principal: Option<String>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) waiting_messages: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) dropped: u64,
}

impl Forwarder {
    /// The connections of a side, "publisher" or "subscriber".
    pub(crate) fn of<'f>(
        &'f self,
        side: &'f str,
    ) -> impl Iterator<Item = &'f ForwarderConnection> + Clone {
        self.connections.iter().filter(move |it| it.side == side)
    }

    /// Messages and bytes that wait for its subscribers.
    pub(crate) fn waiting(&self) -> Traffic {
        sum(self.connections.iter().map(|it| Traffic {
            messages: it.waiting_messages,
            bytes: it.waiting_bytes,
        }))
    }
}

impl ForwarderConnection {
    /// What it does and from where.
    pub(crate) fn name(&self) -> String {
        let address = if self.address.contains(':') {
            format!("[{}]", self.address)
        } else {
            self.address.clone()
        };
        format!("{} {address}:{}", self.side, self.port)
    }
}

/// What went through under a prefix of topics.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Topic {
    pub(crate) prefix: String,
    pub(crate) received: Traffic,
    pub(crate) published: Traffic,
}

/// A status or error event of a node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct NodeEvent {
    pub(crate) number: u64,
    pub(crate) time: String,
    pub(crate) kind: String,
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) peer: Option<String>,
    pub(crate) address: Option<String>,
}

impl NodeStatus {
    /// Reads the document of a node.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Failure> {
        parse(text)
    }

    pub(crate) fn received(&self) -> Traffic {
        sum(self.peers.iter().map(|peer| peer.received))
    }

    pub(crate) fn sent(&self) -> Traffic {
        sum(self.peers.iter().map(|peer| Traffic {
            messages: peer.sent.messages,
            bytes: peer.sent.bytes,
        }))
    }

    /// Messages that wait or were lost, over all queues.
    pub(crate) fn waiting_and_lost(&self) -> (u64, u64) {
        let peers = self.peers.iter().map(|peer| &peer.sent);
        let queues = peers.chain(self.subscribers.iter().map(|it| &it.queue));
        queues.fold((0, 0), |(waiting, lost): (u64, u64), queue| {
            (
                waiting.saturating_add(queue.waiting_messages),
                lost.saturating_add(queue.dropped),
            )
        })
    }
}

/// Reads a document of a node.
pub(crate) fn parse<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<T, Failure> {
    serde_json::from_slice(text)
        .map_err(|error| Failure::failed(format!("the node's answer makes no sense: {error}")))
}

fn sum(parts: impl Iterator<Item = Traffic>) -> Traffic {
    parts.fold(Traffic::default(), |all, one| Traffic {
        messages: all.messages.saturating_add(one.messages),
        bytes: all.bytes.saturating_add(one.bytes),
    })
}

/// A number with blanks between thousands.
pub(crate) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a unit.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Messages and their bytes.
pub(crate) fn both(messages: u64, size: u64) -> String {
    format!("{} ({})", whole(messages), bytes(size))
}

/// How long something lasted, in its two largest units.
pub(crate) fn age(seconds: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds.max(0.0) as u64;
    let first = UNITS.iter().position(|(size, _)| left >= *size);
    let Some(first) = first else {
        return "0 s".to_owned();
    };
    let parts = UNITS.iter().skip(first).take(2).map(|(size, unit)| {
        let count = left / size;
        left %= size;
        format!("{count} {unit}")
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(whole(1_234_567), "1 234 567");
        assert_eq!(whole(999), "999");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(age(0.3), "0 s");
        assert_eq!(age(3661.0), "1 h 1 min");
        assert_eq!(age(90_000.0), "1 d 1 h");
    }

    #[test]
    fn what_a_node_does_not_tell_is_empty() {
        let status = NodeStatus::parse(
            br#"{"id":"x","peers":[{"id":"p","sent":{"stalled":true}}],"new":1}"#,
        );
        let status = status.unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(status.peers.first().is_some_and(|peer| peer.sent.stalled));
        assert!(status.ready.is_none() && status.topics.is_empty());
        assert!(NodeStatus::parse(b"<html>").is_err());
    }
}
