//! `Vector`, `Set`, `Table`: containers of `Data`, as `Data.as_vector()` and its like return them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use broker::data::View;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PySlice, PyTuple, PyType};

use crate::data::{Data, Encoded, encoded_of};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The elements of a constructor's argument; what is no `Data` is a `RuntimeError`, as always.
fn elements(argument: &Bound<'_, PyAny>) -> PyResult<Vec<Encoded>> {
    argument
        .try_iter()?
        .map(|element| {
            encoded_of(&element?)
                .map_err(|error| PyRuntimeError::new_err(error.value(argument.py()).to_string()))
        })
        .collect()
}

/// A list of new `Data` objects.
fn list_of<'py>(
    py: Python<'py>,
    elements: impl IntoIterator<Item = Encoded>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for element in elements {
        list.append(Bound::new(py, Data::new(element))?)?;
    }
    Ok(list)
}

fn iterate<'py>(list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyIterator>> {
    list.as_any().try_iter()
}

/// `Name[a, b]` and its like.
fn text_of<'a>(
    py: Python<'_>,
    elements: impl Iterator<Item = &'a Encoded>,
) -> PyResult<Vec<String>> {
    elements.map(|element| element.text(py)).collect()
}

/// List of `Data`. Other elements raise `TypeError`, or `RuntimeError` in the constructor.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug, Default)]
pub(crate) struct Vector(Mutex<Vec<Encoded>>);

impl Vector {
    pub(crate) fn from_view(view: View<'_>) -> Option<Self> {
        (view.kind() == broker::data::Kind::Vector).then(|| Self(Mutex::new(copy_elements(view))))
    }

    pub(crate) fn snapshot(&self) -> Vec<Encoded> {
        lock(&self.0).clone()
    }

    /// Lets Python's list do what needs its rules for indices and slices.
    fn through_list<'py, R>(
        &self,
        py: Python<'py>,
        work: impl FnOnce(&Bound<'py, PyList>) -> PyResult<R>,
    ) -> PyResult<R> {
        let list = list_of(py, self.snapshot())?;
        let result = work(&list)?;
        let changed = list
            .iter()
            .map(|element| encoded_of(&element))
            .collect::<PyResult<_>>()?;
        *lock(&self.0) = changed;
        Ok(result)
    }
}

fn copy_elements(view: View<'_>) -> Vec<Encoded> {
    view.elements()
        .map(|element| Encoded::trusted(element.bytes()))
        .collect()
}

#[pymethods]
impl Vector {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(elements=(), /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    #[pyo3(signature = (elements = None, /))]
    fn __init__(&self, elements: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        if let Some(argument) = elements {
            let elements = self::elements(argument)?;
            *lock(&self.0) = elements;
        }
        Ok(())
    }

    /// Adds an element at the end.
    fn append(&self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        let element = encoded_of(x)?;
        lock(&self.0).push(element);
        Ok(())
    }

    /// Removes all elements.
    fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Counts the elements equal to `x`.
    fn count(&self, x: &Bound<'_, PyAny>) -> PyResult<usize> {
        let wanted = encoded_of(x)?;
        Ok(lock(&self.0)
            .iter()
            .filter(|element| **element == wanted)
            .count())
    }

    /// Adds all elements of an iterable at the end.
    #[pyo3(signature = (L))]
    #[expect(non_snake_case, reason = "the parameter's name is part of the API")]
    fn extend(&self, L: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut elements = elements(L)?;
        lock(&self.0).append(&mut elements);
        Ok(())
    }

    /// Inserts an element before index `i`. Raises `IndexError` beyond the ends.
    fn insert(&self, i: isize, x: &Bound<'_, PyAny>) -> PyResult<()> {
        let element = encoded_of(x)?;
        let mut elements = lock(&self.0);
        let length = elements.len();
        let index = if i < 0 {
            i.checked_add_unsigned(length)
        } else {
            Some(i)
        };
        match index.and_then(|index| usize::try_from(index).ok()) {
            Some(index) if index <= length => {
                elements.insert(index, element);
                Ok(())
            }
            _ => Err(PyIndexError::new_err("insert index out of range")),
        }
    }

    /// Removes and returns the last element, or the one at index `i`.
    #[pyo3(signature = (i = -1), text_signature = "($self, i=-1)")]
    fn pop<'py>(&self, py: Python<'py>, i: isize) -> PyResult<Bound<'py, PyAny>> {
        self.through_list(py, |list| list.call_method1("pop", (i,)))
    }

    /// Removes the first element equal to `x`. Raises `ValueError` when there is none.
    fn remove(&self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        let wanted = encoded_of(x)?;
        let mut elements = lock(&self.0);
        match elements.iter().position(|element| *element == wanted) {
            Some(index) => {
                elements.remove(index);
                Ok(())
            }
            None => Err(PyValueError::new_err("no such element")),
        }
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = index.py();
        if !index.is_instance_of::<PySlice>() {
            let index: isize = index.extract()?;
            let elements = lock(&self.0);
            let length = elements.len();
            let index = if index < 0 {
                index.checked_add_unsigned(length)
            } else {
                Some(index)
            };
            let element = index
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| elements.get(index).cloned())
                .ok_or_else(|| PyIndexError::new_err("vector index out of range"))?;
            drop(elements);
            return Ok(Bound::new(py, Data::new(element))?.into_any());
        }
        let part = list_of(py, self.snapshot())?.as_any().get_item(index)?;
        let part = Self(Mutex::new(elements(&part)?));
        Ok(Bound::new(py, part)?.into_any())
    }

    fn __setitem__(&self, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !index.is_instance_of::<PySlice>() {
            encoded_of(value)?;
        }
        self.through_list(index.py(), |list| list.as_any().set_item(index, value))
    }

    fn __delitem__(&self, index: &Bound<'_, PyAny>) -> PyResult<()> {
        self.through_list(index.py(), |list| list.as_any().del_item(index))
    }

    fn __contains__(&self, x: &Bound<'_, PyAny>) -> bool {
        encoded_of(x).is_ok_and(|wanted| lock(&self.0).contains(&wanted))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        iterate(&list_of(py, self.snapshot())?)
    }

    fn __len__(&self) -> usize {
        lock(&self.0).len()
    }

    fn __bool__(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    fn __eq__(&self, other: &Bound<'_, Self>) -> bool {
        self.snapshot() == other.get().snapshot()
    }

    #[classattr]
    const __hash__: Option<Py<PyAny>> = None;

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Vector[{}]",
            text_of(py, self.snapshot().iter())?.join(", ")
        ))
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, (Bound<'py, PyList>,))> {
        Ok((slf.get_type(), (list_of(slf.py(), slf.get().snapshot())?,)))
    }
}

/// Sorted set of `Data`. Other elements raise `TypeError`, or `RuntimeError` in the constructor.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug, Default)]
pub(crate) struct Set(Mutex<BTreeSet<Encoded>>);

impl Set {
    pub(crate) fn from_view(view: View<'_>) -> Option<Self> {
        (view.kind() == broker::data::Kind::Set)
            .then(|| Self(Mutex::new(copy_elements(view).into_iter().collect())))
    }

    pub(crate) fn snapshot(&self) -> BTreeSet<Encoded> {
        lock(&self.0).clone()
    }
}

#[pymethods]
impl Set {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(elements=(), /)")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    #[pyo3(signature = (elements = None, /))]
    fn __init__(&self, elements: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        if let Some(argument) = elements {
            let elements = self::elements(argument)?.into_iter().collect();
            *lock(&self.0) = elements;
        }
        Ok(())
    }

    /// Adds an element.
    fn add(&self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        let element = encoded_of(x)?;
        lock(&self.0).insert(element);
        Ok(())
    }

    /// Removes all elements.
    fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Removes an element, if it is there.
    fn remove(&self, x: &Bound<'_, PyAny>) -> PyResult<()> {
        let element = encoded_of(x)?;
        lock(&self.0).remove(&element);
        Ok(())
    }

    fn __contains__(&self, x: &Bound<'_, PyAny>) -> bool {
        encoded_of(x).is_ok_and(|wanted| lock(&self.0).contains(&wanted))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        iterate(&list_of(py, self.snapshot())?)
    }

    fn __len__(&self) -> usize {
        lock(&self.0).len()
    }

    fn __bool__(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    fn __eq__(&self, other: &Bound<'_, Self>) -> bool {
        self.snapshot() == other.get().snapshot()
    }

    #[classattr]
    const __hash__: Option<Py<PyAny>> = None;

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "Set{{{}}}",
            text_of(py, self.snapshot().iter())?.join(", ")
        ))
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, (Bound<'py, PyList>,))> {
        Ok((slf.get_type(), (list_of(slf.py(), slf.get().snapshot())?,)))
    }
}

/// Sorted table from `Data` to `Data`. Other keys and values raise `TypeError`.
#[pyclass(frozen, subclass, module = "broker._broker")]
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<BTreeMap<Encoded, Encoded>>);

impl Table {
    pub(crate) fn from_view(view: View<'_>) -> Option<Self> {
        (view.kind() == broker::data::Kind::Table).then(|| {
            let entries = view.entries().map(|(key, value)| {
                (
                    Encoded::trusted(key.bytes()),
                    Encoded::trusted(value.bytes()),
                )
            });
            Self(Mutex::new(entries.collect()))
        })
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<Encoded, Encoded> {
        lock(&self.0).clone()
    }
}

/// The text of a key that is not there; the empty text when it has none.
fn missing(key: &Encoded, py: Python<'_>) -> PyErr {
    PyKeyError::new_err(key.text(py).unwrap_or_default())
}

#[pymethods]
impl Table {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn py_new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    fn __init__(&self) {}

    /// The entries as (key, value) pairs, in order of their keys.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for (key, value) in self.snapshot() {
            list.append((Data::new(key), Data::new(value)))?;
        }
        Ok(list)
    }

    /// The keys, in order.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        list_of(py, self.snapshot().into_keys())
    }

    /// The values, in order of their keys.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        list_of(py, self.snapshot().into_values())
    }

    fn __getitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<Data> {
        let key_bytes = encoded_of(key)?;
        let value = lock(&self.0).get(&key_bytes).cloned();
        value
            .map(Data::new)
            .ok_or_else(|| missing(&key_bytes, key.py()))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (key, value) = (encoded_of(key)?, encoded_of(value)?);
        lock(&self.0).insert(key, value);
        Ok(())
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let key_bytes = encoded_of(key)?;
        let removed = lock(&self.0).remove(&key_bytes);
        removed
            .map(|_| ())
            .ok_or_else(|| missing(&key_bytes, key.py()))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> bool {
        encoded_of(key).is_ok_and(|key| lock(&self.0).contains_key(&key))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        iterate(&self.keys(py)?)
    }

    fn __len__(&self) -> usize {
        lock(&self.0).len()
    }

    fn __bool__(&self) -> bool {
        !lock(&self.0).is_empty()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let entries: Vec<String> = self
            .snapshot()
            .iter()
            .map(|(key, value)| Ok(format!("{}: {}", key.text(py)?, value.text(py)?)))
            .collect::<PyResult<_>>()?;
        Ok(format!("Table{{{}}}", entries.join(", ")))
    }

    fn __setstate__(&self, state: &Bound<'_, PyDict>) -> PyResult<()> {
        for entry in state.call_method0("items")?.try_iter()? {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry?.extract()?;
            self.__setitem__(&key, &value)?;
        }
        Ok(())
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, (), Bound<'py, PyDict>)> {
        let py = slf.py();
        let entries = PyDict::new(py);
        for (key, value) in slf.get().snapshot() {
            entries.set_item(Data::new(key), Data::new(value))?;
        }
        Ok((slf.get_type(), (), entries))
    }
}
