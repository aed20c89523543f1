//! `Port`: a transport port.

use std::sync::{Mutex, PoisonError};

use broker::data;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyTuple};

use super::enumeration::Protocol;
use super::hash_of;
use crate::argument;

/// Transport port: number and protocol.
///
/// `Port()` is `0/?`; `Port(number, protocol)` takes 0 to 65535 and a `Port.Protocol`.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Port(Mutex<data::Port>);

impl Port {
    pub(crate) fn new(port: data::Port) -> Self {
        Self(Mutex::new(port))
    }

    pub(crate) fn value(&self) -> data::Port {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Port {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(port=..., protocol=..., /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(data::Port::new(0, data::Protocol::Unknown))
    }

    #[pyo3(signature = (port = None, protocol = None, /))]
    fn __init__(
        &self,
        port: Option<&Bound<'_, PyAny>>,
        protocol: Option<&Bound<'_, Protocol>>,
    ) -> PyResult<()> {
        let (port, protocol) = match (port, protocol) {
            (None, None) => return Ok(()),
            (Some(port), Some(protocol)) => (argument::port(port)?, protocol.get().0.get()),
            _ => {
                return Err(PyTypeError::new_err(
                    "expected a number and a Port.Protocol",
                ));
            }
        };
        let protocol = match protocol {
            0 => data::Protocol::Unknown,
            1 => data::Protocol::Tcp,
            2 => data::Protocol::Udp,
            3 => data::Protocol::Icmp,
            other => {
                return Err(PyTypeError::new_err(format!(
                    "no protocol has number {other}"
                )));
            }
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = data::Port::new(port, protocol);
        Ok(())
    }

    /// The number.
    #[pyo3(name = "number")]
    fn py_number(&self) -> u16 {
        self.value().number()
    }

    /// The protocol.
    fn get_type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Protocol>> {
        Protocol::object(py, self.value().protocol() as u8)
    }

    fn __hash__(&self) -> isize {
        hash_of(&self.value())
    }

    fn __richcmp__(&self, other: &Bound<'_, Self>, op: CompareOp) -> bool {
        op.matches(self.value().cmp(&other.get().value()))
    }

    fn __repr__(&self) -> String {
        self.value().to_string()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (py, port) = (slf.py(), slf.get());
        (slf.get_type(), (port.value().number(), port.get_type(py)?)).into_pyobject(py)
    }
}

/// Puts the protocols on the class.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = py.get_type::<Port>();
    let protocols = Protocol::register(py, "Port.Protocol")?;
    for name in ["Unknown", "TCP", "UDP", "ICMP"] {
        class.setattr(name, protocols.getattr(name)?)?;
    }
    class.setattr("Protocol", protocols)
}
