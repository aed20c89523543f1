//! Recordings as lists: what a test plays back.

use std::path::PathBuf;

use broker::recording::{RecordingFileError, RecordingReader};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::data::{Data, Encoded};
use crate::text;

/// What ends the reading of a recording.
enum ReadError {
    File(RecordingFileError),
    Python(PyErr),
}

impl From<RecordingFileError> for ReadError {
    fn from(error: RecordingFileError) -> Self {
        Self::File(error)
    }
}

impl From<ReadError> for PyErr {
    fn from(failure: ReadError) -> Self {
        match failure {
            ReadError::Python(error) => error,
            ReadError::File(error @ RecordingFileError::NotARecording { .. }) => {
                PyValueError::new_err(error.to_string())
            }
            ReadError::File(error) => PyOSError::new_err(error.to_string()),
        }
    }
}

/// The messages of a recording, a new list of (topic, Data), up to where the file is damaged.
///
/// Raises OSError when it cannot be read, ValueError when it is none.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(crate) fn read_recording(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    let mut reader = RecordingReader::open(path).map_err(ReadError::File)?;
    while reader.next_block(|_, message| {
        let add = || {
            // What a file holds was not looked at yet.
            broker::data::validate(message.payload)
                .map_err(|error| PyValueError::new_err(format!("not a value: {error}")))?;
            let topic = text::to_str(py, message.topic)?;
            list.append((topic, Data::new(Encoded::trusted(message.payload))))
        };
        add().map_err(ReadError::Python)
    })? {}
    Ok(list)
}
