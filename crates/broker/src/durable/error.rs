//! The errors of durable topics.

use broker_data::EncodeError;
use broker_proto::ErrorCode;
use broker_proto::nats::connection::TooOld;
use broker_proto::nats::jetstream::{ApiError, RequestError};

/// Why something about durable topics came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurableError {
    /// The endpoint has no peering with servers of NATS, or none at that address.
    #[error(
        "durable topics need a peering with servers of NATS: call `peer` with a `nats://` address first"
    )]
    NotPeered,
    /// There are several, and none was named.
    #[error("durable topics are on one of {}: name the address", .0.join(", "))]
    SeveralPeers(Vec<String>),
    /// An option has a value that it cannot have.
    #[error("option `{name}`: {cause}")]
    Option {
        /// The option.
        name: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The servers are too old.
    #[error(transparent)]
    TooOld(#[from] TooOld),
    /// The servers keep no streams.
    #[error(
        "the NATS server has no JetStream, which keeps streams: start it with `-js`, or with `jetstream` in \
         its configuration"
    )]
    NoJetStream,
    /// No stream keeps that topic.
    #[error("no stream keeps `{topic}`: make one for it")]
    NoStream {
        /// The topic, or the prefix of topics.
        topic: String,
    },
    /// No stream keeps last values of that topic.
    #[error("no stream keeps last values of `{topic}`: make one for them")]
    NoRetainedStream {
        /// The topic, or the prefix of topics.
        topic: String,
    },
    /// The stream keeps more than the last value of a topic.
    #[error("the stream `{stream}` keeps more than the last value of each topic")]
    NotRetained {
        /// The stream.
        stream: String,
    },
    /// Several streams keep topics of a subscriber.
    #[error("topics under `{topic}` are in several streams ({}): name one", names.join(", "))]
    SeveralStreams {
        /// The prefix.
        topic: String,
        /// The streams.
        names: Vec<String>,
    },
    /// The stream exists, and is of another shape.
    #[error("the stream `{name}` exists with another shape:\n  {}", differences.join("\n  "))]
    StreamDiffers {
        /// The stream.
        name: String,
        /// A line for each difference.
        differences: Vec<String>,
    },
    /// The cursor exists, and is another one.
    #[error(
        "the stream `{stream}` has a cursor `{name}` that is another one:\n  {}",
        differences.join("\n  ")
    )]
    CursorDiffers {
        /// The stream.
        stream: String,
        /// The cursor.
        name: String,
        /// A line for each difference.
        differences: Vec<String>,
    },
    /// A stream with one copy, where more are asked for.
    #[error(
        "the stream `{stream}` is on one server only: what it has is gone with its disk, and \
         `require_durable` is set"
    )]
    OneCopy {
        /// The stream.
        stream: String,
    },
    /// The stream is not where the publisher expects it: somebody else published.
    #[error("not published, as the stream is not where it was expected: {0}")]
    Conflict(ApiError),
    /// The server refused.
    #[error("the NATS server refuses: {0}")]
    Refused(ApiError),
    /// There was no answer in time. What was asked for may have been done; with the same message id
    /// a message is stored once.
    #[error("no answer of the NATS servers in time: {cause}")]
    TimedOut {
        /// What came of the last attempt.
        cause: String,
    },
    /// The message is larger than the server takes.
    #[error("the message has {size} bytes with its headers, and the NATS server takes {max}")]
    TooLarge {
        /// Bytes that it has.
        size: usize,
        /// Bytes that the server takes.
        max: usize,
    },
    /// More waits for the servers than may wait.
    #[error("{0}")]
    Full(String),
    /// The value cannot be encoded.
    #[error(transparent)]
    Value(#[from] EncodeError),
    /// The topic belongs to endpoints and data stores, or is longer than the wire can carry.
    #[error("`{topic}` cannot be stored: {cause}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The cursor of a subscriber is gone.
    #[error("the cursor `{name}` is gone: {cause}")]
    Gone {
        /// The cursor.
        name: String,
        /// In the words of the server.
        cause: String,
    },
    /// A reader of a stream cannot go on.
    #[error("reading the stream `{name}` came to an end before its time: {cause}")]
    CutShort {
        /// The stream.
        name: String,
        /// Why.
        cause: String,
    },
    /// The subscriber was closed, or the endpoint is shut down.
    #[error("durable subscriber closed")]
    Closed,
    /// The endpoint is shut down, or the peering with the servers was ended.
    #[error("endpoint is shut down, or its peering with the NATS servers was ended")]
    ShutDown,
}

impl DurableError {
    /// The code that fits best among those of the original.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NotPeered | Self::SeveralPeers(_) => ErrorCode::PeerInvalid,
            Self::Option { .. }
            | Self::TooOld(_)
            | Self::NoJetStream
            | Self::NoStream { .. }
            | Self::NoRetainedStream { .. }
            | Self::NotRetained { .. }
            | Self::SeveralStreams { .. }
            | Self::StreamDiffers { .. }
            | Self::CursorDiffers { .. }
            | Self::OneCopy { .. } => ErrorCode::CannotOpenResource,
            Self::Conflict(_) => ErrorCode::StaleData,
            Self::Refused(_) | Self::Gone { .. } | Self::CutShort { .. } => {
                ErrorCode::BackendFailure
            }
            Self::TimedOut { .. } | Self::Full(_) => ErrorCode::RequestTimeout,
            Self::TooLarge { .. } | Self::Value(_) => ErrorCode::InvalidData,
            Self::Topic { .. } => ErrorCode::InvalidTopicKey,
            Self::Closed | Self::ShutDown => ErrorCode::ShuttingDown,
        }
    }

    /// What became of a message under a topic, or of another request.
    pub(crate) fn of_publish(error: RequestError, topic: &str) -> Self {
        match error {
            RequestError::Refused(error) if error.is_conflict() => Self::Conflict(error),
            RequestError::Refused(error) if error.is_disabled() => Self::NoJetStream,
            RequestError::Refused(error) => Self::Refused(error),
            RequestError::NoStream => Self::NoStream {
                topic: topic.to_owned(),
            },
            RequestError::NoJetStream => Self::NoJetStream,
            RequestError::TimedOut(cause) => Self::TimedOut { cause },
            RequestError::TooLarge { size, max } => Self::TooLarge { size, max },
            RequestError::Full => Self::Full(error.to_string()),
            RequestError::TooOld(too_old) => Self::TooOld(too_old),
            RequestError::Over => Self::ShutDown,
        }
    }
}
