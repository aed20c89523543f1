//! The log: what endpoints say in this process, for programs without a `tracing` subscriber of
//! their own.
//!
//! Everything is said through [`tracing`]; this module collects it. [`start`] writes it to the
//! console and to a file, as [`Options`] say; a [`Reader`] hands out the records one by one. A program that has a
//! subscriber needs none of this, or adds [`layer`] to it.
//!
//! `component` tells who said something, `record` is what was said, `layer` turns events into
//! records, `sink` keeps them for a reader, `repeats` holds back what is said over and over, `writer`
//! writes lines.
//!
//! What says something never waits: each reader has a queue with a limit, and what finds it full is counted
//! and the count is told. A thread of the reader does what takes time. Values of messages and secrets are not logged at any
//! level. Spec: tools 6. See ADR 0230.

mod component;
mod layer;
mod record;
mod repeats;
mod sink;
mod writer;

use std::sync::atomic::{AtomicU32, Ordering};

use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::{Options, Verbosity};
use crate::error::Error;

pub use component::Component;
pub use layer::Layer;
pub use record::{Field, Format, Record};
pub use sink::Reader;
pub use writer::{Output, Writer};

/// The process in which [`start`] began the writers that the options ask for; 0 before.
static STARTED_IN: AtomicU32 = AtomicU32::new(0);

/// What collects the records, for a subscriber that a program puts together itself.
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let subscriber = tracing_subscriber::registry().with(broker::log::layer());
/// # let _ = subscriber;
/// ```
pub fn layer() -> Layer {
    Layer::new()
}

/// Makes [`layer`] the subscriber of this process; calling it again changes nothing.
///
/// # Errors
///
/// Fails when the program has installed another subscriber.
pub fn install() -> Result<(), Error> {
    static INSTALLED: crate::lock::Lock<bool> = crate::lock::Lock::new(false);
    let mut installed = INSTALLED.lock();
    if !*installed {
        let subscriber = tracing_subscriber::registry().with(layer());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Log {
            cause:
                "this process has another `tracing` subscriber: add `broker::log::layer()` to it"
                    .to_owned(),
        })?;
        *installed = true;
    }
    Ok(())
}

/// Writes the log to standard error and to a file, with the verbosities of the options, for as long as the process
/// lives; what this process has started already goes on as it is. The file is `broker_<pid>_<time>.log` in the working
/// directory, the time in nanoseconds since 1970. Spec: tools 6.2.
///
/// ```
/// let options = broker::Options::from_env()?;
/// broker::log::start(&options)?;
/// # Ok::<(), broker::Error>(())
/// ```
///
/// # Errors
///
/// Fails when the program has installed another subscriber, and when the file cannot be made.
pub fn start(options: &Options) -> Result<(), Error> {
    let (console, file) = (options.console_verbosity, options.file_verbosity);
    if console == Verbosity::Quiet && file == Verbosity::Quiet {
        return Ok(());
    }
    let process = std::process::id();
    if STARTED_IN.swap(process, Ordering::AcqRel) == process {
        return Ok(());
    }
    let started = begin(console, file);
    if started.is_err() {
        STARTED_IN.store(0, Ordering::Release);
    }
    started
}

fn begin(console: Verbosity, file: Verbosity) -> Result<(), Error> {
    let file_output = match file {
        Verbosity::Quiet => None,
        _ => Some(Output::new_file()?),
    };
    install()?;
    if console != Verbosity::Quiet {
        Writer::start(Output::Stderr, Format::Text, console)?.keep();
    }
    if let Some(output) = file_output {
        Writer::start(output, Format::Text, file)?.keep();
    }
    Ok(())
}

/// Waits until everything that was said before has been written by the writers of this process, for a bounded time.
/// For programs that end right away.
pub fn flush() {
    writer::flush_all();
}

/// Forgets all readers and writers, whose threads stayed in the parent. For the child after a fork.
pub fn after_fork() {
    sink::forget_all();
    writer::forget_all();
}
