//! Stalls of a consumer, and the bursts of messages that its mailbox drops meanwhile.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::flow::mailbox::{Inner, Mailbox, Pushed};

/// Bursts of drops are told at most that often, and later ones together: a consumer whose limit is
/// strict may have thousands in a second.
const BURST_REPORT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) type TellBurst = Box<dyn Fn(&Mailbox, Burst) + Send + Sync>;

/// Messages that were dropped, one after the other, because the consumer took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Burst {
    pub(crate) messages: u64,
    /// From the first drop to the consumer's next move.
    pub(crate) lasted: Duration,
}

/// When the consumer was last seen to move, measured by producers that found the mailbox full.
#[derive(Debug, Default)]
pub(super) struct Stall {
    seen: Option<(u64, Instant)>,
    pub(super) stalled: bool,
    /// Messages dropped since the burst began, and when that was.
    pub(super) burst: u64,
    burst_began: Option<Instant>,
    /// How often the consumer stalled.
    pub(super) stalls: u64,
    /// When the end of a burst was last told.
    told: Option<Instant>,
}

impl Stall {
    /// Whether the end of a burst was told a moment ago: what follows is told with the next end.
    pub(super) fn was_told_lately(&self) -> bool {
        self.told
            .is_some_and(|at| at.elapsed() < BURST_REPORT_INTERVAL)
    }

    /// How long the consumer has been seen without movement.
    pub(super) fn idle(&mut self, progress: u64, now: Instant) -> Duration {
        match self.seen {
            Some((seen, since)) if seen == progress => now.saturating_duration_since(since),
            _ => {
                self.seen = Some((progress, now));
                Duration::ZERO
            }
        }
    }
}

impl Mailbox {
    pub(super) fn count_drop(&self, inner: &mut Inner, messages: usize) -> Pushed {
        let is_first = inner.stall.burst == 0;
        if is_first {
            inner.stall.burst_began = Some(Instant::now());
        }
        let burst_began = is_first && !inner.stall.was_told_lately();
        inner.stall.burst = inner.stall.burst.saturating_add(messages as u64);
        self.dropped.fetch_add(messages as u64, Ordering::Relaxed);
        if let Some(lost) = self.lost.get() {
            lost.dropped.fetch_add(messages as u64, Ordering::Relaxed);
        }
        Pushed::Dropped { burst_began }
    }

    /// The consumer moves again, or never will: what was dropped until now can be told.
    pub(super) fn end_burst(&self, inner: &mut Inner) {
        let lost = Burst {
            messages: std::mem::take(&mut inner.stall.burst),
            lasted: inner
                .stall
                .burst_began
                .take()
                .map_or(Duration::ZERO, |at| at.elapsed()),
        };
        if lost.messages > 0 {
            inner.stall.told = Some(Instant::now());
        }
        if lost.messages > 0
            && let Some(told) = self.told_of_bursts.get()
        {
            told(self, lost);
        }
    }

    /// Has the end of each burst of drops told, under the lock of the mailbox: what is done then must
    /// neither use it nor wait.
    pub(crate) fn tell_bursts(&self, tell: impl Fn(&Self, Burst) + Send + Sync + 'static) {
        // Set once, by its maker.
        let _ = self.told_of_bursts.set(Box::new(tell));
    }
}
