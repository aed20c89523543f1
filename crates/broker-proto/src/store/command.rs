//! Commands of data stores: what masters and clones say to each other.
//!
//! Spec: wire 6.4, stores 3. A command is read in place: keys and values stay bytes, checked to be
//! values. A malformed command must not be forwarded either: older peers close the connection it
//! comes on.

use std::borrow::Cow;
use std::collections::BTreeSet;

use broker_data::{
    DecodeError, DecodeErrorKind, Kind, Reader, Timespan, canonical, put_varbyte, validate_prefix,
};

use crate::id::EndpointId;
use crate::store::entity::{ENTITY_ID_SIZE, EntityId};

/// Checks the payload of a command envelope. Bytes behind the command are accepted. Spec: wire 6.3.
///
/// # Errors
///
/// Names the first byte that is not what it should be.
pub fn check(payload: &[u8]) -> Result<(), DecodeError> {
    Command::parse(payload)?.check()
}

/// Why a command from the network cannot be from whom it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SenderError {
    /// It names nobody.
    #[error("a command from nobody")]
    Nobody,
    /// It names an object of the endpoint that received it.
    #[error("a command in the name of this endpoint")]
    Own,
    /// It names an object of a peer, and another peer sent it.
    #[error("a command in the name of the peer {0}, which did not send it")]
    Peer(EndpointId),
    /// It is for this endpoint only, and names an object of neither the peer that sent it nor any
    /// other.
    #[error("a directed command in the name of {0}, which is no peer")]
    Stranger(EndpointId),
}

/// One command with its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// Number on its channel; 0 for what is not numbered.
    pub seq: u64,
    /// The master or clone it is from.
    pub sender: EntityId,
    /// Whom it is for; nil means everybody.
    pub receiver: EntityId,
    /// What is to be done.
    pub content: Content<'a>,
}

/// What a command says. Keys and values are encoded. Spec: stores 3.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// Set a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// When it ends, counted from when the master applies it.
        expiry: Option<Timespan>,
        /// Who asked for it.
        publisher: EntityId,
    },
    /// Set a key that is absent.
    PutUnique {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// As for [`Content::Put`].
        expiry: Option<Timespan>,
        /// Who is to be told.
        who: EntityId,
        /// Under which number.
        request: u64,
        /// Who asked for it.
        publisher: EntityId,
    },
    /// What became of a [`Content::PutUnique`].
    PutUniqueResult {
        /// Whether the key was absent.
        inserted: bool,
        /// Who asked.
        who: EntityId,
        /// Under which number.
        request: u64,
        /// The master.
        publisher: EntityId,
    },
    /// Remove a key.
    Erase {
        /// The key.
        key: &'a [u8],
        /// Who asked for it.
        publisher: EntityId,
    },
    /// Remove a key because its time is over.
    Expire {
        /// The key.
        key: &'a [u8],
        /// The master.
        publisher: EntityId,
    },
    /// Add to what is stored.
    Add {
        /// The key.
        key: &'a [u8],
        /// What to add.
        value: &'a [u8],
        /// What to start from when the key is absent.
        init: Kind,
        /// As for [`Content::Put`].
        expiry: Option<Timespan>,
        /// Who asked for it.
        publisher: EntityId,
    },
    /// Take away from what is stored.
    Subtract {
        /// The key.
        key: &'a [u8],
        /// What to take away.
        value: &'a [u8],
        /// As for [`Content::Put`].
        expiry: Option<Timespan>,
        /// Who asked for it.
        publisher: EntityId,
    },
    /// Remove everything.
    Clear {
        /// Who asked for it.
        publisher: EntityId,
    },
    /// A writer's handshake.
    AttachWriter {
        /// Its first request has the next number.
        offset: u64,
        /// Ticks between acknowledgements.
        heartbeat: u16,
    },
    /// The producer is there.
    Keepalive {
        /// Its last number.
        seq: u64,
    },
    /// Everything up to a number has arrived.
    CumulativeAck {
        /// The number.
        seq: u64,
    },
    /// Some numbers are missing; 0 asks for a handshake.
    Nack {
        /// Which ones, ascending.
        missing: Cow<'a, [u64]>,
    },
    /// A master's handshake, with everything it has.
    AckClone {
        /// The entries contain everything up to this number.
        offset: u64,
        /// Ticks between acknowledgements.
        heartbeat: u16,
        /// All entries.
        entries: Entries<'a>,
    },
    /// A missing number is gone for good.
    RetransmitFailed {
        /// The number.
        seq: u64,
    },
}

/// Pairs of encoded keys and values, in no particular order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entries<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Takes pairs that are values, back to back.
    pub const fn new(count: u32, bytes: &'a [u8]) -> Self {
        Self { count, bytes }
    }

    /// Number of pairs.
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| {
            let key = take_value(&mut reader)?;
            let value = take_value(&mut reader)?;
            Some((key, value))
        })
    }

    /// Refuses repeated keys, which make the whole message void.
    fn check_keys(&self) -> Result<(), DecodeError> {
        let mut keys = BTreeSet::new();
        for (key, _) in self.iter() {
            if !keys.insert(canonical(key)?) {
                let expected = DecodeErrorKind::Other("every key of a snapshot once");
                return Err(DecodeError::new(0, expected));
            }
        }
        Ok(())
    }
}

/// Takes a value that was checked before.
fn take_value<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let rest = reader.rest();
    reader.skip_value().ok()?;
    rest.get(..rest.len() - reader.remaining())
}

impl Content<'_> {
    /// Whether this is an action: the only commands with numbers. Spec: stores 3.1.
    pub const fn is_action(&self) -> bool {
        match self {
            Self::Put { .. }
            | Self::PutUnique { .. }
            | Self::PutUniqueResult { .. }
            | Self::Erase { .. }
            | Self::Expire { .. }
            | Self::Add { .. }
            | Self::Subtract { .. }
            | Self::Clear { .. } => true,
            Self::AttachWriter { .. }
            | Self::Keepalive { .. }
            | Self::CumulativeAck { .. }
            | Self::Nack { .. }
            | Self::AckClone { .. }
            | Self::RetransmitFailed { .. } => false,
        }
    }
}

impl<'a> Command<'a> {
    /// Reads the payload of a command envelope. Bytes behind the command are ignored.
    ///
    /// # Errors
    ///
    /// Names the first byte that is not what it should be.
    pub fn parse(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(payload);
        Ok(Self {
            seq: fields.u64()?,
            sender: fields.entity()?,
            receiver: fields.entity()?,
            content: fields.content()?,
        })
    }

    /// Checks what reading leaves to those who need it: that a snapshot has no key twice.
    ///
    /// # Errors
    ///
    /// When it has.
    pub fn check(&self) -> Result<(), DecodeError> {
        match &self.content {
            Content::AckClone { entries, .. } => entries.check_keys(),
            _ => Ok(()),
        }
    }

    /// Checks that a command can be from the endpoint that its sender names, as far as that can be
    /// known where it was received: by `me`, on the connection of the peer `hop`, in an envelope for
    /// `receiver`. `is_peer` tells who is a native peer of `me`.
    ///
    /// Whoever is a peer speaks on its own connection, and what is directed at one endpoint comes
    /// from a peer of it (wire 8.3, stores 1.1): what comes on another connection is a copy that
    /// went round in a circle, or a lie. Commands to everybody may be passed on by peers in between,
    /// so one in the name of an endpoint that is no peer has to be believed.
    ///
    /// # Errors
    ///
    /// Says what cannot be.
    pub fn check_sender(
        &self,
        me: EndpointId,
        hop: EndpointId,
        receiver: EndpointId,
        is_peer: impl FnOnce(EndpointId) -> bool,
    ) -> Result<(), SenderError> {
        let sender = self.sender.endpoint;
        if sender.is_nil() {
            Err(SenderError::Nobody)
        } else if sender == me {
            Err(SenderError::Own)
        } else if sender == hop {
            Ok(())
        } else if is_peer(sender) {
            Err(SenderError::Peer(sender))
        } else if receiver == me {
            Err(SenderError::Stranger(sender))
        } else {
            Ok(())
        }
    }

    /// What a master is handed in the place of an action that its sender is not permitted: it has the
    /// number of the action, so that what follows is not held up, and changes nothing. A master that
    /// gets it tells the sender that the request was refused. `None` for what is no action, which has no
    /// number.
    #[must_use]
    pub fn refused(&self) -> Option<Command<'static>> {
        let (who, request) = match self.content {
            // In the name of another endpoint nothing is answered.
            Content::PutUnique { who, request, .. } if who.endpoint == self.sender.endpoint => {
                (who, request)
            }
            _ if self.content.is_action() => (EntityId::NIL, 0),
            _ => return None,
        };
        Some(Command {
            seq: self.seq,
            sender: self.sender,
            receiver: self.receiver,
            content: Content::PutUniqueResult {
                inserted: false,
                who,
                request,
                publisher: self.sender,
            },
        })
    }

    /// At least as many bytes as an action takes; nothing is written to find out.
    pub fn action_size_max(&self) -> usize {
        /// Header, tag and every field of the action that has most of them.
        const FIXED: usize = 128;
        let (key, value): (&[u8], &[u8]) = match &self.content {
            Content::Put { key, value, .. }
            | Content::PutUnique { key, value, .. }
            | Content::Add { key, value, .. }
            | Content::Subtract { key, value, .. } => (key, value),
            Content::Erase { key, .. } | Content::Expire { key, .. } => (key, &[]),
            _ => (&[], &[]),
        };
        FIXED + key.len() + value.len()
    }

    /// Appends the payload of a command envelope.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.seq);
        self.sender.encode(out);
        self.receiver.encode(out);
        self.content.encode(out);
    }
}

/// Gives an encoded action another number, sender, receiver and publisher, so that it need not be
/// encoded again for another channel: the first three are the header, the last is the last field of
/// every action. `payload` is that of a command envelope.
pub(crate) fn readdress_action(
    payload: &mut [u8],
    seq: u64,
    sender: EntityId,
    receiver: EntityId,
    publisher: EntityId,
) {
    let mut header = Vec::with_capacity(8 + 2 * ENTITY_ID_SIZE);
    put_u64(&mut header, seq);
    sender.encode(&mut header);
    receiver.encode(&mut header);
    let mut last = Vec::with_capacity(ENTITY_ID_SIZE);
    publisher.encode(&mut last);
    if let Some(begin) = payload.first_chunk_mut::<{ 8 + 2 * ENTITY_ID_SIZE }>() {
        begin.copy_from_slice(&header);
    }
    if let Some(end) = payload.last_chunk_mut::<ENTITY_ID_SIZE>() {
        end.copy_from_slice(&last);
    }
}

impl Content<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put {
                key,
                value,
                expiry,
                publisher,
            } => {
                out.push(0);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
                put_expiry(out, *expiry);
                publisher.encode(out);
            }
            Self::PutUnique {
                key,
                value,
                expiry,
                who,
                request,
                publisher,
            } => {
                out.push(1);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
                put_expiry(out, *expiry);
                who.encode(out);
                put_u64(out, *request);
                publisher.encode(out);
            }
            Self::PutUniqueResult {
                inserted,
                who,
                request,
                publisher,
            } => {
                out.push(2);
                out.push(u8::from(*inserted));
                who.encode(out);
                put_u64(out, *request);
                publisher.encode(out);
            }
            Self::Erase { key, publisher } => {
                out.push(3);
                out.extend_from_slice(key);
                publisher.encode(out);
            }
            Self::Expire { key, publisher } => {
                out.push(4);
                out.extend_from_slice(key);
                publisher.encode(out);
            }
            Self::Add {
                key,
                value,
                init,
                expiry,
                publisher,
            } => {
                out.push(5);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
                out.push(init.tag());
                put_expiry(out, *expiry);
                publisher.encode(out);
            }
            Self::Subtract {
                key,
                value,
                expiry,
                publisher,
            } => {
                out.push(6);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
                put_expiry(out, *expiry);
                publisher.encode(out);
            }
            Self::Clear { publisher } => {
                out.push(7);
                publisher.encode(out);
            }
            Self::AttachWriter { offset, heartbeat } => {
                out.push(8);
                put_u64(out, *offset);
                out.extend_from_slice(&heartbeat.to_be_bytes());
            }
            Self::Keepalive { seq } => {
                out.push(9);
                put_u64(out, *seq);
            }
            Self::CumulativeAck { seq } => {
                out.push(10);
                put_u64(out, *seq);
            }
            Self::Nack { missing } => {
                out.push(11);
                put_varbyte(out, u32::try_from(missing.len()).unwrap_or(u32::MAX));
                missing.iter().for_each(|seq| put_u64(out, *seq));
            }
            Self::AckClone {
                offset,
                heartbeat,
                entries,
            } => {
                out.push(12);
                put_u64(out, *offset);
                out.extend_from_slice(&heartbeat.to_be_bytes());
                put_varbyte(out, entries.count);
                out.extend_from_slice(entries.bytes);
            }
            Self::RetransmitFailed { seq } => {
                out.push(13);
                put_u64(out, *seq);
            }
        }
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_expiry(out: &mut Vec<u8>, expiry: Option<Timespan>) {
    match expiry {
        None => out.push(0),
        Some(span) => {
            out.push(1);
            out.extend_from_slice(&span.ns().to_be_bytes());
        }
    }
}

/// A reader of fields that also finds its way around whole values.
pub(super) struct Fields<'a> {
    payload: &'a [u8],
    /// Reads what begins at `base`.
    reader: Reader<'a>,
    base: usize,
}

impl<'a> Fields<'a> {
    /// Reads from the first byte on.
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(payload),
            payload,
            base: 0,
        }
    }

    /// Whether everything was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at() == self.payload.len()
    }

    fn content(&mut self) -> Result<Content<'a>, DecodeError> {
        Ok(match self.u8()? {
            0 => Content::Put {
                key: self.value()?,
                value: self.value()?,
                expiry: self.expiry()?,
                publisher: self.entity()?,
            },
            1 => Content::PutUnique {
                key: self.value()?,
                value: self.value()?,
                expiry: self.expiry()?,
                who: self.entity()?,
                request: self.u64()?,
                publisher: self.entity()?,
            },
            2 => Content::PutUniqueResult {
                inserted: self.u8()? != 0,
                who: self.entity()?,
                request: self.u64()?,
                publisher: self.entity()?,
            },
            3 => Content::Erase {
                key: self.value()?,
                publisher: self.entity()?,
            },
            4 => Content::Expire {
                key: self.value()?,
                publisher: self.entity()?,
            },
            5 => Content::Add {
                key: self.value()?,
                value: self.value()?,
                init: self.kind()?,
                expiry: self.expiry()?,
                publisher: self.entity()?,
            },
            6 => Content::Subtract {
                key: self.value()?,
                value: self.value()?,
                expiry: self.expiry()?,
                publisher: self.entity()?,
            },
            7 => Content::Clear {
                publisher: self.entity()?,
            },
            8 => Content::AttachWriter {
                offset: self.u64()?,
                heartbeat: self.u16()?,
            },
            9 => Content::Keepalive { seq: self.u64()? },
            10 => Content::CumulativeAck { seq: self.u64()? },
            11 => Content::Nack {
                missing: Cow::Owned(self.numbers()?),
            },
            12 => Content::AckClone {
                offset: self.u64()?,
                heartbeat: self.u16()?,
                entries: self.entries()?,
            },
            13 => Content::RetransmitFailed { seq: self.u64()? },
            _ => return Err(self.error_before("a command from 0 to 13")),
        })
    }

    pub(super) fn at(&self) -> usize {
        self.base + self.reader.position()
    }

    fn located<T>(&self, read: Result<T, DecodeError>) -> Result<T, DecodeError> {
        read.map_err(|error| DecodeError::new(self.base + error.offset, error.kind))
    }

    pub(super) fn error_before(&self, expected: &'static str) -> DecodeError {
        DecodeError::new(
            self.at().saturating_sub(1),
            DecodeErrorKind::Other(expected),
        )
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let read = self.reader.u8();
        self.located(read)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        let read = self.reader.u16();
        self.located(read)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        let high = self.u16()?;
        let low = self.u16()?;
        Ok(u32::from(high) << 16 | u32::from(low))
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        let read = self.reader.u64();
        self.located(read)
    }

    fn count(&mut self) -> Result<u32, DecodeError> {
        let read = self.reader.varbyte();
        self.located(read)
    }

    pub(super) fn entity(&mut self) -> Result<EntityId, DecodeError> {
        let read = self.reader.bytes(ENTITY_ID_SIZE);
        let bytes = self.located(read)?;
        let bytes = bytes.first_chunk().ok_or_else(|| {
            DecodeError::new(self.at(), DecodeErrorKind::Other("an entity of 24 bytes"))
        })?;
        Ok(EntityId::from_bytes(bytes))
    }

    /// Any flag but zero announces a time span. Spec: stores 3.1.
    fn expiry(&mut self) -> Result<Option<Timespan>, DecodeError> {
        if self.u8()? == 0 {
            return Ok(None);
        }
        let read = self.reader.i64();
        self.located(read).map(|ns| Some(Timespan::from_ns(ns)))
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let read = self.reader.bytes(length);
        self.located(read)
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        let read = self.reader.i64();
        self.located(read)
    }

    fn kind(&mut self) -> Result<Kind, DecodeError> {
        Kind::from_tag(self.u8()?).ok_or_else(|| self.error_before("a type tag from 0 to 14"))
    }

    pub(super) fn value(&mut self) -> Result<&'a [u8], DecodeError> {
        let at = self.at();
        let rest = self.payload.get(at..).unwrap_or_default();
        let length = validate_prefix(rest)
            .map_err(|error| DecodeError::new(at + error.offset, error.kind))?;
        let (value, rest) = rest.split_at_checked(length).unwrap_or_default();
        self.base = at + length;
        self.reader = Reader::new(rest);
        Ok(value)
    }

    /// The count is a bound of the loop, not of an allocation.
    fn numbers(&mut self) -> Result<Vec<u64>, DecodeError> {
        let mut numbers = Vec::new();
        for _ in 0..self.count()? {
            numbers.push(self.u64()?);
        }
        Ok(numbers)
    }

    fn entries(&mut self) -> Result<Entries<'a>, DecodeError> {
        let count = self.count()?;
        let start = self.at();
        for _ in 0..count {
            self.value()?;
            self.value()?;
        }
        let bytes = self.payload.get(start..self.at()).unwrap_or_default();
        Ok(Entries { count, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recorded_json() -> Vec<serde_json::Value> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/commands.json");
        let text = std::fs::read_to_string(path).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let commands = file["commands"].as_array().unwrap().clone();
        assert!(commands.len() > 40);
        commands
    }

    fn recorded() -> Vec<(String, Vec<u8>)> {
        recorded_json()
            .iter()
            .map(|command| {
                let bytes = hex::decode(command["payload_hex"].as_str().unwrap()).unwrap();
                (command["name"].as_str().unwrap().to_owned(), bytes)
            })
            .collect()
    }

    #[test]
    fn recorded_commands_pass() {
        for (name, bytes) in recorded() {
            assert_eq!(check(&bytes), Ok(()), "{name}");
        }
    }

    #[test]
    fn who_can_send_what() {
        const ME: EndpointId = EndpointId::from_bytes([1; 16]);
        const HOP: EndpointId = EndpointId::from_bytes([2; 16]);
        const PEER: EndpointId = EndpointId::from_bytes([3; 16]);
        const FAR: EndpointId = EndpointId::from_bytes([4; 16]);
        const ALL: EndpointId = EndpointId::NIL;
        let cases = [
            (HOP, ALL, Ok(())),
            (HOP, ME, Ok(())),
            (HOP, FAR, Ok(())),
            (FAR, ALL, Ok(())),
            (FAR, PEER, Ok(())),
            (FAR, ME, Err(SenderError::Stranger(FAR))),
            (PEER, ALL, Err(SenderError::Peer(PEER))),
            (PEER, ME, Err(SenderError::Peer(PEER))),
            (ME, ALL, Err(SenderError::Own)),
            (ME, ME, Err(SenderError::Own)),
            (EndpointId::NIL, ALL, Err(SenderError::Nobody)),
        ];
        for (endpoint, receiver, expected) in cases {
            let command = Command {
                seq: 0,
                sender: EntityId {
                    endpoint,
                    object: 1,
                },
                receiver: EntityId::NIL,
                content: Content::Keepalive { seq: 1 },
            };
            let is_peer = |id| id == PEER || id == HOP;
            let checked = command.check_sender(ME, HOP, receiver, is_peer);
            assert_eq!(checked, expected, "{endpoint} to {receiver}");
        }
    }

    #[test]
    fn every_truncation_is_refused_at_its_end() {
        for (name, bytes) in recorded() {
            for length in 0..bytes.len() {
                let error = check(&bytes[..length]).unwrap_err();
                assert!(error.offset <= length, "{name} cut to {length}: {error}");
            }
        }
    }

    #[test]
    fn trailing_bytes_are_accepted() {
        for (name, mut bytes) in recorded() {
            bytes.push(0);
            assert_eq!(check(&bytes), Ok(()), "{name}");
        }
    }

    #[test]
    fn errors_are_located_behind_values() {
        let mut bytes = vec![0; 8 + 2 * ENTITY_ID_SIZE];
        // put, key 1, then a value with a tag that does not exist
        bytes.extend_from_slice(&[0, 1, 1, 99]);
        let error = check(&bytes).unwrap_err();
        assert_eq!(
            error,
            DecodeError::new(8 + 2 * ENTITY_ID_SIZE + 3, DecodeErrorKind::Tag(99))
        );
    }

    #[test]
    fn unknown_commands_are_refused() {
        let mut bytes = vec![0; 8 + 2 * ENTITY_ID_SIZE];
        bytes.push(14);
        assert_eq!(check(&bytes).unwrap_err().offset, bytes.len() - 1);
    }

    #[test]
    fn what_was_read_is_written_byte_for_byte() {
        for (name, bytes) in recorded() {
            let command = Command::parse(&bytes).unwrap();
            let mut written = Vec::new();
            command.encode(&mut written);
            assert_eq!(written, bytes, "{name}");
        }
    }

    #[test]
    fn recorded_fields_are_read() {
        let all = recorded_json();
        for command in &all {
            let name = command["name"].as_str().unwrap();
            let bytes = hex::decode(command["payload_hex"].as_str().unwrap()).unwrap();
            let read = Command::parse(&bytes).unwrap();
            let expected = &command["command"];
            assert_eq!(serde_json::Value::from(read.seq), expected["seq"], "{name}");
            assert_eq!(entity_json(read.sender), expected["sender"], "{name}");
            assert_eq!(entity_json(read.receiver), expected["receiver"], "{name}");
            let fields = &expected["fields"];
            match read.content {
                Content::Put {
                    key,
                    value,
                    expiry,
                    publisher,
                } => {
                    assert_eq!(value_json(key), fields["key"], "{name}");
                    assert_eq!(value_json(value), fields["value"], "{name}");
                    assert_eq!(
                        serde_json::json!(expiry.map(Timespan::ns)),
                        fields["expiry"],
                        "{name}"
                    );
                    assert_eq!(entity_json(publisher), fields["publisher"], "{name}");
                }
                Content::Add {
                    key, value, init, ..
                } => {
                    assert_eq!(value_json(key), fields["key"], "{name}");
                    assert_eq!(value_json(value), fields["value"], "{name}");
                    assert_eq!(
                        serde_json::json!(init.name()),
                        fields["init_type"],
                        "{name}"
                    );
                }
                Content::Nack { missing } => {
                    let list = fields.as_object().unwrap().values().next().unwrap();
                    assert_eq!(serde_json::json!(missing), *list, "{name}");
                }
                Content::AckClone {
                    offset,
                    heartbeat,
                    entries,
                } => {
                    assert_eq!(serde_json::json!(offset), fields["offset"], "{name}");
                    assert_eq!(
                        serde_json::json!(heartbeat),
                        fields["heartbeat_interval"],
                        "{name}"
                    );
                    assert_eq!(entries.iter().count(), entries.len() as usize, "{name}");
                }
                _ => {}
            }
        }
    }

    fn entity_json(id: EntityId) -> serde_json::Value {
        serde_json::json!({"endpoint": id.endpoint.to_string(), "object": id.object})
    }

    /// The form in which the recordings write values.
    fn value_json(bytes: &[u8]) -> serde_json::Value {
        let view = broker_data::View::trusted(bytes);
        let value = match view.kind() {
            Kind::None => serde_json::Value::Null,
            Kind::Count => serde_json::json!(view.as_count()),
            Kind::Integer => serde_json::json!(view.as_integer()),
            Kind::Real => serde_json::json!(view.as_real()),
            Kind::Timespan => serde_json::json!(view.as_timespan().map(Timespan::ns)),
            Kind::Vector => view
                .elements()
                .map(|item| value_json(item.bytes()))
                .collect(),
            _ => serde_json::json!(view.to_string()),
        };
        serde_json::json!({"type": view.kind().name(), "value": value})
    }

    #[test]
    fn no_action_takes_more_than_it_may() {
        let mut checked = 0;
        for (name, bytes) in recorded() {
            let command = Command::parse(&bytes).unwrap();
            if command.content.is_action() {
                assert!(bytes.len() <= command.action_size_max(), "{name}");
                checked += 1;
            }
        }
        assert!(checked >= 20, "{checked} actions");
    }

    #[test]
    fn an_action_with_another_address_is_what_it_would_be_encoded_as() {
        let id = |object| EntityId {
            endpoint: crate::id::EndpointId::from_bytes([7; 16]),
            object,
        };
        for (name, bytes) in recorded() {
            let mut command = Command::parse(&bytes).unwrap();
            if !command.content.is_action() {
                continue;
            }
            let mut readdressed = bytes.clone();
            readdress_action(&mut readdressed, 99, id(1), id(2), id(3));
            (command.seq, command.sender, command.receiver) = (99, id(1), id(2));
            match &mut command.content {
                Content::Put { publisher, .. }
                | Content::PutUnique { publisher, .. }
                | Content::PutUniqueResult { publisher, .. }
                | Content::Erase { publisher, .. }
                | Content::Expire { publisher, .. }
                | Content::Add { publisher, .. }
                | Content::Subtract { publisher, .. }
                | Content::Clear { publisher } => *publisher = id(3),
                other => panic!("{other:?}"),
            }
            let mut encoded = Vec::new();
            command.encode(&mut encoded);
            assert_eq!(readdressed, encoded, "{name}");
        }
    }

    #[test]
    fn a_repeated_key_voids_a_snapshot() {
        let entries = [5, 1, b'a', 0, 5, 0x81, 0, b'a', 0];
        let command = Command {
            seq: 1,
            sender: EntityId::NIL,
            receiver: EntityId::NIL,
            content: Content::AckClone {
                offset: 1,
                heartbeat: 5,
                entries: Entries::new(2, &entries),
            },
        };
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        assert!(Command::parse(&bytes).is_ok());
        assert!(check(&bytes).is_err());
    }

    #[test]
    fn any_flag_but_zero_announces_an_expiry() {
        let put = |flag| {
            let mut bytes = vec![0; 8 + 2 * ENTITY_ID_SIZE];
            bytes.extend_from_slice(&[0, 0, 0, flag, 0, 0, 0, 0, 0, 0, 0, 9]);
            bytes.extend_from_slice(&[0; ENTITY_ID_SIZE]);
            bytes
        };
        for flag in [1, 7] {
            let bytes = put(flag);
            let Content::Put { expiry, .. } = Command::parse(&bytes).unwrap().content else {
                unreachable!("the tag is that of put")
            };
            assert_eq!(expiry, Some(Timespan::from_ns(9)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
