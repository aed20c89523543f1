//! Scripts: what an endpoint does, output by output, when the other end is played by hand.

use proptest::prelude::*;

use super::*;
use crate::frame::{Envelope, FRAME_LEN_SIZE, Tag};
use crate::message;
use crate::status::{Status, StatusCode};

const SMALL: EndpointId = EndpointId::from_random([0x10; 16]);
const ME: EndpointId = EndpointId::from_random([0x80; 16]);
const LARGE: EndpointId = EndpointId::from_random([0xf0; 16]);
const HOST: &str = "peer.example";
const PORT: u16 = 9999;

/// An endpoint and the clock it is told about.
struct Script {
    endpoint: Endpoint,
    now: Timestamp,
}

impl Script {
    fn new() -> Self {
        let mut endpoint = Endpoint::new(Config::new(ME, 42));
        endpoint.subscribe(Timestamp::EPOCH, &[Topic::from("/mine")]);
        Self {
            endpoint,
            now: Timestamp::EPOCH,
        }
    }

    fn pass(&mut self, ms: i64) {
        self.now = self.now.saturating_add(Timespan::from_millis(ms));
        self.endpoint.handle_timeout(self.now);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.endpoint.poll_output()).collect()
    }

    /// What happened, in one line per output.
    fn log(&mut self) -> Vec<String> {
        self.outputs().iter().map(show).collect()
    }

    fn accept(&mut self) -> ConnectionId {
        let remote = NetworkAddress::new("192.0.2.1", 50000);
        let id = self.endpoint.handle_accepted(self.now, remote);
        assert_eq!(self.log(), ["send Probe"]);
        id
    }

    /// Asks for a peering and lets the connection come up.
    fn dial(&mut self, retry: Retry, request: u64) -> ConnectionId {
        self.endpoint
            .peer(self.now, HOST, PORT, retry, Some(RequestId(request)));
        self.dialed()
    }

    /// Lets the connection come up that was asked for last.
    fn dialed(&mut self) -> ConnectionId {
        let id = match self.outputs().pop() {
            Some(Output::Dial {
                connection,
                host,
                port,
            }) => {
                assert_eq!((host.as_str(), port), (HOST, PORT));
                connection
            }
            other => panic!("no dial but {other:?}"),
        };
        self.endpoint.handle_dialed(self.now, id);
        assert_eq!(self.log(), [format!("send Hello({ME})")]);
        id
    }

    fn frame(&mut self, id: ConnectionId, frame: &[u8]) {
        self.endpoint
            .handle_frame(self.now, id, &frame[FRAME_LEN_SIZE..]);
    }

    fn hears(&mut self, id: ConnectionId, message: &Handshake) {
        self.frame(id, &message.encode());
    }

    /// The handshake up to the point where the filter of the peer is all that is missing.
    fn introduce(&mut self, id: ConnectionId, peer: EndpointId) {
        if ME < peer {
            self.hears(id, &hello(peer));
        } else {
            self.hears(
                id,
                &Handshake::VersionSelect {
                    id: peer,
                    version: 1,
                },
            );
            self.hears(id, &Handshake::OriginatorSyn(theirs()));
        }
    }

    fn finish(&mut self, id: ConnectionId, peer: EndpointId) {
        if ME < peer {
            self.hears(id, &Handshake::ResponderSynAck(theirs()));
        } else {
            self.hears(id, &Handshake::OriginatorAck);
        }
    }

    /// An outgoing peering, established.
    fn peered(&mut self, retry: Retry, peer: EndpointId) -> ConnectionId {
        let id = self.dial(retry, 1);
        self.introduce(id, peer);
        self.finish(id, peer);
        assert_eq!(self.log().last().unwrap(), "reply 1 Peered");
        id
    }

    /// An incoming peering, established.
    fn accepted_peer(&mut self, peer: EndpointId) -> ConnectionId {
        let id = self.accept();
        self.hears(id, &hello(peer));
        if peer < ME {
            self.introduce(id, peer);
        }
        self.finish(id, peer);
        self.log();
        id
    }

    /// The token of the goodbye that was just said.
    fn goodbye(&mut self) -> Vec<u8> {
        let frames: Vec<_> = self
            .outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Send { frame, .. } => Some(frame),
                _ => None,
            })
            .collect();
        let envelope = Envelope::parse(&frames[0][FRAME_LEN_SIZE..]).unwrap();
        assert_eq!((frames.len(), envelope.tag), (1, Tag::Ping));
        envelope.payload.to_vec()
    }
}

fn theirs() -> Filter {
    [Topic::from("/theirs")].into_iter().collect()
}

fn hello(id: EndpointId) -> Handshake {
    Handshake::Hello { id, min: 1, max: 1 }
}

fn drop_conn(id: EndpointId, code: ErrorCode, text: &str) -> Handshake {
    Handshake::DropConn {
        id,
        code,
        text: text.to_owned(),
    }
}

fn every(ms: i64) -> Retry {
    Retry::After(Timespan::from_millis(ms))
}

fn show(output: &Output) -> String {
    match output {
        Output::Dial { host, port, .. } => format!("dial {host}:{port}"),
        Output::Join { url, .. } => format!("join {url}"),
        Output::Interest { filter, .. } => format!("interest {filter:?}"),
        Output::Send { frame, .. } => format!("send {}", show_frame(&frame[FRAME_LEN_SIZE..])),
        Output::Close { cause, .. } => format!("close {cause:?}"),
        Output::Pause { .. } => "pause".to_owned(),
        Output::Resume { .. } => "resume".to_owned(),
        Output::Install { peer, filter, .. } => format!("install {peer} {filter:?}"),
        Output::Uninstall { peer } => format!("uninstall {peer}"),
        Output::PeerFilter { filter, .. } => format!("filter {filter:?}"),
        Output::Event(event) => event.to_string(),
        Output::Reply { request, outcome } => format!("reply {} {outcome:?}", request.0),
        Output::ShutdownComplete => "shutdown complete".to_owned(),
    }
}

fn show_frame(payload: &[u8]) -> String {
    if payload[0] > 12 {
        let envelope = Envelope::parse(payload).unwrap();
        assert_eq!(envelope.sender, ME);
        return format!(
            "{:?} {:?}",
            envelope.tag,
            String::from_utf8_lossy(envelope.payload)
        );
    }
    match Handshake::parse(payload).unwrap() {
        Handshake::Hello { id, .. } => format!("Hello({id})"),
        Handshake::VersionSelect { id, .. } => format!("VersionSelect({id})"),
        Handshake::DropConn { code, text, .. } => format!("DropConn({}, {text})", code.number()),
        Handshake::OriginatorSyn(filter) => format!("OriginatorSyn({filter:?})"),
        Handshake::ResponderSynAck(filter) => format!("ResponderSynAck({filter:?})"),
        other @ (Handshake::Probe | Handshake::OriginatorAck) => format!("{other:?}"),
    }
}

// --- handshake ----------------------------------------------------------------------------------

#[test]
fn connector_with_the_smaller_id_leads() {
    let mut script = Script::new();
    let id = script.dial(Retry::Never, 1);
    script.hears(id, &Handshake::Probe);
    script.hears(id, &Handshake::Probe);
    assert!(script.log().is_empty());
    script.hears(id, &hello(LARGE));
    assert_eq!(
        script.log(),
        [
            format!("send VersionSelect({ME})"),
            "send OriginatorSyn([\"/mine\"])".to_owned()
        ]
    );
    assert_eq!(script.endpoint.peer_status(LARGE), PeerStatus::Connecting);
    assert!(script.endpoint.peers().is_empty());
    script.hears(id, &Handshake::ResponderSynAck(theirs()));
    assert_eq!(
        script.log(),
        [
            "send OriginatorAck".to_owned(),
            format!("install {LARGE} [\"/theirs\"]"),
            format!("endpoint_discovered({LARGE}, \"found a new peer in the network\")"),
            format!("peer_added({LARGE}, {HOST}:{PORT}, \"handshake successful\")"),
            "reply 1 Peered".to_owned(),
        ]
    );
    assert_eq!(script.endpoint.peer_status(LARGE), PeerStatus::Peered);
    assert_eq!(script.endpoint.peers()[0].id, LARGE);
}

#[test]
fn acceptor_with_the_larger_id_returns_the_hello_and_follows() {
    let mut script = Script::new();
    let id = script.accept();
    script.hears(id, &hello(SMALL));
    assert_eq!(script.log(), [format!("send Hello({ME})")]);
    script.introduce(id, SMALL);
    assert_eq!(script.log(), ["send ResponderSynAck([\"/mine\"])"]);
    script.finish(id, SMALL);
    assert_eq!(
        script.log(),
        [
            format!("install {SMALL} [\"/theirs\"]"),
            format!("endpoint_discovered({SMALL}, \"found a new peer in the network\")"),
            format!("peer_added({SMALL}, 192.0.2.1:50000, \"handshake successful\")"),
        ]
    );
}

#[test]
fn what_was_subscribed_meanwhile_is_sent_at_once() {
    for peer in [SMALL, LARGE] {
        let mut script = Script::new();
        let id = script.dial(Retry::Never, 1);
        script.introduce(id, peer);
        script.log();
        script
            .endpoint
            .subscribe(script.now, &[Topic::from("/late")]);
        assert!(script.log().is_empty());
        script.finish(id, peer);
        let log = script.log();
        let install = log
            .iter()
            .position(|line| line.starts_with("install"))
            .unwrap();
        assert_eq!(log[install + 1], "interest [\"/late\", \"/mine\"]");
    }
}

#[test]
fn what_is_not_understood_is_refused_whoever_called() {
    let cases: [(&[u8], &str, &str); 4] = [
        (
            b"\x01",
            "20, invalid message type tag",
            "not a Broker endpoint",
        ),
        (
            b"\x06ZEEK",
            "20, failed to parse hello_msg",
            "not a Broker endpoint",
        ),
        (
            b"\x07zeek",
            "38, wrong magic number",
            "not a Broker endpoint",
        ),
        (
            b"\x06ZEEK0123456789abcdef\x02\x03",
            "2, unsupported versions offered",
            "unsupported versions offered",
        ),
    ];
    for (payload, told, cause) in cases {
        let mut script = Script::new();
        let id = script.dial(Retry::Never, 1);
        script.endpoint.handle_frame(script.now, id, payload);
        let log = script.log();
        assert_eq!(log[0], format!("send DropConn({told})"));
        assert!(log[1].starts_with("close Refused("), "{log:?}");
        let mut listener = Script::new();
        let incoming = listener.accept();
        listener
            .endpoint
            .handle_frame(listener.now, incoming, payload);
        let text = format!("refused an incoming connection: {cause}");
        let heard = listener.log();
        assert_eq!(heard[..2], log[..2]);
        assert!(
            heard[2].starts_with("peer_refused(") && heard[2].contains(&text),
            "{heard:?}"
        );
        assert!(heard[2].contains("*192.0.2.1:50000"), "{heard:?}");
        assert_eq!(listener.endpoint.refusal_counts().refused, 1);

        let text = format!("unable to connect to remote peer: {cause}");
        assert!(
            log[2].starts_with("peer_unavailable(") && log[2].contains(&text),
            "{log:?}"
        );
        assert!(
            log[3].starts_with("reply 1 PeerFailed") && log[3].contains(&text),
            "{log:?}"
        );
        assert!(script.endpoint.connections.is_empty());
    }
}

#[test]
fn what_is_illegal_ends_the_connection_without_a_word_to_the_other_side() {
    let late = drop_conn(LARGE, ErrorCode::Unspecified, "too late");
    let cases: [&[Handshake]; 7] = [
        &[Handshake::OriginatorAck],
        &[Handshake::VersionSelect {
            id: SMALL,
            version: 1,
        }],
        &[hello(SMALL), hello(SMALL)],
        &[
            hello(SMALL),
            Handshake::VersionSelect {
                id: LARGE,
                version: 1,
            },
        ],
        &[hello(LARGE), Handshake::Probe],
        &[hello(LARGE), Handshake::OriginatorAck],
        &[hello(LARGE), late],
    ];
    for messages in cases {
        let mut script = Script::new();
        let id = script.accept();
        for message in messages {
            script.log();
            script.hears(id, message);
        }
        let log = script.log();
        assert_eq!(log[0], "close Illegal", "{messages:?}");
        assert!(log[1].starts_with("peer_refused("), "{log:?}");
        assert_eq!(log.len(), 2, "{log:?}");
        assert!(script.endpoint.holders.is_empty());
    }
}

#[test]
fn an_empty_frame_ends_a_handshake_but_no_peering() {
    let mut script = Script::new();
    let id = script.accept();
    script.endpoint.handle_frame(script.now, id, &[]);
    assert_eq!(script.log()[0], "close Illegal");
    let id = script.peered(Retry::Never, LARGE);
    script.endpoint.handle_frame(script.now, id, &[]);
    assert!(script.log().is_empty());
}

#[test]
fn nobody_peers_with_itself() {
    let mut script = Script::new();
    let dialed = script.dial(Retry::Never, 1);
    let accepted = script.accept();
    script.hears(accepted, &hello(ME));
    assert_eq!(script.log(), [format!("send Hello({ME})")]);
    script.hears(dialed, &hello(ME));
    assert_eq!(script.log(), [format!("send Hello({ME})")]);
    script.hears(accepted, &hello(ME));
    assert_eq!(script.log(), ["close Illegal"]);
    script
        .endpoint
        .handle_closed(script.now, dialed, Closed::Remote);
    let log = script.log();
    assert!(
        log[0].contains("the address leads back to this endpoint"),
        "{log:?}"
    );
    assert!(log[1].starts_with("reply 1 PeerFailed"), "{log:?}");
}

#[test]
fn who_waits_for_a_peering_with_itself_is_told_so() {
    let to_self = |script: &mut Script| {
        let dialed = script.dialed();
        script.hears(dialed, &hello(ME));
        script.log();
        let now = script.now;
        script.endpoint.handle_closed(now, dialed, Closed::Remote);
        script.log()
    };
    let mut script = Script::new();
    let request = Some(RequestId(1));
    script
        .endpoint
        .peer(script.now, HOST, PORT, every(1000), request);
    let log = to_self(&mut script);
    assert!(log[1].starts_with("reply 1 PeerFailed"), "{log:?}");
    assert_eq!(script.endpoint.next_timeout(), None);
    // Where nobody waits the address is tried again: it may lead elsewhere some day.
    script
        .endpoint
        .peer(script.now, HOST, PORT, every(1000), None);
    assert_eq!(to_self(&mut script).len(), 1);
    script.pass(1000);
    assert_eq!(to_self(&mut script).len(), 1);
}

#[test]
fn who_listens_is_told_of_those_it_turned_away() {
    let mut script = Script::new();
    // A probe: no event, only a count.
    let id = script.accept();
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Silent);
    assert!(script.log().is_empty());
    for (closed, cause) in [
        (Closed::Remote, "connection closed during the handshake"),
        (Closed::TimedOut, "no answer during the handshake"),
        (
            Closed::Broken("the other side is not a Broker endpoint".to_owned()),
            "the other side is not a Broker endpoint",
        ),
    ] {
        let id = script.accept();
        script.endpoint.handle_closed(script.now, id, closed);
        let nil = EndpointId::NIL;
        assert_eq!(
            script.log(),
            [format!(
                "peer_refused(endpoint_info({nil}, *192.0.2.1:50000), \
                 \"refused an incoming connection: {cause}\")"
            )]
        );
    }
    let remote = NetworkAddress::new("192.0.2.9", 1);
    let cause = "the other side does not speak TLS";
    script.endpoint.handle_refused(script.now, remote, cause);
    assert!(script.log()[0].contains(cause));
    let id = script.accept();
    let refusal = drop_conn(LARGE, ErrorCode::PeerIncompatible, "too old");
    script.hears(id, &refusal);
    assert!(script.log()[1].contains("too old"));
    let counts = script.endpoint.refusal_counts();
    assert_eq!((counts.refused, counts.silent), (5, 1));
}

#[test]
fn redundant_connections_are_no_refusals() {
    let redundant = drop_conn(
        LARGE,
        ErrorCode::RedundantConnection,
        "redundant connection",
    );
    let mut script = Script::new();
    let id = script.accept();
    script.hears(id, &redundant);
    assert_eq!(script.log(), ["close Dropped(RedundantConnection)"]);
    script.peered(Retry::Never, SMALL);
    let id = script.accept();
    script.hears(id, &hello(SMALL));
    let version = 1;
    script.hears(id, &Handshake::VersionSelect { id: SMALL, version });
    assert_eq!(script.log().last().unwrap(), "close Refused(LogicError)");
    assert_eq!(script.endpoint.refusal_counts(), RefusalCounts::default());
}

#[test]
fn handshakes_that_fail_are_counted_by_reason() {
    let mut script = Script::new();
    let now = script.now;
    let (min, max) = (77, 78);
    for message in [
        Handshake::OriginatorAck,
        Handshake::Hello {
            id: SMALL,
            min,
            max,
        },
    ] {
        let id = script.accept();
        script.hears(id, &message);
        script.log();
    }
    for closed in [Closed::TimedOut, Closed::Remote, Closed::Silent] {
        let id = script.accept();
        script.endpoint.handle_closed(now, id, closed);
        script.log();
    }
    let remote = NetworkAddress::new("192.0.2.1", 1);
    script.endpoint.handle_refused(now, remote, "no TLS");
    let counted = script.endpoint.handshake_failures();
    let counted: Vec<_> = counted
        .by_reason()
        .into_iter()
        .filter(|it| it.1 > 0)
        .collect();
    assert_eq!(
        counted,
        [
            ("security", 1),
            ("protocol", 1),
            ("version", 1),
            ("closed", 1),
            ("timed-out", 1)
        ]
    );
}

// --- redundant connections ----------------------------------------------------------------------

#[test]
fn the_originator_drops_what_is_redundant() {
    let mut script = Script::new();
    script.peered(Retry::Never, LARGE);
    let id = script.dial(Retry::Never, 2);
    script.hears(id, &hello(LARGE));
    assert_eq!(
        script.log(),
        [
            "send DropConn(39, redundant connection)",
            "close Refused(RedundantConnection)",
            "reply 2 Peered"
        ]
    );
}

#[test]
fn the_responder_finds_a_second_peering_odd() {
    let mut script = Script::new();
    script.peered(Retry::Never, SMALL);
    let id = script.accept();
    script.hears(id, &hello(SMALL));
    script.log();
    script.hears(
        id,
        &Handshake::VersionSelect {
            id: SMALL,
            version: 1,
        },
    );
    assert_eq!(
        script.log(),
        [
            "send DropConn(40, detected redundant connection at the responder)",
            "close Refused(LogicError)"
        ]
    );
    assert_eq!(script.endpoint.peer_status(SMALL), PeerStatus::Peered);
}

#[test]
fn a_second_connection_waits_for_the_first() {
    let mut script = Script::new();
    let first = script.accept();
    script.hears(first, &hello(LARGE));
    script.log();
    let second = script.dial(Retry::Never, 7);
    script.hears(second, &hello(LARGE));
    assert_eq!(script.log(), ["pause"]);
    script.finish(first, LARGE);
    let log = script.log();
    assert_eq!(
        log[log.len() - 3..],
        [
            "send DropConn(39, redundant connection)",
            "close Refused(RedundantConnection)",
            "reply 7 Peered"
        ]
    );
}

#[test]
fn a_paused_connection_takes_over_when_the_first_fails() {
    let mut script = Script::new();
    let first = script.accept();
    script.hears(first, &hello(LARGE));
    let second = script.accept_more();
    script.hears(second, &hello(LARGE));
    script.log();
    script
        .endpoint
        .handle_closed(script.now, first, Closed::Remote);
    let log = script.log();
    assert_eq!(
        log[..3],
        [
            "resume".to_owned(),
            format!("send VersionSelect({ME})"),
            "send OriginatorSyn([\"/mine\"])".to_owned()
        ]
    );
    assert!(log[3].starts_with("peer_refused("), "{log:?}");
    script.finish(second, LARGE);
    assert_eq!(script.endpoint.peer_status(LARGE), PeerStatus::Peered);
}

impl Script {
    fn accept_more(&mut self) -> ConnectionId {
        let id = self
            .endpoint
            .handle_accepted(self.now, NetworkAddress::new("192.0.2.2", 50001));
        self.log();
        id
    }
}

#[test]
fn being_told_of_redundancy_is_success_if_there_is_a_peer() {
    let redundant = drop_conn(
        SMALL,
        ErrorCode::RedundantConnection,
        "redundant connection",
    );
    let mut script = Script::new();
    script.peered(Retry::Never, SMALL);
    let id = script.dial(Retry::Never, 2);
    script.hears(id, &redundant);
    assert_eq!(
        script.log(),
        ["close Dropped(RedundantConnection)", "reply 2 Peered"]
    );

    let mut script = Script::new();
    let id = script.dial(Retry::Never, 2);
    script.hears(id, &redundant);
    let log = script.log();
    assert_eq!(log[0], "close Dropped(RedundantConnection)");
    assert!(log[2].starts_with("reply 2 PeerFailed"), "{log:?}");
}

#[test]
fn a_redundant_attempt_shares_the_fate_of_the_other_connection() {
    for succeeds in [true, false] {
        let mut script = Script::new();
        let incoming = script.accept();
        script.hears(incoming, &hello(SMALL));
        script.introduce(incoming, SMALL);
        let outgoing = script.accept_nothing_but_dial();
        script.hears(
            outgoing,
            &drop_conn(
                SMALL,
                ErrorCode::RedundantConnection,
                "redundant connection",
            ),
        );
        assert_eq!(script.log(), ["close Dropped(RedundantConnection)"]);
        if succeeds {
            script.finish(incoming, SMALL);
            assert_eq!(script.log().last().unwrap(), "reply 3 Peered");
            // The address that is worth dialing again replaces the one that is not.
            assert_eq!(script.endpoint.peers()[0].network.host, HOST);
            script
                .endpoint
                .handle_closed(script.now, incoming, Closed::Remote);
            assert_eq!(script.log().last().unwrap(), "dial peer.example:9999");
        } else {
            script
                .endpoint
                .handle_closed(script.now, incoming, Closed::Remote);
            assert!(script.log()[0].starts_with("peer_unavailable("));
            script.pass(1000);
            assert_eq!(script.log(), ["dial peer.example:9999"]);
        }
    }
}

impl Script {
    fn accept_nothing_but_dial(&mut self) -> ConnectionId {
        self.log();
        self.dial(every(1000), 3)
    }
}

// --- attempts -----------------------------------------------------------------------------------

#[test]
fn nobody_there_fails_at_once_or_is_tried_for_ever() {
    let mut script = Script::new();
    script
        .endpoint
        .peer(script.now, HOST, PORT, Retry::Never, Some(RequestId(1)));
    let Some(Output::Dial { connection, .. }) = script.endpoint.poll_output() else {
        panic!()
    };
    script
        .endpoint
        .handle_dial_failed(script.now, connection, None);
    let text = "unable to connect to remote peer";
    let nil = EndpointId::NIL;
    let event = format!("peer_unavailable(endpoint_info({nil}, *{HOST}:{PORT}), \"{text}\")");
    let reply = format!(
        "reply 1 PeerFailed {{ code: PeerUnavailable, failure: Unreachable, text: \"{text}\" }}"
    );
    assert_eq!(script.log(), [event.clone(), reply]);
    assert_eq!(script.endpoint.next_timeout(), None);

    script
        .endpoint
        .peer(script.now, HOST, PORT, every(2500), Some(RequestId(1)));
    for _ in 0..3 {
        let Some(Output::Dial { connection, .. }) = script.outputs().pop() else {
            panic!()
        };
        script
            .endpoint
            .handle_dial_failed(script.now, connection, None);
        let outputs = script.outputs();
        let Some(Output::Event(Event::Error(fault))) = outputs.first() else {
            panic!()
        };
        let network = fault.context.as_ref().unwrap().network.as_ref().unwrap();
        assert_eq!((outputs.len(), network.retry_seconds), (1, 2));
        let due = script.now.saturating_add(Timespan::from_millis(2500));
        assert_eq!(
            script.endpoint.next_timeout(),
            Some((due, TimeoutReason::Retry))
        );
        script.pass(2499);
        assert!(script.log().is_empty());
        script.endpoint.handle_timeout(due);
        script.now = due;
    }
}

#[test]
fn a_fault_beyond_absence_is_named() {
    let mut script = Script::new();
    script
        .endpoint
        .peer(script.now, HOST, PORT, Retry::Never, None);
    let Some(Output::Dial { connection, .. }) = script.endpoint.poll_output() else {
        panic!()
    };
    let cause = Some(DialFault::refused("the peer wants TLS"));
    script
        .endpoint
        .handle_dial_failed(script.now, connection, cause);
    let log = script.log();
    assert!(log[0].contains("\"unable to connect to remote peer: the peer wants TLS\""));
}

#[test]
fn unpeer_cancels_what_waits() {
    let mut script = Script::new();
    let id = script.dial(every(1000), 1);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::TimedOut);
    script.log();
    script
        .endpoint
        .unpeer(script.now, HOST, PORT, Some(RequestId(2)));
    let log = script.log();
    assert!(log[0].starts_with("reply 1 PeerFailed"), "{log:?}");
    assert!(log[1].starts_with("peer_invalid("), "{log:?}");
    assert_eq!(log[2], "reply 2 Unpeered");
    assert_eq!(script.endpoint.next_timeout(), None);
}

#[test]
fn unpeer_cancels_what_connects() {
    let mut script = Script::new();
    let id = script.dial(Retry::Never, 1);
    script.introduce(id, LARGE);
    script.log();
    script.endpoint.unpeer(script.now, HOST, PORT, None);
    let log = script.log();
    assert!(log[0].starts_with("reply 1 PeerFailed"), "{log:?}");
    assert_eq!(log[1], "close Cancelled");
    assert_eq!(script.endpoint.peer_status(LARGE), PeerStatus::Unknown);
    // Reports that crossed the close are of no interest.
    script.finish(id, LARGE);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Remote);
    assert!(script.log().is_empty());
}

#[test]
fn unpeer_from_nobody_is_reported() {
    let mut script = Script::new();
    script
        .endpoint
        .unpeer(script.now, "nobody", 1, Some(RequestId(5)));
    let nil = EndpointId::NIL;
    assert_eq!(
        script.log(),
        [
            format!(
                "peer_invalid(endpoint_info({nil}, *nobody:1), \
                 \"cannot unpeer from unknown peer\")"
            ),
            "reply 5 Unpeered".to_owned()
        ]
    );
}

// --- peers --------------------------------------------------------------------------------------

#[test]
fn filters_follow_routing_updates() {
    let mut script = Script::new();
    let id = script.peered(Retry::Never, LARGE);
    let new: Filter = [Topic::from("/new")].into_iter().collect();
    script.frame(id, &message::routing_update(LARGE, ME, &new));
    assert_eq!(script.log(), ["filter [\"/new\"]"]);
    script.frame(id, &message::routing_update(LARGE, SMALL, &Filter::new()));
    assert_eq!(script.log(), ["filter []"]);
    for sender in [SMALL, ME, EndpointId::NIL] {
        script.frame(id, &message::routing_update(sender, ME, &new));
        assert!(script.log().is_empty());
    }
    let mut cut = message::routing_update(LARGE, ME, &new);
    cut.pop();
    script.frame(id, &cut);
    assert!(script.log().is_empty());
    // One that the runtime has read: from the peer, of a connection that is one.
    script.endpoint.handle_filter(id, LARGE, new.clone());
    assert_eq!(script.log(), ["filter [\"/new\"]"]);
    script.endpoint.handle_filter(id, SMALL, new.clone());
    let stranger = script.accept();
    script.log();
    script.endpoint.handle_filter(stranger, LARGE, new);
    assert!(script.log().is_empty());
}

#[test]
fn peers_hear_of_new_subscriptions_once() {
    let mut script = Script::new();
    script.peered(Retry::Never, LARGE);
    script.accepted_peer(SMALL);
    script
        .endpoint
        .subscribe(script.now, &[Topic::from("/a"), Topic::from("/b")]);
    let update = "interest [\"/a\", \"/b\", \"/mine\"]";
    assert_eq!(script.log(), [update, update]);
    let covered = [Topic::from("/a/x"), Topic::from("<$>/local/data/errors")];
    script.endpoint.subscribe(script.now, &covered);
    assert!(script.log().is_empty());
}

/// The payload of the only ping among the outputs.
fn ping_sent(outputs: &[Output]) -> Vec<u8> {
    let [Output::Send { frame, .. }] = outputs else {
        panic!("one frame expected: {outputs:?}");
    };
    let envelope = Envelope::parse(&frame[FRAME_LEN_SIZE..]).unwrap();
    assert_eq!((envelope.tag, envelope.receiver), (Tag::Ping, LARGE));
    envelope.payload.to_vec()
}

#[test]
fn pings_of_the_application_end_with_the_pong_that_belongs_to_them() {
    let mut script = Script::new();
    let id = script.peered(Retry::Never, LARGE);
    script.endpoint.ping(LARGE, RequestId(8));
    let first = ping_sent(&script.outputs());
    script.endpoint.ping(LARGE, RequestId(9));
    let second = ping_sent(&script.outputs());
    assert!(first != second && !first.starts_with(b"BYE"), "{first:?}");
    for pong in [&second, &second, &first] {
        script.frame(id, &message::pong(LARGE, ME, pong));
    }
    let answered = |number| Output::Reply {
        request: RequestId(number),
        outcome: Outcome::Pinged(true),
    };
    assert_eq!(script.outputs(), [answered(9), answered(8)]);
}

#[test]
fn pings_that_cannot_be_answered_say_so() {
    let mut script = Script::new();
    let unanswered = |number| Output::Reply {
        request: RequestId(number),
        outcome: Outcome::Pinged(false),
    };
    script.endpoint.ping(LARGE, RequestId(7));
    assert_eq!(script.outputs(), [unanswered(7)]);
    let id = script.peered(Retry::Never, LARGE);
    script.endpoint.ping(LARGE, RequestId(8));
    script.outputs();
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Remote);
    assert!(script.outputs().contains(&unanswered(8)));
}

#[test]
fn a_peer_that_answers_no_ping_holds_a_bounded_number_of_them() {
    let mut script = Script::new();
    script.peered(Retry::Never, LARGE);
    for number in 0..crate::config::PINGS_MAX as u64 {
        script.endpoint.ping(LARGE, RequestId(number));
        ping_sent(&script.outputs());
    }
    script.endpoint.ping(LARGE, RequestId(u64::MAX));
    let refused = Output::Reply {
        request: RequestId(u64::MAX),
        outcome: Outcome::Pinged(false),
    };
    assert_eq!(script.outputs(), [refused]);
}

#[test]
fn pings_are_answered_and_pongs_are_not_trusted() {
    let mut script = Script::new();
    let id = script.peered(Retry::Never, LARGE);
    script.frame(id, &message::ping(LARGE, ME, b"any"));
    script.frame(id, &message::ping(LARGE, SMALL, b""));
    assert_eq!(script.log(), ["send Pong \"any\"", "send Pong \"\""]);
    for sender in [EndpointId::NIL, ME, SMALL] {
        script.frame(id, &message::ping(sender, ME, b"any"));
    }
    let huge = vec![b'x'; crate::config::PING_PAYLOAD_MAX + 1];
    script.frame(id, &message::ping(LARGE, ME, &huge));
    script.frame(id, &message::pong(LARGE, ME, b"BYE01234567"));
    script.frame(id, &message::pong(LARGE, ME, b""));
    assert!(script.log().is_empty());
}

#[test]
fn a_lost_peer_is_called_again_at_once() {
    let mut script = Script::new();
    let id = script.peered(every(1000), LARGE);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Remote);
    assert_eq!(
        script.log(),
        [
            format!("uninstall {LARGE}"),
            format!("peer_lost({LARGE}, {HOST}:{PORT}, \"lost connection to remote peer\")"),
            format!("endpoint_unreachable({LARGE}, \"lost the last path\")"),
            format!("dial {HOST}:{PORT}"),
        ]
    );
}

#[test]
fn peerings_that_do_not_last_are_no_busy_loop() {
    let mut script = Script::new();
    let mut id = script.peered(every(10_000), LARGE);
    let lose = |script: &mut Script, id| {
        let now = script.now;
        script.endpoint.handle_closed(now, id, Closed::Remote);
    };
    let again = |script: &mut Script| {
        let id = script.dialed();
        script.introduce(id, LARGE);
        script.finish(id, LARGE);
        script.log();
        id
    };
    lose(&mut script, id);
    id = again(&mut script);
    for _ in 0..3 {
        script.pass(10);
        lose(&mut script, id);
        let log = script.log();
        assert!(log.iter().all(|line| !line.starts_with("dial")), "{log:?}");
        script.pass(999);
        assert!(script.log().is_empty());
        script.pass(1);
        id = again(&mut script);
    }
    // One that has lasted is worth an attempt at once, and so is the first that does not after it.
    script.pass(1000);
    for _ in 0..2 {
        lose(&mut script, id);
        id = again(&mut script);
    }
}

/// An interval that pauses have on average.
fn around(ms: i64) -> Retry {
    Retry::Around(Timespan::from_millis(ms))
}

#[test]
fn a_lost_peer_is_called_again_soon_where_attempts_are_to_be_spread() {
    let mut script = Script::new();
    let id = script.peered(around(1000), LARGE);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Remote);
    let log = script.log();
    assert_eq!(log.len(), 3, "{log:?}");
    let (due, reason) = script.endpoint.next_timeout().unwrap();
    assert_eq!(reason, TimeoutReason::Retry);
    assert!(due.since(script.now) <= crate::backoff::FIRST_PAUSE_MAX);
    script.endpoint.handle_timeout(due);
    script.dialed();
}

#[test]
fn endpoints_that_lose_one_peer_together_do_not_call_it_together() {
    let pauses = (0..100).map(|seed| {
        let mut script = Script::new();
        script.endpoint = Endpoint::new(Config::new(ME, seed));
        let id = script.peered(around(1000), LARGE);
        script
            .endpoint
            .handle_closed(script.now, id, Closed::Remote);
        let (due, _) = script.endpoint.next_timeout().unwrap();
        due.since(script.now).ns()
    });
    let pauses: std::collections::BTreeSet<i64> = pauses.collect();
    assert_eq!(pauses.len(), 100);
    let width = crate::backoff::FIRST_PAUSE_MAX.ns();
    let early = pauses.iter().filter(|pause| **pause < width / 2).count();
    assert!((25..=75).contains(&early), "{early}");
}

#[test]
fn attempts_that_are_spread_have_the_interval_on_average() {
    let mut script = Script::new();
    let mut id = script.dial(around(1000), 1);
    let mut sum = 0;
    for _ in 0..200 {
        let now = script.now;
        script.endpoint.handle_closed(now, id, Closed::Remote);
        script.outputs();
        let (due, _) = script.endpoint.next_timeout().unwrap();
        let pause = due.since(now);
        assert!(pause >= Timespan::from_millis(750) && pause <= Timespan::from_millis(1250));
        sum += pause.ns() / 200;
        script.now = due;
        script.endpoint.handle_timeout(due);
        id = script.dialed();
    }
    let off = (sum - 1_000_000_000).abs();
    assert!(off < 50_000_000, "{sum}");
}

#[test]
fn peerings_that_do_not_last_are_no_busy_loop_where_attempts_are_spread_either() {
    let mut script = Script::new();
    let mut id = script.dial(around(1000), 1);
    for losses in 0..4 {
        script.introduce(id, LARGE);
        script.finish(id, LARGE);
        let now = script.now;
        script.endpoint.handle_closed(now, id, Closed::Remote);
        script.outputs();
        let (due, _) = script.endpoint.next_timeout().unwrap();
        let is_soon = due.since(now) <= crate::backoff::FIRST_PAUSE_MAX;
        assert_eq!(is_soon, losses == 0);
        script.now = due;
        script.endpoint.handle_timeout(due);
        id = script.dialed();
    }
}

#[test]
fn who_is_cut_off_for_being_slow_is_not_called_again() {
    let mut script = Script::new();
    let id = script.peered(every(1000), LARGE);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Overflow);
    let log = script.log();
    assert_eq!(
        log[1],
        format!(
            "peer_removed({LARGE}, {HOST}:{PORT}, \
             \"removed connection to remote peer (caf::sec::backpressure_overflow)\")"
        )
    );
    assert_eq!(log.len(), 3);
    assert_eq!(script.endpoint.next_timeout(), None);
}

// --- goodbyes -----------------------------------------------------------------------------------

#[test]
fn a_goodbye_waits_for_the_matching_answer() {
    let mut script = Script::new();
    let id = script.peered(every(1000), LARGE);
    script
        .endpoint
        .unpeer(script.now, HOST, PORT, Some(RequestId(2)));
    assert!(matches!(
        script.endpoint.outputs.front(),
        Some(Output::Uninstall { .. })
    ));
    assert!(
        script
            .endpoint
            .outputs
            .iter()
            .any(|output| show(output) == "reply 2 Unpeered")
    );
    let token = script.goodbye();
    assert_eq!((token.len(), &token[..3]), (11, &b"BYE"[..]));
    // A second call changes nothing, other pongs neither.
    script.endpoint.unpeer(script.now, HOST, PORT, None);
    script.frame(id, &message::pong(LARGE, ME, b"BYE01234567"));
    assert!(script.log().is_empty());
    script.frame(id, &message::pong(LARGE, ME, &token));
    assert_eq!(
        script.log(),
        [
            "close Goodbye".to_owned(),
            format!("peer_removed({LARGE}, {HOST}:{PORT}, \"removed connection to remote peer\")"),
            format!("endpoint_unreachable({LARGE}, \"lost the last path\")"),
        ]
    );
    assert!(script.endpoint.connections.is_empty() && script.endpoint.attempts.is_empty());
}

#[test]
fn a_goodbye_waits_three_seconds() {
    let mut script = Script::new();
    script.peered(Retry::Never, LARGE);
    script.endpoint.unpeer(script.now, HOST, PORT, None);
    let (deadline, reason) = script.endpoint.next_timeout().unwrap();
    assert_eq!(reason, TimeoutReason::Goodbye);
    assert_eq!(deadline.since(script.now), Timespan::from_secs(3));
    script.log();
    script.pass(2999);
    assert!(script.log().is_empty());
    script.pass(1);
    assert_eq!(script.log()[0], "close GoodbyeTimeout");
}

#[test]
fn goodbyes_may_cross() {
    let mut script = Script::new();
    let id = script.peered(every(1000), LARGE);
    script.endpoint.unpeer(script.now, HOST, PORT, None);
    script.log();
    script.frame(id, &message::ping(LARGE, ME, b"BYE76543210"));
    assert_eq!(script.log(), ["send Pong \"BYE76543210\""]);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Remote);
    let log = script.log();
    assert!(log[0].starts_with("peer_removed("), "{log:?}");
    assert_eq!(log.len(), 2);
}

#[test]
fn the_goodbye_of_a_peer_is_a_ping_and_then_a_loss() {
    let mut script = Script::new();
    let id = script.peered(every(1000), LARGE);
    script.frame(id, &message::ping(LARGE, ME, b"BYE76543210"));
    assert_eq!(script.log(), ["send Pong \"BYE76543210\""]);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Remote);
    let log = script.log();
    assert!(log[1].starts_with("peer_lost("), "{log:?}");
    assert_eq!(log[3], "dial peer.example:9999");
}

#[test]
fn a_new_peering_waits_for_the_goodbye_of_the_old_one() {
    let mut script = Script::new();
    let id = script.peered(Retry::Never, LARGE);
    script.endpoint.unpeer(script.now, HOST, PORT, None);
    let token = script.goodbye();
    script
        .endpoint
        .peer(script.now, HOST, PORT, Retry::Never, Some(RequestId(9)));
    assert!(script.log().is_empty());
    script.frame(id, &message::pong(LARGE, ME, &token));
    assert_eq!(script.log().last().unwrap(), "dial peer.example:9999");
}

/// What a peer says that has not noticed the end of the previous connection: as the originator, and
/// as the responder.
fn unnoticed_refusals() -> [Handshake; 2] {
    [
        drop_conn(
            LARGE,
            ErrorCode::RedundantConnection,
            "redundant connection",
        ),
        drop_conn(
            LARGE,
            ErrorCode::LogicError,
            "detected redundant connection at the responder",
        ),
    ]
}

#[test]
fn a_peer_that_has_not_noticed_our_goodbye_is_called_again() {
    for refusal in unnoticed_refusals() {
        for introduced in [false, true] {
            let mut script = Script::new();
            let id = script.peered(Retry::Never, LARGE);
            script.endpoint.unpeer(script.now, HOST, PORT, None);
            let token = script.goodbye();
            script.frame(id, &message::pong(LARGE, ME, &token));
            script.log();
            let mut id = script.dial(Retry::Never, 9);
            for pause in [2, 4, 8] {
                if introduced {
                    script.introduce(id, LARGE);
                    script.log();
                }
                script.hears(id, &refusal);
                let log = script.log();
                assert!(log[0].starts_with("close "), "{log:?}");
                assert_eq!(log.len(), 1, "{log:?}");
                script.pass(pause - 1);
                assert!(script.log().is_empty());
                script.pass(1);
                id = script.dialed();
            }
            script.introduce(id, LARGE);
            script.finish(id, LARGE);
            assert_eq!(script.log().last().unwrap(), "reply 9 Peered");
        }
    }
}

#[test]
fn a_peer_that_left_is_called_again_while_it_has_not_noticed() {
    let mut script = Script::new();
    let id = script.peered(Retry::Never, LARGE);
    script
        .endpoint
        .handle_closed(script.now, id, Closed::Remote);
    script.log();
    let id = script.dial(Retry::Never, 9);
    script.hears(id, &unnoticed_refusals()[0]);
    assert_eq!(script.log().len(), 1);
    script.pass(2);
    script.dialed();
}

#[test]
fn a_refusal_as_redundant_counts_when_the_peer_has_had_time_to_notice() {
    for refusal in unnoticed_refusals() {
        let mut script = Script::new();
        let id = script.peered(Retry::Never, LARGE);
        script
            .endpoint
            .handle_closed(script.now, id, Closed::Remote);
        script.log();
        let mut id = script.dial(Retry::Never, 9);
        let mut dials = 1;
        loop {
            script.hears(id, &refusal);
            if let Some(last) = script.log().last()
                && last.starts_with("reply 9 PeerFailed")
            {
                break;
            }
            let (due, reason) = script.endpoint.next_timeout().unwrap();
            assert_eq!(reason, TimeoutReason::Retry);
            script.now = due;
            script.endpoint.handle_timeout(due);
            id = script.dialed();
            dials += 1;
        }
        assert!(script.now <= Timestamp::EPOCH.saturating_add(Timespan::from_millis(5250)));
        assert!(dials < 40, "{dials}");
    }
}

#[test]
fn tokens_differ() {
    let mut tokens = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let mut script = Script::new();
        for peer in [SMALL, LARGE] {
            script.accepted_peer(peer);
        }
        script.endpoint.shutdown(script.now);
        for output in script.outputs() {
            if let Output::Send { frame, .. } = output {
                tokens.insert(frame[FRAME_LEN_SIZE + 40..].to_vec());
            }
        }
    }
    // The same seed makes the same tokens, two peers get two.
    assert_eq!(tokens.len(), 2);
}

// --- waiting and shutdown -----------------------------------------------------------------------

#[test]
fn waiting_for_a_peer_ends_one_way_or_the_other() {
    let second = Timespan::from_secs(1);
    let mut script = Script::new();
    for (peer, request) in [(LARGE, 10), (SMALL, 11), (SMALL, 12)] {
        script
            .endpoint
            .await_peer(script.now, peer, second, RequestId(request));
    }
    script.endpoint.cancel(RequestId(12));
    let id = script.accept();
    script.hears(id, &hello(LARGE));
    script.finish(id, LARGE);
    assert_eq!(script.log().last().unwrap(), "reply 10 PeerAwaited(true)");
    script
        .endpoint
        .await_peer(script.now, LARGE, second, RequestId(13));
    assert_eq!(script.log(), ["reply 13 PeerAwaited(true)"]);
    let due = script.now.saturating_add(second);
    assert_eq!(
        script.endpoint.next_timeout(),
        Some((due, TimeoutReason::AwaitPeer))
    );
    script.pass(1000);
    assert_eq!(script.log(), ["reply 11 PeerAwaited(false)"]);
    script
        .endpoint
        .await_peer(script.now, SMALL, Timespan::ZERO, RequestId(14));
    assert_eq!(script.log(), ["reply 14 PeerAwaited(false)"]);
}

#[test]
fn shutdown_leaves_nobody_behind() {
    let mut script = Script::new();
    let peer = script.peered(every(1000), LARGE);
    script.accept();
    script
        .endpoint
        .peer(script.now, "other", 1, every(1000), Some(RequestId(20)));
    script
        .endpoint
        .await_peer(script.now, SMALL, Timespan::from_secs(9), RequestId(21));
    script.log();
    script.endpoint.shutdown(script.now);
    let mut outputs = script.outputs();
    let goodbye = outputs
        .iter()
        .position(|output| show(output).starts_with("send Ping"));
    let Output::Send { frame, .. } = outputs.remove(goodbye.unwrap()) else {
        panic!()
    };
    let token = Envelope::parse(&frame[FRAME_LEN_SIZE..])
        .unwrap()
        .payload
        .to_vec();
    let log: Vec<_> = outputs.iter().map(show).collect();
    assert_eq!(log[0], "reply 21 PeerAwaited(false)");
    assert!(
        log[1].starts_with("reply 20 PeerFailed { code: ShuttingDown"),
        "{log:?}"
    );
    assert_eq!(
        log[2..],
        [
            format!("uninstall {LARGE}"),
            "send DropConn(28, shutting down)".to_owned(),
            "close Shutdown".to_owned(),
            "close Shutdown".to_owned(),
        ]
    );
    // Whoever comes now is told.
    script
        .endpoint
        .handle_accepted(script.now, NetworkAddress::new("192.0.2.3", 1));
    script
        .endpoint
        .peer(script.now, HOST, PORT, Retry::Never, Some(RequestId(22)));
    script
        .endpoint
        .await_peer(script.now, LARGE, Timespan::from_secs(9), RequestId(23));
    let log = script.log();
    assert_eq!(
        log[..2],
        ["send DropConn(28, shutting down)", "close Shutdown"]
    );
    assert!(log[2].starts_with("reply 22 PeerFailed"), "{log:?}");
    assert!(log[3].starts_with("reply 23 PeerAwaited"), "{log:?}");
    script.frame(peer, &message::pong(LARGE, ME, &token));
    let log = script.log();
    assert!(log[1].starts_with("peer_removed("), "{log:?}");
    assert_eq!(log.last().unwrap(), "shutdown complete");
    script.endpoint.shutdown(script.now);
    assert!(script.log().is_empty());
    assert_eq!(script.endpoint.next_timeout(), None);
}

#[test]
fn shutdown_of_a_lonely_endpoint_is_immediate() {
    let mut script = Script::new();
    script.endpoint.shutdown(script.now);
    assert_eq!(script.log(), ["shutdown complete"]);
}

// --- arbitrary input ----------------------------------------------------------------------------

/// Something that happens to an endpoint.
#[derive(Debug, Clone)]
enum Act {
    Accept,
    Peer(bool),
    Dialed(u64),
    DialFailed(u64),
    Frame(u64, Vec<u8>),
    Closed(u64),
    Unpeer,
    Subscribe(u8),
    Pass(u16),
    Shutdown,
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let peer = prop_oneof![Just(SMALL), Just(ME), Just(LARGE), Just(EndpointId::NIL)];
    let known = (peer, 0..11u8).prop_map(|(id, kind)| {
        let frame = match kind {
            0 => Handshake::Probe.encode(),
            1 | 2 => hello(id).encode(),
            3 => Handshake::VersionSelect { id, version: 1 }.encode(),
            4 => drop_conn(id, ErrorCode::RedundantConnection, "x").encode(),
            5 => Handshake::OriginatorSyn(theirs()).encode(),
            6 => Handshake::ResponderSynAck(theirs()).encode(),
            7 => Handshake::OriginatorAck.encode(),
            8 => message::ping(id, ME, b"BYE00000000"),
            9 => message::pong(id, ME, b"BYE00000000"),
            _ => message::routing_update(id, ME, &theirs()),
        };
        frame[FRAME_LEN_SIZE..].to_vec()
    });
    let mutated = (known.clone(), any::<proptest::sample::Index>(), any::<u8>()).prop_map(
        |(mut frame, index, byte)| {
            let at = index.index(frame.len());
            frame[at] = byte;
            frame
        },
    );
    let noise = proptest::collection::vec(any::<u8>(), 0..60);
    prop_oneof![6 => known, 1 => mutated, 1 => noise]
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Accept),
        2 => any::<bool>().prop_map(Act::Peer),
        2 => (0..24u64).prop_map(Act::Dialed),
        1 => (0..24u64).prop_map(Act::DialFailed),
        12 => (0..24u64, any_frame()).prop_map(|(id, frame)| Act::Frame(id, frame)),
        1 => (0..24u64).prop_map(Act::Closed),
        1 => Just(Act::Unpeer),
        1 => any::<u8>().prop_map(Act::Subscribe),
        1 => any::<u16>().prop_map(Act::Pass),
        1 => Just(Act::Shutdown),
    ]
}

/// Only what is installed is uninstalled, nothing is sent after a close, and events pair up.
fn check(outputs: &[Output]) {
    let mut installed = std::collections::BTreeSet::new();
    let mut closed = std::collections::BTreeSet::new();
    let mut added = std::collections::BTreeSet::new();
    for output in outputs {
        match output {
            Output::Install { peer, .. } => assert!(installed.insert(*peer)),
            Output::Uninstall { peer } => assert!(installed.remove(peer)),
            Output::Send { connection, .. } => assert!(!closed.contains(connection)),
            Output::Close { connection, .. } => assert!(closed.insert(*connection)),
            Output::Event(Event::Status(Status { code, context, .. })) => {
                let peer = context.as_ref().and_then(|info| info.id).unwrap();
                match code {
                    StatusCode::PeerAdded => assert!(added.insert(peer)),
                    StatusCode::PeerRemoved | StatusCode::PeerLost => {
                        assert!(added.remove(&peer));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_that_happens_panics(acts in proptest::collection::vec(any_act(), 0..80)) {
        let mut script = Script::new();
        let mut outputs = Vec::new();
        for act in acts {
            let now = script.now;
            match act {
                Act::Accept => {
                    script.endpoint.handle_accepted(now, NetworkAddress::new("a", 1));
                }
                Act::Peer(again) => {
                    let retry = if again { every(1000) } else { Retry::Never };
                    script.endpoint.peer(now, HOST, PORT, retry, None);
                }
                Act::Dialed(id) => script.endpoint.handle_dialed(now, ConnectionId(id)),
                Act::DialFailed(id) => {
                    script.endpoint.handle_dial_failed(now, ConnectionId(id), None);
                }
                Act::Frame(id, frame) => {
                    script.endpoint.handle_frame(now, ConnectionId(id), &frame);
                }
                Act::Closed(id) => {
                    script.endpoint.handle_closed(now, ConnectionId(id), Closed::Remote);
                }
                Act::Unpeer => script.endpoint.unpeer(now, HOST, PORT, None),
                Act::Subscribe(topic) => {
                    script.endpoint.subscribe(now, &[Topic::from(vec![b'/', topic])]);
                }
                Act::Pass(ms) => script.pass(i64::from(ms)),
                Act::Shutdown => script.endpoint.shutdown(now),
            }
            outputs.extend(script.outputs());
        }
        script.endpoint.shutdown(script.now);
        script.pass(3000);
        outputs.extend(script.outputs());
        check(&outputs);
        let complete = outputs.iter().filter(|it| matches!(it, Output::ShutdownComplete)).count();
        prop_assert_eq!(complete, 1);
        prop_assert!(script.endpoint.connections.is_empty());
        prop_assert!(script.endpoint.holders.is_empty());
        prop_assert!(script.endpoint.attempts.is_empty());
        prop_assert_eq!(script.endpoint.next_timeout(), None);
    }
}
