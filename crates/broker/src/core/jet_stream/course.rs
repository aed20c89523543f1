//! The course of a reader in order: how far it came, where it ends, and how fast its messages are handed
//! out.

use std::time::{Duration, Instant};

use broker_data::Timestamp;
use broker_proto::nats::jetstream::Delivery;

/// Where a reading of what is stored ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The number of the last message.
    pub(crate) sequence: u64,
    /// The time of the last message.
    pub(crate) time: Option<Timestamp>,
}

/// The course of a reading; see the module.
#[derive(Debug)]
pub(crate) struct Course {
    /// The number of the last message that came; 0 before the first one.
    pub(crate) last: u64,
    /// Deliveries of the present consumer that came.
    pub(crate) came: u64,
    pub(crate) end: Option<End>,
    /// Last values: those of streams for them only, and without those that were withdrawn by the time that
    /// the message of that number was stored.
    pub(crate) state_until: Option<u64>,
    /// The last values that there were at the beginning are taken.
    pub(crate) is_state_taken: bool,
    /// Everything came.
    pub(crate) is_finished: bool,
    /// The consumer is to be made anew, for that reason.
    pub(crate) broken: Option<String>,
    pub(crate) pace: Option<Pace>,
}

impl Course {
    /// That of last values, which were the present ones when the stream had so many messages.
    pub(crate) fn of_state(state_until: u64) -> Self {
        Self {
            state_until: Some(state_until),
            ..Self::until(None, None)
        }
    }

    /// That of what is stored, up to an end.
    pub(crate) const fn until(end: Option<End>, pace: Option<Pace>) -> Self {
        Self {
            last: 0,
            came: 0,
            end,
            state_until: None,
            is_state_taken: false,
            is_finished: false,
            broken: None,
            pace,
        }
    }

    /// Notes that a message came. `false` when it is behind the end.
    pub(crate) fn advance(&mut self, delivery: &Delivery) -> bool {
        self.last = delivery.sequence;
        self.came = self.came.saturating_add(1);
        let Some(end) = self.end else {
            return true;
        };
        let is_late = end.time.is_some_and(|time| delivery.time > time);
        let is_beyond = delivery.sequence > end.sequence || is_late;
        self.is_finished = is_beyond || delivery.sequence == end.sequence || delivery.pending == 0;
        !is_beyond
    }

    /// Notes that a message is taken.
    pub(crate) fn note_taken(&mut self, delivery: &Delivery) {
        let is_last = self
            .state_until
            .is_some_and(|last| delivery.sequence >= last);
        self.is_state_taken |= is_last || delivery.pending == 0;
    }
}

/// How fast messages are handed out: as far apart as they were stored, divided by a speed.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    speed: f64,
    /// When the first message was handed out, and when it was stored.
    origin: Option<(Instant, Timestamp)>,
    /// When the next one is, if that is later than now.
    pub(crate) due: Option<Instant>,
}

impl Pace {
    /// So many times the speed at which messages were stored: a number above zero.
    pub(crate) const fn new(speed: f64) -> Self {
        Self {
            speed,
            origin: None,
            due: None,
        }
    }

    /// Has the message that was stored at that time be the next one.
    pub(crate) fn hold(&mut self, now: Instant, time: Timestamp) {
        let (began, first) = *self.origin.get_or_insert((now, time));
        let after = u64::try_from(time.ns().saturating_sub(first.ns())).unwrap_or(0);
        let after = Duration::from_nanos(after).as_secs_f64() / self.speed;
        let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
        // What is too far away to be said is never due.
        let due = began.checked_add(after).unwrap_or_else(|| far(now));
        self.due = Some(due).filter(|due| *due > now);
    }
}

/// A time that does not come.
fn far(now: Instant) -> Instant {
    now.checked_add(Duration::from_secs(100 * 365 * 86_400))
        .unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(sequence: u64, seconds: i64, pending: u64) -> Delivery {
        Delivery {
            sequence,
            deliveries: 1,
            consumer_sequence: 1,
            time: Timestamp::from_ns(seconds * 1_000_000_000),
            pending,
        }
    }

    #[test]
    fn a_course_ends_at_its_end_or_when_nothing_is_behind() {
        let end = End {
            sequence: 7,
            time: Some(Timestamp::from_ns(50_000_000_000)),
        };
        let advance = |at| {
            let mut course = Course::until(Some(end), None);
            (course.advance(&at), course.is_finished)
        };
        assert_eq!(advance(delivery(6, 50, 3)), (true, false));
        assert_eq!(advance(delivery(6, 50, 0)), (true, true));
        assert_eq!(advance(delivery(7, 50, 3)), (true, true));
        assert_eq!(advance(delivery(8, 50, 3)), (false, true));
        assert_eq!(advance(delivery(6, 51, 3)), (false, true));
        let mut endless = Course::of_state(7);
        assert!(endless.advance(&delivery(9, 60, 0)) && !endless.is_finished);
        assert_eq!(endless.last, 9);
        endless.note_taken(&delivery(6, 60, 1));
        assert!(!endless.is_state_taken);
        endless.note_taken(&delivery(9, 60, 4));
        assert!(endless.is_state_taken);
    }

    #[test]
    fn messages_are_as_far_apart_as_they_were_divided_by_the_speed() {
        let at = |seconds: i64| Timestamp::from_ns(seconds * 1_000_000_000);
        let now = Instant::now();
        let mut pace = Pace::new(4.0);
        pace.hold(now, at(100));
        assert_eq!(pace.due, None, "the first one is due at once");
        pace.hold(now, at(140));
        assert_eq!(pace.due, Some(now + Duration::from_secs(10)));
        let later = now + Duration::from_secs(11);
        pace.hold(later, at(140));
        assert_eq!(pace.due, None);
        pace.hold(later, at(90));
        assert_eq!(pace.due, None, "clocks of servers may be set back");
        let mut slow = Pace::new(f64::MIN_POSITIVE);
        slow.hold(now, at(0));
        slow.hold(now, at(1));
        assert!(slow.due.is_some_and(|due| due > later));
    }
}
