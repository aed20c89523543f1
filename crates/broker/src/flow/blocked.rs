//! The rest of a message that met a full mailbox.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::deadline;
use crate::flow::data_plane::DataPlane;
use crate::flow::mailbox::Patience;
use crate::flow::retry::{Retry, Unsent};
use crate::signal::within;

/// The longest nap of a waiting publisher. It is woken when there is room; the nap only bounds how
/// late it notices that a consumer stalled.
const NAP_MAX: Duration = Duration::from_secs(1);

/// Blocks the calling thread until all that want a message have it or lost it.
pub(crate) fn wait_if_blocked(blocked: Option<BlockedPublish>) {
    if let Some(blocked) = blocked {
        blocked.wait();
    }
}

/// The rest of a published message: some of those who want it had no room.
///
/// Dropping it gives the rest up.
#[must_use = "some consumers have not got the message yet"]
pub struct BlockedPublish {
    data: Arc<DataPlane>,
    rest: Retry,
}

impl BlockedPublish {
    pub(crate) fn unless_empty(data: &Arc<DataPlane>, unsent: Vec<Unsent>) -> Option<Self> {
        (!unsent.is_empty()).then(|| Self {
            data: data.clone(),
            rest: Retry::new(1, unsent),
        })
    }

    /// Blocks the calling thread for at most `timeout`; `true` says that it is done: everybody has
    /// the message or lost it to their overflow policy.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        let deadline = deadline(timeout);
        loop {
            let nap = self.offer();
            if self.rest.is_over() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.rest.wait_room(nap.min(left));
        }
    }

    pub(crate) fn wait(mut self) {
        while !self.wait_timeout(NAP_MAX) {}
    }

    /// As [`wait_timeout`](Self::wait_timeout) without a limit, for async code.
    pub async fn finished(mut self) {
        loop {
            let nap = self.offer();
            if self.rest.is_over() {
                return;
            }
            let room = poll_fn(|cx| self.rest.poll_room(cx));
            let _ = within(&self.data.runtime, nap, room).await;
        }
    }

    /// Tries again; returns how long to wait before the next try at the latest.
    fn offer(&mut self) -> Duration {
        let offered = self.rest.offer(&self.data, Patience::Waits);
        offered.look_again.min(NAP_MAX)
    }
}

impl std::fmt::Debug for BlockedPublish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockedPublish")
            .field("targets", &self.rest.len())
            .finish_non_exhaustive()
    }
}
