//! A WebSocket server that does what a test says, frame by frame.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;

/// Nothing here takes that long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// First byte of a complete frame.
pub(crate) const FIN: u8 = 0x80;

pub(crate) const ACK: &str = r#"{"type":"ack","endpoint":"zeek-websocket-1","version":"8.0.1"}"#;

pub(crate) struct Script {
    listener: TcpListener,
    pub(crate) port: u16,
}

impl Script {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// As applications see it.
    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/v1/messages/json", self.port)
    }

    /// The next TCP connection.
    pub(crate) fn accept_tcp(&self) -> Served {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Served {
            stream,
            request: String::new(),
        }
    }

    /// The next WebSocket.
    pub(crate) fn accept(&self) -> Served {
        let mut served = self.accept_tcp();
        served.upgrade();
        served
    }

    /// The next WebSocket, acknowledged; also returns what it subscribes to.
    pub(crate) fn accept_subscribed(&self) -> (Served, String) {
        let mut served = self.accept();
        let topics = served.read_text();
        served.send_text(ACK);
        (served, topics)
    }
}

pub(crate) struct Served {
    pub(crate) stream: TcpStream,
    pub(crate) request: String,
}

impl Served {
    pub(crate) fn read_request(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        self.request = String::from_utf8(head).unwrap();
    }

    pub(crate) fn upgrade(&mut self) {
        self.read_request();
        let key = self.field("Sec-WebSocket-Key").unwrap();
        let accept = derive_accept_key(key.as_bytes());
        self.send(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .as_bytes(),
        );
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let start = format!("{name}: ");
        let mut lines = self.request.lines();
        lines.find_map(|line| line.strip_prefix(&start).map(str::to_owned))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let bytes = frame(first, payload);
        self.send(&bytes);
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send_frame(FIN | TEXT, text.as_bytes());
    }

    pub(crate) fn send_close(&mut self, code: u16, reason: &str) {
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        self.send_frame(FIN | CLOSE, &payload);
    }

    /// The next frame; `None` when the stream ended.
    pub(crate) fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut start = [0; 2];
        self.stream.read_exact(&mut start).ok()?;
        let [first, length] = start;
        assert_ne!(length & 0x80, 0, "clients mask");
        let length = match length & 0x7f {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).unwrap();
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            length => usize::from(length),
        };
        let mut mask = [0; 4];
        self.stream.read_exact(&mut mask).unwrap();
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Some((first, payload))
    }

    /// The payload of the next frame, which must be of that kind.
    pub(crate) fn read(&mut self, opcode: u8) -> Vec<u8> {
        match self.receive() {
            Some((first, payload)) if first == FIN | opcode => payload,
            other => panic!("expected a frame of kind {opcode}, got {other:?}"),
        }
    }

    pub(crate) fn read_text(&mut self) -> String {
        String::from_utf8(self.read(TEXT)).unwrap()
    }

    /// Answers the ping that precedes a renewal.
    pub(crate) fn answer_ping(&mut self) {
        let payload = self.read(PING);
        self.send_frame(FIN | PONG, &payload);
    }

    /// The code of the client's close frame; then the stream ends.
    pub(crate) fn read_close(&mut self) -> u16 {
        let payload = self.read(CLOSE);
        let _ = self.stream.write_all(&frame(FIN | CLOSE, &payload));
        let _ = self.stream.shutdown(Shutdown::Write);
        u16::from_be_bytes(payload[..2].try_into().unwrap())
    }
}

/// A frame as servers send them.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        0..126 => bytes.push(u8::try_from(payload.len()).unwrap()),
        126..65536 => {
            bytes.push(126);
            bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// A data message with a count.
pub(crate) fn data(topic: &str, number: u64) -> String {
    format!(r#"{{"type":"data-message","topic":"{topic}","@data-type":"count","data":{number}}}"#)
}
