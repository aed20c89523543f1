//! Tests of the session against a scripted server.

use broker_data::{Timespan, Timestamp};
use serde_json::json;

use super::super::api::{self, STREAM_NOT_FOUND};
use super::super::cursor::Verdict;
use super::super::exchange::{
    Load, Output, Publication, ReaderId, Reading, RequestError, RequestId,
};
use super::{REQUESTS_BYTES_MAX, REQUESTS_MAX, Session, VERDICTS_KEPT_MAX};
use crate::nats::connection::{Connection, ServerInfo};

const START: Timestamp = Timestamp::from_ns(1_000_000_000_000);

fn at(seconds: i64) -> Timestamp {
    START.saturating_add(Timespan::from_secs(seconds))
}

/// A session, the time it is, and what a server says to it.
struct Scene {
    session: Session,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let session = Session::new("me");
        Self {
            session,
            now: START,
        }
    }

    fn connect(&mut self) -> String {
        let info = ServerInfo {
            max_payload: 1000,
            headers: true,
            jetstream: true,
            ..ServerInfo::default()
        };
        self.session
            .handle_connected(self.now, Connection::new(4096), &info);
        self.said()
    }

    /// What the session says to the server, since it was asked the last time.
    fn said(&mut self) -> String {
        let said = String::from_utf8(self.session.output().to_vec()).unwrap();
        self.session.handle_written(said.len());
        said
    }

    fn hear(&mut self, text: &str) -> Vec<Output> {
        self.session
            .handle_bytes(self.now, text.as_bytes(), |_| {})
            .unwrap();
        self.outputs()
    }

    /// An answer with a status.
    fn status(&mut self, subject: &str, status: &str) -> Vec<Output> {
        let head = format!("NATS/1.0 {status}\r\n\r\n");
        let sid = subject.split('.').nth(3).unwrap_or("1");
        let sid = if subject.starts_with("_INBOX.me.m.") {
            sid
        } else {
            "1"
        };
        let size = head.len();
        self.hear(&format!("HMSG {subject} {sid} {size} {size}\r\n{head}\r\n"))
    }

    fn answer(&mut self, subject: &str, body: &str) -> Vec<Output> {
        self.hear(&format!("MSG {subject} 1 {}\r\n{body}\r\n", body.len()))
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.session.poll_output()).collect()
    }

    fn pass(&mut self, until: Timestamp) -> Vec<Output> {
        while let Some(next) = self.session.next_timeout().filter(|next| *next <= until) {
            self.now = next;
            self.session.handle_timeout(next);
        }
        self.now = until;
        self.outputs()
    }

    fn read(&mut self, messages: usize, is_ordered: bool) -> ReaderId {
        let bytes = 16 * 1024;
        let reading = Reading {
            stream: "S".to_owned(),
            consumer: "c".to_owned(),
            window: Load { messages, bytes },
            held: Load::default(),
            is_ordered,
        };
        self.session.read(self.now, reading)
    }

    fn publish(&mut self, id: &str, seconds: i64) -> RequestId {
        let publication = Publication {
            subject: "bk.a".to_owned(),
            headers: vec![("Nats-Msg-Id", id.to_owned())],
            payload: b"x".to_vec(),
        };
        let deadline = self.now.saturating_add(Timespan::from_secs(seconds));
        self.session
            .publish(self.now, publication, deadline)
            .unwrap()
    }
}

const STORED: &str = r#"{"stream":"S","seq":7}"#;

#[test]
fn a_message_is_published_until_it_is_stored_always_with_its_id() {
    let mut scene = Scene::new();
    let id = scene.publish("one", 30);
    assert!(scene.connect().contains("Nats-Msg-Id: one"));
    // No answer for a while.
    scene.pass(at(3));
    assert!(scene.said().contains("HPUB bk.a _INBOX.me.a.r.2 "));
    scene.session.handle_lost("it hung up");
    assert_eq!(scene.pass(at(10)), []);
    assert_eq!(scene.said(), "");
    assert!(scene.connect().contains("Nats-Msg-Id: one"));
    let answered = scene.answer("_INBOX.me.a.r.2", STORED);
    let [Output::Answered(answered, Ok(value))] = answered.as_slice() else {
        panic!("{answered:?}");
    };
    assert_eq!(*answered, id);
    assert_eq!(api::Stored::parse(value).unwrap().sequence, 7);
    // A second answer, of the first attempt, is nothing.
    assert_eq!(scene.answer("_INBOX.me.a.r.2", STORED), []);
    assert_eq!(scene.session.next_timeout(), None);
}

#[test]
fn a_time_that_is_over_says_what_was_in_the_way() {
    let mut scene = Scene::new();
    let id = scene.publish("one", 5);
    let failed = |cause: &str| {
        let error = RequestError::TimedOut(cause.to_owned());
        vec![Output::Answered(id, Err(error))]
    };
    assert_eq!(scene.pass(at(5)), failed("no server was reached"));
    let id = scene.publish("two", 5);
    scene.connect();
    let outputs = scene.pass(at(11));
    let error = RequestError::TimedOut("the server did not answer".to_owned());
    assert_eq!(outputs, [Output::Answered(id, Err(error))]);
}

#[test]
fn without_a_stream_a_publish_fails_and_without_a_leader_it_waits() {
    let mut scene = Scene::new();
    scene.connect();
    let id = scene.publish("one", 30);
    scene.said();
    assert_eq!(scene.status("_INBOX.me.a.r.2", "503"), []);
    let asked = scene.said();
    assert!(
        asked.contains("$JS.API.STREAM.NAMES _INBOX.me.a.n.2"),
        "{asked}"
    );
    assert_eq!(scene.answer("_INBOX.me.a.n.2", r#"{"streams":["S"]}"#), []);
    scene.pass(at(1));
    assert!(scene.said().contains("HPUB bk.a"));
    scene.status("_INBOX.me.a.r.2", "503");
    let failed = scene.answer("_INBOX.me.a.n.2", r#"{"streams":null}"#);
    assert_eq!(failed, [Output::Answered(id, Err(RequestError::NoStream))]);
}

#[test]
fn errors_of_servers_are_final_unless_they_pass() {
    let mut scene = Scene::new();
    scene.connect();
    let body = json!({});
    let id = scene
        .session
        .request(scene.now, "STREAM.INFO.S", &body, at(30))
        .unwrap();
    let passing = r#"{"error":{"code":503,"err_code":10008,"description":"later"}}"#;
    assert_eq!(scene.answer("_INBOX.me.a.r.2", passing), []);
    scene.said();
    scene.pass(at(1));
    assert!(scene.said().contains("HPUB $JS.API.STREAM.INFO.S"));
    let gone = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
    let outputs = scene.answer("_INBOX.me.a.r.2", gone);
    let [Output::Answered(answered, Err(RequestError::Refused(error)))] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert_eq!((*answered, error.error), (id, STREAM_NOT_FOUND));
}

#[test]
fn what_waits_is_bounded_and_what_is_too_large_is_told() {
    let mut scene = Scene::new();
    for _ in 0..REQUESTS_MAX {
        scene.publish("x", 30);
    }
    let more = Publication {
        subject: "a".to_owned(),
        headers: Vec::new(),
        payload: Vec::new(),
    };
    let refused = scene.session.publish(scene.now, more.clone(), at(30));
    assert_eq!(refused, Err(RequestError::Full));
    let mut scene = Scene::new();
    let large = Publication {
        payload: vec![0; REQUESTS_BYTES_MAX + 1],
        ..more.clone()
    };
    let refused = scene.session.publish(scene.now, large, at(30));
    assert_eq!(refused, Err(RequestError::Full));
    scene.connect();
    let large = Publication {
        payload: vec![0; 2000],
        ..more
    };
    scene.session.publish(scene.now, large, at(30)).unwrap();
    let outputs = scene.outputs();
    let [Output::Answered(_, Err(error))] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert!(error.to_string().contains("takes 1000"), "{error}");
}

fn taken(messages: usize) -> Load {
    let bytes = messages * 100;
    Load { messages, bytes }
}

fn message(number: u64) -> String {
    format!("MSG bk.a 2 $JS.ACK.S.c.1.{number}.{number}.5.0 1\r\nx\r\n")
}

#[test]
fn a_reader_gets_what_it_has_room_for() {
    let mut scene = Scene::new();
    let reader = scene.read(4, false);
    let said = scene.connect();
    assert!(said.contains("SUB _INBOX.me.m.2.* 2\r\n"), "{said}");
    assert!(
        said.contains("CONSUMER.MSG.NEXT.S.c _INBOX.me.m.2.3 "),
        "{said}"
    );
    assert!(said.contains(r#""batch":4"#), "{said}");
    let mut got = Vec::new();
    for number in 1..=4 {
        got.extend(scene.hear(&message(number)));
    }
    let sequences: Vec<u64> = got
        .iter()
        .map(|it| match it {
            Output::Message(message) => {
                assert_eq!(
                    (message.reader, message.payload.as_slice()),
                    (reader, &b"x"[..])
                );
                message.delivery.sequence
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    assert_eq!(scene.said(), "", "there is no room");
    assert_eq!(scene.hear(&message(5)), [], "nor was it asked for");
    assert_eq!(
        (scene.session.take_unasked(), scene.session.take_unasked()),
        (1, 0)
    );
    scene.session.make_room(scene.now, reader, taken(1));
    assert_eq!(scene.said(), "", "one is no request worth");
    scene.session.make_room(scene.now, reader, taken(3));
    assert!(scene.said().contains(r#""batch":4"#));
    scene.session.judge("$JS.ACK.S.c.1.1.1.5.0", &Verdict::Ack);
    assert_eq!(scene.said(), "PUB $JS.ACK.S.c.1.1.1.5.0 4\r\n+ACK\r\n");
    scene.session.end(reader);
    assert_eq!(scene.said(), "UNSUB 2\r\n");
    assert_eq!(scene.hear(&message(5)), []);
    assert_eq!(scene.session.next_timeout(), None);
}

#[test]
fn a_request_for_messages_that_is_over_is_made_again() {
    let mut scene = Scene::new();
    scene.read(4, false);
    scene.connect();
    scene.pass(at(10));
    scene.status("_INBOX.me.m.2.3", "100 Idle Heartbeat");
    assert_eq!(scene.pass(at(20)), []);
    assert_eq!(scene.said(), "", "it was alive at 10 s");
    scene.status("_INBOX.me.m.2.3", "408 Request Timeout");
    assert!(scene.said().contains("MSG.NEXT.S.c _INBOX.me.m.2.4"));
    scene.status("_INBOX.me.m.2.4", "409 Leadership Change");
    assert_eq!(scene.said(), "");
    scene.pass(at(21));
    assert!(scene.said().contains("MSG.NEXT.S.c"));
}

#[test]
fn a_silent_reader_asks_for_its_consumer() {
    let mut scene = Scene::new();
    let reader = scene.read(4, false);
    scene.connect();
    scene.pass(at(13));
    let said = scene.said();
    assert!(said.contains("CONSUMER.INFO.S.c _INBOX.me.a.c.2"), "{said}");
    assert_eq!(scene.answer("_INBOX.me.a.c.2", r#"{"name":"c"}"#), []);
    scene.pass(at(14));
    assert!(scene.said().contains("MSG.NEXT.S.c"));
    scene.status("_INBOX.me.m.2.4", "503");
    assert!(scene.said().contains("CONSUMER.INFO.S.c"));
    let gone = r#"{"error":{"code":404,"err_code":10014,"description":"consumer not found"}}"#;
    let outputs = scene.answer("_INBOX.me.a.c.2", gone);
    let text = "consumer not found (code 10014)".to_owned();
    assert_eq!(outputs, [Output::Gone(reader, text)]);
    assert_eq!(scene.session.next_timeout(), None);
}

#[test]
fn verdicts_wait_for_a_connection() {
    let mut scene = Scene::new();
    for _ in 0..VERDICTS_KEPT_MAX + 1 {
        scene.session.judge("$JS.ACK.x", &Verdict::Ack);
    }
    let said = scene.connect();
    assert_eq!(said.matches("+ACK").count(), VERDICTS_KEPT_MAX);
    scene.session.handle_lost("it hung up");
    assert!(!scene.connect().contains("+ACK"));
}

#[test]
fn a_reader_has_room_for_some_bytes() {
    let mut scene = Scene::new();
    let reader = scene.read(1000, false);
    // Two messages of 1000 bytes, and subjects, are more than the window is.
    assert!(scene.connect().contains(r#""max_bytes":18384"#));
    let large = |number: u64| {
        let text = "x".repeat(4000);
        format!("MSG bk.a 2 $JS.ACK.S.c.1.{number}.{number}.5.0 4000\r\n{text}\r\n")
    };
    for number in 1..=4 {
        assert_eq!(scene.hear(&large(number)).len(), 1);
    }
    scene.status("_INBOX.me.m.2.3", "409 Message Size Exceeds MaxBytes");
    assert_eq!(scene.said(), "", "there is no room for one of the largest");
    let bytes = 12_000;
    let most = Load { messages: 3, bytes };
    scene.session.make_room(scene.now, reader, most);
    let said = scene.said();
    assert!(said.contains(r#""batch":999,"expires""#), "{said}");
    assert_eq!(scene.hear(&large(5)).len(), 1);
}

#[test]
fn an_ordered_reader_is_gone_when_a_message_or_the_connection_is() {
    let mut scene = Scene::new();
    let first = scene.read(4, true);
    scene.connect();
    assert_eq!(scene.hear(&message(1)).len(), 1);
    let outputs = scene.hear(&message(3));
    let [Output::Gone(gone, cause)] = outputs.as_slice() else {
        panic!("{outputs:?}");
    };
    assert!(*gone == first && cause.contains("lost"), "{cause}");
    let second = scene.read(4, true);
    scene.session.handle_lost("it hung up");
    assert_eq!(
        scene.outputs(),
        [Output::Gone(second, "it hung up".to_owned())]
    );
    assert!(!scene.connect().contains("MSG.NEXT"));
    assert_eq!(scene.session.next_timeout(), None);
}
