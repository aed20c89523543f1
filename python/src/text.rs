//! Strings of Zeek, which are bytes, as Python's `str`.
//!
//! Bytes that are not UTF-8 stand in a `str` as surrogate escapes, the way file names do (PEP 383),
//! and turn into the same bytes again. Encoded surrogates are not UTF-8 either.

use std::borrow::Cow;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error::expected;

/// Bytes as a `str`, whatever they are.
pub(crate) fn to_str<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, bytes).or_else(|_| escaped(py, bytes))
}

/// As [`to_str`], for bytes that are not UTF-8.
#[cold]
pub(crate) fn escaped<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let text = PyBytes::new(py, bytes).call_method1(
        intern!(py, "decode"),
        (intern!(py, "utf-8"), intern!(py, "surrogateescape")),
    )?;
    Ok(text.cast_into()?)
}

/// The bytes that a `str` stands for.
///
/// # Errors
///
/// `UnicodeEncodeError` for surrogates that stand for no byte.
pub(crate) fn to_bytes<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    Ok(match text.to_cow() {
        // Borrowed where the interpreter's interface allows it.
        Ok(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Ok(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Err(_) => Cow::Owned(unescaped(text)?),
    })
}

#[cold]
fn unescaped(text: &Bound<'_, PyString>) -> PyResult<Vec<u8>> {
    let py = text.py();
    let bytes = text.call_method1(
        intern!(py, "encode"),
        (intern!(py, "utf-8"), intern!(py, "surrogateescape")),
    )?;
    Ok(bytes.cast::<PyBytes>()?.as_bytes().to_vec())
}

/// The bytes of a `str` or `bytes` argument.
pub(crate) fn octets<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(text) = value.cast::<PyString>() {
        return to_bytes(text);
    }
    match value.cast::<PyBytes>() {
        Ok(bytes) => Ok(Cow::Borrowed(bytes.as_bytes())),
        Err(_) => Err(expected("str or bytes", value)),
    }
}
