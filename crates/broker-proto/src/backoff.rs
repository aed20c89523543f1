//! Pauses between attempts to connect: doubled with each failure, and spread in time.
//!
//! Hundreds of programs may have lost the same server in the same moment, and a server that starts
//! is not helped by all of them at once.

use broker_data::Timespan;

use crate::random::share;

/// Longest pause that doubling leads to; a longer one that was asked for stays as it is.
pub(crate) const BACKOFF_MAX: Timespan = Timespan::from_ns(60_000_000_000);

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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn pauses_that_were_asked_for_are_not_shortened_by_the_maximum() {
        let hour = Timespan::from_ns(3600 * SECOND);
        assert_eq!(pause(hour, 9, 0), hour);
        assert!(pause(hour, 0, u64::MAX).ns() >= hour.ns() / 4 * 3);
    }
}
