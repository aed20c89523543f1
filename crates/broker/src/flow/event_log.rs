//! The last status and error events of an endpoint, for operators who look later.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use broker_data::Timestamp;
use broker_proto::Event;
use tokio::sync::Notify;

use crate::lock::Lock;

/// Events that are kept: hours of an endpoint that is well, and more than fits on a screen.
pub(crate) const EVENTS_KEPT_MAX: usize = 256;

/// An event, and when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedEvent {
    /// Its number; the first one is 1, and none is left out.
    pub(crate) number: u64,
    pub(crate) time: Timestamp,
    pub(crate) event: Event,
}

/// The last events, in order.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    log: Lock<Log>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Log {
    /// Bound: `EVENTS_KEPT_MAX`.
    events: VecDeque<LoggedEvent>,
    last: u64,
    /// How many there were, by their kind and code. Bound: the codes there are.
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

impl EventLog {
    /// Adds events, for which the oldest are forgotten.
    pub(crate) fn add(&self, events: &[Event]) {
        let time = Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH);
        let mut log = self.log.lock();
        for event in events {
            log.last = log.last.saturating_add(1);
            if log.events.len() >= EVENTS_KEPT_MAX {
                log.events.pop_front();
            }
            let number = log.last;
            *log.counts.entry(kind_and_code(event)).or_default() += 1;
            log.events.push_back(LoggedEvent {
                number,
                time,
                event: event.clone(),
            });
        }
        drop(log);
        self.changed.notify_waiters();
    }

    /// How many there were so far, by `status` or `error` and the name of their code.
    pub(crate) fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.log.lock().counts.clone()
    }

    /// Those that are kept and newer than a number.
    pub(crate) fn after(&self, number: u64) -> Vec<LoggedEvent> {
        let log = self.log.lock();
        let newer = log.events.iter().filter(|it| it.number > number);
        newer.cloned().collect()
    }

    /// Resolves when there are newer ones than that number.
    pub(crate) async fn newer_than(&self, number: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on a change wakes it.
            changed.as_mut().enable();
            if self.log.lock().last > number {
                return;
            }
            changed.await;
        }
    }
}

/// What an event is, as events spell it.
const fn kind_and_code(event: &Event) -> (&'static str, &'static str) {
    match event {
        Event::Status(status) => ("status", status.code.name()),
        Event::Error(fault) => ("error", fault.code.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_proto::{ErrorCode, Fault};

    fn event(text: &str) -> Event {
        Event::Error(Fault::new(ErrorCode::Unspecified, None, text.to_owned()))
    }

    #[test]
    fn the_last_events_are_kept_under_their_numbers() {
        let log = EventLog::default();
        assert!(log.after(0).is_empty());
        let many: Vec<Event> = (0..EVENTS_KEPT_MAX + 2)
            .map(|number| event(&number.to_string()))
            .collect();
        log.add(&many);
        let kept = log.after(0);
        assert_eq!(kept.len(), EVENTS_KEPT_MAX);
        assert_eq!(kept.first().map(|it| it.number), Some(3));
        let last = log.after(EVENTS_KEPT_MAX as u64 + 1);
        assert_eq!(last.len(), 1);
        assert_eq!(last.first().map(|it| &it.event), many.last());
        let counts = BTreeMap::from([(("error", "unspecified"), many.len() as u64)]);
        assert_eq!(log.counts(), counts);
    }
}
