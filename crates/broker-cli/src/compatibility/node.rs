//! `broker-node`: relays, pings, answers pings, keeps stores. Spec: tools 2.

use std::time::{Duration, Instant};

use broker::{
    Backend, CloneOptions, Endpoint, EndpointId, Kind as ValueKind, Message, Retry, Subscriber,
    View,
};

use super::settings::{Kind, Known, Set, Specification};
use crate::console::Console;
use crate::interrupt::Interrupt;
use crate::outcome::{Exit, Failure};
use crate::session;

/// Time between attempts to reach a peer.
const RETRY: Duration = Duration::from_secs(1);

const RENDEZVOUS_RETRY: Duration = Duration::from_millis(250);
const NUM_MESSAGES: u64 = 100;

pub(super) const SPECIFICATION: Specification = Specification {
    name: "broker-node",
    usage: "-t '[\"TOPIC\",...]' [-m relay|ping|pong] [options]",
    options: &[
        Known::new(
            "global.topics",
            Some('t'),
            Kind::Texts,
            "topics to subscribe to (required)",
        ),
        Known::new(
            "global.mode",
            Some('m'),
            Kind::Text,
            "relay (default), ping or pong",
        ),
        Known::new(
            "global.port",
            Some('p'),
            Kind::Port,
            "listen for peers, on all interfaces",
        ),
        Known::new(
            "global.peers",
            None,
            Kind::Texts,
            "peers to connect to: [<tcp://HOST:PORT>]",
        ),
        Known::new(
            "global.verbose",
            Some('v'),
            Kind::Flag,
            "say on standard error what happens",
        ),
        Known::new(
            "global.rate",
            Some('r'),
            Kind::Flag,
            "relay: messages per second, with -v",
        ),
        Known::new("global.name", Some('N'), Kind::Text, "without effect"),
        Known::new(
            "global.num-messages",
            Some('n'),
            Kind::Number,
            "ping: how many (100)",
        ),
        Known::new(
            "global.payload-size",
            Some('s'),
            Kind::Number,
            "ping: bytes in each (0)",
        ),
        Known::new(
            "global.rendezvous-retry",
            None,
            Kind::Duration,
            "ping: until the first answer (250ms)",
        ),
        Known::new(
            "global.endpoint-id",
            None,
            Kind::Text,
            "a UUID instead of a random one",
        ),
        Known::new(
            "global.master-stores",
            None,
            Kind::Texts,
            "stores to keep, in memory",
        ),
        Known::new(
            "global.clone-stores",
            None,
            Kind::Texts,
            "stores to have a clone of",
        ),
    ],
};

/// What goes to standard error with `--verbose`.
struct Talk<'c> {
    console: &'c mut Console,
    verbose: bool,
}

impl Talk<'_> {
    fn say(&mut self, text: impl std::fmt::Display) {
        if self.verbose {
            let now = jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S.%3f");
            self.console.say(format_args!("\"{now}\": {text}"));
        }
    }
}

pub(super) async fn run(
    set: &Set,
    console: &mut Console,
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    let topics = set.texts("global.topics");
    let Some(first) = topics.first() else {
        return Err(Failure::failed("no topics specified"));
    };
    let mode = set
        .text("global.mode")
        .unwrap_or_else(|| "relay".to_owned());
    if !["relay", "ping", "pong"].contains(&mode.as_str()) {
        return Err(Failure::failed(format!("invalid mode: {mode}")));
    }
    let id = match set.text("global.endpoint-id") {
        None => None,
        Some(text) => match text.parse::<EndpointId>() {
            Ok(id) if !id.is_nil() => Some(id),
            _ => return Err(Failure::failed("endpoint-id must be a valid UUID")),
        },
    };
    let port = match std::env::var("BROKER_PORT") {
        Err(_) => set.port("global.port"),
        Ok(text) => match text.trim_end_matches("/tcp").parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                let what = format!(
                    "invalid value for BROKER_PORT: {text} (expected a non-zero port number)"
                );
                return Err(Failure::failed(what));
            }
        },
    };
    let pings = set.number("global.num-messages").unwrap_or(NUM_MESSAGES);
    let verbose = set.flag("global.verbose");
    if mode == "ping" && pings == 0 {
        console.say("send no pings: n = 0");
        return Ok(Exit::Done);
    }
    let mut talk = Talk { console, verbose };
    let endpoint = super::endpoint(set, id)?;
    let mut statuses = endpoint.status_subscriber(true)?;
    let mut stores = Vec::new();
    let failed = |name: &str, error: broker::StoreError| {
        Failure::failed(format!("cannot attach the store `{name}`: {error}"))
    };
    for name in set.texts("global.master-stores") {
        let store = endpoint.attach_master(&name, Backend::Memory);
        stores.push(store.map_err(|error| failed(&name, error))?);
    }
    for name in set.texts("global.clone-stores") {
        let store = endpoint.attach_clone(&name, CloneOptions::default());
        stores.push(store.map_err(|error| failed(&name, error))?);
    }
    let mut messages = endpoint.subscriber(topics.iter().map(String::as_str))?;
    if let Some(port) = port {
        talk.say(format_args!("listen for peers on port {port}"));
        endpoint.listen("", port).await?;
    }
    let connecting = connect(set, &endpoint, &mut talk);
    let Some(()) = or_signal(interrupt, connecting).await else {
        return Ok(Exit::Interrupted);
    };
    let work = async {
        match mode.as_str() {
            "ping" => ping(set, first, pings, &endpoint, &mut messages, &mut talk).await,
            "pong" => pong(&topics, &endpoint, &mut messages, &mut statuses, &mut talk).await,
            _ => {
                relay(
                    set.flag("global.rate"),
                    &mut messages,
                    &mut statuses,
                    &mut talk,
                )
                .await
            }
        }
    };
    let exit = match or_signal(interrupt, work).await {
        None => Exit::Interrupted,
        Some(outcome) => outcome.map(|()| Exit::Done)?,
    };
    super::leave(&endpoint).await;
    Ok(exit)
}

/// What comes of a future; `None` if a signal came first.
async fn or_signal<T>(interrupt: &Interrupt, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = interrupt.wait() => None,
        value = future => Some(value),
    }
}

/// Connects to one peer after the other. Those that cannot be reached are no reason to end.
async fn connect(set: &Set, endpoint: &Endpoint, talk: &mut Talk<'_>) {
    for peer in set.texts("global.peers") {
        let bare = peer.strip_prefix("tcp://").unwrap_or(&peer);
        let place = bare.rsplit_once(':');
        let place = place.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let outcome = match place {
            None => Err("expected <tcp://HOST:PORT>".to_owned()),
            Some((host, port)) => {
                talk.say(format_args!("connect to {host} on port {port} ..."));
                let peering = endpoint.peer(host, port, Retry::After(RETRY));
                peering.await.map_err(|error| error.to_string())
            }
        };
        if let Err(cause) = outcome {
            talk.console
                .say(format_args!("unable to connect to <{peer}>: {cause}"));
        }
    }
}

fn is_stop(value: View<'_>) -> bool {
    value.as_bytes() == Some(b"stop")
}

/// The number in a vector that begins with that word.
fn numbered(value: View<'_>, word: &str) -> Option<u64> {
    let mut elements = (value.kind() == ValueKind::Vector).then(|| value.elements())?;
    (elements.next()?.as_bytes()? == word.as_bytes()).then_some(())?;
    elements.next()?.as_count()
}

async fn next_event(statuses: &mut broker::StatusSubscriber, talk: &mut Talk<'_>) {
    match session::next(statuses).await {
        Some(broker::Event::Status(status)) => {
            talk.say(format_args!("{}: {}", status.code, status.text));
        }
        Some(broker::Event::Error(fault)) => {
            talk.say(format_args!("{}: {}", fault.code, fault.text));
        }
        None => std::future::pending().await,
    }
}

async fn relay(
    shows_rate: bool,
    messages: &mut Subscriber,
    statuses: &mut broker::StatusSubscriber,
    talk: &mut Talk<'_>,
) -> Result<(), Failure> {
    talk.say("relay messages");
    let mut count = 0_u64;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        tokio::select! {
            message = session::message(messages) => {
                if is_stop(message?.view()) {
                    talk.say("received stop");
                    return Ok(());
                }
                count += 1;
            }
            _ = second.tick() => {
                if shows_rate {
                    talk.say(format_args!("{count}/s"));
                    count = 0;
                }
            }
            () = next_event(statuses, talk) => {}
        }
    }
}

async fn pong(
    topics: &[String],
    endpoint: &Endpoint,
    messages: &mut Subscriber,
    statuses: &mut broker::StatusSubscriber,
    talk: &mut Talk<'_>,
) -> Result<(), Failure> {
    talk.say(format_args!(
        "receive pings from topics [{}]",
        topics.join(", ")
    ));
    loop {
        let message: Message = tokio::select! {
            message = session::message(messages) => message?,
            () = next_event(statuses, talk) => continue,
        };
        if is_stop(message.view()) {
            talk.say("received stop");
            return Ok(());
        }
        if let Some(id) = numbered(message.view(), "ping") {
            talk.say(format_args!("received ping {id}"));
            endpoint
                .publish_async(message.topic(), &("pong", id))
                .await?;
        }
    }
}

async fn ping(
    set: &Set,
    topic: &str,
    pings: u64,
    endpoint: &Endpoint,
    messages: &mut Subscriber,
    talk: &mut Talk<'_>,
) -> Result<(), Failure> {
    talk.say(format_args!("send pings to topic {topic}"));
    let retry = set
        .duration("global.rendezvous-retry")
        .unwrap_or(RENDEZVOUS_RETRY);
    let size = set.number("global.payload-size").unwrap_or(0);
    let payload = "x".repeat(usize::try_from(size).unwrap_or(usize::MAX));
    let mut total = Duration::ZERO;
    for id in 0..=pings {
        let payload = if id == 0 { "" } else { payload.as_str() };
        let started = Instant::now();
        endpoint
            .publish_async(topic, &("ping", id, payload))
            .await?;
        // Nobody may be there yet when the first is sent.
        while !answered(id, messages, talk, (id == 0).then_some(retry)).await? {
            endpoint
                .publish_async(topic, &("ping", id, payload))
                .await?;
        }
        if id > 0 {
            let time = started.elapsed();
            total += time;
            talk.console.line(time.as_nanos())?;
            talk.console.flush()?;
        }
    }
    let average = total.div_f64(pings as f64);
    talk.say(format_args!("AVG: {average:?}"));
    Ok(())
}

/// Waits for the answer to a ping; `false` when the time is over.
async fn answered(
    id: u64,
    messages: &mut Subscriber,
    talk: &mut Talk<'_>,
    limit: Option<Duration>,
) -> Result<bool, Failure> {
    let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
    loop {
        let message = tokio::select! {
            message = session::message(messages) => message?,
            () = session::until(deadline) => return Ok(false),
        };
        if numbered(message.view(), "pong") == Some(id) {
            talk.say(format_args!("received pong {id}"));
            return Ok(true);
        }
    }
}
