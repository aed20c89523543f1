//! `Subscriber`: messages of peers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{MAILBOX_MESSAGES_MAX, Message, OnLoss, Overflow, Room};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::argument::{Flag, Whole};
use crate::decode::{Flavour, decode_message};
use crate::error::{closed, is_closed};
use crate::inbox::{Consumer, Inbox, Wanted, next_item};
use crate::message::Message as Received;
use crate::text;
use crate::types::topic;
use crate::untrack::untrack;
use crate::wait::{Limit, timeout};
use crate::websocket;

impl Consumer for broker::Subscriber {
    type Item = Message;

    fn take(&self, max: usize, into: &mut Vec<Message>) {
        self.recv_batch(max, into);
    }

    fn take_ready(&self, into: &mut Vec<Message>) {
        self.recv_ready(into);
    }

    fn put_back(&self, items: Vec<Message>) {
        self.put_back(items);
    }

    fn wait(&self, timeout: Duration) -> bool {
        self.wait(Some(timeout))
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn check_loss(&self) -> Result<(), broker::Error> {
        self.check_loss()
    }
}

/// Messages that `take` returns unless it is asked for another number: an event loop is to come to its
/// other work in between.
const TAKEN: Whole<usize> = Whole(256);

/// The room that a subscriber asks for; `None` when it asks for nothing.
pub(crate) fn room(buffer: Option<Whole<usize>>, overflow: Option<&str>) -> PyResult<Option<Room>> {
    if buffer.is_none() && overflow.is_none() {
        return Ok(None);
    }
    Ok(Some(Room {
        messages_max: buffer.map_or(MAILBOX_MESSAGES_MAX, |buffer| buffer.0),
        overflow: overflow.map_or(Ok(Overflow::Block), websocket::overflow)?,
    }))
}

/// What an `on_loss` argument asks for.
pub(crate) fn on_loss(name: &str) -> PyResult<OnLoss> {
    match name {
        "ignore" => Ok(OnLoss::Ignore),
        "raise" => Ok(OnLoss::Fail),
        other => Err(PyValueError::new_err(format!(
            "expected `on_loss` to be ignore or raise, found `{other}`"
        ))),
    }
}

/// A topic and its Python object.
type KnownTopic = (Box<[u8]>, Py<PyString>);

/// What the object made by an endpoint and the objects wrapped around it share.
#[derive(Debug)]
pub(crate) struct SharedSubscriber {
    pub(crate) inbox: Inbox<broker::Subscriber>,
    /// The last topic and its Python object: most messages repeat it.
    topic: Mutex<Option<KnownTopic>>,
}

impl SharedSubscriber {
    fn topic<'py>(&self, py: Python<'py>, topic: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if let Some((known, object)) = &*self.topic.lock().unwrap_or_else(PoisonError::into_inner)
            && **known == *topic
        {
            return Ok(object.bind(py).clone());
        }
        let object = text::to_str(py, topic)?;
        let remembered = Some((topic.into(), object.clone().unbind()));
        let previous = std::mem::replace(
            &mut *self.topic.lock().unwrap_or_else(PoisonError::into_inner),
            remembered,
        );
        drop(previous);
        Ok(object)
    }

    /// The tuple of topic and value.
    fn object<'py>(
        &self,
        py: Python<'py>,
        message: &Message,
        flavour: Flavour,
    ) -> PyResult<Bound<'py, PyAny>> {
        let topic = self.topic(py, message.topic())?;
        let value = decode_message(py, message.payload(), flavour).inspect_err(|error| {
            // A note keeps the text, which programs compare, as it is. Python 3.11 and later.
            let note = format!("the message had the topic {topic}; safe subscribers can take it");
            let _ = error
                .value(py)
                .call_method1(intern!(py, "add_note"), (note,));
        })?;
        let pair = PyTuple::new(py, [topic.into_any(), value.object])?.into_any();
        if !value.is_tracked {
            untrack(&pair);
        }
        Ok(pair)
    }
}

/// Receives messages; made by `Endpoint.make_subscriber`.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Subscriber {
    shared: Mutex<Option<Arc<SharedSubscriber>>>,
    flavour: Mutex<Flavour>,
    /// What `dropped` says once the queue is gone.
    dropped_at_reset: AtomicU64,
}

impl Subscriber {
    pub(crate) fn new(queue: broker::Subscriber) -> Self {
        let shared = SharedSubscriber {
            inbox: Inbox::new(queue),
            topic: Mutex::default(),
        };
        Self {
            shared: Mutex::new(Some(Arc::new(shared))),
            flavour: Mutex::new(Flavour::Mutable),
            dropped_at_reset: AtomicU64::new(0),
        }
    }

    pub(crate) fn shared(&self) -> PyResult<Arc<SharedSubscriber>> {
        // In two steps: making an exception can let another thread run, which may want the lock.
        let shared = self
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        shared.ok_or_else(|| closed("subscriber was reset"))
    }

    fn flavour(&self) -> Flavour {
        *self.flavour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flavour of calls that the original does not have: a message that a peer chose must not
    /// end a loop over messages, so what would have to be hashed is immutable there.
    fn unfailing_flavour(&self) -> Flavour {
        match self.flavour() {
            Flavour::Mutable => Flavour::Mixed,
            other => other,
        }
    }

    fn one<'py>(
        &self,
        py: Python<'py>,
        limit: Limit,
        flavour: Flavour,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shared = self.shared()?;
        let message = shared.inbox.next(py, limit)?;
        message
            .map(|message| shared.object(py, &message, flavour))
            .transpose()
    }

    fn many<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        limit: Limit,
        flavour: Flavour,
    ) -> PyResult<Bound<'py, PyList>> {
        let shared = self.shared()?;
        let messages = shared.inbox.gather(py, count, limit)?;
        shared
            .inbox
            .list(py, messages, |message| shared.object(py, message, flavour))
    }
}

#[pymethods]
impl Subscriber {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(internal_subscriber, *, _safe=False)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            shared: Mutex::default(),
            flavour: Mutex::new(Flavour::Mutable),
            dropped_at_reset: AtomicU64::new(0),
        }
    }

    #[pyo3(signature = (internal_subscriber, *, _safe = false))]
    fn __init__(&self, internal_subscriber: &Bound<'_, PyAny>, _safe: bool) -> PyResult<()> {
        let Ok(internal) = internal_subscriber.cast::<Self>() else {
            return Err(PyTypeError::new_err(
                "subscribers are made by Endpoint.make_subscriber and its like",
            ));
        };
        let shared = internal.get().shared()?;
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
        if _safe {
            *self.flavour.lock().unwrap_or_else(PoisonError::into_inner) = Flavour::Immutable;
        }
        Ok(())
    }

    /// Receives messages; a message is a tuple of its topic (str) and its value.
    ///
    /// get() waits for one message; get(t: float) does so for at most t seconds and returns None
    /// when none came; get(n: int) waits for a list of n messages; get(n, t) returns a list of up
    /// to n messages that came within t seconds. By name: get(num=n, timeout=t). A time can also be
    /// a timedelta, a Timespan or another number; among these is numpy.int64, so numbers of
    /// messages from numpy need num= or int().
    ///
    /// Raises RuntimeError once the endpoint is shut down and nothing is left, TypeError for a
    /// message that Python cannot represent (only that message is lost).
    #[pyo3(signature = (*args, num = None, timeout = None))]
    fn get<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        num: Option<&Bound<'py, PyAny>>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = args.py();
        match Wanted::parse(args, num, timeout)? {
            Wanted::One(limit) => self.one(py, limit, self.flavour()),
            Wanted::Many(count, limit) => {
                let messages = self.many(py, count, limit, self.flavour())?;
                Ok(Some(messages.into_any()))
            }
        }
    }

    /// Waits for one message, for at most `timeout` (seconds, timedelta, Timespan; None: no
    /// limit). Returns None when none came. A set within a set is a frozenset, also in recv_many and
    /// in iterations: no message raises TypeError there.
    #[pyo3(signature = (timeout = None))]
    fn recv<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.one(py, self::timeout(timeout)?, self.unfailing_flavour())
    }

    /// Waits for `count` messages, for at most `timeout` (seconds, timedelta, Timespan; None: no
    /// limit). Returns those that came.
    #[pyo3(signature = (count, timeout = None))]
    fn recv_many<'py>(
        &self,
        py: Python<'py>,
        count: Whole<usize>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let limit = self::timeout(timeout)?;
        self.many(py, count.0, limit, self.unfailing_flavour())
    }

    /// Returns messages that are there, without waiting: up to 4096 of them or about a mebibyte, so
    /// that a flood comes in parts that can be handled one after the other.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let shared = self.shared()?;
        let messages = shared.inbox.take_ready()?;
        let flavour = self.flavour();
        shared
            .inbox
            .list(py, messages, |message| shared.object(py, message, flavour))
    }

    /// Returns up to `max` messages that are there as Message objects, without waiting. Raises
    /// ClosedError once the endpoint is shut down and nothing is left.
    #[pyo3(signature = (max = TAKEN), text_signature = "($self, max=256)")]
    fn take<'py>(&self, py: Python<'py>, max: Whole<usize>) -> PyResult<Bound<'py, PyList>> {
        let shared = self.shared()?;
        let queue = shared.inbox.queue()?;
        let mut messages = Vec::new();
        // Asked before: a message that comes in between must not be taken for the end.
        let is_closed = queue.is_closed();
        shared.inbox.check_loss()?;
        queue.take(max.0, &mut messages);
        if messages.is_empty() && is_closed {
            return Err(closed("subscriber queue closed"));
        }
        shared.inbox.list(py, messages, |message| {
            let topic = shared.topic(py, message.topic())?.unbind();
            let received = Received::new(topic, message, queue.endpoint_id());
            Ok(Bound::new(py, received)?.into_any())
        })
    }

    /// Names the subscriber in `Endpoint.stats()` and metrics, where it is otherwise known by its
    /// topics. The first name counts, and of it the first 64 characters.
    fn set_name(&self, name: &str) -> PyResult<()> {
        self.shared()?.inbox.queue()?.set_name(name);
        Ok(())
    }

    /// The number of messages that wait.
    fn available(&self) -> PyResult<usize> {
        Ok(self.shared()?.inbox.queue()?.available())
    }

    /// How many messages were dropped so far, or until `reset`, because they were not taken in time.
    #[getter]
    fn dropped(&self) -> PyResult<u64> {
        let shared = self
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match shared {
            Some(shared) => Ok(shared.inbox.queue()?.dropped()),
            None => Ok(self.dropped_at_reset.load(Ordering::Relaxed)),
        }
    }

    /// A descriptor that is readable while messages wait. Never read from it; `poll` drains it.
    fn fd(&self) -> PyResult<i32> {
        Ok(self.shared()?.inbox.queue()?.fd()?)
    }

    /// Subscribes to one more topic (str, bytes or Topic). It is in effect when this returns.
    #[pyo3(signature = (topic, block = Flag(false)), text_signature = "($self, topic, block=False)")]
    fn add_topic(&self, py: Python<'_>, topic: &Bound<'_, PyAny>, block: Flag) -> PyResult<()> {
        let _always = block.0;
        let topic = broker::Topic::from(topic::bytes_of(topic)?.as_ref());
        let shared = self.shared()?;
        let queue = shared.inbox.queue()?;
        py.detach(|| queue.add_topic(topic));
        Ok(())
    }

    /// Takes a topic out of the subscription; unknown ones are ignored.
    #[pyo3(signature = (topic, block = Flag(false)), text_signature = "($self, topic, block=False)")]
    fn remove_topic(&self, py: Python<'_>, topic: &Bound<'_, PyAny>, block: Flag) -> PyResult<()> {
        let _always = block.0;
        let topic = topic::bytes_of(topic)?.into_owned();
        let shared = self.shared()?;
        let queue = shared.inbox.queue()?;
        py.detach(|| queue.remove_topic(&topic));
        Ok(())
    }

    /// Ends the subscription. Other methods raise ClosedError from then on.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        let shared = self
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(shared) = shared {
            let queue = shared.inbox.queue()?;
            py.detach(|| queue.close());
            self.dropped_at_reset
                .store(queue.dropped(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next message; the iteration ends when the endpoint is shut down.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let shared = self.shared()?;
        match shared.inbox.next(py, Limit::Forever) {
            Ok(message) => message
                .map(|message| shared.object(py, &message, self.unfailing_flavour()))
                .transpose(),
            Err(error) if is_closed(py, &error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Waits for the next message on the running loop of asyncio; no thread takes part. The iteration
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
