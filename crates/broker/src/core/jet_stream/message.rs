//! A message of a stream, and what was said of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use broker_data::{Timestamp, Value, View};
use broker_proto::nats::jetstream::Delivery;

use crate::message::Message;

/// A message that a [`DurableSubscriber`](crate::DurableSubscriber) got from its stream.
///
/// Cloning is cheap: clones share the bytes, and what is said of one is said of all.
#[derive(Clone)]
pub struct DurableMessage {
    pub(crate) message: Message,
    pub(crate) delivery: Delivery,
    pub(crate) claim: Arc<Claim>,
    pub(crate) is_withdrawn: bool,
}

/// What is still to be said of one message.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Its place: the number in the stream, and that within a batch.
    pub(crate) place: (u64, u32),
    parcel: Arc<Parcel>,
    is_judged: AtomicBool,
}

/// A message of NATS, with one or several of ours in it: it is acknowledged when all of them are.
#[derive(Debug)]
pub(crate) struct Parcel {
    reply: String,
    left: AtomicUsize,
}

impl Parcel {
    pub(crate) fn new(reply: String, messages: usize) -> Arc<Self> {
        let left = AtomicUsize::new(messages);
        Arc::new(Self { reply, left })
    }

    /// Where something is said of it.
    pub(crate) fn reply(&self) -> &str {
        &self.reply
    }
}

impl Claim {
    /// Where something is said of the message.
    pub(crate) fn reply(&self) -> &str {
        self.parcel.reply()
    }

    pub(crate) fn new(place: (u64, u32), parcel: Arc<Parcel>) -> Arc<Self> {
        Arc::new(Self {
            place,
            parcel,
            is_judged: AtomicBool::new(false),
        })
    }

    /// Notes that the message is dealt with. Gives the subject for the acknowledgement if it was the last
    /// of its parcel.
    pub(crate) fn acknowledge(&self) -> Option<&str> {
        self.judge_once()?;
        let was_last = self.parcel.left.fetch_sub(1, Ordering::AcqRel) == 1;
        was_last.then_some(self.parcel.reply())
    }

    /// Notes that something else is said of the message. Gives the subject for it, unless something was
    /// said before.
    pub(crate) fn judge_once(&self) -> Option<&str> {
        let was_judged = self.is_judged.swap(true, Ordering::AcqRel);
        (!was_judged).then_some(self.parcel.reply())
    }
}

impl DurableMessage {
    /// The topic it was published under.
    pub fn topic(&self) -> &[u8] {
        self.message.topic()
    }

    /// The encoded value.
    pub fn payload(&self) -> &[u8] {
        self.message.payload()
    }

    /// The value, still encoded.
    pub fn view(&self) -> View<'_> {
        self.message.view()
    }

    /// The value, decoded.
    pub fn value(&self) -> Value {
        self.message.value()
    }

    /// Topic and value, as any subscriber gets them.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// Its number in the stream; the first one is 1. Messages that were published without waiting may
    /// share a number.
    pub const fn sequence(&self) -> u64 {
        self.delivery.sequence
    }

    /// How often it was delivered, this time included.
    pub const fn deliveries(&self) -> u64 {
        self.delivery.deliveries
    }

    /// Whether it was delivered before, to this subscriber or another one of the same name.
    pub const fn is_redelivered(&self) -> bool {
        self.delivery.deliveries > 1
    }

    /// Whether it says that its topic has no last value any more; its own value is none.
    pub const fn is_withdrawn(&self) -> bool {
        self.is_withdrawn
    }

    /// When the stream got it.
    pub const fn time(&self) -> Timestamp {
        self.delivery.time
    }

    /// How many messages for the subscriber were behind it when it was delivered.
    pub const fn pending(&self) -> u64 {
        self.delivery.pending
    }
}

impl fmt::Debug for DurableMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableMessage")
            .field("sequence", &self.sequence())
            .field("deliveries", &self.deliveries())
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_acknowledged_with_its_last_message() {
        let parcel = Parcel::new("r".to_owned(), 2);
        let [first, second] = [0, 1].map(|at| Claim::new((1, at), parcel.clone()));
        assert_eq!(first.acknowledge(), None);
        assert_eq!(first.acknowledge(), None, "it counts once");
        assert_eq!(second.acknowledge(), Some("r"));
        assert_eq!(second.judge_once(), None);
    }

    #[test]
    fn a_message_that_is_to_come_again_keeps_its_parcel_from_being_acknowledged() {
        let parcel = Parcel::new("r".to_owned(), 2);
        let [first, second] = [0, 1].map(|at| Claim::new((1, at), parcel.clone()));
        assert_eq!(first.judge_once(), Some("r"));
        assert_eq!(second.acknowledge(), None);
    }
}
