//! `Subnet`: a network of IP addresses.

use std::sync::{Mutex, PoisonError};

use broker::data;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::address::Address;
use super::hash_of;
use crate::argument::integer;

/// Network of IP addresses. Received ones arrive as `ipaddress` objects; this class also converts.
///
/// `Subnet()` is `::/0`; `Subnet(address, length)` clears the host bits. Raises `ValueError` for
/// a length above 32 (IPv4) or 128 (IPv6).
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Subnet(Mutex<data::Subnet>);

impl Subnet {
    pub(crate) fn new(subnet: data::Subnet) -> Self {
        Self(Mutex::new(subnet))
    }

    pub(crate) fn value(&self) -> data::Subnet {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Subnet {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(address=..., length=..., /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(data::Subnet::default())
    }

    #[pyo3(signature = (address = None, length = None, /))]
    fn __init__(
        &self,
        address: Option<&Bound<'_, Address>>,
        length: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (address, length) = match (address, length) {
            (None, None) => return Ok(()),
            (Some(address), Some(length)) => (address.get().value(), length),
            _ => return Err(PyTypeError::new_err("expected an Address and a length")),
        };
        let bits = integer(length, "a number from 0 to 255")?;
        let subnet = data::Subnet::new(address, bits).ok_or_else(|| {
            PyValueError::new_err(format!(
                "a network of {address} cannot have a length of {bits}"
            ))
        })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = subnet;
        Ok(())
    }

    /// The first address.
    fn network(&self) -> Address {
        Address::new(self.value().network())
    }

    /// The number of leading bits that are the same for all addresses: at most 32 for IPv4.
    fn length(&self) -> u8 {
        self.value().length()
    }

    /// Whether the address is in the network.
    fn contains(&self, addr: &Bound<'_, Address>) -> bool {
        self.value().contains(&addr.get().value())
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

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Address, u8)) {
        let subnet = slf.get();
        (slf.get_type(), (subnet.network(), subnet.length()))
    }
}
