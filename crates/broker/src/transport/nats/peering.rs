//! A peering with a server of NATS: one task, one socket.
//!
//! The task reads without pause: what consumers here have no room for is lost to them, as a server
//! cuts off clients that are not read from. A connection that ends ends the peering; the control plane
//! joins anew, at another server of the cluster.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_data::{Timespan, Timestamp};
use broker_proto::endpoint::{Closed, ConnectionId, DialFault, PeerFailure};
use broker_proto::nats::connection::{Connection, Event};
use broker_proto::peer_url::PeerUrl;
use broker_proto::{ErrorCode, Filter};
use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::Instrument;

use super::conversation::Conversation;
use super::dial::{self, Opened};
use crate::config::{NatsPeerOptions, timespan};
use crate::core::count::count;
use crate::core::hooks::Dial;
use crate::core::link::Link;
use crate::core::shared::Shared;
use crate::flow::mailbox::Taken;
use crate::flow::marking::MarkingLock;
use crate::flow::routing::has_several_peers;
use crate::net::socket::{self, Socket};
use crate::transport::outgoing::{Outgoing, Written};

/// Bytes read from the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// Reads before others get their turn.
const TURN_READS: usize = 8;

/// Turns before the task yields to others.
const TURNS_MAX: usize = 8;

/// How long what is queued may take to be sent when the peering is over.
const LINGER: Duration = Duration::from_secs(3);

/// How the task ends.
enum End {
    /// The control plane does not want it any more, and everything is said.
    Left,
    /// The server does not take its messages.
    Overflow,
    /// The connection is over, for this reason if one is known.
    Lost(Option<String>),
}

struct Peering {
    shared: Arc<Shared>,
    link: Arc<Link>,
    connection: Connection,
    conversation: Conversation,
    socket: Socket,
    buffer: BytesMut,
    outgoing: Outgoing,
    marking_lock: MarkingLock,
    /// When something came from the server for the last time, and when it is asked whether it is there.
    heard: Timestamp,
    next_ping: Option<Timestamp>,
    /// The answers to pings that are awaited.
    pings: u32,
    /// Set when the control plane closed the connection: how long it may still take.
    leaving: Option<Pin<Box<Sleep>>>,
    timer: Pin<Box<Sleep>>,
    lost: Option<Option<String>>,
}

/// Starts to join the servers at an address; what becomes of it goes to the control plane.
pub(crate) fn start(shared: Arc<Shared>, dial: Dial, url: Arc<PeerUrl>) {
    let Dial {
        connection,
        link,
        counted,
        ..
    } = dial;
    let runtime = shared.runtime.clone();
    let span = tracing::info_span!("nats-peer", %url);
    let task = async move {
        run(&shared, connection, &link, url).await;
        link.mailbox.close();
        drop(counted);
    };
    runtime.spawn(task.instrument(span));
}

async fn run(shared: &Arc<Shared>, id: ConnectionId, link: &Arc<Link>, url: Arc<PeerUrl>) {
    let options: Arc<NatsPeerOptions> = shared.nats.options.of(&url.host());
    let counts = shared.nats.counters.of(&url.host());
    let opened = tokio::select! {
        opened = dial::open(shared, &url, &options) => opened,
        () = link.closing() => return,
    };
    let prepared = opened.and_then(|opened| {
        let subjects = options.subjects().map_err(|error| DialFault {
            failure: PeerFailure::Refused,
            text: error.to_string(),
        })?;
        Ok((opened, subjects))
    });
    match prepared {
        Ok((opened, subjects)) => {
            tracing::info!(event = "nats-server", server = %opened.server, version = %opened.info.version);
            shared.nats.learn(&url, &opened.info.connect_urls);
            let most = opened.info.max_payload;
            let conversation =
                Conversation::new(shared.clone(), id, link.clone(), url, subjects, most);
            Peering::new(shared, link, conversation, opened)
                .run(id)
                .await;
        }
        Err(fault) => {
            count(&counts.failures, 1);
            shared.dial_failed(id, Some(fault));
        }
    }
}

impl Peering {
    fn new(
        shared: &Arc<Shared>,
        link: &Arc<Link>,
        mut conversation: Conversation,
        opened: Opened,
    ) -> Self {
        let mut connection = opened.connection;
        // What it is to want from now on comes through the mailbox, perhaps a second time.
        let interest: Filter = shared.lock_control().machine().filter().clone();
        let interest = link.wanted(interest);
        conversation.set_wanted(&mut connection, interest);
        connection.ping();
        let now = shared.now();
        let mut peering = Self {
            shared: shared.clone(),
            link: link.clone(),
            connection,
            conversation,
            socket: opened.socket,
            buffer: BytesMut::new(),
            outgoing: Outgoing::default(),
            marking_lock: MarkingLock::default(),
            heard: now,
            next_ping: None,
            pings: 1,
            leaving: None,
            timer: Box::pin(sleep(Duration::ZERO)),
            lost: None,
        };
        peering.next_ping = peering.ping_after(now);
        peering
    }

    async fn run(mut self, id: ConnectionId) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        self.marking_lock.release();
        if !matches!(end, End::Left) {
            count(&self.conversation.counts.failures, 1);
        }
        let was_joined = self.conversation.is_joined();
        match &end {
            End::Lost(Some(text)) if was_joined => {
                self.conversation
                    .complain(ErrorCode::InvalidMessage, text.clone());
            }
            End::Left | End::Overflow | End::Lost(_) => {}
        }
        self.conversation.end(self.shared.now());
        match end {
            End::Left => {}
            End::Overflow => self.shared.connection_ended(id, Closed::Overflow),
            End::Lost(cause) if was_joined => {
                tracing::debug!(event = "nats-peer-ended", ?cause);
                let closed = cause.map_or(Closed::Remote, Closed::Broken);
                self.shared.connection_ended(id, closed);
            }
            End::Lost(cause) => {
                let fault = DialFault {
                    failure: PeerFailure::Refused,
                    text: cause.unwrap_or_else(|| "the NATS server hung up".to_owned()),
                };
                self.shared.dial_failed(id, Some(fault));
            }
        }
        self.link.mailbox.close();
        socket::linger(&mut self.socket).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // Before the flags are looked at, so that a change in between wakes.
        self.link.mailbox.register(cx);
        for _ in 0..TURNS_MAX {
            self.look_at_link();
            let mut moved = self.read_some(cx);
            match self.write_data(cx) {
                Written::All => {}
                Written::Some => moved = true,
                Written::Overflowed => return Poll::Ready(End::Overflow),
            }
            moved |= self.write_out(cx);
            moved |= self.keep_time(cx);
            if self.has_left(cx) {
                return Poll::Ready(End::Left);
            }
            if let Some(cause) = self.lost.take() {
                return Poll::Ready(End::Lost(cause));
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
            self.conversation.set_wanted(&mut self.connection, filter);
        }
        if self.leaving.is_none() && self.link.is_closing() {
            self.leaving = Some(Box::pin(sleep(LINGER)));
        }
    }

    /// Whether the control plane let go of it and everything is sent, or there was time enough.
    fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(leaving) = &mut self.leaving else {
            return false;
        };
        let is_sent = self.outgoing.is_finished() && self.connection.output().is_empty();
        is_sent || !self.conversation.is_joined() || leaving.as_mut().poll(cx).is_ready()
    }

    // --- time -----------------------------------------------------------------------------------

    /// When the server is asked whether it is there; never where peers may be silent for ever.
    fn ping_after(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = self.shared.options.dead_peer_timeout;
        (!limit.is_zero()).then(|| now.saturating_add(timespan(limit / 2)))
    }

    fn keep_time(&mut self, cx: &mut Context<'_>) -> bool {
        let report = self.conversation.next_report();
        let Some(at) = self.next_ping.into_iter().chain(report).min() else {
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
        self.conversation.report(now);
        if self.next_ping.is_some_and(|due| due <= now) {
            let limit: Timespan = timespan(self.shared.options.dead_peer_timeout);
            if now >= self.heard.saturating_add(limit) {
                self.lost = Some(Some("the NATS server is silent".to_owned()));
            }
            self.connection.ping();
            self.pings = self.pings.saturating_add(1);
            self.next_ping = self.ping_after(now);
        }
        true
    }

    // --- to the server --------------------------------------------------------------------------

    /// Hands on messages as long as there is room.
    fn write_data(&mut self, cx: &mut Context<'_>) -> Written {
        if self.link.mailbox.peek() == Taken::Overflowed {
            return Written::Overflowed;
        }
        if !self.conversation.is_joined() {
            return Written::All;
        }
        let (connection, conversation) = (&mut self.connection, &mut self.conversation);
        let waiting = connection.output().len();
        let written = self
            .outgoing
            .poll_send(cx, &self.link.mailbox, waiting, |message| {
                conversation.publish(connection, message);
                connection.output().len()
            });
        // What is not followed at once by more of its topic does not wait for it.
        conversation.flush(connection);
        written
    }

    /// Writes what is due; tells whether that was anything.
    fn write_out(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.lost.is_none() && !self.connection.output().is_empty() {
            match self.socket.poll_write(cx, self.connection.output()) {
                Poll::Pending => return moved,
                Poll::Ready(Ok(bytes)) if bytes > 0 => {
                    self.connection.handle_written(bytes);
                    self.link.mailbox.moved();
                    moved = true;
                }
                Poll::Ready(Ok(_) | Err(_)) => {
                    self.lost = Some(None);
                    return true;
                }
            }
        }
        moved
    }

    // --- from the server ------------------------------------------------------------------------

    /// Whether messages can be handed on in their order: where they may come from native peers as
    /// well, one connection at a time notes them. See ADR 0115.
    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.marking_lock.is_held() {
            return true;
        }
        if self.marking_lock.is_waiting(cx) {
            return false;
        }
        if self.marking_lock.is_held() || !has_several_peers(&self.shared.data.routes.load()) {
            return true;
        }
        self.marking_lock.acquire(cx, &self.shared.data.marking)
    }

    fn read_some(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.may_read(cx) {
            return false;
        }
        let moved = self.read_turn(cx);
        self.marking_lock.release();
        moved
    }

    fn read_turn(&mut self, cx: &mut Context<'_>) -> bool {
        for read in 0..TURN_READS {
            if self.lost.is_some() {
                return true;
            }
            self.buffer.clear();
            self.buffer.reserve(READ_BYTES);
            match self.socket.poll_read(cx, &mut self.buffer) {
                Poll::Pending => return read > 0,
                Poll::Ready(Ok(bytes)) if bytes > 0 => self.handle(),
                Poll::Ready(Ok(_) | Err(_)) => {
                    self.lost = Some(None);
                    return true;
                }
            }
        }
        true
    }

    fn handle(&mut self) {
        let now = self.shared.now();
        self.heard = now;
        let (conversation, pings) = (&mut self.conversation, &mut self.pings);
        let fed = self.connection.handle_bytes(&self.buffer, |event| {
            if event == Event::Pong {
                *pings = pings.saturating_sub(1);
                // The answer behind the subscriptions.
                if !conversation.is_joined() {
                    conversation.join();
                }
            }
            conversation.on(event);
        });
        self.conversation.report(now);
        if let Err(error) = fed {
            self.lost = Some(Some(error.to_string()));
        }
    }
}
