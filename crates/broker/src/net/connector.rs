//! Outgoing connections: resolve and connect.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use broker_proto::endpoint::{DialFault, PeerFailure};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why an attempt failed.
pub(crate) enum ConnectFailure {
    /// Nobody there; the system's words go to the log only.
    Unreachable(String),
    /// Nobody was reached, for a reason that the caller is to know.
    Absent(String),
    /// Somebody is there, but something is wrong with them or with our set-up.
    #[cfg_attr(
        not(any(feature = "tls", feature = "http")),
        expect(dead_code, reason = "only TLS and WebSocket servers refuse a dial")
    )]
    Refused(String),
}

impl ConnectFailure {
    pub(crate) const fn kind(&self) -> PeerFailure {
        match self {
            Self::Unreachable(_) | Self::Absent(_) => PeerFailure::Unreachable,
            Self::Refused(_) => PeerFailure::Refused,
        }
    }

    /// What the state machine is told.
    pub(crate) fn fault(self) -> Option<DialFault> {
        let failure = self.kind();
        match self {
            Self::Unreachable(_) => None,
            Self::Absent(text) | Self::Refused(text) => Some(DialFault { failure, text }),
        }
    }

    pub(crate) fn log(&self) -> &str {
        match self {
            Self::Unreachable(cause) | Self::Absent(cause) | Self::Refused(cause) => cause,
        }
    }
}

/// Connects to the first address of a host that answers; each has `limit`.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<TcpStream, ConnectFailure> {
    let addresses = resolve(host, port)
        .await
        .map_err(|error| ConnectFailure::Absent(unresolved(host, &error)))?;
    let mut last = ConnectFailure::Absent(format!("`{host}` has no address"));
    for address in addresses {
        last = match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            // The one failure that the original's text is about. See ADR 0016.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                ConnectFailure::Unreachable(format!("{address}: {error}"))
            }
            Ok(Err(error)) => {
                ConnectFailure::Absent(format!("cannot connect to {address}: {error}"))
            }
            Err(_) => ConnectFailure::Absent(format!(
                "no answer from {address} within {} s",
                limit.as_secs_f64()
            )),
        };
    }
    Err(last)
}

/// Says that a name has no address, and what the matter may be.
fn unresolved(host: &str, error: &io::Error) -> String {
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(name, port)| !name.contains(':') && port.parse::<u16>().is_ok());
    if has_port {
        format!("cannot resolve `{host}`: a host has no port in it")
    } else {
        format!("cannot resolve `{host}`: {error}")
    }
}

/// The addresses of a host; numeric ones need no resolver.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}
