//! The `broker` command inside the extension module.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command with its arguments, the name of the program first; returns the exit code. It
/// reads and writes the streams of the process, and the interpreter is free meanwhile.
#[pyfunction]
pub(crate) fn _command(py: Python<'_>, arguments: Vec<OsString>) -> i32 {
    py.detach(|| {
        let mut console = broker_cli::Console::of_process();
        broker_cli::run(arguments, &mut console)
    })
}
