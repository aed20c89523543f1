//! Reports of endpoints: status and error events, and the peers they are about.

use std::sync::{Mutex, PoisonError};

use broker::{EndpointId, NetworkAddress};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::argument;
use crate::types::enumeration::{ErrorCode, PeerFlags, PeerStatus, StatusCode};

fn assign<T>(slot: &Mutex<T>, value: T) {
    let previous = std::mem::replace(
        &mut *slot.lock().unwrap_or_else(PoisonError::into_inner),
        value,
    );
    // Not under the lock: the end of an object may let another thread run.
    drop(previous);
}

fn shared<T>(py: Python<'_>, slot: &Mutex<Py<T>>) -> Py<T> {
    slot.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone_ref(py)
}

/// Network address of an endpoint.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct NetworkInfo {
    address: Mutex<String>,
    port: Mutex<u16>,
}

impl NetworkInfo {
    fn new(network: &NetworkAddress) -> Self {
        Self {
            address: Mutex::new(network.host.clone()),
            port: Mutex::new(network.port),
        }
    }
}

#[pymethods]
impl NetworkInfo {
    /// Host name or numeric address.
    #[getter]
    fn address(&self) -> String {
        self.address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    #[setter]
    fn set_address(&self, address: String) {
        assign(&self.address, address);
    }

    /// TCP port. For a peer that connected to us, the one it connected from.
    #[getter]
    fn port(&self) -> u16 {
        *self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[setter]
    fn set_port(&self, port: &Bound<'_, PyAny>) -> PyResult<()> {
        assign(&self.port, argument::port(port)?);
        Ok(())
    }

    fn __repr__(&self) -> String {
        NetworkAddress::new(self.address(), self.port()).to_string()
    }
}

/// A network address that may be missing; true when it is there.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct OptionalNetworkInfo(Option<Py<NetworkInfo>>);

#[pymethods]
impl OptionalNetworkInfo {
    /// Whether there is an address.
    fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The address. Raises `ValueError` when there is none.
    fn get(&self, py: Python<'_>) -> PyResult<Py<NetworkInfo>> {
        self.0
            .as_ref()
            .map(|network| network.clone_ref(py))
            .ok_or_else(|| PyValueError::new_err("no network address is set"))
    }

    fn __bool__(&self) -> bool {
        self.is_set()
    }

    fn __repr__(&self) -> String {
        self.0
            .as_ref()
            .map_or_else(|| "nil".to_owned(), |network| network.get().__repr__())
    }
}

/// An endpoint: its id, and its address if known.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct EndpointInfo {
    id: EndpointId,
    network: Mutex<Py<OptionalNetworkInfo>>,
    kind: Mutex<String>,
}

impl EndpointInfo {
    fn new(
        py: Python<'_>,
        id: EndpointId,
        network: Option<&NetworkAddress>,
        kind: &str,
    ) -> PyResult<Py<Self>> {
        let network = network
            .map(|network| Py::new(py, NetworkInfo::new(network)))
            .transpose()?;
        let network = Py::new(py, OptionalNetworkInfo(network))?;
        Py::new(
            py,
            Self {
                id,
                network: Mutex::new(network),
                kind: Mutex::new(kind.to_owned()),
            },
        )
    }

    /// The context of an event.
    fn of_event(py: Python<'_>, info: &broker::EndpointInfo) -> PyResult<Py<Self>> {
        Self::new(
            py,
            info.id.unwrap_or(EndpointId::NIL),
            info.network.as_ref(),
            "invalid",
        )
    }

    pub(crate) fn id(&self) -> EndpointId {
        self.id
    }
}

#[pymethods]
impl EndpointInfo {
    /// The id as UUID text.
    fn node_id(&self) -> String {
        self.id.to_string()
    }

    /// Where it is, if known.
    #[getter]
    fn network(&self, py: Python<'_>) -> Py<OptionalNetworkInfo> {
        shared(py, &self.network)
    }

    #[setter]
    fn set_network(&self, network: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(network) = network.cast::<OptionalNetworkInfo>() else {
            return Err(PyTypeError::new_err("expected an OptionalNetworkInfo"));
        };
        assign(&self.network, network.clone().unbind());
        Ok(())
    }

    /// `native` for a peer, `invalid` where nothing is known.
    #[getter(r#type)]
    fn kind(&self) -> String {
        self.kind
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    #[setter(r#type)]
    fn set_kind(&self, r#type: String) {
        assign(&self.kind, r#type);
    }

    fn __repr__(&self) -> String {
        self.node_id()
    }
}

/// A peer of an endpoint.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct PeerInfo {
    peer: Mutex<Py<EndpointInfo>>,
    flags: Mutex<Py<PeerFlags>>,
    status: Mutex<Py<PeerStatus>>,
    dropped: u64,
}

/// The flag of peers over the network; there are no others.
const REMOTE: i32 = 2;

impl PeerInfo {
    pub(crate) fn new(py: Python<'_>, peer: &broker::PeerInfo, dropped: u64) -> PyResult<Self> {
        Ok(Self {
            peer: Mutex::new(EndpointInfo::new(
                py,
                peer.id,
                Some(&peer.network),
                "native",
            )?),
            flags: Mutex::new(PeerFlags::object(py, REMOTE)?.unbind()),
            status: Mutex::new(PeerStatus::object(py, peer.status as u8)?.unbind()),
            dropped,
        })
    }
}

#[pymethods]
impl PeerInfo {
    /// Who it is.
    #[getter]
    fn peer(&self, py: Python<'_>) -> Py<EndpointInfo> {
        shared(py, &self.peer)
    }

    #[setter]
    fn set_peer(&self, peer: Py<EndpointInfo>) {
        assign(&self.peer, peer);
    }

    /// How many messages for it were dropped because it did not take them, when the list was made.
    #[getter]
    fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What kind of peer it is.
    #[getter]
    fn flags(&self, py: Python<'_>) -> Py<PeerFlags> {
        shared(py, &self.flags)
    }

    #[setter]
    fn set_flags(&self, flags: Py<PeerFlags>) {
        assign(&self.flags, flags);
    }

    /// How far the peering is.
    #[getter]
    fn status(&self, py: Python<'_>) -> Py<PeerStatus> {
        shared(py, &self.status)
    }

    #[setter]
    fn set_status(&self, status: Py<PeerStatus>) {
        assign(&self.status, status);
    }
}

/// Status event: something about a peering changed.
///
/// `Status()` is one that says nothing. `repr` has the whole event in one line.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Status {
    event: broker::Status,
    context: Option<Py<EndpointInfo>>,
}

#[pymethods]
impl Status {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        let code = broker::StatusCode::Unspecified;
        Self {
            event: broker::Status {
                code,
                context: None,
                text: String::new(),
            },
            context: None,
        }
    }

    fn __init__(&self) {}

    /// What happened, an `SC`.
    fn code<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, StatusCode>> {
        StatusCode::object(py, self.event.code.number())
    }

    /// Whom it is about; None when there is nobody.
    fn context(&self, py: Python<'_>) -> Option<Py<EndpointInfo>> {
        self.context.as_ref().map(|context| context.clone_ref(py))
    }

    /// The event in words.
    fn message(&self) -> &str {
        &self.event.text
    }

    fn __repr__(&self) -> String {
        broker::Event::Status(self.event.clone()).to_string()
    }
}

/// Error event: something about a peering failed. `repr` has the whole event in one line.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Error {
    event: Option<broker::Fault>,
    context: Option<Py<EndpointInfo>>,
}

#[pymethods]
impl Error {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            event: None,
            context: None,
        }
    }

    fn __init__(&self) {}

    /// The error's code as int; compares equal to the `EC` of the same value.
    fn code(&self) -> u8 {
        self.event.as_ref().map_or(0, |event| event.code.number())
    }

    /// The error's code as `EC`.
    fn ec<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, ErrorCode>> {
        ErrorCode::object(py, self.code())
    }

    /// Whom it is about; None when there is nobody.
    fn context(&self, py: Python<'_>) -> Option<Py<EndpointInfo>> {
        self.context.as_ref().map(|context| context.clone_ref(py))
    }

    /// Of `EC.MessagesLost`: how many messages; None in the event that tells of the beginning, and of
    /// other errors.
    #[getter]
    fn count(&self) -> Option<u64> {
        self.loss().and_then(|loss| loss.count)
    }

    /// Of `EC.MessagesLost`: the first few topics of the subscriber. Empty if it is a peer, which
    /// `context()` names, and of other errors.
    #[getter]
    fn topics(&self) -> Vec<&str> {
        let topics = self.loss().map_or(&[][..], |loss| &loss.topics);
        topics.iter().map(String::as_str).collect()
    }

    /// Of `EC.MessagesLost`: the overflow policy that dropped them, `drop_newest`, `drop_oldest` or
    /// `block`. None of other errors.
    #[getter]
    fn reason(&self) -> Option<&str> {
        self.loss().map(|loss| loss.reason.as_str())
    }

    /// The error in words.
    fn message(&self) -> &str {
        self.event.as_ref().map_or("", |event| &event.text)
    }

    fn __repr__(&self) -> String {
        match &self.event {
            Some(event) => broker::Event::Error(event.clone()).to_string(),
            None => "none".to_owned(),
        }
    }
}

impl Error {
    fn loss(&self) -> Option<&broker::Loss> {
        self.event.as_ref()?.loss.as_ref()
    }
}

/// The Python object of an event.
pub(crate) fn to_object(py: Python<'_>, event: broker::Event) -> PyResult<Bound<'_, PyAny>> {
    let context = |info: &Option<broker::EndpointInfo>| {
        info.as_ref()
            .map(|info| EndpointInfo::of_event(py, info))
            .transpose()
    };
    match event {
        broker::Event::Status(event) => {
            let context = context(&event.context)?;
            Ok(Bound::new(py, Status { event, context })?.into_any())
        }
        broker::Event::Error(event) => {
            let context = context(&event.context)?;
            Ok(Bound::new(
                py,
                Error {
                    event: Some(event),
                    context,
                },
            )?
            .into_any())
        }
    }
}

/// Adds the classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NetworkInfo>()?;
    module.add_class::<OptionalNetworkInfo>()?;
    module.add_class::<EndpointInfo>()?;
    module.add_class::<PeerInfo>()?;
    module.add_class::<Status>()?;
    module.add_class::<Error>()
}
