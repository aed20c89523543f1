//! A peering with a WebSocket server: one task, and the connections it has open.
//!
//! What is said is decided by [`ClientSession`]; this task owns the sockets and the time. Towards the
//! endpoint it is a connection like any other: the control plane starts and closes it, its mailbox
//! holds what goes out, and what comes in is routed as that of a peer. See ADR 0085.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_data::json::Form;
use broker_proto::endpoint::{Closed, ConnectionId, DialFault, PeerFailure};
use broker_proto::json::client::{ClientConfig, ClientOutput, ClientSession, ServerConnectionId};
use broker_proto::peer_url::PeerUrl;
use broker_proto::{EndpointId, EndpointInfo, ErrorCode, Fault, Filter, NetworkAddress, Topic};
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tracing::Instrument;

use super::connection::{Broken, Connection, Received};
use super::{FOREIGN, dial};
use crate::config::timespan;
use crate::core::hooks::Dial;
use crate::core::link::Link;
use crate::core::shared::{Gauge, Shared};
use crate::core::websocket_counts::{ServerCounts, count};
use crate::flow::mailbox::{Chunk, Taken};
use crate::flow::translation::Translation;
use crate::message::Message;
use crate::net::connector::ConnectFailure;
use crate::net::socket;
use crate::transport::inbox::ForeignInbox;

/// Messages moved in one direction before the other gets its turn.
const TURN_MESSAGES: usize = 64;

/// Turns before the task yields to others.
const TURNS_MAX: usize = 8;

/// Bytes taken from the mailbox at once.
const TAKE_BATCH: usize = 64 * 1024;

/// A buffer that one large message blew up is given back beyond this.
const SCRATCH_MAX: usize = 64 * 1024;

/// Bytes of messages that are read although consumers have no room for them. Control frames come in
/// connection with messages: a stop that is over before this much has come does not keep a server that
/// asks for signs of life waiting, as Zeek's does every 5 seconds.
const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// The same for a connection whose first message is awaited.
const AWAITED_BACKLOG_BYTES_MAX: usize = 2 * BACKLOG_BYTES_MAX;

/// How long what is queued may take to be sent when the peering is over.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the last frames of both sides may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(700);

type Opening = Pin<Box<dyn Future<Output = Result<(Connection, Form), ConnectFailure>> + Send>>;

enum Wire {
    Opening(Opening),
    Open(Box<Connection>),
}

/// A run that is being written.
struct Reading {
    translation: Arc<Translation>,
    /// The next of its messages.
    index: usize,
    /// That message and those behind it, for their topics.
    rest: Bytes,
}

/// How the task ends.
enum End {
    /// The control plane does not want it any more, and everything is said.
    Left,
    /// The server does not take its messages.
    Overflow,
    /// The session is over.
    Ended(Option<String>),
}

struct Remote {
    shared: Arc<Shared>,
    connection: ConnectionId,
    link: Arc<Link>,
    url: Arc<PeerUrl>,
    counts: Arc<ServerCounts>,
    /// Whether a connection was opened before.
    opened: bool,
    /// What an end before the session has begun means.
    failure: PeerFailure,
    session: ClientSession,
    wires: Vec<(ServerConnectionId, Wire)>,
    peer: Option<EndpointId>,
    inbox: Option<ForeignInbox>,
    /// Bound: `TAKE_BATCH`; nothing is taken before it is sent.
    outgoing: VecDeque<Chunk>,
    reading: Option<Reading>,
    payload: Vec<u8>,
    /// Set when the control plane closed the connection: how long it may still take.
    leaving: Option<Pin<Box<Sleep>>>,
    timer: Pin<Box<Sleep>>,
    end: Option<End>,
}

/// Starts to join the peer at an address; what becomes of it goes to the control plane.
pub(crate) fn start(shared: Arc<Shared>, dial: Dial, url: Arc<PeerUrl>) {
    let Dial {
        connection,
        link,
        counted,
        ..
    } = dial;
    let runtime = shared.runtime.clone();
    // What it is to want from now on comes through the mailbox, perhaps a second time.
    let interest = link.wanted(shared.lock_control().machine().filter().clone());
    let span = tracing::info_span!("web-socket-peer", %url);
    let task = async move {
        let peering = Remote::new(shared, connection, link, url, &interest);
        peering.run().await;
        drop(counted);
    };
    runtime.spawn(task.instrument(span));
}

impl Remote {
    fn new(
        shared: Arc<Shared>,
        connection: ConnectionId,
        link: Arc<Link>,
        url: Arc<PeerUrl>,
        interest: &Filter,
    ) -> Self {
        let options = &shared.options.web_socket_peer;
        let (start, _) = shared.data.id.bytes().split_at(8);
        let seed = start
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let config = ClientConfig {
            seed: seed ^ connection.0,
            ack_timeout: timespan(options.ack_timeout),
            ping_interval: timespan(options.ping_interval),
        };
        Self {
            session: ClientSession::new(config, interest),
            counts: shared.web_sockets.servers.of(&url.host()),
            opened: false,
            failure: PeerFailure::Refused,
            shared,
            connection,
            link,
            url,
            wires: Vec::new(),
            peer: None,
            inbox: None,
            outgoing: VecDeque::new(),
            reading: None,
            payload: Vec::new(),
            leaving: None,
            timer: Box::pin(sleep(Duration::ZERO)),
            end: None,
        }
    }

    async fn run(mut self) {
        self.carry_out();
        let end = poll_fn(|cx| self.poll(cx)).await;
        if self.peer.is_some() {
            self.counts.peered.fetch_sub(1, Ordering::Relaxed);
        }
        if !matches!(end, End::Left) {
            count(&self.counts.failures, 1);
        }
        match end {
            End::Left => {}
            End::Overflow => {
                self.shared
                    .connection_ended(self.connection, Closed::Overflow);
            }
            End::Ended(cause) => {
                tracing::debug!(event = "web-socket-peer-ended", ?cause);
                match (self.session.is_joined(), cause) {
                    (false, cause) => {
                        let failure = self.failure;
                        let fault = cause.map(|text| DialFault { failure, text });
                        self.shared.dial_failed(self.connection, fault);
                    }
                    (true, _) => self
                        .shared
                        .connection_ended(self.connection, Closed::Remote),
                }
            }
        }
        self.link.mailbox.close();
        // The connections that are left were told; what they still say is of no interest.
        let closing = self.wires.drain(..).filter_map(|(_, wire)| match wire {
            Wire::Open(connection) => Some(connection),
            Wire::Opening(_) => None,
        });
        for connection in closing.collect::<Vec<_>>() {
            close(*connection).await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // Before the flags are looked at, so that a change in between wakes.
        self.link.mailbox.register(cx);
        for _ in 0..TURNS_MAX {
            self.look_at_link();
            let mut moved = self.dial_some(cx);
            moved |= self.write_some(cx);
            moved |= self.read_some(cx);
            moved |= self.keep_time(cx);
            if let Some(leaving) = &mut self.leaving
                && (leaving.as_mut().poll(cx).is_ready() || self.wires.is_empty())
            {
                return Poll::Ready(End::Left);
            }
            if self.is_delivered(cx)
                && let Some(end) = self.end.take()
            {
                return Poll::Ready(end);
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
            self.session.set_interest(self.shared.now(), &filter);
            self.carry_out();
        }
        if self.leaving.is_none() && self.link.is_closing() {
            self.leaving = Some(Box::pin(sleep(FLUSH_TIMEOUT)));
            if !self.session.is_joined() {
                self.leave();
            }
        }
    }

    /// Says goodbye; the task ends when the server has answered, or soon.
    fn leave(&mut self) {
        self.session.leave();
        self.carry_out();
        self.leaving = Some(Box::pin(sleep(CLOSE_TIMEOUT)));
    }

    /// Does what the session wants.
    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                ClientOutput::Open { connection } => {
                    // The first one is the peering's own.
                    if std::mem::replace(&mut self.opened, true) {
                        count(&self.counts.renewals, 1);
                    }
                    let opening = dial::open(self.shared.clone(), self.url.clone());
                    self.wires
                        .push((connection, Wire::Opening(Box::pin(opening))));
                }
                ClientOutput::Send { connection, text } => {
                    self.with_connection(connection, |it| it.send_text(text.as_bytes()));
                }
                ClientOutput::Ping {
                    connection,
                    payload,
                } => {
                    self.with_connection(connection, |it| it.send_ping(&payload));
                }
                ClientOutput::Close { connection } => {
                    self.with_connection(connection, |it| it.send_close(1000))
                }
                ClientOutput::Drop { connection } => self.let_go(connection, None),
                ClientOutput::Joined { peer, version } => self.join(peer, &version),
                ClientOutput::Complain { code, text } => self.complain(code, text),
                ClientOutput::Ended { cause } => self.end = Some(End::Ended(cause)),
            }
        }
    }

    fn join(&mut self, peer: EndpointId, version: &str) {
        tracing::info!(event = "web-socket-peer-joined", %peer, version);
        self.peer = Some(peer);
        count(&self.counts.connects, 1);
        count(&self.counts.peered, 1);
        self.inbox = Some(ForeignInbox::new(
            self.shared.clone(),
            self.link.clone(),
            peer,
            FOREIGN.when_full,
        ));
        // Such servers do not say what their clients want: they get everything.
        let everything = [Topic::from("")].into_iter().collect();
        self.shared.joined(self.connection, peer, everything);
    }

    fn complain(&self, code: ErrorCode, text: String) {
        tracing::warn!(event = "web-socket-peer-complains", text);
        count(&self.counts.errors, 1);
        let network = NetworkAddress::new(self.url.host(), self.url.port);
        let context = EndpointInfo {
            id: self.peer,
            network: Some(network),
        };
        self.shared
            .data
            .report(Fault::new(code, Some(context), text));
    }

    fn with_connection(&mut self, id: ServerConnectionId, act: impl FnOnce(&mut Connection)) {
        let found = self.wires.iter_mut().find(|(it, _)| *it == id);
        if let Some((_, Wire::Open(connection))) = found {
            act(connection);
        }
    }

    /// Forgets a connection, telling its server why if it is on us.
    fn let_go(&mut self, id: ServerConnectionId, code: Option<u16>) {
        let Some(index) = self.wires.iter().position(|(it, _)| *it == id) else {
            return;
        };
        let (_, wire) = self.wires.remove(index);
        if let Wire::Open(mut connection) = wire {
            connection.send_close(code.unwrap_or(1001));
            let counted = Gauge::enter(&self.shared);
            self.shared.runtime.spawn(async move {
                close(*connection).await;
                drop(counted);
            });
        }
    }

    fn lose(&mut self, id: ServerConnectionId, broken: &Broken) {
        match broken.code {
            Some(code) => self.let_go(id, Some(code)),
            None => self.wires.retain(|(it, _)| *it != id),
        }
        self.session
            .handle_lost(self.shared.now(), id, &broken.loss);
        self.carry_out();
    }

    // --- time -----------------------------------------------------------------------------------

    fn keep_time(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((at, reason)) = self.session.next_timeout() else {
            return false;
        };
        let at = Instant::from_std(self.shared.instant(at));
        if self.timer.deadline() != at {
            self.timer.set(sleep_until(at));
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        tracing::trace!(event = "timeout", ?reason);
        // The system's timers count milliseconds and may be early by a part of one.
        let now = self.shared.now().max(
            self.session
                .next_timeout()
                .map_or(self.shared.now(), |(at, _)| at),
        );
        self.session.handle_timeout(now);
        self.carry_out();
        true
    }

    // --- to the server --------------------------------------------------------------------------

    fn dial_some(&mut self, cx: &mut Context<'_>) -> bool {
        let mut opened = None;
        for (id, wire) in &mut self.wires {
            if let Wire::Opening(opening) = wire
                && let Poll::Ready(outcome) = opening.as_mut().poll(cx)
            {
                opened = Some((*id, outcome));
                break;
            }
        }
        let Some((id, outcome)) = opened else {
            return false;
        };
        match outcome {
            Ok((connection, form)) => {
                for (it, wire) in &mut self.wires {
                    if *it == id {
                        *wire = Wire::Open(Box::new(connection));
                        break;
                    }
                }
                self.session.handle_opened(self.shared.now(), id, form);
                self.carry_out();
            }
            Err(failure) => {
                self.failure = failure.kind();
                let loss = failure.into();
                self.lose(id, &Broken { loss, code: None });
            }
        }
        true
    }

    /// Writes some messages; `false` says that there are none, or no room.
    fn write_some(&mut self, cx: &mut Context<'_>) -> bool {
        let moved = self.write_data(cx);
        let mut broken = None;
        for (id, wire) in &mut self.wires {
            if let Wire::Open(connection) = wire
                && let Poll::Ready(Err(cause)) = connection.poll_flush(cx)
            {
                broken = Some((*id, cause));
                break;
            }
        }
        if let Some((id, cause)) = broken {
            self.lose(id, &cause);
            return true;
        }
        moved
    }

    fn write_data(&mut self, cx: &mut Context<'_>) -> bool {
        // A peer that may not be written to can overflow all the same.
        if self.link.mailbox.peek() == Taken::Overflowed {
            self.end = Some(End::Overflow);
            return false;
        }
        let Some((id, form)) = self.session.writer() else {
            return false;
        };
        for written in 0..TURN_MESSAGES {
            let Some(index) = self.wires.iter().position(|(it, _)| *it == id) else {
                return written > 0;
            };
            match self.wires.get(index) {
                Some((_, Wire::Open(connection))) if connection.is_ready() => {}
                _ => return written > 0,
            }
            let Some((topic, text)) = self.next_text(cx, form) else {
                return written > 0;
            };
            self.session.note_sent(topic.topic());
            self.with_connection(id, |connection| connection.send_text(&text));
            count(&self.counts.sent, 1);
            self.link.mailbox.moved();
        }
        true
    }

    /// The next message for the server, and its text.
    fn next_text(&mut self, cx: &mut Context<'_>, form: Form) -> Option<(Message, Bytes)> {
        loop {
            if let Some(reading) = &mut self.reading {
                let message = Message::split_off(&mut reading.rest);
                let text = reading.translation.texts(form).get(reading.index);
                reading.index += 1;
                match message {
                    Some(message) if !text.is_empty() => return Some((message, text)),
                    Some(_) => continue,
                    None => self.reading = None,
                }
            }
            if let Some(chunk) = self.outgoing.front_mut() {
                self.reading = chunk.next_translation().map(|(translation, index)| {
                    let mut rest = translation.run().clone();
                    for _ in 0..index {
                        let _dropped = Message::split_off(&mut rest);
                    }
                    Reading {
                        translation,
                        index,
                        rest,
                    }
                });
                if self.reading.is_none() {
                    self.outgoing.pop_front();
                }
                continue;
            }
            match self
                .link
                .mailbox
                .poll_take(cx, TAKE_BATCH, &mut self.outgoing)
            {
                Taken::Messages(_) => {}
                Taken::Empty => return None,
                Taken::Closed => {
                    self.leave();
                    return None;
                }
                Taken::Overflowed => {
                    self.end = Some(End::Overflow);
                    return None;
                }
            }
        }
    }

    // --- from the server ------------------------------------------------------------------------

    /// Whether nothing waits that must be handed on before the session ends.
    fn is_delivered(&mut self, cx: &mut Context<'_>) -> bool {
        match (&self.end, &mut self.inbox) {
            (Some(End::Ended(_)), Some(inbox)) => inbox.poll_empty(cx).is_ready(),
            _ => true,
        }
    }

    /// Reads and handles some messages; `false` says that there are none, or that it must wait.
    fn read_some(&mut self, cx: &mut Context<'_>) -> bool {
        // The old one of two connections comes first: what it holds is older.
        let connections: Vec<ServerConnectionId> = self.wires.iter().map(|(id, _)| *id).collect();
        let mut moved = false;
        for id in connections {
            moved |= self.read_line(cx, id);
        }
        moved
    }

    /// Whether what a connection brings can be taken.
    fn has_room(&mut self, cx: &mut Context<'_>, id: ServerConnectionId) -> bool {
        let Some(inbox) = &mut self.inbox else {
            return true;
        };
        let backlog_max = if self.session.awaits_ack(id) {
            AWAITED_BACKLOG_BYTES_MAX
        } else {
            BACKLOG_BYTES_MAX
        };
        inbox.poll_ready(cx, backlog_max).is_ready()
    }

    fn read_line(&mut self, cx: &mut Context<'_>, id: ServerConnectionId) -> bool {
        for read in 0..TURN_MESSAGES {
            if !self.has_room(cx, id) {
                self.session.set_paused(self.shared.now(), id, true);
                return read > 0;
            }
            if read == 0 {
                self.session.set_paused(self.shared.now(), id, false);
            }
            let found = self.wires.iter_mut().find(|(it, _)| *it == id);
            let Some((_, Wire::Open(connection))) = found else {
                return read > 0;
            };
            let polled = connection.poll_next(cx);
            if connection.heard() {
                self.session.handle_heard(self.shared.now(), id);
            }
            match polled {
                Poll::Pending => return read > 0 || connection.owes_pong(),
                Poll::Ready(Ok(Received::Message(text))) => self.handle(id, &text),
                Poll::Ready(Ok(Received::Pong(payload))) => {
                    self.session.handle_pong(self.shared.now(), id, &payload);
                    self.carry_out();
                }
                Poll::Ready(Err(broken)) => {
                    self.lose(id, &broken);
                    return true;
                }
            }
        }
        true
    }

    fn handle(&mut self, id: ServerConnectionId, text: &[u8]) {
        self.payload.clear();
        self.payload.shrink_to(SCRATCH_MAX);
        let now = self.shared.now();
        let topic = self.session.handle_text(now, id, text, &mut self.payload);
        self.carry_out();
        if let Some(topic) = topic {
            self.deliver(&topic);
        }
    }

    fn deliver(&mut self, topic: &Topic) {
        // Whom the control plane has let go of is no peer any more.
        if self.link.is_closing() {
            return;
        }
        let Some(inbox) = &mut self.inbox else { return };
        match inbox.deliver(topic, &self.payload) {
            Ok(_) => count(&self.counts.received, 1),
            Err(error) => tracing::debug!(event = "message-dropped", %error),
        }
    }
}

/// Writes what a connection has left, reads what still comes up to the server's close frame, and ends
/// the stream; all of it for a limited time.
async fn close(mut connection: Connection) {
    let bye = async {
        poll_fn(|cx| connection.poll_flush(cx)).await?;
        while poll_fn(|cx| connection.poll_next(cx)).await.is_ok() {}
        Ok::<(), Broken>(())
    };
    let _ = timeout(CLOSE_TIMEOUT, bye).await;
    socket::linger(connection.socket()).await;
}
