//! The clock that data stores go by: the system's, or one that the program moves.
//!
//! A program that reads a trace from the past gives its stores that time. Entries end, and ticks come,
//! when such a clock is moved, and only then. Connections go by the system's clock in any case.
//! Spec: endpoint 1, stores 2.3. See ADR 0231.

use std::time::{Duration, SystemTime};

use broker_data::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// Longer than anything sleeps: a clock that the program moves wakes those who wait for it.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Debug)]
pub(crate) enum Clock {
    Real,
    Manual(watch::Sender<Timestamp>),
}

impl Clock {
    pub(crate) fn new(is_real: bool) -> Self {
        if is_real {
            Self::Real
        } else {
            Self::Manual(watch::Sender::new(Timestamp::EPOCH))
        }
    }

    pub(crate) const fn is_real(&self) -> bool {
        matches!(self, Self::Real)
    }

    /// Since 1970: what expiry times are counted in.
    pub(crate) fn time_of_day(&self) -> Timestamp {
        match self {
            Self::Real => Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH),
            Self::Manual(now) => *now.borrow(),
        }
    }

    /// Moves the clock on. It never goes back, and the system's is left alone.
    pub(crate) fn advance(&self, to: Timestamp) {
        if let Self::Manual(now) = self {
            now.send_if_modified(|now| {
                let is_later = to > *now;
                *now = to.max(*now);
                is_later
            });
        }
    }

    /// When the system's clock reaches a time of this one; nothing while it has to be moved for that.
    pub(crate) fn instant(&self, at: Timestamp) -> Option<Instant> {
        let left = at.ns().saturating_sub(self.time_of_day().ns());
        let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0));
        (self.is_real() || left.is_zero()).then(|| Instant::now() + left)
    }

    /// Ticks from now on.
    pub(crate) fn ticks(&self, interval: Duration) -> Ticks {
        let interval = interval.max(Duration::from_nanos(1));
        let manual = match self {
            Self::Real => None,
            Self::Manual(now) => {
                let mut moves = now.subscribe();
                let last = *moves.borrow_and_update();
                Some(Moves { moves, last })
            }
        };
        Ticks {
            interval,
            next: Instant::now() + interval,
            manual,
        }
    }
}

/// Regular ticks of a clock.
#[derive(Debug)]
pub(crate) struct Ticks {
    interval: Duration,
    next: Instant,
    manual: Option<Moves>,
}

#[derive(Debug)]
struct Moves {
    moves: watch::Receiver<Timestamp>,
    /// The tick before.
    last: Timestamp,
}

impl Ticks {
    /// Before this nothing has to be done.
    pub(crate) fn next(&self) -> Instant {
        match self.manual {
            None => self.next,
            Some(_) => Instant::now() + NEVER,
        }
    }

    /// Waits for a tick and says how many should have come before it. Nothing says that the clock was
    /// moved by less. It may be given up at any time.
    pub(crate) async fn tick(&mut self) -> Option<u64> {
        let Some(manual) = &mut self.manual else {
            tokio::time::sleep_until(self.next).await;
            let now = Instant::now();
            let late = (now - self.next).as_nanos() / self.interval.as_nanos();
            self.next = now + self.interval;
            return Some(u64::try_from(late).unwrap_or_default());
        };
        if manual.moves.changed().await.is_err() {
            // The endpoint is gone, and the store ends.
            std::future::pending::<()>().await;
        }
        let now = *manual.moves.borrow_and_update();
        let passed = now.ns().saturating_sub(manual.last.ns());
        let interval = i64::try_from(self.interval.as_nanos()).unwrap_or(i64::MAX);
        let ticks = passed / interval;
        if ticks <= 0 {
            return None;
        }
        manual.last = Timestamp::from_ns(manual.last.ns().saturating_add(ticks * interval));
        u64::try_from(ticks - 1).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_goes_on_only_when_it_is_moved_and_never_back() {
        let clock = Clock::new(false);
        assert_eq!(clock.time_of_day(), Timestamp::EPOCH);
        clock.advance(Timestamp::from_ns(5));
        clock.advance(Timestamp::from_ns(3));
        assert_eq!(clock.time_of_day(), Timestamp::from_ns(5));
        assert!(clock.instant(Timestamp::from_ns(6)).is_none());
        assert!(clock.instant(Timestamp::from_ns(5)).is_some());
    }

    #[test]
    fn the_clock_of_the_system_cannot_be_moved() {
        let clock = Clock::new(true);
        clock.advance(Timestamp::from_ns(i64::MAX));
        assert!(clock.time_of_day() < Timestamp::from_ns(i64::MAX));
        assert!(clock.time_of_day() > Timestamp::EPOCH);
    }

    #[tokio::test]
    async fn ticks_follow_the_moves() {
        let clock = Clock::new(false);
        clock.advance(Timestamp::from_ns(1_000_000_000));
        let mut ticks = clock.ticks(Duration::from_nanos(100));
        clock.advance(Timestamp::from_ns(1_000_000_099));
        assert_eq!(ticks.tick().await, None);
        clock.advance(Timestamp::from_ns(1_000_000_100));
        assert_eq!(ticks.tick().await, Some(0));
        clock.advance(Timestamp::from_ns(1_000_000_350));
        assert_eq!(ticks.tick().await, Some(1));
        clock.advance(Timestamp::from_ns(1_000_000_400));
        assert_eq!(ticks.tick().await, Some(0));
    }
}
