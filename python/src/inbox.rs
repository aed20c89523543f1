//! The receiving side of subscribers and status subscribers: taking items off a queue, waiting for
//! them, and losing none when a call fails half-way.

use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyList, PyTuple};

use crate::argument::{maybe_seconds, seconds, whole};
use crate::error::{closed, from_broker};
use crate::process::Owned;
use crate::wait::{Limit, timeout, wait};

/// A consumer of the runtime: a queue that this process reads.
pub(crate) trait Consumer: Send + Sync {
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

    /// Fails if items were lost and the queue is to fail on that.
    fn check_loss(&self) -> Result<(), broker::Error> {
        Ok(())
    }
}

/// A queue and the rules for taking from it.
#[derive(Debug)]
pub(crate) struct Inbox<Q: Consumer>(Owned<Q>);

impl<Q: Consumer> Inbox<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        Self(Owned::new(queue))
    }

    pub(crate) fn queue(&self) -> PyResult<&Q> {
        self.0.get()
    }

    pub(crate) fn check_loss(&self) -> PyResult<()> {
        let checked = self.queue()?.check_loss();
        checked.map_err(|error| from_broker(&error))
    }

    /// Takes what is there, but no more than can be handled in one go.
    pub(crate) fn take_ready(&self) -> PyResult<Vec<Q::Item>> {
        let mut items = Vec::new();
        self.check_loss()?;
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
            if let Err(lost) = self.check_loss() {
                queue.put_back(items);
                return Err(lost);
            }
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

/// What `__anext__` returns for an object that has `recv` and `fd`.
pub(crate) fn next_item<'py>(source: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FUNCTION
        .import(source.py(), "broker.aio", "next_item")?
        .call1((source,))
}

/// What the arguments of a `get` ask for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// One item, or None.
    One(Limit),
    /// A list.
    Many(usize, Limit),
}

impl Wanted {
    /// Reads positional arguments, whose Python types decide: an int is a number of items, any
    /// other number a time in seconds, also one of numpy that is an integer; and the same by name.
    pub(crate) fn parse(
        arguments: &Bound<'_, PyTuple>,
        num: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let expected = || {
            PyTypeError::new_err(
                "expected get(), get(seconds: float), get(num: int) or get(num: int, seconds), \
                 num= and timeout= by name if you like",
            )
        };
        let (num, limit) = match (arguments.len(), num, timeout) {
            (0, num, timeout) => (num.cloned(), self::timeout(timeout)?),
            (1, None, None) => return Self::of_one(&arguments.get_item(0)?)?.ok_or_else(expected),
            (1, None, timeout) => (Some(arguments.get_item(0)?), self::timeout(timeout)?),
            (2, None, None) => {
                let limit = seconds(&arguments.get_item(1)?).map_err(|_| expected())?;
                (Some(arguments.get_item(0)?), Limit::after(limit)?)
            }
            _ => return Err(expected()),
        };
        Ok(match num {
            Some(num) => Self::Many(whole(&num)?.ok_or_else(expected)?, limit),
            None => Self::One(limit),
        })
    }

    /// What a single argument asks for; nothing when it is neither a number nor a time.
    fn of_one(argument: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        if argument.is_instance_of::<PyInt>()
            && let Some(count) = whole(argument)?
        {
            return Ok(Some(Self::Many(count, Limit::Forever)));
        }
        // An int below zero, or too large for a count, was always taken for a time.
        match maybe_seconds(argument)? {
            Some(seconds) => Ok(Some(Self::One(Limit::after(seconds)?))),
            None => Ok(None),
        }
    }
}
