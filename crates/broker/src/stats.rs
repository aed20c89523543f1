//! Statistics of an endpoint: the counters behind metrics and status.
//!
//! Connections and mailboxes count for themselves, without a lock of their own; here the counts are
//! gathered when somebody asks. No lock that messages need is held for longer than it takes to copy
//! the numbers of one mailbox.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_data::Timestamp;
use broker_proto::{EndpointId, NetworkAddress, RefusalCounts, Topic};

pub use crate::flow::counters::{QueueStats, Traffic};
pub use crate::flow::foreign::Transport;
use crate::flow::target::TargetKind;
pub use crate::flow::topic_counts::TopicStats;
use crate::store::Node;
pub use crate::store::{COMMIT_SECONDS, CommitStats, StoreState, StoreStats};

/// Topics of a subscriber that are named.
const TOPICS_NAMED_MAX: usize = 16;

/// Everything an endpoint counts, see [`Endpoint::stats`](crate::Endpoint::stats).
///
/// Counters begin with the endpoint, those of a peer or subscriber with it, and never fall.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The endpoint.
    pub id: EndpointId,
    /// Time since it began.
    pub uptime: Duration,
    /// Messages that were published here.
    pub published: u64,
    /// Messages by what they are, over all peers that are or were.
    pub processed: Processed,
    /// Connections that are open, handshakes included.
    pub connections: u64,
    /// The peers, sorted by id.
    pub peers: Vec<PeerStats>,
    /// Subscribers, hubs and WebSocket clients.
    pub consumers: Vec<ConsumerStats>,
    /// The data stores.
    pub stores: Vec<StoreStats>,
    /// When the certificate that native peers see is over; `None` without one.
    pub certificate_expiry: Option<Timestamp>,
    /// What went through under which topics: the 256 busiest prefixes, the busiest first, and all
    /// others together.
    pub topics: Vec<TopicStats>,
    /// Connections that did not become peerings.
    pub refusals: RefusalCounts,
    /// Commands of data stores in the name of others.
    pub refused_commands: u64,
    /// Copies of messages that came in several ways.
    pub duplicates_dropped: u64,
    /// Circles through peers of other implementations that were found.
    pub loops_found: u64,
    /// Commands of data stores that were not passed on as the same came too often.
    pub commands_stopped: u64,
}

/// Messages that came through an endpoint, by what they are. Spec: tools 7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Processed {
    /// Data messages from peers, and those published here.
    pub data: u64,
    /// Commands of data stores from peers.
    pub command: u64,
    /// Filters of peers.
    pub routing_update: u64,
    /// Pings of peers.
    pub ping: u64,
    /// Answers to pings.
    pub pong: u64,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStats {
    /// Its id.
    pub id: EndpointId,
    /// Where it is.
    pub address: NetworkAddress,
    /// How it is spoken with.
    pub transport: Transport,
    /// What came from it. Of WebSocket servers, see
    /// [`Endpoint::web_socket_peer_counts`](crate::Endpoint::web_socket_peer_counts).
    pub received: Traffic,
    /// What goes to it.
    pub sent: QueueStats,
    /// The topics it wants: how many.
    pub topics: u64,
    /// How long a ping and its answer took, at the last measurement: every ten seconds while there
    /// is an HTTP server. `None` before the first answer, and of WebSocket servers.
    pub round_trip: Option<Duration>,
}

/// What a consumer of this endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ConsumerKind {
    /// A subscriber, or the reading half of a hub.
    Subscriber,
    /// A WebSocket client.
    Client,
}

impl ConsumerKind {
    /// The name that metrics use, for example `subscriber`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Client => "client",
        }
    }
}

/// One consumer of this endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Its number; none comes twice.
    pub number: u64,
    /// What it is.
    pub kind: ConsumerKind,
    /// What the program calls it, see [`Subscriber::set_name`](crate::Subscriber::set_name).
    pub name: Option<String>,
    /// Its first topics, at most 16.
    pub topics: Vec<Topic>,
    /// Its messages.
    pub queue: QueueStats,
}

/// Gathers what is counted.
pub(crate) fn of(node: &Node) -> Stats {
    let table = node.shared.data.routes.load();
    let (infos, links, refusals) = {
        let control = node.shared.lock_control();
        let machine = control.machine();
        (
            machine.peers(),
            control.peer_links(),
            machine.refusal_counts(),
        )
    };
    let peers: Vec<PeerStats> = infos
        .into_iter()
        .filter_map(|info| {
            let link = links.get(&info.id)?;
            Some(PeerStats {
                id: info.id,
                address: info.network,
                transport: match link.kind {
                    TargetKind::Foreign(foreign) => foreign.transport,
                    _ => Transport::Native,
                },
                received: link.received.traffic(),
                sent: link.mailbox.stats(),
                topics: table
                    .peer_filter(info.id)
                    .map_or(0, |filter| filter.entries().count() as u64),
                round_trip: link.round_trip.last(),
            })
        })
        .collect();
    let consumers: Vec<ConsumerStats> = table
        .locals()
        .map(|(id, _, target)| ConsumerStats {
            number: id.0,
            kind: match target.kind {
                TargetKind::Client => ConsumerKind::Client,
                _ => ConsumerKind::Subscriber,
            },
            name: target.mailbox.name().map(str::to_owned),
            topics: table
                .local_topics(id)
                .take(TOPICS_NAMED_MAX)
                .cloned()
                .collect(),
            queue: target.mailbox.stats(),
        })
        .collect();
    let totals = &node.shared.data.totals;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let published = node.shared.data.routes.topic_counts.published();
    let commands = load(&totals.commands);
    let received = load(&totals.received);
    let (loops_found, commands_stopped) = {
        let circles = node.shared.circles.lock();
        (circles.found(), circles.commands_stopped())
    };
    Stats {
        id: node.shared.data.id,
        uptime: Duration::from_nanos(u64::try_from(node.shared.now().ns()).unwrap_or(0)),
        published,
        processed: Processed {
            data: received.saturating_sub(commands).saturating_add(published),
            command: commands,
            routing_update: load(&totals.routing_updates),
            ping: load(&totals.pings),
            pong: load(&totals.pongs),
        },
        connections: node.shared.connections.now() as u64,
        peers,
        consumers,
        stores: node.stores.stats(node.shared.clock.time_of_day()),
        #[cfg(feature = "tls")]
        certificate_expiry: node.shared.certificate_expiry(),
        #[cfg(not(feature = "tls"))]
        certificate_expiry: None,
        topics: node.shared.data.routes.topic_counts.busiest(),
        refusals,
        refused_commands: load(&node.shared.refused_commands),
        duplicates_dropped: node.shared.data.marking.dropped(),
        loops_found,
        commands_stopped,
    }
}
