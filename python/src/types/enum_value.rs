//! `Enum`: the name of an enumeration's value.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

use super::hash_of;
use crate::text::octets;

/// Name of an enumeration's value, such as `Notice::LOG`; not equal to the `str` of that name.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Enum(Mutex<Box<[u8]>>);

impl Enum {
    pub(crate) fn new(name: &[u8]) -> Self {
        Self(Mutex::new(name.into()))
    }

    /// Lends the name to a function.
    pub(crate) fn with_name<R>(&self, function: impl FnOnce(&[u8]) -> R) -> R {
        function(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn bytes(&self) -> Box<[u8]> {
        self.with_name(|name| name.into())
    }
}

/// UTF-8 as a `str`.
///
/// # Errors
///
/// `UnicodeDecodeError`.
pub(crate) fn utf8<'a>(py: Python<'_>, bytes: &'a [u8]) -> PyResult<&'a str> {
    std::str::from_utf8(bytes)
        .map_err(|error| PyUnicodeDecodeError::new_err_from_utf8(py, bytes, error))
}

#[pymethods]
impl Enum {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(name, /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(b"")
    }

    #[pyo3(signature = (name, /))]
    fn __init__(&self, name: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_name(name)
    }

    /// The name; bytes that are not UTF-8 are surrogate escapes in it.
    #[getter]
    fn name<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        // Not under the lock: making an object can let another thread run, which may want it.
        crate::text::to_str(py, &self.bytes())
    }

    #[setter]
    fn set_name(&self, name: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = octets(name)?.as_ref().into();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
        Ok(())
    }

    fn __hash__(&self) -> isize {
        self.with_name(|name| hash_of(&name))
    }

    fn __richcmp__(&self, other: &Bound<'_, Self>, op: CompareOp) -> bool {
        let other = other.get().bytes();
        self.with_name(|name| op.matches(name.cmp(&other)))
    }

    fn __repr__(&self) -> String {
        // Without surrogates, so that it can be printed.
        self.with_name(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Bound<'py, PyBytes>,)) {
        (
            slf.get_type(),
            (PyBytes::new(slf.py(), &slf.get().bytes()),),
        )
    }
}
