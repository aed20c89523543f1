//! Which kind of message a value is, or why it is none.

use broker_data::{DecodeError, Item, Kind, Reader, View};

use super::elements::{Elements, into_view};
use super::{Batch, Event, IdentifierUpdate, LogCreate, LogWrite};

/// Version of Zeek's message format, the first element of every message.
pub const VERSION: u64 = 1;

/// Greatest number of batches inside one another, the outermost included.
///
/// Zeek nests none. Each level is checked once per level around it when a batch is walked, so the
/// limit bounds that work too.
pub const BATCH_DEPTH_MAX: usize = 8;

/// Number of elements that make a message: version, kind, content. More are ignored.
const OUTER_LENGTH: usize = 3;

/// The kinds of messages and their numbers. Spec: zeek 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// An event to be raised.
    Event = 1,
    /// The announcement of a log with its field list.
    LogCreate = 2,
    /// One record of a log.
    LogWrite = 3,
    /// A new value for a global variable.
    IdentifierUpdate = 4,
    /// Several messages.
    Batch = 5,
}

impl MessageKind {
    /// Returns the kind with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Event,
            2 => Self::LogCreate,
            3 => Self::LogWrite,
            4 => Self::IdentifierUpdate,
            5 => Self::Batch,
            _ => return None,
        })
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// Returns the name in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::LogCreate => "log create",
            Self::LogWrite => "log write",
            Self::IdentifierUpdate => "identifier update",
            Self::Batch => "batch",
        }
    }
}

/// What is wrong with a value that is not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is not a vector.
    #[error("expected a vector, found {0}")]
    NotAVector(Kind),
    /// It has fewer than three elements.
    #[error("expected at least 3 elements, found {0}")]
    TooShort(usize),
    /// The first element is not the count 1.
    #[error("expected version 1 as a count, found {}", Found(*.0))]
    Version(Option<u64>),
    /// The second element is not the number of a kind.
    #[error("expected a message kind from 1 to 5 as a count, found {}", Found(*.0))]
    Kind(Option<u64>),
    /// An element of the content is missing or of another kind.
    #[error("{}: expected {expected} as {element}, found {}", message.name(), Found(*found))]
    Element {
        /// The message that it is missing from.
        message: MessageKind,
        /// What the element is for.
        element: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// Its kind, if it is there.
        found: Option<Kind>,
    },
    /// There are too many batches inside one another.
    #[error("expected at most {BATCH_DEPTH_MAX} batches inside one another")]
    BatchDepth,
    /// The bytes are no value at all. Cannot happen with bytes that were validated.
    #[error("malformed value: {0}")]
    Malformed(#[from] DecodeError),
}

/// Prints what is there, or that nothing is.
struct Found<T>(Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Found<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(found) => found.fmt(f),
            None => f.write_str("something else or nothing"),
        }
    }
}

/// A value that is not a valid message of Zeek, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Invalid<'a> {
    value: View<'a>,
    problem: Problem,
}

impl<'a> Invalid<'a> {
    /// Returns the value as it came.
    #[must_use]
    pub const fn value(&self) -> View<'a> {
        self.value
    }

    /// Returns what is wrong. In a batch it is the problem of the first bad member.
    #[must_use]
    pub const fn problem(&self) -> Problem {
        self.problem
    }
}

/// A message of Zeek, checked as far down as Zeek checks its form.
///
/// Surplus elements are ignored, as Zeek does. Types of event arguments and the content of field
/// lists are not part of the form: whoever reads them checks them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// An event to be raised.
    Event(Event<'a>),
    /// The announcement of a log with its field list.
    LogCreate(LogCreate<'a>),
    /// One record of a log.
    LogWrite(LogWrite<'a>),
    /// A new value for a global variable.
    IdentifierUpdate(IdentifierUpdate<'a>),
    /// Several messages, all of them valid.
    Batch(Batch<'a>),
    /// Anything else.
    Invalid(Invalid<'a>),
}

impl<'a> Message<'a> {
    /// Finds out what a value is. Spec: zeek 1.
    #[must_use]
    pub fn parse(value: View<'a>) -> Self {
        match read(&mut Reader::new(value.bytes()), 0) {
            Ok(message) => message,
            Err(problem) => Self::Invalid(Invalid { value, problem }),
        }
    }

    /// Returns the kind; `None` for invalid messages.
    #[must_use]
    pub const fn kind(&self) -> Option<MessageKind> {
        match self {
            Self::Event(_) => Some(MessageKind::Event),
            Self::LogCreate(_) => Some(MessageKind::LogCreate),
            Self::LogWrite(_) => Some(MessageKind::LogWrite),
            Self::IdentifierUpdate(_) => Some(MessageKind::IdentifierUpdate),
            Self::Batch(_) => Some(MessageKind::Batch),
            Self::Invalid(_) => None,
        }
    }
}

/// Takes one message off the reader; `depth` counts the batches around it.
pub(super) fn read<'a>(reader: &mut Reader<'a>, depth: usize) -> Result<Message<'a>, Problem> {
    let length = match reader.next_item()? {
        Item::Vector(length) if length < OUTER_LENGTH => return Err(Problem::TooShort(length)),
        Item::Vector(length) => length,
        other => return Err(Problem::NotAVector(other.kind())),
    };
    let version = count(reader)?;
    let kind = count(reader)?;
    // The kind comes first: a value of no kind is not taken for a message of the wrong version.
    let kind = kind
        .and_then(MessageKind::from_number)
        .ok_or(Problem::Kind(kind))?;
    if version != Some(VERSION) {
        return Err(Problem::Version(version));
    }
    let message = match kind {
        MessageKind::Event => Message::Event(Event::read(reader)?),
        MessageKind::LogCreate => Message::LogCreate(LogCreate::read(reader)?),
        MessageKind::LogWrite => Message::LogWrite(LogWrite::read(reader)?),
        MessageKind::IdentifierUpdate => Message::IdentifierUpdate(IdentifierUpdate::read(reader)?),
        MessageKind::Batch => Message::Batch(Batch::read(reader, depth)?),
    };
    for _ in OUTER_LENGTH..length {
        reader.skip_value()?;
    }
    Ok(message)
}

/// Takes a count off the reader; a value of another kind is passed over.
fn count(reader: &mut Reader<'_>) -> Result<Option<u64>, Problem> {
    let mut ahead = reader.clone();
    if let Item::Count(count) = ahead.next_item()? {
        *reader = ahead;
        return Ok(Some(count));
    }
    reader.skip_value()?;
    Ok(None)
}

/// Opens the content of a message.
pub(super) fn content<'r, 'a>(
    reader: &'r mut Reader<'a>,
    message: MessageKind,
) -> Result<Elements<'r, 'a>, Problem> {
    match reader.next_item()? {
        Item::Vector(length) => Ok(Elements::new(reader, message, length)),
        other => Err(Problem::Element {
            message,
            element: "content",
            expected: "a vector",
            found: Some(other.kind()),
        }),
    }
}

/// Tells whether it is a vector of pairs, each a count and anything, as the count demands.
pub(super) fn is_metadata(entries: View<'_>, timestamp_key: u64) -> bool {
    entries.kind() == Kind::Vector
        && entries.elements().all(|entry| {
            let mut fields = entry.elements();
            entry.kind() == Kind::Vector
                && match (fields.next(), fields.next(), fields.next()) {
                    (Some(key), Some(value), None) => key
                        .as_count()
                        .is_some_and(|key| key != timestamp_key || value.kind() == Kind::Timestamp),
                    _ => false,
                }
        })
}

/// Passes over a value and returns it.
pub(super) fn value<'a>(reader: &mut Reader<'a>) -> Result<View<'a>, DecodeError> {
    let before = reader.rest();
    reader.skip_value()?;
    Ok(into_view(before, reader.rest()))
}

#[cfg(test)]
mod tests {
    use broker_data::{EnumValue, Source, Timestamp, Value, to_bytes};
    use proptest::prelude::*;

    use super::*;

    fn bytes_of<S: Source + ?Sized>(source: &S) -> Vec<u8> {
        to_bytes(source).unwrap()
    }

    fn kind_of<S: Source + ?Sized>(source: &S) -> Result<MessageKind, Problem> {
        match Message::parse(View::new(&bytes_of(source)).unwrap()) {
            Message::Invalid(invalid) => Err(invalid.problem()),
            message => Ok(message.kind().expect("valid messages have a kind")),
        }
    }

    fn text_of<S: Source + ?Sized>(source: &S) -> String {
        kind_of(source).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_message() {
        assert_eq!(text_of(&7_u64), "expected a vector, found count");
        assert_eq!(
            text_of(&[1_u64, 1]),
            "expected at least 3 elements, found 2"
        );
        assert_eq!(
            text_of(&(1_u64, 6_u64, ())),
            "expected a message kind from 1 to 5 as a count, found 6"
        );
        assert_eq!(
            text_of(&(1_u64, [0_u64], ())),
            "expected a message kind from 1 to 5 as a count, found something else or nothing"
        );
        assert_eq!(
            text_of(&(2_u64, 1_u64, ("x", [0_u64; 0]))),
            "expected version 1 as a count, found 2"
        );
        assert_eq!(
            text_of(&(1_i64, 1_u64, ("x", [0_u64; 0]))),
            "expected version 1 as a count, found something else or nothing"
        );
        assert_eq!(
            text_of(&(1_u64, 1_u64, 3_u64)),
            "event: expected a vector as content, found count"
        );
    }

    #[test]
    fn surplus_elements_are_ignored() {
        let none = [0_u64; 0];
        assert_eq!(
            kind_of(&(1_u64, 1_u64, ("x", none, none, 5_u64), "more", [[1_u64]])),
            Ok(MessageKind::Event)
        );
        let (stream, writer) = (EnumValue::new("Conn::LOG"), EnumValue::new("W"));
        assert_eq!(
            kind_of(&(1_u64, 2_u64, (&stream, &writer, 1_u64, (), 5_u64))),
            Ok(MessageKind::LogCreate)
        );
        assert_eq!(
            kind_of(&(1_u64, 3_u64, (&stream, &writer, "conn", "", 5_u64), ())),
            Ok(MessageKind::LogWrite)
        );
        assert_eq!(
            kind_of(&(1_u64, 4_u64, ("id", (), ()))),
            Ok(MessageKind::IdentifierUpdate)
        );
    }

    #[test]
    fn metadata_has_pairs() {
        let event = |metadata: Value| kind_of(&(1_u64, 1_u64, ("x", [0_u64; 0], metadata))).is_ok();
        let pair = |key: Value, value: Value| Value::Vector(vec![Value::Vector(vec![key, value])]);
        let time = Value::Timestamp(Timestamp::EPOCH);
        assert!(event(Value::Vector(vec![])));
        assert!(event(pair(1_u64.into(), time.clone())));
        assert!(event(pair(200_u64.into(), Value::None)));
        assert!(!event(pair(1_u64.into(), Value::None)));
        assert!(!event(pair(1_i64.into(), time)));
        assert!(!event(Value::None));
        assert!(!event(Value::Vector(vec![Value::Count(1)])));
        assert!(!event(vec![vec![1_u64, 2, 3]].into()));
        assert!(!event(vec![vec![200_u64]].into()));
    }

    #[test]
    fn bad_elements_are_named() {
        let stream = EnumValue::new("Conn::LOG");
        assert_eq!(
            text_of(&(1_u64, 1_u64, (&stream, [0_u64; 0]))),
            "event: expected a string as name, found enum-value"
        );
        assert_eq!(
            text_of(&(1_u64, 1_u64, ("x",))),
            "event: expected a vector as arguments, found something else or nothing"
        );
        assert_eq!(
            text_of(&(1_u64, 3_u64, (&stream, &stream, "conn", 5_u64))),
            "log write: expected a string as record, found count"
        );
        assert_eq!(
            text_of(&(1_u64, 2_u64, (&stream, "W", (), ()))),
            "log create: expected an enum value as writer, found string"
        );
        assert_eq!(
            text_of(&(1_u64, 4_u64, ("id",))),
            "identifier update: expected any value as value, found something else or nothing"
        );
    }

    #[test]
    fn one_bad_member_makes_a_batch_invalid() {
        let good = (1_u64, 4_u64, ("id", 5_u64));
        assert_eq!(
            kind_of(&(1_u64, 5_u64, ())).unwrap_err(),
            Problem::Element {
                message: MessageKind::Batch,
                element: "content",
                expected: "a vector",
                found: Some(Kind::None),
            }
        );
        assert_eq!(
            kind_of(&(1_u64, 5_u64, (&good, &good))),
            Ok(MessageKind::Batch)
        );
        assert_eq!(kind_of(&(1_u64, 5_u64, [0_u64; 0])), Ok(MessageKind::Batch));
        assert_eq!(
            kind_of(&(1_u64, 5_u64, (&good, 7_u64))),
            Err(Problem::NotAVector(Kind::Count))
        );
    }

    #[test]
    fn batches_nest_up_to_the_limit() {
        let nested = |levels: usize| {
            let mut value = Value::Vector(vec![]);
            for _ in 0..levels {
                let message = Value::Vector(vec![1_u64.into(), 5_u64.into(), value]);
                value = Value::Vector(vec![message]);
            }
            value.as_vector().map(|members| members[0].clone()).unwrap()
        };
        assert_eq!(kind_of(&nested(BATCH_DEPTH_MAX)), Ok(MessageKind::Batch));
        assert_eq!(
            kind_of(&nested(BATCH_DEPTH_MAX + 1)),
            Err(Problem::BatchDepth)
        );
    }

    #[test]
    fn bytes_that_are_no_value_are_an_invalid_message() {
        let message = Message::parse(View::trusted(b"\x0e\x03\x02"));
        let Message::Invalid(invalid) = message else {
            panic!("{message:?}");
        };
        assert!(matches!(invalid.problem(), Problem::Malformed(_)));
        assert_eq!(invalid.value().bytes(), b"\x0e\x03\x02");
    }

    proptest! {
        #[test]
        fn any_bytes_are_handled(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let view = View::trusted(&bytes);
            if let Message::Invalid(invalid) = Message::parse(view) {
                prop_assert_eq!(invalid.value().bytes(), &bytes[..]);
            }
        }
    }
}
