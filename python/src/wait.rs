//! The only door to blocking: every call that can wait goes through here.
//!
//! A wait gives up the interpreter and comes back in slices, so that other Python threads run and
//! Ctrl-C is noticed within a slice. What is at hand is returned without any of this.

use std::time::{Duration, Instant};

use broker::Pending;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::argument::{seconds, seconds_as_float};
use crate::counters;

/// What `await_peer` waits when nothing or zero is asked for.
const AWAIT_PEER_TIMEOUT_S: f64 = 10.0;

/// Longest time between two looks at the signals: short for a person, long for a processor.
const SLICE: Duration = Duration::from_millis(100);

/// How long a call may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// Until it succeeds.
    Forever,
    /// Until then.
    Until(Instant),
}

impl Limit {
    /// Seconds from now; none when negative, without end when infinite or absurdly many.
    ///
    /// # Errors
    ///
    /// `ValueError` for nan.
    pub(crate) fn after(seconds: f64) -> PyResult<Self> {
        if seconds.is_nan() {
            return Err(PyValueError::new_err("expected seconds, found nan"));
        }
        let end = Duration::try_from_secs_f64(seconds.max(0.0))
            .ok()
            .and_then(|span| Instant::now().checked_add(span));
        Ok(end.map_or(Self::Forever, Self::Until))
    }

    /// A fixed time from now.
    pub(crate) fn within(span: Duration) -> Self {
        Instant::now()
            .checked_add(span)
            .map_or(Self::Forever, Self::Until)
    }

    /// The time of the next slice; nothing when the limit is reached.
    fn slice(self) -> Option<Duration> {
        match self {
            Self::Forever => Some(SLICE),
            Self::Until(end) => {
                let left = end.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| left.min(SLICE))
            }
        }
    }
}

/// Repeats a step that waits for at most the given time, until it returns something or the limit
/// is reached.
///
/// # Errors
///
/// Whatever a signal handler raises, `KeyboardInterrupt` above all.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    limit: Limit,
    mut step: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    let began = Instant::now();
    let outcome = loop {
        let Some(slice) = limit.slice() else {
            break Ok(None);
        };
        if let Some(result) = py.detach(|| step(slice)) {
            break Ok(Some(result));
        }
        if let Err(interrupted) = py.check_signals() {
            break Err(interrupted);
        }
    };
    counters::count_wait(began.elapsed());
    outcome
}

/// Waits for the answer of a control call; `None` when the limit is reached first.
pub(crate) fn wait_for<T: Send>(
    py: Python<'_>,
    limit: Limit,
    mut pending: Pending<T>,
) -> PyResult<Option<T>> {
    let answered = py.detach(|| pending.wait_timeout(Duration::ZERO));
    match answered {
        Some(answer) => Ok(Some(answer)),
        None => wait(py, limit, |slice| pending.wait_timeout(slice)),
    }
}

/// Waits without limit for the answer of a control call.
pub(crate) fn wait_forever<T: Send>(py: Python<'_>, pending: Pending<T>) -> PyResult<T> {
    let answer = wait_for(py, Limit::Forever, pending)?;
    Ok(answer.expect("a wait without limit ends with an answer"))
}

/// How long `await_peer` waits: as asked for, or the default for nothing and zero.
pub(crate) fn peer_timeout(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Duration> {
    let seconds = match timeout.map(seconds_as_float).transpose()? {
        None | Some(0.0) => AWAIT_PEER_TIMEOUT_S,
        Some(seconds) => seconds.max(0.0),
    };
    // Too long for a duration is as good as for ever.
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The limit that a `timeout` argument means: seconds, a `timedelta`, a `Timespan`, or None for
/// no limit.
pub(crate) fn timeout(value: Option<&Bound<'_, PyAny>>) -> PyResult<Limit> {
    match value {
        None => Ok(Limit::Forever),
        Some(value) => Limit::after(seconds(value)?),
    }
}
