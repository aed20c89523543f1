//! `Timespan` and `Timestamp`: nanoseconds in 64 bits; and the clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError, PyZeroDivisionError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyDateTime, PyDict, PyFloat, PyInt, PyTuple, PyType};

use super::hash_of_integer;
use crate::argument::{real, whole};
use crate::error::expected;

const NANOSECONDS: i64 = 1_000_000_000;

/// -2**63 and 2**63 as reals; the second is the first number too large.
const LOW: f64 = i64::MIN as f64;
const HIGH: f64 = -LOW;

fn out_of_range() -> PyErr {
    PyOverflowError::new_err("out of the range of 64-bit nanoseconds, about 292 years")
}

/// Real seconds as nanoseconds, truncated.
pub(crate) fn from_seconds(seconds: f64) -> PyResult<i64> {
    if seconds.is_nan() {
        return Err(PyValueError::new_err("expected seconds, found nan"));
    }
    let nanoseconds = seconds * NANOSECONDS as f64;
    if (LOW..HIGH).contains(&nanoseconds) {
        Ok(nanoseconds as i64)
    } else {
        Err(out_of_range())
    }
}

/// The argument of a constructor that can do without; an explicit None is one.
fn only_one<'py>(arguments: &Bound<'py, PyTuple>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match arguments.len() {
        0 => Ok(None),
        1 => arguments.get_item(0).map(Some),
        more => Err(PyTypeError::new_err(format!(
            "expected at most one argument, found {more}"
        ))),
    }
}

/// Nanoseconds of what `Timespan` takes: a `float` is seconds, any other number nanoseconds.
///
/// Numbers that `int` does not take, or that 64 bits do not hold, are seconds like a `float`.
fn timespan(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(seconds) = value.cast::<PyFloat>() {
        return from_seconds(seconds.value());
    }
    if let Some(nanoseconds) = whole(value)? {
        return Ok(nanoseconds);
    }
    match real(value)? {
        Some(seconds) => from_seconds(seconds),
        None => Err(expected("nanoseconds as int or seconds as float", value)),
    }
}

/// The point in time of a `Timestamp`, a `datetime`, or what `Timestamp` takes.
pub(crate) fn point_in_time(value: &Bound<'_, PyAny>) -> PyResult<broker::Timestamp> {
    let ns = match (value.cast::<Timestamp>(), value.cast::<PyDateTime>()) {
        (Ok(time), _) => time.get().ns(),
        (_, Ok(time)) => crate::encode::timestamp(time)?,
        _ => timestamp(value)?,
    };
    Ok(broker::Timestamp::from_ns(ns))
}

/// Nanoseconds since 1970 of what `Timestamp` takes: numbers are seconds.
fn timestamp(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(seconds) = value.cast::<PyInt>() {
        // In integers, which are exact.
        let nanoseconds = seconds.extract::<i64>().ok();
        let nanoseconds = nanoseconds.and_then(|seconds| seconds.checked_mul(NANOSECONDS));
        return nanoseconds.ok_or_else(out_of_range);
    }
    if let Ok(span) = value.cast::<Timespan>() {
        return Ok(span.get().ns());
    }
    match real(value)? {
        Some(seconds) => from_seconds(seconds),
        None => Err(expected("seconds as int or float, or a Timespan", value)),
    }
}

/// Span of time in nanoseconds.
///
/// `Timespan(int)` takes nanoseconds, `Timespan(float)` seconds, truncated to nanoseconds. Other
/// numbers, such as a `Decimal` or a `numpy.float32`, are truncated to whole nanoseconds; make them
/// a `float` first if they are seconds. Raises `OverflowError` beyond 64 bits and `ValueError` for nan. Received timespans arrive as
/// `datetime.timedelta`.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Timespan(AtomicI64);

impl Timespan {
    pub(crate) fn new(nanoseconds: i64) -> Self {
        Self(AtomicI64::new(nanoseconds))
    }

    pub(crate) fn ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The right side of `%` and `/`.
enum Divisor {
    Span(i64),
    Integer(i64),
}

fn divisor(value: &Bound<'_, PyAny>) -> PyResult<Option<Divisor>> {
    let divisor = if let Ok(span) = value.cast::<Timespan>() {
        Divisor::Span(span.get().ns())
    } else {
        match whole(value)? {
            Some(number) => Divisor::Integer(number),
            None => return Ok(None),
        }
    };
    match divisor {
        Divisor::Span(0) | Divisor::Integer(0) => Err(PyZeroDivisionError::new_err(
            "division of a timespan by zero",
        )),
        other => Ok(Some(other)),
    }
}

#[pymethods]
impl Timespan {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(nanoseconds_or_seconds=0, /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(0)
    }

    #[pyo3(signature = (*value))]
    fn __init__(&self, value: &Bound<'_, PyTuple>) -> PyResult<()> {
        let Some(value) = only_one(value)? else {
            return Ok(());
        };
        self.0.store(timespan(&value)?, Ordering::Relaxed);
        Ok(())
    }

    /// The nanoseconds.
    fn count(&self) -> i64 {
        self.ns()
    }

    fn __add__(&self, other: &Bound<'_, Self>) -> PyResult<Self> {
        self.ns()
            .checked_add(other.get().ns())
            .map(Self::new)
            .ok_or_else(out_of_range)
    }

    fn __sub__(&self, other: &Bound<'_, Self>) -> PyResult<Self> {
        self.ns()
            .checked_sub(other.get().ns())
            .map(Self::new)
            .ok_or_else(out_of_range)
    }

    fn __mul__(&self, factor: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = factor.py();
        match whole(factor)? {
            Some(factor) => {
                let product: Option<i64> = self.ns().checked_mul(factor);
                let product = product.ok_or_else(out_of_range)?;
                Ok(Py::new(py, Self::new(product))?.into_any())
            }
            None => Ok(py.NotImplemented()),
        }
    }

    fn __rmul__(&self, factor: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.__mul__(factor)
    }

    fn __truediv__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let Some(divisor) = divisor(other)? else {
            return Ok(py.NotImplemented());
        };
        let (Divisor::Span(number) | Divisor::Integer(number)) = divisor;
        // Truncates toward zero, as in C.
        let quotient = self.ns().checked_div(number).ok_or_else(out_of_range)?;
        match divisor {
            Divisor::Span(_) => Ok(quotient.into_pyobject(py)?.into_any().unbind()),
            Divisor::Integer(_) => Ok(Py::new(py, Self::new(quotient))?.into_any()),
        }
    }

    fn __mod__(&self, other: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let Some(divisor) = divisor(other)? else {
            return Ok(py.NotImplemented());
        };
        let (Divisor::Span(number) | Divisor::Integer(number)) = divisor;
        let rest = self.ns().checked_rem(number).unwrap_or(0);
        Ok(Py::new(py, Self::new(rest))?.into_any())
    }

    fn __hash__(&self) -> isize {
        hash_of_integer(self.ns())
    }

    fn __richcmp__(&self, other: &Bound<'_, Self>, op: CompareOp) -> bool {
        op.matches(self.ns().cmp(&other.get().ns()))
    }

    fn __repr__(&self) -> String {
        format!("{}ns", self.ns())
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (i64,)) {
        (slf.get_type(), (slf.get().ns(),))
    }
}

/// Point in time: nanoseconds since 1970-01-01 00:00 UTC.
///
/// `Timestamp(seconds)` takes any number, `Timestamp(Timespan)` is exact. Raises
/// `OverflowError` beyond 64 bits of nanoseconds and `ValueError` for nan. Received timestamps
/// arrive as aware `datetime.datetime`.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Timestamp(AtomicI64);

impl Timestamp {
    pub(crate) fn new(nanoseconds: i64) -> Self {
        Self(AtomicI64::new(nanoseconds))
    }

    pub(crate) fn ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[pymethods]
impl Timestamp {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(seconds_or_timespan=0, /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(0)
    }

    #[pyo3(signature = (*value))]
    fn __init__(&self, value: &Bound<'_, PyTuple>) -> PyResult<()> {
        let Some(value) = only_one(value)? else {
            return Ok(());
        };
        self.0.store(timestamp(&value)?, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a timestamp from exact nanoseconds since 1970 UTC.
    #[staticmethod]
    fn from_ns(nanoseconds: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Some(nanoseconds) = whole(nanoseconds)? {
            return Ok(Self::new(nanoseconds));
        }
        Err(if nanoseconds.is_instance_of::<PyInt>() {
            out_of_range()
        } else {
            expected("nanoseconds as int", nanoseconds)
        })
    }

    /// Exact nanoseconds since 1970 UTC.
    fn to_ns(&self) -> i64 {
        self.ns()
    }

    /// The span from 1970-01-01 00:00 UTC until this point.
    fn time_since_epoch(&self) -> Timespan {
        Timespan::new(self.ns())
    }

    fn __hash__(&self) -> isize {
        hash_of_integer(self.ns())
    }

    fn __richcmp__(&self, other: &Bound<'_, Self>, op: CompareOp) -> bool {
        op.matches(self.ns().cmp(&other.get().ns()))
    }

    fn __repr__(&self) -> String {
        self.ns().to_string()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Timespan,)) {
        (slf.get_type(), (slf.get().time_since_epoch(),))
    }
}

/// Returns the current time.
#[pyfunction]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 or after 2262 is broken; the ends of the range say so.
    let nanoseconds = since_epoch.map_or(0, |span| span.as_nanos());
    Timestamp::new(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
}

/// Returns the longest timespan, 2**63 - 1 nanoseconds.
#[pyfunction]
#[pyo3(name = "Infinite")]
pub(crate) fn infinite() -> Timespan {
    Timespan::new(i64::MAX)
}
