//! Masters that are kept on streams of NATS: one replica of several, of which one leads.
//!
//! The replica is a state machine of the protocol, behind the lock of its host like any store's;
//! `servers` carries out what it wants done. See ADR 0460.

mod options;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use broker_proto::ErrorCode;
use broker_proto::nats::Subjects;
use broker_proto::nats::jetstream::RequestError;
use broker_proto::nats::jetstream::replicated::{self, LEASES_FROM, Places};
use broker_proto::store::Role;
use broker_proto::store::replica::{Candidacy, Replica, ReplicaConfig};
use serde_json::{Value, json};

pub use self::options::JetStreamOptions;
use self::servers::Servers;

use crate::config::timespan;
use crate::core::jet_stream::JetStream;
use crate::core::pending::Pending;
use crate::flow::blocked::BlockedPublish;
use crate::store::delivery::UniqueAnswer;
use crate::store::host::{Core, Host, ReplicaHooks};
use crate::store::{Node, STORE_REQUEST_TIMEOUT, Store, StoreError, check_name, config};
use crate::transport::nats::jet_stream;

/// How long attaching waits for servers: those of a cluster that is just started elect first.
const SERVERS_MAX: Duration = Duration::from_secs(30);

/// How long it waits then for the replica to lead or to see another one lead.
const SETTLED_MAX: Duration = Duration::from_secs(10);

/// Bytes that an entry leaves to the headers of its message.
const HEADER_BYTES: usize = 4 * 1024;

/// Bytes of entries, and of chunks of snapshots, where servers take more.
const ENTRY_BYTES_MAX: usize = 1024 * 1024;
const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// What a replica is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaStanding {
    /// It has no state yet.
    Loading,
    /// It follows another one.
    Standby,
    /// It leads and its lease is valid: it takes changes.
    Leader,
    /// It believed to lead, and cannot tell whether it still does: its lease is over.
    Uncertain,
    /// It does not go on: what the stream has cannot be read.
    Stopped,
}

impl ReplicaStanding {
    /// Its name, as programs show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Standby => "standby",
            Self::Leader => "leader",
            Self::Uncertain => "uncertain",
            Self::Stopped => "stopped",
        }
    }
}

/// What the servers were found to have.
struct Prepared {
    connections: u64,
    max_payload: usize,
    copies: u64,
}

impl Store {
    pub(crate) fn attach_replica(
        node: &Node,
        name: &str,
        options: &JetStreamOptions,
    ) -> Result<Self, StoreError> {
        check_name(name)?;
        if node.shared.is_shut_down() {
            return Err(StoreError::Closed);
        }
        if let Some(host) = node.stores.find(Role::Master, name) {
            return Ok(Self::new(node, host));
        }
        let failed = |cause: String| StoreError::Backend {
            name: name.to_owned(),
            cause,
        };
        let places = Places::of(name).ok_or_else(|| failed("its name is too long".into()))?;
        let client = new_client(node, options);
        jet_stream::start(&node.shared, client.clone());
        let prepared = prepare(node, &client, &places, options);
        let prepared = prepared.map_err(|cause| {
            client.end();
            failed(cause)
        })?;
        if prepared.copies < 2 {
            tracing::warn!(
                event = "store-has-one-copy",
                store = name,
                text = "its streams have one copy: a disk that is gone takes the store with it"
            );
        }
        let one_at_a_time = node.stores.attaching.lock();
        if let Some(host) = node.stores.find(Role::Master, name) {
            client.end();
            return Ok(Self::new(node, host));
        }
        let id = node.stores.new_entity(node.shared.data.id);
        let lease = timespan(options.lease);
        let most = prepared.max_payload.saturating_sub(HEADER_BYTES);
        let replica = ReplicaConfig {
            store: config(&node.shared),
            entry_bytes_max: most.min(ENTRY_BYTES_MAX),
            snapshot_entries: options.snapshot_entries,
            chunk_bytes_max: most.min(CHUNK_BYTES_MAX),
            lease,
            stale_reads: options.stale_reads,
            candidacy: Candidacy::Standby,
        };
        let core = Core::Replica(Box::new(Replica::new(id, name, replica)));
        let mut made = None;
        let host = Host::replicated(name, id, core, |host| {
            let host = Arc::downgrade(host);
            let servers = Servers::new(node.clone(), host, client.clone(), places, id, lease);
            let servers = Arc::new(servers);
            let (doing, ending) = (servers.clone(), servers.clone());
            made = Some(servers);
            ReplicaHooks {
                carry_out: Box::new(move |effect| doing.carry_out(effect)),
                end: Box::new(move || ending.end()),
            }
        });
        let servers = made.expect("it was made with the host");
        if !node.stores.add(&host) {
            host.close();
            return Err(StoreError::Closed);
        }
        servers.start(prepared.connections);
        // What it wants first; nothing of it could have no room.
        let _ = host.act(node, |_| {});
        node.shared.runtime.spawn(host.clone().run(node.clone()));
        drop(one_at_a_time);
        if !wait_settled(&host, &servers, SETTLED_MAX) {
            tracing::warn!(
                event = "store-not-settled",
                store = name,
                text = "it neither leads nor sees another replica lead"
            );
        }
        Ok(Self::new(node, host))
    }

    /// What a master on streams of NATS is at this moment; `None` of every other store.
    pub fn standing(&self) -> Option<ReplicaStanding> {
        let now = self.node.shared.clock.time_of_day();
        match &self.host.lock().core {
            Core::Replica(replica) => Some(if replica.is_current(now) {
                ReplicaStanding::Leader
            } else if replica.is_leader() {
                ReplicaStanding::Uncertain
            } else if replica.has_state() {
                ReplicaStanding::Standby
            } else if replica.is_stopped() {
                ReplicaStanding::Stopped
            } else {
                ReplicaStanding::Loading
            }),
            Core::Master(_) | Core::Clone(_) | Core::Closed => None,
        }
    }

    /// Whether changes are answered only when a stream has them.
    pub fn is_replicated(&self) -> bool {
        self.host.is_replicated()
    }
}

fn new_client(node: &Node, options: &JetStreamOptions) -> Arc<JetStream> {
    let mut random = [0; 8];
    // Endpoints have different ids; the rest tells clients of one endpoint apart.
    let _ = getrandom::fill(&mut random);
    let id = node.shared.data.id;
    let name = format!("{id}-{:016x}", u64::from_be_bytes(random));
    let login = Arc::new(options.login.clone());
    let client = JetStream::new(&name, options.url.clone(), login, Subjects::default());
    Arc::new(client.for_purpose("stores on streams", LEASES_FROM))
}

/// Finds or makes the streams of a store. Blocks.
fn prepare(
    node: &Node,
    client: &Arc<JetStream>,
    places: &Places,
    options: &JetStreamOptions,
) -> Result<Prepared, String> {
    let (client, shared) = (client.clone(), node.shared.clone());
    let shapes = [
        places.log_shape(options.replicas),
        places.bucket_shape(options.replicas),
    ];
    let required = options.require_durable;
    let (resolver, pending) = Pending::new(|| Err("the endpoint is shut down".to_owned()));
    node.shared.runtime.spawn(async move {
        let ask = |subject: String, body: Value| {
            client.request(shared.now(), &subject, &body, timespan(SERVERS_MAX))
        };
        let find = async |shape: &Value| -> Result<u64, String> {
            let name = shape
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let mut answer = ask(format!("STREAM.INFO.{name}"), json!({})).await;
            if replicated::is_missing(&answer) {
                answer = ask(format!("STREAM.CREATE.{name}"), shape.clone()).await;
            }
            let existing = answer.map_err(|error: RequestError| error.to_string())?;
            let state = Places::check_shape(shape, &existing).map_err(|it| it.to_string())?;
            if required && state.replicas < 2 {
                return Err(format!(
                    "stream `{name}` has one copy, and `require_durable` asks for more"
                ));
            }
            Ok(state.replicas)
        };
        let found = async {
            let mut copies = u64::MAX;
            for shape in &shapes {
                copies = copies.min(find(shape).await?);
            }
            // There was an answer, so there was a connection.
            let (connections, max_payload) = client.connected_after(0).await;
            Ok(Prepared {
                connections,
                max_payload,
                copies,
            })
        };
        resolver.resolve(found.await);
    });
    pending.wait()
}

/// Waits until the replica leads, or another one does, or it has stopped.
fn wait_settled(host: &Host, servers: &Servers, timeout: Duration) -> bool {
    let settled = host.wait_until(timeout, |core| match core {
        Core::Replica(replica) => {
            let follows = replica.has_state() && servers.is_held();
            (replica.is_leader() || follows || replica.is_stopped()).then_some(())
        }
        Core::Master(_) | Core::Clone(_) | Core::Closed => Some(()),
    });
    settled.is_some()
}

/// A change that waits for the stream to have it.
///
/// Await [`stored`](Self::stored), or call [`wait`](Self::wait) from a thread. Dropping it abandons the
/// answer, not the change.
#[derive(Debug)]
#[must_use = "whether the change is stored is in the answer"]
pub struct PendingChange {
    pub(super) pending: Pending<UniqueAnswer>,
    pub(super) blocked: Vec<BlockedPublish>,
}

impl PendingChange {
    /// Blocks until the stream has the change, for at most [`STORE_REQUEST_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when it is too large for the stream, [`StoreError::NotApplied`] when it never
    /// will be there, [`StoreError::OutcomeUnknown`] and
    /// [`StoreError::Timeout`] when that is not known.
    pub fn wait(mut self) -> Result<(), StoreError> {
        let answer = self.wait_timeout(STORE_REQUEST_TIMEOUT);
        answer.unwrap_or(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT)))
    }

    /// Blocks for at most `timeout`; `None` says that the answer is still pending.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<(), StoreError>> {
        self.blocked
            .retain_mut(|blocked| !blocked.wait_timeout(timeout));
        if !self.blocked.is_empty() {
            return None;
        }
        self.pending.wait_timeout(timeout).map(told)
    }

    /// Resolves when the stream has the change.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), which has a limit of time.
    pub async fn stored(self) -> Result<(), StoreError> {
        for blocked in self.blocked {
            blocked.finished().await;
        }
        told(self.pending.await)
    }
}

/// What a change does not fit, such as a value of another type, is told by an event only, as every master
/// does it. What the stream has no room for is an error, as all that is not stored.
fn told(answer: UniqueAnswer) -> Result<(), StoreError> {
    match answer {
        Err(StoreError::Refused(failure)) if failure.code != ErrorCode::BackendFailure => Ok(()),
        answer => answer.map(drop),
    }
}
