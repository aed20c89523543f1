//! Metrics, status and health of an endpoint over HTTP.
//!
//! | file | what it is |
//! |---|---|
//! | `server` | connections, their limits, who may ask, which path is what |
//! | `metrics` | the counters as text for Prometheus |
//! | `page` | the live page: a document, its style, its script |
//! | `documents` | status, lists and health as JSON |
//! | `entries` | what is in a data store, in pages |
//! | `samples` | some messages of a topic, where that is allowed |
//! | `access` | permissions of requests |
//! | `disks` | whether the disks can be written that the endpoint writes to |
//! | `web_socket` | WebSocket clients on the same port |
//! | `round_trips` | pings to peers, for how long their answers take |
//! | `stream` | what happens, as server-sent events |
//!
//! Everything is read only. An answer is made from a copy of the counters, so that however slowly
//! it is read nothing waits for it. docs/http.md describes the paths.

mod access;
mod disks;
mod documents;
mod entries;
mod metrics;
mod round_trips;
mod samples;
mod server;
mod stream;
mod web_socket;

use std::collections::BTreeMap;
use std::env;
use std::time::SystemTime;

use broker_data::Timestamp;
use broker_data::json::{Form, put_timestamp};
use broker_proto::Topic;
use broker_proto::store::Role;

pub(crate) use server::{start, start_configured, start_given};

use crate::core::websocket_counts::{WebSocketCounts, WebSocketPeerCounts};
use crate::policy::PolicyCounts;
use crate::stats::{self, Stats};
use crate::store::Node;

/// Everything that is told about an endpoint, at one moment.
#[derive(Debug)]
struct Snapshot {
    stats: Stats,
    clients: BTreeMap<String, WebSocketCounts>,
    servers: BTreeMap<String, WebSocketPeerCounts>,
    /// Decisions by principal, if there is a policy.
    principals: BTreeMap<String, PolicyCounts>,
    policy_failures: Option<u64>,
    /// Whether the policy allows what no rule denies.
    is_permissive: bool,
    /// Status and error events so far, by kind and code.
    events: BTreeMap<(&'static str, &'static str), u64>,
    web_socket_refusals: u64,
    /// The topics that peers asked for, with the number of those peers.
    topics: BTreeMap<Topic, u64>,
    /// The node's name in a cluster of Zeek.
    node: String,
    /// The time of day, as ISO 8601.
    time: String,
    is_shut_down: bool,
    /// What is wrong with listeners and disks, in words.
    complaints: Vec<String>,
}

impl Snapshot {
    /// Of metrics, status and health: without the topics, which may be many.
    fn of(node: &Node) -> Self {
        let gate = node.shared.gate.as_ref();
        Self {
            stats: stats::of(node),
            clients: node.shared.web_sockets.by_application(),
            servers: node.shared.web_sockets.by_server(),
            principals: gate.map(|gate| gate.counts()).unwrap_or_default(),
            policy_failures: gate.map(|gate| gate.failures()),
            is_permissive: gate.is_some_and(|gate| gate.is_permissive()),
            events: node.shared.data.event_log.counts(),
            web_socket_refusals: node.shared.web_sockets.refusals(),
            topics: BTreeMap::new(),
            node: env::var("CLUSTER_NODE").unwrap_or_else(|_| "unknown".to_owned()),
            time: iso(Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH)),
            is_shut_down: node.shared.is_shut_down(),
            complaints: node.shared.lock_control().listeners().complaints(),
        }
    }

    fn with_topics(node: &Node) -> Self {
        let mut snapshot = Self::of(node);
        let table = node.shared.data.routes.load();
        for (_, filter, target) in table.peers() {
            if !target.kind.tells_filter() {
                continue;
            }
            for topic in filter.entries() {
                *snapshot.topics.entry(topic.clone()).or_default() += 1;
            }
        }
        snapshot
    }
}

/// Everything that is counted about an endpoint, as a JSON object.
pub(crate) fn stats_json(node: &Node) -> String {
    documents::stats(&Snapshot::of(node)).to_string()
}

/// A time of day as ISO 8601, with nanoseconds.
fn iso(time: Timestamp) -> String {
    let mut text = String::with_capacity(32);
    put_timestamp(&mut text, time, Form::Lossless);
    text.push('Z');
    text
}

/// The role of a store as documents and metrics name it.
const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Clone => "clone",
    }
}
