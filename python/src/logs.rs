//! `broker._broker.zeek`: records of Zeek's logs.
//!
//! A record keeps its bytes and makes the objects of the fields that are asked for; what all
//! records of a log have in common is in one schema object. Iterating runs no Python code.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker::recording::{self, RecordingFileError, RecordingReader};
use broker::zeek::{JsonEscape, JsonOptions, JsonTimes, LogDecoder, LogElements, LogValue, Schema};
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyList, PyMapping, PyString, PyTuple,
};

use crate::decode::{address, datetime, subnet, timedelta};
use crate::error::{closed, from_broker, is_closed};
use crate::inbox::Inbox;
use crate::log_receiver::LogReceiver;
use crate::subscriber::{self, Subscriber};
use crate::text::to_str;
use crate::types::port::Port;
use crate::wait::{Limit, timeout};

/// A field of a log. Cannot be constructed.
#[pyclass(frozen, module = "broker.zeek")]
#[derive(Debug)]
pub(crate) struct LogField {
    schema: Arc<Schema>,
    index: usize,
}

impl LogField {
    fn field(&self) -> &broker::zeek::Field {
        &self.schema.fields()[self.index]
    }
}

#[pymethods]
impl LogField {
    /// Name, such as `id.orig_h`.
    #[getter]
    fn name(&self) -> &str {
        &self.field().name
    }

    /// Type as the headers of Zeek's logs spell it: `count`, `set[string]`, ...
    #[getter]
    fn r#type(&self) -> String {
        self.field().type_name()
    }

    /// Whether it may be unset.
    #[getter]
    fn optional(&self) -> bool {
        self.field().is_optional
    }

    fn __repr__(&self) -> String {
        let field = self.field();
        format!("<LogField {}: {}>", field.name, field.type_name())
    }
}

/// What is known about a log: names and fields. Cannot be constructed.
#[pyclass(frozen, module = "broker.zeek")]
#[derive(Debug)]
pub(crate) struct LogSchema {
    schema: Arc<Schema>,
    /// The fields' names, one object each for all records.
    names: Vec<Py<PyString>>,
    /// From names to places.
    places: Py<PyDict>,
}

impl LogSchema {
    fn new(py: Python<'_>, schema: &Arc<Schema>) -> PyResult<Self> {
        let names: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| PyString::intern(py, &field.name).unbind())
            .collect();
        let places = PyDict::new(py);
        for (place, name) in names.iter().enumerate() {
            places.set_item(name, place)?;
        }
        Ok(Self {
            schema: schema.clone(),
            names,
            places: places.unbind(),
        })
    }

    fn place(&self, name: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let place = self.places.bind(name.py()).get_item(name)?;
        place.map(|place| place.extract()).transpose()
    }
}

#[pymethods]
impl LogSchema {
    /// Name of the stream, such as `Conn::LOG`.
    #[getter]
    fn stream(&self) -> &str {
        self.schema.stream()
    }

    /// Name of the writer, such as `Log::WRITER_ASCII`.
    #[getter]
    fn writer(&self) -> &str {
        self.schema.writer()
    }

    /// Path, such as `conn`: the name of the log.
    #[getter]
    fn path(&self) -> &str {
        self.schema.path()
    }

    /// The names of the fields in their order.
    #[getter]
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.names)
    }

    /// The fields in their order.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let fields: Vec<_> = (0..self.names.len())
            .map(|index| LogField {
                schema: self.schema.clone(),
                index,
            })
            .map(|field| Bound::new(py, field))
            .collect::<PyResult<_>>()?;
        PyTuple::new(py, fields)
    }

    /// The lines above the records in Zeek's ASCII logs, as `record.tsv()` writes them. `opened` is
    /// what stands behind `#open`: a datetime, which is written as it reads, or None for now, in
    /// local time as in Zeek.
    #[pyo3(signature = (opened = None))]
    fn tsv_header(&self, py: Python<'_>, opened: Option<Bound<'_, PyAny>>) -> PyResult<String> {
        Ok(self.schema.tsv_header(&moment(py, opened)?))
    }

    /// The line below the records in Zeek's ASCII logs; `closed` is as `opened` in `tsv_header`.
    #[pyo3(signature = (closed = None))]
    fn tsv_footer(&self, py: Python<'_>, closed: Option<Bound<'_, PyAny>>) -> PyResult<String> {
        Ok(Schema::tsv_footer(&moment(py, closed)?))
    }

    fn __repr__(&self) -> String {
        format!("<LogSchema {} ({})>", self.path(), self.stream())
    }
}

/// A time as the headers of Zeek's ASCII logs have it.
fn moment(py: Python<'_>, time: Option<Bound<'_, PyAny>>) -> PyResult<String> {
    let time = match time {
        Some(time) => time,
        None => py
            .import("datetime")?
            .getattr("datetime")?
            .call_method0("now")?,
    };
    let text = time.call_method1(intern!(py, "strftime"), ("%Y-%m-%d-%H-%M-%S",))?;
    text.extract()
}

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

/// A schema and its object.
type KnownSchema = (Arc<Schema>, Py<LogSchema>);

/// The objects of the schemas seen so far.
#[derive(Debug, Default)]
struct Schemas {
    last: Option<KnownSchema>,
    /// By the address of the schema, which the entry keeps alive.
    all: HashMap<usize, KnownSchema>,
}

/// What was decoded and what went wrong.
#[derive(Debug)]
struct State {
    decoder: LogDecoder,
    skipped: u64,
    last_problem: Option<String>,
}

/// Where messages come from.
#[derive(Debug, Clone)]
enum Source {
    Subscriber(Arc<subscriber::SharedSubscriber>),
    Receiver(Arc<Inbox<broker::zeromq::LogReceiver>>),
    /// A file, and where in it one is.
    Recording(Arc<Mutex<RecordingReader>>),
}

/// Records of Zeek's logs; made by `broker.zeek.logs`.
///
/// Iterating waits for the next record and ends when the endpoint is shut down. Messages that
/// give no record are skipped and counted.
#[pyclass(frozen, subclass, weakref, module = "broker._broker.zeek")]
#[derive(Debug)]
pub(crate) struct Logs {
    source: Mutex<Option<Source>>,
    state: Mutex<State>,
    schemas: Mutex<Schemas>,
}

impl Logs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn schemas(&self) -> MutexGuard<'_, Schemas> {
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self) -> PyResult<Source> {
        // In two steps: making an exception can let another thread run, which may want the lock.
        let source = self
            .source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        source.ok_or_else(|| closed("the log stream was closed"))
    }

    /// The subscriber that messages come from.
    ///
    /// # Errors
    ///
    /// `ClosedError` after a reset, `TypeError` when they come from a log receiver or a file.
    pub(crate) fn subscriber(&self) -> PyResult<Arc<subscriber::SharedSubscriber>> {
        match self.source()? {
            Source::Subscriber(source) => Ok(source),
            Source::Receiver(_) => Err(PyTypeError::new_err(
                "expected logs of an endpoint, found those of a log receiver",
            )),
            Source::Recording(_) => Err(PyTypeError::new_err(
                "expected logs of an endpoint, found those of a recording",
            )),
        }
    }

    /// Takes out what is decoded already, past everything that went wrong.
    fn decoded(&self) -> Option<broker::zeek::LogRecord> {
        let mut state = self.state();
        loop {
            match state.decoder.poll_record()? {
                Ok(record) => return Some(record),
                Err(problem) => {
                    state.skipped += 1;
                    state.last_problem = Some(problem.to_string());
                }
            }
        }
    }

    /// Decodes messages, and warns of names that seem to be misspelt.
    fn handle(&self, py: Python<'_>, decode: impl FnOnce(&mut LogDecoder)) {
        let unknown: Vec<_> = {
            let mut state = self.state();
            decode(&mut state.decoder);
            std::iter::from_fn(|| state.decoder.poll_unknown_name()).collect()
        };
        for name in unknown {
            let warned = py.import("logging").and_then(|logging| {
                let logger = logging.call_method1("getLogger", ("broker.zeek",))?;
                logger.call_method1("warning", ("%s", name.to_string()))
            });
            if let Err(error) = warned {
                // The records are worth more than the warning.
                error.write_unraisable(py, None);
            }
        }
    }

    /// The object of a schema. No lock is held while objects are made.
    fn schema(&self, py: Python<'_>, schema: &Arc<Schema>) -> PyResult<Py<LogSchema>> {
        let key = Arc::as_ptr(schema) as usize;
        {
            let mut schemas = self.schemas();
            if let Some((known, object)) = &schemas.last
                && Arc::ptr_eq(known, schema)
            {
                return Ok(object.clone_ref(py));
            }
            if let Some((known, object)) = schemas.all.get(&key) {
                let found = object.clone_ref(py);
                schemas.last = Some((known.clone(), object.clone_ref(py)));
                return Ok(found);
            }
        }
        let made = Py::new(py, LogSchema::new(py, schema)?)?;
        let mut schemas = self.schemas();
        let entry = schemas.all.entry(key);
        let (_, object) = entry.or_insert_with(|| (schema.clone(), made));
        Ok(object.clone_ref(py))
    }

    fn object<'py>(
        &self,
        py: Python<'py>,
        record: &broker::zeek::LogRecord,
    ) -> PyResult<Bound<'py, LogRecord>> {
        let schema = self.schema(py, record.schema())?;
        // A copy: a record that is kept must not keep the buffer it arrived in.
        let record = record.detach();
        Bound::new(py, LogRecord { record, schema })
    }

    /// Decodes the next messages of a file; ClosedError says that there are no more.
    fn read(&self, py: Python<'_>, file: &Mutex<RecordingReader>) -> PyResult<()> {
        let mut problem = None;
        let (mut bad, mut result) = (0, Ok(true));
        self.handle(py, |decoder| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            result = file.next_block(|_, message| {
                if let Err(error) = recording::decode_log(decoder, message) {
                    bad += 1;
                    problem = Some(error.to_string());
                }
                Ok::<(), RecordingFileError>(())
            });
            if let (Ok(false), Some((error, bytes))) = (&result, file.damage()) {
                bad += 1;
                problem = Some(format!("{bytes} bytes at the end cannot be read: {error}"));
            }
        });
        if problem.is_some() {
            let mut state = self.state();
            state.skipped += bad;
            state.last_problem = problem;
        }
        match result {
            Ok(true) => Ok(()),
            Ok(false) => {
                // Damage is told once.
                let _over = self.take_source();
                Err(closed("the recording is over"))
            }
            Err(error) => Err(from_broker(&error.into())),
        }
    }

    fn take_source(&self) -> Option<Source> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.take()
    }

    fn next<'py>(&self, py: Python<'py>, limit: Limit) -> PyResult<Option<Bound<'py, LogRecord>>> {
        loop {
            if let Some(record) = self.decoded() {
                return self.object(py, &record).map(Some);
            }
            match self.source()? {
                Source::Subscriber(source) => {
                    let Some(message) = source.inbox.next(py, limit)? else {
                        return Ok(None);
                    };
                    self.handle(py, |decoder| decoder.handle_message(&message));
                }
                Source::Receiver(inbox) => {
                    let Some(message) = inbox.next(py, limit)? else {
                        return Ok(None);
                    };
                    self.handle(py, |decoder| decoder.handle_log_message(message.parts()));
                }
                Source::Recording(file) => self.read(py, &file)?,
            }
        }
    }
}

#[pymethods]
impl Logs {
    /// Takes over a subscriber or a log receiver, or reads a file of `broker record`, given by its path;
    /// `names` are paths or streams, None is all.
    #[new]
    #[pyo3(signature = (source, names = None, /))]
    fn py_new(source: &Bound<'_, PyAny>, names: Option<Vec<String>>) -> PyResult<Self> {
        let source = match source.cast::<LogReceiver>() {
            Ok(receiver) => Source::Receiver(receiver.get().inbox()?),
            Err(_) => match source.extract::<PathBuf>() {
                Ok(path) => {
                    let file = RecordingReader::open(path);
                    let file = file.map_err(|error| from_broker(&error.into()))?;
                    Source::Recording(Arc::new(Mutex::new(file)))
                }
                Err(_) => Source::Subscriber(source.cast::<Subscriber>()?.get().shared()?),
            },
        };
        let decoder = match names {
            Some(names) => LogDecoder::new().only(names),
            None => LogDecoder::new(),
        };
        Ok(Self {
            source: Mutex::new(Some(source)),
            state: Mutex::new(State {
                decoder,
                skipped: 0,
                last_problem: None,
            }),
            schemas: Mutex::default(),
        })
    }

    /// Waits for one record, for at most `timeout` (seconds, timedelta, Timespan; None: no
    /// limit). Returns None when none came.
    #[pyo3(signature = (timeout = None))]
    fn recv<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, LogRecord>>> {
        self.next(py, self::timeout(timeout)?)
    }

    /// Returns records that are there, without waiting; a flood comes in parts.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match self.source()? {
            Source::Subscriber(source) => {
                let messages = source.inbox.take_ready()?;
                self.handle(py, |decoder| {
                    messages.iter().for_each(|it| decoder.handle_message(it));
                });
            }
            Source::Receiver(inbox) => {
                let messages = inbox.take_ready()?;
                self.handle(py, |decoder| {
                    let mut messages = messages.iter();
                    messages
                        .by_ref()
                        .for_each(|it| decoder.handle_log_message(it.parts()));
                });
            }
            Source::Recording(file) => self.read(py, &file)?,
        }
        let records = PyList::empty(py);
        while let Some(record) = self.decoded() {
            records.append(self.object(py, &record)?)?;
        }
        Ok(records)
    }

    /// A descriptor that is readable while messages wait. Never read from it; `poll` drains it.
    /// ValueError for a recording, which never waits.
    fn fd(&self) -> PyResult<i32> {
        Ok(match self.source()? {
            Source::Subscriber(source) => source.inbox.queue()?.fd()?,
            Source::Receiver(inbox) => inbox.queue()?.fd()?,
            Source::Recording(_) => {
                return Err(PyValueError::new_err(
                    "a recording has no descriptor to wait for",
                ));
            }
        })
    }

    /// How many messages gave no record because something is wrong with them.
    #[getter]
    fn skipped(&self) -> u64 {
        self.state().skipped
    }

    /// What was wrong with the last of them; None if nothing was.
    #[getter]
    fn last_problem(&self) -> Option<String> {
        self.state().last_problem.clone()
    }

    /// What is known about the logs so far.
    #[getter(schemas)]
    fn py_schemas<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let known: Vec<_> = self.state().decoder.schemas().cloned().collect();
        let objects = known.iter().map(|schema| self.schema(py, schema));
        PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)
    }

    /// Ends the subscription. Other methods raise ClosedError from then on.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        match self.take_source() {
            None | Some(Source::Recording(_)) => {}
            Some(Source::Subscriber(source)) => {
                let queue = source.inbox.queue()?;
                py.detach(|| queue.close());
            }
            Some(Source::Receiver(inbox)) => {
                let queue = inbox.queue()?;
                py.detach(|| queue.close());
            }
        }
        Ok(())
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next record; the iteration ends when the endpoint is shut down.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, LogRecord>>> {
        match self.next(py, Limit::Forever) {
            Err(error) if is_closed(py, &error) => Ok(None),
            result => result,
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (r#type, value, traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        r#type: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _exception = (r#type, value, traceback);
        self.reset(py)
    }
}

/// Adds the classes.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LogField>()?;
    module.add_class::<LogSchema>()?;
    module.add_class::<LogRecord>()?;
    module.add_class::<Logs>()
}
