//! `Store`: key-value stores, masters and clones alike.
//!
//! Keys and values are encoded straight from Python objects and decoded straight into them; the
//! runtime sees bytes only. What can wait goes through `wait`. Spec: python-api 7, stores 7.
//!
//! What the original does not report stays unreported here: reads and `put_unique` return None,
//! writes nothing. The reasons come as error events, and as exceptions of the methods that the
//! original does not have. See ADR 0074.

pub(crate) mod attach;
pub(crate) mod event;
pub(crate) mod proxy;

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::data::{Encoder, Kind, Timespan, View};
use broker::proto::store::operation::initial_of_increment;
use broker::store::{
    AWAIT_IDLE_TIMEOUT, BlockedRequest, Change, EncodedEntry, PutUnique, STORE_REQUEST_TIMEOUT,
};
use broker::{Contact, ErrorCode, StoreError, StoreOptions};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyTuple};

use crate::argument::nanoseconds;
use crate::decode::{Flavour, decode};
use crate::encode::{self, with_scratch};
use crate::error::{Fallible, closed, from_store};
use crate::process::Owned;
use crate::publisher::write;
use crate::store::event::StoreEvents;
use crate::store::proxy::StoreProxy;
use crate::wait::{Limit, wait};

/// A store, and the endpoint that it keeps alive.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Missing when the name is empty: the original hands out a store that keeps nothing.
    store: Option<Owned<broker::Store>>,
    _endpoint: Arc<Owned<broker::Endpoint>>,
}

impl Attached {
    /// The store; nothing when there is none behind the handle or its endpoint is shut down.
    fn store(&self) -> PyResult<Option<&broker::Store>> {
        match &self.store {
            Some(store) => Ok(Some(store.get()?).filter(|store| !store.is_closed())),
            None => Ok(None),
        }
    }

    pub(crate) fn live(&self) -> PyResult<&broker::Store> {
        self.store()?.ok_or_else(|| from_store(&StoreError::Closed))
    }
}

/// A key-value store: a master, or a clone that follows one. Made by `Endpoint.attach_master` and
/// `attach_clone`.
///
/// Keys and values are whatever can be published. Requests of a clone go to the master and are seen
/// by reads once they come back; `await_idle` waits for that. A request that the store refuses
/// (types that do not go together, a key that is not there, a file that fails) changes nothing and
/// makes an Error event on the endpoint where it was made; see `Endpoint.make_status_subscriber`.
///
/// `expiry` is in seconds, or a timedelta or Timespan; None: for ever. It begins when the master
/// applies the request; when it is over the entry is gone for every read at once, and its event
/// follows within milliseconds. A request without expiry cancels an earlier one.
///
/// Sets within sets and within keys come back as frozenset, tables there as
/// ImmutableData.HashableReadOnlyDict: Python has to hash them.
///
/// As a context manager the handle is given up at the end; the store stays as long as its endpoint.
/// A handle keeps its endpoint.
#[pyclass(frozen, subclass, weakref, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Store(Mutex<Option<Arc<Attached>>>);

/// A time span in seconds (anything that `float` takes), or a timedelta or Timespan.
pub(crate) fn span(value: &Bound<'_, PyAny>) -> PyResult<Timespan> {
    nanoseconds(value).map(Timespan::from_ns)
}

pub(crate) fn expiry(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Timespan>> {
    value.map(span).transpose()
}

/// Encodes one value and lends its bytes.
pub(crate) fn with_encoded<R>(
    value: &Bound<'_, PyAny>,
    read: impl FnOnce(&[u8]) -> PyResult<R>,
) -> PyResult<R> {
    with_scratch(|out| write(value, out), read)
}

/// Encodes two values and lends their bytes.
pub(crate) fn with_both<R>(
    first: &Bound<'_, PyAny>,
    second: impl FnOnce(&mut Vec<u8>) -> Fallible,
    read: impl FnOnce(&[u8], &[u8]) -> PyResult<R>,
) -> PyResult<R> {
    let length = Cell::new(0);
    with_scratch(
        |out| {
            write(first, out)?;
            length.set(out.len());
            second(out)
        },
        |bytes| {
            let (first, second) = bytes.split_at(length.get());
            read(first, second)
        },
    )
}

/// Makes a request, waiting for room if it must.
fn request(
    py: Python<'_>,
    store: Option<&broker::Store>,
    change: Change,
    key: &[u8],
    value: &[u8],
) -> PyResult<()> {
    let Some(store) = store else { return Ok(()) };
    let mut limit = None;
    loop {
        match store.offer(change, key, value) {
            Ok(None) => return Ok(()),
            Ok(Some(BlockedRequest::Publish(blocked))) => {
                for mut blocked in blocked {
                    wait(py, Limit::Forever, |slice| {
                        blocked.wait_timeout(slice).then_some(())
                    })?;
                }
                return Ok(());
            }
            Ok(Some(BlockedRequest::Stored(mut change))) => {
                let stored = wait(py, Limit::within(STORE_REQUEST_TIMEOUT), |slice| {
                    change.wait_timeout(slice)
                })?;
                let stored = stored.unwrap_or(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT)));
                return stored.map_err(|error| from_store(&error));
            }
            Ok(Some(BlockedRequest::Full)) => {
                if !wait_room(py, store, key.len() + value.len(), &mut limit)? {
                    return Err(from_store(&StoreError::Full));
                }
            }
            // What does not fit at all is the caller's mistake.
            Err(error) if error.code() == ErrorCode::InvalidData => return Err(from_store(&error)),
            // It was to be stored for good, so that the caller has to know.
            Err(error) if store.is_replicated() => return Err(from_store(&error)),
            Err(error) => {
                store.report(&error);
                return Ok(());
            }
        }
    }
}

/// Waits until there may be room; false when it has taken as long as a request may take.
fn wait_room(
    py: Python<'_>,
    store: &broker::Store,
    bytes: usize,
    limit: &mut Option<Limit>,
) -> PyResult<bool> {
    let limit = match *limit {
        Some(limit) => limit,
        None => *limit.insert(Limit::within(STORE_REQUEST_TIMEOUT)),
    };
    let waited = wait(py, limit, |slice| {
        store.wait_room(bytes, slice).then_some(())
    })?;
    // Others may take the room each time, and none of the waits be long enough to look.
    py.check_signals()?;
    Ok(waited.is_some())
}

/// Makes a `put_unique` request.
fn request_unique(
    py: Python<'_>,
    store: &broker::Store,
    key: &[u8],
    value: &[u8],
    expiry: Option<Timespan>,
) -> PyResult<Result<PutUnique, StoreError>> {
    let mut limit = None;
    loop {
        match store.offer_unique(key, value, expiry) {
            Err(StoreError::Full) if wait_room(py, store, key.len() + value.len(), &mut limit)? => {
            }
            made => return Ok(made),
        }
    }
}

/// Reads once everything that was asked for before is in effect; a clone that is still looking for
/// its master is given the time that reads have.
fn read<T: Send>(
    py: Python<'_>,
    store: &broker::Store,
    read: impl Fn(&broker::Store) -> Result<T, StoreError> + Send + Sync,
) -> PyResult<Result<T, StoreError>> {
    let ticket = store.ticket();
    let step = |slice: Duration| {
        (store.is_readable(ticket) || store.wait_readable(ticket, slice)).then(|| read(store))
    };
    if !store.reads_wait() {
        if store.is_readable(ticket) {
            return Ok(read(store));
        }
    } else if let Some(result) = py.detach(|| step(Duration::ZERO)) {
        return Ok(result);
    }
    let limit = Limit::within(StoreOptions::default().get_delay_max);
    match wait(py, limit, step)? {
        Some(result) => Ok(result),
        // A clone says itself what is wrong; a master would answer from before the requests.
        None if store.is_master() => Ok(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT))),
        None => Ok(read(store)),
    }
}

/// Objects for keys that Python has to hash, whatever they are.
fn key_object<'py>(py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, key, Flavour::Immutable)
}

impl Store {
    pub(crate) fn new(attached: Attached) -> Self {
        Self::shared(Arc::new(attached))
    }

    pub(crate) fn shared(attached: Arc<Attached>) -> Self {
        Self(Mutex::new(Some(attached)))
    }

    pub(crate) fn attached(&self) -> PyResult<Arc<Attached>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| closed("the handle of the store was given up"))
    }

    /// Makes a request that has a key and a value.
    fn change(
        &self,
        change: Change,
        key: &Bound<'_, PyAny>,
        value: impl FnOnce(&mut Vec<u8>) -> Fallible,
    ) -> PyResult<()> {
        let attached = self.attached()?;
        with_both(key, value, |key_bytes, value| {
            request(key.py(), attached.store()?, change, key_bytes, value)
        })
    }

    /// Reads what is encoded; `None` when it is not there or cannot be read.
    fn value<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        index: impl FnOnce(&mut Vec<u8>) -> Fallible,
        get: impl Fn(&broker::Store, &[u8], &[u8]) -> Result<Vec<u8>, StoreError> + Send + Sync,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        let attached = self.attached()?;
        let found = with_both(key, index, |key, index| {
            let Some(store) = attached.store()? else {
                return Ok(None);
            };
            Ok(read(py, store, |store| get(store, key, index))?.ok())
        })?;
        found
            .map(|bytes| decode(py, &bytes, Flavour::Mixed))
            .transpose()
    }

    fn entries(&self, py: Python<'_>) -> PyResult<Vec<EncodedEntry>> {
        let attached = self.attached()?;
        read(py, attached.live()?, broker::Store::snapshot_encoded)?
            .map_err(|error| from_store(&error))
    }
}

fn nothing(_: &mut Vec<u8>) -> Fallible {
    Ok(())
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(internal_store)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(Mutex::default())
    }

    fn __init__(&self, internal_store: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(internal) = internal_store.cast::<Self>() else {
            return Err(PyTypeError::new_err(
                "stores are made by Endpoint.attach_master and Endpoint.attach_clone",
            ));
        };
        let attached = internal.get().attached()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(attached);
        Ok(())
    }

    /// The name; empty once the endpoint is shut down.
    fn name(&self) -> PyResult<String> {
        let attached = self.attached()?;
        let store = attached.store()?;
        Ok(store.map_or("", broker::Store::name).to_owned())
    }

    /// What a master of Backend.JetStream is at this moment: "leader", which takes changes, "standby",
    /// which follows one, "loading", "uncertain" (it led, and cannot tell whether it still does) or
    /// "stopped". None of all other stores.
    fn standing(&self) -> PyResult<Option<&'static str>> {
        let attached = self.attached()?;
        let standing = attached.store()?.and_then(broker::Store::standing);
        Ok(standing.map(|standing| standing.name()))
    }

    // --- writes ---------------------------------------------------------------------------------

    /// Sets a key. `expiry` in seconds, or a timedelta or Timespan.
    ///
    /// Raises TypeError for what has no counterpart, and StoreError when a clone keeps as much for
    /// its master as it may keep or the value is larger than a message can be.
    #[pyo3(signature = (key, value, expiry = None))]
    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        self.change(Change::Put { expiry }, key, |out| write(value, out))
    }

    /// Sets a key that is absent. Returns whether it was, or None when that cannot be known: no
    /// answer within 10 s, no master, a file that fails. `expiry` as for `put`.
    #[pyo3(signature = (key, value, expiry = None))]
    fn put_unique(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<bool>> {
        let py = key.py();
        let expiry = self::expiry(expiry)?;
        let attached = self.attached()?;
        let mut is_replicated = false;
        let asked = with_both(
            key,
            |out| write(value, out),
            |key, value| match attached.store()? {
                Some(store) => {
                    let asked = request_unique(py, store, key, value, expiry)?;
                    is_replicated = store.is_replicated();
                    if is_replicated {
                        return Ok(Some(asked.map_err(|error| from_store(&error))?));
                    }
                    Ok(asked.inspect_err(|error| store.report(error)).ok())
                }
                None => Ok(None),
            },
        )?;
        let Some(mut pending) = asked else {
            return Ok(None);
        };
        let answer = match pending.wait_timeout(Duration::ZERO) {
            Some(answer) => Some(answer),
            None => wait(py, Limit::within(STORE_REQUEST_TIMEOUT), |slice| {
                pending.wait_timeout(slice)
            })?,
        };
        if is_replicated {
            // What was not stored for good the caller has to know.
            let answer = answer.unwrap_or(Err(StoreError::Timeout(STORE_REQUEST_TIMEOUT)));
            return answer.map(Some).map_err(|error| from_store(&error));
        }
        Ok(answer.and_then(Result::ok))
    }

    /// Removes a key.
    #[pyo3(signature = (data))]
    fn erase(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.change(Change::Erase, data, nothing)
    }

    /// Removes everything.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        let attached = self.attached()?;
        request(py, attached.store()?, Change::Clear, &[], &[])
    }

    /// Adds to a number (int to int, Count to Count, float to float), or a timedelta to a time or
    /// time span. An absent key starts from zero; for a timedelta, from 1970. `expiry` as for `put`.
    ///
    /// Sums of int and Count beyond 64 bits wrap around, and an Error event says so.
    #[pyo3(signature = (key, amount, expiry = None))]
    fn increment(
        &self,
        key: &Bound<'_, PyAny>,
        amount: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        let attached = self.attached()?;
        with_both(
            key,
            |out| write(amount, out),
            |key_bytes, amount| {
                let init = initial_of_increment(View::trusted(amount).kind());
                let change = Change::Add { init, expiry };
                request(key.py(), attached.store()?, change, key_bytes, amount)
            },
        )
    }

    /// Takes away from a number, or a timedelta from a time or time span. An absent key stays
    /// absent. `expiry` as for `put`.
    ///
    /// Differences of int and Count beyond 64 bits wrap around, and an Error event says so.
    #[pyo3(signature = (key, amount, expiry = None))]
    fn decrement(
        &self,
        key: &Bound<'_, PyAny>,
        amount: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        self.change(Change::Subtract { expiry }, key, |out| write(amount, out))
    }

    /// Appends to a str; an absent key starts empty. `expiry` as for `put`.
    #[pyo3(signature = (key, s, expiry = None))]
    fn append(
        &self,
        key: &Bound<'_, PyAny>,
        s: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        let init = Kind::String;
        self.change(Change::Add { init, expiry }, key, |out| write(s, out))
    }

    /// Inserts `index` into a set, or, with a value other than None, sets an index of a table. An
    /// absent key starts empty. `expiry` as for `put`.
    #[pyo3(signature = (key, index, value = None, expiry = None))]
    fn insert_into(
        &self,
        key: &Bound<'_, PyAny>,
        index: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        match value {
            None => {
                let init = Kind::Set;
                self.change(Change::Add { init, expiry }, key, |out| write(index, out))
            }
            Some(value) => {
                let init = Kind::Table;
                self.change(Change::Add { init, expiry }, key, |out| {
                    Encoder::new(out).vector(2, |enc| {
                        encode::encode(index, enc)?;
                        encode::encode(value, enc)
                    })
                })
            }
        }
    }

    /// Removes an element of a set or an index of a table. `expiry` as for `put`.
    #[pyo3(signature = (key, index, expiry = None))]
    fn remove_from(
        &self,
        key: &Bound<'_, PyAny>,
        index: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        self.change(Change::Subtract { expiry }, key, |out| write(index, out))
    }

    /// Appends to a tuple or list; an absent key starts empty. `expiry` as for `put`.
    #[pyo3(signature = (key, value, expiry = None))]
    fn push(
        &self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        let init = Kind::Vector;
        self.change(Change::Add { init, expiry }, key, |out| write(value, out))
    }

    /// Removes the last element of a tuple or list. `expiry` as for `put`.
    #[pyo3(signature = (key, expiry = None))]
    fn pop(&self, key: &Bound<'_, PyAny>, expiry: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let expiry = self::expiry(expiry)?;
        self.change(Change::Subtract { expiry }, key, |out| write(key, out))
    }

    // --- reads ----------------------------------------------------------------------------------

    /// The value of a key; `default` when it is absent or cannot be read. A clone that has not found
    /// its master yet is waited for, up to 5 s. A stored None is returned as None.
    #[pyo3(signature = (key, default = None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.value(key, nothing, |store, key, _| store.get_encoded(key))?;
        Ok(found.or(default))
    }

    /// The value of a key. Raises KeyError when it is absent, StoreError when it cannot be read.
    #[pyo3(signature = (key))]
    fn lookup<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let attached = self.attached()?;
        let found = with_encoded(key, |key| {
            read(py, attached.live()?, |store| store.get_encoded(key))
        })?;
        match found {
            Ok(bytes) => decode(py, &bytes, Flavour::Mixed),
            Err(error) if error.code() == ErrorCode::NoSuchKey => {
                Err(PyKeyError::new_err((key.clone().unbind(),)))
            }
            Err(error) => Err(from_store(&error)),
        }
    }

    /// Whether a key is there. Raises StoreError when that cannot be known.
    #[pyo3(signature = (key))]
    fn exists(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let attached = self.attached()?;
        let found = with_encoded(key, |bytes| {
            read(key.py(), attached.live()?, |store| {
                store.exists_encoded(bytes)
            })
        })?;
        found.map_err(|error| from_store(&error))
    }

    /// What is at an index of a key's value: of a set whether it is there, of a table or tuple what is
    /// there, of everything else the value itself. None when there is nothing or it cannot be read.
    #[pyo3(signature = (key, index))]
    fn get_index_from_value<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.value(
            key,
            |out| write(index, out),
            |store, key, index| store.get_index_encoded(key, index),
        )
    }

    /// All keys, a new set; None when they cannot be read. Sets and tables among them are frozenset
    /// and ImmutableData.HashableReadOnlyDict.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PySet>>> {
        let attached = self.attached()?;
        let Some(store) = attached.store()? else {
            return Ok(None);
        };
        let Ok(keys) = read(py, store, broker::Store::keys_encoded)? else {
            return Ok(None);
        };
        let set = PySet::empty(py)?;
        for key in keys {
            set.add(key_object(py, &key)?)?;
        }
        Ok(Some(set))
    }

    /// All entries at one moment, a new list of (key, value). Sets and tables among the keys are
    /// frozenset and ImmutableData.HashableReadOnlyDict. Raises StoreError when they cannot be read.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (key, value) in self.entries(py)? {
            let value = decode(py, &value, Flavour::Mixed)?;
            list.append((key_object(py, &key)?, value))?;
        }
        Ok(list)
    }

    /// All entries at one moment, a new dict. Keys as for `items`; those that Python takes for equal,
    /// such as 1 and True, are one. Raises StoreError when they cannot be read.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (key, value) in self.entries(py)? {
            let value = decode(py, &value, Flavour::Mixed)?;
            dict.set_item(key_object(py, &key)?, value)?;
        }
        Ok(dict)
    }

    /// As `exists`.
    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.exists(key)
    }

    /// The number of entries. Raises StoreError when it cannot be known.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let attached = self.attached()?;
        let count = read(py, attached.live()?, broker::Store::len_now)?;
        Ok(count.map_err(|error| from_store(&error))? as usize)
    }

    /// True, also for an empty store: what `attach_master` returns is either a store or None.
    fn __bool__(&self) -> bool {
        true
    }

    // --- the other side -------------------------------------------------------------------------

    /// Waits until master and clones have everything of each other. Returns whether they have.
    ///
    /// `timeout` is in seconds, or a timedelta or Timespan; None and 0 mean 15 s.
    #[pyo3(signature = (timeout = None))]
    fn await_idle(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let limit = match timeout.map(span).transpose()? {
            None | Some(Timespan::ZERO) => Limit::within(AWAIT_IDLE_TIMEOUT),
            Some(span) => Limit::after(span.ns() as f64 / 1e9)?,
        };
        let attached = self.attached()?;
        let Some(store) = attached.store()? else {
            return Ok(false);
        };
        let idle = wait(py, limit, |slice| {
            if store.await_idle(slice) {
                return Some(true);
            }
            // A store without hope says so at once.
            (store.is_closed() || store.contact() == Contact::Failed).then_some(false)
        })?;
        Ok(idle.unwrap_or(false))
    }

    /// The changes of this store from now on, as this endpoint sees them: a StoreEvents object.
    /// Raises StoreError when the endpoint is shut down.
    fn events(&self, py: Python<'_>) -> PyResult<StoreEvents> {
        let attached = self.attached()?;
        let store = attached.live()?;
        let events = py.detach(|| store.events());
        let events = events.map_err(|error| from_store(&error))?;
        Ok(StoreEvents::new(events, Some(store.name())))
    }

    /// Requests whose responses are collected later, by number: a StoreProxy object. Raises
    /// StoreError when the endpoint is shut down.
    fn proxy(&self) -> PyResult<StoreProxy> {
        let attached = self.attached()?;
        Ok(StoreProxy::new(attached.live()?.proxy(), attached.clone()))
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (r#type, value, traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _exception = (r#type, value, traceback);
        self.reset(py);
    }

    /// Gives the handle up; the store stays. Other methods raise ClosedError from then on.
    fn reset(&self, py: Python<'_>) {
        let attached = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Gives up the endpoint, too, if nobody else has it.
        py.detach(|| drop(attached));
    }
}
