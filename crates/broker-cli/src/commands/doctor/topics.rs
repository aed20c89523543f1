//! Whether a topic comes through a filter, and what it was nearly.
//!
//! Topics are compared byte by byte from their beginning: an entry lets through what begins with
//! it. Spec: wire 8.2.

use broker::Topic;

/// Near misses that are named.
const MISSES_MAX: usize = 5;

/// How alike a topic and an entry have to be to be taken for a slip of the pen, from 0 to 1.
const LIKENESS_MIN: f64 = 0.85;

/// In what a topic and an entry of a filter differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// One begins with a slash.
    LeadingSlash,
    /// One has dots where the other has slashes.
    Separator,
    /// The entry ends with a slash or dot that the topic does not have.
    TrailingSlash,
    /// Capitals.
    Case,
    /// The entry goes on where the topic ends.
    Longer,
    /// Letters.
    Spelling,
}

impl Difference {
    /// In words, with the topic as the subject.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::LeadingSlash => "the slash in front",
            Self::Separator => "dots and slashes",
            Self::TrailingSlash => "the slash or dot at the end",
            Self::Case => "capital letters",
            Self::Longer => "it goes on behind the topic",
            Self::Spelling => "the spelling",
        }
    }
}

/// An entry that nearly lets a topic through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NearMiss {
    pub(super) entry: String,
    pub(super) differences: Vec<Difference>,
}

/// The entry that lets a topic through.
pub(super) fn matching<'f>(filter: &'f [Topic], topic: &str) -> Option<&'f Topic> {
    filter
        .iter()
        .find(|entry| topic.as_bytes().starts_with(entry.as_bytes()))
}

/// What is changed about both sides to see whether they fit then, in the order in which people get
/// it wrong.
const CHANGES: [Difference; 4] = [
    Difference::LeadingSlash,
    Difference::Separator,
    Difference::TrailingSlash,
    Difference::Case,
];

/// The entries that a topic has nearly got through, the nearest first.
pub(super) fn near_misses(filter: &[Topic], topic: &str) -> Vec<NearMiss> {
    let entries = filter.iter().map(ToString::to_string);
    let mut misses: Vec<(f64, NearMiss)> = entries
        .filter(|entry| !topic.starts_with(entry.as_str()))
        .filter_map(|entry| {
            let (distance, differences) = differences(&entry, topic)?;
            Some((distance, NearMiss { entry, differences }))
        })
        .collect();
    misses.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    misses.truncate(MISSES_MAX);
    misses.into_iter().map(|(_, miss)| miss).collect()
}

/// How far apart they are, and in what.
fn differences(entry: &str, topic: &str) -> Option<(f64, Vec<Difference>)> {
    // The fewest changes that make it fit: 15 combinations of four.
    let combinations = (1_u32..1 << CHANGES.len()).map(|bits| {
        let chosen = CHANGES.iter().enumerate();
        let chosen = chosen.filter(|(at, _)| bits & 1 << at != 0);
        chosen.map(|(_, change)| *change).collect::<Vec<_>>()
    });
    let fits = |changes: &Vec<Difference>| {
        let (entry, topic) = (
            changed(entry, changes, true),
            changed(topic, changes, false),
        );
        !entry.is_empty() && topic.starts_with(&entry)
    };
    if let Some(changes) = combinations.filter(fits).min_by_key(Vec::len) {
        return Some((changes.len() as f64, changes));
    }
    let all = CHANGES.to_vec();
    let (plain_entry, plain_topic) = (changed(entry, &all, true), changed(topic, &all, false));
    if !plain_topic.is_empty() && plain_entry.starts_with(&plain_topic) {
        let mut found = vec![Difference::Longer];
        if !entry.starts_with(topic.trim_end_matches(['/', '.'])) {
            let few = CHANGES.iter().find(|change| {
                let one = [**change];
                changed(entry, &one, true).starts_with(&changed(topic, &one, false))
            });
            found.extend(few);
        }
        return Some((5.0 + found.len() as f64, found));
    }
    // As much of the topic as the entry is long.
    let beginning: String = topic.chars().take(entry.chars().count()).collect();
    let likeness = strsim::jaro(&beginning, entry);
    let is_slip = likeness > LIKENESS_MIN && entry.chars().count() > 3;
    is_slip.then(|| (10.0 - likeness, vec![Difference::Spelling]))
}

fn changed(text: &str, changes: &[Difference], is_entry: bool) -> String {
    let mut text = text.to_owned();
    for change in changes {
        text = match change {
            Difference::LeadingSlash => text.trim_start_matches('/').to_owned(),
            Difference::Separator => text.replace('.', "/"),
            Difference::TrailingSlash if is_entry => text.trim_end_matches(['/', '.']).to_owned(),
            Difference::Case => text.to_lowercase(),
            Difference::TrailingSlash | Difference::Longer | Difference::Spelling => text,
        };
    }
    text
}

/// Other spellings of a topic, to see whether something passes by on one of them.
pub(super) fn spellings(topic: &str) -> Vec<String> {
    let bare = topic.trim_start_matches('/');
    if bare.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<String> = [
        bare.to_owned(),
        format!("/{bare}"),
        bare.replace('/', "."),
        bare.replace('.', "/"),
        topic.trim_end_matches(['/', '.']).to_owned(),
        topic.to_lowercase(),
    ]
    .into_iter()
    .filter(|other| !other.is_empty() && !other.starts_with(topic))
    .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use Difference::{Case, LeadingSlash, Longer, Separator, Spelling, TrailingSlash};

    use super::*;

    fn filter(entries: &[&str]) -> Vec<Topic> {
        entries.iter().map(|entry| Topic::from(*entry)).collect()
    }

    #[test]
    fn an_entry_lets_through_what_begins_with_it() {
        let all = filter(&["/a", "zeek/"]);
        assert_eq!(
            matching(&all, "/ab").map(ToString::to_string).as_deref(),
            Some("/a")
        );
        assert!(matching(&all, "zeek").is_none());
        assert!(matching(&filter(&[""]), "x").is_some());
        assert!(matching(&[], "x").is_none());
    }

    #[test]
    fn what_people_get_wrong_is_found() {
        for (entry, topic, expected) in [
            ("zeek/x", "/zeek/x", vec![LeadingSlash]),
            ("/zeek/x", "zeek/x/y", vec![LeadingSlash]),
            (
                "zeek.cluster.manager",
                "zeek/cluster/manager",
                vec![Separator],
            ),
            ("zeek/x/", "zeek/x", vec![TrailingSlash]),
            (
                "zeek.cluster.node.a.",
                "zeek.cluster.node.a",
                vec![TrailingSlash],
            ),
            ("/Zeek/X", "/zeek/x", vec![Case]),
            ("/zeek/x", "zeek.x", vec![LeadingSlash, Separator]),
            ("zeek/x/logs", "zeek/x", vec![Longer]),
            ("/zeek/x/logs", "zeek/x", vec![Longer, LeadingSlash]),
            (
                "zeek/cluster/manager",
                "zeek/cluster/manger",
                vec![Spelling],
            ),
        ] {
            let misses = near_misses(&filter(&[entry]), topic);
            let found = misses.first().map(|miss| miss.differences.clone());
            assert_eq!(found, Some(expected), "{entry} {topic}");
        }
        for (entry, topic) in [
            ("/a", "/b"),
            ("zeek/logs/", "intel/x"),
            ("", "x"),
            ("/", "x"),
        ] {
            assert_eq!(near_misses(&filter(&[entry]), topic), [], "{entry} {topic}");
        }
    }

    #[test]
    fn the_nearest_come_first_and_not_too_many() {
        let many: Vec<String> = (0..20).map(|number| format!("/a/b{number}/")).collect();
        let mut all: Vec<&str> = many.iter().map(String::as_str).collect();
        all.push("a/b");
        let misses = near_misses(&filter(&all), "/a/b");
        assert_eq!(misses.len(), MISSES_MAX);
        assert_eq!(misses[0].entry, "a/b");
    }

    #[test]
    fn other_spellings_leave_out_what_the_topic_covers() {
        assert_eq!(spellings("/zeek/x"), ["zeek.x", "zeek/x"]);
        assert_eq!(
            spellings("zeek.x/"),
            ["/zeek.x/", "zeek.x", "zeek.x.", "zeek/x/"]
        );
        assert!(spellings("").is_empty() && spellings("/").is_empty());
    }
}
