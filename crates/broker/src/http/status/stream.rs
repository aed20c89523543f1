//! `GET /v1/stream`: what happens, as server-sent events.
//!
//! One task per server makes the text for all who listen, once a second and when there is an event;
//! while there are no listeners it sleeps. Each listener has a short queue of shared texts: one that
//! does not read is cut off when its queue is full, and costs the others nothing.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use broker_proto::{EndpointInfo, Event};
use bytes::Bytes;
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use super::access::Access;
use super::disks::Disks;
use super::{Snapshot, documents, iso};
use crate::flow::event_log::{EventLog, LoggedEvent};
use crate::lock::Lock;
use crate::stats::{QueueStats, Stats};
use crate::store::Node;

/// The path, as the policy judges it.
pub(super) const PATH: &str = "/v1/stream";

/// Listeners of one server at a time; beside them there is room for those who scrape.
const LISTENERS_MAX: usize = 16;

/// Texts that wait for a listener. One comes each second, so whoever has that many waiting has not
/// read for as many seconds, or never catches up.
const LISTENER_TEXTS_MAX: usize = 16;

/// Time from one report to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// Time after which a listener that asked for rare things only hears that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the stream consists of, by the names that `?events=` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything that is counted, once a second.
    Stats,
    /// Peers that come and go.
    Status,
    /// What went wrong.
    Error,
    /// Messages that were dropped within the last second.
    Drops,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Stats, Self::Status, Self::Error, Self::Drops];

    const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Status => "status",
            Self::Error => "error",
            Self::Drops => "drops",
        }
    }

    fn of(event: &Event) -> Self {
        match event {
            Event::Status(_) => Self::Status,
            Event::Error(_) => Self::Error,
        }
    }
}

/// The kinds that a listener asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted(Vec<Kind>);

impl Wanted {
    /// What a query asks for: `events=status,error`; everything without it.
    fn of_query(query: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut wanted = Kind::ALL.to_vec();
        for (name, value) in query {
            if name != "events" {
                return Err("The only parameter is `events`.\n".to_owned());
            }
            let kinds = value.split(',').map(|name| {
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
                kind.ok_or_else(|| {
                    "`events` takes `stats`, `status`, `error` and `drops`, with commas between \
                     them.\n"
                        .to_owned()
                })
            });
            wanted = kinds.collect::<Result<_, _>>()?;
        }
        Ok(Self(wanted))
    }

    fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }
}

#[derive(Debug)]
struct Listener {
    wanted: Wanted,
    /// The number of the last event that it was told, or need not be told.
    told: u64,
    /// Bound: `LISTENER_TEXTS_MAX`.
    queue: mpsc::Sender<Bytes>,
}

/// Those who listen to one server.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Bound: `LISTENERS_MAX`.
    list: Lock<Vec<Listener>>,
    came: Notify,
}

impl Listeners {
    fn are_there(&self) -> bool {
        !self.list.lock().is_empty()
    }

    /// The last event that all of them know.
    fn told(&self) -> u64 {
        let list = self.list.lock();
        list.iter().map(|it| it.told).min().unwrap_or(u64::MAX)
    }

    /// Hands an event to those who want it and do not know it.
    fn tell_event(&self, event: &LoggedEvent) {
        let mut text = String::new();
        put_event(&mut text, event);
        let text = Bytes::from(text);
        self.list.lock().retain_mut(|listener| {
            let is_news = listener.told < event.number;
            listener.told = listener.told.max(event.number);
            let is_for = is_news && listener.wanted.has(Kind::of(&event.event));
            !is_for || listener.queue.try_send(text.clone()).is_ok()
        });
    }

    /// Hands a text to those who want it. Those who have no room for it are cut off.
    fn tell(&self, kind: Kind, text: &Bytes) {
        self.tell_if(text, |wanted| wanted.has(kind));
    }

    fn tell_if(&self, text: &Bytes, is_for: impl Fn(&Wanted) -> bool) {
        self.list.lock().retain(|listener| {
            !is_for(&listener.wanted) || listener.queue.try_send(text.clone()).is_ok()
        });
    }

    /// Adds a listener, for whom the beginning are the events that are kept behind a number, and `stats`;
    /// `None` when there are enough.
    fn add(
        &self,
        wanted: Wanted,
        log: &EventLog,
        known: u64,
        stats: &str,
    ) -> Option<mpsc::Receiver<Bytes>> {
        // Nothing is told while this is locked: what comes behind the last of these events is told to the
        // listener as to the others.
        let mut list = self.list.lock();
        list.retain(|listener| !listener.queue.is_closed());
        if list.len() >= LISTENERS_MAX {
            return None;
        }
        let kept = log.after(0);
        let told = kept.last().map_or(0, |event| event.number);
        let mut first = String::from("retry: 2000\n\n");
        for event in kept.iter().filter(|it| it.number > known) {
            if wanted.has(Kind::of(&event.event)) {
                put_event(&mut first, event);
            }
        }
        first.push_str(stats);
        let (queue, texts) = mpsc::channel(LISTENER_TEXTS_MAX);
        // The queue is empty.
        let _ = queue.try_send(first.into());
        list.push(Listener {
            wanted,
            told,
            queue,
        });
        drop(list);
        self.came.notify_one();
        Some(texts)
    }
}

/// The texts for one listener as the body of its answer.
struct Texts {
    queue: mpsc::Receiver<Bytes>,
    /// Resolves when the listener may not listen any more.
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream for Texts {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.queue.poll_recv(cx).map(|text| text.map(Ok))
    }
}

/// Answers a request to listen.
pub(super) async fn answer(
    node: &Node,
    listeners: &Arc<Listeners>,
    disks: &Disks,
    access: &Access,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Response {
    let plain = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
    let wanted = match Wanted::of_query(query) {
        Ok(wanted) => wanted,
        Err(text) => return (StatusCode::BAD_REQUEST, plain, text).into_response(),
    };
    let known = headers.get("last-event-id");
    let known = known.and_then(|id| id.to_str().ok()?.parse().ok());
    let mut stats = String::new();
    if wanted.has(Kind::Stats) {
        let snapshot = disks.snapshot(node).await;
        put(
            &mut stats,
            Kind::Stats,
            &report(&snapshot, &Rates::default()),
        );
    }
    let log = &node.shared.data.event_log;
    match listeners.add(wanted, log, known.unwrap_or(0), &stats) {
        Some(queue) => {
            let over = Box::pin(access.over(PATH));
            let kind = [(CONTENT_TYPE, "text/event-stream")];
            (kind, Body::from_stream(Texts { queue, over })).into_response()
        }
        None => {
            let fields = [(RETRY_AFTER, "5")];
            let text = "Too many listen already.\n";
            (StatusCode::SERVICE_UNAVAILABLE, plain, fields, text).into_response()
        }
    }
}

/// Tells listeners what happens, for as long as the server runs.
pub(super) async fn run(node: &Node, listeners: &Listeners, disks: &Disks) {
    let log = &node.shared.data.event_log;
    loop {
        while !listeners.are_there() {
            listeners.came.notified().await;
        }
        // Something may have happened since the first of them came.
        let mut told = listeners.told();
        let mut before = (Instant::now(), Counts::of(&Snapshot::of(node).stats));
        let mut ticks = tokio::time::interval_at(before.0 + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut alive = Instant::now();
        while listeners.are_there() {
            tokio::select! {
                () = log.newer_than(told) => {
                    for event in log.after(told) {
                        told = event.number;
                        listeners.tell_event(&event);
                    }
                }
                _ = ticks.tick() => {
                    before = tell_report(node, listeners, disks, before).await;
                    if alive.elapsed() >= KEEP_ALIVE {
                        alive = Instant::now();
                        let text = Bytes::from_static(b": still here\n\n");
                        listeners.tell_if(&text, |wanted| !wanted.has(Kind::Stats));
                    }
                }
            }
        }
    }
}

/// Tells what was counted within the last period, and what was dropped.
async fn tell_report(
    node: &Node,
    listeners: &Listeners,
    disks: &Disks,
    (then, before): (Instant, Counts),
) -> (Instant, Counts) {
    let snapshot = disks.snapshot(node).await;
    let (now, counts) = (Instant::now(), Counts::of(&snapshot.stats));
    let seconds = now.saturating_duration_since(then).as_secs_f64();
    let drops = counts.drops_since(&before);
    if !drops.is_empty() {
        let mut text = String::new();
        let document = json!({ "time": snapshot.time, "seconds": seconds, "drops": drops });
        put(&mut text, Kind::Drops, &document);
        listeners.tell(Kind::Drops, &text.into());
    }
    let rates = Rates::between(&before, &counts, seconds);
    let mut text = String::new();
    put(&mut text, Kind::Stats, &report(&snapshot, &rates));
    listeners.tell(Kind::Stats, &text.into());
    (now, counts)
}

/// The stats, with what follows from them.
fn report(snapshot: &Snapshot, rates: &Rates) -> Value {
    let mut document = documents::stats(snapshot);
    if let Some(document) = document.as_object_mut() {
        document.insert("rates".to_owned(), rates.document());
        let (_, ready) = documents::readiness(snapshot);
        document.insert("ready".to_owned(), ready);
    }
    document
}

/// Writes one event of the stream. JSON has no line ends outside of its texts, and none inside.
fn put(text: &mut String, kind: Kind, document: &Value) {
    // Writing to memory does not fail.
    let _ = write!(text, "event: {}\ndata: {document}\n\n", kind.name());
}

fn put_event(text: &mut String, event: &LoggedEvent) {
    let _ = writeln!(text, "id: {}", event.number);
    put(text, Kind::of(&event.event), &event_document(event));
}

/// An event of the endpoint as JSON.
pub(super) fn event_document(logged: &LoggedEvent) -> Value {
    let (kind, code, context, text) = match &logged.event {
        Event::Status(status) => ("status", status.code.name(), &status.context, &status.text),
        Event::Error(fault) => ("error", fault.code.name(), &fault.context, &fault.text),
    };
    let EndpointInfo { id, network } = context.clone().unwrap_or_default();
    let mut document = json!({
        "number": logged.number,
        "time": iso(logged.time),
        "kind": kind,
        "code": code,
        "text": text,
        "peer": id.map(|id| id.to_string()),
        "address": network.map(|network| network.to_string()),
    });
    if let Event::Error(fault) = &logged.event
        && let Some(loss) = &fault.loss
        && let Some(document) = document.as_object_mut()
    {
        document.insert("lost".to_owned(), json!(loss.count));
        document.insert("topics".to_owned(), json!(loss.topics));
        document.insert("policy".to_owned(), json!(loss.reason));
    }
    document
}

/// What rates are made of: totals, and what each queue dropped.
#[derive(Debug, Default)]
struct Counts {
    received: [u64; 2],
    sent: [u64; 2],
    published: u64,
    /// By what it is and its name.
    dropped: HashMap<(&'static str, String), u64>,
}

impl Counts {
    fn of(stats: &Stats) -> Self {
        let mut counts = Self {
            published: stats.published,
            ..Self::default()
        };
        let add = |sum: &mut [u64; 2], messages: u64, bytes: u64| {
            *sum = [
                sum[0].saturating_add(messages),
                sum[1].saturating_add(bytes),
            ];
        };
        for peer in &stats.peers {
            add(
                &mut counts.received,
                peer.received.messages,
                peer.received.bytes,
            );
            add(&mut counts.sent, peer.sent.messages, peer.sent.bytes);
            counts.note("peer", peer.id.to_string(), &peer.sent);
        }
        for consumer in &stats.consumers {
            let name = consumer.number.to_string();
            counts.note(consumer.kind.name(), name, &consumer.queue);
        }
        counts
    }

    fn note(&mut self, what: &'static str, name: String, queue: &QueueStats) {
        if queue.dropped > 0 {
            self.dropped.insert((what, name), queue.dropped);
        }
    }

    /// What was dropped since then, by whom it was for.
    fn drops_since(&self, before: &Self) -> Vec<Value> {
        let mut drops: Vec<_> = self
            .dropped
            .iter()
            .filter_map(|(key, now)| {
                let then = before.dropped.get(key).copied().unwrap_or(0);
                let more = now.saturating_sub(then);
                (more > 0).then_some((key, more))
            })
            .collect();
        drops.sort_unstable();
        drops
            .into_iter()
            .map(|((what, name), messages)| {
                json!({ "kind": what, "name": name, "messages": messages })
            })
            .collect()
    }
}

/// Per second, over all peers.
#[derive(Debug, Default)]
struct Rates {
    received: [f64; 2],
    sent: [f64; 2],
    published: f64,
}

impl Rates {
    fn between(before: &Counts, now: &Counts, seconds: f64) -> Self {
        // A peer that left takes its counts along.
        let rate = |now: u64, before: u64| {
            if seconds > 0.0 {
                now.saturating_sub(before) as f64 / seconds
            } else {
                0.0
            }
        };
        let both = |now: [u64; 2], then: [u64; 2]| [rate(now[0], then[0]), rate(now[1], then[1])];
        Self {
            received: both(now.received, before.received),
            sent: both(now.sent, before.sent),
            published: rate(now.published, before.published),
        }
    }

    fn document(&self) -> Value {
        let both = |[messages, bytes]: [f64; 2]| json!({ "messages": messages, "bytes": bytes });
        json!({
            "received": both(self.received),
            "sent": both(self.sent),
            "published": self.published,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &str) -> Result<Wanted, String> {
        let (name, value) = query.split_once('=').unwrap_or((query, ""));
        Wanted::of_query(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn a_listener_chooses_what_it_hears() {
        let all = Wanted::of_query(&BTreeMap::new()).unwrap();
        assert!(Kind::ALL.into_iter().all(|kind| all.has(kind)));
        let some = wanted("events=status,drops").unwrap();
        assert!(some.has(Kind::Status) && some.has(Kind::Drops));
        assert!(!some.has(Kind::Stats) && !some.has(Kind::Error));
        for wrong in ["events=", "events=status,", "events=all", "kind=status"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_listener_that_does_not_read_is_cut_off_alone() {
        let listeners = Listeners::default();
        let log = EventLog::default();
        let all = || Wanted(Kind::ALL.to_vec());
        let mut reads = listeners.add(all(), &log, 0, "").unwrap();
        let mut does_not = listeners.add(all(), &log, 0, "").unwrap();
        for _ in 0..=LISTENER_TEXTS_MAX {
            assert!(reads.try_recv().is_ok());
            listeners.tell(Kind::Stats, &Bytes::from_static(b"x"));
        }
        assert_eq!(listeners.list.lock().len(), 1);
        let left = std::iter::from_fn(|| does_not.try_recv().ok()).count();
        assert_eq!(left, LISTENER_TEXTS_MAX);
        assert_eq!(
            does_not.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        );
    }

    #[test]
    fn there_is_room_for_few_and_again_when_one_leaves() {
        let listeners = Listeners::default();
        let log = EventLog::default();
        let add = || listeners.add(Wanted(vec![Kind::Stats]), &log, 0, "");
        let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| add().unwrap()).collect();
        assert!(add().is_none());
        all.pop();
        assert!(add().is_some());
    }

    #[test]
    fn drops_are_told_by_whom_they_were_for() {
        let counts = |dropped: u64| Counts {
            dropped: HashMap::from([(("peer", "p".to_owned()), dropped)]),
            ..Counts::default()
        };
        assert!(counts(5).drops_since(&counts(5)).is_empty());
        let expected = json!([{ "kind": "peer", "name": "p", "messages": 3 }]);
        assert_eq!(json!(counts(8).drops_since(&counts(5))), expected);
        assert_eq!(json!(counts(3).drops_since(&Counts::default())), expected);
    }

    #[tokio::test]
    async fn an_event_between_the_answer_and_the_first_look_is_told_once() {
        let builder = crate::Endpoint::builder().disable_ssl(true);
        let runtime = tokio::runtime::Handle::current();
        let endpoint = builder.runtime(runtime).build().unwrap();
        let node = endpoint.node();
        let log = &node.shared.data.event_log;
        let happen = |text: &str| {
            let fault = broker_proto::Fault::new(
                broker_proto::ErrorCode::Unspecified,
                None,
                text.to_owned(),
            );
            log.add(&[Event::Error(fault)]);
        };
        let listeners = Listeners::default();
        let wanted = || Wanted(vec![Kind::Error]);
        happen("first");
        let mut early = listeners.add(wanted(), log, 0, "").unwrap();
        // The task that tells has not looked yet.
        happen("second");
        let mut late = listeners.add(wanted(), log, 0, "").unwrap();
        let disks = Disks::new(Vec::new());
        let told = async {
            let mut heard = [String::new(), String::new()];
            for (texts, heard) in [&mut early, &mut late].into_iter().zip(&mut heard) {
                while !heard.contains("third") {
                    let text = texts.recv().await.unwrap();
                    heard.push_str(std::str::from_utf8(&text).unwrap());
                    if heard.contains("second") && log.after(2).is_empty() {
                        happen("third");
                    }
                }
            }
            heard
        };
        let heard = tokio::select! {
            heard = told => heard,
            () = run(node, &listeners, &disks) => unreachable!("it goes on for ever"),
        };
        for heard in heard {
            for text in ["first", "second", "third"] {
                assert_eq!(heard.matches(text).count(), 1, "{text} in {heard}");
            }
        }
    }

    #[test]
    fn rates_are_per_second() {
        let counts = |number: u64| Counts {
            received: [number, 10 * number],
            ..Counts::default()
        };
        let rates = Rates::between(&counts(10), &counts(30), 2.0);
        assert_eq!(rates.received, [10.0, 100.0]);
        assert_eq!(
            Rates::between(&counts(10), &counts(5), 0.0).received,
            [0.0, 0.0]
        );
        assert_eq!(
            Rates::between(&counts(10), &counts(5), 1.0).received,
            [0.0, 0.0]
        );
    }
}
