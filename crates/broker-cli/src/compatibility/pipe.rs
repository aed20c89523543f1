//! `broker-pipe`: lines to messages, messages to lines. Spec: tools 3.

use std::io::Write as _;
use std::time::Duration;

use broker::data::to_bytes;
use broker::{ByteString, Endpoint, Event, Retry, StatusSubscriber, Value, View};

use super::settings::{Kind, Known, Set, Specification};
use crate::commands::input_lines;
use crate::console::Console;
use crate::harmless::harmless;
use crate::interrupt::Interrupt;
use crate::outcome::{Exit, Failure};
use crate::session;

/// Time between attempts to reach a peer.
const RETRY: Duration = Duration::from_secs(1);

pub(super) const SPECIFICATION: Specification = Specification {
    name: "broker-pipe",
    usage: "-m publish|subscribe -t TOPIC [options]",
    options: &[
        Known::new("global.mode", Some('m'), Kind::Text, "publish or subscribe"),
        Known::new(
            "global.impl",
            Some('i'),
            Kind::Text,
            "blocking (default), select or stream",
        ),
        Known::new("global.topic", Some('t'), Kind::Text, "the topic"),
        Known::new(
            "global.peers",
            Some('p'),
            Kind::Texts,
            "peers to connect to: [\"HOST:PORT\"]",
        ),
        Known::new(
            "global.local-port",
            Some('l'),
            Kind::Port,
            "listen for peers",
        ),
        Known::new(
            "global.message-cap",
            Some('c'),
            Kind::Number,
            "end after that many messages",
        ),
        Known::new(
            "global.rate",
            Some('r'),
            Kind::Flag,
            "print messages per second instead",
        ),
    ],
};

pub(super) async fn run(
    set: &Set,
    console: &mut Console,
    interrupt: &Interrupt,
) -> Result<Exit, Failure> {
    if !set.rest.is_empty() {
        console.say("*** too many arguments");
        return Ok(Exit::Failed);
    }
    let topic = set.text("global.topic").unwrap_or_default();
    let endpoint = super::endpoint(set, None)?;
    let mut statuses = endpoint.status_subscriber(true)?;
    // Before the peerings, so that nothing is missed.
    let mode = set.text("global.mode").unwrap_or_default();
    let implementation = set
        .text("global.impl")
        .unwrap_or_else(|| "blocking".to_owned());
    let is_publisher = match (mode.as_str(), implementation.as_str()) {
        ("publish", "blocking" | "select") => true,
        ("subscribe", "blocking" | "select" | "stream") => false,
        _ => {
            console.say("*** invalid mode or implementation setting");
            return Ok(Exit::Done);
        }
    };
    let mut messages = if is_publisher {
        None
    } else {
        Some(endpoint.subscriber([topic.as_str()])?)
    };
    match set.port("global.local-port") {
        None | Some(0) => {}
        Some(port) => {
            endpoint.listen("", port).await?;
        }
    }
    for peer in set.texts("global.peers") {
        let Some((host, port)) = peer.rsplit_once(':') else {
            console.say(format_args!("*** invalid peer: {peer}"));
            return Ok(Exit::Done);
        };
        let Ok(port) = port.parse::<u16>() else {
            console.say(format_args!("*** invalid port: {port}"));
            return Ok(Exit::Done);
        };
        let peering = endpoint.peer(host, port, Retry::After(RETRY));
        tokio::select! {
            biased;
            _ = interrupt.wait() => return Ok(Exit::Interrupted),
            outcome = peering => {
                if let Err(error) = outcome {
                    console.say(format_args!("*** {error}"));
                }
            }
        }
    }
    let cap = set.number("global.message-cap").unwrap_or(u64::MAX);
    let mut pipe = Pipe {
        endpoint: &endpoint,
        statuses: &mut statuses,
        console,
        cap,
        shows_rate: set.flag("global.rate"),
    };
    let work = async {
        match &mut messages {
            Some(messages) => pipe.subscribe(messages).await,
            None => pipe.publish(&topic, implementation == "blocking").await,
        }
    };
    let exit = tokio::select! {
        biased;
        _ = interrupt.wait() => Exit::Interrupted,
        outcome = work => outcome.map(|()| Exit::Done)?,
    };
    while let Some(event) = pipe.statuses.try_recv() {
        pipe.tell(Some(event));
    }
    super::leave(&endpoint).await;
    Ok(exit)
}

struct Pipe<'a> {
    endpoint: &'a Endpoint,
    statuses: &'a mut StatusSubscriber,
    console: &'a mut Console,
    cap: u64,
    shows_rate: bool,
}

impl Pipe<'_> {
    async fn publish(&mut self, topic: &str, says_count: bool) -> Result<(), Failure> {
        let mut lines = input_lines(self.console);
        let mut count = 0_u64;
        let mut rate = Rate::new(self.shows_rate);
        while count < self.cap {
            let line = tokio::select! {
                line = lines.recv() => line,
                event = session::next(self.statuses) => {
                    self.tell(event);
                    continue;
                }
                number = rate.second() => {
                    self.print(number)?;
                    continue;
                }
            };
            let Some(line) = line else { break };
            let (_, mut line) = line?;
            if line.ends_with(b"\n") {
                line.pop();
            }
            let value = Value::String(ByteString::from(line));
            self.endpoint.publish_async(topic, &value).await?;
            count += 1;
            rate.count += 1;
        }
        if says_count {
            self.console
                .line(format_args!("*** published {count} messages, byte"))?;
        }
        Ok(())
    }

    async fn subscribe(&mut self, messages: &mut broker::Subscriber) -> Result<(), Failure> {
        let mut count = 0_u64;
        let mut rate = Rate::new(self.shows_rate);
        while count < self.cap {
            let message = match messages.try_recv() {
                Some(message) => message,
                None => {
                    self.console.flush()?;
                    tokio::select! {
                        message = session::message(messages) => message?,
                        event = session::next(self.statuses) => {
                            self.tell(event);
                            continue;
                        }
                        number = rate.second() => {
                            self.print(number)?;
                            continue;
                        }
                    }
                }
            };
            count += 1;
            rate.count += 1;
            if !self.shows_rate {
                self.show(message.topic(), message.view())?;
            } else if let Some(number) = rate.if_over() {
                self.print(number)?;
            }
        }
        Ok(())
    }

    /// Texts are written as they are, as the original does, but not to a terminal, which would do what
    /// they say.
    fn show(&mut self, topic: &[u8], value: View<'_>) -> Result<(), Failure> {
        if self.console.output_is_terminal() {
            let mut line = Vec::new();
            put_message(&mut line, topic, value);
            let line = harmless(String::from_utf8_lossy(&line).trim_end());
            return self.console.line(line);
        }
        put_message(self.console.buffer(), topic, value);
        Ok(self.console.spill()?)
    }

    fn print(&mut self, number: u64) -> Result<(), Failure> {
        self.console.line(number)?;
        Ok(self.console.flush()?)
    }

    fn tell(&mut self, event: Option<Event>) {
        let Some(event) = event else { return };
        let topic = match event {
            Event::Status(_) => "<$>/local/data/statuses",
            Event::Error(_) => "<$>/local/data/errors",
        };
        let mut line = b"*** ".to_vec();
        if let Ok(bytes) = to_bytes(&event)
            && let Ok(view) = View::new(&bytes)
        {
            put_message(&mut line, topic.as_bytes(), view);
        }
        self.console.say(String::from_utf8_lossy(&line).trim_end());
    }
}

/// `data(<topic>, <value>)` with the value in Broker's text form, in which strings are as they are.
fn put_message(out: &mut Vec<u8>, topic: &[u8], value: View<'_>) {
    out.extend_from_slice(b"data(");
    out.extend_from_slice(topic);
    out.extend_from_slice(b", ");
    match value.as_bytes() {
        Some(bytes) => out.extend_from_slice(bytes),
        None => {
            // Writing to memory does not fail.
            let _ = write!(out, "{value}");
        }
    }
    out.extend_from_slice(b")\n");
}

/// Counts of messages in each second.
struct Rate {
    is_shown: bool,
    count: u64,
    end: tokio::time::Instant,
}

impl Rate {
    fn new(is_shown: bool) -> Self {
        Self {
            is_shown,
            count: 0,
            end: tokio::time::Instant::now() + Duration::from_secs(1),
        }
    }

    /// The number of the second that is over.
    fn if_over(&mut self) -> Option<u64> {
        (self.is_shown && tokio::time::Instant::now() >= self.end).then(|| self.start_next())
    }

    fn start_next(&mut self) -> u64 {
        self.end += Duration::from_secs(1);
        std::mem::take(&mut self.count)
    }

    /// Waits for the end of the second.
    async fn second(&mut self) -> u64 {
        session::until(self.is_shown.then_some(self.end)).await;
        self.start_next()
    }
}
