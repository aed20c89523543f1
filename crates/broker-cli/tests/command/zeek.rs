//! `broker zeek` and `broker intel`, against endpoints that behave as Zeek's scripts do.

use std::sync::{Arc, Mutex};

use broker::zeek::{EventBuilder, Message};
use broker::{Endpoint, Value};
use broker_cli::literal;

use crate::process::{Peer, Running, command, run, run_with_input};
use crate::schema;

/// What a scripted node was asked.
type Heard = Arc<Mutex<Vec<String>>>;

/// Has an endpoint answer control events, as `policy/frameworks/control/controllee` does.
fn controllee(peer: &Peer, name: &str) -> Heard {
    let own = format!("zeek/control/{}", peer.endpoint.id());
    let node = format!("zeek/cluster/node/{name}/");
    let messages = peer
        .endpoint
        .subscriber([own.as_str(), node.as_str()])
        .unwrap();
    let (endpoint, name) = (peer.endpoint.clone(), name.to_owned());
    let heard = Heard::default();
    let shared = heard.clone();
    std::thread::spawn(move || {
        let mut global = "5 mins".to_owned();
        while let Ok(message) = messages.recv() {
            match Message::parse(message.view()) {
                Message::IdentifierUpdate(update) => {
                    global = literal::to_text(&update.value().to_value());
                }
                Message::Event(event) => {
                    let event_name = String::from_utf8(event.name().to_vec()).unwrap();
                    let arguments = literal::to_text(&event.arguments().to_value());
                    shared
                        .lock()
                        .unwrap()
                        .push(format!("{event_name}{arguments}"));
                    answer(&endpoint, &event_name, &name, &global);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    heard
}

fn answer(endpoint: &Endpoint, request: &str, name: &str, global: &str) {
    let response = request.replace("_request", "_response");
    let topic = format!("zeek/control/{}", response.trim_start_matches("Control::"));
    let event = EventBuilder::new(&response);
    let event = match request {
        "Control::id_value_request" => event.argument("Some::global").argument(global),
        "Control::net_stats_request" => event.argument(&*format!("{name} recvd=1 dropped=0\n")),
        "Control::peer_status_request" => event.argument("peer one\npeer two\n"),
        "Control::shutdown_request" => event,
        _ => return,
    };
    endpoint.publish(&topic, &event).unwrap();
}

#[test]
fn one_process_is_asked() {
    let peer = Peer::plain();
    let heard = controllee(&peer, "manager");
    let expect = |arguments: &[&str], out: &str| {
        let ended = peer.run(&[&["zeek"], arguments].concat()).expect(0);
        assert_eq!(ended.out, out, "{arguments:?}");
    };
    expect(&["id", "Some::global"], "5 mins\n");
    expect(&["set", "Some::global", "10s"], "10s\n");
    expect(&["net-stats"], "manager recvd=1 dropped=0\n");
    expect(&["peers"], "peer one\npeer two\n");
    expect(&["shutdown", "--node", "manager"], "done\n");
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "Control::id_value_request[\"Some::global\"]",
            "Control::id_value_request[\"Some::global\"]",
            "Control::net_stats_request[]",
            "Control::peer_status_request[]",
            "Control::shutdown_request[]",
        ]
    );
    for arguments in [&["id", "Some::global"][..], &["shutdown"], &["nodes"]] {
        let ended = peer
            .run(&[&["zeek", "--json"], arguments].concat())
            .expect(0);
        for line in ended.json() {
            schema::check("zeek", &line);
        }
    }
}

#[test]
fn several_nodes_are_asked_one_after_the_other() {
    let (first, second, deaf) = (Peer::plain(), Peer::plain(), Peer::plain());
    controllee(&first, "worker-1");
    controllee(&second, "worker-2");
    let _topic = deaf
        .endpoint
        .subscriber(["zeek/cluster/node/old/"])
        .unwrap();
    let all = |arguments: &[&str]| {
        let mut all = [&["zeek"], arguments].concat();
        all.extend([
            "--no-tls",
            "-u",
            &first.url,
            "-u",
            &second.url,
            "-u",
            &deaf.url,
        ]);
        // The others have answered by then, also on a busy machine.
        all.extend(["--timeout", "4s"]);
        run(&all)
    };
    let nodes = all(&["nodes"]).expect(0).out;
    for (name, peer, note) in [
        ("worker-1", &first, ""),
        ("worker-2", &second, ""),
        ("old", &deaf, "does not listen"),
    ] {
        let line = nodes
            .lines()
            .find(|line| line.contains(&peer.endpoint.id().to_string()));
        let line = line.unwrap_or_else(|| panic!("{nodes}"));
        assert!(line.starts_with(name) && line.contains(note), "{line}");
    }
    let ended = all(&["net-stats"]).expect(4);
    let mut lines: Vec<_> = ended.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "worker-1: worker-1 recvd=1 dropped=0",
            "worker-2: worker-2 recvd=1 dropped=0"
        ]
    );
    assert!(
        ended.err.contains("frameworks/control/controllee"),
        "{ended:?}"
    );
    assert!(ended.err.contains("no answer from old"), "{ended:?}");
    let one = all(&["net-stats", "--node", "worker-2"]).expect(0);
    assert_eq!(one.out, "worker-2 recvd=1 dropped=0\n");
    let ended = all(&["net-stats", "--node", "worker-3"]).expect(4);
    assert!(ended.err.contains("`worker-1`"), "{ended:?}");
}

// --- intel ---------------------------------------------------------------------------------------

/// The next event on the topic of a manager.
#[track_caller]
fn next(messages: &broker::Subscriber) -> (String, Vec<Value>) {
    let message = messages
        .recv_timeout(crate::process::DEADLINE)
        .unwrap()
        .unwrap();
    let Message::Event(event) = Message::parse(message.view()) else {
        panic!("an event");
    };
    let Value::Vector(arguments) = event.arguments().to_value() else {
        panic!("arguments");
    };
    (String::from_utf8(event.name().to_vec()).unwrap(), arguments)
}

#[test]
fn items_reach_the_manager() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["zeek/cluster/manager"]).unwrap();
    peer.run(&[
        "intel",
        "add",
        "192.0.2.66",
        "--source",
        "mine",
        "--desc",
        "scanner",
    ])
    .expect(0);
    let (name, arguments) = next(&messages);
    assert_eq!(name, "Intel::insert_item");
    let item = literal::to_text(&arguments[0]);
    let start = "[\"192.0.2.66\", enum:Intel::ADDR, [\"mine\", \"scanner\", none, none";
    assert!(item.starts_with(start), "{item}");
    peer.run(&["intel", "rm", "evil.example", "-t", "domain", "--purge"])
        .expect(0);
    let (name, arguments) = next(&messages);
    assert_eq!(name, "Intel::remove_item");
    assert_eq!(arguments[1], Value::Boolean(true));
    let ended = peer.run(&["intel", "add", "evil.example"]).expect(2);
    assert!(ended.err.contains("--type"), "{ended:?}");
}

#[test]
fn scripts_become_the_schema_of_a_policy() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("netcontrol");
    std::fs::create_dir(&inner).unwrap();
    let types =
        "module NetControl; export { type Rule: record { id: string; cost: count &optional; }; }";
    let events = "module NetControl; global add: event(rule: Rule, where: set[addr], c: conn_id);
        global done: event(id: string); module Other; global a: event();";
    std::fs::write(inner.join("types.zeek"), types).unwrap();
    std::fs::write(folder.path().join("a.zeek"), events).unwrap();
    std::fs::write(folder.path().join("a.txt"), "global not: event();").unwrap();
    let path = folder.path().to_str().unwrap();
    let schema_of = |more: &[&str]| run(&[&["zeek", "schema", path], more].concat()).expect(0);

    let printed = schema_of(&[]);
    let lines = [
        "NetControl::add(rule: record, where: set[addr], c: any)",
        "NetControl::done(id: string)",
        "Other::a()",
    ];
    assert_eq!(printed.out.lines().collect::<Vec<_>>(), lines);
    let told = "`conn_id` is declared in none of the scripts, and `any` in the schema";
    assert!(printed.err.contains(told), "{printed:?}");
    assert_eq!(
        broker::policy::Schema::parse(&printed.out).unwrap().len(),
        3
    );

    let more = [
        "--event",
        "NetControl::*",
        "--event",
        "Other::a",
        "--fields",
    ];
    let printed = schema_of(&more);
    let with_fields = "NetControl::add(rule: record(id: string, cost: count &optional), where: set[addr], c: any)";
    assert_eq!(printed.out.lines().next(), Some(with_fields));
    assert_eq!(
        broker::policy::Schema::parse(&printed.out).unwrap().len(),
        3
    );

    let printed = schema_of(&["--event", "NetControl::done", "--json"]);
    assert!(printed.err.is_empty(), "{printed:?}");
    let [line] = printed.json().try_into().unwrap();
    schema::check("zeek", &line);
    assert_eq!(line["text"], "NetControl::done(id: string)");

    let mut piped = command(&["zeek", "schema", "-"]);
    let printed =
        run_with_input(&mut piped, "global a: event(); global a: event(x: count);").expect(0);
    assert_eq!(printed.out, "a(...)\n");
    assert!(
        printed.err.contains("`a` is declared in several ways"),
        "{printed:?}"
    );

    let ended = run(&["zeek", "schema", path, "--event", "NetControl"]).expect(1);
    assert!(
        ended.err.contains("no such event is declared there"),
        "{ended:?}"
    );
    let ended = run(&["zeek", "schema", &format!("{path}/none")]).expect(2);
    assert!(ended.err.contains("cannot read"), "{ended:?}");
}

#[test]
fn the_schema_of_the_example_is_that_of_its_script() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/gateway");
    let script = format!("{example}/gateway.zeek");
    let [drop, release] = ["NetControl::soar_drop", "NetControl::soar_release"];
    let printed = run(&[
        "zeek", "schema", &script, "--event", drop, "--event", release,
    ])
    .expect(0);
    let schema = |text: &str| broker::policy::Schema::parse(text).unwrap();
    let written = std::fs::read_to_string(format!("{example}/events.txt")).unwrap();
    assert_eq!(schema(&printed.out), schema(&written));
}

#[test]
fn a_file_is_loaded_and_what_is_wrong_with_it_told() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["zeek/cluster/manager"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.dat");
    let mut text = "#fields\tindicator\tindicator_type\tmeta.source\n".to_owned();
    for number in 0..500 {
        text.push_str(&format!("d{number}.example\tIntel::DOMAIN\tfeed\n"));
    }
    text.push_str("nonsense\tIntel::ADDR\tfeed\n");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let ended = peer
        .run(&["intel", "load", file, "--rate", "100000/s"])
        .expect(1);
    assert!(
        ended.err.contains("500 items sent, 1 lines refused"),
        "{ended:?}"
    );
    assert!(
        ended.err.contains("line 502: `nonsense` is no Intel::ADDR"),
        "{ended:?}"
    );
    for number in 0..500 {
        let (_, arguments) = next(&messages);
        let item = literal::to_text(&arguments[0]);
        assert!(
            item.starts_with(&format!("[\"d{number}.example\"")),
            "{item}"
        );
    }
    let elsewhere = peer.run(&["intel", "load", file, "--topic", "/no", "--timeout", "50ms"]);
    assert!(
        elsewhere
            .expect(4)
            .err
            .contains("no peer is subscribed to `/no`")
    );
    let ended = peer.run(&["intel", "load", &format!("{file}x")]).expect(2);
    assert!(ended.err.contains("feed.dat"), "{ended:?}");
}

#[test]
fn hits_are_those_of_the_intel_log() {
    let peer = Peer::plain();
    let mut arguments = command(&["intel", "watch", "--json", "--timeout", "50ms"]);
    arguments.args(["--no-tls", "-u", &peer.url]);
    Running::start(&mut arguments).end().expect(4);
}
