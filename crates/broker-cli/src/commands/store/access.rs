//! A store that is looked into or changed: as a clone of a running one, or in a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::data::to_bytes;
use broker::proto::store::{Backend as _, BackendError};
use broker::store::{StoreChange, StoreEvent};
use broker::{
    Backend, CloneOptions, Contact, Event, Options, SqliteBackend, SqliteOptions, Store,
    StoreError, StoreEvents, Timespan, Value, View,
};
use tokio::runtime::Runtime;

use super::entry::Entry;
use super::{Where, holders};
use crate::arguments::{EndArguments, Global};
use crate::console::Console;
use crate::incoming::time_text;
use crate::interrupt::Signals;
use crate::literal;
use crate::nearest::check_file;
use crate::outcome::{Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session};
use crate::target::Target;

/// Which store.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Running(String),
    File(PathBuf),
}

/// What is going to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
    /// Setting entries with the times at which they expire.
    Load,
}

/// How often it is looked whether a clone has found its master.
const MASTER_POLL: Duration = Duration::from_millis(5);

/// A store that is open.
pub(super) enum Opened {
    /// A file by itself: looked at, or entries are set in it.
    File {
        backend: Box<SqliteBackend>,
        /// Where it takes long.
        signals: Option<Signals>,
    },
    /// A running one, or one that runs for the time of the command.
    Store {
        runtime: Runtime,
        session: Box<Session>,
        store: Store,
        timeout: Duration,
    },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::failed(error.to_string())
    }
}

/// A storage that fails.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` hands over"
)]
pub(super) fn storage(error: BackendError) -> Failure {
    Failure::failed(error.to_string())
}

pub(super) fn file_to_read(path: &Path) -> Result<SqliteBackend, Failure> {
    check_file("file", path)?;
    SqliteBackend::open_to_read(path).map_err(|error| Failure::failed(error.to_string()))
}

pub(super) fn file_to_write(path: &Path) -> Result<SqliteBackend, Failure> {
    let opened = SqliteBackend::open(&SqliteOptions::new(path));
    opened.map_err(|error| Failure::failed(error.to_string()))
}

/// Opens a store.
///
/// # Errors
///
/// When the file is in use or no store, the peer is not there, or no master is found in time.
pub(super) fn open(
    of: Place,
    purpose: Purpose,
    place: &Where,
    global: &Global,
) -> Result<Opened, Failure> {
    match of {
        Place::File(file) => {
            holders::refuse_open_file(&file)?;
            match purpose {
                Purpose::Read => Ok(Opened::File {
                    backend: Box::new(file_to_read(&file)?),
                    signals: None,
                }),
                Purpose::Load => Ok(Opened::File {
                    backend: Box::new(file_to_write(&file)?),
                    signals: Some(Signals::watch()?),
                }),
                Purpose::Write => open_master(&file, place.timeout),
            }
        }
        Place::Running(name) => {
            let target = Target::find(&place.connection, global)?;
            open_clone(&name, target, place.timeout)
        }
    }
}

/// A file is changed by a master of its own, which knows how; nobody is connected to it.
fn open_master(file: &Path, timeout: Duration) -> Result<Opened, Failure> {
    let runtime = session::runtime()?;
    let session = runtime
        .block_on(async { Session::new(Options::default(), Vec::new(), OnPeerLoss::End) })?;
    let backend = Backend::Sqlite(SqliteOptions::new(file));
    let store = session.endpoint.attach_master("file", backend);
    let store = store.map_err(|error| match error {
        StoreError::Backend { cause, .. } => Failure::failed(cause),
        other => other.into(),
    })?;
    Ok(Opened::Store {
        runtime,
        session: Box::new(session),
        store,
        timeout,
    })
}

fn open_clone(name: &str, target: Target, timeout: Duration) -> Result<Opened, Failure> {
    let runtime = session::runtime()?;
    let (session, store) = runtime.block_on(async {
        let mut session = Session::of(target, OnPeerLoss::End)?;
        session.connect().await?;
        let store = session
            .endpoint
            .attach_clone(name, CloneOptions::default())?;
        let found = async {
            while !matches!(store.contact(), Contact::Attached | Contact::Failed) {
                tokio::time::sleep(MASTER_POLL).await;
            }
        };
        let waited = session
            .or_signal(tokio::time::timeout(timeout, found))
            .await;
        match waited {
            session::Waited::Ended(_) => Err(Failure::new(
                Exit::Interrupted,
                "interrupted while looking for the master",
            )),
            session::Waited::Over(_) if store.contact() == Contact::Attached => {
                Ok((session, store))
            }
            session::Waited::Over(_) => {
                session.leave().await;
                let seconds = timeout.as_secs_f64();
                let what = format!("no peer has the master of `{name}`, or answers in {seconds} s");
                Err(Failure::new(Exit::NothingCame, what))
            }
        }
    })?;
    Ok(Opened::Store {
        runtime,
        session: Box::new(session),
        store,
        timeout,
    })
}

impl Opened {
    /// The store, to change it.
    ///
    /// # Errors
    ///
    /// When it was opened to be looked at.
    pub(super) fn store(&self) -> Result<&Store, Failure> {
        match self {
            Self::Store { store, .. } => Ok(store),
            Self::File { .. } => Err(Failure::failed("the file is open to be read only")),
        }
    }

    /// One entry.
    pub(super) fn get(&mut self, key: &Value) -> Result<Option<Entry>, Failure> {
        let entry = |value, expiry| Entry {
            key: key.clone(),
            value,
            expiry,
        };
        match self {
            Self::File { backend, .. } => {
                let bytes = to_bytes(key).map_err(|error| Failure::failed(error.to_string()))?;
                let found = backend.get(&bytes).map_err(storage)?;
                let found = found.filter(|it| it.expiry.is_none_or(|it| super::left(it) > 0));
                Ok(found.map(|it| entry(View::trusted(&it.value).to_value(), it.expiry)))
            }
            Self::Store { store, .. } => Ok(store.get(key)?.map(|value| entry(value, None))),
        }
    }

    /// All entries in the order of the store, without those whose time is over. Rows of a file that
    /// cannot be read are counted.
    pub(super) fn entries(&mut self, skipped: &mut u64) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        match self {
            Self::File { backend, .. } => {
                *skipped = backend
                    .for_each(&mut |key, value, expiry| {
                        if expiry.is_none_or(|it| super::left(it) > 0) {
                            entries.push(Entry {
                                key: View::trusted(key).to_value(),
                                value: View::trusted(value).to_value(),
                                expiry,
                            });
                        }
                    })
                    .map_err(storage)?;
            }
            Self::Store { store, .. } => {
                let all = store.snapshot()?.into_iter();
                entries.extend(all.map(|(key, value)| Entry {
                    key,
                    value,
                    expiry: None,
                }));
            }
        }
        Ok(entries)
    }

    /// Sets an entry; the time at which it expires is exact in a file, and as exact as the clocks of
    /// both sides and the time on the way in a running store.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn load(&mut self, entry: &Entry) -> Result<(), String> {
        match self {
            Self::File { backend, .. } => {
                let encoded = |value| to_bytes(value).map_err(|error| error.to_string());
                let (key, value) = (encoded(&entry.key)?, encoded(&entry.value)?);
                let put = backend.put(&key, &value, entry.expiry);
                put.map_err(|error| error.to_string())
            }
            Self::Store { store, .. } => {
                let left = entry.expiry.map(|it| Timespan::from_ns(super::left(it)));
                let put = store.put_for(&entry.key, &entry.value, left);
                put.map_err(|error| error.to_string())
            }
        }
    }

    /// Waits until the master has what was asked of it, or the file.
    ///
    /// # Errors
    ///
    /// What was refused.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let (session, store, timeout) = match self {
            Self::File { backend, .. } => return backend.commit().map_err(storage),
            Self::Store {
                session,
                store,
                timeout,
                ..
            } => (session, store, timeout),
        };
        let is_done = if store.is_master() {
            store.wait_readable(store.ticket(), *timeout)
        } else {
            store.await_idle(*timeout)
        };
        if let Some(refusal) = refusal(session) {
            return Err(Failure::failed(refusal));
        }
        if is_done {
            Ok(())
        } else {
            let what = format!("the master did not answer in {} s", timeout.as_secs_f64());
            Err(Failure::new(Exit::NothingCame, what))
        }
    }

    /// Waits as [`Self::settle`] does, then leaves.
    pub(super) fn finish(mut self) -> Outcome {
        let settled = self.settle();
        self.leave();
        settled.map(|()| Exit::Done)
    }

    /// Closes it.
    pub(super) fn leave(self) {
        if let Self::Store {
            runtime, session, ..
        } = self
        {
            runtime.block_on(session.leave());
            runtime.shutdown_background();
        }
    }

    /// Whether the command is to end.
    pub(super) fn is_interrupted(&self) -> bool {
        match self {
            Self::Store { session, .. } => session.interrupt.came().is_some(),
            Self::File { signals, .. } => {
                let signals = signals.as_ref();
                signals.is_some_and(|it| it.interrupt.came().is_some())
            }
        }
    }

    /// Prints changes until it is time to end.
    pub(super) fn watch(self, end: &EndArguments, console: &mut Console) -> Outcome {
        let Self::Store {
            runtime,
            mut session,
            store,
            ..
        } = self
        else {
            return Err(Failure::usage(
                "nothing changes in a file that is only looked at",
            ));
        };
        let mut events = store.events()?;
        let outcome = runtime.block_on(print_changes(&mut session, &mut events, end, console));
        runtime.block_on(session.leave());
        runtime.shutdown_background();
        outcome
    }
}

/// What a store refused, in the words of the error event.
fn refusal(session: &Session) -> Option<String> {
    std::iter::from_fn(|| session.try_event()).find_map(|event| match event {
        Event::Error(fault) => Some(fault.text),
        Event::Status(_) => None,
    })
}

async fn print_changes(
    session: &mut Session,
    events: &mut StoreEvents,
    end: &EndArguments,
    console: &mut Console,
) -> Outcome {
    let interrupt = session.interrupt.clone();
    let started = tokio::time::Instant::now();
    let (timeout, mut heard, mut shown) = (end.timeout.map(|it| started + it), started, 0_u64);
    console.say("watching");
    let is_timed_out = loop {
        let idle = end.idle.map(|it| heard + it);
        tokio::select! {
            biased;
            _ = interrupt.wait() => return Ok(Exit::Interrupted),
            event = session.event() => {
                if let Some(event) = event {
                    session.on_event(&event, console)?;
                }
            }
            () = session::until(timeout) => break true,
            () = session::until(idle) => break true,
            event = session::next(events) => {
                let Some(event) = event else {
                    return Err(Failure::failed("the endpoint was closed"));
                };
                put_change(&event, console)?;
                console.flush()?;
                heard = tokio::time::Instant::now();
                shown += 1;
                if end.count.is_some_and(|count| shown >= count) {
                    break false;
                }
            }
        }
    };
    let is_short = shown == 0 || end.count.is_some();
    Ok(if is_timed_out && is_short {
        Exit::NothingCame
    } else {
        Exit::Done
    })
}

/// One change as a line, or as JSON. See `schema/store.json`.
fn put_change(event: &StoreEvent, console: &mut Console) -> Result<(), Failure> {
    let now = session::now();
    let (name, old, value, expiry) = match &event.change {
        StoreChange::Insert { value, expiry } => ("insert", None, Some(value), *expiry),
        StoreChange::Update { old, value, expiry } => ("update", Some(old), Some(value), *expiry),
        StoreChange::Erase => ("erase", None, None, None),
        StoreChange::Expire => ("expire", None, None, None),
    };
    if console.is_json() {
        let mut line = format!(
            "{{\"type\":\"{name}\",\"time\":\"{}\"",
            session::full_time(now)
        );
        let expiry = expiry.map(Value::Timespan);
        let parts = [
            ("key", Some(&event.key)),
            ("old", old),
            ("value", value),
            ("expiry", expiry.as_ref()),
        ];
        for (name, part) in parts {
            let Some(part) = part else {
                continue;
            };
            line.push_str(&format!(",\"{name}\":"));
            let bytes = to_bytes(part).map_err(|error| Failure::failed(error.to_string()))?;
            let form = broker::data::json::Form::Lossless;
            let encoded = broker::data::json::encode(&bytes, form, &mut line);
            encoded.map_err(|error| Failure::failed(error.to_string()))?;
        }
        line.push('}');
        return console.line(line);
    }
    let (time, key) = (time_text(now), literal::to_text(&event.key));
    let label = console.palette().name;
    let mut text = format!("{time} {name} {label}{key}{label:#}");
    if let Some(value) = value {
        text.push_str(": ");
        if let Some(old) = old {
            text.push_str(&format!("{} -> ", literal::to_text(old)));
        }
        text.push_str(&literal::to_text(value));
    }
    if let Some(expiry) = expiry {
        text.push_str(&format!(
            "  (for {})",
            literal::to_text(&Value::Timespan(expiry))
        ));
    }
    console.line(text)
}
