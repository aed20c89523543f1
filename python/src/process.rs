//! Hooks of the process: forks and its exit.
//!
//! The runtime's threads exist only in the process that started them. After a `fork` the child's
//! copies of our handles lead nowhere: using one raises, and dropping one must not touch locks
//! that some thread of the parent held. Each handle therefore remembers the process it was made
//! in, as a number that the hook for the child counts up.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// How often this process descends from a fork since the module was loaded.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How long the interpreter's exit waits for endpoints to say goodbye, all of them together.
const EXIT_TIMEOUT: Duration = Duration::from_secs(6);

/// A value that belongs to one process: only there it can be reached and is dropped.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    value: Option<T>,
    generation: u32,
    process: u32,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            generation: GENERATION.load(Ordering::Relaxed),
            process: std::process::id(),
        }
    }

    /// The value, in the process that made it.
    ///
    /// # Errors
    ///
    /// `RuntimeError` in a child.
    #[inline]
    pub(crate) fn get(&self) -> PyResult<&T> {
        match &self.value {
            Some(value) if self.generation == GENERATION.load(Ordering::Relaxed) => Ok(value),
            _ => Err(PyRuntimeError::new_err(
                "this object belongs to the parent process: after a fork, the child needs endpoints \
                 of its own",
            )),
        }
    }

    /// Whether the value was made in this process.
    ///
    /// Asks the system, because a fork done in C runs no hook of Python.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.value.take());
        }
    }
}

/// The endpoints to shut down when the interpreter exits.
static LIVE: Mutex<Vec<(u32, Weak<Owned<broker::Endpoint>>)>> = Mutex::new(Vec::new());

/// Remembers an endpoint until it is gone.
pub(crate) fn remember(endpoint: Weak<Owned<broker::Endpoint>>) {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    live.retain(|(_, known)| known.strong_count() > 0);
    live.push((GENERATION.load(Ordering::Relaxed), endpoint));
}

/// Runs in the child after a fork.
#[pyfunction]
pub(crate) fn _after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    broker::log::after_fork();
}

/// Runs when the interpreter exits: says goodbye on behalf of endpoints nobody shut down.
#[pyfunction]
pub(crate) fn _at_exit(py: Python<'_>) -> PyResult<()> {
    let generation = GENERATION.load(Ordering::Relaxed);
    let live = std::mem::take(&mut *LIVE.lock().unwrap_or_else(PoisonError::into_inner));
    let endpoints: Vec<_> = live
        .into_iter()
        .filter(|(made_in, _)| *made_in == generation)
        .filter_map(|(_, endpoint)| endpoint.upgrade())
        .filter(|endpoint| endpoint.is_ours())
        .collect();
    py.detach(|| {
        // All at once, so that the waits overlap.
        let pending: Vec<_> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.value.as_ref())
            .map(broker::Endpoint::shutdown)
            .collect();
        let deadline = Instant::now() + EXIT_TIMEOUT;
        for mut shutdown in pending {
            shutdown.wait_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    });
    crate::logging::stop(py)
}

/// Registers the hooks with the interpreter.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let after_fork = wrap_pyfunction!(_after_fork_in_child, module)?;
    let at_exit = wrap_pyfunction!(_at_exit, module)?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(py);
        hooks.set_item("after_in_child", after_fork)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    py.import("atexit")?.call_method1("register", (at_exit,))?;
    Ok(())
}
