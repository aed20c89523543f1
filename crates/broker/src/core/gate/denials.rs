//! The last denials, for people who look at the endpoint.

use std::collections::VecDeque;

use broker_data::Timestamp;

use super::audit::Entry;
use crate::lock::Lock;

/// Denials that are kept, each once however often it came: a screen or two.
const DENIALS_KEPT_MAX: usize = 64;

/// Something that was denied, and how often since it was denied first.
#[derive(Debug, Clone)]
pub(crate) struct Denied {
    pub(crate) entry: Entry,
    /// The last time.
    pub(crate) time: Timestamp,
    pub(crate) count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Denials(
    /// The latest last. Bound: [`DENIALS_KEPT_MAX`].
    Lock<VecDeque<Denied>>,
);

impl Denials {
    pub(super) fn note(&self, entry: &Entry, time: Timestamp) {
        let mut list = self.0.lock();
        let known = list.iter().rposition(|it| it.entry == *entry);
        let known = known.and_then(|index| list.remove(index));
        let count = known.map_or(0, |it| it.count).saturating_add(1);
        if list.len() >= DENIALS_KEPT_MAX {
            list.pop_front();
        }
        list.push_back(Denied {
            entry: entry.clone(),
            time,
            count,
        });
    }

    /// The latest last.
    pub(super) fn list(&self) -> Vec<Denied> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn each_denial_is_there_once_and_the_last_are_kept() {
        let denials = Denials::default();
        let entry = |number: usize| Entry {
            principal: "p".into(),
            address: IpAddr::from([192, 0, 2, 1]),
            action: "publish",
            resource: number.to_string().into_bytes().into(),
            event: None,
            decision: "deny",
            rule: "no rule allows it".into(),
        };
        for number in 0..DENIALS_KEPT_MAX {
            denials.note(&entry(number), Timestamp::from_ns(1));
        }
        denials.note(&entry(0), Timestamp::from_ns(2));
        denials.note(&entry(DENIALS_KEPT_MAX), Timestamp::from_ns(3));
        let list = denials.list();
        assert_eq!(list.len(), DENIALS_KEPT_MAX);
        let numbers: Vec<_> = [&list[0], &list[list.len() - 2], &list[list.len() - 1]]
            .map(|it| {
                (
                    String::from_utf8_lossy(&it.entry.resource).into_owned(),
                    it.count,
                )
            })
            .into();
        let last = DENIALS_KEPT_MAX.to_string();
        let expected = [("2".to_owned(), 1), ("0".to_owned(), 2), (last, 1)];
        assert_eq!(numbers, expected);
    }
}
