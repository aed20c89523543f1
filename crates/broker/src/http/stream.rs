//! A WebSocket over an asynchronous byte stream, driven by one task.
//!
//! The library reads and writes blocking streams; [`Bridge`] makes one of ours look like that by
//! lending it the waker of the task that polls. One task owns both directions, so one waker is
//! enough.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tungstenite::Error as WsError;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};

use crate::net::socket::Socket;

/// Bytes read at once: more would only raise what an idle connection holds.
const READ_SIZE: usize = 16 * 1024;

/// Bytes collected before the socket is written to. Beyond that only one more message is taken.
const WRITE_SIZE: usize = 64 * 1024;

/// Messages in both directions.
pub(crate) struct WebSocketStream {
    inner: WebSocket<Bridge>,
    /// Whether the socket took everything it was given.
    ready: bool,
    /// Whether reading came to an end.
    ended: bool,
}

impl WebSocketStream {
    /// Wraps a connection whose HTTP part is over; `read_ahead` came behind it.
    pub(crate) fn new(socket: Socket, read_ahead: Vec<u8>, role: Role, bytes_max: usize) -> Self {
        let config = limited(WebSocketConfig::default(), bytes_max)
            .read_buffer_size(READ_SIZE)
            .write_buffer_size(WRITE_SIZE);
        let bridge = Bridge {
            socket,
            waker: Waker::noop().clone(),
            heard: false,
        };
        Self {
            inner: WebSocket::from_partially_read(bridge, read_ahead, role, Some(config)),
            ready: true,
            ended: false,
        }
    }

    /// Changes the limit for the size of a message.
    pub(crate) fn limit_messages(&mut self, bytes_max: usize) {
        self.inner
            .set_config(|config| *config = limited(*config, bytes_max));
    }

    /// Whether anything was read since the last call.
    pub(crate) fn heard(&mut self) -> bool {
        std::mem::take(&mut self.inner.get_mut().heard)
    }

    /// The next message; `None` when there will be none.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, WsError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.lend(cx);
        match ready!(unblocked(self.inner.read())) {
            Ok(message) => Poll::Ready(Some(Ok(message))),
            Err(error) => {
                self.ended = true;
                Poll::Ready(match error {
                    WsError::ConnectionClosed | WsError::AlreadyClosed => None,
                    error => Some(Err(error)),
                })
            }
        }
    }

    /// Resolves when another message can be taken.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        if self.ready {
            Poll::Ready(Ok(()))
        } else {
            self.poll_flush(cx)
        }
    }

    /// Takes a message; call it only when [`poll_ready`](Self::poll_ready) allows.
    pub(crate) fn send(&mut self, cx: &mut Context<'_>, message: Message) -> Result<(), WsError> {
        self.lend(cx);
        match unblocked(self.inner.write(message)) {
            Poll::Ready(outcome) => outcome,
            // It is taken; the socket is full.
            Poll::Pending => {
                self.ready = false;
                Ok(())
            }
        }
    }

    /// As [`send`](Self::send) for a text that is UTF-8 by construction.
    pub(crate) fn send_text(&mut self, cx: &mut Context<'_>, text: Bytes) -> Result<(), WsError> {
        let frame = Frame::message(text, OpCode::Data(Data::Text), true);
        self.send(cx, Message::Frame(frame))
    }

    /// As [`send`](Self::send) for the last frame.
    pub(crate) fn send_close(
        &mut self,
        cx: &mut Context<'_>,
        code: u16,
        reason: &str,
    ) -> Result<(), WsError> {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.send(cx, Message::Close(Some(frame)))
    }

    /// Writes what was taken.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        self.lend(cx);
        let outcome = ready!(unblocked(self.inner.flush()));
        self.ready = true;
        Poll::Ready(match outcome {
            // The close handshake is over, and everything is written.
            Err(WsError::ConnectionClosed) => Ok(()),
            outcome => outcome,
        })
    }

    /// The socket, for the time after the last frame.
    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.inner.get_mut().socket
    }

    fn lend(&mut self, cx: &Context<'_>) {
        let waker = &mut self.inner.get_mut().waker;
        if !waker.will_wake(cx.waker()) {
            waker.clone_from(cx.waker());
        }
    }
}

fn limited(config: WebSocketConfig, bytes_max: usize) -> WebSocketConfig {
    config
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max))
}

fn unblocked<T>(outcome: Result<T, WsError>) -> Poll<Result<T, WsError>> {
    match outcome {
        Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        outcome => Poll::Ready(outcome),
    }
}

/// A socket that looks like a blocking stream and says "would block" instead of waiting.
struct Bridge {
    socket: Socket,
    waker: Waker,
    heard: bool,
}

fn would_block<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Bridge {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let mut cx = Context::from_waker(&self.waker);
        would_block(Pin::new(&mut self.socket).poll_read(&mut cx, &mut buffer))?;
        self.heard |= !buffer.filled().is_empty();
        Ok(buffer.filled().len())
    }
}

impl Write for Bridge {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut cx = Context::from_waker(&self.waker);
        would_block(self.socket.poll_write(&mut cx, buffer))
    }

    // Neither TCP nor our TLS holds written bytes back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
