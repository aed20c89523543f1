//! CPU time, memory and the JSON line a role ends with.

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

/// User and system seconds this process has used so far.
///
/// Reads the scheduler's own accounting, which has a resolution of one clock tick (10 ms).
pub(crate) fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else {
        return f64::NAN;
    };
    // The command name may hold blanks; the fields after it do not.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return f64::NAN;
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok());
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => (user + system) / TICKS_PER_SECOND,
        _ => f64::NAN,
    }
}

/// A field of `/proc/self/status`, such as `VmHWM` (KiB) or `Threads`.
pub(crate) fn status_field(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Tells the runner which port we listen on.
pub(crate) fn listening(port: u16) -> anyhow::Result<()> {
    emit(&json!({ "port": port }))
}

/// Prints the closing line of a role.
pub(crate) fn done(messages: u64, elapsed: Duration, cpu: f64) -> anyhow::Result<()> {
    emit(&json!({
        "messages": messages,
        "seconds": elapsed.as_secs_f64(),
        "cpu_seconds": cpu,
        "peak_kib": status_field("VmHWM"),
    }))
}

/// Prints percentiles of round trips. The first tenth warms up both sides and does not count.
pub(crate) fn round_trips(mut measured: Vec<Duration>) -> anyhow::Result<()> {
    measured.drain(..measured.len() / 10);
    measured.sort_unstable();
    let percentile = |p: usize| {
        measured
            .get(measured.len() * p / 100)
            .map_or(f64::NAN, |d| d.as_secs_f64() * 1e6)
    };
    emit(&json!({ "p50_us": percentile(50), "p99_us": percentile(99) }))
}

/// Prints one JSON line and flushes it.
pub(crate) fn emit(line: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// Waits until the runner closes our standard input.
pub(crate) fn wait_for_end_of_input() -> anyhow::Result<()> {
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}
