//! `broker bridge`, and links of `broker node`.

use broker::{Endpoint, Subscriber, Value, WebSocketOptions, WebSocketTls};
use rustix::process::Signal;

use crate::process::{DEADLINE, Running, command, run};

/// An endpoint without TLS that everything comes to, and where its server for WebSocket clients and its
/// listener for peers are.
fn site() -> (Endpoint, Subscriber, String, String) {
    let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
    let everything = endpoint.subscriber(["/"]).unwrap();
    let port = endpoint.listen("127.0.0.1", 0).wait().unwrap();
    let options = WebSocketOptions {
        tls: WebSocketTls::Disabled,
        ..WebSocketOptions::default()
    };
    let listening = endpoint.listen_ws_with("127.0.0.1", 0, options);
    let web_socket = listening.wait().unwrap();
    let address = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    (
        endpoint,
        everything,
        address("ws", web_socket),
        address("zeek", port),
    )
}

#[track_caller]
fn comes(messages: &Subscriber, topic: &str, value: i64) {
    let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(
        (message.topic(), message.value()),
        (topic.as_bytes(), Value::from(value))
    );
}

#[test]
fn listed_topics_cross_both_ways_once_whatever_is_spoken() {
    for is_web_socket in [true, false] {
        let (one, at_one, ws_of_one, native_of_one) = site();
        let (two, at_two, ws_of_two, _) = site();
        let url_of_one = if is_web_socket {
            ws_of_one
        } else {
            native_of_one
        };
        let arguments = [
            "bridge",
            &url_of_one,
            &ws_of_two,
            "--topic",
            "/t/",
            "--no-tls",
        ];
        let mut bridge = Running::start(&mut command(&arguments));
        bridge.says("peer_added");
        bridge.says("peer_added");
        for (from, to) in [(&one, &at_two), (&two, &at_one)] {
            from.publish("/other", &Value::Integer(0)).unwrap();
            from.publish("/t/x", &Value::Integer(1)).unwrap();
            from.publish("/t/x", &Value::Integer(2)).unwrap();
            comes(to, "/t/x", 1);
            comes(to, "/t/x", 2);
        }
        // Neither copies nor echoes came meanwhile.
        one.publish("/t/last", &Value::Integer(3)).unwrap();
        comes(&at_two, "/t/last", 3);
        assert!(at_one.try_recv().is_none());
        bridge.signal(Signal::TERM);
        bridge.says("stopped");
        bridge.end().expect(0);
    }
}

#[test]
fn a_link_has_its_own_rules_for_each_direction_and_they_change_while_it_runs() {
    let (one, at_one, ws_of_one, _) = site();
    let (two, at_two, ws_of_two, _) = site();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let write = |import: &str| {
        let text = format!(
            "[[link]]\npeer = \"{ws_of_one}\"\nimport = [\"/alerts\"]\nexport = [\"{import}\"]\n\
             [[link]]\npeer = \"{ws_of_two}\"\nimport = [\"{import}\"]\nexport = [\"/alerts\"]\n",
        );
        std::fs::write(&path, text).unwrap();
    };
    write("/intel");
    let arguments = ["node", "--config", path.to_str().unwrap(), "--no-tls"];
    let mut node = Running::start(&mut command(&arguments));
    node.says("peer_added");
    node.says("peer_added");
    one.publish("/intel", &Value::Integer(1)).unwrap();
    one.publish("/alerts", &Value::Integer(2)).unwrap();
    comes(&at_two, "/alerts", 2);
    two.publish("/alerts", &Value::Integer(3)).unwrap();
    two.publish("/intel", &Value::Integer(4)).unwrap();
    comes(&at_one, "/intel", 4);

    write("/notices");
    node.signal(Signal::HUP);
    node.says("peer_added");
    node.says("peer_added");
    two.publish("/intel", &Value::Integer(5)).unwrap();
    two.publish("/notices", &Value::Integer(6)).unwrap();
    comes(&at_one, "/notices", 6);
    node.signal(Signal::TERM);
    node.end().expect(0);
}

#[test]
fn a_bridge_without_topics_is_refused() {
    let refused = run(&["bridge", "zeek://127.0.0.1:1"]).expect(2);
    assert!(refused.err.contains("--topic"), "{}", refused.err);
}
