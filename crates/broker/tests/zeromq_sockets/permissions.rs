//! Clients of a forwarder under a policy: what each may publish and gets, against the decision itself.

use std::collections::{BTreeMap, BTreeSet};

use broker::data::to_bytes;
use broker::policy::{Content, Policy, PolicyFile, Request, decide};
use broker::proto::zmtp::Security;
use broker::{PolicyOptions, ZeroMqMembership};

use super::*;

const ROLES: &str = r#"
[roles.cluster]
publish = [""]
subscribe = [""]

[roles.soar]
publish = ["/netcontrol/", "/end/"]
events.publish = ["NetControl::*", "end"]
deny.events.publish = ["NetControl::clear*"]
deny.publish = ["/netcontrol/zeek/"]
subscribe = ["/netcontrol/out", "/end/", "zeek.zeromq.internal."]

[roles.siem]
publish = ["/end/"]
subscribe = ["/notices/", "zeek.logs.", "/end/", "zeek.zeromq.internal."]
deny.subscribe = ["/notices/secret"]

[roles.anonymous]
subscribe = ["/public", "/end/"]
publish = ["/end/", "/public"]
"#;

const PRINCIPALS: [&str; 4] = ["cluster", "soar", "siem", "anonymous"];

/// A forwarder that the policy of an endpoint judges the clients of, and a key for each principal.
struct Gateway {
    endpoint: Endpoint,
    forwarder: Forwarder,
    server: KeyPair,
    keys: BTreeMap<&'static str, KeyPair>,
}

impl Gateway {
    fn new(roles: &str) -> Self {
        let server = generate_curve_keypair().unwrap();
        let keys: BTreeMap<_, _> = PRINCIPALS
            .into_iter()
            .map(|name| (name, generate_curve_keypair().unwrap()))
            .collect();
        let options = broker::Options {
            policy: Some(policy(roles, &keys)),
            disable_ssl: true,
            ..broker::Options::default()
        };
        let endpoint = Endpoint::builder().options(options).build().unwrap();
        let forwarder = forwarder(|options| {
            options.curve = Curve::Keys(CurveKeys {
                server_secret: Some(server.secret.clone()),
                ..CurveKeys::default()
            });
            options.clients = keys.values().map(|pair| pair.public).collect();
            endpoint.judge_forwarder(options).unwrap();
        });
        endpoint.report_forwarder(&forwarder).unwrap();
        Self {
            endpoint,
            forwarder,
            server,
            keys,
        }
    }

    fn set(&self, roles: &str) {
        let options = policy(roles, &self.keys);
        self.endpoint.set_policy(&options).unwrap();
    }

    fn decides(&self, roles: &str) -> Policy {
        policy(roles, &self.keys).policy
    }

    fn raw(&self, principal: &str, socket_type: SocketType) -> Raw {
        let address = match socket_type {
            SocketType::Sub => self.forwarder.xpub_address(),
            _ => self.forwarder.xsub_address(),
        };
        let security = Security::CurveClient {
            server: self.server.public,
            keys: self.keys[principal].clone(),
        };
        Raw::connect_with(address, socket_type, security)
    }

    fn subscriber(&self, principal: &str, prefixes: &[&str]) -> Raw {
        let mut raw = self.raw(principal, SocketType::Sub);
        raw.subscribe(prefixes);
        raw
    }

    fn member(&self, principal: &str, topic: &str, membership: ZeroMqMembership) -> Endpoint {
        let endpoint = Endpoint::new().unwrap();
        endpoint.forward([topic]);
        let options = ZeroMqPeerOptions {
            curve: Curve::Keys(client_keys(&self.server, &self.keys[principal])),
            membership,
            ..ZeroMqPeerOptions::default()
        };
        let joined = endpoint.peer_zeromq(&url(&self.forwarder), Retry::Never, options);
        joined.wait().unwrap();
        endpoint
    }

    fn count(&self, principal: &str) -> usize {
        let connections = self.forwarder.stats().connections;
        let of = connections
            .iter()
            .filter(|it| it.principal.as_deref() == Some(principal));
        of.count()
    }
}

fn client_keys(server: &KeyPair, pair: &KeyPair) -> CurveKeys {
    CurveKeys {
        server_secret: None,
        ..cluster_keys(server, pair)
    }
}

/// All but `anonymous` are known by their keys, as far as they have a role.
fn policy(roles: &str, keys: &BTreeMap<&str, KeyPair>) -> PolicyOptions {
    let mut text = format!("{roles}\n");
    for (name, pair) in keys {
        if !roles.contains(&format!("[roles.{name}]")) {
            continue;
        }
        text.push_str(&format!("[principals.{name}]\nroles = [\"{name}\"]\n"));
        if *name != "anonymous" {
            text.push_str(&format!("curve_keys = [\"{}\"]\n", pair.public));
        }
    }
    PolicyFile::parse(&text, "policy.toml").unwrap().into()
}

fn publish(raw: &mut Raw, topic: &str, event: &str) {
    let event = to_bytes(&EventBuilder::new(event)).unwrap();
    raw.send(&[topic.as_bytes(), b"node", b"broker-bin-v1", &event]);
}

/// Topics and events that come until one with this topic does, and with it.
fn until(raw: &mut Raw, last: &str) -> Vec<(String, String)> {
    let mut got = Vec::new();
    let is_last = |(topic, _): &(String, String)| topic == last;
    // What another publisher sent may come behind it, with the same read.
    while !got.iter().any(is_last) {
        raw.read(|parts| {
            let topic = String::from_utf8(parts[0].clone()).unwrap();
            let event = View::new(&parts[3]).unwrap();
            let name = match broker::zeek::Message::parse(event) {
                broker::zeek::Message::Event(event) => event.name().to_vec(),
                other => panic!("{other:?}"),
            };
            got.push((topic, String::from_utf8(name).unwrap()));
        });
    }
    got.retain(|it| !is_last(it));
    got
}

/// Waits until a publisher has heard of a subscription; returns all that it heard.
fn hear(raw: &mut Raw, last: &str) -> BTreeSet<String> {
    let mut heard = BTreeSet::new();
    while !raw.machine.subscriptions().contains(last.as_bytes()) {
        raw.read(|_| ());
    }
    for prefix in raw.machine.subscriptions().iter() {
        heard.insert(String::from_utf8(prefix.to_vec()).unwrap());
    }
    heard
}

#[test]
fn what_clients_publish_is_what_the_decision_says() {
    let gateway = Gateway::new(ROLES);
    let policy = gateway.decides(ROLES);
    let mut hears = gateway.subscriber("cluster", &[""]);
    let topics = [
        "/netcontrol/x",
        "/netcontrol/zeek/x",
        "/netcontrol",
        "/Netcontrol/x",
        "/public",
        "zeek.cluster.manager",
        "zeek.cluster.nodeid.x.",
        "<$>/local/data/errors",
        "x/<$>/data/master",
    ];
    let events = ["NetControl::add_rule", "NetControl::clear_all", "terminate"];
    let mut denied = 0;
    for principal in PRINCIPALS {
        let mut publisher = gateway.raw(principal, SocketType::Xpub);
        hear(&mut publisher, "");
        let mut expected = Vec::new();
        for topic in topics {
            for event in events {
                publish(&mut publisher, topic, event);
                let request = Request::Publish {
                    topic: topic.as_bytes(),
                    content: Content::Event(event.as_bytes()),
                };
                if decide(&policy, principal, &request).is_allowed() {
                    expected.push((topic.to_owned(), event.to_owned()));
                } else {
                    denied += 1;
                }
            }
        }
        let end = format!("/end/{principal}");
        publish(&mut publisher, &end, "end");
        assert_eq!(until(&mut hears, &end), expected, "{principal}");
    }
    let stats = gateway.forwarder.stats();
    assert_eq!(stats.denied, denied);
    let counts = gateway.endpoint.policy_counts();
    let all: u64 = counts.values().map(|it| it.denied).sum();
    assert_eq!(all, denied);
    assert_eq!(counts["cluster"].denied, 6, "topics of endpoints alone");
}

#[test]
fn a_client_gets_what_it_asked_for_and_may_have() {
    let gateway = Gateway::new(ROLES);
    let policy = gateway.decides(ROLES);
    let filters = [
        "",
        "/",
        "/notices/",
        "/notice",
        "/notices/secret",
        "/notices/s",
        "zeek.cluster.nodeid.x.",
        "zeek.",
        "/netcontrol/",
        "/public",
    ];
    let topics = [
        "/notices/x",
        "/notices/secret/x",
        "/notice",
        "zeek.logs.conn",
        "zeek.cluster.nodeid.x.",
        "/netcontrol/in",
        "/netcontrol/out",
        "/public/x",
        "/publi",
    ];
    let mut publisher = gateway.raw("cluster", SocketType::Xpub);
    let mut clients = Vec::new();
    for principal in PRINCIPALS {
        for filter in filters {
            let end = format!("/end/{}/", clients.len());
            let client = gateway.subscriber(principal, &[filter, &end]);
            hear(&mut publisher, &end);
            clients.push((principal, filter, end, client));
        }
    }
    for topic in topics {
        publish(&mut publisher, topic, "told");
    }
    for (principal, filter, end, mut client) in clients {
        publish(&mut publisher, &end, "end");
        let mut got = until(&mut client, &end);
        // A filter that is wide brings the ends of others.
        got.retain(|(topic, _)| !topic.starts_with("/end/"));
        let got: Vec<_> = got.into_iter().map(|(topic, _)| topic).collect();
        // What a filter may not leave out it does not get any of.
        let rights = policy.rights(principal).unwrap();
        let granted = rights.granted([&filter.into()]).topics;
        let expected: Vec<_> = topics
            .into_iter()
            .filter(|topic| granted.iter().any(|it| it.is_prefix_of(topic.as_bytes())))
            .collect();
        assert_eq!(got, expected, "{principal} {filter:?}");
        for topic in expected {
            let wanted = Request::Subscribe {
                topic: topic.as_bytes(),
            };
            assert!(decide(&policy, principal, &wanted).is_allowed(), "{topic}");
        }
    }
}

#[test]
fn subscriptions_that_are_not_granted_are_told_to_no_publisher() {
    let gateway = Gateway::new(ROLES);
    let _siem = gateway.subscriber("siem", &["zeek.cluster.nodeid.x.", "", "/end/siem"]);
    let mut publisher = gateway.raw("cluster", SocketType::Xpub);
    let heard = hear(&mut publisher, "/end/siem");
    let expected = ["/end/", "/end/siem", "zeek.logs.", "zeek.zeromq.internal."];
    assert_eq!(heard, expected.map(str::to_owned).into());
}

#[test]
fn a_new_policy_takes_rights_away_at_once_and_gives_them_back() {
    let gateway = Gateway::new(ROLES);
    let mut soar = gateway.raw("soar", SocketType::Xpub);
    let mut siem = gateway.subscriber("siem", &["zeek.logs.", "/netcontrol/", "/end/"]);
    let mut cluster = gateway.raw("cluster", SocketType::Xpub);
    hear(&mut cluster, "/end/");
    hear(&mut soar, "/end/");
    assert_eq!(gateway.count("siem"), 1);

    let changed = ROLES
        .replace("\"zeek.logs.\"", "\"/netcontrol/\"")
        .replace("[\"/netcontrol/\", \"/end/\"]", "[\"/end/\"]");
    gateway.set(&changed);
    hear(&mut cluster, "/netcontrol/");
    for topic in ["zeek.logs.conn", "/netcontrol/cluster"] {
        publish(&mut cluster, topic, "told");
    }
    publish(&mut soar, "/netcontrol/soar", "NetControl::add_rule");
    publish(&mut soar, "/end/soar", "end");
    let got = until(&mut siem, "/end/soar");
    let got: BTreeSet<_> = got.iter().map(|(topic, _)| topic.as_str()).collect();
    assert!(got.is_subset(&["/netcontrol/cluster"].into()), "{got:?}");

    gateway.set(ROLES);
    hear(&mut cluster, "zeek.logs.");
    publish(&mut cluster, "zeek.logs.conn", "told");
    publish(&mut cluster, "/end/back", "end");
    let mut got = until(&mut siem, "/end/back");
    got.retain(|(topic, _)| topic != "/netcontrol/cluster");
    assert_eq!(got, [("zeek.logs.conn".to_owned(), "told".to_owned())]);

    // Without any right it ends, as does the one that is another principal now.
    gateway.set("[roles.cluster]\npublish = [\"\"]\nsubscribe = [\"\"]");
    wait_until("both are gone", || {
        gateway.forwarder.stats().connections.len() == 1
    });
    assert_eq!(gateway.count("cluster"), 1);
    let refused = gateway.forwarder.stats().refused;
    let _stranger = gateway.raw("siem", SocketType::Sub);
    wait_until("it is refused", || {
        gateway.forwarder.stats().refused == refused + 1
    });
}

#[test]
fn too_much_waits_and_ends_nothing_for_others() {
    let limited = ROLES.replace(
        "[roles.siem]",
        "[roles.siem]\nlimits = { messages_per_second = 20 }",
    );
    let gateway = Gateway::new(&limited);
    let mut hears = gateway.subscriber("cluster", &[""]);
    let mut fast = gateway.raw("siem", SocketType::Xpub);
    let mut other = gateway.raw("cluster", SocketType::Xpub);
    hear(&mut fast, "");
    hear(&mut other, "");
    let start = Instant::now();
    for number in 0..40 {
        publish(&mut fast, &format!("/end/{number}"), "end");
    }
    publish(&mut other, "/now", "told");
    let mut got = until(&mut hears, "/end/39");
    let took = start.elapsed();
    got.retain(|(topic, _)| topic != "/now");
    let expected: Vec<_> = (0..39).map(|number| format!("/end/{number}")).collect();
    let got: Vec<_> = got.into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(got, expected, "in order, and all");
    // Twenty go at once, the others one by one.
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert_eq!(gateway.forwarder.stats().denied, 0);
}

#[test]
fn a_message_that_waits_is_judged_again_by_a_new_policy() {
    // One each two seconds, so that something waits for a minute.
    const MESSAGES: u64 = 40;
    let slow = ROLES.replace(
        "[roles.siem]",
        "[roles.siem]\nlimits = { bytes_per_second = 30 }",
    );
    let gateway = Gateway::new(&slow);
    let mut hears = gateway.subscriber("cluster", &[""]);
    let mut fast = gateway.raw("siem", SocketType::Xpub);
    let mut other = gateway.raw("cluster", SocketType::Xpub);
    hear(&mut fast, "");
    hear(&mut other, "");
    for number in 0..MESSAGES {
        publish(&mut fast, &format!("/end/{number}"), "end");
    }
    let mut passed = until(&mut hears, "/end/0").len() as u64 + 1;
    gateway.set(&slow.replace("publish = [\"/end/\"]\n", "publish = [\"/other\"]\n"));
    // The one that waits and all behind it, without a wait.
    let start = Instant::now();
    wait_until("what waits is denied", || {
        publish(&mut other, "/now", "told");
        let mut got = until(&mut hears, "/now");
        got.retain(|(topic, _)| topic.starts_with("/end/"));
        passed += got.len() as u64;
        passed + gateway.forwarder.stats().denied == MESSAGES
    });
    let took = start.elapsed();
    assert!(passed < MESSAGES, "{passed} after {took:?}");
}

#[test]
fn nodes_of_a_cluster_find_each_other_by_rules_and_others_are_no_nodes() {
    let roles = r#"
[roles.cluster]
publish = ["zeek.cluster."]
subscribe = ["zeek.cluster.", "zeek.zeromq.internal."]
events.publish = ["Cluster::hello", "Cluster::Backend::ZeroMQ::hello"]
[roles.siem]
publish = ["/siem"]
subscribe = ["/siem", "zeek.zeromq.internal."]
"#;
    let gateway = Gateway::new(roles);
    let node = |name: &str| ZeroMqMembership::Node {
        name: name.to_owned(),
    };
    let one = gateway.member("cluster", "/one", node("worker-1"));
    let other = gateway.member("cluster", "/two", node("worker-2"));
    // It says that it is a node, and may not.
    let false_one = gateway.member("siem", "/siem", node("manager"));
    let names = |endpoint: &Endpoint| -> Vec<String> {
        let nodes = endpoint.cluster_nodes();
        nodes.iter().map(|node| node.name.clone()).collect()
    };
    wait_until("they know each other", || {
        names(&one).contains(&"worker-2".to_owned())
            && names(&other).contains(&"worker-1".to_owned())
    });
    let last = gateway.member("cluster", "/three", node("worker-3"));
    wait_until("one more", || names(&one).contains(&"worker-3".to_owned()));
    for endpoint in [&one, &other, &last] {
        assert!(!names(endpoint).iter().any(|name| name.contains("manager")));
    }
    drop(false_one);
}

#[test]
fn an_endpoint_without_a_policy_judges_no_forwarder() {
    let endpoint = Endpoint::new().unwrap();
    let mut options = ForwarderOptions::default();
    let error = endpoint.judge_forwarder(&mut options).unwrap_err();
    assert!(error.to_string().contains("began without one"), "{error}");
}
