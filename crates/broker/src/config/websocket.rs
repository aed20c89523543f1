//! Options of the server for WebSocket clients.

use std::ffi::OsString;
use std::time::Duration;

use crate::config::{Overflow, TlsOptions};
use crate::error::Error;

/// Messages that wait for one client: a second of a busy sensor. The original has 512, which a
/// burst of a millisecond fills, and Zeek asks it for 8192.
pub(super) const BUFFER_MESSAGES_MAX: usize = 65_536;

/// Bytes of messages that wait for one client, in their binary form, which clients share. JSON
/// takes three to five times that.
pub(super) const BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest message of a client. Zeek's events have kilobytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Clients of one server.
pub(super) const CLIENTS_MAX: usize = 1000;

/// Connections let in per second; more wait in the system's queue.
pub(super) const CONNECTS_PER_SECOND_MAX: u32 = 256;

/// Time from the end of the handshake to the subscription.
pub(super) const SUBSCRIPTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence after which a client is asked for a sign of life. Zeek asks every 5 seconds; common
/// proxies cut connections that are silent for a minute.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Whether and how a WebSocket server encrypts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WebSocketTls {
    /// As the endpoint does with its peers: plain, anonymous, or with certificates on both sides.
    #[default]
    AsNative,
    /// Plain `ws://`.
    Disabled,
    /// `wss://` with this set-up. Clients need a certificate only if there is an authority to
    /// check it with. Without a certificate it is anonymous, which few clients can do.
    Enabled(TlsOptions),
}

/// Options of a server for WebSocket clients.
///
/// ```
/// use broker::{WebSocketOptions, WebSocketTls};
///
/// let endpoint = broker::Endpoint::new()?;
/// let options = WebSocketOptions { tls: WebSocketTls::Disabled, ..WebSocketOptions::default() };
/// let port = endpoint.listen_ws_with("127.0.0.1", 0, options).wait()?;
/// assert_ne!(port, 0);
/// # endpoint.shutdown().wait();
/// # Ok::<(), broker::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// Port of a server that starts with the endpoint; `None` for none.
    pub port: Option<u16>,
    /// Address of that server; empty for all interfaces.
    pub address: String,
    /// Encryption.
    pub tls: WebSocketTls,
    /// Messages that wait for one client at most.
    pub buffer_size: usize,
    /// Bytes of these messages, in their binary form.
    pub buffer_bytes_max: usize,
    /// What happens to a client whose buffer is full. Nobody waits for it, unless this is
    /// [`Overflow::Block`]. A client that is cut off is told: an error message, then close code
    /// 1013.
    pub overflow: Overflow,
    /// Bytes of a client's message at most.
    pub message_bytes_max: usize,
    /// Clients at most; others are refused with status 503.
    pub clients_max: usize,
    /// Connections let in per second at most, after a burst of as many; 0 for any number.
    pub connects_per_second_max: u32,
    /// Time a client has to subscribe.
    pub subscription_timeout: Duration,
    /// Silence after which a client is sent a ping; zero for never.
    pub ping_interval: Duration,
    /// Time after a ping for anything to come back, or the client is given up; zero for any time.
    /// Clients that only publish may never look for pings, so the default is zero. A client whose
    /// host is gone is noticed by the system, see
    /// [`dead_peer_timeout`](crate::Options::dead_peer_timeout).
    pub ping_timeout: Duration,
    /// Origins whose scripts may connect, for example `https://dashboard.example`; `None` for all.
    /// Programs that are no browsers name no origin and are let in.
    pub origins: Option<Vec<String>>,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self {
            port: None,
            address: String::new(),
            tls: WebSocketTls::AsNative,
            buffer_size: BUFFER_MESSAGES_MAX,
            buffer_bytes_max: BUFFER_BYTES_MAX,
            overflow: Overflow::Disconnect,
            message_bytes_max: MESSAGE_BYTES_MAX,
            clients_max: CLIENTS_MAX,
            connects_per_second_max: CONNECTS_PER_SECOND_MAX,
            subscription_timeout: SUBSCRIPTION_TIMEOUT,
            ping_interval: PING_INTERVAL,
            ping_timeout: Duration::ZERO,
            origins: None,
        }
    }
}

impl WebSocketOptions {
    /// What `BROKER_WEB_SOCKET_PORT` changes. Spec: tools 1.4.
    pub(crate) fn take_variables(
        &mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), Error> {
        const NAME: &str = "BROKER_WEB_SOCKET_PORT";
        if let Some(value) = variable(NAME) {
            let text = value.to_string_lossy();
            let number = text.strip_suffix("/tcp").unwrap_or(&text);
            // The original takes what is no number for 0 and opens any port.
            let port = number.parse();
            let port = port.map_err(|_| Error::variable(NAME, &text, "a port number"))?;
            self.port = Some(port);
        }
        Ok(())
    }

    /// Refuses values that could never work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let positive = |name, value: usize| match value {
            0 => Err(Error::Option {
                name,
                cause: "must be at least 1".to_owned(),
            }),
            _ => Ok(()),
        };
        positive("web_socket.buffer_size", self.buffer_size)?;
        positive("web_socket.buffer_bytes_max", self.buffer_bytes_max)?;
        positive("web_socket.message_bytes_max", self.message_bytes_max)?;
        positive("web_socket.clients_max", self.clients_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_a_port() {
        let parse = |text: &str| {
            let mut options = WebSocketOptions::default();
            let taken = options.take_variables(|_| Some(text.into()));
            taken.map(|()| options)
        };
        assert_eq!(parse("9997").unwrap().port, Some(9997));
        assert_eq!(parse("9997/tcp").unwrap().port, Some(9997));
        for text in ["abc", "", "65536", "9997/udp", "-1"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("BROKER_WEB_SOCKET_PORT"), "{error}");
        }
        let mut none = WebSocketOptions::default();
        none.take_variables(|_| None).unwrap();
        assert_eq!(none, WebSocketOptions::default());
    }

    #[test]
    fn limits_of_zero_are_refused() {
        let options = WebSocketOptions {
            clients_max: 0,
            ..WebSocketOptions::default()
        };
        assert!(options.check().is_err());
    }
}
