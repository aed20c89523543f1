//! `Address`: an IP address.

use std::sync::{Mutex, PoisonError};

use broker::data;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyBytes, PyDict, PyTuple, PyType};

use super::enumeration::{ByteOrder, Family};
use super::hash_of;
use crate::argument::{Whole, integer};

/// IP address. Received addresses arrive as `ipaddress` objects; this class also converts.
///
/// `Address()` is `::`; `Address(packed, family)` takes 4 or 16 bytes in network order and the
/// number 4 or 6. Raises `ValueError` when they do not fit together.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Address(Mutex<data::Address>);

impl Address {
    pub(crate) fn new(address: data::Address) -> Self {
        Self(Mutex::new(address))
    }

    pub(crate) fn value(&self) -> data::Address {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, address: data::Address) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

#[pymethods]
impl Address {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(packed=..., family=..., /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(data::Address::default())
    }

    #[pyo3(signature = (packed = None, family = None, /))]
    fn __init__(
        &self,
        packed: Option<&Bound<'_, PyBytes>>,
        family: Option<Whole<i32>>,
    ) -> PyResult<()> {
        let (packed, family) = match (packed, family) {
            (None, None) => return Ok(()),
            (Some(packed), Some(Whole(family))) => (packed.as_bytes(), family),
            _ => {
                return Err(PyTypeError::new_err(
                    "expected bytes and the family, 4 or 6",
                ));
            }
        };
        let address = match family {
            4 => <[u8; 4]>::try_from(packed)
                .ok()
                .map(|v4| std::net::Ipv4Addr::from(v4).into()),
            6 => <[u8; 16]>::try_from(packed).ok().map(data::Address::from),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "expected the family 4 or 6, found {family}"
                )));
            }
        };
        self.set(address.ok_or_else(|| {
            PyValueError::new_err(format!(
                "an address of family {family} has {} bytes, found {}",
                if family == 4 { 4 } else { 16 },
                packed.len()
            ))
        })?);
        Ok(())
    }

    /// The 16 bytes, in network order; IPv4 as `::ffff:a.b.c.d`.
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.value().octets())
    }

    /// Whether it is an IPv4 address, or one mapped into IPv6.
    fn is_v4(&self) -> bool {
        self.value().is_v4()
    }

    /// Whether it is an IPv6 address.
    fn is_v6(&self) -> bool {
        !self.value().is_v4()
    }

    /// Clears all but the first `top_bits_to_keep` of 128 bits, in place.
    ///
    /// For IPv4 add 96. Returns False, without changing anything, for more than 128.
    fn mask(&self, top_bits_to_keep: &Bound<'_, PyAny>) -> PyResult<bool> {
        let bits = integer(top_bits_to_keep, "a number from 0 to 255")?;
        let masked = self.value().mask(bits);
        if let Some(masked) = masked {
            self.set(masked);
        }
        Ok(masked.is_some())
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

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Bound<'py, PyBytes>, i32)) {
        (slf.get_type(), (slf.get().bytes(slf.py()), 6))
    }
}

/// Puts the nested enumerations on the class.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let class = py.get_type::<Address>();
    class.setattr("Family", Family::register(py, "Address.Family")?)?;
    class.setattr("ByteOrder", ByteOrder::register(py, "Address.ByteOrder")?)
}
