//! The overlap of two connections to one server: which messages came on both, and when the old
//! line has brought everything. See ADR 0085.

use std::collections::BTreeMap;

use broker_data::Timestamp;

use crate::filter::Filter;
use crate::topic::Topic;

/// Bytes of messages that are remembered while there are two lines.
pub(super) const OVERLAP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a remembered message costs beside its bytes.
const OVERLAP_ENTRY_BYTES: usize = 64;

/// Which line a message came on while there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    New,
}

/// What came on one of two lines and has not come on the other.
#[derive(Debug)]
pub(super) struct Overlap {
    /// What the old line is subscribed to: nothing else can come twice.
    pub(super) topics: Filter,
    /// How often a message came on the old line, less how often on the new one.
    seen: BTreeMap<Vec<u8>, i64>,
    pub(super) bytes: usize,
    /// Messages that the new line brought first, and those of them that the old one has brought
    /// since.
    pub(super) owed: u64,
    pub(super) paid: u64,
    /// What must have been paid before the old line may go. Under steady traffic one line or the
    /// other is always ahead, so this is fixed once.
    pub(super) bill: Option<u64>,
    /// Whether some message came on both. Lines keep the order, so the old one has then brought
    /// everything that it had before the new one was subscribed.
    paired: bool,
    /// When the old line last brought something.
    pub(super) old_heard: Timestamp,
}

/// Whether the old line can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Nothing is missing.
    Proven,
    /// Nothing is known to be missing, but there may be a queue on its way.
    Likely,
    /// Something is missing.
    Open,
}

impl Overlap {
    pub(super) const fn new(topics: Filter) -> Self {
        Self {
            topics,
            seen: BTreeMap::new(),
            bytes: 0,
            owed: 0,
            paid: 0,
            bill: None,
            paired: false,
            old_heard: Timestamp::MIN,
        }
    }

    /// Whether a message came on the other line before.
    pub(super) fn came_before(
        &mut self,
        now: Timestamp,
        side: Side,
        topic: &Topic,
        payload: &[u8],
    ) -> bool {
        if !self.topics.matches(topic.as_bytes()) {
            return false;
        }
        if side == Side::Old {
            self.old_heard = now;
        }
        let topic = topic.as_bytes();
        let mut key = Vec::with_capacity(topic.len() + payload.len() + 8);
        key.extend_from_slice(&topic.len().to_be_bytes());
        key.extend_from_slice(topic);
        key.extend_from_slice(payload);
        let size = key.len().saturating_add(OVERLAP_ENTRY_BYTES);
        let step = match side {
            Side::Old => 1,
            Side::New => -1,
        };
        if let Some(difference) = self.seen.get_mut(&key) {
            let twin = difference.signum() == -step;
            self.paired |= twin;
            *difference += step;
            if *difference == 0 {
                self.seen.remove(&key);
                self.bytes = self.bytes.saturating_sub(size);
            }
            self.owe(side, twin);
            return twin;
        }
        if self.bytes.saturating_add(size) <= OVERLAP_BYTES_MAX {
            self.bytes = self.bytes.saturating_add(size);
            self.seen.insert(key, step);
            self.owe(side, false);
        }
        false
    }

    pub(super) fn state(&self) -> Settlement {
        let is_paid = self.paid >= self.bill.unwrap_or(self.owed);
        match (is_paid, self.paired) {
            (true, true) => Settlement::Proven,
            (true, false) => Settlement::Likely,
            // Looked at once when it is due for the first time, to fix the bill.
            (false, _) if self.bill.is_none() => Settlement::Proven,
            (false, _) => Settlement::Open,
        }
    }

    fn owe(&mut self, side: Side, twin: bool) {
        match (side, twin) {
            (Side::New, false) => self.owed = self.owed.saturating_add(1),
            (Side::Old, true) => self.paid = self.paid.saturating_add(1),
            (Side::New, true) | (Side::Old, false) => {}
        }
    }
}
