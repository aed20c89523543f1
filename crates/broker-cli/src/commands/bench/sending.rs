//! The tests: what is sent to the end that receives, and how long that takes.

use std::time::{Duration, Instant};

use broker::proto::peer_url::PeerUrl;
use broker::{CloneOptions, Endpoint, Options, Retry, Subscriber};
use tokio::runtime::Handle;

use super::receiving::{ANSWER, Counter, DATA, ECHO, Receiver, STORE};
use super::report::Report;
use super::{endpoint, processor_time};
use crate::outcome::{Exit, Failure};

/// How often the thread that counts looks whether it has waited for too long.
const POLL: Duration = Duration::from_millis(100);

/// How long it is waited for the other end before that is told.
const PATIENCE: Duration = Duration::from_millis(500);

/// Tells what is waited for.
pub(super) type Tell = Box<dyn Fn(String) + Send + Sync>;

/// Which test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pub,
    Latency,
    Store,
    Relay,
}

impl Kind {
    /// How many there are unless told.
    pub(super) const fn count(self) -> u64 {
        match self {
            Self::Pub | Self::Relay => 1_000_000,
            Self::Latency => 10_000,
            Self::Store => 100_000,
        }
    }
}

/// What is asked for.
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) count: u64,
    pub(super) size: usize,
    /// Time from one to the next.
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Duration,
    /// The other end; none if it is to be in this process.
    pub(super) peer: Option<PeerUrl>,
    pub(super) options: Options,
    pub(super) tell: Tell,
}

/// Runs the test.
pub(super) fn run(plan: &Plan, handle: &Handle) -> Result<Report, Failure> {
    let own = endpoint(plan.options.clone(), handle)?;
    let answers = own.subscriber([ANSWER])?;
    // Both live until the end.
    let (place, _other, _receiver);
    match &plan.peer {
        Some(peer) => place = peer.to_string(),
        None => {
            let other = endpoint(plan.options.clone(), handle)?;
            let port = other.listen("127.0.0.1", 0).wait()?;
            place = format!("zeek://127.0.0.1:{port}");
            _receiver = match plan.kind {
                Kind::Relay => {
                    other.forward([super::TOPICS]);
                    None
                }
                Kind::Pub | Kind::Latency | Kind::Store => Some(Receiver::start(&other, |_| ())?),
            };
            _other = other;
        }
    }
    let report = match plan.kind {
        Kind::Relay => relay(plan, &own, &place, handle),
        Kind::Pub => peer(plan, &own, &place, handle).and_then(|()| publish(plan, &own, &answers)),
        Kind::Latency => {
            peer(plan, &own, &place, handle).and_then(|()| latency(plan, &own, &answers))
        }
        Kind::Store => peer(plan, &own, &place, handle).and_then(|()| store(plan, &own)),
    }?;
    own.shutdown().wait();
    Ok(report)
}

/// Connects; the peer has to be subscribed to what is sent to it.
fn peer(plan: &Plan, own: &Endpoint, place: &str, handle: &Handle) -> Result<(), Failure> {
    connect(own, place)?;
    let wanted = match plan.kind {
        Kind::Latency => ECHO,
        Kind::Store => return Ok(()),
        Kind::Pub | Kind::Relay => DATA,
    };
    await_subscriber(plan, own, wanted, handle)
}

fn connect(own: &Endpoint, place: &str) -> Result<(), Failure> {
    own.peer_url(place, Retry::Never).wait().map_err(|error| {
        let failure = Failure::from(error.clone());
        match (failure, error) {
            (Failure::Told { exit, .. }, broker::Error::PeerUnavailable { text, .. }) => {
                Failure::new(exit, format!("cannot connect to {place}: {text}"))
                    .hint(format!("`broker doctor {place}` finds out why"))
            }
            (failure, _) => failure,
        }
    })
}

fn await_subscriber(
    plan: &Plan,
    own: &Endpoint,
    topic: &str,
    handle: &Handle,
) -> Result<(), Failure> {
    const HINT: &str = "it has to be `broker bench sub`, or for `relay` a node with --topic bench/";
    let subscribed = own.until(|own| {
        let mut topics = own.peer_subscriptions().into_iter();
        topics
            .any(|prefix| prefix.is_prefix_of(topic.as_bytes()))
            .then_some(())
    });
    let waited = handle.block_on(async {
        tokio::time::timeout(plan.timeout, async {
            let mut subscribed = std::pin::pin!(subscribed);
            tokio::select! {
                biased;
                () = &mut subscribed => return,
                () = tokio::time::sleep(PATIENCE) => {}
            }
            let seconds = plan.timeout.as_secs_f64();
            (plan.tell)(format!(
                "waiting up to {seconds} s for the other end to subscribe to `{topic}`: {HINT}"
            ));
            subscribed.await;
        })
        .await
    });
    waited.map_err(|_| {
        let what = format!("the other end does not subscribe to `{topic}`");
        Failure::new(Exit::NothingCame, what).hint(HINT)
    })
}

/// Waits until it is time for the next one.
fn pace(interval: Option<Duration>, started: Instant, number: u64) {
    if let Some(interval) = interval {
        let due = started
            + Duration::from_nanos(
                u64::try_from(interval.as_nanos())
                    .unwrap_or(u64::MAX)
                    .saturating_mul(number),
            );
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn send(plan: &Plan, own: &Endpoint, started: Instant) -> Result<(), Failure> {
    let publisher = own.publisher(DATA);
    let payload = "x".repeat(plan.size);
    for number in 0..plan.count {
        pace(plan.interval, started, number);
        publisher.publish(&(number, payload.as_str()))?;
    }
    // The number of messages, where the text of others is.
    publisher.publish(&(0_u64, plan.count))?;
    Ok(())
}

fn publish(plan: &Plan, own: &Endpoint, answers: &Subscriber) -> Result<Report, Failure> {
    let (started, processor) = (Instant::now(), processor_time());
    send(plan, own, started)?;
    let Some(answer) = answers.recv_timeout(plan.timeout)? else {
        let what = format!("no count came within {} s", plan.timeout.as_secs_f64());
        return Err(Failure::new(Exit::NothingCame, what));
    };
    let elapsed = started.elapsed();
    let counts: Vec<u64> = answer
        .view()
        .elements()
        .filter_map(|it| it.as_count())
        .collect();
    let &[_, _, received, out_of_order] = counts.as_slice() else {
        return Err(Failure::failed(
            "the other end answers something else than a count",
        ));
    };
    Ok(Report {
        test: "pub",
        unit: "messages",
        sent: plan.count,
        received,
        out_of_order,
        bytes_each: frame_bytes(plan),
        elapsed,
        processor: processor_time().saturating_sub(processor),
        times: Vec::new(),
    })
}

/// Bytes of a message: length, envelope, topic, vector of a count and a text. Spec: wire 3, 6.
fn frame_bytes(plan: &Plan) -> u64 {
    let value = broker::data::to_bytes(&(0_u64, "x".repeat(plan.size).as_str()));
    let value = value.map_or(0, |bytes| bytes.len());
    let envelope = broker::proto::frame::FRAME_LEN_SIZE + broker::proto::frame::ENVELOPE_SIZE;
    (envelope + DATA.len() + value) as u64
}

fn latency(plan: &Plan, own: &Endpoint, answers: &Subscriber) -> Result<Report, Failure> {
    let publisher = own.publisher(ECHO);
    let payload = "x".repeat(plan.size);
    let mut times = Vec::with_capacity(usize::try_from(plan.count).unwrap_or(0).min(1 << 24));
    let (mut received, mut out_of_order) = (0, 0);
    let (started, processor) = (Instant::now(), processor_time());
    for number in 0..plan.count {
        pace(plan.interval, started, number);
        let sent = Instant::now();
        publisher.publish(&(number, payload.as_str()))?;
        let Some(answer) = answers.recv_timeout(plan.timeout)? else {
            break;
        };
        times.push(sent.elapsed());
        received += 1;
        let answered = answer.view().elements().next().and_then(|it| it.as_count());
        out_of_order += u64::from(answered != Some(number));
    }
    let elapsed = started.elapsed();
    times.sort_unstable();
    Ok(Report {
        test: "latency",
        unit: "round trips",
        sent: plan.count,
        received,
        out_of_order,
        bytes_each: frame_bytes(plan),
        elapsed,
        processor: processor_time().saturating_sub(processor),
        times,
    })
}

fn store(plan: &Plan, own: &Endpoint) -> Result<Report, Failure> {
    let failed = |error: broker::StoreError| Failure::failed(format!("the store: {error}"));
    let store = own
        .attach_clone(STORE, CloneOptions::default())
        .map_err(failed)?;
    store.clear().map_err(failed)?;
    let payload = "x".repeat(plan.size);
    let (started, processor) = (Instant::now(), processor_time());
    for number in 0..plan.count {
        pace(plan.interval, started, number);
        store.put(&number, payload.as_str()).map_err(failed)?;
    }
    // The answer to this one comes when all before it are done.
    store
        .put_unique(&"last", &plan.count, None)
        .map_err(failed)?
        .wait()
        .map_err(failed)?;
    let elapsed = started.elapsed();
    let mut received = 0;
    let mut times = Vec::with_capacity(usize::try_from(plan.count).unwrap_or(0).min(1 << 24));
    for number in 0..plan.count {
        let read = Instant::now();
        received += u64::from(store.get(&number).map_err(failed)?.is_some());
        times.push(read.elapsed());
    }
    times.sort_unstable();
    Ok(Report {
        test: "store",
        unit: "entries",
        sent: plan.count,
        received,
        out_of_order: 0,
        bytes_each: (plan.size + 10) as u64,
        elapsed,
        processor: processor_time().saturating_sub(processor),
        times,
    })
}

/// From one endpoint of this process through the relay to another one of it.
fn relay(plan: &Plan, own: &Endpoint, place: &str, handle: &Handle) -> Result<Report, Failure> {
    let back = endpoint(plan.options.clone(), handle)?;
    let data = back.subscriber([DATA])?;
    connect(&back, place)?;
    connect(own, place)?;
    await_subscriber(plan, own, DATA, handle)?;
    // The relay has to know what the other one wants: it answers in turn.
    for peer in back.peers() {
        back.ping(peer.id).wait();
    }
    let (started, processor) = (Instant::now(), processor_time());
    let outcome = std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut counter = Counter::default();
            let mut heard = Instant::now();
            while heard.elapsed() < plan.timeout {
                let mut ended = None;
                if data.for_each_ready(|it| ended = ended.or(counter.take(&it))) > 0 {
                    heard = Instant::now();
                }
                if ended.is_some() {
                    break;
                }
                data.wait(Some(POLL));
            }
            counter
        });
        send(plan, own, started)?;
        counting
            .join()
            .map_err(|_| Failure::failed("the thread that counts ended early"))
    });
    let counter = outcome?;
    let elapsed = started.elapsed();
    back.shutdown().wait();
    Ok(Report {
        elapsed,
        processor: processor_time().saturating_sub(processor),
        ..counter.report("relay", plan.count)
    })
}
