//! Every cause that the doctor knows, produced, and what is said about it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use broker::proto::message::{Handshake, VERSION};
use broker::proto::{EndpointId, ErrorCode, Filter};
use broker::zeek::EventBuilder;
use broker::{Endpoint, HttpOptions, Retry, Timestamp, TlsOptions, WebSocketOptions, WebSocketTls};
use serde_json::Value as Json;

use crate::ports::reserved_port;
use crate::process::{Ended, Peer, run};
use crate::schema;
use crate::tls::{Authority, Identity, server};

/// The steps that were printed, and the verdict.
fn steps(arguments: &[&str], exit: i32) -> Vec<Json> {
    let mut all = vec!["doctor", "--json"];
    all.extend(arguments);
    let lines = run(&all).expect(exit).json();
    for line in &lines {
        schema::check("doctor", line);
    }
    let verdict = lines.last().unwrap();
    assert_eq!(verdict["type"], "verdict");
    assert_eq!(verdict["exit"], exit);
    lines
}

/// Runs the doctor, who is to stop at that step with that finding, whose sentence contains that.
#[track_caller]
fn stops(arguments: &[&str], exit: i32, step: &str, code: &str, sentence: &str) -> Json {
    let lines = steps(arguments, exit);
    let [.., broken, verdict] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    assert_eq!(verdict["broken"], step, "{lines:#?}");
    assert_eq!(
        (&broken["step"], &broken["state"], &broken["code"]),
        (&Json::from(step), &Json::from("broken"), &Json::from(code)),
        "{lines:#?}"
    );
    let text = broken["text"].as_str().unwrap();
    assert!(text.contains(sentence), "{text}");
    // Every finding says what it means and what to do.
    assert!(broken["means"].as_str().unwrap().ends_with('.'), "{broken}");
    assert!(!broken["try"].as_array().unwrap().is_empty(), "{broken}");
    broken.clone()
}

/// Runs the doctor, who is to get to the end with that warning.
#[track_caller]
fn warns(arguments: &[&str], exit: i32, step: &str, code: &str, sentence: &str) -> Json {
    let lines = steps(arguments, exit);
    assert_eq!(lines.last().unwrap()["broken"], Json::Null, "{lines:#?}");
    let warning = lines.iter().find(|line| line["state"] == "warning");
    let warning = warning.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(
        (&warning["step"], &warning["code"]),
        (&step.into(), &code.into())
    );
    let text = warning["text"].as_str().unwrap();
    assert!(text.contains(sentence), "{text}");
    warning.clone()
}

/// What to try, as one text.
fn remedies(finding: &Json) -> String {
    finding["try"].to_string()
}

/// Serves every connection in turn in a thread.
fn serve(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    serve_at("127.0.0.1:0", serve)
}

fn serve_at(address: &str, serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind(address).unwrap();
    let place = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream);
        }
    });
    place
}

/// Says something at once and then waits for the end of the connection.
fn greet(mut stream: TcpStream, greeting: &[u8]) {
    let _ = stream.write_all(greeting);
    std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
}

// --- name and port -------------------------------------------------------------------------------

#[test]
fn a_name_that_does_not_resolve() {
    let finding = stops(
        &["nowhere.invalid"],
        3,
        "name",
        "name-unknown",
        "`nowhere.invalid` does not resolve",
    );
    assert!(remedies(&finding).contains("check the spelling"));
}

#[test]
fn a_closed_port_is_not_a_filtered_one() {
    let closed = format!("127.0.0.78:{}", reserved_port());
    let sentence = format!("nothing listens at {closed}: the connection was refused");
    stops(&[&closed], 3, "port", "port-closed", &sentence);

    let (full, _kept) = full_listener();
    let sentence = format!("no answer from {full} within 0.3 s");
    let finding = stops(
        &[&full, "--timeout", "300ms"],
        3,
        "port",
        "port-filtered",
        &sentence,
    );
    assert!(finding["means"].as_str().unwrap().contains("firewall"));

    // An address of everybody is an address of nobody.
    stops(
        &["255.255.255.255:9999"],
        3,
        "port",
        "no-route",
        "there is no way to 255.255.255.255:9999",
    );
}

/// A listener that accepts nothing and whose queue is full.
fn full_listener() -> (String, (rustix::fd::OwnedFd, Vec<TcpStream>)) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    bind(&listener, &any).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    let mut kept = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        kept.push(stream);
    }
    (address.to_string(), (listener, kept))
}

#[test]
fn whoever_hangs_up_at_once_refuses() {
    let place = serve(drop);
    let finding = stops(
        &[&place],
        5,
        "protocol",
        "port-refused",
        "accepts connections and closes them at once",
    );
    assert!(remedies(&finding).contains("who is allowed to connect"));
}

// --- what speaks there ---------------------------------------------------------------------------

#[test]
fn native_peers_with_and_without_tls_are_recognised() {
    for (plain, protocol, encryption) in [
        (false, "native Broker over TLS", "AECDH-AES256-SHA"),
        (true, "native Broker without TLS", "not encrypted"),
    ] {
        let peer = Peer::at(plain, 0);
        let _subscriber = peer.endpoint.subscriber(["/topic"]).unwrap();
        let mut arguments = vec![peer.url.as_str()];
        arguments.extend(plain.then_some("--no-tls"));
        let lines = steps(&arguments, 0);
        let texts: Vec<_> = lines.iter().map(|line| line["text"].to_string()).collect();
        let texts = texts.join("\n");
        let id = peer.endpoint.id().to_string();
        for expected in [
            protocol,
            encryption,
            "version 1",
            &id,
            "subscribes to `/topic`",
        ] {
            assert!(texts.contains(expected), "{expected}: {texts}");
        }
        assert!(texts.contains("round trip in"), "{texts}");
    }
}

#[test]
fn websocket_servers_and_native_peers_are_told_apart() {
    let peer = Peer::plain();
    let port = peer.endpoint.listen_ws("127.0.0.1", 0).wait().unwrap();
    let web = format!("127.0.0.1:{port}");
    let sentence = format!("{web} is a WebSocket server, not a native peer");
    let finding = stops(&[&web], 5, "protocol", "is-websocket", &sentence);
    assert!(remedies(&finding).contains(&format!("ws://{web}")));
    let secure = format!("wss://{web}");
    let sentence = "is a WebSocket server without TLS, not a WebSocket server with TLS";
    stops(&[&secure], 5, "protocol", "is-websocket", sentence);
    let native = format!("ws://{}", peer.url);
    let sentence = "is a native Broker peer, not a WebSocket server";
    let finding = stops(&[&native], 5, "protocol", "is-native", sentence);
    assert!(remedies(&finding).contains("--no-tls"));
    let encrypted = Peer::at(false, 0);
    let native = format!("wss://{}", encrypted.url);
    let sentence = "is a native Broker peer under TLS";
    stops(&[&native], 5, "protocol", "is-native", sentence);

    let lines = steps(&[&format!("ws://{web}")], 0);
    let protocol = lines
        .iter()
        .find(|line| line["step"] == "protocol")
        .unwrap();
    assert_eq!(protocol["text"], "WebSocket with JSON, without TLS");
}

#[test]
fn other_services_are_named() {
    let http = server(b"HTTP/1.1 403 Forbidden\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nno");
    let sentence = "is a web server (nginx), which answered `403 Forbidden`";
    stops(&[&http], 5, "protocol", "is-http", sentence);
    stops(
        &[&format!("ws://{http}")],
        5,
        "protocol",
        "is-http",
        sentence,
    );
    let ssh = serve(|stream| greet(stream, b"SSH-2.0-OpenSSH_9.6\r\n"));
    let sentence = "is an SSH server (`SSH-2.0-OpenSSH_9.6`)";
    stops(&[&ssh], 5, "protocol", "is-ssh", sentence);
    let mail = serve(|stream| greet(stream, b"220 mail ready\r\n"));
    stops(
        &[&mail],
        5,
        "protocol",
        "is-other",
        "which says `220 mail ready`",
    );
    let broken = serve(|mut stream| {
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"\x15\x03\x01\0\x02\x02\x46");
    });
    let sentence = "speaks TLS, and the handshake failed";
    stops(&[&broken], 5, "tls", "tls-failed", sentence);
}

#[test]
fn a_port_that_says_nothing() {
    // The system accepts for it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let arguments = [place.as_str(), "--timeout", "300ms"];
    let sentence = "accepts connections and says nothing";
    stops(&arguments, 3, "protocol", "silent", sentence);
}

/// A ZeroMQ socket up to where it says what it is. Spec: zeromq 2.
fn zero_mq(stream: TcpStream, mechanism: &str, socket: &str) {
    let mut greeting = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01".to_vec();
    greeting.extend_from_slice(mechanism.as_bytes());
    greeting.resize(64, 0);
    if mechanism == "NULL" {
        greeting.extend_from_slice(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04");
        greeting.extend_from_slice(socket.as_bytes());
    }
    greet(stream, &greeting);
}

#[test]
fn a_cluster_over_zeromq_is_recognised_at_its_own_port_and_at_that_of_others() {
    let place = serve(|stream| zero_mq(stream, "NULL", "XPUB"));
    let sentence = "this cluster uses ZeroMQ; use zmq://... or ws://127.0.0.1:27759";
    let finding = stops(&[&place], 5, "protocol", "zeromq-cluster", sentence);
    let details = finding["details"].to_string();
    assert!(
        details.contains("socket type XPUB, ZMTP 3.1, not encrypted"),
        "{details}"
    );
    let place = serve(|stream| zero_mq(stream, "CURVE", ""));
    let finding = stops(&[&place], 5, "protocol", "zeromq-cluster", sentence);
    assert!(
        finding["details"]
            .to_string()
            .contains("encrypted with CURVE")
    );

    // The native port is closed, and that of zeekctl's proxy is not. The ports are fixed, so the
    // address is one that no other run has.
    let [_, _, third, fourth] = std::process::id().to_be_bytes();
    let host = format!("127.77.{third}.{fourth}");
    serve_at(&format!("{host}:27760"), |stream| {
        zero_mq(stream, "NULL", "XPUB")
    });
    let sentence = format!("use zmq://... or ws://{host}:27759 (ZeroMQ is at {host}:27760)");
    let place = format!("{host}:9999");
    let finding = stops(&[&place], 5, "port", "zeromq-cluster", &sentence);
    assert!(
        remedies(&finding).contains("no WebSocket server answers"),
        "{finding}"
    );
}

// --- TLS -----------------------------------------------------------------------------------------

/// A place for certificates, and an authority with some.
struct Hall {
    folder: tempfile::TempDir,
    authority: Authority,
    node: Identity,
    own: Identity,
}

impl Hall {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        Self {
            node: authority.issue("node", 200, None),
            own: authority.issue("own", 200, None),
            folder,
            authority,
        }
    }

    /// Options with that certificate and that authority.
    fn options<'a>(identity: &'a Identity, authority: &'a Authority) -> Vec<&'a str> {
        let Identity { certificate, key } = identity;
        vec![
            "--cert",
            certificate,
            "--key",
            key,
            "--cafile",
            &authority.file,
        ]
    }

    /// A WebSocket server with that certificate, which asks for one if it has an authority.
    fn web_server(&self, identity: &Identity, asks: bool) -> (Endpoint, u16) {
        let tls = TlsOptions {
            certificate: Some(identity.certificate.clone().into()),
            key: Some(identity.key.clone().into()),
            ca_file: asks.then(|| self.authority.file.clone().into()),
            ..TlsOptions::default()
        };
        let options = WebSocketOptions {
            tls: WebSocketTls::Enabled(tls),
            ..WebSocketOptions::default()
        };
        let endpoint = Endpoint::new().unwrap();
        let listening = endpoint.listen_ws_with("127.0.0.1", 0, options);
        let port = listening.wait().unwrap();
        (endpoint, port)
    }
}

#[test]
fn both_sides_have_to_encrypt_in_the_same_way() {
    let hall = Hall::new();
    let plain = Peer::plain();
    let anonymous = Peer::at(false, 0);
    let (_endpoint, with) = hall.authority.endpoint(&hall.node);
    let own = Hall::options(&hall.own, &hall.authority);
    let none = ["--no-tls"];
    let cases: [(&str, &[&str], &str, &str, &str); 6] = [
        (
            &plain.url,
            &[],
            "peer-is-plain",
            "speaks plain TCP, and this side TLS without",
            "--no-tls",
        ),
        (
            &plain.url,
            &own,
            "peer-is-plain",
            "speaks plain TCP, and this side TLS with cert",
            "--no-tls",
        ),
        (
            &anonymous.url,
            &none,
            "peer-is-encrypted",
            "this side plain TCP",
            "leave out --no-tls",
        ),
        (
            &anonymous.url,
            &own,
            "peer-has-no-certificates",
            "speaks TLS without certificates, and this side TLS with certificates",
            "leave out --cert",
        ),
        (
            &with,
            &[],
            "peer-has-certificates",
            "speaks TLS with certificates, and this side TLS without certificates",
            "--cafile",
        ),
        (
            &with,
            &none,
            "peer-has-certificates",
            "speaks TLS with certificates, and this side plain TCP",
            "--cafile",
        ),
    ];
    for (url, options, code, sentence, remedy) in cases {
        let arguments: Vec<_> = std::iter::once(url)
            .chain(options.iter().copied())
            .collect();
        let finding = stops(&arguments, 5, "tls", code, sentence);
        assert!(remedies(&finding).contains(remedy), "{finding}");
    }
}

#[test]
fn certificates_are_shown_and_their_end_is_warned_of() {
    let hall = Hall::new();
    let (_endpoint, url) = hall.authority.endpoint(&hall.node);
    let own = Hall::options(&hall.own, &hall.authority);
    let lines = steps(&[&[url.as_str()], own.as_slice()].concat(), 0);
    let tls = lines.iter().find(|line| line["step"] == "tls").unwrap();
    assert!(tls["text"].as_str().unwrap().starts_with("TLSv1."), "{tls}");
    let details = tls["details"].to_string();
    for part in [
        "CN=node",
        "issued by CN=authority",
        "names 127.0.0.1 node",
        "days left",
    ] {
        assert!(details.contains(part), "{part}: {details}");
    }
    assert!(
        details.contains("names are not compared between native peers"),
        "{details}"
    );

    let soon = hall.authority.issue("soon", 12, None);
    let (_soon, url) = hall.authority.endpoint(&soon);
    let arguments = [&[url.as_str()], own.as_slice()].concat();
    warns(&arguments, 0, "tls", "expires-soon", "expires in 1");
}

#[test]
fn certificates_that_are_not_accepted() {
    let hall = Hall::new();
    let other = Authority::new(hall.folder.path(), "other");
    let foreign = other.issue("foreign", 200, None);
    let expired = hall.authority.issue("expired", -2, None);
    let early = hall.authority.issue_for("early", 2..200, None);
    let (_endpoint, url) = hall.authority.endpoint(&hall.node);
    let (_expired, expired_url) = hall.authority.endpoint(&expired);
    let (_early, early_url) = hall.authority.endpoint(&early);
    let cases: [(&str, Vec<&str>, &str, &str); 4] = [
        (
            &url,
            Hall::options(&hall.own, &other),
            "wrong-authority",
            "it was signed by `CN=authority`",
        ),
        (
            &url,
            Hall::options(&foreign, &hall.authority),
            "certificate-refused",
            "refuses the certificate of this side: unknown ca",
        ),
        (
            &expired_url,
            Hall::options(&hall.own, &hall.authority),
            "expired",
            "certificate expired 2 days ago",
        ),
        (
            &early_url,
            Hall::options(&hall.own, &hall.authority),
            "not-yet-valid",
            "is not valid yet",
        ),
    ];
    for (url, options, code, sentence) in cases {
        let arguments = [&[url], options.as_slice()].concat();
        let finding = stops(&arguments, 5, "tls", code, sentence);
        if code != "certificate-refused" {
            assert!(finding["details"].to_string().contains("CN="), "{finding}");
        }
    }
    // The own key belongs to another certificate: nothing is sent.
    let mixed = Identity {
        certificate: hall.own.certificate.clone(),
        key: hall.node.key.clone(),
    };
    let options = Hall::options(&mixed, &hall.authority);
    let arguments = [&[url.as_str()], options.as_slice()].concat();
    stops(
        &arguments,
        5,
        "tls",
        "own-setup",
        "does not belong to certificate",
    );
}

#[test]
fn a_secure_websocket_server_has_a_name_and_may_demand_a_certificate() {
    let hall = Hall::new();
    let (_endpoint, port) = hall.web_server(&hall.node, false);
    let trust = ["--cafile", &hall.authority.file];
    let named = format!("wss://localhost:{port}");
    let arguments = [&[named.as_str()], trust.as_slice()].concat();
    let sentence = "is for `127.0.0.1`, `node`, not for `localhost`";
    stops(&arguments, 5, "tls", "wrong-name", sentence);
    let url = format!("wss://127.0.0.1:{port}");
    let lines = steps(&[&[url.as_str()], trust.as_slice()].concat(), 0);
    let tls = lines.iter().find(|line| line["step"] == "tls").unwrap();
    assert!(
        tls["details"].to_string().contains("the name fits"),
        "{tls}"
    );

    let (_asking, port) = hall.web_server(&hall.node, true);
    let url = format!("wss://127.0.0.1:{port}");
    let arguments = [&[url.as_str()], trust.as_slice()].concat();
    let sentence = "the peer demands a certificate, and this side has none";
    stops(&arguments, 5, "tls", "certificate-demanded", sentence);
}

// --- handshake -----------------------------------------------------------------------------------

/// A native peer without TLS that answers a hello with that.
fn native(answer: impl Fn() -> Vec<u8> + Send + 'static) -> String {
    serve(move |mut stream| {
        let _ = stream.write_all(&Handshake::Probe.encode());
        if stream.read(&mut [0; 512]).is_ok_and(|read| read > 0) {
            greet(stream, &answer());
        }
    })
}

const STRANGER: EndpointId = EndpointId::from_random([0xff; 16]);

#[test]
fn handshakes_that_come_to_nothing() {
    let hello = || {
        let (min, max) = (VERSION, VERSION);
        let id = STRANGER;
        Handshake::Hello { id, min, max }.encode()
    };
    let newer = native(|| {
        let (id, min, max) = (STRANGER, 3, 4);
        Handshake::Hello { id, min, max }.encode()
    });
    let other = native(move || {
        let mut hello = hello();
        hello[5..9].copy_from_slice(b"BROK");
        hello
    });
    let leaving = native(|| {
        let (id, code, text) = (
            STRANGER,
            ErrorCode::ShuttingDown,
            "shutting down".to_owned(),
        );
        Handshake::DropConn { id, code, text }.encode()
    });
    let nonsense = native(|| b"\0\0\0\x02\x63\x63".to_vec());
    let cases = [
        (
            newer,
            "version",
            "speaks versions 3 to 4 of the protocol, and this side version 1",
        ),
        (
            other,
            "magic",
            "introduces itself with `BROK` instead of `ZEEK`",
        ),
        (leaving, "refused", "refuses: shutting down (shutting_down)"),
        (
            nonsense,
            "nonsense",
            "says something that does not belong there",
        ),
    ];
    for (place, code, sentence) in cases {
        stops(&[&place, "--no-tls"], 5, "handshake", code, sentence);
    }
    let mute = native(Vec::new);
    // Enough for what comes before, on a busy machine too.
    let arguments = [mute.as_str(), "--no-tls", "--timeout", "3s"];
    stops(
        &arguments,
        3,
        "handshake",
        "no-answer",
        "did not answer the handshake within 3 s",
    );
}

#[test]
fn ids_that_are_there_twice() {
    let hub = Peer::plain();
    let node = Endpoint::builder().disable_ssl(true).build().unwrap();
    node.peer("127.0.0.1", hub.port(), Retry::Never)
        .wait()
        .unwrap();
    hub.await_peer();
    // The node's id, as a second process would have it.
    let id = node.id().to_string();
    let arguments = [hub.url.as_str(), "--no-tls", "--id", &id];
    let sentence = format!("is connected to an endpoint with the id `{id}` already");
    stops(&arguments, 5, "handshake", "duplicate-id", &sentence);
    let own = hub.endpoint.id().to_string();
    let arguments = [hub.url.as_str(), "--no-tls", "--id", &own];
    let sentence = format!("the address leads to the endpoint `{own}` itself");
    let finding = stops(&arguments, 5, "handshake", "own-id", &sentence);
    assert!(remedies(&finding).contains("out of its list of peers"));
    // Nobody has that one.
    let arguments = [hub.url.as_str(), "--no-tls", "--id", &STRANGER.to_string()];
    steps(&arguments, 0);

    let again = format!("localhost:{}", hub.port());
    let arguments = ["--no-tls", "-u", &hub.url, "-u", &again];
    let mut all = vec!["doctor", "--json"];
    all.extend(arguments);
    let lines = run(&all).expect(1).json();
    let finding = lines
        .iter()
        .find(|line| line["code"] == "duplicate-id")
        .unwrap();
    assert!(
        finding["text"]
            .as_str()
            .unwrap()
            .contains("are both the endpoint")
    );
}

// --- filters -------------------------------------------------------------------------------------

#[test]
fn topics_that_the_peer_does_not_want() {
    let nothing = Peer::plain();
    let sentence = "the peer subscribes to nothing";
    let arguments = [nothing.url.as_str(), "--no-tls"];
    warns(&arguments, 0, "filters", "no-subscriptions", sentence);

    let peer = Peer::plain();
    let topics = ["/zeek/slash", "zeek.dot.x", "zeek/trailing/", "zeek/Case"];
    let _subscriber = peer.endpoint.subscriber(topics).unwrap();
    let cases = [
        (
            "zeek/slash",
            "near-miss",
            "`/zeek/slash` (differs in the slash in front)",
        ),
        (
            "zeek/dot/x",
            "near-miss",
            "`zeek.dot.x` (differs in dots and slashes)",
        ),
        (
            "zeek/trailing",
            "near-miss",
            "`zeek/trailing/` (differs in the slash or dot at the end)",
        ),
        (
            "zeek/case",
            "near-miss",
            "`zeek/Case` (differs in capital letters)",
        ),
        ("intel", "no-match", "it subscribes to `/zeek/slash`"),
    ];
    for (topic, code, detail) in cases {
        let arguments = [&peer.url, "--no-tls", "--topic", topic, "--wait", "100ms"];
        let sentence = format!("what is published on `{topic}` does not reach the peer");
        let finding = stops(&arguments, 1, "filters", code, &sentence);
        let details = finding["details"].to_string();
        assert!(details.contains(detail), "{details}");
    }
    let lines = steps(&[&peer.url, "--no-tls", "--topic", "/zeek/slash/deeper"], 0);
    let filters = lines.iter().find(|line| line["step"] == "filters").unwrap();
    assert_eq!(
        filters["text"],
        "`/zeek/slash/deeper` reaches the peer: it subscribes to `/zeek/slash`"
    );
}

// --- events --------------------------------------------------------------------------------------

/// Publishes an event over and over.
fn publish_on(peer: &Peer, topic: &'static str, event: EventBuilder) {
    let endpoint = peer.endpoint.clone();
    std::thread::spawn(move || {
        while !endpoint.is_shut_down() && endpoint.publish(topic, &event).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn events_beside_those_that_pass_by() {
    let peer = Peer::plain();
    let event = || {
        EventBuilder::new("Test::ping")
            .argument("x")
            .argument(&3_u64)
    };
    publish_on(&peer, "/events", event());
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let an_hour_ago = Timestamp::try_from(an_hour_ago).unwrap();
    publish_on(&peer, "/late", event().network_time(an_hour_ago));
    let url = peer.url.as_str();
    let on = |topic: &'static str| vec![url, "--no-tls", "--topic", topic, "--event"];
    let with = |topic, more: &[&'static str]| [on(topic), more.to_vec()].concat();

    let lines = steps(&with("/events", &["Test::ping", "hello", "5c"]), 0);
    let step = lines.iter().find(|line| line["step"] == "event").unwrap();
    assert_eq!(
        step["text"],
        "`Test::ping(string, count)` passes by on `/events`"
    );

    let sentence = "argument 2 is an int (`5`) where a count passes by";
    let arguments = with("/events", &["Test::ping", "hello", "5"]);
    let finding = stops(&arguments, 1, "event", "argument-type", sentence);
    assert!(remedies(&finding).contains("write `5c`"), "{finding}");
    assert!(
        finding["means"]
            .as_str()
            .unwrap()
            .contains("Zeek converts nothing")
    );

    let arguments = with("/events", &["Test::ping", "hello"]);
    let sentence = "passes by with 2 arguments, and was given one argument";
    stops(&arguments, 1, "event", "argument-count", sentence);

    // Others pass by every few milliseconds; on a busy machine some seconds may be needed for one.
    let arguments = with("/events", &["Test::pin", "--wait", "4s"]);
    let finding = stops(
        &arguments,
        4,
        "event",
        "other-event",
        "no event `Test::pin` came",
    );
    assert!(remedies(&finding).contains("did you mean `Test::ping`?"));

    let arguments = with("/late", &["Test::ping"]);
    let sentence = "minutes behind the clock of this machine";
    let warning = warns(&arguments, 0, "event", "clock", sentence);
    let text = warning["text"].as_str().unwrap();
    let (before, _) = text.split_once(" minutes").unwrap();
    let minutes: f64 = before.rsplit(' ').next().unwrap().parse().unwrap();
    // As many as when it began, and what has gone by since.
    assert!((60.0..120.0).contains(&minutes), "{text}");

    let _wants = peer.endpoint.subscriber(["events", "/quiet"]).unwrap();
    let arguments = with("events", &["Test::ping", "--wait", "4s"]);
    let sentence = "nothing came on `events`, and something did on `/events`";
    stops(&arguments, 1, "event", "other-topic", sentence);

    let arguments = with("/quiet", &["Test::ping", "5", "--wait", "100ms"]);
    let sentence = "nothing came on `/quiet` within 0.1 s";
    let finding = warns(&arguments, 4, "event", "silence", sentence);
    assert!(
        finding["details"].to_string().contains("a count is `5c`"),
        "{finding}"
    );
}

#[test]
fn an_event_that_is_sent_is_answered_or_not() {
    let peer = Peer::plain();
    let questions = peer.endpoint.subscriber(["/ask", "/mute"]).unwrap();
    let endpoint = peer.endpoint.clone();
    std::thread::spawn(move || {
        while let Ok(question) = questions.recv() {
            if question.topic() == b"/ask" {
                let _ = endpoint.publish("/answer", &EventBuilder::new("pong"));
            }
        }
    });
    let url = peer.url.as_str();
    let start = [
        url,
        "--no-tls",
        "--event",
        "ping",
        "--send",
        "--reply-topic",
        "/answer",
    ];
    let lines = steps(&[&start, ["--topic", "/ask"].as_slice()].concat(), 0);
    let step = lines.iter().find(|line| line["step"] == "event").unwrap();
    let text = step["text"].as_str().unwrap();
    assert!(
        text.starts_with("`ping` was answered by `pong` after"),
        "{text}"
    );
    let start = [url, "a", "5", "--no-tls", "--event", "ping", "--send"];
    let more = ["--topic", "/mute", "--wait", "100ms"];
    let arguments = [start.as_slice(), &more].concat();
    let sentence = "`ping` was sent, and no event answered it within 0.1 s";
    let finding = stops(&arguments, 4, "event", "no-reply", sentence);
    let sentence = "argument 2 is an int (`5`): where Zeek expects a count it has to be `5c`";
    assert!(remedies(&finding).contains(sentence), "{finding}");
}

// --- flow ----------------------------------------------------------------------------------------

/// A native peer that peers and then does nothing, or leaves.
fn lazy(leaves: bool) -> String {
    serve(move |mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.write_all(&Handshake::Probe.encode());
        // Closed at once by those who only look whether the port answers.
        if !stream.read(&mut buffer).is_ok_and(|read| read > 0) {
            return;
        }
        let (min, max) = (VERSION, VERSION);
        // The larger id, so that the other side leads.
        let id = EndpointId::from_bytes([0xff; 16]);
        let _ = stream.write_all(&Handshake::Hello { id, min, max }.encode());
        let _ = stream.read(&mut buffer);
        let filter = Filter::from_iter([broker::Topic::from("/")]);
        let _ = stream.write_all(&Handshake::ResponderSynAck(filter).encode());
        let _ = stream.read(&mut buffer);
        if !leaves {
            std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        }
    })
}

#[test]
fn peers_that_take_nothing_or_leave() {
    let place = lazy(false);
    // Enough for the handshake before, on a busy machine too.
    let arguments = [place.as_str(), "--no-tls", "--timeout", "3s"];
    let sentence = "the peer does not answer a ping within 3 s";
    stops(&arguments, 4, "flow", "stalled", sentence);
    let place = lazy(true);
    let lines = steps(&[&place, "--no-tls"], 3);
    let broken = &lines[lines.len() - 2];
    assert_eq!(broken["code"], "lost", "{lines:#?}");
}

#[test]
fn queues_and_drops_come_from_the_status_page() {
    let peer = Peer::plain();
    let options = HttpOptions::default();
    let port = peer
        .endpoint
        .serve_http("127.0.0.1", 0, options)
        .wait()
        .unwrap();
    let _wants = peer.endpoint.subscriber(["/"]).unwrap();
    let status = format!("127.0.0.1:{port}");
    let arguments = |status: &str| {
        let arguments = [&peer.url, "--no-tls", "--status", status];
        arguments.map(str::to_owned)
    };
    let run = |status: &str, check: &dyn Fn(&[&str])| {
        let arguments = arguments(status);
        check(&arguments.each_ref().map(String::as_str));
    };
    run(&status, &|arguments| {
        let lines = steps(arguments, 0);
        let flow = lines.iter().rfind(|line| line["step"] == "flow").unwrap();
        assert!(
            flow["text"].as_str().unwrap().ends_with("nothing waits"),
            "{flow}"
        );
    });
    let slow = server(
        b"HTTP/1.1 200 OK\r\n\r\n{\"peers\":[{\"id\":\"x\",\"address\":\"10.0.0.1\",\"port\":9999,\
          \"sent\":{\"waiting-messages\":9,\"dropped\":17,\"stalled\":false}}]}",
    );
    run(&slow, &|arguments| {
        let sentence = "17 messages for the peer at 10.0.0.1:9999 were dropped";
        warns(arguments, 0, "flow", "drops", sentence);
    });
    let stalled = server(
        b"HTTP/1.1 200 OK\r\n\r\n{\"peers\":[{\"id\":\"x\",\"address\":\"10.0.0.1\",\"port\":9999,\
          \"sent\":{\"waiting-messages\":2048,\"dropped\":0,\"stalled\":true}}]}",
    );
    run(&stalled, &|arguments| {
        let sentence = "2048 messages wait in the peer for the peer at 10.0.0.1:9999";
        warns(arguments, 0, "flow", "queue-stalled", sentence);
    });
    let other = server(b"HTTP/1.1 404 Not Found\r\n\r\n");
    run(&other, &|arguments| {
        warns(
            arguments,
            0,
            "flow",
            "no-status",
            "it answers `404 Not Found`",
        );
    });
}

// --- what people see -----------------------------------------------------------------------------

/// The output with what changes from run to run taken out.
fn steady(ended: &Ended, peer: &Peer) -> String {
    let text = ended.out.replace(&peer.url, "127.0.0.1:9999");
    let text = text.replace(&peer.endpoint.id().to_string(), "ID");
    let lines = text.lines().map(|line| match line.split_once(" in ") {
        Some((start, rest)) if rest.ends_with(" ms") => format!("{start} in N ms"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_text_is_as_it_was_looked_at() {
    let peer = Peer::plain();
    let _subscriber = peer.endpoint.subscriber(["zeek/x"]).unwrap();
    let good = run(&["doctor", &peer.url, "--no-tls"]).expect(0);
    insta::assert_snapshot!("good", steady(&good, &peer));
    let more = ["--topic", "/zeek/x", "--wait", "100ms"];
    let arguments = [["doctor", &peer.url, "--no-tls"].as_slice(), &more].concat();
    let broken = run(&arguments).expect(1);
    insta::assert_snapshot!("broken", steady(&broken, &peer));
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    run(&["doctor", "h:1", "--event", "x"]).expect(2);
    run(&["doctor", "h:1", "-u", "h:2"]).expect(2);
    run(&["doctor", "h:1", "--id", "x"]).expect(2);
    let ended = run(&["doctor"]).expect(2);
    assert!(ended.err.contains("nowhere to connect to"), "{ended:?}");
}
