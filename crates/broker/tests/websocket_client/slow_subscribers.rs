//! Subscribers that are slower than a server: it waits, and nothing is held against it.

use std::thread;
use std::time::Duration;

use broker::{Capacity, Endpoint, Options, StatusCode, Subscriber, Value, WebSocketPeerOptions};

use crate::script::{ACK, CLOSE, DEADLINE, FIN, PING, PONG, Script, Served, TEXT, frame};
use crate::{eventually, expect_status, joined};

/// Messages of a flood: more than the sockets and the endpoint together hold.
const FLOOD: u64 = 400;

/// An endpoint whose subscribers have room for one message and whose patience with servers is short.
fn endpoint(ping_interval: Duration) -> Endpoint {
    let options = Options {
        disable_ssl: true,
        capacity: Capacity {
            messages_max: 1,
            ..Capacity::default()
        },
        // Nobody is called stalled while a test looks on.
        stall_limit: Duration::from_secs(60),
        web_socket_peer: WebSocketPeerOptions {
            ping_interval,
            ..WebSocketPeerOptions::default()
        },
        ..Options::default()
    };
    Endpoint::builder().options(options).build().unwrap()
}

/// A message of some size.
fn large(number: u64) -> Vec<u8> {
    let pad = "x".repeat(100_000);
    let text = format!(
        r#"{{"type":"data-message","topic":"/t","@data-type":"vector","data":[{{"@data-type":"count","data":{number}}},{{"@data-type":"string","data":"{pad}"}}]}}"#
    );
    frame(FIN | TEXT, text.as_bytes())
}

fn number(subscriber: &Subscriber) -> u64 {
    let message = subscriber.recv_timeout(DEADLINE).unwrap();
    match message.expect("a message comes").value() {
        Value::Vector(parts) => match parts[0] {
            Value::Count(number) => number,
            ref other => panic!("expected a count, got {other}"),
        },
        other => panic!("expected a vector, got {other}"),
    }
}

/// A second handle on the connection, for what is written from another thread.
fn second(served: &Served) -> Served {
    Served {
        stream: served.stream.try_clone().unwrap(),
        request: String::new(),
    }
}

#[test]
fn a_server_that_cannot_be_heard_is_not_silent() {
    let script = Script::listen();
    // Long enough that a busy machine answers a ping in time once the flood is over.
    let endpoint = endpoint(Duration::from_secs(1));
    let events = endpoint.status_subscriber(true).unwrap();
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    expect_status(&events, StatusCode::EndpointDiscovered);
    expect_status(&events, StatusCode::PeerAdded);
    let mut flooding = second(&served);
    let server = thread::spawn(move || {
        for number in 0..FLOOD {
            flooding.send(&large(number));
        }
        // From here on it has time for pings.
        while let Some((first, payload)) = served.receive() {
            if first == FIN | PING {
                served.send_frame(FIN | PONG, &payload);
            }
        }
    });
    // Twice as long as a ping and its answer may take.
    let lost = events.recv_timeout(Duration::from_secs(4)).unwrap();
    assert_eq!(lost, None);
    for expected in 0..FLOOD {
        assert_eq!(number(&subscriber), expected);
    }
    assert_eq!(endpoint.peers().len(), 1);
    endpoint.shutdown().wait();
    server.join().unwrap();
}

#[test]
fn pings_behind_a_few_messages_are_answered() {
    let script = Script::listen();
    let endpoint = endpoint(Duration::ZERO);
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    for number in 0..8 {
        served.send(&large(number));
    }
    served.send_frame(FIN | PING, b"there?");
    assert_eq!(served.read(PONG), b"there?");
    // Whatever was read before is handed on before the end is told.
    let events = endpoint.status_subscriber(true).unwrap();
    served.send_close(1000, "");
    assert_eq!(served.read(CLOSE)[..2], 1000_u16.to_be_bytes());
    assert_eq!(
        events.recv_timeout(Duration::from_millis(100)).unwrap(),
        None
    );
    for expected in 0..8 {
        assert_eq!(number(&subscriber), expected);
    }
    expect_status(&events, StatusCode::PeerLost);
}

#[test]
fn subscriptions_are_renewed_and_nothing_is_lost() {
    let script = Script::listen();
    let endpoint = endpoint(Duration::ZERO);
    let events = endpoint.status_subscriber(false).unwrap();
    let subscriber = endpoint.subscriber(["/t"]).unwrap();
    let (mut old, _) = joined(&endpoint, &script);
    let mut flooding = second(&old);
    let flood = thread::spawn(move || {
        for number in 0..FLOOD {
            flooding.send(&large(number));
        }
    });
    // The first one is with the subscriber, the next ones wait.
    eventually("a message waits", || subscriber.available() > 0);
    let late = endpoint.subscriber(["/late"]).unwrap();
    let mut new = script.accept();
    let served_old = thread::spawn(move || {
        let mut pings = 0;
        loop {
            match old.receive() {
                Some((first, payload)) if first == FIN | CLOSE => {
                    flood.join().unwrap();
                    old.send_frame(FIN | CLOSE, &payload);
                    return pings;
                }
                Some(_) => pings += 1,
                None => panic!("the old connection is told of its end"),
            }
        }
    });
    assert_eq!(new.read_text(), r#"["/late","/t"]"#);
    new.send_text(ACK);
    // Nobody takes anything, and yet what is published goes out.
    endpoint.publish("/up", &1_u64).unwrap();
    assert!(new.read_text().contains("/up"));
    new.send(&large(FLOOD));
    let mut got: Vec<u64> = (0..=FLOOD).map(|_| number(&subscriber)).collect();
    // Each connection keeps its order.
    got.retain(|number| *number != FLOOD);
    assert_eq!(got, (0..FLOOD).collect::<Vec<_>>());
    assert_eq!(served_old.join().unwrap(), 1);
    new.send_text(r#"{"type":"data-message","topic":"/late","@data-type":"none"}"#);
    assert!(late.recv_timeout(DEADLINE).unwrap().is_some());
    assert_eq!(events.recv_timeout(Duration::ZERO).unwrap(), None);
}
