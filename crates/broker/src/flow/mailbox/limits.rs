//! The limits of a mailbox.

use std::time::Duration;

use crate::config::Overflow;

/// Room for control frames however small the limit for messages is: two of the largest filters.
/// Also for what endpoints in a circle have under way, when all of them wait for each other.
pub(crate) const CONTROL_BYTES_MIN: usize = 32 * 1024 * 1024;

/// What a mailbox may hold and what happens beyond that.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    pub(crate) messages_max: usize,
    pub(crate) overflow: Overflow,
    /// How long a consumer may take nothing from a full mailbox before the policy applies.
    pub(crate) stall_limit: Duration,
    /// `true`: the policy applies as soon as the mailbox is full, nobody waits.
    pub(crate) strict: bool,
    /// `true`: the consumer reads JSON, so runs keep a translation that they share with others.
    pub(crate) translated: bool,
}

impl Limits {
    /// Bytes that are never exceeded, control frames included.
    pub(crate) fn control_bytes_max(&self) -> usize {
        self.bytes_max.max(CONTROL_BYTES_MIN).saturating_mul(2)
    }
}
