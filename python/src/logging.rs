//! The native half of `broker.logging`: records of the log, for the thread that hands them to
//! Python's `logging`.
//!
//! Threads of the runtime put records into a queue and never take the interpreter; the thread that
//! waits here has given it up meanwhile.

use std::sync::Arc;
use std::time::Duration;

use broker::Verbosity;
use broker::log::{Component, Field, Reader, Record};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::error::from_broker;
use crate::process::Owned;

/// `logging`'s numbers for verbosities, from the one that says least; `TRACE` has none of its own.
const LEVELS: [(u32, Verbosity); 5] = [
    (40, Verbosity::Error),
    (30, Verbosity::Warning),
    (20, Verbosity::Info),
    (10, Verbosity::Debug),
    (5, Verbosity::Trace),
];

/// What is said from now on.
#[pyclass(frozen, module = "broker._broker", name = "_LogReader")]
#[derive(Debug)]
pub(crate) struct LogReader(Owned<Arc<Reader>>);

#[pymethods]
impl LogReader {
    /// Begins to collect nothing, until `set_levels` asks for something.
    #[new]
    fn py_new() -> PyResult<Self> {
        broker::log::install().map_err(|error| from_broker(&error))?;
        let reader = Reader::new(|_| Verbosity::Quiet);
        Ok(Self(Owned::new(Arc::new(reader))))
    }

    /// Names of the components, in the order of `set_levels`.
    #[staticmethod]
    fn components() -> Vec<&'static str> {
        Component::ALL.iter().map(|it| it.name()).collect()
    }

    /// Takes, for each component, the lowest of `logging`'s levels that is wanted.
    fn set_levels(&self, py: Python<'_>, levels: Vec<u32>) -> PyResult<()> {
        let reader = self.0.get()?;
        let wanted = |component: Component| {
            let index = Component::ALL.iter().position(|it| *it == component);
            let lowest = index.and_then(|index| levels.get(index));
            let lowest = lowest.copied().unwrap_or(u32::MAX);
            let most = LEVELS.iter().rev().find(|(number, _)| *number >= lowest);
            most.map_or(Verbosity::Quiet, |(_, verbosity)| *verbosity)
        };
        py.detach(|| reader.set_levels(wanted));
        Ok(())
    }

    /// Waits for records, as tuples of nanoseconds since 1970, level, component, event, fields and text;
    /// `None` when it is closed and everything has been handed out.
    fn wait<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Option<Bound<'py, PyList>>> {
        let reader = self.0.get()?;
        let timeout = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let Some(records) = py.detach(|| reader.wait(timeout)) else {
            return Ok(None);
        };
        let list = PyList::empty(py);
        for record in &records {
            list.append(tuple(py, record)?)?;
        }
        Ok(Some(list))
    }

    /// Waits until what was said before has been handed over, by another thread; `False` when that takes
    /// longer.
    fn flush(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let reader = self.0.get()?;
        let timeout = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok(py.detach(|| reader.flush(timeout)))
    }

    /// Takes no more; what is there is still handed out.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let reader = self.0.get()?;
        py.detach(|| reader.close());
        Ok(())
    }
}

fn tuple<'py>(py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyTuple>> {
    let level = LEVELS.iter().find(|(_, it)| *it == record.level);
    let level = level.map_or(0, |(number, _)| *number);
    let fields = PyDict::new(py);
    for (name, field) in &record.fields {
        match field {
            Field::Number(digits) => match digits.parse::<i128>() {
                Ok(number) => fields.set_item(&**name, number)?,
                Err(_) => fields.set_item(&**name, digits)?,
            },
            Field::Boolean(value) => fields.set_item(&**name, *value)?,
            field => fields.set_item(&**name, field.as_str())?,
        }
    }
    let (time, component) = (record.time.ns(), record.component.name());
    (time, level, component, &record.event, fields, record.text()).into_pyobject(py)
}

/// Starts what the environment asks for, and the bridge to `logging` where a handler waits for it.
pub(crate) fn start(py: Python<'_>, options: &broker::Options) -> PyResult<()> {
    py.detach(|| broker::log::start(options))
        .map_err(|error| from_broker(&error))?;
    // A program that has not imported it has no handler.
    let modules = py.import("sys")?.getattr("modules")?;
    if modules.contains("logging")? {
        py.import("broker.logging")?.call_method0("_notice")?;
    }
    Ok(())
}

/// Whether `logging` gets what the runtime says.
pub(crate) fn is_bridged(py: Python<'_>) -> PyResult<bool> {
    let modules = py.import("sys")?.getattr("modules")?;
    if !modules.contains("broker.logging")? {
        return Ok(false);
    }
    Ok(!py.import("broker.logging")?.getattr("_bridge")?.is_none())
}

/// Hands over what is left, when the interpreter exits.
pub(crate) fn stop(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    if modules.contains("broker.logging")? {
        py.import("broker.logging")?.call_method0("_stop")?;
    }
    py.detach(broker::log::flush);
    Ok(())
}

/// The logger of this package.
fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let logging = py.import("logging")?;
    logging.call_method1("getLogger", ("broker",))
}

/// Tells Python's log of variables that a program which ran on the original may rely on.
pub(crate) fn warn_of_variables(py: Python<'_>) -> PyResult<()> {
    let names = broker::Options::variables_without_effect();
    if names.is_empty() {
        return Ok(());
    }
    let log = logger(py)?;
    for name in names {
        log.call_method1("warning", ("environment variable %s has no effect", name))?;
    }
    Ok(())
}

/// What the original returns where it cannot listen. The runtime says why; where nothing hands that
/// to Python's log, because it has no handlers, its last resort gets a record from here.
pub(crate) fn warn_and_return_zero(py: Python<'_>, error: &broker::Error) -> PyResult<u16> {
    if !is_bridged(py)? {
        logger(py)?.call_method1("warning", ("%s", error.to_string()))?;
    }
    Ok(0)
}
