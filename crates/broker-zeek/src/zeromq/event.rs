//! Events in messages of four parts. Spec: zeromq 3.

use broker_data::json::{self, Form, JsonError};
use broker_data::{DecodeError, EncodeError, Source, Timespan, Timestamp, View, to_bytes};

use super::is_zeek_topic;
use crate::{Message, Problem};

/// Parts of a message: topic, sender, format, payload.
pub const PARTS: usize = 4;

/// Format of payloads that are values of Broker as they are.
pub const BINARY_FORMAT: &str = "broker-bin-v1";

/// Format of payloads that are JSON; sent if Zeek is configured so, for reading only here.
pub const JSON_FORMAT: &str = "broker-json-v1";

/// Shortest time between two reports of messages that cannot be read.
const REPORT_PAUSE: Timespan = Timespan::from_secs(1);

/// A message that cannot be read. It is passed over and ends nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMessage {
    /// Another number of parts.
    #[error("a message of {0} parts: those of Zeek have 4")]
    Parts(usize),
    /// A format that is not known here.
    #[error("a message in the format `{0}`: known are `broker-bin-v1` and `broker-json-v1`")]
    Format(String),
    /// A payload that is no value.
    #[error("a message whose payload is no value: {0}")]
    Value(#[from] DecodeError),
    /// A payload that is no value in JSON.
    #[error("a message whose payload is no value in JSON: {0}")]
    Json(#[from] JsonError),
}

/// What a message brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FromCluster<'a> {
    /// Its topic.
    pub topic: &'a [u8],
    /// The id of its sender; can be anything.
    pub sender: &'a [u8],
    /// Its value, most often an event: see [`Message::parse`].
    pub value: View<'a>,
}

/// How many messages came, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Those that were read.
    pub read: u64,
    /// Those of this program, which came back.
    pub own: u64,
    /// Those that could not be read.
    pub bad: u64,
}

/// Bad messages since the report before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many.
    pub count: u64,
    /// What was wrong with the first of them.
    pub first: BadMessage,
}

/// Reads messages of four parts.
///
/// ```
/// use broker_zeek::EventBuilder;
/// use broker_zeek::zeromq::{EventParts, EventReader};
///
/// let parts = EventParts::new("/demo/ping", "other_1", &EventBuilder::new("ping").argument("hi"))?;
/// let mut reader = EventReader::new("me_1");
/// let message = reader.read(parts.as_array().into_iter()).expect("an event");
/// assert_eq!(message.topic, b"/demo/ping");
/// assert_eq!(message.value.to_string(), "(1, 1, (ping, (hi)))");
/// # Ok::<(), broker_data::EncodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventReader {
    id: Vec<u8>,
    /// What JSON was turned into.
    value: Vec<u8>,
    counts: MessageCounts,
    unreported: Option<Report>,
    reported: Option<Timestamp>,
}

impl EventReader {
    /// Reads what others than the one with this id sent.
    #[must_use]
    pub fn new(id: impl Into<Vec<u8>>) -> Self {
        Self {
            id: id.into(),
            value: Vec::new(),
            counts: MessageCounts::default(),
            unreported: None,
            reported: None,
        }
    }

    /// Reads a message; `None` for those of this program and bad ones, which are counted.
    pub fn read<'a>(
        &'a mut self,
        parts: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Option<FromCluster<'a>> {
        let count = parts.len();
        let mut found: [&[u8]; PARTS] = [b""; PARTS];
        for (to, from) in found.iter_mut().zip(parts) {
            *to = from;
        }
        let [topic, sender, format, payload] = found;
        if count != PARTS {
            self.note(BadMessage::Parts(count));
            return None;
        }
        if sender == self.id {
            self.counts.own = self.counts.own.saturating_add(1);
            return None;
        }
        let read = match format {
            b"broker-bin-v1" => View::new(payload).map(|_| false).map_err(Into::into),
            b"broker-json-v1" => {
                self.value.clear();
                // Strings of Zeek have bytes in them that no JSON has. Spec: zeromq 3.3.
                json::decode(payload, Form::Original, &mut self.value)
                    .map(|()| true)
                    .map_err(Into::into)
            }
            _ => Err(BadMessage::Format(shortened(format))),
        };
        match read {
            Ok(is_json) => {
                self.counts.read = self.counts.read.saturating_add(1);
                let bytes = if is_json { &self.value } else { payload };
                Some(FromCluster {
                    topic,
                    sender,
                    value: View::trusted(bytes),
                })
            }
            Err(bad) => {
                self.note(bad);
                None
            }
        }
    }

    /// Returns how many messages came.
    #[must_use]
    pub const fn counts(&self) -> MessageCounts {
        self.counts
    }

    /// Returns the bad messages since the report before, at most once a second.
    pub fn poll_report(&mut self, now: Timestamp) -> Option<Report> {
        if self.next_report().is_none_or(|due| now < due) {
            return None;
        }
        self.reported = Some(now);
        self.unreported.take()
    }

    /// Returns when there is a report of bad messages.
    #[must_use]
    pub fn next_report(&self) -> Option<Timestamp> {
        self.unreported.as_ref()?;
        let due = self.reported.map(|last| last.saturating_add(REPORT_PAUSE));
        Some(due.unwrap_or(Timestamp::from_ns(0)))
    }

    fn note(&mut self, bad: BadMessage) {
        self.counts.bad = self.counts.bad.saturating_add(1);
        let report = self.unreported.get_or_insert(Report {
            count: 0,
            first: bad,
        });
        report.count = report.count.saturating_add(1);
    }
}

/// Text of a stranger for a report.
pub(super) fn shortened(bytes: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 40;
    let text = String::from_utf8_lossy(bytes);
    text.escape_debug().take(CHARACTERS_MAX).collect()
}

/// The four parts of a message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventParts {
    topic: Vec<u8>,
    sender: Vec<u8>,
    payload: Vec<u8>,
}

impl EventParts {
    /// Makes a message. `sender` is the same as long as the program runs and no other's.
    ///
    /// # Errors
    ///
    /// Those of the encoding.
    pub fn new<S: Source + ?Sized>(
        topic: impl Into<Vec<u8>>,
        sender: impl Into<Vec<u8>>,
        value: &S,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            topic: topic.into(),
            sender: sender.into(),
            payload: to_bytes(value)?,
        })
    }

    /// Returns the parts in their order.
    #[must_use]
    pub fn as_array(&self) -> [&[u8]; PARTS] {
        let format = BINARY_FORMAT.as_bytes();
        [&self.topic, &self.sender, format, &self.payload]
    }
}

/// A value that nodes of Zeek could not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot publish to `{topic}`: nodes of Zeek that are connected by ZeroMQ take events only, and \
     {problem}"
)]
pub struct NotAnEvent {
    topic: String,
    problem: String,
}

/// Checks that a value under a topic of Zeek is an event: nothing else may be sent to its nodes,
/// each of which would log two lines of errors. Spec: zeromq 3.1, 3.4.
///
/// # Errors
///
/// When it is something else. Under other topics every value passes.
pub fn check_outgoing(topic: &[u8], value: View<'_>) -> Result<(), NotAnEvent> {
    if !is_zeek_topic(topic) {
        return Ok(());
    }
    let problem = match Message::parse(value) {
        Message::Event(_) => return Ok(()),
        Message::Invalid(invalid) => no_event(invalid.problem()),
        Message::LogCreate(_) | Message::LogWrite(_) => "this is a log message".into(),
        Message::IdentifierUpdate(_) => "this is the update of an identifier".into(),
        Message::Batch(_) => "this is a batch".into(),
    };
    Err(NotAnEvent {
        topic: String::from_utf8_lossy(topic).into_owned(),
        problem,
    })
}

fn no_event(problem: Problem) -> String {
    format!("this is none: {problem}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventBuilder;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_ns(0).saturating_add(Timespan::from_secs(seconds))
    }

    fn read(reader: &mut EventReader, parts: &[&[u8]]) -> Option<String> {
        let message = reader.read(parts.iter().copied());
        message.map(|message| message.value.to_string())
    }

    #[test]
    fn the_bytes_of_an_event_are_those_of_zeek() {
        // Spec: zeromq 3.2.
        let event = EventBuilder::new("ping").argument("hi").argument(&1_u64);
        let parts = EventParts::new("t", "s", &event).unwrap();
        let expected = "0e03020000000000000001020000000000000001\
                        0e02050470696e670e0205026869020000000000000001";
        assert_eq!(hex::encode(parts.as_array()[3]), expected);
        assert_eq!(&parts.as_array()[..3], &[&b"t"[..], b"s", b"broker-bin-v1"]);
    }

    #[test]
    fn bad_messages_are_counted_and_told_once_a_second() {
        let mut reader = EventReader::new("me");
        let good: &[&[u8]] = &[b"t", b"s", b"broker-bin-v1", b"\x01\x01"];
        assert_eq!(read(&mut reader, good).as_deref(), Some("T"));
        assert_eq!(read(&mut reader, &[b"t", b"me", b"", b""]), None);
        assert_eq!(reader.poll_report(at(0)), None);
        let bad: [&[&[u8]]; 6] = [
            &[b"t", b"s", b"broker-bin-v1"],
            &[b"t", b"s", b"broker-bin-v1", b"\x01\x01", b""],
            &[b"t", b"s", b"zeek-bin-v1\x07", b"\x01\x01"],
            &[b"t", b"s", b"broker-bin-v1", b"\x01"],
            // Nothing may stand behind the value. Spec: zeromq 3.2.
            &[b"t", b"s", b"broker-bin-v1", b"\x01\x01\x00"],
            &[b"t", b"s", b"broker-json-v1", b"{"],
        ];
        for parts in bad {
            assert_eq!(read(&mut reader, parts), None);
        }
        let report = reader.poll_report(at(0)).unwrap();
        assert_eq!((report.count, report.first), (6, BadMessage::Parts(3)));
        assert_eq!(read(&mut reader, bad[2]), None);
        assert_eq!(reader.poll_report(at(0)), None);
        assert_eq!(reader.next_report(), Some(at(1)));
        let report = reader.poll_report(at(1)).unwrap();
        assert_eq!(reader.next_report(), None);
        assert_eq!(
            report.first.to_string(),
            "a message in the format `zeek-bin-v1\\u{7}`: known are `broker-bin-v1` and \
             `broker-json-v1`"
        );
        let counts = MessageCounts {
            read: 1,
            own: 1,
            bad: 7,
        };
        assert_eq!(reader.counts(), counts);
    }

    #[test]
    fn json_is_read_with_bytes_that_json_does_not_have() {
        let mut reader = EventReader::new("me");
        let mut text =
            br#" {"@data-type":"vector","data":[{"@data-type":"string","data":"a"#.to_vec();
        text.extend(b"\x00\xff");
        text.extend(br#"b"}, {"@data-type":"count","data":1}]} "#);
        let read = reader.read([&b"t"[..], b"", b"broker-json-v1", &text].into_iter());
        let value = read.unwrap().value;
        let elements: Vec<_> = value.elements().collect();
        assert_eq!(elements[0].as_bytes(), Some(&b"a\x00\xffb"[..]));
        assert_eq!(elements[1].as_count(), Some(1));
    }

    #[test]
    fn only_events_go_to_topics_of_zeek() {
        let check = |topic: &[u8], value: &dyn Fn() -> Vec<u8>| {
            check_outgoing(topic, View::new(&value()).unwrap()).map_err(|error| error.to_string())
        };
        let event = || to_bytes(&EventBuilder::new("ping")).unwrap();
        let other = || to_bytes("text").unwrap();
        assert_eq!(check(b"zeek.cluster.worker", &event), Ok(()));
        assert_eq!(check(b"/tool/data", &other), Ok(()));
        let error = check(b"zeek.cluster.worker", &other).unwrap_err();
        assert!(
            error.contains("`zeek.cluster.worker`") && error.contains("events only"),
            "{error}"
        );
    }
}
