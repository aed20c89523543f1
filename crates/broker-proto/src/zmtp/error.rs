//! Errors that end a connection, in words for operators.

use std::fmt;

use super::{PublicKey, SocketType};

/// What speaks at the other end instead of ZMTP, judged by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// An endpoint of native Broker, without TLS.
    Broker,
    /// A server for HTTP or WebSockets.
    Http,
    /// TLS: native Broker with its default settings, or HTTPS.
    Tls,
    /// Something else.
    Unknown,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "a port of native Broker: peer with `HOST:PORT` instead",
            Self::Http => "an HTTP or WebSocket server: peer with `ws://HOST:PORT` instead",
            Self::Tls => {
                "a TLS server: native Broker with encryption, or a WebSocket server with it; peer \
                 with `HOST:PORT` or `wss://HOST:PORT` instead"
            }
            Self::Unknown => "no ZeroMQ socket: check host and port",
        })
    }
}

/// What was waited for when a handshake came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first 64 bytes.
    Greeting,
    /// A client's first command in CURVE.
    Hello,
    /// A server's answer to it.
    Welcome,
    /// A client's keys in CURVE.
    Initiate,
    /// The last command.
    Ready,
    /// Nothing: the connection is in use.
    Traffic,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "greeting",
            Self::Hello => "HELLO",
            Self::Welcome => "WELCOME",
            Self::Initiate => "INITIATE",
            Self::Ready => "READY",
            Self::Traffic => "messages",
        })
    }
}

/// Why a connection ended, or has to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other end speaks another protocol.
    #[error("this is {0}")]
    NotZmtp(Foreign),
    /// The other end closed the connection, or kept it, and said nothing.
    #[error(
        "no ZeroMQ greeting: this may be a port of native Broker, which is silent, or a ZeroMQ \
         process that is stopped"
    )]
    NoGreeting,
    /// A version that is too old.
    #[error("the peer speaks ZMTP {0}, at least 3 is needed: it uses ZeroMQ before 4.0")]
    Version(u8),
    /// Encryption at one end only, or a mechanism that is not known here.
    #[error("{}", mechanism_text(.ours, .theirs))]
    Mechanism {
        /// Name of the one here.
        ours: &'static str,
        /// Name of the other.
        theirs: String,
    },
    /// Both ends are CURVE servers, or both clients.
    #[error(
        "both ends are CURVE {0}s: the proxy and loggers are servers, all that connect to them \
         clients"
    )]
    SameRole(&'static str),
    /// Sockets that do not fit one another.
    #[error("{}", socket_text(*.ours, .theirs))]
    SocketType {
        /// This end.
        ours: SocketType,
        /// What the peer calls itself.
        theirs: String,
    },
    /// The server could not open the first box, or did not make its own with the expected key.
    #[error(
        "the server has another CURVE key than the server public key given here: compare \
         `server_publickey` with the server's"
    )]
    ServerKey,
    /// The server does not admit this end's key.
    #[error(
        "the server refused the CURVE client key given here with status {0}: compare \
         `client_publickey` with the server's"
    )]
    ClientKeyRefused(String),
    /// A client with a key that is not on the list.
    #[error("refused a client with the CURVE key `{0}`, which is not among the admitted ones")]
    UnknownClient(PublicKey),
    /// A client that does not know the key of this end, or is none.
    #[error(
        "refused a client that does not know this end's CURVE key, or not the secret of its own"
    )]
    ClientBox,
    /// The peer ended the handshake with an error command.
    #[error("the peer refused the connection: {0}")]
    Refused(String),
    /// The handshake took too long.
    #[error(
        "connected but never ready, waiting for {0}: the server may have other CURVE keys, expect a \
         client without them, or be no ZeroMQ socket"
    )]
    Timeout(Stage),
    /// The peer closed the connection within the handshake.
    #[error(
        "the peer closed the connection instead of sending {0}: it may not admit this end, or be the \
         other port of the proxy"
    )]
    ClosedEarly(Stage),
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Neither traffic nor an answer to a ping.
    #[error("the peer is silent and does not answer pings")]
    Silent,
    /// A box of CURVE that does not open, or comes twice.
    #[error("a message of the peer is not what it encrypted: {0}")]
    Box(&'static str),
    /// Against the protocol.
    #[error("the peer sent {0}")]
    Malformed(&'static str),
    /// Beyond a limit of [`Limits`](super::Limits).
    #[error("the peer sent {what} of {found}: at most {max} are taken (`{limit}`)")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is, or would become.
        found: u64,
        /// How large it may be.
        max: usize,
        /// The name of the limit.
        limit: &'static str,
    },
}

fn mechanism_text(ours: &str, theirs: &str) -> String {
    match (ours, theirs) {
        ("NULL", "CURVE") => {
            "the peer is encrypted with CURVE: give the keys of the cluster".into()
        }
        ("CURVE", "NULL") => {
            "the peer is not encrypted, but CURVE keys are given here: leave them out, or have the \
             cluster use CURVE"
                .into()
        }
        _ => format!("the peer uses the mechanism `{theirs}`, here it is {ours}"),
    }
}

fn socket_text(ours: SocketType, theirs: &str) -> String {
    let hint = match (ours, theirs) {
        (SocketType::Sub | SocketType::Xsub, "XSUB" | "SUB")
        | (SocketType::Pub | SocketType::Xpub, "XPUB" | "PUB") => {
            ": the ports of the proxy's XPUB and XSUB are the other way round"
        }
        _ => "",
    };
    format!("the peer is a socket of kind `{theirs}`, which does not fit {ours} here{hint}")
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The handshake is not complete, or the connection is over.
    #[error("the connection is not ready")]
    NotReady,
    /// Sockets of that kind only receive.
    #[error("a socket of kind {0} cannot send")]
    Direction(SocketType),
    /// A message without parts.
    #[error("a message needs at least one part")]
    Empty,
}
