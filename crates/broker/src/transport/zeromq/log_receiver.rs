//! The log stream as a logger gets it: a PULL socket that nodes push batches to. Spec: zeromq 7.
//!
//! Connections are read without waiting for the program: a receiver that stops to read makes each
//! node keep 1000 batches and then lose logs. What the program does not take in time is dropped here
//! and counted. What is to be passed on to a real logger is passed on whether or not the program
//! takes it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use broker_proto::zmtp::{
    ConnectionConfig, EncodedMessage, EncodedMessages, Event, Security, SocketType, write_message,
};
use bytes::Bytes;
use futures_core::Stream;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::config::{MAILBOX_BYTES_MAX, Overflow};
use crate::core::runtime;
use crate::error::Error;
use crate::flow::counters::QueueStats;
use crate::flow::mailbox::{Chunk, Limits, Mailbox, Patience, Run, Taken};
use crate::lock::{Lock, Locked};
use crate::transport::zeromq::address::Address;
use crate::transport::zeromq::connection::{Ended, Happened, Reading, drive};
use crate::transport::zeromq::keys::Curve;
use crate::transport::zeromq::listener::{self, Admission};
use crate::transport::zeromq::log_sender::{LogSender, LogSenderOptions};

/// Bytes taken from the mailbox at once: a few batches of a busy node.
const TAKE_BYTES: usize = 1 << 20;

/// How a receiver is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogReceiverOptions {
    /// Keys of CURVE, as a server has them. A receiver without them in the layout of an encrypted
    /// cluster brings every node of it down. Spec: zeromq 8.
    pub curve: Curve,
    /// Address of a logger that gets each message unchanged, such as `zmq-push://127.0.0.1:27765`.
    pub forward_to: Option<String>,
    /// Bytes of messages that wait for the program; further ones are dropped.
    pub queue_bytes_max: usize,
}

impl Default for LogReceiverOptions {
    fn default() -> Self {
        Self {
            curve: Curve::default(),
            forward_to: None,
            queue_bytes_max: MAILBOX_BYTES_MAX,
        }
    }
}

/// What went through a receiver so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReceiverStats {
    /// Connections of nodes at the moment.
    pub connections: usize,
    /// Connections that were refused: wrong keys, other protocols.
    pub refused: u64,
    /// Messages that came, most of them a batch of records each.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that wait for the program.
    pub waiting: u64,
    /// Messages that the program did not take in time.
    pub dropped: u64,
    /// Messages that the logger behind the receiver did not take in time.
    pub forward_dropped: u64,
}

/// A message of the log stream as it came: four parts, the last of them a batch of records.
#[derive(Clone, PartialEq, Eq)]
pub struct LogMessage(Bytes);

impl std::fmt::Debug for LogMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogMessage({} bytes)", self.0.len())
    }
}

impl LogMessage {
    /// Makes one of parts, such as those of a recording.
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut bytes = Vec::new();
        write_message(parts, &mut bytes);
        Self(bytes.into())
    }

    /// Visits its parts.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        EncodedMessage::new(&self.0).parts()
    }

    /// Returns the id of the node that sent it.
    #[must_use]
    pub fn sender(&self) -> &[u8] {
        self.parts().nth(1).unwrap_or_default()
    }

    /// Its parts with their heads, as they are sent.
    pub(crate) const fn encoded(&self) -> &Bytes {
        &self.0
    }
}

#[derive(Debug)]
struct ReceiverCore {
    inbox: Mailbox,
    security: Security,
    forward: Option<LogSender>,
    connections: AtomicUsize,
    refused: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Receives the log stream of a cluster: nodes push batches of records to it as to a logger.
///
/// All methods take `&self` and may be called from several threads; each message goes to one of them.
/// It is also a [`Stream`] that ends when the receiver is closed. Dropping it closes the socket and
/// all connections at once.
#[derive(Debug)]
pub struct LogReceiver {
    shared: Arc<ReceiverCore>,
    address: SocketAddr,
    /// Bound: `TAKE_BYTES`, and what the application puts back.
    held: Lock<VecDeque<LogMessage>>,
    server: AbortHandle,
}

impl LogReceiver {
    /// Binds to an address such as `zmq-pull://0.0.0.0:27764`, the one that the layout of the
    /// cluster has for the logger. Port 0 takes a free one; see [`local_address`](Self::local_address).
    ///
    /// # Errors
    ///
    /// When the address makes no sense or cannot be listened on, or keys are incomplete.
    pub fn bind(address: &str, options: LogReceiverOptions) -> Result<Self, Error> {
        let address = Address::parse(address, "zmq-pull")?;
        let security = options.curve.server(&[])?;
        let runtime = runtime::shared().map_err(|error| Error::Start(Arc::new(error)))?;
        let forward = options.forward_to.as_deref().map(|address| {
            let sender = LogSenderOptions {
                curve: options.curve.clone(),
                ..LogSenderOptions::default()
            };
            LogSender::connect(address, sender)
        });
        let forward = forward.transpose()?;
        let bound = listener::bind(&runtime, &address)?;
        let address = bound.address;
        let shared = Arc::new(ReceiverCore {
            inbox: Mailbox::new(Limits {
                bytes_max: options.queue_bytes_max,
                messages_max: usize::MAX,
                overflow: Overflow::DropNewest,
                stall_limit: Duration::ZERO,
                strict: false,
                translated: false,
            }),
            security,
            forward,
            connections: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let serving = shared.clone();
        let server = listener::serve(&runtime, bound, move |stream, remote, admission| {
            serving.clone().receive(stream, remote, admission)
        });
        tracing::info!(event = "zeromq-logs-listening", %address);
        Ok(Self {
            shared,
            address,
            held: Lock::default(),
            server,
        })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn refill(&self, held: &mut VecDeque<LogMessage>) -> Taken {
        if !held.is_empty() {
            return Taken::Messages(held.len());
        }
        let mut chunks = VecDeque::new();
        let taken = self.shared.inbox.take(TAKE_BYTES, &mut chunks);
        held.extend(chunks.into_iter().flat_map(split));
        taken
    }

    /// Takes the next message if there is one.
    pub fn try_recv(&self) -> Option<LogMessage> {
        let mut held = self.held.lock();
        self.refill(&mut held);
        self.pop(&mut held)
    }

    fn pop(&self, held: &mut Locked<'_, VecDeque<LogMessage>>) -> Option<LogMessage> {
        let message = held.pop_front();
        self.shared.inbox.moved();
        if held.is_empty() {
            self.shared.inbox.lower_ready();
        }
        message
    }

    /// Takes the next message, blocking the calling thread until there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the receiver is closed and everything is taken.
    pub fn recv(&self) -> Result<LogMessage, Error> {
        loop {
            if let Some(message) = self.recv_until(None)? {
                return Ok(message);
            }
        }
    }

    /// As [`recv`](Self::recv), giving up after `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<LogMessage>, Error> {
        self.recv_until(Instant::now().checked_add(timeout))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<Option<LogMessage>, Error> {
        loop {
            if let Some(message) = self.try_recv() {
                return Ok(Some(message));
            }
            match self.shared.inbox.wait(deadline) {
                // Another thread may be faster; then we wait again.
                Taken::Messages(_) => {}
                Taken::Empty => return Ok(None),
                Taken::Closed | Taken::Overflowed => return Err(Error::Closed),
            }
        }
    }

    /// Puts messages back in front of those that wait, in the order given.
    pub fn put_back<I>(&self, messages: I)
    where
        I: IntoIterator<Item = LogMessage, IntoIter: DoubleEndedIterator>,
    {
        let mut held = self.held.lock();
        for message in messages.into_iter().rev() {
            held.push_front(message);
        }
        if !held.is_empty() {
            self.shared.inbox.raise_ready();
        }
    }

    /// Blocks until there is something to take or nothing will come any more, at most for `timeout`;
    /// `false` says that the time is over.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if !self.held.lock().is_empty() {
            return true;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.shared.inbox.wait(deadline) != Taken::Empty
    }

    /// A descriptor that is readable exactly while there are messages, for `poll` and event loops.
    /// It belongs to the receiver: neither read nor close it.
    ///
    /// # Errors
    ///
    /// Fails when the process has no descriptor left.
    pub fn fd(&self) -> io::Result<RawFd> {
        let held = self.held.lock();
        self.shared.inbox.ready_fd(!held.is_empty())
    }

    /// Whether nothing is left and nothing will come.
    pub fn is_closed(&self) -> bool {
        let is_empty = self.held.lock().is_empty();
        is_empty && self.shared.inbox.peek() == Taken::Closed
    }

    /// Number of messages that the program did not take in time.
    pub fn dropped(&self) -> u64 {
        self.shared.inbox.dropped()
    }

    /// What went through it so far.
    pub fn stats(&self) -> LogReceiverStats {
        let shared = &self.shared;
        let QueueStats {
            waiting_messages, ..
        } = shared.inbox.stats();
        LogReceiverStats {
            connections: shared.connections.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
            messages: shared.messages.load(Ordering::Relaxed),
            bytes: shared.bytes.load(Ordering::Relaxed),
            waiting: waiting_messages + self.held.lock().len() as u64,
            dropped: shared.inbox.dropped(),
            forward_dropped: shared.forward.as_ref().map_or(0, |it| it.stats().dropped),
        }
    }

    /// Closes the socket and all connections; what has arrived can still be taken. What is to be
    /// passed on has half a second for that, as when Zeek ends.
    pub fn close(&self) {
        self.server.abort();
        self.shared.inbox.finish();
        if let Some(forward) = &self.shared.forward {
            forward.close();
        }
    }

    /// As [`close`](Self::close), and waits until everything that is to be passed on is written or the
    /// time is over, which is what `false` says. A program that ends sooner loses what is left.
    pub async fn close_async(&self, timeout: Duration) -> bool {
        self.server.abort();
        self.shared.inbox.finish();
        match &self.shared.forward {
            Some(forward) => forward.close_async(timeout).await,
            None => true,
        }
    }
}

impl Drop for LogReceiver {
    fn drop(&mut self) {
        self.close();
    }
}

impl Stream for LogReceiver {
    type Item = LogMessage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LogMessage>> {
        let mut held = self.held.lock();
        for is_registered in [false, true] {
            match self.refill(&mut held) {
                Taken::Messages(_) => return Poll::Ready(self.pop(&mut held)),
                Taken::Closed | Taken::Overflowed => return Poll::Ready(None),
                // Something may come between the look and the registration.
                Taken::Empty if !is_registered => self.shared.inbox.register(cx),
                Taken::Empty => {}
            }
        }
        Poll::Pending
    }
}

/// The messages of a chunk, each with bytes of its own share.
fn split(chunk: Chunk) -> impl Iterator<Item = LogMessage> {
    let mut rest = chunk.bytes;
    std::iter::from_fn(move || {
        let size = EncodedMessages::new(&rest).next()?.bytes().len();
        Some(LogMessage(rest.split_to(size)))
    })
}

/// Counts a connection while it is there.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ReceiverCore {
    async fn receive(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        mut admission: Admission,
    ) {
        let config = ConnectionConfig::new(SocketType::Pull).with_security(self.security.clone());
        let mut counted = None;
        let ended = drive(stream, config, None, |happened| {
            match happened {
                Happened::Event(Event::Ready(_)) => {
                    admission.pending = None;
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    counted = Some(Counted(&self.connections));
                    tracing::debug!(event = "zeromq-log-node-connected", %remote);
                }
                Happened::Event(Event::Message(message)) => self.take(message.parts()),
                Happened::Event(_) | Happened::Turn(_) | Happened::Pause => {}
            }
            ControlFlow::Continue(Reading::GoesOn)
        });
        let ended = ended.await;
        if counted.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        log_end("zeromq-log-node", remote, counted.is_some(), &ended);
    }

    fn take<'a>(&self, parts: impl ExactSizeIterator<Item = &'a [u8]> + Clone) {
        let size: usize = parts.clone().map(<[u8]>::len).sum();
        let mut bytes = Vec::with_capacity(size + 9 * parts.len());
        write_message(parts, &mut bytes);
        let bytes = Bytes::from(bytes);
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Some(forward) = &self.forward {
            forward.push(&bytes);
        }
        // Nobody may be slowed down by the program: what has no room is dropped at once.
        self.inbox.push(Run::shared(&bytes, 1), Patience::Exhausted);
    }
}

/// Tells why a connection ended: aloud if it never was one, as that has to be repaired.
pub(crate) fn log_end(what: &str, remote: SocketAddr, was_ready: bool, ended: &Ended) {
    if was_ready {
        tracing::debug!(event = "zeromq-disconnected", what, %remote, reason = %ended);
    } else {
        tracing::warn!(event = "zeromq-refused", what, %remote, reason = %ended);
    }
}
