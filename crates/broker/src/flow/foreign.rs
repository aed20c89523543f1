//! The traits of a foreign transport: how its peers differ from native ones.
//!
//! The rest of the runtime asks these facts and never for the protocol. See ADR 0200.

/// How messages reach a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Transport {
    /// The native protocol.
    Native,
    /// JSON over a WebSocket.
    WebSocket,
    /// ZeroMQ, through the proxy of a Zeek cluster.
    ZeroMq,
    /// NATS, through its servers.
    Nats,
}

impl Transport {
    /// The name that metrics use, for example `web-socket`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::WebSocket => "web-socket",
            Self::ZeroMq => "zeromq",
            Self::Nats => "nats",
        }
    }
}

/// A transport other than the native one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// As statistics name it.
    pub(crate) transport: Transport,
    /// One of its peers, as events name it: with an article.
    pub(crate) peer: &'static str,
    /// What its mailboxes hold.
    pub(crate) speaks: Language,
    /// Whether commands of data stores reach through it.
    pub(crate) carries_stores: bool,
    /// Whether its peers say what they want. Those of others get everything, and lists of the topics
    /// that peers want leave them out.
    pub(crate) tells_filter: bool,
    /// What its inbox does with a message that a consumer has no room for.
    pub(crate) when_full: WhenFull,
    /// Whether messages keep their marks there, so that copies of them are known. See ADR 0115.
    pub(crate) keeps_marks: bool,
}

/// How messages for a peer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// As JSON: the text is made once for all that read it.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only WebSockets do")
    )]
    Json,
    /// As encoded values, each in the frame of a native peer.
    #[cfg_attr(
        not(any(feature = "zeromq", feature = "nats", test)),
        expect(dead_code, reason = "only ZeroMQ and NATS do")
    )]
    Values,
}

/// What becomes of a message from a peer that a consumer of this endpoint has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// It waits, and the peer is not read from meanwhile: it can be slowed down.
    #[cfg_attr(
        not(any(feature = "http", test)),
        expect(dead_code, reason = "only transports do")
    )]
    Wait,
    /// That consumer loses it. For peers whose own senders would be slowed down with them.
    #[cfg_attr(
        not(any(feature = "zeromq", feature = "nats", test)),
        expect(dead_code, reason = "only ZeroMQ and NATS do")
    )]
    Drop,
}
