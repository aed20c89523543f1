//! `broker._broker.zeek`: records of Zeek's logs, as a stream.
//!
//! A record (`record`) keeps its bytes and makes the objects of the fields that are asked for; what
//! all records of a log have in common is in one schema object (`schema`). Iterating runs no Python
//! code.

mod record;
mod schema;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker::recording::{self, RecordingFileError, RecordingReader};
use broker::zeek::{LogDecoder, Schema};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use self::schema::{LogField, LogSchema};
use crate::error::{closed, from_broker, is_closed};
use crate::inbox::Inbox;
use crate::log_receiver::LogReceiver;
use crate::subscriber::{self, Subscriber};
use crate::wait::{Limit, timeout};

pub(crate) use self::record::LogRecord;

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
        Bound::new(py, LogRecord::new(record, schema))
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
