//! Messages, answers and errors that a session and its caller exchange.

use serde_json::Value;

use super::api::ApiError;
use super::cursor::Delivery;
use super::session::{REQUESTS_BYTES_MAX, REQUESTS_MAX};
use crate::nats::connection::{Message, TooOld};

/// Names one request of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// Names one reader of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderId(pub(super) u64);

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server refuses it.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// No stream keeps messages of that subject.
    #[error("no stream keeps messages of that topic")]
    NoStream,
    /// The servers keep no streams at all.
    #[error("the NATS server has no JetStream, which keeps streams: it is to be enabled there")]
    NoJetStream,
    /// There was no answer in time. What was asked for may have been done.
    #[error("no answer in time ({0})")]
    TimedOut(String),
    /// It is larger than the server takes.
    #[error("{size} bytes with headers, and the server takes {max}")]
    TooLarge {
        /// Bytes that it has.
        size: usize,
        /// Bytes that the server takes.
        max: usize,
    },
    /// The servers are too old.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The session is over.
    #[error("the endpoint is shut down, or has no peering with these servers any more")]
    Over,
    /// Too many requests wait.
    #[error("{REQUESTS_MAX} requests, or {REQUESTS_BYTES_MAX} bytes of them, wait for answers")]
    Full,
}

/// What a session has to say to its caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A request is over.
    Answered(RequestId, Result<Value, RequestError>),
    /// A reader got a message.
    Message(Box<ReadMessage>),
    /// A reader's consumer is gone, for that reason; nothing will come.
    Gone(ReaderId, String),
}

/// Messages, and their bytes with headers and subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// How many.
    pub messages: usize,
    /// How large, all together.
    pub bytes: usize,
}

impl Load {
    /// With so much more.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(other.messages),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// With so much less.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(other.messages),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// What a reader is to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// What its owner takes at a time. Two messages of the largest size that the server takes are asked
    /// for in any case, as it could not send one otherwise.
    pub window: Load,
    /// What of it is taken.
    pub held: Load,
    /// The consumer is a [`Follower`](super::cursor::Follower): the reader is gone with its connection, and
    /// as soon as a message is missing.
    pub is_ordered: bool,
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMessage {
    /// Whose it is.
    pub reader: ReaderId,
    /// Where it was published.
    pub subject: String,
    /// The block of headers, as it is.
    pub headers: Vec<u8>,
    /// The rest.
    pub payload: Vec<u8>,
    /// To where it is acknowledged.
    pub reply: String,
    /// What the stream says of it.
    pub delivery: Delivery,
}

impl ReadMessage {
    /// What it takes of a window.
    pub fn load(&self) -> Load {
        let parts = [
            self.subject.len(),
            self.headers.len(),
            self.payload.len(),
            self.reply.len(),
        ];
        Load {
            messages: 1,
            bytes: parts.iter().sum(),
        }
    }

    /// The first value of each of these headers; see [`Message::headers`].
    pub fn headers<const N: usize>(&self, names: [&str; N]) -> [Option<&str>; N] {
        let message = Message {
            subject: self.subject.as_bytes(),
            sid: 0,
            reply: &[],
            headers: &self.headers,
            payload: &self.payload,
        };
        message.headers(names)
    }
}

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its subject.
    pub subject: String,
    /// Its headers; one of them is `Nats-Msg-Id`.
    pub headers: Vec<(&'static str, String)>,
    /// The rest.
    pub payload: Vec<u8>,
}
