//! NATS messages: headers and payload.
//!
//! Headers say the topic, the format, the endpoint that published to NATS and the
//! [mark](crate::mark::Mark) that tells copies of a message; the payload is the encoded value. A batch
//! has several values of one topic, each behind its length and its mark.

use broker_data::{DecodeError, validate};

use super::subject::{Form, SubjectError, Subjects, topic_of_text, topic_text};
use crate::id::{ENDPOINT_ID_SIZE, EndpointId};
use crate::json::message::is_reserved;
use crate::mark::Mark;
use crate::topic::Topic;

/// The exact topic, see [`topic_text`].
pub const TOPIC: &str = "Bk-Topic";
/// What the payload is.
pub const FORMAT: &str = "Bk-Format";
/// Id of the endpoint that published to NATS.
pub const SENDER: &str = "Bk-Sender";
/// Where the message comes from: its mark as 32 hexadecimal digits.
pub const ORIGIN: &str = "Bk-Origin";
/// How many messages are in it.
pub const BATCH: &str = "Bk-Batch";
/// Said of a last value that is withdrawn: its topic has none any more.
pub const WITHDRAWN: &str = "Bk-Withdrawn";

/// The only [`FORMAT`]: the encoding of values on the native wire.
pub const BINARY_FORMAT: &str = "broker-bin-v1";

/// Bytes of a batch: what is behind it waits no longer than these take on a slow link.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Messages of a batch, however small.
pub const BATCH_MESSAGES_MAX: usize = 4096;

const LENGTH_SIZE: usize = 4;

/// Headers as they came; what is absent or not text is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// [`TOPIC`].
    pub topic: Option<&'a str>,
    /// [`FORMAT`].
    pub format: Option<&'a str>,
    /// [`SENDER`].
    pub sender: Option<&'a str>,
    /// [`ORIGIN`].
    pub origin: Option<&'a str>,
    /// [`BATCH`].
    pub batch: Option<&'a str>,
}

/// A value as it is encoded, and the mark it came with.
pub type Marked<'a> = (Option<Mark>, &'a [u8]);

/// A NATS message that was read: its values are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// The topic of all of it.
    pub topic: Topic,
    /// Who published it to NATS; programs that are no endpoints need not say so.
    pub sender: Option<EndpointId>,
    /// Marks and encoded values, in order; one, or those of a batch.
    /// Bound: [`BATCH_MESSAGES_MAX`].
    pub messages: Vec<Marked<'a>>,
}

/// Why a NATS message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It came under a subject of no topic.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The header with the topic has none.
    #[error("the header `{TOPIC}` is no topic")]
    Topic,
    /// Subject and header say different topics: whoever may publish under one would speak for another.
    #[error("the header `{TOPIC}` has another topic than the subject")]
    OtherTopic,
    /// The topic is one of endpoints or data stores.
    #[error("the topic belongs to endpoints and data stores")]
    Reserved,
    /// The header with the format is missing.
    #[error("the header `{FORMAT}` is missing, expected `{BINARY_FORMAT}`")]
    NoFormat,
    /// The payload is something else.
    #[error("the header `{FORMAT}` is `{found}`, expected `{BINARY_FORMAT}`")]
    Format {
        /// The beginning of what it is, printable.
        found: String,
    },
    /// The sender is no id.
    #[error("the header `{SENDER}` is no id of an endpoint")]
    Sender,
    /// The origin is no mark.
    #[error("the header `{ORIGIN}` is no mark")]
    Origin,
    /// The header that counts a batch is where none is, missing, or not true.
    #[error("the header `{BATCH}` does not fit: {0}")]
    Batch(&'static str),
    /// The payload of a batch is cut off.
    #[error("the batch ends within message {number}")]
    Torn {
        /// Which one, from 1 on.
        number: usize,
    },
    /// A value is none.
    #[error("the value is invalid: {0}")]
    Value(DecodeError),
}

/// Characters of a stranger's text that are repeated in an error.
const SHOWN_MAX: usize = 40;

/// Reads a NATS message.
///
/// # Errors
///
/// When anything of it is not as endpoints write it. It may still be a message of somebody else.
pub fn read<'a>(
    subjects: &Subjects,
    subject: &str,
    headers: Headers<'_>,
    payload: &'a [u8],
) -> Result<Incoming<'a>, Refusal> {
    let (form, topic) = topic(subjects, subject, headers.topic)?;
    if is_reserved(topic.as_bytes()) {
        return Err(Refusal::Reserved);
    }
    match headers.format {
        Some(BINARY_FORMAT) => {}
        Some(found) => {
            let found = found.chars().take(SHOWN_MAX).flat_map(char::escape_debug);
            return Err(Refusal::Format {
                found: found.collect(),
            });
        }
        None => return Err(Refusal::NoFormat),
    }
    let sender = match headers.sender {
        Some(text) => Some(text.parse().map_err(|_| Refusal::Sender)?),
        None => None,
    };
    let messages = match (form, headers.batch) {
        (Form::Single | Form::Retained, None) => {
            let mark = match headers.origin {
                Some(text) => Some(mark_of_text(text).ok_or(Refusal::Origin)?),
                None => None,
            };
            validate(payload).map_err(Refusal::Value)?;
            vec![(mark, payload)]
        }
        (Form::Single | Form::Retained, Some(_)) => {
            return Err(Refusal::Batch("the subject is that of single messages"));
        }
        (Form::Batch, None) => return Err(Refusal::Batch("it is missing")),
        (Form::Batch, Some(count)) => split_batch(count, payload)?,
    };
    Ok(Incoming {
        topic,
        sender,
        messages,
    })
}

fn topic(
    subjects: &Subjects,
    subject: &str,
    header: Option<&str>,
) -> Result<(Form, Topic), Refusal> {
    let Some(text) = header else {
        return Ok(subjects.topic(subject)?);
    };
    let (form, _) = subjects.split(subject)?;
    let topic = topic_of_text(text).ok_or(Refusal::Topic)?;
    if subjects.of_topic(form, topic.as_bytes()) == subject {
        Ok((form, topic))
    } else {
        Err(Refusal::OtherTopic)
    }
}

fn split_batch<'a>(count: &str, payload: &'a [u8]) -> Result<Vec<Marked<'a>>, Refusal> {
    let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let announced: usize = count
        .parse()
        .ok()
        .filter(|count| is_number && (1..=BATCH_MESSAGES_MAX).contains(count))
        .ok_or(Refusal::Batch("it is no number of messages"))?;
    let mut messages = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        if messages.len() == announced {
            return Err(Refusal::Batch("there are more messages"));
        }
        let number = messages.len() + 1;
        let (message, behind) = split_message(rest).ok_or(Refusal::Torn { number })?;
        validate(message.1).map_err(Refusal::Value)?;
        messages.push(message);
        rest = behind;
    }
    if messages.len() < announced {
        return Err(Refusal::Batch("there are fewer messages"));
    }
    Ok(messages)
}

/// One message of a batch: length of the rest, mark, value.
fn split_message(bytes: &[u8]) -> Option<(Marked<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_SIZE>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (message, behind) = rest.split_at_checked(length)?;
    let (receiver, value) = message.split_first_chunk::<ENDPOINT_ID_SIZE>()?;
    let mark = Mark::from_receiver(EndpointId::from_bytes(*receiver));
    Some(((mark, value), behind))
}

/// A mark as the text of a header.
pub fn mark_text(mark: Mark) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let receiver = mark.to_receiver();
    let bytes = receiver.bytes().iter();
    bytes
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The mark in a header; `None` when it is none.
pub fn mark_of_text(text: &str) -> Option<Mark> {
    let digits: &[u8; 2 * ENDPOINT_ID_SIZE] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; ENDPOINT_ID_SIZE];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Mark::from_receiver(EndpointId::from_bytes(bytes))
}

/// The header values of a message that is published, in the order of their names' constants.
pub fn write_headers(
    topic: &[u8],
    sender: EndpointId,
    origin: Option<Mark>,
    batch: Option<usize>,
) -> impl Iterator<Item = (&'static str, String)> {
    let all = [
        Some((TOPIC, topic_text(topic))),
        Some((FORMAT, BINARY_FORMAT.to_owned())),
        Some((SENDER, sender.to_string())),
        origin.map(|mark| (ORIGIN, mark_text(mark))),
        batch.map(|count| (BATCH, count.to_string())),
    ];
    all.into_iter().flatten()
}

/// A batch in the making.
#[derive(Debug, Default)]
pub struct Batch {
    payload: Vec<u8>,
    count: usize,
}

impl Batch {
    /// Adds a message; `false` when it has no room, and the batch is to be sent first. A message that
    /// has no room in an empty batch is none for batches.
    pub fn push(&mut self, mark: Option<Mark>, value: &[u8]) -> bool {
        let size = value.len().saturating_add(ENDPOINT_ID_SIZE);
        let room = BATCH_BYTES_MAX.saturating_sub(self.payload.len().saturating_add(LENGTH_SIZE));
        let Some(length) = u32::try_from(size).ok().filter(|_| size <= room) else {
            return false;
        };
        if self.count >= BATCH_MESSAGES_MAX {
            return false;
        }
        let receiver = mark.map_or(EndpointId::NIL, Mark::to_receiver);
        self.payload.extend_from_slice(&length.to_be_bytes());
        self.payload.extend_from_slice(receiver.bytes());
        self.payload.extend_from_slice(value);
        self.count += 1;
        true
    }

    /// The value in the payload of a batch that has one message.
    pub fn only(payload: &[u8]) -> &[u8] {
        payload
            .get(LENGTH_SIZE + ENDPOINT_ID_SIZE..)
            .unwrap_or_default()
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The payload, and how many messages are in it; the batch is empty then.
    pub fn take(&mut self) -> (Vec<u8>, usize) {
        let count = std::mem::take(&mut self.count);
        (std::mem::take(&mut self.payload), count)
    }
}

#[cfg(test)]
mod tests {
    use broker_data::{Value, to_bytes};
    use proptest::prelude::*;

    use super::*;
    use crate::mark::ORIGIN_SIZE;
    use crate::nats::subject::tests::topics;

    const SENDER_ID: EndpointId = EndpointId::recognizable([7; 16]);

    fn mark(number: u64) -> Mark {
        Mark {
            origin: [3; ORIGIN_SIZE],
            number,
            hops: 1,
        }
    }

    fn value(number: u64) -> Vec<u8> {
        to_bytes(&Value::Count(number)).unwrap()
    }

    fn headers<'a>(written: &'a [(&'static str, String)]) -> Headers<'a> {
        let of = |name| {
            let found = written.iter().find(|(it, _)| *it == name);
            found.map(|(_, text)| text.as_str())
        };
        Headers {
            topic: of(TOPIC),
            format: of(FORMAT),
            sender: of(SENDER),
            origin: of(ORIGIN),
            batch: of(BATCH),
        }
    }

    fn written(topic: &[u8], batch: Option<usize>) -> Vec<(&'static str, String)> {
        let origin = batch.is_none().then(|| mark(1));
        write_headers(topic, SENDER_ID, origin, batch).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(topic in topics(), number: u64) {
            let subjects = Subjects::default();
            let written = written(&topic, None);
            // As servers take them: one line each.
            for (_, text) in &written {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            let subject = subjects.of_topic(Form::Single, &topic);
            let value = value(number);
            let incoming = read(&subjects, &subject, headers(&written), &value);
            if is_reserved(&topic) {
                prop_assert_eq!(incoming, Err(Refusal::Reserved));
            } else {
                let expected = Incoming {
                    topic: Topic::from(topic.as_slice()),
                    sender: Some(SENDER_ID),
                    messages: vec![(Some(mark(1)), value.as_slice())],
                };
                prop_assert_eq!(incoming, Ok(expected));
            }
        }

        #[test]
        fn batches_hold_what_was_put_in(numbers in prop::collection::vec(any::<u64>(), 1..50)) {
            let subjects = Subjects::default();
            let mut batch = Batch::default();
            let values: Vec<_> = numbers.iter().map(|it| value(*it)).collect();
            for (number, value) in numbers.iter().zip(&values) {
                let mark = (number % 2 == 0).then(|| mark(*number));
                prop_assert!(batch.push(mark, value));
            }
            let (payload, count) = batch.take();
            prop_assert!(batch.is_empty());
            if let [value] = values.as_slice() {
                prop_assert_eq!(Batch::only(&payload), value);
            }
            let written = written(b"/t", Some(count));
            let subject = subjects.of_topic(Form::Batch, b"/t");
            let found = read(&subjects, &subject, headers(&written), &payload).unwrap();
            let expected: Vec<_> = numbers
                .iter()
                .zip(&values)
                .map(|(it, value)| ((it % 2 == 0).then(|| mark(*it)), value.as_slice()))
                .collect();
            prop_assert_eq!(found.messages, expected);
        }

        #[test]
        fn anything_is_read_or_refused(
            subject in "(bk|bkb)\\.(%|%long|[a-c]){1,3}(\\.[a-z0-9]{1,4})?",
            topic in prop::option::of("[/a-c%0-9]{0,8}"),
            sender in prop::option::of("[0-9a-f-]{0,36}"),
            origin in prop::option::of("[0-9a-fA-Fx]{30,33}"),
            batch in prop::option::of("[0-9+ -]{0,3}"),
            payload in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let headers = Headers {
                topic: topic.as_deref(),
                format: Some(BINARY_FORMAT),
                sender: sender.as_deref(),
                origin: origin.as_deref(),
                batch: batch.as_deref(),
            };
            if let Ok(incoming) = read(&Subjects::default(), &subject, headers, &payload) {
                prop_assert!(incoming.messages.len() <= BATCH_MESSAGES_MAX);
                for (_, value) in incoming.messages {
                    prop_assert!(validate(value).is_ok());
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let subjects = Subjects::default();
        let value = value(1);
        let good = written(b"/t", None);
        let good = headers(&good);
        let refusal = |subject, headers| read(&subjects, subject, headers, &value).unwrap_err();
        assert!(read(&subjects, "bk.%.t", good, &value).is_ok());
        let without_topic = Headers {
            topic: None,
            ..good
        };
        assert!(read(&subjects, "bk.%.t", without_topic, &value).is_ok());
        assert_eq!(
            refusal("other.t", good),
            Refusal::Subject(SubjectError::Elsewhere)
        );
        assert_eq!(refusal("bk.%.u", good), Refusal::OtherTopic);
        assert_eq!(
            refusal("bk.%long.00", without_topic),
            Refusal::Subject(SubjectError::Long)
        );
        for (headers, expected) in [
            (
                Headers {
                    topic: Some("%2f"),
                    ..good
                },
                Refusal::Topic,
            ),
            (
                Headers {
                    format: None,
                    ..good
                },
                Refusal::NoFormat,
            ),
            (
                Headers {
                    format: Some("\njson"),
                    ..good
                },
                Refusal::Format {
                    found: "\\njson".to_owned(),
                },
            ),
            (
                Headers {
                    sender: Some("me"),
                    ..good
                },
                Refusal::Sender,
            ),
            (
                Headers {
                    origin: Some("00"),
                    ..good
                },
                Refusal::Origin,
            ),
            (
                Headers {
                    batch: Some("1"),
                    ..good
                },
                Refusal::Batch("the subject is that of single messages"),
            ),
        ] {
            assert_eq!(refusal("bk.%.t", headers), expected);
        }
        assert_eq!(refusal("bkb.%.t", good), Refusal::Batch("it is missing"));
        let invalid = read(&subjects, "bk.%.t", good, &[0xff]);
        assert!(matches!(invalid, Err(Refusal::Value(_))), "{invalid:?}");
    }

    #[test]
    fn batches_are_what_they_announce() {
        let subjects = Subjects::default();
        let mut batch = Batch::default();
        assert!(batch.push(None, &value(1)) && batch.push(None, &value(2)));
        let (payload, _) = batch.take();
        let read = |count: &str, payload: &[u8]| {
            let headers = Headers {
                format: Some(BINARY_FORMAT),
                batch: Some(count),
                ..Headers::default()
            };
            read(&subjects, "bkb.t", headers, payload).map(|it| it.messages.len())
        };
        assert_eq!(read("2", &payload), Ok(2));
        assert_eq!(
            read("1", &payload),
            Err(Refusal::Batch("there are more messages"))
        );
        assert_eq!(
            read("3", &payload),
            Err(Refusal::Batch("there are fewer messages"))
        );
        for count in ["", "0", "-1", "+2", "4097", "99999999999999999999"] {
            assert_eq!(
                read(count, &payload),
                Err(Refusal::Batch("it is no number of messages"))
            );
        }
        for end in [payload.len() - 1, payload.len() / 2 + 2] {
            assert_eq!(read("2", &payload[..end]), Err(Refusal::Torn { number: 2 }));
        }
    }

    #[test]
    fn batches_have_an_end() {
        let mut batch = Batch::default();
        let large = vec![0; BATCH_BYTES_MAX / 2];
        assert!(batch.push(None, &large));
        assert!(!batch.push(None, &large));
        assert!(!Batch::default().push(None, &vec![0; BATCH_BYTES_MAX]));
        let mut batch = Batch::default();
        while batch.push(None, b"") {}
        let (payload, count) = batch.take();
        assert!(payload.len() <= BATCH_BYTES_MAX && count <= BATCH_MESSAGES_MAX);
    }
}
