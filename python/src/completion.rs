//! `CompletionQueue`: what one event loop waits for, behind one descriptor.
//!
//! Operations are begun by methods that never wait. What is not done at once gets a number; the loop
//! watches the queue's descriptor and drains numbers and results. Threads of the runtime note what is
//! complete and never take the interpreter.

mod stores;

use std::sync::Arc;
use std::time::Duration;

use broker::{Completion, DurableError, OperationId, Submitted};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use self::stores::{Found, Read, Request};
use crate::argument::{Flag, Seconds, Whole};
use crate::decode::{Flavour, decode};
use crate::durable::{self, DurableSubscriber, StoredMessage, StreamState};
use crate::endpoint::Endpoint;
use crate::error::{CallError, from_broker, from_durable, from_store};
use crate::logs::Logs;
use crate::peer_address::{RETRY, endpoint_id, peer_url, retry};
use crate::process::Owned;
use crate::publisher::write;
use crate::status_subscriber::StatusSubscriber;
use crate::store::event::StoreEvents;
use crate::store::{Attached, Store, attach, expiry, with_both, with_encoded};
use crate::stream_reader::{self, StreamReader};
use crate::subscriber::Subscriber;
use crate::types::topic;

/// Completions that one call of `drain` returns unless it is asked for another number: a loop is to come
/// to its other work in between.
const DRAINED: Whole<usize> = Whole(1024);

/// What an operation ends with.
#[derive(Debug)]
enum Outcome {
    /// A message is through.
    Published,
    Peered(Result<(), broker::Error>),
    Changed(Result<(), broker::StoreError>),
    Unique(Result<bool, broker::StoreError>),
    Value(Result<Option<Vec<u8>>, broker::StoreError>),
    Diagnosed(Option<broker_cli::Diagnosis>),
    Attached(Result<Arc<Attached>, broker::StoreError>),
    Found(Result<Found, broker::StoreError>),
    Stored(Result<broker::StoredMessage, DurableError>),
    StreamMade(Result<broker::StreamState, DurableError>),
    Subscribed(Result<Arc<Owned<broker::DurableSubscriber>>, DurableError>),
    Reading(Result<Arc<Owned<broker::StreamReader>>, DurableError>),
    /// A ping was answered after that time, or never will be.
    Answered(Option<Duration>),
    ShutDown,
}

impl Outcome {
    fn to_object(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Published
            | Self::Peered(Ok(()))
            | Self::Changed(Ok(()))
            | Self::ShutDown
            | Self::Answered(None) => Ok(py.None()),
            Self::Answered(Some(time)) => Ok(time.as_secs_f64().into_pyobject(py)?.into()),
            Self::Found(found) => stores::object_of(py, found),
            Self::Peered(Err(error)) => Err(from_broker(error)),
            Self::Unique(Ok(was_absent)) => Ok(was_absent.into_pyobject(py)?.to_owned().into()),
            Self::Value(Ok(None)) => Ok(py.None()),
            Self::Value(Ok(Some(bytes))) => Ok(decode(py, bytes, Flavour::Mixed)?.unbind()),
            Self::Diagnosed(found) => {
                let found = found.as_ref().map(|it| {
                    let (what, means) = (it.what.as_str(), it.means.as_str());
                    (it.code, what, means, it.remedies.as_slice())
                });
                Ok(found.into_pyobject(py)?.unbind())
            }
            Self::Stored(Ok(stored)) => {
                let stored = StoredMessage(stored.clone());
                Ok(stored.into_pyobject(py)?.into_any().unbind())
            }
            Self::StreamMade(Ok(state)) => {
                let state = StreamState(state.clone());
                Ok(state.into_pyobject(py)?.into_any().unbind())
            }
            Self::Subscribed(Ok(made)) => {
                let subscriber = DurableSubscriber::shared(made.clone());
                Ok(subscriber.into_pyobject(py)?.into_any().unbind())
            }
            Self::Reading(Ok(made)) => {
                let reader = StreamReader::shared(made.clone());
                Ok(reader.into_pyobject(py)?.into_any().unbind())
            }
            Self::Stored(Err(error))
            | Self::StreamMade(Err(error))
            | Self::Subscribed(Err(error))
            | Self::Reading(Err(error)) => Err(from_durable(error)),
            Self::Attached(Ok(attached)) => {
                let store = Store::shared(attached.clone());
                Ok(store.into_pyobject(py)?.into_any().unbind())
            }
            Self::Changed(Err(error))
            | Self::Unique(Err(error))
            | Self::Value(Err(error))
            | Self::Attached(Err(error)) => Err(from_store(error)),
        }
    }
}

/// What one event loop waits for, behind one descriptor: `broker.aio.Completions` drives it.
///
/// Methods that begin something return (number, result): the number is None when the result is there
/// at once; otherwise `drain` returns number and result later. They never wait.
#[pyclass(frozen, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct CompletionQueue(Owned<broker::CompletionQueue<Outcome>>);

impl CompletionQueue {
    /// Begins to wait for a future.
    fn begin<'py>(
        &self,
        py: Python<'py>,
        future: impl Future<Output = Outcome> + Send + 'static,
    ) -> PyResult<Bound<'py, PyTuple>> {
        Self::begun(py, self.0.get()?.submit(future))
    }

    /// Number and result of an operation that was begun.
    fn begun<'py>(py: Python<'py>, submitted: Submitted<Outcome>) -> PyResult<Bound<'py, PyTuple>> {
        match submitted {
            Submitted::Ready(outcome) => (py.None(), outcome.to_object(py)?).into_pyobject(py),
            Submitted::Pending(id) => (id.get(), py.None()).into_pyobject(py),
        }
    }
}

#[pymethods]
impl CompletionQueue {
    #[new]
    fn py_new() -> PyResult<Self> {
        Ok(Self(Owned::new(broker::CompletionQueue::new()?)))
    }

    /// The descriptor, readable while `drain` may have something. Neither read nor close it.
    fn fd(&self) -> PyResult<i32> {
        Ok(self.0.get()?.fd())
    }

    /// Publishes a message. The result is None once all that want it have it or lost it to their
    /// overflow policy.
    fn publish<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        topic: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let topic = topic::bytes_of(topic)?;
        let endpoint = endpoint.get().live()?;
        let offered = endpoint.offer(None, &topic, |out| write(value, out));
        let submitted = match offered.map_err(|failure: CallError| PyErr::from(failure))? {
            None => Submitted::Ready(Outcome::Published),
            Some(blocked) => queue.submit(async move {
                blocked.finished().await;
                Outcome::Published
            }),
        };
        Self::begun(py, submitted)
    }

    /// Publishes a message into a stream; arguments as for `Endpoint.publish`. The result is a
    /// StoredMessage.
    #[pyo3(signature = (endpoint, topic, value, retain, message_id, expected_last, timeout))]
    #[expect(clippy::too_many_arguments, reason = "they are those of a publish")]
    fn publish_durable<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        topic: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        retain: bool,
        message_id: Option<String>,
        expected_last: Option<u64>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let options = durable::publish_options(message_id, expected_last, retain, timeout)?;
        let topic = topic::bytes_of(topic)?;
        let payload = crate::publisher::encoded(value)?;
        let topics = durable::topics(endpoint.get().live()?)?;
        let pending = topics.publish_encoded(&topic, Ok::<_, DurableError>(payload), options);
        self.begin(py, async move { Outcome::Stored(pending.await) })
    }

    /// Withdraws a last value; arguments as for `Endpoint.withdraw`. The result is a StoredMessage.
    #[pyo3(signature = (endpoint, topic, message_id, expected_last, timeout))]
    fn withdraw<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        topic: &Bound<'py, PyAny>,
        message_id: Option<String>,
        expected_last: Option<u64>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let options = durable::publish_options(message_id, expected_last, true, timeout)?;
        let topic = topic::bytes_of(topic)?;
        let topics = durable::topics(endpoint.get().live()?)?;
        let pending = topics.withdraw(&topic, options);
        self.begin(py, async move { Outcome::Stored(pending.await) })
    }

    /// Makes a stream; arguments as for `Endpoint.make_stream`. The result is a StreamState.
    #[pyo3(signature = (endpoint, name, topics, replicas, max_age, max_bytes, max_messages,
                        max_messages_per_topic, discard, retained, require_durable, timeout))]
    #[expect(clippy::too_many_arguments, reason = "they are those of a stream")]
    fn make_stream<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        name: String,
        topics: &Bound<'py, PyAny>,
        replicas: u8,
        max_age: Option<&Bound<'py, PyAny>>,
        max_bytes: Option<u64>,
        max_messages: Option<u64>,
        max_messages_per_topic: Option<u64>,
        discard: &str,
        retained: bool,
        require_durable: bool,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let options = durable::stream_options(
            name,
            topics,
            replicas,
            max_age,
            max_bytes,
            max_messages,
            max_messages_per_topic,
            discard,
            retained,
            require_durable,
            timeout,
        )?;
        let pending = durable::topics(endpoint.get().live()?)?.make_stream(options);
        self.begin(py, async move { Outcome::StreamMade(pending.await) })
    }

    /// Makes a durable subscriber; arguments as for `Endpoint.make_durable_subscriber`. The result is a
    /// DurableSubscriber.
    fn durable_subscriber<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        topics: &Bound<'py, PyAny>,
        name: String,
        options: durable::Keywords<'py>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let (options, prefixes) = (options.options(name)?, topic::several(topics)?);
        let pending = durable::topics(endpoint.get().live()?)?.subscriber(prefixes, options);
        self.begin(py, async move {
            Outcome::Subscribed(pending.await.map(|made| Arc::new(Owned::new(made))))
        })
    }

    /// Makes a subscriber to last values; arguments as for `Endpoint.make_retained_subscriber`. The result
    /// is a StreamReader.
    #[pyo3(signature = (endpoint, topics, stream, prefetch, require_durable, timeout))]
    #[expect(clippy::too_many_arguments, reason = "they are those of a subscriber")]
    fn retained_subscriber<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        topics: &Bound<'py, PyAny>,
        stream: Option<String>,
        prefetch: Option<usize>,
        require_durable: bool,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let options = stream_reader::retained_options(stream, prefetch, require_durable, timeout)?;
        let prefixes = topic::several(topics)?;
        let pending = durable::topics(endpoint.get().live()?)?.retained(prefixes, options);
        self.begin(py, async move {
            Outcome::Reading(pending.await.map(|made| Arc::new(Owned::new(made))))
        })
    }

    /// Begins a replay; arguments as for `Endpoint.replay`. The result is a StreamReader.
    #[pyo3(signature = (endpoint, topics, since, until, speed, stream, prefetch, timeout))]
    #[expect(clippy::too_many_arguments, reason = "they are those of a replay")]
    fn replay<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        topics: &Bound<'py, PyAny>,
        since: Option<&Bound<'py, PyAny>>,
        until: Option<&Bound<'py, PyAny>>,
        speed: Option<f64>,
        stream: Option<String>,
        prefetch: Option<usize>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let options =
            stream_reader::replay_options(since, until, speed, stream, prefetch, timeout)?;
        let prefixes = topic::several(topics)?;
        let pending = durable::topics(endpoint.get().live()?)?.replay(prefixes, options);
        self.begin(py, async move {
            Outcome::Reading(pending.await.map(|made| Arc::new(Owned::new(made))))
        })
    }

    /// Peers; arguments as for `Endpoint.peer`. The result is None once the other side's subscriptions
    /// are known, or BrokerError with the reason.
    #[pyo3(signature = (endpoint, addr, port = None, retry = RETRY, *, jitter = Flag(false)),
           text_signature = "($self, endpoint, addr, port=None, retry=10.0, *, jitter=False)")]
    fn peer<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        addr: &Bound<'py, PyAny>,
        port: Option<&Bound<'py, PyAny>>,
        retry: Seconds,
        jitter: Flag,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let url = peer_url(addr, port)?;
        let endpoint = endpoint.get().live()?;
        let pending = endpoint.peer_url(url, self::retry(retry.0, jitter.0)?);
        Self::begun(
            py,
            queue.submit(async move { Outcome::Peered(pending.await) }),
        )
    }

    /// Looks why there is no peering with an address, which an endpoint tries and was told `text` of, for at
    /// most `limit`. The result is a tuple of code, what is wrong, what that means and a list of what to try,
    /// or None when nothing is found in time.
    fn diagnose<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        addr: &Bound<'py, PyAny>,
        text: String,
        limit: Seconds,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let url = peer_url(addr, None)?;
        let options = endpoint.get().live()?.options().clone();
        let limit = Duration::try_from_secs_f64(limit.0.max(0.0)).unwrap_or(Duration::MAX);
        let looking = broker_cli::diagnose(url, options, text, limit);
        Self::begun(
            py,
            queue.submit(async move { Outcome::Diagnosed(looking.await) }),
        )
    }

    /// Attaches the master of a data store; arguments as for `Endpoint.open_master`. The result is a Store
    /// once its file is open, or StoreError.
    #[pyo3(signature = (endpoint, name, r#type = None, opts = None))]
    fn open_master<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        name: &Bound<'py, PyAny>,
        r#type: Option<&Bound<'py, PyAny>>,
        opts: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let endpoint = endpoint.get();
        endpoint.live()?;
        let attaching = attach::master_async(endpoint.owned()?, name, r#type, opts)?;
        let submitted =
            queue.submit(async move { Outcome::Attached(attaching.await.map(Arc::new)) });
        Self::begun(py, submitted)
    }

    /// Reads a key of a store once what was asked for before is in effect. The result is its value, None
    /// when it is absent, or StoreError.
    fn get<'py>(
        &self,
        store: &Bound<'py, Store>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let attached = store.get().attached()?;
        let pending = with_encoded(key, |key| Ok(attached.live()?.request_value(key)))?;
        let submitted = queue.submit(async move { Outcome::Value(pending.await) });
        Self::begun(key.py(), submitted)
    }

    /// Sets a key of a store; `expiry` as for `Store.put`. The result is None once the request is made,
    /// or StoreError.
    #[pyo3(signature = (store, key, value, expiry = None))]
    fn put<'py>(
        &self,
        store: &Bound<'py, Store>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        expiry: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let expiry = self::expiry(expiry)?;
        let attached = store.get().attached()?;
        let live = attached.live()?.clone();
        let request = with_both(
            key,
            |out| write(value, out),
            |key, value| Ok((key.to_vec(), value.to_vec())),
        )?;
        let submitted = queue.submit(async move {
            let (key, value) = request;
            let change = broker::store::Change::Put { expiry };
            Outcome::Changed(live.request_async(change, &key, &value).await)
        });
        Self::begun(key.py(), submitted)
    }

    /// Sets a key of a store that is absent. The result is whether it was, or StoreError. An answer that
    /// never comes never ends: give it up with `cancel`.
    #[pyo3(signature = (store, key, value, expiry = None))]
    fn put_unique<'py>(
        &self,
        store: &Bound<'py, Store>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        expiry: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let expiry = self::expiry(expiry)?;
        let attached = store.get().attached()?;
        let asked = with_both(
            key,
            |out| write(value, out),
            |key, value| {
                let asked = attached.live()?.offer_unique(key, value, expiry);
                asked.map_err(|error| from_store(&error))
            },
        )?;
        let submitted = queue.submit(async move { Outcome::Unique(asked.answered().await) });
        Self::begun(key.py(), submitted)
    }

    /// Changes a store as the method of `Store` with that name does: "erase", "clear", "increment",
    /// "decrement", "append", "insert_into" (`second` is the value at an index of a table),
    /// "remove_from", "push", "pop" or "put". The result is None once the request is made, or StoreError.
    #[pyo3(signature = (store, name, key, operand = None, second = None, expiry = None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "those of the methods it stands for"
    )]
    fn change<'py>(
        &self,
        py: Python<'py>,
        store: &Bound<'_, Store>,
        name: &str,
        key: &Bound<'_, PyAny>,
        operand: Option<&Bound<'_, PyAny>>,
        second: Option<&Bound<'_, PyAny>>,
        expiry: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let live = store.get().attached()?.live()?.clone();
        let none = py.None().into_bound(py);
        let request = Request::new(name, key, operand.unwrap_or(&none), second, expiry)?;
        let submitted = queue.submit(async move { Outcome::Changed(request.make(live).await) });
        Self::begun(py, submitted)
    }

    /// Reads a store as the method of `Store` with that name does: "exists", "get_index_from_value",
    /// "keys", "snapshot", or "count" for the number of entries. The result is what was read, or
    /// StoreError.
    #[pyo3(signature = (store, name, key = None, index = None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        store: &Bound<'_, Store>,
        name: &str,
        key: Option<&Bound<'_, PyAny>>,
        index: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let live = store.get().attached()?.live()?.clone();
        let read = Read::named(name)?;
        let none = py.None().into_bound(py);
        let (key, index) = with_both(
            key.unwrap_or(&none),
            |out| write(index.unwrap_or(&none), out),
            |key, index| Ok((key.to_vec(), index.to_vec())),
        )?;
        let submitted =
            queue.submit(async move { Outcome::Found(read.run(live, key, index).await) });
        Self::begun(py, submitted)
    }

    /// Waits until master and clones have everything of each other, for at most `limit`. The result is
    /// whether they have.
    #[pyo3(signature = (store, limit))]
    fn idle<'py>(
        &self,
        py: Python<'py>,
        store: &Bound<'_, Store>,
        limit: Seconds,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let live = store.get().attached()?.live()?.clone();
        let limit = Duration::try_from_secs_f64(limit.0.max(0.0)).unwrap_or(Duration::MAX);
        let submitted =
            queue.submit(async move { Outcome::Found(stores::idle(live, limit).await) });
        Self::begun(py, submitted)
    }

    /// Sends a native peer a ping. The result is the seconds until its answer, which also says that all
    /// that was published for it before has arrived; None when there will be no answer.
    fn ping<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
        peer: &str,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let pending = endpoint.get().live()?.ping(endpoint_id(peer)?);
        Self::begun(
            py,
            queue.submit(async move { Outcome::Answered(pending.await) }),
        )
    }

    /// Shuts an endpoint down. The result is None once that is done.
    fn shutdown<'py>(
        &self,
        py: Python<'py>,
        endpoint: &Bound<'py, Endpoint>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let queue = self.0.get()?;
        let pending = endpoint.get().any()?.shutdown();
        let submitted = queue.submit(async move {
            pending.await;
            Outcome::ShutDown
        });
        Self::begun(py, submitted)
    }

    /// Watches a Subscriber, StatusSubscriber, StoreEvents, Logs, DurableSubscriber or StreamReader: returns a number that `drain` tells with
    /// the result None once there is something to take or it is closed, and again after `resume`. End it
    /// with `cancel`.
    fn watch(&self, source: &Bound<'_, PyAny>) -> PyResult<u64> {
        let queue = self.0.get()?;
        let id = if let Ok(subscriber) = source.cast::<Subscriber>() {
            subscriber.get().shared()?.inbox.queue()?.watch(queue)
        } else if let Ok(subscriber) = source.cast::<StatusSubscriber>() {
            subscriber.get().shared()?.inbox.queue()?.watch(queue)
        } else if let Ok(events) = source.cast::<StoreEvents>() {
            events.get().inbox()?.queue()?.subscriber().watch(queue)
        } else if let Ok(logs) = source.cast::<Logs>() {
            logs.get().subscriber()?.inbox.queue()?.watch(queue)
        } else if let Ok(subscriber) = source.cast::<DurableSubscriber>() {
            subscriber.get().queue()?.watch(queue)
        } else if let Ok(reader) = source.cast::<StreamReader>() {
            reader.get().reader()?.watch(queue)
        } else {
            return Err(PyTypeError::new_err(format!(
                "expected a Subscriber, StatusSubscriber, StoreEvents, Logs, DurableSubscriber or \
                 StreamReader, found {}",
                source.get_type().name()?
            )));
        };
        Ok(id.get())
    }

    /// Looks at what is watched again, after it was told of: returns True when there is something now;
    /// otherwise `drain` tells once there is.
    fn resume(&self, number: u64) -> PyResult<bool> {
        Ok(self.0.get()?.resume(OperationId::new(number)))
    }

    /// Gives an operation up: `drain` tells nothing of it any more. Returns whether there was one.
    fn cancel(&self, number: u64) -> PyResult<bool> {
        Ok(self.0.get()?.remove(OperationId::new(number)))
    }

    /// Returns what is complete, as (number, result, exception or None), without waiting: up to `max` of
    /// them. The descriptor stays readable when there is more.
    #[pyo3(signature = (max = DRAINED), text_signature = "($self, max=1024)")]
    fn drain<'py>(&self, py: Python<'py>, max: Whole<usize>) -> PyResult<Bound<'py, PyList>> {
        let mut completions = Vec::new();
        self.0.get()?.drain(max.0, &mut completions);
        let objects = completions.iter().map(|completion| match completion {
            Completion::Readable(id) => (id.get(), py.None(), py.None()),
            Completion::Finished(id, outcome) => match outcome.to_object(py) {
                Ok(result) => (id.get(), result, py.None()),
                Err(error) => (id.get(), py.None(), error.into_value(py).into_any()),
            },
        });
        PyList::new(py, objects.collect::<Vec<_>>())
    }

    /// The number of operations that are neither over nor given up.
    fn __len__(&self) -> PyResult<usize> {
        Ok(self.0.get()?.len())
    }

    /// True, also without operations.
    fn __bool__(&self) -> bool {
        true
    }
}
