//! Topics: byte strings that messages are published under, and prefixes that filters consist of.
//!
//! Spec: wire 8.2. There are no path segments: a topic is matched by every prefix of its bytes.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Div;
use std::sync::Arc;

/// Longest topic that fits the length field of an envelope. Spec: wire 6.1.
pub const TOPIC_MAX: usize = u16::MAX as usize;

/// Topic of routing updates, pings and pongs, and prefix of all internal topics.
pub const RESERVED: &str = "<$>";

/// Topics below this prefix never leave the endpoint.
pub const LOCAL_PREFIX: &str = "<$>/local/";

/// Topic of error events.
pub const ERRORS: &str = "<$>/local/data/errors";

/// Topic of status events.
pub const STATUSES: &str = "<$>/local/data/statuses";

/// In topics of data stores, behind the name of the store. Spec: stores 1.1.
pub(crate) const STORE_INFIX: &str = "/<$>/";

/// Whether a topic is one of those that endpoints use among themselves, for data stores as well, whose
/// topics end in `/<$>/data/master` and `/<$>/data/clone`. Spec: wire 8.1, stores 1.1.
pub fn is_internal(topic: &[u8]) -> bool {
    let infix = STORE_INFIX.as_bytes();
    topic.starts_with(RESERVED.as_bytes())
        || topic.windows(infix.len()).any(|window| window == infix)
}

/// A topic. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<[u8]>);

impl Topic {
    /// The bytes, which need not be UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is not a single byte. As a filter entry it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is confined to the endpoint. Spec: wire 8.1.
    pub fn is_local(&self) -> bool {
        self.0.starts_with(LOCAL_PREFIX.as_bytes())
    }

    /// Whether it is a prefix of `topic`, the empty one and `topic` itself included.
    pub fn is_prefix_of(&self, topic: &[u8]) -> bool {
        topic.starts_with(&self.0)
    }

    /// Whether both are copies of one topic, and share its bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Appends `other` below this topic.
    ///
    /// A slash goes between them unless `other` starts with one or either is empty; one slash at
    /// the end of the result is dropped. Slashes that are there already stay: `/a/` and `/b`
    /// make `/a//b`. Spec: python-api 8.4.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        let mut bytes = self.0.to_vec();
        if !bytes.is_empty() && !other.is_empty() && !other.0.starts_with(b"/") {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&other.0);
        if bytes.ends_with(b"/") {
            bytes.pop();
        }
        Self(bytes.into())
    }
}

impl Div<&Topic> for &Topic {
    type Output = Topic;

    fn div(self, other: &Topic) -> Topic {
        self.join(other)
    }
}

impl Borrow<[u8]> for Topic {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Topic {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Topic {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for Topic {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for Topic {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<String> for Topic {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl From<&String> for Topic {
    fn from(text: &String) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(left: &str, right: &str) -> String {
        Topic::from(left).join(&Topic::from(right)).to_string()
    }

    #[test]
    fn join_inserts_and_strips_one_slash() {
        assert_eq!(join("a", "b"), "a/b");
        assert_eq!(join("/a", "/b"), "/a/b");
        assert_eq!(join("/a/", "/b/c"), "/a//b/c");
        assert_eq!(join("/b/c", "/a/"), "/b/c/a");
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("", "/"), "");
        assert_eq!(join("a", ""), "a");
        assert_eq!(join("/a/", ""), "/a");
        assert_eq!(join("", ""), "");
    }

    #[test]
    fn local_topics_are_recognised() {
        assert!(Topic::from(ERRORS).is_local());
        assert!(Topic::from(STATUSES).is_local());
        assert!(!Topic::from(RESERVED).is_local());
        assert!(!Topic::from("<$>/local").is_local());
    }

    #[test]
    fn shown_even_if_not_utf8() {
        assert_eq!(Topic::from(&b"a\xff"[..]).to_string(), "a\u{fffd}");
    }
}
