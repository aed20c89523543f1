//! Clones that attach to a master and leave it. Spec: stores 5.2.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_data::Timestamp;

use crate::status::ErrorCode;
use crate::store::backend::Backend;
use crate::store::command::{Content, Entries};
use crate::store::entity::EntityId;
use crate::store::expiry::is_over;
use crate::store::master::snapshot::Snapshot;
use crate::store::master::{DROPPED_CLONES_MAX, Master, RETIRED_WRITERS_MAX, Retired};
use crate::store::{CLONES_MAX, Output, Role, StoreFailure, mark};

/// Where the kind of a command stands behind its header of a number and two entities.
const KIND_OFFSET: usize = 8 + 2 * crate::store::entity::ENTITY_ID_SIZE;

impl<B: Backend> Master<B> {
    /// A clone asks for a handshake for the first time.
    pub(super) fn attach(&mut self, now: Timestamp, clone: EntityId) {
        // Whoever follows this one could change nothing.
        if !self.is_writable() {
            return;
        }
        // An endpoint has one clone of a store: an older one of the same endpoint was given up,
        // and what is still on its way from there is not to bring it back.
        if self.has_newer(clone) {
            return;
        }
        let others: Vec<EntityId> = self.down.consumers_of(clone.endpoint).collect();
        if others.is_empty() && self.clones() >= CLONES_MAX {
            return;
        }
        if !self.may_send_handshake() {
            return;
        }
        let results = self.results_not_seen(&others);
        for other in others {
            self.remove_clone(other);
        }
        self.repairs.dropped.retain(|id| *id != clone);
        self.down.add(clone);
        self.send_handshake(now, clone);
        // The snapshot hides them from the clone that waits for them.
        if self.down.path(clone).is_some() {
            for (inserted, who, request) in results {
                self.broadcast_result(inserted, who, request);
            }
        }
    }

    /// Whether an endpoint has a clone that began after another one.
    pub(super) fn has_newer(&self, clone: EntityId) -> bool {
        let mut others = self.down.consumers_of(clone.endpoint);
        others.any(|other| other.object > clone.object)
    }

    /// Results of requests of an endpoint that its former clones have not acknowledged.
    fn results_not_seen(&self, former: &[EntityId]) -> Vec<(bool, EntityId, u64)> {
        let paths = former.iter().filter_map(|id| self.down.path(*id));
        let (Some(seen), Some(endpoint)) = (
            paths.map(|path| path.acknowledged.max(path.offset)).max(),
            former.first().map(|id| id.endpoint),
        ) else {
            return Vec::new();
        };
        let messages = self.down.messages().filter(|(seq, _)| *seq > seen);
        let results = messages.filter_map(|(_, frame)| {
            let command = super::payload_of(frame)?;
            // Only these are worth being parsed.
            if *command.get(KIND_OFFSET)? != 2 {
                return None;
            }
            match crate::store::command::Command::parse(command).ok()?.content {
                Content::PutUniqueResult {
                    inserted,
                    who,
                    request,
                    ..
                } if who.endpoint == endpoint => Some((inserted, who, request)),
                _ => None,
            }
        });
        results.collect()
    }

    /// Whether another snapshot may be sent in this tick: one may always, more while they are
    /// small. Strangers could have any number of them otherwise.
    fn may_send_handshake(&self) -> bool {
        self.handshakes.bytes < self.config.buffer_bytes_max
    }

    /// Sends a clone everything there is: what it was sent before if it has not acknowledged that.
    /// For one that has acknowledged something this is an old question, or it is broken; what it is
    /// known to have stays what it is.
    pub(super) fn send_handshake(&mut self, now: Timestamp, clone: EntityId) {
        if !self.may_send_handshake() {
            return;
        }
        let snapshot = match self.handshakes.open.get(&clone) {
            Some(snapshot) => snapshot.at(now),
            None => match self.take_snapshot(now) {
                Ok(snapshot) => snapshot,
                Err(failure) => return self.fail_handshake(clone, &failure),
            },
        };
        self.handshakes.bytes = self
            .handshakes
            .bytes
            .saturating_add(snapshot.bytes.len().max(1));
        let content = Content::AckClone {
            offset: snapshot.offset,
            heartbeat: self.config.heartbeat_interval.max(1),
            entries: Entries::new(snapshot.count, &snapshot.bytes),
        };
        let command = self.command(snapshot.offset, clone, content);
        let max = self.config.frame_bytes_max;
        match self
            .names
            .message(Role::Clone, clone.endpoint, &command, max)
        {
            Ok(mut message) => {
                message.must_lead = true;
                self.outputs.staged.push(Output::Send(message));
                let path = self.down.path(clone);
                if path.is_some_and(|path| path.acknowledged == 0)
                    && self.handshakes.open.insert(clone, snapshot).is_none()
                {
                    // Its content may still come to nothing.
                    self.group.attached.push(clone);
                    self.bound_handshakes(clone);
                }
            }
            Err(error) => {
                let text = format!(
                    "cannot send clone {clone} its snapshot: {error}; `frame_bytes_max` is {max}"
                );
                let failure = StoreFailure::new(ErrorCode::BackendFailure, text);
                self.fail_handshake(clone, &failure);
            }
        }
    }

    /// Keeps the snapshots that are kept for repetition within the limit: clones that have not
    /// acknowledged the oldest ones are forgotten and have to ask again.
    fn bound_handshakes(&mut self, newest: EntityId) {
        let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
        for snapshot in self.handshakes.open.values() {
            sizes.insert(snapshot.offset, snapshot.bytes.len());
        }
        let mut bytes: usize = sizes.values().sum();
        let kept = self.handshakes.open.get(&newest).map(|it| it.offset);
        for (offset, size) in sizes {
            if bytes <= self.config.buffer_bytes_max || Some(offset) == kept {
                continue;
            }
            bytes -= size;
            let waiting = self.handshakes.open.iter();
            let waiting: Vec<EntityId> = waiting
                .filter(|(_, snapshot)| snapshot.offset == offset)
                .map(|(id, _)| *id)
                .collect();
            for clone in waiting {
                self.drop_clone(clone);
            }
        }
    }

    /// Says on both sides that a clone cannot be served.
    fn fail_handshake(&mut self, clone: EntityId, failure: &StoreFailure) {
        self.handshakes.bytes = self.config.buffer_bytes_max;
        self.remove_clone(clone);
        let recently = |tick| self.ticks - tick < self.config.connection_ticks();
        if !self.handshakes.failed.is_some_and(recently) {
            self.handshakes.failed = Some(self.ticks);
            let fault = self.names.fault(failure);
            self.outputs.staged.push(Output::Fault(fault));
        }
        self.tell_to_attach_again(clone, 0);
    }

    /// Tells a clone of this implementation that it cannot be served from some number on: 0 is for
    /// one that is not attached. It would break those of others. The receiver is nobody, for the
    /// clone may have another id by now.
    pub(super) fn tell_to_attach_again(&mut self, clone: EntityId, seq: u64) {
        if mark::is_clone(clone) {
            let content = Content::RetransmitFailed { seq };
            let command = self.command(0, EntityId::NIL, content);
            self.stage(Role::Clone, clone.endpoint, &command);
        }
    }

    fn take_snapshot(&mut self, now: Timestamp) -> Result<Arc<Snapshot>, StoreFailure> {
        let offset = self.down.seq();
        if let Some(snapshot) = &self.handshakes.snapshot
            && snapshot.offset == offset
        {
            return Ok(snapshot.at(now));
        }
        let (mut count, mut bytes, mut expiring) = (0_u32, Vec::new(), Vec::new());
        let skipped = self.backend.for_each(&mut |key, value, at| {
            if at.is_some_and(|at| is_over(at, now)) {
                return;
            }
            let start = bytes.len();
            count = count.saturating_add(1);
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
            expiring.extend(at.map(|at| (at, start..bytes.len())));
        })?;
        if skipped > 0 {
            let text = format!("{skipped} entries cannot be read and are kept from clones");
            let fault = self
                .names
                .fault(&StoreFailure::new(ErrorCode::InvalidData, text));
            self.outputs.staged.push(Output::Fault(fault));
        }
        let snapshot = Arc::new(Snapshot {
            offset,
            count,
            bytes,
            expiring,
        });
        self.handshakes.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// Gives a clone up that may be heard of again.
    pub(super) fn drop_clone(&mut self, clone: EntityId) {
        self.remove_clone(clone);
        if self.repairs.dropped.len() == DROPPED_CLONES_MAX {
            self.repairs.dropped.pop_front();
        }
        self.repairs.dropped.push_back(clone);
        // The channel may have removed its path already.
        self.repairs.orphaned = true;
    }

    /// Forgets a clone.
    pub(super) fn remove_clone(&mut self, clone: EntityId) {
        self.repairs.orphaned |= self.down.path(clone).is_some();
        self.down.remove(clone);
        self.handshakes.open.remove(&clone);
        self.repairs.pending.remove(&clone);
        self.retire_writer(clone);
    }

    pub(super) fn retire_writer(&mut self, id: EntityId) {
        if let Some(writer) = self.up.writers.remove(&id) {
            self.up.early_bytes -= writer.consumer.early_bytes();
            if self.up.retired.len() == RETIRED_WRITERS_MAX {
                self.up.retired.pop_front();
            }
            self.up.retired.push_back(Retired {
                id,
                applied: writer.consumer.acknowledged(),
                heartbeat: writer.heartbeat,
            });
        }
    }
}
