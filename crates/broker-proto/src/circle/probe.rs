//! The message that shows whether what leaves over one link comes back over another.
//!
//! It looks like a command of a data store that does not exist, under the topic in question:
//! endpoints of the original pass it on as they pass on every message of that topic, and show it to no
//! application.
//! Spec: wire 6.4, 8.3.

use crate::frame::{EnvelopeError, Tag, write_envelope};
use crate::id::{ENDPOINT_ID_SIZE, EndpointId};
use crate::store::command::{Command, Content};
use crate::store::entity::{ENTITY_ID_SIZE, EntityId};

/// Stands where a command names the store that it is for. No id begins like this: the version of
/// the UUID would be 2, and random ids have 4 (wire 11).
const NO_STORE: EndpointId = EndpointId::from_bytes(*b"circle-probe-\xf1\xf1\xf1");

/// How the rest is laid out. What has another number is dropped: passing it on without knowing how
/// to recognise it again would make it circle.
const VERSION: u8 = 1;

/// Where a command has its receiver: behind the number and the sender.
const RECEIVER_AT: usize = 8 + ENTITY_ID_SIZE;

const MIXED: u8 = 1;
const RENEWAL: u8 = 2;

/// A message that nobody is shown, to find out where messages of its topic go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The endpoint that asks.
    pub prober: EndpointId,
    /// Names the probe; nobody who has not seen it knows it.
    pub nonce: u64,
    /// Whether an endpoint of another implementation is known to have passed it on.
    pub is_mixed: bool,
    /// Whether the circle is known, and the question only whether it is still there.
    pub is_renewal: bool,
    /// How many endpoints of this implementation have passed it on.
    pub hops: u8,
}

/// A probe that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a probe for circles of an unknown form")]
pub struct ProbeError;

impl Probe {
    /// Reads the payload of a command envelope; `None` for an ordinary command.
    ///
    /// # Errors
    ///
    /// When it is a probe of a form that is not known. It must not be passed on.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, ProbeError> {
        let receiver = payload
            .get(RECEIVER_AT..)
            .and_then(|rest| rest.first_chunk::<ENTITY_ID_SIZE>());
        let Some(receiver) = receiver.map(EntityId::from_bytes) else {
            return Ok(None);
        };
        if receiver.endpoint != NO_STORE {
            return Ok(None);
        }
        let [VERSION, flags, hops, ..] = receiver.object.to_be_bytes() else {
            return Err(ProbeError);
        };
        let sender = payload
            .get(8..)
            .and_then(|rest| rest.first_chunk::<ENTITY_ID_SIZE>());
        let sender = sender.map(EntityId::from_bytes).ok_or(ProbeError)?;
        Ok(Some(Self {
            prober: sender.endpoint,
            nonce: sender.object,
            is_mixed: flags & MIXED != 0,
            is_renewal: flags & RENEWAL != 0,
            hops,
        }))
    }

    /// Appends the payload of a command envelope.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = (u8::from(self.is_mixed) * MIXED) | (u8::from(self.is_renewal) * RENEWAL);
        let command = Command {
            seq: 0,
            sender: EntityId {
                endpoint: self.prober,
                object: self.nonce,
            },
            receiver: EntityId {
                endpoint: NO_STORE,
                object: u64::from_be_bytes([VERSION, flags, self.hops, 0, 0, 0, 0, 0]),
            },
            content: Content::Keepalive { seq: 0 },
        };
        command.encode(out);
    }

    /// A complete frame from `sender` to everybody.
    ///
    /// # Errors
    ///
    /// When the topic is too long for any message.
    pub fn to_frame(&self, sender: EndpointId, topic: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let mut frame = Vec::new();
        write_envelope(
            &mut frame,
            sender,
            EndpointId::NIL,
            Tag::Command,
            topic,
            |out| -> Result<(), EnvelopeError> {
                self.encode(out);
                Ok(())
            },
        )?;
        Ok(frame)
    }
}

const _: () = assert!(ENDPOINT_ID_SIZE == 16, "NO_STORE has the size of an id");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Envelope, FRAME_LEN_SIZE};

    proptest! {
        #[test]
        fn what_is_written_is_read(prober: [u8; 16], nonce: u64, flags in 0..4_u8, hops: u8) {
            let probe = Probe {
                prober: EndpointId::from_bytes(prober),
                nonce,
                is_mixed: flags & 1 != 0,
                is_renewal: flags & 2 != 0,
                hops,
            };
            let me = EndpointId::from_bytes([3; 16]);
            let frame = probe.to_frame(me, b"/t").unwrap();
            let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
            prop_assert_eq!((envelope.sender, envelope.receiver), (me, EndpointId::NIL));
            prop_assert_eq!((envelope.tag, envelope.topic), (Tag::Command, &b"/t"[..]));
            prop_assert_eq!(Probe::parse(envelope.payload), Ok(Some(probe)));
            // To everybody else it is a command like any other.
            prop_assert!(crate::store::command::check(envelope.payload).is_ok());
        }

        #[test]
        fn nothing_else_is_a_probe(payload in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(Probe::parse(&payload), Ok(None));
        }
    }

    #[test]
    fn unknown_forms_are_refused() {
        let probe = Probe {
            prober: EndpointId::from_bytes([1; 16]),
            nonce: 7,
            is_mixed: false,
            is_renewal: false,
            hops: 0,
        };
        let mut payload = Vec::new();
        probe.encode(&mut payload);
        payload[RECEIVER_AT + ENDPOINT_ID_SIZE] = 2;
        assert_eq!(Probe::parse(&payload), Err(ProbeError));
        assert_eq!(Probe::parse(&payload[..RECEIVER_AT]), Ok(None));
    }
}
