//! A WebSocket client that can do everything wrong: frames are written and read one by one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Nothing here takes that long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// First byte of a complete frame.
pub(crate) const FIN: u8 = 0x80;

/// What came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    Frame {
        first: u8,
        payload: Vec<u8>,
    },
    /// The stream ended.
    End,
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

/// The request of a standard client.
pub(crate) fn request(extra: &str) -> String {
    format!(
        "GET /v1/messages/json HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
         {extra}\r\n"
    )
}

/// A frame as clients send them.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = header(first, payload.len(), 0x80);
    bytes.extend_from_slice(&MASK);
    // In words: unoptimized tests send many megabytes.
    let mask = [MASK, MASK, MASK, MASK].concat();
    let mask = u128::from_ne_bytes(mask.try_into().unwrap());
    let mut words = payload.chunks_exact(16);
    for word in &mut words {
        let word = u128::from_ne_bytes(word.try_into().unwrap());
        bytes.extend_from_slice(&(word ^ mask).to_ne_bytes());
    }
    let rest = words.remainder().iter();
    bytes.extend(rest.zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

/// A frame without a mask, as only servers may send them.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len(), 0);
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn header(first: u8, length: usize, mask: u8) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(mask | u8::try_from(length).unwrap()),
        126..65536 => {
            bytes.push(mask | 126);
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes
}

impl Client {
    /// A TCP connection.
    pub(crate) fn dial(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// A WebSocket.
    pub(crate) fn connect(port: u16) -> Self {
        Self::connect_with(port, "").0
    }

    /// A WebSocket asked for with more fields; also returns the head of the answer.
    pub(crate) fn connect_with(port: u16, extra: &str) -> (Self, String) {
        let mut client = Self::dial(port);
        client.send(request(extra).as_bytes());
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        (client, head)
    }

    /// A client that is subscribed.
    pub(crate) fn subscribed(port: u16, topics: &[&str]) -> Self {
        let mut client = Self::connect(port);
        client.subscribe(topics);
        client
    }

    pub(crate) fn subscribe(&mut self, topics: &[&str]) {
        self.send_text(&serde_json::to_string(topics).unwrap());
        let ack = self.read_text();
        assert!(ack.starts_with(r#"{"type":"ack","#), "{ack}");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&frame(first, payload));
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send_frame(FIN | TEXT, text.as_bytes());
    }

    /// Publishes a count.
    pub(crate) fn publish(&mut self, topic: &str, number: u64) {
        self.send_text(&data(topic, number));
    }

    /// Reads a head up to its empty line.
    pub(crate) fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte).unwrap() == 0 {
                break;
            }
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads up to the end of the stream.
    pub(crate) fn read_all(&mut self) -> String {
        let mut all = Vec::new();
        let _ = self.stream.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    pub(crate) fn receive(&mut self) -> Received {
        let mut start = [0; 2];
        if self.stream.read_exact(&mut start).is_err() {
            return Received::End;
        }
        let [first, length] = start;
        assert_eq!(length & 0x80, 0, "servers do not mask");
        let length = match length {
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
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        Received::Frame { first, payload }
    }

    /// The payload of the next frame, which must be of that kind.
    pub(crate) fn read(&mut self, opcode: u8) -> Vec<u8> {
        match self.receive() {
            Received::Frame { first, payload } if first == FIN | opcode => payload,
            other => panic!("expected a frame of kind {opcode}, got {other:?}"),
        }
    }

    pub(crate) fn read_text(&mut self) -> String {
        String::from_utf8(self.read(TEXT)).unwrap()
    }

    /// The code and reason of the server's close frame, and then the end of the stream. Skips data
    /// and error messages before, whose texts are returned too.
    pub(crate) fn read_close(&mut self) -> (u16, String, Vec<String>) {
        let mut before = Vec::new();
        let (code, reason) = loop {
            match self.receive() {
                Received::Frame { first, payload } if first == FIN | TEXT => {
                    before.push(String::from_utf8(payload).unwrap());
                }
                Received::Frame { first, payload } if first == FIN | CLOSE => {
                    let (code, reason) = payload.split_first_chunk().unwrap();
                    let reason = String::from_utf8(reason.to_vec()).unwrap();
                    break (u16::from_be_bytes(*code), reason);
                }
                other => panic!("expected a close frame, got {other:?}"),
            }
        };
        // Servers end the stream first.
        self.send_frame(FIN | CLOSE, &code.to_be_bytes());
        assert_eq!(self.receive(), Received::End);
        (code, reason, before)
    }

    /// Ends our direction of the stream.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A data message with a count.
pub(crate) fn data(topic: &str, number: u64) -> String {
    format!(r#"{{"type":"data-message","topic":"{topic}","@data-type":"count","data":{number}}}"#)
}

/// Waits for something that other threads bring about.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::yield_now();
    }
}
