//! Rules of a link: the topics that come in over a peering, and those that go out.
//!
//! A peering with rules is a link between two sites, or between two groups that speak different
//! protocols: nothing but what is listed crosses it. The routing table goes by them, so that they cost
//! nothing per message. See ADR 0470.

use crate::filter::Filter;
use crate::topic::Topic;

/// What crosses a link, as prefixes of topics. Nothing does by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkRules {
    /// What comes in: topics of messages that are taken from the peer.
    pub import: Filter,
    /// What goes out: topics of messages that are sent to the peer.
    pub export: Filter,
}

impl LinkRules {
    /// Rules of these prefixes; "" is every topic.
    pub fn new<T: Into<Topic>>(
        import: impl IntoIterator<Item = T>,
        export: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            import: import.into_iter().map(Into::into).collect(),
            export: export.into_iter().map(Into::into).collect(),
        }
    }

    /// What of a filter the peer is asked for: as much of it as may come in.
    pub fn wanted(&self, filter: &Filter) -> Filter {
        let narrower = |of: &Filter, by: &Filter| -> Vec<Topic> {
            let entries = of.entries();
            entries
                .filter(|entry| by.matches(entry.as_bytes()))
                .cloned()
                .collect()
        };
        let mut wanted = Filter::new();
        for entry in narrower(filter, &self.import)
            .into_iter()
            .chain(narrower(&self.import, filter))
        {
            wanted.add(entry);
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::id::EndpointId;
    use crate::routes::{LocalId, LocalKind, Origin, RoutingTable};

    fn filter(topics: &[&str]) -> Filter {
        topics.iter().map(|topic| Topic::from(*topic)).collect()
    }

    #[test]
    fn a_peer_is_asked_for_what_is_wanted_and_may_come_in() {
        let rules = LinkRules::new(["/a/", "/b/c"], []);
        for (wanted, asked) in [
            (&["/a/x", "/b/"][..], &["/a/x", "/b/c"][..]),
            (&[""], &["/a/", "/b/c"]),
            (&["/c"], &[]),
            (&["/a", "/b/cd"], &["/a/", "/b/cd"]),
        ] {
            assert_eq!(rules.wanted(&filter(wanted)), filter(asked));
        }
        assert_eq!(LinkRules::default().wanted(&filter(&[""])), Filter::new());
    }

    #[test]
    fn a_table_lets_across_what_is_listed_and_nothing_else() {
        const ME: EndpointId = EndpointId::from_bytes([1; 16]);
        const A: EndpointId = EndpointId::from_bytes([0xa; 16]);
        const B: EndpointId = EndpointId::from_bytes([0xb; 16]);
        let targets = |table: &RoutingTable<&'static str>, origin, topic: &str| {
            table.targets(origin, EndpointId::NIL, topic.as_bytes(), true)
        };
        let mut table = RoutingTable::new(ME);
        table.add_peer(A, filter(&[""]), "A");
        table.add_peer(B, filter(&[""]), "B");
        let everything = vec![Topic::from("")];
        table.add_local(LocalId(1), LocalKind::Hub, everything, "hub");
        let version = table.version();
        table.set_link_rules(A, Arc::new(LinkRules::new(["/in"], ["/out"])));
        assert_ne!(table.version(), version);

        assert_eq!(targets(&table, Origin::Peer(A), "/in/x"), ["B", "hub"]);
        assert!(targets(&table, Origin::Peer(A), "/out/x").is_empty());
        assert!(targets(&table, Origin::Spoofed(A), "/out/x").is_empty());
        assert_eq!(targets(&table, Origin::Peer(B), "/in/x"), ["hub"]);
        assert_eq!(targets(&table, Origin::Peer(B), "/out/x"), ["A", "hub"]);
        assert_eq!(targets(&table, Origin::Endpoint, "/other"), ["B", "hub"]);
        // What is directed to somebody is no exception, but for this endpoint itself.
        assert!(table.targets(Origin::Peer(B), A, b"/in", true).is_empty());
        assert_eq!(table.targets(Origin::Peer(A), ME, b"/out", true), ["hub"]);

        // A filter that changes keeps the rules, a peer that comes anew has none.
        table.set_peer_filter(A, filter(&["/"]));
        assert!(table.link_rules(A).is_some());
        assert_eq!(table.linked_peers().collect::<Vec<_>>(), [(A, &"A")]);
        table.add_peer(A, filter(&[""]), "A");
        assert_eq!(targets(&table, Origin::Peer(A), "/x"), ["B", "hub"]);
        assert_eq!(table.linked_peers().count(), 0);
    }

    proptest! {
        #[test]
        fn what_is_asked_for_matches_what_both_match(
            import in prop::collection::vec("[ab]{0,3}", 0..4),
            wanted in prop::collection::vec("[ab]{0,3}", 0..4),
            topic in "[ab]{0,5}",
        ) {
            let rules = LinkRules::new(import.iter().map(String::as_str), []);
            let wanted: Filter = wanted.iter().map(|it| Topic::from(it.as_str())).collect();
            let both = wanted.matches(topic.as_bytes()) && rules.import.matches(topic.as_bytes());
            prop_assert_eq!(rules.wanted(&wanted).matches(topic.as_bytes()), both);
        }
    }
}
