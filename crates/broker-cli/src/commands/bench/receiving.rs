//! The end that receives: counts what comes, answers round trips, keeps a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker::{Backend, Endpoint, Kind, MessageRef, Store, Subscriber, View};

use super::processor_time;
use super::report::Report;
use crate::outcome::Failure;

/// Messages that are counted, and the one that says how many there were.
pub(super) const DATA: &str = "bench/data";

/// Messages that are sent back.
pub(super) const ECHO: &str = "bench/echo";

/// Where they are sent back, and where counts are told.
pub(super) const ANSWER: &str = "bench/answer";

/// The store.
pub(super) const STORE: &str = "bench";

/// How often a thread that waits looks whether it is to end.
const NAP: Duration = Duration::from_millis(100);

/// Counts numbered messages.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) received: u64,
    pub(super) out_of_order: u64,
    pub(super) bytes_each: u64,
    next: u64,
    started: Option<(Instant, Duration)>,
}

impl Counter {
    /// Takes a message; tells how many were sent when it is the last one.
    #[inline]
    pub(super) fn take(&mut self, message: &MessageRef<'_>) -> Option<(u64, u64)> {
        let view = message.view();
        if view.kind() != Kind::Vector {
            return None;
        }
        let mut elements = view.elements();
        let number = elements.next()?.as_count()?;
        if let Some(total) = elements.next().and_then(|it| it.as_count()) {
            return Some((number, total));
        }
        if self.started.is_none() {
            self.started = Some((Instant::now(), processor_time()));
        }
        self.received += 1;
        self.bytes_each = message.frame().len() as u64;
        if number != self.next {
            self.out_of_order += u64::from(number < self.next);
        }
        self.next = number + 1;
        None
    }

    pub(super) fn report(&self, test: &'static str, sent: u64) -> Report {
        let (started, processor) = self.started.unwrap_or((Instant::now(), processor_time()));
        Report {
            test,
            unit: "messages",
            sent,
            received: self.received,
            out_of_order: self.out_of_order,
            bytes_each: self.bytes_each,
            elapsed: started.elapsed(),
            processor: processor_time().saturating_sub(processor),
            times: Vec::new(),
        }
    }
}

/// The threads of the receiving end; they end when it is dropped.
pub(super) struct Receiver {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _store: Store,
}

impl Receiver {
    /// Starts to receive at an endpoint; `tell` gets a report after each test that sent.
    pub(super) fn start(
        endpoint: &Endpoint,
        tell: impl Fn(Report) + Send + 'static,
    ) -> Result<Self, Failure> {
        let store = endpoint.attach_master(STORE, Backend::Memory);
        let store = store.map_err(|error| Failure::failed(error.to_string()))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (data, echoes) = (endpoint.subscriber([DATA])?, endpoint.subscriber([ECHO])?);
        let counting = {
            let (endpoint, is_over) = (endpoint.clone(), is_over.clone());
            move || count(&endpoint, &data, &is_over, tell)
        };
        let answering = {
            let (endpoint, is_over) = (endpoint.clone(), is_over.clone());
            move || answer(&endpoint, &echoes, &is_over)
        };
        Ok(Self {
            is_over,
            threads: vec![std::thread::spawn(counting), std::thread::spawn(answering)],
            _store: store,
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there was told by the thread itself.
            let _ = thread.join();
        }
    }
}

fn count(endpoint: &Endpoint, data: &Subscriber, is_over: &AtomicBool, tell: impl Fn(Report)) {
    let mut counter = Counter::default();
    while !is_over.load(Ordering::Relaxed) && !data.is_closed() {
        let mut ended = None;
        if data.for_each_ready(|message| ended = ended.or(counter.take(&message))) == 0 {
            data.wait(Some(NAP));
        }
        if let Some((run, sent)) = ended {
            let counted = std::mem::take(&mut counter);
            let counts = (run, sent, counted.received, counted.out_of_order);
            let _ = endpoint.publish(ANSWER, &counts);
            tell(counted.report("sub", sent));
        }
    }
}

fn answer(endpoint: &Endpoint, echoes: &Subscriber, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) && !echoes.is_closed() {
        let shown = echoes.for_each_ready(|message| {
            let view: View<'_> = message.view();
            let _ = endpoint.publish(ANSWER, &view);
        });
        if shown == 0 {
            echoes.wait(Some(NAP));
        }
    }
}
