//! A stranger's bytes against the WebSocket server, without its sockets: the HTTP request, frames,
//! and the conversation. Whatever comes, refusals are complete answers, and nothing is published
//! that is not a value under a topic that clients may use.
//!
//! Input: bytes as they come off a socket. The frames are read by the library that the server
//! uses, within the limits that the server sets.

#![no_main]

use std::io::{self, Read, Write};

use broker_data::json::Form;
use broker_data::validate;
use broker_proto::EndpointId;
use broker_proto::http::head::{HEAD_BYTES_MAX, RequestHead, head_size};
use broker_proto::json::message::{
    ServerMessage, is_reserved, read_data, read_server_message, write_data,
};
use broker_proto::json::server::{ServerSession, ServerStep};
use broker_proto::http::upgrade::{LOSSLESS_PROTOCOL, Rejection, Upgrade};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{Message, Role, WebSocket, WebSocketConfig};

/// A socket that has received everything it ever will.
struct Socket<'a>(&'a [u8]);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_complete(rejection: &Rejection) {
    let response = rejection.response();
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 5"));
    let length = format!("Content-Length: {}", body.len());
    assert!(head.split("\r\n").any(|line| line == length));
}

fuzz_target!(|bytes: &[u8]| {
    let size = match head_size(bytes) {
        Ok(Some(size)) => size,
        Ok(None) => return assert!(bytes.len() < HEAD_BYTES_MAX),
        Err(error) => return is_complete(&error.into()),
    };
    assert!(size <= HEAD_BYTES_MAX);
    let (head, frames) = bytes.split_at(size);
    let request = RequestHead::parse(head)
        .map_err(Rejection::from)
        .and_then(|head| Upgrade::of(&head, None));
    let request = match request {
        Ok(request) => request,
        Err(rejection) => return is_complete(&rejection),
    };
    assert!(request.response("x").ends_with("\r\n\r\n"));
    let form = match request.protocol {
        Some(LOSSLESS_PROTOCOL) => Form::Lossless,
        _ => Form::Compatible,
    };

    let config = WebSocketConfig::default()
        .max_frame_size(Some(4096))
        .max_message_size(Some(4096));
    let mut socket =
        WebSocket::from_partially_read(Socket(frames), Vec::new(), Role::Server, Some(config));
    let mut session = ServerSession::new(EndpointId::from_random([7; 16]), "1", form);
    let mut payload = Vec::new();
    while let Ok(message) = socket.read() {
        payload.clear();
        let subscribed = session.is_subscribed();
        let step = match &message {
            Message::Text(text) => session.handle_text(text.as_bytes(), &mut payload),
            Message::Binary(bytes) => session.handle_binary(bytes, &mut payload),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        match step {
            ServerStep::Subscribe { topics, ack } => {
                assert!(!subscribed);
                assert!(
                    topics
                        .iter()
                        .all(|topic| !topic.as_bytes().starts_with(b"<$>"))
                );
                let ack = read_server_message(ack.as_bytes(), Form::Compatible, &mut Vec::new());
                assert!(matches!(ack, Ok(ServerMessage::Ack { .. })));
            }
            ServerStep::Publish { topic } => {
                assert!(subscribed && !is_reserved(topic.as_bytes()));
                assert!(validate(&payload).is_ok());
                // Other clients get it; in the form without loss it comes back the same.
                let mut text = String::new();
                write_data(&mut text, topic.as_bytes(), &payload, Form::Lossless)
                    .expect("a value can be written");
                let mut again = Vec::new();
                let read = read_data(text.as_bytes(), Form::Lossless, &mut again);
                assert_eq!(read.as_ref(), Ok(&topic));
            }
            ServerStep::Refuse { message } => {
                assert!(subscribed && payload.is_empty());
                let error =
                    read_server_message(message.as_bytes(), Form::Compatible, &mut Vec::new());
                assert!(matches!(error, Ok(ServerMessage::Error { .. })));
            }
            ServerStep::Close(close) => {
                assert!(!subscribed && close.reason.len() <= 123);
                return;
            }
        }
    }
});
