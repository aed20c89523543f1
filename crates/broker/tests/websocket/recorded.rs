//! Sessions recorded with the WebSocket server of Zeek, replayed against ours.
//!
//! The recorded client's frames are sent as they are. What Zeek's scripts answered is published
//! by a hub and must reach the client as the same value under the same topic. Where the two
//! servers differ by design (Zeek also checks events against its scripts), only what ours promises
//! is expected.

use broker::data::json::{self, Form};
use broker::proto::json::message::{ServerMessage, read_data, read_server_message};
use broker::{Endpoint, Subscriber};
use serde_json::Value;

use crate::client::{BINARY, Client, DEADLINE, FIN, TEXT};

const RECORDING: &str = include_str!("../../../../vectors/zeek/zeek-websocket.json");

const PATH: &str = "/v1/messages/json";

struct Replay {
    endpoint: Endpoint,
    client: Client,
    heard: Subscriber,
    compared: Compared,
}

/// How much of a recording was compared, so that a replay of nothing does not pass.
#[derive(Debug, Default, Eq, PartialEq)]
struct Compared {
    /// Values of clients that reached a subscriber.
    from_clients: usize,
    /// Messages of clients that were refused.
    refused: usize,
    /// Values that reached a client.
    to_clients: usize,
    /// Sessions that the server ended because of their first message.
    ended: usize,
}

impl Replay {
    fn begin(session: &Value) -> Self {
        let (endpoint, port) = crate::server();
        let heard = endpoint.subscriber(["/"]).unwrap();
        let mut fields = String::new();
        for (name, value) in session["headers"].as_object().into_iter().flatten() {
            fields += &format!("{name}: {}\r\n", value.as_str().unwrap());
        }
        let client = Client::connect_with(port, &fields).0;
        Self {
            endpoint,
            client,
            heard,
            compared: Compared::default(),
        }
    }

    /// Sends a frame of the recorded client and checks what becomes of it.
    fn replay_client(&mut self, frame: &Value, is_first: bool) {
        let (opcode, text) = match frame["text"].as_str() {
            Some(text) => (TEXT, text.as_bytes().to_vec()),
            None => (
                BINARY,
                hex::decode(frame["binary"].as_str().unwrap()).unwrap(),
            ),
        };
        self.client.send_frame(FIN | opcode, &text);
        if is_first {
            return;
        }
        let mut payload = Vec::new();
        match read_data(&text, Form::Compatible, &mut payload) {
            Ok(topic) => {
                let message = self.heard.recv_timeout(DEADLINE).unwrap().unwrap();
                assert_eq!(message.topic(), topic.as_bytes());
                assert_eq!(message.payload(), payload);
                self.compared.from_clients += 1;
            }
            Err(_) => {
                assert!(self.client.read_text().starts_with(r#"{"type":"error""#));
                self.compared.refused += 1;
            }
        }
    }

    /// Has ours send what the recorded server sent. `false`: the session ends here.
    fn replay_server(&mut self, text: &str) -> bool {
        let mut payload = Vec::new();
        match read_server_message(text.as_bytes(), Form::Original, &mut payload).unwrap() {
            ServerMessage::Ack { .. } => {
                let ack = self.client.read_text();
                let shape = read_server_message(ack.as_bytes(), Form::Original, &mut Vec::new());
                assert!(matches!(shape, Ok(ServerMessage::Ack { .. })), "{ack}");
            }
            ServerMessage::Data { topic } => {
                self.endpoint
                    .offer(None, topic.as_bytes(), |out| -> Result<(), broker::Error> {
                        out.extend_from_slice(&payload);
                        Ok(())
                    })
                    .unwrap();
                let ours = self.client.read_text();
                let mut value = Vec::new();
                let message = read_server_message(ours.as_bytes(), Form::Original, &mut value);
                assert_eq!(message, Ok(ServerMessage::Data { topic }), "{ours}");
                assert_eq!(value, payload, "{ours}");
                // Field by field in the same spelling, but for reals: ours read back exactly.
                let reals_aside = |text: &str| text.replace("2.000000", "2.0");
                assert_eq!(ours, reals_aside(text));
                self.compared.to_clients += 1;
            }
            ServerMessage::Error { context, .. } => {
                if context.starts_with("subscriptions not an array") {
                    assert_eq!(self.client.read_close().0, 1008);
                    self.compared.ended += 1;
                    return false;
                }
            }
        }
        true
    }
}

#[test]
fn sessions_recorded_with_zeek() {
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    let sessions = recording["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 10);
    let mut all = Compared::default();
    let mut wrong_paths = 0;
    for session in sessions {
        if session["path"] != PATH {
            wrong_paths += 1;
            let (_endpoint, port) = crate::server();
            let mut client = Client::dial(port);
            let path = session["path"].as_str().unwrap();
            client.send(crate::request("").replace(PATH, path).as_bytes());
            assert!(client.read_all().starts_with("HTTP/1.1 400 "));
            continue;
        }
        let mut replay = Replay::begin(session);
        let mut is_first = true;
        for frame in session["frames"].as_array().unwrap() {
            match frame["dir"].as_str().unwrap() {
                "client->server" => {
                    replay.replay_client(frame, is_first);
                    is_first = false;
                }
                _ if !replay.replay_server(frame["text"].as_str().unwrap_or_default()) => break,
                _ => {}
            }
        }
        all.from_clients += replay.compared.from_clients;
        all.refused += replay.compared.refused;
        all.to_clients += replay.compared.to_clients;
        all.ended += replay.compared.ended;
    }
    let expected = Compared {
        from_clients: 13,
        refused: 2,
        to_clients: 6,
        ended: 2,
    };
    assert_eq!((all, wrong_paths), (expected, 1));
}

#[test]
fn values_of_the_recording_come_back_as_they_went() {
    // A client's value goes to another client in the spelling of the server.
    let (_endpoint, port) = crate::server();
    let mut reader = Client::subscribed(port, &["/zeek"]);
    let mut writer = Client::subscribed(port, &[]);
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    let frames = recording["sessions"].as_array().unwrap().iter();
    let mut compared = 0;
    for frame in frames.flat_map(|session| session["frames"].as_array().unwrap()) {
        let text = frame["text"].as_str().unwrap_or_default();
        let mut payload = Vec::new();
        let Ok(topic) = read_data(text.as_bytes(), Form::Compatible, &mut payload) else {
            continue;
        };
        if !topic.as_bytes().starts_with(b"/zeek") {
            continue;
        }
        writer.send_text(text);
        let value = json::to_text(&payload, Form::Compatible).unwrap();
        let fields = value.strip_prefix('{').unwrap();
        let expected = format!(r#"{{"type":"data-message","topic":"{topic}",{fields}"#);
        assert_eq!(reader.read_text(), expected);
        compared += 1;
    }
    assert_eq!(compared, 17);
}
