//! Which subjects to subscribe to.
//!
//! A filter holds prefixes of topics in bytes, subscriptions match whole tokens. So of each prefix all
//! complete tokens are taken and `>` behind them, and the reader filters what is too much. No subject of
//! the result covers another one: servers deliver once for every subscription that matches.

use std::collections::BTreeSet;

use super::subject::{Form, SUBJECT_BYTES_MAX, SUBJECT_TOKENS_MAX, Subjects, push_token};
use crate::filter::Filter;
use crate::json::message::is_reserved;

/// Subjects to subscribe to for one form. Beyond it a filter is not followed in detail, and everything
/// is read and filtered here: servers look at every subscription of a client when it comes back.
pub const SUBSCRIPTIONS_MAX: usize = 4096;

/// The subjects to subscribe to, both forms, for everything that a filter wants; what belongs to
/// endpoints and data stores is left out.
///
/// ```
/// use broker_proto::nats::{Subjects, cover};
///
/// let filter = ["/zeek/lo".into(), "/zeek/logs/".into()].into_iter().collect();
/// let wanted: Vec<_> = cover(&Subjects::default(), &filter).into_iter().collect();
/// assert_eq!(wanted, ["bk.%.zeek.>", "bk.%long.>", "bkb.%.zeek.>", "bkb.%long.>"]);
/// ```
pub fn cover(subjects: &Subjects, filter: &Filter) -> BTreeSet<String> {
    cover_forms(subjects, filter, &Form::ALL)
}

/// As [`cover`], for these forms.
pub fn cover_forms(subjects: &Subjects, filter: &Filter, forms: &[Form]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let wanted = filter.entries().filter(|it| !is_reserved(it.as_bytes()));
    let wanted: Vec<&[u8]> = wanted.map(|topic| topic.as_bytes()).collect();
    if wanted.is_empty() {
        return all;
    }
    for form in forms.iter().copied() {
        let mut stems: BTreeSet<String> = BTreeSet::new();
        for prefix in &wanted {
            // Where there is no stem, all topics with the prefix are long.
            stems.extend(stem(subjects, form, prefix));
        }
        let everything = subjects.prefix(form).to_owned();
        if stems.len() > SUBSCRIPTIONS_MAX {
            stems = [everything.clone()].into();
        }
        // In order: what begins with a stem follows it.
        let mut last: Option<String> = None;
        for stem in stems {
            if last.as_ref().is_none_or(|last| !stem.starts_with(last)) {
                all.insert(format!("{stem}>"));
                last = Some(stem);
            }
        }
        if last != Some(everything) {
            all.insert(subjects.all_long(form));
        }
    }
    all
}

/// The complete tokens of a prefix, each with a dot behind it; `None` when no subject has so many.
fn stem(subjects: &Subjects, form: Form, prefix: &[u8]) -> Option<String> {
    let mut stem = subjects.prefix(form).to_owned();
    let mut tokens = stem.split('.').count() - 1;
    let mut rest = prefix;
    while let Some(end) = rest.iter().position(|byte| *byte == b'/') {
        let (token, behind) = rest.split_at(end);
        push_token(&mut stem, token);
        stem.push('.');
        tokens += 1;
        rest = behind.get(1..).unwrap_or_default();
        if tokens >= SUBJECT_TOKENS_MAX || stem.len() >= SUBJECT_BYTES_MAX {
            return None;
        }
    }
    Some(stem)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nats::subject::tests::topics;
    use crate::topic::Topic;

    /// How often a server delivers a subject to whoever has these subscriptions.
    fn deliveries(wanted: &BTreeSet<String>, subject: &str) -> usize {
        let matches = |wanted: &&String| {
            let stem = wanted.strip_suffix('>').expect("all end with it");
            subject.len() > stem.len() && subject.starts_with(stem)
        };
        wanted.iter().filter(matches).count()
    }

    fn filter(prefixes: &[&[u8]]) -> Filter {
        prefixes.iter().map(|it| Topic::from(*it)).collect()
    }

    proptest! {
        #[test]
        fn what_a_filter_wants_comes_once(
            prefixes in prop::collection::vec((topics(), 0..40_usize), 0..5),
            others in prop::collection::vec(topics(), 0..5),
        ) {
            let cut: Vec<&[u8]> = prefixes
                .iter()
                .map(|(topic, size)| topic.get(..*size).unwrap_or(topic))
                .collect();
            let filter = filter(&cut);
            let subjects = Subjects::default();
            let wanted = cover(&subjects, &filter);
            for topic in prefixes.iter().map(|(topic, _)| topic).chain(&others) {
                for form in Form::ALL {
                    let often = deliveries(&wanted, &subjects.of_topic(form, topic));
                    prop_assert!(often <= 1);
                    if filter.matches(topic) && !is_reserved(topic) {
                        prop_assert_eq!(often, 1);
                    }
                }
            }
        }
    }

    #[test]
    fn a_filter_is_covered_by_as_little_as_tokens_allow() {
        let singles = |prefixes: &[&[u8]]| {
            let wanted = cover(&Subjects::default(), &filter(prefixes));
            let singles = wanted.into_iter().filter(|it| it.starts_with("bk."));
            singles.collect::<Vec<_>>()
        };
        assert_eq!(singles(&[]), [""; 0]);
        assert_eq!(singles(&[b""]), ["bk.>"]);
        assert_eq!(singles(&[b"zeek"]), ["bk.>"]);
        assert_eq!(singles(&[b"/zeek"]), ["bk.%.>", "bk.%long.>"]);
        assert_eq!(
            singles(&[b"/a/x", b"/ab/", b"/a/y/z"]),
            ["bk.%.a.>", "bk.%.ab.>", "bk.%long.>"]
        );
        assert_eq!(singles(&[b"<$>/local/x"]), [""; 0]);
        let deep = "a/".repeat(SUBJECT_TOKENS_MAX);
        assert_eq!(singles(&[deep.as_bytes()]), ["bk.%long.>"]);
    }

    #[test]
    fn many_subscriptions_become_one() {
        let many: Vec<String> = (0..=SUBSCRIPTIONS_MAX).map(|it| format!("{it}/")).collect();
        let filter: Filter = many.iter().map(|it| Topic::from(it.as_str())).collect();
        let wanted = cover(&Subjects::default(), &filter);
        assert_eq!(wanted, ["bk.>".to_owned(), "bkb.>".to_owned()].into());
    }
}
