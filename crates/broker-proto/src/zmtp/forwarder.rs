//! A forwarder: who wants what, and what those who publish are told of it. Spec: zeromq 1.
//!
//! It knows connections by number only. Its caller has the sockets, moves messages from publishers
//! to the connections that [`Forwarder::targets`] names, and writes what
//! [`Forwarder::poll_output`] returns to publishers.
//!
//! | a subscriber | publishers are told |
//! |---|---|
//! | subscribes | always, also when it or another one did before: those who wait for a sign of their own subscription get it (XPUB_VERBOSER) |
//! | unsubscribes, or its connection ends | when it was the last one with this prefix |
//! | unsubscribes what it did not want | nothing |
//!
//! A publisher that comes is told every prefix that is wanted, once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Prefixes that all subscribers together may be subscribed to, each counted for each of them. A
/// node of Zeek has about ten and each of its scripts a few, so that is a thousand nodes with a
/// thousand each.
pub const FORWARDED_SUBSCRIPTIONS_MAX: usize = 1 << 20;

/// Bytes of all these prefixes.
pub const FORWARDED_SUBSCRIPTION_BYTES_MAX: usize = 64 << 20;

/// Number of a connection, never used again by its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What is to be written to publishers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwarderOutput {
    /// To all of them.
    TellAll {
        /// One part: 1 for a subscription, 0 for its end, and the prefix.
        notice: Box<[u8]>,
    },
    /// To one of them.
    Tell {
        /// Which one.
        to: ConnectionId,
        /// As above.
        notice: Box<[u8]>,
    },
}

/// The subscriptions of all subscribers have reached their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the subscribers of this forwarder have {count} subscriptions of {bytes} bytes together: at most \
     {FORWARDED_SUBSCRIPTIONS_MAX} of {FORWARDED_SUBSCRIPTION_BYTES_MAX} bytes are kept"
)]
pub struct TooManySubscriptions {
    /// How many there are.
    pub count: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// The state of a forwarder.
#[derive(Debug, Default)]
pub struct Forwarder {
    /// What each subscriber wants.
    subscribers: BTreeMap<ConnectionId, BTreeSet<Arc<[u8]>>>,
    publishers: BTreeSet<ConnectionId>,
    /// Who wants a prefix; nobody is no entry.
    wanted: BTreeMap<Arc<[u8]>, BTreeSet<ConnectionId>>,
    /// How many prefixes have this length: a topic is looked up once for each of them.
    lengths: BTreeMap<usize, usize>,
    subscriptions: usize,
    bytes: usize,
    version: u64,
    /// Bound: what one call of a `handle_*` makes, at most one for each prefix of one connection or,
    /// for a new publisher, of all.
    outputs: VecDeque<ForwarderOutput>,
}

impl Forwarder {
    /// Makes one without connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a connection that subscribes.
    pub fn handle_subscriber(&mut self, id: ConnectionId) {
        self.subscribers.entry(id).or_default();
    }

    /// Notes a connection that publishes: it is told what is wanted.
    pub fn handle_publisher(&mut self, id: ConnectionId) {
        if !self.publishers.insert(id) {
            return;
        }
        let told = self.wanted.keys().map(|prefix| ForwarderOutput::Tell {
            to: id,
            notice: notice(prefix, true),
        });
        self.outputs.extend(told);
    }

    /// Notes a subscription, perhaps a repeated one.
    ///
    /// # Errors
    ///
    /// When there are too many in all; then it is not noted, and its connection should end.
    pub fn handle_subscribed(
        &mut self,
        id: ConnectionId,
        prefix: &[u8],
    ) -> Result<(), TooManySubscriptions> {
        let Some(own) = self.subscribers.get_mut(&id) else {
            return Ok(());
        };
        if !own.contains(prefix) {
            let bytes = self.bytes.saturating_add(prefix.len());
            if self.subscriptions >= FORWARDED_SUBSCRIPTIONS_MAX
                || bytes > FORWARDED_SUBSCRIPTION_BYTES_MAX
            {
                return Err(TooManySubscriptions {
                    count: self.subscriptions,
                    bytes: self.bytes,
                });
            }
            // The two maps share the bytes of a prefix.
            let known = self.wanted.get_key_value(prefix).map(|(known, _)| known);
            let shared = known.cloned().unwrap_or_else(|| prefix.into());
            own.insert(shared.clone());
            let subscribers = self.wanted.entry(shared).or_default();
            if subscribers.is_empty() {
                *self.lengths.entry(prefix.len()).or_default() += 1;
            }
            subscribers.insert(id);
            self.subscriptions += 1;
            self.bytes = bytes;
            self.version += 1;
        }
        self.tell_all(prefix, true);
        Ok(())
    }

    /// Notes the end of a subscription.
    pub fn handle_unsubscribed(&mut self, id: ConnectionId, prefix: &[u8]) {
        let own = self.subscribers.get_mut(&id);
        if own.is_some_and(|own| own.remove(prefix)) {
            self.withdraw(id, prefix);
        }
    }

    /// Notes the end of a connection, of whichever kind.
    pub fn handle_lost(&mut self, id: ConnectionId) {
        self.publishers.remove(&id);
        for prefix in self.subscribers.remove(&id).unwrap_or_default() {
            self.withdraw(id, &prefix);
        }
    }

    fn withdraw(&mut self, id: ConnectionId, prefix: &[u8]) {
        let Some(subscribers) = self.wanted.get_mut(prefix) else {
            return;
        };
        if !subscribers.remove(&id) {
            return;
        }
        self.subscriptions -= 1;
        self.bytes -= prefix.len();
        self.version += 1;
        if !subscribers.is_empty() {
            return;
        }
        self.wanted.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
        self.tell_all(prefix, false);
    }

    fn tell_all(&mut self, prefix: &[u8], is_wanted: bool) {
        if !self.publishers.is_empty() {
            let notice = notice(prefix, is_wanted);
            self.outputs.push_back(ForwarderOutput::TellAll { notice });
        }
    }

    /// Returns what is to be written next; to be called until it returns `None`.
    pub fn poll_output(&mut self) -> Option<ForwarderOutput> {
        self.outputs.pop_front()
    }

    /// Returns who is to get a message under this topic, each once, in the order of their numbers.
    #[must_use]
    pub fn targets(&self, topic: &[u8]) -> Vec<ConnectionId> {
        let mut targets = Vec::new();
        for length in self.lengths.keys() {
            let Some(prefix) = topic.get(..*length) else {
                break;
            };
            targets.extend(self.wanted.get(prefix).into_iter().flatten().copied());
        }
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// Returns a number that is another one as soon as [`targets`](Self::targets) may answer
    /// otherwise.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Visits the prefixes that are wanted, with how many subscribers want each.
    pub fn wanted(&self) -> impl Iterator<Item = (&[u8], usize)> {
        self.wanted
            .iter()
            .map(|(prefix, subscribers)| (&**prefix, subscribers.len()))
    }

    /// Returns the number of subscriptions, each prefix counted for each of its subscribers.
    #[must_use]
    pub const fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Returns the numbers of subscribers and of publishers.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        (self.subscribers.len(), self.publishers.len())
    }
}

/// The message about a subscription, in the form that all versions understand. Spec: zeromq 2.
fn notice(prefix: &[u8], is_wanted: bool) -> Box<[u8]> {
    let mut notice = Vec::with_capacity(prefix.len().saturating_add(1));
    notice.push(u8::from(is_wanted));
    notice.extend_from_slice(prefix);
    notice.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);
    const P: ConnectionId = ConnectionId(10);
    const Q: ConnectionId = ConnectionId(11);

    fn told(forwarder: &mut Forwarder) -> Vec<(Option<u64>, String)> {
        std::iter::from_fn(|| forwarder.poll_output())
            .map(|output| match output {
                ForwarderOutput::TellAll { notice } => (None, notice),
                ForwarderOutput::Tell { to, notice } => (Some(to.0), notice),
            })
            .map(|(to, notice)| {
                let sign = if notice[0] == 1 { '+' } else { '-' };
                (
                    to,
                    format!("{sign}{}", String::from_utf8_lossy(&notice[1..])),
                )
            })
            .collect()
    }

    fn all(notices: &[&str]) -> Vec<(Option<u64>, String)> {
        notices.iter().map(|it| (None, (*it).to_owned())).collect()
    }

    fn pair() -> Forwarder {
        let mut forwarder = Forwarder::new();
        forwarder.handle_subscriber(A);
        forwarder.handle_subscriber(B);
        forwarder.handle_publisher(P);
        forwarder
    }

    #[test]
    fn every_subscription_is_told_and_the_last_unsubscription_only() {
        let mut forwarder = pair();
        for id in [A, A, B] {
            forwarder.handle_subscribed(id, b"t").unwrap();
        }
        assert_eq!(told(&mut forwarder), all(&["+t", "+t", "+t"]));
        assert_eq!(forwarder.subscriptions(), 2);
        forwarder.handle_unsubscribed(A, b"t");
        forwarder.handle_unsubscribed(A, b"t");
        assert_eq!(told(&mut forwarder), []);
        assert_eq!(forwarder.targets(b"topic"), [B]);
        forwarder.handle_unsubscribed(B, b"t");
        assert_eq!(told(&mut forwarder), all(&["-t"]));
        assert!(forwarder.targets(b"topic").is_empty());
    }

    #[test]
    fn subscriptions_of_a_lost_connection_are_withdrawn() {
        let mut forwarder = pair();
        for (id, prefix) in [(A, "x"), (A, "y"), (B, "y")] {
            forwarder.handle_subscribed(id, prefix.as_bytes()).unwrap();
        }
        told(&mut forwarder);
        forwarder.handle_lost(A);
        assert_eq!(told(&mut forwarder), all(&["-x"]));
        forwarder.handle_lost(B);
        assert_eq!(told(&mut forwarder), all(&["-y"]));
        assert_eq!((forwarder.subscriptions(), forwarder.bytes), (0, 0));
        assert!(forwarder.lengths.is_empty());
    }

    #[test]
    fn a_publisher_that_comes_is_told_everything_once() {
        let mut forwarder = pair();
        for (id, prefix) in [(A, "x"), (A, ""), (B, "x")] {
            forwarder.handle_subscribed(id, prefix.as_bytes()).unwrap();
        }
        told(&mut forwarder);
        forwarder.handle_publisher(Q);
        let expected = ["+", "+x"].map(|notice| (Some(Q.0), notice.to_owned()));
        assert_eq!(told(&mut forwarder), expected);
        forwarder.handle_lost(P);
        forwarder.handle_lost(Q);
        forwarder.handle_lost(A);
        assert_eq!(told(&mut forwarder), [], "nobody is there to be told");
    }

    #[test]
    fn prefixes_that_overlap_give_one_copy() {
        let mut forwarder = pair();
        for prefix in ["a", "a/b", ""] {
            forwarder.handle_subscribed(A, prefix.as_bytes()).unwrap();
        }
        forwarder.handle_subscribed(B, b"a/b").unwrap();
        assert_eq!(forwarder.targets(b"a/b/c"), [A, B]);
        assert_eq!(forwarder.targets(b"a/"), [A]);
        assert_eq!(forwarder.targets(b""), [A]);
    }

    #[test]
    fn there_is_a_limit_for_all_together() {
        let mut forwarder = pair();
        let long = vec![b'x'; FORWARDED_SUBSCRIPTION_BYTES_MAX];
        forwarder.handle_subscribed(A, &long).unwrap();
        let error = forwarder.handle_subscribed(B, b"y").unwrap_err();
        assert_eq!(error.count, 1);
        forwarder.handle_subscribed(A, &long).unwrap();
        forwarder.handle_lost(A);
        forwarder.handle_subscribed(B, b"y").unwrap();
    }

    /// What a subscriber or a publisher does.
    #[derive(Clone, Debug)]
    enum Step {
        Come(u64),
        Subscribe(u64, String),
        Unsubscribe(u64, String),
        PublisherComes(u64),
        Leave(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let subscriber = 0..4_u64;
        prop_oneof![
            subscriber.clone().prop_map(Step::Come),
            (subscriber.clone(), "[ab]{0,3}").prop_map(|(id, prefix)| Step::Subscribe(id, prefix)),
            (subscriber, "[ab]{0,3}").prop_map(|(id, prefix)| Step::Unsubscribe(id, prefix)),
            (10..13_u64).prop_map(Step::PublisherComes),
            prop_oneof![0..4_u64, 10..13_u64].prop_map(Step::Leave),
        ]
    }

    proptest! {
        /// Against plain lists: what publishers believe is what is wanted, and messages go to those
        /// who want them.
        #[test]
        fn publishers_know_what_is_wanted(
            steps in prop::collection::vec(step(), 0..80),
            topics in prop::collection::vec("[ab]{0,5}", 1..5),
        ) {
            let mut forwarder = Forwarder::new();
            let mut wanted: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
            let mut believed: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
            for step in steps {
                let before = (forwarder.version(), forwarder.targets(b"ab"));
                match step {
                    Step::Come(id) => {
                        forwarder.handle_subscriber(ConnectionId(id));
                        wanted.entry(id).or_default();
                    }
                    Step::Subscribe(id, prefix) => {
                        forwarder.handle_subscribed(ConnectionId(id), prefix.as_bytes()).unwrap();
                        if let Some(own) = wanted.get_mut(&id) {
                            own.insert(prefix);
                        }
                    }
                    Step::Unsubscribe(id, prefix) => {
                        forwarder.handle_unsubscribed(ConnectionId(id), prefix.as_bytes());
                        if let Some(own) = wanted.get_mut(&id) {
                            own.remove(&prefix);
                        }
                    }
                    Step::PublisherComes(id) => {
                        forwarder.handle_publisher(ConnectionId(id));
                        believed.entry(id).or_default();
                    }
                    Step::Leave(id) => {
                        forwarder.handle_lost(ConnectionId(id));
                        wanted.remove(&id);
                        believed.remove(&id);
                    }
                }
                while let Some(output) = forwarder.poll_output() {
                    let (to, notice) = match output {
                        ForwarderOutput::TellAll { notice } => {
                            (believed.keys().copied().collect::<Vec<_>>(), notice)
                        }
                        ForwarderOutput::Tell { to, notice } => (vec![to.0], notice),
                    };
                    for id in to {
                        let known = believed.get_mut(&id).unwrap();
                        if notice[0] == 1 {
                            known.insert(notice[1..].to_vec());
                        } else {
                            prop_assert!(known.remove(&notice[1..]));
                        }
                    }
                }
                let all: BTreeSet<Vec<u8>> =
                    wanted.values().flatten().map(|it| it.clone().into_bytes()).collect();
                for known in believed.values() {
                    prop_assert_eq!(known, &all);
                }
                prop_assert_eq!(forwarder.wanted().count(), all.len());
                let count: usize = wanted.values().map(BTreeSet::len).sum();
                prop_assert_eq!(forwarder.subscriptions(), count);
                if before.1 != forwarder.targets(b"ab") {
                    prop_assert_ne!(before.0, forwarder.version());
                }
            }
            for topic in topics {
                let expected: Vec<ConnectionId> = wanted
                    .iter()
                    .filter(|(_, own)| own.iter().any(|it| topic.starts_with(it.as_str())))
                    .map(|(id, _)| ConnectionId(*id))
                    .collect();
                prop_assert_eq!(forwarder.targets(topic.as_bytes()), expected);
            }
        }
    }
}
