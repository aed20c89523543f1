//! The threads under everything: one small pool per process, made on first use.
//!
//! Endpoints share it, so their number does not change the number of threads. A program that has a
//! tokio runtime of its own can hand its handle to the builder instead.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::lock::Lock;

/// Upper limit of the pool: the work per byte is small, and more threads than this would only
/// contend for the same mailboxes.
const WORKERS_MAX: usize = 4;

/// Host names are resolved on blocking threads, which exist only while there is something to resolve.
/// A name whose servers do not answer holds one for half a minute; others must not wait for it.
const RESOLVER_THREADS_MAX: usize = 16;

/// The pool and the process that started it: after a fork the child has the pool without its
/// threads, and starts another.
static RUNTIME: Lock<Option<(u32, Runtime)>> = Lock::new(None);

/// The handle of the process's pool, started on the first call.
///
/// # Errors
///
/// Fails when the process cannot start threads or has no descriptor left.
pub(crate) fn shared() -> io::Result<Handle> {
    let mut slot = RUNTIME.lock();
    let process = std::process::id();
    match slot.take() {
        Some((owner, runtime)) if owner == process => {
            let handle = runtime.handle().clone();
            *slot = Some((owner, runtime));
            return Ok(handle);
        }
        // Dropping it would wait for threads that stayed in the parent.
        Some((_, inherited)) => std::mem::forget(inherited),
        None => {}
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .max_blocking_threads(RESOLVER_THREADS_MAX)
        .thread_name("broker-worker")
        .enable_all()
        .build()?;
    Ok(slot.insert((process, runtime)).1.handle().clone())
}
