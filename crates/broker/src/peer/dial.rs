//! From an address to the task of a peer: connect, TLS.

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::config::deadline;
use crate::core::hooks::Dial;
use crate::core::link::Side;
use crate::core::shared::Shared;
use crate::net::connector::{ConnectFailure, connect};
use crate::net::socket::{self, Socket};
#[cfg(feature = "tls")]
use crate::net::tls::Role;
use crate::peer::task::PeerTask;
use crate::store::Node;

/// Starts an attempt; its outcome goes to the control plane.
pub(crate) fn start(node: Node, dial: Dial, host: String, port: u16) {
    let Dial {
        connection,
        link,
        counted,
        ..
    } = dial;
    let runtime = node.shared.runtime.clone();
    runtime.spawn(async move {
        let shared = &node.shared;
        let deadline = Instant::from_std(deadline(shared.options.handshake_timeout));
        let outcome = tokio::select! {
            outcome = reach(shared, &host, port, deadline) => outcome,
            // Nobody waits for it any more: the socket goes at once.
            () = link.closing() => return drop(counted),
        };
        match outcome {
            Ok(socket) => {
                if shared.dialed(connection) {
                    let task = PeerTask::new(node, connection, link, socket, Side::Connector);
                    task.run(deadline.into_std(), None).await;
                }
            }
            Err(failure) => {
                tracing::debug!(event = "dial-failed", host, port, cause = %failure.log());
                shared.dial_failed(connection, failure.fault());
            }
        }
        drop(counted);
    });
}

async fn reach(
    shared: &Shared,
    host: &str,
    port: u16,
    deadline: Instant,
) -> Result<Socket, ConnectFailure> {
    let connecting = connect(host, port, shared.options.connect_timeout);
    let stream = match timeout_at(deadline, connecting).await {
        Ok(connected) => connected?,
        // Each address has its own limit, so it is the name that takes so long.
        Err(_) => {
            return Err(ConnectFailure::Absent(format!(
                "`{host}` was not resolved and reached in time"
            )));
        }
    };
    socket::configure(&stream, shared.liveness());
    secure(shared, stream, deadline).await
}

#[cfg(feature = "tls")]
async fn secure(
    shared: &Shared,
    stream: TcpStream,
    deadline: Instant,
) -> Result<Socket, ConnectFailure> {
    let set_up = shared.tls();
    let Some(tls) = set_up.map_err(|error| ConnectFailure::Refused(error.to_string()))? else {
        return Ok(Socket::Plain(stream));
    };
    match timeout_at(deadline, tls.handshake(stream, Role::Connector)).await {
        Ok(Ok(stream)) => Ok(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(ConnectFailure::Refused(error.cause)),
        Err(_) => Err(ConnectFailure::Refused(format!(
            "the other side did not answer the TLS handshake within {} s",
            shared.options.handshake_timeout.as_secs_f64()
        ))),
    }
}

#[cfg(not(feature = "tls"))]
async fn secure(_: &Shared, stream: TcpStream, _: Instant) -> Result<Socket, ConnectFailure> {
    Ok(Socket::Plain(stream))
}
