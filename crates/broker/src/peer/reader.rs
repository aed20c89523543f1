//! The reading half of a connection: bytes from its socket, the handshake frame by frame, and whatever
//! comes behind it to the router.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_proto::endpoint::{Closed, ConnectionId};
use broker_proto::frame::{FRAME_LEN_SIZE, frame_size};
use bytes::BytesMut;
use tokio::time::{Sleep, sleep};

use crate::core::link::{Link, Side, ended};
use crate::core::shared::Shared;
use crate::net::socket::{Socket, alert};
use crate::peer::read_buffers::ReadBuffers;
use crate::peer::router::Router;
use crate::store::Node;

/// Read buffer of a stranger, and of a connection with little traffic.
const READ_SIZE_MIN: usize = 4 * 1024;

/// Read buffer of a busy connection: one system call moves hundreds of small messages. Larger ones
/// gain nothing and cost more while they are not in the processor's caches.
const READ_SIZE_MAX: usize = 64 * 1024;

/// Handshake frames up to this size need no permission. A filter of a thousand topics fits.
const HANDSHAKE_FRAME_MAX: usize = 32 * 1024;

/// Largest handshake frame at all: only a filter can be large. Spec: wire 2.
pub(super) const LARGE_HANDSHAKE_FRAME_MAX: usize = 16 * 1024 * 1024;

/// Before a large handshake frame is tried again that there was no permission for.
const PERMIT_RETRY: Duration = Duration::from_millis(50);

/// What became of the buffered bytes.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// So many bytes were handled; zero says that more are needed.
    Consumed(usize),
    /// A target is full; the task is woken when to try again.
    Blocked,
    Failed(Closed),
}

/// The reading half of one connection.
pub(crate) struct Reader {
    connection: ConnectionId,
    side: Side,
    encrypted: bool,
    buffer: BytesMut,
    read_buffers: ReadBuffers,
    read_size: usize,
    /// There once the peer is known.
    router: Option<Router>,
    /// Holds the right to a large handshake frame.
    large: Option<LargePermit>,
    /// Until the next try to get it.
    permit_wait: Option<Pin<Box<Sleep>>>,
    /// Whether anything came at all: it tells a closed port from a wrong one.
    heard: bool,
    node: Node,
}

/// One of the few rights to hold a large handshake frame; returned when dropped.
struct LargePermit(Arc<Shared>);

impl Drop for LargePermit {
    fn drop(&mut self) {
        self.0.large_handshakes.add_permits(1);
    }
}

impl Reader {
    pub(crate) fn new(node: Node, connection: ConnectionId, side: Side) -> Self {
        Self {
            connection,
            side,
            encrypted: !node.shared.options.disable_ssl,
            buffer: BytesMut::new(),
            read_buffers: ReadBuffers::default(),
            read_size: READ_SIZE_MIN,
            router: None,
            large: None,
            permit_wait: None,
            heard: false,
            node,
        }
    }

    /// Reads once. The buffer grows with what came, never with what was announced.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < self.read_size / 4 {
            // A frame larger than the buffer doubles it, up to the frame's own size.
            let wanted = match frame_size(&self.buffer) {
                Some(size) if size > self.buffer.len() => {
                    (size - self.buffer.len()).min(self.buffer.len().max(self.read_size))
                }
                _ => self.read_size,
            };
            let room = wanted.max(self.read_size / 4);
            if self.router.is_some() && room <= READ_SIZE_MAX {
                self.read_buffers.make_room(&mut self.buffer, room);
            } else {
                self.buffer.reserve(room);
            }
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let polled = socket.poll_read(cx, &mut self.buffer);
        if let Poll::Ready(Ok(read)) = polled {
            self.heard |= read > 0;
            if read == room && self.router.is_some() {
                self.read_size = self.read_size.saturating_mul(2).min(READ_SIZE_MAX);
            } else if read < self.read_size / 16 {
                self.read_size = (self.read_size / 2).max(READ_SIZE_MIN);
                self.read_buffers.clear();
            }
        }
        polled
    }

    /// Handles the complete frames in the buffer.
    pub(crate) fn process(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Arc<Shared>,
        link: &Link,
    ) -> Verdict {
        let Some(peer) = link.peer() else {
            return self.handshake(cx, shared);
        };
        let router = self
            .router
            .get_or_insert_with(|| Router::new(&self.node, self.connection, peer, link));
        router.route(cx, &mut self.buffer, shared, link)
    }

    /// Leaves noting marked messages to others, for a while in which nothing is read.
    pub(crate) fn release_marking_lock(&mut self) {
        if let Some(router) = &mut self.router {
            router.release_marking_lock();
        }
    }

    /// Hands one handshake frame to the state machine.
    fn handshake(&mut self, cx: &mut Context<'_>, shared: &Arc<Shared>) -> Verdict {
        if let Some(wait) = &mut self.permit_wait
            && wait.as_mut().poll(cx).is_pending()
        {
            return Verdict::Blocked;
        }
        self.permit_wait = None;
        let Some(size) = frame_size(&self.buffer) else {
            return Verdict::Consumed(0);
        };
        if size - FRAME_LEN_SIZE > LARGE_HANDSHAKE_FRAME_MAX {
            return Verdict::Failed(Closed::Broken(self.not_broker().to_owned()));
        }
        if size > HANDSHAKE_FRAME_MAX && self.large.is_none() {
            match shared.large_handshakes.try_acquire() {
                Ok(permit) => {
                    permit.forget();
                    self.large = Some(LargePermit(shared.clone()));
                }
                // Look again in a while; the handshake's deadline bounds the wait.
                Err(_) => {
                    let wait = self.permit_wait.insert(Box::pin(sleep(PERMIT_RETRY)));
                    if wait.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                    return Verdict::Blocked;
                }
            }
        }
        if self.buffer.len() < size {
            return Verdict::Consumed(0);
        }
        let frame = self.buffer.split_to(size);
        shared.control_frame(
            self.connection,
            frame.get(FRAME_LEN_SIZE..).unwrap_or_default(),
        );
        self.large = None;
        Verdict::Consumed(size)
    }

    /// The reason when the other side ends the stream.
    pub(crate) fn end_of_stream(&self, link: &Link) -> Closed {
        if self.is_unheard_connector(link) {
            Closed::Broken(format!(
                "the other side closed the connection during the handshake ({})",
                self.likely_cause()
            ))
        } else if self.is_unheard_acceptor(link) {
            Closed::Silent
        } else {
            Closed::Remote
        }
    }

    /// The reason when the socket fails, in either direction.
    pub(crate) fn failure(&self, link: &Link, error: &io::Error) -> Closed {
        if self.is_unheard_connector(link) {
            Closed::Broken(alert(error).unwrap_or_else(|| {
                let likely = self.likely_cause();
                format!("the connection broke during the handshake ({likely}): {error}")
            }))
        } else {
            match ended(error) {
                Closed::Remote if self.is_unheard_acceptor(link) => Closed::Silent,
                closed => closed,
            }
        }
    }

    /// Whether the other side dialed and never said anything.
    fn is_unheard_acceptor(&self, link: &Link) -> bool {
        link.peer().is_none() && self.side == Side::Acceptor && !self.heard
    }

    /// Whether we dialed and nothing of the protocol ever came back.
    fn is_unheard_connector(&self, link: &Link) -> bool {
        link.peer().is_none() && self.side == Side::Connector && !self.heard
    }

    /// What makes an acceptor hang up without a word. In TLS 1.3 the connector is through with the
    /// handshake before the acceptor has seen that there is no certificate.
    fn likely_cause(&self) -> &'static str {
        if self.encrypted {
            "does the other side demand a certificate?"
        } else {
            "does the other side use TLS?"
        }
    }

    /// Names what speaks instead of Broker.
    fn not_broker(&self) -> &'static str {
        match self.buffer.as_ref() {
            [0x14..=0x17, 3, ..] => "the other side uses TLS, this endpoint does not",
            _ => "the other side is not a Broker endpoint",
        }
    }
}
