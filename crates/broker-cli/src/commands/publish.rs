//! `broker pub`: publishes values and events.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use broker::Value;
use broker::data::json::{self, Form};
use broker::data::{View, to_bytes};
use broker::zeek::EventBuilder;
use clap::Args;
use tokio::sync::mpsc;

use super::value::{self, GRAMMAR};
use crate::arguments::{ConnectionArguments, Global};
use crate::console::Console;
use crate::duration::{duration, rate};
use crate::literal;
use crate::outcome::{EXIT_CODES, Exit, Failure, Outcome};
use crate::session::{self, OnPeerLoss, Session, Waited};
use crate::target::Target;

/// Lines of standard input that are read ahead.
const LINES_AHEAD: usize = 1024;

/// How long `--drain` waits for the peers unless told otherwise.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "Examples:
  broker pub -u localhost:9999 /topic 5c '[a, b]'    two messages
  broker pub /topic --event ping hello 3c               one event: ping(\"hello\", 3c)
  broker pub /topic --event ping -n 100 --rate 10/s x
  seq 1 1000 | broker pub /topic --stdin --drain
  broker sub /a --json | broker pub /b --stdin=json     from a to b";

/// Publish values, or an event
#[derive(Debug, Args)]
#[command(
    after_long_help = format!("{EXAMPLES}\n\n{GRAMMAR}\n\n{EXIT_CODES}")
)]
pub(crate) struct Pub {
    /// Topic
    topic: String,
    /// Messages; with --event, its arguments
    #[arg(
        value_name = "VALUE",
        allow_negative_numbers = true,
        required_unless_present_any = ["event", "stdin"]
    )]
    values: Vec<String>,
    /// Publish one event of that name
    #[arg(short, long, value_name = "NAME")]
    event: Option<String>,
    /// Publish a message per line of standard input
    ///
    /// FORM is `values` (unless given), as on a command line, with --event its arguments; or `json`,
    /// tagged JSON by itself or in what `broker sub --json` prints.
    #[arg(
        long,
        value_name = "FORM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "values",
        hide_possible_values = true,
        conflicts_with = "values"
    )]
    stdin: Option<InputForm>,
    /// Publish everything N times
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "stdin"
    )]
    count: u64,
    /// Messages per time, such as 100/s
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<Duration>,
    /// Wait until a peer is subscribed to the topic
    #[arg(long)]
    wait_for_subscriber: bool,
    /// Wait until every peer has taken everything
    ///
    /// Those that have not are named, and the exit code is 1.
    #[arg(long)]
    drain: bool,
    /// Limit of these waits
    ///
    /// Without it a subscriber is waited for without limit, and --drain takes 10 s at most.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// What a line of standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputForm {
    /// A value as on the command line
    Values,
    /// Tagged JSON, by itself or in what `sub --json` prints
    Json,
}

impl Pub {
    pub(crate) fn run(self, global: &Global, console: &mut Console) -> Outcome {
        let target = Target::find(&self.connection, global)?;
        if !target.is_native() && self.drain {
            return Err(Failure::usage("--drain needs native peers")
                .hint("WebSocket servers and ZeroMQ proxies do not say what they have taken"));
        }
        if !target.tells_subscriptions() && self.wait_for_subscriber {
            return Err(
                Failure::usage("--wait-for-subscriber does not go with WebSocket servers")
                    .hint("they do not say what is subscribed to"),
            );
        }
        let mut values = Vec::new();
        for (number, text) in (1..).zip(&self.values) {
            values.push(value::read(text, number, console)?);
        }
        let messages = match &self.event {
            Some(name) => vec![event(name, &values)?],
            None => values.iter().map(encoded).collect::<Result<_, _>>()?,
        };
        let runtime = session::runtime()?;
        let outcome = runtime.block_on(self.publish(target, messages, console));
        runtime.shutdown_background();
        outcome
    }

    async fn publish(
        self,
        target: Target,
        messages: Vec<Vec<u8>>,
        console: &mut Console,
    ) -> Outcome {
        let tells_subscriptions = target.tells_subscriptions();
        let mut session = Session::of(target, OnPeerLoss::Reconnect)?;
        session.connect().await?;
        if self.wait_for_subscriber && !self.await_subscriber(&session).await? {
            return Ok(Exit::Interrupted);
        }
        let mut pace = self.rate.map(tokio::time::interval);
        let mut sent = 0_u64;
        let ended = match self.stdin {
            None => {
                let mut ended = None;
                'all: for _ in 0..self.count {
                    for message in &messages {
                        ended = self.send(&mut session, message, &mut pace, console).await?;
                        if ended.is_some() {
                            break 'all;
                        }
                        sent += 1;
                    }
                }
                ended
            }
            Some(form) => {
                let mut lines = lines(console);
                loop {
                    let line = match session.or_signal(lines.recv()).await {
                        Waited::Ended(ending) => break Some(ending),
                        Waited::Over(None) => break None,
                        Waited::Over(Some(line)) => line,
                    };
                    let (number, line) = line?;
                    let Some(message) = self.of_line(form, number, &line)? else {
                        continue;
                    };
                    let ended = self
                        .send(&mut session, &message, &mut pace, console)
                        .await?;
                    if ended.is_some() {
                        break ended;
                    }
                    sent += 1;
                }
            }
        };
        if ended.is_some() {
            console.say(format_args!("interrupted after {sent} messages"));
        } else if tells_subscriptions && !has_subscriber(&session, &self.topic) {
            let topic = &self.topic;
            console.warn(format_args!(
                "no peer is subscribed to `{topic}`, so it was sent to none \
                 (--wait-for-subscriber waits for one)"
            ));
        }
        let drained = if self.drain && ended.is_none() {
            drain(&session, self.timeout.unwrap_or(DRAIN_TIMEOUT)).await
        } else {
            Ok(())
        };
        session.leave().await;
        drained?;
        Ok(match ended {
            Some(_) => Exit::Interrupted,
            None => Exit::Done,
        })
    }

    /// Publishes one message when its time has come; tells whether a signal came first.
    async fn send(
        &self,
        session: &mut Session,
        message: &[u8],
        pace: &mut Option<tokio::time::Interval>,
        console: &mut Console,
    ) -> Result<Option<crate::interrupt::Ending>, Failure> {
        if let Some(pace) = pace
            && let Waited::Ended(ending) = session.or_signal(pace.tick()).await
        {
            return Ok(Some(ending));
        }
        let view = View::new(message).map_err(|error| Failure::failed(error.to_string()))?;
        let sending = session.endpoint.publish_async(&self.topic, &view);
        match session.or_signal(sending).await {
            Waited::Ended(ending) => return Ok(Some(ending)),
            Waited::Over(sent) => sent?,
        }
        while let Some(event) = session.try_event() {
            session.on_event(&event, console)?;
        }
        Ok(None)
    }

    /// The message in a line; nothing if it is empty.
    fn of_line(
        &self,
        form: InputForm,
        number: usize,
        line: &[u8],
    ) -> Result<Option<Vec<u8>>, Failure> {
        let whose = format!("line {number} of standard input");
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let failed = |error: String| Failure::usage(format!("{whose}: {error}"));
        if form == InputForm::Json {
            let bytes = json::from_text(line, Form::Lossless);
            let bytes = bytes.map_err(|error| failed(error.to_string()))?;
            return match &self.event {
                None => Ok(Some(bytes)),
                Some(name) => {
                    let value = broker::data::decode(&bytes);
                    let value = value.map_err(|error| failed(error.to_string()))?;
                    event(name, &[value]).map(Some)
                }
            };
        }
        let text = std::str::from_utf8(line).map_err(|error| failed(error.to_string()))?;
        let text = text.trim_end_matches(['\r', '\n']);
        match &self.event {
            None => {
                let value = literal::parse(text);
                let value = value.map_err(|error| Failure::literal(&whose, &error))?;
                encoded(&value).map(Some)
            }
            Some(name) => match literal::parse(&format!("[{text}]")) {
                Ok(Value::Vector(arguments)) => event(name, &arguments).map(Some),
                Ok(_) => Err(failed(
                    "expected arguments with commas between them".to_owned(),
                )),
                Err(error) => Err(Failure::literal(&whose, &error)),
            },
        }
    }

    /// Whether a peer subscribed before a signal came.
    async fn await_subscriber(&self, session: &Session) -> Result<bool, Failure> {
        match await_subscriber(session, &self.topic, self.timeout).await {
            Waited::Ended(_) => Ok(false),
            Waited::Over(true) => Ok(true),
            Waited::Over(false) => {
                let what = format!("no peer subscribed to `{}` in time", self.topic);
                Err(Failure::new(Exit::NothingCame, what))
            }
        }
    }
}

/// Asks every peer for a sign of life, which comes after everything that was published.
///
/// # Errors
///
/// Names those from which none came in time.
pub(super) async fn drain(session: &Session, limit: Duration) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + limit;
    let peers = session.endpoint.peers();
    let pings: Vec<_> = peers
        .iter()
        .map(|peer| session.endpoint.ping(peer.id))
        .collect();
    let mut behind: Vec<String> = session.lost_peers();
    for (peer, ping) in peers.iter().zip(pings) {
        let answer = tokio::time::timeout_at(deadline, ping);
        let answered = session.or_signal(answer).await;
        if !matches!(answered, Waited::Over(Ok(Some(_)))) {
            behind.push(peer.network.to_string());
        }
    }
    if behind.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "not taken by {} within {} s",
            behind.join(", "),
            limit.as_secs_f64()
        )))
    }
}

/// Waits until a peer is subscribed to a topic; `false` says that the time is over.
pub(super) async fn await_subscriber(
    session: &Session,
    topic: &str,
    timeout: Option<Duration>,
) -> Waited<bool> {
    let deadline = timeout.map(|limit| tokio::time::Instant::now() + limit);
    let subscribed = session
        .endpoint
        .until(|_| has_subscriber(session, topic).then_some(()));
    let subscribed = async {
        tokio::select! {
            () = subscribed => true,
            () = session::until(deadline) => false,
        }
    };
    session.or_signal(subscribed).await
}

fn has_subscriber(session: &Session, topic: &str) -> bool {
    let mut topics = session.endpoint.peer_subscriptions().into_iter();
    topics.any(|prefix| prefix.is_prefix_of(topic.as_bytes()))
}

fn encoded(value: &Value) -> Result<Vec<u8>, Failure> {
    to_bytes(value).map_err(|error| Failure::usage(error.to_string()))
}

/// An event, encoded.
pub(super) fn event(name: &str, arguments: &[Value]) -> Result<Vec<u8>, Failure> {
    let event = arguments
        .iter()
        .fold(EventBuilder::new(name), EventBuilder::argument);
    to_bytes(&event).map_err(|error| Failure::usage(error.to_string()))
}

/// Reads standard input in a thread of its own, which cannot be interrupted and need not be waited
/// for.
pub(crate) fn lines(console: &mut Console) -> mpsc::Receiver<Result<(usize, Vec<u8>), Failure>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    let input = console.take_input();
    std::thread::spawn(move || {
        let mut input = BufReader::new(input);
        for number in 1.. {
            let mut line = Vec::new();
            let read = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => Ok((number, line)),
                Err(error) => Err(Failure::failed(format!(
                    "cannot read standard input: {error}"
                ))),
            };
            let is_over = read.is_err();
            // The command has ended if there is no receiver.
            if sender.blocking_send(read).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}
