//! Marks: what tells copies of one message apart from another message that says the same.
//!
//! Endpoints pass messages on without a trace of where they began, so in a ring of them a message
//! would come back for ever. Between endpoints that recognise each other (see
//! [`EndpointId::recognizable`]), a message to all carries a mark in the receiver field, which
//! is nil otherwise: the first endpoint that passes it to more than one neighbour gives it a number,
//! the others keep it. To peers of any other kind the field is nil as ever. See ADR 0115.

use crate::frame::{FRAME_LEN_SIZE, TAG_OFFSET, receiver_of};
use crate::id::{ENDPOINT_ID_SIZE, EndpointId};

/// Hops after which a message is not passed on any more, although nobody has seen it before: more
/// than any sensible network has in a row, and an end to copies that a window has forgotten.
pub const HOPS_MAX: u8 = 64;

/// Stands where an id has its version, which is never above 5 (wire 11), and says how the rest is
/// laid out.
const MAGIC: u8 = 0xf1;

/// Bytes that name the endpoint which numbered a message.
pub const ORIGIN_SIZE: usize = 6;

const MAGIC_OFFSET: usize = ORIGIN_SIZE;
const HOPS_OFFSET: usize = MAGIC_OFFSET + 1;
const NUMBER_OFFSET: usize = HOPS_OFFSET + 1;

/// Names a message and counts the hops it has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The endpoint that numbered it: a random number, not its id.
    pub origin: [u8; ORIGIN_SIZE],
    /// Which of its messages it is.
    pub number: u64,
    /// How many endpoints have passed it on since.
    pub hops: u8,
}

impl Mark {
    /// The mark in a receiver field; `None` where there is an id, or nobody.
    #[inline]
    pub fn from_receiver(receiver: EndpointId) -> Option<Self> {
        let bytes = receiver.bytes();
        if bytes[MAGIC_OFFSET] != MAGIC {
            return None;
        }
        let (mut origin, mut number) = ([0; ORIGIN_SIZE], [0; 8]);
        origin.copy_from_slice(&bytes[..ORIGIN_SIZE]);
        number.copy_from_slice(&bytes[NUMBER_OFFSET..]);
        Some(Self {
            origin,
            number: u64::from_be_bytes(number),
            hops: bytes[HOPS_OFFSET],
        })
    }

    /// What stands in the receiver field.
    #[inline]
    pub fn to_receiver(self) -> EndpointId {
        let mut bytes = [0; ENDPOINT_ID_SIZE];
        bytes[..ORIGIN_SIZE].copy_from_slice(&self.origin);
        bytes[MAGIC_OFFSET] = MAGIC;
        bytes[HOPS_OFFSET] = self.hops;
        bytes[NUMBER_OFFSET..].copy_from_slice(&self.number.to_be_bytes());
        EndpointId::from_bytes(bytes)
    }

    /// The mark of a complete frame.
    #[inline]
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        Self::from_receiver(receiver_of(frame))
    }

    /// The mark that the message has behind the endpoint that passes it on.
    #[must_use]
    #[inline]
    pub const fn after_hop(self) -> Self {
        Self {
            hops: self.hops.saturating_add(1),
            ..self
        }
    }

    /// Whether it has made so many hops that it goes no further.
    pub const fn is_exhausted(&self) -> bool {
        self.hops >= HOPS_MAX
    }
}

/// What makes a message out of a complete frame, whoever it passes through: tag, topic and payload.
#[inline]
pub(crate) fn content_of(frame: &[u8]) -> (u8, &[u8]) {
    const TAG: usize = FRAME_LEN_SIZE + TAG_OFFSET;
    let tag = frame.get(TAG).copied().unwrap_or_default();
    // Behind the TTL: the length of the topic, the topic, the payload.
    (tag, frame.get(TAG + 3..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{EnvelopeError, Tag, patch_hop, patch_receiver, write_envelope};

    proptest! {
        #[test]
        fn what_is_written_is_read(origin: [u8; ORIGIN_SIZE], number: u64, hops: u8) {
            let mark = Mark { origin, number, hops };
            let receiver = mark.to_receiver();
            prop_assert_eq!(Mark::from_receiver(receiver), Some(mark));
            prop_assert!(receiver.to_string().parse::<EndpointId>().is_err());
        }

        #[test]
        fn no_id_is_a_mark(random: [u8; 16]) {
            prop_assert_eq!(Mark::from_receiver(EndpointId::from_random(random)), None);
            prop_assert_eq!(Mark::from_receiver(EndpointId::recognizable(random)), None);
        }
    }

    #[test]
    fn nobody_is_no_mark() {
        assert_eq!(Mark::from_receiver(EndpointId::NIL), None);
        assert_eq!(Mark::of_frame(&[]), None);
    }

    #[test]
    fn hops_end() {
        let mut mark = Mark {
            origin: [1; ORIGIN_SIZE],
            number: 1,
            hops: 0,
        };
        for _ in 0..HOPS_MAX {
            assert!(!mark.is_exhausted());
            mark = mark.after_hop();
        }
        assert!(mark.is_exhausted());
        mark.hops = u8::MAX;
        assert_eq!(mark.after_hop(), mark);
    }

    #[test]
    fn the_content_is_what_no_hop_changes() {
        let mut frame = Vec::new();
        let me = EndpointId::from_bytes([1; 16]);
        write_envelope::<EnvelopeError>(&mut frame, me, EndpointId::NIL, Tag::Data, b"/t", |out| {
            out.push(0);
            Ok(())
        })
        .unwrap();
        let content = (1, &b"\0\x02/t\0"[..]);
        assert_eq!(content_of(&frame), content);
        patch_hop(&mut frame, EndpointId::from_bytes([2; 16]));
        patch_receiver(&mut frame, EndpointId::from_bytes([3; 16]));
        assert_eq!(content_of(&frame), content);
        assert_eq!(content_of(&[]), (0, &[][..]));
    }
}
