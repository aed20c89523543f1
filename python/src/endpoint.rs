//! `Endpoint`: the one object a program begins with.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use broker::{EndpointId, StoreError};
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::argument::{Flag, Seconds, Whole, flag, port as port_number};
use crate::configuration::{Configuration, log_options, options};
use crate::decode::timestamp;
use crate::durable::{self, DurableSubscriber, StoredMessage, StreamState};
use crate::error::{Fallible, closed, from_broker, from_durable, from_store};
use crate::forwarder::Forwarder;
use crate::logging::{warn_and_return_zero, warn_of_variables};
use crate::nats;
use crate::peer_address::{RETRY, endpoint_id, host, peer_url, receiver, retry};
use crate::peering::Peering;
use crate::process::{Owned, remember};
use crate::publisher::{Publisher, encoded_pairs, wait_if_blocked, write};
use crate::status::PeerInfo;
use crate::status_subscriber::StatusSubscriber;
use crate::store::event::StoreEvents;
use crate::store::{Store, attach};
use crate::stream_reader::{self, StreamReader};
use crate::subscriber::{self, Subscriber};
use crate::types::time::{Timestamp, point_in_time};
use crate::types::topic::{self, Topic};
use crate::wait::{peer_timeout, timeout, wait_for, wait_forever};
use crate::websocket;
use crate::zeromq::{self, ClusterNode};

/// Sends and receives messages. Made of a `Configuration`, or of the defaults: TLS without
/// authentication.
///
/// As a context manager it is shut down at the end. Raises ValueError when the TLS settings
/// cannot be used.
#[pyclass(frozen, subclass, weakref, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Endpoint(OnceLock<Arc<Owned<broker::Endpoint>>>);

impl Endpoint {
    /// The endpoint, shut down or not.
    pub(crate) fn any(&self) -> PyResult<&broker::Endpoint> {
        self.owned()?.get()
    }

    pub(crate) fn owned(&self) -> PyResult<&Arc<Owned<broker::Endpoint>>> {
        self.0
            .get()
            .ok_or_else(|| PyRuntimeError::new_err("Endpoint.__init__ was not called"))
    }

    /// What the original returns of an attempt to attach a store.
    fn or_none(&self, attached: attach::Result) -> PyResult<Option<Store>> {
        match attached {
            Ok(attached) => Ok(Some(Store::new(attached))),
            Err(StoreError::Name { name, .. }) if name.is_empty() => {
                Ok(Some(Store::new(attach::nameless(self.owned()?))))
            }
            // The original has no such peers, and programs that were moved to one should learn why.
            Err(error @ StoreError::NoNativePeer { .. }) => Err(from_store(&error)),
            Err(_) => Ok(None),
        }
    }

    /// The endpoint, if it was not shut down.
    pub(crate) fn live(&self) -> PyResult<&broker::Endpoint> {
        let endpoint = self.any()?;
        if endpoint.is_shut_down() {
            Err(closed("endpoint is shut down"))
        } else {
            Ok(endpoint)
        }
    }

    fn send(
        &self,
        receiver: Option<EndpointId>,
        topic: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let topic = topic::bytes_of(topic)?;
        // The value is written straight into the frame. No lock is held meanwhile, as conversion
        // may run code of the program.
        let offered = self.any()?.offer(receiver, &topic, |out| write(data, out));
        wait_if_blocked(data.py(), offered)
    }
}

impl Endpoint {
    /// Waits until a peer wants a topic.
    fn await_subscriber(&self, topic: &Bound<'_, PyAny>, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        let limit = websocket::duration(limit)?;
        let bytes = topic::bytes_of(topic)?;
        let pending = self.any()?.await_subscriber(bytes.as_ref(), limit);
        if wait_forever(topic.py(), pending)? || self.any()?.is_shut_down() {
            return Ok(());
        }
        Err(PyTimeoutError::new_err(format!(
            "no peer wanted messages of `{}` within {} s; nothing was sent",
            String::from_utf8_lossy(&bytes),
            limit.as_secs_f64()
        )))
    }
}

#[pymethods]
impl Endpoint {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(config=..., /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(OnceLock::new())
    }

    #[pyo3(signature = (*config))]
    fn __init__(&self, config: &Bound<'_, PyTuple>) -> PyResult<()> {
        let py = config.py();
        let expected = || PyTypeError::new_err("expected no argument or a Configuration");
        let config = match config.len() {
            0 => None,
            1 => Some(config.get_item(0)?),
            _ => return Err(expected()),
        };
        let config = match &config {
            None => None,
            Some(config) => Some(config.cast::<Configuration>().map_err(|_| expected())?),
        };
        let log = log_options()?;
        warn_of_variables(py)?;
        crate::logging::start(py, &log)?;
        let settings = options(config)?;
        let made = py.detach(|| broker::Endpoint::builder().options(settings).build());
        let made = made.map_err(|error| from_broker(&error))?;
        crate::counters::add_to(&made).map_err(|error| from_broker(&error))?;
        let endpoint = Arc::new(Owned::new(made));
        remember(Arc::downgrade(&endpoint));
        self.0
            .set(endpoint)
            .map_err(|_| PyRuntimeError::new_err("Endpoint.__init__ was called twice"))
    }

    /// The time that data stores go by: the system's, or with `use_real_time = False` the one that
    /// `advance_time` set, which begins with 1970.
    fn now(&self) -> PyResult<Timestamp> {
        Ok(Timestamp::new(self.any()?.now().ns()))
    }

    /// Moves the time that data stores go by, with `use_real_time = False`: entries whose time has come
    /// end. It never goes back. Takes a Timestamp, a datetime or seconds since 1970.
    fn advance_time(&self, to: &Bound<'_, PyAny>) -> PyResult<()> {
        self.any()?.advance_time(point_in_time(to)?);
        Ok(())
    }

    /// The endpoint's id as UUID text.
    fn node_id(&self) -> PyResult<String> {
        Ok(self.any()?.id().to_string())
    }

    /// Listens for peers. Returns the port, or 0 when that failed: the logger `broker` and an Error
    /// event say why. `open_listener` raises the reason instead.
    ///
    /// The address "" means all interfaces, the port 0 any free one.
    #[pyo3(signature = (address, port, /))]
    fn listen(
        &self,
        py: Python<'_>,
        address: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
    ) -> PyResult<u16> {
        let (address, port) = (host(address)?, port_number(port)?);
        let pending = self.live()?.listen(&address, port);
        match wait_forever(py, pending)? {
            Ok(port) => Ok(port),
            Err(error @ broker::Error::ShutDown) => Err(from_broker(&error)),
            Err(error) => warn_and_return_zero(py, &error),
        }
    }

    /// As `listen`, but raises ListenError, a BrokerError and an OSError, with the reason when it
    /// fails.
    #[pyo3(signature = (address, port, /))]
    fn open_listener(
        &self,
        py: Python<'_>,
        address: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
    ) -> PyResult<u16> {
        let (address, port) = (host(address)?, port_number(port)?);
        let pending = self.live()?.listen(&address, port);
        wait_forever(py, pending)?.map_err(|error| from_broker(&error))
    }

    /// Listens for WebSocket clients. Returns the port, or 0 when that failed: the logger `broker`
    /// and an Error event say why.
    ///
    /// Address and port are as in `listen`. Clients connect to /v1/messages/json and exchange
    /// messages as JSON with peers, with this endpoint and among each other.
    ///
    /// `tls`: None, as with peers; False, plain ws://; True, or with `certificate` and `key`,
    /// wss:// with these files. Clients need a certificate only with `cafile` or `capath`.
    /// `origins`: the origins whose scripts may connect; None for all. `overflow`: what happens to
    /// a client for which more than `buffer_size` messages wait: "disconnect" (it is told),
    /// "drop_newest", "drop_oldest", or "block" (publishers wait). Times are in seconds or a
    /// timedelta or Timespan; a `ping_interval` of 0 means no pings, a `ping_timeout` of 0, the
    /// default, that pings need no answer, a `connects_per_second_max` of 0 any number.
    ///
    /// Raises ConfigurationError for options and files that cannot be used.
    #[pyo3(signature = (address, port, /, *, tls = None, certificate = None, key = None,
                        passphrase = None, cafile = None, capath = None, origins = None,
                        overflow = None, buffer_size = None, message_bytes_max = None,
                        clients_max = None, connects_per_second_max = None,
                        subscription_timeout = None, ping_interval = None,
                        ping_timeout = None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn listen_ws(
        &self,
        py: Python<'_>,
        address: &Bound<'_, PyAny>,
        port: &Bound<'_, PyAny>,
        tls: Option<Flag>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        passphrase: Option<String>,
        cafile: Option<PathBuf>,
        capath: Option<PathBuf>,
        origins: Option<Vec<String>>,
        overflow: Option<&str>,
        buffer_size: Option<Whole<usize>>,
        message_bytes_max: Option<Whole<usize>>,
        clients_max: Option<Whole<usize>>,
        connects_per_second_max: Option<Whole<u32>>,
        subscription_timeout: Option<&Bound<'_, PyAny>>,
        ping_interval: Option<&Bound<'_, PyAny>>,
        ping_timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u16> {
        let (address, port) = (host(address)?, port_number(port)?);
        let files = broker::TlsOptions {
            certificate,
            key,
            passphrase,
            ca_file: cafile,
            ca_path: capath,
        };
        let defaults = broker::WebSocketOptions::default();
        let options = broker::WebSocketOptions {
            tls: websocket::tls(tls.map(|tls| tls.0), files)?,
            origins,
            overflow: overflow.map_or(Ok(defaults.overflow), websocket::overflow)?,
            buffer_size: buffer_size.map_or(defaults.buffer_size, Whole::get),
            message_bytes_max: message_bytes_max.map_or(defaults.message_bytes_max, Whole::get),
            clients_max: clients_max.map_or(defaults.clients_max, Whole::get),
            connects_per_second_max: connects_per_second_max
                .map_or(defaults.connects_per_second_max, Whole::get),
            subscription_timeout: subscription_timeout
                .map_or(Ok(defaults.subscription_timeout), websocket::duration)?,
            ping_interval: ping_interval.map_or(Ok(defaults.ping_interval), websocket::duration)?,
            ping_timeout: ping_timeout.map_or(Ok(defaults.ping_timeout), websocket::duration)?,
            ..defaults
        };
        let pending = self.live()?.listen_ws_with(&address, port, options);
        match wait_forever(py, pending)? {
            Ok(port) => Ok(port),
            Err(error @ broker::Error::Listen { .. }) => warn_and_return_zero(py, &error),
            Err(error) => Err(from_broker(&error)),
        }
    }

    /// Serves metrics, status and health over HTTP and returns the port; see docs/http.md.
    ///
    /// Only this machine can reach the default address; an empty one means all interfaces. With
    /// `certificate` and `key` it is https; clients need a certificate only with `cafile` or
    /// `capath`. With `token`, requests need it as `Authorization: Bearer ...`; health is told
    /// without it. `connections_max`: connections at a time; others wait.
    ///
    /// `web_socket=True` serves WebSocket clients at the same port, under /v1/messages/json. `origins`:
    /// web pages elsewhere whose scripts may read the answers and open WebSockets.
    /// `samples=True` shows messages of a topic to those who ask. `writes`: files and directories
    /// that the program writes to; the endpoint is not ready while one cannot be written.
    ///
    /// Raises ListenError when the address cannot be listened on, and ConfigurationError for
    /// options and files that cannot be used.
    #[pyo3(signature = (address = None, port = None, /, *, certificate = None, key = None,
                        passphrase = None, cafile = None, capath = None, token = None,
                        connections_max = None, web_socket = false, origins = Vec::new(),
                        samples = false, writes = Vec::new()),
           text_signature = "($self, address='127.0.0.1', port=0, /, *, certificate=None, \
                             key=None, passphrase=None, cafile=None, capath=None, token=None, \
                             connections_max=64, web_socket=False, origins=(), samples=False, \
                             writes=())")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn serve_http(
        &self,
        py: Python<'_>,
        address: Option<&Bound<'_, PyAny>>,
        port: Option<&Bound<'_, PyAny>>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        passphrase: Option<String>,
        cafile: Option<PathBuf>,
        capath: Option<PathBuf>,
        token: Option<String>,
        connections_max: Option<Whole<usize>>,
        web_socket: bool,
        origins: Vec<String>,
        samples: bool,
        writes: Vec<PathBuf>,
    ) -> PyResult<u16> {
        let files = broker::TlsOptions {
            certificate,
            key,
            passphrase,
            ca_file: cafile,
            ca_path: capath,
        };
        let defaults = broker::HttpOptions::default();
        let address = address.map_or_else(|| Ok(defaults.address.clone()), host)?;
        let port = port.map_or(Ok(0), port_number)?;
        let options = broker::HttpOptions {
            tls: files.is_authenticated().then_some(files),
            token,
            connections_max: connections_max.map_or(defaults.connections_max, Whole::get),
            web_socket: web_socket.then(|| broker::WebSocketOptions {
                origins: Some(origins.clone()),
                ..broker::WebSocketOptions::default()
            }),
            origins,
            samples,
            writes,
            ..defaults
        };
        let pending = self.live()?.serve_http(&address, port, options);
        wait_forever(py, pending)?.map_err(|error| from_broker(&error))
    }

    /// When the certificate that native peers see is over, as a datetime; None without one.
    fn certificate_expiry<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let expiry = self.any()?.certificate_expiry();
        expiry.map(|at| timestamp(py, at.ns())).transpose()
    }

    /// Has the files of certificates, keys and authorities of all endpoints looked at now, and not
    /// within a minute, as happens by itself. New connections use what is found; files that do not
    /// fit together leave the old ones in use, and the log says why.
    fn reload_certificates(&self, py: Python<'_>) -> PyResult<()> {
        let endpoint = self.any()?;
        py.detach(|| endpoint.reload_certificates());
        Ok(())
    }

    /// Replaces the policy whole, by that of a file or a dict, which is read now. Connections lose at once
    /// what they may not do any more; what makes no sense leaves the old policy in effect.
    #[pyo3(signature = (policy, /))]
    fn set_policy(&self, py: Python<'_>, policy: &Bound<'_, PyAny>) -> PyResult<()> {
        let (endpoint, policy) = (self.live()?, crate::policy::policy(policy)?);
        py.detach(|| endpoint.set_policy(&policy))
            .map_err(|error| from_broker(&error))
    }

    /// What the endpoint counted so far, and how its peers, subscribers and stores are: a new dict
    /// with the keys of /v1/stats, which docs/http.md describes.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = self.any()?.stats_json();
        py.import("json")?.call_method1("loads", (text,))
    }

    /// What went on between WebSocket clients and this endpoint: a new dict from the names of
    /// their applications ("unknown" for those without) to dicts of numbers.
    fn web_socket_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        websocket::counts(py, &self.any()?.web_socket_counts())
    }

    /// What went on between this endpoint and the WebSocket servers it peered with: a new dict from
    /// their URLs, as in lists of peers and events, to dicts of numbers.
    fn web_socket_peer_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        websocket::peer_counts(py, &self.any()?.web_socket_peer_counts())
    }

    /// What went on between this endpoint and the servers of NATS it peered with, by address: a dict of
    /// counters for each.
    fn nats_peer_counts(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        nats::counts(self.any()?, py)
    }

    /// What went on between this endpoint and the ZeroMQ proxies it peered with: a new dict from their
    /// URLs, as in lists of peers and events, to dicts of numbers.
    fn zeromq_peer_counts(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        zeromq::counts(self.any()?, py)
    }

    /// Has the numbers of a broker.zeek.Forwarder told in `stats` and in the metrics of this endpoint,
    /// until it is closed.
    fn report_forwarder(&self, forwarder: &Forwarder) -> PyResult<()> {
        let reported = self.live()?.report_forwarder(&*forwarder.forwarder()?);
        reported.map_err(|error| from_broker(&error))
    }

    /// The nodes of the Zeek clusters that this endpoint is connected to by ZeroMQ, a new list of
    /// broker.zeek.ClusterNode, sorted by name.
    fn cluster_nodes(&self) -> PyResult<Vec<ClusterNode>> {
        let nodes = self.live()?.cluster_nodes();
        Ok(nodes.into_iter().map(Into::into).collect())
    }

    /// Peers with the endpoint that listens at an address. Returns whether that worked.
    ///
    /// `retry` is the pause between attempts in seconds, or a timedelta or Timespan, cut to whole
    /// seconds; below 1 there is one attempt. With `jitter` it is that on average, and each is up to a
    /// quarter shorter or longer: many programs that lose one peer do not come back at the same time.
    /// With retries it waits until the peer is there, or for at most `timeout` (seconds, timedelta,
    /// Timespan; None: no limit); attempts go on after that. When it returns True the other
    /// side's subscriptions are known, so what is published from then on arrives.
    ///
    /// Instead of a host `addr` can be a URL, which needs no port beside it: `zeek://host:port` or
    /// `tcp://host:port` for the native protocol, `ws://host:port` and `wss://host:port` for a
    /// WebSocket server of Zeek or Broker, `zmq://host:port` for a Zeek cluster that uses ZeroMQ.
    /// Raises ValueError when the URL makes no sense.
    ///
    /// The port of `zmq://` is that of the proxy's XPUB, 5555 if there is none; its XSUB is at the next
    /// one, unless `?xsub=port` says otherwise. Only there: `curve` maps server_publickey,
    /// client_publickey and client_secretkey to the keys of an encrypted cluster, or is a directory of
    /// zeekctl or a file that has them, or False for no encryption; None takes those of the
    /// environment, as Zeek does. `membership` is
    /// "observer", the default, or "node" with the `name` of a node of the layout, such as proxy-1, whose
    /// place this endpoint takes; with `unify_topics` the cluster's `zeek.cluster.worker` is
    /// `zeek/cluster/worker` here, as with native peers.
    ///
    /// `nats://host:port,host:port` names servers of NATS of one cluster. Only there: `nats` maps names of
    /// options to values: user and password, token, or credentials_file; tls, ca_file, certificate and
    /// key; prefix, what subjects begin with instead of "bk.".
    #[pyo3(signature = (addr, port = None, retry = RETRY, *, timeout = None, jitter = Flag(false),
                        membership = None, name = None, curve = None, unify_topics = None, nats = None),
           text_signature = "($self, addr, port=None, retry=10.0, *, timeout=None, jitter=False, \
                             membership=None, name=None, curve=None, unify_topics=None, nats=None)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn peer(
        &self,
        py: Python<'_>,
        addr: &Bound<'_, PyAny>,
        port: Option<&Bound<'_, PyAny>>,
        retry: Seconds,
        timeout: Option<&Bound<'_, PyAny>>,
        jitter: Flag,
        membership: Option<&str>,
        name: Option<String>,
        curve: Option<&Bound<'_, PyAny>>,
        unify_topics: Option<Flag>,
        nats: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let (url, limit) = (peer_url(addr, port)?, self::timeout(timeout)?);
        let options = zeromq::options(membership, name, curve, unify_topics)?;
        let (endpoint, retry) = (self.live()?, self::retry(retry.0, jitter.0)?);
        let pending = Peering::new(url, options, nats)?.join(endpoint, retry);
        match wait_for(py, limit, pending)? {
            Some(Ok(())) => Ok(true),
            Some(Err(
                error @ (broker::Error::ShutDown
                | broker::Error::Address(_)
                | broker::Error::CurveKeys { .. }),
            )) => Err(from_broker(&error)),
            Some(Err(_)) | None => Ok(false),
        }
    }

    /// Like `peer`, but returns at once; status events tell how it went.
    #[pyo3(signature = (addr, port = None, retry = RETRY, *, jitter = Flag(false), membership = None,
                        name = None, curve = None, unify_topics = None, nats = None),
           text_signature = "($self, addr, port=None, retry=10.0, *, jitter=False, membership=None, \
                             name=None, curve=None, unify_topics=None, nats=None)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn peer_nosync(
        &self,
        addr: &Bound<'_, PyAny>,
        port: Option<&Bound<'_, PyAny>>,
        retry: Seconds,
        jitter: Flag,
        membership: Option<&str>,
        name: Option<String>,
        curve: Option<&Bound<'_, PyAny>>,
        unify_topics: Option<Flag>,
        nats: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let url = peer_url(addr, port)?;
        let options = zeromq::options(membership, name, curve, unify_topics)?;
        let (endpoint, retry) = (self.live()?, self::retry(retry.0, jitter.0)?);
        Peering::new(url, options, nats)?.begin(endpoint, retry)
    }

    /// Ends the peering with the endpoint at an address, as given to `peer`. Returns True, even
    /// when there was none (then an Error event follows).
    #[pyo3(signature = (addr, port = None, /))]
    fn unpeer(
        &self,
        py: Python<'_>,
        addr: &Bound<'_, PyAny>,
        port: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let pending = self.live()?.unpeer_url(&peer_url(addr, port)?);
        wait_forever(py, pending)?;
        Ok(true)
    }

    /// Like `unpeer`, but returns at once.
    #[pyo3(signature = (addr, port = None, /))]
    fn unpeer_nosync(
        &self,
        addr: &Bound<'_, PyAny>,
        port: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _nobody_waits = self.live()?.unpeer_url(&peer_url(addr, port)?);
        Ok(())
    }

    /// Waits until the endpoint with that id is a direct peer. Returns whether it is.
    ///
    /// `timeout` is in seconds, or a timedelta or Timespan; None and 0 mean 10 s. Raises ValueError when `node` is no id.
    #[pyo3(signature = (node, timeout = None))]
    fn await_peer(
        &self,
        py: Python<'_>,
        node: &Bound<'_, PyString>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let span = peer_timeout(timeout)?;
        let id = endpoint_id(&node.to_cow()?)?;
        let pending = self.live()?.await_peer(id, span);
        wait_forever(py, pending)
    }

    /// The peers, a new list of PeerInfo.
    fn peers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        let endpoint = self.live()?;
        for peer in endpoint.peers() {
            let dropped = endpoint.dropped_for_peer(peer.id);
            list.append(Bound::new(py, PeerInfo::new(py, &peer, dropped)?)?)?;
        }
        Ok(list)
    }

    /// The messages that wait here for peers, a new list of (id of the peer, where it is, how many).
    fn waiting(&self) -> PyResult<Vec<(String, String, u64)>> {
        let peers = self.any()?.stats().peers.into_iter();
        let rows = peers.map(|peer| {
            let waiting = peer.sent.waiting_messages;
            (peer.id.to_string(), peer.address.to_string(), waiting)
        });
        Ok(rows.collect())
    }

    /// How many commands of data stores were refused because a peer sent them in the name of this
    /// endpoint, of another peer or of nobody.
    fn refused_commands(&self) -> PyResult<u64> {
        Ok(self.any()?.refused_commands())
    }

    /// Incoming connections of peers that did not become peerings, a new dict: `refused` tells how
    /// many were refused, broke off or took too long (an Error event with the code PeerRefused gives
    /// address and reason, at most one per second after a burst of ten), `silent` how many ended
    /// before they sent anything, such as probes of load balancers.
    fn refusal_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.any()?.refusal_counts();
        let dict = PyDict::new(py);
        dict.set_item("refused", counts.refused)?;
        dict.set_item("silent", counts.silent)?;
        Ok(dict)
    }

    /// How many copies of messages were dropped: in a ring or mesh of endpoints a message comes in
    /// several ways, and once is enough.
    fn duplicates_dropped(&self) -> PyResult<u64> {
        Ok(self.any()?.duplicates_dropped())
    }

    /// How many circles through peers of another implementation were found; an Error event with the
    /// code ForwardingLoop told of each, and it was cut.
    fn loops_found(&self) -> PyResult<u64> {
        Ok(self.any()?.loops_found())
    }

    /// The topics that peers subscribed to, a new list of Topic.
    fn peer_subscriptions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for topic in self.live()?.peer_subscriptions() {
            list.append(Bound::new(py, Topic::new(topic.as_bytes()))?)?;
        }
        Ok(list)
    }

    /// Passes on messages with these topics (one, or an iterable) although nobody here subscribes.
    #[pyo3(signature = (topics))]
    fn forward(&self, py: Python<'_>, topics: &Bound<'_, PyAny>) -> PyResult<()> {
        let topics = topic::several(topics)?;
        let endpoint = self.live()?;
        py.detach(|| endpoint.forward(topics));
        Ok(())
    }

    /// Publishes a message to the peers that subscribe to its topic; with `to` (EndpointInfo or
    /// id) only to that peer. Waits while a peer that takes messages has no room for more.
    ///
    /// Our own subscribers do not get it. Raises TypeError for values without a counterpart,
    /// OverflowError for numbers and times that do not fit. After `shutdown` it does nothing.
    ///
    /// With `wait_for_subscriber` (seconds, timedelta, Timespan) it waits that long for a peer, or a WebSocket client, that
    /// wants the topic, and raises TimeoutError, with nothing sent, when there is none.
    ///
    /// With `durable=True` it waits until a stream of the NATS servers it is peered with has the message,
    /// for at most `timeout` (30 s), and returns a StoredMessage; see docs/nats.md. Again with the same
    /// `message_id` the message is stored once. With `expected_last` it is stored only if the last message
    /// of its topic has that number (0: if there is none).
    ///
    /// With `retain=True` it is the same, and a stream for last values has the message as that of its topic:
    /// subscribers made with `retained=True` get it first, however late they come.
    #[pyo3(signature = (topic, data, *directed, to = None, wait_for_subscriber = None, durable = None,
                        retain = None, message_id = None, expected_last = None, timeout = None),
           text_signature = "($self, topic, data, *, to=None, wait_for_subscriber=None, durable=False, \
                             retain=False, message_id=None, expected_last=None, timeout=None)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn publish(
        &self,
        topic: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        directed: &Bound<'_, PyTuple>,
        to: Option<&Bound<'_, PyAny>>,
        wait_for_subscriber: Option<&Bound<'_, PyAny>>,
        durable: Option<Flag>,
        retain: Option<Flag>,
        message_id: Option<String>,
        expected_last: Option<u64>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<StoredMessage>> {
        let retain = retain.is_some_and(|retain| retain.0);
        if retain || durable.is_some_and(|durable| durable.0) {
            if to.is_some() || wait_for_subscriber.is_some() || !directed.is_empty() {
                return Err(PyTypeError::new_err(
                    "expected `durable` and `retain` without `to` and `wait_for_subscriber`: the message is for all, now and later",
                ));
            }
            let options = durable::publish_options(message_id, expected_last, retain, timeout)?;
            return durable::publish(self.live()?, topic, data, options).map(Some);
        }
        if message_id.is_some() || expected_last.is_some() || timeout.is_some() {
            return Err(PyTypeError::new_err(
                "expected `message_id`, `expected_last` and `timeout` with `durable=True` or `retain=True` only",
            ));
        }
        if let Some(limit) = wait_for_subscriber {
            if to.is_some() || !directed.is_empty() {
                return Err(PyTypeError::new_err(
                    "expected either `to`, whose subscriptions do not matter, or `wait_for_subscriber`",
                ));
            }
            self.await_subscriber(topic, limit)?;
        }
        match directed.len() {
            0 => self.send(to.map(receiver).transpose()?, topic, data)?,
            // The native form of the original: receiver, topic, data.
            1 => self.send(Some(receiver(topic)?), data, &directed.get_item(0)?)?,
            _ => return Err(PyTypeError::new_err("expected a topic and a value")),
        }
        Ok(None)
    }

    /// Withdraws the last value of a topic (`publish(..., retain=True)`): who subscribes later gets none, and
    /// subscribers made with `retained=True` get a message that is `withdrawn`. Ordinary subscribers are not
    /// told. Options and result as for a durable `publish`.
    #[pyo3(signature = (topic, *, message_id = None, expected_last = None, timeout = None))]
    fn withdraw(
        &self,
        topic: &Bound<'_, PyAny>,
        message_id: Option<String>,
        expected_last: Option<u64>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<StoredMessage> {
        let options = durable::publish_options(message_id, expected_last, true, timeout)?;
        durable::withdraw(self.live()?, topic, options)
    }

    /// Publishes (topic, value) pairs. When one cannot be converted none is sent.
    #[pyo3(signature = (*batch))]
    fn publish_batch(&self, batch: &Bound<'_, PyTuple>) -> PyResult<()> {
        let messages = encoded_pairs(batch)?;
        for (topic, bytes) in messages {
            let offered = self.any()?.offer(None, &topic, |out| -> Fallible {
                out.extend_from_slice(&bytes);
                Ok(())
            });
            wait_if_blocked(batch.py(), offered)?;
        }
        Ok(())
    }

    /// Makes a subscriber to topics: one, or an iterable. `max_qsize` has no effect. `on_loss` is
    /// "ignore" or "raise": then the next call that receives raises MessagesLost when messages were
    /// dropped because they were not taken in time.
    ///
    /// `overflow` is "drop_oldest", "drop_newest", "block" or "disconnect" (the subscriber is closed):
    /// what happens beyond `buffer` messages (1048576). Except with "block" it happens at once. None:
    /// what the endpoint does with its subscribers.
    #[pyo3(signature = (topics, max_qsize = Whole(20), *, on_loss = "ignore", buffer = None,
           overflow = None),
           text_signature = "($self, topics, max_qsize=20, *, on_loss='ignore', buffer=None, overflow=None)")]
    fn make_subscriber(
        &self,
        py: Python<'_>,
        topics: &Bound<'_, PyAny>,
        max_qsize: Whole<usize>,
        on_loss: &str,
        buffer: Option<Whole<usize>>,
        overflow: Option<&str>,
    ) -> PyResult<Subscriber> {
        let _unused = max_qsize;
        let on_loss = subscriber::on_loss(on_loss)?;
        let topics = topic::several(topics)?;
        let endpoint = self.live()?;
        let made = match subscriber::room(buffer, overflow)? {
            None => py.detach(|| endpoint.subscriber(topics)),
            Some(room) => py.detach(|| endpoint.subscriber_with_room(topics, room)),
        };
        let made = made.map_err(|error| from_broker(&error))?;
        made.set_on_loss(on_loss);
        Ok(Subscriber::new(made))
    }

    /// Makes a durable subscriber to topics, whose cursor has that name; `options` are those of
    /// `broker.Endpoint.make_subscriber`, all of them.
    fn make_durable_subscriber(
        &self,
        topics: &Bound<'_, PyAny>,
        name: String,
        options: durable::Keywords<'_>,
    ) -> PyResult<DurableSubscriber> {
        durable::subscriber(self.live()?, topics, name, options)
    }

    /// Makes a subscriber to last values: `make_subscriber(..., retained=True)` of `broker.Endpoint`.
    #[pyo3(signature = (topics, *, stream = None, prefetch = None, require_durable = Flag(false),
                        timeout = None),
           text_signature = "($self, topics, *, stream=None, prefetch=None, require_durable=False, \
                             timeout=None)")]
    fn make_retained_subscriber(
        &self,
        topics: &Bound<'_, PyAny>,
        stream: Option<String>,
        prefetch: Option<usize>,
        require_durable: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<StreamReader> {
        let options =
            stream_reader::retained_options(stream, prefetch, require_durable.0, timeout)?;
        stream_reader::retained(self.live()?, topics, options)
    }

    /// What a stream of the NATS servers has of topics (one, or an iterable), in its order: an iterator,
    /// for `async for` as well. It begins with the first message or `since`, and ends with the last one
    /// there is when it is called, or before that at `until`: both a datetime or Timestamp, a span such as
    /// "-1h" or a timedelta, or the number of a message. Messages are as far apart as they were stored,
    /// divided by `speed`; None: as fast as they are taken. `stream` names the stream where several keep
    /// the topics.
    #[pyo3(signature = (topics, *, since = None, until = None, speed = 1.0, stream = None, prefetch = None,
                        timeout = None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn replay(
        &self,
        topics: &Bound<'_, PyAny>,
        since: Option<&Bound<'_, PyAny>>,
        until: Option<&Bound<'_, PyAny>>,
        speed: Option<f64>,
        stream: Option<String>,
        prefetch: Option<usize>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<StreamReader> {
        let options =
            stream_reader::replay_options(since, until, speed, stream, prefetch, timeout)?;
        stream_reader::replay(self.live()?, topics, options)
    }

    /// Makes a stream on the NATS servers that the endpoint is peered with, unless there is one of that
    /// name and shape; returns a StreamState. It keeps `topics` (one, or an iterable) and everything below
    /// them: "/notices" is for /notices and /notices/a, not for /noticeable.
    ///
    /// `replicas` is 1, 3 or 5: with 1 a disk that is gone takes the stream with it. `max_age` (seconds,
    /// timedelta, Timespan), `max_bytes`, `max_messages` and `max_messages_per_topic` are limits; None
    /// means none. `discard`: at a limit the "old" are forgotten or "new" ones refused.
    /// With `retained=True` it is for last values, `publish(..., retain=True)`, one of each topic, and
    /// keeps nothing else. `require_durable` refuses a stream with one copy. Raises DurableError, with the
    /// differences, when there is one of another shape.
    #[pyo3(signature = (name, topics, *, replicas = 1, max_age = None, max_bytes = None,
                        max_messages = None, max_messages_per_topic = None, discard = "old",
                        retained = Flag(false), require_durable = Flag(false), timeout = None),
           text_signature = "($self, name, topics, *, replicas=1, max_age=None, max_bytes=None, \
                             max_messages=None, max_messages_per_topic=None, discard='old', \
                             retained=False, require_durable=False, timeout=None)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords")]
    fn make_stream(
        &self,
        name: String,
        topics: &Bound<'_, PyAny>,
        replicas: u8,
        max_age: Option<&Bound<'_, PyAny>>,
        max_bytes: Option<u64>,
        max_messages: Option<u64>,
        max_messages_per_topic: Option<u64>,
        discard: &str,
        retained: Flag,
        require_durable: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<StreamState> {
        let options = durable::stream_options(
            name,
            topics,
            replicas,
            max_age,
            max_bytes,
            max_messages,
            max_messages_per_topic,
            discard,
            retained.0,
            require_durable.0,
            timeout,
        )?;
        durable::make_stream(topics.py(), self.live()?, options)
    }

    /// Deletes the cursor of a stream: the next durable subscriber of the name begins anew. Returns
    /// whether there was one.
    #[pyo3(signature = (stream, name, *, timeout = None))]
    fn delete_cursor(
        &self,
        py: Python<'_>,
        stream: &str,
        name: &str,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let limit = timeout.map_or(Ok(std::time::Duration::from_secs(30)), websocket::duration)?;
        let pending = durable::topics(self.live()?)?.delete_cursor(stream, name, limit);
        wait_forever(py, pending)?.map_err(|error| from_durable(&error))
    }

    /// Makes a subscriber to errors and, if asked for, statuses.
    ///
    /// With `discovery` its `get()` also delivers the EndpointDiscovered that goes before each
    /// PeerAdded; all its other methods always do.
    #[pyo3(signature = (receive_statuses = None, *, discovery = Flag(false)),
           text_signature = "($self, receive_statuses=False, *, discovery=False)")]
    fn make_status_subscriber(
        &self,
        py: Python<'_>,
        receive_statuses: Option<&Bound<'_, PyAny>>,
        discovery: Flag,
    ) -> PyResult<StatusSubscriber> {
        let statuses = match receive_statuses {
            None => false,
            Some(value) => flag(value)?,
        };
        let endpoint = self.live()?;
        let made = py.detach(|| endpoint.status_subscriber(statuses));
        made.map(|queue| StatusSubscriber::new(queue, discovery.0))
            .map_err(|error| from_broker(&error))
    }

    /// Makes a publisher for one topic.
    #[pyo3(signature = (topic))]
    fn make_publisher(&self, topic: &Bound<'_, PyAny>) -> PyResult<Publisher> {
        let topic = topic::bytes_of(topic)?;
        Ok(Publisher::new(self.live()?.publisher(topic.as_ref())))
    }

    /// Attaches the master of a data store, or another handle of it if this endpoint has it. Returns
    /// a Store, or None when that failed: a peer has the master, or the file cannot be used.
    /// `open_master` raises the reason instead.
    ///
    /// Without a type entries are kept in memory. Backend.SQLite needs the option "path", a file;
    /// missing directories are made. Its other options are "synchronous", "journal_mode" and
    /// "failure_mode", each an Enum with the full name such as
    /// "Broker::SQLITE_SYNCHRONOUS_NORMAL", and "integrity_check", a bool. Spec: stores 8.3.
    ///
    /// With an empty name there is a Store that keeps nothing.
    #[pyo3(signature = (name, r#type = None, opts = None))]
    fn attach_master(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        r#type: Option<&Bound<'_, PyAny>>,
        opts: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Store>> {
        self.live()?;
        let attached = attach::master(py, self.owned()?, name, r#type, opts)?;
        self.or_none(attached)
    }

    /// As `attach_master`, but raises StoreError with the reason when it fails.
    #[pyo3(signature = (name, r#type = None, opts = None))]
    fn open_master(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        r#type: Option<&Bound<'_, PyAny>>,
        opts: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Store> {
        self.live()?;
        let attached = attach::master(py, self.owned()?, name, r#type, opts)?;
        attached.map(Store::new).map_err(|error| from_store(&error))
    }

    /// Attaches a clone of a data store, which follows its master wherever that is, or another
    /// handle of it if this endpoint has it. Returns a Store, which goes on looking for its master,
    /// or None when that is on this endpoint. `open_clone` raises the reason instead. When all peers
    /// are WebSocket servers, which carry no stores, both raise StoreError at once.
    ///
    /// Intervals are in seconds, or a timedelta or Timespan: `resync_interval` (10 s) is how long the
    /// first search may take, and after how long a silence another master is looked for;
    /// `stale_interval` (300 s) after how long a silence reads fail, negative: never;
    /// `mutation_buffer_interval` (120 s) how long requests wait for a master that is silent.
    #[pyo3(signature = (name, *, resync_interval = None, stale_interval = None,
           mutation_buffer_interval = None))]
    fn attach_clone(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        resync_interval: Option<&Bound<'_, PyAny>>,
        stale_interval: Option<&Bound<'_, PyAny>>,
        mutation_buffer_interval: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Store>> {
        self.live()?;
        let intervals = [resync_interval, stale_interval, mutation_buffer_interval];
        let attached = attach::replica(py, self.owned()?, name, intervals)?;
        self.or_none(attached)
    }

    /// As `attach_clone`, but raises StoreError with the reason when it fails.
    #[pyo3(signature = (name, *, resync_interval = None, stale_interval = None,
           mutation_buffer_interval = None))]
    fn open_clone(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        resync_interval: Option<&Bound<'_, PyAny>>,
        stale_interval: Option<&Bound<'_, PyAny>>,
        mutation_buffer_interval: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Store> {
        self.live()?;
        let intervals = [resync_interval, stale_interval, mutation_buffer_interval];
        let attached = attach::replica(py, self.owned()?, name, intervals)?;
        attached.map(Store::new).map_err(|error| from_store(&error))
    }

    /// The changes of all stores of this endpoint from now on: a StoreEvents object.
    fn store_events(&self, py: Python<'_>) -> PyResult<StoreEvents> {
        let endpoint = self.live()?;
        let events = py.detach(|| endpoint.store_events());
        events
            .map(|events| StoreEvents::new(events, None))
            .map_err(|error| from_broker(&error))
    }

    /// Says goodbye to peers, closes sockets and ends subscriptions; takes at most about 5 s.
    /// Any thread may call it, more than once.
    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        let pending = self.any()?.shutdown();
        wait_forever(py, pending)
    }

    fn __repr__(&self) -> PyResult<String> {
        self.node_id()
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (r#type, value, traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _exception = (r#type, value, traceback);
        self.shutdown(py)
    }
}
