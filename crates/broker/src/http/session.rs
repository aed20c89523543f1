//! One WebSocket client: its task, what it gets and what it sends.
//!
//! The task owns the socket both ways. A turn writes what the client's mailbox holds and reads what
//! it sent, each within a budget, and yields when a budget is used up. While an answer waits to be
//! written, or a consumer has no room for what the client published, nothing is read from it: so a
//! client that sends and does not listen holds up only itself. Spec: websocket 2, 3.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use broker_data::json::Form;
use broker_proto::frame::{EnvelopeError, Tag, write_envelope};
use broker_proto::http::upgrade::LOSSLESS_PROTOCOL;
use broker_proto::json::server::{ACL_DENIED, Close, ServerSession, ServerStep, close_code, error};
use broker_proto::status::{
    TEXT_ADDED, TEXT_DISCOVERED, TEXT_LOST, TEXT_OVERFLOW, TEXT_REMOVED, TEXT_UNREACHABLE,
};
use broker_proto::{
    EndpointId, EndpointInfo, Event, LocalId, LocalKind, NetworkAddress, Origin, Status,
    StatusCode, Topic,
};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;
use tungstenite::Error as WsError;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::Message;

use super::server::Server;
use super::stream::WebSocketStream;
use crate::core::control::NotAdded;
use crate::core::gate::{Over, Pass, Publishing};
use crate::core::shared::Shared;
use crate::core::websocket_counts::{Application, count};
use crate::flow::inject::inject;
use crate::flow::mailbox::{Chunk, Mailbox, Taken};
use crate::flow::routing::TopicMemo;
use crate::flow::target::{Target, TargetKind};
use crate::flow::translation::Translation;
use crate::net::socket;

/// Version in the acknowledgement: the release of the original whose server this stands in for.
const VERSION: &str = "2.8.0";

/// Messages moved in one direction before the other gets its turn.
const TURN_MESSAGES: usize = 64;

/// Bytes of text moved in both directions before the task yields to others: a few milliseconds of
/// reading JSON, unless one message alone is larger.
const TURN_BYTES: usize = 512 * 1024;

/// Bytes taken from the mailbox at once.
const TAKE_BATCH: usize = 64 * 1024;

/// Buffers that one large message blew up are given back beyond this.
const SCRATCH_MAX: usize = 64 * 1024;

/// How long the last messages and the close frames of both sides may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The same while the endpoint shuts down, which must not wait for clients that do not answer.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(700);

/// Bytes of all topics that this endpoint asks its peers for, beyond which clients cannot add any:
/// the filter never shrinks, and goes to every peer.
const FILTER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest reason of a close frame. RFC 6455, section 5.5.
const REASON_MAX: usize = 123;

/// What the events of a client are marked with, so that readers can tell it from a peer.
const KIND: &str = "(web-socket)";

/// What a client is once it has subscribed.
struct Consumer {
    id: LocalId,
    mailbox: Arc<Mailbox>,
    memo: TopicMemo,
}

/// How a session ends.
enum End {
    /// The client said goodbye.
    Left,
    /// The connection broke.
    Lost(String),
    /// We end it.
    Close(Close),
    /// The client did not take its messages.
    Overflow,
}

pub(super) struct Session {
    shared: Arc<Shared>,
    server: Arc<Server>,
    stream: WebSocketStream,
    conversation: ServerSession,
    /// The id of the client, made up for its events.
    id: EndpointId,
    remote: SocketAddr,
    application: String,
    counts: Arc<Application>,
    consumer: Option<Consumer>,
    /// What it may do, if there is a policy.
    pass: Option<Pass>,
    /// Resolves when that has to be looked at again.
    stale: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What it asked for, with a policy: rights may come back.
    /// Bound: `SUBSCRIPTIONS_MAX`.
    wanted: Vec<Topic>,
    /// The topic of the message in `payload`, which waits for its turn within the limits.
    held: Option<Topic>,
    /// Answers, which go before data.
    /// Bound: the answer to one message; nothing is read before it is sent.
    replies: VecDeque<Bytes>,
    /// Bound: `TAKE_BATCH`; nothing is taken before it is sent.
    outgoing: VecDeque<Chunk>,
    /// The run that is being written, and its next message.
    reading: Option<(Arc<Translation>, usize)>,
    /// What some consumers have no room for.
    delivery: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    unflushed: bool,
    draining: bool,
    ping_due: bool,
    /// When the client was sent a ping that nothing has come back for.
    pinged: Option<Instant>,
    /// Bytes of text that may still be moved before the task yields.
    budget: usize,
    payload: Vec<u8>,
    frame: Vec<u8>,
    pending: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// `None` when the system has no random bytes for an id.
    pub(super) fn new(
        shared: Arc<Shared>,
        server: Arc<Server>,
        stream: WebSocketStream,
        remote: SocketAddr,
        application: &str,
        protocol: Option<&'static str>,
        pass: Option<Pass>,
    ) -> Option<Self> {
        let form = match protocol {
            Some(LOSSLESS_PROTOCOL) => Form::Lossless,
            _ => Form::Compatible,
        };
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        Some(Self {
            conversation: ServerSession::new(shared.data.id, VERSION, form),
            counts: shared.web_sockets.applications.of(application),
            shared,
            server,
            stream,
            id: EndpointId::from_random(random),
            remote,
            application: application.to_owned(),
            consumer: None,
            stale: stale(pass.as_ref()),
            pass,
            wanted: Vec::new(),
            held: None,
            replies: VecDeque::new(),
            outgoing: VecDeque::new(),
            reading: None,
            delivery: None,
            unflushed: false,
            draining: false,
            ping_due: false,
            pinged: None,
            budget: 0,
            payload: Vec::new(),
            frame: Vec::new(),
            pending: None,
        })
    }

    /// Serves the client to its end. The permit is returned when it has subscribed.
    pub(super) async fn run(mut self, pending: OwnedSemaphorePermit) {
        self.pending = Some(pending);
        let span = tracing::info_span!(
            "web-socket-client",
            client = %self.id,
            remote = %self.remote,
            application = %self.application,
        );
        async move {
            let end = self.serve().await;
            self.end_session(end).await;
        }
        .instrument(span)
        .await;
    }

    /// Tells the client why it is not served.
    pub(super) async fn turn_away(mut self, close: Close) {
        self.shared.web_sockets.count_refusal();
        tracing::info!(event = "web-socket-refused", remote = %self.remote, cause = %close.reason);
        self.close(Some(close)).await;
    }

    async fn serve(&mut self) -> End {
        let shared = self.shared.clone();
        let mut shutdown = pin!(shared.until_shutdown());
        let mut timer = pin!(sleep(self.server.options.subscription_timeout));
        let mut was_subscribed = false;
        poll_fn(|cx| {
            if !self.draining && shutdown.as_mut().poll(cx).is_ready() {
                self.drain();
                timer.as_mut().reset(Instant::now() + SHUTDOWN_TIMEOUT);
            }
            if let Err(end) = self.look_at_rights(cx) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(end) = self.poll(cx) {
                return Poll::Ready(end);
            }
            // A subscription in this turn waits for another policy than the session did before, and has to
            // be woken by it.
            if let Err(end) = self.look_at_rights(cx) {
                return Poll::Ready(end);
            }
            if self.conversation.is_subscribed() && !was_subscribed {
                was_subscribed = true;
                timer.as_mut().reset(self.next_look());
            }
            loop {
                ready!(timer.as_mut().poll(cx));
                if let Some(end) = self.time_out() {
                    return Poll::Ready(end);
                }
                timer.as_mut().reset(self.next_look());
                // The ping itself goes out in the next turn.
                cx.waker().wake_by_ref();
            }
        })
        .await
    }

    /// Takes away what the client may not have any more, and gives it what it asked for and may have now.
    fn look_at_rights(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while let Some(stale) = &mut self.stale {
            if stale.as_mut().poll(cx).is_pending() {
                break;
            }
            let Some(pass) = &mut self.pass else { break };
            pass.refresh().map_err(not_permitted)?;
            self.stale = stale_of(pass);
            let Some(consumer) = &self.consumer else {
                continue;
            };
            let granted = pass.granted(&self.wanted, false).map_err(not_permitted)?;
            let (id, shared) = (consumer.id, &self.shared);
            shared.data.routes.update(|table| {
                let gone: Vec<_> = table
                    .local_topics(id)
                    .filter(|topic| !granted.contains(topic))
                    .cloned()
                    .collect();
                for topic in &gone {
                    table.remove_local_topic(id, topic);
                }
                table.add_local_topics(id, granted.iter().cloned());
            });
            shared.subscribe(&granted);
            tracing::info!(
                event = "web-socket-client-judged-again",
                topics = granted.len()
            );
        }
        Ok(())
    }

    /// When to look for a sign of life.
    fn next_look(&self) -> Instant {
        /// Without pings the timer has nothing to do; it may as well fire once a year.
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        let options = &self.server.options;
        let after = |wait: Duration| {
            if wait.is_zero() {
                NEVER
            } else {
                wait.min(NEVER)
            }
        };
        let ping = Instant::now() + after(options.ping_interval);
        match self.pinged {
            Some(pinged) => ping.min(pinged + after(options.ping_timeout)),
            None => ping,
        }
    }

    fn time_out(&mut self) -> Option<End> {
        if self.draining {
            return Some(End::Close(Close::shutdown()));
        }
        if !self.conversation.is_subscribed() {
            return Some(End::Close(Close::no_subscription()));
        }
        // While we do not read we cannot hear anything either.
        if self.stream.heard() || self.delivery.is_some() {
            self.pinged = None;
            return None;
        }
        let timeout = self.server.options.ping_timeout;
        let now = Instant::now();
        let pinged = *self.pinged.get_or_insert(now);
        if !timeout.is_zero() && now.duration_since(pinged) >= timeout {
            return Some(End::Close(Close::silent()));
        }
        self.ping_due = true;
        None
    }

    /// Begins the end: nothing more is taken from anybody, what waits is still written.
    fn drain(&mut self) {
        self.draining = true;
        if let Some(consumer) = &self.consumer {
            self.shared
                .data
                .routes
                .update(|table| table.remove_local(consumer.id));
            consumer.mailbox.finish();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.budget = TURN_BYTES;
        while self.budget > 0 {
            let turn = self
                .write_some(cx)
                .and_then(|wrote| Ok(self.read_some(cx)? || wrote));
            match turn {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    // --- to the client --------------------------------------------------------------------------

    /// Writes some messages; `false` says that there are none, or no room.
    fn write_some(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for written in 0..TURN_MESSAGES {
            match self.stream.poll_ready(cx) {
                Poll::Ready(outcome) => outcome.map_err(|error| failure(&error))?,
                Poll::Pending => {
                    self.watch_mailbox(cx)?;
                    return Ok(written > 0);
                }
            }
            let sent = if let Some(reply) = self.replies.pop_front() {
                self.stream.send_text(cx, reply)
            } else if std::mem::take(&mut self.ping_due) {
                self.stream.send(cx, Message::Ping(Bytes::new()))
            } else if self.budget == 0 {
                return Ok(true);
            } else if let Some(text) = self.next_text(cx)? {
                count(&self.counts.sent, 1);
                self.spend(text.len());
                self.stream.send_text(cx, text)
            } else {
                self.flush(cx)?;
                return Ok(written > 0);
            };
            sent.map_err(|error| failure(&error))?;
            self.unflushed = true;
            if let Some(consumer) = &self.consumer {
                consumer.mailbox.moved();
            }
        }
        Ok(true)
    }

    fn spend(&mut self, bytes: usize) {
        // Short texts have a price, too.
        const PRICE_MIN: usize = 256;
        self.budget = self.budget.saturating_sub(bytes.max(PRICE_MIN));
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        if self.unflushed
            && let Poll::Ready(outcome) = self.stream.poll_flush(cx)
        {
            outcome.map_err(|error| failure(&error))?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// A socket that is full does not say when the mailbox overflows; the mailbox does.
    fn watch_mailbox(&self, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(consumer) = &self.consumer else {
            return Ok(());
        };
        consumer.mailbox.register(cx);
        match consumer.mailbox.peek() {
            Taken::Overflowed => Err(End::Overflow),
            Taken::Messages(_) | Taken::Empty | Taken::Closed => Ok(()),
        }
    }

    /// The text of the next message for the client.
    fn next_text(&mut self, cx: &mut Context<'_>) -> Result<Option<Bytes>, End> {
        loop {
            if let Some((translation, index)) = &mut self.reading {
                if *index < translation.frames() {
                    let text = translation.texts(self.conversation.form()).get(*index);
                    *index += 1;
                    if !text.is_empty() {
                        return Ok(Some(text));
                    }
                    continue;
                }
                self.reading = None;
            }
            if let Some(chunk) = self.outgoing.front_mut() {
                self.reading = chunk.next_translation();
                if self.reading.is_none() {
                    self.outgoing.pop_front();
                }
                continue;
            }
            let Some(consumer) = &self.consumer else {
                return if self.draining {
                    Err(End::Close(Close::shutdown()))
                } else {
                    Ok(None)
                };
            };
            match consumer
                .mailbox
                .poll_take(cx, TAKE_BATCH, &mut self.outgoing)
            {
                Taken::Messages(_) => {}
                Taken::Empty => return Ok(None),
                Taken::Closed => return Err(End::Close(Close::shutdown())),
                Taken::Overflowed => return Err(End::Overflow),
            }
        }
    }

    // --- from the client ------------------------------------------------------------------------

    /// Reads and handles some messages; `false` says that there are none, or that it must wait.
    fn read_some(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for read in 0..TURN_MESSAGES {
            if let Some(delivery) = &mut self.delivery {
                if delivery.as_mut().poll(cx).is_pending() {
                    return Ok(read > 0);
                }
                self.delivery = None;
                if let Some(topic) = self.held.take() {
                    self.route(&topic);
                    continue;
                }
            }
            if self.draining || !self.replies.is_empty() {
                return Ok(read > 0);
            }
            if self.budget == 0 {
                return Ok(true);
            }
            match self.stream.poll_next(cx) {
                Poll::Pending => return Ok(read > 0),
                Poll::Ready(None) => return Err(End::Left),
                Poll::Ready(Some(Err(error))) => return Err(failure(&error)),
                Poll::Ready(Some(Ok(message))) => self.handle(message)?,
            }
        }
        Ok(true)
    }

    fn handle(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Text(text) => {
                let step = self.step(text.as_bytes(), ServerSession::handle_text);
                self.carry_out(step)
            }
            Message::Binary(bytes) => {
                let step = self.step(&bytes, ServerSession::handle_binary);
                self.carry_out(step)
            }
            Message::Close(_) => Err(End::Left),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    fn step(
        &mut self,
        message: &[u8],
        handle: fn(&mut ServerSession, &[u8], &mut Vec<u8>) -> ServerStep,
    ) -> ServerStep {
        self.payload.clear();
        self.spend(message.len());
        handle(&mut self.conversation, message, &mut self.payload)
    }

    fn carry_out(&mut self, step: ServerStep) -> Result<(), End> {
        match step {
            ServerStep::Subscribe { topics, ack } => {
                self.subscribe(topics)?;
                self.replies.push_back(ack.into());
            }
            ServerStep::Publish { topic } => self.publish(topic)?,
            ServerStep::Refuse { message } => {
                count(&self.counts.refused, 1);
                self.replies.push_back(message.into());
            }
            ServerStep::Close(close) => return Err(End::Close(close)),
        }
        self.payload.shrink_to(SCRATCH_MAX);
        self.frame.shrink_to(SCRATCH_MAX);
        Ok(())
    }

    fn subscribe(&mut self, mut topics: Vec<Topic>) -> Result<(), End> {
        if let Some(pass) = &mut self.pass {
            pass.refresh().map_err(not_permitted)?;
            self.stale = stale_of(pass);
            let granted = pass.granted(&topics, true).map_err(not_permitted)?;
            self.wanted = std::mem::replace(&mut topics, granted);
        }
        let shared = &self.shared;
        let mailbox = Mailbox::new(self.server.limits.clone());
        shared.data.report_bursts_of(&mailbox, TargetKind::Client);
        let mailbox = Arc::new(mailbox);
        let target = Target {
            mailbox: mailbox.clone(),
            kind: TargetKind::Client,
        };
        let added = shared.add_consumer(LocalKind::Client, &topics, target, FILTER_BYTES_MAX);
        let id = added.map_err(|why| {
            End::Close(match why {
                NotAdded::ShutDown => Close::shutdown(),
                NotAdded::TooManyTopics => Close::too_many_subscriptions(),
            })
        })?;
        shared.wants_changed();
        let forwarding = !shared.options.disable_forwarding;
        self.consumer = Some(Consumer {
            id,
            mailbox: mailbox.clone(),
            memo: TopicMemo::new(Origin::Client(id), forwarding),
        });
        self.stream
            .limit_messages(self.server.options.message_bytes_max);
        self.pending = None;
        count(&self.counts.subscribed, 1);
        self.counts.enter(mailbox);
        tracing::info!(
            event = "web-socket-client-added",
            topics = topics.len(),
            principal = self.pass.as_ref().map(Pass::principal),
        );
        self.report(
            (StatusCode::EndpointDiscovered, TEXT_DISCOVERED),
            (StatusCode::PeerAdded, TEXT_ADDED),
        );
        Ok(())
    }

    /// Publishes the value in `payload` if it may be.
    fn publish(&mut self, topic: Topic) -> Result<(), End> {
        if let Some(pass) = &mut self.pass {
            let (told, wait) = match pass.publish(topic.as_bytes(), &mut self.payload) {
                Publishing::Go { wait, left_out } => (left_out, Some(wait)),
                Publishing::Refused(what) => (Some(what), None),
                Publishing::End(over) => return Err(not_permitted(over)),
            };
            if let Some(told) = told {
                count(&self.counts.refused, 1);
                self.replies.push_back(error(ACL_DENIED, &told).into());
            }
            match wait {
                None => return Ok(()),
                Some(Duration::ZERO) => {}
                Some(wait) => {
                    // Until then nothing is read.
                    self.held = Some(topic);
                    self.delivery = Some(Box::pin(sleep(wait)));
                    return Ok(());
                }
            }
        }
        self.route(&topic);
        Ok(())
    }

    /// Hands the value in `payload` to those that want it.
    fn route(&mut self, topic: &Topic) {
        let Some(consumer) = &mut self.consumer else {
            return;
        };
        self.frame.clear();
        let payload = &self.payload;
        let written = write_envelope(
            &mut self.frame,
            self.shared.data.id,
            EndpointId::NIL,
            Tag::Data,
            topic.as_bytes(),
            |out| -> Result<(), EnvelopeError> {
                out.extend_from_slice(payload);
                Ok(())
            },
        );
        if let Err(cause) = written {
            count(&self.counts.refused, 1);
            let message = error("deserialization_failed", &cause.to_string());
            return self.replies.push_back(message.into());
        }
        count(&self.counts.received, 1);
        let entry = consumer
            .memo
            .entry(&self.shared.data.routes, topic.as_bytes())
            .clone();
        entry.counter.count_received(1, self.frame.len() as u64);
        let targets = &entry.targets;
        if targets.is_empty() {
            return;
        }
        if let Some(blocked) = inject(&self.shared.data, &mut self.frame, targets) {
            self.delivery = Some(Box::pin(blocked.finished()));
        }
    }

    // --- the end --------------------------------------------------------------------------------

    async fn end_session(mut self, end: End) {
        let subscribed = self.detach();
        let cause = match &end {
            End::Left => "the client left",
            End::Lost(cause) => cause,
            End::Close(close) => &close.reason,
            End::Overflow => "the client does not take its messages",
        };
        tracing::info!(event = "web-socket-client-ended", cause);
        let (gone, close) = match end {
            End::Left | End::Lost(_) => ((StatusCode::PeerLost, TEXT_LOST), None),
            End::Close(close) => ((StatusCode::PeerRemoved, TEXT_REMOVED), Some(close)),
            End::Overflow => {
                count(&self.counts.overflowed, 1);
                let gone = (StatusCode::PeerRemoved, TEXT_OVERFLOW);
                (gone, Some(Close::overflow()))
            }
        };
        if subscribed {
            self.report(gone, (StatusCode::EndpointUnreachable, TEXT_UNREACHABLE));
        } else {
            self.shared.web_sockets.count_refusal();
        }
        self.close(close).await;
    }

    /// Takes the client out of the routes; `false` when it never was in them.
    fn detach(&mut self) -> bool {
        let Some(consumer) = self.consumer.take() else {
            return false;
        };
        self.shared
            .data
            .routes
            .update(|table| table.remove_local(consumer.id));
        consumer.mailbox.close();
        self.counts.leave(&consumer.mailbox);
        true
    }

    /// Sends the last frame if it is on us, waits for the other side's, and ends the stream.
    async fn close(&mut self, close: Option<Close>) {
        let limit = if self.shared.is_shut_down() {
            SHUTDOWN_TIMEOUT
        } else {
            CLOSE_TIMEOUT
        };
        let stream = &mut self.stream;
        let bye = async {
            if let Some(close) = close {
                if let Some(message) = close.message {
                    poll_fn(|cx| stream.poll_ready(cx)).await?;
                    let text = Bytes::from(message);
                    poll_fn(|cx| Poll::Ready(stream.send_text(cx, text.clone()))).await?;
                }
                poll_fn(|cx| stream.poll_ready(cx)).await?;
                let reason = shortened(&close.reason);
                poll_fn(|cx| Poll::Ready(stream.send_close(cx, close.code, reason))).await?;
            }
            poll_fn(|cx| stream.poll_flush(cx)).await?;
            // Whatever still comes is of no interest, up to the other side's close frame.
            while let Some(Ok(_)) = poll_fn(|cx| stream.poll_next(cx)).await {}
            Ok::<(), WsError>(())
        };
        let _ = timeout(limit, bye).await;
        socket::linger(self.stream.socket()).await;
    }

    /// Tells the application: the second event names the address if it is about a peering.
    fn report(&self, first: (StatusCode, &str), second: (StatusCode, &str)) {
        let network = NetworkAddress::new(self.remote.ip().to_string(), self.remote.port());
        let event = |(code, text): (StatusCode, &str)| {
            let is_peering = !matches!(
                code,
                StatusCode::EndpointDiscovered | StatusCode::EndpointUnreachable
            );
            Event::Status(Status {
                code,
                context: Some(EndpointInfo {
                    id: Some(self.id),
                    network: is_peering.then(|| network.clone()),
                }),
                text: format!("{text} {KIND}"),
            })
        };
        self.shared
            .data
            .publish_events(&[event(first), event(second)]);
    }
}

/// When the rights of a client have to be looked at again.
fn stale(pass: Option<&Pass>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
    pass.and_then(stale_of)
}

fn stale_of(pass: &Pass) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
    Some(Box::pin(pass.stale()))
}

fn not_permitted(over: Over) -> End {
    End::Close(Close::not_permitted(over.reason()))
}

/// What an error of the library means.
fn failure(error: &WsError) -> End {
    match error {
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            End::Lost("the client ended the stream without a close frame".to_owned())
        }
        WsError::Protocol(cause) => End::Close(Close::new(close_code::PROTOCOL, cause.to_string())),
        WsError::Utf8(cause) => End::Close(Close::new(close_code::INVALID_TEXT, cause.clone())),
        WsError::Capacity(cause) => End::Close(Close::new(close_code::TOO_BIG, cause.to_string())),
        WsError::ConnectionClosed | WsError::AlreadyClosed => End::Left,
        other => End::Lost(other.to_string()),
    }
}

/// As much of a reason as a close frame can hold.
fn shortened(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(100);
        assert_eq!(shortened(&long), "é".repeat(61));
    }
}
