//! Marks in ids, by which stores of this implementation recognise each other.
//!
//! Some of what they say to each other no store of the original says (ADR 0070), and nobody else
//! is to be bothered with it. What number an object has is the business of its endpoint (Spec:
//! stores 1.2); the original counts from one. So the highest byte of the number tells (ADR 0077).

use crate::id::EndpointId;
use crate::store::entity::EntityId;

const SHIFT: u32 = 56;
const CLONE: u64 = 0xb7;
const MASTER: u64 = 0xb6;

/// The id of a clone that is known as one of ours. Its object number is below 2^32.
#[must_use]
pub const fn clone_id(id: EntityId) -> EntityId {
    EntityId {
        object: id.object | CLONE << SHIFT,
        ..id
    }
}

/// Whether that is the id of a clone of ours.
pub(crate) const fn is_clone(id: EntityId) -> bool {
    id.object >> SHIFT == CLONE
}

/// Under which id a master makes itself known to others.
pub(crate) const fn master_voice(endpoint: EndpointId) -> EntityId {
    EntityId {
        endpoint,
        object: MASTER << SHIFT,
    }
}

/// Whether that is how a master makes itself known.
pub(crate) const fn is_master_voice(id: EntityId) -> bool {
    id.object == MASTER << SHIFT
}
