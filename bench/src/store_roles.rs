//! Work on data stores. Every role checks at the end that the store holds what it must.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use broker::{
    Backend, CloneOptions, Endpoint, Retry, Store, StoreChange, StoreError, StoreEvents, Timespan,
    Value,
};
use clap::{Parser, ValueEnum};
use serde_json::json;

use crate::report;

/// No wait of these roles takes that long unless something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of the store roles.
#[derive(Parser, Clone, Debug)]
pub(crate) struct StoreWork {
    /// What is done.
    #[arg(long, value_enum, default_value_t = Operation::Put)]
    operation: Operation,
    /// How often.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Different keys.
    #[arg(long, default_value_t = 1000)]
    keys: u64,
    /// A file for the master; in memory without.
    #[arg(long)]
    sqlite: Option<PathBuf>,
    /// Work through a clone of the master that listens there.
    #[arg(long)]
    port: Option<u16>,
    /// Wait for each operation before the next one.
    #[arg(long)]
    one_at_a_time: bool,
    /// Threads that work at the same time.
    #[arg(long, default_value_t = 1)]
    threads: u64,
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    Put,
    Get,
    Increment,
    PutUnique,
}

fn endpoint() -> anyhow::Result<Endpoint> {
    Ok(Endpoint::builder().disable_ssl(true).build()?)
}

fn backend(sqlite: Option<&PathBuf>) -> anyhow::Result<Backend> {
    match sqlite {
        None => Ok(Backend::Memory),
        Some(path) => sqlite_backend(path),
    }
}

fn sqlite_backend(path: &PathBuf) -> anyhow::Result<Backend> {
    Ok(Backend::Sqlite(broker::SqliteOptions::new(path)))
}

/// Serves a master with `keys` entries until standard input ends.
pub(crate) fn serve(options: &StoreWork) -> anyhow::Result<()> {
    let endpoint = endpoint()?;
    let store = endpoint.attach_master("bench", backend(options.sqlite.as_ref())?)?;
    for key in 0..options.keys {
        store.put(&key, &key)?;
    }
    ensure!(store.await_idle(PATIENCE), "the master is not idle");
    report::listening(endpoint.listen("127.0.0.1", 0).wait()?)?;
    report::emit(&json!({ "peak_kib": report::status_field("VmHWM") }))?;
    report::wait_for_end_of_input()?;
    endpoint.shutdown().wait();
    Ok(())
}

fn attach(endpoint: &Endpoint, options: &StoreWork) -> anyhow::Result<Store> {
    match options.port {
        None => Ok(endpoint.attach_master("bench", backend(options.sqlite.as_ref())?)?),
        Some(port) => {
            endpoint.peer("127.0.0.1", port, Retry::Never).wait()?;
            let store = endpoint.attach_clone("bench", CloneOptions::default())?;
            ensure!(store.await_idle(PATIENCE), "the clone has no master");
            Ok(store)
        }
    }
}

/// Works on a store and reports how long it took until all of it was in effect.
pub(crate) fn work(options: &StoreWork) -> anyhow::Result<()> {
    let endpoint = endpoint()?;
    let store = attach(&endpoint, options)?;
    if options.operation == Operation::Get && options.port.is_none() {
        for key in 0..options.keys {
            store.put(&key, &key)?;
        }
        store.len()?;
    }
    let cpu = report::cpu_seconds();
    let start = Instant::now();
    let share = options.count / options.threads;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let mut workers = Vec::new();
        for thread in 0..options.threads {
            let store = &store;
            workers.push(scope.spawn(move || repeat(store, options, thread, share)));
        }
        for worker in workers {
            worker.join().ok().context("a worker panicked")??;
        }
        Ok(())
    })?;
    if options.operation != Operation::Get {
        ensure!(store.await_idle(PATIENCE), "the store is not idle");
    }
    let elapsed = start.elapsed();
    report::done(
        share * options.threads,
        elapsed,
        report::cpu_seconds() - cpu,
    )?;
    check(&store, options, share * options.threads)?;
    endpoint.shutdown().wait();
    Ok(())
}

fn repeat(store: &Store, options: &StoreWork, thread: u64, count: u64) -> anyhow::Result<()> {
    let first = thread * count;
    for number in first..first + count {
        let key = number % options.keys;
        match options.operation {
            Operation::Put => store.put(&key, &number)?,
            Operation::Get => {
                ensure!(store.get(&key)? == Some(Value::Count(key)), "key {key}");
            }
            Operation::Increment => store.increment(&format!("n{key}"), &1_u64)?,
            Operation::PutUnique => {
                let answer = store.put_unique(&format!("u{number}"), &number, None)?;
                ensure!(answer.wait()?, "key {number} was there");
            }
        }
        if options.one_at_a_time && options.operation != Operation::Get {
            ensure!(store.await_idle(PATIENCE), "the store is not idle");
        }
    }
    Ok(())
}

/// Whether everything is in effect.
fn check(store: &Store, options: &StoreWork, count: u64) -> anyhow::Result<()> {
    match options.operation {
        Operation::Get => {}
        Operation::Put => {
            let keys = options.keys.min(count);
            ensure!(store.len()? >= keys, "{} keys", store.len()?);
        }
        Operation::Increment => {
            let mut sum = 0;
            for key in 0..options.keys.min(count) {
                let value = store.get(&format!("n{key}"))?;
                sum += value.and_then(|value| value.as_count()).unwrap_or(0);
            }
            ensure!(sum == count, "{sum} of {count} increments");
        }
        Operation::PutUnique => {
            ensure!(store.len()? >= count, "{} keys", store.len()?);
        }
    }
    Ok(())
}

/// Attaches a clone and reports how long it took until it could be read, and what it holds.
pub(crate) fn join(options: &StoreWork) -> anyhow::Result<()> {
    let endpoint = endpoint()?;
    let port = options.port.context("--port is needed")?;
    endpoint.peer("127.0.0.1", port, Retry::Never).wait()?;
    let before = report::status_field("VmRSS").unwrap_or(0);
    let start = Instant::now();
    let store = endpoint.attach_clone("bench", CloneOptions::default())?;
    ensure!(
        store.get(&0_u64)? == Some(Value::Count(0)),
        "no first entry"
    );
    let elapsed = start.elapsed();
    ensure!(store.len()? == options.keys, "{} entries", store.len()?);
    report::emit(&json!({
        "attach_ms": elapsed.as_secs_f64() * 1e3,
        "clone_kib": report::status_field("VmRSS").unwrap_or(0).saturating_sub(before),
    }))?;
    endpoint.shutdown().wait();
    Ok(())
}

/// Leaves the master for ten seconds while it changes every key twice, comes back, and reports how
/// long it takes until the clone has everything.
pub(crate) fn catch_up(options: &StoreWork) -> anyhow::Result<()> {
    const AWAY: Duration = Duration::from_secs(10);
    let (one, other) = (endpoint()?, endpoint()?);
    let master = one.attach_master("bench", Backend::Memory)?;
    let port = one.listen("127.0.0.1", 0).wait()?;
    other.peer("127.0.0.1", port, Retry::Never).wait()?;
    let clone = other.attach_clone("bench", CloneOptions::default())?;
    ensure!(clone.await_idle(PATIENCE), "the clone has no master");
    other.unpeer("127.0.0.1", port).wait();
    let away = Instant::now();
    for round in 0..2 {
        for key in 0..options.keys {
            master.put(&key, &(key + round))?;
        }
    }
    std::thread::sleep(AWAY.saturating_sub(away.elapsed()));
    let start = Instant::now();
    other.peer("127.0.0.1", port, Retry::Never).wait()?;
    while clone.len()? < options.keys || !clone.await_idle(PATIENCE) {
        std::thread::yield_now();
    }
    let elapsed = start.elapsed();
    ensure!(clone.snapshot()? == master.snapshot()?, "the clone differs");
    report::emit(&json!({ "catch_up_ms": elapsed.as_secs_f64() * 1e3 }))?;
    one.shutdown().wait();
    other.shutdown().wait();
    Ok(())
}

/// Entries that end one by one, then `keys` that all end at once. Reports how late the events of
/// their removal come, and what the slowest calls of other threads took: before, and while the many
/// are removed.
pub(crate) fn expire(options: &StoreWork) -> anyhow::Result<()> {
    const FEW: u64 = 100;
    const APART: Duration = Duration::from_millis(10);
    /// Until the many end: what it takes to put them, and a while in which nothing ends.
    const AHEAD: Duration = Duration::from_secs(4);
    let endpoint = endpoint()?;
    let store = attach(&endpoint, options)?;
    let events = store.events()?;
    let mut late = Vec::new();
    for number in 0..FEW {
        let due = Instant::now() + APART;
        store.put_for(&number, &number, Some(Timespan::try_from(APART)?))?;
        await_expiries(&events, 1)?;
        late.push(due.elapsed());
    }
    late.sort();
    let due = Instant::now() + AHEAD;
    for number in 0..options.keys {
        let left = due.saturating_duration_since(Instant::now());
        store.put_for(&number, &number, Some(Timespan::try_from(left)?))?;
    }
    ensure!(store.await_idle(PATIENCE), "the store is not idle");
    ensure!(Instant::now() < due, "the many end before all are there");
    let is_over = AtomicBool::new(false);
    let (slowest, took) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let get = scope.spawn(|| slowest(due, &is_over, || store.get("other").map(drop)));
        let put = scope.spawn(|| slowest(due, &is_over, || store.put("other", &1_u64)));
        let removed = await_expiries(&events, options.keys);
        let took = due.elapsed();
        is_over.store(true, Ordering::Relaxed);
        removed?;
        let joined = [get.join(), put.join()].map(|it| it.ok().context("a caller panicked"));
        let [get, put] = joined;
        Ok(([get??, put??], took))
    })?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let [get, put] = slowest.map(|them| them.map(ms));
    report::emit(&json!({
        "one_late_ms_p50": late.get(late.len() / 2).copied().map(ms),
        "one_late_ms_max": late.last().copied().map(ms),
        "many_removed_ms": ms(took),
        "get_ms_max": { "before": get[0], "meanwhile": get[1] },
        "put_ms_max": { "before": put[0], "meanwhile": put[1] },
    }))?;
    endpoint.shutdown().wait();
    Ok(())
}

fn await_expiries(events: &StoreEvents, count: u64) -> anyhow::Result<()> {
    let mut seen = 0;
    while seen < count {
        let event = events.recv_timeout(PATIENCE)?;
        let event = event.with_context(|| format!("{seen} of {count} have ended"))?;
        seen += u64::from(event.change == StoreChange::Expire);
    }
    Ok(())
}

/// Calls again and again, and returns what the slowest call took that began before an instant, and
/// of those after it.
fn slowest(
    instant: Instant,
    is_over: &AtomicBool,
    call: impl Fn() -> Result<(), StoreError>,
) -> anyhow::Result<[Duration; 2]> {
    let mut slowest = [Duration::ZERO; 2];
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        call()?;
        let took = began.elapsed();
        let [before, after] = &mut slowest;
        let phase = if began < instant { before } else { after };
        *phase = took.max(*phase);
        // As programs do that have other work as well.
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(slowest)
}
