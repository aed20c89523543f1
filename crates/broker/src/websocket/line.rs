//! A client's WebSocket: frames over a socket, driven by one task.
//!
//! Servers of the original do not look at UTF-8, so a text may hold any bytes: this side must not
//! refuse them, which the library does (spec: websocket 2.1, 4.3). Therefore only the heads of frames
//! are the library's; the rest is short enough.

use std::io::Cursor;
use std::task::{Context, Poll, ready};

use broker_proto::json_client::Loss;
use broker_proto::json_session::close_code;
use bytes::{Buf, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::socket::Socket;

/// Bytes read at once.
const READ_SIZE: usize = 64 * 1024;

/// Bytes collected before the socket is written to. Beyond that only one more message is taken.
const WRITE_SIZE: usize = 64 * 1024;

/// Longest head of a frame. RFC 6455, section 5.2.
const HEAD_MAX: usize = 14;

/// Longest payload of a control frame. RFC 6455, section 5.5.
const CONTROL_MAX: u64 = 125;

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
    pub(super) loss: Loss,
    pub(super) code: Option<u16>,
}

impl Broken {
    fn by(code: u16, cause: &str) -> Self {
        Self {
            loss: Loss::Failed(cause.to_owned()),
            code: Some(code),
        }
    }

    fn io(error: &std::io::Error) -> Self {
        let loss = match crate::peer::ended(error) {
            broker_proto::endpoint::Closed::Broken(cause) => Loss::Failed(cause),
            _ => Loss::Ended,
        };
        Self { loss, code: None }
    }
}

pub(super) struct Line {
    socket: Socket,
    input: BytesMut,
    output: BytesMut,
    /// The fragments of a message that is not complete.
    fragments: Option<BytesMut>,
    /// A ping to answer; of several the last.
    ping: Option<Bytes>,
    bytes_max: usize,
    /// State of the generator of masks. They keep proxies from being fooled by what scripts of web
    /// pages send, so nothing here depends on how good they are.
    masks: u64,
    heard: bool,
    ended: bool,
    /// Whether the close frame was sent, behind which nothing may come.
    closing: bool,
}

impl Line {
    /// Takes a connection whose HTTP part is over; `input` came behind it.
    pub(super) fn new(socket: Socket, input: BytesMut, bytes_max: usize, masks: u64) -> Self {
        Self {
            socket,
            input,
            output: BytesMut::new(),
            fragments: None,
            ping: None,
            bytes_max,
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
        let length = payload.len() as u64;
        let mut head = Vec::with_capacity(HEAD_MAX);
        // Writing into memory cannot fail.
        let _ = header.format(length, &mut head);
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
                let loss = Loss::Ended;
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
        loop {
            let mut cursor = Cursor::new(&self.input[..]);
            let header = FrameHeader::parse(&mut cursor)
                .map_err(|error| Broken::by(close_code::PROTOCOL, &error.to_string()))?;
            let Some((header, length)) = header else {
                return Ok(None);
            };
            let offset = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            self.check(&header, length)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if self.input.len() - offset < length {
                return Ok(None);
            }
            self.input.advance(offset);
            let payload = self.input.split_to(length);
            if let Some(received) = self.handle(&header, payload)? {
                return Ok(Some(received));
            }
        }
    }

    /// Refuses a frame before it is in memory.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), Broken> {
        let refuse = |cause| Err(Broken::by(close_code::PROTOCOL, cause));
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return refuse("the server set reserved bits");
        }
        if header.mask.is_some() {
            return refuse("the server masked a frame");
        }
        let is_continuation = header.opcode == OpCode::Data(Data::Continue);
        match header.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                return refuse("the server sent a frame of an unknown kind");
            }
            OpCode::Control(_) if !header.is_final || length > CONTROL_MAX => {
                return refuse(
                    "the server sent a control frame in pieces or of more than 125 bytes",
                );
            }
            OpCode::Control(_) => return Ok(()),
            OpCode::Data(_) if is_continuation != self.fragments.is_some() => {
                return refuse("the server mixed up the pieces of messages");
            }
            OpCode::Data(_) => {}
        }
        let before = self.fragments.as_ref().map_or(0, BytesMut::len);
        let size = length.saturating_add(before as u64);
        match size > self.bytes_max as u64 {
            true => Err(Broken::by(
                close_code::TOO_BIG,
                &format!(
                    "the server sent a message of {size} bytes: more than {} are not taken",
                    self.bytes_max
                ),
            )),
            false => Ok(()),
        }
    }

    fn handle(
        &mut self,
        header: &FrameHeader,
        payload: BytesMut,
    ) -> Result<Option<Received>, Broken> {
        match header.opcode {
            OpCode::Control(Control::Ping) => {
                self.ping = Some(payload.freeze());
                Ok(None)
            }
            OpCode::Control(Control::Pong) => Ok(Some(Received::Pong(payload.freeze()))),
            OpCode::Control(Control::Close | Control::Reserved(_)) => Err(closed(&payload)),
            OpCode::Data(_) => {
                let message = match self.fragments.take() {
                    None => payload,
                    Some(mut fragments) => {
                        fragments.extend_from_slice(&payload);
                        fragments
                    }
                };
                if header.is_final {
                    return Ok(Some(Received::Message(message.freeze())));
                }
                self.fragments = Some(message);
                Ok(None)
            }
        }
    }

    /// The socket, for the time after the last frame.
    pub(super) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }
}

/// The server's close frame; its code is sent back.
fn closed(payload: &[u8]) -> Broken {
    /// What stands for a close frame without a code. RFC 6455, section 7.1.5.
    const NO_CODE: u16 = 1005;
    let (code, reason) = match payload.split_first_chunk() {
        Some((code, reason)) => (u16::from_be_bytes(*code), reason),
        None => (NO_CODE, &[][..]),
    };
    let answer = match code {
        NO_CODE => close_code::NORMAL,
        code => code,
    };
    Broken {
        loss: Loss::Closed {
            code,
            reason: String::from_utf8_lossy(reason).into_owned(),
        },
        code: Some(answer),
    }
}
