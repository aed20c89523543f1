//! Attaching masters and clones: the arguments, and the wait for a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::data::{Value, decode};
use broker::{CloneOptions, JetStreamOptions, SqliteOptions, StoreError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::argument::{path, string};
use crate::error::expected;
use crate::process::Owned;
use crate::publisher::encoded;
use crate::store::{Attached, span};
use crate::types::enumeration::Backend;
use crate::wait::wait_forever;

/// What attaching gives, short of wrong types of arguments.
pub(crate) type Result = std::result::Result<Attached, StoreError>;

/// The number of `SQLite` among the back ends.
const SQLITE: i64 = 1;

/// The number of `JetStream` among them.
const JET_STREAM: i64 = 2;

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

/// The master that arguments ask for.
struct Wanted {
    name: String,
    backend: broker::Backend,
}

fn wanted(
    name: &Bound<'_, PyAny>,
    backend: Option<&Bound<'_, PyAny>>,
    opts: Option<&Bound<'_, PyAny>>,
) -> PyResult<std::result::Result<Wanted, StoreError>> {
    let name = string(name)?;
    let number = match backend {
        None => 0,
        Some(backend) => match backend.cast::<Backend>() {
            Ok(backend) => backend.get().0.get(),
            Err(_) => return Err(expected("a Backend or None", backend)),
        },
    };
    let options = options(opts)?;
    if number == JET_STREAM {
        let options = JetStreamOptions::from_table(&options);
        return Ok(options.map(|options| Wanted {
            name,
            backend: broker::Backend::JetStream(Box::new(options)),
        }));
    }
    if number != SQLITE {
        let backend = broker::Backend::Memory;
        return Ok(Ok(Wanted { name, backend }));
    }
    Ok(match SqliteOptions::from_table(&options) {
        Ok(options) => Ok(Wanted {
            name,
            backend: broker::Backend::Sqlite(options),
        }),
        Err(error) => {
            let cause = error.to_string();
            Err(StoreError::Backend { name, cause })
        }
    })
}

/// Attaches a master. A file is opened in another thread, since that can take long.
pub(crate) fn master(
    py: Python<'_>,
    owner: &Arc<Owned<broker::Endpoint>>,
    name: &Bound<'_, PyAny>,
    backend: Option<&Bound<'_, PyAny>>,
    opts: Option<&Bound<'_, PyAny>>,
) -> PyResult<Result> {
    let Wanted { name, backend } = match wanted(name, backend, opts)? {
        Ok(wanted) => wanted,
        Err(error) => return Ok(Err(error)),
    };
    let endpoint = owner.get()?;
    let store = match backend {
        broker::Backend::Memory => py.detach(|| endpoint.attach_master(&name, backend)),
        _ => wait_forever(py, endpoint.attach_master_async(&name, backend))?,
    };
    Ok(attached(owner, store))
}

/// As [`master`], for those who do not wait.
pub(crate) fn master_async(
    owner: &Arc<Owned<broker::Endpoint>>,
    name: &Bound<'_, PyAny>,
    backend: Option<&Bound<'_, PyAny>>,
    opts: Option<&Bound<'_, PyAny>>,
) -> PyResult<impl Future<Output = Result> + Send + 'static> {
    let endpoint = owner.get()?;
    let pending = match wanted(name, backend, opts)? {
        Ok(Wanted { name, backend }) => Ok(endpoint.attach_master_async(&name, backend)),
        Err(error) => Err(error),
    };
    let owner = owner.clone();
    Ok(async move {
        let store = match pending {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        attached(&owner, store)
    })
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
