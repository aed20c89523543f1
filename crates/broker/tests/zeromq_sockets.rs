//! What Zeek's nodes connect to: a receiver of logs, a forwarder. Both ends are of this package here.
//!
//! The recording with Zeek is large and lies beside the repository; [`files`] finds it.

#![cfg(feature = "zeromq")]
#![expect(clippy::unwrap_used, reason = "a test may fail wherever it likes")]

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use broker::Timestamp;
use broker::data::View;
use broker::proto::zmtp::{Connection, ConnectionConfig, Entropy, Event, Security, SocketType};
use broker::zeek::{EventBuilder, LogDecoder};
use broker::zeromq::{
    Curve, CurveKeys, Forwarder, ForwarderOptions, ForwarderSide, KeyPair, LogMessage, LogReceiver,
    LogReceiverOptions, LogSender, LogSenderOptions, generate_curve_keypair,
};
use broker::{Endpoint, Retry, Subscriber, ZeroMqPeerOptions};
use serde_json::Value;

#[path = "outside/files.rs"]
mod files;
#[cfg(feature = "policy")]
#[path = "zeromq_sockets/permissions.rs"]
mod permissions;
#[path = "outside/zeek_json.rs"]
mod zeek_json;

use zeek_json::same;

/// Connections that are driven by hand need no clock.
const NOW: Timestamp = Timestamp::EPOCH;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn receiver(forward_to: Option<String>, curve: Curve) -> LogReceiver {
    let mut options = LogReceiverOptions::default();
    options.forward_to = forward_to;
    options.curve = curve;
    LogReceiver::bind("zmq-pull://127.0.0.1:0", options).unwrap()
}

fn sender(receiver: &LogReceiver, curve: Curve) -> LogSender {
    let mut options = LogSenderOptions::default();
    options.curve = curve;
    LogSender::connect(&receiver.local_address().to_string(), options).unwrap()
}

fn next(receiver: &LogReceiver) -> LogMessage {
    receiver.recv_timeout(PATIENCE).unwrap().expect("a message")
}

/// Keys of a cluster, as far as the two sides know them.
fn cluster_keys(server: &KeyPair, client: &KeyPair) -> CurveKeys {
    CurveKeys {
        server_public: Some(server.public),
        server_secret: Some(server.secret.clone()),
        client_public: Some(client.public),
        client_secret: Some(client.secret.clone()),
    }
}

/// The batches of a real worker and the JSON logs that it wrote.
fn real_logs() -> Option<Vec<(LogMessage, Vec<Value>)>> {
    let recording = std::fs::read(files::find("zeek", "zeek-zeromq.json")?).unwrap();
    let recording: Value = serde_json::from_slice(&recording).unwrap();
    let real = recording["logs"]["real"].as_array().unwrap();
    let read = real.iter().map(|message| {
        let parts: Vec<_> = message["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| hex::decode(part.as_str().unwrap()).unwrap())
            .collect();
        let expected = message["expected"].as_array().unwrap().clone();
        (LogMessage::new(parts.iter().map(Vec::as_slice)), expected)
    });
    Some(read.collect())
}

#[test]
fn logs_of_a_real_worker_equal_its_json_and_pass_a_tee_unchanged() {
    let Some(logs) = real_logs() else {
        return;
    };
    let keys = Curve::Keys(cluster_keys(
        &generate_curve_keypair().unwrap(),
        &generate_curve_keypair().unwrap(),
    ));
    for curve in [Curve::Off, keys] {
        let logger = receiver(None, curve.clone());
        let tee = receiver(Some(logger.local_address().to_string()), curve.clone());
        let node = sender(&tee, curve);
        let mut decoder = LogDecoder::new();
        let mut compared = 0;
        for (message, expected) in &logs {
            assert!(node.send_message(message));
            assert!(next(&logger) == *message, "unchanged");
            decoder.handle_log_message(next(&tee).parts());
            for expected in expected {
                let record = decoder.poll_record().expect("a record").unwrap();
                let ours = serde_json::from_str(&record.to_json()).unwrap();
                assert!(same(&ours, expected), "{ours} {expected}");
                compared += 1;
            }
            assert!(decoder.poll_record().is_none());
        }
        assert!(compared > 0);
        // What was received can be written to a logger, too.
        let (message, expected) = &logs[0];
        decoder.handle_log_message(message.parts());
        let records: Vec<_> = std::iter::from_fn(|| decoder.poll_record())
            .map(Result::unwrap)
            .collect();
        assert_eq!(node.send_records(&records), expected.len());
        let written = next(&logger);
        assert!(written.parts().nth(3) == message.parts().nth(3));
        assert_eq!(written.parts().count(), 4);
        assert_eq!(tee.stats().connections, 1);
        assert!(node.close_within(PATIENCE));
    }
}

#[test]
fn what_the_program_does_not_take_is_dropped_and_the_logger_gets_it_all_the_same() {
    let logger = receiver(None, Curve::Off);
    let mut options = LogReceiverOptions::default();
    options.curve = Curve::Off;
    options.forward_to = Some(logger.local_address().to_string());
    options.queue_bytes_max = 64 << 10;
    let tee = LogReceiver::bind("zmq-pull://127.0.0.1:0", options).unwrap();
    let nodes = [sender(&tee, Curve::Off), sender(&tee, Curve::Off)];
    let payload = vec![7; 10_000];
    for _ in 0..50 {
        for node in &nodes {
            assert!(node.send(&payload));
        }
    }
    for _ in 0..100 {
        assert_eq!(next(&logger).parts().nth(3), Some(&payload[..]));
    }
    // The logger may have the last one before the program's queue does.
    wait_until("all are in the queue or dropped", || {
        let stats = tee.stats();
        stats.dropped + stats.waiting == 100
    });
    let stats = tee.stats();
    assert_eq!(stats.messages, 100);
    assert!(stats.dropped > 0 && stats.waiting > 0);
    assert_eq!(stats.forward_dropped, 0);
    tee.close();
    let left = std::iter::from_fn(|| tee.recv().ok()).count() as u64;
    assert_eq!(left, stats.waiting);
    assert!(tee.is_closed());
}

#[test]
fn wrong_keys_are_refused_and_counted() {
    let (server, client) = (
        generate_curve_keypair().unwrap(),
        generate_curve_keypair().unwrap(),
    );
    let keys = cluster_keys(&server, &client);
    let receiver = receiver(None, Curve::Keys(keys.clone()));
    let stranger = cluster_keys(&server, &generate_curve_keypair().unwrap());
    let refused = sender(&receiver, Curve::Keys(stranger));
    wait_until("it is refused", || receiver.stats().refused > 0);
    assert!(!refused.stats().is_connected);
    let admitted = sender(&receiver, Curve::Keys(keys));
    assert!(admitted.send(b"x"));
    assert_eq!(next(&receiver).parts().nth(3), Some(&b"x"[..]));
}

fn forwarder(change: impl FnOnce(&mut ForwarderOptions)) -> Forwarder {
    let mut options = ForwarderOptions::default();
    options.xpub = "tcp://127.0.0.1:0".into();
    options.xsub = "tcp://127.0.0.1:0".into();
    options.curve = Curve::Off;
    change(&mut options);
    Forwarder::bind(options).unwrap()
}

fn url(forwarder: &Forwarder) -> String {
    let (xpub, xsub) = (forwarder.xpub_address(), forwarder.xsub_address());
    format!("zmq://127.0.0.1?xpub={}&xsub={}", xpub.port(), xsub.port())
}

/// A member that subscribes, joined when this returns.
fn member(forwarder: &Forwarder, topic: &str, curve: CurveKeys) -> (Endpoint, Subscriber) {
    let endpoint = Endpoint::new().unwrap();
    let subscriber = endpoint.subscriber([topic]).unwrap();
    let options = ZeroMqPeerOptions {
        curve: Curve::Keys(curve),
        ..ZeroMqPeerOptions::default()
    };
    let retry = Retry::Never;
    let joined = endpoint.peer_zeromq(&url(forwarder), retry, options);
    joined.wait().unwrap();
    (endpoint, subscriber)
}

fn ping(number: u64) -> EventBuilder {
    EventBuilder::new("ping").argument(&number)
}

fn hears(subscriber: &Subscriber, number: u64) {
    let message = subscriber
        .recv_timeout(PATIENCE)
        .unwrap()
        .expect("an event");
    let expected = broker::data::to_bytes(&ping(number)).unwrap();
    assert_eq!(message.view(), View::new(&expected).unwrap());
}

#[test]
fn members_meet_at_a_forwarder_with_and_without_keys() {
    let (server, client) = (
        generate_curve_keypair().unwrap(),
        generate_curve_keypair().unwrap(),
    );
    let keys = cluster_keys(&server, &client);
    for (curve, keys) in [
        (Curve::Off, CurveKeys::default()),
        (Curve::Keys(keys.clone()), keys),
    ] {
        let forwarder = forwarder(|options| options.curve = curve);
        let (one, hears_a) = member(&forwarder, "/a", keys.clone());
        let (other, hears_b) = member(&forwarder, "/b", keys);
        // The one that was there before is told when the other one comes.
        assert!(one.await_subscriber("/b/x", PATIENCE).wait());
        one.publish("/b/x", &ping(1)).unwrap();
        hears(&hears_b, 1);
        other.publish("/a", &ping(2)).unwrap();
        hears(&hears_a, 2);
        let stats = forwarder.stats();
        assert_eq!(stats.connections.len(), 4);
        assert_eq!((stats.dropped, stats.refused), (0, 0));
        assert!(stats.messages >= 2 && stats.subscriptions >= 2);
        // The subscriptions of a connection that ends are withdrawn.
        other.shutdown().wait();
        wait_until("it is gone", || forwarder.stats().connections.len() == 2);
        let sides = forwarder.stats().connections;
        let publishers = sides
            .iter()
            .filter(|it| it.side == ForwarderSide::Publisher);
        assert_eq!(publishers.count(), 1);
        one.shutdown().wait();
        wait_until("nothing is wanted", || forwarder.stats().subscriptions == 0);
    }
}

#[test]
fn a_client_whose_key_is_withdrawn_is_cut_off_and_others_stay() {
    let server = generate_curve_keypair().unwrap();
    let clients = [(); 2].map(|()| generate_curve_keypair().unwrap());
    let own = CurveKeys {
        server_secret: Some(server.secret.clone()),
        ..CurveKeys::default()
    };
    let list = [clients[0].public, clients[1].public];
    let forwarder = forwarder(|options| {
        options.curve = Curve::Keys(own.clone());
        options.clients = list.to_vec();
    });
    let keys = clients.map(|client| cluster_keys(&server, &client));
    let (one, hears_one) = member(&forwarder, "/a", keys[0].clone());
    let (_other, _hears_other) = member(&forwarder, "/a", keys[1].clone());
    assert_eq!(forwarder.stats().connections.len(), 4);
    forwarder.set_keys(&Curve::Keys(own), &list[..1]).unwrap();
    wait_until("the other is gone", || {
        forwarder.stats().connections.len() == 2
    });
    let (third, _hears_third) = member(&forwarder, "/b", keys[0].clone());
    third.publish("/a", &ping(3)).unwrap();
    hears(&hears_one, 3);
    drop(one);
}

/// A connection of libzmq's kind that its test drives by hand.
struct Raw {
    stream: std::net::TcpStream,
    machine: Connection,
}

impl Raw {
    fn connect(address: std::net::SocketAddr, socket_type: SocketType) -> Self {
        Self::connect_with(address, socket_type, Security::Null)
    }

    fn connect_with(
        address: std::net::SocketAddr,
        socket_type: SocketType,
        security: Security,
    ) -> Self {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = ConnectionConfig::new(socket_type).with_security(security);
        let entropy = Entropy::new([0; Entropy::BYTES]);
        let machine = Connection::new(config, entropy, NOW);
        let mut raw = Self { stream, machine };
        while !raw.machine.is_ready() {
            raw.flush();
            raw.read(|_| ());
        }
        raw.flush();
        raw
    }

    fn flush(&mut self) {
        let output = self.machine.take_output();
        self.stream.write_all(&output).unwrap();
    }

    fn read(&mut self, mut hear: impl FnMut(Vec<Vec<u8>>)) {
        let mut buffer = vec![0; 1 << 16];
        let size = self.stream.read(&mut buffer).unwrap();
        assert_ne!(size, 0, "closed");
        self.machine.handle_bytes(NOW, &buffer[..size]);
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Message(message) => hear(message.parts().map(<[u8]>::to_vec).collect()),
                Event::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    #[cfg(feature = "policy")]
    fn subscribe(&mut self, prefixes: &[&str]) {
        for prefix in prefixes {
            self.machine.subscribe(prefix.as_bytes());
        }
        self.flush();
    }

    fn send(&mut self, parts: &[&[u8]]) {
        self.machine.send(parts).unwrap();
        self.flush();
    }
}

#[test]
fn a_subscriber_that_does_not_read_loses_messages_and_no_other_does() {
    const MESSAGES: u32 = 1000;
    let forwarder = forwarder(|options| options.queue_bytes_max = 1 << 20);
    let subscribed = |topic: &[u8]| {
        let mut raw = Raw::connect(forwarder.xpub_address(), SocketType::Sub);
        raw.machine.subscribe(topic);
        raw.flush();
        raw
    };
    let mut reader = subscribed(b"t");
    let stopped = subscribed(b"");
    wait_until("both are known", || forwarder.stats().subscriptions == 2);
    let mut publisher = Raw::connect(forwarder.xsub_address(), SocketType::Xpub);
    // More than sockets and queue of the stopped one hold; the reader is never that far behind.
    let filling = vec![0; 64 << 10];
    for number in 0..MESSAGES {
        publisher.send(&[b"t", &number.to_be_bytes(), &filling]);
        let mut is_there = false;
        while !is_there {
            reader.read(|parts| {
                assert_eq!(parts, [&b"t"[..], &number.to_be_bytes(), &filling]);
                is_there = true;
            });
        }
    }
    let stats = forwarder.stats();
    assert_eq!(stats.messages, u64::from(MESSAGES));
    assert!(stats.dropped > 0, "{stats:?}");
    let address = stopped.stream.local_addr().unwrap();
    for connection in stats.connections {
        let is_stopped = connection.address == address;
        assert_eq!(connection.dropped > 0, is_stopped, "{connection:?}");
        assert!(connection.waiting_bytes <= 1 << 20);
    }
    // What it lost stays counted when it is gone.
    drop(stopped);
    wait_until("it is gone", || forwarder.stats().connections.len() == 2);
    assert_eq!(forwarder.stats().dropped, stats.dropped);
}

#[test]
fn what_waits_for_all_subscribers_together_is_bounded() {
    const SUBSCRIBERS: u64 = 4;
    const TOTAL: u64 = 2 << 20;
    let forwarder = forwarder(|options| {
        options.queue_bytes_max = 1 << 20;
        options.total_bytes_max = 2 << 20;
    });
    // Each wants something else, so that they share no bytes.
    let topics: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| [b'a' + number as u8])
        .collect();
    let stopped: Vec<_> = topics
        .iter()
        .map(|topic| {
            let mut raw = Raw::connect(forwarder.xpub_address(), SocketType::Sub);
            raw.machine.subscribe(topic);
            raw.flush();
            raw
        })
        .collect();
    wait_until("all are known", || {
        forwarder.stats().subscriptions == stopped.len()
    });
    let mut publisher = Raw::connect(forwarder.xsub_address(), SocketType::Xpub);
    let filling = vec![0; 64 << 10];
    let lost = || {
        let stats = forwarder.stats();
        let all = stats.connections.into_iter();
        let mut all = all.filter(|it| it.side == ForwarderSide::Subscriber);
        all.all(|it| it.dropped > 0)
    };
    while !lost() {
        for topic in &topics {
            publisher.send(&[topic, &filling]);
        }
    }
    let stats = forwarder.stats();
    let waiting: u64 = stats.connections.iter().map(|it| it.waiting_bytes).sum();
    assert!(waiting <= TOTAL, "{waiting}");
    // As much as that is used, so that it was the limit.
    assert!(waiting > TOTAL / 2, "{waiting}");
    // Whoever is left has more room.
    let mut stopped = stopped;
    stopped.truncate(1);
    wait_until("the others are gone", || {
        forwarder.stats().connections.len() == 2
    });
    let more = || {
        let connections = forwarder.stats().connections;
        connections
            .iter()
            .any(|it| it.waiting_bytes > TOTAL / SUBSCRIBERS)
    };
    while !more() {
        publisher.send(&[&topics[0], &filling]);
    }
}

#[test]
fn strangers_are_refused_and_counted() {
    let forwarder = forwarder(|_| ());
    let mut stranger = std::net::TcpStream::connect(forwarder.xpub_address()).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stranger.read_to_end(&mut answer);
    wait_until("it is counted", || forwarder.stats().refused == 1);
    assert!(forwarder.stats().connections.is_empty());
}
