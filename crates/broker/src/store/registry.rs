//! The stores of one endpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use broker_proto::EndpointId;
use broker_proto::command::Command;
use broker_proto::entity::EntityId;
use broker_proto::frame::FRAME_LEN_SIZE;
use broker_proto::store::Role;

use crate::blocked::BlockedPublish;
use crate::lock::{Lock, Locked};
use crate::shared::Shared;
use crate::store::host::{Host, StoreWait};

/// Frames and the stores they are for.
type LocalQueue = VecDeque<(Arc<Host>, Arc<[u8]>)>;

/// The stores of one endpoint, by topic; and what they say to each other.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// Replaced as a whole and read without a lock. Few enough to be looked through.
    hosts: ArcSwap<Vec<Arc<Host>>>,
    /// Attaching is done one at a time.
    pub(super) attaching: Lock<()>,
    objects: AtomicU64,
    closed: AtomicBool,
    /// Frames from one store of this endpoint to another, in order.
    local: Lock<LocalQueue>,
    delivering: AtomicBool,
    /// The addresses of peers whose protocol knows no stores.
    unreached_peers: ArcSwap<Vec<String>>,
}

impl Stores {
    /// A number for a new object of this endpoint.
    pub(super) fn new_object(&self) -> u64 {
        self.objects.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn new_entity(&self, endpoint: EndpointId) -> EntityId {
        EntityId {
            endpoint,
            object: self.new_object(),
        }
    }

    pub(crate) fn find(&self, role: Role, name: &str) -> Option<Arc<Host>> {
        let hosts = self.hosts.load();
        let found = hosts
            .iter()
            .find(|host| host.role == role && host.name == name);
        found.cloned()
    }

    /// The store that listens on a topic.
    pub(crate) fn find_topic(&self, topic: &[u8]) -> Option<Arc<Host>> {
        let hosts = self.hosts.load();
        let found = hosts.iter().find(|host| host.topic.as_bytes() == topic);
        found.cloned()
    }

    /// Adds a store; `false` says that it came too late.
    pub(super) fn add(&self, host: &Arc<Host>) -> bool {
        let mut hosts = Vec::clone(&self.hosts.load());
        hosts.push(host.clone());
        self.hosts.store(Arc::new(hosts));
        !self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.load().is_empty()
    }

    /// Has every store look at the routes.
    pub(crate) fn routes_changed(&self) {
        for host in self.hosts.load().iter() {
            host.routes_changed();
        }
    }

    /// Notes the addresses of peers whose protocol knows no stores.
    pub(crate) fn set_unreached_peers(&self, addresses: Vec<String>) {
        if **self.unreached_peers.load() != addresses {
            self.unreached_peers.store(Arc::new(addresses));
        }
    }

    pub(super) fn unreached_peers(&self) -> arc_swap::Guard<Arc<Vec<String>>> {
        self.unreached_peers.load()
    }

    /// Ends all stores: what was asked of them before is done first. Blocks for as long as that
    /// takes.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Whoever is attaching one now adds it before this, or finds out that it is too late.
        let _attached = self.attaching.lock();
        for host in self.hosts.swap(Arc::default()).iter() {
            host.close();
        }
    }

    /// Notes a frame for another store of this endpoint, if there is one.
    pub(super) fn queue_locally(&self, role: Role, name: &str, frame: &Arc<[u8]>) {
        if let Some(host) = self.find(role, name) {
            self.lock_local().push_back((host, frame.clone()));
        }
    }

    /// Hands over what is noted, in order. One caller does it for all; none of them holds a store.
    pub(super) fn deliver_locally(&self, shared: &Arc<Shared>) -> Vec<BlockedPublish> {
        let mut blocked = Vec::new();
        while !self.lock_local().is_empty() && !self.delivering.swap(true, Ordering::AcqRel) {
            loop {
                let next = self.lock_local().pop_front();
                let Some((host, frame)) = next else { break };
                let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
                let Ok(envelope) = broker_proto::Envelope::parse(payload) else {
                    continue;
                };
                if let Ok(command) = Command::parse(envelope.payload) {
                    for wait in host.handle_command(shared, &command, envelope.payload) {
                        match wait {
                            StoreWait::Publish(one) => blocked.push(one),
                            // Waiting for a store's thread here could mean waiting for oneself.
                            StoreWait::Room(_) => {}
                        }
                    }
                }
            }
            self.delivering.store(false, Ordering::Release);
        }
        blocked
    }

    fn lock_local(&self) -> Locked<'_, LocalQueue> {
        self.local.lock()
    }
}
