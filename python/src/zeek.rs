//! `broker._broker.zeek`: events as Zeek exchanges them.
//!
//! An event is a value like any other: `(1, 1, (name, (args..) [, ((key, value)..)]))`, the first
//! two being counts. It is kept as that value's bytes and taken apart when asked.

use std::sync::{Mutex, PoisonError};

use broker::data::{self, Encoder, View};
use broker::zeek;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::data::{Data, Encoded};
use crate::decode::{Flavour, decode};
use crate::encode::{encode, with_scratch};
use crate::error::{Fallible, expected};
use crate::forwarder::{Forwarder, ForwarderConnection};
use crate::log_receiver::{LogReceiver, generate_curve_keypair};
use crate::log_sender::LogSender;
use crate::text::{octets, to_str};
use crate::types::count::{Count, number};
use crate::zeromq::{ClusterNode, cluster_topic};

/// Message of Zeek. Cannot be constructed; `Event` is the only kind there is.
#[pyclass(frozen, subclass, module = "broker._broker.zeek")]
#[derive(Debug)]
pub(crate) struct Message(Mutex<Encoded>);

impl Message {
    pub(crate) fn encoded(&self) -> Encoded {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, encoded: Encoded) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = encoded;
    }
}

#[pymethods]
impl Message {
    /// The message as a value.
    fn as_data(&self) -> Data {
        Data::new(self.encoded())
    }

    fn __getstate__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.encoded().bytes())
    }

    fn __setstate__(&self, state: &Bound<'_, PyBytes>) -> PyResult<()> {
        data::validate(state.as_bytes())
            .map_err(|error| PyValueError::new_err(format!("not an encoded value: {error}")))?;
        self.set(Encoded::trusted(state.as_bytes()));
        Ok(())
    }
}

/// Event of Zeek; see `broker.zeek.Event`.
#[pyclass(frozen, subclass, extends = Message, module = "broker._broker.zeek")]
#[derive(Debug)]
pub(crate) struct Event;

/// Takes an event apart. The texts are those of the original.
fn parse(event: View<'_>) -> Result<zeek::Event<'_>, &'static str> {
    match zeek::Message::parse(event) {
        zeek::Message::Event(event) => Ok(event),
        zeek::Message::Invalid(invalid) => Err(match invalid.problem() {
            zeek::Problem::Element {
                message: zeek::MessageKind::Event,
                ..
            } => "invalid Event data",
            _ => "invalid Event data/type",
        }),
        _ => Err("invalid Event data/type"),
    }
}

/// Writes a new event; the first of the arguments is its name.
fn build(
    name: &[u8],
    arguments: &Bound<'_, PyTuple>,
    metadata: Option<&[Bound<'_, PyAny>]>,
    enc: &mut Encoder<'_>,
) -> Fallible {
    enc.vector(3, |enc| -> Fallible {
        enc.count(zeek::VERSION);
        enc.count(zeek::MessageKind::Event.number());
        enc.vector(if metadata.is_some() { 3 } else { 2 }, |enc| -> Fallible {
            enc.string(name)?;
            enc.vector(arguments.len() - 1, |enc| -> Fallible {
                let mut arguments = arguments.iter_borrowed().skip(1);
                arguments.try_for_each(|argument| encode(&argument, enc))
            })?;
            if let Some(entries) = metadata {
                enc.vector(entries.len(), |enc| -> Fallible {
                    entries
                        .iter()
                        .try_for_each(|entry| metadata_entry(entry, enc))
                })?;
            }
            Ok(())
        })
    })
}

/// Writes one pair. A plain integer as the key becomes a count, and items after the value are
/// dropped; with a `Count` the entry is taken as it is.
fn metadata_entry(entry: &Bound<'_, PyAny>, enc: &mut Encoder<'_>) -> Fallible {
    let key = entry.get_item(0)?;
    if key.is_instance_of::<PyInt>() {
        let key = number(&key)?;
        let value = entry.get_item(1)?;
        return enc.vector(2, |enc| {
            enc.count(key);
            encode(&value, enc)
        });
    }
    if key.is_instance_of::<Count>() {
        return encode(entry, enc);
    }
    Err(expected("metadata keys as int or Count", &key).into())
}

/// The entries of the `metadata` argument: those of a mapping, or of any iterable of pairs.
fn metadata_entries<'py>(metadata: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let entries = match metadata.getattr_opt(intern!(metadata.py(), "items"))? {
        Some(items) => items.call0()?,
        None => metadata.clone(),
    };
    entries.try_iter()?.collect()
}

impl Event {
    fn with_parts<R>(
        slf: &Bound<'_, Self>,
        read: impl FnOnce(zeek::Event<'_>) -> PyResult<R>,
    ) -> PyResult<R> {
        let encoded = slf.as_super().get().encoded();
        read(parse(encoded.view()).map_err(PyValueError::new_err)?)
    }

    fn arguments<'py>(slf: &Bound<'py, Self>, flavour: Flavour) -> PyResult<Bound<'py, PyList>> {
        Self::with_parts(slf, |parts| {
            let list = PyList::empty(slf.py());
            for argument in parts.arguments().elements() {
                list.append(decode(slf.py(), argument.bytes(), flavour)?)?;
            }
            Ok(list)
        })
    }

    fn metadata_in<'py>(
        slf: &Bound<'py, Self>,
        flavour: Flavour,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        Self::with_parts(slf, |parts| {
            let list = PyList::empty(slf.py());
            for entry in parts
                .raw_metadata()
                .iter()
                .flat_map(|entries| entries.elements())
            {
                list.append(decode(slf.py(), entry.bytes(), flavour)?)?;
            }
            Ok((!list.is_empty()).then_some(list))
        })
    }
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(*args, metadata=None)")]
    fn py_new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Message(Mutex::new(Encoded::nil()))).add_subclass(Self)
    }

    #[pyo3(signature = (*args, metadata = None))]
    fn __init__(
        slf: &Bound<'_, Self>,
        args: &Bound<'_, PyTuple>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let Ok(first) = args.get_borrowed_item(0) else {
            return Err(PyIndexError::new_err("an event needs a name"));
        };
        let encoded = if args.len() == 1 && !first.is_instance_of::<PyString>() {
            Encoded::of(&first)?
        } else {
            let name = octets(&first)?;
            let metadata = metadata.map(metadata_entries).transpose()?;
            let write = |bytes: &mut Vec<u8>| {
                build(&name, args, metadata.as_deref(), &mut Encoder::new(bytes))
            };
            with_scratch(write, |bytes| Ok(Encoded::trusted(bytes)))?
        };
        slf.as_super().get().set(encoded);
        Ok(())
    }

    /// Whether this is a well-formed event; the other methods raise `ValueError` if not.
    fn valid(slf: &Bound<'_, Self>) -> bool {
        parse(slf.as_super().get().encoded().view()).is_ok()
    }

    /// The event's name; bytes that are not UTF-8 are surrogate escapes in it.
    fn name<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyString>> {
        Self::with_parts(slf, |parts| to_str(slf.py(), parts.name()))
    }

    /// The arguments as a list. Raises `TypeError` when one cannot be hashed where Python needs
    /// it; `SafeEvent` can convert those too.
    fn args<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        Self::arguments(slf, Flavour::Mutable)
    }

    /// The metadata as a list of (Count, value) pairs; None when there is none.
    fn metadata<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyList>>> {
        Self::metadata_in(slf, Flavour::Mutable)
    }

    /// The arguments as a list of hashable, read-only values.
    fn _immutable_args<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        Self::arguments(slf, Flavour::Immutable)
    }

    /// The arguments as a list of hashable, read-only values, whose strings are `str` all of them:
    /// bytes that are not UTF-8 are surrogate escapes in them.
    fn _typed_args<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        Self::arguments(slf, Flavour::Typed)
    }

    /// The metadata with hashable, read-only values.
    fn _immutable_metadata<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyList>>> {
        Self::metadata_in(slf, Flavour::Immutable)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        let encoded = slf.as_super().get().encoded();
        Ok(match parse(encoded.view()) {
            Ok(parts) => {
                let name = String::from_utf8_lossy(parts.name());
                format!("<{class} {name}{}>", parts.arguments())
            }
            Err(problem) => format!("<{class}: {problem}>"),
        })
    }
}

/// The native module's `zeek` part.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let zeek = PyModule::new(py, "broker._broker.zeek")?;
    zeek.add_class::<Message>()?;
    zeek.add_class::<Event>()?;
    zeek.add_class::<ClusterNode>()?;
    zeek.add_function(wrap_pyfunction!(cluster_topic, &zeek)?)?;
    zeek.add_class::<LogReceiver>()?;
    zeek.add_class::<LogSender>()?;
    zeek.add_class::<Forwarder>()?;
    zeek.add_class::<ForwarderConnection>()?;
    zeek.add_function(wrap_pyfunction!(generate_curve_keypair, &zeek)?)?;
    crate::logs::register(&zeek)?;
    // Pickles name classes by their module, which must therefore be importable.
    py.import("sys")?
        .getattr("modules")?
        .set_item("broker._broker.zeek", &zeek)?;
    zeek.delattr("__all__")?;
    module.add("zeek", zeek)
}
