//! A peering with a ZeroMQ proxy: one task, two sockets.
//!
//! The task reads without pause: what consumers here have no room for is lost to them, as a proxy that
//! is not read from stops its whole cluster. Spec: zeromq 6.1.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_proto::endpoint::{Closed, ConnectionId, DialFault, PeerFailure};
use broker_proto::peer_url::PeerUrl;
use broker_proto::zmtp::{
    Entropy, Error as ZmtpError, Limits, ProxyConfig, ProxyError, ProxySession, ProxySocket,
};
use broker_proto::{ErrorCode, Filter};
use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::Instrument;

use super::conversation::Conversation;
use super::dial;
use crate::config::{SHUTDOWN_TIMEOUT, ZeroMqPeerOptions, timespan};
use crate::core::count::count;
use crate::core::hooks::Dial;
use crate::core::link::Link;
use crate::core::shared::Shared;
use crate::core::zeromq_peers::Proxy;
use crate::flow::mailbox::Taken;
use crate::net::socket::{self, Socket};
use crate::transport::outgoing::{Outgoing, Written};

/// Bytes read from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// Reads of one socket before others get their turn.
const TURN_READS: usize = 8;

/// Turns before the task yields to others.
const TURNS_MAX: usize = 8;

/// How the task ends.
enum End {
    /// The control plane does not want it any more, and everything is said.
    Left,
    /// The proxy does not take its messages.
    Overflow,
    Failed(ProxyError),
}

struct Peering {
    shared: Arc<Shared>,
    link: Arc<Link>,
    session: ProxySession,
    conversation: Conversation,
    /// To the proxy's XPUB and XSUB.
    sockets: [Socket; 2],
    is_open: [bool; 2],
    buffer: BytesMut,
    outgoing: Outgoing,
    /// Set when the control plane closed the connection: how long it may still take.
    leaving: Option<Pin<Box<Sleep>>>,
    timer: Pin<Box<Sleep>>,
}

/// Starts to join the proxy at an address; what becomes of it goes to the control plane.
pub(crate) fn start(shared: Arc<Shared>, dial: Dial, url: Arc<PeerUrl>) {
    let Dial {
        connection,
        link,
        counted,
        ..
    } = dial;
    let runtime = shared.runtime.clone();
    let span = tracing::info_span!("zeromq-peer", %url);
    let task = async move {
        run(&shared, connection, &link, url).await;
        link.mailbox.close();
        drop(counted);
    };
    runtime.spawn(task.instrument(span));
}

async fn run(shared: &Arc<Shared>, connection: ConnectionId, link: &Arc<Link>, url: Arc<PeerUrl>) {
    let options = shared.zeromq.options.of(&url.host());
    let counts = shared.zeromq.counters.of(&url.host());
    let opened = tokio::select! {
        opened = dial::open(shared, &url) => opened,
        () = link.closing() => return,
    };
    let prepared = opened.and_then(|sockets| {
        Peering::new(shared, connection, link, url, options, sockets).map_err(|text| DialFault {
            failure: PeerFailure::Refused,
            text,
        })
    });
    match prepared {
        Ok(peering) => peering.run(connection, &counts).await,
        Err(fault) => {
            count(&counts.failures, 1);
            shared.dial_failed(connection, Some(fault));
        }
    }
}

impl Peering {
    fn new(
        shared: &Arc<Shared>,
        connection: ConnectionId,
        link: &Arc<Link>,
        url: Arc<PeerUrl>,
        options: Arc<ZeroMqPeerOptions>,
        sockets: [Socket; 2],
    ) -> Result<Self, String> {
        let security = options.security().map_err(|error| error.to_string())?;
        let mut conversation =
            Conversation::new(shared.clone(), connection, link.clone(), url, options);
        let config = ProxyConfig {
            id: conversation.id().to_owned(),
            security,
            limits: Limits {
                part_bytes_max: shared.options.frame_bytes_max,
                message_bytes_max: shared
                    .options
                    .frame_bytes_max
                    .saturating_add(Limits::default().handshake_bytes_max),
                handshake_timeout: timespan(shared.options.handshake_timeout),
                ..Limits::default()
            },
            ping_interval: timespan(shared.options.dead_peer_timeout / 2),
        };
        let entropy = [entropy()?, entropy()?];
        let mut session = ProxySession::new(config, entropy, shared.now());
        // What it is to want from now on comes through the mailbox, perhaps a second time.
        let interest: Filter = shared.lock_control().machine().filter().clone();
        let interest = link.wanted(interest);
        session.set_wanted(conversation.wanted(&interest));
        Ok(Self {
            shared: shared.clone(),
            link: link.clone(),
            session,
            conversation,
            sockets,
            is_open: [true; 2],
            buffer: BytesMut::new(),
            outgoing: Outgoing::default(),
            leaving: None,
            timer: Box::pin(sleep(Duration::ZERO)),
        })
    }

    async fn run(mut self, connection: ConnectionId, counts: &Proxy) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        if !matches!(end, End::Left) {
            count(&counts.failures, 1);
        }
        let was_joined = self.conversation.is_joined();
        // Before the peer is gone in the eyes of the control plane: its nodes go first.
        self.conversation.end(self.shared.now());
        match end {
            End::Left => {}
            // Not the fault of this peer but of a subscriber that stops it: it is looked for again, as
            // it comes back once that one reads or is gone. See ADR 0250.
            End::Overflow => {
                let text = "the proxy does not take what is published".to_owned();
                self.shared
                    .connection_ended(connection, Closed::Broken(text));
            }
            End::Failed(error) if was_joined => {
                let closed = self.explain(&error);
                self.shared.connection_ended(connection, closed);
            }
            End::Failed(error) => {
                let fault = DialFault {
                    failure: PeerFailure::Refused,
                    text: error.to_string(),
                };
                self.shared.dial_failed(connection, Some(fault));
            }
        }
        self.link.mailbox.close();
        // At once: a subscriber that is there and does not read stops the cluster.
        let [subscriber, mut publisher] = self.sockets;
        drop(subscriber);
        socket::linger(&mut publisher).await;
    }

    /// What the end of a peering is for the control plane; what is against the protocol is told.
    fn explain(&self, error: &ProxyError) -> Closed {
        tracing::debug!(event = "zeromq-peer-ended", %error);
        if let ProxyError::Connection {
            error: ZmtpError::Closed,
            ..
        } = error
        {
            return Closed::Remote;
        }
        self.conversation
            .complain(ErrorCode::InvalidMessage, error.to_string());
        Closed::Broken(error.to_string())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // Before the flags are looked at, so that a change in between wakes.
        self.link.mailbox.register(cx);
        for _ in 0..TURNS_MAX {
            self.look_at_link();
            // Reading comes first: others wait for it. Subscriptions come before what is sent because
            // of them.
            let mut moved = self.read_some(cx, ProxySocket::Xsub);
            moved |= self.read_some(cx, ProxySocket::Xpub);
            match self.write_data(cx) {
                Written::All => {}
                Written::Some => moved = true,
                Written::Overflowed => return Poll::Ready(End::Overflow),
            }
            for socket in ProxySocket::ALL {
                moved |= self.flush(cx, socket);
            }
            moved |= self.keep_time(cx);
            if let Some(error) = self.conversation.failure.take() {
                return Poll::Ready(End::Failed(error));
            }
            if self.has_left(cx) {
                return Poll::Ready(End::Left);
            }
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    // --- the control plane ----------------------------------------------------------------------

    fn look_at_link(&mut self) {
        if let Some(filter) = self.link.mailbox.take_interest() {
            let wanted = self.conversation.wanted(&filter);
            self.session.set_wanted(wanted);
        }
        if self.leaving.is_none() && self.link.is_closing() {
            self.leaving = Some(Box::pin(sleep(SHUTDOWN_TIMEOUT)));
        }
    }

    /// Whether the control plane let go of it and everything is sent, or there was time enough: as long as a
    /// native peer has, where Zeek gives up after half a second, as a busy proxy takes longer for a long queue.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(leaving) = &mut self.leaving else {
            return false;
        };
        let is_sent =
            self.outgoing.is_finished() && self.session.output(ProxySocket::Xsub).is_empty();
        if is_sent || !self.session.is_ready() {
            return true;
        }
        let is_late = leaving.as_mut().poll(cx).is_ready();
        if is_late {
            tracing::warn!(
                event = "zeromq-left-unsent",
                "the proxy did not take in time what was queued for it: it is lost"
            );
        }
        is_late
    }

    /// Does what follows from what came.
    fn look_at_session(&mut self) {
        let now = self.shared.now();
        self.session
            .drain(now, |event| self.conversation.on(now, event));
        self.conversation.settle(now, &mut self.session);
    }

    // --- time -----------------------------------------------------------------------------------

    fn keep_time(&mut self, cx: &mut Context<'_>) -> bool {
        let report = self.conversation.next_report();
        let Some(at) = self.session.next_timeout().into_iter().chain(report).min() else {
            return false;
        };
        let due = Instant::from_std(self.shared.instant(at));
        if self.timer.deadline() != due {
            self.timer.set(sleep_until(due));
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        // The system's timers count milliseconds and may be early by a part of one.
        let now = self.shared.now().max(at);
        self.session.handle_timeout(now);
        self.session
            .drain(now, |event| self.conversation.on(now, event));
        self.conversation.settle(now, &mut self.session);
        true
    }

    // --- to the proxy ---------------------------------------------------------------------------

    /// Hands on messages as long as there is room.
    fn write_data(&mut self, cx: &mut Context<'_>) -> Written {
        if self.link.mailbox.peek() == Taken::Overflowed {
            return Written::Overflowed;
        }
        if !self.session.is_ready() {
            return Written::All;
        }
        let (session, conversation) = (&mut self.session, &mut self.conversation);
        let waiting = session.output(ProxySocket::Xsub).len();
        let mailbox = &self.link.mailbox;
        self.outgoing.poll_send(cx, mailbox, waiting, |message| {
            conversation.publish(session, message);
            session.output(ProxySocket::Xsub).len()
        })
    }

    /// Writes what is due to a socket; tells whether that was anything.
    fn flush(&mut self, cx: &mut Context<'_>, which: ProxySocket) -> bool {
        let mut moved = false;
        let (index, mailbox) = (which as usize, &self.link.mailbox);
        let (Some(socket), Some(true)) = (self.sockets.get_mut(index), self.is_open.get(index))
        else {
            return false;
        };
        loop {
            let output = self.session.output(which);
            if output.is_empty() {
                return moved;
            }
            match socket.poll_write(cx, output) {
                Poll::Pending => return moved,
                Poll::Ready(Ok(bytes)) if bytes > 0 => {
                    self.session.handle_written(which, bytes);
                    if which == ProxySocket::Xsub {
                        mailbox.moved();
                    }
                    moved = true;
                }
                Poll::Ready(Ok(_) | Err(_)) => {
                    self.close(which);
                    return true;
                }
            }
        }
    }

    fn close(&mut self, which: ProxySocket) {
        if let Some(is_open) = self.is_open.get_mut(which as usize) {
            *is_open = false;
        }
        self.session.handle_closed(which);
        self.look_at_session();
    }

    // --- from the proxy -------------------------------------------------------------------------

    fn read_some(&mut self, cx: &mut Context<'_>, which: ProxySocket) -> bool {
        let index = which as usize;
        for read in 0..TURN_READS {
            let (Some(socket), Some(true)) = (self.sockets.get_mut(index), self.is_open.get(index))
            else {
                return read > 0;
            };
            self.buffer.clear();
            self.buffer.reserve(READ_BYTES);
            match socket.poll_read(cx, &mut self.buffer) {
                Poll::Pending => return read > 0,
                Poll::Ready(Ok(bytes)) if bytes > 0 => {
                    let now = self.shared.now();
                    self.session.handle_bytes(now, which, &self.buffer);
                    self.look_at_session();
                }
                Poll::Ready(Ok(_) | Err(_)) => {
                    self.close(which);
                    return true;
                }
            }
        }
        true
    }
}

fn entropy() -> Result<Entropy, String> {
    let mut bytes = [0; Entropy::BYTES];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    Ok(Entropy::new(bytes))
}
