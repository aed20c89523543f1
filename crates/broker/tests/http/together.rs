//! WebSocket clients and those who ask for metrics at one port.

use std::io::{Read, Write};
use std::net::TcpStream;

use broker::{HttpOptions, Retry, Value, WebSocketOptions};

use crate::{DEADLINE, endpoint, eventually, get, request, serve};

fn together() -> HttpOptions {
    HttpOptions {
        web_socket: Some(WebSocketOptions::default()),
        ..HttpOptions::default()
    }
}

/// The fields of a request for a WebSocket.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks for a WebSocket and leaves the connection open; the head of the answer.
fn upgrade(port: u16, fields: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head =
        format!("GET /v1/messages/json HTTP/1.1\r\nHost: localhost\r\n{fields}{UPGRADE}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    (
        stream,
        String::from_utf8(answer).unwrap().to_ascii_lowercase(),
    )
}

#[test]
fn messages_and_metrics_share_a_port() {
    let (here, there) = (endpoint(), endpoint());
    let port = serve(&here, together());
    let (to_here, to_there) = (
        here.subscriber(["/t"]).unwrap(),
        there.subscriber(["/u"]).unwrap(),
    );
    let url = format!("ws://127.0.0.1:{port}");
    there.peer_url(&url, Retry::Never).wait().unwrap();
    there.publish("/t", &Value::Count(1)).unwrap();
    assert_eq!(to_here.recv().unwrap().value(), Value::Count(1));
    here.publish("/u", &Value::Count(2)).unwrap();
    assert_eq!(to_there.recv().unwrap().value(), Value::Count(2));
    assert_eq!(get(port, "/v1/clients").json()["clients"][0]["clients"], 1);
    assert_eq!(get(port, "/healthz").status, 200);
    there.shutdown().wait();
    eventually("the client has left", || {
        get(port, "/v1/clients").json()["clients"][0]["clients"] == 0
    });
}

#[test]
fn a_connection_that_asked_for_metrics_may_become_a_web_socket() {
    let here = endpoint();
    let port = serve(&here, together());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // Both at once: what comes behind a request is kept for what it becomes.
    let asks = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let text = b"[\"/t\"]";
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text);
    let upgrade = format!("GET /v1/messages/json HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    let mut sent = [asks, &upgrade].concat().into_bytes();
    sent.extend_from_slice(&frame);
    stream.write_all(&sent).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    eventually("both are answered", || {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
        let answer = String::from_utf8_lossy(&answer);
        answer.contains("200 OK") && answer.contains(" 101 ") && answer.contains("\"type\":\"ack\"")
    });
}

#[test]
fn there_are_none_unless_they_are_asked_for() {
    let here = endpoint();
    let port = serve(&here, HttpOptions::default());
    assert_eq!(
        request(port, "GET", "/v1/messages/json", UPGRADE).status,
        404
    );
}

#[test]
fn what_is_no_web_socket_is_told_so_as_at_a_port_of_its_own() {
    let here = endpoint();
    let options = HttpOptions {
        web_socket: Some(WebSocketOptions {
            origins: Some(vec!["https://listed.example".to_owned()]),
            clients_max: 1,
            ..WebSocketOptions::default()
        }),
        ..HttpOptions::default()
    };
    let port = serve(&here, options);
    assert_eq!(get(port, "/v1/messages/json").status, 400);
    let (_stream, head) = upgrade(port, "Origin: https://evil.example\r\n");
    assert!(head.starts_with("http/1.1 403"), "{head}");
    assert_eq!(here.web_socket_refusals(), 2);
    let (_client, head) = upgrade(port, "Origin: https://listed.example\r\n");
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(
        head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    let (_stream, head) = upgrade(port, "");
    assert!(
        head.starts_with("http/1.1 503") && head.contains("retry-after: 5"),
        "{head}"
    );
    assert_eq!(get(port, "/healthz").status, 200);
}

#[test]
fn clients_need_what_others_need() {
    let here = endpoint();
    let options = HttpOptions {
        token: Some("secret".to_owned()),
        ..together()
    };
    let port = serve(&here, options);
    let (_stream, head) = upgrade(port, "");
    assert!(head.starts_with("http/1.1 401"), "{head}");
    let (_stream, head) = upgrade(port, "Authorization: Bearer secret\r\n");
    assert!(head.starts_with("http/1.1 101"), "{head}");
    let fields = "Host: rebound.example\r\n";
    let head = format!("GET /v1/messages/json HTTP/1.1\r\n{fields}{UPGRADE}\r\n");
    assert_eq!(
        crate::exchange(
            port,
            head.replace("Connection: Upgrade", "Connection: Upgrade, close")
                .as_bytes()
        )
        .status,
        421
    );
}

#[test]
fn clients_give_the_places_of_those_who_ask_back() {
    let here = endpoint();
    let options = HttpOptions {
        connections_max: 1,
        ..together()
    };
    let port = serve(&here, options);
    let (mut client, head) = upgrade(port, "");
    assert!(head.starts_with("http/1.1 101"), "{head}");
    // Once it has subscribed it is a client and no stranger.
    let text = b"[\"/t\"]";
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text);
    client.write_all(&frame).unwrap();
    assert_eq!(get(port, "/healthz").status, 200);
}

#[test]
fn both_end_with_the_endpoint() {
    let here = endpoint();
    let port = serve(&here, together());
    let (mut client, _) = upgrade(port, "");
    here.shutdown().wait();
    let mut rest = Vec::new();
    // The end of the stream, or a reset.
    let _ = client.read_to_end(&mut rest);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
