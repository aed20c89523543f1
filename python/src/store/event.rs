//! `StoreEvents` and `StoreEvent`: what changes in stores. Spec: stores 7.6.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::Message;
use broker::data::{Timespan, View};
use broker::proto::store::event::{Change, StoreEvent as Encoded};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::argument::Whole;
use crate::decode::{Flavour, decode};
use crate::error::{closed, is_closed};
use crate::inbox::{Consumer, Inbox, next_item};
use crate::text;
use crate::wait::{Limit, timeout};

/// One change of a store.
#[pyclass(frozen, get_all, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct StoreEvent {
    /// What happened to the key: "insert", "update", "erase" or "expire".
    kind: &'static str,
    /// Name of the store.
    store: Py<PyString>,
    /// The key. Sets and tables are frozenset and ImmutableData.HashableReadOnlyDict.
    key: Py<PyAny>,
    /// The value after an insert or update, else None.
    value: Option<Py<PyAny>>,
    /// The value before an update, else None.
    old: Option<Py<PyAny>>,
    /// The time that an insert or update gave the entry, a timedelta; None: for ever.
    expiry: Option<Py<PyAny>>,
    /// Who made the change: the id of the endpoint as UUID text and the number of the master or
    /// clone there. None when it is unknown.
    publisher: Option<(String, u64)>,
}

impl StoreEvent {
    fn new(py: Python<'_>, event: &Encoded<'_>) -> PyResult<Self> {
        let value = |view: View<'_>| -> PyResult<_> {
            Ok(Some(decode(py, view.bytes(), Flavour::Mixed)?.unbind()))
        };
        let (kind, old, new, span) = match event.change {
            Change::Insert { value, expiry } => ("insert", None, Some(value), expiry),
            Change::Update { old, value, expiry } => ("update", Some(old), Some(value), expiry),
            Change::Erase => ("erase", None, None, None),
            Change::Expire => ("expire", None, None, None),
        };
        let publisher = event.publisher;
        Ok(Self {
            kind,
            store: text::to_str(py, event.store)?.unbind(),
            key: decode(py, event.key.bytes(), Flavour::Immutable)?.unbind(),
            value: new.map_or(Ok(None), value)?,
            old: old.map_or(Ok(None), value)?,
            expiry: span.map(|span| timedelta(py, span)).transpose()?,
            publisher: (!publisher.is_nil())
                .then(|| (publisher.endpoint.to_string(), publisher.object)),
        })
    }
}

fn timedelta(py: Python<'_>, span: Timespan) -> PyResult<Py<PyAny>> {
    Ok(crate::decode::timespan(py, span.ns())?.unbind())
}

#[pymethods]
impl StoreEvent {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (store, key) = (self.store.bind(py).repr()?, self.key.bind(py).repr()?);
        let mut text = format!("<StoreEvent {} {store}[{key}]", self.kind);
        if let Some(value) = &self.value {
            text += &format!(" = {}", value.bind(py).repr()?);
        }
        Ok(text + ">")
    }
}

/// The events of one store or of all.
#[derive(Debug)]
pub(crate) struct Events {
    events: broker::StoreEvents,
    store: Option<String>,
}

impl Events {
    /// What receives them.
    pub(crate) fn subscriber(&self) -> &broker::Subscriber {
        self.events.subscriber()
    }

    /// Topics are matched by prefix: the name of another store may begin with this one's.
    fn is_wanted(&self, message: &Message) -> bool {
        Encoded::from_view(message.view()).is_some_and(|event| {
            let store = self.store.as_ref();
            store.is_none_or(|store| store.as_bytes() == event.store)
        })
    }
}

impl Consumer for Events {
    type Item = Message;

    fn take(&self, max: usize, into: &mut Vec<Message>) {
        let mut messages = Vec::new();
        while messages.len() < max {
            let taken = messages.len();
            let queue = self.events.subscriber();
            queue.recv_batch(max - taken, &mut messages);
            if messages.len() == taken {
                break;
            }
            messages.retain(|message| self.is_wanted(message));
        }
        into.append(&mut messages);
    }

    fn take_ready(&self, into: &mut Vec<Message>) {
        let mut messages = Vec::new();
        self.events.subscriber().recv_ready(&mut messages);
        into.extend(
            messages
                .into_iter()
                .filter(|message| self.is_wanted(message)),
        );
    }

    fn put_back(&self, items: Vec<Message>) {
        self.events.subscriber().put_back(items);
    }

    fn wait(&self, timeout: Duration) -> bool {
        self.events.subscriber().wait(Some(timeout))
    }

    fn is_closed(&self) -> bool {
        self.events.subscriber().is_closed()
    }
}

/// Receives the changes of one store or of all stores of an endpoint, as that endpoint sees them.
/// Made by `Store.events` and `Endpoint.store_events`.
///
/// Iteration waits for the next StoreEvent and ends when the endpoint is shut down.
#[pyclass(frozen, weakref, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct StoreEvents(Mutex<Option<Arc<Inbox<Events>>>>);

impl StoreEvents {
    pub(crate) fn new(events: broker::StoreEvents, store: Option<&str>) -> Self {
        let store = store.map(str::to_owned);
        let inbox = Inbox::new(Events { events, store });
        Self(Mutex::new(Some(Arc::new(inbox))))
    }

    pub(crate) fn inbox(&self) -> PyResult<Arc<Inbox<Events>>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| closed("the subscription to store events was reset"))
    }
}

fn object<'py>(py: Python<'py>, message: &Message) -> PyResult<Bound<'py, PyAny>> {
    let event = Encoded::from_view(message.view())
        .ok_or_else(|| PyValueError::new_err("malformed store event"))?;
    Ok(Bound::new(py, StoreEvent::new(py, &event)?)?.into_any())
}

#[pymethods]
impl StoreEvents {
    /// Waits for one event, for at most `timeout` (seconds, timedelta, Timespan; None: no limit).
    /// Returns None when none came.
    #[pyo3(signature = (timeout = None))]
    fn recv<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let message = self.inbox()?.next(py, self::timeout(timeout)?)?;
        message.map(|message| object(py, &message)).transpose()
    }

    /// Waits for `count` events, for at most `timeout` (seconds, timedelta, Timespan; None: no
    /// limit). Returns those that came.
    #[pyo3(signature = (count, timeout = None))]
    fn recv_many<'py>(
        &self,
        py: Python<'py>,
        count: Whole<usize>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let inbox = self.inbox()?;
        let messages = inbox.gather(py, count.0, self::timeout(timeout)?)?;
        inbox.list(py, messages, |message| object(py, message))
    }

    /// Returns the events that are there, without waiting; of very many the first.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let inbox = self.inbox()?;
        let messages = inbox.take_ready()?;
        inbox.list(py, messages, |message| object(py, message))
    }

    /// The number of events that wait. With stores whose names begin alike it may be too large.
    fn available(&self) -> PyResult<usize> {
        Ok(self.inbox()?.queue()?.events.subscriber().available())
    }

    /// A descriptor that is readable while events wait. Never read from it; `poll` drains it.
    fn fd(&self) -> PyResult<i32> {
        Ok(self.inbox()?.queue()?.events.subscriber().fd()?)
    }

    /// Ends the subscription. Other methods raise ClosedError from then on.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        let inbox = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(inbox) = inbox {
            let queue = inbox.queue()?;
            py.detach(|| queue.events.subscriber().close());
        }
        Ok(())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next event; the iteration ends when the endpoint is shut down.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.inbox()?.next(py, Limit::Forever) {
            Ok(message) => message.map(|message| object(py, &message)).transpose(),
            Err(error) if is_closed(py, &error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Waits for the next event on the running loop of asyncio; no thread takes part. The iteration
    /// ends when the endpoint is shut down or this is reset. A task that is cancelled loses nothing.
    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        next_item(slf.as_any())
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
    ) -> PyResult<()> {
        let _exception = (r#type, value, traceback);
        self.reset(py)
    }
}
