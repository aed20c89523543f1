//! The control plane: the protocol's state machine, and what its outputs mean out here.
//!
//! The machine sits behind one mutex. A thread that has something for it (a connection's task, the
//! timer, an application's thread) locks, hands it in and carries out the outputs. None of them waits:
//! frames go into mailboxes, dials become tasks, routes are swapped; tasks are woken once the lock is
//! released. That makes every command synchronous: a subscription is part of the filter when the
//! call returns. See ADR 0020.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_data::Timestamp;
use broker_proto::endpoint::{
    ConnectionId, DialFault, Endpoint as Machine, Outcome, Output, RequestId,
};
use broker_proto::frame::{Envelope, Tag};
use broker_proto::peer_url::{PeerUrl, Scheme};
use broker_proto::routes::{LocalId, LocalKind};
use broker_proto::{
    EndpointId, EndpointInfo, ErrorCode, Event, Fault, Filter, NetworkAddress, Topic,
};
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::core::gate::{PeerFilter, PeerPass};
use crate::core::hooks::{Destination, Dial};
use crate::core::link::{Link, Side};
use crate::core::listeners::{Listener, ListenerKind, Listeners};
use crate::core::pending::Resolver;
use crate::core::reunions::{Known, Reunions};
use crate::core::shared::{Gauge, Shared};
use crate::error::Error;
use crate::flow::foreign::Foreign;
use crate::flow::mailbox::{Limits, Mailbox};
use crate::flow::target::{Target, TargetKind};
use crate::lock::Locked;
#[cfg(feature = "tls")]
use crate::net::tls_session::TlsSession;

/// Everything the mutex protects.
pub(crate) struct Control {
    pub(super) machine: Machine,
    pub(super) links: BTreeMap<ConnectionId, Arc<Link>>,
    pub(super) requests: BTreeMap<RequestId, ControlRequest>,
    next_request: u64,
    next_local: u64,
    /// Ended by the shutdown.
    pub(super) listeners: Listeners,
    /// Whether native peers may come by themselves.
    listens_to_natives: bool,
    /// Whether a foreign peer was ever asked for.
    knows_foreign: bool,
    pub(super) shutdown: Shutdown,
    /// How often peers came again.
    reunions: Reunions,
}

/// Who waits for an answer of the machine.
pub(super) enum ControlRequest {
    Peer {
        host: String,
        port: u16,
        resolver: Resolver<Result<(), Error>>,
    },
    Unpeer(Resolver<()>),
    AwaitPeer(Resolver<bool>),
    Ping(Instant, Resolver<Option<Duration>>),
}

pub(super) enum Shutdown {
    Running,
    /// The machine says goodbye to its peers; the sender fires when it is through.
    Leaving {
        left: Option<oneshot::Sender<()>>,
        waiting: Vec<Resolver<()>>,
    },
    Over,
}

/// Why a local consumer was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdded {
    /// The endpoint is being shut down.
    ShutDown,
    /// The filter of the endpoint would grow beyond what the consumer may make of it.
    TooManyTopics,
}

/// What is left to do after the mutex is released.
#[derive(Default)]
struct After {
    dials: Vec<Dial>,
    answers: Vec<DueAnswer>,
}

/// Answers may run code of the application.
enum DueAnswer {
    Peer(Resolver<Result<(), Error>>, Result<(), Error>),
    Unpeer(Resolver<()>),
    AwaitPeer(Resolver<bool>, bool),
    Ping(Resolver<Option<Duration>>, Option<Duration>),
}

impl DueAnswer {
    fn give(self) {
        match self {
            Self::Peer(resolver, outcome) => resolver.resolve(outcome),
            Self::Unpeer(resolver) => resolver.resolve(()),
            Self::AwaitPeer(resolver, outcome) => resolver.resolve(outcome),
            Self::Ping(resolver, outcome) => resolver.resolve(outcome),
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("links", &self.links.len())
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}

impl Control {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            links: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            next_local: 0,
            listeners: Listeners::default(),
            listens_to_natives: false,
            knows_foreign: false,
            shutdown: Shutdown::Running,
            reunions: Reunions::default(),
        }
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A number for a new consumer of this endpoint.
    fn new_local(&mut self) -> LocalId {
        self.next_local += 1;
        LocalId(self.next_local)
    }

    /// Keeps a listener; `false` says that it came too late.
    pub(crate) fn add_listener(&mut self, listener: Listener) -> bool {
        let running = matches!(self.shutdown, Shutdown::Running);
        if running {
            self.listeners.add(listener);
        } else {
            listener.task.abort();
        }
        running
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Notes that one of the listeners is for native peers.
    pub(crate) fn listens_to_natives(&mut self) {
        self.listens_to_natives = true;
    }

    /// What was agreed on with a native peer.
    #[cfg(feature = "tls")]
    pub(crate) fn tls_session(&self, peer: EndpointId) -> Option<TlsSession> {
        let mut links = self.links.values();
        let link = links.find(|link| link.peer() == Some(peer))?;
        link.tls.get().map(TlsSession::from)
    }

    /// The connections that are peerings.
    pub(crate) fn peer_links(&self) -> BTreeMap<EndpointId, Arc<Link>> {
        let links = self.links.values();
        links
            .filter_map(|link| Some((link.peer()?, link.clone())))
            .collect()
    }

    fn with_link(&self, connection: ConnectionId, act: impl FnOnce(&Link)) {
        if let Some(link) = self.links.get(&connection) {
            act(link);
        }
    }

    /// The last peer has left, or the time for that is over.
    fn tell_that_all_left(&mut self) {
        if let Shutdown::Leaving { left, .. } = &mut self.shutdown
            && let Some(left) = left.take()
        {
            let _ = left.send(());
        }
    }

    fn new_request(&mut self, request: ControlRequest) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.requests.insert(id, request);
        id
    }
}

/// Inputs of the machine. Each call locks, acts and carries out what follows.
impl Shared {
    pub(crate) fn lock_control(&self) -> Locked<'_, Control> {
        self.control.lock()
    }

    pub(super) fn act<T>(self: &Arc<Self>, action: impl FnOnce(&mut Control, Timestamp) -> T) -> T {
        let mut control = self.lock_control();
        let before = control.machine.next_timeout().map(|(at, _)| at);
        let result = action(&mut control, self.now());
        let after = self.carry_out(&mut control);
        let next = control.machine.next_timeout().map(|(at, _)| at);
        drop(control);
        if next.is_some() && next != before {
            self.timer.notify_one();
        }
        for dial in after.dials {
            (self.hooks.dial)(self, dial);
        }
        for answer in after.answers {
            answer.give();
        }
        result
    }

    pub(crate) fn act_on_timeout(self: &Arc<Self>) {
        self.act(|control, now| control.machine.handle_timeout(now));
    }

    /// An incoming connection is up. `None`: the endpoint is being shut down.
    pub(crate) fn accepted(
        self: &Arc<Self>,
        remote: broker_proto::NetworkAddress,
        pass: Option<PeerPass>,
    ) -> Option<(ConnectionId, Arc<Link>)> {
        self.act(|control, now| {
            if !matches!(control.shutdown, Shutdown::Running) {
                return None;
            }
            let connection = control.machine.handle_accepted(now, remote);
            let link = Link::new(self.peer_mailbox(), TargetKind::Peer, Side::Acceptor);
            let link = Arc::new(link.judged_by(pass));
            control.links.insert(connection, link.clone());
            Some((connection, link))
        })
    }

    /// An incoming connection was refused before it was up.
    pub(crate) fn refused(self: &Arc<Self>, remote: std::net::SocketAddr, cause: &str) {
        let remote = crate::net::listener::network_address(remote);
        self.act(|control, now| control.machine.handle_refused(now, remote, cause));
    }

    /// An incoming connection ended before it was up, and before it sent anything.
    #[cfg(feature = "tls")]
    pub(crate) fn left_silently(&self) {
        self.lock_control().machine.handle_silent();
    }

    /// An outgoing connection is up; `false` says that nobody wants it any more.
    pub(crate) fn dialed(self: &Arc<Self>, connection: ConnectionId) -> bool {
        self.act(|control, now| {
            let wanted = control.links.contains_key(&connection);
            if wanted {
                control.machine.handle_dialed(now, connection);
            }
            wanted
        })
    }

    /// The other end of a foreign connection is there, and wants that.
    #[cfg(any(feature = "http", feature = "nats", feature = "zeromq", test))]
    pub(crate) fn joined(
        self: &Arc<Self>,
        connection: ConnectionId,
        peer: EndpointId,
        filter: Filter,
    ) {
        self.act(|control, now| {
            if control.links.contains_key(&connection) {
                control.machine.handle_joined(now, connection, peer, filter);
            }
        });
    }

    /// A foreign peer wants something else from now on.
    #[cfg(any(feature = "zeromq", test))]
    pub(crate) fn foreign_filter(
        self: &Arc<Self>,
        connection: ConnectionId,
        peer: EndpointId,
        filter: Filter,
    ) {
        self.act(|control, _| control.machine.handle_filter(connection, peer, filter));
    }

    pub(crate) fn dial_failed(
        self: &Arc<Self>,
        connection: ConnectionId,
        cause: Option<DialFault>,
    ) {
        self.act(|control, now| {
            if control.links.remove(&connection).is_some() {
                control.machine.handle_dial_failed(now, connection, cause);
            }
        });
    }

    pub(crate) fn control_frame(self: &Arc<Self>, connection: ConnectionId, payload: &[u8]) {
        self.act(|control, now| {
            if control.links.contains_key(&connection) {
                control.machine.handle_frame(now, connection, payload);
            }
        });
    }

    /// A message of a peer for the machine. What it wants may be a large list: it is read without
    /// the lock, so that a peer that changes its mind all the time holds nobody up.
    ///
    /// A peer that is judged, by `pass`, gets what it may have of it.
    pub(crate) fn peer_message(
        self: &Arc<Self>,
        connection: ConnectionId,
        payload: &[u8],
        pass: Option<&mut PeerPass>,
    ) {
        let envelope = Envelope::parse(payload);
        if let Ok(envelope) = &envelope {
            self.data.totals.count_control(envelope.tag);
        }
        match envelope {
            Ok(update) if update.tag == Tag::RoutingUpdate => {
                let table = self.data.routes.load();
                let known = match &pass {
                    Some(pass) => Some(pass.wanted()),
                    None => table.peer_filter(update.sender),
                };
                let known = known.cloned().unwrap_or_default();
                drop(table);
                let sender = update.sender;
                match (Filter::decode_update_of(update.payload, &known), pass) {
                    (Ok(filter), Some(pass)) => {
                        let granted = pass.ask(filter);
                        self.grant(connection, sender, granted);
                    }
                    (Ok(filter), None) => self.act(|control, _| {
                        control.machine.handle_filter(connection, sender, filter);
                    }),
                    (Err(error), _) => {
                        let connection = connection.0;
                        tracing::debug!(event = "routing-update-dropped", connection, %error);
                    }
                }
            }
            _ => self.control_frame(connection, payload),
        }
    }

    /// A peer that is judged gets this from now on.
    pub(crate) fn grant(
        self: &Arc<Self>,
        connection: ConnectionId,
        peer: EndpointId,
        granted: PeerFilter,
    ) {
        self.act(|control, _| {
            let link = control.links.get(&connection);
            if link.is_some_and(|link| link.peer() == Some(peer)) {
                let stores = granted.stores;
                self.data
                    .routes
                    .update(|table| table.limit_peer(peer, stores));
                let machine = &mut control.machine;
                machine.handle_filter(connection, peer, granted.filter);
            }
        });
    }

    pub(crate) fn connection_ended(
        self: &Arc<Self>,
        connection: ConnectionId,
        why: broker_proto::endpoint::Closed,
    ) {
        self.act(|control, now| {
            if let Some(link) = control.links.remove(&connection) {
                link.close();
                control.machine.handle_closed(now, connection, why);
            }
        });
    }
}

/// Commands of the application.
impl Shared {
    pub(crate) fn peer(
        self: &Arc<Self>,
        url: PeerUrl,
        retry: broker_proto::Retry,
        resolver: Option<Resolver<Result<(), Error>>>,
    ) {
        self.act(|control, now| {
            if !matches!(control.shutdown, Shutdown::Running) {
                if let Some(resolver) = resolver {
                    resolver.resolve(Err(Error::ShutDown));
                }
                return;
            }
            let request = resolver.map(|resolver| {
                control.new_request(ControlRequest::Peer {
                    host: url.host(),
                    port: url.port,
                    resolver,
                })
            });
            let machine = &mut control.machine;
            if url.scheme == Scheme::Native {
                machine.peer(now, &url.name, url.port, retry, request);
            } else {
                control.knows_foreign = true;
                machine.peer_foreign(now, Arc::new(url), retry, request);
            }
        });
    }

    pub(crate) fn unpeer(self: &Arc<Self>, host: &str, port: u16, resolver: Resolver<()>) {
        self.act(|control, now| {
            let request = control.new_request(ControlRequest::Unpeer(resolver));
            control.machine.unpeer(now, host, port, Some(request));
        });
    }

    pub(crate) fn await_peer(
        self: &Arc<Self>,
        peer: EndpointId,
        timeout: broker_data::Timespan,
        resolver: Resolver<bool>,
    ) {
        self.act(|control, now| {
            if !matches!(control.shutdown, Shutdown::Running) {
                resolver.resolve(false);
                return;
            }
            let request = control.new_request(ControlRequest::AwaitPeer(resolver));
            control.machine.await_peer(now, peer, timeout, request);
        });
    }

    /// Sends a ping to a native peer; resolves to the time until its answer.
    pub(crate) fn ping(self: &Arc<Self>, peer: EndpointId, resolver: Resolver<Option<Duration>>) {
        self.act(|control, _| {
            let request = control.new_request(ControlRequest::Ping(Instant::now(), resolver));
            control.machine.ping(peer, request);
        });
    }

    /// Adds a local consumer of some topics, and tells the peers what it wants, unless all topics that
    /// this endpoint asks its peers for would then have more than `filter_bytes_max` bytes.
    pub(crate) fn add_consumer(
        self: &Arc<Self>,
        kind: LocalKind,
        topics: &[Topic],
        target: Target,
        filter_bytes_max: usize,
    ) -> Result<LocalId, NotAdded> {
        let id = {
            // Under the control lock: a shutdown either sees the new consumer or refuses it.
            let mut control = self.lock_control();
            if self.is_shut_down() {
                return Err(NotAdded::ShutDown);
            }
            let known = control.machine.filter().size();
            let more: usize = topics.iter().map(|it| it.as_bytes().len()).sum();
            if known.saturating_add(more) > filter_bytes_max {
                return Err(NotAdded::TooManyTopics);
            }
            let id = control.new_local();
            let topics = topics.to_vec();
            self.data
                .routes
                .update(|table| table.add_local(id, kind, topics, target));
            id
        };
        self.subscribe(topics);
        Ok(id)
    }

    /// Adds a local consumer of everything that comes here and is sent here, without asking the peers
    /// for more.
    pub(crate) fn add_observer(self: &Arc<Self>, target: Target) -> Result<LocalId, NotAdded> {
        let mut control = self.lock_control();
        if self.is_shut_down() {
            return Err(NotAdded::ShutDown);
        }
        let id = control.new_local();
        // As a hub, which gets what publishers of the endpoint send.
        let everything = vec![Topic::from("")];
        self.data
            .routes
            .update(|table| table.add_local(id, LocalKind::Hub, everything, target));
        Ok(id)
    }

    /// Adds a local consumer of what comes under a topic anyway: no peer is told. `None` after the end.
    #[cfg(feature = "status")]
    pub(crate) fn add_tap(&self, kind: LocalKind, topic: Topic, target: Target) -> Option<LocalId> {
        let mut control = self.lock_control();
        if self.is_shut_down() {
            return None;
        }
        let id = control.new_local();
        self.data
            .routes
            .update(|table| table.add_local(id, kind, vec![topic], target));
        Some(id)
    }

    /// Extends the endpoint's own filter and tells the peers.
    pub(crate) fn subscribe(self: &Arc<Self>, topics: &[Topic]) {
        self.act(|control, now| control.machine.subscribe(now, topics));
    }

    /// Reports that an address cannot be listened on; returns the error.
    pub(crate) fn cannot_listen(
        self: &Arc<Self>,
        kind: ListenerKind,
        address: String,
        port: u16,
        cause: std::io::Error,
    ) -> Error {
        let network = NetworkAddress::new(address.clone(), port);
        let error = Error::Listen {
            address,
            port,
            cause: Arc::new(cause),
        };
        tracing::error!(event = "listen-failed", %error);
        let mut control = self.lock_control();
        control.listeners.note_failure(kind, error.to_string());
        drop(control);
        let place = EndpointInfo {
            id: None,
            network: Some(network),
        };
        self.data
            .report(Fault::new(error.code(), Some(place), error.to_string()));
        error
    }
}

/// Outputs of the machine.
impl Shared {
    fn carry_out(self: &Arc<Self>, control: &mut Control) -> After {
        let mut after = After::default();
        let mut events = Vec::new();
        while let Some(output) = control.machine.poll_output() {
            match output {
                Output::Dial {
                    connection,
                    host,
                    port,
                } => {
                    let side = Side::Connector;
                    let rules = self.link_rules.of(host.clone(), port);
                    let link = Link::new(self.peer_mailbox(), TargetKind::Peer, side);
                    let link = link.with_rules(rules);
                    let to = Destination::Native { host, port };
                    after.dials.push(self.dial(control, connection, link, to));
                }
                Output::Join { connection, url } => {
                    // Schemes that this build does not speak are refused before.
                    if let Some(foreign) = self.foreign(url.scheme) {
                        let rules = self.link_rules.of(url.host(), url.port);
                        let link = self.foreign_link(foreign).with_rules(rules);
                        let to = Destination::Foreign { url };
                        after.dials.push(self.dial(control, connection, link, to));
                    }
                }
                Output::Interest {
                    connection, filter, ..
                } => control.with_link(connection, |link| {
                    #[cfg(any(feature = "http", feature = "zeromq", feature = "nats"))]
                    let filter = link.wanted(filter);
                    link.mailbox.set_interest(filter);
                }),
                Output::Send { connection, frame } => control.with_link(connection, |link| {
                    link.mailbox.push_control(Bytes::from(frame));
                }),
                Output::Close { connection, cause } => {
                    tracing::debug!(
                        event = "connection-closing",
                        connection = connection.0,
                        ?cause
                    );
                    if let Some(link) = control.links.remove(&connection) {
                        link.close();
                    }
                }
                Output::Pause { connection } => {
                    control.with_link(connection, |link| link.set_paused(true));
                }
                Output::Resume { connection } => {
                    control.with_link(connection, |link| link.set_paused(false));
                }
                Output::Install {
                    connection,
                    peer,
                    filter,
                } => self.install(control, connection, peer, filter),
                Output::Uninstall { peer } => {
                    self.data.routes.update(|table| table.remove_peer(peer));
                    self.peers_changed(Some(peer));
                }
                Output::PeerFilter { peer, filter } => {
                    self.data
                        .routes
                        .update(|table| table.set_peer_filter(peer, filter));
                    self.peers_changed(None);
                    self.wants_changed();
                }
                Output::Event(event) => events.push(event),
                Output::Reply { request, outcome } => {
                    after.answers.extend(
                        control
                            .requests
                            .remove(&request)
                            .and_then(|r| answer(r, outcome)),
                    );
                }
                Output::ShutdownComplete => control.tell_that_all_left(),
            }
        }
        if control.knows_foreign {
            let urls = control.machine.foreign_urls();
            let unreached = urls.iter().filter(|url| !self.carries_stores(url));
            self.set_unreached_peers(unreached.map(|url| url.host()).collect());
        }
        self.tell(&events);
        after
    }

    /// Has events published. Those that belong together arrive together: a reader that sees the first of
    /// them can rely on the next being there.
    fn tell(&self, events: &[Event]) {
        for event in events {
            if let Event::Error(fault) = event
                && fault.code == ErrorCode::PeerRefused
            {
                tracing::warn!(event = "incoming-refused", "{fault}");
            }
        }
        for group in events.chunk_by(|a, b| a.topic() == b.topic()) {
            self.data.publish_events(group);
        }
    }

    /// Begins a peering: from now on messages go there, and what comes from there is routed.
    fn install(
        self: &Arc<Self>,
        control: &mut Control,
        connection: ConnectionId,
        peer: EndpointId,
        filter: Filter,
    ) {
        let Some(link) = control.links.get(&connection) else {
            return;
        };
        let known = match (link.side, control.machine.peer_address(peer)) {
            (Side::Connector, Some(at)) => Known::Address(at.host, at.port),
            _ => Known::Id(peer),
        };
        let target = Target {
            mailbox: link.mailbox.clone(),
            kind: match link.kind {
                TargetKind::Peer => TargetKind::native(peer),
                kind => kind,
            },
        };
        let granted = link.grant(&filter);
        self.data.routes.update(|table| {
            match granted {
                None => table.add_peer(peer, filter, target),
                Some(granted) => {
                    table.add_peer(peer, granted.filter, target);
                    table.limit_peer(peer, granted.stores);
                }
            }
            if let Some(rules) = &link.rules {
                table.set_link_rules(peer, rules.clone());
            }
        });
        if let Some(rules) = &link.rules {
            self.link_rules.note_connected(link, rules);
        }
        let reconnects = control.reunions.note(known);
        link.install(peer, reconnects);
        self.peers_changed(None);
        self.wants_changed();
    }

    /// Makes an outgoing connection known; it begins once the mutex is released.
    fn dial(
        self: &Arc<Self>,
        control: &mut Control,
        connection: ConnectionId,
        link: Link,
        to: Destination,
    ) -> Dial {
        let link = Arc::new(link);
        control.links.insert(connection, link.clone());
        Dial {
            connection,
            link,
            counted: Gauge::enter(self),
            to,
        }
    }

    /// A mailbox for a connection, with the limits of the options.
    fn peer_mailbox(&self) -> Arc<Mailbox> {
        let mailbox = Mailbox::new(self.data.peer_limits.clone());
        self.data.report_bursts_of(&mailbox, TargetKind::Peer);
        Arc::new(mailbox)
    }

    /// A connection to a peer of another protocol.
    fn foreign_link(&self, foreign: &'static Foreign) -> Link {
        let kind = TargetKind::Foreign(foreign);
        let mailbox = Mailbox::new(Limits {
            translated: kind.reads_json(),
            ..self.data.peer_limits.clone()
        });
        self.data.report_bursts_of(&mailbox, kind);
        Link::new(Arc::new(mailbox), kind, Side::Connector)
    }

    /// What is spoken under a scheme, if it is not the native protocol and this build speaks it.
    pub(crate) fn foreign(&self, scheme: Scheme) -> Option<&'static Foreign> {
        (self.hooks.foreign)(scheme)
    }

    fn carries_stores(&self, url: &PeerUrl) -> bool {
        self.foreign(url.scheme)
            .is_some_and(|foreign| foreign.carries_stores)
    }

    /// The addresses of the peers when data stores reach through none of them, and no others can be
    /// expected.
    pub(crate) fn only_without_stores(&self) -> Vec<String> {
        let control = self.lock_control();
        let urls = control.machine.foreign_urls();
        let others = control.listens_to_natives
            || control.machine.expects_native_peers()
            || urls.iter().any(|url| self.carries_stores(url));
        if others {
            Vec::new()
        } else {
            urls.iter().map(|url| url.host()).collect()
        }
    }
}

fn answer(request: ControlRequest, outcome: Outcome) -> Option<DueAnswer> {
    Some(match (request, outcome) {
        (ControlRequest::Peer { resolver, .. }, Outcome::Peered) => {
            DueAnswer::Peer(resolver, Ok(()))
        }
        (
            ControlRequest::Peer {
                host,
                port,
                resolver,
            },
            Outcome::PeerFailed {
                code,
                failure,
                text,
            },
        ) => {
            let error = match code {
                ErrorCode::ShuttingDown => Error::ShutDown,
                code => Error::PeerUnavailable {
                    host,
                    port,
                    code,
                    failure,
                    text,
                },
            };
            DueAnswer::Peer(resolver, Err(error))
        }
        (ControlRequest::Unpeer(resolver), Outcome::Unpeered) => DueAnswer::Unpeer(resolver),
        (ControlRequest::AwaitPeer(resolver), Outcome::PeerAwaited(there)) => {
            DueAnswer::AwaitPeer(resolver, there)
        }
        (ControlRequest::Ping(sent, resolver), Outcome::Pinged(answered)) => {
            DueAnswer::Ping(resolver, answered.then(|| sent.elapsed()))
        }
        // An outcome of another kind would be a defect of the machine; dropping the resolver
        // answers with the failure of its kind.
        _ => return None,
    })
}
