//! The record of decisions: lines of JSON in a file or for a service, written by a thread of their own.
//!
//! The first decision of a kind is written at once; what repeats it within [`PERIOD`] is counted and told in
//! one line. Payloads are never in it.

mod sink;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker_data::json::{Form, put_string, put_timestamp};

use self::sink::Sink;
use super::system_time;
use crate::config::{AuditFailure, AuditOptions};
use crate::error::Error;
use crate::lock::Lock;
use crate::policy::AUDIT_OTHERS;
use crate::signal::Signal;

/// How long repeats are counted before they are told.
const PERIOD: Duration = Duration::from_secs(10);

/// Kinds of decisions that are told apart in a period, at about 300 bytes each. Those beyond are counted
/// together, by principal and decision.
const KINDS_MAX: usize = 4096;

/// Lines that wait for the disk: some megabytes.
const LINES_MAX: usize = 8192;

/// How soon a record that could not be written is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end of an endpoint waits for its record.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The resource of decisions that are not told apart any more.
const OTHERS: &[u8] = AUDIT_OTHERS.as_bytes();

/// One decision, without what makes it differ from the next of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) principal: Box<str>,
    pub(crate) address: IpAddr,
    pub(crate) action: &'static str,
    pub(crate) resource: Box<[u8]>,
    pub(crate) event: Option<Box<[u8]>>,
    pub(crate) decision: &'static str,
    pub(crate) rule: Box<str>,
}

#[derive(Debug)]
pub(crate) struct Audit {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Lock<State>,
    changed: Signal,
    /// Whether publishing has to wait until the record can be written.
    refuses: AtomicBool,
    wants_allowed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    options: AuditOptions,
    sink: Option<Arc<Sink>>,
    /// Bound: [`KINDS_MAX`].
    repeats: BTreeMap<Entry, Repeat>,
    /// Bound: [`LINES_MAX`].
    lines: VecDeque<String>,
    /// Lines that the thread has taken and not written yet.
    is_writing: bool,
    is_failing: bool,
    is_closed: bool,
    has_thread: bool,
}

#[derive(Debug)]
struct Repeat {
    ends: Instant,
    left_out: u64,
}

impl Audit {
    /// # Errors
    ///
    /// When the file cannot be opened, the service is not there, or there is no thread for it.
    pub(super) fn start(options: &AuditOptions) -> Result<Self, Error> {
        let audit = Self {
            shared: Arc::default(),
        };
        audit.reopen(options)?;
        Ok(audit)
    }

    /// Opens the file again, which may have been moved away, or another one.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); everything is as before then.
    pub(super) fn reopen(&self, options: &AuditOptions) -> Result<(), Error> {
        let sink = Sink::open(options)?;
        let shared = &self.shared;
        let mut state = shared.state.lock();
        if sink.is_some() && !state.has_thread {
            let reader = shared.clone();
            std::thread::Builder::new()
                .name("broker-audit".to_owned())
                .spawn(move || reader.run())
                .map_err(|error| Error::Start(Arc::new(error)))?;
            state.has_thread = true;
        }
        state.sink = sink.map(Arc::new);
        state.options = options.clone();
        shared
            .wants_allowed
            .store(options.allowed, Ordering::Relaxed);
        shared.judge_failing(&state);
        drop(state);
        shared.changed.notify();
        Ok(())
    }

    /// Whether publishing has to wait until the record can be written. One load.
    pub(super) fn refuses(&self) -> bool {
        self.shared.refuses.load(Ordering::Relaxed)
    }

    /// Whether what is allowed is recorded, too.
    pub(super) fn wants_allowed(&self) -> bool {
        self.shared.wants_allowed.load(Ordering::Relaxed)
    }

    pub(super) fn record(&self, entry: Entry, now: Instant) {
        let is_denied = entry.decision == "deny";
        let is_rare = matches!(entry.action, "connect" | "subscribe");
        if !is_denied && !is_rare && !self.wants_allowed() {
            return;
        }
        let mut state = self.shared.state.lock();
        if state.sink.is_none() {
            drop(state);
            // The log counts repeats itself.
            if is_denied {
                tracing::info!(
                    event = "not-permitted",
                    principal = %entry.principal,
                    address = %entry.address,
                    action = entry.action,
                    resource = %entry.resource.escape_ascii(),
                    rule = %entry.rule,
                );
            }
            return;
        }
        let is_full = state.repeats.len() >= KINDS_MAX;
        let entry = if is_full && !state.repeats.contains_key(&entry) {
            Entry {
                resource: OTHERS.into(),
                event: None,
                rule: Box::default(),
                ..entry
            }
        } else {
            entry
        };
        if let Some(repeat) = state.repeats.get_mut(&entry) {
            repeat.left_out += 1;
            return;
        }
        let line = line(&entry, 1);
        if is_full {
            // An address or principal more than there is room for: told once, and not counted.
            state.repeats.pop_first();
        }
        let ends = now + PERIOD;
        state.repeats.insert(entry, Repeat { ends, left_out: 0 });
        self.shared.push(&mut state, line);
        drop(state);
        self.shared.changed.notify();
    }

    /// Waits until everything is written, repeats as well, for a bounded time.
    pub(super) fn flush(&self) {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        if !state.has_thread {
            return;
        }
        for (entry, repeat) in std::mem::take(&mut state.repeats) {
            if repeat.left_out > 0 {
                let line = line(&entry, repeat.left_out);
                shared.push(&mut state, line);
            }
        }
        shared.changed.notify();
        let _written = shared.changed.wait(state, FLUSH_TIMEOUT, |state| {
            (state.lines.is_empty() && !state.is_writing).then_some(())
        });
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.shared.state.lock().is_closed = true;
        self.shared.changed.notify();
    }
}

impl Shared {
    fn push(&self, state: &mut State, line: String) {
        if state.lines.len() >= LINES_MAX {
            state.is_failing = true;
            self.judge_failing(state);
            return;
        }
        state.lines.push_back(line);
    }

    fn judge_failing(&self, state: &State) {
        let refuses = state.is_failing
            && state.sink.is_some()
            && state.options.failure == AuditFailure::Closed;
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    fn run(&self) {
        let mut taken: Vec<u8> = Vec::new();
        loop {
            let wait = {
                let state = self.state.lock();
                let next = state.repeats.values().map(|repeat| repeat.ends).min();
                let until = next.map(|at| at.saturating_duration_since(Instant::now()));
                let until = until.unwrap_or(Duration::from_secs(3600));
                if taken.is_empty() {
                    until
                } else {
                    RETRY_INTERVAL
                }
            };
            let has_taken = !taken.is_empty();
            // While the disk takes nothing, new lines are no reason to try sooner.
            let closed = self.changed.wait(self.state.lock(), wait, |state| {
                let is_due = !has_taken && !state.lines.is_empty();
                (state.is_closed || is_due).then_some(state.is_closed)
            });
            let sink = {
                let mut state = self.state.lock();
                self.end_periods(&mut state, Instant::now());
                if taken.is_empty() {
                    let lines = std::mem::take(&mut state.lines);
                    lines
                        .iter()
                        .for_each(|line| taken.extend_from_slice(line.as_bytes()));
                }
                state.is_writing = !taken.is_empty();
                state.sink.clone()
            };
            let written = sink.map_or(Ok(()), |sink| sink.write(&mut taken));
            {
                let mut state = self.state.lock();
                let was_failing = state.is_failing;
                state.is_writing = !taken.is_empty();
                state.is_failing = written.is_err();
                self.judge_failing(&state);
                match &written {
                    Err(error) if !was_failing => {
                        tracing::error!(event = "audit-failed", %error);
                    }
                    Ok(()) if was_failing => tracing::info!(event = "audit-works-again"),
                    _ => {}
                }
            }
            self.changed.notify();
            if closed == Some(true) {
                return;
            }
        }
    }

    /// Tells repeats whose period is over.
    fn end_periods(&self, state: &mut State, now: Instant) {
        let due: Vec<_> = state
            .repeats
            .iter()
            .filter(|(_, repeat)| repeat.ends <= now)
            .map(|(entry, repeat)| (entry.clone(), repeat.left_out))
            .collect();
        for (entry, left_out) in due {
            state.repeats.remove(&entry);
            if left_out > 0 {
                let line = line(&entry, left_out);
                self.push(state, line);
            }
        }
    }
}

fn line(entry: &Entry, count: u64) -> String {
    let mut line = String::from("{\"time\":\"");
    put_timestamp(&mut line, system_time(), Form::Compatible);
    line.push_str("Z\"");
    let mut put = |key: &str, text: &str| {
        line.push_str(",\"");
        line.push_str(key);
        line.push_str("\":");
        put_string(&mut line, text);
    };
    put("principal", &entry.principal);
    put("address", &entry.address.to_string());
    put("action", entry.action);
    // What is not UTF-8 is shown as it can be.
    put("resource", &String::from_utf8_lossy(&entry.resource));
    if let Some(event) = &entry.event {
        put("event", &String::from_utf8_lossy(event));
    }
    put("decision", entry.decision);
    if !entry.rule.is_empty() {
        put("rule", &entry.rule);
    }
    line.push_str(&format!(",\"count\":{count}}}\n"));
    line
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use super::*;
    use crate::config::AuditService;

    fn entry(resource: &str) -> Entry {
        Entry {
            principal: "soar\"\n".into(),
            address: IpAddr::from([192, 0, 2, 1]),
            action: "publish",
            resource: resource.as_bytes().into(),
            event: Some(b"N::a\xff".as_slice().into()),
            decision: "deny",
            rule: "no rule allows it".into(),
        }
    }

    fn options(path: &Path, failure: AuditFailure) -> AuditOptions {
        AuditOptions {
            file: Some(path.to_owned()),
            failure,
            ..AuditOptions::default()
        }
    }

    #[test]
    fn repeats_are_counted_and_lines_are_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = Audit::start(&options(&path, AuditFailure::Closed)).unwrap();
        let now = Instant::now();
        for _ in 0..5 {
            audit.record(entry("/x"), now);
        }
        audit.record(entry("/y"), now);
        audit.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let rest = ",\"principal\":\"soar\\\"\\n\",\"address\":\"192.0.2.1\",\"action\":\"publish\",\
                    \"resource\":\"/x\",\"event\":\"N::a\u{fffd}\",\"decision\":\"deny\",\
                    \"rule\":\"no rule allows it\",\"count\":";
        assert!(lines[0].starts_with("{\"time\":\"2"), "{text}");
        assert!(lines[0].ends_with(&format!("{rest}1}}")), "{text}");
        assert!(lines[2].ends_with(&format!("{rest}4}}")), "{text}");
        // Moved away by a program that keeps logs small.
        std::fs::rename(&path, folder.path().join("audit.1")).unwrap();
        audit.reopen(&options(&path, AuditFailure::Closed)).unwrap();
        audit.record(entry("/z"), now);
        audit.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn kinds_beyond_their_bound_are_counted_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let audit = Audit::start(&options(&path, AuditFailure::Open)).unwrap();
        let now = Instant::now();
        for index in 0..KINDS_MAX + 100 {
            audit.record(entry(&index.to_string()), now);
        }
        assert!(audit.shared.state.lock().repeats.len() <= KINDS_MAX);
        audit.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"resource\":\"(others)\""));
        assert!(
            text.contains("\"count\":99}"),
            "{}",
            text.lines().last().unwrap()
        );
    }

    #[test]
    fn a_record_that_cannot_be_written_stops_publishing_if_it_should() {
        // Always full.
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        for (failure, expected) in [(AuditFailure::Closed, true), (AuditFailure::Open, false)] {
            let audit = Audit::start(&options(full, failure)).unwrap();
            assert!(!audit.refuses());
            audit.record(entry("/x"), Instant::now());
            let state = audit.shared.state.lock();
            let failing = audit
                .shared
                .changed
                .wait(state, Duration::from_secs(60), |state| {
                    state.is_failing.then_some(())
                });
            assert!(failing.is_some());
            assert_eq!(audit.refuses(), expected);
            // Another file, and it works again.
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit");
            audit.reopen(&options(&path, failure)).unwrap();
            let state = audit.shared.state.lock();
            let works = audit
                .shared
                .changed
                .wait(state, Duration::from_secs(60), |state| {
                    (!state.is_failing && !state.is_writing).then_some(())
                });
            assert!(works.is_some() && !audit.refuses());
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("\"resource\":\"/x\""), "{text}");
        }
        let nowhere = options(Path::new("/nonexistent/audit"), AuditFailure::Closed);
        assert!(Audit::start(&nowhere).is_err());
    }

    #[test]
    fn a_service_gets_the_record_and_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let listen = || {
            let service = UnixDatagram::bind(&path).unwrap();
            service
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            service
        };
        let text = |service: &UnixDatagram| {
            let mut datagram = vec![0; 1 << 16];
            let size = service.recv(&mut datagram).unwrap();
            String::from_utf8_lossy(&datagram[..size]).into_owned()
        };
        for (failure, expected) in [(AuditFailure::Closed, true), (AuditFailure::Open, false)] {
            let options = AuditOptions {
                service: Some(AuditService::Syslog(path.clone())),
                failure,
                ..AuditOptions::default()
            };
            assert!(Audit::start(&options).is_err());
            let service = listen();
            let audit = Audit::start(&options).unwrap();
            audit.record(entry("/x"), Instant::now());
            assert!(text(&service).contains("\"resource\":\"/x\""));
            // The service ends: what happens meanwhile waits for it.
            drop(service);
            std::fs::remove_file(&path).unwrap();
            audit.record(entry("/y"), Instant::now());
            let until = |is_failing: bool| {
                let state = audit.shared.state.lock();
                let check = |state: &mut State| (state.is_failing == is_failing).then_some(());
                let changed = &audit.shared.changed;
                changed.wait(state, Duration::from_secs(60), check).unwrap();
            };
            until(true);
            assert_eq!(audit.refuses(), expected);
            let service = listen();
            assert!(text(&service).contains("\"resource\":\"/y\""));
            until(false);
            assert!(!audit.refuses());
            drop(service);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
