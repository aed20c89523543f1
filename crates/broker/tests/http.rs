//! Metrics, status and health over real sockets: what is told, to whom, and what strangers cost.
#![cfg(feature = "status")]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[path = "http/entries.rs"]
mod entries;
#[path = "http/hostile.rs"]
mod hostile;
#[path = "machine/ports.rs"]
mod ports;
#[path = "http/samples.rs"]
mod samples;
#[path = "http/stream.rs"]
mod stream;
#[path = "http/together.rs"]
mod together;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use broker::{Backend, CloneOptions, Endpoint, HttpOptions, Options, Retry, Value};
use ports::reserved_port;
use serde_json::Value as Json;

/// Only ends a test that hangs.
const DEADLINE: Duration = Duration::from_secs(60);

fn endpoint() -> Endpoint {
    Endpoint::builder().disable_ssl(true).build().unwrap()
}

fn serve(endpoint: &Endpoint, options: HttpOptions) -> u16 {
    endpoint.serve_http("127.0.0.1", 0, options).wait().unwrap()
}

/// An answer to a request.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Json {
        assert!(self.head.contains("application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends bytes as they are and reads to the end.
fn exchange(port: u16, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    Answer {
        status: status.unwrap_or_default(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

fn request(port: u16, method: &str, path: &str, fields: &str) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{fields}\r\n"
    );
    exchange(port, head.as_bytes())
}

fn get(port: u16, path: &str) -> Answer {
    request(port, "GET", path, "")
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: never");
        std::thread::yield_now();
    }
}

/// The value of one sample.
fn sample(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn connect(from: &Endpoint, to: &Endpoint) {
    let port = to.listen("127.0.0.1", 0).wait().unwrap();
    from.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    assert!(to.await_peer(from.id(), DEADLINE).wait());
}

#[test]
fn metrics_count_what_flows() {
    let (here, there) = (endpoint(), endpoint());
    let subscriber = here.subscriber(["/t"]).unwrap();
    connect(&there, &here);
    let _master = here.attach_master("books", Backend::Memory).unwrap();
    let (port, far) = (
        serve(&here, HttpOptions::default()),
        serve(&there, HttpOptions::default()),
    );
    for number in 0..100_u64 {
        there.publish("/t", &Value::Count(number)).unwrap();
    }
    for _ in 0..100 {
        subscriber.recv().unwrap();
    }
    // A connection counts what it handed on once per buffer, which may be a moment later.
    eventually("all are counted", || here.stats().processed.data == 100);
    let answer = get(port, "/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let text = &answer.body;
    let peer = format!("{{peer=\"{}\"", there.id());
    for (name, value) in [
        ("broker_connections{type=\"native\"}", 1),
        ("broker_connections{type=\"web-socket\"}", 0),
        ("broker_processed_messages_total{type=\"data\"}", 100),
        (&format!("broker_peer_received_messages_total{peer}"), 100),
        (&format!("broker_peer_dropped_messages_total{peer}"), 0),
        ("broker_consumer_sent_messages_total{", 100),
        ("broker_consumer_waiting_messages{", 0),
        ("broker_store_entries{name=\"books\"}", 0),
        ("broker_store_working{name=\"books\",role=\"master\"}", 1),
        ("broker_published_messages_total", 0),
    ] {
        assert_eq!(sample(text, name), Some(value), "{name} in\n{text}");
    }
    assert!(sample(text, &format!("broker_peer_received_bytes_total{peer}")).unwrap() > 100);
    for line in [
        "# HELP broker_connections Number of active network connections.",
        "# TYPE broker_connections gauge",
        "# HELP broker_processed_messages_total Total number of processed messages.",
        "# TYPE broker_processed_messages_total counter",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    assert!(!text.contains("# EOF"));
    // The other side, where they were published and sent.
    let text = get(far, "/metrics").body;
    let sent = "broker_peer_sent_messages_total{";
    assert_eq!(sample(&text, "broker_published_messages_total"), Some(100));
    assert_eq!(sample(&text, sent), Some(100), "{text}");
}

#[test]
fn which_side_connected_and_how_often_is_told() {
    let (here, there) = (endpoint(), endpoint());
    let port = here.listen("127.0.0.1", 0).wait().unwrap();
    for _ in 0..3 {
        there.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
        assert!(here.await_peer(there.id(), DEADLINE).wait());
        let told = [&here, &there].map(|it| {
            let peer = it.stats().peers[0].clone();
            (peer.direction.name(), peer.reconnects)
        });
        if told == [("incoming", 2), ("outgoing", 2)] {
            let text = get(serve(&here, HttpOptions::default()), "/metrics").body;
            let name = format!("broker_peer_reconnects_total{{peer=\"{}\"", there.id());
            assert_eq!(sample(&text, &name), Some(2), "{text}");
            assert!(text.contains("direction=\"incoming\"} 2"), "{text}");
            return;
        }
        there.unpeer("127.0.0.1", port).wait();
        eventually("the peer is gone", || here.peers().is_empty());
    }
    panic!("{:?} and {:?}", here.stats().peers, there.stats().peers);
}

#[test]
fn handshakes_that_fail_are_counted_by_reason() {
    let here = endpoint();
    let port = here.listen("127.0.0.1", 0).wait().unwrap();
    let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stranger.write_all(&[0, 0, 0, 1, 99]).unwrap();
    let failed = here.peer("127.0.0.1", reserved_port(), Retry::Never).wait();
    failed.unwrap_err();
    eventually("both are counted", || {
        let counted = here.stats().handshake_failures;
        (counted.protocol, counted.unreachable) == (1, 1)
    });
    let port = serve(&here, HttpOptions::default());
    let text = get(port, "/metrics").body;
    for (reason, count) in [("protocol", 1), ("unreachable", 1), ("version", 0)] {
        let name = format!("broker_handshake_failures_total{{reason=\"{reason}\"}}");
        assert_eq!(sample(&text, &name), Some(count), "{text}");
    }
}

#[test]
fn what_is_lost_is_counted_also_of_those_who_left() {
    let options = Options {
        disable_ssl: true,
        capacity: broker::Capacity {
            messages_max: 4,
            ..broker::Capacity::default()
        },
        stall_limit: Duration::ZERO,
        subscriber_overflow: broker::Overflow::DropNewest,
        ..Options::default()
    };
    let here = Endpoint::builder().options(options).build().unwrap();
    let hub = here.hub(["/t"]).unwrap();
    for number in 0..10_u64 {
        here.publish("/t", &Value::Count(number)).unwrap();
    }
    let stats = here.stats();
    let queue = stats.consumers[0].queue;
    assert!(queue.dropped > 0 && queue.stalls == 1, "{queue:?}");
    assert_eq!(stats.drops.overflow, queue.dropped);
    drop(hub);
    assert_eq!(here.stats().drops, stats.drops);
    let text = get(serve(&here, HttpOptions::default()), "/metrics").body;
    let name = "broker_dropped_messages_total{reason=\"overflow\"}";
    assert_eq!(sample(&text, name), Some(queue.dropped));
}

#[test]
fn the_most_bytes_that_waited_are_told_after_they_were_taken() {
    let here = endpoint();
    let hub = here.hub(["/t"]).unwrap();
    for size in [10_000, 1_000] {
        let text = "x".repeat(size);
        for _ in 0..3 {
            here.publish("/t", text.as_str()).unwrap();
        }
        for _ in 0..3 {
            hub.subscriber().recv().unwrap();
        }
    }
    let queue = here.stats().consumers[0].queue;
    assert_eq!((queue.waiting_messages, queue.waiting_bytes), (0, 0));
    assert_eq!(queue.waiting_messages_max, 3);
    let most = queue.waiting_bytes_max;
    assert!((30_000..31_000).contains(&most), "{most}");
    let port = serve(&here, HttpOptions::default());
    let text = get(port, "/metrics").body;
    let name = "broker_consumer_waiting_bytes_max{";
    assert_eq!(sample(&text, name), Some(most), "{text}");
    let told = &get(port, "/v1/stats").json()["subscribers"][0]["queue"];
    assert_eq!(told["waiting-bytes-max"], most);
}

#[test]
fn operations_on_stores_are_counted_by_kind() {
    let (here, there) = (endpoint(), endpoint());
    let master = here.attach_master("books", Backend::Memory).unwrap();
    connect(&there, &here);
    let clone = there
        .attach_clone("books", CloneOptions::default())
        .unwrap();
    // What is there before a clone is there comes to it as a whole.
    assert_eq!(clone.get("a").unwrap(), None);
    master.put("a", &1_u64).unwrap();
    master.put("b", &1_u64).unwrap();
    let unique = master.put_unique("a", &2_u64, None).unwrap();
    assert!(!unique.wait().unwrap());
    master.increment("a", &2_u64).unwrap();
    master.decrement("a", &1_u64).unwrap();
    clone.erase("b").unwrap();
    // A store in memory is never left out, even while a change is being made.
    let changes = |of: &Endpoint| of.stats().stores[0].state.unwrap().operations.changes;
    eventually("the erasure is there", || changes(&here).erase == 1);
    master.clear().unwrap();
    assert_eq!(master.get("a").unwrap(), None);
    assert!(!master.exists("a").unwrap());
    assert!(master.keys().unwrap().is_empty());
    assert!(master.snapshot().unwrap().is_empty());
    assert_eq!(master.len().unwrap(), 0);
    let text = get(serve(&here, HttpOptions::default()), "/metrics").body;
    for (operation, count) in [
        ("get", 1),
        ("exists", 1),
        ("keys", 1),
        ("snapshot", 1),
        ("size", 1),
        ("put", 2),
        ("put-unique", 1),
        ("erase", 1),
        ("expire", 0),
        ("add", 1),
        ("subtract", 1),
        ("clear", 1),
    ] {
        let name = format!(
            "broker_store_operations_total{{name=\"books\",role=\"master\",operation=\"{operation}\"}}"
        );
        assert_eq!(sample(&text, &name), Some(count), "{name} in\n{text}");
    }
    // What its master made of it: sums are puts.
    let port = serve(&there, HttpOptions::default());
    eventually("the clone has them all", || changes(&there).clear == 1);
    let told = &get(port, "/v1/stats").json()["stores"][0]["operations"];
    assert_eq!(
        (&told["put"], &told["erase"]),
        (&4.into(), &1.into()),
        "{told}"
    );
}

#[test]
fn a_program_has_its_own_counters_told() {
    let here = endpoint();
    here.add_counter("broker_program_alerts", "Alerts that were raised.", || 7)
        .unwrap();
    let port = serve(&here, HttpOptions::default());
    let text = get(port, "/metrics").body;
    for line in [
        "# HELP broker_program_alerts_total Alerts that were raised.",
        "# TYPE broker_program_alerts_total counter",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    assert_eq!(
        sample(&text, "broker_program_alerts_total"),
        Some(7),
        "{text}"
    );
    let program = &get(port, "/v1/stats").json()["program"];
    assert_eq!(program["broker_program_alerts"], 7);
}

#[test]
fn the_standard_format_comes_on_request() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    let accept = "Accept: application/openmetrics-text; version=1.0.0,text/plain;q=0.5\r\n";
    let answer = request(port, "GET", "/metrics", accept);
    assert!(
        answer.head.contains("application/openmetrics-text"),
        "{}",
        answer.head
    );
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    assert!(
        answer
            .body
            .contains("# TYPE broker_processed_messages counter\n")
    );
}

#[test]
fn the_status_has_the_keys_of_the_original() {
    let (here, there) = (endpoint(), endpoint());
    let _subscriber = here.subscriber(["/t"]).unwrap();
    let _master = here.attach_master("books", Backend::Memory).unwrap();
    connect(&there, &here);
    let port = serve(&here, HttpOptions::default());
    let status = get(port, "/v1/status/json").json();
    assert_eq!(status["id"], here.id().to_string());
    for key in ["cluster-node", "time"] {
        assert!(status[key].is_string(), "{key} in {status}");
    }
    assert_eq!(status["native-connections"], 1);
    assert_eq!(status["local-subscribers"], 1);
    for key in [
        "web-socket-connections",
        "local-publishers",
        "published-via-async-msg",
    ] {
        assert_eq!(status[key], 0, "{key}");
    }
    for kind in ["data", "command", "routing_update", "ping", "pong"] {
        assert!(
            status["message-metrics"][kind]["processed"].is_u64(),
            "{kind}"
        );
    }
    let ways = &status["peerings"][there.id().to_string()];
    assert!(ways["input"]["requested"].is_u64() && ways["output"]["delivered"].is_u64());
    assert_eq!(status["masters"]["books"]["entries"], 0);
}

#[test]
fn lists_come_in_pages_that_make_the_whole() {
    let here = endpoint();
    let subscribers: Vec<_> = (0..25)
        .map(|number| here.subscriber([format!("/topic/{number}")]).unwrap())
        .collect();
    let port = serve(&here, HttpOptions::default());
    let mut topics = Vec::new();
    let mut path = "/v1/subscribers?limit=10".to_owned();
    let pages = std::iter::from_fn(|| {
        let page = get(port, &path).json();
        assert_eq!(page["total"], 25);
        let list = page["subscribers"].as_array()?.clone();
        topics.extend(
            list.iter()
                .map(|it| it["topics"][0].as_str().unwrap().to_owned()),
        );
        let cursor = page["cursor"].as_str()?;
        path = format!("/v1/subscribers?limit=10&cursor={cursor}");
        Some(list.len())
    });
    assert_eq!(pages.collect::<Vec<_>>(), [10, 10]);
    assert_eq!(topics.len(), subscribers.len());
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), subscribers.len());
    for (wrong, named) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("other=1", "cursor"),
    ] {
        let answer = get(port, &format!("/v1/subscribers?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.body.contains(named), "{}", answer.body);
    }
    for (path, key) in [
        ("/v1/peers", "peers"),
        ("/v1/topics", "topics"),
        ("/v1/stores", "stores"),
        ("/v1/clients", "clients"),
    ] {
        assert!(get(port, path).json()[key].is_array(), "{path}");
    }
}

#[test]
fn topics_that_peers_want_are_counted() {
    let (here, one, other) = (endpoint(), endpoint(), endpoint());
    let _first = one.subscriber(["/a", "/b"]).unwrap();
    let _second = other.subscriber(["/b"]).unwrap();
    connect(&one, &here);
    connect(&other, &here);
    let port = serve(&here, HttpOptions::default());
    let topics = get(port, "/v1/topics").json();
    let expected =
        serde_json::json!([{ "topic": "/a", "peers": 1 }, { "topic": "/b", "peers": 2 }]);
    assert_eq!(topics["topics"], expected);
}

#[test]
fn what_does_not_work_is_said() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    for path in ["/healthz", "/readyz"] {
        let answer = get(port, path);
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &"ok".into()),
            "{path}"
        );
    }
    let _clone = here.attach_clone("books", CloneOptions::default()).unwrap();
    let answer = get(port, "/readyz");
    assert_eq!(answer.status, 503);
    let reason = answer.json()["reasons"][0].as_str().unwrap().to_owned();
    assert!(
        reason.contains("`books`") && reason.contains("no master"),
        "{reason}"
    );
    assert_eq!(get(port, "/healthz").status, 200);
}

#[test]
fn a_place_that_cannot_be_written_makes_an_endpoint_not_ready() {
    let here = endpoint();
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = HttpOptions {
        // Below a file there can be nothing.
        writes: vec![file.path().join("recordings")],
        ..HttpOptions::default()
    };
    let answer = get(serve(&here, options), "/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("cannot be written"), "{}", answer.body);
    let options = HttpOptions {
        writes: vec![file.path().to_owned()],
        ..HttpOptions::default()
    };
    assert_eq!(get(serve(&here, options), "/readyz").status, 200);
}

#[test]
fn an_address_that_could_not_be_had_makes_an_endpoint_not_ready() {
    let (here, other) = (endpoint(), endpoint());
    let port = serve(&here, HttpOptions::default());
    let taken = other.listen("127.0.0.1", 0).wait().unwrap();
    here.listen("127.0.0.1", taken).wait().unwrap_err();
    let answer = get(port, "/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains(&taken.to_string()), "{}", answer.body);
    let free = here.listen("127.0.0.1", 0).wait().unwrap();
    assert_eq!(get(port, "/readyz").status, 200);
    let listeners = get(port, "/v1/stats").json()["listeners"].clone();
    let told: Vec<_> = listeners.as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{listeners}");
    let peers = told.iter().find(|it| it["kind"] == "peers").unwrap();
    assert_eq!(
        (&peers["address"], &peers["port"]),
        (&"127.0.0.1".into(), &free.into())
    );
}

#[test]
fn only_scripts_of_listed_origins_may_read_answers() {
    let here = endpoint();
    let options = HttpOptions {
        origins: vec!["https://dashboard.example".to_owned()],
        token: Some("secret".to_owned()),
        ..HttpOptions::default()
    };
    let port = serve(&here, options);
    for (origin, is_listed) in [
        ("https://dashboard.example", true),
        ("https://dashboard.example.evil.example", false),
        ("http://dashboard.example", false),
        ("null", false),
    ] {
        let token = "Authorization: Bearer secret\r\n";
        let head = request(
            port,
            "GET",
            "/v1/peers",
            &format!("Origin: {origin}\r\n{token}"),
        )
        .head;
        let allowed = format!("access-control-allow-origin: {origin}");
        assert_eq!(head.contains(&allowed), is_listed, "{head}");
        assert!(head.contains("vary: origin"), "{head}");
        // What a browser asks before it sends the token.
        let fields = format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n");
        let answer = request(port, "OPTIONS", "/v1/peers", &fields);
        assert_eq!(answer.status == 204, is_listed, "{}", answer.head);
        let fields = "access-control-allow-headers: authorization";
        assert_eq!(answer.head.contains(fields), is_listed, "{}", answer.head);
    }
    // Who may read answers still needs the token.
    let answer = request(
        port,
        "GET",
        "/v1/peers",
        "Origin: https://dashboard.example\r\n",
    );
    assert_eq!(answer.status, 401);
}

#[test]
fn wrong_requests_are_told_so() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    assert_eq!(get(port, "/nothing").status, 404);
    let answer = request(port, "POST", "/metrics", "");
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get"), "{}", answer.head);
    assert_eq!(exchange(port, b"\x16\x03\x01 hello\r\n\r\n").status, 400);
    // More than a head may have: refused, whatever is behind it.
    let field = format!("X: {}\r\n", "x".repeat(64 * 1024));
    assert_eq!(request(port, "GET", "/metrics", &field).status, 431);
}

#[test]
fn on_loopback_only_names_of_this_machine_are_served() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1", 200),
        ("127.8.8.8:99", 200),
        ("[::1]:99", 200),
        ("rebound.example", 421),
        ("localhost.rebound.example", 421),
        ("10.0.0.1", 421),
        ("", 421),
    ] {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(exchange(port, head.as_bytes()).status, status, "{host}");
    }
    let head = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(port, head).status, 421);
}

#[test]
fn a_token_is_asked_for() {
    let here = endpoint();
    let options = HttpOptions {
        token: Some("secret".to_owned()),
        ..HttpOptions::default()
    };
    assert!(!format!("{options:?}").contains("secret"));
    let port = serve(&here, options);
    for (field, status) in [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Bearer secrets\r\n", 401),
        ("Authorization: Basic secret\r\n", 401),
        ("Authorization: Bearer secret\r\n", 200),
    ] {
        let answer = request(port, "GET", "/metrics", field);
        assert_eq!(answer.status, status, "{field}");
        let asks = answer.head.contains("www-authenticate: bearer");
        assert_eq!(asks, status == 401, "{}", answer.head);
    }
    assert_eq!(get(port, "/healthz").status, 200);
}

#[test]
fn answers_are_for_nobody_else() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    for path in ["/metrics", "/nothing"] {
        let head = get(port, path).head;
        for field in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(field), "{field} in {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
    }
}

#[test]
fn strangers_that_say_nothing_give_their_places_back() {
    let here = endpoint();
    let options = HttpOptions {
        connections_max: 2,
        ..HttpOptions::default()
    };
    let port = serve(&here, options);
    let strangers: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"GET /metrics HT").unwrap();
            stream
        })
        .collect();
    // Waits until one of them is cut off.
    assert_eq!(get(port, "/healthz").status, 200);
    drop(strangers);
}

#[test]
fn the_server_ends_with_its_endpoint() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    let mut open = TcpStream::connect(("127.0.0.1", port)).unwrap();
    open.set_read_timeout(Some(DEADLINE)).unwrap();
    here.shutdown().wait();
    let mut rest = Vec::new();
    // The end of the stream, or a reset.
    let _ = open.read_to_end(&mut rest);
    assert!(rest.is_empty());
    eventually("the port is free", || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    let late = here.serve_http("127.0.0.1", 0, HttpOptions::default());
    assert!(matches!(late.wait(), Err(broker::Error::ShutDown)));
}

#[test]
fn a_server_that_cannot_be_is_an_error() {
    let (here, options) = (endpoint(), HttpOptions::default());
    let port = serve(&here, options.clone());
    let taken = here.serve_http("127.0.0.1", port, options).wait();
    let error = taken.unwrap_err().to_string();
    assert!(error.contains(&port.to_string()), "{error}");
    let options = HttpOptions {
        token: Some(String::new()),
        ..HttpOptions::default()
    };
    let empty = here.serve_http("127.0.0.1", 0, options).wait();
    assert!(empty.unwrap_err().to_string().contains("`token`"));
}

#[test]
fn an_option_starts_the_server_with_the_endpoint() {
    let port = reserved_port();
    let options = Options {
        disable_ssl: true,
        metrics: HttpOptions {
            port: Some(port),
            ..HttpOptions::default()
        },
        ..Options::default()
    };
    let here = Endpoint::builder().options(options).build().unwrap();
    let stats = get(port, "/v1/stats").json();
    assert_eq!(stats["id"], here.id().to_string());
    let told: Json = serde_json::from_str(&here.stats_json()).unwrap();
    for key in stats.as_object().unwrap().keys() {
        assert!(told.get(key).is_some(), "{key}");
    }
}
