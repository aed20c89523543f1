//! The task of a client of streams: a connection of its own, made anew when it is lost.
//!
//! It has one of its own so that a producer that waits for a disk, and a subscriber that catches up,
//! hold up no message of the peering.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use broker_data::Timestamp;
use broker_proto::nats::connection::Event;
use broker_proto::{ErrorCode, Fault};
use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tracing::Instrument;

use super::dial;
use crate::config::timespan;
use crate::core::jet_stream::JetStream;
use crate::core::shared::{Gauge, Shared};
use crate::net::socket::{self, Socket};

/// Bytes read from the socket at once.
const READ_BYTES: usize = 64 * 1024;

/// Reads and writes before others get their turn.
const TURNS_MAX: usize = 16;

/// Bytes that wait for the socket, beyond which the session keeps what it says.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// Pauses between attempts to connect: those of a peering, which is tried at the same time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// Shortest time between two error events about messages that nobody had asked for.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// How long what was said may take to be sent when the client is over.
const LINGER: Duration = Duration::from_secs(1);

/// Starts the task of a client.
pub(crate) fn start(shared: &Arc<Shared>, client: Arc<JetStream>) {
    let counted = Gauge::enter(shared);
    let span = tracing::info_span!("nats-streams", url = %client.url);
    let shared = shared.clone();
    let runtime = shared.runtime.clone();
    let task = async move {
        let run = pin!(run(&shared, &client));
        let ending = async {
            shared.until_shutdown().await;
            client.end();
        };
        // What was said, acknowledgements above all, is sent before the end.
        let mut run = run;
        tokio::select! {
            () = &mut run => {}
            () = ending => {
                let _ = timeout(LINGER, run).await;
            }
        }
        client.end();
        drop(counted);
    };
    runtime.spawn(task.instrument(span));
}

/// Connects and serves until the client is over.
async fn run(shared: &Arc<Shared>, client: &JetStream) {
    let mut pause = PAUSE_MIN;
    while !client.is_over() {
        let opening = dial::open(shared, &client.url, &client.options);
        let opened = match keeping_time(shared, client, opening).await {
            Some(opened) => opened,
            None => return,
        };
        let cause = match opened {
            Err(fault) => fault.text,
            Ok(opened) => {
                shared.nats.learn(&client.url, &opened.info.connect_urls);
                let connected = client.connected(shared.now(), opened.connection, &opened.info);
                match connected {
                    Err(too_old) => too_old.to_string(),
                    Ok(()) => {
                        tracing::info!(event = "nats-streams-connected", server = %opened.server);
                        pause = PAUSE_MIN;
                        serve(shared, client, opened.socket).await
                    }
                }
            }
        };
        client.lost(&cause);
        tracing::debug!(event = "nats-streams-lost", cause);
        if keeping_time(shared, client, sleep(pause)).await.is_none() {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Waits for something, and has requests end at their times meanwhile; `None` when the client is over.
async fn keeping_time<F: Future>(
    shared: &Shared,
    client: &JetStream,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = Timer::new();
    poll_fn(|cx| {
        client.register(cx.waker());
        if client.is_over() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        while timer.poll(cx, shared, client.next_timeout()) {
            client.tick(timer.now(shared));
        }
        Poll::Pending
    })
    .await
}

/// One timer for whatever is due next.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    at: Timestamp,
}

impl Timer {
    fn new() -> Self {
        Self {
            sleep: Box::pin(sleep(Duration::ZERO)),
            at: Timestamp::from_ns(0),
        }
    }

    /// Whether the time is there. Its task is woken otherwise when it is.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, at: Option<Timestamp>) -> bool {
        let Some(at) = at else {
            return false;
        };
        self.at = at;
        let due = Instant::from_std(shared.instant(at));
        if self.sleep.deadline() != due {
            self.sleep.set(sleep_until(due));
        }
        self.sleep.as_mut().poll(cx).is_ready()
    }

    /// The time it is: the system's timers may be early by a part of a millisecond.
    fn now(&self, shared: &Shared) -> Timestamp {
        shared.now().max(self.at)
    }
}

/// A connection in use.
struct Serving<'a> {
    shared: &'a Shared,
    client: &'a JetStream,
    socket: Socket,
    input: BytesMut,
    /// Bound: `OUTPUT_BYTES_MAX`, and what the session says at once.
    output: Vec<u8>,
    written: usize,
    heard: Timestamp,
    next_ping: Option<Timestamp>,
    /// Messages that nobody had asked for since they were reported, and when they may be again.
    unasked: u64,
    unasked_due: Option<Timestamp>,
    timer: Timer,
    ping_timer: Timer,
}

/// Serves the client over a connection; returns why that ended.
async fn serve(shared: &Shared, client: &JetStream, socket: Socket) -> String {
    let now = shared.now();
    let mut serving = Serving {
        shared,
        client,
        socket,
        input: BytesMut::new(),
        output: Vec::new(),
        written: 0,
        heard: now,
        next_ping: None,
        unasked: 0,
        unasked_due: None,
        timer: Timer::new(),
        ping_timer: Timer::new(),
    };
    serving.next_ping = serving.ping_after(now);
    let cause = poll_fn(|cx| serving.poll(cx)).await;
    socket::linger(&mut serving.socket).await;
    cause
}

impl Serving<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        // Before anything is looked at, so that a change in between wakes.
        self.client.register(cx.waker());
        for _ in 0..TURNS_MAX {
            let mut moved = match self.read(cx) {
                Ok(moved) => moved,
                Err(cause) => return Poll::Ready(cause),
            };
            while self.timer.poll(cx, self.shared, self.client.next_timeout()) {
                self.client.tick(self.timer.now(self.shared));
            }
            if let Err(cause) = self.keep_alive(cx) {
                return Poll::Ready(cause);
            }
            match self.write(cx) {
                Ok(wrote) => moved |= wrote,
                Err(cause) => return Poll::Ready(cause),
            }
            if self.output.is_empty() && self.client.is_over() {
                return Poll::Ready("it is over".to_owned());
            }
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        self.input.clear();
        self.input.reserve(READ_BYTES);
        match self.socket.poll_read(cx, &mut self.input) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(bytes)) if bytes > 0 => {
                let now = self.shared.now();
                self.heard = now;
                let mut complaint = None;
                let fed = self.client.received(now, &self.input, |event| match event {
                    Event::Error(text) => complaint = Some(text),
                    Event::Info(info) => {
                        let url = &self.client.url;
                        self.shared.nats.learn(url, &info.connect_urls);
                    }
                    Event::Message(_) | Event::Pong => {}
                });
                if let Some(text) = complaint {
                    tracing::warn!(event = "nats-streams-complaint", text);
                }
                self.count_unasked(now);
                fed.map(|()| true).map_err(|error| error.to_string())
            }
            Poll::Ready(Ok(_)) => Err("the server hung up".to_owned()),
            Poll::Ready(Err(error)) => Err(error.to_string()),
        }
    }

    /// Counts messages that no reader had asked for, and has them reported, once per second at most.
    fn count_unasked(&mut self, now: Timestamp) {
        let more = self.client.take_unasked();
        if more == 0 {
            return;
        }
        let counts = self.shared.nats.counters.of(&self.client.url.host());
        counts.unasked.fetch_add(more, Ordering::Relaxed);
        self.unasked = self.unasked.saturating_add(more);
        if self.unasked_due.is_some_and(|due| now < due) {
            return;
        }
        self.unasked_due = Some(now.saturating_add(timespan(REPORT_PAUSE)));
        let count = std::mem::take(&mut self.unasked);
        let text = format!(
            "{count} messages came to subscribers of streams that had not asked for them, and were left out: \
             does somebody else publish to `_INBOX`?"
        );
        let fault = Fault::new(ErrorCode::InvalidMessage, None, text);
        self.shared.data.report(fault);
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        let mut moved = false;
        loop {
            if self.output.len() - self.written < OUTPUT_BYTES_MAX {
                self.client.take_output(&mut self.output);
            }
            let rest = self.output.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                self.output.clear();
                self.output.shrink_to(OUTPUT_BYTES_MAX);
                self.written = 0;
                return Ok(moved);
            }
            match self.socket.poll_write(cx, rest) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(bytes)) if bytes > 0 => {
                    self.written += bytes;
                    moved = true;
                    if self.written >= OUTPUT_BYTES_MAX {
                        self.output.drain(..self.written);
                        self.written = 0;
                    }
                }
                Poll::Ready(Ok(_)) => return Err("the server takes nothing".to_owned()),
                Poll::Ready(Err(error)) => return Err(error.to_string()),
            }
        }
    }

    /// When the server is asked whether it is there; never where peers may be silent for ever.
    fn ping_after(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = self.shared.options.dead_peer_timeout;
        (!limit.is_zero()).then(|| now.saturating_add(timespan(limit / 2)))
    }

    fn keep_alive(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        while self.ping_timer.poll(cx, self.shared, self.next_ping) {
            let now = self.ping_timer.now(self.shared);
            let limit = timespan(self.shared.options.dead_peer_timeout);
            if now >= self.heard.saturating_add(limit) {
                return Err("the server is silent".to_owned());
            }
            self.client.ping();
            self.next_ping = self.ping_after(now);
        }
        Ok(())
    }
}
