//! The same work through our endpoints.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use broker::{Endpoint, Event as Happening, Retry, StatusCode, StatusSubscriber, Subscriber};
use serde_json::json;

use crate::Common;
use crate::payload::{Event, REPLY_TOPIC, Size, TOPIC, filler, sequence};
use crate::report;

/// A receiver that hears nothing for this long reports what is missing instead of waiting forever.
const SILENCE_MAX: Duration = Duration::from_secs(30);

fn endpoint(options: &Common) -> anyhow::Result<Endpoint> {
    Ok(Endpoint::builder().disable_ssl(!options.tls).build()?)
}

fn connect(endpoint: &Endpoint, ports: &[u16]) -> anyhow::Result<()> {
    for port in ports {
        endpoint.peer("127.0.0.1", *port, Retry::Never).wait()?;
    }
    Ok(())
}

/// Waits until so many peers are there. That they are through with the handshake says nothing yet.
fn await_peers(statuses: &StatusSubscriber, count: usize) -> anyhow::Result<()> {
    let mut there = 0;
    while there < count {
        let event = statuses.recv_timeout(SILENCE_MAX)?;
        let event = event.with_context(|| format!("{there} of {count} peers came"))?;
        there +=
            usize::from(matches!(event, Happening::Status(it) if it.code == StatusCode::PeerAdded));
    }
    Ok(())
}

/// Listens, then receives.
pub(crate) fn subscribe(options: &Common) -> anyhow::Result<()> {
    let endpoint = endpoint(options)?;
    let subscriber = endpoint.subscriber([TOPIC])?;
    report::listening(endpoint.listen("127.0.0.1", 0).wait()?)?;
    receive(&endpoint, &subscriber, options)?;
    endpoint.shutdown().wait();
    Ok(())
}

/// Connects, once per endpoint, and receives on all of them in turn.
pub(crate) fn join(options: &Common) -> anyhow::Result<()> {
    let mut joined = Vec::new();
    for _ in 0..options.endpoints {
        let endpoint = endpoint(options)?;
        let subscriber = endpoint.subscriber([TOPIC])?;
        connect(&endpoint, &options.port)?;
        joined.push((endpoint, subscriber));
    }
    report::emit(&json!({ "port": 0 }))?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let mut workers = Vec::new();
        for (endpoint, subscriber) in joined.iter().skip(1) {
            workers.push(scope.spawn(move || count_only(endpoint, subscriber, options)));
        }
        let (endpoint, subscriber) = joined.first().context("--endpoints is 0")?;
        receive(endpoint, subscriber, options)?;
        for worker in workers {
            worker.join().ok().context("a receiver panicked")??;
        }
        Ok(())
    })?;
    report::emit(&json!({ "all": options.endpoints }))?;
    for (endpoint, _) in &joined {
        endpoint.shutdown().wait();
    }
    Ok(())
}

/// Receives `count` messages, checks their order, tells the publisher and reports.
fn receive(endpoint: &Endpoint, subscriber: &Subscriber, options: &Common) -> anyhow::Result<()> {
    let mut start = None;
    let mut cpu = 0.0;
    check_all(subscriber, options, || {
        start = Some(Instant::now());
        cpu = report::cpu_seconds();
    })?;
    let elapsed = start.context("no message was expected")?.elapsed();
    report::done(options.count, elapsed, report::cpu_seconds() - cpu)?;
    endpoint.publish(REPLY_TOPIC, &"done")?;
    Ok(())
}

fn count_only(
    endpoint: &Endpoint,
    subscriber: &Subscriber,
    options: &Common,
) -> anyhow::Result<()> {
    check_all(subscriber, options, || ())?;
    endpoint.publish(REPLY_TOPIC, &"done")?;
    Ok(())
}

fn check_all(
    subscriber: &Subscriber,
    options: &Common,
    mut at_first: impl FnMut(),
) -> anyhow::Result<()> {
    let mut next = 0;
    let mut wrong = None;
    while next < options.count {
        let looked_at = subscriber.for_each_ready(|message| {
            if next == 0 {
                at_first();
            }
            let found = sequence(message.payload());
            if found != Some(next.cast_signed()) && wrong.is_none() {
                wrong = Some((next, found));
            }
            next += 1;
        });
        if looked_at == 0 {
            subscriber.wait(Some(SILENCE_MAX));
            ensure!(
                subscriber.available() > 0,
                "nothing came after message {next}"
            );
        }
        if let Some((expected, found)) = wrong {
            bail!("expected message {expected}, got {found:?}");
        }
    }
    ensure!(next == options.count, "{next} messages came");
    Ok(())
}

/// Publishes as fast as it goes and waits until every receiver has said that it has everything.
pub(crate) fn publish(options: &Common) -> anyhow::Result<()> {
    let endpoint = endpoint(options)?;
    let replies = endpoint.subscriber([REPLY_TOPIC])?;
    let receivers = if options.port.is_empty() {
        let statuses = endpoint.status_subscriber(true)?;
        report::listening(endpoint.listen("127.0.0.1", 0).wait()?)?;
        // The runner says on standard input when everybody has joined.
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        await_peers(&statuses, options.endpoints)?;
        options.endpoints
    } else {
        connect(&endpoint, &options.port)?;
        options.endpoints
    };
    let filler = filler();
    let start = Instant::now();
    let cpu = report::cpu_seconds();
    for sequence in 0..options.count {
        let event = Event {
            sequence: sequence.cast_signed(),
            size: options.size,
            filler: &filler,
        };
        endpoint.publish(TOPIC, &event)?;
    }
    let published = start.elapsed();
    for _ in 0..receivers {
        replies
            .recv_timeout(SILENCE_MAX * 4)?
            .context("a receiver never finished")?;
    }
    report::emit(&json!({ "publish_seconds": published.as_secs_f64() }))?;
    report::done(options.count, start.elapsed(), report::cpu_seconds() - cpu)?;
    endpoint.shutdown().wait();
    Ok(())
}

/// Relays between its peers: everything comes in on one connection and leaves on the others.
pub(crate) fn relay(options: &Common) -> anyhow::Result<()> {
    let endpoint = endpoint(options)?;
    endpoint.forward([TOPIC, REPLY_TOPIC]);
    let statuses = endpoint.status_subscriber(true)?;
    report::listening(endpoint.listen("127.0.0.1", 0).wait()?)?;
    await_peers(&statuses, 1)?;
    report::emit(&json!({ "peers": 1 }))?;
    drop(statuses);
    let cpu = report::cpu_seconds();
    let start = Instant::now();
    report::wait_for_end_of_input()?;
    report::done(options.count, start.elapsed(), report::cpu_seconds() - cpu)?;
    endpoint.shutdown().wait();
    Ok(())
}

/// Answers each ping with the same content.
pub(crate) fn pong(options: &Common) -> anyhow::Result<()> {
    let endpoint = endpoint(options)?;
    let pings = endpoint.subscriber([TOPIC])?;
    report::listening(endpoint.listen("127.0.0.1", 0).wait()?)?;
    for _ in 0..options.count {
        let ping = pings.recv()?;
        endpoint.publish(REPLY_TOPIC, &ping.view())?;
    }
    // The last pong must leave before we do; shutting down sends what was published.
    endpoint.shutdown().wait();
    Ok(())
}

/// Sends pings one after the other and reports the round trips.
pub(crate) fn ping(options: &Common) -> anyhow::Result<()> {
    let endpoint = endpoint(options)?;
    let pongs = endpoint.subscriber([REPLY_TOPIC])?;
    connect(&endpoint, &options.port)?;
    let filler = filler();
    let mut round_trips = Vec::new();
    let start = Instant::now();
    let cpu = report::cpu_seconds();
    for number in 0..options.count {
        let sent = Instant::now();
        let event = Event {
            sequence: number.cast_signed(),
            size: Size::Small,
            filler: &filler,
        };
        endpoint.publish(TOPIC, &event)?;
        let pong = pongs.recv_timeout(SILENCE_MAX)?.context("no pong")?;
        ensure!(
            sequence(pong.payload()) == Some(number.cast_signed()),
            "a pong out of order"
        );
        round_trips.push(sent.elapsed());
    }
    report::round_trips(round_trips)?;
    report::done(options.count, start.elapsed(), report::cpu_seconds() - cpu)?;
    endpoint.shutdown().wait();
    Ok(())
}

/// Memory, threads and CPU of endpoints that do nothing.
pub(crate) fn idle(options: &Common) -> anyhow::Result<()> {
    const WATCHED: Duration = Duration::from_secs(5);
    let before = report::status_field("VmRSS");
    let start = Instant::now();
    let endpoints = (0..options.endpoints)
        .map(|_| endpoint(options))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let started = start.elapsed();
    let rss = report::status_field("VmRSS");
    let cpu = report::cpu_seconds();
    // Idling is what is measured here, so time has to pass.
    std::thread::sleep(WATCHED);
    let used = report::cpu_seconds() - cpu;
    report::emit(&json!({
        "endpoints": endpoints.len(),
        "start_ms": started.as_secs_f64() * 1e3,
        "rss_kib_added": rss.unwrap_or(0).saturating_sub(before.unwrap_or(0)),
        "threads": report::status_field("Threads"),
        "idle_cpu_percent": 100.0 * used / WATCHED.as_secs_f64(),
    }))
}
