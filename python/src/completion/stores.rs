//! Changes and reads of data stores by way of a completion queue, by their names.

use std::time::Duration;

use broker::StoreError;
use broker::data::{Encoder, Kind, View};
use broker::proto::store::operation::initial_of_increment;
use broker::store::Change;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet};

use crate::decode::{Flavour, decode};
use crate::encode;
use crate::error::{Fallible, from_store};
use crate::publisher::write;
use crate::store::{expiry, with_both};

/// A request with its encoded key and value.
pub(super) struct Request {
    change: Change,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Request {
    /// What the method of `Store` with that name asks for.
    ///
    /// # Errors
    ///
    /// `ValueError` for other names, and what encoding raises.
    pub(super) fn new(
        name: &str,
        key: &Bound<'_, PyAny>,
        operand: &Bound<'_, PyAny>,
        second: Option<&Bound<'_, PyAny>>,
        span: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let expiry = expiry(span)?;
        let add = |init| Change::Add { init, expiry };
        let change = match name {
            "put" => Change::Put { expiry },
            "erase" => Change::Erase,
            "clear" => Change::Clear,
            "decrement" | "remove_from" | "pop" => Change::Subtract { expiry },
            // What it begins with is known once the amount is encoded.
            "increment" => add(Kind::None),
            "append" => add(Kind::String),
            "push" => add(Kind::Vector),
            "insert_into" if second.is_some() => add(Kind::Table),
            "insert_into" => add(Kind::Set),
            other => {
                let text = format!("expected the name of a request of stores, found `{other}`");
                return Err(PyValueError::new_err(text));
            }
        };
        let write_operand = |out: &mut Vec<u8>| -> Fallible {
            match (name, second) {
                ("erase" | "clear", _) => Ok(()),
                ("pop", _) => write(key, out),
                ("insert_into", Some(second)) => Encoder::new(out).vector(2, |enc| {
                    encode::encode(operand, enc)?;
                    encode::encode(second, enc)
                }),
                _ => write(operand, out),
            }
        };
        let write_key = |key: &[u8]| {
            if name == "clear" {
                Vec::new()
            } else {
                key.to_vec()
            }
        };
        let (key, value) = with_both(key, write_operand, |key, value| {
            Ok((write_key(key), value.to_vec()))
        })?;
        let change = match name {
            "increment" => add(initial_of_increment(View::trusted(&value).kind())),
            _ => change,
        };
        Ok(Self { change, key, value })
    }

    pub(super) async fn make(self, store: broker::Store) -> Result<(), StoreError> {
        let Self { change, key, value } = self;
        store.request_async(change, &key, &value).await
    }
}

/// What is read of a store.
#[derive(Debug, Clone, Copy)]
pub(super) enum Read {
    Exists,
    Index,
    Keys,
    Snapshot,
    Count,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Found {
    Truth(bool),
    Value(Option<Vec<u8>>),
    Keys(Vec<Vec<u8>>),
    Entries(Vec<broker::store::EncodedEntry>),
    Count(u64),
}

impl Read {
    /// What the method of `Store` with that name reads.
    ///
    /// # Errors
    ///
    /// `ValueError` for other names.
    pub(super) fn named(name: &str) -> PyResult<Self> {
        Ok(match name {
            "exists" => Self::Exists,
            "get_index_from_value" => Self::Index,
            "keys" => Self::Keys,
            "snapshot" => Self::Snapshot,
            "count" => Self::Count,
            other => {
                let text = format!("expected the name of a read of stores, found `{other}`");
                return Err(PyValueError::new_err(text));
            }
        })
    }

    pub(super) async fn run(
        self,
        store: broker::Store,
        key: Vec<u8>,
        index: Vec<u8>,
    ) -> Result<Found, StoreError> {
        store.readable().await;
        match self {
            Self::Exists => store.exists_encoded(&key).map(Found::Truth),
            Self::Index => match store.get_index_encoded(&key, &index) {
                Ok(bytes) => Ok(Found::Value(Some(bytes))),
                Err(error) if error.code() == broker::ErrorCode::NoSuchKey => {
                    Ok(Found::Value(None))
                }
                Err(error) => Err(error),
            },
            Self::Keys => store.keys_encoded().map(Found::Keys),
            Self::Snapshot => store.snapshot_encoded().map(Found::Entries),
            Self::Count => store.len_now().map(Found::Count),
        }
    }
}

impl Found {
    pub(super) fn to_object(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Truth(truth) => truth.into_pyobject(py)?.to_owned().into_any().unbind(),
            Self::Count(count) => count.into_pyobject(py)?.into_any().unbind(),
            Self::Value(None) => py.None(),
            Self::Value(Some(bytes)) => decode(py, bytes, Flavour::Mixed)?.unbind(),
            Self::Keys(keys) => {
                let set = PySet::empty(py)?;
                for key in keys {
                    set.add(decode(py, key, Flavour::Immutable)?)?;
                }
                set.into_any().unbind()
            }
            Self::Entries(entries) => {
                let dict = PyDict::new(py);
                for (key, value) in entries {
                    let value = decode(py, value, Flavour::Mixed)?;
                    dict.set_item(decode(py, key, Flavour::Immutable)?, value)?;
                }
                dict.into_any().unbind()
            }
        })
    }
}

/// Waits until master and clones have everything of each other.
///
/// # Errors
///
/// When the store is closed.
pub(super) async fn idle(store: broker::Store, limit: Duration) -> Result<Found, StoreError> {
    Ok(Found::Truth(store.await_idle_async(limit).await))
}

/// The exception of what a store refused.
pub(super) fn object_of(py: Python<'_>, found: &Result<Found, StoreError>) -> PyResult<Py<PyAny>> {
    match found {
        Ok(found) => found.to_object(py),
        Err(error) => Err(from_store(error)),
    }
}
