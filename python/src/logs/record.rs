//! `broker.zeek.LogRecord`: a record of a log, and the objects of its fields.

use broker::zeek::{JsonEscape, JsonOptions, JsonTimes, LogElements, LogValue};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyMapping, PyString, PyTuple};

use super::schema::LogSchema;
use crate::decode::{address, datetime, subnet, timedelta};
use crate::text::to_str;
use crate::types::port::Port;

/// A record of a log: a read-only mapping from the names of the fields that are set to values.
///
/// `record[name]` is None for a field that is unset and raises KeyError for a name that is no
/// field; `get`, `in`, `len` and iteration know set fields only, as Zeek's JSON logs do. Values
/// are made when they are asked for; `to_dict()` makes all at once. Cannot be constructed.
///
/// Counts and ints are int, doubles float, strings, enums, functions and files str (bytes that are
/// not UTF-8 are surrogate escapes), times aware datetimes, intervals timedeltas (the nearest one if
/// they do not fit, None for nan), addresses and networks those of ipaddress, ports broker.Port,
/// sets frozensets, vectors tuples. A field has the same type in all records; `raw` has its bytes.
#[pyclass(frozen, mapping, module = "broker.zeek")]
#[derive(Debug)]
pub(crate) struct LogRecord {
    record: broker::zeek::LogRecord,
    schema: Py<LogSchema>,
}

impl LogRecord {
    /// A record of a log with this schema.
    pub(super) const fn new(record: broker::zeek::LogRecord, schema: Py<LogSchema>) -> Self {
        Self { record, schema }
    }

    pub(crate) const fn record(&self) -> &broker::zeek::LogRecord {
        &self.record
    }

    fn at<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = self.record.at(place);
        value.map(|value| object(py, value)).transpose()
    }

    /// The set fields: names and values.
    fn fields<'a, 'py: 'a>(
        &'a self,
        py: Python<'py>,
    ) -> impl Iterator<Item = (&'a Bound<'py, PyString>, LogValue<'a>)> {
        let names = &self.schema.get().names;
        let fields = names.iter().zip(self.record.values());
        fields.filter_map(move |(name, value)| Some((name.bind(py), value?)))
    }
}

#[pymethods]
impl LogRecord {
    /// What all records of this log have in common.
    #[getter]
    fn schema(&self, py: Python<'_>) -> Py<LogSchema> {
        self.schema.clone_ref(py)
    }

    /// Path of the log, such as `conn`.
    #[getter]
    fn path(&self) -> &str {
        self.record.schema().path()
    }

    /// Name of the stream, such as `Conn::LOG`.
    #[getter]
    fn stream(&self) -> &str {
        self.record.schema().stream()
    }

    fn __getitem__<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.schema.get().place(name)? {
            Some(place) => self.at(name.py(), place),
            None => Err(PyKeyError::new_err(name.clone().unbind())),
        }
    }

    /// The value of a field, or the default if it is unset or there is no such field.
    #[pyo3(signature = (name, default = None, /))]
    fn get<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = match self.schema.get().place(name)? {
            Some(place) => self.at(name.py(), place)?,
            None => None,
        };
        Ok(value.or(default))
    }

    /// The value of a field as it was sent: bytes for strings, enums, functions and files, seconds
    /// as float for times and intervals, also in sets and vectors; others are as `record[name]`.
    /// None for a field that is unset, KeyError for a name that is no field.
    #[pyo3(signature = (name, /))]
    fn raw<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.schema.get().place(name)? {
            Some(place) => {
                let value = self.record.at(place);
                value.map(|value| raw(name.py(), value)).transpose()
            }
            None => Err(PyKeyError::new_err(name.clone().unbind())),
        }
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let place = self.schema.get().place(name)?;
        Ok(place.is_some_and(|place| self.record.at(place).is_some()))
    }

    fn __len__(&self) -> usize {
        self.record.values().flatten().count()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let names: Vec<_> = self.fields(py).map(|(name, _)| name).collect();
        Ok(PyTuple::new(py, names)?.try_iter()?.into_any())
    }

    /// The names of the fields that are set.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.to_dict(py)?.call_method0(intern!(py, "keys"))
    }

    /// The values of the fields that are set.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.to_dict(py)?.call_method0(intern!(py, "values"))
    }

    /// Names and values of the fields that are set.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.to_dict(py)?.call_method0(intern!(py, "items"))
    }

    /// A dict of the fields that are set.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in self.fields(py) {
            dict.set_item(name, object(py, value)?)?;
        }
        Ok(dict)
    }

    /// One line of JSON as Zeek spells it in its JSON logs, without the end of the line.
    ///
    /// `include_unset` writes unset fields, as null. `timestamps` is "epoch" (seconds), "millis" or
    /// "iso8601". `escape` says what becomes of bytes that are not UTF-8 and of control characters:
    /// "zeek" makes the text `\\xff` of them, "replace" replacement characters and JSON's own
    /// escapes, "surrogate" escapes that `json.loads` makes the `str` of that `record[name]` is.
    #[pyo3(signature = (*, include_unset = false, timestamps = "epoch", escape = "zeek"))]
    fn json(&self, include_unset: bool, timestamps: &str, escape: &str) -> PyResult<String> {
        let mut options = JsonOptions::default();
        options.include_unset = include_unset;
        options.times = match timestamps {
            "epoch" => JsonTimes::Epoch,
            "millis" => JsonTimes::Millis,
            "iso8601" => JsonTimes::Iso8601,
            other => {
                return Err(choice(
                    "timestamps",
                    "`epoch`, `millis` or `iso8601`",
                    other,
                ));
            }
        };
        options.escape = match escape {
            "zeek" => JsonEscape::Zeek,
            "replace" => JsonEscape::Replace,
            "surrogate" => JsonEscape::Surrogates,
            other => return Err(choice("escape", "`zeek`, `replace` or `surrogate`", other)),
        };
        let mut line = String::new();
        self.record.write_json_with(options, &mut line);
        Ok(line)
    }

    /// One line of Zeek's ASCII logs, with tabs between the fields and without the end of the line;
    /// `schema.tsv_header()` goes above it.
    fn tsv(&self) -> String {
        self.record.to_tsv()
    }

    fn __richcmp__<'py>(
        &self,
        py: Python<'py>,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let equal = match (op, other.cast::<Self>()) {
            (CompareOp::Eq | CompareOp::Ne, Ok(other)) => {
                self.to_dict(py)?.eq(other.get().to_dict(py)?)?
            }
            (CompareOp::Eq | CompareOp::Ne, Err(_)) if other.cast::<PyMapping>().is_ok() => {
                self.to_dict(py)?.eq(other)?
            }
            _ => return Ok(py.NotImplemented().into_bound(py)),
        };
        let result = equal == matches!(op, CompareOp::Eq);
        Ok(PyBool::new(py, result).to_owned().into_any())
    }

    /// Pickles and copies as a dict.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let arguments = PyTuple::new(py, [self.to_dict(py)?])?;
        PyTuple::new(
            py,
            [py.get_type::<PyDict>().into_any(), arguments.into_any()],
        )
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<LogRecord {} {}>",
            self.path(),
            self.to_dict(py)?.repr()?
        ))
    }
}

fn choice(argument: &str, expected: &str, found: &str) -> PyErr {
    PyValueError::new_err(format!("{argument}: expected {expected}, found `{found}`"))
}

/// The object of a value.
fn object<'py>(py: Python<'py>, value: LogValue<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        LogValue::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        LogValue::Int(value) => value.into_pyobject(py)?.into_any(),
        LogValue::Count(value) => value.into_pyobject(py)?.into_any(),
        LogValue::Double(value) => PyFloat::new(py, value).into_any(),
        // A field has one type, whatever its value is: traffic has a say in values.
        LogValue::Time(seconds) => match microseconds(seconds) {
            Some(microseconds) => datetime(py, microseconds)?,
            None => py.None().into_bound(py),
        },
        LogValue::Interval(seconds) => match microseconds(seconds) {
            Some(microseconds) => timedelta(py, microseconds)?,
            None => py.None().into_bound(py),
        },
        LogValue::String(bytes)
        | LogValue::Enum(bytes)
        | LogValue::Func(bytes)
        | LogValue::File(bytes) => to_str(py, bytes)?.into_any(),
        LogValue::Port(port) => Bound::new(py, Port::new(port))?.into_any(),
        LogValue::Addr(value) => address(py, value)?,
        LogValue::Subnet(value) => subnet(py, value)?,
        LogValue::Set(values) => PyFrozenSet::new(py, elements(py, values, object)?)?.into_any(),
        LogValue::Vector(values) => PyTuple::new(py, elements(py, values, object)?)?.into_any(),
        _ => {
            return Err(PyTypeError::new_err(
                "a value of a type this module does not know",
            ));
        }
    })
}

/// Seconds as microseconds, rounded: in this century a double has no more. None if they are nan.
fn microseconds(seconds: f64) -> Option<i128> {
    // What is too large for the cast becomes the end of its range, which is out of all others.
    (!seconds.is_nan()).then(|| (seconds * 1e6).round_ties_even() as i128)
}

/// The object of a value as it was sent: bytes of strings, seconds of times.
fn raw<'py>(py: Python<'py>, value: LogValue<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        LogValue::Time(seconds) | LogValue::Interval(seconds) => {
            PyFloat::new(py, seconds).into_any()
        }
        LogValue::String(bytes)
        | LogValue::Enum(bytes)
        | LogValue::Func(bytes)
        | LogValue::File(bytes) => PyBytes::new(py, bytes).into_any(),
        LogValue::Set(values) => PyFrozenSet::new(py, elements(py, values, raw)?)?.into_any(),
        LogValue::Vector(values) => PyTuple::new(py, elements(py, values, raw)?)?.into_any(),
        other => object(py, other)?,
    })
}

fn elements<'py>(
    py: Python<'py>,
    values: LogElements<'_>,
    object: fn(Python<'py>, LogValue<'_>) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let object = |value: Option<LogValue<'_>>| match value {
        Some(value) => object(py, value),
        None => Ok(py.None().into_bound(py)),
    };
    values.iter().map(object).collect()
}
