//! `Topic`: what messages are addressed to.
//!
//! Topics are bytes on the wire and usually UTF-8. Other bytes appear in Python as surrogate
//! escapes, the way file names do, and turn into the same bytes again.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use broker::proto::topic::TOPIC_MAX;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

use super::hash_of;
use crate::error::{expected, from_broker};
use crate::text;

/// Topic of messages; a subscription to it covers all topics that begin with it.
///
/// `a / b` joins two topics with a slash. Topics with the same text are equal.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Topic(Mutex<Box<[u8]>>);

impl Topic {
    pub(crate) fn new(topic: &[u8]) -> Self {
        Self(Mutex::new(topic.into()))
    }

    /// This topic and another below it: one slash goes between them unless there is one, and one
    /// at the end is dropped.
    fn joined(&self, other: &Self) -> Box<[u8]> {
        let (mut joined, right) = (self.bytes().into_vec(), other.bytes());
        if !joined.is_empty() && !right.is_empty() && !right.starts_with(b"/") {
            joined.push(b'/');
        }
        joined.extend_from_slice(&right);
        if joined.ends_with(b"/") {
            joined.pop();
        }
        joined.into()
    }

    pub(crate) fn bytes(&self) -> Box<[u8]> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The bytes of a topic given as `str`, `bytes` or `Topic`.
pub(crate) fn bytes_of<'a>(topic: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(text) = topic.cast::<PyString>() {
        return text::to_bytes(text);
    }
    if let Ok(topic) = topic.cast::<Topic>() {
        return Ok(Cow::Owned(topic.get().bytes().into_vec()));
    }
    if let Ok(bytes) = topic.cast::<PyBytes>() {
        return Ok(Cow::Borrowed(bytes.as_bytes()));
    }
    Err(expected("a topic as str, bytes or Topic", topic))
}

/// The bytes of a topic to publish under.
///
/// # Errors
///
/// `ValueError` when the wire cannot carry it, besides those of [`bytes_of`].
pub(crate) fn sendable<'a>(topic: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    let bytes = bytes_of(topic)?;
    let length = bytes.len();
    if length > TOPIC_MAX {
        return Err(from_broker(&broker::Error::TopicTooLong { length }));
    }
    Ok(bytes)
}

/// One topic, or any iterable of topics.
pub(crate) fn several(topics: &Bound<'_, PyAny>) -> PyResult<Vec<broker::Topic>> {
    if let Ok(topic) = bytes_of(topics) {
        return Ok(vec![broker::Topic::from(topic.as_ref())]);
    }
    let Ok(topics) = topics.try_iter() else {
        return Err(expected("a topic or an iterable of topics", topics));
    };
    topics
        .map(|topic| Ok(broker::Topic::from(bytes_of(&topic?)?.as_ref())))
        .collect()
}

#[pymethods]
impl Topic {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(topic, /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::new(b"")
    }

    #[pyo3(signature = (topic, /))]
    fn __init__(&self, topic: &Bound<'_, PyAny>) -> PyResult<()> {
        let topic = bytes_of(topic)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = topic.as_ref().into();
        Ok(())
    }

    /// The topic as `str`.
    fn string<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text::to_str(py, &self.bytes())
    }

    fn __truediv__(&self, other: &Bound<'_, Self>) -> Self {
        Self(Mutex::new(self.joined(other.get())))
    }

    fn __itruediv__(&self, other: &Bound<'_, Self>) {
        let joined = self.joined(other.get());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = joined;
    }

    fn __hash__(&self) -> isize {
        hash_of(&self.bytes())
    }

    fn __richcmp__(&self, other: &Bound<'_, Self>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let equal = self.bytes() == other.get().bytes();
        Ok(match op {
            CompareOp::Eq => equal.into_pyobject(py)?.to_owned().into_any().unbind(),
            CompareOp::Ne => (!equal).into_pyobject(py)?.to_owned().into_any().unbind(),
            _ => py.NotImplemented(),
        })
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.string(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Bound<'py, PyBytes>,)) {
        (
            slf.get_type(),
            (PyBytes::new(slf.py(), &slf.get().bytes()),),
        )
    }
}
