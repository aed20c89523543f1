//! A client of a forwarder for ZeroMQ as a principal: what of its subscriptions the forwarder is told, and
//! which of its messages go on. Spec: zeromq 3.1, 4.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll};

use broker_proto::Topic;
use broker_proto::topic::TOPIC_MAX;
use broker_zeek::zeromq::{BINARY_FORMAT, PARTS};

use super::pass::{Over, Pass, Publishing};
use super::peer::Judgement;

/// What a client may do. It either subscribes or publishes.
pub(crate) struct ClientPass {
    pass: Pass,
    /// That of the policy when it got what it has.
    version: u64,
    /// What it asked for: rights may come back. Bound: `subscriptions_max` and `subscription_bytes_max` of
    /// its connection.
    wanted: BTreeSet<Topic>,
    /// What it gets, and for how many of the prefixes that it asked for. Bound: one for each of them, and
    /// the rights of its roles.
    granted: BTreeMap<Topic, usize>,
    /// Resolves when the rights have to be looked at again. There once it was asked, which it then is
    /// only when they have to be.
    stale: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// What a subscriber gets with new rights, and did not get before; and what it does not get any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Regranted {
    pub(crate) added: Vec<Topic>,
    pub(crate) removed: Vec<Topic>,
}

impl Regranted {
    fn between(before: &BTreeMap<Topic, usize>, now: &BTreeMap<Topic, usize>) -> Self {
        let only = |one: &BTreeMap<Topic, usize>, other: &BTreeMap<Topic, usize>| {
            let topics = one.keys().filter(|topic| !other.contains_key(*topic));
            topics.cloned().collect()
        };
        Self {
            added: only(now, before),
            removed: only(before, now),
        }
    }
}

impl std::fmt::Debug for ClientPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientPass")
            .field("principal", &self.pass.principal())
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}

impl ClientPass {
    pub(super) fn new(pass: Pass) -> Self {
        Self {
            version: pass.version(),
            pass,
            wanted: BTreeSet::new(),
            granted: BTreeMap::new(),
            stale: None,
        }
    }

    pub(crate) fn principal(&self) -> &str {
        self.pass.principal()
    }

    /// Notes a subscription; returns what the forwarder is told instead: the prefix, or what is allowed
    /// below it, or nothing. A repeated one is told again, as some wait for that.
    ///
    /// # Errors
    ///
    /// When it subscribed to too much.
    pub(crate) fn subscribe(&mut self, prefix: &[u8]) -> Result<Vec<Topic>, Over> {
        let prefix = Topic::from(prefix);
        let is_new = self.wanted.insert(prefix.clone());
        let max = self.pass.rights().limits().subscriptions_max;
        if is_new && max.is_some_and(|max| self.wanted.len() as u64 > max) {
            self.pass.record_end(Over::Subscriptions);
            return Err(Over::Subscriptions);
        }
        let granted = self.pass.granted_of(&prefix, is_new);
        if is_new {
            self.count(&granted);
        }
        Ok(granted)
    }

    /// Notes the end of a subscription; returns what the forwarder is told instead.
    pub(crate) fn unsubscribe(&mut self, prefix: &[u8]) -> Vec<Topic> {
        let prefix = Topic::from(prefix);
        if !self.wanted.remove(&prefix) {
            return Vec::new();
        }
        // The same as when it was asked for: `look_again` follows the rights.
        let mut over = self.pass.granted_of(&prefix, false);
        over.retain(|topic| {
            let Some(count) = self.granted.get_mut(topic) else {
                return false;
            };
            *count -= 1;
            let is_over = *count == 0;
            if is_over {
                self.granted.remove(topic);
            }
            is_over
        });
        over
    }

    /// Looks at the rights again if they may be others; returns what the forwarder is told then. The task
    /// is woken when there is a reason to.
    ///
    /// # Errors
    ///
    /// When it may do nothing any more.
    pub(crate) fn look_again(&mut self, cx: &mut Context<'_>) -> Result<Option<Regranted>, Over> {
        let mut first = None;
        loop {
            // A message may have been the first to notice.
            let is_other = self.version != self.pass.version();
            if !is_other && self.pass.is_current() && !self.is_stale(cx) {
                return Ok(first.map(|first| Regranted::between(&first, &self.granted)));
            }
            self.stale = None;
            self.pass.refresh()?;
            self.version = self.pass.version();
            let before = std::mem::take(&mut self.granted);
            // Of policies that follow each other at once the difference to what was told counts.
            first.get_or_insert(before);
            for prefix in self.wanted.clone() {
                let granted = self.pass.granted_of(&prefix, false);
                self.count(&granted);
            }
        }
    }

    fn count(&mut self, granted: &[Topic]) {
        for topic in granted {
            *self.granted.entry(topic.clone()).or_default() += 1;
        }
    }

    /// The first time after a change; then the waker of the task is known.
    fn is_stale(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stale.is_some() {
            return false;
        }
        let stale = self.stale.insert(Box::pin(self.pass.stale()));
        matches!(stale.as_mut().poll(cx), Poll::Ready(()))
    }

    /// Decides about a message, by its parts. One that is no message of Zeek, and one whose events are not
    /// read here, may be anything to its readers: it goes on only where no rule asks for events.
    pub(crate) fn message<'m>(
        &mut self,
        parts: impl ExactSizeIterator<Item = &'m [u8]> + Clone,
    ) -> Judgement {
        let count = parts.len();
        // All parts count, so that limits are not got around by the one that nothing looks at.
        let bytes: usize = parts.clone().skip(1).map(<[u8]>::len).sum();
        let mut parts = parts;
        let topic = parts.next().unwrap_or_default();
        let (format, payload) = (parts.nth(1), parts.next());
        let is_read = count == PARTS && format == Some(BINARY_FORMAT.as_bytes());
        let publishing = if topic.len() > TOPIC_MAX {
            // Longer ones are none elsewhere, and would fill the memory of what was decided.
            self.pass.refuse_malformed(topic)
        } else {
            let payload = payload.filter(|_| is_read);
            match self.pass.judge_part(topic, payload, bytes) {
                (Publishing::Go { wait, .. }, Some(rest)) => return Judgement::Rest(rest, wait),
                (publishing, _) => publishing,
            }
        };
        match publishing {
            Publishing::Go { wait, .. } => Judgement::Go(wait),
            Publishing::Refused(_) => Judgement::Refused,
            Publishing::End(over) => {
                if over != Over::NoRights {
                    self.pass.record_end(over);
                }
                Judgement::End(over)
            }
        }
    }
}

#[cfg(feature = "policy")]
#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::Duration;

    use broker_data::{Value, to_bytes};
    use broker_proto::zmtp::{KeyPair, PublicKey};
    use broker_zeek::{BatchBuilder, EventBuilder, Message};

    use super::super::Gate;
    use super::*;
    use crate::policy::PolicyFile;

    const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    const ROLES: &str = r#"
[roles.responder]
publish = ["/netcontrol/", "zeek.cluster.nodeid."]
events.publish = ["NetControl::*", "Cluster::hello"]
subscribe = ["/netcontrol/", "/notices/", "zeek.zeromq.internal."]
[roles.talker]
publish = ["/chat/"]
subscribe = ["/chat/"]
limits = { message_bytes_max = 300, subscriptions_max = 2 }
[roles.none]
"#;

    fn key(number: u8) -> PublicKey {
        KeyPair::from_random([number; 32]).public
    }

    fn options(roles: &str, principals: &[(&str, u8)]) -> crate::PolicyOptions {
        let mut text = format!("{roles}\n");
        for (role, number) in principals {
            let key = key(*number);
            text.push_str(&format!(
                "[principals.{role}]\nroles = [{role:?}]\ncurve_keys = [\"{key}\"]\n"
            ));
        }
        PolicyFile::parse(&text, "policy.toml").unwrap().into()
    }

    fn gate() -> Arc<Gate> {
        let options = options(ROLES, &[("responder", 1), ("talker", 2), ("none", 3)]);
        Arc::new(Gate::new(&options).unwrap())
    }

    fn client(gate: &Arc<Gate>, number: u8) -> ClientPass {
        gate.admit_client(Some(key(number)), REMOTE, 5555).unwrap()
    }

    fn topics(topics: &[&str]) -> Vec<Topic> {
        topics.iter().copied().map(Topic::from).collect()
    }

    fn look_again(client: &mut ClientPass) -> Result<Option<Regranted>, Over> {
        client.look_again(&mut Context::from_waker(Waker::noop()))
    }

    fn event(name: &str) -> Vec<u8> {
        to_bytes(&EventBuilder::new(name).argument(&1_u64)).unwrap()
    }

    fn send(client: &mut ClientPass, parts: &[&[u8]]) -> Judgement {
        client.message(parts.iter().copied())
    }

    fn publish(client: &mut ClientPass, topic: &str, payload: &[u8]) -> bool {
        let parts = [topic.as_bytes(), b"node", b"broker-bin-v1", payload];
        match send(client, &parts) {
            Judgement::Go(_) => true,
            Judgement::Refused => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_a_principal_and_another_is_as_good_as_none() {
        let gate = gate();
        assert_eq!(client(&gate, 1).principal(), "responder");
        assert_eq!(client(&gate, 2).principal(), "talker");
        let refused = |key| gate.admit_client(key, REMOTE, 5555).unwrap_err();
        for key in [Some(key(3)), Some(key(9)), None] {
            assert!(refused(key).contains("no rights"));
        }
        assert_eq!(gate.failures(), 3);
        let text =
            "[roles.r]\npublish = [\"/a\"]\n[principals.\"anonymous@5555\"]\nroles = [\"r\"]";
        let policy = PolicyFile::parse(text, "policy.toml").unwrap();
        gate.replace(&policy.into()).unwrap();
        for key in [Some(key(9)), None] {
            let client = gate.admit_client(key, REMOTE, 5555).unwrap();
            assert_eq!(client.principal(), "anonymous@5555");
            assert!(gate.admit_client(key, REMOTE, 5556).is_err());
        }
    }

    #[test]
    fn a_forwarder_is_told_what_a_subscriber_may_have() {
        let gate = gate();
        let mut client = client(&gate, 1);
        let mut subscribe = |prefix: &str| client.subscribe(prefix.as_bytes()).unwrap();
        assert_eq!(subscribe("/notices/x"), topics(&["/notices/x"]));
        assert_eq!(subscribe("zeek.cluster."), []);
        assert_eq!(subscribe("/notice"), topics(&["/notices/"]));
        let all = topics(&["/netcontrol/", "/notices/", "zeek.zeromq.internal."]);
        assert_eq!(subscribe(""), all);
        // A repeated one is told again, and counts once.
        assert_eq!(subscribe(""), all);
        assert_eq!(client.unsubscribe(b"/notice"), []);
        assert_eq!(client.unsubscribe(b"/notice"), []);
        assert_eq!(client.unsubscribe(b""), all);
        assert_eq!(client.unsubscribe(b""), []);
        assert_eq!(client.unsubscribe(b"/notices/x"), topics(&["/notices/x"]));
        assert_eq!(client.unsubscribe(b"zeek.cluster."), []);
        assert!(client.granted.is_empty() && client.wanted.is_empty());
        let counts = gate.counts()["responder"];
        assert_eq!((counts.allowed, counts.denied), (5, 1));
    }

    #[test]
    fn too_many_subscriptions_end_a_connection() {
        let gate = gate();
        let mut client = client(&gate, 2);
        for prefix in ["/chat/a", "/x", "/chat/a"] {
            client.subscribe(prefix.as_bytes()).unwrap();
        }
        assert_eq!(client.subscribe(b"/y"), Err(Over::Subscriptions));
    }

    #[test]
    fn a_new_policy_takes_and_gives_back_what_was_asked_for() {
        let gate = gate();
        let mut client = client(&gate, 1);
        client.subscribe(b"").unwrap();
        client.subscribe(b"/chat/x").unwrap();
        assert_eq!(look_again(&mut client), Ok(None));
        let set = |roles: &str| {
            gate.replace(&options(roles, &[("responder", 1)])).unwrap();
        };
        set("[roles.responder]\nsubscribe = [\"/notices/\", \"/chat/\"]");
        set("[roles.responder]\nsubscribe = [\"/notices/\", \"/chat/\", \"/new\"]");
        let regranted = look_again(&mut client).unwrap().unwrap();
        assert_eq!(regranted.added, topics(&["/chat/", "/chat/x", "/new"]));
        let removed = topics(&["/netcontrol/", "zeek.zeromq.internal."]);
        assert_eq!(regranted.removed, removed);
        assert_eq!(look_again(&mut client), Ok(None));
        set("[roles.responder]\npublish = [\"/x\"]");
        let regranted = look_again(&mut client).unwrap().unwrap();
        assert_eq!(regranted.added, []);
        assert_eq!(regranted.removed.len(), 4);
        set("[roles.responder]");
        assert_eq!(look_again(&mut client), Err(Over::NoRights));
        // Another principal has its key.
        let text = "[roles.other]\nsubscribe = [\"\"]";
        gate.replace(&options(text, &[("other", 1)])).unwrap();
        assert_eq!(look_again(&mut client), Err(Over::NoRights));
    }

    #[test]
    fn messages_are_judged_by_topic_event_and_schema() {
        let gate = gate();
        let mut client = client(&gate, 1);
        let add = event("NetControl::add_rule");
        assert!(publish(&mut client, "/netcontrol/x", &add));
        for (topic, payload) in [
            ("/netcontrol", &add),
            ("/Netcontrol/x", &add),
            ("/notices/x", &add),
            ("", &add),
            ("<$>/local/x", &add),
            ("/netcontrol/<$>/data/master", &add),
            ("/netcontrol/x", &event("terminate")),
            ("/netcontrol/x", &event("NetControl")),
            // More than a value, less than one, none.
            ("/netcontrol/x", &[&add[..], b"\0"].concat()),
            ("/netcontrol/x", &add[..add.len() - 1].to_vec()),
            ("/netcontrol/x", &Vec::new()),
            ("/netcontrol/x", &to_bytes(&Value::from(7_u64)).unwrap()),
        ] {
            assert!(!publish(&mut client, topic, payload), "{topic} {payload:?}");
        }
        // What members of a cluster say to each other when one comes.
        assert!(publish(
            &mut client,
            "zeek.cluster.nodeid.x.",
            &event("Cluster::hello")
        ));
        assert!(!publish(
            &mut client,
            "zeek.cluster.nodeid.x.",
            &event("Cluster::node_down")
        ));
        let longer = "x".repeat(TOPIC_MAX);
        assert!(!publish(
            &mut client,
            &format!("/netcontrol/{longer}"),
            &add
        ));

        let mut options = options(ROLES, &[("responder", 1)]);
        let schema = "NetControl::add_rule(rule: string)";
        options
            .policy
            .set_schema(broker_proto::policy::Schema::parse(schema).unwrap());
        gate.replace(&options).unwrap();
        assert!(!publish(&mut client, "/netcontrol/x", &add));
        let fits = to_bytes(&EventBuilder::new("NetControl::add_rule").argument("r")).unwrap();
        assert!(publish(&mut client, "/netcontrol/x", &fits));
    }

    #[test]
    fn what_is_not_read_goes_on_only_where_events_do_not_matter() {
        let gate = gate();
        let json = br#"{"@data-type":"vector","data":[]}"#;
        let add = event("NetControl::add_rule");
        let messages: [&[&[u8]]; 6] = [
            &[b"node", b"broker-json-v1", json],
            // A value in the binary form, for readers that are told that it is JSON.
            &[b"node", b"broker-json-v1", &add],
            &[b"node", b"Broker-bin-v1", &add],
            &[b"node", b"broker-bin-v1"],
            &[b"node", b"broker-bin-v1", &add, &add],
            &[],
        ];
        let (mut asked, mut free) = (client(&gate, 1), client(&gate, 2));
        for rest in messages {
            let send = |client: &mut ClientPass, topic: &[u8]| {
                client.message([&[topic], rest].concat().iter().copied())
            };
            assert_eq!(send(&mut asked, b"/netcontrol/x"), Judgement::Refused);
            assert_eq!(send(&mut free, b"/chat/x"), Judgement::Go(Duration::ZERO));
            assert_eq!(send(&mut free, b"/netcontrol/x"), Judgement::Refused);
        }
        assert_eq!(free.message([].into_iter()), Judgement::Refused);
    }

    #[test]
    fn one_bad_event_of_a_batch_is_left_out_alone() {
        let gate = gate();
        let mut client = client(&gate, 1);
        let mut batch = BatchBuilder::new();
        for name in ["NetControl::a", "terminate", "NetControl::b"] {
            batch.push(&EventBuilder::new(name)).unwrap();
        }
        let batch = to_bytes(&batch).unwrap();
        let parts: [&[u8]; 4] = [b"/netcontrol/x", b"node", b"broker-bin-v1", &batch];
        let Judgement::Rest(rest, Duration::ZERO) = send(&mut client, &parts) else {
            panic!("a rest");
        };
        let Message::Batch(rest) = Message::parse(broker_data::View::new(&rest).unwrap()) else {
            panic!("a batch");
        };
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn no_part_gets_around_the_limits() {
        let gate = gate();
        let mut client = client(&gate, 2);
        let long = [b'x'; 301];
        let good: [&[u8]; 4] = [b"/chat/a", b"node", b"broker-bin-v1", &[0]];
        assert_eq!(send(&mut client, &good), Judgement::Go(Duration::ZERO));
        for place in 1..4 {
            let mut parts = good;
            parts[place] = &long;
            assert_eq!(send(&mut client, &parts), Judgement::Refused);
        }
        assert_eq!(gate.counts()["talker"].limited, 3);
        let text = "[roles.talker]\npublish = [\"/chat/\"]\nlimits = { messages_per_second = 1 }";
        gate.replace(&options(text, &[("talker", 2)])).unwrap();
        assert_eq!(send(&mut client, &good), Judgement::Go(Duration::ZERO));
        let Judgement::Go(wait) = send(&mut client, &good) else {
            panic!("it waits");
        };
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1));
        let text = "[roles.talker]\npublish = [\"/x\"]\nlimits = { denials_max = 2 }";
        gate.replace(&options(text, &[("talker", 2)])).unwrap();
        assert_eq!(send(&mut client, &good), Judgement::Refused);
        assert_eq!(send(&mut client, &good), Judgement::End(Over::Denials));
    }
}
