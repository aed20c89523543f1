//! A client's WebSocket: frames over a socket, driven by one task.
//!
//! Servers of the original do not look at UTF-8, so a text may hold any bytes: this side must not
//! refuse them, which the library does (spec: websocket 2.1, 4.3). Therefore only the heads of frames
//! are the library's; which frame may come when decides `broker_proto::http::websocket`.

use std::io::Cursor;
use std::task::{Context, Poll, ready};

use broker_proto::http::websocket::{
    FrameHead, FrameKind, FrameRules, NO_CODE, Violation, close_of,
};
use broker_proto::json::client::ConnectionEnd;
use broker_proto::json::server::close_code;
use bytes::{Buf, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::net::socket::Socket;

/// Bytes read at once.
const READ_SIZE: usize = 64 * 1024;

/// Bytes collected before the socket is written to. Beyond that only one more message is taken.
const WRITE_SIZE: usize = 64 * 1024;

/// Longest head of a frame. RFC 6455, section 5.2.
const HEAD_MAX: usize = 14;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A complete message; one server's clients also use binary ones.
    Message(Bytes),
    Pong(Bytes),
}

/// How a line ends, and the code to close it with if it is on us to say so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) loss: ConnectionEnd,
    pub(super) code: Option<u16>,
}

impl Broken {
    fn io(error: &std::io::Error) -> Self {
        let loss = match crate::core::link::ended(error) {
            broker_proto::endpoint::Closed::Broken(cause) => ConnectionEnd::Failed(cause),
            _ => ConnectionEnd::Ended,
        };
        Self { loss, code: None }
    }
}

impl From<Violation> for Broken {
    fn from(violation: Violation) -> Self {
        Self {
            loss: ConnectionEnd::Failed(violation.cause),
            code: Some(violation.code),
        }
    }
}

pub(super) struct Connection {
    socket: Socket,
    input: BytesMut,
    output: BytesMut,
    rules: FrameRules,
    /// The fragments of a message that is not complete.
    fragments: Option<BytesMut>,
    /// A ping to answer; of several the last.
    ping: Option<Bytes>,
    /// State of the generator of masks. They keep proxies from being fooled by what scripts of web
    /// pages send, so nothing here depends on how good they are.
    masks: u64,
    heard: bool,
    ended: bool,
    /// Whether the close frame was sent, behind which nothing may come.
    closing: bool,
}

impl Connection {
    /// Takes a connection whose HTTP part is over; `input` came behind it.
    pub(super) fn new(socket: Socket, input: BytesMut, bytes_max: usize, masks: u64) -> Self {
        Self {
            socket,
            input,
            output: BytesMut::new(),
            rules: FrameRules::new(bytes_max),
            fragments: None,
            ping: None,
            masks,
            heard: false,
            ended: false,
            closing: false,
        }
    }

    /// Whether anything was read since the last call.
    pub(super) fn heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Whether another message can be taken.
    pub(super) fn is_ready(&self) -> bool {
        self.output.len() < WRITE_SIZE
    }

    pub(super) fn send_text(&mut self, text: &[u8]) {
        self.put(OpCode::Data(Data::Text), text);
    }

    pub(super) fn send_ping(&mut self, payload: &[u8]) {
        self.put(OpCode::Control(Control::Ping), payload);
    }

    pub(super) fn send_close(&mut self, code: u16) {
        self.put(OpCode::Control(Control::Close), &code.to_be_bytes());
        self.closing = true;
    }

    fn put(&mut self, opcode: OpCode, payload: &[u8]) {
        if self.closing {
            return;
        }
        self.masks = self
            .masks
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(1);
        let mask = u32::try_from(self.masks >> 32)
            .unwrap_or_default()
            .to_be_bytes();
        let header = FrameHeader {
            is_final: true,
            opcode,
            mask: Some(mask),
            ..FrameHeader::default()
        };
        let mut head = Vec::with_capacity(HEAD_MAX);
        // Writing into memory cannot fail.
        let _ = header.format(payload.len() as u64, &mut head);
        self.output.reserve(head.len() + payload.len());
        self.output.extend_from_slice(&head);
        let start = self.output.len();
        self.output.extend_from_slice(payload);
        let masked = self.output.get_mut(start..).unwrap_or_default();
        for (byte, mask) in masked.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }

    /// Whether a ping waits to be answered and can be.
    pub(super) fn owes_pong(&self) -> bool {
        self.ping.is_some() && self.is_ready()
    }

    /// Writes what was taken, and answers to pings.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if self.is_ready()
                && let Some(ping) = self.ping.take()
            {
                self.put(OpCode::Control(Control::Pong), &ping);
            }
            if self.output.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.socket.poll_write(cx, &self.output)) {
                Ok(0) => {
                    let error = std::io::ErrorKind::WriteZero.into();
                    return Poll::Ready(Err(Broken::io(&error)));
                }
                Ok(bytes) => self.output.advance(bytes),
                Err(error) => return Poll::Ready(Err(Broken::io(&error))),
            }
        }
    }

    /// The next message or pong.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Broken>> {
        loop {
            if self.ended {
                let loss = ConnectionEnd::Ended;
                return Poll::Ready(Err(Broken { loss, code: None }));
            }
            match self.next_frame() {
                Ok(Some(received)) => return Poll::Ready(Ok(received)),
                Ok(None) => {}
                Err(broken) => {
                    self.ended = true;
                    return Poll::Ready(Err(broken));
                }
            }
            self.input.reserve(READ_SIZE);
            match ready!(self.socket.poll_read(cx, &mut self.input)) {
                Ok(0) => self.ended = true,
                Ok(_) => self.heard = true,
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Err(Broken::io(&error)));
                }
            }
        }
    }

    /// What the buffered frames hold for the session; `None`: more must be read.
    fn next_frame(&mut self) -> Result<Option<Received>, Broken> {
        while let Some((kind, payload)) = self.take_frame()? {
            match kind {
                FrameKind::Close => return Err(closed(&payload)),
                FrameKind::Ping => self.ping = Some(payload.freeze()),
                FrameKind::Pong => return Ok(Some(Received::Pong(payload.freeze()))),
                FrameKind::Data { is_last } => {
                    let message = match self.fragments.take() {
                        None => payload,
                        Some(mut fragments) => {
                            fragments.extend_from_slice(&payload);
                            fragments
                        }
                    };
                    if is_last {
                        return Ok(Some(Received::Message(message.freeze())));
                    }
                    self.fragments = Some(message);
                }
            }
        }
        Ok(None)
    }

    /// The next complete frame.
    fn take_frame(&mut self) -> Result<Option<(FrameKind, BytesMut)>, Broken> {
        let mut cursor = Cursor::new(&self.input[..]);
        let header = FrameHeader::parse(&mut cursor)
            .map_err(|error| Violation::of_protocol(&error.to_string()))?;
        let Some((header, length)) = header else {
            return Ok(None);
        };
        let offset = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let kind = self.rules.judge(&FrameHead {
            is_final: header.is_final,
            is_reserved: header.rsv1 || header.rsv2 || header.rsv3,
            is_masked: header.mask.is_some(),
            opcode: header.opcode.into(),
            length,
        })?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if self.input.len() - offset < length {
            return Ok(None);
        }
        self.rules.taken(kind, length);
        self.input.advance(offset);
        Ok(Some((kind, self.input.split_to(length))))
    }

    /// The socket, for the time after the last frame.
    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }
}

/// The server's close frame; its code is sent back.
fn closed(payload: &[u8]) -> Broken {
    let (code, reason) = close_of(payload);
    let answer = match code {
        NO_CODE => close_code::NORMAL,
        code => code,
    };
    Broken {
        loss: ConnectionEnd::Closed { code, reason },
        code: Some(answer),
    }
}
