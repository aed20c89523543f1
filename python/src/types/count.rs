//! `Count`: an unsigned 64-bit integer.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::hash_of_count;
use crate::argument::integer;
use crate::error::expected;

/// Unsigned integer of 64 bits, a type of its own: `Count(1) != 1`.
///
/// Raises `OverflowError` for numbers outside of 0 to 2**64 - 1.
#[pyclass(frozen, subclass, module = "broker._broker", freelist = 256)]
#[derive(Debug)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A Python integer, or what Python takes for one, as a count.
pub(crate) fn number(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    // A count is no integer to the original.
    if value.is_instance_of::<Count>() {
        return Err(expected("an int", value));
    }
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            // Without the number: the text of a large one takes long, or is refused.
            PyOverflowError::new_err("a count goes from 0 to 2**64 - 1")
        } else {
            expected("an int", value)
        }
    })
}

#[pymethods]
impl Count {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(value, /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(0)
    }

    #[pyo3(signature = (value, /))]
    fn __init__(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.store(number(value)?, Ordering::Relaxed);
        Ok(())
    }

    /// The number.
    #[getter(value)]
    fn py_value(&self) -> u64 {
        self.value()
    }

    #[setter(value)]
    fn set_value(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        // Unlike the constructor it takes whatever is a number, and no other error than this.
        let number = integer(value, "a number from 0 to 2**64 - 1")?;
        self.0.store(number, Ordering::Relaxed);
        Ok(())
    }

    fn __int__(&self) -> u64 {
        self.value()
    }

    fn __index__(&self) -> u64 {
        self.value()
    }

    /// A count is true even when it is 0, as programs written for the original expect.
    fn __bool__(&self) -> bool {
        true
    }

    fn __hash__(&self) -> isize {
        hash_of_count(self.value())
    }

    fn __richcmp__(&self, other: &Bound<'_, Self>, op: CompareOp) -> bool {
        op.matches(self.value().cmp(&other.get().value()))
    }

    fn __repr__(&self) -> String {
        format!("Count({})", self.value())
    }

    fn __str__(&self) -> String {
        self.value().to_string()
    }

    fn __format__<'py>(
        &self,
        py: Python<'py>,
        format_spec: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.value()
            .into_pyobject(py)?
            .call_method1("__format__", (format_spec,))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (u64,)) {
        (slf.get_type(), (slf.get().value(),))
    }
}
