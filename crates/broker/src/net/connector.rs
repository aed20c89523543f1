//! Outgoing connections: resolve, connect, TLS, then the connection's task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker_proto::endpoint::ConnectionId;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::deadline;
use crate::core::shared::{Gauge, Shared};
use crate::net::socket::{self, Socket};
use crate::peer::link::Link;
use crate::peer::task::{PeerTask, Side};

/// Starts an attempt; its outcome goes to the control plane.
pub(crate) fn start(
    shared: Arc<Shared>,
    connection: ConnectionId,
    link: Arc<Link>,
    host: String,
    port: u16,
) {
    let counted = Gauge::enter(&shared);
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        let deadline = Instant::from_std(deadline(shared.options.handshake_timeout));
        let outcome = tokio::select! {
            outcome = dial(&shared, &host, port, deadline) => outcome,
            // Nobody waits for it any more: the socket goes at once.
            () = link.closing() => return drop(counted),
        };
        match outcome {
            Ok(socket) => {
                if shared.dialed(connection) {
                    let task = PeerTask::new(shared, connection, link, socket, Side::Connector);
                    task.run(deadline.into_std(), None).await;
                }
            }
            Err(failure) => {
                tracing::debug!(event = "dial-failed", host, port, cause = %failure.log());
                shared.dial_failed(connection, failure.cause());
            }
        }
        drop(counted);
    });
}

/// Why an attempt failed.
pub(crate) enum Failure {
    /// Nobody there; the system's words go to the log only.
    Unreachable(String),
    /// Somebody is there, but something is wrong with them or with our set-up.
    Cause(String),
}

impl Failure {
    fn cause(self) -> Option<String> {
        match self {
            Self::Unreachable(_) => None,
            Self::Cause(cause) => Some(cause),
        }
    }

    fn log(&self) -> &str {
        match self {
            Self::Unreachable(cause) | Self::Cause(cause) => cause,
        }
    }
}

async fn dial(
    shared: &Shared,
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<Socket, Failure> {
    let connecting = connect(host, port, shared.options.connect_timeout);
    let stream = match timeout_at(deadline, connecting).await {
        Ok(connected) => connected?,
        // Each address has its own limit, so it is the name that takes so long.
        Err(_) => {
            return Err(Failure::Cause(format!(
                "`{host}` was not resolved and reached in time"
            )));
        }
    };
    socket::configure(&stream, shared.liveness());
    secure(shared, stream, deadline).await
}

pub(crate) async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, Failure> {
    let addresses = resolve(host, port)
        .await
        .map_err(|error| Failure::Cause(unresolved(host, &error)))?;
    let mut last = Failure::Cause(format!("`{host}` has no address"));
    for address in addresses {
        last = match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            // The one failure that the original's text is about. See ADR 0016.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Failure::Unreachable(format!("{address}: {error}"))
            }
            Ok(Err(error)) => Failure::Cause(format!("cannot connect to {address}: {error}")),
            Err(_) => Failure::Cause(format!(
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
    match has_port {
        true => format!("cannot resolve `{host}`: a host has no port in it"),
        false => format!("cannot resolve `{host}`: {error}"),
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

#[cfg(feature = "tls")]
async fn secure(shared: &Shared, stream: TcpStream, deadline: Instant) -> Result<Socket, Failure> {
    let set_up = shared.tls();
    let Some(tls) = set_up.map_err(|error| Failure::Cause(error.to_string()))? else {
        return Ok(Socket::Plain(stream));
    };
    match timeout_at(
        deadline,
        tls.handshake(stream, crate::net::tls::Role::Connector),
    )
    .await
    {
        Ok(Ok(stream)) => Ok(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(Failure::Cause(error.cause)),
        Err(_) => Err(Failure::Cause(format!(
            "the other side did not answer the TLS handshake within {} s",
            shared.options.handshake_timeout.as_secs_f64()
        ))),
    }
}

#[cfg(not(feature = "tls"))]
async fn secure(_: &Shared, stream: TcpStream, _: Instant) -> Result<Socket, Failure> {
    Ok(Socket::Plain(stream))
}
