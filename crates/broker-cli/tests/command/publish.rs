//! `broker pub`.

use std::io::Write;
use std::process::Stdio;

use broker::zeek::Message;
use broker::{Subscriber, Value};
use rustix::process::Signal;

use crate::process::{DEADLINE, Peer, Running, command, run_with_input};

fn take(messages: &Subscriber, count: usize) -> Vec<String> {
    let next = |_| messages.recv_timeout(DEADLINE).unwrap().unwrap();
    let texts = (0..count).map(next);
    texts
        .map(|message| broker_cli::literal::to_text(&message.value()))
        .collect()
}

#[test]
fn publishes_values_in_order_as_often_as_asked_for() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/t"]).unwrap();
    let ended = peer.run(&["pub", "/t", "5c", "-5", "[a, 10.0.0.1]", "-n", "2"]);
    assert_eq!(ended.expect(0).err, "");
    let once = ["5c", "-5", "[\"a\", 10.0.0.1]"];
    assert_eq!(take(&messages, 6), [once, once].concat());
}

#[test]
fn publishes_an_event() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/t"]).unwrap();
    peer.run(&["pub", "/t", "--event", "Demo::ping", "hello", "3c"])
        .expect(0);
    let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    let Message::Event(event) = Message::parse(message.view()) else {
        panic!("{message:?}");
    };
    assert_eq!(event.name(), b"Demo::ping");
    let arguments = vec![Value::from("hello"), Value::Count(3)];
    assert_eq!(event.arguments().to_value(), Value::Vector(arguments));
}

#[test]
fn publishes_the_lines_of_standard_input() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/t"]).unwrap();
    let mut command = peer.command(&["pub", "/t", "--stdin", "--drain"]);
    run_with_input(&mut command, "1c\n\n\"two\"\n[3]").expect(0);
    assert_eq!(take(&messages, 3), ["1c", "\"two\"", "[3]"]);
    let mut command = peer.command(&["pub", "/t", "--stdin", "--event", "e"]);
    run_with_input(&mut command, "1c, a\n").expect(0);
    assert_eq!(take(&messages, 1), ["[1c, 1c, [\"e\", [1c, \"a\"]]]"]);
}

#[test]
fn what_sub_prints_as_json_can_be_published_again() {
    let peer = Peer::plain();
    let sub = peer.start(&["sub", "/a", "--json", "-n", "1"]);
    let value = Value::String(b"\xff\n".to_vec().into());
    peer.endpoint.publish("/a", &value).unwrap();
    let json = sub.end().expect(0).out;
    let messages = peer.endpoint.subscriber(["/b"]).unwrap();
    let mut command = peer.command(&["pub", "/b", "--stdin=json"]);
    run_with_input(&mut command, &json).expect(0);
    let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(message.value(), value);
}

#[test]
fn a_wrong_line_is_named() {
    let peer = Peer::plain();
    let mut command = peer.command(&["pub", "/t", "--stdin"]);
    let ended = run_with_input(&mut command, "1\n[1 2]\n").expect(2);
    assert!(ended.err.contains("line 2 of standard input"), "{ended:?}");
    assert!(ended.err.contains("   ^"), "{ended:?}");
    let mut command = peer.command(&["pub", "/t", "--stdin=json"]);
    run_with_input(&mut command, "{}\n").expect(2);
}

#[test]
fn values_come_from_files_and_from_standard_input() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/t"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("value.txt");
    std::fs::write(&path, "{443/tcp}\n").unwrap();
    let file = format!("@{}", path.display());
    let mut command = peer.command(&["pub", "/t", &file, "-"]);
    run_with_input(&mut command, "none\n").expect(0);
    assert_eq!(take(&messages, 2), ["{443/tcp}", "none"]);
}

#[test]
fn waits_for_a_subscriber_where_asked_for_and_warns_otherwise() {
    let peer = Peer::plain();
    let ended = peer.run(&["pub", "/t", "1"]).expect(0);
    assert!(ended.err.contains("no peer is subscribed"), "{ended:?}");
    peer.await_peer();
    let waiting = peer.start(&["pub", "/t", "1", "--wait-for-subscriber"]);
    let messages = peer.endpoint.subscriber(["/t"]).unwrap();
    waiting.end().expect(0);
    assert_eq!(take(&messages, 1), ["1"]);
}

#[test]
fn a_rate_spreads_messages() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/t"]).unwrap();
    let started = std::time::Instant::now();
    peer.run(&["pub", "/t", "1", "-n", "6", "--rate", "20/s"])
        .expect(0);
    assert!(started.elapsed() >= std::time::Duration::from_millis(250));
    assert_eq!(take(&messages, 6).len(), 6);
}

#[test]
fn a_peer_that_takes_nothing_is_named_by_drain() {
    let mut node = Running::start(&mut command(&[
        "node",
        "--listen",
        "127.0.0.1:0",
        "--topic",
        "/t",
        "--no-tls",
    ]));
    let port = node
        .says("listening")
        .rsplit_once("port=")
        .unwrap()
        .1
        .to_owned();
    let taking = Peer::plain();
    let messages = taking.endpoint.subscriber(["/t"]).unwrap();
    let arguments = ["pub", "/t", "--stdin", "--drain", "--timeout", "300ms"];
    let mut publishing = taking.command(&arguments);
    publishing.args(["-u", &format!("127.0.0.1:{port}")]);
    let mut publishing = Running::start(publishing.stdin(Stdio::piped()));
    let input = publishing.input.as_mut().unwrap();
    input.write_all(b"0\n").unwrap();
    // It is connected to both now.
    assert_eq!(take(&messages, 1), ["0"]);
    node.stop();
    input.write_all(b"1\n").unwrap();
    let ended = publishing.end().expect(1);
    assert!(
        ended
            .err
            .contains(&format!("not taken by 127.0.0.1:{port}")),
        "{ended:?}"
    );
    node.signal(Signal::CONT);
}
