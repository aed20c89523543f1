//! The rest of a message that met a full mailbox.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::deadline;
use crate::flow::data_plane::DataPlane;
use crate::flow::mailbox::{Patience, Pushed, Run};
use crate::flow::target::Target;

/// The longest nap of a waiting publisher. It is woken when there is room; the nap only bounds how
/// late it notices that a consumer stalled.
const NAP_MAX: Duration = Duration::from_secs(1);

/// What a target had no room for, although it still moves.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) target: Target,
    pub(crate) bytes: Bytes,
}

/// The rest of a published message: some of those who want it had no room.
///
/// Dropping it gives the rest up.
#[must_use = "some consumers have not got the message yet"]
pub struct BlockedPublish {
    data: Arc<DataPlane>,
    unsent: Vec<Unsent>,
}

impl BlockedPublish {
    pub(crate) fn unless_empty(data: &Arc<DataPlane>, unsent: Vec<Unsent>) -> Option<Self> {
        (!unsent.is_empty()).then(|| Self {
            data: data.clone(),
            unsent,
        })
    }

    /// Blocks the calling thread for at most `timeout`; `true` says that it is done: everybody has
    /// the message or lost it to their overflow policy.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        let deadline = deadline(timeout);
        loop {
            let nap = self.push();
            let Some(Unsent { target, bytes }) = self.unsent.first() else {
                return true;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            target.mailbox.wait_room(bytes.len(), 1, nap.min(left));
        }
    }

    pub(crate) fn wait(mut self) {
        while !self.wait_timeout(NAP_MAX) {}
    }

    /// As [`wait_timeout`](Self::wait_timeout) without a limit, for async code.
    pub async fn finished(mut self) {
        loop {
            let nap = self.push();
            if self.unsent.is_empty() {
                return;
            }
            let room = poll_fn(|cx| self.poll_room(cx));
            let _ = tokio::time::timeout(nap, room).await;
        }
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.unsent.first() {
            Some(Unsent { target, bytes }) => target.mailbox.poll_room(cx, bytes.len(), 1),
            None => Poll::Ready(()),
        }
    }

    /// Tries again; returns how long to wait before the next try at the latest.
    fn push(&mut self) -> Duration {
        let mut nap = NAP_MAX;
        self.unsent.retain(|Unsent { target, bytes }| {
            let run = Run::shared(bytes, 1);
            match target.mailbox.push(run, Patience::Waits) {
                Pushed::Full { stalls_in } => {
                    nap = nap.min(stalls_in);
                    true
                }
                pushed => {
                    self.data.report_drops(pushed, target);
                    false
                }
            }
        });
        nap
    }
}

impl std::fmt::Debug for BlockedPublish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockedPublish")
            .field("targets", &self.unsent.len())
            .finish_non_exhaustive()
    }
}
