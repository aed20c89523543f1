//! Connections to peers that speak another protocol.
//!
//! | module | what it is |
//! |---|---|
//! | `inbox` | what such a peer sends, into this endpoint |
//! | `outgoing` | what waits for such a peer, message by message |
//! | `websocket` | peerings with WebSocket servers |
//! | `zeromq` | peerings with the proxies of Zeek clusters that use ZeroMQ; their logs, a proxy of our own |
//! | `nats` | peerings with servers of NATS |
//! | `double` | a transport for tests, whose peer is a test |
//!
//! The door: [`foreign`] says what is spoken under a scheme, [`start`] starts it. The control plane asks
//! for the facts that a transport states of itself and for nothing else of it. See ADR 0200.

mod double;
#[cfg(any(feature = "http", feature = "zeromq", feature = "nats", test))]
pub(crate) mod inbox;
#[cfg(feature = "nats")]
pub(crate) mod nats;
#[cfg(any(feature = "nats", feature = "zeromq"))]
pub(crate) mod outgoing;
#[cfg(feature = "http")]
pub(crate) mod websocket;
#[cfg(feature = "zeromq")]
pub(crate) mod zeromq;

use std::sync::Arc;

use broker_proto::peer_url::{PeerUrl, Scheme};

use crate::core::hooks::Dial;
use crate::core::shared::Shared;
use crate::flow::foreign::Foreign;

/// What is spoken under a scheme; `None` for the native protocol, and where this build has no such
/// transport.
pub(crate) fn foreign(scheme: Scheme) -> Option<&'static Foreign> {
    match scheme {
        Scheme::Native => None,
        #[cfg(feature = "http")]
        Scheme::WebSocket | Scheme::SecureWebSocket => Some(&websocket::FOREIGN),
        #[cfg(not(feature = "http"))]
        Scheme::WebSocket | Scheme::SecureWebSocket => None,
        #[cfg(feature = "zeromq")]
        Scheme::ZeroMq => Some(&zeromq::FOREIGN),
        #[cfg(not(feature = "zeromq"))]
        Scheme::ZeroMq => None,
        #[cfg(feature = "nats")]
        Scheme::Nats => Some(&nats::FOREIGN),
        #[cfg(not(feature = "nats"))]
        Scheme::Nats => None,
    }
}

/// Starts to join the peer at an address; what becomes of it goes to the control plane.
#[cfg_attr(
    not(any(feature = "http", feature = "zeromq", feature = "nats")),
    expect(clippy::needless_pass_by_value, reason = "transports keep them")
)]
pub(crate) fn start(shared: Arc<Shared>, dial: Dial, url: Arc<PeerUrl>) {
    match url.scheme {
        #[cfg(feature = "http")]
        Scheme::WebSocket | Scheme::SecureWebSocket => websocket::start(shared, dial, url),
        // Refused before: there is no `foreign` for it.
        #[cfg(not(feature = "http"))]
        Scheme::WebSocket | Scheme::SecureWebSocket => drop((shared, dial)),
        #[cfg(feature = "zeromq")]
        Scheme::ZeroMq => zeromq::start(shared, dial, url),
        #[cfg(not(feature = "zeromq"))]
        Scheme::ZeroMq => drop((shared, dial)),
        #[cfg(feature = "nats")]
        Scheme::Nats => nats::start(shared, dial, url),
        #[cfg(not(feature = "nats"))]
        Scheme::Nats => drop((shared, dial)),
        Scheme::Native => drop((shared, dial)),
    }
}
