//! The forwarder of `broker node`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use broker::zeromq::{
    Curve, CurveKeys, Forwarder, ForwarderOptions, KeyPair, generate_curve_keypair,
};
use broker::{Endpoint, HttpOptions, Retry, Subscriber, Value, ZeroMqPeerOptions};
use rustix::process::Signal;
use serde_json::Value as Json;

use crate::openapi::get;
use crate::process::{DEADLINE, Peer, Running, command, run};

/// A member of the cluster, joined when this returns.
fn member(url: &str, topic: &str, keys: CurveKeys) -> (Endpoint, Subscriber) {
    let endpoint = Endpoint::new().unwrap();
    let subscriber = endpoint.subscriber([topic]).unwrap();
    let options = ZeroMqPeerOptions {
        curve: Curve::Keys(keys),
        ..ZeroMqPeerOptions::default()
    };
    let joined = endpoint.peer_zeromq(url, Retry::Never, options);
    joined.wait().unwrap();
    (endpoint, subscriber)
}

fn url(xpub: SocketAddr, xsub: SocketAddr) -> String {
    format!("zmq://127.0.0.1?xpub={}&xsub={}", xpub.port(), xsub.port())
}

fn client(server: &KeyPair, pair: &KeyPair) -> CurveKeys {
    CurveKeys {
        server_public: Some(server.public),
        client_public: Some(pair.public),
        client_secret: Some(pair.secret.clone()),
        ..CurveKeys::default()
    }
}

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "{what}: never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The value behind a name in a line of the log.
fn value<T: std::str::FromStr>(line: &str, name: &str) -> T {
    let rest = line.split(&format!(" {name}=")).nth(1).unwrap();
    let text = rest.split(' ').next().unwrap();
    text.trim().parse().ok().unwrap()
}

#[test]
fn members_meet_there_and_keys_change_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let [server, stays, goes] = [(); 3].map(|()| generate_curve_keypair().unwrap());
    write_secret(
        &folder.path().join("server_secretkey"),
        &server.secret.reveal(),
    );
    let path = folder.path().join("broker.toml");
    let write = |clients: &[&KeyPair], more: &str| {
        let clients: Vec<String> = clients.iter().map(|it| it.public.to_string()).collect();
        let text = format!(
            "[http]\nlisten = [\"127.0.0.1:0\"]\n[tls]\nenabled = false\n[forwarder]\n\
             xpub = \"tcp://127.0.0.1:0\"\nxsub = \"127.0.0.1:0\"\ncurve = {:?}\n\
             clients = {clients:?}\n{more}",
            folder.path()
        );
        std::fs::write(&path, text).unwrap();
    };
    write(&[&stays, &goes], "");
    let config = path.display().to_string();
    run(&["node", "--config", &config, "--check"]).expect(0);
    let mut node = Running::start(&mut command(&["node", "--config", &config]));
    let http: u16 = value(&node.says("listening-http"), "port");
    let line = node.says("zeromq-forwarding");
    let url = url(value(&line, "xpub"), value(&line, "xsub"));
    node.says("started");

    let (one, hears) = member(&url, "/a", client(&server, &stays));
    let (other, _) = member(&url, "/b", client(&server, &goes));
    assert!(other.await_subscriber("/a", DEADLINE).wait());
    other.publish("/a", &Value::Count(1)).unwrap();
    assert!(hears.recv_timeout(DEADLINE).unwrap().is_some());

    let (_, _, metrics) = get(http, "/metrics");
    for name in [
        "broker_forwarder_connections{xpub=",
        "broker_forwarder_received_messages_total{xpub=",
        "broker_forwarder_subscriber_waiting_bytes{xpub=",
        &format!("key=\"{}\"", stays.public),
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
    let told = run(&["status", &format!("http://127.0.0.1:{http}")])
        .expect(0)
        .out;
    assert!(told.contains("FORWARDER"), "{told}");

    let keys = || -> Vec<String> {
        let stats: Json = serde_json::from_str(&get(http, "/v1/stats").2).unwrap();
        let connections = stats["forwarders"][0]["connections"]
            .as_array()
            .unwrap()
            .clone();
        connections
            .iter()
            .map(|it| it["key"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys().len(), 4);
    write(&[&stays], "");
    node.signal(Signal::HUP);
    node.says("reloaded");
    eventually("its key is withdrawn", || other.peers().is_empty());
    eventually("the others stay", || {
        keys() == [stays.public.to_string(), stays.public.to_string()]
    });
    assert_eq!(one.peers().len(), 1);

    // What cannot change is named, and keys that make no sense change nothing.
    write(&[&stays], "queue-bytes-max = 1\n");
    node.signal(Signal::HUP);
    node.says("[forwarder], but for its keys");
    node.says("reloaded");
    write(&[], "");
    node.signal(Signal::HUP);
    assert!(
        node.says("nothing changed")
            .contains("`client_publickey` is missing")
    );
    assert_eq!(keys().len(), 2);
    node.signal(Signal::TERM);
    node.says("stopped");
    let log = node.end().expect(0).err;
    assert!(!log.contains(&server.secret.reveal()), "{log}");
}

#[test]
fn the_policy_of_the_node_judges_clients_and_a_new_one_applies_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let [server, soar, siem] = [(); 3].map(|()| generate_curve_keypair().unwrap());
    write_secret(
        &folder.path().join("server_secretkey"),
        &server.secret.reveal(),
    );
    let policy = folder.path().join("policy.toml");
    let write = |may_publish: &str| {
        let text = format!(
            "[roles.responder]\npublish = [{may_publish:?}]\n\
             subscribe = [\"zeek.zeromq.internal.\"]\n\
             [roles.siem]\nsubscribe = [\"/netcontrol/\", \"zeek.zeromq.internal.\"]\n\
             [principals.soar]\nroles = [\"responder\"]\ncurve_keys = [\"{}\"]\n\
             [principals.siem]\nroles = [\"siem\"]\ncurve_keys = [\"{}\"]\n\
             [principals.anonymous]\nroles = [\"page\"]\n[roles.page]\nhttp = [\"/\"]\n\
             [audit]\nfile = {:?}\n",
            soar.public,
            siem.public,
            folder.path().join("audit.jsonl"),
        );
        let new = folder.path().join("policy.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &policy).unwrap();
    };
    write("/netcontrol/");
    let config = folder.path().join("broker.toml");
    let text = format!(
        "[http]\nlisten = [\"127.0.0.1:0\"]\n[tls]\nenabled = false\n[policy]\nfile = {policy:?}\n\
         [forwarder]\nxpub = \"127.0.0.1:0\"\nxsub = \"127.0.0.1:0\"\ncurve = {:?}\n\
         clients = [\"{}\", \"{}\"]\n",
        folder.path(),
        soar.public,
        siem.public
    );
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let mut node = Running::start(&mut command(&["node", "--config", &config]));
    let http: u16 = value(&node.says("listening-http"), "port");
    let line = node.says("zeromq-forwarding");
    let url = url(value(&line, "xpub"), value(&line, "xsub"));
    node.says("started");

    let (_siem, hears) = member(&url, "/netcontrol/", client(&server, &siem));
    let (soar, _) = member(&url, "/none", client(&server, &soar));
    assert!(soar.await_subscriber("/netcontrol/x", DEADLINE).wait());
    soar.publish("/netcontrol/x", &Value::Count(1)).unwrap();
    assert!(hears.recv_timeout(DEADLINE).unwrap().is_some());
    write("/other/");
    node.signal(Signal::HUP);
    node.says("reloaded");
    soar.publish("/netcontrol/x", &Value::Count(2)).unwrap();
    let forwarder = || -> Json {
        let stats: Json = serde_json::from_str(&get(http, "/v1/stats").2).unwrap();
        stats["forwarders"][0].clone()
    };
    eventually("it is denied", || forwarder()["denied"] == 1);
    let connections = forwarder()["connections"].as_array().unwrap().clone();
    let of = |name| {
        connections
            .iter()
            .filter(|it| it["principal"] == name)
            .count()
    };
    assert_eq!((of("soar"), of("siem")), (2, 2));
    let (_, _, metrics) = get(http, "/metrics");
    for line in [
        "broker_policy_decisions_total{principal=\"soar\",decision=\"deny\"}",
        "broker_forwarder_denied_messages_total{xpub=",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(get(http, "/v1/denials").2.contains("/netcontrol/x"));
    node.signal(Signal::TERM);
    node.says("stopped");
    node.end().expect(0);
    let record = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let denied = record.lines().find(|line| {
        ["\"soar\"", "\"deny\"", "/netcontrol/x"]
            .iter()
            .all(|part| line.contains(part))
    });
    assert!(denied.is_some(), "{record}");
}

#[test]
fn what_makes_no_sense_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker.toml");
    let config = path.display().to_string();
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        run(&["node", "--config", &config, "--check"]).expect(2).err
    };
    let base = "[forwarder]\nxpub = \"tcp://0.0.0.0:27760\"\n";
    let said = check(base);
    assert!(said.contains("there is `xpub` and no `xsub`"), "{said}");
    let said = check(&format!("{base}xsub = \"27761\"\n"));
    assert!(
        said.contains("line 3, column 8: `27761` is nothing to listen at"),
        "{said}"
    );
    let said = check(&format!("{base}client = []\n"));
    assert!(said.contains("there is `clients`"), "{said}");
    let both = format!("{base}xsub = \"tcp://0.0.0.0:27761\"\n");
    let said = check(&format!("{both}curve = {:?}\n", folder.path()));
    assert!(said.contains("there is none of server_publickey"), "{said}");
}

#[test]
fn an_endpoint_tells_of_it_as_its_description_says() {
    let mut options = ForwarderOptions::default();
    options.xpub = "tcp://127.0.0.1:0".to_owned();
    options.xsub = "tcp://127.0.0.1:0".to_owned();
    options.curve = Curve::Off;
    let forwarder = Forwarder::bind(options).unwrap();
    let node = Peer::plain();
    node.endpoint.report_forwarder(&forwarder).unwrap();
    let url = url(forwarder.xpub_address(), forwarder.xsub_address());
    let _member = member(&url, "/a", CurveKeys::default());
    let served = node
        .endpoint
        .serve_http("127.0.0.1", 0, HttpOptions::default());
    let port = served.wait().unwrap();
    let description: Json = serde_json::from_str(&get(port, "/v1/openapi.json").2).unwrap();
    crate::openapi::check(&description, port, "/v1/stats", "", "200");
    assert_eq!(node.endpoint.stats().forwarders[0].connections.len(), 2);
    drop(forwarder);
    eventually("it is gone", || node.endpoint.stats().forwarders.is_empty());
    assert!(!get(port, "/metrics").2.contains("broker_forwarder"));
}
