//! The last entries of the last leaders, so that a replica that was away for longer than
//! the log reaches back still learns what became of its last entry.

use std::collections::BTreeMap;

use crate::store::entity::EntityId;

/// Leaders that are remembered: more changes of leaders than there can be within the time for
/// which a caller waits for its answer.
const LEADERS_MAX: usize = 64;

/// The last entries of the last leaders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Leaders {
    /// The number and the sequence of the last entry of each.
    /// Bound: `LEADERS_MAX`; the one whose last entry is oldest goes.
    last: BTreeMap<EntityId, (u64, u64)>,
}

impl Leaders {
    /// A leader's entry is at a sequence of the stream.
    pub(super) fn note(&mut self, leader: EntityId, number: u64, sequence: u64) {
        self.last.insert(leader, (number, sequence));
        if self.last.len() > LEADERS_MAX {
            let oldest = self.last.iter().min_by_key(|(_, (_, sequence))| *sequence);
            if let Some((oldest, _)) = oldest.map(|(id, it)| (*id, *it)) {
                self.last.remove(&oldest);
            }
        }
    }

    /// The number of a leader's last entry.
    pub(super) fn last(&self, leader: EntityId) -> Option<u64> {
        self.last.get(&leader).map(|(number, _)| *number)
    }

    /// Whether some may have been forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.last.len() == LEADERS_MAX
    }

    /// Leaders with number and sequence of their last entries, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EntityId, u64, u64)> {
        let last = self.last.iter();
        last.map(|(id, (number, sequence))| (*id, *number, *sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EndpointId;

    #[test]
    fn the_leader_that_was_silent_for_longest_is_forgotten() {
        let leader = |object| EntityId {
            endpoint: EndpointId::from_bytes([1; 16]),
            object,
        };
        let mut leaders = Leaders::default();
        for object in 0..LEADERS_MAX as u64 {
            leaders.note(leader(object), 1, object);
        }
        assert!(leaders.is_full());
        leaders.note(leader(0), 2, 100);
        leaders.note(leader(999), 1, 101);
        assert_eq!(
            (leaders.last(leader(0)), leaders.last(leader(1))),
            (Some(2), None)
        );
        assert_eq!(leaders.iter().count(), LEADERS_MAX);
    }
}
