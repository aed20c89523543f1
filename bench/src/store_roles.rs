//! Work on data stores. Every role checks at the end that the store holds what it must.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use broker::{Backend, CloneOptions, Endpoint, Retry, Store, Value};
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
