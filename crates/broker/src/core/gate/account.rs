//! Limits and counts of a principal, over all its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_data::Timestamp;
use broker_proto::policy::{Buckets, Rights};

use crate::lock::Lock;
use crate::policy::PolicyCounts;

/// How long a message waits for its limits; beyond that it is dropped, or ends its connection.
pub(crate) const LIMIT_WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Account {
    state: Lock<State>,
    allowed: AtomicU64,
    denied: AtomicU64,
    limited: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Of this version of the policy.
    version: u64,
    rights: Option<Arc<Rights>>,
    buckets: Buckets,
}

impl Account {
    /// The rights that a version of the policy gives; buckets are full when their limits changed.
    pub(super) fn rights(
        &self,
        version: u64,
        compute: impl FnOnce() -> Option<Rights>,
    ) -> Option<Arc<Rights>> {
        let mut state = self.state.lock();
        if state.version != version {
            let rights = compute().map(Arc::new);
            let old = state.rights.as_ref().map(|rights| rights.limits().clone());
            let new = rights.as_ref().map(|rights| rights.limits().clone());
            if old != new {
                // Those that are taken first are made at that time.
                state.buckets = Buckets::default();
            }
            state.rights = rights;
            state.version = version;
        }
        state.rights.clone()
    }

    /// Takes what a message costs, and says how long it has to wait; `None` if that is too long.
    pub(super) fn charge(&self, rights: &Rights, bytes: u64, now: Timestamp) -> Option<Duration> {
        let limits = rights.limits();
        if limits.messages_per_second.is_none() && limits.bytes_per_second.is_none() {
            return Some(Duration::ZERO);
        }
        let mut state = self.state.lock();
        if state.buckets.is_empty() {
            state.buckets = Buckets::new(limits, now);
        }
        state.buckets.reserve(bytes, now, LIMIT_WAIT_MAX)
    }

    pub(super) fn count_allowed(&self) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_allowed_by(&self, messages: u64) {
        self.allowed.fetch_add(messages, Ordering::Relaxed);
    }

    pub(super) fn count_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_limited(&self) {
        self.limited.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> PolicyCounts {
        PolicyCounts {
            allowed: self.allowed.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            limited: self.limited.load(Ordering::Relaxed),
        }
    }
}
