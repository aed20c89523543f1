//! Sessions recorded with the WebSocket server of Zeek: a scripted server replays its part.
//!
//! The recorded client's values are published through the endpoint; what it writes must mean the
//! same to a server as what was recorded. Every message of the recorded server must reach a
//! subscriber as the same value, every error an error event.

use broker::data::json::Form;
use broker::proto::json::message::{ServerMessage, read_data, read_server_message};
use broker::{Endpoint, Retry};
use serde_json::Value;

use crate::script::{BINARY, DEADLINE, FIN, Script};
use crate::{endpoint_with, failure, next_fault};
use broker::WebSocketPeerOptions;

const RECORDING: &str = include_str!("../../../../vectors/zeek/zeek-websocket.json");

const PATH: &str = "/v1/messages/json";

fn endpoint(session: &Value) -> Endpoint {
    let name = session["headers"]["X-Application-Name"].as_str();
    endpoint_with(WebSocketPeerOptions {
        application: name.map(str::to_owned),
        ..WebSocketPeerOptions::default()
    })
}

/// The text of a frame of the recorded client.
fn text(frame: &Value) -> Vec<u8> {
    match frame["text"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => hex::decode(frame["binary"].as_str().unwrap()).unwrap(),
    }
}

/// How much of a recording was compared, so that a replay of nothing does not pass.
#[derive(Debug, Default, Eq, PartialEq)]
struct Compared {
    /// Sessions whose first message a client of ours can send.
    sessions: usize,
    /// Values that were written to the server.
    written: usize,
    /// Values that reached a subscriber.
    received: usize,
    /// Errors of the server that became events.
    errors: usize,
}

fn replay(session: &Value, compared: &mut Compared) {
    let frames = session["frames"].as_array().unwrap();
    let topics = text(&frames[0]);
    let Ok(topics) = serde_json::from_slice::<Vec<String>>(&topics) else {
        // A first message that a client of ours cannot send.
        return;
    };
    compared.sessions += 1;
    let endpoint = endpoint(session);
    let events = endpoint.status_subscriber(false).unwrap();
    let subscriber = endpoint
        .subscriber(topics.iter().map(String::as_str))
        .unwrap();
    let script = Script::listen();
    let peering = endpoint.peer_url(&script.url(), Retry::Never);
    let mut served = script.accept();
    let asked: Vec<String> = serde_json::from_str(&served.read_text()).unwrap();
    assert_eq!(asked, topics);
    let name = session["headers"]["X-Application-Name"].as_str();
    assert_eq!(served.field("X-Application-Name").as_deref(), name);
    let is_binary = session["title"] == "binary frames";
    let mut peering = Some(peering);
    for frame in frames.iter().skip(1) {
        let recorded = text(frame);
        let mut payload = Vec::new();
        if frame["dir"] == "client->server" {
            // Some of what was recorded is no message that a client of ours could send.
            let Ok(topic) = read_data(&recorded, Form::Compatible, &mut payload) else {
                continue;
            };
            if topic.is_empty() {
                continue;
            }
            endpoint
                .offer(None, topic.as_bytes(), |out| -> Result<(), broker::Error> {
                    out.extend_from_slice(&payload);
                    Ok(())
                })
                .unwrap();
            let written = served.read_text();
            let mut value = Vec::new();
            let read = read_data(written.as_bytes(), Form::Compatible, &mut value).unwrap();
            assert_eq!(read, topic);
            // Our spelling has milliseconds, and what was recorded may have more.
            if !recorded.windows(7).any(|window| window == b".123456") {
                assert_eq!(value, payload, "{written}");
            }
            compared.written += 1;
            continue;
        }
        if is_binary {
            served.send_frame(FIN | BINARY, &recorded)
        } else {
            served.send_text(std::str::from_utf8(&recorded).unwrap())
        }
        match read_server_message(&recorded, Form::Original, &mut payload).unwrap() {
            ServerMessage::Ack { .. } => {
                peering.take().unwrap().wait().unwrap();
                let node = "1492a656-091c-5d58-95f0-ffb0c9f54278";
                assert_ne!(endpoint.peers()[0].id.to_string(), node);
            }
            ServerMessage::Data { topic } => {
                let message = subscriber.recv_timeout(DEADLINE).unwrap().unwrap();
                assert_eq!(message.topic(), topic.as_bytes());
                assert_eq!(message.payload(), payload);
                compared.received += 1;
            }
            ServerMessage::Error { code, context } => {
                let fault = next_fault(&events);
                let expected = format!("{code}: {context}");
                assert!(fault.text.contains(&expected), "{}", fault.text);
                assert!(fault.text.contains("`/zeek/event/in`"), "{}", fault.text);
                compared.errors += 1;
            }
        }
    }
}

#[test]
fn sessions_recorded_with_zeek() {
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    let sessions = recording["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 10);
    let mut compared = Compared::default();
    for session in sessions {
        if session["path"] == PATH {
            replay(session, &mut compared);
        }
    }
    let expected = Compared {
        sessions: 7,
        written: 13,
        received: 6,
        errors: 7,
    };
    assert_eq!(compared, expected);
}

#[test]
fn subscriptions_that_zeek_refuses_are_explained() {
    // What Zeek answers to a first message that is no list of topics.
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    let sessions = recording["sessions"].as_array().unwrap();
    let mut seen = 0;
    for session in sessions {
        let frames = session["frames"].as_array().unwrap();
        let Some(answer) = frames.get(1).and_then(|frame| frame["text"].as_str()) else {
            continue;
        };
        if !answer.contains("subscriptions not an array") {
            continue;
        }
        seen += 1;
        let script = Script::listen();
        let url = script.url();
        let answer = answer.to_owned();
        let server = std::thread::spawn(move || {
            let mut served = script.accept();
            served.read_text();
            served.send_text(&answer);
            // It stays silent; somebody else ends the connection.
            drop(served);
        });
        let error = failure(&endpoint(session), &url);
        assert!(error.contains("subscriptions not an array"), "{error}");
        server.join().unwrap();
    }
    assert_eq!(seen, 2);
}
