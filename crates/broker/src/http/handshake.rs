//! From a TCP connection to a WebSocket, piece by piece: TLS, the head of a request, the upgrade, or a
//! refusal. Spec: websocket 1.1.
//!
//! What a stranger sends until then is bounded by the size of a head.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use broker_proto::http::head::{HEAD_BYTES_MAX, HeadError, RequestHead, head_size, text_response};
use broker_proto::http::upgrade::{Rejection, Upgrade};
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
#[cfg(feature = "tls")]
use tokio::time::timeout_at;
use tokio::time::{Instant, sleep, timeout};
use tungstenite::handshake::derive_accept_key;

use super::server::Server;
use crate::core::gate::{FAILURE_DELAY, Pass};
use crate::net::certificate_names::shown_on;
use crate::net::socket::{self, Socket};
#[cfg(feature = "tls")]
use crate::net::tls::Role;

/// Why a connection does not become a WebSocket.
pub(super) enum Refusal {
    Rejected(Rejection),
    /// Nothing came in time.
    TimedOut,
    /// It is gone.
    Gone,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self::Rejected(error.into())
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// TLS, where the server has it. `None`: it failed, and the log says how.
#[cfg(feature = "tls")]
pub(super) async fn secure(
    server: &Server,
    stream: TcpStream,
    remote: SocketAddr,
    deadline: Instant,
) -> Option<Socket> {
    let Some(tls) = &server.tls else {
        return Some(Socket::Plain(stream));
    };
    let handshake = tls.handshake(stream, Role::Acceptor);
    let cause = match timeout_at(deadline, handshake).await {
        Ok(Ok(stream)) => return Some(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) => error.cause,
        Err(_) => "the TLS handshake took too long".to_owned(),
    };
    if let Some(gate) = &server.gate {
        gate.refused(remote.ip(), &cause);
    }
    tracing::info!(event = "web-socket-refused", %remote, cause);
    None
}

#[cfg(not(feature = "tls"))]
pub(super) async fn secure(
    _: &Server,
    stream: TcpStream,
    _: SocketAddr,
    _: Instant,
) -> Option<Socket> {
    Some(Socket::Plain(stream))
}

/// The head of a request, and what came behind it already.
pub(super) struct Head {
    bytes: BytesMut,
    read_ahead: BytesMut,
}

/// Reads the head of a request.
pub(super) async fn read_head(socket: &mut Socket) -> Result<Head, Refusal> {
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES_MAX);
    loop {
        bytes.reserve(HEAD_BYTES_MAX);
        if poll_fn(|cx| socket.poll_read(cx, &mut bytes)).await? == 0 {
            return Err(Refusal::Gone);
        }
        // TLS, or another protocol: it would wait for us to answer.
        if !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
            return Err(HeadError::Method.into());
        }
        if let Some(size) = head_size(&bytes)? {
            let read_ahead = bytes.split_off(size);
            return Ok(Head { bytes, read_ahead });
        }
    }
}

/// A connection that speaks WebSocket from now on.
pub(super) struct Upgraded {
    pub(super) request: Upgrade,
    /// What came behind the request already.
    pub(super) read_ahead: Vec<u8>,
    /// The place among the clients.
    pub(super) client: OwnedSemaphorePermit,
    /// What it may do, if there is a policy.
    pub(super) pass: Option<Pass>,
}

/// Judges a request for a WebSocket, and answers it if it is one.
pub(super) async fn upgrade(
    server: &Server,
    socket: &mut Socket,
    remote: SocketAddr,
    head: Head,
) -> Result<Upgraded, Refusal> {
    let request = Upgrade::of(
        &RequestHead::parse(&head.bytes)?,
        server.options.origins.as_deref(),
    )?;
    let pass = server.admit(&request, &shown_on(socket), remote)?;
    let client = server.clients.clone().try_acquire_owned();
    let client = client.map_err(|_| Rejection::TooMany)?;
    let accept = derive_accept_key(request.key.as_bytes());
    socket::write_all(socket, request.response(&accept).as_bytes()).await?;
    Ok(Upgraded {
        request,
        read_ahead: head.read_ahead.to_vec(),
        client,
        pass,
    })
}

/// Tells the other side why, if it can be told, and ends the connection.
pub(super) async fn refuse(mut socket: Socket, remote: SocketAddr, refusal: &Refusal) {
    let (cause, response) = match refusal {
        Refusal::Rejected(rejection) => (rejection.to_string(), rejection.response()),
        Refusal::TimedOut => {
            let text = "The request did not come in time.";
            let fields = &[("Connection", "close")];
            let response = text_response((408, "Request Timeout"), fields, text);
            (text.to_owned(), response)
        }
        Refusal::Gone => return,
    };
    tracing::info!(event = "web-socket-refused", %remote, cause);
    if matches!(refusal, Refusal::Rejected(Rejection::Unauthorized)) {
        sleep(FAILURE_DELAY).await;
    }
    let answer = socket::write_all(&mut socket, response.as_bytes());
    let _ = timeout(socket::LINGER_TIMEOUT, answer).await;
    socket::linger(&mut socket).await;
}
