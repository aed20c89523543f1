//! The original's tools under their names: options, output, exit codes. Spec: tools 2 to 4.

use std::path::Path;
use std::process::{Command, Stdio};

use broker::{Endpoint, Value};

use crate::ports::reserved_port;
use crate::process::{DEADLINE, Ended, Peer, Running, run_with_input};

/// A tool with these arguments, in a folder without a configuration file.
fn tool(name: &str, arguments: &[&str]) -> Command {
    let path = match name {
        "broker-node" => env!("CARGO_BIN_EXE_broker-node"),
        "broker-pipe" => env!("CARGO_BIN_EXE_broker-pipe"),
        _ => env!("CARGO_BIN_EXE_broker-throughput"),
    };
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BROKER_")) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(name: &str, arguments: &[&str]) -> Ended {
    Running::start(&mut tool(name, arguments)).end()
}

fn peers(peer: &Peer) -> String {
    format!("--peers=[<tcp://{}>]", peer.url)
}

/// Publishes a value until the tool has ended, which it does when it has got one.
fn end_with(peer: &Peer, running: &mut Running, topic: &str, value: &Value) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while running.try_end().is_none() {
        assert!(std::time::Instant::now() < deadline, "it does not end");
        peer.endpoint.publish(topic, value).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

// --- all -----------------------------------------------------------------------------------------

#[test]
fn help_and_the_options_in_effect_are_printed() {
    for name in ["broker-node", "broker-pipe", "broker-throughput"] {
        for flag in ["-h", "-?", "--help", "--long-help"] {
            let ended = run(name, &[flag]).expect(0);
            assert!(
                ended.out.starts_with(&format!("usage: {name} ")),
                "{ended:?}"
            );
            assert!(ended.out.contains("--disable-ssl"), "{ended:?}");
        }
        let ended = run(
            name,
            &["--dump-config", "--ttl=8", "--broker.metrics.port=9911"],
        )
        .expect(0);
        assert_eq!(ended.out, "broker.metrics.port = 9911\nbroker.ttl = 8\n");
        let ended = run(name, &["--no-such-option"]).expect(1);
        let start = "*** error while reading config: ";
        assert!(
            ended.err.starts_with(start) && ended.err.contains("no-such-option"),
            "{ended:?}"
        );
        run(name, &["--config-file=/nonexistent"]).expect(1);
        run(name, &["--ttl=70000"]).expect(1);
    }
    insta::assert_snapshot!("broker-node", run("broker-node", &["-h"]).out);
    insta::assert_snapshot!("broker-pipe", run("broker-pipe", &["-h"]).out);
    insta::assert_snapshot!("broker-throughput", run("broker-throughput", &["-h"]).out);
}

#[test]
fn one_program_answers_to_all_names() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("broker-pipe");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_broker"), &link).unwrap();
    let mut command = Command::new(&link);
    command
        .arg("--help")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = Running::start(&mut command).end().expect(0);
    assert!(ended.out.starts_with("usage: broker-pipe "), "{ended:?}");
}

#[test]
fn a_configuration_file_is_read_from_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("broker.conf"), text).unwrap();
    let dump = |folder: &Path| {
        let mut command = tool("broker-node", &["--dump-config", "-m", "pong"]);
        Running::start(command.current_dir(folder)).end()
    };
    write("topics = [\"/a\", \"/b\",]\nmode = \"ping\"\nbroker { disable-ssl = true }\n");
    let expected = "broker.disable-ssl = true\nmode = \"pong\"\ntopics = [\"/a\", \"/b\"]\n";
    assert_eq!(dump(folder.path()).expect(0).out, expected);
    write("broker { ttl = \"x\" }\n");
    let ended = dump(folder.path()).expect(1);
    assert!(
        ended.err.contains("line 1") && ended.err.contains("ttl"),
        "{ended:?}"
    );
}

// --- broker-node ---------------------------------------------------------------------------------

#[test]
fn a_node_without_topics_or_with_another_mode_fails() {
    for (arguments, text) in [
        ([].as_slice(), "no topics specified"),
        (&["-t", "[\"/a\"]", "-m", "x"], "invalid mode: x"),
        (
            &["-t", "[\"/a\"]", "--endpoint-id=x"],
            "endpoint-id must be a valid UUID",
        ),
        (&["-t", "/a"], "invalid_argument(\"--topics\")"),
    ] {
        let ended = run("broker-node", arguments).expect(1);
        assert!(ended.err.contains(text), "{ended:?}");
    }
    let ended = run("broker-node", &["-t", "[\"/a\"]", "-m", "ping", "-n", "0"]).expect(0);
    assert_eq!(
        (ended.out.as_str(), ended.err.as_str()),
        ("", "send no pings: n = 0")
    );
    let mut command = tool("broker-node", &["-t", "[\"/a\"]"]);
    let ended = Running::start(command.env("BROKER_PORT", "abc"))
        .end()
        .expect(1);
    let text = "invalid value for BROKER_PORT: abc (expected a non-zero port number)";
    assert!(ended.err.contains(text), "{ended:?}");
}

#[test]
fn nodes_ping_each_other_through_a_relay() {
    let hub = Peer::plain();
    let topics = ["-t", "[\"/ping\"]", "--disable-ssl"];
    hub.endpoint.forward(["/ping"]);
    let place = peers(&hub);
    let pong = [topics.as_slice(), &["-m", "pong", "-v", &place]].concat();
    let mut pong = Running::start(&mut tool("broker-node", &pong));
    let said = pong.says("receive pings from topics [/ping]");
    // "2026-01-02T03:04:05.123": text
    assert!(
        said.starts_with('"') && said.as_bytes().get(11) == Some(&b'T'),
        "{said}"
    );
    assert_eq!(said.find("\": "), Some(24), "{said}");
    let ping = [
        "-m",
        "ping",
        "-n",
        "3",
        "-s",
        "10",
        "-v",
        "--rendezvous-retry=50ms",
        &place,
    ];
    let ping = [topics.as_slice(), &ping].concat();
    let ended = run("broker-node", &ping).expect(0);
    let times: Vec<u64> = ended
        .out
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(times.len(), 3, "{ended:?}");
    for text in ["send pings to topic /ping", "received pong 3", "AVG: "] {
        assert!(ended.err.contains(text), "{text}: {ended:?}");
    }
    pong.says("received ping 3");
    let stop = Value::String("stop".into());
    end_with(&hub, &mut pong, "/ping", &stop);
    let ended = pong.end().expect(0);
    assert!(ended.err.contains("received stop"), "{ended:?}");
}

#[test]
fn a_relay_listens_has_a_store_and_ends_on_stop() {
    let port = reserved_port();
    let id = "1b2f7d0e-6d0c-5f3c-9d1c-1f7f5c1f6a11";
    let arguments = [
        "-t",
        "[\"/x\"]",
        "--disable-ssl",
        "-v",
        "-r",
        "-p",
        &port.to_string(),
        "--master-stores=[\"s\"]",
        &format!("--endpoint-id={id}"),
    ];
    let mut relay = Running::start(&mut tool("broker-node", &arguments));
    relay.says("relay messages");
    let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
    endpoint
        .peer("127.0.0.1", port, broker::Retry::Never)
        .wait()
        .unwrap();
    assert_eq!(endpoint.peers()[0].id.to_string(), id);
    let store = endpoint
        .attach_clone("s", broker::CloneOptions::default())
        .unwrap();
    store.put("k", &1_u64).unwrap();
    relay.says("peer_added");
    relay.says("/s");
    endpoint
        .publish("/x", &Value::String("stop".into()))
        .unwrap();
    relay.says("received stop");
    relay.end().expect(0);
    // The port is taken.
    let taken = std::net::TcpListener::bind("[::]:0")
        .or_else(|_| std::net::TcpListener::bind("0.0.0.0:0"))
        .unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = run("broker-node", &["-t", "[\"/x\"]", "-p", &port]).expect(1);
    assert!(ended.err.contains(&port), "{ended:?}");
}

// --- broker-pipe ---------------------------------------------------------------------------------

fn pipe_peer(peer: &Peer) -> String {
    format!("--peers=[\"{}\"]", peer.url)
}

#[test]
fn lines_are_published_as_strings() {
    let peer = Peer::plain();
    let messages = peer.endpoint.subscriber(["/lines"]).unwrap();
    let arguments = [
        "-m",
        "publish",
        "-t",
        "/lines",
        "--disable-ssl",
        &pipe_peer(&peer),
    ];
    let ended = run_with_input(&mut tool("broker-pipe", &arguments), "a\n\n  b \nlast").expect(0);
    assert_eq!(ended.out, "*** published 4 messages, byte\n");
    for expected in ["a", "", "  b ", "last"] {
        let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(message.view().as_bytes(), Some(expected.as_bytes()));
    }
    let arguments = [arguments.as_slice(), &["-c", "1", "-i", "select"]].concat();
    let ended = run_with_input(&mut tool("broker-pipe", &arguments), "a\nb\n").expect(0);
    assert_eq!(ended.out, "");
    // Status events are told in the original's words.
    let start = "*** data(<$>/local/data/statuses, (status, ";
    assert!(
        ended.err.is_empty() || ended.err.contains(start),
        "{ended:?}"
    );
}

#[test]
fn messages_are_printed_and_the_cap_ends_it() {
    for implementation in ["blocking", "select", "stream"] {
        let peer = Peer::plain();
        let arguments = [
            "-m",
            "subscribe",
            "-t",
            "/lines",
            "-c",
            "3",
            "-i",
            implementation,
            "--disable-ssl",
            &pipe_peer(&peer),
        ];
        let running = Running::start(&mut tool("broker-pipe", &arguments));
        peer.await_peer();
        peer.endpoint.publish("/lines/a", "plain \"text\"").unwrap();
        peer.endpoint
            .publish("/lines", &(1_u64, "x", true))
            .unwrap();
        peer.endpoint.publish("/lines", &-5_i64).unwrap();
        let ended = running.end().expect(0);
        let expected =
            "data(/lines/a, plain \"text\")\ndata(/lines, (1, x, T))\ndata(/lines, -5)\n";
        assert_eq!(ended.out, expected, "{ended:?}");
        let event = "*** data(<$>/local/data/statuses, (status, peer_added, (";
        assert!(ended.err.contains(event), "{ended:?}");
    }
}

#[test]
fn rates_are_printed_instead_of_messages() {
    let peer = Peer::plain();
    let arguments = [
        "-m",
        "subscribe",
        "-t",
        "/r",
        "-r",
        "-c",
        "1000",
        "--disable-ssl",
        &pipe_peer(&peer),
    ];
    let mut running = Running::start(&mut tool("broker-pipe", &arguments));
    peer.await_peer();
    peer.endpoint.publish("/r", "x").unwrap();
    while running.line() != "1" {}
    (0..999).for_each(|_| peer.endpoint.publish("/r", "x").unwrap());
    running.end().expect(0);
}

#[test]
fn what_the_pipe_does_not_understand() {
    for (arguments, code, text) in [
        (
            ["-m", "x"].as_slice(),
            0,
            "*** invalid mode or implementation setting",
        ),
        (
            &["-m", "publish", "-i", "stream"],
            0,
            "*** invalid mode or implementation setting",
        ),
        (
            &["-m", "publish", "--peers=[\"x\"]"],
            0,
            "*** invalid peer: x",
        ),
        (
            &["-m", "publish", "--peers=[\"x:y\"]"],
            0,
            "*** invalid port: y",
        ),
        (&["-m", "publish", "more"], 1, "*** too many arguments"),
    ] {
        let ended = run("broker-pipe", arguments).expect(code);
        assert!(ended.err.contains(text), "{ended:?}");
    }
}

// --- broker-throughput ---------------------------------------------------------------------------

#[test]
fn a_server_counts_events_also_those_in_batches() {
    let place = format!("127.0.0.1:{}", reserved_port());
    let server = ["--server", "--verbose", "--disable-ssl", &place];
    let mut server = Running::start(&mut tool("broker-throughput", &server));
    server.prints("rate: 0 events/s");
    let client = ["-s", "5", "-r", "100", "--disable-ssl", &place];
    let client = Running::start(&mut tool("broker-throughput", &client));
    let added = server.prints("peer_added(");
    assert!(
        added.ends_with("\")") && added.contains(", 127.0.0.1:"),
        "{added}"
    );
    // Every batch counts as five. A second may go by before the first one comes.
    let mut some = 0;
    while some < 2 {
        let rate = server.prints("rate: ");
        let number: u64 = rate.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(number % 5, 0, "{rate}");
        some += u32::from(number > 0);
    }
    let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
    let (host, port) = place.split_once(':').unwrap();
    let peering = endpoint.peer(host, port.parse().unwrap(), broker::Retry::Never);
    peering.wait().unwrap();
    endpoint
        .publish("/benchmark/terminate", &Value::None)
        .unwrap();
    server.end().expect(0);
    client.signal(rustix::process::Signal::TERM);
    client.end().expect(130);
}

#[test]
fn every_kind_of_event_is_sent() {
    for (kind, arguments) in [("1", 2), ("2", 22), ("3", 2)] {
        let peer = Peer::plain();
        let messages = peer.endpoint.subscriber(["/benchmark/events"]).unwrap();
        let client = ["-t", kind, "-r", "0", "--disable-ssl", &peer.url];
        let client = Running::start(&mut tool("broker-throughput", &client));
        let message = messages.recv_timeout(DEADLINE).unwrap().unwrap();
        let broker::zeek::Message::Event(event) = broker::zeek::Message::parse(message.view())
        else {
            panic!("{}", message.view());
        };
        assert_eq!(event.name(), format!("event_{kind}").as_bytes());
        assert_eq!(event.arguments().elements().count(), arguments);
        client.signal(rustix::process::Signal::INT);
        client.end().expect(130);
    }
}

#[test]
fn throughput_needs_an_address_with_a_colon() {
    for arguments in [
        [].as_slice(),
        &["localhost"],
        &["localhost:x"],
        &["-t", "4", "h:"],
    ] {
        let ended = run("broker-throughput", arguments).expect(1);
        assert!(ended.err.contains("usage: broker-throughput"), "{ended:?}");
    }
}
