//! A received message: shared bytes, decoded when its value is read.

use std::fmt;

use broker_data::{Value, View};
use broker_proto::Topic;
use broker_proto::frame::{ENVELOPE_SIZE, FRAME_LEN_SIZE, TOPIC_LENGTH_AT, frame_size};
use bytes::Bytes;

/// A message received from a peer or from a publisher of this endpoint.
///
/// The value stays in its encoded form until it is asked for. Cloning is cheap: clones share the
/// bytes. The value was checked on reception, so reading it cannot fail.
///
/// A message keeps the buffer alive that it arrived in, which may hold up to 64 KiB of other
/// messages; [`detach`](Self::detach) what is kept for long.
#[derive(Clone)]
pub struct Message {
    /// The complete frame, length prefix included.
    frame: Bytes,
    /// Where the payload begins.
    payload_offset: u32,
}

impl Message {
    /// Takes the first frame off `frames`; `None` when there is no complete one.
    pub(crate) fn split_off(frames: &mut Bytes) -> Option<Self> {
        let (size, payload_offset) = measure(frames)?;
        Some(Self {
            frame: frames.split_to(size),
            payload_offset,
        })
    }

    /// The complete frame it came in, as on the wire: its length as four bytes in network order, then
    /// the envelope with sender, receiver and topic, then the encoded value. Spec: wire 2, 6. Where
    /// the receiver would be nil, endpoints with several peers write a mark; see ADR 0115. The sender is
    /// the peer that it came from, or this endpoint where it went on to other peers, too.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The complete frame it came in.
    pub(crate) fn into_frame(self) -> Bytes {
        self.frame
    }

    /// Size of the complete frame.
    pub(crate) fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// The encoded value, sharing the bytes of the frame.
    pub(crate) fn payload_bytes(&self) -> Bytes {
        self.frame.slice_ref(self.payload())
    }

    /// The topic it was published under.
    pub fn topic(&self) -> &[u8] {
        topic_in(&self.frame, self.payload_offset)
    }

    /// The topic as an owned value.
    pub fn to_topic(&self) -> Topic {
        Topic::from(self.topic())
    }

    /// The encoded value.
    pub fn payload(&self) -> &[u8] {
        payload_in(&self.frame, self.payload_offset)
    }

    /// The value, still encoded: fields are read without building the rest.
    pub fn view(&self) -> View<'_> {
        View::trusted(self.payload())
    }

    /// The value, decoded.
    pub fn value(&self) -> Value {
        self.view().to_value()
    }

    /// A copy with memory of its own.
    pub fn detach(&self) -> Self {
        Self {
            frame: Bytes::copy_from_slice(&self.frame),
            payload_offset: self.payload_offset,
        }
    }
}

/// A message that is looked at where it lies, among others; see
/// [`Subscriber::for_each_ready`](crate::Subscriber::for_each_ready).
#[derive(Clone, Copy)]
pub struct MessageRef<'a> {
    run: &'a Bytes,
    /// The complete frame, length prefix included.
    frame: &'a [u8],
    payload_offset: u32,
}

impl<'a> MessageRef<'a> {
    /// The frame at `start`; `None` when there is no complete one.
    pub(crate) fn at(run: &'a Bytes, start: usize) -> Option<Self> {
        let frames = run.get(start..)?;
        let (size, payload_offset) = measure(frames)?;
        Some(Self {
            run,
            frame: frames.get(..size)?,
            payload_offset,
        })
    }

    /// Size of the complete frame.
    pub(crate) fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// The complete frame; see [`Message::frame`].
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// The topic it was published under.
    pub fn topic(&self) -> &'a [u8] {
        topic_in(self.frame, self.payload_offset)
    }

    /// The encoded value.
    pub fn payload(&self) -> &'a [u8] {
        payload_in(self.frame, self.payload_offset)
    }

    /// The value, still encoded: fields are read without building the rest.
    pub fn view(&self) -> View<'a> {
        View::trusted(self.payload())
    }

    /// The message by itself, to be kept. It shares the bytes.
    pub fn to_message(&self) -> Message {
        Message {
            frame: self.run.slice_ref(self.frame),
            payload_offset: self.payload_offset,
        }
    }
}

impl fmt::Debug for MessageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_message().fmt(f)
    }
}

/// The topic in a frame whose payload begins at the offset.
fn topic_in(frame: &[u8], payload_offset: u32) -> &[u8] {
    frame
        .get(FRAME_LEN_SIZE + ENVELOPE_SIZE..payload_offset as usize)
        .unwrap_or_default()
}

fn payload_in(frame: &[u8], payload_offset: u32) -> &[u8] {
    frame.get(payload_offset as usize..).unwrap_or_default()
}

/// Size of the frame at the front of some bytes, and where its payload begins; `None` when it is not
/// complete.
fn measure(frames: &[u8]) -> Option<(usize, u32)> {
    let size = frame_size(frames)?;
    let frame = frames.get(..size)?;
    let length = frame.get(TOPIC_LENGTH_AT..TOPIC_LENGTH_AT + 2)?;
    let length = u16::from_be_bytes(length.try_into().ok()?);
    let offset = FRAME_LEN_SIZE + ENVELOPE_SIZE + usize::from(length);
    (offset <= size).then_some((size, u32::try_from(offset).ok()?))
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &String::from_utf8_lossy(self.topic()))
            .field("value", &format_args!("{}", self.view()))
            .finish()
    }
}

/// Equal when topic and encoded value are.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.topic() == other.topic() && self.payload() == other.payload()
    }
}

impl Eq for Message {}
