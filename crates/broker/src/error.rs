//! The errors of this crate, and the code that the original reports for each.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use broker_data::EncodeError;
use broker_proto::ErrorCode;
use broker_proto::endpoint::PeerFailure;
use broker_proto::frame::EnvelopeError;
use broker_proto::peer_url::PeerUrlError;

use crate::config::broker_conf::Place;
use crate::recording::RecordingFileError;

/// Why a call failed. Every error names the thing it is about and maps to an [`ErrorCode`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has a value it cannot have.
    #[error("option `{name}`: {cause}")]
    Option {
        /// The option, or the environment variable it came from.
        name: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// An environment variable has a value it cannot have. Spec: tools 1.4.
    #[error("{text}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What is wrong with it, in the words of the original.
        text: String,
    },
    /// A configuration file cannot be read, or has something in it that makes no sense. Spec: tools 1.2.
    #[error("`{}`{}: {cause}", path.display(), place.map_or(String::new(), |place| format!(", {place}")))]
    ConfigurationFile {
        /// The file.
        path: PathBuf,
        /// Where in it; `None` when it is about the file as a whole.
        place: Option<Place>,
        /// What is wrong.
        cause: String,
    },
    /// The recording of an endpoint cannot be written.
    #[error("recording: {0}")]
    Recording(#[from] RecordingFileError),
    /// The TLS set-up is incomplete, or a file of it cannot be used.
    #[error("TLS set-up: {cause}")]
    Tls {
        /// What is wrong, with the file's name.
        cause: String,
    },
    /// The log cannot be written.
    #[error("log: {cause}")]
    Log {
        /// What is wrong, and what to try.
        cause: String,
    },
    /// The process has no thread or descriptor left for an endpoint.
    #[error("cannot start: {0}")]
    Start(Arc<io::Error>),
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}` port {port}: {cause}")]
    Listen {
        /// The address asked for.
        address: String,
        /// The port asked for.
        port: u16,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// A peering could not be established.
    #[error("cannot peer with {}: {text}", place(host, *port))]
    PeerUnavailable {
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// The code of the failure; see [`Error::code`].
        code: ErrorCode,
        /// Whether the other side was reached, which the code does not tell.
        failure: PeerFailure,
        /// The text of the error event, cause included.
        text: String,
    },
    /// The address of a peer makes no sense.
    #[error(transparent)]
    Address(#[from] PeerUrlError),
    /// The address of a ZeroMQ socket makes no sense.
    #[error("`{text}` is no address of a ZeroMQ socket: {cause}")]
    ZeroMqAddress {
        /// The address.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Keys of CURVE are incomplete, or cannot be read. No key is in it.
    #[error("{cause} (CURVE keys {from})")]
    CurveKeys {
        /// Where the keys come from.
        from: String,
        /// What is wrong with them.
        cause: String,
    },
    /// A value cannot be encoded.
    #[error(transparent)]
    Value(#[from] EncodeError),
    /// The topic is longer than the wire can carry. Spec: wire 6.1.
    #[error(
        "topic of {length} bytes is longer than {}",
        broker_proto::topic::TOPIC_MAX
    )]
    TopicTooLong {
        /// Length in bytes.
        length: usize,
    },
    /// The message is larger than a frame can be. Spec: wire 2.
    #[error("message of {size} bytes is larger than a frame can be")]
    MessageTooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// The endpoint was shut down.
    #[error("endpoint is shut down")]
    ShutDown,
    /// The subscriber is closed and has nothing left.
    #[error("subscriber queue closed")]
    Closed,
    /// The subscriber was closed because it did not take its messages.
    #[error("subscriber was closed: it took nothing while its queue was full")]
    Overflowed,
    /// Messages were lost to the overflow policy since the last call; see
    /// [`OnLoss`](crate::OnLoss).
    #[error("{count} messages were lost, as the subscriber did not take its messages")]
    MessagesLost {
        /// How many.
        count: u64,
    },
    /// No descriptor could be opened.
    #[error("cannot open a descriptor: {0}")]
    Descriptor(Arc<io::Error>),
}

/// What cannot fail, for addresses that are parsed already.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Error {
    /// A variable whose value is not what was expected. Spec: tools 1.4.
    pub(crate) fn variable(name: &'static str, value: &str, expected: &str) -> Self {
        let text = format!("invalid value for {name}: {value} (expected {expected})");
        Self::Variable { name, text }
    }

    /// The code the original would report.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Option { .. } | Self::Variable { .. } | Self::Tls { .. } | Self::Start(_) => {
                ErrorCode::CannotOpenResource
            }
            Self::ConfigurationFile { .. } | Self::Recording(_) | Self::CurveKeys { .. } => {
                ErrorCode::CannotOpenResource
            }
            Self::Log { .. } | Self::Listen { .. } | Self::Descriptor(_) => {
                ErrorCode::CannotOpenResource
            }
            Self::PeerUnavailable { code, .. } => *code,
            Self::Address(_) | Self::ZeroMqAddress { .. } => ErrorCode::PeerInvalid,
            Self::Value(_) | Self::MessageTooLarge { .. } => ErrorCode::InvalidData,
            Self::TopicTooLong { .. } => ErrorCode::InvalidTopicKey,
            Self::ShutDown | Self::Closed => ErrorCode::ShuttingDown,
            Self::Overflowed => ErrorCode::StaleData,
            Self::MessagesLost { .. } => ErrorCode::MessagesLost,
        }
    }
}

impl From<EnvelopeError> for Error {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::TopicTooLong { length } => Self::TopicTooLong { length },
            EnvelopeError::FrameTooLarge { length } => Self::MessageTooLarge { size: length },
            // The other cases are about reading, which no caller of ours does through this type.
            _ => Self::MessageTooLarge { size: 0 },
        }
    }
}

/// A peer's address in a message: a URL has its port inside.
fn place(host: &str, port: u16) -> String {
    if host.contains("://") {
        format!("`{host}`")
    } else {
        format!("`{host}` port {port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_peer_is_named_once() {
        let text = |host: &str| {
            let error = Error::PeerUnavailable {
                host: host.to_owned(),
                port: 27759,
                code: ErrorCode::PeerUnavailable,
                failure: PeerFailure::Unreachable,
                text: "refused".to_owned(),
            };
            error.to_string()
        };
        assert_eq!(
            text("sensor"),
            "cannot peer with `sensor` port 27759: refused"
        );
        assert_eq!(
            text("ws://sensor:27759/v1/messages/json"),
            "cannot peer with `ws://sensor:27759/v1/messages/json`: refused"
        );
    }
}
