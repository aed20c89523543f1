//! The server for WebSocket clients: its listener, and what becomes of a connection.
//!
//! A stranger holds one of few permits and has one deadline for all of it; what it sends before is
//! bounded by the size of a head. Spec: websocket 1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker_proto::http::upgrade::{ApplicationName, Bearer, Rejection, Upgrade};
use broker_proto::json::server::Close;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tungstenite::protocol::Role;

use super::handshake::{self, Refusal, Upgraded};
use super::session::Session;
use super::stream::WebSocketStream;
use crate::config::{MAILBOX_MESSAGES_MAX, Overflow, deadline};
use crate::config::{WebSocketOptions, WebSocketTls};
use crate::core::gate::{Gate, Pass, Unknown};
use crate::core::listeners::{Listener, ListenerKind};
use crate::core::pending::Resolver;
use crate::core::shared::{Gauge, Shared};
use crate::core::websocket_counts::UNKNOWN;
use crate::error::Error;
use crate::flow::mailbox::Limits;
use crate::net::certificate_names::Shown;
use crate::net::listener;
use crate::net::socket::{self, Liveness, Socket};
#[cfg(feature = "tls")]
use crate::net::tls::Tls;

/// Bytes of a client that has not subscribed yet: a subscription with the longest sensible topics,
/// and little enough for strangers to hold.
const SUBSCRIPTION_BYTES_MAX: usize = 128 * 1024;

/// What all clients of one listener have in common.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) options: WebSocketOptions,
    /// Bounds of a client's mailbox.
    pub(super) limits: Limits,
    /// One permit per client.
    pub(super) clients: Arc<Semaphore>,
    /// Who may do what.
    pub(super) gate: Option<Arc<Gate>>,
    /// Where clients come in.
    pub(super) port: u16,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
}

impl Server {
    /// How soon it is noticed that a client vanished.
    pub(super) fn liveness(&self, shared: &Shared) -> Liveness {
        Liveness {
            // As with peers: a client that may miss messages may also take its time.
            unread_counts: self.options.overflow == Overflow::Disconnect,
            ..shared.liveness()
        }
    }

    /// The set-up of TLS, if it is not that of native peers.
    #[cfg(feature = "tls")]
    fn own_tls(&self) -> Option<Tls> {
        let is_own = matches!(self.options.tls, WebSocketTls::Enabled(_));
        self.tls.clone().filter(|_| is_own)
    }

    /// Makes a client a principal, if there is a policy.
    pub(super) fn admit(
        &self,
        request: &Upgrade,
        shown: &Shown,
        remote: SocketAddr,
    ) -> Result<Option<Pass>, Rejection> {
        let Some(gate) = &self.gate else {
            return Ok(None);
        };
        let bearer = request.bearer.as_ref().map(Bearer::reveal);
        match gate.admit(bearer, shown, remote.ip(), self.port) {
            Ok(pass) => Ok(Some(pass)),
            Err(Unknown::Unauthorized) => Err(Rejection::Unauthorized),
            Err(Unknown::TooMany) => Err(Rejection::TooManyAttempts),
        }
    }

    pub(super) fn new(shared: &Shared, options: WebSocketOptions) -> Result<Self, Error> {
        options.check()?;
        Ok(Self {
            gate: shared.gate.clone(),
            port: 0,
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

/// Starts a server on a socket that is bound already; returns its port.
pub(crate) fn start_given(
    shared: &Arc<Shared>,
    listener: std::net::TcpListener,
    options: WebSocketOptions,
) -> Result<u16, Error> {
    let server = Server::new(shared, options)?;
    let bound = {
        let _runtime = shared.runtime.enter();
        listener::take_over(listener)
    };
    run(shared, server, bound, listener::GIVEN.to_owned(), 0)
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
    mut server: Server,
    bound: io::Result<TcpListener>,
    address: String,
    port: u16,
) -> Result<u16, Error> {
    let kind = ListenerKind::WebSocket;
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (bound, listener) =
        bound.map_err(|cause| shared.cannot_listen(kind, address, port, cause))?;
    server.port = bound.port();
    let mut control = shared.lock_control();
    let server = Arc::new(server);
    let task = shared
        .runtime
        .spawn(accept(shared.clone(), server.clone(), listener));
    if control.add_listener(Listener {
        kind,
        address: bound,
        task,
        #[cfg(feature = "tls")]
        tls: server.own_tls(),
    }) {
        Ok(bound.port())
    } else {
        Err(Error::ShutDown)
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

async fn serve(
    shared: &Arc<Shared>,
    server: Arc<Server>,
    stream: TcpStream,
    remote: SocketAddr,
    pending: OwnedSemaphorePermit,
) {
    let deadline = Instant::from_std(deadline(shared.options.handshake_timeout));
    socket::configure(&stream, server.liveness(shared));
    let handshake = async {
        let mut socket = handshake::secure(&server, stream, remote, deadline).await?;
        let request = async {
            let head = handshake::read_head(&mut socket).await?;
            handshake::upgrade(&server, &mut socket, remote, head).await
        };
        let outcome = timeout_at(deadline, request).await;
        match outcome.unwrap_or(Err(Refusal::TimedOut)) {
            Ok(upgraded) => Some((socket, upgraded)),
            Err(refusal) => {
                if !matches!(refusal, Refusal::Gone) {
                    shared.web_sockets.count_refusal();
                }
                handshake::refuse(socket, remote, &refusal).await;
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
    converse(shared, server, socket, remote, upgraded, pending).await;
}

/// Serves a client from the upgrade to the end.
pub(super) async fn converse(
    shared: &Arc<Shared>,
    server: Arc<Server>,
    socket: Socket,
    remote: SocketAddr,
    upgraded: Upgraded,
    pending: OwnedSemaphorePermit,
) {
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
        upgraded.pass,
    );
    match (session, refused) {
        (Some(session), None) => session.run(pending).await,
        (Some(session), Some(close)) => session.turn_away(close).await,
        (None, _) => {}
    }
    drop(upgraded.client);
}
