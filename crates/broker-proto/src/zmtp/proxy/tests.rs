use std::collections::BTreeMap;

use super::*;
use crate::zmtp::{Event, Foreign};

/// A participant, what it saw, and what the proxy has for it.
struct Seat {
    session: ProxySession,
    seen: Vec<String>,
    xpub: Connection,
    xsub: Connection,
}

/// A proxy as libzmq makes it, with all of its participants.
struct Proxy {
    now: Timestamp,
    seats: Vec<Seat>,
    /// Who subscribed to what.
    wanted: BTreeMap<Vec<u8>, BTreeSet<usize>>,
    /// Whether repeated subscriptions are told.
    is_verbose: bool,
    /// Whether subscriptions go on to publishers.
    is_stuck: bool,
}

fn entropy() -> Entropy {
    Entropy::new([0; Entropy::BYTES])
}

fn seconds(number: i64) -> Timespan {
    Timespan::from_secs(number)
}

impl Proxy {
    fn new(is_verbose: bool) -> Self {
        Self {
            now: Timestamp::from_ns(0),
            seats: Vec::new(),
            wanted: BTreeMap::new(),
            is_verbose,
            is_stuck: false,
        }
    }

    /// Adds a participant that wants something from the beginning.
    fn seat(&mut self, wanted: &[&str]) -> usize {
        let number = self.seats.len();
        let config = ProxyConfig {
            id: format!("test_{number}"),
            security: Security::Null,
            limits: Limits::default(),
            ping_interval: seconds(0),
        };
        let mut session = ProxySession::new(config, [entropy(), entropy()], self.now);
        session.set_wanted(wanted);
        let end = |kind| Connection::new(ConnectionConfig::new(kind), entropy(), self.now);
        self.seats.push(Seat {
            session,
            seen: Vec::new(),
            xpub: end(SocketType::Xpub),
            xsub: end(SocketType::Xsub),
        });
        number
    }

    fn joined(&mut self, wanted: &[&str]) -> usize {
        let number = self.seat(wanted);
        self.run();
        assert_eq!(self.seen(number).last().map(String::as_str), Some("ready"));
        number
    }

    fn seen(&mut self, number: usize) -> Vec<String> {
        std::mem::take(&mut self.seats[number].seen)
    }

    /// Has bytes flow until none is left.
    fn run(&mut self) {
        while self.step() {}
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        let mut notices = Vec::new();
        let mut messages = Vec::new();
        for (number, seat) in self.seats.iter_mut().enumerate() {
            for socket in ProxySocket::ALL {
                let bytes = seat.session.output(socket).to_vec();
                seat.session.handle_written(socket, bytes.len());
                moved |= !bytes.is_empty();
                match socket {
                    ProxySocket::Xpub => seat.xpub.handle_bytes(self.now, &bytes),
                    ProxySocket::Xsub => seat.xsub.handle_bytes(self.now, &bytes),
                }
            }
            while let Some(event) = seat.xpub.poll_event() {
                match event {
                    Event::Subscribed(prefix) => notices.push((number, 1, prefix.to_vec())),
                    Event::Unsubscribed(prefix) => notices.push((number, 0, prefix.to_vec())),
                    Event::Ready(_) | Event::Message(_) => {}
                    Event::Failed(error) => panic!("{error}"),
                }
            }
            while let Some(event) = seat.xsub.poll_event() {
                match event {
                    Event::Ready(_) => {
                        // What is stored comes once each, as libzmq has it.
                        for prefix in self.wanted.keys().filter(|_| !self.is_stuck) {
                            seat.xsub.send(&[&notice(1, prefix)]).unwrap();
                        }
                    }
                    Event::Message(message) => {
                        messages.push(message.parts().map(<[u8]>::to_vec).collect::<Vec<_>>());
                    }
                    Event::Subscribed(_) | Event::Unsubscribed(_) => {}
                    Event::Failed(error) => panic!("{error}"),
                }
            }
        }
        for (number, kind, prefix) in notices {
            let of_prefix = self.wanted.entry(prefix.clone()).or_default();
            let is_told = if kind == 1 {
                of_prefix.insert(number) && of_prefix.len() == 1 || self.is_verbose
            } else {
                of_prefix.remove(&number) && of_prefix.is_empty()
            };
            if of_prefix.is_empty() {
                self.wanted.remove(&prefix);
            }
            for seat in &mut self.seats {
                if is_told && !self.is_stuck && seat.xsub.is_ready() {
                    seat.xsub.send(&[&notice(kind, &prefix)]).unwrap();
                }
            }
        }
        for parts in messages {
            for seat in &mut self.seats {
                if seat.xpub.subscriptions().matches(&parts[0]) {
                    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    seat.xpub.send(&parts).unwrap();
                }
            }
        }
        for seat in &mut self.seats {
            for (socket, end) in [
                (ProxySocket::Xpub, &mut seat.xpub),
                (ProxySocket::Xsub, &mut seat.xsub),
            ] {
                let bytes = end.take_output();
                moved |= !bytes.is_empty();
                seat.session.handle_bytes(self.now, socket, &bytes);
            }
            look(self.now, &mut seat.session, &mut seat.seen);
        }
        moved
    }
}

fn notice(kind: u8, prefix: &[u8]) -> Vec<u8> {
    [&[kind], prefix].concat()
}

fn look(now: Timestamp, session: &mut ProxySession, seen: &mut Vec<String>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    session.drain(now, |event| {
        seen.push(match event {
            ProxyEvent::Ready => "ready".to_owned(),
            ProxyEvent::Message(message) => {
                let parts: Vec<String> = message.parts().map(text).collect();
                format!("message {}", parts.join(" "))
            }
            ProxyEvent::Subscribed(prefix) => format!("+{}", text(prefix)),
            ProxyEvent::Unsubscribed(prefix) => format!("-{}", text(prefix)),
            ProxyEvent::Failed(error) => format!("failed: {error}"),
        });
    });
}

#[test]
fn a_session_is_ready_when_all_subscriptions_are_known() {
    let mut proxy = Proxy::new(true);
    let first = proxy.joined(&["/a"]);
    assert!(
        proxy.seats[first].session.others().is_empty(),
        "only its own"
    );
    let second = proxy.seat(&["/b", "zz"]);
    assert!(proxy.seats[second].session.publish(&[b"early"]).is_err());
    proxy.run();
    let seen = proxy.seen(second);
    assert_eq!(seen, ["+/a", "ready"]);
    let seen = proxy.seen(first);
    let others: Vec<&String> = seen.iter().filter(|it| !it.contains("internal")).collect();
    assert_eq!(others, ["+/b", "+zz"]);
    proxy.seats[first]
        .session
        .publish(&[b"/b/1", b"x"])
        .unwrap();
    proxy.run();
    assert_eq!(proxy.seen(second), ["message /b/1 x"]);
    let known: Vec<&[u8]> = proxy.seats[first].session.others().iter().collect();
    assert_eq!(known, [&b"/b"[..], b"zz"], "no probe is left");
}

#[test]
fn what_both_want_is_wanted_by_others() {
    let mut proxy = Proxy::new(true);
    let first = proxy.joined(&["/both"]);
    let second = proxy.joined(&["/both"]);
    for number in [first, second] {
        assert!(proxy.seats[number].session.others().matches(b"/both/1"));
    }
    proxy.seen(first);
    proxy.seats[first].session.set_wanted(["/mine"]);
    proxy.run();
    assert_eq!(proxy.seen(first), [""; 0], "the other still wants it");
    assert_eq!(proxy.seen(second), ["+/mine"]);
    proxy.seats[second].session.set_wanted([""; 0]);
    proxy.run();
    assert_eq!(proxy.seen(first), ["-/both"]);
}

#[test]
fn own_subscriptions_count_where_repeated_ones_are_not_told() {
    // Spec: zeromq 9, Zeek 7.1.
    let mut proxy = Proxy::new(false);
    let first = proxy.joined(&["/both"]);
    assert!(proxy.seats[first].session.others().matches(b"/both"));
    let second = proxy.joined(&["/both"]);
    proxy.seats[second].session.set_wanted(["/both", "/late"]);
    proxy.run();
    for number in [first, second] {
        let others = proxy.seats[number].session.others();
        assert!(others.matches(b"/both") && others.matches(b"/late"));
    }
}

#[test]
fn a_change_takes_hold_before_what_it_replaces_is_given_up() {
    let mut proxy = Proxy::new(true);
    let first = proxy.joined(&["/a/b"]);
    proxy.seats[first].session.set_wanted(["/a"]);
    let bytes = proxy.seats[first].session.output(ProxySocket::Xpub);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (added, removed) = (text.find("SUBSCRIBE/a"), text.find("CANCEL/a/b"));
    let (Some(added), Some(removed)) = (added, removed) else {
        panic!("{text:?}")
    };
    assert!(added < removed);
}

#[test]
fn messages_that_come_early_come_behind_the_readiness() {
    let mut proxy = Proxy::new(true);
    let number = proxy.seat(&["/t"]);
    // Until its subscriptions are on their way, but before the last probe is back.
    while !matches!(proxy.seats[number].session.phase, Phase::Settling { .. }) {
        assert!(proxy.step());
    }
    let seat = &mut proxy.seats[number];
    seat.xpub.send(&[b"/t", b"1"]).unwrap();
    let bytes = seat.xpub.take_output();
    seat.session
        .handle_bytes(proxy.now, ProxySocket::Xpub, &bytes);
    look(proxy.now, &mut seat.session, &mut seat.seen);
    assert_eq!(proxy.seen(number), [""; 0]);
    proxy.run();
    assert_eq!(proxy.seen(number), ["ready", "message /t 1"]);
    assert_eq!(proxy.seats[number].session.lost_early(), 0);
}

#[test]
fn early_messages_are_bounded() {
    let mut proxy = Proxy::new(true);
    proxy.is_stuck = true;
    let number = proxy.seat(&[]);
    proxy.run();
    let seat = &mut proxy.seats[number];
    let large = vec![0; EARLY_BYTES_MAX / 2 + 1];
    for _ in 0..3 {
        seat.xpub.send(&[&large]).unwrap();
    }
    proxy.run();
    assert_eq!(proxy.seats[number].session.lost_early(), 2);
}

#[test]
fn a_proxy_that_tells_nothing_is_never_ready() {
    let mut proxy = Proxy::new(true);
    proxy.is_stuck = true;
    let number = proxy.seat(&["/t"]);
    proxy.run();
    let session = &mut proxy.seats[number].session;
    let due = session.next_timeout().unwrap();
    session.handle_timeout(due);
    let mut seen = Vec::new();
    look(due, session, &mut seen);
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].starts_with("failed: connected but never ready"),
        "{seen:?}"
    );
    assert_eq!(session.next_timeout(), None);
    assert!(session.publish(&[b"t"]).is_err());
}

#[test]
fn the_end_of_either_connection_is_the_end() {
    for socket in ProxySocket::ALL {
        let mut proxy = Proxy::new(true);
        let number = proxy.joined(&[]);
        let session = &mut proxy.seats[number].session;
        session.handle_closed(socket);
        let mut seen = Vec::new();
        look(proxy.now, session, &mut seen);
        let expected = format!(
            "failed: where the {socket} of the proxy should be: the peer closed the connection"
        );
        assert_eq!(seen, [expected]);
        assert!(!session.is_ready());
    }
}

#[test]
fn what_is_no_proxy_is_named() {
    let mut proxy = Proxy::new(true);
    let number = proxy.seat(&[]);
    let session = &mut proxy.seats[number].session;
    session.handle_bytes(
        proxy.now,
        ProxySocket::Xsub,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    );
    let mut found = None;
    session.drain(proxy.now, |event| {
        if let ProxyEvent::Failed(error) = event {
            found = Some(error);
        }
    });
    let (socket, error) = (ProxySocket::Xsub, Error::NotZmtp(Foreign::Http));
    assert_eq!(found, Some(ProxyError::Connection { socket, error }));
}
