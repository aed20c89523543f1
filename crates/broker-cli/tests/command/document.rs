//! The examples of docs/command.md, as they stand there but for addresses and folders.
//!
//! They run one after the other in one folder, against an endpoint that has what they ask for.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use broker::zeek::{EventBuilder, Message};
use broker::{Backend, Endpoint, HttpOptions};
use rustix::process::{Signal, kill_process_group};

use crate::process::{Peer, Running};

/// Commands that go on until they are ended.
const ENDLESS: [&str; 6] = ["sub", "logs", "watch", "bridge", "node", "--listen"];

/// What makes one of them end.
const ENDING: [&str; 8] = [
    "-n",
    "--timeout",
    "--check",
    "--print-config",
    "--import-conf",
    "-h",
    "--help",
    "--info",
];

/// Lines with commands in blocks that begin with one; others show what is printed.
fn examples() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/command.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("\n```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).filter_map(|line| {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.split("  #").next().unwrap_or_default().trim();
        let is_command = line.starts_with("broker ") || line.contains("| broker ");
        is_command.then(|| line.to_owned())
    });
    lines.collect()
}

fn is_endless(line: &str) -> bool {
    line.split('|').any(|part| {
        let words: Vec<_> = part.split_whitespace().collect();
        let is_named = |names: &[&str], word: &str| {
            names
                .iter()
                .any(|name| word == *name || word.starts_with(&format!("{name}=")))
        };
        words.iter().any(|word| ENDLESS.contains(word))
            && !words.iter().any(|word| is_named(&ENDING, word))
    })
}

/// Answers questions on `/ping`, and those of Zeek's control framework.
fn answer(endpoint: &Endpoint) {
    let control = format!("zeek/control/{}", endpoint.id());
    let topics = ["/ping", control.as_str(), "zeek/cluster/manager"];
    let questions = endpoint.subscriber(topics).unwrap();
    let endpoint = endpoint.clone();
    std::thread::spawn(move || {
        while let Ok(question) = questions.recv() {
            let Message::Event(event) = Message::parse(question.view()) else {
                continue;
            };
            let name = String::from_utf8_lossy(event.name()).into_owned();
            if name == "ping" {
                let answer = EventBuilder::new("pong").argument(&1u64);
                let _ = endpoint.publish("/pong", &answer);
            } else if let Some(request) = name.strip_suffix("_request") {
                let answer = EventBuilder::new(format!("{request}_response")).argument("x");
                let _ = endpoint.publish("zeek/control/answer", &answer);
            }
        }
    });
}

#[test]
fn every_example_works() {
    let peer = Peer::at(false, 0);
    answer(&peer.endpoint);
    let zeek = peer.endpoint.clone();
    std::thread::spawn(move || {
        // Something to be recorded, at a pace that a recorder sees the end of.
        while !zeek.is_shut_down() && zeek.publish("zeek/test", &1u64).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let _everything = peer.endpoint.subscriber(["/"]).unwrap();
    let _hosts = peer
        .endpoint
        .attach_master("hosts", Backend::Memory)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("broker.conf"),
        "broker { disable-ssl = true }\n",
    )
    .unwrap();
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let declared = "module NetControl; global done: event(id: string);";
    std::fs::write(folder.path().join("site/local.zeek"), declared).unwrap();
    std::fs::write(folder.path().join("feed.csv"), "indicator\n192.0.2.66\n").unwrap();
    let decision = r#"{"time":"2026-01-01T00:00:00Z","principal":"siem","address":"192.0.2.1","action":"subscribe","resource":"/notices/","decision":"allow","count":1}"#;
    std::fs::write(folder.path().join("audit.jsonl"), format!("{decision}\n")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_broker"), folder.path().join("broker")).unwrap();
    let search_path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap()
    );
    let served = peer
        .endpoint
        .serve_http("127.0.0.1", 0, HttpOptions::default());
    let http = format!("localhost:{}", served.wait().unwrap());
    let listed = examples();
    assert!(listed.len() > 20, "{listed:?}");
    for line in listed {
        let mut script = line.clone();
        for (written, meant) in [
            ("sensor:9999", peer.url.as_str()),
            ("manager:9999", peer.url.as_str()),
            ("localhost:9999", peer.url.as_str()),
            ("localhost:9911", http.as_str()),
            ("broker top ", "broker top -n 1 "),
            ("127.0.0.1:9911", "127.0.0.1:0"),
            ("127.0.0.1:9997", "127.0.0.1:0"),
            ("127.0.0.1:9999", "127.0.0.1:0"),
            (":9999 ", "127.0.0.1:0 "),
            ("/var/log/zeek", "logs"),
            ("--rate 10/s", "--rate 1000/s"),
            ("wss://lab:9997 --cafile ca.pem", peer.url.as_str()),
        ] {
            script = script.replace(written, meant);
        }
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .current_dir(folder.path())
            .process_group(0);
        shell.env("PATH", &search_path).env("BROKER_URL", &peer.url);
        if line.contains("broker bench") {
            // Its other end is not a peer like any other.
            shell.env_remove("BROKER_URL");
        }
        shell.env("BROKER_CONFIG", folder.path().join("contexts.toml"));
        shell.env_remove("NO_COLOR").stdin(Stdio::null());
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        peer.forget_events();
        let mut running = Running::start(&mut shell);
        if is_endless(&line) {
            if line.contains("--listen") {
                drop(running.says("listening"))
            } else {
                peer.await_peer()
            }
            kill_process_group(running.pid(), Signal::TERM).unwrap();
        }
        let ended = running.end();
        let is_good = if is_endless(&line) {
            matches!(ended.code, Some(0 | 130 | 143) | None)
        } else {
            ended.code == Some(0)
        };
        assert!(is_good, "{line}: {ended:#?}");
    }
}
