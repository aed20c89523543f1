//! Clones that miss what is not kept any more.
//!
//! A clone of the original that is told that something is lost breaks for good (Spec: stores 6.6
//! item 3). So every number it misses is filled with a `clear` for it alone: it may have got further
//! than is known here, and must not pass over a single one without being emptied. The publisher of
//! such a `clear` is nobody: clones of this implementation know it by that, keep what they have and
//! attach again. One that acknowledges it is sent every entry again, as changes with numbers of
//! their own: for the other clones they change nothing. What is still kept is sent in between; the
//! last value of every key comes last.

use broker_data::Timestamp;

use crate::status::ErrorCode;
use crate::store::backend::Backend;
use crate::store::channel::producer::Missing;
use crate::store::command::Content;
use crate::store::entity::EntityId;
use crate::store::master::Master;
use crate::store::{CLONES_MAX, Output, Role, StoreFailure};

/// Numbers that are filled at once: a clone that misses more asks again.
const NUMBERS_MAX: usize = 16 * 1024;

/// The numbers of one clone that are filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repair {
    first: u64,
    /// The last one that existed when the repair began.
    last: u64,
}

impl<B: Backend> Master<B> {
    /// A clone that was given up lives: its path goes on behind what it says it has.
    pub(super) fn readmit(&mut self, clone: EntityId, acknowledged: u64) {
        let Some(index) = self.repairs.dropped.iter().position(|id| *id == clone) else {
            return;
        };
        if self.has_newer(clone) || self.clones() >= CLONES_MAX {
            return;
        }
        self.repairs.dropped.remove(index);
        self.down.add_back(clone, acknowledged);
        let missing: Vec<u64> = (acknowledged + 1..=self.down.seq())
            .take(NUMBERS_MAX)
            .collect();
        if let Missing::Events { messages, gone } = self.down.handle_nack(clone, &missing) {
            self.send_again(clone, &messages);
            self.repair(clone, &gone);
        }
    }

    /// Fills numbers that are gone.
    pub(super) fn repair(&mut self, clone: EntityId, gone: &[u64]) {
        let Some(first) = gone.first() else {
            return;
        };
        let repair = match self.repairs.pending.get(&clone) {
            Some(repair) => *repair,
            None => match self.check_repairable() {
                Ok(()) => Repair {
                    first: *first,
                    last: self.down.seq(),
                },
                Err(failure) => {
                    let fault = self.names.fault(&failure);
                    self.outputs.staged.push(Output::Fault(fault));
                    self.remove_clone(clone);
                    return self.tell_to_attach_again(clone, *first);
                }
            },
        };
        self.repairs.pending.insert(clone, repair);
        for seq in gone.iter().take(NUMBERS_MAX) {
            let content = Content::Clear {
                publisher: EntityId::NIL,
            };
            let command = self.command(*seq, EntityId::NIL, content);
            self.stage(Role::Clone, clone.endpoint, &command);
        }
    }

    /// More than is kept for clones would drop the one that is to be repaired.
    fn check_repairable(&mut self) -> Result<(), StoreFailure> {
        let mut bytes = 0_usize;
        self.backend.for_each(&mut |key, value, _| {
            bytes = bytes.saturating_add(key.len() + value.len() + MESSAGE_BYTES);
        })?;
        if bytes <= self.config.buffer_bytes_max / 2 {
            return Ok(());
        }
        Err(StoreFailure::new(
            ErrorCode::BackendFailure,
            "a clone was away for too long: it has to attach again",
        ))
    }

    /// A clone acknowledged something: maybe that it is empty now, maybe everything it was given
    /// instead of what is gone.
    pub(super) fn go_on_with_repair(&mut self, now: Timestamp, clone: EntityId) {
        let has = self.down.path(clone).map_or(0, |path| path.acknowledged);
        let Some(repair) = self.repairs.pending.get(&clone).copied() else {
            return;
        };
        if repair.first > has {
            return;
        }
        self.repairs.pending.remove(&clone);
        // What was broadcast for another clone meanwhile reaches this one, too.
        if self.repairs.restated <= repair.last {
            self.repairs.restated = self.down.seq() + 1;
            self.broadcast_everything(now);
        }
    }

    fn broadcast_everything(&mut self, now: Timestamp) {
        let mut entries = Vec::new();
        let read = self.for_each(now, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
        });
        if let Err(failure) = read {
            let fault = self.names.fault(&failure);
            self.outputs.staged.push(Output::Fault(fault));
            return;
        }
        for (key, value) in entries {
            let publisher = self.id;
            self.broadcast_put(&key, &value, None, publisher);
        }
    }
}

/// About what a change has around its key and value.
const MESSAGE_BYTES: usize = 160;
