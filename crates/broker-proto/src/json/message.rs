//! Messages of the WebSocket interface: what clients and servers say to each other in JSON.
//!
//! Spec: websocket 2, 3. A client first sends the topics it wants; the server acknowledges. From
//! then on both send data messages, and the server may send errors. Text comes in, text goes out;
//! when which message may come is the business of the connection.
//!
//! The payload of a data message is the encoded value: it goes to native peers as it is.

use broker_data::DecodeError;
use broker_data::json::{self, Field, Form, JsonError, JsonErrorKind};

use crate::topic::{RESERVED, TOPIC_MAX, Topic};

/// Code of every refusal of a message. Spec: websocket 3.2.
pub const DESERIALIZATION_FAILED: &str = "deserialization_failed";

/// What stands between the name of a store and the role in the topics of data stores.
const STORE_INFIX: &str = "/<$>/data/";

/// Why a message is refused.
///
/// The text is the context of the error message for the sender, except for what the server puts
/// in front of it; see [`Refusal::context`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The text is not what it should be.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The first message is not an array of topics.
    #[error("first message must contain a filter: {0}")]
    Filter(JsonError),
    /// The bytes of a binary message are no text.
    #[error("contained malformed JSON: expected UTF-8, found none at byte {0}")]
    Utf8(usize),
    /// The topic is missing or is not a string.
    #[error("contained invalid data: expected a field `topic` with a string")]
    Topic,
    /// The topic belongs to the endpoint or to a data store.
    #[error("contained invalid data: expected a topic that is not reserved, found `{0}`")]
    Reserved(Topic),
    /// The topic is too long for the native protocol.
    #[error("contained invalid data: expected a topic of at most {TOPIC_MAX} bytes, found {0}")]
    TopicLength(usize),
    /// The message is none of those that a server sends.
    #[error("contained invalid data: expected a data message, an acknowledgement or an error")]
    Type,
}

impl Refusal {
    /// The code for the sender. The original has one for all.
    pub const fn code(&self) -> &'static str {
        DESERIALIZATION_FAILED
    }

    /// The context for the sender of the `number`th message behind the subscription, counted
    /// from 1, good ones included. Spec: websocket 3.2.
    ///
    /// ```
    /// use broker_data::json::Form;
    /// use broker_proto::json::message::read_data;
    ///
    /// let refusal = read_data(b"[]", Form::Compatible, &mut Vec::new()).unwrap_err();
    /// assert_eq!(refusal.code(), "deserialization_failed");
    /// assert_eq!(refusal.context(7), "input #7 expected a JSON object at byte 0");
    /// ```
    pub fn context(&self, number: u64) -> String {
        format!("input #{number} {self}")
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The subscription is in place.
    Ack {
        /// Name of the server's endpoint; not always an id of the native protocol.
        endpoint: String,
        /// Version of Broker or Zeek.
        version: String,
    },
    /// Something was published.
    Data {
        /// What it was published under.
        topic: Topic,
    },
    /// Something went wrong; it is not said for which message.
    Error {
        /// Short name of what it was.
        code: String,
        /// What it was in words.
        context: String,
    },
}

/// Reads the first message of a client: the topics that it subscribes to.
///
/// ```
/// use broker_proto::json::message::read_subscriptions;
///
/// let topics = read_subscriptions(br#"["/a", "/b"]"#)?;
/// assert_eq!(topics, ["/a".into(), "/b".into()]);
/// assert!(read_subscriptions(b"[]")?.is_empty());
/// # Ok::<(), broker_proto::json::message::Refusal>(())
/// ```
///
/// # Errors
///
/// When the text is not an array of strings, or a topic is too long.
pub fn read_subscriptions(text: &[u8]) -> Result<Vec<Topic>, Refusal> {
    let topics = json::strings(text, Form::Compatible).map_err(Refusal::Filter)?;
    topics
        .into_iter()
        .map(|topic| short(Topic::from(topic.into_owned())))
        .collect()
}

/// Reads a data message of a client and appends the encoded value to `payload`.
///
/// The type of the message is not looked at: clients of the original may leave it out.
///
/// ```
/// use broker_data::json::Form;
/// use broker_data::to_bytes;
/// use broker_proto::json::message::read_data;
///
/// let text = br#"{"type":"data-message","topic":"/foo","@data-type":"count","data":1}"#;
/// let mut payload = Vec::new();
/// assert_eq!(read_data(text, Form::Compatible, &mut payload)?, "/foo".into());
/// assert_eq!(payload, to_bytes(&1_u64)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the text is not a value, and when the topic is missing, is not a string, is too long, or
/// is one that clients may not publish to: reserved ones and those of data stores. `payload` is
/// as it was before then.
pub fn read_data(text: &[u8], form: Form, payload: &mut Vec<u8>) -> Result<Topic, Refusal> {
    let start = payload.len();
    let [topic] = json::decode_with(text, form, ["topic"], payload)?;
    let topic = topic_of(topic).and_then(|topic| {
        if is_reserved(topic.as_bytes()) {
            Err(Refusal::Reserved(topic))
        } else {
            Ok(topic)
        }
    });
    if topic.is_err() {
        payload.truncate(start);
    }
    topic
}

/// Reads a message of a server; appends the encoded value of a data message to `payload`.
///
/// ```
/// use broker_data::json::Form;
/// use broker_proto::json::message::{ServerMessage, read_server_message};
///
/// let text = br#"{"type":"error","code":"invalid_uri","context":"try another one"}"#;
/// assert_eq!(
///     read_server_message(text, Form::Original, &mut Vec::new())?,
///     ServerMessage::Error { code: "invalid_uri".into(), context: "try another one".into() }
/// );
/// # Ok::<(), broker_proto::json::message::Refusal>(())
/// ```
///
/// # Errors
///
/// When the text is none of the messages of a server; `payload` is as it was before then.
pub fn read_server_message(
    text: &[u8],
    form: Form,
    payload: &mut Vec<u8>,
) -> Result<ServerMessage, Refusal> {
    let start = payload.len();
    // Nearly all messages are data, so the others may be read twice.
    let refusal = match json::decode_with(text, form, ["type", "topic"], payload) {
        Ok([kind, topic]) if is_data(&kind) => {
            let topic = topic_of(topic);
            if topic.is_err() {
                payload.truncate(start);
            }
            return Ok(ServerMessage::Data { topic: topic? });
        }
        Ok(_) => Refusal::Type,
        Err(error) => Refusal::Json(error),
    };
    payload.truncate(start);
    let names = ["type", "endpoint", "version", "code", "context", "message"];
    let [kind, endpoint, version, code, context, message] = json::fields(text, form, names)?;
    match kind.text() {
        Some(b"ack") => Ok(ServerMessage::Ack {
            endpoint: words(&endpoint),
            version: words(&version),
        }),
        Some(b"error") => Ok(ServerMessage::Error {
            code: words(&code),
            // One release of Zeek called it a message. Spec: websocket 3.2.
            context: words(if context == Field::Missing {
                &message
            } else {
                &context
            }),
        }),
        Some(b"data-message") => Err(refusal),
        _ => match refusal {
            Refusal::Json(JsonError {
                kind: JsonErrorKind::Data(_),
                ..
            }) => Err(Refusal::Type),
            other => Err(other),
        },
    }
}

/// Appends the topics that a client subscribes to, its first message.
pub fn write_subscriptions<'t>(out: &mut String, topics: impl IntoIterator<Item = &'t Topic>) {
    out.push('[');
    let mut between = "";
    for topic in topics {
        out.push_str(between);
        json::put_bytes(out, topic.as_bytes());
        between = ",";
    }
    out.push(']');
}

/// Appends the answer of a server to the first message.
///
/// ```
/// let mut out = String::new();
/// broker_proto::json::message::write_ack(&mut out, "an-id", "1.0");
/// assert_eq!(out, r#"{"type":"ack","endpoint":"an-id","version":"1.0"}"#);
/// ```
pub fn write_ack(out: &mut String, endpoint: &str, version: &str) {
    out.push_str(r#"{"type":"ack","endpoint":"#);
    json::put_string(out, endpoint);
    out.push_str(r#","version":"#);
    json::put_string(out, version);
    out.push('}');
}

/// Appends a data message.
///
/// ```
/// use broker_data::json::Form;
/// use broker_data::to_bytes;
/// use broker_proto::json::message::write_data;
///
/// let mut out = String::new();
/// write_data(&mut out, b"/foo", &to_bytes(&1_u64)?, Form::Compatible)?;
/// assert_eq!(out, r#"{"type":"data-message","topic":"/foo","@data-type":"count","data":1}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the payload is not exactly one value; `out` is as it was before then.
pub fn write_data(
    out: &mut String,
    topic: &[u8],
    payload: &[u8],
    form: Form,
) -> Result<(), DecodeError> {
    let start = out.len();
    out.push_str(r#"{"type":"data-message","topic":"#);
    json::put_text(out, topic, form);
    out.push(',');
    let written = json::encode_fields(payload, form, out);
    out.push('}');
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends the report of an error.
///
/// ```
/// let mut out = String::new();
/// broker_proto::json::message::write_error(&mut out, "invalid_uri", "try another one");
/// assert_eq!(out, r#"{"type":"error","code":"invalid_uri","context":"try another one"}"#);
/// ```
pub fn write_error(out: &mut String, code: &str, context: &str) {
    out.push_str(r#"{"type":"error","code":"#);
    json::put_string(out, code);
    out.push_str(r#","context":"#);
    json::put_string(out, context);
    out.push('}');
}

/// Whether only the endpoint itself and its data stores publish under this topic.
///
/// Spec: websocket 3.1, wire 8.1.
pub fn is_reserved(topic: &[u8]) -> bool {
    let infix = STORE_INFIX.as_bytes();
    topic.starts_with(RESERVED.as_bytes())
        || topic.windows(infix.len()).any(|window| window == infix)
}

fn is_data(kind: &Field<'_>) -> bool {
    matches!(kind, Field::Missing) || kind.text() == Some(b"data-message")
}

fn topic_of(field: Field<'_>) -> Result<Topic, Refusal> {
    match field {
        Field::Text(topic) => short(Topic::from(topic.into_owned())),
        Field::Missing | Field::Other => Err(Refusal::Topic),
    }
}

fn short(topic: Topic) -> Result<Topic, Refusal> {
    match topic.as_bytes().len() {
        ..=TOPIC_MAX => Ok(topic),
        length => Err(Refusal::TopicLength(length)),
    }
}

/// The text of a field for people; empty when there is none.
fn words(field: &Field<'_>) -> String {
    String::from_utf8_lossy(field.text().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use broker_data::{Value, to_bytes};
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = r#""@data-type":"count","data":1"#;

    fn read(text: &str) -> Result<Topic, Refusal> {
        let mut payload = b"before".to_vec();
        let result = read_data(text.as_bytes(), Form::Compatible, &mut payload);
        assert!(payload.starts_with(b"before"));
        assert_eq!(payload.len() > 6, result.is_ok());
        result
    }

    fn server(text: &str) -> Result<ServerMessage, Refusal> {
        read_server_message(text.as_bytes(), Form::Original, &mut Vec::new())
    }

    #[test]
    fn topics_that_clients_may_not_use_are_refused() {
        for topic in [
            "<$>",
            "<$>/local/data/errors",
            "s/<$>/data/master",
            "/s//<$>/data/clone",
        ] {
            let text = format!(r#"{{"topic":"{topic}",{ONE}}}"#);
            assert_eq!(read(&text), Err(Refusal::Reserved(topic.into())));
        }
        for topic in ["", "/<$>", "a<$>", "/<$>/data", "<$"] {
            let text = format!(r#"{{"topic":"{topic}",{ONE}}}"#);
            assert_eq!(read(&text), Ok(topic.into()));
        }
    }

    #[test]
    fn topics_must_be_there_and_fit() {
        for topic in [
            "",
            r#""topic":1,"#,
            r#""topic":null,"#,
            r#""topic":{"hex":"00"},"#,
        ] {
            assert_eq!(
                read(&format!("{{{topic}{ONE}}}")),
                Err(Refusal::Topic),
                "{topic}"
            );
        }
        let text = |length| format!(r#"{{"topic":"{}",{ONE}}}"#, "x".repeat(length));
        assert!(read(&text(TOPIC_MAX)).is_ok());
        let refusal = read(&text(TOPIC_MAX + 1)).unwrap_err();
        assert_eq!(refusal, Refusal::TopicLength(TOPIC_MAX + 1));
        assert_eq!(
            refusal.context(1),
            "input #1 contained invalid data: expected a topic of at most 65535 bytes, found 65536"
        );
    }

    #[test]
    fn the_first_message_is_an_array_of_strings() {
        let topics = read_subscriptions(b" [\"\", \"a\",\"a\" , \"\\u0062\"] ").unwrap();
        assert_eq!(
            topics,
            ["".into(), "a".into(), "a".into(), Topic::from("b")]
        );
        for text in [
            "",
            "{}",
            "\"a\"",
            "[1]",
            "[\"a\",null]",
            "[\"a\"",
            "[\"a\"]]",
            "null",
        ] {
            let refusal = read_subscriptions(text.as_bytes()).unwrap_err();
            let context = refusal.to_string();
            assert!(
                context.starts_with("first message must contain a filter: "),
                "{context}"
            );
        }
        let mut out = String::new();
        write_subscriptions(&mut out, &topics);
        assert_eq!(out, r#"["","a","a","b"]"#);
        assert_eq!(read_subscriptions(out.as_bytes()), Ok(topics));
        let long = format!("[\"{}\"]", "x".repeat(TOPIC_MAX + 1));
        assert!(matches!(
            read_subscriptions(long.as_bytes()),
            Err(Refusal::TopicLength(_))
        ));
    }

    #[test]
    fn servers_are_understood() {
        let text = r#"{"version":"2.8.0-dev","endpoint":"zeekbox-websocket-1","type":"ack"}"#;
        let ack = ServerMessage::Ack {
            endpoint: "zeekbox-websocket-1".into(),
            version: "2.8.0-dev".into(),
        };
        assert_eq!(server(text), Ok(ack));
        for name in ["context", "message"] {
            let text = format!(r#"{{"type":"error","code":"a","{name}":"b"}}"#);
            let error = ServerMessage::Error {
                code: "a".into(),
                context: "b".into(),
            };
            assert_eq!(server(&text), Ok(error));
        }
        for kind in ["", r#""type":"data-message","#] {
            let text = format!(r#"{{{kind}"topic":"<$>/x",{ONE}}}"#);
            assert_eq!(
                server(&text),
                Ok(ServerMessage::Data {
                    topic: "<$>/x".into()
                })
            );
        }
    }

    #[test]
    fn what_servers_do_not_say_is_refused() {
        let number = format!(r#"{{"type":1,{ONE}}}"#);
        let other = format!(r#"{{"type":"other","topic":"/a",{ONE}}}"#);
        for text in [&*number, &*other, "{}", r#"{"type":"other"}"#] {
            assert_eq!(server(text), Err(Refusal::Type), "{text}");
        }
        assert_eq!(server(&format!("{{{ONE}}}")), Err(Refusal::Topic));
        for text in [
            r#"{"type":"data-message","topic":"/a"}"#,
            "[]",
            "{",
            r#"{"type":"ack"}}"#,
        ] {
            assert!(matches!(server(text), Err(Refusal::Json(_))), "{text}");
        }
    }

    #[test]
    fn payloads_that_are_no_value_are_not_written() {
        let mut out = String::from("before");
        assert!(write_data(&mut out, b"/a", b"\x02", Form::Compatible).is_err());
        assert!(write_data(&mut out, b"/a", b"\0\0", Form::Compatible).is_err());
        assert_eq!(out, "before");
    }

    #[test]
    fn topics_that_are_not_text_survive_in_the_lossless_form_only() {
        let payload = to_bytes(&Value::None).unwrap();
        for (form, topic) in [
            (Form::Compatible, Topic::from("/\u{fffd}")),
            (Form::Lossless, Topic::from(&b"/\xff"[..])),
        ] {
            let mut out = String::new();
            write_data(&mut out, b"/\xff", &payload, form).unwrap();
            assert_eq!(read_data(out.as_bytes(), form, &mut Vec::new()), Ok(topic));
        }
    }

    proptest! {
        #[test]
        fn messages_survive(topic in ".{0,8}", number: u64, first: String, second: String) {
            let payload = to_bytes(&number).unwrap();
            let mut out = String::new();
            write_data(&mut out, topic.as_bytes(), &payload, Form::Compatible).unwrap();
            let mut read = Vec::new();
            let message = read_server_message(out.as_bytes(), Form::Original, &mut read);
            prop_assert_eq!(message, Ok(ServerMessage::Data { topic: topic.into() }));
            prop_assert_eq!(&read, &payload);

            out.clear();
            write_ack(&mut out, &first, &second);
            let ack = ServerMessage::Ack { endpoint: first.clone(), version: second.clone() };
            prop_assert_eq!(server(&out), Ok(ack));

            out.clear();
            write_error(&mut out, &first, &second);
            let error = ServerMessage::Error { code: first, context: second };
            prop_assert_eq!(server(&out), Ok(error));
        }

        #[test]
        fn any_text_does_no_harm(bytes: Vec<u8>) {
            let mut payload = Vec::new();
            let _ = read_data(&bytes, Form::Lossless, &mut payload);
            let _ = read_server_message(&bytes, Form::Original, &mut payload);
            let _ = read_subscriptions(&bytes);
        }
    }
}
