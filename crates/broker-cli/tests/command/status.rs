//! `status` and `top` on nodes in this process: over HTTP and as a peer.

use std::io::{BufRead as _, BufReader, Write as _};

use broker::{Backend, CloneOptions, Endpoint, HttpOptions, Value};

use crate::process::{DEADLINE, Peer, Running, command, run};
use crate::schema;

fn serve(endpoint: &Endpoint, token: Option<&str>) -> String {
    let options = HttpOptions {
        token: token.map(str::to_owned),
        ..HttpOptions::default()
    };
    let port = endpoint.serve_http("127.0.0.1", 0, options).wait().unwrap();
    format!("http://localhost:{port}")
}

#[test]
fn a_node_that_works_is_told_and_is_no_failure() {
    let (node, other) = (Peer::plain(), Peer::plain());
    let port = other.port();
    let peered = node.endpoint.peer("127.0.0.1", port, broker::Retry::Never);
    peered.wait().unwrap();
    let _store = node
        .endpoint
        .attach_master("hosts", Backend::Memory)
        .unwrap();
    let url = serve(&node.endpoint, None);
    let out = run(&["status", &url]).expect(0).out;
    for part in [
        format!("{url} works"),
        node.endpoint.id().to_string(),
        format!("127.0.0.1:{port}"),
        "hosts".to_owned(),
        "master".to_owned(),
    ] {
        assert!(out.contains(&part), "{part} in\n{out}");
    }
    let line = run(&["status", &url, "--json"]).expect(0).json().remove(0);
    schema::check("status", &line);
    assert_eq!(line["healthy"], true);
    assert_eq!(line["stats"]["id"], node.endpoint.id().to_string());
}

#[test]
fn what_does_not_work_is_exit_code_1() {
    let node = Peer::plain();
    let clone = node.endpoint.attach_clone("hosts", CloneOptions::default());
    let _clone = clone.unwrap();
    let url = serve(&node.endpoint, None);
    let out = run(&["status", &url]).expect(1).out;
    assert!(out.contains("does not work"), "{out}");
    assert!(out.contains("has no master"), "{out}");
    let line = run(&["status", &url, "--json"]).expect(1).json().remove(0);
    schema::check("status", &line);
    assert_eq!(line["healthy"], false);
    assert!(line["reasons"][0].as_str().unwrap().contains("`hosts`"));
}

#[test]
fn what_is_not_there_is_exit_code_3() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = port.local_addr().unwrap().port();
    drop(port);
    for url in [
        format!("http://localhost:{free}"),
        format!("localhost:{free}"),
    ] {
        for name in ["status", "top"] {
            let err = run(&[name, &url]).expect(3).err;
            assert!(err.contains(&free.to_string()), "{err}");
        }
    }
    // Something that does not speak HTTP.
    let node = Peer::plain();
    let err = run(&["status", &format!("http://{}", node.url)])
        .expect(3)
        .err;
    assert!(err.contains(&node.url), "{err}");
}

#[test]
fn a_token_comes_from_a_file() {
    let node = Peer::plain();
    let url = serve(&node.endpoint, Some("secret"));
    for name in ["status", "top"] {
        let err = run(&[name, &url]).expect(5).err;
        assert!(err.contains("--token-file"), "{err}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "secret\n").unwrap();
    let path = path.to_str().unwrap();
    run(&["status", &url, "--token-file", path]).expect(0);
    let mut with_variable = command(&["status", &url]);
    with_variable.env("BROKER_HTTP_TOKEN", "secret");
    Running::start(&mut with_variable).end().expect(0);
}

#[test]
fn a_peer_without_http_is_asked_whether_it_answers() {
    let node = Peer::plain();
    let _subscriber = node.endpoint.subscriber(["/a", "/b"]).unwrap();
    let out = run(&["status", "--no-tls", &node.url]).expect(0).out;
    assert!(
        out.contains("answers") && out.contains("round trip"),
        "{out}"
    );
    let line = run(&["status", "--no-tls", "--json", &node.url])
        .expect(0)
        .json()
        .remove(0);
    schema::check("status", &line);
    assert_eq!(line["peer"]["endpoint"], node.endpoint.id().to_string());
    assert_eq!(line["peer"]["topics"], 2);
}

#[test]
fn top_prints_reports_into_a_pipe() {
    let node = Peer::plain();
    let url = serve(&node.endpoint, None);
    let lines = run(&["top", &url, "-n", "2"]).expect(0).json();
    assert_eq!(lines.len(), 2);
    for line in lines {
        schema::check("top", &line);
        assert_eq!(line["id"], node.endpoint.id().to_string());
        assert!(line["rates"]["received"]["messages"].is_number(), "{line}");
        assert_eq!(line["ready"]["status"], "ok");
    }
}

#[test]
fn top_observes_a_peer_without_http() {
    let node = Peer::plain();
    let mut top = node.start(&["top"]);
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        node.endpoint.publish("/t/x", &Value::Count(1)).unwrap();
        let report: serde_json::Value = serde_json::from_str(&top.line()).unwrap();
        schema::check("top", &report);
        let peer = &report["peers"][0];
        assert_eq!(peer["id"], node.endpoint.id().to_string());
        if peer["received"]["messages"].as_u64().unwrap() > 0 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{report}");
    }
    top.signal(rustix::process::Signal::INT);
    top.end().expect(130);
}

#[test]
fn whether_messages_are_passed_on_is_told() {
    for is_disabled in [false, true] {
        let endpoint = Endpoint::builder().disable_forwarding(is_disabled);
        let endpoint = endpoint.build().unwrap();
        let url = serve(&endpoint, None);
        let line = run(&["status", &url, "--json"]).expect(0).json().remove(0);
        assert_eq!(line["stats"]["forwarding"], !is_disabled);
    }
}

/// Answers each request for a path with its document.
fn answering(documents: &'static [(&'static str, &'static str)]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = String::new();
            let mut lines = BufReader::new(&stream);
            while !request.ends_with("\r\n\r\n") {
                if !matches!(lines.read_line(&mut request), Ok(1..)) {
                    break;
                }
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let document = documents.iter().find(|(of, _)| *of == path);
            let document = document.map_or("{}", |(_, document)| document);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{document}",
                document.len()
            );
        }
    });
    url
}

#[test]
fn what_the_policy_denied_is_told_of_the_node_and_of_its_forwarder() {
    let url = answering(&[
        ("/readyz", r#"{"status":"ok","reasons":[]}"#),
        (
            "/v1/stats",
            r#"{"policy":{"permissive":true,"allowed":9,"denied":43,"limited":5,"failures":7},
                "forwarders":[{"xpub":"0.0.0.0:5555","xsub":"0.0.0.0:5556","messages":77,
                "dropped":3,"denied":41,"connections":[]}]}"#,
        ),
    ]);
    let out = run(&["status", &url]).expect(0).out;
    let policy = "43 messages denied, 5 limited, 7 connections without proof; it is permissive";
    assert!(out.contains(policy), "{out}");
    let mut lines = out.lines().skip_while(|line| !line.contains("FORWARDER"));
    assert!(lines.next().unwrap().ends_with("  DENIED"), "{out}");
    assert!(lines.next().unwrap().ends_with("  41"), "{out}");
}
