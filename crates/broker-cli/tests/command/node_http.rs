//! `[http]` of the file of `broker node`: each option does what the file says of it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{DEADLINE, Running, command, run};

/// A node whose file has these lines in `[http]`, and the ports of its servers there.
fn node<const N: usize>(http: &str, before: &str) -> (Running, [u16; N]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker.toml");
    let listen: Vec<_> = ["\"127.0.0.1:0\"", "\"localhost:0\""]
        .into_iter()
        .take(N)
        .collect();
    let listen = listen.join(", ");
    let text = format!("{before}\n[http]\nlisten = [{listen}]\n{http}\n");
    fs::write(&file, text).unwrap();
    let mut start = command(&["node", "--config", file.to_str().unwrap()]);
    start.env("NODE_TOKEN", "from the environment");
    let mut node = Running::start(&mut start);
    let ports = [(); N].map(|()| {
        let line = node.says("event=\"listening-http\"");
        line.rsplit_once("port=").unwrap().1.trim().parse().unwrap()
    });
    node.says("event=\"started\"");
    (node, ports)
}

fn end(node: Running) {
    node.signal(Signal::TERM);
    node.end().expect(0);
}

/// Sends a request and leaves the connection open.
fn send(port: u16, path: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The answer to a request: status, head, body.
fn ask(port: u16, path: &str, fields: &str) -> (u16, String, String) {
    let mut stream = send(port, path, &format!("Connection: close\r\n{fields}"));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn status(port: u16, path: &str, fields: &str) -> u16 {
    ask(port, path, fields).0
}

/// What a WebSocket client asks with.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The first bytes of the answer to such a client, enough for its status.
fn upgrade(port: u16) -> String {
    let mut first = [0; 12];
    let mut stream = send(port, "/v1/messages/json", UPGRADE);
    stream.read_exact(&mut first).unwrap();
    String::from_utf8(first.to_vec()).unwrap()
}

const ORIGIN: &str = "Origin: https://dashboard.example\r\n";
const SAMPLE: &str = "/v1/topics/x/sample?seconds=0";

#[test]
fn without_options_nothing_is_open_that_need_not_be() {
    let (node, [port]) = node("", "tls = { enabled = false }");
    assert_eq!(status(port, "/v1/stats", ""), 200);
    assert_eq!(status(port, "/readyz", ""), 200);
    assert_eq!(status(port, SAMPLE, ""), 403);
    assert_eq!(upgrade(port), "HTTP/1.1 404");
    let (_, head, _) = ask(port, "/v1/stats", ORIGIN);
    assert!(!head.contains("access-control"), "{head}");
    end(node);
}

#[test]
fn a_token_from_the_environment_or_a_file_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "from a file\n").unwrap();
    let of_file = format!("file:{}", file.display());
    for (source, token) in [
        ("env:NODE_TOKEN", "from the environment"),
        (&of_file, "from a file"),
    ] {
        let (node, [port]) = node(&format!("token = \"{source}\""), "");
        let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
        assert_eq!(status(port, "/v1/stats", ""), 401, "{source}");
        assert_eq!(status(port, "/v1/stats", &with("another")), 401, "{source}");
        assert_eq!(status(port, "/v1/stats", &with(token)), 200, "{source}");
        assert_eq!(status(port, "/healthz", ""), 200, "{source}");
        end(node);
    }
}

#[test]
fn samples_origins_and_clients_are_let_in_where_it_says_so() {
    let options = "samples = true\nweb-socket = true\norigins = [\"https://dashboard.example\"]";
    let (node, [port]) = node(options, "websocket = { clients-max = 1 }");
    assert_eq!(status(port, SAMPLE, ""), 200);
    let (_, head, _) = ask(port, "/v1/stats", ORIGIN);
    let allowed = "access-control-allow-origin: https://dashboard.example";
    assert!(head.contains(allowed), "{head}");
    assert_eq!(upgrade(port), "HTTP/1.1 101");
    end(node);
}

#[test]
fn clients_are_served_with_the_options_of_their_table() {
    let (node, [port]) = node("web-socket = true", "websocket = { clients-max = 1 }");
    let first = send(port, "/v1/messages/json", UPGRADE);
    let mut status = [0; 12];
    (&first).read_exact(&mut status).unwrap();
    assert_eq!(status, *b"HTTP/1.1 101");
    assert_eq!(upgrade(port), "HTTP/1.1 503");
    drop(first);
    end(node);
}

#[test]
fn a_node_is_not_ready_where_it_cannot_write() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Below a file there can be nothing.
    let below = file.path().join("recordings");
    let (node, [port]) = node(&format!("writes = [\"{}\"]", below.display()), "");
    let (status, _, body) = ask(port, "/readyz", "");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("cannot be written"), "{body}");
    end(node);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let (node, [port]) = node("connections-max = 1", "");
    let mut first = send(port, "/healthz", "");
    let mut byte = [0];
    first.read_exact(&mut byte).unwrap();
    let mut second = send(port, "/healthz", "");
    // That nothing comes is what is looked at; a slow machine only makes it likelier.
    second
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let error = second.read_exact(&mut byte).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(first);
    second.set_read_timeout(Some(DEADLINE)).unwrap();
    second.read_exact(&mut byte).unwrap();
    drop(second);
    end(node);
}

#[test]
fn native_encryption_has_the_certificate_of_the_peers() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    run(&["tls", "init", &at(""), "--ca", "--name", "localhost"]).expect(0);
    let tls = format!(
        "tls = {{ cert = \"{}\", key = \"{}\" }}",
        at("localhost.pem"),
        at("localhost.key")
    );
    let (node, [port]) = node("tls = \"native\"", &tls);
    let url = format!("https://localhost:{port}");
    let authority = at("authority.pem");
    assert!(Path::new(&authority).exists());
    run(&["status", &url, "--cafile", &authority]).expect(0);
    // It is not for those who do not encrypt.
    run(&["status", &format!("http://localhost:{port}")]).expect(3);
    end(node);
}

#[test]
fn several_addresses_are_served() {
    let (node, ports) = node::<2>("", "");
    assert_ne!(ports[0], ports[1]);
    for port in ports {
        assert_eq!(status(port, "/healthz", ""), 200);
    }
    end(node);
}
