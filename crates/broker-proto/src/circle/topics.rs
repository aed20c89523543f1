//! Which topics are looked at, and which are forgotten for want of room.

use broker_data::{Timespan, Timestamp};

use crate::circle::case::Case;
use crate::circle::{Circles, Output, Report};
use crate::topic::{RESERVED, Topic};

/// Topics that are looked at or cut at a time; about 1 KiB each. Of more, the one that was quiet
/// for longest is forgotten: if it circles, that is found out anew.
pub const TOPICS_MAX: usize = 4096;

/// Quiet topics that are looked for at a time: to look through all of them for each one that is
/// forgotten would let a stranger who makes up topics keep a processor busy.
const QUIET_MAX: usize = 64;

/// Without a topic that was forgotten for so long, the next one is another matter, and told.
const BURST_PAUSE: Timespan = Timespan::from_secs(60);

/// The topics that are looked at.
impl Circles {
    pub(super) fn case(&mut self, now: Timestamp, topic: &Topic) -> &mut Case {
        if !self.cases.contains_key(topic) && self.cases.len() >= TOPICS_MAX {
            self.forget_quietest(now);
        }
        let case = self.cases.entry(topic.clone()).or_default();
        case.touched = now;
        case
    }

    /// Makes room; topics without cuts go first.
    fn forget_quietest(&mut self, now: Timestamp) {
        let Some(topic) = self.quietest() else {
            return;
        };
        self.tell_crowded(now, &topic);
        self.finish_test(now, &topic);
        let Some(case) = self.cases.remove(&topic) else {
            return;
        };
        if let Some(due) = case.due {
            self.agenda.remove(&(due, topic.clone()));
        }
        if case.groups.is_empty() {
            return;
        }
        for group in case.groups {
            for (closed, proof) in group.closed {
                if proof.is_told {
                    self.tell_gone(group.open, closed, &topic);
                }
            }
        }
        let peers = Vec::new();
        self.outputs.push_back(Output::Close { topic, peers });
    }

    fn quietest(&mut self) -> Option<Topic> {
        loop {
            // Others were touched after those that were found, so the next of them is the quietest
            // of all, unless it was touched itself.
            while let Some((touched, topic)) = self.quiet.pop() {
                let case = self.cases.get(&topic);
                if case.is_some_and(|case| case.touched == touched && case.groups.is_empty()) {
                    return Some(topic);
                }
            }
            let without_cuts = self.cases.iter().filter(|(_, it)| it.groups.is_empty());
            let mut found: Vec<_> = without_cuts
                .map(|(topic, it)| (it.touched, topic))
                .collect();
            if found.is_empty() {
                let quietest = self.cases.iter().min_by_key(|(_, case)| case.touched);
                return quietest.map(|(topic, _)| topic.clone());
            }
            if found.len() > QUIET_MAX {
                found.select_nth_unstable(QUIET_MAX);
                found.truncate(QUIET_MAX);
            }
            found.sort_unstable_by(|a, b| b.cmp(a));
            let found = found.into_iter();
            self.quiet = found.map(|(at, topic)| (at, topic.clone())).collect();
        }
    }

    /// Once per burst of topics that are too many.
    fn tell_crowded(&mut self, now: Timestamp, topic: &Topic) {
        let before = self.crowded.replace(now);
        let is_new = before.is_none_or(|it| now >= it.saturating_add(BURST_PAUSE));
        if is_new {
            let topic = topic.clone();
            let report = Report::Crowded { topic };
            self.outputs.push_back(Output::Report(report));
        }
    }

    pub(super) fn schedule(&mut self, topic: &Topic) {
        let Some(case) = self.cases.get_mut(topic) else {
            return;
        };
        let due = case.next_due();
        if due == case.due {
            return;
        }
        if let Some(before) = std::mem::replace(&mut case.due, due) {
            self.agenda.remove(&(before, topic.clone()));
        }
        if let Some(due) = due {
            self.agenda.insert((due, topic.clone()));
        }
    }
}

/// Whether probes under the topic reach nobody but those who look for circles: under topics of data
/// stores masters and clones read commands. Spec: stores 1.1.
pub(super) fn can_be_probed(topic: &[u8]) -> bool {
    const STORES: &[u8] = b"/<$>/data/";
    !topic.is_empty()
        && !topic.starts_with(RESERVED.as_bytes())
        && !topic.windows(STORES.len()).any(|part| part == STORES)
}
