//! Pauses between attempts to connect: doubled with each failure, and spread in time.
//!
//! Hundreds of programs may have lost the same server in the same moment, and a server that starts
//! is not helped by all of them at once.

use broker_data::Timespan;

use crate::random::share;

/// Longest pause that doubling leads to; a longer one that was asked for stays as it is.
pub(crate) const BACKOFF_MAX: Timespan = Timespan::from_ns(60_000_000_000);

/// Longest time by which the first attempt after a loss is put off: enough to spread a thousand
/// clients of a server, and too short for a person to notice.
pub(crate) const FIRST_PAUSE_MAX: Timespan = Timespan::from_ns(250_000_000);

/// Doublings of the pause. Beyond that the maximum above has long been reached.
const DOUBLINGS_MAX: u32 = 6;

/// How long to wait after so many failures in a row: the pause that was asked for, doubled each
/// time, less up to a quarter by chance.
pub(crate) fn pause(asked: Timespan, failures: u32, random: u64) -> Timespan {
    let longest = asked.max(BACKOFF_MAX).ns();
    let doubled = asked
        .ns()
        .saturating_mul(1 << failures.min(DOUBLINGS_MAX))
        .min(longest);
    Timespan::from_ns(doubled.saturating_sub(share(doubled / 4, random)))
}

/// A pause that is as long as that on average, and up to a quarter shorter or longer by chance.
pub(crate) fn around(asked: Timespan, random: u64) -> Timespan {
    let half = asked.ns() / 2;
    let shortest = asked.ns().saturating_sub(half / 2);
    Timespan::from_ns(shortest.saturating_add(share(half, random)))
}

/// How long to wait before the first attempt after a loss.
pub(crate) fn first(asked: Timespan, random: u64) -> Timespan {
    Timespan::from_ns(share(FIRST_PAUSE_MAX.min(asked).ns(), random))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn pauses_around_a_length_have_it_on_average() {
        let asked = Timespan::from_ns(10 * SECOND);
        let pauses = (0..10_000).map(|n| around(asked, crate::random::scramble(7, n)).ns());
        let pauses: Vec<i64> = pauses.collect();
        let mean = pauses.iter().sum::<i64>() / 10_000;
        assert!((mean - asked.ns()).abs() < asked.ns() / 100, "{mean}");
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= asked.ns() / 4 * 3 && *most <= asked.ns() / 4 * 5);
        assert!(most - least > asked.ns() / 3);
        assert_eq!(around(Timespan::MAX, u64::MAX), Timespan::MAX);
    }

    #[test]
    fn pauses_that_were_asked_for_are_not_shortened_by_the_maximum() {
        let hour = Timespan::from_ns(3600 * SECOND);
        assert_eq!(pause(hour, 9, 0), hour);
        assert!(pause(hour, 0, u64::MAX).ns() >= hour.ns() / 4 * 3);
    }
}
