//! Messages of a native peer: what each asks for, and which of them go on together.
//!
//! Pure functions over bytes. Consecutive data messages for the same targets are one *run*: each is
//! checked, and they are handed on in one piece. Spec: wire 6, 8.

use broker_data::{DecodeError, validate};

use crate::circle::{Probe, ProbeError};
use crate::frame::{Envelope, EnvelopeError, FRAME_LEN_SIZE, Tag, frame_size};
use crate::id::EndpointId;
use crate::mark::Mark;
use crate::routes::Origin;
use crate::topic::LOCAL_PREFIX;

/// What a message of a peer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// A data message to everybody.
    Data {
        /// What tells copies of it, if its peer makes marks.
        mark: Option<Mark>,
    },
    /// A data message to one endpoint, or with a sender that changes who gets it.
    Special {
        /// Where it comes from.
        origin: Origin,
        /// Whom it is for; nil means everybody.
        receiver: EndpointId,
    },
    /// A command of a data store: for a store here, and for peers.
    Command {
        /// Whom it is for; nil means everybody.
        receiver: EndpointId,
        /// As in [`Inbound::Data`].
        mark: Option<Mark>,
    },
    /// To find circles.
    Probe(Probe),
    /// For the state machine of peers.
    Control,
    /// Of no use; only this message is lost. Spec: wire 6.3.
    Drop(Useless),
}

/// Why a message of a peer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Useless {
    /// A frame without a payload, which is a sign of life at most.
    #[error("empty frame")]
    Empty,
    /// No envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A probe of a form that is not known.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A topic that only the receiving endpoint itself publishes under. Spec: wire 8.2.
    #[error("topic that belongs to the endpoint itself")]
    LocalTopic,
    /// Its value is none.
    #[error(transparent)]
    Value(#[from] DecodeError),
}

impl Inbound {
    /// What tells copies of the message, if it has that.
    pub const fn mark(self) -> Option<Mark> {
        match self {
            Self::Data { mark } | Self::Command { mark, .. } => mark,
            Self::Special { .. } | Self::Probe(_) | Self::Control | Self::Drop(_) => None,
        }
    }
}

/// What a complete frame of a peer asks for; `me` is the endpoint that got it.
#[inline]
pub fn classify(frame: &[u8], me: EndpointId, peer: EndpointId) -> Inbound {
    let payload = frame.get(FRAME_LEN_SIZE..).unwrap_or_default();
    if payload.is_empty() {
        return Inbound::Drop(Useless::Empty);
    }
    let envelope = match Envelope::parse(payload) {
        Ok(envelope) => envelope,
        Err(error) => return Inbound::Drop(error.into()),
    };
    match envelope.tag {
        Tag::RoutingUpdate | Tag::Ping | Tag::Pong => Inbound::Control,
        Tag::Command => match Probe::parse(envelope.payload) {
            Ok(None) => {
                let (receiver, mark) = addressee(&envelope, peer);
                Inbound::Command { receiver, mark }
            }
            Ok(Some(probe)) => Inbound::Probe(probe),
            Err(error) => Inbound::Drop(error.into()),
        },
        Tag::Data => classify_data(&envelope, me, peer),
    }
}

#[inline]
fn classify_data(envelope: &Envelope<'_>, me: EndpointId, peer: EndpointId) -> Inbound {
    if envelope.topic.starts_with(LOCAL_PREFIX.as_bytes()) {
        return Inbound::Drop(Useless::LocalTopic);
    }
    if let Err(error) = validate(envelope.payload) {
        return Inbound::Drop(error.into());
    }
    let is_spoofed = envelope.sender == EndpointId::NIL || envelope.sender == me;
    if !is_spoofed && envelope.receiver == EndpointId::NIL {
        return Inbound::Data { mark: None };
    }
    let (receiver, mark) = addressee(envelope, peer);
    if !is_spoofed && mark.is_some() {
        return Inbound::Data { mark };
    }
    let origin = if is_spoofed {
        Origin::Spoofed(peer)
    } else {
        Origin::Peer(peer)
    };
    Inbound::Special { origin, receiver }
}

/// Whom a message is for, and its mark if it has one instead. Only peers of this implementation make
/// marks.
pub fn addressee(envelope: &Envelope<'_>, peer: EndpointId) -> (EndpointId, Option<Mark>) {
    match Mark::from_receiver(envelope.receiver).filter(|_| peer.is_recognizable()) {
        Some(mark) => (EndpointId::NIL, Some(mark)),
        None => (envelope.receiver, None),
    }
}

/// Frames at the beginning of a buffer that go on together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunPrefix {
    /// Bytes they take.
    pub bytes: usize,
    /// How many they are.
    pub frames: usize,
    /// What is behind them.
    pub next: Next,
}

/// What is behind a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Less than a frame, or nothing.
    Incomplete,
    /// A frame that announces more than is allowed.
    TooLarge {
        /// Its size, length prefix included.
        size: usize,
    },
    /// A frame that has to be looked at by itself.
    Frame {
        /// Its size, length prefix included.
        size: usize,
        /// What it asks for.
        what: Inbound,
    },
}

/// Splits off the frames that go on together: data messages to everybody, without a mark, that
/// `joins` lets in. It gets each frame complete and may rewrite it. No payload may have more than
/// `payload_max` bytes.
#[inline]
pub fn split_run(
    buffer: &mut [u8],
    payload_max: usize,
    me: EndpointId,
    peer: EndpointId,
    mut joins: impl FnMut(&mut [u8]) -> bool,
) -> RunPrefix {
    let mut prefix = RunPrefix {
        bytes: 0,
        frames: 0,
        next: Next::Incomplete,
    };
    let mut rest = buffer;
    while let Some(size) = frame_size(rest) {
        if size - FRAME_LEN_SIZE > payload_max {
            prefix.next = Next::TooLarge { size };
            break;
        }
        let Some((frame, behind)) = rest.split_at_mut_checked(size) else {
            break;
        };
        let what = classify(frame, me, peer);
        if !matches!(what, Inbound::Data { mark: None }) || !joins(frame) {
            prefix.next = Next::Frame { size, what };
            break;
        }
        prefix.bytes += size;
        prefix.frames += 1;
        rest = behind;
    }
    prefix
}

#[cfg(test)]
mod tests {
    use broker_data::{Encoder, Source};
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{patch_receiver, topic_of, write_envelope};

    const ME: EndpointId = EndpointId::recognizable([1; 16]);
    const PEER: EndpointId = EndpointId::recognizable([2; 16]);
    const STRANGER: EndpointId = EndpointId::from_bytes([3; 16]);
    const TOPICS: [&[u8]; 3] = [b"/a", b"/b", b"/c/long"];

    /// One frame, by what it is.
    #[derive(Debug, Clone)]
    enum Sent {
        Data(usize, u64),
        Marked(usize, u64),
        Directed(usize),
        Spoofed(usize),
        Local,
        NoValue(usize),
        Command,
        Update,
        Empty,
        NoEnvelope(Vec<u8>),
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let topic = || 0..TOPICS.len();
        prop_oneof![
            8 => (topic(), any::<u64>()).prop_map(|(topic, value)| Sent::Data(topic, value)),
            2 => (topic(), any::<u64>()).prop_map(|(topic, number)| Sent::Marked(topic, number)),
            1 => topic().prop_map(Sent::Directed),
            1 => topic().prop_map(Sent::Spoofed),
            1 => Just(Sent::Local),
            1 => topic().prop_map(Sent::NoValue),
            1 => Just(Sent::Command),
            1 => Just(Sent::Update),
            1 => Just(Sent::Empty),
            1 => prop::collection::vec(any::<u8>(), 1..36).prop_map(Sent::NoEnvelope),
        ]
    }

    fn envelope(sender: EndpointId, tag: Tag, topic: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write_envelope(&mut frame, sender, EndpointId::NIL, tag, topic, |out| {
            out.extend_from_slice(payload);
            Ok::<_, EnvelopeError>(())
        })
        .unwrap();
        frame
    }

    fn value(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        number.encode(&mut Encoder::new(&mut bytes)).unwrap();
        bytes
    }

    impl Sent {
        fn frame(&self) -> Vec<u8> {
            let data =
                |topic: usize, number| envelope(PEER, Tag::Data, TOPICS[topic], &value(number));
            match self {
                Self::Data(topic, number) => data(*topic, *number),
                Self::Marked(topic, number) => {
                    let mut frame = data(*topic, 1);
                    let mark = Mark {
                        origin: [9; crate::mark::ORIGIN_SIZE],
                        number: *number,
                        hops: 0,
                    };
                    patch_receiver(&mut frame, mark.to_receiver());
                    frame
                }
                Self::Directed(topic) => {
                    let mut frame = data(*topic, 1);
                    patch_receiver(&mut frame, STRANGER);
                    frame
                }
                Self::Spoofed(topic) => envelope(ME, Tag::Data, TOPICS[*topic], &value(1)),
                Self::Local => envelope(PEER, Tag::Data, LOCAL_PREFIX.as_bytes(), &value(1)),
                Self::NoValue(topic) => envelope(PEER, Tag::Data, TOPICS[*topic], b"\xff"),
                Self::Command => envelope(PEER, Tag::Command, b"/s", b"anything"),
                Self::Update => envelope(PEER, Tag::RoutingUpdate, b"", b"anything"),
                Self::Empty => vec![0; FRAME_LEN_SIZE],
                Self::NoEnvelope(payload) => {
                    let length = u32::try_from(payload.len()).unwrap();
                    [&length.to_be_bytes()[..], payload].concat()
                }
            }
        }

        fn is(&self, what: Inbound) -> bool {
            match self {
                Self::Data(..) => what == Inbound::Data { mark: None },
                Self::Marked(_, sent) => {
                    matches!(what, Inbound::Data { mark: Some(mark) } if mark.number == *sent)
                }
                Self::Directed(_) => {
                    let origin = Origin::Peer(PEER);
                    let receiver = STRANGER;
                    what == Inbound::Special { origin, receiver }
                }
                Self::Spoofed(_) => {
                    let origin = Origin::Spoofed(PEER);
                    let receiver = EndpointId::NIL;
                    what == Inbound::Special { origin, receiver }
                }
                Self::Local => what == Inbound::Drop(Useless::LocalTopic),
                Self::NoValue(_) => matches!(what, Inbound::Drop(Useless::Value(_))),
                Self::Command => {
                    let receiver = EndpointId::NIL;
                    what == Inbound::Command {
                        receiver,
                        mark: None,
                    }
                }
                Self::Update => what == Inbound::Control,
                Self::Empty => what == Inbound::Drop(Useless::Empty),
                Self::NoEnvelope(_) => matches!(what, Inbound::Drop(Useless::Envelope(_))),
            }
        }
    }

    proptest! {
        #[test]
        fn each_frame_is_what_was_sent(sent in sent()) {
            let frame = sent.frame();
            let what = classify(&frame, ME, PEER);
            prop_assert!(sent.is(what), "{what:?}");
        }

        #[test]
        fn marks_of_strangers_are_receivers(number: u64) {
            let frame = Sent::Marked(0, number).frame();
            let what = classify(&frame, ME, STRANGER);
            let is_special = matches!(what, Inbound::Special { receiver, .. } if !receiver.is_nil());
            prop_assert!(is_special, "{what:?}");
        }

        #[test]
        fn runs_are_what_a_look_at_each_frame_makes_of_them(
            sent in prop::collection::vec(sent(), 0..20),
            cut in 0_usize..200,
            first in 0..TOPICS.len(),
        ) {
            let mut bytes: Vec<u8> = sent.iter().flat_map(Sent::frame).collect();
            bytes.truncate(bytes.len().saturating_sub(cut));
            // One frame at a time, as long as they are plain and of the topic.
            let (mut end, mut frames, mut expected) = (0, 0, Next::Incomplete);
            for sent in &sent {
                let size = sent.frame().len();
                if end + size > bytes.len() {
                    break;
                }
                if !matches!(sent, Sent::Data(topic, _) if *topic == first) {
                    let what = classify(&bytes[end..end + size], ME, PEER);
                    expected = Next::Frame { size, what };
                    break;
                }
                end += size;
                frames += 1;
            }
            let mut seen = Vec::new();
            let prefix = split_run(&mut bytes.clone(), usize::MAX, ME, PEER, |frame| {
                let joins = topic_of(frame) == TOPICS[first];
                if joins {
                    seen.extend_from_slice(frame);
                }
                joins
            });
            prop_assert_eq!(prefix, RunPrefix { bytes: end, frames, next: expected });
            prop_assert_eq!(&seen[..], &bytes[..end]);
        }

        #[test]
        fn a_frame_beyond_the_limit_ends_a_run_before_it_has_come(
            before in 0_usize..4,
            payload_max in 60_usize..100,
            more in 1_usize..1000,
        ) {
            let mut bytes: Vec<u8> = Sent::Data(0, 1).frame().repeat(before);
            let end = bytes.len();
            let length = u32::try_from(payload_max + more).unwrap();
            bytes.extend_from_slice(&length.to_be_bytes());
            let prefix = split_run(&mut bytes, payload_max, ME, PEER, |_| true);
            let size = payload_max + more + FRAME_LEN_SIZE;
            let expected = RunPrefix { bytes: end, frames: before, next: Next::TooLarge { size } };
            prop_assert_eq!(prefix, expected);
        }

        #[test]
        fn any_bytes_are_split_at_frames(mut bytes: Vec<u8>, payload_max in 0_usize..300) {
            let length = bytes.len();
            let prefix = split_run(&mut bytes, payload_max, ME, PEER, |_| true);
            prop_assert!(prefix.bytes <= length);
            if let Next::Frame { size, .. } = prefix.next {
                prop_assert!(prefix.bytes + size <= length);
                prop_assert!(size - FRAME_LEN_SIZE <= payload_max);
            }
        }
    }
}
