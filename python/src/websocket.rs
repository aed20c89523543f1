//! Arguments of `Endpoint.listen_ws`, and the counters of `Endpoint.web_socket_counts`.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Overflow, TlsOptions, WebSocketCounts, WebSocketPeerCounts, WebSocketTls};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::argument::seconds;

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

/// Counters as a dict from names to dicts of numbers.
pub(crate) fn dicts<'py, T, const N: usize>(
    py: Python<'py>,
    all: &BTreeMap<String, T>,
    numbers: impl Fn(&T) -> [(&'static str, u64); N],
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, counts) in all {
        let inner = PyDict::new(py);
        for (counter, number) in numbers(counts) {
            inner.set_item(counter, number)?;
        }
        dict.set_item(name, inner)?;
    }
    Ok(dict)
}

/// The counters of clients, by application.
pub(crate) fn counts<'py>(
    py: Python<'py>,
    all: &BTreeMap<String, WebSocketCounts>,
) -> PyResult<Bound<'py, PyDict>> {
    dicts(py, all, |it| {
        [
            ("clients", it.clients),
            ("subscribed", it.subscribed),
            ("received", it.received),
            ("refused", it.refused),
            ("sent", it.sent),
            ("overflowed", it.overflowed),
            ("dropped", it.dropped),
        ]
    })
}

/// The counters of servers, by URL.
pub(crate) fn peer_counts<'py>(
    py: Python<'py>,
    all: &BTreeMap<String, WebSocketPeerCounts>,
) -> PyResult<Bound<'py, PyDict>> {
    dicts(py, all, |it| {
        [
            ("peered", it.peered),
            ("connects", it.connects),
            ("reconnects", it.reconnects),
            ("renewals", it.renewals),
            ("received", it.received),
            ("sent", it.sent),
            ("errors", it.errors),
            ("failures", it.failures),
        ]
    })
}
