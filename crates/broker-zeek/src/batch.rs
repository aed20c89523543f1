//! Several messages in one.

use broker_data::{EncodeError, Encoder, Item, Reader, Source, View};

use super::elements::into_view;
use super::message::{read, value};
use super::{BATCH_DEPTH_MAX, Message, MessageKind, Problem, VERSION};

/// Several messages, all of them valid. Spec: zeek 1.5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch<'a> {
    members: View<'a>,
    depth: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, depth: usize) -> Result<Self, Problem> {
        if depth >= BATCH_DEPTH_MAX {
            return Err(Problem::BatchDepth);
        }
        let before = reader.rest();
        let elements = super::message::content(reader, MessageKind::Batch)?;
        let length = elements.into_length();
        for _ in 0..length {
            read(reader, depth.saturating_add(1))?;
        }
        let members = into_view(before, reader.rest());
        Ok(Self { members, depth })
    }

    /// Returns the number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells whether there is no message in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits the messages.
    #[must_use]
    pub fn messages(&self) -> Messages<'a> {
        let mut reader = Reader::new(self.members.bytes());
        let left = match reader.next_item() {
            Ok(Item::Vector(length)) => length,
            _ => 0,
        };
        Messages {
            reader,
            left,
            depth: self.depth.saturating_add(1),
        }
    }
}

/// Visits the messages of a batch; see [`Batch::messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    reader: Reader<'a>,
    left: usize,
    depth: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        self.left = self.left.checked_sub(1)?;
        // All members were read before, so none fails.
        read(&mut self.reader, self.depth).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl Source for Batch<'_> {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(3, |enc| {
            enc.count(VERSION);
            enc.count(MessageKind::Batch.number());
            enc.encode(&self.members)
        })
    }
}

/// Collects messages to be sent as one.
///
/// ```
/// use broker_data::{View, to_bytes};
/// use broker_zeek::{BatchBuilder, EventBuilder, Message};
///
/// let mut batch = BatchBuilder::new();
/// batch.push(&EventBuilder::new("first"))?;
/// batch.push(&EventBuilder::new("second"))?;
/// let bytes = to_bytes(&batch)?;
/// let Message::Batch(batch) = Message::parse(View::new(&bytes)?) else { panic!("a batch") };
/// assert_eq!(batch.messages().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder {
    members: Vec<u8>,
    length: usize,
}

impl BatchBuilder {
    /// Makes an empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a message.
    ///
    /// # Errors
    ///
    /// Those of its encoding; the batch is as before then. Whether it is a message is up to the
    /// caller: a receiver refuses the whole batch for one member that is none.
    pub fn push<S: Source + ?Sized>(&mut self, message: &S) -> Result<(), EncodeError> {
        Encoder::new(&mut self.members).encode(message)?;
        self.length = self.length.saturating_add(1);
        Ok(())
    }

    /// Returns the number of messages.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Tells whether there is no message in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Source for BatchBuilder {
    fn encode(&self, enc: &mut Encoder<'_>) -> Result<(), EncodeError> {
        enc.vector(3, |enc| {
            enc.count(VERSION);
            enc.count(MessageKind::Batch.number());
            enc.vector(self.length, |enc| {
                let mut reader = Reader::new(&self.members);
                while reader.remaining() > 0 {
                    enc.encode(&value(&mut reader)?)?;
                }
                Ok::<(), EncodeError>(())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use broker_data::to_bytes;

    use super::*;
    use crate::EventBuilder;

    #[test]
    fn batches_in_batches() {
        let mut inner = BatchBuilder::new();
        inner.push(&EventBuilder::new("a")).unwrap();
        let mut outer = BatchBuilder::new();
        assert!(outer.is_empty());
        outer.push(&inner).unwrap();
        outer.push(&EventBuilder::new("b")).unwrap();
        assert_eq!(outer.len(), 2);
        let bytes = to_bytes(&outer).unwrap();
        let Message::Batch(batch) = Message::parse(View::new(&bytes).unwrap()) else {
            panic!("a batch");
        };
        assert_eq!(to_bytes(&batch).unwrap(), bytes);
        assert!(!batch.is_empty());
        let names: Vec<&[u8]> = batch
            .messages()
            .flat_map(|message| match message {
                Message::Batch(batch) => batch.messages().collect(),
                other => vec![other],
            })
            .filter_map(|message| match message {
                Message::Event(event) => Some(event.name()),
                _ => None,
            })
            .collect();
        assert_eq!(names, [b"a", b"b"]);
    }
}
