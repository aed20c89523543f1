//! Permissions of native peers over real sockets: what they publish, get, and do to data stores, what they
//! lose with a new policy, and what hostile ones achieve.
#![cfg(feature = "policy")]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[cfg(all(feature = "tls", feature = "http"))]
#[path = "native_permissions/certificates.rs"]
mod certificates;
#[path = "native_permissions/raw_peer.rs"]
mod raw_peer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::policy::{Content, Policy, PolicyFile, Request, decide};
use broker::proto::mark::Mark;
use broker::proto::store::command::{Command, Content as Change};
use broker::proto::store::entity::EntityId;
use broker::proto::store::{clone_topic, master_topic};
use broker::zeek::{BatchBuilder, EventBuilder};
use broker::{
    Backend, CloneOptions, Endpoint, EndpointId, Event, Message, PolicyOptions, Retry, StatusCode,
    Subscriber, Topic, Value,
};
use broker_data::to_bytes;
use broker_proto::Tag;
use raw_peer::{Came, RawPeer};

const DEADLINE: Duration = Duration::from_secs(60);

/// Roles of principals that are told apart by the listener they come to.
const ROLES: &str = r#"
[roles.siem]
subscribe = ["zeek/logs/", "/notices/"]
stores = { "blocked" = "read", "zeek/known/hosts" = "read" }

[roles.responder]
publish = ["/netcontrol/"]
events.publish = ["NetControl::*"]
deny.events.publish = ["NetControl::clear*"]
deny.publish = ["/netcontrol/zeek/"]
stores = { "blocked" = "write" }

[roles.reader]
subscribe = ["zeek/logs/dns"]
limits = { subscriptions_max = 3 }

[roles.talker]
publish = ["/chat/"]
subscribe = ["/chat/", "zeek/"]
stores = { "blocked" = "clear", "served" = "clear" }
"#;

const PRINCIPALS: [&str; 4] = ["siem", "responder", "reader", "talker"];

/// An endpoint with a listener for each role.
struct Gateway {
    endpoint: Endpoint,
    ports: BTreeMap<&'static str, u16>,
}

impl Gateway {
    fn new(roles: &str) -> Self {
        let options = broker::Options {
            policy: Some(PolicyOptions::default()),
            disable_ssl: true,
            ..broker::Options::default()
        };
        let endpoint = Endpoint::builder().options(options).build().unwrap();
        let ports = PRINCIPALS
            .into_iter()
            .map(|role| (role, endpoint.listen("127.0.0.1", 0).wait().unwrap()))
            .collect();
        let gateway = Self { endpoint, ports };
        gateway.set(roles);
        gateway
    }

    /// Has the listeners of all roles that there are stand for principals.
    fn set(&self, roles: &str) {
        let options = self.policy(roles);
        self.endpoint.set_policy(&options).unwrap();
    }

    fn policy(&self, roles: &str) -> PolicyOptions {
        let mut text = roles.to_owned();
        for (role, port) in &self.ports {
            if roles.contains(&format!("[roles.{role}]")) {
                text.push_str(&format!(
                    "[principals.\"anonymous@{port}\"]\nroles = [\"{role}\"]\n"
                ));
            }
        }
        PolicyFile::parse(&text, "policy.toml").unwrap().into()
    }

    fn principal(&self, role: &str) -> String {
        format!("anonymous@{}", self.ports[role])
    }

    /// An endpoint that peers at the listener of a role.
    fn peer(&self, role: &str) -> Endpoint {
        let peer = Endpoint::builder().disable_ssl(true).build().unwrap();
        peer.peer("127.0.0.1", self.ports[role], Retry::Never)
            .wait()
            .unwrap();
        peer
    }

    fn raw_peer(&self, role: &str, number: u8, topics: &[&str]) -> RawPeer {
        RawPeer::connect(number, self.ports[role], topics)
    }

    /// Waits until everything that the peer sent before has been dealt with.
    fn hear_out(&self, peer: &Endpoint) {
        // A filter may go behind a ping, and in front of the next one.
        for _ in 0..2 {
            assert!(peer.ping(self.endpoint.id()).wait().is_some(), "a pong");
        }
    }

    /// Waits until the peer has everything that was sent to it.
    fn is_heard_by(&self, peer: &Endpoint) {
        assert!(self.endpoint.ping(peer.id()).wait().is_some(), "a pong");
    }

    fn wants(&self, peer: EndpointId) -> Vec<Topic> {
        self.endpoint.subscriptions_of(peer).unwrap_or_default()
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::yield_now();
    }
}

fn texts(topics: &[Topic]) -> Vec<String> {
    let text = |topic: &Topic| String::from_utf8_lossy(topic.as_bytes()).into_owned();
    topics.iter().map(text).collect()
}

fn event(name: &'static str) -> EventBuilder {
    EventBuilder::new(name).argument(&1u64)
}

/// The topics of what is there, without waiting.
fn got(subscriber: &Subscriber) -> Vec<String> {
    let all = std::iter::from_fn(|| subscriber.try_recv());
    let all = all.filter(|it| !it.topic().starts_with(b"<$>/local/"));
    all.map(|message| String::from_utf8_lossy(message.topic()).into_owned())
        .collect()
}

/// The names of the events in a message.
fn names(message: &Message) -> Vec<String> {
    fn visit(message: broker::zeek::Message<'_>, names: &mut Vec<String>) {
        match message {
            broker::zeek::Message::Event(event) => {
                names.push(String::from_utf8_lossy(event.name()).into_owned());
            }
            broker::zeek::Message::Batch(batch) => {
                batch.messages().for_each(|it| visit(it, names));
            }
            other => names.push(format!("{:?}", other.kind())),
        }
    }
    let mut found = Vec::new();
    visit(broker::zeek::Message::parse(message.view()), &mut found);
    found
}

// --- publishing ----------------------------------------------------------------------------------

#[test]
fn what_native_peers_publish_is_what_the_decision_says() {
    let gateway = Gateway::new(ROLES);
    let policy: Policy = gateway.policy(ROLES).policy;
    let everything = gateway.endpoint.subscriber([""]).unwrap();
    let topics = [
        "/netcontrol/x",
        "/netcontrol/zeek/x",
        "/netcontrol",
        "/netcontro",
        "/NetControl/x",
        "/chat/",
        "/chat/\0",
        "/chat",
        "//chat/",
        "zeek/logs/conn",
        "<$>",
        "<$>x",
        "a/<$>/data/master",
        "/chat/<$>/x",
    ];
    let events = [
        Some("NetControl::add_rule"),
        Some("NetControl::clear_all"),
        Some("netcontrol::add_rule"),
        Some("terminate"),
        Some("NetControl::\0"),
        None,
    ];
    for role in PRINCIPALS {
        let peer = gateway.peer(role);
        eventually("the gateway's filter", || {
            !peer.peer_subscriptions().is_empty()
        });
        for topic in topics {
            for name in events {
                let content = name.map_or(Content::Other, |it| Content::Event(it.as_bytes()));
                let wanted = Request::Publish {
                    topic: topic.as_bytes(),
                    content,
                };
                let principal = gateway.principal(role);
                let is_allowed = decide(&policy, &principal, &wanted).is_allowed();
                match name {
                    Some(name) => peer.publish(topic, &event(name)).unwrap(),
                    None => peer.publish(topic, &7u64).unwrap(),
                }
                gateway.hear_out(&peer);
                let expected = if is_allowed { vec![topic] } else { vec![] };
                assert_eq!(got(&everything), expected, "{role} {topic:?} {name:?}");
            }
        }
        peer.shutdown().wait();
    }
    let counts = gateway.endpoint.policy_counts();
    assert_eq!(counts[&gateway.principal("responder")].allowed, 2);
    assert!(counts[&gateway.principal("siem")].denied > 60);
}

#[test]
fn events_of_peers_whose_arguments_do_not_fit_are_refused() {
    let gateway = Gateway::new(ROLES);
    let mut options = gateway.policy(ROLES);
    let schema = "NetControl::add_rule(id: string, cost: count)";
    let schema = broker::policy::Schema::parse(schema).unwrap();
    options.policy.set_schema(schema);
    gateway.endpoint.set_policy(&options).unwrap();
    let everything = gateway.endpoint.subscriber(["/netcontrol/"]).unwrap();
    let peer = gateway.peer("responder");
    assert!(peer.await_subscriber("/netcontrol/x", DEADLINE).wait());
    let add = || EventBuilder::new("NetControl::add_rule");
    let fits = add().argument("id").argument(&1_u64);
    let publish = |event: &EventBuilder| peer.publish("/netcontrol/x", event).unwrap();
    for bad in [
        add(),
        add().argument("id"),
        add().argument("id").argument(&1_i64),
        add().argument(&1_u64).argument("id"),
        EventBuilder::new("NetControl::remove_rule").argument("id"),
    ] {
        publish(&bad);
    }
    publish(&fits);
    gateway.hear_out(&peer);
    assert_eq!(got(&everything), ["/netcontrol/x"]);
    let mut batch = BatchBuilder::new();
    batch.push(&add()).unwrap();
    batch.push(&fits).unwrap();
    peer.publish("/netcontrol/x", &batch).unwrap();
    let message = everything.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(names(&message), ["NetControl::add_rule"]);
    let counts = gateway.endpoint.policy_counts();
    assert_eq!(counts[&gateway.principal("responder")].denied, 6);
}

#[test]
fn one_bad_event_of_a_batch_of_a_peer_is_refused_alone() {
    let gateway = Gateway::new(ROLES);
    let everything = gateway.endpoint.subscriber(["/netcontrol/"]).unwrap();
    let peer = gateway.peer("responder");
    eventually("the gateway's filter", || {
        !peer.peer_subscriptions().is_empty()
    });
    let mut inner = BatchBuilder::new();
    inner.push(&event("NetControl::clear_all")).unwrap();
    inner.push(&event("NetControl::b")).unwrap();
    let mut outer = BatchBuilder::new();
    outer.push(&event("NetControl::a")).unwrap();
    outer.push(&event("terminate")).unwrap();
    outer.push(&inner).unwrap();
    // Between messages that are whole, so that they would go on together.
    for round in 0..3 {
        peer.publish("/netcontrol/x", &event("NetControl::before"))
            .unwrap();
        peer.publish("/netcontrol/x", &outer).unwrap();
        peer.publish("/netcontrol/x", &event("NetControl::after"))
            .unwrap();
        for expected in [
            vec!["NetControl::before"],
            vec!["NetControl::a", "NetControl::b"],
            vec!["NetControl::after"],
        ] {
            let got = everything.recv_timeout(DEADLINE).unwrap().unwrap();
            assert_eq!(names(&got), expected, "{round}");
        }
    }
    gateway.hear_out(&peer);
    assert!(everything.try_recv().is_none());
}

#[test]
fn what_another_endpoint_sent_is_judged_by_the_connection_that_it_comes_on() {
    let gateway = Gateway::new(ROLES);
    let everything = gateway.endpoint.subscriber(["/"]).unwrap();
    let between = gateway.peer("talker");
    between.forward(["/"]);
    let behind = Endpoint::builder().disable_ssl(true).build().unwrap();
    let port = between.listen("127.0.0.1", 0).wait().unwrap();
    behind.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    eventually("the gateway's filter", || {
        !behind.peer_subscriptions().is_empty()
    });
    behind
        .publish("/netcontrol/x", &event("NetControl::add_rule"))
        .unwrap();
    behind.publish("/chat/x", &1u64).unwrap();
    let first = everything.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(first.topic(), b"/chat/x");
}

#[test]
fn a_peer_that_is_denied_too_often_is_cut_off_and_the_reason_is_told() {
    let roles = ROLES.replace(
        "[roles.talker]",
        "[roles.talker]\nlimits = { denials_max = 3 }",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let gateway = Gateway::new(&roles);
    let mut options = gateway.policy(&roles);
    options.audit.file = Some(path.clone());
    gateway.endpoint.set_policy(&options).unwrap();
    let statuses = gateway.endpoint.status_subscriber(true).unwrap();
    let everything = gateway.endpoint.subscriber([""]).unwrap();
    let mut peer = gateway.raw_peer("talker", 7, &["/chat/"]);
    let payload = to_bytes(&1u64).unwrap();
    for topic in [
        &b"/chat/a"[..],
        b"/no",
        b"/no",
        b"/chat/b",
        b"/no",
        b"/chat/c",
    ] {
        peer.send(Tag::Data, topic, &payload);
    }
    assert!(!peer.is_answered(&mut Vec::new()));
    let reason = loop {
        let event = statuses.recv_timeout(DEADLINE).unwrap().unwrap();
        if let Event::Status(status) = event
            && status.code == StatusCode::PeerRemoved
        {
            break status.text;
        }
    };
    assert!(reason.contains("not permitted"), "{reason}");
    assert_eq!(got(&everything), ["/chat/a", "/chat/b"]);
    gateway.endpoint.shutdown().wait();
    let text = std::fs::read_to_string(&path).unwrap();
    let ended = text.lines().filter(|line| {
        line.contains(r#""action":"connect""#) && line.contains("too many messages")
    });
    assert_eq!(ended.count(), 1, "{text}");
    let denied = text
        .lines()
        .filter(|line| line.contains(r#""resource":"/no""#));
    let counts = denied.map(|line| {
        let (_, count) = line.rsplit_once("\"count\":").unwrap();
        count.trim_end_matches('}').parse::<u64>().unwrap()
    });
    assert_eq!(counts.sum::<u64>(), 3, "{text}");
}

#[test]
fn limits_of_peers_hold_back_drop_or_end() {
    let limited = |limits: &str| {
        let limits = format!("[roles.talker]\nlimits = {{ {limits} }}");
        Gateway::new(&ROLES.replace("[roles.talker]", &limits))
    };
    // Too large.
    let gateway = limited("message_bytes_max = 20");
    let all = gateway.endpoint.subscriber([""]).unwrap();
    let mut peer = gateway.raw_peer("talker", 7, &[]);
    let text = |size: usize| to_bytes(&*"x".repeat(size)).unwrap();
    for size in [18, 19, 5] {
        peer.send(Tag::Data, b"/chat/", &text(size));
    }
    assert!(peer.is_answered(&mut Vec::new()));
    assert_eq!(got(&all).len(), 2);
    let counts = gateway.endpoint.policy_counts();
    assert_eq!(counts[&gateway.principal("talker")].limited, 1);
    let gateway = limited("message_bytes_max = 20, on_limit = \"end\"");
    let mut peer = gateway.raw_peer("talker", 7, &[]);
    peer.send(Tag::Data, b"/chat/", &text(19));
    assert!(!peer.is_answered(&mut Vec::new()));
    // One bucket for all connections of a principal: messages wait, and come in order.
    let gateway = limited("messages_per_second = 20");
    let all = gateway.endpoint.subscriber(["/chat/"]).unwrap();
    let begin = Instant::now();
    let mut peers = [7, 8].map(|number| gateway.raw_peer("talker", number, &[]));
    for number in 0..15u64 {
        for peer in &mut peers {
            let topic = format!("/chat/{}", peer.id);
            peer.send(Tag::Data, topic.as_bytes(), &to_bytes(&number).unwrap());
        }
    }
    let mut last: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for _ in 0..30 {
        let message = all.recv_timeout(DEADLINE).unwrap().unwrap();
        let Value::Count(number) = message.value() else {
            panic!("{message:?}");
        };
        let next = last.entry(message.topic().to_vec()).or_default();
        assert_eq!(number, *next);
        *next += 1;
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(499), "{took:?}");
    // Too many topics.
    let gateway = Gateway::new(ROLES);
    let mut peer = gateway.raw_peer("reader", 7, &["a", "b", "c"]);
    assert!(peer.is_answered(&mut Vec::new()));
    peer.want(["a", "b", "c", "d"].map(Topic::from));
    assert!(!peer.is_answered(&mut Vec::new()));
}

// --- subscribing ---------------------------------------------------------------------------------

#[test]
fn a_peer_gets_what_it_asked_for_and_may_have() {
    let gateway = Gateway::new(ROLES);
    let policy: Policy = gateway.policy(ROLES).policy;
    let filters = [
        "",
        "zeek/",
        "zeek/logs/",
        "zeek/logs/dns",
        "zeek/logs/dns/x",
        "/chat/a",
        "/notice",
        "<$>",
        "<$>/x",
        "blocked/<$>/",
    ];
    let topics = [
        "zeek/logs/conn",
        "zeek/logs/dns",
        "zeek/logs/dns/x",
        "zeek/logs",
        "/notices/x",
        "/notice",
        "/chat/a",
        "/chat/b",
        "/netcontrol/x",
        "x",
        "<$>/x",
        "zeek/logs/x/<$>/data/clone",
    ];
    for role in PRINCIPALS {
        for filter in filters {
            let peer = Endpoint::builder().disable_ssl(true).build().unwrap();
            // Some ask in the handshake, some later.
            let is_early = filter.len() % 2 == 0;
            let early = is_early.then(|| peer.subscriber([filter]).unwrap());
            let port = gateway.ports[role];
            peer.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
            let subscriber = early.unwrap_or_else(|| peer.subscriber([filter]).unwrap());
            gateway.hear_out(&peer);
            for topic in topics {
                gateway.endpoint.publish(topic, &1u64).unwrap();
            }
            gateway.is_heard_by(&peer);
            let principal = gateway.principal(role);
            let expected: Vec<_> = topics
                .into_iter()
                .filter(|topic| topic.starts_with(filter))
                .filter(|topic| {
                    let wanted = Request::Subscribe {
                        topic: topic.as_bytes(),
                    };
                    decide(&policy, &principal, &wanted).is_allowed()
                })
                .collect();
            assert_eq!(got(&subscriber), expected, "{role} {filter:?}");
            peer.shutdown().wait();
        }
    }
}

#[test]
fn what_is_refused_of_a_filter_is_recorded_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let gateway = Gateway::new(ROLES);
    let mut options = gateway.policy(ROLES);
    options.audit.file = Some(path.clone());
    gateway.endpoint.set_policy(&options).unwrap();
    let mut peer = gateway.raw_peer("siem", 7, &["/secret"]);
    for number in 0..20 {
        peer.want(["/secret", "/notices/a", &format!("/notices/{number}")].map(Topic::from));
    }
    assert!(peer.is_answered(&mut Vec::new()));
    gateway.endpoint.shutdown().wait();
    let text = std::fs::read_to_string(&path).unwrap();
    let count = |resource: &str| {
        let resource = format!("\"resource\":\"{resource}\"");
        let lines = text.lines().filter(|line| line.contains(&resource));
        let lines: Vec<_> = lines.collect();
        assert!(
            lines.iter().all(|it| it.ends_with("\"count\":1}")),
            "{text}"
        );
        lines.len()
    };
    assert_eq!(count("/secret"), 1, "{text}");
    assert_eq!(count("/notices/a"), 1, "{text}");
    assert_eq!(count("/notices/19"), 1, "{text}");
}

#[test]
fn a_new_policy_takes_rights_of_peers_away_at_once_and_gives_them_back() {
    let gateway = Gateway::new(ROLES);
    let chat = gateway
        .endpoint
        .subscriber(["/chat/", "/nothing/"])
        .unwrap();
    let talker = gateway.peer("talker");
    let siem = gateway.peer("siem");
    let reader = gateway.peer("reader");
    let logs = siem.subscriber(["zeek/logs/", "/notices/"]).unwrap();
    let statuses = reader.status_subscriber(true).unwrap();
    gateway.hear_out(&siem);
    eventually("the filter of the gateway", || {
        talker.peer_subscriptions().contains(&"/chat/".into())
    });
    talker.publish("/chat/", &1u64).unwrap();
    assert!(chat.recv_timeout(DEADLINE).unwrap().is_some());
    let narrow = ROLES
        .replace(
            "subscribe = [\"zeek/logs/\", \"/notices/\"]",
            "subscribe = [\"/notices/\"]",
        )
        .replace("publish = [\"/chat/\"]", "publish = [\"/nothing/\"]")
        .replace("[roles.reader]", "[roles.nobody]");
    gateway.set(&narrow);
    eventually("the reader is cut off", || {
        while let Some(event) = statuses.try_recv() {
            if let Event::Status(status) = event
                && status.code == StatusCode::PeerLost
            {
                return true;
            }
        }
        false
    });
    talker.publish("/chat/", &2u64).unwrap();
    talker.publish("/nothing/", &3u64).unwrap();
    let next = chat.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(next.topic(), b"/nothing/");
    eventually("the filter is narrower", || {
        texts(&gateway.wants(siem.id())) == ["/notices/"]
    });
    gateway.endpoint.publish("zeek/logs/conn", &1u64).unwrap();
    gateway.endpoint.publish("/notices/x", &2u64).unwrap();
    let next = logs.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(next.topic(), b"/notices/x");
    gateway.set(ROLES);
    eventually("the filter is as it was", || {
        texts(&gateway.wants(siem.id())) == ["/notices/", "zeek/logs/"]
    });
    talker.publish("/nothing/", &4u64).unwrap();
    talker.publish("/chat/", &5u64).unwrap();
    let next = chat.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(next.topic(), b"/chat/");
}

#[test]
fn storms_of_policies_let_nothing_through_that_none_of_them_allows() {
    let gateway = Gateway::new(ROLES);
    let all = gateway.endpoint.subscriber([""]).unwrap();
    let narrow = ROLES
        .replace("publish = [\"/chat/\"]", "publish = [\"/chat/b\"]")
        .replace("\"zeek/logs/\", \"/notices/\"", "\"/notices/\"");
    let is_over = AtomicBool::new(false);
    let mut siem = gateway.raw_peer("siem", 8, &[""]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let policies = [&narrow, ROLES].map(|it| gateway.policy(it));
            while !is_over.load(Ordering::Relaxed) {
                for policy in &policies {
                    gateway.endpoint.set_policy(policy).unwrap();
                }
            }
        });
        scope.spawn(|| {
            let mut talker = gateway.raw_peer("talker", 7, &[]);
            let payload = to_bytes(&1u64).unwrap();
            let mut is_alive = true;
            for _ in 0..100 {
                for topic in [&b"/chat/b"[..], b"/chat/a", b"/chat/b/c"] {
                    talker.send(Tag::Data, topic, &payload);
                }
                is_alive &= talker.is_answered(&mut Vec::new());
            }
            assert!(is_alive, "it was denied less often than a thousand times");
            for number in 0..100u64 {
                gateway.endpoint.publish("zeek/secret", &number).unwrap();
                gateway.endpoint.publish("/notices/x", &number).unwrap();
                gateway.endpoint.publish("zeek/logs/x", &number).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    });
    let got = got(&all);
    let count = |topic: &str| got.iter().filter(|it| *it == topic).count();
    assert_eq!((count("/chat/b"), count("/chat/b/c")), (100, 100));
    assert!(
        got.iter().all(|topic| topic.starts_with("/chat/")),
        "{got:?}"
    );
    let mut came = Vec::new();
    assert!(siem.is_answered(&mut came));
    let topics: Vec<_> = came
        .iter()
        .filter(|it| it.tag == Tag::Data)
        .map(|it| String::from_utf8_lossy(&it.topic).into_owned())
        .collect();
    assert_eq!(topics.iter().filter(|it| *it == "/notices/x").count(), 100);
    let may_come = |topic: &String| topic == "/notices/x" || topic == "zeek/logs/x";
    assert!(topics.iter().all(may_come), "{topics:?}");
}

#[test]
fn a_peer_without_any_right_is_refused_and_that_is_told() {
    let gateway = Gateway::new(&ROLES.replace("[roles.siem]", "[roles.nobody]"));
    let errors = gateway.endpoint.status_subscriber(false).unwrap();
    let peer = Endpoint::builder().disable_ssl(true).build().unwrap();
    let port = gateway.ports["siem"];
    assert!(peer.peer("127.0.0.1", port, Retry::Never).wait().is_err());
    let Some(Event::Error(fault)) = errors.recv_timeout(DEADLINE).unwrap() else {
        panic!("an error event");
    };
    assert_eq!(fault.code, broker::ErrorCode::PeerRefused);
    assert!(fault.text.contains("policy"), "{fault:?}");
    assert_eq!(gateway.endpoint.policy_failures(), 1);
}

// --- data stores ---------------------------------------------------------------------------------

#[test]
fn clones_do_what_their_right_to_the_store_allows() {
    let gateway = Gateway::new(ROLES);
    let blocked = gateway
        .endpoint
        .attach_master("blocked", Backend::Memory)
        .unwrap();
    let hidden = gateway
        .endpoint
        .attach_master("hidden", Backend::Memory)
        .unwrap();
    blocked.put("a", &1u64).unwrap();
    hidden.put("a", &1u64).unwrap();
    let clone =
        |peer: &Endpoint, name: &str| peer.attach_clone(name, CloneOptions::default()).unwrap();
    // Who may read gets all of it, and an error for what it writes; what is written later works.
    let siem = gateway.peer("siem");
    let errors = siem.status_subscriber(false).unwrap();
    let read_only = clone(&siem, "blocked");
    assert_eq!(read_only.get("a").unwrap(), Some(Value::Count(1)));
    for change in 0..3 {
        match change {
            0 => read_only.put("b", &2u64).unwrap(),
            1 => read_only.erase("a").unwrap(),
            _ => read_only.clear().unwrap(),
        }
        let Some(Event::Error(fault)) = errors.recv_timeout(DEADLINE).unwrap() else {
            panic!("an error event");
        };
        assert!(fault.text.contains("permissions"), "{fault:?}");
    }
    let unique = read_only.put_unique("c", &1u64, None).unwrap().wait();
    assert!(!unique.is_ok_and(|is_new| is_new), "it was not put");
    // Who may write may not remove everything.
    let responder = gateway.peer("responder");
    let errors = responder.status_subscriber(false).unwrap();
    let writer = clone(&responder, "blocked");
    writer.put("b", &3u64).unwrap();
    writer.clear().unwrap();
    writer.put("c", &4u64).unwrap();
    assert!(errors.recv_timeout(DEADLINE).unwrap().is_some());
    let has = |key: &str, number: u64| read_only.get(key).unwrap() == Some(Value::Count(number));
    eventually("what was written is read", || has("b", 3) && has("c", 4));
    assert!(has("a", 1));
    assert_eq!(blocked.len().unwrap(), 3);
    // Who may clear may.
    let talker = gateway.peer("talker");
    let clearer = clone(&talker, "blocked");
    clearer.clear().unwrap();
    eventually("it is empty", || blocked.len().unwrap() == 0);
    // The others get nothing of it.
    let reader = gateway.peer("reader");
    let options = CloneOptions {
        resync_interval: broker::Timespan::from_millis(300),
        ..CloneOptions::default()
    };
    for (peer, name) in [(&reader, "blocked"), (&siem, "hidden"), (&talker, "hidden")] {
        let none = peer.attach_clone(name, options.clone()).unwrap();
        assert!(none.get("a").is_err(), "{name}");
    }
}

fn command(sender: EntityId, seq: u64, content: Change<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    let receiver = EntityId::NIL;
    let command = Command {
        seq,
        sender,
        receiver,
        content,
    };
    command.encode(&mut payload);
    payload
}

#[test]
fn a_wide_subscription_brings_no_commands_of_stores() {
    let gateway = Gateway::new(ROLES);
    // As Zeek names its stores; the prefix is one that the talker may subscribe to.
    let master = gateway
        .endpoint
        .attach_master("zeek/known/hosts", Backend::Memory)
        .unwrap();
    let served = gateway
        .endpoint
        .attach_master("served", Backend::Memory)
        .unwrap();
    let clone = clone_topic("served");
    let clone = String::from_utf8_lossy(clone.as_bytes()).into_owned();
    let topics = [
        "",
        "zeek/",
        "zeek/known/hosts/<$>/data/clone",
        "zeek/known/hosts/<$>/data/",
        &clone,
    ];
    let mut peer = gateway.raw_peer("talker", 7, &topics[1..]);
    let mut came = Vec::new();
    assert!(peer.is_answered(&mut came));
    let wanted = texts(&gateway.wants(peer.id));
    assert_eq!(wanted, ["served/<$>/data/clone", "zeek/"]);
    // With entries in one list a shorter one would have hidden the store's.
    peer.want(topics.map(Topic::from));
    assert!(peer.is_answered(&mut came));
    // Writers let masters speak: with nobody there they are silent.
    let sender = EntityId {
        endpoint: peer.id,
        object: 1,
    };
    for name in ["served", "zeek/known/hosts"] {
        let missing = Cow::Borrowed(&[0u64][..]);
        let nack = command(sender, 0, Change::Nack { missing });
        peer.send(Tag::Command, master_topic(name).as_bytes(), &nack);
    }
    assert!(peer.is_answered(&mut came));
    // One that may makes the master speak.
    let siem = gateway.peer("siem");
    let options = CloneOptions::default();
    let known = siem.attach_clone("zeek/known/hosts", options).unwrap();
    assert!(known.get("secret").is_ok());
    for store in [&master, &served] {
        store.put("secret", &1u64).unwrap();
    }
    eventually("the clone has it", || {
        known.get("secret").unwrap().is_some()
    });
    gateway.endpoint.publish("zeek/x", &1u64).unwrap();
    while !came.iter().any(|it| it.topic == b"zeek/x") {
        came.push(peer.receive().unwrap());
    }
    let of_stores: Vec<_> = came
        .iter()
        .filter(|it| it.tag == Tag::Command)
        .map(|it| String::from_utf8_lossy(&it.topic).into_owned())
        .collect();
    assert!(of_stores.contains(&clone), "{of_stores:?}");
    assert!(of_stores.iter().all(|it| *it == clone), "{of_stores:?}");
}

#[test]
fn commands_under_other_names_reach_no_store() {
    let gateway = Gateway::new(ROLES);
    let blocked = gateway
        .endpoint
        .attach_master("blocked", Backend::Memory)
        .unwrap();
    blocked.put("a", &1u64).unwrap();
    let mut peer = gateway.raw_peer("siem", 7, &["blocked/<$>/data/clone"]);
    let me = EntityId {
        endpoint: peer.id,
        object: 1,
    };
    let somebody = EntityId {
        endpoint: EndpointId::from_random([9; 16]),
        object: 1,
    };
    let (key, value) = (to_bytes("b").unwrap(), to_bytes(&1u64).unwrap());
    let attach = |sender| {
        let (offset, heartbeat) = (1, 5);
        command(sender, 0, Change::AttachWriter { offset, heartbeat })
    };
    let put = |sender, seq| {
        let change = Change::Put {
            key: &key,
            value: &value,
            expiry: None,
            publisher: sender,
        };
        command(sender, seq, change)
    };
    let clear = |sender, seq| command(sender, seq, Change::Clear { publisher: sender });
    let mut came = Vec::new();
    for topic in [
        "blocked/<$>/data/master",
        "blocked/<$>/data/masters",
        "blocked/<$>/data/clone",
        "Blocked/<$>/data/master",
        "served/<$>/data/master/<$>/data/master",
        "blocked",
        "",
        "<$>",
        "<$>/local/data/store-events/blocked",
    ] {
        for sender in [me, somebody] {
            peer.send(Tag::Command, topic.as_bytes(), &attach(sender));
            peer.send(Tag::Command, topic.as_bytes(), &put(sender, 2));
            peer.send(Tag::Command, topic.as_bytes(), &clear(sender, 3));
            // As data, and to one endpoint.
            peer.send(Tag::Data, topic.as_bytes(), &put(sender, 4));
            let (id, other) = (peer.id, peer.other);
            peer.send_as(id, other, Tag::Command, topic.as_bytes(), &clear(sender, 5));
        }
    }
    assert!(peer.is_answered(&mut came));
    assert_eq!(blocked.len().unwrap(), 1);
    assert_eq!(blocked.get("a").unwrap(), Some(Value::Count(1)));
}

// --- hostile peers -------------------------------------------------------------------------------

#[test]
fn no_form_of_a_message_gets_around_the_decision() {
    let gateway = Gateway::new(ROLES);
    let all = gateway.endpoint.subscriber([""]).unwrap();
    // Another peer, which messages could be sent to directly.
    let mut siem = gateway.raw_peer("siem", 8, &[""]);
    let mut peer = gateway.raw_peer("talker", 7, &[]);
    let payload = to_bytes(&1u64).unwrap();
    let mark = Mark {
        origin: [9; broker::proto::mark::ORIGIN_SIZE],
        number: 1,
        hops: 0,
    };
    let (me, other) = (peer.id, peer.other);
    let nobody = EndpointId::NIL;
    for topic in [
        &b"/notices/x"[..],
        b"zeek/logs/x",
        b"/chat",
        b"<$>/local/data/statuses",
        b"<$>",
        b"/chat/<$>/x",
        b"",
        b"\0/chat/",
    ] {
        for receiver in [nobody, other, siem.id, me, mark.to_receiver()] {
            for sender in [me, nobody, other, siem.id] {
                peer.send_as(sender, receiver, Tag::Data, topic, &payload);
            }
        }
    }
    // What the sender may publish and the receiver may not have.
    peer.send_as(me, siem.id, Tag::Data, b"/chat/x", &payload);
    // Half a message in front of a whole one, and one that is no value.
    peer.send(Tag::Data, b"/notices/x", b"\xff\xff");
    peer.send_bytes(&[0, 0, 0, 3, 1, 2, 3]);
    peer.send(Tag::Data, b"/chat/x", &payload);
    assert!(peer.is_answered(&mut Vec::new()));
    assert_eq!(got(&all), ["/chat/x"]);
    let mut came: Vec<Came> = Vec::new();
    assert!(siem.is_answered(&mut came));
    came.retain(|it| it.tag == Tag::Data);
    assert_eq!(came, []);
}

#[test]
fn events_hidden_in_logs_and_odd_messages_are_refused() {
    let gateway = Gateway::new(ROLES);
    let all = gateway.endpoint.subscriber(["/netcontrol/"]).unwrap();
    let mut peer = gateway.raw_peer("responder", 7, &[]);
    let content =
        |name: &str| Value::from(vec![Value::from(name), Value::from(Vec::<Value>::new())]);
    let message = |version: u64, kind: u64, content: Value| {
        Value::from(vec![Value::from(version), Value::from(kind), content])
    };
    for hidden in [
        // An event as the record of a log, as an update of an identifier, in a batch of no messages.
        message(1, 3, content("NetControl::a")),
        message(1, 4, content("NetControl::a")),
        message(1, 5, Value::from(vec![Value::from("NetControl::a")])),
        message(1, 5, Value::from(vec![message(1, 3, content("terminate"))])),
        message(2, 1, content("NetControl::a")),
        message(1, 1, content("terminate")),
        message(1, 1, Value::from("NetControl::a")),
        Value::from("NetControl::a"),
    ] {
        peer.send(Tag::Data, b"/netcontrol/x", &to_bytes(&hidden).unwrap());
    }
    let good = message(1, 1, content("NetControl::a"));
    peer.send(Tag::Data, b"/netcontrol/x", &to_bytes(&good).unwrap());
    assert!(peer.is_answered(&mut Vec::new()));
    let message = all.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(names(&message), ["NetControl::a"]);
    assert!(all.try_recv().is_none());
}

#[test]
fn filters_by_the_thousand_bring_no_more_than_what_is_allowed() {
    let gateway = Gateway::new(ROLES);
    let mut peer = gateway.raw_peer("siem", 7, &[]);
    let mut came = Vec::new();
    for round in 0..5 {
        let many = (0..20_000).map(|number| match number % 4 {
            0 => Topic::from(format!("zeek/logs/{number}")),
            1 => Topic::from(format!("/notice{number}")),
            2 => Topic::from(format!("{number}/<$>/data/clone")),
            _ => Topic::from(format!("zeek/{round}{number}")),
        });
        peer.want(many);
        peer.want([Topic::from("")]);
    }
    assert!(peer.is_answered(&mut came));
    assert_eq!(texts(&gateway.wants(peer.id)), ["/notices/", "zeek/logs/"]);
    let many = (0..20_000).map(|number| Topic::from(format!("zeek/logs/{number}")));
    peer.want(many);
    assert!(peer.is_answered(&mut came));
    let wanted = gateway.wants(peer.id);
    // Those that begin as another one are in it.
    assert!(!wanted.is_empty());
    assert!(
        wanted
            .iter()
            .all(|it| it.as_bytes().starts_with(b"zeek/logs/"))
    );
}
