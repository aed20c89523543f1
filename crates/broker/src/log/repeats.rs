//! Suppression of log lines that repeat: they are held back, and how often they came is told.
//!
//! Two limits count in each period: for the same line, and for lines from the same place in the
//! code, since a stranger can have lines differ. When a period is over that left something out, one
//! record says how many. Single messages (TRACE) are not limited: who asks for them wants them.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use rustc_hash::FxHasher;

use crate::config::Verbosity;
use crate::log::record::{Field, Record};

/// How long lines are counted before the count begins again.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// How often the same line comes in a period.
pub(super) const SAME_MAX: u64 = 5;

/// How many lines come from the same place in a period: a large cluster that starts is told in full,
/// a flood fills no disk.
pub(super) const PLACE_MAX: u64 = 500;

/// Lines and places that are counted at a time, at about 300 bytes each. Lines beyond are only limited by their place.
const COUNTS_MAX: usize = 2048;

#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: Counts,
    /// As many as there are places in the code at most.
    places: Counts,
}

impl Repeats {
    /// Whether a record is to be shown; `place` tells where in the code it comes from.
    pub(super) fn admit(&mut self, now: Instant, place: u64, record: &Record) -> bool {
        if record.level == Verbosity::Trace {
            return true;
        }
        let mut hasher = FxHasher::default();
        (place, &record.fields, &record.message).hash(&mut hasher);
        self.lines.take(now, hasher.finish(), SAME_MAX, record)
            && self.places.take(now, place, PLACE_MAX, record)
    }

    /// When [`due`](Self::due) has something.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let ends = [self.lines.next_end, self.places.next_end];
        ends.into_iter().flatten().min()
    }

    /// What was left out in periods that are over; in all of them with `now` as `None`.
    pub(super) fn due(&mut self, now: Option<Instant>) -> Vec<Record> {
        let mut told = self.lines.due(now);
        told.append(&mut self.places.due(now));
        told
    }
}

#[derive(Debug, Default)]
struct Counts {
    counts: HashMap<u64, Count>,
    /// When the first period ends that has left something out.
    next_end: Option<Instant>,
}

#[derive(Debug)]
struct Count {
    ends: Instant,
    seen: u64,
    left_out: u64,
    /// The last one that was left out.
    sample: Option<Box<Record>>,
}

impl Counts {
    fn take(&mut self, now: Instant, key: u64, limit: u64, record: &Record) -> bool {
        if self.counts.len() >= COUNTS_MAX && !self.counts.contains_key(&key) {
            self.counts
                .retain(|_, count| count.left_out > 0 || count.ends > now);
            if self.counts.len() >= COUNTS_MAX {
                return true;
            }
        }
        let count = self.counts.entry(key).or_insert_with(|| Count {
            ends: now + PERIOD,
            seen: 0,
            left_out: 0,
            sample: None,
        });
        if count.ends <= now && count.left_out == 0 {
            count.seen = 0;
            count.ends = now + PERIOD;
        }
        if count.seen < limit {
            count.seen += 1;
            return true;
        }
        count.left_out += 1;
        count.sample = Some(Box::new(record.clone()));
        let ends = count.ends;
        self.next_end = Some(self.next_end.map_or(ends, |next| next.min(ends)));
        false
    }

    fn due(&mut self, now: Option<Instant>) -> Vec<Record> {
        let is_over = |ends: Instant| now.is_none_or(|now| ends <= now);
        if !self.next_end.is_some_and(is_over) {
            return Vec::new();
        }
        let mut told = Vec::new();
        let mut next_end = None;
        let limited = self.counts.values_mut();
        for count in limited.filter(|count| count.left_out > 0) {
            if !is_over(count.ends) {
                next_end = Some(next_end.map_or(count.ends, |next: Instant| next.min(count.ends)));
                continue;
            }
            let left_out = std::mem::take(&mut count.left_out);
            count.seen = 0;
            count.ends += PERIOD;
            if let Some(mut record) = count.sample.take() {
                let field = Field::Number(left_out.to_string());
                record.fields.push(("left_out".into(), field));
                let message = &mut record.message;
                if !message.is_empty() {
                    message.push(' ');
                }
                message.push_str("(as many lines like this one were left out)");
                told.push(*record);
            }
        }
        self.next_end = next_end;
        told.sort_by_key(|record| record.time);
        told
    }
}

#[cfg(test)]
mod tests {
    use broker_data::Timestamp;

    use super::*;
    use crate::log::component::Component;

    fn record(port: usize) -> Record {
        Record {
            time: Timestamp::EPOCH,
            level: Verbosity::Warning,
            component: Component::Peer,
            event: "dial-failed".to_owned(),
            fields: vec![("port".into(), Field::Number(port.to_string()))],
            message: String::new(),
        }
    }

    #[test]
    fn the_same_line_comes_a_few_times_and_is_counted() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let shown = (0..100)
            .filter(|_| repeats.admit(start, 1, &record(1)))
            .count();
        assert_eq!(shown as u64, SAME_MAX);
        // Others are not concerned.
        assert!(repeats.admit(start, 1, &record(2)));
        assert!(repeats.due(Some(start)).is_empty());
        let end = start + PERIOD;
        assert_eq!(repeats.next_end(), Some(end));
        let told = repeats.due(Some(end));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].text().contains("port=1 left_out=95"),
            "{}",
            told[0].text()
        );
        assert_eq!(repeats.next_end(), None);
        // A new period.
        assert!(repeats.admit(end, 1, &record(1)));
    }

    #[test]
    fn lines_that_differ_are_limited_by_their_place_and_in_memory() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let shown = (0..100_000)
            .filter(|port| repeats.admit(start, 1, &record(*port)))
            .count();
        assert_eq!(shown as u64, PLACE_MAX);
        assert!(repeats.lines.counts.len() <= COUNTS_MAX);
        let told = repeats.due(None);
        assert!(told.iter().any(|it| it.text().contains("left_out=99500")));
    }

    #[test]
    fn single_messages_are_not_limited() {
        let mut repeats = Repeats::default();
        let now = Instant::now();
        let trace = Record {
            level: Verbosity::Trace,
            ..record(1)
        };
        assert!((0..10_000).all(|_| repeats.admit(now, 1, &trace)));
    }
}
