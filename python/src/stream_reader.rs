//! Readers of a stream in order: last values, and replays.

use std::sync::Arc;

use broker::{DurableError, DurableStart, ReplayOptions, RetainedOptions};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::argument::Whole;
use crate::durable::{DurableMessage, start, topics};
use crate::error::{closed, from_durable, is_closed};
use crate::inbox::{Wanted, next_item};
use crate::process::Owned;
use crate::types::topic;
use crate::wait::{Limit, timeout, wait, wait_forever};
use crate::websocket::duration;

/// Subscribes to last values.
pub(crate) fn retained(
    endpoint: &broker::Endpoint,
    topics: &Bound<'_, PyAny>,
    options: RetainedOptions,
) -> PyResult<StreamReader> {
    let prefixes = topic::several(topics)?;
    let pending = self::topics(endpoint)?.retained(prefixes, options);
    StreamReader::made(wait_forever(topics.py(), pending)?)
}

/// Options of subscribers to last values.
pub(crate) fn retained_options(
    stream: Option<String>,
    prefetch: Option<usize>,
    require_durable: bool,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<RetainedOptions> {
    let defaults = RetainedOptions::default();
    Ok(RetainedOptions {
        stream,
        prefetch: prefetch.unwrap_or(defaults.prefetch),
        require_durable,
        timeout: timeout.map_or(Ok(defaults.timeout), duration)?,
    })
}

/// Replays what a stream has.
pub(crate) fn replay(
    endpoint: &broker::Endpoint,
    topics: &Bound<'_, PyAny>,
    options: ReplayOptions,
) -> PyResult<StreamReader> {
    let prefixes = topic::several(topics)?;
    let pending = self::topics(endpoint)?.replay(prefixes, options);
    StreamReader::made(wait_forever(topics.py(), pending)?)
}

/// Options of replays.
pub(crate) fn replay_options(
    since: Option<&Bound<'_, PyAny>>,
    until: Option<&Bound<'_, PyAny>>,
    speed: Option<f64>,
    stream: Option<String>,
    prefetch: Option<usize>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<ReplayOptions> {
    let defaults = ReplayOptions::default();
    Ok(ReplayOptions {
        since: match since {
            None => DurableStart::First,
            since => start("since", since)?,
        },
        until: until.map(|it| start("until", Some(it))).transpose()?,
        speed: speed.filter(|speed| *speed != 0.0),
        stream,
        prefetch: prefetch.unwrap_or(defaults.prefetch),
        timeout: timeout.map_or(Ok(defaults.timeout), duration)?,
    })
}

/// Receives messages of a stream in their order, each once and without acknowledgements; made by
/// `Endpoint.make_subscriber(..., retained=True)` and `Endpoint.replay`.
///
/// A replay ends: the iteration is over then, and calls that receive raise ClosedError. Connections to the
/// servers come and go without an error, a gap or a message that comes twice.
#[pyclass(frozen, weakref, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct StreamReader {
    reader: Arc<Owned<broker::StreamReader>>,
}

impl StreamReader {
    fn made(made: Result<broker::StreamReader, DurableError>) -> PyResult<Self> {
        let made = made.map_err(|error| from_durable(&error))?;
        Ok(Self::shared(Arc::new(Owned::new(made))))
    }

    pub(crate) const fn shared(reader: Arc<Owned<broker::StreamReader>>) -> Self {
        Self { reader }
    }

    pub(crate) fn reader(&self) -> PyResult<&broker::StreamReader> {
        self.reader.get()
    }

    fn gather<'py>(
        &self,
        py: Python<'py>,
        count: usize,
        limit: Limit,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let reader = self.reader()?;
        let mut messages = Vec::new();
        while messages.len() < count {
            match reader.take(count.saturating_sub(messages.len()), &mut messages) {
                Ok(()) => {}
                Err(_) if !messages.is_empty() => break,
                Err(DurableError::Closed) => return Err(closed("reader of a stream closed")),
                Err(error) => return Err(from_durable(&error)),
            }
            if messages.len() >= count {
                break;
            }
            if reader.is_finished() {
                if messages.is_empty() && count > 0 {
                    return Err(closed("the replay is at its end"));
                }
                break;
            }
            match wait(py, limit, |slice| reader.wait(slice).then_some(())) {
                Ok(Some(())) => {}
                Ok(None) => break,
                Err(interrupted) => {
                    reader.put_back(messages);
                    return Err(interrupted);
                }
            }
        }
        let object = |message| Ok(Bound::new(py, DurableMessage::new(message))?.into_any());
        messages.into_iter().map(object).collect()
    }

    fn one<'py>(&self, py: Python<'py>, limit: Limit) -> PyResult<Option<Bound<'py, PyAny>>> {
        let reader = self.reader()?;
        // What is there is taken without a list around it.
        if let Ok(Some(message)) = reader.try_recv() {
            return Ok(Some(
                Bound::new(py, DurableMessage::new(message))?.into_any(),
            ));
        }
        Ok(self.gather(py, 1, limit)?.pop())
    }
}

#[pymethods]
impl StreamReader {
    /// The stream that is read.
    #[getter]
    fn stream(&self) -> PyResult<&str> {
        Ok(self.reader()?.stream())
    }

    /// Whether a replay is at its end: everything was received.
    #[getter]
    fn finished(&self) -> PyResult<bool> {
        Ok(self.reader()?.is_finished())
    }

    /// Whether the last values that there were at the beginning were received, all of them; what comes
    /// from then on are changes.
    #[getter]
    fn current(&self) -> PyResult<bool> {
        Ok(self.reader()?.is_current())
    }

    /// Receives messages. get() waits for one; get(t: float) does so for at most t seconds and returns
    /// None when none came; get(n: int) waits for a list of n messages; get(n, t) returns a list of up
    /// to n that came within t seconds. By name: get(num=n, timeout=t).
    ///
    /// Raises ClosedError once this is closed, the endpoint is shut down or a replay is at its end,
    /// DurableError when it cannot go on.
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

    /// The number of messages that wait here; those of a batch may count as one.
    fn available(&self) -> PyResult<usize> {
        Ok(self.reader()?.available())
    }

    /// A descriptor that is readable while messages wait. Never read from it; `recv(0)` takes what is there.
    fn fd(&self) -> PyResult<i32> {
        Ok(self.reader()?.fd()?)
    }

    /// Ends it. Nothing is left behind on the servers.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let reader = self.reader()?;
        py.detach(|| reader.close());
        Ok(())
    }

    /// As `close`.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.close(py)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next message; the iteration ends with the replay, and when the endpoint is shut down or this is
    /// closed.
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

    #[pyo3(signature = (r#type, value, traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _exception = (r#type, value, traceback);
        self.close(py)
    }
}
