//! Entries of a stream on their way to a replica of a store, in their order.

use std::collections::VecDeque;

use broker_proto::nats::jetstream::{Load, ReadMessage};

use crate::lock::Lock;
use crate::signal::Signal;

/// Entries that a replica fetches ahead: enough for a round trip at the speed of a disk.
pub(super) const ENTRIES_AHEAD: Load = Load {
    messages: 1024,
    bytes: 8 * 1024 * 1024,
};

/// The queue; see the module.
#[derive(Debug, Default)]
pub(crate) struct EntryQueue {
    queued: Lock<Queued>,
    changed: Signal,
}

#[derive(Debug, Default)]
struct Queued {
    /// Bound: `ENTRIES_AHEAD`, which is what is asked for.
    waiting: VecDeque<ReadMessage>,
    /// Why nothing more will come.
    closed: Option<String>,
}

impl EntryQueue {
    pub(super) fn push(&self, message: ReadMessage) {
        self.queued.lock().waiting.push_back(message);
        self.changed.notify();
    }

    pub(super) fn close(&self, cause: String) {
        self.queued.lock().closed.get_or_insert(cause);
        self.changed.notify();
    }

    /// What has come, once something has.
    ///
    /// # Errors
    ///
    /// Why nothing more will come.
    pub(crate) async fn take(&self) -> Result<VecDeque<ReadMessage>, String> {
        let look = || {
            let mut queued = self.queued.lock();
            if queued.waiting.is_empty() {
                return queued.closed.clone().map(Err);
            }
            Some(Ok(std::mem::take(&mut queued.waiting)))
        };
        self.changed.until(look).await
    }
}
