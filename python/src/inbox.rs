//! What subscribers and status subscribers have in common: taking items off a queue, waiting for
//! them, and losing none when a call fails half-way.

use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyList, PyTuple};

use crate::error::closed;
use crate::process::Owned;
use crate::wait::{Limit, plain_seconds, wait};

/// A queue of the runtime.
pub(crate) trait Queue: Send + Sync {
    type Item: Send;

    /// Takes up to `max` items without waiting.
    fn take(&self, max: usize, into: &mut Vec<Self::Item>);

    /// Takes what is there without waiting, but no more than can be handled in one go.
    fn take_ready(&self, into: &mut Vec<Self::Item>);

    /// Puts items back in front, in the order given.
    fn put_back(&self, items: Vec<Self::Item>);

    /// Waits until there is something to take or the queue is closed; false when time is up.
    fn wait(&self, timeout: Duration) -> bool;

    /// Whether it is closed and empty.
    fn is_closed(&self) -> bool;
}

/// A queue and the rules for taking from it.
#[derive(Debug)]
pub(crate) struct Inbox<Q: Queue>(Owned<Q>);

impl<Q: Queue> Inbox<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        Self(Owned::new(queue))
    }

    pub(crate) fn queue(&self) -> PyResult<&Q> {
        self.0.get()
    }

    /// Takes what is there, but no more than can be handled in one go.
    pub(crate) fn take_ready(&self) -> PyResult<Vec<Q::Item>> {
        let mut items = Vec::new();
        self.queue()?.take_ready(&mut items);
        Ok(items)
    }

    /// Waits for one item; `None` when the limit is reached first.
    pub(crate) fn next(&self, py: Python<'_>, limit: Limit) -> PyResult<Option<Q::Item>> {
        Ok(self.gather(py, 1, limit)?.pop())
    }

    /// Waits without limit until `take` finds something.
    ///
    /// # Errors
    ///
    /// `ClosedError` when the queue is closed and nothing is left.
    pub(crate) fn until<T>(&self, py: Python<'_>, take: impl Fn(&Q) -> Option<T>) -> PyResult<T> {
        let queue = self.queue()?;
        loop {
            if let Some(found) = take(queue) {
                return Ok(found);
            }
            if queue.is_closed() {
                return Err(closed("subscriber queue closed"));
            }
            wait(py, Limit::Forever, |slice| queue.wait(slice).then_some(()))?;
        }
    }

    /// Waits for `count` items, and returns fewer when the limit is reached first.
    ///
    /// # Errors
    ///
    /// `ClosedError` when the queue was closed before there were enough; they stay in the queue,
    /// unless the call had a limit: then fewer are returned.
    pub(crate) fn gather(
        &self,
        py: Python<'_>,
        count: usize,
        limit: Limit,
    ) -> PyResult<Vec<Q::Item>> {
        let queue = self.queue()?;
        let mut items = Vec::new();
        loop {
            queue.take(count - items.len(), &mut items);
            if items.len() >= count {
                return Ok(items);
            }
            if queue.is_closed() {
                if !items.is_empty() && matches!(limit, Limit::Until(_)) {
                    return Ok(items);
                }
                queue.put_back(items);
                return Err(closed("subscriber queue closed"));
            }
            match wait(py, limit, |slice| queue.wait(slice).then_some(())) {
                Ok(Some(())) => {}
                Ok(None) => {
                    queue.take(count - items.len(), &mut items);
                    return Ok(items);
                }
                Err(interrupted) => {
                    queue.put_back(items);
                    return Err(interrupted);
                }
            }
        }
    }

    /// A list of the objects that `convert` makes of the items.
    ///
    /// # Errors
    ///
    /// When an item cannot be converted, it alone is lost; the others stay in the queue.
    pub(crate) fn list<'py>(
        &self,
        py: Python<'py>,
        mut items: Vec<Q::Item>,
        convert: impl Fn(&Q::Item) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut objects = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match convert(item) {
                Ok(object) => objects.push(object),
                Err(error) => {
                    items.remove(index);
                    self.queue()?.put_back(items);
                    return Err(error);
                }
            }
        }
        PyList::new(py, objects)
    }
}

/// What the arguments of a `get` ask for.
#[derive(Debug)]
pub(crate) enum Request {
    /// One item, or None.
    One(Limit),
    /// A list.
    Many(usize, Limit),
}

impl Request {
    /// Reads positional arguments, whose Python types decide: an int is a number of items, a
    /// float a timeout in seconds.
    pub(crate) fn parse(arguments: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let expected = || {
            PyTypeError::new_err(
                "expected get(), get(seconds: float), get(count: int) or get(count: int, seconds)",
            )
        };
        match arguments.len() {
            0 => Ok(Self::One(Limit::Forever)),
            1 => {
                let argument = arguments.get_item(0)?;
                if let Ok(seconds) = argument.cast::<PyFloat>() {
                    return Ok(Self::One(Limit::after(seconds.value())?));
                }
                match integer(&argument, expected)? {
                    // A negative number was always taken for a timeout.
                    count if count < 0 => Ok(Self::One(Limit::now())),
                    count => Ok(Self::Many(count as usize, Limit::Forever)),
                }
            }
            2 => {
                let (count, seconds) = (arguments.get_item(0)?, arguments.get_item(1)?);
                if count.is_instance_of::<PyFloat>() {
                    return Err(expected());
                }
                let count = usize::try_from(integer(&count, expected)?).map_err(|_| expected())?;
                let seconds = plain_seconds(&seconds)?.ok_or_else(expected)?;
                Ok(Self::Many(count, Limit::after(seconds)?))
            }
            _ => Err(expected()),
        }
    }
}

fn integer(value: &Bound<'_, PyAny>, expected: impl Fn() -> PyErr) -> PyResult<i64> {
    value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            error
        } else {
            expected()
        }
    })
}
