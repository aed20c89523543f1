//! The configuration of a connection.

use std::fmt;

use broker_data::Timespan;

use super::{KeyPair, PublicKey};

/// Kinds of sockets, as far as Zeek's clusters have them. Spec: zeromq 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketType {
    /// Sends what peers subscribed to.
    Pub,
    /// The same, and hears of their subscriptions; takes messages from XSUB, too.
    Xpub,
    /// Subscribes and receives.
    Sub,
    /// The same, and can send messages to XPUB.
    Xsub,
    /// Sends each message to one of its peers.
    Push,
    /// Receives its share of messages.
    Pull,
}

impl SocketType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pub,
        Self::Xpub,
        Self::Sub,
        Self::Xsub,
        Self::Push,
        Self::Pull,
    ];

    /// Returns the name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pub => "PUB",
            Self::Xpub => "XPUB",
            Self::Sub => "SUB",
            Self::Xsub => "XSUB",
            Self::Push => "PUSH",
            Self::Pull => "PULL",
        }
    }

    /// Whether peers of that kind can subscribe at it.
    #[must_use]
    pub const fn publishes(self) -> bool {
        matches!(self, Self::Pub | Self::Xpub)
    }

    /// Whether it subscribes.
    #[must_use]
    pub const fn subscribes(self) -> bool {
        matches!(self, Self::Sub | Self::Xsub)
    }

    /// Whether messages can be sent on it.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::Pub | Self::Xpub | Self::Xsub | Self::Push)
    }

    /// Whether messages can come on it.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::Xpub | Self::Sub | Self::Xsub | Self::Pull)
    }

    /// Whether both ends of a connection fit.
    #[must_use]
    pub const fn fits(self, peer: Self) -> bool {
        match self {
            Self::Pub | Self::Xpub => peer.subscribes(),
            Self::Sub | Self::Xsub => peer.publishes(),
            Self::Push => matches!(peer, Self::Pull),
            Self::Pull => matches!(peer, Self::Push),
        }
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which clients a CURVE server lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All that know the server's public key.
    Any,
    /// Those with one of these keys. Zeek has one for a whole cluster. Spec: zeromq 8.
    Only(Vec<PublicKey>),
}

impl Clients {
    pub(super) fn admits(&self, key: &PublicKey) -> bool {
        match self {
            Self::Any => true,
            Self::Only(keys) => keys.contains(key),
        }
    }
}

/// The mechanism of a connection, and on which side of it this end is.
///
/// Which end listens does not matter for ZMTP, only for the firewall.
#[derive(Clone, Debug)]
pub enum Security {
    /// Neither encryption nor authentication.
    Null,
    /// CURVE as the client, which knows the server's key.
    CurveClient {
        /// The server's key.
        server: PublicKey,
        /// Keys of this end.
        keys: KeyPair,
    },
    /// CURVE as the server.
    CurveServer {
        /// Keys of this end.
        keys: KeyPair,
        /// Which clients may come in.
        clients: Clients,
    },
}

impl Security {
    /// Returns the name of the mechanism.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::CurveClient { .. } | Self::CurveServer { .. } => "CURVE",
        }
    }

    pub(super) const fn is_server(&self) -> bool {
        matches!(self, Self::CurveServer { .. })
    }
}

/// What a peer may make this end keep, each beyond which the connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one part of a message.
    pub part_bytes_max: usize,
    /// Bytes of all parts of a message as they come: with their heads, and what encryption adds.
    pub message_bytes_max: usize,
    /// Parts of a message.
    pub parts_max: usize,
    /// Prefixes that the peer is subscribed to at a time.
    pub subscriptions_max: usize,
    /// Bytes of all these prefixes.
    pub subscription_bytes_max: usize,
    /// Bytes up to the end of the handshake.
    pub handshake_bytes_max: usize,
    /// Time up to the end of the handshake.
    pub handshake_timeout: Timespan,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Batches of 1000 log records have been seen to take up to 1 MB; values of native peers
            // are bounded by the same number.
            part_bytes_max: 64 << 20,
            // A part of that size, and the others.
            message_bytes_max: (64 << 20) + (1 << 20),
            // Messages of Zeek have four; a few more are read so that they can be counted as wrong.
            parts_max: 64,
            // A node has about ten and each of its scripts a few; the proxy tells those of all nodes.
            subscriptions_max: 65_536,
            subscription_bytes_max: 16 << 20,
            // The greeting has 64 bytes, the three commands of a CURVE client about 600.
            handshake_bytes_max: 8 << 10,
            // Longer than a busy machine takes, short enough for a program that waits for it.
            handshake_timeout: Timespan::from_secs(10),
        }
    }
}

/// What a connection needs to know.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Kind of this end.
    pub socket_type: SocketType,
    /// Mechanism.
    pub security: Security,
    /// What the peer may make this end keep.
    pub limits: Limits,
    /// Silence after which a peer of version 3.1 is asked for a sign of life; after as much again it
    /// is given up. Zero: never, which is what Zeek does. Spec: zeromq 2.
    pub ping_interval: Timespan,
}

impl ConnectionConfig {
    /// A connection without security and with the usual limits.
    #[must_use]
    pub fn new(socket_type: SocketType) -> Self {
        Self {
            socket_type,
            security: Security::Null,
            limits: Limits::default(),
            ping_interval: Timespan::from_ns(0),
        }
    }

    /// The same with another mechanism.
    #[must_use]
    pub fn with_security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }
}

/// Random bytes for one connection, never to be used for a second one.
///
/// CURVE makes its keys for the connection of them; the mechanism NULL uses none.
pub struct Entropy {
    /// The secret key of the connection.
    pub(super) secret: [u8; 32],
    /// The number of the box that is sent once: a vouch or a welcome.
    pub(super) nonce: [u8; 16],
    /// What makes a cookie unlike any other.
    pub(super) cookie: [u8; 16],
}

impl Entropy {
    /// How many.
    pub const BYTES: usize = 64;

    /// Takes bytes from a source that is fit for keys.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        let mut entropy = Self {
            secret: [0; 32],
            nonce: [0; 16],
            cookie: [0; 16],
        };
        let mut rest = bytes.iter().copied();
        for part in [
            &mut entropy.secret[..],
            &mut entropy.nonce[..],
            &mut entropy.cookie[..],
        ] {
            for (to, from) in part.iter_mut().zip(&mut rest) {
                *to = from;
            }
        }
        entropy
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
