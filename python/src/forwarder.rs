//! `broker._broker.zeek.Forwarder`: the proxy of a cluster over ZeroMQ, in place of its manager's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use broker::zeromq::{self, Curve, ForwarderOptions, PublicKey};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::endpoint::Endpoint;
use crate::error::{closed, from_broker};
use crate::log_receiver::curve;
use crate::process::Owned;

/// The proxy between publishers and subscribers of a cluster, which Zeek's manager runs otherwise.
///
/// Subscribers connect to `xpub`, publishers to `xsub`: addresses such as tcp://0.0.0.0:5555, with
/// port 0 for any. A subscriber that does not read loses messages beyond `queue_bytes` of its own
/// queue, and nothing else waits for it; all queues together hold `total_bytes` at most (1 GiB unless
/// said), of which each has an equal share where there are many. `curve` is None for the keys of the environment, False for
/// no encryption, a directory of zeekctl, or a mapping from `server_secretkey` and so on to keys;
/// `clients` are public keys of clients that are let in besides the one of the cluster. With `policy_of`,
/// an endpoint that has a policy, that policy judges what clients subscribe to and publish; a new one
/// (`endpoint.set_policy`) applies at once.
///
/// Closed at the end of a `with` block, by `close`, and when it is collected.
#[pyclass(frozen, module = "broker._broker.zeek")]
#[derive(Debug)]
pub(crate) struct Forwarder(Owned<Mutex<Option<Arc<zeromq::Forwarder>>>>);

impl Forwarder {
    pub(crate) fn forwarder(&self) -> PyResult<Arc<zeromq::Forwarder>> {
        let open = self
            .0
            .get()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        open.ok_or_else(|| closed("the forwarder was closed"))
    }
}

#[pymethods]
impl Forwarder {
    #[new]
    #[expect(
        clippy::too_many_arguments,
        reason = "they have names where it is called"
    )]
    #[pyo3(signature = (*, xpub = None, xsub = None, curve = None, clients = None, queue_bytes = None, total_bytes = None, policy_of = None))]
    fn py_new(
        py: Python<'_>,
        xpub: Option<String>,
        xsub: Option<String>,
        curve: Option<&Bound<'_, PyAny>>,
        clients: Option<&Bound<'_, PyAny>>,
        queue_bytes: Option<usize>,
        total_bytes: Option<usize>,
        policy_of: Option<&Bound<'_, Endpoint>>,
    ) -> PyResult<Self> {
        let mut options = ForwarderOptions::default();
        if let Some(xpub) = xpub {
            options.xpub = xpub;
        }
        if let Some(xsub) = xsub {
            options.xsub = xsub;
        }
        (options.curve, options.clients) = keys(curve, clients)?;
        if let Some(bytes) = queue_bytes {
            options.queue_bytes_max = bytes;
        }
        if let Some(bytes) = total_bytes {
            options.total_bytes_max = bytes;
        }
        if let Some(endpoint) = policy_of {
            let judged = endpoint.get().live()?.judge_forwarder(&mut options);
            judged.map_err(|error| from_broker(&error))?;
        }
        let bound = py.detach(|| zeromq::Forwarder::bind(options));
        let forwarder = bound.map_err(|error| from_broker(&error))?;
        Ok(Self(Owned::new(Mutex::new(Some(Arc::new(forwarder))))))
    }

    /// The port that subscribers connect to.
    #[getter]
    fn xpub_port(&self) -> PyResult<u16> {
        Ok(self.forwarder()?.xpub_address().port())
    }

    /// The port that publishers connect to.
    #[getter]
    fn xsub_port(&self) -> PyResult<u16> {
        Ok(self.forwarder()?.xsub_address().port())
    }

    /// Exchanges the keys, given as to the constructor. Connections of clients whose keys are not
    /// among those that are let in any more end at once, and all do when the server's key changed.
    /// When keys are incomplete it raises BrokerError, and nothing changes.
    #[pyo3(signature = (*, curve = None, clients = None))]
    fn set_keys(
        &self,
        py: Python<'_>,
        curve: Option<&Bound<'_, PyAny>>,
        clients: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (curve, clients) = keys(curve, clients)?;
        let forwarder = self.forwarder()?;
        let changed = py.detach(|| forwarder.set_keys(&curve, &clients));
        changed.map_err(|error| from_broker(&error))
    }

    /// What went through it so far: numbers by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.forwarder()?.stats();
        let dict = PyDict::new(py);
        for (name, number) in [
            ("connections", stats.connections.len() as u64),
            ("subscriptions", stats.subscriptions as u64),
            ("messages", stats.messages),
            ("bytes", stats.bytes),
            ("unwanted", stats.unwanted),
            ("dropped", stats.dropped),
            ("denied", stats.denied),
            ("refused", stats.refused),
        ] {
            dict.set_item(name, number)?;
        }
        Ok(dict)
    }

    /// The connections at the moment.
    fn connections(&self) -> PyResult<Vec<ForwarderConnection>> {
        let stats = self.forwarder()?.stats();
        Ok(stats.connections.into_iter().map(Into::into).collect())
    }

    /// Closes both ports and all connections. Other methods raise ClosedError from then on.
    fn close(&self) -> PyResult<()> {
        let open = self
            .0
            .get()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(forwarder) = open {
            forwarder.close();
        }
        Ok(())
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (r#type, value, traceback))]
    fn __exit__(
        &self,
        r#type: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _exception = (r#type, value, traceback);
        self.close()
    }

    fn __repr__(&self) -> String {
        match self.forwarder() {
            Ok(forwarder) => format!(
                "<Forwarder xpub={} xsub={}>",
                forwarder.xpub_address(),
                forwarder.xsub_address()
            ),
            Err(_) => "<Forwarder closed>".to_owned(),
        }
    }
}

/// Keys of the server, and public keys of clients.
fn keys(
    curve: Option<&Bound<'_, PyAny>>,
    clients: Option<&Bound<'_, PyAny>>,
) -> PyResult<(Curve, Vec<PublicKey>)> {
    let curve = curve.map(self::curve).transpose()?.unwrap_or_default();
    let mut keys = Vec::new();
    let Some(clients) = clients else {
        return Ok((curve, keys));
    };
    // Text is iterable, too, by characters.
    if clients.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "expected `clients` to be an iterable of public keys, found one str",
        ));
    }
    for (number, key) in clients.try_iter()?.enumerate() {
        let wrong =
            |what: String| PyValueError::new_err(format!("`clients`, key {number}: {what}"));
        let text: String = key?
            .extract()
            .map_err(|_| wrong("expected a public key as text".to_owned()))?;
        // A secret that is given by mistake must not show.
        keys.push(
            text.parse()
                .map_err(|error: broker::zeromq::KeyError| wrong(error.to_string()))?,
        );
    }
    Ok((curve, keys))
}

/// A connection of a forwarder, at the moment it was asked for.
#[pyclass(frozen, module = "broker._broker.zeek")]
#[derive(Debug)]
pub(crate) struct ForwarderConnection(zeromq::ForwarderConnection);

impl From<zeromq::ForwarderConnection> for ForwarderConnection {
    fn from(connection: zeromq::ForwarderConnection) -> Self {
        Self(connection)
    }
}

#[pymethods]
impl ForwarderConnection {
    /// Where it comes from, as HOST:PORT.
    #[getter]
    fn address(&self) -> String {
        let address: SocketAddr = self.0.address;
        address.to_string()
    }

    /// "subscriber" or "publisher".
    #[getter]
    fn side(&self) -> &'static str {
        self.0.side.name()
    }

    /// The client's public key; None without encryption.
    #[getter]
    fn key(&self) -> Option<String> {
        self.0.key.map(|key| key.to_string())
    }

    /// Who it is for the policy; None without one.
    #[getter]
    fn principal(&self) -> Option<&str> {
        self.0.principal.as_deref()
    }

    /// Messages that were written to a subscriber, or came from a publisher.
    #[getter]
    fn messages(&self) -> u64 {
        self.0.messages
    }

    /// Their bytes.
    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Messages that wait for a subscriber.
    #[getter]
    fn waiting(&self) -> u64 {
        self.0.waiting
    }

    /// Their bytes.
    #[getter]
    fn waiting_bytes(&self) -> u64 {
        self.0.waiting_bytes
    }

    /// Messages that a subscriber did not take in time and lost.
    #[getter]
    fn dropped(&self) -> u64 {
        self.0.dropped
    }

    fn __repr__(&self) -> String {
        let Self(it) = self;
        format!(
            "ForwarderConnection(address={:?}, side={:?}, messages={}, waiting={}, dropped={})",
            self.address(),
            it.side.name(),
            it.messages,
            it.waiting,
            it.dropped
        )
    }
}
