//! The counters of an endpoint as text for Prometheus: in its own format and as OpenMetrics.
//!
//! First the families of the original, under their names, labels and help texts, then ours.
//! Spec: tools 7.1.

#[cfg(feature = "zeromq")]
mod forwarders;
mod links;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use broker_proto::store::Role;

use super::{Snapshot, role_name};
use crate::stats::{
    COMMIT_SECONDS, CommitStats, ConsumerStats, ListenerKind, PeerStats, QueueStats, StoreState,
    TopicStats, Transport,
};

/// The format that Prometheus has always read.
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The format of the standard, for those who ask for it.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a request's `Accept` names the standard's format.
pub(super) fn wants_open_metrics(accept: &str) -> bool {
    accept.contains("application/openmetrics-text")
}

/// Everything as OpenMetrics.
pub(super) fn open_metrics(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Everything in the format of Prometheus: the same, but that counters are named as their samples
/// are, and that nothing marks the end.
pub(super) fn text(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let open = open_metrics(snapshot)?;
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let counter = line.strip_prefix("# HELP ").zip(lines.peek());
        let counter = counter.filter(|(_, next)| next.ends_with(" counter"));
        if line == "# EOF" {
            continue;
        } else if let Some(name) = line
            .strip_prefix("# TYPE ")
            .and_then(|it| it.strip_suffix(" counter"))
        {
            for part in ["# TYPE ", name, "_total counter\n"] {
                text.push_str(part);
            }
        } else if let Some((name, help)) = counter.and_then(|(it, _)| it.split_once(' ')) {
            for part in ["# HELP ", name, "_total ", help, "\n"] {
                text.push_str(part);
            }
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// A label and its value.
type Label = (&'static str, String);

/// A value as it stands between quotes. The library writes it as it is, and some come from others:
/// names of applications, topics.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            // A carriage return ends a line for some readers.
            other if other.is_control() => text.push(char::REPLACEMENT_CHARACTER),
            other => text.push(other),
        }
    }
    text
}

/// Writes families, each with all of its samples.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (impl AsRef<[Label]>, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            sample(&mut family, labels.as_ref(), &ConstCounter::new(value))?;
        }
        Ok(())
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (impl AsRef<[Label]>, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            sample(&mut family, labels.as_ref(), &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

impl Families<'_> {
    fn real_gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (impl AsRef<[Label]>, f64)>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            sample(&mut family, labels.as_ref(), &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

fn sample(
    family: &mut MetricEncoder<'_>,
    labels: &[Label],
    metric: &impl EncodeMetric,
) -> fmt::Result {
    if labels.is_empty() {
        // The encoder of a family is used up by a sample.
        return metric.encode(family.encode_family(&NO_LABELS)?);
    }
    metric.encode(family.encode_family(&labels)?)
}

/// The classes of commits as a histogram.
struct CommitTimes(CommitStats);

impl EncodeMetric for CommitTimes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Self(commits) = self;
        let ends = COMMIT_SECONDS.into_iter().chain([f64::MAX]);
        let classes: Vec<(f64, u64)> = ends.zip(commits.classes).collect();
        let count = commits.classes.iter().sum();
        let sum = commits.total.as_secs_f64();
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &classes, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// For a family without labels.
const NO_LABELS: [(&str, &str); 0] = [];

fn label(name: &'static str, value: &str) -> Label {
    (name, escaped(value))
}

fn of_peer(peer: &PeerStats) -> Vec<Label> {
    vec![
        label("peer", &peer.id.to_string()),
        label("address", &peer.address.host),
        label("port", &peer.address.port.to_string()),
        label("transport", peer.transport.name()),
        label("direction", peer.direction.name()),
    ]
}

fn of_consumer(consumer: &ConsumerStats) -> Vec<Label> {
    let topics: Vec<_> = consumer
        .topics
        .iter()
        .map(|topic| String::from_utf8_lossy(topic.as_bytes()))
        .collect();
    vec![
        label("consumer", &consumer.number.to_string()),
        label("kind", consumer.kind.name()),
        label("name", consumer.name.as_deref().unwrap_or_default()),
        label("topics", &topics.join(",")),
    ]
}

fn of(name: &'static str, value: &str) -> Vec<Label> {
    vec![label(name, value)]
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.encode_original(&mut families)?;
        self.encode_endpoint(&mut families)?;
        self.encode_peers(&mut families)?;
        links::encode(&mut families, &self.stats.links)?;
        self.encode_consumers(&mut families)?;
        self.encode_stores(&mut families)?;
        self.encode_web_sockets(&mut families)?;
        self.encode_policy(&mut families)?;
        #[cfg(feature = "zeromq")]
        forwarders::encode(&mut families, &self.stats.forwarders)?;
        self.encode_topics(&mut families)
    }
}

impl Snapshot {
    /// What the original has, too.
    fn encode_original(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        let of_transport = |transport| {
            let peers = stats.peers.iter();
            let peers = peers.filter(move |peer| peer.transport == transport);
            peers.count() as u64
        };
        families.gauges(
            "broker_connections",
            "Number of active network connections.",
            [
                (of("type", "native"), of_transport(Transport::Native)),
                (
                    of("type", "web-socket"),
                    of_transport(Transport::WebSocket)
                        .saturating_add(self.clients.values().map(|it| it.clients).sum()),
                ),
                (of("type", "zeromq"), of_transport(Transport::ZeroMq)),
                (of("type", "nats"), of_transport(Transport::Nats)),
            ],
        )?;
        let processed = stats.processed;
        families.counters(
            "broker_processed_messages",
            "Total number of processed messages.",
            [
                (of("type", "data"), processed.data),
                (of("type", "command"), processed.command),
                (of("type", "routing-update"), processed.routing_update),
                (of("type", "ping"), processed.ping),
                (of("type", "pong"), processed.pong),
            ],
        )?;
        let stores: Vec<(&str, StoreState)> = stats
            .stores
            .iter()
            .filter_map(|store| Some((store.name.as_str(), store.state?)))
            .collect();
        if stats.stores.is_empty() {
            return Ok(());
        }
        let each = |value: fn(&StoreState) -> Option<u64>| {
            let samples = stores.iter().filter_map(move |(name, state)| {
                let value = value(state)?;
                Some((of("name", name), value))
            });
            samples.collect::<Vec<_>>()
        };
        families.gauges(
            "broker_store_input_channels",
            "Number of active input channels in a data store.",
            each(|state| Some(state.inputs)),
        )?;
        families.gauges(
            "broker_store_output_channels",
            "Number of active output channels in a data store.",
            each(|state| Some(state.outputs)),
        )?;
        families.gauges(
            "broker_store_entries",
            "Number of entries in the data store.",
            each(|state| state.entries),
        )?;
        families.gauges(
            "broker_store_out_of_order_updates",
            "Number of out-of-order data store updates.",
            each(|state| Some(state.out_of_order)),
        )?;
        families.gauges(
            "broker_store_unacknowledged_updates",
            "Number of unacknowledged data store updates.",
            each(|state| Some(state.unacknowledged)),
        )?;
        families.counters(
            "broker_store_processed_updates",
            "Total number of processed data store updates.",
            each(|state| Some(state.updates)),
        )
    }

    fn encode_endpoint(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        families.gauges(
            "broker_build_info",
            "Version of the implementation; the value is always 1.",
            [(of("version", env!("CARGO_PKG_VERSION")), 1)],
        )?;
        families.gauges(
            "broker_uptime_seconds",
            "Time since the endpoint began.",
            [(Vec::new(), stats.uptime.as_secs())],
        )?;
        let own = stats.certificate_expiry.into_iter();
        let own = own.map(|at| (of("use", ListenerKind::Peers.name()), at));
        let others = stats.listeners.iter().filter_map(|it| {
            let labels = vec![
                label("use", it.kind.name()),
                label("address", &it.address.to_string()),
            ];
            Some((labels, it.certificate_expiry?))
        });
        families.gauges(
            "broker_certificate_expiry_timestamp_seconds",
            "When a certificate that others see is over, in seconds since 1970.",
            own.chain(others)
                .map(|(labels, at)| (labels, u64::try_from(at.ns() / 1_000_000_000).unwrap_or(0))),
        )?;
        for (name, help, value) in [
            (
                "broker_published_messages",
                "Messages that were published by this process.",
                stats.published,
            ),
            (
                "broker_duplicates_dropped",
                "Copies of messages that came in several ways and were dropped.",
                stats.duplicates_dropped,
            ),
            (
                "broker_loops_found",
                "Circles through peers of other implementations that were found.",
                stats.loops_found,
            ),
            (
                "broker_stopped_commands",
                "Commands of data stores that were not passed on as the same came too often.",
                stats.commands_stopped,
            ),
            (
                "broker_refused_commands",
                "Commands of data stores that cannot be from whom they name.",
                stats.refused_commands,
            ),
            (
                "broker_refused_connections",
                "Incoming connections that were refused, broke off or took too long.",
                stats.refusals.refused,
            ),
            (
                "broker_silent_connections",
                "Incoming connections that ended without a word.",
                stats.refusals.silent,
            ),
            (
                "broker_refused_web_sockets",
                "Requests for a WebSocket that were refused.",
                self.web_socket_refusals,
            ),
        ] {
            families.counters(name, help, [(Vec::new(), value)])?;
        }
        let by_reason = |counts: Vec<(&'static str, u64)>| {
            let samples = counts.into_iter();
            samples.map(|(reason, count)| (of("reason", reason), count))
        };
        families.counters(
            "broker_handshake_failures",
            "Connections that did not become peerings, in both directions, by reason.",
            by_reason(stats.handshake_failures.by_reason().to_vec()),
        )?;
        families.counters(
            "broker_dropped_messages",
            "Messages that did not arrive, for peers and consumers that are gone as well, by reason.",
            by_reason(stats.drops.by_reason().to_vec()),
        )?;
        for counter in &stats.program {
            let none: Vec<Label> = Vec::new();
            families.counters(&counter.name, &counter.help, [(none, counter.value)])?;
        }
        families.counters(
            "broker_events",
            "Status and error events: peers that came and went, and what went wrong, by code.",
            self.events.iter().map(|((kind, code), count)| {
                (vec![label("kind", kind), label("code", code)], *count)
            }),
        )?;
        families.gauges(
            "broker_open_connections",
            "Connections that are open, handshakes and WebSockets included.",
            [(Vec::new(), stats.connections)],
        )
    }

    fn encode_peers(&self, families: &mut Families<'_>) -> fmt::Result {
        // Made once for all families: they are most of the text.
        let peers: Vec<(Vec<Label>, &PeerStats)> = self
            .stats
            .peers
            .iter()
            .map(|peer| (of_peer(peer), peer))
            .collect();
        let each = |value: fn(&PeerStats) -> u64| {
            let peers = peers.iter();
            peers.map(move |(labels, peer)| (labels, value(peer)))
        };
        families.counters(
            "broker_peer_received_messages",
            "Messages that came from a peer.",
            each(|peer| peer.received.messages),
        )?;
        families.counters(
            "broker_peer_received_bytes",
            "Bytes of messages that came from a peer.",
            each(|peer| peer.received.bytes),
        )?;
        families.gauges(
            "broker_peer_topics",
            "Topics that a peer is subscribed to.",
            each(|peer| peer.topics),
        )?;
        families.real_gauges(
            "broker_peer_round_trip_seconds",
            "Time that a ping and its answer took, measured every ten seconds.",
            peers.iter().filter_map(|(labels, peer)| {
                let took = peer.round_trip?;
                Some((labels, took.as_secs_f64()))
            }),
        )?;
        families.counters(
            "broker_peer_reconnects",
            "Times that the peering was established again.",
            each(|peer| peer.reconnects),
        )?;
        encode_queues(
            families,
            "broker_peer",
            peers.iter().map(|(labels, peer)| (labels, &peer.sent)),
        )
    }

    fn encode_consumers(&self, families: &mut Families<'_>) -> fmt::Result {
        let consumers: Vec<(Vec<Label>, &QueueStats)> = self
            .stats
            .consumers
            .iter()
            .map(|consumer| (of_consumer(consumer), &consumer.queue))
            .collect();
        let queues = consumers.iter().map(|(labels, queue)| (labels, *queue));
        encode_queues(families, "broker_consumer", queues)
    }

    fn encode_stores(&self, families: &mut Families<'_>) -> fmt::Result {
        let stores = self.stats.stores.iter();
        let samples = stores.filter_map(|store| {
            let labels = vec![
                label("name", &store.name),
                label("role", role_name(store.role)),
            ];
            Some((labels, u64::from(store.state?.is_working)))
        });
        families.gauges(
            "broker_store_working",
            "Whether a master applies requests, or a clone can be read.",
            samples,
        )?;
        let clones = self.stats.stores.iter().filter_map(|store| {
            let state = store.state.filter(|_| store.role == Role::Clone)?;
            Some((store.name.as_str(), state))
        });
        families.gauges(
            "broker_store_lag_updates",
            "Changes that the master is known to have made and that the clone has not made yet.",
            clones
                .clone()
                .map(|(name, state)| (of("name", name), state.lag)),
        )?;
        families.real_gauges(
            "broker_store_lag_seconds",
            "Time for which the clone has lagged, as seen by those who ask.",
            clones.map(|(name, state)| (of("name", name), state.lag_time.as_secs_f64())),
        )?;
        let operations = self.stats.stores.iter().filter_map(|store| {
            let counts = store.state?.operations.by_kind();
            Some(counts.map(|(operation, count)| {
                let labels = vec![
                    label("name", &store.name),
                    label("role", role_name(store.role)),
                    label("operation", operation),
                ];
                (labels, count)
            }))
        });
        families.counters(
            "broker_store_operations",
            "Reads by the program; at a master, changes that it was asked for, at a clone, those that its \
             master made.",
            operations.flatten(),
        )?;
        families.gauges(
            "broker_store_file_bytes",
            "Bytes of the file that a master keeps its entries in, with its log.",
            self.stats
                .stores
                .iter()
                .filter_map(|store| Some((of("name", &store.name), store.file_bytes?))),
        )?;
        let kind = MetricType::Histogram;
        let help = "Time to apply and commit a group of changes to a file.";
        let name = "broker_store_commit_seconds";
        let mut family = families.0.encode_descriptor(name, help, None, kind)?;
        for store in &self.stats.stores {
            if let Some(commits) = store.commits {
                sample(&mut family, &of("name", &store.name), &CommitTimes(commits))?;
            }
        }
        Ok(())
    }

    fn encode_topics(&self, families: &mut Families<'_>) -> fmt::Result {
        let each = |value: fn(&TopicStats) -> u64| {
            let topics = self.stats.topics.iter();
            topics.map(move |topic| (of("prefix", &topic.prefix), value(topic)))
        };
        families.counters(
            "broker_topic_received_messages",
            "Messages that came under topics that begin so.",
            each(|topic| topic.received.messages),
        )?;
        families.counters(
            "broker_topic_received_bytes",
            "Bytes of messages that came under topics that begin so.",
            each(|topic| topic.received.bytes),
        )?;
        families.counters(
            "broker_topic_published_messages",
            "Messages that this process published under topics that begin so.",
            each(|topic| topic.published.messages),
        )?;
        families.counters(
            "broker_topic_published_bytes",
            "Bytes of messages that this process published under topics that begin so.",
            each(|topic| topic.published.bytes),
        )
    }

    fn encode_policy(&self, families: &mut Families<'_>) -> fmt::Result {
        let decisions = self.principals.iter().flat_map(|(name, counts)| {
            let by = move |decision| [of("principal", name), of("decision", decision)].concat();
            [
                (by("allow"), counts.allowed),
                (by("deny"), counts.denied),
                (by("limit"), counts.limited),
            ]
        });
        families.counters(
            "broker_policy_decisions",
            "Messages, topics of subscriptions and requests that permissions were asked about.",
            decisions,
        )?;
        families.counters(
            "broker_policy_failures",
            "Connections and requests that did not prove who they are.",
            self.policy_failures
                .iter()
                .map(|failures| (Vec::new(), *failures)),
        )
    }

    fn encode_web_sockets(&self, families: &mut Families<'_>) -> fmt::Result {
        let clients = || self.clients.iter();
        let application = |name: &str| of("application", name);
        families.gauges(
            "broker_web_socket_clients",
            "WebSocket clients that are subscribed.",
            clients().map(|(name, it)| (application(name), it.clients)),
        )?;
        families.counters(
            "broker_web_socket_received_messages",
            "Messages that came from WebSocket clients.",
            clients().map(|(name, it)| (application(name), it.received)),
        )?;
        families.counters(
            "broker_web_socket_sent_messages",
            "Messages that were handed to WebSocket clients.",
            clients().map(|(name, it)| (application(name), it.sent)),
        )?;
        families.counters(
            "broker_web_socket_dropped_messages",
            "Messages that WebSocket clients did not get because they did not take them.",
            clients().map(|(name, it)| (application(name), it.dropped)),
        )?;
        families.counters(
            "broker_web_socket_overflows",
            "WebSocket clients that were cut off because they did not take their messages.",
            clients().map(|(name, it)| (application(name), it.overflowed)),
        )?;
        families.counters(
            "broker_web_socket_peer_failures",
            "Attempts to reach a WebSocket server that failed, and peerings that were lost.",
            self.servers
                .iter()
                .map(|(url, it)| (of("url", url), it.failures)),
        )
    }
}

/// The families of everything that has a queue.
fn encode_queues<'a>(
    families: &mut Families<'_>,
    prefix: &str,
    queues: impl Iterator<Item = (&'a Vec<Label>, &'a QueueStats)> + Clone,
) -> fmt::Result {
    let each = |value: fn(&QueueStats) -> u64| {
        let queues = queues.clone();
        queues.map(move |(labels, queue)| (labels, value(queue)))
    };
    families.counters(
        &format!("{prefix}_sent_messages"),
        "Messages that were written to a socket or taken by a reader.",
        each(|queue| queue.messages),
    )?;
    families.counters(
        &format!("{prefix}_sent_bytes"),
        "Bytes that were written to a socket or taken by a reader.",
        each(|queue| queue.bytes),
    )?;
    families.counters(
        &format!("{prefix}_dropped_messages"),
        "Messages that were dropped because they were not taken.",
        each(|queue| queue.dropped),
    )?;
    families.gauges(
        &format!("{prefix}_waiting_messages"),
        "Messages that wait.",
        each(|queue| queue.waiting_messages),
    )?;
    families.gauges(
        &format!("{prefix}_waiting_bytes"),
        "Bytes of messages that wait.",
        each(|queue| queue.waiting_bytes),
    )?;
    families.gauges(
        &format!("{prefix}_waiting_messages_max"),
        "The most messages that ever waited.",
        each(|queue| queue.waiting_messages_max),
    )?;
    families.gauges(
        &format!("{prefix}_waiting_bytes_max"),
        "The most bytes of messages that ever waited.",
        each(|queue| queue.waiting_bytes_max),
    )?;
    families.gauges(
        &format!("{prefix}_stalled"),
        "Whether the queue is full and nothing is taken from it.",
        each(|queue| u64::from(queue.is_stalled)),
    )?;
    families.counters(
        &format!("{prefix}_stalls"),
        "Times that the queue was full and nothing was taken from it for the stall limit.",
        each(|queue| queue.stalls),
    )?;
    families.real_gauges(
        &format!("{prefix}_idle_seconds"),
        "Time for which nothing was taken although something waited, as seen by those who ask.",
        queues.map(|(labels, queue)| (labels, queue.idle.as_secs_f64())),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use broker_proto::{EndpointId, HandshakeFailures, NetworkAddress, RefusalCounts};

    use super::*;
    use crate::stats::{Direction, Drops, Processed, Stats, Traffic};

    #[test]
    fn names_of_others_cannot_end_a_label_or_a_line() {
        let name = "a\"} 1\nbroker_faked 2\r\\";
        assert_eq!(escaped(name), "a\\\"} 1\\nbroker_faked 2\u{fffd}\\\\");
        assert_eq!(escaped("plain/topic ü"), "plain/topic ü");
    }

    /// Of an endpoint with so many peers.
    fn snapshot(peers: u16) -> Snapshot {
        let peer = |number: u16| PeerStats {
            id: EndpointId::from_bytes([number.to_be_bytes()[1]; 16]),
            address: NetworkAddress::new(format!("10.0.0.{number}"), number),
            transport: Transport::Native,
            direction: Direction::Incoming,
            reconnects: 1,
            received: Traffic::default(),
            sent: QueueStats::default(),
            topics: 7,
            round_trip: Some(Duration::from_millis(2)),
        };
        Snapshot {
            stats: Stats {
                id: EndpointId::NIL,
                uptime: Duration::ZERO,
                published: 0,
                processed: Processed::default(),
                connections: 1000,
                peers: (0..peers).map(peer).collect(),
                links: Vec::new(),
                consumers: Vec::new(),
                stores: Vec::new(),
                certificate_expiry: None,
                listeners: Vec::new(),
                topics: Vec::new(),
                refusals: RefusalCounts::default(),
                handshake_failures: HandshakeFailures::default(),
                drops: Drops::default(),
                program: Vec::new(),
                #[cfg(feature = "zeromq")]
                forwarders: Vec::new(),
                refused_commands: 0,
                duplicates_dropped: 0,
                forwarding: true,
                loops_found: 0,
                commands_stopped: 0,
            },
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            principals: BTreeMap::new(),
            policy_failures: None,
            is_permissive: false,
            events: BTreeMap::new(),
            web_socket_refusals: 0,
            topics: BTreeMap::new(),
            node: String::new(),
            time: String::new(),
            is_shut_down: false,
            complaints: Vec::new(),
        }
    }

    #[test]
    fn each_of_a_thousand_peers_has_a_sample_in_each_family() {
        let text = text(snapshot(1000)).unwrap();
        for family in [
            "received_messages_total",
            "waiting_messages",
            "idle_seconds",
        ] {
            let start = format!("broker_peer_{family}{{");
            let samples = text.lines().filter(|line| line.starts_with(&start));
            assert_eq!(samples.count(), 1000, "{family}");
        }
    }

    /// The least that some attempts took of this thread's own time: a machine with other work
    /// only adds to it by emptying its caches.
    fn time_for(peers: u16) -> Duration {
        let time = || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            Duration::try_from(now).unwrap()
        };
        let attempts = (0..10).map(|_| {
            let snapshot = snapshot(peers);
            let began = time();
            assert!(!text(snapshot).unwrap().is_empty());
            time() - began
        });
        attempts.min().unwrap()
    }

    #[test]
    fn time_grows_with_the_peers_and_not_with_their_square() {
        let (some, many) = (time_for(100), time_for(1000));
        // Ten times the work, plus what a cache no longer holds; the square would be a hundred.
        assert!(many < 50 * some, "{some:?} for 100, {many:?} for 1,000");
        if cfg!(not(debug_assertions)) {
            eprintln!("1,000 peers: {many:?}");
            assert!(many < Duration::from_millis(20), "{many:?}");
        }
    }

    #[test]
    fn only_those_who_ask_get_the_standard_format() {
        assert!(wants_open_metrics(
            "application/openmetrics-text; version=1.0.0,*/*;q=0.1"
        ));
        assert!(!wants_open_metrics("text/plain, */*"));
    }
}
