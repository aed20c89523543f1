//! ZeroMQ clusters: what has an encrypted proxy of our own behind it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use broker::proto::zmtp::{KEY_FILES, KEY_VARIABLES};
use broker::zeek::{EventBuilder, Message};
use broker::zeromq::{
    Curve, CurveKeys, Forwarder, ForwarderOptions, KeyPair, LogReceiver, LogReceiverOptions,
    LogSender, LogSenderOptions, generate_curve_keypair,
};
use broker::{Endpoint, Options, Retry, ZeroMqPeerOptions};

use crate::ports::reserved_port;
use crate::process::{DEADLINE, Ended, Running, command, run};
use crate::schema;

/// A cluster that is encrypted: its proxy, and its keys as zeekctl keeps them.
struct Cluster {
    folder: tempfile::TempDir,
    keys: [String; 4],
    _forwarder: Forwarder,
    url: String,
}

fn directory(folder: &Path, keys: &[String; 4]) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, key) in KEY_FILES.iter().zip(keys) {
        let path = folder.join(name);
        std::fs::write(&path, format!("{key}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn texts(server: &KeyPair, client: &KeyPair) -> [String; 4] {
    [
        server.public.to_string(),
        server.secret.reveal(),
        client.public.to_string(),
        client.secret.reveal(),
    ]
}

impl Cluster {
    fn start() -> Self {
        let pair = || generate_curve_keypair().unwrap();
        let (server, client) = (pair(), pair());
        let mut options = ForwarderOptions::default();
        options.xpub = "tcp://127.0.0.1:0".into();
        options.xsub = "tcp://127.0.0.1:0".into();
        options.curve = Curve::Keys(CurveKeys {
            server_public: Some(server.public),
            server_secret: Some(server.secret.clone()),
            client_public: Some(client.public),
            client_secret: Some(client.secret.clone()),
        });
        let forwarder = Forwarder::bind(options).unwrap();
        let (xpub, xsub) = (
            forwarder.xpub_address().port(),
            forwarder.xsub_address().port(),
        );
        let (folder, keys) = (tempfile::tempdir().unwrap(), texts(&server, &client));
        directory(&folder.path().join("keys"), &keys);
        // Of somebody else: the right server, but a client that it does not know.
        let other = texts(&server, &pair());
        directory(&folder.path().join("other"), &other);
        Self {
            folder,
            keys,
            _forwarder: forwarder,
            url: format!("zmq://127.0.0.1:{xpub}?xsub={xsub}"),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Arguments with the address and these keys.
    fn arguments(&self, arguments: &[&str], curve: &str) -> Vec<String> {
        let more = ["-u", &self.url, "--curve", curve];
        arguments
            .iter()
            .chain(&more)
            .map(|it| (*it).to_owned())
            .collect()
    }

    fn command(&self, arguments: &[&str], curve: &str) -> std::process::Command {
        let arguments = self.arguments(arguments, curve);
        command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let ended = Running::start(&mut self.command(arguments, &self.path("keys"))).end();
        self.check(&ended);
        ended
    }

    /// No secret is said.
    #[track_caller]
    fn check(&self, ended: &Ended) {
        for secret in [&self.keys[1], &self.keys[3]] {
            let is_shown = ended.out.contains(secret) || ended.err.contains(secret);
            assert!(!is_shown, "{ended:?}");
        }
    }

    /// An endpoint that is a member.
    fn member(&self) -> Endpoint {
        let options = Options {
            zeromq_peer: ZeroMqPeerOptions {
                curve: Curve::at(self.path("keys")),
                ..ZeroMqPeerOptions::default()
            },
            ..Options::default()
        };
        let endpoint = Endpoint::builder().options(options).build().unwrap();
        endpoint.peer_url(&self.url, Retry::Never).wait().unwrap();
        endpoint
    }
}

#[test]
fn commands_join_an_encrypted_cluster() {
    let cluster = Cluster::start();
    let member = cluster.member();
    let heard = member.subscriber(["/tool"]).unwrap();
    cluster
        .run(&[
            "pub",
            "/tool",
            "--event",
            "ping",
            "5c",
            "--wait-for-subscriber",
        ])
        .expect(0);
    let message = heard.recv_timeout(DEADLINE).unwrap().expect("the event");
    assert_eq!(message.topic(), b"/tool");

    let mut sub =
        Running::start(&mut cluster.command(&["sub", "/script", "-n", "1"], &cluster.path("keys")));
    assert!(member.await_subscriber("/script", DEADLINE).wait());
    let event = EventBuilder::new("pong").argument(&5_u64);
    member.publish("/script", &event).unwrap();
    assert!(sub.line().ends_with("/script pong(5c)"));
    cluster.check(&sub.end().expect(0));

    let ended = cluster.run(&["ping"]).expect(0);
    for part in ["protocol     ZeroMQ", "encryption   CURVE", "/tool"] {
        assert!(ended.out.contains(part), "{ended:?}");
    }
    let lines = cluster.run(&["ping", "--json"]).expect(0).json();
    schema::check("ping", &lines[0]);
    assert_eq!(lines[0]["curve"], true);
    cluster.run(&["status"]).expect(0);
    let ended = cluster.run(&["doctor", "--topic", "/tool"]).expect(0);
    assert!(ended.out.contains("CURVE encrypts"), "{ended:?}");
}

/// More than one write of a socket.
const ITEMS: usize = 5000;

#[test]
fn intelligence_reaches_the_manager_of_a_cluster() {
    let cluster = Cluster::start();
    let add = ["intel", "add", "192.0.2.66"];
    let ended = cluster.run(&[&add[..], &["--timeout", "50ms"]].concat());
    let what = "no peer is subscribed to `zeek.cluster.manager`";
    assert!(ended.expect(4).err.contains(what));
    let manager = cluster.member();
    let heard = manager.subscriber(["zeek.cluster.manager"]).unwrap();
    cluster.run(&add).expect(0);
    let message = heard.recv_timeout(DEADLINE).unwrap().expect("the event");
    let Message::Event(event) = Message::parse(message.view()) else {
        panic!("an event");
    };
    assert_eq!(event.name(), b"Intel::insert_item");

    // The command is at its end when the proxy has everything.
    let feed = cluster.path("feed.dat");
    let lines = (0..ITEMS).map(|number| format!("d{number}.example\tIntel::DOMAIN\n"));
    let text: String = lines.collect();
    std::fs::write(&feed, format!("#fields\tindicator\tindicator_type\n{text}")).unwrap();
    cluster.run(&["intel", "load", &feed]).expect(0);
    for number in 0..ITEMS {
        let message = heard.recv_timeout(DEADLINE).unwrap().expect("an event");
        let item = message.value().to_string();
        let indicator = format!("d{number}.example,");
        assert!(item.contains(&indicator), "{indicator} in {item}");
    }

    // One command for two kinds of cluster has to be told the topic.
    let ended = cluster.run(&[&add[..], &["-u", "127.0.0.1:1"]].concat());
    assert!(ended.expect(2).err.contains("--topic"));
}

#[test]
fn keys_are_found_in_the_environment_in_files_and_in_contexts() {
    let cluster = Cluster::start();
    let ping = ["ping", &cluster.url];
    let with_environment = |arguments: &[&str]| {
        let mut command = command(arguments);
        for (name, key) in KEY_VARIABLES.iter().zip(&cluster.keys) {
            command.env(name, key);
        }
        Running::start(&mut command).end()
    };
    let ended = with_environment(&ping).expect(0);
    assert!(ended.out.contains("CURVE"), "{ended:?}");
    // The command line counts more.
    let ended = with_environment(&[&ping[..], &["--curve", "off"]].concat()).expect(5);
    assert!(ended.err.contains("encrypted with CURVE"), "{ended:?}");

    let file = cluster.path("all");
    let lines = KEY_VARIABLES.iter().zip(&cluster.keys);
    let lines: String = lines.map(|(name, key)| format!("{name}={key}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let ended = run(&[&ping[..], &["--curve", &file]].concat()).expect(0);
    cluster.check(&ended);

    let config = cluster.path("contexts.toml");
    let in_config = |arguments: &[&str]| {
        let mut command = command(arguments);
        Running::start(command.env("BROKER_CONFIG", &config)).end()
    };
    let keys = cluster.path("keys");
    in_config(&[
        "context",
        "add",
        "lab",
        "-u",
        &cluster.url,
        "--curve",
        &keys,
    ])
    .expect(0);
    let shown = in_config(&["context", "show", "lab", "--json"]).expect(0);
    schema::check("context", &shown.json()[0]);
    assert_eq!(shown.json()[0]["curve"], keys);
    let ended = in_config(&["-c", "lab", "ping"]).expect(0);
    assert!(ended.out.contains("CURVE"), "{ended:?}");
    for ended in [shown, ended] {
        cluster.check(&ended);
    }
}

#[test]
fn keys_that_do_not_fit_are_told_and_never_shown() {
    let cluster = Cluster::start();
    let ended = Running::start(&mut cluster.command(&["ping"], &cluster.path("other"))).end();
    assert!(
        ended.err.contains("refused the CURVE client key"),
        "{ended:?}"
    );
    assert!(ended.err.contains("--curve DIRECTORY"), "{ended:?}");
    cluster.check(&ended.expect(5));
    let mut doctor = cluster.command(&["doctor", "--json"], &cluster.path("other"));
    let ended = Running::start(&mut doctor).end().expect(5);
    let finding = ended
        .json()
        .into_iter()
        .find(|it| it["code"] == "zeromq-keys");
    assert_eq!(finding.unwrap()["step"], "tls", "{ended:?}");
    cluster.check(&ended);
    // What is not complete is no reason to go on without.
    std::fs::remove_file(cluster.folder.path().join("keys/client_secretkey")).unwrap();
    let ended = cluster.run(&["sub", "/t"]).expect(2);
    assert!(
        ended.err.contains("`client_secretkey` is missing"),
        "{ended:?}"
    );
    let ended = cluster.run(&["pub", "/t", "5c"]).expect(2);
    assert!(
        ended.err.contains("`client_secretkey` is missing"),
        "{ended:?}"
    );
    let ended = Running::start(&mut cluster.command(&["ping"], &cluster.path("kyes"))).end();
    assert!(
        ended.err.contains("does not exist") && ended.err.contains("keys"),
        "{ended:?}"
    );
    ended.expect(2);
    let mut command = command(&["ping", &cluster.url]);
    let ended = Running::start(command.env(KEY_VARIABLES[3], &cluster.keys[3])).end();
    assert!(ended.err.contains(KEY_VARIABLES[0]), "{ended:?}");
    cluster.check(&ended.expect(2));
}

// --- Logs ----------------------------------------------------------------------------------------

/// A batch of a log with one count in each record, as nodes push it. Spec: zeromq 7.2.
fn batch(path: &str, numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut text = |text: &str| {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    text(&format!("{path}::LOG"));
    text("Log::WRITER_ASCII");
    text("default");
    text(path);
    bytes.extend_from_slice(&1_u32.to_be_bytes());
    bytes.push(0);
    bytes.extend_from_slice(b"\0\0\0\x01n\0\0\0\x03\0\0\0\0\0");
    let count = u32::try_from(numbers.end - numbers.start).unwrap();
    bytes.extend_from_slice(&count.to_be_bytes());
    for number in numbers {
        bytes.extend_from_slice(b"\0\0\0\x03\0\0\0\0\x01");
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn sender(running: &mut Running, curve: Curve) -> LogSender {
    let listening = running.says("listening at ");
    let address = listening.rsplit_once(' ').unwrap().1;
    let mut options = LogSenderOptions::default();
    options.curve = curve;
    LogSender::connect(address, options).unwrap()
}

const PULL: [&str; 2] = ["-u", "zmq-pull://127.0.0.1:0"];

fn start(arguments: &[&str]) -> Running {
    Running::start(&mut command(&[arguments, &PULL].concat()))
}

#[test]
fn logs_that_nodes_push_are_shown_filtered_and_passed_on() {
    let mut options = LogReceiverOptions::default();
    options.curve = Curve::Off;
    let logger = LogReceiver::bind("zmq-pull://127.0.0.1:0", options).unwrap();
    let behind = format!("zmq-push://{}", logger.local_address());
    let arguments = [
        "logs",
        "a",
        "-w",
        "n >= 2",
        "-n",
        "3",
        "--forward-to",
        &behind,
    ];
    let mut running = start(&arguments);
    let node = sender(&mut running, Curve::Off);
    // What makes no sense is told, and does not matter to the rest.
    let messages = [batch("b", 0..5), b"nonsense".to_vec(), batch("a", 0..5)];
    for message in &messages {
        assert!(node.send(message));
    }
    let ended = running.end().expect(0);
    let expected: Vec<_> = (2..5)
        .map(|n| serde_json::json!({"_path": "a", "n": n}))
        .collect();
    assert_eq!(ended.json(), expected);
    assert!(ended.err.contains("a log batch"), "{ended:?}");
    for message in &messages {
        let passed_on = logger.recv_timeout(DEADLINE).unwrap().expect("a message");
        assert_eq!(passed_on.parts().nth(3).unwrap(), message);
    }

    let mut running = start(&["logs", "--format", "tsv", "-n", "1"]);
    let node = sender(&mut running, Curve::Off);
    assert!(node.send(&batch("a", 7..8)));
    let out = running.end().expect(0).out;
    assert!(
        out.starts_with("#separator \\x09\n") && out.contains("\n7\n#close"),
        "{out}"
    );
}

#[test]
fn what_is_to_be_passed_on_is_waited_for_at_the_end() {
    let behind = format!("zmq-push://127.0.0.1:{}", reserved_port());
    let mut running = start(&["logs", "-n", "1", "--forward-to", &behind]);
    let node = sender(&mut running, Curve::Off);
    assert!(node.send(&batch("a", 0..1)));
    assert_eq!(running.line(), "{\"_path\":\"a\",\"n\":0}");
    // It has what it was started for, and the logger comes only now.
    let mut options = LogReceiverOptions::default();
    options.curve = Curve::Off;
    let pull = behind.replace("push", "pull");
    let logger = LogReceiver::bind(&pull, options).unwrap();
    let passed_on = logger.recv_timeout(DEADLINE).unwrap().expect("a message");
    assert_eq!(passed_on.parts().nth(3).unwrap(), batch("a", 0..1));
    running.end().expect(0);
}

#[test]
fn names_that_a_node_makes_up_lead_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("logs");
    let write = inside.display().to_string();
    let mut running = start(&["logs", "-n", "3", "--write", &write]);
    let node = sender(&mut running, Curve::Off);
    for path in ["../evil", "/evil", "\x1b[2J\n#fields"] {
        assert!(node.send(&batch(path, 0..1)));
    }
    let ended = running.end().expect(0);
    assert!(
        !ended.out.contains('\x1b') && !ended.err.contains('\x1b'),
        "{ended:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let files = std::fs::read_dir(&inside).unwrap();
    let logs = files.filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".log")
    });
    assert_eq!(logs.count(), 3);
    let mut running = start(&["logs", "-n", "1", "--format", "tsv"]);
    let node = sender(&mut running, Curve::Off);
    assert!(node.send(&batch("\x1b[2J\n#fields", 0..1)));
    let out = running.end().expect(0).out;
    assert!(
        !out.contains('\x1b') && out.matches("\n#fields").count() == 1,
        "{out}"
    );
}

#[test]
fn a_logger_of_an_encrypted_cluster_has_the_keys_of_a_server() {
    let cluster = Cluster::start();
    let keys = cluster.path("keys");
    let mut running = start(&["logs", "-n", "1", "--curve", &keys]);
    let stranger = sender(&mut running, Curve::Off);
    running.says("connections were refused");
    drop(stranger);
    drop(running);
    let mut running = start(&["logs", "-n", "1", "--curve", &keys]);
    let node = sender(&mut running, Curve::at(&keys));
    assert!(node.send(&batch("a", 1..2)));
    let ended = running.end().expect(0);
    cluster.check(&ended);
    assert_eq!(ended.json()[0]["n"], 1);
    std::fs::remove_file(cluster.folder.path().join("keys/server_secretkey")).unwrap();
    let ended = run(&[&["logs", "--curve", &keys][..], &PULL].concat()).expect(2);
    assert!(
        ended.err.contains("`server_secretkey` is missing"),
        "{ended:?}"
    );
}

#[test]
fn batches_are_recorded_and_read_from_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logs.rec").display().to_string();
    let mut running = start(&["record", &file, "-n", "3"]);
    let node = sender(&mut running, Curve::Off);
    for message in [batch("a", 0..2), b"nonsense".to_vec(), batch("b", 5..6)] {
        assert!(node.send(&message));
    }
    running.end().expect(0);
    let told = run(&["record", &file, "--info", "--json"]).expect(0).json();
    assert_eq!(told[0]["topics"][0]["topic"], "zeromq/log-write");
    let ended = run(&["logs", "--recording", &file]).expect(0);
    let expected = [
        serde_json::json!({"_path": "a", "n": 0}),
        serde_json::json!({"_path": "a", "n": 1}),
        serde_json::json!({"_path": "b", "n": 5}),
    ];
    assert_eq!(ended.json(), expected);
    assert!(ended.err.contains("a log batch"), "{ended:?}");
    let ended = run(&["logs", "b", "--recording", &file]).expect(0);
    assert_eq!(ended.json(), expected[2..]);
    // A file that is cut is read as far as it goes.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let ended = run(&["logs", "--recording", &file]).expect(0);
    assert!(ended.err.contains("cannot be read"), "{ended:?}");
    run(&["logs", "--recording", "/nonexistent"]).expect(2);
}

#[test]
fn addresses_and_options_that_do_not_go_together_are_refused() {
    for (arguments, told) in [
        (
            &["logs", "-u", "zmq-pull://:0", "-u", "host:1"][..],
            "no other address",
        ),
        (
            &["logs", "--forward-to", "zmq-push://h:1", "-u", "host:1"],
            "pushed",
        ),
        (
            &["logs", "--logger", "a", "-u", "zmq-pull://127.0.0.1:0"],
            "--logger",
        ),
        (&["logs", "-u", "zmq-pull://127.0.0.1:x"], "`x` is no port"),
        (
            &["record", "f", "t", "-u", "zmq-pull://127.0.0.1:0"],
            "no topics",
        ),
        (&["record", "f", "-u", "host:1"], "no topic is given"),
    ] {
        let ended = run(arguments).expect(2);
        assert!(ended.err.contains(told), "{told}: {ended:?}");
    }
}
