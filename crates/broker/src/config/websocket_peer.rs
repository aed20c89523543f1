//! Options of peerings with WebSocket servers.

use std::path::PathBuf;
use std::time::Duration;

use broker_proto::http::upgrade::is_application_name;

use super::websocket::MESSAGE_BYTES_MAX;
use crate::error::Error;

/// Time from the subscription to the acknowledgement. Zeek waits for its backend, which takes
/// seconds; the original does not answer at all when it dislikes a subscription.
const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// Silence after which a server is asked for a sign of life; after twice that it is given up. Zeek
/// pings every 5 seconds by itself, the original never.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Whom a peering under `wss://` trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WebSocketTrust {
    /// A server whose certificate names the host of the URL and is signed by an authority: those
    /// of [`WebSocketPeerOptions`] if there are any, otherwise those of
    /// [`TlsOptions`](crate::TlsOptions), otherwise those of the system. If the latter options have
    /// a certificate of our own it is shown to servers that ask for one.
    #[default]
    Certificate,
    /// Any server, and the anonymous cipher suite of native peers is offered, which is all that
    /// servers of the original know unless they have certificates. Encrypted, but not
    /// authenticated.
    Anonymous,
    /// Any server with any certificate. Encrypted, but not authenticated.
    Anybody,
}

/// Options of peerings with WebSocket servers, `ws://` and `wss://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketPeerOptions {
    /// Whom to trust under `wss://`.
    pub trust: WebSocketTrust,
    /// PEM file with the authorities that sign certificates of servers, for
    /// [`WebSocketTrust::Certificate`]. Native peers are not concerned.
    pub ca_file: Option<PathBuf>,
    /// Directory with such authorities, hashed as OpenSSL wants it.
    pub ca_path: Option<PathBuf>,
    /// Name of the application for the server's logs and metrics: letters, digits and
    /// `/ _ - . = : * @`.
    pub application: Option<String>,
    /// Whether to offer the subprotocol that loses nothing: times to the nanosecond, strings that
    /// are not UTF-8. Only servers of this project know it.
    pub lossless: bool,
    /// Time a server has to acknowledge the subscription.
    pub ack_timeout: Duration,
    /// Silence after which a server is asked for a sign of life; zero for never.
    pub ping_interval: Duration,
    /// Bytes of a server's message at most.
    pub message_bytes_max: usize,
}

impl Default for WebSocketPeerOptions {
    fn default() -> Self {
        Self {
            trust: WebSocketTrust::Certificate,
            ca_file: None,
            ca_path: None,
            application: None,
            lossless: false,
            ack_timeout: ACK_TIMEOUT,
            ping_interval: PING_INTERVAL,
            message_bytes_max: MESSAGE_BYTES_MAX,
        }
    }
}

impl WebSocketPeerOptions {
    /// Whether there are authorities for servers only.
    pub(crate) fn has_authorities(&self) -> bool {
        self.ca_file.is_some() || self.ca_path.is_some()
    }

    /// Refuses values that could never work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.has_authorities() && self.trust != WebSocketTrust::Certificate {
            return Err(Error::Option {
                name: "web_socket_peer.ca_file or ca_path",
                cause: "nothing is checked unless `trust` is `Certificate`".to_owned(),
            });
        }
        if self.message_bytes_max == 0 {
            return Err(Error::Option {
                name: "web_socket_peer.message_bytes_max",
                cause: "must be at least 1".to_owned(),
            });
        }
        if self.ack_timeout.is_zero() {
            return Err(Error::Option {
                name: "web_socket_peer.ack_timeout",
                cause: "must be more than 0".to_owned(),
            });
        }
        match &self.application {
            Some(name) if !is_application_name(name.as_bytes()) => Err(Error::Option {
                name: "web_socket_peer.application",
                cause: format!("`{name}` has other characters than letters, digits and /_-.=:*@"),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_servers_refuse_are_refused_here() {
        let named = |name: &str| WebSocketPeerOptions {
            application: Some(name.to_owned()),
            ..WebSocketPeerOptions::default()
        };
        assert!(named("my-app/1.0").check().is_ok());
        assert!(named("a\r\nb").check().is_err() && named("").check().is_err());
    }

    #[test]
    fn limits_that_leave_nothing_are_refused() {
        let no_time = WebSocketPeerOptions {
            ack_timeout: Duration::ZERO,
            ..WebSocketPeerOptions::default()
        };
        let no_room = WebSocketPeerOptions {
            message_bytes_max: 0,
            ..WebSocketPeerOptions::default()
        };
        let no_pings = WebSocketPeerOptions {
            ping_interval: Duration::ZERO,
            ..WebSocketPeerOptions::default()
        };
        let no_check = WebSocketPeerOptions {
            trust: WebSocketTrust::Anybody,
            ca_file: Some("ca.pem".into()),
            ..WebSocketPeerOptions::default()
        };
        assert!(no_check.check().is_err());
        assert!(no_time.check().is_err() && no_room.check().is_err());
        assert!(no_pings.check().is_ok());
    }
}
