//! Frames and envelopes: where a message ends, whom it is from and whom it is for.
//!
//! Spec: wire 2, 6. A frame is a four byte length and a payload. Once two endpoints are peers every
//! payload is an envelope. Nothing here looks into what an envelope carries.

use std::fmt;

use crate::id::{ENDPOINT_ID_SIZE, EndpointId};
use crate::topic::TOPIC_MAX;

/// Bytes of the length in front of a frame.
pub const FRAME_LEN_SIZE: usize = 4;

/// Bytes of an envelope in front of its topic.
pub const ENVELOPE_SIZE: usize = 37;

/// Time to live written into every envelope; nobody looks at it. Spec: wire 6.1.
pub const TTL: u16 = 16;

/// Largest payload of a frame that peers accept; what we send stays below it. Spec: wire 2.
pub const PAYLOAD_MAX: usize = 2_147_483_643;

const RECEIVER_OFFSET: usize = ENDPOINT_ID_SIZE;
pub(crate) const TAG_OFFSET: usize = 2 * ENDPOINT_ID_SIZE;
const TTL_OFFSET: usize = TAG_OFFSET + 1;
const TOPIC_LENGTH_OFFSET: usize = TTL_OFFSET + 2;

/// Where the length of the topic stands in a complete frame: two bytes in network order.
pub const TOPIC_LENGTH_AT: usize = FRAME_LEN_SIZE + TOPIC_LENGTH_OFFSET;

/// Kind of a message between peers. Spec: wire 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tag {
    /// A published value.
    Data = 1,
    /// A message between data stores.
    Command = 2,
    /// The complete filter of the sender.
    RoutingUpdate = 3,
    /// A request for a pong with the same payload.
    Ping = 4,
    /// The answer to a ping.
    Pong = 5,
}

impl Tag {
    /// The tag with that number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Data),
            2 => Some(Self::Command),
            3 => Some(Self::RoutingUpdate),
            4 => Some(Self::Ping),
            5 => Some(Self::Pong),
            _ => None,
        }
    }
}

/// Size of the frame that `bytes` begin with, length prefix included; `None` below four bytes.
///
/// `bytes` need not hold the whole frame.
#[inline]
pub fn frame_size(bytes: &[u8]) -> Option<usize> {
    let length = bytes.first_chunk::<FRAME_LEN_SIZE>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    Some(length.saturating_add(FRAME_LEN_SIZE))
}

/// A message between peers, its payload untouched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The endpoint at the other end of the connection: the last hop, not the origin.
    pub sender: EndpointId,
    /// Whom it is for; nil means everybody whose filter matches.
    pub receiver: EndpointId,
    /// What it carries.
    pub tag: Tag,
    /// Any number; no meaning.
    pub ttl: u16,
    /// The topic.
    pub topic: &'a [u8],
    /// What it carries, encoded according to the tag.
    pub payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the payload of a frame.
    ///
    /// # Errors
    ///
    /// Fails when the payload is no envelope; such a message is dropped. Spec: wire 6.3.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, EnvelopeError> {
        let (header, body) =
            payload
                .split_first_chunk::<ENVELOPE_SIZE>()
                .ok_or(EnvelopeError::Short {
                    length: payload.len(),
                })?;
        let tag = Tag::from_u8(header[TAG_OFFSET]).ok_or(EnvelopeError::UnknownTag {
            tag: header[TAG_OFFSET],
        })?;
        let u16_at = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let length = usize::from(u16_at(TOPIC_LENGTH_OFFSET));
        let (topic, payload) = body
            .split_at_checked(length)
            .ok_or(EnvelopeError::TopicCut {
                length,
                remaining: body.len(),
            })?;
        Ok(Self {
            sender: id_at(header, 0),
            receiver: id_at(header, RECEIVER_OFFSET),
            tag,
            ttl: u16_at(TTL_OFFSET),
            topic,
            payload,
        })
    }
}

/// Shows sizes instead of bytes: payloads do not belong into logs.
impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("sender", &self.sender)
            .field("receiver", &self.receiver)
            .field("tag", &self.tag)
            .field("topic", &String::from_utf8_lossy(self.topic))
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// Why something is no envelope, or cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Fewer bytes than an envelope has in front of its topic.
    #[error("an envelope has at least {ENVELOPE_SIZE} bytes, not {length}")]
    Short {
        /// Bytes there are.
        length: usize,
    },
    /// A tag nobody uses between peers.
    #[error("unknown message tag {tag}")]
    UnknownTag {
        /// The tag.
        tag: u8,
    },
    /// The topic ends after the frame.
    #[error("topic of {length} bytes in an envelope with {remaining} bytes left")]
    TopicCut {
        /// Announced length of the topic.
        length: usize,
        /// Bytes there are.
        remaining: usize,
    },
    /// The topic does not fit its length field.
    #[error("topic of {length} bytes is longer than {TOPIC_MAX}")]
    TopicTooLong {
        /// Length of the topic.
        length: usize,
    },
    /// Peers would refuse a frame of that size.
    #[error("frame of {length} bytes, peers accept less than {PAYLOAD_MAX}")]
    FrameTooLarge {
        /// Length of the frame's payload.
        length: usize,
    },
}

/// Appends a complete frame: length, envelope, and the payload that `write` appends.
///
/// # Errors
///
/// Fails when the topic or the frame is too long and when `write` fails; `out` is as before then.
#[inline]
pub fn write_envelope<E: From<EnvelopeError>>(
    out: &mut Vec<u8>,
    sender: EndpointId,
    receiver: EndpointId,
    tag: Tag,
    topic: &[u8],
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let topic_length = u16::try_from(topic.len()).map_err(|_| EnvelopeError::TopicTooLong {
        length: topic.len(),
    })?;
    let start = out.len();
    // Whole at once: each piece by itself would ask for room.
    let mut head = [0; FRAME_LEN_SIZE + ENVELOPE_SIZE];
    let (_, header) = head.split_at_mut(FRAME_LEN_SIZE);
    header[..RECEIVER_OFFSET].copy_from_slice(sender.bytes());
    header[RECEIVER_OFFSET..TAG_OFFSET].copy_from_slice(receiver.bytes());
    header[TAG_OFFSET] = tag as u8;
    header[TTL_OFFSET..TOPIC_LENGTH_OFFSET].copy_from_slice(&TTL.to_be_bytes());
    header[TOPIC_LENGTH_OFFSET..].copy_from_slice(&topic_length.to_be_bytes());
    out.reserve(head.len() + topic.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(topic);
    let written = write(out).and_then(|()| Ok(close_frame(out, start)?));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Writes the length of the frame that begins at `start` and ends with `out`.
pub(crate) fn close_frame(out: &mut [u8], start: usize) -> Result<(), EnvelopeError> {
    let Some(frame) = out.get_mut(start..) else {
        return Err(EnvelopeError::Short { length: 0 });
    };
    let length = frame.len().saturating_sub(FRAME_LEN_SIZE);
    let prefix = u32::try_from(length)
        .ok()
        .filter(|_| length < PAYLOAD_MAX)
        .ok_or(EnvelopeError::FrameTooLarge { length })?;
    let place = frame
        .first_chunk_mut::<FRAME_LEN_SIZE>()
        .ok_or(EnvelopeError::Short { length })?;
    *place = prefix.to_be_bytes();
    Ok(())
}

/// Where the TTL stands in a complete frame.
const TTL_AT: usize = FRAME_LEN_SIZE + TTL_OFFSET;

/// Overwrites the sender and the TTL of a complete frame, which is what forwarding does to it: the
/// TTL is the same in every message. Spec: wire 6.1.
///
/// Does nothing to a frame that is too short to be an envelope.
#[inline]
pub fn patch_hop(frame: &mut [u8], sender: EndpointId) {
    if let Some(header) = frame.get_mut(FRAME_LEN_SIZE..TTL_AT + 2) {
        let (ids, ttl) = header.split_at_mut(TTL_AT - FRAME_LEN_SIZE);
        if let Some(place) = ids.get_mut(..ENDPOINT_ID_SIZE) {
            place.copy_from_slice(sender.bytes());
        }
        ttl.copy_from_slice(&TTL.to_be_bytes());
    }
}

/// Overwrites the receiver of a complete frame. Does nothing to a frame that is too short.
pub fn patch_receiver(frame: &mut [u8], receiver: EndpointId) {
    const START: usize = FRAME_LEN_SIZE + RECEIVER_OFFSET;
    if let Some(place) = frame.get_mut(START..START + ENDPOINT_ID_SIZE) {
        place.copy_from_slice(receiver.bytes());
    }
}

/// Gives a complete frame a payload that is no longer than its own. The frame ends where it did; returns
/// where it begins from now on. `None`, and the frame is as before, if the payload is longer or the frame
/// is none.
pub fn shorten_payload(frame: &mut [u8], payload: &[u8]) -> Option<usize> {
    let head = FRAME_LEN_SIZE + ENVELOPE_SIZE + topic_of(frame).len();
    let begin = frame.len().checked_sub(head)?.checked_sub(payload.len())?;
    frame.copy_within(..head, begin);
    let shorter = frame.get_mut(begin..)?;
    shorter.get_mut(head..)?.copy_from_slice(payload);
    close_frame(shorter, 0).ok()?;
    Some(begin)
}

/// The topic of a complete frame; empty where the frame is no envelope.
#[inline]
pub fn topic_of(frame: &[u8]) -> &[u8] {
    const TOPIC: usize = FRAME_LEN_SIZE + ENVELOPE_SIZE;
    let Some(&[high, low]) = frame.get(TOPIC_LENGTH_AT..TOPIC_LENGTH_AT + 2) else {
        return &[];
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    frame.get(TOPIC..TOPIC + length).unwrap_or_default()
}

/// The receiver of a complete frame; nil where the frame is too short.
#[inline]
pub fn receiver_of(frame: &[u8]) -> EndpointId {
    const START: usize = FRAME_LEN_SIZE + RECEIVER_OFFSET;
    let bytes = frame
        .get(START..)
        .and_then(|rest| rest.first_chunk::<ENDPOINT_ID_SIZE>());
    bytes.map_or(EndpointId::NIL, |bytes| EndpointId::from_bytes(*bytes))
}

fn id_at(header: &[u8; ENVELOPE_SIZE], offset: usize) -> EndpointId {
    let mut bytes = [0; ENDPOINT_ID_SIZE];
    bytes.copy_from_slice(&header[offset..offset + ENDPOINT_ID_SIZE]);
    EndpointId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ME: EndpointId = EndpointId::from_bytes([1; 16]);
    const PEER: EndpointId = EndpointId::from_bytes([2; 16]);

    fn frame(topic: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        write_envelope::<EnvelopeError>(&mut out, ME, PEER, Tag::Data, topic, |out| {
            out.extend_from_slice(payload);
            Ok(())
        })
        .unwrap();
        out.split_off(6)
    }

    #[test]
    fn what_is_written_is_read() {
        let frame = frame(b"/a", b"xyz");
        assert_eq!(frame_size(&frame), Some(frame.len()));
        let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
        assert_eq!(envelope.sender, ME);
        assert_eq!(envelope.receiver, PEER);
        assert_eq!(envelope.tag, Tag::Data);
        assert_eq!(envelope.ttl, TTL);
        assert_eq!(envelope.topic, b"/a");
        assert_eq!(envelope.payload, b"xyz");
    }

    #[test]
    fn a_shorter_payload_leaves_the_rest_of_a_frame() {
        let mut whole = frame(b"/topic", b"a long payload");
        for payload in [&b"a long payload"[..], b"a part", b""] {
            let mut shorter = whole.clone();
            let begin = shorten_payload(&mut shorter, payload).unwrap();
            assert_eq!(shorter.split_off(begin), frame(b"/topic", payload));
        }
        let before = whole.clone();
        assert_eq!(shorten_payload(&mut whole, b"a longer payload"), None);
        assert_eq!(whole, before);
        assert_eq!(shorten_payload(&mut [0; 8], b""), None);
    }

    #[test]
    fn failure_leaves_nothing_behind() {
        #[derive(Debug, PartialEq)]
        struct Failed(Option<EnvelopeError>);
        impl From<EnvelopeError> for Failed {
            fn from(error: EnvelopeError) -> Self {
                Self(Some(error))
            }
        }
        let mut out = b"before".to_vec();
        let refused = write_envelope(&mut out, ME, PEER, Tag::Data, b"/a", |out| {
            out.extend_from_slice(b"half a value");
            Err(Failed(None))
        });
        assert_eq!(refused, Err(Failed(None)));
        let topic = vec![0; TOPIC_MAX + 1];
        let refused = write_envelope(&mut out, ME, PEER, Tag::Data, &topic, |_| Ok(()));
        assert_eq!(
            refused,
            Err(Failed(Some(EnvelopeError::TopicTooLong { length: 65536 })))
        );
        assert_eq!(out, b"before");
    }

    #[test]
    fn malformed_envelopes_are_refused() {
        let frame = frame(b"/topic", b"");
        let payload = &frame[FRAME_LEN_SIZE..];
        assert_eq!(
            Envelope::parse(&payload[..36]),
            Err(EnvelopeError::Short { length: 36 })
        );
        assert_eq!(
            Envelope::parse(&payload[..40]),
            Err(EnvelopeError::TopicCut {
                length: 6,
                remaining: 3
            })
        );
        let mut unknown = payload.to_vec();
        for tag in [0, 6, 255] {
            unknown[TAG_OFFSET] = tag;
            assert_eq!(
                Envelope::parse(&unknown),
                Err(EnvelopeError::UnknownTag { tag })
            );
        }
    }

    #[test]
    fn size_needs_four_bytes() {
        assert_eq!(frame_size(&[0, 0, 0]), None);
        assert_eq!(frame_size(&[0, 0, 0, 0]), Some(4));
        assert_eq!(frame_size(&[0, 0, 1, 2, 9]), Some(262));
    }

    #[test]
    fn forwarding_changes_sender_and_ttl_only() {
        let original = frame(b"/a", b"xyz");
        let mut patched = original.clone();
        patched[TTL_AT..TTL_AT + 2].copy_from_slice(&[0, 3]);
        patch_hop(&mut patched, PEER);
        assert_eq!(patched[4..20], [2; 16]);
        assert_eq!(patched[20..], original[20..]);
        patch_hop(&mut patched[..19], ME);
        assert_eq!(patched[4..20], [2; 16]);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Envelope::parse(&bytes);
            let _ = frame_size(&bytes);
        }
    }
}
