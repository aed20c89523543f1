//! What people and programs see of a policy over HTTP, and a stream that ends with the right to it.

use std::io::{BufRead as _, BufReader};

use super::*;

/// A gateway whose principal `siem` may see everything about it.
fn seen() -> (Endpoint, u16, u16) {
    let (endpoint, port) = gateway_with(with_tokens(&all_paths(POLICY)));
    let options = HttpOptions::default();
    let http = endpoint.serve_http("127.0.0.1", 0, options).wait().unwrap();
    (endpoint, port, http)
}

fn all_paths(policy: &str) -> String {
    policy.replace("http = [\"/metrics\",", "http = [\"/v1/\",")
}

fn json(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn a_stream_ends_with_the_right_to_it() {
    let (endpoint, _, port) = seen();
    let listen = |path: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{}\r\n",
            authorization("siem")
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
        stream
    };
    let until_has = |stream: &mut BufReader<TcpStream>, text: &str| {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "it is over");
        }
    };
    let mut all = listen("/v1/stream");
    // One to which nothing is told ends as well.
    let mut quiet = listen("/v1/stream?events=drops");
    until_has(&mut all, "event: stats");
    // Another policy with the right changes nothing.
    let other = all_paths(POLICY).replace("/chat/", "/talk/");
    endpoint.set_policy(&with_tokens(&other)).unwrap();
    until_has(&mut all, "event: stats");
    until_has(&mut all, "event: stats");
    endpoint.set_policy(&with_tokens(POLICY)).unwrap();
    for stream in [&mut all, &mut quiet] {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    }
    assert_eq!(get(port, "/v1/stream", &authorization("siem")).0, 403);
}

#[test]
fn principals_and_denials_are_shown_to_those_who_may() {
    let (endpoint, web_socket, port) = seen();
    let mut client = subscribed(web_socket, "soar", &["/notices/"]);
    for _ in 0..3 {
        client.send_text(&message("/netcontrol/x", &json_event("terminate")));
        client.read_text();
    }
    client.send_text(&message("/netcontrol/x", &json_event("NetControl::add")));
    eventually("it is judged", || {
        endpoint.policy_counts()["soar"].allowed == 1
    });
    let siem = authorization("siem");
    let (_, answer) = get(port, "/v1/principals?limit=10", &siem);
    let answer = json(&answer);
    assert_eq!(answer["total"], 4);
    let soar = &answer["principals"][3];
    let expected = serde_json::json!({
        "name": "soar", "roles": ["responder"], "allowed": 1, "denied": 4, "limited": 0
    });
    assert_eq!(*soar, expected);
    let (_, answer) = get(port, "/v1/denials", &siem);
    let answer = json(&answer);
    let last = &answer["denials"][1];
    for (key, expected) in [
        ("principal", "soar".into()),
        ("address", "127.0.0.1".into()),
        ("action", "publish".into()),
        ("resource", "/netcontrol/x".into()),
        ("event", "terminate".into()),
        ("rule", "no rule allows the event".into()),
        ("count", serde_json::Value::from(3)),
    ] {
        assert_eq!(last[key], expected, "{key}: {last}");
    }
    let (_, answer) = get(port, "/v1/stats", &siem);
    let sums = &json(&answer)["policy"];
    assert_eq!(sums["permissive"], false);
    assert_eq!(sums["denied"], 4, "{sums}");
    for path in ["/v1/principals", "/v1/denials", "/v1/stats"] {
        assert_eq!(get(port, path, &authorization("soar")).0, 403, "{path}");
    }
}

#[test]
fn a_permissive_policy_lets_all_pass_and_records_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let text = POLICY.replace("[principals.anonymous]\nroles = [\"talker\"]\n", "");
    let mut options = with_tokens(&format!("permissive = true\n{text}"));
    options.audit.file = Some(path.clone());
    let (endpoint, port) = gateway_with(options);
    let everything = endpoint.subscriber([""]).unwrap();
    // Nothing lists it.
    let mut client = subscribed(port, "anonymous", &["/any/", "<$>/local"]);
    client.send_text(&message("/n/x", &json_batch(&["N::a", "N::b", "N::a"])));
    assert_eq!(next(&everything).topic(), b"/n/x");
    client.publish("/n/y", 1);
    assert_eq!(next(&everything).topic(), b"/n/y");
    endpoint.publish("/any/x", &1u64).unwrap();
    assert!(client.read_text().contains("/any/x"));
    // What is written to be denied is denied, and wrong tokens prove nothing.
    let mut soar = subscribed(port, "soar", &[]);
    soar.send_text(&message("/netcontrol/x", &json_event("NetControl::clear")));
    assert!(soar.read_text().contains("acl_denied"));
    assert_eq!(status(port, "Authorization: Bearer x\r\n"), 401);
    // Where the permissive time is over, so are its rights.
    endpoint.set_policy(&with_tokens(&text)).unwrap();
    assert_eq!(client.read_close().0, 1008);
    endpoint.shutdown().wait();
    let record = std::fs::read_to_string(&path).unwrap();
    for expected in [
        r#""action":"subscribe","resource":"/any/","decision":"allow""#,
        r#""resource":"/n/x","event":"N::a","decision":"allow","count":1"#,
        r#""resource":"/n/x","event":"N::b","decision":"allow""#,
        r#""resource":"/n/y","decision":"allow""#,
        r#""event":"NetControl::clear","decision":"deny""#,
    ] {
        assert!(record.contains(expected), "{expected}\n{record}");
    }
}
