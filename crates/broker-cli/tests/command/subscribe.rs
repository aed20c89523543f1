//! `broker sub`.

use std::io::{Read, Write};

use broker::zeek::EventBuilder;
use broker::{Timestamp, Value};
use rustix::process::Signal;

use crate::ports::reserved_port;
use crate::process::{Peer, Running, command};
use crate::schema;

#[test]
fn prints_messages_as_lines_and_ends_after_count() {
    let peer = Peer::plain();
    let mut sub = peer.start(&["sub", "/t", "--header", "-n", "3"]);
    let event = EventBuilder::new("ping").argument("a").argument(&5u64);
    peer.endpoint
        .publish("/t/ping", &event.network_time(Timestamp::EPOCH))
        .unwrap();
    let line = sub.line();
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 27 && time.ends_with('Z'), "{line}");
    assert_eq!(rest, "/t/ping ping(\"a\", 5c) {1c: 1970-01-01T00:00:00Z}");
    peer.endpoint.publish("/other", "not wanted").unwrap();
    peer.endpoint.publish("/t", &(1i64, "x")).unwrap();
    peer.endpoint.publish("/t", &2u64).unwrap();
    peer.endpoint.publish("/t", &3u64).unwrap();
    let ended = sub.end().expect(0);
    assert!(ended.out.contains("/t      [1, \"x\"]"), "{ended:?}");
    assert_eq!(ended.out.lines().count(), 2, "{ended:?}");
}

#[test]
fn json_fits_the_schema_and_loses_nothing() {
    let peer = Peer::plain();
    let sub = peer.start(&["sub", "", "--json", "-n", "3"]);
    let values = [
        Value::String(b"\xff\0".to_vec().into()),
        Value::Timestamp(Timestamp::from_ns(1)),
        Value::Vector(vec![Value::None, Value::Real(f64::NAN)]),
    ];
    for value in &values {
        peer.endpoint.publish("/t", value).unwrap();
    }
    let ended = sub.end().expect(0);
    let lines = ended.json();
    assert_eq!(lines.len(), 3);
    for (line, value) in lines.iter().zip(&values) {
        schema::check("sub", line);
        let text = line.to_string();
        let form = broker::data::json::Form::Lossless;
        let bytes = broker::data::json::from_text(text.as_bytes(), form).unwrap();
        assert_eq!(&broker::data::decode(&bytes).unwrap(), value);
    }
}

#[test]
fn shows_only_what_is_asked_for() {
    let peer = Peer::plain();
    let arguments = [
        "sub",
        "/t",
        "--events",
        "pi*",
        "--where",
        "args[0] > 1",
        "--format",
        "{topic}|{name}|{args[0]}",
        "-n",
        "1",
    ];
    let sub = peer.start(&arguments);
    for (name, number) in [("ping", 1u64), ("pong", 2), ("ping", 3)] {
        let event = EventBuilder::new(name).argument(&number);
        peer.endpoint.publish("/t", &event).unwrap();
    }
    assert_eq!(sub.end().expect(0).out, "/t|ping|3c\n");
}

#[test]
fn raw_frames_are_those_of_the_wire() {
    let peer = Peer::plain();
    let sub = peer.start(&["sub", "/t", "--raw", "-n", "2"]);
    peer.endpoint.publish("/t", "hello").unwrap();
    peer.endpoint.publish("/t", &1u64).unwrap();
    let mut running = sub;
    let mut out = Vec::new();
    running
        .output
        .take()
        .unwrap()
        .read_to_end(&mut out)
        .unwrap();
    running.end().expect(0);
    let mut frames = out.as_slice();
    for payload in [&b"\x05\x05hello"[..], b"\x02\0\0\0\0\0\0\0\x01"] {
        let length = u32::from_be_bytes(frames[..4].try_into().unwrap()) as usize;
        let (frame, rest) = frames[4..].split_at(length);
        assert!(frame.ends_with(&[b"/t", payload].concat()), "{frame:?}");
        frames = rest;
    }
    assert!(frames.is_empty());
}

#[test]
fn stats_count_every_message() {
    let peer = Peer::plain();
    let mut sub = peer.start(&["sub", "/t", "--stats", "--json"]);
    for n in 0..1000u64 {
        peer.endpoint.publish("/t", &n).unwrap();
    }
    loop {
        let line: serde_json::Value = serde_json::from_str(&sub.line()).unwrap();
        schema::check("sub", &line);
        if line["total"] == 1000 {
            break;
        }
    }
    sub.signal(Signal::INT);
    let ended = sub.end().expect(130);
    assert!(ended.err.contains("1000 messages"), "{ended:?}");
}

#[test]
fn says_when_a_peer_is_lost_and_connects_again() {
    let port = reserved_port();
    let peer = Peer::at(true, port);
    let mut sub = peer.start(&["sub", "/t", "--json", "-n", "1"]);
    peer.endpoint.shutdown().wait();
    drop(peer);
    sub.says("connecting again");
    let peer = Peer::at(true, port);
    sub.says("connected again");
    peer.await_peer();
    peer.endpoint.publish("/t", &1u64).unwrap();
    let ended = sub.end().expect(0);
    let lines = ended.json();
    for line in &lines {
        schema::check("sub", line);
    }
    let states: Vec<_> = lines.iter().map(|line| line["state"].clone()).collect();
    assert_eq!(states[..2], ["lost", "restored"]);
    assert_eq!(lines[2]["data"], 1);
}

#[test]
fn a_lost_peer_ends_it_where_asked_for() {
    let peer = Peer::plain();
    let sub = peer.start(&["sub", "/t", "--no-retry"]);
    peer.endpoint.shutdown().wait();
    let ended = sub.end().expect(3);
    assert!(ended.err.contains("lost zeek://127.0.0.1"), "{ended:?}");
}

#[test]
fn the_address_comes_from_the_environment_too() {
    let peer = Peer::plain();
    let mut command = command(&["sub", "/t", "--no-tls", "--timeout", "10s", "-n", "1"]);
    let sub = Running::start(command.env("BROKER_URL", format!("zeek://{}", peer.url)));
    peer.await_peer();
    peer.endpoint.publish("/t", &1u64).unwrap();
    assert!(sub.end().expect(0).out.ends_with("/t 1c\n"));
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let peer = Peer::plain();
    for (color, expected) in [("always", true), ("never", false), ("auto", false)] {
        let sub = peer.start(&["sub", "/t", "-n", "1", "--color", color]);
        peer.endpoint.publish("/t", &1u64).unwrap();
        let ended = sub.end().expect(0);
        assert_eq!(ended.out.contains('\x1b'), expected, "{ended:?}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let peer = Peer::plain();
    let mut sub = peer.start(&["sub", "/t"]);
    peer.endpoint.publish("/t", &1u64).unwrap();
    sub.line();
    drop(sub.output.take());
    // The first line after the reader has gone meets the closed pipe. Another test may just have
    // forked, and what it runs has a copy of the reader's end until it is another program.
    while sub.try_end().is_none() {
        peer.endpoint.publish("/t", &2u64).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let ended = sub.end().expect(0);
    assert_eq!(ended.err, "");
}

#[test]
fn head_of_a_shell_gets_its_line() {
    let peer = Peer::plain();
    let mut head = std::process::Command::new("head")
        .args(["-n", "1"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = head.stdin.take().unwrap();
    let mut command = peer.command(&["sub", "/t"]);
    let sub = Running::start(command.stdout(pipe));
    drop(command);
    peer.await_peer();
    let sending = std::thread::spawn({
        let endpoint = peer.endpoint.clone();
        move || while endpoint.publish("/t", &1u64).is_ok() {}
    });
    sub.end().expect(0);
    let output = head.wait_with_output().unwrap();
    assert!(output.stdout.ends_with(b"/t 1c\n"), "{output:?}");
    peer.endpoint.shutdown().wait();
    sending.join().unwrap();
    std::io::stderr().flush().unwrap();
}
