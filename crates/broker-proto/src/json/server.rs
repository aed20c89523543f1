//! The WebSocket conversation as a state machine: subscription, acknowledgement, messages.
//!
//! Spec: websocket 2, 3. Texts of complete messages come in, what to do comes out. Frames, pings
//! and timeouts belong to the connection, topics to the routing table. This file has
//! what both roles share ([`Close`], the codes) and the server's half, [`ServerSession`].

use std::borrow::Cow;

use broker_data::json::Form;

use crate::id::EndpointId;
use crate::json::message::{
    DESERIALIZATION_FAILED, Refusal, read_data, read_subscriptions, write_ack, write_error,
};
use crate::topic::{RESERVED, Topic};

/// Topics of one subscription. Zeek's own clients have a dozen; the bound keeps the filter of the
/// endpoint, which never shrinks, out of the hands of strangers.
pub const SUBSCRIPTIONS_MAX: usize = 1024;

/// Code of error messages about what a client may not do.
pub const ACL_DENIED: &str = "acl_denied";

/// Close codes. RFC 6455, section 7.4.1.
pub mod close_code {
    /// The conversation is over.
    pub const NORMAL: u16 = 1000;
    /// The server shuts down.
    pub const GOING_AWAY: u16 = 1001;
    /// The other side broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// A text is not UTF-8.
    pub const INVALID_TEXT: u16 = 1007;
    /// The other side did what it may not do.
    pub const POLICY: u16 = 1008;
    /// A message is too large.
    pub const TOO_BIG: u16 = 1009;
    /// The server cannot go on.
    pub const UNEXPECTED: u16 = 1011;
    /// Not now; later perhaps.
    pub const TRY_AGAIN_LATER: u16 = 1013;
}

/// How to end a connection: a last message and a close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// A complete error message to be sent first.
    pub message: Option<String>,
    /// One of [`close_code`].
    pub code: u16,
    /// For people; at most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// Ends without a message.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            message: None,
            code,
            reason: reason.into(),
        }
    }

    /// Ends with an error message that says the same as the close frame.
    pub fn with_error(code: u16, name: &str, context: &'static str) -> Self {
        Self {
            message: Some(error(name, context)),
            code,
            reason: context.into(),
        }
    }

    /// The server shuts down. Spec: websocket 2.2.
    pub fn shutdown() -> Self {
        Self::new(close_code::GOING_AWAY, "Terminating")
    }

    /// The client did not take its messages. Spec: websocket 2.2, which shows what it is like not
    /// to be told.
    pub fn overflow() -> Self {
        Self::with_error(
            close_code::TRY_AGAIN_LATER,
            "backpressure_overflow",
            "the client does not take its messages fast enough",
        )
    }

    /// The client never said what it wants.
    pub fn no_subscription() -> Self {
        Self::with_error(
            close_code::POLICY,
            DESERIALIZATION_FAILED,
            "no subscription came in time",
        )
    }

    /// The client gave no sign of life.
    pub fn silent() -> Self {
        Self::new(close_code::UNEXPECTED, "no answer to pings")
    }

    /// The client's name has characters that names do not have. Spec: websocket 1.2.
    pub fn invalid_application_name() -> Self {
        Self::with_error(
            close_code::POLICY,
            "invalid_application_name",
            "Invalid X-Application-Name",
        )
    }

    /// The client may not do that, or not any more.
    pub fn not_permitted(reason: &'static str) -> Self {
        Self::with_error(close_code::POLICY, ACL_DENIED, reason)
    }

    /// More is subscribed to than the endpoint takes.
    pub fn too_many_subscriptions() -> Self {
        Self::with_error(
            close_code::POLICY,
            "too_many_subscriptions",
            "too many topics are subscribed to",
        )
    }
}

/// A complete error message.
pub fn error(code: &str, context: &str) -> String {
    let mut text = String::new();
    write_error(&mut text, code, context);
    text
}

/// What follows from a message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerStep {
    /// Subscribe the client to these topics, none perhaps, then send the acknowledgement.
    Subscribe {
        /// What it wants; never topics that belong to the endpoint.
        topics: Vec<Topic>,
        /// The acknowledgement.
        ack: String,
    },
    /// Publish the value that was appended to the payload.
    Publish {
        /// Under this topic.
        topic: Topic,
    },
    /// Tell the client that its message is of no use.
    Refuse {
        /// A complete error message.
        message: String,
    },
    /// End the connection.
    Close(Close),
}

/// The server's half of a conversation with one client.
///
/// ```
/// use broker_data::json::Form;
/// use broker_proto::EndpointId;
/// use broker_proto::json::server::{ServerSession, ServerStep};
///
/// let mut session = ServerSession::new(EndpointId::from_random([7; 16]), "1.0", Form::Compatible);
/// let mut payload = Vec::new();
/// let ServerStep::Subscribe { topics, ack } = session.handle_text(br#"["/a"]"#, &mut payload)
/// else {
///     panic!("a subscription is acknowledged")
/// };
/// assert_eq!(topics, ["/a".into()]);
/// assert!(ack.starts_with(r#"{"type":"ack","endpoint":"07070707-"#));
///
/// let text = br#"{"type":"data-message","topic":"/b","@data-type":"count","data":1}"#;
/// let step = session.handle_text(text, &mut payload);
/// assert_eq!(step, ServerStep::Publish { topic: "/b".into() });
/// ```
#[derive(Debug)]
pub struct ServerSession {
    endpoint: EndpointId,
    version: &'static str,
    form: Form,
    /// Messages since the subscription; `None` before it.
    messages: Option<u64>,
}

impl ServerSession {
    /// A conversation that has not begun.
    pub const fn new(endpoint: EndpointId, version: &'static str, form: Form) -> Self {
        Self {
            endpoint,
            version,
            form,
            messages: None,
        }
    }

    /// Whether the client said what it wants.
    pub const fn is_subscribed(&self) -> bool {
        self.messages.is_some()
    }

    /// How messages to the client are spelled.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Handles one complete message. The value of a data message is appended to `payload`, which
    /// stays as it is otherwise.
    pub fn handle_text(&mut self, text: &[u8], payload: &mut Vec<u8>) -> ServerStep {
        let Some(messages) = &mut self.messages else {
            return self.subscribe(text);
        };
        *messages = messages.saturating_add(1);
        match read_data(text, self.form, payload) {
            Ok(topic) => ServerStep::Publish { topic },
            Err(refusal) => refuse(&refusal, *messages),
        }
    }

    /// As [`handle_text`](Self::handle_text) for a binary message, which nobody has looked at yet:
    /// what is not UTF-8 is refused like any other message of no use. One client of Zeek sends
    /// everything like that. Spec: websocket 2.1, 5.
    pub fn handle_binary(&mut self, bytes: &[u8], payload: &mut Vec<u8>) -> ServerStep {
        let Err(error) = std::str::from_utf8(bytes) else {
            return self.handle_text(bytes, payload);
        };
        let refusal = Refusal::Utf8(error.valid_up_to());
        match &mut self.messages {
            None => ServerStep::Close(refused(&refusal)),
            Some(messages) => {
                *messages = messages.saturating_add(1);
                refuse(&refusal, *messages)
            }
        }
    }

    fn subscribe(&mut self, text: &[u8]) -> ServerStep {
        let topics = match read_subscriptions(text) {
            Ok(topics) => topics,
            Err(refusal) => return ServerStep::Close(refused(&refusal)),
        };
        if topics.len() > SUBSCRIPTIONS_MAX {
            return ServerStep::Close(Close::too_many_subscriptions());
        }
        self.messages = Some(0);
        let mut ack = String::new();
        write_ack(&mut ack, &self.endpoint.to_string(), self.version);
        ServerStep::Subscribe {
            topics: topics
                .into_iter()
                .filter(|topic| !topic.as_bytes().starts_with(RESERVED.as_bytes()))
                .collect(),
            ack,
        }
    }
}

/// Tells the client that its message with that number is of no use.
fn refuse(refusal: &Refusal, number: u64) -> ServerStep {
    ServerStep::Refuse {
        message: error(refusal.code(), &refusal.context(number)),
    }
}

fn refused(refusal: &Refusal) -> Close {
    Close {
        message: Some(error(refusal.code(), &refusal.to_string())),
        code: close_code::POLICY,
        reason: "first message must contain a filter".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> ServerSession {
        ServerSession::new(EndpointId::from_random([7; 16]), "1.0", Form::Compatible)
    }

    fn subscribed() -> ServerSession {
        let mut session = session();
        let step = session.handle_text(b"[]", &mut Vec::new());
        assert!(matches!(step, ServerStep::Subscribe { topics, .. } if topics.is_empty()));
        session
    }

    #[test]
    fn every_message_is_counted_and_refusals_name_the_number() {
        let mut session = subscribed();
        let mut payload = Vec::new();
        let good = br#"{"topic":"/a","@data-type":"none"}"#;
        assert!(matches!(
            session.handle_text(good, &mut payload),
            ServerStep::Publish { .. }
        ));
        let length = payload.len();
        for number in 2..4 {
            let ServerStep::Refuse { message } = session.handle_text(b"[]", &mut payload) else {
                panic!("an array is no message")
            };
            let start = format!(
                r#"{{"type":"error","code":"deserialization_failed","context":"input #{number} "#
            );
            assert!(message.starts_with(&start), "{message}");
        }
        assert_eq!(payload.len(), length);
    }

    #[test]
    fn a_first_message_that_is_no_filter_ends_the_conversation() {
        let mut payload = Vec::new();
        for text in ["hello", "{}", r#"["a",1]"#] {
            let step = session().handle_text(text.as_bytes(), &mut payload);
            let ServerStep::Close(close) = step else {
                panic!("{step:?}")
            };
            assert_eq!(close.code, close_code::POLICY);
            assert_eq!(close.reason, "first message must contain a filter");
            let message = close.message.unwrap();
            assert!(
                message.contains("first message must contain a filter"),
                "{message}"
            );
        }
    }

    #[test]
    fn binary_messages_are_read_as_text_and_refused_when_they_are_none() {
        let mut session = session();
        let mut payload = Vec::new();
        let step = session.handle_binary(b"[\"\xff\"]", &mut payload);
        assert!(matches!(step, ServerStep::Close(close) if close.code == close_code::POLICY));
        let step = session.handle_binary(b"[]", &mut payload);
        assert!(matches!(step, ServerStep::Subscribe { .. }));
        // The scanner would take the byte as part of the string.
        let bad = b"{\"topic\":\"/a\",\"@data-type\":\"string\",\"data\":\"\xff\"}";
        let ServerStep::Refuse { message } = session.handle_binary(bad, &mut payload) else {
            panic!("it is not UTF-8")
        };
        assert!(
            message.contains("input #1 contained malformed JSON"),
            "{message}"
        );
        assert!(payload.is_empty());
        let good = br#"{"topic":"/a","@data-type":"none"}"#;
        let step = session.handle_binary(good, &mut payload);
        assert_eq!(step, ServerStep::Publish { topic: "/a".into() });
    }

    #[test]
    fn topics_of_the_endpoint_cannot_be_subscribed_to() {
        let text = br#"["<$>/local/data/statuses","/a","<$>"]"#;
        let step = session().handle_text(text, &mut Vec::new());
        assert!(matches!(step, ServerStep::Subscribe { topics, .. } if topics == ["/a".into()]));
    }

    #[test]
    fn subscriptions_are_bounded() {
        let text = format!("[{}\"x\"]", "\"a\",".repeat(SUBSCRIPTIONS_MAX));
        let step = session().handle_text(text.as_bytes(), &mut Vec::new());
        assert_eq!(step, ServerStep::Close(Close::too_many_subscriptions()));
    }

    #[test]
    fn reasons_fit_into_a_close_frame() {
        for close in [
            Close::shutdown(),
            Close::overflow(),
            Close::no_subscription(),
            Close::invalid_application_name(),
            Close::too_many_subscriptions(),
        ] {
            assert!(close.reason.len() <= 123, "{close:?}");
        }
    }
}
