//! The stores of one endpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use broker_data::Timestamp;
use broker_proto::EndpointId;
use broker_proto::frame::FRAME_LEN_SIZE;
use broker_proto::store::Role;
use broker_proto::store::command::Command;
use broker_proto::store::entity::EntityId;

use crate::core::shared::Shared;
use crate::flow::blocked::BlockedPublish;
use crate::lock::{Lock, Locked};
use crate::store::host::{Host, StoreWait};
use crate::store::stats::StoreStats;

/// Bytes of frames between stores of one endpoint that wait: as much as a mailbox holds. Further
/// ones are dropped, as on a network: the channels of stores notice and have them sent again.
const LOCAL_BYTES_MAX: usize = crate::config::MAILBOX_BYTES_MAX;

/// Bytes that a frame takes besides itself.
const LOCAL_OVERHEAD: usize = 64;

/// Frames and the stores they are for.
#[derive(Debug)]
struct LocalQueue<T> {
    /// Bound: `LOCAL_BYTES_MAX`.
    frames: VecDeque<(T, Arc<[u8]>)>,
    bytes: usize,
    /// Frames were dropped since it was empty.
    dropping: bool,
}

impl<T> Default for LocalQueue<T> {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            dropping: false,
        }
    }
}

impl<T> LocalQueue<T> {
    /// Takes a frame if there is room, or nothing else; `true` says that the first one of a burst
    /// was dropped.
    fn push(&mut self, store: T, frame: Arc<[u8]>) -> bool {
        let bytes = frame.len() + LOCAL_OVERHEAD;
        if !self.frames.is_empty() && self.bytes + bytes > LOCAL_BYTES_MAX {
            return !std::mem::replace(&mut self.dropping, true);
        }
        self.bytes += bytes;
        self.frames.push_back((store, frame));
        false
    }

    fn pop(&mut self) -> Option<(T, Arc<[u8]>)> {
        let Some((store, frame)) = self.frames.pop_front() else {
            self.dropping = false;
            return None;
        };
        self.bytes -= frame.len() + LOCAL_OVERHEAD;
        Some((store, frame))
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// An endpoint and its stores.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stores: Arc<Stores>,
}

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
    local: Lock<LocalQueue<Arc<Host>>>,
    delivering: AtomicBool,
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

    /// How the stores are, in the order they were attached.
    pub(crate) fn stats(&self, now: Timestamp) -> Vec<StoreStats> {
        let hosts = self.hosts.load();
        hosts.iter().map(|host| host.stats(now)).collect()
    }

    /// The files of masters, and the directories that SQLite makes its logs in.
    #[cfg(feature = "status")]
    pub(crate) fn files(&self) -> Vec<std::path::PathBuf> {
        let hosts = self.hosts.load();
        let files = hosts.iter().filter_map(|host| host.file.get());
        files
            .flat_map(|file| {
                let directory = file.parent().filter(|it| !it.as_os_str().is_empty());
                let directory = directory.unwrap_or(std::path::Path::new("."));
                [file.clone(), directory.to_owned()]
            })
            .collect()
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
            let first_dropped = self.lock_local().push(host, frame.clone());
            if first_dropped {
                tracing::warn!(
                    event = "local-store-frames-dropped",
                    store = name,
                    limit_bytes = LOCAL_BYTES_MAX,
                );
            }
        }
    }

    /// Hands over what is noted, in order. One caller does it for all; none of them holds a store.
    pub(super) fn deliver_locally(&self, node: &Node) -> Vec<BlockedPublish> {
        let mut blocked = Vec::new();
        while !self.lock_local().is_empty() && !self.delivering.swap(true, Ordering::AcqRel) {
            loop {
                let next = self.lock_local().pop();
                let Some((host, frame)) = next else { break };
                let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
                let Ok(envelope) = broker_proto::Envelope::parse(payload) else {
                    continue;
                };
                if let Ok(command) = Command::parse(envelope.payload) {
                    for wait in host.handle_command(node, &command, envelope.payload) {
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

    fn lock_local(&self) -> Locked<'_, LocalQueue<Arc<Host>>> {
        self.local.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_beyond_the_limit_are_dropped_and_told_once() {
        let mut queue = LocalQueue::default();
        let frame: Arc<[u8]> = vec![0; LOCAL_BYTES_MAX / 4].into();
        let told: Vec<bool> = (0..5)
            .map(|number| queue.push(number, frame.clone()))
            .collect();
        assert_eq!(told, [false, false, false, true, false]);
        let kept: Vec<i32> = std::iter::from_fn(|| queue.pop()).map(|it| it.0).collect();
        assert_eq!(kept, [0, 1, 2]);
        assert!(queue.is_empty() && queue.bytes == 0);
        // One that is larger than the limit has to be taken some time.
        let large: Arc<[u8]> = vec![0; LOCAL_BYTES_MAX].into();
        assert!(!queue.push(5, large) && queue.push(6, frame));
        assert_eq!(queue.pop().map(|it| it.0), Some(5));
    }
}
