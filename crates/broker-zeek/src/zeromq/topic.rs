//! Topics of a cluster, in the spellings of both backends. Spec: zeromq 4, zeek 3.1.

use std::fmt;

/// What a node of a cluster is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// The one that everything comes together at.
    Manager,
    /// Writes logs.
    Logger,
    /// Shares work among workers.
    Proxy,
    /// Looks at traffic.
    Worker,
    /// Anything else, such as a program from outside.
    Other,
}

impl NodeKind {
    /// Returns the name in topics; that of [`NodeKind::Other`] is in none.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Logger => "logger",
            Self::Proxy => "proxy",
            Self::Worker => "worker",
            Self::Other => "other",
        }
    }

    /// Guesses the kind of a node by its name, as layouts have them: `worker-1`, `manager`.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let known = [Self::Manager, Self::Logger, Self::Proxy, Self::Worker];
        let fits = |kind: &Self| {
            let rest = name.strip_prefix(kind.name());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
        };
        known.into_iter().find(fits).unwrap_or(Self::Other)
    }

    /// Whether nodes of the kind are a pool that work is spread over.
    const fn has_pool(self) -> bool {
        matches!(self, Self::Logger | Self::Proxy | Self::Worker)
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Names of a cluster's topics.
///
/// ```
/// use broker_zeek::zeromq::{ClusterTopics, NodeKind};
///
/// assert_eq!(ClusterTopics::ZEROMQ.kind(NodeKind::Worker), "zeek.cluster.worker");
/// assert_eq!(ClusterTopics::ZEROMQ.node("proxy-1"), "zeek.cluster.node.proxy-1.");
/// assert_eq!(ClusterTopics::BROKER.node("proxy-1"), "zeek/cluster/node/proxy-1/");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterTopics {
    separator: char,
    /// Whether topics of one node end with the separator.
    is_closed: bool,
}

impl ClusterTopics {
    /// Those of the backend ZeroMQ from Zeek 7.2 on.
    pub const ZEROMQ: Self = Self {
        separator: '.',
        is_closed: true,
    };

    /// Those of Zeek 7.1, whose topics of one node do not end with a dot.
    pub const ZEROMQ_7_1: Self = Self {
        separator: '.',
        is_closed: false,
    };

    /// Those of the backend Broker.
    pub const BROKER: Self = Self {
        separator: '/',
        is_closed: true,
    };

    fn join(self, parts: &[&str]) -> String {
        let mut topic = String::from("zeek");
        for part in ["cluster"].iter().chain(parts) {
            topic.push(self.separator);
            topic.push_str(part);
        }
        topic
    }

    fn closed(self, parts: &[&str]) -> String {
        let mut topic = self.join(parts);
        if self.is_closed {
            topic.push(self.separator);
        }
        topic
    }

    /// Returns the topic of all nodes of a kind. Spec: zeromq 4.
    #[must_use]
    pub fn kind(self, kind: NodeKind) -> String {
        self.join(&[kind.name()])
    }

    /// Returns the topic of a pool.
    #[must_use]
    pub fn pool(self, kind: NodeKind) -> String {
        self.join(&["pool", kind.name()])
    }

    /// Returns the topic of the node with this name.
    #[must_use]
    pub fn node(self, name: &str) -> String {
        self.closed(&["node", name])
    }

    /// Returns the topic of the node with this id.
    #[must_use]
    pub fn node_id(self, id: &str) -> String {
        self.closed(&["nodeid", id])
    }

    /// Returns what a node subscribes to when it starts, in Zeek's order: pool, kind, id, name.
    #[must_use]
    pub fn of_node(self, kind: NodeKind, name: &str, id: &str) -> Vec<String> {
        let pool = kind.has_pool().then(|| self.pool(kind));
        let kind = (kind != NodeKind::Other).then(|| self.kind(kind));
        let own = [self.node_id(id), self.node(name)];
        pool.into_iter().chain(kind).chain(own).collect()
    }

    /// Returns a topic of the other backend in this one's spelling, if it is one of a cluster's.
    ///
    /// Scripts that say `zeek/cluster/worker` reach nobody in a cluster with ZeroMQ, and neither do
    /// programs; this is for those who ask for a translation. Spec: zeromq 4.
    #[must_use]
    pub fn translate(self, topic: &str) -> Option<String> {
        let other = match self.separator {
            '.' => '/',
            _ => '.',
        };
        let prefix = format!("zeek{other}cluster{other}");
        let rest = topic.strip_prefix(&prefix)?;
        let own = self.separator;
        // Names and ids of nodes can have separators of the other spelling in them.
        let rest = match rest.split_once(other) {
            Some((group @ ("node" | "nodeid" | "pool"), name)) => {
                let name = name.strip_suffix(other).map_or_else(
                    || name.to_owned(),
                    |name| {
                        format!(
                            "{name}{}",
                            if self.is_closed {
                                own.to_string()
                            } else {
                                String::new()
                            }
                        )
                    },
                );
                format!("{group}{own}{name}")
            }
            _ => rest.to_owned(),
        };
        Some(format!("zeek{own}cluster{own}{rest}"))
    }

    /// As [`translate`](Self::translate), for what is subscribed to: the beginning of a topic of a
    /// cluster is one of the other spelling, too. The empty prefix is in both.
    ///
    /// ```
    /// use broker_zeek::zeromq::ClusterTopics;
    ///
    /// let translate = |prefix| ClusterTopics::ZEROMQ.translate_prefix(prefix);
    /// assert_eq!(translate("zeek/cluster/worker").as_deref(), Some("zeek.cluster.worker"));
    /// assert_eq!(translate("zeek/clu").as_deref(), Some("zeek.clu"));
    /// assert_eq!(translate("zeek/logs"), None);
    /// ```
    #[must_use]
    pub fn translate_prefix(self, prefix: &str) -> Option<String> {
        let other = match self.separator {
            '.' => "zeek/cluster/",
            _ => "zeek.cluster.",
        };
        // What has no separator in it is the same in both.
        if "zeek".starts_with(prefix) {
            return None;
        }
        if other.starts_with(prefix) {
            let turn = |character| match character {
                '.' | '/' => self.separator,
                letter => letter,
            };
            return Some(prefix.chars().map(turn).collect());
        }
        self.translate(prefix)
    }

    /// Returns the id in a subscription of a node to its own topic, and the spelling it has.
    pub(super) fn node_id_of(topic: &[u8]) -> Option<(&str, Self)> {
        let id = topic.strip_prefix(b"zeek.cluster.nodeid.")?;
        let id = std::str::from_utf8(id).ok()?;
        Some(match id.strip_suffix('.') {
            Some(id) => (id, Self::ZEROMQ),
            None => (id, Self::ZEROMQ_7_1),
        })
    }
}

/// Tells whether nodes of Zeek subscribe to such topics by themselves: those below `zeek.`.
#[must_use]
pub fn is_zeek_topic(topic: &[u8]) -> bool {
    topic.starts_with(b"zeek.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_those_that_zeek_subscribes_to() {
        // As recorded, in this order.
        let topics = ClusterTopics::ZEROMQ.of_node(NodeKind::Worker, "worker-1", "id_1");
        let expected = [
            "zeek.cluster.pool.worker",
            "zeek.cluster.worker",
            "zeek.cluster.nodeid.id_1.",
            "zeek.cluster.node.worker-1.",
        ];
        assert_eq!(topics, expected);
        let topics = ClusterTopics::ZEROMQ_7_1.of_node(NodeKind::Manager, "manager", "m");
        let expected = [
            "zeek.cluster.manager",
            "zeek.cluster.nodeid.m",
            "zeek.cluster.node.manager",
        ];
        assert_eq!(topics, expected);
    }

    #[test]
    fn kinds_are_guessed_by_names() {
        for (name, kind) in [
            ("manager", NodeKind::Manager),
            ("logger-1", NodeKind::Logger),
            ("worker-1-2", NodeKind::Worker),
            ("proxy_east", NodeKind::Proxy),
            ("workers", NodeKind::Other),
            ("tool", NodeKind::Other),
        ] {
            assert_eq!(NodeKind::of_name(name), kind, "{name}");
        }
    }

    #[test]
    fn topics_are_translated_both_ways() {
        for (broker, zeromq) in [
            ("zeek/cluster/worker", "zeek.cluster.worker"),
            ("zeek/cluster/node/a.b/", "zeek.cluster.node.a.b."),
            ("zeek/cluster/pool/proxy", "zeek.cluster.pool.proxy"),
        ] {
            let translated = ClusterTopics::ZEROMQ.translate(broker);
            assert_eq!(translated.as_deref(), Some(zeromq));
        }
        let translated = ClusterTopics::BROKER.translate("zeek.cluster.node.w-1.");
        assert_eq!(translated.as_deref(), Some("zeek/cluster/node/w-1/"));
        let translated = ClusterTopics::ZEROMQ_7_1.translate("zeek/cluster/node/w-1/");
        assert_eq!(translated.as_deref(), Some("zeek.cluster.node.w-1"));
        for (broker, zeromq) in [
            ("zeek/", "zeek."),
            ("zeek/cluster", "zeek.cluster"),
            ("zeek/cluster/", "zeek.cluster."),
            ("zeek/cluster/node/w-1", "zeek.cluster.node.w-1"),
        ] {
            let translated = ClusterTopics::ZEROMQ.translate_prefix(broker);
            assert_eq!(translated.as_deref(), Some(zeromq));
            let translated = ClusterTopics::BROKER.translate_prefix(zeromq);
            assert_eq!(translated.as_deref(), Some(broker));
        }
        for prefix in ["", "ze", "zeek", "/zeek", "zeek/logs"] {
            assert_eq!(ClusterTopics::ZEROMQ.translate_prefix(prefix), None);
        }
        for topic in ["zeek.cluster.worker", "zeek/logs/", "other/zeek/cluster/x"] {
            assert_eq!(ClusterTopics::ZEROMQ.translate(topic), None);
        }
    }
}
