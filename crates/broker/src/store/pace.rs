//! The pace of expiry: the number of entries that the thread of a storage removes before it commits.
//!
//! Readers come between two steps of the removal, but not into a commit. What a commit takes grows
//! with the pages that it changes, and those depend on the keys: a thousand entries that lie side by
//! side are a few pages, a thousand that lie anywhere are nearly all of a small file. So it is measured
//! and not guessed. See ADR 0270.

use std::time::Duration;

/// Steps of `EXPIRED_PER_CALL_MAX` entries before the first commit.
const STEPS_FIRST: usize = 16;

/// Steps before a commit at most: what is lost with the process, and told again, stays bounded.
const STEPS_MAX: usize = 256;

/// What a commit may take where others read. A reader may meet the end of one commit, a removal
/// ([`BESIDE_READERS`]) and the next commit, and is to wait for less than ten milliseconds.
const COMMIT_READ_MAX: Duration = Duration::from_millis(3);

/// What it may take where nobody has read since the one before: fewer commits write less in sum.
const COMMIT_ALONE_MAX: Duration = Duration::from_millis(16);

/// How long entries are removed while changes wait: as long as a commit on a fast disk, so that neither
/// falls behind the other.
const BESIDE_CHANGES: Duration = Duration::from_millis(2);

/// How long while readers wait for changes.
const BESIDE_READERS: Duration = Duration::from_millis(1);

/// What waits while entries are removed. The removal goes on between two steps as long as each allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Nothing,
    /// Changes that are to be applied, and that no thread waits for.
    Changes,
    /// Threads wait to read what changes left.
    Readers,
}

impl Awaited {
    /// Whether there may be another step of a removal that has gone on for so long.
    pub(super) fn allows_step(self, removed_for: Duration) -> bool {
        match self {
            Self::Nothing => true,
            Self::Changes => removed_for < BESIDE_CHANGES,
            Self::Readers => removed_for < BESIDE_READERS,
        }
    }
}

/// The number of steps before the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RemovalPace {
    steps: usize,
}

impl Default for RemovalPace {
    fn default() -> Self {
        Self { steps: STEPS_FIRST }
    }
}

impl RemovalPace {
    pub(super) fn steps(self) -> usize {
        self.steps
    }

    /// So many steps were committed, and that took so long. Fewer than there were to be say nothing
    /// about more of them.
    pub(super) fn committed(&mut self, steps: usize, took: Duration, was_read: bool) {
        let most = if was_read {
            COMMIT_READ_MAX
        } else {
            COMMIT_ALONE_MAX
        };
        if took > most {
            self.steps = (steps.min(self.steps) / 2).max(1);
        } else if steps >= self.steps && took <= most / 2 {
            self.steps = self.steps.saturating_mul(2).min(STEPS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(100);
    const SLOW: Duration = Duration::from_millis(100);

    #[test]
    fn cheap_commits_get_larger_up_to_a_limit() {
        let mut pace = RemovalPace::default();
        for _ in 0..10 {
            let steps = pace.steps();
            pace.committed(steps, FAST, true);
            assert!(pace.steps() == STEPS_MAX || pace.steps() == 2 * steps);
        }
        assert_eq!(pace.steps(), STEPS_MAX);
    }

    #[test]
    fn slow_commits_get_smaller_down_to_one_step() {
        let mut pace = RemovalPace::default();
        for _ in 0..10 {
            pace.committed(pace.steps(), SLOW, true);
        }
        assert_eq!(pace.steps(), 1);
        // From what was too much, not from what was allowed.
        let mut pace = RemovalPace { steps: STEPS_MAX };
        pace.committed(8, SLOW, false);
        assert_eq!(pace.steps(), 4);
    }

    #[test]
    fn where_others_read_a_commit_is_to_be_shorter() {
        let took = COMMIT_READ_MAX + FAST;
        let mut read = RemovalPace::default();
        let mut alone = read;
        read.committed(STEPS_FIRST, took, true);
        alone.committed(STEPS_FIRST, took, false);
        assert!(read.steps() < STEPS_FIRST && alone.steps() > STEPS_FIRST);
    }

    #[test]
    fn a_removal_ends_the_sooner_the_more_waits_for_it() {
        for (awaited, removed_for, allowed) in [
            (Awaited::Nothing, SLOW, true),
            (Awaited::Changes, BESIDE_READERS, true),
            (Awaited::Changes, BESIDE_CHANGES, false),
            (Awaited::Readers, Duration::ZERO, true),
            (Awaited::Readers, BESIDE_READERS, false),
        ] {
            assert_eq!(awaited.allows_step(removed_for), allowed, "{awaited:?}");
        }
        // A reader that meets two commits and what is between them.
        let step = Duration::from_millis(1);
        assert!(2 * COMMIT_READ_MAX + BESIDE_READERS + step < Duration::from_millis(10));
    }

    #[test]
    fn what_is_near_the_limit_stays() {
        let mut pace = RemovalPace::default();
        pace.committed(STEPS_FIRST, COMMIT_READ_MAX, true);
        pace.committed(1, FAST, true);
        assert_eq!(pace, RemovalPace::default());
    }
}
