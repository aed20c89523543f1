//! Batches of log records for a logger: a PUSH socket that connects. Spec: zeromq 7.
//!
//! As with ZeroMQ's own, the connection is made again for ever, and nothing is acknowledged: what was
//! on its way when a connection broke is lost without a count.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use broker_proto::zmtp::{ConnectionConfig, Event, Security, SocketType, write_message};
use broker_zeek::LogRecord;
use broker_zeek::zeromq::{LOG_FORMAT, LOG_TAG, LogBatchWriter, RECORDS_PER_BATCH_MAX};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::{CONNECT_TIMEOUT, MAILBOX_BYTES_MAX, Overflow};
use crate::core::runtime;
use crate::error::Error;
use crate::flow::mailbox::{Limits, Mailbox, Patience, Pushed, Run, Taken};
use crate::net::connector;
use crate::transport::zeromq::address::Address;
use crate::transport::zeromq::connection::{Ended, Happened, Reading, drive};
use crate::transport::zeromq::keys::Curve;
use crate::transport::zeromq::log_receiver::LogMessage;

/// Pause between attempts to connect, which is ZeroMQ's.
const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// Longest pause: a logger that is away for a night is found within that.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// How long what waits may still be written after the end, which is Zeek's time for that.
/// Spec: zeromq 6.
const LINGER: Duration = Duration::from_millis(500);

/// How a sender is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogSenderOptions {
    /// Keys of CURVE, as a client has them.
    pub curve: Curve,
    /// What loggers see as the sender of batches; made up unless given.
    pub sender_id: Option<String>,
    /// Bytes of batches that wait for the logger; further ones are dropped.
    pub queue_bytes_max: usize,
}

impl Default for LogSenderOptions {
    fn default() -> Self {
        Self {
            curve: Curve::default(),
            sender_id: None,
            queue_bytes_max: MAILBOX_BYTES_MAX,
        }
    }
}

/// What went through a sender so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSenderStats {
    /// Whether the logger is connected.
    pub is_connected: bool,
    /// Messages that were written, or are about to be.
    pub messages: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that the logger did not take in time.
    pub dropped: u64,
}

#[derive(Debug)]
struct SenderCore {
    address: Address,
    security: Security,
    outbox: Mailbox,
    is_connected: AtomicBool,
    /// Attempts in a row that failed: the first one of them is logged.
    failures: AtomicU64,
    ended: watch::Sender<bool>,
}

/// Pushes batches of log records to a logger.
///
/// A logger of Zeek checks a batch against its own definition of the log: stream, writer, filter and
/// fields. What does not fit it loses, with a line on its standard error and nothing else.
/// Spec: zeromq 7.4.
#[derive(Debug)]
pub struct LogSender {
    shared: Arc<SenderCore>,
    sender_id: String,
    runtime: Handle,
    task: AbortHandle,
}

impl LogSender {
    /// Begins to connect to an address such as `zmq-push://127.0.0.1:27764`. It returns at once;
    /// batches wait until the logger is there.
    ///
    /// # Errors
    ///
    /// When the address makes no sense, or keys are incomplete.
    pub fn connect(address: &str, options: LogSenderOptions) -> Result<Self, Error> {
        let address = Address::parse(address, "zmq-push")?;
        let security = options.curve.client()?;
        let runtime = runtime::shared().map_err(|error| Error::Start(Arc::new(error)))?;
        let sender_id = match options.sender_id {
            Some(id) => id,
            None => made_up_id().map_err(|error| Error::Start(Arc::new(error)))?,
        };
        let shared = Arc::new(SenderCore {
            address,
            security,
            outbox: Mailbox::new(Limits {
                bytes_max: options.queue_bytes_max,
                messages_max: usize::MAX,
                overflow: Overflow::DropNewest,
                stall_limit: Duration::ZERO,
                strict: false,
                translated: false,
            }),
            is_connected: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            ended: watch::Sender::new(false),
        });
        let task = runtime.spawn(shared.clone().run()).abort_handle();
        Ok(Self {
            shared,
            sender_id,
            runtime,
            task,
        })
    }

    /// Sends the payload of a batch, such as [`LogBatchWriter::finish`] returns it; `false` if there is no
    /// room for it, or the sender is closed.
    pub fn send(&self, payload: &[u8]) -> bool {
        let parts = [
            LOG_TAG.as_bytes(),
            self.sender_id.as_bytes(),
            LOG_FORMAT.as_bytes(),
            payload,
        ];
        let mut bytes = Vec::with_capacity(payload.len() + 128);
        write_message(parts, &mut bytes);
        self.push(&bytes.into())
    }

    /// Sends a message as it was received, its sender's id included; `false` as with
    /// [`send`](Self::send).
    pub fn send_message(&self, message: &LogMessage) -> bool {
        self.push(message.encoded())
    }

    /// Sends records, in batches of one log and up to 1000 records each, under the filter `default`;
    /// returns how many there was room for.
    pub fn send_records<'a>(&self, records: impl IntoIterator<Item = &'a LogRecord>) -> usize {
        let mut sent = 0;
        let mut batch: Option<LogBatchWriter> = None;
        let mut finish = |batch: LogBatchWriter| {
            let count = batch.len();
            if self.send(&batch.finish()) {
                sent += count;
            }
        };
        for record in records {
            if let Some(open) = &mut batch
                && open.len() < RECORDS_PER_BATCH_MAX
                && (Arc::ptr_eq(open.schema(), record.schema()) || open.schema() == record.schema())
                && open.push(record).is_ok()
            {
                continue;
            }
            if let Some(full) = batch.take() {
                finish(full);
            }
            let mut open = LogBatchWriter::new(record.schema().clone(), "default");
            if open.push(record).is_ok() {
                batch = Some(open);
            }
        }
        if let Some(last) = batch {
            finish(last);
        }
        sent
    }

    /// Sends an encoded message.
    pub(crate) fn push(&self, bytes: &Bytes) -> bool {
        let pushed = self
            .shared
            .outbox
            .push(Run::shared(bytes, 1), Patience::Exhausted);
        pushed == Pushed::Accepted
    }

    /// What went through it so far.
    pub fn stats(&self) -> LogSenderStats {
        let queue = self.shared.outbox.stats();
        LogSenderStats {
            is_connected: self.shared.is_connected.load(Ordering::Relaxed),
            messages: queue.messages,
            waiting: queue.waiting_messages,
            dropped: queue.dropped,
        }
    }

    /// Sends nothing more; what waits has half a second to be written.
    pub fn close(&self) {
        self.shared.outbox.finish();
        let (shared, task) = (self.shared.clone(), self.task.clone());
        self.runtime.spawn(async move {
            shared.ended_within(LINGER).await;
            task.abort();
        });
    }

    /// As [`close`](Self::close), and blocks until everything is written or the time is over, which is
    /// what `false` says. Not to be called by a task.
    pub fn close_within(&self, timeout: Duration) -> bool {
        self.runtime.block_on(self.close_async(timeout))
    }

    /// [`close_within`](Self::close_within) for tasks.
    pub async fn close_async(&self, timeout: Duration) -> bool {
        self.shared.outbox.finish();
        let is_written = self.shared.ended_within(timeout).await;
        self.task.abort();
        is_written
    }
}

impl Drop for LogSender {
    fn drop(&mut self) {
        self.close();
    }
}

/// An id like those of nodes: product, process, and something random. Spec: zeromq 3.1.
fn made_up_id() -> std::io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let process = std::process::id();
    let random = u64::from_ne_bytes(random);
    Ok(format!("broker_logs_{process}_{random:016x}"))
}

impl SenderCore {
    async fn ended_within(&self, timeout: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        let ended = ended.wait_for(|ended| *ended);
        tokio::time::timeout(timeout, ended).await.is_ok()
    }

    async fn run(self: Arc<Self>) {
        let mut pause = RECONNECT_MIN;
        while self.outbox.peek() != Taken::Closed {
            let Address { host, port } = &self.address;
            match connector::connect(host, *port, CONNECT_TIMEOUT).await {
                Ok(stream) => {
                    let (was_ready, ended) = self.push_to(stream).await;
                    if matches!(ended, Ended::Finished) {
                        break;
                    }
                    self.note_failure(was_ready, &ended.to_string());
                    if was_ready {
                        pause = RECONNECT_MIN;
                    }
                }
                Err(failure) => self.note_failure(false, failure.log()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
        self.ended.send_replace(true);
    }

    fn note_failure(&self, was_ready: bool, reason: &str) {
        let address = &self.address;
        let is_first = self.failures.fetch_add(1, Ordering::Relaxed) == 0;
        if was_ready || is_first {
            tracing::warn!(event = "zeromq-logger-away", %address, reason);
        } else {
            tracing::debug!(event = "zeromq-logger-away", %address, reason);
        }
    }

    async fn push_to(&self, stream: tokio::net::TcpStream) -> (bool, Ended) {
        let config = ConnectionConfig::new(SocketType::Push).with_security(self.security.clone());
        let mut was_ready = false;
        let ended = drive(stream, config, Some(&self.outbox), |happened| {
            if let Happened::Event(Event::Ready(_)) = happened {
                was_ready = true;
                self.failures.store(0, Ordering::Relaxed);
                self.is_connected.store(true, Ordering::Relaxed);
                tracing::info!(event = "zeromq-logger-connected", address = %self.address);
            }
            ControlFlow::Continue(Reading::GoesOn)
        });
        let ended = ended.await;
        self.is_connected.store(false, Ordering::Relaxed);
        (was_ready, ended)
    }
}
