//! Snapshots: the entries of a master, encoded for a clone that attaches. Spec: stores 5.2.

use std::ops::Range;
use std::sync::Arc;

use broker_data::Timestamp;

use crate::store::expiry;

/// Everything a store held at some number of the down channel.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) offset: u64,
    pub(super) count: u32,
    /// Encoded keys and values, one after the other.
    pub(super) bytes: Vec<u8>,
    /// When entries end, and where they are in the bytes, in this order.
    pub(super) expiring: Vec<(Timestamp, Range<usize>)>,
}

impl Snapshot {
    /// What of it is there at a later time. That it has the same number does no harm: the change
    /// that removes an entry finds nothing to remove.
    pub(super) fn at(self: &Arc<Self>, now: Timestamp) -> Arc<Self> {
        let is_over = |(at, _): &(Timestamp, _)| expiry::is_over(*at, now);
        if !self.expiring.iter().any(is_over) {
            return self.clone();
        }
        let mut left = Self {
            offset: self.offset,
            count: self.count,
            bytes: Vec::new(),
            expiring: Vec::new(),
        };
        let mut end = 0;
        for (at, range) in &self.expiring {
            let between = self.bytes.get(end..range.start).unwrap_or_default();
            left.bytes.extend_from_slice(between);
            end = range.end;
            if expiry::is_over(*at, now) {
                left.count -= 1;
                continue;
            }
            let start = left.bytes.len();
            let entry = self.bytes.get(range.clone()).unwrap_or_default();
            left.bytes.extend_from_slice(entry);
            left.expiring.push((*at, start..left.bytes.len()));
        }
        let rest = self.bytes.get(end..).unwrap_or_default();
        left.bytes.extend_from_slice(rest);
        Arc::new(left)
    }
}
