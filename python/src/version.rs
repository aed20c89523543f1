//! `Version`: which release of the original this stands in for.

use pyo3::prelude::*;

use crate::argument::Whole;

const MAJOR: u32 = 2;
const MINOR: u32 = 8;
const PATCH: u32 = 0;

/// Version of the wire protocol.
const PROTOCOL: u32 = 2;

/// The release as text, such as `2.8.0`.
#[pyfunction]
fn string() -> String {
    format!("{MAJOR}.{MINOR}.{PATCH}")
}

/// Whether endpoints of that protocol version can peer with ours.
#[pyfunction]
#[pyo3(signature = (version, /))]
fn compatible(version: Whole<i64>) -> bool {
    version.0 == i64::from(PROTOCOL)
}

/// Adds the module `Version`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let version = PyModule::new(py, "broker._broker.Version")?;
    version.add("MAJOR", MAJOR)?;
    version.add("MINOR", MINOR)?;
    version.add("PATCH", PATCH)?;
    version.add("PROTOCOL", PROTOCOL)?;
    version.add("suffix", "")?;
    version.add_function(wrap_pyfunction!(string, &version)?)?;
    version.add_function(wrap_pyfunction!(compatible, &version)?)?;
    py.import("sys")?
        .getattr("modules")?
        .set_item("broker._broker.Version", &version)?;
    version.delattr("__all__")?;
    module.add("Version", version)
}
