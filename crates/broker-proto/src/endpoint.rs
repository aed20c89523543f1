//! The control state of one endpoint: connections, handshakes, peers, retries, goodbyes.
//!
//! Spec: wire 7 to 9, endpoint 2 and 6. The runtime owns sockets and clock; it reports what
//! happened and does what [`Endpoint::poll_output`] says. Data never passes through here: from
//! [`Output::Install`] on the runtime routes it by itself. See ADR 0010.
//!
//! Invariants:
//! - at most one connection per remote id holds that id, from admission to the end;
//! - an outgoing peering is one `Attempt` from the call until it is established; afterwards the
//!   connection remembers the address and the retry interval;
//! - every request gets exactly one reply, unless it is cancelled;
//! - `Uninstall` follows every `Install`, and events come in pairs around them.

mod attempt;
mod connection;
mod departure;
mod failures;
mod foreign;
mod handshake;
mod peering;
mod ping;
mod refusal;
mod retry;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker_data::{Timespan, Timestamp};

use crate::config::Config;
use crate::filter::Filter;
use crate::id::EndpointId;
use crate::message::Handshake;
use crate::peer_url::PeerUrl;
use crate::status::{ErrorCode, Event, NetworkAddress, PeerStatus};
use crate::topic::Topic;

pub use failures::HandshakeFailures;
pub use refusal::RefusalCounts;
pub use retry::Retry;

use attempt::{Attempt, AttemptId, AttemptState};
use connection::{Connection, Stage};
use departure::Departures;
use refusal::Refusals;

/// Names a connection. The endpoint chooses the numbers and never reuses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Names a request. The caller chooses the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Which side of this machine speaks with the other end of an outgoing peering.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Transport {
    /// This machine, in the native protocol.
    Native,
    /// The runtime, in the protocol that the URL names. It says who is there and what they want,
    /// and is told what this endpoint wants; see [`Output::Join`].
    Foreign(Arc<PeerUrl>),
}

impl Transport {
    const fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign(_))
    }

    const fn url(&self) -> Option<&Arc<PeerUrl>> {
        match self {
            Self::Native => None,
            Self::Foreign(url) => Some(url),
        }
    }
}

/// How a connection ended without the endpoint having asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The other side closed or reset it.
    Remote,
    /// The other side, which had connected, closed or reset it before it sent anything.
    Silent,
    /// It failed, or what came is not the protocol; in words.
    Broken(String),
    /// The peer did not take its messages.
    Overflow,
    /// The handshake took too long.
    TimedOut,
    /// The peer may do nothing here any more, or did too much of what it may not; in words.
    NotPermitted(&'static str),
}

/// Why the endpoint closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer answered the goodbye.
    Goodbye,
    /// The peer did not answer the goodbye in time.
    GoodbyeTimeout,
    /// The peer was told why with a message of that code.
    Refused(ErrorCode),
    /// The peer told why.
    Dropped(ErrorCode),
    /// The peer sent what is not allowed at this point.
    Illegal,
    /// Nobody wants it any more.
    Cancelled,
    /// The endpoint shuts down.
    Shutdown,
}

/// What kind of failure a peering came to nothing for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerFailure {
    /// Nobody was reached, or not in time.
    Unreachable,
    /// The other side was reached, and one of both does not accept the other: TLS, certificates,
    /// protocol, access.
    Refused,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFault {
    /// What kind of failure it is.
    pub failure: PeerFailure,
    /// In words.
    pub text: String,
}

impl DialFault {
    /// The other side was reached.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self {
            failure: PeerFailure::Refused,
            text: text.into(),
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The peering is established, or was so already.
    Peered,
    /// The peering failed.
    PeerFailed {
        /// Why.
        code: ErrorCode,
        /// What kind of failure it is.
        failure: PeerFailure,
        /// Why, in words.
        text: String,
    },
    /// The peering is about to end, or there was none.
    Unpeered,
    /// Whether the peer is there.
    PeerAwaited(bool),
    /// Whether the peer answered.
    Pinged(bool),
}

/// What the runtime is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Connect, with TLS if configured; report [`Endpoint::handle_dialed`] or
    /// [`Endpoint::handle_dial_failed`]. May be closed before it is done.
    Dial {
        /// The connection to be.
        connection: ConnectionId,
        /// Name or numeric address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Find whoever is at an address that another protocol is spoken at; report
    /// [`Endpoint::handle_joined`] or [`Endpoint::handle_dial_failed`]. No frame is ever sent to
    /// it. May be closed before it is done.
    Join {
        /// The connection to be.
        connection: ConnectionId,
        /// The address, as it was given to [`Endpoint::peer_foreign`].
        url: Arc<PeerUrl>,
    },
    /// The other end of a connection is to send these topics from now on: a routing update
    /// ([`routing_update`](crate::message::routing_update)) to a native peer, before whatever is sent to it after this.
    /// One that was not sent yet may be left out, as a filter holds all that the one before held.
    Interest {
        /// The connection.
        connection: ConnectionId,
        /// Who is at its other end.
        peer: EndpointId,
        /// What this endpoint wants.
        filter: Filter,
    },
    /// Send a complete frame.
    Send {
        /// Where.
        connection: ConnectionId,
        /// The frame with its length prefix.
        frame: Vec<u8>,
    },
    /// Flush what was sent, close, and do not report anything about it any more.
    Close {
        /// What.
        connection: ConnectionId,
        /// Why.
        cause: CloseCause,
    },
    /// Read nothing from it until told otherwise.
    Pause {
        /// What.
        connection: ConnectionId,
    },
    /// Read again.
    Resume {
        /// What.
        connection: ConnectionId,
    },
    /// The handshake is over: route to and from this peer.
    Install {
        /// The connection.
        connection: ConnectionId,
        /// Who is at its other end.
        peer: EndpointId,
        /// What the peer wants.
        filter: Filter,
    },
    /// Send the peer no more data. Its connection may live on for a while.
    Uninstall {
        /// Who.
        peer: EndpointId,
    },
    /// A peer wants something else from now on.
    PeerFilter {
        /// Who.
        peer: EndpointId,
        /// What it wants.
        filter: Filter,
    },
    /// Tell the application.
    Event(Event),
    /// A request has ended.
    Reply {
        /// Which.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// No connection is left, and none will be made.
    ShutdownComplete,
}

/// What the next timeout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeoutReason {
    /// A goodbye stays unanswered.
    Goodbye,
    /// An outgoing peering is tried again.
    Retry,
    /// Somebody has waited for a peer for long enough.
    AwaitPeer,
}

/// A peer of this endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its id.
    pub id: EndpointId,
    /// Where it is.
    pub network: NetworkAddress,
    /// What it is.
    pub status: PeerStatus,
}

/// The control state of an endpoint.
///
/// - `handle_*`: something happened. Reports about connections that are gone are ignored.
/// - [`peer`](Self::peer), [`unpeer`](Self::unpeer), ...: the application wants something.
/// - [`poll_output`](Self::poll_output): to be called until `None` after each of the above.
/// - [`next_timeout`](Self::next_timeout): when to call [`handle_timeout`](Self::handle_timeout).
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    filter: Filter,
    /// Rises with the filter, so that a handshake can tell whether it sent an old one.
    filter_version: u64,
    phase: Phase,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Which connection holds a remote id. Together with the stage of that connection it is the
    /// peer status map of the specification; those who left are forgotten. See ADR 0011.
    holders: BTreeMap<EndpointId, ConnectionId>,
    attempts: BTreeMap<AttemptId, Attempt>,
    waiters: Vec<Waiter>,
    /// Peers that left a moment ago.
    departures: Departures,
    refusals: Refusals,
    failures: HandshakeFailures,
    /// Bound: what one call leads to, a few per connection; the caller drains it after each.
    outputs: VecDeque<Output>,
    numbers: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Goodbyes are under way.
    Leaving,
    Down,
}

/// Somebody who waits for a peer.
#[derive(Debug)]
struct Waiter {
    peer: EndpointId,
    deadline: Timestamp,
    request: RequestId,
}

impl Endpoint {
    /// An endpoint without peers and subscriptions.
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            filter: Filter::new(),
            filter_version: 0,
            phase: Phase::Running,
            connections: BTreeMap::new(),
            holders: BTreeMap::new(),
            attempts: BTreeMap::new(),
            waiters: Vec::new(),
            departures: Departures::new(),
            refusals: Refusals::new(),
            failures: HandshakeFailures::NONE,
            outputs: VecDeque::new(),
            numbers: 0,
        }
    }

    // --- getters --------------------------------------------------------------------------------

    /// The endpoint's id.
    pub const fn id(&self) -> EndpointId {
        self.config.id
    }

    /// What this endpoint wants from its peers. Never shrinks. Spec: wire 8.1.
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The peers, in the order of their ids; those that are being said goodbye to included.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let peer = |(id, holder): (&EndpointId, &ConnectionId)| {
            let connection = self.connections.get(holder)?;
            connection.stage.is_peering().then(|| PeerInfo {
                id: *id,
                network: connection.address.clone(),
                status: PeerStatus::Peered,
            })
        };
        self.holders.iter().filter_map(peer).collect()
    }

    /// Where a peer is, or is about to be.
    pub fn peer_address(&self, peer: EndpointId) -> Option<NetworkAddress> {
        let connection = self.connections.get(self.holders.get(&peer)?)?;
        Some(connection.address.clone())
    }

    /// The URLs of foreign peers that are there, on their way or looked for, sorted by their text, each
    /// once.
    pub fn foreign_urls(&self) -> Vec<Arc<PeerUrl>> {
        let there = self.connections.values().map(|it| &it.transport);
        let wanted = self.attempts.values().map(|it| &it.transport);
        let urls: BTreeMap<String, &Arc<PeerUrl>> = there
            .chain(wanted)
            .filter_map(Transport::url)
            .map(|url| (url.host(), url))
            .collect();
        urls.into_values().cloned().collect()
    }

    /// Whether a native peer is there, on its way or looked for.
    pub fn expects_native_peers(&self) -> bool {
        let mut there = self.connections.values();
        let mut wanted = self.attempts.values();
        there.any(|connection| !connection.transport.is_foreign())
            || wanted.any(|attempt| !attempt.transport.is_foreign())
    }

    /// What a remote endpoint is to this one. Spec: wire 7.5.
    pub fn peer_status(&self, id: EndpointId) -> PeerStatus {
        match self.holder(id) {
            Some(connection) if connection.stage.is_peering() => PeerStatus::Peered,
            Some(_) => PeerStatus::Connecting,
            None => PeerStatus::Unknown,
        }
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    pub fn is_shutting_down(&self) -> bool {
        self.phase != Phase::Running
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and what for.
    pub fn next_timeout(&self) -> Option<(Timestamp, TimeoutReason)> {
        let goodbyes = self
            .connections
            .values()
            .filter_map(|connection| Some((connection.stage.deadline()?, TimeoutReason::Goodbye)));
        let retries = self
            .attempts
            .values()
            .filter_map(|attempt| Some((attempt.due()?, TimeoutReason::Retry)));
        let waits = self
            .waiters
            .iter()
            .map(|waiter| (waiter.deadline, TimeoutReason::AwaitPeer));
        goodbyes.chain(retries).chain(waits).min()
    }

    /// What the runtime is to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    // --- what happened --------------------------------------------------------------------------

    /// An incoming connection is up, TLS included. The address is that of the remote socket.
    pub fn handle_accepted(&mut self, _now: Timestamp, remote: NetworkAddress) -> ConnectionId {
        let id = ConnectionId(self.number());
        if self.phase != Phase::Running {
            self.send_drop(id, ErrorCode::ShuttingDown, handshake::TEXT_SHUTTING_DOWN);
            self.close(id, CloseCause::Shutdown);
            return id;
        }
        self.connections.insert(id, Connection::accepted(remote));
        self.send(id, Handshake::Probe.encode());
        id
    }

    /// A dialed connection is up, TLS included.
    pub fn handle_dialed(&mut self, _now: Timestamp, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if matches!(connection.stage, Stage::Dialing) {
            connection.stage = Stage::dialed();
            self.send_hello(id);
        }
    }

    /// A connection could not be made. `cause` is missing when nobody is there, and says what is
    /// wrong when the fault is more than that.
    pub fn handle_dial_failed(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        cause: Option<DialFault>,
    ) {
        if self
            .connections
            .get(&id)
            .is_some_and(|it| matches!(it.stage, Stage::Dialing))
        {
            self.count_dial(cause.as_ref());
            self.end_handshake(now, id, None, cause);
        }
    }

    /// A frame came: its payload, without the length prefix.
    ///
    /// Between peers only routing updates, pings and pongs belong here; others are ignored.
    pub fn handle_frame(&mut self, now: Timestamp, id: ConnectionId, payload: &[u8]) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        match &connection.stage {
            Stage::Dialing => {}
            Stage::Handshake(_) | Stage::Paused => self.on_handshake_frame(now, id, payload),
            Stage::Peered { .. } | Stage::Goodbye { .. } => self.on_envelope(now, id, payload),
        }
    }

    /// A peer wants something else from now on: the filter of a routing update with that sender, or
    /// what a foreign peer said in its own way. Of a native peer it does what
    /// [`handle_frame`](Self::handle_frame) does with such an update, without reading it.
    pub fn handle_filter(&mut self, id: ConnectionId, sender: EndpointId, filter: Filter) {
        if let Some(connection) = self.connections.get(&id)
            && matches!(connection.stage, Stage::Peered { .. })
            && connection.peer == Some(sender)
        {
            let peer = sender;
            self.outputs.push_back(Output::PeerFilter { peer, filter });
        }
    }

    /// A connection has ended.
    pub fn handle_closed(&mut self, now: Timestamp, id: ConnectionId, closed: Closed) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        match &connection.stage {
            Stage::Dialing | Stage::Handshake(_) | Stage::Paused => {
                if connection.peer == Some(self.config.id) {
                    self.stop_calling_myself(id);
                }
                self.count_end(&closed);
                let silent = closed == Closed::Silent;
                let cause = self.handshake_cause(id, closed);
                if silent {
                    self.handle_silent();
                    self.end_handshake(now, id, None, Some(DialFault::refused(cause)));
                } else {
                    self.fail_handshake(now, id, None, cause)
                }
            }
            Stage::Peered { .. } => self.lose_peer(now, id, &closed),
            Stage::Goodbye { .. } => self.finish_goodbye(now, id, None),
        }
    }

    /// Time has passed. Does nothing before [`next_timeout`](Self::next_timeout).
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let silent =
            |connection: &Connection| connection.stage.deadline().is_some_and(|at| at <= now);
        let goodbyes = self.connections_where(silent);
        for id in goodbyes {
            self.finish_goodbye(now, id, Some(CloseCause::GoodbyeTimeout));
        }
        let due = |attempt: &Attempt| attempt.due().is_some_and(|at| at <= now);
        for id in self.attempts_where(due) {
            self.dial(id);
        }
        for waiter in self.waiters.extract_if(.., |waiter| waiter.deadline <= now) {
            let outcome = Outcome::PeerAwaited(false);
            self.outputs.push_back(Output::Reply {
                request: waiter.request,
                outcome,
            });
        }
    }

    // --- what the application wants -------------------------------------------------------------

    /// Begins an outgoing peering.
    ///
    /// The reply comes when it is established, or when it failed and is not tried again.
    pub fn peer(
        &mut self,
        _now: Timestamp,
        host: &str,
        port: u16,
        retry: Retry,
        request: Option<RequestId>,
    ) {
        if self.phase != Phase::Running {
            self.reply_refused(request);
            return;
        }
        self.begin(Attempt::new(host, port, Transport::Native, retry, request));
    }

    /// As [`peer`](Self::peer), with an address that another protocol is spoken at. Events, lists and
    /// [`unpeer`](Self::unpeer) have it as [`PeerUrl::host`] writes it.
    pub fn peer_foreign(
        &mut self,
        _now: Timestamp,
        url: Arc<PeerUrl>,
        retry: Retry,
        request: Option<RequestId>,
    ) {
        if self.phase != Phase::Running {
            self.reply_refused(request);
            return;
        }
        let (host, port) = (url.host(), url.port);
        let transport = Transport::Foreign(url);
        self.begin(Attempt::new(&host, port, transport, retry, request));
    }

    fn begin(&mut self, attempt: Attempt) {
        let place = &attempt.address;
        // The previous peering with that place is about to end: what it ends with is not for the
        // new one to meet.
        let leaving = self.connections.iter().find(|(_, connection)| {
            connection.stage.deadline().is_some()
                && connection.address.is_same_place(&place.host, place.port)
        });
        let leaving = leaving.map(|(id, _)| *id);
        let id = AttemptId(self.number());
        self.attempts.insert(id, attempt);
        match leaving {
            Some(connection) => self.set_attempt(id, AttemptState::Following(connection)),
            None => self.dial(id),
        }
    }

    /// Ends the peering with an address, and whatever tries to establish one.
    ///
    /// The address is compared with the peer's as it is in events, letter by letter.
    pub fn unpeer(&mut self, now: Timestamp, host: &str, port: u16, request: Option<RequestId>) {
        self.cancel_attempts(now, host, port);
        let there = |connection: &Connection| {
            connection.stage.is_peering() && connection.address.is_same_place(host, port)
        };
        let connections = self.connections_where(there);
        if connections.is_empty() {
            self.report_unknown_peer(host, port);
        }
        for id in connections {
            self.say_goodbye(now, id);
        }
        if let Some(request) = request {
            self.reply(request, Outcome::Unpeered);
        }
    }

    /// Asks a peer for a sign of life. The request ends with [`Outcome::Pinged`]: `true` when the
    /// peer has answered, which it does after everything that was sent to it before; `false` when it
    /// leaves first, is no native peer of this endpoint, or has too many to answer already. How long
    /// to wait is up to the caller.
    pub fn ping(&mut self, peer: EndpointId, request: RequestId) {
        if !self.send_ping(peer, request) {
            self.reply(request, Outcome::Pinged(false));
        }
    }

    /// Adds to the filter, and tells the peers if that changed it.
    pub fn subscribe(&mut self, _now: Timestamp, topics: &[Topic]) {
        let mut changed = false;
        for topic in topics {
            changed |= self.filter.add(topic.clone());
        }
        if !changed {
            return;
        }
        self.filter_version = self.filter_version.wrapping_add(1);
        for id in self.connections_where(|it| matches!(it.stage, Stage::Peered { .. })) {
            self.send_filter(id);
        }
    }

    /// Waits for an endpoint to become a peer.
    pub fn await_peer(
        &mut self,
        now: Timestamp,
        peer: EndpointId,
        timeout: Timespan,
        request: RequestId,
    ) {
        let installed = self
            .holder(peer)
            .is_some_and(|connection| matches!(connection.stage, Stage::Peered { .. }));
        if installed || timeout <= Timespan::ZERO || self.phase != Phase::Running {
            self.reply(request, Outcome::PeerAwaited(installed));
        } else {
            let deadline = now.saturating_add(timeout);
            self.waiters.push(Waiter {
                peer,
                deadline,
                request,
            });
        }
    }

    /// Forgets who asked: there will be no reply. What was asked for goes on.
    pub fn cancel(&mut self, request: RequestId) {
        self.waiters.retain(|waiter| waiter.request != request);
        for attempt in self.attempts.values_mut() {
            attempt.request.take_if(|asked| *asked == request);
        }
    }

    /// Ends everything, peers with a goodbye. Ends with [`Output::ShutdownComplete`].
    pub fn shutdown(&mut self, now: Timestamp) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Leaving;
        for waiter in std::mem::take(&mut self.waiters) {
            self.reply(waiter.request, Outcome::PeerAwaited(false));
        }
        for attempt in std::mem::take(&mut self.attempts).into_values() {
            self.reply_refused(attempt.request);
        }
        for id in self.connections_where(|_| true) {
            self.shut_connection(now, id);
        }
        self.check_complete();
    }

    // --- shared by the parts --------------------------------------------------------------------

    fn shut_connection(&mut self, now: Timestamp, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        match &connection.stage {
            Stage::Dialing => {
                self.forget(id);
                self.close(id, CloseCause::Shutdown);
            }
            Stage::Handshake(_) | Stage::Paused => {
                self.forget(id);
                self.send_drop(id, ErrorCode::ShuttingDown, handshake::TEXT_SHUTTING_DOWN);
                self.close(id, CloseCause::Shutdown);
            }
            Stage::Peered { .. } | Stage::Goodbye { .. } => self.say_goodbye(now, id),
        }
    }

    fn check_complete(&mut self) {
        if self.phase == Phase::Leaving && self.connections.is_empty() {
            self.phase = Phase::Down;
            self.outputs.push_back(Output::ShutdownComplete);
        }
    }

    /// Takes a connection out of all books.
    fn forget(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(peer) = connection.peer
            && self.holders.get(&peer) == Some(&id)
        {
            self.holders.remove(&peer);
        }
        for ping in &connection.pings {
            self.reply(ping.request, Outcome::Pinged(false));
        }
        Some(connection)
    }

    fn holder(&self, peer: EndpointId) -> Option<&Connection> {
        self.connections.get(self.holders.get(&peer)?)
    }

    fn connections_where(&self, matches: impl Fn(&Connection) -> bool) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, it)| matches(it))
            .map(|(id, _)| *id)
            .collect()
    }

    fn send(&mut self, connection: ConnectionId, frame: Vec<u8>) {
        self.outputs.push_back(Output::Send { connection, frame });
    }

    fn send_filter(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if let Some(peer) = connection.peer {
            self.outputs.push_back(Output::Interest {
                connection: id,
                peer,
                filter: self.filter.clone(),
            });
        }
    }

    fn close(&mut self, connection: ConnectionId, cause: CloseCause) {
        self.outputs.push_back(Output::Close { connection, cause });
    }

    fn event(&mut self, event: impl Into<Event>) {
        self.outputs.push_back(Output::Event(event.into()));
    }

    fn reply(&mut self, request: RequestId, outcome: Outcome) {
        self.outputs.push_back(Output::Reply { request, outcome });
    }

    fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }
}

#[cfg(test)]
mod tests;
