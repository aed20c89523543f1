//! What happens, as server-sent events over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use broker::HttpOptions;
use serde_json::Value as Json;

use crate::{DEADLINE, connect, endpoint, eventually, exchange, get, serve};

/// A listener that reads one event after the other.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn at(port: u16, path: &str, fields: &str) -> Self {
        let mut listener = Self(BufReader::new(ask(port, path, fields)));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(listener.0.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        listener
    }

    /// The next line of the stream without what chunks of HTTP add.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            // Sizes of chunks are hexadecimal numbers.
            let line = line.trim_end();
            if !line.is_empty() && u64::from_str_radix(line, 16).is_err() {
                return line.to_owned();
            }
        }
    }

    /// The next event of that kind.
    fn event(&mut self, kind: &str) -> Json {
        loop {
            if self.line() == format!("event: {kind}") {
                let line = self.line();
                return serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
            }
        }
    }
}

/// Sends a request and leaves the answer unread.
fn ask(port: u16, path: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn peers_and_rates_are_told_as_they_come() {
    let (here, there) = (endpoint(), endpoint());
    let port = serve(&here, HttpOptions::default());
    let mut listener = Listener::at(port, "/v1/stream", "");
    let first = listener.event("stats");
    assert_eq!(first["id"], here.id().to_string());
    assert_eq!(first["peers"], serde_json::json!([]));
    assert_eq!(first["ready"]["status"], "ok");
    let _subscriber = here.subscriber(["/t"]).unwrap();
    connect(&there, &here);
    let added = loop {
        let event = listener.event("status");
        if event["code"] == "peer_added" {
            break event;
        }
    };
    assert_eq!(added["peer"], there.id().to_string());
    assert!(added["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(added["kind"], "status");
    assert!(added["text"].is_string());
    for time in [&added["time"], &first["time"]] {
        let time: Vec<_> = time.as_str().unwrap().bytes().collect();
        let digits = time
            .iter()
            .map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte });
        assert!(digits.eq(*b"0000-00-00T00:00:00.000000000Z"), "{added}");
    }
    there.publish("/t", &1_u64).unwrap();
    let mut received = 0.0;
    while received == 0.0 {
        let stats = listener.event("stats");
        received = stats["rates"]["received"]["messages"].as_f64().unwrap();
        assert_eq!(stats["peers"][0]["id"], there.id().to_string());
    }
    assert!((0.1..=1.5).contains(&received), "{received}");
}

#[test]
fn events_are_there_for_those_who_come_later() {
    let (here, there) = (endpoint(), endpoint());
    connect(&there, &here);
    let port = serve(&here, HttpOptions::default());
    let events = get(port, "/v1/events").json();
    let events = events["events"].as_array().unwrap();
    let codes: Vec<_> = events
        .iter()
        .map(|it| it["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"peer_added"), "{codes:?}");
    let last = events.last().unwrap()["number"].as_u64().unwrap();
    // Everything, or what a listener that lost its connection has not seen.
    let path = "/v1/stream?events=status,error";
    let mut listener = Listener::at(port, path, "");
    assert_eq!(listener.event("status")["number"], 1);
    let mut listener = Listener::at(port, path, &format!("Last-Event-ID: {last}\r\n"));
    there.shutdown().wait();
    assert_eq!(listener.event("status")["number"], last + 1);
}

#[test]
fn a_stream_on_which_nothing_happens_says_that_it_is_alive() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    let mut listener = Listener::at(port, "/v1/stream?events=drops", "");
    assert_eq!(listener.line(), "retry: 2000");
    assert_eq!(listener.line(), ": still here");
}

#[test]
fn listeners_are_few_and_those_that_do_not_read_lose_their_places() {
    let here = endpoint();
    // What makes a report large: each tells its topics.
    let _subscribers: Vec<_> = (0..400)
        .map(|number| {
            let topics = (0..16).map(|at| format!("/{number}/{at}/{}", "x".repeat(100)));
            here.subscriber(topics).unwrap()
        })
        .collect();
    let port = serve(&here, HttpOptions::default());
    // They hear that they are served, and nothing after that.
    let mut status = [0; 12];
    let deaf: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = ask(port, "/v1/stream", "");
            stream.read_exact(&mut status).unwrap();
            assert_eq!(&status, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let mut one_more = || {
        let mut stream = ask(port, "/v1/stream?events=error", "");
        stream.read_exact(&mut status).unwrap();
        String::from_utf8_lossy(&status).into_owned()
    };
    assert!(one_more().contains("503"));
    let answer = get(port, "/v1/stream?events=error");
    assert!(answer.head.contains("retry-after: 5"), "{}", answer.head);
    // The others are served all the same.
    assert_eq!(get(port, "/healthz").status, 200);
    let mut answer = String::new();
    eventually("a place is free", || {
        std::thread::sleep(Duration::from_millis(100));
        answer = one_more();
        answer.contains("200")
    });
    drop(deaf);
}

#[test]
fn wrong_wishes_are_refused() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    for path in ["/v1/stream?events=all", "/v1/stream?kind=stats"] {
        let answer = get(port, path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains("events"), "{}", answer.body);
    }
    let head = b"POST /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(port, head).status, 405);
}

#[test]
fn a_stream_ends_with_the_endpoint() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    let mut listener = Listener::at(port, "/v1/stream", "");
    let _ = listener.event("stats");
    here.shutdown().wait();
    let mut rest = Vec::new();
    // The end of the stream, or a reset.
    let _ = listener.0.read_to_end(&mut rest);
}
