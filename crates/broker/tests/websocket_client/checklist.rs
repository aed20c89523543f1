//! The checklist for clients of Zeek's server, item by item. Spec: websocket 6.

use std::thread;
use std::time::Duration;

use broker::{ErrorCode, Retry, StatusCode, Value, WebSocketPeerOptions};

use crate::script::{ACK, FIN, PING, PONG, Script, TEXT, data};
use crate::{endpoint, endpoint_with, expect_status, failure, joined, next, next_fault};

#[test]
fn item_1_connects_with_a_name_and_without_subprotocols() {
    let script = Script::listen();
    let endpoint = endpoint_with(WebSocketPeerOptions {
        application: Some("my-app/1.0".to_owned()),
        ..WebSocketPeerOptions::default()
    });
    let (served, _) = joined(&endpoint, &script);
    let start = "GET /v1/messages/json HTTP/1.1\r\n";
    assert!(served.request.starts_with(start), "{}", served.request);
    let field = |name| served.field(name);
    assert_eq!(field("X-Application-Name").as_deref(), Some("my-app/1.0"));
    assert_eq!(field("Host"), Some(format!("127.0.0.1:{}", script.port)));
    assert_eq!(field("Sec-WebSocket-Version").as_deref(), Some("13"));
    assert_eq!(field("Sec-WebSocket-Protocol"), None);
    assert_eq!(field("Sec-WebSocket-Extensions"), None);
    assert_eq!(field("Origin"), None);
}

#[test]
fn item_2_subscribes_and_waits_for_the_acknowledgement() {
    let script = Script::listen();
    let endpoint = endpoint();
    let _subscriber = endpoint.subscriber(["/b", "/a", "/b/c"]).unwrap();
    let mut peering = endpoint.peer_url(&script.url(), Retry::Never);
    let mut served = script.accept();
    assert_eq!(served.read_text(), r#"["/a","/b"]"#);
    // As long as a server may take whose backend is slow; nobody is a peer before.
    assert!(peering.wait_timeout(Duration::from_millis(200)).is_none());
    assert!(endpoint.peers().is_empty());
    served.send_text(ACK);
    peering.wait().unwrap();
    let peers = endpoint.peers();
    assert_eq!(peers[0].network.host, script.url());
    assert_eq!(peers[0].network.port, script.port);
}

#[test]
fn item_3_answers_pings() {
    let script = Script::listen();
    let endpoint = endpoint();
    let (mut served, topics) = joined(&endpoint, &script);
    assert_eq!(topics, "[]");
    for payload in [&b""[..], b"ping", &[0xfe; 125]] {
        served.send_frame(FIN | PING, payload);
        assert_eq!(served.read(PONG), payload);
    }
    // Also between the pieces of a message.
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let (mut served, _old) = (renewed(&script, &mut served), served);
    let text = data("/t", 7);
    let (start, end) = text.as_bytes().split_at(20);
    served.send_frame(TEXT, start);
    served.send_frame(FIN | PING, b"between");
    assert_eq!(served.read(PONG), b"between");
    served.send_frame(FIN, end);
    assert_eq!(next(&subscriber), ("/t".to_owned(), Value::Count(7)));
}

/// Goes through a renewal as a server; the new line.
pub(crate) fn renewed(script: &Script, old: &mut crate::script::Served) -> crate::script::Served {
    let mut next = script.accept();
    old.answer_ping();
    next.read_text();
    next.send_text(ACK);
    assert_eq!(old.read_close(), 1000);
    next
}

#[test]
fn item_4_publishes_values_of_exact_types() {
    let script = Script::listen();
    let endpoint = endpoint();
    let (mut served, _) = joined(&endpoint, &script);
    let values = [
        (Value::Count(1), r#""@data-type":"count","data":1"#),
        (Value::Integer(1), r#""@data-type":"integer","data":1"#),
        (Value::Real(1.0), r#""@data-type":"real","data":1.0"#),
    ];
    for (value, written) in values {
        endpoint.publish("/t", &value).unwrap();
        let expected = format!(r#"{{"type":"data-message","topic":"/t",{written}}}"#);
        assert_eq!(served.read_text(), expected);
    }
    // What belongs to the endpoint stays there, and so does what has no topic.
    endpoint.publish("<$>/local/x", &1_u64).unwrap();
    endpoint.publish("store/<$>/data/master", &1_u64).unwrap();
    endpoint.publish("", &1_u64).unwrap();
    endpoint.publish("/last", &2_u64).unwrap();
    assert_eq!(served.read_text(), data("/last", 2));
}

#[test]
fn item_5_errors_become_events_that_name_topic_and_cause() {
    let script = Script::listen();
    let endpoint = endpoint();
    let events = endpoint.status_subscriber(false).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    for topic in ["/first", "/second"] {
        endpoint.publish(topic, &1_u64).unwrap();
        served.read_text();
    }
    let mut report = |field: &str, context: &str| {
        served.send_text(&format!(
            r#"{{"type":"error","code":"deserialization_failed","{field}":"{context}"}}"#
        ));
        let fault = next_fault(&events);
        assert_eq!(fault.code, ErrorCode::InvalidData);
        let network = fault.context.unwrap().network.unwrap();
        assert_eq!(network.host, script.url());
        assert!(fault.text.contains(context), "{}", fault.text);
        fault.text
    };
    // A server that counts says which message it was.
    let text = report("context", "input #1 contained invalid data");
    assert!(text.contains("`/first`") && text.contains("deserialization_failed"));
    // One that does not leaves the last message as a hint; one release has another field.
    let text = report("message", "failed to create Zeek event");
    assert!(text.contains("`/second`"), "{text}");
    let text = report("context", "Could not process remote event on topic '/x'");
    assert!(!text.contains("/second"), "{text}");
    // The peering goes on.
    endpoint.publish("/third", &3_u64).unwrap();
    assert_eq!(served.read_text(), data("/third", 3));
}

#[test]
fn item_6_ids_that_are_no_uuid_are_the_same_each_time() {
    let script = Script::listen();
    let mut ids = Vec::new();
    for number in [1, 22] {
        let endpoint = endpoint();
        let peering = endpoint.peer_url(&script.url(), Retry::Never);
        let mut served = script.accept();
        served.read_text();
        served.send_text(&format!(
            r#"{{"type":"ack","endpoint":"zeromq_manager_h_1_x-websocket-{number}","version":"8.0.1"}}"#
        ));
        peering.wait().unwrap();
        let id = endpoint.peers()[0].id;
        assert!(endpoint.await_peer(id, Duration::ZERO).wait());
        ids.push(id);
    }
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn item_6_a_server_that_shuts_down_is_lost() {
    let script = Script::listen();
    let endpoint = endpoint();
    let events = endpoint.status_subscriber(true).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    expect_status(&events, StatusCode::EndpointDiscovered);
    let added = expect_status(&events, StatusCode::PeerAdded);
    assert_eq!(added.context.unwrap().network.unwrap().host, script.url());
    served.send_close(1001, "Terminating");
    assert_eq!(served.read_close(), 1001);
    let lost = expect_status(&events, StatusCode::PeerLost);
    assert_eq!(lost.context.unwrap().network.unwrap().host, script.url());
    expect_status(&events, StatusCode::EndpointUnreachable);
    assert!(endpoint.peers().is_empty());
}

#[test]
fn item_6_endings_are_told() {
    for (code, reason, is_told) in [
        (1000, "EOF", false),
        (1011, "Could not subscribe. Something bad happened!", true),
        (1013, "the client does not take its messages", true),
    ] {
        let script = Script::listen();
        let endpoint = endpoint();
        let events = endpoint.status_subscriber(true).unwrap();
        let (mut served, _) = joined(&endpoint, &script);
        expect_status(&events, StatusCode::EndpointDiscovered);
        expect_status(&events, StatusCode::PeerAdded);
        served.send_close(code, reason);
        if is_told {
            let fault = next_fault(&events);
            assert_eq!(fault.code, ErrorCode::PeerUnavailable);
            assert!(fault.text.contains(reason), "{}", fault.text);
        }
        expect_status(&events, StatusCode::PeerLost);
    }
}

#[test]
fn item_6_a_wrong_path_is_explained() {
    let script = Script::listen();
    let url = script.url().replace("json", "xml");
    let server = thread::spawn(move || {
        let mut served = script.accept();
        assert!(served.request.starts_with("GET /v1/messages/xml "));
        served.send_text(
            r#"{"type":"error","code":"invalid_uri","context":"Invalid URI - use /v1/messages/json"}"#,
        );
        served.send_close(1008, "Invalid URI - use /v1/messages/json");
        while served.receive().is_some() {}
    });
    let error = failure(&endpoint(), &url);
    server.join().unwrap();
    assert!(error.contains("invalid_uri: Invalid URI - use"), "{error}");
}

#[test]
fn item_6_bare_numbers_and_odd_bytes_are_read() {
    let script = Script::listen();
    let endpoint = endpoint();
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    for (written, value) in [("inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY)] {
        served.send_text(&format!(
            r#"{{"type":"data-message","topic":"/t","@data-type":"real","data":{written}}}"#
        ));
        assert_eq!(next(&subscriber).1, Value::Real(value));
    }
    for written in ["nan", "-nan"] {
        served.send_text(&format!(
            r#"{{"type":"data-message","topic":"/t","@data-type":"real","data":{written}}}"#
        ));
        assert!(matches!(next(&subscriber).1, Value::Real(value) if value.is_nan()));
    }
    let mut text =
        br#"{"type":"data-message","topic":"/t","@data-type":"string","data":""#.to_vec();
    text.extend_from_slice(b"a\xff\x01\\v\"}");
    served.send_frame(FIN | TEXT, &text);
    assert_eq!(
        next(&subscriber).1,
        Value::String(broker::ByteString::from(&b"a\xff\x01\x0b"[..]))
    );
}

#[test]
fn item_6_elements_that_lost_their_difference_do_not_cost_the_message() {
    let script = Script::listen();
    let endpoint = endpoint();
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    let time = r#"{"@data-type":"timestamp","data":"2024-01-01T00:00:00.000"}"#;
    served.send_text(&format!(
        r#"{{"type":"data-message","topic":"/t","@data-type":"set","data":[{time},{time}]}}"#
    ));
    let Value::Set(elements) = next(&subscriber).1 else {
        panic!("it is a set")
    };
    assert_eq!(elements.len(), 1);
}

#[test]
fn item_7_what_is_lost_is_not_waited_for() {
    // A server that drops messages does not say so: the next one is simply there.
    let script = Script::listen();
    let endpoint = endpoint();
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    for number in [1, 5, 9] {
        served.send_text(&data("/t", number));
        assert_eq!(next(&subscriber).1, Value::Count(number));
    }
}
