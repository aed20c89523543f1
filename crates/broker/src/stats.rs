//! Statistics of an endpoint: the counters behind metrics and status.
//!
//! Connections and mailboxes count for themselves, without a lock of their own; here the counts are
//! gathered when somebody asks. No lock that messages need is held for longer than it takes to copy
//! the numbers of one mailbox.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_data::Timestamp;
use broker_proto::{EndpointId, HandshakeFailures, NetworkAddress, RefusalCounts, Topic};

use crate::core::link::Side;
pub use crate::core::listeners::ListenerKind;
pub use crate::flow::counters::{LinkStats, QueueStats, Traffic};
pub use crate::flow::foreign::Transport;
use crate::flow::target::TargetKind;
pub use crate::flow::topic_counts::TopicStats;
use crate::store::Node;
pub use crate::store::{
    COMMIT_SECONDS, CommitStats, ReadCounts, StoreOperations, StoreState, StoreStats,
};

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
    /// The links, sorted by address; those without a connection, too.
    pub links: Vec<LinkStats>,
    /// Subscribers, hubs and WebSocket clients.
    pub consumers: Vec<ConsumerStats>,
    /// The data stores.
    pub stores: Vec<StoreStats>,
    /// When the certificate that native peers see is over; `None` without one.
    pub certificate_expiry: Option<Timestamp>,
    /// What the endpoint listens on.
    pub listeners: Vec<ListenerStats>,
    /// What went through under which topics: the 256 busiest prefixes, the busiest first, and all
    /// others together.
    pub topics: Vec<TopicStats>,
    /// Connections that did not become peerings.
    pub refusals: RefusalCounts,
    /// Handshakes that came to nothing, by reason: of incoming connections and of attempts.
    pub handshake_failures: HandshakeFailures,
    /// Messages that did not arrive, by reason.
    pub drops: Drops,
    /// What the program around the endpoint counts.
    pub program: Vec<ProgramCounter>,
    /// Forwarders of ZeroMQ messages, see
    /// [`Endpoint::report_forwarder`](crate::Endpoint::report_forwarder).
    #[cfg(feature = "zeromq")]
    pub forwarders: Vec<crate::core::forwarders::ForwarderStats>,
    /// Commands of data stores in the name of others.
    pub refused_commands: u64,
    /// Copies of messages that came in several ways.
    pub duplicates_dropped: u64,
    /// Whether messages of one peer are passed on to others.
    pub forwarding: bool,
    /// Circles through peers of other implementations that were found.
    pub loops_found: u64,
    /// Commands of data stores that were not passed on as the same came too often.
    pub commands_stopped: u64,
}

/// One place where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Whom it is for.
    pub kind: ListenerKind,
    /// Where it is.
    pub address: SocketAddr,
    /// When the certificate is over that it shows, if it has one of its own beside that of native
    /// peers.
    pub certificate_expiry: Option<Timestamp>,
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
    /// Which side made the connection.
    pub direction: Direction,
    /// How often the peering was established again: with the address, where this endpoint makes the
    /// connection, otherwise with the id.
    pub reconnects: u64,
    /// What came from it, copies of other messages left out.
    pub received: Traffic,
    /// What goes to it.
    pub sent: QueueStats,
    /// The topics it wants: how many.
    pub topics: u64,
    /// How long a ping and its answer took, at the last measurement: every ten seconds while there
    /// is an HTTP server. `None` before the first answer, and of WebSocket servers.
    pub round_trip: Option<Duration>,
}

/// Which side made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// The other one.
    Incoming,
    /// This endpoint.
    Outgoing,
}

impl Direction {
    /// The name that metrics use, for example `incoming`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Outgoing => "outgoing",
        }
    }
}

/// Messages that did not arrive, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Drops {
    /// The queue of a consumer was full, and its policy drops.
    pub overflow: u64,
    /// They waited for a consumer that was cut off, as it did not take them.
    pub cut_off: u64,
    /// They had come another way before.
    pub duplicate: u64,
    /// Commands of data stores that cannot be from whom they name.
    pub refused_command: u64,
    /// Commands of data stores of which the same came too often.
    pub stopped_command: u64,
}

impl Drops {
    /// The counts with the names that metrics use for the reasons.
    pub const fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("overflow", self.overflow),
            ("cut-off", self.cut_off),
            ("duplicate", self.duplicate),
            ("refused-command", self.refused_command),
            ("stopped-command", self.stopped_command),
        ]
    }
}

/// A number that the program counts, see [`Endpoint::add_counter`](crate::Endpoint::add_counter).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramCounter {
    /// The name of the metric, without the `_total` at its end.
    pub name: String,
    /// What it counts.
    pub help: String,
    /// How much so far.
    pub value: u64,
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
    let listeners = listeners(node);
    let (infos, links, refusals, handshake_failures) = {
        let control = node.shared.lock_control();
        let machine = control.machine();
        (
            machine.peers(),
            control.peer_links(),
            machine.refusal_counts(),
            machine.handshake_failures(),
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
                direction: match link.side {
                    Side::Acceptor => Direction::Incoming,
                    Side::Connector => Direction::Outgoing,
                },
                reconnects: link.reconnects(),
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
        .filter(|(_, _, target)| target.kind != TargetKind::Sample)
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
        links: node.shared.link_rules.stats(&links),
        consumers,
        stores: node.stores.stats(node.shared.clock.time_of_day()),
        #[cfg(feature = "tls")]
        certificate_expiry: node.shared.certificate_expiry(),
        #[cfg(not(feature = "tls"))]
        certificate_expiry: None,
        listeners,
        topics: node.shared.data.routes.topic_counts.busiest(),
        refusals,
        handshake_failures,
        drops: Drops {
            overflow: load(&totals.lost.dropped),
            cut_off: load(&totals.lost.cut_off),
            duplicate: node.shared.data.marking.dropped(),
            refused_command: load(&node.shared.refused_commands),
            stopped_command: commands_stopped,
        },
        program: program(node),
        #[cfg(feature = "zeromq")]
        forwarders: node.shared.forwarders.read(),
        refused_commands: load(&node.shared.refused_commands),
        duplicates_dropped: node.shared.data.marking.dropped(),
        forwarding: !node.shared.options.disable_forwarding,
        loops_found,
        commands_stopped,
    }
}

/// What the endpoint listens on. Files of certificates are looked at without the control plane.
fn listeners(node: &Node) -> Vec<ListenerStats> {
    #[cfg(feature = "tls")]
    type Own = Option<crate::net::tls::Tls>;
    #[cfg(not(feature = "tls"))]
    type Own = ();
    let listeners: Vec<(ListenerKind, SocketAddr, Own)> = {
        let control = node.shared.lock_control();
        let open = control.listeners().open().iter();
        #[cfg(feature = "tls")]
        let all = open.map(|it| (it.kind, it.address, it.tls.clone()));
        #[cfg(not(feature = "tls"))]
        let all = open.map(|it| (it.kind, it.address, ()));
        all.collect()
    };
    let stats = listeners.into_iter().map(|(kind, address, own)| {
        #[cfg(feature = "tls")]
        let certificate_expiry = own.and_then(|tls| tls.expiry());
        #[cfg(not(feature = "tls"))]
        let certificate_expiry = {
            let () = own;
            None
        };
        ListenerStats {
            kind,
            address,
            certificate_expiry,
        }
    });
    stats.collect()
}

fn program(node: &Node) -> Vec<ProgramCounter> {
    let read = node.shared.program_counters.read().into_iter();
    let counters = read.map(|(name, help, value)| ProgramCounter { name, help, value });
    counters.collect()
}
