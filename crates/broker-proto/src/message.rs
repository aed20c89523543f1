//! The messages of the handshake, and the control messages between peers, as complete frames.
//!
//! Spec: wire 5.1, 6.2. Reading a handshake message yields either the message or the refusal that
//! goes back to the sender; whether the message is legal right now is for the handshake to say.

use broker_data::{DecodeError, Reader, put_string};

use crate::config::REASON_MAX;
use crate::filter::Filter;
use crate::frame::{EnvelopeError, FRAME_LEN_SIZE, Tag, close_frame, write_envelope};
use crate::id::EndpointId;
use crate::status::ErrorCode;
use crate::topic::RESERVED;

/// Begins every message of the first phase.
pub const MAGIC: [u8; 4] = *b"ZEEK";

/// The only version of the protocol.
pub const VERSION: u8 = 1;

/// Highest error code in a `drop_conn`. Spec: wire 9.4.
const DROP_CODE_MAX: u8 = 40;

const HELLO: u8 = 6;
const PROBE: u8 = 7;
const VERSION_SELECT: u8 = 8;
const DROP_CONN: u8 = 9;
const ORIGINATOR_SYN: u8 = 10;
const RESPONDER_SYN_ACK: u8 = 11;
const ORIGINATOR_ACK: u8 = 12;

/// A message of the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake {
    /// Introduces an endpoint.
    Hello {
        /// The sender.
        id: EndpointId,
        /// Lowest version it speaks.
        min: u8,
        /// Highest version it speaks.
        max: u8,
    },
    /// Says nothing; the first word of the accepting side.
    Probe,
    /// Settles the version.
    VersionSelect {
        /// The sender.
        id: EndpointId,
        /// The version.
        version: u8,
    },
    /// Ends the connection.
    DropConn {
        /// The sender.
        id: EndpointId,
        /// Why.
        code: ErrorCode,
        /// Why, in words; the first [`REASON_MAX`] bytes of what was received.
        text: String,
    },
    /// The filter of the endpoint with the smaller id.
    OriginatorSyn(Filter),
    /// The filter of the endpoint with the larger id.
    ResponderSynAck(Filter),
    /// Ends the handshake.
    OriginatorAck,
}

/// A handshake message that was not understood, and what its sender is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// Code of the `drop_conn`.
    pub code: ErrorCode,
    /// Text of the `drop_conn`.
    pub text: String,
}

impl Refusal {
    fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

impl Handshake {
    /// Reads the payload of a frame. Bytes behind the message are ignored.
    ///
    /// # Errors
    ///
    /// Fails with what the sender is to be told. The order of the checks is part of the protocol.
    pub fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let (tag, body) = match payload.split_first() {
            Some((tag @ HELLO..=ORIGINATOR_ACK, body)) => (*tag, body),
            _ => {
                return Err(Refusal::new(
                    ErrorCode::InvalidMessage,
                    "invalid message type tag",
                ));
            }
        };
        let unreadable = |_: DecodeError| {
            let text = format!("failed to parse {}", message_name(tag));
            Refusal::new(ErrorCode::InvalidMessage, text)
        };
        let mut reader = Reader::new(body);
        match tag {
            HELLO => {
                let (magic, id) = read_start(&mut reader).map_err(unreadable)?;
                let min = reader.u8().map_err(unreadable)?;
                let max = reader.u8().map_err(unreadable)?;
                check_magic(magic)?;
                if !(min..=max).contains(&VERSION) {
                    let text = "unsupported versions offered";
                    return Err(Refusal::new(ErrorCode::PeerIncompatible, text));
                }
                Ok(Self::Hello { id, min, max })
            }
            PROBE => {
                check_magic(reader.bytes(MAGIC.len()).map_err(unreadable)?)?;
                Ok(Self::Probe)
            }
            VERSION_SELECT => {
                let (magic, id) = read_start(&mut reader).map_err(unreadable)?;
                let version = reader.u8().map_err(unreadable)?;
                check_magic(magic)?;
                if version != VERSION {
                    let text = "unsupported version selected";
                    return Err(Refusal::new(ErrorCode::PeerIncompatible, text));
                }
                Ok(Self::VersionSelect { id, version })
            }
            DROP_CONN => {
                let (magic, id) = read_start(&mut reader).map_err(unreadable)?;
                let code = reader.u8().map_err(unreadable)?;
                let text = reader.string().map_err(unreadable)?;
                check_magic(magic)?;
                let text = shorten(&String::from_utf8_lossy(text)).to_owned();
                match ErrorCode::from_number(code).filter(|code| code.number() <= DROP_CODE_MAX) {
                    Some(code) => Ok(Self::DropConn { id, code, text }),
                    None => Err(Refusal::new(ErrorCode::Unspecified, text)),
                }
            }
            ORIGINATOR_SYN => Filter::decode_handshake(body)
                .map(Self::OriginatorSyn)
                .map_err(unreadable),
            RESPONDER_SYN_ACK => Filter::decode_handshake(body)
                .map(Self::ResponderSynAck)
                .map_err(unreadable),
            // Nothing is left but the acknowledgement, which has no body.
            _ => Ok(Self::OriginatorAck),
        }
    }

    /// The complete frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { id, min, max } => frame(HELLO, |out| {
                write_start(out, *id);
                out.extend_from_slice(&[*min, *max]);
            }),
            Self::Probe => frame(PROBE, |out| out.extend_from_slice(&MAGIC)),
            Self::VersionSelect { id, version } => frame(VERSION_SELECT, |out| {
                write_start(out, *id);
                out.push(*version);
            }),
            Self::DropConn { id, code, text } => frame(DROP_CONN, |out| {
                write_start(out, *id);
                out.push(code.number());
                put_string(out, text.as_bytes()).expect("texts are far smaller than 4 GiB");
            }),
            Self::OriginatorSyn(filter) => frame(ORIGINATOR_SYN, |out| filter.encode(out)),
            Self::ResponderSynAck(filter) => frame(RESPONDER_SYN_ACK, |out| filter.encode(out)),
            Self::OriginatorAck => frame(ORIGINATOR_ACK, |_| ()),
        }
    }
}

/// A routing update: the complete filter of `sender`. Spec: wire 8.1.
pub fn routing_update(sender: EndpointId, receiver: EndpointId, filter: &Filter) -> Vec<u8> {
    control(sender, receiver, Tag::RoutingUpdate, |out| {
        filter.encode(out)
    })
}

/// A ping. Peers up to 7.0 close the connection when the payload is empty. Spec: wire 12.
pub fn ping(sender: EndpointId, receiver: EndpointId, payload: &[u8]) -> Vec<u8> {
    control(sender, receiver, Tag::Ping, |out| {
        out.extend_from_slice(payload)
    })
}

/// The answer to a ping with that payload. Never sent without being asked: peers up to 2.7 close
/// the connection on any pong. Spec: wire 12.
pub fn pong(sender: EndpointId, receiver: EndpointId, payload: &[u8]) -> Vec<u8> {
    control(sender, receiver, Tag::Pong, |out| {
        out.extend_from_slice(payload)
    })
}

fn control(
    sender: EndpointId,
    receiver: EndpointId,
    tag: Tag,
    write: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::new();
    write_envelope::<EnvelopeError>(
        &mut out,
        sender,
        receiver,
        tag,
        RESERVED.as_bytes(),
        |out| {
            write(out);
            Ok(())
        },
    )
    .expect("filters and texts are far smaller than a frame may be");
    out
}

fn frame(tag: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; FRAME_LEN_SIZE];
    out.push(tag);
    write(&mut out);
    close_frame(&mut out, 0).expect("filters and texts are far smaller than a frame may be");
    out
}

fn write_start(out: &mut Vec<u8>, id: EndpointId) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(id.bytes());
}

fn read_start<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], EndpointId), DecodeError> {
    let magic = reader.bytes(MAGIC.len())?;
    let mut id = [0; 16];
    id.copy_from_slice(reader.bytes(16)?);
    Ok((magic, EndpointId::from_bytes(id)))
}

fn check_magic(magic: &[u8]) -> Result<(), Refusal> {
    if magic == MAGIC {
        Ok(())
    } else {
        Err(Refusal::new(
            ErrorCode::WrongMagicNumber,
            "wrong magic number",
        ))
    }
}

/// Cuts what a peer says to a length fit for events.
fn shorten(text: &str) -> &str {
    let mut end = text.len().min(REASON_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

const fn message_name(tag: u8) -> &'static str {
    match tag {
        HELLO => "hello_msg",
        PROBE => "probe_msg",
        VERSION_SELECT => "version_select_msg",
        DROP_CONN => "drop_conn_msg",
        ORIGINATOR_SYN => "originator_syn_msg",
        RESPONDER_SYN_ACK => "responder_syn_ack_msg",
        _ => "originator_ack_msg",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Envelope;
    use crate::topic::Topic;

    const ID: EndpointId = EndpointId::from_bytes([7; 16]);

    fn messages() -> Vec<Handshake> {
        let filter: Filter = ["/a", "/b"].into_iter().map(Topic::from).collect();
        vec![
            Handshake::Hello {
                id: ID,
                min: 1,
                max: 1,
            },
            Handshake::Probe,
            Handshake::VersionSelect { id: ID, version: 1 },
            Handshake::DropConn {
                id: ID,
                code: ErrorCode::RedundantConnection,
                text: "redundant connection".into(),
            },
            Handshake::OriginatorSyn(filter),
            Handshake::ResponderSynAck(Filter::new()),
            Handshake::OriginatorAck,
        ]
    }

    fn refusal(payload: &[u8]) -> (ErrorCode, String) {
        let refusal = Handshake::parse(payload).unwrap_err();
        (refusal.code, refusal.text)
    }

    #[test]
    fn what_is_written_is_read() {
        for message in messages() {
            let mut frame = message.encode();
            assert_eq!(
                Handshake::parse(&frame[FRAME_LEN_SIZE..]),
                Ok(message.clone())
            );
            frame.extend_from_slice(b"behind");
            assert_eq!(Handshake::parse(&frame[FRAME_LEN_SIZE..]), Ok(message));
        }
    }

    #[test]
    fn every_cut_is_refused() {
        for message in messages() {
            let frame = message.encode();
            for end in FRAME_LEN_SIZE..frame.len() {
                let (code, text) = refusal(&frame[FRAME_LEN_SIZE..end]);
                assert_eq!(code, ErrorCode::InvalidMessage);
                let expected = if end == FRAME_LEN_SIZE {
                    "invalid"
                } else {
                    "failed to parse"
                };
                assert!(text.starts_with(expected), "{text}");
            }
        }
    }

    #[test]
    fn unknown_tags_are_refused() {
        for tag in (0..HELLO).chain(ORIGINATOR_ACK + 1..=255) {
            let expected = (
                ErrorCode::InvalidMessage,
                "invalid message type tag".to_owned(),
            );
            assert_eq!(refusal(&[tag, 0, 0]), expected);
        }
    }

    #[test]
    fn size_is_checked_before_magic_and_magic_before_version() {
        let mut hello = Handshake::Hello {
            id: ID,
            min: 2,
            max: 3,
        }
        .encode()
        .split_off(4);
        assert_eq!(refusal(&hello).1, "unsupported versions offered");
        hello[1] = b'z';
        assert_eq!(refusal(&hello).1, "wrong magic number");
        hello.pop();
        assert_eq!(refusal(&hello).1, "failed to parse hello_msg");
        let select = Handshake::VersionSelect { id: ID, version: 2 }
            .encode()
            .split_off(4);
        let expected = (
            ErrorCode::PeerIncompatible,
            "unsupported version selected".to_owned(),
        );
        assert_eq!(refusal(&select), expected);
    }

    #[test]
    fn a_range_around_the_version_is_fine() {
        for (min, max) in [(0, 1), (1, 1), (1, 9), (0, 255)] {
            let hello = Handshake::Hello { id: ID, min, max };
            assert_eq!(Handshake::parse(&hello.encode()[4..]), Ok(hello));
        }
    }

    #[test]
    fn unknown_drop_codes_are_echoed_as_unspecified() {
        let code = ErrorCode::LogicError;
        let mut drop = Handshake::DropConn {
            id: ID,
            code,
            text: "why".into(),
        }
        .encode();
        assert!(Handshake::parse(&drop[4..]).is_ok());
        drop[FRAME_LEN_SIZE + 21] = 41;
        assert_eq!(
            refusal(&drop[4..]),
            (ErrorCode::Unspecified, "why".to_owned())
        );
    }

    #[test]
    fn long_reasons_are_cut() {
        let text = "grund f\u{fc}r ".repeat(100);
        let drop = Handshake::DropConn {
            id: ID,
            code: ErrorCode::LogicError,
            text: text.clone(),
        };
        let Ok(Handshake::DropConn { text: read, .. }) = Handshake::parse(&drop.encode()[4..])
        else {
            panic!("a long reason is still a reason")
        };
        assert!(read.len() <= REASON_MAX && read.len() > REASON_MAX - 4);
        assert!(text.starts_with(&read));
    }

    #[test]
    fn control_messages_are_directed_and_reserved() {
        let peer = EndpointId::from_bytes([8; 16]);
        let filter: Filter = [Topic::from("/late")].into_iter().collect();
        let cases = [
            (
                routing_update(ID, peer, &filter),
                Tag::RoutingUpdate,
                &b"\x01\x05/late"[..],
            ),
            (ping(ID, peer, b"abc"), Tag::Ping, b"abc"),
            (pong(ID, peer, b"abc"), Tag::Pong, b"abc"),
        ];
        for (frame, tag, payload) in cases {
            let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
            assert_eq!((envelope.sender, envelope.receiver), (ID, peer));
            assert_eq!((envelope.tag, envelope.topic), (tag, RESERVED.as_bytes()));
            assert_eq!(envelope.payload, payload);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(
            tag in 5u8..14,
            magic in proptest::bool::ANY,
            rest in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut payload = vec![tag];
            if magic {
                payload.extend_from_slice(&MAGIC);
            }
            payload.extend_from_slice(&rest);
            let _ = Handshake::parse(&payload);
        }
    }
}
