//! `broker._broker.zeek.LogReceiver`: the log stream of a cluster over ZeroMQ, and keys for it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::zeromq::{self, Curve, LogMessage, LogReceiverOptions};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::error::{closed, from_broker};
use crate::inbox::{Consumer, Inbox};
use crate::zeromq::keys;

/// Messages that are taken in one go: each has up to a thousand records.
const READY_MESSAGES_MAX: usize = 16;

impl Consumer for zeromq::LogReceiver {
    type Item = LogMessage;

    fn take(&self, max: usize, into: &mut Vec<LogMessage>) {
        into.extend(std::iter::from_fn(|| self.try_recv()).take(max));
    }

    fn take_ready(&self, into: &mut Vec<LogMessage>) {
        self.take(READY_MESSAGES_MAX, into);
    }

    fn put_back(&self, items: Vec<LogMessage>) {
        self.put_back(items);
    }

    fn wait(&self, timeout: Duration) -> bool {
        self.wait(Some(timeout))
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

/// A socket that the nodes of a cluster push their logs to; `Logs` makes records of it.
///
/// `curve` is None for the keys of the environment, False for no encryption, a directory of zeekctl or
/// a file of keys, or a mapping from `server_publickey` and so on to keys. `forward_to` is the address of a logger
/// that gets every message unchanged. `queue_bytes` is how much waits for the program.
#[pyclass(frozen, module = "broker._broker.zeek")]
#[derive(Debug)]
pub(crate) struct LogReceiver(Mutex<Option<Arc<Inbox<zeromq::LogReceiver>>>>);

impl LogReceiver {
    pub(crate) fn inbox(&self) -> PyResult<Arc<Inbox<zeromq::LogReceiver>>> {
        let inbox = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        inbox.ok_or_else(|| closed("the log receiver was closed"))
    }
}

#[pymethods]
impl LogReceiver {
    #[new]
    #[pyo3(signature = (address, *, curve = None, forward_to = None, queue_bytes = None))]
    fn py_new(
        py: Python<'_>,
        address: &str,
        curve: Option<&Bound<'_, PyAny>>,
        forward_to: Option<String>,
        queue_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let mut options = LogReceiverOptions::default();
        options.curve = curve.map(self::curve).transpose()?.unwrap_or_default();
        options.forward_to = forward_to;
        if let Some(bytes) = queue_bytes {
            options.queue_bytes_max = bytes;
        }
        let bound = py.detach(|| zeromq::LogReceiver::bind(address, options));
        let receiver = bound.map_err(|error| from_broker(&error))?;
        Ok(Self(Mutex::new(Some(Arc::new(Inbox::new(receiver))))))
    }

    /// The port that it listens on.
    #[getter]
    fn port(&self) -> PyResult<u16> {
        Ok(self.inbox()?.queue()?.local_address().port())
    }

    /// What went through it so far: numbers by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.inbox()?.queue()?.stats();
        let dict = PyDict::new(py);
        for (name, number) in [
            ("connections", stats.connections as u64),
            ("refused", stats.refused),
            ("messages", stats.messages),
            ("bytes", stats.bytes),
            ("waiting", stats.waiting),
            ("dropped", stats.dropped),
            ("forward_dropped", stats.forward_dropped),
        ] {
            dict.set_item(name, number)?;
        }
        Ok(dict)
    }

    /// Closes the socket and all connections. Other methods raise ClosedError from then on; a `Logs`
    /// made of it gives what has arrived, and ends.
    fn close(&self) -> PyResult<()> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(inbox) = taken {
            inbox.queue()?.close();
        }
        Ok(())
    }
}

/// Where keys come from.
pub(crate) fn curve(given: &Bound<'_, PyAny>) -> PyResult<Curve> {
    if let Ok(flag) = given.cast::<PyBool>() {
        return Ok(if flag.is_true() {
            Curve::Environment
        } else {
            Curve::Off
        });
    }
    if let Ok(path) = given.extract::<PathBuf>() {
        return Ok(Curve::at(path));
    }
    keys(given).map(Curve::Keys)
}

/// Makes a key pair for CURVE: the public and the secret key, 40 characters each;
/// `broker.zeek.generate_curve_keypair` makes a `CurveKeyPair` of them.
#[pyfunction]
pub(crate) fn generate_curve_keypair() -> PyResult<(String, String)> {
    let pair = zeromq::generate_curve_keypair().map_err(|error| from_broker(&error))?;
    Ok((pair.public.to_string(), pair.secret.reveal()))
}
