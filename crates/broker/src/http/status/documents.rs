//! Status and health of an endpoint as JSON.

use std::time::SystemTime;

use axum::http::StatusCode;
use broker_data::Timestamp;
use broker_proto::Topic;
use broker_proto::store::Role;
use serde_json::{Map, Value, json};

use super::stream::event_document;
use super::{Snapshot, iso, role_name};
#[cfg(feature = "zeromq")]
use crate::core::forwarders::ForwarderConnection;
use crate::core::websocket_counts::WebSocketCounts;
use crate::policy::PolicyCounts;
use crate::stats::{
    ConsumerStats, LinkStats, ListenerStats, PeerStats, QueueStats, Stats, StoreStats, TopicStats,
    Traffic, Transport,
};
use crate::store::Node;

/// Things on a page unless the request asks for fewer, and at most.
pub(super) const PAGE_SIZE: usize = 100;
pub(super) const PAGE_SIZE_MAX: usize = 1000;

/// A part of a list that is sorted by its keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: usize,
    /// The last key of the page before.
    pub(super) after: Option<String>,
}

impl Page {
    /// The page of some things by their keys, as the answer to a request.
    fn of(&self, name: &str, mut things: Vec<(String, Value)>) -> Value {
        things.sort_by(|a, b| a.0.cmp(&b.0));
        let total = things.len();
        if let Some(after) = &self.after {
            things.retain(|(key, _)| key > after);
        }
        let is_last = things.len() <= self.limit;
        things.truncate(self.limit);
        let cursor = match (is_last, things.last()) {
            (false, Some((key, _))) => json!(key),
            _ => Value::Null,
        };
        let things: Vec<Value> = things.into_iter().map(|(_, thing)| thing).collect();
        json!({ name: things, "total": total, "cursor": cursor })
    }
}

/// The document of the original, with every key of it, and ours under keys of their own.
/// Spec: tools 7.3.
pub(super) fn status(snapshot: &Snapshot) -> Value {
    let stats = &snapshot.stats;
    let native = stats
        .peers
        .iter()
        .filter(|peer| peer.transport == Transport::Native);
    let clients: u64 = snapshot.clients.values().map(|it| it.clients).sum();
    let kind = |processed: u64| json!({ "processed": processed, "buffered": 0 });
    let processed = stats.processed;
    let mut document = json!({
        "id": stats.id.to_string(),
        "cluster-node": snapshot.node,
        "time": snapshot.time,
        "native-connections": native.count(),
        "web-socket-connections": clients,
        "local-publishers": 0,
        "local-subscribers": stats.consumers.len(),
        "published-via-async-msg": stats.published,
        "message-metrics": {
            "data": kind(processed.data),
            "command": kind(processed.command),
            "routing_update": kind(processed.routing_update),
            "ping": kind(processed.ping),
            "pong": kind(processed.pong),
        },
        "peerings": stats.peers.iter().map(|peer| {
            let waiting = peer.sent.messages.saturating_add(peer.sent.waiting_messages);
            let ways = json!({
                "input": { "requested": peer.received.messages, "delivered": peer.received.messages },
                "output": { "requested": waiting, "delivered": peer.sent.messages },
            });
            (peer.id.to_string(), ways)
        }).collect::<Map<String, Value>>(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": stats.uptime.as_secs_f64(),
        "refused-connections": stats.refusals.refused,
        "silent-connections": stats.refusals.silent,
        "refused-commands": stats.refused_commands,
        "duplicates-dropped": stats.duplicates_dropped,
    });
    let stores = |role| {
        let stores = stats.stores.iter();
        let stores = stores.filter(move |store| store.role == role);
        stores
            .map(|it| (it.name.clone(), store(it)))
            .collect::<Map<String, Value>>()
    };
    for (name, role) in [("masters", Role::Master), ("clones", Role::Clone)] {
        let stores = stores(role);
        if !stores.is_empty()
            && let Some(document) = document.as_object_mut()
        {
            document.insert(name.to_owned(), stores.into());
        }
    }
    document
}

fn queue(queue: &QueueStats) -> Value {
    json!({
        "messages": queue.messages,
        "bytes": queue.bytes,
        "waiting-messages": queue.waiting_messages,
        "waiting-bytes": queue.waiting_bytes,
        "waiting-messages-max": queue.waiting_messages_max,
        "waiting-bytes-max": queue.waiting_bytes_max,
        "dropped": queue.dropped,
        "stalled": queue.is_stalled,
        "stalls": queue.stalls,
        "idle": queue.idle.as_secs_f64(),
    })
}

fn peer(peer: &PeerStats) -> (String, Value) {
    let id = peer.id.to_string();
    let document = json!({
        "id": id,
        "address": peer.address.host,
        "port": peer.address.port,
        "retry-seconds": peer.address.retry_seconds,
        "transport": peer.transport.name(),
        "direction": peer.direction.name(),
        "reconnects": peer.reconnects,
        "topics": peer.topics,
        "received": { "messages": peer.received.messages, "bytes": peer.received.bytes },
        "sent": queue(&peer.sent),
        "round-trip": peer.round_trip.map(|it| it.as_secs_f64()),
    });
    (id, document)
}

fn link(link: &LinkStats) -> Value {
    let topics = |topics: &[Topic]| -> Vec<String> {
        let topics = topics.iter();
        topics
            .map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned())
            .collect()
    };
    let traffic = |it: Traffic| json!({ "messages": it.messages, "bytes": it.bytes });
    json!({
        "address": link.address,
        "import": topics(&link.import),
        "export": topics(&link.export),
        "peer": link.peer.map(|id| id.to_string()),
        "connects": link.connects,
        "received": traffic(link.received),
        "sent": traffic(link.sent),
        "dropped": link.dropped,
    })
}

fn by_name(counts: &[(&str, u64)]) -> Map<String, Value> {
    let counts = counts.iter();
    counts
        .map(|(name, count)| ((*name).to_owned(), json!(count)))
        .collect()
}

fn listener(listener: &ListenerStats) -> Value {
    json!({
        "kind": listener.kind.name(),
        "address": listener.address.ip().to_string(),
        "port": listener.address.port(),
        "certificate-expiry": listener.certificate_expiry.map(iso),
    })
}

fn consumer(consumer: &ConsumerStats) -> (String, Value) {
    let topics: Vec<_> = consumer
        .topics
        .iter()
        .map(|topic| String::from_utf8_lossy(topic.as_bytes()).into_owned())
        .collect();
    let document = json!({
        "number": consumer.number,
        "kind": consumer.kind.name(),
        "name": consumer.name,
        "topics": topics,
        "queue": queue(&consumer.queue),
    });
    // Of one length, so that they are in order as text.
    (format!("{:020}", consumer.number), document)
}

fn store(store: &StoreStats) -> Value {
    let mut document = json!({
        "name": store.name,
        "role": role_name(store.role),
        "master": store.master.map(|id| id.to_string()),
        "file-bytes": store.file_bytes,
        "commits": store.commits.map(|commits| json!({
            "count": commits.classes.iter().sum::<u64>(),
            "seconds": commits.total.as_secs_f64(),
        })),
    });
    if let (Some(state), Some(document)) = (store.state, document.as_object_mut()) {
        let state = json!({
            "entries": state.entries,
            "inputs": state.inputs,
            "outputs": state.outputs,
            "unacknowledged": state.unacknowledged,
            "out-of-order": state.out_of_order,
            "lag": state.lag,
            "lag-time": state.lag_time.as_secs_f64(),
            "updates": state.updates,
            "working": state.is_working,
            "operations": by_name(&state.operations.by_kind()),
        });
        document.extend(state.as_object().cloned().unwrap_or_default());
    }
    document
}

#[cfg(feature = "zeromq")]
fn forwarders(stats: &Stats) -> Vec<Value> {
    let connection = |it: &ForwarderConnection| {
        json!({
            "address": it.address.ip().to_string(),
            "port": it.address.port(),
            "side": it.side.name(),
            "key": it.key.map(|key| key.to_string()),
            "principal": it.principal,
            "messages": it.messages,
            "bytes": it.bytes,
            "waiting-messages": it.waiting,
            "waiting-bytes": it.waiting_bytes,
            "dropped": it.dropped,
        })
    };
    let forwarders = stats.forwarders.iter().map(|it| {
        json!({
            "xpub": it.xpub.to_string(),
            "xsub": it.xsub.to_string(),
            "subscriptions": it.subscriptions,
            "messages": it.messages,
            "bytes": it.bytes,
            "unwanted": it.unwanted,
            "dropped": it.dropped,
            "denied": it.denied,
            "refused-connections": it.refused,
            "connections": it.connections.iter().map(connection).collect::<Vec<Value>>(),
        })
    });
    forwarders.collect()
}

#[cfg(not(feature = "zeromq"))]
const fn forwarders(_: &Stats) -> Vec<Value> {
    Vec::new()
}

/// Everything that is counted, as [`Endpoint::stats_json`](crate::Endpoint::stats_json) tells it.
pub(super) fn stats(snapshot: &Snapshot) -> Value {
    let stats = &snapshot.stats;
    let all = |things: Vec<(String, Value)>| -> Vec<Value> {
        things.into_iter().map(|(_, thing)| thing).collect()
    };
    let processed = stats.processed;
    json!({
        "id": stats.id.to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "time": snapshot.time,
        "uptime": stats.uptime.as_secs_f64(),
        "published": stats.published,
        "processed": {
            "data": processed.data,
            "command": processed.command,
            "routing-update": processed.routing_update,
            "ping": processed.ping,
            "pong": processed.pong,
        },
        "connections": stats.connections,
        "certificate-expiry": stats.certificate_expiry.map(iso),
        "listeners": stats.listeners.iter().map(listener).collect::<Vec<Value>>(),
        "refused-connections": stats.refusals.refused,
        "silent-connections": stats.refusals.silent,
        "handshake-failures": by_name(&stats.handshake_failures.by_reason()),
        "drops": by_name(&stats.drops.by_reason()),
        "program": stats.program.iter().map(|it| {
            (it.name.clone(), it.value.into())
        }).collect::<Map<String, Value>>(),
        "forwarders": forwarders(stats),
        "refused-commands": stats.refused_commands,
        "refused-web-sockets": snapshot.web_socket_refusals,
        "duplicates-dropped": stats.duplicates_dropped,
        "forwarding": stats.forwarding,
        "loops-found": stats.loops_found,
        "commands-stopped": stats.commands_stopped,
        "peers": all(stats.peers.iter().map(peer).collect()),
        "links": stats.links.iter().map(link).collect::<Vec<Value>>(),
        "subscribers": all(stats.consumers.iter().map(consumer).collect()),
        "stores": stats.stores.iter().map(store).collect::<Vec<Value>>(),
        "clients": all(snapshot.clients.iter().map(client).collect()),
        "topics": stats.topics.iter().map(topic).collect::<Vec<Value>>(),
        "policy": policy(snapshot),
        "events": snapshot.events.iter().map(|((kind, code), count)| {
            json!({ "kind": kind, "code": code, "count": count })
        }).collect::<Vec<Value>>(),
    })
}

pub(super) fn peers(snapshot: &Snapshot, page: &Page) -> Value {
    page.of("peers", snapshot.stats.peers.iter().map(peer).collect())
}

pub(super) fn subscribers(snapshot: &Snapshot, page: &Page) -> Value {
    let consumers = snapshot.stats.consumers.iter().map(consumer);
    page.of("subscribers", consumers.collect())
}

pub(super) fn stores(snapshot: &Snapshot, page: &Page) -> Value {
    let stores = snapshot.stats.stores.iter().map(|it| {
        let key = format!("{}/{}", it.name, role_name(it.role));
        (key, store(it))
    });
    page.of("stores", stores.collect())
}

fn client((name, counts): (&String, &WebSocketCounts)) -> (String, Value) {
    let document = json!({
        "application": name,
        "clients": counts.clients,
        "subscribed": counts.subscribed,
        "received": counts.received,
        "refused": counts.refused,
        "sent": counts.sent,
        "overflowed": counts.overflowed,
        "dropped": counts.dropped,
    });
    (name.clone(), document)
}

/// What the policy decided in all; `null` without one.
fn policy(snapshot: &Snapshot) -> Value {
    let sum =
        |count: fn(&PolicyCounts) -> u64| snapshot.principals.values().map(count).sum::<u64>();
    snapshot.policy_failures.map_or(Value::Null, |failures| {
        json!({
            "permissive": snapshot.is_permissive,
            "allowed": sum(|it| it.allowed),
            "denied": sum(|it| it.denied),
            "limited": sum(|it| it.limited),
            "failures": failures,
        })
    })
}

/// The principals of the policy, and what was decided about them.
pub(super) fn principals(node: &Node, page: &Page) -> Value {
    let gate = node.shared.gate.as_ref();
    let principals = gate.map(|gate| gate.principals()).unwrap_or_default();
    let principals = principals.into_iter().map(|principal| {
        let document = json!({
            "name": principal.name,
            "roles": principal.roles,
            "allowed": principal.counts.allowed,
            "denied": principal.counts.denied,
            "limited": principal.counts.limited,
        });
        (principal.name, document)
    });
    page.of("principals", principals.collect())
}

/// The last denials, the latest last.
pub(super) fn denials(node: &Node) -> Value {
    let gate = node.shared.gate.as_ref();
    let denials = gate.map(|gate| gate.denials()).unwrap_or_default();
    let denials = denials.into_iter().map(|denied| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let entry = denied.entry;
        json!({
            "time": iso(denied.time),
            "principal": entry.principal,
            "address": entry.address.to_string(),
            "action": entry.action,
            "resource": text(&entry.resource),
            "event": entry.event.map(|event| text(&event)),
            "rule": entry.rule,
            "count": denied.count,
        })
    });
    json!({ "denials": denials.collect::<Vec<Value>>() })
}

/// What went through under a prefix.
fn topic(topic: &TopicStats) -> Value {
    let traffic =
        |traffic: Traffic| json!({ "messages": traffic.messages, "bytes": traffic.bytes });
    json!({
        "prefix": topic.prefix,
        "received": traffic(topic.received),
        "published": traffic(topic.published),
    })
}

pub(super) fn clients(snapshot: &Snapshot, page: &Page) -> Value {
    page.of("clients", snapshot.clients.iter().map(client).collect())
}

/// The topics that peers asked for, with the number of peers, and those of this endpoint.
pub(super) fn topics(snapshot: &Snapshot, page: &Page) -> Value {
    let topics = snapshot.topics.iter().map(|(topic, peers)| {
        let topic = String::from_utf8_lossy(topic.as_bytes()).into_owned();
        let document = json!({ "topic": topic, "peers": peers });
        (topic, document)
    });
    page.of("topics", topics.collect())
}

/// The last status and error events, the oldest first.
pub(super) fn events(node: &Node) -> Value {
    let events = node.shared.data.event_log.after(0);
    let events: Vec<Value> = events.iter().map(event_document).collect();
    json!({ "events": events })
}

/// What is wrong, in the words of the person on call.
fn complaints(snapshot: &Snapshot) -> Vec<String> {
    let stats = &snapshot.stats;
    let mut complaints = Vec::new();
    if snapshot.is_shut_down {
        complaints.push("the endpoint is shut down".to_owned());
    }
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH);
    if stats.certificate_expiry.is_some_and(|expiry| expiry <= now) {
        complaints.push("the certificate is over: no peer will accept it".to_owned());
    }
    for listener in &stats.listeners {
        if listener.certificate_expiry.is_some_and(|it| it <= now) {
            complaints.push(format!(
                "the certificate at {} ({}) is over: no client will accept it",
                listener.address,
                listener.kind.name()
            ));
        }
    }
    complaints.extend(snapshot.complaints.iter().cloned());
    for peer in stats.peers.iter().filter(|peer| peer.sent.is_stalled) {
        complaints.push(format!(
            "the peer {} ({}:{}) takes nothing: {} messages wait",
            peer.id, peer.address.host, peer.address.port, peer.sent.waiting_messages
        ));
    }
    for store in &stats.stores {
        let Some(state) = store.state.filter(|state| !state.is_working) else {
            continue;
        };
        let name = &store.name;
        complaints.push(match store.role {
            Role::Master => {
                format!("the master of `{name}` applies nothing: there is another master")
            }
            Role::Clone => format!(
                "the clone of `{name}` cannot be read: it {}",
                match state.outputs {
                    0 => "has no master",
                    _ => "has not heard from its master for too long",
                }
            ),
        });
    }
    complaints
}

/// Whether the process lives: it does if it can say so, unless its endpoint is shut down.
pub(super) fn health(snapshot: &Snapshot) -> (StatusCode, Value) {
    if snapshot.is_shut_down {
        answer(vec!["the endpoint is shut down".to_owned()])
    } else {
        answer(Vec::new())
    }
}

/// Whether everything it is there for works.
pub(super) fn readiness(snapshot: &Snapshot) -> (StatusCode, Value) {
    answer(complaints(snapshot))
}

fn answer(reasons: Vec<String>) -> (StatusCode, Value) {
    if reasons.is_empty() {
        (
            StatusCode::OK,
            json!({ "status": "ok", "reasons": reasons }),
        )
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "status": "unavailable", "reasons": reasons }),
        )
    }
}
