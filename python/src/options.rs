//! Options that a call takes as one mapping, by their names.
//!
//! No value of a mapping is repeated in an error, as some are secrets.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

/// A mapping with options of known names, as the argument of a call.
pub(crate) struct OptionMapping<'a, 'py> {
    given: &'a Bound<'py, PyMapping>,
    /// The argument's name.
    argument: &'static str,
}

impl<'a, 'py> OptionMapping<'a, 'py> {
    /// # Errors
    ///
    /// `ValueError` for what is no mapping, and for one with other names.
    pub(crate) fn new(
        given: &'a Bound<'py, PyAny>,
        argument: &'static str,
        names: &[&str],
    ) -> PyResult<Self> {
        let given = given.cast::<PyMapping>().map_err(|_| {
            PyValueError::new_err(format!(
                "expected `{argument}` to be a mapping, with the options {}",
                names.join(", ")
            ))
        })?;
        for name in given.keys()? {
            let name = name.str()?.to_string();
            if !names.contains(&name.as_str()) {
                return Err(PyValueError::new_err(format!(
                    "expected `{argument}` to have the options {}, found `{name}`",
                    names.join(", ")
                )));
            }
        }
        Ok(Self { given, argument })
    }

    /// The text under a name; nothing where it is not given, or None.
    pub(crate) fn text(&self, name: &str) -> PyResult<Option<String>> {
        self.value(name, "text")
    }

    /// The path under a name, if one is given.
    pub(crate) fn path(&self, name: &str) -> PyResult<Option<PathBuf>> {
        self.value(name, "a path")
    }

    /// The flag under a name, if one is given.
    pub(crate) fn flag(&self, name: &str) -> PyResult<Option<bool>> {
        self.value(name, "True or False")
    }

    fn value<T>(&self, name: &str, wanted: &str) -> PyResult<Option<T>>
    where
        T: for<'x> FromPyObject<'x, 'py>,
    {
        if !self.given.contains(name)? {
            return Ok(None);
        }
        let value = self.given.get_item(name)?;
        if value.is_none() {
            return Ok(None);
        }
        value.extract().map(Some).map_err(|_| {
            PyValueError::new_err(format!(
                "expected the option `{name}` of `{}` to be {wanted}",
                self.argument
            ))
        })
    }
}
