//! Operations on a store with that many entries already in it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use broker::{Backend, CloneOptions, Endpoint, Retry, Store, Value};

use crate::Load;
use crate::data_path::{endpoint, runtime};

/// No wait takes that long unless something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys in an order without neighbours: a step that has no divisor in common with any power of ten.
fn keys(load: Load) -> impl Iterator<Item = u64> {
    const STEP: u64 = 7_368_787;
    let size = load.size as u64;
    (0..load.iterations).map(move |number| number.wrapping_mul(STEP) % size)
}

/// A master with `size` entries.
pub(crate) fn filled(endpoint: &Endpoint, size: usize) -> anyhow::Result<Store> {
    let store = endpoint.attach_master("counted", Backend::Memory)?;
    for key in 0..size as u64 {
        store.put(&key, &0_u64)?;
    }
    ensure!(store.len()? == size as u64, "entries are missing");
    Ok(store)
}

pub(crate) fn get(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let store = filled(&endpoint(&runtime)?, load.size)?;
    let start = Instant::now();
    for key in keys(load) {
        ensure!(store.get(&key)? == Some(Value::Count(0)), "no key {key}");
    }
    Ok(start.elapsed())
}

pub(crate) fn put(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let store = filled(&endpoint(&runtime)?, load.size)?;
    let start = Instant::now();
    for key in keys(load) {
        store.put(&key, &7_u64)?;
    }
    let last = keys(load).last().context("no iteration")?;
    ensure!(store.get(&last)? == Some(Value::Count(7)), "no key {last}");
    Ok(start.elapsed())
}

pub(crate) fn increment(load: Load) -> anyhow::Result<Duration> {
    let runtime = runtime()?;
    let store = filled(&endpoint(&runtime)?, load.size)?;
    let start = Instant::now();
    for key in keys(load) {
        store.increment(&key, &1_u64)?;
    }
    let last = keys(load).last().context("no iteration")?;
    let value = store.get(&last)?.and_then(|value| value.as_count());
    ensure!(value >= Some(1), "key {last} was not incremented");
    Ok(start.elapsed())
}

/// A change at the master until a clone on another endpoint has it.
pub(crate) fn apply(load: Load) -> anyhow::Result<Duration> {
    let (one, other) = (plain_endpoint()?, plain_endpoint()?);
    let master = filled(&one, load.size)?;
    let port = one.listen("127.0.0.1", 0).wait()?;
    other.peer("127.0.0.1", port, Retry::Never).wait()?;
    let clone = other.attach_clone("counted", CloneOptions::default())?;
    ensure!(clone.await_idle(PATIENCE), "the clone has no master");
    let start = Instant::now();
    for key in keys(load) {
        clone.put(&key, &7_u64)?;
    }
    ensure!(clone.await_idle(PATIENCE), "the clone is not idle");
    let took = start.elapsed();
    let last = keys(load).last().context("no iteration")?;
    ensure!(master.get(&last)? == Some(Value::Count(7)), "no key {last}");
    Ok(took)
}

/// With threads of its own: what two endpoints say to each other is not counted, only timed.
fn plain_endpoint() -> anyhow::Result<Endpoint> {
    Ok(Endpoint::builder().disable_ssl(true).build()?)
}
