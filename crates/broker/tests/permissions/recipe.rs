//! The recipe of `docs/recipes/gateway.md`: its files, three principals, an endpoint that stands for Zeek.

use broker::zeek::Message as ZeekMessage;

use super::*;

fn file(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/gateway/");
    std::fs::read_to_string(format!("{folder}{name}")).unwrap()
}

/// The policy of the recipe with tokens, in a folder with the rest of it.
fn policy(folder: &Path) -> PolicyOptions {
    let mut text = file("policy.toml");
    for principal in ["siem", "soar", "researcher"] {
        let digest = secret(principal).digest();
        text.push_str(&format!(
            "[tokens.{principal}-1]\nsha256 = \"{digest}\"\nprincipal = \"{principal}\"\n"
        ));
    }
    let record = folder.join("audit.jsonl");
    let text = text.replace(
        "\"audit.jsonl\"",
        &format!("{:?}", record.display().to_string()),
    );
    std::fs::write(folder.join("events.txt"), file("events.txt")).unwrap();
    std::fs::write(folder.join("policy.toml"), text).unwrap();
    let file = PolicyFile::read(folder.join("policy.toml")).unwrap();
    assert_eq!(file.warnings, [""; 0]);
    file.into()
}

fn typed(kind: &str, data: &str) -> String {
    format!(r#"{{"@data-type":"{kind}","data":"{data}"}}"#)
}

fn event(name: &str, arguments: &[String]) -> String {
    json_event(name).replace(
        r#"{"@data-type":"vector","data":[]}"#,
        &format!(
            r#"{{"@data-type":"vector","data":[{}]}}"#,
            arguments.join(",")
        ),
    )
}

#[test]
fn the_page_has_the_files() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes/gateway.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in ["broker.toml", "policy.toml", "events.txt", "gateway.zeek"] {
        assert!(page.contains(&format!("\n{}```\n", file(name))), "{name}");
    }
}

#[test]
fn three_principals_have_what_they_need_of_zeek_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, port) = gateway_with(policy(folder.path()));
    let zeek = Endpoint::builder().disable_ssl(true).build().unwrap();
    let asked = zeek.subscriber(["/netcontrol/", "zeek/"]).unwrap();
    let native = zeek.listen("127.0.0.1", 0).wait().unwrap();
    gateway
        .peer("127.0.0.1", native, Retry::Never)
        .wait()
        .unwrap();
    assert!(zeek.await_peer(gateway.id(), DEADLINE).wait());
    let mut siem = subscribed(port, "siem", &[""]);
    let mut soar = subscribed(port, "soar", &["/netcontrol/out"]);
    let mut researcher = subscribed(port, "researcher", &["zeek/"]);

    // The SOAR: what it may say arrives, nothing else does, and it is told.
    let host = typed("address", "192.0.2.66");
    let lasts = typed("timespan", "300s");
    let why = typed("string", "scans");
    let drop = event(
        "NetControl::soar_drop",
        &[host.clone(), lasts.clone(), why.clone()],
    );
    let wrong_type = event(
        "NetControl::soar_drop",
        &[typed("string", "all"), lasts, why],
    );
    for (topic, bad) in [
        ("/netcontrol/in", &wrong_type),
        ("/netcontrol/in", &event("NetControl::soar_drop", &[])),
        ("/netcontrol/in", &event("NetControl::soar_other", &[])),
        ("/netcontrol/in", &event("NetControl::clear", &[])),
        ("/netcontrol/in", &event("Control::shutdown_request", &[])),
        ("/netcontrol/out", &drop),
        ("zeek/control/manager", &drop),
    ] {
        soar.send_text(&message(topic, bad));
        assert!(
            soar.read_text().contains(r#""code":"acl_denied""#),
            "{topic} {bad}"
        );
    }
    let long = event(
        "NetControl::soar_drop",
        &[host, typed("string", &"x".repeat(5000))],
    );
    soar.send_text(&message("/netcontrol/in", &long));
    assert!(soar.read_text().contains("too large"));
    soar.send_text(&message("/netcontrol/in", &drop));
    let got = asked.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(got.topic(), b"/netcontrol/in");
    let ZeekMessage::Event(drop) = ZeekMessage::parse(got.view()) else {
        panic!("{:?}", got.view())
    };
    assert_eq!(drop.name(), b"NetControl::soar_drop");

    // The others say nothing at all.
    for client in [&mut siem, &mut researcher] {
        client.publish("/notices/x", 1);
        assert!(client.read_text().contains(r#""code":"acl_denied""#));
    }

    // What Zeek says reaches those who may have it.
    eventually("Zeek knows what is wanted", || {
        let wanted = zeek.peer_subscriptions();
        let topics = ["/netcontrol/out", "/notices/", "zeek/logs/"];
        topics.iter().all(|topic| wanted.contains(&(*topic).into()))
    });
    for topic in [
        "zeek/control/x",
        "zeek/logs/Conn::LOG",
        "zeek/logs/DNS::LOG",
        "/notices/x",
        "/netcontrol/out",
    ] {
        zeek.publish(topic, &EventBuilder::new("x")).unwrap();
    }
    let gets = |client: &mut Client, topics: &[&str]| {
        for topic in topics {
            let text = client.read_text();
            assert!(
                text.contains(&format!(r#""topic":"{topic}""#)),
                "{topic}: {text}"
            );
        }
    };
    gets(
        &mut siem,
        &["zeek/logs/Conn::LOG", "zeek/logs/DNS::LOG", "/notices/x"],
    );
    gets(&mut researcher, &["zeek/logs/DNS::LOG"]);
    gets(&mut soar, &["/netcontrol/out"]);

    gateway.shutdown().wait();
    let record = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    for expected in [
        r#""event":"NetControl::soar_drop","decision":"deny","rule":"argument 1, host: expected addr, got string""#,
        r#""event":"NetControl::soar_drop","decision":"deny","rule":"arguments: expected (host: addr, lasts: interval, why: string), got 0""#,
        r#""event":"NetControl::soar_other","decision":"deny","rule":"the schema has no such event""#,
        r#""event":"Control::shutdown_request","decision":"deny","rule":"no rule allows the event""#,
        r#""resource":"/netcontrol/in","decision":"deny","rule":"limit message_bytes_max""#,
    ] {
        assert!(record.contains(expected), "{expected}\n{record}");
    }
    assert!(
        !record.contains("scans") && !record.contains("192.0.2.66"),
        "{record}"
    );
}
