//! What strangers name and say, in the output of each command that shows it.
//!
//! In text nothing of it commands a terminal, turns what follows around or is without end; with `--json`
//! each line is valid JSON.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use broker::zeek::{EventBuilder, Message};
use broker::{Backend, HttpOptions, Value};

use crate::process::{Ended, Peer, run};

/// The title of a window, the screen cleared in one byte and in two, a carriage return, marks that turn
/// the direction, an end of line.
const HOSTILE: &str = "\x1b]0;x\x07\u{9b}2J\x1b[2J\r\u{202e}evil\u{200f}\u{61c}\nX";

/// Not UTF-8, and hostile as well.
fn bytes() -> Vec<u8> {
    [b"/\xff\xc3\x1b[2J", HOSTILE.as_bytes()].concat()
}

/// Bytes of a line of a report at most, whatever the names in it are.
const LINE_MAX: usize = 4000;

#[track_caller]
fn assert_harmless(ended: &Ended) {
    for output in [&ended.out, &ended.err] {
        let is_hidden = |it: char| {
            (it.is_control() && it != '\n')
                || matches!(it, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        };
        let hidden: Vec<char> = output.chars().filter(|it| is_hidden(*it)).collect();
        assert!(hidden.is_empty(), "{hidden:?} in {output:?}");
    }
}

#[track_caller]
fn assert_short(ended: &Ended) {
    let lines = ended.out.lines().chain(ended.err.lines());
    let longest = lines.map(str::len).max().unwrap_or(0);
    assert!(longest <= LINE_MAX, "a line of {longest} bytes: {ended:?}");
}

/// A node whose topics, names, keys and values are all hostile.
struct Stranger {
    peer: Peer,
    http: String,
    _subscribers: Vec<broker::Subscriber>,
    _store: broker::Store,
}

impl Stranger {
    fn new() -> Self {
        let peer = Peer::plain();
        let endpoint = &peer.endpoint;
        let own = format!("zeek/control/{}", endpoint.id());
        let name = format!("zeek/cluster/node/{HOSTILE}/");
        let topics = [name.into_bytes(), bytes(), vec![b'x'; 60_000], own.into()];
        let subscriber = endpoint.subscriber(topics).unwrap();
        subscriber.set_name(HOSTILE);
        let store = format!("hosts{}", HOSTILE.replace('\n', ""));
        let store = endpoint.attach_master(&store, Backend::Memory).unwrap();
        store.put(HOSTILE, HOSTILE).unwrap();
        let served = endpoint.serve_http("127.0.0.1", 0, HttpOptions::default());
        let http = format!("http://localhost:{}", served.wait().unwrap());
        Self {
            peer,
            http,
            _subscribers: vec![subscriber],
            _store: store,
        }
    }

    /// Messages that are hostile in each part.
    fn publish(&self) {
        let event = EventBuilder::new(HOSTILE).argument(HOSTILE);
        let large = "\u{202e}y".repeat(250_000);
        self.peer.endpoint.publish(bytes(), &event).unwrap();
        self.peer.endpoint.publish(bytes(), HOSTILE).unwrap();
        self.peer.endpoint.publish(bytes(), &*large).unwrap();
    }

    /// What a command that takes three messages prints of them.
    #[track_caller]
    fn takes(&self, arguments: &[&str]) -> Ended {
        let running = self.peer.start(arguments);
        self.publish();
        running.end().expect(0)
    }
}

#[test]
fn messages_of_strangers_stand_in_quotes() {
    let stranger = Stranger::new();
    for arguments in [
        &["sub", "/", "-n", "3"] as &[_],
        &["sub", "/", "-n", "3", "--header"],
        &["sub", "/", "-n", "3", "--format", "{json}"],
    ] {
        let ended = stranger.takes(arguments);
        if !arguments.contains(&"{json}") {
            assert_harmless(&ended);
        }
        assert!(ended.out.lines().count() == 3, "{arguments:?}");
    }
    let lines = stranger.takes(&["sub", "/", "-n", "3", "--json"]).json();
    assert_eq!(
        lines[1]["topic"]["hex"].as_str().unwrap().len(),
        2 * bytes().len()
    );
    assert_eq!(lines[1]["data"], HOSTILE);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.rec").to_str().unwrap().to_owned();
    assert_harmless(&stranger.takes(&["record", &path, "/", "-n", "3"]));
    let told = run(&["record", &path, "--info"]).expect(0);
    assert_harmless(&told);
    assert_short(&told);
    run(&["record", &path, "--info", "--json"]).expect(0).json();
}

#[test]
fn names_of_strangers_are_short_and_command_nothing() {
    let stranger = Stranger::new();
    let http = stranger.http.as_str();
    let status = run(&["status", http]).expect(0);
    assert!(status.out.contains("hosts\\u{1b}]0;x"), "{status:?}");
    let ping = stranger.peer.run(&["ping", "-n", "1"]).expect(0);
    let doctor = &["doctor", "--topic", "/x", "--status", http];
    let doctor = stranger.peer.run(doctor).expect(1);
    let near = stranger.peer.run(&["doctor", "--topic", "xxxx"]).expect(1);
    let nodes = stranger.peer.run(&["zeek", "nodes"]).expect(0);
    assert!(nodes.out.contains("\\u{1b}]0;x"), "{nodes:?}");
    for ended in [status, ping, doctor, near, nodes] {
        assert_harmless(&ended);
        assert_short(&ended);
    }
    run(&["status", http, "--json"]).expect(0).json();
    run(&["top", http, "-n", "1"]).expect(0).json();
    for arguments in [
        &["ping", "-n", "1", "--json"] as &[_],
        &["zeek", "nodes", "--json"],
    ] {
        stranger.peer.run(arguments).expect(0).json();
    }
    let doctor = stranger.peer.run(&["doctor", "--topic", "/x", "--json"]);
    assert!(!doctor.expect(1).json().is_empty());
}

#[test]
fn answers_of_strangers_are_lines() {
    let stranger = Stranger::new();
    let endpoint = stranger.peer.endpoint.clone();
    let own = format!("zeek/control/{}", endpoint.id());
    let asked = endpoint.subscriber([own.as_str()]).unwrap();
    std::thread::spawn(move || {
        while let Ok(message) = asked.recv() {
            if let Message::Event(_) = Message::parse(message.view()) {
                let answer = EventBuilder::new("Control::net_stats_response").argument(HOSTILE);
                endpoint
                    .publish("zeek/control/net_stats_response", &answer)
                    .unwrap();
            }
        }
    });
    let ended = stranger.peer.run(&["zeek", "net-stats"]).expect(0);
    assert_harmless(&ended);
    assert!(ended.out.contains("evil"), "{ended:?}");
    let lines = stranger.peer.run(&["zeek", "net-stats", "--json"]);
    assert_eq!(lines.expect(0).json()[0]["arguments"][0]["data"], HOSTILE);
}

#[test]
fn entries_of_strangers_stand_in_quotes() {
    let peer = Peer::plain();
    let store = peer
        .endpoint
        .attach_master("hosts", Backend::Memory)
        .unwrap();
    store.put(HOSTILE, HOSTILE).unwrap();
    store
        .put("large", &Value::from("\u{202e}y".repeat(250_000)))
        .unwrap();
    for arguments in [["ls", "hosts"], ["dump", "hosts"]] {
        let arguments = [&["store"] as &[_], &arguments].concat();
        let ended = peer.run(&arguments).expect(0);
        if arguments.contains(&"ls") {
            assert_harmless(&ended);
        }
        assert_eq!(ended.out.lines().count(), 2);
        let lines = peer.run(&[&arguments as &[_], &["--json"]].concat());
        assert_eq!(lines.expect(0).json().len(), 2);
    }
}

#[test]
fn a_server_that_says_what_it_likes_gets_one_line_of_json() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            while lines.read_line(&mut request).is_ok_and(|read| read > 2) {}
            let text = serde_json::to_string(HOSTILE).unwrap();
            let body = if request.contains("/readyz") {
                format!("{{\"status\":\"unavailable\",\"reasons\":[{text}]}}")
            } else {
                format!(
                    "{{\r\n  \"id\": {text},\n  \"version\": {text},\n  \"unknown\":\n [1]\n}}\n"
                )
            };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let ended = run(&["status", &url]).expect(1);
    assert_harmless(&ended);
    assert!(ended.out.contains("evil"), "{ended:?}");
    let lines = run(&["status", &url, "--json"]).expect(1).json();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["reasons"][0], HOSTILE);
    assert_eq!(lines[0]["stats"]["version"], HOSTILE);
}
