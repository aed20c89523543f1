//! Requests of native peers: filters with the topics of data stores in them, and commands of stores.
//!
//! A store's commands go to the topic of its master or to that of its clones (stores 1.1). What is said
//! to a master is judged by what it does. What is said to clones is said by a master, which decides about
//! all that is in a store: it takes the right to clear it.

use super::{Action, Decision, Denial, Operation, Request, Rights};
use crate::store::command::{Command, Content};
use crate::topic::{STORE_INFIX, Topic, is_internal};

/// The part of a peer's filter that its principal may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerGranted {
    /// What it gets of messages: where it asked for more than it may have, what it may have of it.
    pub topics: Vec<Topic>,
    /// Topics of stores that it may use or serve.
    pub stores: Vec<Topic>,
    /// What it asked for and gets nothing of, and what for.
    pub refused: Vec<(Topic, Action, Denial)>,
}

/// Which store a topic belongs to, and whether its master listens there, or its clones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StoreTopic<'a> {
    name: &'a [u8],
    is_master: bool,
}

impl<'a> StoreTopic<'a> {
    /// The topic has to be exactly that: one with more behind it, or with the name of such a topic as
    /// the name of the store, could be taken for another one.
    fn parse(topic: &'a [u8]) -> Option<Self> {
        let (name, is_master) = match topic.strip_suffix(b"/<$>/data/master") {
            Some(name) => (name, true),
            None => (topic.strip_suffix(b"/<$>/data/clone")?, false),
        };
        let infix = STORE_INFIX.as_bytes();
        let is_plain = !name.is_empty()
            && !is_internal(name)
            // Where name and suffix meet, too.
            && !name.ends_with(infix.split_last().map_or(infix, |(_, start)| start));
        is_plain.then_some(Self { name, is_master })
    }

    /// What it takes to get what is sent to the topic.
    const fn to_listen(self) -> Operation {
        if self.is_master {
            Operation::Clear
        } else {
            Operation::Read
        }
    }
}

/// The store that a command of a peer is for, and what it does there. `None` when its topic is not that
/// of a store, so that nobody should get it.
pub fn store_request<'a>(topic: &'a [u8], command: &Command<'_>) -> Option<(&'a [u8], Operation)> {
    let StoreTopic { name, is_master } = StoreTopic::parse(topic)?;
    if !is_master {
        return Some((name, Operation::Clear));
    }
    let operation = match command.content {
        Content::Clear { .. } => Operation::Clear,
        Content::Put { .. }
        | Content::PutUnique { .. }
        | Content::PutUniqueResult { .. }
        | Content::Erase { .. }
        | Content::Expire { .. }
        | Content::Add { .. }
        | Content::Subtract { .. } => Operation::Write,
        Content::AttachWriter { .. }
        | Content::Keepalive { .. }
        | Content::CumulativeAck { .. }
        | Content::Nack { .. }
        | Content::AckClone { .. }
        | Content::RetransmitFailed { .. } => Operation::Read,
    };
    Some((name, operation))
}

impl Rights {
    /// The part of a peer's filter that may be had.
    pub fn granted_to_peer<'a>(&self, wanted: impl IntoIterator<Item = &'a Topic>) -> PeerGranted {
        let mut granted = PeerGranted::default();
        let mut of_messages = Vec::new();
        for topic in wanted {
            let Some(store) = StoreTopic::parse(topic.as_bytes()) else {
                of_messages.push(topic);
                continue;
            };
            let (name, operation) = (store.name, store.to_listen());
            match self.decide(&Request::Store { name, operation }) {
                Decision::Allow(_) => granted.stores.push(topic.clone()),
                Decision::Deny(denial) => {
                    let action = Action::Store(operation);
                    granted.refused.push((topic.clone(), action, denial));
                }
            }
        }
        let messages = self.granted(of_messages);
        granted.topics = messages.topics;
        let refused = messages.refused.into_iter();
        let refused = refused.map(|(topic, denial)| (topic, Action::Subscribe, denial));
        granted.refused.extend(refused);
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::policy::{Glob, Policy, Role};
    use crate::store::entity::EntityId;
    use crate::store::{clone_topic, master_topic};

    fn rights(stores: &[(&str, Operation)], subscribe: &[&str]) -> Rights {
        let mut role = Role::default();
        for (name, operation) in stores {
            let glob = Glob::parse(name).unwrap();
            role.allow.stores.insert(glob, *operation);
        }
        for prefix in subscribe {
            role.allow.subscribe.add(prefix.as_bytes());
        }
        let mut policy = Policy::default();
        policy.add_role("r", role).unwrap();
        policy.add_principal("p", ["r"]).unwrap();
        policy.rights("p").unwrap()
    }

    fn command(content: Content<'_>) -> Command<'_> {
        Command {
            seq: 0,
            sender: EntityId::NIL,
            receiver: EntityId::NIL,
            content,
        }
    }

    #[test]
    fn filters_of_peers_have_topics_of_stores_as_far_as_stores_may_be_used() {
        let rights = rights(
            &[("read", Operation::Read), ("serve", Operation::Clear)],
            &["re", "/t/"],
        );
        let wanted = [
            clone_topic("read"),
            master_topic("read"),
            clone_topic("serve"),
            master_topic("serve"),
            clone_topic("other"),
            Topic::from("read/<$>/data/"),
            Topic::from("read/<$>/data/clone/x"),
            Topic::from("x/<$>/data/clone/<$>/data/clone"),
            Topic::from(""),
        ];
        let granted = rights.granted_to_peer(&wanted);
        let expected = [
            clone_topic("read"),
            clone_topic("serve"),
            master_topic("serve"),
        ];
        assert_eq!(granted.stores, expected);
        assert_eq!(granted.topics, [Topic::from("/t/"), Topic::from("re")]);
        let refused: Vec<_> = granted
            .refused
            .iter()
            .map(|(topic, action, _)| (topic.clone(), *action))
            .collect();
        let expected = [
            (master_topic("read"), Action::Store(Operation::Clear)),
            (clone_topic("other"), Action::Store(Operation::Read)),
            (wanted[5].clone(), Action::Subscribe),
            (wanted[6].clone(), Action::Subscribe),
            (wanted[7].clone(), Action::Subscribe),
        ];
        assert_eq!(refused, expected);
    }

    #[test]
    fn commands_are_judged_by_what_they_do_and_whom_they_are_for() {
        let master = master_topic("s");
        let clone = clone_topic("s");
        let publisher = EntityId::NIL;
        let erase = command(Content::Erase {
            key: b"",
            publisher,
        });
        let clear = command(Content::Clear { publisher });
        let nack = command(Content::Nack {
            missing: Cow::Borrowed(&[0]),
        });
        for (command, operation) in [
            (&erase, Operation::Write),
            (&clear, Operation::Clear),
            (&nack, Operation::Read),
        ] {
            let name = &b"s"[..];
            let request = store_request(master.as_bytes(), command);
            assert_eq!(request, Some((name, operation)));
            let request = store_request(clone.as_bytes(), command);
            assert_eq!(request, Some((name, Operation::Clear)));
        }
        for topic in [
            &b"s"[..],
            b"",
            b"/<$>/data/master",
            b"s/<$>/data/masters",
            b"s/<$>/data/master/<$>/data/master",
            b"s/<$>/<$>/data/master",
            b"s/<$>/<$>/x/<$>/data/clone",
            b"<$>/local/s/<$>/data/master",
            b"s/<$>/data/Master",
        ] {
            assert_eq!(store_request(topic, &nack), None, "{topic:?}");
        }
    }
}
