//! What `Endpoint.listen_ws` takes and `Endpoint.web_socket_counts` gives.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Overflow, TlsOptions, WebSocketCounts, WebSocketPeerCounts, WebSocketTls};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::wait::seconds;

/// Longest time that can be asked for: a century.
const DURATION_MAX: Duration = Duration::from_secs(3_155_760_000);

/// Encryption, from a flag and the files that go with it.
pub(crate) fn tls(enabled: Option<bool>, files: TlsOptions) -> PyResult<WebSocketTls> {
    match (enabled, files.is_authenticated()) {
        (None, false) => Ok(WebSocketTls::AsNative),
        (Some(false), false) => Ok(WebSocketTls::Disabled),
        (Some(false), true) => Err(PyValueError::new_err(
            "expected no files for TLS where `tls` is False",
        )),
        (Some(true), _) | (None, true) => Ok(WebSocketTls::Enabled(files)),
    }
}

/// A policy by the name that configuration files use.
pub(crate) fn overflow(name: &str) -> PyResult<Overflow> {
    match name {
        "disconnect" => Ok(Overflow::Disconnect),
        "drop_newest" => Ok(Overflow::DropNewest),
        "drop_oldest" => Ok(Overflow::DropOldest),
        "block" => Ok(Overflow::Block),
        _ => Err(PyValueError::new_err(format!(
            "expected disconnect, drop_newest, drop_oldest or block, found `{name}`"
        ))),
    }
}

/// A time in seconds, a timedelta or a Timespan; none is negative.
pub(crate) fn duration(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds = seconds(value)?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!(
            "expected a time of at least 0, found {seconds}"
        )));
    }
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or(DURATION_MAX);
    Ok(duration.min(DURATION_MAX))
}

/// The counters of clients as dicts.
pub(crate) fn counts<'py>(
    py: Python<'py>,
    all: &BTreeMap<String, WebSocketCounts>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (application, counts) in all {
        let numbers = PyDict::new(py);
        numbers.set_item("clients", counts.clients)?;
        numbers.set_item("subscribed", counts.subscribed)?;
        numbers.set_item("received", counts.received)?;
        numbers.set_item("refused", counts.refused)?;
        numbers.set_item("sent", counts.sent)?;
        numbers.set_item("overflowed", counts.overflowed)?;
        numbers.set_item("dropped", counts.dropped)?;
        dict.set_item(application, numbers)?;
    }
    Ok(dict)
}

/// The counters of servers as dicts.
pub(crate) fn peer_counts<'py>(
    py: Python<'py>,
    all: &BTreeMap<String, WebSocketPeerCounts>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (url, counts) in all {
        let numbers = PyDict::new(py);
        numbers.set_item("peered", counts.peered)?;
        numbers.set_item("connects", counts.connects)?;
        numbers.set_item("reconnects", counts.reconnects)?;
        numbers.set_item("renewals", counts.renewals)?;
        numbers.set_item("received", counts.received)?;
        numbers.set_item("sent", counts.sent)?;
        numbers.set_item("errors", counts.errors)?;
        numbers.set_item("failures", counts.failures)?;
        dict.set_item(url, numbers)?;
    }
    Ok(dict)
}
