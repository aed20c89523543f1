//! Permissions: a file, or a dict that says the same.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDateTime, PyDict, PyInt, PyList, PyString, PyTuple};

use broker::data::json::put_string;
use broker::policy::PolicyFile;

use crate::argument::file_name;
use crate::error::from_broker;

/// Containers inside one another: twice of what a policy has.
const DEPTH_MAX: usize = 8;

/// Reads a policy from the file of that name, or from a dict with the keys of such a file.
///
/// # Errors
///
/// `ConfigurationError` says what makes no sense, for a file with line and column.
pub(crate) fn policy(value: &Bound<'_, PyAny>) -> PyResult<broker::PolicyOptions> {
    let read = match value.cast::<PyDict>() {
        Ok(dict) => PolicyFile::parse(&text(dict)?, "policy"),
        Err(_) => PolicyFile::read(file_name(value)?),
    };
    read.map(Into::into).map_err(|error| from_broker(&error))
}

/// A dict as a file: a line for each key, whose value is on it.
fn text(dict: &Bound<'_, PyDict>) -> PyResult<String> {
    let mut text = String::new();
    for (key, value) in dict {
        put_key(&mut text, &key)?;
        put(&mut text, &value, 0)?;
        text.push('\n');
    }
    Ok(text)
}

fn put_key(text: &mut String, key: &Bound<'_, PyAny>) -> PyResult<()> {
    put_text(text, key.cast::<PyString>()?)?;
    text.push_str(" = ");
    Ok(())
}

/// A string in quotes: TOML has the escapes of JSON.
fn put_text(text: &mut String, string: &Bound<'_, PyString>) -> PyResult<()> {
    put_string(text, &string.to_cow()?);
    Ok(())
}

fn put(text: &mut String, value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    if depth >= DEPTH_MAX {
        return Err(PyValueError::new_err("too many dicts inside one another"));
    }
    if let Ok(string) = value.cast::<PyString>() {
        put_text(text, string)
    } else if let Ok(dict) = value.cast::<PyDict>() {
        text.push('{');
        for (index, (key, value)) in dict.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { ", " });
            put_key(text, &key)?;
            put(text, &value, depth + 1)?;
        }
        text.push('}');
        Ok(())
    } else if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        text.push('[');
        for (index, value) in value.try_iter()?.enumerate() {
            text.push_str(if index == 0 { "" } else { ", " });
            put(text, &value?, depth + 1)?;
        }
        text.push(']');
        Ok(())
    } else if let Ok(flag) = value.cast::<PyBool>() {
        text.push_str(if flag.is_true() { "true" } else { "false" });
        Ok(())
    } else if value.is_instance_of::<PyInt>() {
        text.push_str(&value.str()?.to_cow()?);
        Ok(())
    } else if value.is_instance_of::<PyDateTime>() {
        let time = value.call_method0("isoformat")?;
        text.push_str(&time.cast::<PyString>()?.to_cow()?);
        Ok(())
    } else {
        let kind = value.get_type().name()?.to_string();
        Err(PyValueError::new_err(format!("a policy has no {kind}")))
    }
}
