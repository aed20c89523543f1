//! Connections of an endpoint: listening, peering, and what its peers want.

use std::net::SocketAddr;
use std::time::Duration;

use broker_proto::link_rules::LinkRules;
use broker_proto::peer_url::{PeerUrl, PeerUrlError, Scheme};
use broker_proto::{EndpointId, EndpointInfo, Fault, NetworkAddress, PeerInfo, Topic};

use super::Endpoint;
#[cfg(feature = "nats")]
use crate::NatsPeerOptions;
#[cfg(feature = "zeromq")]
use crate::ZeroMqPeerOptions;
#[cfg(feature = "status")]
use crate::config::HttpOptions;
use crate::config::timespan;
use crate::core::listeners::{Listener, ListenerKind};
use crate::core::pending::Pending;
use crate::error::Error;
#[cfg(feature = "status")]
use crate::http::status;
use crate::net::listener;
use crate::net::tls_session::TlsSession;
use crate::peer::accept;
use crate::store::Node;
#[cfg(feature = "http")]
use crate::{WebSocketOptions, http};

/// What to do when an outgoing peering fails or is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retry {
    /// Nothing: one attempt, and no reconnection.
    #[default]
    Never,
    /// Try again after that time, for ever.
    After(Duration),
    /// As [`Retry::After`], with pauses that have this length on average: each is up to a quarter
    /// shorter or longer by chance, and a peering that is lost is tried again within a quarter of a
    /// second instead of at once. Many programs that lose one endpoint at the same time then do not all
    /// come back at the same time. Peers that are not native are always tried in such a way.
    Around(Duration),
}

impl From<Retry> for broker_proto::Retry {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Never => Self::Never,
            Retry::After(pause) => Self::After(timespan(pause)),
            Retry::Around(pause) => Self::Around(timespan(pause)),
        }
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

impl Endpoint {
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
        let bound = listener::take_over(listener);
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let bound = bound.map_err(|cause| {
            shared.cannot_listen(ListenerKind::Peers, listener::GIVEN.to_owned(), 0, cause)
        });
        let (address, listener) = bound?;
        accept_at(self.node(), listener, address)
    }

    /// Listens for WebSocket clients and resolves to the port.
    ///
    /// Clients connect to `/v1/messages/json`, with TLS as peers do, and exchange messages as JSON
    /// with peers, with consumers of this endpoint and among each other. The options are those of
    /// [`Options::web_socket`](crate::Options::web_socket). Address and port are as in
    /// [`listen`](Self::listen).
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

    /// Listens for WebSocket clients at a socket that is bound already; returns its port. As
    /// [`listen_ws_with`](Self::listen_ws_with) otherwise.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Listen`] when the socket cannot be used.
    #[cfg(feature = "http")]
    pub fn listen_ws_on(
        &self,
        listener: std::net::TcpListener,
        options: WebSocketOptions,
    ) -> Result<u16, Error> {
        http::start_given(self.shared(), listener, options)
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

    /// Serves metrics, status and health at a socket that is bound already; returns its port. As
    /// [`serve_http`](Self::serve_http) otherwise.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Listen`] when the socket cannot be used.
    #[cfg(feature = "status")]
    pub fn serve_http_on(
        &self,
        listener: std::net::TcpListener,
        options: HttpOptions,
    ) -> Result<u16, Error> {
        status::start_given(self.node(), listener, options)
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
        let url = PeerUrl::parse(host, Some(port));
        self.peer_at(url.map_err(Error::from), retry)
    }

    /// As [`peer`](Self::peer), with the address as a URL, as text or parsed before; it says what is
    /// spoken there:
    ///
    /// - `zeek://host:port`: the native protocol, with TLS as this endpoint is set up;
    /// - `ws://host:port`: WebSocket with JSON, as Zeek 7.2 and newer and Broker 2.3 and newer serve
    ///   it; the path is `/v1/messages/json` unless there is another;
    /// - `wss://host:port`: the same under TLS, see
    ///   [`Options::web_socket_peer`](crate::Options::web_socket_peer);
    /// - `zmq://host:port`: the proxy of a Zeek cluster that uses ZeroMQ, by the port of its XPUB; that
    ///   of its XSUB is the next one, or in `?xsub=port`. For encryption and membership see
    ///   [`Options::zeromq_peer`](crate::Options::zeromq_peer);
    /// - `nats://host:port,host:port`: servers of NATS of one cluster; for log-in, TLS and the prefix of
    ///   subjects see [`peer_nats`](Self::peer_nats).
    ///
    /// Such a peer is like any other: subscriptions, publishing, events, retries. What is different
    /// is that a WebSocket server gets everything that is published, that data stores do not reach
    /// through it, and that what comes from it is not passed on to another peer that is not native, but
    /// for [links](Self::set_link_rules). Its address in events, and for [`unpeer`](Self::unpeer), is the URL with port and path.
    ///
    /// # Errors
    ///
    /// As [`peer`](Self::peer); [`Error::Address`] when the URL makes no sense, [`Error::CurveKeys`]
    /// when there are keys for ZeroMQ that are not complete.
    pub fn peer_url<U>(&self, url: U, retry: Retry) -> Pending<Result<(), Error>>
    where
        U: TryInto<PeerUrl>,
        Error: From<U::Error>,
    {
        self.peer_at(url.try_into().map_err(Error::from), retry)
    }

    /// Makes the peering with an address a link: only what the rules list comes from there and goes there.
    /// They hold from the next connection on, so they are set before peering, until the address is given
    /// to [`unpeer`](Self::unpeer).
    ///
    /// Two peers that are links and not native are joined: what one of them sends goes to the other, which
    /// otherwise it does not; see [`peer_url`](Self::peer_url). What is to be imported has to be wanted
    /// here, too, or [forwarded](Self::forward). Two addresses that lead to one cluster must not both be
    /// links with the same topics: but on NATS, nothing tells what goes round from news.
    pub fn set_link_rules(&self, url: &PeerUrl, rules: LinkRules) {
        self.shared().link_rules.set(url, rules);
    }

    /// As [`peer_url`](Self::peer_url), for the proxy of a Zeek cluster, with options. They hold until
    /// the address is peered with again or given to [`unpeer`](Self::unpeer).
    ///
    /// It resolves when the proxy has told all subscriptions and knows those of this endpoint.
    ///
    /// # Errors
    ///
    /// As [`peer_url`](Self::peer_url); [`Error::Option`] and [`Error::CurveKeys`] for options
    /// that could never work.
    #[cfg(feature = "zeromq")]
    pub fn peer_zeromq<U>(
        &self,
        url: U,
        retry: Retry,
        options: ZeroMqPeerOptions,
    ) -> Pending<Result<(), Error>>
    where
        U: TryInto<PeerUrl>,
        Error: From<U::Error>,
    {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        let url = url.try_into().map_err(Error::from);
        let checked = url.and_then(|url| self.spoken(url)).and_then(|url| {
            if url.scheme != Scheme::ZeroMq {
                let text = url.host();
                let cause = "expected `zmq://`, as these options are for ZeroMQ only";
                return Err(PeerUrlError { text, cause }.into());
            }
            self.set_options(&url, options)?;
            Ok(url)
        });
        match checked {
            Ok(url) => self.shared().peer(url, retry.into(), Some(resolver)),
            Err(error) => resolver.resolve(Err(error)),
        }
        pending
    }

    /// As [`peer_url`](Self::peer_url), for servers of NATS, with options. They hold until the address
    /// is peered with again or given to [`unpeer`](Self::unpeer).
    ///
    /// It resolves when one of the servers has the subscriptions of this endpoint. The others of its
    /// cluster learn of them a moment later.
    ///
    /// # Errors
    ///
    /// As [`peer_url`](Self::peer_url); [`Error::Option`] for options that could never work.
    #[cfg(feature = "nats")]
    pub fn peer_nats<U>(
        &self,
        url: U,
        retry: Retry,
        options: NatsPeerOptions,
    ) -> Pending<Result<(), Error>>
    where
        U: TryInto<PeerUrl>,
        Error: From<U::Error>,
    {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        let url = url.try_into().map_err(Error::from);
        let checked = url.and_then(|url| self.spoken(url)).and_then(|url| {
            options.check()?;
            if url.scheme != Scheme::Nats {
                let text = url.host();
                let cause = "expected `nats://`, as these options are for NATS only";
                return Err(PeerUrlError { text, cause }.into());
            }
            Ok(url)
        });
        match checked {
            Ok(url) => {
                self.shared().nats.options.set(&url.host(), options);
                self.shared().nats.add_member(&url);
                self.shared().peer(url, retry.into(), Some(resolver));
            }
            Err(error) => resolver.resolve(Err(error)),
        }
        pending
    }

    fn peer_at(&self, url: Result<PeerUrl, Error>, retry: Retry) -> Pending<Result<(), Error>> {
        let (resolver, pending) = Pending::new(|| Err(Error::ShutDown));
        let checked = url.and_then(|url| self.spoken(url));
        #[cfg(feature = "zeromq")]
        let checked = checked.and_then(|url| self.with_options(url));
        match checked {
            Ok(url) => {
                #[cfg(feature = "nats")]
                self.forget_login(&url);
                self.shared().peer(url, retry.into(), Some(resolver));
            }
            Err(error) => resolver.resolve(Err(error)),
        }
        pending
    }

    /// Has a peering with servers of NATS log in as nobody: options of an earlier one do not hold any
    /// more.
    #[cfg(feature = "nats")]
    fn forget_login(&self, url: &PeerUrl) {
        if url.scheme == Scheme::Nats {
            self.shared().nats.forget(&url.host());
            self.shared().nats.add_member(url);
        }
    }

    /// An address, if this build speaks what is spoken there.
    fn spoken(&self, url: PeerUrl) -> Result<PeerUrl, Error> {
        if url.scheme != Scheme::Native && self.shared().foreign(url.scheme).is_none() {
            let text = url.host();
            let cause = "this build does not speak its protocol";
            return Err(PeerUrlError { text, cause }.into());
        }
        Ok(url)
    }

    /// Has a peering with that address go by the options of the endpoint: those of an earlier one do
    /// not hold any more.
    #[cfg(feature = "zeromq")]
    fn with_options(&self, url: PeerUrl) -> Result<PeerUrl, Error> {
        if url.scheme == Scheme::ZeroMq {
            self.set_options(&url, self.shared().options.zeromq_peer.clone())?;
        }
        Ok(url)
    }

    #[cfg(feature = "zeromq")]
    fn set_options(&self, url: &PeerUrl, options: ZeroMqPeerOptions) -> Result<(), Error> {
        let options = options.resolved()?;
        self.shared().zeromq.options.set(&url.host(), options);
        Ok(())
    }

    /// Options of an earlier peering with that address do not hold any more.
    fn forget_options(&self, url: &PeerUrl) {
        self.shared().link_rules.forget(url);
        #[cfg(feature = "zeromq")]
        if url.scheme == Scheme::ZeroMq {
            self.shared().zeromq.options.forget(&url.host());
        }
        #[cfg(feature = "nats")]
        if url.scheme == Scheme::Nats {
            let nats = &self.shared().nats;
            nats.forget(&url.host());
            if let Some(client) = nats.remove_member(&url.host()) {
                client.end();
            }
        }
    }

    /// As [`peer`](Self::peer) for those who watch status events instead. A URL that makes no sense
    /// makes an error event.
    pub fn peer_nosync(&self, host: &str, port: u16, retry: Retry) {
        let url = PeerUrl::parse(host, Some(port)).map_err(Error::from);
        if let Err(error) = url.and_then(|url| self.peer_url_nosync(url, retry)) {
            let place = EndpointInfo {
                id: None,
                network: Some(NetworkAddress::new(host, port)),
            };
            let fault = Fault::new(error.code(), Some(place), error.to_string());
            self.shared().data.report(fault);
        }
    }

    /// As [`peer_nosync`](Self::peer_nosync), at an address that was parsed before.
    ///
    /// # Errors
    ///
    /// [`Error::Address`] when this build does not speak what is spoken there, [`Error::CurveKeys`] as
    /// with [`peer_url`](Self::peer_url).
    pub fn peer_url_nosync(&self, url: PeerUrl, retry: Retry) -> Result<(), Error> {
        let url = self.spoken(url)?;
        #[cfg(feature = "zeromq")]
        let url = self.with_options(url)?;
        #[cfg(feature = "nats")]
        self.forget_login(&url);
        self.shared().peer(url, retry.into(), None);
        Ok(())
    }

    /// Ends a peering, named as in [`peer`](Self::peer), or stops trying to establish it. Resolves
    /// when the goodbye is sent. An unknown address makes an error event, no error. Spec: endpoint 2.
    pub fn unpeer(&self, host: &str, port: u16) -> Pending<()> {
        if let Ok(url) = PeerUrl::parse(host, Some(port)) {
            return self.unpeer_url(&url);
        }
        // No peer has an address that makes no sense.
        let (resolver, pending) = Pending::new(|| ());
        self.shared().unpeer(host, port, resolver);
        pending
    }

    /// As [`unpeer`](Self::unpeer), with an address that was parsed before.
    pub fn unpeer_url(&self, url: &PeerUrl) -> Pending<()> {
        let (resolver, pending) = Pending::new(|| ());
        self.forget_options(url);
        self.shared().unpeer(&url.host(), url.port, resolver);
        pending
    }

    /// Resolves to `true` when the endpoint is a direct peer, to `false` after the timeout or when
    /// this endpoint is shut down. Spec: endpoint 2.
    pub fn await_peer(&self, peer: EndpointId, timeout: Duration) -> Pending<bool> {
        let (resolver, pending) = Pending::new(|| false);
        self.shared().await_peer(peer, timespan(timeout), resolver);
        pending
    }

    /// Resolves to `true` when a peer or a WebSocket client wants messages of a topic, as far as peers
    /// tell, to `false` after the timeout or when this endpoint is shut down. What is published before
    /// is not heard.
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

    /// The nodes of the Zeek clusters that this endpoint is connected to by ZeroMQ, by name. A node is
    /// seen by its subscription, which has its id; its exact name is known when it said hello, which
    /// only nodes hear, and observers that are subscribed to `zeek.cluster.node`.
    #[cfg(feature = "zeromq")]
    pub fn cluster_nodes(&self) -> Vec<crate::zeek::zeromq::Node> {
        self.shared().zeromq.nodes()
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
}
