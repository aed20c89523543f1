//! Permissions over real sockets: who becomes a principal, what it may do, what it loses, what is recorded.
#![cfg(all(feature = "status", feature = "policy"))]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[path = "websocket/client.rs"]
#[expect(dead_code, reason = "made for the tests of WebSocket clients")]
mod client;
#[path = "permissions/recipe.rs"]
mod recipe;
#[path = "permissions/seen.rs"]
mod seen;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use broker::policy::{
    Content, FAILURES_MAX, Operation, Policy, PolicyFile, Request, SECRET_BYTES, Secret, decide,
};
use broker::zeek::EventBuilder;
use broker::{
    AuditFailure, Backend, Endpoint, HttpOptions, Message, PolicyOptions, Retry, Subscriber,
    Timestamp, Value, WebSocketOptions, WebSocketTls,
};
use client::{Client, DEADLINE, data, eventually, request};

/// Three principals as an operator would have them, and one without proof.
const POLICY: &str = r#"
[roles.siem]
subscribe = ["zeek/logs/", "/notices/"]
http = ["/metrics", "/v1/stores/", "/v1/topics/"]
stores = { "blocked" = "read" }

[roles.responder]
publish = ["/netcontrol/"]
events.publish = ["NetControl::*"]
deny.events.publish = ["NetControl::clear*"]
deny.publish = ["/netcontrol/zeek/"]

[roles.reader]
subscribe = ["zeek/logs/dns"]
limits = { subscriptions_max = 3 }

[roles.talker]
publish = ["/chat/"]
subscribe = ["/chat/"]

[principals.siem]
roles = ["siem"]
[principals.soar]
roles = ["responder"]
[principals.researcher]
roles = ["reader"]
[principals.anonymous]
roles = ["talker"]
"#;

const PRINCIPALS: [&str; 4] = ["siem", "soar", "researcher", "anonymous"];

fn secret(principal: &str) -> Secret {
    Secret::from_random([principal.as_bytes()[1]; SECRET_BYTES])
}

/// A policy with a token for each principal that needs one.
fn with_tokens(text: &str) -> PolicyOptions {
    let mut text = text.to_owned();
    for principal in PRINCIPALS {
        if principal != "anonymous" && text.contains(&format!("[principals.{principal}]")) {
            let digest = secret(principal).digest();
            text.push_str(&format!(
                "[tokens.{principal}]\nsha256 = \"{digest}\"\nprincipal = \"{principal}\"\n"
            ));
        }
    }
    PolicyFile::parse(&text, "policy.toml").unwrap().into()
}

fn gateway_with(policy: PolicyOptions) -> (Endpoint, u16) {
    let options = broker::Options {
        policy: Some(policy),
        disable_ssl: true,
        ..broker::Options::default()
    };
    let endpoint = Endpoint::builder().options(options).build().unwrap();
    let options = WebSocketOptions {
        tls: WebSocketTls::Disabled,
        // These clients answer none, and on a slow machine one may come in between.
        ping_interval: Duration::ZERO,
        ..WebSocketOptions::default()
    };
    let port = endpoint.listen_ws_with("127.0.0.1", 0, options);
    let port = port.wait().unwrap();
    (endpoint, port)
}

fn gateway() -> (Endpoint, u16) {
    gateway_with(with_tokens(POLICY))
}

fn authorization(principal: &str) -> String {
    match principal {
        "anonymous" => String::new(),
        _ => format!("Authorization: Bearer {}\r\n", secret(principal).reveal()),
    }
}

/// A client that has not subscribed yet.
fn connect(port: u16, principal: &str) -> Client {
    let (client, head) = Client::connect_with(port, &authorization(principal));
    assert!(head.starts_with("HTTP/1.1 101 "), "{principal}: {head}");
    client
}

fn subscribed(port: u16, principal: &str, topics: &[&str]) -> Client {
    let mut client = connect(port, principal);
    client.subscribe(topics);
    client
}

fn json_event(name: &str) -> String {
    format!(
        r#"{{"@data-type":"vector","data":[{{"@data-type":"count","data":1}},{{"@data-type":"count","data":1}},{{"@data-type":"vector","data":[{{"@data-type":"string","data":"{name}"}},{{"@data-type":"vector","data":[]}}]}}]}}"#
    )
}

fn json_batch(names: &[&str]) -> String {
    let members: Vec<_> = names.iter().map(|name| json_event(name)).collect();
    format!(
        r#"{{"@data-type":"vector","data":[{{"@data-type":"count","data":1}},{{"@data-type":"count","data":5}},{{"@data-type":"vector","data":[{}]}}]}}"#,
        members.join(",")
    )
}

/// A message with a value as JSON.
fn message(topic: &str, value: &str) -> String {
    let fields = value.strip_prefix('{').unwrap();
    format!(r#"{{"type":"data-message","topic":"{topic}",{fields}"#)
}

/// The next message, but for events about clients.
fn next(everything: &Subscriber) -> Message {
    loop {
        let message = everything.recv_timeout(DEADLINE).unwrap().unwrap();
        if message.topic() != b"<$>/local/data/statuses" {
            return message;
        }
    }
}

/// Status of the answer to a request for a WebSocket.
fn status(port: u16, fields: &str) -> u16 {
    let mut client = Client::dial(port);
    client.send(request(fields).as_bytes());
    let head = client.read_all();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn what_is_published_and_refused_is_what_the_decision_says() {
    let (endpoint, port) = gateway();
    let policy = with_tokens(POLICY).policy;
    let everything = endpoint.subscriber([""]).unwrap();
    let topics = [
        "/netcontrol/x",
        "/netcontrol/zeek/x",
        "/netcontrol",
        "/netcontro",
        "/NetControl/x",
        "/chat/",
        "/chat",
        "//chat/",
        "zeek/logs/conn",
        "<$>/local/data/errors",
        "a/<$>/data/master",
        "",
    ];
    let events = [
        Some("NetControl::add_rule"),
        Some("NetControl::clear_all"),
        Some("netcontrol::add_rule"),
        Some("terminate"),
        Some("NetControl::\\u0000"),
        None,
    ];
    let mut witness = subscribed(port, "anonymous", &[]);
    for principal in PRINCIPALS {
        let mut client = subscribed(port, principal, &[]);
        for topic in topics {
            for event in events {
                let name = event.map(|it| it.replace("\\u0000", "\0"));
                let content = match &name {
                    Some(name) => Content::Event(name.as_bytes()),
                    None => Content::Other,
                };
                let wanted = Request::Publish {
                    topic: topic.as_bytes(),
                    content,
                };
                let is_allowed = decide(&policy, principal, &wanted).is_allowed();
                let text = match event {
                    Some(event) => message(topic, &json_event(event)),
                    None => data(topic, 7),
                };
                client.send_text(&text);
                let what = format!("{principal} {topic:?} {event:?}");
                if is_allowed {
                    let got = next(&everything);
                    assert_eq!(got.topic(), topic.as_bytes(), "{what}");
                } else {
                    let told = client.read_text();
                    // Topics of endpoints are refused before anybody is asked.
                    let code = if topic.contains("<$>") {
                        r#""code":"deserialization_failed""#
                    } else {
                        r#""code":"acl_denied""#
                    };
                    assert!(told.contains(code), "{what}: {told}");
                    // Whatever had come through would have come before this.
                    witness.publish("/chat/witness", 1);
                    let got = next(&everything);
                    assert_eq!(got.topic(), b"/chat/witness", "{what}");
                }
            }
        }
    }
    let counts = endpoint.policy_counts();
    // The name with a NUL begins as it may.
    assert_eq!(counts["soar"].allowed, 2);
    assert_eq!(counts["soar"].denied, 58);
    assert_eq!(counts["siem"].allowed, 0);
}

#[test]
fn a_client_gets_what_it_asked_for_and_may_have() {
    let (endpoint, port) = gateway();
    let policy = with_tokens(POLICY).policy;
    let filters = [
        "",
        "zeek/",
        "zeek/logs/",
        "zeek/logs/dns",
        "zeek/logs/dns/x",
        "/chat/a",
        "/notice",
        "<$>",
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
    ];
    let mut clients = Vec::new();
    for principal in PRINCIPALS {
        for filter in filters {
            if principal == "soar" {
                continue;
            }
            clients.push((principal, filter, subscribed(port, principal, &[filter])));
        }
    }
    for topic in topics {
        endpoint.publish(topic, &1u64).unwrap();
    }
    endpoint.shutdown().wait();
    for (principal, filter, mut client) in clients {
        let (_, _, texts) = client.read_close();
        let got: Vec<String> = texts
            .iter()
            .map(|text| {
                let message: serde_json::Value = serde_json::from_str(text).unwrap();
                message["topic"].as_str().unwrap().to_owned()
            })
            .collect();
        let expected: Vec<_> = topics
            .into_iter()
            .filter(|topic| topic.starts_with(filter))
            .filter(|topic| {
                let wanted = Request::Subscribe {
                    topic: topic.as_bytes(),
                };
                decide(&policy, principal, &wanted).is_allowed()
            })
            .collect();
        assert_eq!(got, expected, "{principal} {filter:?}");
    }
}

#[test]
fn whoever_proves_nothing_right_is_refused_and_told_no_more() {
    let text = POLICY.replace("[principals.anonymous]\nroles = [\"talker\"]\n", "");
    let (endpoint, port) = gateway_with(with_tokens(&text));
    let secret = secret("siem");
    let good = secret.reveal();
    let (short, _) = good.split_at(42);
    for fields in [
        String::new(),
        "Authorization: Basic c2llbTpzaWVt\r\n".to_owned(),
        format!("Authorization: Bearer {short}\r\n"),
        format!("Authorization: Bearer {}\r\n", good.to_lowercase()),
        format!("Authorization: Bearer {}\r\n", secret.digest()),
        format!("Authorization: Bearer {good}\r\nAuthorization: Bearer x\r\n"),
        format!("Sec-WebSocket-Protocol: bearer.{good}x\r\n"),
    ] {
        let mut client = Client::dial(port);
        client.send(request(&fields).as_bytes());
        let answer = client.read_all();
        assert!(
            answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
            "{fields}: {answer}"
        );
        assert!(answer.contains("WWW-Authenticate: Bearer\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nA token is needed."), "{answer}");
    }
    assert_eq!(endpoint.policy_failures(), 7);
    let huge = format!("Authorization: Bearer {}\r\n", "x".repeat(100_000));
    assert_eq!(status(port, &huge), 431);
    let subprotocol = format!("Sec-WebSocket-Protocol: broker-json-v1, bearer.{good}\r\n");
    let (_client, head) = Client::connect_with(port, &subprotocol);
    assert!(
        head.contains("Sec-WebSocket-Protocol: broker-json-v1\r\n"),
        "{head}"
    );
    assert!(!head.contains(good));
}

#[test]
fn an_address_that_guesses_is_not_listened_to_for_a_while() {
    let (endpoint, port) = gateway();
    let wrong = "Authorization: Bearer wrong\r\n";
    let guesses: Vec<_> = (0..FAILURES_MAX)
        .map(|_| std::thread::spawn(move || status(port, wrong)))
        .collect();
    for guess in guesses {
        assert_eq!(guess.join().unwrap(), 401);
    }
    assert_eq!(status(port, wrong), 429);
    assert_eq!(status(port, &authorization("siem")), 429);
    assert_eq!(endpoint.policy_failures(), u64::from(FAILURES_MAX));
    // Those without a token have not guessed.
    subscribed(port, "anonymous", &["/chat/"]);
}

#[test]
fn one_bad_event_of_a_batch_is_refused_alone() {
    let (endpoint, port) = gateway();
    let everything = endpoint.subscriber([""]).unwrap();
    let mut soar = subscribed(port, "soar", &[]);
    let names = [
        "NetControl::add_rule",
        "terminate",
        "NetControl::clear",
        "NetControl::remove_rule",
    ];
    soar.send_text(&message("/netcontrol/x", &json_batch(&names)));
    let told = soar.read_text();
    assert!(
        told.contains("terminate") && told.contains("NetControl::clear"),
        "{told}"
    );
    assert!(!told.contains("add_rule"), "{told}");
    let got = next(&everything);
    let broker::zeek::Message::Batch(batch) = broker::zeek::Message::parse(got.view()) else {
        panic!("{:?}", got.view())
    };
    let got: Vec<_> = batch
        .messages()
        .map(|message| match message {
            broker::zeek::Message::Event(event) => {
                String::from_utf8_lossy(event.name()).into_owned()
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(got, ["NetControl::add_rule", "NetControl::remove_rule"]);
}

#[test]
fn zeek_behind_the_gateway_is_asked_only_what_may_be_asked() {
    let (gateway, port) = gateway();
    // Zeek, with what it listens to.
    let zeek = Endpoint::builder().disable_ssl(true).build().unwrap();
    let asked = zeek.subscriber(["/netcontrol/", "zeek/control/"]).unwrap();
    let native = zeek.listen("127.0.0.1", 0).wait().unwrap();
    gateway
        .peer("127.0.0.1", native, Retry::Never)
        .wait()
        .unwrap();
    assert!(zeek.await_peer(gateway.id(), DEADLINE).wait());
    let mut siem = subscribed(port, "siem", &[""]);
    let mut researcher = subscribed(port, "researcher", &["zeek/"]);
    let mut soar = subscribed(port, "soar", &[]);
    soar.send_text(&message("/netcontrol/x", &json_event("terminate")));
    soar.read_text();
    soar.send_text(&message(
        "zeek/control/x",
        &json_event("NetControl::add_rule"),
    ));
    soar.read_text();
    soar.send_text(&message(
        "/netcontrol/x",
        &json_event("NetControl::add_rule"),
    ));
    let first = asked.recv_timeout(DEADLINE).unwrap().unwrap();
    let broker::zeek::Message::Event(event) = broker::zeek::Message::parse(first.view()) else {
        panic!("{:?}", first.view())
    };
    assert_eq!(event.name(), b"NetControl::add_rule");
    // Their filters went up to Zeek, and nothing wider did.
    eventually("Zeek knows what is wanted", || {
        let wanted = zeek.peer_subscriptions();
        ["/notices/", "zeek/logs/"]
            .iter()
            .all(|topic| wanted.contains(&(*topic).into()))
    });
    assert!(!zeek.peer_subscriptions().contains(&"".into()));
    let event = EventBuilder::new("x").argument(&1u64);
    for topic in [
        "zeek/logs/conn",
        "zeek/logs/dns",
        "/notices/x",
        "zeek/control/x",
    ] {
        zeek.publish(topic, &event).unwrap();
    }
    for topic in ["zeek/logs/conn", "zeek/logs/dns", "/notices/x"] {
        assert!(siem.read_text().contains(&format!(r#""topic":"{topic}""#)));
    }
    assert!(
        researcher
            .read_text()
            .contains(r#""topic":"zeek/logs/dns""#)
    );
}

#[test]
fn a_new_policy_takes_rights_away_at_once_and_gives_them_back() {
    let (endpoint, port) = gateway();
    let mut siem = subscribed(port, "siem", &["zeek/logs/", "/notices/"]);
    let mut soar = subscribed(port, "soar", &[]);
    let mut researcher = subscribed(port, "researcher", &[""]);
    let narrow = POLICY
        .replace(
            "subscribe = [\"zeek/logs/\", \"/notices/\"]",
            "subscribe = [\"/notices/\"]",
        )
        .replace("publish = [\"/netcontrol/\"]", "publish = [\"/nothing/\"]")
        .replace("[principals.researcher]\nroles = [\"reader\"]\n", "");
    endpoint.set_policy(&with_tokens(&narrow)).unwrap();
    let (code, _, texts) = researcher.read_close();
    assert_eq!(code, 1008);
    assert!(texts.last().unwrap().contains("acl_denied"), "{texts:?}");
    soar.send_text(&message(
        "/netcontrol/x",
        &json_event("NetControl::add_rule"),
    ));
    assert!(soar.read_text().contains("acl_denied"));
    let wants = |topic: &str| {
        let mut all = endpoint.stats().consumers.into_iter();
        all.any(|it| {
            it.topics
                .iter()
                .any(|known| known.as_bytes() == topic.as_bytes())
        })
    };
    eventually("the filter is narrower", || !wants("zeek/logs/"));
    endpoint.publish("zeek/logs/conn", &1u64).unwrap();
    endpoint.publish("/notices/x", &2u64).unwrap();
    assert!(siem.read_text().contains("/notices/x"));
    endpoint.set_policy(&with_tokens(POLICY)).unwrap();
    eventually("the filter is as it was", || wants("zeek/logs/"));
    endpoint.publish("zeek/logs/conn", &3u64).unwrap();
    assert!(siem.read_text().contains("zeek/logs/conn"));
    soar.send_text(&message(
        "/netcontrol/x",
        &json_event("NetControl::add_rule"),
    ));
    soar.send_text(&data("/nothing/", 1));
    assert!(
        soar.read_text().contains("/nothing/"),
        "the first of both is allowed again"
    );
    // A token that is gone ends its session; storms of policies change nothing for others.
    for _ in 0..100 {
        endpoint.set_policy(&with_tokens(&narrow)).unwrap();
        endpoint.set_policy(&with_tokens(POLICY)).unwrap();
    }
    let mut options = with_tokens(POLICY);
    options.policy = PolicyFile::parse(POLICY, "policy.toml").unwrap().policy;
    endpoint.set_policy(&options).unwrap();
    assert_eq!(soar.read_close().0, 1008);
}

#[test]
fn a_token_that_ends_takes_its_session_along() {
    let now = Timestamp::try_from(std::time::SystemTime::now()).unwrap();
    let mut policy = Policy::default();
    let mut role = broker::policy::Role::default();
    role.allow.publish.add(b"/a");
    policy.add_role("r", role).unwrap();
    policy.add_principal("siem", ["r"]).unwrap();
    let token = |ns: i64| broker::policy::Token {
        principal: "siem".into(),
        digest: secret("siem").digest(),
        expires: Some(Timestamp::from_ns(ns)),
    };
    let mut over = policy.clone();
    over.add_token("t", token(now.ns())).unwrap();
    let (endpoint, port) = gateway_with(PolicyOptions {
        policy: over,
        ..PolicyOptions::default()
    });
    assert_eq!(status(port, &authorization("siem")), 401);
    policy
        .add_token("t", token(now.ns() + 3_000_000_000))
        .unwrap();
    let options = PolicyOptions {
        policy,
        ..PolicyOptions::default()
    };
    endpoint.set_policy(&options).unwrap();
    // On a machine that is busy for seconds it is over before it is there.
    let mut client = Client::dial(port);
    client.send(request(&authorization("siem")).as_bytes());
    let head = client.read_head();
    if head.starts_with("HTTP/1.1 101 ") {
        client.send_text("[]");
        let (code, _, texts) = client.read_close();
        assert_eq!(code, 1008);
        assert!(texts.last().unwrap().contains("have ended"), "{texts:?}");
    }
}

#[test]
fn limits_hold_messages_back_refuse_them_or_end_the_connection() {
    let limited = |limits: &str| {
        let limits = format!("[roles.talker]\nlimits = {{ {limits} }}");
        gateway_with(with_tokens(&POLICY.replace("[roles.talker]", &limits)))
    };
    let (_endpoint, port) = limited("message_bytes_max = 20");
    let mut client = subscribed(port, "anonymous", &[]);
    let text = |size: usize| {
        message(
            "/chat/",
            &format!(r#"{{"@data-type":"string","data":"{}"}}"#, "x".repeat(size)),
        )
    };
    client.send_text(&text(21));
    assert!(client.read_text().contains("acl_denied"));
    let (_endpoint, port) = limited("message_bytes_max = 20, on_limit = \"end\"");
    let mut client = subscribed(port, "anonymous", &[]);
    client.send_text(&text(21));
    assert_eq!(client.read_close().0, 1008);
    let (_endpoint, port) = limited("denials_max = 3");
    let mut client = subscribed(port, "anonymous", &[]);
    for _ in 0..3 {
        client.publish("/other", 1);
    }
    let (code, _, texts) = client.read_close();
    assert_eq!((code, texts.len()), (1008, 3));
    // One bucket for all connections of a principal: messages wait, and come in order.
    let (endpoint, port) = limited("messages_per_second = 20");
    let all = endpoint.subscriber(["/chat/"]).unwrap();
    let begin = std::time::Instant::now();
    let mut clients = [0, 1].map(|_| subscribed(port, "anonymous", &[]));
    for number in 0..15 {
        for client in &mut clients {
            client.publish("/chat/", number);
        }
    }
    for _ in 0..30 {
        assert!(all.recv_timeout(DEADLINE).unwrap().is_some());
    }
    assert!(
        begin.elapsed() >= Duration::from_millis(499),
        "{:?}",
        begin.elapsed()
    );
    // Too many topics.
    let mut client = connect(port, "researcher");
    client.send_text(r#"["a","b","c","d"]"#);
    assert_eq!(client.read_close().0, 1008);
}

// --- HTTP ---------------------------------------------------------------------------------------

fn get(port: u16, path: &str, fields: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{fields}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    (status.unwrap_or_default(), answer)
}

#[test]
fn requests_are_answered_as_the_decision_says() {
    let (endpoint, _) = gateway();
    let policy = with_tokens(POLICY).policy;
    for name in ["blocked", "hidden"] {
        endpoint.attach_master(name, Backend::Memory).unwrap();
    }
    let options = HttpOptions {
        samples: true,
        web_socket: Some(WebSocketOptions::default()),
        ..HttpOptions::default()
    };
    let port = endpoint.serve_http("127.0.0.1", 0, options).wait().unwrap();
    for path in ["/", "/page.js", "/healthz", "/readyz"] {
        assert_eq!(get(port, path, "").0, 200, "{path}");
    }
    for principal in PRINCIPALS {
        for path in [
            "/metrics",
            "/v1/status/json",
            "/v1/stats",
            "/v1/peers",
            "/v1/events",
            "/v1/stores/blocked",
            "/v1/stores/hidden",
            "/v1/stores/hi%64den",
            "/v1/topics/%2Fnotices%2Fx/sample?seconds=0",
            "/v1/topics/%2Fchat%2F/sample?seconds=0",
        ] {
            let (bare, _) = path.split_once('?').unwrap_or((path, ""));
            let http = Request::Http {
                path: bare.as_bytes(),
            };
            let behind = match bare {
                "/v1/stores/blocked" => Some(Request::Store {
                    name: b"blocked",
                    operation: Operation::Read,
                }),
                path if path.starts_with("/v1/stores/") => Some(Request::Store {
                    name: b"hidden",
                    operation: Operation::Read,
                }),
                "/v1/topics/%2Fnotices%2Fx/sample" => Some(Request::Subscribe {
                    topic: b"/notices/x",
                }),
                path if path.starts_with("/v1/topics/") => {
                    Some(Request::Subscribe { topic: b"/chat/" })
                }
                _ => None,
            };
            let is_allowed = [Some(http), behind]
                .into_iter()
                .flatten()
                .all(|it| decide(&policy, principal, &it).is_allowed());
            let (status, answer) = get(port, path, &authorization(principal));
            if is_allowed {
                assert!(
                    ![401, 403].contains(&status),
                    "{principal} {path}: {answer}"
                );
            } else {
                assert_eq!(status, 403, "{principal} {path}: {answer}");
                assert!(answer.contains(r#""code":"acl_denied""#), "{answer}");
            }
        }
    }
    let (status, metrics) = get(port, "/metrics", &authorization("siem"));
    assert_eq!(status, 200);
    let line = r#"broker_policy_decisions_total{principal="siem",decision="deny"}"#;
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(get(port, "/metrics", "Authorization: Bearer x\r\n").0, 401);
    // Clients on the same port bring the same tokens.
    subscribed(port, "siem", &["/notices/"]);
    let both = HttpOptions {
        token: Some("x".to_owned()),
        ..HttpOptions::default()
    };
    let error = endpoint
        .serve_http("127.0.0.1", 0, both)
        .wait()
        .unwrap_err();
    assert!(error.to_string().contains("exclude each other"), "{error}");
}

// --- the record ---------------------------------------------------------------------------------

#[test]
fn decisions_are_recorded_without_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut options = with_tokens(POLICY);
    options.audit.file = Some(path.clone());
    let (endpoint, port) = gateway_with(options);
    let mut client = subscribed(port, "anonymous", &["", "/secret"]);
    for _ in 0..5 {
        client.send_text(&message(
            "/other",
            r#"{"@data-type":"string","data":"hunter2"}"#,
        ));
        client.read_text();
    }
    assert_eq!(status(port, "Authorization: Bearer hunter3\r\n"), 401);
    endpoint.shutdown().wait();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("hunter"), "{text}");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = |principal: &str, action: &str, resource: &str, decision: &str| -> u64 {
        lines
            .iter()
            .filter(|it| it["principal"] == principal && it["action"] == action)
            .filter(|it| it["resource"] == resource && it["decision"] == decision)
            .map(|it| it["count"].as_u64().unwrap())
            .sum()
    };
    assert_eq!(count("anonymous", "connect", "", "allow"), 1, "{text}");
    assert_eq!(
        count("anonymous", "subscribe", "/secret", "deny"),
        1,
        "{text}"
    );
    assert_eq!(count("anonymous", "publish", "/other", "deny"), 5, "{text}");
    assert_eq!(count("", "connect", "", "deny"), 1, "{text}");
    assert!(
        lines.iter().all(|it| it["address"] == "127.0.0.1"),
        "{text}"
    );
}

#[test]
fn nothing_is_published_while_the_record_cannot_be_written() {
    // Always full.
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    for (failure, is_refused) in [(AuditFailure::Closed, true), (AuditFailure::Open, false)] {
        let mut options = with_tokens(POLICY);
        options.audit.file = Some(full.to_owned());
        options.audit.failure = failure;
        let (endpoint, port) = gateway_with(options);
        let all = endpoint.subscriber(["/chat/"]).unwrap();
        // Connecting is recorded, which fails.
        let mut client = subscribed(port, "anonymous", &["/chat/a"]);
        if !is_refused {
            client.publish("/chat/x", 1);
            let got = all.recv_timeout(DEADLINE).unwrap().unwrap();
            assert_eq!(got.value(), Value::Count(1));
            continue;
        }
        let count = || endpoint.policy_counts()["anonymous"];
        let publish = |client: &mut Client| {
            let before = count();
            client.publish("/chat/x", 1);
            eventually("it is judged", || count() != before);
            count().allowed > before.allowed
        };
        eventually("publishing is refused", || !publish(&mut client));
        let told = client.read_text();
        assert!(
            told.contains("acl_denied") && told.contains("not possible now"),
            "{told}"
        );
        // With another file it goes on.
        let folder = tempfile::tempdir().unwrap();
        let mut options = with_tokens(POLICY);
        options.audit.file = Some(folder.path().join("audit"));
        endpoint.set_policy(&options).unwrap();
        eventually("publishing goes on", || publish(&mut client));
    }
}
