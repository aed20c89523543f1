//! One connection: a socket between its state machine and the mailbox of what is to be sent.
//!
//! One task owns the socket both ways. It reads without waiting for anything but the socket, as a
//! subscriber that does not read stops a cluster (Spec: zeromq 6.1), unless its owner says so: of one
//! that publishes too much nothing is read for a while. It takes from the mailbox only what the socket
//! takes: what waits there is what its limits are about.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_data::Timestamp;
use broker_proto::zmtp::{self, ConnectionConfig, Event};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::DEAD_PEER_TIMEOUT;
use crate::flow::buffers;
use crate::flow::mailbox::{Chunk, Mailbox, Taken};
use crate::net::socket::{Liveness, configure};
use crate::transport::zeromq::keys::entropy;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes that are taken from the mailbox at once; one message may be larger.
const TAKE_BYTES: usize = 64 << 10;

/// Reads and writes in one turn, after which other tasks get theirs.
const TURNS_MAX: usize = 16;

thread_local! {
    /// Where reads go first: connections are many and most of them are idle.
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the owner of a connection is told.
#[derive(Debug)]
pub(crate) enum Happened<'a, 'c> {
    /// A turn begins. What the owner waits for wakes the task if it is asked with this.
    Turn(&'a mut Context<'c>),
    Event(Event<'a>),
    /// Everything that was read has been told; the socket is looked at next.
    Pause,
}

/// Whether more is read, and told, before the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    GoesOn,
    /// Not until the answer to [`Happened::Turn`] is another one; the owner has the task woken for that.
    Stops,
}

/// What the owner of a connection answers: whether reading goes on, or why the connection ends.
pub(crate) type Answer = ControlFlow<String, Reading>;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error(transparent)]
    Protocol(#[from] zmtp::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its owner wants it to end.
    #[error("{0}")]
    Refused(String),
    /// Its mailbox was closed and everything in it is written.
    #[error("closed here")]
    Finished,
}

/// Drives a connection until it ends, and tells why.
pub(crate) async fn drive(
    stream: TcpStream,
    config: ConnectionConfig,
    outbox: Option<&Mailbox>,
    mut tell: impl FnMut(Happened<'_, '_>) -> Answer,
) -> Ended {
    // The system finds out when a network is gone. Pings would end a connection to a subscriber that
    // is stopped for a while, or so slow that they wait behind what it has not read.
    let liveness = Liveness {
        dead_after: DEAD_PEER_TIMEOUT,
        unread_counts: false,
    };
    configure(&stream, liveness);
    let entropy = match entropy() {
        Ok(entropy) => entropy,
        Err(error) => return error.into(),
    };
    let start = Instant::now();
    let mut driver = Driver {
        stream,
        machine: zmtp::Connection::new(config, entropy, Timestamp::from_ns(0)),
        start,
        chunks: VecDeque::new(),
        is_behind: false,
        is_finished: false,
        timer: Box::pin(sleep_until(start)),
    };
    poll_fn(|cx| driver.poll(cx, outbox, &mut tell)).await
}

struct Driver {
    stream: TcpStream,
    machine: zmtp::Connection,
    start: Instant,
    /// Bound: emptied after each take.
    chunks: VecDeque<Chunk>,
    /// Whether something that was read has not been told, because reading stopped.
    is_behind: bool,
    is_finished: bool,
    timer: Pin<Box<Sleep>>,
}

/// Whether a step did something.
type Moved = Result<bool, Ended>;

impl Driver {
    fn now(&self) -> Timestamp {
        let elapsed = self.start.elapsed().as_nanos();
        Timestamp::from_ns(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        outbox: Option<&Mailbox>,
        tell: &mut impl FnMut(Happened<'_, '_>) -> Answer,
    ) -> Poll<Ended> {
        for _ in 0..TURNS_MAX {
            match self.turn(cx, outbox, tell) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(ended) => return Poll::Ready(ended),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        outbox: Option<&Mailbox>,
        tell: &mut impl FnMut(Happened<'_, '_>) -> Answer,
    ) -> Moved {
        let reading = match tell(Happened::Turn(cx)) {
            ControlFlow::Continue(reading) => reading,
            ControlFlow::Break(why) => return Err(Ended::Refused(why)),
        };
        let mut moved = false;
        if reading == Reading::GoesOn {
            if !self.is_behind {
                moved = self.read(cx)?;
            }
            let told = self.tell(tell);
            match told {
                Ok(has_told) => moved |= has_told,
                Err(ended) => {
                    // The peer is told why, if there is a command for that and it takes it at once.
                    let _ = self.write(cx);
                    return Err(ended);
                }
            }
        }
        if let Some(outbox) = outbox {
            self.take(cx, outbox)?;
        }
        moved |= self.write(cx)?;
        if !moved {
            moved = self.look_at_timer(cx);
        }
        if self.is_finished && self.machine.output().is_empty() {
            return Err(Ended::Finished);
        }
        Ok(moved)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Moved {
        let now = self.now();
        READ.with_borrow_mut(|buffer| {
            buffer.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(buffer);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(error)) => Err(error.into()),
                Poll::Ready(Ok(())) => {
                    match buffer.filled() {
                        [] => self.machine.handle_closed(),
                        bytes => self.machine.handle_bytes(now, bytes),
                    }
                    Ok(true)
                }
            }
        })
    }

    fn tell(&mut self, tell: &mut impl FnMut(Happened<'_, '_>) -> Answer) -> Moved {
        let mut has_told = false;
        self.is_behind = false;
        while let Some(event) = self.machine.poll_event() {
            has_told = true;
            if let Event::Failed(error) = event {
                // What came before is still to be passed on.
                let _ = tell(Happened::Pause);
                return Err(error.into());
            }
            match tell(Happened::Event(event)) {
                ControlFlow::Continue(Reading::GoesOn) => {}
                ControlFlow::Continue(Reading::Stops) => {
                    self.is_behind = true;
                    break;
                }
                ControlFlow::Break(why) => {
                    let _ = tell(Happened::Pause);
                    return Err(Ended::Refused(why));
                }
            }
        }
        if has_told && let ControlFlow::Break(why) = tell(Happened::Pause) {
            return Err(Ended::Refused(why));
        }
        Ok(has_told)
    }

    /// Takes what is to be sent once the socket has taken everything before.
    fn take(&mut self, cx: &mut Context<'_>, outbox: &Mailbox) -> Result<(), Ended> {
        if !self.machine.is_ready() || !self.machine.output().is_empty() || self.is_finished {
            return Ok(());
        }
        match outbox.poll_take(cx, TAKE_BYTES, &mut self.chunks) {
            Taken::Messages(_) => {}
            Taken::Empty => return Ok(()),
            Taken::Closed => self.is_finished = true,
            Taken::Overflowed => {
                let why = "it does not read what it is told of subscriptions";
                return Err(Ended::Refused(why.to_owned()));
            }
        }
        for chunk in self.chunks.drain(..) {
            let sent = self.machine.send_encoded(&chunk.bytes);
            sent.map_err(|error| Ended::Refused(error.to_string()))?;
            buffers::give(chunk.bytes);
        }
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Moved {
        let mut moved = false;
        while !self.machine.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, self.machine.output()) {
                Poll::Pending => break,
                Poll::Ready(written) => {
                    self.machine.handle_written(written?);
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// Does what is due, and has the task woken for what is due next.
    fn look_at_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((due, _)) = self.machine.next_timeout() else {
            return false;
        };
        let now = self.now();
        if due <= now {
            self.machine.handle_timeout(now);
            return true;
        }
        let left = u64::try_from(due.ns().saturating_sub(now.ns())).unwrap_or_default();
        let due = Instant::now() + Duration::from_nanos(left);
        // Set anew only when it is over or too late: traffic puts the deadline off all the time.
        if self.timer.is_elapsed() || self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
        // Over already: the next turn looks again.
        self.timer.as_mut().poll(cx).is_ready()
    }
}
