//! Counters of the data path. Who writes them pays a few instructions, who asks gathers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_proto::frame::Tag;
use broker_proto::{EndpointId, Topic};

/// Messages, and their bytes with envelopes and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A link: a peering that only listed topics cross, see
/// [`Endpoint::set_link_rules`](crate::Endpoint::set_link_rules).
///
/// Counts begin with the rules and go on over all its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Where the other end is, as in events: a URL, or host and port.
    pub address: String,
    /// What may come in, as prefixes.
    pub import: Vec<Topic>,
    /// What may go out, as prefixes.
    pub export: Vec<Topic>,
    /// The peer at the other end; `None` while there is no connection.
    pub peer: Option<EndpointId>,
    /// Times that there was a connection.
    pub connects: u64,
    /// What came over it, copies of other messages left out, with what the rules dropped here: native
    /// peers may send more than is asked.
    pub received: Traffic,
    /// What was sent over it.
    pub sent: Traffic,
    /// Messages that were to be sent and did not get into a full queue.
    pub dropped: u64,
}

/// The messages that wait for a consumer, and what became of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueStats {
    /// Messages that were taken: written to a socket, or handed to the reader.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that wait.
    pub waiting_messages: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// The most messages that ever waited.
    pub waiting_messages_max: u64,
    /// The most bytes that ever waited.
    pub waiting_bytes_max: u64,
    /// Messages that the overflow policy dropped.
    pub dropped: u64,
    /// Whether the queue is full and its consumer takes nothing.
    pub is_stalled: bool,
    /// How often that began.
    pub stalls: u64,
    /// How long nothing was taken although something waited, as far as those who asked have seen:
    /// it is compared when asked.
    pub idle: Duration,
}

/// What came from a connection. Its task writes, anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Received {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Received {
    /// Counts messages, by the one task that reads the connection.
    pub(crate) fn count(&self, messages: usize, bytes: usize) {
        add(&self.messages, messages as u64);
        add(&self.bytes, bytes as u64);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a counter with one writer: a load and a store are cheaper than an atomic addition.
fn add(counter: &AtomicU64, by: u64) {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before.wrapping_add(by), Ordering::Relaxed);
}

/// Messages that consumers did not get, those that are gone included.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Dropped by the policy of a full queue.
    pub(crate) dropped: AtomicU64,
    /// What waited for a consumer that was cut off.
    pub(crate) cut_off: AtomicU64,
}

/// The counters of an endpoint that belong to no connection.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) lost: Arc<Lost>,
    /// Commands of data stores from peers.
    pub(crate) commands: AtomicU64,
    pub(crate) routing_updates: AtomicU64,
    pub(crate) pings: AtomicU64,
    pub(crate) pongs: AtomicU64,
    /// Data messages and commands that came from peers.
    pub(crate) received: AtomicU64,
}

impl Totals {
    /// Counts a message of a peer that is for the endpoint itself.
    pub(crate) fn count_control(&self, tag: Tag) {
        let counter = match tag {
            Tag::RoutingUpdate => &self.routing_updates,
            Tag::Ping => &self.pings,
            Tag::Pong => &self.pongs,
            Tag::Data | Tag::Command => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
