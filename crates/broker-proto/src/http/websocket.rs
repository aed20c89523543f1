//! The order of a WebSocket server's frames, as its client checks it: which may come when. RFC 6455,
//! section 5. Bytes are taken apart and put together by a library outside.
//!
//! Whether a text is UTF-8 is not looked at: servers of the original send texts with any bytes in them,
//! and a client must not refuse those. Spec: websocket 2.1, 4.3.

#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use crate::json::server::close_code;

/// Longest payload of a control frame in bytes. RFC 6455, section 5.5.
pub const CONTROL_BYTES_MAX: usize = 125;

/// What stands for a close frame without a code. RFC 6455, section 7.1.5.
pub const NO_CODE: u16 = 1005;

/// What the head of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// The message ends with this frame.
    pub is_final: bool,
    /// A bit is set that extensions give a meaning to.
    pub is_reserved: bool,
    /// The payload is masked.
    pub is_masked: bool,
    /// Kind of the frame, of four bits.
    pub opcode: u8,
    /// Bytes of the payload.
    pub length: u64,
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

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What to close it with, one of [`close_code`].
    pub code: u16,
    /// What the server did.
    pub cause: String,
}

impl Violation {
    /// A breach of the protocol.
    pub fn of_protocol(cause: &str) -> Self {
        Self {
            code: close_code::PROTOCOL,
            cause: cause.to_owned(),
        }
    }
}

/// Judges the frames of a server.
///
/// ```
/// use broker_proto::http::websocket::{FrameHead, FrameKind, FrameRules};
///
/// let mut rules = FrameRules::new(1024);
/// let text = FrameHead {
///     is_final: true,
///     is_reserved: false,
///     is_masked: false,
///     opcode: 1,
///     length: 1000,
/// };
/// assert_eq!(rules.judge(&text)?, FrameKind::Data { is_last: true });
/// assert!(rules.judge(&FrameHead { length: 1025, ..text }).is_err());
/// # Ok::<(), broker_proto::http::websocket::Violation>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameRules {
    bytes_max: usize,
    /// Bytes of the message that is not complete.
    begun: Option<usize>,
}

impl FrameRules {
    /// Lets messages of at most so many bytes pass.
    pub const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            begun: None,
        }
    }

    /// What the frame is that begins like this. Asked as soon as the head is there, before the payload
    /// is in memory.
    ///
    /// # Errors
    ///
    /// When the server breaks the protocol, or its message is larger than wanted.
    pub fn judge(&self, head: &FrameHead) -> Result<FrameKind, Violation> {
        if head.is_reserved {
            return Err(Violation::of_protocol("the server set reserved bits"));
        }
        if head.is_masked {
            return Err(Violation::of_protocol("the server masked a frame"));
        }
        let is_continuation = match head.opcode {
            0 => true,
            1 | 2 => false,
            8..=10 if !head.is_final || head.length > CONTROL_BYTES_MAX as u64 => {
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
        let before = self.begun.unwrap_or_default();
        let size = head.length.saturating_add(before as u64);
        if size > self.bytes_max as u64 {
            return Err(Violation {
                code: close_code::TOO_BIG,
                cause: format!(
                    "the server sent a message of {size} bytes: more than {} are not taken",
                    self.bytes_max
                ),
            });
        }
        Ok(FrameKind::Data {
            is_last: head.is_final,
        })
    }

    /// Notes that a frame was taken, with so many bytes of payload.
    pub fn taken(&mut self, kind: FrameKind, length: usize) {
        match kind {
            FrameKind::Data { is_last: true } => self.begun = None,
            FrameKind::Data { is_last: false } => {
                let before = self.begun.unwrap_or_default();
                self.begun = Some(before.saturating_add(length));
            }
            FrameKind::Close | FrameKind::Ping | FrameKind::Pong => {}
        }
    }
}

/// The code and the reason of a close frame; [`NO_CODE`] if it has none.
///
/// ```
/// use broker_proto::http::websocket::close_of;
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

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: FrameKind = FrameKind::Data { is_last: true };
    const PIECE: FrameKind = FrameKind::Data { is_last: false };

    /// The head of a frame of a server by its first byte.
    fn head(first: u8, length: u64) -> FrameHead {
        FrameHead {
            is_final: first & 0x80 != 0,
            is_reserved: first & 0x70 != 0,
            is_masked: false,
            opcode: first & 0x0f,
            length,
        }
    }

    fn kinds(heads: &[FrameHead]) -> Result<Vec<FrameKind>, Violation> {
        let mut rules = FrameRules::new(1000);
        let take = |head: &FrameHead| {
            let kind = rules.judge(head)?;
            // Judging changes nothing: it is done again while a frame is incomplete.
            assert_eq!(rules.judge(head).as_ref(), Ok(&kind));
            rules.taken(kind, usize::try_from(head.length).unwrap());
            Ok(kind)
        };
        heads.iter().map(take).collect()
    }

    #[test]
    fn frames_of_every_kind_are_known_and_pieces_are_counted() {
        let heads = [
            head(0x81, 5),
            head(0x02, 3),
            head(0x89, 0),
            head(0x00, 3),
            head(0x8a, 125),
            head(0x80, 0),
            head(0x82, 1000),
            head(0x88, 2),
        ];
        let close = FrameKind::Close;
        let (ping, pong) = (FrameKind::Ping, FrameKind::Pong);
        assert_eq!(
            kinds(&heads).unwrap(),
            [LAST, PIECE, ping, PIECE, pong, LAST, LAST, close]
        );
    }

    #[test]
    fn what_breaks_the_protocol_is_refused_with_the_head() {
        let masked = FrameHead {
            is_masked: true,
            ..head(0x81, 0)
        };
        for (heads, code) in [
            (vec![head(0xc1, 0)], 1002),
            (vec![masked], 1002),
            (vec![head(0x83, 0)], 1002),
            (vec![head(0x8b, 0)], 1002),
            (vec![head(0x09, 0)], 1002),
            (vec![head(0x89, 126)], 1002),
            (vec![head(0x80, 0)], 1002),
            (vec![head(0x01, 1), head(0x81, 1)], 1002),
            (vec![head(0x81, 1001)], 1009),
            (vec![head(0x81, u64::MAX)], 1009),
            (vec![head(0x01, 600), head(0x80, 401)], 1009),
            (vec![head(0x01, 600), head(0x80, u64::MAX)], 1009),
        ] {
            let refused = kinds(&heads).unwrap_err();
            assert_eq!(refused.code, code, "{}: {heads:?}", refused.cause);
        }
    }
}
