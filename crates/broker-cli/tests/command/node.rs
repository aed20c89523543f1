//! `broker node`.

use std::io::{BufRead, Write};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use broker::{CloneOptions, Endpoint, Retry, Value};
use rustix::process::Signal;

use crate::process::{DEADLINE, Peer, Running, command, run};

/// A node and the port that it listens at.
fn start(arguments: &[&str]) -> (Running, u16) {
    let mut node = Running::start(&mut command(
        &[&["node", "--listen", "127.0.0.1:0", "--no-tls"], arguments].concat(),
    ));
    let port = port(&node.says("event=\"listening\""));
    (node, port)
}

fn port(line: &str) -> u16 {
    line.rsplit_once("port=").unwrap().1.trim().parse().unwrap()
}

fn peer_of(port: u16) -> Endpoint {
    let endpoint = Endpoint::builder().disable_ssl(true).build().unwrap();
    endpoint
        .peer("127.0.0.1", port, Retry::Never)
        .wait()
        .unwrap();
    endpoint
}

#[test]
fn relays_between_peers_and_ends_with_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut node, port) = start(&["--topic", "/t"]);
        let url = format!("127.0.0.1:{port}");
        let sub = Running::start(&mut command(&[
            "sub", "/t", "-n", "1", "--no-tls", "-u", &url,
        ]));
        node.says("peer_added");
        let publish = ["pub", "/t", "1c", "--no-tls", "-u", &url];
        run(&publish).expect(0);
        assert!(sub.end().expect(0).out.ends_with("/t 1c\n"));
        node.signal(signal);
        node.says("stopped");
        node.end().expect(0);
    }
}

#[test]
fn messages_are_not_passed_on_where_that_is_off() {
    let (mut node, port) = start(&["--topic", "/t", "--no-forward"]);
    let url = format!("127.0.0.1:{port}");
    let sub = [
        "sub",
        "/t",
        "-n",
        "1",
        "--timeout",
        "700ms",
        "--no-tls",
        "-u",
        &url,
    ];
    let sub = Running::start(&mut command(&sub));
    node.says("peer_added");
    run(&["pub", "/t", "1c", "--no-tls", "-u", &url, "--drain"]).expect(0);
    sub.end().expect(4);
}

#[test]
fn serves_websocket_clients() {
    let arguments = ["--ws-listen", "127.0.0.1:0", "--topic", "/t"];
    let (mut node, native) = start(&arguments);
    let web_socket = port(&node.says("listening-web-socket"));
    let url = format!("ws://127.0.0.1:{web_socket}");
    let sub = Running::start(&mut command(&["sub", "/t", "-n", "1", "-u", &url]));
    node.says("web-socket-client-added");
    peer_of(native).publish("/t", "hello").unwrap();
    assert!(sub.end().expect(0).out.ends_with("/t \"hello\"\n"));
}

#[test]
fn keeps_stores_in_memory_and_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kept.sqlite");
    let store = format!("kept={}", file.display());
    let (node, port) = start(&["--store", "fleeting", "--store", &store]);
    for name in ["fleeting", "kept"] {
        let endpoint = peer_of(port);
        let clone = endpoint
            .attach_clone(name, CloneOptions::default())
            .unwrap();
        clone.put("key", &1u64).unwrap();
        assert!(clone.await_idle(DEADLINE));
        assert_eq!(clone.get("key").unwrap(), Some(Value::Count(1)));
        endpoint.shutdown().wait();
    }
    node.signal(Signal::TERM);
    node.end().expect(0);
    let (_node, port) = start(&["--store", &store]);
    let endpoint = peer_of(port);
    let clone = endpoint
        .attach_clone("kept", CloneOptions::default())
        .unwrap();
    assert_eq!(clone.get("key").unwrap(), Some(Value::Count(1)));
}

#[test]
fn tells_the_service_manager() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut node = command(&["node", "--listen", "127.0.0.1:0", "--no-tls"]);
    node.env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000");
    let node = Running::start(&mut node);
    let hears = |expected: &str| {
        let mut buffer = [0; 256];
        loop {
            let length = manager.recv(&mut buffer).unwrap();
            let said = String::from_utf8_lossy(&buffer[..length]);
            let said = said.trim_end().to_owned();
            if said.starts_with(expected) {
                return said;
            } else {
                assert_eq!(said, "WATCHDOG=1")
            }
        }
    };
    hears("READY=1");
    hears("WATCHDOG=1");
    node.signal(Signal::HUP);
    assert!(hears("RELOADING=1").contains("MONOTONIC_USEC="));
    hears("READY=1");
    node.signal(Signal::TERM);
    hears("STOPPING=1");
    node.end().expect(0);
}

#[test]
fn listens_at_a_socket_that_the_service_manager_keeps() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Descriptor 3, and the number of the process that it is meant for.
    let script =
        "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" node --no-tls";
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", script, env!("CARGO_BIN_EXE_broker")])
        .env_remove("NOTIFY_SOCKET")
        .stdin(std::os::fd::OwnedFd::from(listener))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut node = Running::start(&mut shell);
    node.says("started");
    run(&["ping", &format!("127.0.0.1:{port}"), "--no-tls", "-n", "1"]).expect(0);
    node.signal(Signal::TERM);
    node.end().expect(0);
}

/// The answer to a request at that port.
fn ask(port: u16, head: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("{head}Host: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    std::io::BufReader::new(stream)
        .read_line(&mut line)
        .unwrap();
    line
}

/// A node with three sockets, and the names that the service manager says they have.
fn node_with_sockets(names: &str, log: &std::path::Path) -> (std::process::Child, [u16; 3]) {
    let sockets = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = sockets.each_ref().map(|it| it.local_addr().unwrap().port());
    let [first, second, third] = sockets.map(|it| Stdio::from(std::os::fd::OwnedFd::from(it)));
    let script = "exec 3<&0 4<&1 5<&2 </dev/null >/dev/null 2>\"$1\"; \
                  export LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=\"$2\"; \
                  exec \"$0\" node --no-tls";
    let mut shell = std::process::Command::new("sh");
    let child = shell
        .args(["-c", script, env!("CARGO_BIN_EXE_broker")])
        .args([log.as_os_str(), names.as_ref()])
        .env_remove("NOTIFY_SOCKET")
        .stdin(first)
        .stdout(second)
        .stderr(third)
        .spawn()
        .unwrap();
    (child, ports)
}

#[test]
fn each_socket_that_it_is_given_is_for_what_its_name_says() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let names = "http:broker-node.socket:websocket";
    let (mut node, [http, native, web_socket]) = node_with_sockets(names, log.path());
    let said = || std::fs::read_to_string(log.path()).unwrap();
    // They listen already: what comes before the node has started waits.
    let health = ask(http, "GET /healthz HTTP/1.1\r\n");
    assert!(health.starts_with("HTTP/1.1 200"), "{health} {}", said());
    let upgrade = "GET /v1/messages/json HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let switched = ask(web_socket, upgrade);
    assert!(
        switched.starts_with("HTTP/1.1 101"),
        "{switched} {}",
        said()
    );
    run(&[
        "ping",
        &format!("127.0.0.1:{native}"),
        "--no-tls",
        "-n",
        "1",
    ])
    .expect(0);
    let pid = rustix::process::Pid::from_child(&node);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(0), "{}", said());
}

#[test]
fn a_socket_for_something_unknown_is_refused() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let (mut node, _) = node_with_sockets("peers:htpp:http", log.path());
    assert_eq!(node.wait().unwrap().code(), Some(2));
    let said = std::fs::read_to_string(log.path()).unwrap();
    assert!(said.contains("`htpp`") && said.contains("`http`"), "{said}");
}

/// Children of a process, ended ones that nobody looked at included.
fn children(pid: rustix::process::Pid) -> Vec<String> {
    let pid = pid.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn is_process_1_of_a_container_that_leaves_nothing_behind() {
    let namespaces = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let may = |more: &[&str]| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(more).args(namespaces).arg("true");
        let status = unshare.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let Some(more) = [&[][..], &["--map-root-user"]]
        .into_iter()
        .find(|it| may(it))
    else {
        println!("SKIPPED: `unshare --pid` is not permitted here");
        return;
    };
    // The first process becomes the node; the orphan is its child then, and ends by itself.
    let script = "(sh -c 'read line' <\"$1\" &); exec \"$0\" node --listen 127.0.0.1:0 --no-tls";
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut unshare = std::process::Command::new("unshare");
    unshare
        .args(more)
        .args(namespaces)
        .args(["sh", "-c", script, env!("CARGO_BIN_EXE_broker")])
        .arg(&pipe)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut outside = Running::start(&mut unshare);
    outside.says("started");
    let [node] = &children(outside.pid())[..] else {
        panic!("`unshare` has one child");
    };
    let node = rustix::process::Pid::from_raw(node.parse().unwrap()).unwrap();
    assert_eq!(children(node).len(), 1, "the orphan is there");
    std::fs::write(&pipe, "end\n").unwrap();
    let deadline = std::time::Instant::now() + DEADLINE;
    while !children(node).is_empty() {
        assert!(std::time::Instant::now() < deadline, "the orphan stays");
        std::thread::yield_now();
    }
    rustix::process::kill_process(node, Signal::TERM).unwrap();
    outside.end().expect(0);
}

#[test]
fn a_reload_changes_what_can_change_and_names_what_cannot() {
    let peer = Peer::plain();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.toml");
    let write = |more: &str| {
        let base = "listen = [\"127.0.0.1:0\"]\n";
        let rest = "[tls]\nenabled = false\n";
        std::fs::write(&path, format!("{base}{more}{rest}")).unwrap();
    };
    write("");
    let config = path.display().to_string();
    let mut node = Running::start(&mut command(&["node", "--config", &config]));
    node.says("started");
    write(&format!("peers = [\"{}\"]\nforward = false\n", peer.url));
    node.signal(Signal::HUP);
    node.says("what=\"forward\"");
    peer.await_peer();
    write("nonsense = 1\n");
    node.signal(Signal::HUP);
    node.says("nothing changed");
    write("");
    node.signal(Signal::HUP);
    node.says("peer_removed");
    node.signal(Signal::TERM);
    node.end().expect(0);
}

#[test]
fn the_file_is_checked_and_the_command_line_counts_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.toml");
    let config = path.display().to_string();
    let printed = run(&["node", "--print-config"]).expect(0).out;
    std::fs::write(&path, &printed).unwrap();
    let ended = run(&["node", "--config", &config, "--check"]).expect(0);
    assert!(ended.err.contains("makes sense"), "{ended:?}");
    std::fs::write(&path, "lisen = []\n").unwrap();
    let ended = run(&["node", "--config", &config, "--check"]).expect(2);
    assert!(ended.err.contains("line 1, column 1"), "{ended:?}");
    assert!(ended.err.contains("there is `listen`"), "{ended:?}");
    for (table, key, named) in [
        ("websocket", "clients-max = 0", "clients_max"),
        ("http", "connections-max = 0", "connections_max"),
        ("http", "origins = [\"x\"]", "`x` is no origin"),
        ("limits", "messages-max = 0", "messages_max"),
    ] {
        std::fs::write(&path, format!("[{table}]\n{key}\n")).unwrap();
        let ended = run(&["node", "--config", &config, "--check"]).expect(2);
        assert!(ended.err.contains(named), "{ended:?}");
    }
    let missing = folder.path().join("broker.tml").display().to_string();
    let ended = run(&["node", "--config", &missing]).expect(2);
    assert!(
        ended.err.contains("there is `") && ended.err.contains("broker.toml"),
        "{ended:?}"
    );
    std::fs::write(&path, "listen = [\"203.0.113.1:1\"]\n").unwrap();
    let mut node = Running::start(&mut command(&[
        "node",
        "--config",
        &config,
        "--listen",
        "127.0.0.1:0",
    ]));
    node.says("started");
    node.signal(Signal::TERM);
    node.end().expect(0);
}

#[test]
fn an_address_that_is_taken_is_a_failure() {
    let peer = Peer::plain();
    let ended = run(&["node", "--listen", &peer.url]).expect(1);
    assert!(ended.err.contains("cannot listen on"), "{ended:?}");
}

#[test]
fn the_file_of_the_original_is_converted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.conf");
    std::fs::write(&path, "broker { disable-ssl = true }\nport = 9999\n").unwrap();
    let conf = path.display().to_string();
    let converted = run(&["node", "--import-conf", &conf]).expect(0).out;
    assert_eq!(
        converted,
        "listen = [\":9999\"]\n\n[tls]\nenabled = false\n"
    );
    std::fs::write(&path, "broker {").unwrap();
    let ended = run(&["node", "--import-conf", &conf]).expect(2);
    assert!(
        ended.err.contains("line 1, column 9: expected `}`"),
        "{ended:?}"
    );
}

#[test]
fn the_environment_counts_more_than_the_file() {
    let mut node = command(&["node", "--listen", "127.0.0.1:0", "--no-tls"]);
    let mut node = Running::start(node.env("BROKER_WEB_SOCKET_PORT", "0"));
    node.says("listening-web-socket");
    node.signal(Signal::TERM);
    node.end().expect(0);
    let mut quiet = command(&["node", "--listen", "127.0.0.1:0", "--no-tls"]);
    let ended = Running::start(quiet.env("BROKER_CONSOLE_VERBOSITY", "loud")).end();
    assert!(ended.expect(2).err.contains("BROKER_CONSOLE_VERBOSITY"));
}

#[test]
fn what_a_peer_has_not_taken_is_told_at_the_end() {
    let (mut node, port) = start(&["--topic", "/t"]);
    let url = format!("127.0.0.1:{port}");
    let sub = Running::start(&mut command(&["sub", "/t", "--no-tls", "-u", &url]));
    node.says("peer_added");
    sub.stop();
    node.signal(Signal::TERM);
    let line = node.says("not-drained");
    sub.signal(Signal::CONT);
    assert!(
        line.contains("messages=") && line.contains("bytes="),
        "{line}"
    );
    node.end().expect(0);
}

#[test]
fn the_log_has_levels_per_component_and_lines_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.toml");
    let text = "listen = [\"127.0.0.1:0\"]\n[http]\nlisten = [\"127.0.0.1:0\"]\n\
                [tls]\nenabled = false\n\
                [log]\nlevel = \"error\"\nformat = \"json\"\n[log.components]\napp = \"info\"\n";
    std::fs::write(&path, text).unwrap();
    let mut node = Running::start(&mut command(&[
        "node",
        "--config",
        &path.display().to_string(),
    ]));
    let read = |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap();
    let native = read(node.says("\"listening\""));
    assert_eq!(native["component"], "app");
    assert_eq!(native["level"], "info");
    let http = read(node.says("\"listening-http\""));
    assert!(http["port"].as_u64().unwrap() > 0);
    // What the server itself says is below its level.
    let port = u16::try_from(native["port"].as_u64().unwrap()).unwrap();
    drop(peer_of(port));
    node.signal(Signal::TERM);
    let ended = node.end().expect(0);
    assert!(!ended.err.contains("http-listening"), "{ended:?}");
    assert!(!ended.err.contains("peer_added"), "{ended:?}");
}
