//! The argument of `Endpoint.peer` for servers of NATS, and their counters.

use std::path::PathBuf;

use broker::{NatsPeerOptions, TlsOptions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use crate::error::from_broker;
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

/// The mapping as options. No value of it is repeated in an error, as some are secrets.
pub(crate) fn options(given: &Bound<'_, PyAny>) -> PyResult<NatsPeerOptions> {
    let given = given
        .cast::<PyMapping>()
        .map_err(|_| PyValueError::new_err("expected `nats` to be a mapping of options"))?;
    for name in given.keys()? {
        let name = name.str()?.to_string();
        if !NAMES.contains(&name.as_str()) {
            return Err(PyValueError::new_err(format!(
                "expected `nats` to have the options {}, found `{name}`",
                NAMES.join(", ")
            )));
        }
    }
    let item = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
        if given.contains(name)? {
            Ok(Some(given.get_item(name)?).filter(|it| !it.is_none()))
        } else {
            Ok(None)
        }
    };
    let wrong = |name: &str, wanted: &str| {
        PyValueError::new_err(format!(
            "expected the option `{name}` of `nats` to be {wanted}"
        ))
    };
    let text = |name| match item(name)? {
        Some(it) => it
            .extract::<String>()
            .map(Some)
            .map_err(|_| wrong(name, "text")),
        None => Ok(None),
    };
    let path = |name| match item(name)? {
        Some(it) => it
            .extract::<PathBuf>()
            .map(Some)
            .map_err(|_| wrong(name, "a path")),
        None => Ok(None),
    };
    let files = TlsOptions {
        ca_file: path("ca_file")?,
        certificate: path("certificate")?,
        key: path("key")?,
        ..TlsOptions::default()
    };
    let wants_tls = match item("tls")? {
        Some(it) => it
            .extract::<bool>()
            .map_err(|_| wrong("tls", "True or False"))?,
        None => files.is_authenticated(),
    };
    let options = NatsPeerOptions {
        user: text("user")?,
        password: text("password")?,
        token: text("token")?,
        credentials_file: path("credentials_file")?,
        prefix: text("prefix")?,
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
            ("failures", it.failures),
        ]
    })?;
    Ok(dict.unbind())
}
