//! Every number of the protocol, with its unit.

use broker_data::Timespan;

use crate::id::EndpointId;

const MILLISECOND_NS: i64 = 1_000_000;

/// How long a goodbye may stay unanswered before the connection is closed all the same.
/// Spec: wire 9.1.
pub const BYE_TIMEOUT: Timespan = Timespan::from_ns(3_000 * MILLISECOND_NS);

/// Shortest pause between two attempts of an outgoing peering, so that a retry interval of
/// nanoseconds does not become a busy loop.
pub const RETRY_MIN: Timespan = Timespan::from_ns(MILLISECOND_NS);

/// Pause before the next attempt when peerings end as soon as they are there, unless the retry
/// interval is shorter. See ADR 0017.
pub const REDIAL_PAUSE: Timespan = Timespan::from_ns(1_000 * MILLISECOND_NS);

/// How long a peer that has left may take to notice that its old connection is over. Until then its
/// refusal of a new one as redundant is not believed: the attempt is repeated. A goodbye takes no
/// longer than [`BYE_TIMEOUT`] on either side; the rest is for busy machines. See ADR 0120.
pub const UNNOTICED_END_TIMEOUT: Timespan = Timespan::from_ns(5_000 * MILLISECOND_NS);

/// First and longest pause before an attempt that was refused that way is repeated; each is twice
/// as long as the one before. An idle peer notices within a millisecond.
pub const UNNOTICED_END_PAUSE_MIN: Timespan = Timespan::from_ns(2 * MILLISECOND_NS);
/// See [`UNNOTICED_END_PAUSE_MIN`].
pub const UNNOTICED_END_PAUSE_MAX: Timespan = Timespan::from_ns(250 * MILLISECOND_NS);

/// Peers that left and are remembered for [`UNNOTICED_END_TIMEOUT`]. Of more that leave within that
/// time the first are forgotten, and a refusal by those counts.
pub const DEPARTED_PEERS_MAX: usize = 256;

/// Events about refused incoming connections that may come at once; strangers must not be able to
/// fill the log or the queues of those who read events.
pub const REFUSAL_EVENTS_BURST: u32 = 10;

/// Time after which one more of them may come.
pub const REFUSAL_EVENT_INTERVAL: Timespan = Timespan::from_ns(1_000 * MILLISECOND_NS);

/// Largest payload of a ping that is answered: the pings of all known peers have 8 or 11 bytes,
/// and an answer must not cost more memory than a routine message. See ADR 0014.
pub const PING_PAYLOAD_MAX: usize = 4 * 1024;

/// Bytes kept of the reason a peer gives for dropping a connection; it ends up in events and logs.
pub const REASON_MAX: usize = 512;

/// Events that came too early and are kept for one channel; a sender that goes beyond is asked
/// again for what was left out.
pub const CHANNEL_REORDER_EVENTS_MAX: usize = 65_536;

/// Bytes of events that came too early, each with [`CHANNEL_REORDER_EVENT_BYTES`] on top.
pub const CHANNEL_REORDER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What keeping an event costs beyond its bytes, so that many small ones count as well.
pub const CHANNEL_REORDER_EVENT_BYTES: usize = 64;

/// Bytes that are sent again within one tick, to all consumers together: more than a network of
/// 1 Gbit/s carries meanwhile. Whoever asks for more asks again.
pub const CHANNEL_RESEND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Numbers in one request for what is missing: more follow when these have come.
pub const CHANNEL_NACK_MAX: usize = 1024;

/// Pings of the application that one peer has not answered yet: enough for one per millisecond over
/// any link, and a bound for a peer that answers none.
pub const PINGS_MAX: usize = 1024;

/// What an [`Endpoint`](crate::Endpoint) needs to know from its start on.
#[derive(Debug, Clone)]
pub struct Config {
    /// The endpoint's id, fresh and random for every endpoint.
    pub id: EndpointId,
    /// Random number that makes the tokens of goodbyes unpredictable to peers.
    pub seed: u64,
    /// See [`BYE_TIMEOUT`].
    pub bye_timeout: Timespan,
}

impl Config {
    /// The defaults for an endpoint of that id.
    pub const fn new(id: EndpointId, seed: u64) -> Self {
        Self {
            id,
            seed,
            bye_timeout: BYE_TIMEOUT,
        }
    }
}
