//! `Publisher`: publishes under one topic; and how any publish waits for room.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use broker::BlockedPublish;
use broker::data::Encoder;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::encode::encode;
use crate::error::{CallError, Fallible, closed};
use crate::process::Owned;
use crate::types::topic;
use crate::wait::{Limit, wait};
use crate::zeek::Message;

/// Encodes the value of a message. Events come first: they are what programs publish.
pub(crate) fn write(value: &Bound<'_, PyAny>, out: &mut Vec<u8>) -> Fallible {
    if let Ok(message) = value.cast::<Message>() {
        out.extend_from_slice(message.get().encoded().bytes());
        return Ok(());
    }
    encode(value, &mut Encoder::new(out))
}

/// Encodes the value of a message ahead of time.
pub(crate) fn encoded(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    write(value, &mut bytes)?;
    Ok(bytes)
}

/// Topics and encoded values of a batch of pairs.
pub(crate) fn encoded_pairs(batch: &Bound<'_, PyTuple>) -> PyResult<Vec<(Vec<u8>, Vec<u8>)>> {
    let pairs = batch.iter().map(|item| {
        let pair: Vec<Bound<'_, PyAny>> = item.try_iter()?.collect::<PyResult<_>>()?;
        let [topic, value] = pair.as_slice() else {
            return Err(PyValueError::new_err(format!(
                "expected a topic and a value, found {} items",
                pair.len()
            )));
        };
        Ok((topic::sendable(topic)?.into_owned(), encoded(value)?))
    });
    pairs.collect()
}

/// Waits until a message that found no room is through.
///
/// # Errors
///
/// `ClosedError` when the endpoint was shut down: nothing of the message goes anywhere.
pub(crate) fn wait_if_blocked(
    py: Python<'_>,
    offered: Result<Option<BlockedPublish>, CallError>,
) -> PyResult<()> {
    match offered {
        Ok(None) => Ok(()),
        Ok(Some(mut blocked)) => {
            wait(py, Limit::Forever, |slice| {
                blocked.wait_timeout(slice).then_some(())
            })?;
            Ok(())
        }
        Err(failure) => Err(failure.into()),
    }
}

/// What the object made by an endpoint and the objects wrapped around it share.
#[derive(Debug)]
struct SharedPublisher {
    publisher: Owned<broker::Publisher>,
    /// A pipe that is always readable: publishing can always be tried.
    ready: Mutex<Option<(PipeReader, PipeWriter)>>,
}

/// Publishes messages under one topic; made by `Endpoint.make_publisher`.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Publisher(Mutex<Option<Arc<SharedPublisher>>>);

impl Publisher {
    pub(crate) fn new(publisher: broker::Publisher) -> Self {
        let shared = SharedPublisher {
            publisher: Owned::new(publisher),
            ready: Mutex::default(),
        };
        Self(Mutex::new(Some(Arc::new(shared))))
    }

    fn shared(&self) -> PyResult<Arc<SharedPublisher>> {
        // In two steps: making an exception can let another thread run, which may want the lock.
        let shared = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        shared.ok_or_else(|| closed("publisher was reset"))
    }
}

#[pymethods]
impl Publisher {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(internal_publisher)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(Mutex::default())
    }

    fn __init__(&self, internal_publisher: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(internal) = internal_publisher.cast::<Self>() else {
            return Err(PyTypeError::new_err(
                "publishers are made by Endpoint.make_publisher",
            ));
        };
        let shared = internal.get().shared()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared);
        Ok(())
    }

    /// Publishes one message. Waits while a peer that takes messages has no room for more.
    ///
    /// Raises TypeError for values without a counterpart, OverflowError for numbers and times
    /// that do not fit, ClosedError once the endpoint is shut down or gone.
    fn publish(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let shared = self.shared()?;
        let publisher = shared.publisher.get()?;
        wait_if_blocked(py, publisher.offer(|out| write(data, out)))
    }

    /// Publishes each argument as one message. One that cannot be converted sends none.
    #[pyo3(signature = (*batch))]
    fn publish_batch(&self, batch: &Bound<'_, PyTuple>) -> PyResult<()> {
        let py = batch.py();
        let messages: Vec<Vec<u8>> = batch
            .iter()
            .map(|item| encoded(&item))
            .collect::<PyResult<_>>()?;
        let shared = self.shared()?;
        for bytes in messages {
            let offered = shared.publisher.get()?.offer(|out| -> Fallible {
                out.extend_from_slice(&bytes);
                Ok(())
            });
            wait_if_blocked(py, offered)?;
        }
        Ok(())
    }

    /// The number of messages that wait for room.
    fn buffered(&self) -> PyResult<usize> {
        Ok(self.shared()?.publisher.get()?.buffered())
    }

    /// The number of messages that fit before publishing waits.
    fn capacity(&self) -> PyResult<usize> {
        Ok(self.shared()?.publisher.get()?.capacity())
    }

    /// The number of messages that can be published right now without waiting.
    fn demand(&self) -> PyResult<usize> {
        self.free_capacity()
    }

    /// The number of messages that can be published right now without waiting.
    fn free_capacity(&self) -> PyResult<usize> {
        Ok(self.capacity()?.saturating_sub(self.buffered()?))
    }

    /// Always 0: rates are not measured.
    fn send_rate(&self) -> PyResult<usize> {
        self.shared()?.publisher.get().map(|_| 0)
    }

    /// A descriptor that is readable: publishing can always be tried, and waits if it must.
    fn fd(&self) -> PyResult<i32> {
        let shared = self.shared()?;
        shared.publisher.get()?;
        let mut ready = shared.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((reader, _)) = &*ready {
            return Ok(reader.as_raw_fd());
        }
        let (reader, mut writer) = std::io::pipe()?;
        writer.write_all(b"!")?;
        let descriptor = reader.as_raw_fd();
        *ready = Some((reader, writer));
        Ok(descriptor)
    }

    /// Does nothing: what was published is on its way.
    fn drop_all_on_destruction(&self) -> PyResult<()> {
        self.shared().map(|_| ())
    }

    /// Gives the publisher up. Other methods raise ClosedError from then on.
    fn reset(&self, py: Python<'_>) {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(shared));
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
}
