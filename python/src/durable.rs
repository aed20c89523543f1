//! Durable topics: `DurableSubscriber`, its messages, and what streams are made and published to with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{
    Acknowledge, DurableError, DurableOptions, DurableStart, DurableTopics, PublishOptions,
    StreamDiscard, StreamOptions,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDelta, PyInt, PyList, PyString, PyTuple};

use crate::argument::{Whole, integer};
use crate::decode::{Flavour, decode, timestamp};
use crate::error::{closed, from_durable, is_closed};
use crate::inbox::{Wanted, next_item};
use crate::process::Owned;
use crate::text;
use crate::types::time::{Timespan, point_in_time};
use crate::types::topic;
use crate::wait::{Limit, timeout, wait, wait_forever};
use crate::websocket::duration;

/// The durable topics of the servers that an endpoint is peered with.
pub(crate) fn topics(endpoint: &broker::Endpoint) -> PyResult<DurableTopics> {
    endpoint
        .durable_topics(None)
        .map_err(|error| from_durable(&error))
}

/// Options of a message that is to be stored.
pub(crate) fn publish_options(
    message_id: Option<String>,
    expected_last: Option<u64>,
    retain: bool,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<PublishOptions> {
    let mut options = PublishOptions {
        message_id,
        retain,
        expected_last_of_topic: expected_last,
        ..PublishOptions::default()
    };
    if let Some(timeout) = timeout {
        options.timeout = duration(timeout)?;
    }
    Ok(options)
}

/// Publishes a message and waits until a stream has it.
pub(crate) fn publish(
    endpoint: &broker::Endpoint,
    topic: &Bound<'_, PyAny>,
    data: &Bound<'_, PyAny>,
    options: PublishOptions,
) -> PyResult<StoredMessage> {
    let topic = topic::bytes_of(topic)?;
    let payload = crate::publisher::encoded(data)?;
    let pending =
        topics(endpoint)?.publish_encoded(&topic, Ok::<_, DurableError>(payload), options);
    let stored = wait_forever(data.py(), pending)?;
    stored
        .map(StoredMessage)
        .map_err(|error| from_durable(&error))
}

/// Withdraws the last value of a topic.
pub(crate) fn withdraw(
    endpoint: &broker::Endpoint,
    topic: &Bound<'_, PyAny>,
    options: PublishOptions,
) -> PyResult<StoredMessage> {
    let name = topic::bytes_of(topic)?;
    let pending = topics(endpoint)?.withdraw(&name, options);
    let stored = wait_forever(topic.py(), pending)?;
    stored
        .map(StoredMessage)
        .map_err(|error| from_durable(&error))
}

/// A place in a stream, as the argument of that name says it.
pub(crate) fn start(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<DurableStart> {
    let Some(value) = value else {
        return Ok(DurableStart::New);
    };
    if let Ok(text) = value.cast::<PyString>() {
        return start_of_text(name, &text.to_cow()?);
    }
    if let Ok(span) = value.cast::<PyDelta>() {
        return Ok(DurableStart::Ago(duration(span.as_any())?));
    }
    if let Ok(span) = value.cast::<Timespan>() {
        return Ok(DurableStart::Ago(duration(span.as_any())?));
    }
    if value.is_instance_of::<PyInt>() {
        return integer::<u64>(value, "the number of a message").map(DurableStart::Sequence);
    }
    point_in_time(value).map(DurableStart::Time)
}

fn start_of_text(name: &str, text: &str) -> PyResult<DurableStart> {
    match text {
        "first" => return Ok(DurableStart::First),
        "new" => return Ok(DurableStart::New),
        _ => {}
    }
    let ago = text.strip_prefix('-').and_then(|ago| {
        let unit = ago.chars().next_back()?;
        let number: u64 = ago.strip_suffix(unit)?.parse().ok()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        number.checked_mul(seconds).map(Duration::from_secs)
    });
    ago.map(DurableStart::Ago).ok_or_else(|| {
        PyValueError::new_err(format!(
            "expected `{name}` to be first, new, a span such as -1h, a time or the number of a message, \
             found `{text}`"
        ))
    })
}

/// What the keywords of a durable subscriber ask for.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Keywords<'py> {
    start: Option<Bound<'py, PyAny>>,
    ack: String,
    ack_wait: Option<Bound<'py, PyAny>>,
    unacked_max: Option<u32>,
    prefetch: Option<usize>,
    deliveries_max: Option<u64>,
    dead_letters: Option<Bound<'py, PyAny>>,
    stream: Option<String>,
    require_durable: bool,
    timeout: Option<Bound<'py, PyAny>>,
}

impl Keywords<'_> {
    pub(crate) fn options(self, name: String) -> PyResult<DurableOptions> {
        let defaults = DurableOptions::new(name);
        let span = |given: Option<Bound<'_, PyAny>>, otherwise| match given {
            Some(given) => duration(&given),
            None => Ok(otherwise),
        };
        let acknowledge = match self.ack.as_str() {
            "auto" => Acknowledge::Auto,
            "manual" => Acknowledge::Manual,
            other => {
                return Err(PyValueError::new_err(format!(
                    "expected `ack` to be auto or manual, found `{other}`"
                )));
            }
        };
        let dead_letters = match &self.dead_letters {
            Some(given) => Some(broker::Topic::from(topic::bytes_of(given)?.as_ref())),
            None => None,
        };
        Ok(DurableOptions {
            start: start("start", self.start.as_ref())?,
            acknowledge,
            ack_wait: span(self.ack_wait, defaults.ack_wait)?,
            unacked_max: self.unacked_max.unwrap_or(defaults.unacked_max),
            prefetch: self.prefetch.unwrap_or(defaults.prefetch),
            deliveries_max: self.deliveries_max,
            dead_letters,
            stream: self.stream,
            require_durable: self.require_durable,
            timeout: span(self.timeout, defaults.timeout)?,
            ..defaults
        })
    }
}

/// Makes a durable subscriber.
pub(crate) fn subscriber(
    endpoint: &broker::Endpoint,
    topics: &Bound<'_, PyAny>,
    name: String,
    keywords: Keywords<'_>,
) -> PyResult<DurableSubscriber> {
    let options = keywords.options(name)?;
    let prefixes = topic::several(topics)?;
    let pending = self::topics(endpoint)?.subscriber(prefixes, options);
    let made = wait_forever(topics.py(), pending)?;
    let made = made.map_err(|error| from_durable(&error))?;
    Ok(DurableSubscriber::shared(Arc::new(Owned::new(made))))
}

/// Makes a stream.
pub(crate) fn make_stream(
    py: Python<'_>,
    endpoint: &broker::Endpoint,
    options: StreamOptions,
) -> PyResult<StreamState> {
    let pending = self::topics(endpoint)?.make_stream(options);
    let made = wait_forever(py, pending)?;
    made.map(StreamState).map_err(|error| from_durable(&error))
}

/// A stream, as keywords describe it.
#[expect(clippy::too_many_arguments, reason = "they are keywords")]
pub(crate) fn stream_options(
    name: String,
    topics: &Bound<'_, PyAny>,
    replicas: u8,
    max_age: Option<&Bound<'_, PyAny>>,
    max_bytes: Option<u64>,
    max_messages: Option<u64>,
    max_messages_per_topic: Option<u64>,
    discard: &str,
    retained: bool,
    require_durable: bool,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<StreamOptions> {
    let defaults = StreamOptions::new(name, topic::several(topics)?);
    let discard = match discard {
        "old" => StreamDiscard::Old,
        "new" => StreamDiscard::New,
        other => {
            return Err(PyValueError::new_err(format!(
                "expected `discard` to be old or new, found `{other}`"
            )));
        }
    };
    Ok(StreamOptions {
        replicas,
        age_max: max_age.map(duration).transpose()?,
        bytes_max: max_bytes,
        messages_max: max_messages,
        topic_messages_max: max_messages_per_topic,
        retained,
        discard,
        require_durable,
        timeout: timeout.map_or(Ok(defaults.timeout), duration)?,
        ..defaults
    })
}

/// Where a message was stored: `stream`, `sequence`, `duplicate` (whether it was there already),
/// `message_id`.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct StoredMessage(pub(crate) broker::StoredMessage);

#[pymethods]
impl StoredMessage {
    /// The stream.
    #[getter]
    fn stream(&self) -> &str {
        &self.0.stream
    }

    /// The message's number in the stream.
    #[getter]
    fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Whether the stream had it already.
    #[getter]
    fn duplicate(&self) -> bool {
        self.0.is_duplicate
    }

    /// The message's id.
    #[getter]
    fn message_id(&self) -> &str {
        &self.0.message_id
    }

    fn __repr__(&self) -> String {
        format!(
            "StoredMessage(stream='{}', sequence={})",
            self.0.stream, self.0.sequence
        )
    }
}

/// A stream as it is: `name`, `replicas`, `messages`, `last_sequence`, `created` (whether the call made
/// it).
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct StreamState(pub(crate) broker::StreamState);

#[pymethods]
impl StreamState {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Servers that have a copy.
    #[getter]
    fn replicas(&self) -> u64 {
        self.0.replicas
    }

    /// Messages in it.
    #[getter]
    fn messages(&self) -> u64 {
        self.0.messages
    }

    /// The number of the last message.
    #[getter]
    fn last_sequence(&self) -> u64 {
        self.0.last_sequence
    }

    /// Whether the call made it.
    #[getter]
    fn created(&self) -> bool {
        self.0.is_new
    }

    fn __repr__(&self) -> String {
        format!(
            "StreamState(name='{}', replicas={}, messages={})",
            self.0.name, self.0.replicas, self.0.messages
        )
    }
}

/// A message of a stream: `topic` (str), `value`, `sequence` (its number in the stream), `time` (when the
/// stream got it, a datetime), `redelivered`, `deliveries`, `pending` (how many were behind it),
/// `withdrawn` (of last values: the topic has none any more).
///
/// It can be unpacked as `topic, value`. The value is made when it is first asked for; a set within a set
/// and within a key is a frozenset.
#[pyclass(frozen, weakref, module = "broker._broker")]
pub(crate) struct DurableMessage {
    message: broker::DurableMessage,
    value: PyOnceLock<Py<PyAny>>,
}

impl DurableMessage {
    pub(crate) fn new(message: broker::DurableMessage) -> Self {
        let value = PyOnceLock::new();
        Self { message, value }
    }
}

impl fmt::Debug for DurableMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DurableMessage")
            .field(&self.message)
            .finish()
    }
}

#[pymethods]
impl DurableMessage {
    /// The topic it was published under.
    #[getter]
    fn topic<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text::to_str(py, self.message.topic())
    }

    /// Its value.
    #[getter]
    fn value(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let value = self.value.get_or_try_init(py, || {
            decode(py, self.message.payload(), Flavour::Mixed).map(Bound::unbind)
        })?;
        Ok(value.clone_ref(py))
    }

    /// Its number in the stream; those that were published without waiting may share one.
    #[getter]
    fn sequence(&self) -> u64 {
        self.message.sequence()
    }

    /// When the stream got it, a datetime in UTC.
    #[getter]
    fn time<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        timestamp(py, self.message.time().ns())
    }

    /// Whether it was delivered before, to this subscriber or another one of the name.
    #[getter]
    fn redelivered(&self) -> bool {
        self.message.is_redelivered()
    }

    /// How often it was delivered, this time included.
    #[getter]
    fn deliveries(&self) -> u64 {
        self.message.deliveries()
    }

    /// How many messages for the subscriber were behind it when it was delivered.
    #[getter]
    fn pending(&self) -> u64 {
        self.message.pending()
    }

    /// Whether it says that its topic has no last value any more; its own value is None.
    #[getter]
    fn withdrawn(&self) -> bool {
        self.message.is_withdrawn()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pair = PyTuple::new(
            py,
            [self.topic(py)?.into_any(), self.value(py)?.into_bound(py)],
        )?;
        Ok(pair.try_iter()?.into_any())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "DurableMessage(topic={}, sequence={}, deliveries={})",
            self.topic(py)?.repr()?,
            self.message.sequence(),
            self.message.deliveries()
        ))
    }
}

/// Receives the messages of a cursor on a stream, each at least once; made by
/// `Endpoint.make_subscriber(..., durable=name)`.
///
/// With `ack="auto"` a message is acknowledged when the next one is asked for, or this is closed; with
/// "manual" when `ack` is called. What is not acknowledged within `ack_wait`, or when this is closed, is
/// delivered again.
#[pyclass(frozen, weakref, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct DurableSubscriber {
    queue: Arc<Owned<broker::DurableSubscriber>>,
}

impl DurableSubscriber {
    pub(crate) const fn shared(queue: Arc<Owned<broker::DurableSubscriber>>) -> Self {
        Self { queue }
    }

    pub(crate) fn queue(&self) -> PyResult<&broker::DurableSubscriber> {
        self.queue.get()
    }

    fn gather<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        limit: Limit,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let queue = self.queue()?;
        py.detach(|| queue.acknowledge_handed());
        let mut messages = Vec::new();
        loop {
            match queue.take(count.saturating_sub(messages.len()), &mut messages) {
                Ok(()) => {}
                Err(_) if !messages.is_empty() => break,
                Err(DurableError::Closed) => return Err(closed("durable subscriber closed")),
                Err(error) => return Err(from_durable(&error)),
            }
            if messages.len() >= count {
                break;
            }
            match wait(py, limit, |slice| queue.wait(slice).then_some(())) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(interrupted) => {
                    queue.put_back(messages);
                    return Err(interrupted);
                }
            }
        }
        let object = |message| Ok(Bound::new(py, DurableMessage::new(message))?.into_any());
        messages.into_iter().map(object).collect()
    }

    fn one<'py>(&self, py: Python<'py>, limit: Limit) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.gather(py, 1, limit)?.pop())
    }
}

#[pymethods]
impl DurableSubscriber {
    /// The name of the cursor.
    #[getter]
    fn name(&self) -> PyResult<&str> {
        Ok(self.queue()?.name())
    }

    /// The stream that the cursor is on.
    #[getter]
    fn stream(&self) -> PyResult<&str> {
        Ok(self.queue()?.stream())
    }

    /// Receives messages. get() waits for one; get(t: float) does so for at most t seconds and returns
    /// None when none came; get(n: int) waits for a list of n messages; get(n, t) returns a list of up
    /// to n that came within t seconds. By name: get(num=n, timeout=t).
    ///
    /// Raises ClosedError once this is closed or the endpoint is shut down, DurableError when the cursor
    /// was deleted.
    #[pyo3(signature = (*args, num = None, timeout = None))]
    fn get<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        num: Option<&Bound<'py, PyAny>>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = args.py();
        match Wanted::parse(args, num, timeout)? {
            Wanted::One(limit) => self.one(py, limit),
            Wanted::Many(count, limit) => {
                let messages = self.gather(py, count, limit)?;
                Ok(Some(PyList::new(py, messages)?.into_any()))
            }
        }
    }

    /// Waits for one message, for at most `timeout` (seconds, timedelta, Timespan; None: no limit).
    /// Returns None when none came.
    #[pyo3(signature = (timeout = None))]
    fn recv<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.one(py, self::timeout(timeout)?)
    }

    /// Waits for `count` messages, for at most `timeout` (seconds, timedelta, Timespan; None: no limit).
    /// Returns those that came.
    #[pyo3(signature = (count, timeout = None))]
    fn recv_many<'py>(
        &self,
        py: Python<'py>,
        count: Whole<usize>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let messages = self.gather(py, count.0, self::timeout(timeout)?)?;
        PyList::new(py, messages)
    }

    /// Up to `count` messages that are dealt with together: `with sub.batch(100) as messages`. They are
    /// acknowledged at the end of the block, and delivered again when it raises. Waits for the first one
    /// at most for `timeout`, and for no more than are there then.
    #[pyo3(signature = (count, timeout = None))]
    fn batch(
        slf: Bound<'_, Self>,
        count: Whole<usize>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<DurableBatch> {
        if count.0 == 0 {
            return Err(PyValueError::new_err(
                "expected a batch of at least one message",
            ));
        }
        Ok(DurableBatch {
            subscriber: slf.unbind(),
            count: count.0,
            limit: self::timeout(timeout)?,
            messages: Mutex::default(),
        })
    }

    /// Says that a message is dealt with; without one, that all that were received are. A second time it
    /// does nothing.
    #[pyo3(signature = (message = None))]
    fn ack(&self, py: Python<'_>, message: Option<&Bound<'_, DurableMessage>>) -> PyResult<()> {
        let queue = self.queue()?;
        let message = message.map(|it| &it.get().message);
        py.detach(|| match message {
            Some(message) => queue.ack(message),
            None => queue.ack_all(),
        });
        Ok(())
    }

    /// Has a message delivered again, after `delay` (seconds, timedelta, Timespan).
    #[pyo3(signature = (message, delay = None))]
    fn retry(
        &self,
        py: Python<'_>,
        message: &Bound<'_, DurableMessage>,
        delay: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let queue = self.queue()?;
        let delay = delay.map_or(Ok(Duration::ZERO), duration)?;
        let message = &message.get().message;
        py.detach(|| queue.retry(message, delay));
        Ok(())
    }

    /// Says that a message is being worked on: `ack_wait` begins anew.
    fn keep(&self, py: Python<'_>, message: &Bound<'_, DurableMessage>) -> PyResult<()> {
        let queue = self.queue()?;
        let message = &message.get().message;
        py.detach(|| queue.keep(message));
        Ok(())
    }

    /// Says that a message cannot be dealt with, and why: it becomes a dead letter and is not delivered
    /// any more.
    fn reject(
        &self,
        py: Python<'_>,
        message: &Bound<'_, DurableMessage>,
        reason: String,
    ) -> PyResult<()> {
        let queue = self.queue()?;
        let message = &message.get().message;
        py.detach(|| queue.reject(message, reason));
        Ok(())
    }

    /// The number of messages that wait here; those of a batch may count as one.
    fn available(&self) -> PyResult<usize> {
        Ok(self.queue()?.available())
    }

    /// A descriptor that is readable while messages wait. Never read from it; `recv(0)` takes what is there.
    fn fd(&self) -> PyResult<i32> {
        Ok(self.queue()?.fd()?)
    }

    /// Ends the subscriber; its cursor stays. With `ack="auto"` what was received is acknowledged;
    /// everything else is delivered again.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue()?;
        py.detach(|| queue.close());
        Ok(())
    }

    /// As `close`.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.close(py)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next message; the iteration ends when the endpoint is shut down or this is closed.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.one(py, Limit::Forever) {
            Ok(message) => Ok(message),
            Err(error) if is_closed(py, &error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Waits for the next message on the running loop of asyncio; no thread takes part. A task that is
    /// cancelled loses nothing.
    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        next_item(slf.as_any())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Closes it. After an exception nothing is acknowledged.
    #[pyo3(signature = (r#type, value, traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _exception = (value, traceback);
        let (queue, failed) = (self.queue()?, !r#type.is_none());
        py.detach(|| {
            if failed {
                queue.abandon()
            } else {
                queue.close()
            }
        });
        Ok(())
    }
}

/// Messages that are acknowledged together; made by `DurableSubscriber.batch`.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct DurableBatch {
    subscriber: Py<DurableSubscriber>,
    count: usize,
    limit: Limit,
    messages: Mutex<Vec<Py<DurableMessage>>>,
}

#[pymethods]
impl DurableBatch {
    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let subscriber = self.subscriber.get();
        let Some(first) = subscriber.one(py, self.limit)? else {
            return Ok(PyList::empty(py));
        };
        let mut messages = vec![first];
        if self.count > 1 {
            // What is there already: nothing of it is acknowledged before the end of the block.
            let queue = subscriber.queue()?;
            let mut more = Vec::new();
            let _ = queue.take(self.count - 1, &mut more);
            for message in more {
                messages.push(Bound::new(py, DurableMessage::new(message))?.into_any());
            }
        }
        let kept = messages
            .iter()
            .map(|it| Ok(it.cast::<DurableMessage>()?.clone().unbind()))
            .collect::<PyResult<Vec<_>>>()?;
        *self.messages.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        PyList::new(py, messages)
    }

    #[pyo3(signature = (r#type, value, traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _exception = (value, traceback);
        let failed = !r#type.is_none();
        let messages =
            std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner));
        let queue = self.subscriber.get().queue()?;
        for message in &messages {
            let message = &message.get().message;
            py.detach(|| {
                if failed {
                    queue.retry(message, Duration::ZERO);
                } else {
                    queue.ack(message);
                }
            });
        }
        Ok(())
    }
}
