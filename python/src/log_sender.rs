//! `broker._broker.zeek.LogSender`: records for a logger of a cluster over ZeroMQ.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::zeromq::{self, LogSenderOptions};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::argument::Seconds;
use crate::error::{closed, from_broker};
use crate::log_receiver::curve;
use crate::logs::LogRecord;

/// Seconds that what waits has at the end, as with Zeek. Spec: zeromq 6.
const LINGER: Seconds = Seconds(0.5);

/// A socket that pushes records to a logger, or to a `LogReceiver`.
///
/// `address` is the logger's, such as `zmq-push://127.0.0.1:27764`. It is connected to in the
/// background, again and again, and batches wait until it is there. `curve` is as that of `LogReceiver`;
/// `sender_id` is what the logger sees as their sender, made up unless given; `queue_bytes` is how much
/// waits for the logger.
///
/// Nothing is acknowledged. A logger of Zeek wants a log that it has itself, with the same fields.
#[pyclass(frozen, module = "broker._broker.zeek")]
#[derive(Debug)]
pub(crate) struct LogSender(Mutex<Option<Arc<zeromq::LogSender>>>);

impl LogSender {
    fn sender(&self) -> PyResult<Arc<zeromq::LogSender>> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.clone();
        sender.ok_or_else(|| closed("the log sender was closed"))
    }
}

#[pymethods]
impl LogSender {
    #[new]
    #[pyo3(signature = (address, *, curve = None, sender_id = None, queue_bytes = None))]
    fn py_new(
        py: Python<'_>,
        address: &str,
        curve: Option<&Bound<'_, PyAny>>,
        sender_id: Option<String>,
        queue_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let mut options = LogSenderOptions::default();
        options.curve = curve.map(self::curve).transpose()?.unwrap_or_default();
        options.sender_id = sender_id;
        if let Some(bytes) = queue_bytes {
            options.queue_bytes_max = bytes;
        }
        let sender = py.detach(|| zeromq::LogSender::connect(address, options));
        let sender = sender.map_err(|error| from_broker(&error))?;
        Ok(Self(Mutex::new(Some(Arc::new(sender)))))
    }

    /// Sends a LogRecord, or an iterable of them, in batches of one log and up to 1000 records each.
    /// Returns how many there was room for.
    fn send(&self, py: Python<'_>, records: &Bound<'_, PyAny>) -> PyResult<usize> {
        let sender = self.sender()?;
        if let Ok(record) = records.cast::<LogRecord>() {
            return Ok(sender.send_records([record.get().record()]));
        }
        let mut taken = Vec::new();
        for record in records.try_iter()? {
            // A reference to each, so that none is copied.
            taken.push(record?.cast_into::<LogRecord>()?.unbind());
        }
        Ok(py.detach(|| sender.send_records(taken.iter().map(|record| record.get().record()))))
    }

    /// Sends the payload of a batch as it was received; False if there is no room for it. What is no
    /// batch is for the logger to refuse.
    fn send_batch(&self, payload: &[u8]) -> PyResult<bool> {
        Ok(self.sender()?.send(payload))
    }

    /// Whether the logger is connected at the moment.
    #[getter]
    fn connected(&self) -> PyResult<bool> {
        Ok(self.sender()?.stats().is_connected)
    }

    /// What went through it so far: numbers by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.sender()?.stats();
        let dict = PyDict::new(py);
        for (name, number) in [
            ("messages", stats.messages),
            ("waiting", stats.waiting),
            ("dropped", stats.dropped),
        ] {
            dict.set_item(name, number)?;
        }
        Ok(dict)
    }

    /// Waits until everything is written, for at most `timeout` (seconds, timedelta, Timespan), and
    /// closes the connection. Returns False if something was not written. Other methods raise
    /// ClosedError from then on.
    #[pyo3(signature = (timeout = LINGER), text_signature = "($self, timeout=0.5)")]
    fn close(&self, py: Python<'_>, timeout: Seconds) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout.0).unwrap_or(Duration::MAX / 4);
        let taken = {
            let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sender.take()
        };
        Ok(taken.is_none_or(|sender| py.detach(|| sender.close_within(timeout))))
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (_type, _value, _traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        _type: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.close(py, LINGER).map(drop)
    }
}
