use super::overlap::OVERLAP_BYTES_MAX;
use super::renewal::{OVERLAP_MIN, RENEWAL_DELAY, REPEATED_HOLD_MAX, RETIREMENT_MAX};
use super::sent::SENT_TOPICS_MAX;
use super::*;

const SECOND: i64 = 1_000_000_000;

/// A session, its clock, and what it asked for.
struct Scene {
    session: ClientSession,
    now: Timestamp,
}

fn filter(topics: &[&str]) -> Filter {
    topics.iter().map(|topic| Topic::from(*topic)).collect()
}

fn ack(connection: u64) -> String {
    format!(r#"{{"type":"ack","endpoint":"zeek-websocket-{connection}","version":"8.0"}}"#)
}

fn data(topic: &str, number: u64) -> String {
    format!(r#"{{"type":"data-message","topic":"{topic}","@data-type":"count","data":{number}}}"#)
}

impl Scene {
    fn begin(topics: &[&str]) -> Self {
        let config = ClientConfig {
            seed: 7,
            ack_timeout: milliseconds(30_000),
            ping_interval: milliseconds(15_000),
        };
        let mut scene = Self {
            session: ClientSession::new(config, &filter(topics)),
            now: Timestamp::from_ns(0),
        };
        assert_eq!(scene.outputs(), ["open 1"]);
        scene
    }

    /// A session that is acknowledged.
    fn joined(topics: &[&str]) -> Self {
        let mut scene = Self::begin(topics);
        scene.open(1);
        scene.text(1, &ack(1));
        scene.outputs();
        scene
    }

    /// A session whose second connection is subscribed and not acknowledged.
    fn subscribing() -> Self {
        let mut scene = Self::joined(&["/a"]);
        scene.want(&["/a", "/b"]);
        scene.pass(RENEWAL_DELAY);
        assert_eq!(scene.outputs(), ["open 2"]);
        scene.open(2);
        let Some(ClientOutput::Ping {
            connection,
            payload,
        }) = scene.session.poll_output()
        else {
            panic!("a ping goes out before the subscription")
        };
        scene.session.handle_pong(scene.now, connection, &payload);
        assert_eq!(scene.outputs(), [r#"send 2 ["/a","/b"]"#]);
        scene
    }

    fn open(&mut self, connection: u64) {
        self.session
            .handle_opened(self.now, ServerConnectionId(connection), Form::Original);
    }

    fn text(&mut self, connection: u64, text: &str) -> Option<String> {
        let mut payload = Vec::new();
        let topic = self.session.handle_text(
            self.now,
            ServerConnectionId(connection),
            text.as_bytes(),
            &mut payload,
        );
        assert_eq!(topic.is_some(), !payload.is_empty());
        topic.map(|topic| topic.to_string())
    }

    fn lost(&mut self, connection: u64) {
        self.session.handle_lost(
            self.now,
            ServerConnectionId(connection),
            &ConnectionEnd::Ended,
        );
    }

    fn want(&mut self, topics: &[&str]) {
        self.session.set_interest(self.now, &filter(topics));
    }

    fn pause(&mut self, connection: u64, paused: bool) {
        self.session
            .set_paused(self.now, ServerConnectionId(connection), paused);
    }

    fn pass(&mut self, time: Timespan) {
        self.now = self.now.saturating_add(time);
        self.session.handle_timeout(self.now);
    }

    /// Goes to the next timeout.
    fn wait(&mut self) -> ClientTimeout {
        let (at, reason) = self.session.next_timeout().unwrap();
        self.now = self.now.max(at);
        self.session.handle_timeout(self.now);
        reason
    }

    fn writer(&self) -> Option<u64> {
        self.session.writer().map(|(connection, _)| connection.0)
    }

    fn outputs(&mut self) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some(output) = self.session.poll_output() {
            shown.push(match output {
                ClientOutput::Open { connection } => format!("open {}", connection.0),
                ClientOutput::Send { connection, text } => format!("send {} {text}", connection.0),
                ClientOutput::Ping { connection, .. } => format!("ping {}", connection.0),
                ClientOutput::Close { connection } => format!("close {}", connection.0),
                ClientOutput::Drop { connection } => format!("drop {}", connection.0),
                ClientOutput::Joined { version, .. } => format!("joined {version}"),
                ClientOutput::Complain { code, text } => format!("{code:?}: {text}"),
                ClientOutput::Ended { cause } => format!("ended {}", cause.unwrap_or_default()),
            });
        }
        shown
    }
}

#[test]
fn a_conversation_begins_with_the_subscription() {
    let mut scene = Scene::begin(&["/a"]);
    scene.open(1);
    assert_eq!(scene.outputs(), [r#"send 1 ["/a"]"#]);
    assert_eq!(scene.writer(), None);
    assert_eq!(scene.text(1, &data("/a", 1)), None, "before the answer");
    scene.text(1, &ack(1));
    assert_eq!(scene.outputs(), ["joined 8.0"]);
    assert_eq!(scene.writer(), Some(1));
    assert_eq!(scene.text(1, &data("/a", 1)).as_deref(), Some("/a"));
}

#[test]
fn what_came_before_the_answer_explains_its_absence() {
    let mut scene = Scene::begin(&[]);
    scene.open(1);
    scene.text(
        1,
        r#"{"type":"error","code":"invalid_uri","context":"no such path"}"#,
    );
    scene.session.handle_lost(
        scene.now,
        ServerConnectionId(1),
        &ConnectionEnd::Closed {
            code: 1008,
            reason: "no".to_owned(),
        },
    );
    let shown = scene.outputs();
    assert_eq!(
        shown.last().unwrap(),
        "ended the server reports: invalid_uri: no such path"
    );
}

#[test]
fn nobody_there_needs_no_cause() {
    let mut scene = Scene::begin(&[]);
    scene.session.handle_lost(
        scene.now,
        ServerConnectionId(1),
        &ConnectionEnd::Unreachable,
    );
    assert_eq!(scene.outputs(), ["ended "]);
    assert_eq!(scene.session.next_timeout(), None);
}

#[test]
fn an_answer_may_take_long_but_not_for_ever() {
    let mut scene = Scene::begin(&[]);
    scene.open(1);
    scene.outputs();
    scene.pass(milliseconds(29_999));
    assert_eq!(scene.outputs(), [""; 0]);
    assert_eq!(scene.wait(), ClientTimeout::Ack);
    assert_eq!(
        scene.outputs(),
        ["drop 1", "ended the server did not acknowledge in time"]
    );
}

#[test]
fn a_silent_server_is_asked_and_then_given_up() {
    let mut scene = Scene::joined(&[]);
    assert_eq!(scene.wait(), ClientTimeout::Liveness);
    assert_eq!(scene.outputs(), ["ping 1"]);
    scene.pass(milliseconds(14_000));
    scene.session.handle_heard(scene.now, ServerConnectionId(1));
    scene.wait();
    assert_eq!(scene.outputs(), ["ping 1"]);
    scene.wait();
    assert_eq!(
        scene.outputs(),
        [
            "drop 1",
            "PeerUnavailable: the server does not answer pings",
            "ended the server does not answer pings"
        ]
    );
}

#[test]
fn a_renewal_takes_over_at_the_acknowledgement() {
    let mut scene = Scene::subscribing();
    assert_eq!(scene.writer(), None);
    assert_eq!(scene.text(1, &data("/a", 1)).as_deref(), Some("/a"));
    scene.text(2, &ack(2));
    assert_eq!(
        scene.text(2, &data("/a", 1)),
        None,
        "it came on the old one"
    );
    assert_eq!(scene.text(2, &data("/b", 1)).as_deref(), Some("/b"));
    assert_eq!(scene.wait(), ClientTimeout::Renewal);
    assert_eq!(scene.outputs(), ["close 1"]);
    assert_eq!(scene.writer(), None, "the server may not have read all");
    scene.lost(1);
    assert_eq!(scene.writer(), Some(2));
    assert_eq!(scene.outputs(), [""; 0]);
}

#[test]
fn equal_messages_count_as_often_as_they_came_on_one_connection() {
    let mut scene = Scene::subscribing();
    scene.text(2, &ack(2));
    let message = data("/a", 1);
    let mut delivered = 0;
    for connection in [1, 1, 2, 2, 2, 1, 2, 1] {
        delivered += u32::from(scene.text(connection, &message).is_some());
    }
    assert_eq!(delivered, 4);
}

#[test]
fn the_old_connection_stays_until_it_has_brought_what_it_owes() {
    let mut scene = Scene::subscribing();
    scene.text(2, &ack(2));
    scene.text(2, &data("/a", 1));
    scene.pass(OVERLAP_MIN);
    assert_eq!(scene.outputs(), [""; 0]);
    // Another one that it owes does not put its end off.
    scene.text(2, &data("/a", 2));
    assert_eq!(scene.text(1, &data("/a", 1)), None);
    scene.wait();
    assert_eq!(scene.outputs(), ["close 1"]);
    // It is still read.
    assert_eq!(scene.text(1, &data("/a", 2)), None);
    assert_eq!(scene.text(1, &data("/a", 3)).as_deref(), Some("/a"));
    scene.lost(1);
    // And what it brought last still comes on the new one.
    assert_eq!(scene.text(2, &data("/a", 3)), None);
    assert_eq!(scene.text(2, &data("/a", 4)).as_deref(), Some("/a"));
    assert_eq!(scene.text(2, &data("/a", 3)).as_deref(), Some("/a"));
}

#[test]
fn the_old_connection_does_not_stay_for_ever() {
    let mut scene = Scene::subscribing();
    scene.text(2, &ack(2));
    scene.text(2, &data("/a", 1));
    scene.wait();
    scene.wait();
    assert_eq!(scene.outputs(), ["close 1"]);
    assert!(scene.now.ns() <= 3 * SECOND);
    // The server does not answer the close frame.
    scene.wait();
    assert_eq!(scene.outputs(), ["drop 1"]);
    assert_eq!(scene.writer(), Some(2));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut overlap = Overlap::new(filter(&["/a"]));
    let now = Timestamp::from_ns(0);
    let payload = vec![0; 100_000];
    for number in 0..1000 {
        let topic = Topic::from(format!("/a/{number}").as_str());
        assert!(!overlap.came_before(now, Side::Old, &topic, &payload));
    }
    assert!(overlap.bytes <= OVERLAP_BYTES_MAX);
    let first = Topic::from("/a/0");
    assert!(overlap.came_before(now, Side::New, &first, &payload));
    let last = Topic::from("/a/999");
    assert!(!overlap.came_before(now, Side::New, &last, &payload));
}

#[test]
fn a_renewal_that_fails_is_tried_again_and_holds_nobody_up() {
    let mut scene = Scene::joined(&["/a"]);
    scene.want(&["/a", "/b"]);
    scene.wait();
    scene.outputs();
    assert_eq!(scene.writer(), None);
    scene.lost(2);
    let shown = scene.outputs();
    assert!(shown[0].contains("could not be renewed"), "{shown:?}");
    assert_eq!(scene.writer(), Some(1));
    let before = scene.now;
    scene.wait();
    assert!(scene.now.ns() - before.ns() >= SECOND * 3 / 4);
    assert_eq!(scene.outputs(), ["open 3"]);
    assert_eq!(scene.writer(), Some(1));
    scene.open(3);
    scene.outputs();
    // One that answers gets the moment that it needs, one that does not no more than that.
    assert_eq!(scene.writer(), None);
    scene.pass(REPEATED_HOLD_MAX);
    assert_eq!(scene.writer(), Some(1));
    scene.wait();
    assert_eq!(scene.outputs(), [r#"send 3 ["/a","/b"]"#]);
    assert_eq!(scene.writer(), Some(1));
    scene.text(3, &ack(3));
    assert_eq!(
        scene.writer(),
        None,
        "it would come back on the old connection"
    );
    scene.lost(1);
    assert_eq!(scene.writer(), Some(3));
}

#[test]
fn a_connection_that_is_not_read_is_not_silent() {
    let mut scene = Scene::joined(&["/a"]);
    scene.wait();
    assert_eq!(scene.outputs(), ["ping 1"]);
    scene.pause(1, true);
    assert_eq!(scene.session.next_timeout(), None);
    scene.pass(milliseconds(600_000));
    assert_eq!(scene.outputs(), [""; 0]);
    // What the server said meanwhile may come any moment.
    scene.pause(1, false);
    scene.pass(milliseconds(14_999));
    assert_eq!(scene.outputs(), [""; 0]);
    scene.wait();
    assert_eq!(scene.outputs(), ["ping 1"]);
    scene.wait();
    assert!(scene.outputs().contains(&"drop 1".to_owned()));
}

#[test]
fn a_renewal_waits_for_what_is_not_read_and_publishers_do_not() {
    let mut scene = Scene::subscribing();
    scene.pause(1, true);
    scene.text(2, &ack(2));
    assert!(!scene.session.awaits_ack(ServerConnectionId(2)));
    scene.wait();
    assert_eq!(scene.outputs(), ["close 1"]);
    assert!(scene.now.ns() >= 2 * SECOND, "it was not heard out");
    assert_eq!(scene.writer(), None);
    scene.wait();
    assert_eq!(scene.writer(), Some(2));
    assert_eq!(scene.outputs(), [""; 0]);
    // Each time something is read the server gets its second.
    for number in 0..3 {
        scene.pause(1, false);
        assert_eq!(scene.text(1, &data("/a", number)).as_deref(), Some("/a"));
        scene.pause(1, true);
        scene.wait();
        assert_eq!(scene.outputs(), [""; 0]);
        assert_eq!(scene.writer(), Some(2));
    }
    scene.pause(1, false);
    scene.wait();
    assert_eq!(scene.outputs(), ["drop 1"]);
}

#[test]
fn a_renewal_hears_out_a_server_that_is_still_sending() {
    let mut scene = Scene::subscribing();
    scene.text(2, &ack(2));
    while !scene.outputs().contains(&"close 1".to_owned()) {
        scene.wait();
    }
    // A slow server, or a slow network: the second counts from the last sign.
    for number in 0..5 {
        scene.pass(Timespan::from_millis(900));
        assert_eq!(scene.outputs(), [""; 0]);
        scene.session.handle_heard(scene.now, ServerConnectionId(1));
        assert_eq!(scene.text(1, &data("/a", number)).as_deref(), Some("/a"));
    }
    scene.wait();
    assert_eq!(scene.outputs(), ["drop 1"]);
}

#[test]
fn a_connection_that_is_never_read_is_given_up_aloud() {
    let mut scene = Scene::subscribing();
    assert!(scene.session.awaits_ack(ServerConnectionId(2)));
    scene.pause(1, true);
    scene.text(2, &ack(2));
    scene.pause(2, true);
    let begun = scene.now;
    let shown = loop {
        let shown = scene.outputs();
        if shown.contains(&"drop 1".to_owned()) {
            break shown;
        }
        scene.wait();
    };
    assert!(
        shown[1].contains("messages of the server were lost"),
        "{shown:?}"
    );
    let waited = scene.now.ns() - begun.ns();
    assert!(waited >= RETIREMENT_MAX.ns() && waited < 2 * RETIREMENT_MAX.ns());
}

#[test]
fn what_our_side_finds_wrong_is_told() {
    let mut scene = Scene::joined(&[]);
    let loss = ConnectionEnd::Failed("the server masked a frame".to_owned());
    scene
        .session
        .handle_lost(scene.now, ServerConnectionId(1), &loss);
    assert_eq!(
        scene.outputs(),
        [
            "PeerUnavailable: the server masked a frame",
            "ended the server masked a frame"
        ]
    );
}

#[test]
fn a_renewal_that_is_not_acknowledged_fails() {
    let mut scene = Scene::subscribing();
    scene.text(
        2,
        r#"{"type":"error","code":"nope","message":"too many topics"}"#,
    );
    scene.wait();
    let shown = scene.outputs();
    assert_eq!(shown[0], "drop 2");
    assert!(shown[1].contains("nope: too many topics"), "{shown:?}");
    assert_eq!(scene.writer(), Some(1));
}

#[test]
fn a_connection_that_is_lost_ends_everything() {
    let mut scene = Scene::subscribing();
    scene.lost(1);
    assert_eq!(
        scene.outputs(),
        ["drop 2", "ended the server ended the connection"]
    );
    assert_eq!(scene.text(2, &ack(2)), None);
    assert_eq!(scene.outputs(), [""; 0]);
}

#[test]
fn a_goodbye_closes_what_is_open() {
    let mut scene = Scene::subscribing();
    scene.session.leave();
    scene.session.leave();
    assert_eq!(scene.outputs(), ["drop 2", "close 1"]);
    let mut opening = Scene::begin(&[]);
    opening.session.leave();
    assert_eq!(opening.outputs(), ["drop 1"]);
}

#[test]
fn topics_of_endpoints_and_stores_are_left_out() {
    let mut scene = Scene::begin(&["<$>/local/data/errors", "s/<$>/data/clone", "/a"]);
    scene.open(1);
    assert_eq!(scene.outputs(), [r#"send 1 ["/a"]"#]);
    scene.text(1, &ack(1));
    scene.outputs();
    scene.want(&["<$>/local/data/errors", "t/<$>/data/clone", "/a"]);
    assert_eq!(scene.writer(), Some(1), "there is nothing to renew");
    assert_eq!(scene.text(1, &data("<$>/local/data/errors", 1)), None);
}

#[test]
fn errors_name_the_message_they_count() {
    let mut sent = SentTopics::default();
    assert_eq!(sent.explain("c", ""), "the server reports: c");
    for number in 1..=SENT_TOPICS_MAX + 10 {
        sent.note(format!("/{number}").as_bytes());
    }
    let explain = |context| sent.explain("c", context);
    assert!(explain("input #12 is bad").contains("under `/12`: c: input #12"));
    assert!(explain("input #1034 is bad").contains("under `/1034`"));
    // Too long ago, not yet, no number.
    for context in ["input #3 is bad", "input #2000 is bad", "input #x"] {
        let text = explain(context);
        assert!(
            text.contains("last sent was a message under `/1034`"),
            "{text}"
        );
    }
}

#[test]
fn a_flood_of_nonsense_is_one_report() {
    let mut scene = Scene::joined(&["/a"]);
    for _ in 0..1000 {
        scene.text(1, "nonsense");
    }
    assert_eq!(scene.outputs().len(), 1);
    scene.now = scene.now.saturating_add(REPORT_PAUSE);
    scene.text(1, "nonsense");
    let shown = scene.outputs();
    assert!(shown[0].ends_with("(1000 messages)"), "{shown:?}");
}
