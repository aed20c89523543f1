//! The public handle of an endpoint.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use broker_data::{Encoder, Source, Timestamp};
use broker_proto::peer_url::{PeerUrl, PeerUrlError, Scheme};
use broker_proto::store::CloneOptions;
use broker_proto::{
    EndpointId, EndpointInfo, Fault, NetworkAddress, PeerInfo, RefusalCounts, Topic,
};
use tokio::runtime::Handle;

#[cfg(feature = "status")]
use crate::config::HttpOptions;
use crate::config::{Options, TlsOptions, timespan};
use crate::core::hooks::{ClosingStores, Destination, Dial, Hooks};
use crate::core::listeners::{Listener, ListenerKind};
use crate::core::pending::Pending;
use crate::core::runtime;
use crate::core::shared::Shared;
use crate::error::Error;
use crate::flow::blocked::BlockedPublish;
use crate::flow::publish;
#[cfg(feature = "status")]
use crate::http::status;
use crate::hub::Hub;
use crate::net::listener;
use crate::net::tls_session::TlsSession;
use crate::peer::{accept, dial};
use crate::publisher::Publisher;
use crate::recorder;
use crate::stats::{self, Stats};
use crate::status_subscriber::StatusSubscriber;
use crate::store::{Backend, Node, Store, StoreError, StoreEvents, Stores};
use crate::subscriber::{Room, Subscriber};
use crate::transport;
#[cfg(feature = "http")]
use crate::{WebSocketCounts, WebSocketOptions, WebSocketPeerCounts, http};
#[cfg(feature = "zeromq")]
use crate::{ZeroMqPeerCounts, ZeroMqPeerOptions};

/// What to do when an outgoing peering fails or is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retry {
    /// Nothing: one attempt, and no reconnection.
    #[default]
    Never,
    /// Try again after that time, for ever.
    After(Duration),
}

impl From<Retry> for broker_proto::Retry {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Never => Self::Never,
            Retry::After(pause) => Self::After(timespan(pause)),
        }
    }
}

/// The address of a peer. Where a URL has a port, 0 beside it means nothing.
fn address(shared: &Shared, host: &str, port: Option<u16>) -> Result<PeerUrl, Error> {
    let is_url = host.contains("://");
    let url = PeerUrl::parse(host, port.filter(|port| !is_url || *port != 0))?;
    if url.scheme != Scheme::Native && shared.foreign(url.scheme).is_none() {
        return Err(PeerUrlError {
            text: host.to_owned(),
            cause: "this build does not speak its protocol",
        }
        .into());
    }
    Ok(url)
}

/// One node of a Broker network: it listens, peers, publishes and subscribes.
///
/// Clones are handles to the same endpoint. When the last one is dropped the endpoint shuts down in
/// the background; [`shutdown`](Self::shutdown) says when it is done. Subscribers and publishers do
/// not keep their endpoint.
///
/// Every method may be called from any thread. Calls that return [`Pending`] can be awaited or
/// waited for; the others return at once, except [`publish`](Self::publish), which waits while a
/// consumer is full.
#[derive(Clone)]
pub struct Endpoint {
    handle: Arc<LastHandle>,
}

/// Dropped with the last handle.
struct LastHandle {
    node: Node,
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.node.shared.begin_shutdown(None);
    }
}

/// Sets the options of an [`Endpoint`].
#[derive(Debug, Clone, Default)]
#[must_use = "call `build` to get the endpoint"]
pub struct Builder {
    options: Options,
    runtime: Option<Handle>,
}

impl Builder {
    /// Replaces all options.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Plain TCP instead of TLS. Both ends must agree.
    pub fn disable_ssl(mut self, disable: bool) -> Self {
        self.options.disable_ssl = disable;
        self
    }

    /// Never pass on messages of one peer to another.
    pub fn disable_forwarding(mut self, disable: bool) -> Self {
        self.options.disable_forwarding = disable;
        self
    }

    /// Certificates and keys; both ends then authenticate each other.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.options.tls = tls;
        self
    }

    /// Runs the endpoint's tasks on that runtime, which must have its I/O and time drivers enabled
    /// and outlive the endpoint. Otherwise all endpoints of the process share a small pool.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// Starts the endpoint.
    ///
    /// # Errors
    ///
    /// Fails when an option has a value it cannot have, when the TLS set-up is incomplete or a file
    /// of it cannot be used, when a recording cannot be written, and when the process cannot start
    /// threads.
    pub fn build(self) -> Result<Endpoint, Error> {
        self.build_with(hooks)
    }

    /// As [`build`](Self::build), with other parts above the control plane.
    pub(crate) fn build_with(
        self,
        hooks: impl FnOnce(&Arc<Stores>) -> Hooks,
    ) -> Result<Endpoint, Error> {
        let runtime = match self.runtime {
            Some(handle) => handle,
            None => runtime::shared().map_err(|error| Error::Start(Arc::new(error)))?,
        };
        let stores = Arc::new(Stores::default());
        let shared = Shared::new(self.options, runtime, hooks(&stores))?;
        let (told, waiting) = (stores.clone(), shared.routes_changed.clone());
        shared.data.routes.tell_changes(move || {
            told.routes_changed();
            waiting.notify_waiters();
        });
        recorder::start_configured(&shared)?;
        #[cfg(feature = "http")]
        http::start_configured(&shared)?;
        let node = Node { shared, stores };
        #[cfg(feature = "status")]
        status::start_configured(&node)?;
        node.shared.runtime.spawn(node.shared.clone().run_timer());
        Ok(Endpoint {
            handle: Arc::new(LastHandle { node }),
        })
    }
}

/// Takes connections of native peers at a listener from now on.
fn accept_at(
    node: &Node,
    listener: tokio::net::TcpListener,
    address: SocketAddr,
) -> Result<u16, Error> {
    let shared = &node.shared;
    let mut control = shared.lock_control();
    let task = shared.runtime.spawn(accept::run(node.clone(), listener));
    control.listens_to_natives();
    if control.add_listener(Listener {
        kind: ListenerKind::Peers,
        address,
        task,
        #[cfg(feature = "tls")]
        tls: None,
    }) {
        Ok(address.port())
    } else {
        Err(Error::ShutDown)
    }
}

/// Starts an outgoing connection with what speaks its protocol.
fn start(node: Node, dial: Dial) {
    match &dial.to {
        Destination::Native { host, port } => {
            let (host, port) = (host.clone(), *port);
            dial::start(node, dial, host, port);
        }
        Destination::Foreign { url } => {
            let url = url.clone();
            transport::start(node.shared, dial, url);
        }
    }
}

/// What the control plane has done by the parts of an endpoint above it.
pub(crate) fn hooks(stores: &Arc<Stores>) -> Hooks {
    let (dialing, closing) = (stores.clone(), stores.clone());
    Hooks {
        foreign: transport::foreign,
        dial: Box::new(move |shared, dial| {
            let node = Node {
                shared: shared.clone(),
                stores: dialing.clone(),
            };
            start(node, dial);
        }),
        closing_stores: Box::new(move || {
            let stores = closing.clone();
            (!stores.is_empty()).then(|| -> ClosingStores { Box::new(move || stores.close()) })
        }),
    }
}

impl Endpoint {
    /// An endpoint with the default options: TLS without certificates.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Starts to describe an endpoint.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn node(&self) -> &Node {
        &self.handle.node
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.node.shared
    }

    /// The id, random and different for every endpoint.
    pub fn id(&self) -> EndpointId {
        self.shared().data.id
    }

    // --- certificates ------------------------------------------------------------------------------

    /// When the certificate that native peers see is over; `None` without one.
    #[cfg(feature = "tls")]
    pub fn certificate_expiry(&self) -> Option<Timestamp> {
        self.shared().certificate_expiry()
    }

    /// Has the files of certificates, keys and authorities looked at now, and not within a minute, as
    /// happens by itself. New connections use what is found; files that do not fit together leave the
    /// old ones in use, and the log says why.
    #[cfg(feature = "tls")]
    pub fn reload_certificates(&self) {
        crate::net::rotation::look_again();
        let _expiry = self.certificate_expiry();
    }

    // --- the clock of data stores ------------------------------------------------------------------

    /// The time that data stores go by: the system's, or with
    /// [`use_real_time`](crate::Options::use_real_time) off, the one it was moved to.
    pub fn now(&self) -> Timestamp {
        self.shared().clock.time_of_day()
    }

    /// Moves the time that data stores go by, if it is not the system's: entries whose time has come end, and
    /// stores do what they do regularly. It never goes back. Spec: endpoint 1.
    ///
    /// ```
    /// use broker::{Backend, Endpoint, Options, Timespan, Timestamp};
    ///
    /// let options = Options { use_real_time: false, ..Options::default() };
    /// let endpoint = Endpoint::builder().options(options).build()?;
    /// let store = endpoint.attach_master("seen", Backend::Memory)?;
    /// store.put_for("host", &true, Some(Timespan::from_ns(60_000_000_000)))?;
    /// assert!(store.exists("host")?);
    /// endpoint.advance_time(Timestamp::from_ns(60_000_000_001));
    /// assert!(!store.exists("host")?);
    /// # endpoint.shutdown().wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advance_time(&self, to: Timestamp) {
        self.shared().clock.advance(to);
    }

    // --- peerings -------------------------------------------------------------------------------

    /// Listens for peers and resolves to the port.
    ///
    /// An empty address means all interfaces, IPv4 and IPv6; otherwise it is a numeric address or a
    /// name. Port 0 lets the system choose. May be called repeatedly; listeners close when the
    /// endpoint shuts down. Spec: endpoint 2.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when the address cannot be bound, and an error event with the same text;
    /// [`Error::ShutDown`] after a shutdown.
    pub fn listen(&self, address: &str, port: u16) -> Pending<Result<u16, Error>> {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        let node = self.node().clone();
        let address = address.to_owned();
        self.shared().runtime.spawn(async move {
            let shared = &node.shared;
            let bound = listener::bind(&address, port).await;
            let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
            resolver.resolve(match bound {
                Err(cause) => Err(shared.cannot_listen(ListenerKind::Peers, address, port, cause)),
                Ok((address, listener)) => accept_at(&node, listener, address),
            });
        });
        pending
    }

    /// Listens for peers at a socket that is bound already, such as one that a service manager keeps;
    /// returns its port. As [`listen`](Self::listen) otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when the socket cannot be used; [`Error::ShutDown`] after a shutdown.
    pub fn listen_on(&self, listener: std::net::TcpListener) -> Result<u16, Error> {
        let shared = self.shared();
        let _runtime = shared.runtime.enter();
        let bound = listener.local_addr().and_then(|address| {
            listener.set_nonblocking(true)?;
            Ok((address, tokio::net::TcpListener::from_std(listener)?))
        });
        let bound = bound.map_err(|cause| {
            shared.cannot_listen(ListenerKind::Peers, "a given socket".to_owned(), 0, cause)
        });
        let (address, listener) = bound?;
        accept_at(self.node(), listener, address)
    }

    /// Listens for WebSocket clients and resolves to the port.
    ///
    /// Clients connect to `/v1/messages/json`, with TLS as peers do, and exchange messages as JSON
    /// with peers, with consumers of this endpoint and among each other. The options are those of
    /// [`Options::web_socket`]. Address and port are as in [`listen`](Self::listen).
    ///
    /// # Errors
    ///
    /// As [`listen`](Self::listen).
    #[cfg(feature = "http")]
    pub fn listen_ws(&self, address: &str, port: u16) -> Pending<Result<u16, Error>> {
        self.listen_ws_with(address, port, self.shared().options.web_socket.clone())
    }

    /// As [`listen_ws`](Self::listen_ws), with options of its own; their address and port do not
    /// count.
    ///
    /// # Errors
    ///
    /// As there; also when an option has a value it cannot have, or the TLS set-up cannot be used.
    #[cfg(feature = "http")]
    pub fn listen_ws_with(
        &self,
        address: &str,
        port: u16,
        options: WebSocketOptions,
    ) -> Pending<Result<u16, Error>> {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        http::start(self.shared(), address.to_owned(), port, options, resolver);
        pending
    }

    /// Serves metrics, status and health over HTTP and resolves to the port.
    ///
    /// An empty address means all interfaces; port and address of the options do not count.
    /// docs/http.md describes the paths.
    ///
    /// # Errors
    ///
    /// As [`listen`](Self::listen); also when an option has a value it cannot have, or the TLS
    /// set-up cannot be used.
    #[cfg(feature = "status")]
    pub fn serve_http(
        &self,
        address: &str,
        port: u16,
        options: HttpOptions,
    ) -> Pending<Result<u16, Error>> {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        status::start(self.node(), address.to_owned(), port, options, resolver);
        pending
    }

    /// What went on between WebSocket clients and this endpoint so far, by the name of their
    /// application; those without one are `unknown`.
    #[cfg(feature = "http")]
    pub fn web_socket_counts(&self) -> std::collections::BTreeMap<String, WebSocketCounts> {
        self.shared().web_sockets.by_application()
    }

    /// What went on between this endpoint and the WebSocket servers it peered with so far, by their
    /// URL as in lists of peers and events.
    #[cfg(feature = "http")]
    pub fn web_socket_peer_counts(
        &self,
    ) -> std::collections::BTreeMap<String, WebSocketPeerCounts> {
        self.shared().web_sockets.by_server()
    }

    /// Connections of WebSocket clients that were turned away before they could subscribe.
    #[cfg(feature = "http")]
    pub fn web_socket_refusals(&self) -> u64 {
        self.shared().web_sockets.refusals()
    }

    /// Peers with the endpoint that listens there; resolves when the peering is established.
    ///
    /// With [`Retry::After`] it resolves only when an attempt succeeded, and a peering that is lost
    /// later is established again. Dropping the returned value does not end the attempts;
    /// [`unpeer`](Self::unpeer) does. Being peered already counts as success. Spec: endpoint 2,
    /// wire 7.6.
    ///
    /// # Errors
    ///
    /// [`Error::PeerUnavailable`] when the only attempt failed, with the cause;
    /// [`Error::ShutDown`] when the endpoint is shut down before.
    pub fn peer(&self, host: &str, port: u16, retry: Retry) -> Pending<Result<(), Error>> {
        self.peer_at(host, Some(port), retry)
    }

    /// As [`peer`](Self::peer), with the address as a URL, which says what is spoken there:
    ///
    /// - `zeek://host:port`: the native protocol, with TLS as this endpoint is set up;
    /// - `ws://host:port`: WebSocket with JSON, as Zeek 7.2 and newer and Broker 2.3 and newer serve
    ///   it; the path is `/v1/messages/json` unless there is another;
    /// - `wss://host:port`: the same under TLS, see
    ///   [`Options::web_socket_peer`](crate::Options::web_socket_peer);
    /// - `zmq://host:port`: the proxy of a Zeek cluster that uses ZeroMQ, by the port of its XPUB; that
    ///   of its XSUB is the next one, or in `?xsub=port`. For encryption and membership see
    ///   [`peer_zeromq`](Self::peer_zeromq).
    ///
    /// Such a peer is like any other: subscriptions, publishing, events, retries. What is different
    /// is that a WebSocket server gets everything that is published, that data stores do not reach
    /// through it, and that what comes from it is not passed on to another peer that is not native. Its
    /// address in events, and for [`unpeer`](Self::unpeer), is the URL with port and path.
    ///
    /// # Errors
    ///
    /// As [`peer`](Self::peer); [`Error::Address`] when the URL makes no sense.
    pub fn peer_url(&self, url: &str, retry: Retry) -> Pending<Result<(), Error>> {
        self.peer_at(url, None, retry)
    }

    /// As [`peer_url`](Self::peer_url), for the proxy of a Zeek cluster, with options. They hold until
    /// the address is peered with again or given to [`unpeer`](Self::unpeer).
    ///
    /// It resolves when the proxy has told all subscriptions and knows those of this endpoint.
    ///
    /// # Errors
    ///
    /// As [`peer_url`](Self::peer_url); [`Error::Option`] for options that could never work.
    #[cfg(feature = "zeromq")]
    pub fn peer_zeromq(
        &self,
        url: &str,
        retry: Retry,
        options: ZeroMqPeerOptions,
    ) -> Pending<Result<(), Error>> {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        let checked = address(self.shared(), url, None).and_then(|url| {
            options.check()?;
            if url.scheme != Scheme::ZeroMq {
                let text = url.host();
                let cause = "expected `zmq://`, as these options are for ZeroMQ only";
                return Err(PeerUrlError { text, cause }.into());
            }
            Ok(url)
        });
        match checked {
            Ok(url) => {
                self.shared().zeromq.set_options(&url.host(), options);
                self.shared().peer(url, retry.into(), Some(resolver));
            }
            Err(error) => resolver.resolve(Err(error)),
        }
        pending
    }

    /// What went on between this endpoint and the ZeroMQ proxies it peered with, by their URLs.
    #[cfg(feature = "zeromq")]
    pub fn zeromq_peer_counts(&self) -> std::collections::BTreeMap<String, ZeroMqPeerCounts> {
        self.shared().zeromq.by_proxy()
    }

    /// The nodes of the Zeek clusters that this endpoint is connected to by ZeroMQ, by name. A node is
    /// seen by its subscription, which has its id; its exact name is known when it said hello, which
    /// only nodes hear, and observers that are subscribed to `zeek.cluster.node`.
    #[cfg(feature = "zeromq")]
    pub fn cluster_nodes(&self) -> Vec<crate::zeek::zeromq::Node> {
        self.shared().zeromq.nodes()
    }

    fn peer_at(&self, host: &str, port: Option<u16>, retry: Retry) -> Pending<Result<(), Error>> {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        match address(self.shared(), host, port) {
            Ok(url) => {
                self.forget_options(&url);
                self.shared().peer(url, retry.into(), Some(resolver));
            }
            Err(error) => resolver.resolve(Err(error)),
        }
        pending
    }

    /// Options of an earlier peering with that address do not hold any more.
    #[cfg_attr(
        not(feature = "zeromq"),
        expect(clippy::unused_self, reason = "only ZeroMQ has such options")
    )]
    fn forget_options(&self, url: &PeerUrl) {
        #[cfg(feature = "zeromq")]
        if url.scheme == Scheme::ZeroMq {
            self.shared().zeromq.forget_options(&url.host());
        }
        #[cfg(not(feature = "zeromq"))]
        let _ = url;
    }

    /// As [`peer`](Self::peer) for those who watch status events instead. A URL that makes no sense
    /// makes an error event.
    pub fn peer_nosync(&self, host: &str, port: u16, retry: Retry) {
        match address(self.shared(), host, Some(port)) {
            Ok(url) => {
                self.forget_options(&url);
                self.shared().peer(url, retry.into(), None);
            }
            Err(error) => {
                let place = EndpointInfo {
                    id: None,
                    network: Some(NetworkAddress::new(host, port)),
                };
                let fault = Fault::new(error.code(), Some(place), error.to_string());
                self.shared().data.report(fault);
            }
        }
    }

    /// Ends a peering, named as in [`peer`](Self::peer), or stops trying to establish it. Resolves
    /// when the goodbye is sent. An unknown address makes an error event, no error. Spec: endpoint 2.
    pub fn unpeer(&self, host: &str, port: u16) -> Pending<()> {
        let (resolver, pending) = Pending::new(|| ());
        // An address that makes no sense is that of nobody.
        let known = address(self.shared(), host, Some(port)).map(|url| {
            self.forget_options(&url);
            (url.host(), url.port)
        });
        let (host, port) = known.unwrap_or_else(|_| (host.to_owned(), port));
        self.shared().unpeer(&host, port, resolver);
        pending
    }

    /// Resolves to `true` when the endpoint is a direct peer, to `false` after the timeout or when
    /// this endpoint is shut down. Spec: endpoint 2.
    pub fn await_peer(&self, peer: EndpointId, timeout: Duration) -> Pending<bool> {
        let (resolver, pending) = Pending::new(|| false);
        self.shared().await_peer(peer, timespan(timeout), resolver);
        pending
    }

    /// Resolves to `true` when a peer wants messages of a topic, as far as peers tell, to `false` after
    /// the timeout or when this endpoint is shut down. Whoever publishes before is not heard.
    pub fn await_subscriber(&self, topic: impl Into<Topic>, timeout: Duration) -> Pending<bool> {
        let (resolver, pending) = Pending::new(|| false);
        let (shared, topic) = (self.shared().clone(), topic.into());
        let runtime = shared.runtime.clone();
        runtime.spawn(async move {
            let wanted = shared.until_wanted(topic.as_bytes());
            resolver.resolve(tokio::time::timeout(timeout, wanted).await.unwrap_or(false));
        });
        pending
    }

    /// Sends a native peer a ping and resolves to the time until its answer. A peer answers after it
    /// has handled everything that was sent to it before, so an answer also says that what this
    /// thread published for it has arrived.
    ///
    /// Resolves to `None` when the peer leaves first, when there is no native peer of that id, and
    /// after a shutdown; there is no other limit. Spec: wire 8.5.
    pub fn ping(&self, peer: EndpointId) -> Pending<Option<Duration>> {
        let (resolver, pending) = Pending::new(|| None);
        self.shared().ping(peer, resolver);
        pending
    }

    /// How the connection to a native peer is encrypted; `None` when there is no such peer or when it
    /// is plain TCP.
    pub fn peer_tls(&self, peer: EndpointId) -> Option<TlsSession> {
        #[cfg(feature = "tls")]
        {
            self.shared().lock_control().tls_session(peer)
        }
        #[cfg(not(feature = "tls"))]
        {
            let _ = peer;
            None
        }
    }

    /// The peers at this moment.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared().lock_control().machine().peers()
    }

    /// Messages for a peer that were dropped because it did not take them, since it is a peer; 0 for
    /// an endpoint that is none. A peer whose policy is to be disconnected loses what waits for it,
    /// and is none any more.
    pub fn dropped_for_peer(&self, peer: EndpointId) -> u64 {
        let table = self.shared().data.routes.load();
        table
            .peer(peer)
            .map_or(0, |target| target.mailbox.dropped())
    }

    /// Incoming connections of native peers that did not become peerings, so far. An error event
    /// tells the address and the reason of each, at most one per second after a burst of ten.
    pub fn refusal_counts(&self) -> RefusalCounts {
        self.shared().lock_control().machine().refusal_counts()
    }

    /// Commands of data stores that were refused because they cannot be from whom they name: sent
    /// by a peer in the name of this endpoint, of another peer or of nobody. In networks with
    /// circles such copies of honest commands arrive, too: those that come before the message itself,
    /// or through peers of another implementation. Spec: stores 3.
    pub fn refused_commands(&self) -> u64 {
        self.shared().refused_commands.load(Ordering::Relaxed)
    }

    /// What the endpoint counted so far, and how its peers, consumers and stores are.
    pub fn stats(&self) -> Stats {
        stats::of(self.node())
    }

    /// Has a number that the program counts told in [`stats`](Self::stats) and in the metrics, where
    /// `_total` is added to its name. It is read when somebody asks, on any thread, and must not call
    /// the endpoint.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let alerts = Arc::new(AtomicU64::new(3));
    /// let endpoint = broker::Endpoint::new()?;
    /// let counter = alerts.clone();
    /// let read = move || counter.load(Ordering::Relaxed);
    /// endpoint.add_counter("broker_program_alerts", "Alerts that were raised.", read)?;
    /// assert_eq!(endpoint.stats().program[0].value, 3);
    /// # endpoint.shutdown().wait();
    /// # Ok::<(), broker::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a name that a metric cannot have or that is one of the endpoint's own,
    /// without a line about what it counts, and for the 65th counter.
    pub fn add_counter(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let counters = &self.shared().program_counters;
        counters.add(name, help, Box::new(read))
    }

    /// As [`stats`](Self::stats), as a JSON object: what the path `/v1/stats` of
    /// [`serve_http`](Self::serve_http) tells. docs/http.md describes its keys.
    #[cfg(feature = "status")]
    pub fn stats_json(&self) -> String {
        status::stats_json(self.node())
    }

    /// Copies of messages that were dropped: in a ring or mesh of endpoints a message comes in
    /// several ways, and once is enough. Copies that come through peers of another implementation
    /// are not recognised; circles of such peers are cut instead, see
    /// [`loops_found`](Self::loops_found).
    pub fn duplicates_dropped(&self) -> u64 {
        self.shared().data.marking.dropped()
    }

    /// Circles through peers of other implementations that were found so far; each was told in an
    /// error event ([`ErrorCode::ForwardingLoop`](broker_proto::ErrorCode::ForwardingLoop)) and cut.
    pub fn loops_found(&self) -> u64 {
        self.shared().circles.lock().found()
    }

    /// Looks for something now, and again after every change of peers and of what they subscribe to,
    /// until it is found. It goes on for as long as it is awaited, also after a shutdown.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # let (endpoint, other) = (broker::Endpoint::new()?, broker::Endpoint::new()?);
    /// # let _subscriber = other.subscriber(["/topic"])?;
    /// let port = endpoint.listen("127.0.0.1", 0).await?;
    /// # other.peer("127.0.0.1", port, broker::Retry::Never).await?;
    /// let topics = endpoint.until(|it| Some(it.peer_subscriptions()).filter(|it| !it.is_empty()));
    /// assert_eq!(topics.await[0].as_bytes(), b"/topic");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn until<T>(&self, mut find: impl FnMut(&Self) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.shared().routes_changed.notified());
            // A change that comes while it is looked counts, too.
            changed.as_mut().enable();
            if let Some(found) = find(self) {
                return found;
            }
            changed.await;
        }
    }

    /// The topics that peers are subscribed to, sorted, each once.
    pub fn peer_subscriptions(&self) -> Vec<Topic> {
        let table = self.shared().data.routes.load();
        let entries = table
            .peers()
            .filter(|(_, _, target)| target.kind.tells_filter())
            .flat_map(|(_, filter, _)| filter.entries().cloned());
        let mut topics: Vec<Topic> = entries.collect();
        topics.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        topics.dedup_by(|a, b| a.as_bytes() == b.as_bytes());
        topics
    }

    /// The topics that one peer is subscribed to, sorted; `None` if there is no such peer, or it is a
    /// WebSocket server, which does not say.
    pub fn subscriptions_of(&self, peer: EndpointId) -> Option<Vec<Topic>> {
        let table = self.shared().data.routes.load();
        let (_, filter, _) = table
            .peers()
            .find(|(id, _, target)| *id == peer && target.kind.tells_filter())?;
        let mut topics: Vec<Topic> = filter.entries().cloned().collect();
        topics.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        Some(topics)
    }

    /// The topics this endpoint asks its peers for. It never shrinks. Spec: wire 8.1.
    pub fn filter(&self) -> Vec<Topic> {
        let filter = self.shared().lock_control().machine().filter().clone();
        filter.entries().cloned().collect()
    }

    /// Has messages of these topics sent here, to be forwarded, although nobody here reads them.
    pub fn forward<T: Into<Topic>>(&self, topics: impl IntoIterator<Item = T>) {
        let topics: Vec<Topic> = topics.into_iter().map(Into::into).collect();
        self.shared().subscribe(&topics);
    }

    // --- messages -------------------------------------------------------------------------------

    /// Publishes a value to all peers that subscribed to a prefix of the topic, and to local hubs.
    /// Subscribers of the same endpoint do not get it. Spec: endpoint 3.
    ///
    /// Waits while a consumer is full but still moves, see [`Overflow`](crate::Overflow); from async
    /// code use [`publish_async`](Self::publish_async). Without anybody interested it does nothing.
    ///
    /// # Errors
    ///
    /// Fails when the value cannot be encoded, the topic is too long, or the endpoint is shut down.
    pub fn publish<S: Source + ?Sized>(
        &self,
        topic: impl AsRef<[u8]>,
        value: &S,
    ) -> Result<(), Error> {
        self.send(None, topic.as_ref(), value).map(finish)
    }

    /// As [`publish`](Self::publish), to one direct peer whatever its subscriptions; without such a
    /// peer the message vanishes. Spec: wire 8.3.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn publish_to<S: Source + ?Sized>(
        &self,
        peer: EndpointId,
        topic: impl AsRef<[u8]>,
        value: &S,
    ) -> Result<(), Error> {
        self.send(Some(peer), topic.as_ref(), value).map(finish)
    }

    /// As [`publish`](Self::publish), waiting as a future. The value is encoded before the first
    /// await.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_async<S: Source + ?Sized>(
        &self,
        topic: impl AsRef<[u8]>,
        value: &S,
    ) -> Result<(), Error> {
        if let Some(blocked) = self.send(None, topic.as_ref(), value)? {
            blocked.finished().await;
        }
        Ok(())
    }

    /// Publishes without waiting: what some consumers have no room for is returned.
    ///
    /// `write` appends exactly one encoded value; it is called once, also when nobody is interested.
    /// A receiver makes the message a directed one.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish), and what `write` returns.
    pub fn offer<E: From<Error>>(
        &self,
        receiver: Option<EndpointId>,
        topic: &[u8],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<BlockedPublish>, E> {
        let shared = self.shared();
        publish::offer(
            &shared.data,
            &shared.data.publish_memo,
            receiver,
            topic,
            write,
        )
    }

    fn send<S: Source + ?Sized>(
        &self,
        receiver: Option<EndpointId>,
        topic: &[u8],
        value: &S,
    ) -> Result<Option<BlockedPublish>, Error> {
        self.offer(receiver, topic, |out| {
            Ok(value.encode(&mut Encoder::new(out))?)
        })
    }

    /// A publisher for one topic.
    pub fn publisher(&self, topic: impl Into<Topic>) -> Publisher {
        Publisher::new(self.shared().clone(), topic.into())
    }

    /// Subscribes to topics by their prefixes. The peers know when the call returns.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn subscriber<T: Into<Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<Subscriber, Error> {
        Subscriber::new(self.shared(), topics.into_iter().map(Into::into).collect())
    }

    /// As [`subscriber`](Self::subscriber), with room of its own.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn subscriber_with_room<T: Into<Topic>>(
        &self,
        topics: impl IntoIterator<Item = T>,
        room: Room,
    ) -> Result<Subscriber, Error> {
        let topics = topics.into_iter().map(Into::into).collect();
        Subscriber::with_room(self.shared(), topics, room)
    }

    /// Subscribes to error events, and to status events if asked for. Events that happened before
    /// are not delivered. Spec: endpoint 5.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn status_subscriber(&self, statuses: bool) -> Result<StatusSubscriber, Error> {
        StatusSubscriber::new(self.shared(), statuses)
    }

    /// A consumer and producer in one: it also gets what this endpoint publishes, and what it
    /// publishes reaches subscribers of this endpoint. Spec: endpoint 3.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn hub<T: Into<Topic>>(&self, topics: impl IntoIterator<Item = T>) -> Result<Hub, Error> {
        Hub::new(self.shared(), topics.into_iter().map(Into::into).collect())
    }

    // --- stores ---------------------------------------------------------------------------------

    /// Attaches the master of a store: the one front end that has its entries.
    ///
    /// When this endpoint has that master already, the handle is another one of the same. Opening a
    /// file may block. Spec: stores 2.1.
    ///
    /// # Errors
    ///
    /// [`StoreError::MasterExists`] when a peer subscribes to exactly the topic of that master,
    /// [`StoreError::Backend`] when the storage cannot be opened, [`StoreError::Closed`] after a
    /// shutdown.
    pub fn attach_master(&self, name: &str, backend: Backend) -> Result<Store, StoreError> {
        Store::attach_master(self.node(), name, backend)
    }

    /// Attaches a clone of a store: a copy that follows the master on a peer.
    ///
    /// Returns at once; the search for the master goes on behind. When this endpoint has a clone of
    /// the store already, the handle is another one of the same, and a search that had failed
    /// begins again. Spec: stores 2.2.
    ///
    /// # Errors
    ///
    /// [`StoreError::MasterIsHere`] when the master is on this endpoint, [`StoreError::Closed`]
    /// after a shutdown.
    pub fn attach_clone(&self, name: &str, options: CloneOptions) -> Result<Store, StoreError> {
        Store::attach_clone(self.node(), name, options)
    }

    /// The changes of all stores of this endpoint from now on.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`] after a shutdown.
    pub fn store_events(&self) -> Result<StoreEvents, Error> {
        StoreEvents::new(self.shared(), None)
    }

    // --- the end --------------------------------------------------------------------------------

    /// Says goodbye to all peers, closes everything and resolves when that is done, after at most
    /// [`SHUTDOWN_TIMEOUT`](crate::SHUTDOWN_TIMEOUT). What was published before by the same thread
    /// is sent first. May be called repeatedly and from any thread. Spec: endpoint 6.
    pub fn shutdown(&self) -> Pending<()> {
        let (resolver, pending) = Pending::new(|| ());
        self.shared().begin_shutdown(Some(resolver));
        pending
    }

    /// Whether the endpoint was shut down or is about to be.
    pub fn is_shut_down(&self) -> bool {
        self.shared().is_shut_down()
    }
}

pub(crate) fn finish(blocked: Option<BlockedPublish>) {
    if let Some(blocked) = blocked {
        blocked.wait();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id())
            .field("shut_down", &self.is_shut_down())
            .finish_non_exhaustive()
    }
}
