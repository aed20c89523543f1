//! WebSocket clients over real sockets: requests, sessions, delivery, limits, endings.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

#[path = "websocket/client.rs"]
mod client;
#[path = "websocket/frames.rs"]
mod frames;
#[path = "machine/ports.rs"]
mod ports;
#[path = "websocket/recorded.rs"]
mod recorded;

use std::time::{Duration, Instant};

use broker::{
    Endpoint, Event, Options, Overflow, Retry, StatusCode, Value, WebSocketOptions, WebSocketTls,
};
use client::{
    BINARY, CLOSE, Client, DEADLINE, FIN, PING, PONG, Received, TEXT, data, eventually, request,
};
use ports::reserved_port;

fn plain() -> WebSocketOptions {
    WebSocketOptions {
        tls: WebSocketTls::Disabled,
        ..WebSocketOptions::default()
    }
}

fn endpoint() -> Endpoint {
    Endpoint::builder().disable_ssl(true).build().unwrap()
}

/// An endpoint that serves clients.
fn server() -> (Endpoint, u16) {
    server_with(plain())
}

fn server_with(options: WebSocketOptions) -> (Endpoint, u16) {
    let endpoint = endpoint();
    let port = endpoint
        .listen_ws_with("127.0.0.1", 0, options)
        .wait()
        .unwrap();
    (endpoint, port)
}

/// Peers two endpoints; both know it when this returns.
fn connect(from: &Endpoint, to: &Endpoint) {
    let port = to.listen("127.0.0.1", 0).wait().unwrap();
    from.peer("127.0.0.1", port, Retry::Never).wait().unwrap();
    assert!(to.await_peer(from.id(), DEADLINE).wait());
}

fn await_subscription(endpoint: &Endpoint, topic: &str) {
    eventually("a peer wants the topic", || {
        let topics = endpoint.peer_subscriptions();
        topics
            .iter()
            .any(|known| known.as_bytes() == topic.as_bytes())
    });
}

// --- requests -----------------------------------------------------------------------------------

#[test]
fn a_request_is_answered_as_the_original_does() {
    let (_endpoint, port) = server();
    let (_client, head) = Client::connect_with(port, "");
    assert_eq!(
        head,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
}

#[test]
fn requests_that_are_refused_get_a_text_once() {
    let (endpoint, port) = server();
    let good = request("");
    let long = request(&format!("X-Long: {}\r\n", "x".repeat(2048)));
    let cases: &[(String, u16, &str)] = &[
        (
            good.replace("/json", "/xml"),
            400,
            r#"caf::sec::invalid_argument("invalid path; try /v1/messages/json")"#,
        ),
        (
            good.replace("Sec-WebSocket-Key", "Other"),
            400,
            "Mandatory field Sec-WebSocket-Key missing or invalid.",
        ),
        (
            good.replace("GET", "POST"),
            400,
            "Expected a WebSocket handshake.",
        ),
        (good.replace("GET", "BREW"), 400, "Invalid HTTP method."),
        (
            good.replace(" /v1", " v1"),
            400,
            "Malformed Request-URI: expected an absolute path.",
        ),
        (
            good.replace("/json", "/\u{7f}"),
            400,
            "Malformed Request-URI.",
        ),
        (
            good.replace("Host:", "Host"),
            400,
            "Malformed header fields.",
        ),
        (long, 431, "Header exceeds maximum size."),
        (
            good.replace(" 13", " 8"),
            426,
            "Unsupported WebSocket version; try 13.",
        ),
        (
            "\x16\x03\x01\x02\x00\x01\x00".to_owned(),
            400,
            "Invalid HTTP method.",
        ),
    ];
    for (request, status, text) in cases {
        let mut client = Client::dial(port);
        client.send(request.as_bytes());
        let answer = client.read_all();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(head.contains("Content-Type: text/plain\r\n"), "{answer}");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", text.len())),
            "{answer}"
        );
        assert_eq!(body, *text, "once");
    }
    assert_eq!(endpoint.web_socket_refusals(), cases.len() as u64);
}

#[test]
fn strangers_that_say_nothing_are_given_up() {
    // Short, and yet long enough for those that do say something on a busy machine.
    let options = Options {
        disable_ssl: true,
        handshake_timeout: Duration::from_secs(1),
        pending_connections_max: 2,
        ..Options::default()
    };
    let endpoint = Endpoint::builder().options(options).build().unwrap();
    let short = WebSocketOptions {
        subscription_timeout: Duration::from_secs(1),
        ..plain()
    };
    let port = endpoint
        .listen_ws_with("127.0.0.1", 0, short)
        .wait()
        .unwrap();
    let mut silent = vec![Client::dial(port)];
    silent[0].send(b"GET / HT");
    silent.extend((1..4).map(|_| Client::dial(port)));
    for client in &mut silent {
        assert!(client.read_all().starts_with("HTTP/1.1 408 "));
    }
    let mut undecided = Client::connect(port);
    let (code, reason, before) = undecided.read_close();
    assert_eq!((code, &*reason), (1008, "no subscription came in time"));
    assert!(
        before[0].contains(r#""code":"deserialization_failed""#),
        "{before:?}"
    );
    // The places are free again.
    Client::subscribed(port, &[]);
}

#[test]
fn what_comes_with_the_request_is_handled() {
    let (endpoint, port) = server();
    let messages = endpoint.subscriber(["/a"]).unwrap();
    let mut client = Client::dial(port);
    let mut bytes = request("").into_bytes();
    bytes.extend(client::frame(FIN | TEXT, b"[]"));
    bytes.extend(client::frame(FIN | TEXT, data("/a", 1).as_bytes()));
    client.send(&bytes);
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    assert!(client.read_text().contains("ack"));
    let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(message.value(), Value::Count(1));
}

#[test]
fn scripts_of_other_origins_are_refused() {
    let (_endpoint, port) = server_with(WebSocketOptions {
        origins: Some(vec!["https://ours.example".to_owned()]),
        ..plain()
    });
    Client::connect(port);
    Client::connect_with(port, "Origin: https://ours.example\r\n");
    let mut client = Client::dial(port);
    client.send(request("Origin: https://theirs.example\r\n").as_bytes());
    assert!(client.read_all().starts_with("HTTP/1.1 403 "));
}

#[test]
fn names_of_applications_are_checked_and_counted() {
    let (endpoint, port) = server();
    let (mut client, _) = Client::connect_with(port, "X-Application-Name: tests/1\r\n");
    client.subscribe(&[]);
    client.publish("/a", 1);
    client.send_text("nonsense");
    client.read_text();
    let counts = endpoint.web_socket_counts();
    let ours = counts.get("tests/1").unwrap();
    assert_eq!((ours.clients, ours.received, ours.refused), (1, 1, 1));

    let (mut client, _) = Client::connect_with(port, "X-Application-Name: a b\r\n");
    let (code, reason, before) = client.read_close();
    assert_eq!((code, &*reason), (1008, "Invalid X-Application-Name"));
    assert_eq!(
        before,
        [concat!(
            r#"{"type":"error","code":"invalid_application_name","#,
            r#""context":"Invalid X-Application-Name"}"#
        )]
    );
}

#[test]
fn clients_beyond_the_limit_are_refused() {
    let (_endpoint, port) = server_with(WebSocketOptions {
        clients_max: 1,
        ..plain()
    });
    let first = Client::subscribed(port, &[]);
    let mut second = Client::dial(port);
    second.send(request("").as_bytes());
    let answer = second.read_all();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After"), "{answer}");
    drop(first);
    eventually("the place is free", || {
        let mut third = Client::dial(port);
        third.send(request("").as_bytes());
        third.read_head().starts_with("HTTP/1.1 101 ")
    });
}

#[test]
fn the_rate_of_connections_is_limited() {
    let (_endpoint, port) = server_with(WebSocketOptions {
        connects_per_second_max: 10,
        ..plain()
    });
    let begin = Instant::now();
    for _ in 0..15 {
        Client::connect(port);
    }
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_server_starts_with_its_endpoint() {
    let port = reserved_port();
    let other = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let options = || Options {
        disable_ssl: true,
        web_socket: WebSocketOptions {
            port: Some(port),
            address: "127.0.0.1".to_owned(),
            ..WebSocketOptions::default()
        },
        ..Options::default()
    };
    let taken = Endpoint::builder().options(options()).build();
    assert!(matches!(taken, Err(broker::Error::Listen { .. })));
    drop(other);
    let _endpoint = Endpoint::builder().options(options()).build().unwrap();
    Client::subscribed(port, &[]);
}

// --- sessions -----------------------------------------------------------------------------------

#[test]
fn the_acknowledgement_names_endpoint_and_version() {
    let (endpoint, port) = server();
    let mut client = Client::connect(port);
    client.send_text(" [\"/a\", \"\\u002fb\", \"/a\", \"\"]\r\n");
    assert_eq!(
        client.read_text(),
        format!(
            r#"{{"type":"ack","endpoint":"{}","version":"2.8.0"}}"#,
            endpoint.id()
        )
    );
}

#[test]
fn a_first_message_that_is_no_filter_is_answered() {
    let (_endpoint, port) = server();
    for text in ["hello", r#"{"a":1}"#, r#"["a",1]"#] {
        let mut client = Client::connect(port);
        client.send_text(text);
        let (code, reason, before) = client.read_close();
        assert_eq!(
            (code, &*reason),
            (1008, "first message must contain a filter")
        );
        let start = concat!(
            r#"{"type":"error","code":"deserialization_failed","#,
            r#""context":"first message must contain a filter"#
        );
        assert!(before[0].starts_with(start), "{before:?}");
    }
}

#[test]
fn refused_messages_are_counted_from_one_and_the_rest_goes_on() {
    let (endpoint, port) = server();
    let messages = endpoint.subscriber(["/a"]).unwrap();
    let mut client = Client::subscribed(port, &["/a"]);
    let bad = [
        "{",
        "[]",
        r#"{"topic":"/a"}"#,
        r#"{"topic":"/a","@data-type":"count","data":"1"}"#,
        r#"{"@data-type":"none"}"#,
        r#"{"topic":"<$>/local/data/errors","@data-type":"none"}"#,
        r#"{"topic":"s/<$>/data/master","@data-type":"none"}"#,
    ];
    for (index, text) in bad.iter().enumerate() {
        client.publish("/a", index as u64);
        client.send_text(text);
        let error = client.read_text();
        let start = format!(
            r#"{{"type":"error","code":"deserialization_failed","context":"input #{} "#,
            2 * index + 2
        );
        assert!(error.starts_with(&start), "{text}: {error}");
        let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(message.value(), Value::Count(index as u64));
    }
}

#[test]
fn binary_frames_with_text_are_fine() {
    let (endpoint, port) = server();
    let messages = endpoint.subscriber(["/a"]).unwrap();
    let mut client = Client::connect(port);
    client.send_frame(FIN | BINARY, b"[]");
    client.read_text();
    client.send_frame(FIN | BINARY, data("/a", 7).as_bytes());
    let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(message.value(), Value::Count(7));
    let bad = data("/a", 8)
        .replace('8', "\"\u{e9}\"")
        .replace("count", "string");
    let latin: Vec<u8> = bad.chars().map(|c| u8::try_from(c).unwrap()).collect();
    client.send_frame(FIN | BINARY, &latin);
    let error = client.read_text();
    assert!(
        error.contains("input #2 contained malformed JSON"),
        "{error}"
    );
    client.send_frame(FIN | BINARY, data("/a", 9).as_bytes());
    let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(message.value(), Value::Count(9));
}

#[test]
fn a_subprotocol_selects_the_form_without_loss() {
    let (endpoint, port) = server();
    let field = "Sec-WebSocket-Protocol: chat, broker-json-v1-lossless\r\n";
    let (mut client, head) = Client::connect_with(port, field);
    assert!(
        head.contains("Sec-WebSocket-Protocol: broker-json-v1-lossless\r\n"),
        "{head}"
    );
    client.subscribe(&["/a"]);
    let mut plain = Client::subscribed(port, &["/a"]);
    let time = broker::Timestamp::from_ns(1_500_000_000_123_456_789);
    endpoint.publish("/a", &time).unwrap();
    let text = |time| {
        format!(
            r#"{{"type":"data-message","topic":"/a","@data-type":"timestamp","data":"{time}"}}"#
        )
    };
    assert_eq!(client.read_text(), text("2017-07-14T02:40:00.123456789"));
    assert_eq!(plain.read_text(), text("2017-07-14T02:40:00.123"));
}

// --- who gets what ------------------------------------------------------------------------------

#[test]
fn a_client_hears_everybody_but_itself_and_everybody_hears_it() {
    let (endpoint, port) = server();
    let peer = self::endpoint();
    let at_peer = peer.subscriber(["/t"]).unwrap();
    connect(&peer, &endpoint);
    await_subscription(&endpoint, "/t");
    let here = endpoint.subscriber(["/t"]).unwrap();
    let hub = endpoint.hub(["/t"]).unwrap();
    let mut one = Client::subscribed(port, &["/t"]);
    let mut other = Client::subscribed(port, &["/t/x", ""]);
    // The empty prefix covers all others in a filter.
    await_subscription(&peer, "");

    one.publish("/t/x", 1);
    assert_eq!(other.read_text(), data("/t/x", 1));
    for subscriber in [&here, hub.subscriber(), &at_peer] {
        let message = subscriber.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(
            (message.topic(), message.value()),
            (&b"/t/x"[..], Value::Count(1))
        );
    }
    endpoint.publish("/t/x", &2u64).unwrap();
    hub.publish("/t/x", &3u64).unwrap();
    for number in [2, 3] {
        assert_eq!(one.read_text(), data("/t/x", number), "never its own");
        assert_eq!(other.read_text(), data("/t/x", number));
    }
    peer.publish("/t/x", &4u64).unwrap();
    assert_eq!(one.read_text(), data("/t/x", 4));
    assert_eq!(other.read_text(), data("/t/x", 4));
}

#[test]
fn without_forwarding_clients_are_not_heard_by_peers() {
    let endpoint = Endpoint::builder()
        .disable_ssl(true)
        .disable_forwarding(true)
        .build()
        .unwrap();
    let port = endpoint.listen_ws("127.0.0.1", 0).wait().unwrap();
    let peer = self::endpoint();
    let at_peer = peer.subscriber(["/t"]).unwrap();
    connect(&peer, &endpoint);
    await_subscription(&endpoint, "/t");
    let here = endpoint.subscriber(["/t"]).unwrap();
    let mut client = Client::subscribed(port, &["/t"]);
    client.publish("/t", 1);
    assert_eq!(
        here.recv_timeout(DEADLINE).unwrap().unwrap().value(),
        Value::Count(1)
    );
    endpoint.publish("/t", &2u64).unwrap();
    assert_eq!(
        at_peer.recv_timeout(DEADLINE).unwrap().unwrap().value(),
        Value::Count(2)
    );
    await_subscription(&peer, "/t");
    peer.publish("/t", &3u64).unwrap();
    assert_eq!(client.read_text(), data("/t", 2));
    assert_eq!(client.read_text(), data("/t", 3));
}

#[test]
fn topics_of_the_endpoint_are_not_shown() {
    let (endpoint, port) = server();
    let mut client = Client::subscribed(port, &["", "<$>", "<$>/local/data/statuses"]);
    // Makes status events.
    let _other = Client::subscribed(port, &["/x"]);
    endpoint.publish("<$>/mine", &1u64).unwrap();
    endpoint.publish("/t", &2u64).unwrap();
    assert_eq!(client.read_text(), data("/t", 2));
    let filter = endpoint.filter();
    assert!(
        filter
            .iter()
            .all(|topic| !topic.as_bytes().starts_with(b"<")),
        "{filter:?}"
    );
}

#[test]
fn events_tell_of_clients() {
    let (endpoint, port) = server();
    let events = endpoint.status_subscriber(true).unwrap();
    let next = || match events.recv_timeout(DEADLINE).unwrap() {
        Some(Event::Status(status)) => status,
        other => panic!("expected a status, got {other:?}"),
    };
    let mut client = Client::subscribed(port, &["/t"]);
    let address = client.stream.local_addr().unwrap();
    let (discovered, added) = (next(), next());
    assert_eq!(discovered.code, StatusCode::EndpointDiscovered);
    assert_eq!(added.code, StatusCode::PeerAdded);
    assert!(added.text.contains("web-socket"), "{added:?}");
    let (found, peer) = (discovered.context.unwrap(), added.context.unwrap());
    assert_eq!((found.id, &found.network), (peer.id, &None));
    assert_ne!(peer.id, Some(endpoint.id()));
    let network = peer.network.unwrap();
    assert_eq!(
        (&*network.host, network.port),
        ("127.0.0.1", address.port())
    );

    client.send_frame(FIN | CLOSE, &1000u16.to_be_bytes());
    assert_eq!(client.read(CLOSE), 1000u16.to_be_bytes());
    let (lost, unreachable) = (next(), next());
    assert_eq!(lost.code, StatusCode::PeerLost);
    assert_eq!(unreachable.code, StatusCode::EndpointUnreachable);
    assert_eq!(lost.context.unwrap().id, peer.id);

    // One that never subscribes makes no events.
    drop(Client::connect(port));
    let mut client = Client::subscribed(port, &[]);
    assert_eq!(next().code, StatusCode::EndpointDiscovered);
    assert_eq!(next().code, StatusCode::PeerAdded);
    // Our own doing is no loss.
    client.send(&client::unmasked(FIN | TEXT, b"[]"));
    client.read_close();
    assert_eq!(next().code, StatusCode::PeerRemoved);
    assert_eq!(next().code, StatusCode::EndpointUnreachable);
}

#[test]
fn many_clients_get_the_same_in_order() {
    const MESSAGES: u64 = 2000;
    let (endpoint, port) = server();
    let clients: Vec<_> = (0..16).map(|_| Client::subscribed(port, &["/t"])).collect();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    assert_eq!(client.read_text(), data("/t", number));
                }
            })
        })
        .collect();
    for number in 0..MESSAGES {
        endpoint.publish("/t", &number).unwrap();
    }
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(endpoint.web_socket_counts()["unknown"].sent, 16 * MESSAGES);
}

#[test]
fn what_a_peer_sends_in_bulk_reaches_clients_of_both_forms_in_order() {
    const MESSAGES: u64 = 20_000;
    let (endpoint, port) = server();
    let field = "Sec-WebSocket-Protocol: broker-json-v1-lossless\r\n";
    let mut readers = Vec::new();
    for extra in ["", field, "", field] {
        let (mut client, _) = Client::connect_with(port, extra);
        client.subscribe(&["/t/odd", "/t/even"]);
        readers.push(std::thread::spawn(move || {
            for number in 0..MESSAGES {
                let topic = ["/t/even", "/t/odd"][usize::from(number % 3 == 1)];
                assert_eq!(client.read_text(), data(topic, number));
            }
        }));
    }
    let peer = self::endpoint();
    connect(&peer, &endpoint);
    for number in 0..MESSAGES {
        let topic = ["/t/even", "/t/odd"][usize::from(number % 3 == 1)];
        peer.publish(topic, &number).unwrap();
    }
    for reader in readers {
        reader.join().unwrap();
    }
}

// --- limits and endings -------------------------------------------------------------------------

#[test]
fn a_client_that_does_not_listen_is_told_and_holds_nobody_up() {
    let (endpoint, port) = server_with(WebSocketOptions {
        buffer_size: 512,
        ..plain()
    });
    let events = endpoint.status_subscriber(true).unwrap();
    let mut deaf = Client::subscribed(port, &["/t"]);
    let mut other = Client::subscribed(port, &["/other", "/t/small"]);
    let large = "x".repeat(64 * 1024);
    let begin = Instant::now();
    let mut sent = 0;
    while endpoint.web_socket_counts()["unknown"].overflowed == 0 {
        endpoint.publish("/t", &large).unwrap();
        sent += 1;
        assert!(
            begin.elapsed() < DEADLINE,
            "never cut off after {sent} messages"
        );
    }
    endpoint.publish("/other", &1u64).unwrap();
    assert_eq!(other.read_text(), data("/other", 1));
    let (code, reason, before) = deaf.read_close();
    assert_eq!(code, 1013);
    assert_eq!(reason, "the client does not take its messages fast enough");
    let last = before.last().unwrap();
    assert!(
        last.starts_with(r#"{"type":"error","code":"backpressure_overflow""#),
        "{last}"
    );
    assert!(
        before.len() > 1 && before.len() <= sent,
        "what was on its way arrives"
    );
    let counts = endpoint.web_socket_counts()["unknown"];
    assert_eq!(counts.clients, 1);
    assert!(counts.dropped > 0);
    let codes: Vec<_> = std::iter::from_fn(|| events.recv_timeout(DEADLINE).unwrap())
        .map(|event| match event {
            Event::Status(status) => (status.code, status.text),
            // Its end is told as an end, and not as a loss too.
            Event::Error(fault) => panic!("{fault}"),
        })
        .skip(4)
        .take(2)
        .collect();
    assert_eq!(codes[0].0, StatusCode::PeerRemoved);
    assert!(codes[0].1.contains("backpressure_overflow"), "{codes:?}");
    assert_eq!(codes[1].0, StatusCode::EndpointUnreachable);
}

#[test]
fn messages_may_be_dropped_instead() {
    let (endpoint, port) = server_with(WebSocketOptions {
        buffer_size: 8,
        overflow: Overflow::DropOldest,
        ..plain()
    });
    let events = endpoint.status_subscriber(false).unwrap();
    let mut client = Client::subscribed(port, &["/t"]);
    let large = "x".repeat(256 * 1024);
    // Far more than sockets buffer.
    for number in 0..200u64 {
        endpoint.publish("/t", &(number, &*large)).unwrap();
    }
    endpoint.publish("/t", &200u64).unwrap();
    let last = data("/t", 200);
    let mut read = 0;
    while client.read_text() != last {
        read += 1;
    }
    assert!(read < 200, "some are lost, the last are not");
    let Some(Event::Error(fault)) = events.recv_timeout(DEADLINE).unwrap() else {
        panic!("a loss is told")
    };
    // The new ones are not what is lost here.
    assert!(
        fault.text.ends_with("the oldest are being dropped"),
        "{}",
        fault.text
    );
    let loss = |count| broker::Loss {
        count,
        topics: vec!["/t".to_owned()],
        reason: "drop_oldest".to_owned(),
    };
    assert_eq!(fault.loss, Some(loss(None)));
    // What was not told for being too soon after something else is told at the end.
    drop(client);
    let mut told = 0;
    while told < endpoint.web_socket_counts()["unknown"].dropped {
        let Some(Event::Error(fault)) = events.recv_timeout(DEADLINE).unwrap() else {
            panic!("{told} of all are told")
        };
        let loss = fault.loss.unwrap();
        assert_eq!(loss.reason, "drop_oldest");
        told += loss.count.unwrap_or(0);
    }
    assert_eq!(told, endpoint.web_socket_counts()["unknown"].dropped);
}

#[test]
fn a_message_that_is_too_large_ends_the_connection() {
    let (endpoint, port) = server_with(WebSocketOptions {
        message_bytes_max: 1000,
        ..plain()
    });
    let messages = endpoint.subscriber(["/t"]).unwrap();
    let mut client = Client::subscribed(port, &[]);
    client.publish("/t", 1);
    client.send_frame(FIN | TEXT, &[b' '; 1001]);
    assert_eq!(client.read_close().0, 1009);
    assert!(messages.recv_timeout(DEADLINE).unwrap().is_some());
    // In pieces, too.
    let mut client = Client::subscribed(port, &[]);
    client.send_frame(TEXT, &[b' '; 600]);
    client.send_frame(FIN | client::CONTINUATION, &[b' '; 600]);
    assert_eq!(client.read_close().0, 1009);
    // And what is only announced.
    let mut client = Client::subscribed(port, &[]);
    client.send(&client::header(FIN | TEXT, usize::MAX >> 1, 0x80));
    client.send(&[0; 4]);
    assert_eq!(client.read_close().0, 1009);
}

#[test]
fn strangers_cannot_send_large_messages() {
    let (_endpoint, port) = server();
    let mut client = Client::connect(port);
    client.send(&client::header(FIN | TEXT, 1024 * 1024, 0x80));
    client.send(&[0; 4]);
    assert_eq!(client.read_close().0, 1009);
}

#[test]
fn a_client_without_a_sign_of_life_is_given_up_if_it_must_give_one() {
    let (endpoint, port) = server_with(WebSocketOptions {
        ping_interval: Duration::from_millis(100),
        // Long enough that an answer comes in time on a busy machine.
        ping_timeout: Duration::from_secs(2),
        ..plain()
    });
    let mut silent = Client::subscribed(port, &[]);
    assert_eq!(silent.read(PING), b"");
    let mut alive = Client::subscribed(port, &["/t"]);
    let answering = std::thread::spawn(move || {
        while let Received::Frame { first, payload } = alive.receive() {
            if first == FIN | PING {
                alive.send_frame(FIN | PONG, &payload);
            }
        }
    });
    let close = loop {
        match silent.receive() {
            Received::Frame { first, payload } if first == FIN | CLOSE => break payload,
            Received::Frame { .. } => {}
            Received::End => panic!("no close frame"),
        }
    };
    assert_eq!(close[..2], 1011u16.to_be_bytes());
    eventually("only one is left", || {
        endpoint.web_socket_counts()["unknown"].clients == 1
    });
    endpoint.shutdown().wait();
    answering.join().unwrap();
}

#[test]
fn a_client_may_leave_pings_unanswered() {
    let (endpoint, port) = server_with(WebSocketOptions {
        ping_interval: Duration::from_millis(20),
        ..plain()
    });
    let messages = endpoint.subscriber(["/t"]).unwrap();
    let mut client = Client::subscribed(port, &[]);
    for number in 0..10 {
        assert_eq!(client.read(PING), b"");
        // Most of the time not even a message says that it is there.
        if number % 3 == 0 {
            client.publish("/t", number);
            let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
            assert_eq!(message.value(), Value::Count(number));
        }
    }
    assert_eq!(endpoint.web_socket_counts()["unknown"].clients, 1);
}

/// Which timer the system has for the server's side of a connection. `2` is the one that probes
/// whether the other side is still there.
#[cfg(target_os = "linux")]
fn timer(server: u16, client: u16) -> Option<u8> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = port(fields[1]) == Some(server) && port(fields[2]) == Some(client);
        is_it.then(|| u8::from_str_radix(&fields[5][..2], 16).unwrap())
    })
}

#[test]
#[cfg(target_os = "linux")]
fn the_system_looks_after_silent_clients() {
    let (_endpoint, port) = server();
    let client = Client::subscribed(port, &[]);
    let own = client.stream.local_addr().unwrap().port();
    eventually("it is probed", || timer(port, own) == Some(2));
}

#[test]
fn what_is_dropped_is_counted_at_once() {
    let (endpoint, port) = server_with(WebSocketOptions {
        buffer_size: 8,
        overflow: Overflow::DropNewest,
        ping_interval: Duration::ZERO,
        ..plain()
    });
    let client = Client::subscribed(port, &["/t"]);
    let large = "x".repeat(256 * 1024);
    // Far more than sockets buffer.
    for _ in 0..200 {
        endpoint.publish("/t", &large).unwrap();
    }
    let before = endpoint.web_socket_counts()["unknown"].dropped;
    assert!(before > 0);
    for _ in 0..100 {
        endpoint.publish("/t", &large).unwrap();
    }
    let dropped = endpoint.web_socket_counts()["unknown"].dropped;
    assert!(dropped > before);
    // It stays when the client goes, and is not counted twice.
    drop(client);
    eventually("the client is gone", || {
        endpoint.web_socket_counts()["unknown"].clients == 0
    });
    let after = endpoint.web_socket_counts()["unknown"].dropped;
    assert!(after >= dropped && after <= 300);
}

/// One of several attempts takes less than the limit.
///
/// On a busy machine any one of them may be slow. What waits for a time that it need not wait for
/// is slow in all.
fn quick(limit: Duration, mut attempt: impl FnMut() -> Duration) {
    let mut taken = Vec::new();
    while taken.last().is_none_or(|took| *took >= limit) {
        assert!(taken.len() < 5, "not once within {limit:?}: {taken:?}");
        taken.push(attempt());
    }
}

#[test]
fn a_shutdown_says_goodbye_after_what_was_published() {
    quick(Duration::from_secs(4), shut_down_with_clients);
}

/// How long a shutdown takes with clients that say goodbye as well.
fn shut_down_with_clients() -> Duration {
    let (endpoint, port) = server();
    let mut client = Client::subscribed(port, &["/t"]);
    let mut undecided = Client::connect(port);
    for number in 0..100u64 {
        endpoint.publish("/t", &number).unwrap();
    }
    let begin = Instant::now();
    let shutdown = endpoint.shutdown();
    let (code, reason, before) = client.read_close();
    assert_eq!((code, &*reason), (1001, "Terminating"));
    assert_eq!(before.len(), 100);
    assert_eq!(undecided.read_close().0, 1001);
    shutdown.wait();
    let took = begin.elapsed();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    took
}

#[test]
fn a_shutdown_does_not_wait_for_clients_that_do_not_answer() {
    quick(Duration::from_secs(4), || {
        let (endpoint, port) = server();
        let _deaf: Vec<_> = (0..8).map(|_| Client::subscribed(port, &["/t"])).collect();
        let begin = Instant::now();
        endpoint.shutdown().wait();
        begin.elapsed()
    });
}

#[test]
fn connections_that_break_leave_nothing_behind() {
    let (endpoint, port) = server();
    for round in 0..20 {
        let mut client = Client::subscribed(port, &["/t"]);
        match round % 4 {
            0 => client.half_close(),
            1 => client.send(&client::header(FIN | TEXT, 100, 0x80)),
            2 => client.send_frame(TEXT, b"{\"topic\""),
            _ => {}
        }
    }
    eventually("all clients are gone", || {
        let counts = endpoint.web_socket_counts()["unknown"];
        counts.subscribed == 20 && counts.clients == 0
    });
    let mut client = Client::subscribed(port, &["/t"]);
    endpoint.publish("/t", &1u64).unwrap();
    assert_eq!(client.read_text(), data("/t", 1));
}
