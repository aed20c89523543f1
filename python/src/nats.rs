//! The argument of `Endpoint.peer` for servers of NATS, and their counters.

use broker::{NatsPeerOptions, TlsOptions};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::from_broker;
use crate::options::OptionMapping;
use crate::websocket::dicts;

/// Names of options.
const NAMES: [&str; 9] = [
    "user",
    "password",
    "token",
    "credentials_file",
    "prefix",
    "tls",
    "ca_file",
    "certificate",
    "key",
];

/// The mapping as options.
pub(crate) fn options(given: &Bound<'_, PyAny>) -> PyResult<NatsPeerOptions> {
    let given = OptionMapping::new(given, "nats", &NAMES)?;
    let files = TlsOptions {
        ca_file: given.path("ca_file")?,
        certificate: given.path("certificate")?,
        key: given.path("key")?,
        ..TlsOptions::default()
    };
    let wants_tls = given.flag("tls")?.unwrap_or(files.is_authenticated());
    let options = NatsPeerOptions {
        user: given.text("user")?,
        password: given.text("password")?,
        token: given.text("token")?,
        credentials_file: given.path("credentials_file")?,
        prefix: given.text("prefix")?,
        tls: wants_tls.then_some(files),
    };
    options.check().map_err(|error| from_broker(&error))?;
    Ok(options)
}

/// The counters of servers, by address.
pub(crate) fn counts(endpoint: &broker::Endpoint, py: Python<'_>) -> PyResult<Py<PyDict>> {
    let dict = dicts(py, &endpoint.nats_peer_counts(), |it| {
        [
            ("peered", it.peered),
            ("connects", it.connects),
            ("reconnects", it.reconnects),
            ("received", it.received),
            ("sent", it.sent),
            ("own", it.own),
            ("copies", it.copies),
            ("bad", it.bad),
            ("refused", it.refused),
            ("dropped", it.dropped),
            ("errors", it.errors),
            ("unasked", it.unasked),
            ("failures", it.failures),
        ]
    })?;
    Ok(dict.unbind())
}
