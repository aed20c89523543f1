//! Attaching masters and clones: the arguments, and the wait for a file.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread;

use broker::data::{Value, decode};
use broker::{CloneOptions, SqliteOptions, StoreError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::argument::{path, string};
use crate::error::expected;
use crate::process::Owned;
use crate::publisher::encoded;
use crate::store::{Attached, span};
use crate::types::enumeration::Backend;
use crate::wait::{Limit, wait};

/// What attaching gives, short of wrong types of arguments.
pub(crate) type Result = std::result::Result<Attached, StoreError>;

/// The number of `SQLite` among the back ends.
const SQLITE: i64 = 1;

/// Options by name, from any mapping.
fn options(value: Option<&Bound<'_, PyAny>>) -> PyResult<BTreeMap<String, Value>> {
    let mut options = BTreeMap::new();
    let Some(value) = value else {
        return Ok(options);
    };
    let items = value.call_method0(intern!(value.py(), "items"))?;
    for item in items.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
        let Ok(name) = name.cast::<PyString>() else {
            return Err(expected("the name of an option as str", &name));
        };
        // A path is no value, but its text is.
        let value = decode(&encoded(&path(&value)?)?).unwrap_or_default();
        options.insert(name.to_cow()?.into_owned(), value);
    }
    Ok(options)
}

fn attached(
    endpoint: &Arc<Owned<broker::Endpoint>>,
    store: std::result::Result<broker::Store, StoreError>,
) -> Result {
    Ok(Attached {
        store: Some(Owned::new(store?)),
        _endpoint: endpoint.clone(),
    })
}

/// A handle with nothing behind it, for the empty name.
pub(crate) fn nameless(endpoint: &Arc<Owned<broker::Endpoint>>) -> Attached {
    Attached {
        store: None,
        _endpoint: endpoint.clone(),
    }
}

/// Attaches a master. A file is opened in a thread of its own, since that can take long.
pub(crate) fn master(
    py: Python<'_>,
    owner: &Arc<Owned<broker::Endpoint>>,
    name: &Bound<'_, PyAny>,
    backend: Option<&Bound<'_, PyAny>>,
    opts: Option<&Bound<'_, PyAny>>,
) -> PyResult<Result> {
    let name = string(name)?;
    let number = match backend {
        None => 0,
        Some(backend) => match backend.cast::<Backend>() {
            Ok(backend) => backend.get().0.get(),
            Err(_) => return Err(expected("a Backend or None", backend)),
        },
    };
    let options = options(opts)?;
    let endpoint = owner.get()?;
    if number != SQLITE {
        let store = py.detach(|| endpoint.attach_master(&name, broker::Backend::Memory));
        return Ok(attached(owner, store));
    }
    let options = match SqliteOptions::from_table(&options) {
        Ok(options) => options,
        Err(error) => {
            let cause = error.to_string();
            return Ok(Err(StoreError::Backend { name, cause }));
        }
    };
    let endpoint = endpoint.clone();
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("broker-attach".to_owned())
        .spawn(move || {
            let store = endpoint.attach_master(&name, broker::Backend::Sqlite(options));
            // Nobody waits any more after an interrupt.
            let _ = sender.send(store);
        })?;
    let store = wait(py, Limit::Forever, move |slice| {
        receiver.recv_timeout(slice).ok()
    })?;
    Ok(attached(
        owner,
        store.expect("a wait without limit ends with an answer"),
    ))
}

/// Attaches a clone.
pub(crate) fn replica(
    py: Python<'_>,
    owner: &Arc<Owned<broker::Endpoint>>,
    name: &Bound<'_, PyAny>,
    [resync, stale, mutation_buffer]: [Option<&Bound<'_, PyAny>>; 3],
) -> PyResult<Result> {
    let name = string(name)?;
    let mut options = CloneOptions::default();
    for (interval, given) in [
        (&mut options.resync_interval, resync),
        (&mut options.stale_interval, stale),
        (&mut options.mutation_buffer_interval, mutation_buffer),
    ] {
        if let Some(given) = given {
            *interval = span(given)?;
        }
    }
    let endpoint = owner.get()?;
    let store = py.detach(|| endpoint.attach_clone(&name, options));
    Ok(attached(owner, store))
}
