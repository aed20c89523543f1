//! A run that some of its targets had no room for, offered again until they have it or lost it.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::flow::data_plane::DataPlane;
use crate::flow::mailbox::{Patience, Pushed, Run};
use crate::flow::target::Target;

/// A target that had no room for a run, although it still moves.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) target: Target,
    pub(crate) bytes: Bytes,
}

/// The targets that a run is still offered to.
#[derive(Debug)]
pub(crate) struct Retry {
    frames: usize,
    /// Bound: the targets of one run.
    unsent: Vec<Unsent>,
}

/// What came of offering a run again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered {
    /// When to do so the next time at the latest: a target may count as stalled then.
    pub(crate) look_again: Duration,
    /// How many targets lost it, in part or whole.
    pub(crate) dropped: u64,
}

impl Retry {
    pub(crate) fn new(frames: usize, unsent: Vec<Unsent>) -> Self {
        Self { frames, unsent }
    }

    /// Whether all targets have it or lost it.
    pub(crate) fn is_over(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Number of targets left.
    pub(crate) fn len(&self) -> usize {
        self.unsent.len()
    }

    /// Offers the run to all that are left.
    pub(crate) fn offer(&mut self, data: &DataPlane, patience: Patience) -> Offered {
        self.offer_to(data, patience, |_| true)
    }

    /// Offers the run to those that `picks` selects; the others wait on.
    pub(crate) fn offer_to(
        &mut self,
        data: &DataPlane,
        patience: Patience,
        picks: impl Fn(&Target) -> bool,
    ) -> Offered {
        let frames = self.frames;
        let mut offered = Offered {
            look_again: Duration::MAX,
            dropped: 0,
        };
        self.unsent.retain(|Unsent { target, bytes }| {
            if !picks(target) {
                return true;
            }
            match target.mailbox.push(Run::shared(bytes, frames), patience) {
                Pushed::Full { stalls_in } => {
                    offered.look_again = offered.look_again.min(stalls_in);
                    true
                }
                pushed => {
                    offered.dropped += u64::from(matches!(pushed, Pushed::Dropped { .. }));
                    data.report_drops(pushed, target);
                    false
                }
            }
        });
        offered
    }

    /// Parks the calling thread until there may be room at one of the targets.
    pub(crate) fn wait_room(&self, timeout: Duration) {
        if let Some(Unsent { target, bytes }) = self.unsent.first() {
            target.mailbox.wait_room(bytes.len(), self.frames, timeout);
        }
    }

    /// Resolves once there may be room at one of the targets.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let has_room = |Unsent { target, bytes }: &Unsent| {
            let room = target.mailbox.poll_room(cx, bytes.len(), self.frames);
            room.is_ready()
        };
        if self.is_over() || self.unsent.iter().any(has_room) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
