//! The description of an endpoint's HTTP paths, compared with what they answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use broker::{Backend, CloneOptions, HttpOptions, Retry, Value};
use serde_json::Value as Json;

use crate::process::{DEADLINE, Peer};
use crate::schema;

/// Status, content type and body of an answer; of a stream its head.
pub(crate) fn get(port: u16, path: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let is_stream = path.starts_with("/v1/stream");
    while !(is_stream && answer.windows(4).any(|it| it == b"\r\n\r\n")) {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    let kind = head
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    let kind = kind.unwrap_or_default().split(';').next().unwrap();
    (status, kind.to_owned(), body.to_owned())
}

/// Asks for a path and compares the answer with its description.
#[track_caller]
pub(crate) fn check(description: &Json, port: u16, name: &str, query: &str, expected: &str) {
    let store = if query.contains("none") {
        "none"
    } else {
        "hosts"
    };
    let name_of_topic = name.replace("{topic}", "%2Ft");
    let path = format!("{}{query}", name_of_topic.replace("{name}", store));
    let (status, kind, body) = get(port, &path);
    assert_eq!(status, expected, "{path}: {body}");
    let pointer = name.replace('~', "~0").replace('/', "~1");
    let content = format!("/paths/{pointer}/get/responses/{status}/content");
    let content = description.pointer(&content).unwrap_or(&Json::Null);
    let Some(described) = content.get(&kind) else {
        panic!("{path} answers with `{kind}`, which is not among {content}");
    };
    if kind == "application/json" {
        let value = serde_json::from_str(&body).unwrap();
        if let Err(problem) = schema::fits(description, &described["schema"], &value, "$") {
            panic!("{path}: {problem}: {value}");
        }
    }
}

/// A sample with a message in it.
fn publish_until_sampled(description: &Json, node: &Peer, port: u16, name: &str) {
    std::thread::scope(|scope| {
        let sampled = scope.spawn(|| {
            check(description, port, name, "?limit=1&seconds=10", "200");
        });
        while !sampled.is_finished() {
            node.endpoint.publish("/t", &Value::Count(1)).unwrap();
            std::thread::yield_now();
        }
    });
}

#[test]
fn every_path_answers_as_it_is_described() {
    let (node, other) = (Peer::plain(), Peer::plain());
    let _reader = other.endpoint.subscriber(["/t"]).unwrap();
    let subscriber = node.endpoint.subscriber(["/t"]).unwrap();
    subscriber.set_name("reader");
    let peered = node.endpoint.peer("127.0.0.1", other.port(), Retry::Never);
    peered.wait().unwrap();
    node.endpoint.publish("/t", &Value::Count(1)).unwrap();
    let store = node
        .endpoint
        .attach_master("hosts", Backend::Memory)
        .unwrap();
    store.put("a", &Value::Count(1)).unwrap();
    store.put("b", "x".repeat(10_000).as_str()).unwrap();
    let _lost = node.endpoint.attach_clone("none", CloneOptions::default());
    let read = || 7;
    node.endpoint
        .add_counter("broker_program_alerts", "Alerts.", read)
        .unwrap();
    let serve = |samples| {
        let options = HttpOptions {
            samples,
            ..HttpOptions::default()
        };
        let served = node.endpoint.serve_http("127.0.0.1", 0, options);
        served.wait().unwrap()
    };
    let port = serve(true);
    let (_, _, text) = get(port, "/v1/openapi.json");
    let description: Json = serde_json::from_str(&text).unwrap();
    for name in description["paths"].as_object().unwrap().keys() {
        let status = if name == "/readyz" { "503" } else { "200" };
        let query = if name.ends_with("/sample") {
            "?seconds=0"
        } else {
            ""
        };
        check(&description, port, name, query, status);
    }
    let sample = "/v1/topics/{topic}/sample";
    check(&description, port, sample, "?seconds=x", "400");
    check(&description, serve(false), sample, "", "403");
    publish_until_sampled(&description, &node, port, sample);
    for name in ["/v1/peers", "/v1/stores/{name}", "/v1/topics"] {
        check(&description, port, name, "?limit=0", "400");
    }
    check(&description, port, "/v1/stream", "?events=x", "400");
    check(
        &description,
        port,
        "/v1/stores/{name}",
        "?prefix=none&role=clone",
        "503",
    );
    check(&description, port, "/v1/stores/{name}", "?limit=1", "200");
}
