//! `Data`: one value, kept in its wire bytes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use broker::data::json::{self, Form};
use broker::data::{self, Item, Reader, View};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};

use crate::decode::{Flavour, decode};
use crate::encode::{encode, with_scratch};
use crate::error::{Fallible, expected};
use crate::types::address::Address;
use crate::types::containers::{Set, Table, Vector};
use crate::types::enum_value::{Enum, utf8};
use crate::types::enumeration::{DataType, TypeNames};
use crate::types::hash_of;
use crate::types::port::Port;
use crate::types::subnet::Subnet;
use crate::zeek::Message;

/// The valid encoding of one value. Cheap to clone; ordered like the value.
#[derive(Debug, Clone)]
pub(crate) struct Encoded(Arc<[u8]>);

impl Encoded {
    /// Takes bytes that were just encoded or are part of a validated message.
    pub(crate) fn trusted(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn nil() -> Self {
        Self::trusted(&[0])
    }

    /// Encodes any convertible Python value.
    ///
    /// # Errors
    ///
    /// `TypeError` for types without a counterpart, `OverflowError` for numbers and times that do
    /// not fit, `ValueError` for too many levels, `UnicodeEncodeError` for lone surrogates.
    pub(crate) fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(data) = value.cast::<Data>() {
            return Ok(data.get().encoded());
        }
        with_scratch(
            |bytes| encode(value, &mut data::Encoder::new(bytes)),
            |bytes| Ok(Self::trusted(bytes)),
        )
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::trusted(&self.0)
    }

    /// The text form.
    ///
    /// # Errors
    ///
    /// `UnicodeDecodeError` when a string in it is not UTF-8.
    pub(crate) fn text(&self, py: Python<'_>) -> PyResult<String> {
        let mut reader = Reader::new(&self.0);
        while reader.remaining() > 0 {
            match reader.next_item() {
                Ok(Item::String(bytes) | Item::EnumValue(bytes)) => _ = utf8(py, bytes)?,
                Ok(_) => {}
                Err(error) => return Err(PyValueError::new_err(error.to_string())),
            }
        }
        Ok(self.view().to_string())
    }
}

impl PartialEq for Encoded {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Encoded {}

impl PartialOrd for Encoded {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Encoded {
    fn cmp(&self, other: &Self) -> Ordering {
        data::compare(&self.0, &other.0)
    }
}

impl Hash for Encoded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal values can have different bytes (0.0 and -0.0), so the value is hashed.
        self.view().to_value().hash(state);
    }
}

/// One value, immutable; hashed and ordered first by type, then by value.
///
/// `Data(x)` converts a Python value: raises `TypeError` for types without a counterpart and
/// `OverflowError` for numbers and times that do not fit. `str(data)` is the canonical text.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug)]
pub(crate) struct Data(Mutex<Encoded>);

impl Data {
    pub(crate) fn new(encoded: Encoded) -> Self {
        Self(Mutex::new(encoded))
    }

    pub(crate) fn encoded(&self) -> Encoded {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn access<T>(&self, read: impl FnOnce(View<'_>) -> Option<T>) -> PyResult<T> {
        let encoded = self.encoded();
        read(encoded.view()).ok_or_else(|| PyRuntimeError::new_err("bad variant access"))
    }
}

/// The value of an argument that must be a `Data`.
pub(crate) fn encoded_of(value: &Bound<'_, PyAny>) -> PyResult<Encoded> {
    match value.cast::<Data>() {
        Ok(data) => Ok(data.get().encoded()),
        Err(_) => Err(expected("a Data", value)),
    }
}

#[pymethods]
impl Data {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(x=None)")]
    fn py_new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, pyo3::types::PyDict>>,
    ) -> Self {
        Self::new(Encoded::nil())
    }

    #[pyo3(signature = (x = None))]
    fn __init__(&self, x: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        if let Some(x) = x {
            let encoded = Encoded::of(x)?;
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = encoded;
        }
        Ok(())
    }

    /// Converts a Python value; the same as calling the class.
    #[classmethod]
    fn from_py<'py>(
        cls: &Bound<'py, PyType>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        cls.call1((x,))
    }

    /// Converts a `Data` to Python. Raises `TypeError` when a set or table cannot be hashed where
    /// Python needs it; `ImmutableData.to_py` can convert those too.
    #[staticmethod]
    fn to_py<'py>(d: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decode(d.py(), encoded_of(d)?.bytes(), Flavour::Mutable)
    }

    /// Reads the JSON that WebSocket clients of Broker and Zeek write, as str or bytes; also what
    /// `to_json(d, lossless=True)` returns. Raises `ValueError` that says what is wrong where.
    #[classmethod]
    fn from_json<'py>(
        cls: &Bound<'py, PyType>,
        text: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let encoded = with_scratch(
            |bytes| Ok(decode_json(&json_text(text)?, bytes)?),
            |bytes| Ok(Encoded::trusted(bytes)),
        )?;
        cls.call1((Self::new(encoded),))
    }

    /// Writes the JSON that WebSocket clients of Broker and Zeek read, of a `Data` or an event. It has milliseconds, and
    /// replacement characters for what is not UTF-8; `lossless` keeps nanoseconds and all bytes.
    #[staticmethod]
    #[pyo3(signature = (d, lossless = false))]
    fn to_json(d: &Bound<'_, PyAny>, lossless: bool) -> PyResult<String> {
        let form = if lossless {
            Form::Lossless
        } else {
            Form::Compatible
        };
        let encoded = match d.cast::<Message>() {
            Ok(message) => message.get().encoded(),
            Err(_) => encoded_of(d)?,
        };
        json::to_text(encoded.bytes(), form)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// The type of the value.
    fn get_type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, DataType>> {
        DataType::object(py, self.encoded().bytes().first().copied().unwrap_or(0))
    }

    /// The address. Raises `RuntimeError` for other types, like all `as_` methods.
    fn as_address(&self) -> PyResult<Address> {
        self.access(|view| view.as_address()).map(Address::new)
    }

    /// The boolean.
    fn as_boolean(&self) -> PyResult<bool> {
        self.access(|view| view.as_bool())
    }

    /// The count as int.
    fn as_count(&self) -> PyResult<u64> {
        self.access(|view| view.as_count())
    }

    /// The enumeration's value.
    fn as_enum_value(&self) -> PyResult<Enum> {
        self.access(|view| view.as_enum().map(Enum::new))
    }

    /// The integer.
    fn as_integer(&self) -> PyResult<i64> {
        self.access(|view| view.as_integer())
    }

    /// Always raises `TypeError` for nil; there is no object for it.
    fn as_none(&self) -> PyResult<()> {
        self.access(|view| (view.bytes() == [0]).then_some(()))?;
        Err(PyTypeError::new_err("nil has no accessor: use Data.to_py"))
    }

    /// The port.
    fn as_port(&self) -> PyResult<Port> {
        self.access(|view| view.as_port()).map(Port::new)
    }

    /// The real number.
    fn as_real(&self) -> PyResult<f64> {
        self.access(|view| view.as_real())
    }

    /// A copy of the set.
    fn as_set(&self) -> PyResult<Set> {
        self.access(Set::from_view)
    }

    /// The string as bytes.
    fn as_string<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.access(|view| view.as_bytes().map(|bytes| PyBytes::new(py, bytes)))
    }

    /// The subnet.
    fn as_subnet(&self) -> PyResult<Subnet> {
        self.access(|view| view.as_subnet()).map(Subnet::new)
    }

    /// A copy of the table.
    fn as_table(&self) -> PyResult<Table> {
        self.access(Table::from_view)
    }

    /// The timespan in seconds.
    fn as_timespan(&self) -> PyResult<f64> {
        self.access(|view| view.as_timespan())
            .map(|span| span.ns() as f64 / 1e9)
    }

    /// The timestamp in seconds since 1970 UTC.
    fn as_timestamp(&self) -> PyResult<f64> {
        self.access(|view| view.as_timestamp())
            .map(|stamp| stamp.ns() as f64 / 1e9)
    }

    /// A copy of the vector.
    fn as_vector(&self) -> PyResult<Vector> {
        self.access(Vector::from_view)
    }

    fn __hash__(&self) -> isize {
        hash_of(&self.encoded())
    }

    fn __richcmp__(&self, other: &Bound<'_, Self>, op: CompareOp) -> bool {
        op.matches(self.encoded().cmp(&other.get().encoded()))
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        self.encoded().text(py)
    }

    fn __setstate__(&self, state: &Bound<'_, PyBytes>) -> PyResult<()> {
        data::validate(state.as_bytes())
            .map_err(|error| PyValueError::new_err(format!("not an encoded value: {error}")))?;
        let encoded = Encoded::trusted(state.as_bytes());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = encoded;
        Ok(())
    }

    fn __getstate__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.encoded().bytes())
    }
}

/// The bytes of a text.
fn json_text<'a>(text: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(text) = text.cast::<PyString>() {
        // Borrowed where the interpreter's interface allows it.
        return Ok(match text.to_cow()? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        });
    }
    match text.cast::<PyBytes>() {
        Ok(bytes) => Ok(Cow::Borrowed(bytes.as_bytes())),
        Err(_) => Err(expected("a str or bytes", text)),
    }
}

fn decode_json(text: &[u8], bytes: &mut Vec<u8>) -> PyResult<()> {
    json::decode(text, Form::Lossless, bytes)
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Converts a `Data` to hashable, read-only Python values: `frozenset` for sets,
/// `ImmutableData.HashableReadOnlyDict` for tables.
#[pyfunction]
pub(crate) fn immutable_to_py<'py>(d: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    decode(d.py(), encoded_of(d)?.bytes(), Flavour::Immutable)
}

/// Writes what is encoded already; the encoder checks that the whole does not get too deep.
pub(crate) fn append(encoded: &Encoded, enc: &mut data::Encoder<'_>) -> Fallible {
    Ok(enc.encode(&encoded.view())?)
}

/// Puts the nested enumeration on the class.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    TypeNames::register(py)?;
    py.get_type::<Data>()
        .setattr("Type", DataType::register(py, "Data.Type")?)
}
