//! Servers that are none, or bad ones: clear errors, bounded memory, no waiting for ever.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use broker::{Endpoint, ErrorCode, Event, Options, Retry, Value, WebSocketPeerOptions};

use crate::ports::reserved_port;
use crate::script::{ACK, BINARY, CLOSE, DEADLINE, FIN, PING, Script, Served, TEXT, data};
use crate::{endpoint, endpoint_with, failure, joined, next, next_fault};

/// What a test may wait for where a server says nothing. Each limits one thing, so that what the
/// server does say is in time on a busy machine.
const SHORT: Duration = Duration::from_millis(300);

/// How a server behaves that gets one connection, and why peering with it fails then.
fn fails(endpoint: &Endpoint, behave: impl FnOnce(&mut Served) + Send + 'static) -> String {
    let script = Script::listen();
    let url = script.url();
    let server = thread::spawn(move || {
        let mut served = script.accept_tcp();
        behave(&mut served);
    });
    let begun = Instant::now();
    let error = failure(endpoint, &url);
    assert!(begun.elapsed() < DEADLINE, "{error}");
    server.join().unwrap();
    error
}

fn expect(error: &str, part: &str) {
    assert!(error.contains(part), "expected `{part}` in `{error}`");
}

#[test]
fn nobody() {
    let url = format!("ws://127.0.0.1:{}", reserved_port());
    expect(&failure(&endpoint(), &url), "unable to connect");
    expect(
        &failure(&endpoint(), "ws://no.such.host.invalid:1"),
        "unable to connect",
    );
}

#[test]
fn addresses_that_make_no_sense() {
    for url in ["http://127.0.0.1:1", "ws://", "ws://user@h:1", "nonsense"] {
        expect(&failure(&endpoint(), url), "no address of a peer");
    }
    let endpoint = endpoint();
    let events = endpoint.status_subscriber(false).unwrap();
    endpoint.peer_nosync("http://127.0.0.1", 1, Retry::Never);
    expect(&next_fault(&events).text, "`ws://`");
}

#[test]
fn something_else_altogether() {
    let endpoint = endpoint();
    let hang_up = |served: &mut Served| served.read_request();
    expect(&fails(&endpoint, hang_up), "ended the connection");
    let garbage = |served: &mut Served| served.send(b"SSH-2.0-OpenSSH_9.6\r\n");
    expect(&fails(&endpoint, garbage), "does not speak HTTP");
    let native = |served: &mut Served| served.send(&[0, 0, 0, 0x20, 4, 0x5a]);
    expect(&fails(&endpoint, native), "does not speak HTTP");
    let tls = |served: &mut Served| served.send(&[0x15, 3, 3, 0, 2, 2, 0x28]);
    expect(&fails(&endpoint, tls), "try `wss://`");
}

#[test]
fn requests_that_are_refused() {
    let endpoint = endpoint();
    let refuse = |status: &'static str| {
        move |served: &mut Served| {
            served.read_request();
            served.send(
                format!("HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\ntry later").as_bytes(),
            );
        }
    };
    let error = fails(&endpoint, refuse("503 Service Unavailable"));
    expect(&error, "503 Service Unavailable: try later");
    expect(&fails(&endpoint, refuse("200 OK")), "200 OK");
    let wrong_key = |served: &mut Served| {
        served.read_request();
        served.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        );
    };
    expect(
        &fails(&endpoint, wrong_key),
        "not that of a WebSocket server",
    );
    let endless = |served: &mut Served| {
        served.read_request();
        served.send(b"HTTP/1.1 101 Switching Protocols\r\n");
        let line = [&b"X-Filler: "[..], &[b'x'; 1000], b"\r\n"].concat();
        for _ in 0..9 {
            served.send(&line);
        }
    };
    expect(&fails(&endpoint, endless), "no end");
}

#[test]
fn silence() {
    let silent = |served: &mut Served| {
        let mut rest = Vec::new();
        let _ = served.stream.read_to_end(&mut rest);
    };
    let endpoint = Endpoint::builder()
        .options(Options {
            disable_ssl: true,
            handshake_timeout: SHORT,
            ..Options::default()
        })
        .build()
        .unwrap();
    expect(&fails(&endpoint, silent), "did not answer the request");
    let no_ack = |served: &mut Served| {
        served.upgrade();
        while served.receive().is_some() {}
    };
    let endpoint = endpoint_with(WebSocketPeerOptions {
        ack_timeout: SHORT,
        ..WebSocketPeerOptions::default()
    });
    expect(&fails(&endpoint, no_ack), "did not acknowledge in time");
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let script = Script::listen();
    let endpoint = endpoint_with(WebSocketPeerOptions {
        ping_interval: SHORT,
        ..WebSocketPeerOptions::default()
    });
    let events = endpoint.status_subscriber(true).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    served.read(PING);
    // It does not answer.
    let fault = next_fault(&events);
    expect(&fault.text, "does not answer pings");
    loop {
        match crate::next_event(&events) {
            Event::Status(status) if status.code == broker::StatusCode::PeerLost => return,
            _ => {}
        }
    }
}

#[test]
fn closing_at_once() {
    let endpoint = endpoint();
    let at_once = |served: &mut Served| {
        served.upgrade();
        served.send_close(1008, "go away");
        while served.receive().is_some() {}
    };
    expect(&fails(&endpoint, at_once), "code 1008: go away");
    let without_a_word = |served: &mut Served| served.upgrade();
    expect(&fails(&endpoint, without_a_word), "ended the connection");
}

#[test]
fn a_first_answer_that_is_none() {
    let endpoint = endpoint();
    for text in ["", "garbage", "[]", r#"{"type":"hello"}"#] {
        let odd = move |served: &mut Served| {
            served.upgrade();
            served.send_text(text);
            while served.receive().is_some() {}
        };
        expect(&fails(&endpoint, odd), "cannot be read");
    }
}

#[test]
fn frames_that_are_against_the_rules() {
    let cases: [(&[u8], u16, &str); 7] = [
        (&[0xf1, 0], 1002, "reserved bits"),
        (&[0x83, 0], 1002, "nknown"),
        (&[0x81, 0x80, 1, 2, 3, 4], 1002, "masked"),
        (&[0x80, 0], 1002, "pieces"),
        (&[0x09, 0], 1002, "control frame"),
        (&[0x89, 126, 0, 126], 1002, "control frame"),
        (&[0x81, 127, 0, 0, 0, 0, 0x40, 0, 0, 0], 1009, "more than"),
    ];
    for (bytes, code, cause) in cases {
        let endpoint = endpoint();
        let told = fails(&endpoint, move |served| {
            served.upgrade();
            served.read_text();
            served.send(bytes);
            let payload = served.read(CLOSE);
            assert_eq!(payload[..2], code.to_be_bytes(), "{bytes:02x?}");
        });
        let is_told = told.contains(cause) || told.contains("pcode");
        assert!(is_told, "{told}: {bytes:02x?}");
    }
}

#[test]
fn a_server_that_breaks_the_rules_is_named_in_an_event() {
    let cases: [(&[u8], &str); 3] = [
        (&[0xc1, 1, b'x'], "reserved bits"),
        (&[0x81, 0x81, 1, 2, 3, 4, b'x'], "masked"),
        (&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0], "more than"),
    ];
    for (bytes, cause) in cases {
        let script = Script::listen();
        let endpoint = endpoint();
        let events = endpoint.status_subscriber(false).unwrap();
        let (mut served, _) = joined(&endpoint, &script);
        served.send(bytes);
        let fault = next_fault(&events);
        assert_eq!(fault.code, ErrorCode::PeerUnavailable);
        assert!(fault.text.contains(cause), "{}", fault.text);
        assert_eq!(endpoint.web_socket_peer_counts()[&script.url()].errors, 1);
    }
}

#[test]
fn messages_that_are_too_large() {
    let script = Script::listen();
    let endpoint = endpoint_with(WebSocketPeerOptions {
        message_bytes_max: 1000,
        ..WebSocketPeerOptions::default()
    });
    let events = endpoint.status_subscriber(true).unwrap();
    let (mut served, _) = joined(&endpoint, &script);
    // In pieces each of which is small.
    for index in 0..11 {
        let first = if index == 0 { TEXT } else { 0 };
        served.send_frame(first, &[b' '; 100]);
    }
    let payload = served.read(CLOSE);
    assert_eq!(payload[..2], 1009_u16.to_be_bytes());
    let _ = next_event_of_loss(&events);
}

fn next_event_of_loss(events: &broker::StatusSubscriber) -> broker::Status {
    loop {
        match crate::next_event(events) {
            Event::Status(status) if status.code == broker::StatusCode::PeerLost => return status,
            _ => {}
        }
    }
}

#[test]
fn messages_that_cannot_be_read_cost_only_themselves() {
    let script = Script::listen();
    let endpoint = endpoint();
    let events = endpoint.status_subscriber(false).unwrap();
    let subscriber = endpoint.subscriber([""]).unwrap();
    let (mut served, topics) = joined(&endpoint, &script);
    assert_eq!(topics, r#"[""]"#);
    let begun = Instant::now();
    for _ in 0..100 {
        served.send_text("garbage");
        served.send_text(r#"{"type":"data-message","topic":"/t","@data-type":"count","data":-1}"#);
        served.send_frame(FIN | BINARY, &[0xff; 10]);
        served.send_text(ACK);
    }
    // Events of the server's own endpoint, which some show to whoever subscribes to everything.
    served.send_text(&data("<$>/local/data/statuses", 1));
    served.send_text(&data("/t", 7));
    // Our own events are there too.
    loop {
        match next(&subscriber) {
            (topic, Value::Count(number)) => {
                assert_eq!((topic.as_str(), number), ("/t", 7));
                break;
            }
            (topic, _) => assert!(topic.starts_with("<$>/local/")),
        }
    }
    expect(&next_fault(&events).text, "cannot be read");
    // One event for all of them, and another one a second later at the earliest.
    let mut more = 0;
    while events
        .recv_timeout(Duration::from_millis(100))
        .unwrap()
        .is_some()
    {
        more += 1;
    }
    assert!(more <= begun.elapsed().as_secs(), "{more} more events");
}

#[test]
fn a_server_that_does_not_read_is_cut_off() {
    let script = Script::listen();
    let options = Options {
        disable_ssl: true,
        peer_buffer_size: Some(16),
        ..Options::default()
    };
    let endpoint = Endpoint::builder().options(options).build().unwrap();
    let events = endpoint.status_subscriber(true).unwrap();
    let (_served, _) = joined(&endpoint, &script);
    let large = "x".repeat(100_000);
    let publisher = endpoint.clone();
    let flood = thread::spawn(move || {
        for _ in 0..1000 {
            publisher
                .publish("/t", &Value::from(large.as_str()))
                .unwrap();
        }
    });
    loop {
        match crate::next_event(&events) {
            Event::Status(status) if status.code == broker::StatusCode::PeerRemoved => break,
            _ => {}
        }
    }
    flood.join().unwrap();
}

#[test]
fn it_is_tried_again() {
    let script = Script::listen();
    let endpoint = endpoint();
    let events = endpoint.status_subscriber(false).unwrap();
    let peering = endpoint.peer_url(&script.url(), Retry::After(Duration::from_millis(20)));
    for _ in 0..3 {
        let mut served = script.accept_tcp();
        served.read_request();
        served.send(b"HTTP/1.1 500 Oops\r\n\r\n");
        drop(served);
        expect(&next_fault(&events).text, "500 Oops");
    }
    let (served, _) = script.accept_subscribed();
    peering.wait().unwrap();
    // And found again when it is lost.
    drop(served);
    let (_served, _) = script.accept_subscribed();
    crate::eventually("it is a peer again", || endpoint.peers().len() == 1);
    endpoint.unpeer(&script.url(), 0).wait();
    assert!(endpoint.peers().is_empty());
}

#[test]
fn attempts_can_be_given_up() {
    let script = Script::listen();
    let endpoint = endpoint();
    let peering = endpoint.peer_url(&script.url(), Retry::After(Duration::from_secs(1)));
    let mut served = script.accept();
    served.read_text();
    endpoint.unpeer(&script.url(), script.port).wait();
    expect(&peering.wait().unwrap_err().to_string(), "cancelled");
    assert_eq!(served.read_close(), 1000);
    endpoint.shutdown().wait();
}
