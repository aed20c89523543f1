//! Clones that miss what is not kept any more.
//!
//! A clone of the original that is told that something is lost breaks for good (Spec: stores 6.6
//! item 3). So every number it misses is filled: the first with a `clear` for it alone, the others
//! with a result nobody waits for. Then every entry is broadcast again, with numbers of their own:
//! for the other clones they change nothing. What is still kept is sent in between; the last value
//! of every key comes last.

use crate::channel::producer::Missing;
use crate::command::Content;
use crate::entity::EntityId;
use crate::status::ErrorCode;
use crate::store::backend::Backend;
use crate::store::master::Master;
use crate::store::{CLONES_MAX, Failure, Output, Role};

/// Numbers that are filled at once: a clone that misses more asks again.
const NUMBERS_MAX: usize = 16 * 1024;

/// The numbers of one clone that are filled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repair {
    first: u64,
    last: u64,
}

impl<B: Backend> Master<B> {
    /// A clone that was given up lives: its path goes on behind what it says it has.
    pub(super) fn take_back(&mut self, clone: EntityId, acknowledged: u64) {
        if self.clones() >= CLONES_MAX {
            return;
        }
        self.down.add_back(clone, acknowledged);
        let missing: Vec<u64> = (acknowledged + 1..=self.down.seq())
            .take(NUMBERS_MAX)
            .collect();
        if let Missing::Events { messages, gone } = self.down.handle_nack(clone, &missing) {
            self.send_again(clone, &messages);
            self.repair(clone, &gone);
        }
    }

    /// Fills numbers that are gone and brings the clone's content up to date.
    pub(super) fn repair(&mut self, clone: EntityId, gone: &[u64]) {
        let Some(first) = gone.first() else {
            return;
        };
        let known = self.repairs.get(&clone).copied();
        let repair = known.unwrap_or(Repair {
            first: *first,
            last: self.down.seq(),
        });
        for seq in gone.iter().take(NUMBERS_MAX) {
            let content = match *seq == repair.first {
                true => Content::Clear { publisher: self.id },
                false => Content::PutUniqueResult {
                    inserted: false,
                    who: EntityId::NIL,
                    request: 0,
                    publisher: self.id,
                },
            };
            let command = self.command(*seq, EntityId::NIL, content);
            self.stage(Role::Clone, clone.endpoint, &command);
        }
        self.repairs.insert(clone, repair);
        if known.is_none() {
            self.broadcast_everything();
        }
    }

    fn broadcast_everything(&mut self) {
        let mut entries = Vec::new();
        let mut bytes = 0_usize;
        let read = self.backend.for_each(&mut |key, value, _| {
            bytes = bytes.saturating_add(key.len() + value.len());
            entries.push((key.to_vec(), value.to_vec()));
        });
        // More than is kept for clones would drop the one that is to be repaired.
        if let Err(failure) = read.map_err(Failure::from).and_then(|_| {
            match bytes <= self.config.buffer_bytes_max / 2 {
                true => Ok(()),
                false => Err(Failure::new(
                    ErrorCode::BackendFailure,
                    "a clone was away for too long: it has to attach again",
                )),
            }
        }) {
            let fault = self.names.fault(&failure);
            self.staged.push(Output::Fault(fault));
            return;
        }
        for (key, value) in entries {
            let publisher = self.id;
            self.broadcast_put(&key, &value, None, publisher);
        }
    }

    /// A clone acknowledged something: maybe everything it was given instead of what is gone.
    pub(super) fn end_repair(&mut self, clone: EntityId) {
        let has = self.down.path(clone).map_or(0, |path| path.acknowledged);
        if self
            .repairs
            .get(&clone)
            .is_some_and(|repair| repair.last <= has)
        {
            self.repairs.remove(&clone);
        }
    }
}
