//! `StatusSubscriber`: what happens to the peerings of an endpoint.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::Event;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::argument::Whole;
use crate::error::{closed, is_closed};
use crate::inbox::{Consumer, Inbox, Wanted, next_item};
use crate::status::to_object;
use crate::wait::{Limit, timeout};

impl Consumer for broker::StatusSubscriber {
    type Item = Event;

    fn take(&self, max: usize, into: &mut Vec<Event>) {
        into.extend(std::iter::from_fn(|| self.try_recv()).take(max));
    }

    fn take_ready(&self, into: &mut Vec<Event>) {
        self.take(usize::MAX, into);
    }

    fn put_back(&self, items: Vec<Event>) {
        self.put_back(items);
    }

    fn wait(&self, timeout: Duration) -> bool {
        self.wait(Some(timeout))
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

#[derive(Debug)]
pub(crate) struct SharedStatusSubscriber {
    pub(crate) inbox: Inbox<broker::StatusSubscriber>,
    /// Whether `get()` delivers the discovery that goes before a peering.
    discovery: bool,
}

/// Receives status and error events; made by `Endpoint.make_status_subscriber`.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct StatusSubscriber(Mutex<Option<Arc<SharedStatusSubscriber>>>);

impl StatusSubscriber {
    pub(crate) fn new(queue: broker::StatusSubscriber, discovery: bool) -> Self {
        let shared = SharedStatusSubscriber {
            inbox: Inbox::new(queue),
            discovery,
        };
        Self(Mutex::new(Some(Arc::new(shared))))
    }

    pub(crate) fn shared(&self) -> PyResult<Arc<SharedStatusSubscriber>> {
        // In two steps: making an exception can let another thread run, which may want the lock.
        let shared = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        shared.ok_or_else(|| closed("status subscriber was reset"))
    }

    fn many<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        limit: Limit,
    ) -> PyResult<Bound<'py, PyList>> {
        let inbox = &self.shared()?.inbox;
        let events = inbox.gather(py, count, limit)?;
        inbox.list(py, events, |event| to_object(py, event.clone()))
    }

    fn one<'py>(&self, py: Python<'py>, limit: Limit) -> PyResult<Option<Bound<'py, PyAny>>> {
        let event = self.shared()?.inbox.next(py, limit)?;
        event.map(|event| to_object(py, event)).transpose()
    }

    /// The next event, without the discovery that is part of a peering.
    fn next_change<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let shared = self.shared()?;
        let skip_discovery = !shared.discovery;
        let event = shared
            .inbox
            .until(py, |queue| queue.try_next(skip_discovery))?;
        to_object(py, event)
    }
}

#[pymethods]
impl StatusSubscriber {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(internal_subscriber)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(Mutex::default())
    }

    fn __init__(&self, internal_subscriber: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(internal) = internal_subscriber.cast::<Self>() else {
            return Err(PyTypeError::new_err(
                "status subscribers are made by Endpoint.make_status_subscriber",
            ));
        };
        let shared = internal.get().shared()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
        Ok(())
    }

    /// Receives events: Status and Error objects.
    ///
    /// get() waits for one event and passes over an EndpointDiscovered that the PeerAdded of the
    /// same endpoint follows directly; make_status_subscriber(discovery=True) turns that off.
    /// get(t: float) waits for at most t seconds for one event and returns None when none came;
    /// get(n: int) waits for a list of n events; get(n, t) returns a list of up to n events that
    /// came within t seconds. By name, and for other numbers and times, as for Subscriber.get;
    /// get(timeout=None) is get().
    ///
    /// Raises RuntimeError once the endpoint is shut down and nothing is left.
    #[pyo3(signature = (*args, num = None, timeout = None))]
    fn get<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        num: Option<&Bound<'py, PyAny>>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = args.py();
        if args.is_empty() && num.is_none() && timeout.is_none() {
            return self.next_change(py).map(Some);
        }
        match Wanted::parse(args, num, timeout)? {
            Wanted::One(limit) => self.one(py, limit),
            Wanted::Many(count, limit) => Ok(Some(self.many(py, count, limit)?.into_any())),
        }
    }

    /// Waits for one event, for at most `timeout` (seconds, timedelta, Timespan; None: no limit).
    /// Returns None when none came.
    #[pyo3(signature = (timeout = None))]
    fn recv<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.one(py, self::timeout(timeout)?)
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
        self.many(py, count.0, self::timeout(timeout)?)
    }

    /// Returns the events that are there, without waiting.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let inbox = &self.shared()?.inbox;
        let events = inbox.take_ready()?;
        inbox.list(py, events, |event| to_object(py, event.clone()))
    }

    /// The number of events that wait.
    fn available(&self) -> PyResult<usize> {
        Ok(self.shared()?.inbox.queue()?.available())
    }

    /// A descriptor that is readable while events wait. Never read from it; `poll` drains it.
    fn fd(&self) -> PyResult<i32> {
        Ok(self.shared()?.inbox.queue()?.fd()?)
    }

    /// Ends the subscription. Other methods raise ClosedError from then on.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(shared) = shared {
            let queue = shared.inbox.queue()?;
            py.detach(|| queue.close());
        }
        Ok(())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next event; the iteration ends when the endpoint is shut down.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shared = self.shared()?;
        match shared.inbox.next(py, Limit::Forever) {
            Ok(event) => event.map(|event| to_object(py, event)).transpose(),
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
