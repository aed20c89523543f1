//! Requests of those who mean no good: each is refused or ends its own connection, and the server
//! goes on.

use std::io::{Read, Write};
use std::net::TcpStream;

use broker::HttpOptions;

use crate::{DEADLINE, endpoint, get, serve};

/// Sends bytes, ends the sending side, and reads to the end; a reset is an end, too.
fn send(port: u16, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The server may have heard enough before everything is sent.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn what_makes_no_sense_costs_its_own_connection_only() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    let head = "Host: localhost\r\nConnection: close\r\n";
    let fields: String = (0..1000).map(|at| format!("X-{at}: y\r\n")).collect();
    let requests = [
        ("no HTTP", "\0\u{1}\u{2}\r\n\r\n".to_owned()),
        ("a version", format!("GET / HTTP/9.9\r\n{head}\r\n")),
        (
            "no colon",
            format!("GET / HTTP/1.1\r\nHost localhost\r\n{head}\r\n"),
        ),
        (
            "a control character",
            format!("GET /\u{7f} HTTP/1.1\r\n{head}\r\n"),
        ),
        (
            "many fields",
            format!("GET / HTTP/1.1\r\n{head}{fields}\r\n"),
        ),
        (
            "a long path",
            format!("GET /{} HTTP/1.1\r\n{head}\r\n", "a/".repeat(50_000)),
        ),
        (
            "two hosts",
            format!("GET /v1/stats HTTP/1.1\r\nHost: evil.example\r\n{head}\r\n"),
        ),
        (
            "another host",
            "GET http://evil.example/v1/stats HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
        ),
        (
            "no UTF-8",
            format!("GET /v1/stores/%ff%fe HTTP/1.1\r\n{head}\r\n"),
        ),
        (
            "no UTF-8 in a query",
            format!("GET /v1/peers?cursor=%ff&limit=%zz HTTP/1.1\r\n{head}\r\n"),
        ),
        (
            "two lengths",
            format!("GET / HTTP/1.1\r\n{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        ),
        (
            "bad chunks",
            format!("POST / HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        ),
        (
            "a way up",
            format!("GET /../../etc/passwd HTTP/1.1\r\n{head}\r\n"),
        ),
    ];
    for (what, request) in requests {
        let answer = send(port, request.as_bytes());
        let answer = String::from_utf8_lossy(&answer);
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(is_refused, "{what}: {answer}");
        assert!(!answer.contains(&here.id().to_string()), "{what}: {answer}");
        assert_eq!(get(port, "/healthz").status, 200, "{what}");
    }
}

#[test]
fn a_body_is_not_waited_for() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Content-Length: 1000000000000\r\n\r\n";
    let answer = send(port, request.as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn answers_that_are_not_read_stop_the_requests_of_their_connection() {
    let here = endpoint();
    let _topics: Vec<_> = (0..200)
        .map(|number| {
            let topics = (0..16).map(|at| format!("/{number}/{at}/{}", "x".repeat(100)));
            here.subscriber(topics).unwrap()
        })
        .collect();
    let port = serve(&here, HttpOptions::default());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let request = b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // As many as the system takes; the server answers some and then reads no more, until it gives
    // the connection up.
    let until = std::time::Instant::now() + DEADLINE;
    let mut sent = 0_u64;
    let error = loop {
        match stream.write(request) {
            Ok(_) => sent += 1,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::yield_now();
            }
            Err(error) => break error,
        }
        assert!(
            std::time::Instant::now() < until,
            "{sent} requests, and no end"
        );
    };
    assert!(sent > 0, "{error}");
    assert_eq!(get(port, "/healthz").status, 200);
}
