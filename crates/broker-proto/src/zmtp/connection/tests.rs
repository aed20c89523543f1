use proptest::prelude::*;

use super::*;
use crate::zmtp::{Clients, CurveKeys, Foreign, KeyPair, Limits, SecretKey};

const START: Timestamp = Timestamp::from_ns(0);

fn seconds(number: i64) -> Timestamp {
    START.saturating_add(Timespan::from_secs(number))
}

fn entropy(number: u8) -> Entropy {
    Entropy::new([number; Entropy::BYTES])
}

fn pair(number: u8) -> KeyPair {
    KeyPair::from_random([number; 32])
}

fn connection(socket_type: SocketType, security: Security, number: u8) -> Connection {
    let config = ConnectionConfig::new(socket_type).with_security(security);
    Connection::new(config, entropy(number), START)
}

fn plain(socket_type: SocketType) -> Connection {
    connection(socket_type, Security::Null, 0)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mechanism {
    Null,
    ClientFirst,
    ServerFirst,
}

/// The security of both ends, keys that fit.
fn securities(mechanism: Mechanism) -> (Security, Security) {
    let client = Security::CurveClient {
        server: pair(1).public,
        keys: pair(2),
    };
    let server = Security::CurveServer {
        keys: pair(1),
        clients: Clients::Only(vec![pair(3).public, pair(2).public]),
    };
    match mechanism {
        Mechanism::Null => (Security::Null, Security::Null),
        Mechanism::ClientFirst => (client, server),
        Mechanism::ServerFirst => (server, client),
    }
}

/// An event with what it borrows.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Ready(Peer),
    Message(Vec<Vec<u8>>),
    Subscribed(Vec<u8>),
    Unsubscribed(Vec<u8>),
    Failed(Error),
}

fn events(connection: &mut Connection) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(event) = connection.poll_event() {
        seen.push(match event {
            Event::Ready(peer) => Seen::Ready(peer),
            Event::Message(message) => {
                assert_eq!(message.len(), message.parts().len());
                assert!(!message.is_empty());
                Seen::Message(message.parts().map(Into::into).collect())
            }
            Event::Subscribed(topic) => Seen::Subscribed(topic.into()),
            Event::Unsubscribed(topic) => Seen::Unsubscribed(topic.into()),
            Event::Failed(error) => Seen::Failed(error),
        });
    }
    seen
}

fn feed(connection: &mut Connection, bytes: &[u8], piece: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        connection.handle_bytes(START, piece);
        seen.extend(events(connection));
    }
    seen
}

/// Two connections and what each saw, with the bytes that the second got.
struct Pair {
    a: Connection,
    b: Connection,
    seen: (Vec<Seen>, Vec<Seen>),
    to_b: Vec<u8>,
    /// How many bytes the first got.
    to_a: usize,
    piece: usize,
    /// Makes both ends take the other for one of version 3.0.
    is_downgraded: bool,
}

impl Pair {
    fn new(a: Connection, b: Connection) -> Self {
        Self {
            a,
            b,
            seen: (Vec::new(), Vec::new()),
            to_b: Vec::new(),
            to_a: 0,
            piece: usize::MAX,
            is_downgraded: false,
        }
    }

    fn of(a: SocketType, b: SocketType, mechanism: Mechanism) -> Self {
        let (first, second) = securities(mechanism);
        Self::new(connection(a, first, 10), connection(b, second, 20))
    }

    /// Carries bytes until there are none.
    fn run(&mut self) {
        loop {
            let mut to_b = self.a.take_output();
            let mut to_a = self.b.take_output();
            if to_b.is_empty() && to_a.is_empty() {
                return;
            }
            for (bytes, before) in [(&mut to_b, self.to_b.len()), (&mut to_a, self.to_a)] {
                let minor = 11_usize.checked_sub(before);
                if let Some(minor) = minor.and_then(|at| bytes.get_mut(at))
                    && self.is_downgraded
                {
                    *minor = 0;
                }
            }
            self.to_a += to_a.len();
            self.to_b.extend(&to_b);
            self.seen.1.extend(feed(&mut self.b, &to_b, self.piece));
            self.seen.0.extend(feed(&mut self.a, &to_a, self.piece));
        }
    }

    fn take_seen(&mut self) -> (Vec<Seen>, Vec<Seen>) {
        std::mem::take(&mut self.seen)
    }
}

fn message(parts: &[&[u8]]) -> Seen {
    Seen::Message(parts.iter().map(|part| part.to_vec()).collect())
}

const MECHANISMS: [Mechanism; 3] = [
    Mechanism::Null,
    Mechanism::ClientFirst,
    Mechanism::ServerFirst,
];

#[test]
fn two_connections_talk_in_every_role_and_mechanism() {
    let large = vec![7; 70_000];
    let parts: &[&[u8]] = &[b"topic", b"", &large, &[0; 255], &[1; 256]];
    for mechanism in MECHANISMS {
        for (kind, other) in SocketType::ALL
            .into_iter()
            .flat_map(|kind| SocketType::ALL.map(|other| (kind, other)))
            .filter(|(kind, other)| kind.fits(*other))
        {
            for is_downgraded in [false, true] {
                let mut pair = Pair::of(kind, other, mechanism);
                pair.is_downgraded = is_downgraded;
                pair.a.subscribe(b"early");
                pair.run();
                let context = format!("{kind} {other} {mechanism:?} {is_downgraded}");
                let (a, mut b) = pair.take_seen();
                let Some(Seen::Ready(peer)) = a.first() else {
                    panic!("{context}: {a:?}");
                };
                assert_eq!(peer.socket_type, other);
                assert_eq!(peer.version, (3, u8::from(!is_downgraded)));
                let key = (mechanism == Mechanism::ServerFirst).then(|| pair_key(2));
                assert_eq!(peer.key, key, "{context}");
                assert!(matches!(b.remove(0), Seen::Ready(peer) if peer.socket_type == kind));
                if kind.subscribes() {
                    assert_eq!(b, [Seen::Subscribed(b"early".into())], "{context}");
                    assert!(pair.a.subscribe(b"late") && !pair.a.subscribe(b"late"));
                    assert!(pair.a.unsubscribe(b"early") && !pair.a.unsubscribe(b"early"));
                    pair.run();
                    let expected = [
                        Seen::Subscribed(b"late".into()),
                        Seen::Unsubscribed(b"early".into()),
                    ];
                    assert_eq!(pair.take_seen().1, expected, "{context}");
                    let subscriptions = pair.b.subscriptions();
                    assert!(subscriptions.iter().eq([b"late"]) && subscriptions.matches(b"later"));
                } else {
                    assert!(b.is_empty(), "{context}");
                }
                let sent = pair.a.send(parts);
                assert_eq!(sent.is_ok(), kind.sends(), "{context}");
                pair.run();
                let expected = if kind.sends() && other.receives() {
                    vec![message(parts)]
                } else {
                    vec![]
                };
                assert_eq!(pair.take_seen(), (vec![], expected), "{context}");
            }
        }
    }
}

fn pair_key(number: u8) -> PublicKey {
    pair(number).public
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn events_do_not_depend_on_how_bytes_are_split(
        piece in 1_usize..200,
        mechanism in prop::sample::select(MECHANISMS.to_vec()),
        bodies in prop::collection::vec(prop::collection::vec(0_usize..600, 1..5), 0..12),
    ) {
        let mut whole = Pair::of(SocketType::Xpub, SocketType::Xsub, mechanism);
        let mut split = Pair::of(SocketType::Xpub, SocketType::Xsub, mechanism);
        split.piece = piece;
        for pair in [&mut whole, &mut split] {
            pair.b.subscribe(b"");
            pair.run();
            for sizes in &bodies {
                let parts: Vec<Vec<u8>> = sizes.iter().map(|size| vec![9; *size]).collect();
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                pair.a.send(&parts).unwrap();
                pair.b.send(&parts).unwrap();
            }
            pair.run();
        }
        prop_assert_eq!(&whole.seen, &split.seen);
        prop_assert_eq!(whole.seen.0.len(), bodies.len() + 2);
        prop_assert_eq!(whole.seen.1.len(), bodies.len() + 1);
        prop_assert_eq!(whole.to_b, split.to_b);
    }

    #[test]
    fn bytes_of_strangers_do_no_harm_and_splits_do_not_matter(
        seed in prop::collection::vec(any::<u8>(), 0..300),
        kind in prop::sample::select(SocketType::ALL.to_vec()),
        begins_well in any::<bool>(),
        piece in 1_usize..40,
    ) {
        let mut bytes = Vec::new();
        if begins_well {
            greeting::write(&Security::Null, &mut bytes);
            let other = SocketType::ALL.into_iter().find(|other| kind.fits(*other)).unwrap();
            command::write(command::READY, &command::metadata(other), &mut bytes);
        }
        bytes.extend(seed);
        let mut whole = plain(kind);
        let mut split = plain(kind);
        let seen = feed(&mut whole, &bytes, usize::MAX);
        prop_assert_eq!(&seen, &feed(&mut split, &bytes, piece));
        for connection in [&mut whole, &mut split] {
            connection.handle_closed();
        }
        let end = events(&mut whole);
        prop_assert_eq!(&end, &events(&mut split));
        let failures = seen.iter().chain(&end).filter(|seen| matches!(seen, Seen::Failed(_)));
        prop_assert_eq!(failures.count(), 1);
    }

    #[test]
    fn a_box_with_any_bit_changed_ends_the_connection(at in 0_usize..60, bit in 0_u8..8) {
        let mut pair = Pair::of(SocketType::Push, SocketType::Pull, Mechanism::ClientFirst);
        pair.run();
        pair.a.send(&[b"a secret of some length"]).unwrap();
        let mut bytes = pair.a.take_output();
        // All but the flags outside of the box, which nothing is believed of.
        let at = 1 + at % (bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        let mut seen = feed(&mut pair.b, &bytes, usize::MAX);
        pair.b.handle_closed();
        seen.extend(events(&mut pair.b));
        // A longer length waits for more, and the end of the connection then.
        prop_assert!(matches!(seen.as_slice(), [Seen::Failed(_)]), "{seen:?}");
    }
}

#[test]
fn a_box_does_not_count_twice() {
    let mut pair = Pair::of(SocketType::Push, SocketType::Pull, Mechanism::ServerFirst);
    pair.run();
    pair.a.send(&[b"one"]).unwrap();
    let bytes = pair.a.take_output();
    assert_eq!(feed(&mut pair.b, &bytes, usize::MAX), [message(&[b"one"])]);
    let again = feed(&mut pair.b, &bytes, usize::MAX);
    assert_eq!(
        again,
        [Seen::Failed(Error::Box("its number was used before"))]
    );
}

/// How a connection ends to which a peer says this, and then closes.
fn end_of(mut connection: Connection, bytes: &[u8]) -> Error {
    let mut seen = feed(&mut connection, bytes, usize::MAX);
    connection.handle_closed();
    seen.extend(events(&mut connection));
    assert!(connection.is_over() && connection.next_timeout().is_none());
    match seen.pop() {
        Some(Seen::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn servers_of_other_protocols_are_named() {
    for (bytes, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            Error::NotZmtp(Foreign::Http),
        ),
        (
            b"\x15\x03\x03\x00\x02\x02\x46",
            Error::NotZmtp(Foreign::Tls),
        ),
        (b"\x00\x00\x00\x05\x07ZEEK", Error::NotZmtp(Foreign::Broker)),
        (b"SSH-2.0-OpenSSH_9.2", Error::NotZmtp(Foreign::Unknown)),
        (b"", Error::NoGreeting),
        (b"\xff\0\0", Error::ClosedEarly(Stage::Greeting)),
    ] {
        assert_eq!(end_of(plain(SocketType::Sub), bytes), expected);
    }
    // The same when it stays silent.
    for (bytes, expected) in [
        (&b""[..], Error::NoGreeting),
        (
            b"\x15\x03\x03\x00\x02\x02\x46",
            Error::NotZmtp(Foreign::Tls),
        ),
        (b"\xff", Error::Timeout(Stage::Greeting)),
    ] {
        let mut connection = plain(SocketType::Sub);
        assert!(feed(&mut connection, bytes, usize::MAX).is_empty());
        let timeout = (seconds(10), TimeoutReason::Handshake);
        assert_eq!(connection.next_timeout(), Some(timeout));
        connection.handle_timeout(seconds(9));
        assert!(events(&mut connection).is_empty());
        connection.handle_timeout(seconds(10));
        assert_eq!(events(&mut connection), [Seen::Failed(expected)]);
    }
}

/// How both sides of a handshake end, if a peer that gives up closes the connection.
fn ends(a: Security, b: Security) -> (Option<Error>, Option<Error>) {
    let a = connection(SocketType::Xsub, a, 10);
    let b = connection(SocketType::Xpub, b, 20);
    let mut pair = Pair::new(a, b);
    pair.run();
    if pair.b.is_over() {
        pair.a.handle_closed();
    }
    if pair.a.is_over() {
        pair.b.handle_closed();
    }
    pair.seen.0.extend(events(&mut pair.a));
    pair.seen.1.extend(events(&mut pair.b));
    let last = |seen: Vec<Seen>| match seen.into_iter().next_back() {
        Some(Seen::Failed(error)) => Some(error),
        _ => None,
    };
    (last(pair.seen.0), last(pair.seen.1))
}

#[test]
fn wrong_keys_of_every_kind_are_named() {
    let (client, server) = securities(Mechanism::ClientFirst);
    assert_eq!(ends(client.clone(), server.clone()), (None, None));

    let own = Security::CurveClient {
        server: pair_key(1),
        keys: pair(4),
    };
    let (a, b) = ends(own, server.clone());
    assert_eq!(a, Some(Error::ClientKeyRefused("400".into())));
    assert_eq!(b, Some(Error::UnknownClient(pair_key(4))));

    let other_server = Security::CurveClient {
        server: pair_key(5),
        keys: pair(2),
    };
    let (a, b) = ends(other_server, server.clone());
    assert_eq!((a, b), (Some(Error::ServerKey), Some(Error::ClientBox)));

    let (a, b) = ends(Security::Null, server.clone());
    let text = |error: Option<Error>| error.unwrap().to_string();
    assert_eq!(
        text(a),
        "the peer is encrypted with CURVE: give the keys of the cluster"
    );
    assert!(text(b).starts_with("the peer is not encrypted"));
    assert_eq!(
        ends(client.clone(), client).0,
        Some(Error::SameRole("client"))
    );
    assert_eq!(
        ends(server.clone(), server).0,
        Some(Error::SameRole("server"))
    );
}

#[test]
fn keys_from_names_make_a_connection() {
    let names = ["a", "b", "c", "d"];
    let secrets: Vec<SecretKey> = [1, 2].map(|number| pair(number).secret).into();
    let keys = CurveKeys::find(names, |name| {
        Some(match name {
            "a" => secrets[0].public_key().to_string(),
            "b" => secrets[0].reveal(),
            "c" => secrets[1].public_key().to_string(),
            _ => secrets[1].reveal(),
        })
    })
    .unwrap();
    let (client, server) = (keys.client().unwrap(), keys.server().unwrap());
    assert_eq!(ends(client.unwrap(), server.unwrap()), (None, None));
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (client, _) = securities(Mechanism::ClientFirst);
    let mut connection = connection(SocketType::Sub, client.clone(), 1);
    let mut greeting = Vec::new();
    let (server, _) = securities(Mechanism::ServerFirst);
    greeting::write(&server, &mut greeting);
    assert!(feed(&mut connection, &greeting, 7).is_empty());
    connection.handle_timeout(seconds(10));
    let seen = events(&mut connection);
    assert_eq!(seen, [Seen::Failed(Error::Timeout(Stage::Welcome))]);
    assert!(!Error::Timeout(Stage::Welcome).to_string().is_empty());

    let mut closing = self::connection(SocketType::Sub, client, 1);
    feed(&mut closing, &greeting, 7);
    closing.handle_closed();
    assert_eq!(events(&mut closing), [Seen::Failed(Error::ServerKey)]);
}

#[test]
fn sockets_that_do_not_fit_are_refused() {
    let mut pair = Pair::of(SocketType::Sub, SocketType::Xsub, Mechanism::Null);
    pair.run();
    let expected = Error::SocketType {
        ours: SocketType::Sub,
        theirs: "XSUB".into(),
    };
    assert_eq!(pair.seen.0, [Seen::Failed(expected)]);
    assert_eq!(
        pair.a.send(&[b""]),
        Err(SendError::Direction(SocketType::Sub))
    );
    let mut push = plain(SocketType::Push);
    assert_eq!(push.send(&[b""]), Err(SendError::NotReady));
    assert!(!push.subscribe(b"x"));
}

#[test]
fn an_error_command_is_passed_on() {
    let mut bytes = Vec::new();
    greeting::write(&Security::Null, &mut bytes);
    command::write_error("no \x1b[31mway", &mut bytes);
    let error = end_of(plain(SocketType::Sub), &bytes);
    assert_eq!(error, Error::Refused("no \\u{1b}[31mway".into()));
}

/// A connection that is ready, with these limits, and what its peer says.
fn with_limits(kind: SocketType, limits: Limits, bytes: &[u8]) -> Vec<Seen> {
    let config = ConnectionConfig {
        limits,
        ..ConnectionConfig::new(kind)
    };
    let mut connection = Connection::new(config, entropy(0), START);
    let mut all = Vec::new();
    greeting::write(&Security::Null, &mut all);
    let other = SocketType::ALL.into_iter().find(|other| kind.fits(*other));
    command::write(command::READY, &command::metadata(other.unwrap()), &mut all);
    all.extend(bytes);
    feed(&mut connection, &all, 11)
}

#[test]
fn every_limit_ends_the_connection_and_has_a_name() {
    let limits = Limits {
        part_bytes_max: 100,
        message_bytes_max: 150,
        parts_max: 3,
        subscriptions_max: 2,
        subscription_bytes_max: 10,
        ..Limits::default()
    };
    let frames = |frames: &[(u8, usize)]| {
        let mut bytes = Vec::new();
        for (flags, size) in frames {
            frame::write(*flags, &vec![b'x'; *size], &mut bytes);
        }
        bytes
    };
    let subscriptions = |topics: &[&str]| {
        let mut bytes = Vec::new();
        for topic in topics {
            command::write(command::SUBSCRIBE, topic.as_bytes(), &mut bytes);
        }
        bytes
    };
    use SocketType::{Pull, Xpub};
    for (kind, bytes, name) in [
        (Pull, frames(&[(0, 101)]), Some("part_bytes_max")),
        (Pull, frames(&[(0, 100)]), None),
        (
            Pull,
            frames(&[(MORE, 100), (0, 90)]),
            Some("message_bytes_max"),
        ),
        (
            Pull,
            frames(&[(MORE, 1), (MORE, 1), (MORE, 1), (0, 1)]),
            Some("parts_max"),
        ),
        (Pull, frames(&[(MORE, 1), (MORE, 1), (0, 1), (0, 1)]), None),
        (Xpub, subscriptions(&["a", "b", "a", "b"]), None),
        (
            Xpub,
            subscriptions(&["a", "b", "c"]),
            Some("subscriptions_max"),
        ),
        (
            Xpub,
            subscriptions(&["01234567890"]),
            Some("subscription_bytes_max"),
        ),
    ] {
        let seen = with_limits(kind, limits.clone(), &bytes);
        match (seen.last(), name) {
            (Some(Seen::Failed(Error::Limit { limit, .. })), Some(name)) => {
                assert_eq!(*limit, name)
            }
            (Some(Seen::Failed(error)), _) => panic!("{error:?} instead of {name:?}"),
            (_, Some(name)) => panic!("{name} does not hold"),
            (_, None) => {}
        }
    }
    let mut greeting = Vec::new();
    greeting::write(&Security::Null, &mut greeting);
    frame::write_head(COMMAND, 9000, &mut greeting);
    let error = end_of(plain(Pull), &greeting);
    assert!(error.to_string().contains("handshake_bytes_max"), "{error}");
}

#[test]
fn pings_are_answered_in_the_middle_of_a_message() {
    let mut bytes = Vec::new();
    frame::write(MORE, b"one", &mut bytes);
    command::write(command::PING, b"\0\0hello", &mut bytes);
    command::write(b"JOIN", b"something of a later version", &mut bytes);
    frame::write(0, b"two", &mut bytes);
    frame::write(0, b"three", &mut bytes);
    for mechanism in [Mechanism::Null] {
        let mut pair = Pair::of(SocketType::Push, SocketType::Pull, mechanism);
        pair.run();
        for piece in [1, 5, usize::MAX] {
            let seen = feed(&mut pair.b, &bytes, piece);
            assert_eq!(seen, [message(&[b"one", b"two"]), message(&[b"three"])]);
            let mut pong = Vec::new();
            command::write(command::PONG, b"hello", &mut pong);
            assert_eq!(pair.b.take_output(), pong);
        }
    }
    // A peer that pings and never reads.
    let mut pair = Pair::of(SocketType::Push, SocketType::Pull, Mechanism::Null);
    pair.run();
    for _ in 0..20_000 {
        feed(&mut pair.b, &bytes, usize::MAX);
    }
    assert!(pair.b.output().len() < 2 * ANSWER_BYTES_MAX);
}

#[test]
fn silence_is_noticed() {
    for mechanism in MECHANISMS {
        let (first, second) = securities(mechanism);
        let config = ConnectionConfig {
            ping_interval: Timespan::from_secs(5),
            ..ConnectionConfig::new(SocketType::Sub).with_security(first)
        };
        let a = Connection::new(config, entropy(10), START);
        let mut pair = Pair::new(a, connection(SocketType::Pub, second, 20));
        pair.run();
        pair.take_seen();
        assert_eq!(pair.b.next_timeout(), None);
        assert_eq!(
            pair.a.next_timeout(),
            Some((seconds(5), TimeoutReason::Ping))
        );
        pair.a.handle_timeout(seconds(5));
        assert_eq!(
            pair.a.next_timeout(),
            Some((seconds(10), TimeoutReason::Liveness))
        );
        // The other end answers.
        let ping = pair.a.take_output();
        feed(&mut pair.b, &ping, usize::MAX);
        let pong = pair.b.take_output();
        assert!(!pong.is_empty());
        pair.a.handle_bytes(seconds(6), &pong);
        assert!(events(&mut pair.a).is_empty());
        assert_eq!(
            pair.a.next_timeout(),
            Some((seconds(11), TimeoutReason::Ping))
        );
        pair.a.handle_timeout(seconds(11));
        pair.a.handle_timeout(seconds(16));
        assert_eq!(events(&mut pair.a), [Seen::Failed(Error::Silent)]);
    }
}

#[test]
fn what_came_before_the_end_is_returned_first() {
    let mut pair = Pair::of(SocketType::Push, SocketType::Pull, Mechanism::Null);
    pair.run();
    pair.take_seen();
    pair.a.send(&[b"last words"]).unwrap();
    let bytes = pair.a.take_output();
    pair.b.handle_bytes(START, &bytes);
    pair.b.handle_closed();
    let expected = [message(&[b"last words"]), Seen::Failed(Error::Closed)];
    assert_eq!(events(&mut pair.b), expected);
    // Later bytes change nothing.
    assert!(feed(&mut pair.b, &bytes, usize::MAX).is_empty());
}

#[test]
fn buffers_give_large_memory_back() {
    let mut pair = Pair::of(SocketType::Push, SocketType::Pull, Mechanism::Null);
    pair.run();
    let large = vec![0; 3 * KEPT_BYTES_MAX];
    pair.piece = 1 << 16;
    for _ in 0..3 {
        pair.a.send(&[&large]).unwrap();
    }
    pair.run();
    pair.a.send(&[b"small"]).unwrap();
    pair.run();
    let (_, seen) = pair.take_seen();
    assert_eq!(seen.len(), 5);
    assert!(pair.b.input.capacity() <= KEPT_BYTES_MAX);
    assert!(pair.a.output.capacity() <= KEPT_BYTES_MAX);
}

#[test]
fn output_is_written_in_pieces() {
    let mut pair = Pair::of(SocketType::Push, SocketType::Pull, Mechanism::Null);
    pair.run();
    pair.take_seen();
    let body = vec![3; 50_000];
    let mut seen = Vec::new();
    for _ in 0..20 {
        pair.a.send(&[&body]).unwrap();
        let piece = pair.a.output().get(..30_000).unwrap().to_vec();
        pair.a.handle_written(piece.len());
        seen.extend(feed(&mut pair.b, &piece, usize::MAX));
    }
    pair.run();
    seen.extend(pair.take_seen().1);
    assert_eq!(seen, vec![message(&[&body]); 20]);
}

#[test]
fn a_publisher_passes_messages_of_subscribers_on_or_over() {
    let mut bytes = Vec::new();
    frame::write(0, b"", &mut bytes);
    frame::write(0, b"\x01by message", &mut bytes);
    frame::write(0, b"\x02other", &mut bytes);
    frame::write(MORE, b"\x01in parts", &mut bytes);
    frame::write(0, b"", &mut bytes);
    frame::write(0, b"\x00by message", &mut bytes);
    command::write(command::SUBSCRIBE, b"by command", &mut bytes);
    command::write(command::CANCEL, b"by command", &mut bytes);
    let notices = [
        Seen::Subscribed(b"by message".into()),
        Seen::Unsubscribed(b"by message".into()),
        Seen::Subscribed(b"by command".into()),
        Seen::Unsubscribed(b"by command".into()),
    ];
    let seen = with_limits(SocketType::Pub, Limits::default(), &bytes);
    assert_eq!(&seen[1..], &notices);
    let seen = with_limits(SocketType::Xpub, Limits::default(), &bytes);
    let (is_message, others): (Vec<_>, Vec<_>) = seen[1..]
        .iter()
        .cloned()
        .partition(|seen| matches!(seen, Seen::Message(_)));
    assert_eq!(others, notices);
    let expected = [
        message(&[b""]),
        message(&[b"\x02other"]),
        message(&[b"\x01in parts", b""]),
    ];
    assert_eq!(is_message, expected);
}
