//! Data stores: key-value stores with one master and any number of clones.
//!
//! Spec: stores, endpoint 6. The protocol is in [`broker_proto::store`]; here it gets sockets, time,
//! threads and storage.

mod delivery;
mod error;
mod event;
mod host;
mod pace;
mod proxy;
mod read;
mod registry;
#[cfg(feature = "nats")]
mod replicated;
mod request;
mod stats;
mod waiting;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use broker_data::{Source, Timespan};
use broker_proto::EndpointId;
use broker_proto::store::entity::EntityId;
use broker_proto::store::{
    Backend as Storage, CloneOptions, Contact, Master, Memory, Role, StoreClone, StoreConfig, mark,
};
use broker_proto::topic::TOPIC_MAX;

use crate::config::StoreOptions;
use crate::core::shared::Shared;
use crate::signal::within;

pub use broker_proto::store::entity;
pub use error::StoreError;
pub use event::{StoreChange, StoreEvent, StoreEvents};
pub use proxy::{PROXY_BYTES_MAX, PROXY_REQUESTS_MAX, Response, StoreProxy, StoreReply};
#[cfg(feature = "nats")]
pub use replicated::{JetStreamOptions, PendingChange, ReplicaStanding};
pub use request::{BlockedRequest, Change, PutUnique};
pub use stats::{COMMIT_SECONDS, CommitStats, ReadCounts, StoreOperations, StoreState, StoreStats};

pub(crate) use host::{Host, StoreWait};
pub(crate) use registry::{Node, Stores};

use error::quoted;
use host::Core;

/// How long a synchronous request waits for its answer. Spec: stores 2.3.
pub const STORE_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `await_idle` waits unless told otherwise. Spec: stores 6.5.
pub const AWAIT_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// An encoded key and its encoded value.
pub type EncodedEntry = (Vec<u8>, Vec<u8>);

/// Bytes that a store's topics have beside its name.
const TOPIC_OVERHEAD: usize = 32;

/// Where a master keeps its entries.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Backend {
    /// In memory: gone with the endpoint.
    #[default]
    Memory,
    /// In a file.
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::SqliteOptions),
    /// On streams of NATS servers: what is acknowledged survives this endpoint and its machine, and
    /// another endpoint that attaches the same master takes over.
    #[cfg(feature = "nats")]
    JetStream(Box<JetStreamOptions>),
}

/// A handle of a master or clone; clones of the handle are handles of the same store.
///
/// A handle does not keep its endpoint: once that is shut down, calls return
/// [`StoreError::Closed`]. The store itself lives as long as the endpoint, with or without handles.
///
/// Requests of a clone go to the master and are in effect when they come back from there; those of a
/// master are in effect at once. None of them waits for that. A request that is refused (wrong
/// types, a key that is not there, a storage that fails) changes nothing and makes an error event on
/// the endpoint it was made on; see [`Endpoint::status_subscriber`](crate::Endpoint::status_subscriber).
///
/// Calls block while the other side has no room for more; from async code use the methods whose
/// names end in `_async`.
///
/// ```
/// let endpoint = broker::Endpoint::new()?;
/// let store = endpoint.attach_master("hosts", broker::Backend::Memory)?;
/// store.put("10.0.0.1", &1_u64)?;
/// store.increment("10.0.0.1", &2_u64)?;
/// assert_eq!(store.get("10.0.0.1")?, Some(broker::Value::Count(3)));
/// # endpoint.shutdown().wait();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    node: Node,
    host: Arc<Host>,
    /// This handle, as the one who asks.
    who: EntityId,
}

impl Store {
    // --- attaching ------------------------------------------------------------------------------

    pub(crate) fn attach_master(
        node: &Node,
        name: &str,
        backend: Backend,
    ) -> Result<Self, StoreError> {
        #[cfg(feature = "nats")]
        if let Backend::JetStream(options) = &backend {
            return Self::attach_replica(node, name, options);
        }
        check_name(name)?;
        let stores = &node.stores;
        let _one_at_a_time = stores.attaching.lock();
        if node.shared.is_shut_down() {
            return Err(StoreError::Closed);
        }
        if let Some(host) = stores.find(Role::Master, name) {
            return Ok(Self::new(node, host));
        }
        let topic = broker_proto::store::master_topic(name);
        if let Some(peer) = peers_with(&node.shared, &topic).first() {
            return Err(StoreError::MasterExists {
                name: name.to_owned(),
                peer: *peer,
            });
        }
        let (storage, file): (Box<dyn Storage>, _) = match backend {
            Backend::Memory => (Box::new(Memory::new()), None),
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(options) => {
                let opened = crate::sqlite::SqliteBackend::open(&options);
                let opened = opened.map_err(|error| StoreError::Backend {
                    name: name.to_owned(),
                    cause: error.to_string(),
                })?;
                (Box::new(opened), Some(options.path))
            }
            #[cfg(feature = "nats")]
            Backend::JetStream(options) => return Self::attach_replica(node, name, &options),
        };
        let id = stores.new_entity(node.shared.data.id);
        let master = Master::new(id, name, storage, config(&node.shared))
            .map_err(|error| StoreError::backend(name, &error))?;
        let host = Host::master(node, name, master, file.is_some())?;
        if let Some(path) = file {
            host.set_file(path);
        }
        Self::start(node, host, &topic)
    }

    pub(crate) fn attach_clone(
        node: &Node,
        name: &str,
        options: CloneOptions,
    ) -> Result<Self, StoreError> {
        check_name(name)?;
        let stores = &node.stores;
        let _one_at_a_time = stores.attaching.lock();
        if node.shared.is_shut_down() {
            return Err(StoreError::Closed);
        }
        if stores.find(Role::Master, name).is_some() {
            return Err(StoreError::MasterIsHere {
                name: name.to_owned(),
            });
        }
        let known = stores.find(Role::Clone, name);
        if known.as_ref().is_none_or(|host| !host.has_copy()) {
            // The search would end no other way, only later.
            let peers = node.shared.only_without_stores();
            if !peers.is_empty() {
                return Err(StoreError::NoNativePeer {
                    name: name.to_owned(),
                    peers: quoted(&peers),
                });
            }
        }
        if let Some(host) = known {
            host.search_again(node);
            return Ok(Self::new(node, host));
        }
        let id = mark::clone_id(stores.new_entity(node.shared.data.id));
        let clone = StoreClone::new(id, name, config(&node.shared), options);
        let topic = broker_proto::store::clone_topic(name);
        Self::start(node, Host::replica(name, clone), &topic)
    }

    /// Makes a store known: to this endpoint, to its peers, to the clock.
    fn start(
        node: &Node,
        host: Arc<Host>,
        topic: &broker_proto::Topic,
    ) -> Result<Self, StoreError> {
        if !node.stores.add(&host) {
            host.close();
            return Err(StoreError::Closed);
        }
        node.shared.subscribe(std::slice::from_ref(topic));
        // A clone of the same name may have been waiting for this master.
        node.stores.routes_changed();
        node.shared.runtime.spawn(host.clone().run(node.clone()));
        Ok(Self::new(node, host))
    }

    fn new(node: &Node, host: Arc<Host>) -> Self {
        Self {
            node: node.clone(),
            host,
            who: node.stores.new_entity(node.shared.data.id),
        }
    }

    // --- what it is -----------------------------------------------------------------------------

    /// The name.
    pub fn name(&self) -> &str {
        &self.host.name
    }

    /// Whether this is the master.
    pub fn is_master(&self) -> bool {
        self.host.role == Role::Master
    }

    /// Whether the endpoint was shut down.
    pub fn is_closed(&self) -> bool {
        self.host.is_closed()
    }

    /// The id of the master or clone, as store events name it.
    pub fn id(&self) -> EntityId {
        // That of a master never changes, and its lock is held while a file waits for the disk.
        if self.host.role == Role::Master {
            return self.host.id;
        }
        match &self.host.lock().core {
            Core::Clone(clone) => clone.id(),
            Core::Master(_) | Core::Closed => self.host.id,
            #[cfg(feature = "nats")]
            Core::Replica(_) => self.host.id,
        }
    }

    /// What a clone's copy is worth; a master is always attached, a closed store has failed.
    pub fn contact(&self) -> Contact {
        match &self.host.lock().core {
            Core::Master(_) => Contact::Attached,
            Core::Clone(clone) => clone.contact(),
            #[cfg(feature = "nats")]
            Core::Replica(_) => Contact::Attached,
            Core::Closed => Contact::Failed,
        }
    }

    /// Non-blocking reads and `put_unique` requests whose responses are collected later.
    pub fn proxy(&self) -> StoreProxy {
        StoreProxy::new(self.clone())
    }

    /// The changes of this store from now on, as this endpoint sees them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Closed`] after a shutdown.
    pub fn events(&self) -> Result<StoreEvents, StoreError> {
        let events = StoreEvents::new(&self.node.shared, Some(self.name()));
        // What the machine says about changes depends on somebody listening.
        self.host.routes_changed();
        events.map_err(|_| StoreError::Closed)
    }

    // --- the other side -------------------------------------------------------------------------

    /// Blocks until master and clones have everything of each other, as far as is known here;
    /// `false` when the time is over or the store has no master. Spec: stores 6.5.
    pub fn await_idle(&self, timeout: Duration) -> bool {
        self.host.wait_idle(&self.node, timeout)
    }

    /// As [`await_idle`](Self::await_idle), for async code.
    pub async fn await_idle_async(&self, timeout: Duration) -> bool {
        let idle = self.host.idle(&self.node);
        within(&self.node.shared.runtime, timeout, idle)
            .await
            .unwrap_or(false)
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name())
            .field("is_master", &self.is_master())
            .field("contact", &self.contact())
            .finish_non_exhaustive()
    }
}

fn config(shared: &Shared) -> StoreConfig {
    let StoreOptions {
        tick_interval,
        heartbeat_interval,
        nack_timeout,
        connection_timeout,
        buffer_bytes_max,
        ..
    } = shared.options.store;
    StoreConfig {
        tick_interval: Timespan::try_from(tick_interval).unwrap_or(Timespan::MAX),
        heartbeat_interval,
        nack_timeout,
        connection_timeout,
        buffer_bytes_max,
        frame_bytes_max: shared.options.frame_bytes_max,
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let cause = if name.is_empty() {
        "it is empty"
    } else if name.len() + TOPIC_OVERHEAD > TOPIC_MAX {
        "it is too long"
    } else {
        return Ok(());
    };
    Err(StoreError::Name {
        name: name.to_owned(),
        cause,
    })
}

/// The peers that subscribe to exactly that topic, in the order of their ids. A prefix of it says
/// nothing: many subscribe to everything.
fn peers_with(shared: &Shared, topic: &broker_proto::Topic) -> Vec<EndpointId> {
    let table = shared.data.routes.load();
    let peers = table
        .peers()
        .filter(|(_, filter, _)| filter.contains(topic));
    peers.map(|(id, _, _)| id).collect()
}

fn encoded<S: Source + ?Sized>(source: &S) -> Result<Vec<u8>, StoreError> {
    Ok(broker_data::to_bytes(source)?)
}
