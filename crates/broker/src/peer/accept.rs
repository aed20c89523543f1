//! From an incoming connection to the task of a peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::config::deadline;
use crate::core::gate::{Gate, PeerPass};
use crate::core::link::Side;
use crate::core::shared::{Gauge, Shared};
use crate::net::certificate_names::shown_on;
use crate::net::listener;
use crate::net::socket::{self, Socket};
#[cfg(feature = "tls")]
use crate::net::tls::Role;
use crate::peer::task::PeerTask;
use crate::store::Node;

/// Accepts peers until the task is aborted.
pub(crate) async fn run(node: Node, listener: TcpListener) {
    let pending = node.shared.pending.clone();
    let start = |stream, remote, permit| start(&node, stream, remote, permit);
    listener::accept(listener, pending, Duration::ZERO, start).await;
}

fn start(node: &Node, stream: TcpStream, remote: SocketAddr, permit: OwnedSemaphorePermit) {
    let counted = Gauge::enter(&node.shared);
    let node = node.clone();
    let runtime = node.shared.runtime.clone();
    runtime.spawn(async move {
        serve(node, stream, remote, permit).await;
        drop(counted);
    });
}

async fn serve(node: Node, stream: TcpStream, remote: SocketAddr, permit: OwnedSemaphorePermit) {
    let shared = &node.shared;
    let deadline = Instant::from_std(deadline(shared.options.handshake_timeout));
    socket::configure(&stream, shared.liveness());
    let port = stream.local_addr().map_or(0, |address| address.port());
    let socket = tokio::select! {
        socket = secure(shared, stream, remote, deadline) => socket,
        () = shared.until_shutdown() => None,
    };
    let Some(socket) = socket else { return };
    let pass = match admit(shared, &socket, remote, port) {
        Ok(pass) => pass,
        Err(cause) => return shared.refused(remote, cause),
    };
    let accepted = shared.accepted(listener::network_address(remote), pass);
    let Some((connection, link)) = accepted else {
        return;
    };
    let task = PeerTask::new(node, connection, link, socket, Side::Acceptor);
    task.run(deadline.into_std(), Some(permit)).await;
}

/// Makes a connection that of a principal, if there is a policy.
fn admit(
    shared: &Shared,
    socket: &Socket,
    remote: SocketAddr,
    port: u16,
) -> Result<Option<PeerPass>, &'static str> {
    let gate = shared.gate.as_ref();
    let admit = |gate: &Arc<Gate>| gate.admit_peer(&shown_on(socket), remote.ip(), port);
    gate.map(admit).transpose()
}

#[cfg(feature = "tls")]
async fn secure(
    shared: &Arc<Shared>,
    stream: TcpStream,
    remote: SocketAddr,
    deadline: Instant,
) -> Option<Socket> {
    let tls = match shared.tls() {
        Ok(Some(tls)) => tls,
        Ok(None) => return Some(Socket::Plain(stream)),
        Err(error) => {
            shared.refused(remote, &error.to_string());
            return None;
        }
    };
    let handshake = tls.handshake(stream, Role::Acceptor);
    let cause = match tokio::time::timeout_at(deadline, handshake).await {
        Ok(Ok(stream)) => return Some(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) if error.silent => {
            shared.left_silently();
            return None;
        }
        Ok(Err(error)) => error.cause,
        Err(_) => format!(
            "the TLS handshake was not over within {} s",
            shared.options.handshake_timeout.as_secs_f64()
        ),
    };
    if let Some(gate) = &shared.gate {
        gate.refused(remote.ip(), &cause);
    }
    shared.refused(remote, &cause);
    None
}

#[cfg(not(feature = "tls"))]
async fn secure(_: &Arc<Shared>, stream: TcpStream, _: SocketAddr, _: Instant) -> Option<Socket> {
    Some(Socket::Plain(stream))
}
