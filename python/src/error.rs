//! Exceptions of this package, and how failures of the crates below become
//! exceptions.
//!
//! Every exception of ours derives from `BrokerError` and from the builtin type that callers of
//! the original had to expect, so that old `except` clauses keep working.

use pyo3::exceptions::{
    PyAttributeError, PyException, PyOSError, PyOverflowError, PyRuntimeError, PyTimeoutError,
    PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use broker::data::EncodeError;

use crate::counters;
use crate::types::enumeration::ErrorCode;

/// A failed conversion or call, on its way to becoming an exception.
///
/// Closures given to the encoder and to `offer` return it, because foreign error types cannot be
/// turned into `PyErr` directly.
#[derive(Debug)]
pub(crate) enum CallError {
    Python(PyErr),
    Runtime(broker::Error),
}

pub(crate) type Fallible = Result<(), CallError>;

impl From<PyErr> for CallError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<CallError> for PyErr {
    fn from(failure: CallError) -> Self {
        match failure {
            CallError::Python(error) => {
                counters::count_conversion_error();
                error
            }
            CallError::Runtime(error) => from_broker(&error),
        }
    }
}

impl From<EncodeError> for CallError {
    fn from(error: EncodeError) -> Self {
        Self::Python(match error {
            EncodeError::Count { .. } => {
                PyRuntimeError::new_err("the container changed while it was converted")
            }
            EncodeError::TooLong { .. } | EncodeError::Time(_) => {
                PyOverflowError::new_err(error.to_string())
            }
            other => PyValueError::new_err(other.to_string()),
        })
    }
}

impl From<broker::Error> for CallError {
    fn from(error: broker::Error) -> Self {
        Self::Runtime(error)
    }
}

/// The exception classes of this package.
struct Classes {
    base: Py<PyType>,
    closed: Py<PyType>,
    configuration: Py<PyType>,
    store: Py<PyType>,
    listen: Py<PyType>,
    lost: Py<PyType>,
    durable: Py<PyType>,
    durable_timeout: Py<PyType>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

fn classes(py: Python<'_>) -> PyResult<&Classes> {
    CLASSES.get_or_try_init(py, || {
        let base = derive(
            "BrokerError",
            "Base of the exceptions of this package. `code` is the error's `EC`.",
            &[&py.get_type::<PyException>()],
        )?;
        base.setattr("code", ErrorCode::object(py, UNSPECIFIED)?)?;
        let closed = derive(
            "ClosedError",
            "The endpoint was shut down, or the object was reset.",
            &[
                &base,
                &py.get_type::<PyRuntimeError>(),
                &py.get_type::<PyAttributeError>(),
            ],
        )?;
        let configuration = derive(
            "ConfigurationError",
            "A setting of an endpoint cannot be used.",
            &[&base, &py.get_type::<PyValueError>()],
        )?;
        let store = derive(
            "StoreError",
            "A data store could not be attached, or could not do what it was asked for.",
            &[&base, &py.get_type::<PyRuntimeError>()],
        )?;
        let listen = derive(
            "ListenError",
            "An address cannot be listened on. `errno` is the system's number, if it has one.",
            &[&base, &py.get_type::<PyOSError>()],
        )?;
        let lost = derive(
            "MessagesLost",
            "Messages were dropped because the subscriber did not take them; `count` is how many.",
            &[&base, &py.get_type::<PyRuntimeError>()],
        )?;
        lost.setattr("count", 0)?;
        let durable = derive(
            "DurableError",
            "A message could not be stored, or a stream or cursor of the NATS servers not be used.",
            &[&base, &py.get_type::<PyRuntimeError>()],
        )?;
        let durable_timeout = derive(
            "DurableTimeout",
            "The NATS servers did not answer in time. What was asked for may have been done; a message is \
             stored once if it is published again with the same `message_id`.",
            &[&durable, &py.get_type::<PyTimeoutError>()],
        )?;
        Ok(Classes {
            base: base.unbind(),
            closed: closed.unbind(),
            configuration: configuration.unbind(),
            store: store.unbind(),
            listen: listen.unbind(),
            lost: lost.unbind(),
            durable: durable.unbind(),
            durable_timeout: durable_timeout.unbind(),
        })
    })
}

/// Makes an exception class with several parents.
fn derive<'py>(
    name: &str,
    doc: &str,
    parents: &[&Bound<'py, PyType>],
) -> PyResult<Bound<'py, PyType>> {
    let py = parents[0].py();
    let fields = PyDict::new(py);
    fields.set_item("__module__", "broker._broker")?;
    fields.set_item("__doc__", doc)?;
    let class = py
        .get_type::<PyType>()
        .call1((name, PyTuple::new(py, parents)?, fields))?;
    Ok(class.cast_into()?)
}

/// Adds the exception classes to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let classes = classes(module.py())?;
    module.add("BrokerError", &classes.base)?;
    module.add("ClosedError", &classes.closed)?;
    module.add("ConfigurationError", &classes.configuration)?;
    module.add("StoreError", &classes.store)?;
    module.add("ListenError", &classes.listen)?;
    module.add("MessagesLost", &classes.lost)?;
    module.add("DurableError", &classes.durable)?;
    module.add("DurableTimeout", &classes.durable_timeout)
}

/// The exception is made here and now: one that PyO3 makes when it is looked at gives up the interpreter
/// for a moment, and a thread that an ending program leaves behind would not get it back.
fn raise(pick: impl FnOnce(&Classes) -> &Py<PyType>, code: u8, text: String) -> PyErr {
    let make = |py: Python<'_>| -> PyResult<PyErr> {
        let error = pick(classes(py)?).bind(py).call1((text,))?;
        error.setattr("code", ErrorCode::object(py, code)?)?;
        Ok(PyErr::from_value(error))
    };
    Python::attach(|py| make(py).unwrap_or_else(|failed| failed))
}

/// An `OSError` with the system's number.
fn with_errno(error: PyErr, number: Option<i32>) -> PyErr {
    Python::attach(|py| match error.value(py).setattr("errno", number) {
        Ok(()) => error,
        Err(failed) => failed,
    })
}

/// The number of `unspecified` among the error codes.
const UNSPECIFIED: u8 = 1;

/// The number of `shutting_down` among the error codes.
const SHUTTING_DOWN: u8 = 28;

/// The object was closed by its owner, or its endpoint was shut down.
pub(crate) fn closed(text: &str) -> PyErr {
    raise(|classes| &classes.closed, SHUTTING_DOWN, text.to_owned())
}

/// Whether it is the exception made by [`closed`].
pub(crate) fn is_closed(py: Python<'_>, error: &PyErr) -> bool {
    classes(py).is_ok_and(|classes| error.is_instance(py, classes.closed.bind(py)))
}

/// A `TypeError` that names what was wanted and the type that was given instead.
///
/// The object itself is not shown: its text could be anything, and could fail.
pub(crate) fn expected(wanted: &str, found: &Bound<'_, PyAny>) -> PyErr {
    match found.get_type().qualname() {
        Ok(name) => PyTypeError::new_err(format!("expected {wanted}, found {name}")),
        Err(error) => error,
    }
}

/// The exception for an error of the runtime.
pub(crate) fn from_broker(error: &broker::Error) -> PyErr {
    let text = error.to_string();
    let code = error.code().number();
    match error {
        broker::Error::ShutDown => raise(
            |classes| &classes.closed,
            code,
            "endpoint is shut down".to_owned(),
        ),
        broker::Error::Closed => raise(
            |classes| &classes.closed,
            code,
            "subscriber queue closed".to_owned(),
        ),
        broker::Error::Listen { cause, .. } => {
            let number = cause.raw_os_error();
            with_errno(raise(|classes| &classes.listen, code, text), number)
        }
        broker::Error::MessagesLost { count } => {
            let error = raise(|classes| &classes.lost, code, text);
            Python::attach(|py| match error.value(py).setattr("count", *count) {
                Ok(()) => error,
                Err(failed) => failed,
            })
        }
        broker::Error::Option { .. }
        | broker::Error::Variable { .. }
        | broker::Error::ConfigurationFile { .. }
        | broker::Error::Recording(_)
        | broker::Error::Log { .. }
        | broker::Error::Tls { .. } => raise(|classes| &classes.configuration, code, text),
        broker::Error::TopicTooLong { .. } | broker::Error::MessageTooLarge { .. } => {
            PyValueError::new_err(text)
        }
        broker::Error::Value(cause) => CallError::from(cause.clone()).into(),
        _ => raise(|classes| &classes.base, code, text),
    }
}

/// The exception for an error of durable topics.
pub(crate) fn from_durable(error: &broker::DurableError) -> PyErr {
    let (code, text) = (error.code().number(), error.to_string());
    match error {
        broker::DurableError::Closed | broker::DurableError::ShutDown => {
            raise(|classes| &classes.closed, code, text)
        }
        broker::DurableError::TimedOut { .. } => {
            raise(|classes| &classes.durable_timeout, code, text)
        }
        broker::DurableError::Option { .. } => raise(|classes| &classes.configuration, code, text),
        broker::DurableError::TooLarge { .. } | broker::DurableError::Topic { .. } => {
            PyValueError::new_err(text)
        }
        broker::DurableError::Value(cause) => CallError::from(cause.clone()).into(),
        _ => raise(|classes| &classes.durable, code, text),
    }
}

/// The exception for an error of a store.
pub(crate) fn from_store(error: &broker::StoreError) -> PyErr {
    match error {
        broker::StoreError::Value(cause) => CallError::from(cause.clone()).into(),
        _ => raise(
            |classes| &classes.store,
            error.code().number(),
            error.to_string(),
        ),
    }
}
