//! Counters that are only shown.

use std::sync::atomic::{AtomicU64, Ordering};

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
