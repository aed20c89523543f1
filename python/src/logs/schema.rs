//! `broker.zeek.LogSchema` and `LogField`: what is known about a log.

use std::sync::Arc;

use broker::zeek::Schema;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

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
    pub(super) names: Vec<Py<PyString>>,
    /// From names to places.
    places: Py<PyDict>,
}

impl LogSchema {
    pub(super) fn new(py: Python<'_>, schema: &Arc<Schema>) -> PyResult<Self> {
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

    /// Where a field is, if there is one of that name.
    pub(super) fn place(&self, name: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
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
