//! Conversion of the arguments of calls: integers, reals, flags, text, paths, times.
//!
//! The rules are those of the original's binding layer, which takes more than the exact types: a
//! `Decimal`, a `Fraction` or a number of numpy is a number wherever one is asked for. Each rule
//! stands here once, so that all calls agree; docs/compatibility.md says where they differ from
//! the original. `vectors/python-arguments.json` has the original's answers.
//!
//! Exact types are looked at first: nearly all arguments have them.

use pyo3::exceptions::{PyException, PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDelta, PyDeltaAccess, PyFloat, PyInt, PyString};
use pyo3::{Borrowed, intern};

use crate::encode;
use crate::error::expected;
use crate::text::octets;
use crate::types::count::Count;
use crate::types::time::{Timespan, from_seconds};

/// Nothing when the conversion of an object to a number failed: it is no number then, whatever its
/// methods raise. Only what ends a program passes, such as `KeyboardInterrupt`.
fn attempt<T>(py: Python<'_>, conversion: PyResult<T>) -> PyResult<Option<T>> {
    match conversion {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an object's class, or a base of it, has one of these methods. Those of the class's own
/// class do not count, which `hasattr` would find: every `enum.Enum` class has a `__bool__` there.
fn has_method(value: &Bound<'_, PyAny>, names: &[&Bound<'_, PyString>]) -> PyResult<bool> {
    for class in value.get_type().mro() {
        let members = class.getattr(intern!(value.py(), "__dict__"))?;
        for name in names {
            if members.contains(name)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether an object is a number of some kind. Text, which `int` and `float` take as well, is
/// none, and neither is a `Count`, which the original does not convert.
fn is_number(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    let names = [
        intern!(py, "__index__"),
        intern!(py, "__int__"),
        intern!(py, "__float__"),
    ];
    Ok(!value.is_instance_of::<Count>() && has_method(value, &names)?)
}

/// A whole number that a type of Rust can hold; nothing when it cannot, or for what is no number.
///
/// A `float` is none, so that a time is not taken for a count by mistake. Other numbers are cut
/// towards zero, as `int` does it: `Decimal("4.5")` is 4.
pub(crate) fn whole<'py, T>(value: &Bound<'py, PyAny>) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    let py = value.py();
    if value.is_instance_of::<PyInt>() {
        return Ok(value.extract().ok());
    }
    if value.is_instance_of::<PyFloat>() || !is_number(value)? {
        return Ok(None);
    }
    // Some have an `__index__` that refuses, and an `__int__`.
    let index = value.call_method0(intern!(py, "__index__"));
    let number = match attempt(py, index)? {
        Some(number) => number,
        None => match attempt(py, py.get_type::<PyInt>().call1((value,)))? {
            Some(number) => number,
            None => return Ok(None),
        },
    };
    Ok(number.extract().ok())
}

/// A real number; nothing for what is no number or too large.
pub(crate) fn real(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if let Ok(real) = value.cast::<PyFloat>() {
        return Ok(Some(real.value()));
    }
    if value.is_instance_of::<PyInt>() || is_number(value)? {
        return attempt(value.py(), value.extract());
    }
    Ok(None)
}

/// A whole number.
///
/// # Errors
///
/// `TypeError` for what is none, and for one that is out of range.
pub(crate) fn integer<'py, T>(value: &Bound<'py, PyAny>, wanted: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    whole(value)?.ok_or_else(|| expected(wanted, value))
}

/// A port number.
pub(crate) fn port(value: &Bound<'_, PyAny>) -> PyResult<u16> {
    integer(value, "a number from 0 to 65535")
}

/// Whether something is on: None is false, and everything whose class says itself what is true,
/// numbers above all, is what it says. Text and lists do not.
pub(crate) fn flag(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let says = intern!(value.py(), "__bool__");
    let is_flag = value.is_exact_instance_of::<PyBool>()
        || value.is_none()
        || (has_method(value, &[says])? && !value.is_instance_of::<Count>());
    let flag = if is_flag {
        attempt(value.py(), value.is_truthy())?
    } else {
        None
    };
    flag.ok_or_else(|| expected("a bool", value))
}

/// Text, from `str` or `bytes`.
///
/// # Errors
///
/// `UnicodeError` for what is not UTF-8.
pub(crate) fn string(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_cow()?.into_owned());
    }
    String::from_utf8(octets(value)?.into_owned()).map_err(|error| {
        PyUnicodeDecodeError::new_err_from_utf8(value.py(), error.as_bytes(), error.utf8_error())
    })
}

/// What stands for a path: the `str` or `bytes` of an `os.PathLike`, anything else as it is.
pub(crate) fn path<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let name = intern!(value.py(), "__fspath__");
    if has_method(value, &[name])? {
        value.call_method0(name)
    } else {
        Ok(value.clone())
    }
}

/// The name of a file or directory, from `str`, `bytes` or an `os.PathLike`.
pub(crate) fn file_name(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let path = path(value)?;
    if path.is_instance_of::<PyString>() || path.is_instance_of::<PyBytes>() {
        return string(&path);
    }
    Err(expected("str, bytes or os.PathLike", value))
}

/// A time as seconds; nothing for what is none.
pub(crate) fn maybe_seconds(value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if let Some(seconds) = real(value)? {
        return Ok(Some(seconds));
    }
    if let Ok(span) = value.cast::<Timespan>() {
        return Ok(Some(span.get().ns() as f64 / 1e9));
    }
    if let Ok(span) = value.cast::<PyDelta>() {
        let seconds = f64::from(span.get_days()) * 86_400.0 + f64::from(span.get_seconds());
        return Ok(Some(seconds + f64::from(span.get_microseconds()) / 1e6));
    }
    Ok(None)
}

/// A time as seconds: a number, a `timedelta` or a `Timespan`.
pub(crate) fn seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    maybe_seconds(value)?.ok_or_else(|| expected("seconds, a timedelta or a Timespan", value))
}

/// A time as nanoseconds: a `timedelta`, a `Timespan`, or seconds as anything that `float` takes,
/// numbers in text included.
pub(crate) fn nanoseconds(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(span) = value.cast::<Timespan>() {
        return Ok(span.get().ns());
    }
    match value.cast::<PyDelta>() {
        Ok(span) => encode::timespan(span),
        Err(_) => from_seconds(as_float(value)?),
    }
}

/// What `float(value)` is.
fn as_float(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Ok(real) = value.cast_exact::<PyFloat>() {
        return Ok(real.value());
    }
    value
        .py()
        .get_type::<PyFloat>()
        .call1((value,))?
        .extract::<f64>()
}

/// Seconds to wait: a `timedelta`, a `Timespan`, or anything that `float` takes.
///
/// # Errors
///
/// `ValueError` for nan, besides what `float` raises.
pub(crate) fn seconds_as_float(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds = match maybe_seconds(value)? {
        Some(seconds) => seconds,
        None => as_float(value)?,
    };
    if seconds.is_nan() {
        Err(PyValueError::new_err("expected seconds, found nan"))
    } else {
        Ok(seconds)
    }
}

/// A type of whole numbers, and how its range is called in errors.
pub(crate) trait Range {
    const RANGE: &'static str;
}

impl Range for u16 {
    const RANGE: &'static str = "a number from 0 to 65535";
}

impl Range for u32 {
    const RANGE: &'static str = "a number from 0 to 2**32 - 1";
}

impl Range for usize {
    const RANGE: &'static str = "a number from 0 to 2**64 - 1";
}

impl Range for i32 {
    const RANGE: &'static str = "a number from -2**31 to 2**31 - 1";
}

impl Range for i64 {
    const RANGE: &'static str = "a number from -2**63 to 2**63 - 1";
}

/// A parameter that takes a whole number of some width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole<T>(pub(crate) T);

impl<T> Whole<T> {
    pub(crate) fn get(self) -> T {
        self.0
    }
}

impl<'a, 'py, T> FromPyObject<'a, 'py> for Whole<T>
where
    T: Range + for<'b> FromPyObject<'b, 'py>,
{
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        integer(&value, T::RANGE).map(Self)
    }
}

/// A parameter that takes a time: seconds, a `timedelta` or a `Timespan`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds(pub(crate) f64);

impl<'a, 'py> FromPyObject<'a, 'py> for Seconds {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        seconds(&value).map(Self)
    }
}

/// A parameter that takes a flag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag(pub(crate) bool);

impl<'a, 'py> FromPyObject<'a, 'py> for Flag {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        flag(&value).map(Self)
    }
}
