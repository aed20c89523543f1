//! Frames of a WebSocket as its client sees them: those of a server are taken apart, those for it put
//! together. RFC 6455, section 5.
//!
//! Whether a text is UTF-8 is not looked at: servers of the original send texts with any bytes in them,
//! and a client must not refuse those. Spec: websocket 2.1, 4.3.

#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::ops::Range;

use crate::json_session::close_code;

/// Longest payload of a control frame in bytes. RFC 6455, section 5.5.
pub const CONTROL_BYTES_MAX: usize = 125;

/// What stands for a close frame without a code. RFC 6455, section 7.1.5.
pub const NO_CODE: u16 = 1005;

/// First byte of a head: the message ends with this frame.
const FINAL: u8 = 0x80;

/// First byte of a head: bits that extensions give a meaning to.
const RESERVED: u8 = 0x70;

/// Second byte of a head: the payload is masked.
const MASKED: u8 = 0x80;

/// What frames a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A complete message.
    Text = 1,
    /// The end.
    Close = 8,
    /// A question for a sign of life.
    Ping = 9,
    /// The answer to it.
    Pong = 10,
}

/// What a frame of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A message, text or binary, or a piece of one.
    Data {
        /// Whether the message is complete with it.
        is_last: bool,
    },
    /// The end.
    Close,
    /// A question for a sign of life, to be answered with the same payload.
    Ping,
    /// The answer to such a question.
    Pong,
}

/// A complete frame at the front of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Where its payload is; the frame ends with it.
    pub payload: Range<usize>,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What to close it with, one of [`close_code`].
    pub code: u16,
    /// What the server did.
    pub cause: String,
}

impl Violation {
    fn of_protocol(cause: &str) -> Self {
        Self {
            code: close_code::PROTOCOL,
            cause: cause.to_owned(),
        }
    }
}

/// Takes the frames of a server apart.
///
/// ```
/// use broker_proto::web_socket::{Frame, FrameKind, FrameReader};
///
/// let mut reader = FrameReader::new(1024);
/// assert_eq!(reader.read(b"\x81\x02[")?, None);
/// let kind = FrameKind::Data { is_last: true };
/// assert_eq!(reader.read(b"\x81\x02[]\x89")?, Some(Frame { kind, payload: 2..4 }));
/// # Ok::<(), broker_proto::web_socket::Violation>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameReader {
    bytes_max: usize,
    /// Bytes of the message that is not complete.
    begun: Option<usize>,
}

impl FrameReader {
    /// Reads messages of at most so many bytes.
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            begun: None,
        }
    }

    /// The frame that `bytes` begin with; `None` while it is not complete. What is wrong with a frame is
    /// found as soon as its head is there.
    ///
    /// # Errors
    ///
    /// When the server breaks the protocol, or its message is larger than wanted.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Frame>, Violation> {
        let Some((first, length, size)) = head(bytes)? else {
            return Ok(None);
        };
        let kind = self.kind_of(first, length)?;
        let Some(end) = usize::try_from(length)
            .ok()
            .and_then(|length| size.checked_add(length))
            .filter(|end| *end <= bytes.len())
        else {
            return Ok(None);
        };
        let payload = size..end;
        match kind {
            FrameKind::Data { is_last: true } => self.begun = None,
            FrameKind::Data { is_last: false } => {
                let before = self.begun.unwrap_or_default();
                self.begun = Some(before.saturating_add(payload.len()));
            }
            FrameKind::Close | FrameKind::Ping | FrameKind::Pong => {}
        }
        Ok(Some(Frame { kind, payload }))
    }

    /// Judges a head.
    fn kind_of(&self, first: u8, length: u64) -> Result<FrameKind, Violation> {
        if first & RESERVED != 0 {
            return Err(Violation::of_protocol("the server set reserved bits"));
        }
        let is_last = first & FINAL != 0;
        let opcode = first & 0x0f;
        let is_continuation = match opcode {
            0 => true,
            1 | 2 => false,
            8..=10 if !is_last || length > CONTROL_BYTES_MAX as u64 => {
                return Err(Violation::of_protocol(
                    "the server sent a control frame in pieces or of more than 125 bytes",
                ));
            }
            8 => return Ok(FrameKind::Close),
            9 => return Ok(FrameKind::Ping),
            10 => return Ok(FrameKind::Pong),
            _ => {
                return Err(Violation::of_protocol(
                    "the server sent a frame of an unknown kind",
                ));
            }
        };
        if is_continuation != self.begun.is_some() {
            return Err(Violation::of_protocol(
                "the server mixed up the pieces of messages",
            ));
        }
        let size = length.saturating_add(self.begun.unwrap_or_default() as u64);
        if size > self.bytes_max as u64 {
            return Err(Violation {
                code: close_code::TOO_BIG,
                cause: format!(
                    "the server sent a message of {size} bytes: more than {} are not taken",
                    self.bytes_max
                ),
            });
        }
        Ok(FrameKind::Data { is_last })
    }
}

/// First byte, length of the payload, and size of the head at the front of `bytes`.
fn head(bytes: &[u8]) -> Result<Option<(u8, u64, usize)>, Violation> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & MASKED != 0 {
        return Err(Violation::of_protocol("the server masked a frame"));
    }
    Ok(match second & !MASKED {
        126 => rest
            .first_chunk()
            .map(|length| (*first, u64::from(u16::from_be_bytes(*length)), 4)),
        127 => rest
            .first_chunk()
            .map(|length| (*first, u64::from_be_bytes(*length), 10)),
        length => Some((*first, u64::from(length), 2)),
    })
}

/// The code and the reason of a close frame; [`NO_CODE`] if it has none.
///
/// ```
/// use broker_proto::web_socket::close_of;
///
/// assert_eq!(close_of(b"\x03\xe9Terminating"), (1001, "Terminating".to_owned()));
/// assert_eq!(close_of(b""), (1005, String::new()));
/// ```
pub fn close_of(payload: &[u8]) -> (u16, String) {
    match payload.split_first_chunk() {
        Some((code, reason)) => (
            u16::from_be_bytes(*code),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        None => (NO_CODE, String::new()),
    }
}

/// The head of a complete frame from a client, whose payload is to be [masked](mask).
///
/// ```
/// use broker_proto::web_socket::{Opcode, head_of, mask};
///
/// let key = [1, 2, 3, 4];
/// let mut payload = *b"[]";
/// mask(&mut payload, key);
/// assert_eq!(head_of(Opcode::Text, payload.len(), key), b"\x81\x82\x01\x02\x03\x04");
/// assert_eq!(payload, [b'[' ^ 1, b']' ^ 2]);
/// ```
pub fn head_of(opcode: Opcode, length: usize, mask: [u8; 4]) -> Vec<u8> {
    /// RFC 6455, section 5.2.
    const HEAD_MAX: usize = 14;
    let mut head = Vec::with_capacity(HEAD_MAX);
    head.push(FINAL | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..126), _) => head.push(MASKED | length),
        (_, Ok(length)) => {
            head.push(MASKED | 126);
            head.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            head.push(MASKED | 127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head.extend_from_slice(&mask);
    head
}

/// Masks a payload. RFC 6455, section 5.3.
pub fn mask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAST: FrameKind = FrameKind::Data { is_last: true };
    const PIECE: FrameKind = FrameKind::Data { is_last: false };

    /// A frame of a server.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(u8::try_from(length).unwrap()),
            length => {
                frame.push(126);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    fn kinds(frames: &[Vec<u8>]) -> Result<Vec<FrameKind>, Violation> {
        let mut reader = FrameReader::new(1000);
        let read = |frame: &Vec<u8>| Ok(reader.read(frame)?.expect("a complete frame").kind);
        frames.iter().map(read).collect()
    }

    #[test]
    fn frames_of_every_kind_are_known_and_pieces_are_counted() {
        let frames = [
            frame(0x81, b"whole"),
            frame(0x02, b"one"),
            frame(0x89, b""),
            frame(0x00, b"two"),
            frame(0x8a, &[0; 125]),
            frame(0x80, b""),
            frame(0x82, &[0; 1000]),
            frame(0x88, b"\x03\xe8"),
        ];
        let kinds = kinds(&frames).unwrap();
        let close = FrameKind::Close;
        let (ping, pong) = (FrameKind::Ping, FrameKind::Pong);
        assert_eq!(kinds, [LAST, PIECE, ping, PIECE, pong, LAST, LAST, close]);
    }

    #[test]
    fn what_breaks_the_protocol_is_refused_with_the_head() {
        for (frames, code) in [
            (vec![frame(0xc1, b"")], 1002),
            (vec![b"\x81\x80".to_vec()], 1002),
            (vec![frame(0x83, b"")], 1002),
            (vec![frame(0x8b, b"")], 1002),
            (vec![frame(0x09, b"")], 1002),
            (vec![b"\x89\x7e\x00\x7e".to_vec()], 1002),
            (vec![frame(0x80, b"")], 1002),
            (vec![frame(0x01, b"a"), frame(0x81, b"b")], 1002),
            (vec![b"\x81\x7e\x03\xe9".to_vec()], 1009),
            (
                vec![b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()],
                1009,
            ),
            (
                vec![frame(0x01, &[0; 600]), b"\x80\x7e\x01\x91".to_vec()],
                1009,
            ),
        ] {
            let refused = kinds(&frames).unwrap_err();
            assert_eq!(refused.code, code, "{}: {frames:02x?}", refused.cause);
        }
    }

    proptest! {
        #[test]
        fn what_a_client_sends_can_be_read(
            payload in prop::collection::vec(any::<u8>(), 0..70_000),
            key: [u8; 4],
        ) {
            let head = head_of(Opcode::Text, payload.len(), key);
            let mut masked = payload.clone();
            mask(&mut masked, key);
            mask(&mut masked, key);
            prop_assert_eq!(&masked, &payload);
            // As a server would send it: without the mask.
            let Some([first, flag, length @ ..]) = head.strip_suffix(&key) else {
                panic!("a head ends with the mask: {head:02x?}")
            };
            let bytes = [&[*first, flag & !MASKED], length, &payload].concat();
            let mut reader = FrameReader::new(usize::MAX);
            let (_, incomplete) = bytes.split_last().unwrap();
            prop_assert_eq!(reader.read(incomplete), Ok(None));
            let payload = length.len().saturating_add(2)..bytes.len();
            prop_assert_eq!(reader.read(&bytes), Ok(Some(Frame { kind: LAST, payload })));
        }
    }
}
