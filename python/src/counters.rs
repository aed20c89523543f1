//! Counters of the Python side of all endpoints of the process: waits and failed conversions.
//!
//! Endpoints tell it as `broker_python_...`; see docs/http.md.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Calls that had to wait for something.
static WAITS: AtomicU64 = AtomicU64::new(0);

/// For how long together, in microseconds.
static WAITED_US: AtomicU64 = AtomicU64::new(0);

/// Values that could not be converted.
static CONVERSION_ERRORS: AtomicU64 = AtomicU64::new(0);

/// Counts a call that waited.
pub(crate) fn count_wait(waited: Duration) {
    let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
    WAITS.fetch_add(1, Ordering::Relaxed);
    WAITED_US.fetch_add(waited, Ordering::Relaxed);
}

/// Counts a value that could not be converted.
pub(crate) fn count_conversion_error() {
    CONVERSION_ERRORS.fetch_add(1, Ordering::Relaxed);
}

/// Has an endpoint tell the counters.
///
/// # Errors
///
/// None: the names are ones that a program may have.
pub(crate) fn add_to(endpoint: &broker::Endpoint) -> Result<(), broker::Error> {
    for (name, help, counter) in [
        (
            "broker_python_waits",
            "Calls from Python that had to wait, of all endpoints of the process.",
            &WAITS,
        ),
        (
            "broker_python_waited_microseconds",
            "Time that calls from Python waited, of all endpoints of the process.",
            &WAITED_US,
        ),
        (
            "broker_python_conversion_errors",
            "Values that could not be converted from or to Python, of all endpoints of the process.",
            &CONVERSION_ERRORS,
        ),
    ] {
        endpoint.add_counter(name, help, || counter.load(Ordering::Relaxed))?;
    }
    Ok(())
}
