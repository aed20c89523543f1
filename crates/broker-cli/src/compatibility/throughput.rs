//! `broker-throughput`: how many events get from one process to another. Spec: tools 4.

use std::time::Duration;

use broker::data::to_bytes;
use broker::zeek::{EventBuilder, Message};
use broker::{Endpoint, Event, Retry, Source, Table, Timestamp, Value, View};

use super::settings::{Kind, Known, Set, Specification};
use crate::console::Console;
use crate::harmless::harmless_line;
use crate::interrupt::Interrupt;
use crate::outcome::{Exit, Failure};
use crate::session;

const EVENTS: &str = "/benchmark/events";
const TERMINATE: &str = "/benchmark/terminate";

/// Port of an address without one.
const PORT: u16 = 9999;

/// Time between attempts to reach the server.
const RETRY: Duration = Duration::from_secs(1);

/// Batches that are published before others get their turn.
const BURST: usize = 64;

pub(super) const SPECIFICATION: Specification = Specification {
    name: "broker-throughput",
    usage: "[options] HOST:[PORT] | --server [INTERFACE]:PORT",
    options: &[
        Known::new(
            "global.event-type",
            Some('t'),
            Kind::Number,
            "1 small (default), 2 like a line of conn.log, 3 large",
        ),
        Known::new(
            "global.batch-rate",
            Some('r'),
            Kind::Number,
            "batches per second (1); 0: as many as possible",
        ),
        Known::new(
            "global.batch-size",
            Some('s'),
            Kind::Number,
            "events per batch (1)",
        ),
        Known::new(
            "global.batch-size-increase-interval",
            Some('i'),
            Kind::Number,
            "seconds after which batches grow (0: never)",
        ),
        Known::new(
            "global.batch-size-increase-amount",
            Some('a'),
            Kind::Number,
            "events by which they grow",
        ),
        Known::new(
            "global.max-received",
            Some('m'),
            Kind::Number,
            "without effect",
        ),
        Known::new(
            "global.max-in-flight",
            Some('f'),
            Kind::Number,
            "without effect",
        ),
        Known::new("global.server", None, Kind::Flag, "receive and count"),
        Known::new(
            "global.verbose",
            None,
            Kind::Flag,
            "print the rate each second",
        ),
    ],
};

pub(super) async fn run(
    set: &Set,
    console: &mut Console,
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    let place = match set.rest.as_slice() {
        [place] => place.rsplit_once(':'),
        _ => None,
    };
    let place = place.and_then(|(host, port)| match port {
        "" => Some((host, PORT)),
        port => Some((host, port.parse().ok()?)),
    });
    let event_type = set.number("global.event-type").unwrap_or(1);
    let (Some((host, port)), 1..=3) = (place, event_type) else {
        console.say(SPECIFICATION.help());
        return Ok(Exit::Failed);
    };
    let endpoint = super::endpoint(set, None)?;
    let work = async {
        if set.flag("global.server") {
            serve(&endpoint, host, port, set.flag("global.verbose"), console).await
        } else {
            send(set, &endpoint, host, port, event_type, console).await
        }
    };
    let exit = tokio::select! {
        biased;
        _ = interrupt.wait() => Exit::Interrupted,
        outcome = work => outcome.map(|()| Exit::Done)?,
    };
    super::leave(&endpoint).await;
    Ok(exit)
}

/// Counts what comes until it is told to end.
async fn serve(
    endpoint: &Endpoint,
    interface: &str,
    port: u16,
    verbose: bool,
    console: &mut Console,
) -> Result<(), Failure> {
    let mut statuses = endpoint.status_subscriber(true)?;
    let mut messages = endpoint.subscriber([EVENTS, TERMINATE])?;
    endpoint.listen(interface, port).await?;
    let mut events = 0_u64;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        tokio::select! {
            message = session::message(&mut messages) => {
                let mut next = Some(message?);
                while let Some(message) = next {
                    if message.topic() == TERMINATE.as_bytes() {
                        return Ok(());
                    }
                    events += events_in(message.view());
                    next = messages.try_recv();
                }
            }
            _ = second.tick() => {
                if verbose {
                    console.line(format_args!("rate: {events} events/s"))?;
                    console.flush()?;
                }
                events = 0;
            }
            event = session::next(&mut statuses) => {
                if let Some(event) = event {
                    console.line(harmless_line(&told(&event)))?;
                    console.flush()?;
                }
            }
        }
    }
}

/// Events in a message: itself, or the elements of a batch.
fn events_in(value: View<'_>) -> u64 {
    match Message::parse(value) {
        Message::Event(_) => 1,
        _ if value.kind() == broker::Kind::Vector => value.elements().count() as u64,
        _ => 0,
    }
}

/// `peer_added(<id>, <host>:<port>, "text")`.
fn told(event: &Event) -> String {
    let (code, context, text) = match event {
        Event::Status(status) => (status.code.to_string(), &status.context, &status.text),
        Event::Error(fault) => (fault.code.to_string(), &fault.context, &fault.text),
    };
    let mut line = format!("{code}(");
    if let Some(context) = context {
        if let Some(id) = context.id {
            line.push_str(&format!("{id}, "));
        }
        if let Some(network) = &context.network {
            line.push_str(&format!("{}:{}, ", network.host, network.port));
        }
    }
    line.push_str(&format!("\"{text}\")"));
    line
}

/// Publishes batches without end.
async fn send(
    set: &Set,
    endpoint: &Endpoint,
    host: &str,
    port: u16,
    event_type: u64,
    console: &mut Console,
) -> Result<(), Failure> {
    if let Err(error) = endpoint.peer(host, port, Retry::After(RETRY)).await {
        console.say(format_args!(
            "unable to peer to {host} on port {port}: {error}"
        ));
        return Ok(());
    }
    let event = event(event_type);
    let rate = set.number("global.batch-rate").unwrap_or(1);
    if rate == 0 {
        let bytes = encoded(&event)?;
        let view = View::new(&bytes).map_err(|error| Failure::failed(error.to_string()))?;
        loop {
            for _ in 0..BURST {
                endpoint.publish_async(EVENTS, &view).await?;
            }
            tokio::task::yield_now().await;
        }
    }
    let mut size = set.number("global.batch-size").unwrap_or(1);
    let grow_after = set
        .number("global.batch-size-increase-interval")
        .unwrap_or(0);
    let growth = set.number("global.batch-size-increase-amount").unwrap_or(0);
    let interval = Duration::from_secs_f64(1.0 / rate as f64);
    let mut pace = tokio::time::interval(interval.max(Duration::from_nanos(1)));
    let started = tokio::time::Instant::now();
    let mut grown = 0;
    let mut batch = batch_of(&event, size)?;
    loop {
        pace.tick().await;
        if let Some(times) = started.elapsed().as_secs().checked_div(grow_after)
            && times > grown
        {
            size = size.saturating_add(growth.saturating_mul(times - grown));
            grown = times;
            batch = batch_of(&event, size)?;
        }
        let blocked = endpoint.offer::<broker::Error>(None, EVENTS.as_bytes(), |out| {
            out.extend_from_slice(&batch);
            Ok(())
        })?;
        if blocked.is_some() {
            console.say("*** skip batch: publisher queue full");
        }
    }
}

fn encoded<S: Source + ?Sized>(value: &S) -> Result<Vec<u8>, Failure> {
    to_bytes(value).map_err(|error| Failure::failed(error.to_string()))
}

/// A vector of events, which is not what Zeek calls a batch.
fn batch_of(event: &EventBuilder, size: u64) -> Result<Vec<u8>, Failure> {
    let bytes = encoded(event)?;
    let event = broker::data::decode(&bytes);
    let event = event.map_err(|error| Failure::failed(error.to_string()))?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    encoded(&Value::Vector(vec![event; size]))
}

/// An event of the kinds that can be chosen.
fn event(event_type: u64) -> EventBuilder {
    let event = EventBuilder::new(format!("event_{event_type}"));
    match event_type {
        1 => event.argument(&42_i64).argument("test"),
        2 => conn_line()
            .iter()
            .fold(event.argument(&1_i64), EventBuilder::argument),
        _ => event.argument(&1_i64).argument(&large_table()),
    }
}

/// The fields of a line of conn.log.
fn conn_line() -> Vec<Value> {
    let text = |text: &str| Value::String(text.into());
    vec![
        Value::Timestamp(Timestamp::EPOCH),
        text("CHhAvVGS1DHFjwGM9"),
        text("192.0.2.1"),
        Value::Count(54_321),
        text("198.51.100.2"),
        Value::Count(443),
        Value::EnumValue(broker::EnumValue::new("tcp")),
        text("ssl"),
        Value::Timespan(broker::Timespan::from_ns(1_500_000_000)),
        Value::Count(1_234),
        Value::Count(5_678),
        text("SF"),
        Value::Boolean(true),
        Value::Boolean(false),
        Value::Count(0),
        text("ShADadFf"),
        Value::Count(10),
        Value::Count(1_754),
        Value::Count(8),
        Value::Count(6_094),
        Value::Set([text("a"), text("b")].into_iter().collect()),
    ]
}

/// A hundred texts, each with ten others.
fn large_table() -> Value {
    let text = |text: String| Value::String(text.as_str().into());
    let entries = (0..100).map(|row| {
        let set = (0..10).map(|column| text(format!("value-{row}-{column}")));
        (text(format!("key-{row}")), Value::Set(set.collect()))
    });
    Value::Table(entries.collect::<Table>())
}
