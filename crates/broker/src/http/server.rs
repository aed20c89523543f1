//! From a TCP connection to a WebSocket: TLS, the HTTP request, refusals.
//!
//! A stranger holds one of few permits and has one deadline for all of it; what it sends before is
//! bounded by the size of a head. Spec: websocket 1.1.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker_proto::http::head::{HEAD_BYTES_MAX, HeadError, RequestHead, head_size, text_response};
use broker_proto::http::upgrade::{ApplicationName, Rejection, Upgrade};
use broker_proto::json::server::Close;
use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use super::session::Session;
use super::stream::WebSocketStream;
use crate::config::{MAILBOX_MESSAGES_MAX, Overflow, deadline};
use crate::config::{WebSocketOptions, WebSocketTls};
use crate::core::pending::Resolver;
use crate::core::shared::{Gauge, Shared};
use crate::core::websocket_counts::UNKNOWN;
use crate::error::Error;
use crate::flow::mailbox::Limits;
use crate::net::listener;
use crate::net::socket::{self, Liveness, Socket};
#[cfg(feature = "tls")]
use crate::net::tls::{Role as TlsRole, Tls};

/// Bytes of a client that has not subscribed yet: a subscription with the longest sensible topics,
/// and little enough for strangers to hold.
const SUBSCRIPTION_BYTES_MAX: usize = 128 * 1024;

/// What all clients of one listener have in common.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) options: WebSocketOptions,
    /// Bounds of a client's mailbox.
    pub(super) limits: Limits,
    clients: Arc<Semaphore>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Server {
    fn new(shared: &Shared, options: WebSocketOptions) -> Result<Self, Error> {
        options.check()?;
        Ok(Self {
            limits: Limits {
                bytes_max: options.buffer_bytes_max,
                messages_max: options.buffer_size.min(MAILBOX_MESSAGES_MAX),
                overflow: options.overflow,
                stall_limit: shared.options.stall_limit,
                // A client must not slow down those it gets its messages from.
                strict: options.overflow != Overflow::Block,
                translated: true,
            },
            clients: Arc::new(Semaphore::new(
                options.clients_max.min(Semaphore::MAX_PERMITS),
            )),
            #[cfg(feature = "tls")]
            tls: match &options.tls {
                WebSocketTls::AsNative => shared.tls()?.cloned(),
                WebSocketTls::Disabled => None,
                WebSocketTls::Enabled(options) => Some(Tls::for_web_clients(options)?),
            },
            options: match options.tls {
                #[cfg(not(feature = "tls"))]
                WebSocketTls::Enabled(_) => {
                    let cause = "this build has no TLS".to_owned();
                    return Err(Error::Tls { cause });
                }
                _ => options,
            },
        })
    }
}

/// Binds a listener and starts a server on it; resolves to its port.
pub(crate) fn start(
    shared: &Arc<Shared>,
    address: String,
    port: u16,
    options: WebSocketOptions,
    resolver: Resolver<Result<u16, Error>>,
) {
    let server = match Server::new(shared, options) {
        Ok(server) => server,
        Err(error) => return resolver.resolve(Err(error)),
    };
    let shared = shared.clone();
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        let bound = listener::bind(&address, port).await;
        resolver.resolve(run(&shared, server, bound, address, port));
    });
}

/// Starts the server that the options of the endpoint ask for, if any. Spec: endpoint 1.
pub(crate) fn start_configured(shared: &Arc<Shared>) -> Result<(), Error> {
    let options = shared.options.web_socket.clone();
    let Some(port) = options.port else {
        return Ok(());
    };
    let address = options.address.clone();
    let server = Server::new(shared, options)?;
    let bound = {
        let _runtime = shared.runtime.enter();
        listener::bind_now(&address, port)
    };
    run(shared, server, bound, address, port).map(|port| {
        tracing::info!(event = "web-socket-listening", port);
    })
}

fn run(
    shared: &Arc<Shared>,
    server: Server,
    bound: io::Result<TcpListener>,
    address: String,
    port: u16,
) -> Result<u16, Error> {
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
    let (bound, listener) = bound.map_err(|cause| shared.cannot_listen(address, port, cause))?;
    let mut control = shared.lock_control();
    let task = accept(shared.clone(), Arc::new(server), listener);
    match control.add_listener(shared.runtime.spawn(task)) {
        true => Ok(bound),
        false => Err(Error::ShutDown),
    }
}

async fn accept(shared: Arc<Shared>, server: Arc<Server>, listener: TcpListener) {
    let pending = Arc::new(Semaphore::new(shared.options.pending_connections_max));
    let pace = match server.options.connects_per_second_max {
        0 => Duration::ZERO,
        rate => Duration::from_secs(1) / rate,
    };
    let start = |stream, remote, permit| {
        let counted = Gauge::enter(&shared);
        let (shared, server) = (shared.clone(), server.clone());
        let runtime = shared.runtime.clone();
        runtime.spawn(async move {
            serve(&shared, server, stream, remote, permit).await;
            drop(counted);
        });
    };
    listener::accept(listener, pending, pace, start).await;
}

/// Why a connection does not become a WebSocket.
enum Refusal {
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

async fn serve(
    shared: &Arc<Shared>,
    server: Arc<Server>,
    stream: TcpStream,
    remote: SocketAddr,
    pending: OwnedSemaphorePermit,
) {
    let deadline = Instant::from_std(deadline(shared.options.handshake_timeout));
    let liveness = Liveness {
        // As with peers: a client that may miss messages may also take its time.
        unread_counts: server.options.overflow == Overflow::Disconnect,
        ..shared.liveness()
    };
    socket::configure(&stream, liveness);
    let handshake = async {
        let mut socket = secure(&server, stream, remote, deadline).await?;
        let outcome = timeout_at(deadline, upgrade(&server, &mut socket)).await;
        match outcome.unwrap_or(Err(Refusal::TimedOut)) {
            Ok(upgraded) => Some((socket, upgraded)),
            Err(refusal) => {
                refuse(shared, socket, remote, &refusal).await;
                None
            }
        }
    };
    let handshaken = tokio::select! {
        handshaken = handshake => handshaken,
        () = shared.until_shutdown() => return,
    };
    let Some((socket, upgraded)) = handshaken else {
        return;
    };
    let stream = WebSocketStream::new(
        socket,
        upgraded.read_ahead,
        Role::Server,
        SUBSCRIPTION_BYTES_MAX.min(server.options.message_bytes_max),
    );
    let (application, refused) = match &upgraded.request.application {
        ApplicationName::Unknown => (UNKNOWN, None),
        ApplicationName::Named(name) => (name.as_str(), None),
        ApplicationName::Invalid => (UNKNOWN, Some(Close::invalid_application_name())),
    };
    let session = Session::new(
        shared.clone(),
        server,
        stream,
        remote,
        application,
        upgraded.request.protocol,
    );
    match (session, refused) {
        (Some(session), None) => session.run(pending).await,
        (Some(session), Some(close)) => session.turn_away(close).await,
        (None, _) => {}
    }
    drop(upgraded.client);
}

#[cfg(feature = "tls")]
async fn secure(
    server: &Server,
    stream: TcpStream,
    remote: SocketAddr,
    deadline: Instant,
) -> Option<Socket> {
    let Some(tls) = &server.tls else {
        return Some(Socket::Plain(stream));
    };
    let handshake = tls.handshake(stream, TlsRole::Acceptor);
    let cause = match timeout_at(deadline, handshake).await {
        Ok(Ok(stream)) => return Some(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) => error.cause,
        Err(_) => "the TLS handshake took too long".to_owned(),
    };
    tracing::info!(event = "web-socket-refused", %remote, cause);
    None
}

#[cfg(not(feature = "tls"))]
async fn secure(_: &Server, stream: TcpStream, _: SocketAddr, _: Instant) -> Option<Socket> {
    Some(Socket::Plain(stream))
}

/// A connection that speaks WebSocket from now on.
struct Upgraded {
    request: Upgrade,
    /// What came behind the request already.
    read_ahead: Vec<u8>,
    /// The place among the clients.
    client: OwnedSemaphorePermit,
}

async fn upgrade(server: &Server, socket: &mut Socket) -> Result<Upgraded, Refusal> {
    let mut head = BytesMut::with_capacity(HEAD_BYTES_MAX);
    let size = loop {
        head.reserve(HEAD_BYTES_MAX);
        if poll_fn(|cx| socket.poll_read(cx, &mut head)).await? == 0 {
            return Err(Refusal::Gone);
        }
        // TLS, or another protocol: it would wait for us to answer.
        if !head.first().is_some_and(u8::is_ascii_alphabetic) {
            return Err(HeadError::Method.into());
        }
        if let Some(size) = head_size(&head)? {
            break size;
        }
    };
    let read_ahead = head.split_off(size).to_vec();
    let request = Upgrade::of(
        &RequestHead::parse(&head)?,
        server.options.origins.as_deref(),
    )?;
    let client = server.clients.clone().try_acquire_owned();
    let client = client.map_err(|_| Rejection::TooMany)?;
    let accept = derive_accept_key(request.key.as_bytes());
    socket::write_all(socket, request.response(&accept).as_bytes()).await?;
    Ok(Upgraded {
        request,
        read_ahead,
        client,
    })
}

async fn refuse(shared: &Shared, mut socket: Socket, remote: SocketAddr, refusal: &Refusal) {
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
    shared.web_sockets.count_refusal();
    tracing::info!(event = "web-socket-refused", %remote, cause);
    let answer = socket::write_all(&mut socket, response.as_bytes());
    let _ = timeout(socket::LINGER_TIMEOUT, answer).await;
    socket::linger(&mut socket).await;
}
