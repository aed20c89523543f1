//! `StoreProxy`: requests whose responses are collected later. Spec: stores 7.7.

use std::sync::Arc;

use broker::data::{View, to_bytes};
use broker::store::{Response, StoreReply};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PySet, PyTuple};

use crate::decode::{Flavour, decode};
use crate::error::{CallError, from_store};
use crate::process::Owned;
use crate::publisher::encoded;
use crate::store::{Attached, span};
use crate::wait::{timeout, wait};

/// Asks a store without waiting: each request returns a number, each response carries it. Made by
/// `Store.proxy`.
///
/// Responses to reads come in the order of the requests, those to `put_unique` when the master has
/// answered. Every request is answered, with a StoreError if need be. At most 65,536 requests and 64
/// MiB can have responses that are not taken; a request beyond that raises StoreError.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct StoreProxy {
    proxy: Owned<broker::store::StoreProxy>,
    _attached: Arc<Attached>,
}

impl StoreProxy {
    pub(crate) fn new(proxy: broker::store::StoreProxy, attached: Arc<Attached>) -> Self {
        Self {
            proxy: Owned::new(proxy),
            _attached: attached,
        }
    }
}

fn object<'py>(py: Python<'py>, response: Response) -> PyResult<Bound<'py, PyTuple>> {
    let number = response.request.into_pyobject(py)?.into_any();
    let result = match response.result {
        Err(error) => from_store(&error).into_value(py).into_bound(py).into_any(),
        Ok(StoreReply::Boolean(answer)) => PyBool::new(py, answer).to_owned().into_any(),
        Ok(StoreReply::Value(None)) => py.None().into_bound(py),
        Ok(StoreReply::Value(Some(value))) => {
            let bytes = to_bytes(&value).map_err(CallError::from)?;
            decode(py, &bytes, Flavour::Mixed)?
        }
        Ok(StoreReply::Keys(keys)) => {
            let set = PySet::empty(py)?;
            for key in &keys {
                let bytes = to_bytes(key).map_err(CallError::from)?;
                set.add(decode(py, &bytes, Flavour::Immutable)?)?;
            }
            set.into_any()
        }
    };
    PyTuple::new(py, [number, result])
}

#[pymethods]
impl StoreProxy {
    /// Asks for the value of a key; the answer is None when it is absent.
    fn get(&self, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        let request = self.proxy.get()?.get(&View::trusted(&encoded(key)?));
        request.map_err(|error| from_store(&error))
    }

    /// Asks whether a key is there.
    fn exists(&self, key: &Bound<'_, PyAny>) -> PyResult<u64> {
        let request = self.proxy.get()?.exists(&View::trusted(&encoded(key)?));
        request.map_err(|error| from_store(&error))
    }

    /// Asks for what is at an index of a key's value, as `Store.get_index_from_value`.
    fn get_index_from_value(
        &self,
        key: &Bound<'_, PyAny>,
        index: &Bound<'_, PyAny>,
    ) -> PyResult<u64> {
        let (key, index) = (encoded(key)?, encoded(index)?);
        let proxy = self.proxy.get()?;
        let request = proxy.get_index(&View::trusted(&key), &View::trusted(&index));
        request.map_err(|error| from_store(&error))
    }

    /// Asks for all keys; the answer is a set.
    fn keys(&self) -> PyResult<u64> {
        self.proxy.get()?.keys().map_err(|error| from_store(&error))
    }

    /// Sets a key that is absent and asks whether it was. `expiry` in seconds, or a timedelta or
    /// Timespan. Raises StoreError when the request cannot be made.
    #[pyo3(signature = (key, value, expiry = None))]
    fn put_unique(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let expiry = expiry.map(span).transpose()?;
        let (key, value) = (encoded(key)?, encoded(value)?);
        let proxy = self.proxy.get()?;
        let request = proxy.put_unique(&View::trusted(&key), &View::trusted(&value), expiry);
        request.map_err(|error| from_store(&error))
    }

    /// Waits for one response, for at most `timeout` (seconds, timedelta, Timespan; None: no limit).
    /// Returns (number of the request, answer), where the answer can be a StoreError; None when no
    /// response came.
    #[pyo3(signature = (timeout = None))]
    fn recv<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let proxy = self.proxy.get()?;
        let response = match proxy.try_recv() {
            Some(response) => Some(response),
            None => wait(py, self::timeout(timeout)?, |slice| {
                proxy.recv_timeout(slice)
            })?,
        };
        response.map(|response| object(py, response)).transpose()
    }
}
