//! Limits of a principal: token buckets, which are told what time it is.

use std::time::Duration;

use broker_data::Timestamp;

/// What becomes of a message that would have to wait too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnLimit {
    /// It is dropped.
    #[default]
    Drop,
    /// The connection ends.
    End,
}

/// Bounds for one principal, over all its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Messages per second, after a burst of as many.
    pub messages_per_second: Option<u64>,
    /// Bytes per second, after a burst of as many.
    pub bytes_per_second: Option<u64>,
    /// Bytes of one message.
    pub message_bytes_max: Option<u64>,
    /// Topics of one subscription.
    pub subscriptions_max: Option<u64>,
    /// Denied messages after which a connection ends.
    pub denials_max: Option<u64>,
    /// What follows when waiting does not help.
    pub on_limit: OnLimit,
}

impl Limits {
    /// The narrowest of each.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            messages_per_second: least(self.messages_per_second, other.messages_per_second),
            bytes_per_second: least(self.bytes_per_second, other.bytes_per_second),
            message_bytes_max: least(self.message_bytes_max, other.message_bytes_max),
            subscriptions_max: least(self.subscriptions_max, other.subscriptions_max),
            denials_max: least(self.denials_max, other.denials_max),
            on_limit: self.on_limit.max(other.on_limit),
        }
    }
}

/// Units that come at a steady rate and are taken by what happens.
///
/// More than the bucket holds may be taken while it is full; what is missing then has to come in first,
/// so that the rate holds for messages of any size.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Units per second, and units when full.
    rate: u64,
    /// Billionths of units that are there; negative ones have been taken ahead of time.
    level: i128,
    filled: Timestamp,
}

/// Billionths of a unit: what comes in within a nanosecond at a rate of one.
const FRACTIONS: i128 = 1_000_000_000;

impl TokenBucket {
    /// A full one. A rate of 0 counts as 1: what never fills would stop a connection for good.
    pub fn new(rate: u64, now: Timestamp) -> Self {
        let rate = rate.max(1);
        Self {
            rate,
            level: i128::from(rate) * FRACTIONS,
            filled: now,
        }
    }

    /// How long until so many units may be taken; zero for now.
    pub fn wait(&mut self, units: u64, now: Timestamp) -> Duration {
        self.fill(now);
        let needed = i128::from(units.min(self.rate)) * FRACTIONS;
        let missing = (needed - self.level).max(0);
        let rate = i128::from(self.rate);
        let ns = (missing + rate - 1) / rate;
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Takes units, whether or not they are there.
    pub fn take(&mut self, units: u64) {
        self.level -= i128::from(units) * FRACTIONS;
    }

    /// A clock that goes backwards fills nothing.
    fn fill(&mut self, now: Timestamp) {
        let elapsed = i128::from(now.ns()) - i128::from(self.filled.ns());
        if elapsed <= 0 {
            self.filled = now;
            return;
        }
        let rate = i128::from(self.rate);
        let full = rate * FRACTIONS;
        self.level = (self.level + elapsed * rate).min(full);
        self.filled = now;
    }
}

/// The buckets of one principal.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    messages: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
}

impl Buckets {
    /// Full ones for these limits.
    pub fn new(limits: &Limits, now: Timestamp) -> Self {
        let bucket = |rate: Option<u64>| rate.map(|rate| TokenBucket::new(rate, now));
        Self {
            messages: bucket(limits.messages_per_second),
            bytes: bucket(limits.bytes_per_second),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }

    /// Takes what a message of so many bytes costs, ahead of time if it has to be, and says how long the
    /// message then waits for it. `None` if that is longer than `wait_max`; nothing is taken then.
    pub fn reserve(&mut self, bytes: u64, now: Timestamp, wait_max: Duration) -> Option<Duration> {
        let wait = self.wait(bytes, now);
        if wait > wait_max {
            return None;
        }
        self.charge(bytes);
        Some(wait)
    }

    /// Takes what a message of so many bytes costs if it is there.
    ///
    /// # Errors
    ///
    /// The time after which to try again; nothing is taken then.
    pub fn take(&mut self, bytes: u64, now: Timestamp) -> Result<(), Duration> {
        let wait = self.wait(bytes, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.charge(bytes);
        Ok(())
    }

    /// How long until both buckets have what a message costs.
    fn wait(&mut self, bytes: u64, now: Timestamp) -> Duration {
        let wait = |bucket: &mut Option<TokenBucket>, units| {
            let bucket = bucket.as_mut();
            bucket.map_or(Duration::ZERO, |bucket| bucket.wait(units, now))
        };
        wait(&mut self.messages, 1).max(wait(&mut self.bytes, bytes))
    }

    fn charge(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.messages {
            bucket.take(1);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
    }
}
